"""
A file that is appended to: each line by one write, so that several processes can have the same file.

Who moves it away finds that lines go to a new one of its name, at the latest a second later; a reload does it at once.
Where a size is given it is renamed when it has that: `log` to `log.1`, that to `log.2`. Of several processes one does
so, behind a lock on the file itself, and the others find that it was moved. Nobody waits for that lock.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from mytls.errors import ConfigurationError
from mytls.logs.lines import Line, Losses

#: A full pipe, or one that nobody reads, is no reason to wait.
_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_MODE = 0o640
#: Seconds between two looks whether it was moved.
_LOOK = 1.0


class LogFile:
    """The place C{file:PATH}."""

    def __init__(self, path: str, rotate: int, keep: int, name: str, seconds: Callable[[], float]) -> None:
        """
        @param rotate: the size in bytes at which a new file is begun; 0 is never
        @param keep: how many old ones are kept
        @param name: what the user wrote, for errors
        @param seconds: tells the time
        @raise ConfigurationError: it could not be written
        """
        self._path = os.path.abspath(path)
        self._rotate, self._keep = rotate, keep
        self._name = name
        self._losses = Losses(name, seconds)
        self._seconds = seconds
        self._file: int | None = None
        self._regular = False
        self._cut = self._gone = False
        self._looked = seconds()
        self._not_before = self._looked
        self._check()

    def open(self) -> None:
        """Write from now on. @raise ConfigurationError: it cannot be written"""
        if self._file is not None:
            return
        try:
            self._take(self._opened())
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from None

    def write(self, line: Line) -> None:
        """Add a line."""
        if self._file is None:
            return
        if self._regular:
            self._look()
        if self._gone:
            self._losses.lost("the file is gone")
            return
        self._append(f"{line.stamped}\n".encode("utf-8", "backslashreplace"))

    def reopen(self) -> None:
        """Go on with the file that has the name now; where there can be none, with the old one."""
        if self._file is None or not self._regular or not self._moved():
            return
        try:
            new = self._opened()
        except OSError as error:
            self._gone = os.fstat(self._file).st_nlink == 0
            self._losses.trouble(f"cannot be opened again: {error.strerror}")
            return
        os.close(self._file)
        self._take(new)

    def close(self) -> None:
        """Write no more."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    # --- writing

    def _append(self, data: bytes) -> None:
        assert self._file is not None
        if self._cut:  # what was left of a line when the disk was full
            data = b"\n" + data
        try:
            written = os.write(self._file, data)
        except OSError as error:
            self._losses.lost(error.strerror or str(error))
            return
        self._cut = written < len(data)
        if self._cut:
            self._losses.lost("no room")
        else:
            self._losses.well()
        if self._rotate and self._regular and os.fstat(self._file).st_size >= self._rotate:
            self._begin_anew()

    def _look(self) -> None:
        """Whether the file still has its name. Others who rotate it may have thrown it away in less than a second."""
        assert self._file is not None
        now = self._seconds()
        if now - self._looked >= _LOOK:
            self._looked = now
        elif not self._rotate or os.fstat(self._file).st_nlink:
            return
        self.reopen()

    def _moved(self) -> bool:
        assert self._file is not None
        try:
            named = os.stat(self._path)
        except OSError:
            return True
        return not os.path.samestat(named, os.fstat(self._file))

    # --- rotating

    def _begin_anew(self) -> None:
        """It is long enough. Where that cannot be done now, somebody is at it or it is tried in a second."""
        assert self._file is not None
        if self._seconds() < self._not_before:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        try:
            if not self._moved():
                self._rename()
        except OSError as error:
            self._not_before = self._seconds() + _LOOK
            self._losses.trouble(f"a new file cannot be begun: {error.strerror}")
            fcntl.flock(self._file, fcntl.LOCK_UN)
            return
        self.reopen()

    def _rename(self) -> None:
        if not self._keep:
            os.unlink(self._path)
            return
        for number in range(self._keep - 1, 0, -1):
            with suppress(FileNotFoundError):
                os.replace(f"{self._path}.{number}", f"{self._path}.{number + 1}")
        os.replace(self._path, f"{self._path}.1")

    # --- opening

    def _opened(self) -> int:
        return os.open(self._path, _APPENDING, _MODE)

    def _take(self, file: int) -> None:
        self._file = file
        self._regular = stat.S_ISREG(os.fstat(file).st_mode)
        self._cut = self._gone = False

    def _check(self) -> None:
        """Whether it will be writable, without making it: who only looks should leave no file."""
        folder = os.path.dirname(self._path)
        if "\0" in self._path or not os.path.isdir(folder):
            raise self._cannot("no such folder")
        if os.path.isdir(self._path):
            raise self._cannot("a folder has that name")
        if not os.access(self._path if os.path.exists(self._path) else folder, os.W_OK):
            raise self._cannot("permission denied")

    def _unwritable(self, error: Exception) -> ConfigurationError:
        text = getattr(error, "strerror", None) or str(error)
        return self._cannot(text[:1].lower() + text[1:])

    def _cannot(self, why: str) -> ConfigurationError:
        return ConfigurationError(f"{self._name}: cannot be written: {why}")
