"""Where clients connect from, and may."""

from __future__ import annotations

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from mytls.guards.sources import Proxies, Sources
from mytls.kinds import UNIX, network


def v4(host: str) -> IPv4Address:
    """A client's address."""
    return IPv4Address("TCP", host, 50000)


def v6(host: str) -> IPv6Address:
    """A client's address."""
    return IPv6Address("TCP", host, 50000)


class SourcesTests(SynchronousTestCase):
    """Networks, and addresses in them or not."""

    def refused(self, sources: Sources, *addresses: IAddress | None) -> list[str | None]:
        """Why each of these may not connect."""
        return [sources.refusal(each) for each in addresses]

    def test_everywhere(self) -> None:
        """Without networks everybody may, who has no address too."""
        self.assertEqual(self.refused(Sources(), v4("192.0.2.1"), v6("::1"), UNIXAddress(b"/x"), None), [None] * 4)

    def test_any_of(self) -> None:
        """Whoever is in one of them may, up to its edges."""
        sources = Sources((network("10.0.0.0/8"), network("192.0.2.7"), network("2001:db8::/32")))
        inside = v4("10.0.0.0"), v4("10.255.255.255"), v4("192.0.2.7"), v6("2001:db8::"), v6("2001:DB8:ffff::1")
        self.assertEqual(self.refused(sources, *inside), [None] * 5)
        outside = v4("9.255.255.255"), v4("11.0.0.0"), v4("192.0.2.8"), v6("2001:db9::"), v6("::10.0.0.1")
        self.assertNotIn(None, self.refused(sources, *outside))

    def test_proxies(self) -> None:
        """A proxy is in one of the networks, or on a UNIX socket; nobody is one where nothing is said."""
        both = Proxies.of([network("10.0.0.0/8"), UNIX, network("2001:db8::/32")])
        proxies = v4("10.0.0.1"), v6("2001:db8::1"), v6("::ffff:10.0.0.1"), UNIXAddress(b"/x"), UNIXAddress(None)
        others = v4("192.0.2.1"), v6("::1"), v4("localhost"), HostnameAddress(b"10.0.0.1", 1), None
        self.assertEqual([both.trusted(each) for each in (*proxies, *others)], [True] * 5 + [False] * 5)
        self.assertEqual([Proxies().trusted(each) for each in (*proxies, *others)], [False] * 10)
        self.assertEqual([Proxies.of([UNIX]).trusted(each) for each in proxies], [False] * 3 + [True] * 2)

    def test_proxies_everywhere(self) -> None:
        """A network of all addresses makes everybody a proxy."""
        said = ("0.0.0.0/0", True), ("::/0", True), ("10.0.0.0/8", False)
        self.assertEqual([Proxies((network(each),)).everywhere for each, _ in said], [each for _, each in said])

    def test_reason(self) -> None:
        """The log has the address."""
        self.assertEqual(
            Sources((network("10.0.0.0/8"),)).refusal(v4("192.0.2.1")), "192.0.2.1 is in no network of from"
        )

    def test_mapped(self) -> None:
        """An IPv4 client of a socket for IPv6 and IPv4 is one of IPv4: in networks of IPv4, and in none of IPv6."""
        mapped = v6("::ffff:10.0.0.1")
        self.assertIsNone(Sources((network("10.0.0.0/8"),)).refusal(mapped))
        self.assertEqual(Sources((network("::/0"),)).refusal(mapped), "10.0.0.1 is in no network of from")

    def test_families(self) -> None:
        """Everywhere of one family is nowhere of the other."""
        self.assertIsNotNone(Sources((network("0.0.0.0/0"),)).refusal(v6("::1")))
        self.assertIsNotNone(Sources((network("::/0"),)).refusal(v4("127.0.0.1")))

    def test_zone(self) -> None:
        """Which of our links an address is on makes no difference."""
        self.assertIsNone(Sources((network("fe80::/10"),)).refusal(v6("fe80::1%eth0")))

    def test_no_address(self) -> None:
        """Who has no IP address comes from no network, however wide."""
        sources = Sources((network("0.0.0.0/0"), network("::/0")))
        none = None, UNIXAddress(b"/run/x"), HostnameAddress(b"localhost", 1), v4("localhost"), v4("")
        self.assertEqual(set(self.refused(sources, *none)), {"from names networks, and the client has no IP address"})
