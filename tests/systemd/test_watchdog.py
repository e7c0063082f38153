"""Whether the event loop turns; time is told, not waited for."""

from __future__ import annotations

import faulthandler
import sys
import threading
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from mytls.systemd.watchdog import Fed, LastWords, Lookout, Watchdog


class Sees:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def start(self) -> None:
        self.told.append("start")

    def turned(self) -> None:
        self.told.append("turned")

    def stop(self) -> None:
        self.told.append("stop")


class WatchdogTests(SynchronousTestCase):
    """Who is told that the loop turns."""

    def test_again_and_again(self) -> None:
        """At the start, and so many seconds later each time, until it ends."""
        clock, fed, sees = Clock(), [], Sees()
        watchdog = Watchdog(clock, 15.0, Fed(lambda: fed.append(clock.seconds())), sees)
        watchdog.start()
        clock.pump([5.0] * 7)
        self.assertEqual(fed, [0.0, 15.0, 30.0])
        watchdog.stop()
        clock.pump([15.0] * 4)
        self.assertEqual((len(fed), clock.getDelayedCalls()), (3, []))
        self.assertEqual(sees.told, ["start", "turned", "turned", "turned", "stop"])

    def test_a_loop_that_does_not_turn(self) -> None:
        """Nobody is fed while the loop is held up."""
        clock, fed = Clock(), []
        Watchdog(clock, 15.0, Fed(lambda: fed.append(clock.seconds()))).start()
        clock.rightNow = 100.0  # the time passes, and nothing is called
        self.assertEqual(fed, [0.0])


class LookoutTests(SynchronousTestCase):
    """What the log says of a loop that does not turn."""

    def setUp(self) -> None:
        self.at = 0.0
        self.lookout = Lookout(22.5, lambda: self.at)

    def looked(self, at: float) -> list[Any]:
        """What it says in the log at that time."""
        self.at = at
        with capturedLogs() as events:
            self.lookout.look()
        return [(event["log_level"], formatEvent(event)) for event in events]

    def test_before_the_watchdog_acts(self) -> None:
        """When its time is over the log says for how long, and where the loop is, line by line."""
        self.assertEqual(self.looked(22.0), [])
        ((level, text),) = self.looked(22.6)
        self.assertEqual(level, LogLevel.critical)
        self.assertIn("the event loop has not turned for 22.6 s", text)
        self.assertIn("test_before_the_watchdog_acts", text)
        self.assertIn("self.lookout.look()", text)

    def test_once(self) -> None:
        """It is said once each time, and so is that it turns again."""
        self.assertEqual(len(self.looked(23.0)), 1)
        self.assertEqual(self.looked(24.0), [])
        with capturedLogs() as events:
            self.lookout.turned()
            self.lookout.turned()
        self.assertEqual([formatEvent(event) for event in events], ["the event loop turns again, after 24.0 s"])
        self.assertEqual(self.looked(40.0), [])
        self.assertEqual(len(self.looked(47.0)), 1)

    def test_a_loop_that_turns(self) -> None:
        """Who turns in time is not spoken of."""
        for at in range(15, 150, 15):
            self.assertEqual(self.looked(at), [])
            self.lookout.turned()

    def test_a_thread_that_has_ended(self) -> None:
        """Then there is no stack."""
        other = threading.Thread(target=self.lookout.start)
        other.start()
        other.join()
        self.lookout.stop()
        ((_, text),) = self.looked(23.0)
        self.assertTrue(text.endswith("it is here:\nit has ended"), text)

    def test_a_thread(self) -> None:
        """A thread looks, from the start to the stop."""
        looked = threading.Event()
        self.lookout = Lookout(0.001)
        self.patch(self.lookout, "look", looked.set)
        self.lookout.start()
        self.assertTrue(looked.wait(10))
        self.lookout.stop()


class LastWordsTests(SynchronousTestCase):
    """What is left where not even a thread can run."""

    def setUp(self) -> None:
        self.asked: list[tuple[str, float]] = []
        self.patch(faulthandler, "dump_traceback_later", lambda seconds, file: self.asked.append(("later", seconds)))
        self.patch(faulthandler, "cancel_dump_traceback_later", lambda: self.asked.append(("never", 0.0)))

    def test_each_turn(self) -> None:
        """Each turn puts it off; the end takes it back."""
        words = LastWords(28.0)
        words.start()
        self.assertEqual(self.asked, [])
        words.turned()
        words.turned()
        words.stop()
        self.assertEqual(self.asked, [("later", 28.0), ("later", 28.0), ("never", 0.0)])

    def test_without_standard_error(self) -> None:
        """A process that has none says nothing."""
        self.patch(sys, "__stderr__", None)
        LastWords(32.0).turned()
        self.assertEqual(self.asked, [])
