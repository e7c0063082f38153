"""
A process with pipes as its standard input, output and error.

Python's `subprocess` starts it: Twisted's `spawnProcess` cannot put it into a process group of its own, forks all of
this process where it is to change its user or folder, and takes its exit status as soon as there is one. Here the
status is taken last, when nobody holds the pipes any more. Until then the system keeps the number of the process, which
is its group's too, so that a signal to the group meets what the program has started and nobody else.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet import fdesc
from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IPushProducer, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mytls.errors import ConfigurationError
from mytls.handlers.command import Command

_log = Logger()

#: Bytes. A pipe of Linux holds as many.
_READ_SIZE = 65536


class Owner(Protocol):
    """Who hears what becomes of a process."""

    def output_came(self, data: bytes) -> None:
        """Bytes of its standard output."""

    def complaint_came(self, data: bytes) -> None:
        """Bytes of its standard error."""

    def output_ended(self) -> None:
        """Nobody holds its standard output any more."""

    def exited(self, status: int) -> None:
        """The process itself has ended. @param status: its exit status; less than 0 is a signal"""

    def gone(self) -> None:
        """It has ended, so have its output and standard error; nothing of it is left here."""


def check_system() -> None:
    """@raise ConfigurationError: this system does not tell by a descriptor when a process ends"""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        raise ConfigurationError("exec: needs the system call pidfd_open, of Linux 5.3 and later") from None


class Process:
    """
    A process that runs.

    @ivar pid: its number, and its process group's
    @ivar input: the consumer that is its standard input
    @ivar output: the producer that is its standard output
    """

    def __init__(self, reactor: Any, command: Command, environment: Mapping[str, str], owner: Owner) -> None:
        """
        Start it, in a session of its own and with no descriptor but the three pipes.

        @raise OSError: the system cannot start it
        """
        self._owner = owner
        self._started = _start(command, environment)
        self.pid = self._started.pid
        try:
            ends = os.pidfd_open(self.pid)
        except OSError:
            with self._started:  # which closes the pipes and waits for it
                self._started.kill()
            raise
        stdin, stdout, stderr = self._started.stdin, self._started.stdout, self._started.stderr
        self._is_there = True
        self._is_over = False
        self.input = Input(reactor, stdin)
        self.output = Output(reactor, stdout, owner.output_came, self._output_ended)
        self._complaints = Output(reactor, stderr, owner.complaint_came, self._reap)
        self._end = _End(reactor, ends, self._ended)

    def terminate(self) -> None:
        """Ask it, and what it has started, to end."""
        self._tell(signal.SIGTERM)

    def kill(self) -> None:
        """End it and what it has started; what it still had to say is lost."""
        self._tell(signal.SIGKILL)
        for pipe in (self.input, self.output, self._complaints):
            pipe.abort()

    def _tell(self, number: signal.Signals) -> None:
        if self._is_over:
            return
        try:
            os.killpg(self.pid, number)
        except OSError as error:  # it runs as somebody else
            _log.warn("process {pid} cannot be told to end: {why}", pid=self.pid, why=error.strerror)

    def _output_ended(self) -> None:
        self._owner.output_ended()
        self._reap()

    def _ended(self) -> None:
        self._is_there = False
        self._owner.exited(_status(self.pid))
        self._reap()

    def _reap(self) -> None:
        """Nothing is left but its exit status, and what it has left behind without any of its pipes."""
        if self._is_over or self._is_there or self.output.connected or self._complaints.connected:
            return
        with suppress(OSError):
            os.killpg(self.pid, signal.SIGTERM)
        self._is_over = True
        self._started.wait()
        self.input.abort()
        self._owner.gone()


def _start(command: Command, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    account = command.account
    change: dict[str, Any] = {}
    if account is not None and not account.ours:
        change = {"user": account.user, "group": account.group, "extra_groups": account.groups}
    return subprocess.Popen(
        command.words,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=command.folder,
        env={name.encode(): value.encode() for name, value in environment.items()},
        start_new_session=True,
        **change,
    )


def _status(pid: int) -> int:
    """The status of a process that has ended; it stays there."""
    try:
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # somebody else in this process has waited for it
        return 0
    if found is None:
        return 0
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


class Input(FileDescriptor):
    """The pipe that is a process's standard input: an C{IConsumer}."""

    def __init__(self, reactor: Any, pipe: Any) -> None:
        super().__init__(reactor)
        self._pipe = pipe
        fdesc.setNonBlocking(pipe.fileno())
        self.connected = 1

    def fileno(self) -> int:
        """Its number."""
        return self._pipe.fileno() if self.connected else -1

    def writeSomeData(self, data: bytes) -> Any:
        """See C{FileDescriptor}."""
        return fdesc.writeToFD(self._pipe.fileno(), data)

    def end(self) -> None:
        """Close it, when all is written."""
        self.unregisterProducer()
        self.loseConnection()

    def abort(self) -> None:
        """Close it at once."""
        if self.connected:
            self.connectionLost(Failure(ConnectionAborted()))

    def connectionLost(self, reason: Failure) -> None:
        """It is closed, by us or by all who read from it."""
        super().connectionLost(reason)
        self._pipe.close()


@implementer(IReadDescriptor, IPushProducer)
class Output:
    """
    A pipe that a process writes to.

    @ivar connected: whether anybody holds its other end
    """

    def __init__(self, reactor: Any, pipe: Any, came: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        """@param ended: is called when it is closed, by us or by all who write to it"""
        self._reactor = reactor
        self._pipe: io.FileIO = pipe
        self._came = came
        self._ended = ended
        self.connected = True
        fdesc.setNonBlocking(pipe.fileno())
        self.resumeProducing()

    def fileno(self) -> int:
        """Its number."""
        return self._pipe.fileno() if self.connected else -1

    def logPrefix(self) -> str:
        """See C{ILoggingContext}."""
        return "exec"

    def doRead(self) -> Any:
        """There is something, or it has ended."""
        try:
            data = os.read(self._pipe.fileno(), _READ_SIZE)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        return self._came(data)

    def abort(self) -> None:
        """Close it at once."""
        if self.connected:
            self.connectionLost(Failure(ConnectionAborted()))

    def connectionLost(self, reason: Failure) -> None:
        """It is closed."""
        self._reactor.removeReader(self)
        self.connected = False
        self._pipe.close()
        self._ended()

    def pauseProducing(self) -> None:
        """Read no more: who writes has to wait."""
        self._reactor.removeReader(self)

    def resumeProducing(self) -> None:
        """Read again."""
        if self.connected:
            self._reactor.addReader(self)

    def stopProducing(self) -> None:
        """Whoever got it is lost, and is told so next."""


@implementer(IReadDescriptor)
class _End:
    """The descriptor that can be read from when the process has ended."""

    def __init__(self, reactor: Any, number: int, ended: Callable[[], None]) -> None:
        self._reactor = reactor
        self._number = number
        self._ended = ended
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._number

    def logPrefix(self) -> str:
        return "exec"

    def doRead(self) -> None:
        self.connectionLost(Failure(CONNECTION_DONE))
        self._ended()

    def connectionLost(self, reason: Failure) -> None:
        number, self._number = self._number, -1
        if number >= 0:
            self._reactor.removeReader(self)
            os.close(number)
