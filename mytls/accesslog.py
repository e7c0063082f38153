"""
What happened, as lines of the log: one for each connection that ends, is refused or fails.

What a stranger causes often is summed up, so that nobody can fill a disk with the same line; what is of the service
itself, as a reload, is in twistd's log too, wherever the lines of connections go.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.interfaces import IReactorTime

from mytls.errors import Cause, ConfigurationError, nearest
from mytls.events import (
    BackendFailed,
    Closed,
    Draining,
    Event,
    HandlerFailed,
    HandshakeFailed,
    Refused,
    Reloaded,
    ReloadFailed,
)
from mytls.logs.fields import as_json, fields_of, stamp, word_of
from mytls.logs.lines import Line, Place, Priority
from mytls.logs.places import TwistedLog
from mytls.logs.recurring import Recurred, Recurring
from mytls.logs.text import text_of
from mytls.settings import Log

#: What can be kept out of the log, and which events that is.
CLASSES: dict[str, Callable[[Event], bool]] = {
    "connections": lambda event: isinstance(event, Closed),
    "handshake-failures": lambda event: isinstance(event, HandshakeFailed),
    "backend-failures": lambda event: isinstance(event, BackendFailed),
    "health-checks": lambda event: _only_connected(event) or _of_a_proxy(event),
    "refusals": lambda event: isinstance(event, Refused),
}

#: What is no stranger's doing.
_OURS = {
    Cause.HANDLER: Priority.ERROR,
    Cause.BACKEND_REFUSED: Priority.WARNING,
    Cause.BACKEND_TIMEOUT: Priority.WARNING,
    Cause.BACKEND_UNVERIFIED: Priority.WARNING,
}
_OF_SERVICE = (Reloaded, ReloadFailed, Draining)


class AccessLog:
    """An observer of events that writes the line, for those events that have one."""

    def __init__(
        self,
        log: Log,
        clock: IReactorTime,
        place: Place | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        @param log: how lines look, and which events have none
        @param clock: when what was counted is told
        @param place: where they go; twistd's log, if left out
        @param now: tells seconds since 1970
        @raise ConfigurationError: there is nothing of that name to be quiet about
        """
        self._quiet = _silenced(log.quiet)
        self._json = log.format == "json"
        self._place: Place = place or TwistedLog()
        self._now = now
        self._recurring = Recurring(clock, log.repeats, self._write)

    def open(self) -> None:
        """Lines will come. @raise ConfigurationError: they cannot be written"""
        self._place.open()

    def close(self) -> None:
        """No more will come: tell what was only counted until now."""
        self._recurring.finish()
        self._place.close()

    def __call__(self, event: Event) -> None:
        """Write the line, or not."""
        if isinstance(event, Reloaded | ReloadFailed):
            self._place.reopen()
        if word_of(event) is None or any(silenced(event) for silenced in self._quiet):
            return
        if self._recurring.admits(event):
            self._write(event)

    def _write(self, event: Event | Recurred) -> None:
        line = line_of(event, self._now(), self._json)
        self._place.write(line)
        if isinstance(event, _OF_SERVICE) and not isinstance(self._place, TwistedLog):
            reloads(event)


def reloads(event: Event) -> None:
    """An observer of what happens to the service alone, which writes to twistd's log."""
    if isinstance(event, _OF_SERVICE):
        TwistedLog().write(line_of(event, 0.0))


def line_of(event: Event | Recurred, now: float, json: bool = False) -> Line:
    """The line of an event that has one. @param now: seconds since 1970 @param json: whether it is for machines"""
    when = datetime.datetime.fromtimestamp(now, datetime.UTC)
    priority = _priority(event)

    def fields() -> dict[str, Any]:
        return {"time": stamp(when), "level": priority.name.lower(), **fields_of(event)}

    if json:
        text = as_json(fields())
        return Line(priority, text, text, fields)
    text = text_of(event)
    return Line(priority, text, f"{stamp(when)} {text}", fields)


def _silenced(quiet: Iterable[str]) -> list[Callable[[Event], bool]]:
    for name in quiet:
        if name not in CLASSES:
            raise ConfigurationError(f"log-quiet: {name!r} is nothing to be quiet about{nearest(name, CLASSES)}")
    return [CLASSES[name] for name in quiet]


def _only_connected(event: Event) -> bool:
    """Somebody who connects, says nothing and goes: a health check, a port scan."""
    return isinstance(event, HandshakeFailed) and event.silent and event.cause in (Cause.EOF, Cause.RESET)


def _of_a_proxy(event: Event) -> bool:
    """A trusted proxy that has connected for itself, and got as far as TLS."""
    header = event.peer.proxy_header if isinstance(event, Closed) else None
    return header is not None and header.local


def _priority(event: Event | Recurred) -> Priority:
    """How much it matters: what strangers do is worth a look at most, what is our own fault is an error."""
    cause = getattr(event, "cause", None)
    if isinstance(event, HandlerFailed):
        return Priority.ERROR
    if isinstance(event, ReloadFailed):
        return Priority.WARNING
    if cause in _OURS:
        return _OURS[cause]
    if isinstance(event, Closed) or _only_connected_of(event):
        return Priority.INFO
    return Priority.NOTICE


def _only_connected_of(event: Event | Recurred) -> bool:
    if isinstance(event, Recurred):
        return event.silent and event.cause in (Cause.EOF, Cause.RESET)
    return _only_connected(event)
