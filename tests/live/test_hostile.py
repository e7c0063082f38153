"""Peers that mean no good, on real sockets: what they can hold, and what it costs the server."""

from __future__ import annotations

import os
import select
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, connected, receive, trusting
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE, Running, environment

#: What a peer that never reads may cost, beside the kernel's own buffers: the bounds of tls/tunnel.py and of Twisted's
#: transport, as OpenSSL and Python round them up.
HELD = 400 * 1024
#: What a thread adds to that: its inbox, its outbox, its stack and the allocator's arena for it.
IN_A_THREAD = 600 * 1024


def memory(running: Running) -> int:
    """The server's memory now, in bytes."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def push(client: ssl.SSLSocket, most: int) -> int:
    """Send without ever reading until the server takes no more, or that much is sent. @return: how much that was"""
    client.setblocking(False)
    sent, piece = 0, b"x" * 65536
    until = time.monotonic() + PATIENCE
    while sent < most and time.monotonic() < until:
        try:
            sent += client.send(piece)
        except ssl.SSLWantWriteError:
            if not select.select([], [client], [], 1)[1]:
                return sent
    return sent


@pytest.mark.parametrize(
    ("handler", "held"),
    [
        ("echo", HELD),
        ("call:app:do_something", HELD),
        ("factory:app:Naive", HELD),
        ("serve:app:echo", HELD + IN_A_THREAD),
    ],
)
def test_who_never_reads_is_not_read_from(
    handler: str, held: int, certificates: Certificates, serve: Serve, module: Callable[[str, str], Path]
) -> None:
    """A gigabyte for a handler that answers all of it, from peers that never read: they are stopped, memory is flat."""
    folder = module(
        "app",
        """
from twisted.internet.protocol import Protocol

def echo(connstream):
    while data := connstream.recv(65536):
        connstream.sendall(data)

def do_something(connstream, data):
    connstream.sendall(data)
    return True

class Naive(Protocol):
    def dataReceived(self, data):
        self.transport.write(data)
""",
    )
    context = trusting(certificates.root)
    with (
        serve("--endpoint", certificates.ecdsa.endpoint(), "--handler", handler, cwd=folder) as running,
        ExitStack() as stack,
    ):
        first = stack.enter_context(connected(running.port, context))
        assert push(first, 1 << 30) < 1 << 28
        before = memory(running)
        peers = [stack.enter_context(connected(running.port, context)) for _ in range(4)]
        for peer in peers:
            assert push(peer, 1 << 30) < 1 << 28
        assert memory(running) - before < 4 * held
        with connected(running.port, context) as honest:
            assert asks_and_hears(honest, b"anybody there?")


def test_a_flood_of_key_updates_is_cut(certificates: Certificates, serve: Serve, needs: Callable[[str], str]) -> None:
    """openssl s_client asks for new keys again and again: the connection is cut, memory is flat, others are served."""
    words = [needs("openssl"), "s_client", "-tls1_3", "-connect"]
    with serve("--endpoint", certificates.ecdsa.endpoint(), "--handler", "echo") as running:
        with connected(running.port, trusting(certificates.root)) as honest:
            assert asks_and_hears(honest, b"before")
        before = memory(running)
        with subprocess.Popen(
            [*words, f"127.0.0.1:{running.port}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment(),
        ) as client:
            assert client.stdin is not None
            try:
                for _ in range(20_000):
                    if "cause=limit" in running.log:
                        break
                    os.write(client.stdin.fileno(), b"K\n")
                    time.sleep(0.001)  # s_client looks at the first letter of what it reads
            except BrokenPipeError:
                pass
            finally:
                client.kill()
        running.wait_for(r"cause=limit")
        assert memory(running) - before < HELD
        with connected(running.port, trusting(certificates.root)) as honest:
            assert asks_and_hears(honest, b"after")


def test_answers_are_not_lost_to_a_reset(
    certificates: Certificates, serve: Serve, module: Callable[[str, str], Path]
) -> None:
    """A server that answers and closes while the client still sends: the whole answer arrives (lingering close)."""
    folder = module(
        "app",
        """
def short(connstream, data):
    connstream.sendall(b"answer " * 20000)
    return False
""",
    )
    with serve("--endpoint", certificates.ecdsa.endpoint(), "--handler", "call:app:short", cwd=folder) as running:
        for _ in range(5):
            with connected(running.port, trusting(certificates.root)) as client:
                client.sendall(b"question" * 5000)
                time.sleep(0.05)
                try:
                    client.sendall(b"and more" * 5000)
                except OSError:
                    pass
                assert receive(client, 140_000) == b"answer " * 20000


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_half_close(
    version: ssl.TLSVersion, certificates: Certificates, serve: Serve, module: Callable[[str, str], Path]
) -> None:
    """After the client's close_notify and FIN, what the function has to say still arrives, seconds later."""
    folder = module(
        "app",
        """
import time

def late(connstream):
    asked = b""
    while data := connstream.recv(1024):
        asked += data
    for number in range(5):
        time.sleep(0.2)
        connstream.sendall(b"%d " % number + asked)
""",
    )
    context = trusting(certificates.root)
    context.minimum_version = context.maximum_version = version
    with serve("--endpoint", certificates.ecdsa.endpoint(), "--handler", "serve:app:late", cwd=folder) as running:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with socket.create_connection(("127.0.0.1", running.port), PATIENCE) as plain:
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    plain.sendall(outgoing.read())
                    incoming.write(plain.recv(65536))
            tls.write(b"question;")
            try:
                tls.unwrap()
            except ssl.SSLWantReadError:
                pass
            plain.sendall(outgoing.read())
            plain.shutdown(socket.SHUT_WR)
            heard = b""
            while data := plain.recv(65536):
                heard += data
        # After its own close_notify CPython's ssl reads no more; the size of what came says that all of it did.
        assert len(heard) >= 5 * len(b"0 question;" + b"\0" * 5)
        (line,) = running.wait_for(r"closed .* clean")
        assert "in=9 out=55" in line
