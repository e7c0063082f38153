"""HTTP of the status service: a request as it came, without its body, and the answer to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http

#: Bytes of a body: what is passed over, and what nobody waits for the end of.
PASSED_OVER, MOST_BODY = 1024, 64 * 1024

TEXT, JSON = "text/plain; charset=utf-8", "application/json"


@attrs.frozen
class Answer:
    """
    What is sent back.

    @ivar kind: its C{Content-Type}
    @ivar headers: others of its own
    """

    code: int
    kind: str
    content: bytes
    headers: Mapping[str, str] = attrs.field(factory=dict)

    @classmethod
    def json(cls, code: int, value: Any) -> Answer:
        """A value; whatever text is in it comes out as ASCII."""
        return cls(code, JSON, json.dumps(value).encode() + b"\n")

    @classmethod
    def lines(cls, code: int, *lines: str) -> Answer:
        """For a person."""
        return cls(code, TEXT, "".join(f"{line}\n" for line in lines).encode())

    @classmethod
    def error(cls, code: int, line: str, **headers: str) -> Answer:
        """What was wrong."""
        return attrs.evolve(cls.json(code, {"error": line}), headers=headers)


class Request(http.Request):
    """
    A request; its body is passed over.

    @ivar here: whether its client still waits for the answer
    """

    channel: Any
    here = True
    _body = 0

    def gotLength(self, length: int | None) -> None:
        """Nothing is kept of the body, in memory or in a file, however long it is said to be."""
        super().gotLength(0)

    def handleContentChunk(self, data: bytes) -> None:
        """Count it."""
        self._body += len(data)
        if self._body > MOST_BODY:
            self.abort()

    @property
    def too_long(self) -> bool:
        """Whether there was more of a body than anybody has a use for."""
        return self._body > PASSED_OVER

    def said(self, name: str) -> str | None:
        """A header; None where there is none. Said twice, none of them is to be believed: that is C{?}."""
        values = self.requestHeaders.getRawHeaders(name.encode())
        if values is None:
            return None
        return values[0].decode("latin-1").strip() if len(values) == 1 else "?"

    def process(self) -> None:
        """All of it has come."""
        self.notifyFinish().addBoth(self._over)
        self.channel.factory.serve(self)

    def answer(self, answer: Answer) -> None:
        """Send it, and finish; where nobody waits for it any more, do nothing."""
        if not self.here:
            return
        self.setResponseCode(answer.code)
        if answer.code not in http.NO_BODY_CODES:
            self.setHeader("Content-Type", answer.kind)
            self.setHeader("Content-Length", str(len(answer.content)))
        for name, value in answer.headers.items():
            self.setHeader(name, value)
        self.write(answer.content)
        self.finish()

    def abort(self) -> None:
        """End its connection at once."""
        if self.channel is not None:
            self.channel.abort()

    def _over(self, result: object) -> None:
        self.here = False


class Channel(http.HTTPChannel):
    """
    One connection, a request after the other: each in a turn of the reactor's own, and the next when the answer before
    it is read. Who sends thousands at once would have all of them in memory otherwise, and nobody else a turn.
    """

    requestFactory = Request
    transport: Any
    callLater: Any
    _ahead = b""
    _read = True

    def requestDone(self, request: Any) -> None:
        """A request is answered. What its client has sent ahead of that waits."""
        self.setTimeout(self.factory.timeOut)  # for who is answered for the last time, and does not read it, too
        self.paused = True  # so that it is kept, and looked at by nobody
        super().requestDone(request)
        self.paused = False
        self._ahead = self.clearLineBuffer()
        if self._ahead and self.persistent:
            self.transport.pauseProducing()
            self.callLater(0, self._go_on)

    def pauseProducing(self) -> None:
        """The answer is not read: read nothing either, not even what would only be kept."""
        self._read = False
        super().pauseProducing()
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """It is."""
        self._read = True
        super().resumeProducing()
        self._go_on()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nobody is there any more."""
        self._read = False
        super().connectionLost(reason)

    def resetTimeout(self) -> None:
        """That something has come buys no time: it may be a byte."""

    def timeoutConnection(self) -> None:
        """Nobody is told: it is how connections that are kept for the next request end."""
        self.abort()

    def abort(self) -> None:
        """End it at once."""
        self.transport.abortConnection()

    def _go_on(self) -> None:
        if not self._read:
            return
        ahead, self._ahead = self._ahead, b""
        if ahead:
            self.dataReceived(ahead)
        if not self._ahead and self._read:
            self.transport.resumeProducing()
