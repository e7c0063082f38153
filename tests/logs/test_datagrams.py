"""The sockets of syslog and of the journal."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.accesslog import AccessLog, line_of
from mytls.errors import Cause, ConfigurationError
from mytls.logs import places
from mytls.logs.datagrams import Datagrams, of_journal, of_syslog
from mytls.logs.lines import Line, Priority
from mytls.logs.places import place_of
from mytls.peer import Peer
from mytls.settings import Log
from tests.files import folder
from tests.lines import log_lines
from tests.logs.events import NASTY, closed, failed, identity


class DatagramTests(SynchronousTestCase):
    """A socket that somebody reads, or does not."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = folder(self) / "socket"
        self.told = log_lines(self)

    def reader(self, path: Path | None = None) -> socket.socket:
        """Who listens there."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(made.close)
        made.bind(os.fspath(path or self.path))
        made.setblocking(False)
        return made

    def place(self) -> Datagrams:
        """The place, open."""
        made = Datagrams(os.fspath(self.path), lambda line: line.text.encode(), "log-to=syslog", self.clock.seconds)
        made.open()
        self.addCleanup(made.close)
        return made

    def line(self, text: str = "a") -> Line:
        return Line(Priority.INFO, text, text, dict)

    def test_sent(self) -> None:
        """Each line is a datagram."""
        reader = self.reader()
        place = self.place()
        place.write(self.line("a"))
        place.write(self.line("b"))
        self.assertEqual((reader.recv(99), reader.recv(99), self.told), (b"a", b"b", []))

    def test_nobody_listens(self) -> None:
        """Where nobody listens the service starts all the same; one line says that lines are lost, until then."""
        place = self.place()
        for _ in range(59):
            place.write(self.line())
            self.clock.advance(1)
        self.assertEqual(
            self.told, [f"log-to=syslog: nobody listens at {self.path}: lines are lost until somebody does"]
        )
        reader = self.reader()
        place.write(self.line("b"))
        self.assertEqual(reader.recv(99), b"b")
        self.assertEqual(self.told[1:], ["log-to=syslog: it goes on; 59 lines were lost"])

    def test_new_listener(self) -> None:
        """Whoever listens may start anew."""
        self.reader().close()
        place = self.place()
        place.write(self.line())
        self.path.unlink()
        reader = self.reader()
        place.write(self.line("b"))
        self.assertEqual(reader.recv(99), b"b")

    def test_nobody_waits(self) -> None:
        """Where it is not read lines are lost, and nobody who writes waits."""
        reader = self.reader()
        place = self.place()
        for _ in range(5000):
            place.write(self.line("x" * 500))
        self.assertEqual(self.told, ["log-to=syslog: lines are lost: they are not read fast enough"])
        self.assertEqual(reader.recv(999), b"x" * 500)

    def test_closed(self) -> None:
        """What comes after the end is nobody's."""
        reader = self.reader()
        place = self.place()
        place.close()
        place.reopen()
        place.write(self.line())
        self.assertRaises(BlockingIOError, reader.recv, 99)

    def test_syslog(self) -> None:
        """A datagram of syslog's has the priority of the line, its time and who we are."""
        line = line_of(failed(), 0.0)
        self.patch(time, "localtime", time.gmtime)
        self.assertEqual(
            of_syslog(line, lambda: 1893456000.0).decode(),
            f"<29>Jan  1 00:00:00 mytls[{os.getpid()}]: {line.text}",
        )
        self.assertTrue(of_syslog(line_of(closed(), 0.0)).startswith(b"<30>"))
        self.assertTrue(of_syslog(line_of(closed(cause=Cause.HANDLER), 0.0)).startswith(b"<27>"))
        self.assertTrue(of_syslog(line_of(closed(cause=Cause.BACKEND_REFUSED), 0.0)).startswith(b"<28>"))

    def test_journal(self) -> None:
        """A datagram of the journal's has the line, its priority and each of its fields by its name."""
        reader = self.reader()
        place = place_of(Log(to="journal"), self.clock.seconds, journal=os.fspath(self.path))
        log = AccessLog(Log(), self.clock, place, lambda: 0.0)
        log.open()
        self.addCleanup(log.close)
        log(failed(server_name="a.example", hint="look there"))
        fields = dict(each.partition("=")[::2] for each in reader.recv(9999).decode().removesuffix("\n").split("\n"))
        self.assertRegex(fields.pop("MESSAGE"), "^handshake-failed 192.0.2.1:50000 at .*; hint: look there$")
        expected = {
            "PRIORITY": "5",
            "SYSLOG_IDENTIFIER": "mytls",
            "SYSLOG_FACILITY": "3",
            "MYTLS_EVENT": "handshake-failed",
            "MYTLS_CAUSE": "not-tls",
            "MYTLS_SERVER_NAME": "a.example",
            "MYTLS_HINT": "look there",
            "MYTLS_CONNECTION": "7",
        }
        self.assertEqual({name: fields.get(name) for name in expected}, expected)
        self.assertNotIn("MYTLS_HOST", fields)

    def test_journal_has_what_json_has(self) -> None:
        """Each field of the JSON that is known has one here; truths are words of JSON, and who it was has its parts."""
        event = closed(peer=Peer(None, server_name="a.example", resumed=False, identity=identity("build, too")))
        entry = of_journal(line_of(event, 0.0)).decode().removesuffix("\n")
        fields = dict(each.partition("=")[::2] for each in entry.split("\n"))
        read = json.loads(line_of(event, 0.0, json=True).text)
        known = {f"MYTLS_{name.upper()}" for name, value in read.items() if value not in (None, "", [])}
        self.assertEqual(known - {*fields}, set())
        expected = {
            "MYTLS_TIME": "1970-01-01T00:00:00.000Z",
            "MYTLS_LEVEL": "info",
            "MYTLS_RESUMED": "false",
            "MYTLS_BYTES_IN": "10",
            "MYTLS_SECONDS": "1.235",
            "MYTLS_IDENTITY_CN": "build, too",
            "MYTLS_IDENTITY_DNS": "a.example",
            "MYTLS_IDENTITY_SERIAL": "0A1B",
        }
        self.assertEqual({name: fields.get(name) for name in expected}, expected)
        self.assertEqual(json.loads(fields["MYTLS_IDENTITY"]), read["identity"])
        silent = of_journal(line_of(failed(silent=True), 0.0)).decode()
        self.assertIn("\nMYTLS_SILENT=true\n", silent)

    def test_folder_is_no_syslog(self) -> None:
        """Where the journal keeps its files nobody is looked for; what is tried is what the trouble names."""
        beside = folder(self) / "dev-log"
        self.path.mkdir()
        self.patch(places, "SYSLOG", (os.fspath(beside), os.fspath(self.path)))
        place = place_of(Log(to="syslog"), self.clock.seconds)
        place.open()
        self.addCleanup(place.close)
        self.assertEqual(self.told, [f"log-to=syslog: nobody listens at {beside}: lines are lost until somebody does"])

    def test_nasty(self) -> None:
        """No name adds a field to it, whatever stands in that."""
        for json_too in (False, True):
            datagram = of_journal(line_of(failed(server_name=NASTY, detail=NASTY), 0.0, json_too))
            names = [each.partition(b"=")[0] for each in datagram.removesuffix(b"\n").split(b"\n")]
            self.assertEqual(len(names), len(set(names)))
            self.assertTrue(all(name.replace(b"_", b"").isalpha() and name.isupper() for name in names), names)
            self.assertNotIn(b"\x1b", datagram)
        message = datagram.partition(b"\n")[0].removeprefix(b"MESSAGE=")
        self.assertEqual(json.loads(message)["event"], "handshake-failed")

    def test_no_journal(self) -> None:
        """Where there is no journal the service does not start, and the error names the key."""
        with self.assertRaises(ConfigurationError) as caught:
            place_of(Log(to="journal"), self.clock.seconds, "--log-to", os.fspath(self.path))
        self.assertEqual(str(caught.exception), f"--log-to=journal: there is none here: {self.path} does not exist")

    def test_syslog_is_found(self) -> None:
        """Syslog is where the system has it."""
        reader = self.reader()
        self.patch(places, "SYSLOG", ("/nonexistent", os.fspath(self.path)))
        place = place_of(Log(to="syslog"), self.clock.seconds)
        place.open()
        self.addCleanup(place.close)
        place.write(self.line("a"))
        self.assertTrue(reader.recv(99).endswith(b"]: a"))
