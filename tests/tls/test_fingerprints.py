"""JA3 and JA4, beside the examples that are published with them, and of real ClientHellos."""

from __future__ import annotations

import hashlib
from typing import Any

import attrs
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mytls.tls import fingerprints as module
from mytls.tls.fingerprints import fingerprints
from mytls.tls.hello import ClientHello
from tests.memory import client_context
from tests.tls.test_hello import ALPN, SERVER_NAME, client_hello, whole

GREASE = (0x0A0A, 0x1A1A, 0x7A7A, 0xFAFA)


def hello(ja3: str, **more: Any) -> ClientHello:
    """What has this text before JA3 hashes it: version, suites, extensions, groups and point formats."""
    version, *lists = ja3.split(",")
    suites, extensions, groups, formats = (tuple(map(int, each.split("-"))) if each else () for each in lists)
    known = ClientHello(
        int(version), suites, extensions, versions=(int(version),), groups=groups, point_formats=bytes(formats)
    )
    return attrs.evolve(known, **more)


def in_hex(listed: str) -> tuple[int, ...]:
    """Numbers as JA4 writes them."""
    return tuple(int(each, 16) for each in listed.split(","))


def plain(**offers: Any) -> ClientHello:
    """A ClientHello of TLS 1.2 with one suite, and more."""
    return ClientHello(**{"version": 0x0303, "cipher_suites": (0x1301,), "versions": (0x0303,), **offers})


CHROME_SIGNATURES = in_hex("0403,0804,0401,0503,0805,0501,0806,0601")
#: Chrome 143 on Android, with both fingerprints as one service saw them.
CHROME = hello(
    "771,4865-4866-4867-49195-49199-49196-49200-52393-52392-49171-49172-156-157-47-53,"
    "45-51-16-65037-23-17613-0-11-10-43-65281-35-18-5-13-27,4588-29-23-24,0",
    versions=(0x0304, 0x0303),
    alpn=(b"h2", b"http/1.1"),
    signature_algorithms=CHROME_SIGNATURES,
)
CHROME_IS = "98487aa16281980e7d1120d399efb6a4", "t13d1516h2_8daaf6152771_d8a2da3f94cd"
#: The example of JA4's specification.
EXAMPLE = attrs.evolve(
    CHROME, extensions=in_hex("001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015")
)


class JA3Tests(SynchronousTestCase):
    """JA3."""

    def test_published(self) -> None:
        """The examples of its authors: one with extensions, one without, one from a capture."""
        for text, expected in (
            (
                "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0",
                "ada70206e40642a3e4461f35503241d5",
            ),
            ("769,4-5-10-9-100-98-3-6-19-18-99,,,", "de350869b8c85de67a350c8d186f11e6"),
            (
                "769,255-49162-49172-136-135-57-56-49167-49157-132-53-49159-49161-49169-49171-69-68-51-50-49164-49166-"
                "49154-49156-150-65-4-5-47-49160-49170-22-19-49165-49155-65279-10,0-10-11-35,23-24-25,0",
                "2aef69b4ba1938c3a400de4188743185",
            ),
        ):
            self.assertEqual(fingerprints(hello(text))[0], expected)

    def test_browser(self) -> None:
        """A browser's."""
        self.assertEqual(fingerprints(CHROME), CHROME_IS)

    def test_order(self) -> None:
        """The order of suites, extensions, groups and formats counts."""
        for name in ("cipher_suites", "extensions", "groups"):
            turned = attrs.evolve(CHROME, **{name: getattr(CHROME, name)[::-1]})
            self.assertNotEqual(fingerprints(turned)[0], CHROME_IS[0], name)
        one, other = (fingerprints(attrs.evolve(CHROME, point_formats=each))[0] for each in (b"\0\1", b"\1\0"))
        self.assertNotEqual(one, other)


class JA4Tests(SynchronousTestCase):
    """JA4."""

    def ja4(self, **offers: Any) -> str:
        """Of a ClientHello of TLS 1.2 with one suite, and more."""
        return fingerprints(plain(**offers))[1]

    def test_specification(self) -> None:
        """The specification's example, and the same without signature algorithms."""
        self.assertEqual(fingerprints(EXAMPLE)[1], "t13d1516h2_8daaf6152771_e5627efa2ab1")
        unsigned = fingerprints(attrs.evolve(EXAMPLE, signature_algorithms=()))[1]
        self.assertEqual(unsigned, "t13d1516h2_8daaf6152771_6d807ffa2a79")

    def test_published(self) -> None:
        """Others': a browser with GREASE among its signature algorithms, and a client of one suite fewer."""
        newer = attrs.evolve(
            CHROME,
            extensions=in_hex("fe0d,0010,0017,0033,44cd,ff01,000a,000d,0023,002b,000b,ca34,002d,0000,0005,001b,0012"),
            signature_algorithms=(0x9A9A, *in_hex("0904,0905,0906"), *CHROME_SIGNATURES),
        )
        self.assertEqual(fingerprints(newer)[1], "t13d1517h2_8daaf6152771_cb7bf5808d99")
        other = attrs.evolve(
            CHROME,
            cipher_suites=in_hex("00ff,1301,1302,1303,c02b,c02c,c02f,c030,cca8,cca9"),
            extensions=in_hex("0000,0010,0005,000a,000b,000d,0017,0023,002b,002d,0033"),
            signature_algorithms=in_hex("0503,0403,0807,0806,0805,0804,0601,0501,0401"),
        )
        self.assertEqual(fingerprints(other)[1], "t13d1011h2_61a7ad8aa9b6_3fcd1a44f3e3")

    def test_order(self) -> None:
        """The order of suites and extensions does not count; that of signature algorithms does."""
        for name in ("cipher_suites", "extensions"):
            turned = attrs.evolve(EXAMPLE, **{name: getattr(EXAMPLE, name)[::-1]})
            self.assertEqual(fingerprints(turned)[1], fingerprints(EXAMPLE)[1], name)
        turned = attrs.evolve(EXAMPLE, signature_algorithms=CHROME_SIGNATURES[::-1])
        self.assertNotEqual(fingerprints(turned)[1], fingerprints(EXAMPLE)[1])

    def test_protocol(self) -> None:
        """The first protocol's first and last character; in hex where one of them is no letter or digit of ASCII."""
        for protocol, expected in (
            (b"h2", "h2"), (b"http/1.1", "h1"), (b"h", "hh"), (b"acme-tls/1", "a1"), (b"Zz9", "Z9"),
            (b"\xab", "ab"), (b"\xab\xcd", "ad"), (b"0\xab", "3b"), (b"01\xab\xcd", "3d"), (b"0\xab\xcd1", "01"),
            (b"-", "2d"), (b"/2", "22"), (b"\xb5m", "bd"), (b"\x0a\x0a", "0a"),
        ):  # fmt: skip
            self.assertEqual(self.ja4(alpn=(protocol, b"other"))[8:10], expected, protocol)
        self.assertEqual(self.ja4()[8:10], "00")

    def test_version(self) -> None:
        """The newest of those that are supported; where there is no such list, the one of the message."""
        for versions, expected in (
            ((0x0304, 0x0303), "13"), ((0x0301, 0x0303, 0x0302), "12"), ((0x0302,), "11"), ((0x0301,), "10"),
            ((0x0300,), "s3"), ((0x0002,), "s2"), ((0xFEFD, 0xFEFC), "d2"), ((0x7F1C, 0x0303), "00"),
            ((0xFAFA, 0x0304, 0x0A0A), "13"), ((0x0A0A,), "00"),
        ):  # fmt: skip
            self.assertEqual(self.ja4(versions=versions)[1:3], expected, versions)

    def test_name(self) -> None:
        """Whether a name was asked for, and not which."""
        self.assertEqual(self.ja4()[3], "i")
        one, other = (self.ja4(extensions=(0,), server_name=name) for name in (b"a.example", b"b.example"))
        self.assertEqual((one, one[3]), (other, "d"))

    def test_counts(self) -> None:
        """Two digits each, 99 at most; the name and the protocols are counted, and not hashed."""
        some = self.ja4(cipher_suites=tuple(range(1, 10)), extensions=(0, 16, 10))
        self.assertEqual(some[4:8], "0903")
        self.assertEqual(some.rpartition("_")[2], self.ja4(extensions=(10,)).rpartition("_")[2])
        many = self.ja4(cipher_suites=tuple(range(100)), extensions=tuple(range(5000)))
        self.assertEqual(many[4:8], "9999")

    def test_nothing(self) -> None:
        """What there is nothing of is zeros."""
        self.assertRegex(self.ja4(extensions=(0, 16)), "^t12d0102.._[0-9a-f]{12}_000000000000$")
        self.assertRegex(self.ja4(cipher_suites=(0x0A0A,)), "^t12i000000_000000000000_000000000000$")


class BothTests(SynchronousTestCase):
    """What holds for both."""

    def test_grease(self) -> None:
        """What a client adds so that nobody gets used to what it sends changes neither (RFC 8701)."""
        lists = ("cipher_suites", "extensions", "groups", "signature_algorithms", "versions")
        more: dict[str, Any] = {name: (*GREASE[:2], *getattr(CHROME, name), *GREASE[2:]) for name in lists}
        self.assertEqual(fingerprints(attrs.evolve(CHROME, **more)), CHROME_IS)
        for near in (0x0A1A, 0x0B0B, 0x0A0B):
            suites = (*CHROME.cipher_suites, near)
            self.assertNotEqual(fingerprints(attrs.evolve(CHROME, cipher_suites=suites))[0], CHROME_IS[0])

    def test_real(self) -> None:
        """The ClientHello of a real client: the same each time, and another with other protocols or versions."""
        one, again, other = (
            fingerprints(whole(client_hello(b"a.example", protocols)))
            for protocols in ((b"h2",), (b"h2",), (b"http/1.1",))
        )
        self.assertEqual(one, again)
        self.assertEqual(one[0], other[0])
        self.assertEqual((one[1][:4], one[1][8:10], other[1][8:10]), ("t13d", "h2", "h1"))
        client = SSL.Connection(client_context(SSL.TLS1_2_VERSION))
        client.set_connect_state()
        self.assertRaises(SSL.WantReadError, client.do_handshake)
        old = whole(client.bio_read(65536))
        ja3, ja4 = fingerprints(old)
        self.assertEqual(ja4[:4], "t12i")
        self.assertEqual(old.point_formats[:1], b"\0")  # uncompressed
        lists = old.cipher_suites, old.extensions, old.groups, old.point_formats
        text = ",".join(("771", *("-".join(map(str, each)) for each in lists)))
        self.assertEqual(ja3, hashlib.md5(text.encode("ascii"), usedforsecurity=False).hexdigest())

    def test_session(self) -> None:
        """A client that resumes sends pre_shared_key, and is not hidden: both are of what was sent."""
        resuming = attrs.evolve(CHROME, extensions=(*CHROME.extensions, 41))
        ja3, ja4 = fingerprints(resuming)
        self.assertNotEqual(ja3, CHROME_IS[0])
        self.assertEqual(ja4[:24], "t13d1517h2_8daaf6152771_")
        self.assertNotEqual(ja4[24:], CHROME_IS[1][24:])

    def test_kept(self) -> None:
        """Those of one client are made once, whichever name it asks for; those of many numbers are never kept."""
        kept = module._kept
        kept.cache_clear()
        for name in (b"a.example", b"b.example", b"c.example"):
            fingerprints(attrs.evolve(CHROME, server_name=name))
        self.assertEqual((kept.cache_info().misses, kept.cache_info().hits), (1, 2))
        for offers in (
            {"cipher_suites": tuple(range(300))},
            {"extensions": tuple(range(300))},
            {"groups": tuple(range(300))},
            {"signature_algorithms": tuple(range(300))},
            {"versions": tuple(range(300))},
            {"point_formats": bytes(255), "alpn": (b"x" * 255,)},
        ):
            fingerprints(plain(**offers))
        self.assertEqual(kept.cache_info().currsize, 1)

    def test_extensions_of_constants(self) -> None:
        """The numbers of extensions that JA4 leaves out are those that the parser reads."""
        read = whole(client_hello())
        self.assertLess({SERVER_NAME, ALPN}, set(read.extensions))
        without = fingerprints(attrs.evolve(read, extensions=tuple(set(read.extensions) - {SERVER_NAME, ALPN})))[1]
        self.assertEqual(without.rpartition("_")[2], fingerprints(read)[1].rpartition("_")[2])
