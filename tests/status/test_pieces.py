"""Long lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mytls.status.pieces import PIECE, send_list


class Sent:
    """A request whose answer is kept."""

    def __init__(self) -> None:
        self.producer: Any = None
        self.content = b""
        self.finished = False

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.content += data

    def finish(self) -> None:
        self.finished = True


class PieceTests(SynchronousTestCase):
    """A list, in pieces."""

    def setUp(self) -> None:
        self.sent = Sent()
        self.turns: list[Callable[[], object]] = []

    def send(self, number: int) -> None:
        """Begin to send a list of so many."""
        send_list(self.sent, list(range(number)), self.turns.append)

    def turn(self) -> int:
        """The reactor's next turn. @return: how many values have been sent"""
        due, self.turns[:] = tuple(self.turns), []
        for each in due:
            each()
        return self.sent.content.count(b"\n")

    def test_a_piece_in_each_turn(self) -> None:
        """Others have their turns in between."""
        self.send(3 * PIECE)
        counts = [self.turn() for _ in range(4)]
        self.assertEqual(counts, [0, PIECE - 1, 2 * PIECE - 1, 3 * PIECE - 1])

    def test_what_comes_out(self) -> None:
        """Whatever the length, it is the list as JSON, and then it is over."""
        for number in (0, 1, PIECE, PIECE + 1):
            self.setUp()
            self.send(number)
            while self.turns:
                self.turn()
            self.assertEqual(json.loads(self.sent.content), list(range(number)))
            self.assertEqual((self.sent.finished, self.sent.producer), (True, None))

    def test_who_does_not_read(self) -> None:
        """Nothing more is written until he does, and nothing twice."""
        self.send(3 * PIECE)
        self.turn()
        self.turn()
        self.sent.producer.pauseProducing()
        self.assertEqual([self.turn(), self.turn()], [PIECE - 1] * 2)
        self.sent.producer.resumeProducing()
        self.sent.producer.resumeProducing()
        self.assertEqual(self.turn(), 2 * PIECE - 1)

    def test_who_is_gone(self) -> None:
        """The rest is never made."""
        self.send(3 * PIECE)
        self.turn()
        self.sent.producer.stopProducing()
        self.turn()
        self.assertEqual(self.turns, [])
