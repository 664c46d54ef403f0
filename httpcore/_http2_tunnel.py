"""The byte stream that an HTTP/2 stream becomes after CONNECT (RFC 9113, 8.5; RFC 8441)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from ._errors import HTTPCoreError, ReadError, ReadTimeout, WriteError, WriteTimeout
from ._streams import StreamInfo

__all__ = ["Tunnel", "TunnelEnd"]


class TunnelEnd(Protocol):
    """What a tunnel asks of its HTTP/2 stream. All but `wait` are plain functions that never wait."""

    parts: deque[bytes]
    is_ended: bool
    error: HTTPCoreError | None

    @property
    def info(self) -> StreamInfo: ...

    def credit(self, count: int) -> None:
        """So many bytes have been taken from `parts`."""

    def send_raw(self, data: memoryview) -> int | None:
        """How much of `data` could be sent; None for none of it."""

    async def wait(self, deadline: float) -> None:
        """Until something may have come. Raises: ReadTimeout, WriteTimeout."""

    async def wait_to_send(self, deadline: float) -> None:
        """Until there may be room to send; beside somebody in `wait`. Raises: ReadTimeout, WriteTimeout."""

    def interrupt(self) -> None:
        """End a `wait` early."""

    def catch_up(self) -> None:
        """Take in what has come while nobody waits."""

    def close(self) -> None: ...


class Tunnel:
    """See `Stream` for the contract."""

    __slots__ = ("_end", "_is_interrupted", "_unsent", "is_truncated")

    def __init__(self, end: TunnelEnd) -> None:
        self._end = end
        self._is_interrupted = False
        self._unsent = memoryview(b"")
        self.is_truncated = False

    @property
    def info(self) -> StreamInfo:
        return self._end.info

    async def receive(self, max_bytes: int, deadline: float) -> bytes:
        self._is_interrupted = False
        while (data := self._take(max_bytes)) is None:
            await self._end.wait(deadline)
            if self._is_interrupted:
                raise ReadTimeout("something else was to be done")
        return data

    def read(self, max_bytes: int) -> bytes | None:
        self._end.catch_up()
        return self._take(max_bytes)

    def _take(self, max_bytes: int) -> bytes | None:
        end = self._end
        if end.parts:
            data = end.parts.popleft()
            if len(data) > max_bytes:
                end.parts.appendleft(data[max_bytes:])
                data = data[:max_bytes]
            end.credit(len(data))
            return data
        if end.is_ended:
            return b""
        if end.error is not None:
            raise ReadError(f"the tunnel broke: {end.error}") from end.error
        return None

    async def send(self, data: bytes, deadline: float, until_heard: bool = False) -> bool:
        if self.write(data):
            return True
        return await self.drain(deadline, until_heard) and not self.is_readable()

    def write(self, data: bytes) -> bool:
        if self._end.error is not None:
            raise WriteError(f"the tunnel broke: {self._end.error}") from self._end.error
        if data:  # which it is not where somebody drains a large write, window by window
            self._unsent = memoryview(bytes(self._unsent) + data) if self._unsent else memoryview(data)
        while self._unsent and (sent := self._end.send_raw(self._unsent)) is not None:
            self._unsent = self._unsent[sent:]
        return not self._unsent

    async def drain(self, deadline: float, until_heard: bool) -> bool:
        while True:
            # This look may find that the window was opened, and nobody would tell us again.
            is_heard = until_heard and self.is_readable()
            if self.write(b""):
                return True
            if is_heard:
                return False
            try:
                await self._end.wait_to_send(deadline)
            except ReadTimeout as exc:
                raise WriteTimeout("the peer opened no window in time") from exc
        return True

    def interrupt(self) -> None:
        self._is_interrupted = True
        self._end.interrupt()

    def is_readable(self) -> bool:
        self._end.catch_up()
        return bool(self._end.parts) or self._end.is_ended or self._end.error is not None

    def watch(self, on_readable: Callable[[], None]) -> None:
        return None  # who keeps a tunnel idle watches what it goes through

    def close(self, farewell: bytes = b"") -> None:
        if farewell and not self._unsent and self._end.error is None:
            self._end.send_raw(memoryview(farewell))
        self._end.close()

    def abandon(self) -> None:
        self._end.close()
