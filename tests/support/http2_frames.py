"""HTTP/2 frames as bytes, right and wrong ones (RFC 9113, 4 and 6).

Good frames are those of `hyperframe`; `raw_frame` makes any other, since what breaks the rules is what a test needs.
"""

from __future__ import annotations

from enum import IntEnum

from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

__all__ = [
    "PREFACE",
    "Code",
    "ContinuationFrame",
    "DataFrame",
    "ExtensionFrame",
    "Flag",
    "Frame",
    "GoAwayFrame",
    "HeadersFrame",
    "Kind",
    "PingFrame",
    "PriorityFrame",
    "PushPromiseFrame",
    "RstStreamFrame",
    "Setting",
    "SettingsFrame",
    "WindowUpdateFrame",
    "frames_of",
    "number",
    "raw_frame",
]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Code(IntEnum):
    """Error codes (RFC 9113, 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Kind(IntEnum):
    """Types of frames (RFC 9113, 6)."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Flag(IntEnum):
    """Flags, which mean different things in different frames."""

    NONE = 0
    ACK = 1
    END_STREAM = 1
    END_HEADERS = 4
    PADDED = 8
    PRIORITY = 32


class Setting(IntEnum):
    """Settings (RFC 9113, 6.5.2; RFC 8441, 3)."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    ENABLE_CONNECT_PROTOCOL = 8


def raw_frame(kind: int, flags: int = 0, stream_id: int = 0, payload: bytes = b"") -> bytes:
    """Any frame, whether or not there can be such a one."""
    head = (kind, flags)
    return len(payload).to_bytes(3, "big") + bytes(head) + stream_id.to_bytes(4, "big") + payload


def number(value: int, size: int = 4) -> bytes:
    """A number as the payload of a frame has it."""
    return value.to_bytes(size, "big")


def frames_of(data: bytes) -> list[Frame]:
    """Whole frames, behind the preface of a client or none."""
    data, frames = data.removeprefix(PREFACE), []
    while data:
        frame, length = Frame.parse_frame_header(memoryview(data[:9]))
        assert len(data) >= 9 + length, "a frame is cut"
        frame.parse_body(memoryview(data[9 : 9 + length]))
        data = data[9 + length :]
        frames.append(frame)
    return frames
