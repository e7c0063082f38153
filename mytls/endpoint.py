"""
The server endpoint `mytls:`, as a class and as a string.

    endpoint = TLSServerEndpoint(reactor, 8443, CertificateOptions(...))
    endpoint.listen(factory)

    twistd web --listen mytls:8443:privateKey=key.pem:certKey=fullchain.pem
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ServerEndpoint, quoteStringArgument, serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from mytls.accepting import accept_through
from mytls.accesslog import reloads
from mytls.adopted import shared
from mytls.changes import changes, shut_out
from mytls.errors import ConfigurationError, nearest
from mytls.events import Observers
from mytls.guards.limits import Door, Room
from mytls.handlers import handler_from_string
from mytls.hosts import Hosts
from mytls.listener import TLSFactory
from mytls.loading import Loaded, Loading, Made, contexts, load
from mytls.reload import Aside, Reloader, in_a_thread
from mytls.review import Reviewed
from mytls.settings import Deadlines, ListenerSettings, Settings
from mytls.sockets import write_at_once
from mytls.strings import listener_from_string, place_of, split_endpoint
from mytls.tls.files import Files
from mytls.tls.workload import Following

_log = Logger()


@implementer(IStreamServerEndpoint)
class TLSServerEndpoint:
    """
    TLS on a port, a drop-in for C{twisted.internet.endpoints.SSL4ServerEndpoint}.

    @ivar factories: what listens now, for whoever wants to end their connections
    @ivar door: what bounds how many come in
    """

    def __init__(
        self,
        reactor: Any,
        port: int,
        options: object,
        backlog: int = 50,
        interface: str = "",
        *,
        over: IStreamServerEndpoint | None = None,
        deadlines: Deadlines | None = None,
        observers: Observers | None = None,
        door: Door | None = None,
    ) -> None:
        """
        @param reactor: provides C{IReactorTCP} and C{IReactorTime}
        @param port: the port; 0 lets the system choose
        @param options: a C{CertificateOptions}, or anything that provides C{IOpenSSLServerConnectionCreator} or
            C{IOpenSSLContextFactory}; or the L{Hosts} of a server of many names
        @param backlog: how many connections the system keeps waiting to be accepted
        @param interface: the address to listen on; empty for all IPv4 addresses, `::` for IPv6 and IPv4
        @param over: listen with this endpoint, in place of a TCP port
        @param deadlines: how long clients may take; the usual ones, if left out, but that they may be silent
        @param observers: who is told what happens
        @param door: what bounds how many come in
        @raise TypeError: C{options} cannot make connections
        """
        self._reactor = reactor
        self._hosts = options if isinstance(options, Hosts) else Hosts.only(options)
        self._below = over or TCP4ServerEndpoint(reactor, port, backlog, interface)
        self._deadlines = deadlines or Deadlines(idle=0)
        self._observers = observers or Observers()
        self.door = door or Door(Room(reactor))
        self.factories: list[TLSFactory] = []

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen; each connection's protocol is connected when its handshake is done."""
        factory = self._factory(protocolFactory)
        return self._below.listen(factory).addCallback(self._listening, factory)

    def _factory(self, handler: IProtocolFactory) -> TLSFactory:
        return TLSFactory(self._hosts, handler, self._reactor, self._deadlines, self._observers, self.door)

    @property
    def hosts(self) -> Hosts:
        """Whom clients meet who come now."""
        return self._hosts

    def swap(self, hosts: Hosts) -> None:
        """Clients who come from now on meet these hosts."""
        self._hosts = hosts
        for factory in self.factories:
            factory.swap(hosts)

    def become(self, deadlines: Deadlines) -> None:
        """How long clients may take from now on."""
        self._deadlines = deadlines
        for factory in self.factories:
            factory.become(deadlines)

    def review(self, close: bool) -> Deferred[Reviewed]:
        """
        After a swap: find the connections of clients who may not enter any more.

        @param close: whether they are ended; else they are left
        @return: fires with how many there are
        """
        found = gatherResults([factory.review(close) for factory in self.factories])
        return found.addCallback(sum, Reviewed())

    def _listening(self, port: IListeningPort, factory: TLSFactory) -> IListeningPort:
        write_at_once(port)
        accept_through(port, self.door)
        factory.listening_on(port)
        self.factories.append(factory)
        return port


class ReloadingEndpoint(TLSServerEndpoint):
    """
    The endpoint of a string in another's program: while somebody listens, what is served is what its files say.

    Its log has lines for reloads alone; what is said of connections is that program's.
    """

    def __init__(
        self,
        reactor: Any,
        settings: ListenerSettings,
        aside: Aside | None = None,
        over: IStreamServerEndpoint | None = None,
    ) -> None:
        """
        @param settings: what the string says
        @param aside: runs a function where it holds up nobody; in a thread, if left out
        @param over: listen with this endpoint; with L{place_endpoint}, if left out
        @raise ConfigurationError: one line, which names the word that was wrong
        """
        files = Files()
        self._settings = settings
        self._watched: set[TLSFactory] = set()
        self._loaded = _loaded(settings, files, {})
        for warning in self._loaded.warnings:
            _log.warn("{line}", line=warning)
        own = settings.base.handler
        self._own = handler_from_string(reactor, own, Settings(backend=settings.base.backend)) if own else None
        observers = Observers([reloads])
        super().__init__(
            reactor,
            options=self._loaded.hosts.handled_by(lambda host: self._own),
            observers=observers,
            door=Door(Room(reactor), settings.max_connections, settings.at_limit),
            port=0,
            over=over or place_endpoint(reactor, settings),
        )
        self._reloader = Reloader(
            reactor,
            Settings().reload_interval,
            files,
            lambda now: _loaded(settings, now, contexts(self._loaded)),
            self._apply,
            aside or in_a_thread(reactor),
            observers,
        )
        self._following = Following(reactor, self._reloader.reload)

    def _factory(self, handler: IProtocolFactory) -> TLSFactory:
        return _WatchedFactory(
            self._watched, self._keep, self._hosts, handler, self._reactor, self._deadlines, self._observers, self.door
        )

    def _keep(self, current: bool) -> None:
        """What is served is what its files say, or stays from now on as it is."""
        if current:
            self._reloader.start()
        else:
            self._reloader.stop()
        self._following.only(*(self._loaded.workloads if current else ()))

    def _apply(self, loaded: Loaded) -> Deferred[Sequence[str]]:
        found = changes(self._settings.endpoint, self._loaded.hosts, loaded.hosts)
        self._loaded = loaded
        self.swap(loaded.hosts.handled_by(lambda host: self._own))
        self._following.only(*loaded.workloads)
        return self.review(close=False).addCallback(lambda reviewed: [*found, *shut_out(reviewed, close=False)])


class _WatchedFactory(TLSFactory):
    """Its files are looked at while it listens, or another of the same endpoint does."""

    def __init__(self, listening: set[TLSFactory], keep: Callable[[bool], None], *about: Any) -> None:
        """
        @param listening: those of the endpoint that do now
        @param keep: called with whether the endpoint is to be kept current
        """
        super().__init__(*about)
        self._all_listening = listening
        self._keep = keep

    def doStart(self) -> None:
        super().doStart()
        self._all_listening.add(self)
        self._keep(True)

    def doStop(self) -> None:
        super().doStop()
        if not self.numPorts:
            self._all_listening.discard(self)
        if not self._all_listening:
            self._keep(False)


def endpoint_from_words(
    reactor: Any, prefix: str, arguments: tuple[str, ...], words: dict[str, str]
) -> TLSServerEndpoint:
    """
    The endpoint that the words of an `ssl:` or `mytls:` string ask for. What an operator should know is warned of.

    @raise ConfigurationError: one line, which names the word that was wrong
    """
    named = (f"{name}={quoteStringArgument(value)}" for name, value in words.items())
    return ReloadingEndpoint(
        reactor, listener_from_string(":".join((prefix, *map(quoteStringArgument, arguments), *named)))
    )


def _loaded(settings: ListenerSettings, files: Files, made: Mapping[bytes, Made]) -> Loaded:
    return load(settings, Loading(files, made))


def tls_endpoint(
    reactor: Any,
    settings: ListenerSettings,
    hosts: Hosts,
    deadlines: Deadlines | None = None,
    observers: Observers | None = None,
    room: Room | None = None,
) -> TLSServerEndpoint:
    """
    The endpoint of a listener whose files are loaded, on the place that its string names; or of one without TLS.

    @param room: what it has in common with other listeners
    @raise ConfigurationError: the place, or what stands in C{over=}, is no endpoint string
    """
    door = Door(room or Room(reactor), settings.max_connections, settings.at_limit, settings.endpoint)
    if hosts.plain:
        return joined_endpoint(reactor, plain_endpoint(reactor, settings.endpoint), hosts, deadlines, observers, door)
    about = {"deadlines": deadlines, "observers": observers, "door": door, **_place(reactor, settings)}
    return TLSServerEndpoint(reactor, options=hosts, **about)


def joined_endpoint(
    reactor: Any,
    endpoint: IStreamServerEndpoint,
    hosts: Hosts,
    deadlines: Deadlines | None,
    observers: Observers | None,
    door: Door,
) -> TLSServerEndpoint:
    """What another endpoint accepts, as connections of ours. @param hosts: whom its clients meet"""
    return TLSServerEndpoint(reactor, 0, hosts, over=endpoint, deadlines=deadlines, observers=observers, door=door)


def place_endpoint(reactor: Any, settings: ListenerSettings) -> IStreamServerEndpoint:
    """
    What listens at the place that an `ssl:` or `mytls:` string names, below its TLS.

    @raise ConfigurationError: C{over=} is no endpoint string
    """
    place = _place(reactor, settings)
    return place.pop("over") or TCP4ServerEndpoint(reactor, **place)


def _place(reactor: Any, settings: ListenerSettings) -> dict[str, Any]:
    place = place_of(settings.endpoint)
    over = place.pop("over", None)
    return {"port": 0, "backlog": BACKLOG, **place, "over": None if over is None else plain_endpoint(reactor, over)}


#: How many connections the system keeps waiting to be accepted where a string does not say it. With Twisted's 50, who
#: comes as one of many at once is dropped by the system, and tries again a second later; nginx has 511.
BACKLOG = 512
#: Behind how many words a string has that word, where it stands without its name.
_BACKLOG_BEHIND = {"tcp": 3, "tcp6": 2, "unix": 3}

#: The prefixes of Twisted's own server endpoints, and the words that they know.
_STOCK_PREFIXES = ("ssl", "mytls", "tcp", "tcp6", "unix", "systemd", "stdio", "haproxy", "tls")
_STOCK_WORDS = (
    "port", "interface", "backlog", "address", "mode", "lockfile", "domain", "index", "name", "privateKey", "certKey",
    "sslmethod", "extraCertChain", "dhParameters",
)  # fmt: skip


def plain_endpoint(reactor: Any, description: str) -> IStreamServerEndpoint:
    """
    Any other server endpoint string, as Twisted reads it.

    @raise ConfigurationError: Twisted cannot read it
    """
    words, named = split_endpoint(description)
    if not words:
        raise ConfigurationError("the endpoint type has to stand first, as in tcp:8080")
    if words[0].lower() == "unix" and not (words[1] if len(words) > 1 else named.get("address")):
        raise ConfigurationError("unix: needs 'address'")
    if "backlog" not in named and len(words) <= _BACKLOG_BEHIND.get(words[0].lower(), 0):
        description = f"{description}:backlog={BACKLOG}"
    try:
        return shared(serverFromString(reactor, description))
    except ConfigurationError:
        raise
    except Exception as error:  # each parser has errors of its own
        raise ConfigurationError(_plainly(words[0], error)) from None


_A_COLON = "a colon in a value is written \\:"
#: What Twisted's parsers raise, and what it is for whoever typed the string: his prefix, and what the text quotes.
_PLAINLY: tuple[tuple[str, Callable[[str, str], str]], ...] = (
    (
        r"^Unknown endpoint type: '(.*)'$",
        lambda prefix, said: f"there is no endpoint type {said!r}{nearest(said, _STOCK_PREFIXES)}",
    ),
    (
        r"unexpected keyword argument '(.*?)'",
        lambda prefix, said: f"{said}= is no word of {prefix}:{nearest(said, _STOCK_WORDS)}",
    ),
    (r"missing \d+ required positional arguments?: (.*)", lambda prefix, said: f"{prefix}: needs {said}"),
    (r"multiple values for argument '(.*?)'", lambda prefix, said: f"{said} is said twice; {_A_COLON}"),
    (r"positional arguments? but (\d+) were given", lambda prefix, said: f"too many words for {prefix}:; {_A_COLON}"),
    (r"invalid literal for int\(\) with base 8: (.*)", lambda prefix, said: f"{said} is not an octal number"),
    (r"invalid literal for int\(\) with base \d+: (.*)", lambda prefix, said: f"{said} is not a number"),
    (
        r"module 'socket' has no attribute 'AF_(.*?)'",
        lambda prefix, said: f"domain={said}: no such domain{nearest(said, ('INET', 'INET6', 'UNIX'))}",
    ),
)


def _no_such_socket(names: str) -> str:
    """@param names: of the sockets that there are, as systemd says them (sd_listen_fds(3))"""
    if not names:  # Twisted's C{ListenFDs} takes none then
        return (
            "we were passed no sockets; expected LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES with a name for each, as"
            " systemd sets them (with systemd-socket-activate say --fdname)"
        )
    there = ", ".join(f"index={index} (name={name})" for index, name in enumerate(names.split(":")))
    return f"there is no such socket; systemd has passed {there}"


def _plainly(prefix: str, error: Exception) -> str:
    if prefix == "systemd" and isinstance(error, LookupError):
        return _no_such_socket(os.environ.get("LISTEN_FDNAMES", ""))
    text = " ".join(str(error).split()) or type(error).__name__
    for pattern, say in _PLAINLY:
        found = re.search(pattern, text)
        if found is not None:
            return say(prefix, found[1])
    return text
