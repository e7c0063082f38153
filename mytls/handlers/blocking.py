"""
The connstream of a plain function in a thread: every call may wait.

One lock guards the inbox and the outbox; the event loop meets one or more threads there. A thread never touches the
transport: it leaves what it sends in the outbox, and asks the event loop for the rest.

What a function is ahead of its peer is bounded. What it has sent counts as C{ahead} until the transport has room for
more; from L{OUTBOX_SIZE} on the next C{send} waits.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from mytls.handlers.connstream import Operation, recv_buffer, recv_size, send_buffer
from mytls.handlers.inbox import INBOX_SIZE, OUTBOX_SIZE, Stream


class BlockingStream(Stream):
    """A C{ssl.SSLSocket}, as far as a function in a thread can see."""

    _changed: threading.Condition

    def __init__(self, transport: Any, from_thread: Callable[..., object]) -> None:
        """
        @param transport: belongs to the event loop
        @param from_thread: C{reactor.callFromThread}
        """
        super().__init__(transport, threading.Condition(), from_thread)
        self._outbox = bytearray()
        self._ahead = 0

    # --- on the event loop

    def lost(self, error: OSError | None) -> None:
        """The connection is gone, and what was not sent with it."""
        with self._changed:
            self._outbox.clear()
            super().lost(error)

    def writable(self, now: bool) -> None:
        """The transport holds too much, or has room again."""
        with self._changed:
            if now:
                self._ahead = len(self._outbox)
            super().writable(now)

    def _send_outbox(self) -> None:
        with self._changed:
            data = bytes(self._outbox)
            self._outbox.clear()
        self._transport.write(data)
        if not self._full:
            self.writable(True)

    # --- in the thread

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """At least one byte and at most C{buflen}; C{b""} when the client is finished."""
        size = recv_size(buflen, flags)
        with self._changed:
            self._check_open()
            if size == 0:
                return b""
            self._wait("read", lambda: self._inbox.ready)
            return self._take(size)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """As C{recv}, into a buffer. @return: how many bytes"""
        view = recv_buffer(buffer, nbytes)
        data = self.recv(len(view), flags)
        view[: len(data)] = data
        return len(data)

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """As C{SSLSocket.read}."""
        return self.recv(len) if buffer is None else self.recv_into(buffer, len)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send some of it. @return: how much"""
        view = send_buffer(data, flags)
        with self._changed:
            self._check_open()
            if not view:
                return 0
            self._wait("write", lambda: self._ahead < OUTBOX_SIZE or self._finished or self._lost)
            self._check_writable()
            piece = view[: OUTBOX_SIZE - self._ahead]
            if not self._outbox:
                self._on_loop(self._send_outbox)
            self._outbox += piece
            self._ahead += len(piece)
            return len(piece)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of it."""
        view = send_buffer(data, flags)
        self._check_open()
        while view:
            view = view[self.send(view) :]

    def write(self, data: Any) -> int:
        """As C{SSLSocket.write}."""
        return self.send(data)

    def unwrap(self) -> BlockingStream:
        """
        Exchange close_notify with the peer. What is left can only be closed: the socket is the service's.

        @raise ssl.SSLEOFError: the peer has ended without close_notify
        """
        self.shutdown(socket.SHUT_WR)
        while self.recv(INBOX_SIZE):
            pass
        self._check_goodbye()
        return self

    def __enter__(self) -> BlockingStream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _wait(self, operation: Operation, ready: Callable[[], bool]) -> None:
        """Wait, with the lock, until C{ready}; see C{settimeout}."""
        timeout = self._timeout
        until = None if timeout is None else time.monotonic() + timeout
        while not ready():
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                raise self._too_late(operation, timeout)
            self._changed.wait(left)
            self._check_open()
