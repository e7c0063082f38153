"""
The secrets of every connection, in the NSS key log format, for a person who has to read the traffic with Wireshark.

Whoever reads this file reads all that was ever said. So it is made only when asked for, for its owner alone.

@see: U{https://datatracker.ietf.org/doc/draft-ietf-tls-keylogfile/}
"""

from __future__ import annotations

import os
import stat

from mytls.errors import ConfigurationError

_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class KeyLog:
    """A key log file, for appending; it is made when it is opened, and not by whoever only looks."""

    def __init__(self, path: str, wrote: str = "keylog") -> None:
        """
        @param wrote: how the user wrote the key, for errors
        @raise ConfigurationError: the file could not be written, or is none of ours alone
        """
        self._path = os.path.abspath(path)
        self._name = f"{wrote}={path}"
        self._file: int | None = None
        try:
            os.close(self._opened(_APPENDING))
        except FileNotFoundError:
            self._check_folder()

    def open(self) -> None:
        """
        Write from now on.

        @raise ConfigurationError: the file cannot be written, or is none of ours alone
        """
        if self._file is None:
            self._file = self._opened(_APPENDING | os.O_CREAT)
            os.fchmod(self._file, 0o600)

    def __call__(self, line: bytes) -> None:
        """Add a line, without its end. A disk that is full costs the line, not the connection."""
        if self._file is None:
            return
        try:
            os.write(self._file, line + b"\n")
        except OSError:
            return

    def close(self) -> None:
        """Write no more."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _opened(self, flags: int) -> int:
        try:
            file = os.open(self._path, flags, 0o600)
        except FileNotFoundError:
            if flags & os.O_CREAT:
                raise self._unwritable("no such folder") from None
            raise
        except (OSError, ValueError) as error:  # a NUL in the path
            raise self._unwritable(getattr(error, "strerror", None) or str(error)) from None
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            os.close(file)
            raise ConfigurationError(f"{self._name}: not a file of our own; the secrets in it would be another's")
        return file

    def _check_folder(self) -> None:
        folder = os.path.dirname(self._path)
        if not os.path.isdir(folder):
            raise self._unwritable("no such folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise self._unwritable("its folder cannot be written to")

    def _unwritable(self, why: str) -> ConfigurationError:
        return ConfigurationError(f"{self._name}: cannot be written: {why}")
