"""What a ClientHello and a finished handshake tells of the peer."""

from __future__ import annotations

import ipaddress
from itertools import pairwise

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.ssl import Certificate, CertificateOptions, trustRootFromCertificates
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import Cause
from mytls.events import HandshakeFailed, Observers
from mytls.hosts import Host, Hosts
from mytls.listener import TLSFactory
from mytls.peer import Identity, Peer
from mytls.settings import Deadlines, HostSettings
from mytls.tls.certificates import KeyPair
from mytls.tls.contexts import connection_maker, host_options
from mytls.tls.fingerprints import fingerprints
from mytls.tls.hello import ClientHello, HelloReader
from mytls.tls.identity import peer_of, peer_of_hello, same_name
from mytls.tls.trust import ClientTrust
from mytls.tls.verifier import Shown
from tests.memory import (
    CLIENT_ADDRESS,
    Link,
    RecorderFactory,
    authority,
    client_context,
    key_pair,
    tls_options,
)
from tests.tls.authority import DAY, NOW, Authority, ec_key

VERSIONS = ((SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_3_VERSION, "TLSv1.3"))


def shaken(link: Link) -> Link:
    """The same, after its handshake."""
    link.handshake()
    return link


class PeerTests(SynchronousTestCase):
    """The value."""

    def peer(self, link: Link) -> Peer:
        """The peer of a connection, which is what the handler's transport has."""
        seen = shaken(link).transport.peer
        assert seen is not None
        peer = peer_of(link.transport.getHandle(), CLIENT_ADDRESS, resumed=False)
        self.assertEqual(attrs.evolve(seen, ja3=None, ja4=None), peer)
        self.assertEqual(seen.address, CLIENT_ADDRESS)
        return seen

    def test_stranger(self) -> None:
        """A client that shows nothing has asked for nothing and is nobody; what was agreed on is known."""
        for version, name in VERSIONS:
            link = Link(server_name=None, context=client_context(version))
            peer = self.peer(link)
            self.assertEqual((peer.server_name, peer.alpn, peer.certificate, peer.chain), (None, None, None, ()))
            self.assertEqual(
                (peer.version, peer.cipher, peer.cipher_bits, peer.group),
                (name, link.client.get_cipher_name(), link.client.get_cipher_bits(), link.client.get_group_name()),
            )

    def test_names(self) -> None:
        """The name is told as it was sent, whatever its bytes."""
        for name in (b"www.example.com", b"WWW.Example.", b"\xff\n"):
            self.assertEqual(self.peer(Link(server_name=name)).server_name, name.decode("latin-1"))

    def test_certificate(self) -> None:
        """A client's certificate has the chain up to the CA that is trusted, in a context of Twisted's too."""
        pair = key_pair()
        child = authority().create_child_ca()
        leaf = child.issue_cert("friend")
        for version, _ in VERSIONS:
            options = CertificateOptions(
                privateKey=pair.key,  # type: ignore[arg-type]  # cryptography's own types, which pyOpenSSL prefers
                certificate=pair.certificate,  # type: ignore[arg-type]  # likewise
                trustRoot=trustRootFromCertificates([Certificate.loadPEM(authority().cert_pem.bytes())]),
            )
            context = client_context(version)
            leaf.configure_cert(context)
            peer = self.peer(Link(options=options, context=context))
            assert peer.certificate is not None
            self.assertEqual(peer.chain[0], peer.certificate)
            self.assertEqual(len(peer.chain), 3)
            for issued, by in pairwise(peer.chain):
                issued.verify_directly_issued_by(by)

    def test_unread(self) -> None:
        """A certificate that a program's context accepts and nobody can read is refused, and never met as none."""
        root = Authority()
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_network("10.0.0.0/8"))])
        own = ec_key()
        builder = x509.CertificateBuilder(root.name, x509.Name([]), own.public_key(), 5, NOW - DAY, NOW + DAY)
        shown = builder.add_extension(names, critical=True).sign(root.key, SHA256())
        pair = key_pair()
        options = CertificateOptions(
            privateKey=pair.key,  # type: ignore[arg-type]  # as above
            certificate=pair.certificate,  # type: ignore[arg-type]  # likewise
            trustRoot=trustRootFromCertificates([Certificate.loadPEM(root.certificate.public_bytes(Encoding.PEM))]),
        )
        for version, _ in VERSIONS:
            link = Link(options=options, context=_showing(KeyPair(own, shown, ()), version))
            link.handshake()
            (failed,) = (each for each in link.events if isinstance(each, HandshakeFailed))
            self.assertEqual((failed.cause, link.handlers), (Cause.BAD_HELLO, []))
            self.assertRegex(
                failed.detail, "^a certificate of the peer's cannot be read: the certificate does not parse"
            )


class Certified:
    """
    A host that lets in who shows a certificate of an authority below its root, and a client that has one.

    @ivar chain: the client's certificate, the authority's and the root's
    """

    def __init__(self, version: int) -> None:
        root = Authority()
        friend = Authority("Between", root).client()
        self.chain = (friend.certificate, *friend.chain, root.certificate)
        self.context = _showing(friend, version)
        settings = HostSettings(client_auth="required", allow=("all",), alpn=("h2",))
        options = host_options(settings, [key_pair()], ClientTrust((root.certificate,)))
        self.host = Host(connection_maker(options), options=options, settings=settings)

    def link(self, session: SSL.Session | None = None) -> Link:
        """The client, connected. @param session: of an earlier connection"""
        handler, clock = RecorderFactory(), Clock()
        factory = TLSFactory(Hosts(self.host), handler, clock, Deadlines(), Observers())
        link = Link(handler, context=self.context, factory=factory, clock=clock, alpn=[b"h2"])
        if session is not None:
            link.client.set_session(session)
        return link


def _showing(pair: KeyPair, version: int) -> SSL.Context:
    context = client_context(version)
    context.use_certificate(pair.certificate)
    context.use_privatekey(pair.key)  # type: ignore[arg-type]  # a key of the authority's is one that it takes
    for each in pair.chain:
        context.add_extra_chain_cert(each)
    return context


def meet(link: Link) -> tuple[Peer, ClientHello]:
    """Who is at the other end, as its certificate, its connection and its ClientHello tell; and that ClientHello."""
    reader = HelloReader()
    try:
        link.client.do_handshake()
    except SSL.WantReadError:
        pass
    sent = link.outgoing()
    hello = reader.feed(sent)
    assert hello is not None
    link.to_server(sent)
    link.to_client()
    link.handshake()
    link.read_client()
    seen = link.transport.peer
    assert seen is not None
    assert seen.identity is not None
    shown = Shown(seen.identity, seen.chain)
    return peer_of(link.transport.getHandle(), CLIENT_ADDRESS, shown, resumed=seen.resumed, hello=hello), hello


class WholePeerTests(SynchronousTestCase):
    """Every field."""

    def test_fresh_and_resumed(self) -> None:
        """A client with a certificate below an authority is the same when it resumes, but that it has resumed."""
        for version, name in VERSIONS:
            certified = Certified(version)
            first = certified.link()
            fresh, hello = meet(first)
            session = first.client.get_session()
            assert session is not None
            second = certified.link(session)
            again, resuming = meet(second)
            self.assertEqual((fresh.resumed, again.resumed), (False, True), name)
            self.assertEqual(attrs.evolve(again, resumed=False, ja3=fresh.ja3, ja4=fresh.ja4), fresh)
            self.assertEqual((fresh.ja3, fresh.ja4), fingerprints(hello))
            self.assertEqual((again.ja3, again.ja4), fingerprints(resuming))
            self.assertEqual(again.ja4 == fresh.ja4, version == SSL.TLS1_2_VERSION)

    def test_fields(self) -> None:
        """What was agreed on, and what the certificate says."""
        for version, name in VERSIONS:
            certified = Certified(version)
            link = certified.link()
            peer, _ = meet(link)
            self.assertEqual((peer.address, peer.server_name, peer.alpn), (CLIENT_ADDRESS, "localhost", "h2"))
            self.assertEqual((peer.version, peer.resumed, peer.proxy_address), (name, False, None))
            self.assertEqual(
                (peer.cipher, peer.cipher_bits, peer.group),
                (link.client.get_cipher_name(), link.client.get_cipher_bits(), link.client.get_group_name()),
            )
            self.assertNotIn(None, (peer.cipher, peer.cipher_bits, peer.group))
            self.assertEqual(peer.chain, certified.chain)
            self.assertEqual(peer.identity, Identity.of(certified.chain[0]))
            self.assertEqual((peer.cn, peer.dns, peer.issuer), (("friend",), ("friend",), "CN=Between"))

    def test_handlers_peer(self) -> None:
        """The transport's peer has all of it, fresh and resumed."""
        for version, _ in VERSIONS:
            certified = Certified(version)
            first = certified.link()
            self.assertEqual(meet(first)[0], first.transport.peer)
            second = certified.link(first.client.get_session())
            self.assertEqual(meet(second)[0], second.transport.peer)

    def test_of_hello(self) -> None:
        """Where the handshake is somebody else's, it is the address, the name and the fingerprints."""
        hello = ClientHello(0x0303, (0x1301,), (0,), b"a.example\xff", versions=(0x0303,))
        where = IPv4Address("TCP", "192.0.2.9", 9)
        ja3, ja4 = fingerprints(hello)
        self.assertEqual(peer_of_hello(hello, where), Peer(where, "a.example\xff", ja3=ja3, ja4=ja4))
        self.assertIsNone(peer_of_hello(attrs.evolve(hello, server_name=None), None).server_name)


class SameNameTests(SynchronousTestCase):
    """OpenSSL's name, beside the one that the host was chosen by."""

    def test_same(self) -> None:
        """The client's name is the client's name."""
        for version, _ in VERSIONS:
            connection = shaken(Link(server_name=b"a.example", context=client_context(version))).transport.getHandle()
            self.assertTrue(same_name(connection, b"a.example"))

    def test_other(self) -> None:
        """Another is not, and neither is none."""
        for version, _ in VERSIONS:
            connection = shaken(Link(server_name=b"a.example", context=client_context(version))).transport.getHandle()
            for chosen in (b"b.example", b"A.example", None):
                self.assertFalse(same_name(connection, chosen))

    def test_none(self) -> None:
        """Where OpenSSL saw no name, the host was chosen by none; a TLS 1.2 session may have forgotten it."""
        old, new = (
            shaken(Link(server_name=None, context=client_context(version))).transport.getHandle()
            for version, _ in VERSIONS
        )
        self.assertTrue(same_name(old, None))
        self.assertTrue(same_name(new, None))
        self.assertTrue(same_name(old, b"a.example"))
        self.assertFalse(same_name(new, b"a.example"))

    def test_session_of_another_name(self) -> None:
        """A session that was made for one name does not come in by another."""
        options = tls_options()
        for version, _ in VERSIONS:
            context = client_context(version)
            first = shaken(Link(options=options, context=context, server_name=b"a.example"))
            first.read_client()
            session = first.client.get_session()
            assert session is not None
            second = Link(options=options, context=context, server_name=b"b.example")
            second.client.set_session(session)
            try:
                second.handshake()
            except SSL.Error:
                continue
            established = [peer.server_name for each in second.events if (peer := getattr(each, "peer", None))]
            self.assertIn(established, ([], ["b.example"]))
