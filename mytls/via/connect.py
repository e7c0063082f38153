"""
An HTTP proxy, asked for a tunnel (RFC 9110 section 9.3.6): bytes in, bytes out.

What HTTP is, h11 knows. Its answer may be as long as is common for the headers of servers. Nothing may stand behind
that where the server speaks when we have said hello: what comes before is the proxy's.
"""

from __future__ import annotations

from base64 import b64encode

import h11

from mytls.destinations import Login, authority_of
from mytls.errors import Cause, TLSFailure, visible

#: The longest answer of a proxy, in bytes, with all that it says before.
LONGEST = 16 * 1024

_GATEWAY_TIMEOUT = 504


class Connect:
    """
    The talk with one proxy for one tunnel.

    @ivar done: whether the tunnel is there
    @ivar rest: what the server has said by then
    """

    def __init__(self, host: str, port: int, login: Login | None, *, server_begins: bool = False) -> None:
        """
        @param login: said at once, as RFC 9110 section 11.7.1 lets us
        @param server_begins: whether the server may speak before us
        """
        self.done = False
        self.rest = b""
        self._server_begins = server_begins
        self._to = authority_of(host, port).encode("ascii")
        self._login = login
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=LONGEST)
        self._room = LONGEST

    def begin(self) -> bytes:
        """The request."""
        headers = [(b"Host", self._to)]
        if self._login is not None:
            pair = b64encode(self._login.user + b":" + self._login.password)  # RFC 7617 section 2
            headers.append((b"Proxy-Authorization", b"Basic " + pair))
        request = self._connection.send(h11.Request(method=b"CONNECT", target=self._to, headers=headers))
        return (request or b"") + (self._connection.send(h11.EndOfMessage()) or b"")

    def feed(self, data: bytes) -> bytes:
        """
        Take what the proxy says next; look at C{done} then.

        @return: what is to be said to it, which is nothing
        @raise TLSFailure: there will be no tunnel
        """
        taken, more = data[: self._room], data[self._room :]
        self._room -= len(taken)
        try:
            self._connection.receive_data(taken)
            answer = self._answer()
        except h11.RemoteProtocolError:
            raise _refused(f'the proxy does not speak HTTP: it says "{_in_words(data)}"') from None
        if answer is not None:
            self._judge(answer, more)
        elif not self._room:
            raise _refused(f"the proxy's answer is longer than {LONGEST} bytes")
        return b""

    def _answer(self) -> h11.Response | None:
        """The final one, if it is there; those before it are only about its being on the way."""
        while True:
            event = self._connection.next_event()
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                return None

    def _judge(self, answer: h11.Response, more: bytes) -> None:
        """Each status of success is one: section 9.3.6 again."""
        status = answer.status_code
        if not 200 <= status < 300:
            cause = Cause.BACKEND_TIMEOUT if status == _GATEWAY_TIMEOUT else Cause.BACKEND_REFUSED
            raise TLSFailure(cause, f'the proxy answers {status} "{_in_words(answer.reason)}"')
        self.rest = self._connection.trailing_data[0] + more
        if self.rest and not self._server_begins:
            raise _refused("there is more behind the proxy's answer")
        self.done = True


def _refused(detail: str) -> TLSFailure:
    return TLSFailure(Cause.BACKEND_REFUSED, detail)


def _in_words(sent: bytes) -> str:
    """What a proxy says, between quotation marks; spaces are no harm there."""
    return visible(bytes(sent)).replace(r"\x20", " ")
