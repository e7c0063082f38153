"""
Whose requests are answered: those of programs, and those of the service's own page.

A browser carries requests of any page to loopback too, and a page can have its own name resolved to our address (DNS
rebinding). It says so: in C{Host} stands the name that it has asked for, in C{Origin} (RFC 6454) and C{Sec-Fetch-Site}
(W3C Fetch Metadata) whose page it was. A program says none of that.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

#: Looks up a header of a request, by its name in lower case; None where it was not said.
Headers = Callable[[str], str | None]

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/?#@\s]*)(?::\d*)?")


def trouble(headers: Headers, *, secure: bool, known: Callable[[str], bool], changes: bool) -> str | None:
    """
    Why a request is not answered.

    @param secure: whether it came over TLS
    @param known: whether a host's name, in lower case, is one of this service
    @param changes: whether the request is to change something
    @return: a few words; None where nothing is wrong
    """
    host = headers("host")
    name = None if host is None else _name(host)
    if host is not None and (name is None or not known(name)):
        return "the Host header names none of this service; ask by address, or as localhost"
    site = headers("sec-fetch-site")
    if not _own(headers("origin"), host, secure, site):
        return "another site's page may not ask"
    navigates = headers("sec-fetch-mode") == "navigate" and not changes
    if site not in (None, "same-origin", "none") and not navigates:
        return "another site's page may not ask"
    return None


def is_here(name: str) -> bool:
    """Whether a host's name is an address, which no resolver has chosen, or loopback's."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        plain = name.rstrip(".")
        return plain == "localhost" or plain.endswith(".localhost")  # RFC 6761 section 6.3
    return True


def _name(host: str) -> str | None:
    """The name in a Host header, in lower case; None where that is not one."""
    found = _HOST.fullmatch(host)
    return None if found is None else found[1].lower()


def _own(origin: str | None, host: str | None, secure: bool, site: str | None) -> bool:
    """
    Whether a page is ours, where a page asks. What stands in front of us, and speaks TLS, is not known to us: without
    TLS of ours a page of https is, where the browser says that it has asked where it is from.
    """
    if origin is None:
        return True
    scheme, _, place = origin.lower().partition("://")
    if host is None or place != host.lower():
        return False
    return scheme == ("https" if secure else "http") or (scheme == "https" and site == "same-origin")
