"""httpcore2, and httpcore 1.x from which it comes, with the same interface, on asyncio by way of anyio."""

from __future__ import annotations

import contextlib
import ssl
from importlib import import_module
from typing import Any

from ..messages import Ask, Reply, Setup
from . import is_of, pairs, versions


def describe() -> str:
    return versions("httpcore2", "h11", "h2")


def is_own(exc: BaseException) -> bool:
    return is_of(exc, "httpcore2")


class Pool:
    def __init__(self, setup: Setup, package: str) -> None:
        # By name, for under that of 1.x type checkers find ours.
        module: Any = import_module(package)
        context = ssl.create_default_context(cafile=setup.ca) if setup.ca else None
        self._pool = module.AsyncConnectionPool(
            ssl_context=context,
            max_connections=1,
            http1=not setup.is_http2,
            http2=setup.is_http2,
            proxy=module.Proxy(setup.proxy) if setup.proxy else None,
        )
        self._extensions = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), setup.timeout)}
        self._stack = contextlib.AsyncExitStack()

    async def request(self, ask: Ask) -> Reply:
        headers = list(ask.headers) or None
        response = await self._pool.request(
            ask.method, ask.url, headers=headers, content=ask.body, extensions=self._extensions
        )
        return Reply(response.status, pairs(response.headers), response.content)

    async def begin(self, url: str) -> bytes:
        response = await self._stack.enter_async_context(self._pool.stream("GET", url, extensions=self._extensions))
        self._parts = response.aiter_stream()
        first: bytes = await anext(self._parts)
        return first

    async def rest(self) -> bytes:
        async with self._stack:
            return b"".join([part async for part in self._parts])

    async def close(self) -> None:
        await self._pool.aclose()


def open_client(setup: Setup) -> Pool:
    return Pool(setup, "httpcore2")
