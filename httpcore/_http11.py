"""One HTTP/1.1 connection: exchange after exchange, one at a time, over a `Stream`.

`exchange` sends a request and returns the head of its response; `receive_body` returns the body part by part. Whatever
is raised, cancellation included, leaves the connection closed, so that whoever owns it need only forget it.

While a body goes up, the peer is listened to: an early answer ends the upload where it refuses it (or is complete),
and otherwise whoever reads the response carries the upload on, part by part, whenever there is nothing to read. The
parts of an async body are awaited and sent by a task of its own, so that the peer is heard meanwhile.

Source: RFC 9112, 9; RFC 9110, 10.1.1 (Expect).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Self

from ._clock import Clock
from ._engines.framing import EndOfBody, ResponseHead
from ._engines.http11 import HTTP11Engine
from ._errors import (
    HTTPCoreError,
    LocalProtocolError,
    NetworkError,
    ReadTimeout,
    RemoteProtocolError,
    WriteError,
)
from ._headers import NO_HEADERS
from ._request import InformationalCallback, Request
from ._streams import Backend, Stream, Task
from ._upload import CONTINUE_SECONDS, LAST_WORDS_SECONDS, PARTS_IN_A_ROW, SMALL_BODY, Upload

__all__ = ["HTTP11Connection"]

# asyncio reads as much at once.
_RECEIVE = 256 * 1024
# What is left of a body that nobody wants is read rather than thrown away with its connection, up to so much.
_DRAIN_BYTES = 64 * 1024
_DRAIN_SECONDS = 0.02


class HTTP11Connection:
    """See the module. Used by one request at a time.

    Args:
        stream: connected, and secured where it has to be.
        engine: a new one.
        backend: the world that the stream belongs to.

    Attributes:
        has_sent: whether any byte of the current request may have left.
        info: facts about the connection, as of its current request.
        trailers: of the response whose body has ended.
    """

    __slots__ = (
        "_backend", "_ended", "_engine", "_is_used", "_may_continue", "_on_informational", "_parts", "_send_error",
        "_sender", "_stream", "_upload", "has_sent", "info", "is_closed", "trailers",
    )  # fmt: skip

    capacity: int | None = None
    extensions: Mapping[str, object] = {}
    is_retiring = False
    never_stale = False
    was_refused = needs_http1 = False

    def __init__(self, stream: Stream, engine: HTTP11Engine, backend: Backend) -> None:
        self._stream = stream
        self._backend = backend
        self._engine = engine
        self._parts: deque[bytes] = deque()
        self._ended = True
        self._upload: Upload | None = None
        self._sender: Task | None = None
        self._send_error: BaseException | None = None
        self._on_informational: InformationalCallback | None = None
        self._may_continue = False
        self._is_used = False
        self.info = stream.info
        self.has_sent = False
        self.is_closed = False
        self.trailers = NO_HEADERS

    @property
    def stream(self) -> Stream:
        return self._stream

    @property
    def has_response_begun(self) -> bool:
        return self._engine.has_begun

    @property
    def is_switched(self) -> bool:
        """Whether the stream now belongs to another protocol, or to a tunnel."""
        return self._engine.is_switched

    @property
    def unread(self) -> bytes:
        """The first bytes of the other protocol."""
        return self._engine.unread

    @property
    def is_reusable(self) -> bool:
        return self._ended and not self.is_closed and self._upload is None and self._engine.is_reusable

    @property
    def keepalive(self) -> float | None:
        """Seconds for which the peer said it keeps the connection, less some so that we are first to let go."""
        seconds = self._engine.keepalive_seconds
        # undici stays a second below it; of a short time we leave a quarter.
        return None if seconds is None else seconds - min(1.0, seconds / 4)

    def new_carrier(self) -> Self:
        """One exchange after another: the connection itself carries each of them."""
        if not self._is_used:
            self._is_used = True
        elif not self.info.reused:
            self.info = replace(self.info, reused=True)
        return self

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call back when the peer ends the connection, or speaks, while nobody waits for it."""
        self._stream.watch(on_change)

    def is_stale(self) -> bool:
        """Whether an idle connection has ended, or holds bytes that no request has asked for. One system call."""
        return self.is_closed or self._stream.is_readable()

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._stream.close()
            if self._sender is not None:
                self._sender.cancel()

    def abandon(self) -> None:
        self.is_closed = True
        self._stream.abandon()

    # One exchange.

    async def exchange(
        self, request: Request, clock: Clock, on_informational: InformationalCallback | None = None
    ) -> ResponseHead:
        """Send a request and receive the final head of its response.

        Raises: NetworkError, TimeoutException, ProtocolError, and whatever the caller's body or callback raises.
        Cancellation: the connection is closed.
        """
        self.has_sent = False
        self._ended = False
        self._on_informational = on_informational
        try:
            clock.phase = "sending the request"
            data, is_all = self._first_bytes(request)
            if not await self._stream.send(data, clock.deadline(clock.timeout.write)):
                self.has_sent = True
                raise RemoteProtocolError(
                    "the peer spoke before the request was sent, so that it cannot be an answer to it"
                )
            self.has_sent = True
            head = None if is_all else await self._send_body(request, clock)
            if head is None:
                clock.phase = "waiting for the response"
                head = await self._receive_head(clock, clock.deadline(clock.timeout.read))
        except BaseException as exc:
            self.close()
            if isinstance(exc, HTTPCoreError):
                exc.request_sent = self.has_sent = self.has_sent or exc.request_sent
            if self._upload is not None:
                await self._stop_upload()
            raise
        if self._upload is not None and (self._ended or head.status_code >= 300):
            await self._stop_upload()
        if request.wants_close:  # RFC 9112, 9.6
            self._engine.refuse_reuse()
        return head

    def _first_bytes(self, request: Request) -> tuple[bytes, bool]:
        """The head, with the body where that is small; and whether this is all."""
        engine, body = self._engine, request.body
        if request.protocol is not None:
            raise LocalProtocolError("CONNECT with a protocol (RFC 8441) needs HTTP/2, which the peer does not speak")
        head = engine.send_head(request)
        if body is None:
            return head, True
        content = body.content
        if content is None or len(content) > SMALL_BODY or request.waits_for_continue:
            return head, False
        data = engine.send_data(content) if content else b""
        return b"".join((head, data, engine.send_end(request.encoded_trailers()))), True

    async def _send_body(self, request: Request, clock: Clock) -> ResponseHead | None:
        self._upload = upload = Upload(request, self._engine)
        if request.waits_for_continue:
            clock.phase = "waiting for 100 Continue"
            self._may_continue = False
            head = await self._wait_for_continue(clock)
            if head is not None:
                return head
        clock.phase = "sending the body"
        while self._upload is not None:
            try:
                head = await self._advance(upload, clock)
            except WriteError as exc:
                exc.request_sent = True
                if (head := await self._hear_last_words(clock)) is None:
                    raise
            if head is not None:
                return head
        return None

    async def _advance(self, upload: Upload, clock: Clock) -> ResponseHead | None:
        """Send the next part of the body, or what is left of one, or hear what the peer says instead."""
        if upload.is_async and self._backend.can_spawn:
            return await self._advance_beside(upload, clock)
        if upload.read_count % PARTS_IN_A_ROW == PARTS_IN_A_ROW - 1:
            await self._backend.checkpoint()
        data = b"" if upload.is_read else await upload.read_in_time(clock, self._backend)
        if not await self._stream.send(data, clock.deadline(clock.timeout.write), True):
            return await self._hear(clock)
        if upload.is_read:
            self._upload = None
        return None

    async def _advance_beside(self, upload: Upload, clock: Clock) -> ResponseHead | None:
        """Listen to the peer, while a task of its own awaits the parts of the body and sends them."""
        if self._sender is None:
            self._sender = self._backend.spawn(self._send_beside(upload, clock))
        if self._send_error is None:
            try:
                return await self._hear(clock, clock.total)
            except HTTPCoreError as exc:
                is_interrupted = self._upload is None and isinstance(exc, ReadTimeout)
                if self._send_error is None and not is_interrupted:
                    raise
        error, self._send_error, self._sender = self._send_error, None, None
        try:
            if error is not None:
                raise error
            return None
        finally:
            del error  # or its traceback would make a cycle

    async def _send_beside(self, upload: Upload, clock: Clock) -> None:
        """One task reads the whole body, as a generator may hold what belongs to the task that runs it."""
        stream = self._stream
        try:
            try:
                while True:
                    if not stream.write(await upload.read()):
                        await stream.drain(clock.deadline(clock.timeout.write), False)
                    if upload.is_read:
                        break
                    if upload.read_count % PARTS_IN_A_ROW == PARTS_IN_A_ROW - 1 or stream.is_readable():
                        await self._backend.checkpoint()
            finally:
                await upload.aclose()
            self._upload = self._sender = None
        except BaseException as exc:  # cancellation as well, which nobody but `_stop_upload` and `close` asks for
            self._send_error = exc
        stream.interrupt()

    async def _advance_or_stop(self, upload: Upload, clock: Clock) -> None:
        """`_advance` while the response is read: where the peer takes no more, what it has said can still be read."""
        try:
            await self._advance(upload, clock)
        except WriteError:
            await self._stop_upload()

    async def _wait_for_continue(self, clock: Clock) -> ResponseHead | None:
        deadline = clock.deadline(CONTINUE_SECONDS)
        try:
            while not self._may_continue:
                if (head := await self._hear(clock, deadline)) is not None:
                    return head
        except ReadTimeout:
            if clock.is_over:
                raise
        return None

    async def _hear_last_words(self, clock: Clock) -> ResponseHead | None:
        """The answer that a peer gave before it stopped reading, if any."""
        clock.phase = "reading an early response"
        try:
            return await self._receive_head(clock, clock.deadline(LAST_WORDS_SECONDS))
        except (NetworkError, ReadTimeout, RemoteProtocolError):
            clock.phase = "sending the body"
            return None

    async def _hear(self, clock: Clock, deadline: float | None = None) -> ResponseHead | None:
        """Take in what the peer says during the upload: the final head once it is there."""
        if deadline is None:
            deadline = clock.deadline(clock.timeout.read)
        return self._take(await self._stream.receive(_RECEIVE, deadline))

    async def _receive_head(self, clock: Clock, deadline: float) -> ResponseHead:
        while True:
            interim = self._engine.interim_count
            head = self._take(await self._stream.receive(_RECEIVE, deadline))
            if head is not None:
                return head
            if self._engine.interim_count > interim:  # the peer is alive and says so
                deadline = clock.deadline(clock.timeout.read)

    def _take(self, data: bytes) -> ResponseHead | None:
        """File the events in `data`; the final head, where it is among them."""
        final = None
        for event in self._engine.receive(data) if data else self._receive_end():
            if isinstance(event, bytes):
                self._parts.append(event)
            elif isinstance(event, EndOfBody):
                self._ended = True
                self.trailers = event.trailers
            elif event.status_code >= 200 or event.status_code == 101:
                final = event
            else:
                self._may_continue |= event.status_code == 100
                if self._on_informational is not None:
                    self._on_informational(event.status_code, event.headers)
        return final

    def _receive_end(self) -> Sequence[EndOfBody | ResponseHead | bytes]:
        events = self._engine.receive_end()
        if self._stream.is_truncated:
            raise RemoteProtocolError("the peer ended TLS without close_notify, so that the body may have been cut off")
        return events

    async def receive_body(self, clock: Clock) -> bytes:
        """The next part of the body as it was sent, chunks undone; b"" at its end.

        Raises: NetworkError, TimeoutException, RemoteProtocolError, and what the caller's body raises.
        Cancellation: the connection is closed.
        """
        parts = self._parts
        if parts:
            return parts.popleft()
        try:
            while not self._ended:
                if self._upload is not None:
                    await self._advance_or_stop(self._upload, clock)
                else:
                    self._take(await self._stream.receive(_RECEIVE, clock.deadline(clock.timeout.read)))
                if parts:
                    return parts.popleft()
            if self._upload is not None:
                await self._stop_upload()
        except BaseException as exc:
            self.close()
            if isinstance(exc, HTTPCoreError):
                exc.request_sent = True
            if self._upload is not None:
                await self._stop_upload()
            raise
        return b""

    def take_parts(self) -> deque[bytes]:
        """The parts of the body that are already here."""
        parts, self._parts = self._parts, deque()
        return parts

    @property
    def has_ended(self) -> bool:
        """Whether all of the response is here, though perhaps not taken, and no upload goes on."""
        return self._ended and self._upload is None

    async def _stop_upload(self) -> None:
        """The peer wants no more of the body, and would read the rest of it as the next request."""
        upload, self._upload = self._upload, None
        sender, self._sender = self._sender, None
        self._engine.refuse_reuse()
        if sender is not None:
            await self._backend.stop(sender)
            self._send_error = None
        elif upload is not None:
            await upload.aclose()

    async def drain(self, clock: Clock) -> None:
        """Read the rest of a body that nobody wants, if it is small and already on its way.

        Cancellation: the connection is closed.
        """
        deadline = clock.now() + _DRAIN_SECONDS
        size = 0
        try:
            if self._upload is not None:
                self.close()
                await self._stop_upload()
                return
            while not self._ended and size <= _DRAIN_BYTES:
                self._take(await self._stream.receive(_RECEIVE, deadline))
                size += sum(map(len, self._parts))
                self._parts.clear()
            if size > _DRAIN_BYTES:
                self._engine.refuse_reuse()
        except HTTPCoreError:
            self.close()
        except BaseException:
            self.close()
            raise
