"""
What a process has read while it could, for its workers and its successor, which cannot.

A service that root has started reads its keys, and then twistd makes it another user for good. Its workers are that
user from their start on, and so is a successor. What they may not read themselves they are given, in memory without a
name that nobody can change (memfd_create(2), F_SEAL_WRITE); it is never in an argument, the environment or a file. A
reload reads as the user that the service is: once one has found everything, nothing is held any more.

A process may look into others of its user, and open again what those have open (proc(5), C{/proc/PID/fd}). The kernel
keeps that from a process that has given root up, until it executes another program. So the memory is made by root, and
is nobody's to open again, and whoever is given it closes itself to the others of its user.
"""

from __future__ import annotations

import fcntl
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping, MutableMapping

from mytls.privileges import keep_to_itself
from mytls.tls.files import Contents

#: Where the environment of a worker, or of a successor, says which descriptor it is.
HELD = "MYTLS_HELD"
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class Held:
    """What a process holds, from its start or its loading on."""

    def __init__(self) -> None:
        self._contents = Contents()
        self._descriptor: int | None = None
        self._given = False

    @classmethod
    def handed_over(cls, environ: MutableMapping[str, str]) -> Held:
        """
        What this process was given, which is said no more.

        @param environ: C{os.environ}
        """
        made = cls()
        if HELD in environ:
            made._descriptor, made._given = int(environ.pop(HELD)), True
            os.set_inheritable(made._descriptor, False)
            keep_to_itself()
            # Others have the same one, and so the same offset.
            made._contents = _read(os.pread(made._descriptor, os.fstat(made._descriptor).st_size, 0))
        return made

    @property
    def contents(self) -> Contents:
        """What is held, until it is settled."""
        return self._contents

    def take(self, contents: Contents) -> None:
        """Hold it. @param contents: what was read"""
        self._contents = contents
        if self._descriptor is None:
            self._descriptor = _nobodys()

    def settle(self) -> None:
        """The process is the user that it stays: what that may read is not held any more."""
        contents, self._contents = self._contents.unreadable(), Contents()
        if not contents:
            self.forget()
        elif self._descriptor is not None and not self._given:
            _seal(self._descriptor, _written(contents))

    def forget(self) -> None:
        """All can be read, or is not to be served any more."""
        descriptor, self._descriptor = self._descriptor, None
        self._contents, self._given = Contents(), False
        if descriptor is not None:
            os.close(descriptor)

    def passed(
        self, environ: Mapping[str, str], descriptors: Mapping[int, int]
    ) -> tuple[dict[str, str], dict[int, int]]:
        """
        What a process is started with, and this besides.

        @param descriptors: of this process, by what they are in the other
        """
        if self._descriptor is None:
            return dict(environ), dict(descriptors)
        number = max(descriptors, default=2) + 1
        return {**environ, HELD: str(number)}, {**descriptors, number: self._descriptor}


def _nobodys() -> int:
    """Memory that is the user's who this process is now; who has it as a descriptor reads it, and opens no other."""
    descriptor = os.memfd_create("mytls", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.fchmod(descriptor, 0)
    return descriptor


def _seal(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)


def _written(contents: Contents) -> bytes:
    files = {path: b64encode(content).decode("ascii") for path, content in contents.files.items()}
    return json.dumps([files, contents.folders, contents.signatures]).encode("ascii")


def _read(content: bytes) -> Contents:
    files, folders, signatures = json.loads(content)
    return Contents(
        {path: b64decode(each) for path, each in files.items()},
        {path: tuple(each) for path, each in folders.items()},
        {path: tuple(each) for path, each in signatures.items()},
    )
