"""What a service was like each second of the last minutes, for whoever draws it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mytls.status.overview import Overview, Values

_log = Logger()

#: Seconds between two samples, and how many are kept: those of ten minutes.
EVERY, KEPT = 1.0, 600

Hears = Callable[[bytes], object]


class Samples:
    """Takes samples while it runs, as JSON: that is what all of them end as."""

    def __init__(self, clock: IReactorTime, overview: Overview) -> None:
        self._overview = overview
        self._kept: deque[bytes] = deque(maxlen=KEPT)
        self._hearing: dict[Hears, None] = {}
        self._well = True
        self._loop = LoopingCall(self._take)
        self._loop.clock = clock

    def start(self) -> None:
        """Take the first now, and one each second."""
        self._loop.start(EVERY)

    def stop(self) -> None:
        """Take no more."""
        if self._loop.running:
            self._loop.stop()

    def history(self) -> bytes:
        """Those of the last minutes, the oldest first."""
        return b"[" + b",".join(self._kept) + b"]"

    def tell(self, hears: Hears) -> None:
        """Tell it each new one."""
        self._hearing[hears] = None

    def forget(self, hears: Hears) -> None:
        """Tell it no more."""
        self._hearing.pop(hears, None)

    def _take(self) -> Deferred[None]:
        told = maybeDeferred(self._overview.status, whole=False)
        return told.addCallback(self._taken).addErrback(self._failed)

    def _taken(self, status: Values) -> None:
        taken = json.dumps(sample(status), separators=(",", ":")).encode()
        self._kept.append(taken)
        for hears in tuple(self._hearing):
            hears(taken)
        self._well = True

    def _failed(self, failure: Failure) -> None:
        """It is said once, until there is a sample again."""
        if self._well:
            _log.failure("the status cannot be told", failure)
        self._well = False


def sample(status: Values) -> dict[str, Any]:
    """What of a status is drawn."""
    return {
        "at": status["now"],
        **{name: status["connections"][name] for name in _COUNTS},
        "bytes_in": status["bytes"]["in"],
        "bytes_out": status["bytes"]["out"],
        "failures": dict(status["failures"]),
        "refusals": dict(status["refusals"]),
        "draining": status["draining"],
        "left": status["drain"]["left"] if status["drain"] else 0,
        "reloads": status["reload"]["attempts"],
    }


_COUNTS = ("open", "handshaking", "accepted", "established", "failed", "silent", "refused", "closed")
