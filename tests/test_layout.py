"""The map in the package's docstring is true, and the arrows go down."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import mytls

PACKAGE = Path(mytls.__file__).parent
GROUPS = ["doors", "the way of a byte", "handlers", "certificates", "values"]


def on_the_map() -> list[str]:
    """The modules of the docstring, top to bottom."""
    return re.findall(r"^ {4}(\S+) +\S", mytls.__doc__ or "", re.MULTILINE)


def in_the_house() -> dict[str, ast.Module]:
    """Every module that there is but the package itself, by its name below `mytls.`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def only_says_what_it_is(module: ast.Module) -> bool:
    """Whether it is a folder's name plate: a docstring and nothing else."""
    return len(module.body) == 1 and ast.get_docstring(module) is not None


def imported(module: ast.Module) -> Iterator[str]:
    """The full names of what a module imports, anywhere in it."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "an import relative to its place"
            yield from (f"{node.module}.{each.name}" for each in node.names)


def of_ours(name: str, modules: dict[str, ast.Module]) -> str | None:
    """The module of ours that an imported name is, or is in."""
    while name.startswith("mytls."):
        if name.removeprefix("mytls.") in modules:
            return name.removeprefix("mytls.")
        name = name.rpartition(".")[0]
    return None


class MapTests(SynchronousTestCase):
    """The map, beside the files."""

    def test_every_module_is_on_the_map(self) -> None:
        """Who opens the package finds every module of it named, once, and none that is not there."""
        modules = {name for name, module in in_the_house().items() if not only_says_what_it_is(module)}
        drawn = on_the_map()
        self.assertEqual(sorted(drawn), sorted(set(drawn)))
        self.assertEqual(set(drawn), modules)

    def test_groups(self) -> None:
        """The map goes from the doors to the values."""
        self.assertEqual(re.findall(r"^ {2}(\w.*)$", mytls.__doc__ or "", re.MULTILINE), GROUPS)

    def test_arrows_go_down(self) -> None:
        """No module imports one that stands above it on the map, so there are no circles either."""
        modules, place = in_the_house(), {name: at for at, name in enumerate(on_the_map())}
        upward = {
            f"{name} imports {target}"
            for name, module in modules.items()
            for each in imported(module)
            if (target := of_ours(each, modules)) in place and name in place and place[target] <= place[name]
        }
        self.assertEqual(upward, set())

    def test_every_module_says_what_it_is(self) -> None:
        """A module starts with its purpose."""
        self.assertEqual([name for name, module in in_the_house().items() if not ast.get_docstring(module)], [])

    def test_openssl_is_behind_one_wall(self) -> None:
        """Nothing outside of `tls/` knows pyOpenSSL."""
        outside = [
            name
            for name, module in in_the_house().items()
            if not name.startswith("tls.") and any(each.split(".")[0] == "OpenSSL" for each in imported(module))
        ]
        self.assertEqual(outside, [])

    def test_no_module_imports_the_reactor(self) -> None:
        """The reactor is an argument; only where a service is put together is the global one looked for."""
        asks = [name for name, module in in_the_house().items() if "twisted.internet.reactor" in imported(module)]
        self.assertEqual(asks, ["assemble"])


class PublicNameTests(SynchronousTestCase):
    """What `mytls` itself gives."""

    def test_public_names(self) -> None:
        """Each public name is what its home calls so."""
        from mytls.assemble import service
        from mytls.client import TLSClientEndpoint
        from mytls.endpoint import TLSServerEndpoint
        from mytls.errors import ConfigurationError
        from mytls.peer import Peer

        self.assertEqual(
            [getattr(mytls, name) for name in mytls.__all__],
            [ConfigurationError, Peer, TLSClientEndpoint, TLSServerEndpoint, service],
        )

    def test_unknown_name(self) -> None:
        """What is not there is an C{AttributeError}, as of any module."""
        with self.assertRaisesRegex(AttributeError, "module 'mytls' has no attribute 'sevrice'"):
            mytls.sevrice  # noqa: B018  # the access is what is tested


class StartTests(SynchronousTestCase):
    """What every twistd on the machine pays."""

    def test_light_start(self) -> None:
        """The package and the plugin load neither OpenSSL nor the rest of mytls."""
        program = (
            "import sys; import mytls; import twisted.plugins.mytls_plugin; "
            "print([name for name in sys.modules if name.startswith(('OpenSSL', 'mytls.', 'cryptography'))])"
        )
        answer = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=PACKAGE.parent
        )
        self.assertEqual((answer.stdout.strip(), answer.returncode), ("[]", 0), answer.stderr)
