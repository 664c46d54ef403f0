"""pyreqwest: one client over Rust's reqwest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pyreqwest.client

from . import AsyncClient, BlockingClient, Setup, check, parts


class _Async:
    def __init__(self, client: pyreqwest.client.Client) -> None:
        self._client = client

    async def get(self, url: str) -> int:
        response = await self._client.get(url).build().send()
        check(response.status)
        return len(await response.bytes())

    async def download(self, url: str, rest: Callable[[int], Awaitable[None]] | None) -> int:
        length = 0
        async with self._client.get(url).build_streamed() as response:
            check(response.status)
            while (part := await response.body_reader.read_chunk()) is not None:
                length += len(part)
                if rest is not None:
                    await rest(len(part))
        return length

    async def upload(self, url: str, size: int) -> int:
        response = await self._client.post(url).body_stream(parts(size)).build().send()
        check(response.status)
        return size


class _Blocking:
    def __init__(self, client: pyreqwest.client.SyncClient) -> None:
        self._client = client

    def get(self, url: str) -> int:
        response = self._client.get(url).build().send()
        check(response.status)
        return len(response.bytes())

    def download(self, url: str, rest: Callable[[int], None] | None) -> int:
        length = 0
        with self._client.get(url).build_streamed() as response:
            check(response.status)
            while (part := response.body_reader.read_chunk()) is not None:
                length += len(part)
                if rest is not None:
                    rest(len(part))
        return length


@asynccontextmanager
async def async_client(setup: Setup) -> AsyncIterator[AsyncClient]:
    async with _configured(pyreqwest.client.ClientBuilder(), setup).build() as client:
        yield _Async(client)


@contextmanager
def blocking_client(setup: Setup) -> Iterator[BlockingClient]:
    with _configured(pyreqwest.client.SyncClientBuilder(), setup).build() as client:
        yield _Blocking(client)


def _configured(builder: Any, setup: Setup) -> Any:
    trusting = builder.add_root_certificate_pem(Path(setup.ca).read_bytes())
    if setup.is_http2:
        # Only so it makes no further connections while it makes its first.
        trusting = trusting.http2(True).http2_prior_knowledge()
    return trusting.pool_max_idle_per_host(setup.connections)
