"""
Settings in, OpenSSL contexts out; and whatever makes connections for Twisted's TLS makes them for ours.

Every context is made by Twisted's C{CertificateOptions}, and is then set right through pyOpenSSL's public interface
before its first use. Of those that users bring:

 - ALPN. Twisted's callback answers an empty name where nothing matches, and OpenSSL ends the handshake with
   internal_error, so a server without a list refuses every client that has one. RFC 7301 section 3.2 wants the
   extension ignored where the server has no list, and no_application_protocol where the lists do not meet.
 - The server name is acknowledged, so that a TLS 1.2 session remembers the name that it was made for and the name
   that OpenSSL saw can be compared with the name that the host was chosen by.
 - A write is one call, not one per record.

Of those that settings ask for also the certificates, since Twisted's way has one chain for all keys, and OpenSSL's
security level has to be known before it sees a key; and the verification of clients, which says why it has refused.
A session resumes in the context that made it and in no other: each has ticket keys and a session id context of its own.
"""

from __future__ import annotations

import datetime
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from OpenSSL import SSL
from twisted.internet.interfaces import (
    IOpenSSLContextFactory,
    IOpenSSLServerConnectionCreator,
    IProtocolNegotiationFactory,
)
from twisted.internet.ssl import CertificateOptions, TLSVersion

from mytls.settings import HostSettings
from mytls.tls.certificates import KeyPair
from mytls.tls.files import Files, read
from mytls.tls.profiles import Profile, apply_to, has_curve, profile_of
from mytls.tls.trust import ClientTrust
from mytls.tls.verifier import Admit, Verifier, Vouch, verify_clients

#: What makes an C{OpenSSL.SSL.Connection} for a transport of ours.
ConnectionMaker = Callable[[Any], SSL.Connection]

#: Seconds for which a client may resume a session (RFC 8446 section 4.6.1 allows seven days).
SESSION_LIFETIME = 7200

PARTIAL_WRITE = 1  # SSL_MODE_ENABLEPARTIAL_WRITE, which pyOpenSSL sets and does not export
NO_AUTO_CHAIN = 8  # SSL_MODE_NO_AUTO_CHAIN: no CA of the peers' is sent as if it were of our chain

_DESCRIPTORS = Path("/proc/self/fd")
_VERSIONS = {"TLSv1": TLSVersion.TLSv1_0, "TLSv1.1": TLSVersion.TLSv1_1, "TLSv1.2": TLSVersion.TLSv1_2,
             "TLSv1.3": TLSVersion.TLSv1_3}  # fmt: skip


class NoCommonProtocol(Exception):
    """The client's ALPN list and ours have nothing in common."""


class HostOptions(CertificateOptions):
    """
    The options of a host, whose context is right already.

    @ivar clients: who verifies clients; None where none is asked for a certificate
    """

    clients: Verifier | None = None

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """See C{IOpenSSLServerConnectionCreator}. Twisted's also offers protocols, which is a client's part."""
        return SSL.Connection(self.getContext())


def host_options(
    settings: HostSettings,
    pairs: Sequence[KeyPair],
    clients: ClientTrust | None = None,
    keylog: Callable[[bytes], object] | None = None,
    files: Files | None = None,
    admit: Admit = lambda identity: None,
    vouch: Vouch | None = None,
) -> HostOptions:
    """
    The options of a host, with a context of its own.

    @param pairs: its keys and certificates, at most one of a kind; OpenSSL takes the one that the client can verify
    @param clients: whose certificates it accepts; not looked at where C{client-auth} is off
    @param keylog: is called with each line for a key log file, without its end
    @param files: what the host's files are read through
    @param admit: who of the verified clients may enter; all, if left out
    @param vouch: for whom each CA of the clients' may vouch; for all, if left out
    @raise ConfigurationError: settings that cannot be served
    """
    profile = profile_of(settings, [pair.key for pair in pairs])
    options = _bare_options(profile)
    context = options.getContext()
    context.set_min_proto_version(0)  # the options say which versions are served, and not the system's openssl.cnf
    own = tuple(_protocol(settings, each) for each in settings.alpn)
    _set_right(context, (lambda connection: own) if own else _protocols_of_handler)
    context.set_tlsext_servername_callback(_acknowledge_name)
    context.set_mode(NO_AUTO_CHAIN)
    context.set_timeout(SESSION_LIFETIME)
    _show(context, settings, profile, pairs)
    if settings.dh_parameters:
        content = read(settings, "dh-parameters", settings.dh_parameters, files or Files())
        _diffie_hellman(context, settings, content)
    if settings.client_auth != "off":
        options.clients = verify_clients(context, settings, clients, admit, vouch)
    if any(pair.staple for pair in pairs):
        context.set_ocsp_server_callback(_staple(pairs))
    if keylog is not None:
        context.set_keylog_callback(_key_logger(keylog))
    return options


def connection_maker(options: object) -> ConnectionMaker:
    """
    What a server endpoint of Twisted's takes, as one callable, in the order in which Twisted looks at it.

    @param options: a C{CertificateOptions}, or anything that provides C{IOpenSSLServerConnectionCreator} or
        C{IOpenSSLContextFactory}, or has its C{getContext}
    @raise TypeError: it is none of these
    """
    if isinstance(options, CertificateOptions) and not isinstance(options, HostOptions):
        prepare(options)
    if IOpenSSLServerConnectionCreator.providedBy(options):
        return options.serverConnectionForTLS
    get_context = getattr(options, "getContext", None)
    if IOpenSSLContextFactory.providedBy(options) or callable(get_context):
        return lambda transport: SSL.Connection(options.getContext())  # type: ignore[attr-defined]
    raise TypeError(
        f"{options!r} provides neither IOpenSSLServerConnectionCreator nor IOpenSSLContextFactory; "
        "a twisted.internet.ssl.CertificateOptions does"
    )


def prepare(options: CertificateOptions) -> None:
    """Make the context of these options behave as this module's docstring says; one in use already is left alone."""
    context = options.getContext()
    # The list has no public reader; a Twisted that keeps it elsewhere keeps its own callback.
    protocols: Any = getattr(options, "_acceptableProtocols", context)
    own = tuple(protocols or ()) if protocols is not context else None
    try:
        _set_right(context, None if own is None else lambda connection: (*_protocols_of_handler(connection), *own))
        if getattr(options, "_contextForServerName", None) is None:
            context.set_tlsext_servername_callback(_acknowledge_name)
    except ValueError:  # pyOpenSSL's word for a context that has made a connection
        return


# --- for every context


def _set_right(context: SSL.Context, protocols: Callable[[SSL.Connection], Sequence[bytes]] | None) -> None:
    if protocols is not None:
        context.set_alpn_select_callback(_answer_alpn(protocols))
    context.clear_mode(PARTIAL_WRITE)
    context.set_options(SSL.OP_NO_RENEGOTIATION)


def _answer_alpn(
    protocols: Callable[[SSL.Connection], Sequence[bytes]],
) -> Callable[[SSL.Connection, list[bytes]], Any]:
    def select(connection: SSL.Connection, offered: list[bytes]) -> Any:
        acceptable = protocols(connection)
        if not acceptable:
            return SSL.NO_OVERLAPPING_PROTOCOLS
        for protocol in acceptable:
            if protocol in offered:
                return protocol
        raise NoCommonProtocol(offered)

    return select


def _protocols_of_handler(connection: SSL.Connection) -> tuple[bytes, ...]:
    handlers = IProtocolNegotiationFactory(connection.get_app_data().factory.wrappedFactory, None)
    return () if handlers is None else tuple(handlers.acceptableProtocols())


def _protocol(settings: HostSettings, written: str) -> bytes:
    name = written.encode()
    if not 0 < len(name) < 256:
        raise settings.wrong("alpn", written, "no protocol's name; it has 1 to 255 bytes (RFC 7301 section 3.1)")
    return name


def _acknowledge_name(connection: SSL.Connection) -> None:
    """Nothing to decide: the host was chosen before OpenSSL saw the first byte."""


# --- what is served


def _bare_options(profile: Profile) -> HostOptions:
    """Options with these versions, whose sessions are resumed."""
    options = HostOptions(
        insecurelyLowerMinimumTo=_VERSIONS[profile.min_version],
        lowerMaximumSecurityTo=_VERSIONS[profile.max_version],
        enableSessions=True,
        enableSessionTickets=True,
    )
    # Twisted makes every server insist on its own order of suites, and pyOpenSSL can set options but clear none. A
    # Twisted that keeps them elsewhere insists still, which is a matter of speed and not of security.
    own = getattr(options, "_options", None)
    if isinstance(own, int) and not profile.servers_order:
        options._options = own & ~SSL.OP_CIPHER_SERVER_PREFERENCE
    return options


def _show(context: SSL.Context, settings: HostSettings, profile: Profile, pairs: Sequence[KeyPair]) -> None:
    """Load the certificates; for a weak one, whose owner is warned elsewhere, with OpenSSL's security level lowered."""
    if not pairs:
        raise settings.wrong(_shown_by(settings), "", "there is none to show")
    for pair in pairs:
        _refuse_weakest(settings, pair)
    if not any(has_curve(pair.key) for pair in pairs):
        raise settings.wrong(
            _shown_by(settings), pairs[0].source, "its key is on a curve that TLS does not have; expected P-256"
        )
    try:
        apply_to(context, profile)
        _load(context, settings, pairs)
    except _TooWeak:
        apply_to(context, profile, level=1)
        try:
            _load(context, settings, pairs)
        except _TooWeak as still:
            raise settings.wrong(_shown_by(settings), still.pair.source, f"OpenSSL does not take it: {still}") from None


class _TooWeak(Exception):
    """OpenSSL's security level is above this."""

    def __init__(self, pair: KeyPair, reasons: str) -> None:
        super().__init__(reasons)
        self.pair = pair


def _load(context: SSL.Context, settings: HostSettings, pairs: Sequence[KeyPair]) -> None:
    for pair in pairs:
        try:
            with _file_of(
                b"".join(each.public_bytes(Encoding.PEM) for each in (pair.certificate, *pair.chain))
            ) as path:
                context.use_certificate_chain_file(path)  # the only public way to a chain for each key
            context.use_privatekey(pair.key)  # type: ignore[arg-type]  # certificates.py lets no other kind pass
            context.check_privatekey()
        except SSL.Error as error:
            reasons = reasons_of(error)
            if "too small" in reasons or "too weak" in reasons:
                raise _TooWeak(pair, reasons) from None
            raise settings.wrong(_shown_by(settings), pair.source, f"OpenSSL does not take it: {reasons}") from None


def _shown_by(settings: HostSettings) -> str:
    """The key that its certificates come from."""
    return "certificate" if settings.spiffe is None else "spiffe"


def _refuse_weakest(settings: HostSettings, pair: KeyPair) -> None:
    """Below 80 bits of strength there is no level left but none at all (NIST SP 800-57 part 1, table 2)."""
    key = pair.key
    rsa = isinstance(key, RSAPrivateKey) and key.key_size < 1024
    if rsa or (isinstance(key, EllipticCurvePrivateKey) and key.key_size < 160):
        trouble = "its key is so short that it protects nothing; expected RSA with 2048 bits, or P-256"
        raise settings.wrong(_shown_by(settings), pair.source, trouble)


def _diffie_hellman(context: SSL.Context, settings: HostSettings, content: bytes) -> None:
    path = settings.dh_parameters
    if b"DH PARAMETERS" not in content:
        raise settings.wrong("dh-parameters", path, "there are no PEM DH PARAMETERS in it")
    try:
        with _file_of(content) as copy:
            context.load_tmp_dh(copy)
    except SSL.Error as error:
        raise settings.wrong("dh-parameters", path, f"OpenSSL does not take it: {reasons_of(error)}") from None


@contextmanager
def _file_of(content: bytes) -> Iterator[str]:
    """The path of a file with this content, while it is needed; in memory where the system has such files."""
    in_memory = _in_memory()
    with open(os.memfd_create("mytls"), "wb") if in_memory else tempfile.NamedTemporaryFile(prefix="mytls-") as file:
        file.write(content)
        file.flush()
        yield f"{_DESCRIPTORS}/{file.fileno()}" if in_memory else file.name


def _in_memory() -> bool:
    return hasattr(os, "memfd_create") and _DESCRIPTORS.exists()


def openssl_version() -> str:
    """Which OpenSSL it is, as that says it."""
    return SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode("ascii")


def reasons_of(error: SSL.Error) -> str:
    """What OpenSSL says was wrong, in its words."""
    return "; ".join(entry[-1] for entry in error.args[0]) if error.args and error.args[0] else "no reason given"


def _key_logger(keylog: Callable[[bytes], object]) -> Callable[[SSL.Connection, bytes], None]:
    def log(connection: SSL.Connection, line: bytes) -> None:
        keylog(line)

    return log


# --- OCSP


def _staple(pairs: Sequence[KeyPair]) -> Callable[[SSL.Connection, Any], bytes]:
    """Answers a client's status_request (RFC 6066 section 8) for the certificate that it is shown."""
    staples = {pair.certificate.public_bytes(Encoding.DER): pair.staple for pair in pairs if pair.staple}
    ends = {staple: ocsp.load_der_ocsp_response(staple).next_update_utc for staple in staples.values()}

    def answer(connection: SSL.Connection, _: Any) -> bytes:
        shown = connection.get_certificate(as_cryptography=True)
        staple = staples.get(shown.public_bytes(Encoding.DER), b"") if shown is not None else b""
        end = ends.get(staple)
        return staple if end is None or datetime.datetime.now(datetime.UTC) < end else b""

    return answer
