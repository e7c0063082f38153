"""
What a parent has read while it could, for workers that cannot.

A service that root has started reads its keys, and then twistd makes it another user for good. Its workers are that
user from their start on. What they may not read themselves they have from their parent, in memory without a name that
nobody can change (memfd_create(2), F_SEAL_WRITE); it is never in an argument, the environment or a file. A reload reads
as the user that the service is: once one has found everything, nothing is held any more.
"""

from __future__ import annotations

import fcntl
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping, MutableMapping

from mytls.tls.files import Contents

#: Where the environment of a worker says which descriptor it is.
HELD = "MYTLS_HELD"
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class Held:
    """What a parent holds, from its loading on."""

    def __init__(self) -> None:
        self._contents = Contents()
        self._descriptor: int | None = None

    def take(self, contents: Contents) -> None:
        """Hold it. @param contents: what was read"""
        self._contents = contents

    def settle(self) -> None:
        """The process is the user that it stays: what that may read is not held any more."""
        contents, self._contents = self._contents.unreadable(), Contents()
        if contents:
            self._descriptor = _sealed(_written(contents))

    def forget(self) -> None:
        """All can be read, or is not to be served any more."""
        descriptor, self._descriptor = self._descriptor, None
        self._contents = Contents()
        if descriptor is not None:
            os.close(descriptor)

    def passed(
        self, environ: Mapping[str, str], descriptors: Mapping[int, int]
    ) -> tuple[dict[str, str], dict[int, int]]:
        """
        What a worker is started with, and this besides.

        @param descriptors: of the parent, by what they are in the worker
        """
        if self._descriptor is None:
            return dict(environ), dict(descriptors)
        number = max(descriptors, default=2) + 1
        return {**environ, HELD: str(number)}, {**descriptors, number: self._descriptor}


def handed_over(environ: MutableMapping[str, str]) -> Contents:
    """
    What this worker has from its parent, which is closed here and said no more.

    @param environ: C{os.environ}
    """
    if HELD not in environ:
        return Contents()
    descriptor = int(environ.pop(HELD))
    try:  # all workers have the same one, and so the same offset
        return _read(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    finally:
        os.close(descriptor)


def _sealed(content: bytes) -> int:
    descriptor = os.memfd_create("mytls", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor


def _written(contents: Contents) -> bytes:
    files = {path: b64encode(content).decode("ascii") for path, content in contents.files.items()}
    return json.dumps([files, contents.folders]).encode("ascii")


def _read(content: bytes) -> Contents:
    files, folders = json.loads(content)
    return Contents(
        {path: b64decode(each) for path, each in files.items()},
        {path: tuple(each) for path, each in folders.items()},
    )
