"""What has come from a peer and was not read yet."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mytls.handlers.inbox import INBOX_SIZE, Inbox


class InboxTests(SynchronousTestCase):
    """Bytes in, bytes out."""

    @given(st.lists(st.binary(max_size=50)), st.lists(st.integers(1, 80)))
    def test_nothing_is_lost(self, pieces: list[bytes], sizes: list[int]) -> None:
        """What is taken, in any sizes, is what was put, in any pieces."""
        inbox = Inbox()
        for piece in pieces:
            inbox.put(piece)
        taken = [inbox.take(size) for size in sizes]
        self.assertTrue(all(len(data) <= size for data, size in zip(taken, sizes, strict=True)))
        self.assertEqual(b"".join(taken) + inbox.take(len(inbox)), b"".join(pieces))
        self.assertFalse(inbox.ready)

    def test_pause_and_resume(self) -> None:
        """Reading is paused once, when it is full, and goes on once, when less than half is left."""
        inbox = Inbox()
        self.assertEqual([inbox.put(b"x" * (INBOX_SIZE - 1)), inbox.resumes()], [False, False])
        self.assertEqual([inbox.put(b"x"), inbox.put(b"x")], [True, False])
        inbox.take(INBOX_SIZE // 2)
        self.assertFalse(inbox.resumes())
        inbox.take(2)
        self.assertEqual([inbox.resumes(), inbox.resumes()], [True, False])

    def test_the_first_end_counts(self) -> None:
        """After close_notify a reset is no news; what came before the end is still there, what comes after is not."""
        inbox = Inbox()
        inbox.put(b"before")
        inbox.end()
        inbox.end(ConnectionResetError())
        inbox.put(b"after")
        self.assertEqual((inbox.take(100), inbox.ready, inbox.error), (b"before", True, None))

    def test_shut(self) -> None:
        """What nobody wants is thrown away."""
        inbox = Inbox()
        inbox.put(b"before")
        inbox.shut()
        self.assertEqual((inbox.put(b"x" * INBOX_SIZE), len(inbox), inbox.ready), (False, 0, True))
