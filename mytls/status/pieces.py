"""A long list as JSON, a piece in each turn of the reactor: others have theirs in between, and memory is bounded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

#: So many values are a piece.
PIECE = 250


def send_list(request: Any, values: Sequence[Any], turn: Callable[[Callable[[], object]], object]) -> None:
    """
    Answer with a list, and finish.

    @param request: its headers are set
    @param turn: calls a function in the reactor's next turn
    """
    producer = _Pieces(request, _pieces(values), turn)
    request.registerProducer(producer, True)
    producer.resumeProducing()


def _pieces(values: Sequence[Any]) -> Iterator[bytes]:
    yield b"["
    for start in range(0, len(values), PIECE):
        texts = (json.dumps(each) for each in values[start : start + PIECE])
        yield ((",\n" if start else "") + ",\n".join(texts)).encode()
    yield b"]\n"


@implementer(IPushProducer)
class _Pieces:
    """Writes while it is read."""

    def __init__(self, request: Any, pieces: Iterator[bytes], turn: Callable[[Callable[[], object]], object]) -> None:
        self._request = request
        self._pieces = pieces
        self._turn = turn
        self._writing = self._due = False

    def resumeProducing(self) -> None:
        """Go on, in the next turn."""
        self._writing = True
        if not self._due:
            self._due = True
            self._turn(self._write)

    def pauseProducing(self) -> None:
        """It is not read now."""
        self._writing = False

    def stopProducing(self) -> None:
        """The connection is lost."""
        self._writing = False

    def _write(self) -> None:
        self._due = False
        if not self._writing:
            return
        piece = next(self._pieces, None)
        if piece is None:
            self._request.unregisterProducer()
            self._request.finish()
            return
        self._request.write(piece)
        if self._writing:
            self.resumeProducing()
