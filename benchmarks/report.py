"""Results -> the table on the terminal, and the page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from .figures import OURS, Figure, figures, measured_rows
from .results import Results
from .rows import Row
from .servers import all_servers

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
NUMBERS = ("median", "spread", "ratio", "aim", "p50 µs", "p99 µs")
HEADINGS = ("server", *NUMBERS, "")

INTRODUCTION = """\
# Performance

What TLS costs a server, in mytls and in the servers that people use instead: made by `python -m benchmarks`.
"""

METHOD = """\
## How it is measured

- The server has one core, the load client another. The client is in C on OpenSSL (`benchmarks/load.c`).
- Work is counted per second of **server CPU**: the CPU clocks of all the server's processes, read by the client
  at the moments at which it starts and stops counting. That stays right where the client is what a run waits
  for; where the server used less than 90% of its core the row says how much it used, and *client-bound*, or
  *waiting* if the client had time left too (they waited for each other, or for what else ran on the machine).
- nginx, hitch, HAProxy and stunnel end TLS for a backend. A plain echo server in C (`benchmarks/plain.c`) on the
  same core is theirs, and **its CPU is counted**: the hop is a part of what such a service costs.
- Every server: TLS 1.3, X25519, TLS_AES_256_GCM_SHA384, the same certificate (one, no chain), its own defaults for
  session tickets and TCP_NODELAY, one worker, no log of connections
  but where the list of servers says so. The client sets TCP_NODELAY.
- In the rows *proxy:* mytls too ends TLS for that plain echo server (`--handler proxy:tcp:...`), whose CPU is counted.
- In the rows *Log and metrics* mytls writes a line for each connection to a file and counts for its metrics; beside it
  is mytls with neither. A ratio of 0.95 says that they cost a twentieth.
- A handshake is a connection: TCP, handshake, close_notify, until the server has closed; behind a proxy the
  backend's connection too. p50 and p99 are from `connect` to the end of the handshake, or a message's way there
  and back, under full load: with so many connections at once they follow from the throughput.
- Before each measurement the same load runs against the server once, and ends: some servers are quick only after
  their first connections were closed (the memory of their buffers is reused then). The idle rows start fresh.
- Echoed bytes are compared with what was sent.
- Rounds are interleaved: every server's first, every server's second, and so on, each in a new process; the
  figures are medians, and the spread is from the least to the most, of the median.
- Ratios above 1 say that mytls is better: more work, or less memory or CPU.
- The handlers of the Python servers are the plainest there are: Twisted's `Echo` and `Discard`, asyncio protocols; the
  thread-per-connection server is the `ssl` documentation's loop, with its `recv(1024)`.
"""


def print_report(results: Results, console: Console) -> None:
    for row in measured_rows(results):
        table = Table(box=SIMPLE, title=f"{row.title}: {_unit(row)}", title_justify="left", padding=(0, 1, 0, 0))
        for heading in HEADINGS:
            table.add_column(heading, justify="right" if heading in NUMBERS else "left", no_wrap=heading != "")
        for figure in figures(results, row):
            table.add_row(*_cells(figure), style=_style(figure))
        console.print(table)
    for server, reason in results.missing.items():
        console.print(f"skipped: {_title(server)}: {reason}")
    for turn, reason in results.failures.items():
        console.print(f"failed: {turn}: {reason}", style="red", markup=False)


def write_page(results: Results, path: Path, picture: str, raw: str) -> None:
    """The page. Of one that is there already, only what stands between the two marks is replaced."""
    measured = "\n".join([BEGIN, *_measured(results, picture, raw), END])
    page = path.read_text() if path.exists() else f"{INTRODUCTION}\n{BEGIN}\n{END}\n"
    before, _, rest = page.partition(BEGIN)
    path.write_text(before + measured + rest.partition(END)[2])


def _measured(results: Results, picture: str, raw: str) -> Iterable[str]:
    yield f"![How many times better mytls is, row by row]({picture})\n"
    yield from _overview(results)
    yield METHOD
    yield from _where(results, raw)
    yield "## Every figure\n"
    for row in measured_rows(results):
        yield from _row_table(row, figures(results, row))


def _overview(results: Results) -> Iterable[str]:
    """Row by server, ratios only."""
    rows = measured_rows(results)
    servers = [server for server in results.versions if server != OURS]
    yield "## mytls / the others\n"
    yield "Operations per server-CPU-second; **bold** where an aim was missed.\n"
    yield _line(["", *map(_title, servers)])
    yield _line(["---", *("---:" for _ in servers)])
    for row in rows:
        ratios = {figure.server: _ratio(figure) for figure in figures(results, row)}
        yield _line([row.title, *(ratios.get(server, "-") for server in servers)])
    yield ""


def _ratio(figure: Figure) -> str:
    text = "-" if figure.ratio is None else f"{figure.ratio:.2f}"
    return f"**{text}**" if figure.missed else text


def _where(results: Results, raw: str) -> Iterable[str]:
    machine, settings = results.machine, results.settings
    yield "## Where and what\n"
    yield (
        f"{settings['date']}: {machine['cores']} cores of {machine['processor']}, {machine['kernel']}; "
        f"{settings['rounds']} rounds of {settings['seconds']} s after {settings['warm-up']} s of warming up. "
        f"The raw samples are in [{raw}]({raw}).\n"
    )
    yield from (f"- {_title(server)} ({version})" for server, version in results.versions.items())
    yield from (f"- {_title(server)} was not measured: {reason}" for server, reason in results.missing.items())
    yield from (f"- {turn}: failed" for turn in results.failures)
    yield ""


def _row_table(row: Row, entries: list[Figure]) -> Iterable[str]:
    yield f"### {row.title}\n"
    yield f"In {_unit(row)}.\n"
    yield _line(HEADINGS)
    yield _line(["---", *("---:" for _ in NUMBERS), "---"])
    yield from (_line(_cells(figure)) for figure in entries)
    yield ""


def _unit(row: Row) -> str:
    return f"{row.unit} per server-CPU-second" if row.counts_work else row.unit


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cells(figure: Figure) -> list[str]:
    return [
        _title(figure.server),
        _digits(figure.value),
        f"{figure.spread:.0%}",
        "-" if figure.ratio is None else f"{figure.ratio:.2f}",
        _aim(figure),
        _digits(figure.p50) if figure.p50 else "",
        _digits(figure.p99) if figure.p99 else "",
        "; ".join(figure.notes),
    ]


def _aim(figure: Figure) -> str:
    """Empty where there is no aim, or no ratio to judge by it."""
    if figure.aim is None or figure.ratio is None:
        return ""
    return f"{figure.aim:.2f} {'✗' if figure.missed else '✓'}"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 0.05 else "0"


def _style(figure: Figure) -> str:
    return "red" if figure.missed else "bold" if figure.server == OURS else ""


def _title(server: str) -> str:
    return all_servers()[server].title
