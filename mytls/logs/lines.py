"""A line of the log, how much it matters, and what is told where lines are lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, Protocol

import attrs
from twisted.logger import Logger

from mytls.errors import one_line

_log = Logger()

#: Seconds between two complaints of one place.
_PATIENCE = 60.0


class Priority(IntEnum):
    """How much a line matters; the numbers are syslog's (RFC 5424 section 6.2.1)."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


@attrs.frozen
class Line:
    """
    One line.

    @ivar text: it, without its end; for people, or a JSON object
    @ivar stamped: the same for who has no clock of his own: with the time, in UTC
    @ivar fields: tells what it says, each by its name
    """

    priority: Priority
    text: str
    stamped: str
    fields: Callable[[], Mapping[str, Any]]


class Place(Protocol):
    """Where lines go. What goes wrong there harms nobody who writes."""

    def open(self) -> None:
        """Lines will come. @raise ConfigurationError: the place is not to be had"""

    def write(self, line: Line) -> None:
        """Write it, at once or never."""

    def reopen(self) -> None:
        """Whoever moves files away has done so."""

    def close(self) -> None:
        """No more lines will come."""


class Losses:
    """Counts the lines that were lost, and says so at most once a minute."""

    def __init__(self, name: str, seconds: Callable[[], float]) -> None:
        """
        @param name: of the place, as the user wrote it
        @param seconds: tells the time
        """
        self._name = name
        self._seconds = seconds
        self._lost = 0
        self._told: dict[str, float] = {}

    def lost(self, why: str) -> None:
        """A line is."""
        self._lost += 1
        self.trouble(f"lines are lost: {why}")

    def trouble(self, what: str) -> None:
        """Something is not as it should be."""
        if self._may("trouble"):
            _log.warn("{line}", line=one_line(f"{self._name}: {what}"))

    def well(self) -> None:
        """A line is written."""
        if self._lost and self._may("well"):
            count, self._lost = self._lost, 0
            how_many = "1 line was" if count == 1 else f"{count} lines were"
            _log.warn("{line}", line=one_line(f"{self._name}: it goes on; {how_many} lost"))

    def _may(self, kind: str) -> bool:
        now = self._seconds()
        if now - self._told.get(kind, -_PATIENCE) < _PATIENCE:
            return False
        self._told[kind] = now
        return True
