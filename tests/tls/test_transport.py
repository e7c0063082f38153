"""The promises of the TLS transport, kept under every peer; two real TLS ends in memory and a Clock."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IHandshakeListener,
    INegotiated,
    IOpenSSLContextFactory,
    IPushProducer,
    ISSLTransport,
    ISystemHandle,
    ITCPTransport,
)
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.basic import LineOnlyReceiver
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mytls.errors import Cause, TLSFailure
from mytls.events import Closed, Event, HandlerFailed, HandshakeFailed, Observers
from mytls.guards.deadlines import Deadline
from mytls.handlers.builtin import EchoFactory
from mytls.hosts import Host, Hosts
from mytls.listener import TLSFactory
from mytls.settings import Deadlines
from mytls.tls import transport as transport_module
from mytls.tls import tunnel as tunnel_module
from mytls.tls.contexts import connection_maker
from mytls.tls.transport import MAX_HELD
from tests.memory import (
    Link,
    Producer,
    Recorder,
    RecorderFactory,
    SocketInMemory,
    client_context,
    key_pair,
    tls_options,
)
from tests.tls.records import ALERT, DATA, RecordWriter

TLS12, TLS13 = SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION
ALLOW_CLIENT_RENEGOTIATION = 1 << 8  # SSL_OP_ALLOW_CLIENT_RENEGOTIATION, which pyOpenSSL does not export


@implementer(IHalfCloseableProtocol)
class HalfCloser(Recorder):
    """A handler that knows of half-close and decides by itself when to end."""

    def readConnectionLost(self) -> None:
        self.told.append("peer finished")

    def writeConnectionLost(self) -> None:
        self.told.append("we finished")


class Answerer(Recorder):
    """Answers each piece at once."""

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.transport.write(b"<" + data + b">")  # type: ignore[union-attr]


def made(make: Any) -> RecorderFactory:
    return RecorderFactory(make)


def established(make: Any = Recorder, **words: Any) -> Link:
    link = Link(made(make), **words)
    link.handshake()
    return link


class TransportCase(SynchronousTestCase):
    """What follows is promised of the tunnel through the door; L{PublicDoorTests} runs it all without."""


class InterfaceTests(TransportCase):
    """What Twisted's interfaces ask for."""

    def test_interfaces(self) -> None:
        """The transport provides what Twisted's TLS transports provide."""
        link = established()
        for interface in (ITCPTransport, ISSLTransport, INegotiated, IConsumer, IPushProducer, ISystemHandle):
            verifyObject(interface, link.transport)

    def test_addresses_and_options(self) -> None:
        """Addresses and TCP options are those of the connection below."""
        link = established()
        transport = link.transport
        self.assertEqual(transport.getHost(), link.socket.getHost())
        self.assertEqual(transport.getPeer(), link.socket.getPeer())
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        self.assertTrue(transport.getTcpNoDelay() and link.socket.no_delay)
        self.assertTrue(transport.getTcpKeepAlive() and link.socket.keep_alive)

    def test_handle_and_certificate(self) -> None:
        """The handle is pyOpenSSL's connection; a client without a certificate has none."""
        link = established()
        self.assertIsInstance(link.transport.getHandle(), SSL.Connection)
        self.assertIsNone(link.transport.getPeerCertificate())

    def test_negotiated_protocol(self) -> None:
        """ALPN's result is bytes, or None where there is none."""
        options = tls_options()
        self.assertIsNone(established(options=options, alpn=[b"h2"]).transport.negotiatedProtocol)

        class Offers(RecorderFactory):
            def acceptableProtocols(self) -> list[bytes]:
                return [b"h2", b"http/1.1"]

        from twisted.internet.interfaces import IProtocolNegotiationFactory

        factory = implementer(IProtocolNegotiationFactory)(Offers)()
        link = Link(factory, alpn=[b"http/1.1", b"h2"])
        link.handshake()
        self.assertEqual(link.transport.negotiatedProtocol, b"h2")
        self.assertEqual(link.transport.peer.alpn, "h2")  # type: ignore[union-attr]

    def test_peer_before_connection_made(self) -> None:
        """The handler is connected after the handshake, and C{connectionMade} has the peer's identity."""
        seen: list[Any] = []

        class Looks(Recorder):
            def connectionMade(self) -> None:
                seen.append(self.transport.peer)  # type: ignore[union-attr]

        link = Link(made(Looks))
        self.assertEqual(link.handlers, [])
        link.handshake()
        self.assertEqual(seen[0].version, "TLSv1.3")
        self.assertEqual(seen[0].server_name, "localhost")

    def test_fileno_without_socket(self) -> None:
        """Over a transport without a descriptor it is -1."""
        self.assertEqual(established().transport.fileno(), -1)


class WritingTests(TransportCase):
    """Writes from everywhere."""

    def test_write_in_connection_made(self) -> None:
        """What the handler writes when it is connected arrives, in one segment with our last handshake messages."""

        class Greets(Recorder):
            def connectionMade(self) -> None:
                self.transport.write(b"hel")  # type: ignore[union-attr]
                self.transport.write(b"lo")  # type: ignore[union-attr]

        link = established(Greets)
        self.assertEqual(bytes(link.received), b"hello")
        self.assertEqual(len(link.socket.writes), 2)

    def test_write_in_handshake_completed(self) -> None:
        """C{IHandshakeListener} is told after C{connectionMade}, and may write."""

        @implementer(IHandshakeListener)
        class Listens(Recorder):
            def handshakeCompleted(self) -> None:
                self.told.append("handshake completed")
                self.transport.write(b"hello")  # type: ignore[union-attr]

        link = established(Listens)
        self.assertEqual(link.recorder.told, ["made", "handshake completed"])
        self.assertEqual(bytes(link.received), b"hello")

    def test_write_in_data_received(self) -> None:
        """Answers to one piece go out together, in order."""

        class Twice(Recorder):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(b"one ")  # type: ignore[union-attr]
                self.transport.write(b"two")  # type: ignore[union-attr]

        link = established(Twice)
        before = len(link.socket.writes)
        link.client.send(b"?")
        link.pump()
        self.assertEqual(bytes(link.received), b"one two")
        self.assertEqual(len(link.socket.writes) - before, 1)

    def test_write_in_connection_lost(self) -> None:
        """A write when all is over is dropped, and harms nobody."""

        class Late(Recorder):
            def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008  # as Twisted's
                super().connectionLost(reason)
                self.transport.write(b"too late")  # type: ignore[union-attr]
                self.transport.loseConnection()  # type: ignore[union-attr]
                self.transport.abortConnection()  # type: ignore[union-attr]

        link = established(Late)
        link.reset()
        self.assertIsInstance(link.recorder.lost, ConnectionLost)

    def test_write_later(self) -> None:
        """A write out of nowhere is sent at once."""
        link = established()
        link.transport.write(b"news")
        self.assertTrue(link.socket.wire)
        link.pump()
        self.assertEqual(bytes(link.received), b"news")

    def test_write_sequence(self) -> None:
        """All pieces, in order."""
        link = established()
        link.transport.writeSequence([b"a", b"b", b"c"])
        link.pump()
        self.assertEqual(bytes(link.received), b"abc")

    def test_write_large(self) -> None:
        """A write larger than any buffer of ours arrives whole."""
        link = established()
        data = bytes(range(256)) * 4096
        link.transport.write(data)
        link.pump()
        self.assertEqual(bytes(link.received), data)

    def test_write_kinds(self) -> None:
        """Bytes-like values are taken; text is a TypeError, before and after the connection's end."""
        link = established()
        link.transport.write(bytearray(b"ab"))  # type: ignore[arg-type]  # on purpose
        link.transport.write(memoryview(b"cd"))  # type: ignore[arg-type]  # on purpose
        link.transport.write(b"")
        with self.assertRaises(TypeError):
            link.transport.write("text")  # type: ignore[arg-type]  # on purpose
        link.pump()
        self.assertEqual(bytes(link.received), b"abcd")
        link.transport.loseConnection()
        with self.assertRaises(TypeError):
            link.transport.write("text")  # type: ignore[arg-type]  # on purpose

    def test_counts(self) -> None:
        """The event at the end counts plaintext both ways."""
        link = established(Answerer)
        link.client.send(b"12345")
        link.pump()
        link.client.shutdown()
        link.pump()
        link.fin()
        closed = link.events[-1]
        assert isinstance(closed, Closed)
        self.assertEqual((closed.bytes_in, closed.bytes_out, closed.cause), (5, 7, None))


class ReadingTests(TransportCase):
    """Reads, and the documentation's notes on non-blocking TLS."""

    def test_handshake_in_single_bytes(self) -> None:
        """A handshake that comes byte by byte is a handshake."""
        link = Link(made(Answerer))
        link.handshake(piece=1)
        link.client.send(b"x")
        link.pump(piece=1)
        self.assertEqual(bytes(link.received), b"<x>")

    def test_partial_record(self) -> None:
        """Half a record is nothing yet; the other half makes it whole."""
        link = established()
        link.client.send(b"hello")
        out = link.outgoing()
        link.to_server(out[:10])
        self.assertEqual(link.recorder.data, b"")
        link.to_server(out[10:])
        self.assertEqual(link.recorder.data, b"hello")

    def test_data_with_finished(self) -> None:
        """Data in the segment of the client's Finished is delivered, once, after C{connectionMade}."""
        link = Link(made(Answerer))
        with self.assertRaises(SSL.WantReadError):
            link.client.do_handshake()
        link.to_server(link.outgoing())
        link.to_client()
        link.client.do_handshake()
        link.client.send(b"early bird")
        link.to_server(link.outgoing())
        self.assertEqual(link.recorder.told, ["made", ("data", b"early bird")])

    def test_data_close_notify_and_fin_in_one_segment(self) -> None:
        """All data before a close_notify is delivered, in order, then the end."""
        link = Link(made(Recorder))
        with self.assertRaises(SSL.WantReadError):
            link.client.do_handshake()
        link.to_server(link.outgoing())
        link.to_client()
        link.client.do_handshake()
        for number in range(5):
            link.client.send(b"piece %d;" % number)
        link.client.shutdown()
        link.to_server(link.outgoing())
        link.fin()
        recorder = link.recorder
        self.assertEqual(recorder.data, b"".join(b"piece %d;" % number for number in range(5)))
        self.assertIsInstance(recorder.lost, ConnectionDone)

    def test_drains_before_waiting(self) -> None:
        """Plaintext that waits in OpenSSL while the socket is silent is delivered: many records, one segment."""
        link = established()
        for number in range(200):
            link.client.send(b"%03d" % number)
        link.to_server(link.outgoing())
        self.assertEqual(link.recorder.data, b"".join(b"%03d" % number for number in range(200)))

    def test_large_segment(self) -> None:
        """More than one read's worth in one segment is delivered whole and in order."""
        link = established()
        data = bytes(range(251)) * 3000
        link.client.sendall(data)
        link.to_server(link.outgoing())
        self.assertEqual(link.recorder.data, data)

    def test_pause_stops_delivery_at_once(self) -> None:
        """After C{pauseProducing} nothing is delivered, not even what is decrypted, and the socket is not read."""

        class Pauses(Recorder):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.transport.pauseProducing()  # type: ignore[union-attr]

        link = established(Pauses)
        data = b"x" * (tunnel_module.READ_SIZE * 3)
        link.client.sendall(data)
        link.to_server(link.outgoing())
        first = len(link.recorder.data)
        self.assertTrue(0 < first < len(data))
        self.assertFalse(link.socket.reading)
        for _ in range(5):
            link.turn()
        self.assertEqual(len(link.recorder.data), first)
        while len(link.recorder.data) < len(data):
            before = len(link.recorder.data)
            link.transport.resumeProducing()
            self.assertEqual(len(link.recorder.data), before, "resumeProducing delivers in a later turn")
            link.turn()
            self.assertGreater(len(link.recorder.data), before)
        self.assertEqual(link.recorder.data, data)
        link.transport.resumeProducing()
        link.turn()
        self.assertTrue(link.socket.reading)

    def test_words_of_twisteds_sockets(self) -> None:
        """C{stopReading} and C{startReading}, which Twisted's TLS transports have from their sockets, are taken too."""
        link = established()
        link.transport.stopReading()
        link.client.send(b"later")
        link.to_server(link.outgoing())
        self.assertEqual((link.recorder.data, link.socket.reading), (b"", False))
        link.transport.startReading()
        link.turn()
        self.assertEqual((link.recorder.data, link.socket.reading), (b"later", True))

    def test_pause_and_resume_in_one_turn(self) -> None:
        """Pausing and resuming within one turn loses nothing and reads on."""
        link = established()
        link.transport.pauseProducing()
        link.transport.resumeProducing()
        link.turn()
        self.assertTrue(link.socket.reading)
        link.client.send(b"on")
        link.pump()
        self.assertEqual(link.recorder.data, b"on")

    def test_paused_then_close_notify(self) -> None:
        """A close_notify that came while the handler was paused waits its turn behind the data."""
        link = established(HalfCloser)
        link.transport.pauseProducing()
        link.client.send(b"last words")
        link.client.shutdown()
        link.to_server(link.outgoing())
        self.assertEqual(link.recorder.told, ["made"])
        link.transport.resumeProducing()
        link.turn()
        self.assertEqual(link.recorder.told, ["made", ("data", b"last words"), "peer finished"])

    def test_write_that_must_read_first(self) -> None:
        """A write in the middle of a renegotiation waits for the peer's messages, and is sent then, in order."""
        link = self._renegotiating()
        link.transport.write(b"while we ")
        link.transport.write(b"negotiate")
        link.pump()
        self.assertEqual(bytes(link.received), b"while we negotiate")

    def test_close_waits_for_a_write_that_must_read_first(self) -> None:
        """C{loseConnection} in the middle of a renegotiation still delivers what was written."""
        link = self._renegotiating()
        link.transport.write(b"everything")
        link.transport.loseConnection()
        link.pump()
        self.assertEqual(bytes(link.received), b"everything")
        self.assertTrue(link.peer_finished)

    def _renegotiating(self) -> Link:
        """A server that allows renegotiation, in the middle of one that the client has begun."""
        link = Link(made(Recorder), options=_Renegotiable(), context=client_context(TLS12))
        link.handshake()
        link.client.renegotiate()
        with self.assertRaises(SSL.WantReadError):
            link.client.do_handshake()
        link.to_server(link.outgoing())
        return link

    def test_read_that_must_write_first(self) -> None:
        """
        KeyUpdates that want an answer are answered although the handler writes nothing, and data goes on. (OpenSSL
        keeps the answer to the first until something follows.)
        """
        link, writer = RecordWriter.on_new_link(handler=made(Recorder))
        link.socket.writes.clear()
        link.to_server(writer.key_update() + writer.key_update() + writer.record(DATA, b"new keys"))
        self.assertEqual(link.recorder.data, b"new keys")
        self.assertEqual(len(link.socket.writes), 1)
        link.transport.write(b"mine too")
        link.to_client()
        link.read_client()
        self.assertEqual(bytes(link.received), b"mine too")


@implementer(IOpenSSLContextFactory)
class _Renegotiable:
    """A context of the user's own, which allows what ours refuse."""

    def __init__(self) -> None:
        self.context = SSL.Context(SSL.TLS_METHOD)
        pair = key_pair()
        self.context.use_certificate(pair.certificate)
        self.context.use_privatekey(pair.key)  # type: ignore[arg-type]
        self.context.set_options(ALLOW_CLIENT_RENEGOTIATION)

    def getContext(self) -> SSL.Context:
        return self.context


class ProducerTests(TransportCase):
    """Backpressure, upward and downward."""

    def test_twice_is_an_error(self) -> None:
        """A second producer is refused while the first is registered."""
        link = established()
        link.transport.registerProducer(Producer(), True)
        with self.assertRaises(RuntimeError):
            link.transport.registerProducer(Producer(), True)
        link.transport.unregisterProducer()
        link.transport.registerProducer(Producer(), True)

    def test_push_producer(self) -> None:
        """A push producer is paused when the peer does not read, and resumed when it does."""
        link = established()
        producer = Producer()
        link.transport.registerProducer(producer, True)
        link.socket.peer_reads = False
        link.transport.write(b"x" * 100_000)
        self.assertEqual(producer.asked, ["pause"])
        self.assertTrue(link.socket.reading, "a registered producer does not stop the reading")
        link.socket.peer_reads = True
        link.socket.flush()
        self.assertEqual(producer.asked, ["pause", "resume"])

    def test_push_producer_registered_late(self) -> None:
        """A producer that is registered while the peer does not read is paused at once."""
        link = established()
        link.socket.peer_reads = False
        link.transport.write(b"x" * 100_000)
        producer = Producer()
        link.transport.registerProducer(producer, True)
        self.assertEqual(producer.asked, ["pause"])

    def test_pull_producer(self) -> None:
        """A pull producer is asked for one piece a turn, while there is room, until it is through."""
        link = established()
        transport = link.transport

        class Pulls(Producer):
            def resumeProducing(self) -> None:
                super().resumeProducing()
                transport.write(b"piece;")
                if len(self.asked) == 3:
                    transport.unregisterProducer()

        producer = Pulls()
        transport.registerProducer(producer, False)
        for _ in range(5):
            link.turn()
        link.pump()
        self.assertEqual(producer.asked, ["resume"] * 3)
        self.assertEqual(bytes(link.received), b"piece;" * 3)

    def test_pull_producer_waits_for_room(self) -> None:
        """A pull producer is not asked while the peer does not read."""
        link = established()
        transport = link.transport

        class Pulls(Producer):
            def resumeProducing(self) -> None:
                super().resumeProducing()
                transport.write(b"x" * 40_000)

        producer = Pulls()
        link.socket.peer_reads = False
        transport.registerProducer(producer, False)
        for _ in range(10):
            link.turn()
        asked = len(producer.asked)
        self.assertLessEqual(asked, 3)
        link.socket.peer_reads = True
        link.socket.flush()
        self.assertGreater(len(producer.asked), asked)

    def test_close_waits_for_producer(self) -> None:
        """C{loseConnection} lets a registered producer finish."""
        link = established()
        producer = Producer()
        link.transport.registerProducer(producer, True)
        link.transport.loseConnection()
        link.transport.write(b"and this")
        link.pump()
        self.assertFalse(link.peer_finished)
        link.transport.unregisterProducer()
        link.pump()
        self.assertEqual(bytes(link.received), b"and this")
        self.assertTrue(link.peer_finished)

    def test_stop_producing(self) -> None:
        """When the connection is lost the producer is stopped, once, before C{connectionLost}."""
        link = established()
        producer = Producer()
        link.transport.registerProducer(producer, True)
        link.reset()
        self.assertEqual(producer.asked, ["stop"])

    def test_register_when_lost(self) -> None:
        """A producer that comes too late is stopped at once."""
        link = established()
        link.reset()
        producer = Producer()
        link.handlers[0].transport.registerProducer(producer, True)
        self.assertEqual(producer.asked, ["stop"])

    def test_naive_handler_is_bounded(self) -> None:
        """Who does not read is not read from, even where the handler has no idea of backpressure."""
        link = established(Answerer)
        link.socket.peer_reads = False
        for _ in range(1000):
            if not link.socket.reading:
                break
            link.client.send(b"x" * 10_000)
            link.to_server(link.outgoing())
        self.assertFalse(link.socket.reading)
        self.assertLess(len(link.socket.buffer), 200_000)
        link.socket.peer_reads = True
        link.socket.flush()
        link.turn()
        self.assertTrue(link.socket.reading)

    def test_echo_is_bounded(self) -> None:
        """The echo handler too: it is its own producer, and its end is not delayed by that."""
        link = Link(EchoFactory())
        link.handshake()
        link.socket.peer_reads = False
        for _ in range(100):
            link.client.send(b"x" * 10_000)
            if link.socket.reading:
                link.to_server(link.outgoing())
        self.assertFalse(link.socket.reading)
        link.socket.peer_reads = True
        link.socket.flush()
        link.turn()
        link.pump()
        self.assertEqual(len(link.received), 1_000_000)
        link.client.shutdown()
        link.pump()
        self.assertTrue(link.peer_finished)

    def test_stop_producing_closes(self) -> None:
        """C{stopProducing} on the transport is C{loseConnection}."""
        link = established()
        link.transport.stopProducing()
        link.pump()
        self.assertTrue(link.peer_finished)


class ClosingTests(TransportCase):
    """The end, however it comes."""

    def test_lose_connection(self) -> None:
        """All that was written, then close_notify, then FIN; C{ConnectionDone} when the peer has answered."""
        link = established()
        link.transport.write(b"last")
        link.transport.loseConnection()
        self.assertTrue(link.transport.disconnecting)
        link.pump()
        self.assertEqual(bytes(link.received), b"last")
        self.assertTrue(link.peer_finished and link.socket.fin_sent)
        self.assertIsNone(link.recorder.lost)
        link.client.shutdown()
        link.pump()
        self.assertIsInstance(link.recorder.lost, ConnectionDone)
        self.assertIsNone(link.events[-1].cause)  # type: ignore[attr-defined]

    def test_lose_connection_in_data_received(self) -> None:
        """The answer, then the end; nothing is delivered after it."""

        class Bye(Recorder):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.transport.write(b"bye")  # type: ignore[union-attr]
                self.transport.loseConnection()  # type: ignore[union-attr]
                self.transport.write(b"not this")  # type: ignore[union-attr]

        link = established(Bye)
        link.client.send(b"1")
        link.pump()
        link.client.send(b"2")
        link.pump()
        self.assertEqual(bytes(link.received), b"bye")
        self.assertEqual(link.recorder.data, b"1")

    def test_lose_connection_in_connection_made(self) -> None:
        """A handler may end before it begins."""

        class Bye(Recorder):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.transport.loseConnection()  # type: ignore[union-attr]

        link = established(Bye)
        self.assertTrue(link.peer_finished)

    def test_silent_peer_cannot_hold_the_close(self) -> None:
        """Without the peer's close_notify the socket is gone at the close deadline, as a lost connection."""
        link = established()
        link.transport.loseConnection()
        link.to_client()
        link.clock.advance(4.9)
        self.assertIsNone(link.socket.lost)
        link.clock.advance(0.2)
        self.assertIsInstance(link.socket.lost, ConnectionDone)
        self.assertIsInstance(link.recorder.lost, ConnectionLost)

    def test_talking_peer_cannot_hold_the_close(self) -> None:
        """A peer that keeps sending after our close_notify is read, ignored, and gone at the close deadline."""
        link = established()
        link.transport.loseConnection()
        for _ in range(11):
            link.client.send(b"but wait")
            link.to_server(link.outgoing())
            link.clock.advance(0.5)
        self.assertIsNotNone(link.socket.lost)
        self.assertEqual(link.recorder.data, b"")

    def test_peer_that_never_reads_cannot_hold_the_close(self) -> None:
        """What a peer does not read until the close deadline is dropped with it."""
        link = established()
        link.socket.peer_reads = False
        link.transport.write(b"x" * 50_000)
        link.transport.loseConnection()
        link.clock.advance(5.1)
        self.assertIsInstance(link.socket.lost, ConnectionAborted)
        self.assertEqual(link.events[-1].cause, Cause.RESET)  # type: ignore[attr-defined]

    def test_slow_reader_gets_all(self) -> None:
        """A peer that reads slowly, but reads, is not cut: each deadline with progress begins anew."""
        link = established()
        link.socket.peer_reads = False
        link.transport.write(b"x" * 50_000)
        link.transport.loseConnection()
        while link.socket.buffer:
            self.assertIsNone(link.socket.lost)
            link.socket.wire += link.socket.buffer[:10_000]
            del link.socket.buffer[:10_000]
            link.clock.advance(5.1)
        link.pump()
        self.assertEqual(len(link.received), 50_000)

    def test_fin_after_our_close(self) -> None:
        """A peer that answers our close_notify with a bare FIN ends the connection at once; it sent no close_notify."""
        link = established()
        link.transport.loseConnection()
        link.fin()
        self.assertIsInstance(link.socket.lost, ConnectionDone)
        self.assertIsInstance(link.recorder.lost, ConnectionLost)
        self.assertIsNone(link.events[-1].cause)  # type: ignore[attr-defined]

    def test_peer_closes(self) -> None:
        """The peer's close_notify is answered by ours, and the handler hears C{ConnectionDone}."""
        link = established()
        link.client.shutdown()
        link.pump()
        self.assertTrue(link.peer_finished)
        self.assertIsInstance(link.recorder.lost, ConnectionDone)

    def test_truncated_and_carried_on(self) -> None:
        """A handler that takes a FIN for an end like any other may answer; the event still says that it was none."""
        link = established()
        recorder: Any = link.recorder
        recorder.carries_truncation_on = True
        link.fin()
        link.transport.loseConnection()
        link.pump()
        closed: Any = link.events[-1]
        self.assertEqual(closed.cause, Cause.EOF)
        self.assertEqual(closed.detail, "truncated: the peer closed the connection without close_notify")

    def test_truncated(self) -> None:
        """A FIN without close_notify is C{ConnectionLost}, and what was written still goes out."""
        link = established()
        link.socket.peer_reads = False
        link.transport.write(b"still yours")
        link.fin()
        self.assertIsNone(link.recorder.lost)
        link.socket.peer_reads = True
        link.socket.flush()
        self.assertIsInstance(link.recorder.lost, ConnectionLost)
        self.assertEqual(link.events[-1].cause, Cause.EOF)  # type: ignore[attr-defined]
        link.to_client()
        link.read_client()
        self.assertEqual(bytes(link.received), b"still yours")

    def test_truncated_and_never_read(self) -> None:
        """A peer that has sent its FIN and does not read the rest is gone at the close deadline."""
        link = established()
        link.socket.peer_reads = False
        link.transport.write(b"still yours")
        link.fin()
        link.clock.advance(5.1)
        self.assertIsInstance(link.socket.lost, ConnectionAborted)

    def test_reset(self) -> None:
        """A reset is C{ConnectionLost}."""
        link = established()
        link.reset()
        self.assertIsInstance(link.recorder.lost, ConnectionLost)
        self.assertEqual(link.events[-1].cause, Cause.RESET)  # type: ignore[attr-defined]

    def test_abort(self) -> None:
        """C{abortConnection} drops at once: nothing more is sent, and the reason is C{ConnectionAborted}."""
        link = established()
        link.socket.peer_reads = False
        link.transport.write(b"never")
        link.transport.abortConnection()
        self.assertEqual(link.socket.buffer, b"")
        self.assertIsInstance(link.recorder.lost, ConnectionAborted)

    def test_abort_in_connection_made(self) -> None:
        """A handler may abort at once."""

        class Aborts(Recorder):
            def connectionMade(self) -> None:
                self.transport.abortConnection()  # type: ignore[union-attr]

        link = Link(made(Aborts))
        with self.assertRaises(SSL.WantReadError):
            link.client.do_handshake()
        link.pump()
        link.client.do_handshake()
        link.to_server(link.outgoing())
        self.assertIsInstance(link.recorder.lost, ConnectionAborted)

    def test_abort_in_data_received(self) -> None:
        """After an abort nothing is delivered, whatever had come."""

        class Aborts(Recorder):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.transport.abortConnection()  # type: ignore[union-attr]

        link = established(Aborts)
        link.client.sendall(b"x" * (tunnel_module.READ_SIZE * 2))
        link.to_server(link.outgoing())
        self.assertLessEqual(len(link.recorder.data), tunnel_module.READ_SIZE)

    def test_fail_verification(self) -> None:
        """Whoever verifies a peer can end the connection with a reason of its own."""
        link = established()
        link.transport.failVerification(Failure(ValueError("not you")))
        self.assertIsInstance(link.recorder.lost, ValueError)

    def test_transport_that_does_not_close(self) -> None:
        """A transport below that was asked to close and has not is aborted at the close deadline."""
        link = established()
        link.socket.peer_reads = False
        link.socket.buffer += b"what the transport does not tell of"
        link.socket.queued = lambda: 0  # type: ignore[method-assign]
        link.client.shutdown()
        link.to_server(link.outgoing())
        self.assertIsNone(link.socket.lost)
        link.clock.advance(5.1)
        self.assertIsInstance(link.socket.lost, ConnectionAborted)

    def test_unknown_transport_below(self) -> None:
        """Over a transport without half-close and without a queue to look at, closing works as well as it can."""
        link = established()
        self.assertTrue(link.socket.fin_sent is False)
        plain = StringTransport()
        factory = RecorderFactory()
        maker = Link(factory).factory
        protocol = maker.buildProtocol(None)
        protocol.makeConnection(plain)
        protocol.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        self.assertTrue(plain.disconnecting)
        protocol.connectionLost(Failure(ConnectionDone()))


class BecauseTests(TransportCase):
    """A handler whose conversation has failed ends it with a reason."""

    def ended(self, link: Link) -> tuple[Any, str]:
        """The cause and the detail of the last event."""
        event = link.events[-1]
        assert isinstance(event, Closed)
        return event.cause, event.detail

    def test_end_because(self) -> None:
        """All that was written, then FIN, and no close_notify; the reason is the event's and the handler's."""
        link = established()
        link.socket.peer_reads = False
        link.transport.write(b"x" * 100_000)
        link.transport.end_because(Cause.HANDLER, "it has failed")
        self.assertTrue(link.transport.disconnecting)
        link.transport.write(b"not this")
        link.socket.peer_reads = True
        link.socket.flush()
        link.pump()
        self.assertEqual((len(link.received), link.peer_finished), (100_000, False))
        self.assertTrue(link.socket.fin_sent)
        self.assertIsNone(link.recorder.lost)
        link.fin()
        self.assertEqual(self.ended(link), (Cause.HANDLER, "it has failed"))
        self.assertIsInstance(link.recorder.lost, ConnectionLost)
        self.assertEqual(str(link.recorder.lost.args[0]), "it has failed")

    def test_while_a_piece_is_delivered(self) -> None:
        """The answer to that piece is sent too."""

        class Fails(Recorder):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(b"half an ans")  # type: ignore[union-attr]
                self.transport.end_because(Cause.HANDLER, "it has failed")  # type: ignore[union-attr]

        link = established(Fails)
        link.client.send(b"1")
        link.pump()
        self.assertEqual((bytes(link.received), link.peer_finished), (b"half an ans", False))
        link.client.shutdown()
        link.pump()
        link.fin()
        self.assertEqual(self.ended(link), (Cause.HANDLER, "it has failed"))

    def test_before_anything(self) -> None:
        """Also when it has just met its client."""

        class Fails(Recorder):
            def connectionMade(self) -> None:
                self.transport.end_because(Cause.HANDLER, "it has failed")  # type: ignore[union-attr]

        link = established(Fails)
        self.assertTrue(link.socket.fin_sent)
        self.assertFalse(link.peer_finished)
        link.reset()
        self.assertEqual(self.ended(link), (Cause.HANDLER, "it has failed"))

    def test_producer(self) -> None:
        """What a registered producer still has to say is waited for, as by C{loseConnection}."""
        link = established()
        link.transport.registerProducer(Producer(), True)
        link.transport.end_because(Cause.HANDLER, "it has failed")
        link.transport.write(b"the rest")
        self.assertFalse(link.socket.fin_sent)
        link.transport.unregisterProducer()
        link.pump()
        self.assertEqual((bytes(link.received), link.peer_finished, link.socket.fin_sent), (b"the rest", False, True))

    def test_held(self) -> None:
        """Who does not read is cut at the close deadline, and the reason stays the first."""
        link = established()
        link.socket.peer_reads = False
        link.transport.write(b"x" * 100)
        link.transport.end_because(Cause.HANDLER, "it has failed")
        link.clock.advance(5.1)
        self.assertIsInstance(link.socket.lost, ConnectionAborted)
        self.assertEqual(self.ended(link), (Cause.HANDLER, "it has failed"))

    def test_abort_because(self) -> None:
        """At once, with what is unsent; the reason is the event's."""
        link = established()
        link.socket.peer_reads = False
        link.transport.write(b"never")
        link.transport.abort_because(Cause.BACKEND_REFUSED, "nobody is there")
        self.assertEqual((link.socket.buffer, type(link.socket.lost)), (b"", ConnectionAborted))
        self.assertEqual(self.ended(link), (Cause.BACKEND_REFUSED, "nobody is there"))

    def test_first_reason(self) -> None:
        """The first reason counts; one that comes when all is over is none."""
        link = established()
        link.transport.end_because(Cause.HANDLER, "first")
        link.transport.abort_because(Cause.BACKEND_TIMEOUT, "second")
        self.assertEqual(self.ended(link), (Cause.HANDLER, "first"))
        link = established()
        link.transport.loseConnection()
        link.transport.end_because(Cause.HANDLER, "too late")
        link.pump()
        self.assertTrue(link.peer_finished)
        link.fin()
        self.assertEqual(self.ended(link), (None, ""))


class DismissTests(TransportCase):
    """C{dismiss}: the peer may not be here any more."""

    def test_at_once(self) -> None:
        """The handler hears of it at once, once; its producer stops; what it writes from then on goes nowhere."""
        link = established()
        handler, transport, producer = link.handlers[0], link.transport, Producer()
        transport.registerProducer(producer, True)
        transport.write(b"before")
        transport.dismiss(Cause.REVOKED, "it was revoked")
        transport.write(b"after")
        self.assertIsInstance(handler.lost, ConnectionLost)
        self.assertEqual(producer.asked, ["stop"])
        self.assertIsNone(link.socket.lost)
        link.pump()
        self.assertEqual((bytes(link.received), link.peer_finished, link.socket.fin_sent), (b"before", False, True))
        link.client.send(b"more")
        link.pump()
        self.assertEqual(handler.data, b"")
        link.fin()
        self.assertEqual((link.events[-1].cause, link.events[-1].detail), (Cause.REVOKED, "it was revoked"))  # type: ignore[attr-defined]

    def test_who_holds_on(self) -> None:
        """A peer that does not go is cut when the close deadline is over."""
        link = established()
        link.transport.dismiss(Cause.REVOKED, "it was revoked")
        link.clock.advance(11)
        self.assertIsNotNone(link.socket.lost)

    def test_too_late(self) -> None:
        """After the end it does nothing."""
        link = established()
        link.transport.abortConnection()
        link.transport.dismiss(Cause.REVOKED, "it was revoked")
        self.assertIs(link.events[-1].cause, Cause.RESET)  # type: ignore[attr-defined]


class HeldTests(TransportCase):
    """Between the handshake and the handler: what comes while it is not decided."""

    def held(self, make: Any = Recorder, **said: Any) -> Link:
        """A client whose handshake is done, and about whom nothing is decided."""
        self.answer: Deferred[object] = Deferred()
        events: list[Event] = []
        handler, clock = made(make), Clock()
        host = Host(connection_maker(tls_options()), policies=(_Undecided(self.answer),))
        factory = TLSFactory(Hosts(host), handler, clock, Deadlines(policy=0, **said), Observers([events.append]))
        link = Link(handler=handler, clock=clock, factory=factory)
        link.events = events
        link.handshake()
        self.assertEqual(link.handlers, [])
        return link

    def tls(self, link: Link) -> Any:
        return link.protocol._tls

    def decide(self, link: Link) -> None:
        self.answer.callback(True)
        link.turn()
        link.pump()

    def says_all(self, link: Link, data: bytes) -> None:
        """Data, close_notify and a FIN, in one piece."""
        for at in range(0, len(data), 16384):
            link.client.send(data[at : at + 16384])
        link.client.shutdown()
        link.to_server(link.outgoing())
        link.fin()

    def test_kept_up_to_a_bound(self) -> None:
        """What comes is kept, up to a bound; then the socket is not read. All of it is delivered once, in order."""
        link = self.held()
        sent = b""
        while link.socket.reading:
            piece = bytes([len(sent) % 251]) * 4000
            link.client.send(piece)
            link.pump()
            sent += piece
        self.assertTrue(MAX_HELD - 5000 < len(sent) < MAX_HELD + 5000, len(sent))
        self.decide(link)
        self.assertTrue(link.socket.reading)
        link.client.send(b"more")
        link.pump()
        self.assertEqual(link.recorder.data, sent + b"more")

    def test_is_read_on(self) -> None:
        """A peer that says little is read on, so that its end is noticed."""
        link = self.held()
        link.client.send(b"hello")
        link.pump()
        self.assertTrue(link.socket.reading)

    def test_ends(self) -> None:
        """A reset, a FIN, and a FIN after close_notify alone, lose the connection at once."""
        for end, cause in ((Link.reset, Cause.RESET), (Link.fin, Cause.EOF), (_finishes, Cause.EOF)):
            link = self.held()
            end(link)
            self.assertIsNotNone(link.socket.lost)
            self.assertTrue(self.answer.called, "the question is still asked")
            self.assertEqual(link.kinds(), ["Accepted", "HandshakeFailed"])
            self.assertEqual(link.events[-1].cause, cause)  # type: ignore[attr-defined]

    def test_cut_request(self) -> None:
        """A FIN without close_notify may be an attacker's: what has come before it is no request."""
        link = self.held()
        link.client.send(b"hello")
        link.pump()
        link.fin()
        self.assertIsNotNone(link.socket.lost)
        self.assertEqual(link.kinds(), ["Accepted", "HandshakeFailed"])

    def test_nonsense_before_the_end(self) -> None:
        """What breaks TLS and ends is lost, with the word for that."""
        link = self.held()
        link.to_server(b"\x17\x03\x03\x00\x20" + bytes(32))
        link.fin()
        self.assertIsNotNone(link.socket.lost)
        self.assertEqual(link.kinds(), ["Accepted", "HandshakeFailed"])
        self.assertNotEqual(link.events[-1].cause, Cause.EOF)  # type: ignore[attr-defined]

    def test_whole_request(self) -> None:
        """Data, close_notify and a FIN are a whole request: its answer is sent after the yes, and all ends well."""
        link = self.held(Answerer)
        self.says_all(link, b"hello")
        self.assertIsNone(link.socket.lost)
        self.decide(link)
        self.assertEqual((link.recorder.data, bytes(link.received)), (b"hello", b"<hello>"))
        self.assertIsInstance(link.recorder.lost, ConnectionDone)
        self.assertEqual(link.clock.getDelayedCalls(), [])

    def test_whole_request_for_a_slow_handler(self) -> None:
        """A handler that pauses gets a kept request piece by piece, and its end after the last."""

        class Pauses(HalfCloser):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.transport.pauseProducing()  # type: ignore[union-attr]

        sent = bytes(range(250)) * 2000
        link = self.held(Pauses)
        self.says_all(link, sent)
        self.decide(link)
        pieces = 0
        while "peer finished" not in link.recorder.told:
            self.assertGreater(len(link.recorder.told), pieces)
            pieces = len(link.recorder.told)
            link.recorder.transport.resumeProducing()  # type: ignore[union-attr]
            link.turn()
        self.assertGreater(pieces, 3)
        self.assertEqual((link.recorder.data, link.recorder.told[-1]), (sent, "peer finished"))
        link.transport.write(b"thanks")
        link.transport.loseConnection()
        link.pump()
        self.assertEqual(bytes(link.received), b"thanks")
        self.assertIsInstance(link.recorder.lost, ConnectionDone)

    def test_whole_request_that_nobody_decides(self) -> None:
        """It is kept for as long as a peer may take to answer our close, whatever the policy's own deadline is."""
        link = self.held(close=3)
        self.says_all(link, b"hello")
        link.clock.advance(2.9)
        self.assertIsNone(link.socket.lost)
        link.clock.advance(0.2)
        self.assertIsNotNone(link.socket.lost)
        self.assertEqual(link.clock.getDelayedCalls(), [])

    def test_decided_in_time(self) -> None:
        """That time is over with the decision."""
        link = self.held(HalfCloser, close=3)
        self.says_all(link, b"hello")
        self.decide(link)
        link.clock.advance(100)
        self.assertEqual((link.socket.lost, link.recorder.told[-1]), (None, "peer finished"))

    def test_closed(self) -> None:
        """To close what is not decided is to drop it: there is nobody to say goodbye for."""
        link = self.held()
        self.tls(link).loseConnection()
        self.assertIsInstance(link.socket.lost, ConnectionAborted)

    def test_released_late(self) -> None:
        """Whether the peer is still there is told with the decision, once."""
        link = self.held()
        tls = self.tls(link)
        self.assertTrue(tls.release())
        self.assertFalse(tls.release())
        tls.hold()
        link.reset()
        self.assertFalse(tls.release())

    def test_held_again(self) -> None:
        """Who is held again in the same turn is read no more than before."""
        link = self.held()
        while link.socket.reading:
            link.client.send(bytes(10000))
            link.pump()
        tls = self.tls(link)
        tls.release()
        tls.hold()
        link.turn()
        self.assertFalse(link.socket.reading)

    def test_released_while_the_peer_does_not_read(self) -> None:
        """Where too much is unsent at the decision the socket is not read before it is sent."""
        link = self.held()
        link.client.send(b"hello")
        link.pump()
        link.socket.producer.pauseProducing()
        self.decide(link)
        self.assertEqual((link.socket.reading, link.recorder.data), (False, b""))
        link.socket.producer.resumeProducing()
        link.turn()
        self.assertEqual((link.socket.reading, link.recorder.data), (True, b"hello"))


def _finishes(link: Link) -> None:
    link.client.shutdown()
    link.to_server(link.outgoing())
    link.fin()


class _Undecided:
    """A policy that answers when the test does."""

    written, digest = "p", b"p"

    def __init__(self, answer: Deferred[object]) -> None:
        self.decide = lambda peer, reactor: answer

    def stop(self) -> None:
        pass


class HalfCloseTests(TransportCase):
    """Half-close, in both versions of TLS."""

    versions = (TLS12, TLS13)

    def test_handler_decides(self) -> None:
        """After the peer's close_notify a handler that knows of half-close goes on writing until it is through."""
        for version in self.versions:
            link = established(HalfCloser, context=client_context(version))
            link.client.send(b"question")
            link.client.shutdown()
            link.pump()
            self.assertEqual(link.recorder.told, ["made", ("data", b"question"), "peer finished"])
            link.transport.write(b"a long ")
            link.turn()
            link.transport.write(b"answer")
            link.pump()
            self.assertEqual(bytes(link.received), b"a long answer")
            self.assertFalse(link.peer_finished)
            link.transport.loseConnection()
            link.pump()
            self.assertTrue(link.peer_finished)
            self.assertIsInstance(link.recorder.lost, ConnectionDone)

    def test_fin_after_close_notify(self) -> None:
        """The peer's FIN behind its close_notify takes nothing from the answer."""
        for version in self.versions:
            link = established(HalfCloser, context=client_context(version))
            link.client.shutdown()
            link.to_server(link.outgoing())
            link.fin()
            link.transport.write(b"answer")
            link.transport.loseConnection()
            link.to_client()
            link.read_client()
            self.assertEqual(bytes(link.received), b"answer")
            self.assertIsInstance(link.recorder.lost, ConnectionDone)

    def test_pull_producer_goes_on(self) -> None:
        """A pull producer's answer is finished after the peer's close_notify, also for other handlers."""
        link = established()
        transport = link.transport

        class Pulls(Producer):
            def resumeProducing(self) -> None:
                super().resumeProducing()
                transport.write(b"piece;")
                if len(self.asked) == 3:
                    transport.unregisterProducer()

        transport.registerProducer(Pulls(), False)
        link.client.shutdown()
        link.to_server(link.outgoing())
        link.fin()
        for _ in range(5):
            link.turn()
        link.to_client()
        link.read_client()
        self.assertEqual(bytes(link.received), b"piece;" * 3)
        self.assertTrue(link.peer_finished)
        self.assertIsInstance(link.recorder.lost, ConnectionDone)

    def test_push_producer_is_stopped(self) -> None:
        """A push producer, which might never end, is stopped by the peer's close_notify; what it wrote arrives."""
        link = established()
        producer = Producer()
        link.transport.registerProducer(producer, True)
        link.transport.write(b"so far")
        link.client.shutdown()
        link.pump()
        self.assertEqual(producer.asked, ["stop"])
        self.assertEqual(bytes(link.received), b"so far")
        self.assertIsInstance(link.recorder.lost, ConnectionDone)

    def test_our_half(self) -> None:
        """C{loseWriteConnection} sends close_notify, and the peer's data still comes."""
        link = established(HalfCloser)
        link.transport.write(b"that is all")
        link.transport.loseWriteConnection()
        link.transport.loseWriteConnection()
        self.assertEqual(link.recorder.told, ["made", "we finished"])
        link.to_client()
        link.read_client()
        self.assertTrue(link.peer_finished)
        self.assertEqual(bytes(link.received), b"that is all")
        link.client.send(b"I am not through")
        link.to_server(link.outgoing())
        self.assertEqual(link.recorder.data, b"I am not through")
        link.client.shutdown()
        link.to_server(link.outgoing())
        self.assertEqual(link.recorder.told[-2], "peer finished")
        self.assertIsInstance(link.recorder.lost, ConnectionDone)

    def test_both_halves_with_a_producer(self) -> None:
        """When both sides are finished a push producer has nobody to write to: it is stopped, and that is the end."""
        link = established(HalfCloser)
        producer = Producer()
        link.transport.registerProducer(producer, True)
        link.transport.loseWriteConnection()
        link.to_client()
        link.client.shutdown()
        link.to_server(link.outgoing())
        self.assertEqual(producer.asked, ["stop"])
        self.assertIsInstance(link.recorder.lost, ConnectionDone)

    def test_our_half_after_theirs(self) -> None:
        """C{loseWriteConnection} after the peer's close_notify ends the connection."""
        link = established(HalfCloser)
        link.client.shutdown()
        link.to_server(link.outgoing())
        link.transport.loseWriteConnection()
        self.assertIsInstance(link.recorder.lost, ConnectionDone)


class HandlerFailureTests(TransportCase):
    """A handler that raises ends its connection alone, with one traceback."""

    def _fails(self, make: Any, provoke: Any) -> Link:
        link = Link(made(make))
        link.handshake()
        provoke(link)
        errors = self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(len(errors), 1)
        link.pump()
        link.fin()
        self.assertIsNotNone(link.socket.lost)
        self.assertFalse(link.peer_finished, "half an answer must not look whole")
        self.assertEqual(link.events[-1].cause, Cause.HANDLER)  # type: ignore[attr-defined]
        self.assertEqual(sum(isinstance(event, HandlerFailed) for event in link.events), 1)
        return link

    def test_data_received(self) -> None:
        """In C{dataReceived}; it gets its own exception in C{connectionLost}."""

        class Raises(Recorder):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError

        def send(link: Link) -> None:
            link.client.send(b"x")
            link.pump()

        link = self._fails(Raises, send)
        self.assertIsInstance(link.recorder.lost, ZeroDivisionError)

    def test_what_was_written_before(self) -> None:
        """What the handler has written before it raised arrives."""

        class Raises(Recorder):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(b"half an answer")  # type: ignore[union-attr]
                raise ZeroDivisionError

        def send(link: Link) -> None:
            link.client.send(b"x")
            link.pump()

        self.assertEqual(bytes(self._fails(Raises, send).received), b"half an answer")

    def test_connection_made(self) -> None:
        """In C{connectionMade}."""

        class Raises(Recorder):
            def connectionMade(self) -> None:
                raise ZeroDivisionError

        self._fails(Raises, lambda link: None)

    def test_connection_lost(self) -> None:
        """In C{connectionLost}: one traceback, and the event of the end all the same."""

        class Raises(Recorder):
            def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008  # as Twisted's
                raise ZeroDivisionError

        link = established(Raises)
        link.reset()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIsInstance(link.events[-1], Closed)

    def test_elsewhere(self) -> None:
        """In a thread or a coroutine, told by C{handlerFailed}."""
        self._fails(Recorder, lambda link: link.transport.handlerFailed(Failure(ZeroDivisionError())))

    def test_build_protocol(self) -> None:
        """In the factory's C{buildProtocol}."""

        class Broken(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> Any:
                raise ZeroDivisionError

        link = Link(Broken())
        link.handshake()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        link.fin()
        self.assertIsInstance(link.events[-1], Closed)

    def test_no_protocol(self) -> None:
        """A factory that wants no connection closes it properly."""

        class Nobody(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> Any:
                return None

        link = Link(Nobody())
        link.handshake()
        link.pump()
        self.assertTrue(link.peer_finished)


class HostilePeerTests(TransportCase):
    """Bad bytes end their connection alone: an event with a cause, never a traceback."""

    def _ends(self, link: Link, cause: Cause) -> Any:
        self.assertEqual(self.flushLoggedErrors(), [])
        event = link.events[-1]
        self.assertEqual(event.cause, cause, event)  # type: ignore[attr-defined]
        return event

    def test_key_update_flood(self) -> None:
        """A flood of KeyUpdates without data is cut past the stated budget, and memory stays within it."""
        link, writer = RecordWriter.on_new_link(handler=made(Recorder))
        link.socket.peer_reads = False
        for _ in range(2_000):
            if link.socket.lost is not None:
                break
            link.to_server(writer.key_update())
        self.assertIsInstance(link.recorder.lost, ConnectionLost)
        self._ends(link, Cause.LIMIT)
        self.assertLess(sum(map(len, link.socket.writes)), transport_module.MAX_UNASKED + 5000)

    def test_key_update_flood_in_few_segments(self) -> None:
        """The same when many come in one segment."""
        link, writer = RecordWriter.on_new_link(handler=made(Recorder))
        for _ in range(40):
            link.to_server(b"".join(writer.key_update() for _ in range(500)))
        self._ends(link, Cause.LIMIT)

    def test_key_updates_between_data(self) -> None:
        """As many as one likes are fine where data comes in between and the answers are read."""
        link, writer = RecordWriter.on_new_link(handler=made(Recorder))
        for _ in range(3000):
            link.to_server(writer.key_update() + writer.record(DATA, b"x"))
        self.assertEqual(len(link.recorder.data), 3000)

    def test_key_updates_between_data_not_read(self) -> None:
        """Data in between does not help a peer that reads none of the answers."""
        link, writer = RecordWriter.on_new_link(handler=made(Recorder))
        link.transport.registerProducer(Producer(), True)
        link.socket.peer_reads = False
        for _ in range(20_000):
            if link.socket.lost is not None:
                break
            link.to_server(writer.key_update() + writer.record(DATA, b"x"))
        self._ends(link, Cause.LIMIT)
        self.assertLess(sum(map(len, link.socket.writes)), 65536 + transport_module.MAX_UNASKED + 5000)

    def test_empty_records(self) -> None:
        """Records without content by the hundred thousand are not read for long."""
        link, writer = RecordWriter.on_new_link(handler=made(Recorder))
        for _ in range(100):
            link.to_server(b"".join(writer.record(DATA, b"") for _ in range(50)))
            if link.socket.fin_sent:
                break
        self.assertTrue(link.socket.fin_sent)
        self.assertEqual(self.flushLoggedErrors(), [])
        link.fin()
        self._ends(link, Cause.BAD_HELLO)

    def test_garbage_after_handshake(self) -> None:
        """Bytes that are no record get an alert, and the handler hears of a lost connection."""
        link = established()
        link.to_server(b"\x17\x03\x03\x00\x20" + b"garbage!" * 4)
        link.fin()
        self.assertIsInstance(link.recorder.lost, ConnectionLost)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_renegotiation(self) -> None:
        """A client that asks to renegotiate is refused with no_renegotiation, and no traceback."""
        link = established(Answerer, context=client_context(TLS12))
        link.client.renegotiate()
        with self.assertRaises(SSL.WantReadError):
            link.client.do_handshake()
        link.to_server(link.outgoing())
        self.assertTrue(link.to_client())
        with self.assertRaises(SSL.Error) as refused:
            link.client.do_handshake()
        self.assertIn("no renegotiation", str(refused.exception))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_alerts_of_every_kind(self) -> None:
        """An alert of any level and description, before or after the handshake, ends at most the connection."""
        for level in (0, 1, 2, 255):
            for description in range(256):
                link = Link()
                link.to_server(bytes((21, 3, 1, 0, 2, level, description)))
                self.assertIsInstance(link.events[-1], HandshakeFailed)
        for description in (*range(130), 255):
            link, writer = RecordWriter.on_new_link(handler=made(Recorder))
            link.to_server(writer.record(ALERT, bytes((2, description))))
            link.fin()
            self.assertIsNotNone(link.recorder.lost)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_peer_alert_cause(self) -> None:
        """A fatal alert of the peer's is told as such, by its name."""
        link, writer = RecordWriter.on_new_link(handler=made(Recorder))
        link.to_server(writer.record(ALERT, bytes((2, 40))))
        link.fin()
        event = self._ends(link, Cause.PEER_ALERT)
        self.assertIn("alert handshake failure", event.detail)

    def test_old_version(self) -> None:
        """A client of TLS 1.1 gets the alert protocol_version."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        context.set_min_proto_version(SSL.TLS1_1_VERSION)
        context.set_max_proto_version(SSL.TLS1_1_VERSION)
        link = Link(context=context)
        with self.assertRaises(SSL.WantReadError):
            link.client.do_handshake()
        link.to_server(link.outgoing())
        self.assertEqual(bytes(link.socket.wire)[3:], bytes((0, 2, 2, 70)))
        self._ends(link, Cause.OLD_VERSION)

    def test_no_common_cipher(self) -> None:
        """A client that knows RSA alone, where our key is ECDSA, gets handshake_failure, and the cause is named."""
        context = client_context(TLS12)
        context.set_cipher_list(b"ECDHE-RSA-AES128-GCM-SHA256")
        link = Link(context=context, options=tls_options())
        with self.assertRaises(SSL.WantReadError):
            link.client.do_handshake()
        link.to_server(link.outgoing())
        self.assertEqual(bytes(link.socket.wire)[3:], bytes((0, 2, 2, 40)))
        self._ends(link, Cause.NO_COMMON_CIPHER)

    def test_handshake_then_silence_then_reset(self) -> None:
        """A connection lost in the middle of its handshake is a failed handshake, once."""
        link = Link()
        with self.assertRaises(SSL.WantReadError):
            link.client.do_handshake()
        link.to_server(link.outgoing())
        link.reset()
        self.assertEqual(link.kinds(), ["Accepted", "HandshakeFailed"])
        self._ends(link, Cause.RESET)
        self.assertEqual(link.handlers, [])


class AfterTheEndTests(TransportCase):
    """What a peer sends when TLS has nothing more to say is not kept."""

    def _floods(self, link: Link) -> None:
        protocol: Any = link.protocol
        kept = protocol._tls._tunnel
        for _ in range(50):
            link.to_server(b"y" * 65536)
        waiting = SSL._lib.BIO_get_mem_data(kept.connection._into_ssl, SSL._ffi.NULL)  # type: ignore[attr-defined]
        self.assertLess(waiting, 200_000)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_after_a_failed_handshake(self) -> None:
        """After a handshake that failed."""
        link = Link()
        with self.assertRaises(SSL.WantReadError):
            link.client.do_handshake()
        link.to_server(link.outgoing())
        link.to_server(b"\x17\x03\x03\x40\x00" + b"x" * 16384)
        self._floods(link)

    def test_after_a_bad_record(self) -> None:
        """After a record that does not decrypt."""
        link = established()
        link.to_server(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        self._floods(link)

    def test_after_close_notify(self) -> None:
        """After the peer's close_notify, while the handler still writes."""
        link = established(HalfCloser)
        link.client.shutdown()
        link.pump()
        self._floods(link)
        link.transport.write(b"still here")
        link.transport.loseConnection()
        link.to_client()
        link.read_client()
        self.assertEqual(bytes(link.received), b"still here")

    def test_data_before_a_bad_record(self) -> None:
        """What was right before a bad record, in the same segment, is delivered."""
        link, writer = RecordWriter.on_new_link(handler=made(Recorder))
        link.to_server(writer.record(DATA, b"valid") + b"\x17\x03\x03\x00\x20" + b"x" * 32)
        self.assertEqual(link.recorder.data, b"valid")
        link.fin()
        self.assertIsInstance(link.recorder.lost, ConnectionLost)

    def test_bad_record_behind_data_that_pauses(self) -> None:
        """A bad record behind data is no clean end to a handler that pauses on the data: its connection is lost."""

        class Pauses(HalfCloser):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.transport.pauseProducing()  # type: ignore[union-attr]

        link, writer = RecordWriter.on_new_link(handler=made(Pauses))
        link.to_server(writer.record(DATA, b"valid") + b"\x17\x03\x03\x00\x20" + b"x" * 32)
        link.turn()
        self.assertEqual(link.recorder.told, ["made", ("data", b"valid")])
        link.transport.resumeProducing()
        link.turn()
        link.fin()
        self.assertIsInstance(link.recorder.lost, ConnectionLost)
        self.assertNotIn("peer finished", link.recorder.told)
        self.assertEqual(link.events[-1].cause, Cause.BAD_HELLO)  # type: ignore[attr-defined]

    def test_write_after_lose_write_connection(self) -> None:
        """A write after C{loseWriteConnection} is dropped, and reading goes on."""
        link = established(HalfCloser)
        link.transport.write(b"a")
        link.transport.loseWriteConnection()
        link.transport.write(b"b")
        link.to_client()
        link.read_client()
        link.client.send(b"still reading?")
        link.to_server(link.outgoing())
        self.assertEqual(bytes(link.received), b"a")
        self.assertEqual(link.recorder.data, b"still reading?")


class AwkwardHandlerTests(TransportCase):
    """Handlers and producers that do what Twisted lets them do."""

    def test_wrapping_factory(self) -> None:
        """A protocol behind Twisted's C{WrappingFactory} hears the end."""
        inner = RecorderFactory()
        link = Link(WrappingFactory(inner))
        link.handshake()
        link.client.shutdown()
        link.pump()
        link.fin()
        self.assertIsNotNone(link.socket.lost)
        self.assertIsInstance(inner.made[0].lost, ConnectionDone)

    def test_abort_is_disconnecting(self) -> None:
        """C{LineOnlyReceiver} delivers no further line after C{abortConnection}: it looks at C{disconnecting}."""
        lines: list[bytes] = []

        class Aborts(LineOnlyReceiver):
            delimiter = b"\n"

            def lineReceived(self, line: bytes) -> None:
                lines.append(line)
                self.transport.abortConnection()  # type: ignore[union-attr]

        link = Link(RecorderFactory(Aborts))
        link.handshake()
        link.client.send(b"one\ntwo\nthree\n")
        link.to_server(link.outgoing())
        self.assertEqual(lines, [b"one"])

    def test_peer_gone_while_closing(self) -> None:
        """C{loseConnection} with a dead producer still registered ends when the peer does."""
        link = established()
        producer = Producer()
        link.transport.registerProducer(producer, True)
        link.transport.loseConnection()
        link.client.shutdown()
        link.pump()
        link.fin()
        self.assertEqual(producer.asked, ["stop"])
        self.assertIsNotNone(link.socket.lost)

    def test_bad_record_while_closing(self) -> None:
        """A bad record while a paused producer is waited for ends the connection within the close deadline."""
        link = established()
        link.transport.registerProducer(Producer(), True)
        link.socket.peer_reads = False
        link.transport.write(b"z" * 1_000_000)
        link.transport.loseConnection()
        link.to_server(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        link.clock.advance(6)
        self.assertIsNotNone(link.socket.lost)

    def test_pull_producer_after_a_failure(self) -> None:
        """A pull producer is stopped, not asked for ever, when TLS has failed."""
        link = established()
        producer = Producer()
        link.transport.registerProducer(producer, False)
        link.to_server(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        for _ in range(10):
            link.turn()
        self.assertEqual(producer.asked, ["resume", "stop"])

    def test_closing_in_the_middle_of_a_write(self) -> None:
        """A producer that closes when it is paused by a large write takes nothing from that write."""
        link = established()
        transport = link.transport

        class Closes(Producer):
            def pauseProducing(self) -> None:
                transport.unregisterProducer()
                transport.loseConnection()

        link.socket.peer_reads = False
        transport.registerProducer(Closes(), True)
        transport.write(b"x" * 1_000_000)
        link.socket.peer_reads = True
        link.socket.flush()
        link.pump()
        self.assertEqual(len(link.received), 1_000_000)
        self.assertTrue(link.peer_finished)


class ResumptionTests(TransportCase):
    """Sessions resume, within the same host's context alone."""

    def test_resumes(self) -> None:
        """TLS 1.2 and 1.3 sessions are resumed by default."""
        for version in (TLS12, TLS13):
            options = tls_options()
            context = client_context(version)
            first = Link(EchoFactory(), options=options, context=context)
            first.handshake()
            first.client.send(b"x")
            first.pump()
            session = first.client.get_session()
            assert session is not None
            again = self._resume(options, context, session)
            self.assertEqual(bytes(again.received), b"y")
            self.assertTrue(resumed(again.client))

    def test_not_in_another_context(self) -> None:
        """A session of one context is a full handshake in another."""
        for version in (TLS12, TLS13):
            context = client_context(version)
            first = Link(EchoFactory(), options=tls_options(), context=context)
            first.handshake()
            first.client.send(b"x")
            first.pump()
            session = first.client.get_session()
            assert session is not None
            again = self._resume(tls_options(), context, session)
            self.assertEqual(bytes(again.received), b"y")
            self.assertFalse(resumed(again.client))

    def test_name_of_a_resumed_session(self) -> None:
        """A TLS 1.2 session that was made for one name is not accepted for another."""
        options = tls_options()
        context = client_context(TLS12)
        first = Link(EchoFactory(), options=options, context=context)
        first.handshake()
        session = first.client.get_session()
        assert session is not None
        again = Link(EchoFactory(), options=options, context=context, server_name=b"other.example")
        again.client.set_session(session)
        again.handshake()
        self.assertNotIn("Established", again.kinds())
        self.assertEqual(again.events[-1].cause, Cause.UNKNOWN_NAME)  # type: ignore[attr-defined]

    def _resume(self, options: Any, context: SSL.Context, session: SSL.Session) -> Link:
        link = Link(EchoFactory(), options=options, context=context)
        link.client.set_session(session)
        link.handshake()
        link.client.send(b"y")
        link.pump()
        return link


def resumed(connection: SSL.Connection) -> bool:
    """Whether the client's handshake was a resumed one; pyOpenSSL has no public word for it."""
    return bool(SSL._lib.SSL_session_reused(connection._ssl))  # type: ignore[attr-defined]


class _Meeting:
    """The owner of a client's transport: connects a recorder when the handshake is done."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.told: list[Any] = []

    def established(self) -> None:
        self.told.append("established")
        self.tls.connect(self.recorder)

    def handshake_failed(self, failure: TLSFailure) -> None:
        self.told.append(failure.cause)

    def handler_failed(self, failure: Failure) -> None:
        self.told.append(failure.type)

    def backend_failed(self, backend: str, cause: Cause, detail: str) -> None:
        self.told.append(("backend failed", cause))

    def lost(self, cause: Cause | None, detail: str) -> None:
        self.told.append(("lost", cause))

    tls: transport_module.TLSTransport


class ClientTests(TransportCase):
    """The same transport, as the client of a whole server of ours."""

    def apart(self, **words: Any) -> tuple[_Meeting, SocketInMemory, Link]:
        """A client that has not begun. @param words: of the server's L{Link}"""
        link, owner, below = Link(**words), _Meeting(), SocketInMemory(None)

        def maker(transport: Any) -> SSL.Connection:
            return SSL.Connection(client_context())

        close = Deadline(link.clock, 5)
        owner.tls = transport_module.TLSTransport(below, maker, Factory(), owner, link.clock, close, accepts=False)
        below.protocol = owner.tls
        return owner, below, link

    def met(self, **words: Any) -> tuple[_Meeting, SocketInMemory, Link]:
        """A client that has shaken hands."""
        owner, below, link = self.apart(**words)
        owner.tls.begin()
        carry(below, link)
        return owner, below, link

    def test_client_speaks_first(self) -> None:
        """Nothing is sent before it begins; then both get through the handshake, and data goes both ways."""
        owner, below, link = self.apart()
        self.assertEqual(bytes(below.wire), b"")
        owner.tls.begin()
        carry(below, link)
        self.assertEqual((owner.told, owner.recorder.told), (["established"], ["made"]))
        owner.tls.write(b"hello")
        carry(below, link)
        self.assertEqual(link.recorder.data, b"hello")
        link.transport.write(b"world" * 100_000)
        carry(below, link)
        self.assertEqual(owner.recorder.data, b"world" * 100_000)

    def test_paused_client(self) -> None:
        """A client that is paused gets nothing, and all when it goes on."""
        owner, below, link = self.met()
        owner.tls.pauseProducing()
        self.assertFalse(below.reading)
        link.transport.write(b"later")
        carry(below, link)
        self.assertEqual(owner.recorder.data, b"")
        owner.tls.resumeProducing()
        link.turn()
        self.assertEqual(owner.recorder.data, b"later")

    def test_end(self) -> None:
        """Either side's close_notify is a clean end for both."""
        for who in ("client", "server"):
            owner, below, link = self.met()
            (owner.tls if who == "client" else link.transport).loseConnection()
            carry(below, link)
            if below.fin_sent:
                link.fin()
            if link.socket.fin_sent:
                owner.tls.readConnectionLost()
            carry(below, link)
            link.clock.advance(20)
            self.assertIsInstance(owner.recorder.lost, ConnectionDone, who)
            self.assertEqual(owner.told, ["established", ("lost", None)], who)

    def test_server_refuses(self) -> None:
        """An alert in the handshake is told to the owner, once."""
        owner, _, _ = self.apart()
        owner.tls.begin()
        owner.tls.dataReceived(b"\x15\x03\x03\x00\x02\x02\x28")  # handshake_failure
        self.assertEqual(owner.told, [Cause.PEER_ALERT])


def carry(below: SocketInMemory, link: Link) -> None:
    """Bytes both ways, until there are none."""
    for _ in range(100):
        sent, answer = bytes(below.wire), b""
        below.wire.clear()
        if sent:
            link.to_server(sent)
        answer = bytes(link.socket.wire)
        link.socket.wire.clear()
        if answer and below.lost is None:
            below.protocol.dataReceived(answer)
        if not sent and not answer:
            return
    raise AssertionError("the two ends do not come to rest")


class PublicDoorTests(SynchronousTestCase):
    """Every promise above, with pyOpenSSL's public interface alone."""

    def test_public_interface(self) -> None:
        """Where the private door is missing, the same promises are kept through the public one."""
        self.patch(tunnel_module, "_make", tunnel_module.Tunnel)
        for case in (
            InterfaceTests,
            WritingTests,
            ReadingTests,
            ProducerTests,
            ClosingTests,
            DismissTests,
            HeldTests,
            HalfCloseTests,
            HandlerFailureTests,
            HostilePeerTests,
            AfterTheEndTests,
            AwkwardHandlerTests,
            ResumptionTests,
            ClientTests,
        ):
            for name in sorted(vars(case)):
                if name.startswith("test_"):
                    result = self.defaultTestResult()
                    case(name).run(result)
                    self.assertTrue(
                        result.wasSuccessful(), f"{case.__name__}.{name}: {result.failures + result.errors}"
                    )
