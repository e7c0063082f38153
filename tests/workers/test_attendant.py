"""What a worker does for its parent."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mytls import __version__
from mytls.workers.attendant import REPORT, Attendant, Failures, Untold
from mytls.workers.channel import Channel
from mytls.workers.code import digest
from mytls.workers.seat import Seat
from mytls.workers.sharing import Inheriting
from tests.workers.test_channel import Wire


class Serving:
    """A service that does what the test says."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.handshakes = 0
        self.left = 5
        self.drained: Deferred[int] = Deferred()

    def privilegedStartService(self) -> None:
        self.heard.append("listens")

    def startService(self) -> None:
        self.heard.append("serves")

    def stopService(self) -> Deferred[Any]:
        return self.drain()

    def reload(self) -> Deferred[bool]:
        self.heard.append("reloads")
        return succeed(False)

    def pause(self) -> int:
        self.heard.append("pauses")
        return self.handshakes

    def drain(self) -> Deferred[int]:
        self.heard.append("drains")
        done: Deferred[int] = Deferred()

        def drained(unfinished: int) -> int:
            done.callback(unfinished)
            return unfinished

        self.drained.addCallback(drained)
        return done

    def cut(self) -> None:
        self.heard.append("cuts")


class Reactor(Clock):
    """Keeps the protocol that is to speak over a socket."""

    def adoptStreamConnection(self, descriptor: int, family: int, factory: Any) -> None:
        self.channel: Any = factory.buildProtocol(None)
        self.wire: Any = Wire()
        self.channel.makeConnection(self.wire)


class AttendantTests(SynchronousTestCase):
    """L{Attendant}."""

    def setUp(self) -> None:
        self.reactor, self.serving, self.failures = Reactor(), Serving(), Failures()
        self.mine, its = socket.socketpair()
        self.addCleanup(self.mine.close)
        inheriting = Inheriting(self.reactor, {})
        self.attendant = Attendant(
            self.reactor, Seat(1, 2, its.detach(), {}), self.serving, Untold(), inheriting, self.failures
        )
        self.told: list[Any] = []
        self.parent = Channel({"ready": self.hears("ready"), "report": self.hears("report")}, lambda: None)
        self.wire: Any = Wire()
        self.parent.makeConnection(self.wire)
        self.attendant.privilegedStartService()
        self.attendant.startService()
        self.pump()

    def hears(self, word: str) -> Callable[[Any, Any], None]:
        """What the parent does with a word."""
        return lambda said, _: self.told.append((word, said))

    def pump(self) -> None:
        """Deliver what is said."""
        while self.wire.data or self.reactor.wire.data:
            said, self.wire.data = self.wire.data, b""
            for each in self.wire.descriptors:
                self.reactor.channel.fileDescriptorReceived(each)
            self.wire.descriptors = []
            self.reactor.channel.dataReceived(said)
            said, self.reactor.wire.data = self.reactor.wire.data, b""
            self.parent.dataReceived(said)

    def tells(self, word: str) -> None:
        """The parent tells it something."""
        self.parent.tell(word)
        self.pump()

    def test_ready_and_reports(self) -> None:
        """It says that it serves when it does, and each second how it is."""
        ready = {"version": __version__, "code": digest()}
        self.assertEqual((self.serving.heard, self.told), (["listens", "serves"], [("ready", ready)]))
        self.reactor.advance(REPORT)
        self.pump()
        word, said = self.told[-1]
        self.assertEqual((word, said["left"], said["metrics"]), ("report", 5, {}))

    def test_retires_when_handshakes_are_over(self) -> None:
        """Told to retire it accepts nobody, and lets who is in a handshake finish that before it drains."""
        self.serving.handshakes = 1
        self.tells("retire")
        self.assertEqual(self.serving.heard[2:], ["pauses"])
        self.serving.handshakes = 0
        self.reactor.advance(0.1)
        self.assertEqual(self.serving.heard[2:], ["pauses", "pauses", "drains"])

    def test_retires_in_time(self) -> None:
        """A handshake that does not end holds it for ten seconds."""
        self.serving.handshakes = 1
        self.tells("retire")
        self.reactor.pump([0.05] * 190)
        self.assertNotIn("drains", self.serving.heard)
        self.reactor.pump([0.05] * 20)
        self.assertEqual(self.serving.heard.count("drains"), 1)

    def test_reload(self) -> None:
        """It loads with the sockets that came along; those nobody listens at are closed, and why it failed is said."""
        self.failures.lines = ("a.pem: no such file",)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            answered = self.parent.ask("reload", {"sockets": ["mytls-new"]}, [listening.fileno()])
            (passed,) = self.wire.descriptors
            self.pump()
        self.assertEqual(self.successResultOf(answered), {"served": False, "lines": ["a.pem: no such file"]})
        self.assertRaises(OSError, os.fstat, passed)

    def test_drain_and_cut(self) -> None:
        """It does as TERM does, and as TERM does that comes again."""
        self.tells("drain")
        self.assertEqual(self.serving.heard[2:], ["drains"])
        self.tells("cut")
        self.assertEqual(self.serving.heard[3:], ["drains", "cuts"])

    def test_the_parent_is_gone(self) -> None:
        """Then it ends as at TERM."""
        self.reactor.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.serving.heard[2:], ["drains"])

    def test_last_words(self) -> None:
        """At the end it says what was counted, with how many have not finished, and then closes the channel."""
        stopped = self.attendant.stopService()
        self.assertNoResult(stopped)
        self.assertFalse(self.reactor.wire.closing)
        self.serving.drained.callback(2)
        self.pump()
        self.assertEqual((self.told[-1][0], self.told[-1][1]["unfinished"]), ("report", 2))
        self.assertTrue(self.reactor.wire.closing)
        self.reactor.channel.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(stopped)
        self.assertEqual(self.serving.heard.count("drains"), 2)

    def test_nobody_looks_on(self) -> None:
        """There is nothing to tell, and whoever asks is answered."""
        answers = [self.parent.ask(word) for word in ("status", "metrics", "connections")]
        closed = self.parent.ask("close", {"connection": "1"})
        self.pump()
        self.assertEqual([self.successResultOf(each) for each in answers], [{}, {}, {"total": 0, "connections": []}])
        self.assertEqual(self.successResultOf(closed), {"closed": False})
