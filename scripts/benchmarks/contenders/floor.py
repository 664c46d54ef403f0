"""The floor: what the event loop or the socket costs alone, with canned requests and next to no reading of responses.

It knows that the server answers with a `Content-Length`, and that all answers to one URL are equally long. No client
can be faster in its world, and none that reads HTTP comes very near.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from . import AsyncClient, BlockingClient, Setup, check

_READ = 65536


@dataclass(frozen=True)
class _Target:
    host: str
    port: int
    request: bytes


def _target(url: str) -> _Target:
    parts = urlsplit(url)
    assert parts.scheme == "http"
    assert parts.hostname is not None
    assert parts.port is not None
    request = f"GET {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\n\r\n".encode()
    return _Target(parts.hostname, parts.port, request)


def _lengths(head_and_more: bytes) -> tuple[int, int] | None:
    """The length of the head and of the body; None while the head is not complete."""
    end = head_and_more.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = re.search(rb"\r\ncontent-length: *(\d+)", head_and_more[:end], re.IGNORECASE)
    assert length is not None
    check(int(head_and_more[9:12]))
    return end + 4, int(length[1])


class _Connection(asyncio.Protocol):
    """One bare connection; it looks at the head of its first response only."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._first = b""
        self._whole = 0
        self._body = 0
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport by their class.
        self.transport = cast(asyncio.Transport, transport)

    def exchange(self) -> asyncio.Future[int]:
        self._received = 0
        self._done: asyncio.Future[int] = self._loop.create_future()
        self.transport.write(self._request)
        return self._done

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if not self._whole:
            self._first += data
            lengths = _lengths(self._first)
            if lengths is None:
                return
            self._whole, self._body = sum(lengths), lengths[1]
        if self._received >= self._whole:
            self._done.set_result(self._body)


class _Asyncio:
    def __init__(self) -> None:
        self._idle: dict[str, list[_Connection]] = {}

    async def get(self, url: str) -> int:
        idle = self._idle.setdefault(url, [])
        connection = idle.pop() if idle else await self._connect(url)
        length = await connection.exchange()
        idle.append(connection)
        return length

    async def download(self, url: str, rest: Callable[[int], Awaitable[None]] | None) -> int:
        assert rest is None, "a bare protocol has nobody to rest"
        return await self.get(url)

    async def upload(self, url: str, size: int) -> int:
        raise NotImplementedError("the floor sends no bodies")

    async def _connect(self, url: str) -> _Connection:
        target = _target(url)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: _Connection(target.request), target.host, target.port)
        return connection

    def close(self) -> None:
        for idle in self._idle.values():
            for connection in idle:
                connection.transport.close()


class _Trio:
    def __init__(self) -> None:
        # Only where it runs: not every environment has it.
        import trio

        self._trio = trio
        self._idle: dict[str, list[trio.SocketStream]] = {}
        self._targets: dict[str, _Target] = {}
        self._wholes: dict[str, tuple[int, int]] = {}

    async def get(self, url: str) -> int:
        target = self._targets.get(url) or self._targets.setdefault(url, _target(url))
        idle = self._idle.setdefault(url, [])
        stream = idle.pop() if idle else await self._trio.open_tcp_stream(target.host, target.port)
        await stream.send_all(target.request)
        received = await stream.receive_some(_READ)
        lengths = self._wholes.get(url) or _lengths(received)
        while lengths is None or len(received) < sum(lengths):
            received += await stream.receive_some(_READ)
            lengths = lengths or _lengths(received)
        self._wholes[url] = lengths
        idle.append(stream)
        return lengths[1]

    async def download(self, url: str, rest: Callable[[int], Awaitable[None]] | None) -> int:
        raise NotImplementedError("the floor of trio is for small exchanges")

    async def upload(self, url: str, size: int) -> int:
        raise NotImplementedError("the floor sends no bodies")


class _Blocking:
    def __init__(self) -> None:
        self._known: dict[str, tuple[socket.socket, bytes]] = {}
        self._wholes: dict[str, tuple[int, int]] = {}

    def get(self, url: str) -> int:
        if url not in self._known:
            self._known[url] = self._connect(url)
        sock, request = self._known[url]
        sock.sendall(request)
        received = sock.recv(_READ)
        lengths = self._wholes.get(url) or _lengths(received)
        while lengths is None or len(received) < sum(lengths):
            received += sock.recv(_READ)
            lengths = lengths or _lengths(received)
        self._wholes[url] = lengths
        return lengths[1]

    def download(self, url: str, rest: Callable[[int], None] | None) -> int:
        raise NotImplementedError("the floor of sockets is for small exchanges")

    def _connect(self, url: str) -> tuple[socket.socket, bytes]:
        target = _target(url)
        sock = socket.create_connection((target.host, target.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock, target.request

    def close(self) -> None:
        for sock, _ in self._known.values():
            sock.close()


@asynccontextmanager
async def async_client(setup: Setup) -> AsyncIterator[AsyncClient]:
    if setup.world == "trio":
        yield _Trio()
        return
    client = _Asyncio()
    yield client
    client.close()


@contextmanager
def blocking_client(setup: Setup) -> Iterator[BlockingClient]:
    client = _Blocking()
    yield client
    client.close()
