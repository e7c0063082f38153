"""What is served, as a table for a person: `twistd mytls --config FILE --check`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mytls.errors import one_line
from mytls.hosts import Host, Hosts
from mytls.loading import Loaded
from mytls.running import Plan
from mytls.settings import ListenerSettings
from mytls.tls.certificates import KeyPair

_HEAD = ("LISTENER", "NAMES", "CERTIFICATE", "NOT AFTER", "TLS", "CLIENTS", "RULES", "HANDLER")


def table(plan: Plan) -> str:
    """The listeners, their hosts, and the warnings below."""
    rows = [_HEAD, *(row for settings, loaded in plan.listeners for row in _rows(settings, loaded))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    warnings = [f"warning: {one_line(warning)}" for warning in plan.warnings]
    return "\n".join((*lines, *warnings))


def _rows(settings: ListenerSettings, loaded: Loaded | None) -> Iterator[tuple[str, ...]]:
    where = one_line(settings.endpoint)
    if loaded is None:
        yield where, "-", "-", "-", "none", "-", "-", one_line(settings.base.handler or "-")
        return
    for host in loaded.hosts.all:
        first, *more = _certificates(host.pairs)
        yield (
            where,
            _names(host, loaded.hosts),
            *first,
            _tls(host),
            *_clients(host),
            one_line(host.settings.handler or "-"),
        )
        for certificate in more:
            yield "", "", *certificate, "", "", "", ""
    if loaded.hosts.unknown is None:
        yield where, "any other name", "-", "-", "-", "-", "-", "refused"


def _names(host: Host, hosts: Hosts) -> str:
    names = ",".join(host.names)
    if host is not hosts.unknown:
        return names
    return f"{names} and any other" if names else "any name"


def _certificates(pairs: Sequence[KeyPair]) -> list[tuple[str, str]]:
    return [
        (
            f"{one_line(pair.source)} (serial {pair.certificate.serial_number:X})",
            f"{pair.certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
        )
        for pair in pairs
    ] or [("-", "-")]


def _tls(host: Host) -> str:
    return host.settings.profile if host.maker is not None else "passed on"


def _clients(host: Host) -> tuple[str, str]:
    return host.settings.client_auth, "; ".join(map(one_line, host.access.rules)) if host.access is not None else "-"
