"""What a service needs of the machine is what its configuration names, and not all that is beside it."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

import mytls
from mytls.guards.sandbox import Permits
from mytls.permitted import of_twistd, permits
from mytls.settings import Log, SandboxSettings, Settings
from mytls.strings import listener_from_string
from mytls.tls.files import Files
from tests.files import folder, write_pair

PLACE = "mytls:8443:interface=127.0.0.1:privateKey=../keys/key.pem:certKey=../keys/chain.pem"


class PermittedTests(SynchronousTestCase):
    """A folder to type in, whose modules are not asked for, and one with files."""

    def setUp(self) -> None:
        self.folder = Path(os.path.realpath(folder(self)))
        here = self.folder / "here"
        here.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(here)
        self.here = os.fspath(here)
        self.patch(sys, "path", [self.here, *sys.path])

    def needs(self, handler: str = "echo", endpoint: str = PLACE, files: Files | None = None, **said: Any) -> Permits:
        """What such a service needs."""
        listener = listener_from_string(endpoint, handler)
        return permits(attrs.evolve(Settings((listener,)), **said), files or Files())

    def test_files(self) -> None:
        """The folders of what was read, and of what links lead to: a new file may come there; no other folder."""
        keys, live = self.folder / "keys", self.folder / "live"
        keys.mkdir()
        live.mkdir()
        write_pair(keys)
        (live / "key.pem").symlink_to(keys / "localhost.key")
        files = Files()
        files.read(os.fspath(live / "key.pem"))
        files.entries(os.fspath(keys))
        files.forget()
        found = self.needs(files=files).read
        self.assertLessEqual({os.fspath(keys), os.fspath(live)}, found)
        self.assertNotIn(os.fspath(self.folder), found)

    def test_never_all(self) -> None:
        """A file in the root folder is that file alone."""
        found = self.needs(
            files=_Asked("/server.pem"), log=Log(to="file:/access.log"), sandboxed=SandboxSettings(read=("/srv",))
        )
        self.assertLessEqual({"/server.pem", "/srv"}, found.read)
        self.assertIn("/access.log", found.write)
        self.assertNotIn("/", found.read | found.write | found.name | found.run)

    def test_of_etc(self) -> None:
        """Of /etc what names and CAs are found with, and not the keys and passwords of others."""
        found = self.needs().read
        self.assertLessEqual({"/etc/hosts", "/etc/resolv.conf", "/etc/ssl/certs", "/usr"}, found)
        self.assertEqual(found & {"/etc", "/etc/ssl", "/etc/shadow", "/proc", "/root", "/tmp"}, set())

    def test_python(self) -> None:
        """Modules may be imported late: those of Python, and of the user's folder where code of the user's runs."""
        self.assertLessEqual({sys.prefix, os.path.dirname(mytls.__file__)}, self.needs().read)
        self.assertNotIn(self.here, self.needs("proxy:tcp:127.0.0.1:80").read)
        for handler in ("call:app:f", "serve:app:f", "factory:app:F", "plugin:x"):
            self.assertIn(self.here, self.needs(handler).read, handler)
        self.assertIn(self.here, self.needs(endpoint=f"{PLACE}:policy=app\\:f").read)

    def test_ports(self) -> None:
        """It listens at its ports, and connects to those of its backends and, for names, of DNS."""
        found = self.needs("proxy:tcp:127.0.0.1:8080,tls:db.example:port=5433,unix:/run/x")
        self.assertEqual((found.bind, found.connect), ({8443}, {53, 8080, 5433}))
        self.assertEqual(self.needs(endpoint="tcp:0").bind, {0})
        self.assertEqual(self.needs(endpoint="mytls:over=tcp\\:8444:certKey=c.pem").bind, {8444})
        self.assertEqual(self.needs().connect, {53})

    def test_ways_to_backends(self) -> None:
        """Proxies on the way, what TLS runs over, an address of ours, and where it is asked how they are."""
        found = self.needs("proxy:mytls:db.example:5433:via=http\\://proxy.example\\:3128:bindAddress=192.0.2.1")
        self.assertEqual((found.bind, found.connect), ({8443, 0}, {53, 5433, 3128}))
        self.assertIn(7000, self.needs("proxy:mytls:db.example:endpoint=tcp\\:127.0.0.1\\:7000").connect)
        health = f"{PLACE}:backendHealth=http\\://*\\:8081/health"
        self.assertIn(8081, self.needs("proxy:tcp:127.0.0.1:8080", health).connect)
        self.assertIn(80, self.needs("proxy:tcp:127.0.0.1:8080", health.replace("\\:8081", "")).connect)

    def test_files_of_strings(self) -> None:
        """The files that strings name for a backend, or for the status service."""
        found = self.needs("proxy:mytls:db.example:5433:certKey=../me/a.pem,b.pem:trustRoots=/srv/ca/ca.pem")
        self.assertLessEqual({f"{self.folder}/me", self.here, "/srv/ca"}, found.read)
        status = "mytls:9443:certKey=status.pem:clientCA=ca.pem:passwordFile=env\\:X"
        of_status = self.needs(status=status, folder="/srv/status")
        self.assertIn("/srv/status", of_status.read)
        self.assertIn(9443, of_status.bind)

    def test_unix_sockets(self) -> None:
        """A socket is removed at the end, and made at a reload."""
        found = self.needs(endpoint="unix:run/plain.sock", status="unix:/run/mytls/status.sock:mode=600")
        self.assertEqual(found.name, {f"{self.here}/run", "/run/mytls"})

    def test_programs(self) -> None:
        """A program runs, and what it is linked to; without exec:, Rego and SPIFFE nothing does."""
        self.assertEqual(self.needs("call:app:f").run, set())
        program = self.folder / "bin" / "answer"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        found = self.needs(f"exec:cwd={self.folder} {program} --all")
        self.assertLessEqual({"/usr", "/lib", os.fspath(program.parent)}, found.run)
        self.assertIn(os.fspath(self.folder), found.read)

    def test_rego(self) -> None:
        """A policy in Rego has a process of Python's, also where it is asked of a server."""
        for found in (
            self.needs(endpoint=f"{PLACE}:clientCA=ca.pem:rego=p.rego"),
            self.needs("proxy:mytls:db.example:5433:rego=p.rego"),
        ):
            self.assertIn(os.path.realpath(sys.executable), found.run)
            self.assertNotIn("/usr/bin", found.run)
            self.assertIn(tempfile.gettempdir(), found.write)

    def test_besides(self) -> None:
        """What the user says goes on top."""
        said = SandboxSettings(read=("templates",), write=("/var/lib/app",), connect=(5432,))
        found = self.needs(sandboxed=said)
        self.assertIn(f"{self.here}/templates", found.read)
        self.assertEqual(found.write, {"/dev/null", "/var/lib/app"})
        self.assertEqual(found.connect, {53, 5432})


class TwistdTests(SynchronousTestCase):
    """What twistd does by itself."""

    def test_log_and_pidfile(self) -> None:
        """A log is written and rotated in its folder; a pidfile is removed."""
        daemon = of_twistd({"rundir": "/srv", "pidfile": "/run/mytls/mytls.pid"})
        self.assertEqual((daemon.write, daemon.name), ({"/srv"}, {"/run/mytls"}))
        self.assertEqual(of_twistd({"nodaemon": True, "logfile": "/var/log/x/x.log"}).write, {"/var/log/x"})

    def test_nothing(self) -> None:
        """In the foreground, under systemd, there is neither."""
        for options in ({"nodaemon": True, "pidfile": ""}, {"nodaemon": True, "logfile": "-"}, {"syslog": True}):
            self.assertEqual(of_twistd(options), Permits(), options)


class _Asked(Files):
    """Files of which these were asked for."""

    def __init__(self, *paths: str) -> None:
        super().__init__()
        self._paths = paths

    def asked(self) -> tuple[str, ...]:
        """Them."""
        return self._paths
