"""What handlers raise."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mytls.logs.tracebacks import Tracebacks
from tests.lines import log_lines


def raised(error: Exception) -> Failure:
    """Always in the same line."""
    try:
        raise error
    except Exception:
        return Failure()


class TracebackTests(SynchronousTestCase):
    """The first in full, the others counted."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.lines = log_lines(self)

    def written(self, kind: type[Exception]) -> int:
        """How many tracebacks there were of it."""
        return len(self.flushLoggedErrors(kind))

    def test_first_in_full(self) -> None:
        """Of the same line so many in a minute have their traceback; the next minute's first says what is missing."""
        tracebacks = Tracebacks(self.clock, 3)
        for _ in range(20):
            where = tracebacks.write(raised(KeyError("x")))
        self.assertEqual(self.written(KeyError), 3)
        self.assertRegex(where, r"^KeyError at .*test_tracebacks\.py:\d+$")
        self.clock.advance(60)
        tracebacks.write(raised(KeyError("x")))
        tracebacks.write(raised(KeyError("x")))
        self.assertEqual(self.written(KeyError), 2)
        self.assertIn("the handler failed (17 more such tracebacks were left out before)", self.lines[-2])
        self.assertNotIn("left out", self.lines[-1])

    def test_what_a_client_has_put_in(self) -> None:
        """It moves no cursor, colours nothing, begins no line at the left: only ends of lines and tabs go through."""
        said = "from a client: \r2026 refused FORGED \x1b[2J\x9b\u2028\u202e ä\nnext"
        tracebacks = Tracebacks(self.clock, 1)
        tracebacks.write(raised(ValueError(said)))
        (logged,) = self.flushLoggedErrors(ValueError)
        text = logged.getTraceback()
        self.assertIn(r"from a client: \x0d2026 refused FORGED \x1b[2J\x9b\u{2028}\u{202e} ä", text)
        self.assertTrue(all(each.isprintable() or each in "\n\t" for each in text), text)
        self.assertIn("test_tracebacks.py", text)

    def test_each_by_itself(self) -> None:
        """A fault that everybody runs into hides no other."""
        tracebacks = Tracebacks(self.clock, 1)
        for _ in range(5):
            tracebacks.write(raised(KeyError()))
            tracebacks.write(raised(ValueError()))
        self.assertEqual((self.written(KeyError), self.written(ValueError)), (1, 1))

    def test_all(self) -> None:
        """Where nothing is summed up each has its own."""
        tracebacks = Tracebacks(self.clock, 0)
        for _ in range(30):
            tracebacks.write(raised(KeyError()))
        self.assertEqual(self.written(KeyError), 30)

    def test_bounded(self) -> None:
        """Code that is made as it runs, in ever new lines, fills no memory."""
        tracebacks = Tracebacks(self.clock, 1)
        for number in range(1100):
            tracebacks.write(raised(type(f"Error{number}", (KeyError,), {})()))
        self.assertEqual(self.written(KeyError), 1100)
        self.assertLessEqual(len(tracebacks._minutes), 1000)

    def test_without_a_place(self) -> None:
        """One that was never raised has a name at least."""
        self.assertEqual(Tracebacks(self.clock, 1).write(Failure(KeyError())), "KeyError")
        self.assertEqual(self.written(KeyError), 1)
