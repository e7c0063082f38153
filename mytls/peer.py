"""Who is at the other end: one frozen value, made once, when the handshake is done."""

from __future__ import annotations

import attrs
from cryptography import x509
from twisted.internet.interfaces import IAddress


@attrs.frozen
class Peer:
    """
    What the handshake has shown of the other side.

    @ivar address: where it connects from
    @ivar server_name: the name it asked for (RFC 6066 section 3), or None
    @ivar alpn: the application protocol agreed on (RFC 7301), or None
    @ivar version: the TLS version, as OpenSSL writes it: `TLSv1.3`; None on a plain connection
    @ivar cipher: the cipher suite, as OpenSSL writes it
    @ivar cipher_bits: the secret bits of that suite
    @ivar group: the group of the key exchange, as OpenSSL writes it: `X25519MLKEM768`
    @ivar certificate: the verified certificate of the peer, or None
    @ivar chain: the certificates that the peer sent, its own first
    """

    address: IAddress | None
    server_name: str | None = None
    alpn: str | None = None
    version: str | None = None
    cipher: str | None = None
    cipher_bits: int | None = None
    group: str | None = None
    certificate: x509.Certificate | None = None
    chain: tuple[x509.Certificate, ...] = ()
