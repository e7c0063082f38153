"""Results -> an SVG: a panel a row, a bar a server, on a scale where twice and half are equally far from 1."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from .figures import OURS, Figure, figures, measured_rows
from .results import Results
from .servers import all_servers

COLUMNS = 3
BETTER, WORSE, MISSED = "#2b7a78", "#b5b5b5", "#d1603d"
TITLE = "How many times better mytls is than each: work per server-CPU-second (orange: an aim is missed)"
TICKS = (0.25, 0.5, 1, 2, 4, 8)


def draw(results: Results, path: Path) -> None:
    rows = measured_rows(results)
    lines = -(-len(rows) // COLUMNS)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mytls", "font.size": 9}):
        canvas = Canvas(figsize=(12, 0.8 + 2.4 * lines), layout="constrained")
        panels = list(canvas.subplots(lines, COLUMNS, squeeze=False).flat)
        for row, panel in zip(rows, panels, strict=False):
            panel.set_title(row.title, loc="left", fontsize=10, fontweight="bold")
            _bars(panel, [figure for figure in figures(results, row) if figure.server != OURS])
        for panel in panels[len(rows) :]:
            panel.set_axis_off()
        canvas.suptitle(TITLE, fontsize=11)
        canvas.savefig(path, format="svg", metadata={"Date": None})


def _bars(panel: Axes, entries: list[Figure]) -> None:
    ratios = [figure.ratio or 1.0 for figure in entries]
    places = range(len(entries))
    panel.barh(
        places,
        [ratio - 1 for ratio in ratios],
        left=1,
        color=[_colour(figure) for figure in entries],
    )
    for place, figure in zip(places, entries, strict=True):
        _label(panel, place, figure)
    panel.set_yticks(places, [all_servers()[figure.server].title for figure in entries])
    panel.invert_yaxis()
    _scale(panel, ratios)


def _label(panel: Axes, place: int, figure: Figure) -> None:
    text = " -" if figure.ratio is None else f" {figure.ratio:.2f} "
    ratio = figure.ratio or 1.0
    panel.text(ratio, place, text, va="center", ha="left" if ratio >= 1 else "right", fontsize=8)


def _scale(panel: Axes, ratios: list[float]) -> None:
    least, most = min([0.7, *ratios]), max([1.5, *ratios])
    panel.set_xscale("log")
    panel.set_xlim(least / 1.5, most * 1.5)
    panel.set_xticks([tick for tick in TICKS if least / 1.5 < tick < most * 1.5])
    panel.xaxis.set_major_formatter(lambda tick, _: f"{tick:g}")
    panel.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    panel.axvline(1, color="black", linewidth=0.8)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(left=False)


def _colour(figure: Figure) -> str:
    if figure.missed:
        return MISSED
    return BETTER if (figure.ratio or 1.0) >= 1 else WORSE
