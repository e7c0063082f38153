"""
Whether the event loop turns.

Everything that a service does happens on one loop. What holds it up, a handler that computes or waits, holds up every
client, and nothing that runs on the loop can tell of it. So systemd, where it wants to, is told at each half of an
interval that it turns, and acts when an interval has passed without; and before that a thread writes down where the
loop is. A thread cannot run while C code keeps the interpreter's lock, so faulthandler, which needs no lock, is asked
to do the same a little later.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

_log = Logger()

#: When systemd is told that the loop turns, in parts of its interval.
TURN = 0.5


class Sees(Protocol):
    """Who looks whether the loop turns."""

    def start(self) -> None:
        """It does, and will from now on."""

    def turned(self) -> None:
        """It does."""

    def stop(self) -> None:
        """It need not any more."""


class Watchdog:
    """Tells again and again that the loop turns."""

    def __init__(self, clock: IReactorTime, seconds: float, *sees: Sees) -> None:
        """
        @param seconds: from one time to the next
        @param sees: who is told
        """
        self._clock = clock
        self._seconds = seconds
        self._sees = sees
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """The loop is to turn from now on."""
        for each in self._sees:
            each.start()
        self._turn()

    def stop(self) -> None:
        """It ends."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        for each in self._sees:
            each.stop()

    def _turn(self) -> None:
        for each in self._sees:
            each.turned()
        self._call = self._clock.callLater(self._seconds, self._turn)


class Fed:
    """Somebody outside, who acts when he is not told."""

    def __init__(self, feed: Callable[[], object]) -> None:
        """@param feed: tells him"""
        self._feed = feed

    def start(self) -> None:
        """Nothing yet."""

    def turned(self) -> None:
        """Tell him."""
        self._feed()

    def stop(self) -> None:
        """Tell him no more."""


class Lookout:
    """A thread that says in the log where the loop is, when it has not turned."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        """@param seconds: after how many it says so"""
        self._patience = seconds
        self._now = now
        self._turned = now()
        self._blocked_since: float | None = None
        self._loop = threading.get_ident()
        self._ended = threading.Event()

    def start(self) -> None:
        """Look from now on, at the thread that has called this."""
        self._loop = threading.get_ident()
        self._turned = self._now()
        self._ended.clear()
        threading.Thread(target=self._look_on, name="mytls-watchdog", daemon=True).start()

    def turned(self) -> None:
        """The loop turns."""
        self._turned = self._now()
        since, self._blocked_since = self._blocked_since, None
        if since is not None:
            _log.warn("the event loop turns again, after {seconds:.1f} s", seconds=self._turned - since)

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()

    def look(self) -> None:
        """Say once where the loop is, if it has not turned for too long."""
        turned = self._turned
        if self._blocked_since is not None or self._now() - turned < self._patience:
            return
        self._blocked_since = turned
        _log.critical(
            "the event loop has not turned for {seconds:.1f} s, and no client was served; it is here:\n{stack}",
            seconds=self._now() - turned,
            stack=_stack(self._loop),
        )

    def _look_on(self) -> None:
        while not self._ended.wait(self._patience / 16):
            self.look()


class LastWords:
    """faulthandler, which says on standard error where all threads are, when not even a thread could."""

    def __init__(self, seconds: float) -> None:
        """@param seconds: after how many it does"""
        self._patience = seconds

    def start(self) -> None:
        """Nothing yet."""

    def turned(self) -> None:
        """Wait anew."""
        if sys.__stderr__ is not None:
            faulthandler.dump_traceback_later(self._patience, file=sys.__stderr__)

    def stop(self) -> None:
        """Say nothing."""
        faulthandler.cancel_dump_traceback_later()


def _stack(thread: int) -> str:
    frame = sys._current_frames().get(thread)
    return "it has ended" if frame is None else "".join(traceback.format_stack(frame)).rstrip()
