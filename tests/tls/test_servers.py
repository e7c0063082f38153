"""How a client knows its server: in memory, against OpenSSL."""

from __future__ import annotations

import ipaddress
import os
from functools import cache
from pathlib import Path
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mytls.clientsettings import ClientSettings
from mytls.errors import Cause, ConfigurationError, TLSFailure
from mytls.peer import Identity
from mytls.tls.certificates import KeyPair
from mytls.tls.files import Files
from mytls.tls.servers import Servers, misnamed, servers
from mytls.tls.tunnel import tunnel
from tests.files import folder
from tests.tls.authority import DAY, Authority, ec_key, rsa_key, showing
from tests.tls.issuing import key_pem, pem

#: The alert where the refusal is ours and not OpenSSL's, which has a word of its own for that, not the same in each.
OURS = "certificate unknown"
CUT = "a CERTIFICATE block in it lacks its beginning or its end: it is cut off, or still being written"
VERSIONS = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}


@cache
def root() -> Authority:
    """Whom the clients of these tests trust."""
    return Authority("Root")


@cache
def between() -> Authority:
    """An intermediate CA below it."""
    return Authority("Between", root())


def certified(*names: x509.GeneralName, common: str = "server", by: Authority | None = None, **how: Any) -> KeyPair:
    """A server's certificate with these alternative names, and no others. @param how: since, until, usages"""
    by = by or root()
    usages = how.pop("usages", (ExtendedKeyUsageOID.SERVER_AUTH,))
    key = ec_key()
    extensions: list[x509.ExtensionType] = [x509.ExtendedKeyUsage(usages)] if usages else []
    if names:
        extensions.append(x509.SubjectAlternativeName(names))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    return KeyPair(key, by._sign(subject, key, *extensions, **how), by.chain)


def for_names(*names: str, **how: Any) -> KeyPair:
    """The same for host names."""
    return certified(*(x509.DNSName(each) for each in names), **how)


def self_signed(*names: str) -> KeyPair:
    """A certificate that nobody else vouches for, made by hand."""
    key, subject = ec_key(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self")])
    authority = root()
    builder = x509.CertificateBuilder(
        subject, subject, key.public_key(), 7, authority.certificate.not_valid_before_utc,
        authority.certificate.not_valid_after_utc,
    )  # fmt: skip
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), False)
    return KeyPair(key, builder.sign(key, SHA256()))


def pin(pair: KeyPair) -> str:
    """The rule that knows its key."""
    return f"spki=sha256:{Identity.of(pair.certificate).pin('sha256')}"


@attrs.frozen
class Met:
    """
    What has come of a handshake.

    @ivar client: why the client has refused, or None
    @ivar server: what the server has heard of that, or None
    @ivar asked: the name that the client asked for
    @ivar hello: the client's connection
    @ivar heard: the server's
    """

    client: TLSFailure | None
    server: str | None
    asked: bytes | None
    hello: SSL.Connection
    heard: SSL.Connection

    @property
    def shown(self) -> list[x509.Certificate | None]:
        """What the client has shown, its own certificate first."""
        rest = self.heard.get_peer_cert_chain(as_cryptography=True) or []
        return [self.heard.get_peer_certificate(as_cryptography=True), *rest]


def meet(made: Servers, pair: KeyPair, version: int | None = None, **how: Any) -> Met:
    """A handshake with a server that shows this. @param how: C{alpn} and C{ask}, callables for its context"""
    context = showing(pair, SSL.Context(SSL.TLS_SERVER_METHOD))
    if version is not None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    for change in how.values():
        change(context)
    server = SSL.Connection(context)
    server.set_accept_state()
    connection = made.connection(None)
    connection.set_connect_state()
    client, failure, alert = tunnel(connection), None, None
    done = False
    for _ in range(6):
        try:
            done = done or client.handshake()
        except TLSFailure as error:
            failure = error
        if sent := client.outgoing():
            server.bio_write(sent)
        alert = _go_on(server)
        client.feed(_sent(server))
        if failure is not None or alert is not None:
            break
    return Met(failure, alert, server.get_servername(), connection, server)


def _go_on(server: SSL.Connection) -> str | None:
    try:
        server.do_handshake()
    except SSL.WantReadError:
        return None
    except SSL.Error as error:
        return str(error.args[0][0][-1])
    return None


def _sent(server: SSL.Connection) -> bytes:
    try:
        return server.bio_read(1 << 20)
    except SSL.WantReadError:
        return b""


def _in_environment(name: str, value: str | None) -> None:
    """For C too, which a patched C{os.environ} is not."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


class ServersTests(SynchronousTestCase):
    """With a folder, and one root that is trusted."""

    def setUp(self) -> None:
        self.folder = folder(self)
        self.root = self.write("root.pem", pem(root().certificate))

    def write(self, name: str, *content: bytes) -> str:
        path = Path(self.folder) / name
        path.write_bytes(b"".join(content))
        path.chmod(0o600)
        return str(path)

    def made(self, host: str = "api.example", **said: Any) -> Servers:
        """What a client of this host has, which trusts the root unless something else is said."""
        said.setdefault("trust_roots", (self.root,))
        return servers(ClientSettings(host, 443, **said), Files())

    def refused(self, made: Servers, pair: KeyPair, cause: Cause, text: str, alert: str) -> None:
        """On both versions the client says why, and the server gets the alert, in its handshake."""
        for name, version in VERSIONS.items():
            met = meet(made, pair, version)
            assert met.client is not None, f"{name}: it was let in"
            self.assertIs(met.client.cause, cause, name)
            self.assertIn(text, met.client.detail, name)
            self.assertNotIn("\n", str(met.client))
            self.assertRegex(met.server or "no alert", f"alert ({alert})$", name)

    def welcome(self, made: Servers, pair: KeyPair) -> Met:
        """On both versions."""
        for name, version in VERSIONS.items():
            met = meet(made, pair, version)
            self.assertEqual((met.client, met.server), (None, None), name)
            self.assertEqual(made.met(met.hello).identity.certificate, pair.certificate)
        return met


class NameTests(ServersTests):
    """The name, inside the handshake."""

    def test_right_name(self) -> None:
        """The server whose certificate has the name is met, and was asked for it."""
        met = self.welcome(self.made(), for_names("other.example", "api.example"))
        self.assertEqual(met.asked, b"api.example")

    def test_wrong_name(self) -> None:
        """Another host's certificate is refused; the line says for whom it is not and whom it names."""
        pair = for_names("other.example")
        text = "it is not for api.example: server certificate cn=server dns=other.example"
        self.refused(self.made(), pair, Cause.NOT_ALLOWED, text, OURS)

    def test_common_name_alone(self) -> None:
        """A name in the CN is no name (RFC 9525 section 2)."""
        pair = certified(common="api.example")
        self.refused(self.made(), pair, Cause.NOT_ALLOWED, "it is not for api.example", OURS)

    def test_too_wide_a_wildcard(self) -> None:
        """`*.com` is no name of anybody's."""
        pair = for_names("*.com")
        self.refused(self.made("victim.com"), pair, Cause.NOT_ALLOWED, "it is not for victim.com", OURS)

    def test_partial_wildcard(self) -> None:
        """`f*.example.com` matches nothing (RFC 9525 section 6.3)."""
        for name in ("f*.example.com", "*oo.example.com", "foo.*.com", "*.*.example.com"):
            pair = for_names(name)
            made = self.made("foo.example.com")
            self.refused(made, pair, Cause.NOT_ALLOWED, "it is not for foo.example.com", OURS)

    def test_wildcard(self) -> None:
        """A whole first label stands for one label, and not for two or none."""
        pair = for_names("*.example.com")
        self.welcome(self.made("foo.example.com"), pair)
        for other in ("a.foo.example.com", "example.com"):
            self.refused(self.made(other), pair, Cause.NOT_ALLOWED, "it is not for", OURS)

    def test_address(self) -> None:
        """An address is verified as such and never sent as a name (RFC 6066 section 3)."""
        pair = certified(
            x509.IPAddress(ipaddress.ip_address("192.0.2.7")), x509.IPAddress(ipaddress.ip_address("2001:db8::7"))
        )
        for host in ("192.0.2.7", "2001:db8::7"):
            self.assertIsNone(self.welcome(self.made(host), pair).asked)
        self.refused(self.made("192.0.2.8"), pair, Cause.NOT_ALLOWED, "it is not for 192.0.2.8", OURS)

    def test_address_as_a_host_name(self) -> None:
        """An address that stands among the host names is none."""
        pair = for_names("192.0.2.7")
        self.refused(self.made("192.0.2.7"), pair, Cause.NOT_ALLOWED, "it is not for", OURS)

    def test_idna(self) -> None:
        """A name in any script is asked for and compared as A-labels."""
        made = servers(
            ClientSettings.of({"host": "xn--bcher-kva.example", "port": 1, "trust-roots": (self.root,)}), Files()
        )
        self.assertEqual(self.welcome(made, for_names("XN--bcher-kva.Example")).asked, b"xn--bcher-kva.example")

    def test_other_names_of_a_certificate(self) -> None:
        """URIs of any kind beside the host name are in nobody's way."""
        names = (x509.UniformResourceIdentifier("urn:uuid:1:2"), x509.UniformResourceIdentifier("https://a:1/"))
        self.welcome(self.made(), certified(x509.DNSName("api.example"), *names))

    def test_server_name(self) -> None:
        """Another name is asked for and verified in place of the one that is dialled."""
        made = self.made("192.0.2.7", server_name="api.example")
        self.assertEqual(self.welcome(made, for_names("api.example")).asked, b"api.example")
        self.refused(made, for_names("other.example"), Cause.NOT_ALLOWED, "it is not for api.example", OURS)

    def test_names_that_are_none(self) -> None:
        """A name that is nobody's takes nothing from the others, in whatever order they come."""
        nobodys = ("*.com", "*", "f*.example", "192.0.2.1", "*.*.example", "a\0.example")
        for each in nobodys:
            for names in ((each, "api.example"), ("api.example", each)):
                self.assertIsNone(misnamed(Identity.of(for_names(*names).certificate), "api.example"), names)
            self.assertIsNotNone(misnamed(Identity.of(for_names(each).certificate), "api.example"), each)
        self.welcome(self.made(), for_names(*nobodys[:3], "api.example"))

    def test_refusal_is_bounded(self) -> None:
        """Whatever names a server has, the error is one line, and short; none of it can look like words of ours."""
        for name in ("*." + "a" * 60000, "*.a b cause=none clean", "*." + "\n" * 5000, 'x y"z.'):
            refusal = misnamed(Identity.of(for_names(name).certificate), "api.example")
            assert refusal is not None
            self.assertLess(len(refusal), 300)
            self.assertRegex(
                refusal, r"^it is not for api\.example: server certificate cn=server dns=[!-~]+ serial=[^ ]+$"
            )

    def test_many_names(self) -> None:
        """A certificate for hundreds of hosts is one; what no server needs is not read."""
        names = [f"{number:050}.example" for number in range(1100)]
        self.welcome(self.made(), for_names(*names[:400], "api.example"))
        text = "nobody can tell whom it names: server certificate that is too large to be read"
        self.refused(self.made(), for_names(*names, "api.example"), Cause.NOT_ALLOWED, text, OURS)

    def test_unreadable_names(self) -> None:
        """What no name can be is told without a second line."""
        refusal = misnamed(Identity.of(for_names("a\nb.example").certificate), "api.example")
        assert refusal is not None
        self.assertNotIn("\n", refusal)


class ChainTests(ServersTests):
    """The chain, its time and what it is for."""

    def test_chain(self) -> None:
        """An intermediate that the server sends leads to the root; the chain goes up to that."""
        pair = for_names("api.example", by=between())
        made = self.made()
        met = meet(made, pair)
        self.assertEqual(made.met(met.hello).chain, (pair.certificate, between().certificate, root().certificate))

    def test_expired(self) -> None:
        """It is over."""
        pair = for_names("api.example", since=-2 * DAY, until=-DAY)
        self.refused(self.made(), pair, Cause.EXPIRED, "it has expired: server certificate", "certificate expired")

    def test_not_yet_valid(self) -> None:
        """It has not begun."""
        pair = for_names("api.example", since=DAY, until=2 * DAY)
        self.refused(self.made(), pair, Cause.NOT_YET_VALID, "it is not valid yet", "bad certificate")

    def test_self_signed(self) -> None:
        """Nobody vouches for it."""
        text = "it is signed by itself, and not in trustRoots: server certificate cn=self"
        self.refused(self.made(), self_signed("api.example"), Cause.UNKNOWN_CA, text, "unknown ca")

    def test_other_authority(self) -> None:
        """Another root than the one that was said is not trusted."""
        pair = for_names("api.example", by=Authority("Root"))
        self.refused(self.made(), pair, Cause.UNKNOWN_CA, "trustRoots", "unknown ca")

    def test_client_certificate(self) -> None:
        """A certificate for clients is no server's (extended key usage)."""
        pair = for_names("api.example", usages=(ExtendedKeyUsageOID.CLIENT_AUTH,))
        self.refused(self.made(), pair, Cause.WRONG_USAGE, "it is not for servers", "unsupported certificate")

    def test_trusted_by_itself(self) -> None:
        """A self-made certificate, or an intermediate, may stand in trustRoots; its name counts all the same."""
        pair = self_signed("api.example")
        path = self.write("self.pem", pem(pair.certificate))
        self.welcome(self.made(trust_roots=(path,)), pair)
        self.refused(
            self.made("b.example", trust_roots=(path,)), pair, Cause.NOT_ALLOWED, "it is not for b.example",
            OURS,
        )  # fmt: skip
        middle = self.write("between.pem", pem(between().certificate))
        self.welcome(self.made(trust_roots=(middle,)), for_names("api.example", by=between()))

    def test_system(self) -> None:
        """Where nothing is said the system's list is asked, which is OpenSSL's own and can be named by its variable."""
        pair = for_names("api.example")
        self.refused(self.made(trust_roots=()), pair, Cause.UNKNOWN_CA, "the system's list", "unknown ca")
        before = os.environ.get("SSL_CERT_FILE")
        self.addCleanup(_in_environment, "SSL_CERT_FILE", before)
        _in_environment("SSL_CERT_FILE", self.root)
        self.welcome(self.made(trust_roots=()), pair)


class RuleTests(ServersTests):
    """`verify`, and what it takes the place of."""

    def test_rule_besides_the_name(self) -> None:
        """A rule has to match too."""
        pair = for_names("api.example")
        self.welcome(self.made(verify=("cn=other", "cn=server")), pair)
        made = self.made(verify=("cn=other",))
        self.refused(made, pair, Cause.NOT_ALLOWED, "no rule of verify matches: server certificate cn=server", OURS)

    def test_name_besides_the_rule(self) -> None:
        """A rule that is no URI's and no key's leaves the name to be verified."""
        pair = certified(x509.DNSName("b.example"), x509.UniformResourceIdentifier("spiffe://example/db"))
        for verify in (("cn=server",), ("uri=spiffe://example/db", "cn=server"), ("all",)):
            made = self.made(verify=verify)
            self.refused(made, pair, Cause.NOT_ALLOWED, "it is not for api.example", OURS)

    def test_uri_in_place_of_the_name(self) -> None:
        """A SPIFFE ID names the server by itself; another one does not."""
        pair = certified(x509.UniformResourceIdentifier("spiffe://example/db"))
        self.welcome(self.made(verify=("uri=spiffe://example/*",)), pair)
        made = self.made(verify=("uri=spiffe://example/web",))
        self.refused(made, pair, Cause.NOT_ALLOWED, "uri=spiffe://example/db", OURS)

    def test_uri_needs_a_ca(self) -> None:
        """A URI that anybody may write says nothing without a CA."""
        pair = certified(x509.UniformResourceIdentifier("spiffe://example/db"), by=Authority("Mallory"))
        made = self.made(verify=("uri=spiffe://example/*",))
        self.refused(made, pair, Cause.UNKNOWN_CA, "trustRoots", "unknown ca")

    def test_server_name_besides_uri(self) -> None:
        """Who says serverName means it."""
        pair = certified(x509.UniformResourceIdentifier("spiffe://example/db"))
        made = self.made(verify=("uri=spiffe://example/*",), server_name="api.example")
        self.refused(made, pair, Cause.NOT_ALLOWED, "it is not for api.example", OURS)

    def test_pin_alone(self) -> None:
        """A key that is known needs no CA and no name; any other key is refused."""
        pair = self_signed()
        self.welcome(self.made(trust_roots=(), verify=(pin(pair),)), pair)
        made = self.made(trust_roots=(), verify=(pin(self_signed()),))
        self.refused(made, pair, Cause.NOT_ALLOWED, "no rule of verify matches: server certificate cn=self", OURS)

    def test_pin_and_chain(self) -> None:
        """Of what is sent with a key that is known OpenSSL verifies no chain, however long."""
        below = root()
        for number in range(20):
            below = Authority(f"Junk {number}", below)
        pair = for_names("api.example", by=below)
        made = self.made(trust_roots=(), verify=(pin(pair),))
        self.assertEqual(made._context.get_verify_depth(), 0)
        self.welcome(made, pair)
        self.welcome(self.made(), pair)

    def test_pin_does_not_stop_time(self) -> None:
        """A pinned certificate ends when it says so."""
        pair = for_names("api.example", since=-2 * DAY, until=-DAY)
        made = self.made(trust_roots=(), verify=(pin(pair),))
        self.refused(made, pair, Cause.EXPIRED, "it has expired", "certificate expired")

    def test_pin_below_a_ca(self) -> None:
        """Where trustRoots is said too, both hold."""
        pair = self_signed("api.example")
        self.refused(self.made(verify=(pin(pair),)), pair, Cause.UNKNOWN_CA, "not in trustRoots", "unknown ca")
        below = for_names("b.example")
        self.welcome(self.made(verify=(pin(below),)), below)

    def test_pin_with_a_server_name(self) -> None:
        """A name that is said is verified, and then a CA has to vouch for it."""
        pair = self_signed("api.example")
        made = self.made(trust_roots=(), verify=(pin(pair),), server_name="api.example")
        self.refused(made, pair, Cause.UNKNOWN_CA, "the system's list", "unknown ca")


class ClientCertificateTests(ServersTests):
    """What the client shows."""

    def asked(self, context: SSL.Context) -> None:
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)

    def test_whole_chain(self) -> None:
        """The certificate goes out with its intermediate, whatever the order of the files."""
        own = between().client()
        path = self.write("me.pem", pem(between().certificate), key_pem(own.key), pem(own.certificate))
        met = meet(self.made(certificate=(path,)), for_names("api.example"), ask=self.asked)
        self.assertEqual((met.client, met.server), (None, None))
        self.assertEqual(met.shown, [own.certificate, between().certificate])

    def test_no_root_of_the_servers(self) -> None:
        """A CA that servers are verified with is not sent as if it were of our chain."""
        own = root().client()
        path = self.write("me.pem", key_pem(own.key), pem(own.certificate))
        met = meet(self.made(certificate=(path,)), for_names("api.example"), ask=self.asked)
        self.assertEqual(met.shown, [own.certificate])

    def test_encrypted_key(self) -> None:
        """A password comes from its file, and nobody is asked."""
        self.patch(os, "environ", {})
        own = root().client()
        certificate, key = self.write("me.pem", pem(own.certificate)), self.write("me.key", key_pem(own.key, b"secret"))
        said: dict[str, Any] = {"certificate": (certificate,), "private_key": (key,)}
        with self.assertRaisesRegex(ConfigurationError, "^privateKey="):
            self.made(**said)
        made = self.made(**said, password_file=self.write("password", b"secret\n"))
        met = meet(made, for_names("api.example"), ask=self.asked)
        self.assertEqual(met.heard.get_peer_certificate(as_cryptography=True), own.certificate)

    def test_two_certificates(self) -> None:
        """A client shows one."""
        one, two = root().client(), root().client(key=rsa_key())
        path = self.write("me.pem", *(key_pem(each.key) + pem(each.certificate) for each in (one, two)))
        with self.assertRaisesRegex(ConfigurationError, "^certKey=.*me.pem: a client shows one certificate"):
            self.made(certificate=(path,))

    def test_weak_key(self) -> None:
        """What OpenSSL does not take is said before anything is dialled."""
        own = root().client(key=rsa_key(1024))
        path = self.write("me.pem", key_pem(own.key), pem(own.certificate))
        with self.assertRaisesRegex(ConfigurationError, "^certKey=.*me.pem: OpenSSL does not take it: ee key"):
            self.made(certificate=(path,))


class ContextTests(ServersTests):
    """Versions, suites, application protocols, files."""

    def test_versions(self) -> None:
        """Only the versions that are said are spoken; TLS 1.2 and 1.3, where nothing is."""
        pair = for_names("api.example")
        for said, spoken in (
            ({}, "TLSv1.3"),
            ({"max_version": "TLSv1.2"}, "TLSv1.2"),
            ({"min_version": "TLSv1.3"}, "TLSv1.3"),
        ):
            met = meet(self.made(**said), pair)
            self.assertEqual((met.client, met.heard.get_protocol_version_name()), (None, spoken))
        met = meet(self.made(min_version="TLSv1.3"), pair, SSL.TLS1_2_VERSION)
        assert met.client is not None or met.server is not None
        self.assertIn("protocol", f"{met.client} {met.server}")

    def test_suites(self) -> None:
        """Those of the profile `intermediate` are offered, and nothing weaker."""
        offered = self.made().connection(None).get_cipher_list()
        self.assertIn("TLS_AES_128_GCM_SHA256", offered)
        self.assertIn("ECDHE-ECDSA-AES128-GCM-SHA256", offered)
        weak = [each for each in offered if "GCM" not in each and "CHACHA20" not in each]
        self.assertEqual(weak, [])

    def test_hybrid_group(self) -> None:
        """The key exchange is the hybrid one where the server has it."""
        met = meet(self.made(), for_names("api.example"))
        self.assertEqual(met.heard.get_group_name(), "X25519MLKEM768")

    def test_alpn(self) -> None:
        """The protocols are offered in their order."""
        seen: list[list[bytes]] = []

        def choose(connection: SSL.Connection, offered: list[bytes]) -> bytes:
            seen.append(offered)
            return offered[-1]

        made = self.made(alpn=("h2", "http/1.1"))
        met = meet(made, for_names("api.example"), alpn=lambda context: context.set_alpn_select_callback(choose))
        self.assertEqual(seen[0], [b"h2", b"http/1.1"])
        self.assertEqual(met.hello.get_alpn_proto_negotiated(), b"http/1.1")

    def test_wrong_files(self) -> None:
        """A file of roots that is none, an unknown rule: one line, which names the word."""
        empty = self.write("empty.pem", b"nothing\n")
        cut = self.write("cut.pem", pem(root().certificate)[:200])
        for said, text in (
            ({"trust_roots": (empty,)}, f"trustRoots={empty}: there is no certificate in it; expected PEM or DER"),
            (
                {"trust_roots": (cut,)},
                f"trustRoots={cut}: {CUT}",
            ),
            ({"trust_roots": ("/nonexistent.pem",)}, "trustRoots=/nonexistent.pem: no such file"),
            ({"verify": ("dsn=x",)}, "verify=dsn=x: there is no rule 'dsn'; did you mean 'dns'?"),
            ({"certificate": ("/nonexistent.pem",)}, "certKey=/nonexistent.pem: no such file"),
        ):
            with self.assertRaises(ConfigurationError) as caught:
                self.made(**said)  # type: ignore[arg-type]  # of each kind
            self.assertEqual(str(caught.exception), text)
