"""What is served, as a table for a person: `twistd mytls --config FILE --check`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from mytls.errors import one_line
from mytls.hosts import Host, Hosts
from mytls.loading import Loaded
from mytls.running import Plan
from mytls.settings import ListenerSettings
from mytls.tls.certificates import KeyPair

_HEAD = ("LISTENER", "NAMES", "CERTIFICATE", "NOT AFTER (UTC)", "TLS", "ALPN", "CLIENTS", "RULES", "HANDLER")
#: A cell has one line or several; a row is as high as its highest cell.
_Cell = Sequence[str]
_NOTHING: _Cell = ("-",)


def table(plan: Plan) -> str:
    """The listeners, their hosts, and the warnings below."""
    rows: list[tuple[_Cell, ...]] = [tuple((each,) for each in _HEAD)]
    rows.extend(row for settings, loaded in plan.listeners for row in _rows(settings, loaded))
    widths = [max(len(line) for row in rows for line in row[column]) for column in range(len(_HEAD))]
    lines = [_line(cells, widths) for row in rows for cells in zip_longest(*row, fillvalue="")]
    warnings = [f"warning: {one_line(warning)}" for warning in plan.warnings]
    return "\n".join((*lines, *warnings))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _rows(settings: ListenerSettings, loaded: Loaded | None) -> Iterator[tuple[_Cell, ...]]:
    where = (one_line(settings.endpoint),)
    of_listener = [f"from {each}" for each in settings.base.from_]
    of_listener.extend(f"PROXY header from {each}" for each in settings.proxy_protocol)
    if loaded is None:
        yield (
            where,
            _NOTHING,
            _NOTHING,
            _NOTHING,
            ("none",),
            _NOTHING,
            _NOTHING,
            of_listener or _NOTHING,
            _handler(settings.base.handler),
        )
        return
    for host in loaded.hosts.all:
        yield (
            where,
            _names(host, loaded.hosts),
            [_file(pair) for pair in host.pairs] or _NOTHING,
            [f"{pair.certificate.not_valid_after_utc:%Y-%m-%d %H:%M}" for pair in host.pairs] or _NOTHING,
            (host.settings.profile if host.maker is not None else "passed on",),
            [one_line(each) for each in host.settings.alpn] or _NOTHING,
            (host.settings.client_auth,),
            [*of_listener, *_rules(host, settings)] or _NOTHING,
            _handler(host.settings.handler),
        )
    if loaded.hosts.unknown is None:
        yield where, ("any other name",), *(_NOTHING,) * 6, ("refused",)


def _rules(host: Host, listener: ListenerSettings) -> Iterator[str]:
    """What a client has to fulfil besides the listener's own C{from}."""
    settings = host.settings
    if settings.from_ != listener.base.from_:
        yield from (f"from {each}" for each in settings.from_)
    policies = [f"policy {settings.policy}"] if settings.policy else []
    if settings.rego:
        policies.append(f"rego {settings.rego}")
    if host.access is not None:
        # Where policies decide alone, that all may enter by the rules would tell the wrong thing.
        rules = [each for each in host.access.rules if settings.allow or not policies or each != "allow all"]
        yield from map(one_line, rules or ([] if policies else ["nobody enters"]))
    yield from map(one_line, policies)


def _names(host: Host, hosts: Hosts) -> _Cell:
    if host is not hosts.unknown:
        return host.names
    return [*host.names, "and any other"] if host.names else ("any name",)


def _file(pair: KeyPair) -> str:
    """From here, where that is shorter."""
    return one_line(min(pair.source, os.path.relpath(pair.source), key=len))


def _handler(said: str | None) -> _Cell:
    return (one_line(said or "-"),)
