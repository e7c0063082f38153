"""Which host a client meets."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from mytls.errors import Alert, Cause, ConfigurationError, TLSFailure
from mytls.guards.sources import Sources
from mytls.hosts import Host, Hosts
from mytls.kinds import network
from mytls.peer import Peer
from mytls.tls.hello import ClientHello


def host(*names: str, alpn: tuple[bytes, ...] = ()) -> Host:
    """A host of these names, which nobody connects to."""
    maker: Any = object()
    return Host(maker, names=names, alpn=alpn)


def hello(name: str | bytes | None, *alpn: bytes) -> ClientHello:
    """A client that asks for this."""
    sent = name.encode("utf-8") if isinstance(name, str) else name
    return ClientHello(0x0303, (0x1301,), server_name=sent, alpn=alpn)


class HostsTests(SynchronousTestCase):
    """Asking for hosts."""

    def assertRefused(self, hosts: Hosts, asked: ClientHello) -> TLSFailure:
        """Assert that this client is told unrecognized_name."""
        failure: TLSFailure = self.assertRaises(TLSFailure, hosts.choose, asked)
        self.assertIs(failure.cause, Cause.UNKNOWN_NAME)
        self.assertEqual(failure.alert, Alert.UNRECOGNIZED_NAME)
        return failure


class AgreedTests(HostsTests):
    """By what a connection has agreed on."""

    def test_as_if_it_came_now(self) -> None:
        """The name and the protocol that it has lead to the same host as they would in a ClientHello."""
        web, other = host("a.example", alpn=(b"h2",)), host("a.example")
        hosts = Hosts.of([web, other], None)
        self.assertIs(hosts.chosen(b"a.example", (b"h2",)), web)
        self.assertIs(hosts.chosen(b"a.example", ()), other)
        self.assertRaises(TLSFailure, hosts.chosen, b"b.example", ())

    def test_where_from(self) -> None:
        """The listener's networks hold, and so do the host's."""
        near, far = Sources((network("192.0.2.0/24"),)), Sources((network("10.0.0.0/8"),))
        here = Peer(IPv4Address("TCP", "192.0.2.1", 1))
        for of_listener, of_host, enters in ((near, near, True), (near, far, False), (far, near, False)):
            one = attrs.evolve(host(), sources=of_host)
            hosts = attrs.evolve(Hosts(one), sources=of_listener)
            if enters:
                hosts.check_source(one, here)
            else:
                failure: TLSFailure = self.assertRaises(TLSFailure, hosts.check_source, one, here)
                self.assertEqual((failure.cause, failure.detail), (Cause.FROM, "192.0.2.1 is in no network of from"))


class NameTests(HostsTests):
    """By name."""

    def test_only_one(self) -> None:
        """The only host answers to every name, to none, and to what is no name."""
        one = host()
        for name in ("a.example", None, b"\xff", "10.0.0.1"):
            self.assertIs(Hosts(one).choose(hello(name)), one)

    def test_exact(self) -> None:
        """Each name has its host."""
        one, other = host("one.example", "uno.example"), host("other.example")
        hosts = Hosts.of([one, other], None)
        self.assertIs(hosts.choose(hello("one.example")), one)
        self.assertIs(hosts.choose(hello("uno.example")), one)
        self.assertIs(hosts.choose(hello("other.example")), other)

    def test_spellings(self) -> None:
        """Case does not matter, and neither does a dot at the end."""
        one = host("admin.example")
        hosts = Hosts.of([one], None)
        for name in ("ADMIN.example", "admin.example.", "Admin.Example."):
            self.assertIs(hosts.choose(hello(name)), one, name)

    def test_not_the_name(self) -> None:
        """What is near a name is not the name."""
        hosts = Hosts.of([host("admin.example")], None)
        for name in (
            "admin.example..", ".admin.example", "admin.example.com", "xadmin.example", "admin", "example", "-", ".",
            "admin example", "admin.example:443", "*.example", "admin.example\n", "[::1]", "::1", "admin,example",
            "a" * 64 + ".example",
        ):  # fmt: skip
            self.assertRefused(hosts, hello(name))

    def test_wildcard_is_one_label(self) -> None:
        """A wildcard stands for one label: not for none, not for two."""
        one = host("*.api.example")
        hosts = Hosts.of([one], None)
        self.assertIs(hosts.choose(hello("a.api.example")), one)
        self.assertIs(hosts.choose(hello("A.API.example.")), one)
        for name in ("api.example", "b.a.api.example", "aapi.example", "*.api.example"):
            self.assertRefused(hosts, hello(name))

    def test_more_specific_wins(self) -> None:
        """A whole name wins over a wildcard, in whatever order they were given."""
        whole, wild = host("a.example"), host("*.example")
        for order in ([whole, wild], [wild, whole]):
            hosts = Hosts.of(order, None)
            self.assertIs(hosts.choose(hello("a.example")), whole)
            self.assertIs(hosts.choose(hello("b.example")), wild)

    def test_no_name(self) -> None:
        """A client without a name is as one with an unknown name: refused, or that host's."""
        one = host("one.example")
        failure = self.assertRefused(Hosts.of([one], None), hello(None))
        self.assertEqual(failure.detail, "the client asks for no name")
        self.assertIs(Hosts.of([one], one).choose(hello(None)), one)

    def test_unknown_name(self) -> None:
        """The refusal shows the name, as it may stand in a log."""
        one = host("one.example")
        failure = self.assertRefused(Hosts.of([one], None), hello('x\n"y'))
        self.assertEqual(failure.detail, "no host has the name x\\x0a\\x22y")
        self.assertIs(Hosts.of([one], one).choose(hello("other.example")), one)

    @given(st.binary(min_size=1, max_size=255))
    def test_any_bytes(self, name: bytes) -> None:
        """Whatever a client asks for, it is answered or refused."""
        one = host("*.example", "one.example")
        hosts = Hosts.of([one], None)
        try:
            self.assertIs(hosts.choose(hello(name)), one)
        except TLSFailure as failure:
            self.assertIs(failure.cause, Cause.UNKNOWN_NAME)
        else:
            self.assertTrue(name.lower().removesuffix(b".").endswith(b".example"))


class ProtocolTests(HostsTests):
    """By name and application protocol."""

    def setUp(self) -> None:
        self.web = host("a.example", alpn=(b"h2", b"http/1.1"))
        self.acme = host("a.example", alpn=(b"acme-tls/1",))
        self.rest = host("a.example")

    def test_first_that_speaks_it(self) -> None:
        """The client's list picks among hosts of one name; in a mixed list the order of the hosts decides."""
        hosts = Hosts.of([self.web, self.acme], None)
        self.assertIs(hosts.choose(hello("a.example", b"acme-tls/1")), self.acme)
        self.assertIs(hosts.choose(hello("a.example", b"http/1.1")), self.web)
        self.assertIs(hosts.choose(hello("a.example", b"acme-tls/1", b"h2")), self.web)

    def test_none_of_them(self) -> None:
        """Who speaks none of it, or offers nothing, meets the host without a list, else the first."""
        with_rest = Hosts.of([self.web, self.acme, self.rest], None)
        self.assertIs(with_rest.choose(hello("a.example", b"mqtt")), self.rest)
        self.assertIs(with_rest.choose(hello("a.example")), self.rest)
        without = Hosts.of([self.web, self.acme], None)
        self.assertIs(without.choose(hello("a.example", b"mqtt")), self.web)
        self.assertIs(without.choose(hello("a.example")), self.web)

    def test_name_first(self) -> None:
        """A protocol never leads from a host to the wildcard beside it."""
        wild = host("*.example", alpn=(b"mqtt",))
        hosts = Hosts.of([self.web, wild], None)
        self.assertIs(hosts.choose(hello("a.example", b"mqtt")), self.web)

    def test_not_told_apart(self) -> None:
        """Two hosts that the same client could mean are a mistake."""
        for one, other, text in (
            (self.web, host("a.example", alpn=(b"h2",)), "two hosts have the name a.example and the protocol h2"),
            (self.rest, host("b.example", "a.example"), "two hosts have the name a.example; only different alpn lists"),
        ):
            error = self.assertRaises(ConfigurationError, Hosts.of, [one, other], None)
            self.assertTrue(str(error).startswith(text), str(error))


class HandlerTests(SynchronousTestCase):
    """Hosts and their handlers."""

    def test_handled_by(self) -> None:
        """Hosts without a handler get one; a host of many names stays one host; those with one keep it."""
        default: Any = object()
        own: Any = object()
        plain, special = host("a.example", "b.example"), Host(None, handler=own, names=("c.example",))
        handled = Hosts.of([plain, special], plain).handled_by(lambda each: default)
        self.assertIs(handled.choose(hello("a.example")), handled.choose(hello("b.example")))
        self.assertIs(handled.choose(hello("a.example")), handled.unknown)
        self.assertIs(handled.choose(hello("a.example")).handler, default)
        self.assertIs(handled.choose(hello("c.example")).handler, own)
        self.assertEqual(len(handled.all), 2)
        self.assertEqual(handled.handlers, (default, own))
