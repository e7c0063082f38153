"""
What is measured: the families, their values at a moment, the values of several processes as one, and Prometheus's text.

A snapshot is what one process has to say, as JSON can carry it. Those of several are added up family by family: what is
counted is summed, and so is what is there now; of an expiry the soonest is told, of a lag the longest. Of a process
that is gone what it has counted stays, so no counter ever goes down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import accumulate
from operator import add
from typing import Any

import attrs

#: By the names of families: for each combination of labels (in the family's order) its value. The value of a histogram
#: is how many are in each of its buckets, those above the last, and their sum.
Snapshot = Mapping[str, list[list[Any]]]


class Kind(StrEnum):
    """What Prometheus does with a family."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@attrs.frozen
class Family:
    """
    What is measured.

    @ivar labels: the names of its labels
    @ivar meaning: a sentence
    @ivar joined: how the values of several processes are one: C{sum}, C{min} or C{max}
    @ivar buckets: the upper bounds of a histogram's buckets
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    joined: str = "sum"
    buckets: tuple[float, ...] = ()


#: Seconds from accept to the handler: a resumed session next door, up to the deadline's neighbourhood.
OF_HANDSHAKES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: Seconds that a connection lasts: one request, up to a day.
OF_CONNECTIONS = (0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)


def _counter(name: str, labels: str, meaning: str) -> Family:
    return Family(name, Kind.COUNTER, tuple(labels.split()), meaning)


def _gauge(name: str, labels: str, meaning: str, joined: str = "sum") -> Family:
    return Family(name, Kind.GAUGE, tuple(labels.split()), meaning, joined)


def _histogram(name: str, buckets: tuple[float, ...], meaning: str) -> Family:
    return Family(name, Kind.HISTOGRAM, ("listener",), meaning, buckets=buckets)


#: All of them, by their names, in the order in which they are told.
FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        _counter("mytls_connections_accepted_total", "listener", "Connections that were accepted and not refused."),
        _counter("mytls_connections_refused_total", "listener cause", "Connections turned away before any TLS work."),
        _counter(
            "mytls_handshakes_total",
            "listener version group resumed",
            "TLS handshakes whose clients have met the handler.",
        ),
        _counter(
            "mytls_limit_refusals_total",
            "listener limit",
            "Connections beyond a limit, by its key: those refused, and those whose handshake was.",
        ),
        _counter(
            "mytls_handshake_failures_total",
            "listener cause",
            "Accepted connections whose clients have not met the handler, but for the silent ones.",
        ),
        _counter(
            "mytls_connections_silent_total",
            "listener",
            "Accepted connections whose clients have said nothing and gone: health checks, port scans.",
        ),
        _counter(
            "mytls_connections_closed_total", "listener cause", "Connections that have met the handler and have ended."
        ),
        _gauge("mytls_connections_open", "listener", "Connections that are there."),
        _gauge("mytls_handshakes_open", "listener", "Those of them whose clients have not met the handler yet."),
        _counter("mytls_bytes_total", "listener direction", "Decrypted bytes from (in) and to (out) clients."),
        _histogram("mytls_handshake_duration_seconds", OF_HANDSHAKES, "From accept to the handler, TLS alone."),
        _histogram("mytls_connection_duration_seconds", OF_CONNECTIONS, "From accept to the end."),
        _gauge(
            "mytls_certificate_expiry_seconds",
            "host",
            "Seconds until a certificate of the host expires; negative afterwards.",
            "min",
        ),
        _counter("mytls_reloads_total", "result", "Reloads: changed, unchanged or failed."),
        _counter("mytls_backend_failures_total", "listener cause", "Backends that could not be had for a client."),
        _gauge("mytls_backend_up", "handler backend", "Whether the backend is well, as far as is known.", "min"),
        _gauge("mytls_backend_connections_open", "handler backend", "Clients who have the backend or wait for it."),
        _counter("mytls_handler_errors_total", "listener", "Handlers that have raised."),
        _gauge("mytls_reactor_lag_seconds", "", "How late the event loop was the last time it was looked at.", "max"),
        _gauge("mytls_reactor_lag_max_seconds", "", "The most of the last minute.", "max"),
        _gauge("mytls_threads_busy", "pool", "Threads that have work: of Twisted's reactor, and of serve: handlers."),
        _gauge("mytls_threads_waiting", "pool", "Jobs that wait for a thread."),
        _gauge("mytls_programs_running", "", "Programs of exec: handlers that run."),
        _gauge("mytls_draining", "", "Whether it stops: 1 from the signal on.", "max"),
        _gauge("mytls_worker_up", "worker", "Whether the worker serves.", "max"),
        _counter("mytls_worker_restarts_total", "worker", "How often it was started again."),
        _gauge("mytls_build_info", "version python openssl", "Always 1; what serves is in the labels.", "max"),
        _counter("process_cpu_seconds_total", "", "Processor time."),
        _gauge("process_resident_memory_bytes", "", "Memory that is in use."),
        _gauge("process_open_fds", "", "Open descriptors; of several processes those of the one with most.", "max"),
        _gauge("process_max_fds", "", "How many there may be; of several processes the least.", "min"),
        _gauge("process_start_time_seconds", "", "When it has started, in seconds since 1970.", "min"),
    )
}


def added(snapshots: Iterable[Snapshot]) -> Snapshot:
    """
    What several processes say, as if it were one.

    A family that is not known here, or a histogram of other buckets, is of another version of mytls, and left out.
    """
    found: dict[str, dict[tuple[str, ...], Any]] = {name: {} for name in FAMILIES}
    for snapshot in snapshots:
        for name, samples in snapshot.items():
            if name in FAMILIES:
                _add(FAMILIES[name], found[name], samples)
    return {name: _listed(values) for name, values in found.items() if values}


def ended(snapshot: Snapshot) -> Snapshot:
    """What goes on to count of a process that is gone."""
    return {
        name: samples
        for name, samples in snapshot.items()
        if name in FAMILIES and FAMILIES[name].kind is not Kind.GAUGE
    }


def of_workers(up: Mapping[int, bool], restarts: Mapping[int, int]) -> Snapshot:
    """What the parent of workers has to say besides, by their numbers."""
    return {
        "mytls_worker_up": [[[str(worker)], int(is_up)] for worker, is_up in up.items()],
        "mytls_worker_restarts_total": [[[str(worker)], count] for worker, count in restarts.items()],
    }


def rendered(snapshots: Iterable[Snapshot]) -> bytes:
    """Several snapshots as one, in Prometheus's text format (version 0.0.4)."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(added(snapshots)))
    return generate_latest(registry)


class _Collector:
    """Gives prometheus_client the families of a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Any]:
        """Each family that there is something of."""
        for name, samples in self._snapshot.items():
            yield _metric(FAMILIES[name], samples)


def _metric(family: Family, samples: list[list[Any]]) -> Any:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    match family.kind:
        case Kind.COUNTER:
            metric: Any = CounterMetricFamily(family.name, family.meaning, labels=family.labels)
        case Kind.GAUGE:
            metric = GaugeMetricFamily(family.name, family.meaning, labels=family.labels)
        case Kind.HISTOGRAM:
            metric = HistogramMetricFamily(family.name, family.meaning, labels=family.labels)
            for labels, value in samples:
                metric.add_metric(labels, _buckets(family, value), value[-1])
            return metric
    for labels, value in samples:
        metric.add_metric(labels, value)
    return metric


def _buckets(family: Family, value: list[float]) -> list[tuple[str, float]]:
    """How many are at most so much, as Prometheus wants it."""
    below = accumulate(value[:-1])
    return list(zip((*map(str, family.buckets), "+Inf"), below, strict=True))


def _add(family: Family, found: dict[tuple[str, ...], Any], samples: list[list[Any]]) -> None:
    for labels, value in samples:
        if family.kind is Kind.HISTOGRAM and len(value) != len(family.buckets) + 2:
            continue
        key = tuple(labels)
        found[key] = _JOINED[family.kind, family.joined](found[key], value) if key in found else value


_JOINED: Mapping[tuple[Kind, str], Callable[[Any, Any], Any]] = {
    (Kind.COUNTER, "sum"): add,
    (Kind.GAUGE, "sum"): add,
    (Kind.GAUGE, "min"): min,
    (Kind.GAUGE, "max"): max,
    (Kind.HISTOGRAM, "sum"): lambda one, other: list(map(add, one, other)),
}


def _listed(values: Mapping[tuple[str, ...], Any]) -> list[list[Any]]:
    return [[list(labels), value] for labels, value in values.items()]
