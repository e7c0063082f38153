"""A reactor for real processes: its time is a Clock's, and it looks at descriptors when the test says so."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure

#: Seconds that a process may take for anything.
PATIENCE = 20.0


class Pump(Clock):
    """
    A Clock with descriptors, and events that come once.

    @ivar readers: what is read from
    @ivar writers: what is written to
    @ivar triggers: what is done at the end
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.triggers: list[tuple[str, str, Callable[[], object]]] = []

    def addReader(self, reader: Any) -> None:
        """See C{IReactorFDSet}."""
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        """See C{IReactorFDSet}."""
        self.readers.discard(reader)

    def addWriter(self, writer: Any) -> None:
        """See C{IReactorFDSet}."""
        self.writers.add(writer)

    def removeWriter(self, writer: Any) -> None:
        """See C{IReactorFDSet}."""
        self.writers.discard(writer)

    def callWhenRunning(self, call: Callable[[], object]) -> None:
        """See C{IReactorCore}: it runs."""
        call()

    def addSystemEventTrigger(self, phase: str, event: str, call: Callable[[], object]) -> Any:
        """See C{IReactorCore}."""
        self.triggers.append((phase, event, call))
        return self.triggers[-1]

    def removeSystemEventTrigger(self, trigger: Any) -> None:
        """See C{IReactorCore}."""
        self.triggers.remove(trigger)

    def until(self, done: Callable[[], object]) -> None:
        """Read and write what can be, until C{done}."""
        while not done():
            readable, writable, _ = select.select(self.readers, self.writers, [], PATIENCE)
            assert readable or writable, "nothing happens any more"
            for each in readable:
                if each in self.readers:
                    self._ended(each, each.doRead())
            for each in writable:
                if each in self.writers:
                    self._ended(each, each.doWrite())

    def _ended(self, descriptor: Any, why: Any) -> None:
        if why:
            self.removeReader(descriptor)
            self.removeWriter(descriptor)
            descriptor.connectionLost(Failure(why))
