"""Policies that decide about real clients of a real twistd: in Python and in Rego, good ones and bad ones."""

from __future__ import annotations

import io
import re
import signal
import socket
import ssl
import struct
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trustme
from OpenSSL import SSL

from tests.live.clients import asks_and_hears, connected, secured, trusting
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE, Running, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")

RULES = """
import asyncio, time
from twisted.internet.defer import Deferred

def allow(peer):
    return "friend" in peer.cn or f"nobody knows {peer.cn}"

def blocks(peer):
    while "slow" in peer.cn:
        time.sleep(0.1)
    return True

async def waits(peer):
    if "slow" in peer.cn:
        await Deferred()
    return True

def raises(peer):
    raise LookupError(f"nobody knows {peer.cn[0]}\\n\\x1b[2Jclosed")

def ponders(peer):
    time.sleep(0.3)
    return True
"""

REGO = """package mytls
import rego.v1

default allow := false

far := numbers.range(1, 1500)

allow if "friend" in input.cn

# no comparison of these is ever true, and there are very many
allow if {
	"slow" in input.cn
	every i in far { every j in far { every k in far { i + j + k > 0 } } }
}

allow if {
	"greedy" in input.cn
	count(numbers.range(1, 1000000000)) == 1
}
"""

WHO = ("friend", "slow", "greedy", "other")
LISTENERS = (
    'policy = "rules:allow"',
    'policy = "rules:blocks"',
    'policy = "rules:waits"',
    'policy = "rules:raises"',
    'rego = "policy.rego"',
    'rego = "bundle.tar.gz"\nrego-query = "data.site.entry"',
    'policy = "rules:allow"\nrego = "policy.rego"',
    'policy = "rules:ponders"',
)
ALLOW, BLOCKS, WAITS, RAISES, IN_REGO, IN_BUNDLE, BOTH, PONDERS = range(len(LISTENERS))


class Site:
    """
    A twistd with a listener for each kind of policy.

    @ivar running: the process, while it runs
    """

    running: Running

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ca = trustme.CA()
        self._ca.cert_pem.write_to_path(folder / "ca.pem")
        server = self._ca.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
        server.private_key_and_cert_chain_pem.write_to_path(folder / "site.pem")
        for who in WHO:
            issued = self._ca.issue_cert(f"{who}.example", common_name=who, key_type=trustme.KeyType.ECDSA)
            issued.private_key_and_cert_chain_pem.write_to_path(folder / f"{who}.pem")
        (folder / "site.pem").chmod(0o600)
        (folder / "rules.py").write_text(RULES)
        (folder / "policy.rego").write_text(REGO)
        self.bundle("friend")
        tables = "".join(
            '[[listener]]\nendpoint = "mytls:0:interface=127.0.0.1"\nhandler = "echo"\ncertificate = "site.pem"\n'
            f'client-ca = "ca.pem"\n{each}\n'
            for each in LISTENERS
        )
        (folder / "mytls.toml").write_text(f'{tables}[reload]\ninterval = "100ms"\n[deadlines]\npolicy = "1s"\n')

    def bundle(self, who: str) -> None:
        """Put a bundle in place that lets this one enter, by its data."""
        files = {
            "/site.rego": b"package site\nimport rego.v1\nentry if data.people.friend in input.cn\n",
            "/people/data.json": b'{"friend": "%s"}' % who.encode(),
            "/.manifest": b"{}",
        }
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        self.replace("bundle.tar.gz", packed.getvalue())

    def replace(self, name: str, content: bytes) -> None:
        """A file, at once."""
        (self.folder / f"{name}.new").write_bytes(content)
        (self.folder / f"{name}.new").replace(self.folder / name)

    @contextmanager
    def served(self, serve: Serve) -> Iterator[Site]:
        """It runs."""
        with serve("--config", "mytls.toml", cwd=self.folder) as self.running:
            self.running.wait_for(r"serving \S+ at (\S+)", len(LISTENERS))
            yield self

    def enters(self, listener: int, who: str, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bool:
        """Whether somebody is served there."""
        context = self.context(who)
        context.minimum_version = context.maximum_version = version
        try:
            with connected(self.port(listener), context) as client:
                return asks_and_hears(client, b"hello")
        except (OSError, AssertionError):  # an alert, a reset or the end, as the client comes to see it
            return False

    def context(self, who: str) -> ssl.SSLContext:
        """A client's."""
        context = trusting(self.folder / "ca.pem")
        context.load_cert_chain(self.folder / f"{who}.pem")
        return context

    def port(self, listener: int) -> int:
        """Where it listens."""
        return int(self.running.addresses[listener].rpartition(":")[2])

    def workers(self) -> list[int]:
        """The processes of policies in Rego."""
        return [pid for pid, parent, state in processes() if parent == self.running.process.pid and state != "Z"]

    def zombies(self) -> list[int]:
        """Children that nobody has waited for."""
        return [pid for pid, parent, state in processes() if parent == self.running.process.pid and state == "Z"]


def processes() -> Iterator[tuple[int, int, str]]:
    """All that there are: number, parent and state."""
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = each.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        yield int(each.parent.name), int(parent), state


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[list[object]]:
    """Something that goes on beside the block, and is waited for at its end. @return: what comes of it"""
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    try:
        yield results
    finally:
        thread.join()


@pytest.fixture(scope="module")
def site(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One twistd for all that does not end it."""
    with Site(tmp_path_factory.mktemp("policies")).served(serve) as made:
        yield made


def test_python_decides_by_the_certificate(site: Site) -> None:
    """A function lets in who has the name, with each version of TLS, and the log says why another is refused."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        assert site.enters(ALLOW, "friend", version)
        assert not site.enters(ALLOW, "other", version)
    lines = site.running.wait_for(r"handshake-failed .* cause=policy .*policy=rules:allow says: nobody knows .*", 2)
    assert all("other" in line for line in lines)


@pytest.mark.parametrize("listener", [BLOCKS, WAITS])
def test_python_that_hangs(site: Site, listener: int) -> None:
    """A function that blocks, or a coroutine that waits for ever, refuses its client in time, and holds up nobody."""
    before = len(site.running.wait_for("the policy has not answered within", 0))
    with meanwhile(lambda: site.enters(listener, "slow")) as results:
        since = time.monotonic()
        while not results:
            assert site.enters(listener, "friend")
        assert time.monotonic() - since > 0.8
    assert results == [False]
    site.running.wait_for("cause=policy .*the policy has not answered within", before + 1)


def test_python_that_raises(site: Site) -> None:
    """What a function raises refuses that client, with a traceback for its author, and the service goes on."""
    assert not site.enters(RAISES, "friend")
    (line,) = site.running.wait_for(r"LookupError: nobody knows .*")
    assert line.endswith(r"LookupError: nobody knows friend\x0a\x1b[2Jclosed")
    site.running.wait_for(r"rules.py:\d+ in raises: raise LookupError")
    site.running.wait_for("cause=policy .*policy=rules:raises raised LookupError")
    assert site.enters(ALLOW, "friend")


@pytest.mark.parametrize("reset", [False, True])
def test_who_hangs_up_is_noticed(site: Site, reset: bool) -> None:
    """Who hangs up while a policy has not answered is gone then, and not when its time is over."""
    lost = r"handshake-failed .* cause=(eof|reset) .*the connection was lost before the policy answered"
    before = len(site.running.wait_for(lost, 0))
    plain = socket.create_connection(("127.0.0.1", site.port(WAITS)), PATIENCE)
    with secured(plain, site.context("slow")) as client:
        time.sleep(0.2)
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line = site.running.wait_for(lost, before + 1)[-1]
    assert float(re.findall(r"after (\d+\.\d+)s", line)[0]) < 0.9


def test_request_without_more(site: Site) -> None:
    """A client that says all it has to say, close_notify, and ends its direction, has its answer after the yes."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate_chain_file(str(site.folder / "friend.pem"))
    context.use_privatekey_file(str(site.folder / "friend.pem"))
    with socket.create_connection(("127.0.0.1", site.port(PONDERS)), PATIENCE) as plain:
        plain.settimeout(None)
        client = SSL.Connection(context, plain)
        client.set_tlsext_host_name(b"localhost")
        client.set_connect_state()
        client.do_handshake()
        client.sendall(b"hello")
        client.shutdown()
        plain.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b"hello"
        with pytest.raises(SSL.ZeroReturnError):
            client.recv(100)


def test_rego_decides(site: Site) -> None:
    """A policy in Rego lets in who has the name; with one in Python beside it, both have to."""
    for listener in (IN_REGO, IN_BUNDLE, BOTH):
        assert site.enters(listener, "friend")
        assert not site.enters(listener, "other")
    site.running.wait_for("cause=policy .*rego=.*policy.rego says no")


def test_rego_that_runs_for_ever(site: Site) -> None:
    """A query without an end refuses its client in time; others are served meanwhile; its process is killed."""
    assert site.enters(IN_REGO, "friend")
    seen = set(site.workers())
    with meanwhile(lambda: site.enters(IN_REGO, "slow")) as results:
        while not results:
            assert site.enters(IN_REGO, "friend")
            seen |= set(site.workers())
    assert results == [False]
    site.running.wait_for("a question took too long, its process is killed")
    until(lambda: not seen <= set(site.workers()) and not site.zombies(), "a worker is gone")
    assert site.enters(IN_REGO, "friend")


def test_rego_that_many_hold_up(site: Site) -> None:
    """However many questions without an end somebody has, others are answered meanwhile."""
    assert site.enters(IN_REGO, "friend")
    with ExitStack() as stack:
        slow = [stack.enter_context(meanwhile(lambda: site.enters(IN_REGO, "slow"))) for _ in range(6)]
        time.sleep(0.3)
        assert site.enters(IN_REGO, "friend")
        assert slow == [[]] * 6, "they were over before"
    assert slow == [[False]] * 6


def test_rego_that_takes_memory(site: Site) -> None:
    """A query that takes memory without bound refuses its client, and twistd's own memory stays what it was."""
    before = site.running.peak_memory()
    assert not site.enters(IN_REGO, "greedy")
    until(lambda: not site.zombies(), "the worker is gone")
    assert site.enters(IN_REGO, "friend")
    assert site.running.peak_memory() < before + (64 << 20)


def test_bundle_is_replaced(site: Site) -> None:
    """A bundle that is replaced decides from then on; one that is broken does not, and is told."""
    assert not site.enters(IN_BUNDLE, "other")
    site.bundle("other")
    until(lambda: site.enters(IN_BUNDLE, "other"), "the new bundle decides")
    assert not site.enters(IN_BUNDLE, "friend")
    site.replace("bundle.tar.gz", b"\x1f\x8bnonsense")
    site.running.wait_for(r"reload-failed, the old stays: .*rego=.*bundle.tar.gz: it is no bundle")
    assert site.enters(IN_BUNDLE, "other")
    site.bundle("friend")
    until(lambda: site.enters(IN_BUNDLE, "friend"), "the old bundle decides")


def test_stop(serve: Serve, tmp_path: Path) -> None:
    """When twistd stops, while policies hang, it stops at once, and leaves no process behind."""
    with Site(tmp_path).served(serve) as site:
        assert site.enters(IN_REGO, "friend")
        assert site.enters(IN_BUNDLE, "friend")
        slow = [threading.Thread(target=site.enters, args=(listener, "slow")) for listener in (BLOCKS, WAITS, IN_REGO)]
        for thread in slow:
            thread.start()
        until(lambda: len(site.running.wait_for("accepted", 0)) >= 5 or len(site.workers()) >= 2, "they are asking")
        time.sleep(0.3)
        workers = set(site.workers())
        assert len(workers) >= 2
        since = time.monotonic()
        site.running.process.send_signal(signal.SIGTERM)
        assert site.running.wait() in (0, -signal.SIGTERM)
        assert time.monotonic() - since < 5
        for thread in slow:
            thread.join()
        until(lambda: not workers & {pid for pid, _, state in processes() if state != "Z"}, "the workers are gone")
        assert "Traceback" not in site.running.log


def test_killed(serve: Serve, tmp_path: Path) -> None:
    """When twistd is killed its processes are gone too, whatever they are in."""
    with Site(tmp_path).served(serve) as site:
        assert site.enters(IN_BUNDLE, "friend")
        with meanwhile(lambda: site.enters(IN_REGO, "slow")) as results:
            until(lambda: len(site.workers()) == 2, "it is asking")
            time.sleep(0.3)
            workers = set(site.workers())
            site.running.process.kill()
            until(lambda: not workers & {pid for pid, _, state in processes() if state != "Z"}, "they are gone", 3)
        assert results == [False]
