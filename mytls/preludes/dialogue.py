"""
What two ends say to each other in the clear before there is TLS: bytes in, bytes out, and never more than a little.

A protocol is a L{Script}: how its messages are told apart, and a generator that yields what is said and is sent each
message of the other end. Where the generator returns, it is agreed: the next byte is the first of the handshake.

Nothing that came in the clear may be taken for something that came under TLS. What has come behind the last message
of the agreement ends the connection (CVE-2011-0411), and nothing that was heard or said is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import attrs

from mytls.errors import Cause, TLSFailure

#: The longest message that is listened to, in bytes, where the protocol says nothing else. SMTP has lines of 512 (RFC
#: 5321 section 4.5.3.1.4), POP3 of 255 (RFC 2449 section 4), IMAP for commands such as these of 1000 (RFC 2683
#: section 3.2.1.5).
MAX_MESSAGE = 1024
#: All that is listened to before TLS, in bytes and in messages of a client.
MAX_BYTES = 8192
MAX_COMMANDS = 20

#: The first byte of a record with a handshake message in it (RFC 8446 section 5.1).
_HANDSHAKE = b"\x16"

#: Yields what is said, is sent what was heard, returns what is said last.
Steps = Generator[bytes, bytes, bytes]


@attrs.frozen(eq=False)
class PreludeFailure(TLSFailure):
    """
    There will be no TLS on this connection.

    @ivar answer: what still is to be written: the answers to what came before, and the protocol's own error
    """

    answer: bytes = b""


class Amiss(Exception):
    """What was heard does not belong here; the script's complaint says so to the other end. The text is of our own."""


def _silence(text: str) -> bytes:
    return b""


@attrs.frozen
class Script:
    """
    One end of a protocol, on one connection.

    @ivar frame: of what has come, how long its first message is; None where that is not whole. May raise L{Amiss}
    @ivar steps: what this end says. May raise L{Amiss}, and L{PreludeFailure} where there are better last words
    @ivar complaint: the protocol's own last words, with this text in them; a client says nothing
    @ivar longest: the longest message, in bytes
    @ivar most: the most messages
    @ivar direct: whether the other end may begin with its handshake at once
    @ivar welcome: what a server of this protocol says first, and says before TLS only
    """

    frame: Callable[[bytearray], int | None]
    steps: Steps
    complaint: Callable[[str], bytes] = _silence
    longest: int = MAX_MESSAGE
    most: int = MAX_COMMANDS
    direct: bool = False
    welcome: bytes = b""


class Dialogue:
    """
    One connection, until TLS begins on it.

    @ivar done: whether it is agreed: what is fed next is for TLS
    @ivar rest: what has come of the handshake already, where the other end has begun with it at once
    @ivar welcome: see L{Script}
    """

    __slots__ = ("_heard", "_messages", "_received", "_script", "done", "rest", "welcome")

    def __init__(self, script: Script) -> None:
        self.done = False
        self.rest = b""
        self.welcome = script.welcome
        self._script = script
        self._received = bytearray()
        self._heard = self._messages = 0

    def begin(self) -> bytes:
        """What is to be written before anything is read."""
        return next(self._script.steps)

    def feed(self, data: bytes) -> bytes:
        """
        Take the next bytes of the connection.

        @return: what is to be written; look at C{done} then
        @raise PreludeFailure: there will be no TLS; write its C{answer}, close, and feed nothing more
        """
        assert not self.done, "what comes now is for TLS"
        self._received += data
        if self._script.direct and not self._messages and self._received.startswith(_HANDSHAKE):
            self.done, self.rest = True, bytes(self._received)
            return b""
        said = bytearray()
        try:
            for message in iter(self._message, None):
                said += self._step(message)
        except PreludeFailure as failure:
            raise attrs.evolve(failure, answer=bytes(said) + failure.answer) from None
        return bytes(said)

    def _message(self) -> bytes | None:
        """The next one; None where it is not whole, or where there is none to come."""
        if self.done:
            return None
        size = self._size(self._received)
        if size is None:
            return None
        self._heard += size
        self._messages += 1
        if self._heard > MAX_BYTES or self._messages > self._script.most:
            raise self._failure("too much is said before TLS")
        message = bytes(self._received[:size])
        del self._received[:size]
        return message

    def _size(self, received: bytearray) -> int | None:
        if received.startswith(_HANDSHAKE):
            raise self._failure("TLS begins before STARTTLS")
        longest = self._script.longest
        try:
            size = self._script.frame(received)
        except Amiss as error:
            raise self._failure(str(error)) from None
        if longest <= (len(received) if size is None else size - 1):
            raise self._failure(f"more than {longest} bytes in one message before TLS")
        return size

    def _step(self, message: bytes) -> bytes:
        try:
            return self._script.steps.send(message)
        except StopIteration as agreed:
            if self._received:
                raise self._failure("there is more in the clear behind STARTTLS") from None
            self.done = True
            return bytes(agreed.value)
        except Amiss as error:
            raise self._failure(str(error)) from None

    def _failure(self, detail: str) -> PreludeFailure:
        return PreludeFailure(Cause.NOT_TLS, detail, answer=self._script.complaint(detail))


def left(answer: bytes = b"") -> PreludeFailure:
    """The client says goodbye. @param answer: to which this is the answer"""
    return PreludeFailure(Cause.EOF, "the client has said goodbye before STARTTLS", answer=answer)


def refused(detail: str, answer: bytes = b"") -> PreludeFailure:
    """The other end does not agree, or speaks another protocol."""
    return PreludeFailure(Cause.NOT_TLS, detail, answer=answer)


def line(received: bytearray) -> int | None:
    """The first line of a text."""
    return received.find(b"\n") + 1 or None


def words(text: bytes, count: int) -> tuple[bytes, ...]:
    """
    So many words of a line, in capitals, the last with all that follows; what is missing is empty.

    Of clients' words these are compared and none is said again, so nothing is lost with their spelling.
    """
    found = text.strip().upper().split(None, count - 1)
    return (*found, *[b""] * (count - len(found)))
