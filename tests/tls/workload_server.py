"""
A SPIFFE Workload API to test against: gRPC over a UNIX socket, in threads of this process.

    domain = TrustDomain("example.org")
    agent = Agent(path)
    agent.issue(domain.svid("web"))
    agent.start()

It writes the messages of workloadapi.proto by itself, so what is tested is not also what it is tested with.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Condition
from typing import Any

import attrs
import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

#: Seconds that anything may take before a test has failed.
PATIENCE = 20.0


@attrs.frozen
class Svid:
    """
    An X.509-SVID as the agent sends it, all DER.

    @ivar spiffe_id: whom it names
    @ivar chain: its certificate, and those between it and the bundle
    @ivar key: PKCS#8
    @ivar bundle: the CAs of its trust domain
    """

    spiffe_id: str
    chain: bytes
    key: bytes = attrs.field(repr=False)
    bundle: bytes

    def message(self) -> bytes:
        """As the message X509SVID."""
        return (
            _field(1, self.spiffe_id.encode("ascii"))
            + _field(2, self.chain)
            + _field(3, self.key)
            + _field(4, self.bundle)
        )


class TrustDomain:
    """
    A trust domain with its CA.

    @ivar name: as in SPIFFE IDs
    @ivar certificate: the CA's
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _name(f"CA of {name}")
        self.certificate = self._signed(self._subject, self._key, f"spiffe://{name}", ca=True)

    @property
    def bundle(self) -> bytes:
        """Its CAs, DER."""
        return self.certificate.public_bytes(Encoding.DER)

    def svid(self, path: str = "web", *, key: Any = None, between: bool = False, signs: bool = False) -> Svid:
        """
        A new X.509-SVID.

        @param key: is sent in place of the one that fits
        @param between: whether an intermediate has issued it
        @param signs: whether it may sign others, which none may
        """
        own = ec.generate_private_key(ec.SECP256R1())
        spiffe_id = f"spiffe://{self.name}/{path}" if path else f"spiffe://{self.name}"
        issuer, rest = self, b""
        if between:
            issuer = TrustDomain(self.name)
            issuer._subject = _name(f"Intermediate of {self.name}")
            above = self._signed(issuer._subject, issuer._key, f"spiffe://{self.name}", ca=True)
            rest = above.public_bytes(Encoding.DER)
        leaf = issuer._signed(_name(path), own, spiffe_id, signs=signs)
        key_der = (key or own).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return Svid(spiffe_id, leaf.public_bytes(Encoding.DER) + rest, key_der, self.bundle)

    def _signed(
        self, subject: x509.Name, key: Any, uri: str, *, ca: bool = False, signs: bool = False
    ) -> x509.Certificate:
        now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
             "decipher_only"), False
        )  # fmt: skip
        builder = x509.CertificateBuilder(self._subject, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - day).not_valid_after(now + day)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), False)
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), True)
        builder = builder.add_extension(
            x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca or signs, **usage), True
        )
        return builder.sign(self._key, SHA256())


class Agent:
    """
    What serves the Workload API.

    @ivar asked: has an entry for each question that has come
    """

    def __init__(self, path: str) -> None:
        """@param path: of the socket"""
        self._path = path
        self._server: Any = None
        self._changed = Condition()
        self._version = 0
        self._answer: bytes | tuple[grpc.StatusCode, str] | None = None
        self.asked: SimpleQueue[None] = SimpleQueue()

    def start(self) -> None:
        """Listen."""
        self._server = grpc.server(ThreadPoolExecutor(8))
        fetch = grpc.unary_stream_rpc_method_handler(self._fetch)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("SpiffeWorkloadAPI", {"FetchX509SVID": fetch}),)
        )
        self._server.add_insecure_port(f"unix:{self._path}")
        self._server.start()

    def stop(self) -> None:
        """Be gone, and the socket with it."""
        if self._server is not None:
            self._server.stop(None).wait(PATIENCE)
            self._server = None

    def issue(self, *svids: Svid, federated: Mapping[str, bytes] | None = None) -> None:
        """Answer with these, now and to whoever asks later. @param federated: bundles by trust domain"""
        entries = ((name, bundle) for name, bundle in (federated or {}).items())
        bundles = (_field(3, _field(1, f"spiffe://{name}".encode("ascii")) + _field(2, der)) for name, der in entries)
        self._say(b"".join((*(_field(1, each.message()) for each in svids), *bundles)))

    def refuse(self, code: grpc.StatusCode, why: str = "no identity issued") -> None:
        """End all streams so, now and for whoever asks later."""
        self._say((code, why))

    def _say(self, answer: bytes | tuple[grpc.StatusCode, str]) -> None:
        with self._changed:
            self._answer = answer
            self._version += 1
            self._changed.notify_all()

    def _fetch(self, request: bytes, context: Any) -> Iterator[bytes]:
        self.asked.put(None)
        if ("workload.spiffe.io", "true") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing")
        context.add_callback(self._wake)
        seen = 0
        while context.is_active():
            with self._changed:
                self._changed.wait_for(lambda: self._version != seen or not context.is_active(), PATIENCE)  # noqa: B023
                seen, answer = self._version, self._answer
            if isinstance(answer, bytes):
                yield answer
            elif answer is not None:
                context.abort(*answer)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _field(number: int, value: bytes) -> bytes:
    """A field of bytes, text or a message (U{https://protobuf.dev/programming-guides/encoding/})."""
    return bytes((number << 3 | 2,)) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    more = bytearray()
    while value > 0x7F:
        more.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*more, value))


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common or "nobody")])
