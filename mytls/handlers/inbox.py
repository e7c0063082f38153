"""
Connstreams that their functions read from: what has come from the peer waits in an inbox, and its size bounds what a
connection holds. Here is what the event loop tells them; how their functions wait is each one's own.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from mytls.handlers.connstream import Connstream, Operation, check_how, would_wait

#: A connstream holds this much from a peer before it stops reading; what one read of a socket brings may come on top.
INBOX_SIZE = 64 * 1024
#: A function may be this far ahead of the event loop with what it sends.
OUTBOX_SIZE = 64 * 1024


class Inbox:
    """
    What has come from the peer and was not taken yet.

    @ivar ended: nothing more will come
    @ivar error: what to raise once all is taken, or None to return C{b""} for ever
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._paused = False
        self.ended = False
        self.error: OSError | None = None

    def __len__(self) -> int:
        return len(self._data)

    @property
    def ready(self) -> bool:
        """Whether C{take} has an answer."""
        return self.ended or bool(self._data)

    def put(self, data: bytes) -> bool:
        """More has come. @return: whether it was so much that reading has to be paused"""
        if self.ended:
            return False
        self._data += data
        if self._paused or len(self._data) < INBOX_SIZE:
            return False
        self._paused = True
        return True

    def take(self, size: int) -> bytes:
        """At most C{size} bytes; C{b""} at the end."""
        data = bytes(self._data[:size])
        del self._data[:size]
        return data

    def resumes(self) -> bool:
        """Whether reading was paused and is to go on now."""
        if not self._paused or len(self._data) >= INBOX_SIZE // 2:
            return False
        self._paused = False
        return True

    def end(self, error: OSError | None = None) -> None:
        """Nothing more will come; the first reason counts."""
        if not self.ended:
            self.ended, self.error = True, error

    def shut(self) -> None:
        """Nobody wants what is here, or what comes."""
        self._data.clear()
        self.ended, self.error = True, None


class Changed(AbstractContextManager[Any], Protocol):
    """What a waiting call waits on: the part of C{threading.Condition} that the event loop needs."""

    def notify_all(self) -> None:
        """Everyone looks again."""


class Stream(Connstream):
    """
    A connstream that its function reads from: what has come waits in the L{Inbox}.

    Everything here is told, or asked, under the lock C{changed}; only the event loop touches the transport.
    """

    def __init__(self, transport: Any, changed: Changed, on_loop: Callable[..., object]) -> None:
        """
        @param transport: the connection's
        @param changed: a C{threading.Condition}, or what stands for it where there is one thread
        @param on_loop: calls what it is given on the event loop, in turn
        """
        super().__init__(transport)
        self._changed = changed
        self._on_loop = on_loop
        self._inbox = Inbox()
        self._full = False

    # --- on the event loop

    def received(self, data: bytes) -> None:
        """Data has come."""
        with self._changed:
            if self._inbox.put(data):
                self._transport.pauseProducing()
            self._changed.notify_all()

    def peer_finished(self) -> None:
        """The peer's close_notify: it may still read."""
        with self._changed:
            self._inbox.end()
            self._changed.notify_all()

    def lost(self, error: OSError | None) -> None:
        """The connection is gone. @param error: what a read raises when all is taken; None reads as the end"""
        with self._changed:
            self._inbox.end(error)
            self._lost = True
            self._changed.notify_all()

    def writable(self, now: bool) -> None:
        """The transport holds too much, or has room again."""
        with self._changed:
            self._full = not now
            self._changed.notify_all()

    def finish(self) -> None:
        """The function is through with its client: what was sent is delivered, then close_notify."""
        self.disown()
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def disown(self) -> None:
        """Every call from here on fails, and every one that waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # --- in the function

    def pending(self) -> int:
        """How many bytes can be read without waiting."""
        with self._changed:
            return len(self._inbox)

    def shutdown(self, how: int) -> None:
        """
        End one direction or both.

        @param how: C{socket.SHUT_RD}: what comes is thrown away; C{SHUT_WR}: our close_notify is sent, and reading goes
            on; C{SHUT_RDWR}: the connection ends, once what was sent is delivered
        """
        check_how(how)
        with self._changed:
            self._check_open()
            if how != socket.SHUT_WR:
                self._inbox.shut()
            if how != socket.SHUT_RD:
                self._finished = True
            self._on_loop(self._end, how)
            self._changed.notify_all()

    def _end(self, how: int) -> None:
        transport = self._transport
        if how == socket.SHUT_RD:
            transport.resumeProducing()
            return
        transport.unregisterProducer()
        if how == socket.SHUT_WR:
            transport.loseWriteConnection()
        else:
            transport.loseConnection()

    def _take(self, size: int) -> bytes:
        """What has come; or how it has ended, each time it is asked."""
        error = self._inbox.error
        if error is not None and not len(self._inbox) and not self._suppressed(error):
            raise self._blamed(_again(error))
        data = self._inbox.take(size)
        if self._inbox.resumes():
            self._on_loop(self._transport.resumeProducing)
        return data

    def _suppressed(self, error: OSError) -> bool:
        return self.suppress_ragged_eofs and isinstance(error, ssl.SSLEOFError)

    def _check_goodbye(self) -> None:
        """After C{unwrap}: only the peer's own close_notify shows that nothing was cut off."""
        if self._inbox.error is not None:
            raise self._blamed(_again(self._inbox.error))

    def _too_late(self, operation: Operation, timeout: float | None) -> BaseException:
        return self._blamed(TimeoutError(f"The {operation} operation timed out")) if timeout else would_wait(operation)

    def _really_close(self) -> None:
        self.disown()
        self._on_loop(self.finish)


def _again(error: OSError) -> OSError:
    """The same error, new: one that is raised twice keeps the frames of both."""
    return type(error)(*error.args)
