"""
Workers that say nothing.

Each tells once a second how it is. One whose event loop is held up, or whose process was stopped, does not, and serves
nobody; it would keep its clients and its place for ever. So it is spoken of, then asked to end with a stack of where it
is (SIGABRT, faulthandler), and then killed.

A parent that was held up itself, or stopped, has heard nobody for as long. So silence is counted in the parent's own
ticks, not by the clock: after its pause there is one more tick, and then it reads what they have said meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mytls.workers.child import LONGEST_SILENCE, Child

_log = Logger()

#: Seconds between two ticks, and so many without a word until it is said.
TICK, NOTICED = 1.0, 5
#: Seconds from SIGABRT to SIGKILL.
GRACE = 3.0


class Silences:
    """How long each has said nothing, and what becomes of it then."""

    def __init__(self, clock: Any, speaking: Callable[[], Iterable[Child]], longest: float = LONGEST_SILENCE) -> None:
        """
        @param speaking: tells of whom a word is expected
        @param longest: seconds until one is killed; not less than it takes to notice
        """
        self._clock = clock
        self._speaking = speaking
        self._longest = max(longest, NOTICED * TICK)
        self._silent: dict[Child, int] = {}
        self._noticed: set[Child] = set()
        self._ticks = LoopingCall(self._tick)
        self._ticks.clock = clock

    def start(self) -> None:
        """Count from now on."""
        if not self._ticks.running:
            self._ticks.start(TICK, now=False)

    def stop(self) -> None:
        """Count no more."""
        if self._ticks.running:
            self._ticks.stop()
        self._silent.clear()
        self._noticed.clear()

    def is_silent(self, child: Child) -> bool:
        """Whether it has said nothing for so long that it was spoken of."""
        return child in self._noticed

    def _tick(self) -> None:
        speaking = set(self._speaking())
        self._silent = {child: ticks for child, ticks in self._silent.items() if child in speaking}
        self._noticed &= speaking
        for child in speaking:
            self._look(child)

    def _look(self, child: Child) -> None:
        if child.spoke:
            child.spoke = False
            self._speaks_again(child, self._silent.pop(child, 0))
            return
        ticks = self._silent[child] = self._silent.get(child, 0) + 1
        if ticks * TICK >= self._longest:
            self._end(child, ticks)
        elif ticks == NOTICED:
            self._noticed.add(child)
            _log.warn(
                "worker {name} (process {pid}) has said nothing for {seconds:g} s: its event loop is held up, or it was"
                " stopped; after {longest:g} s it is killed",
                name=child.name,
                pid=child.pid,
                seconds=ticks * TICK,
                longest=self._longest,
            )

    def _speaks_again(self, child: Child, ticks: int) -> None:
        if child in self._noticed:
            self._noticed.discard(child)
            _log.info(
                "worker {name} (process {pid}) speaks again, after {seconds:g} s",
                name=child.name,
                pid=child.pid,
                seconds=ticks * TICK,
            )

    def _end(self, child: Child, ticks: int) -> None:
        """At first with a stack, and with a core where the system keeps one."""
        over = ticks * TICK - self._longest
        if over < TICK:
            self._noticed.add(child)
            _log.error(
                "worker {name} (process {pid}) has said nothing for {seconds:g} s: it is killed",
                name=child.name,
                pid=child.pid,
                seconds=ticks * TICK,
            )
            child.abort()
        elif over >= GRACE:
            child.kill()
