"""
A TOML file, and where each of its keys stands.

The parser of the standard library tells no lines. They are looked for when somebody asks for one: the file is cut into
statements, each as many lines as it takes to be TOML by itself, and what a statement says tells which keys it sets.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from mytls.errors import ConfigurationErrors

#: From the document's top down to a value: names of keys, and places in arrays of tables.
Path = tuple[str | int, ...]
#: How deep a key of ours can stand: the fifth is one of a host of a listener.
_DEEPEST = 5


def parsed(name: str, content: bytes) -> tuple[str, dict[str, Any]]:
    """
    A file's text, and what it says.

    @param name: the file's, for errors
    @raise ConfigurationErrors: it is not UTF-8, or not TOML
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationErrors([f"{name}:{line}: not UTF-8: the byte 0x{content[error.start]:02x}"]) from None
    try:
        return text, tomllib.loads(text)
    except RecursionError:
        trouble, line = "nested too deeply", 1
    except ValueError as error:  # besides what is no TOML, a number of too many digits
        trouble = str(error)
        if trouble.startswith("Unescaped '\\'"):
            trouble += "; write the endpoint string in single quotes"
        at = re.search(r"\(at line ([0-9]+), column [0-9]+\)", trouble)
        line = int(at[1]) if at else text.rstrip().count("\n") + 1
    raise ConfigurationErrors([f"{name}:{line}: not TOML: {trouble}"])


class Source:
    """A file as it was written, which knows where each key stands."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text.replace("\r\n", "\n")

    def line(self, path: Path) -> int:
        """The line of a key; that of the table around it, where it does not stand there."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def wrote(self, path: Path) -> str:
        """A key as the user finds it: C{mytls.toml:12: certificate}."""
        key = '""' if path[-1] == "" else path[-1]
        return f"{self._name}:{self.line(path)}: {key}"

    @cached_property
    def _lines(self) -> dict[Path, int]:
        found: dict[Path, int] = {}
        lengths: dict[Path, int] = {}
        header: Path = ()
        for line, statement, said in _statements(self._text):
            if statement.lstrip().startswith("["):
                header = _header(said, lengths)
                paths: Iterable[Path] = [header[:length] for length in range(1, len(header) + 1)]
            else:
                paths = _paths(said, header)
            for path in paths:
                found.setdefault(path, line)
        return found


#: How a statement of several lines ends: with a bracket, a brace or three quotes, and perhaps a comment.
_END = re.compile(r"""(?:[\]}]|""" + '"""' + r"""|''')[ \t]*(?:#.*)?$""")


def _statements(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """A document, one statement after the other: the line where it starts, its text, and what it says."""
    start, lines = 1, list[str]()
    for number, line in enumerate(text.split("\n"), 1):
        lines.append(line)
        if len(lines) > 1 and not _END.search(line):
            continue
        statement = "\n".join(lines)
        try:
            said = tomllib.loads(statement)
        except (tomllib.TOMLDecodeError, RecursionError):
            continue  # it goes on in the next line
        yield start, statement, said
        start, lines = number + 1, []


def _header(said: dict[str, Any], lengths: dict[Path, int]) -> Path:
    """The path of a header. @param lengths: of the arrays of tables so far; one more, if the header adds to it"""
    path: Path = ()
    inner: Any = said
    while inner and len(path) < _DEEPEST:
        ((name, inner),) = inner.items()
        path = (*path, name)
        if isinstance(inner, list):
            lengths[path] = lengths.get(path, 0) + 1
            inner = inner[0]
        if path in lengths:
            path = (*path, lengths[path] - 1)
    return path


def _paths(value: Any, path: Path) -> Iterator[Path]:
    """The path of a value, and those of the values in it."""
    yield path
    if len(path) < _DEEPEST:
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for name, each in inner:
            yield from _paths(each, (*path, name))


class Wrote(Mapping[str, str]):
    """How the user wrote the keys of a table, found when it is asked for."""

    def __init__(
        self, source: Source, path: Path, names: Iterable[str], above: Mapping[str, str] | None = None
    ) -> None:
        """@param above: how the other keys are written, which stand in another table"""
        self._source = source
        self._path = path
        self._names = frozenset(names)
        self._above = above or {}

    def __getitem__(self, name: str) -> str:
        return self._source.wrote((*self._path, name)) if name in self._names else self._above[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names.union(self._above))

    def __len__(self) -> int:
        return len(self._names.union(self._above))


class WroteAt(Mapping[str, str]):
    """The same of keys in several tables, by other names than they have there."""

    def __init__(self, source: Source, paths: Mapping[str, Path]) -> None:
        self._source = source
        self._paths = paths

    def __getitem__(self, name: str) -> str:
        return self._source.wrote(self._paths[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)
