"""`echo` and `discard`."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from mytls.errors import ConfigurationError
from mytls.settings import Settings


@implementer(IHalfCloseableProtocol)
class Echo(Protocol):
    """Sends back what it gets. It is its peer's own producer: who does not read is not read from."""

    def connectionMade(self) -> None:
        """Let the transport pause itself while it holds too much."""
        self.transport.registerProducer(self.transport, True)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)  # type: ignore[union-attr]

    def readConnectionLost(self) -> None:
        """All is said."""
        self.transport.unregisterProducer()  # type: ignore[union-attr]
        self.transport.loseConnection()  # type: ignore[union-attr]

    def writeConnectionLost(self) -> None:
        """Nothing to do."""


class Discard(Protocol):
    """Reads and forgets."""


class EchoFactory(Factory):
    """Makes each connection an echo."""

    protocol = Echo
    noisy = False


class DiscardFactory(Factory):
    """Makes each connection a discard."""

    protocol = Discard
    noisy = False


def echo(reactor: Any, argument: str, settings: Settings) -> IProtocolFactory:
    """The handler `echo`."""
    return _without_argument(EchoFactory, argument)


def discard(reactor: Any, argument: str, settings: Settings) -> IProtocolFactory:
    """The handler `discard`."""
    return _without_argument(DiscardFactory, argument)


def _without_argument(factory: type[Factory], argument: str) -> IProtocolFactory:
    if argument:
        raise ConfigurationError(f"it takes no argument, and {argument!r} is one")
    return factory()
