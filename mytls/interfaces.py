"""The seams that others plug into."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from zope.interface import Attribute, Interface


class IDrainable(Interface):
    """
    A handler's protocol that wants to be told when the service stops. All can ask: C{transport.draining}.
    """

    def drain() -> None:
        """
        The service takes no new clients: finish with this one when that harms nobody, and close. Who is there at the
        drain deadline is ended.
        """


class IEndable(Interface):
    """
    A handler's protocol that wants to end its conversation by itself when its time is over: it was silent for too long,
    too old, or there when the drain deadline came.

    Others get C{transport.loseConnection()}.
    """

    def end() -> None:
        """Finish what is going on, and close. It is closed at the close deadline, and cut a second after it."""


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
