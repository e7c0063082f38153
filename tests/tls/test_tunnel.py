"""The tunnel: bytes in, bytes out, and one table of states."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import Cause, TLSFailure
from mytls.tls import tunnel as module
from mytls.tls.tunnel import DirectTunnel, State, Tunnel
from tests.memory import client_context, tls_options


class Ends:
    """A client that the test plays by hand, and the tunnel."""

    def __init__(self, kind: type[Tunnel], version: int | None = None) -> None:
        connection = SSL.Connection(tls_options().getContext())
        connection.set_accept_state()
        self.tunnel = kind(connection)
        self.client = SSL.Connection(client_context(version))
        self.client.set_connect_state()

    def handshake(self, piece: int = 1 << 20) -> None:
        done = False
        for _ in range(6):
            try:
                self.client.do_handshake()
            except SSL.WantReadError:
                pass
            out = self.from_client()
            for at in range(0, len(out), piece):
                self.tunnel.feed(out[at : at + piece])
                done = done or self.tunnel.handshake()
            back = self.tunnel.outgoing()
            if back:
                self.client.bio_write(back)
        assert done

    def from_client(self) -> bytes:
        try:
            return self.client.bio_read(1 << 20)
        except SSL.WantReadError:
            return b""

    def client_reads(self) -> bytes:
        back = self.tunnel.outgoing()
        if back:
            self.client.bio_write(back)
        pieces = []
        try:
            while True:
                pieces.append(self.client.recv(65536))
        except (SSL.WantReadError, SSL.ZeroReturnError):
            return b"".join(pieces)


class TunnelTests(SynchronousTestCase):
    """What every tunnel promises."""

    kind: type[Tunnel] = Tunnel

    def ends(self, version: int | None = None) -> Ends:
        made = Ends(self.kind, version)
        made.handshake()
        return made

    def test_states_of_a_whole_life(self) -> None:
        """Handshake, open, the peer finished, closed."""
        ends = Ends(self.kind)
        self.assertIs(ends.tunnel.state, State.HANDSHAKE)
        ends.handshake()
        self.assertIs(ends.tunnel.state, State.OPEN)
        ends.client.shutdown()
        ends.tunnel.feed(ends.from_client())
        self.assertEqual(ends.tunnel.read(), b"")
        self.assertIs(ends.tunnel.state, State.PEER_FINISHED)
        ends.tunnel.finish()
        self.assertIs(ends.tunnel.state, State.CLOSED)
        self.assertTrue(ends.tunnel.outgoing())

    def test_we_finish_first(self) -> None:
        """Our close_notify first, then the peer's."""
        ends = self.ends()
        ends.tunnel.finish()
        self.assertIs(ends.tunnel.state, State.FINISHED)
        ends.client_reads()
        ends.client.shutdown()
        ends.tunnel.feed(ends.from_client())
        self.assertEqual(ends.tunnel.read(), b"")
        self.assertIs(ends.tunnel.state, State.CLOSED)
        self.assertEqual(ends.tunnel.read(), b"")

    def test_plaintext_both_ways(self) -> None:
        """What goes in at one end comes out at the other, in any size, fed in any pieces."""
        for piece in (1, 7, 1000, 1 << 20):
            ends = self.ends()
            data = bytes(range(256)) * 300
            ends.client.sendall(data)
            out = ends.from_client()
            came = bytearray()
            for at in range(0, len(out), piece):
                ends.tunnel.feed(out[at : at + piece])
                while got := ends.tunnel.read():
                    self.assertLessEqual(len(got), module.READ_SIZE)
                    came += got
            self.assertEqual(bytes(came), data)
            ends.tunnel.write(data)
            self.assertEqual(ends.client_reads(), data)

    def test_full_write(self) -> None:
        """The largest write there may be is taken whole, and all of its ciphertext comes out."""
        ends = self.ends()
        data = b"x" * module.WRITE_SIZE
        ends.tunnel.write(memoryview(data))
        self.assertEqual(ends.client_reads(), data)
        self.assertEqual(ends.tunnel.outgoing(), b"")

    def test_more_than_one_write_before_outgoing(self) -> None:
        """Several writes may be taken out together."""
        ends = self.ends()
        for _ in range(3):
            ends.tunnel.write(b"y" * module.WRITE_SIZE)
        self.assertEqual(len(ends.client_reads()), 3 * module.WRITE_SIZE)

    def test_nothing(self) -> None:
        """Nothing in, nothing out."""
        ends = self.ends()
        ends.tunnel.feed(b"")
        ends.tunnel.write(b"")
        self.assertEqual((ends.tunnel.read(), ends.tunnel.outgoing()), (b"", b""))

    def test_handshake_byte_by_byte(self) -> None:
        """A handshake in pieces of one byte."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            ends = Ends(self.kind, version)
            ends.handshake(piece=1)
            self.assertIs(ends.tunnel.state, State.OPEN)

    def test_bad_handshake(self) -> None:
        """A handshake that fails raises with its cause, and leaves an alert to send."""
        ends = Ends(self.kind)
        ends.tunnel.feed(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
        with self.assertRaises(TLSFailure):
            ends.tunnel.handshake()
        self.assertIs(ends.tunnel.state, State.FAILED)
        self.assertEqual(ends.tunnel.outgoing()[0], 21)

    def test_bad_record(self) -> None:
        """A record that does not decrypt raises, and leaves an alert to send."""
        ends = self.ends()
        ends.tunnel.feed(b"\x17\x03\x03\x00\x20" + b"z" * 32)
        with self.assertRaises(TLSFailure):
            ends.tunnel.read()
        self.assertIs(ends.tunnel.state, State.FAILED)
        self.assertTrue(ends.tunnel.outgoing())

    def test_good_records_before_a_bad_one(self) -> None:
        """What came before a bad record is delivered, or the failure is told at once; it is never lost in silence."""
        ends = self.ends()
        ends.client.send(b"good")
        ends.tunnel.feed(ends.from_client() + b"\x17\x03\x03\x00\x20" + b"z" * 32)
        came = b""
        with self.assertRaises(TLSFailure):
            for _ in range(3):
                came += ends.tunnel.read()
        self.assertIs(ends.tunnel.state, State.FAILED)

    def test_write_after_failure(self) -> None:
        """A tunnel that has failed takes no more."""
        ends = self.ends()
        ends.tunnel.feed(b"\x17\x03\x03\x00\x20" + b"z" * 32)
        with self.assertRaises(TLSFailure):
            ends.tunnel.read()
        with self.assertRaises(TLSFailure):
            ends.tunnel.write(b"x")
        with self.assertRaises(TLSFailure):
            ends.tunnel.finish()

    def test_cut(self) -> None:
        """The end of the peer's bytes is a failure unless its close_notify came first."""
        shaking = Ends(self.kind)
        during = shaking.tunnel.cut()
        assert during is not None
        self.assertEqual(during.cause, Cause.EOF)
        self.assertIn("during the handshake", during.detail)
        open_ = self.ends()
        without = open_.tunnel.cut()
        assert without is not None
        self.assertIn("without close_notify", without.detail)
        self.assertIsNone(open_.tunnel.cut())
        finished = self.ends()
        finished.client.shutdown()
        finished.tunnel.feed(finished.from_client())
        finished.tunnel.read()
        self.assertIsNone(finished.tunnel.cut())

    def test_write_before_the_handshake(self) -> None:
        """A write that has to wait for the handshake waits, and is sent in order when it is done."""
        ends = Ends(self.kind)
        ends.tunnel.write(b"first ")
        ends.tunnel.write(b"second")
        self.assertEqual(ends.tunnel.unsent, b"first second")
        ends.handshake()
        ends.tunnel.write(b"")
        self.assertEqual(ends.tunnel.unsent, b"")
        self.assertEqual(ends.client_reads(), b"first second")

    def test_shed(self) -> None:
        """Giving memory back changes nothing, with bytes on their way or without; data goes on both ways."""
        for waiting in (b"", b"half a "):
            ends = self.ends()
            ends.client_reads()
            ends.client.send(waiting + b"record")
            out = ends.from_client()
            ends.tunnel.feed(out[: len(waiting)])
            ends.tunnel.shed()
            ends.tunnel.feed(out[len(waiting) :])
            ends.tunnel.shed()
            self.assertEqual(ends.tunnel.read(), waiting + b"record")
            ends.tunnel.write(b"answer")
            ends.tunnel.shed()
            self.assertEqual(ends.client_reads(), b"answer")

    def test_wrong_change(self) -> None:
        """A change that the table does not have is our own error, and raises."""
        ends = Ends(self.kind)
        with self.assertRaises(KeyError):
            ends.tunnel._change(module._Event.WE_FINISH)


class DirectTunnelTests(TunnelTests):
    """The same of the tunnel through the door."""

    kind = DirectTunnel


class DoorTests(SynchronousTestCase):
    """Which tunnel is made."""

    def test_has_door(self) -> None:
        """This pyOpenSSL has the door, so the direct tunnel is what runs."""
        connection = SSL.Connection(client_context())
        self.assertTrue(module.has_door(connection, SSL))
        self.assertIs(type(module.tunnel(connection)), DirectTunnel)

    def test_no_door(self) -> None:
        """A pyOpenSSL without one of the names has none."""
        connection = SSL.Connection(client_context())
        self.assertFalse(module.has_door(object(), SSL))
        self.assertFalse(module.has_door(connection, object()))
