"""A service hands over to a new version of itself: nobody is lost, and one that cannot start changes nothing."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import mytls
from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, connected, trusting
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE, TWISTD, Running, environment, memory_files, serving, until
from tests.live.test_places import ACTIVATE
from tests.live.test_privileges import low_port, open_folder, where_anybody_runs_this
from tests.live.test_systemd import Systemd, systemd
from tests.live.test_workers import is_there, under_load

__all__ = ["open_folder", "systemd"]  # fixtures

_STATUS = ("--status", "tcp:0:interface=127.0.0.1")
RATE = 100


class Installed:
    """A copy of the package that can become another version."""

    def __init__(self, folder: Path) -> None:
        self.env = {"PYTHONPATH": os.fspath(folder)}
        self._init = folder / "mytls" / "__init__.py"
        shutil.copytree(Path(mytls.__file__).parent, folder / "mytls", ignore=shutil.ignore_patterns("__pycache__"))
        self._source = self._init.read_text()

    def become(self, version: str) -> None:
        """Be of that version; of one that is no text, be broken."""
        written = f'"{version}"' if version else "'"
        source, count = re.subn(r"__version__ = .*", f"__version__ = {written}", self._source)
        assert count == 1
        self._init.write_text(source)


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    """The package, of version 1.0."""
    made = Installed(tmp_path)
    made.become("1.0")
    return made


@contextmanager
def served(serve: Serve, *words: str, **about: Any) -> Iterator[Running]:
    """See L{tests.live.processes.serving}; its successors are killed too."""
    with serve(*words, **about) as server:
        try:
            yield server
        finally:
            for pid in successors(server):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@contextmanager
def listening_at(path: Path) -> Iterator[int]:
    """A socket as systemd makes it. @return: its descriptor"""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.fspath(path))
        listening.listen()
        yield listening.fileno()


def activated(descriptor: int) -> dict[str, Any]:
    """How a service is started that has it."""
    return {"launcher": [sys.executable, "-c", ACTIVATE, str(descriptor)], "pass_fds": [descriptor]}


def successors(server: Running) -> list[int]:
    """The processes that were started to hand over to."""
    return [int(each) for each in re.findall(r"starting process (\d+), to hand over to it", server.log)]


def status_of(server: Running) -> Any:
    """What the status service says, which all have at the same place."""
    address = server.wait_for(r"status service at \S+")[0].split()[-1]
    with urllib.request.urlopen(f"{address}status", timeout=PATIENCE) as answer:
        return json.load(answer)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_upgrade_loses_nobody(
    certificates: Certificates, serve: Serve, installed: Installed, systemd: Systemd, tmp_path: Path, workers: str
) -> None:
    """Under load no client sees an error; who was there finishes; the new version has all that the old one had."""
    context, path, given = trusting(certificates.root), tmp_path / "plain.sock", tmp_path / "given.sock"
    words = ["--endpoint", certificates.ecdsa.endpoint(), "--endpoint", f"unix:{path}", "--workers", workers, *_STATUS]
    words += ["--endpoint", "systemd:domain=UNIX:index=0"]
    env = {**installed.env, "NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "20000000"}
    with (
        listening_at(given) as at,
        served(serve, *words, "--log-quiet", "connections", env=env, **activated(at)) as server,
    ):
        systemd.hears("READY")
        assert status_of(server)["version"] == "1.0"
        installed.become("2.0")
        with under_load(server.port, context, RATE) as load, connected(server.port, context) as client:
            assert asks_and_hears(client, b"hello")
            server.process.send_signal(signal.SIGUSR2)
            server.wait_for(r"mytls 2\.0 has taken over from mytls 1\.0 \(process \d+\)")
            until(lambda: status_of(server)["version"] == "2.0", "the status service is the new one's")
            assert asks_and_hears(client, b"again")
            client.unwrap().close()
            assert server.process.wait(PATIENCE) == 0
        assert load.errors == []
        assert load.done > 0
        (successor,) = successors(server)
        status = status_of(server)
        assert (status["version"], status["pid"]) == ("2.0", successor)
        assert [each["version"] for each in status["workers"]] == (["2.0", "2.0"] if workers == "2" else [])
        assert 0 < status["connections"]["accepted"] < load.done  # it counts its own
        assert systemd.hears("MAINPID")["MAINPID"] == str(successor)
        assert {"READY", "WATCHDOG"} <= set(systemd.hears("READY"))
        for each in (path, given):
            with socket.socket(socket.AF_UNIX) as plain:
                plain.connect(os.fspath(each))
                assert asks_and_hears(plain, b"hello")
        os.kill(successor, signal.SIGTERM)
        assert systemd.hears("STOPPING")
        until(lambda: not is_there(successor), "the successor has ended")
        assert (path.exists(), given.exists()) == (False, True)
        assert "Traceback" not in server.log


def test_what_cannot_start_changes_nothing(
    certificates: Certificates, serve: Serve, installed: Installed, tmp_path: Path
) -> None:
    """A broken version and a wrong file are a line each, and the old one serves; so does the next one that is right."""
    file, context = tmp_path / "mytls.toml", trusting(certificates.root)

    def write(handler: str) -> None:
        endpoint = certificates.ecdsa.endpoint().replace("\\", "\\\\")
        file.write_text(f'[[listener]]\nendpoint = "{endpoint}"\nhandler = "{handler}"\n')

    write("echo")
    with served(serve, "--config", str(file), "--reload-interval", "off", env=installed.env) as server:
        installed.become("")
        server.process.send_signal(signal.SIGUSR2)
        (line,) = server.wait_for(r"cannot hand over: .*")
        assert re.search(r"ended with exit status 1: SyntaxError: .*goes on as it was$", line)
        installed.become("2.0")
        write("ehco")
        server.process.send_signal(signal.SIGUSR2)
        line = server.wait_for(r"cannot hand over: .*", 2)[1]
        assert re.search(r"mytls\.toml:3: .*'ehco'.*; mytls 1\.0 goes on as it was$", line)
        with connected(server.port, context) as client:
            assert asks_and_hears(client, b"hello")
        write("echo")
        server.process.send_signal(signal.SIGUSR2)
        server.wait_for("starting process", 3)
        server.process.send_signal(signal.SIGUSR2)
        server.wait_for("is about to take over already")
        server.wait_for(r"mytls 2\.0 has taken over")
        with connected(server.port, context) as client:
            assert asks_and_hears(client, b"hello")
        assert server.process.wait(PATIENCE) == 0
        assert "Traceback" not in server.log


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give root up")
def test_an_upgrade_of_another_user(certificates: Certificates, serve: Serve, open_folder: Path) -> None:
    """The successor has the low port that root has bound; what only root may read is told of, and the old one stays."""
    installed, nobody, port = Installed(open_folder), pwd.getpwnam("nobody"), low_port()
    key, chain = (shutil.copy(each, open_folder) for each in (certificates.ecdsa.key, certificates.ecdsa.chain))
    os.chmod(key, 0o644)
    words = ["--endpoint", f"ssl:{port}:interface=127.0.0.1:privateKey={key}:certKey={chain}", *_STATUS]
    about: Any = {"options": ("--uid", str(nobody.pw_uid)), "launcher": where_anybody_runs_this(), "env": installed.env}
    with served(serve, *words, **about) as server:
        installed.become("2.0")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("reloaded: ")  # as the user that it is: nothing is held for a successor any more
        os.chmod(key, 0o600)
        server.process.send_signal(signal.SIGUSR2)
        assert "Permission denied" in server.wait_for(r"cannot hand over: .*goes on as it was")[0]
        os.chmod(key, 0o644)
        server.process.send_signal(signal.SIGUSR2)
        server.wait_for(r"mytls 2\.0 has taken over")
        with connected(port, trusting(certificates.root)) as client:
            assert asks_and_hears(client, b"hello")
        told = Path(f"/proc/{successors(server)[-1]}/status").read_text()
        assert told.split("Uid:\t")[1].split()[0] == str(nobody.pw_uid)
        assert "Traceback" not in server.log


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give root up")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_upgrade_with_what_root_has_read(certificates: Certificates, open_folder: Path, workers: str) -> None:
    """
    The key is for root alone: a successor has it, and so has the one after that, whose workers serve. Another process
    of the same user gets at none of what they have.
    """
    installed, nobody, port = Installed(open_folder), pwd.getpwnam("nobody"), low_port()
    key, chain = (Path(shutil.copy(each, open_folder)) for each in (certificates.ecdsa.key, certificates.ecdsa.chain))
    key.chmod(0o600)
    words = ["--endpoint", f"ssl:{port}:interface=127.0.0.1:privateKey={key}:certKey={chain}", "--workers", workers]
    about: Any = {"options": ("--uid", str(nobody.pw_uid)), "launcher": where_anybody_runs_this(), "env": installed.env}
    with served(serving, *words, "--reload-interval", "100ms", **about) as server:
        for version in ("2.0", "3.0"):
            installed.become(version)
            os.kill((server.process.pid, *successors(server))[-1], signal.SIGUSR2)
            server.wait_for(rf"mytls {re.escape(version)} has taken over")
            with connected(port, trusting(certificates.root)) as client:
                assert asks_and_hears(client, b"hello")
            assert looked_into(successors(server)[-1], nobody.pw_uid) == {"Permission denied"}
        until(lambda: not is_there(successors(server)[0]), "the one before has ended")
        assert "reload-failed" not in server.log
        os.kill(successors(server)[-1], signal.SIGHUP)
        assert "cannot be read: Permission denied" in server.wait_for("reload-failed, the old stays: .*")[0]
        assert "Traceback" not in server.log


def looked_into(pid: int, user: int) -> set[str]:
    """What a process of a user's hears when it opens what that one, and those that it has started, have open."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    paths = [f"/proc/{each}/mem" for each in (pid, *children)]
    paths += map(os.fspath, memory_files(pid))
    assert any("/fd/" in path for path in paths)
    tried = subprocess.run(
        ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups", "head", "--bytes=1", *paths],
        check=False,
        capture_output=True,
        text=True,
    )
    return {line.rpartition(": ")[2] for line in tried.stderr.splitlines()}


def test_a_stop_in_the_middle_ends_both(certificates: Certificates, serve: Serve, installed: Installed) -> None:
    """The successor that was on its way is gone with the one that was told to stop."""
    with served(serve, "--endpoint", certificates.ecdsa.endpoint(), env=installed.env) as server:
        server.process.send_signal(signal.SIGUSR2)
        server.wait_for("starting process")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
        until(lambda: not any(map(is_there, successors(server))), "the successor is gone")


def test_a_daemon(certificates: Certificates, installed: Installed, tmp_path: Path) -> None:
    """The pid file names the successor, which goes on with the log, and removes the pid file at its end."""
    pidfile, log = tmp_path / "pid", tmp_path / "log"
    words = ["--pidfile", str(pidfile), "--logfile", str(log), "mytls", "--endpoint", certificates.ecdsa.endpoint()]
    subprocess.run([TWISTD, *words], check=True, env=environment(**installed.env), timeout=PATIENCE)
    first = int(pidfile.read_text())
    try:
        installed.become("2.0")
        os.kill(first, signal.SIGUSR2)
        until(lambda: not is_there(first), "the first is gone")
        second = int(pidfile.read_text())
        assert second != first
        said = log.read_text()
        assert re.search(r"starting process(.*\n)+.*has taken over from mytls 1\.0(.*\n)+.*Server Shut Down", said)
        os.kill(second, signal.SIGTERM)
        until(lambda: not is_there(second), "the second is gone")
        assert not pidfile.exists()
    finally:
        for pid in map(int, re.findall(r"starting process (\d+)", log.read_text())):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
