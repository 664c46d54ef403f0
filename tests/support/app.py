"""The ASGI application behind the real servers.

| path | answers |
| --- | --- |
| `/` | `hello` |
| `/echo` | the request's body, part by part as it comes |
| `/upload`, `/upload/{key}` | JSON: sha256 and length of the request's body; the key is for the log |
| `/bytes/{n}` | `pattern(n)` in parts of 64 KiB; `?chunked=1` leaves out the content-length |
| `/sent/{key}` | how many bytes `/bytes/{n}?note=key` has sent so far |
| `/slow?delay=1` | `slow`, after a while |
| `/gzip`, `/deflate`, `/br`, `/zstd` | `TEXT` in that coding, whatever the client accepts |
| `/sse?count=3&delay=0.05` | server-sent events |
| `/drip?count=10&delay=0.01` | a byte now and then |
| `/status/{n}` | that status, with a body where it may have one |
| `/redirect?to=/headers&status=302` | that status, and elsewhere |
| `/cookies` | two Set-Cookie |
| `/truncated?length=100` | ten bytes of a body that was to be longer, and the end of the connection |
| `/hang?note=key&begin=1` | nothing, or the first part of a body, until the client goes away; notes `came-key` |
| `/gate?note=key&begin=1&seconds=20` | `begun` if asked, then `opened` after `/open/key`, or `late`; notes `came-key` |
| `/open/{key}` | `hello`, and opens a `/gate` |
| `/outcome/{key}` | how a `/gate` has ended: `opened`, `late`, or `gone`, which is what the client was |
| `/meet?note=key&count=5` | `met` as soon as that many are there, or `late` |
| `/take?note=key` | the length of the request's body; notes its first part |
| `/noted/{key}?seconds=30` | `yes` when a client has gone away from `/hang`, or a part has come to `/take`; or `no` |
| `/no-cors/{path}` | as without it, but no page of another origin may read it; all else allows that |
| `/headers` | JSON: method, path, query, HTTP version, client, and the headers as the server saw them, in order |
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import sys
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import brotli

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 1000
_PART = 65_536
# A prime, so that the pattern does not repeat with the sizes of parts, reads and records.
_PERIOD = bytes(range(251))


def pattern(count: int, start: int = 0) -> bytes:
    """Bytes of which each place is recognised."""
    start %= len(_PERIOD)
    return (_PERIOD * ((start + count) // len(_PERIOD) + 1))[start : start + count]


# Lets pages of any origin see everything, while they send no credentials.
CORS = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-headers", b"*"),
    (b"access-control-allow-methods", b"*"),
    (b"access-control-expose-headers", b"*"),
)
_NOTED_SECONDS = 30.0
_noted: dict[str, asyncio.Event] = {}
_sent: dict[str, int] = {}


class Exchange:
    """One request, and its response in the making."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.query = dict(parse_qsl(scope["query_string"].decode()))
        self._receive = receive
        self._send = send
        origin = dict(scope["headers"]).get(b"origin")
        self._cors = CORS if origin is not None and not scope["path"].startswith("/no-cors/") else ()

    @property
    def is_cross_origin(self) -> bool:
        return bool(self._cors)

    async def gone(self) -> None:
        """Wait until the client is gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def body(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                return  # the client is gone
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                return

    async def read(self) -> None:
        """Drop the body. What is answered before has come to its end hypercorn may take for an error."""
        async for _ in self.body():
            pass

    async def start(self, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, *self._cors]})

    async def part(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})

    async def answer(self, body: bytes, *headers: tuple[bytes, bytes], status: int = 200) -> None:
        await self.start(status, *headers, (b"content-length", b"%d" % len(body)))
        await self.part(body)
        await self.end()

    def number(self, name: str, default: float) -> float:
        return float(self.query.get(name, default))


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return  # no lifespan, no websockets
    exchange = Exchange(scope, receive, send)
    _, name, *rest = scope["path"].removeprefix("/no-cors").split("/")
    if scope["method"] == "OPTIONS" and exchange.is_cross_origin:
        return await exchange.answer(b"")  # the question that browsers ask first
    handler = HANDLERS.get(name)
    if handler is None:
        await exchange.answer(b"not found", status=404)
    else:
        await handler(exchange, *rest)


async def hello(exchange: Exchange) -> None:
    await exchange.answer(b"hello", (b"content-type", b"text/plain"))


async def echo(exchange: Exchange) -> None:
    await exchange.start()
    async for part in exchange.body():
        await exchange.part(part)
    await exchange.end()


async def upload(exchange: Exchange, key: str = "") -> None:
    digest, length = hashlib.sha256(), 0
    async for part in exchange.body():
        digest.update(part)
        length += len(part)
    await exchange.answer(json.dumps({"sha256": digest.hexdigest(), "length": length}).encode())


async def some_bytes(exchange: Exchange, count: str) -> None:
    total = int(count)
    await exchange.start(200, *(() if "chunked" in exchange.query else ((b"content-length", count.encode()),)))
    for start in range(0, total, _PART):
        await exchange.part(pattern(min(_PART, total - start), start))
        if "note" in exchange.query:
            _sent[exchange.query["note"]] = start
    await exchange.end()


async def sent(exchange: Exchange, key: str) -> None:
    await exchange.answer(b"%d" % _sent.get(key, 0))


async def slow(exchange: Exchange) -> None:
    await asyncio.sleep(exchange.number("delay", 1))
    await exchange.answer(b"slow")


async def status(exchange: Exchange, code: str) -> None:
    if code in ("204", "304"):
        await exchange.start(int(code))
        await exchange.end()
    else:
        await exchange.answer(code.encode(), status=int(code))


async def redirect(exchange: Exchange) -> None:
    await exchange.read()
    location = exchange.query.get("to", "/headers").encode()
    await exchange.answer(b"elsewhere", (b"location", location), status=int(exchange.number("status", 302)))


async def cookies(exchange: Exchange) -> None:
    await exchange.answer(b"cookies", (b"set-cookie", b"a=1; path=/"), (b"set-cookie", b"b=2, with a comma"))


async def truncated(exchange: Exchange) -> None:
    length = exchange.query.get("length", "100")
    await exchange.start(200, (b"content-length", length.encode()))
    await exchange.part(pattern(10))  # and no more, which is why the server ends the connection


async def hang(exchange: Exchange) -> None:
    key = exchange.query.get("note", "")
    _note(f"came-{key}").set()
    if "begin" in exchange.query:
        await exchange.start()
        await exchange.part(b"begun")
    await exchange.gone()
    _note(key).set()


_outcomes: dict[str, bytes] = {}


async def gate(exchange: Exchange) -> None:
    key = exchange.query["note"]
    if "begin" in exchange.query:
        await exchange.start()
        await exchange.part(b"begun ")
    _note(f"came-{key}").set()
    opening, gone = asyncio.create_task(_note(f"open-{key}").wait()), asyncio.create_task(exchange.gone())
    await asyncio.wait((opening, gone), timeout=exchange.number("seconds", 20), return_when=asyncio.FIRST_COMPLETED)
    _outcomes[key] = b"gone" if gone.done() else b"opened" if opening.done() else b"late"
    for task in (opening, gone):
        task.cancel()
    if _outcomes[key] != b"gone":
        if "begin" not in exchange.query:
            await exchange.start()
        await exchange.part(_outcomes[key])
        await exchange.end()
    _note(f"ended-{key}").set()


async def open_gate(exchange: Exchange, key: str) -> None:
    _note(f"open-{key}").set()
    await hello(exchange)


async def outcome(exchange: Exchange, key: str) -> None:
    await _note(f"ended-{key}").wait()
    await exchange.answer(_outcomes[key])


_met: Counter[str] = Counter()


async def meet(exchange: Exchange) -> None:
    key = exchange.query["note"]
    _met[key] += 1
    if _met[key] == exchange.number("count", 2):
        _note(key).set()
    try:
        await asyncio.wait_for(_note(key).wait(), _NOTED_SECONDS)
    except TimeoutError:
        await exchange.answer(b"late")
    else:
        await exchange.answer(b"met")


async def take(exchange: Exchange) -> None:
    length = 0
    async for part in exchange.body():
        length += len(part)
        _note(exchange.query["note"]).set()
    await exchange.answer(b"%d" % length)


async def noted(exchange: Exchange, key: str) -> None:
    try:
        await asyncio.wait_for(_note(key).wait(), exchange.number("seconds", _NOTED_SECONDS))
    except TimeoutError:
        await exchange.answer(b"no")
    else:
        await exchange.answer(b"yes")


def _note(key: str) -> asyncio.Event:
    return _noted.setdefault(key, asyncio.Event())


async def headers(exchange: Exchange) -> None:
    await exchange.read()
    scope = exchange.scope
    seen = {
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode(),
        "http_version": scope["http_version"],
        "scheme": scope["scheme"],
        "client": scope["client"],
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
    }
    await exchange.answer(json.dumps(seen).encode(), (b"content-type", b"application/json"))


async def events(exchange: Exchange) -> None:
    await exchange.start(200, (b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"))
    for number in range(int(exchange.number("count", 3))):
        await exchange.part(b"id: %d\ndata: event %d\n\n" % (number, number))
        await asyncio.sleep(exchange.number("delay", 0.05))
    await exchange.end()


async def drip(exchange: Exchange) -> None:
    await exchange.start()
    for number in range(int(exchange.number("count", 10))):
        await exchange.part(pattern(1, number))
        await asyncio.sleep(exchange.number("delay", 0.01))
    await exchange.end()


def zstd_compress(data: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.compress(data)


def coded(coding: str, compress: Callable[[bytes], bytes]) -> Callable[[Exchange], Awaitable[None]]:
    async def answer_coded(exchange: Exchange) -> None:
        await exchange.answer(compress(TEXT), (b"content-encoding", coding.encode()), (b"content-type", b"text/plain"))

    return answer_coded


HANDLERS: dict[str, Callable[..., Awaitable[None]]] = {
    "": hello,
    "echo": echo,
    "upload": upload,
    "bytes": some_bytes,
    "slow": slow,
    "status": status,
    "headers": headers,
    "redirect": redirect,
    "cookies": cookies,
    "truncated": truncated,
    "hang": hang,
    "gate": gate,
    "open": open_gate,
    "outcome": outcome,
    "meet": meet,
    "take": take,
    "noted": noted,
    "sent": sent,
    "sse": events,
    "drip": drip,
    "gzip": coded("gzip", gzip.compress),
    "deflate": coded("deflate", zlib.compress),
    "br": coded("br", brotli.compress),
    "zstd": coded("zstd", zstd_compress),
}
