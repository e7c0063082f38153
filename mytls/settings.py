"""
What a user can say, once: every key's name, type, default and one sentence.

The command line, the endpoint string, the error texts and the reference page are all made from this table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from mytls.errors import ConfigurationError, nearest

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(text: str) -> float:
    """`250ms 10s 5m 1h` as seconds; `0` and `off` are no deadline."""
    if text in ("0", "off"):
        return 0.0
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)", text)
    if match is None:
        raise ConfigurationError(f"{text!r} is not a duration; expected for example 250ms, 10s, 5m, 1h, 0 or off")
    return float(match[1]) * _DURATION_UNITS[match[2]]


def count(text: str) -> int:
    """A whole number above zero."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise ConfigurationError(f"{text!r} is not a number; expected a whole number from 1 on")
    return int(text)


def port(text: str) -> int:
    """A TCP port; 0 lets the system choose."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise ConfigurationError(f"{text!r} is not a port; expected a number from 0 to 65535")
    return int(text)


def words(text: str) -> tuple[str, ...]:
    """A list, its words separated by commas."""
    return tuple(each.strip() for each in text.split(",") if each.strip())


def text(value: str) -> str:
    """Any text, as it is."""
    return value


@attrs.frozen
class Key:
    """
    One thing that a user can say.

    @ivar name: in `kebab-case`, as in a file
    @ivar word: as in an endpoint string, or as an option of the command line without its dashes
    @ivar parse: text in, value out; raises L{ConfigurationError}
    @ivar default: the value in words, where the key is left out
    @ivar sentence: what it does
    """

    name: str
    word: str
    parse: Callable[[str], Any]
    default: str
    sentence: str

    def value_of(self, written: str) -> Any:
        """The value. @raise ConfigurationError: one line, which names the word"""
        try:
            return self.parse(written)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.word}: {error}") from None


#: The words of `ssl:` and `mytls:` endpoint strings.
ENDPOINT_KEYS = (
    Key("port", "port", port, "", "The TCP port to listen on; also the first word without a name."),
    Key("private-key", "privateKey", text, "server.pem", "The PEM file with the private key."),
    Key(
        "certificate",
        "certKey",
        text,
        "the file of privateKey",
        "The PEM file with the certificate; what else of its chain is in it is sent too.",
    ),
    Key("sslmethod", "sslmethod", text, "TLS_METHOD", "TLS_METHOD: TLS 1.2 and 1.3; TLSv1_2_METHOD: TLS 1.2 alone."),
    Key("interface", "interface", text, "all IPv4 addresses", "The address to listen on; `\\:\\:` is IPv6 and IPv4."),
    Key("backlog", "backlog", count, "50", "How many connections the system keeps waiting to be accepted."),
    Key("extra-cert-chain", "extraCertChain", text, "", "A PEM file with more certificates to send after certKey's."),
    Key("dh-parameters", "dhParameters", text, "", "A PEM file with Diffie-Hellman parameters, for DHE suites."),
    Key("over", "over", text, "", "A server endpoint string to run TLS over, in place of a port; in `mytls:` alone."),
)

#: The options of `twistd mytls` that have a value, but for --endpoint and --handler.
OPTION_KEYS = (
    Key(
        "handshake",
        "deadlines-handshake",
        duration,
        "10s",
        "How long a client may take from connecting to the end of its handshake.",
    ),
    Key("close", "deadlines-close", duration, "5s", "How long a client may take to answer our close_notify."),
    Key(
        "max-threads",
        "limits-max-threads",
        count,
        "512",
        "How many plain functions of `serve:` run at the same time; others wait their turn.",
    ),
    Key(
        "quiet",
        "log-quiet",
        words,
        "",
        "What has no line in the log: any of connections, handshake-failures, health-checks, refusals.",
    ),
)


@attrs.frozen
class Limits:
    """
    Bounds of a service.

    @ivar max_threads: how many plain functions of `serve:` run at the same time
    """

    max_threads: int = 512


@attrs.frozen
class Deadlines:
    """
    How long each wait may last, in seconds; 0 is for ever.

    @ivar handshake: from accept to the end of the handshake
    @ivar close: from our close_notify to the peer's
    """

    handshake: float = 10.0
    close: float = 5.0


_PIECE = re.compile(r"((?:\\.|[^:\\])*):", re.DOTALL)
_NAMED = re.compile(r"((?:\\.|[^=\\])*)=(.*)", re.DOTALL)


def split_endpoint(description: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """
    An endpoint string's words, as Twisted splits them: by colons, names before `=`, a backslash before what is meant
    as itself.

    @return: the words without a name, the prefix first, and those with one
    @raise ConfigurationError: a backslash at the end, a name said twice
    """
    if re.search(r"(?<!\\)(?:\\\\)*\\$", description):
        raise ConfigurationError("the string ends in the middle of a backslash pair")
    plain: list[str] = []
    named: dict[str, str] = {}
    for piece in _PIECE.findall(description + ":"):
        pair = _NAMED.fullmatch(piece)
        if pair is None:
            plain.append(_unquoted(piece))
        elif (name := _unquoted(pair[1])) in named:
            raise ConfigurationError(f"{name}= stands twice")
        else:
            named[name] = _unquoted(pair[2])
    return tuple(plain), named


def _unquoted(piece: str) -> str:
    return re.sub(r"\\(.)", r"\1", piece, flags=re.DOTALL)


def endpoint_values(prefix: str, arguments: tuple[str, ...], words: Mapping[str, str]) -> dict[str, Any]:
    """
    The words of an `ssl:` or `mytls:` string as values, by the names of L{ENDPOINT_KEYS} in strings.

    @param prefix: `ssl` or `mytls`
    @param arguments: what stood without a name
    @param words: what stood with one
    @raise ConfigurationError: an unknown word, a wrong value, a port missing or said twice
    """
    keys = {key.word: key for key in ENDPOINT_KEYS if key.word != "over" or prefix == "mytls"}
    for word in words:
        if word not in keys:
            raise ConfigurationError(f"{word}= is no word of {prefix}:{nearest(word, keys)}")
    said = dict(words)
    for argument, word in zip(arguments, keys, strict=False):
        if word in said:
            raise ConfigurationError(
                f"{word} is said twice, as {argument!r} and as {word}={said[word]}; a colon in a value is written \\:"
            )
        said[word] = argument
    if len(arguments) > len(keys):
        raise ConfigurationError(f"{arguments[-1]!r} has no name; write it as word=value")
    if ("port" in said) == ("over" in said):
        either = "a port or over=ENDPOINT" if prefix == "mytls" else "a port"
        raise ConfigurationError(f"expected {either}, as in {prefix}:8443")
    return {word: keys[word].value_of(written) for word, written in said.items()}
