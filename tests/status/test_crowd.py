"""So many connections, and room for one more."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mytls.status.crowd import GOODBYE, Crowd, most_of_process

ADDRESS = IPv4Address("TCP", "127.0.0.1", 50000)


class Wire(StringTransport):
    """A connection that says how it was ended."""

    end = ""
    number = 0

    def fileno(self) -> int:
        return self.number

    def abortConnection(self) -> None:
        self.end = "aborted"

    def loseConnection(self) -> None:
        self.end = "closed"


def descriptors() -> int:
    """How many are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


class CrowdTests(SynchronousTestCase):
    """Who is there, and who has to go."""

    def setUp(self) -> None:
        self.clock, self.come = Clock(), 0
        self.crowd = Crowd(self.clock, Factory.forProtocol(Protocol), 3)
        self.crowd.doStart()
        self.addCleanup(self.crowd.doStop)
        self.addCleanup(self.crowd.end)

    def comes(self, host: str = "127.0.0.1") -> Wire:
        """Somebody connects."""
        wire = Wire(peerAddress=IPv4Address("TCP", host, 50000))
        self.come += 1
        wire.number = self.come
        wire.protocol = self.crowd.buildProtocol(ADDRESS)  # type: ignore[attr-defined]  # to find it again
        wire.protocol.makeConnection(wire)  # type: ignore[attr-defined]
        return wire

    def says(self, wire: Wire) -> None:
        wire.protocol.dataReceived(b"x")  # type: ignore[attr-defined]

    def asks(self, wire: Wire) -> Callable[[], object]:
        """It has sent a whole request."""
        self.says(wire)
        return self.crowd.asks(wire)

    def goes(self, wire: Wire) -> None:
        wire.protocol.connectionLost(Failure(ConnectionDone()))  # type: ignore[attr-defined]

    def test_silent_ones_go_first(self) -> None:
        """Who has never asked anything makes room, the oldest first, and not who has just come."""
        speaks, first, second = self.comes(), self.comes(), self.comes()
        self.asks(speaks)()
        self.comes()
        self.assertEqual([each.end for each in (speaks, first, second)], ["", "aborted", ""])
        self.comes()
        self.assertEqual([each.end for each in (speaks, second)], ["", "aborted"])

    def test_then_who_was_heard_of_longest_ago(self) -> None:
        """Where all have asked, it is who has said nothing since, and was told nothing."""
        wires = [self.comes() for _ in range(3)]
        for each in wires:
            self.asks(each)()
        self.says(wires[0])
        wires[1].protocol.write(b"told")  # type: ignore[attr-defined]
        last = self.comes()
        self.assertEqual([each.end for each in (*wires, last)], ["", "", "aborted", ""])

    def test_bytes_are_no_request(self) -> None:
        """Below TLS anybody can send some: they count for nothing, and buy no time, nor does what TLS answers."""
        asks, stranger, second = self.comes(), self.comes(), self.comes()
        self.asks(asks)()
        for each in (second, stranger):
            self.says(each)
            each.protocol.write(b"hello")  # type: ignore[attr-defined]
        self.says(self.comes())
        self.assertEqual([each.end for each in (asks, stranger, second)], ["", "aborted", ""])

    def test_who_has_most_goes_first(self) -> None:
        """Who comes fast puts out his own, and not one of another address that is just at its handshake."""
        shakes = self.comes("192.0.2.1")
        fast = [self.comes("192.0.2.66") for _ in range(100)]
        self.assertEqual((shakes.end, sum(not each.end for each in fast), fast[-1].end), ("", 2, ""))
        self.asks(shakes)()
        for each in fast[-2:]:
            self.asks(each)()
        self.comes("192.0.2.66")
        self.assertEqual((shakes.end, [each.end for each in fast[-2:]]), ("", ["aborted", ""]))

    def test_who_is_being_answered_goes_last(self) -> None:
        """Whoever has more connections than others, and whatever was heard of since."""
        wires = [self.comes("192.0.2.66"), self.comes("192.0.2.66"), self.comes("192.0.2.1")]
        answered = [self.asks(each) for each in wires]
        answered[2]()
        self.comes("192.0.2.66")
        self.assertEqual([each.end for each in wires], ["", "", "aborted"])
        for each in (*wires, Wire()):  # and one that is not of them is nobody's
            self.crowd.asks(each)()

    def test_thousands_who_say_nothing(self) -> None:
        """They are never more than may be there, and who asks is not among those who go."""
        asks = self.comes()
        self.asks(asks)()
        idle = [self.comes() for _ in range(1000)]
        self.assertEqual((asks.end, len(self.crowd), sum(not each.end for each in idle)), ("", 3, 2))

    def test_who_is_gone_leaves_room(self) -> None:
        wires = [self.comes() for _ in range(3)]
        self.goes(wires[2])
        self.comes()
        self.assertEqual([each.end for each in wires], ["", "", ""])

    def test_descriptors_are_kept(self) -> None:
        """One for each that may come, and one to accept with; all are given back at the end."""
        before = descriptors()
        self.crowd.keep()
        self.assertEqual(descriptors(), before + 4)
        self.crowd.keep(but=1)
        self.assertEqual(descriptors(), before + 3)
        wire = self.comes()
        self.crowd.keep()
        self.assertEqual(descriptors(), before + 3)  # as this one has none of the system's
        self.goes(wire)
        self.assertEqual(descriptors(), before + 4)
        self.successResultOf(self.crowd.end())
        self.assertEqual(descriptors(), before)

    def test_they_are_no_childs(self) -> None:
        """A program that a handler starts has none of them."""
        before = set(os.listdir("/proc/self/fd"))
        self.crowd.keep()
        kept = set(os.listdir("/proc/self/fd")) - before
        self.assertTrue(kept)
        self.assertFalse(any(os.get_inheritable(int(each)) for each in kept if os.path.exists(f"/proc/self/fd/{each}")))

    def test_the_end(self) -> None:
        """What was said is sent; who does not read it is cut; it is over when the last is gone."""
        wires = [self.comes(), self.comes()]
        done = self.crowd.end()
        self.assertEqual([each.end for each in wires], ["closed"] * 2)
        self.goes(wires[0])
        self.assertNoResult(done)
        self.clock.advance(GOODBYE)
        self.assertEqual([each.end for each in wires], ["closed", "aborted"])
        wires[1].protocol.connectionLost(Failure(ConnectionAborted()))  # type: ignore[attr-defined]
        self.successResultOf(done)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_so_many(self) -> None:
        """It fits into what the limits of connections leave for all else."""
        self.assertIn(most_of_process(), range(4, 65))
