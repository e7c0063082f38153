"""
The environment of a program that serves a connection: who is at the other end, by the names that such programs know.

- `PROTO`, `TCPREMOTEIP`, `TCPREMOTEPORT`, `TCPLOCALIP`, `TCPLOCALPORT`; on a UNIX socket `IPCREMOTEPATH` and
  `IPCLOCALPATH`: UCSPI, as s6-networking's s6-tlsserver has it (U{https://cr.yp.to/proto/ucspi.txt})
- `SSL_PROTOCOL`, `SSL_CIPHER`, `SSL_TLS_SNI_SERVERNAME`, `SSL_PEER_CERT_HASH`: likewise s6's
- `SSL_CIPHER_USEKEYSIZE`, `SSL_SESSION_RESUMED` and all `SSL_CLIENT_...`: those of Apache's mod_ssl, and what is
  in the same style `SSL_CLIENT_CN`, `SSL_CLIENT_SAN_URI_n`, `SSL_CLIENT_SAN_IP_n`
  (U{https://httpd.apache.org/docs/2.4/mod/mod_ssl.html#envvars})

Of our own environment there is `PATH`, the locale and the time zone. A name is absent where there is nothing to say.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping
from datetime import datetime

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from mytls.peer import Identity, Peer

#: What a program has of our own environment.
INHERITED = ("PATH", "LANG", "LC_ALL", "TZ")
#: Characters. A value that is longer is left out whole: the beginning of a name may be somebody else's.
MAX_VALUE = 2048
#: How many alternative names of each kind there are.
MAX_NAMES = 32


def environment(peer: Peer, local: IAddress | None, inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
    """
    The variables for one connection.

    @param peer: who is at the other end
    @param local: where the connection came in
    @param inherited: the environment of this process
    """
    names = {name: inherited[name] for name in INHERITED if name in inherited}
    names.setdefault("PATH", os.defpath)
    names.update(_ends(peer.address, local))
    found = {**dict(_connection(peer)), **(dict(_client(peer.identity)) if peer.identity is not None else {})}
    names.update((name, value) for name, value in found.items() if value and len(value) <= MAX_VALUE)
    return names


def text(value: str, keep: str = "") -> str:
    """
    Text of a peer as it may stand in a variable: what does not print, and a backslash, is `\\XX` for each of its bytes
    in UTF-8, as RFC 4514 section 2.4 has it. So is a parenthesis at the beginning: old versions of bash take `() {`
    for the beginning of a function (CVE-2014-6271).

    @param keep: what stays as it is
    """
    escaped = "".join(c if c in keep or (c.isprintable() and c != "\\") else _pairs(c) for c in value)
    return _pairs("(") + escaped[1:] if escaped.startswith("(") else escaped


def _pairs(character: str) -> str:
    return "".join(f"\\{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _ends(remote: IAddress | None, local: IAddress | None) -> dict[str, str]:
    """Where from and where to."""
    if isinstance(remote, UNIXAddress) or isinstance(local, UNIXAddress):
        found = {"PROTO": "IPC", **_path("IPCREMOTEPATH", remote), **_path("IPCLOCALPATH", local)}
    else:
        found = {"PROTO": "TCP", **_internet("TCPREMOTE", remote), **_internet("TCPLOCAL", local)}
    return found


def _internet(prefix: str, address: IAddress | None) -> dict[str, str]:
    if not isinstance(address, IPv4Address | IPv6Address):
        return {}
    return {f"{prefix}IP": _plain(address.host), f"{prefix}PORT": str(address.port)}


def _plain(host: str) -> str:
    """An IPv4 client of an IPv6 socket as what it is (RFC 4291 section 2.5.5.2)."""
    try:
        mapped = getattr(ipaddress.ip_address(host), "ipv4_mapped", None)
    except ValueError:
        return text(host)
    return host if mapped is None else str(mapped)


def _path(name: str, address: IAddress | None) -> dict[str, str]:
    path = address.name if isinstance(address, UNIXAddress) else None
    return {name: text(path.decode("utf-8", "replace"))} if path else {}


def _connection(peer: Peer) -> Iterator[tuple[str, str]]:
    if peer.server_name:
        yield "SSL_TLS_SNI_SERVERNAME", text(peer.server_name)
    if peer.version is None:
        return
    yield "SSL_PROTOCOL", peer.version
    yield "SSL_CIPHER", peer.cipher or ""
    yield "SSL_CIPHER_USEKEYSIZE", "" if peer.cipher_bits is None else str(peer.cipher_bits)
    yield "SSL_SESSION_RESUMED", {True: "Resumed", False: "Initial", None: ""}[peer.resumed]
    yield "SSL_CLIENT_VERIFY", "NONE" if peer.identity is None else "SUCCESS"


def _client(identity: Identity) -> Iterator[tuple[str, str]]:
    """What its certificate says; the distinguished names as RFC 4514 writes them."""
    yield "SSL_CLIENT_S_DN", text(identity.certificate.subject.rfc4514_string(), keep="\\")
    yield "SSL_CLIENT_I_DN", text(identity.issuer, keep="\\")
    for name in ("SSL_CLIENT_CN", "SSL_CLIENT_S_DN_CN"):
        yield name, text(identity.cn[0]) if identity.cn else ""
    yield "SSL_CLIENT_M_SERIAL", identity.serial
    yield "SSL_CLIENT_V_START", _date(identity.not_before)
    yield "SSL_CLIENT_V_END", _date(identity.not_after)
    yield "SSL_PEER_CERT_HASH", f"SHA256:{identity.fingerprints['sha256']}"
    kinds = {"DNS": identity.dns, "Email": identity.email, "URI": identity.uri, "IP": identity.ip}
    for kind, values in kinds.items():
        for at, value in enumerate(values[:MAX_NAMES]):
            yield f"SSL_CLIENT_SAN_{kind}_{at}", text(value)


def _date(moment: datetime) -> str:
    """As OpenSSL writes it: `Jan  5 09:34:43 2018 GMT`; C{strftime}'s months are those of the locale."""
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[moment.month - 1]
    return f"{month} {moment.day:2d} {moment:%H:%M:%S} {moment.year} GMT"
