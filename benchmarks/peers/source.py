"""The handler of the bulk download, for Twisted and mytls: sends for as long as the transport takes it.

A few chunks a turn: a transport that writes at once and has a fast client never says stop, and the first
connection would starve the others.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

CHUNK = bytes(65536)
CHUNKS_A_TURN = 8


@implementer(IPushProducer)
class Sender(Protocol):
    transport: Any
    paused = False
    scheduled = False

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)
        self.send()

    def send_soon(self) -> None:
        if not self.scheduled:
            self.scheduled = True
            reactor.callLater(0, self.send)

    def send(self) -> None:
        self.scheduled = False
        for _ in range(CHUNKS_A_TURN):
            if self.paused:
                return
            self.transport.write(CHUNK)
        self.send_soon()

    def resumeProducing(self) -> None:
        self.paused = False
        self.send_soon()

    def pauseProducing(self) -> None:
        self.paused = True

    def stopProducing(self) -> None:
        self.paused = True


class Source(Factory):
    protocol = Sender
    noisy = False
