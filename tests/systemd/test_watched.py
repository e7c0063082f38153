"""A service whose event loop is watched."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.systemd import watched
from mytls.systemd.watchdog import Watchdog
from mytls.systemd.watched import LAST, SAID, Watched, watch
from tests.systemd.test_watchdog import Sees


class Slow(Service):
    """Stops when the test says so."""

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return self.ended


class WatchedTests(SynchronousTestCase):
    """L{Watched}."""

    def test_until_it_has_stopped(self) -> None:
        """It is looked at from the start on, also while it drains, and no more when it has stopped."""
        clock, sees, slow = Clock(), Sees(), Slow()
        made = Watched(slow, Watchdog(clock, 1.0, sees))
        made.startService()
        stopped = made.stopService()
        clock.advance(1)
        self.assertEqual(sees.told, ["start", "turned", "turned"])
        slow.ended.callback(None)
        self.successResultOf(stopped)
        self.assertEqual((sees.told[-1], clock.getDelayedCalls()), ("stop", []))


class WhenTests(SynchronousTestCase):
    """When it is said that the loop does not turn."""

    def setUp(self) -> None:
        self.made: list[tuple[str, float]] = []
        for name in ("Lookout", "LastWords"):
            self.patch(watched, name, lambda seconds, name=name: self._note(name, seconds))

    def _note(self, name: str, seconds: float) -> Any:
        self.made.append((name, seconds))
        return Sees()

    def test_without_systemd(self) -> None:
        """After five seconds, and by faulthandler after ten."""
        watch(Clock())
        self.assertEqual(self.made, [("Lookout", SAID), ("LastWords", LAST)])
        self.assertEqual((SAID, LAST), (5.0, 10.0))

    def test_before_systemd_acts(self) -> None:
        """Sooner, in less than the half of its time: so long before it may have heard of us last."""
        watch(Clock(), 4.0)
        self.assertEqual([name for name, _ in self.made], ["Lookout", "LastWords"])
        said, last = (seconds for _, seconds in self.made)
        self.assertTrue(said < last < 2.0, self.made)

    def test_a_long_time_of_systemds(self) -> None:
        """Then it is as without."""
        watch(Clock(), 30.0)
        self.assertEqual(self.made, [("Lookout", SAID), ("LastWords", LAST)])
