"""What a program says on its standard error, as lines for the log: bounded in length and number."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from mytls.errors import one_line

#: Bytes of a line that are kept.
MAX_LINE = 1000
#: So many lines may come at once,
BURST = 100
#: and so many in each second from then on.
PER_SECOND = 10


class Complaints:
    """
    Bytes in pieces of any size in; lines out. Those that are too many are counted, and the count is a line.

    What is thrown away costs next to nothing: a program may say as much as it likes.
    """

    def __init__(self, clock: IReactorTime, write: Callable[[str], None]) -> None:
        """@param write: is given each line, as it may stand in a log"""
        self._clock = clock
        self._write = write
        self._line = bytearray()
        self._skips = False
        self._dropped = 0
        self._allowed = float(BURST)
        self._since = clock.seconds()

    def feed(self, data: bytes) -> None:
        """Some more."""
        self._earn()
        while data:
            if self._skips:
                _, newline, data = data.partition(b"\n")
                self._skips = not newline
            elif self._dropped or self._allowed < 1:
                self._drop(data)
                return
            else:
                data = self._take(data)

    def end(self) -> None:
        """No more comes."""
        self._earn()
        self._tell_dropped()
        self._say()

    def _earn(self) -> None:
        now = self._clock.seconds()
        self._allowed = min(BURST, self._allowed + (now - self._since) * PER_SECOND)
        self._since = now
        if self._allowed >= PER_SECOND:  # a second's lines, and not each one with a line about those before it
            self._tell_dropped()

    def _take(self, data: bytes) -> bytes:
        """One line, or what there is of it. @return: the rest"""
        piece, newline, rest = data.partition(b"\n")
        self._line += piece[: MAX_LINE + 1 - len(self._line)]
        if newline or len(self._line) > MAX_LINE:
            self._say()
            self._skips = not newline
        return rest

    def _drop(self, data: bytes) -> None:
        self._line.clear()
        self._skips = not data.endswith(b"\n")
        self._dropped += data.count(b"\n") + self._skips

    def _say(self) -> None:
        line, cut = bytes(self._line[:MAX_LINE]), len(self._line) > MAX_LINE
        self._line.clear()
        text = line.decode("utf-8", "backslashreplace").rstrip()
        if text:
            self._allowed -= 1
            self._write(one_line(text) + ("..." if cut else ""))

    def _tell_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._allowed -= 1
            self._write(f"({dropped} lines more, left out)")
