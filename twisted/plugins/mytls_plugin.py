"""What Twisted finds of mytls. Every start of every twistd on the machine loads this file: keep it light."""

from __future__ import annotations

from typing import Any

from twisted.application.service import ServiceMaker
from twisted.internet.interfaces import (
    IStreamClientEndpoint,
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from zope.interface import implementer

service_maker = ServiceMaker("mytls", "mytls.tap", "A TLS server for any byte-stream handler.", "mytls")


@implementer(IPlugin, IStreamServerEndpointStringParser)
class _MytlsParser:
    """The endpoint prefix `mytls:` of servers, in every Twisted program."""

    prefix = "mytls"

    def parseStreamServer(self, reactor: Any, *args: Any, **kwargs: Any) -> IStreamServerEndpoint:
        """See C{IStreamServerEndpointStringParser}."""
        from mytls.endpoint import endpoint_from_words

        return endpoint_from_words(reactor, self.prefix, args, kwargs)


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class _MytlsClientParser:
    """The endpoint prefix `mytls:` of clients."""

    prefix = "mytls"

    def parseStreamClient(self, reactor: Any, *args: Any, **kwargs: Any) -> IStreamClientEndpoint:
        """See C{IStreamClientEndpointStringParserWithReactor}."""
        from mytls.client import client_from_string_words

        return client_from_string_words(reactor, args, kwargs)


endpoint_parser = _MytlsParser()
client_endpoint_parser = _MytlsClientParser()
