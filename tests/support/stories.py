"""What a pool is made to do while something goes wrong, in either protocol. Where it takes place is in `scenes.py`.

The peer answers with method, target and the first ten bytes of the body, but to `/parts` with "one", "two", "three" and
a trailer, and to `/large` with more than is read at once. Over HTTP/2 it answers `/sibling` by halves, the second half
at `/go-on`, and leaves after `/goaway` and before `/refused`.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpcore

from .invariants import without_frames
from .steps import CERTAIN
from .worlds import World

__all__ = [
    "HTTP2",
    "HTTP2_BESIDE_A_SIBLING",
    "HTTP2_WITH_ONE_STREAM",
    "HTTP11",
    "HTTP11_FROM_AFAR",
    "HTTP11_OVER_TLS",
    "Act",
    "Stage",
    "Story",
    "beside_a_sibling",
    "failure",
    "get",
]

_numbers = itertools.count(1)


@dataclass
class Stage:
    """Where a story takes place.

    Args:
        url: of the origin.
        timeout: of its requests; None for the pool's.
    """

    world: World
    http: httpcore.ConnectionPool
    url: str
    timeout: httpcore.Timeout | None = None

    async def request(self, method: str, target: str, **options: Any) -> httpcore.Response:
        return await self.http.request(method, self.url + target, timeout=self.timeout, **options)


Act = Callable[[Stage], Awaitable[None]]
Around = Callable[[Stage, Callable[[], bool]], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def nothing_else(stage: Stage, is_cut: Callable[[], bool]) -> AsyncIterator[None]:
    yield


@dataclass(frozen=True)
class Story:
    """Something that is to go wrong at each of its steps.

    Args:
        act: what is cancelled.
        around: what goes on meanwhile, and must come to its end: called with whether the act was cut short.
        limit: of connections.
        certain: steps at which it can be cancelled however fast its peer answers.
    """

    act: Act
    around: Around = nothing_else
    limit: int = 1
    certain: int = CERTAIN


# What all can do


async def get(stage: Stage) -> None:
    target = f"/get/{next(_numbers)}"
    response = await stage.request("GET", target)
    assert response.body == f"GET {target} ".encode()


async def get_twice(stage: Stage) -> None:
    await get(stage)
    await get(stage)


async def _post(stage: Stage, **options: Any) -> None:
    target = f"/post/{next(_numbers)}"
    response = await stage.request("POST", target, **options)
    assert response.body == f"POST {target} 0123456789".encode()


async def post_bytes(stage: Stage) -> None:
    """More than the windows of an HTTP/2 peer let through at once."""
    await _post(stage, body=b"0123456789" * 20_000)


async def post_after_100(stage: Stage) -> None:
    await _post(stage, headers={"expect": "100-continue"}, body=b"0123456789")


async def post_parts(stage: Stage) -> None:
    await _post(stage, body=iter([b"01234", b"56789"]))


async def post_parts_and_trailers(stage: Stage) -> None:
    await _post(stage, body=iter([b"01234", b"56789"]), extensions={"trailers": [("x-end", "yes")]})


async def stream_to_the_end(stage: Stage) -> None:
    async with await stage.request("GET", "/parts", stream=True) as response:
        assert b"".join([part async for part in response.stream()]) == b"onetwothree"
    assert response.trailers == ((b"x-end", b"yes"),)


async def stream_and_leave(stage: Stage) -> None:
    """Closed early, with too much left to be read."""
    async with await stage.request("GET", "/large", stream=True) as response:
        async for _ in response.stream():
            break


async def close_unread(stage: Stage, target: str) -> None:
    response = await stage.request("GET", target, stream=True)
    try:
        assert response.status_code == 200
    finally:
        await response.aclose()


async def upgrade(stage: Stage) -> None:
    headers = {"upgrade": "echo", "connection": "upgrade"}
    async with await stage.request("GET", "/", headers=headers) as response:
        stream = response.extensions["network_stream"]
        assert isinstance(stream, httpcore.NetworkStream)
        await stream.write(b"hello")
        assert await stream.read() in (b"hello", b"")  # the end, where that is the fault


async def get_from_who_leaves(stage: Stage) -> None:
    """GOAWAY comes before the answer, and the next request has a connection of its own."""
    assert (await stage.request("GET", "/goaway")).body == b"GET /goaway "
    await get(stage)


async def get_that_is_refused(stage: Stage) -> None:
    """A GOAWAY names a lower stream, so that the request is sent again."""
    await get(stage)
    assert (await stage.request("GET", "/refused")).body == b"GET /refused "


# What goes on around it


async def read_all(response: httpcore.Response) -> None:
    await response.read()


@asynccontextmanager
async def others_in_line(
    stage: Stage,
    is_cut: Callable[[], bool],
    held: str = "/large",
    let_go: Callable[[httpcore.Response], Awaitable[None]] = read_all,
) -> AsyncIterator[None]:
    """m_cancel_queue: the slot is given back when two wait for it. Who is not cut short is served, whatever happens to
    the other; also when a waiter has just been given a connection and has not resumed."""
    world, http = stage.world, stage.http
    async with await stage.request("GET", held, stream=True) as response, world.tasks() as tasks:

        async def give_back() -> None:
            await world.until(lambda: http.stats().waiting == 2 or is_cut())
            await let_go(response)

        async def other_waiter() -> None:
            await world.until(lambda: http.stats().waiting or is_cut())
            await get(stage)

        started = [tasks.start(other_waiter), tasks.start(give_back)]
        yield
        for error in [(await task.finished()).error for task in started]:
            if error is not None:
                raise error


@asynccontextmanager
async def a_connection_in_use(stage: Stage, is_cut: Callable[[], bool]) -> AsyncIterator[None]:
    """P10's race: the request dials, and takes the connection that is given back while its TLS handshake goes on."""
    world, http = stage.world, stage.http
    async with await stage.request("GET", "/large", stream=True) as response, world.tasks() as tasks:

        async def give_back() -> None:
            await world.until(lambda: http.stats().opening or http.stats().opened == 2 or is_cut())
            await response.read()

        task = tasks.start(give_back)
        yield
        if (error := (await task.finished()).error) is not None:
            raise error
    # A dial that nobody needs is banked; it is no leftover, but the sockets are counted when it has ended.
    await world.until(lambda: not http.stats().opening)


@asynccontextmanager
async def beside_a_sibling(stage: Stage, is_cut: Callable[[], bool]) -> AsyncIterator[None]:
    """A response that is half read while something happens, and then goes on. It is told to on its own connection."""
    async with await stage.request("GET", "/sibling", stream=True) as sibling:
        parts = sibling.raw()
        assert await anext(parts) == b"first, "
        yield
        assert (await stage.request("GET", "/go-on")).body == b"gone on"
        assert [part async for part in parts] == [b"second"]


async def failure(job: Awaitable[object]) -> httpcore.HTTPCoreError | None:
    """The error of ours that something ended with, if any."""
    try:
        await job
    except httpcore.HTTPCoreError as exc:
        return without_frames(exc)
    return None


_COMMON: dict[str, Story] = {
    "a GET": Story(get),
    "a GET on a used connection": Story(get_twice),
    "an upload of bytes": Story(post_bytes),
    "an upload after 100 Continue": Story(post_after_100),
    "a streamed download": Story(stream_to_the_end),
    "a streamed download that is left early": Story(stream_and_leave),
}
HTTP11 = {
    **_COMMON,
    "an upload in chunks": Story(post_parts),
    # With little left, which is read.
    "a response that is closed unread": Story(partial(close_unread, target="/parts")),
    "an upgrade": Story(upgrade),
    "a wait in line": Story(get, others_in_line),
}
HTTP11_OVER_TLS = HTTP11 | {"a dial that races with a connection in use": Story(get, a_connection_in_use, limit=2)}
# Where what matters lies before the request.
HTTP11_FROM_AFAR = {name: HTTP11[name] for name in ("a GET", "an upload in chunks")}
_STREAMS = {
    **_COMMON,
    "an upload in parts": Story(post_parts_and_trailers),
    "a response that is closed unread": Story(partial(close_unread, target="/large")),
}
HTTP2 = {
    **_STREAMS,
    "a server that leaves": Story(get_from_who_leaves),
    "a server that leaves before the request": Story(get_that_is_refused),
}
# What is asked on an open connection may be answered before anybody waits.
HTTP2_BESIDE_A_SIBLING = {name: Story(story.act, beside_a_sibling, certain=0) for name, story in _STREAMS.items()}
_line_for_a_stream = partial(others_in_line, held="/sibling", let_go=httpcore.Response.aclose)
HTTP2_WITH_ONE_STREAM = {"a wait in line": Story(get, _line_for_a_stream)}
