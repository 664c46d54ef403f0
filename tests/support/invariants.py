"""What holds after every case, however badly the peer behaved: of the pool, of its sockets and of what was raised.

    error = await error_of(lambda: http.request("GET", peer.url))
    await assert_holds(world, http, peers, idle=0)
    await assert_still_works(world, http, peers)

- What is raised is one of our exceptions, and it has words (`error_of`).
- Nothing is active without a request, and nobody waits; open sockets are the connections of the pool (`assert_holds`).
- With room for one connection, a request to the same origin and one to another one succeed, each with the body that is
  its own (`assert_still_works`).

What a test leaves behind besides (tasks, timers, threads, descriptors) is found by `leaks.py` and `worlds.py`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import httpcore

from .peer import Conn, Script, ScriptedPeer
from .worlds import World

__all__ = [
    "Peers",
    "Reached",
    "assert_holds",
    "assert_still_works",
    "client_sockets",
    "error_of",
    "error_while_reading",
    "one_slot",
    "serve",
    "without_frames",
]

_FD_DIRECTORY = "/proc/self/fd"
_numbers = itertools.count(1)


def serve(conn: Conn) -> None:
    """A script that answers every request with its target."""
    while True:
        request = conn.read_request()
        length = (b"content-length", b"%d" % len(request.target))
        conn.respond(body=b"" if request.method == b"HEAD" else request.target, headers=[length])


class Reached(Protocol):
    """What a pool reaches, directly or through a proxy."""

    @property
    def origins(self) -> Sequence[str]:
        """That of a case, and another one, `http://127.0.0.1:1234`. Each answers a GET with its target."""

    @property
    def ports(self) -> set[int]:
        """On which they listen, in this process."""


class Peers:
    """A peer whose first connections are scripted, and that serves on all others; and another origin, that is fine.

    Args:
        scripts: one for each of the first connections; where one returns or fails, its connection is closed.
        expect_disconnect: whether the client may break off anywhere.
    """

    def __init__(self, *scripts: Script, expect_disconnect: bool = False, **options: object) -> None:
        def script(conn: Conn) -> None:
            (scripts[conn.index] if conn.index < len(scripts) else serve)(conn)

        self.faulty = ScriptedPeer(script, expect_disconnect=expect_disconnect, **options)  # type: ignore[arg-type]
        self.other = ScriptedPeer(serve, **options)  # type: ignore[arg-type]
        self._stack = contextlib.ExitStack()

    @property
    def url(self) -> str:
        return self.faulty.url

    @property
    def origins(self) -> Sequence[str]:
        return [self.faulty.origin, self.other.origin]

    @property
    def ports(self) -> set[int]:
        return {self.faulty.port, self.other.port}

    @property
    def accepted(self) -> int:
        return self.faulty.accepted

    def __enter__(self) -> Peers:
        self._stack.enter_context(self.other)
        self._stack.enter_context(self.faulty)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.__exit__(*exc_info)  # type: ignore[arg-type]


def one_slot(world: World, **options: object) -> httpcore.ConnectionPool:
    """A pool with room for one connection, so that one which is not given back is missed."""
    limits = options.pop("limits", None) or httpcore.Limits(max_connections=1)
    return world.pool(limits=limits, **options)


async def error_of(job: Callable[[], Awaitable[object]]) -> httpcore.HTTPCoreError:
    """The error of a callable that must fail: one of ours, and nothing else, with words."""
    try:
        result = await job()
    except httpcore.HTTPCoreError as exc:
        _assert_speaks(exc)
        return without_frames(exc)
    raise AssertionError(f"nothing was raised, but {result!r} returned")


async def error_while_reading(response: httpcore.Response) -> tuple[bytes, httpcore.HTTPCoreError]:
    """What can be read of a body that must fail, and how it does."""
    received: list[bytes] = []
    try:
        async for part in response.raw():
            received.append(part)  # noqa: PERF401 - a comprehension would lose what came before the error
    except httpcore.HTTPCoreError as exc:
        _assert_speaks(exc)
        return b"".join(received), without_frames(exc)
    raise AssertionError(f"nothing was raised, but the body ended after {sum(map(len, received))} bytes")


def _assert_speaks(exc: httpcore.HTTPCoreError) -> None:
    assert type(exc).__module__.startswith("httpcore")
    assert len(str(exc)) > 20, f"an error without words: {exc!r}"
    assert "127.0.0.1" in str(exc) or isinstance(exc, (httpcore.StreamClosed, httpcore.StreamConsumed)), exc


def without_frames(exc: httpcore.HTTPCoreError) -> httpcore.HTTPCoreError:
    """The same without the frames it went through, which keep alive what the test looks for afterwards."""
    link: BaseException | None = exc
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return exc


async def assert_holds(world: World, http: httpcore.ConnectionPool, peers: Reached, idle: int) -> None:
    """The pool holds so many idle connections and nothing else, and so many sockets are open."""
    stats = http.stats()
    assert (stats.active, stats.opening, stats.waiting) == (0, 0, 0), repr(http)
    assert stats.idle == len(http.connections) == idle, repr(http)
    await world.until(
        lambda: client_sockets(peers) in (None, idle), what=f"{idle} open sockets ({client_sockets(peers)} are)"
    )


async def assert_still_works(world: World, http: httpcore.ConnectionPool, peers: Reached) -> None:
    """A request to the same origin succeeds, and one to another, each with a body that is its own. Then nothing is
    left but what is idle, which is closed."""
    for origin in peers.origins:
        target = f"/marker/{next(_numbers)}"
        response = await http.request("GET", origin + target)
        assert (response.status_code, response.body) == (200, target.encode())
    await assert_holds(world, http, peers, idle=len(http.connections))
    await http.close_idle()
    await assert_holds(world, http, peers, idle=0)


def client_sockets(peers: Reached) -> int | None:
    """How many TCP sockets of this process are not the peers' own; None where there is no /proc."""
    if not os.path.isdir(_FD_DIRECTORY):
        return None
    return sum(_is_client(int(name), peers.ports) for name in os.listdir(_FD_DIRECTORY))


def _is_client(fd: int, ports: set[int]) -> bool:
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return False
        duplicate = os.dup(fd)
    except OSError:
        return False  # closed meanwhile, or the descriptor of the listing itself
    with socket.socket(fileno=duplicate) as sock:
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        return sock.getsockname()[1] not in ports
