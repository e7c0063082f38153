"""Deadlines without a timer for each."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.guards.deadlines import Deadline


class DeadlineTests(SynchronousTestCase):
    """Time passes as the test says."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.deadline = Deadline(self.clock, 10)
        self.rung: list[str] = []

    def rings(self, name: str) -> Callable[[], None]:
        """What writes down that this one's time is over."""
        return lambda: self.rung.append(name)

    def start(self, name: str) -> None:
        """Start to wait under this name."""
        self.deadline.start(name, self.rings(name))

    def test_rings_once(self) -> None:
        """After its time, not before, and once."""
        self.start("a")
        self.clock.advance(9.9)
        self.assertEqual(self.rung, [])
        self.clock.advance(0.1)
        self.assertEqual(self.rung, ["a"])
        self.clock.advance(100)
        self.assertEqual(self.rung, ["a"])

    def test_each_its_own_time(self) -> None:
        """Each from when it was started, and one timer for all of them."""
        for name in "abc":
            self.start(name)
            self.clock.advance(3)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1)
        self.assertEqual(self.rung, ["a"])
        self.clock.advance(3)
        self.assertEqual(self.rung, ["a", "b"])
        self.clock.advance(3)
        self.assertEqual(self.rung, ["a", "b", "c"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_all_that_are_due(self) -> None:
        """However late the clock, all that are due ring, in their order."""
        for name in "abc":
            self.start(name)
            self.clock.advance(0.001)
        self.clock.advance(60)
        self.assertEqual(self.rung, ["a", "b", "c"])

    def test_stopped(self) -> None:
        """What is stopped does not ring, and the others ring in time."""
        self.start("a")
        self.clock.advance(5)
        self.start("b")
        self.deadline.stop("a")
        self.clock.advance(9.9)
        self.assertEqual(self.rung, [])
        self.clock.advance(0.1)
        self.assertEqual(self.rung, ["b"])

    def test_nothing_left(self) -> None:
        """With nothing to wait for, no timer keeps the reactor."""
        self.start("a")
        self.deadline.stop("a")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_what_is_not(self) -> None:
        """What was never started, or has rung, may be stopped."""
        self.deadline.stop("a")
        self.start("a")
        self.clock.advance(10)
        self.deadline.stop("a")
        self.assertEqual(self.rung, ["a"])

    def test_start_anew(self) -> None:
        """A start anew counts from now, behind those that wait already."""
        self.start("a")
        self.start("b")
        self.clock.advance(6)
        self.start("a")
        self.clock.advance(4)
        self.assertEqual(self.rung, ["b"])
        self.clock.advance(6)
        self.assertEqual(self.rung, ["b", "a"])

    def test_none(self) -> None:
        """A length of 0 is no deadline."""
        Deadline(self.clock, 0).start("a", self.rings("a"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_by_one_that_rings(self) -> None:
        """What is stopped while another rings at the same moment does not ring."""
        self.deadline.start("a", lambda: self.deadline.stop("b"))
        self.start("b")
        self.start("c")
        self.clock.advance(10)
        self.assertEqual(self.rung, ["c"])

    def test_started_by_one_that_rings(self) -> None:
        """What rings may start anew: itself, or another."""

        def ring() -> None:
            self.start("a")
            self.start("b")

        self.deadline.start("a", ring)
        self.clock.advance(4)
        self.start("c")
        self.clock.advance(6)
        self.assertEqual(self.rung, [])
        self.clock.advance(4)
        self.assertEqual(self.rung, ["c"])
        self.clock.advance(6)
        self.assertEqual(self.rung, ["c", "a", "b"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_emptied_and_started_by_one_that_rings(self) -> None:
        """Also when in between there was nothing to wait for."""

        def ring() -> None:
            self.start("b")
            self.deadline.stop("b")
            self.start("c")

        self.deadline.start("a", ring)
        self.clock.advance(10)
        self.clock.advance(10)
        self.assertEqual(self.rung, ["c"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_raises(self) -> None:
        """One that raises keeps no other from its time, and is heard of."""

        def wrong() -> None:
            raise ZeroDivisionError

        self.deadline.start("a", wrong)
        self.start("b")
        self.clock.advance(1)
        self.start("c")
        self.assertRaises(ZeroDivisionError, self.clock.advance, 9)
        self.clock.advance(0)
        self.assertEqual(self.rung, ["b"])
        self.clock.advance(1)
        self.assertEqual(self.rung, ["b", "c"])
