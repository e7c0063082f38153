"""What a parent has read for workers that may not."""

from __future__ import annotations

import builtins
import errno
import os
import stat

from twisted.trial.unittest import SynchronousTestCase

from mytls.tls import files as tls_files
from mytls.tls.files import Contents, Files
from mytls.workers import held as workers_held
from mytls.workers.held import HELD, Held
from tests.files import folder

_SECRET = b"-----BEGIN PRIVATE KEY-----"


class HeldTests(SynchronousTestCase):
    """L{Held}."""

    def setUp(self) -> None:
        self.readable: set[str] = set()
        self.patch(tls_files, "_may", lambda path, how: path in self.readable)
        self.closed: list[bool] = []
        self.patch(workers_held, "keep_to_itself", lambda: self.closed.append(True))
        self.held = Held()
        self.addCleanup(self.held.forget)

    def passed(self) -> Contents:
        """What a worker gets, which is started with two descriptors."""
        given = self.given()
        self.addCleanup(given.forget)
        return given.contents

    def given(self) -> Held:
        """What it has from that."""
        environ, descriptors = self.held.passed({"PATH": "/bin"}, {3: 0, 4: 1})
        for name, value in environ.items():
            self.assertNotIn(_SECRET.decode(), name + value)
        if HELD in environ:
            descriptor = int(environ[HELD])
            self.assertEqual(sorted(descriptors), [3, 4, 5])
            self.assertFalse(os.get_inheritable(descriptors[descriptor]))
            self.assertRaises(PermissionError, os.write, descriptors[descriptor], b"x")
            environ[HELD] = str(os.dup(descriptors[descriptor]))
        else:
            self.assertEqual(descriptors, {3: 0, 4: 1})
        found = Held.handed_over(environ)
        self.assertEqual(environ, {"PATH": "/bin"})
        self.assertEqual(bool(self.closed), bool(found.contents))
        return found

    def test_what_cannot_be_read(self) -> None:
        """Each worker has it, whole, and nothing of what it can read itself; nobody can change it."""
        self.readable = {"/chain.pem", "/open"}
        folders = {"/keys": ("/keys/a.pem",), "/open": ("/open/b.pem",)}
        signatures = {"/key.pem": (1, 2), "/chain.pem": (1, 3)}
        self.held.take(Contents({"/key.pem": _SECRET, "/chain.pem": b"chain"}, folders, signatures))
        self.held.settle()
        expected = Contents({"/key.pem": _SECRET}, {"/keys": ("/keys/a.pem",)}, {"/key.pem": (1, 2)})
        for _ in range(2):
            self.assertEqual(self.passed(), expected)

    def test_all_can_be_read(self) -> None:
        """Then nothing is passed on."""
        self.readable = {"/key.pem"}
        self.held.take(Contents({"/key.pem": _SECRET}))
        self.held.settle()
        self.assertFalse(self.passed())

    def test_after_a_reload(self) -> None:
        """Nothing is held any more: who starts then reads what the parent has read."""
        self.held.take(Contents({"/key.pem": _SECRET}))
        self.held.settle()
        self.held.forget()
        self.assertFalse(self.passed())

    def test_a_successor(self) -> None:
        """It has the same, and so has who follows it; where all can be read by then, nobody has."""
        contents = Contents({"/key.pem": _SECRET})
        self.held.take(contents)
        self.held.settle()
        for _ in range(2):
            self.held = self.given()
            self.addCleanup(self.held.forget)
            self.held.take(self.held.contents)
            self.held.settle()
            self.assertEqual(self.held.contents, Contents())
        self.assertEqual(self.passed(), contents)
        last = self.given()
        self.readable = {"/key.pem"}
        last.take(contents)
        last.settle()
        self.assertEqual(last.passed({}, {}), ({}, {}))

    def test_nobody_else_opens_it(self) -> None:
        """It has no permissions from its making on, which is when the process may be root still."""
        self.held.take(Contents({"/key.pem": _SECRET}))
        (before,) = self.held.passed({}, {})[1].values()
        status = os.fstat(before)
        self.assertEqual((stat.S_IMODE(status.st_mode), status.st_uid, status.st_size), (0, os.geteuid(), 0))
        self.held.settle()
        (after,) = self.held.passed({}, {})[1].values()
        self.assertEqual((os.fstat(after).st_ino, stat.S_IMODE(os.fstat(after).st_mode)), (status.st_ino, 0))

    def test_no_secret_is_shown(self) -> None:
        """What is held does not show what it is."""
        self.assertNotIn("PRIVATE", repr(Contents({"/key.pem": _SECRET})))


class FilesTests(SynchronousTestCase):
    """How it is read by who may not read the file."""

    def setUp(self) -> None:
        self.folder = str(folder(self))
        self.key = os.path.abspath(os.path.join(self.folder, "key.pem"))
        with open(self.key, "wb") as file:
            file.write(b"as it is now")
        self.files = Files(held=Contents({self.key: _SECRET}, {"/closed": ("/closed/a.pem",)}))

    def deny(self) -> None:
        """Whoever runs this may read nothing from now on."""

        def denied(path: str, *about: object, **more: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

        self.patch(builtins, "open", denied)
        self.patch(tls_files, "_below", denied)

    def test_a_file(self) -> None:
        """It is what the parent has read, private as it is, for the first loading alone."""
        self.deny()
        self.assertEqual((self.files.read(self.key), self.files.mode(self.key)), (_SECRET, 0o600))
        self.assertRaises(PermissionError, self.files.anew().read, self.key)
        self.assertRaises(PermissionError, self.files.read, os.path.join(self.folder, "other.pem"))

    def test_no_change(self) -> None:
        """A file that is as it was when another had read it is no change; another in its place is, from the start."""
        self.files.read(self.key)
        held = self.files.contents()
        self.deny()
        for change in (lambda: None, lambda: os.utime(self.key, (1, 1))):
            change()
            files = Files(held=held)
            self.assertEqual(files.read(self.key), b"as it is now")
            self.assertEqual(files.changed(), os.stat(self.key).st_mtime == 1)
            self.assertEqual(files.contents(), held)  # for whoever comes next

    def test_a_folder(self) -> None:
        """Likewise."""
        self.deny()
        self.assertEqual(self.files.entries("/closed"), ("/closed/a.pem",))
        self.assertRaises(PermissionError, self.files.entries, "/other")

    def test_what_can_be_read(self) -> None:
        """It is read from the disk; what a parent has read is no newer."""
        self.assertEqual(self.files.read(self.key), b"as it is now")

    def test_contents(self) -> None:
        """All that was read, until it is forgotten."""
        self.files.read(self.key)
        self.files.entries(self.folder)
        found = self.files.contents()
        self.assertEqual(found.files, {self.key: b"as it is now"})
        self.assertEqual(list(found.folders), [os.path.abspath(self.folder)])
        self.files.forget()
        self.assertEqual(self.files.contents().files, {})
