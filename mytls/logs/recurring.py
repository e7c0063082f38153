"""
The same again and again: the first of a minute have a line each, the others are counted and summed up in one.

What is the same: the kind of event, the listener, the cause and, where one was wanted, the backend; of a handler that
raises, what it has raised, and in which line. So how much is kept and how much is written does not depend on how many
clients there are.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mytls.errors import Cause
from mytls.events import BackendFailed, Event, HandlerFailed, HandshakeFailed, Refused

#: Seconds of which the first so many have their lines.
MINUTE = 60.0
#: How many addresses are told apart, and how many are named.
MOST_ADDRESSES, EXAMPLES = 1000, 3

_Same = tuple[type[Event], str, Cause, bool, str, str]


@attrs.frozen(kw_only=True)
class Recurred:
    """
    What had no line of its own.

    @ivar kind: of event
    @ivar silent: whether these clients have said nothing
    @ivar backend: whose failures they were; None where there was none
    @ivar where: what the handler has raised, and in which line; None where it has not
    @ivar count: how many there were
    @ivar addresses: of how many addresses, ports left out; above L{MOST_ADDRESSES} there may be more
    @ivar examples: some of them
    @ivar seconds: in which time
    """

    kind: type[Event]
    listener: str
    cause: Cause
    silent: bool
    backend: str | None
    where: str | None = None
    count: int
    addresses: int
    examples: tuple[str, ...]
    seconds: float


@attrs.define
class _Series:
    began: float
    seen: int = 0
    more: int = 0
    addresses: dict[str, None] = attrs.field(factory=dict)
    end: IDelayedCall | None = None


class Recurring:
    """Counts what is the same."""

    def __init__(self, clock: IReactorTime, most: int, tell: Callable[[Recurred], object]) -> None:
        """
        @param most: how many of the same have lines in a minute; 0 is all of them
        @param tell: is given what was counted, when the minute is over
        """
        self._clock = clock
        self._most = most
        self._tell = tell
        self._series: dict[_Same, _Series] = {}

    def admits(self, event: Event) -> bool:
        """Whether the event has a line of its own; otherwise it is counted. That there is no room is said once."""
        if not self._most or not isinstance(event, HandshakeFailed | Refused | BackendFailed | HandlerFailed):
            return True
        backend = event.backend if isinstance(event, BackendFailed) else ""
        where = event.where if isinstance(event, HandlerFailed) else ""
        same = type(event), event.listener, event.cause, getattr(event, "silent", False), backend, where
        series = self._current(same)
        series.seen += 1
        if series.seen <= (1 if getattr(event, "full", False) else self._most):
            return True
        series.more += 1
        if len(series.addresses) < MOST_ADDRESSES:
            series.addresses[_without_port(event.address)] = None
        if series.end is None:
            left = max(series.began + MINUTE - self._clock.seconds(), 0)
            series.end = self._clock.callLater(left, self._over, same)
        return False

    def finish(self) -> None:
        """Tell what was counted until now."""
        for same, series in tuple(self._series.items()):
            if series.end is not None:
                series.end.cancel()
                self._over(same)

    def _current(self, same: _Same) -> _Series:
        now = self._clock.seconds()
        series = self._series.get(same)
        if series is None or (series.end is None and now - series.began >= MINUTE):
            series = self._series[same] = _Series(now)
        return series

    def _over(self, same: _Same) -> None:
        series = self._series.pop(same)
        kind, listener, cause, silent, backend, where = same
        self._tell(
            Recurred(
                kind=kind,
                listener=listener,
                cause=cause,
                silent=silent,
                backend=backend or None,
                where=where or None,
                count=series.more,
                addresses=len(series.addresses),
                examples=tuple(series.addresses)[:EXAMPLES],
                seconds=self._clock.seconds() - series.began,
            )
        )


def _without_port(address: str) -> str:
    """`192.0.2.1` of `192.0.2.1:50000`; a path as it is."""
    host, colon, port = address.rpartition(":")
    return host if colon and port.isdigit() else address
