"""A worker, as its parent sees it, with a reactor that starts nothing."""

from __future__ import annotations

import errno
import os
import signal
import socket
from typing import Any

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mytls.workers.channel import Channel
from mytls.workers.child import LAST_WORDS, Child, Ended, Launch
from tests.lines import log_lines
from tests.workers.test_channel import Wire


class Process:
    """What the reactor makes."""

    pid = 77


class Reactor(Clock):
    """Keeps what it was to start. @ivar fails: whether it cannot"""

    fails = False

    def spawnProcess(self, *about: Any, childFDs: Any) -> Process:
        if self.fails:
            raise PermissionError(13, "Permission denied")
        self.about, self.passed = about, childFDs
        return Process()

    def adoptStreamConnection(self, descriptor: int, family: int, factory: Any) -> None:
        self.channel: Any = factory.buildProtocol(None)
        self.wire: Any = Wire()
        self.channel.makeConnection(self.wire)


def _too_many(*about: Any) -> Any:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


class ChildTests(SynchronousTestCase):
    """L{Child}."""

    def setUp(self) -> None:
        self.reactor, self.child = Reactor(), Child(2)

    def start(self) -> None:
        """It is started with one socket."""
        environ = {"HOME": "/", "LISTEN_PID": "1", "LISTEN_FDS": "4"}
        self.child.start(self.reactor, Launch(("--handler", "echo"), "/srv", None, environ), 3, {"mytls-a": 0})

    def test_started(self) -> None:
        """Its environment, folder and descriptors are those that it has from us; ours of its channel is closed."""
        self.start()
        _, _, _, environ, folder = self.reactor.about
        self.assertEqual((self.child.pid, folder, environ["HOME"]), (77, "/srv", "/"))
        self.assertEqual((environ["MYTLS_WORKER"], environ["LISTEN_FDS"], "LISTEN_PID" in environ), ("2", "1", False))
        self.assertEqual((self.reactor.passed[1], self.reactor.passed[2], self.reactor.passed[3]), ("r", "r", 0))
        self.assertRaises(OSError, os.fstat, self.reactor.passed[4])

    def test_cannot_be_started(self) -> None:
        """A line says why, and then it has ended."""
        lines = log_lines(self)
        self.reactor.fails = True
        self.start()
        self.assertNoResult(self.child.ended)
        self.reactor.advance(0)
        self.assertEqual(self.successResultOf(self.child.ended), Ended(1))
        self.assertFalse(self.successResultOf(self.child.ready))
        self.assertIn("Permission denied", lines[0])

    def test_a_folder_that_it_cannot_enter(self) -> None:
        """The line names it, which may be one that only root may enter."""
        lines = log_lines(self)
        child = Child(2)
        child.start(self.reactor, Launch((), "/none"), 3, {})
        self.reactor.advance(0)
        self.assertEqual(lines, ["worker 2: /none/.: No such file or directory"])
        self.assertEqual(self.successResultOf(child.ended), Ended(1))

    def test_what_it_says(self) -> None:
        """That it serves, and how it is: that is kept, as is what it answers."""
        self.start()
        worker = Channel(
            {"status": lambda said, _: {"now": 1}, "close": lambda said, _: {"closed": True}}, lambda: None
        )
        wire: Any = Wire()
        worker.makeConnection(wire)
        worker.tell("ready", {"version": "9"})
        worker.tell("report", {"left": 3})
        answers = [self.child.ask("status"), self.child.ask("close")]
        said, wire.data = wire.data, b""
        self.reactor.channel.dataReceived(said)
        worker.dataReceived(self.reactor.wire.data)
        self.reactor.channel.dataReceived(wire.data)
        self.assertTrue(self.successResultOf(self.child.ready))
        self.assertEqual((self.child.serving, self.child.version), (True, "9"))
        self.assertEqual([self.successResultOf(each) for each in answers], [{"now": 1}, {"closed": True}])
        self.assertEqual(self.child.told, {"left": 3, "status": {"now": 1}})

    def test_its_end(self) -> None:
        """With the last of its log, and how."""
        lines = log_lines(self)
        self.start()
        self.child.childDataReceived(2, b"Fatal")
        self.child.processEnded(Failure(ProcessTerminated(None, 9, 9)))
        self.assertEqual(lines, ["Fatal"])
        self.assertEqual(self.successResultOf(self.child.ended), Ended(None, 9))
        self.assertFalse(self.successResultOf(self.child.ready))
        other = Child(1, 2)
        other.processEnded(Failure(ProcessDone(0)))
        self.assertEqual((self.successResultOf(other.ended), other.name), (Ended(0), "1.2"))

    def test_programs_of_its_own_that_go_on(self) -> None:
        """They hold its log: its end is told all the same, once, and nobody is killed who has its number now."""
        killed: list[Any] = []
        self.patch(os, "kill", lambda pid, number: killed.append(pid))
        lines = log_lines(self)
        self.start()
        self.child.processExited(Failure(ProcessTerminated(None, 9, 9)))
        self.assertNoResult(self.child.ended)
        self.child.kill()
        self.reactor.advance(LAST_WORDS)
        self.assertEqual((self.successResultOf(self.child.ended), killed), (Ended(None, 9), []))
        self.child.childDataReceived(1, b"still here\n")
        self.child.processEnded(Failure(ProcessTerminated(None, 9, 9)))
        self.assertEqual((lines, self.reactor.getDelayedCalls()), (["still here"], []))

    def test_its_log_comes_first(self) -> None:
        """What it has written last is told before its end."""
        self.start()
        self.child.processExited(Failure(ProcessDone(0)))
        self.child.processEnded(Failure(ProcessDone(0)))
        self.assertEqual((self.successResultOf(self.child.ended), self.reactor.getDelayedCalls()), (Ended(0), []))

    def test_no_descriptors_are_left(self) -> None:
        """That is a line as well, whichever of them cannot be had, and none stays open."""
        for wanted in ("adoptStreamConnection", "socketpair"):
            child, lines = Child(1), log_lines(self)
            where: Any = socket if wanted == "socketpair" else self.reactor
            self.patch(where, wanted, _too_many)
            before = os.listdir("/proc/self/fd")
            child.start(self.reactor, Launch((), "/"), 1, {})
            self.reactor.advance(0)
            self.assertEqual(self.successResultOf(child.ended), Ended(1))
            self.assertIn("Too many open files", lines[-1])
            self.assertEqual(os.listdir("/proc/self/fd"), before)

    def test_killed(self) -> None:
        """Only while it is there: afterwards its number may be another's."""
        killed: list[Any] = []
        self.patch(os, "kill", lambda pid, number: killed.append((pid, number)))
        self.child.kill()
        self.start()
        self.child.kill()
        self.child.processEnded(Failure(ProcessDone(0)))
        self.child.kill()
        self.assertEqual(killed, [(77, signal.SIGKILL)])
