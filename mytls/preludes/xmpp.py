"""
XMPP until STARTTLS (RFC 6120 section 5), at both ends of a client's stream.

What is between two tags is fed to the parser of XML as one piece, which ends with the tag: so it is known what has
come behind the tag that ends all this, and the parser never sees a tag in parts, which newer ones put off.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

import attrs

from mytls.errors import visible
from mytls.names import asked_name
from mytls.preludes.dialogue import Amiss, Script, Steps, left

_STREAMS, _TLS, _CLIENT = "http://etherx.jabber.org/streams", "urn:ietf:params:xml:ns:xmpp-tls", "jabber:client"
#: How the parser names elements: their namespace, a blank, their name.
_STREAM, _FEATURES, _START_TLS, _PROCEED = (
    f"{_STREAMS} stream",
    f"{_STREAMS} features",
    f"{_TLS} starttls",
    f"{_TLS} proceed",
)
_CLOSE = b"</stream:stream>"
_MALFORMED, _RESTRICTED, _NO_STREAM = (
    "this is no XML",
    "this is no XML that a stream may have in it",  # RFC 6120 section 11.1
    "this is no stream of a client of XMPP",
)
#: What is amiss, by the conditions of RFC 6120 section 4.9.3; anything else violates the policy.
_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"
_CONDITIONS = {_MALFORMED: "not-well-formed", _RESTRICTED: "restricted-xml", _NO_STREAM: "invalid-namespace"}
#: The tags of everything that a server may offer.
_MOST_TAGS = 200


def server(name: bytes) -> Script:
    """The server's end, of this name where the client does not say whom it looks for."""
    conversation = _Server(name.decode("ascii"))
    return Script(_tag, conversation.steps(), conversation.complaint)


def client(name: bytes) -> Script:
    """The client's end. @param name: the server's"""
    return Script(_tag, _ask(name.decode("ascii")), most=_MOST_TAGS)


def _tag(received: bytearray) -> int | None:
    return received.find(b">") + 1 or None


@attrs.frozen
class _Begun:
    """
    An element has begun.

    @ivar depth: how many elements are around it
    """

    depth: int
    name: str
    attributes: dict[str, str]


@attrs.frozen
class _Ended:
    """An element has ended."""

    depth: int
    name: str


class _Elements:
    """
    A stream's elements, as they begin and end.

    @ivar namespace: the last that was declared to be the default
    """

    def __init__(self) -> None:
        self.namespace = ""
        self._depth = 0
        self._events: list[_Begun | _Ended] = []
        self._parser = parser = expat.ParserCreate("UTF-8", " ")
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.StartNamespaceDeclHandler = self._declare
        parser.StartDoctypeDeclHandler = parser.CommentHandler = parser.ProcessingInstructionHandler = _restricted

    def of(self, piece: bytes) -> Iterator[_Begun | _Ended]:
        """What begins and ends with this piece. @raise Amiss: this is no XML, or none that a stream may have in it"""
        self._events.clear()
        try:
            self._parser.Parse(piece)
        except expat.ExpatError:
            raise Amiss(_MALFORMED) from None
        return iter(self._events)

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        self._events.append(_Begun(self._depth, name, attributes))
        self._depth += 1

    def _end(self, name: str) -> None:
        self._depth -= 1
        self._events.append(_Ended(self._depth, name))

    def _declare(self, prefix: str | None, uri: str | None) -> None:
        if not prefix:
            self.namespace = uri or ""


def _restricted(*_: object) -> None:
    raise Amiss(_RESTRICTED)


class _Server:
    """
    What a server says.

    It has one name here, and a client may ask for any: as the stream begins the server has the name that it is asked
    for (RFC 6120 section 4.7.1). Whether it is that one is the certificate's to say.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._opened = False

    def steps(self) -> Steps:
        """Until the client wants TLS."""
        elements, answer = _Elements(), b""
        while True:
            events, answer = elements.of((yield answer)), b""
            for event in events:
                match event:
                    case _Begun(0):
                        answer = self._open(event, elements.namespace)
                    case _Ended(0):
                        raise left(_CLOSE)
                    case _Ended(1, name) if name == _START_TLS:
                        return f"<proceed xmlns='{_TLS}'/>".encode()
                    case _Begun(1, name) if name != _START_TLS:
                        raise Amiss("STARTTLS comes first")

    def complaint(self, text: str) -> bytes:
        """A stream's error, which stands in a stream, also in one that never began (RFC 6120 section 4.9.1.2)."""
        condition = _CONDITIONS.get(text, "policy-violation")
        error = (
            f"<stream:error><{condition} xmlns='{_ERRORS}'/><text xmlns='{_ERRORS}'>{text}</text></stream:error>"
        ).encode()
        return (b"" if self._opened else _header("from", self._name)) + error + _CLOSE

    def _open(self, stream: _Begun, namespace: str) -> bytes:
        if stream.name != _STREAM or namespace != _CLIENT:
            raise Amiss(_NO_STREAM)
        asked = asked_name(stream.attributes.get("to", "").encode("utf-8"))
        self._opened = True
        features = f"<stream:features><starttls xmlns='{_TLS}'><required/></starttls></stream:features>"
        return _header("from", asked or self._name) + features.encode()


def _header(side: str, name: str) -> bytes:
    """How a stream begins. @param side: C{from} where it is the server's, C{to} where it is the client's"""
    number = f" id='{secrets.token_hex(8)}'" if side == "from" else ""  # RFC 6120 section 4.7.3: not to be guessed
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{_CLIENT}' xmlns:stream='{_STREAMS}'"
        f" {side}={quoteattr(name)}{number} version='1.0'>"
    ).encode()


def _ask(name: str) -> Steps:
    elements, answer, offered = _Elements(), _header("to", name), False
    while True:
        events, answer = elements.of((yield answer)), b""
        for event in events:
            match event:
                case _Begun(0, root) if root != _STREAM:
                    raise Amiss(_NO_STREAM)
                case _Ended(0):
                    raise Amiss("it closes the stream")
                case _Begun(2, feature):
                    offered = offered or feature == _START_TLS
                case _Ended(1, element) if element == _FEATURES and offered:
                    answer = f"<starttls xmlns='{_TLS}'/>".encode()
                case _Ended(1, element) if element == _FEATURES:
                    raise Amiss("it does not offer STARTTLS")
                case _Ended(1, element) if element == _PROCEED and offered:
                    return b""
                case _Ended(1, element):
                    raise Amiss(f'it says "{visible(element)}" where proceed is expected')
