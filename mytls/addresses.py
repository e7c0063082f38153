"""Addresses, as logs write them."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress


def address_text(address: IAddress | None) -> str:
    """`192.0.2.1:443`, `[2001:db8::1]:443`, a socket's path; in a log behind L{mytls.errors.visible}."""
    match address:
        case IPv4Address():
            return f"{address.host}:{address.port}"
        case IPv6Address():
            return f"[{address.host}]:{address.port}"
        case UNIXAddress():
            return (address.name or b"").decode("utf-8", "backslashreplace") or "unix"
        case _:
            return "unknown"
