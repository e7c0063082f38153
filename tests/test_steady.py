"""A reactor's time that does not jump."""

from __future__ import annotations

from typing import Any

from twisted.internet.base import ReactorBase
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.runtime import seconds as system_time
from twisted.trial.unittest import SynchronousTestCase

from mytls.steady import keep_steady


class SteadyTests(SynchronousTestCase):
    """Reactors, and a monotonic clock."""

    def test_goes_on(self) -> None:
        """It begins at the system's time, as logs of others show it, and goes on as the monotonic clock does."""
        clock = Clock()
        reactor: Any = type("Reactor", (), {"seconds": staticmethod(system_time)})()
        before = system_time()
        keep_steady(reactor, clock.seconds)
        first = reactor.seconds()
        self.assertTrue(before <= first <= system_time())
        clock.advance(5)
        self.assertAlmostEqual(reactor.seconds() - first, 5, 3)

    def test_twisted_reactors(self) -> None:
        """Twisted's reactors have the system's time: that is the one that is replaced, for all that they wait for."""
        self.assertIs(ReactorBase.seconds, system_time)

    def test_other_time(self) -> None:
        """A reactor that has another time keeps it."""
        reactor = MemoryReactorClock()
        keep_steady(reactor)
        reactor.advance(7)
        self.assertEqual(reactor.seconds(), 7)
