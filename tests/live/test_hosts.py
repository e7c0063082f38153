"""Many hosts on one port, asked for with openssl's own client."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from tests.live.conftest import Serve
from tests.live.processes import Running, environment, run

FILE = """\
[[listener]]
endpoint = "mytls:0:interface=127.0.0.1"
handler = "echo"
[[listener.host]]
names = ["admin.example"]
certificate = "admin.pem"
profile = "modern"
[[listener.host]]
names = ["*.example"]
certificate = "wild.pem"
alpn = ["h2", "http/1.1"]
[[listener.host]]
names = ["*.example"]
certificate = "acme.pem"
alpn = ["acme-tls/1"]
[[listener.host]]
names = ["xn--bcher-kva.test"]
certificate = "books.pem"
[[listener.host]]
names = ["secret.test"]
certificate = "secret.pem"
client-auth = "required"
client-ca = "root.pem"
allow = "all"
"""

NAMES = {
    "admin": "admin.example",
    "wild": "*.example",
    "acme": "*.example",
    "books": "xn--bcher-kva.test",
    "secret": "secret.test",
}


class Hosts:
    """The file above, with a certificate of its own for each host."""

    def __init__(self, folder: Path) -> None:
        ca = trustme.CA()
        ca.cert_pem.write_to_path(folder / "root.pem")
        self.serials: dict[int, str] = {}
        self.folder = folder
        for file, name in NAMES.items():
            leaf = ca.issue_cert(name)
            chain = [each.bytes() for each in leaf.cert_chain_pems]
            (folder / f"{file}.pem").write_bytes(leaf.private_key_pem.bytes() + b"".join(chain))
            self.serials[x509.load_pem_x509_certificate(chain[0]).serial_number] = file
        client = ca.issue_cert("client.test")
        (folder / "client.pem").write_bytes(client.private_key_pem.bytes() + client.cert_chain_pems[0].bytes())
        self.config = folder / "mytls.toml"
        self.config.write_text(FILE)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Hosts:
    """Made once."""
    return Hosts(tmp_path_factory.mktemp("hosts"))


@pytest.fixture(scope="module")
def running(hosts: Hosts, serve: Serve) -> Iterator[Running]:
    """One twistd for all."""
    with serve("--config", str(hosts.config)) as made:
        yield made


def asked(running: Running, hosts: Hosts, *words: str, name: str | None) -> tuple[str, str]:
    """
    What s_client meets.

    @param name: the server name, or None for none
    @return: whose certificate, empty where there is none; and all that s_client has said
    """
    shown = ["-noservername"] if name is None else ["-servername", name]
    said = run("openssl", "s_client", "-connect", f"127.0.0.1:{running.port}", *shown, *words)
    text = said.stdout + said.stderr
    pem = re.search("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", text, re.DOTALL)
    if pem is None or "Cipher is (NONE)" in text:
        return "", text
    return hosts.serials[x509.load_pem_x509_certificate(pem[0].encode()).serial_number], text


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize(
    ("name", "host"),
    [("a.example", "wild"), ("A.EXAMPLE", "wild"), ("a.example.", "wild"), ("xn--bcher-kva.test", "books")],
)
def test_names(running: Running, hosts: Hosts, name: str, host: str, version: str) -> None:
    """Case and a dot at the end do not matter; a wildcard stands for one label."""
    assert asked(running, hosts, version, name=name)[0] == host


@pytest.mark.parametrize("name", ["ADMIN.example", "admin.example", "admin.example."])
def test_more_specific_wins(running: Running, hosts: Hosts, name: str) -> None:
    """The whole name, however it is spelled, before the wildcard."""
    assert asked(running, hosts, name=name)[0] == "admin"


@pytest.mark.parametrize("name", [None, "unknown.test", "example", "a.b.example", "b\u00fccher.test"])
def test_unknown_names(running: Running, hosts: Hosts, name: str | None) -> None:
    """No name, an unknown one, a wrong depth: the alert unrecognized_name, and no certificate."""
    host, said = asked(running, hosts, name=name)
    assert host == ""
    assert "unrecognized name" in said
    running.wait_for("cause=unknown-name")


def test_profile_of_each(running: Running, hosts: Hosts) -> None:
    """A modern host refuses TLS 1.2, while its neighbour on the port serves it."""
    host, said = asked(running, hosts, "-tls1_2", name="admin.example")
    assert host == ""
    assert "protocol version" in said
    assert asked(running, hosts, "-tls1_2", name="a.example")[0] == "wild"


def test_protocols(running: Running, hosts: Hosts) -> None:
    """A host is chosen by its name and the protocol together; who offers none of them is refused."""
    assert asked(running, hosts, "-alpn", "acme-tls/1", name="a.example")[0] == "acme"
    assert asked(running, hosts, "-alpn", "mqtt,acme-tls/1", name="a.example")[0] == "acme"
    host, said = asked(running, hosts, "-alpn", "acme-tls/1,http/1.1", name="a.example")
    assert host == "wild"
    assert "ALPN protocol: http/1.1" in said
    host, said = asked(running, hosts, "-alpn", "mqtt", name="a.example")
    assert host == ""
    assert "no application protocol" in said


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_session_of_another_host(running: Running, hosts: Hosts, tmp_path: Path, version: str) -> None:
    """A session resumes with the host that made it, and with no other."""
    session = tmp_path / "session"
    talk = f"openssl s_client -connect 127.0.0.1:{running.port} -servername a.example -sess_out {session} {version}"
    with subprocess.Popen(  # it waits for the ticket, which comes after the handshake in TLS 1.3
        f"(echo hello; sleep 1) | {talk}", shell=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=environment(),
    ):  # fmt: skip
        pass
    assert session.stat().st_size > 0
    again, said = asked(running, hosts, "-sess_in", str(session), version, name="b.example")
    assert "Reused, TLS" in said
    for name in ("xn--bcher-kva.test", "secret.test"):
        _, said = asked(running, hosts, "-sess_in", str(session), version, name=name)
        assert "Reused, TLS" not in said, name
    assert again in ("", "wild")  # a resumed TLS 1.3 handshake shows no certificate


def test_client_certificates_of_one(running: Running, hosts: Hosts) -> None:
    """One host wants a client certificate; its neighbours do not ask."""
    _, said = asked(running, hosts, name="a.example")
    assert "No client certificate CA names sent" in said
    _, said = asked(running, hosts, "-tls1_2", name="secret.test")
    assert "handshake failure" in said
    assert "Acceptable client certificate CA names" in said
    running.wait_for("name=secret.test cause=no-certificate")
    client = str(hosts.folder / "client.pem")
    assert asked(running, hosts, "-tls1_2", "-cert", client, name="secret.test")[0] == "secret"
