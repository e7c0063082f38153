"""Addresses, as logs write them."""

from __future__ import annotations

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from mytls.addresses import address_text


class AddressTests(SynchronousTestCase):
    """What each kind is."""

    def test_kinds(self) -> None:
        """IPv4, IPv6 in brackets, a socket's path, and whatever else there is."""
        self.assertEqual(address_text(IPv4Address("TCP", "192.0.2.1", 1)), "192.0.2.1:1")
        self.assertEqual(address_text(IPv6Address("TCP", "2001:db8::1", 1)), "[2001:db8::1]:1")
        self.assertEqual(address_text(UNIXAddress(b"/run/x")), "/run/x")
        self.assertEqual(address_text(UNIXAddress(None)), "unix")
        self.assertEqual(address_text(HostnameAddress(b"x", 1)), "unknown")
        self.assertEqual(address_text(None), "unknown")
