"""What is said to systemd; a real socket that reads it."""

from __future__ import annotations

import os
import socket

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.systemd.notify import Nobody, NotifySocket, notified, watchdog_seconds
from tests.files import folder


class Case(SynchronousTestCase):
    """Sockets that read."""

    def reading(self, name: str) -> socket.socket:
        """Somebody who reads what is said to that name."""
        reader = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(reader.close)
        reader.settimeout(5)
        reader.bind(name)
        return reader


class NotifySocketTests(Case):
    """Datagrams of lines."""

    def test_path(self) -> None:
        """All that is said together is one datagram, a line each."""
        name = os.fspath(folder(self) / "notify")
        reader = self.reading(name)
        NotifySocket(name).tell(READY=1, STATUS="12 connections")
        self.assertEqual(reader.recv(1000), b"READY=1\nSTATUS=12 connections")

    def test_abstract(self) -> None:
        """A name that begins with C{@} is none of the file system."""
        name = f"mytls-test-{os.getpid()}"
        reader = self.reading(f"\0{name}")
        NotifySocket(f"@{name}").tell(WATCHDOG=1)
        self.assertEqual(reader.recv(1000), b"WATCHDOG=1")

    def test_one_line(self) -> None:
        """A line break in a text cannot say anything else."""
        name = os.fspath(folder(self) / "notify")
        reader = self.reading(name)
        NotifySocket(name).tell(STATUS="the file a\nSTOPPING=1\udcff")
        self.assertEqual(reader.recv(1000).count(b"\n"), 0)

    def test_nobody_reads(self) -> None:
        """Who was to be told and is gone harms nothing; the log says so once."""
        gone = NotifySocket(os.fspath(folder(self) / "gone"))
        with capturedLogs() as events:
            gone.tell(READY=1)
            gone.tell(WATCHDOG=1)
        self.assertEqual([event["why"] for event in events], ["No such file or directory"])

    def test_of_another_kind(self) -> None:
        """What is neither a path nor a name is an error; systemd would wait for READY in vain."""
        for address in ("vsock:2:1234", "notify", "@", "/"):
            with self.assertRaisesRegex(ConfigurationError, f"^NOTIFY_SOCKET={address}: expected a path, or @"):
                NotifySocket(address)


class EnvironmentTests(SynchronousTestCase):
    """What the environment says is for us alone."""

    def test_nobody(self) -> None:
        """Without the variable there is nobody to tell."""
        for environ in ({}, {"NOTIFY_SOCKET": ""}):
            told = notified(environ)
            told.tell(READY=1)
            self.assertIsInstance(told, Nobody)

    def test_programs_hear_nothing_of_it(self) -> None:
        """The names are taken out of the environment, which programs of handlers inherit."""
        environ = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1", "PATH": "/bin"}
        self.assertIsInstance(notified(environ), NotifySocket)
        watchdog_seconds(environ)
        self.assertEqual(environ, {"PATH": "/bin"})

    def test_watchdog(self) -> None:
        """Its interval is in microseconds; one that is for another process is none of ours."""
        ours, others = str(os.getpid()), str(os.getppid())
        for environ, seconds in (
            ({}, 0.0),
            ({"WATCHDOG_USEC": "30000000"}, 30.0),
            ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": ours}, 1.5),
            ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": others}, 0.0),
            ({"WATCHDOG_USEC": "0"}, 0.0),
        ):
            self.assertEqual(watchdog_seconds(dict(environ)), seconds, environ)

    def test_no_number(self) -> None:
        """What is no number is an error."""
        for written in ("30s", "-1", "\u0663"):
            with self.assertRaisesRegex(ConfigurationError, f"^WATCHDOG_USEC={written}: expected a number of micro"):
                watchdog_seconds({"WATCHDOG_USEC": written})
