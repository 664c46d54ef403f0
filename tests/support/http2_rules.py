"""What a client of ours never sends, whatever the peer does to it: each frame of it is checked, in every scripted test.

The peer's settings bind the client once it has acknowledged them; what they allow, it may do as soon as they were sent.

Source: RFC 9113, 5 (streams), 6 (frames), 8 (fields).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .http2_frames import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    Setting,
    SettingsFrame,
    WindowUpdateFrame,
)

__all__ = ["BadFrame", "ClientRules", "Settings", "check_request_fields", "check_trailers"]

_MAX_WINDOW = 2**31 - 1
_NAME = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"|[^\x00-\x20\x7f]|[^\x00-\x20\x7f][^\x00\r\n]*[^\x00-\x20\x7f]")
_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})

Fields = Iterable[tuple[bytes, bytes]]
Settings = Mapping[int, int] | Mapping[Setting, int]


class BadFrame(AssertionError):
    """The client broke the rules of HTTP/2. Never expected."""


@dataclass
class _Stream:
    window: int
    is_ended: bool = False
    """By the client, with END_STREAM."""
    is_reset: bool = False
    """By the client."""
    is_answered: bool = False
    """By the peer, with END_STREAM."""
    is_cut_off: bool = False
    """By the peer, with RST_STREAM; what the client had sent by then is on its way, and may come."""

    @property
    def is_closed(self) -> bool:
        return self.is_reset or self.is_cut_off or (self.is_ended and self.is_answered)


class ClientRules:
    """One connection, from the peer's side: told what was sent to the client, asked about what came from it.

    Attributes:
        window: how many bytes of DATA the client may still send on the connection.
    """

    def __init__(self) -> None:
        self.window = 65_535
        self._streams: dict[int, _Stream] = {}
        self._last_id = 0
        self._in_force: dict[int, int] = {Setting.INITIAL_WINDOW_SIZE: 65_535, Setting.MAX_FRAME_SIZE: 16_384}
        self._announced: deque[Settings] = deque()

    @property
    def table_size(self) -> int:
        """The largest table that the client's encoder may use."""
        return self._in_force.get(Setting.HEADER_TABLE_SIZE, 4096)

    @property
    def open_streams(self) -> set[int]:
        return {stream_id for stream_id, stream in self._streams.items() if not stream.is_closed}

    def stream_window(self, stream_id: int) -> int:
        return self._streams[stream_id].window

    # What the peer sent

    def settings_sent(self, settings: Settings) -> None:
        self._announced.append(settings)
        for setting, value in settings.items():
            if setting != Setting.MAX_CONCURRENT_STREAMS and value > self._in_force.get(setting, 0):
                self._put_in_force(setting, value)

    def window_opened(self, stream_id: int, increment: int) -> None:
        if stream_id == 0:
            self.window += increment
        elif stream_id in self._streams:
            self._streams[stream_id].window += increment

    def answered(self, stream_id: int) -> None:
        """The peer has ended its side of a stream."""
        if stream_id in self._streams:
            self._streams[stream_id].is_answered = True

    def reset_sent(self, stream_id: int) -> None:
        if stream_id in self._streams:
            self._streams[stream_id].is_cut_off = True

    # What the client sent

    def received(self, frame: Frame) -> None:
        """Raises: BadFrame."""
        if frame.body_len > self._in_force[Setting.MAX_FRAME_SIZE]:
            raise BadFrame(f"a frame of {frame.body_len} bytes, more than the peer takes: {frame!r}")
        match frame:
            case HeadersFrame():
                self._headers(frame)
            case DataFrame():
                self._data(frame)
            case RstStreamFrame() | WindowUpdateFrame():
                self._control(frame)
            case SettingsFrame():
                self._settings(frame)
            case PushPromiseFrame():
                raise BadFrame(f"a client cannot push: {frame!r}")
            case PingFrame() | GoAwayFrame() | PriorityFrame():
                pass

    def _headers(self, frame: HeadersFrame) -> None:
        stream = self._streams.get(frame.stream_id)
        is_end = "END_STREAM" in frame.flags
        if stream is not None:
            if stream.is_reset or stream.is_ended:
                raise BadFrame(f"HEADERS on a stream that the client had ended: {frame!r}")
            if not is_end:
                raise BadFrame(f"trailers that do not end the stream: {frame!r}")
        else:
            if frame.stream_id % 2 == 0 or frame.stream_id <= self._last_id:
                raise BadFrame(f"stream {frame.stream_id} cannot be opened after {self._last_id}")
            limit = self._in_force.get(Setting.MAX_CONCURRENT_STREAMS)
            if limit is not None and len(self.open_streams) >= limit:
                raise BadFrame(f"stream {frame.stream_id} is one more than the {limit} that the peer allows")
            self._last_id = frame.stream_id
            stream = self._streams[frame.stream_id] = _Stream(self._in_force[Setting.INITIAL_WINDOW_SIZE])
        stream.is_ended = stream.is_ended or is_end

    def _data(self, frame: DataFrame) -> None:
        stream = self._known(frame)
        if stream.is_reset or stream.is_ended:
            raise BadFrame(f"DATA on a stream that the client had ended: stream {frame.stream_id}")
        size = frame.flow_controlled_length
        if size > min(self.window, stream.window):
            raise BadFrame(
                f"{size} bytes on stream {frame.stream_id}, where the windows are {stream.window} for it and "
                f"{self.window} for all"
            )
        self.window -= size
        stream.window -= size
        stream.is_ended = stream.is_ended or "END_STREAM" in frame.flags

    def _control(self, frame: RstStreamFrame | WindowUpdateFrame) -> None:
        if frame.stream_id == 0:
            return
        stream = self._known(frame)
        if isinstance(frame, RstStreamFrame):
            stream.is_reset = True
        elif stream.is_reset:
            raise BadFrame(f"WINDOW_UPDATE after the client has reset stream {frame.stream_id}")

    def _settings(self, frame: SettingsFrame) -> None:
        if "ACK" not in frame.flags:
            if frame.settings.get(Setting.INITIAL_WINDOW_SIZE, 0) > _MAX_WINDOW:
                raise BadFrame(f"a window that cannot be: {frame!r}")
            return
        if not self._announced:
            raise BadFrame("an acknowledgement of settings that were not sent")
        for setting, value in self._announced.popleft().items():
            self._put_in_force(setting, value)

    def _put_in_force(self, setting: int, value: int) -> None:
        if setting == Setting.INITIAL_WINDOW_SIZE:
            for stream in self._streams.values():
                stream.window += value - self._in_force[setting]
        self._in_force[setting] = value

    def _known(self, frame: Frame) -> _Stream:
        stream = self._streams.get(frame.stream_id)
        if stream is None:
            raise BadFrame(f"a frame on a stream that was never opened: {frame!r}")
        return stream


def check_request_fields(fields: list[tuple[bytes, bytes]]) -> None:
    """Raises: BadFrame."""
    names = [name for name, _ in fields]
    pseudo = [name for name in names if name.startswith(b":")]
    if pseudo != names[: len(pseudo)] or len(set(pseudo)) != len(pseudo):
        raise BadFrame(f"pseudo-header fields come once, and first: {names}")
    named = dict(fields)
    needed = {b":method", b":authority"}
    if named.get(b":method") != b"CONNECT" or b":protocol" in named:
        needed |= {b":scheme", b":path"}
    if not needed <= named.keys() or not set(pseudo) <= needed | {b":protocol"}:
        raise BadFrame(f"not the pseudo-header fields of a request: {pseudo}")
    if not all(named[name] for name in pseudo):
        raise BadFrame(f"an empty pseudo-header field: {fields}")
    _check_fields(fields)


def check_trailers(fields: list[tuple[bytes, bytes]]) -> None:
    """Raises: BadFrame."""
    if any(name.startswith(b":") for name, _ in fields):
        raise BadFrame(f"pseudo-header fields in trailers: {fields}")
    _check_fields(fields)


def _check_fields(fields: Fields) -> None:
    for name, value in fields:
        if not _NAME.fullmatch(name):
            raise BadFrame(f"a bad field name: {name!r}")
        if not _VALUE.fullmatch(value):
            raise BadFrame(f"a bad value of {name!r}: {value!r}")
        if name in _HOP_BY_HOP or (name == b"te" and value != b"trailers") or name == b"host":
            raise BadFrame(f"a field that HTTP/2 has no place for: {name!r}: {value!r}")
