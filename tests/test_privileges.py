"""What a process may do no more is told in words; a core is left of none that leaves none."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mytls import privileges
from mytls.errors import ConfigurationError
from mytls.privileges import Rights
from mytls.tls.files import Files
from tests.files import folder

NOBODY = 65534
CRASH = """
import os, resource, sys
from mytls.privileges import leave_no_core
resource.setrlimit(resource.RLIMIT_CORE, (int(sys.argv[1]), int(sys.argv[1])))
leave_no_core()
print(*resource.getrlimit(resource.RLIMIT_CORE), flush=True)
os.abort()
"""


#: Says whether others may look into it (prctl(2), PR_GET_DUMPABLE), before and afterwards.
CLOSED = """
import ctypes
from mytls.privileges import keep_to_itself
print(ctypes.CDLL(None).prctl(3))
keep_to_itself()
print(ctypes.CDLL(None).prctl(3))
"""


class RightsTests(SynchronousTestCase):
    """A file that is not ours to read."""

    def setUp(self) -> None:
        self.path = folder(self) / "key.pem"
        self.path.write_bytes(b"secret")

    def become(self, number: int) -> None:
        """Run as another user, as far as anybody can see."""
        self.patch(os, "geteuid", lambda: number)

    def sandboxed(self) -> None:
        """Have a sandbox."""
        self.patch(Rights, "sandboxed", True)

    def test_nothing_is_lost(self) -> None:
        """Who runs as it was started has no more to say than the system."""
        rights = Rights()
        self.assertEqual((rights.why_not_read("key.pem"), rights.why_not_listen()), ("", ""))

    def test_given_up(self) -> None:
        """After the drop it is told as whom, and why."""
        rights = Rights()
        self.become(NOBODY)
        self.patch(privileges, "user_name", lambda number: f"number {number}")
        why = "the service has given up the privileges that it was started with"
        self.assertEqual(rights.why_not_read("key.pem"), f" as user number {NOBODY}: {why}")
        self.assertEqual(rights.why_not_listen(), f"{why}; restart it")

    def test_outside_of_the_sandbox(self) -> None:
        """What the user may read, but not in the sandbox, is told to be outside of it."""
        rights = Rights()
        self.sandboxed()
        self.assertIn("outside of the sandbox", rights.why_not_read(os.fspath(self.path)))
        self.assertIn("outside of the sandbox", rights.why_not_listen())

    def test_not_the_sandboxs_doing(self) -> None:
        """What the user may not read anyway has nothing to do with the sandbox."""
        rights = Rights()
        self.sandboxed()
        self.patch(os, "access", lambda path, mode, **how: False)
        self.assertEqual(rights.why_not_read(os.fspath(self.path)), "")

    def test_names(self) -> None:
        """A user without an entry is told by its number."""
        self.assertEqual(privileges.user_name(0), "root")
        self.assertEqual(privileges.user_name(4_000_000_000), "4000000000")


class FilesTests(SynchronousTestCase):
    """Files that were read before the drop."""

    def setUp(self) -> None:
        self.path = folder(self) / "key.pem"
        self.path.write_bytes(b"one")
        self.files = Files()
        self.files.read(os.fspath(self.path))

    def drop(self) -> None:
        """From now on the file cannot be opened, and the process is another user."""

        def denied(path: str, *arguments: object, **options: object) -> int:
            raise PermissionError(errno.EACCES, "Permission denied", path)

        self.patch(os, "open", denied)
        user = os.geteuid()
        self.patch(os, "geteuid", lambda: user + 1)

    def test_unchanged(self) -> None:
        """A file that was written a moment before the start, and is as it was, is no change though nobody can look."""
        self.drop()
        self.assertFalse(self.files.changed())

    def test_changed(self) -> None:
        """One that was replaced is; then it is told why it cannot be read, and it is no news any more."""
        new = self.path.with_name("new")
        new.write_bytes(b"two")
        new.rename(self.path)
        self.drop()
        self.assertTrue(self.files.changed())
        again = self.files.anew()
        error = self.assertRaises(OSError, again.read, os.fspath(self.path))
        self.assertIn("Permission denied as user", str(error.strerror))
        self.assertIn("given up the privileges", str(error.strerror))
        self.assertFalse(again.changed())


class LookedIntoTests(SynchronousTestCase):
    """A process that has secrets of another user's."""

    def test_closed(self) -> None:
        """Others of its own user may look into it no more."""
        done = subprocess.run([sys.executable, "-c", CLOSED], capture_output=True, check=True, text=True)
        self.assertEqual(done.stdout.split(), ["1", "0"])


class CoreTests(SynchronousTestCase):
    """A process that crashes."""

    def crash(self, *, hard: int) -> tuple[list[str], list[str]]:
        """Let one crash that leaves no core. @return: its limits, and the files that are there then"""
        where = folder(self)
        done = subprocess.run(
            [sys.executable, "-c", CRASH, str(hard)],
            cwd=where,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.fspath(Path(privileges.__file__).parent.parent)},
            check=False,
            text=True,
        )
        self.assertLess(done.returncode, 0)
        return done.stdout.split(), os.listdir(where)

    def test_no_core(self) -> None:
        """Nothing is left of it; the limit is the one that Linux heeds for programs that take cores, too."""
        most = resource.getrlimit(resource.RLIMIT_CORE)[1]
        expected = "0" if most == 0 else "1"
        self.assertEqual(self.crash(hard=most), ([expected, expected], []))

    def test_not_allowed(self) -> None:
        """Where the limit cannot be set, the start ends with a line."""

        def refuse(which: int, limits: tuple[int, int]) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        self.patch(resource, "setrlimit", refuse)
        error = self.assertRaises(ConfigurationError, privileges.leave_no_core)
        self.assertIn("core-dumps=off: the limit cannot be set: ", str(error))

    def test_never_raised(self) -> None:
        """Where none was allowed already, that stays."""
        self.assertEqual(self.crash(hard=0), (["0", "0"], []))
