"""OpenSSL's errors as causes, from handshakes that really fail."""

from __future__ import annotations

from typing import Any

import trustme
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import Certificate, CertificateOptions, trustRootFromCertificates
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mytls.errors import Cause
from mytls.events import HandshakeFailed
from mytls.tls.contexts import NoCommonProtocol
from mytls.tls.failures import explain
from tests.memory import Link, authority, client_context, key_pair

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


class HandshakeTests(SynchronousTestCase):
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
