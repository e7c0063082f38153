"""
Writes docs/page-*.png, the page of a service under load: `python -m docs.make_screenshots [SECONDS]`.

Needs Debian's `chromium` and `chromium-driver`, and the `test` extra. The load goes on for SECONDS (120) before.
"""

from __future__ import annotations

import datetime
import random
import shutil
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import trustme

from tests.live.browser import Browser, browsing
from tests.live.processes import serving
from tests.live.test_via import free_port

HERE = Path(__file__).parent
PICTURES = (("light", 1280, 1360, False, False), ("dark", 1280, 1360, True, False), ("phone", 360, 1900, True, True))

#: What has no business at a TLS port.
WRONG = (b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-Go\r\n", b"\x16\x03\x01\x00\x05hello")

CONFIGURATION = """
[[listener]]
endpoint = "mytls:{port}:interface=127.0.0.1"
handler = "proxy:tcp:127.0.0.1:{backend},tcp:127.0.0.1:{closed}"
client-auth = "optional"
client-ca = "clients.pem"
allow = "all"

[[listener.host]]
names = ["api.example", "*.api.example"]
certificate = "api.pem"
private-key = "api.key"

[[listener.host]]
names = ["shop.example"]
certificate = "shop.pem"
private-key = "shop.key"

[status]
endpoint = "tcp:{status}:interface=127.0.0.1"
"""


class Load:
    """Clients: some that stay, many that come and go, a few that fail."""

    def __init__(self, port: int, context: Callable[[str | None], ssl.SSLContext]) -> None:
        self._port = port
        self._contexts = {name: context(name) for name in (None, "build", "deploy", "metrics", "backup")}
        self._stay = ExitStack()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go, daemon=True)

    def begin(self) -> None:
        """Go on until the end."""
        for number in range(14):
            self._stay.enter_context(self._client(random.choice(list(self._contexts)), 400 * number))
        self._thread.start()

    def end(self) -> None:
        """Everybody goes."""
        self._over.set()
        self._thread.join()
        self._stay.close()

    def _go(self) -> None:
        while not self._over.wait(random.uniform(0.02, 0.12)):
            self._client(random.choice([None, None, "build"]), random.randrange(200, 30_000)).close()
            if random.random() < 0.06:
                self._stranger()
            if random.random() < 0.05:
                self._stay.enter_context(self._client(random.choice(list(self._contexts)), 5_000))

    def _client(self, name: str | None, size: int) -> ssl.SSLSocket:
        host = random.choice(["api.example", "eu.api.example", "shop.example"])
        made = self._contexts[name].wrap_socket(self._plain(), server_hostname=host)
        made.sendall(b"x" * size)
        received = 0
        while received < size:
            received += len(made.recv(65536))
        return made

    def _stranger(self) -> None:
        """Somebody who gets no handshake."""
        with self._plain() as plain:
            if random.random() < 0.5:
                plain.sendall(random.choice(WRONG))
                plain.recv(100)
                return
            try:
                random.choice([ssl.create_default_context(), self._contexts[None]]).wrap_socket(
                    plain, server_hostname=random.choice(["api.example", "scanner.invalid"])
                )
            except (ssl.SSLError, ConnectionError):
                pass  # as it should be

    def _plain(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), 10)


def write_files(folder: Path, **ports: int) -> Callable[[str | None], ssl.SSLContext]:
    """Write the configuration and its certificates. @return: what makes the context of a client with such a name"""
    servers, clients = trustme.CA(organization_name="Example"), trustme.CA(organization_name="Example clients")
    clients.cert_pem.write_to_path(folder / "clients.pem")
    for name, days in (("api", 71), ("shop", 9)):
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days, hours=5)
        leaf = servers.issue_cert(
            f"{name}.example", f"*.{name}.example", common_name=f"{name}.example", not_after=until
        )
        leaf.private_key_pem.write_to_path(folder / f"{name}.key")
        (folder / f"{name}.key").chmod(0o600)
        leaf.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    (folder / "mytls.toml").write_text(CONFIGURATION.format(**ports))

    def context(name: str | None) -> ssl.SSLContext:
        made = ssl.create_default_context()
        servers.configure_trust(made)
        if name is not None:
            clients.issue_cert(f"{name}.example", common_name=name).configure_cert(made)
        return made

    return context


@contextmanager
def echo() -> Iterator[int]:
    """A backend. @return: its port"""
    with serving("--endpoint", "tcp:0:interface=127.0.0.1", "--handler", "echo") as server:
        yield server.port


def take(browser: Browser, url: str) -> None:
    """The page in each of its sizes and colours."""
    browser.open(url)
    browser.driver.find_element("id", "reload").click()
    browser.until("document.getElementById('reload-result').textContent.includes('served')", "it has reloaded")
    for name, width, height, dark, phone in PICTURES:
        browser.screen(width, height, dark=dark, phone=phone)
        browser.open(url)
        browser.until("document.querySelectorAll('#connection-table tbody tr').length > 9", "the table is full")
        time.sleep(2)  # for the samples that come with the time
        browser.picture(HERE / f"page-{name}.png")


def main(seconds: float) -> None:
    """Serve, load, take the pictures."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        raise SystemExit("needs chromium and chromedriver")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = {
            "port": free_port(),
            "status": free_port(),
            "backend": stack.enter_context(echo()),
            "closed": free_port(),
        }
        context = write_files(folder, **ports)
        stack.enter_context(serving("--config", "mytls.toml", cwd=folder))
        load = Load(ports["port"], context)
        load.begin()
        stack.callback(load.end)
        time.sleep(seconds)
        take(stack.enter_context(browsing(chromium, driver)), f"http://127.0.0.1:{ports['status']}/")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 120)
