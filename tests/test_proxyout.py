"""The PROXY header that a backend gets."""

from __future__ import annotations

from functools import cache
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import Cause, TLSFailure
from mytls.peer import Identity, Peer
from mytls.proxyheader import ProxyHeader
from mytls.proxyout import HEADERS, Presented, header_of, header_of_check
from mytls.proxyreader import ProxyHeaderReader
from mytls.proxytlvs import TLV, Client, ClientTLS, SSLType, Type, value_of
from tests.memory import CLIENT_ADDRESS, SERVER_ADDRESS, Link, client_context, key_pair, tls_options
from tests.tls.issuing import Party, dsa_key, rsa_key

STRANGER = Peer(CLIENT_ADDRESS, "www.example.com", "h2", "TLSv1.3", "TLS_AES_128_GCM_SHA256", resumed=False)
PRESENTED = Presented("ecdsa-with-SHA256", "RSA2048")
CUSTOM = TLV(0xEA, b"\1vpce-1")


@cache
def member() -> Peer:
    """A client with a certificate."""
    return attrs.evolve(STRANGER, identity=Identity.of(Party("Änn").certified(names=["b.example"])))


def certificate(key: Any) -> x509.Certificate:
    """A certificate of a key, signed by itself."""
    return Party("server", key).certified()


def read(data: bytes) -> ProxyHeader:
    """What a backend reads."""
    reader = ProxyHeaderReader()
    header = reader.feed(data)
    assert header is not None
    assert reader.rest == b""
    return header


def told(kind: str, peer: Peer, *received: TLV, presented: Presented | None = PRESENTED) -> ProxyHeader:
    """What a backend is told of a client."""
    return read(header_of(kind, peer, SERVER_ADDRESS, presented, received))


def client(header: ProxyHeader) -> ClientTLS:
    """What is said of the client's TLS."""
    value = value_of(header.tlvs, Type.SSL)
    assert value is not None
    return ClientTLS.from_bytes(value)


def kinds(header: ProxyHeader) -> set[int]:
    """The types of what is said of the client's TLS."""
    return {each.kind for each in client(header).tlvs}


class HeaderTests(SynchronousTestCase):
    """What each of the headers tells."""

    def test_addresses(self) -> None:
        """Each has the addresses; in v1 and v2 there is nothing else."""
        addresses = ProxyHeader(CLIENT_ADDRESS, SERVER_ADDRESS)
        for kind in HEADERS:
            header = told(kind, member())
            self.assertEqual(attrs.evolve(header, tlvs=()), addresses)
        self.assertEqual(header_of("v1", member(), SERVER_ADDRESS), b"PROXY TCP4 192.0.2.1 192.0.2.2 50000 8443\r\n")
        self.assertEqual(header_of("v2", member(), SERVER_ADDRESS), addresses.to_v2())

    def test_stranger(self) -> None:
        """What a TLS connection shows, as HAProxy says it; that there is no certificate, which nobody has verified."""
        for kind in ("v2-tls", "v2-tls-certificate"):
            header = told(kind, STRANGER)
            self.assertEqual(header.tlvs[:2], (TLV(Type.ALPN, b"h2"), TLV(Type.AUTHORITY, b"www.example.com")))
            said = client(header)
            self.assertEqual(len(header.tlvs), 3)
            self.assertEqual(said.client, Client.SSL)
            self.assertNotEqual(said.verify, 0)
            self.assertEqual(
                {each.kind: each.value for each in said.tlvs},
                {
                    SSLType.VERSION: b"TLSv1.3",
                    SSLType.CIPHER: b"TLS_AES_128_GCM_SHA256",
                    SSLType.SIG_ALG: b"ecdsa-with-SHA256",
                    SSLType.KEY_ALG: b"RSA2048",
                },
            )

    def test_certificate(self) -> None:
        """The client's certificate, and its common name, are told by v2-tls-certificate alone."""
        identity = member().identity
        assert identity is not None
        der = identity.certificate.public_bytes(Encoding.DER)
        data = header_of("v2-tls", member(), SERVER_ADDRESS, PRESENTED)
        self.assertEqual(kinds(read(data)), kinds(told("v2-tls", STRANGER)))
        for words in ("Änn".encode(), b"b.example", der):
            self.assertNotIn(words, data)
        said = client(told("v2-tls-certificate", member()))
        self.assertEqual(value_of(said.tlvs, SSLType.CN), "Änn".encode())
        self.assertEqual(value_of(said.tlvs, 0x28), der)

    def test_flags(self) -> None:
        """
        A verified certificate is told as such, where certificates are told at all; one of a session that goes on is
        not one of this connection.
        """
        for resumed, flags in ((False, 7), (True, 5), (None, 5)):
            peer = attrs.evolve(member(), resumed=resumed)
            said = client(told("v2-tls-certificate", peer))
            self.assertEqual((said.client, said.verify), (flags, 0))
            self.assertEqual(told("v2-tls", peer), told("v2-tls", attrs.evolve(peer, identity=None)))
            self.assertEqual(client(told("v2-tls", peer)).client, Client.SSL)

    def test_nameless(self) -> None:
        """Of several common names the first is told, as HAProxy does, and of none, none."""
        party = Party("first")
        party.name = x509.Name([*party.name, x509.NameAttribute(NameOID.COMMON_NAME, "second")])
        identity = Identity.of(party.certified())
        self.assertEqual(identity.cn, ("first", "second"))
        said = client(told("v2-tls-certificate", attrs.evolve(STRANGER, identity=identity)))
        self.assertEqual(value_of(said.tlvs, SSLType.CN), b"first")
        nobody = attrs.evolve(STRANGER, identity=Identity.of(Party("").certified()))
        said = client(told("v2-tls-certificate", nobody))
        self.assertIsNone(value_of(said.tlvs, SSLType.CN))
        self.assertIsNotNone(value_of(said.tlvs, SSLType.CLIENT_CERT))

    def test_checksum(self) -> None:
        """Where TLS is told, so is the checksum."""
        for kind, there in (("v2", False), ("v2-tls", True), ("v2-tls-certificate", True)):
            self.assertEqual(header_of(kind, STRANGER, SERVER_ADDRESS)[28:31] == b"\3\0\4", there)

    def test_plain(self) -> None:
        """Of a plain connection no TLS is told, and of one that is passed through as it is only the name."""
        self.assertEqual(told("v2-tls", Peer(CLIENT_ADDRESS)).tlvs, ())
        passed = told("v2-tls", Peer(CLIENT_ADDRESS, "www.example.com"))
        self.assertEqual(passed.tlvs, (TLV(Type.AUTHORITY, b"www.example.com"),))

    def test_no_name(self) -> None:
        """A server name that is none (RFC 6066: ASCII) is not told to a backend that expects UTF-8."""
        for name in (None, "", "w\xff.example"):
            header = told("v2-tls", attrs.evolve(STRANGER, server_name=name, alpn=None))
            self.assertEqual([each.kind for each in header.tlvs], [Type.SSL])

    def test_unix(self) -> None:
        """A client of a UNIX socket is told as one, and one in memory without address."""
        peer = attrs.evolve(STRANGER, address=UNIXAddress(b""))
        self.assertEqual(
            read(header_of("v2", peer, UNIXAddress(b"/run/x"))),
            ProxyHeader(UNIXAddress(None), UNIXAddress(b"/run/x")),
        )
        nowhere = read(header_of("v2-tls", attrs.evolve(STRANGER, address=None), None))
        self.assertIsNone(nowhere.source)
        self.assertEqual(client(nowhere).client, Client.SSL)

    def test_too_much(self) -> None:
        """A connection of which more is to be told than a header holds cannot go on; nothing is left out unseen."""
        with self.assertRaises(TLSFailure) as caught:
            told("v2", STRANGER, TLV(0xE0, bytes(40000)), TLV(0xE1, bytes(30000)))
        self.assertEqual(caught.exception.cause, Cause.PROXY_HEADER)

    def test_check(self) -> None:
        """A connection of our own is LOCAL, and in version 1 one between our address and the backend's."""
        own, backend = IPv4Address("TCP", "127.0.0.1", 40000), IPv4Address("TCP", "127.0.0.1", 80)
        self.assertEqual(header_of_check("v1", own, backend), b"PROXY TCP4 127.0.0.1 127.0.0.1 40000 80\r\n")
        for kind in HEADERS[1:]:
            self.assertEqual(read(header_of_check(kind, own, backend)), ProxyHeader(local=True))


class ReceivedTests(SynchronousTestCase):
    """What a proxy in front of us has said."""

    def test_sent_on(self) -> None:
        """It is sent on behind what is ours; version 1 has no room for it."""
        unique = TLV(Type.UNIQUE_ID, b"7")
        self.assertEqual(told("v2", STRANGER, CUSTOM, unique, CUSTOM).tlvs, (CUSTOM, unique, CUSTOM))
        self.assertEqual(told("v2-tls", STRANGER, CUSTOM, unique).tlvs[3:], (CUSTOM, unique))
        self.assertEqual(told("v1", STRANGER, CUSTOM).tlvs, ())

    def test_own_goes_before(self) -> None:
        """Of a TLS connection with us, nothing stands beside what it has itself shown."""
        other = ClientTLS(7, 0, (TLV(SSLType.CN, b"somebody else"),)).to_bytes()
        received = TLV(Type.ALPN, b"smtp"), TLV(Type.AUTHORITY, b"other.example"), TLV(Type.SSL, other), CUSTOM
        bare = attrs.evolve(STRANGER, alpn=None, server_name=None)
        for peer in (STRANGER, bare, member()):
            header = told("v2-tls", peer, *received)
            self.assertEqual(header, attrs.evolve(told("v2-tls", peer), tlvs=(*told("v2-tls", peer).tlvs, CUSTOM)))
        self.assertEqual(told("v2-tls", Peer(CLIENT_ADDRESS), *received).tlvs, received)
        self.assertEqual(told("v2", STRANGER, *received).tlvs, received)


class PresentedTests(SynchronousTestCase):
    """What is told of the certificate of ours."""

    def test_names(self) -> None:
        """Algorithms have OpenSSL's short names, keys their size, as HAProxy writes them."""
        for key, signature, name in (
            (rsa_key(), "RSA-SHA256", "RSA2048"),
            (ec.generate_private_key(ec.SECP256R1()), "ecdsa-with-SHA256", "EC256"),
            (ec.generate_private_key(ec.SECP384R1()), "ecdsa-with-SHA256", "EC384"),
            (ed25519.Ed25519PrivateKey.generate(), "ED25519", "ED25519"),
            (ed448.Ed448PrivateKey.generate(), "ED448", "ED448"),
        ):
            self.assertEqual(Presented.of(certificate(key)), Presented(signature, name))
        self.assertEqual(Presented.of(certificate(dsa_key())), Presented("2.16.840.1.101.3.4.3.2", None))

    def test_unsaid(self) -> None:
        """Without a certificate of ours, or where its key has no name, nothing is told of it."""
        missing = kinds(told("v2-tls", STRANGER, presented=None))
        self.assertEqual(missing, {SSLType.VERSION, SSLType.CIPHER})
        unnamed = kinds(told("v2-tls", STRANGER, presented=Presented("1.2.3", None)))
        self.assertEqual(unnamed, missing | {SSLType.SIG_ALG})
        self.assertEqual(kinds(told("v2-tls", attrs.evolve(STRANGER, cipher=None), presented=None)), {SSLType.VERSION})


class HandshakeTests(SynchronousTestCase):
    """With a connection as it is."""

    def test_connection(self) -> None:
        """What a handshake has shown is what a backend is told of it."""
        for version, name in ((SSL.TLS1_2_VERSION, b"TLSv1.2"), (SSL.TLS1_3_VERSION, b"TLSv1.3")):
            link = Link(options=tls_options(alpn=("h2",)), context=client_context(version), alpn=[b"h2"])
            link.handshake()
            peer = link.transport.peer
            assert peer is not None
            header = told("v2-tls", peer, presented=Presented.of(key_pair().certificate))
            self.assertEqual(header.tlvs[:2], (TLV(Type.ALPN, b"h2"), TLV(Type.AUTHORITY, b"localhost")))
            said = client(header)
            self.assertEqual(value_of(said.tlvs, SSLType.VERSION), name)
            self.assertEqual(value_of(said.tlvs, SSLType.CIPHER), (link.client.get_cipher_name() or "").encode())
            self.assertEqual(value_of(said.tlvs, SSLType.KEY_ALG), b"EC256")
