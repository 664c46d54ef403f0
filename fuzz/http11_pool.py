"""The bytes of an HTTP/1.1 response, to a whole pool: every engine makes the same of it, and it stays good."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpcore
from httpcore._engines import is_installed
from tests.support.http11_rows import BAD, GOOD

from .cutting import pieces
from .memory_pool import Ending, play, serve_later

__all__ = ["check", "seeds"]

_ENGINES = [name for name in ("h11", "httptools") if is_installed(name)]
_URL = "http://example.org/"


async def _read(http: httpcore.ConnectionPool) -> object:
    response = await http.request("GET", _URL, {"accept-encoding": "identity"})
    return response.status_code, tuple(response.headers), response.body


async def _read_decoded(http: httpcore.ConnectionPool) -> object:
    response = await http.request("GET", _URL)
    return response.status_code, response.body


async def _stream(http: httpcore.ConnectionPool) -> object:
    async with await http.request("GET", _URL, stream=True) as response:
        return response.status_code, b"".join([part async for part in response.raw()])


async def _close_early(http: httpcore.ConnectionPool) -> object:
    async with await http.request("GET", _URL, stream=True) as response:
        return response.status_code


async def _ask_for_the_head(http: httpcore.ConnectionPool) -> object:
    return tuple((await http.request("HEAD", _URL)).headers)


async def _upload(http: httpcore.ConnectionPool) -> object:
    async def parts() -> AsyncIterator[bytes]:
        for part in (b"some", b"parts", b"of a body"):
            yield part

    return (await http.request("POST", _URL, body=parts())).body


async def _wait_for_100(http: httpcore.ConnectionPool) -> object:
    return (await http.request("PUT", _URL, {"expect": "100-continue"}, b"body")).body


async def _upgrade(http: httpcore.ConnectionPool) -> object:
    headers = {"connection": "upgrade", "upgrade": "x"}
    async with await http.request("GET", _URL, headers, stream=True) as response:
        return response.status_code


_JOBS = (_read, _read_decoded, _stream, _close_early, _ask_for_the_head, _upload, _wait_for_100, _upgrade)


def seeds() -> Iterator[bytes]:
    for number, row in enumerate((*GOOD, *BAD)):
        if not row.is_large:
            yield bytes([number % len(_JOBS), number % 256]) + row.wire


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    job, ending, said = _JOBS[data[0] % 8], Ending((data[0] >> 3) % 3), pieces(data[2:], data[1])
    outcomes = [play(job, said, ending, serve_later, http1_engine=engine) for engine in _ENGINES]
    assert all(outcome == outcomes[0] for outcome in outcomes), outcomes
