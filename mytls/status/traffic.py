"""
Bytes of connections that are there, as they were when they were last looked at.

Each connection counts its own. To ask ten thousand of them takes long enough for clients to notice, so of many a part
is asked at a time, and each once a second. Who ends is taken out in the same moment in which its bytes are counted as
those of one that has ended, so that the sum of both never goes down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds from one part to the next, and how many parts there are: each connection is asked once a second.
EVERY, PARTS = 0.05, 20
#: So many are asked at once, whenever somebody wants to know.
FEW = 500


class Moves(Protocol):
    """A connection."""

    @property
    def number(self) -> int:
        """Which one."""

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes from the peer, and to it, until now; none when it is gone."""


class Traffic:
    """
    What was seen of each, and the sum.

    @ivar bytes_in: from the peers, as C{bytes_out} is to them
    """

    def __init__(self) -> None:
        self.bytes_in = self.bytes_out = 0
        self._seen: dict[int, tuple[int, int]] = {}

    def look(self, connections: Sequence[Moves]) -> None:
        """See how much has passed through these."""
        seen = self._seen
        for each in connections:
            come, gone = now = each.traffic
            if come or gone:
                number = each.number
                before = seen.get(number, (0, 0))
                seen[number] = now
                self.bytes_in += come - before[0]
                self.bytes_out += gone - before[1]

    def forget(self, number: int) -> None:
        """It has ended, and its bytes are counted elsewhere."""
        come, gone = self._seen.pop(number, (0, 0))
        self.bytes_in -= come
        self.bytes_out -= gone


class Looks:
    """Looks at all connections again and again, at some of them at a time, from C{start} to C{stop}."""

    def __init__(self, clock: IReactorTime, connections: Callable[[], Sequence[Moves]], traffic: Traffic) -> None:
        """@param connections: tells which there are"""
        self._clock = clock
        self._connections = connections
        self._traffic = traffic
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Look from now on."""
        if self._call is None:
            self._call = self._clock.callLater(EVERY * PARTS, self._begin)

    def stop(self) -> None:
        """Look no more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def now(self, *, few: int = FEW) -> int:
        """Look at all of them at once, if they are few. @return: how many there are"""
        there = self._connections()
        if len(there) <= few:
            self._traffic.look(there)
        return len(there)

    def _begin(self) -> None:
        there = self._connections()
        if len(there) <= FEW:  # who wants to know looks then
            self._call = self._clock.callLater(EVERY * PARTS, self._begin)
        else:
            self._part(there, 0)

    def _part(self, there: Sequence[Moves], part: int) -> None:
        self._traffic.look(there[part::PARTS])
        following = part + 1
        if following < PARTS:
            self._call = self._clock.callLater(EVERY, self._part, there, following)
        else:
            self._call = self._clock.callLater(EVERY, self._begin)
