"""What a process of twistd's listens with: some may be from its predecessor, and all of it goes to a successor."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from mytls.running import Other, TLSService
from mytls.systemd.notify import Nobody, Turn
from mytls.workers.held import Held
from mytls.workers.inheritance import Heir
from mytls.workers.relaunch import PidFile, Relaunch, append_to
from mytls.workers.sharing import Handed, Keeping
from mytls.workers.succession import Lineage, Succession

_log = Logger()

#: Seconds between two looks whether handshakes are over, how long they may take, and how long an end takes at least:
#: systemd has to find the process that has named its successor.
_LOOK, _LONGEST, _LEAST = 0.05, 10.0, 1.0
#: How the names of the status service's sockets begin.
_STATUS = "status-"

K = TypeVar("K", bound=Keeping)


def lineage_of_nobody() -> Lineage:
    """Where it is not twistd that has started the service."""
    why = "it was not started as twistd mytls"
    return Lineage(Relaunch((), (), "", why_not=why), PidFile({}), Turn(Nobody()))


class Estate:
    """
    What is handed over.

    @ivar reactor: the reactor of the process
    @ivar why_kept: why it cannot be, as far as the settings say so
    """

    why_kept = ""

    def __init__(self, lineage: Lineage) -> None:
        self.reactor: Any = None
        self._lineage = lineage
        self._heir: Heir | None = None
        self._keeps: list[Keeping] = []
        self._succession: Succession | None = None

    def listens_with(self, kind: type[K], reactor: Any) -> K:
        """What the service listens with. It is asked for before all that follows."""
        self.reactor = reactor
        own = self._lineage.inheritance
        if own is not None:
            self._heir = Heir(reactor, own, self._lineage.pidfile, self._lineage.turn)
        made = kind(reactor, self._handed())
        self._keeps.append(made)
        return made

    def status_reactor(self, reactor: Any) -> Keeping:
        """What the status service listens with."""
        made = Keeping(reactor, self._handed(), _STATUS)
        self._keeps.append(made)
        return made

    def joins(self, retiring: Retiring) -> tuple[Other, ...]:
        """Who drains with the service."""
        self._succession = Succession(self.reactor, self._lineage, self._keeps, retiring, self._why_not)
        return (self._succession,) if self._heir is None else (self._heir, self._succession)

    @property
    def held(self) -> Held:
        """What the successor may not read."""
        return self._lineage.held

    def started(self, service: TLSService, serves: Callable[[], bool]) -> None:
        """It listens. @param serves: whether all do that belong to it"""
        append_to(self._lineage.relaunch.log)
        if self._heir is not None:
            listening = all_listen(service)
            self._heir.start(self._keeps, lambda: listening() and serves(), service.drain, service.reload)

    def hand_over(self) -> None:
        """Start a successor."""
        assert self._succession is not None
        self._succession.begin()

    @property
    def is_handing_over(self) -> bool:
        """Whether there is a successor already."""
        return self._succession is not None and self._succession.under_way

    def _handed(self) -> Handed:
        return Handed() if self._heir is None else self._heir.handed

    def _why_not(self) -> str:
        if self._heir is not None and not self._heir.over:
            return "it has not taken over itself yet"
        return self.why_kept or self._lineage.relaunch.why_not or self._lineage.pidfile.why_not()


def _nobody() -> None:
    """Nobody belongs to it."""


class Retiring:
    """How a process ends whose successor serves."""

    def __init__(self, clock: Any, service: TLSService, others: Callable[[], object] = _nobody) -> None:
        """@param others: called when those are to accept nobody any more who belong to it"""
        self._clock = clock
        self._service = service
        self._others = others

    @property
    def left(self) -> int:
        """How many connections there are."""
        return self._service.left

    @property
    def attempts(self) -> int:
        """How many reloads there were."""
        return sum(self._service.reloads.values())

    def retire(self) -> None:
        """Accept nobody any more, finish with all clients, and end."""
        self._service.beside.stop().addErrback(lambda why: _log.failure("the status service does not end", why))
        self._others()
        self._look(self._clock.seconds())

    def cut(self) -> None:
        """Drop every client who is still there."""
        self._service.drain()
        self._service.cut()

    def _look(self, since: float) -> None:
        handshakes, seconds = self._service.pause(), self._clock.seconds() - since
        if self._service.draining or seconds >= (_LONGEST if handshakes else _LEAST):
            self._service.drain()
        else:
            self._clock.callLater(_LOOK, self._look, since)


@implementer(IService)
class Succeeding(Service):
    """A service, which ends when its successor serves."""

    def __init__(
        self,
        estate: Estate,
        service: TLSService,
        asked: Callable[[], object],
        start: Callable[[], object] = _nobody,
        serves: Callable[[], bool] = lambda: True,
    ) -> None:
        """
        @param asked: called when the signal USR2 comes
        @param start: starts who belongs to it
        @param serves: whether those serve
        """
        self._estate = estate
        self._service = service
        self._asked = asked
        self._start = start
        self._serves = serves

    def privilegedStartService(self) -> None:
        """Listen, or bind."""
        super().privilegedStartService()
        signal.signal(signal.SIGUSR2, self._signalled)  # who comes before the reactor runs is heard when it does
        self._service.privilegedStartService()

    def startService(self) -> None:
        """Serve, as the user that twistd runs as now."""
        super().startService()
        self._service.startService()
        signal.signal(signal.SIGUSR2, self._signalled)
        self._start()
        self._estate.started(self._service, self._serves)

    def stopService(self) -> Deferred[Any]:
        """Fires when all have finished."""
        super().stopService()
        signal.signal(signal.SIGUSR2, lambda number, frame: None)
        return self._service.stopService()

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._estate.reactor.callFromThread(self._asked)


def all_listen(service: TLSService) -> Callable[[], bool]:
    """Whether all of its places are listened at."""
    return lambda: all(each.port is not None for each in service.listeners)
