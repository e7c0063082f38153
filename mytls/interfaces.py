"""The seams that others plug into."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from zope.interface import Attribute, Interface


class IDrainable(Interface):
    """
    A handler's protocol that wants to end its conversation by itself when the service stops.

    Others get C{transport.loseConnection()}.
    """

    def drain() -> None:
        """The service stops: finish with this client, and close. It is cut a second after the close deadline."""


class IHandlerParser(Interface):
    """
    Adds a prefix to handler strings, as C{IStreamServerEndpointStringParser} adds one to endpoint strings.

    Provide it together with C{twisted.plugin.IPlugin} by an object in a module of C{twisted/plugins}::

        @implementer(IPlugin, IHandlerParser)
        class _Shout:
            prefix = "shout"

            def parseHandler(self, reactor, argument):
                return Factory.forProtocol(Shout)

        shout = _Shout()

    and `--handler shout:ANYTHING` serves it.
    """

    prefix: str = Attribute("What stands before the first colon of the handler string.")

    def parseHandler(reactor: Any, argument: str) -> IProtocolFactory:
        """
        The factory whose protocols get the decrypted bytes. Each is connected when its handshake is done; its
        transport has the peer's identity as C{transport.peer}.

        @param reactor: the reactor that the service runs on
        @param argument: what stood behind the first colon; empty where there was none
        @raise mytls.errors.ConfigurationError: the argument is wrong; one line
        """
