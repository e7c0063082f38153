"""
A SOCKS 5 proxy, asked for a connection (RFC 1928, RFC 1929): bytes in, bytes out.

What its messages look like, socksio knows; not where one ends that comes in pieces, and it is not curious whether more
stands behind it. The proxy never speaks ahead, so whatever does is refused; but for the last message, with which the
first words of a server may come that speaks before us.
"""

from __future__ import annotations

from typing import Any

from socksio import (
    SOCKS5AuthMethod,
    SOCKS5AuthMethodsRequest,
    SOCKS5Command,
    SOCKS5CommandRequest,
    SOCKS5Connection,
    SOCKS5ReplyCode,
    SOCKS5UsernamePasswordRequest,
)
from socksio.exceptions import ProtocolError
from socksio.socks5 import SOCKS5State

from mytls.destinations import Login
from mytls.errors import Cause, TLSFailure

#: The first byte of a message, by what is waited for.
_VERSIONS = {
    SOCKS5State.SERVER_AUTH_REPLY: 5,
    SOCKS5State.SERVER_VERIFY_USERNAME_PASSWORD: 1,
    SOCKS5State.CLIENT_AUTHENTICATED: 5,
}
#: The size of the last reply, by its kind of address (RFC 1928 section 6): IPv4, IPv6. A name has its own length.
_SIZES = {1: 4 + 4 + 2, 4: 4 + 16 + 2}
_NAME = 3

#: What the proxy says of a connection that it has not made (RFC 1928 section 6).
WORDS = {
    SOCKS5ReplyCode.GENERAL_SERVER_FAILURE: "general SOCKS server failure",
    SOCKS5ReplyCode.CONNECTION_NOT_ALLOWED_BY_RULESET: "connection not allowed by ruleset",
    SOCKS5ReplyCode.NETWORK_UNREACHABLE: "network unreachable",
    SOCKS5ReplyCode.HOST_UNREACHABLE: "host unreachable",
    SOCKS5ReplyCode.CONNECTION_REFUSED: "connection refused",
    SOCKS5ReplyCode.TTL_EXPIRED: "TTL expired",
    SOCKS5ReplyCode.COMMAND_NOT_SUPPORTED: "command not supported",
    SOCKS5ReplyCode.ADDRESS_TYPE_NOT_SUPPORTED: "address type not supported",
}


class Socks5:
    """
    The talk with one proxy for one connection. A name is sent as a name: the proxy looks it up.

    @ivar done: whether the connection is there
    @ivar rest: what the server has said by then
    """

    def __init__(self, host: str, port: int, login: Login | None, *, server_begins: bool = False) -> None:
        """@param server_begins: whether the server may speak before us"""
        self.done = False
        self.rest = b""
        self._server_begins = server_begins
        self._to = host, port
        self._login = login
        self._connection = SOCKS5Connection()
        self._received = bytearray()

    def begin(self) -> bytes:
        """How we could log in."""
        return self._say(SOCKS5AuthMethodsRequest(self._methods))

    def feed(self, data: bytes) -> bytes:
        """
        Take what the proxy says next; look at C{done} then.

        @return: what is to be said to it
        @raise TLSFailure: there will be no connection
        """
        received = self._received
        received += data
        if received[0] != _VERSIONS[self._connection.state]:
            raise _refused("the proxy does not speak SOCKS 5")
        size = self._size()
        if len(received) < size:
            return b""
        message, more = bytes(received[:size]), bytes(received[size:])
        last = self._connection.state is SOCKS5State.CLIENT_AUTHENTICATED
        if more and not (last and self._server_begins):
            raise _refused("there is more behind the proxy's answer")
        received.clear()
        self.rest = more
        return self._heard(message)

    @property
    def _methods(self) -> list[SOCKS5AuthMethod]:
        none, password = SOCKS5AuthMethod.NO_AUTH_REQUIRED, SOCKS5AuthMethod.USERNAME_PASSWORD
        return [none] if self._login is None else [none, password]

    def _size(self) -> int:
        """How long the message is that has begun, or how much of it is needed to know."""
        received = self._received
        if self._connection.state is not SOCKS5State.CLIENT_AUTHENTICATED:
            return 2
        if len(received) > 1 and received[1]:  # of a failure some send no more than this
            raise _refused(f"the proxy says: {_in_words(received[1])}")
        if len(received) < 5:
            return 5
        if received[3] == _NAME:
            return 4 + 1 + received[4] + 2
        if received[3] not in _SIZES:
            raise _malformed()
        return _SIZES[received[3]]

    def _heard(self, message: bytes) -> bytes:
        """One whole message."""
        match self._connection.state:
            case SOCKS5State.SERVER_AUTH_REPLY:
                if message[1:] not in self._methods:
                    another = "" if self._login is None else " other than a user's password"
                    raise _refused(f"the proxy wants a login{another}")
                self._take(message)
                return self._log_in() if message[1:] == SOCKS5AuthMethod.USERNAME_PASSWORD else self._ask()
            case SOCKS5State.SERVER_VERIFY_USERNAME_PASSWORD:
                if not self._take(message).success:
                    raise _refused("the proxy does not take this user and password")
                return self._ask()
        self._take(message)
        self.done = True
        return b""

    def _log_in(self) -> bytes:
        assert self._login is not None  # or it was not offered
        return self._say(SOCKS5UsernamePasswordRequest(self._login.user, self._login.password))

    def _ask(self) -> bytes:
        return self._say(SOCKS5CommandRequest.from_address(SOCKS5Command.CONNECT, self._to))

    def _say(self, request: Any) -> bytes:
        self._connection.send(request)
        return self._connection.data_to_send()

    def _take(self, message: bytes) -> Any:
        try:
            return self._connection.receive_data(message)
        except ProtocolError:
            raise _malformed() from None


def _in_words(code: int) -> str:
    try:
        return WORDS[SOCKS5ReplyCode(bytes((code,)))]
    except ValueError:
        return f"failure {code}"


def _refused(detail: str) -> TLSFailure:
    return TLSFailure(Cause.BACKEND_REFUSED, detail)


def _malformed() -> TLSFailure:
    return _refused("the proxy's answer is malformed")
