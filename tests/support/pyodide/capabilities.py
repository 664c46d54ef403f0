"""What can be done under Pyodide, and how, observed there: the rows of the matrix in `docs/pyodide.md`.

To add a row, write a function here and mark it by `row`; then write the columns anew, as `matrix.py` says. It gets a
`World`, and of the servers those that it names (`test_pyodide.py` lists them), and returns what it saw: True, False, or
words for the cell. It must see the same on a machine that is ten times slower, and end soon where the answer is no.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpcore

from .behaviours import TEXT, Body, World, has_come, new_key, times_out

__all__ = ["ASYNC", "BLOCKING", "ROWS", "Row"]

# How Python is entered: see `World`. Blocking code is entered by runPythonAsync and by runPython.
ASYNC = ("async",)
BLOCKING = ("jspi", "blocking")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the matrix.

    Args:
        title: its first cell.
        function: what observes it.
        entries: how Python is entered for it.
    """

    title: str
    function: Body
    entries: tuple[str, ...]

    def cell(self, results: dict[str, bool | str], sent_by: dict[str, str]) -> str:
        """What is written in a column.

        Args:
            results: what was seen, by entry.
            sent_by: how the requests of each entry are sent. Of blocking code the cell says in which of these ways.
        """
        ways: dict[str, None] = {}
        for entry, result in results.items():
            if isinstance(result, str):
                ways[result] = None
            elif result:
                ways["yes" if entry == "async" else sent_by[entry]] = None
        return ", ".join(ways) or "no"


ROWS: list[Row] = []


def row(title: str, *worlds: tuple[str, ...]) -> Callable[[Body], Body]:
    """What the function returns becomes a row, or one for each world, below those before it."""

    def mark(function: Body) -> Body:
        for entries in worlds:
            prefix = "" if len(worlds) == 1 else "async: " if entries == ASYNC else "blocking: "
            ROWS.append(Row(prefix + title, function, entries))
        return function

    return mark


async def _sent_by(world: World, server: str) -> str:
    return str((await world.pool().request("GET", server)).extensions["fetch"].sent_by)


async def _patience(world: World, server: str) -> float:
    """Seconds for which the server waits for us. While XMLHttpRequest blocks, we cannot do what it waits for."""
    return 0.5 if await _sent_by(world, server) == "xhr" else 30


@row("blocking, entered by `runPython`: requests are sent by", ("blocking",))
@row("blocking, entered by `runPythonAsync`: requests are sent by", ("jspi",))
async def how_requests_are_sent(world: World, server: str) -> str:
    return await _sent_by(world, server)


@row("whole responses", ASYNC, BLOCKING)
async def whole_responses(world: World, server: str) -> bool:
    response = await world.pool().request("GET", f"{server}/bytes/100000?chunked=1")
    return len(response.body) == 100_000


@row("responses part by part", ASYNC, BLOCKING)
async def responses_part_by_part(world: World, server: str) -> bool:
    http, key = world.pool(), new_key()
    seconds = await _patience(world, server)
    response = await http.request("GET", f"{server}/gate?note={key}&begin=1&seconds={seconds}", stream=True)
    parts = response.stream()
    begin = await anext(parts)
    await http.request("GET", f"{server}/open/{key}")  # which is what the rest waits for
    body = begin + b"".join([part async for part in parts])
    assert body in (b"begun opened", b"begun late"), body
    return bool(body == b"begun opened")


@row("request bodies part by part, HTTP/1.1 offered", ASYNC, BLOCKING)
async def request_bodies_part_by_part(world: World, server: str) -> bool:
    http, key = world.pool(timeout=40), new_key()
    seen = json.loads((await http.request("POST", f"{server}/headers", body=iter([b"a", b"b"]))).body)
    if "content-length" in dict(seen["headers"]):
        return False  # nobody knows it who has not read the body to its end
    if world.is_async:

        async def parts() -> Any:
            yield b"x" * 1000
            assert (await http.request("GET", f"{server}/noted/{key}")).body == b"yes"
            yield b"y"

        body: object = parts()
    else:

        def sync_parts() -> Iterator[bytes]:
            yield b"x" * 1000
            with httpcore.SyncConnectionPool(timeout=40) as other:
                assert other.request("GET", f"{server}/noted/{key}").body == b"yes"
            yield b"y"

        body = sync_parts()
    return bool((await http.request("POST", f"{server}/take?note={key}", body=body)).body == b"1001")


@row("request bodies part by part, HTTP/2 offered", ASYNC, BLOCKING)
async def request_bodies_part_by_part_over_http2(world: World, http2: str) -> bool:
    """Node before 26 speaks HTTP/1.1 all the same."""
    return bool(await request_bodies_part_by_part(world, http2))


@row("timeouts, and the server sees them", ASYNC, BLOCKING)
async def timeouts(world: World, server: str) -> bool:
    seconds = await _patience(world, server)
    slow = httpcore.Timeout(None, read=0.2)
    try:
        await world.pool().request("GET", f"{server}/slow?delay={max(1, seconds)}", timeout=slow)
    except httpcore.ReadTimeout:
        await times_out(world, httpcore.ReadTimeout, f"{server}/hang?")
        return True
    return False


async def _is_gone(http: Any, server: str, key: str) -> bool:
    return bool((await http.request("GET", f"{server}/outcome/{key}", timeout=40)).body == b"gone")


@row("the server sees that a task is cancelled", ASYNC)
async def cancellation(world: World, server: str) -> bool:
    http, key = world.pool(timeout=None), new_key()
    task = asyncio.create_task(http.request("GET", f"{server}/gate?note={key}"))
    assert await has_come(world, server, key)
    task.cancel()
    await world.raises(asyncio.CancelledError, task)
    return await _is_gone(http, server, key)


@row("the server sees that a response is closed early", ASYNC, BLOCKING)
async def closing_early(world: World, server: str) -> bool:
    http, key = world.pool(), new_key()
    seconds = await _patience(world, server)
    response = await http.request("GET", f"{server}/gate?note={key}&begin=1&seconds={seconds}", stream=True)
    await response.aclose()
    return await _is_gone(http, server, key)


@row("identical requests at once", ASYNC)
async def identical_requests_at_once(world: World, server: str) -> bool:
    http, url = world.pool(timeout=40), f"{server}/meet?note={new_key()}&count=5"
    answers = await asyncio.gather(*(http.request("GET", url) for _ in range(5)))
    return {answer.body for answer in answers} == {b"met"}


@row("a body that is cut off is an error", ASYNC, BLOCKING)
async def cut_off_bodies(world: World, server: str) -> bool:
    try:
        await world.pool().request("GET", f"{server}/truncated?length=1000")
    except httpcore.HTTPCoreError:
        return True
    return False


@row("blocking: bodies that begin with a byte order mark", BLOCKING)
async def byte_order_marks(world: World, server: str) -> bool:
    body = b"\xef\xbb\xbfA\xff\x80"
    try:
        return bool((await world.pool().request("POST", f"{server}/echo", body=body)).body == body)
    except httpcore.ReadError:
        return False


@row("redirects", ASYNC)
async def redirects(world: World, server: str) -> str:
    response = await world.pool().request("GET", f"{server}/redirect?to=/status/200")
    return "responses" if response.status_code == 302 else "followed"


@row("`set-cookie` is seen", ASYNC)
async def set_cookie(world: World, server: str) -> bool:
    response = await world.pool().request("GET", f"{server}/cookies")
    return bool(response.headers.get_list("set-cookie") == [b"a=1; path=/", b"b=2, with a comma"])


async def _is_sent(world: World, server: str, name: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        response = await world.pool().request("GET", f"{server}/headers", {name: "ours=1"})
    return [name, "ours=1"] in json.loads(response.body)["headers"]


@row("`cookie` is sent as given", ASYNC)
async def cookie(world: World, server: str) -> bool:
    return await _is_sent(world, server, "cookie")


@row("`user-agent` is sent as given", ASYNC)
async def user_agent(world: World, server: str) -> bool:
    return await _is_sent(world, server, "user-agent")


@row("`integrity`", ASYNC)
async def integrity(world: World, server: str) -> str:
    digest = base64.b64encode(hashlib.sha256(b"of another body").digest()).decode()
    options = {"fetch": {"integrity": f"sha256-{digest}"}}
    try:
        await world.pool().request("GET", server, extensions=options)
    except httpcore.LocalProtocolError:
        return "refused"
    except httpcore.HTTPCoreError:
        return "checked"
    return "ignored"


async def _decoded_by(world: World, server: str, coding: str) -> str | bool:
    import js
    from pyodide.ffi import to_js

    if (await world.pool().request("GET", f"{server}/{coding}")).body != TEXT:
        return False
    # What fetch makes of it when it is asked without us.
    options = to_js({"headers": {"accept-encoding": coding}}, dict_converter=js.Object.fromEntries)
    response = await js.fetch(f"{server}/{coding}", options)
    return "JavaScript" if (await response.bytes()).to_bytes() == TEXT else "httpcore"


@row("gzip is decoded by", ASYNC)
async def gzip(world: World, server: str) -> str | bool:
    return await _decoded_by(world, server, "gzip")


@row("deflate is decoded by", ASYNC)
async def deflate(world: World, server: str) -> str | bool:
    return await _decoded_by(world, server, "deflate")


@row("br is decoded by", ASYNC)
async def brotli(world: World, server: str) -> str | bool:
    return await _decoded_by(world, server, "br")


@row("zstd is decoded by", ASYNC)
async def zstd(world: World, server: str) -> str | bool:
    return await _decoded_by(world, server, "zstd")


@row("Node's sockets, asked for by name", ASYNC, BLOCKING)
async def sockets_by_name(world: World, server: str) -> bool:
    import pyodide_js
    from pyodide.ffi import JsException

    if world.is_async:  # which comes first
        try:
            await pyodide_js.useNodeSockFS()
        except JsException:
            return False
    try:
        http = world.pool(backend="asyncio" if world.is_async else "blocking", timeout=40)
        return bool((await http.request("GET", server)).body == b"hello")
    except (ValueError, httpcore.ConnectError):
        return False
