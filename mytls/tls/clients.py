"""
The certificates of clients: who is let in by OpenSSL, and why somebody is not.

OpenSSL verifies each handshake that is whole. A session that is resumed has the certificate that it was made with, and
nobody looks at that again; so we do, or who has expired since would enter for as long as sessions last.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary, WeakSet

import attrs
from cryptography import x509
from cryptography.x509.oid import ExtensionOID
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509Store, X509StoreContext, X509StoreContextError, X509StoreFlags

from mytls.settings import HostSettings
from mytls.tls.trust import ClientTrust

#: How many CAs that clients have sent are kept for a context. Each was issued by an authority of its own, or below.
_MAX_BETWEEN = 1000


@attrs.frozen
class Refusal:
    """
    Why a client's certificate was refused.

    @ivar number: OpenSSL's, one of C{OpenSSL.SSL.X509VerificationCodes}
    @ivar depth: which certificate of the client's chain it is about; 0 is its own
    @ivar certificate: that one
    """

    number: int
    depth: int
    certificate: X509


def verify_clients(context: SSL.Context, settings: HostSettings, clients: ClientTrust | None) -> None:
    """Let in who shows a certificate for clients of these authorities."""
    if clients is None or not clients.authorities:
        raise settings.wrong("client-auth", settings.client_auth, "no CA to verify clients with; say client-ca")
    store = context.get_cert_store()
    assert store is not None
    _trust(store, settings, clients)
    for authority in clients.authorities:
        context.add_client_ca(authority)
    mode = SSL.VERIFY_PEER
    if settings.client_auth != "optional":
        mode |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    verifier = _clients[context] = _Clients(store)
    context.set_verify(mode, verifier.note)
    if context.get_verify_mode() != mode:
        raise RuntimeError("OpenSSL does not verify clients")


def refusal_of(connection: SSL.Connection) -> Refusal | None:
    """Why this client's certificate was refused, or None where it was not."""
    return _refusals.get(connection)


def refusal_now(connection: SSL.Connection) -> Refusal | None:
    """
    Why the client certificate of a resumed session would be refused by now, or None where it would not. OpenSSL looks
    at it in a full handshake alone; since then it, a CA above it or a revocation list may have come to its end.

    @param connection: after the handshake
    """
    clients = _clients.get(connection.get_context())
    return None if clients is None else clients.refusal_now(connection)


class _Clients:
    """Who verifies the clients of one context."""

    def __init__(self, store: X509Store) -> None:
        self._store = store
        self._verified: WeakSet[SSL.Connection] = WeakSet()
        self._between: dict[bytes, X509] = {}

    def note(self, connection: SSL.Connection, certificate: X509, number: int, depth: int, good: int) -> bool:
        """OpenSSL's decision, as it is; its error tells nothing of why, so that is kept for whoever explains it."""
        if not good:
            _refusals[connection] = Refusal(number, depth, certificate)
        elif depth == 0:
            self._verified.add(connection)
        elif len(self._between) < _MAX_BETWEEN:  # no session has the certificates between
            self._between.setdefault(certificate.digest("sha256"), certificate)
        return bool(good)

    def refusal_now(self, connection: SSL.Connection) -> Refusal | None:
        """See the function of this name."""
        certificate = None if connection in self._verified else connection.get_peer_certificate()
        if certificate is None:
            return None
        try:
            X509StoreContext(self._store, certificate, list(self._between.values())).verify_certificate()
        except X509StoreContextError as error:
            return Refusal(error.errors[0], error.errors[1], error.certificate)
        return None


_refusals: WeakKeyDictionary[SSL.Connection, Refusal] = WeakKeyDictionary()
_clients: WeakKeyDictionary[SSL.Context, _Clients] = WeakKeyDictionary()


def _trust(store: X509Store, settings: HostSettings, clients: ClientTrust) -> None:
    """
    Trust each authority by itself, an intermediate without its root too.

    Where there are revocation lists, the client's own certificate has to have one of its issuer's that is in time. So
    has each CA above it, where all authorities with a list have one of their own issuer's: then OpenSSL looks at each
    chain up to its root. Elsewhere an authority that is revoked is left out, and its list with it, so that no client
    below it has one.
    """
    for at, revocation in enumerate(clients.revocations):
        _refuse_delta(settings, "".join(clients.paths[at : at + 1]), revocation)
    listed = {each.issuer for each in clients.revocations}
    whole = {each.issuer for each in clients.authorities if each.subject in listed} <= listed
    gone = set() if whole else _revoked(clients)
    for authority in clients.authorities:
        if authority.subject not in gone:
            store.add_cert(X509.from_cryptography(authority))
    for revocation in clients.revocations:
        if revocation.issuer not in gone:
            store.add_crl(revocation)
    if not listed:
        store.set_flags(X509StoreFlags.PARTIAL_CHAIN)
    elif whole:  # no chain may end before its root: OpenSSL verifies a list with the certificate above
        store.set_flags(X509StoreFlags.CRL_CHECK | X509StoreFlags.CRL_CHECK_ALL)
    else:
        store.set_flags(X509StoreFlags.CRL_CHECK | X509StoreFlags.PARTIAL_CHAIN)


def _refuse_delta(settings: HostSettings, path: str, revocation: x509.CertificateRevocationList) -> None:
    """OpenSSL passes over these (RFC 5280 section 5.2.4), and with them over what they revoke."""
    if any(each.oid == ExtensionOID.DELTA_CRL_INDICATOR for each in revocation.extensions):
        raise settings.wrong("crl", path, "a delta of a revocation list, which is not used; expected the whole list")


def _revoked(clients: ClientTrust) -> set[x509.Name]:
    """The authorities that a list has revoked, and those below them."""
    gone: set[x509.Name] = set()
    for _ in clients.authorities:  # so deep is the longest chain
        for each in clients.authorities:
            lists = (one for one in clients.revocations if one.issuer == each.issuer)
            number = each.serial_number
            if each.issuer in gone or any(one.get_revoked_certificate_by_serial_number(number) for one in lists):
                gone.add(each.subject)
    return gone
