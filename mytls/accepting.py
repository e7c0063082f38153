"""
Accepting: who comes is let in while there is room, and waits while there is none.

Twisted's ports accept whoever comes, a hundred at a time, and have an answer of their own to a full table of
descriptors: they accept and close one client after the other, with lines in the log for each. Here a port that has no
room, or no descriptor, is not listened to for a while: its clients wait in the system's queue, and nothing spins.
"""

from __future__ import annotations

import socket
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Protocol
from twisted.logger import Logger

from mytls.addresses import address_text
from mytls.guards.limits import Door

_log = Logger()

#: The system has nothing left for another connection (accept(2)).
_EXHAUSTED = (EMFILE, ENFILE, ENOBUFS, ENOMEM)
#: Seconds until the next look after that, unless a connection ends before.
PAUSE = 0.25
#: How many are accepted before others have their turn, at most.
_AT_ONCE = 100


def accept_through(port: IListeningPort, door: Door) -> None:
    """
    From now on a port accepts while this door is open. One that is no port of Twisted's own is left as it is: who
    comes to it beyond a limit is refused.

    @param port: what C{listen} has just returned
    """
    if isinstance(port, tcp.Port):
        port.doRead = Accepting(port, door).accept  # type: ignore[method-assign]  # what the reactor calls


class TurnedAway(Protocol):
    """Closes at once. A factory that wraps another's has no place for none at all."""

    def connectionMade(self) -> None:
        """Accepted by the port, and by nobody else."""
        assert self.transport is not None
        self.transport.loseConnection()


class Accepting:
    """What a port does when the system says that somebody is there."""

    def __init__(self, port: Any, door: Door) -> None:
        self._port = port
        self._door = door
        self._times = _AT_ONCE

    def accept(self) -> None:
        """Take those who are there: as many as the last time, or twice as many. Each look for none costs a call."""
        taken = 0
        while taken < self._times and not self._port.disconnecting:
            shut = self._door.shut()
            if shut is not None:
                self._wait(shut.detail)
                break
            accepted = self._accepted()
            if accepted is None:
                self._door.unclaim()
                break
            taken += 1
            self._connect(*accepted)
        self._times = min(2 * taken if taken == self._times else max(taken, 1), _AT_ONCE)

    def look(self) -> None:
        """There may be room again."""
        if not self._port.connected or self._port.disconnecting or self._door.room.paused:
            return
        if self._door.shut() is not None:
            self._door.room.wait(self)
        else:
            self._door.unclaim()  # who is there is yet to be seen
            self._port.resumeProducing()

    def _wait(self, why: str) -> None:
        where, room = address_text(self._port.getHost()), self._door.room
        self._port.pauseProducing()
        room.wait(self)
        room.complain(f"cannot accept at {where}: {why}; clients wait until there is room")

    def _accepted(self) -> tuple[socket.socket, Any] | None:
        """Who is there; None where nobody is, or cannot be let in."""
        try:
            return self._port.socket.accept()  # type: ignore[no-any-return]
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._pause(error)
            return None  # or who was there has gone already; where it has not, the reactor says so again

    def _pause(self, error: OSError) -> None:
        self._wait("too many open files" if error.errno in (EMFILE, ENFILE) else str(error.strerror).lower())
        self._door.room.clock.callLater(PAUSE, self.look)

    def _connect(self, accepted: socket.socket, address: Any) -> None:
        """As Twisted's ports do it."""
        port, transport = self._port, None
        try:
            if port.addressFamily == socket.AF_INET6:  # this is the spelling with its zone
                host, _ = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
                address = (host, *address[1:])
            protocol = port.factory.buildProtocol(port._buildAddr(address))
            if protocol is None or isinstance(protocol, TurnedAway):
                accepted.close()  # now: in the next turn a crowd would have all descriptors
                return
            number = port.sessionno
            port.sessionno = number + 1
            transport = port.transport(accepted, protocol, address, port, number, port.reactor)
            protocol.makeConnection(transport)
        except Exception:  # ours, or a wrapping factory's: it is this connection's alone
            _log.failure("a connection that was accepted could not be begun")
            (accepted.close if transport is None else transport.abortConnection)()
