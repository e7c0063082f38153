"""Two connections joined: every byte, every end and every pause of one reaches the other."""

from __future__ import annotations

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mytls.errors import Cause
from mytls.handlers.splice import LINGER, MAX_WAITING, QUIET, Phase, Side, abort, end_writing, join
from tests.memory import SocketInMemory

BOTH_WAYS = ((0, 1), (1, 0))


class Splice:
    """Two sides on two sockets, joined or not yet."""

    def __init__(self, joined: bool = True, half_close: float = 0.0) -> None:
        self.clock = Clock()
        self.sides = Side(self.clock, half_close), Side(self.clock, half_close)
        self.sockets = SocketInMemory(self.sides[0]), SocketInMemory(self.sides[1])
        for side, socket in zip(self.sides, self.sockets, strict=True):
            side.makeConnection(socket)
        if joined:
            self.join()

    def join(self) -> None:
        join(*self.sides)

    def fin(self, at: int) -> None:
        """The peer at one socket ends its direction."""
        self.sockets[at].reading = False
        self.sides[at].readConnectionLost()

    def stall(self, at: int) -> None:
        """The peer at one socket reads no more."""
        self.sockets[at].peer_reads = False

    def read_on(self, at: int) -> None:
        """It reads again."""
        self.sockets[at].peer_reads = True
        self.sockets[at].flush()

    @property
    def reasons(self) -> list[type[Exception] | None]:
        """Why each connection is gone, or None."""
        return [None if each.lost is None else type(each.lost) for each in self.sockets]


class ByteTests(SynchronousTestCase):
    """What comes from one goes to the other."""

    def test_interfaces(self) -> None:
        """A side hears of half-closes, and can be paused."""
        side = Side(Clock())
        verifyObject(IHalfCloseableProtocol, side)
        verifyObject(IPushProducer, side)

    def test_both_ways(self) -> None:
        """Bytes go both ways, in order, however small the pieces are."""
        for one, other in BOTH_WAYS:
            splice = Splice()
            sent = bytes(range(256)) * 4
            for at in range(len(sent)):
                splice.sides[one].dataReceived(sent[at : at + 1])
            self.assertEqual(bytes(splice.sockets[other].wire), sent)
            self.assertEqual(bytes(splice.sockets[one].wire), b"")

    def test_waiting(self) -> None:
        """What comes before there is another side is its first, in order."""
        splice = Splice(joined=False)
        splice.sides[0].dataReceived(b"GET / ")
        splice.sides[0].dataReceived(b"HTTP/1.1")
        splice.join()
        splice.sides[0].dataReceived(b"\r\n")
        self.assertEqual(bytes(splice.sockets[1].wire), b"GET / HTTP/1.1\r\n")

    def test_waiting_is_bounded(self) -> None:
        """Who says much before there is another side is paused, and read from again when there is."""
        splice = Splice(joined=False)
        splice.sides[0].dataReceived(b"x" * (MAX_WAITING - 1))
        self.assertTrue(splice.sockets[0].reading)
        splice.sides[0].dataReceived(b"y")
        self.assertFalse(splice.sockets[0].reading)
        splice.join()
        self.assertTrue(splice.sockets[0].reading)
        self.assertEqual(bytes(splice.sockets[1].wire), b"x" * (MAX_WAITING - 1) + b"y")

    def test_waiting_for_one_that_is_full_at_once(self) -> None:
        """Who has said more than the other side takes is read from when that has room."""
        splice = Splice(joined=False)
        splice.stall(1)
        splice.sides[0].dataReceived(b"x" * (MAX_WAITING + 1))
        splice.join()
        self.assertFalse(splice.sockets[0].reading)
        splice.read_on(1)
        self.assertTrue(splice.sockets[0].reading)

    def test_after_the_end(self) -> None:
        """What comes when the other side is gone is nobody's, and is not kept."""
        splice = Splice()
        splice.stall(0)
        splice.sides[1].dataReceived(b"answer")
        splice.sockets[1].lose(ConnectionDone())
        splice.sides[0].dataReceived(b"x" * MAX_WAITING)
        self.assertEqual(splice.sides[0].phase, Phase.ENDED)
        self.assertEqual(splice.sides[0]._waiting, b"")


class BackpressureTests(SynchronousTestCase):
    """Whoever is slower slows the other, and nobody else."""

    def test_a_slow_reader_pauses_the_sender(self) -> None:
        """Where one does not read, the other is not read from; when it reads again, all comes and goes on."""
        for one, other in BOTH_WAYS:
            splice = Splice()
            splice.stall(other)
            sent = 0
            while splice.sockets[one].reading and sent < 1 << 20:
                splice.sides[one].dataReceived(b"x" * 4096)
                sent += 4096
            self.assertLessEqual(sent, SocketInMemory.buffer_size + 4096)
            splice.read_on(other)
            self.assertTrue(splice.sockets[one].reading)
            self.assertEqual(len(splice.sockets[other].wire), sent)

    def test_the_other_direction_goes_on(self) -> None:
        """Who does not read may still be heard."""
        for one, other in BOTH_WAYS:
            splice = Splice()
            splice.stall(other)
            splice.sides[one].dataReceived(b"x" * (SocketInMemory.buffer_size + 1))
            self.assertFalse(splice.sockets[one].reading)
            self.assertTrue(splice.sockets[other].reading)
            splice.sides[other].dataReceived(b"still here")
            self.assertEqual(bytes(splice.sockets[one].wire), b"still here")

    def test_who_is_through_is_not_read_from_again(self) -> None:
        """Room for more is no reason to read from a socket that has ended: it would only say so again."""
        for one, other in BOTH_WAYS:
            splice = Splice()
            splice.stall(other)
            splice.sides[one].dataReceived(b"x" * (SocketInMemory.buffer_size + 1))
            splice.fin(one)
            splice.sides[one].resumeProducing()
            self.assertFalse(splice.sockets[one].reading)


class EndTests(SynchronousTestCase):
    """An end goes through as what it was."""

    def test_half_close(self) -> None:
        """The end of one direction is passed on after the last byte, and the other direction goes on."""
        for one, other in BOTH_WAYS:
            splice = Splice()
            splice.stall(other)
            splice.sides[one].dataReceived(b"question")
            splice.fin(one)
            self.assertFalse(splice.sockets[other].fin_sent)
            self.assertIsNone(splice.sockets[other].producer)  # a socket of Twisted's would wait for one that is paused
            splice.read_on(other)
            self.assertTrue(splice.sockets[other].fin_sent)
            self.assertEqual(bytes(splice.sockets[other].wire), b"question")
            splice.sides[other].dataReceived(b"answer")
            self.assertEqual(bytes(splice.sockets[one].wire), b"answer")
            self.assertEqual(splice.reasons, [None, None])

    def test_both_directions(self) -> None:
        """When both have said all, both connections close, after the last bytes."""
        for one, other in BOTH_WAYS:
            splice = Splice()
            splice.fin(one)
            splice.stall(one)
            splice.sides[other].dataReceived(b"last words")
            splice.fin(other)
            self.assertEqual(splice.sockets[one].lost, None)
            self.assertEqual(type(splice.sockets[other].lost), ConnectionDone)
            splice.read_on(one)
            self.assertEqual(bytes(splice.sockets[one].wire), b"last words")
            self.assertEqual(splice.reasons, [ConnectionDone, ConnectionDone])
            self.assertEqual(splice.clock.getDelayedCalls(), [])

    def test_one_that_is_lost_after_both_are_through(self) -> None:
        """When both have said all, a reset of one takes nothing from the other any more."""
        for one, other in BOTH_WAYS:
            splice = Splice()
            splice.stall(0)
            splice.stall(1)
            splice.sides[one].dataReceived(b"to the other")
            splice.sides[other].dataReceived(b"to the one")
            splice.fin(one)
            splice.fin(other)
            splice.sockets[one].lose(ConnectionLost())
            self.assertIsNone(splice.sockets[other].lost)
            splice.read_on(other)
            self.assertEqual(bytes(splice.sockets[other].wire), b"to the other")

    def test_end_before_it_is_joined(self) -> None:
        """Who asks and ends its direction before there is another side gets its answer."""
        splice = Splice(joined=False)
        splice.sides[0].dataReceived(b"question")
        splice.fin(0)
        splice.join()
        self.assertEqual(bytes(splice.sockets[1].wire), b"question")
        self.assertTrue(splice.sockets[1].fin_sent)
        self.assertFalse(splice.sockets[0].reading)
        splice.sides[1].dataReceived(b"answer")
        self.assertEqual(bytes(splice.sockets[0].wire), b"answer")

    def test_both_end_before_they_are_joined(self) -> None:
        """Two that have ended already close."""
        splice = Splice(joined=False)
        splice.sides[0].dataReceived(b"question")
        splice.fin(0)
        splice.fin(1)
        splice.join()
        self.assertEqual(bytes(splice.sockets[1].wire), b"question")
        self.assertEqual(splice.reasons, [ConnectionDone, ConnectionDone])

    def test_clean_close(self) -> None:
        """A connection that knows no half-close ends whole: the other gets the last bytes, then its end."""
        for one, other in BOTH_WAYS:
            splice = Splice()
            splice.stall(other)
            splice.sides[one].dataReceived(b"last words")
            splice.sockets[one].lose(ConnectionDone())
            self.assertIsNone(splice.sockets[other].lost)
            splice.read_on(other)
            self.assertEqual(bytes(splice.sockets[other].wire), b"last words")
            self.assertEqual(type(splice.sockets[other].lost), ConnectionDone)

    def test_reset(self) -> None:
        """A reset is a reset on the other side too, after what came before it: nobody takes half for the whole."""
        for one, other in BOTH_WAYS:
            for reason in (ConnectionLost(), ConnectionAborted()):
                splice = Splice()
                splice.stall(other)
                splice.sides[one].dataReceived(b"half of it")
                splice.sockets[one].lose(reason)
                self.assertIsNone(splice.sockets[other].lost)
                splice.read_on(other)
                self.assertEqual(type(splice.sockets[other].lost), ConnectionAborted)
                self.assertEqual(bytes(splice.sockets[other].wire), b"half of it")
                self.assertEqual(splice.clock.getDelayedCalls(), [])

    def test_reset_of_one_that_was_through(self) -> None:
        """Who has said all is known to have: its last bytes arrive, though it hears no answer any more."""
        for one, other in BOTH_WAYS:
            splice = Splice()
            splice.stall(other)
            splice.sides[one].dataReceived(b"all of it")
            splice.fin(one)
            splice.sockets[one].lose(ConnectionLost())
            self.assertIsNone(splice.sockets[other].lost)
            splice.read_on(other)
            self.assertEqual((bytes(splice.sockets[other].wire), splice.sockets[other].fin_sent), (b"all of it", True))
            splice.sides[other].dataReceived(b"an answer for nobody")
            self.assertIsNone(splice.sockets[other].lost)
            splice.fin(other)
            self.assertEqual(type(splice.sockets[other].lost), ConnectionDone)
            self.assertEqual(splice.clock.getDelayedCalls(), [])

    def test_one_that_never_ends(self) -> None:
        """Who goes on when the other side is through and lost is cut off after a while; so is who does not read."""
        for one, other in BOTH_WAYS:
            for reads in (True, False):
                for reason in (ConnectionLost(), ConnectionDone()):
                    splice = Splice()
                    splice.sockets[other].peer_reads = reads
                    splice.sides[one].dataReceived(b"all of it")
                    splice.fin(one)
                    splice.sockets[one].lose(reason)
                    splice.clock.advance(LINGER - 1)
                    self.assertIsNone(splice.sockets[other].lost)
                    splice.clock.advance(1)
                    self.assertEqual(type(splice.sockets[other].lost), ConnectionAborted)

    def test_reset_of_one_whose_other_never_reads(self) -> None:
        """What came before a reset is not kept for ever for one that does not read it."""
        splice = Splice()
        splice.stall(1)
        splice.sides[0].dataReceived(b"half of it")
        splice.sockets[0].lose(ConnectionLost())
        splice.clock.advance(LINGER)
        self.assertEqual(type(splice.sockets[1].lost), ConnectionAborted)

    def test_one_that_never_reads_the_rest(self) -> None:
        """What is left for one whose other side is gone is not kept for ever."""
        for one, other in BOTH_WAYS:
            splice = Splice()
            splice.stall(other)
            splice.sides[one].dataReceived(b"the rest")
            splice.sockets[one].lose(ConnectionDone())
            splice.clock.advance(LINGER - 1)
            self.assertIsNone(splice.sockets[other].lost)
            splice.clock.advance(1)
            self.assertEqual(type(splice.sockets[other].lost), ConnectionAborted)

    def test_one_that_reads_the_rest_slowly(self) -> None:
        """Who still reads what is left is given the time for it."""
        splice = Splice()
        splice.stall(1)
        splice.sides[0].dataReceived(b"the rest")
        splice.sockets[0].lose(ConnectionDone())
        for _ in range(3):
            splice.clock.advance(LINGER - 1)
            del splice.sockets[1].buffer[:1]
        self.assertIsNone(splice.sockets[1].lost)
        splice.clock.pump([LINGER] * 3)
        self.assertEqual(type(splice.sockets[1].lost), ConnectionAborted)


class HalfCloseTests(SynchronousTestCase):
    """How long one may go on when the other has ended its direction."""

    def test_silence(self) -> None:
        """Who says nothing for so long is dropped, and the other with it: nobody takes what there is for the whole."""
        for one, other in BOTH_WAYS:
            splice = Splice(half_close=10)
            splice.clock.advance(100)
            splice.fin(one)
            splice.clock.advance(9.9)
            self.assertEqual(splice.reasons, [None, None])
            splice.clock.advance(0.1)
            self.assertEqual(splice.reasons, [ConnectionAborted, ConnectionAborted])
            self.assertEqual((splice.clock.getDelayedCalls(), splice.sides[other].phase), ([], Phase.ENDED))

    def test_a_long_answer(self) -> None:
        """Who says something now and then may go on for as long as it likes; the time counts from its last word."""
        for one, other in BOTH_WAYS:
            splice = Splice(half_close=10)
            splice.fin(one)
            for _ in range(20):
                splice.clock.advance(9)
                splice.sides[other].dataReceived(b"and ")
            self.assertEqual((splice.reasons, bytes(splice.sockets[one].wire)), ([None, None], b"and " * 20))
            splice.clock.advance(9.9)
            self.assertEqual(splice.reasons, [None, None])
            splice.clock.advance(0.1)
            self.assertEqual(splice.reasons, [ConnectionAborted, ConnectionAborted])

    def test_a_slow_reader(self) -> None:
        """Who is silent because the other is slow to read what it has said is not dropped for that."""
        for one, other in BOTH_WAYS:
            splice = Splice(half_close=10)
            splice.fin(one)
            splice.stall(one)
            splice.sides[other].dataReceived(b"x" * 100)
            for _ in range(10):
                splice.clock.advance(9)
                del splice.sockets[one].buffer[:1]
            self.assertEqual(splice.reasons, [None, None])
            splice.clock.pump([10, 10])
            self.assertEqual(splice.reasons, [ConnectionAborted, ConnectionAborted])

    def test_a_long_question(self) -> None:
        """Nor for the time that it takes to read what the other has said before it ended."""
        for one, other in BOTH_WAYS:
            splice = Splice(half_close=10)
            splice.stall(other)
            splice.sides[one].dataReceived(b"x" * 100)
            splice.fin(one)
            for _ in range(10):
                splice.clock.advance(9)
                del splice.sockets[other].buffer[:1]
            self.assertEqual(splice.reasons, [None, None])

    def test_in_time(self) -> None:
        """Whoever ends its own direction, or is lost, is waited for no more."""
        for one, other in BOTH_WAYS:
            splice = Splice(half_close=10)
            splice.fin(one)
            splice.fin(other)
            self.assertEqual((splice.clock.getDelayedCalls(), splice.reasons), ([], [ConnectionDone] * 2))
            for lost in (one, other):
                for reason in (ConnectionDone(), ConnectionLost()):
                    splice = Splice(half_close=10)
                    splice.fin(one)
                    splice.sockets[lost].lose(reason)
                    if lost == one:
                        splice.fin(other)
                    self.assertEqual(splice.clock.getDelayedCalls(), [])
                    self.assertNotIn(None, splice.reasons)

    def test_before_it_is_joined(self) -> None:
        """Who has ended before there is another side starts the time when there is."""
        splice = Splice(joined=False, half_close=10)
        splice.fin(0)
        splice.clock.advance(100)
        splice.join()
        splice.clock.advance(9.9)
        self.assertEqual(splice.reasons, [None, None])
        splice.clock.advance(0.1)
        self.assertEqual(splice.reasons, [ConnectionAborted, ConnectionAborted])

    def test_for_ever(self) -> None:
        """Where there is no such deadline nothing waits."""
        splice = Splice()
        splice.fin(0)
        self.assertEqual(splice.clock.getDelayedCalls(), [])

    def test_while_the_service_stops(self) -> None:
        """The end of one direction does not make the service wait for silence in the other."""
        splice = Splice(half_close=1000)
        splice.sides[0].close_when_quiet()
        splice.fin(1)
        splice.clock.advance(QUIET)
        self.assertEqual(splice.reasons, [ConnectionDone, ConnectionDone])
        self.assertEqual(splice.clock.getDelayedCalls(), [])


class QuietTests(SynchronousTestCase):
    """How a splice ends when the service stops."""

    def test_quiet(self) -> None:
        """Where nothing moves, both are closed after a moment, each with what was still to be sent."""
        splice = Splice()
        splice.stall(0)
        splice.sides[1].dataReceived(b"answer")
        splice.sides[0].close_when_quiet()
        splice.clock.advance(QUIET)
        self.assertEqual(splice.reasons, [None, ConnectionDone])
        splice.read_on(0)
        self.assertEqual(splice.reasons, [ConnectionDone, ConnectionDone])
        self.assertEqual(bytes(splice.sockets[0].wire), b"answer")

    def test_busy(self) -> None:
        """Where bytes come, of either side, it goes on."""
        for one, other in BOTH_WAYS:
            splice = Splice()
            splice.sides[0].close_when_quiet()
            for _ in range(5):
                splice.sides[one].dataReceived(b"more")
                splice.clock.advance(QUIET)
                self.assertEqual(splice.reasons, [None, None])
            self.assertEqual(bytes(splice.sockets[other].wire), b"more" * 5)
            splice.clock.advance(QUIET)
            self.assertEqual(splice.reasons, [ConnectionDone, ConnectionDone])

    def test_ends_by_itself(self) -> None:
        """Where both are through before, nothing is left to be done."""
        splice = Splice()
        splice.sides[0].close_when_quiet()
        splice.fin(0)
        splice.fin(1)
        self.assertEqual(splice.reasons, [ConnectionDone, ConnectionDone])
        self.assertEqual(splice.clock.getDelayedCalls(), [])

    def test_over_already(self) -> None:
        """A side whose other is gone ends by itself, and is not asked to wait for quiet."""
        splice = Splice()
        splice.sockets[1].lose(ConnectionDone())
        splice.sides[0].close_when_quiet()
        self.assertEqual(splice.clock.getDelayedCalls(), [])


class Closes:
    """A transport that can close and nothing else, and writes down what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def unregisterProducer(self) -> None:
        self.asked.append("unregister")

    def loseConnection(self) -> None:
        self.asked.append("close")


class TransportTests(SynchronousTestCase):
    """What is asked of transports that cannot do everything."""

    def test_no_half_close(self) -> None:
        """Where one direction cannot end alone, the connection is closed: its peer must not wait for ever."""
        transport = Closes()
        end_writing(transport)
        self.assertEqual(transport.asked, ["unregister", "close"])

    def test_no_abort(self) -> None:
        """Where a connection cannot be dropped, it is closed."""
        transport = Closes()
        abort(transport)
        self.assertEqual(transport.asked, ["close"])

    def test_cause(self) -> None:
        """A transport that tells others how it has ended is told why; any other is dropped."""

        class Tells(Closes):
            def abort_because(self, cause: Cause, detail: str) -> None:
                self.asked.append(f"{cause}: {detail}")

        for transport, asked in ((Tells(), "reset: the backend was reset"), (Closes(), "close")):
            abort(transport, Cause.RESET, "the backend was reset")
            self.assertEqual(transport.asked, [asked])

    def test_lost_while_it_is_written_to(self) -> None:
        """A connection that is lost by the first bytes that it gets ends the other."""

        class Fragile(SocketInMemory):
            def write(self, data: bytes) -> None:
                self.lose(ConnectionLost())

        clock = Clock()
        one, other = Side(clock), Side(clock)
        sound, fragile = SocketInMemory(one), Fragile(other)
        one.makeConnection(sound)
        other.makeConnection(fragile)
        one.dataReceived(b"question")
        join(one, other)
        self.assertEqual(type(sound.lost), ConnectionAborted)

    def test_stopped_producer(self) -> None:
        """A transport that is lost stops its producer first and tells why after that: only then the other ends."""
        splice = Splice()
        splice.sockets[0].producer.stopProducing()
        self.assertEqual(splice.reasons, [None, None])
        splice.sockets[0].lose(ConnectionLost())
        self.assertEqual(splice.reasons, [ConnectionLost, ConnectionAborted])
