"""
`call:package.module:do_something`: a function that is called with each piece of data, as in the loop of the `ssl`
documentation: a false return value finishes with the client.

A plain function is called on the event loop, so it should return at once; who waits for something uses a coroutine
function, or `serve:`. A call that held the loop up is named in the log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger

from mytls.errors import ConfigurationError
from mytls.handlers.connstream import AsyncStream, CallbackStream
from mytls.handlers.load import load
from mytls.handlers.stream import CoroutineFactory, is_coroutine_function
from mytls.settings import Limits

_log = Logger()

#: Seconds. A call that takes longer delays every other client by as much, and is named in the log.
SLOW_CALL = 0.5
#: The most that a coroutine function gets in one piece.
PIECE = 64 * 1024


def call(reactor: Any, argument: str, limits: Limits) -> IProtocolFactory:
    """The handler `call:`."""
    function = load(argument, "call:package.module:function")
    if not callable(function):
        raise ConfigurationError(f"expected a function, not {type(function).__name__}")
    if is_coroutine_function(function):
        return CoroutineFactory(reactor, _documented_loop(function))
    return CallbackFactory(reactor, function)


def _documented_loop(do_something: Callable[..., Awaitable[Any]]) -> Callable[[AsyncStream], Awaitable[None]]:
    @wraps(do_something)
    async def deal_with_client(connstream: AsyncStream) -> None:
        data = await connstream.recv(PIECE)
        while data:
            if not await do_something(connstream, data):
                break
            data = await connstream.recv(PIECE)

    return deal_with_client


class CallbackProtocol(Protocol):
    """Calls the function with each piece of data."""

    factory: CallbackFactory

    def connectionMade(self) -> None:
        """The handshake is done."""
        self._stream = CallbackStream(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """Let the function do something with it."""
        factory, transport = self.factory, self.transport
        before = factory.reactor.seconds()
        go_on = factory.function(self._stream, data)
        took = factory.reactor.seconds() - before
        if took > SLOW_CALL:
            factory.warn(took)
        if not go_on:
            transport.loseConnection()  # type: ignore[union-attr]


class CallbackFactory(Factory):
    """
    Makes a L{CallbackProtocol} for each connection.

    @ivar function: C{do_something(connstream, data) -> bool}
    """

    protocol = CallbackProtocol  # type: ignore[assignment]  # a protocol that knows its own factory
    noisy = False

    def __init__(self, reactor: Any, function: Callable[[Any, bytes], Any]) -> None:
        self.reactor = reactor
        self.function = function

    def warn(self, seconds: float) -> None:
        """The function held the event loop up."""
        _log.warn(
            "call:{name} took {seconds:.1f}s on the event loop, and every client waited; "
            "make it a coroutine function, or use serve:",
            name=self.logPrefix(),
            seconds=seconds,
        )

    def logPrefix(self) -> str:
        """Twisted's log names the function."""
        return getattr(self.function, "__qualname__", type(self.function).__name__)
