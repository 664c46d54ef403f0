"""A server that is hostile in known ways, in clear and over TLS, for `soak.py`; in a process of its own.

| path | answers |
| --- | --- |
| `/ok/{marker}` | the marker |
| `/chunked/{marker}` | the same in chunks, after two interim responses |
| `/drip/{marker}` | the same, byte by byte |
| `/upload/{marker}` | the marker and the length of the body, once all of it has come |
| `/early/{marker}` | the marker, before it has read a body, and ends the connection |
| `/last/{marker}` | the marker, and ends the connection, which it does not announce |
| `/cut/{marker}` | less than it announces, and ends the connection |
| `/garbage/{marker}` | no HTTP |
| `/reset/{marker}` | half a head, and a reset |
| `/silent/{marker}` | nothing, until the client goes away |
| `/counts` | JSON: how many connections and requests there were |
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import sys
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections import Counter
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from .asgi_server import listen

_counts: Counter[str] = Counter()
_DRIP_SECONDS = 0.002


async def _serve(reader: Reader, writer: Writer) -> None:
    is_tls = writer.get_extra_info("ssl_object") is not None
    _counts["connections over TLS" if is_tls else "connections in clear"] += 1
    try:
        while await _answer(reader, writer):
            pass
    except (OSError, asyncio.IncompleteReadError):
        pass  # the client went away, as it may
    finally:
        writer.close()


async def _answer(reader: Reader, writer: Writer) -> bool:
    """One exchange; whether another may follow."""
    head = await reader.readuntil(b"\r\n\r\n")
    _, kind, *rest = urlsplit(head.split(b" ", 2)[1]).path.split(b"/")  # the absolute form, where a proxy forwards
    if kind == b"counts":
        _send(writer, json.dumps(_counts).encode())
        return True
    _counts["requests"] += 1
    if kind in (b"ok", b"upload"):
        length = await _read_body(reader, head)
        _send(writer, rest[0] if kind == b"ok" else b"%b %d" % (rest[0], length))
        await writer.drain()
        return True
    return await _WAYS[kind](reader, writer, rest[0])


async def _read_body(reader: Reader, head: bytes) -> int:
    if b"\r\ntransfer-encoding:" in head.lower():
        length = 0
        while size := int(await reader.readuntil(b"\r\n"), 16):
            length += size
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
        return length
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    length = int(rest.split(b"\r\n", 1)[0]) if found else 0
    await reader.readexactly(length)
    return length


def _send(writer: Writer, body: bytes, announced: int | None = None) -> None:
    length = len(body) if announced is None else announced
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (length, body))


async def _chunked(reader: Reader, writer: Writer, marker: bytes) -> bool:
    writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
    await writer.drain()
    half = len(marker) // 2
    parts = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (marker[:half], marker[half:]) if part)
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%b0\r\n\r\n" % parts)
    await writer.drain()
    return True


async def _drip(reader: Reader, writer: Writer, marker: bytes) -> bool:
    for byte in b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(marker), marker):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(_DRIP_SECONDS)
    return True


async def _end_after(reader: Reader, writer: Writer, marker: bytes) -> bool:
    _send(writer, marker)
    return False


async def _cut(reader: Reader, writer: Writer, marker: bytes) -> bool:
    _send(writer, marker, len(marker) + 10)
    return False


async def _garbage(reader: Reader, writer: Writer, marker: bytes) -> bool:
    writer.write(b"\0\xff" + marker * 10)
    return False


async def _reset(reader: Reader, writer: Writer, marker: bytes) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-le")
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


async def _silent(reader: Reader, writer: Writer, marker: bytes) -> bool:
    await reader.read()
    return False


_WAYS: dict[bytes, Callable[[Reader, Writer, bytes], Awaitable[bool]]] = {
    b"chunked": _chunked,
    b"drip": _drip,
    b"early": _end_after,
    b"last": _end_after,
    b"cut": _cut,
    b"garbage": _garbage,
    b"reset": _reset,
    b"silent": _silent,
}


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
