"""aiohttp: one session, with its C parser."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp

from . import AsyncClient, Setup, check, parts


class _Async:
    def __init__(self, session: aiohttp.ClientSession, chunk: int | None) -> None:
        self._session = session
        self._chunk = chunk

    async def get(self, url: str) -> int:
        async with self._session.get(url) as response:
            check(response.status)
            return len(await response.read())

    async def download(self, url: str, rest: Callable[[int], Awaitable[None]] | None) -> int:
        length = 0
        async with self._session.get(url) as response:
            check(response.status)
            content = response.content
            # Whatever has arrived is its fastest; its tutorial reads in chunks of one size.
            parts = content.iter_any() if self._chunk is None else content.iter_chunked(self._chunk)
            async for part in parts:
                length += len(part)
                if rest is not None:
                    await rest(len(part))
        return length

    async def upload(self, url: str, size: int) -> int:
        async with self._session.post(url, data=parts(size)) as response:
            check(response.status)
            await response.read()
        return size


@asynccontextmanager
async def async_client(setup: Setup) -> AsyncIterator[AsyncClient]:
    if aiohttp.http_parser.HttpResponseParser is aiohttp.http_parser.HttpResponseParserPy:
        raise RuntimeError("aiohttp is here without its C parser; that would be no fair comparison")
    connector = aiohttp.TCPConnector(
        limit=setup.connections, limit_per_host=0, ssl=ssl.create_default_context(cafile=setup.ca)
    )
    chunk = int(setup.options["chunk"]) if "chunk" in setup.options else None
    async with aiohttp.ClientSession(connector=connector) as session:
        yield _Async(session, chunk)
