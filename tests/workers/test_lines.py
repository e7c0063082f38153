"""A worker's log, through its parent's."""

from __future__ import annotations

import os
from typing import Any, cast

from twisted.logger import ILogObserver, Logger, LogLevel, eventAsText, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mytls.workers.lines import Receiver, Sender


class LinesTests(SynchronousTestCase):
    """What a worker logs is logged by its parent."""

    def setUp(self) -> None:
        self.events: list[Any] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def sent(self, namespace: str, level: Any, text: str, **about: Any) -> bytes:
        """What comes through the pipe."""
        reading, writing = os.pipe()
        Logger(namespace=namespace, observer=Sender(writing)).emit(level, text, **about)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            return pipe.read()

    def lines(self) -> list[str]:
        """What the parent has logged."""
        return [eventAsText(event, includeTimestamp=False) for event in self.events]

    def test_a_line(self) -> None:
        """It has its severity and where it came from, and which worker; braces in it mean nothing more."""
        data = self.sent("mytls.accesslog", LogLevel.warn, "{line}", line="closed {0} caf\xe9")
        receiver = Receiver("worker 2")
        for each in range(len(data)):
            receiver.received(data[each : each + 1])
        self.assertEqual(self.lines(), ["[worker 2 mytls.accesslog#warn] closed {0} caf\xe9"])
        self.assertIs(self.events[0]["log_level"], LogLevel.warn)

    def test_a_traceback_stays_together(self) -> None:
        """All of its lines are one event."""
        try:
            raise RuntimeError("oh")
        except RuntimeError:
            data = self.sent("app", LogLevel.critical, "failed", log_failure=Failure())
        self.assertEqual(data.count(b"\n"), 1)
        Receiver("worker 1").received(data)
        (line,) = self.lines()
        self.assertTrue(line.startswith("[worker 1 app#critical] failed\n"))
        self.assertIn("RuntimeError: oh", line)

    def test_what_others_write(self) -> None:
        """What no logger has written is logged as it is, also the last of it without an end."""
        receiver = Receiver("worker 1")
        receiver.received(b"Fatal Python error: {x}\n\x1enot json\n\x1e[1]\nthe rest \xff")
        receiver.ended()
        self.assertEqual(
            [line.partition("] ")[2] for line in self.lines()],
            ["Fatal Python error: {x}", "\x1enot json", "\x1e[1]", "the rest \\xff"],
        )
        self.assertTrue(all(line.startswith("[worker 1 output#warn] ") for line in self.lines()))

    def test_what_the_parent_says(self) -> None:
        """That it listens, and what is wrong with the files, the parent says once for all."""
        self.assertEqual(self.sent("mytls.running", LogLevel.info, "serving"), b"")
        self.assertEqual(self.sent("mytls.running", LogLevel.warn, "expires"), b"")
        self.assertNotEqual(self.sent("mytls.running", LogLevel.critical, "cannot listen"), b"")

    def test_a_parent_that_is_gone(self) -> None:
        """Nobody reads it, and nobody is harmed."""
        reading, writing = os.pipe()
        os.close(reading)
        Logger(namespace="app", observer=Sender(writing)).info("hello")
        os.close(writing)
        self.assertEqual(self.flushLoggedErrors(), [])
