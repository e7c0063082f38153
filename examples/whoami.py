"""
A coroutine for each client: it tells what the handshake has shown of them.

    twistd --nodaemon mytls --handler serve:whoami:deal_with_client

A client that is silent for a minute is done with: the C{TimeoutError} ends the coroutine, and the connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from mytls.handlers.awaitable import AsyncStream

#: A line that is longer is nobody's question.
LONGEST_LINE = 1000


async def deal_with_client(connstream: AsyncStream) -> None:
    """Answer questions, one a line."""
    connstream.settimeout(60)
    async for line in lines(connstream):
        answer = tell(connstream, line.strip().decode("ascii", "replace"))
        if answer is None:
            break
        await connstream.sendall(answer.encode() + b"\n")


async def lines(connstream: AsyncStream) -> AsyncIterator[bytes]:
    """What the client sends, line by line."""
    rest = b""
    while len(rest) <= LONGEST_LINE and (data := await connstream.recv(1024)):
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line


def tell(connstream: AsyncStream, question: str) -> str | None:
    """The answer; None to say no more."""
    peer = connstream.peer
    match question:
        case "bye":
            return None
        case "address":
            return str(connstream.getpeername())
        case "tls":
            return f"{peer.version} {peer.cipher} {peer.group}"
        case "name":
            return f"you have asked for {peer.server_name}"
        case "certificate":
            return "none" if peer.certificate is None else peer.certificate.subject.rfc4514_string()
        case _:
            return "ask for address, tls, name or certificate, or say bye"
