"""The sync shim: the same pool, driven over blocking sockets.

The blocking backend's `async def` methods never suspend, so a coroutine over it runs to its end on one `send(None)`.
That is all there is to it: no event loop, no threads, no second copy of the code.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from ._backends import SYNC
from ._bodies import BodyTypes
from ._config import HTTP2, Limits, SSLConfig, Timeout
from ._headers import HeaderTypes
from ._network import Network
from ._network_stream import NetworkStream
from ._pool import ConnectionPool
from ._proxy import ProxyTypes
from ._response import BaseResponse
from ._stats import ConnectionStats, PoolStats
from ._streams import StreamInfo
from ._trace import Trace
from ._urls import URL, Origin

if TYPE_CHECKING:
    import ssl as ssl_module

__all__ = ["SyncConnectionPool", "SyncNetworkStream", "SyncResponse", "run"]

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Drive a coroutine over the blocking backend to its end.

    Raises: what it raises; RuntimeError where it suspends, since nobody would ever wake it.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError(
        "a coroutine that was given to the sync pool waits for an event loop: the sync pool takes plain iterables and "
        "callables only; use httpcore.ConnectionPool in async code"
    )


class SyncResponse(BaseResponse):
    """A response of `SyncConnectionPool`; see `Response`, of which it is the same without await."""

    __slots__ = ()

    def _hand_over(self, stream: NetworkStream) -> None:
        self.extensions["network_stream"] = SyncNetworkStream(stream)

    def read(self) -> bytes:
        """See `Response.read`."""
        return run(self._read())

    def stream(self) -> Iterator[bytes]:
        """See `Response.stream`."""
        return SyncBodyIterator(self._begin(self._receive))

    def raw(self) -> Iterator[bytes]:
        """See `Response.raw`."""
        return SyncBodyIterator(self._begin(self._receive_raw))

    def close(self) -> None:
        """See `Response.aclose`."""
        run(self._aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class SyncBodyIterator:
    """The parts of a body."""

    __slots__ = ("_receive",)

    def __init__(self, receive: Callable[[], Coroutine[Any, Any, bytes]]) -> None:
        self._receive = receive

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        part = run(self._receive())
        if not part:
            raise StopIteration
        return part


class SyncNetworkStream:
    """See `NetworkStream`, of which it is the same without await."""

    __slots__ = ("_stream",)

    def __init__(self, stream: NetworkStream) -> None:
        self._stream = stream

    @property
    def info(self) -> StreamInfo:
        return self._stream.info

    def read(self, max_bytes: int = 64 * 1024, timeout: float | None = None) -> bytes:
        """See `NetworkStream.read`."""
        return run(self._stream.read(max_bytes, timeout))

    def write(self, data: bytes, timeout: float | None = None) -> None:
        """See `NetworkStream.write`."""
        run(self._stream.write(data, timeout))

    def close(self) -> None:
        """See `NetworkStream.aclose`."""
        self._stream.close()


class BlockingPool(ConnectionPool):
    """The async pool over blocking sockets, with responses to match."""

    _response_type = SyncResponse


class SyncConnectionPool:
    """`ConnectionPool` without await, for plain blocking code. Thread-safe; may be used inside a running event loop.

    Args: as for `ConnectionPool`, but for
        backend: "blocking" asks for sockets by name, which makes a difference under Pyodide alone, where None is
            JavaScript's fetch.
    """

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
        backend: str | None = None,
    ) -> None:
        if backend not in (None, "blocking"):
            raise ValueError(f"the backend of a SyncConnectionPool is None or 'blocking', not {backend!r}")
        self._pool = BlockingPool(
            ssl,
            timeout,
            limits,
            http1=http1,
            http2=http2,
            http1_engine=http1_engine,
            http2_engine=http2_engine,
            proxy=proxy,
            retries=retries,
            decompress=decompress,
            network=network,
            trace=trace,
            backend=backend or SYNC,
        )

    def request(
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
    ) -> SyncResponse:
        """See `ConnectionPool.request`. KeyboardInterrupt counts as cancellation."""
        response = run(
            self._pool.request(
                method,
                url,
                headers,
                body,
                stream,
                timeout=timeout,
                ssl=ssl,
                decompress=decompress,
                extensions=extensions,
            )
        )
        return cast("SyncResponse", response)

    def close(self) -> None:
        """See `ConnectionPool.aclose`."""
        run(self._pool.aclose())

    def drain(self, timeout: float | None = None) -> bool:
        """See `ConnectionPool.drain`."""
        return run(self._pool.drain(timeout))

    def close_idle(self) -> None:
        """See `ConnectionPool.close_idle`."""
        run(self._pool.close_idle())

    @property
    def connections(self) -> list[ConnectionStats]:
        """See `ConnectionPool.connections`."""
        return self._pool.connections

    def stats(self) -> PoolStats:
        """See `ConnectionPool.stats`."""
        return self._pool.stats()

    def __repr__(self) -> str:
        return repr(self._pool).replace(type(self._pool).__name__, type(self).__name__, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
