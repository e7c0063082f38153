"""What a server is asked to do, in one value: every way to start one is made from it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

from .certificates import Identity


@dataclass(frozen=True)
class Order:
    """Which port, which handler, whose certificate, whose clients; `through` and `watched` are those of the run."""

    folder: Path
    port: int
    backend: int
    handler: str
    identity: Identity
    client_ca: Path | None = None
    through: bool = False
    watched: bool = False

    def write(self, name: str, text: str, more: str = "") -> None:
        (self.folder / name).write_text(textwrap.dedent(text) + more + "\n")

    def as_arguments(self) -> list[str]:
        """The words that every script in `peers/` takes."""
        words = [str(self.port), self.handler, str(self.identity.key), str(self.identity.certificate)]
        return words + ([str(self.client_ca)] if self.client_ca else [])
