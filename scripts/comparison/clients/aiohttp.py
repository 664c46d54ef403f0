"""aiohttp: one session, with its C parser."""

from __future__ import annotations

import ssl

import aiohttp

from ..messages import Ask, Reply, Setup
from . import is_of, pairs, versions


def describe() -> str:
    if aiohttp.http_parser.HttpResponseParser is aiohttp.http_parser.HttpResponseParserPy:
        raise RuntimeError("aiohttp is here without its C parser, and that is not how it is used")
    return versions("aiohttp")


def is_own(exc: BaseException) -> bool:
    return isinstance(exc, TimeoutError) or is_of(exc, "aiohttp")


class _Client:
    def __init__(self, setup: Setup) -> None:
        context = ssl.create_default_context(cafile=setup.ca) if setup.ca else True
        self._proxy = setup.proxy
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1, ssl=context), timeout=aiohttp.ClientTimeout(total=setup.timeout)
        )

    async def request(self, ask: Ask) -> Reply:
        asking = self._session.request(
            ask.method, ask.url, headers=list(ask.headers), data=ask.body, allow_redirects=False, proxy=self._proxy
        )
        async with asking as response:
            return Reply(response.status, pairs(response.raw_headers), await response.read())

    async def begin(self, url: str) -> bytes:
        self._response = await self._session.get(url, proxy=self._proxy)
        data: bytes = await self._response.content.readany()
        return data

    async def rest(self) -> bytes:
        async with self._response:
            data: bytes = await self._response.content.read()
        return data

    async def close(self) -> None:
        await self._session.close()


def open_client(setup: Setup) -> _Client:
    return _Client(setup)
