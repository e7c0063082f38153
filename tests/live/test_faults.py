"""Faults of the system, of handlers and of workers: what must hold meanwhile, and that all is well afterwards."""

from __future__ import annotations

import json
import mmap
import os
import re
import signal
import socket
import ssl
import struct
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, connected, receive, trusting
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE, Running, serving, until
from tests.live.test_via import free_port, listens
from tests.live.test_workers import under_load

STATUS = ("--status", "tcp:0:interface=127.0.0.1")

#: Python's C{time.time}, with what a file says added to it: the system's clock, which somebody sets.
SET_CLOCK = """
import mmap, os, struct, time

with open(os.environ["CLOCK_FILE"], "rb") as file:
    _ahead = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
_time = time.time
time.time = lambda: _time() + struct.unpack("d", _ahead)[0]
"""
DAY = 86400.0

#: What handlers can do wrong.
APP = """
import time
from threading import Event

def raises(connstream, data):
    connstream.sendall(data)
    if data == b"raise":
        raise ValueError("a bug")
    return True

def blocks(connstream, data):
    if data == b"block":
        time.sleep(1)
    connstream.sendall(data)
    return True

gate = Event()

def waits(connstream):
    while data := connstream.recv(100):
        if data == b"wait":
            gate.wait(20)
        if data == b"open":
            gate.set()
        connstream.sendall(data)

def fills(connstream, data):
    from twisted.internet import reactor

    for _ in range(30):
        reactor.callInThread(gate.wait, 20)
    connstream.sendall(data)
    return True

def opens(connstream, data):
    if data == b"open":
        gate.set()
    connstream.sendall(data)
    return True
"""


def asked(server: Running, path: str, data: bytes | None = None) -> str:
    """What the status service says."""
    (address,) = server.wait_for(r"status service at \S+")
    with urllib.request.urlopen(address.split()[-1].rstrip("/") + path, data, timeout=10) as answer:
        return str(answer.read().decode())


def metrics(server: Running) -> dict[str, float]:
    """What is measured."""
    lines = asked(server, "/metrics").splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


class SystemClock:
    """The clock that a server takes for the system's."""

    def __init__(self, folder: Path) -> None:
        (folder / "sitecustomize.py").write_text(SET_CLOCK)
        file = folder / "clock"
        file.write_bytes(bytes(8))
        self.environment = {"CLOCK_FILE": os.fspath(file), "PYTHONPATH": os.fspath(folder)}
        with file.open("r+b") as opened:
            self._ahead = mmap.mmap(opened.fileno(), 8)

    def set(self, seconds: float) -> None:
        """It goes wrong by so much."""
        self._ahead[:] = struct.pack("d", seconds)


def dropped_after(client: socket.socket) -> float:
    """How many seconds it takes until the server drops a silent client."""
    began = time.monotonic()
    client.settimeout(PATIENCE)
    try:
        client.recv(100)
    except ConnectionError:
        pass
    return time.monotonic() - began


@pytest.mark.parametrize(("reactor", "workers"), [("epoll", "1"), ("asyncio", "2")])
def test_clock_jumps(certificates: Certificates, serve: Serve, tmp_path: Path, reactor: str, workers: str) -> None:
    """
    The system's clock is set a day forward, and two back: no connection is closed, each deadline takes its time, rates
    let in as many as before, and a drain ends when it should.
    """
    clock, context = SystemClock(tmp_path), trusting(certificates.root)
    deadlines = ("--deadlines-handshake", "500ms", "--deadlines-drain", "500ms", "--deadlines-close", "1s")
    words = ("--limits-accepts-per-second", "100", "--workers", workers, *deadlines, *STATUS)
    with (
        serve(
            *("--endpoint", certificates.ecdsa.endpoint(), *words),
            options=("--reactor", reactor),
            env=clock.environment,
        ) as server,
        connected(server.port, context) as client,
    ):
        assert asks_and_hears(client, b"before")
        for ahead in (DAY, -DAY):
            with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as silent:
                time.sleep(0.1)
                clock.set(ahead)
                assert asks_and_hears(client, b"jumped")
                assert 0.2 < dropped_after(silent) < 5
            with connected(server.port, context) as another:
                assert asks_and_hears(another, b"another")
            assert asks_and_hears(client, b"and still")
            assert metrics(server)["mytls_reactor_lag_max_seconds"] < 5
        server.process.send_signal(signal.SIGTERM)
        assert client.recv(1) == b""
        assert server.wait() == 1
        assert len(re.findall("cause=handshake-timeout", server.log)) == 2
        assert "Traceback" not in server.log


def listeners(certificates: Certificates, *handlers: str) -> list[str]:
    """What a configuration file says of one for each handler."""
    return [
        f'[[listener]]\nendpoint = "mytls:0:interface=127.0.0.1"\nhandler = "{handler}"\n'
        f'certificate = "{certificates.ecdsa.chain}"\nprivate-key = "{certificates.ecdsa.key}"\n'
        for handler in handlers
    ]


def test_handlers_that_raise(certificates: Certificates, serve: Serve, module: Callable[[str, str], Path]) -> None:
    """A handler that raises for one client, again and again, is none of the others' business, nor the log's."""
    context = trusting(certificates.root)
    folder = module("app", APP)
    with (
        serve(
            "--endpoint", certificates.ecdsa.endpoint(), "--handler", "call:app:raises", *STATUS, cwd=folder
        ) as server,
        connected(server.port, context) as client,
    ):
        for _ in range(30):
            with connected(server.port, context) as unlucky:
                assert asks_and_hears(unlucky, b"raise")
                unlucky.settimeout(PATIENCE)
                with pytest.raises((ConnectionError, ssl.SSLError)):
                    assert unlucky.recv(1)
            assert asks_and_hears(client, b"fine")
        assert metrics(server)[f'mytls_handler_errors_total{{listener="127.0.0.1:{server.port}"}}'] == 30
        assert server.log.count("ValueError: a bug") == 10  # as many as `log.repeats` says


def test_a_blocking_handler(certificates: Certificates, serve: Serve, module: Callable[[str, str], Path]) -> None:
    """A plain function of `call:` that blocks keeps all others waiting: they are served later, and it is known."""
    context = trusting(certificates.root)
    words = ("--endpoint", certificates.ecdsa.endpoint(), "--handler", "call:app:blocks", *STATUS)
    with (
        serve(*words, cwd=module("app", APP)) as server,
        connected(server.port, context) as client,
        connected(server.port, context) as other,
    ):
        assert asks_and_hears(client, b"hello")
        assert asks_and_hears(other, b"hello")
        client.sendall(b"block")
        time.sleep(0.1)
        began = time.monotonic()
        assert asks_and_hears(other, b"me too")
        assert time.monotonic() - began > 0.5
        assert receive(client, 5) == b"block"
        server.wait_for("call:blocks took 1.0s on the event loop")
        until(lambda: metrics(server)["mytls_reactor_lag_max_seconds"] > 0.4, "the lag is seen")


def test_all_threads_are_taken(
    certificates: Certificates, serve: Serve, module: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """
    Where plain functions of `serve:` have all threads, more clients wait for their turn, and nobody else does; nor does
    anything wait for the threads of Twisted's reactor, which a handler has filled.
    """
    file = tmp_path / "mytls.toml"
    file.write_text("\n".join(listeners(certificates, "serve:app:waits", "call:app:opens", "call:app:fills")))
    context = trusting(certificates.root)
    words = ("--config", os.fspath(file), "--limits-max-threads", "2", *STATUS)
    with (
        serve(*words, cwd=module("app", APP), ready=r"(?s)(serving \S+ at .*){3}") as server,
        ExitStack() as stack,
    ):
        waiting, quick, filling = (int(each.rpartition(":")[2]) for each in server.addresses)
        clients = [stack.enter_context(connected(waiting, context)) for _ in range(8)]
        for client in clients:
            client.sendall(b"wait")
        until(lambda: metrics(server)['mytls_threads_waiting{pool="serve"}'] == 6, "six wait")
        assert metrics(server)['mytls_threads_busy{pool="serve"}'] == 2
        with connected(filling, context) as other:
            assert asks_and_hears(other, b"fill")
        until(lambda: metrics(server)['mytls_threads_busy{pool="reactor"}'] == 10, "the reactor's are busy")
        assert "lines" in json.loads(asked(server, "/reload", b""))
        with connected(quick, context) as other:
            assert asks_and_hears(other, b"hello")
            assert asks_and_hears(other, b"open")
        for client in clients:  # each when one before it has ended
            assert receive(client, 4) == b"wait"
            client.unwrap().close()
        until(lambda: metrics(server)['mytls_threads_busy{pool="serve"}'] == 0, "all are free")
        assert "Traceback" not in server.log


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk with little room, where one may be had."""
    folder.mkdir()
    mounted = os.system(f"mount -t tmpfs -o size=64k none '{folder}' 2>/dev/null") == 0
    if not mounted:
        pytest.skip("no file system can be mounted")
    try:
        yield folder
    finally:
        os.system(f"umount -l '{folder}'")


def fill(file: Path) -> None:
    """Make it as long as the disk lets it be."""
    with file.open("wb", buffering=0) as opened, suppress(OSError):
        while True:
            opened.write(bytes(4096))


def test_no_room_for_the_log(certificates: Certificates, serve: Serve, tmp_path: Path) -> None:
    """Where the disk is full the service goes on, says so at most once a second, and goes on writing later."""
    context = trusting(certificates.root)
    with small_disk(tmp_path / "disk") as disk:
        log, ballast = disk / "access.log", disk / "ballast"
        words = ("--endpoint", certificates.ecdsa.endpoint(), "--log-to", f"file:{log}", "--log-repeats", "off")
        with serve(*words) as server:

            def a_client() -> None:
                with connected(server.port, context) as client:
                    assert asks_and_hears(client, b"hello")
                    client.unwrap().close()

            a_client()
            until(lambda: "closed" in log.read_text(), "there is a line")
            fill(ballast)
            for _ in range(100):
                a_client()
            server.wait_for("lines are lost: no room")
            ballast.unlink()
            a_client()
            (told,) = server.wait_for(r"it goes on; \d+ lines? w\S+ lost")
            lost = int(told.split()[3])
            assert 50 < lost <= 100
            until(lambda: len(re.findall("closed .* clean", log.read_text())) == 102 - lost, "all others are there")
            assert "Traceback" not in server.log


def test_no_room_for_twistds_log(certificates: Certificates, tmp_path: Path) -> None:
    """Where twistd's own log has no room, everybody is served, and the service ends as it should."""
    log, context = tmp_path / "twistd.log", trusting(certificates.root)
    log.symlink_to("/dev/full")
    port = free_port()
    endpoint = certificates.ecdsa.endpoint(port=str(port))
    with serving("--endpoint", endpoint, options=("--logfile", os.fspath(log)), ready="") as server:
        until(lambda: listens(port), "it serves")
        for _ in range(20):
            with connected(port, context) as client:
                assert asks_and_hears(client, b"hello")
                client.unwrap().close()
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        assert "Traceback" not in server.log


def test_a_worker_is_killed_under_load(certificates: Certificates, serve: Serve) -> None:
    """Those who are its clients are lost, and nobody who comes after; soon there are two again."""
    context = trusting(certificates.root)
    with serve("--endpoint", certificates.ecdsa.endpoint(), "--workers", "2", *STATUS) as server:

        def workers() -> list[int]:
            return [each["pid"] for each in json.loads(asked(server, "/status"))["workers"] if each["up"]]

        until(lambda: len(workers()) == 2, "both serve")
        with under_load(server.port, context, 40) as load:
            until(lambda: load.done > 10, "there are clients")
            os.kill(workers()[0], signal.SIGKILL)
            server.wait_for("was ended by signal 9")
            time.sleep(0.5)  # whoever was there has noticed
            lost, before = len(load.errors), load.done
            until(lambda: len(workers()) == 2, "both serve again")
            until(lambda: load.done > before + 20, "there are more clients")
        assert len(load.errors) == lost < 20
        assert "Traceback" not in server.log
