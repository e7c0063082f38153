"""
So many connections at the same time, and room for one more whoever else is there.

Who comes is let in, and of too many the one has to go that is of least use: one that has never asked anything, or else
one that is answered, or else one that is being answered. Of several it is one from where most of them are, and there
the one that was heard of longest ago. What has come is no measure: below TLS a stranger's bytes look like a request,
so the site says who has asked. What they need of the process's descriptors is kept for them, so that the
service answers also where others have used up all the rest.
"""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import Any

from twisted.internet import tcp
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort, IProtocol, IProtocolFactory, IReactorTime, IStreamServerEndpoint
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from zope.interface import implementer

from mytls.guards.visitors import key_of

#: How many connections there may be, and of how many descriptors one is kept for them.
MOST, LEAST, PART = 64, 4, 16
#: Seconds until who is still there at the end is cut.
GOODBYE = 1.0


def most_of_process() -> int:
    """How many connections there may be with this process's limit of descriptors (RLIMIT_NOFILE)."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if limit == resource.RLIM_INFINITY else max(min(limit // PART, MOST), LEAST)


class Use(IntEnum):
    """Of how much use a connection is; the least goes first."""

    SILENT = 0  # nothing whole was asked: no handshake yet, or no request
    ANSWERED = 1
    ASKS = 2  # and is not answered yet


@implementer(IStreamServerEndpoint)
class CrowdedEndpoint:
    """Listens with another endpoint, and bounds how many connections there are."""

    def __init__(self, clock: IReactorTime, below: IStreamServerEndpoint, most: int) -> None:
        """@param most: how many connections there may be"""
        self._clock = clock
        self._below = below
        self._most = most
        self._crowd: Crowd | None = None

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen."""
        self._crowd = Crowd(self._clock, protocolFactory, self._most)
        return self._below.listen(self._crowd)

    def accepts_by(self, port: IListeningPort) -> IListeningPort:
        """
        From now on this port has a descriptor whenever it accepts, if it is one of Twisted's own.

        @param port: what C{listen} has given, here or of what stands above
        """
        if self._crowd is not None and isinstance(port, tcp.Port):
            port.doRead = _Accepting(port, self._crowd).accept  # type: ignore[method-assign]  # what the reactor calls
            self._crowd.keep()
        return port

    def asks(self, transport: Any) -> Callable[[], object]:
        """See L{Crowd.asks}."""
        return _nothing if self._crowd is None else self._crowd.asks(transport)

    def end(self) -> Deferred[None]:
        """Have everybody end. Fires when all are gone."""
        return succeed(None) if self._crowd is None else self._crowd.end()


class Crowd(WrappingFactory[ProtocolWrapper]):
    """Who is there, each behind a wrapper; those who were heard of last stand last."""

    noisy = False

    def __init__(self, clock: IReactorTime, wrapped: IProtocolFactory, most: int) -> None:
        super().__init__(wrapped)
        self._clock = clock
        self.protocol = _One
        self._most = most
        self._reserve = _Reserve()
        self._there: dict[_One, None] = {}
        self._gone: list[Deferred[None]] = []

    def registerProtocol(self, p: Any) -> None:
        """One more is there."""
        p.where = key_of(p.transport.getPeer())
        self._there[p] = None
        if len(self) > self._most:
            first = self._least(p)
            del self._there[first]
            first.transport.abortConnection()

    def unregisterProtocol(self, p: Any) -> None:
        """One is gone."""
        self._there.pop(p, None)
        self.keep()
        if not len(self):
            waiting, self._gone = self._gone, []
            for each in waiting:
                each.callback(None)

    def heard(self, one: _One) -> None:
        """It has said something, or was told something: that is of use once it has asked."""
        if one.use is not Use.SILENT and one in self._there:
            del self._there[one]
            self._there[one] = None

    def asks(self, transport: Any) -> Callable[[], object]:
        """
        Somebody who may has sent a whole request.

        @param transport: where it has come, here or in what stands above: they have one descriptor
        @return: to be called when it is answered
        """
        number = transport.fileno()
        for one in self._there:
            if one.transport.fileno() == number:
                one.use = Use.ASKS
                self.heard(one)
                return partial(self._answered, one)
        return _nothing

    def end(self) -> Deferred[None]:
        """Send what was said, cut who does not read it, and keep nothing for anybody. Fires when all are gone."""
        self._most = -1
        self._reserve.hold(0)
        if not len(self):
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._gone.append(done)
        cut = self._clock.callLater(GOODBYE, self._each, "abortConnection")
        self._each("loseConnection")
        return done.addCallback(lambda _: cut.cancel() if cut.active() else None)

    def keep(self, but: int = 0) -> None:
        """Keep a descriptor for each that may still come. @param but: so many that are to be free now"""
        self._reserve.hold(max(self._most + 1 - len(self) - but, 0))

    def __len__(self) -> int:
        return len(self._there)

    def _each(self, do: str) -> None:
        for one in tuple(self._there):
            getattr(one.transport, do)()

    def _answered(self, one: _One) -> None:
        one.use = Use.ANSWERED
        self.heard(one)

    def _least(self, newest: _One) -> _One:
        """Who goes; who has just come only where nobody else is there."""
        others = [one for one in self._there if one is not newest] or [newest]
        use = min(one.use for one in others)
        least = [one for one in others if one.use is use]
        at = Counter(one.where for one in (*least, newest))
        return max(least, key=lambda one: at[one.where])  # the first of those that are equal


class _One(ProtocolWrapper):
    """
    One of them.

    @ivar where: what its address counts as
    """

    factory: Any
    use = Use.SILENT
    where: str | None = None

    def __init__(self, factory: Any, wrappedProtocol: IProtocol) -> None:
        super().__init__(factory, wrappedProtocol)
        self.transport: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.factory.heard(self)
        super().dataReceived(data)

    def write(self, data: bytes) -> None:
        self.factory.heard(self)
        super().write(data)

    def writeSequence(self, data: Any) -> None:
        self.factory.heard(self)
        super().writeSequence(data)


def _nothing() -> None:
    """Nobody has to be told."""


class _Accepting:
    """What a port does when the system says that somebody is there: it takes one, and others have their turn."""

    def __init__(self, port: tcp.Port, crowd: Crowd) -> None:
        self._port = port
        self._read = partial(type(port).doRead, port)  # and not what else may stand in its place, which takes many
        self._crowd = crowd

    def accept(self) -> None:
        self._port.numberAccepts = 1
        self._crowd.keep(but=1)
        self._read()
        self._crowd.keep()


class _Reserve:
    """Descriptors that are open for nothing, so that nobody else has them."""

    def __init__(self) -> None:
        self._held: list[int] = []

    def hold(self, number: int) -> None:
        """Have so many, or as many as the system gives."""
        while len(self._held) > number:
            os.close(self._held.pop())
        try:
            while len(self._held) < number:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return  # there will be some when others have ended
