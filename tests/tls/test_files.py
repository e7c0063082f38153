"""What was read of the disk: each file once, and a change of any is noticed."""

from __future__ import annotations

import builtins
import errno
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import mytls.tls.files
from mytls.errors import ConfigurationError
from mytls.settings import HostSettings
from mytls.tls.files import Files, read
from tests.files import folder


def later() -> float:
    """A time at which all files of this test are old."""
    return time.time() + 60


class FilesTests(SynchronousTestCase):
    """A folder, and what is read of it."""

    def setUp(self) -> None:
        self.folder = folder(self)
        self.files = Files(later)

    def write(self, name: str, content: bytes = b"content") -> str:
        """A file. @return: its path"""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)

    def path(self, name: str) -> str:
        """A path in the folder."""
        return str(self.folder / name)

    def entries(self) -> list[str]:
        """The folder's files, below it."""
        return [os.path.relpath(each, self.folder) for each in Files().entries(str(self.folder))]

    def opened(self) -> list[str]:
        """A list of the paths that are opened from now on."""
        paths: list[str] = []
        original = builtins.open

        def counted(path: Any, *rest: Any, **more: Any) -> Any:
            if str(path).startswith(str(self.folder)):
                paths.append(os.path.basename(path))
            return original(path, *rest, **more)

        self.patch(builtins, "open", counted)
        return paths

    def refuse_to_open(self) -> None:
        """From now on this user may not read."""

        def refuse(path: Any, *rest: Any, **more: Any) -> Any:
            raise PermissionError(errno.EACCES, "Permission denied", path)

        self.patch(builtins, "open", refuse)


class ReadTests(FilesTests):
    """Reading."""

    def test_each_file_once(self) -> None:
        """Whoever asks again gets the same bytes, whatever is in the file by now."""
        path = self.write("a", b"one")
        self.assertEqual(self.files.read(path), b"one")
        self.write("a", b"two")
        self.assertEqual((self.files.read(path), self.files.maybe(path)), (b"one", b"one"))

    def test_missing(self) -> None:
        """A file that is not there: an error, or None for who can do without, also where a folder is missing."""
        for name in ("none", "none/none", "file/none"):
            self.write("file")
            self.assertIsNone(self.files.maybe(self.path(name)))
            with self.assertRaises(OSError):
                self.files.read(self.path(name))

    def test_missing_stays_missing(self) -> None:
        """Absence is remembered too: all parts of a loading see the same."""
        self.assertIsNone(self.files.maybe(self.path("a")))
        self.write("a")
        self.assertIsNone(self.files.maybe(self.path("a")))

    def test_unreadable(self) -> None:
        """What is there and cannot be read is never taken for missing."""
        path = self.write("a")
        self.refuse_to_open()
        for ask in (self.files.read, self.files.maybe, self.files.mode):
            self.assertRaises(PermissionError, ask, path)

    def test_folder_for_a_file(self) -> None:
        """A folder is no file."""
        self.assertRaises(IsADirectoryError, self.files.read, str(self.folder))

    def test_path_of_no_system(self) -> None:
        """A path that cannot be one is an C{OSError} as others, and nothing to look for again."""
        for ask in (self.files.read, self.files.entries):
            with self.assertRaises(OSError) as caught:
                ask("a\0b")
            self.assertEqual(caught.exception.errno, errno.EINVAL)
        self.assertFalse(self.files.changed())

    def test_mode(self) -> None:
        """Permission bits are those of the moment of reading, and asking for them reads."""
        path = self.write("a")
        os.chmod(path, 0o640)
        self.assertEqual(self.files.mode(path), 0o640)
        os.chmod(path, 0o600)
        self.assertEqual((self.files.mode(path), self.files.read(path)), (0o640, b"content"))

    def test_named_pipe(self) -> None:
        """A pipe, as a shell's `<(...)` makes them, is read once, and nobody waits for it a second time."""
        path = self.path("pipe")
        os.mkfifo(path)
        writer = os.open(path, os.O_RDWR)
        os.write(writer, b"secret")
        original = builtins.open

        def open_and_end(*arguments: Any, **more: Any) -> Any:
            nonlocal writer
            file = original(*arguments, **more)
            os.close(writer)
            writer = 0
            return file

        self.patch(builtins, "open", open_and_end)
        self.assertEqual(self.files.read(path), b"secret")
        self.assertEqual(self.opened(), [])
        self.assertFalse(self.files.changed())
        os.unlink(path)
        self.assertTrue(self.files.changed())

    def test_pipe_in_place_of_a_file(self) -> None:
        """A file that has become a pipe is a change, and nobody waits for what it says."""
        path = self.write("a")
        self.files.read(path)
        os.unlink(path)
        os.mkfifo(path)
        self.assertTrue(self.files.changed())

    def test_pipe_that_comes(self) -> None:
        """So is a pipe where nothing was."""
        self.assertIsNone(self.files.maybe(self.path("a")))
        os.mkfifo(self.path("a"))
        self.assertTrue(self.files.changed())

    def test_silent_pipe(self) -> None:
        """A pipe that nobody writes to is an error after a while, and holds up nobody for ever."""
        path = self.path("pipe")
        os.mkfifo(path)
        self.patch(mytls.tls.files, "_SILENCE", 10)
        with self.assertRaises(TimeoutError) as caught:
            self.files.read(path)
        self.assertEqual(caught.exception.strerror, "nobody writes into it")

    def test_endless(self) -> None:
        """What never ends is not read to the end, nor is what is too large for any list of certificates."""
        self.patch(mytls.tls.files, "_MOST", 100_000)
        large = self.write("large", b"x" * 100_001)
        for path in ("/dev/zero", large):
            with self.assertRaises(OSError) as caught:
                self.files.read(path)
            self.assertEqual(caught.exception.errno, errno.EFBIG)
        self.assertEqual(len(self.files.read(self.write("fits", b"x" * 100_000))), 100_000)
        self.assertEqual(self.files.read("/dev/null"), b"")

    def test_another_working_directory(self) -> None:
        """Relative paths count from where they did at first, also for the loadings that follow."""
        self.write("a", b"here")
        self.write("certificates/b")
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.folder)
        self.files = Files(later)
        os.chdir(before)
        for files in (self.files, self.files.anew()):
            self.assertEqual((files.read("a"), files.entries("certificates")), (b"here", ("certificates/b",)))
            self.assertFalse(files.changed())
        self.write("certificates/c")
        self.assertTrue(self.files.changed())

    def test_removed_working_directory(self) -> None:
        """Where there is none, whole paths are read all the same."""
        path = self.write("a")
        gone = self.folder / "gone"
        gone.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(gone)
        gone.rmdir()
        self.assertEqual(Files(later).read(path), b"content")

    def test_nothing_is_shown(self) -> None:
        """What was read is not printed, in whatever form."""
        self.files.read(self.write("key", b"secret"))
        self.assertEqual(repr(self.files), "<Files: 1 files, 0 folders>")

    def test_forget(self) -> None:
        """What was read is gone from memory, and changes are noticed as before."""
        path = self.write("key", b"a secret of some length")
        self.files.read(path)
        self.files.forget()
        held = gc.get_referents(*(each for each in vars(self.files).values() if isinstance(each, dict)))
        self.assertNotIn(b"a secret of some length", held)
        self.assertFalse(self.files.changed())
        self.write("key", b"another")
        self.assertTrue(self.files.changed())

    def test_read_after_forget(self) -> None:
        """Whoever reads late reads anew; that the file is not as the others have seen it is still a change."""
        path = self.write("a", b"one")
        self.files.read(path)
        self.files.forget()
        self.write("a", b"two")
        self.assertEqual(self.files.read(path), b"two")
        self.assertTrue(self.files.changed())

    def test_gone_after_forget(self) -> None:
        """Whoever reads late and finds the file gone gets the error of that."""
        path = self.write("a")
        self.files.read(path)
        self.files.forget()
        os.unlink(path)
        self.assertRaises(FileNotFoundError, self.files.read, path)
        self.assertTrue(self.files.changed())


class ConfiguredTests(FilesTests):
    """Files that a user has named."""

    def error(self, path: str) -> str:
        """The error for this path."""
        settings = HostSettings(wrote={"certificate": "mytls.toml:3: certificate"})
        with self.assertRaises(ConfigurationError) as caught:
            read(settings, "certificate", path, self.files)
        return str(caught.exception).replace(str(self.folder), "DIR")

    def test_content(self) -> None:
        """What is in it."""
        self.assertEqual(read(HostSettings(), "crl", self.write("a", b"x"), self.files), b"x")

    def test_missing(self) -> None:
        """The error names the key as the user wrote it."""
        self.assertEqual(self.error(self.path("none")), "mytls.toml:3: certificate=DIR/none: no such file")

    def test_folder(self) -> None:
        """A folder cannot be read."""
        self.assertEqual(self.error(str(self.folder)), "mytls.toml:3: certificate=DIR: cannot be read: Is a directory")

    def test_unreadable(self) -> None:
        """A file that this user may not read is not called missing."""
        path = self.write("a")
        self.refuse_to_open()
        self.assertEqual(self.error(path), "mytls.toml:3: certificate=DIR/a: cannot be read: Permission denied")


class EntriesTests(FilesTests):
    """Folders."""

    def test_sorted_and_deep(self) -> None:
        """All files below the folder, in order, whatever order the system has."""
        for name in ("b.pem", "a/z.pem", "a/b/c.pem", "c.pem", "a.pem"):
            self.write(name)
        self.assertEqual(self.entries(), ["a.pem", "a/b/c.pem", "a/z.pem", "b.pem", "c.pem"])

    def test_kubernetes(self) -> None:
        """A mounted secret: each file once, by its name and not by those of the hidden folders that it is in."""
        self.write("..2024_01_02/tls.crt")
        self.write("..2024_01_02/tls.key")
        (self.folder / "..data").symlink_to("..2024_01_02")
        for name in ("tls.crt", "tls.key"):
            (self.folder / name).symlink_to(f"..data/{name}")
        self.assertEqual(self.entries(), ["tls.crt", "tls.key"])

    def test_certbot(self) -> None:
        """Sub-folders with links to the files are walked."""
        self.write("archive/a.example/fullchain1.pem")
        live = self.folder / "live" / "a.example"
        live.mkdir(parents=True)
        (live / "fullchain.pem").symlink_to("../../archive/a.example/fullchain1.pem")
        self.assertEqual(self.entries(), ["archive/a.example/fullchain1.pem", "live/a.example/fullchain.pem"])

    def test_dots(self) -> None:
        """Files and folders that begin with a dot are left out."""
        self.write(".hidden.pem")
        self.write(".git/config")
        self.write("a.pem")
        self.assertEqual(self.entries(), ["a.pem"])

    def test_loops(self) -> None:
        """A link to a folder above, to itself, to nothing, in circles: the walk ends, each folder walked once."""
        self.write("a/one.pem")
        (self.folder / "a" / "up").symlink_to("..")
        (self.folder / "b").symlink_to("a")
        (self.folder / "self").symlink_to("self")
        (self.folder / "nothing").symlink_to("nowhere")
        (self.folder / "ping").symlink_to("pong")
        (self.folder / "pong").symlink_to("ping")
        self.assertEqual(self.entries(), ["a/one.pem"])

    def test_link_that_cannot_be_followed(self) -> None:
        """A link of which nobody can say what it is may be a host's: that is an error, and none that is left out."""
        (self.folder / "odd").symlink_to("a" * 300)
        with self.assertRaises(OSError) as caught:
            self.entries()
        self.assertEqual(caught.exception.errno, errno.ENAMETOOLONG)

    def test_no_files(self) -> None:
        """Pipes and sockets are left out."""
        os.mkfifo(self.path("pipe"))
        self.assertEqual(self.entries(), [])

    def test_missing(self) -> None:
        """A folder that is not there, or is a file."""
        self.assertRaises(FileNotFoundError, self.files.entries, self.path("none"))
        self.assertRaises(NotADirectoryError, self.files.entries, self.write("file"))

    def test_listed_once(self) -> None:
        """Whoever asks again gets the same list."""
        self.write("a")
        first = self.files.entries(str(self.folder))
        self.write("b")
        self.assertEqual(self.files.entries(str(self.folder)), first)


class ChangedTests(FilesTests):
    """Changes."""

    def changed(self, *changes: Callable[[], object]) -> list[bool]:
        """Whether there is a change, before and after each of these."""
        found = [self.files.changed()]
        for change in changes:
            change()
            found.append(self.files.changed())
        return found

    def test_content(self) -> None:
        """Another content is a change, until it is as it was."""
        path = self.write("a", b"one")
        self.files.read(path)
        found = self.changed(lambda: self.write("a", b"two"), lambda: self.write("a", b"one"))
        self.assertEqual(found, [False, True, False])

    def test_same_size_and_time(self) -> None:
        """A content of the same length is a change, also where the time of modification was set back."""
        path = self.write("a", b"one")
        before = os.stat(path)
        self.files.read(path)
        self.write("a", b"two")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.assertTrue(self.files.changed())

    def test_touched(self) -> None:
        """A file that was written again as it was, replaced by its equal, or got another mode, is no change."""
        path = self.write("a", b"one")
        self.files.read(path)

        def replace() -> None:
            Path(self.write("beside", b"one")).replace(path)

        found = self.changed(
            lambda: self.write("a", b"one"), lambda: os.utime(path), replace, lambda: os.chmod(path, 0o600)
        )
        self.assertEqual(found, [False] * 5)

    def test_gone_and_there(self) -> None:
        """A file that is gone, and one that has come, are changes."""
        self.files.read(self.write("a"))
        self.files.maybe(self.path("b"))
        found = self.changed(
            lambda: os.unlink(self.path("a")),
            lambda: self.write("a"),
            lambda: self.write("b"),
            lambda: os.unlink(self.path("b")),
        )
        self.assertEqual(found, [False, True, False, True, False])

    def test_unreadable(self) -> None:
        """A file that could not be read is one still: that is no change. That it can be read now is one."""
        path = self.write("a")
        with_open = builtins.open
        self.refuse_to_open()
        self.assertRaises(PermissionError, self.files.read, path)
        self.assertFalse(self.files.changed())
        self.patch(builtins, "open", with_open)
        self.assertTrue(self.files.changed())

    def test_link_swapped(self) -> None:
        """A link to another file is a change, as Kubernetes and certbot make them."""
        self.write("1/tls.crt", b"one")
        self.write("2/tls.crt", b"two")
        data = self.folder / "data"
        data.symlink_to("1")
        self.files.read(str(data / "tls.crt"))

        def swap() -> None:
            data.unlink()
            data.symlink_to("2")

        self.assertEqual(self.changed(swap), [False, True])

    def test_listing(self) -> None:
        """A file more, a file less, in a sub-folder too; a folder that is gone."""
        self.write("a/one")
        self.files.entries(str(self.folder))
        found = self.changed(
            lambda: self.write("a/two"),
            lambda: os.unlink(self.path("a/two")),
            lambda: os.rename(self.path("a"), self.path("b")),
        )
        self.assertEqual(found, [False, True, False, True])

    def test_folder_that_was_missing(self) -> None:
        """A folder that could not be listed, and can be now."""
        path = self.path("later")
        self.assertRaises(OSError, self.files.entries, path)
        self.assertEqual(self.changed(lambda: os.mkdir(path)), [False, True])

    def test_old_files_are_not_read(self) -> None:
        """To look costs no reading: a thousand files are as they were, and none is opened."""
        for number in range(1000):
            self.files.read(self.write(str(number)))
        opened = self.opened()
        self.assertFalse(self.files.changed())
        self.assertEqual(opened, [])

    def test_only_what_was_touched_is_read(self) -> None:
        """A file with other times is read again, once, and is known by its new times then."""
        for name in ("a", "b", "c"):
            self.files.read(self.write(name))
        os.utime(self.path("b"), (1, 1))
        opened = self.opened()
        self.assertEqual(self.changed(), [False])
        self.assertEqual(opened, ["b"])
        self.assertEqual(self.changed(), [False])
        self.assertEqual(opened, ["b"])

    def test_young_files_are_read_again(self) -> None:
        """
        A file that was written in the moment in which it was read could be written again within one tick of the file
        system's clock. It is read again, until it is two seconds old.
        """
        now = [0.0]
        self.files = Files(lambda: now[0])
        path = self.write("a")
        written = os.stat(path).st_ctime
        now[0] = written + 1.9
        self.files.read(path)
        opened = self.opened()
        self.assertEqual(self.changed(), [False])
        self.assertEqual(opened, ["a"])
        now[0] = written + 2.1
        self.assertEqual(self.changed(), [False])
        self.assertEqual(opened, ["a", "a"])
        self.assertEqual(self.changed(), [False])
        self.assertEqual(opened, ["a", "a"])

    def test_written_while_read(self) -> None:
        """A file that grew while it was read may be half of what it is to be: it is read again."""
        path = self.write("a", b"one")
        original = os.fstat

        def write_behind(descriptor: int) -> os.stat_result:
            self.patch(os, "fstat", original)
            status = original(descriptor)
            self.write("a", b"one, two")
            return status

        self.patch(os, "fstat", write_behind)
        self.files.read(path)
        opened = self.opened()
        self.files.changed()
        self.assertEqual(opened, ["a"])
