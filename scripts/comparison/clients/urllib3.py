"""urllib3: one PoolManager."""

from __future__ import annotations

import urllib3

from ..messages import Ask, Reply, Setup
from . import is_of, versions


def describe() -> str:
    return versions("urllib3")


def is_own(exc: BaseException) -> bool:
    return is_of(exc, "urllib3")


class _Client:
    def __init__(self, setup: Setup) -> None:
        options = {
            "headers": urllib3.make_headers(accept_encoding=setup.decodes or None),
            "maxsize": 1,
            "block": True,
            "retries": False,
            "timeout": setup.timeout,
            "ca_certs": setup.ca,
        }
        self._pool = urllib3.ProxyManager(setup.proxy, **options) if setup.proxy else urllib3.PoolManager(**options)

    def request(self, ask: Ask) -> Reply:
        response = self._pool.request(ask.method, ask.url, headers=dict(ask.headers) or None, body=ask.body)
        return Reply(response.status, tuple(response.headers.iteritems()), response.data)

    def begin(self, url: str) -> bytes:
        self._response = self._pool.request("GET", url, preload_content=False)
        self._parts = self._response.stream(1)
        first: bytes = next(self._parts)
        return first

    def rest(self) -> bytes:
        try:
            return b"".join(self._parts)
        finally:
            self._response.release_conn()

    def close(self) -> None:
        self._pool.clear()


def open_client(setup: Setup) -> _Client:
    return _Client(setup)
