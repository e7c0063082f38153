"""`call:`: a function that is called with each piece of data."""

from __future__ import annotations

import errno
import socket
import ssl
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import provider

from mytls.errors import ConfigurationError
from mytls.handlers.callback import SLOW_CALL, CallbackFactory, call
from mytls.handlers.stream import CoroutineFactory
from mytls.settings import Settings
from tests.memory import Link

EBADF = (OSError, errno.EBADF)
EPIPE = (BrokenPipeError, errno.EPIPE)
WANT_READ = (ssl.SSLWantReadError, ssl.SSL_ERROR_WANT_READ)


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """What comes of a call: its value, or the type and the number of what it raises."""
    try:
        return function(*arguments)
    except Exception as error:
        return type(error), getattr(error, "errno", None)


def made(function: Any, clock: Any = None) -> Any:
    """The factory that `call:` makes of a function in a module."""
    module = ModuleType("users")
    vars(module)["function"] = function
    with patch.dict(sys.modules, users=module):
        return call(clock or Clock(), "users:function", Settings())


class CallTestCase(SynchronousTestCase):
    """A client of a function."""

    def connect(self, function: Any) -> Link:
        """A client, after its handshake."""
        clock = Clock()
        link = Link(handler=made(function, clock), clock=clock)
        link.handshake()
        return link

    def say(self, link: Link, data: bytes) -> None:
        """The client sends, and the loop turns."""
        link.client.sendall(data)
        link.pump()
        link.turn()
        link.pump()


class StringTests(SynchronousTestCase):
    """The handler string."""

    def test_functions(self) -> None:
        """A plain function is called; a coroutine function is run; Twisted's log names either."""

        def do_something(connstream: Any, data: bytes) -> bool:
            return True

        async def do_await(connstream: Any, data: bytes) -> bool:
            return True

        plain, awaited = made(do_something), made(do_await)
        self.assertIsInstance(plain, CallbackFactory)
        self.assertIsInstance(awaited, CoroutineFactory)
        self.assertIn("do_something", plain.logPrefix())
        self.assertIn("do_await", awaited.logPrefix())

    def test_not_a_function(self) -> None:
        """Anything else is refused in one line."""
        with self.assertRaisesRegex(ConfigurationError, "expected a function, not str"):
            made("text")
        with self.assertRaisesRegex(ConfigurationError, "expected call:package.module:function"):
            call(Clock(), ":", Settings())


class PlainFunctionTests(CallTestCase):
    """Called on the event loop."""

    def test_documented_function(self) -> None:
        """C{do_something} answers each piece; a false one is delivered too, and is the last."""

        def do_something(connstream: Any, data: bytes) -> bool:
            connstream.sendall(data.upper())
            return data != b"bye"

        link = self.connect(do_something)
        self.say(link, b"hello")
        self.assertEqual((bytes(link.received), link.peer_finished), (b"HELLO", False))
        self.say(link, b"bye")
        self.assertEqual((bytes(link.received), link.peer_finished), (b"HELLOBYE", True))

    def test_client_finishes(self) -> None:
        """A client that is finished gets the answer to its last piece, and close_notify."""

        def do_something(connstream: Any, data: bytes) -> bool:
            connstream.sendall(data * 1000)
            return True

        link = self.connect(do_something)
        link.client.send(b"x")
        link.client.shutdown()
        link.pump()
        self.assertEqual((len(link.received), link.peer_finished), (1000, True))

    def test_calls(self) -> None:
        """Nothing waits: what is sent is queued, what comes is for the next call."""
        got: list[Any] = []

        def do_something(stream: Any, data: bytes) -> bool:
            got.extend([attempt(stream.recv), attempt(stream.recv_into, bytearray(1)), attempt(stream.read)])
            got.extend([stream.send(b"12"), stream.write(b"3"), stream.send(b""), stream.pending()])
            got.extend([stream.gettimeout(), stream.getblocking(), stream.makefile("wb", buffering=0).write(b"4")])
            return True

        link = self.connect(do_something)
        self.say(link, b"x")
        self.assertEqual(got, [WANT_READ, WANT_READ, WANT_READ, 2, 1, 0, 0, 0.0, False, 1])
        self.assertEqual(bytes(link.received), b"1234")

    def test_refused(self) -> None:
        """What the ssl module refuses is refused, and is the function's fault."""

        def do_something(stream: Any, data: bytes) -> Any:
            return stream.shutdown(99)

        self.say(self.connect(do_something), b"x")
        self.assertEqual([each.value.errno for each in self.flushLoggedErrors(OSError)], [errno.EINVAL])

    def ended_by(self, end: Callable[[Any], Any]) -> tuple[list[Any], Link]:
        """What a function gets from C{send} after an end, and its client."""
        got: list[Any] = []

        def do_something(stream: Any, data: bytes) -> bool:
            stream.sendall(b"last")
            end(stream)
            got.append(attempt(stream.send, b"x"))
            return True

        link = self.connect(do_something)
        self.say(link, b"1")
        self.say(link, b"2")
        return got, link

    def test_closed(self) -> None:
        """C{close}, and leaving the context, finish: what was sent is delivered, no call comes after."""

        def leave(stream: Any) -> None:
            with stream:
                pass

        for end in (leave, lambda stream: stream.close() or stream.close()):
            got, link = self.ended_by(end)
            self.assertEqual((got, bytes(link.received), link.peer_finished), ([EBADF], b"last", True))

    def test_shut(self) -> None:
        """So do C{shutdown(SHUT_RDWR)} and C{unwrap}; to send after them is C{EPIPE}."""
        for end in (lambda stream: stream.shutdown(socket.SHUT_RDWR), lambda stream: stream.unwrap()):
            got, link = self.ended_by(end)
            self.assertEqual((got, bytes(link.received), link.peer_finished), ([EPIPE], b"last", True))

    def test_shut_for_reading(self) -> None:
        """After C{shutdown(SHUT_RD)} no call comes, and what is sent still arrives."""
        got, link = self.ended_by(lambda stream: stream.shutdown(socket.SHUT_RD))
        self.assertEqual((got, bytes(link.received), link.peer_finished), ([1], b"lastx", False))

    def test_shut_for_writing(self) -> None:
        """After C{shutdown(SHUT_WR)} the client has close_notify, and the function is still called."""
        pieces: list[bytes] = []

        def do_something(stream: Any, data: bytes) -> bool:
            if not pieces:
                stream.shutdown(socket.SHUT_WR)
            pieces.append(data)
            return True

        link = self.connect(do_something)
        self.say(link, b"1")
        self.assertTrue(link.peer_finished)
        self.say(link, b"2")
        self.assertEqual(pieces, [b"1", b"2"])

    def test_kept(self) -> None:
        """A connstream that was kept tells when its client is gone; that error may escape from another's call."""
        kept: list[Any] = []

        def do_something(stream: Any, data: bytes) -> bool:
            kept.append(stream)
            if data == b"again":
                kept[0].sendall(b"x")
            return True

        one, other = (self.connect(do_something) for _ in range(2))
        self.say(one, b"first")
        one.reset()
        self.assertEqual(attempt(kept[0].send, b"x"), EPIPE)
        kept[1:] = [kept[0]]
        self.say(other, b"again")
        self.assertEqual(len(self.flushLoggedErrors(BrokenPipeError)), 1)

    def test_own_peer_gone(self) -> None:
        """The client's going away while it is answered is no fault of the function."""

        def do_something(stream: Any, data: bytes) -> bool:
            link.reset()
            stream.sendall(b"x")
            return True

        link = self.connect(do_something)
        link.client.send(b"x")
        link.to_server(link.outgoing())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_failure(self) -> None:
        """A function that raises, or exits, ends its connection alone, with one traceback."""
        for error in (ValueError("mine"), SystemExit(1)):

            def do_something(stream: Any, data: bytes, error: BaseException = error) -> bool:
                raise error

            link = self.connect(do_something)
            self.say(link, b"x")
            self.assertEqual([each.value for each in self.flushLoggedErrors()], [error])
            self.assertEqual((link.peer_finished, link.socket.fin_sent), (False, True))
            self.assertIn("HandlerFailed", link.kinds())

    def test_peer_that_does_not_read(self) -> None:
        """A peer that reads no answers is not read from: the function is not called for it."""
        calls: list[int] = []

        def do_something(stream: Any, data: bytes) -> bool:
            calls.append(len(data))
            stream.sendall(data * 4)
            return True

        link = self.connect(do_something)
        link.socket.peer_reads = False
        while link.socket.reading:
            self.say(link, b"x" * 16384)
        self.assertLess(sum(calls), 200000)
        link.socket.peer_reads = True
        link.socket.flush()
        link.turn()
        link.pump()
        self.assertTrue(link.socket.reading)
        self.assertEqual(len(link.received), 4 * sum(calls))

    def test_slow(self) -> None:
        """A call that has held the event loop up is named in the log; others are not."""
        warnings: list[LogEvent] = []

        @provider(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event["log_level"] is LogLevel.warn:
                warnings.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        takes = [SLOW_CALL, SLOW_CALL + 0.1]

        def do_something(stream: Any, data: bytes) -> bool:
            link.clock.advance(takes.pop(0))
            return True

        link = self.connect(do_something)
        self.say(link, b"x")
        self.assertEqual(warnings, [])
        self.say(link, b"x")
        self.assertEqual(len(warnings), 1)
        self.assertIn("do_something", warnings[0]["name"])


class CoroutineFunctionTests(CallTestCase):
    """Awaited, one piece after the other."""

    def test_documented_function(self) -> None:
        """The next piece comes when the answer to the last is given; a false one finishes with the client."""
        answers: list[Deferred[bool]] = []
        pieces: list[bytes] = []

        async def do_something(connstream: Any, data: bytes) -> bool:
            pieces.append(data)
            answers.append(Deferred())
            go_on = await answers[-1]
            await connstream.sendall(data.upper())
            return go_on

        link = self.connect(do_something)
        self.say(link, b"one")
        self.say(link, b"two")
        self.assertEqual((pieces, bytes(link.received)), ([b"one"], b""))
        answers[0].callback(True)
        link.pump()
        self.assertEqual((pieces, bytes(link.received)), ([b"one", b"two"], b"ONE"))
        answers[1].callback(False)
        link.pump()
        self.assertEqual((bytes(link.received), link.peer_finished), (b"ONETWO", True))

    def test_client_finishes(self) -> None:
        """When the client is finished, so is the function."""

        async def do_something(connstream: Any, data: bytes) -> bool:
            await connstream.sendall(data)
            return True

        link = self.connect(do_something)
        self.say(link, b"hello")
        link.client.shutdown()
        link.pump()
        self.assertEqual((bytes(link.received), link.peer_finished), (b"hello", True))
