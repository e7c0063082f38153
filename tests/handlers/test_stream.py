"""`serve:`: a function has a client to itself, and what it does ends no other's."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.handlers.inbox import INBOX_SIZE
from mytls.handlers.stream import (
    CoroutineFactory,
    StreamProtocol,
    ThreadFactory,
    is_coroutine_function,
    read_error,
    serve,
)
from mytls.settings import Limits, Settings
from mytls.tls.tunnel import READ_SIZE
from tests.handlers.loop import PATIENCE, Loop, ThreadTestCase
from tests.memory import Link


class OwnFault(Exception):
    """What a function of a user's raises."""


def modules(**functions: Any) -> Any:
    """A module named `users`, that can be imported while this is on."""
    module = ModuleType("users")
    vars(module).update(functions)
    return patch.dict(sys.modules, users=module)


class StringTests(SynchronousTestCase):
    """The handler string."""

    def made(self, function: Any) -> Any:
        with modules(function=function):
            return serve(Clock(), "users:function", Settings(limits=Limits(max_threads=7)))

    def test_function(self) -> None:
        """A plain function is served by threads, and Twisted's log names it."""

        def deal_with_client(connstream: Any) -> None: ...

        made = self.made(deal_with_client)
        self.assertIsInstance(made, ThreadFactory)
        self.assertIn("deal_with_client", made.logPrefix())
        self.assertEqual(self.made(partial(deal_with_client)).logPrefix(), "partial")

    def test_coroutine_function(self) -> None:
        """A coroutine function, or an object whose call is one, is run on the event loop."""

        class Callable:
            async def __call__(self, connstream: Any) -> None: ...

        async def deal_with_client(connstream: Any) -> None: ...

        for function in (deal_with_client, Callable(), partial(deal_with_client)):
            self.assertIsInstance(self.made(function), CoroutineFactory)
        self.assertFalse(is_coroutine_function(len))

    def test_not_a_function(self) -> None:
        """Anything else is refused in one line."""
        with self.assertRaisesRegex(ConfigurationError, "expected a function, not int"):
            self.made(5)

    def test_expected(self) -> None:
        """An incomplete string is told what was expected."""
        with self.assertRaisesRegex(ConfigurationError, "expected serve:package.module:function"):
            serve(Clock(), "users", Settings())


class ReadErrorTests(SynchronousTestCase):
    """How an end looks to a function that reads."""

    def test_ends(self) -> None:
        """A clean end is none; a cut, a reset, a failure of TLS and an abort are each what the ssl module raises."""
        cases = [
            (ConnectionDone(), type(None), None),
            (ConnectionLost(), ConnectionResetError, errno.ECONNRESET),
            (ConnectionLost("the peer sent no close_notify"), ssl.SSLEOFError, ssl.SSL_ERROR_EOF),
            (ConnectionLost("bad record mac"), ssl.SSLError, ssl.SSL_ERROR_SSL),
            (ConnectionAborted(), ConnectionAbortedError, errno.ECONNABORTED),
        ]
        for reason, kind, number in cases:
            error = read_error(Failure(reason))
            self.assertEqual((type(error), getattr(error, "errno", None)), (kind, number))


class FailureTests(ThreadTestCase):
    """What a function raises."""

    def check_own(self, error: BaseException) -> None:
        """It is logged once, its client is cut off without close_notify, and the next is served."""
        errors: list[BaseException | None] = [error, None]

        def function(stream: Any) -> None:
            stream.sendall(b"half an ans")
            if (mine := errors.pop(0)) is not None:
                raise mine

        served = self.serve(function)
        link = served.connect()
        served.until_returned()
        (logged,) = self.flushLoggedErrors()
        self.assertIs(logged.value, error)
        self.assertEqual(
            (bytes(link.received), link.peer_finished, link.socket.fin_sent), (b"half an ans", False, True)
        )
        self.assertEqual(link.kinds(), ["Accepted", "Established", "HandlerFailed"])
        other = served.connect()
        served.until_returned(2)
        self.assertTrue(other.peer_finished)

    def test_exception(self) -> None:
        """An exception of the function's own ends its connection alone, with one traceback in the log."""
        self.check_own(OwnFault("mine"))

    def test_exit(self) -> None:
        """C{SystemExit} in a thread ends its connection, not the service."""
        self.check_own(SystemExit(1))

    def test_interrupt(self) -> None:
        """C{KeyboardInterrupt} in a thread ends its connection, not the service."""
        self.check_own(KeyboardInterrupt())

    def test_backend(self) -> None:
        """The same error as a peer's, from elsewhere, is the function's: a backend that is down must be seen."""
        self.check_own(ConnectionRefusedError(errno.ECONNREFUSED, "the database"))
        self.check_own(TimeoutError("the database"))

    def test_own_shutdown(self) -> None:
        """To send after C{shutdown} is the function's own mistake."""

        def function(stream: Any) -> None:
            stream.shutdown(socket.SHUT_WR)
            stream.sendall(b"x")

        served = self.serve(function)
        served.connect()
        served.until_returned()
        self.assertEqual([each.type for each in self.flushLoggedErrors()], [BrokenPipeError])

    def test_timeout_that_was_asked_for(self) -> None:
        """C{TimeoutError} after C{settimeout} may escape: the connection ends properly, and there is no traceback."""

        def function(stream: Any) -> None:
            stream.sendall(b"hello?")
            stream.settimeout(0.01)
            stream.recv()

        served = self.serve(function)
        link = served.connect()
        served.until_returned()
        self.assertEqual((bytes(link.received), link.peer_finished), (b"hello?", True))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_failure_when_the_client_is_gone(self) -> None:
        """A function that fails after its client is gone is logged, once."""
        go_on = threading.Event()

        def function(stream: Any) -> None:
            go_on.wait(PATIENCE)
            raise OwnFault

        served = self.serve(function)
        served.connect().reset()
        go_on.set()
        served.until_returned()
        self.assertEqual(len(self.flushLoggedErrors(OwnFault)), 1)


class TurnTests(ThreadTestCase):
    """More clients than threads."""

    def test_everyone_has_a_turn(self) -> None:
        """Of many clients of few threads each is served, with what it has said while it waited."""

        def function(stream: Any) -> None:
            while data := stream.recv(1024):
                stream.sendall(data.upper())

        served = self.serve(function, most=2)
        links = [served.connect() for _ in range(20)]
        for number, link in enumerate(links):
            link.client.send(b"client %d" % number)
            link.client.shutdown()
        served.until_returned(20)
        self.assertEqual([bytes(link.received) for link in links], [b"CLIENT %d" % number for number in range(20)])
        self.assertTrue(all(link.peer_finished for link in links))

    def test_who_waits_is_bounded(self) -> None:
        """A client that waits and sends and sends is not read any more."""
        go_on = threading.Event()
        served = self.serve(lambda stream: go_on.wait(PATIENCE), most=1)
        served.connect()
        link = served.connect()
        while link.socket.reading:
            link.client.send(b"x" * 16384)
            link.pump()
        self.assertLess(served.factory.protocols[1].stream.pending(), INBOX_SIZE + READ_SIZE)
        go_on.set()
        served.until_returned(2)

    def test_who_goes_away_while_waiting(self) -> None:
        """Clients that are gone before their turn are not served, hold nothing, and those behind them are served."""
        go_on = threading.Event()

        def function(stream: Any) -> None:
            go_on.wait(PATIENCE)
            stream.sendall(b"your turn")

        served = self.serve(function, most=1)
        first, *gone = (served.connect() for _ in range(10))
        last = served.connect()
        for link in gone:
            link.reset()
        self.assertEqual(served.factory.threads.waiting, 1)
        go_on.set()
        served.until_returned(2)
        self.assertEqual([bytes(link.received) for link in (first, last)], [b"your turn"] * 2)
        self.assertEqual(len(served.factory.returned), 2)

    def test_drain(self) -> None:
        """When the service stops a function hears the end of its client, and answers; who waits gets an end."""

        def function(stream: Any) -> None:
            while stream.recv(1024):
                pass
            stream.sendall(b"good bye")

        served = self.serve(function, most=1)
        one, other = served.connect(), served.connect()
        served.until_waiting()
        for protocol in served.factory.protocols:
            protocol.end()
        served.until_returned()
        self.assertEqual([bytes(link.received) for link in (one, other)], [b"good bye", b""])
        self.assertTrue(one.peer_finished and other.peer_finished)
        self.assertEqual(len(served.factory.returned), 1)

    def test_no_thread_to_be_had(self) -> None:
        """Where the system gives us no thread at all, that client is cut off and the log says why."""
        served = self.serve(lambda stream: None)
        with patch.object(threading.Thread, "start", side_effect=RuntimeError("can't start new thread")):
            link = served.connect()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertTrue(link.socket.fin_sent)


class DocumentationTests(ThreadTestCase):
    """The ssl documentation's own function."""

    def test_deal_with_client(self) -> None:
        """It reads until the client is finished, or until it is finished with the client."""

        def do_something(connstream: Any, data: bytes) -> bool:
            connstream.sendall(data.upper())
            return data != b"bye"

        def deal_with_client(connstream: Any) -> None:
            data = connstream.recv(1024)
            # empty data means the client is finished with us
            while data:
                if not do_something(connstream, data):
                    # we'll assume do_something returns False
                    # when we're finished with client
                    break
                data = connstream.recv(1024)
            # finished with client

        served = self.serve(deal_with_client)
        one, other = served.connect(), served.connect()
        served.until_waiting(2)
        one.client.send(b"hello")
        served.until(lambda: one.received == b"HELLO")
        one.client.shutdown()
        other.client.send(b"bye")
        served.until_returned(2)
        self.assertEqual((bytes(other.received), one.peer_finished, other.peer_finished), (b"BYE", True, True))


class PlainTransportTests(ThreadTestCase):
    """Handlers also serve endpoints without TLS."""

    def test_failure(self) -> None:
        """On a transport of Twisted's own a function that raises is logged, and its connection is aborted."""
        loop = Loop()

        def function(stream: Any) -> None:
            raise OwnFault

        factory = ThreadFactory(loop, function, 1)
        protocol: Any = factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        loop.until(lambda: transport.disconnected)
        self.assertEqual(len(self.flushLoggedErrors(OwnFault)), 1)


class CoroutineTests(SynchronousTestCase):
    """Coroutine functions, on Twisted's loop and on asyncio's."""

    def connect(self, function: Callable[[Any], Any]) -> Link:
        link = Link(handler=CoroutineFactory(clock := Clock(), function), clock=clock)
        link.handshake()
        return link

    def test_on_twisteds(self) -> None:
        """A coroutine reads and writes, and may await a Deferred."""
        deferred: Deferred[bytes] = Deferred()

        async def function(stream: Any) -> None:
            while data := await stream.recv(1024):
                await stream.sendall(data.upper() + await deferred)

        link = self.connect(function)
        link.client.send(b"hello")
        link.pump()
        self.assertEqual(bytes(link.received), b"")
        deferred.callback(b"!")
        link.pump()
        self.assertEqual((bytes(link.received), link.peer_finished), (b"HELLO!", False))
        link.client.shutdown()
        link.pump()
        self.assertTrue(link.peer_finished)

    def test_on_asyncios(self) -> None:
        """Where Twisted runs on asyncio's loop it may await what is asyncio's."""

        async def function(stream: Any) -> None:
            while data := await asyncio.wait_for(stream.recv(1024), PATIENCE):
                await asyncio.sleep(0)
                await stream.sendall(data.upper())

        async def conversation() -> Link:
            link = self.connect(function)
            link.client.send(b"hello")
            link.pump()
            await settled()
            link.client.shutdown()
            link.pump()
            await settled()
            link.pump()
            return link

        link = asyncio.run(conversation())
        self.assertEqual((bytes(link.received), link.peer_finished), (b"HELLO", True))

    def check_own(self, connect: Callable[[Callable[[Any], Any]], Link], error: BaseException) -> None:
        async def function(stream: Any) -> None:
            raise error

        link = connect(function)
        (logged,) = self.flushLoggedErrors()
        self.assertIs(logged.value, error)
        link.pump()
        self.assertEqual((link.peer_finished, link.socket.fin_sent), (False, True))

    def test_failure(self) -> None:
        """What a coroutine raises ends its connection alone, with one traceback: C{SystemExit} too."""
        for error in (OwnFault(), SystemExit(1), ConnectionRefusedError()):
            self.check_own(self.connect, error)

    def test_failure_on_asyncios(self) -> None:
        """So it is on asyncio's loop, which C{SystemExit} would end."""

        async def conversation(function: Callable[[Any], Any]) -> Link:
            link = self.connect(function)
            await settled()
            return link

        for error in (OwnFault(), SystemExit(1)):
            self.check_own(lambda function: asyncio.run(conversation(function)), error)

    def test_drain(self) -> None:
        """When the service stops a coroutine hears the end of its client, and may answer."""

        async def function(stream: Any) -> None:
            while await stream.recv(1024):
                pass
            await stream.sendall(b"good bye")

        link = self.connect(function)
        tls = link.protocol._tls
        assert tls is not None
        assert isinstance(tls.protocol, StreamProtocol)
        tls.protocol.end()
        link.pump()
        self.assertEqual((bytes(link.received), link.peer_finished), (b"good bye", True))

    def test_wrong_signature(self) -> None:
        """A function that cannot be called with a connstream is logged once for each client."""

        async def function() -> None: ...

        wrong: Any = function
        link = self.connect(wrong)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertTrue(link.socket.fin_sent)

    def test_peers_errors(self) -> None:
        """A reset, or a time that was asked for, may escape: no traceback, and a proper end where there is somebody."""

        async def function(stream: Any) -> None:
            stream.settimeout(5)
            await stream.recv()

        self.connect(function).reset()
        link = self.connect(function)
        link.clock.advance(4.9)
        self.assertFalse(link.socket.fin_sent)
        link.clock.advance(0.1)
        link.pump()
        self.assertTrue(link.peer_finished)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_asyncios_times(self) -> None:
        """A time by C{asyncio.timeout} or C{asyncio.wait_for} is as good as C{settimeout}'s, while it is the peer's."""

        async def timeout(stream: Any) -> None:
            async with asyncio.timeout(0.001):
                await stream.recv()

        async def wait_for(stream: Any) -> None:
            await asyncio.wait_for(stream.recv(), 0.001)

        async def of_its_own(stream: Any) -> None:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()

        async def conversation(function: Callable[[Any], Any]) -> bool:
            link = self.connect(function)
            while not link.socket.fin_sent:
                await asyncio.sleep(0.001)
            link.pump()
            return link.peer_finished

        self.assertEqual([asyncio.run(conversation(each)) for each in (timeout, wait_for)], [True, True])
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertFalse(asyncio.run(conversation(of_its_own)))
        self.assertEqual(len(self.flushLoggedErrors(TimeoutError)), 1)


async def settled() -> None:
    """Until asyncio's loop has nothing more to do at once."""
    for _ in range(20):
        await asyncio.sleep(0)
