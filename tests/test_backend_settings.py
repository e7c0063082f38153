"""How hosts deal with their backends: what is said, and what comes of it."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mytls.assemble import service, service_from_file
from mytls.endpoint import TLSServerEndpoint
from mytls.errors import ConfigurationError
from mytls.events import Reloaded
from mytls.handlers.backends import Balance
from mytls.handlers.proxy import OnTruncation, ProxyFactory
from mytls.kinds import HANDLER, HEALTH, TRUTH
from mytls.settings import BackendSettings, HostSettings, inherited
from mytls.strings import listener_from_string
from tests.files import write_pair
from tests.memory import tls_options
from tests.test_running import RunningTests

PROXY = "proxy:tcp:127.0.0.1:1"
PASSTHROUGH = "passthrough:tcp:127.0.0.1:1"


class KindTests(SynchronousTestCase):
    """The values of these keys."""

    def test_truth(self) -> None:
        """A flag is a boolean in the file."""
        self.assertEqual([TRUTH.of_toml(value) for value in (True, False)], [True, False])
        wrong: list[Any] = ["true", 1, "yes", []]
        for value in wrong:
            with self.assertRaises(ConfigurationError) as raised:
                TRUTH.of_toml(value)
            self.assertRegex(str(raised.exception), r"^an? \w+ where true or false is expected$")
        self.assertEqual([TRUTH.of_text(text) for text in ("true", "false")], [True, False])
        with self.assertRaises(ConfigurationError):
            TRUTH.of_text("on")

    def test_handlers(self) -> None:
        """Several backends in an array are one handler; other handlers there is one of."""
        for value, expected in (
            ("echo", "echo"),
            ([PROXY], PROXY),
            (["proxy:tcp:a:1", "proxy:unix:/b,tcp:c:1"], "proxy:tcp:a:1,unix:/b,tcp:c:1"),
            ([PASSTHROUGH, PASSTHROUGH], f"{PASSTHROUGH},tcp:127.0.0.1:1"),
        ):
            self.assertEqual(HANDLER.of_toml(value), expected)
        for wrong in ([], ["echo"], ["echo", "echo"], [PROXY, PASSTHROUGH], [PROXY, "tcp:b:1"]):
            with self.assertRaises(ConfigurationError) as raised:
                HANDLER.of_toml(wrong)
            self.assertEqual(
                str(raised.exception),
                "an array is for several backends: all of it proxy:, or all of it passthrough:",
            )
        with self.assertRaises(ConfigurationError):
            HANDLER.of_toml(["proxy:a", 1])

    def test_health(self) -> None:
        """Off, a dial, or an address, in which a star may be the host."""
        for right in ("off", "tcp", "http://*/", "http://10.0.0.1:8081/health?all", "http://[::1]/"):
            self.assertEqual(HEALTH.of_toml(right), right)
        for wrong in ("on", "https://*/", "http://", "http://a:0/", "http://a:x/", "http://a b/"):
            with self.assertRaises(ConfigurationError):
                HEALTH.of_toml(wrong)


class HostTests(SynchronousTestCase):
    """The keys of a host."""

    def host(self, handler: str | None, **said: str) -> HostSettings:
        """What is said of it."""
        named = {name.replace("_", "-"): value for name, value in said.items()}
        return HostSettings.of({**named, **({} if handler is None else {"handler": handler})}, {})

    def wrong(self, handler: str | None, **said: str) -> str:
        """What is said of a host that contradicts itself."""
        with self.assertRaises(ConfigurationError) as raised:
            self.host(handler, **said)
        return str(raised.exception)

    def test_values(self) -> None:
        """What is not said is the default."""
        self.assertEqual(self.host(PROXY).backend, BackendSettings())
        made = self.host(PROXY, balance="first", backend_health="tcp", on_truncation="reset", send_proxy_protocol="v1")
        self.assertEqual(made.backend, BackendSettings("first", "tcp", "reset", "v1"))

    def test_no_backends(self) -> None:
        """Other handlers have none, also where it is the default that is said."""
        for handler in ("echo", "exec:/bin/cat", "proxyy:a", None):
            self.assertEqual(
                self.wrong(handler, balance="round-robin"),
                "balance=round-robin: of no use without a handler that has backends, proxy: or passthrough:",
            )

    def test_passed_on(self) -> None:
        """What is not decrypted has no end of its own, and nothing of TLS that could be told."""
        made = self.host(PASSTHROUGH, balance="first", backend_health="tcp", send_proxy_protocol="v2")
        self.assertEqual(made.backend, BackendSettings("first", "tcp", header="v2"))
        self.assertEqual(
            self.wrong(PASSTHROUGH, on_truncation="eof"),
            "on-truncation=eof: of no use with passthrough:, which decrypts nothing",
        )
        for header in ("v2-tls", "v2-tls-certificate"):
            self.assertEqual(
                self.wrong(PASSTHROUGH, send_proxy_protocol=header),
                f"send-proxy-protocol={header}: of no use with passthrough:, which decrypts nothing; "
                "expected off, v1 or v2",
            )

    def test_inherited(self) -> None:
        """A host has them of its listener, as far as its handler has a use for them; a header is never just lost."""
        said = {"handler": PROXY, "balance": "first", "on-truncation": "reset", "send-proxy-protocol": "v2-tls"}
        self.assertEqual(inherited(said, {}), said)
        self.assertEqual(inherited(said, {"handler": "echo"}), {})
        self.assertEqual(
            inherited(said, {"handler": PASSTHROUGH}),
            {"balance": "first", "send-proxy-protocol": "v2-tls"},
        )

    def test_string(self) -> None:
        """They are words of an endpoint string."""
        made = listener_from_string("mytls:1:certKey=a.pem:balance=least-connections:sendProxyProtocol=v1", PROXY)
        self.assertEqual(made.base.backend, BackendSettings("least-connections", header="v1"))


def listener(more: str, port: int = 1) -> str:
    """A listener of a file."""
    return f'endpoint = "mytls:{port}"\ncertificate = "a.pem"\n{more}'


class ServiceTests(RunningTests):
    """What is made of it."""

    def proxies(self) -> list[Any]:
        """The handler of each port."""
        return [
            each.hosts.unknown.handler if hasattr(each, "hosts") else each.handler
            for _, each in sorted(self.reactor.listening.items())
        ]

    def lines(self, *listeners: str, more: str = "") -> list[str]:
        """What is said of a file that is wrong."""
        with self.assertRaises(ConfigurationError) as raised:
            service_from_file(self.write(*listeners, more=more), reactor=self.reactor)
        return [line.replace(str(self.path("mytls.toml")), "FILE") for line in raised.exception.lines]

    def test_handlers(self) -> None:
        """Each host's handler deals with its backends as its host says; hosts that say the same share one."""
        said = 'handler = ["proxy:tcp:127.0.0.1:1", "proxy:tcp:127.0.0.1:2"]\n'
        ways = (
            "",
            "",
            'balance = "first"\nbackend-health = "tcp"\non-truncation = "reset"\nsend-proxy-protocol = "v2-tls"\n',
        )
        listeners = [listener(said + more, port) for port, more in enumerate(ways, 1)]
        self.of_file(*listeners, more='[deadlines]\nhalf-close = "7s"\n')
        first, second, third = self.proxies()
        self.assertIs(first, second)
        self.assertEqual((first.on_truncation, first.header, first.half_close), (OnTruncation.EOF, "off", 7))
        self.assertEqual((third.on_truncation, third.header, third.half_close), (OnTruncation.RESET, "v2-tls", 7))
        self.assertEqual([each.description for each in third.health()], ["tcp:127.0.0.1:1", "tcp:127.0.0.1:2"])
        self.assertEqual([each[:2] for each in self.reactor.tcpClients], [("127.0.0.1", 1), ("127.0.0.1", 2)])

    def test_plain_listener(self) -> None:
        """One without TLS of ours deals with backends as well."""
        self.of_file('endpoint = "tcp:1:interface=127.0.0.1"\nhandler = "proxy:mytls:db.example:1"\nbalance = "first"')
        (handler,) = self.proxies()
        self.assertEqual(handler.backends._balance, Balance.FIRST)

    def test_reload(self) -> None:
        """What is as it was keeps its handler; what is not has another one, which is told."""
        said = f'handler = "{PROXY}"\n'
        self.of_file(listener(said), listener(said + 'balance = "first"\n', 2))
        before = self.proxies()
        self.write(listener(said), listener(said + 'balance = "round-robin"\nsend-proxy-protocol = "v1"\n', 2))
        self.reactor.advance(10)
        after = self.proxies()
        self.assertIs(before[0], after[0])
        self.assertEqual((before[1].header, after[1].header), ("off", "v1"))
        (event,) = [each for each in self.events if isinstance(each, Reloaded)]
        self.assertEqual(event.changes, ("a.example: other balance, send-proxy-protocol",))

    def test_reload_of_health(self) -> None:
        """Backends are looked at from the reload on that says so, until the one that does not."""
        said = f'handler = "{PROXY}"\n'
        self.of_file(listener(said))
        for more, looks in (('backend-health = "tcp"\n', 1), ("", 0)):
            self.write(listener(said + more))
            self.reactor.advance(10)
            self.reactor.tcpClients.clear()
            self.reactor.advance(10)  # a look has its time, and the next comes
            self.reactor.advance(5)
            self.assertEqual(len(self.reactor.tcpClients), looks)

    def test_no_place_for_a_header(self) -> None:
        """It is one line, with the string."""
        self.assertEqual(
            self.lines(listener('handler = "proxy:tls:db.example:1"\nsend-proxy-protocol = "v2"')),
            [
                "FILE:4: handler=proxy:tls:db.example:1: send-proxy-protocol=v2: tls: has no place for it ahead of its "
                "TLS; say mytls: for TLS, else tcp: or unix:"
            ],
        )

    def test_plaintext(self) -> None:
        """Plaintext on a network is refused with one line for each place, and served where the file says so."""
        listeners = (
            listener('handler = "proxy:tcp:app.example:80"'),
            'endpoint = "tcp:2"\nhandler = "proxy:mytls:db.example:1"',
            listener('handler = "passthrough:tcp:app.example:443"', 3).replace('certificate = "a.pem"\n', ""),
            'endpoint = "tcp:4"\nhandler = "proxy:tcp:app.example:80"',
        )
        self.assertEqual(
            self.lines(*listeners),
            [
                "FILE:4: handler=proxy:tcp:app.example:80: the decrypted bytes of mytls:1 would go to "
                "tcp:app.example:80 as plaintext, over a network; unsafe-plaintext = true lets it",
                "FILE:7: handler=proxy:mytls:db.example:1: tcp:2 takes plaintext from a network, for "
                "mytls:db.example:1; unsafe-plaintext = true lets it",
            ],
        )
        path = self.write(*listeners)
        text = self.path("mytls.toml").read_text()
        self.path("mytls.toml").write_text("unsafe-plaintext = true\n" + text)
        made = self.started(service_from_file(path, reactor=self.reactor))
        self.assertEqual(len(made.addresses), 4)

    def test_plaintext_of_strings(self) -> None:
        """The same of what a command line or a program says."""
        key, chain = write_pair(self.folder)
        endpoint = f"ssl:1:privateKey={key}:certKey={chain}"
        with self.assertRaises(ConfigurationError) as raised:
            service(endpoint, "proxy:tcp:10.0.0.9:80", reactor=self.reactor)
        self.assertEqual(
            str(raised.exception),
            f"--handler proxy:tcp:10.0.0.9:80: the decrypted bytes of {endpoint} would go to tcp:10.0.0.9:80 "
            "as plaintext, over a network; --unsafe-plaintext lets it",
        )
        service(endpoint, "proxy:tcp:10.0.0.9:80", reactor=self.reactor, unsafe_plaintext=True)

    def test_plaintext_of_endpoints(self) -> None:
        """And where the program has made the endpoint itself, as far as it is one of ours."""
        endpoint = TLSServerEndpoint(self.reactor, 1, tls_options())
        with self.assertRaises(ConfigurationError) as raised:
            service(endpoint, "proxy:tcp:10.0.0.9:80", reactor=self.reactor)
        self.assertIn("of TLSServerEndpoint would go to tcp:10.0.0.9:80", str(raised.exception))
        made = service(endpoint, PROXY, reactor=self.reactor)
        self.assertIsInstance(made._handler(HostSettings()), ProxyFactory)
