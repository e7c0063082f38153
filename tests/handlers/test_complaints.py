"""Standard error as lines of the log."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.handlers.complaints import BURST, MAX_LINE, PER_SECOND, Complaints


class ComplaintsTests(SynchronousTestCase):
    """Bytes in, lines out."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.lines: list[str] = []
        self.complaints = Complaints(self.clock, self.lines.append)

    def test_lines(self) -> None:
        """A line is one line, in pieces of any size; empty ones are none."""
        for piece in (b"one\ntwo\r\n\n  \nthr", b"e", b"e\n", b"four"):
            self.complaints.feed(piece)
        self.assertEqual(self.lines, ["one", "two", "three"])
        self.complaints.end()
        self.assertEqual(self.lines[3:], ["four"])
        self.complaints.end()
        self.assertEqual(len(self.lines), 4)

    def test_byte_by_byte(self) -> None:
        """The same comes of single bytes."""
        for at in b"one\ntwo\n":
            self.complaints.feed(bytes((at,)))
        self.assertEqual(self.lines, ["one", "two"])

    def test_escaped(self) -> None:
        """Nothing that a terminal or a log could take for something else goes through."""
        self.complaints.feed("\x1b[31mred\x00 caf\u00e9 \u202e".encode() + b"\xff\n")
        self.assertEqual(self.lines, ["\\x1b[31mred\\x00 caf\u00e9 \\u{202e}\\xff"])

    def test_long_lines(self) -> None:
        """A long line is cut, however it comes, and the next one is whole."""
        self.complaints.feed(b"x" * (MAX_LINE + 1))
        self.assertEqual(self.lines, ["x" * MAX_LINE + "..."])
        for _ in range(100):
            self.complaints.feed(b"x" * 65536)
        self.complaints.feed(b"the end\nnext\n")
        self.assertEqual(self.lines[1:], ["next"])

    def test_just_as_long(self) -> None:
        """A line of just the length is not cut."""
        self.complaints.feed(b"x" * MAX_LINE + b"\n")
        self.assertEqual(self.lines, ["x" * MAX_LINE])

    def test_many_lines(self) -> None:
        """Lines beyond the bound are counted; after a second there are a few again, and the count."""
        self.complaints.feed(b"x\n" * (BURST + 40) + b"part")
        self.complaints.feed(b" of a line\nmore\n")
        self.assertEqual(self.lines, ["x"] * BURST)
        self.clock.advance(1)
        self.complaints.feed(b"y\n" * 100)
        self.assertEqual(self.lines[BURST:], ["(42 lines more, left out)"] + ["y"] * (PER_SECOND - 1))
        self.complaints.end()
        self.assertEqual(self.lines[-1], f"({100 - PER_SECOND + 1} lines more, left out)")

    def test_a_flood(self) -> None:
        """However much comes, a second has no more lines than it may have."""
        for _ in range(1000):
            self.complaints.feed(b"flood\n" * 1000)
            self.clock.advance(0.01)
        self.assertLessEqual(len(self.lines), BURST + 10 * PER_SECOND)
