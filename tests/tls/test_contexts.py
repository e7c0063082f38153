"""Settings in, contexts out, seen from the client's end."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import (
    IOpenSSLContextFactory,
    IOpenSSLServerConnectionCreator,
    IProtocolNegotiationFactory,
)
from twisted.internet.ssl import CertificateOptions
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mytls.errors import Cause, ConfigurationError
from mytls.events import HandshakeFailed
from mytls.tls.certificates import KeyPair
from mytls.tls.contexts import METHODS, connection_maker, server_options
from tests.files import folder
from tests.memory import Link, RecorderFactory, authority, client_context, key_pair

#: RFC 7919 appendix A.1, a group of 2048 bits.
FFDHE2048 = int(
    """
    FFFFFFFF FFFFFFFF ADF85458 A2BB4A9A AFDC5620 273D3CF1 D8B9C583 CE2D3695 A9E13641 146433FB CC939DCE 249B3EF9
    7D2FE363 630C75D8 F681B202 AEC4617A D3DF1ED5 D5FD6561 2433F51F 5F066ED0 85636555 3DED1AF3 B557135E 7F57C935
    984F0C70 E0E68B77 E2A689DA F3EFE872 1DF158A1 36ADE735 30ACCA4F 483A797A BC0AB182 B324FB61 D108A94B B2C8E3FB
    B96ADAB7 60D7F468 1D4F42A3 DE394DF4 AE56EDE7 6372BB19 0B07A7C8 EE0A6D70 9E02FCE1 CDF7E2EC C03404CD 28342F61
    9172FE9C E98583FF 8E4F1232 EEF28183 C3FE3B1B 4C6FAD73 3BB5FCBC 2EC22005 C58EF183 7D1683B2 C6F34A26 C1B2EFFA
    886B4238 61285C97 FFFFFFFF FFFFFFFF
    """.replace(" ", "").replace("\n", ""),
    16,
)


def certificate_options(**settings: Any) -> CertificateOptions:
    """A user's own C{CertificateOptions}."""
    pair: Any = key_pair()
    made: CertificateOptions = CertificateOptions(privateKey=pair.key, certificate=pair.certificate, **settings)
    return made


class Negotiating(RecorderFactory):
    """A handler that speaks certain protocols."""

    def __init__(self, *protocols: bytes) -> None:
        super().__init__()
        self.protocols = protocols

    def acceptableProtocols(self) -> tuple[bytes, ...]:
        """See C{IProtocolNegotiationFactory}."""
        return self.protocols


class ALPNTests(SynchronousTestCase):
    """RFC 7301 section 3.2."""

    def negotiated(self, link: Link) -> bytes:
        """What the client hears, which is what the handler's transport and its peer say."""
        link.handshake()
        self.assertEqual(link.kinds(), ["Accepted", "Established"])
        agreed = link.client.get_alpn_proto_negotiated()
        self.assertEqual(link.transport.negotiatedProtocol, agreed or None)
        peer = link.transport.peer
        assert peer is not None
        self.assertEqual(peer.alpn, agreed.decode() or None)
        return agreed

    def test_no_list(self) -> None:
        """A server without a list takes every client, and agrees on nothing."""
        for options in (server_options(key_pair()), certificate_options()):
            self.assertEqual(self.negotiated(Link(options=options, alpn=[b"h2", b"http/1.1"])), b"")

    def test_no_offer(self) -> None:
        """A client that offers nothing is taken by a server with a list."""
        self.assertEqual(self.negotiated(Link(options=certificate_options(acceptableProtocols=[b"h2"]))), b"")

    def test_servers_order(self) -> None:
        """Of what both speak, the server's first is spoken."""
        options = certificate_options(acceptableProtocols=[b"h2", b"http/1.1"])
        self.assertEqual(self.negotiated(Link(options=options, alpn=[b"x", b"http/1.1", b"h2"])), b"h2")

    def test_no_overlap(self) -> None:
        """Lists that do not meet end in no_application_protocol, and in a cause that says so."""
        link = Link(options=certificate_options(acceptableProtocols=[b"h2"]), alpn=[b"http/1.1"])
        with self.assertRaises(SSL.Error) as caught:
            link.handshake()
        self.assertIn("no application protocol", str(caught.exception))
        failed = link.events[-1]
        assert isinstance(failed, HandshakeFailed)
        self.assertIs(failed.cause, Cause.NO_ALPN)
        self.assertEqual(link.handlers, [])

    def test_protocols_of_the_handler(self) -> None:
        """A handler's factory that has protocols is asked, and comes before the options' list."""
        handler = implementer(IProtocolNegotiationFactory)(Negotiating)(b"chat/2", b"chat/1")
        options = certificate_options(acceptableProtocols=[b"h2"])
        self.assertEqual(self.negotiated(Link(handler=handler, options=options, alpn=[b"h2", b"chat/1"])), b"chat/1")

    def test_options_behind_the_handler(self) -> None:
        """What the handler does not speak may still be in the options' list."""
        handler = implementer(IProtocolNegotiationFactory)(Negotiating)(b"chat/2")
        options = certificate_options(acceptableProtocols=[b"h2"])
        self.assertEqual(self.negotiated(Link(handler=handler, options=options, alpn=[b"h2"])), b"h2")

    def test_handler_alone(self) -> None:
        """A handler's protocols are a list: a client with others is refused."""
        handler = implementer(IProtocolNegotiationFactory)(Negotiating)(b"chat/2")
        self.assertRaises(SSL.Error, Link(handler=handler, alpn=[b"h2"]).handshake)


class ServerOptionsTests(SynchronousTestCase):
    """What `ssl:` and `mytls:` strings ask for."""

    def version(self, options: CertificateOptions, version: int | None = None) -> str:
        """The version that a client ends up with."""
        link = Link(options=options, context=client_context(version))
        link.handshake()
        return link.client.get_protocol_version_name()

    def test_versions(self) -> None:
        """Without a method, and with each that means all, TLS 1.2 and 1.3 are served."""
        for method in (None, "TLS_METHOD", "TLS_SERVER_METHOD", "SSLv23_METHOD"):
            options = server_options(key_pair(), method)
            self.assertEqual(self.version(options), "TLSv1.3", method)
            self.assertEqual(self.version(options, SSL.TLS1_2_VERSION), "TLSv1.2", method)

    def test_tls_1_2_alone(self) -> None:
        """C{TLSv1_2_METHOD} is that version and no other."""
        options = server_options(key_pair(), "TLSv1_2_METHOD")
        self.assertEqual(self.version(options), "TLSv1.2")
        self.assertRaises(SSL.Error, Link(options=options, context=client_context(SSL.TLS1_3_VERSION)).handshake)

    def test_methods_of_openssl(self) -> None:
        """Every method that is known is a name of C{OpenSSL.SSL}, as in Twisted's C{ssl:}."""
        for method in METHODS:
            self.assertIsInstance(getattr(SSL, method), int)

    def test_old_method(self) -> None:
        """What is too old is refused by name."""
        for method in ("SSLv2_METHOD", "SSLv3_METHOD", "TLSv1_METHOD", "TLSv1_1_METHOD"):
            with self.assertRaisesRegex(
                ConfigurationError, f"^sslmethod={method}: versions before TLS 1.2 are not served"
            ):
                server_options(key_pair(), method)

    def test_unknown_method(self) -> None:
        """What is no method is refused with the nearest one."""
        with self.assertRaisesRegex(
            ConfigurationError, r"^sslmethod=TLS1_2_METHOD: no such method; did you mean 'TLSv1_2_METHOD'\?$"
        ):
            server_options(key_pair(), "TLS1_2_METHOD")

    def test_chain(self) -> None:
        """The rest of the chain is sent behind the certificate."""
        child = authority().create_child_ca()
        leaf = child.issue_cert("localhost")
        chain = [x509.load_pem_x509_certificate(pem.bytes()) for pem in leaf.cert_chain_pems]
        self.assertEqual(len(chain), 2)
        pair = KeyPair(load_pem_private_key(leaf.private_key_pem.bytes(), None), chain[0], tuple(chain[1:]))
        link = Link(options=server_options(pair))
        link.handshake()
        self.assertEqual(link.client.get_peer_cert_chain(as_cryptography=True), chain)

    def test_name_is_known(self) -> None:
        """OpenSSL's name is the client's, in a first handshake and in a resumed one, in either version."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            options, context = server_options(key_pair()), client_context(version)
            first = Link(options=options, context=context)
            first.handshake()
            first.read_client()
            second = Link(options=options, context=context)
            session = first.client.get_session()
            assert session is not None
            second.client.set_session(session)
            second.handshake()
            certificate = len(key_pair().certificate.public_bytes(Encoding.DER))
            self.assertGreater(self.sent(first) - self.sent(second), certificate, "a resumed one sends no certificate")
            self.assertEqual(second.kinds(), ["Accepted", "Established"])
            self.assertEqual(second.transport.getHandle().get_servername(), b"localhost")

    def test_resumed_without_tickets(self) -> None:
        """A client of TLS 1.2 that takes no tickets resumes by the session's number."""
        options, context = server_options(key_pair()), client_context(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_TICKET)
        first, second = (Link(options=options, context=context) for _ in range(2))
        first.handshake()
        session = first.client.get_session()
        assert session is not None
        second.client.set_session(session)
        second.handshake()
        self.assertLess(self.sent(second), self.sent(first) / 2)

    def sent(self, link: Link) -> int:
        """How many bytes the server has sent."""
        return sum(len(each) for each in link.socket.writes)

    def test_renegotiation(self) -> None:
        """A client of TLS 1.2 cannot make the server shake hands again."""
        link = Link(context=client_context(SSL.TLS1_2_VERSION))
        link.handshake()
        self.assertTrue(link.client.renegotiate())
        self.assertRaises(SSL.Error, self._again, link)
        self.assertEqual(link.recorder.data, b"")

    def _again(self, link: Link) -> None:
        for _ in range(3):
            try:
                link.client.do_handshake()
            except SSL.WantReadError:
                link.pump()


class DiffieHellmanTests(SynchronousTestCase):
    """`dhParameters`."""

    def setUp(self) -> None:
        self.path = folder(self) / "dh.pem"

    def write(self, prime: int) -> Path:
        """A file of parameters."""
        number = prime.to_bytes(257, "big")
        content = b"\x02\x82" + len(number).to_bytes(2, "big") + number + b"\x02\x01\x02"
        text = base64.encodebytes(b"\x30\x82" + len(content).to_bytes(2, "big") + content).decode()
        self.path.write_text(f"-----BEGIN DH PARAMETERS-----\n{text}-----END DH PARAMETERS-----\n")
        return self.path

    def test_used(self) -> None:
        """A client of TLS 1.2 that speaks DHE alone is served with these parameters."""
        leaf = authority().issue_cert("localhost", key_type=trustme.KeyType.RSA)
        certificate = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
        pair = KeyPair(load_pem_private_key(leaf.private_key_pem.bytes(), None), certificate)
        context = client_context(SSL.TLS1_2_VERSION)
        context.set_cipher_list(b"DHE-RSA-AES128-GCM-SHA256")
        link = Link(options=server_options(pair, None, str(self.write(FFDHE2048))), context=context)
        link.handshake()
        self.assertEqual(link.client.get_cipher_name(), "DHE-RSA-AES128-GCM-SHA256")

    def test_missing(self) -> None:
        """A file that is not there is told with its word."""
        with self.assertRaisesRegex(ConfigurationError, rf"^dhParameters={self.path}: no such file$"):
            server_options(key_pair(), None, str(self.path))

    def test_other_file(self) -> None:
        """A file of something else is told as that."""
        self.path.write_bytes(authority().cert_pem.bytes())
        with self.assertRaisesRegex(ConfigurationError, "there are no PEM DH PARAMETERS in it"):
            server_options(key_pair(), None, str(self.path))

    def test_broken(self) -> None:
        """Parameters that OpenSSL cannot read are one line."""
        self.path.write_text("-----BEGIN DH PARAMETERS-----\nMEYCQQDaW\n-----END DH PARAMETERS-----\n")
        with self.assertRaisesRegex(ConfigurationError, "^OpenSSL does not take these settings: "):
            server_options(key_pair(), None, str(self.path))


@implementer(IOpenSSLServerConnectionCreator)
class Creator:
    """Makes connections its own way."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """See C{IOpenSSLServerConnectionCreator}."""
        self.asked.append(tlsProtocol)
        return SSL.Connection(certificate_options().getContext(), None)


@implementer(IOpenSSLContextFactory)
class ContextFactory:
    """Has a context."""

    def getContext(self) -> SSL.Context:
        """See C{IOpenSSLContextFactory}."""
        context: SSL.Context = certificate_options().getContext()
        return context


@implementer(IOpenSSLContextFactory)
class ContextOf:
    """Has this context."""

    def __init__(self, context: SSL.Context) -> None:
        self.context = context

    def getContext(self) -> SSL.Context:
        """See C{IOpenSSLContextFactory}."""
        return self.context


class OldContextFactory:
    """As they were before there were interfaces."""

    def getContext(self) -> SSL.Context:
        """A context."""
        return ContextFactory().getContext()


class ConnectionMakerTests(SynchronousTestCase):
    """Whatever makes connections for Twisted's TLS makes them for ours."""

    def serves(self, options: object, **client: Any) -> Link:
        """Assert that a client is served with these options."""
        link = Link(options=options, **client)
        link.handshake()
        link.client.send(b"hello")
        link.pump()
        self.assertEqual(link.recorder.data, b"hello")
        return link

    def test_certificate_options(self) -> None:
        """A C{CertificateOptions} of the user's own."""
        self.serves(certificate_options())

    def test_creator(self) -> None:
        """An C{IOpenSSLServerConnectionCreator}, which is asked with the transport that the handler gets."""
        creator = Creator()
        link = self.serves(creator)
        self.assertEqual(creator.asked, [link.transport])

    def test_context_factory(self) -> None:
        """An C{IOpenSSLContextFactory}."""
        self.serves(ContextFactory())

    def test_old_context_factory(self) -> None:
        """An object with C{getContext} and no interface."""
        self.serves(OldContextFactory())

    def test_creator_first(self) -> None:
        """What is both is asked for a connection, as Twisted does."""

        class Both(Creator, ContextFactory):
            pass

        both = Both()
        self.serves(both)
        self.assertEqual(len(both.asked), 1)

    def test_nothing(self) -> None:
        """What can make no connection is refused before there is any, and the error says what was expected."""
        for wrong in (None, "cert.pem", object()):
            with self.assertRaisesRegex(TypeError, "provides neither IOpenSSLServerConnectionCreator nor"):
                connection_maker(wrong)

    def test_used_elsewhere(self) -> None:
        """Options whose context is in use already serve here too, and that context stays as it is."""
        options = certificate_options()
        SSL.Connection(options.getContext(), None)
        self.serves(options)

    def test_contexts_by_name(self) -> None:
        """Options that choose a context by the name still do."""
        asked: list[bytes | None] = []

        def context_for(name: bytes | None) -> SSL.Context:
            asked.append(name)
            context: SSL.Context = certificate_options().getContext()
            return context

        try:
            options = certificate_options(contextForServerName=context_for)
        except TypeError:
            self.skipTest("this Twisted has no such option")
        self.serves(options, server_name=b"a.example")
        self.assertEqual(asked, [b"a.example"])

    def test_later_twisted(self) -> None:
        """A Twisted that keeps its list of protocols elsewhere keeps its own answers, and serves."""
        options = certificate_options()
        context = options.getContext()
        del options._acceptableProtocols
        connection_maker(options)
        self.serves(ContextOf(context))

    def test_used_twice(self) -> None:
        """The same options may serve at two places."""
        options = server_options(key_pair())
        self.serves(options, alpn=[b"h2"])
        self.serves(options, alpn=[b"h2"])
