"""The sandbox: what was not permitted cannot be done any more; where that cannot be had, nothing starts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from unittest import SkipTest
from unittest.mock import patch

import landlockpy
from twisted.trial.unittest import SynchronousTestCase

import mytls
from mytls.errors import ConfigurationError
from mytls.guards import sandbox
from mytls.guards.sandbox import LEAST, Permits, Sandbox, Unconfined
from mytls.privileges import Rights
from tests.files import folder

PROBES = """
import json, os, socket, subprocess, sys, threading
from mytls.guards.sandbox import Permits, Sandbox
said = json.loads(sys.argv[1])
box = Sandbox(Permits(**said["permits"]))
box.permit(Permits(read=[sys.prefix, sys.base_prefix, "/usr", "/lib", "/lib64"]))
box.enter()
box.enter()

def tried(code):
    try:
        exec(code, globals())
    except OSError as error:
        return error.strerror
    return "done"

answers = [tried(code) for code in said["probes"]]
elsewhere = threading.Thread(target=lambda: answers.extend(tried(code) for code in said["probes"]))
elsewhere.start()
elsewhere.join()
print(json.dumps(answers))
"""
DENIED = "Permission denied"


def has_landlock() -> bool:
    """Whether this kernel has what is tested."""
    return landlockpy.abi_version() >= LEAST


class Confined(SynchronousTestCase):
    """A process of its own that enters a sandbox, and then tries what it may not."""

    def setUp(self) -> None:
        if not has_landlock():
            raise SkipTest("this kernel has no Landlock with ports")
        self.folder = folder(self)
        for name in ("inside", "outside", "logs"):
            (self.folder / name).mkdir()
            (self.folder / name / "file").write_bytes(b"content")

    def tried(self, *probes: str, **permits: Any) -> list[str]:
        """What becomes of each attempt, the same in a thread that is started afterwards."""
        code = [each.replace("DIR", os.fspath(self.folder)) for each in probes]
        done = subprocess.run(
            [sys.executable, "-c", PROBES, json.dumps({"permits": permits, "probes": code})],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": os.fspath(Path(mytls.__file__).parent.parent)},
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        answers: list[str] = json.loads(done.stdout)
        self.assertEqual(answers[: len(probes)], answers[len(probes) :])
        return answers[: len(probes)]

    def test_reading(self) -> None:
        """What is permitted can be read, also a file that comes later; nothing else can, nor be written."""
        answers = self.tried(
            "open('DIR/inside/file').read()",
            "os.listdir('DIR/inside')",
            "open('DIR/outside/file').read()",
            "os.listdir('DIR')",
            "open('DIR/inside/file', 'a')",
            "open('DIR/inside/new', 'w')",
            "open('/proc/self/status').read()",
            read=[f"{self.folder}/inside", f"{self.folder}/not there"],
        )
        self.assertEqual(answers, ["done", "done", DENIED, DENIED, DENIED, DENIED, "done"])

    def test_writing(self) -> None:
        """A log can be written, renamed and begun anew; a pidfile and a socket can be removed, and not written."""
        answers = self.tried(
            "open('DIR/logs/file', 'a').write('line'); os.replace('DIR/logs/file', 'DIR/logs/file.1')",
            "open('DIR/logs/file', 'w').write('line')",
            "open('DIR/outside/file', 'a')",
            "s = socket.socket(socket.AF_UNIX); s.bind('DIR/inside/socket'); os.remove('DIR/inside/socket'); s.close()",
            "open('DIR/inside/file', 'a')",
            write=[f"{self.folder}/logs"],
            name=[f"{self.folder}/inside"],
        )
        self.assertEqual(answers, ["done", "done", DENIED, "done", DENIED])

    def test_programs(self) -> None:
        """A program runs where that is permitted, and is in the same sandbox."""
        program = "subprocess.run(['/bin/cat', 'DIR/outside/file'], check=True, capture_output=True)"
        self.assertEqual(self.tried(program), [DENIED])
        inside = program.replace("check=True, ", "").join(("assert ", ".returncode == 1"))
        self.assertEqual(self.tried(inside, run=["/bin", "/usr", "/lib", "/lib64"]), ["done"])

    def test_ports(self) -> None:
        """Ports can be bound and connected to where that is permitted, each for itself."""
        with socket.create_server(("127.0.0.1", 0)) as backend, socket.create_server(("127.0.0.1", 0)) as other:
            port, forbidden = backend.getsockname()[1], other.getsockname()[1]
            answers = self.tried(
                f"socket.create_connection(('127.0.0.1', {port})).close()",
                f"socket.create_connection(('127.0.0.1', {forbidden}))",
                f"with socket.socket() as s: s.bind(('127.0.0.1', {port}))",
                "with socket.socket() as s: s.bind(('127.0.0.1', 0))",
                connect=[port],
                bind=[0],
            )
        self.assertEqual(answers, ["done", DENIED, DENIED, "done"])


class RefusalTests(SynchronousTestCase):
    """A sandbox that cannot be had."""

    def setUp(self) -> None:
        self.entered: list[Permits] = []
        self.patch(landlockpy, "abi_version", lambda: 7)
        self.patch(sandbox, "_restrict", self.entered.append)
        self.patch(Rights, "sandboxed", False)

    def error(self) -> str:
        """What is said of it."""
        return str(self.assertRaises(ConfigurationError, Sandbox, Permits(), "--sandbox"))

    def test_no_library(self) -> None:
        """The line says what to install."""
        with patch.dict(sys.modules, {"landlockpy": None}):
            self.assertEqual(self.error(), "--sandbox: it needs a library: pip install 'mytls[landlock]'")

    def test_no_kernel(self) -> None:
        """A kernel without Landlock, or without its ports, is no half of a sandbox: nothing starts."""
        self.patch(landlockpy, "abi_version", lambda: 0)
        self.assertIn("--sandbox: this kernel has no Landlock, or it is not turned on", self.error())
        self.patch(landlockpy, "abi_version", lambda: 3)
        self.assertEqual(
            self.error(), "--sandbox: this kernel has Landlock 3; expected Landlock 4, which Linux 6.7 has"
        )

    def test_not_to_be_asked(self) -> None:
        """A filter of system calls that is in the way is told of."""

        def filtered() -> int:
            raise landlockpy.LandlockError(1, "Operation not permitted")

        self.patch(landlockpy, "abi_version", filtered)
        self.assertIn("does not let us ask for Landlock: Operation not permitted", self.error())

    def test_threads(self) -> None:
        """Threads that this kernel would leave outside are a reason not to start."""
        made = Sandbox(Permits())
        leave = threading.Event()
        other = threading.Thread(target=leave.wait)
        other.start()
        self.addCleanup(other.join)
        self.addCleanup(leave.set)
        error = self.assertRaises(ConfigurationError, made.enter)
        self.assertEqual(str(error), "sandbox: this kernel cannot hold the threads that were started already")
        self.assertEqual((self.entered, Rights.sandboxed), ([], False))

    def test_refused(self) -> None:
        """What the kernel says is told; then nothing is sandboxed."""

        def refuse(permits: Permits) -> None:
            raise OSError(7, "Argument list too long")

        self.patch(landlockpy, "abi_version", lambda: 8)
        self.patch(sandbox, "_restrict", refuse)
        error = self.assertRaises(ConfigurationError, Sandbox(Permits()).enter)
        self.assertEqual(str(error), "sandbox: the kernel refuses: Argument list too long")
        self.assertFalse(Rights.sandboxed)

    def test_permits_are_added(self) -> None:
        """What others need is held to as well, and it is entered once."""
        self.patch(landlockpy, "abi_version", lambda: 8)
        made = Sandbox(Permits(read=["/a"], bind=[443]))
        made.permit(Permits(read=["/b"], connect=[53]))
        made.enter()
        made.enter()
        self.assertEqual(self.entered, [Permits(read=["/a", "/b", "/proc/self"], bind=[443], connect=[53])])
        self.assertTrue(Rights.sandboxed)

    def test_unconfined(self) -> None:
        """Who asked for none has none."""
        nothing = Unconfined()
        nothing.permit(Permits(read=["/a"]))
        nothing.enter()
        self.assertEqual((self.entered, Rights.sandboxed), ([], False))
