"""A host that is not decrypted: chosen by name, and given every byte."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mytls.errors import Cause
from mytls.events import Accepted, Closed, Established, Event, HandlerFailed, Observers
from mytls.hosts import Host, Hosts
from mytls.listener import TLSFactory
from mytls.settings import Deadlines
from mytls.tls.contexts import connection_maker
from tests.memory import Link, Recorder, RecorderFactory, tls_options


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """Is told when the client sends nothing more."""

    def readConnectionLost(self) -> None:
        self.told.append("read lost")

    def writeConnectionLost(self) -> None:
        self.told.append("write lost")


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
