"""`proxy:` between real sockets: every byte, every end, slow readers, backends that come and go."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import pytest
from OpenSSL import SSL

from tests.live.authority import Certificates
from tests.live.clients import connected, receive, trusting
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE, Running, until

LONG = bool(os.environ.get("MYTLS_LONG"))
MEBIBYTE = 1 << 20
#: How much goes each way.
VOLUME = (10 << 30) if LONG else 64 * MEBIBYTE
#: How much the proxy may grow by for one connection, whatever goes through it.
GROWTH = 16 * MEBIBYTE
#: How often a backend goes and comes back, and how many clients use it meanwhile.
FLAPS, CLIENTS = (1000, 50) if LONG else (15, 8)
#: Seconds that an answer takes when its question is over already.
ANSWER = 10.0 if LONG else 2.0

PLAIN = r"tcp:0:interface=127.0.0.1"

Talk = Callable[[socket.socket], object]


class Backend:
    """A server in this process: each connection has a thread. It can go and come back."""

    def __init__(self, talk: Talk, path: Path | None = None) -> None:
        """@param path: where its UNIX socket is; it has a TCP port, if left out"""
        self._talk = talk
        self._path = path
        self.port = 0
        self.come_back()

    def come_back(self) -> None:
        """Listen, on the same port as before."""
        if self._path is not None:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.bind(os.fspath(self._path))
            self._socket.listen(512)
        else:
            self._socket = socket.create_server(("127.0.0.1", self.port), backlog=512)
            self.port = self._socket.getsockname()[1]
        self._socket.settimeout(0.02)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def go(self) -> None:
        """Listen no more, once nobody waits to be accepted; who is served already still is."""
        if self._path is not None:
            self._path.unlink()
        self._socket.setblocking(False)
        self._thread.join()
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            except BlockingIOError:  # it goes, and nobody waits
                return
            connection.setblocking(True)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        with connection, suppress(OSError):
            self._talk(connection)


@contextmanager
def backend(talk: Talk, path: Path | None = None) -> Iterator[Backend]:
    """A backend until the end of the block."""
    made = Backend(talk, path)
    try:
        yield made
    finally:
        made.go()


@contextmanager
def proxy(serve: Serve, endpoint: str, *backends: str, deadline: str = "10s") -> Iterator[Running]:
    """A twistd that joins connections to these backends."""
    where = ("--endpoint", endpoint, "--handler", f"proxy:{','.join(backends)}", "--deadlines-connect", deadline)
    with serve(*where) as running:
        yield running


def plain(port: int) -> socket.socket:
    """A connection without TLS."""
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def rest(connection: Any) -> bytes:
    """Everything until the end."""
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


def echo(connection: socket.socket) -> None:
    """Says what it hears."""
    while data := connection.recv(65536):
        connection.sendall(data)


def reset(connection: socket.socket) -> None:
    """End it with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class HalfClosing:
    """A TLS client that can end its direction alone, which Python's ssl cannot."""

    def __init__(self, port: int) -> None:
        self.socket = plain(port)
        self.socket.settimeout(None)
        self._tls: Any = SSL.Connection(SSL.Context(SSL.TLS_METHOD), self.socket)
        self._tls.set_tlsext_host_name(b"localhost")
        self._tls.set_connect_state()
        self._tls.do_handshake()

    def sendall(self, data: bytes) -> None:
        self._tls.sendall(data)

    def end(self) -> None:
        """Our close_notify."""
        self._tls.shutdown()

    def recv(self, size: int) -> bytes:
        """As a socket's; a clean end is an empty answer, any other raises."""
        try:
            return self._tls.recv(size)  # type: ignore[no-any-return]
        except SSL.ZeroReturnError:
            return b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()


class HalfClosingPlain(HalfClosing):
    """The same without TLS."""

    def __init__(self, port: int) -> None:
        self.socket = self._tls = plain(port)

    def end(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)


def kinds(certificates: Certificates) -> dict[str, tuple[str, Callable[[int], HalfClosing]]]:
    """Where a proxy listens, and its clients."""
    return {"plain": (PLAIN, HalfClosingPlain), "tls": (certificates.ecdsa.endpoint(), HalfClosing)}


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_an_answer_that_takes_its_time(certificates: Certificates, serve: Serve, kind: str) -> None:
    """Who asks, ends its direction and waits gets the whole answer, piece by piece, and its end."""
    pieces = 20

    def answers(connection: socket.socket) -> None:
        asked = rest(connection)
        for number in range(pieces):
            time.sleep(ANSWER / pieces)
            connection.sendall(b"%s %d\n" % (asked, number))

    where, client_of = kinds(certificates)[kind]
    with (
        backend(answers) as server,
        proxy(serve, where, f"tcp:127.0.0.1:{server.port}") as running,
        client_of(running.port) as client,
    ):
        client.sendall(b"question")
        client.end()
        assert rest(client) == b"".join(b"question %d\n" % number for number in range(pieces))


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_a_backend_that_ends_first(certificates: Certificates, serve: Serve, kind: str) -> None:
    """A backend that has said all hears the rest of what its client says, to the end of it."""
    heard: list[bytes] = []

    def greets(connection: socket.socket) -> None:
        connection.sendall(b"greeting")
        connection.shutdown(socket.SHUT_WR)
        heard.append(rest(connection))

    where, client_of = kinds(certificates)[kind]
    with (
        backend(greets) as server,
        proxy(serve, where, f"tcp:127.0.0.1:{server.port}") as running,
        client_of(running.port) as client,
    ):
        assert rest(client) == b"greeting"
        for number in range(10):
            client.sendall(b"%d," % number)
        client.end()
        until(lambda: bool(heard), "the backend has heard the end")
        assert heard == [b"0,1,2,3,4,5,6,7,8,9,"]


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_a_backend_that_resets(certificates: Certificates, serve: Serve, kind: str) -> None:
    """Its reset is the client's: what the client got does not look whole."""

    def half(connection: socket.socket) -> None:
        connection.sendall(b"half an answ")
        assert receive(connection, 4) == b"more"
        reset(connection)

    where, client_of = kinds(certificates)[kind]
    with (
        backend(half) as server,
        proxy(serve, where, f"tcp:127.0.0.1:{server.port}") as running,
        client_of(running.port) as client,
    ):
        assert receive(client, 12) == b"half an answ"  # type: ignore[arg-type]  # it has what is needed of a socket
        client.sendall(b"more")
        with pytest.raises((ConnectionResetError, SSL.SysCallError)) as raised:
            client.recv(1)
        assert "104" in str(raised.value) or "reset" in str(raised.value)


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_a_client_that_resets(certificates: Certificates, serve: Serve, kind: str) -> None:
    """Its reset is the backend's."""
    ends: list[str] = []

    def listens(connection: socket.socket) -> None:
        connection.sendall(b"ready")
        try:
            ends.append(f"{rest(connection)!r}, and its end")
        except ConnectionResetError:
            ends.append("reset")

    where, client_of = kinds(certificates)[kind]
    with (
        backend(listens) as server,
        proxy(serve, where, f"tcp:127.0.0.1:{server.port}") as running,
        client_of(running.port) as client,
    ):
        client.sendall(b"half a questi")
        assert receive(client, 5) == b"ready"  # type: ignore[arg-type]  # likewise
        reset(client.socket)
        until(lambda: bool(ends), "the backend has heard the end")
        assert ends == ["reset"]


def test_much_each_way(certificates: Certificates, serve: Serve) -> None:
    """Every byte arrives, in both directions, and the proxy holds no more than a few."""
    piece = os.urandom(MEBIBYTE)
    expected = hashlib.sha256()
    for _ in range(VOLUME // MEBIBYTE):
        expected.update(piece)

    def digest(connection: socket.socket) -> None:
        found = hashlib.sha256()
        left = VOLUME
        while left:
            data = connection.recv(min(left, 262144))
            assert data
            found.update(data)
            left -= len(data)
        connection.sendall(found.digest())
        for _ in range(VOLUME // MEBIBYTE):
            connection.sendall(piece)

    with (
        backend(digest) as server,
        proxy(serve, certificates.ecdsa.endpoint(), f"tcp:127.0.0.1:{server.port}") as running,
        connected(running.port, trusting(certificates.root)) as client,
    ):
        before = running.peak_memory()
        for _ in range(VOLUME // MEBIBYTE):
            client.sendall(piece)
        assert receive(client, 32) == expected.digest()
        found, left = hashlib.sha256(), VOLUME
        while left:
            data = client.recv(min(left, 262144))
            assert data
            found.update(data)
            left -= len(data)
        assert found.digest() == expected.digest()
        assert running.peak_memory() - before < GROWTH


@pytest.mark.parametrize("slow", ["client", "backend"])
def test_a_slow_reader(certificates: Certificates, serve: Serve, slow: str) -> None:
    """Who is faster waits for who is slower: the proxy's memory does not grow, and all arrives."""
    total = 64 * MEBIBYTE
    sent, received = [0], [0]
    may_read = threading.Event()

    def send(connection: socket.socket) -> None:
        for _ in range(total // 65536):
            connection.sendall(bytes(65536))
            sent[0] += 65536

    def read(connection: socket.socket) -> None:
        may_read.wait(PATIENCE)
        while received[0] < total and (data := connection.recv(65536)):
            received[0] += len(data)

    def stalled() -> bool:
        before = sent[0]
        time.sleep(0.3)
        return before == sent[0] > 0

    with (
        backend(send if slow == "client" else read) as server,
        proxy(serve, certificates.ecdsa.endpoint(), f"tcp:127.0.0.1:{server.port}") as running,
        connected(running.port, trusting(certificates.root)) as client,
    ):
        before = running.peak_memory()
        ours = threading.Thread(target=read if slow == "client" else send, args=(client,), daemon=True)
        ours.start()
        until(stalled, "who is faster is stopped")
        assert sent[0] < total
        may_read.set()
        until(lambda: received[0] == total, "all has arrived")
        ours.join(PATIENCE)
        assert running.peak_memory() - before < GROWTH


@pytest.mark.parametrize("prefix", ["tls", "mytls"])
def test_plain_bytes_of_a_backend_that_should_speak_tls(serve: Serve, prefix: str) -> None:
    """They never reach the client, and what the client says never reaches such a backend."""
    heard: list[bytes] = []

    def says(connection: socket.socket) -> None:
        connection.sendall(b"220 mail.example ESMTP\r\n")
        with suppress(OSError):
            heard.append(rest(connection))

    with (
        backend(says) as server,
        proxy(serve, PLAIN, f"{prefix}:localhost:{server.port}") as running,
        plain(running.port) as client,
    ):
        client.sendall(b"secret")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        running.wait_for("no backend at")
    assert b"secret" not in b"".join(heard)


def test_failover(serve: Serve) -> None:
    """Where one backend is gone its clients are answered by the other, each of them."""
    with backend(echo) as one, backend(echo) as other:
        gone = other.port
        other.go()
        with proxy(serve, PLAIN, f"tcp:127.0.0.1:{gone}", f"tcp:127.0.0.1:{one.port}") as running:
            for _ in range(10):
                with plain(running.port) as client:
                    client.sendall(b"hello")
                    assert receive(client, 5) == b"hello"
        other.come_back()


def test_a_backend_that_flaps(serve: Serve, tmp_path: Path) -> None:
    """
    A backend that goes and comes back again and again costs none of its clients an answer.

    Its socket is one that can go without a reset for whom the system has accepted in this very moment.
    """
    path = tmp_path / "app.sock"
    answered, lost = [0], []
    over = threading.Event()

    def asks(port: int) -> None:
        while not over.is_set():
            try:
                with plain(port) as client:
                    client.sendall(b"hello")
                    assert receive(client, 5) == b"hello"
                    answered[0] += 1
            except (OSError, AssertionError) as error:
                lost.append(error)

    with (
        backend(echo, path) as server,
        proxy(serve, PLAIN, f"unix:{path}", deadline="20s") as running,
    ):
        before = running.peak_memory()
        clients = [threading.Thread(target=asks, args=(running.port,), daemon=True) for _ in range(CLIENTS)]
        for each in clients:
            each.start()
        for _ in range(FLAPS):
            seen = answered[0]
            until(lambda: answered[0] > seen, "somebody is answered")  # noqa: B023  # called in this turn
            server.go()
            server.come_back()
        over.set()
        for each in clients:
            each.join(PATIENCE)
        assert not any(each.is_alive() for each in clients)
        assert not lost
        assert running.peak_memory() - before < GROWTH
