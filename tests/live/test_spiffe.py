"""A service whose certificate a SPIFFE Workload API issues; the agent is in this process, and the service is not."""

from __future__ import annotations

import os
import re
import signal
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.live.clients import asks_and_hears, connected, converse
from tests.live.conftest import Serve
from tests.live.processes import TWISTD, Running, run, until
from tests.tls.authority import Authority
from tests.tls.trust_domains import svid

pytest.importorskip("spiffe")
from tests.tls.workload_server import Agent, TrustDomain

#: Who may enter: anybody of our own trust domain, and one of the partner's.
RULES = r"allow=uri=spiffe\://example.org/**,uri=spiffe\://partner.example/db"


class Site:
    """
    An agent, and what it issues to the service.

    @ivar domain: the trust domain of the service
    @ivar partner: the CA of another, whose bundle the agent hands on
    @ivar bundle: a file with the CA of the service
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "agent.sock"
        self.agent = Agent(str(self.path))
        self.domain = TrustDomain("example.org")
        self.partner = Authority("Partner")
        self.bundle = folder / "bundle.pem"
        self.bundle.write_bytes(self.domain.certificate.public_bytes(Encoding.PEM))

    def issue(self, path: str = "web") -> bytes:
        """Issue a new SVID to the service. @return: its certificate, DER"""
        made = self.domain.svid(path)
        partner = self.partner.certificate.public_bytes(Encoding.DER)
        self.agent.issue(made, federated={"partner.example": partner})
        return made.chain

    def endpoint(self, *words: str) -> str:
        """The endpoint string of the service."""
        return ":".join(("mytls:0:interface=127.0.0.1", rf"spiffe=unix\:{self.path}", *words))

    def member(self) -> Path:
        """A file with the SVID and key of a client of our own trust domain."""
        made = self.domain.svid("member")
        path = self.folder / "member.pem"
        path.write_bytes(ssl.DER_cert_to_PEM_cert(made.chain).encode() + _pem(made.key))
        return path

    def of_partner(self, uri: str) -> Path:
        """A file with the SVID and key of a client that the partner's CA has certified."""
        pair = svid(self.partner, uri)
        key = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path = self.folder / "partner.pem"
        path.write_bytes(pair.certificate.public_bytes(Encoding.PEM) + key)
        return path

    def client(self, shows: Path | None = None) -> ssl.SSLContext:
        """A client that trusts the bundle, as the peers of a workload do: an SVID has no name of a host."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.bundle)
        if shows is not None:
            context.load_cert_chain(shows)
        return context


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An agent that has issued something and listens."""
    made = Site(tmp_path)
    made.issue()
    made.agent.start()
    yield made
    made.agent.stop()


def shown(port: int, context: ssl.SSLContext) -> bytes | None:
    """The certificate that a client is shown, once it has been answered."""
    with connected(port, context) as client:
        assert asks_and_hears(client, b"x")
        return client.getpeercert(binary_form=True)


def test_served_and_rotated(site: Site, serve: Serve) -> None:
    """What the agent issues is served; the next one is too, at once, without a restart, and who is there stays."""
    first = site.issue()
    context = site.client()
    with serve("--endpoint", site.endpoint(), "--reload-interval", "off") as server:
        assert shown(server.port, context) == first
        with connected(server.port, context) as there:
            assert asks_and_hears(there, b"before")
            for number in (1, 2):
                renewed = site.issue()
                server.wait_for("reloaded: web: serial ", number)
                assert shown(server.port, context) == renewed
                assert asks_and_hears(there, b"after")
        assert not re.search("reload-failed|Traceback|warn", server.log), server.log


def test_agent_gone(site: Site, serve: Serve) -> None:
    """While the agent is gone what it has issued is served, which one line tells; when it is back the next one is."""
    first = site.issue()
    context = site.client()
    with serve("--endpoint", site.endpoint()) as server:
        site.agent.stop()
        server.wait_for(rf"spiffe=unix:{site.path}: .*; what it has issued before is served on")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("reloaded: nothing has changed")
        assert shown(server.port, context) == first
        renewed = site.issue()
        site.agent.start()
        until(lambda: shown(server.port, context) == renewed, "the new one is served")
        assert server.log.count("is served on") == 1, server.log


def python(site: Site, server: Running, shows: Path | None, version: str, enters: bool) -> str | None:
    """What Python's ssl module is told; None where it enters."""
    context = site.client(shows)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[f"TLSv{version.replace('.', '_')}"]
    try:
        shown(server.port, context)
    except ssl.SSLError as error:
        return str(error.reason).rpartition("ALERT_")[2].lower().replace("_", " ")
    return None


def openssl(site: Site, server: Running, shows: Path | None, version: str, enters: bool) -> str | None:
    """What openssl's client is told; None where it enters. @param enters: what is waited for, the answer or an alert"""
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", f"-tls{version.replace('.', '_')}"]
    words += ["-CAfile", str(site.bundle), "-verify_return_error", "-ign_eof"]
    words += [] if shows is None else ["-cert", str(shows)]
    heard = converse(words, b"hello\n", b"hello\n" if enters else b"SSL alert number").decode()
    found = re.search("alert ([a-z ]+):.*SSL alert number", heard)
    return found[1] if found else None


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize(("program", "tell"), [("openssl", openssl), ("", python)])
def test_each_ca_for_its_own_domain(
    site: Site,
    serve: Serve,
    needs: Callable[[str], str],
    program: str,
    tell: Callable[[Site, Running, Path | None, str, bool], str | None],
    version: str,
) -> None:
    """
    Who has an SVID of his own trust domain's CA enters, as the rules say. A federated CA that certifies somebody of our
    domain is refused by an alert, and so are who has no certificate and who is of a domain that nobody knows.
    """
    if program:
        needs(program)
    with serve("--endpoint", site.endpoint("clientAuth=required", RULES)) as server:
        for shows in (site.member(), site.of_partner("spiffe://partner.example/db")):
            assert tell(site, server, shows, version, True) is None
        for uri, words in (
            ("spiffe://partner.example/other", "no allow rule matches "),
            ("spiffe://example.org/member", "CN=Partner is no CA of the trust domain example.org: "),
            ("spiffe://nowhere.example/db", "CN=Partner is no CA of the trust domain nowhere.example: "),
        ):
            assert tell(site, server, site.of_partner(uri), version, False) == "certificate unknown"
            line = server.wait_for(f"handshake-failed .* cause=not-allowed after .*: {words}.*")[-1]
            assert f"uri={uri}" in line
        nobody = "handshake failure" if version == "1.2" else "certificate required"
        assert tell(site, server, None, version, False) == nobody


def test_of_a_file(site: Site, serve: Serve) -> None:
    """A configuration file says the same; that other CAs have come is told in words."""
    made = site.domain.svid()
    site.agent.issue(made)
    config = site.folder / "mytls.toml"
    config.write_text(
        '[[listener]]\nendpoint = "mytls:0:interface=127.0.0.1"\nhandler = "echo"\n'
        f'spiffe = "unix:{site.path}"\nclient-auth = "required"\nallow = ["all"]\n'
    )
    friend = site.of_partner("spiffe://partner.example/db")
    with serve("--config", str(config)) as server:
        assert python(site, server, site.member(), "1.3", True) is None
        assert python(site, server, friend, "1.3", False) == "unknown ca"
        site.agent.issue(made, federated={"partner.example": site.partner.certificate.public_bytes(Encoding.DER)})
        server.wait_for("reloaded: web: other CAs of spiffe")
        assert python(site, server, friend, "1.3", True) is None


def test_partner_gone(site: Site, serve: Serve) -> None:
    """When the agent no longer hands on the bundle of another domain, its clients do not enter any more."""
    friend = site.of_partner("spiffe://partner.example/db")
    with serve("--endpoint", site.endpoint("clientAuth=required", RULES)) as server:
        with connected(server.port, site.client(friend)) as there:
            assert asks_and_hears(there, b"in")
            site.agent.issue(site.domain.svid())
            (line,) = server.wait_for("reloaded: [ -~]*")
            assert line.endswith("; 1 connection of a client who may not enter any more: left")
            assert asks_and_hears(there, b"still in")
        assert python(site, server, friend, "1.3", False) == "unknown ca"
        assert python(site, server, site.member(), "1.3", True) is None


def test_daemon(site: Site) -> None:
    """A daemon, which has forked after it was asked to listen, hears of what is issued too."""
    pidfile, logfile = site.folder / "pid", site.folder / "log"
    words = ["--pidfile", str(pidfile), "--logfile", str(logfile), "mytls", "--endpoint", site.endpoint()]
    told = run(TWISTD, *words, cwd=site.folder)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    until(pidfile.exists, "the pidfile is written")
    pid = int(pidfile.read_text())
    try:
        until(lambda: "serving echo at" in logfile.read_text(), "it serves")
        (port,) = re.findall(r"serving echo at 127\.0\.0\.1:(\d+)", logfile.read_text())
        renewed = site.issue()
        until(lambda: shown(int(port), site.client()) == renewed, "the new one is served")
        os.kill(pid, signal.SIGTERM)
        until(lambda: not pidfile.exists(), "it has ended")
    finally:
        if pidfile.exists():
            os.kill(pid, signal.SIGKILL)


def test_no_agent(tmp_path: Path) -> None:
    """Where nobody issues a certificate nothing starts, and one line says why."""
    endpoint = rf"mytls:0:spiffe=unix\:{tmp_path}/agent.sock"
    told = run(TWISTD, "--nodaemon", "--pidfile=", "mytls", "--endpoint", endpoint, cwd=tmp_path)
    assert told.returncode == 1
    (line,) = (told.stdout + told.stderr).splitlines()
    assert line.endswith(f": spiffe=unix:{tmp_path}/agent.sock: no such socket; waited 10 seconds")


def _pem(key: bytes) -> bytes:
    body = ssl.DER_cert_to_PEM_cert(key).replace("CERTIFICATE", "PRIVATE KEY")
    return body.encode()
