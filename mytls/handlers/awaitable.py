"""
The connstream of a coroutine on the event loop, and how coroutines are run: by Twisted, or as a task of asyncio where
Twisted runs on asyncio's loop, so that they may await what is either's.
"""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from mytls.handlers.connstream import Operation, recv_buffer, recv_size, send_buffer
from mytls.handlers.inbox import INBOX_SIZE, OUTBOX_SIZE, Stream

_T = TypeVar("_T")


class Waiter(Protocol):
    """Something to await, once."""

    async def wait(self) -> None:
        """Return when C{wake} is called."""

    def wake(self) -> None:
        """Let it return; a second call does nothing."""


class AsyncStream(Stream):
    """A C{ssl.SSLSocket} whose calls that may wait are awaited. What ends it (C{shutdown}, C{close}) never waits."""

    _changed: _Waiting

    def __init__(self, transport: Any, clock: IReactorTime, new_waiter: Callable[[], Waiter]) -> None:
        """
        @param transport: the connection's
        @param clock: the time of C{settimeout}
        @param new_waiter: makes what a coroutine waits on (L{new_waiter})
        """
        super().__init__(transport, _Waiting(clock, new_waiter), _at_once)
        self._clock = clock

    async def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """At least one byte and at most C{buflen}; C{b""} when the client is finished."""
        size = recv_size(buflen, flags)
        self._check_open()
        if size == 0:
            return b""
        await self._wait("read", lambda: self._inbox.ready)
        return self._take(size)

    async def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """As C{recv}, into a buffer. @return: how many bytes"""
        view = recv_buffer(buffer, nbytes)
        data = await self.recv(len(view), flags)
        view[: len(data)] = data
        return len(data)

    async def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """As C{SSLSocket.read}."""
        return await (self.recv(len) if buffer is None else self.recv_into(buffer, len))

    async def send(self, data: Any, flags: int = 0) -> int:
        """Send some of it, once the peer has read enough of what was sent before. @return: how much"""
        view = send_buffer(data, flags)
        self._check_open()
        if not view:
            return 0
        await self._wait("write", lambda: not self._full or self._finished or self._lost)
        self._check_writable()
        piece = bytes(view[:OUTBOX_SIZE])
        self._transport.write(piece)
        return len(piece)

    async def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of it."""
        view = send_buffer(data, flags)
        self._check_open()
        while view:
            view = view[await self.send(view) :]

    async def write(self, data: Any) -> int:
        """As C{SSLSocket.write}."""
        return await self.send(data)

    async def unwrap(self) -> AsyncStream:
        """
        Exchange close_notify with the peer; what is left can only be closed.

        @raise ssl.SSLEOFError: the peer has ended without close_notify
        """
        self.shutdown(socket.SHUT_WR)
        while await self.recv(INBOX_SIZE):
            pass
        self._check_goodbye()
        return self

    def makefile(self, *arguments: Any, **words: Any) -> Any:
        """Files block; a coroutine awaits C{recv} and C{sendall}."""
        raise io.UnsupportedOperation("makefile blocks; await recv and sendall, or use a plain function with serve:")

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.close()

    async def _wait(self, operation: Operation, ready: Callable[[], bool]) -> None:
        timeout = self._timeout
        until = None if timeout is None else self._clock.seconds() + timeout
        while not ready():
            left = None if until is None else until - self._clock.seconds()
            if left is not None and left <= 0:
                raise self._too_late(operation, timeout)
            try:
                await self._changed.wait(left)
            except BaseException as cancelled:  # by a time of the function's own: it was the peer who was waited for
                self._blamed(cancelled)
                raise
            self._check_open()


class _Waiting(AbstractContextManager["_Waiting"]):
    """C{threading.Condition} for one thread: nothing to lock, and coroutines that wait."""

    def __init__(self, clock: IReactorTime, new_waiter: Callable[[], Waiter]) -> None:
        self._clock = clock
        self._new_waiter = new_waiter
        self._waiters: list[Waiter] = []

    def __exit__(self, *exception: object) -> None:
        """Nothing was locked."""

    def notify_all(self) -> None:
        """Everyone looks again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.wake()

    async def wait(self, timeout: float | None) -> None:
        """Until C{notify_all}, or until the time is over."""
        waiter = self._new_waiter()
        self._waiters.append(waiter)
        timer = None if timeout is None else self._clock.callLater(timeout, waiter.wake)
        try:
            await waiter.wait()
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            if timer is not None and timer.active():
                timer.cancel()


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


def new_waiter() -> Callable[[], Waiter]:
    """What a connstream's coroutine waits on: asyncio's where Twisted runs on asyncio's loop, else Twisted's."""
    return _FutureWaiter if _asyncio_runs() else _DeferredWaiter


def started(coroutine: Coroutine[Any, Any, _T]) -> Deferred[_T]:
    """Run a coroutine: as a task of asyncio where Twisted runs on its loop."""
    if _asyncio_runs():
        return Deferred.fromFuture(asyncio.ensure_future(coroutine))
    return Deferred.fromCoroutine(coroutine)


def _asyncio_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _at_once(function: Callable[..., object], *arguments: Any) -> None:
    function(*arguments)
