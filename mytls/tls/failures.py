"""OpenSSL's errors, as causes: what a person looks for in a log instead of `error:0A000126`."""

from __future__ import annotations

from OpenSSL import SSL
from OpenSSL.SSL import X509VerificationCodes as Codes
from twisted.logger import Logger
from twisted.python.failure import Failure

from mytls.errors import Cause, TLSFailure, visible
from mytls.tls.clients import Refusal, refusal_of
from mytls.tls.contexts import NoCommonProtocol

_log = Logger()

#: Parts of OpenSSL's reasons (`openssl errstr`), the first that fits decides.
_REASONS: tuple[tuple[str, Cause], ...] = (
    ("peer did not return a certificate", Cause.NO_CERTIFICATE),
    ("certificate verify failed", Cause.UNKNOWN_CA),
    ("unsupported protocol", Cause.OLD_VERSION),
    ("version too low", Cause.OLD_VERSION),
    ("no shared cipher", Cause.NO_COMMON_CIPHER),
    ("no suitable key share", Cause.NO_COMMON_CIPHER),
    ("no suitable signature algorithm", Cause.NO_COMMON_CIPHER),
    ("no shared signature", Cause.NO_COMMON_CIPHER),
    ("http request", Cause.PLAIN_HTTP),
    ("wrong version number", Cause.NOT_TLS),
    ("unexpected eof", Cause.EOF),
    (" alert ", Cause.PEER_ALERT),
)

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
    Codes.ERR_INVALID_PURPOSE: (Cause.WRONG_USAGE, "it is not for clients (extended key usage)"),
    Codes.ERR_UNABLE_TO_GET_ISSUER_CERT: (Cause.UNKNOWN_CA, "no CA of client-ca has issued it"),
    Codes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: (Cause.UNKNOWN_CA, "no CA of client-ca has issued it"),
    Codes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: (Cause.UNKNOWN_CA, "no CA of client-ca has issued it"),
    Codes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: (Cause.UNKNOWN_CA, "it is signed by itself, and not in client-ca"),
    Codes.ERR_SELF_SIGNED_CERT_IN_CHAIN: (Cause.UNKNOWN_CA, "its root is not in client-ca"),
    Codes.ERR_INVALID_CA: (Cause.UNKNOWN_CA, "it is no CA"),
    Codes.ERR_CERT_SIGNATURE_FAILURE: (Cause.UNKNOWN_CA, "its signature is wrong"),
    66: (Cause.UNKNOWN_CA, "its key is too weak"),  # X509_V_ERR_EE_KEY_TOO_SMALL, which pyOpenSSL does not name
    67: (Cause.UNKNOWN_CA, "its key is too weak"),  # X509_V_ERR_CA_KEY_TOO_SMALL
    68: (Cause.UNKNOWN_CA, "it is signed with a digest that is too weak"),  # X509_V_ERR_CA_MD_TOO_WEAK
}


def explain(error: Exception, connection: SSL.Connection) -> TLSFailure:
    """
    What an exception of pyOpenSSL's means.

    @param error: what was raised; also what a callback of the context raised
    """
    if isinstance(error, NoCommonProtocol):
        offered = ",".join(visible(each, 40) for each in error.args[0][:8])
        return TLSFailure(Cause.NO_ALPN, f"none of the client's protocols is served: {offered}")
    if not isinstance(error, SSL.Error):  # ours, or of whoever made the context: nothing that a peer may hide
        _log.failure("a callback of the TLS context failed", Failure(error))
        return TLSFailure(Cause.HANDLER, f"a callback of the TLS context raised {type(error).__name__}")
    if isinstance(error, SSL.ZeroReturnError):
        return TLSFailure(Cause.PEER_ALERT, "the peer sent close_notify in the middle of TLS")
    if isinstance(error, SSL.SysCallError):
        return TLSFailure(Cause.EOF, "the peer's bytes ended in the middle of TLS")
    refusal = refusal_of(connection)
    if refusal is not None:
        return refused(refusal)
    reason = _reason(error)
    folded = f" {reason.casefold()} "
    for part, cause in _REASONS:
        if part in folded:
            return TLSFailure(cause, reason)
    return TLSFailure(Cause.BAD_HELLO, reason)


def refused(refusal: Refusal) -> TLSFailure:
    """What a refused client certificate means."""
    unknown = (Cause.UNKNOWN_CA, f"OpenSSL's verification error {refusal.number}")
    cause, words = _REFUSED.get(refusal.number, unknown)
    whose = "client certificate" if refusal.depth == 0 else "CA of the client's chain"
    return TLSFailure(cause, f"{words}: {whose} {_name(refusal)}, serial {refusal.certificate.get_serial_number():X}")


def _reason(error: SSL.Error) -> str:
    entries = error.args[0] if error.args else None
    if isinstance(entries, list) and entries:
        return str(entries[0][-1])
    return f"{type(error).__name__}"


def _name(refusal: Refusal) -> str:
    """The subject, as far as it can be read: a stranger wrote it."""
    try:
        return visible(refusal.certificate.to_cryptography().subject.rfc4514_string())
    except Exception:  # the library's own errors have no common base
        return "with an unreadable subject"
