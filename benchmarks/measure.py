"""Runs the load client against every server, in interleaved rounds.

In each round every server has its turn at a run, each time in a process of its own, before any of them has
its second turn: what the machine does meanwhile (a neighbour's load, a warmer core) meets all of them.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from .certificates import Certificates, make_certificates
from .processes import HERE, Cores, Running, ServerFailed, compile_programs, running
from .results import Results, Sample
from .rows import Row, Run
from .servers import Server

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How long and how often."""

    seconds: float = 2.0
    idle_seconds: float = 5.0
    warmup: float = 0.5
    rounds: int = 3
    idle_connections: int = 1000


def count_turns(rows: Iterable[Row], servers: list[Server], effort: Effort) -> int:
    turns = sum(run.takes(server.name) for run in _runs(rows, effort) for server in servers)
    return turns * effort.rounds


def measure(rows: Iterable[Row], servers: list[Server], effort: Effort, progress: Progress) -> Results:
    """Every run of the rows, against every server, in rounds. Tells `progress` of each turn before it."""
    cores = Cores.ours()
    results = Results(_machine(), _settings(effort, cores), {s.name: s.version() for s in servers})
    with tempfile.TemporaryDirectory(prefix="mytls-benchmark-") as name:
        folder = Path(name)
        compile_programs(folder)
        bench = Bench(folder, make_certificates(folder), cores, effort)
        for run in _runs(rows, effort):
            bench.rounds(run, servers, results, progress)
    return results


@dataclass(frozen=True)
class Bench:
    """What every turn needs."""

    folder: Path
    certificates: Certificates
    cores: Cores
    effort: Effort

    def rounds(self, run: Run, servers: list[Server], results: Results, progress: Progress) -> None:
        for number in range(self.effort.rounds):
            for server in (each for each in servers if run.takes(each.name)):
                progress(f"{run.name}, {server.name}, round {number + 1}")
                try:
                    results.add(run.name, server.name, self.turn(run, server))
                except ServerFailed as problem:
                    results.failures[f"{run.name}, {server.name}"] = self.without_paths(str(problem))

    def without_paths(self, text: str) -> str:
        """The results are published; where this machine keeps its files is not."""
        return text.replace(f"{self.folder}/", "").replace(f"{HERE.parent}/", "").replace(sys.prefix, "")

    def turn(self, run: Run, server: Server) -> Sample:
        """An idle server is measured fresh, a busy one after connections have come and gone."""
        with running(server, run, self.certificates, self.folder, self.cores.server) as started:
            if run.mode == "idle":
                return self.load(run, started, self.effort.idle_seconds)
            self.load(run, started, self.effort.warmup)
            return self.load(run, started, self.effort.seconds)

    def load(self, run: Run, server: Running, seconds: float) -> Sample:
        command = [*self.command(run, server.port, seconds), *map(str, server.processes)]
        done = subprocess.run(
            ["taskset", "--cpu-list", str(self.cores.client), *command],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ServerFailed(done.stderr.strip() or f"the load client ended with {done.returncode}")
        return Sample(**json.loads(done.stdout))

    def command(self, run: Run, port: int, seconds: float) -> list[str]:
        options: dict[str, object] = {
            "-p": port,
            "-c": run.connections,
            "-s": run.size,
            "-w": self.effort.warmup,
            "-t": seconds,
        }
        if run.client_certificate:
            options |= {"-C": self.certificates.client.certificate, "-K": self.certificates.client.key}
        words = [str(word) for option in options.items() for word in option]
        return [str(self.folder / "load"), *words, run.mode]


def _runs(rows: Iterable[Row], effort: Effort) -> list[Run]:
    """The runs that the rows are drawn from, each once."""
    runs = dict.fromkeys(row.run for row in rows)
    return [replace(run, connections=effort.idle_connections) if run.mode == "idle" else run for run in runs]


def _settings(effort: Effort, cores: Cores) -> dict[str, str]:
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "rounds": str(effort.rounds),
        "seconds": str(effort.seconds),
        "warm-up": str(effort.warmup),
        "cores": f"server {cores.server}, client {cores.client}",
        "cores_are_shared": "yes" if cores.server == cores.client else "no",
    }


def _machine() -> dict[str, str]:
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "kernel": f"{platform.system()} {platform.release().split('-')[0]}",
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
