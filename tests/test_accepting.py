"""A port that accepts while there is room."""

from __future__ import annotations

import os
from errno import (
    ECONNABORTED,
    EHOSTUNREACH,
    EINTR,
    EMFILE,
    ENETDOWN,
    ENFILE,
    ENOBUFS,
    ENOMEM,
    EPERM,
    EPROTO,
    ETIMEDOUT,
)
from typing import Any

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mytls.accepting import PAUSE, TurnedAway, accept_through
from mytls.guards.board import Board
from mytls.guards.limits import Door, Room
from mytls.settings import Limits
from tests.lines import log_lines


class Listening:
    """A socket on which these come in turn: clients, or errors of accept."""

    def __init__(self) -> None:
        self.there: list[Any] = []
        self.addresses: list[Any] = []

    def accept(self) -> tuple[Any, Any]:
        if not self.there:
            raise BlockingIOError
        first = self.there.pop(0)
        if isinstance(first, OSError):
            raise first
        return first, self.addresses.pop(0) if self.addresses else ("192.0.2.1", 50000)


class Accepted:
    """A client's socket."""

    closed = False

    def close(self) -> None:
        self.closed = True


class AcceptingTests(SynchronousTestCase):
    """A port of Twisted's, with a socket of ours."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.made: list[Any] = []
        factory = Factory.forProtocol(Protocol)
        factory.buildProtocol = lambda addr: self.build()  # type: ignore[method-assign]
        self.build: Any = Protocol
        port: Any = tcp.Port(0, factory, reactor=MemoryReactorClock())
        self.port = port
        port.socket, port.connected = Listening(), True
        port.getHost = lambda: IPv4Address("TCP", "127.0.0.1", 1)
        self.reading = True
        port.startReading = lambda: setattr(self, "reading", True)
        port.stopReading = lambda: setattr(self, "reading", False)
        port.transport = self.transport

    def transport(self, *about: Any) -> Any:
        """One more is accepted."""
        self.made.append(about)
        return about

    def through(self, **limits: Any) -> Door:
        """The door of the port."""
        door = Door(Room(self.clock, Limits(**limits)))
        accept_through(self.port, door)
        return door

    def test_all(self) -> None:
        """Who is there is accepted, in one turn or several."""
        self.through()
        self.port.socket.there = [Accepted() for _ in range(150)]
        self.port.doRead()
        self.assertEqual(len(self.made), 100)
        self.port.doRead()
        self.assertEqual(len(self.made), 150)
        self.assertTrue(self.reading)

    def test_stops_in_between(self) -> None:
        """Where one that was accepted ends the listening, nobody comes behind it."""
        self.through()
        self.port.socket.there = [Accepted() for _ in range(5)]

        def build() -> Protocol:
            self.port.disconnecting = True
            return Protocol()

        self.build = build
        self.port.doRead()
        self.assertEqual(len(self.made), 1)

    def test_path(self) -> None:
        """The path of a client's own UNIX socket may be as long as an IPv6 address has parts."""
        self.through()
        self.port._buildAddr = UNIXAddress
        self.port.socket.there = [Accepted()] * 2
        self.port.socket.addresses = ["/t/x", b"\0abc"]
        self.port.doRead()
        self.assertEqual(len(self.made), 2)

    def test_wait(self) -> None:
        """Without room nobody is accepted, and the port is listened to again when there is some."""
        lines = log_lines(self)
        door = self.through(max_connections=1, at_limit="wait")
        place = door.enter(None)
        self.port.socket.there = [Accepted()]
        self.port.doRead()
        self.assertEqual((self.made, self.reading), ([], False))
        said = "1 connection is there, and limits.max-connections is 1; clients wait until there is room"
        self.assertEqual(lines, [f"cannot accept at 127.0.0.1:1: {said}"])
        place.leave()
        self.assertTrue(self.reading)
        self.port.doRead()
        self.assertEqual(len(self.made), 1)

    def test_paused(self) -> None:
        """Where others accept from now on, it is not listened to again, however much room there is."""
        door = self.through(max_connections=1, at_limit="wait")
        place = door.enter(None)
        self.port.doRead()
        self.assertFalse(self.reading)
        door.room.paused = True
        place.leave()
        self.assertFalse(self.reading)

    def test_no_descriptors(self) -> None:
        """Where there is no descriptor it waits for a while, and says so once a second at most."""
        lines = log_lines(self)
        self.through()
        self.port.socket.there = [OSError(EMFILE, "Too many open files") for _ in range(20)]
        for _ in range(8):
            self.port.doRead()
            self.assertFalse(self.reading)
            self.clock.advance(PAUSE)
            self.assertTrue(self.reading)
        said = "cannot accept at 127.0.0.1:1: too many open files; clients wait until there is room"
        self.assertEqual(lines, [said] * 2)

    def test_exhausted(self) -> None:
        """Whatever the system has run out of, nothing spins, the log says what it is, and then all goes on."""
        lines = log_lines(self)
        self.through()
        for error in (ENFILE, ENOBUFS, ENOMEM):
            self.port.socket.there = [OSError(error, os.strerror(error)), Accepted()]
            self.port.doRead()
            self.assertFalse(self.reading)
            self.clock.advance(PAUSE)
            self.port.doRead()
            self.clock.advance(1)
        self.assertEqual((len(self.made), self.reading), (3, True))
        said = [line.partition(": ")[2].partition(";")[0] for line in lines]
        self.assertEqual(said, ["too many open files", "no buffer space available", "cannot allocate memory"])

    def test_room_while_exhausted(self) -> None:
        """A connection that ends gives its descriptor back: the port is listened to before the pause is over."""
        door = self.through()
        place = door.enter(None)
        self.port.socket.there = [OSError(EMFILE, "Too many open files")]
        self.port.doRead()
        self.assertFalse(self.reading)
        place.leave()
        self.assertTrue(self.reading)
        self.clock.advance(PAUSE)
        self.assertTrue(self.reading)

    def test_who_looks_takes_no_place(self) -> None:
        """A port that is listened to again has claimed nothing until somebody comes: another process may be first."""
        board = Board.made(2, self.clock.seconds)
        self.addCleanup(board.close)
        limits = Limits(max_connections=1, at_limit="wait")
        mine, its = (Door(Room(self.clock, limits, counts=board.column(number))) for number in (0, 1))
        accept_through(self.port, mine)
        place = its.enter(None)
        self.port.doRead()
        self.assertFalse(self.reading)
        place.leave()
        self.clock.advance(0.05)
        self.assertTrue(self.reading)
        self.assertIsNone(its.shut())

    def test_gone_already(self) -> None:
        """Who has gone before he was accepted, or whose network has, is nobody's trouble (accept(2))."""
        lines = log_lines(self)
        self.through()
        gone = (ECONNABORTED, EINTR, EPERM, EPROTO, ENETDOWN, EHOSTUNREACH, ETIMEDOUT)
        self.port.socket.there = [*(OSError(error, "x") for error in gone), Accepted()]
        for _ in range(len(gone) + 1):
            self.port.doRead()
        self.assertEqual((len(self.made), self.reading, lines), (1, True, []))

    def test_turned_away(self) -> None:
        """Who is refused is closed at once, without a transport."""
        self.through()
        for build in (TurnedAway, lambda: None):
            self.build, one = build, Accepted()
            self.port.socket.there = [one]
            self.port.doRead()
            self.assertEqual((one.closed, self.made), (True, []))

    def test_own_fault(self) -> None:
        """A factory that raises has a traceback in the log, and its client is closed; the next one is served."""

        def fail() -> None:
            raise ZeroDivisionError

        self.through()
        self.build, one = fail, Accepted()
        self.port.socket.there = [one]
        self.port.doRead()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(one.closed)

    def test_stopped(self) -> None:
        """A port that is closed meanwhile is left alone."""
        door = self.through(max_connections=1, at_limit="wait")
        place = door.enter(None)
        self.port.socket.there = [Accepted()]
        self.port.doRead()
        self.port.disconnecting = True
        place.leave()
        self.assertFalse(self.reading)
