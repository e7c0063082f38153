"""What several processes count together."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import TLSFailure
from mytls.guards import board as boards
from mytls.guards.board import Board, Columns
from mytls.guards.limits import Door, Place, Room
from mytls.settings import Limits


def v4(host: str = "192.0.2.1") -> IPv4Address:
    """An address."""
    return IPv4Address("TCP", host, 50000)


class Port:
    """What accepts."""

    looked = 0

    def look(self) -> None:
        self.looked += 1


class TogetherTests(SynchronousTestCase):
    """Two workers, each with a room of its own, and the same limits for both."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.board = Board.made(4, self.clock.seconds)
        self.addCleanup(self.board.close)

    def doors(self, most: int = 0, **limits: Any) -> list[Door]:
        """That of each."""
        rooms = [Room(self.clock, Limits(**limits), counts=self.board.column(number)) for number in (0, 1)]
        return [Door(room, most, name="tcp:1") for room in rooms]

    def let_in(self, doors: list[Door], count: int, address: Any = None) -> list[Place]:
        """So many come, in turn at each. @return: the places of who was let in"""
        turns = (doors[turn % len(doors)] for turn in range(count))
        return [door.enter(address or v4()) for door in turns if door.refusal(address or v4()) is None]

    def test_all(self) -> None:
        """So many in all, and not one more; what is said is of all; who leaves makes room at the other."""
        one, other = self.doors(max_connections=5)
        places = self.let_in([one, other], 20)
        self.assertEqual((len(places), one.open, other.open), (5, 3, 2))
        refusal = other.refusal(v4())
        assert refusal is not None
        self.assertEqual(refusal.detail, "5 connections are there, and limits.max-connections is 5")
        places[0].leave()
        self.assertEqual(len(self.let_in([other, one], 4)), 1)

    def test_one(self) -> None:
        """A limit of one is one, wherever who comes is accepted."""
        one, other = self.doors(max_connections=1)
        (place,) = self.let_in([other], 1)
        self.assertEqual(self.let_in([one, other], 4), [])
        place.leave()
        self.assertEqual(len(self.let_in([one], 2)), 1)

    def test_the_last_place(self) -> None:
        """Of two who want it at the same time one has it: who has found the other's claim looks again."""
        mine, its = (self.board.column(number).row("open") for number in (0, 1))
        its.write(1)

        @contextmanager
        def locked(row: int) -> Iterator[bool]:
            its.write(0)  # it has taken its own back, and waits for its turn
            yield True

        self.patch(self.board, "locked", locked)
        self.assertTrue(mine.claims(0, 1))
        self.assertFalse(its.claims(0, 1) or its.elsewhere() != 1)

    def test_listener(self) -> None:
        """So many at one listener."""
        self.assertEqual(len(self.let_in(self.doors(most=3), 10)), 3)

    def test_address(self) -> None:
        """So many of one address, and as many of another."""
        doors = self.doors(max_connections_per_address=3)
        first = self.let_in(doors, 10)
        second = self.let_in(doors, 10, v4("192.0.2.2"))
        self.assertEqual((len(first), len(second)), (3, 3))
        for place in first:
            place.leave()
        self.assertEqual(len(self.let_in(doors, 10)), 3)

    def test_handshakes(self) -> None:
        """So many under way; who is through, counts no more."""
        doors = self.doors(max_handshakes=3)
        places = self.let_in(doors, 10)
        self.assertEqual(len(places), 3)
        for place in places:
            place.met()
        self.assertEqual(len(self.let_in(doors, 10)), 3)

    def test_rates(self) -> None:
        """So many a second, and twice as many at once: of one address, and in all."""
        doors = self.doors(accepts_per_second=5)
        self.assertEqual(len(self.let_in(doors, 40)), 10)
        self.clock.advance(1)
        self.assertEqual(len(self.let_in(doors, 40)), 5)
        doors = self.doors(accepts_per_second_per_address=2)
        self.assertEqual(len(self.let_in(doors, 20, v4("192.0.2.7"))), 4)
        self.assertEqual(len(self.let_in(doors, 20, v4("192.0.2.8"))), 4)
        self.clock.advance(1)
        self.assertEqual(len(self.let_in(doors, 20, v4("192.0.2.7"))), 2)

    def test_handshakes_a_second(self) -> None:
        """Likewise those that begin a handshake."""
        begun = 0
        for place in self.let_in(self.doors(handshakes_per_second=3), 20):
            try:
                place.begin_handshake()
            except TLSFailure:
                continue
            begun += 1
        self.assertEqual(begun, 6)

    def test_who_is_refused_counts_nowhere(self) -> None:
        """A place that one limit would give, and another does not, stays free."""
        one, other = self.doors(most=2, max_connections=3, max_connections_per_address=1, max_handshakes=9)
        self.let_in([one], 1)
        for _ in range(5):
            self.assertIsNotNone(other.refusal(v4()))
        self.assertEqual(len(self.let_in([other], 5, v4("192.0.2.2"))), 1)
        self.assertEqual(self.let_in([one, other], 5, v4("192.0.2.3")), [])

    def test_wait(self) -> None:
        """Where who comes beyond waits, a place is claimed before it is given; the others' ends are looked for."""
        one, other = self.doors(max_connections=2, at_limit="wait")
        (place,) = self.let_in([one], 1)
        self.assertIsNone(other.shut())
        self.assertIsNotNone(one.shut())  # the last place is claimed
        other.unclaim()
        self.assertIsNone(one.shut())
        one.unclaim()
        self.let_in([other], 1)
        self.assertIsNotNone(other.shut())
        port = Port()
        other.room.wait(port)
        place.leave()
        self.assertEqual(port.looked, 0)
        self.clock.advance(0.05)
        self.assertEqual((port.looked, other.shut()), (1, None))

    def test_what_is_claimed_is_kept(self) -> None:
        """Who was waited for is let in, also while another has written its claim and not yet taken it back."""
        one, _ = self.doors(max_handshakes=1, at_limit="wait")
        self.assertIsNone(one.shut())
        self.board.column(1).row("handshakes").write(1)
        self.assertIsNone(one.refusal(v4()))

    def test_wait_for_time(self) -> None:
        """Where it is the rate, who is waited for has its token before it is accepted, and gives it back."""
        one, other = self.doors(accepts_per_second=1, at_limit="wait")
        self.let_in([one], 1)
        self.assertIsNone(other.shut())
        self.assertIsNotNone(one.shut())
        self.assertIsNone(other.shut())
        self.assertIsNone(other.refusal(v4()))
        self.clock.advance(1)
        self.assertIsNone(one.shut())
        one.unclaim()
        self.assertIsNone(other.shut())

    def test_complaints(self) -> None:
        """One line a second, whoever complains."""
        one, other = (door.room for door in self.doors())
        with capturedLogs() as said:
            for room in (one, other, one):
                room.complain("there is no room")
            self.clock.advance(1)
            other.complain("there is still none")
        self.assertEqual([each["line"] for each in said], ["there is no room", "there is still none"])


class BoardTests(SynchronousTestCase):
    """The memory itself."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.board = Board.made(3, self.clock.seconds)
        self.addCleanup(self.board.close)

    def test_another_process(self) -> None:
        """One that has the descriptor counts in the same rows."""
        again = Board(os.dup(self.board.descriptor), self.clock.seconds)
        self.addCleanup(again.close)
        mine, its = self.board.column(0).row("open"), again.column(2).row("open")
        mine.write(3)
        its.write(4)
        self.assertEqual((again.columns, mine.elsewhere(), its.elsewhere()), (3, 4, 3))

    def test_who_is_gone(self) -> None:
        """What a process has counted goes with it, and the next one has its column."""
        columns = Columns(self.board)
        taken = [columns.take() for _ in range(4)]
        self.assertEqual([each is None for each in taken], [False, False, False, True])
        gone, stays = taken[0], taken[1]
        assert gone is not None
        assert stays is not None
        for column, count in ((gone, 7), (stays, 2)):
            column.row("open").write(count)
            row = column.row_of("192.0.2.1")
            assert row is not None
            row.write(count)
        columns.give_back(gone)
        again = columns.take()
        assert again is not None
        row = again.row_of("192.0.2.1")
        assert row is not None
        self.assertEqual((again.number, again.row("open").elsewhere(), row.elsewhere()), (gone.number, 2, 2))

    def test_addresses_come_and_go(self) -> None:
        """More addresses than there are rows: who has something keeps its row, and others get those of who has not."""
        self.patch(boards, "ADDRESSES", 8)
        self.board = Board.made(2, self.clock.seconds)
        self.addCleanup(self.board.close)
        column = self.board.column(0)
        rows = [column.row_of(f"192.0.2.{number}") for number in range(8)]
        held = rows[3]
        assert held is not None
        held.write(1)
        for each in rows:
            assert each is not None
            self.assertTrue(each.kept)
            each.bucket(0, 0, 1).take(0, 1)
        self.assertIsNone(column.row_of("198.51.100.1"))  # their buckets are not full
        self.clock.advance(2)
        for number in range(7):
            row = column.row_of(f"198.51.100.{number}")
            assert row is not None
            row.write(1)
        self.assertIsNone(column.row_of("203.0.113.1"))
        self.assertEqual([each.kept for each in rows if each is not None], [number == 3 for number in range(8)])

    def test_nobody_waits_for_a_lock(self) -> None:
        """Where another holds it for long, the bucket is used all the same."""
        holder = "import fcntl, signal, sys; fcntl.lockf(3, fcntl.LOCK_EX); print(flush=True); signal.pause()"
        descriptor = os.dup(self.board.descriptor)
        os.set_inheritable(descriptor, True)
        command = [sys.executable, "-c", holder.replace("3", str(descriptor), 1)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[descriptor])
        self.addCleanup(child.communicate)
        self.addCleanup(child.kill)
        assert child.stdout is not None
        child.stdout.readline()
        row = self.board.column(0).row("open")
        self.assertTrue(row.bucket(0, 0, 1).take(0, 1))
        self.assertFalse(row.once(0, 1e9))
