"""httpcore2, on asyncio (by way of anyio), on trio, and blocking."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpcore2

from . import AsyncClient, BlockingClient, Setup, check, parts


class _Async:
    def __init__(self, pool: httpcore2.AsyncConnectionPool) -> None:
        self._pool = pool

    async def get(self, url: str) -> int:
        response = await self._pool.request("GET", url)
        check(response.status)
        return len(response.content)

    async def download(self, url: str, rest: Callable[[int], Awaitable[None]] | None) -> int:
        length = 0
        async with self._pool.stream("GET", url) as response:
            check(response.status)
            async for part in response.aiter_stream():
                length += len(part)
                if rest is not None:
                    await rest(len(part))
        return length

    async def upload(self, url: str, size: int) -> int:
        response = await self._pool.request("POST", url, content=parts(size))
        check(response.status)
        return size


class _Blocking:
    def __init__(self, pool: httpcore2.ConnectionPool) -> None:
        self._pool = pool

    def get(self, url: str) -> int:
        response = self._pool.request("GET", url)
        check(response.status)
        return len(response.content)

    def download(self, url: str, rest: Callable[[int], None] | None) -> int:
        length = 0
        with self._pool.stream("GET", url) as response:
            check(response.status)
            for part in response.iter_stream():
                length += len(part)
                if rest is not None:
                    rest(len(part))
        return length


@asynccontextmanager
async def async_client(setup: Setup) -> AsyncIterator[AsyncClient]:
    async with httpcore2.AsyncConnectionPool(
        ssl_context=ssl.create_default_context(cafile=setup.ca),
        max_connections=setup.connections,
        max_keepalive_connections=setup.connections,
        http2=setup.is_http2,
    ) as pool:
        yield _Async(pool)


@contextmanager
def blocking_client(setup: Setup) -> Iterator[BlockingClient]:
    with httpcore2.ConnectionPool(
        ssl_context=ssl.create_default_context(cafile=setup.ca),
        max_connections=setup.connections,
        max_keepalive_connections=setup.connections,
    ) as pool:
        yield _Blocking(pool)
