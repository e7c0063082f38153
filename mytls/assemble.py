"""Strings and settings in, running parts out: the only module that knows every other."""

from __future__ import annotations

import datetime
import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mytls.accesslog import AccessLog
from mytls.connection import address_text
from mytls.endpoint import TLSServerEndpoint, endpoint_from_words, plain_endpoint
from mytls.errors import ConfigurationError, one_line
from mytls.events import Observer, Observers
from mytls.handlers import handler_from_string
from mytls.settings import Deadlines, Limits, split_endpoint
from mytls.sockets import write_at_once
from mytls.tls.development import development_certificate, state_folder

_log = Logger()

#: Where the development certificate is served.
DEVELOPMENT_PORT = 8443


class CannotStart(SystemExit, Exception):
    """
    The service cannot listen. It is a C{SystemExit}, so that a program that is started with it ends with one line
    and status 1, and an C{Exception}, so that a daemon's parent hears of it.
    """

    def __init__(self, line: str) -> None:
        super().__init__(one_line(f"mytls: {line}"))


@attrs.frozen
class _Listener:
    """One place to listen at, and how the user wrote it."""

    description: str
    endpoint: IStreamServerEndpoint


@implementer(IService)
class TLSService(Service):
    """
    Listens while it runs; when it stops, finishes with every client first.

    @ivar greeting: a line for the log, once it listens
    """

    greeting = ""

    def __init__(self, listeners: Sequence[_Listener], handler: IProtocolFactory, handler_name: str) -> None:
        self._listeners = listeners
        self._handler = handler
        self._handler_name = handler_name
        self._ports: list[IListeningPort] = []
        self._listening = False
        self._starting = False
        self._trouble: CannotStart | None = None

    @property
    def addresses(self) -> list[Any]:
        """Where it listens now, as Twisted's addresses."""
        return [port.getHost() for port in self._ports]

    def privilegedStartService(self) -> None:
        """
        Listen, while the process may still bind low ports.

        @raise CannotStart: one of the places is not to be had; none is listened at then
        """
        super().privilegedStartService()
        self._listen()

    def startService(self) -> None:
        """Listen, if C{privilegedStartService} was not called."""
        super().startService()
        self._listen()

    def stopService(self) -> Deferred[Any]:
        """Listen no more and finish with every client. Fires when the last connection is gone."""
        super().stopService()
        self._listening = False
        ports, self._ports = self._ports, []
        waiting: list[Any] = [port.stopListening() for port in ports]
        for listener in self._listeners:
            if isinstance(listener.endpoint, TLSServerEndpoint):
                factories, listener.endpoint.factories = listener.endpoint.factories, []
                waiting.extend(factory.end_connections() for factory in factories)
        return DeferredList([each for each in waiting if each is not None])

    def _listen(self) -> None:
        if self._listening:
            return
        self._listening = self._starting = True
        for listener in self._listeners:
            listener.endpoint.listen(self._handler).addCallbacks(
                self._listens, self._cannot_listen, callbackArgs=(listener,), errbackArgs=(listener,)
            )
            if self._trouble is not None:
                trouble, self._trouble = self._trouble, None
                self.stopService()
                raise trouble
        self._starting = False
        if self.greeting:
            _log.info("{line}", line=self.greeting)

    def _listens(self, port: IListeningPort, listener: _Listener) -> None:
        if not self._listening:  # stopped while an endpoint was still at it
            port.stopListening()
            return
        write_at_once(port)
        self._ports.append(port)
        _log.info("serving {handler} at {address}", handler=self._handler_name, address=address_text(port.getHost()))

    def _cannot_listen(self, failure: Failure, listener: _Listener) -> None:
        trouble = CannotStart(f"{_why(failure)} (--endpoint {listener.description})")
        if self._starting:
            self._trouble = trouble
        else:  # an endpoint that takes its time has failed: the rest goes on, and the log says what is missing
            _log.critical("{line}", line=str(trouble))


def service(
    endpoint: str | IStreamServerEndpoint | Iterable[str | IStreamServerEndpoint],
    handler: str | IProtocolFactory = "echo",
    *,
    reactor: Any = None,
    deadlines: Deadlines | None = None,
    limits: Limits | None = None,
    observers: Iterable[Observer] = (),
    quiet: Iterable[str] = (),
) -> TLSService:
    """
    A service that serves a handler over TLS, to add to any application.

    @param endpoint: a server endpoint string such as `ssl:8443:privateKey=key.pem:certKey=fullchain.pem`, an endpoint,
        or several
    @param handler: a handler string such as `call:app:do_something`, or a Twisted protocol factory
    @param reactor: the reactor; the global one if left out
    @param deadlines: how long clients may take
    @param limits: bounds of the service
    @param observers: called with each event (L{mytls.events})
    @param quiet: what has no line in the log (L{mytls.accesslog.CLASSES})
    @raise ConfigurationError: one line, which names the word that was wrong
    """
    running_on = reactor or _global_reactor()
    told = Observers((AccessLog(quiet), *observers))
    places = [endpoint] if isinstance(endpoint, str) or IStreamServerEndpoint.providedBy(endpoint) else endpoint
    name = handler if isinstance(handler, str) else type(handler).__name__
    made = handler_from_string(running_on, handler, limits) if isinstance(handler, str) else handler
    return TLSService(
        [_listener(running_on, each, deadlines or Deadlines(), told) for each in places],
        made,
        name,
    )


def development_endpoint(port: int = DEVELOPMENT_PORT) -> tuple[list[str], str]:
    """
    The endpoint strings with the development certificate, and a command that connects to it.

    @raise ConfigurationError: the certificate cannot be kept
    """
    files = development_certificate(state_folder(), datetime.datetime.now(datetime.UTC))
    string = f"ssl:{port}:interface=127.0.0.1:privateKey={_quoted(files.key)}:certKey={_quoted(files.chain)}"
    command = (
        f"openssl s_client -connect localhost:{port} -CAfile {shlex.quote(os.fspath(files.ca))} "
        "-verify_return_error -verify_hostname localhost"
    )
    return [string], command


def _listener(
    reactor: Any, place: str | IStreamServerEndpoint, deadlines: Deadlines, observers: Observers
) -> _Listener:
    if not isinstance(place, str):
        return _Listener(type(place).__name__, place)
    try:
        return _Listener(place, _endpoint(reactor, place, deadlines, observers))
    except ConfigurationError as error:
        raise ConfigurationError(f"--endpoint {place}: {error}") from None


def _endpoint(reactor: Any, description: str, deadlines: Deadlines, observers: Observers) -> IStreamServerEndpoint:
    arguments, words = split_endpoint(description)
    prefix = arguments[0].lower() if arguments else ""  # Twisted makes no difference either
    if prefix not in ("ssl", "mytls"):
        return plain_endpoint(reactor, description)
    return endpoint_from_words(reactor, prefix, arguments[1:], words, deadlines, observers)


def _why(failure: Failure) -> str:
    error = failure.value
    if isinstance(error, CannotListenError):
        reason = error.socketError
        text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
        where = error.interface or "the port" if error.port is None else f"port {error.port}"
        return f"cannot listen: {where}: {text[:1].lower()}{text[1:]}"
    return f"cannot listen: {' '.join(str(error).split()) or type(error).__name__}"


def _quoted(path: Path) -> str:
    return str(quoteStringArgument(os.fspath(path)))


def _global_reactor() -> Any:
    from twisted.internet import reactor

    return reactor
