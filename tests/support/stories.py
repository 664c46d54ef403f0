"""What a pool is made to do while something goes wrong, and how it is looked at afterwards, in either protocol.

The peer answers `/get` and `/post` with method, target and the first ten bytes of the body, `/parts` with "one", "two",
"three" and a trailer, and `/large` with more than is read at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpcore

from .peer import ScriptedPeer
from .worlds import World

__all__ = [
    "STORIES",
    "Act",
    "Stage",
    "as_good_as_new",
    "failure",
    "get",
    "post_bytes",
    "stream_to_the_end",
]


@dataclass
class Stage:
    """Where a story takes place."""

    world: World
    http: httpcore.ConnectionPool
    url: str


Act = Callable[[Stage], Awaitable[None]]


async def get(stage: Stage) -> None:
    response = await stage.http.request("GET", stage.url + "/get")
    assert response.body == b"GET /get "


async def get_twice(stage: Stage) -> None:
    await get(stage)
    await get(stage)


async def post_bytes(stage: Stage) -> None:
    """More than the windows of an HTTP/2 peer let through at once."""
    response = await stage.http.request("POST", stage.url + "/post", body=b"0123456789" * 20_000)
    assert response.body == b"POST /post 0123456789"


async def post_after_100(stage: Stage) -> None:
    headers = {"expect": "100-continue"}
    response = await stage.http.request("POST", stage.url + "/post", headers, b"0123456789")
    assert response.body == b"POST /post 0123456789"


async def stream_to_the_end(stage: Stage) -> None:
    async with await stage.http.request("GET", stage.url + "/parts", stream=True) as response:
        assert b"".join([part async for part in response.stream()]) == b"onetwothree"
    assert response.trailers == ((b"x-end", b"yes"),)


async def stream_and_leave(stage: Stage) -> None:
    """Closed early, with too much left to be read."""
    async with await stage.http.request("GET", stage.url + "/large", stream=True) as response:
        async for _ in response.stream():
            break


STORIES: dict[str, Act] = {
    "a GET": get,
    "a GET on a used connection": get_twice,
    "an upload of bytes": post_bytes,
    "an upload after 100 Continue": post_after_100,
    "a streamed download": stream_to_the_end,
    "a streamed download that is left early": stream_and_leave,
}


@asynccontextmanager
async def as_good_as_new(
    world: World, http: httpcore.ConnectionPool, peers: Sequence[ScriptedPeer], held: str, at_once: int, limit: int
) -> AsyncIterator[httpcore.ConnectionPool]:
    """A pool to be mistreated; afterwards it is looked at, used, and closed.

    Args:
        held: the target of a response that is not over before it is closed.
        at_once: how many of them there may be on each peer.
        limit: of connections.
    """
    try:
        yield http
        stats = http.stats()
        assert (stats.active, stats.opening, stats.waiting) == (0, 0, 0), http
        await world.until(lambda: sum(peer.open_connections for peer in peers) == stats.idle, what="I3, sockets")
        for peer in peers:
            # Each slot is there.
            responses = [await http.request("GET", peer.origin + held, stream=True) for _ in range(at_once)]
            for response in responses:
                await response.aclose()
            await get(Stage(world, http, peer.origin))
        assert sum(stats.idle for stats in http.stats().origins.values()) == len(http.connections) <= limit
    finally:
        await http.aclose()
    await world.until(lambda: not any(peer.open_connections for peer in peers), what="closing of all sockets")


async def failure(job: Awaitable[object]) -> httpcore.HTTPCoreError | None:
    """The error of ours that something ended with, if any."""
    try:
        await job
    except httpcore.HTTPCoreError as exc:
        return exc
    return None
