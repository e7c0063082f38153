"""PROXY headers, with the programs that others have in front of a server and behind it."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from twisted.internet.address import IPv4Address, IPv6Address

from mytls.peer import Peer
from mytls.proxyheader import ProxyHeader
from mytls.proxyout import Presented, header_of
from mytls.proxyreader import ProxyHeaderReader
from mytls.proxytlvs import TLV, Type
from tests.live.processes import NGINX_HTTP, PATIENCE

FOUR = IPv4Address("TCP", "192.0.2.1", 50000), IPv4Address("TCP", "198.51.100.2", 443)
SIX = IPv6Address("TCP", "2001:db8::1", 50000), IPv6Address("TCP", "2001:db8::2", 443)
MAPPED = IPv6Address("TCP", "::ffff:192.0.2.1", 50000), IPv6Address("TCP", "::ffff:198.51.100.2", 443)

Addresses = tuple[IPv4Address, IPv4Address] | tuple[IPv6Address, IPv6Address]

HAPROXY = """
defaults
  mode tcp
  timeout connect 10s
  timeout client 10s
  timeout server 10s
frontend v1
  bind {folder}/v1 accept-proxy
  default_backend v1
frontend v2
  bind {folder}/v2 accept-proxy
  default_backend v2
frontend told
  bind {folder}/told accept-proxy
  unique-id-format %[fc_pp_unique_id]
  default_backend told
backend v1
  server backend unix@{folder}/backend send-proxy
backend v2
  server backend unix@{folder}/backend send-proxy-v2 proxy-v2-options crc32c
backend told
  server backend unix@{folder}/backend send-proxy-v2 proxy-v2-options crc32c,authority,unique-id
"""

NGINX = (
    NGINX_HTTP
    + """  server {{
    listen unix:{folder}/in proxy_protocol;
    return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port";
  }}
}}
"""
)


@contextmanager
def running(command: list[str], place: Path) -> Iterator[None]:
    """A program that listens at this socket."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + PATIENCE
            while not listens(place):
                assert process.poll() is None, f"{command[0]} has ended"
                assert time.monotonic() < until, f"{command[0]} does not listen"
                time.sleep(0.02)
            yield
        finally:
            process.kill()


def listens(place: Path) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket(socket.AF_UNIX) as stream:
        try:
            stream.connect(str(place))
        except OSError:
            return False
    return True


def all_of(stream: socket.socket) -> bytes:
    """What comes until the end."""
    pieces = []
    while piece := stream.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


@contextmanager
def connected(place: Path, data: bytes) -> Iterator[socket.socket]:
    """A client that sends this, and then ends its direction."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.settimeout(PATIENCE)
        stream.connect(str(place))
        stream.sendall(data)
        stream.shutdown(socket.SHUT_WR)
        yield stream


@pytest.fixture
def haproxy(needs: Callable[[str], str], tmp_path: Path) -> Iterator[Callable[[str, bytes], bytes]]:
    """What HAProxy makes of a connection: the name of a frontend and what a client sends, to what a backend gets."""
    (tmp_path / "conf").write_text(HAPROXY.format(folder=tmp_path))
    with socket.socket(socket.AF_UNIX) as backend:
        backend.settimeout(PATIENCE)
        backend.bind(str(tmp_path / "backend"))
        backend.listen()

        def through(name: str, data: bytes) -> bytes:
            with connected(tmp_path / name, data):
                stream, _ = backend.accept()
                with stream:
                    stream.settimeout(PATIENCE)
                    return all_of(stream)

        with running([needs("haproxy"), "-db", "-f", str(tmp_path / "conf")], tmp_path / "told"):
            yield through


def read(data: bytes) -> tuple[ProxyHeader | None, bytes]:
    """The header, and what came behind it."""
    reader = ProxyHeaderReader()
    return reader.feed(data), reader.rest


@pytest.mark.parametrize("addresses", [FOUR, SIX, MAPPED])
def test_haproxy_understands(haproxy: Callable[[str, bytes], bytes], addresses: Addresses) -> None:
    """HAProxy takes our headers, of each version and with a checksum, and we the ones that it makes of them."""
    header = ProxyHeader(*addresses)
    for sent in (header.to_v1(), header.to_v2(), header.to_v2(checksum=True)):
        for name in ("v1", "v2"):
            assert read(haproxy(name, sent + b"hello")) == (header, b"hello")


def test_haproxy_reads_tlvs(haproxy: Callable[[str, bytes], bytes]) -> None:
    """HAProxy finds the server name and the unique ID among all that we say of a client, and sends them on."""
    peer = Peer(FOUR[0], "www.example.com", "h2", "TLSv1.3", "TLS_AES_128_GCM_SHA256")
    unique = TLV(Type.UNIQUE_ID, b"unique-7")
    sent = header_of("v2-tls-certificate", peer, FOUR[1], Presented("RSA-SHA256", "RSA2048"), (unique,))
    header, rest = read(haproxy("told", sent + b"hello"))
    assert header == ProxyHeader(*FOUR, tlvs=(TLV(Type.AUTHORITY, b"www.example.com"), unique))
    assert rest == b"hello"


@pytest.mark.parametrize("addresses", [FOUR, SIX])
def test_nginx_understands(needs: Callable[[str], str], tmp_path: Path, addresses: Addresses) -> None:
    """nginx takes our headers of each version, and reads the addresses that we mean."""
    (tmp_path / "conf").write_text(NGINX.format(folder=tmp_path))
    source, destination = addresses
    header = ProxyHeader(source, destination, tlvs=(TLV(0xEA, b"vpce"),))
    with running([needs("nginx"), "-p", str(tmp_path), "-c", str(tmp_path / "conf")], tmp_path / "in"):
        for sent in (header.to_v1(), header.to_v2(), header.to_v2(checksum=True)):
            with connected(tmp_path / "in", sent + b"GET / HTTP/1.0\r\n\r\n") as stream:
                answer = all_of(stream).decode("ascii").partition("\r\n\r\n")[2]
            host, port, own_host, own_port = answer.split(" ")
            assert (host, int(port)) == (source.host, source.port)
            assert (own_host, int(own_port)) == (destination.host, destination.port)
