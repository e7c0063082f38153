"""Bytes of a file in; certificates, keys and revocation lists out."""

from __future__ import annotations

import base64
import io
import re
import sys
from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.tls.chains import spki
from mytls.tls.contents import Parts, certificates_in, kind_of, parts_of, revocations_in, shown
from mytls.tls.passwords import Password
from tests.tls.issuing import Party, dsa_key, key_pem, pem, rsa_key

AUTHORITY = Party("Authority")
OWN = AUTHORITY.certified(ca=True)
HOST = Party("host.example")
LEAF = HOST.certified(AUTHORITY)
OPEN = Password(b"open sesame", "api.password")
CUT = "lacks its beginning or its end: it is cut off, or still being written"
LOCKED = (
    "it is {}, and nobody is asked for its password: write it into a file and say password-file (passwordFile in an "
    "endpoint string), or set the environment variable MYTLS_PASSWORD"
)


def parts(*content: bytes, password: Password | None = None, keys: bool = True) -> Parts:
    """What is in a file that is one of ours."""
    found = parts_of("a.pem", b"".join(content), password or Password(), keys=keys)
    assert found is not None
    return found


def pkcs12(password: bytes | None = None, *rest: x509.Certificate) -> bytes:
    """A PKCS#12 file."""
    how: KeySerializationEncryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return serialize_key_and_certificates(b"name", HOST.key, LEAF, rest, how)


def as_pem(label: str, der: bytes) -> bytes:
    """Bytes as a block of text, whatever is in them."""
    return f"-----BEGIN {label}-----\n".encode() + base64.encodebytes(der) + f"-----END {label}-----\n".encode()


class ContentsTests(SynchronousTestCase):
    """What all of these ask."""

    def refused(self, line: str, work: Callable[[], object]) -> None:
        """Assert that this is refused with these words."""
        with self.assertRaises(ConfigurationError) as caught:
            work()
        self.assertEqual(str(caught.exception), line)

    def refused_parts(self, line: str, *content: bytes, password: Password | None = None) -> None:
        """Assert that a file with this content is refused with these words."""
        self.refused(line, lambda: parts(*content, password=password))

    def same_key(self, found: Parts, *keys: object) -> None:
        """Assert that these are the keys, in this order."""
        self.assertEqual([spki(each.public_key()) for each in found.keys], [spki(each.public_key()) for each in keys])  # type: ignore[attr-defined]


class PemTests(ContentsTests):
    """PEM."""

    def test_order(self) -> None:
        """Certificates and keys come in the order of the file, whatever stands between them."""
        other = Party("other")
        found = parts(
            b"subject=CN=host\n", pem(OWN), key_pem(HOST.key), b"\n\n# a comment\n", pem(LEAF), key_pem(other.key)
        )
        self.assertEqual(found.certificates, (OWN, LEAF))
        self.same_key(found, HOST.key, other.key)

    def test_line_ends(self) -> None:
        """Line ends of other systems, blanks at their ends, a byte order mark, no newline at the end."""
        text = pem(LEAF) + key_pem(HOST.key)
        for odd in (
            text.replace(b"\n", b"\r\n"),
            text.replace(b"\n", b"\r"),
            text.replace(b"\n", b" \t\n"),
            b"\xef\xbb\xbf" + text,
            text.rstrip(),
        ):
            found = parts(odd)
            self.assertEqual(found.certificates, (LEAF,))
            self.same_key(found, HOST.key)

    def test_kinds_of_keys(self) -> None:
        """RSA, EC, Ed25519 and Ed448, in every form of text that there is for them."""
        keys = (rsa_key(), ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate(),
                ed448.Ed448PrivateKey.generate())  # fmt: skip
        found = parts(*map(key_pem, keys))
        self.same_key(found, *keys)
        self.assertEqual([kind_of(each) for each in found.keys], ["RSA", "EC", "Ed25519", "Ed448"])
        self.same_key(parts(*(key_pem(each, form=PrivateFormat.TraditionalOpenSSL) for each in keys[:2])), *keys[:2])

    def test_neighbours(self) -> None:
        """Parameters, public keys and requests in the file do not count."""
        public = HOST.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        found = parts(parameters, public, key_pem(HOST.key))
        self.same_key(found, HOST.key)

    def test_neither(self) -> None:
        """What is neither PEM nor PKCS#12 is none of ours: text, nothing, DER, zeros."""
        for content in (
            b"", b"README\n------\n", LEAF.public_bytes(Encoding.DER), bytes(1000), b"\x30", b"\xff" * 50,
            AUTHORITY.answering(LEAF), AUTHORITY.revoking(1).public_bytes(Encoding.DER),
            HOST.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
            HOST.key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
            rsa_key().private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        ):  # fmt: skip
            self.assertIsNone(parts_of("a", content, OPEN))

    def test_keys_are_not_shown(self) -> None:
        """What is printed tells nothing of keys and passwords."""
        self.assertNotIn("PrivateKey", repr(parts(key_pem(HOST.key))))
        self.assertNotIn("sesame", repr(OPEN))

    def test_rsa_keys_load_at_once(self) -> None:
        """Thousands of RSA keys load in seconds, as their primes are not tested: one that has three of them is read."""
        p, q = rsa_key().private_numbers().p, rsa_key(1024).public_key().public_numbers().n
        of_q = rsa_key(1024).private_numbers()
        d = pow(65537, -1, (p - 1) * (of_q.p - 1) * (of_q.q - 1))
        public = rsa.RSAPublicNumbers(65537, p * q)
        numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), rsa.rsa_crt_iqmp(p, q), public)
        odd = numbers.private_key(unsafe_skip_rsa_key_validation=True)
        self.assertRaises(ValueError, load_pem_private_key, key_pem(odd), None)
        self.same_key(parts(key_pem(odd)), odd)


class CutTests(ContentsTests):
    """Files that are half there."""

    def test_every_cut(self) -> None:
        """Wherever a file of two certificates and a key is cut, but for the ends of its blocks, that is an error."""
        whole = pem(LEAF, OWN) + key_pem(HOST.key)
        ends = [0, *(each.end() for each in re.finditer(b"-----END [A-Z ]+-----\n", whole))]
        complete = {end + more for end in ends for more in range(-1, len("-----") + 1)}
        for at in set(range(len(whole))) - complete:
            with self.assertRaisesRegex(ConfigurationError, "cut off, or still being written"):
                parts_of("a.pem", whole[:at], Password(), keys=False)

    def test_no_end(self) -> None:
        """A block without its end, at the end of the file and before another."""
        half = pem(LEAF)[:200]
        for content in (half, half + b"\n" + pem(OWN), pem(OWN) + half):
            self.refused_parts(f"a CERTIFICATE block in it {CUT}", content)
        self.refused_parts(f"a PRIVATE KEY block in it {CUT}", key_pem(HOST.key)[:100])

    def test_no_beginning(self) -> None:
        """A block without its beginning; one that ends as another kind."""
        self.refused_parts(f"a CERTIFICATE block in it {CUT}", pem(LEAF)[100:])
        self.refused_parts(f"a CERTIFICATE block in it {CUT}", pem(LEAF).replace(b"END CERT", b"END X509 CERT"))

    def test_half_a_line(self) -> None:
        """A file that ends within the first line of its second block."""
        for half in (b"-----B", b"-----BEGIN CERT", b"-----BEGIN CERTIFICATE----"):
            self.refused_parts(
                "it ends in the middle of a PEM line: it is cut off, or still being written", pem(LEAF), half
            )

    def test_rulers(self) -> None:
        """Lines of dashes are nobody's beginning."""
        self.assertEqual(parts(pem(LEAF), b"----------------\n-----").certificates, (LEAF,))


class BrokenTests(ContentsTests):
    """Files that are whole and wrong."""

    def test_certificate(self) -> None:
        """A certificate that is none: what the library says of it, in one short line."""
        for inside in (b"AAAA", b"!!"):
            content = b"-----BEGIN CERTIFICATE-----\n" + inside + b"\n-----END CERTIFICATE-----\n"
            for read in (lambda made: parts(made), certificates_in):
                with self.assertRaisesRegex(ConfigurationError, "^a certificate in it is broken: .{5,150}$"):
                    read(content)

    def test_key(self) -> None:
        """A key that is none."""
        content = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
        with self.assertRaisesRegex(
            ConfigurationError,
            "^a private key in it cannot be used: .{5,150}; expected RSA, EC, Ed25519 or Ed448$",
        ):
            parts(content)

    def test_key_that_nobody_asks_for(self) -> None:
        """A key in the file does not matter where only certificates are asked for."""
        found = parts(pem(LEAF), key_pem(dsa_key()), key_pem(HOST.key, b"locked"), keys=False)
        self.assertEqual((found.certificates, found.keys), ((LEAF,), ()))

    def test_keys_of_no_server(self) -> None:
        """Keys that no TLS server can have."""
        for key, kind in ((dsa_key(), "DSA"), (x25519.X25519PrivateKey.generate(), "X25519")):
            self.refused_parts(
                f"a private key in it cannot be used: TLS servers have no keys of the kind {kind}; "
                "expected RSA, EC, Ed25519 or Ed448",
                key_pem(key),
            )

    def test_ssh(self) -> None:
        """A key of SSH's."""
        content = HOST.key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        with self.assertRaisesRegex(ConfigurationError, "^a private key in it cannot be used: .*; expected RSA, EC"):
            parts(content)

    def test_trusted_certificate(self) -> None:
        """OpenSSL's own form of a certificate: how to make a plain one."""
        content = pem(LEAF).replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE")
        self.refused_parts(
            "a TRUSTED CERTIFICATE is OpenSSL's own; make a plain one: openssl x509 -in OLD -out NEW", content
        )


class PasswordTests(ContentsTests):
    """Encrypted keys."""

    def test_both_forms(self) -> None:
        """PKCS#8 and OpenSSL's own."""
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            self.same_key(parts(key_pem(HOST.key, b"open sesame", form), password=OPEN), HOST.key)

    def test_password_for_nothing(self) -> None:
        """A password where a key is not encrypted is not needed."""
        self.same_key(parts(key_pem(HOST.key), password=OPEN), HOST.key)
        self.same_key(parts(pkcs12(), password=OPEN), HOST.key)

    def test_no_password(self) -> None:
        """What to say, and nobody is asked on a terminal."""
        self.patch(sys, "stdin", io.StringIO("open sesame\n"))
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            self.refused_parts(LOCKED.format("encrypted"), key_pem(HOST.key, b"open sesame", form))

    def test_wrong_password(self) -> None:
        """Where the password came from, and never the password."""
        wrong = Password(b"alibaba", "env:KEY_PASSWORD")
        line = "it cannot be decrypted: the password of env:KEY_PASSWORD is wrong, or it is broken"
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            self.refused_parts(line, key_pem(HOST.key, b"open sesame", form), password=wrong)
        self.refused_parts(line, pkcs12(b"open sesame"), password=wrong)


class Pkcs12Tests(ContentsTests):
    """PKCS#12."""

    def test_whole(self) -> None:
        """Key, certificate and chain, with a password and without."""
        for secret, password in ((b"open sesame", OPEN), (None, Password())):
            found = parts(pkcs12(secret, OWN), password=password)
            self.assertEqual(found.certificates, (LEAF, OWN))
            self.same_key(found, HOST.key)

    def test_certificates_alone(self) -> None:
        """A file without a key has none."""
        made = serialize_key_and_certificates(None, None, None, [OWN], NoEncryption())
        self.assertEqual((parts(made).certificates, parts(made).keys), ((OWN,), ()))

    def test_no_password(self) -> None:
        """A locked one, or a broken one: these cannot be told apart."""
        self.refused_parts(LOCKED.format("encrypted, or broken"), pkcs12(b"open sesame"))
        self.refused_parts(LOCKED.format("encrypted, or broken"), pkcs12()[:-20])

    def test_key_of_no_server(self) -> None:
        """A key that no TLS server can have."""
        other = Party("dsa", dsa_key())
        made = serialize_key_and_certificates(None, dsa_key(), other.certified(), None, NoEncryption())
        self.refused_parts(
            "a private key in it cannot be used: TLS servers have no keys of the kind DSA; "
            "expected RSA, EC, Ed25519 or Ed448",
            made,
        )


class ListsTests(ContentsTests):
    """CA files and revocation lists."""

    def test_certificates(self) -> None:
        """Several in PEM, one in DER, none in anything else; what else is in the file does not count."""
        revocations = AUTHORITY.revoking(1)
        self.assertEqual(certificates_in(pem(OWN, revocations, LEAF)), (OWN, LEAF))
        self.assertEqual(certificates_in(OWN.public_bytes(Encoding.DER)), (OWN,))
        for content in (b"", b"nothing", pem(revocations), revocations.public_bytes(Encoding.DER)):
            self.assertEqual(certificates_in(content), ())

    def test_revocations(self) -> None:
        """Likewise."""
        lists = AUTHORITY.revoking(1), Party("Other").revoking(2)
        self.assertEqual(revocations_in(pem(lists[0], OWN, lists[1])), lists)
        self.assertEqual(revocations_in(lists[0].public_bytes(Encoding.DER)), lists[:1])
        for content in (b"", b"nothing", pem(OWN), OWN.public_bytes(Encoding.DER)):
            self.assertEqual(revocations_in(content), ())

    def test_cut(self) -> None:
        """Half a list is an error."""
        self.refused(f"a CERTIFICATE block in it {CUT}", lambda: certificates_in(pem(LEAF, OWN)[:-60]))
        self.refused(f"a X509 CRL block in it {CUT}", lambda: revocations_in(pem(AUTHORITY.revoking(1))[:-60]))

    def test_broken_revocations(self) -> None:
        """A list that is none."""
        content = b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"
        with self.assertRaisesRegex(ConfigurationError, "^a revocation list in it is broken: .{5,150}$"):
            revocations_in(content)

    def test_parts_that_are_read_late(self) -> None:
        """
        A certificate or a list whose outline is right, and a part of which is not, is broken here, and not only for
        whoever asks for that part.
        """
        name = HOST.called.encode()
        leaf = LEAF.public_bytes(Encoding.DER)
        for der in (
            leaf.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x0c"),
            leaf.replace(name, b"\xff" * len(name)),
            leaf.replace(AUTHORITY.called.encode(), b"\xff" * len(AUTHORITY.called)),
        ):
            self.assertNotEqual(der, leaf)
            self.assertEqual(certificates_in(der), ())
            with self.assertRaisesRegex(ConfigurationError, "^a certificate in it is broken: .{5,150}$"):
                parts(as_pem("CERTIFICATE", der))
        revoked = AUTHORITY.revoking(1).public_bytes(Encoding.DER)
        for der in (
            revoked.replace(b"\x02\x01\x01", b"\x02\x01\x05", 1),
            revoked.replace(AUTHORITY.called.encode(), b"\xff" * len(AUTHORITY.called)),
        ):
            self.assertNotEqual(der, revoked)
            self.assertEqual(revocations_in(der), ())
            with self.assertRaisesRegex(ConfigurationError, "^a revocation list in it is broken: .{5,150}$"):
                revocations_in(as_pem("X509 CRL", der))

    def test_what_openssl_cannot_read(self) -> None:
        """One that this parser can read, and OpenSSL cannot, is broken too."""
        whole = LEAF.public_bytes(Encoding.DER)
        at = whole.index(HOST.called.encode()) - 2
        der = whole[:at] + bytes([0x02]) + whole[at + 1 :]  # a name that is a number
        with self.assertRaisesRegex(ConfigurationError, "^a certificate in it is broken: "):
            parts(as_pem("CERTIFICATE", der))

    def test_names_in_lines(self) -> None:
        """A name of a certificate may stand in a line: no control characters, no spaces, no quotes; none is said so."""
        self.assertEqual(shown(Party("a\x1b[31m b\n'\"").name), "CN=a\\x1b[31m b\\x0a'\\x5c\\x22")
        self.assertEqual(shown(Party("").name), "(no name)")
