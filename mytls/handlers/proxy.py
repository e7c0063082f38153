"""
`proxy:ENDPOINT` and `passthrough:ENDPOINT`: a backend at the other end.

The backend is dialled when the handler meets its client, which is after the handshake and the access rules have said
yes: a stranger opens no connection behind us. Over TLS it is joined when its own handshake is done, so nothing that
comes before its certificate is verified reaches the client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from service_identity import VerificationError
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IStreamClientEndpoint,
    IStreamClientEndpointStringParserWithReactor,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.plugin import getPlugins
from twisted.python.failure import Failure
from zope.interface import implementer

from mytls.errors import ConfigurationError, nearest, one_line
from mytls.handlers.splice import Phase, Side, abort, join, speaks_tls
from mytls.interfaces import IDrainable
from mytls.kinds import count, port
from mytls.settings import Deadlines, Settings
from mytls.strings import split_endpoint

_log = Logger()


def proxy(reactor: Any, argument: str, settings: Settings) -> ProxyFactory:
    """
    The handler `proxy:`: the decrypted bytes go to a backend.

    @param argument: a client endpoint string such as `tcp:127.0.0.1:8080`
    @param settings: their deadline C{connect} is what the backend has to accept, and to finish its TLS handshake
    @raise ConfigurationError: one line, which names what is wrong with the string
    """
    return ProxyFactory(reactor, argument, client_endpoint(reactor, argument), settings.deadlines.connect)


def passthrough(reactor: Any, argument: str, settings: Settings) -> PassthroughFactory:
    """The handler `passthrough:`: the ciphertext itself goes to a backend. The arguments are those of L{proxy}."""
    return PassthroughFactory(reactor, argument, client_endpoint(reactor, argument), settings.deadlines.connect)


class ProxyFactory(Factory):
    """
    Joins each connection to one of its own to the backend.

    @ivar description: the backend's endpoint string, as written
    @ivar endpoint: what dials it
    @ivar connect: seconds that it may take to be ready; 0 is for ever
    """

    noisy = False

    def __init__(
        self, reactor: Any, description: str, endpoint: IStreamClientEndpoint, connect: float = Deadlines().connect
    ) -> None:
        self.reactor = reactor
        self.description = description
        self.endpoint = endpoint
        self.connect = connect

    def buildProtocol(self, addr: IAddress | None) -> Client:  # type: ignore[override]  # it knows its own factory
        """A client has come."""
        return Client(self)

    def logPrefix(self) -> str:
        """Twisted's log names the backend."""
        return f"proxy:{self.description}"


class PassthroughFactory(ProxyFactory):
    """
    The same for ciphertext: its protocols are connected to the transport below TLS, and get the ClientHello that was
    read already by C{dataReceived}.
    """

    def logPrefix(self) -> str:
        """Twisted's log names the backend."""
        return f"passthrough:{self.description}"


@implementer(IDrainable)
class Client(Side):
    """The client's side. It dials the backend, and is paused when it has said much before that is there."""

    factory: ProxyFactory

    def __init__(self, factory: ProxyFactory) -> None:
        super().__init__(factory.reactor)
        self.factory = factory
        self._backend: Backend | None = None
        self._dialling: Deferred[Any] | None = None
        self._deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Dial."""
        factory = self.factory
        self._backend = Backend(self)
        if factory.connect:
            self._deadline = factory.reactor.callLater(factory.connect, self._late)
        dialling = maybeDeferred(factory.endpoint.connect, _One(self._backend))
        if self.phase is Phase.APART:  # an endpoint may be done at once
            self._dialling = dialling
        dialling.addErrback(self._not_reached)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Gone, maybe before there was a backend."""
        super().connectionLost(reason)
        self._stop_dialling()

    def drain(self) -> None:
        """Finish what is going on with the backend; where there is none yet, there is nothing to wait for."""
        if self.phase is Phase.JOINED:
            self.close_when_quiet()
        elif self.phase is Phase.APART:
            self.close()
            self._stop_dialling()

    def reached(self, backend: Backend) -> None:
        """The backend is there, and is who it should be."""
        if self.phase is Phase.APART:
            self._stop_deadline()
            self._backend = self._dialling = None
            join(self, backend)
        elif self.phase is Phase.ENDED:  # it comes too late
            abort(backend.transport)

    def failed(self, why: str) -> None:
        """The backend cannot be had; the log says so once."""
        if self.phase is Phase.APART:
            self.phase = Phase.ENDED
            _log.warn("no backend at {backend}: {why}", backend=one_line(self.factory.description), why=why)
            self._stop_dialling()
            abort(self.transport)

    def _not_reached(self, failure: Failure) -> None:
        self.failed(plainly(failure.value))

    def _late(self) -> None:
        self.failed(f"it was not ready within {self.factory.connect:g} s")

    def _stop_dialling(self) -> None:
        self._stop_deadline()
        backend, self._backend = self._backend, None
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()
        if backend is not None and backend.connected:
            abort(backend.transport)

    def _stop_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()


@implementer(IHandshakeListener)
class Backend(Side):
    """The backend's side."""

    def __init__(self, client: Client) -> None:
        super().__init__(client.factory.reactor)
        self._client: Client | None = client
        self._description = client.factory.description

    def connectionMade(self) -> None:
        """It has accepted; over TLS that says nothing yet."""
        _send_small_writes_at_once(self.transport)
        if not speaks_tls(self.transport):
            self._is_ready()

    def handshakeCompleted(self) -> None:
        """Its handshake is done. Twisted says so too where the name was wrong and the connection is given up."""
        if not getattr(self.transport, "disconnecting", False):
            self._is_ready()

    def dataReceived(self, data: bytes) -> None:
        """For the client, if it comes after the handshake."""
        if self._client is not None:
            self._client.failed("it sent data before its TLS handshake was done")
        else:
            super().dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Gone, maybe before it was ready."""
        error, client = reason.value, self._client
        ordinary = isinstance(error, ConnectionClosed)
        self._client, self.connected = None, 0
        if client is not None:
            client.failed("it closed the connection during its TLS handshake" if ordinary else plainly(error))
        elif not ordinary and self.phase is Phase.JOINED:  # TLS 1.3 tells a client last that its certificate is wrong
            _log.warn("lost {backend}: {why}", backend=one_line(self._description), why=plainly(error))
        super().connectionLost(reason)

    def _is_ready(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.reached(self)


def _send_small_writes_at_once(transport: Any) -> None:
    """Without Nagle's algorithm, which delays the last piece of every answer; a UNIX socket has none."""
    if isinstance(transport.getPeer(), IPv4Address | IPv6Address) and hasattr(transport, "setTcpNoDelay"):
        transport.setTcpNoDelay(True)


class _One(Factory):
    """Makes the one protocol that it has."""

    noisy = False

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def buildProtocol(self, addr: IAddress | None) -> Backend:
        return self._backend


# --- the endpoint string

#: What Twisted's own client endpoints have to have, and what else they know.
_STOCK: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "tcp": (("host", "port"), ("timeout", "bindAddress")),
    "unix": (("path",), ("timeout", "lockfile")),
    "tls": (
        ("host", "port"),
        ("timeout", "bindAddress", "certificate", "privateKey", "trustRoots", "endpoint"),
    ),
    "ssl": (("host", "port"), ("timeout", "bindAddress", "certKey", "privateKey", "caCertsDir", "hostname")),
}


def client_endpoint(reactor: Any, description: str) -> IStreamClientEndpoint:
    """
    Any client endpoint string, as Twisted reads it.

    @raise ConfigurationError: Twisted cannot read it; one line
    """
    arguments, words = split_endpoint(description)
    prefix = arguments[0].lower() if arguments else ""
    if not prefix:
        raise ConfigurationError("expected a client endpoint such as tcp:127.0.0.1:8080 or unix:/run/app.sock")
    if prefix in _STOCK:
        _check_words(prefix, arguments[1:], words)
    else:
        _check_prefix(prefix)
    try:
        return clientFromString(reactor, description)  # type: ignore[no-any-return]
    except Exception as error:  # each parser has errors of its own
        raise ConfigurationError(plainly(error)) from None


def _check_prefix(prefix: str) -> None:
    known = [plugin.prefix for plugin in getPlugins(IStreamClientEndpointStringParserWithReactor)]
    if prefix not in (each.lower() for each in known):
        raise ConfigurationError(f"there is no endpoint type {prefix!r}{nearest(prefix, sorted({*_STOCK, *known}))}")


def _check_words(prefix: str, arguments: tuple[str, ...], words: dict[str, str]) -> None:
    needed, more = _STOCK[prefix]
    for word in words:
        if word not in (*needed, *more):
            raise ConfigurationError(f"{word}= is no word of {prefix}:{nearest(word, (*needed, *more))}")
    missing = [word for word in needed if word not in words][len(arguments) :]
    if missing:
        raise ConfigurationError(f"{prefix}: needs {' and '.join(missing)}, as in {prefix}:{':'.join(needed)}")
    if prefix != "tls" and len(arguments) > sum(word not in words for word in needed):  # whose others may stand so too
        raise ConfigurationError(f"too many words for {prefix}:; a colon in a value is written \\:")
    if "port" in needed:
        _check_number("port", port, words["port"] if "port" in words else arguments["host" not in words])
    if "timeout" in words:
        _check_number("timeout", count, words["timeout"])


def _check_number(word: str, parse: Callable[[str], int], written: str) -> None:
    try:
        parse(written)
    except ConfigurationError as error:
        raise ConfigurationError(f"{word}={written}: {error}") from None


def plainly(error: BaseException | None) -> str:
    """What went wrong between us and a backend, or in reading its string, as one line."""
    match error:
        case VerificationError():
            return "its certificate is for another name"
        case OSError(strerror=str(text), filename=str(name)):
            return one_line(f"{text}: {name}")
        case Exception(args=(list() as reasons,)):  # OpenSSL's: library, function and reason of each
            return one_line("TLS: " + ("; ".join(str(each[-1]) for each in reasons) or "the connection failed"))
    text = " ".join(str(error).split()) or type(error).__name__
    return one_line(text.removesuffix("."))
