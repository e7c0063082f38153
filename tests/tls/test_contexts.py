"""Settings in, contexts out, seen from the client's end."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import attrs
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
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
from mytls.settings import HostSettings
from mytls.tls import contexts
from mytls.tls.certificates import KeyPair
from mytls.tls.contexts import SESSION_LIFETIME, connection_maker, host_options
from mytls.tls.profiles import PROFILES
from mytls.tls.trust import ClientTrust
from tests.files import folder
from tests.memory import Link, RecorderFactory, authority, client_context, key_pair, tls_options
from tests.tls.authority import DAY, Authority, ec_key, rsa_key, showing
from tests.tls.clients import VERSIONS, trusting

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


class Negotiation(SynchronousTestCase):
    """What is agreed on by ALPN."""

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

    def assertRefused(self, link: Link) -> None:
        """Assert that the client is told no_application_protocol, with a cause that says so, and meets no handler."""
        with self.assertRaises(SSL.Error) as caught:
            link.handshake()
        self.assertIn("no application protocol", str(caught.exception))
        failed = link.events[-1]
        assert isinstance(failed, HandshakeFailed)
        self.assertIs(failed.cause, Cause.NO_ALPN)
        self.assertEqual(link.handlers, [])


class ALPNTests(Negotiation):
    """RFC 7301 section 3.2."""

    def test_no_list(self) -> None:
        """A server without a list takes every client, and agrees on nothing."""
        for options in (tls_options(), certificate_options()):
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
        options = certificate_options(acceptableProtocols=[b"h2"])
        self.assertRefused(Link(options=options, alpn=[b"http/1.1"]))

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


class HostALPNTests(Negotiation):
    """`alpn`: the list that a host is said to have."""

    def test_order(self) -> None:
        """Of a mixed list the host's first is spoken, whatever the client's order."""
        options = tls_options(alpn=("acme-tls/1", "h2", "http/1.1"))
        for offered, agreed in (
            ([b"http/1.1", b"h2"], b"h2"),
            ([b"x", b"http/1.1"], b"http/1.1"),
            ([b"h2", b"acme-tls/1"], b"acme-tls/1"),
            ([b"acme-tls/1"], b"acme-tls/1"),
        ):
            self.assertEqual(self.negotiated(Link(options=options, alpn=offered)), agreed)

    def test_refused(self) -> None:
        """A client that offers none of it is refused, in either version; acme-tls/1 is nothing special."""
        for offered in ([b"http/1.1"], [b"acme-tls/1"], [b"H2"], [b"h2c", b"h"]):
            for version in VERSIONS:
                options = tls_options(alpn=("h2",))
                self.assertRefused(Link(options=options, alpn=offered, context=client_context(version)))

    def test_offers_nothing(self) -> None:
        """A client without the extension is served."""
        self.assertEqual(self.negotiated(Link(options=tls_options(alpn=("h2",)))), b"")

    def test_no_name(self) -> None:
        """What can be no protocol's name is refused."""
        for wrong in ("", "x" * 256):
            with self.assertRaisesRegex(
                ConfigurationError, f"^alpn={wrong[:200]}(...)?: no protocol's name; it has 1 to 255 bytes"
            ):
                tls_options(alpn=("h2", wrong))

    def test_handler_adds_nothing(self) -> None:
        """What the host says stands alone: protocols of the handler's do not add to it."""
        handler = implementer(IProtocolNegotiationFactory)(Negotiating)(b"chat/2", b"h2")
        options = tls_options(alpn=("http/1.1", "h2"))
        link = Link(handler=handler, options=options, alpn=[b"chat/2", b"h2", b"http/1.1"])
        self.assertEqual(self.negotiated(link), b"http/1.1")
        self.assertRaises(SSL.Error, Link(handler=handler, options=options, alpn=[b"chat/2"]).handshake)


class HostOptionsTests(SynchronousTestCase):
    """What every host's context does."""

    def test_name_is_known(self) -> None:
        """OpenSSL's name is the client's, in a first handshake and in a resumed one, in either version."""
        for version in VERSIONS:
            options, context = tls_options(), client_context(version)
            first = Link(options=options, context=context)
            first.handshake()
            first.read_client()
            second = Link(options=options, context=context)
            session = first.client.get_session()
            assert session is not None
            second.client.set_session(session)
            second.handshake()
            certificate = len(key_pair().certificate.public_bytes(Encoding.DER))
            self.assertGreater(sent(first) - sent(second), certificate, "a resumed one sends no certificate")
            self.assertEqual(second.kinds(), ["Accepted", "Established"])
            self.assertEqual(second.transport.getHandle().get_servername(), b"localhost")

    def test_resumed_without_tickets(self) -> None:
        """A client of TLS 1.2 that takes no tickets resumes by the session's number."""
        options, context = tls_options(), client_context(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_TICKET)
        first, second = (Link(options=options, context=context) for _ in range(2))
        first.handshake()
        session = first.client.get_session()
        assert session is not None
        second.client.set_session(session)
        second.handshake()
        self.assertLess(sent(second), sent(first) / 2)

    def test_later_twisted(self) -> None:
        """A Twisted that keeps its options elsewhere keeps its own order of suites."""

        class Later:
            def __init__(self, **said: object) -> None:
                """Take what is said."""

        self.patch(contexts, "HostOptions", Later)
        self.assertFalse(hasattr(contexts._bare_options(PROFILES["modern"]), "_options"))

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


def options_for(clients: ClientTrust | None, pair: KeyPair | None = None, **said: Any) -> CertificateOptions:
    """The options of a host with client certificates."""
    settings = HostSettings(**{"client_auth": "required", **said})
    return host_options(settings, [pair or key_pair()], clients)


class ChainTests(SynchronousTestCase):
    """What is sent of the certificates of a host."""

    def setUp(self) -> None:
        self.root = Authority("Root")

    def shown(self, options: CertificateOptions, context: SSL.Context) -> list[x509.Certificate]:
        """What a client gets to see."""
        link = Link(options=options, context=context)
        link.handshake()
        return link.client.get_peer_cert_chain(as_cryptography=True) or []

    def test_chain(self) -> None:
        """The chain is sent behind the certificate, in its order, as long as it is; also a root."""
        lower = Authority("Lower", Authority("Upper", self.root))
        pair = lower.issue()
        whole = attrs.evolve(pair, chain=(*pair.chain, self.root.certificate))
        for each in (self.root.issue(), pair, whole):
            for version in VERSIONS:
                sent = self.shown(tls_options(each), client_context(version))
                self.assertEqual(sent, [each.certificate, *each.chain])

    def test_nothing_of_others(self) -> None:
        """A CA of the clients' is not sent, also where it has issued the server's certificate."""
        pair = self.root.issue()
        self.assertEqual(
            self.shown(options_for(trusting(self.root), pair, client_auth="optional"), client_context()),
            [pair.certificate],
        )

    def test_two_kinds_of_keys(self) -> None:
        """Of an RSA and an ECDSA certificate each client is shown the one that it can verify, with its own chain."""
        of_rsa = Authority("RSA's CA", self.root).issue(key=rsa_key())
        of_ecdsa = Authority("ECDSA's CA", Authority("Its CA", self.root)).issue()
        for pairs in ([of_rsa, of_ecdsa], [of_ecdsa, of_rsa]):
            options = host_options(HostSettings(), pairs)
            for version in VERSIONS:
                for algorithms, pair in (
                    (b"rsa_pss_rsae_sha256:RSA+SHA256", of_rsa),
                    (b"ECDSA+SHA256", of_ecdsa),
                ):
                    sent = self.shown(options, verifying(algorithms, version))
                    self.assertEqual(sent, [pair.certificate, *pair.chain])

    def test_two_kinds_of_suites(self) -> None:
        """In TLS 1.2 the client's suites decide too."""
        of_rsa, of_ecdsa = Authority("A", self.root).issue(key=rsa_key()), Authority("B", self.root).issue()
        options = host_options(HostSettings(), [of_rsa, of_ecdsa])
        for suite, pair in (("ECDHE-RSA-AES128-GCM-SHA256", of_rsa), ("ECDHE-ECDSA-AES128-GCM-SHA256", of_ecdsa)):
            context = client_context(SSL.TLS1_2_VERSION)
            context.set_cipher_list(suite.encode())
            self.assertEqual(self.shown(options, context), [pair.certificate, *pair.chain])

    def test_edwards_curve(self) -> None:
        """An Ed25519 key serves."""
        pair = self.root.issue(key=Ed25519PrivateKey.generate())
        self.assertEqual(self.shown(tls_options(pair), client_context()), [pair.certificate])

    def test_without_files_in_memory(self) -> None:
        """Where the system has no files in memory the chain is whole too, and nothing stays on disk."""
        place = folder(self)
        self.patch(tempfile, "tempdir", str(place))
        self.patch(contexts, "_in_memory", lambda: False)
        pair = Authority("A", self.root).issue()
        self.assertEqual(self.shown(tls_options(pair), client_context()), [pair.certificate, *pair.chain])
        self.assertEqual(list(place.iterdir()), [])

    def test_weak_key(self) -> None:
        """RSA with 1024 bits is served, at the security level that it needs, alone or beside another."""
        weak, good = self.root.issue(key=rsa_key(1024)), self.root.issue()
        for pairs in ([weak], [weak, good], [good, weak]):
            options = host_options(HostSettings(), pairs)
            for version in VERSIONS:
                algorithms = b"rsa_pss_rsae_sha256:RSA+SHA256"
                self.assertEqual(self.shown(options, verifying(algorithms, version)), [weak.certificate])

    def test_weak_chain(self) -> None:
        """So is a certificate below a CA with such a key."""
        weak = Authority("Weak", self.root, key=rsa_key(1024))
        pair = weak.issue()
        self.assertEqual(self.shown(tls_options(pair), client_context()), [pair.certificate, *pair.chain])

    def test_level_of_others(self) -> None:
        """The level is lowered for that host alone: another verifies clients as strictly as ever."""
        weak = showing(self.root.client(key=rsa_key(1024)), seclevel(1))
        tls_options(self.root.issue(key=rsa_key(1024)))
        link = Link(options=options_for(trusting(self.root)), context=weak)
        self.assertRaises(SSL.Error, link.handshake)
        failed = link.events[-1]
        assert isinstance(failed, HandshakeFailed)
        self.assertIn("its key is too weak: client certificate cn=friend", failed.detail)

    def test_worthless_key(self) -> None:
        """RSA with 512 bits is refused in one line, in each profile."""
        for profile in ("modern", "intermediate", "old"):
            with self.assertRaisesRegex(
                ConfigurationError, "^certKey=w.pem: its key is so short that it protects nothing"
            ):
                pair = attrs.evolve(self.root.issue(key=toy_key()), source="w.pem")
                tls_options(pair, profile=profile, wrote={"certificate": "certKey"})

    def test_foreign_curve(self) -> None:
        """A key on a curve that TLS does not have is refused where there is no other key; nobody could be served."""
        bitcoin = self.root.issue(key=ec.generate_private_key(ec.SECP256K1()))
        with self.assertRaisesRegex(
            ConfigurationError, "^certificate=.*: its key is on a curve that TLS does not have"
        ):
            host_options(HostSettings(), [bitcoin])
        Link(options=host_options(HostSettings(), [bitcoin, self.root.issue(key=rsa_key())])).handshake()

    def test_worthless_chain(self) -> None:
        """A CA with such a key is refused with OpenSSL's reason; `old`, which has no level, serves it."""
        pair = attrs.evolve(Authority("Toy", self.root, key=toy_key()).issue(), source="w.pem")
        with self.assertRaisesRegex(
            ConfigurationError, "^certificate=w.pem: OpenSSL does not take it: ca key too small$"
        ):
            tls_options(pair)
        sent = self.shown(tls_options(pair, profile="old"), seclevel(0))
        self.assertEqual(sent, [pair.certificate, *pair.chain])

    def test_nothing_to_show(self) -> None:
        """A host without a certificate is none."""
        with self.assertRaisesRegex(ConfigurationError, "^certificate=: there is none to show$"):
            host_options(HostSettings(), [])

    def test_wrong_key(self) -> None:
        """A key that does not fit would be served to nobody: it is refused, and not told of in the error."""
        pair = attrs.evolve(self.root.issue(), key=ec_key(), source="w.pem")
        with self.assertRaisesRegex(ConfigurationError, "^certificate=w.pem: OpenSSL does not take it: .*mismatch"):
            tls_options(pair)


class SessionTests(SynchronousTestCase):
    """A session made under one context never resumes in another."""

    #: TLS 1.2 by ticket and by number, TLS 1.3.
    WAYS = ((SSL.TLS1_2_VERSION, 0), (SSL.TLS1_2_VERSION, SSL.OP_NO_TICKET), (SSL.TLS1_3_VERSION, 0))

    def setUp(self) -> None:
        self.root = Authority("Clients' CA")

    def meets(self, context: SSL.Context, options: CertificateOptions, session: SSL.Session | None = None) -> Link:
        """A client that has this session."""
        link = Link(options=options, context=context)
        if session is not None:
            link.client.set_session(session)
        link.handshake()
        link.read_client()
        return link

    def resumed(self, context: SSL.Context, first: CertificateOptions, second: CertificateOptions) -> bool:
        """Whether a client of the first goes on at the second."""
        one = self.meets(context, first)
        session = one.client.get_session()
        other = self.meets(context, second, session)
        for each in (one, other):
            self.assertEqual(each.kinds(), ["Accepted", "Established"])
        certificate = len(key_pair().certificate.public_bytes(Encoding.DER))
        # A handshake that is resumed sends no certificate; a full one sends the same as the first.
        saved = sent(one) - sent(other)
        self.assertTrue(saved > certificate or abs(saved) < certificate / 3, saved)
        return saved > certificate

    def contexts(self, shows: bool) -> Iterator[SSL.Context]:
        """A client in each way."""
        for version, option in self.WAYS:
            context = client_context(version)
            context.set_options(option)
            yield showing(self.root.client(), context) if shows else context

    def test_own(self) -> None:
        """In its own context it does, in each way; with client certificates by ticket alone."""
        for shows, options in ((False, tls_options()), (True, options_for(trusting(self.root)))):
            for context, (_, option) in zip(self.contexts(shows), self.WAYS, strict=True):
                self.assertIs(self.resumed(context, options, options), not (shows and option))

    def test_other(self) -> None:
        """In that of the same settings it does not."""
        trust = trusting(self.root)
        for shows, make in ((False, tls_options), (True, lambda: options_for(trust))):
            for context in self.contexts(shows):
                self.assertFalse(self.resumed(context, make(), make()))

    def test_who_it_is(self) -> None:
        """A session that is resumed has the certificate that it was made with."""
        for context in self.contexts(True):
            options = options_for(trusting(self.root))
            first = self.meets(context, options)
            again = self.meets(context, options, first.client.get_session())
            known = [link.transport.peer.certificate for link in (first, again) if link.transport.peer]
            self.assertEqual(len(known), 2)
            self.assertIsNotNone(known[0])
            self.assertEqual(known[0], known[1])

    def test_lifetime(self) -> None:
        """A session is good for two hours."""
        self.assertEqual(SESSION_LIFETIME, 2 * 60 * 60)
        self.assertEqual(tls_options().getContext().get_timeout(), SESSION_LIFETIME)


class StapleTests(SynchronousTestCase):
    """OCSP responses (RFC 6066 section 8, RFC 8446 section 4.4.2.1)."""

    def setUp(self) -> None:
        self.root = Authority("Root")

    def with_staple(self, until: Any = DAY, **how: Any) -> KeyPair:
        """A certificate with its response."""
        pair = self.root.issue(**how)
        return attrs.evolve(pair, staple=self.root.staple(pair.certificate, until))

    def stapled(self, pairs: Sequence[KeyPair], context: SSL.Context, ask: bool = True) -> list[bytes]:
        """What the client has heard, in a handshake that succeeds."""
        heard: list[bytes] = []

        def hear(connection: SSL.Connection, response: bytes, data: Any) -> bool:
            heard.append(response)
            return True

        context.set_ocsp_client_callback(hear)
        link = Link(options=host_options(HostSettings(), pairs), context=context)
        if ask:
            link.client.request_ocsp()
        link.handshake()
        return heard

    def test_asked(self) -> None:
        """A client that asks gets the response, in either version."""
        pair = self.with_staple()
        for version in VERSIONS:
            self.assertEqual(self.stapled([pair], client_context(version)), [pair.staple])

    def test_not_asked(self) -> None:
        """One that does not ask is sent none: it would have to refuse it."""
        pair = self.with_staple()
        for version in VERSIONS:
            self.assertEqual(self.stapled([pair], client_context(version), ask=False), [])

    def test_of_the_certificate_shown(self) -> None:
        """Of several certificates the response is that of the one that the client sees; none, where that has none."""
        of_rsa, of_ecdsa = self.with_staple(key=rsa_key()), self.with_staple()
        bare = self.root.issue()
        for version in VERSIONS:
            for pairs, algorithms, expected in (
                ([of_rsa, of_ecdsa], b"rsa_pss_rsae_sha256:RSA+SHA256", of_rsa.staple),
                ([of_rsa, of_ecdsa], b"ECDSA+SHA256", of_ecdsa.staple),
                ([of_rsa, bare], b"rsa_pss_rsae_sha256:RSA+SHA256", of_rsa.staple),
                ([of_rsa, bare], b"ECDSA+SHA256", b""),
            ):
                self.assertEqual(self.stapled(pairs, verifying(algorithms, version)), [expected])

    def test_past_its_time(self) -> None:
        """A response that has become old since it was loaded is not sent: clients would refuse the certificate."""
        for version in VERSIONS:
            self.assertEqual(self.stapled([self.with_staple(until=-DAY / 2)], client_context(version)), [b""])


class KeyLogTests(SynchronousTestCase):
    """`keylog`: the NSS key log format."""

    def test_lines(self) -> None:
        """Each secret of each handshake is a line, as the client has it."""
        for version, labels in (
            (SSL.TLS1_2_VERSION, [b"CLIENT_RANDOM"]),
            (
                SSL.TLS1_3_VERSION,
                [
                    b"CLIENT_HANDSHAKE_TRAFFIC_SECRET",
                    b"CLIENT_TRAFFIC_SECRET_0",
                    b"EXPORTER_SECRET",
                    b"SERVER_HANDSHAKE_TRAFFIC_SECRET",
                    b"SERVER_TRAFFIC_SECRET_0",
                ],
            ),
        ):
            ours: list[bytes] = []
            theirs: list[bytes] = []
            context = client_context(version)
            context.set_keylog_callback(lambda connection, line, theirs=theirs: theirs.append(line))  # type: ignore[misc]
            Link(options=host_options(HostSettings(), [key_pair()], keylog=ours.append), context=context).handshake()
            self.assertEqual(sorted(line.split()[0] for line in ours), labels)
            self.assertEqual(sorted(ours), sorted(theirs))

    def test_not_asked_for(self) -> None:
        """Without it no secret leaves OpenSSL."""
        asked: list[object] = []
        self.patch(SSL.Context, "set_keylog_callback", lambda context, callback: asked.append(callback))
        tls_options()
        self.assertEqual(asked, [])


def sent(link: Link) -> int:
    """How many bytes the server has sent."""
    return sum(len(each) for each in link.socket.writes)


def verifying(algorithms: bytes, version: int) -> SSL.Context:
    """A client's context that knows these signature algorithms alone, for which pyOpenSSL has no public call."""
    context = seclevel(1)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    library: Any = getattr(SSL, "_lib")  # noqa: B009  # private, and not in pyOpenSSL's types
    assert library.SSL_CTX_set1_sigalgs_list(cast(Any, context)._context, algorithms) == 1
    return context


def seclevel(level: int) -> SSL.Context:
    """A client's context of this security level."""
    context = client_context()
    context.set_cipher_list(f"DEFAULT:@SECLEVEL={level}".encode())
    return context


def toy_key() -> rsa.RSAPrivateKey:
    """An RSA key of 512 bits, from two primes of elliptic curves."""
    p, q = 2**255 - 19, 2**256 - 2**32 - 977
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), public
    )
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


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

    def test_agreed_on(self) -> None:
        """A client of TLS 1.2 that speaks DHE alone is served with these parameters."""
        leaf = authority().issue_cert("localhost", key_type=trustme.KeyType.RSA)
        certificate = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
        pair = KeyPair(load_pem_private_key(leaf.private_key_pem.bytes(), None), certificate)
        context = client_context(SSL.TLS1_2_VERSION)
        context.set_cipher_list(b"DHE-RSA-AES128-GCM-SHA256")
        link = Link(options=tls_options(pair, dh_parameters=str(self.write(FFDHE2048))), context=context)
        link.handshake()
        self.assertEqual(link.client.get_cipher_name(), "DHE-RSA-AES128-GCM-SHA256")

    def test_missing(self) -> None:
        """A file that is not there is told with its word."""
        with self.assertRaisesRegex(ConfigurationError, rf"^dhParameters={self.path}: no such file$"):
            tls_options(dh_parameters=str(self.path), wrote={"dh-parameters": "dhParameters"})

    def test_other_file(self) -> None:
        """A file of something else is told as that."""
        self.path.write_bytes(authority().cert_pem.bytes())
        with self.assertRaisesRegex(ConfigurationError, "there are no PEM DH PARAMETERS in it"):
            tls_options(dh_parameters=str(self.path), wrote={"dh-parameters": "dhParameters"})

    def test_broken(self) -> None:
        """Parameters that OpenSSL cannot read are one line."""
        self.path.write_text("-----BEGIN DH PARAMETERS-----\nMEYCQQDaW\n-----END DH PARAMETERS-----\n")
        with self.assertRaisesRegex(ConfigurationError, rf"^dhParameters={self.path}: OpenSSL does not take it: "):
            tls_options(dh_parameters=str(self.path), wrote={"dh-parameters": "dhParameters"})


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
        options = tls_options()
        self.serves(options, alpn=[b"h2"])
        self.serves(options, alpn=[b"h2"])
