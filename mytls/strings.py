"""Endpoint strings: words in, settings out."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from mytls.clientsettings import ClientSettings
from mytls.errors import ConfigurationError, ConfigurationErrors, nearest
from mytls.keys import CLIENT_KEYS, ENDPOINT_KEYS, HOST_KEYS, LISTENER_KEYS, NICKNAMES, PLACE_KEYS, WORDS_OF_STRINGS
from mytls.settings import OF_BACKENDS, HostSettings, ListenerSettings

#: The endpoint strings that mytls's own TLS serves.
TLS_PREFIXES = ("ssl", "mytls")
#: Where Twisted's `ssl:` looks for the key, where nothing is said.
_SERVER_PEM = ("server.pem",)
#: The words that say where to listen, and not what is served there.
_WHERE = ("port", "interface", "backlog", "over")
#: The keys that a listener may have without TLS of ours, besides those of backends.
_WITHOUT_TLS = ("handler", "endpoint", "from", "proxy-protocol", "max-connections", "at-limit")
#: The words of Twisted's `tcp:`, which may go without their names in this order.
_ORDER_OF_TCP = ("port", "interface", "backlog")

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
    The words of an `ssl:` or `mytls:` string as values, by the names of their keys.

    @param prefix: `ssl` or `mytls`
    @param arguments: what stood without a name
    @param words: what stood with one
    @raise ConfigurationError: an unknown word, a wrong value, a port missing or said twice
    """
    known = ENDPOINT_KEYS if prefix == "mytls" else [key for key in PLACE_KEYS if key.word != "over"]
    keys = {key.word: key for key in known}
    for word in words:
        if word not in keys:
            raise ConfigurationError(f"{word}= is no word of {prefix}:{_meant(word, keys) or _colon(word)}")
    said = _named(arguments, words, [key.word for key in PLACE_KEYS if key.word in keys])
    if ("port" in said) == ("over" in said):
        either = "a port or over=ENDPOINT" if prefix == "mytls" else "a port"
        raise ConfigurationError(f"expected {either}, as in {prefix}:8443")
    return {keys[word].name: keys[word].value_of(written) for word, written in said.items()}


def _colon(word: str) -> str:
    """What is no word at all may be the rest of a value."""
    return "" if word.isidentifier() else "; a colon in a value is written \\:"


def client_from_words(arguments: tuple[str, ...], words: Mapping[str, str]) -> ClientSettings:
    """
    The words of a `mytls:` string of a client as settings.

    @param arguments: what stood without a name
    @param words: what stood with one
    @raise ConfigurationError: one line: an unknown word, a wrong value, values that contradict each other
    """
    keys = {key.word: key for key in CLIENT_KEYS}
    for word in words:
        if word not in keys:
            meant = _WORDS_OF_OTHER_CLIENTS.get(word)
            nearly = f"; did you mean {meant!r}?" if meant else nearest(word, keys) or _colon(word)
            raise ConfigurationError(f"{word}= is no word of a client's mytls:{nearly}")
    said = _named(arguments, words, ["host", "port"])
    try:
        return ClientSettings.of({keys[word].name: keys[word].value_of(written) for word, written in said.items()})
    except ConfigurationErrors as errors:
        raise ConfigurationError("; ".join(errors.lines)) from None


#: What Twisted's `ssl:` and `tls:` call it, and the server's `mytls:`.
_WORDS_OF_OTHER_CLIENTS = {
    "hostname": "serverName",
    "certificate": "certKey",
    "caCertsDir": "trustRoots",
    "clientCA": "trustRoots",
    "ca": "trustRoots",
    "allow": "verify",
    "interface": "bindAddress",
    "over": "endpoint",
    "proxy": "via",
}


def _named(arguments: Sequence[str], words: Mapping[str, str], places: Sequence[str]) -> dict[str, str]:
    """All words with their names. @param places: those that may go without, in their order"""
    if "" in arguments:
        raise ConfigurationError("there is nothing between two colons; a colon in a value is written \\:")
    said = dict(words)
    for argument, word in zip(arguments, places, strict=False):
        if word in said:
            raise ConfigurationError(
                f"{word} is said twice, as {argument!r} and as {word}={said[word]}; a colon in a value is written \\:"
            )
        said[word] = argument
    if len(arguments) > len(places):
        raise ConfigurationError(f"{arguments[-1]!r} has no name; write it as word=value")
    return said


#: What others call it, and the file does.
_OTHER_WORDS = {
    **{said: WORDS_OF_STRINGS[name] for said, name in NICKNAMES.items()},
    **{name: word for name, word in WORDS_OF_STRINGS.items() if word != name},
}


def _meant(word: str, known: Collection[str]) -> str:
    meant = _OTHER_WORDS.get(word.lower().replace("_", "-"))
    return f"; did you mean {meant!r}?" if meant in known else nearest(word, known)


def prefix_of(description: str) -> str:
    """What stands before the first colon, in lower case, as Twisted looks for it."""
    arguments, _ = split_endpoint(description)
    return arguments[0].lower() if arguments else ""


def is_tls(description: str) -> bool:
    """Whether an endpoint string is served by mytls's own TLS."""
    return prefix_of(description) in TLS_PREFIXES


def place_of(description: str) -> dict[str, Any]:
    """Where an `ssl:` or `mytls:` string listens: the values of its words C{port interface backlog over}."""
    arguments, words = split_endpoint(description)
    values = endpoint_values(arguments[0].lower(), arguments[1:], words)
    return {name: value for name, value in values.items() if name in _WHERE}


def listens_at(description: str) -> tuple[str, ...] | None:
    """Where an endpoint string listens: equal where two are in each other's way. None where it is not known."""
    try:
        arguments, words = split_endpoint(description)
    except ConfigurationError:
        return None
    if not arguments or arguments[0].lower() not in (*TLS_PREFIXES, "tcp"):
        return (description,)
    if "over" in words:
        return listens_at(words["over"])
    order = _ORDER_OF_TCP if arguments[0].lower() == "tcp" else [key.word for key in PLACE_KEYS]
    said = {**dict(zip(order, arguments[1:], strict=False)), **words}
    port = said.get("port", "0")
    return None if port == "0" else (port, said.get("interface", ""))


def listener_from_string(description: str, handler: str | None = None) -> ListenerSettings:
    """
    The listener of an endpoint string that stands for itself.

    @param handler: what the listener does, where the string does not say it
    @raise ConfigurationError: one line, which names the word that was wrong
    """
    try:
        return listener(description, {} if handler is None else {"handler": handler}, {}, alone=True)
    except ConfigurationError as error:
        raise ConfigurationError("; ".join(error.lines)) from None


def listener(
    description: str,
    said: Mapping[str, Any],
    wrote: Mapping[str, str],
    hosts: Sequence[HostSettings] = (),
    *,
    alone: bool = False,
) -> ListenerSettings:
    """
    The listener of an endpoint string, and of the values that stand beside it.

    @param said: values of keys of a listener or a host; a handler of the string's goes before one that nobody wrote
    @param wrote: how the user wrote these keys
    @param hosts: the hosts that are told apart by their names
    @param alone: whether there is nothing beside the string: a certificate that is missing is in `server.pem`
    @raise ConfigurationError: one line, which names the word that was wrong
    """
    values, spelling = listener_values(description, said, wrote, alone=alone)
    return ListenerSettings.of(description, values, spelling, hosts)


def listener_values(
    description: str, said: Mapping[str, Any], wrote: Mapping[str, str], *, alone: bool = False, folder: str = ""
) -> tuple[dict[str, Any], Mapping[str, str]]:
    """
    What an endpoint string says of its listener, and what stands beside it, by the names of the keys.

    @param folder: where the string's relative paths count from; the working directory, if left out
    @return: the values, and how the user wrote them
    @raise ConfigurationError: as L{listener}
    """
    try:
        of_string = _of_string(description, alone, folder)
    except ConfigurationError as error:
        raise ConfigurationErrors(_in_string(line, wrote) for line in error.lines) from None
    if of_string is None:
        _refuse_tls_keys(prefix_of(description), said, wrote)
        return dict(said), wrote
    for name in of_string:
        if name in said and (name != "handler" or name in wrote):
            raise ConfigurationError(f"{wrote.get(name, name)}: said in the endpoint string too")
    of_tls = {name: value for name, value in of_string.items() if name not in _WHERE}
    words = {
        key.name: _in_string(key.word, wrote) for key in ENDPOINT_KEYS if key.name in (of_tls if wrote else of_string)
    }
    return {**said, **of_tls}, {**wrote, **words} if words else wrote


def _in_string(text: str, wrote: Mapping[str, str]) -> str:
    """What is said of an endpoint string, behind the place where the string stands."""
    return f"{wrote['endpoint']}: {text}" if "endpoint" in wrote else text


def _of_string(description: str, alone: bool, folder: str) -> dict[str, Any] | None:
    """The values of an `ssl:` or `mytls:` string; None for any other."""
    arguments, words = split_endpoint(description)
    prefix = arguments[0].lower() if arguments else ""
    if prefix not in TLS_PREFIXES:
        _refuse_misspelled(prefix, words)
        return None
    values = endpoint_values(prefix, arguments[1:], words)
    keyless = not values.keys() & {"hosts", "private-key", "spiffe"}
    bare = prefix == "mytls" and "certificate" not in values and os.path.exists(_SERVER_PEM[0])
    if alone and keyless and (prefix == "ssl" or bare):
        values["private-key"] = _SERVER_PEM
    for key in ENDPOINT_KEYS:
        if key.kind.files and key.name in values:
            values[key.name] = key.kind.moved(values[key.name], folder)
    return values


def _refuse_misspelled(prefix: str, words: Iterable[str]) -> None:
    """Words of a certificate behind a prefix that is nearly ours: others' prefixes may have such words too."""
    near = get_close_matches(prefix, TLS_PREFIXES, n=1)
    if near and any(word in ("certKey", "privateKey") for word in words):
        raise ConfigurationError(f"mytls adds no TLS to {prefix}:; did you mean {near[0]}:?")


def _refuse_tls_keys(prefix: str, said: Mapping[str, Any], wrote: Mapping[str, str]) -> None:
    for key in (*HOST_KEYS, *LISTENER_KEYS):
        if key.name in said and key.name not in (*_WITHOUT_TLS, *OF_BACKENDS):
            raise ConfigurationError(
                f"{wrote.get(key.name, key.name)}: of no use with {prefix}:, to which mytls adds no TLS"
                f"{nearest(prefix, TLS_PREFIXES)}"
            )
