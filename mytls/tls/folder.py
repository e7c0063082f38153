"""
A folder of certificates, keys and chains, sorted out: whatever the files are called, each certificate that a key fits
is a host's.

All files are one pool: keys are found by what they fit, chains by who has issued whom. A certificate that has been
renewed may lie beside its old one.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator

from cryptography import x509

from mytls.errors import ConfigurationError, one_line
from mytls.settings import HostSettings
from mytls.tls.certificates import Fit, KeyPair, fits, made
from mytls.tls.chains import Pool, chain_of, is_authority, self_signed
from mytls.tls.contents import Parts, kind_of, parts_of, shown
from mytls.tls.files import Files, read, unreadable
from mytls.tls.passwords import password_of
from mytls.tls.trust import ClientTrust


def pairs_in(
    settings: HostSettings, folder: str, files: Files, clients: ClientTrust | None = None
) -> tuple[tuple[tuple[KeyPair, ...], ...], tuple[str, ...]]:
    """
    The hosts of a folder, and what an operator should know of what is not served, a sentence each.

    Pairs of the same names and different kinds of key are one host. Of the same names and the same kind that one is
    served which is valid now and lasts longest. A self-signed root is not sent. Files that are neither PEM nor PKCS#12
    are left alone.

    @param settings: what holds for all hosts of the folder
    @param clients: their client CAs, whose roots are known to be roots
    @raise ConfigurationError: a file that cannot be read, is cut off or has a key of no use; or there is no pair at all
    """
    found = _parts(settings, folder, files)
    own = fits(found, found)
    pool = Pool(each for parts in found for each in parts.certificates)
    paths = {fit.certificate: chain_of(fit.certificate, pool) for fit in own}
    issuers = {each for path in paths.values() for each in path}
    served = [fit for fit in own if fit.certificate not in issuers]
    pairs = made(settings, [(fit, *_path_and_sent(fit, paths)) for fit in served], files, clients)
    hosts = _grouped(pairs, files.moment())
    if not hosts:
        raise settings.wrong("hosts", folder, "there is no certificate with its private key and a name in this folder")
    notes = (*_nameless(pairs), *_keyless(found, issuers | paths.keys()))
    return hosts, tuple(map(one_line, notes))


def _parts(settings: HostSettings, folder: str, files: Files) -> list[Parts]:
    try:
        paths = files.entries(folder)
    except OSError as error:
        raise unreadable(settings, "hosts", folder, error) from None
    password = password_of(settings, files)
    found = []
    for path in paths:
        content = read(settings, "hosts", path, files)
        try:
            parts = parts_of(path, content, password)
        except ConfigurationError as error:
            raise settings.wrong("hosts", path, str(error)) from None
        if parts is not None:
            found.append(parts)
    return found


def _path_and_sent(
    fit: Fit, paths: dict[x509.Certificate, tuple[x509.Certificate, ...]]
) -> tuple[tuple[x509.Certificate, ...], tuple[x509.Certificate, ...]]:
    path = paths[fit.certificate]
    return path, path[:-1] if path and self_signed(path[-1]) else path


def _grouped(pairs: Iterable[KeyPair], now: datetime.datetime) -> tuple[tuple[KeyPair, ...], ...]:
    best: dict[tuple[frozenset[str], str], KeyPair] = {}
    for pair in pairs:
        key = (frozenset(pair.names), kind_of(pair.key))  # type: ignore[arg-type]  # made of keys for servers
        if key not in best or _worth(pair, now) > _worth(best[key], now):
            best[key] = pair
    hosts: dict[frozenset[str], list[KeyPair]] = {}
    for (names, _), pair in best.items():
        if names:
            hosts.setdefault(names, []).append(pair)
    return tuple(map(tuple, hosts.values()))


def _worth(pair: KeyPair, now: datetime.datetime) -> tuple[bool, datetime.datetime]:
    begin, end = pair.certificate.not_valid_before_utc, pair.certificate.not_valid_after_utc
    return begin <= now <= end, end


def _nameless(pairs: Iterable[KeyPair]) -> Iterator[str]:
    for pair in pairs:
        if not pair.names and not is_authority(pair.certificate):
            yield f"{pair.source}: the certificate has no name that a client could ask for: it is not served"


def _keyless(found: Iterable[Parts], used: Iterable[x509.Certificate]) -> Iterator[str]:
    told = set(used)
    for parts in found:
        for each in parts.certificates:
            if each not in told and not is_authority(each):
                told.add(each)
                yield (
                    f"{parts.path}: no private key in the folder fits the certificate {shown(each.subject)}: "
                    "it is not served"
                )
