"""
What a process may still do: reach the files and TCP ports that it needs, and nothing else. The kernel keeps it to that
until it ends, and with it whatever it starts (Landlock).

What is open already stays open, and who may do what with a file is asked as ever, besides. UNIX sockets, UDP and
signals are none of Landlock's.

@see: U{https://docs.kernel.org/userspace-api/landlock.html}
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import attrs
from twisted.logger import Logger

from mytls.errors import ConfigurationError
from mytls.privileges import Rights

if TYPE_CHECKING:
    from landlockpy import AccessFS, Ruleset

_log = Logger()

#: The first of Landlock's versions that knows of ports (Linux 6.7), and the last whose rights of files are held here.
LEAST, KNOWN = 4, 5
#: The first that holds threads that are there already.
_OF_ALL_THREADS = 8


def _paths(several: Iterable[str]) -> frozenset[str]:
    return frozenset(several)


def _numbers(several: Iterable[int]) -> frozenset[int]:
    return frozenset(several)


@attrs.frozen
class Permits:
    """
    What a process may do; of a folder, with all that is below it. What is not there needs no leave.

    @ivar read: what it may read
    @ivar write: where it may read and write, make and remove
    @ivar name: folders in which it may make and remove sockets, links and names of files
    @ivar run: what it may read, and run as a program
    @ivar bind: ports that it may listen at; 0 is any that the system chooses
    @ivar connect: ports that it may connect to
    """

    read: frozenset[str] = attrs.field(default=frozenset(), converter=_paths)
    write: frozenset[str] = attrs.field(default=frozenset(), converter=_paths)
    name: frozenset[str] = attrs.field(default=frozenset(), converter=_paths)
    run: frozenset[str] = attrs.field(default=frozenset(), converter=_paths)
    bind: frozenset[int] = attrs.field(default=frozenset(), converter=_numbers)
    connect: frozenset[int] = attrs.field(default=frozenset(), converter=_numbers)

    def __or__(self, other: Permits) -> Permits:
        """What either lets."""
        names = (field.name for field in attrs.fields(Permits))
        return Permits(**{name: getattr(self, name) | getattr(other, name) for name in names})


class Confines(Protocol):
    """What confines a process, or does not."""

    def permit(self, permits: Permits) -> None:
        """Let it do this too, which has to be said before it is entered."""

    def enter(self) -> None:
        """Hold the process to it. @raise ConfigurationError: that cannot be"""


class Unconfined:
    """Nothing does."""

    def permit(self, permits: Permits) -> None:
        """It may do all."""

    def enter(self) -> None:
        """It stays as it is."""


class Sandbox:
    """What a process may do, and then can do no more than that."""

    def __init__(self, permits: Permits, wrote: str = "sandbox") -> None:
        """
        @param wrote: how the user wrote the key, for errors
        @raise ConfigurationError: the library is missing, or this kernel cannot do it
        """
        self._permits = permits
        self._wrote = wrote
        self._version = _version(wrote)
        self._entered = False
        self._own: int | None = None

    def permit(self, permits: Permits) -> None:
        """Let it do this too."""
        self._permits |= permits

    def enter(self) -> None:
        """
        Hold this process to it, for good.

        @raise ConfigurationError: there are threads that it would not hold, or the kernel refuses
        """
        if self._entered:
            return
        if self._version < _OF_ALL_THREADS and len(os.listdir("/proc/self/task")) > 1:
            raise ConfigurationError(f"{self._wrote}: this kernel cannot hold the threads that were started already")
        # What the system tells of a process is made anew when nobody has it open; and then it is not what was meant.
        self._own = os.open("/proc/self", os.O_PATH)
        try:
            _restrict(self._permits | Permits(read=["/proc/self"]))
        except OSError as error:
            raise ConfigurationError(f"{self._wrote}: the kernel refuses: {error.strerror or error}") from None
        self._entered = Rights.sandboxed = True
        _log.info("sandboxed: {line}", line=_in_words(self._permits))


def _version(wrote: str) -> int:
    """Which Landlock this kernel has."""
    try:
        import landlockpy
    except ImportError:
        line = "it needs a library: pip install 'mytls[landlock]'"
        raise ConfigurationError(f"{wrote}: {line}") from None
    try:
        version = landlockpy.abi_version()
    except OSError as error:
        raise ConfigurationError(f"{wrote}: the kernel does not let us ask for Landlock: {error.strerror}") from None
    if version < LEAST:
        has = f"Landlock {version}" if version else "no Landlock, or it is not turned on (lsm=landlock)"
        raise ConfigurationError(f"{wrote}: this kernel has {has}; expected Landlock {LEAST}, which Linux 6.7 has")
    return version


def _restrict(permits: Permits) -> None:
    from landlockpy import AccessFS, AccessNet, RestrictFlag, Ruleset, fs_for_abi, net_for_abi

    reads = AccessFS.READ_FILE | AccessFS.READ_DIR
    names = AccessFS.MAKE_SOCK | AccessFS.MAKE_SYM | AccessFS.REMOVE_FILE
    writes = AccessFS.WRITE_FILE | AccessFS.TRUNCATE | AccessFS.MAKE_REG | AccessFS.MAKE_DIR | AccessFS.MAKE_FIFO
    writes |= reads | names | AccessFS.REMOVE_DIR | AccessFS.REFER
    with Ruleset(handled_fs=fs_for_abi(KNOWN), handled_net=net_for_abi(LEAST)) as rules:
        _let(rules, permits.read, reads)
        _let(rules, permits.write, writes)
        _let(rules, permits.name, names)
        _let(rules, permits.run, reads | AccessFS.EXECUTE)
        for access, ports in ((AccessNet.BIND_TCP, permits.bind), (AccessNet.CONNECT_TCP, permits.connect)):
            for port in ports:
                rules.allow_port(port, access)
        rules.restrict(RestrictFlag.TSYNC)  # which older kernels do without: then there is one thread


def _let(rules: Ruleset, paths: Iterable[str], access: AccessFS) -> None:
    from landlockpy import AccessFS as Access

    of_files = Access.READ_FILE | Access.WRITE_FILE | Access.TRUNCATE | Access.EXECUTE
    for path in sorted(paths):
        if os.path.exists(path):
            rules.allow_path(path, access if os.path.isdir(path) else access & of_files)


def _in_words(permits: Permits) -> str:
    written = sorted(permits.write)
    return (
        f"{len(permits.read)} files and folders to read; to write: {', '.join(written) or 'none'}; programs: "
        f"{'some' if permits.run else 'none'}; ports to listen at: {_ports(permits.bind)}; to connect to: "
        f"{_ports(permits.connect)}"
    )


def _ports(ports: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(ports))) or "none"
