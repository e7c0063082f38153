"""What a user may type wrong: each is one line that names it, an exit status that is not 0, and nothing listens."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, connected, trusting
from tests.live.conftest import Serve
from tests.live.processes import TWISTD, run

APP = """
def do_something(connstream, data):
    return True


number = 7
"""

#: A program that root runs with root's right to read every file taken away.
WITHOUT_RIGHTS = [
    "setpriv",
    "--bounding-set=-dac_override,-dac_read_search",
    "--inh-caps=-dac_override,-dac_read_search",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Path:
    """The folder that everything is typed in: certificates, modules of a user's, and broken files."""
    made = tmp_path_factory.mktemp("typed")
    for name, path in {
        "key.pem": certificates.rsa.key,
        "cert.pem": certificates.rsa.chain,
        "other.pem": certificates.ecdsa.key,
    }.items():
        shutil.copy(path, made / name)
    (made / "app.py").write_text(APP)
    (made / "raises.py").write_text("1 / 0\n")
    (made / "untidy.py").write_text("def (:\n")
    (made / "needy.py").write_text("import does_not_exist\n")
    (made / "text.pem").write_text("this is no PEM\n")
    (made / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    encrypted = ["openssl", "pkey", "-aes256", "-passout", "pass:secret", "-out", "encrypted.pem", "-in", "key.pem"]
    if shutil.which("openssl"):
        subprocess.run(encrypted, cwd=made, check=True)
    return made


def fails(folder: Path, *words: str, launcher: tuple[str, ...] = ()) -> str:
    """Run `twistd mytls` with these words, which are wrong. @return: its one line"""
    told = run(*launcher, TWISTD, "--nodaemon", "--pidfile=", "mytls", *words, cwd=folder)
    said = told.stdout + told.stderr
    assert told.returncode != 0, said
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if "mytls: " in line]
    assert len(lines) == 1, said
    if "starting up" not in said:  # twistd has not begun to log
        assert said.splitlines() == lines
        assert told.stdout == ""
    return lines[0].partition("mytls: ")[2]


GOOD = r"ssl:0:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem"


def endpoint(**words: str) -> tuple[str, ...]:
    """An `ssl:` endpoint whose words are good but for these."""
    said = {"interface": "127.0.0.1", "privateKey": "key.pem", "certKey": "cert.pem", **words}
    return ("--endpoint", ":".join(["ssl", "0", *(f"{name}={value}" for name, value in said.items())]))


def handler(string: str) -> tuple[str, ...]:
    """A good endpoint, and this handler."""
    return ("--endpoint", GOOD, "--handler", string)


WRONG = {
    "option": (("--endpont", GOOD), ("--endpont", "did you mean '--endpoint'?")),
    "option-of-a-table": (("--deadlines-handshakes", "1s"), ("did you mean '--deadlines-handshake'?",)),
    "option-without-value": (("--handler",), ("--handler", "argument")),
    "word-without-option": (("8443",), ("'8443'", "--endpoint")),
    "duration": (("--endpoint", GOOD, "--deadlines-handshake", "soon"), ("deadlines-handshake", "'soon'", "10s")),
    "count": (("--endpoint", GOOD, "--limits-max-threads", "0"), ("limits-max-threads", "'0'", "from 1 on")),
    "handler-twice": ((*handler("echo"), "--handler", "discard"), ("--handler discard", "echo")),
    "endpoint-type": (("--endpoint", "sll:8443"), ("--endpoint sll:8443", "'sll'", "did you mean 'ssl'?")),
    "endpoint-word": (endpoint(privatKey="key.pem"), ("privatKey=", "did you mean 'privateKey'?")),
    "endpoint-port": (("--endpoint", "ssl:99999"), ("port", "'99999'", "65535")),
    "endpoint-without-port": (("--endpoint", "ssl:privateKey=key.pem"), ("expected a port", "ssl:8443")),
    "endpoint-word-of-tcp": (("--endpoint", "tcp:0:interfase=127.0.0.1"), ("interfase=", "did you mean 'interface'?")),
    "endpoint-over": (
        ("--endpoint", r"mytls:privateKey=key.pem:certKey=cert.pem:over=unx\:s.sock"),
        ("'unx'", "did you mean 'unix'?"),
    ),
    "endpoint-method": (endpoint(sslmethod="TLSv1_1_METHOD"), ("sslmethod=TLSv1_1_METHOD", "TLS 1.2")),
    "handler-prefix": (handler("cal:app:do_something"), ("--handler cal:", "'cal'", "did you mean 'call'?")),
    "handler-without-name": (handler("call:app"), ("--handler call:app", "call:package.module:function")),
    "handler-with-too-much": (handler("echo:loud"), ("--handler echo:loud", "'loud'")),
    "module": (handler("call:ap:do_something"), ("--handler call:ap:do_something", "no module 'ap'")),
    "attribute": (handler("serve:app:do_somthing"), ("'do_somthing'", "did you mean 'do_something'?")),
    "attribute-that-is-no-function": (handler("serve:app:number"), ("expected a function", "int")),
    "module-that-raises": (handler("call:raises:f"), ("raises.py:1", "ZeroDivisionError")),
    "module-with-a-slip": (handler("call:untidy:f"), ("untidy.py:1", "SyntaxError")),
    "module-that-misses-another": (handler("call:needy:f"), ("'needy'", "does_not_exist")),
    "key-file": (endpoint(privateKey="kye.pem"), ("privateKey=kye.pem", "no such file")),
    "certificate-file": (endpoint(certKey="crt.pem"), ("certKey=crt.pem", "no such file")),
    "chain-file": (endpoint(extraCertChain="x.pem"), ("extraCertChain=x.pem", "no such file")),
    "folder-for-file": (endpoint(privateKey="/"), ("privateKey=/", "cannot be read", "directory")),
    "key-that-does-not-fit": (endpoint(privateKey="other.pem"), ("privateKey=other.pem", "does not fit", "cert.pem")),
    "key-that-is-no-pem": (endpoint(privateKey="text.pem"), ("privateKey=text.pem", "no private key in it")),
    "certificate-that-is-no-pem": (endpoint(certKey="text.pem"), ("certKey=text.pem", "no certificate in it")),
    "certificate-that-is-broken": (endpoint(certKey="broken.pem"), ("certKey=broken.pem", "a certificate in it")),
    "interface": (endpoint(interface="192.0.2.1"), ("192.0.2.1", "cannot listen")),
}  # fmt: skip


@pytest.mark.parametrize(("words", "expected"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_named_in_one_line(folder: Path, words: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """The line names the word, and what was expected or is nearest."""
    line = fails(folder, *words)
    for part in expected:
        assert part in line


def test_a_socket_that_systemd_has_not_given_is_told_of(folder: Path) -> None:
    """The line says that there is no such socket, in words and not as Python says it."""
    string = r"mytls:privateKey=key.pem:certKey=cert.pem:over=systemd\:domain=INET\:index=0"
    line = fails(folder, "--endpoint", string)
    assert string in line
    assert "index out of range" not in line


def test_a_key_with_a_password_is_not_asked_for(folder: Path, needs: Callable[[str], str]) -> None:
    """The line says that the key is encrypted; nothing waits for a terminal."""
    needs("openssl")
    assert "encrypted" in fails(folder, *endpoint(privateKey="encrypted.pem"))


def test_a_file_that_may_not_be_read_is_named(folder: Path, needs: Callable[[str], str]) -> None:
    """The line says which file, and that permission is denied."""
    closed = folder / "closed.pem"
    shutil.copy(folder / "key.pem", closed)
    closed.chmod(0)
    launcher: tuple[str, ...] = ()
    if os.geteuid() == 0:
        needs("setpriv")
        launcher = tuple(WITHOUT_RIGHTS)
    line = fails(folder, *endpoint(privateKey="closed.pem"), launcher=launcher)
    assert "privateKey=closed.pem: cannot be read: Permission denied" in line


@pytest.mark.parametrize("first", [(), ("--endpoint", GOOD)], ids=["alone", "beside-a-good-one"])
def test_a_port_in_use_is_named(folder: Path, first: tuple[str, ...]) -> None:
    """The line names the endpoint and the port; where another endpoint was fine, it does not stay."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        string = f"ssl:{port}:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem"
        line = fails(folder, *first, "--endpoint", string)
    assert string in line
    assert f"port {port}" in line
    assert "in use" in line


def test_a_wrong_mytls_endpoint_of_another_program_is_told(folder: Path) -> None:
    """`twistd web --listen mytls:...` with a missing file ends, and names the file."""
    told = run(TWISTD, "--nodaemon", "--pidfile=", "web", "--listen", "mytls:0:privateKey=kye.pem", cwd=folder)
    assert told.returncode != 0
    assert "privateKey=kye.pem: no such file" in told.stdout + told.stderr


def test_an_expired_certificate_is_warned_of_and_served(certificates: Certificates, serve: Serve) -> None:
    """One line of the log says since when; a client that looks at the date refuses it, another is served."""
    with serve("--endpoint", certificates.expired.endpoint()) as server:
        lines = [line for line in server.log.splitlines() if "expired" in line]
        assert len(lines) == 1
        assert str(certificates.expired.chain) in lines[0]
        assert "expired on" in lines[0]
        careless = trusting(certificates.root)
        careless.check_hostname = False
        careless.verify_mode = ssl.CERT_NONE
        with connected(server.port, careless) as client:
            assert asks_and_hears(client, b"hello")
