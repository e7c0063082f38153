"""
What was read of the disk for one loading, so that all its parts see the same bytes and a change is noticed later.

A change is looked for without reading: a file whose device, inode, size and times are as they were is as it was. The
one exception is git's "racy" file (Documentation/technical/racy-git.txt): written in the moment in which it was read,
it could be written again within the same tick of the file system's clock. Such a file is read again, until it is older.
"""

from __future__ import annotations

import datetime
import errno
import hashlib
import os
import select
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from io import FileIO

import attrs

from mytls.errors import ConfigurationError
from mytls.privileges import Rights
from mytls.settings import HostSettings

#: How old a file's times must be, in seconds, to tell of every later change: the coarsest clock of a file system.
_SETTLED = 2.0
#: The most bytes of a file. No list of certificates comes near it; a device never ends.
_MOST = 1 << 27
#: The permission bits of a file that others have no right to.
_PRIVATE = 0o600
#: For how many milliseconds a pipe, or a terminal, may say nothing.
_SILENCE = 5000


def read(settings: HostSettings, key: str, path: str, files: Files) -> bytes:
    """
    The content of a file that the configuration names.

    @param key: the key that names it, for the error
    @param path: as the user wrote it
    @raise ConfigurationError: there is no such file, or it cannot be read
    """
    try:
        return files.read(path)
    except OSError as error:
        raise unreadable(settings, key, path, error) from None


def unreadable(settings: HostSettings, key: str, path: str, error: OSError) -> ConfigurationError:
    """The error for a file or folder that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return settings.wrong(key, path, "no such file")
    return settings.wrong(key, path, f"cannot be read: {error.strerror}")


@attrs.frozen
class Contents:
    """
    What was read, by whole paths.

    @ivar files: the content of each file
    @ivar folders: what is below each folder, as L{Files.entries} tells it
    @ivar signatures: what tells each file from another that is put in its place
    """

    files: Mapping[str, bytes] = attrs.field(factory=dict, repr=False)
    folders: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    signatures: Mapping[str, tuple[int, ...]] = attrs.field(factory=dict)

    def __bool__(self) -> bool:
        return bool(self.files or self.folders)

    def unreadable(self) -> Contents:
        """What of it this process may not read, as the user that it is now."""
        files = {path: content for path, content in self.files.items() if not _may(path, os.R_OK)}
        return Contents(
            files,
            {path: below for path, below in self.folders.items() if not _may(path, os.R_OK | os.X_OK)},
            {path: signature for path, signature in self.signatures.items() if path in files},
        )


@attrs.frozen
class _Seen:
    """
    How a path read.

    @ivar outcome: the content's SHA-256, or the errno
    @ivar signature: what its stat was, or None where that tells nothing: the content decides
    @ivar fresh: what it was then, all the same
    @ivar mode: its permission bits
    @ivar regular: whether it is a regular file; a pipe has nothing to say a second time
    """

    outcome: bytes | int
    signature: tuple[int, ...] | None = None
    mode: int = 0
    regular: bool = True
    fresh: tuple[int, ...] | None = None


class Files:
    """What was read of the disk for one loading: each file once, whatever asks for it."""

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        folder: str | None = None,
        rights: Rights | None = None,
        held: Contents | None = None,
    ) -> None:
        """
        @param now: the time in seconds since the epoch, on the clock of the file systems
        @param folder: where relative paths count from; the working directory of this moment, if left out
        @param rights: what the process could do at its start; as it can now, if left out
        @param held: what another has read for us, of what we may not read. It is for this loading alone
        """
        self.now = now
        self._held = Contents() if held is None else held
        self._rights = Rights() if rights is None else rights
        self._folder = _here() if folder is None else folder
        self._seen: dict[str, _Seen] = {}
        self._bytes: dict[str, bytes] = {}
        self._listed: dict[str, tuple[str, ...] | int] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self._seen)} files, {len(self._listed)} folders>"

    def moment(self) -> datetime.datetime:
        """The time of this loading, for dates of certificates."""
        return datetime.datetime.fromtimestamp(self.now(), datetime.UTC)

    def anew(self) -> Files:
        """For another loading: the same clock and folder, wherever the working directory is by then."""
        return Files(self.now, self._folder, self._rights)

    def read(self, path: str) -> bytes:
        """
        A file's content, as it was when it was first asked for.

        @raise OSError: it could not be read then
        """
        if path in self._bytes:
            return self._bytes[path]
        seen, content = self._seen.get(path), b""
        if seen is None or isinstance(seen.outcome, bytes):
            seen, content = self._looked(path)
            # After forget() a file may be asked for again: what the loading saw of it first stays what counts.
            self._seen.setdefault(path, seen)
        if isinstance(seen.outcome, int):
            raise self._error(seen.outcome, path)
        self._bytes[path] = content
        return content

    def maybe(self, path: str) -> bytes | None:
        """
        A file's content, or None where there is no such file.

        @raise OSError: there is one, and it could not be read
        """
        try:
            return self.read(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def mode(self, path: str) -> int:
        """
        A file's permission bits, as they were when it was read.

        @raise OSError: it could not be read
        """
        if path not in self._seen or isinstance(self._seen[path].outcome, int):
            self.read(path)
        return self._seen[path].mode

    def entries(self, folder: str) -> tuple[str, ...]:
        """
        The paths of all regular files below a folder, sorted. Links to files and folders are followed, each folder is
        walked once; names that begin with a dot are left out, as `..data` of Kubernetes.

        @raise OSError: the folder, or one in it, cannot be listed
        """
        if folder not in self._listed:
            self._listed[folder] = self._listing(folder)
        listed = self._listed[folder]
        if isinstance(listed, int):
            raise self._error(listed, folder)
        return listed

    def asked(self) -> tuple[str, ...]:
        """The paths of all files and folders that were asked for, whole, whether they are there or not."""
        return tuple(self._at(path) for path in (*self._seen, *self._listed))

    def changed(self) -> bool:
        """Whether anything that was asked for reads differently now: another content, gone, there now."""
        return any(self._listing(folder) != listed for folder, listed in self._listed.items()) or any(
            self._reads_otherwise(path, seen) for path, seen in list(self._seen.items())
        )

    def contents(self) -> Contents:
        """All that was read and is there still."""
        listed = ((folder, below) for folder, below in self._listed.items() if not isinstance(below, int))
        signatures = ((path, self._seen[path].fresh) for path in self._bytes)
        return Contents(
            {self._at(path): content for path, content in self._bytes.items()},
            {self._at(folder): below for folder, below in listed},
            {self._at(path): signature for path, signature in signatures if signature is not None},
        )

    def forget(self) -> None:
        """Drop the contents, keys among them, and keep what is needed to notice a change."""
        self._bytes.clear()
        self._held = Contents()

    def _looked(self, path: str) -> tuple[_Seen, bytes]:
        seen, content = _look(self._at(path), self.now())
        held = self._held.files.get(self._at(path)) if seen.outcome == errno.EACCES else None
        if held is None:
            return seen, content
        fresh = self._held.signatures.get(self._at(path))
        return _Seen(hashlib.sha256(held).digest(), mode=_PRIVATE, fresh=fresh), held

    def _error(self, number: int, path: str) -> OSError:
        denied = number in (errno.EACCES, errno.EPERM)
        return OSError(number, _in_words(number) + (self._rights.why_not_read(self._at(path)) if denied else ""), path)

    def _at(self, path: str) -> str:
        return os.path.join(self._folder, path)

    def _listing(self, folder: str) -> tuple[str, ...] | int:
        """What is below, by paths that begin as the folder's; or the errno."""
        at = self._at(folder)
        try:
            return tuple(sorted(folder + path[len(at) :] for path in _below(at, set())))
        except (OSError, ValueError) as error:
            return self._held.folders.get(at, _number(error)) if _number(error) == errno.EACCES else _number(error)

    def _reads_otherwise(self, path: str, seen: _Seen) -> bool:
        try:
            status = os.stat(self._at(path))
        except (OSError, ValueError) as error:
            return seen.outcome != _number(error)
        if _signature(status) == seen.signature:
            return False
        if not seen.regular or not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            return True
        again, _ = _look(self._at(path), self.now())
        if again.outcome == errno.EACCES and _signature(status) == seen.fresh:
            return False  # the same as ever, and not ours to read any more
        if again.outcome == seen.outcome:
            self._seen[path] = again
        return again.outcome != seen.outcome


def _may(path: str, how: int) -> bool:
    return os.access(path, how, effective_ids=os.access in os.supports_effective_ids)


def _look(path: str, now: float) -> tuple[_Seen, bytes]:
    try:
        with open(path, "rb", buffering=0, opener=_opened) as file:
            before = os.fstat(file.fileno())
            content = _content(file, before)
            after = os.fstat(file.fileno())
    except (OSError, ValueError) as error:
        return _Seen(_number(error)), b""
    regular = stat.S_ISREG(before.st_mode)
    settled = now - max(after.st_mtime, after.st_ctime) >= _SETTLED and _signature(before) == _signature(after)
    signature = _signature(after) if settled or not regular else None
    digest, mode = hashlib.sha256(content).digest(), stat.S_IMODE(after.st_mode)
    return _Seen(digest, signature, mode, regular, _signature(after)), content


def _opened(path: str, flags: int) -> int:
    """Open at once: a pipe that nobody writes to would hold up whoever opens it, and a reload for ever."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _content(file: FileIO, status: os.stat_result) -> bytes:
    """@raise OSError: it is too large, or a pipe says nothing"""
    if stat.S_ISREG(status.st_mode):
        if status.st_size > _MOST:
            raise OSError(errno.EFBIG, _in_words(errno.EFBIG))
        return file.read()
    content = bytearray()
    waiting = select.poll()
    waiting.register(file, select.POLLIN)
    while len(content) <= _MOST:
        if not waiting.poll(_SILENCE):
            raise OSError(errno.ETIMEDOUT, _in_words(errno.ETIMEDOUT))
        piece = file.read(1 << 16)
        if piece == b"":
            return bytes(content)
        content += piece or b""
    raise OSError(errno.EFBIG, _in_words(errno.EFBIG))


def _in_words(number: int) -> str:
    return "nobody writes into it" if number == errno.ETIMEDOUT else os.strerror(number)


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed; then only absolute paths are to be had
        return ""


def _signature(status: os.stat_result) -> tuple[int, ...]:
    if not stat.S_ISREG(status.st_mode):
        return (status.st_dev, status.st_ino)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _number(error: OSError | ValueError) -> int:
    """The errno; of a path that no system has, as one with a NUL in it, that of a wrong argument."""
    return (isinstance(error, OSError) and error.errno) or errno.EINVAL


def _below(folder: str, walked: set[tuple[int, int]]) -> Iterator[str]:
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in walked:
        return
    walked.add((status.st_dev, status.st_ino))
    with os.scandir(folder) as listing:
        found = sorted((each for each in listing if not each.name.startswith(".")), key=lambda each: each.name)
    for each in found:
        try:
            deeper, plain = each.is_dir(), each.is_file()
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            continue
        if deeper:
            yield from _below(each.path, walked)
        elif plain:
            yield each.path
