"""A host that is not decrypted: chosen by name, and given every byte."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IFileDescriptorReceiver, IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mytls.errors import Cause, TLSFailure
from mytls.events import Accepted, Closed, Established, Event, HandlerFailed, Observers
from mytls.hosts import Host, Hosts
from mytls.interfaces import IEndable
from mytls.listener import TLSFactory
from mytls.settings import Deadlines
from mytls.sockets import UNIXServer
from mytls.tls.contexts import connection_maker
from tests.memory import Link, Recorder, RecorderFactory, tls_options
from tests.test_sockets import IdleReactor


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """Is told when the client sends nothing more."""

    def readConnectionLost(self) -> None:
        self.told.append("read lost")

    def writeConnectionLost(self) -> None:
        self.told.append("write lost")


@implementer(IEndable)
class Unwilling(Recorder):
    """Ends when it wants to."""

    def end(self) -> None:
        self.told.append("end")


class Raises(Recorder):
    """Raises when it gets data."""

    def dataReceived(self, data: bytes) -> None:
        raise ZeroDivisionError


class PassthroughTests(SynchronousTestCase):
    """A listener with a host that is decrypted and one that is not."""

    def link(self, name: bytes = b"raw.example", make: Any = Recorder) -> Link:
        """A client that asks for this name, and what the raw host's handler hears of it."""
        self.raw, self.plain = RecorderFactory(make), RecorderFactory()
        self.events: list[Event] = []
        hosts = Hosts.of(
            [
                Host(None, self.raw, names=("raw.example",)),
                Host(connection_maker(tls_options()), names=("plain.example",)),
            ],
            None,
        )
        self.clock = Clock()
        factory = TLSFactory(hosts, self.plain, self.clock, Deadlines(idle=0), Observers([self.events.append]))
        link = Link(handler=self.raw, factory=factory, server_name=name, clock=self.clock)
        try:
            link.client.do_handshake()
        except Exception:
            self.hello = link.outgoing()
        return link

    def transport(self, link: Link) -> Any:
        """The handler's."""
        return link.recorder.transport

    def test_every_byte(self) -> None:
        """The handler gets the ClientHello from its first byte on, in whatever pieces it came, and what follows."""
        for piece in (1, 7, 100, 1 << 20):
            link = self.link()
            link.to_server(self.hello, piece)
            link.to_server(b"more", piece)
            self.assertEqual(link.recorder.data, self.hello + b"more")
            self.transport(link).write(b"answer")
            self.transport(link).writeSequence([b" and", b" more"])
            self.assertEqual(bytes(link.socket.wire), b"answer and more")

    def test_only_its_name(self) -> None:
        """Another name is decrypted, and an unknown one refused."""
        link = self.link(b"plain.example")
        link.to_server(self.hello)
        link.to_client()
        link.handshake()
        self.assertEqual((len(self.plain.made), self.raw.made), (1, []))
        link = self.link(b"other.example")
        link.to_server(self.hello)
        self.assertEqual(bytes(link.socket.wire), b"\x15\x03\x01\x00\x02\x02\x70")
        self.assertEqual(self.raw.made, [])

    def test_peer(self) -> None:
        """The handler knows whence the client comes and which name it asks for; nobody has verified anything."""
        link = self.link()
        link.to_server(self.hello)
        peer = self.transport(link).peer
        self.assertEqual((peer.server_name, peer.version, peer.certificate), ("raw.example", None, None))
        self.assertEqual(peer.address, link.socket.getPeer())

    def test_events(self) -> None:
        """It is accepted, established and closed, with its bytes counted."""
        link = self.link()
        link.to_server(self.hello)
        self.transport(link).write(b"12345")
        self.transport(link).loseConnection()
        kinds = [type(event) for event in self.events]
        self.assertEqual(kinds, [Accepted, Established, Closed])
        closed = self.events[-1]
        assert isinstance(closed, Closed)
        self.assertEqual((closed.bytes_in, closed.bytes_out, closed.cause), (len(self.hello), 5, None))
        self.assertIsInstance(link.recorder.lost, ConnectionDone)

    def test_reset(self) -> None:
        """A reset is one, in the log and for the handler."""
        link = self.link()
        link.to_server(self.hello)
        link.reset()
        closed = self.events[-1]
        assert isinstance(closed, Closed)
        self.assertIs(closed.cause, Cause.RESET)
        self.assertIsInstance(link.recorder.lost, ConnectionLost)

    def test_because(self) -> None:
        """A handler that has a reason to end says it: what was written is sent, or dropped, and the first counts."""
        for end, sent, reason in (("end_because", b"", ConnectionDone), ("abort_because", b"half", ConnectionAborted)):
            link = self.link()
            link.to_server(self.hello)
            link.socket.peer_reads = not sent
            self.transport(link).write(b"half")
            getattr(self.transport(link), end)(Cause.BACKEND_REFUSED, "nobody is there")
            self.assertEqual(bytes(link.socket.wire), b"" if sent else b"half")
            closed = self.events[-1]
            assert isinstance(closed, Closed)
            self.assertEqual((closed.cause, closed.detail), (Cause.BACKEND_REFUSED, "nobody is there"))
            self.assertIsInstance(link.recorder.lost, reason)

    def test_a_client_that_reads_nothing(self) -> None:
        """Once the handler has closed, it is cut after the close deadline; who still reads has it again."""
        link = self.link()
        link.to_server(self.hello)
        link.socket.peer_reads = False
        self.transport(link).write(b"x" * 1000)
        self.transport(link).loseConnection()
        self.clock.advance(4.9)
        self.transport(link).loseConnection()
        self.assertEqual(self.events[-1].__class__, Established)
        self.clock.advance(0.2)
        closed = self.events[-1]
        assert isinstance(closed, Closed)
        self.assertEqual(closed.cause, Cause.RESET)
        self.assertEqual(closed.detail, "the connection was closed, and the client has read nothing for 5 s")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_end_is_begun_once(self) -> None:
        """Who is ended for one reason has no more time when another comes."""
        link = self.link(make=Unwilling)
        link.to_server(self.hello)
        (connection,) = link.factory.connections
        link.socket.peer_reads = False
        self.transport(link).write(b"x")
        connection.finish(TLSFailure(Cause.LIFETIME, "it is old"))
        self.clock.advance(4)
        link.factory.end_connections()
        self.clock.advance(1.9)
        self.assertEqual((self.events[-1].__class__, self.transport(link).closing), (Established, True))
        self.clock.advance(0.2)
        closed = self.events[-1]
        assert isinstance(closed, Closed)
        self.assertEqual((closed.cause, closed.seconds < 6.2), (Cause.LIFETIME, True))
        self.assertEqual(link.recorder.told.count("end"), 2)

    def test_no_deadline_of_the_handshake(self) -> None:
        """Once its ClientHello is there the client has had its handshake with us."""
        link = self.link()
        link.to_server(self.hello)
        self.clock.advance(3600)
        self.assertIsNone(link.socket.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_half_close(self) -> None:
        """A handler that knows of half-closes is told; one that does not is closed."""
        link = self.link(make=HalfCloseable)
        link.to_server(self.hello)
        link.fin()
        self.assertEqual(link.recorder.told[-1], "read lost")
        self.assertIsNone(link.socket.lost)
        self.transport(link).loseWriteConnection()
        self.assertEqual(link.recorder.told[-1], "write lost")
        link = self.link()
        link.to_server(self.hello)
        link.fin()
        self.assertIsInstance(link.recorder.lost, ConnectionDone)

    def test_handler_raises(self) -> None:
        """A handler that raises ends its connection, with a traceback, and no other."""
        link = self.link(make=Raises)
        link.to_server(self.hello)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual([type(event) for event in self.events], [Accepted, Established, HandlerFailed, Closed])
        closed: Any = self.events[-1]
        self.assertEqual((closed.cause, closed.detail), (Cause.HANDLER, "the handler raised ZeroDivisionError"))
        self.assertIsNotNone(link.socket.lost)

    def test_no_handler(self) -> None:
        """A factory that wants no connection has none."""
        link = self.link()
        self.raw.buildProtocol = lambda addr: None  # type: ignore[method-assign]
        link.to_server(self.hello)
        self.assertIsInstance(link.socket.lost, ConnectionDone)

    def test_stop(self) -> None:
        """When the service stops its connections are closed as others are."""
        link = self.link()
        link.to_server(self.hello)
        self.assertEqual(self.successResultOf(link.factory.end_connections()), 1)
        self.assertIsInstance(link.recorder.lost, ConnectionDone)


@implementer(IFileDescriptorReceiver)
class TakesDescriptors(Recorder):
    """Is given the descriptors of its client."""

    def fileDescriptorReceived(self, descriptor: int) -> None:
        self.told.append(("descriptor", os.fstat(descriptor).st_ino))
        os.close(descriptor)


class DescriptorTests(SynchronousTestCase):
    """A listener without TLS on a UNIX socket."""

    def sent(self, make: Any) -> tuple[Recorder, int]:
        """A client sends a descriptor and a word. @return: who has heard it, and what the descriptor is of"""
        raw = RecorderFactory(make)
        hosts = Hosts(Host(None, raw), plain=True)
        factory = TLSFactory(hosts, raw, Clock(), Deadlines(idle=0), Observers())
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        self.addCleanup(ours.close)
        protocol = factory.buildProtocol(None)
        reactor: Any = IdleReactor()
        transport = UNIXServer(ours, protocol, "", None, 0, reactor)
        protocol.makeConnection(transport)
        passed, other = os.pipe()
        self.addCleanup(os.close, other)
        there = os.fstat(passed).st_ino
        socket.send_fds(theirs, [b"take this"], [passed])
        os.close(passed)
        transport.doRead()
        with self.assertRaises(BrokenPipeError):  # nobody has it any more
            os.write(other, b"x")
        return raw.made[0], there

    def test_descriptor(self) -> None:
        """A handler that takes descriptors is given what the client sends, before the bytes that it came with."""
        handler, there = self.sent(TakesDescriptors)
        self.assertEqual(handler.told[1:], [("descriptor", there), ("data", b"take this")])

    def test_not_taken(self) -> None:
        """Where the handler takes none it is closed, and the bytes come as they do otherwise."""
        handler, _ = self.sent(Recorder)
        self.assertEqual(handler.told[1:], [("data", b"take this")])
