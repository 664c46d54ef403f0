"""Route -> connection: resolve, dial, TLS, and the protocol that was agreed on.

Nothing here knows the pool. Whatever fails or is cancelled leaves no socket open.
"""

from __future__ import annotations

import inspect
import socket
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ._carrier import Connection
from ._clock import Clock
from ._config import HTTP2, Limits, Network, Route, SSLConfig
from ._engines import make_http2_engine, make_http11_engine
from ._errors import ConnectError, ConnectTimeout, HTTPCoreError, NetworkError, TimeoutException
from ._http11 import HTTP11Connection
from ._streams import Address, Backend, Stream

if TYPE_CHECKING:
    import ssl

__all__ = ["Dialing", "connect"]

# httpcore's and urllib3's back-off between connection attempts: 0.5 s, doubled each time.
_BACKOFF = 0.5
# More addresses than this of one name are not tried: nobody publishes as many, but an attacker's resolver may.
_MAX_ADDRESSES = 32
# What an attempt gets at least while there are more addresses, unless it were more than half of what is left of the
# connect timeout (RFC 8305 recommends 250 ms before the next attempt is started).
_LEAST_ATTEMPT = 0.25


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
    stream = await _dial(route, backend, clock, deadline)
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


async def _dial(route: Route, backend: Backend, clock: Clock, deadline: float) -> Stream:
    """Try the addresses of a route one after another, all within one deadline."""
    addresses = await _addresses(route, backend, clock, deadline)
    clock.phase = "connecting"
    errors: list[HTTPCoreError] = []
    try:
        for index, address in enumerate(addresses):
            try:
                return await backend.connect(address, _share(clock.now(), deadline, len(addresses) - index))
            except (ConnectError, ConnectTimeout) as exc:
                errors.append(exc)
                if clock.now() >= deadline:
                    break
        raise _sum(errors, len(addresses))
    finally:
        errors.clear()  # their tracebacks hold this frame, which would make a cycle


def _sum(errors: Sequence[HTTPCoreError], count: int) -> HTTPCoreError:
    """One error for those of all attempts, at `count` addresses."""
    if len(errors) == 1:
        return errors[0]
    last = errors[-1]
    reasons = "; ".join(str(error) for error in errors)
    if isinstance(last, ConnectTimeout):
        total: HTTPCoreError = ConnectTimeout(f"none of {count} addresses answered in time: {reasons}")
    else:
        total = ConnectError(f"none of {count} addresses could be connected to: {reasons}")
    total.__cause__ = last
    return total


def _share(now: float, deadline: float, left: int) -> float:
    """The deadline of one attempt, when `left` addresses share what remains; each of them gets its turn."""
    remaining = deadline - now
    return now + max(remaining / left, min(remaining / 2, _LEAST_ATTEMPT))


async def _addresses(route: Route, backend: Backend, clock: Clock, deadline: float) -> list[Address]:
    network, origin = route.network, route.origin
    if network.uds is not None:
        return [Address(socket.AF_UNIX, network.uds, None, network.socket_options, f"the unix socket {network.uds!r}")]
    literal = _literal(origin.host, origin.port)
    if literal is not None:
        found: Sequence[tuple[int, tuple[str, int] | tuple[str, int, int, int]]] = [literal]
    else:
        clock.phase = f"resolving {origin.host}"
        found = await _resolve(origin.host, origin.port, network, backend, deadline)
    addresses = [_address(family, target, network) for family, target in dict.fromkeys(found)]
    usable = [address for address in addresses[:_MAX_ADDRESSES] if _fits(address)]
    if not usable:
        raise ConnectError(
            f"the name {origin.host} has no address" + (" of the local address's family" if addresses else "")
        )
    return usable


def _literal(host: str, port: int) -> tuple[int, tuple[str, int] | tuple[str, int, int, int]] | None:
    """Family and address of a host that is an address already."""
    if ":" in host:
        found = socket.getaddrinfo(host, port, socket.AF_INET6, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        return socket.AF_INET6, cast("tuple[str, int, int, int]", found[0][4])
    try:
        socket.inet_pton(socket.AF_INET, host)
    except OSError:
        return None
    return socket.AF_INET, (host, port)


async def _resolve(
    host: str, port: int, network: Network, backend: Backend, deadline: float
) -> Sequence[tuple[int, tuple[str, int] | tuple[str, int, int, int]]]:
    try:
        if network.resolver is None:
            return await backend.resolve(host, port, deadline)
        answer = network.resolver(host, port)
        ips = await _until(answer, backend, deadline) if inspect.isawaitable(answer) else answer
        return [found for ip in ips if (found := _literal(ip, port)) is not None]
    except TimeoutError as exc:
        raise ConnectTimeout(f"the name {host} was not resolved in time") from exc
    except (OSError, UnicodeError) as exc:
        raise ConnectError(f"the name {host} does not resolve: {getattr(exc, 'strerror', None) or exc}") from exc


async def _until(answer: Awaitable[Sequence[str]], backend: Backend, deadline: float) -> Sequence[str]:
    try:
        return await backend.until(answer, deadline)
    finally:
        if inspect.iscoroutine(answer):
            answer.close()  # in blocking code nobody has awaited it


def _address(family: int, target: tuple[str, int] | tuple[str, int, int, int], network: Network) -> Address:
    local = (network.local_address, 0) if isinstance(network.local_address, str) else network.local_address
    host, port = target[0], target[1]
    return Address(
        family, target, local, network.socket_options, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    )


def _fits(address: Address) -> bool:
    """Whether the local address is of the same family."""
    return address.local is None or (":" in address.local[0]) == (address.family == socket.AF_INET6)
