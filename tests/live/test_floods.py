"""Floods: within the limits everybody is served all through, and afterwards all is as it was."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, connected, secured, trusting
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE, Running, environment, until
from tests.live.test_faults import asked, metrics
from tests.live.test_limits import BACKLOG, FEW, closed, cpu, crowd, lines_in_a_second

LONG = bool(os.environ.get("MYTLS_LONG"))
FLOOD = 20_000 if LONG else 2_000
CROWD = 2_000 if LONG else 700
STATUS = ("--status", "tcp:0:interface=127.0.0.1")
#: What the allocator may keep.
SLACK = 4 * 1024 * 1024


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """The clients of a crowd have descriptors too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Honest:
    """
    Clients one after the other, from twenty addresses, at most 25 a second: a handshake, a word and its echo.

    @ivar seconds: how long each has had to wait for its connection and handshake
    """

    def __init__(self, port: int, root: Path) -> None:
        self.seconds: list[float] = []
        self.errors: list[str] = []
        self._port, self._context = port, trusting(root)

    def one(self) -> None:
        """One of them."""
        began = time.monotonic()
        source = (f"127.0.5.{1 + len(self.seconds) % 20}", 0)
        try:
            plain = socket.create_connection(("127.0.0.1", self._port), PATIENCE, source)
            with secured(plain, self._context) as client:
                self.seconds.append(time.monotonic() - began)
                assert asks_and_hears(client, b"honest")
                client.unwrap().close()
        except Exception as error:  # whatever it is, it is an error of a client's
            self.errors.append(repr(error))
        time.sleep(max(0.04 - (time.monotonic() - began), 0))

    @contextmanager
    def meanwhile(self) -> Iterator[None]:
        """As many as come until the end of the block."""
        over = threading.Event()

        def run() -> None:
            while not over.is_set():
                self.one()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def worst_but_one_in_a_hundred(self) -> float:
        """The 99th percentile, in seconds."""
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]


def flood(port: int, count: int) -> dict[str, int]:
    """See L{tests.live.flood}. @return: what became of its connections"""
    words = [sys.executable, "-m", "tests.live.flood", str(port), str(count)]
    top = Path(__file__).parents[2]
    ended = subprocess.run(words, cwd=top, env=environment(), capture_output=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    told = json.loads(ended.stdout)
    sys.stderr.write(f"{count} connections in {told['seconds']:.1f} s: {told['ends']}\n")
    ends: dict[str, int] = told["ends"]
    return ends


def at_rest(server: Running) -> tuple[int, int]:
    """Wait until nobody is there. @return: the memory in bytes and the descriptors that are in use then"""
    name = f'mytls_connections_open{{listener="127.0.0.1:{server.port}"}}'
    until(lambda: metrics(server)[name] == 0, "all are gone")
    now = metrics(server)
    return int(now["process_resident_memory_bytes"]), int(now["process_open_fds"])


def test_flood(certificates: Certificates, serve: Serve) -> None:
    """
    Connections that are silent, dribble, close at once or have a handshake, as fast as they come, from 32 addresses
    that come to their limits: honest clients are served all through, and so is a reload in the middle; the status is
    told, the log is short, and afterwards memory and descriptors are what they were.
    """
    limits = ("--limits-max-connections-per-address", "8", "--limits-accepts-per-second-per-address", "5")
    words = ("--endpoint", certificates.ecdsa.endpoint() + BACKLOG, *limits, *STATUS)
    with serve(*words, "--deadlines-handshake", "2s", "--log-quiet", "connections") as server:
        quiet, busy = (Honest(server.port, certificates.root) for _ in range(2))
        flood(server.port, 1000)  # what is loaded and kept for good is there then
        for _ in range(200 if LONG else 50):
            quiet.one()
        memory, descriptors = at_rest(server)
        began = len(server.log.splitlines())
        reload = threading.Timer(1, server.process.send_signal, (signal.SIGHUP,))
        reload.start()
        with busy.meanwhile():
            ends = flood(server.port, FLOOD)
            assert asked(server, "/readyz") == "ready\n"
        server.wait_for("reloaded: ")
        assert quiet.errors == busy.errors == []
        assert sum(ends.values()) == FLOOD
        assert not [end for end in ends if "never" in end]
        refused = json.loads(asked(server, "/status"))["refusals"]
        assert refused["limit"] > 0
        assert refused["rate"] > FLOOD / 4
        calm, full = quiet.worst_but_one_in_a_hundred(), busy.worst_but_one_in_a_hundred()
        now, files = at_rest(server)
        sys.stderr.write(
            f"p99 of {len(busy.seconds)} honest handshakes: {full * 1000:.1f} ms, and {calm * 1000:.1f} ms without the "
            f"flood; refused: {refused}; memory: {memory >> 10} KiB before, {now >> 10} KiB after; "
            f"descriptors: {descriptors} before, {files} after\n"
        )
        assert full < 20 * calm + 0.5
        assert now < memory + SLACK
        assert files == descriptors
        assert len(server.log.splitlines()) - began < 100
        assert "Traceback" not in server.log


@pytest.mark.parametrize("at_limit", ["refuse", "wait"])
def test_a_crowd_and_few_descriptors(certificates: Certificates, serve: Serve, at_limit: str) -> None:
    """
    Far more silent clients than files may be open: meanwhile nothing spins, the status is told and a reload works, and
    when they have gone there is room for others.
    """
    words = ("--endpoint", certificates.ecdsa.endpoint() + BACKLOG, "--limits-at-limit", at_limit, *STATUS)
    with serve(*words, "--deadlines-handshake", "60s", launcher=FEW) as server:
        assert asked(server, "/readyz") == "ready\n"
        descriptors = metrics(server)["process_open_fds"]
        with crowd(server.port, CROWD) as clients:
            if at_limit == "refuse":
                until(lambda: closed(clients) > CROWD - 256, "the excess is refused")
            server.wait_for("too many open files")
            time.sleep(0.2)
            before = cpu(server)
            time.sleep(1)
            spent = cpu(server) - before
            assert spent < 0.2
            assert asked(server, "/readyz") == "ready\n"
            assert json.loads(asked(server, "/status"))["connections"]["open"] > 100
            reloaded = json.loads(asked(server, "/reload", b""))
            assert "lines" in reloaded
            server.process.send_signal(signal.SIGHUP)
            server.wait_for("reloaded: ", 2)
            assert lines_in_a_second(server, "too many open files") == 1
        at_rest(server)  # who comes while the server still hears of the ends of many may find no room yet
        with connected(server.port, trusting(certificates.root)) as client:
            assert asks_and_hears(client, b"there is room")
        until(lambda: metrics(server)["process_open_fds"] <= descriptors, "all descriptors are back", PATIENCE)
        sys.stderr.write(f"{CROWD} clients, {at_limit}: {spent:.2f} s of CPU time in a second\n")
        assert "Traceback" not in server.log
