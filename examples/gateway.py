"""An ASGI gateway: what comes in goes on to `base_url`, and the answer comes back, part by part both ways.

    BASE_URL=https://example.org uvicorn --factory examples.gateway:from_environment --no-server-header --no-date-header

The two options leave `server` and `date` to the upstream, whose answer this is.
"""

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import anyio

import httpcore

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Pairs = list[tuple[bytes, bytes]]

logger = logging.getLogger("gateway")

# RFC 9110, 7.6.1: these are between two neighbours and end with each of them, as does what `Connection` names.
HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Pairs:
    """The fields that are for whoever is at the other end of the chain, in their order."""
    headers = list(headers)
    named = {option.strip().lower() for name, value in headers if name == b"connection" for option in value.split(b",")}
    return [(name, value) for name, value in headers if name not in HOP_BY_HOP and name not in named]


def has_body(scope: Message) -> bool:
    """HTTP/1 announces a body; where it need not be announced (HTTP/2), only these methods are sure to have none."""
    sent = dict(scope["headers"])
    if b"content-length" in sent:
        return bool(sent[b"content-length"] != b"0")
    if scope["http_version"] in ("1.0", "1.1"):
        return b"transfer-encoding" in sent
    return scope["method"] not in ("GET", "HEAD")


class ClientGone(Exception):
    """The client hung up in the middle of its request body."""


class Upload:
    """The body of the request, read from the client only as fast as the upstream takes it."""

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self.is_begun = False
        self.over = anyio.Event()

    async def parts(self) -> AsyncIterator[bytes]:
        self.is_begun = True
        try:
            while True:
                message = await self.receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                if message.get("body"):
                    yield message["body"]
                if not message.get("more_body"):
                    return
        finally:
            self.over.set()


class Gateway:
    """An ASGI application that forwards every request to one upstream.

    Args:
        base_url: scheme, host and maybe a path that is put before the one that was asked for.
    """

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        self.http = httpcore.ConnectionPool()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await self.http_request(scope, receive, send)

    async def lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.http.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def http_request(self, scope: Message, receive: Receive, send: Send) -> None:
        upload = Upload(receive)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.cancel_when_gone, upload, tasks.cancel_scope)
            with contextlib.suppress(ClientGone):
                await self.forward(scope, upload, send)
            tasks.cancel_scope.cancel()

    async def cancel_when_gone(self, upload: Upload, scope: anyio.CancelScope) -> None:
        """Nobody reads the answer to a client that hung up: stop fetching it, which the upstream is told."""
        await upload.over.wait()
        while (await upload.receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    async def forward(self, scope: Message, upload: Upload, send: Send) -> None:
        try:
            response = await self.request(scope, upload)
        except httpcore.TimeoutException as exc:
            return await refuse(send, 504, exc)
        except (httpcore.InvalidURL, httpcore.LocalProtocolError) as exc:
            return await refuse(send, 400, exc)
        except httpcore.HTTPCoreError as exc:
            return await refuse(send, 502, exc)
        if not upload.is_begun:
            upload.over.set()
        async with response:
            headers = end_to_end(response.headers)
            await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            # An error from here on leaves as an exception: the server then cuts the answer off, visibly for the client.
            async for part in response.stream():
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body"})

    async def request(self, scope: Message, upload: Upload) -> httpcore.Response:
        path, query = scope["raw_path"], scope["query_string"]
        if not path.startswith(b"/"):
            # `GET @elsewhere/` would otherwise become a part of the host.
            raise httpcore.InvalidURL(f"the target {path[:80]!r} is not a path")
        url = self.base_url.encode() + path + (b"?" + query if query else b"")
        headers = [(name, value) for name, value in end_to_end(scope["headers"]) if name != b"host"]
        headers.append((b"via", b"%s gateway" % scope["http_version"].encode()))
        body = upload.parts() if has_body(scope) else None
        if body is None:
            upload.over.set()
        return await self.http.request(scope["method"], url, headers=headers, body=body, stream=True)


async def refuse(send: Send, status: int, exc: httpcore.HTTPCoreError) -> None:
    """Answer in the upstream's place. What went wrong goes to the log: it names hosts that the client need not know."""
    logger.warning("%d: %s", status, exc)
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"4")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"%d\n" % status})


def from_environment() -> Gateway:
    return Gateway(os.environ["BASE_URL"])
