"""The server loop of the `ssl` module's documentation, with a thread for each connection.

Only what the comparison needs was added to the documented code: the thread (with it the handshake leaves the
accept loop, or one slow client would stop all others), a longer backlog, and a handler that sends.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading
from collections.abc import Callable

CHUNK = bytes(65536)
Serve = Callable[[ssl.SSLSocket], None]


def do_echo(connstream: ssl.SSLSocket, data: bytes) -> bool:
    connstream.sendall(data)
    return True


def do_discard(connstream: ssl.SSLSocket, data: bytes) -> bool:
    return True


def deal_with_client(connstream: ssl.SSLSocket, do_something: Callable[[ssl.SSLSocket, bytes], bool]) -> None:
    data = connstream.recv(1024)
    while data:
        if not do_something(connstream, data):
            break
        data = connstream.recv(1024)


def send_for_ever(connstream: ssl.SSLSocket) -> None:
    while True:
        connstream.sendall(CHUNK)


HANDLERS: dict[str, Serve] = {
    "echo": lambda connstream: deal_with_client(connstream, do_echo),
    "discard": lambda connstream: deal_with_client(connstream, do_discard),
    "source": send_for_ever,
}


def serve_one(context: ssl.SSLContext, newsocket: socket.socket, serve: Serve) -> None:
    with contextlib.suppress(OSError):
        connstream = context.wrap_socket(newsocket, server_side=True)
        try:
            serve(connstream)
        finally:
            connstream.shutdown(socket.SHUT_RDWR)
            connstream.close()


def main(port: str, handler: str, key: str, certificate: str, client_ca: str | None = None) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
    bindsocket = socket.create_server(("127.0.0.1", int(port)), backlog=128)
    while True:
        newsocket, _ = bindsocket.accept()
        arguments = (context, newsocket, HANDLERS[handler])
        threading.Thread(target=serve_one, args=arguments, daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
