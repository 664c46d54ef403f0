"""Route -> connection: dial, TLS, and the protocol that was agreed on.

Nothing here knows the pool. Whatever fails or is cancelled leaves no socket open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._carrier import Connection
from ._clock import Clock
from ._config import HTTP2, Limits, SSLConfig
from ._dial import dial
from ._engines import make_http2_engine, make_http11_engine
from ._errors import ConnectError, ConnectTimeout, HTTPCoreError, NetworkError, TimeoutException
from ._http11 import HTTP11Connection
from ._route import Route
from ._streams import Backend, Stream

if TYPE_CHECKING:
    import ssl

__all__ = ["Dialing", "connect"]

# httpcore's and urllib3's back-off between connection attempts: 0.5 s, doubled each time.
_BACKOFF = 0.5


@dataclass(frozen=True, slots=True)
class Dialing:
    """What dialing needs to know of the pool: frozen, the same for every route."""

    http1_engine: str
    http2: HTTP2
    limits: Limits
    retries: int


async def connect(route: Route, dialing: Dialing, backend: Backend, clock: Clock) -> Connection:
    """A new connection on `route`, trying again as often as `retries` allows.

    Raises: ConnectError, ConnectTimeout.
    Cancellation: nothing is left open.
    """
    attempt = 0
    while True:
        try:
            stream = await _open_stream(route, backend, clock, clock.deadline(clock.timeout.connect))
        except (ConnectError, ConnectTimeout) as exc:
            if attempt >= dialing.retries or clock.is_over or _is_refusal(exc, route):
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
    agreed = stream.info.alpn or (route.alpn[0] if len(route.alpn) == 1 and route.ssl is None else "http/1.1")
    if agreed not in route.alpn:
        stream.close()
        raise ConnectError(f"the peer speaks {agreed}, and this pool {' or '.join(route.alpn)} alone")
    limits = dialing.limits
    if agreed == "h2":
        from ._http2 import HTTP2Connection

        http2_engine = make_http2_engine(dialing.http2, limits.max_header_bytes)
        return HTTP2Connection(stream, http2_engine, backend, dialing.http2, limits)
    engine = make_http11_engine(dialing.http1_engine, limits.max_header_bytes, limits.max_header_count)
    return HTTP11Connection(stream, engine, backend)


def _is_refusal(exc: HTTPCoreError, route: Route) -> bool:
    """Whether TLS failed for a reason that trying again does not change: a certificate, a version, not TLS at all."""
    if route.ssl is None:
        return False
    import ssl

    return isinstance(exc.__cause__, ssl.SSLError) and not isinstance(exc.__cause__, ssl.SSLEOFError)


async def _open_stream(route: Route, backend: Backend, clock: Clock, deadline: float) -> Stream:
    stream = await dial(route.origin.host, route.origin.port, route.network, backend, clock, deadline)
    if route.ssl is None:
        return stream
    try:
        return await _secure(stream, route, backend, clock, deadline)
    except BaseException as exc:
        stream.close()
        if isinstance(exc, TimeoutException) and not isinstance(exc, ConnectTimeout):
            raise ConnectTimeout("the peer did not complete the TLS handshake in time") from exc
        if isinstance(exc, NetworkError) and not isinstance(exc, ConnectError):
            raise ConnectError(f"the TLS handshake failed: {exc}") from exc
        raise


async def _secure(stream: Stream, route: Route, backend: Backend, clock: Clock, deadline: float) -> Stream:
    from ._tls import start_tls

    clock.phase = "loading the trusted certificates"
    context = await _context(route, backend, deadline)
    clock.phase = "in the TLS handshake"
    # A name may end in a dot in DNS, never in a certificate (RFC 6066, 3).
    server_name = (route.server_name or route.origin.host).rstrip(".").partition("%")[0]
    return await start_tls(stream, context, server_name, deadline)


async def _context(route: Route, backend: Backend, deadline: float) -> ssl.SSLContext:
    import ssl

    from ._tls import known_context, make_context

    config, alpn = route.ssl, route.alpn
    if not isinstance(config, SSLConfig):
        assert config is not None
        return config
    try:
        if (context := known_context(config, alpn)) is not None:
            return context
        return await backend.to_thread(lambda: make_context(config, alpn), deadline)
    except TimeoutError as exc:
        raise ConnectTimeout("the trusted certificates were not loaded in time") from exc
    except (OSError, ssl.SSLError, RuntimeError) as exc:
        raise ConnectError(f"TLS cannot be set up: {exc}") from exc
