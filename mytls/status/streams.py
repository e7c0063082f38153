"""
Samples as they are taken, to browsers (server-sent events, WHATWG HTML section 9.2).

Who does not read is left out until he does, and let go when that lasts; of too many the oldest has to go.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IPushProducer, IReactorTime
from zope.interface import implementer

from mytls.guards.deadlines import Deadline
from mytls.status.samples import Samples

#: How many there may be at the same time, and seconds that one may be unread.
MOST, PATIENCE = 16, 10.0


class Streams:
    """The requests that hear samples."""

    def __init__(self, clock: IReactorTime, samples: Samples, most: int = MOST) -> None:
        self.samples = samples
        self.unread = Deadline(clock, PATIENCE)
        self._most = most
        self._open: dict[_Stream, None] = {}

    def begin(self, request: Any) -> None:
        """Tell this request what was, and from now on what is. @param request: its headers are set"""
        stream = _Stream(self, request)
        request.notifyFinish().addBoth(lambda _: self._ended(stream))
        self._open[stream] = None
        stream.begin()
        while len(self._open) > self._most:
            next(iter(self._open)).end()

    def end(self) -> None:
        """That was all, for all of them."""
        for stream in tuple(self._open):
            stream.end()

    def _ended(self, stream: _Stream) -> None:
        self._open.pop(stream, None)
        self.samples.forget(stream.hear)
        self.unread.stop(stream)


@implementer(IPushProducer)
class _Stream:
    """One of them."""

    def __init__(self, streams: Streams, request: Any) -> None:
        self._streams = streams
        self._request = request
        self._reads = True

    def begin(self) -> None:
        self._request.registerProducer(self, True)
        self._request.write(b"retry: 3000\n\n")
        self._say(b"history", self._streams.samples.history())
        self._streams.samples.tell(self.hear)

    def hear(self, sample: bytes) -> None:
        """Tell of a sample. One that comes while nobody reads is lost to him: a count tells what was in between."""
        if self._reads:
            self._say(b"sample", sample)

    def end(self) -> None:
        self._request.unregisterProducer()
        self._request.finish()

    def pauseProducing(self) -> None:
        """It is not read."""
        self._reads = False
        self._streams.unread.start(self, self._request.abort)

    def resumeProducing(self) -> None:
        """It is read again."""
        self._reads = True
        self._streams.unread.stop(self)

    def stopProducing(self) -> None:
        """The connection is lost; the request hears of it too."""

    def _say(self, event: bytes, data: bytes) -> None:
        self._request.write(b"event: " + event + b"\ndata: " + data + b"\n\n")
