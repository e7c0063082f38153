"""
What an operator can see of a service, and ask of it: one process or several, the same to whoever asks.

Values are what JSON has. Times are seconds since 1970, as C{time.time} tells them; lengths of time are seconds.
Text in them may be a stranger's, as it came: whoever shows it has to escape it for where it goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from twisted.internet.defer import Deferred

Values = Mapping[str, Any]


class Overview(Protocol):
    """A service, as its operators see it."""

    def start(self) -> None:
        """Somebody looks on from now on."""

    def stop(self) -> None:
        """Nobody does any more."""

    def status(self, *, whole: bool = True) -> Deferred[Values]:
        """
        How it is. What is configured, C{hosts} and C{certificates}, may be thousands of each: unless it is to be the
        whole of it, these are empty. It has

          - C{version}, C{pid}, C{started} and C{now} (times), C{uptime} (seconds), C{draining} (whether it stops)
          - C{drain}: None, or C{left} (how many connections) and C{until} (the time of the cut; None: never)
          - C{workers}: for each C{worker} (its number), C{pid}, C{up}, C{started}, C{version}; empty where
            one process does it all
          - C{listeners}: for each C{address}, C{endpoint} (as written), C{handler}, C{listening}, C{open}, C{accepted},
            C{refused}, C{failed}
          - C{hosts}: for each C{listener} (its address), C{host} (its first name), C{names}, C{handler}, C{profile},
            C{client_auth}, C{alpn}, C{rules}
          - C{certificates}: for each C{listener}, C{host}, C{file}, C{subject}, C{issuer}, C{serial} (hexadecimal),
            C{key}, C{not_before}, C{not_after} (times), C{days_left}, C{expired}
          - C{reload}: C{attempts} (also those that failed or changed nothing), C{failures}, and C{last}: None, or
            C{at}, C{served} (whether it is served) and C{lines} (what has changed, or what was wrong)
          - C{connections}: C{open}, C{handshaking} (those of them without a handler yet), C{accepted}, C{refused},
            C{established}, C{failed}, C{silent} (said nothing and went: no failure), C{closed}
          - C{refusals}, C{failures}, C{ends}: how many by cause; an end without a cause is C{clean}
          - C{bytes}: C{in}, C{out}, of many connections as they were a second ago
          - C{backends}: for each C{handler}, C{backend} (its endpoint string), C{state} (C{up}, C{down},
            C{unhealthy}), C{open}, C{since} (a time), C{failures}
        """

    def metrics(self) -> Deferred[bytes]:
        """Its metrics, in Prometheus's text format (version 0.0.4)."""

    def connections(self, limit: int = 0) -> Deferred[tuple[int, Sequence[Values]]]:
        """
        How many are open, and the oldest of them, the oldest first: for each C{id} (text), C{listener}, C{host},
        C{handler}, C{address}, C{via}, C{server_name}, C{state} (C{handshake}, C{policy}, C{open}, C{closing}),
        C{since} (a time), C{seconds}, C{version}, C{cipher}, C{group}, C{alpn}, C{resumed}, C{identity} (text, or
        None), C{bytes_in}, C{bytes_out}. What is not known is None.

        @param limit: tell of at most so many; 0: of all
        """

    def close(self, connection: str) -> Deferred[bool]:
        """End a connection properly. @return: fires with whether it was there"""

    def reload(self) -> Deferred[bool]:
        """Load everything again. @return: fires with whether it is served now"""

    def drain(self) -> None:
        """Do what the signal TERM does."""


def troubles(status: Values) -> list[str]:
    """
    Why a service should be sent no clients now, a line for each reason; empty where it is ready.

    @param status: as L{Overview.status} tells it
    """
    return [
        *(_draining(status["drain"]) if status["draining"] else _deaf(status["listeners"])),
        *_expired(status["certificates"]),
        *_without_backends(status["backends"]),
        *_without_workers(status["workers"]),
    ]


def _draining(drain: Values | None) -> Iterator[str]:
    if drain is None:
        yield "draining"
    else:
        yield f"draining: {drain['left']} {'connection' if drain['left'] == 1 else 'connections'} left"


def _deaf(listeners: Iterable[Values]) -> Iterator[str]:
    for each in listeners:
        if not each["listening"]:
            yield f"nobody listens at {each['address'] or each['endpoint']}"


def _expired(certificates: Iterable[Values]) -> Iterator[str]:
    for each in certificates:
        if each["expired"]:
            ended = datetime.fromtimestamp(each["not_after"], UTC)
            yield f"the certificate of {each['host']} at {each['listener']} has expired on {ended:%Y-%m-%d}"


def _without_backends(backends: Iterable[Values]) -> Iterator[str]:
    """Handlers that have several backends, or one, and none of them is well."""
    states: dict[str, set[str]] = {}
    for each in backends:
        states.setdefault(each["handler"], set()).add(each["state"])
    for handler, found in states.items():
        if "up" not in found:
            yield f"no backend of {handler} is up"


def _without_workers(workers: Sequence[Values]) -> Iterator[str]:
    if workers and not any(each["up"] for each in workers):
        yield "no worker is up"
