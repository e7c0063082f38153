"""A service that stops: who is there may finish, up to a deadline, and the log says how many are left."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mytls.events import Draining, Observers

_log = Logger()

#: Seconds between two lines of the log.
PROGRESS = 2.0


class Drain:
    """
    The end of a service.

    @ivar until: the clock's time at which those who are left are ended; None for never
    """

    def __init__(self, clock: IReactorTime, seconds: float, left: Callable[[], int]) -> None:
        """
        @param seconds: how long connections may go on; 0 is for ever
        @param left: tells how many there are
        """
        self.until = clock.seconds() + seconds if seconds else None
        self._clock = clock
        self._seconds = seconds
        self._left = left
        self._unfinished: int | None = None
        self._quiet = True
        self._waiting: list[Deferred[int]] = []
        self._lines = LoopingCall(self._say)
        self._lines.clock = clock

    def begin(self, parts: Iterable[Deferred[int]], observers: Observers | None) -> None:
        """
        Nobody is accepted any more.

        @param parts: fire when all of their connections are gone, with how many of these have not finished
        @param observers: are told; None where nobody was served, and nothing is to be said
        """
        if observers is not None:
            self._quiet = False
            observers.tell(Draining(connections=self._left(), seconds=self._seconds))
            self._lines.start(PROGRESS, now=False)
        gatherResults(list(parts)).addCallback(self._over)

    def done(self) -> Deferred[int]:
        """Fires when the last connection is gone, with how many have not finished in their time."""
        waiting: Deferred[int] = Deferred()
        if self._unfinished is None:
            self._waiting.append(waiting)
        else:
            waiting.callback(self._unfinished)
        return waiting

    def _say(self) -> None:
        left = self._left()
        until = "" if self.until is None else f", {max(self.until - self._clock.seconds(), 0):.0f} s"
        _log.info("draining: {left} left{until}", left=_connections(left), until=until)

    def _over(self, unfinished: list[int]) -> None:
        self._unfinished = sum(unfinished)
        if not self._quiet:
            self._lines.stop()
            _sum_up(self._unfinished)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(self._unfinished)


def _sum_up(unfinished: int) -> None:
    if unfinished:
        _log.warn("drained: {cut} cut", cut=_connections(unfinished))
    else:
        _log.info("drained: all have finished")


def _connections(count: int) -> str:
    return "1 connection" if count == 1 else f"{count} connections"
