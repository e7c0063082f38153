"""Whom OpenSSL trusts to vouch for peers, and which revocation lists it looks at: OpenSSL's stores."""

from __future__ import annotations

import attrs
from cryptography import x509
from OpenSSL.crypto import X509, X509Store, X509StoreFlags

from mytls.tls.revocations import canonical, revoked
from mytls.tls.trust import ClientTrust

#: X509_V_FLAG_NO_CHECK_TIME, which pyOpenSSL does not name.
_NO_CHECK_TIME = 0x200000


@attrs.frozen
class Trusted:
    """
    Authorities that are each trusted by itself, an intermediate without its root too; and their revocation lists.

    Where there are lists, the client's own certificate has to have one of its issuer's that is in time. So has each CA
    above it, where all authorities with a list have one of their own issuer's: then OpenSSL looks at each chain up to
    its root. Elsewhere an authority that is revoked is left out, and its list with it, so that no client below it has
    one.

    @ivar of_chain: which certificates OpenSSL looks at
    @ivar of_lists: which of them it looks for in lists
    """

    authorities: tuple[x509.Certificate, ...]
    revocations: tuple[x509.CertificateRevocationList, ...]
    of_chain: int
    of_lists: int

    @classmethod
    def of(cls, clients: ClientTrust) -> Trusted:
        """Those of a host."""
        listed = {canonical(each.issuer) for each in clients.revocations}
        if not listed:
            return cls(clients.authorities, (), X509StoreFlags.PARTIAL_CHAIN, 0)
        names = {each: (canonical(each.subject), canonical(each.issuer)) for each in clients.authorities}
        if {issuer for subject, issuer in names.values() if subject in listed} <= listed:
            # No chain may end before its root: OpenSSL verifies a list with the certificate above.
            all_of_them = X509StoreFlags.CRL_CHECK | X509StoreFlags.CRL_CHECK_ALL
            return cls(clients.authorities, clients.revocations, 0, all_of_them)
        gone = revoked(clients.authorities, clients.revocations)
        return cls(
            tuple(each for each, (subject, _) in names.items() if subject not in gone),
            tuple(each for each in clients.revocations if canonical(each.issuer) not in gone),
            X509StoreFlags.PARTIAL_CHAIN,
            X509StoreFlags.CRL_CHECK,
        )

    def put_into(self, store: X509Store, more: int = 0, *, lists: bool = True) -> X509Store:
        """All of it, or all but the lists. @param more: flags besides @return: the store"""
        for authority in self.authorities:
            store.add_cert(X509.from_cryptography(authority))
        for revocation in self.revocations if lists else ():
            store.add_crl(revocation)
        store.set_flags(self.of_chain | (self.of_lists if lists else 0) | more)
        return store

    def without_time(self) -> tuple[X509Store, X509Store]:
        """A store that knows no list, and one with them that looks at nothing's time; both make the same chains."""
        return self.put_into(X509Store(), lists=False), self.put_into(X509Store(), _NO_CHECK_TIME)
