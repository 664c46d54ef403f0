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
            stream = await _Way(route, dialing, backend, clock, deadline).open()
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


class _Way:
    """One attempt to reach the end of a route, all within one deadline: dial, a tunnel through each proxy, TLS where it
    belongs. Whoever opens a stream here closes it when the next step fails."""

    def __init__(self, route: Route, dialing: Dialing, backend: Backend, clock: Clock, deadline: float) -> None:
        self._route = route
        self._dialing = dialing
        self._backend = backend
        self._clock = clock
        self._deadline = deadline

    async def open(self) -> Stream:
        """A stream to the origin, or to the proxy that forwards to it."""
        route = self._route
        if not route.proxies:
            return await self._secure_origin(await self._dial(route.origin.host, route.origin.port))
        hops = [(route.origin.host, route.origin.port)]
        if route.proxies[-1].scheme == "socks5":  # which is given addresses, one after another
            hops = await self._resolve(*hops[0])
        for hop in hops[:-1]:
            try:
                return await self._open_through(*hop)
            except ProxyError as exc:
                # Another address does not change what is wrong with the proxy, or with our password.
                if exc.socks_code is None:
                    raise
        return await self._open_through(*hops[-1])

    async def _open_through(self, host: str, port: int) -> Stream:
        """Through the proxies of the route, of which the last is asked for a tunnel to `host`."""
        route = self._route
        stream = await self._reach(route.proxies[0])
        try:
            for index, following in enumerate(route.proxies[1:], 1):
                hop = following.host, following.port
                if route.proxies[index - 1].scheme == "socks5":
                    hop = (await self._resolve(*hop))[0]
                stream = await self._tunnel(stream, route.proxies[index - 1], *hop)
                stream = await self._secure_proxy(stream, index)
            if route.is_forwarded:
                return stream
            stream = await self._tunnel(stream, route.proxies[-1], host, port)
            return await self._secure_origin(stream)
        except BaseException:
            stream.close()
            raise

    async def _reach(self, proxy: Proxy) -> Stream:
        try:
            stream = await self._dial(proxy.host, proxy.port)
        except (ConnectError, ConnectTimeout) as exc:
            exc.args = (f"the proxy {proxy} was not reached: {exc}",)
            raise
        return await self._secure_proxy(stream, 0)

    async def _dial(self, host: str, port: int) -> Stream:
        network, names = self._route.network, self._dialing.names
        return await dial(host, port, network, names, self._backend, self._clock, self._deadline)

    async def _resolve(self, host: str, port: int) -> list[tuple[str, int]]:
        network, names = self._route.network, self._dialing.names
        found = await resolve(host, port, network, names, self._backend, self._clock, self._deadline)
        return [(address.target[0], address.target[1]) for address in found if isinstance(address.target, tuple)]

    async def _tunnel(self, stream: Stream, proxy: Proxy, host: str, port: int) -> Stream:
        self._clock.phase = f"asking the proxy {proxy} for a tunnel"
        if proxy.is_socks:
            return await socks_tunnel(stream, proxy, host, port, self._deadline)
        agreed = stream.info.alpn if proxy.scheme == "https" else None
        connection = _converse(stream, agreed or "http/1.1", self._dialing, self._backend)
        return await connect_tunnel(connection, stream, proxy, host, port, self._backend, self._deadline)

    async def _secure_origin(self, stream: Stream) -> Stream:
        route = self._route
        if route.ssl is None:
            return stream
        return await self._secure(stream, route.ssl, route.server_name or route.origin.host, route.alpn, route)

    async def _secure_proxy(self, stream: Stream, index: int) -> Stream:
        route = self._route
        proxy = route.proxies[index]
        if proxy.scheme != "https":
            return stream
        # Whether HTTP/1.1 may be spoken is a question of the origin, unless the proxy answers for it.
        alpn = route.alpn if route.is_forwarded else tuple(dict.fromkeys((*route.alpn, "http/1.1")))
        try:
            return await self._secure(stream, proxy.ssl, proxy.host, alpn, (route.network, route.proxies[: index + 1]))
        except (ConnectError, ConnectTimeout) as exc:
            exc.args = (f"the proxy {proxy} was not reached: {exc}",)
            raise

    async def _secure(
        self, stream: Stream, config: SSLConfig | ssl.SSLContext, name: str, alpn: tuple[str, ...], way: Hashable
    ) -> Stream:
        """TLS with the peer called `name`, over `stream`, which is closed where that fails.

        Args:
            way: to the peer, by which its sessions are kept.

        Raises: ConnectError, ConnectTimeout.
        """
        from ._tls import start_tls

        # A name may end in a dot in DNS, never in a certificate (RFC 6066, 3).
        server_name = name.rstrip(".").partition("%")[0]
        sessions, now = self._dialing.sessions, self._backend.now
        try:
            self._clock.phase = "loading the trusted certificates"
            context = await self._context(config, alpn)
            self._clock.phase = "in the TLS handshake"
            return await start_tls(stream, context, server_name, self._deadline, now=now, sessions=sessions, route=way)
        except BaseException as exc:
            stream.close()
            if isinstance(exc, TimeoutException) and not isinstance(exc, ConnectTimeout):
                raise ConnectTimeout("the peer did not complete the TLS handshake in time") from exc
            if isinstance(exc, NetworkError) and not isinstance(exc, ConnectError):
                raise ConnectError(f"the TLS handshake failed: {exc}") from exc
            raise

    async def _context(self, config: SSLConfig | ssl.SSLContext, alpn: tuple[str, ...]) -> ssl.SSLContext:
        import ssl

        from ._tls_contexts import known_context, make_context

        if not isinstance(config, SSLConfig):
            return config
        try:
            if (context := known_context(config, alpn)) is not None:
                return context
            return await self._backend.to_thread(lambda: make_context(config, alpn), self._deadline)
        except TimeoutError as exc:
            raise ConnectTimeout("the trusted certificates were not loaded in time") from exc
        except (OSError, ssl.SSLError, RuntimeError) as exc:
            raise ConnectError(f"TLS cannot be set up: {exc}") from exc
