"""
Reactors that share listening sockets: a parent's binds them and accepts nobody, a worker's takes them as its own.

Endpoints do not know of it. They ask their reactor to listen, in the parent and in each worker with the same words,
and by these words the worker's finds the socket that the parent's has bound. The parent keeps each open as long as it
is served, so no client in the queue of one is lost when a worker ends.

A UNIX socket has a file besides: the parent's port makes and removes it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from twisted.internet import tcp, unix
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.protocol import Factory
from zope.interface import directlyProvides, providedBy

from mytls.adopted import adopt

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


class Binding(_Reactor):
    """
    The parent's.

    @ivar ports: what is bound now, by its name
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self.ports: dict[str, Any] = {}

    @property
    def descriptors(self) -> dict[str, int]:
        """The sockets that are bound now, by their names."""
        return {name: port.fileno() for name, port in self.ports.items() if not port.disconnecting}

    def listenTCP(self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = "") -> IListeningPort:
        """See C{IReactorTCP}."""
        name = tcp_name(interface, port)
        return self._bound(name, lambda idle: _TCPPort(port, idle, backlog, interface, self._reactor))

    def listenUNIX(
        self, address: Any, factory: IProtocolFactory, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> IListeningPort:
        """See C{IReactorUNIX}."""
        name = unix_name(address)
        return self._bound(name, lambda idle: _UNIXPort(address, idle, backlog, mode, self._reactor, wantPID))

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory) -> IListeningPort:
        """See C{IReactorSocket}."""
        name = adopted_name(fileDescriptor)
        return self._kept(name, lambda idle: adopt(self._reactor, fileDescriptor, addressFamily, idle))

    def _bound(self, wanted: str, make: Callable[[Factory], tcp.Port]) -> IListeningPort:
        def listening(idle: Factory) -> tcp.Port:
            port = make(idle)
            port.startListening()
            return port

        return self._kept(wanted, listening)

    def _kept(self, wanted: str, listen: Callable[[Factory], Any]) -> IListeningPort:
        name = next(each for each in _several(wanted) if each not in self.ports)
        port = listen(_Idle(lambda: self.ports.pop(name, None)))
        port.pauseProducing()
        self.ports[name] = port
        return port  # type: ignore[no-any-return]


class _Shared(socket.socket):
    """A listening socket that others have too. Where one has shut it down, nobody can accept there any more."""

    def shutdown(self, how: int, /) -> None:
        """The others go on."""


class _TCPPort(tcp.Port):
    """As Twisted's, but that it lets others go on when it ends."""

    def createInternetSocket(self) -> socket.socket:
        return _Shared(fileno=super().createInternetSocket().detach())


class _UNIXPort(unix.Port):
    """Likewise."""

    def createInternetSocket(self) -> socket.socket:
        return _Shared(fileno=super().createInternetSocket().detach())


class _Idle(Factory):
    """Who is accepted by nobody else is not accepted by the parent either. @ivar gone: called when it ends"""

    noisy = False

    def __init__(self, gone: Callable[[], object]) -> None:
        self.stopFactory = gone  # type: ignore[method-assign]

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


def tcp_name(interface: str, port: int) -> str:
    """The name of a TCP port's socket; names have no colons, for C{LISTEN_FDNAMES} has."""
    return _OURS + quote(f"tcp {interface} {port}", safe="")


def unix_name(address: Any) -> str:
    """The name of a UNIX socket."""
    return _OURS + quote(f"unix {os.fsdecode(address)}", safe="")


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
