"""What a worker does for its parent: it says that it serves and how it is, does what it is told, and ends with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from mytls import __version__
from mytls.events import Event, Reloaded, ReloadFailed
from mytls.workers.channel import Channel, Values, opened
from mytls.workers.code import digest
from mytls.workers.seat import Seat
from mytls.workers.sharing import Inheriting

_log = Logger()

#: Seconds between two reports: what is counted in the last of a worker that is killed is lost.
REPORT = 1.0
#: Seconds between two looks whether handshakes are over, and for how long.
_LOOK, _LONGEST = 0.05, 10.0


class Serves(Protocol):
    """The service of the worker; see L{mytls.running.TLSService}."""

    def privilegedStartService(self) -> None:
        """Listen."""

    def startService(self) -> None:
        """Serve."""

    def stopService(self) -> Deferred[Any]:
        """Finish with every client. Fires when the last is gone."""

    def reload(self) -> Deferred[bool]:
        """Load everything again. Fires with whether that is served now."""

    def pause(self) -> int:
        """Take no more clients. @return: how many are in their handshake"""

    def drain(self) -> Deferred[int]:
        """Do what the signal TERM does first. Fires with how many connections have not finished in time."""

    def cut(self) -> object:
        """Do what it does when it comes again."""

    @property
    def left(self) -> int:
        """How many connections there are."""


class Tells(Protocol):
    """What is to be told of it: see L{mytls.status.overview.Overview}."""

    def start(self) -> None:
        """It serves."""

    def stop(self) -> None:
        """It serves no more."""

    def status(self, *, whole: bool = True) -> Deferred[Values]:
        """How it is."""

    def connections(self, limit: int = 0) -> Deferred[tuple[int, Sequence[Values]]]:
        """How many are open, and the oldest."""

    def snapshot(self) -> Values:
        """See L{mytls.metrics.added}."""

    def close(self, connection: str) -> Deferred[bool]:
        """End one properly."""


class Untold:
    """Where nobody looks on there is nothing to tell."""

    def start(self) -> None:
        """It serves."""

    def stop(self) -> None:
        """It serves no more."""

    def status(self, *, whole: bool = True) -> Deferred[Values]:
        """Nothing."""
        return succeed({})

    def connections(self, limit: int = 0) -> Deferred[tuple[int, Sequence[Values]]]:
        """None."""
        return succeed((0, []))

    def snapshot(self) -> Values:
        """Nothing."""
        return {}

    def close(self, connection: str) -> Deferred[bool]:
        """It is not known."""
        return succeed(False)


class Failures:
    """An observer that keeps what a reload has said was wrong."""

    def __init__(self) -> None:
        self.lines: tuple[str, ...] = ()

    def __call__(self, event: Event) -> None:
        """Something happened."""
        if isinstance(event, Reloaded):
            self.lines = ()
        elif isinstance(event, ReloadFailed):
            self.lines = event.lines


@implementer(IService)
class Attendant(Service):
    """A service in a worker, and the channel to its parent."""

    def __init__(
        self,
        reactor: Any,
        seat: Seat,
        inner: Serves,
        tells: Tells,
        inheriting: Inheriting,
        failures: Failures,
    ) -> None:
        """
        @param inner: the service
        @param tells: what is told of it
        @param failures: one of its observers
        """
        self._reactor = reactor
        self._seat = seat
        self._inner = inner
        self._tells = tells
        self._inheriting = inheriting
        self._failures = failures
        self._code = digest()  # a sandbox may let nobody look afterwards
        self._retiring_until: float | None = None
        self._channel = Channel(
            {
                "status": lambda said, _: tells.status(whole=False),  # the parent knows the rest
                "metrics": lambda said, _: tells.snapshot(),
                "connections": lambda said, _: tells.connections(said.get("limit", 0)).addCallback(_as_connections),
                "close": lambda said, _: tells.close(said["connection"]).addCallback(_as_closed),
                "reload": self._reload,
                "retire": lambda said, _: self._retire(),
                "drain": lambda said, _: self._drain(),
                "cut": lambda said, _: self._cut(),
            },
            self._orphaned,
        )
        self._reports = LoopingCall(self._report)
        self._reports.clock = reactor

    def privilegedStartService(self) -> None:
        """Listen on the sockets that are here."""
        super().privilegedStartService()
        self._inner.privilegedStartService()

    def startService(self) -> None:
        """Serve, and say so."""
        super().startService()
        self._inner.startService()
        self._inheriting.forget()
        opened(self._reactor, self._seat.channel, self._channel)
        self._channel.tell("ready", {"version": __version__, "code": self._code})
        self._tells.start()
        self._reports.start(REPORT, now=False)

    @inlineCallbacks
    def stopService(self) -> Any:
        """Finish, and say what was counted. Fires when all of it is said."""
        super().stopService()
        yield self._inner.stopService()
        unfinished = yield self._inner.drain()
        if self._reports.running:
            self._reports.stop()
            yield self._report(unfinished)
            self._tells.stop()
        yield self._channel.finish()

    @inlineCallbacks
    def _report(self, unfinished: int = 0) -> Any:
        status = yield self._tells.status(whole=False)
        about = {"left": self._inner.left, "unfinished": unfinished, "status": status}
        self._channel.tell("report", {**about, "metrics": self._tells.snapshot()})

    @inlineCallbacks
    def _reload(self, said: Values, descriptors: Sequence[int]) -> Any:
        self._inheriting.inherits(dict(zip(said["sockets"], descriptors, strict=True)))
        served = yield self._inner.reload()
        self._inheriting.forget()
        return {"served": served, "lines": [] if served else list(self._failures.lines)}

    def _retire(self) -> None:
        """Others accept now. Handshakes under way go on, and then it is as at the end of the service."""
        now = self._reactor.seconds()
        if self._retiring_until is None:
            self._retiring_until = now + _LONGEST
        if self._inner.pause() and now < self._retiring_until:
            self._reactor.callLater(_LOOK, self._retire)
        else:
            self._drain()

    def _drain(self) -> None:
        self._inner.drain()

    def _cut(self) -> None:
        self._inner.drain()
        self._inner.cut()

    def _orphaned(self) -> None:
        if self.running:
            _log.warn("the parent is gone: this worker ends")
            self._drain()


def _as_connections(told: tuple[int, Sequence[Values]]) -> Values:
    total, found = told
    return {"total": total, "connections": found}


def _as_closed(closed: bool) -> Values:
    return {"closed": closed}
