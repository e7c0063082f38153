"""
The overview of one process.

    counts = Counts(time.time)                          # one of the observers that the service is made with
    overview = ProcessOverview(reactor, service, counts)
    overview.start()                                    # looks how late the reactor is, until overview.stop()
    overview.snapshot()                                 # for mytls.metrics.added and rendered
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from heapq import nsmallest
from operator import attrgetter
from typing import Any

from twisted.internet.defer import Deferred, succeed

from mytls import __version__
from mytls.errors import Cause, TLSFailure
from mytls.events import Reloaded
from mytls.handlers.proxy import ProxyFactory
from mytls.hosts import Host
from mytls.metrics import Snapshot, rendered
from mytls.running import TLSService
from mytls.status import facts
from mytls.status.counts import Counts
from mytls.status.lag import Lag
from mytls.status.measured import handlers, snapshot
from mytls.status.overview import Values
from mytls.status.traffic import Looks
from mytls.tls.certificates import KeyPair


class ProcessOverview:
    """
    Implements L{mytls.status.overview.Overview} for a service of this process.

    @ivar beside: says which hosts there are besides those of the service, each with what stands for its listener
    """

    def __init__(
        self,
        reactor: Any,
        service: TLSService,
        counts: Counts,
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        @param counts: one of the service's observers
        @param now: as C{time.time}
        """
        self._reactor = reactor
        self._service = service
        self._counts = counts
        self._now = now
        self._started, self._since = now(), reactor.seconds()
        self._lag = Lag(reactor)
        self._looks = Looks(reactor, lambda: service.connections, counts.traffic)
        self._certificates = facts.Certificates()
        self.beside: Callable[[], Iterable[tuple[str, Host]]] = tuple

    def start(self) -> None:
        """The service starts: look how late the reactor is, and what has passed, from now on."""
        self._started, self._since = self._now(), self._reactor.seconds()
        self._lag.start()
        self._looks.start()
        self.metrics()  # what they need is imported now: at the descriptor limit no file of it could be opened

    def stop(self) -> None:
        """Look no more."""
        self._lag.stop()
        self._looks.stop()

    def status(self, *, whole: bool = True) -> Deferred[Values]:
        """See L{mytls.status.overview.Overview.status}."""
        now, service, counts = self._now(), self._service, self._counts
        hosts = list(facts.hosts(service)) if whole else []
        secured = [*hosts, *self.beside()]
        return succeed(
            {
                "version": __version__,
                "pid": os.getpid(),
                "started": self._started,
                "now": now,
                "uptime": self._reactor.seconds() - self._since,
                "draining": service.draining,
                "drain": self._drained(),
                "workers": [],
                "listeners": list(facts.listeners(service, counts)),
                "hosts": [facts.host(listener, host) for listener, host in hosts],
                "certificates": self._certificates.told(secured, now) if whole else [],
                "reload": self._reloads(),
                **self._numbers(),
                "backends": self._backends(),
            }
        )

    def metrics(self) -> Deferred[bytes]:
        """See L{mytls.status.overview.Overview.metrics}."""
        return succeed(rendered([self.snapshot()]))

    def snapshot(self) -> Snapshot:
        """Its metrics, for whoever adds up those of several processes."""
        return snapshot(self._reactor, self._service, self._pairs(), self._counts, self._lag, self._now())

    def connections(self, limit: int = 0) -> Deferred[tuple[int, Sequence[Values]]]:
        """See L{mytls.status.overview.Overview.connections}."""
        now, there = self._reactor.seconds(), self._service.connections
        oldest = nsmallest(limit or len(there), there, key=attrgetter("number"))
        return succeed((len(there), [facts.connection(each, now, self._wall) for each in oldest]))

    def close(self, connection: str) -> Deferred[bool]:
        """See L{mytls.status.overview.Overview.close}."""
        for each in self._service.connections:
            if str(each.number) == connection and each.state != "closing":
                each.finish(TLSFailure(Cause.DRAIN, "closed by an operator"))
                return succeed(True)
        return succeed(False)

    def reload(self) -> Deferred[bool]:
        """See L{mytls.status.overview.Overview.reload}."""
        return self._service.reload()

    def drain(self) -> None:
        """See L{mytls.status.overview.Overview.drain}."""
        self._service.drain()

    def _pairs(self) -> Iterable[tuple[str, KeyPair]]:
        hosts = (*facts.hosts(self._service), *self.beside())
        return ((host.known_as(), pair) for _, host in hosts for pair in host.pairs)

    def _drained(self) -> Values | None:
        service = self._service
        if not service.draining:
            return None
        return {"left": service.left, "until": None if service.until is None else self._wall(service.until)}

    def _reloads(self) -> Values:
        reloads, last = self._service.reloads, self._counts.last_reload
        told: Values | None = None
        if last is not None:
            at, event = last
            lines = event.changes if isinstance(event, Reloaded) else event.lines
            told = {"at": at, "served": isinstance(event, Reloaded), "lines": list(lines)}
        return {"attempts": sum(reloads.values()), "failures": reloads.get("failed", 0), "last": told}

    def _numbers(self) -> Values:
        """How many of what there were, and are; this is asked each second, so nobody is asked who can be counted."""
        there = self._looks.now()
        counts, counted = self._counts, self._counts.listeners.values()
        refusals, failures, ends = counts.sum("refused"), counts.sum("failed"), counts.sum("closed")
        accepted, established = (sum(getattr(each, name) for each in counted) for name in ("accepted", "established"))
        silent, traffic = sum(each.silent for each in counted), counts.traffic
        return {
            "connections": {
                "open": there,
                "handshaking": accepted - established - failures.total() - silent,
                "accepted": accepted,
                "refused": refusals.total(),
                "established": established,
                "failed": failures.total(),
                "silent": silent,
                "closed": ends.total(),
            },
            "refusals": dict(refusals),
            "failures": dict(failures),
            "ends": dict(ends),
            "bytes": {
                "in": sum(each.bytes_in for each in counted) + traffic.bytes_in,
                "out": sum(each.bytes_out for each in counted) + traffic.bytes_out,
            },
        }

    def _backends(self) -> list[Values]:
        failures = self._counts.backends
        return [
            facts.backend(text, standing, failures[text, standing.description], self._wall)
            for text, handler in handlers(self._service)
            if isinstance(handler, ProxyFactory)
            for standing in handler.health()
        ]

    def _wall(self, clock: float) -> float:
        """A time of the reactor's clock as one since 1970."""
        return float(self._now() - (self._reactor.seconds() - clock))
