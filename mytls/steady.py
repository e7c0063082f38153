"""
The reactor's time, without the jumps of the system's.

Twisted's reactors take the time from the system's clock. Where that is set forward, all deadlines are over at once and
every client is silent for too long; where it is set back, none is over for as long. In a process of our own the
reactor has another clock: it begins at the system's time, and then goes on as the monotonic one does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.python.runtime import seconds as system_time


def keep_steady(reactor: Any, monotonic: Callable[[], float] = time.monotonic) -> None:
    """
    From now on C{reactor.seconds} does not jump, and so neither does anything that waits.

    @param reactor: before it runs; one whose time is not the system's is left as it is
    @param monotonic: as C{time.monotonic}
    """
    if reactor.seconds is system_time:
        ahead = system_time() - monotonic()
        reactor.seconds = lambda: monotonic() + ahead
