"""
So many threads at the same time, started when there is work and gone when there is none.

Twisted's and the standard library's pools wait for their threads when the process stops, and a thread here may be in
a user's function for ever. These are daemon threads: the process ends without them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

Job = Callable[[], None]


class Threads:
    """Runs jobs. Those over the bound wait in the order in which they came."""

    def __init__(self, most: int) -> None:
        """@param most: how many run at the same time"""
        self._most = most
        self._running = 0
        self._waiting: OrderedDict[Hashable, Job] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, whose: Hashable, job: Job) -> None:
        """
        Run a job, now or when a thread is free.

        @param whose: to C{forget} it by
        @param job: must not raise
        @raise RuntimeError: the system gives us no thread, and none runs that could take the job over
        """
        with self._lock:
            self._waiting[whose] = job
            if self._running >= self._most:
                return
            self._running += 1
        try:
            threading.Thread(target=self._work, name="mytls-serve", daemon=True).start()
        except RuntimeError:
            if not self._another_takes(whose):
                raise

    def forget(self, whose: Hashable) -> bool:
        """A job is not wanted any more. @return: whether it has still waited, and will not run"""
        with self._lock:
            return self._waiting.pop(whose, None) is not None

    def _another_takes(self, whose: Hashable) -> bool:
        with self._lock:
            self._running -= 1
            if not self._running:
                self._waiting.pop(whose, None)
            return self._running > 0

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job()

    def _next(self) -> Job | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popitem(last=False)[1]
            self._running -= 1
            return None
