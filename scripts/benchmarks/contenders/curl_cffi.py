"""curl_cffi: libcurl, with nghttp2, under asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from . import AsyncClient, Setup, check, parts

# Where it is not installed, which is everywhere but among the peers, type checkers need not know it.
curl_cffi = import_module("curl_cffi")
_MAX_REQUESTS = 100


class _Async:
    def __init__(self, session: Any) -> None:
        self._session = session

    async def get(self, url: str) -> int:
        response = await self._session.get(url)
        check(response.status_code)
        return len(response.content)

    async def download(self, url: str, rest: Callable[[int], Awaitable[None]] | None) -> int:
        length = 0
        async with self._session.stream("GET", url) as response:
            check(response.status_code)
            async for part in response.aiter_content():
                length += len(part)
                if rest is not None:
                    await rest(len(part))
        return length

    async def upload(self, url: str, size: int) -> int:
        response = await self._session.post(url, content=parts(size))
        check(response.status_code)
        return size


@asynccontextmanager
async def async_client(setup: Setup) -> AsyncIterator[AsyncClient]:
    session: Any = curl_cffi.AsyncSession(
        # Not of connections: it makes one while no more requests are under way than it takes streams.
        max_clients=_MAX_REQUESTS,
        verify=setup.ca,
        http_version="v2" if setup.is_http2 else "v1",
        # To wait for the connection that is being made, rather than make another one.
        curl_options={curl_cffi.CurlOpt.PIPEWAIT: 1},
        trust_env=False,
    )
    async with session:
        yield _Async(session)
