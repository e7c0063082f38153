"""
Listening sockets that somebody else has made, as systemd does, and goes on to have after us.

Twisted's port for a UNIX socket treats one that it was given as its own: it sets the mode of its path, which the
maker has chosen and which another user may not change; when it stops it shuts the socket down, for everybody who has
it, and deletes the path, where the next who is started with that socket would be looked for. This one leaves all
three alone.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from mytls.errors import ConfigurationError


def shared(endpoint: IStreamServerEndpoint) -> IStreamServerEndpoint:
    """An endpoint of Twisted's, or in its place one that leaves its maker what it has adopted."""
    if not isinstance(endpoint, AdoptedStreamServerEndpoint):
        return endpoint
    return AdoptedEndpoint(endpoint.reactor, endpoint.fileno, endpoint.addressFamily)


@implementer(IStreamServerEndpoint)
class AdoptedEndpoint:
    """
    Listens with a socket of another's. That stays open, so its number means nothing else later, and one who has
    stopped can listen with it again, as when a reload brings a listener back.
    """

    def __init__(self, reactor: Any, descriptor: int, family: int) -> None:
        """
        @param reactor: provides C{IReactorSocket}
        @param descriptor: the number of the socket, which listens
        @param family: C{AF_INET}, C{AF_INET6} or C{AF_UNIX}: what it is said to be
        """
        self._reactor = reactor
        self._descriptor = descriptor
        self._family = family

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Accept there. Fails with L{ConfigurationError} where the socket is not what it was said to be."""
        try:
            return succeed(self._listen(factory))
        except Exception:
            return fail()

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        _check(self._descriptor, self._family)
        return adopt(self._reactor, self._descriptor, self._family, factory)


def adopt(reactor: Any, descriptor: int, family: int, factory: IProtocolFactory) -> IListeningPort:
    """As C{IReactorSocket.adoptStreamPort}, but that it leaves its maker what it adopts; the descriptor stays open."""
    os.set_blocking(descriptor, False)
    if family != socket.AF_UNIX or getattr(reactor, "shares_sockets", False):  # such a reactor comes back here
        return reactor.adoptStreamPort(descriptor, family, factory)  # type: ignore[no-any-return]
    port = AdoptedUNIXPort(descriptor, factory, reactor)
    port.startListening()
    return port


class AdoptedUNIXPort(unix.Port):
    """A port on a UNIX socket of another's: it touches neither the file of that socket nor its queue."""

    def __init__(self, descriptor: int, factory: IProtocolFactory, reactor: Any) -> None:
        """@param descriptor: of the socket; it stays open"""
        self._listening = _Borrowed(fileno=os.dup(descriptor))
        self.path = os.fsencode(self._listening.getsockname())
        super().__init__(self.path, factory, reactor=reactor)

    def startListening(self) -> None:
        """Accept from now on; bound and listening it is already."""
        assert self.factory is not None
        self.factory.doStart()
        self.connected = True
        self.socket = self._listening
        self.fileno = self._listening.fileno  # type: ignore[method-assign]  # as tcp.Port's own
        self.numberAccepts = 100
        self.startReading()

    def connectionLost(self, reason: Failure) -> None:
        """Accept no more, and leave the file where it is."""
        tcp.Port.connectionLost(self, reason)


class _Borrowed(socket.socket):
    """A socket that others have too."""

    def shutdown(self, how: int, /) -> None:
        """The others go on."""


def _check(descriptor: int, family: int) -> None:
    """@raise ConfigurationError: it is no listening socket of that family"""
    try:
        os.set_inheritable(descriptor, False)  # no program of a handler's is to have it
        copy = socket.socket(fileno=os.dup(descriptor))
    except OSError as error:
        raise ConfigurationError(f"descriptor {descriptor}: {error.strerror}; expected a listening socket") from None
    with copy:
        if copy.family != family:
            raise ConfigurationError(f"{_domain(family)}: the socket that was passed is one of {_domain(copy.family)}")
        if copy.type != socket.SOCK_STREAM or not copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ConfigurationError(f"descriptor {descriptor}: expected a stream socket that listens (Accept=no)")


def _domain(family: int) -> str:
    try:
        return f"domain={socket.AddressFamily(family).name.removeprefix('AF_')}"
    except ValueError:
        return f"domain={family}"
