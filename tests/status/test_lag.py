"""How late the event loop is."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.status.lag import EVERY, Lag


class LagTests(SynchronousTestCase):
    """A clock, and a loop that is busy."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.lag = Lag(self.clock)
        self.lag.start()

    def test_in_time(self) -> None:
        """A loop that has nothing else to do is in time."""
        self.clock.pump([EVERY] * 10)
        self.assertEqual((self.lag.last, self.lag.most), (0, 0))

    def test_late(self) -> None:
        """Three seconds of work are three seconds of lag; the most is told for a minute."""
        self.clock.advance(EVERY + 3)
        self.assertEqual((self.lag.last, self.lag.most), (3, 3))
        self.clock.advance(EVERY)
        self.assertEqual((self.lag.last, self.lag.most), (0, 3))
        self.clock.pump([EVERY] * 121)
        self.assertEqual(self.lag.most, 0)

    def test_stopped(self) -> None:
        """Nothing is left in the reactor; it may be started again, and twice."""
        self.lag.start()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.lag.stop()
        self.lag.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
