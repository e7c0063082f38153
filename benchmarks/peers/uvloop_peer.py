"""The asyncio server on uvloop's event loop."""

from __future__ import annotations

import sys

import uvloop

from benchmarks.peers.asyncio_peer import serve

if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
