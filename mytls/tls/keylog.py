"""
The secrets of every connection, in the NSS key log format, for a person who has to read the traffic with Wireshark.

Whoever reads this file reads all that was ever said. So it is made only when asked for, for its owner alone.

@see: U{https://datatracker.ietf.org/doc/draft-ietf-tls-keylogfile/}
"""

from __future__ import annotations

import os
import stat

from mytls.errors import ConfigurationError


class KeyLog:
    """A key log file, open for appending."""

    def __init__(self, path: str, wrote: str = "keylog") -> None:
        """
        @param wrote: how the user wrote the key, for errors
        @raise ConfigurationError: the file cannot be written, or is none of ours alone
        """
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            self._file = os.open(path, flags, 0o600)
        except OSError as error:
            raise ConfigurationError(f"{wrote}={path}: cannot be written: {error.strerror}") from None
        status = os.fstat(self._file)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            os.close(self._file)
            raise ConfigurationError(f"{wrote}={path}: not a file of our own; the secrets in it would be another's")
        os.fchmod(self._file, 0o600)

    def __call__(self, line: bytes) -> None:
        """Add a line, without its end. A disk that is full costs the line, not the connection."""
        try:
            os.write(self._file, line + b"\n")
        except OSError:
            return

    def close(self) -> None:
        """Write no more."""
        os.close(self._file)
