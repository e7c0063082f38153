"""What a parent and its worker say to each other."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mytls.workers.channel import Channel, Does, Unanswered
from tests.lines import log_lines


class Wire:
    """A transport that keeps what is written until it is delivered."""

    def __init__(self) -> None:
        self.data = b""
        self.descriptors: list[int] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.data += data

    def writeSequence(self, pieces: Sequence[bytes]) -> None:
        self.data += b"".join(pieces)

    def sendFileDescriptor(self, descriptor: int) -> None:
        self.descriptors.append(os.dup(descriptor))

    def loseConnection(self) -> None:
        self.closing = True


class Pair:
    """Both ends."""

    def __init__(self, **does: Does) -> None:
        """@param does: what the second does"""
        self.lost: list[str] = []
        self.one = Channel({}, lambda: self.lost.append("one"))
        self.two = Channel(does, lambda: self.lost.append("two"))
        self.wires: list[Any] = [Wire(), Wire()]
        for channel, wire in zip((self.one, self.two), self.wires, strict=True):
            channel.makeConnection(wire)

    def pump(self, piece: int = 7) -> None:
        """Deliver all, in pieces."""
        while any(wire.data for wire in self.wires):
            for wire, to in zip(self.wires, (self.two, self.one), strict=True):
                data, wire.data = wire.data, b""
                descriptors, wire.descriptors = wire.descriptors, []
                for each in descriptors:
                    to.fileDescriptorReceived(each)
                for at in range(0, len(data), piece):
                    to.dataReceived(data[at : at + piece])

    def end(self) -> None:
        """The connection is over."""
        for channel in (self.one, self.two):
            channel.connectionLost(Failure(ConnectionDone()))


class ChannelTests(SynchronousTestCase):
    """L{Channel}."""

    def test_asked_and_answered(self) -> None:
        """Each answer goes to its question, in whatever order they come."""
        waiting: list[Deferred[Any]] = []

        def later(said: Any, _: Any) -> Deferred[Any]:
            waiting.append(Deferred())
            return waiting[-1]

        pair = Pair(double=lambda said, _: {"is": said["of"] * 2}, later=later)
        first, second = pair.one.ask("later"), pair.one.ask("double", {"of": "\xe9"})
        pair.pump()
        self.assertEqual(self.successResultOf(second), {"is": "\xe9\xe9"})
        self.assertNoResult(first)
        waiting[0].callback(None)
        pair.pump()
        self.assertEqual(self.successResultOf(first), {})

    def test_told(self) -> None:
        """What is told is done, and has no answer."""
        heard: list[Any] = []
        pair = Pair(note=lambda said, _: heard.append(said))
        pair.one.tell("note", {"a": 1})
        pair.pump()
        self.assertEqual((heard, pair.wires[1].data), ([{"a": 1}], b""))

    def test_a_word_of_another_version(self) -> None:
        """It fails for who asks, and what comes after it is dealt with."""
        pair = Pair(ping=lambda said, _: None)
        pair.one.tell("newer")
        failed, other = pair.one.ask("newer"), pair.one.ask("ping")
        pair.pump()
        self.assertIn("unknown: newer", self.failureResultOf(failed, Unanswered).getErrorMessage())
        self.assertEqual(self.successResultOf(other), {})
        self.assertEqual(len(self.flushLoggedErrors(Unanswered)), 1)

    def test_garbage(self) -> None:
        """It ends the channel with a line, and is no traceback."""
        right = {"word": "a", "said": {}, "descriptors": 0}
        wrong = [b"", b"\xff", b"[]", b"{}", b"7", b'{"answers": [1], "said": {}}', b'{"answers": 1, "failed": 2}']
        wrong += [b"[" * 100000]
        wrong += [json.dumps({**right, name: None}).encode() for name in right]
        for said in wrong:
            pair, lines = Pair(), log_lines(self)
            pair.two.dataReceived(b"%d:%s," % (len(said), said))
            self.assertEqual((len(lines), pair.wires[1].closing), (1, True), said)
            self.assertIn("garbled", lines[0])

    def test_an_answer_to_nothing(self) -> None:
        """That is a line, and what comes after it is dealt with."""
        heard: list[Any] = []
        pair, lines = Pair(note=lambda said, _: heard.append(said)), log_lines(self)
        pair.one._send({"answers": 9, "said": {}})
        pair.one.tell("note", {"a": 1})
        pair.pump()
        self.assertEqual((heard, lines), ([{"a": 1}], ["an answer has come to what nobody has asked"]))

    def test_our_own_bug_is_loud(self) -> None:
        """Who asks hears of it, and the log has its traceback."""
        pair = Pair(bad=lambda said, _: 1 // 0)
        failed = pair.one.ask("bad")
        pair.pump()
        self.failureResultOf(failed, Unanswered)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_too_late(self) -> None:
        """An answer that nobody waits for any more is let pass."""
        answer: Deferred[Any] = Deferred()
        pair = Pair(slow=lambda said, _: answer)
        asked = pair.one.ask("slow")
        pair.pump()
        asked.cancel()
        self.failureResultOf(asked)
        answer.callback({})
        pair.pump()

    def test_gone(self) -> None:
        """Who waits for an answer of one that is gone hears so, and who asks afterwards too."""
        pair = Pair(slow=lambda said, _: Deferred())
        asked = pair.one.ask("slow")
        pair.pump()
        pair.end()
        self.failureResultOf(asked, Unanswered)
        self.failureResultOf(pair.one.ask("slow"), Unanswered)
        pair.one.tell("slow")
        self.assertEqual((pair.lost, pair.wires[0].data), (["one", "two"], b""))

    def test_finished(self) -> None:
        """All that was said goes out before the end."""
        pair = Pair()
        done = pair.one.finish()
        self.assertTrue(pair.wires[0].closing)
        self.assertNoResult(done)
        pair.end()
        self.successResultOf(done)

    def test_descriptors(self) -> None:
        """Descriptors come with the message that they were said with, and are not handed on to programs."""
        got: list[tuple[Any, list[int]]] = []
        pair = Pair(take=lambda said, descriptors: got.append((said["names"], list(descriptors))))
        with socket.socket() as a, socket.socket() as b, socket.socket() as c:
            pair.one.ask("take", {"names": ["a", "b"]}, [a.fileno(), b.fileno()])
            pair.one.ask("take", {"names": []})
            pair.one.ask("take", {"names": ["c"]}, [c.fileno()])
            pair.pump()
            self.assertEqual([(names, len(taken)) for names, taken in got], [(["a", "b"], 2), ([], 0), (["c"], 1)])
            taken = [each for _, several in got for each in several]
            inodes = [os.fstat(each).st_ino for each in taken]
            self.assertEqual(inodes, [os.fstat(each.fileno()).st_ino for each in (a, b, c)])
            self.assertFalse(any(os.get_inheritable(each) for each in taken))
            for each in taken:
                os.close(each)

    def test_descriptors_that_have_no_room(self) -> None:
        """Where the system has left one out, the word is not done, and whoever has said it hears why."""
        got: list[Any] = []
        pair = Pair(take=lambda said, descriptors: got.append(descriptors))
        with socket.socket() as one, socket.socket() as other:
            failed = pair.one.ask("take", {}, [one.fileno(), other.fileno()])
            first, second = pair.wires[0].descriptors
            pair.wires[0].descriptors = [first]
            os.close(second)
            pair.pump()
        self.assertIn("too many open files", str(self.failureResultOf(failed, Unanswered).value))
        self.assertRaises(OSError, os.fstat, first)
        self.assertEqual(got, [])

    def test_descriptors_that_nobody_takes(self) -> None:
        """They are closed: with a word that is not known, and at the end."""
        pair = Pair()
        with socket.socket() as one:
            failed = pair.one.ask("newer", {}, [one.fileno()])
            (passed,) = pair.wires[0].descriptors
            pair.pump()
            self.failureResultOf(failed, Unanswered)
            self.assertRaises(OSError, os.fstat, passed)
            left = os.dup(one.fileno())
            pair.two.fileDescriptorReceived(left)
            pair.end()
            self.assertRaises(OSError, os.fstat, left)
