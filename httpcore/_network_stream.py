"""The stream that remains when HTTP is done with it: after 101 Switching Protocols, and after CONNECT."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable

from ._clock import Clock
from ._config import Timeout
from ._errors import HTTPCoreError, ReadError, StreamClosed
from ._streams import Stream, StreamInfo

__all__ = ["NetworkStream"]

_READ_BYTES = 64 * 1024


class NetworkStream:
    """A byte stream to the peer, from the first byte after the response head on. Until it is closed it counts as a
    connection of the pool, which never gets it back; in HTTP/2 as one request on a connection.

    Attributes:
        info: addresses and TLS facts.
    """

    __slots__ = ("_now", "_on_close", "_peer", "_reading", "_stream", "_unread", "info")

    def __init__(
        self,
        stream: Stream,
        info: StreamInfo,
        unread: bytes,
        now: Callable[[], float],
        peer: str,
        on_close: Callable[[bool], None],
    ) -> None:
        self._stream = stream
        self._unread = unread
        self._reading = threading.Lock()  # two threads may come at once
        self._now = now
        self._peer = peer
        self._on_close: Callable[[bool], None] | None = on_close
        self.info = info

    async def read(self, max_bytes: int = _READ_BYTES, timeout: float | None = None) -> bytes:
        """The next bytes, at least one and at most `max_bytes`; b"" when the peer has ended its side.

        Args:
            timeout: in seconds; None waits for ever.

        Raises: ReadTimeout (the stream can be used on), ReadError, also where another task or thread is reading,
            StreamClosed.
        Cancellation: no byte is lost.
        """
        self._check_open()
        clock = Clock(self._now, _ONLY_TOTAL)
        clock.phase = "reading from the stream"
        try:
            return await self._receive(max_bytes, clock.deadline(timeout))
        except HTTPCoreError as exc:
            exc.request_sent = True
            clock.explain(exc, self._peer)
            raise

    async def _receive(self, max_bytes: int, deadline: float) -> bytes:
        # Of two who wait for a stream, its world may forget one, or tell only of itself.
        if not self._reading.acquire(False):
            raise ReadError("somebody else is receiving from this stream")
        try:
            data = self._unread or await self._stream.receive(max_bytes, deadline)
            data, self._unread = data[:max_bytes], data[max_bytes:]
            return data
        finally:
            self._reading.release()

    async def write(self, data: bytes, timeout: float | None = None) -> None:
        """Send all of `data`.

        Raises: WriteTimeout, WriteError, StreamClosed. It is then unknown how much was sent.
        Cancellation: the same; close the stream.
        """
        self._check_open()
        clock = Clock(self._now, _ONLY_TOTAL)
        clock.phase = "writing to the stream"
        try:
            await self._stream.send(data, clock.deadline(timeout))
        except HTTPCoreError as exc:
            exc.request_sent = True
            clock.explain(exc, self._peer)
            raise

    async def aclose(self) -> None:
        """Close at once. Idempotent."""
        self.close()

    def close(self) -> None:
        """`aclose` without waiting: closing never waits."""
        if self._on_close is not None:
            self._on_close(False)
            self._on_close = None

    def _check_open(self) -> None:
        if self._on_close is None:
            raise StreamClosed(f"the stream to {self._peer} has been closed")

    def __del__(self) -> None:
        on_close = getattr(self, "_on_close", None)
        if on_close is not None:
            on_close(True)
            warnings.warn(
                f"a stream to {self._peer} was not closed: call its aclose()", ResourceWarning, 2, source=self
            )


_ONLY_TOTAL = Timeout(None)
