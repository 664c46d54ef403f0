"""httpx, which brings httpcore 1.x, on asyncio."""

from __future__ import annotations

import ssl

import httpx

from ..messages import Ask, Reply, Setup
from . import is_of, pairs, versions


def describe() -> str:
    return versions("httpx", "httpcore", "h11", "h2")


def is_own(exc: BaseException) -> bool:
    return is_of(exc, "httpx")


class _Client:
    def __init__(self, setup: Setup) -> None:
        self._client = httpx.AsyncClient(
            verify=ssl.create_default_context(cafile=setup.ca) if setup.ca else True,
            limits=httpx.Limits(max_connections=1),
            timeout=setup.timeout,
            http1=not setup.is_http2,
            http2=setup.is_http2,
            proxy=setup.proxy,
            trust_env=False,
        )

    async def request(self, ask: Ask) -> Reply:
        response = await self._client.request(ask.method, ask.url, headers=list(ask.headers), content=ask.body)
        return Reply(response.status_code, pairs(response.headers.raw), response.content)

    async def begin(self, url: str) -> bytes:
        self._response = await self._client.send(self._client.build_request("GET", url), stream=True)
        self._parts = self._response.aiter_bytes()
        first: bytes = await anext(self._parts)
        return first

    async def rest(self) -> bytes:
        try:
            return b"".join([part async for part in self._parts])
        finally:
            await self._response.aclose()

    async def close(self) -> None:
        await self._client.aclose()


def open_client(setup: Setup) -> _Client:
    return _Client(setup)
