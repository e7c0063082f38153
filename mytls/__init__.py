"""
TLS for any byte-stream handler, on Twisted.

The map, from door to value. An arrow goes down only: a module imports from those below it, never from above.

  doors     tap           twistd mytls
            endpoint      the server endpoint mytls:, as class and as string
            assemble      strings and settings in, running parts out
  the way   listener      accepts, knows what is open, ends it
  of a      connection    one connection's life, from ClientHello to goodbye
  byte      hosts         which host a ClientHello is for
            tls.transport   the tunnel between two Twisted interfaces; flow control, closing
            tls.tunnel      ciphertext in, plaintext out; the state table
            tls.failures    OpenSSL's errors as causes
            tls.identity    what a handshake tells of the peer
            tls.hello       ClientHello bytes in, value out
            tls.contexts    settings in, OpenSSL contexts out
            tls.certificates, tls.development   files in, certificates out; a developer's own
            sockets       transports that write at once and say goodbye properly
            guards.deadlines    deadlines without a timer for each
  handlers  handlers      handler strings: echo, discard, call:, serve:, factory:, and plugins'
            handlers.connstream   the surface of ssl.SSLSocket for user code
  values    accesslog, events, peer, settings, interfaces, errors

Public names, each also where it lives: service, TLSServerEndpoint, Peer, ConfigurationError.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mytls.assemble import service as service
    from mytls.endpoint import TLSServerEndpoint as TLSServerEndpoint
    from mytls.errors import ConfigurationError as ConfigurationError
    from mytls.peer import Peer as Peer

__version__ = "0.1.0"
__all__ = ["ConfigurationError", "Peer", "TLSServerEndpoint", "service"]

_HOMES = {
    "service": "mytls.assemble",
    "TLSServerEndpoint": "mytls.endpoint",
    "Peer": "mytls.peer",
    "ConfigurationError": "mytls.errors",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: every twistd on the machine loads this package."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mytls' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
