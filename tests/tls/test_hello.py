"""The ClientHello: RFC 8446 sections 4.1.2 and 5.1, RFC 5246 section 7.4.1.2, RFC 6066 section 3, RFC 7301."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import Alert, Cause, TLSFailure, alert_record
from mytls.tls.hello import MAX_ALPN, MAX_FRAGMENT, MAX_HELLO, ClientHello, HelloReader
from tests.memory import client_context, key_pair

SERVER_NAME, GROUPS, FORMATS, SIGNATURES, ALPN, VERSIONS, PADDING = 0, 10, 11, 13, 16, 43, 21


def vector(width: int, data: bytes) -> bytes:
    """Data behind its length."""
    return len(data).to_bytes(width, "big") + data


def extension(kind: int, data: bytes) -> bytes:
    """One extension."""
    return struct.pack(">H", kind) + vector(2, data)


def server_name(*names: bytes, kind: int = 0) -> bytes:
    """The extension of that name, with as many names as there are."""
    return extension(SERVER_NAME, vector(2, b"".join(bytes((kind,)) + vector(2, name) for name in names)))


def alpn(*protocols: bytes) -> bytes:
    """The extension with these protocols."""
    return extension(ALPN, vector(2, b"".join(vector(1, protocol) for protocol in protocols)))


def body(
    extensions: Iterable[bytes] | None = (),
    *,
    version: int = 0x0303,
    session: bytes = b"",
    suites: bytes = b"\x13\x01\xc0\x2f",
    compressions: bytes = b"\0",
) -> bytes:
    """A ClientHello without its header; None for one that ends before the extensions."""
    start = struct.pack(">H", version) + bytes(range(32)) + vector(1, session) + vector(2, suites)
    return start + vector(1, compressions) + (b"" if extensions is None else vector(2, b"".join(extensions)))


def message(content: bytes, kind: int = 1) -> bytes:
    """A handshake message."""
    return bytes((kind,)) + vector(3, content)


def records(data: bytes, size: int = MAX_FRAGMENT, version: int = 0x0301) -> bytes:
    """Handshake records that carry the data, so many bytes in each."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"\x16" + struct.pack(">H", version) + vector(2, piece) for piece in pieces)


def client_hello(name: bytes | None = b"www.example.com", protocols: tuple[bytes, ...] = (b"h2", b"http/1.1")) -> bytes:
    """The first flight of a client of OpenSSL's, as it is on the wire."""
    client = SSL.Connection(client_context())
    client.set_connect_state()
    if name is not None:
        client.set_tlsext_host_name(name)
    if protocols:
        client.set_alpn_protos(list(protocols))
    try:
        client.do_handshake()
    except SSL.WantReadError:
        pass
    return client.bio_read(65536)


def read(data: bytes, piece: int = 1 << 20) -> tuple[ClientHello | None, HelloReader]:
    """Feed a new reader, until it has its ClientHello."""
    reader = HelloReader()
    for at in range(0, len(data), piece):
        hello = reader.feed(data[at : at + piece])
        if hello is not None:
            return hello, reader
    return None, reader


def whole(data: bytes) -> ClientHello:
    """What is read of data that is a ClientHello."""
    hello, _ = read(data)
    assert hello is not None
    return hello


class OpenSSLTests(SynchronousTestCase):
    """What clients really send."""

    def test_fields(self) -> None:
        """The name, the protocols, the versions, the groups and the signature algorithms are those of the client."""
        hello = whole(client_hello())
        self.assertEqual(hello.server_name, b"www.example.com")
        self.assertEqual(hello.alpn, (b"h2", b"http/1.1"))
        self.assertEqual(hello.version, 0x0303)
        self.assertEqual(hello.versions[:2], (0x0304, 0x0303))
        self.assertIn(0x1301, hello.cipher_suites)  # TLS_AES_128_GCM_SHA256
        self.assertIn(29, hello.groups)  # x25519
        self.assertIn(0x0403, hello.signature_algorithms)  # ecdsa_secp256r1_sha256
        self.assertLess({SERVER_NAME, GROUPS, SIGNATURES, ALPN, VERSIONS}, set(hello.extensions))

    def test_without_name_and_protocols(self) -> None:
        """A client that asks for no name and no protocol has none."""
        hello = whole(client_hello(None, ()))
        self.assertEqual((hello.server_name, hello.alpn), (None, ()))

    def test_tls_1_2(self) -> None:
        """A client of TLS 1.2 alone offers that version, which it has no extension for."""
        client = SSL.Connection(client_context(SSL.TLS1_2_VERSION))
        client.set_connect_state()
        self.assertRaises(SSL.WantReadError, client.do_handshake)
        hello = whole(client.bio_read(65536))
        self.assertEqual(hello.versions, (0x0303,))
        self.assertNotIn(VERSIONS, hello.extensions)


class SplitTests(SynchronousTestCase):
    """One message, in any number of records, in any number of segments."""

    def setUp(self) -> None:
        self.flight = client_hello()
        self.expected = whole(self.flight)

    def test_byte_by_byte(self) -> None:
        """The ClientHello is whole with its last byte, and not before."""
        hello, reader = read(self.flight[:-1], 1)
        self.assertIsNone(hello)
        self.assertEqual(reader.feed(self.flight[-1:]), self.expected)
        self.assertEqual(bytes(reader.received), self.flight)

    def test_cut_at_every_offset(self) -> None:
        """In whichever two pieces it comes, it is read the same."""
        for cut in range(1, len(self.flight)):
            reader = HelloReader()
            self.assertIsNone(reader.feed(self.flight[:cut]), cut)
            self.assertEqual(reader.feed(self.flight[cut:]), self.expected, cut)

    def test_records_of_every_size(self) -> None:
        """In records of one byte each, of two, of any size, it is read the same; also byte by byte."""
        content = self.flight[5:]
        for size in (1, 2, 3, 4, 5, 7, 64, len(content) - 1, len(content)):
            split = records(content, size)
            self.assertEqual(whole(split), self.expected, size)
            self.assertEqual(read(split, 1)[0], self.expected, size)

    def test_trailing_bytes(self) -> None:
        """What follows the ClientHello is kept for OpenSSL, and not looked at."""
        hello, reader = read(self.flight + b"GET / HTTP/1.1")
        self.assertEqual(hello, self.expected)
        self.assertEqual(bytes(reader.received), self.flight + b"GET / HTTP/1.1")

    def test_trailing_bytes_in_the_same_record(self) -> None:
        """A record may go on behind the ClientHello: whether it may is OpenSSL's to say."""
        self.assertEqual(whole(records(self.flight[5:] + b"\x16more")), self.expected)

    def test_record_versions(self) -> None:
        """The version of a record says nothing, as long as it is SSL 3's or TLS's."""
        for version in (0x0300, 0x0301, 0x0303, 0x0304, 0x03FF):
            self.assertEqual(whole(records(self.flight[5:], version=version)), self.expected)

    def test_nothing(self) -> None:
        """No bytes are no ClientHello, and no error."""
        self.assertIsNone(HelloReader().feed(b""))


class FieldTests(SynchronousTestCase):
    """ClientHellos made by hand."""

    def read(self, *extensions: bytes, **fields: bytes) -> ClientHello:
        """Through records and reader."""
        return whole(records(message(body(extensions, **fields))))  # type: ignore[arg-type]  # no version here

    def test_no_extensions(self) -> None:
        """A ClientHello may end behind the compression methods (RFC 5246 section 7.4.1.2), or have an empty block."""
        expected = ClientHello(0x0303, (0x1301, 0xC02F), versions=(0x0303,))
        self.assertEqual(ClientHello.from_message(body(None)), expected)
        self.assertEqual(ClientHello.from_message(body()), expected)

    def test_order_is_kept(self) -> None:
        """Suites and extensions stay in the client's order, GREASE among them."""
        hello = self.read(extension(0x2A2A, b""), server_name(b"a"), extension(5, b"x"), suites=b"\x0a\x0a\x13\x02")
        self.assertEqual(hello.extensions, (0x2A2A, SERVER_NAME, 5))
        self.assertEqual(hello.cipher_suites, (0x0A0A, 0x1302))

    def test_lists(self) -> None:
        """Versions, groups and signature algorithms are read as numbers."""
        hello = self.read(
            extension(VERSIONS, vector(1, b"\x7f\x12\x03\x04")),
            extension(GROUPS, vector(2, b"\x00\x1d")),
            extension(SIGNATURES, vector(2, b"\x04\x03\x08\x04")),
        )
        self.assertEqual(hello.versions, (0x7F12, 0x0304))
        self.assertEqual(hello.groups, (29,))
        self.assertEqual(hello.signature_algorithms, (0x0403, 0x0804))

    def test_point_formats(self) -> None:
        """Point formats are read as far as they go: OpenSSL does not look at them where TLS 1.3 is spoken."""
        for data, expected in (
            (b"\1\0", b"\0"),
            (b"\3\0\1\2", b"\0\1\2"),
            (b"", b""),
            (b"\0", b""),
            (b"\2\0", b"\0"),
            (b"\1\0\1", b"\0"),
        ):
            self.assertEqual(self.read(extension(FORMATS, data)).point_formats, expected, data)
        self.assertEqual(self.read().point_formats, b"")

    def test_longest_name(self) -> None:
        """A name has up to 255 bytes, and is kept as it was sent."""
        for name in (b"a", b"WWW.Example.COM.", b"\xff" * 255):
            self.assertEqual(self.read(server_name(name)).server_name, name)

    def test_session_id(self) -> None:
        """A session id has up to 32 bytes."""
        self.assertEqual(self.read(session=b"s" * 32).cipher_suites, (0x1301, 0xC02F))

    def test_largest_hello(self) -> None:
        """A ClientHello of 64 KiB is read, in pieces of any size."""
        room = MAX_HELLO - len(body(session=b"s" * 32)) - len(extension(PADDING, b"")) - len(server_name(b"a"))
        content = body([server_name(b"a"), extension(PADDING, bytes(room))], session=b"s" * 32)
        self.assertEqual(len(content), MAX_HELLO)
        split = records(message(content))
        self.assertEqual(whole(split).server_name, b"a")
        self.assertEqual(read(split, 1460)[0], whole(split))


class RefusalTests(SynchronousTestCase):
    """Every refusal has its cause, its alert and its words, and is the same however the bytes come."""

    def refused(self, data: bytes, cause: Cause, alert: int | None, detail: str) -> None:
        """Assert that the data is refused so, whole and byte by byte."""
        for piece in (len(data), 1):
            with self.assertRaisesRegex(TLSFailure, detail) as caught:
                read(data, piece)
            self.assertEqual((caught.exception.cause, caught.exception.alert), (cause, alert), f"in pieces of {piece}")

    def bad(self, content: bytes, detail: str, alert: int = Alert.DECODE_ERROR) -> None:
        """Assert that this body is refused as malformed."""
        self.refused(records(message(content)), Cause.BAD_HELLO, alert, detail)

    def test_http(self) -> None:
        """Plain HTTP is called by its name, with the alert that a TLS server answers with."""
        for start in (
            b"GET / HTTP/1.1\r\n",
            b"POST /",
            b"HEAD /",
            b"PUT /",
            b"OPTIONS *",
            b"PRI * HTTP/2.0",
            b"PATCH /",
        ):
            self.refused(start, Cause.PLAIN_HTTP, Alert.UNEXPECTED_MESSAGE, "plain HTTP on a TLS port")

    def test_http_undecided(self) -> None:
        """Three bytes of a method may still become something else."""
        self.assertIsNone(HelloReader().feed(b"GET"))

    def test_almost_http(self) -> None:
        """What only begins as a method does is no HTTP."""
        self.refused(b"GETX", Cause.NOT_TLS, Alert.UNEXPECTED_MESSAGE, "the first byte is 0x47")

    def test_ssl_2(self) -> None:
        """An SSL 2 ClientHello is too old a version."""
        hello = b"\x80\x2e\x01\x03\x01" + bytes(43)
        self.refused(hello, Cause.OLD_VERSION, Alert.PROTOCOL_VERSION, "an SSL 2 ClientHello")

    def test_other_protocols(self) -> None:
        """SSH, SMTP, binary noise: the first byte tells."""
        for start in (
            b"SSH-2.0-OpenSSH",
            b"EHLO x",
            b"\0\0\0",
            b"\x80\x00\x02\xff",
        ):
            self.refused(start, Cause.NOT_TLS, Alert.UNEXPECTED_MESSAGE, f"the first byte is {start[0]:#04x}")

    def test_proxy_headers(self) -> None:
        """A PROXY header is none of TLS, and who sends one is not answered; what only begins as one is just no TLS."""
        detail = "a PROXY header where a ClientHello was due; proxy-protocol says who may send one"
        for start in (b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"):
            self.refused(start, Cause.PROXY_HEADER, None, detail)
            self.refused(start + b"TCP4 192.0.2.1", Cause.PROXY_HEADER, None, detail)
            for at in range(1, len(start)):
                self.assertIsNone(HelloReader().feed(start[:at]), at)
        for start in (b"PROXIED", b"PROX\x16", b"\r\nhelp\r\n", b"\r\n\r\n\0\r\nQUIT\r"):
            self.refused(start, Cause.NOT_TLS, Alert.UNEXPECTED_MESSAGE, f"the first byte is {start[0]:#04x}")

    def test_application_data(self) -> None:
        """A record that is no handshake is no beginning."""
        self.refused(b"\x17\x03\x03\x00\x01x", Cause.NOT_TLS, Alert.UNEXPECTED_MESSAGE, "the first byte is 0x17")

    def test_alert(self) -> None:
        """A client that sends an alert is not answered with one; its number is told."""
        self.refused(alert_record(42), Cause.PEER_ALERT, None, "sent alert 42")

    def test_alert_after_the_first_record(self) -> None:
        """Also in the middle."""
        start = records(client_hello()[5:25])
        self.refused(start + alert_record(0), Cause.PEER_ALERT, None, "sent alert 0")

    def test_record_version(self) -> None:
        """A record of no SSL 3 or TLS is no TLS."""
        self.refused(b"\x16\x02\x00\x00\x05hello", Cause.NOT_TLS, Alert.UNEXPECTED_MESSAGE, "record's version")

    def test_empty_record(self) -> None:
        """A handshake record carries something (RFC 8446 section 5.1), the first as well as a later one."""
        for start in (b"", records(client_hello()[5:25])):
            self.refused(start + b"\x16\x03\x01\0\0", Cause.BAD_HELLO, Alert.DECODE_ERROR, "record of 0 bytes")

    def test_oversized_record(self) -> None:
        """A record of more than 2**14 bytes overflows, and is refused by its header."""
        header = b"\x16\x03\x01" + struct.pack(">H", MAX_FRAGMENT + 1)
        self.refused(header, Cause.BAD_HELLO, Alert.RECORD_OVERFLOW, "record of 16385 bytes")

    def test_oversized_hello(self) -> None:
        """A ClientHello of more than 64 KiB is refused by its header: nothing of it is collected."""
        start = b"\x01" + (MAX_HELLO + 1).to_bytes(3, "big")
        self.refused(records(start), Cause.BAD_HELLO, Alert.ILLEGAL_PARAMETER, "65537 bytes; at most 65536")

    def test_other_message(self) -> None:
        """The first message is a ClientHello or wrong."""
        self.refused(
            records(message(b"", kind=2)), Cause.BAD_HELLO, Alert.UNEXPECTED_MESSAGE, "message 2 where a ClientHello"
        )

    def test_other_record_in_the_middle(self) -> None:
        """Nothing may come between the records of the ClientHello."""
        start = records(client_hello()[5:25])
        for kind in (20, 23, 24, 0x47):
            self.refused(
                start + bytes((kind, 3, 3, 0, 1, 0)),
                Cause.BAD_HELLO,
                Alert.UNEXPECTED_MESSAGE,
                f"record of type {kind} within the ClientHello",
            )

    def test_repeated_extension(self) -> None:
        """An extension stands once (RFC 8446 section 4.2), so nobody can read another than OpenSSL reads."""
        self.bad(
            body([server_name(b"a"), server_name(b"b")]), "extension 0 stands twice", alert=Alert.ILLEGAL_PARAMETER
        )
        self.bad(body([extension(0xFAFA, b"")] * 2), "extension 64250 stands twice", alert=Alert.ILLEGAL_PARAMETER)

    def test_two_names(self) -> None:
        """A client asks for one name."""
        self.bad(body([server_name(b"a", b"b")]), "length of an extension")

    def test_no_name(self) -> None:
        """An extension for a name has one, and it is not empty."""
        for wrong in (extension(SERVER_NAME, b""), server_name(), server_name(b""), server_name(b"a", kind=1)):
            self.bad(body([wrong]), "an extension does not add up|no host name")

    def test_name_with_nul(self) -> None:
        """A NUL would end the name for whoever reads it as C does."""
        for name in (b"a\0b", b"\0", b"a\0"):
            self.refused_name(name)

    def test_long_name(self) -> None:
        """A name of 256 bytes is no name."""
        self.refused_name(b"a" * 256)

    def refused_name(self, name: bytes) -> None:
        """Assert that this name is refused as one."""
        data = records(message(body([server_name(name)])))
        self.refused(data, Cause.UNKNOWN_NAME, Alert.DECODE_ERROR, "too many bytes, or with NUL")

    def test_bad_protocols(self) -> None:
        """An ALPN list has a protocol, none is empty, and their lengths fit."""
        for wrong in (
            alpn(),
            alpn(b""),
            alpn(b"h2", b""),
            extension(ALPN, b""),
            extension(ALPN, b"\0"),
            extension(ALPN, vector(2, b"\x03h2")),
            extension(ALPN, vector(2, b"\x02h2") + b"x"),
            extension(ALPN, b"\0\x09\x02h2"),
        ):
            self.bad(body([wrong]), "ALPN|extension")

    def test_longest_list_of_protocols(self) -> None:
        """An ALPN list is bounded, whatever is in it, so that nobody is busy with tens of thousands of names."""
        longest = alpn(*[b"a"] * (MAX_ALPN // 2))
        self.assertEqual(len(ClientHello.from_message(body([longest])).alpn), MAX_ALPN // 2)
        self.refused(
            records(message(body([alpn(*[b"a"] * 32_000)]))), Cause.BAD_HELLO, 47, "an ALPN list of 64000 bytes"
        )

    def test_odd_lists(self) -> None:
        """A list of numbers of two bytes each has an even length, and is not empty."""
        self.bad(body(suites=b""), "cipher suites has 0 bytes")
        self.bad(body(suites=b"\x13\x01\xc0"), "cipher suites has 3 bytes")
        for odd in (b"", b"\x03", b"\x03\x04\x03"):
            self.bad(body([extension(VERSIONS, vector(1, odd))]), f"supported versions has {len(odd)} bytes")
            self.bad(body([extension(GROUPS, vector(2, odd))]), f"groups has {len(odd)} bytes")
            self.bad(body([extension(SIGNATURES, vector(2, odd))]), f"signature algorithms has {len(odd)} bytes")

    def test_lengths_within_extensions(self) -> None:
        """A list fills its extension, to the byte."""
        for kind, width in ((VERSIONS, 1), (GROUPS, 2), (SIGNATURES, 2)):
            for wrong in (b"", vector(width, b"\x03\x04") + b"\0", vector(width, b"\x03\x04")[:-1]):
                self.bad(body([extension(kind, wrong)]), "length of an extension does not add up")

    def test_long_session_id(self) -> None:
        """A session id has at most 32 bytes."""
        self.bad(body(session=b"s" * 33), "session id of more than 32 bytes")

    def test_bytes_left_over(self) -> None:
        """The message ends where its extensions end."""
        self.bad(body() + b"\0", "do not add up")
        self.bad(body(None) + b"\0", "in the middle of a field")

    def test_cut_at_every_length(self) -> None:
        """A ClientHello that stops early is refused wherever it stops, but where it may have no extensions."""
        content = body([server_name(b"a.example"), alpn(b"h2"), extension(VERSIONS, vector(1, b"\x03\x04"))])
        may_end = len(body(None))
        for length in range(len(content)):
            if length != may_end:
                self.bad(content[:length], "add up|in the middle of a field")

    def test_extension_cut_at_every_length(self) -> None:
        """The same where the block's own length is right, and the last extension is cut."""
        last = extension(PADDING, bytes(20))
        for length in range(1, len(last)):
            self.bad(body([alpn(b"h2"), last[:length]]), "add up|in the middle of a field")


def openssl_reads(flight: bytes) -> tuple[bytes | None, tuple[bytes, ...] | None] | None:
    """What a server of OpenSSL's takes from the bytes: the name and the protocols; None where it refuses them."""
    offered: list[tuple[bytes, ...]] = []
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate(key_pair().certificate)
    context.use_privatekey(key_pair().key)  # type: ignore[arg-type]  # a key of trustme's is one that it takes
    context.set_tlsext_servername_callback(lambda connection: None)

    def select(connection: SSL.Connection, protocols: list[bytes]) -> object:
        offered.append(tuple(protocols))
        return SSL.NO_OVERLAPPING_PROTOCOLS

    context.set_alpn_select_callback(select)  # type: ignore[arg-type]  # the sentinel is no bytes
    server = SSL.Connection(context)
    server.set_accept_state()
    server.bio_write(flight)
    try:
        server.do_handshake()
    except SSL.WantReadError:
        return server.get_servername(), offered[0] if offered else None
    except SSL.Error:
        return None
    raise AssertionError("a handshake of one flight")


FLIGHT = client_hello()
changes = st.lists(st.tuples(st.integers(0, len(FLIGHT) - 1), st.integers(0, 255)), min_size=1, max_size=4)
few = settings(
    max_examples=150, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


class PropertyTests(SynchronousTestCase):
    """Whatever a stranger sends."""

    def agrees(self, flight: bytes) -> None:
        """Assert that a ClientHello is read as OpenSSL reads it, where both read it."""
        try:
            hello, _ = read(flight)
        except TLSFailure:
            return
        theirs = openssl_reads(flight) if hello is not None else None
        if hello is not None and theirs is not None:
            name, protocols = theirs
            self.assertEqual(hello.server_name, name)
            if protocols is not None:  # OpenSSL does not ask where it resumes or retries
                self.assertEqual(hello.alpn, protocols)

    def test_the_unchanged_flight(self) -> None:
        """The real ClientHello is taken by both, and they agree: the comparison compares something."""
        self.assertEqual(openssl_reads(FLIGHT), (b"www.example.com", (b"h2", b"http/1.1")))
        self.agrees(FLIGHT)

    @few
    @given(changes)
    def test_changed_bytes(self, made: list[tuple[int, int]]) -> None:
        """With any bytes changed, the name and the protocols are OpenSSL's or the ClientHello is refused."""
        flight = bytearray(FLIGHT)
        for at, value in made:
            flight[at] = value
        self.agrees(bytes(flight))

    @few
    @given(st.integers(0, 2**16), st.integers(0, 255))
    def test_changed_name(self, where: int, value: int) -> None:
        """The same, with every change where the name and the protocols stand."""
        flight = bytearray(FLIGHT)
        start = flight.index(b"www.example.com") - 9
        end = flight.index(b"http/1.1") + 8
        flight[start + where % (end - start)] = value
        self.agrees(bytes(flight))

    @few
    @given(st.binary(max_size=300))
    @example(b"\x16\x03\x01\0\x04\x01\0\0\0")
    def test_any_bytes(self, data: bytes) -> None:
        """Nothing that can be sent raises anything but a L{TLSFailure}, and it does so however the bytes come."""
        self.assertEqual(self.outcome(data, len(data) or 1), self.outcome(data, 1))

    @few
    @given(st.binary(max_size=120))
    def test_any_message(self, content: bytes) -> None:
        """The same, for whatever can be in a ClientHello's place."""
        self.assertEqual(
            self.outcome(records(message(content)), 1 << 20), self.outcome(records(message(content), 7), 1)
        )

    @few
    @given(st.lists(st.tuples(st.sampled_from([0, 10, 11, 13, 16, 43, 77]), st.binary(max_size=12)), max_size=4))
    def test_any_extensions(self, extensions: list[tuple[int, bytes]]) -> None:
        """The same, for whatever can be in its extensions."""
        content = body([extension(kind, data) for kind, data in extensions])
        self.outcome(records(message(content)), 1 << 20)

    def outcome(self, data: bytes, piece: int) -> object:
        """The ClientHello, or what it was refused for."""
        try:
            return read(data, piece)[0]
        except TLSFailure as failure:
            return failure.cause, failure.alert
