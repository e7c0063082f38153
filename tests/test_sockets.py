"""Sockets that write at once; real ones, in pairs, and a reactor that does nothing by itself."""

from __future__ import annotations

import os
import select
import socket
import struct
from io import BytesIO
from typing import Any

from OpenSSL import SSL
from twisted.internet import tcp, unix
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols.basic import FileSender
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from mytls.sockets import AT_ONCE, TCPClient, TCPServer, UNIXServer, connected_at_once, write_at_once
from tests.files import folder
from tests.memory import Producer, Recorder, client_context, tls_options


class IdleReactor(Clock):
    """Knows who waits for what, and calls nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)

    def addWriter(self, writer: Any) -> None:
        self.writers.add(writer)

    def removeWriter(self, writer: Any) -> None:
        self.writers.discard(writer)


class Case(SynchronousTestCase):
    """A server's end of a socket pair, and the other end."""

    def pair(self, kind: Any = TCPServer) -> tuple[Any, socket.socket, IdleReactor, Recorder]:
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        self.addCleanup(ours.close)
        theirs.setblocking(False)
        reactor, protocol = IdleReactor(), Recorder()
        client: Any = "" if kind is UNIXServer else ("192.0.2.1", 1)
        transport = kind(ours, protocol, client, None, 0, reactor)
        protocol.makeConnection(transport)
        return transport, theirs, reactor, protocol


class WriteAtOnceTests(Case):
    """What the socket takes is sent in the call; the rest is as Twisted does it."""

    def test_sent_in_the_call(self) -> None:
        """A write that the socket takes waits for nothing."""
        for kind in (TCPServer, UNIXServer):
            transport, theirs, reactor, _ = self.pair(kind)
            transport.write(b"hello")
            self.assertEqual(theirs.recv(100), b"hello")
            self.assertEqual(reactor.writers, set())
            self.assertEqual(transport.queued(), 0)

    def test_rest_is_queued_in_order(self) -> None:
        """What does not fit is queued, and later writes wait behind it."""
        transport, theirs, reactor, _ = self.pair()
        data = bytes(range(256)) * 8192
        transport.write(data)
        transport.write(b"the end")
        self.assertIn(transport, reactor.writers)
        self.assertGreater(transport.queued(), 0)
        came = bytearray()
        while transport in reactor.writers:
            came += theirs.recv(1 << 20)
            transport.doWrite()
        try:
            while True:
                came += theirs.recv(1 << 20)
        except BlockingIOError:
            pass
        self.assertEqual(bytes(came), data + b"the end")

    def test_producer_is_paused(self) -> None:
        """A registered producer is paused when more is queued than Twisted's bound."""
        transport, theirs, _reactor, _ = self.pair()
        producer = Producer()
        transport.registerProducer(producer, True)
        transport.write(b"x" * (4 << 20))
        self.assertEqual(producer.asked, ["pause"])
        while transport.queued():
            theirs.recv(1 << 20)
            transport.doWrite()
        self.assertEqual(producer.asked, ["pause", "resume"])

    def test_pull_producer(self) -> None:
        """A pull producer is asked again and again, as C{FileSender} needs it."""
        transport, theirs, reactor, _ = self.pair()
        sent = FileSender().beginFileTransfer(BytesIO(b"q" * 200_000), transport)
        came = bytearray()
        while transport in reactor.writers:
            transport.doWrite()
            came += theirs.recv(1 << 20)
        self.successResultOf(sent)
        self.assertEqual(bytes(came), b"q" * 200_000)

    def test_descriptors(self) -> None:
        """A UNIX connection carries descriptors both ways."""
        transport, theirs, _reactor, protocol = self.pair(UNIXServer)
        taken: list[int] = []
        protocol.fileDescriptorReceived = taken.append  # type: ignore[attr-defined]
        directlyProvides(protocol, IFileDescriptorReceiver)
        socket.send_fds(theirs, [b"take this"], [theirs.fileno()])
        transport.doRead()
        self.assertEqual(protocol.data, b"take this")
        self.addCleanup(os.close, *taken)
        transport.sendFileDescriptor(taken[0])
        transport.write(b"and back")
        transport.write(b" again")
        transport.doWrite()
        data, received, _flags, _address = socket.recv_fds(theirs, 100, 1)
        self.addCleanup(os.close, *received)
        self.assertEqual(data + theirs.recv(100), b"and back again")

    def test_fast_reader(self) -> None:
        """A producer that writes until it is paused is paused, also where the peer reads as fast: others have turns."""
        transport, theirs, _reactor, _ = self.pair()
        producer = Producer()
        transport.registerProducer(producer, True)
        written = 0
        while not producer.asked and written < 10 * AT_ONCE:
            transport.write(b"x" * 65536)
            written += 65536
            try:
                theirs.recv(1 << 20)
            except BlockingIOError:
                pass
        self.assertEqual(producer.asked, ["pause"])
        self.assertLess(written, 2 * AT_ONCE)
        transport.doWrite()
        self.assertEqual(producer.asked, ["pause", "resume"])
        transport.write(b"at once again")
        self.assertEqual(transport.queued(), 0)

    def test_lost_peer(self) -> None:
        """An error of the socket is the reactor's to find: no exception, no call from within the write."""
        transport, theirs, reactor, protocol = self.pair()
        theirs.close()
        transport.write(b"x")
        transport.write(b"y")
        self.assertIsNone(protocol.lost)
        self.assertIn(transport, reactor.writers)
        self.assertIsInstance(transport.doWrite(), ConnectionLost)

    def test_reset_is_heard_of_by_a_write(self) -> None:
        """A reset that a write has met is one for whoever reads next, though the system tells it once."""
        for read_first in (False, True):
            transport, theirs, _ = self.accepted()
            theirs.send(b"x")
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            theirs.close()
            if read_first:
                self.assertIsNone(transport.doRead())
            transport.write(b"answer")
            while (end := transport.doRead()) is None:
                pass
            self.assertIs(type(end), ConnectionLost)

    def test_end_is_no_reset(self) -> None:
        """A FIN stays one, also where a write has found the socket full before."""
        transport, theirs, _ = self.accepted()
        transport.write(b"x" * (16 << 20))
        self.assertTrue(transport.queued())
        theirs.shutdown(socket.SHUT_WR)
        self.assertIs(type(transport.doRead()), ConnectionDone)

    def accepted(self) -> tuple[Any, socket.socket, IdleReactor]:
        """A server's end of a TCP connection, the other end, and the reactor."""
        listens = socket.create_server(("127.0.0.1", 0))
        theirs = socket.create_connection(listens.getsockname())
        ours, _ = listens.accept()
        for each in (listens, theirs, ours):
            self.addCleanup(each.close)
        ours.setblocking(False)
        reactor, protocol = IdleReactor(), Recorder()
        about: tuple[Any, ...] = (("192.0.2.1", 1), None, 0, reactor)
        transport = TCPServer(ours, protocol, *about)
        protocol.makeConnection(transport)
        return transport, theirs, reactor

    def test_after_the_end(self) -> None:
        """Nothing is sent after an abort, or when the connection is gone."""
        transport, theirs, reactor, protocol = self.pair()
        transport.abortConnection()
        transport.write(b"x")
        with self.assertRaises(BlockingIOError):
            theirs.recv(1)
        reactor.advance(0)
        self.assertIsInstance(protocol.lost, ConnectionAborted)
        transport.write(b"y")

    def test_lose_write_connection(self) -> None:
        """What is written between C{loseWriteConnection} and the FIN goes out before the FIN."""
        transport, theirs, _reactor, _ = self.pair()
        transport.write(b"a")
        transport.loseWriteConnection()
        transport.write(b"b")
        transport.doWrite()
        self.assertEqual(theirs.recv(10), b"ab")
        self.assertEqual(theirs.recv(10), b"")


class NameTests(Case):
    """What is logged while a connection is read, by whatever of Twisted's, says whose it is."""

    def test_handler(self) -> None:
        """Its protocol's name, or what that says of itself, in place of the name of what is in between."""

        class Named(Protocol):
            def logPrefix(self) -> str:
                return "shop, front"

        transport, *_ = self.pair()
        self.assertEqual(transport.logPrefix(), "Recorder,0,192.0.2.1")
        transport.serves(Protocol())
        self.assertEqual(transport.logPrefix(), "Protocol (TLS),0,192.0.2.1")
        transport.serves(Named())
        self.assertEqual(transport.logPrefix(), "shop, front (TLS),0,192.0.2.1")


class CloseAtOnceTests(Case):
    """A connection that ends while it is read ends when the read does, without waiting for the reactor."""

    def test_in_data_received(self) -> None:
        """C{loseConnection} from within C{dataReceived} closes when that returns, and not before."""
        transport, theirs, reactor, protocol = self.pair()

        def ends(data: bytes) -> None:
            transport.write(b"bye")
            transport.loseConnection()
            transport.loseConnection()
            self.assertIsNone(protocol.lost)

        protocol.dataReceived = ends  # type: ignore[method-assign]
        theirs.send(b"x")
        self.assertIsNone(transport.doRead())
        self.assertIsInstance(protocol.lost, ConnectionDone)
        self.assertEqual(theirs.recv(10), b"bye")
        self.assertEqual(theirs.recv(10), b"")
        self.assertEqual((reactor.readers, reactor.writers), (set(), set()))
        self.assertIsNone(transport.doWrite())

    def test_with_bytes_left(self) -> None:
        """Where bytes are queued they are sent first."""
        transport, theirs, reactor, protocol = self.pair()

        def ends(data: bytes) -> None:
            transport.write(b"x" * (4 << 20))
            transport.loseConnection()

        protocol.dataReceived = ends  # type: ignore[method-assign]
        theirs.send(b"x")
        transport.doRead()
        self.assertIsNone(protocol.lost)
        self.assertIn(transport, reactor.writers)

    def test_outside_a_read(self) -> None:
        """Elsewhere it is in the next turn."""
        transport, _theirs, reactor, protocol = self.pair()
        transport.loseConnection()
        self.assertIsNone(protocol.lost)
        reactor.advance(0)
        self.assertIsInstance(protocol.lost, ConnectionDone)

    def test_full_socket(self) -> None:
        """A socket whose peer does not read is closed all the same, where the system has taken all."""
        transport, _theirs, reactor, protocol = self.pair()
        while select.select([], [transport], [], 0)[1]:
            transport.write(b"x" * 200)
        self.assertEqual(transport.queued(), 0)
        transport.loseConnection()
        reactor.advance(0)
        self.assertIsInstance(protocol.lost, ConnectionDone)

    def test_aborted_before_the_turn(self) -> None:
        """An abort between C{loseConnection} and the next turn is an abort."""
        transport, _theirs, reactor, protocol = self.pair()
        transport.loseConnection()
        transport.abortConnection()
        reactor.advance(0)
        self.assertIsInstance(protocol.lost, ConnectionAborted)

    def test_after_an_abort(self) -> None:
        """An aborted connection is not closed once more."""
        transport, _theirs, reactor, protocol = self.pair()
        transport.abortConnection()
        transport.loseConnection()
        self.assertEqual(reactor.writers, set())
        reactor.advance(0)
        self.assertIsInstance(protocol.lost, ConnectionAborted)


class PortTests(SynchronousTestCase):
    """Ports of Twisted's get the transports, whatever endpoint has made them."""

    def test_tcp(self) -> None:
        """A TCP port accepts connections that write at once, without Nagle's algorithm."""
        port = tcp.Port(0, Factory(), interface="127.0.0.1", reactor=IdleReactor())
        port.startListening()
        self.addCleanup(port.connectionLost, Failure(ConnectionDone()))
        write_at_once(port)
        self.assertIs(port.transport, TCPServer)
        self.assertTrue(port.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def test_unix(self) -> None:
        """So does a port on a UNIX socket."""
        port = unix.Port(os.fsencode(folder(self) / "socket"), Factory(), reactor=IdleReactor())
        write_at_once(port)
        self.assertIs(port.transport, UNIXServer)

    def test_others_are_left_alone(self) -> None:
        """A port with a transport of its own keeps it; what is no port is ignored."""

        class Own(tcp.Server):
            pass

        port = tcp.Port(0, Factory(), reactor=IdleReactor())
        port.transport = Own
        write_at_once(port)
        self.assertIs(port.transport, Own)
        write_at_once(object())  # type: ignore[arg-type]  # on purpose


class StartTLSTests(Case):
    """C{startTLS} in the middle of a plain connection of ours."""

    def _begin(self, protocol: Any = None) -> tuple[Any, socket.socket, Any, SSL.Connection]:
        transport, theirs, _reactor, recorder = self.pair()
        if protocol is not None:
            transport.protocol = protocol
            protocol.makeConnection(transport)
            recorder = protocol
        transport.startTLS(tls_options())
        client = SSL.Connection(client_context())
        client.set_connect_state()
        return transport, theirs, recorder, client

    def _carry(self, transport: Any, theirs: socket.socket, client: SSL.Connection) -> bytes:
        """Carry what there is both ways. @return: what the client read"""
        came = bytearray()
        for _ in range(8):
            try:
                client.do_handshake()
                came += client.recv(1 << 16)
            except (SSL.WantReadError, SSL.ZeroReturnError):
                pass
            try:
                theirs.send(client.bio_read(1 << 16))
                transport.doRead()
            except SSL.WantReadError:
                pass
            if transport.connected and transport.queued():
                transport.doWrite()
            try:
                client.bio_write(theirs.recv(1 << 16))
            except (BlockingIOError, SSL.Error):
                pass
        return bytes(came)

    def test_goes_on_encrypted(self) -> None:
        """The protocol and its transport stay; what is written before the handshake is done is sent after it."""
        transport, theirs, recorder, client = self._begin()
        transport.write(b"queued ")
        self._carry(transport, theirs, client)
        transport.write(b"and more")
        client.send(b"from the client")
        came = self._carry(transport, theirs, client)
        self.assertEqual(recorder.told, ["made", ("data", b"from the client")])
        self.assertIs(recorder.transport, transport)
        self.assertIn(b"and more", came)
        self.assertEqual(transport.peer.version, "TLSv1.3")
        self.assertIsInstance(transport.getHandle(), SSL.Connection)
        self.assertIsNone(transport.getPeerCertificate())

    def test_everything_written_arrives(self) -> None:
        """In order, from the first byte on."""
        transport, theirs, _recorder, client = self._begin()
        transport.write(b"one ")
        transport.writeSequence([b"two ", b"three"])
        self.assertEqual(self._carry(transport, theirs, client), b"one two three")

    def test_lose_connection(self) -> None:
        """C{loseConnection} says close_notify first."""
        transport, theirs, _recorder, client = self._begin()
        self._carry(transport, theirs, client)
        transport.loseConnection()
        self._carry(transport, theirs, client)
        self.assertTrue(client.get_shutdown() & SSL.RECEIVED_SHUTDOWN)

    def test_producer_moves_over(self) -> None:
        """A producer that was registered before is the TLS connection's."""
        transport, _theirs, _reactor, _ = self.pair()

        producer = Producer()
        transport.registerProducer(producer, True)
        transport.startTLS(tls_options())
        self.assertIsNot(transport.producer, producer)
        transport.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(producer.asked, ["stop"])

    def test_failed_handshake(self) -> None:
        """A handshake that fails is a lost connection to the protocol, without a traceback."""
        transport, theirs, recorder, _client = self._begin()
        theirs.send(b"no TLS at all, and more than a record's header")
        transport.doRead()
        transport.doWrite()
        theirs.close()
        transport.readConnectionLost(Failure(ConnectionDone()))
        self.assertIsInstance(recorder.lost, ConnectionLost)

    def test_silence(self) -> None:
        """A peer that never begins its handshake is gone at the handshake deadline."""
        transport, _theirs, recorder, _client = self._begin()
        transport.reactor.advance(10.1)
        transport.reactor.advance(0)
        self.assertIsNotNone(recorder.lost)

    def test_handshake_listener(self) -> None:
        """C{IHandshakeListener} is told."""
        from twisted.internet.interfaces import IHandshakeListener
        from zope.interface import implementer

        @implementer(IHandshakeListener)
        class Listens(Recorder):
            def handshakeCompleted(self) -> None:
                self.told.append("handshake completed")

        transport, theirs, recorder, client = self._begin(Listens())
        self._carry(transport, theirs, client)
        self.assertIn("handshake completed", recorder.told)

    def test_client_side_is_twisteds(self) -> None:
        """To be the client of the handshake is left to Twisted."""
        from twisted.internet.ssl import CertificateOptions

        transport, theirs, _reactor, _ = self.pair()
        factory = Factory()
        factory.protocol = Protocol
        transport.startTLS(CertificateOptions(), normal=False)
        transport.doWrite()
        self.assertEqual(theirs.recv(3), b"\x16\x03\x01")


class _Connector:
    """What a client's transport tells."""

    def __init__(self, protocol: Recorder) -> None:
        self.protocol = protocol
        self.lost: Any = None

    def buildProtocol(self, address: Any) -> Recorder:
        return self.protocol

    def connectionLost(self, reason: Failure) -> None:
        self.lost = reason.value

    def cancelTimeout(self) -> None:
        """There is none."""


class ClientTests(SynchronousTestCase):
    """A connection of ours to a server writes at once too."""

    def connected(self) -> tuple[Any, socket.socket, IdleReactor, _Connector]:
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        reactor, connector = IdleReactor(), _Connector(Recorder())
        transport: Any = tcp.Client("127.0.0.1", listening.getsockname()[1], None, connector, reactor)
        reactor.advance(0)
        theirs, _ = listening.accept()
        self.addCleanup(theirs.close)
        while not transport.connected:
            select.select([], [transport], [], 5)
            transport.doConnect()
        self.addCleanup(transport.socket.close)
        return transport, theirs, reactor, connector

    def test_sent_in_the_call(self) -> None:
        """A write that the socket takes waits for nothing, and for no acknowledgement of the one before."""
        transport, theirs, reactor, _ = self.connected()
        transport.write(b"later")
        self.assertIn(transport, reactor.writers)
        transport.doWrite()
        connected_at_once(transport)
        self.assertIsInstance(transport, TCPClient)
        self.assertTrue(transport.getTcpNoDelay())
        transport.write(b" at once")
        theirs.settimeout(5)
        self.assertEqual(theirs.recv(100), b"later at once")
        self.assertEqual(reactor.writers, set())

    def test_end(self) -> None:
        """Its end is told to whoever has connected it, as before."""
        transport, _, reactor, connector = self.connected()
        connected_at_once(transport)
        transport.loseConnection()
        reactor.advance(0)
        self.assertIsInstance(connector.lost, ConnectionDone)
        self.assertIsInstance(connector.protocol.lost, ConnectionDone)

    def test_what_is_no_client_of_twisteds(self) -> None:
        """Anything else is left as it is."""
        other = object()
        connected_at_once(other)
        self.assertIs(type(other), object)
