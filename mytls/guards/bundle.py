"""
A Rego policy, as its worker is given it: a file in Rego, or a bundle of Open Policy Agent.

Of a bundle (U{https://www.openpolicyagent.org/docs/latest/management-bundles/}) these count: each C{.rego} file; each
C{data.json}, whose place is its folder's. A C{data.yaml} is an error, since a policy without its data decides
otherwise. What else is in it, C{.manifest} too, is left out. Nothing is written to the disk.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from mytls.errors import ConfigurationError, nearest, visible

#: The most bytes of a bundle, unpacked.
MOST = 16 << 20
#: The most files of it.
MOST_FILES = 2000

_GZIP = b"\x1f\x8b"
_PART = re.compile(r'\.([A-Za-z_][A-Za-z0-9_]*)|\["([^"\\\x00-\x1f]+)"\]')


@attrs.frozen
class Bundle:
    """
    A policy and its data.

    @ivar modules: sources in Rego, by names for errors
    @ivar data: what they see as C{data}, besides their own rules
    """

    modules: Mapping[str, str]
    data: Mapping[str, Any] = attrs.field(factory=dict)

    @classmethod
    def of(cls, name: str, content: bytes) -> Bundle:
        """
        What a file holds.

        @param name: the file's, without its folder
        @raise ConfigurationError: it holds no policy; a few words
        """
        if not content.startswith(_GZIP):
            return cls({name: _source(name, content)})
        modules: dict[str, str] = {}
        data: dict[str, Any] = {}
        for path, inside in _files(content):
            file = path.rpartition("/")[2]
            if file.endswith(".rego"):
                modules[path] = _source(path, inside)
            elif file == "data.json":
                _merge(data, _placed(path, _data(path, inside)), path)
            elif file in ("data.yaml", "data.yml"):
                raise ConfigurationError(f"{visible(path)} is not read; expected data.json")
        if not modules:
            raise ConfigurationError("there is no .rego file in it")
        return cls(modules, data)


@attrs.frozen
class Query:
    """
    What is asked: one rule.

    @ivar written: as the user wrote it
    @ivar path: its parts, below C{data}
    """

    written: str
    path: tuple[str, ...]

    @classmethod
    def of(cls, written: str) -> Query:
        """@raise ConfigurationError: it is no name of a rule"""
        rest, parts = written.removeprefix("data"), []
        while (found := _PART.match(rest)) is not None:
            parts.append(found[1] or found[2])
            rest = rest[found.end() :]
        if not written.startswith("data") or rest or not parts:
            raise ConfigurationError("expected the name of a rule, such as data.mytls.allow")
        return cls(written, tuple(parts))

    def check(self, rules: set[tuple[str, ...]], data: Mapping[str, Any]) -> None:
        """@raise ConfigurationError: there is nothing of this name, or no rule"""
        if any(self.path[: len(rule)] == rule for rule in rules) or _holds(data, self.path):
            return
        known = sorted(_name(rule) for rule in rules)
        if any(rule[: len(self.path)] == self.path for rule in rules):
            raise ConfigurationError(f"that is a package and no rule{_one_of(known)}")
        raise ConfigurationError(f"there is no such rule{nearest(self.written, known) or _one_of(known)}")


def _name(path: tuple[str, ...]) -> str:
    return "data" + "".join(f".{part}" if part.isidentifier() else f'["{part}"]' for part in path)


def _one_of(known: list[str]) -> str:
    return f"; expected one of: {', '.join(known[:10])}" if known else ""


def _holds(data: Any, path: tuple[str, ...]) -> bool:
    for part in path:
        if not isinstance(data, Mapping) or part not in data:
            return False
        data = data[part]
    return not isinstance(data, Mapping)


def _files(content: bytes) -> Iterator[tuple[str, bytes]]:
    """The files of an archive, by the paths that they have in it; C{opa build} writes them as C{/policy.rego}."""
    seen = set()
    try:
        with tarfile.open(fileobj=io.BytesIO(_unpacked(content)), mode="r:") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                path = "/".join(part for part in member.name.split("/") if part not in ("", "."))
                if ".." in path.split("/") or path in seen:
                    raise ConfigurationError(f"{visible(member.name)} is in it twice, or out of its folder")
                seen.add(path)
                if len(seen) > MOST_FILES:
                    raise ConfigurationError(f"there are more than {MOST_FILES} files in it")
                file = archive.extractfile(member)
                yield path, b"" if file is None else file.read()
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(f"it is no bundle (.tar.gz): {error}") from None


def _unpacked(content: bytes) -> bytes:
    unpacking = zlib.decompressobj(wbits=31)
    unpacked = unpacking.decompress(content, MOST + 1)
    if len(unpacked) > MOST:
        raise ConfigurationError(f"it is larger than {MOST >> 20} MiB")
    if not unpacking.eof:
        raise ConfigurationError("it is no bundle (.tar.gz): it is cut off")
    return unpacked


def _source(name: str, content: bytes) -> str:
    text = _text(name, content)
    if "\0" in text:  # the interpreter would read no further
        raise ConfigurationError(f"{visible(name)}: there is a NUL in it")
    return text if text.endswith("\n") else f"{text}\n"  # without it, regopy takes a comment at the end for an error


def _data(name: str, content: bytes) -> dict[str, Any]:
    text = _text(name, content)
    try:
        data = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{visible(name)}: {error}") from None
    if not isinstance(data, dict):
        raise ConfigurationError(f"{visible(name)}: expected an object")
    return data


def _no_number(written: str) -> Any:
    raise ValueError(f"{written} is no number of JSON")


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{visible(name)}: it is no text in UTF-8") from None


def _placed(path: str, data: dict[str, Any]) -> dict[str, Any]:
    for folder in reversed(path.split("/")[:-1]):
        data = {folder: data}
    return data


def _merge(into: dict[str, Any], more: Mapping[str, Any], path: str) -> None:
    for key, value in more.items():
        if isinstance(into.get(key), dict) and isinstance(value, dict):
            _merge(into[key], value, path)
        elif key in into:
            raise ConfigurationError(f"{visible(path)}: {visible(key)} is in another data.json too")
        else:
            into[key] = value
