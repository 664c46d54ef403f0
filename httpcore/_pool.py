"""The connection pool, as callers see it.

The way of a request: `request` checks it, `_send` gets a connection from the keeper and exchanges head for head on it,
`Exchange` reads the body and gives the connection back to the keeper. Wherever the request is cancelled before there is
an `Exchange`, the one `except BaseException` of `_send` gives back what it held.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache, partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from ._backends import BackendChoice
from ._bodies import BodyTypes
from ._carrier import Carrier
from ._clock import Clock
from ._config import HTTP2, Limits, SSLConfig, Timeout, as_timeout
from ._errors import HTTPCoreError, NetworkError, RemoteProtocolError
from ._exchange import Exchange, PoolEntry
from ._headers import Headers, HeaderTypes
from ._keeper import Keeper
from ._network import Network
from ._network_stream import NetworkStream
from ._options import Routes, checked_decompress, make_options
from ._proxy import ProxyTypes
from ._request import InformationalCallback, Request
from ._response import BaseResponse, Response
from ._route import Route
from ._stats import ConnectionStats, PoolStats
from ._streams import Backend
from ._trace import RequestTrace, Trace
from ._tunnel import ask
from ._urls import URL, Origin

if TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["ConnectionPool"]


class ConnectionPool:
    """Sends requests, and keeps connections for the next ones.

    Args:
        ssl: an `SSLConfig`, an `ssl.SSLContext` (never changed), or a bool for `SSLConfig(verify=...)`.
        timeout: a `Timeout`, or seconds for each of connect, read, write and pool. 5 s each by default.
        limits: a `Limits`.
        http1: whether HTTP/1.1 may be spoken.
        http2: whether HTTP/2 may be negotiated on https; an `HTTP2` says how it is spoken. With `http1=False` it is
            spoken on http as well, without asking.
        http1_engine: "h11", "httptools", "zttp" (experimental), or "auto" for httptools where it is installed.
        http2_engine: "h2".
        proxy: a `Proxy`, the URL of one, or a sequence of them, each reached through the one before; or a function that
            is asked with the `Origin` of every request, and returns one of these, or None to go directly.
            `Proxy.from_environment()` is such a function.
        retries: how often a connection that could not be opened is tried again. What a proxy refuses is not.
        decompress: None decodes bodies that the pool itself asked to be encoded, True decodes always, False never.
        network: a `Network`.
        trace: called with every `TraceEvent`. What it raises is logged and breaks nothing.
        backend: None for whatever event loop runs, or "asyncio", "anyio" ("trio"), "blocking"; or, for tests, a
            callable that makes one for the event loop that runs, such as those of `httpcore.testing`. Under Pyodide
            None is JavaScript's fetch, and "asyncio" and "blocking" ask for Node's sockets.

    Raises: TypeError, ValueError; OSError or ssl.SSLError where the files of `ssl` cannot be used.
    """

    _response_type: type[BaseResponse] = Response

    def __init__(
        self,
        ssl: SSLConfig | ssl_module.SSLContext | bool | None = None,
        timeout: Timeout | float | None = None,
        limits: Limits | None = None,
        *,
        http1: bool = True,
        http2: bool | HTTP2 = True,
        http1_engine: str = "auto",
        http2_engine: str = "h2",
        proxy: ProxyTypes | Callable[[Origin], ProxyTypes | None] | None = None,
        retries: int = 0,
        decompress: bool | None = None,
        network: Network | None = None,
        trace: Trace | None = None,
        backend: BackendChoice = None,
    ) -> None:
        self._options = make_options(
            ssl=ssl,
            timeout=timeout,
            limits=limits,
            http1=http1,
            http2=http2,
            http1_engine=http1_engine,
            http2_engine=http2_engine,
            proxy=proxy,
            retries=retries,
            decompress=decompress,
            network=network,
            trace=trace,
            backend=backend,
        )
        self._routes = Routes(self._options)
        self._trace = trace
        self._keeper = Keeper(self._options)
        self._request_ids = 0

    # Requests.

    async def request(
        self,
        method: str | bytes,
        url: str | bytes | URL,
        headers: HeaderTypes | None = None,
        body: BodyTypes | None = None,
        stream: bool = False,
        *,
        timeout: Timeout | float | None = None,
        ssl: SSLConfig | ssl_module.SSLContext | bool | None = None,
        decompress: bool | None = None,
        extensions: Mapping[str, object] | None = None,
    ) -> Response:
        """Send a request and return its response.

        Args:
            method: a token, str or bytes, sent as it is.
            url: http or https, str or bytes.
            headers: a mapping or pairs, str or bytes; `host`, `accept-encoding` and framing are added where missing.
            body: bytes, str (sent as UTF-8), a binary file, an iterable or async iterable of bytes.
            stream: return as soon as the head is there; the response must then be read to its end or closed.
            timeout: instead of the pool's.
            ssl: instead of the pool's. Connections are never shared between different ones.
            decompress: instead of the pool's.
            extensions: "on_informational": called with (status_code, headers) of each interim response;
                "trailers": fields, or a function that returns them, sent after the body; "target": bytes sent
                instead of the URL's path and query; "sni_hostname": the name sent and verified in TLS instead of the
                URL's host; "max_decoded_ratio": how much a body that is read whole may grow by decoding; "protocol":
                bytes, of an extended CONNECT over HTTP/2 (RFC 8441); "network": a `Network` instead of the pool's,
                with connections of its own; "fetch": a `FetchOptions`, where JavaScript's fetch carries the request.

        Raises:
            LocalProtocolError, InvalidURL, UnsupportedProtocol, TypeError, ValueError: before anything was sent.
            ConnectError, ConnectTimeout, PoolTimeout, PoolClosed: nothing was sent.
            ProxyError: the proxy refused; it has seen the request only where `request_sent` says so.
            WriteError, WriteTimeout, ReadError, ReadTimeout, RemoteProtocolError, TotalTimeout: see `request_sent`.
            DecodingError: the body does not decode; not with `stream=True`, where reading it raises this.
            Whatever the body's iterable or a callback raises comes through as it is.

        Cancellation: at any point; the connection is closed, or the HTTP/2 stream reset, and whoever waits goes on.
        """
        backend = self._keeper.backend
        if backend is None or not backend.is_current():
            backend = self._keeper.enter_world()
        decompress = self._options.decompress if decompress is None else checked_decompress(decompress)
        accept_encoding = b"" if decompress is False else _accept_encoding()
        allow_async = backend.name != "blocking"
        request = Request(method, url, headers, body, accept_encoding, allow_async, extensions)
        route = self._routes.find(request, ssl)
        timeout = self._options.timeout if timeout is None else as_timeout(timeout)
        clock = Clock(backend.now, timeout, request.headers)
        trace = None if self._trace is None else self._start_trace(self._trace, request, backend)
        decode = request.added_accept_encoding if decompress is None else decompress
        response = await self._send(request, route, decode, clock, backend, trace)
        if not stream:
            await response._read()
        return cast("Response", response)

    async def _send(
        self, request: Request, route: Route, decode: bool, clock: Clock, backend: Backend, trace: RequestTrace | None
    ) -> BaseResponse:
        """Exchange head for head, a second time where the first connection had ended before it was used."""
        keeper, peer = self._keeper, route.peer
        is_resent = needs_fresh = False
        while True:
            entry: PoolEntry | None = None
            carrier: Carrier | None = None
            exchange: Exchange | None = None
            try:
                entry = await keeper.acquire(route, clock, backend, needs_fresh)
                connection = entry.connection
                assert connection is not None
                carrier = connection.new_carrier()
                if trace is not None:
                    trace.acquired(entry.requests > 1)
                    if entry.requests > 1 and not keeper.is_alive(entry):  # the hook may have taken its time
                        entry = None
                        continue
                on_informational = request.on_informational if trace is None else _informational(request, trace)
                if not route.is_forwarded:
                    head = await carrier.exchange(request, clock, on_informational)
                else:
                    proxy = route.proxies[-1]
                    carrier, head = await ask(connection, carrier, request, proxy, clock, backend, on_informational)
                if trace is not None:
                    trace.response_started(head.status_code)
                on_end = None if trace is None else trace.ended
                exchange = Exchange(keeper, entry, carrier, clock, peer, on_end)
                break
            except BaseException as exc:
                if entry is not None and exchange is None:
                    keeper.release(entry, carrier is not None and carrier.is_reusable)
                    again = None
                    if carrier is not None and not is_resent and _may_resend(request, entry, carrier, exc):
                        again = self._routes.without_http2(route) if carrier.needs_http1 else route
                    if carrier is not None and again is not None:
                        # Where others may be stale as well; a peer that refused said so of this connection alone.
                        route, is_resent, needs_fresh = again, True, not carrier.was_refused
                        keeper.note_resent(entry)
                        if trace is not None and isinstance(exc, HTTPCoreError):
                            trace.resent(exc)
                        continue
                total = clock.explain(exc, peer) if isinstance(exc, HTTPCoreError) else None
                if trace is not None:
                    trace.failed(total or exc)
                try:
                    if total is not None:
                        raise total from exc
                    raise
                finally:
                    del total  # or its traceback would make a cycle
        network_stream = None
        if carrier.is_switched:
            end = partial(keeper.end_stream, entry, carrier, on_end)
            network_stream = NetworkStream(carrier.stream, carrier.info, carrier.unread, backend.now, peer, end)
        exchange.begin()
        extensions: dict[str, object] = {"connection": carrier.info, **carrier.extensions}
        return self._response_type(request, head, exchange, decode, extensions, network_stream)

    # The pool as a whole.

    async def aclose(self) -> None:
        """Close every connection and refuse further requests. Requests that wait get `PoolClosed`, those that run a
        `ReadError` or `WriteError`. Idempotent; returns at once, whatever the peers do.

        Cancellation: everything is closed all the same.
        """
        self._keeper.close()
        await self._checkpoint()

    async def drain(self, timeout: float | None = None) -> bool:
        """Refuse further requests, let those that run come to their end, then close.

        Args:
            timeout: seconds after which what still runs is closed; None waits for ever.

        Returns: whether everything came to its end in time.
        Cancellation: the pool refuses requests, and what runs goes on; call `aclose`.
        """
        backend = self._keeper.backend
        if backend is None or not backend.is_current():
            backend = self._keeper.enter_world()
        deadline = math.inf if timeout is None else backend.now() + timeout
        has_ended = await self._keeper.drain(backend, deadline)
        await self.aclose()
        return has_ended

    async def close_idle(self) -> None:
        """Close the connections that no request uses.

        Cancellation: they are closed all the same.
        """
        self._keeper.close_idle()
        await self._checkpoint()

    async def _checkpoint(self) -> None:
        """Let others run, and be cancelled, as every call does that might have waited."""
        backend = self._keeper.backend
        if backend is not None and backend.is_current():
            await backend.checkpoint()

    @property
    def connections(self) -> list[ConnectionStats]:
        """The connections that are opening, active or idle, now."""
        return self._keeper.connections()

    def stats(self) -> PoolStats:
        """What the pool holds now and has done so far, in all and per origin."""
        return self._keeper.stats()

    def __repr__(self) -> str:
        stats = self.stats()
        state = "closed " if self._keeper.is_closed else ""
        return (
            f"<{state}{type(self).__name__}: {stats.active} active, {stats.idle} idle, {stats.opening} opening, "
            f"{stats.waiting} waiting, of at most {self._options.limits.max_connections}>"
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def _start_trace(self, trace: Trace, request: Request, backend: Backend) -> RequestTrace:
        self._request_ids += 1
        request_trace = RequestTrace(trace, backend.now, str(request.url.origin), self._request_ids)
        request_trace.started(request.method)
        return request_trace


def _informational(request: Request, trace: RequestTrace) -> InformationalCallback:
    """Tells the trace, and then the caller, if he asked for it."""

    def tell(status_code: int, headers: Headers) -> None:
        trace.informational(status_code, headers)
        if request.on_informational is not None:
            request.on_informational(status_code, headers)

    return tell


def _may_resend(request: Request, entry: PoolEntry, carrier: Carrier, exc: BaseException) -> bool:
    """Whether a failed request is sent again: Go's ladder of reasons, which ends in no.

    Source: RFC 9110, 9.2.2; RFC 9113, 8.7.
    """
    if request.body is not None and not request.body.is_replayable:
        return False
    if carrier.was_refused:
        return True  # whatever it was, the peer has not looked at it
    if entry.requests <= 1 or entry.connection is None or entry.connection.never_stale:
        return False  # a fresh connection that fails will fail again
    if not isinstance(exc, (NetworkError, RemoteProtocolError)):
        return False
    if carrier.has_response_begun:
        return False  # the peer has acted on the request
    if request.is_idempotent:
        return True
    return not exc.request_sent


@cache
def _accept_encoding() -> bytes:
    from ._decoders import accept_encoding

    return accept_encoding()
