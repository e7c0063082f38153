"""
What a connection begins with: the PROXY header of whoever has passed it on, where one is due; what is said in the clear
until a client asks for TLS, where that is the way; and the ClientHello.

Bytes in, values out, in pieces of any size. A header that is not due is refused where the next bytes are read.
"""

from __future__ import annotations

from collections.abc import Callable

from mytls.errors import Cause, TLSFailure
from mytls.preludes.dialogue import Dialogue, PreludeFailure
from mytls.proxyheader import ProxyHeader
from mytls.proxyreader import ProxyHeaderReader
from mytls.tls.hello import ClientHello, HelloReader, NoHelloReader


class Beginning:
    """
    Collects bytes until the ClientHello in them is whole.

    @ivar begun: whether any have come
    """

    __slots__ = ("_dialogue", "_header", "_hello", "_told", "_write", "begun")

    def __init__(
        self,
        told: Callable[[ProxyHeader], object] | None = None,
        dialogue: Dialogue | None = None,
        write: Callable[[bytes], object] = lambda data: None,
        *,
        plain: bool = False,
    ) -> None:
        """
        @param told: is given the header, before anything behind it is looked at; raises L{TLSFailure} where that is the
            end. None where no header is due
        @param dialogue: ends where TLS begins; None where it begins at once
        @param write: is given what is said in it
        @param plain: whether there is no TLS: then the ClientHello is L{NO_HELLO}, and nothing is waited for
        """
        self._told = told
        self._header = None if told is None else ProxyHeaderReader()
        self._dialogue = dialogue
        self._write = write
        self._hello = NoHelloReader() if plain else HelloReader()
        self.begun = False

    def begin(self) -> None:
        """Somebody has connected. Who it is has to be known before anything is said."""
        if self._header is None:
            self._greet()

    @property
    def has_header(self) -> bool:
        """Whether a header is due that has not come yet."""
        return self._header is not None

    @property
    def received(self) -> bytes:
        """What there is of TLS, for OpenSSL to read again."""
        return bytes(self._hello.received)

    def feed(self, data: bytes) -> ClientHello | None:
        """
        Take the next bytes of the connection.

        @return: the ClientHello, once it is whole
        @raise TLSFailure: it goes no further; nothing more is to be fed
        """
        self.begun = True
        if self._header is not None:
            rest = self._past_header(self._header, data)
            if rest is None:
                return None
            data = rest
        if self._dialogue is not None:
            data = self._talk(self._dialogue, data)
        return self._hello.feed(data)

    @property
    def awaited(self) -> str:
        """What has not come whole yet, in words."""
        if self._header is not None:
            return "its PROXY header"
        return "what asks for TLS" if self._dialogue is not None else "its ClientHello"

    def cut(self) -> TLSFailure:
        """What was wrong with an end here. Who has said nothing at all has only looked whether somebody listens."""
        if self._header is not None and self.begun:
            return TLSFailure(Cause.PROXY_HEADER, "the connection ended before its PROXY header was whole")
        what = "it asked for TLS" if self._dialogue is not None else "its ClientHello was whole"
        return TLSFailure(Cause.EOF, f"the peer closed the connection before {what}")

    def _past_header(self, reader: ProxyHeaderReader, data: bytes) -> bytes | None:
        """What is behind the header, once that is whole."""
        header = reader.feed(data)
        if header is None:
            return None
        self._header = None
        assert self._told is not None
        self._told(header)
        self._greet()
        return reader.rest

    def _greet(self) -> None:
        if self._dialogue is not None:
            self._say(self._dialogue.begin())

    def _talk(self, dialogue: Dialogue, data: bytes) -> bytes:
        """Go on with it. @return: what is TLS's"""
        try:
            answer = dialogue.feed(data)
        except PreludeFailure as failure:
            self._say(failure.answer)
            raise
        self._say(answer)
        if dialogue.done:
            self._dialogue = None
        return dialogue.rest

    def _say(self, data: bytes) -> None:
        if data:
            self._write(data)
