"""pyreqwest: one client over Rust's reqwest and hyper, on asyncio."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path

import pyreqwest.client
import pyreqwest.proxy

from ..messages import Ask, Reply, Setup
from . import is_of, versions


def describe() -> str:
    return versions("pyreqwest")


def is_own(exc: BaseException) -> bool:
    return is_of(exc, "pyreqwest")


class _Client:
    def __init__(self, setup: Setup) -> None:
        builder = pyreqwest.client.ClientBuilder().timeout(timedelta(seconds=setup.timeout))
        builder = builder.http2_prior_knowledge() if setup.is_http2 else builder.http1_only()
        builder = builder.proxy(pyreqwest.proxy.ProxyBuilder.all(setup.proxy)) if setup.proxy else builder.no_proxy()
        if setup.ca:
            builder = builder.add_root_certificate_pem(Path(setup.ca).read_bytes())
        self._client = builder.build()
        self._stack = contextlib.AsyncExitStack()

    async def request(self, ask: Ask) -> Reply:
        building = self._client.request(ask.method, ask.url)
        if ask.headers:
            building = building.headers(list(ask.headers))
        if ask.body is not None:
            building = building.body_bytes(ask.body)
        response = await building.build().send()
        body = bytes(await response.bytes())
        try:
            headers = tuple(response.headers.items())
        except ValueError:
            # It gives out no header that is not ASCII; that is no word about the response.
            headers = ()
        return Reply(response.status, headers, body)

    async def begin(self, url: str) -> bytes:
        self._response = await self._stack.enter_async_context(
            self._client.get(url).streamed_read_buffer_limit(0).build_streamed()
        )
        return bytes(await self._response.body_reader.read_chunk())

    async def rest(self) -> bytes:
        parts: list[bytes] = []
        async with self._stack:
            while (part := await self._response.body_reader.read_chunk()) is not None:
                parts.append(bytes(part))
        return b"".join(parts)

    async def close(self) -> None:
        await self._client.close()


def open_client(setup: Setup) -> _Client:
    return _Client(setup)
