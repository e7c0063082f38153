"""
The overview of a parent and its workers.

What was said and loaded the parent knows itself; what has happened the workers tell. Each is asked at the same time,
and who does not answer in time is told of as it was when it last said something. One that has said nothing for longer
than that, and ought to each second, is not C{up}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks, succeed

from mytls.metrics import of_workers, rendered
from mytls.status.process import ProcessOverview
from mytls.workers.child import Child
from mytls.workers.crew import Crew
from mytls.workers.tallies import COUNTED, Tally, Values, added_up, at_listeners, of_worker, summed


class CrewOverview:
    """Implements L{mytls.status.overview.Overview} for the parent of workers."""

    def __init__(self, own: ProcessOverview, crew: Crew, tally: Tally) -> None:
        """
        @param own: of the parent
        @param tally: of workers that are gone
        """
        self._own = own
        self._crew = crew
        self._tally = tally

    def start(self) -> None:
        """See L{ProcessOverview.start}."""
        self._own.start()

    def stop(self) -> None:
        """See L{ProcessOverview.stop}."""
        self._own.stop()

    @inlineCallbacks
    def status(self, *, whole: bool = True) -> Any:
        """See L{mytls.status.overview.Overview.status}."""
        own = yield self._own.status(whole=whole)
        yield self._crew.ask("status")
        children = self._crew.children  # who has gone meanwhile is in the tally already
        told = [child.told.get("status", {}) for child in children]
        numbers = summed([*told, self._tally.status])
        left = numbers["connections"].get("open", 0)
        drain = own["drain"]
        return {
            **own,
            "drain": None if drain is None else {**drain, "left": left},
            "workers": [self._worker(child) for child in children],
            "listeners": at_listeners(own["listeners"], numbers["listeners"]),
            **{name: added_up(own[name], numbers[name]) for name in COUNTED},
            "backends": numbers["backends"],
        }

    @inlineCallbacks
    def metrics(self) -> Any:
        """See L{mytls.status.overview.Overview.metrics}."""
        yield self._crew.ask("metrics")
        places = self._crew.places
        up = {place.number: self._is_up(place.child) for place in places}
        told = [of_worker(child.told.get("metrics", {})) for child in self._crew.children]
        of_crew = of_workers(up, {place.number: place.restarts for place in places})
        return rendered([self._own.snapshot(), *told, self._tally.metrics, of_crew])

    @inlineCallbacks
    def connections(self, limit: int = 0) -> Any:
        """See L{mytls.status.overview.Overview.connections}. A number is that of a worker, and its own there."""
        answers = yield self._crew.ask("connections", {"limit": limit})
        total = sum(_total(answer or {}) for _, answer in answers)
        found = [
            {**each, "id": f"{child.name}-{each['id']}"}
            for child, answer in answers
            for each in (answer or {}).get("connections", ())
        ]
        oldest = sorted(found, key=lambda each: each["since"])
        return total, oldest[:limit] if limit else oldest

    def close(self, connection: str) -> Deferred[bool]:
        """See L{mytls.status.overview.Overview.close}."""
        name, _, number = connection.partition("-")
        for child in self._crew.children:
            if child.name == name:
                return self._crew.asked(child, "close", {"connection": number}).addCallback(
                    lambda both: bool((both[1] or {}).get("closed"))
                )
        return succeed(False)

    def reload(self) -> Deferred[bool]:
        """See L{mytls.status.overview.Overview.reload}."""
        return self._own.reload()

    def drain(self) -> None:
        """See L{mytls.status.overview.Overview.drain}."""
        self._own.drain()

    def _worker(self, child: Child) -> Values:
        up = self._is_up(child)
        return {"worker": child.number, "pid": child.pid, "up": up, "started": child.since, "version": child.version}

    def _is_up(self, child: Child | None) -> bool:
        return child is not None and child.serving and not self._crew.is_silent(child)


def _total(answer: Values) -> int:
    """How many connections a worker has; one of an older version tells of all of them."""
    return int(answer.get("total", len(answer.get("connections", ()))))
