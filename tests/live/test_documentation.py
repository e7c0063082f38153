"""The functions of the ssl documentation, as they are written there, serve many clients at the same time."""

from __future__ import annotations

import asyncio
import resource
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.authority import Certificates
from tests.live.clients import trusting
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE

CLIENTS = 500

#: https://docs.python.org/3/library/ssl.html#server-side-operation; the first is left to the reader there.
FUNCTIONS = """
def do_something(connstream, data):
    connstream.sendall(data.upper())
    return not data.endswith(b"bye")


def deal_with_client(connstream):
    data = connstream.recv(1024)
    # empty data means the client is finished with us
    while data:
        if not do_something(connstream, data):
            # we'll assume do_something returns False
            # when we're finished with client
            break
        data = connstream.recv(1024)
    # finished with client
"""


@pytest.fixture(autouse=True)
def _descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4 * CLIENTS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4 * CLIENTS, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Meeting:
    """A place where so many wait for each other."""

    def __init__(self, parties: int) -> None:
        self._left = parties
        self._all = asyncio.Event()

    async def wait(self) -> None:
        """Return when all are there."""
        self._left -= 1
        if not self._left:
            self._all.set()
        await self._all.wait()


async def client(port: int, context: ssl.SSLContext, number: int, secured: Meeting, heard: Meeting | None) -> bool:
    """One client: its handshake, two questions, and the server's goodbye."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    try:
        await secured.wait()
        writer.write(b"hello %d" % number)
        answer = await reader.readexactly(len(b"hello %d" % number))
        if heard is not None:
            await heard.wait()
        writer.write(b"good bye")
        goodbye = await reader.read()
    finally:
        writer.close()
    return (answer, goodbye) == (b"HELLO %d" % number, b"GOOD BYE")


async def all_clients(port: int, context: ssl.SSLContext, *, together: bool) -> list[bool]:
    """
    Every client; all handshakes are done before the first question.

    @param together: whether all have had an answer before the first says goodbye
    """
    secured, heard = Meeting(CLIENTS), Meeting(CLIENTS) if together else None
    clients = (client(port, context, number, secured, heard) for number in range(CLIENTS))
    return await asyncio.wait_for(asyncio.gather(*clients), PATIENCE * 2)


@pytest.mark.parametrize("handler", ["serve:app:deal_with_client", "call:app:do_something"])
def test_500_clients_are_served_at_the_same_time(
    certificates: Certificates, serve: Serve, module: Callable[[str, str], Path], handler: str
) -> None:
    """Each of 500 has had its first answer before any has said goodbye, and each gets its own bytes."""
    folder = module("app", FUNCTIONS)
    with serve("--endpoint", certificates.ecdsa.endpoint(), "--handler", handler, cwd=folder) as server:
        served = asyncio.run(all_clients(server.port, trusting(certificates.root), together=True))
        assert served == [True] * CLIENTS
        server.wait_for(r"\] closed .* clean", CLIENTS)
        assert "Traceback" not in server.log


def test_with_20_threads_500_clients_wait_their_turn_and_none_is_lost(
    certificates: Certificates, serve: Serve, module: Callable[[str, str], Path]
) -> None:
    """`--limits-max-threads 20` serves 500 connected clients twenty at a time."""
    counting = FUNCTIONS + COUNTING
    words = ["--handler", "serve:app:counted", "--limits-max-threads", "20"]
    with serve("--endpoint", certificates.ecdsa.endpoint(), *words, cwd=module("app", counting)) as server:
        served = asyncio.run(all_clients(server.port, trusting(certificates.root), together=False))
        assert served == [True] * CLIENTS
        server.wait_for(r"\] closed .* clean", CLIENTS)
        peaks = [int(each.rpartition(" ")[2]) for each in server.wait_for(r"running \d+", CLIENTS)]
        assert max(peaks) == 20
        assert "Traceback" not in server.log


COUNTING = """

import threading

running = 0
lock = threading.Lock()


def counted(connstream):
    global running
    with lock:
        running += 1
        print("running", running)
    try:
        deal_with_client(connstream)
    finally:
        with lock:
            running -= 1
"""
