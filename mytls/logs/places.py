"""Where lines go, as the user has said it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from twisted.logger import Logger, LogLevel

from mytls.logs.datagrams import JOURNAL, SYSLOG, Datagrams, of_journal, of_syslog
from mytls.logs.file import LogFile
from mytls.logs.lines import Line, Place, Priority
from mytls.settings import Log

_log = Logger("mytls.accesslog")

_LEVELS = {
    Priority.ERROR: LogLevel.error,
    Priority.WARNING: LogLevel.warn,
    Priority.NOTICE: LogLevel.info,
    Priority.INFO: LogLevel.info,
}


class TwistedLog:
    """The log that twistd writes, or whatever the program makes of it: it has its own way with files."""

    def open(self) -> None:
        """It is there."""

    def write(self, line: Line) -> None:
        """Write it."""
        _log.emit(_LEVELS[line.priority], "{line}", line=line.text)

    def reopen(self) -> None:
        """That is twistd's."""

    def close(self) -> None:
        """That is twistd's."""


def place_of(log: Log, seconds: Callable[[], float], wrote: str = "log-to", journal: str = JOURNAL) -> Place:
    """
    The place that was asked for.

    @param seconds: tells the time
    @param wrote: how the user wrote the key, for errors
    @param journal: the journal's socket
    @raise ConfigurationError: it is not to be had
    """
    name = f"{wrote}={log.to}"
    if log.to == "syslog":
        path = next((each for each in SYSLOG if _is_socket(each)), SYSLOG[0])
        return Datagrams(path, of_syslog, name, seconds)
    if log.to == "journal":
        return Datagrams(journal, of_journal, name, seconds, needed=True)
    if log.to.startswith("file:"):
        return LogFile(log.to.removeprefix("file:"), log.rotate, log.keep, name, seconds)
    return TwistedLog()


def _is_socket(path: str) -> bool:
    """Where the journal keeps its files, C{/var/run/log} is a folder."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
