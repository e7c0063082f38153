"""The log, in both formats: one line for each way to end, with what an operator can do about it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest
from OpenSSL import SSL

from mytls.logs.datagrams import SYSLOG
from tests.live.clients import asks_and_hears, connected, trusting
from tests.live.conftest import Serve
from tests.live.failing import CONFIG, ENDINGS, NASTY, Ending, Site, write_site
from tests.live.processes import Running, run, until

_TEXT = re.compile(r"\[mytls\.accesslog#\w+\] ((?:closed|refused|[a-z]+-failed) .*)")


@attrs.frozen
class Told:
    """
    A line.

    @ivar event: its event
    @ivar cause: its cause, or None
    @ivar hint: its hint, or nothing
    @ivar line: all of it
    """

    event: str
    cause: str | None
    hint: str
    line: str


@attrs.frozen
class Log:
    """A site that runs, and its log."""

    site: Site
    running: Running
    json: bool

    def told(self) -> list[Told]:
        """The lines until now; each is what its format says."""
        if not self.json:
            return [_of_text(line) for line in _TEXT.findall(self.running.log)]
        lines = (self.site.folder / "access.json").read_text().splitlines()
        return [_of_json(line) for line in lines]

    def next(self, does: Callable[[Site], object], event: str, cause: str | None, count: int) -> Told:
        """Do it, and wait for the line behind so many. @return: the line"""
        does(self.site)

        def found() -> list[Told]:
            new = self.told()[count:]
            return [each for each in new if each.event == event and re.fullmatch(str(cause), str(each.cause))]

        until(lambda: bool(found()), f"{event} {cause}")
        return found()[0]


def _of_text(line: str) -> Told:
    event = line.partition(" ")[0]
    if event == "backend-failed":
        return Told(event, line.rpartition(" (")[0].rpartition(": ")[2], "", line)
    cause = re.search(r" cause=([a-z-]+)", line)
    return Told(event, cause[1] if cause else None, line.partition("; hint: ")[2], line)


def _of_json(line: str) -> Told:
    assert line.isascii()
    read = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", read["time"])
    return Told(read["event"], read.get("cause"), read.get("hint") or "", line)


@pytest.fixture(scope="module", params=["text", "json"])
def log(
    request: pytest.FixtureRequest, serve: Serve, needs: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Log]:
    """One twistd for each format."""
    for program in ("openssl", "curl", "gnutls-cli"):
        needs(program)
    folder = tmp_path_factory.mktemp("log")
    write_site(folder)
    in_json = request.param == "json"
    table = '[log]\nrepeats = 0\nformat = "json"\nto = "file:access.json"\n' if in_json else "[log]\nrepeats = 0\n"
    (folder / "mytls.toml").write_text(table + CONFIG)
    with serve("--config", "mytls.toml", cwd=folder) as running:
        running.wait_for(r"serving \S+ at (\S+)", 3)
        ports = tuple(int(each.rpartition(":")[2]) for each in running.addresses)
        yield Log(Site(folder, ports), running, in_json)


def test_every_ending_has_its_line(log: Log) -> None:
    """Whatever way a client ends, there is one line with the cause, and for each failure a hint that fits it."""
    rows = []
    late = [ending for ending in ENDINGS if ending.cause == "handshake-timeout"]
    for ending in ENDINGS:
        if ending not in late:
            rows.append(_met(ending, log.next(ending.does, ending.event, ending.cause, len(log.told()))))
    count = len(log.told())
    with ThreadPoolExecutor() as threads:
        for ending in late:
            threads.submit(ending.does, log.site)
    until(lambda: len(log.told()) == count + len(late), "three lines")
    for ending in late:
        (told,) = [each for each in log.told()[count:] if re.search(ending.hint, each.hint)]
        rows.append(_met(ending, told))
    sys.stdout.write("\n" + "\n".join(rows) + "\n")
    assert "Unhandled" not in log.running.log
    assert log.running.log.count("Traceback") == 2  # of the handler that raises


def _met(ending: Ending, told: Told) -> str:
    """Check the hint. @return: a row of the table"""
    assert re.search(ending.hint, told.hint), (ending.title, told.line)
    assert bool(told.hint) == (ending.event in ("handshake-failed", "refused")), told.line
    return f"{ending.title}\n    {told.line}"


def test_names_of_strangers(log: Log) -> None:
    """Newlines, quotes, ESC, braces and percent signs in SNI, CN and ALPN stay in their fields, in one line each."""
    sent = NASTY.encode("utf-8")
    count = len(log.told())

    def asks(site: Site) -> None:
        context = SSL.Context(SSL.TLS_METHOD)
        client = SSL.Connection(context)
        client.set_tlsext_host_name(sent)
        client.set_alpn_protos([sent])
        client.set_connect_state()
        with pytest.raises(SSL.WantReadError):
            client.do_handshake()
        site.says(client.bio_read(65536))

    of_name = log.next(asks, "handshake-failed", "unknown-name", count)
    of_certificate = log.next(
        lambda site: site.meets("secret.test", "nasty.pem"), "handshake-failed", "not-allowed", count
    )
    sys.stdout.write(f"\n{of_name.line}\n{of_certificate.line}\n")
    assert len(log.told()) == count + 2
    for line in (of_name.line, of_certificate.line):
        assert line.isascii()
        assert line.isprintable()
    if log.json:
        read = json.loads(of_name.line)
        assert read["server_name"].encode("latin-1") == sent
        assert [each.encode("latin-1") for each in read["offered_alpn"]] == [sent]
    else:
        word = r"a\x20b\x22c\x5cd\x0d\x0aclosed\x1b[31m{}%s{log_source}\xc3\xa9"
        assert f" name={word} cause=unknown-name " in of_name.line
        assert r" alpn=a\x20b\x22c\x5cd\x0d\x0aclosed\x1b[31m{}%s{log_source}" in of_name.line
        assert r"cn=a\x20b\x22c\x5cd\x0d\x0aclosed" in of_certificate.line


@pytest.mark.parametrize("log", ["json"], indirect=True)
def test_moved_away(log: Log) -> None:
    """A file that is renamed is begun anew, at once on HUP, and no line is lost."""
    folder = log.site.folder
    (folder / "access.json").rename(folder / "old.json")
    log.running.process.send_signal(signal.SIGHUP)
    log.running.wait_for("reloaded: nothing has changed")
    until((folder / "access.json").exists, "a new file")
    assert [_of_json(line).event for line in (folder / "access.json").read_text().splitlines()] == ["reloaded"]
    with connected(log.site.ports[0], trusting(folder / "root.pem")) as client:
        assert asks_and_hears(client, b"still here")
    until(lambda: len(log.told()) == 2, "its line")
    assert (folder / "access.json").stat().st_mode & 0o777 & ~0o640 == 0


def test_the_same_again(serve: Serve, tmp_path: Path) -> None:
    """Of two hundred port scans ten have a line; the rest is summed up, at the latest when the service ends."""
    write_site(tmp_path)
    endpoint = "mytls:0:interface=127.0.0.1:certKey=localhost.pem"
    with serve("--endpoint", endpoint, "--log-to", "file:a.log", cwd=tmp_path) as running:
        site = Site(tmp_path, (running.port,))
        for _ in range(200):
            site.connect().close()
        with connected(running.port, trusting(tmp_path / "root.pem")) as client:
            assert asks_and_hears(client, b"still here")
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 0
        assert " closed " not in running.log
    lines = (tmp_path / "a.log").read_text().splitlines()
    sys.stdout.write(f"\n{lines[-1]}\n")
    assert sum("handshake-failed 127.0.0.1:" in line for line in lines) == 10
    assert sum("Z closed " in line for line in lines) == 1
    assert re.search(
        r" handshake-failed at 127.0.0.1:\d+ cause=eof: 190 more in \d+s from 1 address, such as 127", lines[-1]
    )


@pytest.fixture
def syslogd(needs: Callable[[str], str], tmp_path: Path) -> Iterator[Path]:
    """A real syslogd at /dev/log, which writes this file; where another has that place, there is none for ours."""
    words = [needs("busybox"), "syslogd", "-n", "-O", os.fspath(tmp_path / "messages")]
    if os.geteuid() or _somebody_listens(SYSLOG[0]):
        pytest.skip(f"{SYSLOG[0]} is not to be had")
    with subprocess.Popen(words, stdin=subprocess.DEVNULL) as process:
        until(lambda: _somebody_listens(SYSLOG[0]), "syslogd")
        yield tmp_path / "messages"
        process.terminate()
    Path(SYSLOG[0]).unlink(missing_ok=True)


def _somebody_listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as tried:
        return tried.connect_ex(path) == 0


def test_syslog(syslogd: Path, serve: Serve, tmp_path: Path) -> None:
    """A real syslogd has each line, with its priority: each end has one."""
    write_site(tmp_path)
    (tmp_path / "mytls.toml").write_text('[log]\nto = "syslog"\n' + CONFIG)
    wanted = {
        "daemon.info": ("closed", None),
        "daemon.notice": ("handshake-failed", "not-tls"),
        "daemon.warn": ("backend-failed", "backend-refused"),
        "daemon.err": ("closed", "handler"),
    }
    with serve("--config", "mytls.toml", cwd=tmp_path) as running:
        running.wait_for(r"serving \S+ at (\S+)", 3)
        site = Site(tmp_path, tuple(int(each.rpartition(":")[2]) for each in running.addresses))
        for event, cause in wanted.values():
            next(each for each in ENDINGS if (each.event, each.cause) == (event, cause)).does(site)
        pattern = rf" (daemon\.\w+) mytls\[{running.process.pid}\]: ([a-z]+(?:-failed)?) 127\.0\.0\.1:"

        def lines() -> list[tuple[str, str]]:
            return re.findall(pattern, syslogd.read_text())

        expected = {(priority, event) for priority, (event, _) in wanted.items()} | {("daemon.err", "handler-failed")}
        until(lambda: {*lines()} >= expected, "a line of each priority")
    sys.stdout.write(f"\n{syslogd.read_text()}\n")
    ends = [priority for priority, event in lines() if event == "closed"]
    assert sorted(ends) == ["daemon.err", "daemon.info", "daemon.warn"]


def test_not_writable(tmp_path: Path) -> None:
    """A file that cannot be written is one line, and status 1."""
    write_site(tmp_path)
    words = [os.fspath(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile=", "mytls"]
    words += ["--endpoint", "mytls:0:interface=127.0.0.1:certKey=localhost.pem", "--log-to"]
    done = run(*words, "file:nowhere/a.log", cwd=tmp_path)
    line = "mytls: --log-to=file:nowhere/a.log: cannot be written: no such folder\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)
