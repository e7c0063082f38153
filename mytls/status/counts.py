"""
What has happened, counted: an observer of events that adds plain numbers up, and tells them when it is asked.

It runs for each event of each connection, so it looks up two dictionaries and adds one. No word of a stranger's is
kept: listeners and backends are those of the configuration, causes are of one list, and versions and groups, which
clients choose among those that OpenSSL has, are bounded besides.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from mytls.errors import Cause
from mytls.events import (
    Accepted,
    BackendFailed,
    Closed,
    Established,
    Event,
    HandlerFailed,
    HandshakeFailed,
    Refused,
    Reloaded,
    ReloadFailed,
)
from mytls.metrics import OF_CONNECTIONS, OF_HANDSHAKES
from mytls.status.traffic import Traffic

#: The word for an end that has no cause: each side has said that it was finished.
CLEAN = "clean"
#: The word for what is over a bound, or in no list.
OTHER = "other"
#: How many kinds of handshakes each listener tells apart, which clients choose.
MOST = 200
#: How many listeners and backends are told apart: no configuration has as many, but reloads may have new ones for ever.
MOST_OF_OURS = 10_000

_CAUSES = frozenset(Cause)
_GONE = (Cause.EOF, Cause.RESET)
_RESUMED = {None: "unknown", True: "yes", False: "no"}


class Histogram:
    """
    How many values lie between which bounds.

    @ivar counts: in each bucket, and above the last
    @ivar total: the sum of all values
    """

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """@param bounds: the upper bound of each bucket, which is in it"""
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """One value more."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    @property
    def value(self) -> list[float]:
        """As a snapshot has it."""
        return [*self.counts, self.total]


class OfListener:
    """
    What has happened at one listener.

    @ivar handshakes: how many by version, group and whether they were resumed
    @ivar refused: how many by cause, as are C{failed}, C{closed} (without a cause: L{CLEAN}) and C{backend_failures}
    @ivar limited: how many of the refused and the failed were beyond a limit, by its key
    @ivar silent: how many have connected, said nothing and gone: health checks and port scans, which are no failures
    @ivar bytes_in: of connections that have ended, as is C{bytes_out}
    """

    def __init__(self) -> None:
        self.accepted = self.established = self.silent = self.handler_errors = 0
        self.bytes_in = self.bytes_out = 0
        self.refused: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.limited: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.backend_failures: Counter[str] = Counter()
        self.handshakes: Counter[tuple[str, str, str]] = Counter()
        self.handshake_seconds = Histogram(OF_HANDSHAKES)
        self.connection_seconds = Histogram(OF_CONNECTIONS)


class Counts:
    """
    An observer of events.

    @ivar listeners: what has happened at each, by its address
    @ivar backends: how often each could not be had, by the handler string and the backend's endpoint string
    @ivar traffic: bytes of connections that have not ended
    @ivar last_reload: the last event of a reload, and when that was by C{time.time}; None while there was none
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """@param now: as C{time.time}"""
        self.listeners: dict[str, OfListener] = {}
        self.backends: Counter[tuple[str, str]] = Counter()
        self.traffic = Traffic()
        self.last_reload: tuple[float, Reloaded | ReloadFailed] | None = None
        self._now = now
        self._count: Mapping[type[Event], Callable[[Any], None]] = {
            Accepted: self._accepted,
            Refused: self._refused,
            Established: self._established,
            HandshakeFailed: self._handshake_failed,
            HandlerFailed: self._handler_failed,
            BackendFailed: self._backend_failed,
            Closed: self._closed,
            Reloaded: self._reloaded,
            ReloadFailed: self._reloaded,
        }

    def __call__(self, event: Event) -> None:
        """Count it, if it is one that is counted."""
        count = self._count.get(type(event))
        if count is not None:
            count(event)

    def at(self, listener: str) -> OfListener:
        """What has happened there."""
        found = self.listeners.get(listener)
        if found is None:
            key = bounded(listener, self.listeners, most=MOST_OF_OURS)
            found = self.listeners.setdefault(key, OfListener())
        return found

    def sum(self, name: str) -> Counter[str]:
        """How many by cause at all listeners. @param name: a field of L{OfListener} that is counted by cause"""
        return sum((getattr(each, name) for each in self.listeners.values()), Counter())

    def _accepted(self, event: Accepted) -> None:
        self.at(event.listener).accepted += 1

    def _refused(self, event: Refused) -> None:
        listener = self.at(event.listener)
        listener.refused[_cause(event.cause)] += 1
        if event.limit:
            listener.limited[event.limit] += 1

    def _established(self, event: Established) -> None:
        listener, peer = self.at(event.listener), event.peer
        listener.established += 1
        if peer.version is None:  # no TLS, or none of ours
            return
        kind = (peer.version, peer.group or "none", _RESUMED[peer.resumed])
        listener.handshakes[bounded(kind, listener.handshakes, (OTHER, OTHER, OTHER))] += 1
        listener.handshake_seconds.observe(event.seconds)

    def _handshake_failed(self, event: HandshakeFailed) -> None:
        listener = self.at(event.listener)
        self.traffic.forget(event.connection)
        if event.silent and event.cause in _GONE:
            listener.silent += 1
        else:
            listener.failed[_cause(event.cause)] += 1
        if event.limit:
            listener.limited[event.limit] += 1

    def _handler_failed(self, event: HandlerFailed) -> None:
        self.at(event.listener).handler_errors += 1

    def _backend_failed(self, event: BackendFailed) -> None:
        self.at(event.listener).backend_failures[_cause(event.cause)] += 1
        key = (event.handler or "", event.backend)
        self.backends[bounded(key, self.backends, (OTHER, OTHER), MOST_OF_OURS)] += 1

    def _closed(self, event: Closed) -> None:
        listener = self.at(event.listener)
        listener.closed[_cause(event.cause)] += 1
        self.traffic.forget(event.connection)
        listener.bytes_in += event.bytes_in
        listener.bytes_out += event.bytes_out
        listener.connection_seconds.observe(event.seconds)

    def _reloaded(self, event: Reloaded | ReloadFailed) -> None:
        self.last_reload = self._now(), event


def bounded(key: Any, known: Collection[Any], other: Any = OTHER, most: int = MOST) -> Any:
    """A key, or the word for all that are too many. @param known: those that there are"""
    return key if key in known or len(known) < most else other


def _cause(cause: Cause | None) -> str:
    """A plugin may have told of one that is on no list."""
    if cause is None:
        return CLEAN
    return cause.value if cause in _CAUSES else OTHER
