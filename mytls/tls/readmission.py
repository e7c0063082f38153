"""Whether who was let in before would be let in now."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from OpenSSL.crypto import X509

from mytls.tls.verifier import Verifier


def check_again(clients: Verifier, chain: Sequence[x509.Certificate]) -> None:
    """
    Verify a certificate of an earlier handshake.

    @param clients: who verifies by now
    @param chain: what was verified then: the client's own certificate first, and the CAs above it
    @raise TLSFailure: it would not be let in
    """
    own, *above = (X509.from_cryptography(each) for each in chain)
    clients.check(own, above)
