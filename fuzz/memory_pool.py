"""A pool over a network in memory, whose first peer says the bytes of an input, and what must hold of it afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum

import httpcore
from httpcore.testing import MemoryNetwork, Peer, Script

__all__ = ["Ending", "listen", "play", "serve", "serve_later"]

# Turns of the event loop. A step takes one to three of them, and a request some ten steps.
_TURNS_A_PIECE = 4
_MOST_TURNS = 500
_ORIGINS = ("http://example.org", "http://other.example")

Job = Callable[[httpcore.ConnectionPool], Awaitable[object]]


class Ending(Enum):
    """What happens when all was said, where the job still waits."""

    END = 0
    RESET = 1
    CANCEL = 2


def listen(peer: Peer) -> Script:
    """Say nothing by itself."""
    while True:
        yield from peer.read()


def serve_later(peer: Peer) -> Script:
    """Leave the first request to what the input says, and answer all others."""
    yield from peer.read_request()
    yield from serve(peer)


def serve(peer: Peer) -> Script:
    """Answer every request with the path that it asks for."""
    while True:
        request = yield from peer.read_request()
        path = b"/" + request.target.removeprefix(b"http://").partition(b"/")[2]
        peer.respond(body=path)


def play(
    job: Job,
    said: Sequence[bytes],
    ending: Ending,
    first: Callable[[Peer], Script] = listen,
    others: Callable[[Peer], Script] = serve,
    **options: object,
) -> object:
    """Run a job of a pool against a peer that says these pieces, then check the pool.

    Args:
        first: what the peer does beside.
        others: all further peers, which answer a GET with its path.

    Returns: what the job returned, or the type of the `HTTPCoreError` that it raised; None where it was cancelled.
    Raises: AssertionError, and whatever else must not come out of a pool.
    """
    return asyncio.run(_play(job, said, ending, first, others, options))


async def _play(
    job: Job,
    said: Sequence[bytes],
    ending: Ending,
    first: Callable[[Peer], Script],
    others: Callable[[Peer], Script],
    options: dict[str, object],
) -> object:
    network = MemoryNetwork(lambda peer: (others if network.peers else first)(peer))
    http = httpcore.ConnectionPool(backend=network.backend, **options)  # type: ignore[arg-type]
    task = asyncio.ensure_future(job(http))
    await _turn(lambda: bool(network.peers) or task.done())
    for piece in said:
        network.peers[0].send(piece)
        await _turn(task.done, _TURNS_A_PIECE)
    await _turn(task.done, _TURNS_A_PIECE)
    if not task.done():
        _end(ending, network.peers[0], task)
    result = await _result_of(task)
    if first is listen:
        network.peers[0].end()
    await _turn(lambda: http.stats().idle == len(network.open_peers))
    await _check(http, network)
    await http.aclose()
    assert not network.open_peers
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return result


def _end(ending: Ending, peer: Peer, task: asyncio.Future[object]) -> None:
    if ending is Ending.CANCEL:
        task.cancel()
    elif ending is Ending.RESET:
        peer.reset()
    else:
        peer.end()


async def _turn(condition: Callable[[], bool], most: int = _MOST_TURNS) -> None:
    for _ in range(most):
        if condition():
            return
        await asyncio.sleep(0)


async def _result_of(task: asyncio.Future[object]) -> object:
    await _turn(task.done)
    assert task.done(), f"still waiting after {_MOST_TURNS} turns of the loop: {task!r}"
    with contextlib.suppress(asyncio.CancelledError):
        try:
            return task.result()
        except httpcore.HTTPCoreError as exc:
            assert str(exc), repr(exc)
            return type(exc)
    return None


async def _check(http: httpcore.ConnectionPool, network: MemoryNetwork) -> None:
    _check_counts(http, network)
    for number, origin in enumerate(_ORIGINS):
        path = f"/marker/{number}"
        task = asyncio.ensure_future(http.request("GET", origin + path))
        await _turn(task.done)
        assert task.done(), f"a further request still waits: {http!r}"
        assert task.result().body == path.encode(), task.result().body
    _check_counts(http, network)


def _check_counts(http: httpcore.ConnectionPool, network: MemoryNetwork) -> None:
    stats = http.stats()
    assert (stats.active, stats.opening, stats.waiting) == (0, 0, 0), stats
    assert stats.idle == len(network.open_peers), (stats, network.open_peers)
