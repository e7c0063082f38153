"""
A flood of connections: C{python -m tests.live.flood PORT COUNT}.

In turn they say nothing, say a ClientHello byte by byte, close at once, and have a whole handshake; each kind comes
from addresses of its own. What became of them is written as JSON.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

#: How many addresses each kind has.
ADDRESSES = 8
#: How many connections are there at the same time.
AT_ONCE = 600
#: Seconds. A server that has not dropped a silent client by then never will.
PATIENCE = 30

_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # the beginning of one
_RESET = struct.pack("ii", 1, 0)


class Flood:
    """
    The connections.

    @ivar ends: what became of them
    """

    def __init__(self, port: int, count: int) -> None:
        self.ends: Counter[str] = Counter()
        self._port = port
        self._count = count
        self._room = asyncio.Semaphore(AT_ONCE)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE

    async def run(self) -> None:
        """All of them, as fast as it goes."""
        kinds = (self._silent, self._dribbling, self._closing, self._handshake)
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                await self._room.acquire()
                group.create_task(self._one(kinds[number % 4], number))

    async def _one(self, kind: Callable[[socket.socket, int], Awaitable[str]], number: int) -> None:
        with socket.socket() as client:
            client.setblocking(False)
            client.bind((f"127.0.{1 + number % 4}.{1 + number // 4 % ADDRESSES}", 0))
            try:
                async with asyncio.timeout(PATIENCE):
                    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", self._port))
                    end = await kind(client, number)
            except TimeoutError:
                end = "never ended"
            except OSError:
                end = "refused or dropped"
        self.ends[f"{kind.__name__.strip('_')}: {end}"] += 1
        self._room.release()

    async def _silent(self, client: socket.socket, number: int) -> str:
        await asyncio.get_running_loop().sock_recv(client, 100)
        return "refused or dropped"

    async def _dribbling(self, client: socket.socket, number: int) -> str:
        for at in range(1000):
            await asyncio.get_running_loop().sock_sendall(client, _HELLO[at : at + 1] or b"x")
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await asyncio.get_running_loop().sock_recv(client, 100)
                    return "refused or dropped"
        return "never ended"

    async def _closing(self, client: socket.socket, number: int) -> str:
        if number // 4 % 2:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        return "done"

    async def _handshake(self, client: socket.socket, number: int) -> str:
        _, writer = await asyncio.open_connection(sock=client, ssl=self._context, server_hostname="localhost")
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return "done"


async def _run(port: int, count: int) -> None:
    flood, began = Flood(port, count), time.monotonic()
    await flood.run()
    json.dump({"seconds": time.monotonic() - began, "ends": dict(sorted(flood.ends.items()))}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), int(sys.argv[2])))
