"""HTTP/2 by the h2 library, which is fed frame by frame.

It keeps the states of streams, the windows and HPACK. What it does otherwise than a client needs it to is done here,
before it sees a frame:

- after a GOAWAY it takes no further frame, although streams below the last one go on (RFC 9113, 6.8);
- a malformed response is an error of the connection to it, where RFC 9113, 8.1.1 says of the stream; so it is shown
  only what its states need of a header block, and `ResponseReader` reads the rest;
- frames that ask for work and bring nothing forward are not counted;
- what was on its way when we reset a stream is answered frame by frame, so it is not shown that (RFC 9113, 5.1).
"""

from __future__ import annotations

from contextlib import suppress
from typing import NoReturn

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hpack

from .._config import HTTP2
from .._errors import RemoteProtocolError
from .._headers import Pair
from .http2 import ErrorCode, HTTP2Events, name_of

__all__ = ["H2Engine"]

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_HEADER = 9
# Frames of one size (RFC 9113, 6.4, 6.7 and 6.9).
_SIZES = {_RST_STREAM: 4, _PING: 8, _WINDOW_UPDATE: 4}
# Which may only come on a stream that we have opened.
_ON_STREAMS = frozenset({_DATA, _HEADERS, _RST_STREAM, _WINDOW_UPDATE, _CONTINUATION})
_WINDOW_UPDATE_OF_ALL = bytes((0, 0, 4, _WINDOW_UPDATE, 0, 0, 0, 0, 0))
# RFC 7541, 4.2: to the smallest that was agreed upon meanwhile, and to the last.
_MAX_TABLE_UPDATES = 2
_DEFAULT_WINDOW = 65_535
# RFC 9113, 6.5.2 and 3.4: what to assume until the peer has sent its settings.
_MAX_STREAMS_UNTIL_SAID = 100
_LAST_STREAM_ID = 2**31 - 1
_MASK = 2**31 - 1  # a reserved bit comes before each stream id and increment
# Frames that bring nothing forward. Go's server gives up at 10,000 such answers queued, nghttp2 at 1,000; an honest
# peer that pings every second, and says nothing else, comes to the first after three hours.
_MAX_IDLE_FRAMES = 10_000
# Such as are never sent in good faith count as many: empty DATA, RST_STREAM of what has already ended.
_SUSPECT = 10
# What a frame that brings something forward makes good, one way or the other.
_PROGRESS = 10
# Authorization and cookies stay out of the compression's tables (RFC 7541, 7.1.3).
_SENSITIVE = frozenset({b"authorization", b"proxy-authorization", b"cookie"})


class _CompressionError(h2.exceptions.ProtocolError):
    error_code = h2.errors.ErrorCodes.COMPRESSION_ERROR


class _Decoder(hpack.Decoder):
    """Keeps the header block for us, and shows h2 a stand-in that its states are content with.

    Attributes:
        fields: of the last block.
        may_be_interim: whether its stream can go on behind the block, set beforehand.
    """

    fields: list[Pair]
    may_be_interim = False

    def decode(self, data: bytes, raw: bool = False) -> list[hpack.HeaderTuple]:
        _check_table_updates(data)
        try:
            self.fields = [(bytes(name), bytes(value)) for name, value in super().decode(data, raw=True)]
        except hpack.OversizedHeaderListError as exc:
            raise hpack.OversizedHeaderListError(
                f"it has more than {self.max_header_list_size} bytes (Limits.max_header_bytes, "
                "HTTP2.max_header_list_size)"
            ) from exc
        except Exception as exc:
            raise _CompressionError(f"the header block does not decode: {exc}") from exc
        is_interim = self.fields and self.fields[0][0] == b":status" and self.fields[0][1][:1] == b"1"
        status = b"100" if is_interim and self.may_be_interim else b"200"
        return [hpack.HeaderTuple(b":status", status)]


def _check_table_updates(block: bytes) -> None:
    """Raises: _CompressionError where a block begins with more changes of the table's size than there can be."""
    updates = at = 0
    while at < len(block) and block[at] & 0xE0 == 0x20:
        updates += 1
        if updates > _MAX_TABLE_UPDATES:
            raise _CompressionError("the header block changes the size of its table without end")
        at += 1
        if block[at - 1] & 0x1F == 0x1F:  # an integer of several bytes (RFC 7541, 5.1)
            while at < len(block) and block[at] & 0x80:
                at += 1
            at += 1


class _Open:
    """What is kept of a stream that has not ended.

    Attributes:
        unused: bytes that were used, and not given back to the peer's window yet.
        has_head: whether the final head of its response has come.
    """

    __slots__ = ("has_head", "unused")

    def __init__(self) -> None:
        self.unused = 0
        self.has_head = False


class H2Engine:
    """See `HTTP2Engine` for the contract.

    Args:
        settings: what we tell the peer.
        max_head: bytes of one response head, names, values and 32 a field together.
    """

    def __init__(self, settings: HTTP2, max_head: int) -> None:
        self.max_streams = _MAX_STREAMS_UNTIL_SAID
        self.max_frame = 16_384
        self.has_extended_connect = False
        self._window_size = settings.stream_window
        self._connection_window = settings.connection_window
        self._received = bytearray()
        self._has_settings = False
        self._in_headers = 0  # the stream whose header block is not complete
        self._is_end = False
        self._idle_frames = 0
        self._uncredited = 0
        self._discarded = 0
        self._answers: list[bytes] = []
        self._late: bytes | None = None
        self._open: dict[int, _Open] = {}
        self._next_id = 1
        self._conn = _make_connection(settings, max_head)
        self._decoder = self._conn.decoder = _Decoder()
        self._decoder.max_header_list_size = max_head
        self._conn.initiate_connection()
        if settings.connection_window > _DEFAULT_WINDOW:
            self._conn.increment_flow_control_window(settings.connection_window - _DEFAULT_WINDOW)

    # Sending.

    def open_stream(self, fields: list[Pair], is_end: bool) -> int | None:
        stream_id = self._next_id
        if stream_id > _LAST_STREAM_ID:
            return None
        sent = [
            hpack.NeverIndexedHeaderTuple(*field) if field[0] in _SENSITIVE else hpack.HeaderTuple(*field)
            for field in fields
        ]
        self._conn.send_headers(stream_id, sent, is_end)
        self._conn.streams[stream_id].request_method = b""  # or it would count the body of an answer to HEAD itself
        self._next_id = stream_id + 2
        self._open[stream_id] = _Open()
        return stream_id

    def send_data(self, stream_id: int, data: bytes, is_end: bool) -> None:
        self._idle_frames = max(0, self._idle_frames - _PROGRESS)
        self._conn.send_data(stream_id, data, is_end)

    def send_trailers(self, stream_id: int, fields: list[Pair]) -> None:
        self._conn.send_headers(stream_id, [hpack.HeaderTuple(*field) for field in fields], True)

    def window(self, stream_id: int) -> int:
        return self._conn.local_flow_control_window(stream_id)

    def credit(self, stream_id: int, count: int) -> bool:
        stream = self._open.get(stream_id)
        if stream is None:
            return False
        stream.unused += count
        if stream.unused < self._window_size // 2:
            return False
        self._conn.increment_flow_control_window(stream.unused, stream_id)
        stream.unused = 0
        return True

    def reset(self, stream_id: int, code: int) -> None:
        if self._open.pop(stream_id, None) is not None:
            with suppress(h2.exceptions.StreamClosedError):  # both sides have ended it
                self._conn.reset_stream(stream_id, code)

    def forget(self, stream_id: int) -> None:
        self._open.pop(stream_id, None)

    def ping(self) -> None:
        self._conn.ping(b"httpcore")

    def go_away(self, code: int) -> None:
        self._conn.close_connection(code)

    def take_output(self) -> bytes:
        output = self._conn.data_to_send()
        if self._answers:
            output += b"".join(self._answers)
            self._answers.clear()
        return output

    # Receiving.

    def receive(self, data: bytes, events: HTTP2Events) -> None:
        received = self._received
        received += data
        if not self._has_settings:
            self._check_preface()
        start = 0
        try:
            while len(received) - start >= _HEADER:
                length = received[start] << 16 | received[start + 1] << 8 | received[start + 2]
                if length > self._conn.max_inbound_frame_size:
                    self._break(ErrorCode.FRAME_SIZE_ERROR, f"the peer sent a frame of {length} bytes")
                end = start + _HEADER + length
                if end > len(received):
                    break
                self._receive_frame(bytes(received[start:end]), events)
                start = end
        finally:
            del received[:start]

    def _check_preface(self) -> None:
        received = self._received
        if received[:5] == b"HTTP/":
            line = bytes(received).partition(b"\r\n")[0][:80]
            self._break(ErrorCode.PROTOCOL_ERROR, f"the peer does not speak HTTP/2: it answered with {line!r}")
        if len(received) >= _HEADER:
            if received[3] != _SETTINGS or received[4] & _ACK:
                self._break(ErrorCode.PROTOCOL_ERROR, "the peer's first frame is not SETTINGS")
            self._has_settings = True

    def _receive_frame(self, frame: bytes, events: HTTP2Events) -> None:
        kind, flags = frame[3], frame[4]
        stream_id = int.from_bytes(frame[5:9], "big") & _MASK
        self._check_frame(kind, flags, stream_id, frame)
        self._note_work(kind, frame, stream_id)
        if kind == _GOAWAY and stream_id == 0 and len(frame) >= _HEADER + 8:
            last = int.from_bytes(frame[9:13], "big") & _MASK
            events.going_away(last, int.from_bytes(frame[13:17], "big"), frame[17:])
            return
        if kind in (_HEADERS, _CONTINUATION):
            self._in_headers = 0 if flags & _END_HEADERS else stream_id
        stream = self._open.get(stream_id)
        if stream is None and kind == _DATA:
            self._discard(len(frame) - _HEADER)
            return
        if self._late is not None or (stream is None and kind == _HEADERS):
            self._discard_headers(flags, frame[_HEADER:])
            return
        if stream is not None and _is_out_of_order(stream, kind, flags, frame):
            self.reset(stream_id, ErrorCode.PROTOCOL_ERROR)
            events.stream_reset(stream_id, ErrorCode.PROTOCOL_ERROR, False)
        if kind == _HEADERS:
            self._is_end = bool(flags & _END_STREAM)
            self._decoder.may_be_interim = not self._is_end and stream_id in self._open
        if kind == _WINDOW_UPDATE:
            frame = frame[:_HEADER] + bytes((frame[_HEADER] & 0x7F,)) + frame[_HEADER + 1 :]  # a reserved bit
        if kind != _WINDOW_UPDATE or not stream_id or any(frame[_HEADER:]):  # one of 0 has ended its stream
            for event in self._feed(frame):
                self._tell(event, events)

    def _discard(self, size: int) -> None:
        """DATA that was on its way when its stream was reset: the peer gets its window back, and hears nothing else
        (RFC 9113, 5.1, where h2 would answer each frame), and h2 hears nothing of it."""
        self._discarded += size
        if self._discarded >= self._connection_window // 4:
            self._answers.append(_WINDOW_UPDATE_OF_ALL + self._discarded.to_bytes(4, "big"))
            self._discarded = 0

    def _discard_headers(self, flags: int, payload: bytes) -> None:
        """The same with a header block, which only has to be taken note of by HPACK."""
        if self._late is None:
            self._late = b""
            if flags & _PADDED:
                payload = payload[1 : len(payload) - payload[0]]
            if flags & _HAS_PRIORITY:
                payload = payload[5:]
        self._late += payload
        if len(self._late) > self._decoder.max_header_list_size:
            self._break(ErrorCode.ENHANCE_YOUR_CALM, "the peer sent a header block without end")
        if flags & _END_HEADERS:
            block, self._late = self._late, None
            try:
                self._decoder.decode(block)
            except (h2.exceptions.ProtocolError, hpack.HPACKError) as exc:
                self._break(ErrorCode.COMPRESSION_ERROR, f"the header block does not decode: {exc}", exc)

    def _check_frame(self, kind: int, flags: int, stream_id: int, frame: bytes) -> None:
        """Errors of the connection that h2 takes for something else or for nothing, or that it is not to see."""
        length = len(frame) - _HEADER
        if self._in_headers and (kind != _CONTINUATION or stream_id != self._in_headers):
            self._break(ErrorCode.PROTOCOL_ERROR, "the peer sent another frame within a header block")
        if kind in (_DATA, _HEADERS) and flags & _PADDED and (not length or frame[_HEADER] >= length):
            self._break(ErrorCode.PROTOCOL_ERROR, "the peer sent a frame with more padding than it holds")
        if kind in _SIZES and length != _SIZES[kind]:
            self._break(ErrorCode.FRAME_SIZE_ERROR, f"the peer sent a frame of type {kind} with {length} bytes")
        if kind == _SETTINGS and (length % 6 or (flags & _ACK and length)):
            self._break(ErrorCode.FRAME_SIZE_ERROR, f"the peer sent SETTINGS with {length} bytes")
        was_opened = bool(stream_id % 2) and stream_id < self._next_id
        if kind in _ON_STREAMS and not was_opened and (stream_id or kind != _WINDOW_UPDATE):
            self._break(ErrorCode.PROTOCOL_ERROR, f"the peer sent a frame on stream {stream_id}, never opened")

    def _note_work(self, kind: int, frame: bytes, stream_id: int) -> None:
        """Count what brings nothing forward, so that a flood of it ends."""
        if kind == _DATA:
            padding = frame[_HEADER] + 1 if frame[4] & _PADDED and len(frame) > _HEADER else 0
            is_progress = len(frame) - _HEADER > padding or bool(frame[4] & _END_STREAM)
        else:
            is_progress = kind == _HEADERS
        if is_progress:  # where its stream was reset it may still be under way, within the windows
            self._idle_frames = max(0, self._idle_frames - _PROGRESS * (stream_id in self._open))
            return
        is_suspect = kind == _DATA or (kind == _RST_STREAM and stream_id not in self._open)
        self._idle_frames += _SUSPECT if is_suspect else 1
        if self._idle_frames > _MAX_IDLE_FRAMES:
            self._break(ErrorCode.ENHANCE_YOUR_CALM, "the peer floods the connection with frames that say nothing")

    def _feed(self, frame: bytes) -> list[h2.events.Event]:
        try:
            return self._conn.receive_data(frame)
        except h2.exceptions.ProtocolError as exc:  # for which h2 has made a GOAWAY
            raise RemoteProtocolError(f"the peer broke HTTP/2: {exc or type(exc).__name__}") from exc
        except Exception as exc:  # a frame that h2 does not understand, and has no error of its own for
            self._break(ErrorCode.PROTOCOL_ERROR, f"the peer broke HTTP/2: {exc!r}", exc)

    def _break(self, code: ErrorCode, reason: str, cause: Exception | None = None) -> NoReturn:
        self._conn.close_connection(code, last_stream_id=0)
        raise RemoteProtocolError(f"{reason} ({name_of(code)})") from cause

    def _tell(self, event: h2.events.Event, events: HTTP2Events) -> None:
        match event:
            case h2.events.DataReceived():
                self._tell_data(event, events)
            case h2.events.ResponseReceived() | h2.events.InformationalResponseReceived():
                self._tell_headers(event.stream_id, events)
            case h2.events.TrailersReceived():
                self._tell_headers(event.stream_id, events)
            case h2.events.StreamReset():
                self._open.pop(event.stream_id, None)
                events.stream_reset(event.stream_id, int(event.error_code or 0), event.remote_reset)
            case h2.events.WindowUpdated():
                events.window_opened(event.stream_id or 0)
            case h2.events.RemoteSettingsChanged():
                self._note_settings(event, events)
            case h2.events.PingAckReceived():
                events.pong()

    def _tell_headers(self, stream_id: int, events: HTTP2Events) -> None:
        stream, fields = self._open.get(stream_id), self._decoder.fields
        if stream is not None:
            stream.has_head = not (fields and fields[0][0] == b":status" and fields[0][1][:1] == b"1")
            events.headers_received(stream_id, fields, self._is_end)

    def _tell_data(self, event: h2.events.DataReceived, events: HTTP2Events) -> None:
        """The connection's window is given back at once: what it bounds is bounded by those of the streams, and so a
        body that nobody reads holds nobody up."""
        stream_id, size = event.stream_id, event.flow_controlled_length
        self._uncredited += size
        if self._uncredited >= self._connection_window // 2:
            self._conn.increment_flow_control_window(self._uncredited)
            self._uncredited = 0
        stream = self._open.get(stream_id)
        if stream is not None:
            stream.unused += size - len(event.data)  # padding
            events.data_received(stream_id, event.data, event.stream_ended is not None)

    def _note_settings(self, event: h2.events.RemoteSettingsChanged, events: HTTP2Events) -> None:
        codes, remote = h2.settings.SettingCodes, self._conn.remote_settings
        push = event.changed_settings.get(codes.ENABLE_PUSH)
        if push is not None and push.new_value:
            self._break(ErrorCode.PROTOCOL_ERROR, "the peer offers to be pushed to, which only a client may")
        self.max_streams = remote.max_concurrent_streams
        self.max_frame = remote.max_frame_size
        self.has_extended_connect = bool(remote.enable_connect_protocol)
        events.settings_received()
        events.window_opened(0)


def _is_out_of_order(stream: _Open, kind: int, flags: int, frame: bytes) -> bool:
    """Whether a frame is an error of its stream that h2 would take for one of the connection."""
    if kind == _DATA:
        return not stream.has_head
    if kind == _HEADERS:
        return stream.has_head and not flags & _END_STREAM
    return kind == _WINDOW_UPDATE and not int.from_bytes(frame[_HEADER:], "big") & _MASK


def _make_connection(settings: HTTP2, max_head: int) -> h2.connection.H2Connection:
    conn = h2.connection.H2Connection(
        h2.config.H2Configuration(
            client_side=True,
            validate_outbound_headers=False,  # `Request` has checked them
            normalize_outbound_headers=False,
            validate_inbound_headers=False,  # `ResponseReader` does
            normalize_inbound_headers=False,
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
