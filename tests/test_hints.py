"""Why there was no handshake, for an operator."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from functools import cache
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import Cause, TLSFailure
from mytls.events import HandshakeFailed, Observers
from mytls.hints import Circumstances, ended_by, hint
from mytls.hosts import Host, Hosts
from mytls.listener import TLSFactory
from mytls.offers import MOST, Offer
from mytls.settings import Deadlines, HostSettings
from mytls.tls.certificates import KeyPair
from mytls.tls.contexts import connection_maker
from mytls.tls.hello import ClientHello
from tests.memory import Link, RecorderFactory, client_context, key_pair, tls_options

HELLO = ClientHello(0x0303, (0x1301,), versions=(0x0304,))


def said(cause: Cause, detail: str = "", **about: Any) -> str:
    """The hint."""
    text = hint(Circumstances(TLSFailure(cause, detail), **about))
    assert text.isprintable()
    assert len(text) <= 400
    return text


@cache
def _options() -> Any:
    return tls_options()


def host(pair: KeyPair | None = None, **settings: Any) -> Host:
    """A host with this certificate."""
    said = HostSettings(names=("localhost",), **settings)
    made = pair or key_pair()
    return Host(connection_maker(_options()), options=_options(), settings=said, pairs=(made,), names=("localhost",))


class BeginningTests(SynchronousTestCase):
    """What was no TLS."""

    def test_other_protocols(self) -> None:
        """Who speaks another protocol is known by its first bytes."""
        for first, word in (
            (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
            (b"EHLO client\r\n", "starttls=smtp"),
            (b"ehlo client\r\n", "starttls=smtp"),
            (b"STARTTLS\r\n", "STARTTLS"),
            (b"a001 STARTTLS\r\n", "starttls=imap"),
            (b". CAPABILITY\r\n", "starttls=imap"),
            (b"STLS\r\n", "starttls=pop3"),
            (b"<?xml version='1.0'?>", "starttls=xmpp"),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", "starttls=postgres"),
            (b"\x30\x1d\x02\x01\x01", "starttls=ldap"),
            (b"\x03\x00\x00\x13", "Remote Desktop"),
            (b"\x05\x01\x00", "SOCKS"),
            (b"\x13BitTorrent protocol", "BitTorrent"),
            (b"*1\r\n$4\r\nPING", "Redis"),
            (b"\xffwhat", "another protocol"),
        ):
            self.assertIn(word, said(Cause.NOT_TLS, first=first), first)

    def test_http(self) -> None:
        """Plain HTTP is a wrong scheme."""
        self.assertIn("https://", said(Cause.PLAIN_HTTP))

    def test_headers(self) -> None:
        """A PROXY header from a stranger, and none from the proxy, are told apart."""
        self.assertIn(
            "name it in proxy-protocol", said(Cause.PROXY_HEADER, "a PROXY header where a ClientHello was due")
        )
        self.assertIn("send-proxy", said(Cause.PROXY_HEADER, "a TLS handshake where a PROXY header was due"))

    def test_silence(self) -> None:
        """Nothing, the beginning of something and a silence after our answer are told apart, at an end and in time."""
        for cause in (Cause.EOF, Cause.RESET, Cause.HANDSHAKE_TIMEOUT):
            texts = [said(cause), said(cause, first=b"\x16"), said(cause, hello=HELLO)]
            self.assertEqual(len(set(texts)), 3, texts)
        self.assertIn("health check or a port scan", said(Cause.EOF))
        self.assertIn(
            "client certificate", said(Cause.HANDSHAKE_TIMEOUT, hello=HELLO, host=host(client_auth="required"))
        )

    def test_our_own_ends(self) -> None:
        """Who was ended by a stop or by an operator is told so by the words of the failure: neither is the other."""
        self.assertEqual(said(Cause.DRAIN, "closed by an operator"), "")


class CommonTests(SynchronousTestCase):
    """Nothing in common."""

    def test_old_versions(self) -> None:
        """A client of TLS 1.0 is told from one that is too new, and what is served is said."""
        old = attrs.evolve(HELLO, versions=(0x0301,))
        self.assertEqual(
            said(Cause.OLD_VERSION, hello=old, host=host()),
            "the client offers TLSv1.0 only, and TLSv1.2 to TLSv1.3 is served: update it; min-version, or profile=old "
            "for TLS 1.0 and 1.1, lets it in",
        )
        self.assertIn(
            "TLSv1.3 only, and TLSv1.2 is served: look at min-version, max-version",
            said(Cause.OLD_VERSION, hello=HELLO, host=host(max_version="TLSv1.2")),
        )
        self.assertIn("TLSv1.2 to", said(Cause.OLD_VERSION, hello=old, host=host(sslmethod="TLS_METHOD")))
        self.assertNotIn("served", said(Cause.OLD_VERSION, hello=old))
        self.assertIn("SSL 2", said(Cause.OLD_VERSION))

    def test_ciphers(self) -> None:
        """A client for the other kind of key is known by its suites."""
        of_rsa, of_ecdsa = (0xC02F, 0x009C, 0x00FF), (0xC02B, 0x0A0A)
        ec_pair = attrs.evolve(key_pair(), key=ec.generate_private_key(ec.SECP256R1()))
        rsa_pair = attrs.evolve(key_pair(), key=rsa.generate_private_key(65537, 2048))

        def with_suites(suites: Iterable[int], pair: KeyPair, detail: str = "no shared cipher") -> str:
            return said(
                Cause.NO_COMMON_CIPHER, detail, hello=attrs.evolve(HELLO, cipher_suites=(*suites,)), host=host(pair)
            )

        # 0xC02F is ECDHE_RSA, beside the numbers of ECDHE_ECDSA
        self.assertIn("add one with an RSA key", with_suites(of_rsa, ec_pair))
        self.assertIn("add one with an ECDSA key", with_suites(of_ecdsa, rsa_pair))
        self.assertIn("look at ciphers", with_suites(of_rsa, rsa_pair))
        self.assertIn("look at groups", with_suites(of_rsa, rsa_pair, "no suitable key share"))
        self.assertIn("our key (RSA)", with_suites(of_rsa, rsa_pair, "no suitable signature algorithm"))
        self.assertEqual(said(Cause.NO_COMMON_CIPHER), "")

    def test_protocols(self) -> None:
        """What the client offers in ALPN and what is served stand beside each other."""
        hello = attrs.evolve(HELLO, alpn=(b"h2", b"x y\n"))
        ours = attrs.evolve(host(), alpn=(b"imap",))
        self.assertEqual(
            said(Cause.NO_ALPN, hello=hello, host=ours), "the client offers h2, x\\x20y\\x0a, and alpn has imap"
        )
        self.assertIn("the handler has a list of its own", said(Cause.NO_ALPN, hello=hello, host=host()))


class NameTests(SynchronousTestCase):
    """Names that nobody has."""

    def setUp(self) -> None:
        hosts = [attrs.evolve(host(), names=(f"{name}.example",)) for name in ("www", "mail", "api", "db", "x")]
        self.hosts = Hosts.of(hosts, None)

    def asked(self, name: bytes | None) -> str:
        return said(Cause.UNKNOWN_NAME, hello=attrs.evolve(HELLO, server_name=name), hosts=self.hosts)

    def test_near(self) -> None:
        """The nearest name is named, and some of those that there are."""
        self.assertEqual(
            self.asked(b"wwww.example"),
            "did the client mean www.example? the names here are www.example, mail.example, api.example and 2 more: "
            "add it to names, or say who answers by unknown-name",
        )
        self.assertNotIn("mean", self.asked(b"other.test"))

    def test_no_name(self) -> None:
        """Who sends none, or what is none, is told so."""
        self.assertIn("unknown-name=NAME", self.asked(None))
        self.assertIn("that can be no host's name", self.asked(b'a"\n{}'))
        self.assertEqual(said(Cause.UNKNOWN_NAME), "")

    def test_other_session(self) -> None:
        """A session that was begun under another name is told so."""
        self.assertIn("resumes", said(Cause.UNKNOWN_NAME, hello=attrs.evolve(HELLO, server_name=b"a.b"), host=host()))

    def test_many_names(self) -> None:
        """Of ten thousand hosts a few are looked at."""
        same = [host()]
        names = {f"host{number}.example": same for number in range(10_000)}
        text = said(Cause.UNKNOWN_NAME, hello=attrs.evolve(HELLO, server_name=b"z.test"), hosts=Hosts(None, names))
        self.assertIn(" and 9997 more: ", text)


class CertificateTests(SynchronousTestCase):
    """What was wrong with a certificate, of either side."""

    def test_of_clients(self) -> None:
        """For each reason that a client's certificate is refused for, somebody can do something."""
        for cause, detail, word in (
            (Cause.NO_CERTIFICATE, "", "client-auth"),
            (Cause.UNKNOWN_CA, "no CA of client-ca has issued it", "client-ca"),
            (Cause.UNKNOWN_CA, "its key is too weak", "stronger"),
            (Cause.EXPIRED, "", "new certificate"),
            (Cause.NOT_YET_VALID, "", "clocks"),
            (Cause.REVOKED, "it was revoked", "find out who"),
            (Cause.REVOKED, "whether it was revoked cannot be told: x", "stale-crl"),
            (Cause.WRONG_USAGE, "", "clientAuth"),
            (Cause.NOT_ALLOWED, "deny cn=x matches", "deny"),
            (Cause.NOT_ALLOWED, "there is no allow rule: x", "allow=all"),
            (Cause.NOT_ALLOWED, "no allow rule matches x", "look at allow"),
            (Cause.POLICY, "", "policy"),
            (Cause.FROM, "", "from"),
            (Cause.HANDLER, "", "traceback"),
        ):
            self.assertIn(word, said(cause, detail), (cause, detail))

    def test_rules(self) -> None:
        """Which rules there are is said, of many the first few."""
        many = host(allow=tuple(f"cn=user{number}" for number in range(9)))
        self.assertEqual(
            said(Cause.NOT_ALLOWED, "no allow rule matches cn=eve", host=many),
            "allow has cn=user0, cn=user1, cn=user2 and 6 more: add a rule for it",
        )

    def of_alert(self, alert: str, **about: Any) -> str:
        return said(Cause.PEER_ALERT, f"tlsv1 alert {alert}", **about)

    def test_whole_chain(self) -> None:
        """A client that does not trust a whole chain lacks the root, which is named."""
        text = self.of_alert("unknown ca", host=host())
        self.assertRegex(
            text, "^the client does not trust our CA: the chain we send is whole, .* lacks the root: .*trustme"
        )

    def test_cut_chain(self) -> None:
        """Where our chain lacks its intermediate that is said, with the file that it belongs in."""
        pair = attrs.evolve(key_pair(), open_end=key_pair().certificate, source="/etc/a.pem")
        self.assertRegex(
            self.of_alert("unknown ca", host=host(pair)),
            "^the client does not trust our CA: the chain we send has no intermediate: /etc/a.pem: the issuer .* is "
            "not sent: if it is an intermediate, append its certificate; if it is the root, clients need it$",
        )
        longer = self.of_alert("unknown ca", host=host(attrs.evolve(pair, chain=(pair.certificate,))))
        self.assertIn(": the chain we send may lack another intermediate: /etc/a.pem: ", longer)

    def test_limits(self) -> None:
        """Where files run out it is their limit that helps, and not one of the configuration."""
        files = hint(Circumstances(TLSFailure(Cause.LIMIT, "too many open files: 99 connections, of 128 files")))
        self.assertIn("(ulimit -n; LimitNOFILE= of systemd)", files)
        self.assertNotIn("in limits", files)
        ours = hint(Circumstances(TLSFailure(Cause.LIMIT, "9 connections are there, and limits.max-connections is 9")))
        self.assertIn("raise it in limits", ours)

    def test_signed_by_itself(self) -> None:
        """A certificate without any CA is told so."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        begin = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
        builder = builder.not_valid_before(begin).not_valid_after(begin).public_key(key.public_key())
        from cryptography.hazmat.primitives.hashes import SHA256

        pair = KeyPair(key, builder.sign(key, SHA256()))
        self.assertIn("signed by itself", self.of_alert("unknown ca", host=host(pair)))
        self.assertIn("valid until 2030-01-01", self.of_alert("certificate expired", host=host(pair)))

    def test_other_name(self) -> None:
        """A client that asks for a name that the certificate is not for is told so."""
        other = attrs.evolve(HELLO, server_name=b"other.example")
        for alert in ("bad certificate", "certificate unknown"):
            self.assertEqual(
                self.of_alert(alert, hello=other, host=host()),
                "the client does not accept our certificate: it asks for other.example, and that is for localhost",
            )
            own = attrs.evolve(HELLO, server_name=b"LOCALHOST")
            self.assertIn("lacks the root", self.of_alert(alert, hello=own, host=host()))

    def test_every_alert(self) -> None:
        """Each alert that a client may send has its own hint, and an unknown one has one too."""
        names = (
            "handshake failure", "bad certificate", "unsupported certificate", "certificate revoked", "unknown ca",
            "certificate expired", "protocol version", "insufficient security", "decrypt error", "access denied",
            "internal error", "inappropriate fallback", "user canceled", "unrecognized name", "certificate required",
            "no application protocol", "bad certificate status response", "something new",
        )  # fmt: skip
        about = {"hello": attrs.evolve(HELLO, server_name=b"a.b"), "host": host(), "hosts": Hosts(host())}
        texts = [self.of_alert(name, **about) for name in names]
        self.assertEqual(len(set(texts)), len(names))
        self.assertIn("TLSv1.2 to TLSv1.3", self.of_alert("protocol version", **about))

    def test_alert_by_number(self) -> None:
        """So have those that come in place of a ClientHello."""
        for number, word in ((48, "trust"), (42, "accept"), (40, "its own log")):
            detail = f"the client sent alert {number} in place of a ClientHello"
            self.assertIn(word, said(Cause.PEER_ALERT, detail))

    def test_programs_own_context(self) -> None:
        """Of a host whose context a program has made nothing is known, and nothing is made up."""
        bare = Host(None)
        for alert in ("unknown ca", "bad certificate", "certificate expired", "protocol version"):
            text = self.of_alert(alert, hello=attrs.evolve(HELLO, server_name=b"a.b"), host=bare)
            self.assertNotRegex(text, "None|whole, so|TLSv1")


class SideTests(SynchronousTestCase):
    """Who has ended it."""

    def test_sides(self) -> None:
        """An alert, an end and a reset are the client's; all else is ours."""
        clients = {each for each in Cause if ended_by(each) == "client"}
        self.assertEqual(clients, {Cause.PEER_ALERT, Cause.EOF, Cause.RESET})


class OfferTests(SynchronousTestCase):
    """What a client offers, in words."""

    def test_words(self) -> None:
        """Numbers have the names that OpenSSL gives them; GREASE is left out, what is unknown is a number."""
        offer = Offer.of((0x2A2A, 0x0304, 0x0301, 0x0305), (0x0A0A, 0x11EC, 29, 0x9999), (b"\x1a\x1a", b"h2", b"\xff"))
        self.assertEqual(offer.versions, ("TLSv1.3", "TLSv1.0", "0x0305"))
        self.assertEqual(offer.groups, ("X25519MLKEM768", "x25519", "0x9999"))
        self.assertEqual(offer.alpn, ("h2", "\xff"))

    def test_bounded(self) -> None:
        """Of thousands a few are kept."""
        offer = Offer.of(range(9000), range(9000), [b"a"] * 9000)
        self.assertEqual([len(each) for each in (offer.versions, offer.groups, offer.alpn)], [MOST] * 3)


class ConnectionTests(SynchronousTestCase):
    """What a connection tells of itself when there is no handshake."""

    def setUp(self) -> None:
        self.events: list[Any] = []
        self.clock = Clock()
        self.factory = TLSFactory(
            Hosts(host()), RecorderFactory(), self.clock, Deadlines(), Observers([self.events.append])
        )

    def link(self, **about: Any) -> Link:
        return Link(factory=self.factory, clock=self.clock, **about)

    @property
    def failed(self) -> HandshakeFailed:
        """The last that has happened."""
        event = self.events[-1]
        assert isinstance(event, HandshakeFailed)
        return event

    def test_silent(self) -> None:
        """Who connects and goes has said nothing; who goes later has said something."""
        link = self.link()
        link.fin()
        self.assertEqual((self.failed.silent, self.failed.cause), (True, Cause.EOF))
        link = self.link()
        link.to_server(b"\x16")
        link.fin()
        self.assertEqual((self.failed.silent, self.failed.cause), (False, Cause.EOF))
        self.assertIn("in the middle of its first message", self.failed.hint)
        self.link().reset()
        self.assertEqual((self.failed.silent, self.failed.cause), (True, Cause.RESET))

    def test_offer(self) -> None:
        """An alert in the handshake has what was offered, whom it was for, and that the client has ended it."""
        link = self.link(context=client_context(SSL.TLS1_2_VERSION), alpn=[b"h2"])
        self.assertRaises(SSL.WantReadError, link.client.do_handshake)
        link.to_server(link.outgoing())
        link.to_server(bytes((21, 3, 3, 0, 2, 2, 48)))
        event = self.failed
        self.assertEqual((event.cause, event.ended_by, event.host), (Cause.PEER_ALERT, "client", "localhost"))
        self.assertEqual((event.offer.versions, event.offer.alpn, event.silent), (("TLSv1.2",), ("h2",), False))
        self.assertIn("x25519", event.offer.groups)
        self.assertIn("the client does not trust our CA", event.hint)

    def test_other_protocol(self) -> None:
        """The first bytes of what is no TLS are looked at."""
        self.link().to_server(b"SSH-2.0-x\r\n")
        self.assertIn("SSH", self.failed.hint)
        self.assertFalse(self.failed.silent)

    def test_timeouts(self) -> None:
        """Who is late is told by what has not come."""
        silent, begun, met = self.link(), self.link(), self.link()
        begun.to_server(b"\x16\x03")
        self.assertRaises(SSL.WantReadError, met.client.do_handshake)
        met.to_server(met.outgoing())
        self.clock.advance(10)
        last = self.events[-3:]
        self.assertEqual({each.cause for each in last}, {Cause.HANDSHAKE_TIMEOUT})
        self.assertEqual([each.silent for each in last], [True, False, False])
        self.assertEqual(
            [each.detail.partition(": ")[2] for each in last],
            [
                "its ClientHello has not come",
                "its ClientHello has not come",
                "the client's answer to ours has not come",
            ],
        )
        self.assertEqual(len({each.hint for each in last}), 3)
        self.assertIsNotNone(silent)
