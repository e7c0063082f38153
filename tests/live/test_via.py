"""Out through proxies: some of our own in threads, and tinyproxy, microsocks and danted as Debian has them."""

from __future__ import annotations

import os
import re
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.live.authority import Certificates
from tests.live.clients import asks_and_hears, receive
from tests.live.conftest import Serve
from tests.live.processes import PATIENCE, run, until
from tests.live.test_client import PROGRAM

Needs = Callable[[str], str]
#: Listens to a client and answers it. @return: what it asks for
Greeting = Callable[[socket.socket], tuple[str, int]]

TINYPROXY = """
Port {port}
Listen 127.0.0.1
Timeout 60
MaxClients 20
LogLevel Error
BasicAuth me {password}
"""

DANTED = """
logoutput: stderr
internal: 127.0.0.1 port = {port}
external: lo
socksmethod: none
clientmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
"""


class Proxy:
    """
    A proxy of our own.

    @ivar port: its TCP port
    @ivar asked: what it was asked for, in order
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[tuple[str, int]] = []


@contextmanager
def proxy(greet: Greeting, yes: bytes) -> Iterator[Proxy]:
    """A proxy on a free port. @param yes: what it says, byte by byte, when it is connected"""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            client: socket.socket = self.request
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            to = greet(client)
            made.asked.append(to)
            with socket.create_connection(to, PATIENCE) as server:
                for each in yes:
                    client.sendall(bytes((each,)))
                back = threading.Thread(target=copy, args=(server, client), daemon=True)
                back.start()
                copy(client, server)
                back.join(PATIENCE)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        made = Proxy(server.server_address[1])
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield made
        finally:
            server.shutdown()


def copy(source: socket.socket, target: socket.socket) -> None:
    """One direction, until its end."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def http(client: socket.socket) -> tuple[str, int]:
    """A CONNECT request."""
    heard = b""
    while not heard.endswith(b"\r\n\r\n"):
        heard += receive(client, 1)
    method, target, _ = heard.split(b"\r\n")[0].decode().split()
    assert method == "CONNECT"
    host, _, port = target.rpartition(":")
    return host, int(port)


def socks5(client: socket.socket) -> tuple[str, int]:
    """SOCKS 5 without a login, and a name."""
    assert receive(client, 3) == b"\x05\x01\x00"
    client.sendall(b"\x05\x00")
    assert receive(client, 4) == b"\x05\x01\x00\x03"
    host = receive(client, receive(client, 1)[0])
    return host.decode(), int.from_bytes(receive(client, 2), "big")


#: What our own proxies are, by their scheme.
OWN: dict[str, tuple[Greeting, bytes]] = {
    "http": (http, b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n"),
    "socks5": (socks5, b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"),
}


@pytest.mark.parametrize("scheme", OWN)
def test_a_tunnel_through_a_proxy(certificates: Certificates, serve: Serve, scheme: str) -> None:
    """`proxy:` reaches its backend through it; the name is the proxy's to look up; data and ends go both ways."""
    with (
        serve("--endpoint", certificates.ecdsa.endpoint(prefix="mytls"), "--handler", "echo") as server,
        proxy(*OWN[scheme]) as way,
        serve(
            "--endpoint",
            "tcp:0:interface=127.0.0.1",
            "--handler",
            rf"proxy:mytls:localhost:{server.port}:trustRoots={certificates.root}:via={scheme}\://127.0.0.1\:{way.port}",
        ) as here,
        socket.create_connection(("127.0.0.1", here.port), PATIENCE) as client,
    ):
        assert asks_and_hears(client, b"hello")
        much = bytes(range(256)) * 4096
        client.sendall(much)
        assert receive(client, len(much)) == much
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        assert way.asked == [("localhost", server.port)]
        assert "Traceback" not in here.log + server.log


@contextmanager
def running(words: Sequence[str], port: int) -> Iterator[None]:
    """A program that listens at this port of 127.0.0.1."""
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            until(lambda: process.poll() is not None or listens(port), f"{words[0]} listens")
            assert process.poll() is None, f"{words[0]} has ended"
            yield
        finally:
            process.terminate()


def listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def tinyproxy(program: str, folder: Path, port: int) -> tuple[str, ...]:
    (folder / "tinyproxy.conf").write_text(TINYPROXY.format(port=port, password="open_sesame"))
    return (program, "-d", "-c", str(folder / "tinyproxy.conf"))


def microsocks(program: str, folder: Path, port: int) -> tuple[str, ...]:
    return (program, "-i", "127.0.0.1", "-p", str(port), "-u", "me", "-P", "open_sesame")


def danted(program: str, folder: Path, port: int) -> tuple[str, ...]:
    (folder / "danted.conf").write_text(DANTED.format(port=port))
    return (program, "-f", str(folder / "danted.conf"), "-p", str(folder / "pid"))


class Told:
    """What a program says that connects through a proxy."""

    def __init__(self, folder: Path, certificates: Certificates, way: str) -> None:
        (folder / "program.py").write_text(PROGRAM)
        self._folder, self._root, self._way = folder, certificates.root, way

    def by(self, port: int, words: str = "") -> str:
        """@param port: the server's. @param words: more words of the string"""
        way = self._way.replace(":", r"\:")
        to = f"mytls:localhost:{port}:trustRoots={self._root}:via={way}{words}"
        answer = run(sys.executable, "program.py", to, cwd=self._folder, env={"PROXY_PASSWORD": "open_sesame"})
        assert "Traceback" not in answer.stderr
        assert "sesame" not in answer.stdout + answer.stderr
        return answer.stdout


@pytest.mark.parametrize(
    ("start", "scheme", "denied", "unreachable"),
    [
        (tinyproxy, "http", r'the proxy answers 40\d ".*"', r'the proxy answers 50\d ".*"'),
        (microsocks, "socks5", "the proxy does not take this user and password", "the proxy says: connection refused"),
    ],
    ids=["tinyproxy", "microsocks"],
)
def test_a_real_proxy_with_a_password(
    certificates: Certificates,
    serve: Serve,
    needs: Needs,
    tmp_path: Path,
    start: Callable[[str, Path, int], tuple[str, ...]],
    scheme: str,
    denied: str,
    unreachable: str,
) -> None:
    """It lets us through with the password alone; a no of its own, and one of the server's, are one line each."""
    port, closed = free_port(), free_port()
    (tmp_path / "right").write_text("open_sesame\n")
    (tmp_path / "wrong").write_text("open_barley\n")
    with ExitStack() as stack:
        stack.enter_context(running(start(needs(start.__name__), tmp_path, port), port))
        server = stack.enter_context(
            serve("--endpoint", certificates.ecdsa.endpoint(prefix="mytls"), "--handler", "echo")
        )
        told = Told(tmp_path, certificates, f"{scheme}://me@127.0.0.1:{port}")
        assert told.by(server.port, ":viaPasswordFile=right") == "met localhost TLSv1.3 None\nhello\n"
        assert told.by(server.port, r":viaPasswordFile=env\:PROXY_PASSWORD").startswith("met localhost")
        way = f"not met: backend-refused: via 127.0.0.1:{port}: "
        assert_line(told.by(server.port, ":viaPasswordFile=wrong"), way, denied)
        assert_line(told.by(closed, ":viaPasswordFile=right"), way, unreachable)
        nobody = Told(tmp_path, certificates, f"{scheme}://127.0.0.1:{port}")
        assert nobody.by(server.port).startswith(way)


def assert_line(told: str, begin: str, rest: str) -> None:
    assert re.fullmatch(re.escape(begin) + rest + "\n", told), told


def test_danted(certificates: Certificates, serve: Serve, needs: Needs, tmp_path: Path) -> None:
    """A proxy that wants no password."""
    port = free_port()
    words = danted(needs("danted"), tmp_path, port)
    if os.geteuid() != 0:
        pytest.skip("danted wants to be started by root")
    with (
        running(words, port),
        serve("--endpoint", certificates.ecdsa.endpoint(prefix="mytls"), "--handler", "echo") as server,
    ):
        told = Told(tmp_path, certificates, f"socks5://127.0.0.1:{port}")
        assert told.by(server.port) == "met localhost TLSv1.3 None\nhello\n"


def test_a_proxy_that_is_not_there(certificates: Certificates, tmp_path: Path) -> None:
    """The line says that it is the proxy which is missing."""
    port = free_port()
    told = Told(tmp_path, certificates, f"http://127.0.0.1:{port}").by(443)
    assert told.startswith(f"not met: backend-refused: via 127.0.0.1:{port}: Connection was refused")


def test_a_proxy_that_says_nothing(certificates: Certificates, tmp_path: Path) -> None:
    """The time is over for the proxy too."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        told = Told(tmp_path, certificates, f"socks5://127.0.0.1:{port}").by(443, ":timeout=200ms")
    assert told == f"not met: backend-timeout: via 127.0.0.1:{port}: there was no connection within 0.2 s\n"


def test_tls_to_the_proxy(certificates: Certificates, serve: Serve, tmp_path: Path) -> None:
    """A proxy behind TLS is reached by C{endpoint}: TLS to the server goes through TLS to the proxy."""
    with (
        serve("--endpoint", certificates.ecdsa.endpoint(prefix="mytls"), "--handler", "echo") as server,
        proxy(*OWN["http"]) as way,
        serve(
            "--endpoint", certificates.rsa.endpoint(prefix="mytls"), "--handler", f"proxy:tcp:127.0.0.1:{way.port}"
        ) as front,
    ):
        over = rf":endpoint=mytls\:localhost\:{front.port}\:trustRoots={certificates.root}"
        told = Told(tmp_path, certificates, "http://proxy.example:3128").by(server.port, over)
        assert told == "met localhost TLSv1.3 None\nhello\n"
        assert way.asked == [("localhost", server.port)]
