"""Which backend is next, and who is left out: promises about values and a clock."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.handlers.backends import MOST, Backends, Balance, State


class BackendsTests(SynchronousTestCase):
    """Three backends, a clock, and no jitter."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.backends = self.several()

    def several(self, balance: Balance = Balance.ROUND_ROBIN, chance: float = 0.0) -> Backends:
        """Backends a, b and c."""
        return Backends("abc", self.clock, balance, lambda: chance)

    def order(self, count: int) -> list[int | None]:
        """Who is next, so many times."""
        return [self.backends.next(()) for _ in range(count)]

    def refuses(self, at: int) -> None:
        """One fails that was dialled now."""
        self.backends.failed(at, self.clock.seconds())

    def states(self) -> list[State]:
        return [each.state for each in self.backends.standings()]

    def test_round_robin(self) -> None:
        """Each has its turn."""
        self.assertEqual(self.order(7), [0, 1, 2, 0, 1, 2, 0])

    def test_round_robin_without_one(self) -> None:
        """Where one is left out the others share its turns."""
        self.refuses(1)
        self.assertEqual(self.order(4), [0, 2, 0, 2])

    def test_least_connections(self) -> None:
        """The one with the fewest; in turn where these are several."""
        self.backends = self.several(Balance.LEAST_CONNECTIONS)
        for expected in (0, 1, 2, 0):
            self.assertEqual(self.backends.next(()), expected)
            self.backends.opened(expected)
        self.backends.closed(2)
        self.assertEqual(self.backends.next(()), 2)

    def test_first(self) -> None:
        """Always the first that is there."""
        self.backends = self.several(Balance.FIRST)
        self.assertEqual(self.order(2), [0, 0])
        self.refuses(0)
        self.assertEqual(self.order(2), [1, 1])
        self.clock.advance(1)
        self.assertEqual(self.order(2), [0, 0])

    def test_tried(self) -> None:
        """Who was tried is not dialled again; when all were there is nobody."""
        for balance in Balance:
            self.backends = self.several(balance)
            tried: list[int] = []
            while (at := self.backends.next(tried)) is not None:
                tried.append(at)
            self.assertEqual(sorted(tried), [0, 1, 2])

    def test_back_off_doubles(self) -> None:
        """A second, then two, up to a minute; a success makes it a second again."""
        self.backends = Backends("a", self.clock, chance=lambda: 0.0)
        waits = []
        for _ in range(9):
            self.refuses(0)
            waits.append(self.backends.wait())
            self.clock.advance(self.backends.wait())
        self.assertEqual(waits, [1, 2, 4, 8, 16, 32, MOST, MOST, MOST])
        self.backends.reached(0)
        self.refuses(0)
        self.assertEqual(self.backends.wait(), 1)

    def test_jitter(self) -> None:
        """The time is shorter by up to half, so that not everybody comes back in the same moment."""
        for chance, expected in ((0.0, 1.0), (0.5, 0.75), (1.0, 0.5)):
            self.backends = Backends("a", self.clock, chance=lambda: chance)  # noqa: B023  # used in this turn alone
            self.refuses(0)
            self.assertEqual(self.backends.wait(), expected)

    def test_many_that_fail_together(self) -> None:
        """A hundred clients that are refused in the same moment do not make it a minute."""
        for _ in range(100):
            self.refuses(0)
        self.clock.advance(0.5)
        self.backends.failed(0, dialled=0.0)
        self.clock.advance(0.5)
        self.assertIn(0, self.order(3))
        self.backends.failed(0, dialled=0.9)  # before the time was over
        self.assertIn(0, self.order(3))

    def test_all_out(self) -> None:
        """Where all are left out the one that is due first is next, and the others after it."""
        for at in (2, 0, 1):
            self.refuses(at)
            self.clock.advance(0.1)
        tried: list[int] = []
        while (at_last := self.backends.next(tried)) is not None:
            tried.append(at_last)
        self.assertEqual(tried, [2, 0, 1])

    def test_unhealthy(self) -> None:
        """Who is not well is left out, and is the last that is tried where nobody else is there."""
        self.assertTrue(self.backends.found(0, well=False))
        self.assertFalse(self.backends.found(0, well=False))
        self.assertEqual(self.order(3), [1, 2, 1])
        self.refuses(1)
        self.refuses(2)
        self.assertEqual((self.backends.next(()), self.backends.next((1, 2))), (1, 0))
        self.assertTrue(self.backends.found(0, well=True))
        self.assertEqual(self.order(2), [0, 0])

    def test_standings(self) -> None:
        """How each is, how many have it, and since when it is so."""
        self.clock.advance(10)
        self.backends.opened(0)
        self.backends.opened(0)
        self.backends.closed(0)
        self.refuses(1)
        self.backends.found(2, well=False)
        self.clock.advance(10)
        self.refuses(1)
        said = [(each.description, each.state, each.open, each.since) for each in self.backends.standings()]
        self.assertEqual(said, [("a", "up", 1, 0), ("b", "down", 0, 20), ("c", "unhealthy", 0, 10)])
        self.backends.reached(1)
        self.assertEqual([each.since for each in self.backends.standings()], [0, 20, 10])
        self.assertEqual(self.states(), [State.UP, State.UP, State.UNHEALTHY])

    def test_down_while_left_out(self) -> None:
        """A backend is down for as long as it is left out, or nobody who asks how it is would ever send it a client."""
        self.clock.advance(10)
        self.refuses(0)
        self.clock.advance(0.9)
        self.refuses(1)
        self.assertEqual(self.states(), [State.DOWN, State.DOWN, State.UP])
        self.clock.advance(0.1)
        self.assertEqual(self.states(), [State.UP, State.DOWN, State.UP])
        self.clock.advance(5)
        self.assertEqual([each.since for each in self.backends.standings()][:2], [11, 11.9])
        self.refuses(0)
        self.assertEqual(self.backends.standings()[0].since, 16)
        self.clock.advance(1.9)  # it is left out for longer now
        self.assertEqual(self.states()[0], State.DOWN)

    def test_unhealthy_is_not_over_with_time(self) -> None:
        """What a health check has found, only a health check finds otherwise."""
        self.backends.found(0, well=False)
        self.refuses(0)
        self.clock.advance(1000)
        self.assertEqual(self.states()[0], State.UNHEALTHY)
        self.backends.found(0, well=True)
        self.assertEqual(self.states()[0], State.UP)
