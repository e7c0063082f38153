"""
A Rego policy, as its worker is given it: a file in Rego, or a bundle of Open Policy Agent.

Of a bundle (U{https://www.openpolicyagent.org/docs/latest/management-bundles/}) these count: each C{.rego} file; each
C{data.json}, whose place is its folder's. A C{data.yaml}, a link and an archive that is not whole are errors, since a
policy without a part of it decides otherwise. Other files in it, C{.manifest} too, are left out. Nothing is written to
the disk.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from mytls.errors import ConfigurationError, nearest, visible

#: The most bytes of a bundle, unpacked.
MOST = 16 << 20
#: The most files and folders in it.
MOST_FILES = 2000
#: How deep its data may be, folders and all.
MOST_DEEP = 200

_DATA = ("data.json", "data.yaml", "data.yml")
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
            elif file == _DATA[0]:
                _merge(data, _placed(path, _data(path, inside)), path)
            elif file in _DATA:
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
    """The files of an archive that count, by the paths that they have in it; C{opa build} writes C{/policy.rego}."""
    unpacked = _unpacked(content)
    seen = set()
    for member in _members(unpacked):
        path = "/".join(part for part in member.name.split("/") if part not in ("", "."))
        if ".." in path.split("/") or path in seen:
            raise ConfigurationError(f"{visible(member.name)} is in it twice, or out of its folder")
        if member.isreg():
            seen.add(path)
            if path.endswith((".rego", *_DATA)):
                yield path, unpacked[member.offset_data : member.offset_data + member.size]


def _members(unpacked: bytes) -> Iterator[tarfile.TarInfo]:
    """
    What is in an archive. C{tarfile} takes a damaged header for the end, where part of a policy may be left out.

    @raise ConfigurationError: it is not whole, or has something in it that is neither a file nor a folder
    """
    end = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as archive:
            for number, member in enumerate(archive):
                if number == MOST_FILES:
                    raise ConfigurationError(f"there are more than {MOST_FILES} files in it")
                _check_plain(member)
                blocks = -(-member.size // tarfile.BLOCKSIZE) if member.isreg() else 0
                end = member.offset_data + blocks * tarfile.BLOCKSIZE
                if end > len(unpacked):
                    raise ConfigurationError("it is no bundle (.tar.gz): it is cut off")
                yield member
    except RecursionError:
        raise ConfigurationError("it is no bundle (.tar.gz): too many headers before a file") from None
    except (tarfile.TarError, OSError, ValueError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(f"it is no bundle (.tar.gz): {error}") from None
    rest = unpacked[end:]
    if not rest or rest.count(0) != len(rest):
        raise ConfigurationError("it is no bundle (.tar.gz): it is cut off, or damaged")


def _check_plain(member: tarfile.TarInfo) -> None:
    """@raise ConfigurationError: it is more than a file or a folder, or not as large as it says"""
    trouble = ""
    if member.issym() or member.islnk():
        trouble = "is a link; expected the file itself, as tar --dereference --hard-dereference packs it"
    elif member.issparse() or any(name.startswith("GNU.sparse.") for name in member.pax_headers):
        trouble = "is sparse; expected the whole file"
    elif not (member.isreg() or member.isdir()):
        trouble = "is neither a file nor a folder"
    elif not 0 <= member.size <= MOST:
        trouble = f"is larger than {MOST >> 20} MiB"
    elif not _is_unicode(member.name):
        trouble = "has no name in UTF-8"
    if trouble:
        raise ConfigurationError(f"{visible(member.name)} {trouble}")


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _unpacked(content: bytes) -> bytes:
    unpacking = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacking.decompress(content, MOST + 1)
    except zlib.error as error:
        raise ConfigurationError(f"it is no bundle (.tar.gz): {error}") from None
    if len(unpacked) > MOST:
        raise ConfigurationError(f"it is larger than {MOST >> 20} MiB")
    if not unpacking.eof:
        raise ConfigurationError("it is no bundle (.tar.gz): it is cut off")
    if unpacking.unused_data:
        raise ConfigurationError("it is no bundle (.tar.gz): there is more behind its end")
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
    except RecursionError:
        raise _too_deep(name) from None
    except ValueError as error:
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
    """The data, each folder of its path being one more object around it. @raise ConfigurationError: it is too deep"""
    folders = path.split("/")[:-1]
    level: list[Any] = [data]
    for _ in range(MOST_DEEP - len(folders)):
        level = [inside for each in level for inside in _inside(each) if isinstance(inside, dict | list)]
    if level:
        raise _too_deep(path)
    for folder in reversed(folders):
        data = {folder: data}
    return data


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _too_deep(path: str) -> ConfigurationError:
    """Who reads it next calls itself for each level."""
    return ConfigurationError(f"{visible(path)}: it is nested more than {MOST_DEEP} deep")


def _merge(into: dict[str, Any], more: Mapping[str, Any], path: str) -> None:
    for key, value in more.items():
        if isinstance(into.get(key), dict) and isinstance(value, dict):
            _merge(into[key], value, path)
        elif key in into:
            raise ConfigurationError(f"{visible(path)}: {visible(key)} is in another data.json too")
        else:
            into[key] = value
