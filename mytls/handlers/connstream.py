"""
The connstream: what code written for the `ssl` documentation has in its hands.

Three faces on one thing. L{BlockingStream<mytls.handlers.blocking.BlockingStream>} is for a plain function in a
thread, L{AsyncStream<mytls.handlers.awaitable.AsyncStream>} for a coroutine on the event loop,
L{CallbackStream<mytls.handlers.callback.CallbackStream>} for a function that the event loop calls with each piece of
data. All have the surface of C{ssl.SSLSocket} (U{https://docs.python.org/3/library/ssl.html#ssl-sockets}), and its
errors: C{TimeoutError} (C{socket.timeout}) where a time set by C{settimeout} is over, C{ConnectionResetError} and
C{BrokenPipeError} where the peer is gone, C{ssl.SSLWantReadError} where a non-blocking one has nothing.

An error that is the peer's doing carries its connstream with it, so that one which a function lets through is told
from the function's own, such as a backend's C{ConnectionRefusedError}.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, Literal

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from mytls.peer import Peer
from mytls.tls.ssldict import as_ssl_dict

Operation = Literal["read", "write"]


class Connstream:
    """
    What every connstream can tell of its connection, its files, and its end.

    @ivar peer: the other side, verified (L{Peer})
    @ivar server_hostname: the name that the client asked for, or None
    @ivar server_side: True
    @ivar suppress_ragged_eofs: whether the end of a stream without close_notify reads as C{b""}, as the ssl module
        does by default, or raises C{ssl.SSLEOFError}
    """

    server_side = True
    suppress_ragged_eofs = True
    recv_into: Callable[..., Any]
    send: Callable[..., Any]

    def __init__(self, transport: Any) -> None:
        self.peer: Peer = getattr(transport, "peer", None) or Peer(transport.getPeer())
        self.server_hostname = self.peer.server_name
        self._transport = transport
        self._names = _sockname(transport.getPeer()), _sockname(transport.getHost())
        self._timeout = socket.getdefaulttimeout()
        self._let_go = False
        self._closed = False
        self._finished = False
        self._lost = False
        self._io_refs = 0  # socket.makefile counts its files here

    @property
    def draining(self) -> bool:
        """Whether the service stops, and this conversation should come to its end."""
        return bool(getattr(self._transport, "draining", False))

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

    def compression(self) -> None:
        """TLS compression is never used."""

    def do_handshake(self, block: bool = False) -> None:
        """It is done."""

    def fileno(self) -> int:
        """The socket's descriptor, to tell connections apart by; -1 when closed. What it carries is ciphertext."""
        fileno = getattr(self._transport, "fileno", None)
        return -1 if self._closed or fileno is None else fileno()

    def settimeout(self, value: float | None) -> None:
        """How long a call may wait, in seconds: None for ever, 0 not at all. A call that waits already is let wait."""
        if value is not None and not 0 <= value <= threading.TIMEOUT_MAX:
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

    def makefile(self, *arguments: Any, **words: Any) -> Any:
        """A file on the connection, as C{socket.makefile}. It keeps the connection open until it is closed too."""
        make: Callable[..., Any] = socket.socket.makefile  # it needs no more of a socket than is here
        return make(self, *arguments, **words)

    def close(self) -> None:
        """Finish: what was sent is delivered, then close_notify; a file made by C{makefile} keeps it open."""
        self._let_go = True
        if not self._io_refs and not self._closed:
            self._really_close()

    def detach(self) -> int:
        """Not to be had: the socket is the service's."""
        raise io.UnsupportedOperation("the socket of a mytls connection cannot be detached")

    def is_to_blame(self, error: BaseException | None) -> bool:
        """
        Whether this connection's peer has brought the error about: it went away, or was too slow for a time that the
        function has set, by C{settimeout} or by asyncio's means.
        """
        cause = error.__cause__ if isinstance(error, TimeoutError) else None
        return any(getattr(each, "connstream", None) is self for each in (error, cause))

    def _blamed(self, error: BaseException) -> BaseException:
        error.connstream = self  # type: ignore[attr-defined]  # an exception has room for what is said of it
        return error

    def _decref_socketios(self) -> None:
        """C{socket.SocketIO} calls this when a file is closed."""
        self._io_refs = max(self._io_refs - 1, 0)
        if self._let_go:
            self.close()

    def _really_close(self) -> None:
        raise NotImplementedError

    def _check_open(self) -> None:
        if self._closed:
            raise failed(errno.EBADF)

    def _check_writable(self) -> None:
        if self._finished:
            raise failed(errno.EPIPE)
        if self._lost:
            raise self._blamed(failed(errno.EPIPE))


def failed(number: int) -> OSError:
    """The system's error of this number, as the subclass that it has."""
    return OSError(number, os.strerror(number))


def would_wait(operation: Operation) -> ssl.SSLError:
    """The ssl module's error for a call that may not wait, and would have to."""
    text = f"The operation did not complete ({operation})"
    if operation == "read":
        return ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, text)
    return ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, text)


def check_how(how: int) -> None:
    """What C{socket.shutdown} takes."""
    if how not in (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR):
        raise failed(errno.EINVAL)


def recv_size(size: int, flags: int) -> int:
    """What C{SSLSocket.recv} takes for a size."""
    if flags:
        raise ValueError("non-zero flags not allowed in calls to recv()")
    if size < 0:
        raise ValueError("size should not be negative")
    return size


def recv_buffer(buffer: Any, size: int | None) -> memoryview:
    """The part of a buffer that C{SSLSocket.recv_into} fills."""
    view = memoryview(buffer).cast("B")
    if view.readonly:
        raise TypeError("a read-write bytes-like object is required")
    return view[:size] if size is not None and size > 0 else view


def send_buffer(data: Any, flags: int) -> memoryview:
    """What C{SSLSocket.send} takes, as bytes."""
    if flags:
        raise ValueError("non-zero flags not allowed in calls to send()")
    return memoryview(data).cast("B")


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
