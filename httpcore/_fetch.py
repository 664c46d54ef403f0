"""A "connection" over JavaScript's fetch: request in, response out.

JavaScript keeps the real connections, chooses their protocol and verifies TLS. So one of these is shared by all
requests of its route, opening it takes no time, and it never goes stale. How a request is sent is chosen for each: by
promises, or in blocking code by whatever the runtime and the way we were entered allow (`_javascript/`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NoReturn, cast

import js
from pyodide.ffi import can_run_sync

from ._backends.emscripten import JavaScriptWorld
from ._clock import Clock
from ._engines.framing import ResponseHead
from ._errors import ConnectError, LocalProtocolError, RemoteProtocolError
from ._fetch_options import FetchInfo, FetchOptions
from ._fetch_rules import warn_once
from ._headers import Headers, Pair
from ._javascript.call import Call, FetchHead, FetchRequest
from ._javascript.promise import PromiseCall
from ._javascript.runtime import Runtime, runtime
from ._javascript.uploads import collect_for, is_worth_collecting, may_stream
from ._javascript.worker import WorkerCall, find_helper
from ._javascript.xhr import XHRCall
from ._request import InformationalCallback, Request
from ._route import Route
from ._streams import Backend, Stream, StreamInfo
from ._upload import Upload

__all__ = ["FetchCarrier", "FetchConnection", "connect_fetch"]

# As many as anybody has: JavaScript keeps limits of its own.
_CAPACITY = 2**31 - 1
_NO_BODY = (204, 205, 304)
_ENCODED = (b"content-encoding", b"content-length")


async def connect_fetch(route: Route, backend: Backend) -> FetchConnection:
    """What carries the requests of a route. Nothing is opened."""
    return FetchConnection(route, cast("JavaScriptWorld", backend))


class FetchConnection:
    """See `Connection`."""

    capacity: int | None = _CAPACITY
    is_retiring = False
    never_stale = True
    keepalive: float | None = None
    info = StreamInfo()

    def __init__(self, route: Route, world: JavaScriptWorld) -> None:
        self.is_closed = False
        self.world = world
        self.options = route.network.fetch or FetchOptions()
        self._carriers: set[FetchCarrier] = set()

    def new_carrier(self) -> FetchCarrier:
        carrier = FetchCarrier(self)
        self._carriers.add(carrier)
        return carrier

    def ended(self, carrier: FetchCarrier) -> None:
        self._carriers.discard(carrier)

    def watch(self, on_change: Callable[[], None]) -> None:
        """Nothing of it changes by itself."""

    def is_stale(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True
        for carrier in list(self._carriers):
            carrier.close()

    def abandon(self) -> None:
        self.close()


class FetchCarrier:
    """One request and its response. See `Carrier`."""

    was_refused = needs_http1 = False
    has_response_begun = False
    is_switched = False
    unread = b""

    def __init__(self, connection: FetchConnection) -> None:
        self.trailers = Headers()
        self.has_ended = False
        self.extensions: dict[str, object] = {}
        self._connection = connection
        self.info = connection.info
        self._call: Call | None = None
        self._missing: int | None = None

    @property
    def is_reusable(self) -> bool:
        return not self._connection.is_closed

    @property
    def stream(self) -> Stream:
        raise NotImplementedError("JavaScript's fetch hands over no connection")

    async def exchange(
        self, request: Request, clock: Clock, on_informational: InformationalCallback | None = None
    ) -> ResponseHead:
        """See `Carrier`. JavaScript tells nothing of interim responses.

        Cancellation: the request is aborted, and the server sees it.
        """
        clock.phase = "preparing the request"
        try:
            _check(request)
            upload = Upload(request, PlainBody()) if request.body is not None else None
            return await self._send(Sender(request, upload, self._connection, clock))
        except BaseException:
            self.close()
            raise

    async def _send(self, sender: Sender) -> ResponseHead:
        if sender.may_stream:
            self._call = call = sender.open_stream()
            try:
                return await self._start(sender, call)
            except ConnectError:
                if not is_worth_collecting(call.is_untouched):
                    raise
                call.abort()
        is_another_try = self._call is not None
        self._call = call = await sender.open()
        head = await self._start(sender, call)
        if is_another_try:
            collect_for(sender.request)
        return head

    async def _start(self, sender: Sender, call: Call) -> ResponseHead:
        sender.clock.phase = "sending the request and waiting for the response"
        return self._head(sender.request, await call.start(sender.clock), call)

    def _head(self, request: Request, head: FetchHead, call: Call) -> ResponseHead:
        fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in head.fields]
        headers = Headers(fields)
        has_body = request.method != b"HEAD" and head.status not in _NO_BODY
        if has_body:
            headers = self._undecoded(headers, _accepted(request))
            length = headers.get(b"content-length")
            if length is not None and length.isdigit():
                self._missing = int(length)
        else:
            self._end()
        self.extensions["fetch"] = FetchInfo(head.url, head.redirected, head.type, call.sent_by)
        reason = head.reason.encode("latin-1") if runtime().keeps_reason else b""
        return ResponseHead(head.status, reason, b"", headers, dict(headers))

    def _undecoded(self, headers: Headers, accepted: str) -> Headers:
        """The headers, without those that the body fits no more since the runtime has decoded it."""
        values = headers.get_list(b"content-encoding")
        codings = [item.strip().lower() for item in b",".join(values).decode("latin-1").split(",")]
        codings = [coding for coding in codings if coding not in ("", "identity")]
        if not runtime().decodes(codings, accepted):
            return headers
        self.extensions["content_encoding"] = b", ".join(values)
        if (length := headers.get(b"content-length")) is not None:
            self.extensions["content_length"] = length
        return Headers(pair for pair in headers if pair[0] not in _ENCODED)

    async def receive_body(self, clock: Clock) -> bytes:
        """See `Carrier`.

        Cancellation: the request is aborted, and the server sees it.
        """
        if self._call is None:
            return b""
        try:
            part = await self._call.read(clock)
            self._count(part)
        except BaseException:
            self.close()
            raise
        return part

    def _count(self, part: bytes) -> None:
        if not part and self._missing:
            error = RemoteProtocolError(f"the body ended {self._missing} bytes short of its content-length")
            error.request_sent = True
            raise error
        if self._missing is not None:
            self._missing -= len(part)
        if not part:
            self._end()

    def _end(self) -> None:
        self.has_ended = True
        self._connection.ended(self)

    def take_parts(self) -> deque[bytes]:
        return deque()

    async def drain(self, clock: Clock) -> None:
        """Nothing is to be saved: aborting costs JavaScript a connection at most."""
        self.close()

    def close(self) -> None:
        self._connection.ended(self)
        if self._call is not None and not self.has_ended:
            self._call.abort()


class PlainBody:
    """How parts look to JavaScript: as they are."""

    def send_data(self, data: bytes) -> bytes:
        return data

    def send_end(self, trailers: Sequence[Pair]) -> bytes:
        return b""


def _check(request: Request) -> None:
    """Raises: LocalProtocolError for what fetch cannot send."""
    method = request.method
    if method in (b"CONNECT", b"TRACE"):
        _refuse(f"a {method.decode('ascii')} request")
    if request.body is not None and method in (b"GET", b"HEAD"):
        _refuse(f"a {method.decode('ascii')} request with a body")
    if request.trailers is not None:
        _refuse("trailers")
    if "target" in request.extensions:
        _refuse("a target other than the URL's")


def _refuse(what: str) -> NoReturn:
    raise LocalProtocolError(f"JavaScript's fetch cannot send {what}")


class Sender:
    """A request to JavaScript, in the best way there is from where we are.

    Attributes:
        may_stream: whether the body may be sent part by part.

    Raises: RuntimeError where there is no way, LocalProtocolError.
    """

    def __init__(self, request: Request, upload: Upload | None, connection: FetchConnection, clock: Clock) -> None:
        self.request = request
        self.clock = clock
        self._upload = upload
        self._world = world = connection.world
        self._sent_by = "fetch" if world.name != "blocking" else "jspi" if can_run_sync() else ""
        self._helper = None if self._sent_by else find_helper()
        self._options = connection.options.override(request.extensions.get("fetch"))
        if self._options.integrity is not None and runtime().name == "deno":
            raise LocalProtocolError("Deno's fetch does not check integrity, so that it cannot be asked for")
        is_xhr = not self._sent_by and self._helper is None
        if is_xhr and not hasattr(js, "XMLHttpRequest"):
            raise RuntimeError(
                "blocking code cannot send a request from here: enter Python by runPythonAsync, or by the "
                "callPromising of a function, where the runtime has JavaScript Promise Integration, or use "
                "httpcore.ConnectionPool"
            )
        self.may_stream = upload is not None and not is_xhr and may_stream(request, self._options)

    def open_stream(self) -> Call:
        return self._call(None, self._upload)

    async def open(self) -> Call:
        """With the body in one piece, collected where it is not."""
        body = self.request.body
        content = body.content if body is not None else None
        if self._upload is not None and content is None:
            content = await _buffered(self._upload, self._world, self.clock)
        return self._call(content, None)

    def _call(self, content: bytes | None, upload: Upload | None) -> Call:
        request, where = self.request, runtime()
        fetch_request = FetchRequest(
            request.method.decode("ascii"),
            str(request.url),
            _headers(request, where, upload is not None),
            content,
            _init(self._options, where),
        )
        if self._sent_by:
            return PromiseCall(fetch_request, self._world, self._sent_by, upload)
        if self._helper is not None:
            return WorkerCall(self._helper, fetch_request, upload)
        return XHRCall(fetch_request, self._options.max_whole_bytes)


async def _buffered(upload: Upload, world: JavaScriptWorld, clock: Clock) -> bytes:
    clock.phase = "reading the body"
    parts: list[bytes] = []
    try:
        while not upload.is_read:
            parts.append(await upload.read_in_time(clock, world))
    finally:
        await upload.aclose()
    return b"".join(parts)


def _headers(request: Request, where: Runtime, streams: bool) -> tuple[tuple[str, str], ...]:
    """The headers that get through."""
    sent: list[tuple[str, str]] = []
    for name, value in request.headers:
        lower = name.decode("ascii").lower()
        if lower == "content-length" and (where.is_browser or not streams):
            continue  # JavaScript counts itself
        if lower == "accept-encoding" and not where.is_browser:
            continue  # see below
        if not where.drops(lower):
            sent.append((name.decode("ascii"), value.decode("latin-1")))
        elif not _is_ours(request, lower, value):
            warn_once(
                f"header {lower}", f"the header {lower!r} is not sent: JavaScript's fetch does not let it through"
            )
    if not where.is_browser:
        sent.append(("accept-encoding", _accepted(request)))
    return tuple(sent)


def _accepted(request: Request) -> str:
    """The accept-encoding to send: of its own accord fetch would ask for codings, and in Node not for all it undoes."""
    value = request.headers.get("accept-encoding", b"identity") or b""
    if request.added_accept_encoding and b"br" not in value:
        value += b", br"
    return value.decode("latin-1")


def _is_ours(request: Request, name: str, value: bytes) -> bool:
    """Whether a header is one that the pool adds, or says what JavaScript says anyway."""
    match name:
        case "host":
            return value == request.url.origin.authority
        case "accept-encoding":
            return request.added_accept_encoding
        case "transfer-encoding":
            return True
    return False


def _init(options: FetchOptions, where: Runtime) -> dict[str, str | bool]:
    """The options as fetch calls them."""
    init: dict[str, str | bool | None] = {
        "credentials": options.credentials,
        "mode": options.mode,
        "cache": options.cache or ("no-store" if where.is_browser else None),
        "redirect": options.redirect or ("follow" if where.is_browser else "manual"),
        "referrerPolicy": options.referrer_policy,
        "integrity": options.integrity,
        "keepalive": options.keepalive,
    }
    return {name: value for name, value in init.items() if value is not None}
