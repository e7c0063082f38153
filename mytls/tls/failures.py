"""OpenSSL's errors, as causes: what a person looks for in a log instead of `error:0A000126`."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.logger import Logger
from twisted.python.failure import Failure

from mytls.errors import Cause, TLSFailure, visible
from mytls.tls.contexts import NoCommonProtocol
from mytls.tls.verifier import refusal_of

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
        return refusal
    reason = _reason(error)
    folded = f" {reason.casefold()} "
    for part, cause in _REASONS:
        if part in folded:
            return TLSFailure(cause, "the client has shown no certificate" if cause is Cause.NO_CERTIFICATE else reason)
    return TLSFailure(Cause.BAD_HELLO, reason)


def _reason(error: SSL.Error) -> str:
    entries = error.args[0] if error.args else None
    if isinstance(entries, list) and entries:
        return str(entries[0][-1])
    return f"{type(error).__name__}"
