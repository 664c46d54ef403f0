"""HTTP/2 by the h2 library.

h2 keeps what belongs to the connection as a whole: the preface, the settings of both sides, PING and GOAWAY. Streams
and all windows are kept here, frame by frame, with hpack, and h2 never hears of them: it takes a malformed response for
an error of the connection, where RFC 9113, 8.1.1 says of the stream; it takes no frame after a GOAWAY, although streams
below the last one go on (6.8); it answers each frame that was on its way when we reset its stream (5.1); and for each
frame it makes an object, copies what it carries, and prints it into a log that nobody reads. Frames that ask for work
and bring nothing forward are counted here as well.
"""

from __future__ import annotations

import logging
import struct
from typing import NoReturn

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import hpack

from .._config import HTTP2
from .._errors import RemoteProtocolError
from .._headers import Pair
from .http2 import ErrorCode, HTTP2Events, name_of

__all__ = ["H2Engine"]

# hpack shows header blocks at DEBUG, credentials among them in a code that anybody can read. Whoever wants to see them
# says so for this logger, not for all there are.
_hpack_log = logging.getLogger("hpack")
if _hpack_log.level == logging.NOTSET:
    _hpack_log.setLevel(logging.INFO)

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PUSH_PROMISE, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = (
    0,
    1,
    *range(3, 10),
)
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_HEADER = 9
# Its length in two pieces, its type, its flags, its stream (RFC 9113, 4.1).
_HEAD = struct.Struct(">BHBBI")
_NUMBER = struct.Struct(">I")
# Frames of one size (RFC 9113, 6.4, 6.7 and 6.9), and of one at least (6.8).
_SIZES = {_RST_STREAM: 4, _PING: 8, _WINDOW_UPDATE: 4}
_LEAST_GOAWAY = 8
# Which may only come on a stream that we have opened.
_ON_STREAMS = frozenset({_DATA, _HEADERS, _RST_STREAM, _WINDOW_UPDATE, _CONTINUATION})
# And which only on none.
_ON_NONE = frozenset({_SETTINGS, _PING, _GOAWAY})
_DEFAULT_WINDOW = 65_535
_MAX_WINDOW = 2**31 - 1
# What every peer takes in one frame (RFC 9113, 6.5.2).
_DEFAULT_FRAME = 16_384
# Bytes of the table that our header blocks refer to, where the peer allows more: what nghttp2 keeps to, and hpack looks
# through all of it for each field.
_MAX_TABLE = 4096
# RFC 9113, 6.5.2 and 3.4: what to assume until the peer has sent its settings.
_MAX_STREAMS_UNTIL_SAID = 100
_LAST_STREAM_ID = 2**31 - 1
_MASK = 2**31 - 1  # a reserved bit comes before each stream id and increment
# RFC 7541, 4.2: to the smallest that was agreed upon meanwhile, and to the last.
_MAX_TABLE_UPDATES = 2
# CONTINUATION frames of one header block: h2's own bound for servers, nghttp2 has 8.
_MAX_CONTINUATIONS = 64
# Frames that bring nothing forward. Go's server gives up at 10,000 such answers queued, nghttp2 at 1,000; an honest
# peer that pings every second, and says nothing else, comes to the first after three hours.
_MAX_IDLE_FRAMES = 10_000
# Such as are never sent in good faith count as many: empty DATA, RST_STREAM of what has already ended.
_SUSPECT = 10
# What a frame that brings something forward makes good, one way or the other.
_PROGRESS = 10
# Authorization and cookies stay out of the compression's tables (RFC 7541, 7.1.3).
_SENSITIVE = frozenset({b"authorization", b"proxy-authorization", b"cookie"})
_LIMITS = "Limits.max_header_bytes, HTTP2.max_header_list_size"


class _Open:
    """What is kept of a stream that has not ended.

    Attributes:
        room: bytes that we may send before we hear from the peer; below 0 where its settings took some back.
        left: bytes that the peer may send before it hears from us.
        unused: bytes that were used, and not given back to that window yet.
        is_ended: whether all of its response has come.
    """

    __slots__ = ("is_ended", "left", "room", "unused")

    def __init__(self, room: int, window: int) -> None:
        self.room = room
        self.left = window
        self.unused = 0
        self.is_ended = False


class H2Engine:
    """See `HTTP2Engine` for the contract.

    Args:
        settings: what we tell the peer.
        max_head: bytes of one response head, names, values and 32 a field together.
    """

    def __init__(self, settings: HTTP2, max_head: int) -> None:
        self.max_streams = _MAX_STREAMS_UNTIL_SAID
        self.has_extended_connect = False
        self._max_head = max_head
        self._received = bytearray()
        self._wanted = _HEADER  # bytes without which nothing more can be made of what was received
        self._has_settings = False
        self._idle_frames = 0
        self._open: dict[int, _Open] = {}
        self._next_id = 1
        self._stream_window = settings.stream_window
        self._window = self._left = settings.connection_window
        self._initial_room = self._room = _DEFAULT_WINDOW
        self._max_frame = _DEFAULT_FRAME
        self._output: list[bytes | memoryview] = []
        # A header block in the making: its stream, the flags of its first frame, its parts.
        self._block_id = self._block_flags = 0
        self._block: list[bytes] = []
        self._encoder = hpack.Encoder()
        self._table_sizes: list[int] = []
        self._decoder = hpack.Decoder()
        self._decoder.max_header_list_size = max_head
        self._conn = _make_connection(settings, max_head)
        self._conn.initiate_connection()
        self._take_over()
        if settings.connection_window > _DEFAULT_WINDOW:
            self._open_window(0, settings.connection_window - _DEFAULT_WINDOW)

    # Sending.

    def open_stream(self, fields: list[Pair], is_end: bool) -> int | None:
        stream_id = self._next_id
        if stream_id > _LAST_STREAM_ID:
            return None
        self._send_headers(stream_id, fields, is_end)
        self._next_id = stream_id + 2
        self._open[stream_id] = _Open(self._initial_room, self._stream_window)
        return stream_id

    def send_data(self, stream_id: int, data: memoryview, is_end: bool) -> int:
        stream, size = self._open[stream_id], len(data)
        allowed = max(0, min(size, stream.room, self._room))
        if not allowed and (size or not is_end):
            return 0
        sent = 0
        while True:
            end = min(sent + self._max_frame, allowed)
            self._send_head(end - sent, _DATA, _END_STREAM if is_end and end == size else 0, stream_id)
            self._output.append(data[sent:end])
            self._idle_frames = max(0, self._idle_frames - _PROGRESS)
            sent = end
            if sent == allowed:
                break
        stream.room -= sent
        self._room -= sent
        return sent

    def send_trailers(self, stream_id: int, fields: list[Pair]) -> None:
        self._send_headers(stream_id, fields, True)

    def _send_headers(self, stream_id: int, fields: list[Pair], is_end: bool) -> None:
        self._resize_table()
        block = self._encoder.encode(
            [
                hpack.NeverIndexedHeaderTuple(*pair) if pair[0] in _SENSITIVE else hpack.HeaderTuple(*pair)
                for pair in fields
            ]
        )
        kind, flags = _HEADERS, _END_STREAM if is_end else 0
        while len(block) > self._max_frame:
            self._send_head(self._max_frame, kind, flags, stream_id)
            self._output.append(block[: self._max_frame])
            block, kind, flags = block[self._max_frame :], _CONTINUATION, 0
        self._send_head(len(block), kind, flags | _END_HEADERS, stream_id)
        self._output.append(block)

    def _resize_table(self) -> None:
        """To the smallest size that was agreed upon since the last block, and to the last (RFC 7541, 4.2). hpack would
        say the sizes between as well, some of which may be more than is allowed by now."""
        for size in self._table_sizes:
            if size != self._encoder.header_table_size:
                self._encoder.header_table_size = size
        self._table_sizes.clear()

    def _send_head(self, length: int, kind: int, flags: int, stream_id: int) -> None:
        self._output.append(_HEAD.pack(length >> 16, length & 0xFFFF, kind, flags, stream_id))

    def _send_number(self, kind: int, stream_id: int, number: int) -> None:
        self._send_head(4, kind, 0, stream_id)
        self._output.append(_NUMBER.pack(number))

    def _take_over(self) -> None:
        """Put what h2 has to say behind what we had: called wherever h2 may have something."""
        if said := self._conn.data_to_send():
            self._output.append(said)

    def credit(self, stream_id: int, count: int) -> bool:
        stream = self._open.get(stream_id)
        if stream is None or stream.is_ended:
            return False
        stream.unused += count
        if stream.unused < self._stream_window // 2:
            return False
        self._open_window(stream_id, stream.unused)
        stream.left += stream.unused
        stream.unused = 0
        return True

    def _open_window(self, stream_id: int, increment: int) -> None:
        self._send_number(_WINDOW_UPDATE, stream_id, increment)

    def reset(self, stream_id: int, code: int) -> None:
        if stream_id in self._open:
            self._send_number(_RST_STREAM, stream_id, code)
            self.forget(stream_id)

    def forget(self, stream_id: int) -> None:
        self._open.pop(stream_id, None)

    def ping(self) -> None:
        self._conn.ping(b"httpcore")
        self._take_over()

    def go_away(self, code: int) -> None:
        self._conn.close_connection(code)
        self._take_over()

    def take_output(self) -> bytes:
        output = b"".join(self._output)
        self._output.clear()
        return output

    # Receiving.

    def receive(self, data: bytes, events: HTTP2Events) -> None:
        start, size = self._complete(data, events) if self._received else 0, len(data)
        while size - start >= _HEADER:
            end = start + self._frame_size(data, start)
            if end > size:
                self._wanted = end - start
                break
            self._receive_frame(data[start : start + _HEADER], data[start + _HEADER : end], events)
            start = end
        self._received += data[start:]

    def _complete(self, data: bytes, events: HTTP2Events) -> int:
        """Receive the frame that was cut where the last read ended; how much of `data` that takes."""
        received, taken = self._received, 0
        while len(received) < self._wanted:  # its head first, then all of it
            missing = self._wanted - len(received)
            received += data[taken : taken + missing]
            taken += missing
            if taken > len(data):
                return len(data)
            if self._wanted == _HEADER:
                self._wanted = self._frame_size(received, 0)
        frame, self._wanted = bytes(received), _HEADER
        received.clear()
        self._receive_frame(frame[:_HEADER], frame[_HEADER:], events)
        return taken

    def _frame_size(self, data: bytes | bytearray, start: int) -> int:
        if not self._has_settings:
            self._check_preface(bytes(data))
        length = data[start] << 16 | data[start + 1] << 8 | data[start + 2]
        if length > self._conn.max_inbound_frame_size:
            self._break(ErrorCode.FRAME_SIZE_ERROR, f"the peer sent a frame of {length} bytes")
        return _HEADER + length

    def _check_preface(self, data: bytes) -> None:
        if data[:5] == b"HTTP/":
            line = data.partition(b"\r\n")[0][:80]
            self._break(ErrorCode.PROTOCOL_ERROR, f"the peer does not speak HTTP/2: it answered with {line!r}")
        if data[3] != _SETTINGS or data[4] & _ACK:
            self._break(ErrorCode.PROTOCOL_ERROR, "the peer's first frame is not SETTINGS")
        self._has_settings = True

    def _receive_frame(self, head: bytes, payload: bytes, events: HTTP2Events) -> None:
        kind, flags, stream_id = head[3], head[4], int.from_bytes(head[5:], "big") & _MASK
        self._check_frame(kind, flags, stream_id, payload)
        self._note_work(kind, flags, stream_id, payload)
        if kind == _DATA:
            self._receive_data(flags, stream_id, payload, events)
        elif kind in (_HEADERS, _CONTINUATION):
            self._receive_headers(kind, flags, stream_id, payload, events)
        elif kind == _RST_STREAM:
            if stream_id in self._open:
                self.forget(stream_id)
                events.stream_reset(stream_id, int.from_bytes(payload, "big"), True)
        elif kind == _GOAWAY:
            last, code = int.from_bytes(payload[:4], "big") & _MASK, int.from_bytes(payload[4:8], "big")
            events.going_away(last, code, payload[8:])
        elif kind == _WINDOW_UPDATE:
            self._receive_window_update(stream_id, int.from_bytes(payload, "big") & _MASK, events)
        elif kind in (_SETTINGS, _PING):
            self._feed(head + payload, events)

    def _check_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """What ends the connection whatever state it is in."""
        length = len(payload)
        if self._block_id and (kind != _CONTINUATION or stream_id != self._block_id):
            self._break(ErrorCode.PROTOCOL_ERROR, "the peer sent another frame within a header block")
        if kind in (_DATA, _HEADERS) and flags & _PADDED and (not length or payload[0] >= length):
            self._break(ErrorCode.PROTOCOL_ERROR, "the peer sent a frame with more padding than it holds")
        if length != _SIZES.get(kind, length) or (kind == _GOAWAY and length < _LEAST_GOAWAY):
            self._break(ErrorCode.FRAME_SIZE_ERROR, f"the peer sent a frame of type {kind} with {length} bytes")
        if kind == _HEADERS and flags & _HAS_PRIORITY and length < (6 if flags & _PADDED else 5):
            self._break(ErrorCode.FRAME_SIZE_ERROR, f"the peer sent HEADERS with {length} bytes")
        if kind == _SETTINGS and (length % 6 or (flags & _ACK and length)):
            self._break(ErrorCode.FRAME_SIZE_ERROR, f"the peer sent SETTINGS with {length} bytes")
        was_opened = bool(stream_id % 2) and stream_id < self._next_id
        if kind in _ON_STREAMS and not was_opened and (stream_id or kind != _WINDOW_UPDATE):
            self._break(ErrorCode.PROTOCOL_ERROR, f"the peer sent a frame on stream {stream_id}, never opened")
        if kind in _ON_NONE and stream_id:
            self._break(ErrorCode.PROTOCOL_ERROR, f"the peer sent a frame of type {kind} on a stream")
        if kind == _PUSH_PROMISE or (kind == _CONTINUATION and not self._block_id):
            self._break(ErrorCode.PROTOCOL_ERROR, f"the peer sent a frame of type {kind}, which has no place here")

    def _note_work(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Count what brings nothing forward, so that a flood of it ends."""
        if kind == _DATA:
            is_progress = len(payload) > (payload[0] + 1 if flags & _PADDED else 0) or bool(flags & _END_STREAM)
        else:
            is_progress = kind == _HEADERS
        if is_progress:  # where its stream was reset it may still be under way, within the windows
            if self._idle_frames and stream_id in self._open:
                self._idle_frames = max(0, self._idle_frames - _PROGRESS)
            return
        is_suspect = kind == _DATA or (kind == _RST_STREAM and stream_id not in self._open)
        self._idle_frames += _SUSPECT if is_suspect else 1
        if self._idle_frames > _MAX_IDLE_FRAMES:
            self._break(ErrorCode.ENHANCE_YOUR_CALM, "the peer floods the connection with frames that say nothing")

    def _receive_data(self, flags: int, stream_id: int, payload: bytes, events: HTTP2Events) -> None:
        """The connection's window is given back at once: what it bounds is bounded by those of the streams, and so a
        body that nobody reads holds nobody up."""
        size = len(payload)
        self._left -= size
        if self._left < self._window // 2:
            self._open_window(0, self._window - self._left)
            self._left, was_kept = self._window, self._left >= 0
            if not was_kept:
                self._break(ErrorCode.FLOW_CONTROL_ERROR, "the peer sent more than the connection's window")
        stream = self._open.get(stream_id)
        if stream is None or stream.is_ended:
            return  # it was on its way when the stream was reset
        stream.left -= size
        if stream.left < 0:
            self._break(ErrorCode.FLOW_CONTROL_ERROR, "the peer sent more than a stream's window")
        if flags & _PADDED:
            payload = payload[1 : size - payload[0]]
            self.credit(stream_id, size - len(payload))
        stream.is_ended = bool(flags & _END_STREAM)
        events.data_received(stream_id, payload, stream.is_ended)

    def _receive_headers(self, kind: int, flags: int, stream_id: int, payload: bytes, events: HTTP2Events) -> None:
        if kind == _HEADERS:
            if flags & _PADDED:
                payload = payload[1 : len(payload) - payload[0]]
            if flags & _HAS_PRIORITY:
                payload = payload[5:]
            self._block_id, self._block_flags = stream_id, flags
        self._block.append(payload)
        if len(self._block) > _MAX_CONTINUATIONS or sum(map(len, self._block)) > self._max_head:
            self._break(ErrorCode.ENHANCE_YOUR_CALM, f"the peer sent a header block without end ({_LIMITS})")
        if not flags & _END_HEADERS:
            return
        fields = self._decode(b"".join(self._block))
        self._block_id = 0
        self._block.clear()
        stream = self._open.get(stream_id)
        if stream is None or stream.is_ended:
            return  # it was on its way when the stream was reset
        stream.is_ended = bool(self._block_flags & _END_STREAM)
        events.headers_received(stream_id, fields, stream.is_ended)

    def _decode(self, block: bytes) -> list[Pair]:
        try:
            _check_table_updates(block)
            return [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except hpack.OversizedHeaderListError as exc:
            reason = f"the peer sent a head of more than {self._max_head} bytes ({_LIMITS})"
            self._break(ErrorCode.ENHANCE_YOUR_CALM, reason, exc)
        except Exception as exc:  # hpack has no error of its own for some of what it cannot decode
            self._break(ErrorCode.COMPRESSION_ERROR, f"the peer sent a header block that does not decode: {exc}", exc)

    def _receive_window_update(self, stream_id: int, increment: int, events: HTTP2Events) -> None:
        """What is wrong with the window of a stream is an error of the stream alone (RFC 9113, 6.9 and 6.9.1)."""
        if not stream_id:
            self._room += increment
            if not increment or self._room > _MAX_WINDOW:
                code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
                self._break(code, f"the peer opened the connection's window by {increment}, to {self._room} bytes")
            events.window_opened(0)
        elif (stream := self._open.get(stream_id)) is not None:
            stream.room += increment
            if not increment or stream.room > _MAX_WINDOW:
                code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
                self.reset(stream_id, code)
                events.stream_reset(stream_id, code, False)
            else:
                events.window_opened(stream_id)

    def _feed(self, frame: bytes, events: HTTP2Events) -> None:
        """Let h2 have a frame of the connection's own: SETTINGS or PING, or an answer to one."""
        try:
            happened = self._conn.receive_data(frame)
        except h2.exceptions.ProtocolError as exc:  # for which h2 has made a GOAWAY
            raise RemoteProtocolError(f"the peer broke HTTP/2: {exc or type(exc).__name__}") from exc
        finally:
            self._take_over()
        for event in happened:
            match event:
                case h2.events.RemoteSettingsChanged():
                    self._note_settings(event, events)
                case h2.events.PingAckReceived():
                    events.pong()

    def _break(self, code: ErrorCode, reason: str, cause: Exception | None = None) -> NoReturn:
        self._conn.close_connection(code, last_stream_id=0)
        self._take_over()
        raise RemoteProtocolError(f"{reason} ({name_of(code)})") from cause

    def _note_settings(self, event: h2.events.RemoteSettingsChanged, events: HTTP2Events) -> None:
        codes, remote = h2.settings.SettingCodes, self._conn.remote_settings
        push = event.changed_settings.get(codes.ENABLE_PUSH)
        if push is not None and push.new_value:
            self._break(ErrorCode.PROTOCOL_ERROR, "the peer offers to be pushed to, which only a client may")
        self.max_streams = remote.max_concurrent_streams
        self.has_extended_connect = bool(remote.enable_connect_protocol)
        self._max_frame = remote.max_frame_size
        table = min(remote.header_table_size, _MAX_TABLE)
        self._table_sizes = [min(self._table_sizes[0], table) if self._table_sizes else table, table]
        self._resize_rooms(remote.initial_window_size)
        events.settings_received()
        events.window_opened(0)

    def _resize_rooms(self, initial: int) -> None:
        """Streams that are open gain or lose what new ones do (RFC 9113, 6.9.2)."""
        gain, self._initial_room = initial - self._initial_room, initial
        for stream in self._open.values():
            stream.room += gain
            if stream.room > _MAX_WINDOW:
                self._break(ErrorCode.FLOW_CONTROL_ERROR, "the peer's settings open a stream's window too wide")


def _check_table_updates(block: bytes) -> None:
    """Raises: HPACKDecodingError where a block begins with more changes of the table's size than there can be."""
    updates = at = 0
    while at < len(block) and block[at] & 0xE0 == 0x20:
        updates += 1
        if updates > _MAX_TABLE_UPDATES:
            raise hpack.HPACKDecodingError("it changes the size of the table without end")
        at += 1
        if block[at - 1] & 0x1F == 0x1F:  # an integer of several bytes (RFC 7541, 5.1)
            while at < len(block) and block[at] & 0x80:
                at += 1
            at += 1


def _make_connection(settings: HTTP2, max_head: int) -> h2.connection.H2Connection:
    conn = h2.connection.H2Connection(
        h2.config.H2Configuration(
            client_side=True,
            validate_outbound_headers=False,  # `Request` has checked them
            normalize_outbound_headers=False,
        )
    )
    codes = h2.settings.SettingCodes
    conn.local_settings = h2.settings.Settings(
        client=True,
        initial_values={
            codes.ENABLE_PUSH: 0,
            codes.INITIAL_WINDOW_SIZE: settings.stream_window,
            codes.MAX_FRAME_SIZE: settings.max_frame_size,
            codes.MAX_HEADER_LIST_SIZE: max_head,
        },
    )
    conn.max_inbound_frame_size = settings.max_frame_size
    return conn
