"""Our own server: as little HTTP as the benchmarks need, on uvloop where it is there.

`python -m benchmarks.raw_server CERTIFICATE KEY` prints its two ports, in clear and over TLS, and ends with its stdin.
In clear it is a proxy as well, which makes tunnels to nobody but itself: no copying of bytes is in what a client takes.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import cast

from .server import SIZES, SMALL_BODY

_HEAD = "HTTP/1.1 200 OK\r\nserver: raw\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\n\r\n"
_SMALL = _HEAD.format(len(SMALL_BODY)).encode() + SMALL_BODY
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
_PART = bytes(1 << 18)


class _Connection(asyncio.Protocol):
    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._received = b""
        self._owed = 0
        self._is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport by their class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, self._received = self._received.split(b"\r\n\r\n", 1)
            method, target, _ = head.split(b" ", 2)
            if method == b"CONNECT":
                self._upgrade = asyncio.get_running_loop().create_task(self._become_tunnel())
            else:
                self._answer(target.decode())

    async def _become_tunnel(self) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
        upgraded = await asyncio.get_running_loop().start_tls(self._transport, self, self._context, server_side=True)
        assert upgraded is not None
        self._transport = upgraded

    def _answer(self, path: str) -> None:
        if path == "/small":
            self._transport.write(_SMALL)
        elif path in SIZES:
            self._transport.write(_HEAD.format(SIZES[path]).encode())
            self._owed = SIZES[path]
            self._pay()
        else:
            self._transport.write(_NOT_FOUND)

    def _pay(self) -> None:
        while self._owed and not self._is_paused:
            part = _PART[: self._owed]
            self._owed -= len(part)
            self._transport.write(part)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._pay()


async def _serve(certificate: str, key: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(lambda: _Connection(context), "127.0.0.1", 0, backlog=2048, ssl=tls)
        for tls in (None, context)
    ]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    certificate, key = sys.argv[1:]
    try:
        import uvloop

        factory = uvloop.new_event_loop
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(certificate, key))


if __name__ == "__main__":
    main()
