"""The files of the page, as they are answered with."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import PurePath

import attrs

#: What belongs to the page, by how its name ends, and what it is. Anything else in the folder is for whoever reads it.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
}
_INDEX = "index.html"


@attrs.frozen
class File:
    """
    A file.

    @ivar etag: changes with its bytes, in quotes (RFC 9110 section 8.8.3)
    """

    kind: str
    content: bytes
    etag: bytes

    @classmethod
    def of(cls, name: str, content: bytes) -> File:
        """@param name: which ends as its kind does"""
        digest = hashlib.sha256(content).hexdigest()[:32]
        return cls(_TYPES[PurePath(name).suffix], content, f'"{digest}"'.encode())


def page() -> dict[str, File]:
    """The files of the page by their paths, from now on in memory: at the descriptor limit none could be opened."""
    found = {
        each.name: File.of(each.name, each.read_bytes())
        for each in files("mytls.status").joinpath("page").iterdir()
        if PurePath(each.name).suffix in _TYPES
    }
    return {("/" if name == _INDEX else f"/{name}"): file for name, file in found.items()}
