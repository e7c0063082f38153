"""Records of TLS 1.3 by hand, for what no client library lets a test send (RFC 8446 sections 5.2, 7.1 and 7.3)."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from OpenSSL import SSL

from tests.memory import Link, client_context

ALERT, HANDSHAKE, DATA = 21, 22, 23


class RecordWriter:
    """
    Takes over a client's sending direction after the handshake.

        link, writer = RecordWriter.on_new_link(...)
        link.to_server(writer.key_update())
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._hash = hashes.SHA384() if len(secret) == 48 else hashes.SHA256()
        self._rekey()

    @classmethod
    def on_new_link(cls, **words: object) -> tuple[Link, RecordWriter]:
        """A link after its handshake, and what writes in the client's name from there on."""
        lines: list[bytes] = []
        context = client_context(SSL.TLS1_3_VERSION)
        context.set_keylog_callback(lambda connection, line: lines.append(line))
        link = Link(context=context, **words)  # type: ignore[arg-type]
        link.handshake()
        (secret,) = [line.split()[2] for line in lines if line.startswith(b"CLIENT_TRAFFIC_SECRET_0 ")]
        return link, cls(bytes.fromhex(secret.decode()))

    def record(self, content_type: int, content: bytes) -> bytes:
        """One protected record."""
        inner = content + bytes((content_type,))
        header = bytes((DATA, 3, 3)) + (len(inner) + 16).to_bytes(2, "big")
        nonce = bytes(a ^ b for a, b in zip(self._iv, self._sequence.to_bytes(12, "big"), strict=True))
        self._sequence += 1
        return header + self._aead.encrypt(nonce, inner, header)

    def key_update(self, request: bool = True) -> bytes:
        """A KeyUpdate (section 4.6.3); what follows is protected with the next keys."""
        made = self.record(HANDSHAKE, bytes((24, 0, 0, 1, int(request))))
        self._secret = self._expand("traffic upd", self._hash.digest_size)
        self._rekey()
        return made

    def _rekey(self) -> None:
        self._sequence = 0
        self._aead = AESGCM(self._expand("key", 32 if self._hash.digest_size == 48 else 16))
        self._iv = self._expand("iv", 12)

    def _expand(self, label: str, length: int) -> bytes:
        name = b"tls13 " + label.encode()
        info = length.to_bytes(2, "big") + bytes((len(name),)) + name + b"\0"
        return HKDFExpand(self._hash, length, info).derive(self._secret)
