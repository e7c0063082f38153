"""
What a server says first, to whom it has been said already.

A client that has begun with STARTTLS goes on where it was: it has had its greeting, from us and in the clear. The
backend that it is joined with knows nothing of that, and greets. Its greeting is kept from the client, and until it is
there nothing of the client's may reach the backend: who speaks to a server of SMTP before that has greeted is taken for
a sender of spam.

A greeting that says no is not kept: it is a good answer to the command that the client has sent in the meantime.
"""

from __future__ import annotations

import re

from mytls.errors import Cause, TLSFailure
from mytls.preludes.dialogue import MAX_BYTES

#: How a line of a greeting begins that says yes, and how the last of them does.
_YES = {
    "smtp": (re.compile(rb"220[- \r\n]"), re.compile(rb"220[ \r\n]")),
    "imap": (re.compile(rb"\* OK[ \r\n]", re.IGNORECASE),) * 2,
    "pop3": (re.compile(rb"\+OK[ \r\n]", re.IGNORECASE),) * 2,
}


class Greeting:
    """
    A backend's first words.

    @ivar done: whether there is nothing to be waited for any more: what comes is the client's, what the client says
        is the backend's
    """

    __slots__ = ("_kept", "_received", "_yes", "done")

    def __init__(self, protocol: str) -> None:
        """@param protocol: one that has no greeting, or greets after TLS too, is done from the start"""
        self._yes = _YES.get(protocol)
        self._received = bytearray()
        self._kept = 0
        self.done = self._yes is None

    def swallow(self, data: bytes) -> bytes:
        """
        Take the next bytes of the backend.

        @return: what of them is for the client
        @raise TLSFailure: the backend says much and does not greet, by L{Cause.BACKEND_REFUSED}
        """
        self._received += data
        while not self.done and (size := self._received.find(b"\n") + 1):
            self._line(size)
        if self.done:
            rest, self._received = bytes(self._received), bytearray()
            return rest
        if self._kept + len(self._received) > MAX_BYTES:
            raise TLSFailure(Cause.BACKEND_REFUSED, f"the backend has said {MAX_BYTES} bytes and not greeted")
        return b""

    def _line(self, size: int) -> None:
        assert self._yes is not None
        some, last = self._yes
        if not some.match(self._received):
            self.done = True
            return
        self.done = last.match(self._received) is not None
        self._kept += size
        del self._received[:size]
