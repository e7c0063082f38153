"""Certificates that change while clients come."""

from __future__ import annotations

import os
import signal
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mytls.peer import serial_text
from tests.live.clients import asks_and_hears, connected, trusting
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE, Running, until
from tests.tls.authority import Authority

#: How often certificate and key are swapped; each takes some 0.3 seconds.
SWAPS = 50 if os.environ.get("MYTLS_LONG") else 8


class Site:
    """A folder with a configuration file, a CA, and the key pair of localhost that it serves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.root = folder / "root.pem"
        self.ca.cert_pem.write_to_path(self.root)
        self.certificate, self.key = folder / "site.pem", folder / "site.key"
        self.config = folder / "mytls.toml"
        self.renew()

    def issue(self) -> tuple[bytes, bytes, int]:
        """A new certificate, its key, and its serial number."""
        leaf = self.ca.issue_cert("localhost", "127.0.0.1", key_type=trustme.KeyType.ECDSA)
        pem = leaf.cert_chain_pems[0].bytes()
        root = self.ca.cert_pem.bytes()
        return pem + root, leaf.private_key_pem.bytes(), x509.load_pem_x509_certificate(pem).serial_number

    def renew(self, pause: float = 0.0) -> int:
        """Write a new certificate, and its key later. @return: the serial number"""
        pem, key, serial = self.issue()
        self.certificate.write_bytes(pem)
        time.sleep(pause)
        self.key.write_bytes(key)
        return serial

    def configure(self, *listeners: str, interval: str = "100ms") -> None:
        """Write the file: each listener by its endpoint string."""
        tables = "".join(
            f'[[listener]]\nendpoint = "{each}"\nhandler = "echo"\ncertificate = "site.pem"\nprivate-key = "site.key"\n'
            for each in listeners
        )
        self.config.write_text(f'{tables}[reload]\ninterval = "{interval}"\n')


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site on a port that the system chooses."""
    made = Site(tmp_path)
    made.configure("mytls:0:interface=127.0.0.1")
    return made


@contextmanager
def served(site: Site, serve: Serve) -> Iterator[Running]:
    """It runs."""
    with serve("--config", str(site.config)) as running:
        yield running


def serial(port: int, context: ssl.SSLContext) -> int:
    """The serial number that a client sees, once it has been answered."""
    with connected(port, context) as client:
        assert asks_and_hears(client, b"x")
        der = client.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der).serial_number


class Visitors:
    """A hundred handshakes a second, of clients that check what they are shown."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.seen: Counter[int] = Counter()
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._visit, args=(port, context)) for _ in range(4)]

    def _visit(self, port: int, context: ssl.SSLContext) -> None:
        while not self._stop.wait(0.035):
            try:
                self.seen[serial(port, context)] += 1
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_swapped_under_load(site: Site, serve: Serve) -> None:
    """
    Certificate first, key later, again and again, while clients come: no handshake fails, and each new certificate is
    served.
    """
    context = trusting(site.root)
    with served(site, serve) as running, Visitors(running.port, context) as visitors:
        began = time.monotonic()
        serials = []
        for _ in range(SWAPS):
            wanted = site.renew(pause=0.05)
            serials.append(wanted)
            until(lambda wanted=wanted: visitors.seen[wanted] > 0, "the new serial is served")  # type: ignore[misc]
        seconds = time.monotonic() - began
    handshakes = visitors.seen.total()
    sys.stderr.write(
        f"{SWAPS} swaps, {handshakes} handshakes in {seconds:.1f} s: {handshakes / seconds:.0f} a second\n"
    )
    assert visitors.failures == []
    assert all(visitors.seen[each] for each in serials)


def test_broken_file_is_named_once(site: Site, serve: Serve) -> None:
    """A broken file changes nothing, and is named once, not at every look; then the next one is served."""
    context = trusting(site.root)
    with served(site, serve) as running:
        before = serial(running.port, context)
        whole = site.certificate.read_bytes()
        site.certificate.write_bytes(whole[: len(whole) // 2])
        running.wait_for("reload-failed")
        time.sleep(1)
        assert running.log.count("reload-failed") == 1, running.log
        assert "site.pem" in running.log.partition("reload-failed")[2]
        assert serial(running.port, context) == before
        after = site.renew()
        running.wait_for("reloaded: ")
        assert serial(running.port, context) == after
        assert f"{serial_text(before)} -> serial {serial_text(after)} until " in running.log
        assert "Traceback" not in running.log


def test_hangup(site: Site, serve: Serve) -> None:
    """HUP reloads at once; connections that are there live on; with nothing new it says so."""
    site.configure("mytls:0:interface=127.0.0.1", interval="off")
    context = trusting(site.root)
    with served(site, serve) as running, connected(running.port, context) as client:
        assert asks_and_hears(client, b"before")
        after = site.renew()
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("reloaded: ")
        assert asks_and_hears(client, b"after")
        assert serial(running.port, context) == after
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("reloaded: nothing has changed")


def test_revoked_client(site: Site, serve: Serve) -> None:
    """A client whose certificate is revoked while it is there is closed, where the file says so, and no other is."""
    clients = Authority("Clients")
    contexts = {}
    pairs = {name: clients.client(name) for name in ("ann", "ben")}
    for name, pair in pairs.items():
        pem = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (site.folder / f"{name}.pem").write_bytes(pem + pair.certificate.public_bytes(Encoding.PEM))
        contexts[name] = trusting(site.root)
        contexts[name].load_cert_chain(site.folder / f"{name}.pem")
    (site.folder / "clients.pem").write_bytes(clients.certificate.public_bytes(Encoding.PEM))
    revoked = site.folder / "clients.crl"
    revoked.write_bytes(clients.revoking().public_bytes(Encoding.PEM))
    site.configure("mytls:0:interface=127.0.0.1:clientCA=clients.pem:crl=clients.crl:allow=all")
    site.config.write_text(site.config.read_text() + 'on-reload = "close"\n')
    with served(site, serve) as running, connected(running.port, contexts["ben"]) as ben:
        assert asks_and_hears(ben, b"in")
        with connected(running.port, contexts["ann"]) as ann:
            assert asks_and_hears(ann, b"in")
            revoked.write_bytes(clients.revoking(pairs["ann"].certificate).public_bytes(Encoding.PEM))
            (line,) = running.wait_for("reloaded: [ -~]*")
            assert line.endswith("; 1 connection of a client who may not enter any more: closed")
            with pytest.raises(ssl.SSLEOFError):  # no close_notify: it may be half an answer
                ann.recv(1)
        assert asks_and_hears(ben, b"still in")
        running.wait_for(r"closed \S+ at .* cause=revoked \(it was revoked: client certificate cn=ann")
        with pytest.raises(ssl.SSLError), connected(running.port, contexts["ann"]) as ann:
            asks_and_hears(ann, b"in?")


def test_hangup_with_an_error(site: Site, serve: Serve) -> None:
    """What is wrong is said at each HUP, and what was served still is."""
    context = trusting(site.root)
    with served(site, serve) as running:
        before = serial(running.port, context)
        site.key.unlink()
        running.wait_for("reload-failed")
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("reload-failed", 2)
        assert serial(running.port, context) == before
        assert "site.key: no such file" in running.log


def test_behind_a_link(tmp_path: Path, serve: Serve) -> None:
    """As Kubernetes does it: the files are links into `..data`, which is a link that is replaced."""
    site = Site(tmp_path)
    for number in (1, 2):
        folder = tmp_path / f"..{number}"
        folder.mkdir()
        pem, key, _ = site.issue()
        (folder / "site.pem").write_bytes(pem)
        (folder / "site.key").write_bytes(key)
    (tmp_path / "..data").symlink_to("..1")
    for path in (site.certificate, site.key):
        path.unlink()
        path.symlink_to(f"..data/{path.name}")
    site.configure("mytls:0:interface=127.0.0.1")
    context = trusting(site.root)
    wanted = x509.load_pem_x509_certificate((tmp_path / "..2" / "site.pem").read_bytes()).serial_number
    with served(site, serve) as running:
        assert serial(running.port, context) != wanted
        (tmp_path / "..new").symlink_to("..2")
        os.replace(tmp_path / "..new", tmp_path / "..data")
        until(lambda: serial(running.port, context) == wanted, "the new serial is served")
        assert "reload-failed" not in running.log


def test_listeners_come_and_go(site: Site, serve: Serve) -> None:
    """A listener that is added to the file listens, one that is removed does not; the others notice nothing."""
    context = trusting(site.root)
    with served(site, serve) as running, connected(running.port, context) as client:
        assert asks_and_hears(client, b"one")
        site.configure("mytls:0:interface=127.0.0.1", "mytls:0:interface=127.0.0.2")
        running.wait_for(r"serving \S+ at 127.0.0.2")
        added = int(running.addresses[1].rpartition(":")[2])
        with connected(added, context, "127.0.0.2") as other:
            assert asks_and_hears(other, b"two")
            site.configure("mytls:0:interface=127.0.0.1")
            running.wait_for("127.0.0.2:[0-9]+ is gone")
        with pytest.raises(ConnectionError):
            connected(added, context, "127.0.0.2").__enter__()
        assert asks_and_hears(client, b"three")


def test_port_in_use(site: Site, serve: Serve) -> None:
    """A listener whose port another has: the reload is refused whole, and says why."""
    import socket

    with served(site, serve) as running, socket.create_server(("127.0.0.1", 0)) as taken:
        before = serial(running.port, trusting(site.root))
        site.renew()
        site.configure("mytls:0:interface=127.0.0.1", f"mytls:{taken.getsockname()[1]}:interface=127.0.0.1")
        running.wait_for("reload-failed.*in use")
        assert serial(running.port, trusting(site.root)) == before


def test_hangup_while_it_stops(site: Site, serve: Serve) -> None:
    """HUP in a drain does nothing bad: the process ends as it would have."""
    with served(site, serve) as running, connected(running.port, trusting(site.root)) as client:
        assert asks_and_hears(client, b"x")
        running.process.send_signal(signal.SIGTERM)
        running.process.send_signal(signal.SIGHUP)
        assert asks_and_hears(client, b"y")
        client.close()
        assert running.wait(PATIENCE) == 0
        assert "Traceback" not in running.log
        assert "Main loop terminated" in running.log


def test_module_hangs(site: Site, serve: Serve) -> None:
    """A module that hangs while a reload imports it keeps nobody out, and the process ends when it is told to."""
    (site.folder / "hangs.py").write_text(
        "import sys, time\nprint('and now it waits', file=sys.stderr)\ntime.sleep(3600)\n"
    )
    before = site.config.read_text()
    with serve("--config", str(site.config), cwd=site.folder) as running:
        site.config.write_text(before.replace("[reload]", 'policy = "hangs:allow"\n[reload]'))
        running.wait_for("and now it waits")
        with connected(running.port, trusting(site.root)) as client:
            assert asks_and_hears(client, b"x")
        running.process.send_signal(signal.SIGTERM)
        assert running.wait(PATIENCE) == 0


def test_module_leaves(site: Site, serve: Serve) -> None:
    """A module that calls sys.exit is an error of the file like any other, and reloading goes on."""
    (site.folder / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    before = site.config.read_text()
    with serve("--config", str(site.config), cwd=site.folder) as running:
        site.config.write_text(before.replace("[reload]", 'policy = "leaves:allow"\n[reload]'))
        running.wait_for(r"reload-failed.*cannot be imported: \S*leaves.py:2: SystemExit: 0")
        site.config.write_text(before)
        running.wait_for("reloaded: all is well again")
