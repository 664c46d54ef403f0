"""httpcore itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpcore

from . import AsyncClient, BlockingClient, Setup, check, parts


class _Async:
    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        self._pool = pool

    async def get(self, url: str) -> int:
        response = await self._pool.request("GET", url)
        check(response.status_code)
        return len(response.body)

    async def download(self, url: str, rest: Callable[[int], Awaitable[None]] | None) -> int:
        length = 0
        async with await self._pool.request("GET", url, stream=True) as response:
            check(response.status_code)
            async for part in response.stream():
                length += len(part)
                if rest is not None:
                    await rest(len(part))
        return length

    async def upload(self, url: str, size: int) -> int:
        response = await self._pool.request("POST", url, body=parts(size))
        check(response.status_code)
        return size


class _Blocking:
    def __init__(self, pool: httpcore.SyncConnectionPool) -> None:
        self._pool = pool

    def get(self, url: str) -> int:
        response = self._pool.request("GET", url)
        check(response.status_code)
        return len(response.body)

    def download(self, url: str, rest: Callable[[int], None] | None) -> int:
        length = 0
        with self._pool.request("GET", url, stream=True) as response:
            check(response.status_code)
            for part in response.stream():
                length += len(part)
                if rest is not None:
                    rest(len(part))
        return length


@asynccontextmanager
async def async_client(setup: Setup) -> AsyncIterator[AsyncClient]:
    async with httpcore.ConnectionPool(
        ssl=httpcore.SSLConfig(verify=setup.ca),
        limits=httpcore.Limits(max_connections=setup.connections),
        http1_engine=setup.options["engine"],
        http2=setup.is_http2,
        proxy=setup.proxy,
    ) as pool:
        yield _Async(pool)


@contextmanager
def blocking_client(setup: Setup) -> Iterator[BlockingClient]:
    with httpcore.SyncConnectionPool(
        ssl=httpcore.SSLConfig(verify=setup.ca),
        limits=httpcore.Limits(max_connections=setup.connections),
        http1_engine=setup.options["engine"],
        proxy=setup.proxy,
    ) as pool:
        yield _Blocking(pool)
