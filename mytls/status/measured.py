"""One process, measured: what its observer has counted, and what is there now, as a snapshot."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from mytls import __version__
from mytls.connection import ServerConnection
from mytls.handlers.program import ProgramFactory
from mytls.handlers.proxy import ProxyFactory
from mytls.handlers.stream import ThreadFactory
from mytls.metrics import FAMILIES, Snapshot
from mytls.peer import serial_text
from mytls.running import TLSService
from mytls.status.counts import Counts, OfListener
from mytls.status.lag import Lag
from mytls.tls.certificates import KeyPair
from mytls.tls.contexts import openssl_version

#: A value, and its labels in the order of its family.
Sample = list[Any]


def snapshot(
    reactor: Any, service: TLSService, pairs: Iterable[tuple[str, KeyPair]], counts: Counts, lag: Lag, now: float
) -> Snapshot:
    """
    All that there is to say of this process.

    @param reactor: whose threads are counted
    @param pairs: the certificates that it serves, with the name of the host of each
    @param now: the time
    """
    known = [each.address for each in service.listeners if each.address is not None]
    for address in known:
        counts.at(address)
    there = present(service.connections)
    found: dict[str, list[Sample]] = {}
    for address, listener in counts.listeners.items():
        for name, sample in _of_listener(address, listener, there.get(address, Present())):
            found.setdefault(name, []).append(sample)
    found["mytls_certificate_expiry_seconds"] = list(_expiries(pairs, now))
    found["mytls_reloads_total"] = [
        [[each], service.reloads.get(each, 0)] for each in ("changed", "unchanged", "failed")
    ]
    found.update(_of_handlers(handlers(service), reactor))
    found["mytls_reactor_lag_seconds"] = [[[], lag.last]]
    found["mytls_reactor_lag_max_seconds"] = [[[], lag.most]]
    found["mytls_draining"] = [[[], int(service.draining)]]
    found["mytls_build_info"] = [[[__version__, platform.python_version(), openssl_version()], 1]]
    found.update(_of_process())
    return found


def handlers(service: TLSService) -> list[tuple[str, Any]]:
    """The handlers in use, each once, with its string."""
    found: dict[int, tuple[str, Any]] = {}
    for listener in service.listeners:
        if listener.hosts is None:
            found[id(listener.handler)] = listener.serves, listener.handler
        else:
            found.update((id(host.handler), (host.serves, host.handler)) for host in listener.hosts.all)
    return list(found.values())


def _of_listener(address: str, counted: OfListener, there: Present) -> Iterator[tuple[str, Sample]]:
    yield "mytls_connections_open", [[address], there.open]
    yield "mytls_handshakes_open", [[address], there.handshaking]
    yield "mytls_bytes_total", [[address, "in"], counted.bytes_in + there.bytes_in]
    yield "mytls_bytes_total", [[address, "out"], counted.bytes_out + there.bytes_out]
    yield "mytls_connections_accepted_total", [[address], counted.accepted]
    yield "mytls_connections_silent_total", [[address], counted.silent]
    yield "mytls_handler_errors_total", [[address], counted.handler_errors]
    yield "mytls_handshake_duration_seconds", [[address], counted.handshake_seconds.value]
    yield "mytls_connection_duration_seconds", [[address], counted.connection_seconds.value]
    by_cause = {
        "mytls_connections_refused_total": counted.refused,
        "mytls_handshake_failures_total": counted.failed,
        "mytls_connections_closed_total": counted.closed,
        "mytls_backend_failures_total": counted.backend_failures,
    }
    for name, causes in by_cause.items():
        for cause, count in causes.items():
            yield name, [[address, cause], count]
    for limit, count in counted.limited.items():
        yield "mytls_limit_refusals_total", [[address, limit], count]
    for kind, count in counted.handshakes.items():
        yield "mytls_handshakes_total", [[address, *kind], count]


class Present:
    """
    Who is there at one listener.

    @ivar open: how many connections
    @ivar handshaking: how many of them whose client has not met the handler yet
    @ivar bytes_in: how much they have sent until now, as C{bytes_out} is what was sent to them
    """

    __slots__ = ("bytes_in", "bytes_out", "handshaking", "open")

    def __init__(self) -> None:
        self.open = self.handshaking = self.bytes_in = self.bytes_out = 0


def present(connections: Iterable[ServerConnection]) -> dict[str, Present]:
    """Who is there, by listener."""
    found: dict[str, Present] = {}
    for connection in connections:
        there = found.get(connection.listener) or found.setdefault(connection.listener, Present())
        come, gone = connection.traffic
        there.open += 1
        there.handshaking += connection.state in _UNDECIDED
        there.bytes_in += come
        there.bytes_out += gone
    return found


_UNDECIDED = ("handshake", "policy")


def _expiries(pairs: Iterable[tuple[str, KeyPair]], now: float) -> Iterator[Sample]:
    """Of each name the certificate that expires first; the others of that name have their serial numbers in theirs."""
    found: dict[str, dict[str, float]] = {}
    for name, pair in pairs:
        serial = serial_text(pair.certificate.serial_number)
        found.setdefault(name, {})[serial] = pair.certificate.not_valid_after_utc.timestamp() - now
    for name, left in found.items():
        first, *others = sorted(left, key=left.__getitem__)
        yield [[name], left[first]]
        for serial in others:
            yield [[f"{name} serial={serial}"], left[serial]]


def _of_handlers(in_use: Iterable[tuple[str, Any]], reactor: Any) -> Mapping[str, list[Sample]]:
    backends = [(text, each) for text, made in in_use if isinstance(made, ProxyFactory) for each in made.health()]
    threads = [made.threads for _, made in in_use if isinstance(made, ThreadFactory)]
    programs = [len(made.running) for _, made in in_use if isinstance(made, ProgramFactory)]
    busy, waiting = ([[["serve"], sum(getattr(each, name) for each in threads)]] for name in ("busy", "waiting"))
    if hasattr(reactor, "getThreadPool"):
        pool = reactor.getThreadPool()
        busy.append([["reactor"], len(pool.working)])
        waiting.append([["reactor"], pool.q.qsize()])
    return {
        "mytls_backend_up": [[[text, each.description], int(each.state == "up")] for text, each in backends],
        "mytls_backend_connections_open": [[[text, each.description], each.open] for text, each in backends],
        "mytls_threads_busy": busy,
        "mytls_threads_waiting": waiting,
        "mytls_programs_running": [[[], sum(programs)]],
    }


def _of_process() -> Mapping[str, list[Sample]]:
    """What the kernel says of it; nothing where there is no C{/proc}."""
    return {
        sample.name: [[[], sample.value]]
        for metric in _process_collector().collect()
        for sample in metric.samples
        if sample.name in FAMILIES
    }


@cache
def _process_collector() -> Any:
    from prometheus_client import ProcessCollector

    return ProcessCollector(registry=None)
