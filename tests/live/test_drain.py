"""How it ends: who is there may finish, up to a deadline, and the exit status tells whether all have."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, connected, trusting
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE, Running

#: Answers every request in so many pieces, each some time after the one before.
SLOW = """
from twisted.internet import reactor
from twisted.internet.task import deferLater

async def slow(connstream):
    while await connstream.recv(100):
        for number in range(25):
            await connstream.sendall(b"%02d" % number)
            await deferLater(reactor, 0.1, lambda: None)
        await connstream.sendall(b"draining" if connstream.draining else b"on")

def polite(connstream, data):
    connstream.sendall(data)
    return not connstream.draining
"""
PIECES = b"".join(b"%02d" % number for number in range(25))


async def answers(port: int, context: ssl.SSLContext, count: int, begun: Callable[[], object]) -> list[bytes]:
    """
    So many clients that ask for something, hear all that is answered, and go.

    @param begun: called when each has heard some of it
    """
    streams = [await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
               for _ in range(count)]  # fmt: skip

    async def first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"go")
        return await reader.readexactly(2)

    async def rest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        answer = await reader.readexactly(len(PIECES) - 2 + len(b"draining"))
        writer.close()
        await writer.wait_closed()
        return answer

    heard = await asyncio.gather(*(first(*each) for each in streams))
    begun()
    more = await asyncio.gather(*(rest(*each) for each in streams))
    return [one + other for one, other in zip(heard, more, strict=True)]


def check_refused(port: int) -> None:
    """Nobody is let in, or waits to be."""
    end = time.monotonic() + 1
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        except ConnectionRefusedError:
            return
    pytest.fail("somebody still listens")


def test_all_finish(certificates: Certificates, serve: Serve, module: Callable[[str, str], Path]) -> None:
    """200 clients in the middle of their answers hear all of them; nobody new comes in; the status is 0."""
    with serve(
        *("--endpoint", certificates.ecdsa.endpoint(), "--handler", "serve:app:slow"), cwd=module("app", SLOW)
    ) as server:

        def stop() -> None:
            server.process.send_signal(signal.SIGTERM)
            check_refused(server.port)
            server.process.send_signal(signal.SIGHUP)

        heard = asyncio.run(answers(server.port, trusting(certificates.root), 200, stop))
        assert set(heard) == {PIECES + b"draining"}
        assert server.wait() == 0
        assert len(re.findall(r"\] closed .* clean", server.log)) == 200
        assert re.search(r"draining: \d+ connections left, 2[78] s", server.log)  # some have begun before others
        assert "drained: all have finished" in server.log
        assert "Traceback" not in server.log


def served(certificates: Certificates, serve: Serve, drain: str) -> Running:
    """An echo with this drain deadline, and a client that never ends."""
    return serve("--endpoint", certificates.ecdsa.endpoint(), "--deadlines-drain", drain, "--deadlines-close", "1s")  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_one_never_ends(certificates: Certificates, serve: Serve, name: str) -> None:
    """Who goes on is ended at the deadline, with close_notify, and the status is 1."""
    with (
        served(certificates, serve, "1s") as server,  # type: ignore[attr-defined]
        connected(server.port, trusting(certificates.root)) as client,
    ):
        assert asks_and_hears(client, b"hello")
        before = time.monotonic()
        server.process.send_signal(signal.Signals[f"SIG{name}"])
        time.sleep(0.3)
        assert asks_and_hears(client, b"still here")
        assert client.recv(1) == b""  # without close_notify this raises
        assert 0.9 < time.monotonic() - before < 5
        client.unwrap().close()
        assert server.wait() == 1
        assert "cause=drain" in server.log
        assert "drained: 1 connection cut" in server.log


def test_second_signal(certificates: Certificates, serve: Serve) -> None:
    """A second signal cuts whoever is there at once, and the status is 1."""
    with (
        served(certificates, serve, "30s") as server,  # type: ignore[attr-defined]
        connected(server.port, trusting(certificates.root)) as client,
    ):
        assert asks_and_hears(client, b"hello")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        before = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 1
        assert time.monotonic() - before < 5
        assert "Traceback" not in server.log


def test_signal_at_the_very_end(certificates: Certificates, serve: Serve) -> None:
    """A signal that comes when all has ended, and Python is cleaning up, changes nothing: the status is 0."""
    for _ in range(3):
        with served(certificates, serve, "30s") as server:  # type: ignore[attr-defined]
            with connected(server.port, trusting(certificates.root)) as client:
                assert asks_and_hears(client, b"hello")
            server.wait_for(r"\] closed ")
            while server.process.poll() is None:
                server.process.send_signal(signal.SIGTERM)
                time.sleep(0.01)
            assert server.wait() == 0


def test_handlers_can_ask(certificates: Certificates, serve: Serve, module: Callable[[str, str], Path]) -> None:
    """A function that asks whether the service is draining may end its conversation itself: the status is 0."""
    with (
        serve(
            *("--endpoint", certificates.ecdsa.endpoint(), "--handler", "call:app:polite"), cwd=module("app", SLOW)
        ) as server,
        connected(server.port, trusting(certificates.root)) as client,
        socket.create_connection(("127.0.0.1", server.port), PATIENCE) as silent,
    ):
        assert asks_and_hears(client, b"hello")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining")
        with pytest.raises(ConnectionResetError):
            assert silent.recv(1)
        assert asks_and_hears(client, b"bye")
        assert client.recv(1) == b""
        client.unwrap().close()
        assert server.wait() == 0
