"""Route -> connection: dial, through proxies where there are any, TLS, and the protocol that was agreed on.

Nothing here knows the pool. Whatever fails or is cancelled leaves no socket open.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from typing import TYPE_CHECKING

from ._carrier import Connection
from ._clock import Clock
from ._config import SSLConfig
from ._dial import dial, resolve
from ._dialing import Dialing
from ._engines import make_http2_engine, make_http11_engine
from ._errors import ConnectError, ConnectTimeout, HTTPCoreError, NetworkError, ProxyError, TimeoutException
from ._http11 import HTTP11Connection
from ._proxy import Proxy
from ._route import Route
from ._sessions import Sessions
from ._streams import Backend, Stream
from ._tunnel import connect_tunnel, socks_tunnel

if TYPE_CHECKING:
    import ssl

__all__ = ["connect"]

# httpcore's and urllib3's back-off between connection attempts: 0.5 s, doubled each time.
_BACKOFF = 0.5


async def connect(route: Route, dialing: Dialing, backend: Backend, clock: Clock) -> Connection:
    """A new connection on `route`, trying again as often as `retries` allows.

    Raises: ConnectError, ConnectTimeout, ProxyError.
    Cancellation: nothing is left open.
    """
    attempt = 0
    while True:
        try:
            deadline = clock.deadline(clock.timeout.connect)
            if route.proxies:
                stream = await _Through(route, dialing, backend, clock, deadline).open()
            else:
                stream = await _open_stream(route, dialing, backend, clock, deadline)
        except (ConnectError, ConnectTimeout) as exc:
            if attempt >= dialing.retries or clock.is_over or _is_refusal(exc):
                raise
            clock.phase = "waiting to connect again"
            await backend.sleep(max(0.0, min(_BACKOFF * 2**attempt, clock.total - clock.now())))
            if clock.is_over:
                raise ConnectTimeout(f"no time was left for another attempt after: {exc}") from exc
            attempt += 1
        else:
            return _speak(stream, route, dialing, backend)


def _speak(stream: Stream, route: Route, dialing: Dialing, backend: Backend) -> Connection:
    """The protocol that was agreed upon in TLS; where nothing was, the only one that may be spoken, or HTTP/1.1."""
    has_asked = route.ssl is not None or (route.is_forwarded and route.proxies[-1].scheme == "https")
    agreed = stream.info.alpn if has_asked else route.alpn[0] if len(route.alpn) == 1 else None
    agreed = agreed or "http/1.1"
    if agreed not in route.alpn:
        stream.close()
        raise ConnectError(f"the peer speaks {agreed}, and this pool {' or '.join(route.alpn)} alone")
    return _converse(stream, agreed, dialing, backend)


def _converse(stream: Stream, agreed: str, dialing: Dialing, backend: Backend) -> Connection:
    limits = dialing.limits
    if agreed == "h2":
        from ._http2 import HTTP2Connection

        http2_engine = make_http2_engine(dialing.http2, limits.max_header_bytes)
        return HTTP2Connection(stream, http2_engine, backend, dialing.http2, limits)
    engine = make_http11_engine(dialing.http1_engine, limits.max_header_bytes, limits.max_header_count)
    return HTTP11Connection(stream, engine, backend)


def _is_refusal(exc: HTTPCoreError) -> bool:
    """Whether TLS failed for a reason that trying again does not change: a certificate, a version, not TLS at all."""
    ssl = sys.modules.get("ssl")  # where it was not loaded, it was not TLS that failed
    if ssl is None:
        return False
    return isinstance(exc.__cause__, ssl.SSLError) and not isinstance(exc.__cause__, ssl.SSLEOFError)


async def _open_stream(route: Route, dialing: Dialing, backend: Backend, clock: Clock, deadline: float) -> Stream:
    host, port = route.origin.host, route.origin.port
    stream = await dial(host, port, route.network, dialing.names, backend, clock, deadline)
    return await _secure_origin(stream, route, dialing, backend, clock, deadline)


async def _secure_origin(
    stream: Stream, route: Route, dialing: Dialing, backend: Backend, clock: Clock, deadline: float
) -> Stream:
    if route.ssl is None:
        return stream
    name = route.server_name or route.origin.host
    resume = dialing.sessions, route
    return await _secure(stream, route.ssl, name, route.alpn, resume, backend, clock, deadline)


class _Through:
    """The way through the proxies of a route, hop by hop, all within one deadline."""

    def __init__(self, route: Route, dialing: Dialing, backend: Backend, clock: Clock, deadline: float) -> None:
        self._route = route
        self._dialing = dialing
        self._backend = backend
        self._clock = clock
        self._deadline = deadline
        # Whether HTTP/1.1 may be spoken is a question of the origin, unless the proxy answers for it.
        self._alpn = route.alpn if route.is_forwarded else tuple(dict.fromkeys((*route.alpn, "http/1.1")))

    async def open(self) -> Stream:
        """A stream to the origin, or to the proxy that forwards. One that is given addresses gets them one by one."""
        origin, proxy = self._route.origin, self._route.proxies[-1]
        hosts = await self._addresses(origin.host, origin.port) if proxy.scheme == "socks5" else [origin.host]
        for host in hosts[:-1]:
            try:
                return await self._open(host)
            except ProxyError:
                continue  # the last address will say so as well
        return await self._open(hosts[-1])

    async def _open(self, host: str) -> Stream:
        route, clock = self._route, self._clock
        stream = await self._reach(route.proxies[0])
        try:
            for proxy, following in zip(route.proxies, route.proxies[1:], strict=False):
                hop = following.host
                if proxy.scheme == "socks5":
                    hop = (await self._addresses(hop, following.port))[0]
                stream = await self._tunnel(stream, proxy, hop, following.port)
                stream = await self._secure_proxy(stream, following)
            if route.is_forwarded:
                return stream
            stream = await self._tunnel(stream, route.proxies[-1], host, route.origin.port)
            return await _secure_origin(stream, route, self._dialing, self._backend, clock, self._deadline)
        except BaseException:
            stream.close()
            raise

    async def _reach(self, proxy: Proxy) -> Stream:
        network, names = self._route.network, self._dialing.names
        try:
            stream = await dial(proxy.host, proxy.port, network, names, self._backend, self._clock, self._deadline)
        except (ConnectError, ConnectTimeout) as exc:
            exc.args = (f"the proxy {proxy} was not reached: {exc}",)
            raise
        return await self._secure_proxy(stream, proxy)

    async def _secure_proxy(self, stream: Stream, proxy: Proxy) -> Stream:
        if proxy.scheme != "https":
            return stream
        way = self._route.proxies[: self._route.proxies.index(proxy) + 1]
        resume = self._dialing.sessions, (self._route.network, way)
        try:
            return await _secure(
                stream, proxy.ssl, proxy.host, self._alpn, resume, self._backend, self._clock, self._deadline
            )
        except (ConnectError, ConnectTimeout) as exc:
            exc.args = (f"the proxy {proxy} was not reached: {exc}",)
            raise

    async def _tunnel(self, stream: Stream, proxy: Proxy, host: str, port: int) -> Stream:
        self._clock.phase = f"asking the proxy {proxy} for a tunnel"
        if proxy.is_socks:
            return await socks_tunnel(stream, proxy, host, port, self._deadline)
        agreed = stream.info.alpn if proxy.scheme == "https" else None
        connection = _converse(stream, agreed or "http/1.1", self._dialing, self._backend)
        return await connect_tunnel(connection, stream, proxy, host, port, self._backend, self._deadline)

    async def _addresses(self, host: str, port: int) -> list[str]:
        found = await resolve(
            host, port, self._route.network, self._dialing.names, self._backend, self._clock, self._deadline
        )
        return [str(address.target[0]) for address in found]


async def _secure(
    stream: Stream,
    config: SSLConfig | ssl.SSLContext,
    name: str,
    alpn: tuple[str, ...],
    resume: tuple[Sessions, Hashable],
    backend: Backend,
    clock: Clock,
    deadline: float,
) -> Stream:
    """TLS with the peer called `name`, over `stream`, which is closed where that fails.

    Args:
        resume: where sessions are kept, and the way to the peer, which they are kept by.

    Raises: ConnectError, ConnectTimeout.
    """
    from ._tls import start_tls

    try:
        clock.phase = "loading the trusted certificates"
        context = await _context(config, alpn, backend, deadline)
        clock.phase = "in the TLS handshake"
        # A name may end in a dot in DNS, never in a certificate (RFC 6066, 3).
        server_name = name.rstrip(".").partition("%")[0]
        sessions, way = resume
        return await start_tls(stream, context, server_name, deadline, now=backend.now, sessions=sessions, route=way)
    except BaseException as exc:
        stream.close()
        if isinstance(exc, TimeoutException) and not isinstance(exc, ConnectTimeout):
            raise ConnectTimeout("the peer did not complete the TLS handshake in time") from exc
        if isinstance(exc, NetworkError) and not isinstance(exc, ConnectError):
            raise ConnectError(f"the TLS handshake failed: {exc}") from exc
        raise


async def _context(
    config: SSLConfig | ssl.SSLContext, alpn: tuple[str, ...], backend: Backend, deadline: float
) -> ssl.SSLContext:
    import ssl

    from ._tls import known_context, make_context

    if not isinstance(config, SSLConfig):
        return config
    try:
        if (context := known_context(config, alpn)) is not None:
            return context
        return await backend.to_thread(lambda: make_context(config, alpn), deadline)
    except TimeoutError as exc:
        raise ConnectTimeout("the trusted certificates were not loaded in time") from exc
    except (OSError, ssl.SSLError, RuntimeError) as exc:
        raise ConnectError(f"TLS cannot be set up: {exc}") from exc
