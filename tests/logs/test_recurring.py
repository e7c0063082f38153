"""The same again and again."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.accesslog import AccessLog
from mytls.errors import Cause
from mytls.events import BackendFailed, HandlerFailed
from mytls.logs.lines import Line
from mytls.peer import Peer
from mytls.settings import Log
from tests.logs.events import WHERE, closed, failed


class Written:
    """A place that keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.told: list[str] = []

    def open(self) -> None:
        self.told.append("open")

    def write(self, line: Line) -> None:
        self.lines.append(line)

    def reopen(self) -> None:
        self.told.append("reopen")

    def close(self) -> None:
        self.told.append("close")


class RecurringTests(SynchronousTestCase):
    """The first have their lines, the others are summed up."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.place = Written()

    def log(self, **said: Any) -> AccessLog:
        return AccessLog(Log(**said), self.clock, self.place, lambda: 0.0)

    @property
    def texts(self) -> list[str]:
        """The lines, taken out."""
        lines, self.place.lines = self.place.lines, []
        return [line.text for line in lines]

    def test_summed_up(self) -> None:
        """Of a cause ten in a minute have a line; then one says how many more there were, and from where."""
        log = self.log()
        for number in range(25):
            log(failed(f"192.0.2.{number % 5}:{number + 1000}", cause=Cause.OLD_VERSION))
            self.clock.advance(1)
        self.assertEqual(len(self.texts), 10)
        self.clock.advance(34.9)
        self.assertEqual(self.texts, [])
        self.clock.advance(0.1)
        self.assertEqual(
            self.texts,
            [
                "handshake-failed at 127.0.0.1:8443 cause=old-version: 15 more in 60s from 5 addresses, such as "
                "192.0.2.0, 192.0.2.1, 192.0.2.2"
            ],
        )

    def test_again(self) -> None:
        """When the minute is over the next ones have their lines again, and no line says that there was nothing."""
        log = self.log(repeats=1)
        log(failed())
        self.clock.advance(60)
        log(failed())
        self.assertEqual(len(self.texts), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        log(failed())
        self.clock.advance(60)
        log(failed())
        self.assertEqual(
            [" 1 more in 60s from 1 address, such as 192.0.2.1" in text for text in self.texts], [True, False]
        )

    def test_late(self) -> None:
        """Where the event loop is late nothing of what was counted is forgotten."""
        log = self.log(repeats=1)
        for _ in range(3):
            log(failed())
        self.clock.rightNow += 61
        log(failed())
        self.clock.advance(0)
        self.assertIn(": 3 more in 61s from 1 address, ", self.texts[-1])

    def test_each_cause(self) -> None:
        """Another cause, listener, backend or kind is counted by itself: a flood of one hides none of the others."""
        log = self.log(repeats=1)
        events = [
            failed(),
            failed(cause=Cause.EOF),
            failed(cause=Cause.EOF, silent=True),
            BackendFailed(**WHERE, backend="tcp:a:1", cause=Cause.BACKEND_REFUSED, detail=""),
            BackendFailed(**WHERE, backend="tcp:a:2", cause=Cause.BACKEND_REFUSED, detail=""),
        ]
        for event in events * 3:
            log(event)
        self.assertEqual(len(self.texts), len(events))
        self.clock.advance(60)
        texts = self.texts
        self.assertEqual(len(texts), len(events))
        self.assertTrue(texts[2].endswith(" (they have said nothing)"), texts[2])
        self.assertIn(" cause=backend-refused by tcp:a:1: 2 more ", texts[3])

    def test_handlers_that_raise(self) -> None:
        """What is raised again and again in the same line is summed up like any other; another line is by itself."""
        log = self.log(repeats=2)
        about = {**WHERE, "peer": Peer(None), "detail": "KeyError"}
        for _ in range(5):
            log(HandlerFailed(**about, where="KeyError at a.py:1"))
            log(HandlerFailed(**about, where="KeyError at a.py:2"))
        self.assertEqual(len(self.texts), 4)
        self.clock.advance(60)
        told = (
            "handler-failed at 127.0.0.1:8443 cause=handler (KeyError at a.py:{}): 3 more in 60s from 1 address, "
            "such as 192.0.2.1"
        )
        self.assertEqual(self.texts, [told.format(1), told.format(2)])

    def test_ends_are_never_summed_up(self) -> None:
        """Each connection that was one has its line."""
        log = self.log(repeats=1)
        for _ in range(30):
            log(closed())
        self.assertEqual(len(self.texts), 30)

    def test_off(self) -> None:
        """With 0 each failure has its line."""
        log = self.log(repeats=0)
        for _ in range(30):
            log(failed())
        self.assertEqual(len(self.texts), 30)

    def test_quiet(self) -> None:
        """What is kept out of the log is not summed up either."""
        log = self.log(repeats=1, quiet=("handshake-failures",))
        for _ in range(30):
            log(failed())
        self.clock.advance(60)
        self.assertEqual(self.texts, [])

    def test_at_the_end(self) -> None:
        """When the process ends, what was counted is told first."""
        log = self.log(repeats=1)
        log.open()
        for _ in range(3):
            log(failed())
        self.clock.advance(7)
        log.close()
        self.assertIn(": 2 more in 7s from 1 address, ", self.texts[-1])
        self.assertEqual((self.place.told, self.clock.getDelayedCalls()), (["open", "close"], []))

    def test_crowds(self) -> None:
        """Of more addresses than are told apart the line says that there may be more."""
        log = self.log(repeats=1)
        for number in range(3000):
            log(failed(f"[2001:db8::{number:x}]:50000"))
        self.clock.advance(60)
        self.assertRegex(self.texts[-1], r": 2999 more in 60s from 1000 or more addresses, such as \[2001:db8::1\], ")
