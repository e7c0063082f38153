"""What a finished handshake tells of the peer."""

from __future__ import annotations

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.interfaces import IAddress

from mytls.errors import Cause, TLSFailure, one_line
from mytls.peer import Peer


def peer_of(connection: SSL.Connection, address: IAddress | None) -> Peer:
    """
    The peer of an established connection.

    @param connection: after the handshake
    @param address: where the peer connects from
    @raise TLSFailure: OpenSSL has accepted a certificate that `cryptography` cannot read
    """
    name = connection.get_servername()
    alpn = connection.get_alpn_proto_negotiated()
    try:
        certificate = connection.get_peer_certificate(as_cryptography=True)
        chain = () if certificate is None else _chain(connection, certificate)
    except Exception as error:  # the library's own errors have no common base
        detail = f"a certificate of the peer's cannot be read: {one_line(str(error))}"
        raise TLSFailure(Cause.BAD_HELLO, detail) from None
    return Peer(
        address=address,
        server_name=None if name is None else name.decode("latin-1"),
        alpn=alpn.decode("latin-1") or None,
        version=connection.get_protocol_version_name(),
        cipher=connection.get_cipher_name(),
        cipher_bits=connection.get_cipher_bits(),
        group=connection.get_group_name(),
        certificate=certificate,
        chain=chain,
    )


def _chain(connection: SSL.Connection, certificate: x509.Certificate) -> tuple[x509.Certificate, ...]:
    """All that the peer sent, its own first: on a server OpenSSL's chain begins behind it, on a client with it."""
    chain = connection.get_peer_cert_chain(as_cryptography=True) or ()
    return (certificate, *(each for each in chain if each != certificate))


def same_name(connection: SSL.Connection, chosen: bytes | None) -> bool:
    """
    Whether OpenSSL's name is the one that the host was chosen by. A TLS 1.2 session of a foreign context has no
    name; it resumes in the context that made it and in no other.

    @param connection: after the handshake
    @param chosen: the server name of the ClientHello
    """
    seen = connection.get_servername()
    if seen is None and connection.get_protocol_version() < SSL.TLS1_3_VERSION:
        return True
    return seen == chosen
