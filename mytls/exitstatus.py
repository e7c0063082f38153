"""The status that a process of twistd's ends with."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable


class ExitStatus:
    """
    twistd ends with status 0, or by the signal that has stopped it, and asks nobody. So where the status is to be
    another one, it is the last thing that the process does: by then twistd has removed its pidfile and closed its log.

    @ivar value: the status; 0 until something else is known
    """

    def __init__(
        self,
        at_exit: Callable[[Callable[[], None]], object] = atexit.register,
        leave: Callable[[int], object] = os._exit,
        heed: Callable[[int, signal.Handlers], object] = signal.signal,
    ) -> None:
        """
        To be made as early as can be: what is registered first is done last.

        @param at_exit: registers what is done at the end of the process
        @param leave: ends the process at once
        @param heed: says what becomes of a signal from now on
        """
        self.value = 0
        self._leave = leave
        self._heed = heed
        at_exit(self._at_the_end)

    def _at_the_end(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):  # while Python cleans up, one of them would be the status
            self._heed(number, signal.SIG_IGN)
        if self.value:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            self._leave(self.value)
