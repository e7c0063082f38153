"""Many connections that say much: every byte right, memory bounded."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import resource
import ssl
from collections.abc import Iterator

import pytest

from tests.live.authority import Certificates
from tests.live.clients import trusting
from tests.live.conftest import Serve

#: Connections that are open at the same time.
CONNECTIONS = 1000 if os.environ.get("MYTLS_LONG") else 200
MEBIBYTE = 1 << 20
#: What a connection may cost the server while it carries as much as it can: OpenSSL's buffers for the ciphertext of
#: each direction, which keep their largest size, the socket's queue, and Python's objects.
PER_CONNECTION = 300 * 1024


@pytest.fixture(autouse=True)
def _descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4 * CONNECTIONS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4 * CONNECTIONS, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Client(asyncio.Protocol):
    """Sends a mebibyte in pieces of random sizes, and hashes what comes back."""

    def __init__(self, number: int, data: bytes) -> None:
        self._random = random.Random(number)
        # Each has bytes of its own, so that what belongs to another would be noticed.
        self._data = memoryview(b"%8d" % number + data)
        self._sent = 0
        self._may_write = True
        self._heard = hashlib.blake2b()
        self._expected = hashlib.blake2b(self._data).digest()
        self._count = 0
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def go_on(self) -> None:
        """Send until the transport has enough."""
        while self._may_write and self._sent < len(self._data):
            size = self._random.choice((1, 17, 1000, 16384, 16385, 65536, 200_000))
            piece = self._data[self._sent : self._sent + self._random.randint(1, size)]
            self._sent += len(piece)
            self.transport.write(piece)

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self.go_on()

    def data_received(self, data: bytes) -> None:
        self._heard.update(data)
        self._count += len(data)
        if self._count >= len(self._data):
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Only now is its socket closed, so nobody who waits for it leaves that behind."""
        if self._count >= len(self._data):
            self.done.set_result(self._heard.digest() == self._expected)
        else:
            self.done.set_exception(exc or EOFError(f"the end came after {self._count} bytes"))


async def all_talk(port: int, context: ssl.SSLContext) -> list[bool]:
    """All connect; then all talk at once. @return: for each, whether every byte was right"""
    data = random.Random(2).randbytes(MEBIBYTE - 8)
    loop = asyncio.get_running_loop()

    async def one(number: int) -> Client:
        made = await loop.create_connection(
            lambda: Client(number, data), "127.0.0.1", port, ssl=context, server_hostname="localhost"
        )
        return made[1]

    clients = await asyncio.gather(*map(one, range(CONNECTIONS)))
    for each in clients:
        each.go_on()
    return [await each.done for each in clients]


def test_many_connections_echo_a_mebibyte_each(certificates: Certificates, serve: Serve) -> None:
    """
    Open at the same time, in pieces of random sizes: every byte comes back right, and the server's memory grows by
    less than a bound for each connection.
    """
    with serve("--endpoint", certificates.ecdsa.endpoint(backlog="1024")) as server:
        before = server.peak_memory()
        right = asyncio.run(all_talk(server.port, trusting(certificates.root)))
        assert right == [True] * CONNECTIONS
        grown = server.peak_memory() - before
        assert grown < 20 * MEBIBYTE + CONNECTIONS * PER_CONNECTION, f"{grown // CONNECTIONS} bytes a connection"
        server.wait_for(rf"\] closed .* in={MEBIBYTE} out={MEBIBYTE} ", CONNECTIONS)
