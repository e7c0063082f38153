"""Samples -> the figures that are shown: medians, ratios, and what has to be said beside them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from .results import Results, Sample
from .rows import AIMS, CEILINGS, ROWS, Row

OURS = "mytls"
BUSY = 0.9


@dataclass(frozen=True)
class Figure:
    """One server in one row. `ratio` is how many times better mytls is, `spread` (most - least) / median."""

    row: Row
    server: str
    value: float
    spread: float
    ratio: float | None
    aim: float | None
    p50: float
    p99: float
    notes: tuple[str, ...]

    @property
    def missed(self) -> bool:
        """Judged as it is shown, with two decimals."""
        return self.aim is not None and self.ratio is not None and round(self.ratio, 2) < self.aim


def measured_rows(results: Results) -> list[Row]:
    return [row for row in ROWS if results.samples.get(row.run.name)]


def figures(results: Results, row: Row) -> list[Figure]:
    """One for each server that was measured, in the order of measuring."""
    by_server = results.samples[row.run.name]
    ours = median(map(row.value, by_server[OURS])) if OURS in by_server else None
    return [_figure(row, server, samples, ours) for server, samples in by_server.items()]


def _figure(row: Row, server: str, samples: list[Sample], ours: float | None) -> Figure:
    values = [row.value(sample) for sample in samples]
    value = median(values)
    return Figure(
        row=row,
        server=server,
        value=value,
        spread=(max(values) - min(values)) / value if value else 0.0,
        ratio=None if ours is None or server == OURS else row.ratio(ours, value),
        aim=AIMS.get(row.name, {}).get(server),
        p50=median(sample.p50 for sample in samples),
        p99=median(sample.p99 for sample in samples),
        notes=tuple(_notes(row, server, samples, value)),
    )


def _notes(row: Row, server: str, samples: list[Sample], value: float) -> Iterable[str]:
    busy = median(sample.server_busy for sample in samples)
    if row.counts_work and busy < BUSY:
        client_bound = median(sample.client_busy for sample in samples) > BUSY
        yield f"{'client-bound' if client_bound else 'waiting'} {busy:.0%}"
    if row.run.mode == "resume" and any(sample.resumed < 0.99 * sample.operations for sample in samples):
        yield "full: cannot resume"
    if any(sample.resets > 0.01 * sample.operations for sample in samples):
        yield "resets connections"
    ceiling = CEILINGS.get(row.name)
    if ceiling and server == OURS:
        yield f"aim: at most {ceiling:g}, {'met' if value <= ceiling else 'missed'}"
