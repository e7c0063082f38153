"""
A service that systemd has started with C{Type=notify-reload}, and what it is told: that all places are listened at,
that a reload begins and has ended, how many clients there are, that the service stops, and that it is alive.
"""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mytls.events import Draining, Event, Observer
from mytls.status.counts import Counts
from mytls.status.overview import Values
from mytls.systemd.notify import Nobody, Notified, Turn, notified, watchdog_seconds
from mytls.systemd.watchdog import TURN, Fed, Watchdog

_log = Logger()

#: Seconds from one look at the service to the next: until it listens, and then.
SOON, EVERY = 0.05, 3.0

#: Tells how the service is, as L{mytls.status.overview.Overview.status}.
Status = Callable[[], "Deferred[Values]"]


class Supervision:
    """
    Whether systemd wants to hear of this process, and what.

        supervision = Supervision.asked(os.environ)
        service = ...                                   # with supervision.observers
        service.on_reload = supervision.reloading
        service = supervision.of(reactor, service, overview.status)

    @ivar wanted: whether it does
    @ivar counts: what the service has counted, where it does
    @ivar turn: whether it is this process that speaks
    @ivar seconds: how long the process may be silent; 0 is for ever
    """

    def __init__(self, told: Notified, seconds: float = 0.0, *, waits: bool = False) -> None:
        """
        @param seconds: how long we may be silent; 0 is for ever
        @param waits: whether our predecessor speaks still
        """
        self.turn = self._told = Turn(told, waits=waits)
        self.seconds = seconds
        self.wanted = not isinstance(told, Nobody)
        self.counts = Counts(time.time)
        self._made: Supervised | None = None

    @classmethod
    def asked(cls, environ: MutableMapping[str, str], *, waits: bool = False) -> Supervision:
        """
        As the environment says, which says so no more to programs that we start.

        @param environ: C{os.environ}
        @param waits: whether our predecessor speaks still
        @raise ConfigurationError: it says something that cannot be
        """
        return cls(notified(environ), watchdog_seconds(environ), waits=waits)

    def of(self, reactor: Any, service: IService, status: Status) -> IService:
        """The service itself, where nobody wants to hear of it; else one around it."""
        if not self.wanted:
            return service
        self._made = Supervised(reactor, service, status, self._told, self._watchdog(reactor))
        return self._made

    def reloading(self, done: Deferred[bool]) -> None:
        """A reload was asked for. @param done: fires when it has ended"""
        if self._made is not None:
            self._made.reloading(done)

    @property
    def observers(self) -> tuple[Observer, ...]:
        """Who is to be told of events."""
        return (self.counts, self.heard) if self.wanted else ()

    def heard(self, event: Event) -> None:
        """Of a drain systemd hears at once."""
        if isinstance(event, Draining) and self._made is not None:
            self._made.look()

    def _watchdog(self, clock: IReactorTime) -> Watchdog | None:
        if not self.seconds:
            return None
        return Watchdog(clock, self.seconds * TURN, Fed(lambda: self._told.tell(WATCHDOG=1)))


class Supervised(MultiService):
    """A service, and what is told of it until it has stopped."""

    def __init__(
        self,
        clock: IReactorTime,
        service: IService,
        status: Status,
        told: Notified,
        watchdog: Watchdog | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """@param monotonic: as C{time.monotonic}"""
        super().__init__()
        self._clock = clock
        self._status = status
        self._told = told
        self._watchdog = watchdog
        self._monotonic = monotonic
        self._ready = self._stopping = self._ended = False
        self._reloads = 0
        self._sentence = self._said = ""
        self._call: IDelayedCall | None = None
        service.setServiceParent(self)

    def startService(self) -> None:
        """Start the service, and say so when all of its places are listened at."""
        super().startService()
        if self._watchdog is not None:
            self._watchdog.start()
        self._again(0.0)

    def stopService(self) -> Deferred[Any]:
        """Stop the service, and say until it has stopped how many clients are left."""
        self._stops("Stopping")
        return maybeDeferred(super().stopService).addBoth(self._stopped)

    def reloading(self, done: Deferred[bool]) -> None:
        """A reload was asked for. @param done: fires when it has ended"""
        self._reloads += 1
        if self._ready and not self._stopping:
            self._say("Reloading", RELOADING=1, MONOTONIC_USEC=int(self._monotonic() * 1_000_000))
        done.addCallback(self._reloaded)

    def _reloaded(self, served: bool) -> bool:
        self._reloads -= 1
        if self._ready and not self._reloads and not self._stopping:
            self._asked().addCallback(lambda sentence: self._say(sentence, READY=1))
        return served

    def _stopped(self, result: Any) -> Any:
        self._ended = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._watchdog is not None:
            self._watchdog.stop()
        return result

    def _again(self, seconds: float) -> None:
        if not self._ended:
            self._call = self._clock.callLater(seconds, self._look_again)

    def _look_again(self) -> None:
        self._call = None
        self.look().addCallback(lambda _: self._again(EVERY if self._ready or self._stopping else SOON))

    def look(self) -> Deferred[None]:
        """Say how the service is, where that is new. Fires when it has told."""
        return self._asked().addCallback(self._tell)

    def _tell(self, sentence: str) -> None:
        if (self._ready or self._stopping) and sentence != self._said and not self._reloads:
            self._say(sentence)

    def _say(self, sentence: str, **more: object) -> None:
        self._said = sentence
        self._told.tell(**more, STATUS=sentence)

    def _stops(self, sentence: str) -> None:
        if not self._stopping:
            self._stopping = True
            self._say(sentence, STOPPING=1)

    def _asked(self) -> Deferred[str]:
        """How the service is now. Fires with the last that was known, where it cannot say."""
        return maybeDeferred(self._status).addCallback(self._heard).addErrback(self._failed)

    def _heard(self, status: Values) -> str:
        self._sentence = status_sentence(status)
        if status["draining"]:
            self._stops(self._sentence)
        elif not self._ready and not self._stopping and _listens(status):
            self._ready = True
            self._say(self._sentence, READY=1)
        return self._sentence

    def _failed(self, failure: Failure) -> str:
        _log.failure("systemd was not told how the service is", failure)
        return self._sentence


def status_sentence(status: Values) -> str:
    """How a service is, for C{systemctl status}. @param status: as of L{mytls.status.overview.Overview.status}"""
    numbers, drain, last = status["connections"], status["drain"], status["reload"]["last"]
    if status["draining"]:
        return f"Stopping: {drain['left']} connections left" if drain else "Stopping"
    sentence = (
        f"{numbers['open']} connections open, {numbers['handshaking']} of them in handshakes; "
        f"{numbers['accepted']} accepted, {numbers['refused']} refused, {numbers['failed']} without a handshake"
    )
    failed = "" if last is None or last["served"] else "; the last reload has failed: " + " ".join(last["lines"][:1])
    return sentence + failed


def _listens(status: Values) -> bool:
    """Whether each place is listened at, by each worker."""
    return all(each["listening"] for each in status["listeners"]) and all(each["up"] for each in status["workers"])
