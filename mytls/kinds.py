"""What a value looks like: as text on the command line and in endpoint strings, and as TOML in the file."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeGuard
from urllib.parse import urlsplit

import attrs

from mytls.errors import ConfigurationError, Troubles, nearest, quoted
from mytls.names import host_name

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
#: No number of ours is greater; Python refuses to write out one of very many digits.
_MOST = 10**18
_TOML_TYPES = ((bool, "a boolean"), (int, "an integer"), (float, "a float"), (str, "a string"), (list, "an array"),
               (dict, "a table"))  # fmt: skip


@attrs.frozen
class Kind:
    """
    One kind of value.

    @ivar parse: text in, value out; raises L{ConfigurationError}. For a list, one of its elements
    @ivar expected: what is expected in the file, where the type is wrong
    @ivar many: whether it is a list: with commas as text, an array or a single string in the file
    @ivar number: an integer of the file in, value out; None where it is no number
    @ivar quoted: whether the file may say it as a string
    @ivar files: whether it names files or folders, which count from the file's folder
    @ivar none: what a list says that has nothing in it, where that is an error
    @ivar blank: the same where it is one as text alone: there it is a variable that was never set
    @ivar inside: the one key of the table that the list stands in, in the file
    @ivar flag: whether it is true or false; on the command line it stands without a value, and is true
    @ivar beside: the value and a folder in, the value as it is seen from there out; None where paths stand alone
    @ivar joined: the text that several strings of the file stand for; None where there can be one alone
    """

    parse: Callable[[str], Any]
    expected: str
    many: bool = False
    number: Callable[[int], Any] | None = None
    quoted: bool = True
    files: bool = False
    none: str = ""
    blank: str = ""
    inside: str = ""
    flag: bool = False
    joined: Callable[[Sequence[str]], str] | None = None
    beside: Callable[[str, str], str] | None = None

    def of_text(self, text: str) -> Any:
        """
        The value that stands in an endpoint string or on the command line.

        @raise ConfigurationError: it is none of this kind
        """
        if self.many:
            written = [each.strip() for each in text.split(",") if each.strip()]
            if self.blank and not written:
                raise ConfigurationError(self.blank)
            return self._all(written)
        return self.parse(text)

    def of_toml(self, value: object) -> Any:
        """
        The value that stands in the file.

        @raise ConfigurationError: it is none of this kind
        """
        if self.inside:
            value = self._taken_out(value)
        if self.joined is not None and _are_strings(value):
            return self.parse(self.joined(value))
        if self.many:
            several = [value] if not isinstance(value, list) else value
            if self.number is not None:
                several = [str(each) if type(each) is int else each for each in several]
            if _are_strings(several):
                return self._all(several)
        elif isinstance(value, bool) and self.flag:
            return value
        elif isinstance(value, str) and self.quoted:
            return self.parse(value)
        elif self.number is not None and isinstance(value, int) and not isinstance(value, bool):
            return self.number(max(-_MOST, min(_MOST, value)))
        raise ConfigurationError(f"{_toml_type(value)} where {self.expected} is expected")

    def _taken_out(self, value: object) -> object:
        """What stands in the table."""
        if not isinstance(value, dict):
            raise ConfigurationError(f"{_toml_type(value)} where {self.expected} is expected")
        for name in value:
            if name != self.inside:
                raise ConfigurationError(f"{quoted(name)} is not known here{nearest(name, [self.inside])}")
        return value.get(self.inside, [])

    def _all(self, written: Iterable[str]) -> tuple[Any, ...]:
        """The elements of a list. @raise ConfigurationErrors: a line for each that is wrong"""
        found, troubles = [], Troubles()
        for each in written:
            with troubles.gathered():
                found.append(self.parse(each))
        troubles.tell()
        if self.none and not found:
            raise ConfigurationError(self.none)
        return tuple(found)

    def moved(self, value: Any, folder: str) -> Any:
        """Paths of files, as they are seen from a folder."""
        if self.beside is not None:
            return self.beside(value, folder)
        if self.many:
            return tuple(os.path.join(folder, each) for each in value)
        return value if value.startswith("env:") else os.path.join(folder, value)


def _are_strings(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _toml_type(value: object) -> str:
    for kind, name in _TOML_TYPES:
        if isinstance(value, kind):
            return name
    return "a date or time"


def duration(text: str) -> float:
    """`250ms 10s 5m 1h` as seconds; `0` and `off` are no deadline."""
    if text in ("0", "off"):
        return 0.0
    if re.fullmatch("[0-9]{1,9}", text):
        return _without_unit(int(text))
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)", text)
    if match is None:
        raise ConfigurationError(f"{quoted(text)} is not a duration; expected for example 250ms, 10s, 5m, 1h, 0 or off")
    return float(match[1]) * _DURATION_UNITS[match[2]]


def _without_unit(number: int) -> float:
    if number != 0:
        raise ConfigurationError(f'{number} has no unit; expected for example "{abs(number)}s" or "5m"')
    return 0.0


def count(text: str) -> int:
    """A whole number above zero."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise ConfigurationError(f"{quoted(text)} is not a number; expected a whole number from 1 on")
    return int(text)


def port(text: str) -> int:
    """A TCP port; 0 lets the system choose."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise ConfigurationError(f"{quoted(text)} is not a port; expected a number from 0 to 65535")
    return int(text)


def text(value: str) -> str:
    """Any text, as it is."""
    return value


def path(written: str) -> str:
    """The path of a file; C{env:NAME} in the place of one is taken as it is."""
    if not written:
        raise ConfigurationError(f"{written!r} is no path of a file")
    return written


def protocol(written: str) -> str:
    """An application protocol (RFC 7301 section 3.1: 1 to 255 bytes), of letters that print."""
    if not re.fullmatch(r"[!-+\--~]{1,255}", written):
        raise ConfigurationError(f"{quoted(written)} is no application protocol; expected one such as h2 or http/1.1")
    return written


def version(written: str) -> str:
    """A TLS version that is safe to ask for."""
    if written not in _VERSIONS:
        older = '; older ones come with profile = "old"' if written in _OLD_VERSIONS else ""
        raise ConfigurationError(f"{quoted(written)} is not known here; expected one of: {', '.join(_VERSIONS)}{older}")
    return written


_VERSIONS = ("TLSv1.2", "TLSv1.3")
_OLD_VERSIONS = ("SSLv3", "TLSv1", "TLSv1.0", "TLSv1.1")


def choice(*known: str, many: bool = False) -> Kind:
    """One of these words, or some of them."""

    def parse(written: str) -> str:
        if written not in known:
            raise ConfigurationError(f"{quoted(written)} is not known here{nearest(written, known)}")
        return written

    return Kind(parse, f"{'an array of any' if many else 'one'} of {', '.join(known)}", many)


def network(written: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """
    An address, or a network without host bits (RFC 4632 section 3.1). What is compared with it has no zone, and is not
    IPv4 as IPv6 has it.
    """
    try:
        found = ipaddress.ip_network(written, strict=False)
    except ValueError:
        raise ConfigurationError(
            f"{quoted(written)} is no network; expected an address such as 192.0.2.7, or a network such as 10.0.0.0/8"
        ) from None
    if "%" in written:
        raise ConfigurationError(f"{quoted(written)} has a zone; expected it without one: {written.partition('%')[0]}")
    mapped = getattr(found.network_address, "ipv4_mapped", None)
    if mapped is not None and found.prefixlen >= 96:
        v4 = ipaddress.IPv4Network((int(mapped), found.prefixlen - 96))
        raise ConfigurationError(f"{written!r} is of IPv4; expected {_shortest(v4)}")
    address = ipaddress.ip_address(written.partition("/")[0])
    if address != found.network_address:
        trouble = f"is an address in a network; expected {found} for the network, or {address} for the address"
        raise ConfigurationError(f"{written!r} {trouble}")
    return found


#: The word for clients of UNIX sockets, who have no IP address.
UNIX = "unix"


def source(written: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | str:
    """A network, or C{unix}."""
    return UNIX if written == UNIX else network(written)


def _shortest(network: ipaddress.IPv4Network) -> str:
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)


def truth(written: str) -> bool:
    """True or false, as TOML spells them."""
    if written not in ("true", "false"):
        raise ConfigurationError(f"{quoted(written)} is not known here; expected true or false")
    return written == "true"


def health_check(written: str) -> str:
    """`off`, `tcp`, or an `http://` address, in which `*` may be the host."""
    if written in ("off", "tcp"):
        return written
    try:
        parts = urlsplit(written)
        right = parts.scheme == "http" and parts.hostname and parts.port != 0 and written.isascii()
    except ValueError:  # a port that is none, brackets that do not close
        right = False
    if not right or any(c.isspace() for c in written):
        raise ConfigurationError(
            f"{quoted(written)} is no health check; expected off, tcp or an address such as http://*/health"
        )
    return written


def one_handler(strings: Sequence[str]) -> str:
    """
    The handler string of several backends: `proxy:tcp:a:1` and `proxy:tcp:b:1` are `proxy:tcp:a:1,tcp:b:1`.

    @raise ConfigurationError: they are not of one handler, or not of one that has backends
    """
    prefixes = {each.partition(":")[0] for each in strings}
    if len(prefixes) != 1 or not prefixes <= set(WITH_BACKENDS):
        raise ConfigurationError("an array is for several backends: all of it proxy:, or all of it passthrough:")
    (prefix,) = prefixes
    return f"{prefix}:{','.join(each.removeprefix(f'{prefix}:') for each in strings)}"


#: The handlers that have backends.
WITH_BACKENDS = ("proxy", "passthrough")


def depth(written: str) -> int:
    """How many certificates; none too."""
    return 0 if written == "0" else count(written)


def bound(written: str) -> int:
    """A whole number; `0` and `off` are no limit."""
    if written in ("0", "off"):
        return 0
    try:
        return count(written)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; 0 or off is no limit") from None


_SIZE_UNITS = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def size(written: str) -> int:
    """`64KiB 1MiB` as bytes; `0` and `off` are none."""
    if written in ("0", "off"):
        return 0
    match = re.fullmatch(r"([0-9]{1,9})(|KiB|MiB|GiB)", written)
    if match is None or int(match[1]) == 0:
        raise ConfigurationError(f"{quoted(written)} is not a size; expected for example 64KiB, 100MiB, 0 or off")
    return int(match[1]) * _SIZE_UNITS[match[2]]


#: The most processes that anybody is believed to want.
_MOST_WORKERS = 1024


def workers(written: str) -> int:
    """How many processes; C{auto} is 0 here, and as many as there are cores."""
    found = 0 if written == "auto" else count(written)
    if found > _MOST_WORKERS:
        raise ConfigurationError(f"{written} are too many; expected auto, or a number from 1 to {_MOST_WORKERS}")
    return found


def log_place(written: str) -> str:
    """`twistd`, `syslog`, `journal`, or `file:` and a path."""
    if re.fullmatch(r"file:.+", written, re.DOTALL) or written in _LOGS:
        return written
    trouble = "has no path" if written.startswith("file:") else "is no place for a log"
    raise ConfigurationError(f"{quoted(written)} {trouble}; expected twistd, file:PATH, syslog or journal")


_LOGS = ("twistd", "syslog", "journal")


def _beside(value: str, folder: str) -> str:
    """The path of a log's file, as it is seen from a folder."""
    prefix, _, path = value.partition(":")
    return f"file:{os.path.join(folder, path)}" if prefix == "file" else value


DURATION = Kind(duration, 'a duration such as "10s"', number=_without_unit)
COUNT = Kind(count, "a whole number from 1 on", number=lambda number: count(str(number)), quoted=False)
BOUND = Kind(bound, "a whole number; 0 or off is no limit", number=lambda number: bound(str(number)))
SIZE = Kind(size, 'a size such as "100MiB"', number=lambda number: size(str(number)))
WORKERS = Kind(workers, "auto, or a whole number from 1 on", number=lambda number: workers(str(number)))
LOG = Kind(log_place, "twistd, file:PATH, syslog or journal", beside=_beside)
DEPTH = Kind(depth, "a whole number", number=lambda number: depth(str(number)), quoted=False)
NETWORKS = Kind(
    network,
    "an array of addresses and networks",
    many=True,
    none="there is none in it, so nobody could connect; leave it out for everywhere",
)
PROXIES = Kind(
    source,
    'a table such as { from = ["10.0.0.0/8", "unix"] }',
    many=True,
    none="there is nobody in from, so no header would ever be read; leave it out where there is no proxy",
    inside="from",
)
PORT = Kind(port, "a port", number=lambda number: port(str(number)))
PORTS = attrs.evolve(PORT, expected="a port, or an array of them", many=True)
TEXT = Kind(text, "a string")
TRUTH = Kind(truth, "true or false", quoted=False, flag=True)
HANDLER = Kind(text, "a handler string, or an array of those of several backends", joined=one_handler)
HEALTH = Kind(health_check, "off, tcp or an http:// address")
WORDS = Kind(text, "an array of strings", many=True)
NAME = Kind(host_name, "a host name")
NAMES = Kind(host_name, "an array of host names", many=True)
PROTOCOLS = Kind(protocol, "an array of application protocols", many=True)
VERSION = Kind(version, f"one of {', '.join(_VERSIONS)}")
PATH = Kind(path, "the path of a file", files=True)
FOLDER = Kind(path, "the path of a folder", files=True)
PATHS = Kind(path, "the path of a file, or an array of them", many=True, files=True)
AUTHORITIES = attrs.evolve(
    PATHS,
    none="there is no file in it, so no client would be verified; say one, or leave it out and turn client-auth off",
)
REVOCATIONS = attrs.evolve(PATHS, none="there is no file in it, so nobody would be revoked; leave it out to mean that")
ROOTS = attrs.evolve(PATHS, none="there is no file in it; leave it out for the CAs of the system")
IDENTITIES = attrs.evolve(WORDS, none="there is no rule in it; leave it out where the name is enough")
ALLOWED = attrs.evolve(WORDS, blank="there is no rule in it; say all, or leave it out")
DENIED = attrs.evolve(WORDS, blank="there is no rule in it; leave it out where nobody is denied")
