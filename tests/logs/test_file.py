"""A file that lines go to."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.accesslog import AccessLog
from mytls.errors import ConfigurationError
from mytls.events import Reloaded
from mytls.logs.file import LogFile
from mytls.logs.lines import Line, Priority
from mytls.logs.places import place_of
from mytls.settings import Log
from tests.files import folder
from tests.lines import log_lines
from tests.logs.events import closed

TOP = Path(__file__).parent.parent.parent


def line(text: str) -> Line:
    """A line of this text."""
    return Line(Priority.INFO, text, text, dict)


class FileTests(SynchronousTestCase):
    """The place `file:`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = folder(self) / "access.log"
        self.told = log_lines(self)

    def opened(self, rotate: int = 0, keep: int = 10) -> LogFile:
        """A file that is closed when the test is over."""
        file = LogFile(str(self.path), rotate, keep, f"log-to=file:{self.path}", self.clock.seconds)
        file.open()
        self.addCleanup(file.close)
        return file

    def texts(self, name: str = "access.log") -> list[str]:
        """What stands in a file of the folder."""
        return self.path.with_name(name).read_text().splitlines()

    def test_appended(self) -> None:
        """Lines are added to what is there; the file is for its owner and its group."""
        self.opened().write(line("a"))
        self.opened().write(line("b"))
        self.assertEqual(self.texts(), ["a", "b"])
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode) & 0o137, 0)

    def test_not_made_before(self) -> None:
        """Who only looks whether it could be written leaves no file, and one that was not opened takes no line."""
        file = LogFile(str(self.path), 0, 1, "log-to", self.clock.seconds)
        file.write(line("a"))
        file.reopen()
        file.close()
        self.assertFalse(self.path.exists())

    def test_unwritable(self) -> None:
        """A folder that is missing, or has that name, is an error that names the key, before anything listens."""
        for path, why in ((self.path / "x", "no such folder"), (self.path.parent, "a folder has that name")):
            with self.assertRaises(ConfigurationError) as caught:
                place_of(Log(to=f"file:{path}"), self.clock.seconds, "--log-to")
            self.assertEqual(str(caught.exception), f"--log-to=file:{path}: cannot be written: {why}")

    def test_vanishes_before_the_start(self) -> None:
        """A folder that is gone when the service starts is the same error."""
        file = LogFile(str(self.path), 0, 1, "log-to=x", self.clock.seconds)
        self.path.parent.rmdir()
        self.addCleanup(self.path.parent.mkdir)
        with self.assertRaisesRegex(ConfigurationError, "^log-to=x: cannot be written: no such file or directory$"):
            file.open()

    def test_moved(self) -> None:
        """Who renames it finds that lines go to a new one a second later, and none is lost."""
        file = self.opened()
        file.write(line("a"))
        self.path.rename(self.path.with_name("old"))
        file.write(line("b"))
        self.clock.advance(1)
        file.write(line("c"))
        self.assertEqual((self.texts("old"), self.texts()), (["a", "b"], ["c"]))

    def test_removed(self) -> None:
        """Who removes it finds a new one likewise."""
        file = self.opened()
        self.path.unlink()
        self.clock.advance(1)
        file.write(line("a"))
        self.assertEqual(self.texts(), ["a"])

    def test_reload(self) -> None:
        """A reload opens it again at once, and its line stands in twistd's log too."""
        place = self.opened()
        log = AccessLog(Log(), self.clock, place, lambda: 0.0)
        log(closed())
        self.path.rename(self.path.with_name("old"))
        log(Reloaded(changes=()))
        self.assertEqual(self.texts(), ["1970-01-01T00:00:00.000Z reloaded: nothing has changed"])
        self.assertEqual(self.told, ["reloaded: nothing has changed"])
        self.assertRegex(self.texts("old")[0], "^1970-01-01T00:00:00.000Z closed 192.0.2.1:50000 at .* clean$")

    def test_not_moved(self) -> None:
        """A file that has its name is not opened again: it may be one that this user could not open any more."""
        file = self.opened()
        self.patch(os, "open", None)
        file.reopen()
        file.write(line("a"))
        self.assertEqual((self.texts(), self.told), (["a"], []))

    def test_rotated(self) -> None:
        """At its size it is renamed to .1, that to .2, and as many are kept as is said."""
        file = self.opened(rotate=4, keep=2)
        for text in ("aa", "bb", "cc", "dd", "ee", "ff", "gg"):
            file.write(line(text))
        self.assertEqual(sorted(os.listdir(self.path.parent)), ["access.log", "access.log.1", "access.log.2"])
        kept = self.texts("access.log.2"), self.texts("access.log.1"), self.texts()
        self.assertEqual(kept, (["cc", "dd"], ["ee", "ff"], ["gg"]))

    def test_kept_none(self) -> None:
        """Where none is kept it is begun anew."""
        file = self.opened(rotate=4, keep=0)
        for text in ("aa", "bb", "cc"):
            file.write(line(text))
        self.assertEqual((os.listdir(self.path.parent), self.texts()), (["access.log"], ["cc"]))

    def test_rotated_by_several(self) -> None:
        """Where several have it open and one rotates it, lines of the others are not lost, nor is it rotated twice."""
        files = [self.opened(rotate=6) for _ in range(3)]
        for text in "abcdefgh":
            for file in files:
                file.write(line(text))
        names = sorted(os.listdir(self.path.parent))
        found = sorted(text for name in names for text in self.texts(name))
        self.assertEqual(found, sorted("abcdefgh" * 3))
        self.assertLessEqual(len(names), 9)

    def test_one_rotates(self) -> None:
        """Who finds that another is rotating it goes on writing, and waits for nobody."""
        file = self.opened(rotate=2)
        other = os.open(self.path, os.O_RDONLY)
        self.addCleanup(os.close, other)
        fcntl.flock(other, fcntl.LOCK_SH)
        for text in "abc":
            file.write(line(text))
        self.assertEqual(self.texts(), ["a", "b", "c"])
        fcntl.flock(other, fcntl.LOCK_UN)
        file.write(line("d"))
        self.assertEqual((self.texts("access.log.1"), self.texts()), (["a", "b", "c", "d"], []))

    def test_thrown_away(self) -> None:
        """Where others have rotated it so often that it is kept no more, the next line is in the new one."""
        idle, busy = self.opened(rotate=4, keep=1), self.opened(rotate=4, keep=1)
        for text in ("aa", "bb", "cc", "dd", "ee"):
            busy.write(line(text))
        idle.write(line("x"))
        self.assertIn("x", self.texts() + self.texts("access.log.1"))

    def test_not_to_be_rotated(self) -> None:
        """Where a new one cannot be begun the old one goes on, and one line of twistd's log says so."""
        file = self.opened(rotate=2, keep=1)
        self.path.with_name("access.log.1").mkdir()
        for text in "abc":
            file.write(line(text))
        self.assertEqual(self.texts(), ["a", "b", "c"])
        (only,) = self.told
        self.assertRegex(only, r"^log-to=file:.*: a new file cannot be begun: Is a directory$")

    def test_gone_for_good(self) -> None:
        """Where the folder is gone lines are lost, one line a minute says so, and it goes on when there is one."""
        file = self.opened()
        self.path.unlink()
        self.path.parent.rmdir()
        for _ in range(120):
            self.clock.advance(1)
            file.write(line("a"))
        self.path.parent.mkdir()
        self.clock.advance(1)
        file.write(line("b"))
        self.assertEqual(self.texts(), ["b"])
        self.assertEqual(
            [each.partition(": ")[2] for each in self.told[::2]][:1],
            ["cannot be opened again: No such file or directory"],
        )
        self.assertEqual(self.told[-1].partition(": ")[2], "it goes on; 120 lines were lost")
        self.assertLessEqual(len(self.told), 4)

    def test_full_disk(self) -> None:
        """On a full disk lines are lost, half a line is ended before the next, and nobody who writes hears of it."""
        file = self.opened()
        really = os.write
        answers: list[int | OSError] = [3, OSError(errno.ENOSPC, "No space left on device")]

        def write(descriptor: int, data: bytes) -> int:
            answer = answers.pop(0) if answers else len(data)
            if isinstance(answer, OSError):
                raise answer
            return really(descriptor, data[:answer])

        self.patch(os, "write", write)
        for text in ("aaaaaa", "bbbbbb", "cccccc"):
            file.write(line(text))
        self.assertEqual(self.texts(), ["aaa", "cccccc"])
        self.assertEqual(
            [each.partition(": ")[2] for each in self.told],
            ["lines are lost: no room", "it goes on; 2 lines were lost"],
        )

    def test_no_file(self) -> None:
        """A device or a pipe has lines too, and is never renamed."""
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        file = LogFile(f"/dev/fd/{write}", 1, 1, "log-to", self.clock.seconds)
        file.open()
        self.addCleanup(file.close)
        for text in "ab":
            self.clock.advance(2)
            file.write(line(text))
        file.reopen()
        self.assertEqual(os.read(read, 100), b"a\nb\n")

    def test_several_processes(self) -> None:
        """Of processes that write and rotate the same file at the same time each line arrives, whole and once."""
        program = (
            "import sys, time; from mytls.logs.file import LogFile; from mytls.logs.lines import Line, Priority\n"
            "file = LogFile(sys.argv[1], 4096, 1000, 'log-to', time.monotonic); file.open()\n"
            "for number in range(500):\n"
            "    text = f'{sys.argv[2]}-{number}-' + 'x' * 50; file.write(Line(Priority.INFO, text, text, dict))\n"
        )
        each = [
            subprocess.Popen([sys.executable, "-c", program, os.fspath(self.path), str(number)], cwd=TOP)
            for number in range(3)
        ]
        self.assertEqual([process.wait(60) for process in each], [0, 0, 0])
        names = os.listdir(self.path.parent)
        found = [text for name in names for text in self.texts(name)]
        expected = {f"{process}-{number}-" + "x" * 50 for process in range(3) for number in range(500)}
        self.assertEqual((len(found), set(found)), (1500, expected))
        self.assertGreater(len(names), 1)
