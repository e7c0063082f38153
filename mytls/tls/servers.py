"""
How a client knows its server: the context of its connections, made of what the user says and of what the files hold.

A chain that leads to a root of the user's or of the system's says that the certificate is genuine; its name, checked by
service-identity (RFC 9525), and the rules say that it is the server's that was meant. All is decided while the
handshake goes on, so that a server that is refused gets an alert.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import attrs
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreFlags
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, DNSPattern, IPAddress_ID, IPAddressPattern, verify_service_identity

from mytls.clientsettings import ClientSettings
from mytls.errors import Cause, TLSFailure, one_line, visible
from mytls.guards.access import Access
from mytls.peer import Identity
from mytls.tls import advice
from mytls.tls.certificates import key_pairs
from mytls.tls.contents import certificates_in
from mytls.tls.contexts import NO_AUTO_CHAIN, PARTIAL_WRITE, reasons_of
from mytls.tls.files import Files
from mytls.tls.profiles import apply_to, profile_of
from mytls.tls.trust import all_in
from mytls.tls.verifier import Admit, Shown, Verifier

_VERSIONS = {
    "TLSv1": SSL.TLS1_VERSION,
    "TLSv1.1": SSL.TLS1_1_VERSION,
    "TLSv1.2": SSL.TLS1_2_VERSION,
    "TLSv1.3": SSL.TLS1_3_VERSION,
}


@attrs.frozen(eq=False)
class Servers:
    """
    What a client's connections are made of.

    @ivar asked: the server name to send (RFC 6066 section 3); None for an address
    @ivar warnings: what the user should do about the certificate that it shows, a sentence each
    """

    _context: SSL.Context
    _verifier: Verifier
    asked: bytes | None
    warnings: tuple[str, ...] = ()

    def connection(self, transport: object) -> SSL.Connection:
        """A new connection of OpenSSL's, for a transport of ours."""
        made = SSL.Connection(self._context)
        if self.asked is not None:
            made.set_tlsext_host_name(self.asked)
        return made

    def met(self, connection: SSL.Connection) -> Shown:
        """
        What the server has shown, after the handshake.

        @raise TLSFailure: it may not be met
        """
        shown = self._verifier.met(connection)
        if shown is None:  # OpenSSL has refused it; if not, we do
            raise TLSFailure(Cause.NO_CERTIFICATE, "the server has shown no certificate")
        return shown


def servers(settings: ClientSettings, files: Files) -> Servers:
    """
    What the connections to this server are made of.

    @raise ConfigurationError: one line, which names the word and the file that is wrong
    """
    admit = admission(settings)
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.clear_mode(PARTIAL_WRITE)
    context.set_mode(NO_AUTO_CHAIN)
    context.set_options(SSL.OP_NO_RENEGOTIATION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    _limit(context, settings)
    if settings.alpn:
        context.set_alpn_protos([each.encode() for each in settings.alpn])
    verifier = _verifier(context, settings, files, admit)
    warnings = _show(context, settings, files)
    asked = None if _address(settings.name) is not None else settings.name.encode("ascii")
    return Servers(context, verifier, asked, warnings)


def admission(settings: ClientSettings) -> Admit:
    """
    Who of the servers with a genuine certificate is meant.

    @raise ConfigurationError: one line, which names the rule that is wrong
    """
    access = Access.of_host(settings.tls)
    name = None if settings.named_by_rules else settings.name

    def admit(shown: Identity) -> str | None:
        refusal = None if name is None else misnamed(shown, name)
        return _unmatched(shown, access) if refusal is None and access.allow else refusal

    return admit


def _unmatched(shown: Identity, access: Access) -> str | None:
    if any(rule.matches(shown) for rule in access.allow):
        return None
    return f"no rule of verify matches: server certificate {shown.shown()}"


def misnamed(shown: Identity, name: str) -> str | None:
    """
    Why a certificate is not this server's, in a few words; None where it is (RFC 9525 section 6).

    Its alternative names alone count: not its common name, and no wildcard but a whole first label's.

    @param name: a host name as the wire has it, or an IP address
    """
    address = _address(name)
    try:
        if address is None:
            verify_service_identity(list(_patterns(shown)), [DNS_ID(name)], [])
        else:
            addresses = [IPAddressPattern.from_bytes(each) for each in shown.ip]  # type: ignore[arg-type]  # or text
            verify_service_identity(addresses, [IPAddress_ID(address)], [])
    except (VerificationError, CertificateError, ValueError):
        return f"it is not for {visible(name)}: server certificate {shown.shown()}"
    return None


def _patterns(shown: Identity) -> Iterator[DNSPattern]:
    """Its host names, but for those that name nobody, which take nothing from the others."""
    for each in shown.dns:
        try:
            yield DNSPattern.from_bytes(each.encode("utf-8"))
        except (CertificateError, ValueError):
            continue


def _address(name: str) -> str | None:
    """An IP address without its zone, which no certificate has; None for a host name."""
    address, _, _ = name.partition("%")
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return None


# --- the context


def _limit(context: SSL.Context, settings: ClientSettings) -> None:
    """
    The versions and suites of the profile `intermediate`. Of the groups OpenSSL's own are offered: it sends key shares
    for a hybrid and for a plain one, so that no server has to ask again.
    """
    profile = attrs.evolve(profile_of(settings.tls), groups=())
    context.set_min_proto_version(_VERSIONS[profile.min_version])
    context.set_max_proto_version(_VERSIONS[profile.max_version])
    apply_to(context, profile)


def _verifier(context: SSL.Context, settings: ClientSettings, files: Files, admit: Admit) -> Verifier:
    store = context.get_cert_store()
    assert store is not None
    pinned = settings.tls.pinned and settings.named_by_rules
    if settings.trust_roots:
        store.set_flags(X509StoreFlags.PARTIAL_CHAIN)  # a certificate that is named is trusted, root or not
        for each, _ in all_in(settings.tls, "client-ca", settings.trust_roots, files, certificates_in, "certificate"):
            store.add_cert(X509.from_cryptography(each))
    elif not pinned:
        context.set_default_verify_paths()
    trusted = "trustRoots" if settings.trust_roots else "the system's list (trustRoots names another)"
    if pinned:
        context.set_verify_depth(0)  # of a key that is known OpenSSL verifies no chain, however long
    verifier = Verifier(store, admit, whose="server", trusted=trusted, pinned=pinned)
    verifier.verify(context, SSL.VERIFY_PEER)
    return verifier


def _show(context: SSL.Context, settings: ClientSettings, files: Files) -> tuple[str, ...]:
    """Load the certificate to show, if there is one. @return: what the user should do about it"""
    if not (settings.certificate or settings.private_key):
        return ()
    pair, *more = key_pairs(settings.tls, files)
    if more:
        raise settings.tls.wrong("certificate", more[0].source, "a client shows one certificate; leave the others out")
    try:
        context.use_certificate(pair.certificate)
        for each in pair.chain:
            context.add_extra_chain_cert(each)
        context.use_privatekey(pair.key)  # type: ignore[arg-type]  # certificates.py lets no other kind pass
        context.check_privatekey()
    except SSL.Error as error:
        trouble = f"OpenSSL does not take it: {reasons_of(error)}"
        raise settings.tls.wrong("certificate", pair.source, trouble) from None
    dates = advice.of_dates(pair.certificate, files.moment())
    return tuple(one_line(f"{pair.source}: {each}") for each in (*dates, *pair.notes))
