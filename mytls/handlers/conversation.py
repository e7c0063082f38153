"""
One client and its program.

Whoever is slower pauses the other, so what is held is bounded by two buffers. The client's end of input is the
program's, and the end of the program's output is the client's. When the program and its output have ended, the
connection is closed after all of it was sent; where it has failed, without a goodbye, since what the client got may be
half an answer. A client that goes in the middle must not look like one that has said all: its program hears of no end
of input, but is asked to end (TERM), and made to (KILL) when the close deadline is over, and with it all that it has
started.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from enum import Enum
from typing import Any
from typing import Protocol as TypingProtocol

from twisted.internet.interfaces import IAddress, IDelayedCall, IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mytls.addresses import address_text
from mytls.errors import Cause, TLSFailure, one_line, visible
from mytls.handlers.command import Command
from mytls.handlers.complaints import Complaints
from mytls.handlers.process import Process
from mytls.handlers.splice import LINGER, abort, end_writing
from mytls.interfaces import IEndable
from mytls.peer import Peer

_log = Logger()

#: Seconds between the end of a program's output and its exit status, within which the client waits to hear of both.
EXIT_GRACE = 0.5


class Starter(TypingProtocol):
    """
    Who starts the program of a conversation.

    @ivar command: what is started
    @ivar close: seconds that it has to end when it is asked to; 0 is for ever
    """

    reactor: Any
    command: Command
    close: float

    def start(self, conversation: Conversation, peer: Peer, local: IAddress | None) -> Process:
        """
        Start it.

        @raise OSError: the system cannot
        @raise TLSFailure: there are too many
        """

    def ended(self, conversation: Conversation) -> None:
        """It has ended, and all that it has started."""


class Phase(Enum):
    """How it stands with the client."""

    OPEN = "open"
    #: All was written that the program had to say.
    CLOSING = "closing"
    GONE = "gone"


@implementer(IHalfCloseableProtocol, IPushProducer, IEndable)
class Conversation(Protocol):
    """
    One client and its program.

    It is the producer of the program's input, and the owner of the process.
    """

    transport: Any

    def __init__(self, starter: Starter) -> None:
        self._starter = starter
        self.phase = Phase.OPEN
        self._process: Process | None = None
        self._said_all = False
        self._heard_all = False
        self._status: int | None = None
        self._asked_to_end = False
        self._cut_off = False
        self._draining = False
        self._timer: IDelayedCall | None = None

    # --- what the client's transport tells

    def connectionMade(self) -> None:
        """Start the program."""
        transport, starter = self.transport, self._starter
        peer = getattr(transport, "peer", None) or Peer(transport.getPeer())
        self._whose = visible(address_text(peer.address), 200)
        self._complaints = Complaints(starter.reactor, self._say)
        try:
            self._process = process = starter.start(self, peer, transport.getHost())
        except OSError as error:
            self._say(f"it cannot be started: {one_line(error.strerror or str(error))}")
            self._give_up("the program could not be started")
            return
        except TLSFailure as failure:
            if not hasattr(transport, "end_because"):  # which has no line of its own with the cause
                self._say(failure.detail)
            self._give_up(failure.detail, failure.cause)
            return
        process.input.registerProducer(self, True)
        transport.registerProducer(process.output, True)

    def dataReceived(self, data: bytes) -> None:
        """For the program; where it reads no more, for nobody."""
        if self._process is not None and self.phase is Phase.OPEN:
            self._process.input.write(data)

    def readConnectionLost(self) -> None:
        """The client has said all; it may still want to hear."""
        self._said_all = True
        if self._process is not None:
            self._process.input.end()

    def writeConnectionLost(self) -> None:
        """Our direction has ended."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone: nobody needs its program any more."""
        self.phase = Phase.GONE
        self._stop_timer()
        process = self._process
        if process is None:
            return
        process.input.unregisterProducer()
        process.output.resumeProducing()
        if self._draining and self._status is None:  # its time was up
            self.kill()
        elif self._said_all and self._heard_all:  # both have said all: the program may finish what it does with that
            self._set_timer(self._starter.close, self._terminate, self._starter.close)
        else:
            self._terminate(self._starter.close)

    def end(self) -> None:
        """The program has half the close deadline to finish by itself, and the other half after it was asked to."""
        self._draining = True
        if self.phase is not Phase.OPEN:
            return
        self.readConnectionLost()
        half = self._starter.close / 2
        self._set_timer(half, self._terminate, half)

    # --- what the program's input asks

    def pauseProducing(self) -> None:
        """The program reads more slowly than the client writes."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """It has read; a socket that has ended would tell its end once more."""
        if not self._said_all and self.phase is Phase.OPEN:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """It has closed its input. What the client still says is thrown away, and its end is heard."""
        self.resumeProducing()

    # --- what the process tells

    def output_came(self, data: bytes) -> None:
        """For the client."""
        if self.phase is Phase.OPEN:
            self.transport.write(data)

    def complaint_came(self, data: bytes) -> None:
        """For the log."""
        self._complaints.feed(data)

    def output_ended(self) -> None:
        """The client has got all, when it has read it. Whether it was the whole answer, the exit status says."""
        self._heard_all = True
        if self._status is not None:
            self._close()
        elif self.phase is Phase.OPEN:
            self._set_timer(EXIT_GRACE, end_writing, self.transport)

    def exited(self, status: int) -> None:
        """The program has ended; what it has started may still speak for it, for a while."""
        self._status = status
        if status and not self._asked_to_end:
            self._say(f"it ended with {_ending(status)}")
        if self._heard_all:
            self._close()
        elif self.phase is Phase.OPEN and not self._draining:
            self._set_timer(self._starter.close, self._stop_listening)

    def gone(self) -> None:
        """Nothing is left of it."""
        self._complaints.end()
        self._process = None
        self._starter.ended(self)
        if self.phase is Phase.GONE:
            self._stop_timer()

    # --- the end

    def kill(self) -> None:
        """End the program at once."""
        self._asked_to_end = self._cut_off = True
        if self._process is not None:
            self._process.kill()

    def _terminate(self, seconds: float) -> None:
        """Ask it to end, and make it when the time is over."""
        self._asked_to_end = True
        if self._process is not None:
            self._process.terminate()
            self._set_timer(seconds, self.kill)

    def _stop_listening(self) -> None:
        """What the program has left behind still holds its output, and may do so for ever."""
        self._cut_off = True
        self._terminate(self._starter.close)

    def _close(self) -> None:
        """All is written: end the connection, when all is sent. Whoever does not read it in time is cut off."""
        if self.phase is not Phase.OPEN:
            return
        self.transport.unregisterProducer()
        if self._status:
            self._give_up(f"the program ended with {_ending(self._status)}")
        elif self._cut_off:
            self._give_up("the program was ended")
        else:
            self._linger(self.transport.loseConnection)

    def _give_up(self, why: str, cause: Cause = Cause.HANDLER) -> None:
        """End the connection so that the client does not take what it got for a whole answer."""
        transport = self.transport
        if hasattr(transport, "end_because"):
            self._linger(transport.end_because, cause, why)
        elif self._status is not None and self._status > 0:  # plain TCP would lose what it has not read yet
            self._linger(transport.loseConnection)
        else:
            self._linger(abort, transport)

    def _linger(self, end: Callable[..., None], *arguments: Any) -> None:
        self.phase = Phase.CLOSING
        self._set_timer(LINGER, abort, self.transport)
        end(*arguments)

    def _say(self, text: str) -> None:
        process = self._process
        _log.warn(
            "{program}[{pid}] for {whose}: {text}",
            program=one_line(self._starter.command.program),
            pid="-" if process is None else process.pid,
            whose=self._whose,
            text=text,
        )

    # --- its timer

    def _set_timer(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        """@param seconds: 0 is never"""
        self._stop_timer()
        if seconds:
            self._timer = self._starter.reactor.callLater(seconds, call, *arguments)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


def _ending(status: int) -> str:
    """An exit status, or a signal, in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:  # those in real time have no names
        return f"signal {-status}"
