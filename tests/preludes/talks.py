"""Talks of two ends before TLS, as tests write them down."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import Cause
from mytls.preludes.dialogue import Dialogue, PreludeFailure

#: What the other end says, and what the answer is.
Turns = Iterable[tuple[bytes, bytes]]


def fed(dialogue: Dialogue, data: bytes, size: int = 0) -> bytes:
    """Feed it whole, or in pieces of this size. @return: all that is said to it"""
    step = size or len(data) or 1
    return b"".join(dialogue.feed(data[at : at + step]) for at in range(0, len(data), step))


class TalkTests(SynchronousTestCase):
    """Assertions on talks."""

    def assert_talk(self, start: Callable[[], Dialogue], first: bytes, turns: Turns) -> None:
        """The talk goes like this, in pieces of any size, and ends with the agreement."""
        for size in (0, 1, 3):
            dialogue = start()
            self.assertEqual(dialogue.begin(), first)
            for heard, said in turns:
                self.assertFalse(dialogue.done)
                self.assertEqual(fed(dialogue, heard, size), said, f"to {heard!r} in pieces of {size}")
            self.assertTrue(dialogue.done)
            self.assertEqual(dialogue.rest, b"")

    def assert_fails(
        self, start: Callable[[], Dialogue], heard: bytes, answer: bytes, detail: str, cause: Cause = Cause.NOT_TLS
    ) -> None:
        """What is heard ends the connection, with these last words."""
        dialogue = start()
        dialogue.begin()
        failure = self.assertRaises(PreludeFailure, dialogue.feed, heard)
        self.assertEqual((failure.cause, failure.answer, failure.detail), (cause, answer, detail))
        self.assertFalse(dialogue.done)
