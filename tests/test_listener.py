"""A listener whose hosts change while clients are there."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.events import Observers
from mytls.hosts import Host, Hosts
from mytls.listener import TLSFactory
from mytls.settings import Deadlines
from mytls.tls.contexts import connection_maker
from tests.memory import Link, RecorderFactory, key_pair, tls_options


class CountingFactory(RecorderFactory):
    """Writes down when it is started and stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def startFactory(self) -> None:
        self.told.append("start")

    def stopFactory(self) -> None:
        self.told.append("stop")


def hosts(name: str, handler: IProtocolFactory | None = None) -> Hosts:
    """One host with a certificate for this name."""
    return Hosts.only(connection_maker(tls_options(key_pair(name))), handler)


def shown(link: Link) -> str:
    """The name in the certificate that the client was shown."""
    certificate: Any = link.client.get_peer_certificate(as_cryptography=True)
    from cryptography import x509

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (name,) = names.get_values_for_type(x509.DNSName)
    return str(name)


class SwapTests(SynchronousTestCase):
    """Swapping the hosts."""

    def setUp(self) -> None:
        self.handler = RecorderFactory()
        self.factory = TLSFactory(hosts("old.example"), self.handler, Clock(), Deadlines(), Observers())

    def link(self) -> Link:
        """A client."""
        return Link(handler=self.handler, factory=self.factory)

    def test_new_clients(self) -> None:
        """Who comes after the swap meets the new host."""
        before, after = self.link(), self.link()
        before.handshake()
        self.factory.swap(hosts("new.example"))
        after.handshake()
        self.assertEqual((shown(before), shown(after)), ("old.example", "new.example"))

    def test_established(self) -> None:
        """Who was there goes on."""
        link = self.link()
        link.handshake()
        self.factory.swap(hosts("new.example"))
        link.client.send(b"still here")
        link.pump()
        self.assertEqual(self.handler.made[0].data, b"still here")

    def test_handshake_under_way(self) -> None:
        """A handshake finishes with what it began with, TLS 1.2 with its several turns too."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        link = Link(handler=self.handler, factory=self.factory, context=context)
        self.assertRaises(SSL.WantReadError, link.client.do_handshake)
        link.to_server(link.outgoing())
        link.to_client()
        self.factory.swap(hosts("new.example"))
        link.handshake()
        self.assertEqual(shown(link), "old.example")
        self.assertEqual(link.recorder.told, ["made"])

    def test_hello_under_way(self) -> None:
        """Who has sent half of a ClientHello meets the new host: it has chosen none yet."""
        link = self.link()
        self.assertRaises(SSL.WantReadError, link.client.do_handshake)
        hello = link.outgoing()
        link.to_server(hello[:50])
        self.factory.swap(hosts("new.example"))
        link.to_server(hello[50:])
        link.to_client()
        link.handshake()
        self.assertEqual(shown(link), "new.example")

    def test_handlers_start_and_stop(self) -> None:
        """While it listens, new handlers are started and old ones stopped; those that stay notice nothing."""
        first, second, default = CountingFactory(), CountingFactory(), CountingFactory()
        maker = connection_maker(tls_options())
        one = Host(maker, first, names=("one.example",))
        two = Host(maker, second, names=("two.example",))
        factory = TLSFactory(Hosts.of([one], Host(maker)), default, Clock(), Deadlines(), Observers())
        factory.doStart()
        self.assertEqual((first.told, second.told, default.told), (["start"], [], ["start"]))
        factory.swap(Hosts.of([two], Host(maker)))
        self.assertEqual((first.told, second.told, default.told), (["start", "stop"], ["start"], ["start"]))
        factory.doStop()
        for each in (first, second, default):
            self.assertEqual(each.told, ["start", "stop"])

    def test_handlers_before_it_listens(self) -> None:
        """Before it listens nothing is started."""
        first = CountingFactory()
        factory = TLSFactory(hosts("a.example"), self.handler, Clock(), Deadlines(), Observers())
        factory.swap(hosts("a.example", first))
        self.assertEqual(first.told, [])
        factory.doStart()
        factory.doStop()
        self.assertEqual(first.told, ["start", "stop"])
