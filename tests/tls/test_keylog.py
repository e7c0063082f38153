"""The key log file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.tls.keylog import KeyLog
from tests.files import folder


class KeyLogTests(SynchronousTestCase):
    """A folder, and a path in it."""

    def setUp(self) -> None:
        self.folder = folder(self)
        self.path = self.folder / "keys.log"

    def refused(self, path: Path | str) -> str:
        """What is said of a path. It is said before anything is made."""
        before = sorted(self.folder.iterdir())
        error = self.assertRaises(ConfigurationError, KeyLog, str(path), "mytls.toml:1: keylog")
        self.assertEqual(sorted(self.folder.iterdir()), before)
        return str(error).replace(str(self.folder), "DIR")

    def test_made_when_opened(self) -> None:
        """Who only looks makes no file, and writes nothing."""
        keylog = KeyLog(str(self.path))
        keylog(b"early")
        self.assertFalse(self.path.exists())
        keylog.open()
        keylog.open()
        keylog(b"line")
        keylog.close()
        keylog.close()
        keylog(b"late")
        self.assertEqual(self.path.read_bytes(), b"line\n")
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_appends(self) -> None:
        """What is there stays, and is nobody's but the owner's from then on."""
        self.path.write_bytes(b"old\n")
        self.path.chmod(0o644)
        keylog = KeyLog(str(self.path))
        keylog.open()
        self.addCleanup(keylog.close)
        keylog(b"new")
        self.assertEqual(self.path.read_bytes(), b"old\nnew\n")
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_working_directory(self) -> None:
        """A relative path counts from where it was said."""
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        keylog = KeyLog("keys.log")
        os.chdir("/")
        keylog.open()
        self.addCleanup(keylog.close)
        self.assertTrue(self.path.exists())

    def test_refused(self) -> None:
        """What cannot be written, or would be another's too, is told by the key as the user wrote it."""
        self.path.symlink_to("nowhere")
        os.mkfifo(self.folder / "pipe")
        said = "mytls.toml:1: keylog="
        another = "not a file of our own; the secrets in it would be another's"
        self.assertRegex(self.refused(self.path), rf"^{said}DIR/keys\.log: cannot be written: Too many levels")
        self.assertRegex(self.refused(self.folder / "pipe"), rf"^{said}DIR/pipe: cannot be written: ")
        heard = self.folder / "heard"
        os.mkfifo(heard)
        self.addCleanup(os.close, os.open(heard, os.O_RDONLY | os.O_NONBLOCK))
        self.assertEqual(self.refused(heard), f"{said}DIR/heard: {another}")
        self.assertEqual(self.refused(self.folder), f"{said}DIR: cannot be written: Is a directory")
        self.assertEqual(self.refused(self.folder / "a" / "b"), f"{said}DIR/a/b: cannot be written: no such folder")
        self.assertRegex(self.refused("a\0b"), rf"^{said}a\\x00b: cannot be written: ")

    def test_folder_that_is_gone(self) -> None:
        """A folder that was there when it was looked at, and is not when the file is made."""
        there = self.folder / "there"
        there.mkdir()
        keylog = KeyLog(str(there / "keys.log"))
        there.rmdir()
        self.assertRaises(ConfigurationError, keylog.open)
