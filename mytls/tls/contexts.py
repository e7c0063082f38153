"""
Settings in, OpenSSL contexts out; and whatever makes connections for Twisted's TLS makes them for ours.

Every context is made by Twisted's C{CertificateOptions}. Three things are then set right on it through
pyOpenSSL's public interface:

 - ALPN. Twisted's callback answers an empty name where nothing matches, and OpenSSL ends the handshake with
   internal_error, so a server without a list refuses every client that has one. RFC 7301 section 3.2 wants the
   extension ignored where the server has no list, and no_application_protocol where the lists do not meet.
 - The server name is acknowledged, so that a TLS 1.2 session remembers the name that it was made for and the name
   that OpenSSL saw can be compared with the name that the host was chosen by.
 - A write is one call, not one per record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import (
    IOpenSSLContextFactory,
    IOpenSSLServerConnectionCreator,
    IProtocolNegotiationFactory,
)
from twisted.internet.ssl import CertificateOptions, DiffieHellmanParameters, TLSVersion
from twisted.python.filepath import FilePath

from mytls.errors import ConfigurationError, nearest
from mytls.tls.certificates import KeyPair, read_file

#: What makes an C{OpenSSL.SSL.Connection} for a transport of ours.
ConnectionMaker = Callable[[Any], SSL.Connection]

_PARTIAL_WRITE = 1  # SSL_MODE_ENABLE_PARTIAL_WRITE, which pyOpenSSL sets and does not export

#: The values of `sslmethod`: names of C{OpenSSL.SSL}, as in Twisted's C{ssl:}, and the versions that they mean.
METHODS: dict[str, dict[str, Any]] = {
    "TLS_METHOD": {},
    "TLS_SERVER_METHOD": {},
    "SSLv23_METHOD": {},
    "TLSv1_2_METHOD": {"lowerMaximumSecurityTo": TLSVersion.TLSv1_2},
}
_OLD_METHODS = ("SSLv2_METHOD", "SSLv3_METHOD", "TLSv1_METHOD", "TLSv1_1_METHOD")


class NoCommonProtocol(Exception):
    """The client's ALPN list and ours have nothing in common."""


def server_options(pair: KeyPair, method: str | None = None, dh_parameters: str | None = None) -> CertificateOptions:
    """
    The options that `ssl:` and `mytls:` strings ask for: TLS 1.2 and 1.3, sessions resumed.

    @param method: one of L{METHODS}, or None for all versions
    @param dh_parameters: the path of a PEM file of Diffie-Hellman parameters
    @raise ConfigurationError: an unknown or too old method, an unusable file
    """
    versions = METHODS["TLS_METHOD"] if method is None else _versions(method)
    options = CertificateOptions(
        privateKey=pair.key,  # type: ignore[arg-type]  # cryptography's own types, which pyOpenSSL prefers
        certificate=pair.certificate,  # type: ignore[arg-type]  # likewise
        extraCertChain=list(pair.chain) or None,  # type: ignore[arg-type]  # likewise
        dhParameters=_diffie_hellman(dh_parameters),
        enableSessions=True,
        enableSessionTickets=True,
        **versions,
    )
    try:
        prepare(options)
    except SSL.Error as error:
        raise ConfigurationError(f"OpenSSL does not take these settings: {_reasons(error)}") from None
    return options


def connection_maker(options: object) -> ConnectionMaker:
    """
    What a server endpoint of Twisted's takes, as one callable, in the order in which Twisted looks at it.

    @param options: a C{CertificateOptions}, or anything that provides C{IOpenSSLServerConnectionCreator} or
        C{IOpenSSLContextFactory}, or has its C{getContext}
    @raise TypeError: it is none of these
    """
    if isinstance(options, CertificateOptions):
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
    try:
        if protocols is not context:
            context.set_alpn_select_callback(_answer_alpn(tuple(protocols or ())))
        if getattr(options, "_contextForServerName", None) is None:
            context.set_tlsext_servername_callback(_acknowledge_name)
        context.clear_mode(_PARTIAL_WRITE)
        context.set_options(SSL.OP_NO_RENEGOTIATION)
    except ValueError:  # pyOpenSSL's word for a context that has made a connection
        return


def _answer_alpn(own: Sequence[bytes]) -> Callable[[SSL.Connection, list[bytes]], Any]:
    def select(connection: SSL.Connection, offered: list[bytes]) -> Any:
        handlers = IProtocolNegotiationFactory(connection.get_app_data().factory.wrappedFactory, None)
        acceptable = (*handlers.acceptableProtocols(), *own) if handlers is not None else own
        if not acceptable:
            return SSL.NO_OVERLAPPING_PROTOCOLS
        for protocol in acceptable:
            if protocol in offered:
                return protocol
        raise NoCommonProtocol(offered)

    return select


def _acknowledge_name(connection: SSL.Connection) -> None:
    """Nothing to decide: the host was chosen before OpenSSL saw the first byte."""


def _versions(method: str) -> dict[str, Any]:
    if method in _OLD_METHODS:
        raise ConfigurationError(f"sslmethod={method}: versions before TLS 1.2 are not served; leave sslmethod out")
    if method not in METHODS:
        raise ConfigurationError(f"sslmethod={method}: no such method{nearest(method, METHODS)}")
    return METHODS[method]


def _diffie_hellman(path: str | None) -> DiffieHellmanParameters | None:
    if path is None:
        return None
    if b"DH PARAMETERS" not in read_file(path, "dhParameters"):
        raise ConfigurationError(f"dhParameters={path}: there are no PEM DH PARAMETERS in it")
    parameters: DiffieHellmanParameters = DiffieHellmanParameters.fromFile(FilePath(path))
    return parameters


def _reasons(error: SSL.Error) -> str:
    return "; ".join(entry[-1] for entry in error.args[0]) if error.args and error.args[0] else "no reason given"
