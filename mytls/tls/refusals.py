"""Why a certificate is refused: OpenSSL's verification errors as causes, with whom the certificate names."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from cryptography import x509
from OpenSSL.crypto import FILETYPE_ASN1, X509, dump_certificate
from OpenSSL.SSL import X509VerificationCodes as Codes

from mytls.errors import Cause, TLSFailure, visible
from mytls.peer import Identity, certificate_of

#: The largest certificate whose names are read, in bytes of DER. To OpenSSL one may have 100 KiB, and to read thousands
#: of names takes longer than all the rest of a handshake. Servers have hundreds, and are no strangers who ask us.
MAX_CERTIFICATE = {"client": 16 * 1024, "server": 64 * 1024}
#: What a client may send besides its own certificate: how many, and their bytes of DER together. OpenSSL keeps them,
#: looked at or not, for as long as the connection lives, and takes 4 KiB for the smallest.
MAX_SENT = 32
MAX_SENT_BYTES = 64 * 1024

_NO_LIST = "whether it was revoked cannot be told:"
#: OpenSSL's verification errors (`openssl-verification-options(1)`); all others are of a chain that leads nowhere.
#: A revocation list that is no use is told as `revoked`, since that is what the certificate counts as.
_REFUSED: dict[int, tuple[Cause, str]] = {
    Codes.ERR_CERT_HAS_EXPIRED: (Cause.EXPIRED, "it has expired"),
    Codes.ERR_CERT_NOT_YET_VALID: (Cause.NOT_YET_VALID, "it is not valid yet"),
    Codes.ERR_CERT_REVOKED: (Cause.REVOKED, "it was revoked"),
    Codes.ERR_UNABLE_TO_GET_CRL: (Cause.REVOKED, f"{_NO_LIST} there is no revocation list of its issuer's"),
    Codes.ERR_CRL_HAS_EXPIRED: (Cause.REVOKED, f"{_NO_LIST} its issuer's revocation list is past its next update"),
    Codes.ERR_CRL_NOT_YET_VALID: (Cause.REVOKED, f"{_NO_LIST} its issuer's revocation list is not valid yet"),
    Codes.ERR_CRL_SIGNATURE_FAILURE: (Cause.REVOKED, f"{_NO_LIST} its issuer's revocation list has a wrong signature"),
    Codes.ERR_UNABLE_TO_GET_CRL_ISSUER: (
        Cause.REVOKED,
        f"{_NO_LIST} who has signed its issuer's revocation list is unknown",
    ),
    Codes.ERR_KEYUSAGE_NO_CRL_SIGN: (Cause.REVOKED, f"{_NO_LIST} its issuer is not allowed to sign revocation lists"),
    Codes.ERR_UNHANDLED_CRITICAL_CRL_EXTENSION: (
        Cause.REVOKED,
        f"{_NO_LIST} its issuer's revocation list has an unknown critical extension",
    ),
    Codes.ERR_DIFFERENT_CRL_SCOPE: (
        Cause.REVOKED,
        f"{_NO_LIST} its issuer's revocation list is for other certificates",
    ),
    Codes.ERR_INVALID_PURPOSE: (Cause.WRONG_USAGE, "it is not for {whose}s (extended key usage)"),
    Codes.ERR_UNABLE_TO_GET_ISSUER_CERT: (Cause.UNKNOWN_CA, "no CA of {trusted} has issued it"),
    Codes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: (Cause.UNKNOWN_CA, "no CA of {trusted} has issued it"),
    Codes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: (Cause.UNKNOWN_CA, "no CA of {trusted} has issued it"),
    Codes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: (Cause.UNKNOWN_CA, "it is signed by itself, and not in {trusted}"),
    Codes.ERR_SELF_SIGNED_CERT_IN_CHAIN: (Cause.UNKNOWN_CA, "its root is not in {trusted}"),
    Codes.ERR_INVALID_CA: (Cause.UNKNOWN_CA, "it is no CA"),
    Codes.ERR_CERT_SIGNATURE_FAILURE: (Cause.UNKNOWN_CA, "its signature is wrong"),
    Codes.ERR_CERT_CHAIN_TOO_LONG: (Cause.UNKNOWN_CA, "there are more CAs above it than verify-depth allows"),
    Codes.ERR_PATH_LENGTH_EXCEEDED: (Cause.UNKNOWN_CA, "it has more CAs below it than it may have"),
    Codes.ERR_PERMITTED_VIOLATION: (Cause.UNKNOWN_CA, "a CA above it may not issue for its names (name constraints)"),
    Codes.ERR_EXCLUDED_VIOLATION: (Cause.UNKNOWN_CA, "a CA above it may not issue for its names (name constraints)"),
    Codes.ERR_UNHANDLED_CRITICAL_EXTENSION: (Cause.UNKNOWN_CA, "it has a critical extension that is not known here"),
    66: (Cause.UNKNOWN_CA, "its key is too weak"),  # X509_V_ERR_EE_KEY_TOO_SMALL, which pyOpenSSL does not name
    67: (Cause.UNKNOWN_CA, "its key is too weak"),  # X509_V_ERR_CA_KEY_TOO_SMALL
    68: (Cause.UNKNOWN_CA, "it is signed with a digest that is too weak"),  # X509_V_ERR_CA_MD_TOO_WEAK
}


def unverified(
    number: int, depth: int, certificate: X509, whose: str = "client", trusted: str = "client-ca"
) -> TLSFailure:
    """
    What a verification error of OpenSSL's means.

    @param number: the error's, one of C{OpenSSL.SSL.X509VerificationCodes}
    @param depth: which certificate of the chain it is about; 0 is the peer's own
    @param certificate: that one
    @param whose: `client` or `server`
    @param trusted: what the user calls the CAs
    """
    cause, words = _REFUSED.get(number, (Cause.UNKNOWN_CA, f"OpenSSL's verification error {number}"))
    told = f"{words.format(whose=whose, trusted=trusted)}: {_which(depth, whose)} {_named(certificate, whose)}"
    return TLSFailure(cause, told)


def identity_of(certificate: X509, whose: str = "client") -> Identity:
    """
    What a certificate of a peer's says, whoever has made it.

    @raise ValueError: it is too large to be read, or some of it does not parse
    """
    der = dump_certificate(FILETYPE_ASN1, certificate)
    if len(der) > MAX_CERTIFICATE[whose]:
        raise _TooLarge(f"too large to be read, with {len(der)} bytes")
    return Identity.of_der(der)


def parsed(certificate: X509) -> x509.Certificate:
    """A CA's certificate, as cryptography has it. @raise ValueError: it does not parse"""
    return certificate_of(dump_certificate(FILETYPE_ASN1, certificate))


def sent_too_much(certificates: Sequence[X509]) -> TLSFailure | None:
    """Why nobody keeps all that a client has sent, or None. @param certificates: what it has sent besides its own"""
    size = sum(len(dump_certificate(FILETYPE_ASN1, each)) for each in certificates[: MAX_SENT + 1])
    if len(certificates) <= MAX_SENT and size <= MAX_SENT_BYTES:
        return None
    bound = f"more than {MAX_SENT}, or than {MAX_SENT_BYTES // 1024} KiB"
    return TLSFailure(Cause.BAD_HELLO, f"the client has sent too many certificates besides its own: {bound}")


def unparsed(certificate: X509, depth: int, whose: str = "client") -> TLSFailure:
    """A certificate that OpenSSL has verified cannot be read: nobody can tell whom it names."""
    return TLSFailure(
        Cause.NOT_ALLOWED, f"nobody can tell whom it names: {_which(depth, whose)} {_named(certificate, whose)}"
    )


def for_whom(refusal: TLSFailure, certificate: X509, whose: str = "client") -> TLSFailure:
    """The same, which is about another, and whom it has kept out. @param certificate: the peer's own"""
    return attrs.evolve(refusal, detail=f"{refusal.detail}; it was for {_which(0, whose)} {_named(certificate, whose)}")


def _which(depth: int, whose: str) -> str:
    return f"{whose} certificate" if depth == 0 else f"CA of the {whose}'s chain"


def _named(certificate: X509, whose: str) -> str:
    """Whom it names, as far as it can be read: a stranger wrote it."""
    try:
        return identity_of(certificate, whose).shown()
    except _TooLarge as error:
        return f"that is {error}"
    except ValueError:
        serial = visible(f"{certificate.get_serial_number():X}", _SERIAL)
        return f"that does not parse, serial={serial}"


class _TooLarge(ValueError):
    """A certificate has more bytes than are read."""


#: How many digits of a serial number are shown. RFC 5280 section 4.1.2.2 allows forty.
_SERIAL = 64
