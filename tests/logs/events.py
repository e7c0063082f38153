"""Events to write down, and who is in them."""

from __future__ import annotations

import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from twisted.internet.address import IPv4Address

from mytls.errors import Cause
from mytls.events import Closed, HandshakeFailed
from mytls.peer import Identity, Peer

WHERE: dict[str, Any] = {"connection": 7, "listener": "127.0.0.1:8443", "address": "192.0.2.1:50000"}
NASTY = 'a b"c\\d\r\ne\x1b[31m{log_source}%s\u2028\ud800\x00cause=clean'


def identity(name: str) -> Identity:
    """What a certificate with this CN and a DNS name says."""
    begin = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    attribute = x509.NameAttribute(x509.NameOID.COMMON_NAME, name, _validate=False)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder().subject_name(x509.Name([attribute])).issuer_name(x509.Name([]))
    builder = builder.not_valid_before(begin).not_valid_after(begin).public_key(key.public_key()).serial_number(0x0A1B)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("a.example")]), critical=False)
    return Identity.of(builder.sign(key, SHA256()))


def closed(**facts: Any) -> Closed:
    """A clean end."""
    peer = Peer(IPv4Address("TCP", "192.0.2.1", 50000), server_name="a.example", version="TLSv1.3", resumed=False)
    told = {"peer": peer, "cause": None, "detail": "", "bytes_in": 10, "bytes_out": 20, "seconds": 1.23456}
    return Closed(**WHERE, **(told | facts))


def failed(address: str = WHERE["address"], **facts: Any) -> HandshakeFailed:
    """A handshake that was none."""
    told = {"cause": Cause.NOT_TLS, "detail": "the first byte is 0x47", "server_name": None, "seconds": 0.01}
    return HandshakeFailed(**(WHERE | {"address": address}), **(told | facts))
