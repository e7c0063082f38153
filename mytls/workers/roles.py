"""
What a process is: one that serves alone, the parent of workers, or a worker.

Each is told the same and loads the same; here is what they do differently with it. A parent and its workers share a
service: the parent's binds every socket and accepts nobody, and those of the workers accept there.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import attrs
from twisted.application.service import IService
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import Logger

from mytls.errors import ConfigurationError
from mytls.events import Draining, Event, Observer, Reloaded, ReloadFailed
from mytls.guards.board import ALONE, Board, Column, Columns, Counts
from mytls.reload import NotNow
from mytls.running import Plan, TLSService
from mytls.settings import Limits, ListenerSettings, Settings
from mytls.status.process import ProcessOverview
from mytls.strings import split_endpoint
from mytls.tls.files import Contents
from mytls.workers.attendant import Attendant, Failures, Untold
from mytls.workers.child import Child, Ended, Launch
from mytls.workers.code import digest
from mytls.workers.crew import Crew
from mytls.workers.estate import Estate, Retiring, Succeeding, lineage_of_nobody
from mytls.workers.overview import CrewOverview
from mytls.workers.seat import Seat
from mytls.workers.sharing import Binding, Inheriting, Keeping
from mytls.workers.succession import Lineage
from mytls.workers.tallies import Tally

_log = Logger()

Apply = Callable[[Plan], "Deferred[Sequence[str]]"]


class Role(Protocol):
    """What a process is."""

    def settings(self, settings: Settings) -> Settings:
        """What of the settings holds for this process. @raise ConfigurationError: they cannot"""

    def reactor(self, reactor: Any) -> Any:
        """What the service listens with. It is asked for before all that follows."""

    def status_reactor(self, reactor: Any) -> Any:
        """What the status service listens with. It is asked for after that of the service."""

    def log(self, access: Observer) -> Observer:
        """What of the log is for this process to write."""

    def observers(self) -> Sequence[Observer]:
        """Who is told of events, besides."""

    def loaded(self, read: Contents) -> None:
        """All is loaded that is served first. @param read: what was read for that"""

    def applies(self, apply: Apply) -> Apply:
        """How a plan comes to be served. @param apply: how the service does it"""

    def counts(self) -> Counts:
        """Where its connections are counted."""

    def overview(self, own: ProcessOverview) -> Any:
        """What is told of it; None where it is another that tells. @param own: what is to be told of this process"""

    def runs(self, service: TLSService) -> IService:
        """What twistd runs."""


class Alone:
    """One process that does it all."""

    @classmethod
    def of(cls, settings: Settings) -> Alone:
        """Whatever is said."""
        return cls()

    def settings(self, settings: Settings) -> Settings:
        """All."""
        return settings

    def reactor(self, reactor: Any) -> Any:
        """The same."""
        return reactor

    def status_reactor(self, reactor: Any) -> Any:
        """The same."""
        return reactor

    def log(self, access: Observer) -> Observer:
        """All."""
        return access

    def loaded(self, read: Contents) -> None:
        """It is for this process alone."""

    def counts(self) -> Counts:
        """By itself."""
        return ALONE

    def observers(self) -> Sequence[Observer]:
        """Nobody."""
        return ()

    def applies(self, apply: Apply) -> Apply:
        """As the service does it."""
        return apply

    def overview(self, own: ProcessOverview) -> Any:
        """The same."""
        return own

    def runs(self, service: TLSService) -> IService:
        """The service."""
        return service


class Single(Alone):
    """The same, and its successors do it after it."""

    def __init__(self, lineage: Lineage) -> None:
        self._estate = Estate(lineage)

    def settings(self, settings: Settings) -> Settings:
        """All."""
        self._estate.why_kept = "the sandbox lets it start nothing" if settings.sandbox else ""
        if any(_is_stdio(listener) for listener in settings.listeners):
            self._estate.why_kept = "stdio: is one process's"
        return settings

    def reactor(self, reactor: Any) -> Any:
        """One whose sockets can be handed over."""
        return self._estate.listens_with(Keeping, reactor)

    def status_reactor(self, reactor: Any) -> Any:
        """Likewise."""
        return self._estate.status_reactor(reactor)

    def loaded(self, read: Contents) -> None:
        """What a successor may not read it has from here; where there cannot be one, nothing is held."""
        if self._estate.why_kept:
            self._estate.held.forget()
        else:
            self._estate.held.take(read)

    def applies(self, apply: Apply) -> Apply:
        """As the service does it; a successor can read all of it then."""
        return lambda plan: apply(plan).addCallback(self._applied)

    def runs(self, service: TLSService) -> IService:
        """The service, which ends when its successor serves."""
        service.others = self._estate.joins(Retiring(self._estate.reactor, service))
        return Succeeding(self._estate, service, self._estate.hand_over, self._estate.held.settle)

    def _applied(self, found: Sequence[str]) -> Sequence[str]:
        self._estate.held.forget()
        return found


class Worker:
    """A worker."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._failures = Failures()
        self._tells: ProcessOverview | Untold = Untold()

    def settings(self, settings: Settings) -> Settings:
        """
        Its share of threads and programs, and of the lines that are the same. Connections are counted with the other
        workers', or have a share too where that cannot be. Files are looked at by the parent, which also has the status
        service.
        """
        together = self._seat.counts is not None
        limits = divided(settings.limits, self._seat.workers, *(_OF_PROCESSES if together else _LIMITS))
        listeners = settings.listeners
        if not together:
            listeners = tuple(_divided(each, self._seat.workers) for each in listeners)
        log = attrs.evolve(settings.log, repeats=math.ceil(settings.log.repeats / self._seat.workers))
        return attrs.evolve(
            settings, limits=limits, listeners=listeners, log=log, reload_interval=0, workers=1, status=None
        )

    def reactor(self, reactor: Any) -> Any:
        """One that takes the parent's sockets."""
        self._reactor = reactor
        self._inheriting = Inheriting(reactor, self._seat.sockets)
        return self._inheriting

    def status_reactor(self, reactor: Any) -> Any:
        """It has no status service."""
        return reactor

    def log(self, access: Observer) -> Observer:
        """What has happened to its connections; the parent says what happens to all."""
        return partial(_of_connections, access)

    def loaded(self, read: Contents) -> None:
        """It is for this process alone."""

    def counts(self) -> Counts:
        """Together with the other workers'."""
        return self._seat.counts or ALONE

    def observers(self) -> Sequence[Observer]:
        """Who hears why a reload has failed."""
        return (self._failures,)

    def applies(self, apply: Apply) -> Apply:
        """As the service does it."""
        return apply

    def overview(self, own: ProcessOverview) -> Any:
        """Nothing here: the parent is told it."""
        self._tells = own
        return None

    def runs(self, service: TLSService) -> IService:
        """The service, with somebody who does what the parent says."""
        return Attendant(self._reactor, self._seat, service, self._tells, self._inheriting, self._failures)


class Parent:
    """The parent of workers."""

    def __init__(self, workers: int, launch: Launch, lineage: Lineage | None = None) -> None:
        """
        @param workers: how many
        @param lineage: how it is succeeded; None where it is not twistd that runs it
        """
        self._estate = Estate(lineage or lineage_of_nobody())
        self._code = digest()
        self._workers = workers
        self._launch = launch
        self._tally = Tally()
        self._columns: Columns | None = None

    def settings(self, settings: Settings) -> Settings:
        """All. @raise ConfigurationError: there is a place that processes cannot share"""
        for listener in settings.listeners:
            if _is_stdio(listener):
                raise ConfigurationError(f"{listener.as_written()}: workers cannot share stdio:; say workers 1")
        return attrs.evolve(settings, sandbox=False)  # it starts its workers, who have one each

    def reactor(self, reactor: Any) -> Any:
        """One that binds, and accepts nobody."""
        self._reactor = reactor
        self._binding = self._estate.listens_with(Binding, reactor)
        longest = self._launch.longest_silence
        self._crew = Crew(reactor, self._workers, self._start, self._tally, self._hopeless, longest)
        return self._binding

    def status_reactor(self, reactor: Any) -> Any:
        """One whose sockets can be handed over."""
        return self._estate.status_reactor(reactor)

    def log(self, access: Observer) -> Observer:
        """All: it has no connections."""
        return access

    def counts(self) -> Counts:
        """It has none."""
        return ALONE

    def loaded(self, read: Contents) -> None:
        """What the workers may not read they have from here."""
        self._launch.held.take(read)

    def observers(self) -> Sequence[Observer]:
        """Nobody."""
        return ()

    def applies(self, apply: Apply) -> Apply:
        """First here, with what is bound anew; then by each worker."""

        @inlineCallbacks
        def applied(plan: Plan) -> Any:
            found = yield apply(plan)
            self._launch.held.forget()  # it could read all of it, as the user that the workers are
            troubles = yield self._crew.reload(lambda: self._binding.descriptors)
            if troubles:
                raise NotNow("; ".join(troubles))
            return found

        return applied

    def overview(self, own: ProcessOverview) -> Any:
        """Of all, together."""
        return CrewOverview(own, self._crew, self._tally)

    def runs(self, service: TLSService) -> IService:
        """The service, which drains with its workers."""
        retiring = Retiring(self._reactor, service, self._crew.retire)
        service.others = (self._crew, *self._estate.joins(retiring))
        self._service = service
        return Succeeding(self._estate, service, self._roll, self._begin, lambda: self._crew.serves)

    def _begin(self) -> None:
        """The process is the user that twistd has made it, which its workers are too."""
        self._launch.held.settle()
        self._columns = columns = _columns(self._workers)
        if columns is not None:
            self._crew.counted = lambda: columns.total("open")
        self._crew.start()

    def _roll(self) -> None:
        if self._estate.is_handing_over:
            self._estate.hand_over()
        else:
            self._crew.roll().addCallback(self._rolled)

    def _rolled(self, done: bool) -> None:
        """Workers are started from what is installed; a parent that is of another version has to go too."""
        if done and self._crew.codes - {self._code}:
            self._estate.hand_over()

    def _start(self, number: int, generation: int) -> Child:
        child = Child(number, generation)
        column = self._columns.take() if self._columns is not None else None
        child.start(self._reactor, self._launch, self._workers, self._binding.descriptors, column)
        if column is not None:
            child.ended.addCallback(self._column_is_free, column)
        return child

    def _column_is_free(self, ended: Ended, column: Column) -> Ended:
        assert self._columns is not None
        self._columns.give_back(column)
        return ended

    def _hopeless(self, line: str) -> None:
        _log.critical("mytls: {line}", line=line)
        if self._service.exit_status is not None:
            self._service.exit_status.value = 1
        self._service.drain()


def role_of(
    settings: Settings, launch: Callable[[], Launch], seat: Seat | None, lineage: Lineage | None = None
) -> Role:
    """
    What this process is.

    @param launch: says how workers are started
    @param seat: what it has from its parent; None where it has none
    @param lineage: how it is succeeded; None where it is not twistd that runs it
    """
    if seat is not None:
        return Worker(seat)
    workers = settings.workers or len(os.sched_getaffinity(0))
    if workers > 1:
        return Parent(workers, launch(), lineage)
    return Alone() if lineage is None else Single(lineage)


def _columns(workers: int) -> Columns | None:
    """For so many workers, and those that they have replaced and that still have clients."""
    try:
        return Columns(Board.made(_GENERATIONS * workers + _GENERATIONS))
    except OSError as error:
        _log.warn("workers cannot count together, each has its share of the limits: {why}", why=error.strerror)
        return None


#: How many workers of the same number may be there at once, to count together.
_GENERATIONS = 16
#: What each worker has of its own.
_OF_PROCESSES = ("max_threads", "max_processes")
_LIMITS = tuple(field.name for field in attrs.fields(Limits) if field.name != "at_limit")


def divided(limits: Limits, workers: int, *names: str) -> Limits:
    """The share of one worker: rounded up, so that together they may be a little more. @param names: which fields"""
    return attrs.evolve(limits, **{name: math.ceil(getattr(limits, name) / workers) for name in names})


def _divided(listener: ListenerSettings, workers: int) -> ListenerSettings:
    return attrs.evolve(listener, max_connections=math.ceil(listener.max_connections / workers))


def _is_stdio(listener: ListenerSettings) -> bool:
    return any(word in ("stdio", "over=stdio") for word in _kinds(listener.endpoint))


def _kinds(endpoint: str) -> list[str]:
    words, named = split_endpoint(endpoint)
    over = named.get("over", "")
    return [*words[:1], *(f"over={each}" for each in split_endpoint(over)[0][:1])] if over else list(words[:1])


def _of_connections(access: Observer, event: Event) -> None:
    if not isinstance(event, Reloaded | ReloadFailed | Draining):
        access(event)
