"""A service in a process of its own, whose event loop is watched: what holds it up is said in the log."""

from __future__ import annotations

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from mytls.systemd.watchdog import LastWords, Lookout, Watchdog

#: Seconds until a thread says that the loop does not turn, and until faulthandler does.
SAID, LAST = 5.0, 10.0
#: The same where systemd acts sooner, in parts of its time; it may have heard of us last half of that before.
SOON, SOON_LAST = 3 / 8, 7 / 16
#: How often the loop tells in the time until it is said that it does not.
_TURNS = 5


def watch(clock: IReactorTime, seconds: float = 0.0) -> Watchdog:
    """
    Who says where the loop is, when it does not turn.

    @param seconds: after which systemd acts; 0 is never
    """
    said, last = (min(SAID, seconds * SOON), min(LAST, seconds * SOON_LAST)) if seconds else (SAID, LAST)
    return Watchdog(clock, said / _TURNS, Lookout(said), LastWords(last))


class Watched(MultiService):
    """A service, watched from its start until it has stopped."""

    def __init__(self, service: IService, watchdog: Watchdog) -> None:
        super().__init__()
        self._watchdog = watchdog
        service.setServiceParent(self)

    def startService(self) -> None:
        """Start it, and look on: in that order, since a sandbox holds no threads that were started before it."""
        super().startService()
        self._watchdog.start()

    def stopService(self) -> Deferred[object]:
        """Stop it, and look on until it has."""
        return maybeDeferred(super().stopService).addBoth(self._stopped)

    def _stopped(self, result: object | Failure) -> object | Failure:
        self._watchdog.stop()
        return result
