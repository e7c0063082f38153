"""
A reactor in memory for functions in threads: its time is a Clock's, and what the threads ask of it is done when the
test says so. Nothing here sleeps: the test waits for a thread's next request, and no longer than C{PATIENCE}.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.handlers.blocking import BlockingStream
from mytls.handlers.stream import StreamProtocol, ThreadFactory
from tests.memory import Link

#: Seconds that a thread may take for anything.
PATIENCE = 20.0


class Loop(Clock):
    """A Clock that other threads may call."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def callFromThread(self, function: Callable[..., object], *arguments: Any, **words: Any) -> None:
        """See C{IReactorFromThreads}."""
        self._asked.put(lambda: function(*arguments, **words))

    def until(self, done: Callable[[], object], after: Callable[[], object] = lambda: None) -> None:
        """Do what threads ask for, until C{done}. @param after: called first, and after each"""
        after()
        while not done():
            try:
                self._asked.get(timeout=PATIENCE)()
            except Empty:
                raise AssertionError("no thread asks for anything any more") from None
            self.advance(0)
            after()


class Factory(ThreadFactory):
    """
    Tells the test what its threads do.

    @ivar protocols: as made
    @ivar waits: a number for each time that a function has begun to wait
    @ivar returned: the outcomes of those functions that are through
    """

    def __init__(self, loop: Loop, function: Callable[..., Any], most: int) -> None:
        super().__init__(loop, function, most)
        self.protocols: list[StreamProtocol] = []
        self.waits = 0
        self.returned: list[Any] = []

    def buildProtocol(self, addr: Any) -> Any:
        built: Any = super().buildProtocol(addr)
        self.protocols.append(built)
        tell = built.returned

        def returned(failure: Any) -> None:
            self.returned.append(failure)
            tell(failure)

        built.returned = returned
        return built

    def new_stream(self, transport: Any) -> BlockingStream:
        stream = super().new_stream(transport)
        wait = stream._changed.wait

        def counted(timeout: float | None = None) -> bool:
            self.reactor.callFromThread(self._waits)
            return wait(timeout)

        stream._changed.wait = counted  # type: ignore[method-assign]  # a test looks on
        return stream

    def _waits(self) -> None:
        self.waits += 1


class Served:
    """
    Clients of a plain function, each over a link in memory.

    @ivar loop: the reactor
    @ivar factory: what `serve:` makes
    """

    def __init__(self, function: Callable[..., Any], most: int = 5) -> None:
        self.loop = Loop()
        self.factory = Factory(self.loop, function, most)
        self.links: list[Link] = []

    def connect(self, **words: Any) -> Link:
        """A new client, after its handshake."""
        link = Link(handler=self.factory, clock=self.loop, **words)
        self.links.append(link)
        link.handshake()
        return link

    def pump(self) -> None:
        """Carry bytes, for each client."""
        for link in self.links:
            link.pump()

    def until(self, done: Callable[[], object]) -> None:
        """Let threads, loop and clients go on, until C{done}."""
        self.loop.until(done, self.pump)

    def until_returned(self, count: int = 1) -> None:
        """Until so many functions are through."""
        self.until(lambda: len(self.factory.returned) >= count)

    def until_waiting(self, count: int = 1) -> None:
        """Until a function waits for the so-manieth time."""
        self.until(lambda: self.factory.waits >= count)


class ThreadTestCase(SynchronousTestCase):
    """Serves plain functions, and ends with no thread left."""

    def serve(self, function: Callable[..., Any], most: int = 5) -> Served:
        """Clients to come will meet this function."""
        served = Served(function, most)
        self.addCleanup(self._finish, served)
        return served

    def _finish(self, served: Served) -> None:
        for link in served.links:
            link.reset()
        for thread in threading.enumerate():
            if thread.name == "mytls-serve":
                thread.join(PATIENCE)
                self.assertFalse(thread.is_alive(), "a function is stuck")
