"""One HTTP/2 connection: many exchanges at once over a `Stream`, and no task in the background.

Whoever needs something that only the peer can give calls `pump`. The first one takes the read baton and reads for all;
the others wait until what was read is for them, or until the baton is free. Whoever leaves, in whatever way, passes the
baton on, and whoever receives it looks again first, because its answer may have come meanwhile. One more of them may
drain: wait until the peer takes what is queued. Nobody waits for the network while holding what another one needs.

All state changes in plain functions under one lock, for threads. Within it bytes are handed to the operating system
only as far as it takes them at once.

Source: RFC 9113.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from types import TracebackType
from typing import TypeVar

from ._config import HTTP2, Limits
from ._engines.framing import ResponseHead
from ._engines.http2 import ErrorCode, HTTP2Engine, name_of
from ._errors import (
    HTTPCoreError,
    NetworkError,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    WriteError,
    WriteTimeout,
)
from ._headers import Pair
from ._http2_stream import HTTP2Stream, Participant
from ._streams import Backend, Stream

__all__ = ["HTTP2Connection"]

# asyncio reads as much at once.
_RECEIVE = 256 * 1024
# What is queued of one body before others get their turn, and the operating system its share.
_SEND = 128 * 1024
# Where nobody reads any more while one waits to send, the two might wait for each other: so it looks this often.
_LISTEN_SECONDS = 0.1
# How long a peer is silent at least before a timeout is held against its connection: OkHttp gives it as long. Timeouts
# that are shorter would else make connections in numbers to a peer that is only slow.
_SILENCE_SECONDS = 1.0


class _Change:
    """A change of a connection's state, under its lock. Ctrl-C in the middle of one ends the connection, because nobody
    knows what it has left undone."""

    __slots__ = ("_connection",)

    def __init__(self, connection: HTTP2Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection._lock.acquire()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is not None and not isinstance(exc, HTTPCoreError):
            self._connection._give_up(ReadError("the connection was given up where it was interrupted"))
        self._connection._lock.release()


class _Role(Enum):
    """What a stream does while it waits."""

    READ = 1
    DRAIN = 2
    DRAIN_AND_LISTEN = 3
    WAIT = 4
    LOOK_AGAIN = 5


class HTTP2Connection:
    """See the module; `Connection` for what the pool asks of it, and `Multiplexer` for what its streams do.

    Args:
        stream: connected, and secured where it has to be.
        engine: a new one.
        backend: the world that the stream belongs to.
        settings: how HTTP/2 is spoken.
        limits: of heads.
    """

    keepalive: float | None = None
    never_stale = False

    def __init__(self, stream: Stream, engine: HTTP2Engine, backend: Backend, settings: HTTP2, limits: Limits) -> None:
        self._io = stream
        self.info = stream.info
        self.info_again = replace(stream.info, reused=True)
        self._engine = engine
        self.backend = backend
        self._settings = settings
        self.max_header_count = limits.max_header_count
        self._lock = threading.Lock()
        self._streams: dict[int, HTTP2Stream] = {}
        self._waiting: dict[Participant, None] = {}
        self._unopened: dict[HTTP2Stream, None] = {}  # for which the peer has no room, after it has allowed fewer
        self._reader: object | None = None
        self._drainer: object | None = None
        self._is_blocked = False
        self._is_flush_due = False
        self._write_error: WriteError | None = None
        self._failure: HTTPCoreError | None = None
        self._is_going = False
        self._has_settings = False
        self._said = ""
        self._on_change: Callable[[], None] | None = None
        self._has_changed = False
        self._heard_at = backend.now()
        self._pinged_at: float | None = None
        self.is_closed = False

    # As the pool keeps it.

    @property
    def capacity(self) -> int:
        return min(self._settings.max_concurrent_streams, self._engine.max_streams)

    @property
    def is_retiring(self) -> bool:
        return self.is_closed or self._is_going

    @property
    def has_settings(self) -> bool:
        return self._has_settings or self.is_closed

    @property
    def has_extended_connect(self) -> bool:
        return self._engine.has_extended_connect

    def new_carrier(self) -> HTTP2Stream:
        return HTTP2Stream(self)

    def watch(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._io.watch(self.catch_up)

    def is_stale(self) -> bool:
        if not (self.is_retiring or self._streams):
            self.catch_up()
        return self.is_retiring

    def catch_up(self) -> None:
        """Take in what has come while nobody reads."""
        with self._lock:
            if self._reader is not None or self.is_closed:
                return
            self._reader = self
        try:
            while not self.is_closed and (data := self._read_now()) is not None:
                self._dispatch(data)
        finally:
            self._leave(self)

    def _read_now(self) -> bytes | None:
        try:
            return self._io.read(_RECEIVE)
        except ReadError as exc:
            self._fail(exc)
            return None

    def close(self) -> None:
        with self._lock:
            if not self.is_closed:
                with suppress(Exception):  # a courtesy, from an engine that may have been interrupted
                    self._engine.go_away(ErrorCode.NO_ERROR)
                self._give_up(ReadError("the connection was closed here"))

    def abandon(self) -> None:
        self.is_closed = True
        self._io.abandon()

    # As its streams use it.

    def open(self, stream: HTTP2Stream, fields: list[Pair], is_end: bool) -> bool:
        with _Change(self):
            if self._failure is not None or self._is_going:
                stream.was_refused = True
                raise RemoteProtocolError("the peer ended the connection before the request was sent on it")
            if len(self._streams) >= self._engine.max_streams:
                self._unopened[stream] = None
                return False
            stream_id = self._engine.open_stream(fields, is_end)
            if stream_id is None:
                stream.was_refused = self._is_going = self._has_changed = True
                raise RemoteProtocolError("the connection has no stream ids left")
            stream.stream_id, stream.has_sent_all = stream_id, is_end
            self._streams[stream_id] = stream
            self._unopened.pop(stream, None)
        return True

    def send(self, stream: HTTP2Stream, data: memoryview, is_end: bool) -> int | None:
        with _Change(self):
            stream_id = stream.stream_id
            if self._is_blocked or stream_id not in self._streams:
                return None
            assert stream_id is not None
            is_end = is_end and len(data) <= _SEND
            sent = self._engine.send_data(stream_id, data[:_SEND], is_end)
            if data and not sent:
                return None
            if is_end and sent == len(data):
                self._note_sent(stream)
            return sent

    def send_trailers(self, stream: HTTP2Stream, fields: list[Pair]) -> None:
        with _Change(self):
            if stream.stream_id in self._streams:
                self._engine.send_trailers(stream.stream_id, fields)
                self._note_sent(stream)

    def credit(self, stream: HTTP2Stream, count: int) -> None:
        with _Change(self):
            if stream.stream_id in self._streams and self._engine.credit(stream.stream_id, count):
                self._flush()

    def reset(self, stream: HTTP2Stream, code: ErrorCode) -> None:
        with _Change(self):
            self._unopened.pop(stream, None)
            if stream.stream_id not in self._streams:
                return
            assert stream.stream_id is not None
            self._engine.reset(stream.stream_id, code)
            self._remove(stream)
        self.flush()

    def note_silence(self, seconds: float) -> None:
        with self._lock:
            if len(self._streams) > 1 or self.backend.now() - self._heard_at < max(seconds, _SILENCE_SECONDS):
                return
            self._is_going = self._has_changed = True
        self._tell_pool()

    def flush(self) -> None:
        with _Change(self):
            self._flush()

    def flush_soon(self) -> None:
        if not self._is_flush_due:
            self._is_flush_due = self.backend.call_soon(self.flush)
            if not self._is_flush_due:
                self.flush()

    def _flush(self) -> None:
        self._is_flush_due = False
        if self._is_blocked or self._write_error is not None or self.is_closed:
            return
        data = self._engine.take_output()
        if data:
            try:
                self._is_blocked = not self._io.write(data)
            except WriteError as exc:
                self._write_error = exc
                for stream in self._streams.values():
                    self._wake(stream)
                if self._reader is not None:
                    self._io.interrupt()

    @property
    def write_error(self) -> WriteError | None:
        return None if self._write_error is None else _copy(self._write_error)

    # Waiting.

    async def pump(self, participant: Participant, deadline: float) -> None:
        if not self._is_flush_due:
            self.flush()
        role = self._choose_role(participant)
        try:
            if role is _Role.WAIT:
                assert participant.event is not None
                if not await participant.event.wait(deadline):
                    raise ReadTimeout("the peer sent nothing in time")
            elif role is _Role.READ:
                await self._read(participant, deadline)
            elif role is not _Role.LOOK_AGAIN:
                await self._drain(deadline, role is _Role.DRAIN_AND_LISTEN)
        finally:
            self._leave(participant)

    def _choose_role(self, participant: Participant) -> _Role:
        with self._lock:
            if participant.is_woken or self.is_closed:
                return _Role.LOOK_AGAIN
            is_reader = self._reader is None
            if is_reader:
                self._reader = participant
            if self._is_blocked and self._drainer is None:
                self._drainer = participant
                return _Role.DRAIN_AND_LISTEN if is_reader else _Role.DRAIN
            if is_reader:
                return _Role.READ
            participant.event = self.backend.event()
            self._waiting[participant] = None
            return _Role.WAIT

    def _leave(self, participant: object) -> None:
        """Give back whatever batons somebody has; where nobody reads then, the first who waits is to look."""
        with self._lock:
            if isinstance(participant, Participant):
                self._waiting.pop(participant, None)
                participant.event = None
                participant.is_woken = False
            if self._reader is participant:
                self._reader = None
            if self._drainer is participant:
                self._drainer = None
            if self._waiting and (self._reader is None or (self._is_blocked and self._drainer is None)):
                self._wake(next(iter(self._waiting)))

    async def _read(self, participant: Participant, deadline: float) -> None:
        """Read once, for all."""
        until = min(deadline, self._sign_of_life_due())
        try:
            data = await self._io.receive(_RECEIVE, until)
        except ReadTimeout:
            if participant.is_woken:
                return
            if self.backend.now() >= deadline:
                raise
            self._ask_for_sign_of_life()
        except NetworkError as exc:
            self._fail(exc)
        else:
            self._dispatch(data)

    async def _drain(self, deadline: float, listens: bool) -> None:
        """Wait until the peer takes what is queued. Who also has the read baton stops when there is something to read,
        since the peer may take no more before that was read; else somebody reads meanwhile, most likely."""
        until = deadline if listens else min(deadline, self.backend.now() + _LISTEN_SECONDS)
        try:
            is_taken = await self._io.drain(until, listens)
        except WriteTimeout:
            if until == deadline:
                raise
            return
        except WriteError as exc:
            self._write_error = exc
            is_taken = True
        if is_taken:
            with _Change(self):
                self._is_blocked = False
                self._flush()
                self._wake_senders()
        elif (data := self._read_now()) is not None:
            self._dispatch(data)

    def _sign_of_life_due(self) -> float:
        if self._settings.ping_interval is None:
            return math.inf
        if self._pinged_at is not None:
            return self._pinged_at + self._settings.ping_timeout
        return self._heard_at + self._settings.ping_interval

    def _ask_for_sign_of_life(self) -> None:
        now = self.backend.now()
        if self._pinged_at is None:
            with _Change(self):
                self._pinged_at = now
                self._engine.ping()
            self.flush()
        elif now >= self._pinged_at + self._settings.ping_timeout:
            self._fail(ReadError(f"the peer did not answer a PING within {self._settings.ping_timeout:g} s"))

    # What the peer says.

    def _dispatch(self, data: bytes) -> None:
        """Tell the streams what has come for them. With the read baton."""
        failure: HTTPCoreError | None = None
        with _Change(self):
            self._heard_at, self._pinged_at = self.backend.now(), None
            try:
                if data:
                    self._engine.receive(data, self)
                elif self._io.is_truncated or not self._streams:
                    failure = ReadError("the peer ended the connection")
                else:
                    failure = RemoteProtocolError(f"the peer ended the connection before it had answered{self._said}")
            except RemoteProtocolError as exc:
                failure = exc
                for stream in self._streams.values():
                    stream.has_response_begun = True
            if failure is None:
                self._flush()
            else:
                self._give_up(failure)
        self._tell_pool()

    def headers_received(self, stream_id: int, fields: list[Pair], is_end: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        try:
            found = stream.reader.read_headers(fields, is_end)
        except RemoteProtocolError as exc:
            self._refuse(stream, exc)
            return
        if isinstance(found, ResponseHead):
            stream.take_head(found)
        else:
            stream.trailers = found
        self._note_end(stream, is_end)

    def data_received(self, stream_id: int, data: bytes, is_end: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        try:
            stream.reader.read_data(len(data), is_end)
        except RemoteProtocolError as exc:
            self._refuse(stream, exc)
            return
        if data:
            stream.parts.append(data)
        self._note_end(stream, is_end)

    def _note_end(self, stream: HTTP2Stream, is_end: bool) -> None:
        if is_end:
            stream.is_ended = True
            if stream.has_sent_all:
                self._remove(stream)
        self._wake(stream)

    def _note_sent(self, stream: HTTP2Stream) -> None:
        stream.has_sent_all = True
        if stream.is_ended:
            self._remove(stream)

    def stream_reset(self, stream_id: int, code: int, is_remote: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        self._remove(stream)
        # Otherwise it only says that it wants no more of our body.
        if not stream.is_ended or stream.reader.is_tunnel:
            who = "the peer reset the stream" if is_remote else "the stream was reset for a fault of the peer's"
            stream.error = RemoteProtocolError(f"{who}: {_say(code)}")
            stream.has_response_begun = True
            stream.needs_http1 = is_remote and code == ErrorCode.HTTP_1_1_REQUIRED
            stream.was_refused = stream.needs_http1 or (is_remote and code == ErrorCode.REFUSED_STREAM)
        self._wake(stream)

    def window_opened(self, stream_id: int) -> None:
        if stream_id == 0:
            self._wake_senders()
        elif (stream := self._streams.get(stream_id)) is not None and stream.is_sending:
            self._wake(stream.sender)

    def settings_received(self) -> None:
        self._has_settings = self._has_changed = True
        for waiting in self._unopened:
            self._wake(waiting)

    def going_away(self, last_stream_id: int, code: int, reason: bytes) -> None:
        self._is_going = self._has_changed = True
        said = f": {reason[:200].decode('ascii', 'replace')!r}" if reason else ""
        self._said = f", having sent GOAWAY ({_say(code)}{said})"
        for stream in [stream for stream_id, stream in self._streams.items() if stream_id > last_stream_id]:
            self._remove(stream)
            stream.was_refused, stream.needs_http1 = True, code == ErrorCode.HTTP_1_1_REQUIRED
            stream.error = RemoteProtocolError(
                f"the peer is going away ({_say(code)}{said}) and has not processed the request"
            )
            self._wake(stream)

    def pong(self) -> None:
        return None  # every byte from the peer is a sign of life

    def _refuse(self, stream: HTTP2Stream, error: RemoteProtocolError) -> None:
        """A malformed response: its stream ends, and nothing else does (RFC 9113, 8.1.1)."""
        assert stream.stream_id is not None
        self._engine.reset(stream.stream_id, ErrorCode.PROTOCOL_ERROR)
        self._remove(stream)
        stream.error = error
        stream.has_response_begun = True
        self._wake(stream)

    def _remove(self, stream: HTTP2Stream) -> None:
        if stream.stream_id is not None and self._streams.pop(stream.stream_id, None) is not None:
            self._engine.forget(stream.stream_id)
        for waiting in self._unopened:
            self._wake(waiting)
            break

    def wake(self, participant: Participant) -> None:
        with self._lock:
            self._wake(participant)
            if self._reader is participant:
                self._io.interrupt()

    def _wake(self, participant: Participant) -> None:
        participant.is_woken = True
        if participant.event is not None:
            participant.event.set()

    def _wake_senders(self) -> None:
        for stream in self._streams.values():
            if stream.is_sending:
                self._wake(stream.sender)

    # The end.

    def _fail(self, error: HTTPCoreError) -> None:
        with self._lock:
            self._give_up(error)
        self._tell_pool()

    def _give_up(self, error: HTTPCoreError) -> None:
        """Nothing more comes or goes: every stream hears why, in an error of its own."""
        if self.is_closed:
            return
        self.is_closed = self._has_changed = True
        self._failure = error
        for stream in self._streams.values():
            if not (stream.is_ended and stream.has_sent_all):
                stream.error = _copy(error)
            self._wake(stream)
        for waiting in self._waiting:
            self._wake(waiting)
        self._streams.clear()
        self._io.close(b"" if self._is_blocked or self._write_error is not None else self._engine.take_output())

    def _tell_pool(self) -> None:
        if self._has_changed:
            self._has_changed = False
            if self._on_change is not None:
                self._on_change()


def _say(code: int) -> str:
    """An error code of the peer's, and what to do about it where that is the caller's."""
    return name_of(code) + (" (http2=False speaks it)" if code == ErrorCode.HTTP_1_1_REQUIRED else "")


E = TypeVar("E", bound=HTTPCoreError)


def _copy(error: E) -> E:
    """An error of its own for each who hears of it, as each adds to it what it was doing."""
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy
