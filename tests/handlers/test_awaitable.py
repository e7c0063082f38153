"""A coroutine's connstream: what may wait is awaited."""

from __future__ import annotations

import asyncio
import errno
import io
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.handlers.awaitable import AsyncStream, new_waiter
from mytls.handlers.inbox import INBOX_SIZE, OUTBOX_SIZE
from mytls.handlers.stream import CoroutineFactory
from mytls.tls.tunnel import READ_SIZE
from tests.memory import Link

EBADF = (OSError, errno.EBADF)
EPIPE = (BrokenPipeError, errno.EPIPE)
WANT_READ = (ssl.SSLWantReadError, ssl.SSL_ERROR_WANT_READ)
WANT_WRITE = (ssl.SSLWantWriteError, ssl.SSL_ERROR_WANT_WRITE)
TIMED_OUT = (TimeoutError, None)


async def attempt(awaitable: Any) -> Any:
    """What comes of it: its value, or the type and the number of what it raises."""
    try:
        return await awaitable
    except Exception as error:
        return type(error), getattr(error, "errno", None)


class AsyncStreamTests(SynchronousTestCase):
    """On Twisted's loop, with a Clock."""

    def setUp(self) -> None:
        self.got: list[Any] = []

    def connect(self, function: Callable[[Any], Coroutine[Any, Any, Any]]) -> Link:
        """A client of a coroutine function; what that returns is noted."""

        async def noting(stream: Any) -> None:
            self.stream = stream
            self.got.append(await function(stream))

        clock = Clock()
        link = Link(handler=CoroutineFactory(clock, noting), clock=clock)
        link.handshake()
        return link

    def say(self, link: Link, data: bytes) -> None:
        """The client sends, and the loop turns."""
        link.client.sendall(data)
        link.pump()
        link.turn()
        link.pump()

    def test_reading(self) -> None:
        """C{recv}, C{recv_into} and C{read} take no more than they are asked for; C{b""} is the end."""

        async def function(stream: Any) -> Any:
            buffer = bytearray(4)
            got = [await stream.recv(2), await stream.recv(0), await stream.recv_into(buffer), stream.pending()]
            got += [await stream.read(2), await stream.read(1, buffer), await stream.recv(), await stream.recv()]
            return [*got, buffer]

        link = self.connect(function)
        self.say(link, b"0123456789")
        link.client.shutdown()
        link.pump()
        self.assertEqual(self.got, [[b"01", b"", 4, 4, b"67", 1, b"9", b"", b"8345"]])

    def test_wrong_arguments(self) -> None:
        """What is refused is refused as by the ssl module, and takes nothing away."""

        async def function(stream: Any) -> Any:
            calls = [stream.recv(-1), stream.recv(1, socket.MSG_PEEK), stream.recv_into(b"read only")]
            calls += [stream.send(b"x", socket.MSG_OOB), stream.sendall("text")]
            return [await attempt(each) for each in calls]

        self.connect(function)
        value, kind = (ValueError, None), (TypeError, None)
        self.assertEqual(self.got, [[value, value, kind, value, kind]])

    def test_one_reads_while_another_writes(self) -> None:
        """Two coroutines may wait at once, also for the same thing; each piece goes to one of them."""
        pieces: list[bytes] = []

        async def function(stream: Any) -> Any:
            async def reading() -> None:
                pieces.append(await stream.recv(1))

            readers = [Deferred.fromCoroutine(reading()) for _ in range(2)]
            await stream.sendall(b"hello")
            for each in readers:
                await each

        link = self.connect(function)
        link.pump()
        self.assertEqual(bytes(link.received), b"hello")
        self.say(link, b"1")
        self.assertEqual((pieces, self.got), ([b"1"], []))
        self.say(link, b"2")
        self.assertEqual((pieces, self.got), ([b"1", b"2"], [None]))

    def test_timeout(self) -> None:
        """A call waits as long as C{settimeout} says; a later one has its own time."""

        async def function(stream: Any) -> Any:
            stream.settimeout(5)
            return [await stream.recv(), await attempt(stream.recv())]

        link = self.connect(function)
        link.clock.advance(4)
        self.say(link, b"just in time")
        link.clock.advance(4.9)
        self.assertEqual(self.got, [])
        link.clock.advance(0.1)
        self.assertEqual(self.got, [[b"just in time", TIMED_OUT]])
        self.assertEqual([call for call in link.clock.getDelayedCalls() if call.getTime() > 15], [])

    def test_without_waiting(self) -> None:
        """With C{settimeout(0)} what would have to wait raises."""

        async def function(stream: Any) -> Any:
            stream.setblocking(False)
            got = [await attempt(stream.recv())]
            while await attempt(stream.send(b"x" * OUTBOX_SIZE)) == OUTBOX_SIZE:
                pass
            return [*got, await attempt(stream.send(b"x")), await stream.send(b""), await attempt(stream.unwrap())]

        clock = Clock()

        async def noting(stream: Any) -> None:
            await stream.recv()
            link.socket.peer_reads = False
            self.got.append(await function(stream))

        link = Link(handler=CoroutineFactory(clock, noting), clock=clock)
        link.handshake()
        self.say(link, b"go")
        self.assertEqual(self.got, [[WANT_READ, WANT_WRITE, 0, WANT_READ]])

    def test_peer_that_does_not_read(self) -> None:
        """C{sendall} waits while the peer does not read; what is held is bounded, and all of it arrives."""
        total = 30 * OUTBOX_SIZE

        async def function(stream: Any) -> Any:
            await stream.recv()
            await stream.sendall(b"x" * total)

        link = self.connect(function)
        link.socket.peer_reads = False
        self.say(link, b"go")
        for _ in range(total):
            self.assertLess(len(link.socket.buffer), 4 * OUTBOX_SIZE)
            if self.got:
                break
            link.socket.peer_reads = True
            link.socket.flush()
            link.socket.peer_reads = False
            link.turn()
            link.pump()
        link.socket.peer_reads = True
        link.socket.flush()
        link.pump()
        self.assertEqual(len(link.received), total)

    def test_reading_is_paused(self) -> None:
        """A coroutine that does not read holds no more than its inbox, and reads all of it later."""
        go_on: Deferred[None] = Deferred()
        sizes: list[int] = []

        async def function(stream: Any) -> Any:
            await go_on
            while data := await stream.recv(10000):
                sizes.append(len(data))

        link = self.connect(function)
        sent = 0
        while link.socket.reading:
            self.say(link, b"x" * 16384)
            sent += 16384
        self.assertLess(self.stream.pending(), INBOX_SIZE + READ_SIZE)
        go_on.callback(None)
        link.turn()
        self.assertTrue(link.socket.reading)
        self.say(link, b"x")
        self.assertEqual(sum(sizes), sent + 1)

    def test_reset(self) -> None:
        """Who waits when the connection is reset hears of it, and so does who calls after that."""

        async def function(stream: Any) -> Any:
            got = [await attempt(stream.recv()), await attempt(stream.recv()), await attempt(stream.sendall(b"x"))]
            return [*got, await attempt(stream.unwrap())]

        link = self.connect(function)
        link.reset()
        reset = (ConnectionResetError, errno.ECONNRESET)
        self.assertEqual(self.got, [[reset, reset, EPIPE, reset]])

    def test_cut(self) -> None:
        """The end of a stream without close_notify is C{b""}, or an error where it matters; C{unwrap} tells."""

        async def function(stream: Any) -> Any:
            got = [await stream.recv()]
            stream.suppress_ragged_eofs = False
            return [*got, await attempt(stream.recv())]

        link = self.connect(function)
        link.fin()
        self.assertEqual(self.got, [[b"", (ssl.SSLEOFError, ssl.SSL_ERROR_EOF)]])

    def test_unwrap(self) -> None:
        """C{unwrap} sends close_notify, waits for the client's, and throws away what comes before it."""

        async def function(stream: Any) -> Any:
            return [await stream.unwrap() is stream, await stream.recv(), await attempt(stream.send(b"x"))]

        link = self.connect(function)
        link.pump()
        self.assertTrue(link.peer_finished)
        self.say(link, b"not heard")
        self.assertEqual(self.got, [])
        link.client.shutdown()
        link.pump()
        self.assertEqual(self.got, [[True, b"", EPIPE]])

    def test_shutdown(self) -> None:
        """C{shutdown} ends one direction, or both, while the coroutine goes on."""
        never: Deferred[None] = Deferred()

        async def function(stream: Any) -> Any:
            stream.shutdown(socket.SHUT_RD)
            self.got.append(await stream.recv())
            await stream.sendall(b"still here")
            stream.shutdown(socket.SHUT_RDWR)
            self.got.append(await attempt(stream.send(b"x")))
            await never

        link = self.connect(function)
        link.pump()
        self.assertEqual(self.got, [b"", EPIPE])
        self.assertEqual((bytes(link.received), link.peer_finished), (b"still here", True))

    def test_close(self) -> None:
        """C{close} wakes who waits; every call after it is C{EBADF}; leaving the context closes."""

        async def function(stream: Any) -> Any:
            waiting = Deferred.fromCoroutine(attempt(stream.recv()))
            async with stream as same:
                await same.write(b"done")
            calls = [stream.recv(), stream.send(b"x"), stream.sendall(b""), stream.unwrap()]
            return [await waiting, *[await attempt(each) for each in calls], stream.fileno()]

        link = self.connect(function)
        link.pump()
        self.assertEqual(self.got, [[EBADF, EBADF, EBADF, EBADF, EBADF, -1]])
        self.assertEqual((bytes(link.received), link.peer_finished), (b"done", True))

    def test_cancelled(self) -> None:
        """A wait that is cancelled leaves nothing behind: what comes next is for the next reader."""
        waits: list[Deferred[Any]] = []

        async def function(stream: Any) -> Any:
            stream.settimeout(100)
            waits.append(Deferred.fromCoroutine(attempt(stream.recv())))
            waits[0].cancel()
            stream.settimeout(None)
            return [await waits[0], await stream.recv()]

        link = self.connect(function)
        self.say(link, b"data")
        self.assertEqual(self.got, [[(CancelledError, None), b"data"]])

    def test_no_files(self) -> None:
        """Files block, so there are none, and the error says what there is."""

        async def function(stream: Any) -> Any:
            with self.assertRaisesRegex(io.UnsupportedOperation, "await recv and sendall"):
                stream.makefile("rb")

        self.connect(function)
        self.assertEqual(self.got, [None])


class WaiterTests(SynchronousTestCase):
    """What a coroutine waits on."""

    def test_woken_twice(self) -> None:
        """To wake twice is to wake once, with Twisted's and with asyncio's."""

        async def woken() -> str:
            waiter = new_waiter()()
            waiter.wake()
            waiter.wake()
            await waiter.wait()
            return type(waiter).__name__

        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(woken())), "_DeferredWaiter")
        self.assertEqual(asyncio.run(woken()), "_FutureWaiter")

    def test_timeouts_on_asyncios_loop(self) -> None:
        """A timeout is the reactor's, also where the coroutine is a task of asyncio."""

        async def conversation() -> Any:
            clock = Clock()
            link = Link(clock=clock)
            link.handshake()
            stream = AsyncStream(link.transport, clock, new_waiter())
            stream.settimeout(3)
            waiting = asyncio.ensure_future(attempt(stream.recv()))
            await asyncio.sleep(0)
            clock.advance(3)
            return await waiting

        self.assertEqual(asyncio.run(conversation()), TIMED_OUT)
