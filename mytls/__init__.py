"""
TLS for any byte-stream handler, on Twisted.

The map, from door to value. A module imports from those below it, never from above.

  doors
    tap                 twistd mytls
    table               what is served, as a table for a person
    assemble            settings in, running parts out
    running             listens, serves what the files say, stops
    endpoint            the server endpoint mytls:, as class and as string
    reload              build beside, swap, keep the old on error
    changes             what a reload has changed, in words
    loading             settings in, hosts out: what is read and made before the first client comes
  the way of a byte
    listener            accepts, knows what is open, ends it
    connection          one connection's life, from ClientHello to goodbye
    passthrough         the transport of a handler that gets the ciphertext as it is
    hosts               which host a ClientHello is for
    guards.access       which client certificates may enter
    sockets             transports that write at once
    tls.transport       the tunnel between two Twisted interfaces; flow control, closing
    tls.tunnel          ciphertext in, plaintext out; the state table
    tls.failures        OpenSSL's errors as causes
    tls.identity        what a handshake tells of the peer
    tls.hello           ClientHello bytes in, value out
    tls.contexts        settings in, OpenSSL contexts out
    tls.clients         who verifies the certificates of clients
    tls.keylog          the secrets of connections, for whoever asks for them
    tls.profiles        Mozilla's guidelines, as settings of OpenSSL
    goodbye             how a connection ends, so that nothing is lost and nobody can hold it
    guards.deadlines    deadlines without a timer for each
  handlers
    handlers            handler strings, our own and plugins'
    handlers.callback   call: a function that is called with each piece of data
    handlers.stream     serve: a function that has the connection to itself
    handlers.threads    so many threads at the same time
    handlers.blocking   the connstream of a plain function in a thread
    handlers.awaitable  the connstream of a coroutine
    handlers.inbox      what has come and was not taken yet
    handlers.connstream the surface of ssl.SSLSocket for user code
    handlers.factory    factory: a Twisted factory or protocol
    handlers.proxy      proxy: and passthrough: a backend at the other end
    handlers.splice     two connections, joined
    handlers.builtin    echo, discard
    handlers.load       package.module:name in, the object out
  certificates
    tls.development     a certificate for a developer's own machine
    tls.folder          a folder of certificates, keys and chains, sorted out
    tls.certificates    files in, certificate, key and chain out
    tls.advice          what an operator should do about a certificate
    tls.staples         OCSP responses, and whose they are
    tls.trust           client CAs and revocation lists
    tls.chains          which certificate has issued which
    tls.contents        bytes of a file in; certificates, keys and lists out
    tls.passwords       what opens encrypted keys
    tls.files           what was read, so that a change is noticed
    tls.ssldict         a certificate as the ssl module shows it
  values
    accesslog           what happened, as lines of the log
    events              what happened
    peer                who is at the other end
    interfaces          the seams that others plug into
    configfile          the file: TOML in, settings out
    tomllines           a TOML file, and where each of its keys stands
    strings             endpoint strings: words in, settings out
    settings            what a user can say
    kinds               what a value looks like
    names               server names, one spelling for each
    errors              what can go wrong

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
