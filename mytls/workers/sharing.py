"""
Reactors that share listening sockets: a parent's binds them and accepts nobody, a worker's takes them as its own, and
a successor's goes on with those of its predecessor.

Endpoints do not know of it. They ask their reactor to listen, in the parent and in each worker with the same words,
and by these words the worker's finds the socket that the parent's has bound. The parent keeps each open as long as it
is served, so no client in the queue of one is lost when a worker ends.

A UNIX socket has a file besides: the parent's port makes and removes it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from twisted.internet import tcp, unix
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.python.lockfile import FilesystemLock
from zope.interface import directlyProvides, providedBy

from mytls.adopted import AdoptedUNIXPort, adopt

#: The first descriptor that is passed on (sd_listen_fds(3)).
FIRST = 3


class _Reactor:
    """
    Another reactor, but for how it listens.

    @ivar shares_sockets: whether what it adopts is another's too; see L{mytls.adopted}
    """

    shares_sockets = True

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.callLater = reactor.callLater
        self.seconds = reactor.seconds
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


class Handed:
    """
    Listening sockets that a predecessor has handed over, until somebody listens there.

    @ivar taken: the names of those where somebody does
    """

    def __init__(self, descriptors: Mapping[str, int] | None = None) -> None:
        """@param descriptors: the sockets, by their names"""
        self._left = dict(descriptors or {})
        self.taken: set[str] = set()

    def find(self, wanted: str) -> str | None:
        """The name of one of those that are called so; None where there is none."""
        return next((each for each in _several(wanted, len(self._left)) if each in self._left), None)

    def take(self, name: str) -> int | None:
        """The socket; None where it was not handed over."""
        if name in self._left:
            self.taken.add(name)
        return self._left.pop(name, None)

    def forget(self) -> None:
        """Close those that nobody listens at: they would go on taking clients, whom nobody serves."""
        for name in tuple(self._left):
            os.close(self._left.pop(name))


class Keeping(_Reactor):
    """
    That of a process which serves by itself, and can hand over to its successor.

    It listens with what was handed over, and where nothing was it binds. What it has bound is its own: a UNIX socket's
    file goes when it listens no more, unless the socket was handed over; then it is the successor's to remove.
    """

    def __init__(self, reactor: Any, handed: Handed | None = None, kind: str = "") -> None:
        """@param kind: what is different about the names of its sockets"""
        super().__init__(reactor)
        self._handed = handed or Handed()
        self._kind = kind
        self._ports: dict[str, Any] = {}

    @property
    def ports(self) -> dict[str, Any]:
        """What is bound now, by its name."""
        return {name: port for name, port in self._ports.items() if port.connected}

    @property
    def descriptors(self) -> dict[str, int]:
        """The sockets that are bound now, by their names."""
        return {name: port.fileno() for name, port in self.ports.items() if not port.disconnecting}

    def hand_over(self, names: Iterable[str]) -> None:
        """These are a successor's from now on."""
        for name in names:
            port = self._ports.get(name)
            if isinstance(port, _UNIXPort | _HandedUNIXPort):
                port.leave()

    def take_over(self) -> None:
        """What was handed over is ours alone from now on."""
        for port in self._ports.values():
            if isinstance(port, _HandedUNIXPort):
                port.own()

    def listenTCP(self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = "") -> IListeningPort:
        """See C{IReactorTCP}."""
        name = self._named(tcp_name(interface, port, self._kind))
        given = self._handed.take(name)
        return self._kept(name, _TCPPort(given, port, self._clients(factory), backlog, interface, self._reactor))

    def listenUNIX(
        self, address: Any, factory: IProtocolFactory, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> IListeningPort:
        """See C{IReactorUNIX}."""
        name = self._named(unix_name(address, self._kind))
        given, meets = self._handed.take(name), self._clients(factory)
        if given is None:
            return self._kept(name, _UNIXPort(address, meets, backlog, mode, self._reactor, wantPID))
        return self._kept(name, _HandedUNIXPort(given, meets, mode, self._reactor, wantPID))

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory) -> IListeningPort:
        """See C{IReactorSocket}."""
        name = self._named(adopted_name(fileDescriptor))
        return self._begun(name, adopt(self._reactor, fileDescriptor, addressFamily, self._clients(factory)))

    def _clients(self, factory: IProtocolFactory) -> Any:
        """Who meets those who are accepted."""
        return factory

    def _begins(self, port: Any) -> None:
        """It listens."""

    def _named(self, wanted: str) -> str:
        found = self._handed.find(wanted)
        ports = self.ports
        return found or next(each for each in _several(wanted) if each not in ports)

    def _kept(self, name: str, port: Any) -> IListeningPort:
        port.startListening()
        return self._begun(name, port)

    def _begun(self, name: str, port: Any) -> IListeningPort:
        self._begins(port)
        self._ports = {**self.ports, name: port}
        return port  # type: ignore[no-any-return]


class Binding(Keeping):
    """The parent's."""

    def _clients(self, factory: IProtocolFactory) -> Any:
        return _Idle()

    def _begins(self, port: Any) -> None:
        port.pauseProducing()


class _Shared(socket.socket):
    """A listening socket that others have too. Where one has shut it down, nobody can accept there any more."""

    def shutdown(self, how: int, /) -> None:
        """The others go on."""


class _Bound(_Shared):
    """One that is bound already."""

    def bind(self, address: Any, /) -> None:
        """It is."""


class _TCPPort(tcp.Port):
    """As Twisted's, but that it lets others go on when it ends, and may listen with a socket that was handed over."""

    def __init__(self, given: int | None, *about: Any) -> None:
        """@param given: that socket, which is ours to close"""
        super().__init__(*about)
        self._given = given

    def createInternetSocket(self) -> socket.socket:
        if self._given is None:
            return _Shared(fileno=super().createInternetSocket().detach())
        given, self._given = self._given, None
        os.set_blocking(given, False)
        return _Bound(fileno=given)


class _UNIXPort(unix.Port):
    """Likewise. The file of its socket may stay."""

    _stays = False

    def createInternetSocket(self) -> socket.socket:
        return _Shared(fileno=super().createInternetSocket().detach())

    def leave(self) -> None:
        """The file is another's from now on."""
        self._stays = True
        _unlock(self)

    def connectionLost(self, reason: Failure) -> None:
        (tcp.Port if self._stays else unix.Port).connectionLost(self, reason)


class _HandedUNIXPort(AdoptedUNIXPort):
    """One that listens with a socket that was handed over, whose file is another's at first."""

    _stays = True

    def __init__(self, given: int, factory: Any, mode: int, reactor: Any, wants_lock: bool) -> None:
        """@param given: the socket, which is ours to close"""
        super().__init__(given, factory, reactor)
        os.close(given)
        self._wanted = mode, wants_lock

    def own(self) -> None:
        """The file is ours from now on, to remove at the end. It may be another user's, who has made it."""
        self._stays = False
        mode, wants_lock = self._wanted
        if self.path[:1] == b"\0":
            return
        with suppress(OSError):
            os.chmod(self.path, mode)
        lock = FilesystemLock(self.path + b".lock")
        with suppress(OSError):
            if wants_lock and lock.lock():
                self.lockFile = lock

    def leave(self) -> None:
        """It is another's again."""
        self._stays = True
        _unlock(self)

    def connectionLost(self, reason: Failure) -> None:
        (tcp.Port if self._stays else unix.Port).connectionLost(self, reason)


def _unlock(port: Any) -> None:
    lock, port.lockFile = port.lockFile, None
    if lock is not None:
        with suppress(OSError, ValueError):
            lock.unlock()


class _Idle(Factory):
    """Who is accepted by nobody else is not accepted by the parent either."""

    noisy = False

    def buildProtocol(self, addr: object) -> None:
        return None

    def logPrefix(self) -> str:
        return "the parent"


class Inheriting(_Reactor):
    """A worker's."""

    def __init__(self, reactor: Any, descriptors: Mapping[str, int]) -> None:
        """@param descriptors: the sockets, by their names"""
        super().__init__(reactor)
        self._descriptors = dict(descriptors)

    def inherits(self, descriptors: Mapping[str, int]) -> None:
        """Others, in place of those that nobody listens at."""
        self.forget()
        for name, descriptor in descriptors.items():
            number = number_adopted(name)
            if number is None:
                self._descriptors[name] = descriptor
            else:  # it has a number that the user knows it by
                os.dup2(descriptor, number, inheritable=False)
                os.close(descriptor)

    def forget(self) -> None:
        """Close those that nobody listens at: one that stays open would go on taking clients, whom nobody serves."""
        descriptors, self._descriptors = self._descriptors, {}
        for name, descriptor in descriptors.items():
            if number_adopted(name) is None:
                os.close(descriptor)

    def listenTCP(self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = "") -> IListeningPort:
        """See C{IReactorTCP}."""
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        return self._adopted(tcp_name(interface, port), family, factory, interface, port)

    def listenUNIX(
        self, address: Any, factory: IProtocolFactory, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> IListeningPort:
        """See C{IReactorUNIX}."""
        return self._adopted(unix_name(address), socket.AF_UNIX, factory, None, os.fsdecode(address))

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory) -> IListeningPort:
        """See C{IReactorSocket}. These have kept their numbers."""
        return adopt(self._reactor, fileDescriptor, addressFamily, factory)

    def _adopted(self, wanted: str, family: int, factory: Any, interface: str | None, port: Any) -> IListeningPort:
        name = next((each for each in _several(wanted, len(self._descriptors)) if each in self._descriptors), None)
        if name is None:
            raise CannotListenError(interface, port, OSError(0, "the parent has no such socket"))
        descriptor = self._descriptors.pop(name)
        try:
            return adopt(self._reactor, descriptor, family, factory)
        finally:
            os.close(descriptor)


#: How the names begin of sockets that the parent has bound.
_OURS = "mytls-"


def tcp_name(interface: str, port: int, kind: str = "") -> str:
    """The name of a TCP port's socket; names have no colons, for C{LISTEN_FDNAMES} has."""
    return f"{_OURS}{kind}" + quote(f"tcp {interface} {port}", safe="")


def unix_name(address: Any, kind: str = "") -> str:
    """The name of a UNIX socket."""
    return f"{_OURS}{kind}" + quote(f"unix {os.fsdecode(address)}", safe="")


def is_ours(name: str) -> bool:
    """Whether it is one of these."""
    return name.startswith(_OURS)


#: How those begin of sockets that the parent was started with.
_ADOPTED = "inherited-"


def adopted_name(descriptor: int) -> str:
    """The name of a socket that another has bound. @param descriptor: as the parent was started with it"""
    return f"{_ADOPTED}{descriptor}"


def number_adopted(name: str) -> int | None:
    """That descriptor; None where it is the name of another."""
    return int(name.removeprefix(_ADOPTED)) if name.startswith(_ADOPTED) else None


def _several(name: str, most: int = 10000) -> Iterable[str]:
    """The name, and those of others like it: port 0 may be asked for several times."""
    yield name
    for number in range(1, most + 1):
        yield f"{name}-{number}"
