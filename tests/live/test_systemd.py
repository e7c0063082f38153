"""What systemd sees of a service: sockets that it has made, and what it is told."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, connected, secured, trusting
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE
from tests.live.test_places import ACTIVATE

#: A handler that holds up everybody, once.
BLOCKS = """
import time

def hold_everybody_up(connstream, data):
    time.sleep(1.2)
    connstream.sendall(data)
    return True
"""


class Systemd:
    """Reads what a service says."""

    def __init__(self, path: Path) -> None:
        self.address = os.fspath(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(PATIENCE)

    def hears(self, name: str) -> dict[str, str]:
        """Read on, up to the next datagram that says this."""
        while True:
            said = dict(line.split("=", 1) for line in self._socket.recv(10_000).decode().splitlines())
            if name in said:
                return said

    def has_heard(self) -> list[str]:
        """What waits to be read."""
        found = []
        while select.select([self._socket], [], [], 0)[0]:
            found.append(self._socket.recv(10_000).decode())
        return found

    def close(self) -> None:
        """Read no more."""
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    """Somebody who is told."""
    made = Systemd(tmp_path / "notify")
    yield made
    made.close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_it_is_told(certificates: Certificates, serve: Serve, systemd: Systemd, workers: str) -> None:
    """READY when a client is served, how many there are, RELOADING and READY with a HUP, STOPPING with a TERM."""
    words = ["--endpoint", certificates.ecdsa.endpoint(), "--workers", workers]
    with serve(*words, env={"NOTIFY_SOCKET": systemd.address}) as server:
        systemd.hears("READY")
        with connected(server.port, trusting(certificates.root)) as client:
            assert asks_and_hears(client, b"hello")
            while not systemd.hears("STATUS")["STATUS"].startswith("1 connections open"):
                pass
            before = time.monotonic()
            server.process.send_signal(signal.SIGHUP)
            at = int(systemd.hears("RELOADING")["MONOTONIC_USEC"]) / 1_000_000
            assert before <= at <= time.monotonic()
            assert systemd.hears("READY")["STATUS"].startswith("1 connections open")
            server.process.send_signal(signal.SIGTERM)
            assert systemd.hears("STOPPING")["STATUS"] == "Stopping: 1 connections left"
            client.unwrap().close()
        assert server.wait() in (0, -signal.SIGTERM)


def test_who_cannot_listen_is_not_ready(certificates: Certificates, serve: Serve, systemd: Systemd) -> None:
    """A start that fails says nothing of READY."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        endpoint = certificates.ecdsa.endpoint(port=str(other.getsockname()[1]))
        with serve("--endpoint", endpoint, env={"NOTIFY_SOCKET": systemd.address}, ready="cannot listen") as server:
            assert server.wait() == 1
    assert [each for each in systemd.has_heard() if "READY" in each] == []


def test_a_loop_that_does_not_turn(
    certificates: Certificates, serve: Serve, systemd: Systemd, module: Callable[[str, str], Path]
) -> None:
    """The log has the handler's line before the watchdog's interval has passed without a sign of life."""
    folder = module("blocks", BLOCKS)
    env = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "1000000"}
    words = ["--endpoint", certificates.ecdsa.endpoint(), "--handler", "call:blocks:hold_everybody_up"]
    with serve(*words, env=env, cwd=folder) as server, connected(server.port, trusting(certificates.root)) as client:
        systemd.hears("READY")
        systemd.hears("WATCHDOG")
        client.sendall(b"hello")
        (seconds,) = server.wait_for(r"the event loop has not turned for \S+ s")
        assert 0.35 < float(re.findall(r"[\d.]+", seconds)[0]) < 0.5
        server.wait_for(r"blocks\.py\", line 5, in hold_everybody_up")
        systemd.has_heard()
        assert client.recv(5) == b"hello"
        server.wait_for("the event loop turns again")
        systemd.hears("WATCHDOG")


def test_tls_on_a_unix_socket_of_systemd(certificates: Certificates, serve: Serve, tmp_path: Path) -> None:
    """Its path and mode are as systemd has made them, also afterwards, and the next who is started is reached by it."""
    over = r"systemd\:domain=UNIX\:index=0"
    endpoint = certificates.ecdsa.endpoint(prefix="mytls", port="", interface="", over=over)
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.fspath(path))
        path.chmod(0o660)
        listening.listen()
        launcher = [sys.executable, "-c", ACTIVATE, str(listening.fileno())]
        for _ in range(2):
            with serve("--endpoint", endpoint, launcher=launcher, pass_fds=[listening.fileno()]) as server:
                plain = socket.socket(socket.AF_UNIX)
                plain.connect(os.fspath(path))
                with secured(plain, trusting(certificates.root)) as client:
                    assert asks_and_hears(client, b"hello systemd")
                server.process.send_signal(signal.SIGTERM)
                assert server.wait() in (0, -signal.SIGTERM)
                assert f"(UNIX Port {path} Closed)" in server.log
            assert stat.S_ISSOCK(path.stat().st_mode)
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
