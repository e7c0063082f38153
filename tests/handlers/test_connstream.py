"""What every connstream can tell of its connection."""

from __future__ import annotations

import io
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mytls.handlers.connstream import Connstream
from mytls.peer import Peer
from mytls.tls.ssldict import as_ssl_dict
from tests.handlers.twins import certified_context, demanding_options, of_client
from tests.memory import CLIENT_ADDRESS, Link


class FactTests(SynchronousTestCase):
    """Over TLS."""

    def stream(self, **words: Any) -> Connstream:
        """A connstream on a connection of which the handshake is done."""
        link = Link(**words)
        link.handshake()
        return Connstream(link.transport)

    def test_peer(self) -> None:
        """`peer` is the one that the transport has verified, and `server_hostname` the name that it asked for."""
        stream = self.stream(options=demanding_options(), context=certified_context())
        self.assertEqual((stream.peer.address, stream.peer.certificate), (CLIENT_ADDRESS, of_client()))
        self.assertEqual((stream.server_hostname, stream.server_side), ("localhost", True))

    def test_no_certificate(self) -> None:
        """A client that has shown no certificate has none, in either form."""
        stream = self.stream(server_name=None)
        self.assertEqual((stream.getpeercert(), stream.getpeercert(True)), (None, None))
        self.assertIsNone(stream.server_hostname)

    def test_certificate(self) -> None:
        """A client's certificate is shown as DER, and in the shape that the ssl module has for it."""
        stream = self.stream(options=demanding_options(), context=certified_context())
        self.assertEqual(stream.getpeercert(True), of_client().public_bytes(Encoding.DER))
        shown = stream.getpeercert()
        self.assertEqual(shown, as_ssl_dict(of_client()))
        self.assertIn((("commonName", "a client"),), shown["subject"])
        self.assertIn(("IP Address", "2001:DB8:0:0:0:0:0:1"), shown["subjectAltName"])
        self.assertEqual(stream.peer.ip, ("2001:db8::1", "192.0.2.7"))

    def test_agreed(self) -> None:
        """Cipher and version are those of the handshake; what nobody has any more is None."""
        stream = self.stream()
        self.assertEqual(stream.cipher(), ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256))
        self.assertEqual((stream.version(), stream.selected_alpn_protocol()), ("TLSv1.3", None))
        self.assertIsNone(stream.compression())  # type: ignore[func-returns-value]  # that is what it returns
        self.assertIsNone(stream.selected_npn_protocol())  # type: ignore[func-returns-value]  # likewise

    def test_socket_options(self) -> None:
        """Options are accepted, since code sets them, and change nothing."""
        stream = self.stream()
        stream.setsockopt(6, 1, 1)
        self.assertFalse(stream._transport.getTcpNoDelay())


class PlainTests(SynchronousTestCase):
    """Without TLS, and on other sockets than TCP's."""

    def stream(self, host: Any = None, peer: Any = None) -> Connstream:
        """A connstream on a transport of Twisted's own."""
        return Connstream(StringTransport(hostAddress=host, peerAddress=peer))

    def test_no_tls(self) -> None:
        """On a plain connection there is nothing of TLS to tell."""
        stream = self.stream()
        self.assertEqual((stream.peer, stream.cipher()), (Peer(stream._transport.getPeer()), None))
        self.assertEqual((stream.version(), stream.getpeercert(), stream.fileno()), (None, None, -1))

    def test_addresses(self) -> None:
        """Addresses are as those of sockets: a pair, four parts for IPv6, a path."""
        cases = [
            (IPv4Address("TCP", "192.0.2.1", 5), ("192.0.2.1", 5)),
            (IPv6Address("TCP", "2001:db8::1", 5, 0, 2), ("2001:db8::1", 5, 0, 2)),
            (UNIXAddress(b"/run/x.sock"), "/run/x.sock"),
            (UNIXAddress(None), ""),
            (object(), ""),
        ]
        for address, name in cases:
            stream = self.stream(host=address, peer=address)
            self.assertEqual((stream.getsockname(), stream.getpeername()), (name, name))

    def test_descriptor(self) -> None:
        """The descriptor is the socket's, until the connstream is closed."""
        stream = self.stream()
        stream._transport.fileno = lambda: 7
        self.assertEqual(stream.fileno(), 7)
        stream._closed = True
        self.assertEqual(stream.fileno(), -1)

    def test_no_detaching(self) -> None:
        """The socket cannot be had."""
        self.assertRaises(io.UnsupportedOperation, self.stream().detach)
