"""What stands in the log."""

from __future__ import annotations

from typing import cast

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase


def log_lines(test: SynchronousTestCase) -> list[str]:
    """The list that every line of the log is added to from now on, as a log file has it, until the test is over."""
    lines: list[str] = []

    def write(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    observer = cast(ILogObserver, write)
    globalLogPublisher.addObserver(observer)
    test.addCleanup(globalLogPublisher.removeObserver, observer)
    return lines
