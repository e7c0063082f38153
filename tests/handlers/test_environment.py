"""What a program is told of its client."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as some
from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from mytls.handlers.environment import MAX_NAMES, MAX_VALUE, environment, text
from mytls.peer import Identity, Peer
from tests.memory import CLIENT_ADDRESS, SERVER_ADDRESS


def identity(*subject: tuple[x509.ObjectIdentifier, str], names: list[x509.GeneralName] | None = None) -> Identity:
    """What a certificate with this subject says."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(oid, value, _validate=False) for oid, value in subject])
    start = datetime.datetime(2026, 1, 5, 9, 34, 43)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An Authority")]))
        .public_key(key.public_key())
        .serial_number(0x0A1B)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=30))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Identity.of(builder.sign(key, hashes.SHA256()))


class AddressTests(SynchronousTestCase):
    """Where from and where to."""

    def ends(self, remote: IAddress | None, local: IAddress | None) -> dict[str, str]:
        """The variables of a plain connection."""
        return environment(Peer(remote), local, {"PATH": "/bin"})

    def test_internet(self) -> None:
        """UCSPI's names for TCP, and nothing of TLS where there is none."""
        self.assertEqual(
            self.ends(CLIENT_ADDRESS, SERVER_ADDRESS),
            {
                "PATH": "/bin",
                "PROTO": "TCP",
                "TCPREMOTEIP": "192.0.2.1",
                "TCPREMOTEPORT": "50000",
                "TCPLOCALIP": "192.0.2.2",
                "TCPLOCALPORT": "8443",
            },
        )

    def test_mapped(self) -> None:
        """An IPv4 client of an IPv6 socket has its IPv4 address; an IPv6 client has its own."""
        found = self.ends(IPv6Address("TCP", "::ffff:192.0.2.1", 1), IPv6Address("TCP", "2001:db8::1", 2))
        self.assertEqual((found["TCPREMOTEIP"], found["TCPLOCALIP"]), ("192.0.2.1", "2001:db8::1"))

    def test_a_zone(self) -> None:
        """A link-local address keeps its zone."""
        self.assertEqual(self.ends(IPv6Address("TCP", "fe80::1%eth0", 1), None)["TCPREMOTEIP"], "fe80::1%eth0")

    def test_unix(self) -> None:
        """A UNIX socket has paths, as far as they are known."""
        self.assertEqual(
            self.ends(UNIXAddress(None), UNIXAddress(b"/run/\nx")),
            {"PATH": "/bin", "PROTO": "IPC", "IPCLOCALPATH": "/run/\\0Ax"},
        )

    def test_nowhere(self) -> None:
        """A client without an address has none."""
        self.assertEqual(self.ends(None, None), {"PATH": "/bin", "PROTO": "TCP"})


class InheritedTests(SynchronousTestCase):
    """What there is of our own environment."""

    def test_clean(self) -> None:
        """A program gets the path, the locale and the time zone, and no secret."""
        ours = {"PATH": "/x", "LANG": "C", "LC_ALL": "C", "TZ": "UTC", "MYTLS_PASSWORD": "secret", "LISTEN_FDS": "1"}
        found = environment(Peer(None), None, ours)
        self.assertEqual(found, {"PATH": "/x", "LANG": "C", "LC_ALL": "C", "TZ": "UTC", "PROTO": "TCP"})

    def test_no_path(self) -> None:
        """Where we have no path there is the system's."""
        self.assertTrue(environment(Peer(None), None, {})["PATH"].startswith("/"))


class TLSTests(SynchronousTestCase):
    """What the handshake has shown."""

    def said(self, **about: object) -> dict[str, str]:
        """The variables about TLS."""
        peer = Peer(CLIENT_ADDRESS, version="TLSv1.3", **about)  # type: ignore[arg-type]
        return {name: value for name, value in environment(peer, None, {}).items() if name.startswith("SSL_")}

    def test_without_a_certificate(self) -> None:
        """A client without one has no name at all."""
        self.assertEqual(
            self.said(server_name="api.example", cipher="TLS_AES_128_GCM_SHA256", cipher_bits=128, resumed=False),
            {
                "SSL_TLS_SNI_SERVERNAME": "api.example",
                "SSL_PROTOCOL": "TLSv1.3",
                "SSL_CIPHER": "TLS_AES_128_GCM_SHA256",
                "SSL_CIPHER_USEKEYSIZE": "128",
                "SSL_SESSION_RESUMED": "Initial",
                "SSL_CLIENT_VERIFY": "NONE",
            },
        )

    def test_absent(self) -> None:
        """What is not known is absent, not empty."""
        self.assertEqual(self.said(), {"SSL_PROTOCOL": "TLSv1.3", "SSL_CLIENT_VERIFY": "NONE"})

    def test_certificate(self) -> None:
        """A client's certificate by mod_ssl's names."""
        names = [x509.DNSName("a.example"), x509.DNSName("b.example"), x509.UniformResourceIdentifier("spiffe://x/y")]
        subject = [(NameOID.ORGANIZATION_NAME, "Example, Inc."), (NameOID.COMMON_NAME, "build box")]
        client = identity(*subject, names=names)
        found = {name: value for name, value in self.said(identity=client).items() if name != "SSL_PROTOCOL"}
        self.assertEqual(
            found,
            {
                "SSL_CLIENT_VERIFY": "SUCCESS",
                "SSL_CLIENT_S_DN": "CN=build box,O=Example\\, Inc.",
                "SSL_CLIENT_I_DN": "CN=An Authority",
                "SSL_CLIENT_CN": "build box",
                "SSL_CLIENT_S_DN_CN": "build box",
                "SSL_CLIENT_M_SERIAL": "0A1B",
                "SSL_CLIENT_V_START": "Jan  5 09:34:43 2026 GMT",
                "SSL_CLIENT_V_END": "Feb  4 09:34:43 2026 GMT",
                "SSL_PEER_CERT_HASH": f"SHA256:{client.fingerprints['sha256']}",
                "SSL_CLIENT_SAN_DNS_0": "a.example",
                "SSL_CLIENT_SAN_DNS_1": "b.example",
                "SSL_CLIENT_SAN_URI_0": "spiffe://x/y",
            },
        )

    def test_hostile_names(self) -> None:
        """A name is one line, is no function of a shell's, and ends where it ends."""
        client = identity((NameOID.COMMON_NAME, "() { :; }; echo\nSSL_CLIENT_VERIFY=x\0\x1b\\"))
        expected = "\\28) { :; }; echo\\0ASSL_CLIENT_VERIFY=x\\00\\1B"
        self.assertEqual(self.said(identity=client)["SSL_CLIENT_CN"], expected + "\\5C")
        self.assertRegex(self.said(identity=client)["SSL_CLIENT_S_DN"], r"^CN=\(\) \{ :.*echo\\0ASSL_CLIENT_VERIFY=x")
        self.assertEqual(self.said(server_name="() {\n")["SSL_TLS_SNI_SERVERNAME"], "\\28) {\\0A")

    def test_long_names(self) -> None:
        """A name that is too long is left out whole: its beginning may be the name of another."""
        units = [(NameOID.ORGANIZATIONAL_UNIT_NAME, "x" * 60)] * (MAX_VALUE // 60)
        names = [x509.UniformResourceIdentifier("spiffe://x/" + "y" * MAX_VALUE), x509.DNSName("a.example")]
        found = self.said(identity=identity((NameOID.COMMON_NAME, "root"), *units, names=[*names]))
        self.assertNotIn("SSL_CLIENT_S_DN", found)
        self.assertNotIn("SSL_CLIENT_SAN_URI_0", found)
        self.assertEqual((found["SSL_CLIENT_CN"], found["SSL_CLIENT_SAN_DNS_0"]), ("root", "a.example"))
        self.assertEqual(found["SSL_CLIENT_VERIFY"], "SUCCESS")

    def test_many_names(self) -> None:
        """However many names there are, the environment is bounded."""
        names: list[x509.GeneralName] = [x509.DNSName(f"host{at}.example") for at in range(MAX_NAMES + 5)]
        found = self.said(identity=identity((NameOID.COMMON_NAME, "x"), names=names))
        self.assertEqual(sum(name.startswith("SSL_CLIENT_SAN_DNS_") for name in found), MAX_NAMES)


class TextTests(SynchronousTestCase):
    """Any text of a peer."""

    def test_readable(self) -> None:
        """What prints stays as it is."""
        self.assertEqual(text("J\u00fcrgen O'Neil <a@b>"), "J\u00fcrgen O'Neil <a@b>")

    @settings(derandomize=True, deadline=None)
    @given(some.text(some.characters(), max_size=50))
    def test_any(self, value: str) -> None:
        """1: it prints. 2: no function begins with it. 3: it can be read back, so that no two are the same."""
        found = text(value)
        self.assertTrue(found.isprintable())
        self.assertFalse(found.startswith("("))
        pieces = found.split("\\")
        raw = pieces[0].encode() + b"".join(bytes.fromhex(each[:2]) + each[2:].encode() for each in pieces[1:])
        self.assertEqual(raw, value.encode("utf-8", "surrogatepass"))
