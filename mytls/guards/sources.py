"""
Where clients may connect from, and who is in front of us and may say where that is.

    sources = Sources((ip_network("10.0.0.0/8"),))
    sources.refusal(IPv4Address("TCP", "192.0.2.1", 50000))  # why not, or None
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import attrs
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from mytls.kinds import UNIX
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
            return "from names networks, and the client has no IP address"
        if any(where in network for network in self.networks):
            return None
        return f"{where} is in no network of from"


@attrs.frozen
class Proxies:
    """
    Who passes connections on to us, and is believed where their clients are.

    @ivar networks: whoever connects from any of these
    @ivar unix: whoever connects to a UNIX socket
    """

    networks: tuple[Network, ...] = ()
    unix: bool = False

    @classmethod
    def of(cls, said: Iterable[Network | str]) -> Proxies:
        """@param said: the value of C{proxy-protocol}"""
        several = tuple(said)
        return cls(tuple(each for each in several if not isinstance(each, str)), UNIX in several)

    def trusted(self, address: IAddress | None) -> bool:
        """Whether who connects from there is one of them."""
        if isinstance(address, UNIXAddress):
            return self.unix
        if not self.networks or not isinstance(address, IPv4Address | IPv6Address):
            return False
        where = _plain(address.host)
        return where is not None and any(where in network for network in self.networks)

    @property
    def everywhere(self) -> bool:
        """Whether anybody may say anything of a client's address."""
        return any(network.prefixlen == 0 for network in self.networks)


def _plain(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Without the zone (RFC 4007 section 11), and an IPv4 client of an IPv6 socket as what it is (RFC 4291 2.5.5.2)."""
    try:
        where = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:  # an endpoint of another's may say anything
        return None
    mapped = where.ipv4_mapped if isinstance(where, ipaddress.IPv6Address) else None
    return mapped or where
