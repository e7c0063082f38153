"""What a reload has changed, in words for whoever reads the log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from mytls.errors import visible
from mytls.hosts import Host, Hosts
from mytls.loading import NOT_OF_TLS
from mytls.peer import serial_text
from mytls.review import Reviewed
from mytls.settings import FIELDS_OF_BACKENDS, HostSettings
from mytls.tls.certificates import KeyPair


def changes(where: str, old: Hosts, new: Hosts) -> list[str]:
    """
    What is different for the clients of a listener: names, serials, not-after.

    @param where: the listener, as logs name it
    """
    before, after = _by_names(old), _by_names(new)

    def shown(key: tuple[object, ...]) -> str:
        return where if new.plain else _shown(key)

    found = [f"{where}: host {_shown(key)} is gone" for key in before if key not in after]
    for key, host in after.items():
        if key not in before:
            found.append(f"{where}: host {_shown(key)} is new, {_certificates(host.pairs)}")
        else:
            found.extend(f"{shown(key)}: {change}" for change in _between(before[key], host))
            was, now = before[key].sources, host.sources
            if was != now and (was, now) != (old.sources, new.sources):  # where it is the only one they are the same
                found.append(f"{_shown(key)}: other from")
    if old.sources != new.sources:
        found.append(f"{where}: other from")
    if old.proxies != new.proxies:
        found.append(f"{where}: other proxy-protocol")
    if old.prelude != new.prelude:
        found.append(f"{where}: starttls {_begun(old)} -> {_begun(new)}")
    if _name_of(old.unknown) != _name_of(new.unknown):
        found.append(f"{where}: unknown names: {_name_of(old.unknown)}, now {_name_of(new.unknown)}")
    return found


def shut_out(found: Reviewed, *, close: bool) -> list[str]:
    """
    What has become of clients who are there and may not enter any more.

    @param found: their connections
    @param close: whether these are ended
    """
    told = []
    if found.out:
        told.append(f"{_connections(found.out)} who may not enter any more: {'closed' if close else 'left'}")
    if found.undecided:
        told.append(f"{_connections(found.undecided)} whom the policy had no time to decide about: left")
    return told


def _connections(count: int) -> str:
    return "1 connection of a client" if count == 1 else f"{count} connections of clients"


def _by_names(hosts: Hosts) -> dict[tuple[object, ...], Host]:
    return {(host.names, host.alpn) if host.names else ((), ()): host for host in hosts.all}


def _between(old: Host, new: Host) -> list[str]:
    found = []
    gone, come = _without(old.pairs, new.pairs), _without(new.pairs, old.pairs)
    if gone or come:
        found.append(f"{_serials(gone)} -> {_certificates(come)}")
    if old.settings.handler != new.settings.handler:
        found.append(f"handler {visible(str(old.settings.handler))} -> {visible(str(new.settings.handler))}")
    differing = _differing(old.settings, new.settings)
    if differing:
        found.append(f"other {', '.join(differing)}")
    if old.digest != new.digest and not found:
        found.append(_otherwise(new.settings))
    if old.policies != new.policies and not set(differing) & {"policy", "rego", "rego-query"}:
        found.append("other policy files")
    return found


def _otherwise(settings: HostSettings) -> str:
    """What has changed where nothing has that is told by name."""
    if settings.client_auth == "off":
        return "other files"
    return "other CAs of spiffe" if settings.spiffe and not settings.client_ca else "other client-ca or crl files"


def _differing(old: HostSettings, new: HostSettings) -> list[str]:
    """The keys whose values are others, but for those that are told otherwise: only what is in the files counts."""
    told = (field.name for field in attrs.fields(HostSettings) if field.name not in NOT_OF_TLS)
    names = (*told, *FIELDS_OF_BACKENDS)
    return [name.replace("_", "-") for name in names if getattr(old, name) != getattr(new, name)]


def _shown(key: tuple[object, ...]) -> str:
    names = key[0]
    assert isinstance(names, tuple)
    return visible(",".join(names[:3]) + (",..." if len(names) > 3 else "")) if names else "any name"


def _name_of(host: Host | None) -> str:
    return "refused" if host is None else visible(host.known_as())


def _begun(hosts: Hosts) -> str:
    return "off" if hosts.prelude is None else f"{hosts.prelude.protocol} as {hosts.prelude.name}"


def _without(pairs: Iterable[KeyPair], others: Iterable[KeyPair]) -> list[KeyPair]:
    """Those that are not among the others."""
    there = {pair.digest for pair in others}
    return [pair for pair in pairs if pair.digest not in there]


def _serials(pairs: Iterable[KeyPair]) -> str:
    return ", ".join(map(_serial, pairs)) or "no certificate"


def _certificates(pairs: Sequence[KeyPair]) -> str:
    told = (f"{_serial(pair)} until {pair.certificate.not_valid_after_utc:%Y-%m-%d}" for pair in pairs)
    return ", ".join(told) or "no certificate"


def _serial(pair: KeyPair) -> str:
    return f"serial {serial_text(pair.certificate.serial_number)}"
