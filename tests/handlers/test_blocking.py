"""A plain function in a thread: what its connstream does is what C{ssl.SSLSocket} does."""

from __future__ import annotations

import array
import errno
import io
import os
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from mytls.handlers.inbox import INBOX_SIZE, OUTBOX_SIZE
from mytls.tls.tunnel import READ_SIZE
from tests.handlers.loop import PATIENCE, ThreadTestCase
from tests.handlers.twins import Client, TwinTestCase, attempt, of_client

EBADF = (OSError, errno.EBADF)
EPIPE = (BrokenPipeError, errno.EPIPE)
WANT_READ = (ssl.SSLWantReadError, ssl.SSL_ERROR_WANT_READ)
TIMED_OUT = (TimeoutError, None)
#: What may be between a function that sends and a peer that does not read: our outbox, the socket's, and what one
#: more write brings.
BOUND = 4 * OUTBOX_SIZE


class AsSSLSocketTests(TwinTestCase):
    """Each of these runs with an C{ssl.SSLSocket} too, and comes to the same."""

    def test_recv(self) -> None:
        """No more than what was asked for is returned, nothing is lost, and C{b""} is the end, again and again."""

        def function(stream: Any) -> Any:
            return [stream.recv(3), stream.recv(0), stream.recv(100), stream.recv(1), stream.recv(), stream.recv(0)]

        def client(client: Client) -> None:
            client.says(b"0123456789")
            client.finishes()

        self.assertEqual(self.both(function, client), [b"012", b"", b"3456789", b"", b"", b""])

    def test_recv_into(self) -> None:
        """The buffer is filled as far as C{nbytes} says, or wholly, whatever its items are."""

        def function(stream: Any) -> Any:
            buffer, numbers = bytearray(4), array.array("H", [0, 0])
            got = [stream.recv_into(buffer, 2), stream.recv_into(buffer), stream.recv_into(buffer, 100)]
            got += [stream.recv_into(buffer, 0), stream.recv_into(numbers), stream.recv_into(bytearray())]
            return [*got, buffer, numbers.tobytes()]

        answer = self.both(function, lambda client: client.says(b"0123456789abcdefghij"))
        self.assertEqual(answer, [2, 4, 4, 4, 4, 0, b"abcd", b"efgh"])

    def test_read(self) -> None:
        """C{read} is C{recv}, or C{recv_into} where it gets a buffer."""

        def function(stream: Any) -> Any:
            buffer = bytearray(4)
            return [stream.read(3), stream.read(2, buffer), stream.read(100, buffer), stream.read(), buffer]

        answer = self.both(function, lambda client: client.says(b"0123456789"))
        self.assertEqual(answer, [b"012", 2, 4, b"9", b"5678"])

    def test_wrong_arguments(self) -> None:
        """What is refused is refused with the same errors, and takes nothing away."""

        def function(stream: Any) -> Any:
            return [
                attempt(stream.recv, -1),
                attempt(stream.recv, 1, socket.MSG_PEEK),
                attempt(stream.recv_into, b"read only"),
                attempt(stream.send, b"x", socket.MSG_OOB),
                attempt(stream.sendall, b"x", socket.MSG_OOB),
                attempt(stream.send, "text"),
                attempt(stream.sendall, "text"),
                attempt(stream.shutdown, 99),
                attempt(stream.settimeout, -1),
                attempt(stream.settimeout, float("nan")),
                attempt(stream.settimeout, "1"),
                attempt(stream.makefile, "a"),
                attempt(stream.makefile, "r", buffering=0),
            ]

        value, kind, invalid = (ValueError, None), (TypeError, None), (OSError, errno.EINVAL)
        self.assertEqual(
            self.both(function),
            [value, value, kind, value, value, kind, kind, invalid, value, value, kind, value, value],
        )

    def test_sent(self) -> None:
        """C{send}, C{sendall} and C{write} take whatever has bytes, and nothing."""

        def function(stream: Any) -> Any:
            numbers = array.array("H", [1, 2])
            got = [stream.send(b""), stream.send(b"12"), stream.sendall(bytearray(b"3")), stream.sendall(b"")]
            return [*got, stream.write(memoryview(b"45")), stream.send(numbers), stream.sendall(numbers)]

        self.assertEqual(self.both(function), [0, 2, None, None, 2, 4, None])

    def test_without_waiting(self) -> None:
        """With C{settimeout(0)} what would have to wait raises, and what is there is given."""

        def function(stream: Any) -> Any:
            blocking = [stream.getblocking(), stream.gettimeout()]
            stream.setblocking(False)
            got = [stream.recv(1), attempt(stream.recv, 1), attempt(stream.recv_into, bytearray(1))]
            got += [attempt(stream.makefile("rb", buffering=0).read, 1), attempt(stream.unwrap)]
            return [*blocking, *got, stream.getblocking(), stream.gettimeout()]

        self.assertEqual(
            self.both(function, lambda client: client.says(b"x")),
            [True, None, b"x", WANT_READ, WANT_READ, WANT_READ, WANT_READ, False, 0.0],
        )

    def test_timeout(self) -> None:
        """A call waits as long as C{settimeout} says; a file is of no use after that."""

        def function(stream: Any) -> Any:
            stream.settimeout(0.01)
            file = stream.makefile("rb")
            tried = [attempt(stream.recv), attempt(file.readline), attempt(file.readline), attempt(stream.unwrap)]
            return [*tried, stream.gettimeout(), stream.getblocking()]

        self.assertEqual(self.both(function), [TIMED_OUT, TIMED_OUT, (OSError, None), TIMED_OUT, 0.01, True])

    def test_closed(self) -> None:
        """After C{close} whatever touches the connection is C{EBADF}; to close again is nothing."""

        def function(stream: Any) -> Any:
            stream.close()
            stream.close()
            calls = [
                (stream.recv, 1),
                (stream.recv_into, bytearray(1)),
                (stream.send, b"x"),
                (stream.sendall, b""),
                (stream.shutdown, socket.SHUT_RDWR),
            ]
            return [stream.fileno(), stream.pending(), *(attempt(*each) for each in calls)]

        self.assertEqual(self.both(function), [-1, 0, EBADF, EBADF, EBADF, EBADF, EBADF])

    def test_shut_for_writing(self) -> None:
        """After C{shutdown(SHUT_WR)} nothing more can be sent."""

        def function(stream: Any) -> Any:
            stream.shutdown(socket.SHUT_WR)
            return [attempt(stream.send, b"x"), attempt(stream.sendall, b"x")]

        self.assertEqual(self.both(function), [EPIPE, EPIPE])

    def test_shut_for_reading(self) -> None:
        """After C{shutdown(SHUT_RD)} there is nothing to read."""

        def function(stream: Any) -> Any:
            stream.shutdown(socket.SHUT_RD)
            return [stream.recv(1), stream.recv(1)]

        self.assertEqual(self.both(function), [b"", b""])

    def test_client_finishes(self) -> None:
        """A client that has sent close_notify may still be sent to, and C{unwrap} succeeds."""

        def function(stream: Any) -> Any:
            return [stream.recv(), stream.send(b"answer"), stream.sendall(b"more"), stream.unwrap() is not None]

        self.assertEqual(self.both(function, lambda client: client.finishes()), [b"", 6, None, True])

    def test_client_leaves(self) -> None:
        """The end of a stream without close_notify reads as its end."""

        def function(stream: Any) -> Any:
            return [stream.recv(), stream.recv(), stream.recv()]

        def client(client: Client) -> None:
            client.says(b"cut o")
            client.leaves()

        self.assertEqual(self.both(function, client), [b"cut o", b"", b""])

    def test_client_leaves_and_it_matters(self) -> None:
        """Where the function says so, the end of a stream without close_notify is an error each time it is read."""

        def function(stream: Any) -> Any:
            stream.suppress_ragged_eofs = False
            return [stream.recv(), attempt(stream.recv), attempt(stream.recv)]

        def client(client: Client) -> None:
            client.says(b"cut o")
            client.leaves()

        eof = (ssl.SSLEOFError, ssl.SSL_ERROR_EOF)
        self.assertEqual(self.both(function, client), [b"cut o", eof, eof])

    def test_lines(self) -> None:
        """A binary file reads line by line, and up to the end."""

        def function(stream: Any) -> Any:
            file = stream.makefile("rb", buffering=1)
            return [file.readline(), file.readline(), file.read(), file.read()]

        def client(client: Client) -> None:
            client.says(b"one\r\ntwo\nthree\nfo")
            client.finishes()

        self.assertEqual(self.both(function, client), [b"one\r\n", b"two\n", b"three\nfo", b""])

    def test_text(self) -> None:
        """The file of C{makefile()} is one of text."""

        def function(stream: Any) -> Any:
            file = stream.makefile(encoding="utf-8")
            return [file.mode, list(file)]

        def client(client: Client) -> None:
            client.says(b"eins\r\nzw\xc3\xb6\n")
            client.finishes()

        self.assertEqual(self.both(function, client), ["r", ["eins\n", "zwö\n"]])

    def test_modes(self) -> None:
        """Each mode of C{socket.makefile} gives the same kind of file."""

        def function(stream: Any) -> Any:
            modes = ("", "r", "w", "rw", "b", "rb", "wb", "rwb")
            kinds = [type(stream.makefile(mode, encoding="utf-8" if "b" not in mode else None)) for mode in modes]
            return [*kinds, type(stream.makefile("rb", buffering=0))]

        text, pair = io.TextIOWrapper, io.BufferedRWPair
        self.assertEqual(
            self.both(function),
            [text, text, text, text, io.BufferedReader, io.BufferedReader, io.BufferedWriter, pair, socket.SocketIO],
        )

    def test_a_file_keeps_it_open(self) -> None:
        """A file reads and writes after C{close}; when it is closed too, so is the connection."""

        def function(stream: Any) -> Any:
            file, other = stream.makefile("rwb"), stream.makefile("rb", buffering=0)
            stream.close()
            got = [file.readline(), file.write(b"answer"), file.flush(), file.read(), stream.recv(), file.close()]
            got.append(other.read())
            other.close()
            return [*got, attempt(stream.recv), stream.fileno()]

        def client(client: Client) -> None:
            client.says(b"question\nmore")
            client.finishes()

        self.assertEqual(self.both(function, client), [b"question\n", 6, None, b"more", b"", None, b"", EBADF, -1])

    def test_facts(self) -> None:
        """What was agreed on is told the same way."""

        def function(stream: Any) -> Any:
            told = [stream.cipher(), stream.version(), stream.selected_alpn_protocol(), stream.compression()]
            return [*told, stream.getpeercert(), stream.getpeercert(True), stream.server_side, stream.do_handshake()]

        self.assertEqual(self.both(function)[1:], ["TLSv1.3", None, None, None, None, True, None])

    def test_certificate(self) -> None:
        """A client's certificate is told the same way, as a dictionary and as DER."""

        def function(stream: Any) -> Any:
            return [stream.getpeercert(), stream.getpeercert(binary_form=True)]

        shown, der = self.both(function, certified=True)
        self.assertEqual(der, of_client().public_bytes(Encoding.DER))
        self.assertIn(("IP Address", "2001:DB8:0:0:0:0:0:1"), shown["subjectAltName"])
        self.assertIn((("commonName", "a client"),), shown["subject"])


class ReadingTests(ThreadTestCase):
    """What comes, and how long it is waited for."""

    def test_wakes(self) -> None:
        """A function that waits is woken by data, and by the end."""
        got: list[bytes] = []

        def function(stream: Any) -> None:
            while data := stream.recv(100):
                got.append(data)

        served = self.serve(function)
        link = served.connect()
        for number in range(20):
            served.until_waiting(number + 1)
            link.client.send(b"%d" % number)
        served.until_waiting(21)
        link.client.shutdown()
        served.until_returned()
        self.assertEqual(got, [b"%d" % number for number in range(20)])

    def test_timeout_set_meanwhile(self) -> None:
        """A timeout is that of the call: set while another thread waits, it holds from the next call on."""
        streams: list[Any] = []

        def function(stream: Any) -> bytes:
            streams.append(stream)
            data: bytes = stream.recv()
            served.loop.callFromThread(lambda: outcomes.append((data, attempt(stream.recv))))
            return data

        outcomes: list[Any] = []
        served = self.serve(function)
        link = served.connect()
        served.until_waiting()
        streams[0].settimeout(0)
        link.client.send(b"late")
        served.until(lambda: outcomes)
        self.assertEqual(outcomes, [(b"late", WANT_READ)])

    def test_default_timeout(self) -> None:
        """A module that sets C{socket.setdefaulttimeout} gets it, as it does with sockets."""
        self.addCleanup(socket.setdefaulttimeout, socket.getdefaulttimeout())
        socket.setdefaulttimeout(7.5)
        timeouts: list[Any] = []
        served = self.serve(lambda stream: timeouts.append(stream.gettimeout()))
        served.connect()
        served.until_returned()
        self.assertEqual(timeouts, [7.5])

    def test_reading_is_paused(self) -> None:
        """A function that does not read holds no more than its inbox; reading goes on when it has taken half of it."""
        go_on = threading.Event()
        sizes: list[int] = []

        def function(stream: Any) -> None:
            go_on.wait(PATIENCE)
            while data := stream.recv(10000):
                sizes.append(len(data))

        served = self.serve(function)
        link = served.connect()
        (protocol,) = served.factory.protocols
        total = 20 * INBOX_SIZE
        pieces = [b"x" * 16384] * (total // 16384)
        while pieces and link.socket.reading:
            link.client.send(pieces.pop())
            link.pump()
        self.assertTrue(pieces)
        self.assertLess(protocol.stream.pending(), INBOX_SIZE + READ_SIZE)
        go_on.set()
        while pieces:
            served.until(lambda: link.socket.reading)
            link.client.send(pieces.pop())
            link.pump()
        link.client.shutdown()
        served.until_returned()
        self.assertEqual(sum(sizes), total)

    def test_reset(self) -> None:
        """What came before a reset is read first; then each call is C{ConnectionResetError}, or C{BrokenPipeError}."""
        go_on = threading.Event()
        got: list[Any] = []

        def function(stream: Any) -> None:
            go_on.wait(PATIENCE)
            got.extend([stream.recv(), attempt(stream.recv), attempt(stream.recv), attempt(stream.send, b"x")])
            got.append(attempt(stream.unwrap))
            stream.shutdown(socket.SHUT_RDWR)

        served = self.serve(function)
        link = served.connect()
        link.client.send(b"last words")
        link.pump()
        link.reset()
        go_on.set()
        served.until_returned()
        reset = (ConnectionResetError, errno.ECONNRESET)
        self.assertEqual(got, [b"last words", reset, reset, EPIPE, reset])

    def test_reset_wakes(self) -> None:
        """A function that waits hears of a reset, and may let the error through: that is no fault of its own."""
        served = self.serve(lambda stream: stream.recv())
        link = served.connect()
        served.until_waiting()
        link.reset()
        served.until_returned()
        (failure,) = served.factory.returned
        self.assertIs(failure.type, ConnectionResetError)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_resume_when_lost(self) -> None:
        """To read on when the connection is gone meanwhile does no harm."""
        go_on = threading.Event()
        got: list[bytes] = []

        def function(stream: Any) -> None:
            go_on.wait(PATIENCE)
            while data := stream.recv():
                got.append(data)

        served = self.serve(function)
        link = served.connect()
        link.client.sendall(b"x" * INBOX_SIZE)
        link.pump()
        self.assertFalse(link.socket.reading)
        link.reset()
        go_on.set()
        served.until_returned()
        self.assertEqual(len(b"".join(got)), INBOX_SIZE)

    def test_tls_fails(self) -> None:
        """A peer whose records are forged is an C{ssl.SSLError}, and no traceback."""
        served = self.serve(lambda stream: stream.recv())
        link = served.connect()
        served.until_waiting()
        link.to_server(b"\x17\x03\x03\x00\x20" + bytes(32))
        link.fin()
        served.loop.until(lambda: served.factory.returned)
        (failure,) = served.factory.returned
        self.assertIs(failure.type, ssl.SSLError)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_we_abort(self) -> None:
        """Where the service drops the connection the function gets C{ConnectionAbortedError}."""
        served = self.serve(lambda stream: stream.recv())
        served.connect()
        served.until_waiting()
        (protocol,) = served.factory.protocols
        protocol.transport.abortConnection()  # type: ignore[union-attr]
        served.until_returned()
        self.assertIs(served.factory.returned[0].type, ConnectionAbortedError)


class WritingTests(ThreadTestCase):
    """What is sent, and how much of it may wait."""

    def test_peer_that_does_not_read(self) -> None:
        """C{sendall} waits while the peer does not read; what is held is bounded, and all of it arrives."""
        total = 30 * OUTBOX_SIZE

        def function(stream: Any) -> None:
            stream.sendall(b"x" * total)

        served = self.serve(function)
        link = served.connect()
        link.socket.peer_reads = False
        served.until(lambda: link.socket.producer_paused and served.factory.waits)
        self.assertLess(len(link.socket.buffer), BOUND)
        while not served.factory.returned:
            link.socket.peer_reads = True
            link.socket.flush()
            link.socket.peer_reads = False
            served.until(lambda: link.socket.producer_paused or served.factory.returned)
            self.assertLess(len(link.socket.buffer), BOUND)
        link.socket.peer_reads = True
        link.socket.flush()
        served.pump()
        self.assertEqual(len(link.received), total)
        self.assertTrue(link.peer_finished)

    def test_pieces(self) -> None:
        """One C{send} takes no more than what may wait, and says how much it was; what follows keeps its order."""
        sent: list[int] = []

        def function(stream: Any) -> None:
            sent.append(stream.send(b"a" * (OUTBOX_SIZE + 1)))
            stream.sendall(b"b" * OUTBOX_SIZE * 3)
            stream.sendall(b"c")

        served = self.serve(function)
        link = served.connect()
        served.until_returned()
        self.assertEqual(sent, [OUTBOX_SIZE])
        self.assertEqual(bytes(link.received), b"a" * OUTBOX_SIZE + b"b" * OUTBOX_SIZE * 3 + b"c")

    def test_without_room(self) -> None:
        """Where there is no room C{send} raises what its timeout says; a send of nothing needs no room."""
        got: list[Any] = []

        def function(stream: Any) -> None:
            stream.settimeout(0)
            while (last := attempt(stream.send, b"x" * OUTBOX_SIZE)) == OUTBOX_SIZE:
                pass
            stream.settimeout(0.01)
            got.extend([last, attempt(stream.send, b"x"), stream.send(b"")])

        served = self.serve(function)
        served.connect().socket.peer_reads = False
        served.until_returned()
        self.assertEqual(got, [(ssl.SSLWantWriteError, ssl.SSL_ERROR_WANT_WRITE), TIMED_OUT, 0])

    def test_peer_goes_away(self) -> None:
        """A function that waits for room hears that the peer is gone: C{BrokenPipeError}, and no traceback."""
        served = self.serve(lambda stream: stream.sendall(b"x" * 30 * OUTBOX_SIZE))
        link = served.connect()
        link.socket.peer_reads = False
        served.until(lambda: link.socket.producer_paused and served.factory.waits)
        link.reset()
        served.until_returned()
        self.assertIs(served.factory.returned[0].type, BrokenPipeError)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_files(self) -> None:
        """What is written to a file arrives when it is flushed, closed, or forgotten."""

        def function(stream: Any) -> None:
            with stream.makefile("w", encoding="utf-8", newline="\r\n") as file:
                print("eins\nzwö", file=file)
            stream.makefile("wb", buffering=0).write(b"raw ")
            stream.makefile("wb").write(b"forgotten")

        served = self.serve(function)
        link = served.connect()
        served.until_returned()
        self.assertEqual(bytes(link.received), b"eins\r\nzw\xc3\xb6\r\nraw forgotten")


class EndingTests(ThreadTestCase):
    """How a connection ends."""

    def test_documented_end(self) -> None:
        """C{shutdown(SHUT_RDWR)} and C{close}, as the documentation's loop ends: all that was sent arrives."""

        def function(stream: Any) -> None:
            try:
                stream.sendall(b"x" * 100000)
            finally:
                stream.shutdown(socket.SHUT_RDWR)
                stream.close()

        served = self.serve(function)
        link = served.connect()
        served.until_returned()
        self.assertEqual(len(link.received), 100000)
        self.assertTrue(link.peer_finished)
        link.client.shutdown()
        link.pump()
        link.fin()
        self.assertIsNotNone(link.socket.lost)
        self.assertEqual(served.factory.returned, [None])

    def test_end_without_return(self) -> None:
        """C{close} ends the connection while its function goes on."""
        go_on = threading.Event()

        def function(stream: Any) -> None:
            with stream:
                stream.sendall(b"done")
            go_on.wait(PATIENCE)

        served = self.serve(function)
        link = served.connect()
        served.until(lambda: link.peer_finished)
        self.assertEqual((bytes(link.received), served.factory.returned), (b"done", []))
        go_on.set()
        served.until_returned()

    def check_close_notify(self, function: Callable[[Any], object], client_first: bool) -> None:
        """The client has close_notify while the function goes on."""
        go_on = threading.Event()

        def lingering(stream: Any) -> None:
            function(stream)
            go_on.wait(PATIENCE)

        served = self.serve(lingering)
        link = served.connect()
        if client_first:
            link.client.shutdown()
        served.until(lambda: link.peer_finished)
        self.assertEqual(served.factory.returned, [])
        go_on.set()
        served.until_returned()

    def test_our_close_notify_goes_out_at_once(self) -> None:
        """C{shutdown(SHUT_WR)} sends close_notify while its function goes on."""
        self.check_close_notify(lambda stream: stream.shutdown(socket.SHUT_WR), client_first=False)

    def test_our_close_notify_after_the_clients(self) -> None:
        """So it does when the client has sent its own before."""
        self.check_close_notify(lambda stream: stream.recv() or stream.shutdown(socket.SHUT_WR), client_first=True)

    def test_reading_after_our_close_notify(self) -> None:
        """After C{shutdown(SHUT_WR)} what the client still says is read."""
        got: list[bytes] = []

        def function(stream: Any) -> None:
            stream.sendall(b"question?")
            stream.shutdown(socket.SHUT_WR)
            while data := stream.recv():
                got.append(data)

        served = self.serve(function)
        link = served.connect()
        served.until(lambda: link.peer_finished)
        link.client.send(b"answer")
        link.client.shutdown()
        served.until_returned()
        self.assertEqual((bytes(link.received), b"".join(got)), (b"question?", b"answer"))

    def test_shut_for_reading_takes_nothing(self) -> None:
        """After C{shutdown(SHUT_RD)} what comes is thrown away and holds nothing; sending goes on."""
        go_on, through = threading.Event(), threading.Event()
        held: list[Any] = []

        def function(stream: Any) -> None:
            go_on.wait(PATIENCE)
            stream.shutdown(socket.SHUT_RD)
            served.loop.callFromThread(held.append, None)
            through.wait(PATIENCE)
            held.append((stream.recv(), stream.pending()))
            stream.sendall(b"still here")

        served = self.serve(function)
        link = served.connect()
        link.client.sendall(b"x" * INBOX_SIZE)
        link.pump()
        self.assertFalse(link.socket.reading)
        go_on.set()
        served.until(lambda: held)
        for _ in range(10):
            self.assertTrue(link.socket.reading)
            link.client.send(b"x" * 16384)
            link.pump()
        through.set()
        served.until_returned()
        self.assertEqual((held[1], bytes(link.received)), ((b"", 0), b"still here"))

    def test_unwrap(self) -> None:
        """C{unwrap} waits for the client's close_notify, and throws away what comes before it."""
        got: list[Any] = []

        def function(stream: Any) -> None:
            got.append(stream.unwrap() is stream)
            got.append(stream.recv())
            stream.unwrap().close()

        served = self.serve(function)
        link = served.connect()
        served.until(lambda: link.peer_finished and served.factory.waits)
        link.client.send(b"not heard")
        link.client.shutdown()
        served.until_returned()
        self.assertIsNone(served.factory.returned[0])
        self.assertEqual(got, [True, b""])

    def test_unwrap_tells_of_a_cut(self) -> None:
        """C{unwrap} raises where the client ends without close_notify: who calls it wants to know."""
        served = self.serve(lambda stream: stream.unwrap())
        link = served.connect()
        served.until_waiting()
        link.fin()
        served.until_returned()
        self.assertIs(served.factory.returned[0].type, ssl.SSLEOFError)
        self.assertEqual(self.flushLoggedErrors(), [])

    def left_behind(self, closes: bool) -> list[Any]:
        """What a thread gets that waits while the function that has started it ends."""
        waiting = threading.Event()
        threads: list[threading.Thread] = []
        got: list[Any] = []

        def function(stream: Any) -> None:
            threads.append(threading.Thread(target=lambda: got.append(attempt(stream.recv))))
            threads[0].start()
            waiting.wait(PATIENCE)
            if closes:
                stream.close()
                threads[0].join(PATIENCE)

        served = self.serve(function)
        served.connect()
        served.until_waiting()
        waiting.set()
        served.until_returned()
        threads[0].join(PATIENCE)
        return got

    def test_close_wakes_another_thread(self) -> None:
        """A thread that waits when another closes the connection gets C{EBADF}."""
        self.assertEqual(self.left_behind(closes=True), [EBADF])

    def test_return_wakes_another_thread(self) -> None:
        """So does one that outlives its function."""
        self.assertEqual(self.left_behind(closes=False), [EBADF])

    def test_detach(self) -> None:
        """The socket cannot be taken away from the service."""
        got: list[Any] = []
        served = self.serve(lambda stream: got.append(attempt(stream.detach)))
        served.connect()
        served.until_returned()
        self.assertEqual(got, [(io.UnsupportedOperation, None)])


class TextTests(ThreadTestCase):
    """The errors' texts."""

    def test_texts(self) -> None:
        """An error says what the system's own would say."""
        got: list[str] = []

        def function(stream: Any) -> None:
            stream.settimeout(0.001)
            for _ in range(2):
                try:
                    stream.recv()
                except OSError as error:
                    got.append(str(error))
                    stream.close()

        served = self.serve(function)
        served.connect()
        served.until_returned()
        self.assertEqual(got, ["The read operation timed out", f"[Errno {errno.EBADF}] {os.strerror(errno.EBADF)}"])
