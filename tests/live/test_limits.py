"""A crowd: limits hold, nothing spins, and whoever is within them is served."""

from __future__ import annotations

import re
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from errno import ENOTCONN
from pathlib import Path

import pytest

from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, connected, secured, trusting
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE, Running, until

#: With few descriptors for everybody.
FEW = ("bash", "-c", 'ulimit -n 256; exec "$@"', "few")
CROWD = 600
#: The system's own queue is to be no limit here.
BACKLOG = ":backlog=1000"

#: Takes descriptors that nobody has planned for.
GREEDY = """
import os
taken = []

def take(connstream, data):
    if data == b"take":
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
    elif data == b"give":
        while taken:
            os.close(taken.pop())
    connstream.sendall(b"done")
    return True
"""


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """The clients of a crowd have descriptors too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def crowd(port: int, count: int, source: str = "127.0.0.1") -> Iterator[list[socket.socket]]:
    """So many who connect and say nothing."""
    with ExitStack() as all_of_them:
        clients = []
        for _ in range(count):
            client = all_of_them.enter_context(socket.socket())
            client.bind((source, 0))
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
            clients.append(client)
        yield clients


def cpu(server: Running) -> float:
    """Seconds of CPU time that it has had."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def closed(clients: list[socket.socket]) -> int:
    """How many of these were closed by the other side."""
    found = 0
    for client in clients:
        try:
            found += client.recv(1) == b""
        except BlockingIOError:
            pass
        except ConnectionError:
            found += 1
        except OSError as error:
            if error.errno != ENOTCONN:  # it waits in the system's queue
                raise
    return found


def lines_in_a_second(server: Running, pattern: str) -> int:
    """How many lines with this one second of the log has, at most."""
    seconds = [line[:19] for line in server.log.splitlines() if re.search(pattern, line)]
    return max(Counter(seconds).values(), default=0)


@pytest.mark.parametrize("at_limit", ["refuse", "wait"])
def test_more_clients_than_descriptors(certificates: Certificates, serve: Serve, at_limit: str) -> None:
    """
    600 clients where 256 files may be open: those in excess are refused, or wait, without a traceback, a busy loop or a
    flood of lines; when the others have gone there is room.
    """
    options = ("--limits-at-limit", at_limit, "--deadlines-handshake", "20s")
    with serve("--endpoint", certificates.ecdsa.endpoint() + BACKLOG, *options, launcher=FEW) as server:
        with crowd(server.port, CROWD) as clients:
            if at_limit == "refuse":
                until(lambda: closed(clients) > 300, "the excess is refused")
                server.wait_for("cause=limit.*: too many open files")
            else:
                server.wait_for("too many open files")
            before = cpu(server)
            time.sleep(2)
            assert cpu(server) - before < 0.2
            if at_limit == "wait":
                assert closed(clients) == 0
            assert lines_in_a_second(server, "too many open files") == 1
            open_files = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
            assert 150 < open_files < 256 - 16 + 1
        with connected(server.port, trusting(certificates.root)) as client:
            assert asks_and_hears(client, b"there is room")
        assert "Traceback" not in server.log


def test_no_descriptor_left(certificates: Certificates, serve: Serve, module: Callable[[str, str], Path]) -> None:
    """
    Where the process has no descriptor left for whatever reason, clients wait: at most one line a second says why, the
    CPU is idle, and they are served when there are descriptors again.
    """
    context = trusting(certificates.root)
    with (
        serve(
            *("--endpoint", certificates.ecdsa.endpoint() + BACKLOG, "--handler", "call:app:take"),
            launcher=FEW,
            cwd=module("app", GREEDY),
        ) as server,
        connected(server.port, context) as greedy,
    ):
        greedy.sendall(b"take")
        assert greedy.recv(4) == b"done"
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as waiting, crowd(server.port, 100):
            server.wait_for("cannot accept at .*: too many open files")
            before = cpu(server)
            time.sleep(2.5)
            assert cpu(server) - before < 0.2
            assert lines_in_a_second(server, "too many open files") == 1
            greedy.sendall(b"give")
            assert greedy.recv(4) == b"done"
            with secured(waiting, context) as client:
                client.sendall(b"hello")
                assert client.recv(4) == b"done"
        assert "Traceback" not in server.log


def test_flood_of_one_address(certificates: Certificates, serve: Serve) -> None:
    """One address has no more than its part, by number and by rate, and others are served meanwhile."""
    options = ("--limits-max-connections-per-address", "20", "--limits-accepts-per-second-per-address", "50")
    with serve("--endpoint", certificates.ecdsa.endpoint() + BACKLOG, *options) as server, ExitStack() as all_of_them:
        clients = all_of_them.enter_context(crowd(server.port, 300, "127.0.0.2"))
        with connected(server.port, trusting(certificates.root)) as client:
            assert asks_and_hears(client, b"hello")
        until(lambda: closed(clients) == 280, "all but 20 are refused")
        server.wait_for("refused 127.0.0.2:.* cause=limit: 20 connections of 127.0.0.2 are there")
        server.wait_for("refused 127.0.0.2:.* cause=rate: too many connections a second of 127.0.0.2, and ")
