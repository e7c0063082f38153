"""Limits, deadlines and the end of a service, for real connections in memory."""

from __future__ import annotations

import signal
from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mytls.draining import PROGRESS, Drain
from mytls.errors import Cause, TLSFailure
from mytls.events import Accepted, Closed, Draining, Established, Event, HandshakeFailed, Observers, Refused
from mytls.exitstatus import ExitStatus
from mytls.guards.limits import Door, Room
from mytls.guards.sources import Proxies
from mytls.handlers.builtin import EchoFactory
from mytls.hosts import Hosts
from mytls.interfaces import IDrainable, IEndable
from mytls.kinds import network
from mytls.listener import TLSFactory, TurnedAway
from mytls.proxyheader import ProxyHeader
from mytls.settings import Deadlines, HostSettings, Limits
from tests.lines import log_lines
from tests.memory import CLIENT_ADDRESS, Link, Recorder, RecorderFactory, SocketInMemory, tls_options

CLOSE = 5


class Served(SynchronousTestCase):
    """A listener."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[Event] = []

    def factory(self, handler: Any = None, limits: Limits | None = None, **deadlines: float) -> TLSFactory:
        """With TLS."""
        about = self.clock, Deadlines(**{"idle": 0.0, "close": CLOSE, **deadlines}), Observers([self.events.append])
        self.handler: Any = handler or EchoFactory()
        door = Door(Room(self.clock, limits))
        return TLSFactory(Hosts.only(tls_options()), self.handler, *about, door)

    def link(self, factory: TLSFactory) -> Link:
        """A client, through its handshake."""
        link = Link(factory=factory, handler=self.handler, clock=self.clock)
        link.handshake()
        return link

    def pass_time(self, seconds: float) -> None:
        """In steps of a tenth of a second."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)

    def last(self) -> Any:
        """The last event."""
        return self.events[-1]


class LimitTests(Served):
    """At accept."""

    def test_refused(self) -> None:
        """Who comes beyond a limit is told as refused and nothing else, and costs no connection."""
        factory = self.factory(limits=Limits(max_connections=1))
        link = self.link(factory)
        self.events.clear()
        self.assertIsInstance(factory.buildProtocol(CLIENT_ADDRESS), TurnedAway)
        (event,) = self.events
        assert isinstance(event, Refused)
        self.assertEqual((event.cause, event.full, event.address), (Cause.LIMIT, True, "192.0.2.1:50000"))
        link.reset()
        self.link(factory)

    def test_handshakes_a_second(self) -> None:
        """Whose handshake would be one too many is ended when its ClientHello has come, before any TLS work."""
        factory = self.factory(limits=Limits(handshakes_per_second=1))
        self.link(factory)
        self.link(factory)
        self.assertRaises(AssertionError, self.link, factory)
        event = self.last()
        assert isinstance(event, HandshakeFailed)
        said = "too many handshakes a second, and limits.handshakes-per-second is 1"
        self.assertEqual((event.cause, event.detail), (Cause.RATE, said))

    def test_in_the_end(self) -> None:
        """Whatever became of them, nobody is counted any more."""
        factory = self.factory(limits=Limits(max_connections_per_address=9), handshake=10)
        self.link(factory).reset()
        Link(factory=factory, clock=self.clock).reset()
        Link(factory=factory, clock=self.clock)
        self.clock.advance(11)
        room = factory.door.room
        self.assertEqual((room.open, room.handshaking, factory.door.open), (0, 0, 0))


@implementer(IEndable)
class Endless(Recorder):
    """Hears that its time is over, and goes on."""

    def end(self) -> None:
        self.told.append("end")


@implementer(IDrainable)
class Told(Recorder):
    """Hears that the service stops, and goes on."""

    def drain(self) -> None:
        self.told.append("drain")


class AgeTests(Served):
    """Connections that are silent, or old."""

    def test_idle(self) -> None:
        """One that is silent gets close_notify, and the closed event its cause."""
        link = self.link(self.factory(idle=8))
        link.client.send(b"x")
        link.pump()
        self.pass_time(10)
        link.pump()
        self.assertTrue(link.peer_finished)
        link.client.shutdown()
        link.pump()
        event = self.last()
        assert isinstance(event, Closed)
        self.assertEqual((event.cause, event.detail), (Cause.IDLE, "nothing has moved for 8 s"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_idle(self) -> None:
        """A byte in either direction is enough."""
        link = self.link(self.factory(RecorderFactory(), idle=8))
        for turn in range(20):
            if turn % 2:
                link.client.send(b"x")
                link.pump()
            else:
                link.transport.write(b"y")
            self.pass_time(6)
        self.assertIsNone(link.socket.lost)

    def test_lifetime(self) -> None:
        """One that is too old ends properly in the middle of what it does."""
        link = self.link(self.factory(lifetime=40))
        for _ in range(50):
            if not link.peer_finished:
                link.client.send(b"x")
                link.pump()
            self.pass_time(1)
        self.assertTrue(link.peer_finished)
        link.reset()
        self.assertIs(self.last().cause, Cause.LIFETIME)

    def test_handler_that_goes_on(self) -> None:
        """A handler has the close deadline to end by itself; then the client gets close_notify, and a second."""
        link = self.link(self.factory(RecorderFactory(Endless), idle=8))
        self.pass_time(9)
        self.assertEqual(link.recorder.told, ["made", "end"])
        link.pump()
        self.assertFalse(link.peer_finished)
        self.pass_time(CLOSE)
        link.pump()
        self.assertTrue(link.peer_finished)
        self.assertIsNotNone(link.recorder.lost)
        self.pass_time(1)
        self.assertIsNotNone(link.socket.lost)
        self.assertIs(self.last().cause, Cause.IDLE)

    def test_peer_that_does_not_read(self) -> None:
        """Who reads nothing of it is cut."""
        link = self.link(self.factory(RecorderFactory(), idle=8))
        link.socket.peer_reads = False
        link.transport.write(b"x" * 100_000)
        self.pass_time(9 + CLOSE + 1.1)
        self.assertIsInstance(link.socket.lost, ConnectionAborted)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_handler_that_writes_on(self) -> None:
        """What a handler writes now and then moves nothing where its peer does not read."""
        link = self.link(self.factory(RecorderFactory(), idle=8))
        link.socket.peer_reads = False
        for _ in range(9):
            link.transport.write(b"tick")
            self.pass_time(1)
        self.pass_time(CLOSE + 1.1)
        self.assertIsInstance(link.socket.lost, ConnectionAborted)
        self.assertIs(self.last().cause, Cause.IDLE)


class DrainTests(Served):
    """Who is there when the service stops."""

    def test_finishes(self) -> None:
        """Who ends by itself has finished."""
        factory = self.factory()
        link = self.link(factory)
        done = factory.drain(30)
        link.client.send(b"hello")
        link.pump()
        self.assertEqual(bytes(link.received), b"hello")
        link.client.shutdown()
        link.pump()
        self.assertEqual(self.successResultOf(done), 0)
        self.assertIs(self.last().cause, None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_deadline(self) -> None:
        """Who does not is ended at the deadline."""
        factory = self.factory()
        link, done = self.link(factory), factory.drain(30)
        self.pass_time(30)
        link.pump()
        self.assertTrue(link.peer_finished)
        self.assertNoResult(done)
        self.pass_time(CLOSE + 1)
        self.assertEqual(self.successResultOf(done), 1)
        self.assertIs(self.last().cause, Cause.DRAIN)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_for_ever(self) -> None:
        """Without a deadline nobody is ended."""
        factory = self.factory()
        link, done = self.link(factory), factory.drain(0)
        self.pass_time(100)
        self.assertIsNone(link.socket.lost)
        factory.cut()
        self.assertEqual(self.successResultOf(done), 1)
        self.assertIsInstance(link.socket.lost, ConnectionAborted)

    def test_cut_after_the_deadline(self) -> None:
        """Who is ended at the deadline, and cut before its time for that is over, is one that has not finished."""
        factory = self.factory(RecorderFactory(Endless))
        self.link(factory)
        done = factory.drain(30)
        self.pass_time(30)
        factory.cut()
        self.assertEqual(self.successResultOf(done), 1)

    def test_ended_in_its_goodbye(self) -> None:
        """Who is ended or cut when its handler is gone, and the goodbye under way, had a handshake and is closed."""
        for end in (TLSFactory.cut, TLSFactory.end_connections):
            factory = self.factory(RecorderFactory(Endless))
            link = self.link(factory)
            (connection,) = factory.connections
            connection.finish(TLSFailure(Cause.LIFETIME, "it is old"))
            self.pass_time(CLOSE + 0.1)
            self.assertIsNotNone(link.recorder.lost)
            self.assertEqual(factory.connections, (connection,))
            end(factory)
            self.pass_time(CLOSE + 1.1)
            self.assertIsInstance(self.last(), Closed)
            self.assertIs(self.last().cause, Cause.LIFETIME)

    def test_does_not_read(self) -> None:
        """Who has not read all of its answer at the deadline has not finished, though its handler has."""
        factory = self.factory(RecorderFactory())
        link = self.link(factory)
        link.socket.peer_reads = False
        link.transport.write(b"x" * 100_000)
        link.transport.loseConnection()
        done = factory.drain(CLOSE - 1)
        self.pass_time(2 * CLOSE)
        self.assertEqual(self.successResultOf(done), 1)

    def test_handshakes(self) -> None:
        """Who has said nothing is dropped; a handshake that has begun may go on, and its handler can ask."""
        factory = self.factory(RecorderFactory())
        silent = Link(factory=factory, clock=self.clock)
        begun = Link(factory=factory, handler=self.handler, clock=self.clock)
        self.assertRaises(SSL.WantReadError, begun.client.do_handshake)
        hello = begun.outgoing()
        begun.to_server(hello[:20])
        done = factory.drain(30)
        self.assertIsNotNone(silent.socket.lost)
        self.assertIs(self.last().cause, Cause.DRAIN)
        begun.to_server(hello[20:])
        begun.to_client()
        begun.handshake()
        self.assertTrue(begun.transport.draining)
        begun.client.shutdown()
        begun.pump()
        self.assertEqual(self.successResultOf(done), 0)

    def test_told_later(self) -> None:
        """A handler that wants to be told is, also where its handshake had begun before the drain, once."""
        factory = self.factory(RecorderFactory(Told))
        self.link(factory)
        begun = Link(factory=factory, handler=self.handler, clock=self.clock)
        self.assertRaises(SSL.WantReadError, begun.client.do_handshake)
        begun.to_server(begun.outgoing())
        factory.drain(30)
        begun.to_client()
        begun.handshake()
        self.assertEqual([each.told for each in self.handler.made], [["made", "drain"]] * 2)

    def test_said(self) -> None:
        """There is an event at the beginning, a line every few seconds, and one at the end."""
        lines = log_lines(self)
        factory = self.factory()
        self.link(factory)
        drain = Drain(self.clock, 30, lambda: len(factory.connections))
        drain.begin([factory.drain(30)], Observers([self.events.append]))
        done = drain.done()
        self.assertEqual(self.last(), Draining(connections=1, seconds=30))
        self.pass_time(2 * PROGRESS)
        self.assertEqual(lines, ["draining: 1 connection left, 28 s", "draining: 1 connection left, 26 s"])
        factory.cut()
        self.assertEqual((self.successResultOf(done), self.successResultOf(drain.done())), (1, 1))
        self.assertEqual(lines[2:], ["drained: 1 connection cut"])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class PlainTests(Served):
    """A listener without TLS."""

    def connect(self, *proxies: str, make: Any = Recorder, **more: Any) -> tuple[TLSFactory, Any, SocketInMemory]:
        """A client."""
        self.handler = RecorderFactory(make)
        trusted = Proxies(tuple(network(each) for each in proxies))
        hosts = Hosts.without_tls(HostSettings(), trusted, self.handler, "app")
        deadlines = Deadlines(**{"idle": 0.0, **more})
        factory = TLSFactory(hosts, self.handler, self.clock, deadlines, Observers([self.events.append]))
        protocol: Any = factory.buildProtocol(CLIENT_ADDRESS)
        socket = SocketInMemory(protocol)
        protocol.makeConnection(socket)
        return factory, protocol, socket

    def test_prefix(self) -> None:
        """Twisted's own lines do not say that there is TLS."""
        factory, _, _ = self.connect()
        self.assertEqual(factory.logPrefix(), "RecorderFactory")

    def test_events(self) -> None:
        """It has its handler at once, and is told of as any other, with its bytes and without a version of TLS."""
        _, protocol, socket = self.connect()
        (recorder,) = self.handler.made
        self.assertEqual(recorder.told, ["made"])
        protocol.dataReceived(b"hello")
        recorder.transport.write(b"12345678")
        self.assertEqual((recorder.data, bytes(socket.wire)), (b"hello", b"12345678"))
        recorder.transport.loseConnection()
        self.assertEqual([type(each) for each in self.events], [Accepted, Established, Closed])
        closed = self.last()
        self.assertEqual((closed.bytes_in, closed.bytes_out, closed.cause, closed.peer.version), (5, 8, None, None))
        self.assertEqual((closed.handler, closed.address), ("app", "192.0.2.1:50000"))
        self.assertIsInstance(recorder.lost, ConnectionDone)

    def test_ages(self) -> None:
        """It ends when it is silent for too long."""
        _, _, socket = self.connect(idle=8.0)
        self.pass_time(9.1)
        self.assertIsInstance(socket.lost, ConnectionDone)
        self.assertIs(self.last().cause, Cause.IDLE)

    def test_drain(self) -> None:
        """It may finish, and is ended at the deadline."""
        factory, _, socket = self.connect()
        done = factory.drain(30)
        self.assertTrue(self.handler.made[0].transport.draining)
        self.pass_time(29)
        self.assertIsNone(socket.lost)
        self.pass_time(1.1)
        self.assertIsInstance(socket.lost, ConnectionDone)
        self.assertEqual(self.successResultOf(done), 1)

    def test_passed_on(self) -> None:
        """A trusted proxy says first where the client is; what comes behind that is the handler's."""
        for piece in (1, 1000):
            _, protocol, _ = self.connect("192.0.2.0/24")
            data = b"PROXY TCP4 203.0.113.7 192.0.2.9 40000 80\r\nhello"
            self.assertEqual(self.handler.made, [])
            for at in range(0, len(data), piece):
                protocol.dataReceived(data[at : at + piece])
            (recorder,) = self.handler.made
            self.assertEqual((recorder.data, recorder.transport.getPeer().host), (b"hello", "203.0.113.7"))
            self.assertIsInstance(recorder.transport.peer.proxy_header, ProxyHeader)
            protocol.connectionLost()


class ExitStatusTests(SynchronousTestCase):
    """The status of the process."""

    def test_status(self) -> None:
        """It ends as it would have, or with the status, last of all; by then no signal is heard any more."""
        last: list[Any] = []
        left: list[int] = []
        ignored: list[tuple[Any, ...]] = []
        status = ExitStatus(last.append, left.append, lambda *about: ignored.append(about))
        last[0]()
        self.assertEqual(left, [])
        self.assertEqual(ignored, [(signal.SIGTERM, signal.SIG_IGN), (signal.SIGINT, signal.SIG_IGN)])
        status.value = 1
        last[0]()
        self.assertEqual(left, [1])
