"""Handler strings: what is built in, what a module has, what a plugin adds, and what is wrong with each."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial, wraps
from pathlib import Path
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import twisted.plugins
from mytls import handlers
from mytls.errors import ConfigurationError
from mytls.handlers import BUILT_IN, handler_from_string
from mytls.handlers.builtin import Discard, Echo
from mytls.handlers.load import check_call
from mytls.interfaces import IHandlerParser
from tests.files import folder
from tests.memory import Link

MODULE = """
from twisted.internet.protocol import Factory, Protocol, ServerFactory
from twisted.protocols.wire import Echo

class Chat(Factory):
    protocol = Echo

class Needy(Factory):
    def __init__(self, room):
        pass

def make_chat():
    return Chat()

def make_nothing():
    return None

def broken():
    raise ValueError("no\\nroom")

ready = Chat()
number = 7

class Nested:
    chat = ready
"""


class HandlerTests(SynchronousTestCase):
    """A folder with modules in it, which is on the path."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.folder = folder(self)
        self.patch(sys, "path", [str(self.folder), *sys.path])
        self.addCleanup(self.forget_modules)
        self.write("app.py", MODULE)

    def write(self, name: str, text: str) -> None:
        """A module in the folder."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)

    def forget_modules(self) -> None:
        """Let the next test import its own."""
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None)).startswith(f"{self.folder}/"):
                del sys.modules[name]

    def made(self, description: str) -> Any:
        """The factory of a handler string."""
        made = handler_from_string(self.reactor, description)
        verifyObject(IProtocolFactory, made)
        return made

    def refused(self, description: str, line: str) -> None:
        """Assert that it is refused with this line, behind the words that the user typed."""
        with self.assertRaises(ConfigurationError, msg=description) as caught:
            handler_from_string(self.reactor, description)
        self.assertEqual(str(caught.exception).replace(str(self.folder), "DIR"), f"--handler {description}: {line}")


class BuiltInTests(HandlerTests):
    """`echo` and `discard`, behind real TLS."""

    def link(self, description: str) -> Link:
        """A client in front of the handler."""
        link = Link(handler=self.made(description))
        link.handshake()
        return link

    def test_echo(self) -> None:
        """What is sent comes back, in its order."""
        link = self.link("echo")
        for number in range(5):
            link.client.send(b"%d" % number * 1000)
            link.pump()
        self.assertEqual(bytes(link.received), b"".join(b"%d" % number * 1000 for number in range(5)))

    def test_echo_to_the_end(self) -> None:
        """What was sent before the client has finished still comes back; then the echo finishes too."""
        link = self.link("echo")
        link.client.send(b"last words")
        link.client.shutdown()
        link.pump()
        self.assertEqual(bytes(link.received), b"last words")
        self.assertTrue(link.peer_finished)
        self.assertIsInstance(link.socket.lost, ConnectionDone)

    def test_echo_to_who_does_not_read(self) -> None:
        """A client that sends and does not read is read from no more, once what waits for it is enough."""
        link = self.link("echo")
        link.socket.peer_reads = False
        for _ in range(40):
            link.client.send(b"x" * 16000)
            if link.socket.reading:
                link.to_server(link.outgoing())
        self.assertFalse(link.socket.reading)
        self.assertLess(link.socket.queued(), 40 * 16000 / 2)

    def test_echo_on_other_transports(self) -> None:
        """Where TLS is not ours, the transport pauses itself while it holds too much."""
        protocol, transport = self.made("echo").buildProtocol(None), StringTransport()
        protocol.makeConnection(transport)
        self.assertIs(transport.producer, transport)
        self.assertTrue(transport.streaming)
        protocol.dataReceived(b"hello")
        self.assertEqual(transport.value(), b"hello")

    def test_discard(self) -> None:
        """What is sent is read, and nothing comes back."""
        link = self.link("discard")
        link.client.send(b"x" * 10000)
        link.pump()
        self.assertEqual((bytes(link.received), link.socket.reading), (b"", True))

    def test_discard_to_the_end(self) -> None:
        """A client that finishes is answered in kind."""
        link = self.link("discard")
        link.client.shutdown()
        link.pump()
        self.assertTrue(link.peer_finished)

    def test_protocols(self) -> None:
        """The factories make the protocols of their names, and log no line for each start."""
        for description, protocol in (("echo", Echo), ("discard", Discard)):
            made = self.made(description)
            self.assertIsInstance(made.buildProtocol(None), protocol)
            self.assertFalse(made.noisy)

    def test_no_argument(self) -> None:
        """Neither takes an argument."""
        self.refused("echo:loud", "it takes no argument, and 'loud' is one")
        self.refused("discard:x", "it takes no argument, and 'x' is one")
        self.made("echo:")


class FactoryTests(HandlerTests):
    """`factory:package.module:Name`."""

    def test_instance(self) -> None:
        """A factory is taken as it is."""
        made = self.made("factory:app:ready")
        self.assertIs(made, sys.modules["app"].ready)
        self.assertIs(self.made("factory:app:Nested.chat"), made)

    def test_class(self) -> None:
        """A class of factories is called, and so is a function that makes one."""
        for name in ("Chat", "make_chat"):
            self.assertIsInstance(self.made(f"factory:app:{name}"), sys.modules["app"].Chat)

    def test_protocol(self) -> None:
        """Of a class of protocols a factory is made, whose protocols know it."""
        made = self.made("factory:app:Echo")
        protocol = made.buildProtocol(None)
        self.assertIs(protocol.factory, made)
        link = Link(handler=made)
        link.handshake()
        link.client.send(b"hello")
        link.pump()
        self.assertEqual(bytes(link.received), b"hello")

    def test_wrong_things(self) -> None:
        """What is no factory and makes none."""
        for name, line in (
            ("number", "expected a factory or a protocol class, not int"),
            ("make_nothing", "calling it gave NoneType, which is no IProtocolFactory"),
            ("broken", "calling it failed: ValueError: no room"),
            ("Needy", "calling it failed: TypeError: Needy.__init__() missing 1 required positional argument: 'room'"),
        ):
            self.refused(f"factory:app:{name}", line)


class LoadTests(HandlerTests):
    """What can be wrong with `package.module:name`."""

    def test_form(self) -> None:
        """Each prefix tells how the whole string should look."""
        for prefix, word in (("call", "function"), ("serve", "function"), ("factory", "Name")):
            for argument in ("", ":", ":app", ":app:", "::x", ":.app:x"):
                self.refused(f"{prefix}{argument}", f"expected {prefix}:package.module:{word}")

    def test_no_module(self) -> None:
        """A module that is not there is named, down to the part that is missing."""
        self.refused("call:apq:run", "there is no module 'apq' in this folder or on the path")
        self.refused("call:apq.sub:run", "there is no module 'apq' in this folder or on the path")
        self.write("package/__init__.py", "")
        self.refused("call:package.sub:run", "there is no module 'package.sub' in this folder or on the path")
        self.refused("call:app.sub:run", "there is no module 'app.sub' in this folder or on the path")

    def test_module_misses_another(self) -> None:
        """Where it is the module that misses another, that is not called the user's."""
        self.write("needs.py", "import nowhere_to_be_found")
        self.refused("call:needs:run", "module 'needs' cannot be imported: No module named 'nowhere_to_be_found'")

    def test_module_raises(self) -> None:
        """A module that raises is told with the file and the line."""
        self.write("wrong.py", "\n\n1 / 0\n")
        self.refused(
            "call:wrong:run", "module 'wrong' cannot be imported: DIR/wrong.py:3: ZeroDivisionError: division by zero"
        )

    def test_module_does_not_parse(self) -> None:
        """And so is one that is no Python."""
        self.write("syntax.py", "def run(:\n")
        with self.assertRaisesRegex(
            ConfigurationError, r"^--handler call:syntax:run: .*cannot be imported: \S+/syntax\.py:1: SyntaxError: .*$"
        ):
            self.made("call:syntax:run")

    def test_module_ends_the_process(self) -> None:
        """A module that would end the process is told like any other that raises."""
        for name, text, told in (
            ("leaves", "import sys\nsys.exit(3)\n", ":2: SystemExit: 3"),
            ("interrupts", "raise KeyboardInterrupt\n", ":1: KeyboardInterrupt"),
            ("closes", "raise GeneratorExit('x')\n", ":1: GeneratorExit: x"),
        ):
            self.write(f"{name}.py", text)
            self.refused(f"call:{name}:run", f"module {name!r} cannot be imported: DIR/{name}.py{told}")

    def test_module_raises_what_has_no_text(self) -> None:
        """Neither an error that cannot be shown nor one that says nothing is a traceback."""
        self.write("mute.py", "class E(Exception):\n    def __str__(self): 1 / 0\nraise E\n")
        self.refused("call:mute:run", "module 'mute' cannot be imported: DIR/mute.py:3: E")
        self.write("needs.py", "raise ModuleNotFoundError\n")
        self.refused("call:needs:run", "module 'needs' cannot be imported: ModuleNotFoundError")
        self.write("zero.py", "x = 1\0\n")
        with self.assertRaisesRegex(ConfigurationError, "'zero' cannot be imported: [^\\n]*null bytes$"):
            self.made("call:zero:run")

    def test_name_that_cannot_be_read(self) -> None:
        """An attribute may be code, which may raise anything."""
        self.write(
            "lazy.py",
            "class P:\n    @property\n    def p(self): raise ValueError('no\\np')\np = P()\n"
            "def __getattr__(name):\n    if name == 'leave': raise SystemExit\n    raise AttributeError(name)\n",
        )
        self.refused("call:lazy:p.p", "module 'lazy': 'p.p' cannot be read: DIR/lazy.py:3: ValueError: no p")
        self.refused("call:lazy:leave", "module 'lazy': 'leave' cannot be read: DIR/lazy.py:6: SystemExit")
        self.refused("call:lazy:q", "module 'lazy' has no 'q'; expected one of: P, p")
        self.refused("call:lazy:p.", "module 'lazy' has no 'p.'")

    def test_no_name(self) -> None:
        """A name that is not there is told with the nearest one that is."""
        self.refused("factory:app:Chatt", "module 'app' has no 'Chatt'; did you mean 'Chat'?")
        self.refused("factory:app:Nested.chit", "module 'app' has no 'Nested.chit'; did you mean 'chat'?")
        self.refused("factory:app:number.x", "module 'app' has no 'number.x'")

    def test_no_function(self) -> None:
        """`call:` and `serve:` call something."""
        self.refused("call:app:number", "expected a function, not int")
        self.refused("serve:app:number", "expected a function, not int")


class CallTests(SynchronousTestCase):
    """Whether a function can be called with what it will be given."""

    def trouble(self, function: Any, *given: str) -> str | None:
        """What is wrong with it."""
        try:
            check_call(function, *given)
        except ConfigurationError as error:
            return str(error)
        return None

    def test_fits(self) -> None:
        """What takes it, and what may take it for all that anybody knows."""

        def two(peer: object, more: int = 2) -> None:
            """One is enough."""

        @wraps(two)
        def passes_on(*given: object) -> None:
            """Says that it is another."""

        class Unknown:
            """Answers no question."""

            def __getattr__(self, name: str) -> Any:
                raise RuntimeError(name)

            def __call__(self, peer: object) -> None:
                """As it should be."""

        fitting: list[Any] = [two, passes_on, lambda peer: True, lambda *given: True, [].append, iter, Unknown()]
        for function in fitting:
            self.assertIsNone(self.trouble(function, "peer"), function)

    def test_does_not_fit(self) -> None:
        """Too few, too many, or others."""
        line = "it cannot be called with peer alone: "
        self.assertEqual(self.trouble(os.getcwd, "peer"), f"{line}too many positional arguments")
        self.assertEqual(self.trouble(lambda: True, "peer"), f"{line}too many positional arguments")
        self.assertEqual(self.trouble(lambda a, b: a, "peer"), f"{line}missing a required argument: 'b'")
        self.assertEqual(
            self.trouble(lambda a: a, "a", "b"), "it cannot be called with a, b alone: too many positional arguments"
        )

    def test_generators(self) -> None:
        """A generator is never run."""

        def some(peer: object) -> Iterator[bool]:
            yield True

        async def later(peer: object) -> AsyncIterator[bool]:
            yield True

        class Called:
            """One too."""

            def __call__(self, peer: object) -> Iterator[bool]:
                yield True

        for function in (some, later, Called(), partial(some)):
            self.assertEqual(
                self.trouble(function, "peer"),
                "it is a generator, and a call of it runs nothing; expected return in place of yield",
            )


class UnknownTests(HandlerTests):
    """Prefixes that there are none of."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(handlers, "getPlugins", lambda interface: iter(()))

    def test_near(self) -> None:
        """The nearest one is told."""
        self.refused("ehco", "there is no handler 'ehco'; did you mean 'echo'?")
        self.refused("cal:app:x", "there is no handler 'cal'; did you mean 'call'?")

    def test_far(self) -> None:
        """Or all."""
        self.refused(
            "", "there is no handler ''; expected one of: echo, discard, call, serve, factory, proxy, passthrough, exec"
        )

    def test_expected(self) -> None:
        """The table tells of each what it expects, which begins with its prefix."""
        for prefix, (_, expected) in BUILT_IN.items():
            self.assertEqual(expected.partition(":")[0], prefix)


class Shout(Protocol):
    """What a third party might add."""

    def dataReceived(self, data: bytes) -> None:
        """Answer louder."""
        assert self.transport is not None
        self.transport.write(data.upper())


class ShoutParser:
    """Its prefix."""

    prefix = "shout"

    def __init__(self) -> None:
        self.asked: list[tuple[Any, str]] = []

    def parseHandler(self, reactor: Any, argument: str) -> IProtocolFactory:
        """See L{IHandlerParser}."""
        self.asked.append((reactor, argument))
        if argument == "quietly":
            raise ConfigurationError("nobody shouts quietly")
        made: IProtocolFactory = Factory.forProtocol(Shout)
        return made


PLUGIN = """
from twisted.plugin import IPlugin
from zope.interface import implementer
from mytls.interfaces import IHandlerParser
from tests.handlers.test_handlers import ShoutParser

shout = implementer(IPlugin, IHandlerParser)(ShoutParser)()
"""


class PluginTests(HandlerTests):
    """Handlers of third parties."""

    def given(self) -> ShoutParser:
        """A plugin, as Twisted gives it."""
        parser = ShoutParser()

        def get_plugins(interface: object) -> list[ShoutParser]:
            self.assertIs(interface, IHandlerParser)
            return [parser]

        self.patch(handlers, "getPlugins", get_plugins)
        return parser

    def test_argument(self) -> None:
        """It gets the reactor and what stood behind the first colon, colons and all."""
        parser = self.given()
        for description in ("shout", "shout:", "shout:a:b=c"):
            self.made(description)
        self.assertEqual(parser.asked, [(self.reactor, ""), (self.reactor, ""), (self.reactor, "a:b=c")])

    def test_error(self) -> None:
        """What it says is wrong is told as our own handlers' errors are."""
        self.given()
        self.refused("shout:quietly", "nobody shouts quietly")

    def test_nearest(self) -> None:
        """Its prefix is one of those that are told."""
        self.given()
        self.refused("shuot", "there is no handler 'shuot'; did you mean 'shout'?")

    def test_built_in_first(self) -> None:
        """A plugin takes no prefix away from us."""
        self.given().prefix = "echo"
        self.assertIsInstance(self.made("echo").buildProtocol(None), Echo)

    def test_found_by_twisted(self) -> None:
        """A module in a folder of Twisted's plugins is enough."""
        self.write("twisted/plugins/shouting.py", PLUGIN)
        where = str(Path(self.folder, "twisted", "plugins"))
        self.patch(twisted.plugins, "__path__", [where, *twisted.plugins.__path__])
        link = Link(handler=self.made("shout"))
        link.handshake()
        link.client.send(b"hello")
        link.pump()
        self.assertEqual(bytes(link.received), b"HELLO")
