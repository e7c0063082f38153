"""Clients: programs that a person would use, Python's own, and OpenSSL played by hand."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from OpenSSL import SSL

from tests.live.processes import PATIENCE, environment


def converse(words: Sequence[str], say: bytes, until: bytes, *, env: Mapping[str, str] | None = None) -> bytes:
    """
    Run a program, say something to it, and listen until it has said something.

    @return: all that it said
    """
    heard = b""
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment(**(env or {}))
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        too_long = threading.Timer(PATIENCE, process.kill)
        too_long.start()
        with suppress(BrokenPipeError):  # who is refused may be gone already, and has said why
            process.stdin.write(say)
            process.stdin.flush()
        try:
            while until not in heard:
                piece = os.read(process.stdout.fileno(), 65536)
                assert piece, f"{until!r} is not in {heard!r}"
                heard += piece
        finally:
            too_long.cancel()
            process.kill()
    return heard


def trusting(root: Path) -> ssl.SSLContext:
    """A client's context that trusts this CA and checks the name."""
    return ssl.create_default_context(cafile=os.fspath(root))


@contextmanager
def connected(port: int, context: ssl.SSLContext, host: str = "127.0.0.1") -> Iterator[ssl.SSLSocket]:
    """A TLS connection of Python's ssl module to localhost."""
    with secured(socket.create_connection((host, port), PATIENCE), context) as client:
        yield client


@contextmanager
def secured(plain: socket.socket, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    """A TLS connection over a connected socket; the end of a stream without close_notify is an error."""
    plain.settimeout(PATIENCE)
    with plain, context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) as client:
        yield client


def receive(client: socket.socket, size: int) -> bytes:
    """So many bytes."""
    data = b""
    while len(data) < size:
        piece = client.recv(size - len(data))
        assert piece, f"the end came after {data!r}"
        data += piece
    return data


def asks_and_hears(client: socket.socket, data: bytes) -> bool:
    """Whether an echo sends back just this."""
    client.sendall(data)
    return receive(client, len(data)) == data


class ByHand:
    """A TLS client whose bytes the test carries to the socket itself."""

    def __init__(self, port: int, context: SSL.Context, name: str = "localhost") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls = SSL.Connection(context)
        self._tls.set_tlsext_host_name(name.encode())
        self._tls.set_connect_state()
        self._handshake()
        self.hello = self._sent()

    def finish_handshake(self) -> None:
        """The ClientHello is sent: the rest, as any client does it."""
        while not self._handshake():
            self.socket.sendall(self._sent())
            self._hear()
        self.socket.sendall(self._sent())

    def asks_and_hears(self, data: bytes) -> bool:
        """Whether an echo sends back just this."""
        self._tls.send(data)
        self.socket.sendall(self._sent())
        while True:
            try:
                return self._tls.recv(65536) == data
            except SSL.WantReadError:
                self._hear()

    def close(self) -> None:
        """No goodbye."""
        self.socket.close()

    def _handshake(self) -> bool:
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            return False
        return True

    def _sent(self) -> bytes:
        try:
            return self._tls.bio_read(1 << 20)
        except SSL.WantReadError:
            return b""

    def _hear(self) -> None:
        data = self.socket.recv(65536)
        assert data, "the server closed the connection"
        self._tls.bio_write(data)


def client_context() -> SSL.Context:
    """A context for L{ByHand}, which verifies nothing."""
    return SSL.Context(SSL.TLS_METHOD)
