"""urllib3: one PoolManager."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import urllib3

from . import BlockingClient, Setup, check


class _Blocking:
    def __init__(self, pool: urllib3.PoolManager) -> None:
        self._pool = pool

    def get(self, url: str) -> int:
        response = self._pool.request("GET", url)
        check(response.status)
        return len(response.data)

    def download(self, url: str, rest: Callable[[int], None] | None) -> int:
        length = 0
        response = self._pool.request("GET", url, preload_content=False)
        check(response.status)
        for part in response.stream(65536):
            length += len(part)
            if rest is not None:
                rest(len(part))
        response.release_conn()
        return length


@contextmanager
def blocking_client(setup: Setup) -> Iterator[BlockingClient]:
    with urllib3.PoolManager(maxsize=setup.connections, ca_certs=setup.ca) as pool:
        yield _Blocking(pool)
