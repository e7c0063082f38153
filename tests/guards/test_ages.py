"""Connections that are silent, or old."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import Cause, TLSFailure
from mytls.guards.ages import Ages


class Aged:
    """A connection."""

    def __init__(self, clock: Clock) -> None:
        self.moved = 0
        self.ended: list[tuple[float, Cause]] = []
        self._clock = clock

    def finish(self, failure: TLSFailure) -> None:
        self.ended.append((self._clock.seconds(), failure.cause))


class AgesTests(SynchronousTestCase):
    """In steps of a tenth of a second."""

    def setUp(self) -> None:
        self.clock = Clock()

    def ages(self, idle: float = 0, lifetime: float = 0, chance: float = 0.5) -> Ages:
        """What watches."""
        return Ages(self.clock, idle, lifetime, lambda: chance)

    def pass_time(self, seconds: float, *busy: Aged) -> None:
        """Time in which some bytes of these move."""
        for _ in range(round(seconds * 10)):
            for each in busy:
                each.moved += 1
            self.clock.advance(0.1)

    def test_silent(self) -> None:
        """One that is silent ends once, after its time and before an eighth more of it; others go on."""
        ages = self.ages(idle=8)
        silent, busy = Aged(self.clock), Aged(self.clock)
        for each in (silent, busy):
            ages.start(each)
        self.pass_time(30, busy)
        ((when, cause),) = silent.ended
        self.assertIs(cause, Cause.IDLE)
        self.assertTrue(8 <= when <= 9.1, when)
        self.assertEqual(busy.ended, [])

    def test_silent_later(self) -> None:
        """Its time counts from its last byte."""
        ages, connection = self.ages(idle=8), Aged(self.clock)
        ages.start(connection)
        self.pass_time(20, connection)
        self.pass_time(7.9)
        self.assertEqual(connection.ended, [])
        self.pass_time(1.3)
        self.assertEqual(len(connection.ended), 1)

    def test_lifetime(self) -> None:
        """One that is as old as it may be ends whatever it does, not all at the same time."""
        for chance, least, most in ((0.0, 36, 37.1), (0.5, 39, 41), (1.0, 42.5, 44.1)):
            self.clock = Clock()
            ages, connection = self.ages(lifetime=40, chance=chance), Aged(self.clock)
            ages.start(connection)
            self.pass_time(50, connection)
            ((when, cause),) = connection.ended
            self.assertIs(cause, Cause.LIFETIME)
            self.assertTrue(least <= when <= most, when)

    def test_gone(self) -> None:
        """Who is gone is forgotten, and the clock with it."""
        ages, connection = self.ages(idle=8, lifetime=100), Aged(self.clock)
        ages.start(connection)
        ages.stop(connection)
        ages.stop(connection)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_off(self) -> None:
        """Without such times nothing is watched."""
        ages, connection = self.ages(), Aged(self.clock)
        ages.start(connection)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_few_timers(self) -> None:
        """Many connections have one timer, and a byte costs nothing."""
        ages = self.ages(idle=80)
        many = [Aged(self.clock) for _ in range(1000)]
        for each in many:
            ages.start(each)
        self.pass_time(5, *many)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_other_times(self) -> None:
        """Other times hold for those who are there too."""
        ages, connection = self.ages(idle=800), Aged(self.clock)
        ages.start(connection)
        ages.become(8, 0)
        self.pass_time(10)
        self.assertEqual(len(connection.ended), 1)
