"""
Deadlines without a reactor timer for each: who starts later ends later, so one timer for the first is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadline:
    """
    One length of time, for any number of waits at once.

    @ivar seconds: the length; 0 is no deadline
    """

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self.seconds = seconds
        self._clock = clock
        self._waits: dict[Hashable, tuple[float, Callable[[], object]]] = {}
        self._timer: IDelayedCall | None = None

    def start(self, key: Hashable, expired: Callable[[], object]) -> None:
        """Call C{expired} after the length of time, unless stopped before; a start anew counts from now."""
        if not self.seconds:
            return
        self._waits.pop(key, None)
        self._waits[key] = (self._clock.seconds(), expired)
        if self._timer is None:
            self._timer = self._clock.callLater(self.seconds, self._ring)

    def stop(self, key: Hashable) -> None:
        """Forget this wait, if there is one."""
        self._waits.pop(key, None)
        if not self._waits and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def become(self, seconds: float) -> None:
        """Another length of time, also for the waits that have begun; 0 ends none of them from now on."""
        if seconds != self.seconds:
            self.seconds = seconds
            self._await_first()

    def _ring(self) -> None:
        self._timer = None
        try:
            self._expire(self._clock.seconds())
        finally:  # one that raises must not keep the others from theirs
            self._await_first()

    def _expire(self, now: float) -> None:
        while self._waits:
            key, (since, expired) = next(iter(self._waits.items()))
            if since + self.seconds > now:
                return
            del self._waits[key]
            expired()

    def _await_first(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waits and self.seconds:
            since, _ = next(iter(self._waits.values()))
            left = since + self.seconds - self._clock.seconds()
            self._timer = self._clock.callLater(max(left, 0), self._ring)
