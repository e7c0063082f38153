"""
What a backend is told of a connection: the PROXY header that goes out ahead of the client's bytes.

    presented = Presented.of(certificate)                              # once for each certificate of ours
    header_of("v2-tls", peer, destination, presented, received)        # once for each connection

What the client's own handshake with us has shown goes before what a proxy in front of us has said of it; the rest of
what that has said is sent on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import SignatureAlgorithmOID as Signature
from twisted.internet.interfaces import IAddress

from mytls.errors import Cause, TLSFailure
from mytls.peer import Peer
from mytls.proxyheader import ProxyHeader
from mytls.proxytlvs import TLV, Client, ClientTLS, HeaderError, SSLType, Type

#: What a header can tell, by the words of the setting.
V1, V2, V2_TLS, V2_TLS_CERTIFICATE = "v1", "v2", "v2-tls", "v2-tls-certificate"
HEADERS = (V1, V2, V2_TLS, V2_TLS_CERTIFICATE)

#: What a TLS connection itself shows, which nobody else's word stands beside.
_SHOWN = frozenset((Type.ALPN, Type.AUTHORITY, Type.SSL))
#: X509_V_ERR_UNSPECIFIED: no certificate was verified.
_UNVERIFIED = 1

#: OpenSSL's short names, which is what HAProxy sends.
_SIGNATURES = {
    Signature.RSA_WITH_SHA1: "RSA-SHA1",
    Signature.RSA_WITH_SHA224: "RSA-SHA224",
    Signature.RSA_WITH_SHA256: "RSA-SHA256",
    Signature.RSA_WITH_SHA384: "RSA-SHA384",
    Signature.RSA_WITH_SHA512: "RSA-SHA512",
    Signature.RSASSA_PSS: "RSASSA-PSS",
    Signature.ECDSA_WITH_SHA1: "ecdsa-with-SHA1",
    Signature.ECDSA_WITH_SHA224: "ecdsa-with-SHA224",
    Signature.ECDSA_WITH_SHA256: "ecdsa-with-SHA256",
    Signature.ECDSA_WITH_SHA384: "ecdsa-with-SHA384",
    Signature.ECDSA_WITH_SHA512: "ecdsa-with-SHA512",
    Signature.ED25519: "ED25519",
    Signature.ED448: "ED448",
}


@attrs.frozen
class Presented:
    """
    What a header tells of the certificate that we have shown.

    @ivar signature: the algorithm that it is signed with, as OpenSSL writes it; a number where it has no name here
    @ivar key: the algorithm of its key with the size in bits, such as `RSA2048`; None where it has no name here
    """

    signature: str
    key: str | None

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Presented:
        """What is told of a certificate of ours."""
        oid = certificate.signature_algorithm_oid
        return cls(_SIGNATURES.get(oid, oid.dotted_string), _key_name(certificate))

    def tlvs(self) -> tuple[TLV, ...]:
        """The same, as it stands in a header."""
        key = () if self.key is None else (TLV(SSLType.KEY_ALG, self.key.encode("ascii")),)
        return TLV(SSLType.SIG_ALG, self.signature.encode("ascii")), *key


def header_of(
    kind: str,
    peer: Peer,
    destination: IAddress | None,
    presented: Presented | None = None,
    received: Iterable[TLV] = (),
) -> bytes:
    """
    The header of a client's connection.

    @param kind: one of L{HEADERS}: what of it is told
    @param peer: the client, at the address that is true of it, whoever has passed it on
    @param destination: the address that it has connected to
    @param presented: the certificate that it was shown; None where there was none
    @param received: what the proxy in front of us has said; not for C{v1}, which has no room for it
    @raise TLSFailure: it is more than a header can hold
    """
    shown = tuple(_shown(kind, peer, presented))
    ours = {each.kind for each in shown} | (_SHOWN if shown and peer.version else frozenset())
    try:
        header = ProxyHeader.between(peer.address, destination, shown + _others(received, ours))
        return header.to_v1() if kind == V1 else header.to_v2(checksum=bool(shown))
    except HeaderError as error:
        raise TLSFailure(Cause.PROXY_HEADER, str(error)) from None


def header_of_check(kind: str, own: IAddress, backend: IAddress) -> bytes:
    """
    The header of a connection that we make for ourselves, such as to see whether a backend is well (section 2.1 of the
    protocol for version 1, 2.2 for version 2).

    @param kind: one of L{HEADERS}
    @param own: our address there
    @param backend: the backend's
    """
    return ProxyHeader.between(own, backend).to_v1() if kind == V1 else ProxyHeader(local=True).to_v2()


def _others(received: Iterable[TLV], ours: Iterable[int]) -> tuple[TLV, ...]:
    return tuple(each for each in received if each.kind not in ours)


def _shown(kind: str, peer: Peer, presented: Presented | None) -> Iterator[TLV]:
    """What the client's connection with us has shown."""
    if kind not in (V2_TLS, V2_TLS_CERTIFICATE):
        return
    if peer.alpn:
        yield TLV(Type.ALPN, peer.alpn.encode("latin-1"))
    if peer.server_name and peer.server_name.isascii():  # as it must be (RFC 6066 section 3)
        yield TLV(Type.AUTHORITY, peer.server_name.encode("ascii"))
    if peer.version is not None:
        shown = peer if kind == V2_TLS_CERTIFICATE else attrs.evolve(peer, identity=None)
        tlvs = tuple(_of_tls(shown, peer.version, presented))
        verify = _UNVERIFIED if shown.identity is None else 0
        yield TLV(Type.SSL, ClientTLS(_client(shown), verify, tlvs).to_bytes())


def _of_tls(peer: Peer, version: str, presented: Presented | None) -> Iterator[TLV]:
    yield TLV(SSLType.VERSION, version.encode("ascii"))
    if peer.cipher is not None:
        yield TLV(SSLType.CIPHER, peer.cipher.encode("ascii"))
    if presented is not None:
        yield from presented.tlvs()
    if peer.identity is not None:
        if peer.identity.cn:
            yield TLV(SSLType.CN, peer.identity.cn[0].encode("utf-8"))
        yield TLV(SSLType.CLIENT_CERT, peer.identity.certificate.public_bytes(Encoding.DER))


def _client(peer: Peer) -> Client:
    """A session that goes on has its certificate from the connection that began it."""
    if peer.identity is None:
        return Client.SSL
    now = Client.CERT_CONN if peer.resumed is False else Client(0)
    return Client.SSL | Client.CERT_SESS | now


def _key_name(certificate: x509.Certificate) -> str | None:
    key = certificate.public_key()
    if isinstance(key, RSAPublicKey):
        return f"RSA{key.key_size}"
    if isinstance(key, EllipticCurvePublicKey):
        return f"EC{key.key_size}"
    if isinstance(key, Ed25519PublicKey):
        return "ED25519"
    return "ED448" if isinstance(key, Ed448PublicKey) else None
