"""httpx, which brings httpcore 1.x."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx

from . import AsyncClient, Setup, check, parts


class _Async:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def get(self, url: str) -> int:
        response = await self._client.get(url)
        check(response.status_code)
        return len(response.content)

    async def download(self, url: str, rest: Callable[[int], Awaitable[None]] | None) -> int:
        length = 0
        async with self._client.stream("GET", url) as response:
            check(response.status_code)
            async for part in response.aiter_bytes():
                length += len(part)
                if rest is not None:
                    await rest(len(part))
        return length

    async def upload(self, url: str, size: int) -> int:
        response = await self._client.post(url, content=parts(size))
        check(response.status_code)
        return size


@asynccontextmanager
async def async_client(setup: Setup) -> AsyncIterator[AsyncClient]:
    async with httpx.AsyncClient(
        verify=ssl.create_default_context(cafile=setup.ca),
        limits=httpx.Limits(max_connections=setup.connections, max_keepalive_connections=setup.connections),
        http2=setup.is_http2,
        trust_env=False,
    ) as client:
        yield _Async(client)
