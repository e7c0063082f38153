"""The file: TOML in, settings out; every error at once, each with its line."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from mytls.errors import ConfigurationError, ConfigurationErrors, Troubles, nearest, one_line, shortened
from mytls.keys import GLOBAL_KEYS, HOST_KEYS, LISTENER_KEYS, NICKNAMES, PLACE_KEYS, Key
from mytls.settings import OF_TLS, HostSettings, ListenerSettings, Settings, inherited, not_kept
from mytls.strings import is_tls, listener_values, listens_at, prefix_of
from mytls.tomllines import Path, Source, Wrote, WroteAt, parsed

_LISTENER, _HOST = "[[listener]]", "[[listener.host]]"
#: Each table's heading, and what may stand in it.
_TABLES: Mapping[str, Mapping[str, Key]] = {
    _LISTENER: {key.name: key for key in (*LISTENER_KEYS, *HOST_KEYS)},
    _HOST: {key.name: key for key in HOST_KEYS},
    **{f"[{table}]" if table else "": {key.name: key for key in keys} for table, keys in GLOBAL_KEYS.items()},
}
#: Where those of them stand that hold one value for the whole service, by their words.
_PATHS: Mapping[str, Path] = {
    key.word: (table, key.name) if table else (key.name,) for table, keys in GLOBAL_KEYS.items() for key in keys
}
#: The keys whose names in endpoint strings are others: somebody may write those.
_BY_WORD = {
    **NICKNAMES,
    **{key.word: key.name for key in (*HOST_KEYS, *LISTENER_KEYS) if key.word != key.name},
}
#: The keys whose value is a table.
_OF_TABLES = {key.name for key in (*HOST_KEYS, *LISTENER_KEYS) if key.kind.inside}
#: The keys of files that are read.
_READ = {key.name for key in (*PLACE_KEYS, *HOST_KEYS, *LISTENER_KEYS) if key.kind.files}


def settings_from_file(
    path: str, content: bytes, missing: Callable[[str], object] = lambda path: None, folder: str | None = None
) -> Settings:
    """
    What a configuration file says.

    @param path: the file's name, as the user typed it
    @param content: what is in it
    @param missing: called with the path of each file that is not there, for whoever waits for it
    @param folder: where paths in the file count from; the file's folder, if left out
    @raise ConfigurationErrors: all that is wrong, a line for each: C{FILE:LINE: KEY: trouble}
    """
    name = one_line(path)
    text, document = parsed(name, content)
    reader = _Reader(Source(name, text), folder or os.path.dirname(os.path.abspath(path)), missing)
    settings = reader.settings(document)
    if reader.troubles.lines:
        raise ConfigurationErrors(
            sorted(reader.troubles.lines, key=lambda line: int(line[len(name) + 1 :].split(":")[0]))
        )
    return settings


class _Reader:
    """
    Reads a document.

    @ivar troubles: all that is wrong
    """

    def __init__(self, source: Source, folder: str, missing: Callable[[str], object]) -> None:
        self._source = source
        self._folder = folder
        self._missing = missing
        self.troubles = Troubles()

    def settings(self, document: dict[str, Any]) -> Settings:
        """What the document says, as far as it is right."""
        tables = {name: value for name, value in document.items() if name and name in GLOBAL_KEYS}
        top = {name: value for name, value in document.items() if name not in (*tables, "listener")}
        said = self._table(top, (), "").said("")
        for name, table in tables.items():
            if isinstance(table, dict):
                said |= self._table(table, (name,), f"[{name}]").said(f"[{name}]")
            else:
                self._wrong((name,), f"expected one table, [{name}]")
        wrote = WroteAt(self._source, _PATHS)
        return attrs.evolve(Settings.of(self._listeners(document), said, wrote), folder=self._folder)

    def _listeners(self, document: dict[str, Any]) -> tuple[ListenerSettings, ...]:
        tables = self._tables(document, (), "listener", _LISTENER)
        if not tables and not self.troubles.lines:
            self._wrong((_LISTENER,), "there is none; expected at least one, with endpoint, certificate and handler")
        self._check_places(tables)
        made = [self._listener(table, ("listener", number)) for number, table in enumerate(tables)]
        return tuple(each for each in made if each is not None)

    def _tables(self, parent: dict[str, Any], path: Path, name: str, heading: str) -> list[dict[str, Any]]:
        tables = parent.get(name, [])
        if isinstance(tables, list) and all(isinstance(each, dict) for each in tables):
            return tables
        self._wrong((*path, name), f"expected {heading}, with two brackets on each side, before the keys of each")
        return []

    def _table(self, table: dict[str, Any], path: Path, heading: str) -> _Table:
        """The values of the keys in a table."""
        values: dict[str, Any] = {}
        wrong = set()
        for name, value in table.items():
            key = _TABLES[heading].get(name)
            if key is None or _are_tables(value):
                self._wrong((*path, name), _unknown((*path, name), value, heading))
                wrong.add(name)
                continue
            try:
                read = key.kind.of_toml(value)
            except ConfigurationError as error:
                wrong.add(name)
                for line in error.lines:
                    self._wrong((*path, name), line)
            else:
                moves = key.kind.files or key.kind.beside is not None
                values[name] = key.kind.moved(read, self._folder) if moves else read
        return _Table(path, values, wrong <= {"names"})

    def _listener(self, table: dict[str, Any], path: Path) -> ListenerSettings | None:
        base = self._table({name: value for name, value in table.items() if name != "host"}, path, _LISTENER)
        hosts = [
            self._table(each, (*path, "host", number), _HOST)
            for number, each in enumerate(self._tables(table, path, "host", _HOST))
        ]
        for each in (base, *hosts):
            self._check_files(each.values, self._wrote(each.path, _TABLES[_LISTENER]))
        if "endpoint" not in table:
            self._wrong((*path, "endpoint"), "missing; expected a server endpoint string such as mytls:8443")
        elif "endpoint" in base.values:
            with self.troubles.gathered():
                return self._made(base, hosts)
        return None

    def _made(self, base: _Table, hosts: Sequence[_Table]) -> ListenerSettings | None:
        """The listener of a table with an endpoint. @raise ConfigurationError: there is something wrong with it"""
        said = dict(base.values)
        endpoint = said.pop("endpoint")
        if not endpoint.partition(":")[0].strip():
            self._wrong((*base.path, "endpoint"), "expected a server endpoint string such as mytls:8443")
            return None
        wrote = self._wrote(base.path, _TABLES[_LISTENER])
        values, wrote = listener_values(endpoint, said, wrote, folder=self._folder)
        self._check_files({name: value for name, value in values.items() if name not in said}, wrote)
        if hosts and not is_tls(endpoint):
            self._wrong((*hosts[0].path, _HOST), f"of no use with {prefix_of(endpoint)}:, to which mytls adds no TLS")
        elif base.right:
            return self._with_hosts(endpoint, _Table(base.path, values, True), wrote, hosts)
        return None

    def _with_hosts(
        self, endpoint: str, base: _Table, wrote: Mapping[str, str], hosts: Sequence[_Table]
    ) -> ListenerSettings | None:
        """@param base: what the endpoint string says, and what the listener's table does"""
        made = {each.path: host for each in hosts if (host := self._host(each, base.values, wrote)) is not None}
        self._check_complete(made, certificate=True)
        self._check_names(made)
        if len(made) < len(hosts):
            return None
        listener = ListenerSettings.of(endpoint, base.values, wrote, tuple(made.values()))
        if not hosts or listener.directory is not None:
            certificate = is_tls(endpoint) and listener.directory is None
            self._check_complete({base.path: listener.base}, certificate=certificate)
        _check_unknown_name(listener)
        return listener

    def _host(self, own: _Table, values: Mapping[str, Any], wrote: Mapping[str, str]) -> HostSettings | None:
        """A host of a listener that says these values."""
        if not own.right:
            return None
        lost = not_kept(values, own.values)
        if lost:
            words = ", ".join(wrote[name].rpartition(": ")[2] for name in lost)
            trouble = f"passthrough: decrypts nothing, so the listener's {words} cannot be kept; "
            instead = 'say client-auth = "off" for this host' if lost[0] not in OF_TLS else "say it in the other hosts"
            self._wrong((*own.path, "handler"), trouble + instead)
        of_listener = inherited(values, own.values)
        spelling = Wrote(self._source, own.path, _TABLES[_HOST].keys() - of_listener.keys(), wrote)
        with self.troubles.gathered():
            return HostSettings.of({**of_listener, **own.values}, spelling)
        return None

    def _check_places(self, listeners: Sequence[dict[str, Any]]) -> None:
        """Two listeners cannot be at the same place."""
        seen: dict[tuple[str, ...], Path] = {}
        for number, table in enumerate(listeners):
            endpoint = table.get("endpoint")
            place = listens_at(endpoint) if isinstance(endpoint, str) else None
            path: Path = ("listener", number, "endpoint")
            if place is not None and seen.setdefault(place, path) != path:
                self._wrong(path, f"the listener of line {self._source.line(seen[place])} is there already")

    def _check_files(self, values: Mapping[str, Any], wrote: Mapping[str, str]) -> None:
        for name in [each for each in values if each in _READ]:
            value = values[name]
            for path in (value,) if isinstance(value, str) else value:
                trouble = _file_trouble(path, folder=name == "hosts")
                if trouble:
                    self.troubles.lines.append(f"{wrote[name]}={shortened(path)}: {trouble}")
                    self._missing(path)

    def _check_complete(self, hosts: Mapping[Path, HostSettings], *, certificate: bool) -> None:
        """Nobody is served without a handler, and nobody has TLS without a certificate."""
        for path, host in hosts.items():
            if host.handler is None:
                self._wrong((*path, "handler"), "missing; expected a handler string such as proxy:tcp:127.0.0.1:8080")
            keyless = not (host.certificate or host.private_key or host.spiffe)
            if certificate and keyless and not host.passes_on:
                self._wrong((*path, "certificate"), "missing; expected the file with the certificate and its chain")

    def _check_names(self, hosts: Mapping[Path, HostSettings]) -> None:
        """Hosts are told apart by their names, or by their names and protocols."""
        known: dict[str, list[tuple[Path, HostSettings]]] = {}
        for path, host in hosts.items():
            for name in host.names:
                for there, other in known.get(name, ()):
                    if set(host.alpn) & set(other.alpn) or not (host.alpn or other.alpn):
                        self._wrong(
                            (*path, "names"),
                            f"{name} is a name of the host in line {self._source.line(there)} too; "
                            "only different alpn lists could tell them apart",
                        )
                known.setdefault(name, []).append((path, host))

    def _wrote(self, path: Path, names: Iterable[str]) -> Mapping[str, str]:
        return Wrote(self._source, path, names)

    def _wrong(self, path: Path, trouble: str) -> None:
        self.troubles.lines.append(f"{self._source.wrote(path)}: {trouble}")


@attrs.frozen
class _Table:
    """
    What a table says.

    @ivar path: where it stands
    @ivar values: what it says, by the names of its keys
    @ivar right: whether nothing was wrong in it but names: if not, its values may contradict each other for that
    """

    path: Path
    values: dict[str, Any]
    right: bool

    def said(self, heading: str) -> dict[str, Any]:
        """The values of a table by their words on the command line."""
        return {_TABLES[heading][name].word: value for name, value in self.values.items()}


def _check_unknown_name(listener: ListenerSettings) -> None:
    """Only where each name is known already, and none is to be read from a certificate."""
    hosts = listener.hosts or (listener.base,)
    names = [name for host in hosts for name in host.names]
    asked = listener.unknown_name
    if asked in (None, "reject", *names) or listener.directory is not None or not all(host.names for host in hosts):
        return
    raise listener.wrong("unknown-name", asked, f"no host has this name{nearest(str(asked), ['reject', *names])}")


def _file_trouble(path: str, *, folder: bool) -> str:
    """Why a file, or a folder, cannot be read; empty where it can, or where it is none."""
    if path.startswith("env:"):
        return ""
    try:
        found = os.stat(path)
    except (FileNotFoundError, ValueError):  # a NUL in it
        return "no such folder" if folder else "no such file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if stat.S_ISDIR(found.st_mode) == folder:
        return ""
    return "not a folder" if folder else "a folder where a file is expected"


def _unknown(path: Path, value: object, heading: str) -> str:
    """What is said of a key or a table that has no place where it stands."""
    if str(path[-1]) not in _OF_TABLES and (isinstance(value, dict) or _are_tables(value)):
        name = ".".join(part for part in path if isinstance(part, str))
        written = f"[{name}]" if isinstance(value, dict) else f"[[{name}]]"
        return f"no such table{nearest(written, filter(None, _TABLES))}"
    name = str(path[-1])
    homes = [home for home, keys in _TABLES.items() if name in keys]
    if homes == [""]:
        return "belongs at the top of the file, before the first [table]"
    if homes:
        return f"belongs in {' or '.join(homes)}"
    if _BY_WORD.get(name) in _TABLES[heading]:
        return f"no such key; did you mean {_BY_WORD[name]!r}?"
    return f"no such key{nearest(name, _TABLES[heading])}"


def _are_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)
