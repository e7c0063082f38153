"""What a backend hears first: the PROXY header of its client, or of a look at its health."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from mytls.errors import ConfigurationError
from mytls.handlers.places import Place, Preamble, nothing
from mytls.peer import Peer
from mytls.proxyout import V2_TLS, V2_TLS_CERTIFICATE, Presented, header_of, header_of_check

#: No header.
OFF = "off"
#: The endpoints on which something can be said ahead of their TLS, or which have none.
_LET_US = ("tcp", "unix", "mytls")


def of_client(kind: str, transport: Any) -> Preamble:
    """
    What is said of a client.

    @param kind: the value of `send-proxy-protocol`
    @param transport: the client's connection, as its handler has it
    @raise TLSFailure: there is more to say than a header can hold
    """
    if kind == OFF:
        return nothing
    told = getattr(transport, "peer", None)
    peer = told if isinstance(told, Peer) else Peer(transport.getPeer())
    received = () if peer.proxy_header is None else peer.proxy_header.tlvs
    header = header_of(kind, peer, transport.getHost(), _presented(kind, transport), received)
    return lambda _: header


def of_look(kind: str) -> Preamble:
    """What is said of a connection that we make for ourselves. @param kind: the value of `send-proxy-protocol`"""
    if kind == OFF:
        return nothing
    return lambda transport: header_of_check(kind, transport.getHost(), transport.getPeer())


def check(kind: str, places: Iterable[Place]) -> None:
    """@raise ConfigurationError: one of the backends could not hear a header of this kind first"""
    for place in places:
        if kind != OFF and place.prefix not in _LET_US:
            trouble = f"{place.prefix}: has no place for it ahead of its TLS; say mytls: for TLS, else tcp: or unix:"
            raise ConfigurationError(f"send-proxy-protocol={kind}: {trouble}")


def _presented(kind: str, transport: Any) -> Presented | None:
    """What is told of the certificate that the client was shown."""
    shown = getattr(transport, "presented", None) if kind in (V2_TLS, V2_TLS_CERTIFICATE) else None
    return None if shown is None else _of_certificate(shown)


#: Once for each certificate of ours.
_of_certificate = lru_cache(maxsize=256)(Presented.of)
