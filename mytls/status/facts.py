"""What a process serves and whom, as JSON can carry it: one value of an overview for each listener, host, ..."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa

from mytls.connection import ServerConnection
from mytls.hosts import Host
from mytls.peer import serial_text
from mytls.running import TLSService
from mytls.settings import HostSettings
from mytls.status.counts import Counts, OfListener
from mytls.tls.certificates import KeyPair

Values = Mapping[str, Any]
#: A time of the reactor's clock as one since 1970.
Wall = Callable[[float], float]

_DAY = 24 * 3600


def listeners(service: TLSService, counts: Counts) -> Iterator[Values]:
    """Where it listens."""
    for listener in service.listeners:
        counted = counts.at(listener.address) if listener.address is not None else OfListener()
        yield {
            "address": listener.address,
            "endpoint": listener.written,
            "handler": listener.serves,
            "listening": listener.port is not None,
            "open": len(listener.connections),
            "accepted": counted.accepted,
            "refused": counted.refused.total(),
            "failed": counted.failed.total(),
        }


def hosts(service: TLSService) -> Iterator[tuple[str | None, Host]]:
    """Whom clients meet who speak TLS, with the listener's address."""
    for listener in service.listeners:
        if listener.hosts is not None and not listener.hosts.plain:
            for each in listener.hosts.all:
                yield listener.address, each


def host(listener: str | None, each: Host) -> Values:
    """One host."""
    return {
        "listener": listener,
        "host": each.known_as(),
        "names": list(each.names),
        "handler": each.serves,
        "profile": None if each.maker is None else each.settings.profile,
        "client_auth": each.settings.client_auth,
        "alpn": [protocol.decode("utf-8", "replace") for protocol in each.alpn],
        "rules": list(_rules(each.settings)),
    }


class Certificates:
    """What is served. To read thousands of certificates takes long, so of each is kept what it says."""

    def __init__(self) -> None:
        self._read: dict[int, tuple[KeyPair, Values]] = {}

    def told(self, hosts: Iterable[tuple[str | None, Host]], now: float) -> list[Values]:
        """Those of all hosts that there are, with the listeners' addresses. @param now: the time"""
        served = [(listener, each, pair) for listener, each in hosts for pair in each.pairs]
        before, self._read = self._read, {}  # what is served no more is not kept
        for _, _, pair in served:
            if id(pair) not in self._read:  # nobody else has it while the pair is kept
                self._read[id(pair)] = before.get(id(pair)) or (pair, _said(pair))
        return [_certificate(listener, each, self._read[id(pair)][1], now) for listener, each, pair in served]


def backend(handler: str, standing: Any, failures: int, wall: Wall) -> Values:
    """One backend of a handler. @param standing: a L{mytls.handlers.backends.Standing}"""
    return {
        "handler": handler,
        "backend": standing.description,
        "state": str(standing.state),
        "open": standing.open,
        "since": wall(standing.since),
        "failures": failures,
    }


def connection(each: ServerConnection, now: float, wall: Wall) -> Values:
    """One connection that is open. @param now: the clock's time"""
    peer, whence = each.met, each.whence
    come, gone = each.traffic
    return {
        "id": str(each.number),
        **{name: whence[name] for name in ("listener", "host", "handler", "address", "via")},
        "server_name": each.server_name,
        "state": each.state,
        "since": wall(each.since),
        "seconds": now - each.since,
        **{name: getattr(peer, name) for name in ("version", "cipher", "group", "alpn", "resumed")},
        "identity": None if peer.identity is None else peer.identity.shown(),
        "bytes_in": come,
        "bytes_out": gone,
    }


def _certificate(listener: str | None, each: Host, said: Values, now: float) -> Values:
    end = said["not_after"]
    left = {"days_left": math.floor((end - now) / _DAY), "expired": now > end}
    return {"listener": listener, "host": each.known_as(), **said, **left}


def _said(pair: KeyPair) -> Values:
    """What is the same whenever it is asked."""
    found = pair.certificate
    return {
        "file": pair.source,
        "subject": found.subject.rfc4514_string(),
        "issuer": found.issuer.rfc4514_string(),
        "serial": serial_text(found.serial_number),
        "key": _key(found),
        "not_before": found.not_valid_before_utc.timestamp(),
        "not_after": found.not_valid_after_utc.timestamp(),
    }


def _rules(settings: HostSettings) -> Iterator[str]:
    """Who may enter, as the user has said it."""
    yield from (f"allow {rule}" for rule in settings.allow)
    yield from (f"deny {rule}" for rule in settings.deny)
    yield from (f"from {source}" for source in settings.from_)
    if settings.policy is not None:
        yield f"policy {settings.policy}"
    if settings.rego is not None:
        yield f"rego {settings.rego}"


def _key(found: x509.Certificate) -> str:
    """Which kind of key it is, and of what size."""
    key = found.public_key()
    match key:
        case rsa.RSAPublicKey():
            return f"RSA {key.key_size}"
        case ec.EllipticCurvePublicKey():
            return f"ECDSA {key.curve.name}"
        case dsa.DSAPublicKey():
            return f"DSA {key.key_size}"
        case _:
            return type(key).__name__.removeprefix("_").removesuffix("PublicKey")
