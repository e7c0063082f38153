"""Real processes, and their pipes."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import ConfigurationError
from mytls.handlers import process as module
from mytls.handlers.command import Account, Command
from mytls.handlers.process import Process, check_system
from tests.files import folder
from tests.handlers.pump import PATIENCE, Pump
from tests.lines import log_lines
from tests.memory import Producer


class Told:
    """
    The owner of a process, who writes down what he hears.

    @ivar told: the calls without data, in order
    """

    def __init__(self) -> None:
        self.told: list[object] = []
        self.output = b""
        self.complaints = b""

    def output_came(self, data: bytes) -> None:
        self.output += data

    def complaint_came(self, data: bytes) -> None:
        self.complaints += data

    def output_ended(self) -> None:
        self.told.append("output ended")

    def exited(self, status: int) -> None:
        self.told.append(status)

    def gone(self) -> None:
        self.told.append("gone")


class ProcessTests(SynchronousTestCase):
    """One process, from its start until nothing is left of it."""

    def setUp(self) -> None:
        self.reactor = Pump()
        self.owner = Told()
        self.before = os.listdir("/proc/self/fd")

    def start(self, *words: str, **more: str) -> Process:
        """Start a program; it is ended with the test."""
        command = Command(words, more.get("folder"))
        started = Process(self.reactor, command, {"PATH": "/usr/bin:/bin", "WORD": "\u00fc"}, self.owner)
        self.addCleanup(self.end, started)
        return started

    def end(self, started: Process) -> None:
        """Nothing of it stays behind when the test is over."""
        started.kill()
        self.reactor.until(self.heard("gone"))

    def shell(self, script: str, **more: str) -> Process:
        """Start a shell with a script."""
        return self.start("/bin/sh", "-c", script, **more)

    def heard(self, what: object) -> Callable[[], bool]:
        """Whether the owner has heard it."""
        return lambda: what in self.owner.told

    def until_gone(self) -> None:
        """Wait until nothing is left, and see that nothing is."""
        self.reactor.until(self.heard("gone"))
        self.assertEqual(self.owner.told.count("gone"), 1)
        self.assertEqual((self.reactor.readers, self.reactor.writers), (set(), set()))
        self.assertEqual(os.listdir("/proc/self/fd"), self.before)

    def test_system(self) -> None:
        """Where the system cannot tell that a process has ended, that is an error of one line."""
        check_system()

        def refused(pid: int) -> int:
            raise OSError(38, "Function not implemented")

        self.patch(os, "pidfd_open", refused)
        self.assertRaises(ConfigurationError, check_system)

    def test_output_and_status(self) -> None:
        """What it says comes whole; its status is known, and it is no zombie."""
        started = self.shell("echo out; echo err >&2; exit 7")
        self.until_gone()
        self.assertEqual((self.owner.output, self.owner.complaints), (b"out\n", b"err\n"))
        self.assertEqual(sorted(map(str, self.owner.told)), ["7", "gone", "output ended"])
        self.assertRaises(ChildProcessError, os.waitpid, started.pid, os.WNOHANG)

    def test_signal(self) -> None:
        """A signal is told from a status."""
        self.shell("kill -SEGV $$")
        self.until_gone()
        self.assertIn(-signal.SIGSEGV, self.owner.told)

    def test_input(self) -> None:
        """All that is written arrives, then the end."""
        started = self.start("/bin/cat")
        started.input.write(b"x" * 500_000)
        started.input.end()
        self.until_gone()
        self.assertEqual(self.owner.output, b"x" * 500_000)
        self.assertIn(0, self.owner.told)

    def test_input_that_nobody_reads(self) -> None:
        """Who writes to a program that does not read is paused; when it closes its input, told to stop."""
        producer: Any = Producer()
        started = self.shell("echo ready; read line; exec <&-; echo closed; sleep 1000")
        started.input.registerProducer(producer, True)
        self.reactor.until(lambda: self.owner.output)
        started.input.write(b"go\n" + b"x" * 300_000)
        self.assertEqual(producer.asked, ["pause"])
        self.reactor.until(lambda: not started.input.connected)
        self.assertEqual(producer.asked, ["pause", "stop"])
        started.input.write(b"for nobody")
        started.input.end()

    def test_paused_output(self) -> None:
        """A program whose output is not read has to wait; what it complains of is heard meanwhile."""
        started = self.shell("yes | head -c 300000; echo done >&2")
        started.output.pauseProducing()
        self.reactor.until(lambda: started.output not in self.reactor.readers)
        self.assertEqual(self.owner.output, b"")
        started.output.resumeProducing()
        self.until_gone()
        self.assertEqual((len(self.owner.output), self.owner.complaints), (300_000, b"done\n"))
        started.output.resumeProducing()
        self.assertEqual(self.reactor.readers, set())

    def test_what_it_starts_is_ended_too(self) -> None:
        """TERM is for the whole group."""
        started = self.shell("sleep 1000 & sleep 1000 & echo ready; wait")
        self.reactor.until(lambda: self.owner.output)
        started.terminate()
        self.until_gone()
        self.assertIn(-signal.SIGTERM, self.owner.told)

    def test_who_does_not_want_to_end(self) -> None:
        """Who ignores TERM is killed, and so is a child of a program that has ended already."""
        started = self.shell("(trap '' TERM; echo ready; while :; do sleep 1000; done) & exit 0")
        self.reactor.until(lambda: self.owner.output and 0 in self.owner.told)
        started.terminate()
        self.assertNotIn("gone", self.owner.told)
        started.kill()
        self.until_gone()

    def test_left_behind(self) -> None:
        """A child that has let go of all pipes is asked to end when the program does."""
        path = folder(self) / "pid"
        self.shell(f"sleep 1000 >/dev/null 2>&1 </dev/null & echo $! >{path}")
        self.until_gone()
        number = int(path.read_text())
        try:
            ends = os.pidfd_open(number)
        except ProcessLookupError:  # it is gone already
            return
        self.addCleanup(os.close, ends)
        self.assertEqual(select.select([ends], [], [], PATIENCE)[0], [ends])

    def test_own_session(self) -> None:
        """It has a session of its own, no descriptor but three, and no signal is ignored or blocked."""
        script = "import os; print(os.getsid(0) == os.getpid(), sorted(os.listdir('/proc/self/fd'))[:4])"
        self.start("/usr/bin/env", "python3", "-c", script)
        self.until_gone()
        self.assertEqual(self.owner.output, b"True ['0', '1', '2', '3']\n")  # the last is the listing itself

    def test_signals(self) -> None:
        """It dies of a closed pipe as a program does that a shell has started: nothing is ignored or blocked."""
        self.start("/bin/grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status")
        self.until_gone()
        self.assertEqual({line.split()[1] for line in self.owner.output.splitlines()}, {b"0" * 16})

    def test_environment_and_folder(self) -> None:
        """It has just the environment that it was given, in UTF-8, and runs in its folder."""
        where = folder(self)
        self.start("/bin/sh", "-c", "pwd; env", folder=str(where))
        self.until_gone()
        lines = set(self.owner.output.decode().splitlines()) - {"_=/usr/bin/env", "SHLVL=1", "OLDPWD="}
        self.assertEqual(lines, {str(where), f"PWD={where}", "PATH=/usr/bin:/bin", "WORD=\u00fc"})

    def test_cannot_be_started(self) -> None:
        """What cannot be started is an error, and leaves nothing."""
        for words in (("/nowhere/program",), ("/",)):
            self.assertRaises(OSError, self.start, *words)
        self.assertEqual(os.listdir("/proc/self/fd"), self.before)
        self.assertEqual(self.reactor.readers, set())

    def test_no_descriptor_left(self) -> None:
        """Where there is no descriptor to hear of its end, it is ended at once, and leaves nothing."""
        started: list[subprocess.Popen[bytes]] = []
        start = module._start

        def remember(*arguments: object) -> subprocess.Popen[bytes]:
            started.append(start(*arguments))  # type: ignore[arg-type]
            return started[0]

        def refused(pid: int) -> int:
            raise OSError(24, "Too many open files")

        self.patch(module, "_start", remember)
        self.patch(os, "pidfd_open", refused)
        self.assertRaises(OSError, self.start, "/bin/sleep", "1000")
        self.assertEqual(started[0].returncode, -signal.SIGKILL)
        self.assertEqual(os.listdir("/proc/self/fd"), self.before)

    def test_another_user(self) -> None:
        """It runs as the user that was said, with that user's groups alone."""
        if os.geteuid() != 0:
            self.skipTest("only root can become another user")
        account = Account(65534, 65533, (65533, 65532))
        Process(self.reactor, Command(("/usr/bin/id", "-u"), None, account), {}, self.owner)
        self.until_gone()
        self.assertEqual(self.owner.output, b"65534\n")

    def test_somebody_else_has_waited(self) -> None:
        """Where its status is taken by somebody else it counts as 0, and all the same nothing is left."""
        started = self.shell("exit 3")
        os.waitpid(started.pid, 0)
        self.until_gone()
        self.assertIn(0, self.owner.told)

    def test_cannot_be_told(self) -> None:
        """A process that may not be signalled is a line of the log."""
        lines = log_lines(self)
        started = self.start("/bin/cat")

        def refused(pid: int, number: int) -> None:
            raise PermissionError(1, "Operation not permitted")

        self.patch(os, "killpg", refused)
        started.terminate()
        self.assertEqual(lines, [f"process {started.pid} cannot be told to end: Operation not permitted"])
        started.input.end()
        self.until_gone()
        started.terminate()
        self.assertEqual(len(lines), 1)
