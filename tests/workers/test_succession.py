"""A service hands over, without processes: what the predecessor does, what the successor has and does."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ProcessTerminated
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mytls import __version__
from mytls.systemd.notify import Nobody, Turn
from mytls.tls import files as tls_files
from mytls.tls.files import Contents
from mytls.workers.channel import Channel, Values
from mytls.workers.child import LAST_WORDS
from mytls.workers.code import digest
from mytls.workers.estate import Estate, Retiring, Succeeding, lineage_of_nobody
from mytls.workers.held import HELD, Held
from mytls.workers.inheritance import Heir, Inheritance
from mytls.workers.relaunch import PidFile, Relaunch, append_to
from mytls.workers.sharing import Handed, Keeping, adopted_name, tcp_name, unix_name
from mytls.workers.succession import LONGEST_START, Lineage, Succession, last_words
from tests.files import folder
from tests.lines import log_lines
from tests.workers.test_channel import Wire
from tests.workers.test_sharing import Reactor as Listens


class Told:
    """Systemd."""

    def __init__(self) -> None:
        self.said: list[dict[str, object]] = []

    def tell(self, **said: object) -> None:
        self.said.append(said)


class Leaves:
    """A process that does what the test says."""

    left, attempts = 3, 0

    def __init__(self) -> None:
        self.did: list[str] = []

    def retire(self) -> None:
        self.did.append("retire")

    def cut(self) -> None:
        self.did.append("cut")


class Process:
    """What the reactor makes."""

    pid: int | None = 77

    def __init__(self) -> None:
        self.signals: list[str] = []
        self.closed: list[int] = []

    def closeChildFD(self, descriptor: int) -> None:
        self.closed.append(descriptor)

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)


class Reactor(Clock):
    """Starts nothing. @ivar fails: whether it cannot"""

    fails = False

    def callFromThread(self, do: Any) -> None:
        do()

    def spawnProcess(self, protocol: Any, *about: Any, childFDs: Any) -> Process:
        if self.fails:
            raise PermissionError(13, "Permission denied")
        self.protocol, self.about, self.passed = protocol, about, childFDs
        protocol.transport = self.process = Process()
        return self.process

    def adoptStreamConnection(self, descriptor: int, family: int, factory: Any) -> None:
        self.channel: Any = factory.buildProtocol(None)
        self.wire: Any = Wire()
        self.channel.makeConnection(self.wire)


class Far:
    """The other end of a channel that a reactor has opened."""

    def __init__(self, reactor: Reactor, **does: Any) -> None:
        self._reactor = reactor
        self.channel = Channel(does, lambda: None)
        self._wire: Any = Wire()
        self.channel.makeConnection(self._wire)

    def pump(self) -> None:
        """Deliver all."""
        while self._wire.data or self._reactor.wire.data:
            data, self._wire.data = self._wire.data, b""
            self._reactor.channel.dataReceived(data)
            data, self._reactor.wire.data = self._reactor.wire.data, b""
            self.channel.dataReceived(data)


class SuccessionTests(SynchronousTestCase):
    """L{Succession}."""

    def setUp(self) -> None:
        self.reactor, self.leaves, self.told, self.lines = Reactor(), Leaves(), Told(), log_lines(self)
        self.of_twistd: dict[str, Any] = {"pidfile": ""}
        relaunch = Relaunch(("-n",), ("mytls", "--handler", "echo"), "/srv", {"HOME": "/"}, ("web",))
        self.why_not = ""
        self.held = Held()
        self.addCleanup(self.held.forget)
        lineage = Lineage(relaunch, PidFile(self.of_twistd), Turn(self.told), held=self.held)
        self.succession = Succession(self.reactor, lineage, [], self.leaves, lambda: self.why_not)

    def serves(self) -> Values:
        """The successor says that it serves. @return: what it is answered"""
        far = Far(self.reactor)
        answer = far.channel.ask("ready", {"version": "9.0", "taken": []})
        far.pump()
        return self.successResultOf(answer)

    def ends(self, status: int = 1) -> None:
        """It ends."""
        self.reactor.process.pid = None
        self.reactor.protocol.processEnded(Failure(ProcessTerminated(status, None, status << 8)))

    def test_started(self) -> None:
        """With the same words, where they were typed, and systemd's socket has its number, also if it is not used."""
        self.succession.begin()
        _, command, environ, where = self.reactor.about
        self.assertEqual((where, environ["HOME"], environ["LISTEN_FDNAMES"]), ("/srv", "/", "web"))
        self.assertEqual(command[-6:], ["-n", "--nodaemon", "--pidfile=", "mytls", "--handler", "echo"])
        self.assertEqual((self.reactor.passed[1], self.reactor.passed[2], self.reactor.passed[3]), (1, "r", 3))

    def test_what_it_may_not_read(self) -> None:
        """It is given what this process could read, by one more descriptor; a second one is too."""
        self.patch(tls_files, "_may", lambda path, how: False)
        self.held.take(Contents({"/key.pem": b"secret"}))
        self.held.settle()
        for _ in range(2):
            self.succession.begin()
            environ = self.reactor.about[2]
            given = self.reactor.passed[int(environ[HELD])]
            self.assertIn(b"/key.pem", os.pread(given, 1000, 0))
            self.ends()

    def test_hands_over(self) -> None:
        """Systemd hears whose turn it is and nothing after that; the pid file is removed by the successor alone."""
        self.of_twistd["pidfile"] = "/run/pid"
        self.succession.begin()
        answer = self.serves()
        self.assertEqual(
            {**answer, "pid": 0}, {"version": __version__, "pid": 0, "pidfile": "/run/pid", "reload": False}
        )
        self.assertEqual((self.of_twistd["pidfile"], self.leaves.did), ("", ["retire"]))
        self.assertEqual(self.told.said, [{"MAINPID": 77}])
        self.assertEqual(self.lines[-2:], ["handing over to mytls 9.0 (process 77)", "handed over: 3 connections left"])
        self.assertEqual(self.successResultOf(self.succession.drain()), 0)
        self.succession.cut()
        self.reactor.advance(2 * LONGEST_START)
        self.assertEqual(self.reactor.process.signals, [])

    def test_a_reload_meanwhile(self) -> None:
        """The successor may have read before it, and is told."""
        self.succession.begin()
        self.leaves.attempts = 1
        self.assertTrue(self.serves()["reload"])

    def test_one_that_cannot_start(self) -> None:
        """One line has its last words; nothing else happens, and another may be started."""
        for _ in range(2):
            self.succession.begin()
            self.reactor.protocol.childDataReceived(2, b"mytls: --handler ehco: unknown\n")
            self.ends()
            words = (
                f"process 77 ended with exit status 1: --handler ehco: unknown; mytls {__version__} goes on as it was"
            )
            self.assertEqual(self.lines[-1], f"cannot hand over: {words}")
        self.assertEqual((self.leaves.did, self.told.said), ([], []))

    def test_one_that_takes_too_long(self) -> None:
        """It is killed, and the line says that it was late."""
        self.succession.begin()
        self.reactor.advance(LONGEST_START)
        self.assertEqual(self.reactor.process.signals, ["KILL"])
        self.ends()
        self.assertIn("process 77 was not ready in time; mytls", self.lines[-1])

    def test_one_that_leaves_something_behind(self) -> None:
        """What it has started may keep its standard error open: that is closed here, and so it is over."""
        self.succession.begin()
        for closed in ([], [2]):
            self.reactor.protocol.processExited(Failure(ProcessTerminated(1, None, 256)))
            self.reactor.advance(LAST_WORDS / 2)
            self.assertEqual(self.reactor.process.closed, [])
            if closed:
                self.reactor.advance(LAST_WORDS / 2)
            self.assertEqual(self.reactor.process.closed, closed)
            self.ends()
            self.assertFalse(self.succession.under_way)
            self.succession.begin()

    def test_no_process(self) -> None:
        """Where none can be had a line says why."""
        self.reactor.fails = True
        self.succession.begin()
        self.assertIn("Permission denied", self.lines[-1])
        self.assertFalse(self.succession.under_way)

    def test_a_folder_that_it_cannot_enter(self) -> None:
        """The line names it, which may be one that only root may enter."""
        lineage = Lineage(Relaunch((), ("mytls",), "/none"), PidFile({}), Turn(Nobody()))
        succession = Succession(self.reactor, lineage, [], self.leaves, lambda: "")
        succession.begin()
        self.assertEqual(self.lines[-1], "cannot hand over: /none/.: No such file or directory")
        self.assertFalse(succession.under_way)

    def test_twice(self) -> None:
        """One is under way: the second time does nothing."""
        self.succession.begin()
        first = self.reactor.process
        self.succession.begin()
        self.assertEqual(
            (self.reactor.process is first, self.lines[-1]), (True, "process 77 is about to take over already")
        )

    def test_where_it_cannot_be(self) -> None:
        """A line says why, and what to do; nothing is started."""
        self.why_not = "there is no Python in --chroot"
        self.succession.begin()
        self.assertEqual(
            self.lines, ["cannot hand over: there is no Python in --chroot; a new version needs a restart"]
        )

    def test_stopped_meanwhile(self) -> None:
        """The successor ends too, and takes nothing over; the stop waits for it, or kills it at once."""
        self.succession.begin()
        done = self.succession.drain()
        self.assertEqual(self.reactor.process.signals, ["TERM"])
        far = Far(self.reactor)
        answer = far.channel.ask("ready", {"version": "9.0", "taken": []})
        far.pump()
        self.failureResultOf(answer)
        self.succession.cut()
        self.assertEqual((self.reactor.process.signals, self.leaves.did), (["TERM", "KILL"], []))
        self.assertNoResult(done)
        self.ends()
        self.successResultOf(done)

    def test_what_it_wants_afterwards(self) -> None:
        """A successor that is to end at once has its predecessor do so too; its own crash is told of."""
        self.succession.begin()
        self.serves()
        far = Far(self.reactor)
        far.channel.tell("cut")
        far.pump()
        self.assertEqual(self.leaves.did, ["retire", "cut"])
        self.ends(3)
        self.assertEqual(self.lines[-1], "the successor (process 77) ended with exit status 3")

    def test_last_words(self) -> None:
        """What it says itself, or the end of a traceback with where it was, in one line."""
        traceback = 'Traceback\n  File "/a.py", line 1\n    x\n  File "/b.py", line 7\nSyntaxError: no\n'
        self.assertEqual(last_words(traceback), 'SyntaxError: no (File "/b.py", line 7)')
        self.assertEqual(last_words("warning\nmytls: a\nmytls: b\x1b\n"), "a; b\\x1b")
        self.assertEqual(last_words(""), "")


class HeirTests(SynchronousTestCase):
    """L{Heir}."""

    def setUp(self) -> None:
        self.reactor, self.told, self.lines = Reactor(), Told(), log_lines(self)
        self.path = folder(self) / "pid"
        self.of_twistd: dict[str, Any] = {"pidfile": ""}
        reading, self.stderr = os.pipe()
        self.addCleanup(os.close, reading)
        mine, its = socket.socketpair()
        its.close()
        self.did: list[str] = []
        self.ready = False
        self.turn = Turn(self.told, waits=True)
        inheritance = Inheritance(mine.detach(), self.stderr, {})
        self.heir = Heir(self.reactor, inheritance, PidFile(self.of_twistd), self.turn)
        self.patch(os, "dup2", lambda old, new: self.did.append(f"{new} is standard error"))
        self.answer: Values = {"version": "8.0", "pid": 5, "pidfile": str(self.path), "reload": True}

    def start(self) -> Far:
        """It listens."""
        self.heir.start([], lambda: self.ready, lambda: self.did.append("ends"), lambda: self.did.append("reloads"))
        return Far(self.reactor, ready=lambda said, _: self.answer)

    def gone(self) -> None:
        """The predecessor is."""
        self.reactor.channel.connectionLost(Failure(ConnectionDone()))

    def takes_over(self) -> Far:
        """All serve, and it has taken over."""
        far = self.start()
        self.ready = True
        self.reactor.advance(1)
        far.pump()
        return far

    def test_takes_over_when_all_serve(self) -> None:
        """Not before; then the pid file names it, and systemd hears what it had to say, in one datagram."""
        far = self.start()
        self.turn.tell(READY=1, STATUS="a")
        self.turn.tell(STATUS="b")
        self.reactor.advance(1)
        far.pump()
        self.assertEqual((self.heir.over, self.told.said), (False, []))
        self.ready = True
        self.reactor.advance(1)
        far.pump()
        self.assertEqual((self.heir.over, self.told.said), (True, [{"READY": 1, "STATUS": "b"}]))
        self.assertEqual((self.path.read_text(), self.of_twistd["pidfile"]), (str(os.getpid()), str(self.path)))
        self.assertEqual(self.did, ["2 is standard error", "reloads"])
        self.assertIn(f"mytls {__version__} has taken over from mytls 8.0 (process 5)", self.lines)

    def test_waits_for_its_predecessor(self) -> None:
        """Who stops it waits until that one has finished with its clients, or has it end at once."""
        far = self.takes_over()
        cuts: list[Values] = []
        far.channel._does = {"cut": lambda said, _: cuts.append(said)}
        done = self.heir.drain()
        self.assertNoResult(done)
        self.heir.cut()
        far.pump()
        self.assertEqual(len(cuts), 1)
        self.gone()
        self.assertEqual((self.successResultOf(done), self.successResultOf(self.heir.drain())), (0, 0))
        self.assertNotIn("ends", self.did)

    def test_whose_predecessor_is_gone_too_early(self) -> None:
        """It ends, and takes nothing."""
        self.addCleanup(os.close, self.stderr)
        self.start()
        self.gone()
        self.assertEqual((self.did, self.path.exists()), (["ends"], False))

    def test_who_is_not_wanted(self) -> None:
        """Likewise."""
        self.addCleanup(os.close, self.stderr)
        self.heir.start([], lambda: True, lambda: self.did.append("ends"), bool)
        far = Far(self.reactor)  # it knows no such word
        self.reactor.advance(1)
        far.pump()
        self.assertEqual(self.did, ["ends"])

    def test_stopped_before(self) -> None:
        """It waits for nobody, and asks for nothing any more."""
        self.addCleanup(os.close, self.stderr)
        far = self.start()
        self.successResultOf(self.heir.drain())
        self.ready = True
        self.reactor.advance(1)
        far.pump()
        self.assertEqual((self.did, self.told.said), ([], []))

    def test_a_pid_file_that_cannot_be_written(self) -> None:
        """A line says so; all else goes on."""
        self.answer = {**self.answer, "pidfile": "/nowhere/pid", "reload": False}
        self.takes_over()
        self.assertTrue(self.heir.over)
        self.assertTrue(any("/nowhere/pid: cannot be written: No such file" in line for line in self.lines))


class HandedTests(SynchronousTestCase):
    """What is listened with from one process to the next."""

    def setUp(self) -> None:
        self.reactor = Listens()

    def listening(self, keeping: Keeping, path: Path | None = None) -> Any:
        """A port on a UNIX socket, or on a TCP port of the system's choice."""
        if path is None:
            port: Any = keeping.listenTCP(0, Factory(), interface="127.0.0.1")
        else:
            port = keeping.listenUNIX(os.fspath(path), Factory(), mode=0o600, wantPID=True)
        self.addCleanup(self.reactor.advance, 0)
        self.addCleanup(port.stopListening)
        return port

    def handed(self, *keeps: Keeping) -> Handed:
        """Their sockets, as another process would have them."""
        return Handed({name: os.dup(number) for keep in keeps for name, number in keep.descriptors.items()})

    def end(self, port: Any) -> None:
        """It listens no more."""
        port.stopListening()
        self.reactor.advance(0)

    def test_the_same_port(self) -> None:
        """Who asks for any port has the one that its predecessor was given; who connected meanwhile is there."""
        old, old_status = Keeping(self.reactor), Keeping(self.reactor, kind="status-")
        ports = [self.listening(old), self.listening(old_status)]
        handed = self.handed(old, old_status)
        news = [Keeping(self.reactor, handed), Keeping(self.reactor, handed, "status-")]
        with socket.create_connection(("127.0.0.1", ports[0].getHost().port)):
            taken = [self.listening(each) for each in news]
            self.assertEqual([each.getHost() for each in taken], [each.getHost() for each in ports])
            for each in ports:
                self.end(each)
            taken[0].socket.accept()[0].close()
        self.assertEqual(handed.taken, {tcp_name("127.0.0.1", 0), tcp_name("127.0.0.1", 0, "status-")})
        self.assertNotEqual(self.listening(news[0]).getHost(), taken[0].getHost())

    def test_a_unix_socket_s_file(self) -> None:
        """It stays with the predecessor's end, is the successor's to lock, and goes with that one's."""
        path = folder(self) / "s"
        old = Keeping(self.reactor)
        first = self.listening(old, path)
        handed = self.handed(old)
        new = Keeping(self.reactor, handed)
        second = self.listening(new, path)
        self.assertEqual(second.getHost(), first.getHost())
        old.hand_over(handed.taken)
        self.end(first)
        new.take_over()
        self.assertTrue(path.exists())
        self.assertTrue(os.path.islink(f"{path}.lock"))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.fspath(path))
        third = self.listening(Keeping(self.reactor, self.handed(new)), path)
        new.hand_over([unix_name(os.fspath(path))])
        self.end(second)
        self.assertTrue(path.exists())
        third.own()
        self.end(third)
        self.assertEqual((path.exists(), os.path.islink(f"{path}.lock")), (False, False))

    def test_a_successor_that_ends_before(self) -> None:
        """The file is its predecessor's still."""
        path = folder(self) / "s"
        old = Keeping(self.reactor)
        self.listening(old, path)
        self.end(self.listening(Keeping(self.reactor, self.handed(old)), path))
        self.assertTrue(path.exists())

    def test_what_nobody_listens_at(self) -> None:
        """It is closed; its predecessor, which is not told that it was taken, removes its file."""
        path = folder(self) / "s"
        old = Keeping(self.reactor)
        port = self.listening(old, path)
        handed = self.handed(old)
        handed.forget()
        self.assertIsNone(handed.take(unix_name(os.fspath(path))))
        old.hand_over(handed.taken)
        self.end(port)
        self.assertFalse(path.exists())

    def test_what_a_successor_finds(self) -> None:
        """Ours by their names; systemd's at their numbers, also one that nobody listened at until now."""
        environ, descriptors = Inheritance.of({"mytls-a": 40, adopted_name(3): 41}, ["x", "y", "nothing"], 42, 2, 43)
        self.assertEqual(environ["LISTEN_FDNAMES"], "x:y:nothing:mytls-a")
        self.assertEqual(descriptors, {3: 41, 4: 4, 5: 43, 6: 40, 7: 42, 8: 2})
        self.patch(os, "set_inheritable", lambda descriptor, may: None)
        found = Inheritance.taken(environ)
        self.assertEqual(found, Inheritance(7, 8, {"mytls-a": 6}, ("x", "y", "nothing")))
        self.assertNotIn("MYTLS_SUCCEEDS", environ)
        self.assertIsNone(Inheritance.taken(environ))


class RetiringTests(SynchronousTestCase):
    """L{Retiring}."""

    class Service:
        """One that does what the test says."""

        draining, reloads, left = False, {"changed": 2, "failed": 1}, 4
        handshakes = 1

        def __init__(self) -> None:
            self.did: list[str] = []
            self.beside = self

        def stop(self) -> Deferred[None]:
            self.did.append("status ends")
            return succeed(None)

        def pause(self) -> int:
            return self.handshakes

        def drain(self) -> None:
            self.did.append("drain")

        def cut(self) -> None:
            self.did.append("cut")

    def setUp(self) -> None:
        self.clock = Clock()
        self.service = self.Service()
        self.retiring = Retiring(self.clock, cast(Any, self.service), lambda: self.service.did.append("others"))

    def test_handshakes_are_finished(self) -> None:
        """Nobody is accepted from the first moment on; who is in a handshake has time for it."""
        self.assertEqual((self.retiring.left, self.retiring.attempts), (4, 3))
        self.retiring.retire()
        self.clock.pump([0.1] * 50)
        self.assertEqual(self.service.did, ["status ends", "others"])
        self.service.handshakes = 0
        self.clock.advance(0.1)
        self.assertEqual(self.service.did, ["status ends", "others", "drain"])

    def test_but_not_for_ever(self) -> None:
        """Who takes ten seconds for it is in the way; and one that is told to end at once does."""
        self.retiring.retire()
        self.clock.pump([0.1] * 102)
        self.assertEqual(self.service.did[2:], ["drain"])
        self.retiring.cut()
        self.assertEqual(self.service.did[3:], ["drain", "cut"])


class EstateTests(SynchronousTestCase):
    """L{Estate}, and the service around which it is."""

    class Service:
        """One that says what is done."""

        def __init__(self) -> None:
            self.did: list[str] = []
            self.listeners = [type("Listener", (), {"port": None})()]

        def __getattr__(self, name: str) -> Any:
            return lambda: self.did.append(name)

    def setUp(self) -> None:
        self.addCleanup(signal.signal, signal.SIGUSR2, signal.getsignal(signal.SIGUSR2))
        self.reactor, self.service, self.lines = Reactor(), self.Service(), log_lines(self)
        self.retiring = cast(Any, Leaves())

    def estate(self, inheritance: Inheritance | None = None) -> Estate:
        """One that listens."""
        nobody = lineage_of_nobody()
        estate = Estate(Lineage(nobody.relaunch, nobody.pidfile, nobody.turn, inheritance))
        estate.listens_with(Keeping, self.reactor)
        estate.status_reactor(self.reactor)
        return estate

    def test_why_it_cannot_be(self) -> None:
        """What the settings say comes first; where twistd has not started it, nobody else can."""
        estate = self.estate()
        estate.joins(self.retiring)
        estate.hand_over()
        estate.why_kept = "the sandbox lets it start nothing"
        estate.hand_over()
        begin, end = "cannot hand over: ", "; a new version needs a restart"
        words = ("it was not started as twistd mytls", "the sandbox lets it start nothing")
        self.assertEqual(self.lines, [f"{begin}{each}{end}" for each in words])
        self.assertFalse(estate.is_handing_over)

    def test_a_successor_that_is_one_itself(self) -> None:
        """It says that it serves when all do; until it has taken over it has no successor of its own."""
        mine, its = socket.socketpair()
        reading, writing = os.pipe()
        for each in (reading, writing):
            self.addCleanup(os.close, each)
        its.close()
        estate = self.estate(Inheritance(mine.detach(), writing, {}))
        heir, _ = estate.joins(self.retiring)
        others = [False]
        estate.started(cast(Any, self.service), lambda: others[0])
        estate.hand_over()
        self.assertIn("it has not taken over itself yet", self.lines[-1])
        for listens, serve in ((False, True), (True, False), (True, True)):
            self.assertEqual(self.reactor.wire.data, b"")
            self.service.listeners[0].port, others[0] = listens or None, serve
            self.reactor.advance(1)
        self.assertIn(b'"ready"', self.reactor.wire.data)
        heir.drain()

    def test_the_signal(self) -> None:
        """From the moment on that it listens it is asked by USR2; when it has stopped, USR2 is nothing."""
        estate, asked = self.estate(), list[str]()
        made = Succeeding(estate, cast(Any, self.service), lambda: asked.append("asked"), lambda: asked.append("start"))
        made.privilegedStartService()
        os.kill(os.getpid(), signal.SIGUSR2)
        made.startService()
        os.kill(os.getpid(), signal.SIGUSR2)
        made.stopService()
        os.kill(os.getpid(), signal.SIGUSR2)
        self.assertEqual(asked, ["asked", "start", "asked"])
        self.assertEqual(self.service.did, ["privilegedStartService", "startService", "stopService"])


class RelaunchTests(SynchronousTestCase):
    """L{Relaunch} and L{PidFile}."""

    def of(self, typed: str, words: str = "-e tcp:1", **of_twistd: Any) -> Relaunch:
        """What becomes of these words."""
        environ = {"WATCHDOG_PID": "3", "WATCHDOG_USEC": "9", "LISTEN_FDS": "1"}
        return Relaunch.of(typed.split(), "mytls", words.split(), of_twistd, environ, ())

    def test_the_words_of_twistd(self) -> None:
        """They are kept; a daemon goes on where it logs, and is none that leaves again."""
        alone = self.of("twistd -n --uid 5 mytls -e tcp:1", nodaemon=1, logfile=None)
        own = ["-n", "--uid", "5", "--nodaemon", "--pidfile=", "mytls", "-e", "tcp:1"]
        self.assertEqual((alone.program()[4:], alone.environ, alone.log), (own, {"WATCHDOG_USEC": "9"}, ""))
        daemon = self.of("twistd mytls -e tcp:1")
        log = os.path.abspath("twistd.log")
        options = [f"--logfile={log}", "--nodaemon", "--pidfile="]
        self.assertEqual(daemon.program()[4:7], options)
        again = self.of(" ".join(["twistd", *daemon.program()[4:]]), nodaemon=1, logfile=log)
        self.assertEqual(again.program(), daemon.program())

    def test_where_it_cannot_be(self) -> None:
        """In a chroot there is no Python; and words that are not those that were read tell nothing of twistd's."""
        self.assertEqual(self.of("twistd mytls -e tcp:1", chroot="/srv").why_not, "there is no Python in --chroot")
        self.assertEqual(self.of("twistd mytls -e tcp:1").why_not, "")
        self.assertEqual(self.of("program").why_not, "it was not started as twistd mytls")

    def test_a_pid_file_of_root_s(self) -> None:
        """Who may not write it cannot hand it over."""
        path = folder(self) / "pid"
        self.patch(os, "access", lambda path, how: False)
        self.assertEqual(PidFile({"pidfile": str(path)}).why_not(), f"--pidfile {path}: this user may not write it")
        self.assertEqual(PidFile({"pidfile": ""}).why_not(), "")

    def test_a_pid_file_that_is_another_s(self) -> None:
        """It has our number and nothing of the old one; twistd removes it when we end."""
        path, of_twistd = folder(self) / "pid", {"pidfile": ""}
        path.write_text("12345678901234")
        PidFile(of_twistd).take(str(path))
        self.assertEqual((path.read_text(), of_twistd["pidfile"]), (str(os.getpid()), str(path)))
        self.assertEqual((PidFile(of_twistd).leave(), of_twistd["pidfile"]), (str(path), ""))

    def test_a_log_that_two_write(self) -> None:
        """Nobody writes over the lines of the other."""
        path = folder(self) / "log"
        with open(path, "wb", buffering=0) as one, open(path, "r+b", buffering=0) as other:
            append_to(str(path))
            one.write(b"one\n")
            other.write(b"other\n")
        self.assertEqual(path.read_text(), "one\nother\n")
        append_to("")

    def test_code(self) -> None:
        """A change in any source file is another code; what else is there is nothing to it."""
        package = folder(self)
        source = package / "a.py"
        source.write_text("1")
        before = digest(package)
        (package / "a.pyc").write_text("1")
        self.assertEqual(digest(package), before)
        source.write_text("2")
        self.assertNotEqual(digest(package), before)


class TurnTests(SynchronousTestCase):
    """L{Turn}."""

    def test_one_speaks(self) -> None:
        """Who is told that it has ended says nothing more; who has not to wait speaks at once."""
        told = Told()
        turn = Turn(told)
        turn.tell(READY=1)
        turn.end(MAINPID=5)
        turn.tell(STOPPING=1)
        self.assertEqual(told.said, [{"READY": 1}, {"MAINPID": 5}])
        Turn(Nobody(), waits=True).begin()
