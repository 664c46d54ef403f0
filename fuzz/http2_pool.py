"""The frames of an HTTP/2 peer, to a whole pool with two requests on one connection. It stays good."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpcore

from .cutting import pieces
from .http2_wire import seed_wires, serve_http2
from .memory_pool import Ending, Job, play

__all__ = ["check", "seeds"]

_URL = "http://example.org/"
_METHODS = ("GET", "HEAD", "POST")


def seeds() -> Iterator[bytes]:
    for number, wire in enumerate(seed_wires()):
        yield bytes([number % 24, number % 256]) + wire


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    choices, said = data[0], pieces(data[2:], data[1])
    job = _two_requests(_METHODS[choices % 3], bool(choices & 0x80))
    play(job, said, Ending((choices // 3) % 3), others=serve_http2, http1=False)


def _two_requests(method: str, closes_early: bool) -> Job:
    async def job(http: httpcore.ConnectionPool) -> object:
        """A response that is streamed, and another request beside it. Whichever error comes first is the one told."""

        async def sibling() -> object:
            async with await http.request("GET", _URL, stream=True) as response:
                return None if closes_early else [part async for part in response.raw()]

        async def victim() -> object:
            body = bytes(100_000) if method == "POST" else None
            response = await http.request(method, _URL, body=body)
            return response.status_code, response.body

        results = await asyncio.gather(sibling(), victim(), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results

    return job
