"""Where a client goes, and by which way: the words of an endpoint string in, values out."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote_to_bytes

import attrs

from mytls.errors import ConfigurationError, nearest, visible
from mytls.kinds import DURATION, NAME, PORT, Kind

#: How a proxy may be spoken to.
_SCHEMES = ("http", "socks5")
#: What others call the same.
_MEANT = {"socks5h": "socks5", "socks": "socks5"}
#: The longest user name, and the longest password, that SOCKS 5 can say, in bytes (RFC 1929 section 2).
LONGEST_OF_LOGIN = 255

_VIA = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:(?P<login>.*)@)?(?P<host>\[[^\[\]]*\]|[^\[\]:/@]*)(?::(?P<port>[^:/@]*))?/?"
)
#: What stands behind a proxy's user in an endpoint string, where colons have backslashes.
_PASSWORD = re.compile(r"(via=[A-Za-z0-9+.-]*\\?:/*[^:@\\]*)\\?:.*@", re.DOTALL)


@attrs.frozen
class Via:
    """
    A proxy that a client's connections go through.

    @ivar scheme: how it is spoken to: `http` or `socks5`
    @ivar host: its name or IP address
    @ivar port: its TCP port
    @ivar user: who we are there, or None. The password is none of this: strings are read by many
    """

    scheme: str
    host: str
    port: int
    user: str | None = None

    def __str__(self) -> str:
        return authority_of(self.host, self.port)


@attrs.frozen
class Login:
    """
    Who we are at a proxy.

    @ivar user: in UTF-8
    @ivar password: likewise
    """

    user: bytes
    password: bytes = attrs.field(repr=False)


def authority_of(host: str, port: int) -> str:
    """A host and a port in one word; an IPv6 address is in brackets there (RFC 3986 section 3.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def server(written: str) -> str:
    """A server as a client names it: an IP address in its shortest spelling, or a host name in that of the wire."""
    try:
        return str(ipaddress.ip_address(written))
    except ValueError:
        name: str = NAME.parse(written)
    if name.startswith("*."):
        raise ConfigurationError(f"{written!r} is the name of many; expected that of one server")
    return name


def remote_port(written: str) -> int:
    """A TCP port to connect to."""
    number: int = PORT.parse(written)
    if number == 0:
        raise ConfigurationError("'0' is not a port to connect to; expected a number from 1 to 65535")
    return number


def seconds(written: str) -> float:
    """A duration; a number alone is seconds, as in Twisted's own strings."""
    value: float = DURATION.parse(f"{written}s" if written.isdecimal() else written)
    return value


def via(written: str) -> Via:
    """
    `http://proxy.example:3128` or `socks5://user@proxy.example:1080`; what a URL cannot have as itself stands behind
    percent signs in the user's name (RFC 3986 section 2.1).

    @raise ConfigurationError: it is none of these. What stands before an `@` is never said again: it may be a secret
    """
    found = _VIA.fullmatch(written)
    if found is None:
        said = "what stands there" if "@" in written else repr(written)
        raise ConfigurationError(f"{said} is no proxy; expected one such as http://proxy.example:3128")
    scheme = found["scheme"].lower()
    if scheme not in _SCHEMES:
        raise ConfigurationError(f"{scheme!r} is not known here{_near(scheme)}")
    if found["port"] is None:
        raise ConfigurationError("there is no port; expected for example http://proxy.example:3128")
    host = found["host"].removeprefix("[").removesuffix("]")
    return Via(scheme, server(host), remote_port(found["port"]), _user(found["login"]))


def without_password(text: str) -> str:
    """Text with an endpoint string in it, as an error repeats it: less any password of a proxy."""
    return _PASSWORD.sub(r"\1:...@", text)


def _near(scheme: str) -> str:
    if scheme in _MEANT:
        return f"; did you mean {_MEANT[scheme]!r}?"
    return nearest(scheme, _SCHEMES) if scheme != "https" else "; expected one of: http, socks5, which go in the clear"


def _user(written: str | None) -> str | None:
    if written is None:
        return None
    if ":" in written:
        raise ConfigurationError("a password does not belong where many can read it; say viaPasswordFile")
    try:
        user = unquote_to_bytes(written).decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError("the user's name is not in UTF-8") from None
    if not user.isprintable() or ":" in user or not 0 < len(user.encode("utf-8")) <= LONGEST_OF_LOGIN:
        raise ConfigurationError(
            f'"{visible(user)}" is no user\'s name; expected 1 to {LONGEST_OF_LOGIN} bytes that print, and no colon'
        )
    return user


SERVER = Kind(server, "a host name or an IP address")
REMOTE_PORT = Kind(remote_port, "a port", number=lambda number: remote_port(str(number)))
SECONDS = Kind(seconds, "seconds, or a duration", number=lambda number: seconds(str(number)))
VIA = Kind(via, "a proxy such as http://proxy.example:3128")
