"""
What handlers raise: the first tracebacks of a minute from the same line of code, in full, in twistd's log.

How many clients run into a fault is up to them, so the others are counted: the log of connections sums up who has met
it, and the next traceback says how many like it were left out.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mytls.errors import visible
from mytls.logs.recurring import MINUTE

_log = Logger()

#: How many lines of code are told apart. A program has no more that raise; code that is made as it runs may.
_MOST_PLACES = 1000


@attrs.define
class _Minute:
    began: float
    seen: int = 0
    left_out: int = 0


class Tracebacks:
    """Writes them."""

    def __init__(self, clock: IReactorTime, most: int) -> None:
        """@param most: how many of one place are written in a minute; 0 is all of them"""
        self._clock = clock
        self._most = most
        self._minutes: dict[str, _Minute] = {}

    def write(self, failure: Failure) -> str:
        """A handler has raised. @return: what and where: `ValueError at /srv/app/app.py:12`"""
        where = place_of(failure)
        minute = self._minute(where)
        minute.seen += 1
        if self._most and minute.seen > self._most:
            minute.left_out += 1
        else:
            _log.failure(_words(minute.left_out), _Escaped.of(failure))
            minute.left_out = 0
        return where

    def _minute(self, where: str) -> _Minute:
        """The minute that it is in. What the last one has left out is still to be said."""
        now = self._clock.seconds()
        last = self._minutes.get(where)
        if last is not None and now - last.began < MINUTE:
            return last
        if last is None and len(self._minutes) >= _MOST_PLACES:
            self._minutes.pop(next(iter(self._minutes)))
        made = self._minutes[where] = _Minute(now, left_out=last.left_out if last else 0)
        return made


class _Escaped(Failure):
    """A failure whose text, which a client may have a part in, moves no cursor and begins no line of its own."""

    @classmethod
    def of(cls, failure: Failure) -> _Escaped:
        """The same."""
        made = cls.__new__(cls)
        made.__dict__.update(failure.__dict__)
        return made

    def getTraceback(self, *about: Any, **named: Any) -> str:
        """As Twisted writes it, escaped."""
        text = super().getTraceback(*about, **named)
        return "".join(each if each.isprintable() or each in "\n\t" else visible(each) for each in text)


def place_of(failure: Failure) -> str:
    """What was raised, and in which line."""
    name = failure.type.__name__ if failure.type else ""
    return " at ".join((name, *(f"{file}:{line}" for _, file, line, *_ in failure.frames[-1:])))


def _words(left_out: int) -> str:
    return "the handler failed" + (f" ({left_out} more such tracebacks were left out before)" if left_out else "")
