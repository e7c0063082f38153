"""How long to wait before something that has died is started again."""

from __future__ import annotations

#: Seconds until the first new start, and at most; who has lived this long begins anew.
FIRST, MOST = 1.0, 60.0


class Backoff:
    """Twice as long each time, until one lives for a while."""

    def __init__(self, first: float = FIRST, most: float = MOST) -> None:
        self._first = first
        self._most = most
        self._next = first

    def delay(self, lived: float) -> float:
        """How many seconds to wait. @param lived: how many seconds the last one has lived"""
        if lived >= self._most:
            self._next = self._first
        now, self._next = self._next, min(self._next * 2, self._most)
        return now
