"""A proxy for `soak.py`, in clear and over TLS, in a process of its own: tunnels and forwards, and sometimes does not.

Of ten who ask, one is refused a tunnel, one is hung up on, and one is reset. What is forwarded goes on as it came, and
further requests on the same connection too, since an origin takes the absolute form as well (RFC 9112, 3.2.2).
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import struct
import sys
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from contextlib import closing
from urllib.parse import urlsplit

from .asgi_server import listen

_MOODS = ("refuse", "hang up", "reset", *["serve"] * 7)
_chance = random.Random(0)


async def _serve(reader: Reader, writer: Writer) -> None:
    with closing(writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b" ", 2)
            is_tunnel, mood = method == b"CONNECT", _chance.choice(_MOODS)
            if mood == "refuse" and is_tunnel:
                writer.write(b"HTTP/1.1 503 Full\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
            elif mood == "reset":
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            elif mood == "serve" or (mood == "refuse" and not is_tunnel):
                await _carry(reader, writer, head, target, is_tunnel)
        except (OSError, asyncio.IncompleteReadError):
            pass  # either side went away, as it may


async def _carry(reader: Reader, writer: Writer, head: bytes, target: bytes, is_tunnel: bool) -> None:
    port = urlsplit(b"//" + target if is_tunnel else target).port
    try:
        inner, outer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        writer.write(b"HTTP/1.1 502 Nobody there\r\ncontent-length: 0\r\n\r\n" if is_tunnel else b"")
        return
    with closing(outer):
        (writer if is_tunnel else outer).write(b"HTTP/1.1 200 Connected\r\n\r\n" if is_tunnel else head)
        ways = [asyncio.ensure_future(_pass_on(reader, outer)), asyncio.ensure_future(_pass_on(inner, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def _pass_on(reader: Reader, writer: Writer) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def _main(chain: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    clear, tls = listen(), listen()
    await asyncio.start_server(_serve, sock=clear)
    await asyncio.start_server(_serve, sock=tls, ssl=context)
    print(clear.getsockname()[1], tls.getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
