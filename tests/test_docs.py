"""The README, docs/ and conf/ say what the code does."""

from __future__ import annotations

import ast
import os
import re
import runpy
import sys
from configparser import ConfigParser
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.application.service import IServiceCollection, loadApplication
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mytls.accesslog import CLASSES
from mytls.errors import Cause
from mytls.events import ConnectionEvent, Event
from mytls.handlers import BUILT_IN, handler_from_string
from mytls.handlers.awaitable import AsyncStream
from mytls.handlers.blocking import BlockingStream
from mytls.keys import CLIENT_KEYS, ENDPOINT_KEYS, OPTION_KEYS
from mytls.running import TLSService
from mytls.strings import split_endpoint
from mytls.tls.transport import Phase
from mytls.tls.tunnel import State
from tests.files import folder, write_pair
from tests.memory import Link

TOP = Path(__file__).parent.parent
README = TOP / "README.md"
DOCS = TOP / "docs"
#: What a person reads.
PAGES = (
    README,
    *(TOP / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")),
    *sorted(DOCS.glob("*.md")),
)

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page."""
    return [match[2] for match in _BLOCK.finditer(text_of(page)) if match[1] == language]


def command(page: Path, word: str) -> str:
    """The one shell block that has this word in it."""
    (found,) = [block for block in blocks(page, "sh") if word in block]
    return found


def anchors(page: Path) -> set[str]:
    """What may stand behind a # in a link to the page."""
    heads = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


class ReadmeTests(SynchronousTestCase):
    def test_every_command_is_one_line(self) -> None:
        for page in PAGES:
            for block in blocks(page, "sh"):
                self.assertEqual(block.count("\n"), 1, block)

    def test_the_first_command_serves(self) -> None:
        first = blocks(README, "sh")[0]
        self.assertTrue(first.startswith("python3 -m venv .venv && "), first)
        self.assertTrue(first.endswith(" && .venv/bin/twistd --nodaemon mytls\n"), first)

    def test_one_command_passes_the_tests(self) -> None:
        line = command(README, "pytest")
        self.assertIn("pip install '.[test]'", line)
        self.assertTrue(line.endswith(" && .venv/bin/python -m pytest\n"), line)

    def import_app(self) -> None:
        """Make the README's app.py a module."""
        (source,) = [block for block in blocks(README, "python") if block.startswith("# app.py")]
        app = sys.modules["app"] = ModuleType("app")
        self.addCleanup(sys.modules.pop, "app")
        exec(source, app.__dict__)

    def test_its_functions_are_handlers(self) -> None:
        self.import_app()
        for string in ("call:app:do_something", "serve:app:deal_with_client"):
            clock = Clock()
            link = Link(handler=handler_from_string(clock, string), clock=clock)
            link.handshake()
            link.client.send(b"hello\n")
            link.pump()
            self.assertEqual(bytes(link.received), b"HELLO\n", string)
            self.assertFalse(link.peer_finished)

    def test_a_false_answer_finishes_as_it_says(self) -> None:
        self.import_app()
        link = Link(handler=handler_from_string(Clock(), "call:app:do_something"))
        link.handshake()
        link.client.send(b"bye\n")
        link.pump()
        self.assertEqual(bytes(link.received), b"BYE\n")
        self.assertTrue(link.peer_finished)


class PageTests(SynchronousTestCase):
    def test_every_link_resolves(self) -> None:
        for page in (*PAGES, TOP / "newsfragments" / "README.md"):
            for target in re.findall(r"\]\(([^)]+)\)", text_of(page)):
                path, _, anchor = target.partition("#")
                self.assertNotRegex(target, "^[a-z]+:", "a link to somewhere else cannot be tested")
                file = (page.parent / path).resolve() if path else page
                self.assertTrue(file.exists(), f"{page.name}: {target}")
                if anchor:
                    self.assertIn(anchor, anchors(file), f"{page.name}: {target}")

    def test_every_python_block_compiles(self) -> None:
        for page in PAGES:
            for block in blocks(page, "python"):
                ast.parse(block, page.name)

    def test_every_module_named_exists(self) -> None:
        for path in re.findall(r"`((?:tls|guards|handlers)/\w+\.py|[a-z_]+\.py)`", text_of(DOCS / "architecture.md")):
            self.assertTrue((TOP / "mytls" / path).exists(), path)

    def test_every_bound_is_where_the_page_says(self) -> None:
        for name, path in re.findall(r"`([A-Z_]+)` in `(\S+\.py)`", text_of(DOCS / "architecture.md")):
            self.assertRegex(text_of(TOP / "mytls" / path), rf"(?m)^{name} = ")

    def test_every_promise_has_its_test(self) -> None:
        named = re.findall(r"`([\w/]+\.py)::([\w:]+)`", (DOCS / "promises.md").read_text())
        self.assertGreater(len(named), 50)
        for path, names in named:
            body: Any = ast.parse((TOP / "tests" / path).read_text())
            for name in names.split("::"):
                found = [node for node in body.body if getattr(node, "name", None) == name]
                self.assertTrue(found, f"{path}::{names}")
                body = found[0]

    def test_every_state_is_explained(self) -> None:
        page = text_of(DOCS / "architecture.md")
        for each in (*State, *Phase):
            self.assertIn(each.name, page)

    def test_every_cause_that_happens_is_explained(self) -> None:
        page = text_of(DOCS / "operations.md")
        sources = [text_of(path) for path in (TOP / "mytls").rglob("*.py") if path.name != "errors.py"]
        used = {Cause[name] for source in sources for name in re.findall(r"\bCause\.([A-Z_]+)", source)}
        _, _, table = page.partition("### Causes")
        explained = {Cause(word) for word in re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)}
        self.assertEqual(explained, used)

    def test_every_event_is_explained(self) -> None:
        page = text_of(DOCS / "operations.md")
        for kind in (*Event.__subclasses__(), *ConnectionEvent.__subclasses__()):
            if kind is ConnectionEvent:
                continue
            self.assertIn(f"| `{kind.__name__}` |", page)

    def test_every_silence_is_explained(self) -> None:
        page = text_of(DOCS / "operations.md")
        for name in CLASSES:
            self.assertIn(f"| `{name}` |", page)

    def test_every_method_of_a_connstream_exists(self) -> None:
        _, _, section = text_of(DOCS / "handlers.md").partition("## The connstream")
        rows = re.findall(r"^\| (?:read|write|end|wait|who|TLS|file) \| (.*) \|$", section, re.MULTILINE)
        names = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
        told = names - {"peer", "server_hostname"}  # attributes, made with the stream
        self.assertEqual([name for name in told if not hasattr(BlockingStream, name)], [])
        self.assertEqual([name for name in told if not hasattr(AsyncStream, name)], [])

    def test_every_handler_is_explained(self) -> None:
        page = text_of(DOCS / "handlers.md")
        for _, expected in BUILT_IN.values():
            self.assertIn(f"`{expected}`", page)

    def test_every_endpoint_string_has_known_words(self) -> None:
        of_server, of_client = ({key.word for key in keys} for keys in (ENDPOINT_KEYS, CLIENT_KEYS))
        found = 0
        for page in PAGES:
            for string in re.findall(r"(?<![\w`])(?:ssl|mytls):[\w\\][^\s'\"`]*", text_of(page)):
                (_, *places), words = split_endpoint(string)
                known = of_client if places and not places[0].isdigit() else of_server
                self.assertLessEqual(set(words), known | {"privateKy"}, string)
                found += 1
        self.assertGreater(found, 5)


class ReferenceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.made: dict[str, Any] = runpy.run_path(os.fspath(DOCS / "make_reference.py"))

    def test_the_page_is_up_to_date(self) -> None:
        self.assertEqual(text_of(self.made["PAGE"]), self.made["page"](), "run: python docs/make_reference.py")

    def test_it_has_every_word_and_option(self) -> None:
        page = self.made["page"]()
        for key in (*ENDPOINT_KEYS, *CLIENT_KEYS):
            self.assertIn(f"| `{key.word}` |", page)
        for key in OPTION_KEYS:
            self.assertIn(f"| `--{key.word}{'`' if key.kind.flag else ' '}", page)
        for word in ("--endpoint", "--handler", "--help", "--version"):
            self.assertIn(f"| `{word}", page)


class ConfTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = folder(self)
        key, chain = write_pair(self.folder)
        self.endpoint = f"ssl:8443:privateKey={key}:certKey={chain}"

    def service_in(self, file: Path) -> TLSService:
        """The one service of an application file."""
        (service,) = IServiceCollection(loadApplication(os.fspath(file), "python"))
        assert isinstance(service, TLSService)
        return service

    def test_the_tac_is_an_application(self) -> None:
        self.patch(sys, "path", sys.path[:])
        self.patch(os, "environ", {**os.environ, "MYTLS_ENDPOINT": self.endpoint, "MYTLS_HANDLER": "discard"})
        self.assertFalse(self.service_in(TOP / "conf" / "mytls.tac").running)

    def test_the_tac_finds_a_handler_in_the_working_folder(self) -> None:
        self.patch(sys, "path", sys.path[:])
        self.addCleanup(sys.modules.pop, "beside_the_tac", None)
        self.addCleanup(os.chdir, os.getcwd())
        (self.folder / "beside_the_tac.py").write_text("def answer(connstream, data): ...\n", encoding="utf-8")
        os.chdir(self.folder)
        handler = "call:beside_the_tac:answer"
        self.patch(os, "environ", {**os.environ, "MYTLS_ENDPOINT": self.endpoint, "MYTLS_HANDLER": handler})
        self.service_in(TOP / "conf" / "mytls.tac")

    def test_the_application_of_the_readme_loads(self) -> None:
        (source,) = [block for block in blocks(README, "python") if "mytls.service(" in block]
        source = source.replace("ssl:8443:privateKey=key.pem:certKey=fullchain.pem", self.endpoint)
        file = self.folder / "shouting.tac"
        file.write_text(source.replace("call:app:do_something", "echo"), encoding="utf-8")
        self.service_in(file)

    def test_dependencies_have_floors(self) -> None:
        setup = ConfigParser()
        setup.read(TOP / "setup.cfg", encoding="utf-8")
        requirements = setup["options"]["install_requires"].split()
        self.assertEqual([each for each in requirements if not re.fullmatch(r"[a-z.-]+>=[0-9.]+", each)], [])
