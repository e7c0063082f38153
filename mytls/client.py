"""
The client endpoint `mytls:`, as a class and as a string.

    endpoint = TLSClientEndpoint(reactor, "api.example", 443, alpn=["h2"])
    endpoint.connect(factory)

    twistd mytls --endpoint unix:db.sock --handler proxy:mytls:db.example:5433:certKey=me.pem:verify=spki=sha256\\:...

A protocol of the user's is made when the server is met: its handshake is done, and its certificate is the right one.

The way there is what is written here, and a proxy is on it where C{via} says so. C{HTTPS_PROXY} and its like are not
looked at: where a service connects to should not depend on who has started it.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mytls.attempt import Attempt, Wanted
from mytls.clientsettings import ClientSettings
from mytls.destinations import Via
from mytls.errors import ConfigurationError
from mytls.guards.deadlines import Deadline
from mytls.guards.policy import Policy
from mytls.guards.rego import rego_policy, source_of
from mytls.handlers.places import Preamble, client_endpoint, nothing
from mytls.keys import CLIENT_KEYS
from mytls.reload import Aside, in_a_thread
from mytls.settings import Deadlines
from mytls.strings import client_from_words
from mytls.tls.files import Files
from mytls.tls.servers import servers
from mytls.via.endpoint import through
from mytls.via.starttls import Agreed

_log = Logger()

#: Seconds. The files are looked at when somebody connects, but not more often.
LOOK = 10.0


@implementer(IStreamClientEndpoint)
class TLSClientEndpoint:
    """TLS to one server."""

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int | None = None,
        *,
        over: IStreamClientEndpoint | None = None,
        policies: Sequence[Policy] = (),
        aside: Aside | None = None,
        **said: Any,
    ) -> None:
        """
        @param reactor: provides C{IReactorTCP}, C{IReactorTime} and a name resolver
        @param host: the server's name or IP address
        @param port: its TCP port; of no use with C{over}
        @param over: connects in place of a TCP connection to this host and port, or to the proxy of C{via}
        @param policies: who is asked of the server besides, when it is verified
        @param aside: reads files where it holds up nobody; in a thread, if left out
        @param said: what the words of the string say, by the names of L{ClientSettings}: C{trust_roots}, C{verify},
            C{server_name}, C{certificate}, C{private_key}, C{password_file}, C{alpn}, C{timeout} in seconds,
            C{bind_address}, C{min_version}, C{max_version}, C{endpoint}, C{via}, C{via_password_file}, C{starttls},
            C{rego}, C{rego_query}
        @raise ConfigurationError: one line, which names the word that is wrong
        """
        about = {"host": host, **({} if port is None else {"port": port}), **said}
        if over is not None:
            about.setdefault("endpoint", "over")
        self._settings = settings = ClientSettings.of(_parsed(about))
        self._reactor = reactor
        self._close = Deadline(reactor, Deadlines().close)
        below = over or _below(reactor, settings)
        self._kept = _Kept(reactor, settings, policies, aside or in_a_thread(reactor), below)

    def connect(self, protocolFactory: IProtocolFactory, preamble: Preamble = nothing) -> Deferred[IProtocol]:
        """
        Connect.

        @param preamble: given the transport below TLS, what the server hears on it before our ClientHello
        @return: fires with the protocol when the server is met; fails with L{mytls.attempt.TLSConnectError}; drops
            everything when it is cancelled
        """
        attempt = Attempt(self._reactor, self._settings, protocolFactory, self._close, preamble)
        return attempt.begin(self._kept.fresh())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._settings.host}:{self._settings.port}>"


def client_from_string_words(reactor: Any, arguments: tuple[str, ...], words: dict[str, str]) -> TLSClientEndpoint:
    """
    The endpoint that the words of a `mytls:` string ask for.

    @raise ConfigurationError: one line, which names the word that was wrong
    """
    said = client_from_words(arguments, words)
    try:
        return TLSClientEndpoint(
            reactor, **{name: value for name, value in _fields(said).items() if value not in (None, ())}
        )
    except ConfigurationError as error:
        raise ConfigurationError("; ".join(error.lines)) from None


def _fields(settings: ClientSettings) -> dict[str, Any]:
    return {key.name.replace("-", "_"): getattr(settings, key.name.replace("-", "_")) for key in CLIENT_KEYS}


def _parsed(said: dict[str, Any]) -> dict[str, Any]:
    """Python's values as those of the settings, by the names of the keys."""
    keys = {key.name.replace("-", "_"): key for key in CLIENT_KEYS}
    parsed = {}
    for name, value in said.items():
        if name not in keys:
            raise TypeError(f"{TLSClientEndpoint.__name__}() got an unexpected keyword argument {name!r}")
        key = keys[name]
        try:
            parsed[key.name] = value if isinstance(value, float | Via) else key.kind.of_toml(_as_of_a_file(value))
        except ConfigurationError as error:
            raise ConfigurationError(f"{key.word}: {'; '.join(error.lines)}") from None
    return parsed


def _as_of_a_file(value: Any) -> Any:
    """Paths as text, tuples as lists."""
    if isinstance(value, list | tuple):
        return [_as_of_a_file(each) for each in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _below(reactor: Any, settings: ClientSettings) -> IStreamClientEndpoint:
    """What connects to the server, or to the proxy on the way there, within the attempt's own time."""
    to = settings.via or settings
    host, port = to.host, to.port
    if settings.endpoint is not None:
        try:
            return client_endpoint(reactor, settings.endpoint)
        except ConfigurationError as error:
            raise ConfigurationError(f"endpoint={settings.endpoint}: {error}") from None
    bind = None if settings.bind_address is None else (settings.bind_address, 0)
    forever: Any = None  # which Twisted takes, and does not say so
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return HostnameEndpoint(reactor, host, port, forever, bind)  # type: ignore[arg-type]  # there is a port
    of_version: Any = TCP4ClientEndpoint if version == 4 else TCP6ClientEndpoint
    return of_version(reactor, host, port, forever, bind)  # type: ignore[no-any-return]


class _Kept:
    """What connections are made of, as the files say."""

    def __init__(
        self,
        clock: IReactorTime,
        settings: ClientSettings,
        policies: Sequence[Policy],
        aside: Aside,
        below: IStreamClientEndpoint,
    ) -> None:
        """
        @param below: what connects to the server, or to the proxy on the way there
        @raise ConfigurationError: what they say is wrong
        """
        self._clock = clock
        self._settings = settings
        self._policies = policies
        self._aside = aside
        self._below = below
        self._files = Files()
        self._wanted = _wanted(settings, self._files, policies, below)
        self._files.forget()
        self._seen = clock.seconds()
        self._looking = False
        self._warn()

    def fresh(self) -> Deferred[Wanted]:
        """Those of now; fires at once where the files were looked at a short while ago, or somebody is at it."""
        settings, now = self._settings, self._clock.seconds()
        if not _has_files(settings) or self._looking or now - self._seen < LOOK:
            return succeed(self._wanted)
        self._looking, self._seen = True, now
        looked = self._aside(_look, settings, self._files, self._policies, self._below)
        return looked.addCallback(self._found).addErrback(self._failed)

    def _found(self, found: tuple[Files, Wanted | ConfigurationError] | None) -> Wanted:
        self._looking = False
        if found is None:
            return self._wanted
        self._files, made = found
        if isinstance(made, ConfigurationError):
            self._say(f"the new files are left out, the old stay: {'; '.join(made.lines)}")
        else:
            old, self._wanted = self._wanted, made
            for policy in old.policies:
                if policy not in made.policies:
                    policy.stop()
            self._say("the files were read again")
            self._warn()
        return self._wanted

    def _failed(self, failure: Failure) -> Wanted:
        """A bug of ours must not end what works."""
        self._looking = False
        _log.failure("looking at the files failed", failure)
        return self._wanted

    def _warn(self) -> None:
        for warning in self._wanted.servers.warnings:
            self._say(warning)

    def _say(self, line: str) -> None:
        _log.warn("mytls:{host}: {line}", host=self._settings.host, line=line)


def _has_files(settings: ClientSettings) -> bool:
    of_lists = settings.trust_roots or settings.certificate or settings.private_key
    return bool(of_lists or settings.rego or settings.via_password_file)


def _wanted(settings: ClientSettings, files: Files, policies: Sequence[Policy], below: IStreamClientEndpoint) -> Wanted:
    """@raise ConfigurationError: what the files say is wrong"""
    made, way = servers(settings, files), through(below, settings, files)
    if settings.rego is not None:
        of_host = settings.tls
        policies = (rego_policy(of_host, source_of(of_host, files)), *policies)
    if settings.starttls is None:
        return Wanted(made, way, policies)
    agreed = Agreed(way, settings.starttls, settings.name)
    return Wanted(made, agreed, policies, agrees=True, welcome=agreed.welcome)


def _look(
    settings: ClientSettings, files: Files, policies: Sequence[Policy], below: IStreamClientEndpoint
) -> tuple[Files, Wanted | ConfigurationError] | None:
    """What the files say by now, and what was read for it; None where they are as they were. Runs aside."""
    if not files.changed():
        return None
    anew = files.anew()
    try:
        return anew, _wanted(settings, anew, policies, below)
    except ConfigurationError as error:
        return anew, error
    finally:
        anew.forget()
