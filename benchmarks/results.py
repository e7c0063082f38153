"""What was seen: one run's figures, and all of them, as they stand in the JSON file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One run of the load client against one server, as the client printed it."""

    operations: int
    bytes: int
    seconds: float
    p50: float
    p99: float
    client_cpu: float
    server_cpu: float
    resumed: int
    resets: int
    connections: int
    pss: int

    @property
    def server_busy(self) -> float:
        """The part of its core that the server used."""
        return self.server_cpu / self.seconds

    @property
    def client_busy(self) -> float:
        """The part of its core that the client used."""
        return self.client_cpu / self.seconds


@dataclass
class Results:
    """Every sample of a benchmark: `samples[run][server]` has one for each round."""

    machine: dict[str, str]
    settings: dict[str, str]
    versions: dict[str, str]
    missing: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)

    def add(self, run: str, server: str, sample: Sample) -> None:
        self.samples.setdefault(run, {}).setdefault(server, []).append(sample)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def load(path: Path) -> Results:
    """The results that `Results.save` wrote, so that a page can be made again without measuring again."""
    results = Results(**json.loads(path.read_text()))
    for servers in results.samples.values():
        for name, samples in servers.items():
            servers[name] = [Sample(**sample) for sample in samples]  # type: ignore[arg-type]
    return results
