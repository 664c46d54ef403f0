"""The frames of an HTTP/2 peer, into the engine: it tells the same however they are cut, and keeps its bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from httpcore import HTTP2, RemoteProtocolError
from httpcore._engines.h2 import H2Engine
from httpcore._engines.http2 import ResponseReader
from tests.support.http2_frames import GoAwayFrame, frames_of

from .cutting import BYTEWISE, WHOLE, pieces
from .http2_wire import seed_wires

__all__ = ["check", "seeds"]

_METHODS = (b"GET", b"HEAD", b"POST", b"CONNECT")
_MAX_HEAD, _MAX_COUNT = 64 * 1024, 500
_SETTINGS = HTTP2(stream_window=65_535, connection_window=1024 * 1024)
_UPLOAD = b"x" * 100_000
# What is answered to a byte: a RST_STREAM of 13 to what is malformed, a PING or SETTINGS that is acknowledged.
_MAX_ANSWER = 4


@dataclass
class _Told:
    """What the engine tells, as one list, and what the responses make of it."""

    readers: dict[int, ResponseReader]
    events: list[tuple[object, ...]] = field(default_factory=list)
    received: int = 0

    def headers_received(self, stream_id: int, fields: list[tuple[bytes, bytes]], is_end: bool) -> None:
        try:
            head: object = self.readers[stream_id].read_headers(fields, is_end)
        except RemoteProtocolError as exc:
            head = str(exc)
        self.events.append(("headers", stream_id, head, is_end))

    def data_received(self, stream_id: int, data: bytes, is_end: bool) -> None:
        try:
            self.readers[stream_id].read_data(len(data), is_end)
        except RemoteProtocolError as exc:
            self.events.append(("malformed", stream_id, str(exc)))
        self.received += len(data)
        self.events.append(("data", stream_id, data, is_end))

    def stream_reset(self, stream_id: int, code: int, is_remote: bool) -> None:
        self.events.append(("reset", stream_id, code, is_remote))

    def window_opened(self, stream_id: int) -> None:
        self.events.append(("window", stream_id))

    def settings_received(self) -> None:
        self.events.append(("settings",))

    def going_away(self, last_stream_id: int, code: int, reason: bytes) -> None:
        self.events.append(("going away", last_stream_id, code, reason))

    def pong(self) -> None:
        self.events.append(("pong",))


def seeds() -> Iterator[bytes]:
    for number, wire in enumerate(seed_wires()):
        yield bytes([number % len(_METHODS), 2]) + wire


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    method, cut, wire = _METHODS[data[0] % len(_METHODS)], data[1], data[2:]
    whole = _outcome(method, pieces(wire, WHOLE))
    for way in (BYTEWISE, cut):
        assert _outcome(method, pieces(wire, way)) == whole, (way, wire)


def _outcome(method: bytes, said: list[bytes]) -> tuple[object, ...]:
    engine = H2Engine(_SETTINGS, _MAX_HEAD)
    told = _Told({1: ResponseReader(b"GET", _MAX_COUNT), 3: ResponseReader(method, _MAX_COUNT)})
    for each in (b"GET", method):
        assert engine.open_stream(_fields(each), is_end=each != b"POST")
    begun, error = engine.take_output(), ""
    try:
        for piece in said:
            engine.receive(piece, told)
    except RemoteProtocolError as exc:
        error = str(exc)
        assert error
    output = engine.take_output()
    size = sum(map(len, said))
    assert told.received <= size
    assert len(output) <= len(begun) + _MAX_ANSWER * size, (len(output), size)
    goaways = [frame for frame in frames_of(output) if isinstance(frame, GoAwayFrame)]
    assert len(goaways) == bool(error), (goaways, error)
    if not error and method == b"POST":
        engine.send_data(3, memoryview(_UPLOAD), True) if _is_open(told, 3) else None
    # Of an error only that there is one: its words show as much of what is wrong as had come.
    return told.events, bool(error), output, engine.max_streams, engine.take_output()


def _is_open(told: _Told, stream_id: int) -> bool:
    return not any(event[:2] == ("reset", stream_id) for event in told.events)


def _fields(method: bytes) -> list[tuple[bytes, bytes]]:
    if method == b"CONNECT":
        return [(b":method", method), (b":authority", b"example.org:443")]
    return [(b":method", method), (b":authority", b"example.org"), (b":scheme", b"http"), (b":path", b"/")]
