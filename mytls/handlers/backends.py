"""
Which of several backends is dialled next, and who is left out for a while: values and a clock, no connection.

A backend that refuses is left out for a time that doubles with each refusal in a row. Those that are left out are
still tried, after the others: nobody is turned away while there is one that was not asked. When its time is over it
counts as one that is up: only the next client can tell, and must not be kept away by what is known of the last.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from enum import StrEnum

import attrs
from twisted.internet.interfaces import IReactorTime

#: Seconds that a backend is left out after its first failure, and at most; before the jitter, which takes up to half.
FIRST, MOST = 1.0, 60.0
#: Doubling more often than this comes to no more.
_DOUBLINGS = 6


class Balance(StrEnum):
    """Who is next."""

    ROUND_ROBIN = "round-robin"
    LEAST_CONNECTIONS = "least-connections"
    #: The first in the order of the string that is there.
    FIRST = "first"


class State(StrEnum):
    """How a backend is, as far as is known."""

    UP = "up"
    #: It is left out, since the last dial has failed.
    DOWN = "down"
    #: Its health check says no.
    UNHEALTHY = "unhealthy"


@attrs.frozen
class Standing:
    """
    How a backend is.

    @ivar description: its endpoint string
    @ivar open: how many clients have it, or wait for it to accept
    @ivar since: the clock's time of when it became so
    """

    description: str
    state: State
    open: int
    since: float


class NotWell(Exception):
    """A backend has failed its health check; the text says how."""


class Backends:
    """Several backends, by their place in the order of the string, from 0."""

    def __init__(
        self,
        descriptions: Sequence[str],
        clock: IReactorTime,
        balance: Balance = Balance.ROUND_ROBIN,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """@param chance: a number from 0 to 1, for the jitter"""
        now = clock.seconds()
        self._records = [_Record(description, now) for description in descriptions]
        self._clock = clock
        self._balance = balance
        self._chance = chance
        self._turn = 0

    def __len__(self) -> int:
        return len(self._records)

    def next(self, tried: Collection[int]) -> int | None:
        """
        Whom to dial.

        @param tried: those that were dialled already
        @return: its place; None where all were
        """
        now = self._clock.seconds()
        left = [at for at in range(len(self)) if at not in tried]
        willing = [at for at in left if self._records[at].well and self._records[at].due <= now]
        if willing:
            return self._chosen(willing)
        return min(left, key=lambda at: (not self._records[at].well, self._records[at].due), default=None)

    def wait(self) -> float:
        """Seconds until the first of those that are left out is due; 0 where one is."""
        return max(min(each.due for each in self._records) - self._clock.seconds(), 0)

    def opened(self, at: int) -> None:
        """It is dialled for somebody."""
        self._records[at].open += 1

    def closed(self, at: int) -> None:
        """Nobody needs that connection any more, or it has never come."""
        self._records[at].open -= 1

    def reached(self, at: int) -> None:
        """It has accepted, and is who it should be."""
        record, now = self._records[at], self._clock.seconds()
        record.look(now)
        record.failures, record.due = 0, 0.0
        record.look(now)

    def failed(self, at: int, dialled: float) -> None:
        """
        It could not be had.

        @param dialled: the time of the dial. One of before the end of the time that it is left out for tells nothing
            new: many clients who fail in the same moment are one failure.
        """
        record, now = self._records[at], self._clock.seconds()
        if dialled < record.due:
            return
        record.look(now)
        seconds = min(FIRST * 2 ** min(record.failures, _DOUBLINGS), MOST)
        record.failures += 1
        record.due = now + seconds * (1 - self._chance() / 2)
        record.look(now)

    def found(self, at: int, well: bool) -> bool:
        """Its health was looked at. @return: whether that is a change"""
        record, now = self._records[at], self._clock.seconds()
        record.look(now)
        changed, record.well = record.well != well, well
        record.look(now)
        return changed

    def standings(self) -> tuple[Standing, ...]:
        """How each of them is, in the order of the string."""
        now = self._clock.seconds()
        for each in self._records:
            each.look(now)
        return tuple(Standing(each.description, each.state, each.open, each.since) for each in self._records)

    def _chosen(self, willing: list[int]) -> int:
        count = len(self)
        match self._balance:
            case Balance.FIRST:
                return willing[0]
            case Balance.LEAST_CONNECTIONS:
                chosen = min(willing, key=lambda at: (self._records[at].open, (at - self._turn) % count))
            case Balance.ROUND_ROBIN:
                chosen = min(willing, key=lambda at: (at - self._turn) % count)
        self._turn = (chosen + 1) % count
        return chosen


class _Record:
    """What is known of one. Its C{due} is when it may be dialled again."""

    __slots__ = ("description", "due", "failures", "open", "since", "state", "well")

    def __init__(self, description: str, now: float) -> None:
        self.description = description
        self.open = self.failures = 0
        self.due = 0.0
        self.well = True
        self.state = State.UP
        self.since = now

    def look(self, now: float) -> None:
        """Time has passed, or something has happened to it now."""
        state = State.UNHEALTHY if not self.well else State.DOWN if self.due > now else State.UP
        if state is not self.state:
            is_over = self.state is State.DOWN and 0 < self.due <= now
            self.state, self.since = state, self.due if is_over else now
