"""
`serve:package.module:deal_with_client`: a function that has the connection to itself.

A coroutine function runs on the event loop. A plain function runs in a thread; so many of them run at the same time
as the limit says, and the next client's waits until one is done. While it waits its connection is read no further
than its inbox holds.
"""

from __future__ import annotations

import asyncio
import inspect
import ssl
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mytls.errors import ConfigurationError
from mytls.handlers.connstream import AsyncStream, BlockingStream
from mytls.handlers.load import load
from mytls.settings import Limits

_log = Logger()


def serve(reactor: Any, argument: str, limits: Limits) -> IProtocolFactory:
    """The handler `serve:`."""
    function = load(argument, "serve:package.module:function")
    if not callable(function):
        raise ConfigurationError(f"expected a function, not {type(function).__name__}")
    if is_coroutine_function(function):
        return CoroutineFactory(reactor, function)
    return ThreadFactory(reactor, function, limits.max_threads)


def is_coroutine_function(function: Any) -> bool:
    """Whether calling it gives something to await; a callable object is looked into."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004  # its signature is wanted, not whether it is callable


@implementer(IHalfCloseableProtocol, IPushProducer)
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
        self.stream.lost(_read_error(reason))

    def pauseProducing(self) -> None:
        """The peer does not read what was sent."""
        self.stream.writable(False)

    def resumeProducing(self) -> None:
        """It does."""
        self.stream.writable(True)

    def stopProducing(self) -> None:
        """`connectionLost` follows."""

    def returned(self, failure: Failure | None) -> None:
        """The function is through. @param failure: what it raised"""
        transport: Any = self.transport
        if failure is None or _by_the_peer(failure):
            self.stream.finish()
        else:
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


def _read_error(reason: Failure) -> OSError | None:
    if reason.check(ConnectionDone):
        return None
    if reason.check(ConnectionLost) and "close_notify" in str(reason.value):
        return ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "EOF occurred in violation of protocol")
    return ConnectionResetError(104, "Connection reset by peer")


def _by_the_peer(failure: Failure) -> bool:
    """A peer that went away, or was too slow for a time that the function has set, is no fault of the function."""
    return failure.check(ConnectionError, TimeoutError, ssl.SSLEOFError, ssl.SSLZeroReturnError) is not None


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
        running = started(self.function(protocol.stream))
        running.addCallbacks(lambda result: protocol.returned(None), protocol.returned)


class ThreadFactory(_StreamFactory):
    """Runs a plain function for each connection, in a thread."""

    def __init__(self, reactor: Any, function: Callable[..., Any], max_threads: int) -> None:
        super().__init__(reactor, function)
        self._threads = Threads(max_threads)

    def new_stream(self, transport: Any) -> BlockingStream:
        """A blocking connstream."""
        return BlockingStream(transport, self.reactor.callFromThread)

    def run(self, protocol: StreamProtocol) -> None:
        """Start the function, now or when a thread is free."""

        def job() -> None:
            failure = None
            try:
                self.function(protocol.stream)
            except BaseException:  # SystemExit in a thread is the function's own affair as well
                failure = Failure()
            self.reactor.callFromThread(protocol.returned, failure)

        self._threads.start(job)


class Threads:
    """
    So many threads at the same time, started when there is work and gone when there is none.

    Twisted's and the standard library's pools wait for their threads when the process stops, and a thread here may
    be in a user's function for ever. These are daemon threads: the process ends without them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._running = 0
        self._waiting: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()

    def start(self, job: Callable[[], None]) -> None:
        """Run it, in turn. It must not raise."""
        with self._lock:
            if self._running >= self._most:
                self._waiting.append(job)
                return
            self._running += 1
        threading.Thread(target=self._work, args=(job,), name="mytls-serve", daemon=True).start()

    def _work(self, job: Callable[[], None]) -> None:
        while True:
            job()
            with self._lock:
                if not self._waiting:
                    self._running -= 1
                    return
                job = self._waiting.popleft()


class _DeferredWaiter:
    """To be awaited by a coroutine that Twisted runs."""

    def __init__(self) -> None:
        self._deferred: Deferred[None] = Deferred()

    async def wait(self) -> None:
        await self._deferred

    def wake(self) -> None:
        if not self._deferred.called:
            self._deferred.callback(None)


class _FutureWaiter:
    """To be awaited by a task of asyncio."""

    def __init__(self) -> None:
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(self) -> None:
        await self._future

    def wake(self) -> None:
        if not self._future.done():
            self._future.set_result(None)


def _asyncio_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def new_waiter() -> Callable[[], Any]:
    """What a connstream's coroutine waits on: asyncio's where Twisted runs on asyncio's loop, else Twisted's."""
    return _FutureWaiter if _asyncio_runs() else _DeferredWaiter


def started(coroutine: Awaitable[Any]) -> Deferred[Any]:
    """Run a coroutine: as a task of asyncio where Twisted runs on its loop, so that it may await either's things."""
    if _asyncio_runs():
        return Deferred.fromFuture(asyncio.ensure_future(coroutine))
    return Deferred.fromCoroutine(coroutine)  # type: ignore[arg-type]  # any awaitable of an async function is one
