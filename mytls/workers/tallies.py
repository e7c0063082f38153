"""What several workers say of themselves, as if they were one process; and what goes on to count of those gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mytls.metrics import Snapshot, added, ended

Values = Mapping[str, Any]

#: What a status counts: whatever happens to a process, these only grow.
_GROWING = ("accepted", "refused", "established", "failed", "silent", "closed")
_COUNTERS = ("refusals", "failures", "ends", "bytes")
#: The keys of a status whose values are numbers by words.
COUNTED = ("connections", *_COUNTERS)
_OF_LISTENERS = ("accepted", "refused", "failed")
#: How a backend is, from the worst on.
_STATES = ("down", "unhealthy", "up")
#: What is counted once, by the parent.
_OF_THE_PARENT = ("mytls_reloads_total",)


class Tally:
    """What has been counted by workers that are gone."""

    def __init__(self) -> None:
        self._metrics: Snapshot = {}
        self._status: Values = {}

    def keep(self, told: Mapping[str, Any]) -> None:
        """One is gone. @param told: the last of what it has told"""
        self._metrics = added([self._metrics, ended(of_worker(told.get("metrics", {})))])
        self._status = _counted(summed([self._status, told.get("status", {})]))

    @property
    def metrics(self) -> Snapshot:
        """As a snapshot."""
        return self._metrics

    @property
    def status(self) -> Values:
        """As the part of a status that counts."""
        return self._status


def of_worker(snapshot: Snapshot) -> Snapshot:
    """What only a worker can tell."""
    return {name: samples for name, samples in snapshot.items() if name not in _OF_THE_PARENT}


def summed(statuses: Sequence[Values]) -> Values:
    """The numbers of a status, of several processes together; see L{mytls.status.overview.Overview.status}."""
    return {
        **{name: added_up(*(each.get(name, {}) for each in statuses)) for name in COUNTED},
        "backends": _backends(statuses),
        "listeners": _by_address(statuses),
    }


def added_up(*counts: Mapping[str, int]) -> dict[str, int]:
    """Numbers by words, of several together."""
    found: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            found[name] = found.get(name, 0) + count
    return found


def at_listeners(listeners: Iterable[Values], numbers: Iterable[Values]) -> list[Values]:
    """The parent's listeners, with what the workers have counted there. @param numbers: of L{summed}"""
    counted = {each["address"]: each for each in numbers}
    names = ("open", *_OF_LISTENERS)
    return [
        {**each, **{name: each[name] + counted.get(each["address"], {}).get(name, 0) for name in names}}
        for each in listeners
    ]


def _counted(status: Values) -> Values:
    """Without what is gone with the process: what was open, and how its backends were."""
    connections = {name: status["connections"].get(name, 0) for name in _GROWING}
    listeners = [{"address": each["address"], **{n: each[n] for n in _OF_LISTENERS}} for each in status["listeners"]]
    return {"connections": connections, **{name: status[name] for name in _COUNTERS}, "listeners": listeners}


def _by_address(statuses: Iterable[Values]) -> list[Values]:
    found: dict[Any, Counter[str]] = {}
    for status in statuses:
        for each in status.get("listeners", ()):
            numbers = found.setdefault(each["address"], Counter())
            for name in ("open", *_OF_LISTENERS):
                numbers[name] += each.get(name, 0)
    return [
        {"address": address, **{n: numbers[n] for n in ("open", *_OF_LISTENERS)}} for address, numbers in found.items()
    ]


def _backends(statuses: Iterable[Values]) -> list[Values]:
    """Each backend once; it is as the worker finds it that has the least of it."""
    found: dict[tuple[Any, Any], Values] = {}
    for status in statuses:
        for each in status.get("backends", ()):
            key = each["handler"], each["backend"]
            found[key] = each if key not in found else _both(found[key], each)
    return list(found.values())


def _both(one: Values, other: Values) -> Values:
    worst = min((one, other), key=lambda each: _STATES.index(each["state"]))
    numbers = {name: one[name] + other[name] for name in ("open", "failures")}
    return {**worst, **numbers}
