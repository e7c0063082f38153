"""Bounded threads: everyone has a turn, nobody holds the process."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from mytls.handlers.threads import Threads
from tests.handlers.loop import PATIENCE


class ThreadsTests(SynchronousTestCase):
    """Jobs, and the threads that run them."""

    def setUp(self) -> None:
        self.begun: SimpleQueue[int] = SimpleQueue()
        self.done: SimpleQueue[int] = SimpleQueue()
        self.gates: list[threading.Event] = []
        self.addCleanup(self._join)

    def _join(self) -> None:
        for gate in self.gates:
            gate.set()
        for thread in self.alive():
            thread.join(PATIENCE)

    def alive(self) -> list[threading.Thread]:
        """The threads that run jobs."""
        return [thread for thread in threading.enumerate() if thread.name == "mytls-serve"]

    def held(self, number: int) -> Callable[[], None]:
        """A job that goes on until its gate is opened."""
        gate = threading.Event()
        self.gates.append(gate)

        def job() -> None:
            self.begun.put(number)
            gate.wait(PATIENCE)
            self.done.put(number)

        return job

    def results(self, count: int) -> list[int]:
        """The numbers of so many jobs, as they end."""
        return [self.done.get(timeout=PATIENCE) for _ in range(count)]

    def test_all_run_and_no_more_than_the_bound_at_once(self) -> None:
        """Of many jobs each runs once; never more threads than allowed."""
        threads, most = Threads(3), 0
        for number in range(200):
            threads.start(number, self.held(number))
            most = max(most, len(self.alive()))
        for gate in self.gates:
            gate.set()
        self.assertEqual((sorted(self.results(200)), most), (list(range(200)), 3))

    def test_in_turn(self) -> None:
        """Those who wait have their turn in the order in which they came."""
        threads = Threads(1)
        for number in range(5):
            threads.start(number, self.held(number))
        for gate in reversed(self.gates):
            gate.set()
        self.assertEqual(self.results(5), [0, 1, 2, 3, 4])

    def test_forgotten(self) -> None:
        """A job that is forgotten before its turn does not run, and nothing of it stays; others do."""
        threads = Threads(1)
        for number in range(4):
            threads.start(number, self.held(number))
        self.assertEqual([threads.forget(number) for number in (0, 1, 7)], [False, True, False])
        for gate in self.gates:
            gate.set()
        self.assertEqual(self.results(3), [0, 2, 3])
        self._join()
        self.assertTrue(self.done.empty())

    def begin(self, threads: Threads, *numbers: int) -> None:
        """Start jobs that wait for their gates, and wait until they run."""
        for number in numbers:
            threads.start(number, self.held(number))
        for _ in numbers:
            self.begun.get(timeout=PATIENCE)

    def test_given_up(self) -> None:
        """A job that is given up does not count: who waits has its turn at once, and so on up to the second bound."""
        threads = Threads(2, 4)
        self.begin(threads, 0, 1)
        for number in (2, 3, 4, 5):
            threads.start(number, partial(self.done.put, number))
        threads.give_up(0)
        self.assertEqual(self.results(4), [2, 3, 4, 5])
        threads.give_up(0)
        threads.give_up(99)
        self.assertEqual(threads.given_up, 1)

    def test_given_up_all(self) -> None:
        """Up to the second bound, and no further; when one returns whoever waits has its turn."""
        threads = Threads(2, 4)
        self.begin(threads, 0, 1)
        threads.give_up(0)
        threads.give_up(1)
        self.begin(threads, 2, 3)
        threads.give_up(2)
        threads.give_up(3)
        self.assertEqual((threads.given_up, len(self.alive())), (4, 4))
        threads.start(4, partial(self.done.put, 4))
        self.assertEqual(len(self.alive()), 4)
        self.assertTrue(self.done.empty())
        self.gates[2].set()
        self.assertEqual(self.results(2), [2, 4])

    def test_given_up_and_back(self) -> None:
        """A job that returns after it was given up takes no other's place: no more than the bound run at once."""
        threads = Threads(1, 3)
        self.begin(threads, 0)
        (first,) = self.alive()
        threads.give_up(0)
        self.begin(threads, 1)
        threads.start(2, partial(self.done.put, 2))
        self.gates[0].set()
        self.assertEqual(self.results(1), [0])
        first.join(PATIENCE)
        self.assertEqual(len(self.alive()), 1)
        self.assertTrue(self.done.empty(), "it ran beside another")
        self.assertEqual(threads.given_up, 0)
        self.gates[1].set()
        self.assertEqual(self.results(2), [1, 2])

    def test_given_up_without_threads(self) -> None:
        """Where the system has no thread for those who wait, they have their turn when one returns."""
        threads = Threads(1, 3)
        self.begin(threads, 0)
        threads.start(1, partial(self.done.put, 1))
        with patch.object(threading.Thread, "start", side_effect=RuntimeError("can't start new thread")):
            threads.give_up(0)
        self.gates[0].set()
        self.assertEqual(self.results(2), [0, 1])

    def test_no_thread_stays(self) -> None:
        """When there is nothing to do there is no thread; a job that comes later gets one."""
        threads = Threads(2)
        for number in range(2):
            threads.start(number, partial(self.done.put, number))
            self.assertEqual(self.results(1), [number])
            self._join()
            self.assertEqual(self.alive(), [])

    def test_no_thread_to_be_had(self) -> None:
        """Where the system has no more threads a job waits for one that runs; without any it is an error."""
        threads = Threads(5)
        refusing = patch.object(threading.Thread, "start", side_effect=RuntimeError("can't start new thread"))
        with refusing:
            self.assertRaises(RuntimeError, threads.start, 0, self.held(0))
        threads.start(1, self.held(1))
        with refusing:
            threads.start(2, self.held(2))
        for gate in self.gates:
            gate.set()
        self.assertEqual(self.results(2), [1, 2])
        threads.start(3, lambda: self.done.put(3))
        self.assertEqual(self.results(1), [3])

    def test_stuck_job_lets_the_process_end(self) -> None:
        """A job that never ends does not keep the process from ending."""
        program = (
            "import threading\n"
            "from mytls.handlers.threads import Threads\n"
            "stuck = threading.Event()\n"
            "Threads(1).start(0, lambda: (stuck.set(), threading.Event().wait()))\n"
            "stuck.wait()\n"
        )
        ended = subprocess.run([sys.executable, "-c", program], timeout=PATIENCE, check=False)
        self.assertEqual(ended.returncode, 0)
