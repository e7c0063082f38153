"""A client and its program, the program played by the test."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mytls.errors import Cause, ConfigurationError, TLSFailure
from mytls.events import Closed, Established
from mytls.handlers.command import Account, Command
from mytls.handlers.complaints import BURST
from mytls.handlers.conversation import EXIT_GRACE, Conversation
from mytls.handlers.program import ProgramFactory, program
from mytls.handlers.splice import LINGER
from mytls.interfaces import IEndable
from mytls.peer import Peer
from mytls.settings import Deadlines, Limits, Settings
from tests.handlers.pump import Pump
from tests.lines import log_lines
from tests.memory import CLIENT_ADDRESS, Link, Producer, SocketInMemory

COMMAND = Command(("/srv/answer", "--all"))
CLOSE = 4.0
#: What a line of the log begins with.
NAME = "/srv/answer[77] for 192.0.2.1:50000: "


class Consumer:
    """
    A program's standard input.

    @ivar data: what was written
    @ivar ended: whether its end was said
    """

    def __init__(self) -> None:
        self.data = b""
        self.ended = False
        self.producer: Any = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        assert not self.ended
        self.data += data

    def end(self) -> None:
        self.unregisterProducer()
        self.ended = True

    def close(self) -> None:
        """The program reads no more."""
        producer, self.producer = self.producer, None
        producer.stopProducing()


class Played:
    """
    A process that does what the test says.

    @ivar told: what it was told: C{TERM}, C{KILL}
    """

    pid = 77

    def __init__(self, reactor: Any, command: Command, names: Mapping[str, str], owner: Conversation) -> None:
        self.command = command
        self.names = names
        self.owner = owner
        self.input = Consumer()
        self.output = Producer()
        self.told: list[str] = []

    def terminate(self) -> None:
        self.told.append("TERM")

    def kill(self) -> None:
        self.told.append("KILL")

    def ends(self, status: int = 0) -> None:
        """Its output ends, it ends, and nothing is left of it."""
        self.owner.output_ended()
        self.owner.exited(status)
        self.owner.gone()


class GivesUp(SocketInMemory):
    """
    A transport that can end so that it does not look like an end, as TLS can.

    @ivar given_up: why
    @ivar cause: the same in a word
    """

    given_up: str | None = None
    cause: Cause | None = None

    def end_because(self, cause: Cause, detail: str) -> None:
        self.given_up, self.cause = detail, cause
        self.loseConnection()


class ProgramTests(SynchronousTestCase):
    """A handler, its clients, and what it tells the log."""

    def setUp(self) -> None:
        self.reactor = Pump()
        self.lines = log_lines(self)
        self.processes: list[Played] = []
        self.fails: OSError | None = None
        self.factory = self.made()

    def made(self, command: Command = COMMAND, close: float = CLOSE, most: int = 0) -> ProgramFactory:
        """A handler."""
        return ProgramFactory(self.reactor, command, close, most, start=self.start)

    def start(self, *arguments: Any) -> Any:
        """In the place of a real process."""
        if self.fails is not None:
            raise self.fails
        self.processes.append(Played(*arguments))
        return self.processes[-1]

    def client(self, kind: type[SocketInMemory] = GivesUp) -> tuple[Conversation, Any, Played]:
        """A client, its socket and its program."""
        conversation = self.factory.buildProtocol(CLIENT_ADDRESS)
        socket = kind(conversation)
        conversation.makeConnection(socket)
        return conversation, socket, self.processes[-1]

    def over(self) -> None:
        """Nothing is left: no program, no timer, nothing to do at the end."""
        self.assertEqual(self.factory.running, set())
        self.assertEqual((list(self.reactor.getDelayedCalls()), self.reactor.triggers), ([], []))


class StringTests(SynchronousTestCase):
    """What `exec:` makes of its string."""

    def test_made(self) -> None:
        """The deadline is that of the settings; the log names the program."""
        made = program(Pump(), "/bin/sh -c 'exit 0'", Settings(deadlines=Deadlines(close=7.0)))
        assert isinstance(made, ProgramFactory)
        verifyObject(IProtocolFactory, made)
        self.assertEqual((made.command, made.close), (Command(("/bin/sh", "-c", "exit 0")), 7.0))
        self.assertEqual(made.logPrefix(), "exec:/bin/sh")

    def test_limit(self) -> None:
        """How many run is max-processes of the settings."""
        made = program(Pump(), "/bin/cat", Settings(limits=Limits(max_processes=1)))
        assert isinstance(made, ProgramFactory)
        made.running.add(Conversation(made))
        failure = self.assertRaises(TLSFailure, made.start, Conversation(made), Peer(None), None)
        self.assertEqual(str(failure), "limit: 1 of the program runs, and limits.max-processes is 1")

    def test_wrong(self) -> None:
        """What cannot be run is told at the start."""
        self.assertRaises(ConfigurationError, program, Pump(), "cat", Settings())


class TalkTests(ProgramTests):
    """Both are there."""

    def test_interfaces(self) -> None:
        """The client may end its direction alone, and a service that stops asks first."""
        verifyObject(IHalfCloseableProtocol, self.client()[0])
        verifyObject(IEndable, self.client()[0])

    def test_both_ways(self) -> None:
        """What comes from one goes to the other, and the program knows whose it is."""
        conversation, socket, process = self.client()
        conversation.dataReceived(b"question")
        process.owner.output_came(b"answer")
        self.assertEqual((process.input.data, bytes(socket.wire)), (b"question", b"answer"))
        self.assertEqual((process.names["TCPREMOTEIP"], process.names["TCPLOCALPORT"]), ("192.0.2.1", "8443"))
        self.assertNotIn("HOME", process.names)

    def test_names_of_the_user(self) -> None:
        """A program that runs as another user knows that user's names."""
        self.factory = self.made(as_another(Account(1, 1, (1,), (("USER", "bin"), ("HOME", "/bin")))))
        names = self.client()[2].names
        self.assertEqual((names["USER"], names["HOME"], names["PROTO"]), ("bin", "/bin", "TCP"))

    def test_slow_program(self) -> None:
        """A program that does not read pauses its client."""
        _, socket, process = self.client()
        process.input.producer.pauseProducing()
        self.assertFalse(socket.reading)
        process.input.producer.resumeProducing()
        self.assertTrue(socket.reading)

    def test_slow_client(self) -> None:
        """A client that does not read pauses its program."""
        _, socket, process = self.client()
        socket.peer_reads = False
        process.owner.output_came(b"x" * (socket.buffer_size + 1))
        self.assertEqual(process.output.asked, ["pause"])
        socket.peer_reads = True
        socket.flush()
        self.assertEqual(process.output.asked, ["pause", "resume"])

    def test_program_that_reads_no_more(self) -> None:
        """What the client says then is thrown away, and the answer still comes."""
        _, socket, process = self.client()
        process.input.producer.pauseProducing()
        process.input.close()
        self.assertTrue(socket.reading)
        process.owner.output_came(b"answer")
        self.assertEqual((bytes(socket.wire), socket.lost), (b"answer", None))

    def test_complaints(self) -> None:
        """Each line of standard error is one of the log, escaped, with the client's address."""
        _, _, process = self.client()
        process.owner.complaint_came(b"bad\x1b[2J\nworse\nhalf")
        self.assertEqual(self.lines, [NAME + "bad\\x1b[2J", NAME + "worse"])
        process.ends()
        self.assertEqual(self.lines[2:], [NAME + "half"])

    def test_flood_of_complaints(self) -> None:
        """A program that says too much there is cut short in the log, and not in anything else."""
        _, socket, process = self.client()
        for _ in range(100):
            process.owner.complaint_came(b"flood\n" * 10_000)
        process.owner.output_came(b"answer")
        process.ends()
        self.assertEqual(len(self.lines), BURST + 1)
        self.assertEqual((bytes(socket.wire), type(socket.lost)), (b"answer", ConnectionDone))


class EndTests(ProgramTests):
    """How a conversation ends."""

    def test_client_has_said_all(self) -> None:
        """The end of the client's input is that of the program's; the answer still comes."""
        conversation, socket, process = self.client()
        conversation.dataReceived(b"question")
        conversation.readConnectionLost()
        self.assertTrue(process.input.ended)
        process.owner.output_came(b"answer")
        self.assertEqual((process.told, socket.lost), ([], None))
        process.ends()
        self.assertEqual((bytes(socket.wire), type(socket.lost)), (b"answer", ConnectionDone))
        self.assertIsNone(socket.given_up)
        self.assertEqual(self.lines, [])
        self.over()

    def test_socket_that_has_ended_is_not_read(self) -> None:
        """After the client's end nothing makes its socket be read again."""
        conversation, socket, process = self.client()
        producer = process.input.producer
        producer.pauseProducing()
        conversation.readConnectionLost()
        producer.resumeProducing()
        self.assertFalse(socket.reading)

    def test_either_order(self) -> None:
        """The status may come before the end of the output."""
        _, socket, process = self.client()
        process.owner.exited(0)
        process.owner.output_came(b"the rest")
        self.assertIsNone(socket.lost)
        process.owner.output_ended()
        process.owner.gone()
        self.assertEqual((bytes(socket.wire), type(socket.lost)), (b"the rest", ConnectionDone))
        self.over()

    def test_output_ends_first(self) -> None:
        """A program that has closed its output and goes on still hears the client, who hears of that end."""
        conversation, socket, process = self.client()
        process.owner.output_ended()
        self.assertFalse(socket.fin_sent)
        self.reactor.advance(EXIT_GRACE)
        self.assertEqual((socket.lost, socket.fin_sent), (None, True))
        conversation.dataReceived(b"much more")
        self.assertEqual(bytes(process.input.data), b"much more")
        process.owner.exited(0)
        process.owner.gone()
        self.assertEqual((type(socket.lost), socket.given_up), (ConnectionDone, None))
        self.over()

    def test_output_ends_first_and_fails(self) -> None:
        """A status that comes later is told all the same."""
        _, socket, process = self.client()
        process.owner.output_ended()
        self.reactor.advance(EXIT_GRACE)
        process.owner.exited(3)
        process.owner.gone()
        self.assertEqual((socket.given_up, len(self.lines)), ("the program ended with exit status 3", 1))
        self.over()

    def test_both_have_said_all(self) -> None:
        """A program that goes on then has the close deadline to finish by itself; then it is asked, and made to end."""
        conversation, socket, process = self.client()
        conversation.readConnectionLost()
        process.owner.output_ended()
        self.reactor.advance(EXIT_GRACE)
        socket.lose(ConnectionDone())
        self.assertEqual(process.told, [])
        self.reactor.advance(CLOSE)
        self.assertEqual(process.told, ["TERM"])
        self.reactor.advance(CLOSE)
        self.assertEqual(process.told, ["TERM", "KILL"])
        process.owner.exited(-signal.SIGKILL)
        process.owner.gone()
        self.assertEqual(self.lines, [])
        self.over()

    def test_client_goes_behind_the_output(self) -> None:
        """One that goes without having said all ends the program as ever."""
        _, socket, process = self.client()
        process.owner.output_ended()
        self.reactor.advance(EXIT_GRACE)
        socket.lose(ConnectionLost())
        self.assertEqual(process.told, ["TERM"])
        process.owner.exited(-signal.SIGTERM)
        process.owner.gone()
        self.over()

    def test_failed(self) -> None:
        """A status that is not 0 is one line, and the client can see that something was wrong."""
        _, socket, process = self.client()
        process.owner.output_came(b"half an ans")
        process.ends(3)
        self.assertEqual(self.lines, [NAME + "it ended with exit status 3"])
        self.assertEqual(bytes(socket.wire), b"half an ans")
        self.assertEqual(socket.given_up, "the program ended with exit status 3")
        self.over()

    def test_failed_on_plain_tcp(self) -> None:
        """Where there is only a close and a reset, nothing is lost of the output; a crash is a reset."""
        for status, end in ((3, ConnectionDone), (-signal.SIGSEGV, ConnectionAborted)):
            _, socket, process = self.client(SocketInMemory)
            process.ends(status)
            self.assertEqual(type(socket.lost), end)
        self.assertEqual(self.lines[1:], [NAME + "it ended with SIGSEGV"])
        self.over()

    def test_nameless_signal(self) -> None:
        """A signal without a name has a number."""
        _, _, process = self.client()
        process.ends(-(signal.SIGRTMIN + 1))
        self.assertEqual(self.lines, [NAME + f"it ended with signal {signal.SIGRTMIN + 1}"])

    def test_slow_reader(self) -> None:
        """A client that does not read the last of it is cut off in the end, and holds no process."""
        _, socket, process = self.client()
        socket.peer_reads = False
        process.owner.output_came(b"x" * 100)
        process.ends()
        self.assertEqual(self.factory.running, set())
        self.assertIsNone(socket.lost)
        self.reactor.advance(LINGER)
        self.assertEqual(type(socket.lost), ConnectionAborted)
        self.over()

    def test_client_gone(self) -> None:
        """A client that goes in the middle is no end of input: TERM, and KILL when the deadline is over."""
        conversation, socket, process = self.client()
        conversation.dataReceived(b"half a quest")
        process.owner.output_came(b"x")
        socket.lose(ConnectionAborted())
        self.assertEqual((process.told, process.input.ended), (["TERM"], False))
        self.assertEqual(process.output.asked[-1], "resume")
        process.owner.output_came(b"for nobody")
        self.reactor.advance(CLOSE - 1)
        self.assertEqual(process.told, ["TERM"])
        self.reactor.advance(1)
        self.assertEqual(process.told, ["TERM", "KILL"])
        process.ends(-signal.SIGKILL)
        self.assertEqual(self.lines, [])
        self.over()

    def test_client_gone_and_program_too(self) -> None:
        """A program that ends when it is asked to is not killed; what it left behind is."""
        _, socket, process = self.client()
        socket.lose(ConnectionDone())
        process.owner.exited(-signal.SIGTERM)
        self.reactor.advance(CLOSE)
        self.assertEqual(process.told, ["TERM", "KILL"])
        process.owner.output_ended()
        process.owner.gone()
        self.over()

    def test_no_deadline(self) -> None:
        """Where there is no close deadline, nobody is killed."""
        self.factory = self.made(close=0)
        _, socket, process = self.client()
        socket.lose(ConnectionDone())
        self.assertEqual((process.told, list(self.reactor.getDelayedCalls())), (["TERM"], []))

    def test_client_gone_after_its_program(self) -> None:
        """Who goes when all is over ends nothing."""
        _, socket, process = self.client()
        socket.peer_reads = False
        process.owner.output_came(b"x")
        process.ends()
        socket.lose(ConnectionAborted())
        self.assertEqual(process.told, [])
        self.over()

    def test_left_behind(self) -> None:
        """What a program leaves behind may speak for it until the deadline; cut off, it is no whole answer."""
        _, socket, process = self.client()
        process.owner.exited(0)
        self.reactor.advance(CLOSE)
        self.assertEqual((process.told, socket.lost), (["TERM"], None))
        self.reactor.advance(CLOSE)
        self.assertEqual(process.told, ["TERM", "KILL"])
        process.owner.output_ended()
        process.owner.gone()
        self.assertEqual(socket.given_up, "the program was ended")
        self.over()


class DrainTests(ProgramTests):
    """The service stops."""

    def test_finishes(self) -> None:
        """A program that finishes at the end of its input is let."""
        conversation, socket, process = self.client()
        conversation.end()
        self.assertTrue(process.input.ended)
        self.reactor.advance(CLOSE / 2 - 0.1)
        process.owner.output_came(b"the rest")
        process.ends()
        self.assertEqual((bytes(socket.wire), type(socket.lost)), (b"the rest", ConnectionDone))
        self.assertEqual((self.lines, socket.given_up), ([], None))
        self.assertNotIn("KILL", process.told)
        self.over()

    def test_asked_to(self) -> None:
        """One that does not is asked to after half the deadline, and killed at its end."""
        conversation, _, process = self.client()
        conversation.end()
        self.reactor.advance(CLOSE / 2)
        self.assertEqual(process.told, ["TERM"])
        self.reactor.advance(CLOSE / 2)
        self.assertEqual(process.told, ["TERM", "KILL"])

    def test_asked_and_done(self) -> None:
        """One that ends then has not failed, but its client hears that it was cut short."""
        conversation, socket, process = self.client()
        conversation.end()
        self.reactor.advance(CLOSE / 2)
        process.ends(-signal.SIGTERM)
        self.assertEqual(self.lines, [])
        self.assertEqual(socket.given_up, "the program ended with SIGTERM")
        self.over()

    def test_cut(self) -> None:
        """Whose connection is cut meanwhile has no more time."""
        conversation, socket, process = self.client()
        conversation.end()
        socket.lose(ConnectionAborted())
        self.assertEqual(process.told, ["KILL"])

    def test_exited_already(self) -> None:
        """What a program has left behind has no more time than the program would have had."""
        conversation, _, process = self.client()
        conversation.end()
        process.owner.exited(0)
        self.reactor.advance(CLOSE / 2)
        self.assertEqual(process.told, ["TERM"])

    def test_closing(self) -> None:
        """A connection that closes already just goes on with it."""
        conversation, socket, process = self.client()
        socket.peer_reads = False
        process.owner.output_came(b"x")
        process.ends()
        conversation.end()
        socket.peer_reads = True
        socket.flush()
        self.assertEqual(type(socket.lost), ConnectionDone)
        self.over()

    def test_the_very_end(self) -> None:
        """When the reactor stops, nothing of ours stays behind."""
        self.client()
        self.client()
        ((phase, event, end),) = self.reactor.triggers
        self.assertEqual((phase, event), ("after", "shutdown"))
        end()
        self.assertEqual([each.told for each in self.processes], [["KILL"], ["KILL"]])


class StartTests(ProgramTests):
    """A program that is not there."""

    def test_cannot_be_started(self) -> None:
        """One line, one connection that ends, and the next client is served."""
        self.fails = BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        conversation = self.factory.buildProtocol(CLIENT_ADDRESS)
        socket = GivesUp(conversation)
        conversation.makeConnection(socket)
        line = "/srv/answer[-] for 192.0.2.1:50000: it cannot be started: Resource temporarily unavailable"
        self.assertEqual((self.lines, socket.given_up), ([line], "the program could not be started"))
        conversation.dataReceived(b"too late")
        conversation.readConnectionLost()
        self.over()
        self.fails = None
        self.assertIsNone(self.client()[1].lost)

    def test_on_plain_tcp(self) -> None:
        """Where there is only a reset, it is one."""
        self.fails = OSError("no number, only text")
        conversation = self.factory.buildProtocol(CLIENT_ADDRESS)
        socket = SocketInMemory(conversation)
        conversation.makeConnection(socket)
        self.assertEqual(type(socket.lost), ConnectionAborted)
        self.assertRegex(self.lines[0], "it cannot be started: no number, only text$")

    def test_too_many(self) -> None:
        """Clients beyond the limit are turned away for that cause, until a program has ended."""
        self.factory = self.made(most=2)
        self.client()
        _, _, process = self.client()
        refused = GivesUp(self.factory.buildProtocol(CLIENT_ADDRESS))
        refused.protocol.makeConnection(refused)
        self.assertEqual(refused.given_up, "2 of the program run, and limits.max-processes is 2")
        self.assertEqual((refused.cause, self.lines), (Cause.LIMIT, []))
        bare = SocketInMemory(self.factory.buildProtocol(CLIENT_ADDRESS))
        bare.protocol.makeConnection(bare)
        self.assertEqual(type(bare.lost), ConnectionAborted)
        self.assertRegex(self.lines[0], "2 of the program run, and limits.max-processes is 2$")
        process.ends()
        self.assertIsNone(self.client()[1].lost)


class UserTests(ProgramTests):
    """As whom programs run is looked at when the service runs, and not for each client."""

    def told(self, account: Account | None, *now: int) -> list[str]:
        """What the log says when clients may come. @param now: this process's users: real, effective, saved"""
        self.patch(os, "getresuid", lambda: now)
        self.patch(os, "getresgid", lambda: now)
        self.patch(os, "geteuid", lambda: now[1])
        del self.lines[:]
        self.made(as_another(account) if account else COMMAND).doStart()
        return [line for line in self.lines if "/srv/answer" in line]

    def test_root(self) -> None:
        """Programs that run as root, or could become it again, are worth a warning."""
        line = "exec:/srv/answer runs as root for each client; exec:user=NAME ... is another user"
        self.assertEqual(self.told(None, 0, 0, 0), [line])
        self.assertEqual(self.told(None, 0, 7, 0), [line])
        self.assertEqual(self.told(Account(0, 7, (7,)), 0, 0, 0), [line])
        self.assertEqual(self.told(None, 7, 7, 7), [])
        self.assertEqual(self.told(Account(7, 7, (7,)), 0, 0, 0), [])

    def test_too_late(self) -> None:
        """A user whom the service cannot become any more, since it is another one by now, is one line."""
        line = "exec:/srv/answer cannot be started: mytls is not root any more, to become its user"
        self.assertEqual(self.told(Account(8, 8, (8,)), 7, 7, 7), [line])
        self.assertEqual(self.told(Account(7, 7, (7,)), 7, 7, 7), [])


class TLSTests(ProgramTests):
    """Over TLS."""

    def linked(self) -> Link:
        """A client after its handshake."""
        link = Link(handler=self.factory)
        link.handshake()
        return link

    def test_peer(self) -> None:
        """The program knows what the handshake has shown."""
        self.linked()
        names = self.processes[0].names
        self.assertEqual((names["SSL_TLS_SNI_SERVERNAME"], names["SSL_PROTOCOL"]), ("localhost", "TLSv1.3"))

    def test_half_close(self) -> None:
        """The client's close_notify ends the input alone; the answer comes after it, and our close_notify."""
        link = self.linked()
        link.client.send(b"question")
        link.client.shutdown()
        link.pump()
        process = self.processes[0]
        self.assertEqual((process.input.data, process.input.ended), (b"question", True))
        process.owner.output_came(b"answer")
        process.ends()
        link.pump()
        self.assertEqual((bytes(link.received), link.peer_finished), (b"answer", True))
        self.assertEqual([type(each) for each in link.events[1:]], [Established, Closed])

    def test_failed(self) -> None:
        """Of a program that has failed all output arrives, but no close_notify; the event has the reason."""
        link = self.linked()
        process = self.processes[0]
        process.owner.output_came(b"half an ans")
        process.ends(3)
        link.pump()
        self.assertEqual((bytes(link.received), link.peer_finished), (b"half an ans", False))
        self.assertTrue(link.socket.fin_sent)
        link.fin()
        event = link.events[-1]
        assert isinstance(event, Closed)
        self.assertEqual((event.cause, event.detail), (Cause.HANDLER, "the program ended with exit status 3"))
        self.assertEqual(event.bytes_out, 11)

    def test_truncated(self) -> None:
        """A FIN without close_notify is no end of input."""
        link = self.linked()
        link.client.send(b"half a quest")
        link.pump()
        link.fin()
        link.turn()
        process = self.processes[0]
        self.assertEqual((process.told, process.input.ended), (["TERM"], False))

    def test_bounded(self) -> None:
        """A client that does not read holds no more than the buffers, whatever its program says."""
        link = self.linked()
        link.socket.peer_reads = False
        process, said = self.processes[0], 0
        while "pause" not in process.output.asked and said < 1 << 20:
            process.owner.output_came(b"x" * 16384)
            said += 16384
        self.assertLess(said, 1 << 18)
        link.socket.peer_reads = True
        link.socket.flush()
        link.pump()
        self.assertEqual(process.output.asked[-1], "resume")
        process.ends()
        link.pump()
        self.assertEqual((len(link.received), link.peer_finished), (said, True))


class RealTests(SynchronousTestCase):
    """Real programs."""

    def run_one(self, *words: str) -> tuple[SocketInMemory, Pump]:
        """A client whose program runs."""
        reactor = Pump()
        factory = ProgramFactory(reactor, Command(words), CLOSE)
        conversation = factory.buildProtocol(CLIENT_ADDRESS)
        socket = SocketInMemory(conversation)
        conversation.makeConnection(socket)
        self.addCleanup(reactor.until, lambda: not factory.running)
        self.addCleanup(conversation.kill)
        return socket, reactor

    def test_cat(self) -> None:
        """What a client says to cat comes back, whole."""
        socket, reactor = self.run_one("/bin/cat")
        data = bytes(range(256)) * 4096
        socket.protocol.dataReceived(data)
        self.assertFalse(socket.reading)
        socket.protocol.readConnectionLost()
        reactor.until(lambda: socket.lost)
        self.assertEqual((bytes(socket.wire), type(socket.lost)), (data, ConnectionDone))

    def test_one_after_the_other(self) -> None:
        """Many in turn leave nothing."""
        for _ in range(20):
            socket, reactor = self.run_one("/bin/echo", "hello")
            reactor.until(lambda: socket.lost)  # noqa: B023  # it is called within the loop
            self.assertEqual(bytes(socket.wire), b"hello\n")
            self.assertEqual(reactor.readers | reactor.writers, set())


def as_another(account: Account) -> Command:
    """The command, as another user."""
    return Command(COMMAND.words, None, account)
