"""httpcore, of this checkout, on asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpcore

from ..messages import Ask, Reply, Setup
from . import pairs


def describe() -> str:
    return f"httpcore {httpcore.__version__}"


def is_own(exc: BaseException) -> bool:
    return isinstance(exc, httpcore.HTTPCoreError)


class _Client:
    def __init__(self, setup: Setup) -> None:
        self._pool = httpcore.ConnectionPool(
            limits=httpcore.Limits(max_connections=1),
            timeout=httpcore.Timeout(setup.timeout, total=setup.timeout),
            http1=not setup.is_http2,
            http2=setup.is_http2,
            ssl=httpcore.SSLConfig(verify=setup.ca) if setup.ca else None,
            proxy=setup.proxy,
        )
        self._parts: AsyncIterator[bytes] | None = None

    async def request(self, ask: Ask) -> Reply:
        response = await self._pool.request(ask.method, ask.url, list(ask.headers), ask.body)
        return Reply(response.status_code, pairs(response.headers), response.body)

    async def begin(self, url: str) -> bytes:
        response = await self._pool.request("GET", url, stream=True)
        self._parts = response.stream()
        return await anext(self._parts)

    async def rest(self) -> bytes:
        assert self._parts is not None
        return b"".join([part async for part in self._parts])

    async def close(self) -> None:
        await self._pool.aclose()


def open_client(setup: Setup) -> _Client:
    return _Client(setup)
