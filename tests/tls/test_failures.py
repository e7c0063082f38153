"""OpenSSL's errors as causes, from handshakes that really fail."""

from __future__ import annotations

import gc
from typing import Any

import attrs
import trustme
from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import Certificate, CertificateOptions, trustRootFromCertificates
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mytls.errors import Cause
from mytls.events import HandshakeFailed
from mytls.peer import Identity
from mytls.settings import HostSettings
from mytls.tls import verifier
from mytls.tls.certificates import KeyPair
from mytls.tls.contexts import NoCommonProtocol, host_options
from mytls.tls.failures import explain
from mytls.tls.refusals import unverified
from mytls.tls.trust import ClientTrust
from tests.memory import Link, authority, client_context, key_pair
from tests.tls.authority import DAY, SERVER, Authority, rsa_key, showing

VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)


def asking_for_certificates() -> CertificateOptions:
    """Options of a server that lets nobody in without a certificate."""
    pair = key_pair()
    root: Any = trustRootFromCertificates([Certificate.loadPEM(authority().cert_pem.bytes())])
    options: CertificateOptions = CertificateOptions(
        privateKey=pair.key,  # type: ignore[arg-type]  # cryptography's own types, which pyOpenSSL prefers
        certificate=pair.certificate,  # type: ignore[arg-type]  # likewise
        trustRoot=root,
    )
    return options


@implementer(IOpenSSLContextFactory)
class ContextOf:
    """Has this context."""

    def __init__(self, context: SSL.Context) -> None:
        self.context = context

    def getContext(self) -> SSL.Context:
        """See C{IOpenSSLContextFactory}."""
        return self.context


def shown(certificate: x509.Certificate) -> str:
    """Whom a certificate names."""
    return Identity.of(certificate).shown()


class HandshakeFailures(SynchronousTestCase):
    """Two ends that cannot agree."""

    def failure(self, link: Link) -> HandshakeFailed:
        """The one event of a handshake that fails; no handler has been met."""
        try:
            link.handshake()
            link.read_client()
        except SSL.Error:
            link.to_server(link.outgoing())
        last = link.events[-1]
        self.assertEqual(link.kinds(), ["Accepted", "HandshakeFailed"])
        self.assertEqual(link.handlers, [])
        assert isinstance(last, HandshakeFailed)
        return last


class HandshakeTests(HandshakeFailures):
    """What OpenSSL's errors mean."""

    def after_the_hello(self, version: int, data: bytes) -> HandshakeFailed:
        """What a server says of a client that sends this behind its ClientHello."""
        link = Link(context=client_context(version))
        self.assertRaises(SSL.WantReadError, link.client.do_handshake)
        link.to_server(link.outgoing())
        link.to_server(data)
        last = link.events[-1]
        assert isinstance(last, HandshakeFailed), link.events
        return last

    def test_old_version(self) -> None:
        """A client that speaks TLS 1.1 at most is too old."""
        context = client_context()
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        context.set_min_proto_version(SSL.TLS1_VERSION)
        context.set_max_proto_version(SSL.TLS1_1_VERSION)
        self.assertIs(self.failure(Link(context=context)).cause, Cause.OLD_VERSION)

    def test_no_common_cipher(self) -> None:
        """A client whose suites we have no key for, or none of."""
        for suites in (b"AES128-SHA", b"ECDHE-RSA-AES128-GCM-SHA256"):
            context = client_context(SSL.TLS1_2_VERSION)
            context.set_cipher_list(suites)
            self.assertIs(self.failure(Link(context=context)).cause, Cause.NO_COMMON_CIPHER)

    def test_no_certificate(self) -> None:
        """A client without the certificate that is asked for."""
        for version in VERSIONS:
            link = Link(options=asking_for_certificates(), context=client_context(version))
            self.assertIs(self.failure(link).cause, Cause.NO_CERTIFICATE)

    def test_unknown_ca(self) -> None:
        """A client with a certificate of an authority that is not ours."""
        for version in VERSIONS:
            context = client_context(version)
            trustme.CA().issue_cert("stranger").configure_cert(context)
            self.assertIs(
                self.failure(Link(options=asking_for_certificates(), context=context)).cause, Cause.UNKNOWN_CA
            )

    def test_known_ca(self) -> None:
        """One with a certificate of ours is let in: the tests above refuse for the reason that they name."""
        context = client_context()
        authority().issue_cert("friend").configure_cert(context)
        link = Link(options=asking_for_certificates(), context=context)
        link.handshake()
        self.assertEqual(link.kinds(), ["Accepted", "Established"])

    def test_peer_alert(self) -> None:
        """A client that does not trust our certificate says so, and its word is told."""
        for version in VERSIONS:
            context = client_context(version)
            context.set_verify(SSL.VERIFY_PEER, lambda *facts: False)
            failure = self.failure(Link(context=context))
            self.assertIs(failure.cause, Cause.PEER_ALERT)
            self.assertIn("unknown ca", failure.detail)

    def test_alert_in_the_clear(self) -> None:
        """An alert in place of the client's next message is one."""
        for version in VERSIONS:
            failure = self.after_the_hello(version, b"\x15\x03\x03\0\2\2\x2e")
            self.assertIs(failure.cause, Cause.PEER_ALERT)
            self.assertIn("certificate unknown", failure.detail)

    def test_close_notify(self) -> None:
        """A client that says goodbye in the middle of its handshake is understood."""
        for version in VERSIONS:
            failure = self.after_the_hello(version, b"\x15\x03\x03\0\2\1\0")
            self.assertEqual(
                (failure.cause, failure.detail), (Cause.PEER_ALERT, "the peer sent close_notify in the middle of TLS")
            )

    def test_garbage(self) -> None:
        """What is no TLS behind the ClientHello, is told as what OpenSSL makes of it."""
        for version in VERSIONS:
            for data in (
                b"\x17\x03\x03\x7f\xff",
                b"\x14\x03\x03\0\1\2",
                b"\x16\x03\x03\0\4\1\0\0\0",
                b"\x17\x03\x03\0\5hello",
            ):
                failure = self.after_the_hello(version, data)
                self.assertIs(failure.cause, Cause.BAD_HELLO)
                self.assertRegex(failure.detail, "^[a-z ]+$")

    def test_wrong_version_number(self) -> None:
        """A plain request in the middle of TLS 1.2 is not TLS."""
        self.assertIs(self.after_the_hello(SSL.TLS1_2_VERSION, b"GET / HTTP/1.1\r\n\r\n").cause, Cause.NOT_TLS)

    def test_no_alpn(self) -> None:
        """Protocols that do not meet are told, a stranger's words made harmless."""
        pair = key_pair()
        options = CertificateOptions(
            privateKey=pair.key,  # type: ignore[arg-type]  # as above
            certificate=pair.certificate,  # type: ignore[arg-type]  # as above
            acceptableProtocols=[b"h2"],
        )
        failure = self.failure(Link(options=options, alpn=[b"http/1.1", b"a\n b"]))
        self.assertIs(failure.cause, Cause.NO_ALPN)
        self.assertEqual(failure.detail, r"none of the client's protocols is served: http/1.1,a\x0a\x20b")

    def test_fault_of_ours(self) -> None:
        """A callback that raises is no fault of the peer's: one traceback, and a cause that says whose it was."""
        options = asking_for_certificates()

        def wrong(connection: SSL.Connection, offered: list[bytes]) -> bytes:
            raise ZeroDivisionError

        options.getContext().set_alpn_select_callback(wrong)
        maker = ContextOf(options.getContext())
        failure = self.failure(Link(options=maker, alpn=[b"h2"]))
        self.assertEqual(
            (failure.cause, failure.detail), (Cause.HANDLER, "a callback of the TLS context raised ZeroDivisionError")
        )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class ClientCertificateTests(HandshakeFailures):
    """Why a client's certificate was refused, in either version: the cause, and which certificate it was."""

    def setUp(self) -> None:
        self.root = Authority("Root")
        self.between = Authority("Between", self.root)

    def refused(self, client: KeyPair, *revocations: x509.CertificateRevocationList) -> tuple[Cause, str]:
        """Why this client is refused, where he is."""
        trust = ClientTrust((self.root.certificate,), revocations)
        told = set()
        for version in VERSIONS:
            for client_auth in ("required", "optional"):
                options = host_options(HostSettings(client_auth=client_auth), [key_pair()], trust)
                failure = self.failure(Link(options=options, context=showing(client, client_context(version))))
                told.add((failure.cause, failure.detail))
        (one,) = told
        return one

    def of(self, pair: KeyPair) -> str:
        """How a client's own certificate is told of."""
        return f"client certificate {shown(pair.certificate)}"

    def test_expired(self) -> None:
        """Past its time."""
        client = self.root.client(until=-DAY / 2)
        self.assertEqual(self.refused(client), (Cause.EXPIRED, f"it has expired: {self.of(client)}"))

    def test_not_yet_valid(self) -> None:
        """Before its time."""
        client = self.root.client(since=DAY / 2)
        self.assertEqual(self.refused(client), (Cause.NOT_YET_VALID, f"it is not valid yet: {self.of(client)}"))

    def test_wrong_usage(self) -> None:
        """For servers alone: no server lets in another server's certificate."""
        client = self.root.client(usages=(SERVER,))
        expected = f"it is not for clients (extended key usage): {self.of(client)}"
        self.assertEqual(self.refused(client), (Cause.WRONG_USAGE, expected))

    def test_unknown_ca(self) -> None:
        """Of another authority, one of the same name among them; signed by itself; without what stands in between."""
        other = Authority("Other")
        of_between = attrs.evolve(self.between.client(), chain=())
        same_name = Authority("Root").client()
        itself = KeyPair(other.key, other.certificate)
        for client, words in (
            (other.client(), "no CA of client-ca has issued it"),
            (of_between, "no CA of client-ca has issued it"),
            (same_name, "no CA of client-ca has issued it"),
            (itself, "it is signed by itself, and not in client-ca"),
        ):
            self.assertEqual(self.refused(client), (Cause.UNKNOWN_CA, f"{words}: {self.of(client)}"))

    def test_foreign_root(self) -> None:
        """A root that the client sends along is no root of ours: it is told of, and whom it was to vouch for."""
        other = Authority("Other")
        client = attrs.evolve(other.client(), chain=(other.certificate,))
        of_root = f"its root is not in client-ca: CA of the client's chain {shown(other.certificate)}"
        self.assertEqual(self.refused(client), (Cause.UNKNOWN_CA, f"{of_root}; it was for {self.of(client)}"))

    def test_expired_ca(self) -> None:
        """A CA that is past its time has no clients any more."""
        late = Authority("Late", self.root, until=-DAY / 2)
        client = late.client()
        of_ca = f"it has expired: CA of the client's chain {shown(late.certificate)}"
        self.assertEqual(self.refused(client), (Cause.EXPIRED, f"{of_ca}; it was for {self.of(client)}"))

    def test_no_ca(self) -> None:
        """A client that issues certificates is no CA."""
        client = self.root.client("client")
        liar = Authority("client")
        liar.key, liar.certificate, liar.above = client.key, client.certificate, self.root
        of_liar = f"it is no CA: CA of the client's chain {shown(client.certificate)}"
        his = liar.client()
        self.assertEqual(self.refused(his), (Cause.UNKNOWN_CA, f"{of_liar}; it was for {self.of(his)}"))

    def test_other_trouble(self) -> None:
        """What has no words of its own is told by OpenSSL's number, and counts as a CA that is not ours."""
        root = self.root.certificate
        failure = unverified(999, 0, X509.from_cryptography(root), "server", "trustRoots")
        self.assertIs(failure.cause, Cause.UNKNOWN_CA)
        self.assertEqual(failure.detail, f"OpenSSL's verification error 999: server certificate {shown(root)}")

    def test_weak_key(self) -> None:
        """A key below OpenSSL's level."""
        client = self.root.client(key=rsa_key(1024))
        self.assertEqual(
            self.refused_at(client, client_level=1), (Cause.UNKNOWN_CA, f"its key is too weak: {self.of(client)}")
        )

    def refused_at(self, client: KeyPair, client_level: int) -> tuple[Cause, str]:
        """Why a client is refused that itself has no objection to its key."""
        context = client_context()
        context.set_cipher_list(f"DEFAULT:@SECLEVEL={client_level}".encode())
        trust = ClientTrust((self.root.certificate,))
        options = host_options(HostSettings(client_auth="required"), [key_pair()], trust)
        failure = self.failure(Link(options=options, context=showing(client, context)))
        return failure.cause, failure.detail

    def test_revoked(self) -> None:
        """On the list of its CA."""
        client = self.root.client()
        told = self.refused(client, self.root.revoking(client.certificate))
        self.assertEqual(told, (Cause.REVOKED, f"it was revoked: {self.of(client)}"))

    def test_revoked_below_an_intermediate(self) -> None:
        """On the list of an intermediate; the root has a list or has none."""
        client = self.between.client()
        lists = (self.between.revoking(client.certificate), self.root.revoking())
        for revocations in (lists, lists[:1]):
            told = self.refused(client, *revocations)
            self.assertEqual(told, (Cause.REVOKED, f"it was revoked: {self.of(client)}"))

    def test_revoked_ca(self) -> None:
        """A client below a CA that was revoked itself, where the CAs have lists."""
        client = self.between.client()
        told = self.refused(client, self.between.revoking(), self.root.revoking(self.between.certificate))
        of_ca = f"it was revoked: CA of the client's chain {shown(self.between.certificate)}"
        self.assertEqual(told, (Cause.REVOKED, f"{of_ca}; it was for {self.of(client)}"))

    def test_no_list(self) -> None:
        """Where there are lists, a client of a CA without one is refused: nobody knows whether it was revoked."""
        client = self.between.client()
        cause, detail = self.refused(client, self.root.revoking())
        self.assertIs(cause, Cause.REVOKED)
        trouble = "whether it was revoked cannot be told: there is no revocation list of its issuer's"
        self.assertEqual(detail, f"{trouble}: {self.of(client)}")

    def test_list_out_of_time(self) -> None:
        """A list past its next update, or before its time, lets nobody in."""
        client = self.root.client()
        for late, words in (
            (self.root.revoking(until=-DAY / 2), "past its next update"),
            (self.root.revoking(since=DAY / 2), "not valid yet"),
        ):
            cause, detail = self.refused(client, late)
            self.assertIs(cause, Cause.REVOKED)
            trouble = f"whether it was revoked cannot be told: its issuer's revocation list is {words}"
            self.assertEqual(detail, f"{trouble}: {self.of(client)}")

    def test_forged_list(self) -> None:
        """A list that somebody else has signed lets nobody in."""
        client = self.root.client()
        cause, detail = self.refused(client, Authority("Root").revoking())
        self.assertIs(cause, Cause.REVOKED)
        self.assertRegex(
            detail, "revocation list has a wrong signature: client certificate cn=friend dns=friend serial="
        )

    def test_strangers_words(self) -> None:
        """The subject is a stranger's: it comes as one line, and can end no quotes."""
        _, detail = self.refused(Authority("Other").client('a\n"b serial=01'))
        self.assertIn(r"client certificate cn=a\x0a\x22b\x20serial=01 dns=a\x0a\x22b\x20serial=01 serial=", detail)

    def test_unreadable(self) -> None:
        """A certificate that cannot be read is said to be that, and the cause is known all the same."""
        client = Authority("Other").client()
        serial = f"{client.certificate.serial_number:X}"

        def broken(der: bytes) -> Identity:
            raise ValueError

        self.patch(Identity, "of_der", broken)
        expected = f"no CA of client-ca has issued it: client certificate that does not parse, serial={serial}"
        self.assertEqual(self.refused(client), (Cause.UNKNOWN_CA, expected))

    def test_nothing_is_kept(self) -> None:
        """What is known of a refusal goes with its connection."""
        gc.collect()
        before = len(verifier._refusals)
        self.refused(Authority("Other").client())
        gc.collect()
        self.assertEqual(len(verifier._refusals), before)

    def test_later_client(self) -> None:
        """A refusal is told of the connection that it was for, and of no other."""
        trust = ClientTrust((self.root.certificate,))
        options = host_options(HostSettings(client_auth="required"), [key_pair()], trust)
        stranger = self.failure(Link(options=options, context=showing(Authority("Other").client(), client_context())))
        nobody = self.failure(Link(options=options))
        self.assertEqual((stranger.cause, nobody.cause), (Cause.UNKNOWN_CA, Cause.NO_CERTIFICATE))


class ExplainTests(SynchronousTestCase):
    """Errors that are hard to come by."""

    def setUp(self) -> None:
        self.connection = SSL.Connection(client_context())

    def explained(self, error: Exception) -> tuple[Cause, str, int | None]:
        """Cause, words and alert."""
        failure = explain(error, self.connection)
        return failure.cause, failure.detail, failure.alert

    def test_end_of_file(self) -> None:
        """pyOpenSSL's word for an end without close_notify is one of ours."""
        self.assertEqual(self.explained(SSL.SysCallError(-1, "Unexpected EOF"))[0], Cause.EOF)

    def test_reason_without_a_cause(self) -> None:
        """What has no word of its own keeps OpenSSL's; OpenSSL has sent the alert."""
        self.assertEqual(
            self.explained(SSL.Error([("SSL routines", "", "bad extension")])), (Cause.BAD_HELLO, "bad extension", None)
        )

    def test_first_reason(self) -> None:
        """Of several errors the first is what happened; the others follow from it."""
        error = SSL.Error([("SSL routines", "", "no shared cipher"), ("SSL routines", "", "unsupported protocol")])
        self.assertEqual(self.explained(error)[:2], (Cause.NO_COMMON_CIPHER, "no shared cipher"))

    def test_no_reason(self) -> None:
        """An error that says nothing is still a cause."""
        for error in (SSL.Error(), SSL.Error([])):
            self.assertEqual(self.explained(error)[:2], (Cause.BAD_HELLO, "Error"))

    def test_other_spellings(self) -> None:
        """OpenSSL's versions write some reasons differently."""
        for reason, cause in (
            ("version too low", Cause.OLD_VERSION),
            ("no suitable key share", Cause.NO_COMMON_CIPHER),
            ("NO_SUITABLE_SIGNATURE_ALGORITHM".replace("_", " "), Cause.NO_COMMON_CIPHER),
            ("http request", Cause.PLAIN_HTTP),
            ("unexpected eof while reading", Cause.EOF),
            ("sslv3 alert bad certificate", Cause.PEER_ALERT),
            ("ssl/tls alert bad certificate", Cause.PEER_ALERT),
        ):
            self.assertIs(self.explained(SSL.Error([("SSL routines", "", reason)]))[0], cause, reason)

    def test_many_protocols(self) -> None:
        """Of a long list of protocols the beginning is told."""
        _, detail, _ = self.explained(NoCommonProtocol([b"x" * 255] * 100))
        self.assertLess(len(detail), 500)
