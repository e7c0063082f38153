"""Where backends are: client endpoint strings, one or several, and whether plaintext on the way there is in danger."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
from service_identity import VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.interfaces import (
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamClientEndpointStringParserWithReactor,
)
from twisted.plugin import getPlugins

from mytls.errors import ConfigurationError, nearest, one_line
from mytls.kinds import count, port
from mytls.strings import split_endpoint

#: What is said first on a connection, ahead of its TLS: the transport in, bytes out.
Preamble = Callable[[Any], bytes]

#: What Twisted's own client endpoints have to have, and what else they know.
_STOCK: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "tcp": (("host", "port"), ("timeout", "bindAddress")),
    "unix": (("path",), ("timeout", "lockfile")),
    "tls": (
        ("host", "port"),
        ("timeout", "bindAddress", "certificate", "privateKey", "trustRoots", "endpoint"),
    ),
    "ssl": (("host", "port"), ("timeout", "bindAddress", "certKey", "privateKey", "caCertsDir", "hostname")),
}
#: Our own client endpoint, and all that encrypt.
_OURS = "mytls"
_OF_TLS = ("tls", "ssl", _OURS)
#: The words of server endpoints that TLS or not may be said with.
_OF_TCP = ("tcp", "tcp6", "ssl", "mytls")


@attrs.frozen
class Place:
    """
    Where a backend is.

    @ivar description: its endpoint string, as written
    @ivar endpoint: what dials it; a name is looked up at each dial
    """

    description: str
    endpoint: IStreamClientEndpoint

    @property
    def prefix(self) -> str:
        """What stands before the first colon."""
        return _prefix(self.description)

    def connect(self, factory: IProtocolFactory, preamble: Preamble) -> Deferred[Any]:
        """
        Dial it.

        @param preamble: what is said first. Our own endpoint says it ahead of its TLS; where there is no TLS, whoever
            is connected does
        """
        endpoint: Any = self.endpoint
        about = (factory, preamble) if self.prefix == _OURS else (factory,)
        return endpoint.connect(*about)  # type: ignore[no-any-return]


def nothing(transport: Any) -> bytes:
    """The preamble where there is none."""
    return b""


def places(reactor: Any, argument: str) -> tuple[Place, ...]:
    """
    The backends of a handler string.

    @param argument: client endpoint strings with commas between, such as `tcp:a:1,tcp:b:1`
    @raise ConfigurationError: one line, which names what is wrong with one of them
    """
    described = split_backends(argument)
    made = []
    for each in described:
        try:
            made.append(Place(each, client_endpoint(reactor, each)))
        except ConfigurationError as error:
            raise error if len(described) == 1 else ConfigurationError(f"{each}: {error}") from None
    return tuple(made)


def split_backends(argument: str) -> tuple[str, ...]:
    """
    The endpoint strings of several backends.

    The next one begins where a comma is followed by the prefix of a client endpoint and a colon: other commas belong
    to a value, and so does one behind a backslash.
    """
    if "," not in argument:
        return (argument,)
    known = "|".join(re.escape(each) for each in sorted(_prefixes()))
    return tuple(re.split(rf"(?<!\\),\s*(?=(?:{known}):)", argument, flags=re.IGNORECASE))


def client_endpoint(reactor: Any, description: str) -> IStreamClientEndpoint:
    """
    Any client endpoint string, as Twisted reads it.

    @raise ConfigurationError: Twisted cannot read it; one line
    """
    arguments, words = split_endpoint(description)
    prefix = arguments[0].lower() if arguments else ""
    if not prefix:
        raise ConfigurationError("expected a client endpoint such as tcp:127.0.0.1:8080 or unix:/run/app.sock")
    if prefix in _STOCK:
        _check_words(prefix, arguments[1:], words)
    else:
        _check_prefix(prefix)
    try:
        return clientFromString(reactor, description)  # type: ignore[no-any-return]
    except Exception as error:  # each parser has errors of its own
        raise ConfigurationError(plainly(error)) from None


def host_of(description: str) -> str | None:
    """The host of a client endpoint string, a name or an address; None where there is none, or none that we know."""
    return _words_of(description).get("host")


def port_of(description: str) -> str | None:
    """Its port, likewise."""
    return _words_of(description).get("port")


def _words_of(description: str) -> dict[str, str]:
    """The words of a client endpoint string that has a host and a port, each with its name; of any other, none."""
    arguments, words = split_endpoint(description)
    prefix = arguments[0].lower() if arguments else ""
    if prefix not in (*_STOCK, _OURS) or prefix == "unix":
        return {}
    places = [word for word in ("host", "port") if word not in words]
    return {**words, **dict(zip(places, arguments[1:], strict=False))}


def unsafe(listener_is_tls: bool, listener_place: str, backends: Sequence[str]) -> str | None:
    """
    Why connections of a listener would be on a network as plaintext on one side of us, though not on the other.

    @param listener_is_tls: whether its clients speak TLS with us
    @param listener_place: its endpoint string
    @param backends: the endpoint strings of C{proxy:}
    @return: a few words; None where nothing is plain beyond this machine, or all is
    """
    tls = [each for each in backends if _prefix(each) in _OF_TLS]
    if not listener_is_tls:
        if tls and not stays_here(listener_place):
            return f"{listener_place} takes plaintext from a network, for {tls[0]}"
        return None
    for each in backends:
        if each not in tls and not _stays_here_client(each):
            return f"the decrypted bytes of {listener_place} would go to {each} as plaintext, over a network"
    return None


def plainly(error: BaseException | None) -> str:
    """What went wrong between us and a backend, or in reading its string, as one line."""
    match error:
        case VerificationError():
            return "its certificate is for another name"
        case OSError(strerror=str(text), filename=str(name)):
            return one_line(f"{text}: {name}")
        case Exception(args=(list() as reasons,)):  # OpenSSL's: library, function and reason of each
            return one_line("TLS: " + ("; ".join(str(each[-1]) for each in reasons) or "the connection failed"))
    text = " ".join(str(error).split()) or type(error).__name__
    return one_line(text.removesuffix("."))


# --- where something is


def _prefix(description: str) -> str:
    return description.partition(":")[0].lower()


def _stays_here_client(description: str) -> bool:
    if _prefix(description) == "unix":
        return True
    host = host_of(description)
    return host is not None and _is_loopback(host)


def stays_here(description: str) -> bool:
    """Whether who connects there is on this machine; of a prefix that we do not know nobody can tell."""
    arguments, words = split_endpoint(description)
    prefix = arguments[0].lower() if arguments else ""
    if "over" in words:
        return stays_here(words["over"])
    if prefix == "systemd":
        return words.get("domain", "").upper() == "UNIX"
    if prefix in _OF_TCP:
        at = 2 if prefix in ("tcp", "tcp6") else len(arguments)
        return _is_loopback(words.get("interface", arguments[at] if len(arguments) > at else ""))
    return prefix in ("unix", "stdio")


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


# --- the endpoint string


def _prefixes() -> set[str]:
    """The prefixes of all client endpoints, in lower case."""
    plugins: Iterable[Any] = getPlugins(IStreamClientEndpointStringParserWithReactor)
    return {*_STOCK, *(plugin.prefix.lower() for plugin in plugins)}


def _check_prefix(prefix: str) -> None:
    known = _prefixes()
    if prefix not in known:
        raise ConfigurationError(f"there is no endpoint type {prefix!r}{nearest(prefix, sorted(known))}")


def _check_words(prefix: str, arguments: tuple[str, ...], words: dict[str, str]) -> None:
    needed, more = _STOCK[prefix]
    for word in words:
        if word not in (*needed, *more):
            raise ConfigurationError(f"{word}= is no word of {prefix}:{nearest(word, (*needed, *more))}")
    missing = [word for word in needed if word not in words][len(arguments) :]
    if missing:
        raise ConfigurationError(f"{prefix}: needs {' and '.join(missing)}, as in {prefix}:{':'.join(needed)}")
    if prefix != "tls" and len(arguments) > sum(word not in words for word in needed):  # whose others may stand so too
        raise ConfigurationError(f"too many words for {prefix}:; a colon in a value is written \\:")
    if "port" in needed:
        _check_number("port", port, words["port"] if "port" in words else arguments["host" not in words])
    if "timeout" in words:
        _check_number("timeout", count, words["timeout"])


def _check_number(word: str, parse: Callable[[str], int], written: str) -> None:
    try:
        parse(written)
    except ConfigurationError as error:
        raise ConfigurationError(f"{word}={written}: {error}") from None
