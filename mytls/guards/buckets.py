"""How often something may happen: tokens that come back with time."""

from __future__ import annotations

#: Seconds. After so long without anybody a bucket is full.
FULL_AFTER = 2.0


class Bucket:
    """So many a second, and twice as many at once after a quiet time."""

    __slots__ = ("_at", "_tokens")

    def __init__(self, now: float, rate: int) -> None:
        """@param rate: how many come back each second"""
        self._at = now
        self._tokens = rate * FULL_AFTER

    def take(self, now: float, rate: int) -> bool:
        """@return: whether there was one to take"""
        if self.wait(now, rate) > 0:
            return False
        self._tokens -= 1
        return True

    def give_back(self, rate: int) -> None:
        """What was taken last was not needed."""
        self._tokens = min(self._tokens + 1, rate * FULL_AFTER)

    def wait(self, now: float, rate: int) -> float:
        """How many seconds it takes until there is one; 0 where there is one."""
        passed = max(now - self._at, 0)  # the reactor of another program may have a clock that is set back
        self._tokens = min(self._tokens + passed * rate, rate * FULL_AFTER)
        self._at = now
        return max(1 - self._tokens, 0) / rate
