"""What is said to proxies: a tunnel through one, as a function of streams, and requests that one forwards.

Source: RFC 9110, 9.3.6 and 11.7; RFC 9112, 3.2; RFC 9113, 8.5; RFC 1928.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

from ._carrier import Carrier, Connection
from ._clock import Clock
from ._config import Timeout
from ._engines.framing import ResponseHead
from ._errors import (
    ConnectTimeout,
    HTTPCoreError,
    NetworkError,
    ProxyError,
    ReadTimeout,
    RemoteProtocolError,
    TimeoutException,
)
from ._headers import Pair, encode_headers, hide_secrets
from ._proxy import Proxy
from ._request import InformationalCallback, Request
from ._socks import handshake
from ._streams import Backend, Stream, StreamInfo

__all__ = ["ask", "connect_tunnel", "socks_tunnel"]

# NTLM needs two answers, Negotiate perhaps one more.
_MAX_TRIES = 5
# Of a refusal's body; squid's error pages have 4 KiB.
_MAX_BODY = 64 * 1024


async def socks_tunnel(stream: Stream, proxy: Proxy, host: str, port: int, deadline: float) -> Stream:
    """The tunnel to `host` that a SOCKS5 proxy makes of `stream`.

    Raises: ProxyError, ConnectTimeout, LocalProtocolError.
    Cancellation: the stream is left to the caller, to be closed.
    """
    steps = handshake(host, port, proxy.auth)
    data, wanted = next(steps)
    heard = bytearray()
    try:
        while True:
            if data:
                await stream.send(data, deadline)
            while len(heard) < wanted:
                part = await stream.receive(wanted - len(heard), deadline)
                if not part:
                    raise ProxyError(
                        f"the proxy closed the connection, after {len(heard)} of {wanted} bytes of a reply"
                    )
                heard += part
            reply = bytes(heard[:wanted])
            del heard[:wanted]
            data, wanted = steps.send(reply)
    except StopIteration:
        # TLS gives whole records, and there the origin's first bytes may be in one with the proxy's last.
        return _TunnelStream(stream, bytes(heard), None, stream) if heard else stream
    except TimeoutException as exc:
        raise ConnectTimeout(f"the proxy {proxy} did not answer in time") from exc
    except NetworkError as exc:
        raise ProxyError(f"the proxy {proxy} broke the connection: {exc}") from exc
    except ProxyError as exc:
        exc.args = (f"{proxy}: {exc}",)
        raise


async def connect_tunnel(
    connection: Connection, stream: Stream, proxy: Proxy, host: str, port: int, backend: Backend, deadline: float
) -> Stream:
    """The tunnel to `host` that a proxy makes of the connection to it, by CONNECT.

    Args:
        connection: that speaks HTTP with the proxy, over `stream`.

    Raises: ProxyError, ConnectTimeout.
        The connection is closed.
    Cancellation: the connection is closed.
    """
    host = host.partition("%")[0]
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    clock = Clock(backend.now, Timeout(None))
    clock.total = deadline
    request = Request(b"CONNECT", f"http://{target}", {"host": target})
    try:
        return await _connect(connection, stream, request, proxy, clock, backend)
    except BaseException as exc:
        connection.close()
        if isinstance(exc, TimeoutException):
            raise ConnectTimeout(f"the proxy {proxy} did not answer CONNECT {target} in time") from exc
        if isinstance(exc, RemoteProtocolError):
            raise ProxyError(f"the proxy {proxy} did not answer CONNECT {target} in HTTP: {exc}") from exc
        if isinstance(exc, NetworkError):
            raise ProxyError(f"the proxy {proxy} broke the connection at CONNECT {target}: {exc}") from exc
        raise


async def _connect(
    connection: Connection, stream: Stream, request: Request, proxy: Proxy, clock: Clock, backend: Backend
) -> Stream:
    carrier, _ = await ask(connection, connection.new_carrier(), request, proxy, clock, backend, makes_tunnel=True)
    if carrier.stream is stream and not carrier.unread:
        return stream
    return _TunnelStream(carrier.stream, carrier.unread, connection, stream)


async def ask(
    connection: Connection,
    carrier: Carrier,
    request: Request,
    proxy: Proxy,
    clock: Clock,
    backend: Backend,
    on_informational: InformationalCallback | None = None,
    makes_tunnel: bool = False,
) -> tuple[Carrier, ResponseHead]:
    """Exchange head for head with a proxy that reads the request itself, once more for each challenge that is answered.

    Args:
        makes_tunnel: whether the request is ours, for a tunnel, so that all but 2xx is a refusal; else the proxy
            forwards it, and a 407 alone is its own answer.

    Returns: the carrier of the last try, and the head of the response.
    Raises: ProxyError, of a refusal; and what `Carrier.exchange` raises.
    Cancellation: as after an error, the exchange is over.
    """
    answer: Sequence[Pair] = ()
    for tries_left in reversed(range(_MAX_TRIES)):
        asked = request.forwarded(proxy.headers_for(request.headers, answer))
        try:
            head = await carrier.exchange(asked, clock, on_informational)
        except HTTPCoreError as exc:
            hide_secrets(exc, asked.headers)
            raise
        is_challenge = head.status_code == 407
        if not (is_challenge or (makes_tunnel and not 200 <= head.status_code < 300)):
            return carrier, head
        error: ProxyError | None = None
        try:
            error = await _refusal(request, head, carrier, proxy, clock)
            hide_secrets(error, asked.headers)
            error.request_sent = not makes_tunnel
            can_try = tries_left and carrier.is_reusable and (request.body is None or request.body.is_replayable)
            found = await _answer(error, proxy, backend, clock) if is_challenge and can_try else None
            if found is None:
                raise error
            answer = found
        except BaseException:
            if not carrier.has_ended:
                carrier.close()
            raise
        finally:
            del error  # or its traceback would make a cycle
        carrier = connection.new_carrier()
    raise AssertionError("the last try returns or raises")


async def _answer(error: ProxyError, proxy: Proxy, backend: Backend, clock: Clock) -> Sequence[Pair] | None:
    """What the caller's hook says to a challenge."""
    if proxy.on_challenge is None:
        return None
    clock.phase = f"waiting for an answer to the challenge of the proxy {proxy}"
    answer = proxy.on_challenge(error)
    if inspect.isawaitable(answer):
        try:
            answer = await backend.until(answer, clock.total)
        except TimeoutError as exc:
            raise ReadTimeout(f"on_challenge gave no answer for the proxy {proxy} in time") from exc
    return None if answer is None else encode_headers(answer)


async def _refusal(request: Request, head: ResponseHead, carrier: Carrier, proxy: Proxy, clock: Clock) -> ProxyError:
    """The error for a refusal, with as much of its body as there is, within bounds."""
    parts: list[bytes] = []
    size = 0
    try:
        while size < _MAX_BODY and (part := await carrier.receive_body(clock)):
            parts.append(part)
            size += len(part)
    except HTTPCoreError:
        pass  # the refusal is what matters, and it is here
    method, target = request.method.decode("ascii"), request.target.decode("ascii").partition("?")[0]
    reason = head.reason.decode("latin-1")
    error = ProxyError(f"the proxy {proxy} refused {method} {target}: {head.status_code} {reason}".rstrip())
    error.status_code, error.reason, error.headers = head.status_code, reason, head.headers
    error.body = b"".join(parts)[:_MAX_BODY]
    return error


class _TunnelStream:
    """A tunnel that is more than the stream to its proxy: with bytes that were read too early, or of HTTP/2, whose
    connection ends with it. See `Stream` for the contract."""

    __slots__ = ("_connection", "_io", "_tunnel", "_unread")

    def __init__(self, tunnel: Stream, unread: bytes, connection: Connection | None, io: Stream) -> None:
        self._tunnel = tunnel
        self._unread = unread
        self._connection = connection
        self._io = io

    @property
    def info(self) -> StreamInfo:
        return self._io.info

    @property
    def is_truncated(self) -> bool:
        return self._tunnel.is_truncated or self._io.is_truncated

    def _take(self, max_bytes: int) -> bytes:
        data, self._unread = self._unread[:max_bytes], self._unread[max_bytes:]
        return data

    async def receive(self, max_bytes: int, deadline: float) -> bytes:
        return self._take(max_bytes) if self._unread else await self._tunnel.receive(max_bytes, deadline)

    def read(self, max_bytes: int) -> bytes | None:
        return self._take(max_bytes) if self._unread else self._tunnel.read(max_bytes)

    async def send(self, data: bytes, deadline: float, until_heard: bool = False) -> bool:
        return await self._tunnel.send(data, deadline, until_heard)

    def write(self, data: bytes) -> bool:
        return self._tunnel.write(data)

    async def drain(self, deadline: float, until_heard: bool) -> bool:
        return await self._tunnel.drain(deadline, until_heard)

    def interrupt(self) -> None:
        self._tunnel.interrupt()

    def is_readable(self) -> bool:
        return bool(self._unread) or self._tunnel.is_readable()

    def watch(self, on_readable: Callable[[], None]) -> None:
        def on_change() -> None:
            if self.is_readable():
                on_readable()

        self._io.watch(on_change)

    def close(self, farewell: bytes = b"") -> None:
        self._tunnel.close(farewell)
        if self._connection is not None:
            self._connection.close()

    def abandon(self) -> None:
        (self._tunnel if self._connection is None else self._connection).abandon()
