"""curl_cffi: libcurl under asyncio."""

from __future__ import annotations

import curl_cffi

from ..messages import Ask, Reply, Setup
from . import is_of, pairs, versions


def describe() -> str:
    return f"{versions('curl_cffi')}, {curl_cffi.Curl().version().decode().partition(' ')[0].replace('/', ' ')}"


def is_own(exc: BaseException) -> bool:
    return is_of(exc, "curl_cffi")


class _Client:
    def __init__(self, setup: Setup) -> None:
        self._session = curl_cffi.AsyncSession(
            verify=setup.ca or True,
            http_version="v2_prior_knowledge" if setup.is_http2 else "v1",
            timeout=setup.timeout,
            proxy=setup.proxy,
            allow_redirects=False,
            trust_env=False,
        )

    async def request(self, ask: Ask) -> Reply:
        response = await self._session.request(ask.method, ask.url, headers=list(ask.headers), data=ask.body)
        return Reply(response.status_code, pairs(response.headers.raw), response.content)

    async def begin(self, url: str) -> bytes:
        self._response = await self._session.request("GET", url, stream=True)
        self._parts = self._response.aiter_content()
        first: bytes = await anext(self._parts)
        return first

    async def rest(self) -> bytes:
        try:
            return b"".join([part async for part in self._parts])
        finally:
            await self._response.aclose()

    async def close(self) -> None:
        await self._session.close()


def open_client(setup: Setup) -> _Client:
    return _Client(setup)
