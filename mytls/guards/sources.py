"""
Where clients may connect from.

    sources = Sources((ip_network("10.0.0.0/8"),))
    sources.refusal(IPv4Address("TCP", "192.0.2.1", 50000))  # why not, or None
"""

from __future__ import annotations

import ipaddress

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

from mytls.settings import Network


@attrs.frozen
class Sources:
    """
    Networks that clients may connect from.

    @ivar networks: any of these; everywhere, where there are none
    """

    networks: tuple[Network, ...] = ()

    def refusal(self, address: IAddress | None) -> str | None:
        """
        Why a client from this address may not connect, in a few words for the log; None where it may. Who has no IP
        address comes from no network.
        """
        if not self.networks:
            return None
        where = _plain(address.host) if isinstance(address, IPv4Address | IPv6Address) else None
        if where is None:
            return "from= names networks, and the client has no IP address"
        if any(where in network for network in self.networks):
            return None
        return f"no network of from= has {where}"


def _plain(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Without the zone (RFC 4007 section 11), and an IPv4 client of an IPv6 socket as what it is (RFC 4291 2.5.5.2)."""
    try:
        where = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:  # an endpoint of another's may say anything
        return None
    mapped = where.ipv4_mapped if isinstance(where, ipaddress.IPv6Address) else None
    return mapped or where
