"""What Twisted finds of mytls. Every start of every twistd on the machine loads this file: keep it light."""

from __future__ import annotations

from typing import Any

from twisted.application.service import ServiceMaker
from twisted.internet.interfaces import IStreamServerEndpoint, IStreamServerEndpointStringParser
from twisted.plugin import IPlugin
from zope.interface import implementer

service_maker = ServiceMaker("mytls", "mytls.tap", "A TLS server for any byte-stream handler.", "mytls")


@implementer(IPlugin, IStreamServerEndpointStringParser)
class _MytlsParser:
    """The endpoint prefix `mytls:`, in every Twisted program."""

    prefix = "mytls"

    def parseStreamServer(self, reactor: Any, *args: Any, **kwargs: Any) -> IStreamServerEndpoint:
        """See C{IStreamServerEndpointStringParser}."""
        from mytls.endpoint import endpoint_from_words

        return endpoint_from_words(reactor, self.prefix, args, kwargs)


endpoint_parser = _MytlsParser()
