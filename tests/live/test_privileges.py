"""What is left to a service once it serves: no root, no group of root's, no core, and with a sandbox little else."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import landlockpy
import pytest

from mytls.guards.sandbox import LEAST
from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, connected, trusting
from tests.live.processes import TWISTD, Running, memory_files, run, serving, until

_NOT_NOW = r"reload-failed, the old stays: .*"
#: A handler that does what it is told, and answers with what became of it.
_OBEYS = """
import os, socket

def obey(connstream, data):
    try:
        exec(data.decode())
        answer = "done"
    except OSError as error:
        answer = error.strerror
    connstream.sendall(f"{answer}\\n".encode())
"""


def status_of(server: Running) -> dict[str, str]:
    """What the system says of the process."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def low_port() -> int:
    """A port that only root may bind, and nobody has."""
    for port in range(1023, 600, -1):
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    pytest.fail("there is no free port below 1024")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may look into."""
    with tempfile.TemporaryDirectory(prefix="mytls-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give root up")
def test_root_is_given_up(certificates: Certificates, open_folder: Path, needs: Callable[[str], str]) -> None:
    """
    Root binds the port, opens the log and reads a key that is for root alone; then the service is another user, in none
    of root's groups. A new key cannot be read: one line says why, and the old one is served on.
    """
    nobody, port = pwd.getpwnam("nobody"), low_port()
    key, chain, log = (open_folder / name for name in ("key.pem", "chain.pem", "access.log"))
    shutil.copy(certificates.ecdsa.key, key)
    shutil.copy(certificates.ecdsa.chain, chain)
    key.chmod(0o600)
    with serving(
        *("--endpoint", f"ssl:{port}:interface=127.0.0.1:privateKey={key}:certKey={chain}", "--handler", "echo"),
        *("--reload-interval", "100ms", "--core-dumps", "off", "--log-to", f"file:{log}"),
        options=("--uid", str(nobody.pw_uid)),
        launcher=(needs("setpriv"), "--groups", "0,1,4"),
    ) as server:
        server.wait_for("set uid/gid")
        until(lambda: status_of(server)["Uid"].split() == [str(nobody.pw_uid)] * 4, "it is another user")
        told = status_of(server)
        assert told["Gid"].split() == [str(nobody.pw_gid)] * 4
        assert told["Groups"].split() == [str(nobody.pw_gid)]
        assert int(told["CapEff"], 16) == 0
        assert re.search(r"Max core file size +[01] +[01] ", Path(f"/proc/{server.process.pid}/limits").read_text())
        with connected(port, trusting(certificates.root)) as client:
            assert asks_and_hears(client, b"in")
        until(lambda: "closed 127.0.0.1" in log.read_text(), "the log has its line")

        assert "reload-failed" not in server.log
        new = Path(shutil.copy(key, open_folder / "new.pem"))
        new.chmod(0o600)
        new.rename(key)
        (line,) = server.wait_for(_NOT_NOW)
        assert f"privateKey={key}: cannot be read: Permission denied as user nobody: the service has given up" in line
        server.process.send_signal(signal.SIGHUP)  # tells it again; what the timer found in between is none
        assert len(server.wait_for(_NOT_NOW, 2)) == 2
        with connected(port, trusting(certificates.root)) as client:
            assert asks_and_hears(client, b"in")
        assert "Traceback" not in server.log


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give root up")
def test_workers_have_what_root_has_read(certificates: Certificates, open_folder: Path) -> None:
    """
    The key and the file are for root alone, and the workers are another user from their start on: they serve all the
    same, also one that is started later. What cannot be read in a reload is told once, and the old is served on.
    """
    launcher = where_anybody_runs_this()
    nobody, port = pwd.getpwnam("nobody"), low_port()
    key, chain, config = (open_folder / name for name in ("key.pem", "chain.pem", "mytls.toml"))
    shutil.copy(certificates.ecdsa.key, key)
    shutil.copy(certificates.ecdsa.chain, chain)
    config.write_text(
        f'[[listener]]\nendpoint = "mytls:{port}:interface=127.0.0.1"\nhandler = "echo"\n'
        f'certificate = "{chain}"\nprivate-key = "{key}"\n'
    )
    for each in (key, config):
        each.chmod(0o600)
    uid = ("--uid", str(nobody.pw_uid))
    with serving("--config", str(config), "--workers", "2", options=uid, launcher=launcher) as server:
        until(lambda: len(children_of(server)) == 2, "there are two workers")
        with connected(port, trusting(certificates.root)) as client:
            assert asks_and_hears(client, b"in")
        server.wait_for(r"\[worker \d\] \w+ \(TLS\) starting on", 2)
        for child in children_of(server):
            assert Path(f"/proc/{child}/status").read_text().split("Uid:\t")[1].split()[0] == str(nobody.pw_uid)
            assert b"PRIVATE" not in Path(f"/proc/{child}/environ").read_bytes()
            assert not memory_files(int(child), "memfd:mytls ")
        before = children_of(server)
        os.kill(int(before[0]), signal.SIGKILL)
        until(lambda: len(children_of(server)) == 2 and children_of(server) != before, "it is started again")
        os.kill(int(before[1]), signal.SIGKILL)
        until(lambda: not set(before) & set(children_of(server)), "there are others")
        with connected(port, trusting(certificates.root)) as client:
            assert asks_and_hears(client, b"in")
        server.process.send_signal(signal.SIGHUP)
        (line,) = server.wait_for(_NOT_NOW)
        assert "cannot be read: Permission denied" in line
        assert "Traceback" not in server.log


#: Puts the second folder, as it is, below an empty one that everybody may look into, and runs a program.
_OPENED = (
    'set -e; kept=$(mktemp -d); mount --bind "$2" "$kept"; mount -t tmpfs -o mode=755 none "$1"; '
    'mkdir -p "$2"; mount --move "$kept" "$2"; shift 2; exec "$@"'
)


def where_anybody_runs_this() -> tuple[str, ...]:
    """What starts a program so that each user can run this Python, also where it lives in root's home."""
    folders = list(Path(sys.executable).resolve().parents)[::-1]
    closed = next((at for at, each in enumerate(folders) if not each.stat().st_mode & 0o001), None)
    launcher: tuple[str, ...] = ()
    if closed is not None:
        opened = [os.fspath(each) for each in folders[closed : closed + 2]]
        launcher = ("unshare", "--mount", "--propagation", "private", "sh", "-c", _OPENED, "sh", *opened)
    as_nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", sys.executable, "-P", "-c")
    tried = subprocess.run([*launcher, *as_nobody, "import mytls.tap"], check=False, capture_output=True, cwd="/")
    if tried.returncode:
        pytest.skip(f"another user cannot run this Python: {tried.stderr.decode()[-200:]}")
    return launcher


def children_of(server: Running) -> list[str]:
    """The processes that it has started."""
    pid = server.process.pid
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.skipif(landlockpy.abi_version() < LEAST, reason="this kernel has no Landlock with ports")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_sandbox(certificates: Certificates, tmp_path: Path, workers: str) -> None:
    """
    A handler reaches what the configuration names, and nothing else; a file that comes to its folder is loaded, one
    elsewhere is refused with the reason.
    """
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for each in (home, elsewhere, tmp_path / "logs", tmp_path / "data"):
        each.mkdir()
    (elsewhere / "secret").write_text("secret")
    (home / "app.py").write_text(_OBEYS)
    for name in (home / "both.pem", elsewhere / "both.pem"):
        name.write_bytes(certificates.ecdsa.key.read_bytes() + certificates.ecdsa.chain.read_bytes())
        name.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as backend, socket.create_server(("127.0.0.1", 0)) as other:
        allowed, forbidden = backend.getsockname()[1], other.getsockname()[1]
        config = home / "mytls.toml"
        config.write_text(
            f"sandbox = true\nsandbox-write = '../data'\nsandbox-connect = {allowed}\nworkers = {workers}\n"
            f"[log]\nto = 'file:../logs/access.log'\n[reload]\ninterval = '100ms'\n"
            "[[listener]]\nendpoint = 'mytls:0:interface=127.0.0.1'\ncertificate = 'both.pem'\n"
            "handler = 'call:app:obey'\n"
        )
        with serving("--config", str(config), cwd=home) as server:
            server.wait_for("sandboxed: ", int(workers))
            asked = (
                ("open('mytls.toml').read()", "done"),
                (f"open('{elsewhere}/secret').read()", "Permission denied"),
                ("os.listdir('/')", "Permission denied"),
                ("open('mytls.toml', 'a')", "Permission denied"),
                (f"open('{tmp_path}/data/new', 'w').close()", "done"),
                ("__import__('wave'); socket.getaddrinfo('localhost', 1)", "done"),
                ("os.execv('/bin/true', ['true'])", "Permission denied"),
                (f"socket.create_connection(('127.0.0.1', {allowed})).close()", "done"),
                (f"socket.create_connection(('127.0.0.1', {forbidden}))", "Permission denied"),
                ("socket.socket().bind(('127.0.0.1', 1024))", "Permission denied"),
            )
            for code, answer in asked:
                with connected(server.port, trusting(certificates.root)) as client:
                    client.sendall(code.encode())
                    assert client.recv(100).decode() == f"{answer}\n", code
            log = tmp_path / "logs" / "access.log"
            until(lambda: log.read_text().count("closed 127.0.0.1") == len(asked), "the log has its lines")

            text = config.read_text()
            config.write_text(text.replace("'both.pem'", "'../elsewhere/both.pem'"))
            (line,) = server.wait_for(_NOT_NOW)
            assert "both.pem: cannot be read: Permission denied; it is outside of the sandbox" in line
            config.write_text(text.replace("'both.pem'", "'other.pem'"))
            (home / "both.pem").rename(home / "other.pem")
            server.wait_for("reloaded: ")


def test_no_library(certificates: Certificates, tmp_path: Path) -> None:
    """Where the sandbox cannot be had nothing starts: one line, which says what to do."""
    (tmp_path / "landlockpy.py").write_text("raise ImportError\n")
    words = ("--sandbox", "--endpoint", certificates.ecdsa.endpoint())
    done = run(TWISTD, "--nodaemon", "--pidfile=", "mytls", *words, env={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "mytls: --sandbox: it needs a library: pip install 'mytls[landlock]'\n"
