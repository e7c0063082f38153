"""What a ClientHello and a finished handshake tell of the peer."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.interfaces import IAddress

from mytls.errors import Cause, TLSFailure, one_line
from mytls.peer import Identity, Peer
from mytls.tls.fingerprints import fingerprints
from mytls.tls.hello import ClientHello
from mytls.tls.verifier import Shown


def peer_of(
    connection: SSL.Connection,
    address: IAddress | None,
    shown: Shown | None = None,
    *,
    resumed: bool | None = None,
    hello: ClientHello | None = None,
) -> Peer:
    """
    The peer of an established connection.

    @param connection: after the handshake
    @param address: where the peer connects from
    @param shown: its certificate, where a verifier of ours has let it in
    @param resumed: whether the session of an earlier connection goes on; None where that cannot be told
    @param hello: its ClientHello; None where it is a server
    @raise TLSFailure: OpenSSL has accepted a certificate that cannot be read
    """
    name = connection.get_servername() if hello is None else hello.server_name
    alpn = connection.get_alpn_proto_negotiated()
    shown = shown or _shown(connection)
    ja3, ja4 = (None, None) if hello is None else fingerprints(hello)
    return Peer(
        address=address,
        server_name=_text(name),
        alpn=_text(alpn) or None,
        version=connection.get_protocol_version_name(),
        cipher=connection.get_cipher_name(),
        cipher_bits=connection.get_cipher_bits(),
        group=connection.get_group_name(),
        resumed=resumed,
        identity=None if shown is None else shown.identity,
        chain=() if shown is None else shown.chain,
        ja3=ja3,
        ja4=ja4,
    )


def peer_of_hello(hello: ClientHello, address: IAddress | None) -> Peer:
    """The peer of a connection whose handshake is somebody else's: what its ClientHello tells."""
    ja3, ja4 = fingerprints(hello)
    return Peer(address=address, server_name=_text(hello.server_name), ja3=ja3, ja4=ja4)


def _text(sent: bytes | None) -> str | None:
    return None if sent is None else sent.decode("latin-1")


def _shown(connection: SSL.Connection) -> Shown | None:
    """What the program's own context has let the peer in by."""
    try:
        certificate = connection.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            return None
        identity = Identity.of(certificate)
        chain = connection.get_verified_chain(as_cryptography=True)
    except Exception as error:  # the library's own errors have no common base
        detail = f"a certificate of the peer's cannot be read: {one_line(str(error))}"
        raise TLSFailure(Cause.BAD_HELLO, detail) from None
    return Shown(identity, tuple(chain or (certificate,)))


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
