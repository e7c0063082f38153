"""Where the status service listens."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mytls.configfile import settings_from_file
from mytls.errors import ConfigurationError
from mytls.settings import Settings
from mytls.status.place import StatusPlace, prepared, status_place
from tests.files import folder, write_pair


def place(string: str, **said: Any) -> StatusPlace:
    """The place of `--status STRING`."""
    return status_place(MemoryReactorClock(), Settings().merged({"status": string, **said}))


class PlaceTests(SynchronousTestCase):
    """What is safe, and what is not."""

    def setUp(self) -> None:
        self.folder = folder(self)
        key, chain = write_pair(self.folder)
        self.tls = f"privateKey={key}:certKey={chain}"
        self.clients = f"clientCA={chain}:allow=all"

    def refused(self, string: str, **said: Any) -> str:
        """The line that a place is refused with."""
        with self.assertRaises(ConfigurationError) as caught:
            place(string, **said)
        line = str(caught.exception)
        self.assertEqual(caught.exception.lines, (line,))
        self.assertTrue(line.startswith(f"--status {string}: "), line)
        return line

    def test_loopback_and_unix(self) -> None:
        """Who is on this machine may ask."""
        for string in (
            "tcp:9443:interface=127.0.0.1",
            "tcp:9443:interface=127.3.2.1",
            "tcp:9443:interface=localhost",
            r"tcp:9443:interface=\:\:1",
            "unix:/run/status.sock",
        ):
            self.assertEqual(place(string).scheme, "http", string)
        self.assertEqual(place(f"mytls:9443:interface=127.0.0.1:{self.tls}").scheme, "https")
        self.assertEqual(place(rf"mytls:over=unix\:/run/x:{self.tls}").scheme, "https")

    def test_strangers(self) -> None:
        """Where others reach it, it does not start, and the line says what would be right."""
        for string in ("tcp:9443", "tcp:9443:interface=192.0.2.1", r"tcp:9443:interface=\:\:", "tcp:0:0.0.0.0"):
            line = self.refused(string)
            self.assertIn("expected interface=127.0.0.1, a UNIX socket, or mytls: with clientCA=", line)
            self.assertTrue(line.endswith("--unsafe-status lets it"), line)
            self.assertEqual(place(string, **{"unsafe-status": True}).scheme, "http")

    def test_client_certificates(self) -> None:
        """Over TLS that requires them it may listen everywhere; TLS alone keeps nobody out."""
        self.assertEqual(place(f"mytls:9443:{self.tls}:{self.clients}").scheme, "https")
        self.assertIn("strangers", self.refused(f"mytls:9443:{self.tls}"))
        self.assertIn("strangers", self.refused(f"mytls:9443:{self.tls}:{self.clients}:clientAuth=optional"))

    def test_what_is_no_place(self) -> None:
        """Each is one line that names what was typed."""
        self.assertIn("expected a place to listen at", self.refused("stdio:"))
        self.assertIn("there is no endpoint type 'tpc'", self.refused("tpc:9443", **{"unsafe-status": True}))
        self.assertIn("no such file", self.refused("mytls:9443:interface=127.0.0.1:certKey=missing.pem").lower())
        self.assertIn("is no word of mytls:", self.refused("mytls:9443:interface=127.0.0.1:statsu=x"))

    def test_what_has_no_meaning_here(self) -> None:
        """What answers is HTTP of our own."""
        here = f"mytls:9443:interface=127.0.0.1:{self.tls}"
        self.assertIn("handler=echo: of no use here", self.refused(f"{here}:handler=echo"))
        self.assertIn("starttls=smtp: of no use here", self.refused(f"{here}:starttls=smtp"))
        self.assertIn("expected http/1.1", self.refused(f"{here}:alpn=h2"))
        self.assertEqual(place(f"{here}:alpn=h2,http/1.1").scheme, "https")

    def test_mode_of_a_socket(self) -> None:
        """It is its user's own, unless the string says otherwise."""
        self.assertEqual(prepared(r"unix:/run/a\:b"), r"unix:/run/a\:b:mode=600")
        self.assertEqual(prepared("unix:/run/x:mode=660"), "unix:/run/x:mode=660")
        self.assertEqual(prepared("unix:/run/x:660"), "unix:/run/x:660")
        within = r"mytls:over=unix\:/run/x\:mode=600"
        self.assertEqual(prepared(r"mytls:over=unix\:/run/x"), within)

    def test_in_a_file(self) -> None:
        """The error has its line, the way out is the file's, and its paths count from the file."""
        text = '[[listener]]\nendpoint = "tcp:1"\nhandler = "echo"\n[status]\nendpoint = "{}"\n'

        def of_file(string: str) -> StatusPlace:
            path = str(self.folder / "mytls.toml")
            settings = settings_from_file(path, text.format(string).encode())
            return status_place(MemoryReactorClock(), settings)

        with self.assertRaises(ConfigurationError) as caught:
            of_file("tcp:9443")
        self.assertIn("mytls.toml:5: endpoint=tcp:9443: strangers", str(caught.exception))
        self.assertIn("unsafe-status = true lets it", str(caught.exception))
        own = "mytls:9443:interface=127.0.0.1:privateKey=localhost.key:certKey=localhost.pem"
        self.assertEqual(of_file(own).scheme, "https")
