"""How `twistd mytls` starts: with nothing at all, as a daemon, and beside Twisted's own commands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, connected, converse, trusting
from tests.live.conftest import Serve
from tests.live.processes import TWISTD, run, until

Needs = Callable[[str], str]

#: Runs a program on a machine of its own that has nothing but the loopback interface.
ALONE = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


def alone() -> bool:
    """Whether this machine lets us have a network of our own."""
    programs = all(shutil.which(each) for each in ("unshare", "nsenter", "ip"))
    return programs and run(*ALONE, "true").returncode == 0


def port_is_free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as plain:
        return plain.connect_ex(("127.0.0.1", port)) != 0


def test_with_nothing_at_all_it_serves_echo_with_a_certificate_of_its_own(
    serve: Serve, needs: Needs, tmp_path: Path
) -> None:
    """`twistd mytls` alone serves on 127.0.0.1:8443; the line that it logs, pasted, verifies it and is echoed."""
    needs("openssl")
    launcher = ALONE if alone() else []
    if not launcher and not port_is_free(8443):
        pytest.skip("port 8443 is in use, and a network of our own is not to be had here (unshare, nsenter, ip)")
    with serve(launcher=launcher, env={"XDG_STATE_HOME": str(tmp_path)}) as server:
        assert server.addresses == ["127.0.0.1:8443"]
        server.wait_for("connect with: .*")
        line = server.log.partition("connect with: ")[2].splitlines()[0]
        enter = ["nsenter", "--net", "--target", str(server.process.pid)] if launcher else []
        told = converse([*enter, *shlex.split(line)], b"hello myself\n", b"\nhello myself\n")
        assert b"Verification: OK" in told
        assert b"Verified peername: localhost" in told
    kept = {each.name: each.stat().st_mode & 0o777 for each in (tmp_path / "mytls").iterdir()}
    assert kept == dict.fromkeys(("ca.key", "ca.pem", "localhost.key", "localhost.pem"), 0o600)


def test_as_a_daemon_it_serves_until_term(certificates: Certificates, tmp_path: Path) -> None:
    """`twistd --pidfile X --logfile Y mytls` returns, serves, and ends with TERM."""
    pidfile, logfile = tmp_path / "mytls.pid", tmp_path / "mytls.log"
    words = ["--pidfile", str(pidfile), "--logfile", str(logfile), "mytls", "--endpoint", certificates.rsa.endpoint()]
    told = run(TWISTD, *words, cwd=tmp_path)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    until(pidfile.exists, "the pidfile is written")
    pid = int(pidfile.read_text())
    try:
        until(lambda: "serving echo at" in logfile.read_text(), "it serves")
        found = re.search(r"serving echo at 127\.0\.0\.1:(\d+)", logfile.read_text())
        assert found is not None
        with connected(int(found[1]), trusting(certificates.root)) as client:
            assert asks_and_hears(client, b"hello daemon")
        os.kill(pid, signal.SIGTERM)
        until(lambda: not pidfile.exists(), "the pidfile is gone")
        until(lambda: "Server Shut Down" in logfile.read_text(), "it has ended")
    finally:
        if pidfile.exists():
            os.kill(pid, signal.SIGKILL)


def test_a_daemon_that_cannot_listen_says_so_to_the_terminal(certificates: Certificates, tmp_path: Path) -> None:
    """The parent of a daemon whose port is busy prints the reason, and ends with a status that is not 0."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        words = ["--pidfile", "p", "--logfile", "l", "mytls", "--endpoint", certificates.rsa.endpoint(port=port)]
        told = run(TWISTD, *words, cwd=tmp_path)
    assert told.returncode != 0
    assert re.search(rf"cannot listen: port {port}: address already in use", told.stderr)
    assert "Traceback" not in told.stdout + told.stderr


def test_twistd_web_listens_with_mytls(certificates: Certificates, serve: Serve, needs: Needs, tmp_path: Path) -> None:
    """`twistd web --listen mytls:...` serves curl, which trusts the root alone: the chain is sent."""
    needs("curl")
    (tmp_path / "page.txt").write_text("a page\n")
    endpoint = certificates.ecdsa.endpoint(prefix="mytls")
    with serve("--listen", endpoint, "--path", str(tmp_path), command="web", ready=r"starting on \d+") as server:
        port = server.wait_for(r"starting on \d+")[0].rpartition(" ")[2]
        page = f"https://localhost:{port}/page.txt"
        told = run("curl", "--silent", "--show-error", "--ipv4", "--cacert", str(certificates.root), page)
    assert (told.stdout, told.stderr) == ("a page\n", "")


IMPORT = """
import sys, time
import twisted.scripts.twistd
before, start = set(sys.modules), time.perf_counter()
import twisted.plugins.mytls_plugin
print(time.perf_counter() - start, *sorted(set(sys.modules) - before))
"""


def test_the_plugin_adds_next_to_nothing_to_the_start_of_any_twistd() -> None:
    """What every twistd on the machine imports of mytls takes under 20 ms, and no OpenSSL."""
    told = [run(sys.executable, "-c", IMPORT).stdout.split() for _ in range(5)]
    assert min(float(each[0]) for each in told) < 0.020
    assert not [name for name in told[0][1:] if name.partition(".")[0] in ("OpenSSL", "cryptography", "attr")]


def test_twistd_names_it_in_its_help() -> None:
    """`twistd --help` lists mytls, and `twistd mytls --help` its options."""
    assert re.search(r"^ +mytls +A TLS server", run(TWISTD, "--help").stdout, re.MULTILINE)
    told = run(TWISTD, "mytls", "--help")
    assert told.returncode == 0
    for option in ("--endpoint", "--handler", "--deadlines-handshake"):
        assert option in told.stdout


def test_it_says_its_version() -> None:
    """`twistd mytls --version` prints one line."""
    told = subprocess.run([TWISTD, "mytls", "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"mytls \d+\.\d+\.\d+\S*\n", told.stdout)
