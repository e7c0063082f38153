"""The examples do what they say."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.application.service import IServiceCollection, loadApplication
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.test.requesthelper import DummyRequest

import twisted.plugins
from mytls.errors import ConfigurationError
from mytls.handlers import handler_from_string
from mytls.running import TLSService
from mytls.settings import HostSettings
from tests.files import folder
from tests.handlers.loop import Loop
from tests.handlers.twins import certified_context, demanding_options
from tests.memory import Link

EXAMPLES = Path(__file__).parent.parent / "examples"
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")


class ExampleTestCase(SynchronousTestCase):
    """Runs handler strings as if typed in the folder of the examples."""

    def setUp(self) -> None:
        before = set(sys.modules)
        on_path = patch.object(sys, "path", [str(EXAMPLES), *sys.path])
        on_path.start()
        self.addCleanup(on_path.stop)
        self.addCleanup(lambda: [sys.modules.pop(name) for name in set(sys.modules) - before])

    def factory(self, string: str, loop: Any = None) -> Any:
        """The factory of a handler string, which the README must have."""
        self.assertIn(f" --handler {string}\n", README)
        return handler_from_string(loop or Clock(), string)

    def connect(self, factory: Any, clock: Clock | None = None, **words: Any) -> Link:
        """A client, after its handshake."""
        link = Link(handler=factory, clock=clock or Clock(), **words)
        link.handshake()
        link.pump()
        return link

    def say(self, link: Link, data: bytes) -> bytes:
        """A client sends. @return: what it has got since it was asked last"""
        link.client.sendall(data)
        link.pump()
        return self.heard(link)

    def heard(self, link: Link) -> bytes:
        """What a client has got since it was asked last."""
        link.pump()
        got = bytes(link.received)
        link.received.clear()
        return got


class ReadmeTests(SynchronousTestCase):
    """The folder's README."""

    def test_every_example_is_in_it(self) -> None:
        """Each file is started by one of its lines."""
        commands = re.findall(r"^```sh\n(.*)\n```$", README, re.MULTILINE)
        self.assertEqual(len(commands), README.count("```sh"))
        for path in (*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.tac")):
            word = path.name if path.suffix == ".tac" else f":{path.stem}:"
            self.assertTrue([line for line in commands if word in line], path.name)


class DocumentationTests(ExampleTestCase):
    """The ssl documentation's functions."""

    def test_serve(self) -> None:
        """Both, in a thread."""
        loop = Loop()
        link = self.connect(self.factory("serve:documentation:deal_with_client", loop), loop)
        link.client.send(b"hello")
        loop.until(lambda: link.received == b"HELLO", link.pump)
        link.client.send(b"bye\n")
        loop.until(lambda: link.peer_finished, link.pump)
        self.assertEqual(bytes(link.received), b"HELLOBYE\n")

    def test_call(self) -> None:
        """The second alone, on the event loop."""
        link = self.connect(self.factory("call:documentation:do_something"))
        self.assertEqual((self.say(link, b"hello"), self.say(link, b"bye\n")), (b"HELLO", b"BYE\n"))
        self.assertTrue(link.peer_finished)


class WhoAmITests(ExampleTestCase):
    """The coroutine."""

    string = "serve:whoami:deal_with_client"

    def test_questions(self) -> None:
        """It tells what it is asked for, and says good bye."""
        link = self.connect(self.factory(self.string), options=demanding_options(), context=certified_context())
        self.assertEqual(self.say(link, b"address\n"), b"('192.0.2.1', 50000)\n")
        self.assertTrue(self.say(link, b"tls\n").startswith(b"TLSv1.3 TLS_AES_256_GCM_SHA384 "))
        self.assertEqual(self.say(link, b"name\r\ncerti"), b"you have asked for localhost\n")
        self.assertIn(b"CN=a client", self.say(link, b"ficate\n"))
        self.assertIn(b"ask for", self.say(link, b"what?\n"))
        self.assertEqual((self.say(link, b"bye\n"), link.peer_finished), (b"", True))

    def test_no_certificate(self) -> None:
        """Who has shown none is told so."""
        self.assertEqual(self.say(self.connect(self.factory(self.string)), b"certificate\n"), b"none\n")

    def test_silence(self) -> None:
        """A client that is silent for a minute is done with; that is no error."""
        clock = Clock()
        link = self.connect(self.factory(self.string, clock), clock)
        clock.advance(60)
        link.pump()
        self.assertTrue(link.peer_finished)

    def test_endless_line(self) -> None:
        """So is one whose line has no end."""
        link = self.connect(self.factory(self.string))
        self.say(link, b"x" * 5000)
        self.assertTrue(link.peer_finished)


class ChatTests(ExampleTestCase):
    """The Twisted factory."""

    def setUp(self) -> None:
        super().setUp()
        self.room = self.factory("factory:chat:Room")

    def enter(self) -> Link:
        """Another guest."""
        return self.connect(self.room)

    def test_talk(self) -> None:
        """What one says the others hear, and who comes and goes."""
        one, two, three = (self.enter() for _ in range(3))
        self.assertEqual(self.heard(one), b"guest 2 is here\nguest 3 is here\n")
        self.assertEqual(self.say(two, b"hello \x1b[2J\xc3\xbc\n"), b"guest 3 is here\n")
        self.assertEqual(self.heard(one), "guest 2: hello [2Jü\n".encode())
        two.client.shutdown()
        two.pump()
        two.fin()
        self.assertTrue(two.peer_finished)
        three.reset()
        self.assertEqual(self.heard(one), b"guest 2 is gone\nguest 3 is gone\n")
        self.assertEqual(list(self.room.members), ["guest 1"])

    def test_full(self) -> None:
        """Who finds no place is told so, and nobody else hears of it."""
        self.room.places = 1
        one, two = self.enter(), self.enter()
        self.assertEqual((self.heard(two), two.peer_finished), (b"the room is full\n", True))
        two.reset()
        self.assertEqual(self.heard(one), b"")

    def test_long_line(self) -> None:
        """A line that is too long, or never ends, is the last."""
        one = self.enter()
        for line in (b"x" * 2000 + b"\n", b"x" * 2000):
            two = self.enter()
            self.assertEqual((self.say(two, line), two.peer_finished), (b"that line is too long\n", True))
            two.reset()
        self.assertEqual(self.heard(one).count(b"\n"), 4)

    def test_who_does_not_read(self) -> None:
        """Who does not read what is said is put out, before it makes the room hold much."""
        one, deaf, two = (self.enter() for _ in range(3))
        deaf.socket.peer_reads = False
        for _ in range(200):
            self.say(one, b"x" * 900 + b"\n")
        self.assertIsNotNone(deaf.socket.lost)
        self.assertIn(b"guest 2 is gone\n", self.heard(two))
        self.assertEqual(list(self.room.members), ["guest 1", "guest 3"])

    def test_stop(self) -> None:
        """When the service stops each guest gets a proper end."""
        links = [self.enter() for _ in range(3)]
        self.room.stopFactory()
        for link in links:
            link.pump()
            self.assertTrue(link.peer_finished)


class ApplicationTests(ExampleTestCase):
    """The application file."""

    def test_two_services(self) -> None:
        """It has the room over TLS, and a page that says who is in that room."""
        state = patch.dict(os.environ, XDG_STATE_HOME=str(folder(self)))
        state.start()
        self.addCleanup(state.stop)
        tls, page = IServiceCollection(loadApplication(str(EXAMPLES / "chat.tac"), "python"))
        self.assertIsInstance(tls, TLSService)
        self.assertIn("openssl s_client -connect localhost:8443", tls.greeting)
        self.connect(tls._handler(HostSettings()))
        site: Any = page.factory
        self.assertEqual(site.resource.render_GET(DummyRequest([])), b"guest 1\n")


class PluginTests(ExampleTestCase):
    """The plugin."""

    def setUp(self) -> None:
        super().setUp()
        plugins = folder(self)  # Twisted writes what it has found beside it
        shutil.copy(EXAMPLES / "twisted" / "plugins" / "shout_plugin.py", plugins)
        found = patch.object(twisted.plugins, "__path__", [*twisted.plugins.__path__, str(plugins)])
        found.start()
        self.addCleanup(found.stop)

    def test_shout(self) -> None:
        """Its prefix is as good as a built-in one."""
        self.assertEqual(self.say(self.connect(self.factory("shout:!")), b"hello"), b"HELLO!")

    def test_wrong_argument(self) -> None:
        """Its error is one line of the command's."""
        with self.assertRaisesRegex(ConfigurationError, "^--handler shout: expected shout:ENDING, such as shout:!$"):
            handler_from_string(Clock(), "shout")
