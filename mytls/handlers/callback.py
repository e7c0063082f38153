"""
`call:package.module:do_something`: a function that is called with each piece of data, as in the loop of the `ssl`
documentation: a false return value finishes with the client.

A plain function is called on the event loop, so it should return at once; who waits for something uses a coroutine
function, or `serve:`. A call that held the loop up is named in the log.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from mytls.errors import ConfigurationError
from mytls.handlers.awaitable import AsyncStream
from mytls.handlers.connstream import Connstream, check_how, recv_size, send_buffer, would_wait
from mytls.handlers.load import load
from mytls.handlers.stream import CoroutineFactory, handler_failed, is_coroutine_function
from mytls.settings import Settings

_log = Logger()

#: Seconds. A call that takes longer delays every other client by as much, and is named in the log.
SLOW_CALL = 0.5
#: The most that a coroutine function gets in one piece.
PIECE = 64 * 1024


def call(reactor: Any, argument: str, settings: Settings) -> IProtocolFactory:
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


class CallbackStream(Connstream):
    """
    A connstream whose calls never wait: what is sent is queued, and what comes is the function's argument.

    A peer that does not read what was sent is not read from either, so its function is not called.

    @ivar wants_data: whether the function is to be called again
    """

    def __init__(self, transport: Any) -> None:
        super().__init__(transport)
        self._timeout = 0.0
        self.wants_data = True

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Never has anything: what comes next is given to the next call of the function."""
        recv_size(buflen, flags)
        self._check_open()
        raise would_wait("read")

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """As C{recv}."""
        return len(self.recv(1, flags))

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """As C{recv}."""
        return self.recv(len)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send it. @return: its length"""
        view = send_buffer(data, flags)
        self._check_open()
        self._check_writable()
        self._transport.write(bytes(view))
        return len(view)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send it."""
        self.send(data, flags)

    def write(self, data: Any) -> int:
        """As C{SSLSocket.write}."""
        return self.send(data)

    def pending(self) -> int:
        """Nothing can be read."""
        return 0

    def shutdown(self, how: int) -> None:
        """
        End one direction or both.

        @param how: C{socket.SHUT_RD}: the function is not called again; C{SHUT_WR}: our close_notify is sent;
            C{SHUT_RDWR}: the connection ends, once what was sent is delivered
        """
        check_how(how)
        self._check_open()
        self.wants_data = self.wants_data and how == socket.SHUT_WR
        self._finished = self._finished or how != socket.SHUT_RD
        if how == socket.SHUT_WR:
            self._transport.loseWriteConnection()
        elif how == socket.SHUT_RDWR:
            self._transport.loseConnection()

    def unwrap(self) -> CallbackStream:
        """Finish; the peer's close_notify is not waited for."""
        self.shutdown(socket.SHUT_RDWR)
        return self

    def lost(self) -> None:
        """The connection is gone."""
        self._lost = True

    def __enter__(self) -> CallbackStream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _really_close(self) -> None:
        self._closed = True
        self._transport.loseConnection()


class CallbackProtocol(Protocol):
    """Calls the function with each piece of data."""

    factory: CallbackFactory
    stream: CallbackStream

    def connectionMade(self) -> None:
        """The handshake is done."""
        self.stream = CallbackStream(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """Let the function do something with it."""
        if not self.stream.wants_data:
            return
        try:
            go_on = self.factory.call(self.stream, data)
        except (Exception, SystemExit):  # who exits is through with this client; the process is others' too
            self._raised(Failure())
            return
        if not go_on:
            self.transport.loseConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """A function that has kept the connstream will hear of it."""
        self.stream.lost()

    def _raised(self, failure: Failure) -> None:
        if self.stream.is_to_blame(failure.value):
            self.transport.loseConnection()  # type: ignore[union-attr]
        else:
            handler_failed(self.transport, failure)


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

    def call(self, stream: CallbackStream, data: bytes) -> Any:
        """Call the function, and look at the clock. @return: its answer"""
        before = self.reactor.seconds()
        go_on = self.function(stream, data)
        took = self.reactor.seconds() - before
        if took > SLOW_CALL:
            _log.warn(
                "call:{name} took {seconds:.1f}s on the event loop, and every client waited; "
                "make it a coroutine function, or use serve:",
                name=self.logPrefix(),
                seconds=took,
            )
        return go_on

    def logPrefix(self) -> str:
        """Twisted's log names the function."""
        return getattr(self.function, "__qualname__", type(self.function).__name__)
