"""http.client of the standard library: one connection, kept."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from . import BlockingClient, Setup, check


class _Blocking:
    def __init__(self) -> None:
        self._connections: dict[str, tuple[http.client.HTTPConnection, str]] = {}

    def get(self, url: str) -> int:
        return len(self._request(url).read())

    def download(self, url: str, rest: Callable[[int], None] | None) -> int:
        length = 0
        response = self._request(url)
        while part := response.read(65536):
            length += len(part)
            if rest is not None:
                rest(len(part))
        return length

    def _request(self, url: str) -> http.client.HTTPResponse:
        # Taking URLs apart is no work of http.client's; who uses it has the parts.
        if url not in self._connections:
            parts = urlsplit(url)
            assert parts.hostname is not None
            assert parts.scheme == "http"
            self._connections[url] = http.client.HTTPConnection(parts.hostname, parts.port), parts.path
        connection, path = self._connections[url]
        connection.request("GET", path)
        response = connection.getresponse()
        check(response.status)
        return response

    def close(self) -> None:
        for connection, _ in self._connections.values():
            connection.close()


@contextmanager
def blocking_client(setup: Setup) -> Iterator[BlockingClient]:
    client = _Blocking()
    yield client
    client.close()
