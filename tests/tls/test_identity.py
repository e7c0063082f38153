"""What a finished handshake tells of the peer."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.ssl import Certificate, CertificateOptions, trustRootFromCertificates
from twisted.trial.unittest import SynchronousTestCase

from mytls.peer import Peer
from mytls.tls.identity import peer_of, same_name
from tests.memory import CLIENT_ADDRESS, Link, authority, client_context, key_pair, tls_options

VERSIONS = ((SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_3_VERSION, "TLSv1.3"))


def shaken(link: Link) -> Link:
    """The same, after its handshake."""
    link.handshake()
    return link


class PeerTests(SynchronousTestCase):
    """The value."""

    def peer(self, link: Link) -> Peer:
        """The peer of a connection, which is what the handler's transport has."""
        peer = peer_of(shaken(link).transport.getHandle(), CLIENT_ADDRESS)
        self.assertEqual(link.transport.peer, peer)
        self.assertEqual(peer.address, CLIENT_ADDRESS)
        return peer

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
        """A client with a certificate has it, and what it sent with it."""
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
            self.assertEqual(len(peer.chain), 2)
            peer.certificate.verify_directly_issued_by(peer.chain[1])


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
