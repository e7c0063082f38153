"""
A worker's log: its lines go through a pipe to the parent, which writes them with its own.

A line of ours is a record separator and JSON (RFC 7464), so that severity and a traceback's lines stay together. What
else is written there, by a library or by the interpreter at its end, is a line as it is.
"""

from __future__ import annotations

import json
import os
from threading import Lock
from typing import Any

from twisted.logger import ILogObserver, Logger, LogLevel, eventAsText
from zope.interface import implementer

#: How a line of ours begins.
_MARK = b"\x1e"
#: How much of a line without an end is kept.
_LONGEST = 1024 * 1024
#: What the parent says better, of all: up to which level, by where it comes from.
_QUIET = (
    ("twisted.scripts.", LogLevel.info),
    ("twisted.application.", LogLevel.info),
    ("twisted.internet.base", LogLevel.info),
    ("-", LogLevel.info),
    ("mytls.running", LogLevel.warn),
    ("mytls.draining", LogLevel.info),
)
#: Whose it is, where nobody has said it; and what is of Twisted's old log.
_OUTPUT, _LEGACY = "output", "log_legacy"


@implementer(ILogObserver)
class Sender:
    """What a worker logs to: C{twistd --logger=mytls.workers.lines.Sender}."""

    def __init__(self, descriptor: int = 1) -> None:
        """@param descriptor: where lines are written"""
        self._descriptor = descriptor
        self._one_at_a_time = Lock()

    def __call__(self, event: Any) -> None:
        """See C{ILogObserver}. A parent that is gone reads nothing any more."""
        level = event.get("log_level") or LogLevel.info
        namespace = event.get("log_namespace") or "-"
        if any(namespace.startswith(quiet) and level <= most for quiet, most in _QUIET):
            return
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        line = json.dumps([namespace, level.name, text]).encode("ascii")
        rest = memoryview(_MARK + line + b"\n")
        with self._one_at_a_time:
            try:
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError:
                return


class Receiver:
    """What comes through the pipe, as lines of the parent's log."""

    def __init__(self, worker: str) -> None:
        """@param worker: which it is"""
        self._worker = worker
        self._rest = b""

    def received(self, data: bytes) -> None:
        """Some more."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._log(line)

    def ended(self) -> None:
        """There is no more."""
        rest, self._rest = self._rest, b""
        if rest:
            self._log(rest)

    def _log(self, line: bytes) -> None:
        namespace, level, text = _parsed(line)
        system = self._worker if namespace == _LEGACY else f"{self._worker} {namespace}#{level.name}"
        Logger(namespace=namespace).emit(level, "{line}", line=text, log_system=system)


def _parsed(line: bytes) -> tuple[str, Any, str]:
    """Whose it is, how bad, and what it says."""
    if line.startswith(_MARK):
        try:
            namespace, level, text = json.loads(line[1:])
            return str(namespace), LogLevel.lookupByName(level), str(text)
        except (ValueError, TypeError):  # somebody else's, who writes such marks too
            return _OUTPUT, LogLevel.warn, line.decode("utf-8", "backslashreplace")
    return _OUTPUT, LogLevel.warn, line.decode("utf-8", "backslashreplace")
