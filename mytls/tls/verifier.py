"""
Who verifies the certificates of peers: OpenSSL decides about the chain, the rules about whom it names.

Both decide inside the handshake, so that who is refused hears of it by an alert. OpenSSL verifies each handshake that
is whole: it calls back with each error that it finds, where a no is the end, and then, from the top of the chain down,
with each certificate that is good. The first of these is the CA that vouches for all below it; the peer's own is the
last, and there the rules are asked. To OpenSSL each CA may vouch for everybody: where CAs may not, that is asked too.

A session that is resumed has the certificate that it was made with, and nobody looks at that again; so we do, or who
has expired since would enter for as long as sessions last. What OpenSSL has verified and we have not seen is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

import attrs
from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509Store, X509StoreContext, X509StoreContextError, X509StoreFlags
from OpenSSL.SSL import X509VerificationCodes as Codes
from twisted.logger import Logger

from mytls.errors import Cause, TLSFailure
from mytls.peer import Identity
from mytls.settings import HostSettings
from mytls.tls.refusals import for_whom, identity_of, parsed, sent_too_much, unparsed, unverified
from mytls.tls.stores import Trusted
from mytls.tls.trust import ClientTrust

_log = Logger()

#: Why who shows this may not enter, in a few words; None where it may.
Admit = Callable[[Identity], str | None]
#: Why whose chain leads to this CA is not who it says, in a few words; None where the CA may vouch for it.
Vouch = Callable[[Identity, x509.Certificate], str | None]

#: How many CAs that clients have sent are kept for a context: those that were used last. Each was issued by an
#: authority of its own, or below.
_MAX_BETWEEN = 1000

#: How many CAs there may be between a client's certificate and one that is trusted, where nobody says it.
_DEPTH = 100

#: What there is to say against who has signed a certificate, and not against itself.
_OF_THE_CHAIN = frozenset(
    (
        Codes.ERR_UNABLE_TO_GET_ISSUER_CERT,
        Codes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
        Codes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
        Codes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
        Codes.ERR_SELF_SIGNED_CERT_IN_CHAIN,
        Codes.ERR_CERT_SIGNATURE_FAILURE,
        Codes.ERR_PERMITTED_VIOLATION,
        Codes.ERR_EXCLUDED_VIOLATION,
        Codes.ERR_SUBTREE_MINMAX,
        Codes.ERR_UNSUPPORTED_CONSTRAINT_TYPE,
        Codes.ERR_UNSUPPORTED_CONSTRAINT_SYNTAX,
        Codes.ERR_UNSUPPORTED_NAME_SYNTAX,
        68,  # X509_V_ERR_CA_MD_TOO_WEAK, which pyOpenSSL does not name
    )
)


@attrs.frozen
class Shown:
    """
    What a peer has shown and was let in by.

    @ivar identity: its certificate
    @ivar chain: that and the CAs above it, the trusted one last
    """

    identity: Identity
    chain: tuple[x509.Certificate, ...]


def verify_clients(
    context: SSL.Context,
    settings: HostSettings,
    clients: ClientTrust | None,
    admit: Admit,
    vouch: Vouch | None = None,
) -> Verifier:
    """
    Let in who shows a certificate for clients of these authorities, and is admitted.

    @param clients: without authorities where the settings know clients by their keys alone
    @param vouch: whom each of them may vouch for; everybody, if left out
    """
    if clients is None or not (clients.authorities or settings.pinned):
        raise settings.wrong("client-auth", settings.client_auth, "no CA to verify clients with; say client-ca")
    clients = clients.newest(settings)
    store = context.get_cert_store()
    assert store is not None
    trust = Trusted.of(clients)
    trust.put_into(store)
    for authority in clients.named:
        context.add_client_ca(authority)
    depth = _DEPTH if settings.verify_depth is None else settings.verify_depth
    # Of a key that is known OpenSSL verifies no chain, however long.
    context.set_verify_depth(0 if settings.pinned else depth)
    # In its cache each session has all certificates that its client has sent. A ticket has the client's own alone.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    mode = SSL.VERIFY_PEER
    if settings.client_auth != "optional":
        mode |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    verifier = Verifier(
        store,
        admit,
        vouch=vouch,
        trusted="client-ca" if vouch is None else "spiffe",
        depth=depth,
        pinned=settings.pinned,
        stale=trust.without_time() if settings.stale_crl == "accept" and clients.revocations else None,
    )
    verifier.verify(context, mode)
    return verifier


def refusal_of(connection: SSL.Connection) -> TLSFailure | None:
    """Why the certificate of this handshake was refused, or None where it was not."""
    found = _refusals.get(connection)
    if found is None:
        return None
    refusal = TLSFailure(found.cause, found.detail)
    chain = connection.get_verified_chain() if found.depth else None  # as far as OpenSSL came before it said no
    return for_whom(refusal, chain[0], found.whose) if chain else refusal


class Verifier:
    """Verifies the peers of one context."""

    def __init__(
        self,
        store: X509Store,
        admit: Admit,
        *,
        vouch: Vouch | None = None,
        whose: str = "client",
        trusted: str = "client-ca",
        depth: int = _DEPTH,
        pinned: bool = False,
        stale: tuple[X509Store, X509Store] | None = None,
    ) -> None:
        """
        @param store: the context's
        @param admit: asked of who is verified
        @param vouch: asked before, of that and the CA that its chain ends with; each may vouch for all, if left out
        @param whose: the certificates are: `client` or `server`
        @param trusted: what the user calls the CAs
        @param depth: how many CAs there may be between a certificate and a trusted one
        @param pinned: whether there is no CA, and C{admit} knows the keys
        @param stale: where a revocation list past its next update is gone by: a store without lists, and one with
            them that does not look at the time
        """
        self._store = store
        self._admit = admit
        self._vouch = vouch
        self._whose = whose
        self._trusted = trusted
        self._depth = depth
        self._pinned = pinned
        self._stale = stale
        self._identities: WeakKeyDictionary[SSL.Connection, Identity] = WeakKeyDictionary()
        self._anchors: WeakKeyDictionary[SSL.Connection, X509] = WeakKeyDictionary()
        self._between: dict[bytes, X509] = {}

    def verify(self, context: SSL.Context, mode: int) -> None:
        """Verify the peers of this context from now on."""
        context.set_verify(mode, self._note)
        _say_certificate_unknown(context, mode)
        if context.get_verify_mode() != mode:
            raise RuntimeError(f"OpenSSL does not verify {self._whose}s")

    def met(self, connection: SSL.Connection) -> Shown | None:
        """
        What the peer of a finished handshake has shown; None where it has shown no certificate.

        @raise TLSFailure: its session is resumed, and it would not be let in by now; it has sent more than is kept
        """
        chain = connection.get_verified_chain()
        if not chain:  # a session that is resumed has none
            certificate = connection.get_peer_certificate()
            return None if certificate is None else self.check(certificate, self._between.values())
        identity = self._identities.pop(connection, None)
        if identity is None:
            raise for_whom(TLSFailure(Cause.NOT_ALLOWED, "the rules were not asked"), chain[0], self._whose)
        # OpenSSL shows what was sent when the handshake is done, and not before.
        refusal = sent_too_much(connection.get_peer_cert_chain() or ()) if self._whose == "client" else None
        if refusal is not None:
            raise for_whom(refusal, chain[0])
        return self._shown(identity, () if self._pinned else chain[1:])

    def check(self, certificate: X509, between: Iterable[X509] = ()) -> Shown:
        """
        What who has shown this before shows by it now. The handshake in which it was shown has looked at what it is
        for, and that does not change.

        @param between: CAs that may be between it and one that is trusted
        @raise TLSFailure: it would not be let in
        """
        identity = self._identity(certificate)
        try:
            chain = self._chain(certificate, list(between))
        except X509StoreContextError as error:
            number, depth, _ = error.errors
            refusal = self._unverified(number, depth, error.certificate)
            raise (for_whom(refusal, certificate, self._whose) if depth else refusal) from None
        if len(chain) - 2 > self._depth:
            raise self._unverified(Codes.ERR_CERT_CHAIN_TOO_LONG, 0, certificate)
        shown = self._shown(identity, chain[1:])
        self._decide(self._admit, identity)
        for each in chain[1:]:
            if each.digest("sha256") in self._between:
                self._keep(each)
        return shown

    def _chain(self, certificate: X509, between: list[X509]) -> list[X509]:
        """The verified chain. @raise X509StoreContextError: there is none"""
        store = self._store
        if self._pinned:  # only its own time is looked at
            store, between = X509Store(), []
            store.add_cert(certificate)
            store.set_flags(X509StoreFlags.PARTIAL_CHAIN)
        try:
            return X509StoreContext(store, certificate, between).get_verified_chain()
        except X509StoreContextError as error:
            if self._stale is None or error.errors[0] != Codes.ERR_CRL_HAS_EXPIRED:
                raise
        dates, lists = self._stale
        X509StoreContext(dates, certificate, between).verify_certificate()
        return X509StoreContext(lists, certificate, between).get_verified_chain()

    def _note(self, connection: SSL.Connection, certificate: X509, number: int, depth: int, good: int) -> bool:
        """OpenSSL's decision, and at the end ours; OpenSSL's own error will not tell why, so that is kept."""
        try:
            if not good and not self._passes(number, depth):
                raise self._unverified(number, depth, certificate)
            if good:
                self._anchors.setdefault(connection, certificate)  # the first is the top of the chain
            if good and depth == 0:
                identity, anchor = self._identity(certificate), self._anchors.pop(connection)
                if self._vouch is not None:
                    self._decide(self._vouch, identity, self._parsed(anchor))
                self._decide(self._admit, identity)
                self._identities[connection] = identity
        except TLSFailure as refusal:
            _refusals[connection] = _Refused(refusal.cause, refusal.detail, depth, self._whose)
            return False
        if good and depth and not self._pinned and self._anchors.get(connection) is not certificate:
            self._keep(certificate)  # each is verified, by those above it
        return True

    def _keep(self, certificate: X509) -> None:
        """No session has the certificates between: keep this one, as the last that was used."""
        name = certificate.digest("sha256")
        self._between.pop(name, None)
        self._between[name] = certificate
        if len(self._between) > _MAX_BETWEEN:
            del self._between[next(iter(self._between))]

    def _passes(self, number: int, depth: int) -> bool:
        """Whether an error of OpenSSL's is none here."""
        if self._pinned and (depth or number in _OF_THE_CHAIN):  # its key is known, whoever has signed it
            return True
        return self._stale is not None and number == Codes.ERR_CRL_HAS_EXPIRED

    def _identity(self, certificate: X509) -> Identity:
        try:
            return identity_of(certificate, self._whose)
        except ValueError:
            raise unparsed(certificate, 0, self._whose) from None

    def _parsed(self, authority: X509) -> x509.Certificate:
        try:
            return parsed(authority)
        except ValueError:
            raise unparsed(authority, 1, self._whose) from None

    def _shown(self, identity: Identity, above: Iterable[X509]) -> Shown:
        """@raise TLSFailure: nobody can read a CA of its chain, or the last of them does not vouch for it"""
        chain = [identity.certificate, *(self._parsed(each) for each in above)]
        if self._vouch is not None:
            self._decide(self._vouch, identity, chain[-1])
        return Shown(identity, tuple(chain))

    def _decide(self, ask: Callable[..., str | None], identity: Identity, *about: x509.Certificate) -> None:
        """@raise TLSFailure: the answer is why it may not enter, or there is none"""
        try:
            refusal = ask(identity, *about)
        except Exception as error:  # whatever goes wrong with the rules, it is no yes
            _log.failure("the rules failed")
            raise TLSFailure(Cause.HANDLER, f"the rules raised {type(error).__name__}: {identity.shown()}") from None
        if refusal is not None:
            raise TLSFailure(Cause.NOT_ALLOWED, refusal)

    def _unverified(self, number: int, depth: int, certificate: X509) -> TLSFailure:
        return unverified(number, depth, certificate, self._whose, self._trusted)


@attrs.frozen
class _Refused:
    """What is kept of a refusal. An exception that was raised would keep its connection, and that would keep it."""

    cause: Cause
    detail: str
    depth: int
    whose: str


def _say_certificate_unknown(context: SSL.Context, mode: int) -> None:
    """
    Have OpenSSL send certificate_unknown where we refuse what it has found good, and not internal_error: it looks for
    an error number, and pyOpenSSL lets a callback leave none. Where pyOpenSSL has no such door, it stays as it is.
    """
    known: Any = getattr(context, "_verify_helper", None)
    if not (hasattr(known, "callback") and hasattr(context, "_context") and all(hasattr(_lib, each) for each in _DOOR)):
        return

    def decide(good: int, state: Any) -> int:
        decision: int = known.callback(good, state)
        if not decision and _lib.X509_STORE_CTX_get_error(state) == Codes.OK:
            _lib.X509_STORE_CTX_set_error(state, _OURS)
        return decision

    _doors[context] = _ffi.callback("int (*)(int, X509_STORE_CTX *)", decide)
    _lib.SSL_CTX_set_verify(context._context, mode, _doors[context])


#: No error of OpenSSL's. For those that it has no alert for it sends certificate_unknown.
_OURS = 9999
_DOOR = ("SSL_CTX_set_verify", "X509_STORE_CTX_get_error", "X509_STORE_CTX_set_error")
_lib: Any = getattr(SSL, "_lib", None)  # private, and not in pyOpenSSL's types
_ffi: Any = getattr(SSL, "_ffi", None)  # likewise

#: What OpenSSL calls, for as long as the context lives.
_doors: WeakKeyDictionary[SSL.Context, Any] = WeakKeyDictionary()
_refusals: WeakKeyDictionary[SSL.Connection, _Refused] = WeakKeyDictionary()
