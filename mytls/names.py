"""Server names, one spelling for each: what a user writes, what a certificate says and what a client asks for meet."""

from __future__ import annotations

import re

import idna

from mytls.errors import ConfigurationError, quoted, shortened

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")


def host_name(written: str) -> str:
    """
    A host's name as the user wrote it, in the spelling of the wire: lower case, A-labels (RFC 5890), no dot at the
    end. `*.example.com` stands for each name with one label more than `example.com` (RFC 9525 section 6.3).

    @raise ConfigurationError: it can be nobody's server name
    """
    wildcard, name = ("*.", written[2:]) if written.startswith("*.") else ("", written)
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise ConfigurationError(f"{quoted(written)} is no host name: {shortened(error)}") from None
    found = asked_name(name.encode("ascii"))
    if found is None or "*" in name:
        raise ConfigurationError(
            f"{quoted(written)} is no host name; expected one such as api.example or *.api.example"
        )
    return wildcard + found


def asked_name(sent: bytes) -> str | None:
    """A client's server name in the same spelling (RFC 6066 section 3), or None where it can be no host's name."""
    name = sent.removesuffix(b".").lower().decode("latin-1")
    if len(name) > 253 or not _NAME.fullmatch(name) or name.rpartition(".")[2].isdigit():
        return None
    return name


def parent(name: str) -> str:
    """The wildcard that a name may fall under: `*.example.com` for `api.example.com`."""
    return f"*.{name.partition('.')[2]}"
