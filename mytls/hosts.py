"""Which host a ClientHello is for: certificate, TLS settings, handler."""

from __future__ import annotations

import attrs
from twisted.internet.interfaces import IProtocolFactory

from mytls.tls.contexts import ConnectionMaker
from mytls.tls.hello import ClientHello


@attrs.frozen
class Host:
    """
    What a client meets.

    @ivar maker: makes OpenSSL's connection, from this host's context
    @ivar handler: what gets the decrypted bytes
    """

    maker: ConnectionMaker
    handler: IProtocolFactory


@attrs.frozen
class Hosts:
    """
    The hosts of a listener.

    @ivar any: the host for every name, and for none
    """

    any: Host

    def choose(self, hello: ClientHello) -> Host:
        """The host for this client."""
        return self.any
