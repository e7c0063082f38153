"""The command line: what to measure, how long, and where to write it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from . import results as stored
from .measure import Effort, count_turns, measure
from .processes import ServerFailed
from .results import Results
from .rows import ROWS, Row
from .servers import Server, all_servers

if TYPE_CHECKING:
    from rich.console import Console

RAW = Path(__file__).parent / "results.json"
BUSY_MACHINE = 0.5
QUICK = Effort(seconds=0.15, idle_seconds=0.15, warmup=0.05, rounds=1, idle_connections=100)


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    console = _console()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        results = stored.load(options.again) if options.again else _measure(options, console)
    except ServerFailed as problem:
        sys.exit(f"benchmarks: {problem}")
    except KeyboardInterrupt:
        sys.exit("benchmarks: stopped; every server was ended")
    _show(results, options, console)


def _console() -> Console:
    try:
        from rich.console import Console
    except ImportError:
        sys.exit("benchmarks: the Python package rich is not installed; say: pip install '.[bench]'")
    return Console()


def _parser() -> argparse.ArgumentParser:
    default = Effort()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measures mytls beside other TLS servers."
    )
    words = {"rows": [row.name for row in ROWS], "servers": list(all_servers())}
    for name, known in words.items():
        parser.add_argument(
            f"--{name}", type=_words(known), default=known, metavar="A,B", help=f"only these: {', '.join(known)}"
        )
    parser.add_argument("--seconds", type=float, help=f"measured in each turn (default: {default.seconds})")
    parser.add_argument("--warmup", type=float, help=f"seconds before them (default: {default.warmup})")
    parser.add_argument("--rounds", type=int, help=f"turns of each server in each row (default: {default.rounds})")
    parser.add_argument("--quick", action="store_true", help="one short round: does everything work?")
    parser.add_argument("--write", type=Path, metavar="DIR", help="write performance.md, .svg and .json there")
    parser.add_argument("--json", type=Path, default=RAW, metavar="FILE", help="the raw results (default: %(default)s)")
    parser.add_argument("--again", type=Path, metavar="FILE", help="show raw results of before; measure nothing")
    return parser


def _words(known: list[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        words = text.split(",")
        unknown = [word for word in words if word not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return [word for word in known if word in words]

    return parse


def _measure(options: argparse.Namespace, console: Console) -> Results:
    rows = [row for row in ROWS if row.name in options.rows]
    wanted = [all_servers()[name] for name in options.servers]
    missing = {server.name: reason for server in wanted if (reason := server.missing())}
    for name, reason in missing.items():
        console.print(f"skipping {name}: {reason}")
    if os.getloadavg()[0] > BUSY_MACHINE:
        console.print("other programs are busy on this machine: the figures will be rough")
    present = [server for server in wanted if server.name not in missing]
    results = _with_progress(rows, present, _effort(options), console)
    results.missing = missing
    results.save(options.json)
    return results


def _effort(options: argparse.Namespace) -> Effort:
    base = QUICK if options.quick else Effort()
    return Effort(
        seconds=options.seconds or base.seconds,
        idle_seconds=base.idle_seconds,
        warmup=base.warmup if options.warmup is None else options.warmup,
        rounds=options.rounds or base.rounds,
        idle_connections=base.idle_connections,
    )


def _with_progress(rows: list[Row], servers: list[Server], effort: Effort, console: Console) -> Results:
    """The bar is drawn between turns only: a thread that draws would be a load of its own."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=count_turns(rows, servers, effort), completed=-1)

        def progress(turn: str) -> None:
            bar.update(task, advance=1, description=turn, refresh=True)

        return measure(rows, servers, effort, progress)


def _show(results: Results, options: argparse.Namespace, console: Console) -> None:
    from . import picture, report

    report.print_report(results, console)
    if options.write:
        options.write.mkdir(parents=True, exist_ok=True)
        picture.draw(results, options.write / "performance.svg")
        results.save(options.write / "performance.json")
        report.write_page(results, options.write / "performance.md", "performance.svg", "performance.json")
        console.print(f"written: {options.write}/performance.md, .svg and .json")


if __name__ == "__main__":
    main()
