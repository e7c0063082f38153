"""Where backends are: several in a string, and plaintext that would be on a network."""

from __future__ import annotations

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.handlers.places import host_of, places, port_of, split_backends, unsafe


class SplitTests(SynchronousTestCase):
    """Where the next backend begins."""

    def test_split(self) -> None:
        """A comma before a prefix and a colon, with or without a space behind it; any other comma is a value's."""
        for string, expected in {
            "tcp:a:1": ("tcp:a:1",),
            "tcp:a:1,tcp:b:1": ("tcp:a:1", "tcp:b:1"),
            "tcp:a:1, TLS:b:1,unix:/c": ("tcp:a:1", "TLS:b:1", "unix:/c"),
            "unix:/a,b,tcp:c:1": ("unix:/a,b", "tcp:c:1"),
            "mytls:a:1:verify=cn=x,dns=y,mytls:b:1": ("mytls:a:1:verify=cn=x,dns=y", "mytls:b:1"),
            r"unix:/a\,tcp:b": (r"unix:/a\,tcp:b",),
            "unix:/a,tcp": ("unix:/a,tcp",),
            "": ("",),
        }.items():
            self.assertEqual(split_backends(string), expected)

    def test_endpoints(self) -> None:
        """Each has an endpoint of its own, and its string as written."""
        made = places(MemoryReactorClock(), "tcp:a:1,tcp:b:2")
        self.assertEqual([each.description for each in made], ["tcp:a:1", "tcp:b:2"])
        self.assertIsNot(made[0].endpoint, made[1].endpoint)

    def test_wrong(self) -> None:
        """What is wrong with one of several names that one."""
        with self.assertRaises(ConfigurationError) as raised:
            places(MemoryReactorClock(), "tcp:a:1,tcp:b")
        self.assertEqual(str(raised.exception), "tcp:b: tcp: needs port, as in tcp:host:port")

    def test_hosts(self) -> None:
        """The host, where there is one."""
        for string, expected in {
            "tcp:a:1": "a",
            "tcp:1:host=a": "a",
            r"tls:\:\:1:1": "::1",
            "mytls:a.example:1:serverName=b": "a.example",
            "unix:/a": None,
            "other:a:1": None,
        }.items():
            self.assertEqual(host_of(string), expected)

    def test_ports(self) -> None:
        """The port, wherever in the string it stands."""
        for string, expected in {
            "tcp:a:1": "1",
            "tcp:1:host=a": "1",
            "tcp:a:port=1": "1",
            "mytls:a:1:serverName=b": "1",
            "unix:/a": None,
            "other:a:1": None,
        }.items():
            self.assertEqual(port_of(string), expected)


class UnsafeTests(SynchronousTestCase):
    """Plaintext on a network, where somebody wants TLS."""

    def test_plain_listener_to_tls(self) -> None:
        """Who takes plaintext for a TLS client endpoint has to listen on this machine alone."""
        for place, safe in {
            "tcp:5432": False,
            "tcp:5432:interface=0.0.0.0": False,
            r"tcp:5432:interface=\:\:": False,
            "tcp:5432:interface=127.0.0.1": True,
            "tcp:5432:127.0.0.2": True,
            r"tcp:5432:interface=\:\:1": True,
            "tcp:5432:interface=localhost": True,
            "tcp:5432:interface=db.example": False,
            "unix:/run/db.sock": True,
            "systemd:domain=UNIX:index=0": True,
            "systemd:domain=INET:index=0": False,
            "haproxy:tcp:5432": False,
            "onion:5432": False,
        }.items():
            for backend in ("mytls:db.example:5433", "tls:db.example:5433", "ssl:db.example:5433"):
                why = unsafe(False, place, ["tcp:127.0.0.1:1", backend])
                self.assertEqual(why is None, safe, (place, why))
        self.assertEqual(
            unsafe(False, "tcp:5432", ["mytls:db.example:5433"]),
            "tcp:5432 takes plaintext from a network, for mytls:db.example:5433",
        )

    def test_tls_listener_to_plain(self) -> None:
        """What was decrypted stays on this machine, or is encrypted again: each backend's is looked at."""
        for backend, safe in {
            "tcp:127.0.0.1:80": True,
            "tcp:LOCALHOST:80": True,
            r"tcp:\:\:1:80": True,
            r"tcp:\:\:ffff\:127.0.0.1:80": True,
            "tcp:80:host=localhost": True,
            "unix:/run/app.sock": True,
            "UNIX:/run/app.sock": True,
            "tls:app.example:443": True,
            "mytls:app.example:443": True,
            "tcp:app.example:80": False,
            "tcp:localhost.example:80": False,
            "tcp:10.0.0.1:80": False,
            r"tcp:\:\:ffff\:10.0.0.1:80": False,
            "onion:app:80": False,
        }.items():
            why = unsafe(True, "mytls:8443", ["tcp:127.0.0.1:1", backend])
            self.assertEqual(why is None, safe, (backend, why))
        self.assertEqual(
            unsafe(True, "mytls:8443", ["tcp:app.example:80"]),
            "the decrypted bytes of mytls:8443 would go to tcp:app.example:80 as plaintext, over a network",
        )

    def test_plain_to_plain(self) -> None:
        """Where nobody has asked for TLS, nobody is kept from going without."""
        self.assertIsNone(unsafe(False, "tcp:80", ["tcp:app.example:80"]))
