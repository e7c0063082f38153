"""Reload: one attempt at a time, whole or not at all, named once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import Queue
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError, ConfigurationErrors
from mytls.events import Event, Observers, Reloaded, ReloadFailed
from mytls.reload import LONGEST, MOST_THREADS, NotNow, Reloader, in_a_thread


class Disk:
    """
    What stands for the files of a loading.

    @ivar version: what is in the files now
    """

    def __init__(self) -> None:
        self.version = 0
        self.looks = 0

    def read(self) -> Any:
        """Read all."""
        return _Read(self)


class _Read:
    """A L{mytls.tls.files.Files}."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.version = disk.version
        self.forgotten = False

    def changed(self) -> bool:
        """Whether the disk has something else by now."""
        self.disk.looks += 1
        return self.version != self.disk.version

    def anew(self) -> _Read:
        """For another loading."""
        read: _Read = self.disk.read()
        return read

    def forget(self) -> None:
        """Drop the bytes."""
        self.forgotten = True


class ReloaderTests(SynchronousTestCase):
    """A clock, a disk and a list of what is served."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.disk = Disk()
        self.served: list[int] = []
        self.events: list[Event] = []
        self.build: Callable[[Any], int] = lambda files: files.version
        self.apply: Callable[[int], Deferred[Sequence[str]]] = self.serve
        self.aside: Any = maybeDeferred

    def serve(self, version: int) -> Deferred[Sequence[str]]:
        """Apply a plan."""
        self.served.append(version)
        return succeed([f"version {version}"])

    def reloader(self, interval: float = 10.0) -> Reloader[int]:
        """A reloader that runs."""
        made: Reloader[int] = Reloader(
            self.clock,
            interval,
            self.disk.read(),
            lambda files: self.build(files),
            lambda plan: self.apply(plan),
            lambda *work: self.aside(*work),
            Observers([self.events.append]),
        )
        made.start()
        return made


class TimerTests(ReloaderTests):
    """The timer."""

    def test_nothing_new(self) -> None:
        """While the files read the same nothing is built, and nothing is said."""
        self.reloader()
        self.clock.pump([10.0] * 5)
        self.assertEqual(self.disk.looks, 5)
        self.assertEqual((self.served, self.events), ([], []))

    def test_change(self) -> None:
        """A change is served within the interval, once, and what has changed is told."""
        self.reloader()
        self.disk.version = 1
        self.clock.advance(9.9)
        self.assertEqual(self.served, [])
        self.clock.advance(0.1)
        self.clock.pump([10.0] * 3)
        self.assertEqual(self.served, [1])
        self.assertEqual(self.events, [Reloaded(changes=("version 1",))])

    def test_change_of_nothing(self) -> None:
        """Files that read differently and mean the same are not worth a line."""
        self.apply = lambda plan: succeed([])
        self.reloader()
        self.disk.version = 1
        self.clock.pump([10.0] * 3)
        self.assertEqual(self.events, [])

    def test_each_day(self) -> None:
        """Once a day all is loaded though nothing has changed: certificates grow old by themselves."""
        self.apply = lambda plan: self.serve(plan).addCallback(lambda _: [])
        self.reloader(3600.0)
        self.clock.pump([3600.0] * 23)
        self.assertEqual(self.served, [])
        self.clock.pump([3600.0] * 30)
        self.assertEqual(self.served, [0, 0])
        self.assertEqual(self.events, [])

    def test_no_interval(self) -> None:
        """Zero is never."""
        self.reloader(0)
        self.disk.version = 1
        self.clock.advance(1000)
        self.assertEqual(self.disk.looks, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_named_once(self) -> None:
        """An error is named once, not at each look; after another change there is another attempt."""
        self.build = lambda files: self.broken()
        self.reloader()
        self.disk.version = 1
        self.clock.pump([10.0] * 5)
        self.assertEqual(self.events, [ReloadFailed(lines=("a.pem: cut off",))])
        self.disk.version = 2
        self.clock.pump([10.0] * 2)
        self.assertEqual(len(self.events), 1, "the same error again")
        self.build = lambda files: files.version
        self.disk.version = 3
        self.clock.pump([10.0] * 2)
        self.assertEqual(self.events[1:], [Reloaded(changes=("version 3",), mended=True)])
        self.build = lambda files: self.broken()
        self.disk.version = 4
        self.clock.pump([10.0] * 2)
        self.assertEqual(len(self.events), 3, "after a success the same error is news")
        self.assertEqual(self.served, [3])

    def broken(self) -> int:
        """Fail to build."""
        raise ConfigurationError("a.pem: cut off")

    def test_apply_fails(self) -> None:
        """What cannot be applied is told as what cannot be built."""
        self.apply = lambda plan: fail(ConfigurationErrors(["one", "two"]))
        self.reloader()
        self.disk.version = 1
        self.clock.pump([10.0] * 3)
        self.assertEqual(self.events, [ReloadFailed(lines=("one", "two"))])

    def test_well_again(self) -> None:
        """After an error it is told that the files are right again, also where they are as they were."""
        self.apply = lambda plan: succeed([])
        self.build = lambda files: self.broken()
        self.reloader()
        self.disk.version = 1
        self.clock.advance(10)
        self.build = lambda files: files.version
        self.disk.version = 2
        self.clock.pump([10.0] * 3)
        self.assertEqual(self.events, [ReloadFailed(lines=("a.pem: cut off",)), Reloaded(changes=(), mended=True)])

    def test_not_now(self) -> None:
        """What cannot be had yet is tried again at each look, told once, until it can be had."""
        self.apply = lambda plan: fail(NotNow("port 8443: address already in use"))
        self.reloader()
        self.disk.version = 1
        self.clock.pump([10.0] * 3)
        self.apply = self.serve
        self.clock.pump([10.0] * 3)
        self.assertEqual(self.served, [1])
        self.assertEqual(
            self.events,
            [ReloadFailed(lines=("port 8443: address already in use",)), Reloaded(changes=("version 1",), mended=True)],
        )

    def test_bug(self) -> None:
        """A bug is logged with its traceback; what is served goes on, and so does the timer."""
        self.build = lambda files: 1 // 0
        self.reloader()
        self.disk.version = 1
        self.clock.advance(10)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.events, [ReloadFailed(lines=("ZeroDivisionError; the traceback is above",))])
        self.build = lambda files: files.version
        self.disk.version = 2
        self.clock.advance(10)
        self.assertEqual(self.served, [2])

    def test_look_fails(self) -> None:
        """A look that fails is logged, and the next is made."""
        reloader = self.reloader()
        self.patch(_Read, "changed", lambda read: 1 // 0)
        self.clock.advance(10)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        reloader.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_end_of_the_process(self) -> None:
        """What a user's code raises to end the process ends an attempt, and neither the timer nor those who ask."""

        def leave(kind: type[BaseException]) -> Any:
            raise kind

        reloader = self.reloader()
        for kind in (SystemExit, KeyboardInterrupt, GeneratorExit):
            self.events.clear()
            line = f"{kind.__name__}; the traceback is above"
            self.build = lambda files: leave(kind)  # noqa: B023  # it is used at once
            self.disk.version += 1
            self.clock.advance(10)
            self.assertFalse(self.successResultOf(reloader.reload()))
            self.build = lambda files: files.version
            self.apply = lambda version: leave(kind)  # noqa: B023
            self.assertFalse(self.successResultOf(reloader.reload()))
            self.assertEqual(self.events, [ReloadFailed(lines=(line,))] * 3)
            self.assertEqual(len(self.flushLoggedErrors(kind)), 3)
            self.apply = self.serve
            self.disk.version += 1
            self.clock.advance(10)
            self.assertEqual(self.served[-1], self.disk.version)

    def test_look_hangs(self) -> None:
        """A look that hangs is given up after a while, told once, and the next is made."""
        self.aside = lambda *work: Deferred()
        self.reloader()
        self.clock.pump([10.0] + [LONGEST] * 4)
        ((line,),) = [each.lines for each in self.events if isinstance(each, ReloadFailed)]
        self.assertIn("the files were not looked at within 120 s", line)
        self.aside = maybeDeferred
        self.disk.version = 1
        self.clock.pump([LONGEST, 10.0])
        self.assertEqual(self.served, [1])

    def test_secrets_are_dropped(self) -> None:
        """What was read is not kept in memory, whether it was right or wrong."""
        read: list[Any] = []
        self.build = lambda files: read.append(files) or files.version  # type: ignore[func-returns-value]
        self.reloader()
        self.disk.version = 1
        self.clock.advance(10)
        self.build = lambda files: read.append(files) or self.broken()  # type: ignore[func-returns-value]
        self.disk.version = 2
        self.clock.advance(10)
        self.assertEqual([each.forgotten for each in read], [True, True])


class AskedTests(ReloaderTests):
    """Reloading when asked to."""

    def test_asked(self) -> None:
        """Whoever asks is told, also that nothing has changed."""
        self.apply = lambda plan: succeed([])
        self.assertTrue(self.successResultOf(self.reloader().reload()))
        self.assertEqual(self.events, [Reloaded(changes=())])

    def test_error_each_time(self) -> None:
        """Whoever asks hears of an error each time."""
        self.build = lambda files: TimerTests.broken(self)  # type: ignore[arg-type]
        reloader = self.reloader()
        self.assertFalse(self.successResultOf(reloader.reload()))
        self.assertFalse(self.successResultOf(reloader.reload()))
        self.assertEqual(len(self.events), 2)

    def test_one_at_a_time(self) -> None:
        """Who asks during an attempt gets one of his own after it: the files may have changed since."""
        started: list[Deferred[Any]] = []

        def later(*work: Any) -> Deferred[Any]:
            started.append(Deferred())
            return started[-1].addCallback(lambda _: work[0](*work[1:]))

        reloader = self.reloader(0)
        self.aside = later
        first, second = reloader.reload(), reloader.reload()
        self.assertEqual(len(started), 1)
        started[0].callback(None)
        self.assertTrue(self.successResultOf(first))
        self.assertNoResult(second)
        self.disk.version = 7
        started[1].callback(None)
        self.assertTrue(self.successResultOf(second))
        self.assertEqual(self.served, [0, 0])  # what is read is read when the attempt begins

    def test_many_ask(self) -> None:
        """However many ask during an attempt, there is one more after it, and each of them is told."""
        waiting: list[Deferred[Any]] = []

        def later(*work: Any) -> Deferred[Any]:
            waiting.append(Deferred())
            return waiting[-1]

        reloader = self.reloader(0)
        self.aside = later
        asked = [reloader.reload() for _ in range(200)]
        waiting[0].callback(1)
        self.assertTrue(self.successResultOf(asked[0]))
        self.assertEqual(len(waiting), 2)
        waiting[1].callback(1)
        self.assertEqual([self.successResultOf(each) for each in asked[1:]], [True] * 199)
        self.assertEqual(len(waiting), 2)
        self.assertEqual(len(self.events), 2)

    def test_looks_while_busy(self) -> None:
        """The timer does not look while an attempt is under way."""
        waiting: Deferred[Any] = Deferred()
        reloader = self.reloader()
        self.aside = lambda *work: waiting
        reloader.reload()
        self.clock.pump([10.0] * 3)
        self.assertEqual(self.disk.looks, 0)
        waiting.callback(0)

    def test_hangs(self) -> None:
        """An attempt that hangs is given up after a while, and told; what it builds later is not served."""
        hanging: list[Deferred[Any]] = []

        def hang(*work: Any) -> Deferred[Any]:
            hanging.append(Deferred())
            return hanging[-1]

        reloader = self.reloader(0)
        self.aside = hang
        asked, later = reloader.reload(), reloader.reload()
        self.clock.advance(LONGEST - 1)
        self.assertNoResult(asked)
        self.aside = maybeDeferred
        self.clock.advance(1)
        self.assertFalse(self.successResultOf(asked))
        self.assertTrue(self.successResultOf(later))
        self.assertEqual(self.served, [0])
        failed, reloaded = self.events
        assert isinstance(failed, ReloadFailed)
        self.assertIn("it has not finished within 120 s", failed.lines[0])
        self.assertEqual(reloaded, Reloaded(changes=("version 0",), mended=True))
        hanging[0].callback(7)
        self.assertEqual((self.served, len(self.events)), ([0], 2))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ThreadTests(SynchronousTestCase):
    """Where an attempt runs."""

    def setUp(self) -> None:
        self.calls: Queue[Any] = Queue()
        reactor: Any = SimpleNamespace(callFromThread=lambda call, *about: self.calls.put(partial(call, *about)))
        self.aside = in_a_thread(reactor)

    def answered(self, deferred: Deferred[Any]) -> Any:
        """The answer, once the thread has given it."""
        self.calls.get(timeout=30)()
        return self.successResultOf(deferred)

    def test_answer(self) -> None:
        """What a function gives for its arguments, from a thread that does not keep the process from its end."""
        answer, thread = self.answered(self.aside(lambda *about: (about, threading.current_thread()), 1, 2))
        self.assertEqual(answer, (1, 2))
        self.assertIsNot(thread, threading.current_thread())
        self.assertTrue(thread.daemon)

    def test_raises(self) -> None:
        """What it raises, whatever that is."""
        for leave, kind in ((lambda: 1 // 0, ZeroDivisionError), (sys.exit, SystemExit)):
            failed = self.aside(leave)
            self.calls.get(timeout=30)()
            self.failureResultOf(failed, kind)

    def test_not_awaited(self) -> None:
        """An answer that nobody waits for any more is of no effect."""
        given_up = self.aside(lambda: 1)
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.calls.get(timeout=30)()

    def test_many_hang(self) -> None:
        """Each that hangs has a thread for ever, so they are bounded; one that ends makes place."""
        free = threading.Event()
        self.addCleanup(free.set)
        hanging = [self.aside(free.wait) for _ in range(MOST_THREADS)]
        self.failureResultOf(self.aside(lambda: 1), ConfigurationError)
        free.set()
        for _ in hanging:
            self.calls.get(timeout=30)()
        self.assertEqual(self.answered(self.aside(lambda: 1)), 1)

    def test_no_thread(self) -> None:
        """Where the system has no thread left, that is told."""

        def start(thread: object) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(threading.Thread, "start", start)
        failure = self.failureResultOf(self.aside(lambda: 1), ConfigurationError)
        self.assertIn("can't start new thread", str(failure.value))


class StopTests(ReloaderTests):
    """Stopping."""

    def test_timer(self) -> None:
        """No timer is left."""
        reloader = self.reloader()
        reloader.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_attempt_under_way(self) -> None:
        """What is built when the service has stopped is not served."""
        waiting: Deferred[Any] = Deferred()
        reloader = self.reloader()
        self.aside = lambda *work: waiting
        asked = reloader.reload()
        reloader.stop()
        waiting.callback(1)
        self.assertFalse(self.successResultOf(asked))
        self.assertEqual((self.served, self.events), ([], []))

    def test_again(self) -> None:
        """A service that is started again looks again."""
        reloader = self.reloader()
        reloader.stop()
        reloader.start()
        self.disk.version = 1
        self.clock.advance(10)
        self.assertEqual(self.served, [1])
