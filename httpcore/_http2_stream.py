"""One exchange on an HTTP/2 connection: a stream of it, by RFC 9113, 8.

The connection fills in what the peer says, in plain functions; everything that waits is here, and waits in
`HTTP2Connection.pump`. Whatever is raised, cancellation included, has reset the stream, and hurts no other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol

from ._clock import Clock
from ._engines.framing import ResponseHead
from ._engines.http2 import ErrorCode, ResponseReader
from ._errors import (
    HTTPCoreError,
    LocalProtocolError,
    PoolTimeout,
    ReadTimeout,
    TimeoutException,
    WriteError,
    WriteTimeout,
)
from ._headers import Headers, Pair
from ._http2_tunnel import Tunnel
from ._request import InformationalCallback, Request
from ._streams import Backend, Event, Stream, StreamInfo, Task
from ._upload import CONTINUE_SECONDS, LAST_WORDS_SECONDS, PARTS_IN_A_ROW, SMALL_BODY, Upload

__all__ = ["HTTP2Stream"]

# RFC 9113, 8.2.2; and host, which is :authority.
_NOT_SENT = frozenset(
    {b"host", b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings"}
)


class Multiplexer(Protocol):
    """What a stream asks of its connection. All but `pump` are plain functions that never wait.

    Attributes:
        info: facts about it, for the first stream.
        info_again: the same for all others.
    """

    backend: Backend
    max_header_count: int
    info: StreamInfo
    info_again: StreamInfo

    @property
    def is_retiring(self) -> bool: ...

    @property
    def has_settings(self) -> bool:
        """Whether the peer has sent its settings, or will not any more."""

    @property
    def has_extended_connect(self) -> bool:
        """Whether the peer takes CONNECT with a `:protocol` (RFC 8441)."""

    @property
    def write_error(self) -> WriteError | None:
        """Why nothing can be sent any more; what the peer has said before can still be read."""

    def open(self, stream: HTTP2Stream, fields: list[Pair], is_end: bool) -> bool:
        """Send a request head; False where the peer takes no further stream at the moment.

        Raises: the error that the connection has ended with.
        """

    def send(self, stream: HTTP2Stream, data: memoryview, is_end: bool) -> int | None:
        """Queue as much of `data` as the windows allow, with the end of the body behind the last byte.

        Returns: how much; None where nothing can be sent now, not even the end.
        """

    def send_trailers(self, stream: HTTP2Stream, fields: list[Pair]) -> None:
        """End the body by trailers."""

    def credit(self, stream: HTTP2Stream, count: int) -> None:
        """The caller has taken so many bytes of the body."""

    def reset(self, stream: HTTP2Stream, code: ErrorCode) -> None:
        """End the stream, where it has not ended yet."""

    def note_silence(self, seconds: float) -> None:
        """An answer has not come in that time. If nothing else has, nor is waited for, the peer may be gone without a
        word, and whoever comes next is not to find out in the same way: the connection takes no more requests."""

    def flush(self) -> None:
        """Hand over what is queued, as far as it is taken at once. What goes wrong is heard by whoever reads."""

    def flush_soon(self) -> None:
        """`flush`, together with what others queue in this turn of the event loop: one write and one TLS record."""

    def wake(self, participant: Participant) -> None:
        """Let somebody look again."""

    def catch_up(self) -> None:
        """Take in what has come while nobody reads."""

    async def pump(self, participant: Participant, deadline: float) -> None:
        """Let something happen that `participant` may wait for. It looks whether it has, and calls again if not.

        Raises: ReadTimeout, WriteTimeout.
        Cancellation: nothing is lost, and somebody else goes on.
        """


class Participant:
    """Somebody who waits in `Multiplexer.pump`: a request, or the task that sends its body beside it.

    Attributes:
        event, is_woken: how the connection tells it to look again.
    """

    __slots__ = ("event", "is_woken")

    def __init__(self) -> None:
        self.event: Event | None = None
        self.is_woken = False


class HTTP2Stream(Participant):
    """See the module, and `Carrier` for the contract.

    Attributes:
        stream_id: once it is open.
        error: what the stream has ended with.
        parts: of the body, not taken yet.
        is_ended: whether the response is here to its end.
        has_response_begun: whether the peer has said anything of it, if only that it will not answer.
        has_sent_all: whether the request has gone out to its end.
        is_sending: whether room to send is waited for, rather than an answer.
        sender: who waits for it.
    """

    __slots__ = (
        "_connection", "_head", "_interim", "_may_continue", "_rest", "_send_error", "_sender", "_task",
        "_trailers_to_send", "_upload", "error", "has_response_begun", "has_sent", "has_sent_all", "is_ended",
        "is_sending", "needs_http1", "parts", "reader", "stream_id", "trailers", "was_refused",
    )  # fmt: skip

    reader: ResponseReader

    def __init__(self, connection: Multiplexer) -> None:
        super().__init__()
        self._connection = connection
        self._head: ResponseHead | None = None
        self._interim: deque[ResponseHead] = deque()
        self.has_response_begun = False
        self._may_continue = False
        self._rest: memoryview | None = None
        self._trailers_to_send: Sequence[Pair] = ()
        self._upload: Upload | None = None
        self._task: Task | None = None
        self._sender: Participant | None = None
        self._send_error: BaseException | None = None
        self.stream_id: int | None = None
        self.error: HTTPCoreError | None = None
        self.parts: deque[bytes] = deque()
        self.is_ended = False
        self.has_sent = False
        self.has_sent_all = False
        self.is_sending = False
        self.was_refused = self.needs_http1 = False
        self.trailers = Headers()

    @property
    def sender(self) -> Participant:
        return self._sender or self

    @property
    def is_reusable(self) -> bool:
        return not self._connection.is_retiring

    @property
    def extensions(self) -> Mapping[str, object]:
        return {"stream_id": self.stream_id}

    @property
    def is_switched(self) -> bool:
        return self.reader.is_tunnel

    @property
    def stream(self) -> Stream:
        return Tunnel(self)

    @property
    def info(self) -> StreamInfo:
        # The first stream that a client opens is 1 (RFC 9113, 5.1.1).
        return self._connection.info if self.stream_id == 1 else self._connection.info_again

    def credit(self, count: int) -> None:
        self._connection.credit(self, count)

    def send_raw(self, data: memoryview) -> int | None:
        sent = self._connection.send(self, data, False)
        self._connection.flush()
        return sent

    async def wait(self, deadline: float) -> None:
        await self._connection.pump(self, deadline)

    async def wait_to_send(self, deadline: float) -> None:
        if self._sender is None:
            self._sender = Participant()
        self.is_sending = True
        try:
            await self._connection.pump(self._sender, deadline)
        finally:
            self.is_sending = False

    def interrupt(self) -> None:
        self._connection.wake(self)

    def catch_up(self) -> None:
        self._connection.catch_up()

    @property
    def unread(self) -> bytes:
        return b""

    @property
    def has_ended(self) -> bool:
        return self.is_ended and self._upload is None

    def take_parts(self) -> deque[bytes]:
        parts, self.parts = self.parts, deque()
        return parts

    def take_head(self, head: ResponseHead) -> None:
        """A head has come. By the connection."""
        self.has_response_begun = True
        if head.status_code >= 200:
            self._head = head
        else:
            self._may_continue |= head.status_code == 100
            self._interim.append(head)

    # One exchange.

    async def exchange(
        self, request: Request, clock: Clock, on_informational: InformationalCallback | None = None
    ) -> ResponseHead:
        try:
            clock.phase = "sending the request"
            await self._begin(request, clock)
            if self._upload is not None:
                await self._send_body(self._upload, request, clock, on_informational)
            clock.phase = "waiting for the response"
            head = await self._receive_head(clock, on_informational)
        except BaseException as exc:
            self._note_failure(exc, clock)
            if isinstance(exc, HTTPCoreError):
                exc.request_sent = self.has_sent and not self.was_refused
            if self._upload is not None:
                await self._stop_upload()
            raise
        if self._upload is not None and (self.is_ended or head.status_code >= 300):
            await self._stop_upload()
        self._close_if_ended()
        return head

    async def _begin(self, request: Request, clock: Clock) -> None:
        """Send the head, and with it a body that is small and here."""
        connection, body = self._connection, request.body
        self.reader = ResponseReader(request.method, connection.max_header_count)
        if request.protocol is not None:
            await self._await_extended_connect(clock)
        fields = _fields(request)
        is_tunnel = request.method == b"CONNECT"
        deadline = clock.deadline(clock.timeout.pool)
        while not connection.open(self, fields, body is None and not is_tunnel):
            try:
                await connection.pump(self, deadline)
            except ReadTimeout as exc:
                raise PoolTimeout("the peer allowed no further request on the connection in time") from exc
        self.has_sent = True
        if body is not None:
            self._upload = Upload(request, self)
            content = body.content
            if content is not None and len(content) <= SMALL_BODY and not request.waits_for_continue:
                self._rest = memoryview(await self._upload.read())
                self._send_some()
        connection.flush_soon()

    async def _await_extended_connect(self, clock: Clock) -> None:
        """The peer has to have offered it, in its settings (RFC 8441, 3)."""
        deadline = clock.deadline(clock.timeout.read)
        while not self._connection.has_settings:
            await self._connection.pump(self, deadline)
        if not self._connection.has_extended_connect:
            raise LocalProtocolError("the peer does not offer CONNECT with a protocol (RFC 8441)")

    # A request body. `Upload` asks how its parts look on the wire: as they are.

    def send_data(self, data: bytes) -> bytes:
        return data

    def send_end(self, trailers: Sequence[Pair]) -> bytes:
        self._trailers_to_send = trailers
        return b""

    async def _send_body(
        self, upload: Upload, request: Request, clock: Clock, on_informational: InformationalCallback | None
    ) -> None:
        """Send the body, or as much of it as the peer wants before it answers."""
        if request.waits_for_continue:
            clock.phase = "waiting for 100 Continue"
            await self._wait_for_continue(clock, on_informational)
            if self._head is not None or self.error is not None:
                return
        clock.phase = "sending the body"
        if upload.is_async and self._connection.backend.can_spawn:
            self._sender = Participant()
            self._task = self._connection.backend.spawn(self._send_beside(upload, clock))
            return
        while self._upload is not None and self._head is None and self.error is None:
            try:
                await self._advance(upload, clock)
            except WriteError:
                if not await self._hear_last_words(clock):
                    raise
            self._tell_interim(on_informational)

    async def _wait_for_continue(self, clock: Clock, on_informational: InformationalCallback | None) -> None:
        deadline = clock.deadline(CONTINUE_SECONDS)
        try:
            while not self._may_continue and self._head is None and self.error is None:
                await self._connection.pump(self, deadline)
                self._tell_interim(on_informational)
        except ReadTimeout:
            if clock.is_over:
                raise

    async def _send_beside(self, upload: Upload, clock: Clock) -> None:
        """Send a body that takes its time in a task of its own, while the peer is listened to."""
        try:
            try:
                while self._upload is not None and self.error is None:
                    await self._advance(upload, clock)
            finally:
                await upload.aclose()
        except BaseException as exc:  # cancellation as well, which nobody but `_stop_upload` and `close` asks for
            self._send_error = exc
        self._task = None
        self._connection.wake(self)

    async def _advance(self, upload: Upload, clock: Clock) -> None:
        """Send the next part of the body, or what is left of one, or wait until there is room for it."""
        if self._rest is None:
            if upload.read_count % PARTS_IN_A_ROW == PARTS_IN_A_ROW - 1:
                await self._connection.backend.checkpoint()
            self._rest = memoryview(await upload.read_in_time(clock, self._connection.backend))
        if (write_error := self._connection.write_error) is not None:
            raise write_error
        if self._send_some():
            self._connection.flush()
            return
        self.is_sending = True
        try:
            await self._connection.pump(self.sender, clock.deadline(clock.timeout.write))
        except ReadTimeout as exc:
            raise WriteTimeout("the peer opened no window to send the body in time") from exc
        finally:
            self.is_sending = False

    def _send_some(self) -> bool:
        """Queue what there is room for; False where there is none."""
        upload, rest = self._upload, self._rest
        assert upload is not None
        assert rest is not None
        ends_here = upload.is_read and not self._trailers_to_send
        sent = self._connection.send(self, rest, ends_here)
        if sent is None:
            return False
        if sent < len(rest):
            self._rest = rest[sent:]
            return True
        self._rest = None
        if upload.is_read:
            if self._trailers_to_send:
                self._connection.send_trailers(self, [(name.lower(), value) for name, value in self._trailers_to_send])
            self._upload = None
        return True

    async def _hear_last_words(self, clock: Clock) -> bool:
        """Whether a peer that takes no more bytes has said something of the request before."""
        clock.phase = "reading an early response"
        deadline = clock.deadline(LAST_WORDS_SECONDS)
        try:
            while self._head is None and self.error is None:
                await self._connection.pump(self, deadline)
        except TimeoutException:
            pass
        clock.phase = "sending the request"
        return self._head is not None or self.error is not None

    async def _stop_upload(self) -> None:
        """The peer wants no more of the body. What it has to say it may say to the end."""
        upload, self._upload, self._rest = self._upload, None, None
        task, self._task = self._task, None
        if task is not None:
            await self._connection.backend.stop(task)
        elif upload is not None:
            await upload.aclose()

    # The response.

    async def _receive_head(self, clock: Clock, on_informational: InformationalCallback | None) -> ResponseHead:
        deadline, is_sending = clock.deadline(clock.timeout.read), self._task is not None
        while self._head is None:
            self._raise_error()
            if (write_error := self._connection.write_error) is not None:
                if await self._hear_last_words(clock):
                    continue
                raise write_error
            await self._connection.pump(self, clock.total if self._task is not None else deadline)
            if self._interim or is_sending:  # the peer is alive and says so, or could not have answered before
                self._tell_interim(on_informational)
                deadline, is_sending = clock.deadline(clock.timeout.read), self._task is not None
        self._tell_interim(on_informational)
        return self._head

    def _raise_error(self) -> None:
        """What the exchange has ended with: by the peer, or in the caller's body."""
        error: BaseException | None = self.error
        if error is None and not isinstance(self._send_error, WriteError):
            error = self._send_error  # otherwise the peer takes no more; it may have answered before
        if error is not None:
            self.error = self._send_error = None
            try:
                raise error
            finally:
                del error  # or its traceback would make a cycle

    def _tell_interim(self, on_informational: InformationalCallback | None) -> None:
        while self._interim:
            interim = self._interim.popleft()
            if on_informational is not None:
                on_informational(interim.status_code, interim.headers)

    async def receive_body(self, clock: Clock) -> bytes:
        try:
            while not self.parts:
                if self.is_ended:
                    if self._upload is not None:
                        await self._stop_upload()
                    self._close_if_ended()
                    return b""
                self._raise_error()
                if self._task is not None:
                    await self._connection.pump(self, clock.total)
                elif self._upload is not None and self._send_error is None:
                    await self._advance_or_stop(self._upload, clock)
                else:
                    await self._connection.pump(self, clock.deadline(clock.timeout.read))
        except BaseException as exc:
            self._note_failure(exc, clock)
            if isinstance(exc, HTTPCoreError):
                exc.request_sent = True
            if self._upload is not None:
                await self._stop_upload()
            raise
        part = self.parts.popleft()
        if not self.is_ended:
            self._connection.credit(self, len(part))
        else:
            self._close_if_ended()
        return part

    async def _advance_or_stop(self, upload: Upload, clock: Clock) -> None:
        """`_advance` while the response is read: where the peer takes no more, what it has said can still be read."""
        try:
            await self._advance(upload, clock)
        except WriteError:
            await self._stop_upload()

    def _note_failure(self, exc: BaseException, clock: Clock) -> None:
        if isinstance(exc, ReadTimeout) and clock.timeout.read is not None:
            self._connection.note_silence(clock.timeout.read)
        self.close()

    def _close_if_ended(self) -> None:
        """The response is here, and what is left of the request is of no use to the peer (RFC 9113, 8.1). A tunnel has
        two directions, of which one may end before the other."""
        if self.is_ended and not self.has_sent_all and self._upload is None and not self.reader.is_tunnel:
            self._connection.reset(self, ErrorCode.NO_ERROR)

    async def drain(self, clock: Clock) -> None:
        self.close()
        if self._upload is not None:
            await self._stop_upload()

    def close(self) -> None:
        """Reset the stream, where it has not ended; what comes for it is given back to the connection's window."""
        if self._task is not None:
            self._task.cancel()
        self._connection.reset(self, ErrorCode.CANCEL)


def _fields(request: Request) -> list[Pair]:
    """The request head as RFC 9113, 8.3.1 has it."""
    authority, fields = b"", []
    for name, value in request.headers:
        key = name.lower()
        if key == b"host":
            authority = value
        elif key not in _NOT_SENT and (key != b"te" or value.lower() == b"trailers"):
            fields.append((key, value))
    method = (b":method", request.method)
    if request.method == b"CONNECT" and request.protocol is None:
        return [method, (b":authority", request.target), *fields]
    scheme = (b":scheme", request.url.origin.scheme.encode("ascii"))
    head = [method, (b":authority", authority), scheme, (b":path", request.path)]
    if request.protocol is not None:
        head.append((b":protocol", request.protocol))
    return head + fields
