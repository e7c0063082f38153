"""
`serve:package.module:deal_with_client`: a function that has the connection to itself.

A coroutine function runs on the event loop. A plain function runs in a thread; so many of them run at the same time
as the limit says, and the next client's waits until one is done. While it waits its connection is read no further
than its inbox holds; if it is lost before its turn comes, the function never hears of it.
"""

from __future__ import annotations

import errno
import inspect
import ssl
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mytls.errors import ConfigurationError
from mytls.handlers.awaitable import AsyncStream, new_waiter, started
from mytls.handlers.blocking import BlockingStream
from mytls.handlers.connstream import failed
from mytls.handlers.load import load
from mytls.handlers.threads import Threads
from mytls.interfaces import IEndable
from mytls.settings import Settings

_log = Logger()


def serve(reactor: Any, argument: str, settings: Settings) -> IProtocolFactory:
    """The handler `serve:`."""
    function = load(argument, "serve:package.module:function")
    if not callable(function):
        raise ConfigurationError(f"expected a function, not {type(function).__name__}")
    if is_coroutine_function(function):
        return CoroutineFactory(reactor, function)
    return ThreadFactory(reactor, function, settings.limits.max_threads)


def is_coroutine_function(function: Any) -> bool:
    """Whether calling it gives something to await; a callable object is looked into."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004  # its signature is wanted, not whether it is callable


@implementer(IHalfCloseableProtocol, IPushProducer, IEndable)
class StreamProtocol(Protocol):
    """Carries what the transport tells to the connstream, and the end of the function to the transport."""

    factory: CoroutineFactory | ThreadFactory
    stream: AsyncStream | BlockingStream

    def connectionMade(self) -> None:
        """The handshake is done: run the function."""
        transport: Any = self.transport
        self.stream = self.factory.new_stream(transport)
        transport.registerProducer(self, True)
        self.factory.run(self)

    def dataReceived(self, data: bytes) -> None:
        """Into the inbox."""
        self.stream.received(data)

    def readConnectionLost(self) -> None:
        """The peer is finished; the function may still send."""
        self.stream.peer_finished()

    def writeConnectionLost(self) -> None:
        """Our close_notify is sent."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nobody is there any more."""
        self.factory.forget(self)
        self.stream.lost(read_error(reason))

    def pauseProducing(self) -> None:
        """The peer does not read what was sent."""
        self.stream.writable(False)

    def resumeProducing(self) -> None:
        """It does."""
        self.stream.writable(True)

    def stopProducing(self) -> None:
        """`connectionLost` follows."""

    def end(self) -> None:
        """The service stops: the function hears that its client is finished; one that waits for a turn never runs."""
        if self.factory.forget(self):
            self.stream.finish()
        else:
            self.stream.peer_finished()

    def returned(self, failure: Failure | None) -> None:
        """The function is through. @param failure: what it raised"""
        transport: Any = self.transport
        if failure is None or self.stream.is_to_blame(failure.value):
            self.stream.finish()
        else:
            self.stream.disown()
            transport.unregisterProducer()
            handler_failed(transport, failure)


def handler_failed(transport: Any, failure: Failure) -> None:
    """The user's code raised: one traceback, and this connection alone ends."""
    tell = getattr(transport, "handlerFailed", None)
    if tell is not None:
        tell(failure)
    else:
        _log.failure("the handler failed", failure=failure)
        transport.abortConnection()


def read_error(reason: Failure) -> OSError | None:
    """
    What C{SSLSocket.recv} raises after such an end; None where it returns C{b""}.

    @param reason: of C{connectionLost}: where TLS has failed it says how, where a socket was reset it says nothing
    """
    if reason.check(ConnectionDone):
        return None
    if reason.check(ConnectionAborted):
        return failed(errno.ECONNABORTED)
    text = " ".join(map(str, getattr(reason.value, "args", ())))
    if "close_notify" in text:
        return ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "EOF occurred in violation of protocol")
    return ssl.SSLError(ssl.SSL_ERROR_SSL, text) if text else failed(errno.ECONNRESET)


class _StreamFactory(Factory):
    protocol = StreamProtocol  # type: ignore[assignment]  # a protocol that knows its own factory
    noisy = False

    def __init__(self, reactor: Any, function: Callable[..., Any]) -> None:
        self.reactor = reactor
        self.function = function

    def logPrefix(self) -> str:
        """Twisted's log names the function."""
        return getattr(self.function, "__qualname__", type(self.function).__name__)


class CoroutineFactory(_StreamFactory):
    """Runs a coroutine function for each connection."""

    def new_stream(self, transport: Any) -> AsyncStream:
        """An awaitable connstream."""
        return AsyncStream(transport, self.reactor, new_waiter())

    def run(self, protocol: StreamProtocol) -> None:
        """Start the coroutine."""
        started(self._outcome(protocol.stream)).addBoth(protocol.returned)

    def forget(self, protocol: StreamProtocol) -> bool:
        """Its coroutine runs already."""
        return False

    async def _outcome(self, stream: Any) -> Failure | None:
        try:
            await self.function(stream)
        except BaseException:  # SystemExit too: asyncio's loop would end by it
            return Failure()
        return None


class ThreadFactory(_StreamFactory):
    """
    Runs a plain function for each connection, in a thread.

    @ivar threads: those that there are
    """

    def __init__(self, reactor: Any, function: Callable[..., Any], max_threads: int) -> None:
        super().__init__(reactor, function)
        self.threads = Threads(max_threads)

    def new_stream(self, transport: Any) -> BlockingStream:
        """A blocking connstream."""
        return BlockingStream(transport, self.reactor.callFromThread)

    def run(self, protocol: StreamProtocol) -> None:
        """Start the function, now or when a thread is free."""

        def job() -> None:
            self.reactor.callFromThread(protocol.returned, self._outcome(protocol.stream))

        self.threads.start(protocol, job)

    def forget(self, protocol: StreamProtocol) -> bool:
        """If its function still waits for its turn, it waits no more. @return: whether it did"""
        return self.threads.forget(protocol)

    def _outcome(self, stream: Any) -> Failure | None:
        try:
            self.function(stream)
        except BaseException:  # SystemExit and KeyboardInterrupt too: they are about this thread, not the service
            return Failure()
        return None
