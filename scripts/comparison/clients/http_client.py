"""http.client of the standard library: one connection, kept, and closed after an error."""

from __future__ import annotations

import http.client
import platform
import ssl
from urllib.parse import urlsplit

from ..messages import Ask, Reply, Setup


def describe() -> str:
    return f"http.client of Python {platform.python_version()}"


def is_own(exc: BaseException) -> bool:
    # It documents no other errors for the connection than the system's.
    return isinstance(exc, (http.client.HTTPException, OSError))


class _Client:
    def __init__(self, setup: Setup) -> None:
        if setup.proxy is not None:
            raise NotImplementedError("a proxy")
        self._ca = setup.ca
        self._timeout = setup.timeout
        self._connections: dict[str, http.client.HTTPConnection] = {}

    def request(self, ask: Ask) -> Reply:
        connection, target = self._connection(ask.url)
        try:
            connection.request(ask.method, target, ask.body, dict(ask.headers))
            response = connection.getresponse()
            return Reply(response.status, tuple(response.getheaders()), response.read())
        except BaseException:
            connection.close()
            raise

    def begin(self, url: str) -> bytes:
        connection, target = self._connection(url)
        connection.request("GET", target)
        self._response = connection.getresponse()
        return self._response.read1()

    def rest(self) -> bytes:
        return self._response.read()

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    def _connection(self, url: str) -> tuple[http.client.HTTPConnection, str]:
        parts = urlsplit(url)
        if parts.netloc not in self._connections:
            self._connections[parts.netloc] = self._make(parts.scheme, parts.netloc)
        return self._connections[parts.netloc], parts.path

    def _make(self, scheme: str, netloc: str) -> http.client.HTTPConnection:
        if scheme == "http":
            return http.client.HTTPConnection(netloc, timeout=self._timeout)
        return http.client.HTTPSConnection(
            netloc, timeout=self._timeout, context=ssl.create_default_context(cafile=self._ca)
        )


def open_client(setup: Setup) -> _Client:
    return _Client(setup)
