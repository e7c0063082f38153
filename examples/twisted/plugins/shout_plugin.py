"""
A handler prefix of your own. Twisted finds it because it is in a folder `twisted/plugins` on Python's path, with no
`__init__.py` beside it.

    PYTHONPATH=. twistd --nodaemon mytls --handler shout:!
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.plugin import IPlugin
from zope.interface import implementer

from mytls.errors import ConfigurationError
from mytls.interfaces import IHandlerParser


class Shout(Protocol):
    """Sends back what it gets, louder."""

    factory: ShoutFactory

    def dataReceived(self, data: bytes) -> None:
        """One piece."""
        assert self.transport is not None
        self.transport.write(data.upper() + self.factory.ending)


class ShoutFactory(Factory):
    """
    Makes each connection a shout.

    @ivar ending: what follows each piece
    """

    protocol = Shout  # type: ignore[assignment]  # a protocol that knows its own factory
    noisy = False

    def __init__(self, ending: bytes) -> None:
        self.ending = ending


@implementer(IPlugin, IHandlerParser)
class ShoutParser:
    """`shout:ENDING`."""

    prefix = "shout"

    def parseHandler(self, reactor: Any, argument: str) -> IProtocolFactory:
        """See C{IHandlerParser}."""
        if not argument:
            raise ConfigurationError("expected shout:ENDING, such as shout:!")
        return ShoutFactory(argument.encode())


shout = ShoutParser()
