"""
So many threads at the same time, started when there is work and gone when there is none.

Twisted's and the standard library's pools wait for their threads when the process stops, and a thread here may be in
a user's function for ever. These are daemon threads: the process ends without them.

Where nobody waits for a job any more its thread can be given up: it does not count, so that jobs that hang do not keep
all others from their turn. A second bound counts these too.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

Job = Callable[[], None]


class Threads:
    """Runs jobs. Those over the bound wait in the order in which they came."""

    def __init__(self, most: int, in_all: int | None = None) -> None:
        """
        @param most: how many run at the same time
        @param in_all: how many do with those that were given up; None where none is
        """
        self._most = most
        self._in_all = most if in_all is None else in_all
        self._threads = 0
        self._running: set[Hashable] = set()
        self._given_up: set[Hashable] = set()
        self._waiting: OrderedDict[Hashable, Job] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def given_up(self) -> int:
        """How many jobs go on for which nobody waits."""
        return len(self._given_up)

    @property
    def busy(self) -> int:
        """How many jobs run."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many wait for a thread."""
        return len(self._waiting)

    def start(self, whose: Hashable, job: Job) -> None:
        """
        Run a job, now or when a thread is free.

        @param whose: to C{forget} it by
        @param job: must not raise
        @raise RuntimeError: the system gives us no thread, and none runs that could take the job over
        """
        with self._lock:
            self._waiting[whose] = job
            if not self._may_start():
                return
            self._threads += 1
        try:
            self._start()
        except RuntimeError:
            if not self._another_takes(whose):
                raise

    def forget(self, whose: Hashable) -> bool:
        """A job is not wanted any more. @return: whether it has still waited, and will not run"""
        with self._lock:
            return self._waiting.pop(whose, None) is not None

    def give_up(self, whose: Hashable) -> None:
        """A job that runs may take for ever: its thread does not count any more, until it has returned."""
        with self._lock:
            if whose not in self._running:
                return
            self._given_up.add(whose)
            if not self._waiting or not self._may_start():
                return
            self._threads += 1
        try:
            self._start()
        except RuntimeError:  # those who wait have their turn when a thread returns
            with self._lock:
                self._threads -= 1

    def _may_start(self) -> bool:
        return self._threads < self._in_all and self._threads - len(self._given_up) < self._most

    def _start(self) -> None:
        threading.Thread(target=self._work, name="mytls-serve", daemon=True).start()

    def _another_takes(self, whose: Hashable) -> bool:
        with self._lock:
            self._threads -= 1
            if not self._threads:
                self._waiting.pop(whose, None)
            return self._threads > 0

    def _work(self) -> None:
        taken = self._next()
        while taken is not None:
            whose, job = taken
            job()
            taken = self._next(whose)

    def _next(self, *done: Hashable) -> tuple[Hashable, Job] | None:
        """@param done: whose job this thread has done; where it was given up, another may have taken its place"""
        with self._lock:
            self._running.difference_update(done)
            self._given_up.difference_update(done)
            if self._waiting and self._threads - len(self._given_up) <= self._most:
                whose, job = self._waiting.popitem(last=False)
                self._running.add(whose)
                return whose, job
            self._threads -= 1
            return None
