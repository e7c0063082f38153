"""Where the status service listens."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from mytls.configfile import settings_from_file
from mytls.errors import ConfigurationError
from mytls.loading import Loading
from mytls.settings import Settings
from mytls.status.place import StatusPlace, load_status, prepared, status_listener, status_place
from mytls.tls.files import Files
from tests.files import folder, write_pair


def place(string: str, **said: Any) -> StatusPlace:
    """The place of `--status STRING`."""
    return placed(Settings().merged({"status": string, **said}))


def placed(settings: Settings) -> StatusPlace:
    """Its files are loaded first."""
    secured = status_listener(settings)
    loaded = None if secured is None else load_status(settings, secured, Loading(Files(), {}))
    return status_place(MemoryReactorClock(), settings, loaded)


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

    def test_certificate(self) -> None:
        """Its own certificate is told of, as those of listeners are."""
        self.assertEqual(list(place("tcp:9443:interface=127.0.0.1").hosts()), [])
        ((listener, host),) = place(f"mytls:9443:interface=127.0.0.1:{self.tls}").hosts()
        self.assertEqual((listener, len(host.pairs)), ("status", 1))

    def test_strangers(self) -> None:
        """Where others reach it, it does not start, and the line says what would be right."""
        for string in ("tcp:9443", "tcp:9443:interface=192.0.2.1", r"tcp:9443:interface=\:\:", "tcp:0:0.0.0.0"):
            line = self.refused(string)
            self.assertIn("expected interface=127.0.0.1, a UNIX socket, or mytls: with clientCA=", line)
            self.assertTrue(line.endswith("--unsafe-status lets it"), line)
            with capturedLogs() as said:
                self.assertEqual(place(string, **{"unsafe-status": True}).scheme, "http")
            (warning,) = (formatEvent(each) for each in said)
            self.assertIn("strangers may reach the status service there", warning)

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

    def test_what_is_no_endpoint_string(self) -> None:
        """What cannot be listened at: the error says what is wrong with it, and what a string looks like."""
        for string, trouble in (
            ("127.0.0.1:31648", "there is no endpoint type '127.0.0.1'"),
            ("22562", "there is no endpoint type '22562'"),
            ("", "there is no endpoint type ''"),
            ("tcp:notaport", "'notaport' is not a number"),
            ("tcp:99999", "there is no port 99999"),
            ("tcp:-1:interface=127.0.0.1", "there is no port -1"),
            ("tcp6:port=70000", "there is no port 70000"),
            ("tcp:", "'' is not a number"),
        ):
            line = self.refused(string)
            self.assertIn(trouble, line)
            self.assertTrue(line.endswith("; expected an endpoint string such as tcp:9411:interface=127.0.0.1"), line)
            self.assertNotIn("strangers", line)

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
            return placed(settings)

        with self.assertRaises(ConfigurationError) as caught:
            of_file("tcp:9443")
        self.assertIn("mytls.toml:5: endpoint=tcp:9443: strangers", str(caught.exception))
        self.assertIn("unsafe-status = true lets it", str(caught.exception))
        own = "mytls:9443:interface=127.0.0.1:privateKey=localhost.key:certKey=localhost.pem"
        self.assertEqual(of_file(own).scheme, "https")
