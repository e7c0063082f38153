"""How late the event loop is: what is to run at a moment runs so much later."""

from __future__ import annotations

from collections import deque

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds from one look to the next.
EVERY = 0.5
#: Seconds that the most is of.
WITHIN = 60.0


class Lag:
    """
    Looks again and again how late it is called, from C{start} to C{stop}.

    @ivar last: in seconds, at the last look
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.last = 0.0
        self._clock = clock
        self._seen: deque[tuple[float, float]] = deque(maxlen=int(WITHIN / EVERY))
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Look from now on."""
        if self._call is None:
            self._call = self._clock.callLater(EVERY, self._look, self._clock.seconds() + EVERY)

    def stop(self) -> None:
        """Look no more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    @property
    def most(self) -> float:
        """The most of the last minute, in seconds."""
        since = self._clock.seconds() - WITHIN
        return max((lag for at, lag in self._seen if at >= since), default=0.0)

    def _look(self, due: float) -> None:
        now = self._clock.seconds()
        self.last = max(now - due, 0.0)
        self._seen.append((now, self.last))
        self._call = self._clock.callLater(EVERY, self._look, now + EVERY)
