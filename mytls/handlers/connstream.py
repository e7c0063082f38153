"""
The connstream: what code written for the `ssl` documentation has in its hands.

Three faces on one thing. L{BlockingStream} is for a plain function in a thread, L{AsyncStream} for a coroutine on the
event loop, L{CallbackStream} for a function that the event loop calls with each piece of data. All have the surface
of C{ssl.SSLSocket} (U{https://docs.python.org/3/library/ssl.html#ssl-sockets}), and its errors: C{TimeoutError}
(C{socket.timeout}) where a time set by C{settimeout} is over, C{ConnectionResetError} and C{BrokenPipeError} where the
peer is gone, C{ssl.SSLWantReadError} where a non-blocking one has nothing.

Between them and the transport stands the L{Mailbox}: what has come, and whether more may be written. Its sizes bound
what a connection holds.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from mytls.peer import Peer
from mytls.tls.certificates import as_ssl_dict

#: A connstream holds this much from a peer before it stops reading; what one read of a socket brings may come on top.
INBOX_SIZE = 64 * 1024
#: A thread may be this far ahead of the event loop with what it sends.
OUTBOX_SIZE = 64 * 1024


class Inbox:
    """
    What has come from the peer and was not taken yet.

    @ivar ended: the peer has said that it was finished, or is gone
    @ivar error: what to raise once all is taken, or None to return C{b""} for ever
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self.ended = False
        self.error: OSError | None = None

    def __len__(self) -> int:
        return len(self._data)

    def put(self, data: bytes) -> None:
        """More has come."""
        self._data += data

    @property
    def ready(self) -> bool:
        """Whether C{take} has an answer."""
        return bool(self._data) or self.ended

    def take(self, size: int) -> bytes:
        """At most C{size} bytes; C{b""} at the end."""
        if not self._data and self.error is not None:
            raise self.error
        data = bytes(self._data[:size])
        del self._data[:size]
        return data

    def drop(self) -> None:
        """Nobody wants what is here."""
        self._data.clear()


class Facts:
    """
    What a connstream can tell of its connection, from any thread.

    @ivar peer: the other side, verified (L{Peer})
    @ivar server_hostname: the name that the client asked for, or None
    @ivar server_side: True
    @ivar suppress_ragged_eofs: whether the end of a stream without close_notify reads as C{b""}, as the ssl module
        does by default, or raises C{ssl.SSLEOFError}
    """

    server_side = True
    suppress_ragged_eofs = True

    def __init__(self, transport: Any) -> None:
        self.peer: Peer = getattr(transport, "peer", None) or Peer(transport.getPeer())
        self.server_hostname = self.peer.server_name
        self._names = _sockname(transport.getPeer()), _sockname(transport.getHost())
        self._fileno: Callable[[], int] = getattr(transport, "fileno", lambda: -1)
        self._timeout: float | None = None
        self._closed = False
        self._io_refs = 0

    def getpeername(self) -> Any:
        """The peer's address, as C{socket.getpeername}."""
        return self._names[0]

    def getsockname(self) -> Any:
        """Our address, as C{socket.getsockname}."""
        return self._names[1]

    def getpeercert(self, binary_form: bool = False) -> Any:
        """The client's certificate as the ssl module shows it, or as DER; None where it has shown none."""
        certificate = self.peer.certificate
        if certificate is None:
            return None
        return certificate.public_bytes(Encoding.DER) if binary_form else as_ssl_dict(certificate)

    def cipher(self) -> tuple[str, str, int] | None:
        """The cipher suite, the TLS version and the number of secret bits."""
        peer = self.peer
        if peer.cipher is None or peer.version is None or peer.cipher_bits is None:
            return None
        return peer.cipher, peer.version, peer.cipher_bits

    def version(self) -> str | None:
        """The TLS version: C{"TLSv1.3"}."""
        return self.peer.version

    def selected_alpn_protocol(self) -> str | None:
        """The protocol agreed on by ALPN."""
        return self.peer.alpn

    def selected_npn_protocol(self) -> None:
        """NPN is no more."""
        return

    def compression(self) -> None:
        """TLS compression is never used."""
        return

    def fileno(self) -> int:
        """The socket's descriptor, to tell connections apart by; -1 when closed. What it carries is ciphertext."""
        return -1 if self._closed else self._fileno()

    def settimeout(self, value: float | None) -> None:
        """How long a call may wait, in seconds: None for ever, 0 not at all."""
        if value is not None and value < 0:
            raise ValueError("Timeout value out of range")
        self._timeout = value

    def gettimeout(self) -> float | None:
        """What C{settimeout} has set."""
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        """As C{settimeout(None)} or C{settimeout(0)}."""
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        """Whether calls may wait."""
        return self._timeout != 0

    def setsockopt(self, *option: Any) -> None:
        """Accepted and ignored: the socket is the service's."""

    def _check_open(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def _sockname(address: IAddress) -> Any:
    match address:
        case IPv4Address():
            return (address.host, address.port)
        case IPv6Address():
            return (address.host, address.port, address.flowInfo, address.scopeID)
        case UNIXAddress():
            return os.fsdecode(address.name or b"")
        case _:
            return ""


def check_size(size: int, flags: int) -> None:
    """What C{SSLSocket.recv} and C{send} refuse."""
    if flags:
        raise ValueError("non-zero flags not allowed on a TLS connection")
    if size < 0:
        raise ValueError("negative buffersize in recv")


def peer_gone(number: int = errno.EPIPE) -> OSError:
    """The error of a write to a peer that is gone: C{BrokenPipeError}."""
    return OSError(number, os.strerror(number))


def timed_out(operation: Literal["read", "write"]) -> TimeoutError:
    """The ssl module's error for a time that is over."""
    return TimeoutError(f"The {operation} operation timed out")


class _Files(Facts):
    """`makefile`, for those faces whose C{recv_into} and C{send} return at once or block."""

    recv_into: Callable[..., int]
    send: Callable[..., int]

    def makefile(
        self,
        mode: str = "r",
        buffering: int | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """A file on the connection, as C{socket.makefile}."""
        if not set(mode) <= {"r", "w", "b"} or not set(mode) & {"r", "w"}:
            raise ValueError(f"invalid mode {mode!r} (only r, w, b allowed)")
        raw = socket.SocketIO(self, "".join(each for each in "rw" if each in mode))  # type: ignore[arg-type]
        self._io_refs += 1
        size = io.DEFAULT_BUFFER_SIZE if buffering is None or buffering < 0 else buffering
        if size == 0:
            if "b" not in mode:
                raise ValueError("unbuffered streams must be binary")
            return raw
        buffered: Any
        if raw.readable() and raw.writable():
            buffered = io.BufferedRWPair(raw, raw, size)
        else:
            buffered = io.BufferedReader(raw, size) if raw.readable() else io.BufferedWriter(raw, size)
        if "b" in mode:
            return buffered
        text = io.TextIOWrapper(buffered, encoding, errors, newline, line_buffering=size == 1)
        text.mode = mode  # type: ignore[misc]
        return text

    def _decref_socketios(self) -> None:
        """C{socket.SocketIO} calls this when a file is closed."""
        self._io_refs = max(self._io_refs - 1, 0)
        if self._closed and not self._io_refs:
            self._really_close()

    def close(self) -> None:
        """Finish: what was sent is delivered, then close_notify; a file made by C{makefile} keeps it open."""
        self._closed = True
        if not self._io_refs:
            self._really_close()

    def _really_close(self) -> None:
        raise NotImplementedError


class BlockingStream(_Files):
    """
    For a plain function in a thread: every call may wait.

    The lock guards the inbox and the outbox; the event loop and one or more threads meet there.
    """

    def __init__(self, transport: Any, from_thread: Callable[..., object]) -> None:
        """
        @param transport: belongs to the event loop
        @param from_thread: C{reactor.callFromThread}
        """
        super().__init__(transport)
        self._transport = transport
        self._from_thread = from_thread
        self._changed = threading.Condition()
        self._inbox = Inbox()
        self._outbox: list[bytes] = []
        self._ahead = 0
        self._paused = False
        self._full = False
        self._write_error: OSError | None = None
        self._done = False

    # --- on the event loop

    def received(self, data: bytes) -> None:
        """Data has come."""
        with self._changed:
            self._inbox.put(data)
            if len(self._inbox) >= INBOX_SIZE and not self._paused:
                self._paused = True
                self._transport.pauseProducing()
            self._changed.notify_all()

    def peer_finished(self) -> None:
        """The peer's close_notify."""
        with self._changed:
            self._inbox.ended = True
            self._changed.notify_all()

    def lost(self, error: OSError | None) -> None:
        """The connection is gone. @param error: what a read raises when all is taken; None reads as the end"""
        with self._changed:
            if not self._inbox.ended:
                self._inbox.ended = True
                self._inbox.error = error
            self._write_error = self._write_error or peer_gone()
            self._outbox.clear()
            self._changed.notify_all()

    def writable(self, now: bool) -> None:
        """The transport holds too much, or has room again."""
        with self._changed:
            self._full = not now
            if now:
                self._ahead = sum(map(len, self._outbox))
                self._changed.notify_all()

    def _send_outbox(self) -> None:
        with self._changed:
            pieces, self._outbox = self._outbox, []
        self._transport.write(b"".join(pieces))
        if not self._full:
            self.writable(True)

    def finish(self) -> None:
        """The function has returned."""
        self._closed = True
        if not self._done:
            self._done = True
            self._transport.unregisterProducer()
            self._transport.loseConnection()

    # --- in the thread

    def recv(self, bufsize: int = 1024, flags: int = 0) -> bytes:
        """At least one byte and at most C{bufsize}; C{b""} when the client is finished."""
        check_size(bufsize, flags)
        self._check_open()
        with self._changed:
            if bufsize == 0:
                return b""
            self._wait(lambda: self._inbox.ready, "read")
            error = self._inbox.error
            if isinstance(error, ssl.SSLEOFError) and self.suppress_ragged_eofs:
                self._inbox.error = None
            data = self._inbox.take(bufsize)
            if self._paused and len(self._inbox) < INBOX_SIZE // 2:
                self._paused = False
                self._from_thread(self._transport.resumeProducing)
        return data

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """As C{recv}, into a buffer. @return: how many bytes"""
        view = memoryview(buffer).cast("B")
        data = self.recv(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data)

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """As C{SSLSocket.read}."""
        return self.recv(len) if buffer is None else self.recv_into(buffer, len)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send some of it. @return: how much"""
        check_size(0, flags)
        view = memoryview(data).cast("B")
        self._check_open()
        with self._changed:
            self._wait(lambda: self._ahead < OUTBOX_SIZE or self._write_error is not None, "write")
            if self._write_error is not None:
                raise self._write_error
            piece = bytes(view[: OUTBOX_SIZE - self._ahead])
            self._ahead += len(piece)
            self._outbox.append(piece)
            if len(self._outbox) == 1:
                self._from_thread(self._send_outbox)
        return len(piece)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of it."""
        view = memoryview(data).cast("B")
        sent = 0
        while sent < len(view):
            sent += self.send(view[sent:], flags)

    def write(self, data: Any) -> int:
        """As C{SSLSocket.write}."""
        return self.send(data)

    def pending(self) -> int:
        """How many bytes can be read without waiting."""
        with self._changed:
            return len(self._inbox)

    def shutdown(self, how: int) -> None:
        """End one direction or both: C{socket.SHUT_RD}, C{SHUT_WR} (our close_notify), C{SHUT_RDWR}."""
        self._check_open()
        with self._changed:
            if how in (socket.SHUT_RD, socket.SHUT_RDWR):
                self._inbox.drop()
                self._inbox.ended, self._inbox.error = True, None
            if how in (socket.SHUT_WR, socket.SHUT_RDWR):
                self._write_error = self._write_error or peer_gone()
                self._from_thread(self._transport.loseWriteConnection)
            self._changed.notify_all()

    def unwrap(self) -> BlockingStream:
        """Exchange close_notify with the peer. What is left can only be closed: the socket is the service's."""
        self._check_open()
        with self._changed:
            self._write_error = self._write_error or peer_gone()
        self._from_thread(self._transport.loseWriteConnection)
        while self.recv(OUTBOX_SIZE):
            pass
        return self

    def detach(self) -> int:
        """Not to be had: the socket is the service's."""
        raise io.UnsupportedOperation("the socket of a mytls connection cannot be detached")

    def __enter__(self) -> BlockingStream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _really_close(self) -> None:
        with self._changed:
            self._changed.notify_all()
        self._from_thread(self.finish)

    def _wait(self, ready: Callable[[], bool], operation: Literal["read", "write"]) -> None:
        """Wait, holding the lock, until C{ready}; see C{settimeout}."""
        timeout = self._timeout
        if ready():
            return
        if timeout == 0:
            raise ssl.SSLWantReadError("no data yet") if operation == "read" else ssl.SSLWantWriteError("no room yet")
        until = None if timeout is None else time.monotonic() + timeout
        while not ready():
            if self._closed:
                self._check_open()
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                raise timed_out(operation)
            self._changed.wait(left)


class CallbackStream(_Files):
    """For a plain function that the event loop calls with each piece: writes are queued, reads never wait."""

    def __init__(self, transport: Any) -> None:
        super().__init__(transport)
        self._transport = transport
        self._timeout = 0.0

    def recv(self, bufsize: int = 1024, flags: int = 0) -> bytes:
        """Never has anything: what comes next is given to the next call of the function."""
        check_size(bufsize, flags)
        self._check_open()
        raise ssl.SSLWantReadError("the next piece comes with the next call; use serve: to read by yourself")

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """As C{recv}."""
        self.recv(1, flags)
        return 0

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """As C{recv}."""
        return self.recv(len)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send it. @return: its length"""
        check_size(0, flags)
        self._check_open()
        if self._transport.disconnecting:
            raise peer_gone()
        view = memoryview(data).cast("B")
        self._transport.write(bytes(view))
        return len(view)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send it."""
        self.send(data, flags)

    def write(self, data: Any) -> int:
        """As C{SSLSocket.write}."""
        return self.send(data)

    def pending(self) -> int:
        """Nothing can be read."""
        return 0

    def shutdown(self, how: int) -> None:
        """C{socket.SHUT_RDWR} finishes; C{SHUT_WR} sends our close_notify; C{SHUT_RD} reads no more."""
        self._check_open()
        if how == socket.SHUT_RD:
            self._transport.pauseProducing()
        elif how == socket.SHUT_WR:
            self._transport.loseWriteConnection()
        else:
            self._transport.loseConnection()

    def unwrap(self) -> CallbackStream:
        """Finish."""
        self._transport.loseConnection()
        return self

    def _really_close(self) -> None:
        self._transport.loseConnection()


class AsyncStream(Facts):
    """
    For a coroutine on the event loop: whatever may wait is awaited.

    One coroutine reads at a time, and one writes; that may be the same one, or two.
    """

    def __init__(self, transport: Any, clock: Any, new_waiter: Callable[[], Any]) -> None:
        """
        @param transport: the connection's
        @param clock: provides C{IReactorTime}
        @param new_waiter: makes something to await that has a C{wake} method (L{mytls.handlers.stream})
        """
        super().__init__(transport)
        self._transport = transport
        self._clock = clock
        self._new_waiter = new_waiter
        self._inbox = Inbox()
        self._paused = False
        self._full = False
        self._write_error: OSError | None = None
        self._waiters: dict[str, Any] = {}

    # --- what the protocol tells

    def received(self, data: bytes) -> None:
        """Data has come."""
        self._inbox.put(data)
        if len(self._inbox) >= INBOX_SIZE and not self._paused:
            self._paused = True
            self._transport.pauseProducing()
        self._wake("read")

    def peer_finished(self) -> None:
        """The peer's close_notify."""
        self._inbox.ended = True
        self._wake("read")

    def lost(self, error: OSError | None) -> None:
        """The connection is gone."""
        if not self._inbox.ended:
            self._inbox.ended = True
            self._inbox.error = error
        self._write_error = self._write_error or peer_gone()
        self._wake("read")
        self._wake("write")

    def writable(self, now: bool) -> None:
        """The transport holds too much, or has room again."""
        self._full = not now
        if now:
            self._wake("write")

    def finish(self) -> None:
        """The coroutine is done."""
        self.close()

    # --- what the coroutine calls

    async def recv(self, bufsize: int = 1024, flags: int = 0) -> bytes:
        """At least one byte and at most C{bufsize}; C{b""} when the client is finished."""
        check_size(bufsize, flags)
        self._check_open()
        if bufsize == 0:
            return b""
        if not self._inbox.ready:
            await self._wait("read", lambda: self._inbox.ready or self._closed)
            self._check_open()
        if isinstance(self._inbox.error, ssl.SSLEOFError) and self.suppress_ragged_eofs:
            self._inbox.error = None
        data = self._inbox.take(bufsize)
        if self._paused and len(self._inbox) < INBOX_SIZE // 2:
            self._paused = False
            self._transport.resumeProducing()
        return data

    async def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """As C{recv}, into a buffer. @return: how many bytes"""
        view = memoryview(buffer).cast("B")
        data = await self.recv(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data)

    async def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """As C{SSLSocket.read}."""
        return await (self.recv(len) if buffer is None else self.recv_into(buffer, len))

    async def send(self, data: Any, flags: int = 0) -> int:
        """Send it all, and wait until there is room for more. @return: its length"""
        check_size(0, flags)
        view = memoryview(data).cast("B")
        self._check_open()
        await self._room()
        self._transport.write(bytes(view))
        if self._full:
            await self._room()
        return len(view)

    async def sendall(self, data: Any, flags: int = 0) -> None:
        """As C{send}."""
        await self.send(data, flags)

    async def write(self, data: Any) -> int:
        """As C{SSLSocket.write}."""
        return await self.send(data)

    def pending(self) -> int:
        """How many bytes can be read without waiting."""
        return len(self._inbox)

    def shutdown(self, how: int) -> None:
        """End one direction or both; see L{BlockingStream.shutdown}."""
        self._check_open()
        if how in (socket.SHUT_RD, socket.SHUT_RDWR):
            self._inbox.drop()
            self._inbox.ended, self._inbox.error = True, None
            self._wake("read")
        if how in (socket.SHUT_WR, socket.SHUT_RDWR):
            self._write_error = self._write_error or peer_gone()
            self._transport.unregisterProducer()
            self._transport.loseWriteConnection()

    async def unwrap(self) -> AsyncStream:
        """Exchange close_notify with the peer; what is left can only be closed."""
        self.shutdown(socket.SHUT_WR)
        while await self.recv(INBOX_SIZE):
            pass
        return self

    def makefile(self, *arguments: Any, **words: Any) -> Any:
        """Files block; a coroutine awaits C{recv} and C{sendall}."""
        raise io.UnsupportedOperation("makefile blocks; await recv and sendall, or use a plain function with serve:")

    def close(self) -> None:
        """Finish: what was sent is delivered, then close_notify."""
        if not self._closed:
            self._closed = True
            self._transport.unregisterProducer()
            self._transport.loseConnection()
            self._wake("read")
            self._wake("write")

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.close()

    async def _room(self) -> None:
        if self._full and self._write_error is None:
            await self._wait("write", lambda: not self._full or self._write_error is not None or self._closed)
            self._check_open()
        if self._write_error is not None:
            raise self._write_error

    async def _wait(self, operation: Literal["read", "write"], ready: Callable[[], bool]) -> None:
        if operation in self._waiters:
            raise RuntimeError(f"another coroutine waits for a {operation} on this connstream")
        if self._timeout == 0:
            raise ssl.SSLWantReadError("no data yet") if operation == "read" else ssl.SSLWantWriteError("no room yet")
        waiter = self._waiters[operation] = self._new_waiter()
        timer = None if self._timeout is None else self._clock.callLater(self._timeout, self._wake, operation)
        try:
            await waiter.wait()
        finally:
            self._waiters.pop(operation, None)
            if timer is not None and timer.active():
                timer.cancel()
        if not ready():
            raise timed_out(operation)

    def _wake(self, operation: str) -> None:
        waiter = self._waiters.pop(operation, None)
        if waiter is not None:
            waiter.wake()
