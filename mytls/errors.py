"""What can go wrong, as values that the log, the metrics and the tests share."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum

import attrs


class Cause(StrEnum):
    """Why a connection was refused, failed or ended: one closed list of words."""

    LIMIT = "limit"
    RATE = "rate"
    FROM = "from"
    NO_CERTIFICATE = "no-certificate"
    UNKNOWN_CA = "unknown-ca"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    REVOKED = "revoked"
    WRONG_USAGE = "wrong-usage"
    NOT_ALLOWED = "not-allowed"
    POLICY = "policy"
    UNKNOWN_NAME = "unknown-name"
    NO_ALPN = "no-alpn"
    PLAIN_HTTP = "plain-http"
    NOT_TLS = "not-tls"
    OLD_VERSION = "old-version"
    NO_COMMON_CIPHER = "no-common-cipher"
    BAD_HELLO = "bad-hello"
    PROXY_HEADER = "proxy-header"
    HANDSHAKE_TIMEOUT = "handshake-timeout"
    PEER_ALERT = "peer-alert"
    EOF = "eof"
    RESET = "reset"
    IDLE = "idle"
    LIFETIME = "lifetime"
    DRAIN = "drain"
    HALF_CLOSE = "half-close"
    HANDLER = "handler"
    BACKEND_REFUSED = "backend-refused"
    BACKEND_TIMEOUT = "backend-timeout"
    BACKEND_UNVERIFIED = "backend-unverified"


class Alert:
    """TLS alert descriptions that mytls sends by itself (RFC 8446 section 6)."""

    UNEXPECTED_MESSAGE = 10
    RECORD_OVERFLOW = 22
    ILLEGAL_PARAMETER = 47
    ACCESS_DENIED = 49
    DECODE_ERROR = 50
    PROTOCOL_VERSION = 70
    INTERNAL_ERROR = 80
    UNRECOGNIZED_NAME = 112


def alert_record(description: int) -> bytes:
    """A fatal alert in the clear, for a peer that has no keys yet (RFC 8446 section 5.1)."""
    return bytes((21, 3, 1, 0, 2, 2, description))


@attrs.frozen(eq=False)
class TLSFailure(Exception):
    """
    A connection cannot go on, by the peer's doing.

    @ivar cause: the word for it
    @ivar detail: what exactly was wrong, in a few words of our own or of OpenSSL's
    @ivar alert: the alert that we still have to send (RFC 8446 section 6), or None where
        OpenSSL has sent its own or none is due
    @ivar limit: the key of the limit that it is about, where it is about one
    """

    cause: Cause
    detail: str
    alert: int | None = None
    limit: str = ""

    def __str__(self) -> str:
        return f"{self.cause}: {self.detail}"


class ConfigurationError(ValueError):
    """What the user wrote cannot be served; the text is one line that names the word and what was expected."""

    def __init__(self, line: str) -> None:
        super().__init__(one_line(line))

    @property
    def lines(self) -> tuple[str, ...]:
        """The line, or the lines of several errors."""
        return (str(self),)


class ConfigurationErrors(ConfigurationError):
    """Several errors at once, one line each."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = tuple(dict.fromkeys(one_line(line) for line in lines))
        ValueError.__init__(self, "\n".join(self._lines))

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines, each once."""
        return self._lines


class Troubles:
    """
    Errors that are told together, where each is found by itself.

    @ivar lines: those found until now
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """What is raised inside is one error more, and the rest of the block is left out."""
        try:
            yield
        except ConfigurationError as error:
            self.lines.extend(error.lines)

    def add(self, errors: Iterable[ConfigurationError]) -> None:
        """Some more."""
        self.lines.extend(line for error in errors for line in error.lines)

    def tell(self) -> None:
        """@raise ConfigurationErrors: there was any"""
        if self.lines:
            raise ConfigurationErrors(self.lines)


#: A list of known words longer than this helps nobody.
_FEW = 12


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error line: `; did you mean 'x'?`, or the known words where none is near and they are few."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; expected one of: {', '.join(words)}" if 0 < len(words) <= _FEW else ""


def one_line(text: str) -> str:
    """Text with words of the user's in it, as it may stand on a terminal: what does not print is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


#: How much of a value an error repeats.
_REPEATED = 200


def shortened(value: object) -> str:
    """What a user has written, as an error repeats it: of a long text the beginning."""
    text = str(value)
    return text if len(text) <= _REPEATED else f"{text[:_REPEATED]}..."


def quoted(written: str) -> str:
    """The same in quotes."""
    return repr(shortened(written))


#: Printable ASCII without space, quotation mark and backslash.
_VISIBLE = re.compile(r"[!#-\[\]-~]*")


def visible(text: str | bytes, limit: int = 100) -> str:
    """
    Peer-sent text as it may stand in a log line: one line, printable ASCII, nothing that quotes could end.

    @param text: what the peer sent
    @param limit: how many characters are kept; what is cut is marked with `...`
    """
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    if len(text) <= limit and _VISIBLE.fullmatch(text):  # as most is
        return text
    cut = text[:limit] + ("..." if len(text) > limit else "")
    return "".join(c if c.isascii() and c.isprintable() and c not in ' "\\' else _escaped(c) for c in cut)


def sentence(text: str | bytes, limit: int = 100) -> str:
    """The same of a few words, which may have spaces between them."""
    return visible(text, limit).replace("\\x20", " ")


def unescaped(text: str) -> str:
    """What L{visible}, L{sentence} or L{one_line} have escaped, as it was."""
    return _ESCAPES.sub(lambda found: chr(int(found[1] or found[2], 16)), text) if "\\" in text else text


#: No surrogate and no code is above these.
_ESCAPES = re.compile(r"\\(?:x([0-9a-f]{2})|u\{(0{0,2}[0-9a-f]{1,5}|10[0-9a-f]{4})\})")


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{{{code:x}}}"
