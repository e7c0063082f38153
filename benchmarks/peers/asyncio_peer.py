"""The server of Python's asyncio, with protocols: the leanest that it offers."""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import cast

CHUNK = bytes(65536)
CHUNKS_A_TURN = 8


class Discard(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)


class Echo(Discard):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Source(Discard):
    """Sends for as long as the transport takes it, a few chunks a turn.

    Without turns the first connection would starve the others: a client on a core of its own takes everything at
    once, so the transport never says stop.
    """

    paused = False
    scheduled = False
    ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.loop = asyncio.get_running_loop()
        self.send()

    def send_soon(self) -> None:
        if not self.scheduled:
            self.scheduled = True
            self.loop.call_soon(self.send)

    def send(self) -> None:
        self.scheduled = False
        for _ in range(CHUNKS_A_TURN):
            if self.paused or self.ended:
                return
            self.transport.write(CHUNK)
        self.send_soon()

    def resume_writing(self) -> None:
        self.paused = False
        self.send_soon()

    def pause_writing(self) -> None:
        self.paused = True

    def eof_received(self) -> None:
        self.ended = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True


HANDLERS: dict[str, type[Discard]] = {"echo": Echo, "discard": Discard, "source": Source}


async def serve(port: str, handler: str, key: str, certificate: str, client_ca: str | None = None) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    if client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
    loop = asyncio.get_running_loop()
    server = await loop.create_server(HANDLERS[handler], "127.0.0.1", int(port), ssl=context)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
