"""How long to wait before a new start."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mytls.workers.backoff import MOST, Backoff


class BackoffTests(SynchronousTestCase):
    """L{Backoff}."""

    def test_twice_as_long_each_time(self) -> None:
        """Who dies at once waits a second, then twice as long each time, up to a minute."""
        backoff = Backoff()
        self.assertEqual([backoff.delay(0.1) for _ in range(8)], [1, 2, 4, 8, 16, 32, 60, 60])

    def test_who_has_lived_begins_anew(self) -> None:
        """Who has lived for a while is started again as soon as at first."""
        backoff = Backoff()
        for _ in range(5):
            backoff.delay(0.1)
        self.assertEqual([backoff.delay(MOST), backoff.delay(0.1)], [1, 2])
