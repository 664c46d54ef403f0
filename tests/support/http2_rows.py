"""What a broken HTTP/2 peer sends, and what must become of it: a row for each way to be wrong (section F).

A row is played on a connection on which a sibling stream is half answered; the victim's stream is the one that the
frames name. A connection error costs both, and is answered with GOAWAY; a stream error costs the victim alone, and is
answered with RST_STREAM. `test_http2_faults.py` plays them.

Source: RFC 9113, 4 to 6 and 8; RFC 7541, 4 to 6. Where a code is not given there, any that fits will do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .http2_peer import Code, Flag, HTTP2Conn, Kind, Setting, number, raw_frame

__all__ = ["CONNECTION_ERRORS", "FLOODS", "HARMLESS", "STREAM_ERRORS", "Row"]

Sends = Callable[[HTTP2Conn, int], bytes]

_CALM = frozenset({Code.ENHANCE_YOUR_CALM, Code.PROTOCOL_ERROR})
_ANY_SIZE = frozenset({Code.FRAME_SIZE_ERROR, Code.PROTOCOL_ERROR})
_END = Flag.END_STREAM
_BLOCK = Flag.END_HEADERS
_STATUS_200 = b"\x88"
# A literal that enters no table, so that ours need not know of it.
_STATUS_103 = b"\x08\x03103"
_MAX = 2**31 - 1


@dataclass(frozen=True)
class Row:
    """One fault.

    Args:
        id: as in the list of faults.
        sends: the bytes that the peer sends, on a connection, for the victim's stream.
        codes: those that may be in the frame with which it is answered.
        method: of the victim.
        is_over: whether the peer has ended the stream, which then need not be reset.
    """

    id: str
    sends: Sends
    codes: frozenset[Code] = frozenset({Code.PROTOCOL_ERROR})
    method: str = "GET"
    is_over: bool = False

    def __str__(self) -> str:
        return self.id


def _raw(kind: int, flags: int = 0, payload: bytes = b"", on: int | None = None) -> Sends:
    """A frame on the victim's stream, or on the one that is named."""
    return lambda conn, stream_id: raw_frame(kind, flags, stream_id if on is None else on, payload)


def _settings(setting: int, value: int) -> Sends:
    def sends(conn: HTTP2Conn, stream_id: int) -> bytes:
        conn.rules.settings_sent({setting: value})
        return raw_frame(Kind.SETTINGS, 0, 0, number(setting, 2) + number(value))

    return sends


def _block(data: bytes) -> Sends:
    """A field block as it is, hpack's bytes and all."""
    return _raw(Kind.HEADERS, _BLOCK | _END, data)


def _head(*fields: tuple[bytes, bytes], end: bool = False) -> Sends:
    return lambda conn, stream_id: conn.headers(stream_id, fields, end_stream=end).serialize()


def _ok(*fields: tuple[bytes, bytes], status: bytes = b"200", end: bool = False) -> Sends:
    return _head((b":status", status), *fields, end=end)


def _data(data: bytes, end: bool = True) -> Sends:
    return _raw(Kind.DATA, _END if end else 0, data)


def _all(*parts: Sends) -> Sends:
    return lambda conn, stream_id: b"".join(part(conn, stream_id) for part in parts)


def _times(count: int, part: Sends) -> Sends:
    return lambda conn, stream_id: part(conn, stream_id) * count


def _table_size_above_ours(conn: HTTP2Conn, stream_id: int) -> bytes:
    size = conn.settings_of_client.get(Setting.HEADER_TABLE_SIZE, 4096) + 1
    return _block(_varint(size, 5, 0x20) + _STATUS_200)(conn, stream_id)


def _table_emptied(conn: HTTP2Conn, stream_id: int) -> bytes:
    conn.encoder.header_table_size = 0
    conn.encoder.header_table_size = 4096
    return _ok(status=b"103")(conn, stream_id)


def _settings_flood(conn: HTTP2Conn, stream_id: int) -> bytes:
    for _ in range(50_000):
        conn.rules.settings_sent({})
    return raw_frame(Kind.SETTINGS) * 50_000


def _too_large_a_frame(conn: HTTP2Conn, stream_id: int) -> bytes:
    size = conn.settings_of_client.get(Setting.MAX_FRAME_SIZE, 16_384) + 1
    return _ok()(conn, stream_id) + _data(bytes(size))(conn, stream_id)


def _varint(value: int, prefix: int, first: int) -> bytes:
    """An integer of RFC 7541, 5.1."""
    limit = 2**prefix - 1
    if value < limit:
        return bytes([first | value])
    octets, value = [first | limit], value - limit
    while value >= 128:
        octets.append(value % 128 + 128)
        value //= 128
    return bytes([*octets, value])


def _connection_errors() -> Iterator[Row]:
    compression = frozenset({Code.COMPRESSION_ERROR})
    frame_size = frozenset({Code.FRAME_SIZE_ERROR})
    flow_control = frozenset({Code.FLOW_CONTROL_ERROR})
    unfinished = _raw(Kind.HEADERS, 0, _STATUS_200)
    rest = _raw(Kind.CONTINUATION, _BLOCK)

    yield Row("f_cont_interleave", _all(unfinished, _raw(Kind.PING, 0, bytes(8), on=0), rest))
    yield Row("f_cont_interleave_data", _all(unfinished, _data(b"x"), rest))
    yield Row("f_cont_interleave_unknown", _all(unfinished, _raw(0xBB), rest))
    yield Row("f_cont_other_stream", _all(unfinished, _raw(Kind.CONTINUATION, _BLOCK, on=1)))
    yield Row("f_cont_alone", _raw(Kind.CONTINUATION, _BLOCK, _STATUS_200))
    yield Row("f_cont_after_end", _all(_ok(), rest))

    yield Row("f_hpack_index", _block(_STATUS_200 + _varint(1000, 7, 0x80)), compression)
    yield Row("f_hpack_index_0", _block(_STATUS_200 + b"\x80"), compression)
    yield Row("f_hpack_index_name", _block(_STATUS_200 + _varint(1000, 6, 0x40) + b"\x01a"), compression)
    yield Row("f_hpack_varint", _block(_STATUS_200 + b"\xff" + b"\x80" * 4000 + b"\x01"), compression)
    yield Row("f_hpack_varint_huge", _block(_STATUS_200 + b"\xff" + b"\xff" * 4000 + b"\x01"), compression)
    yield Row("f_hpack_truncated", _block(_STATUS_200 + b"\x40\x05ab"), compression)
    yield Row("f_hpack_truncated_varint", _block(_STATUS_200 + b"\xff"), compression)
    yield Row("f_hpack_huffman_padding", _block(_STATUS_200 + b"\x40\x01a\x82\x00\x00"), compression)
    yield Row("f_hpack_huffman_eos", _block(_STATUS_200 + b"\x40\x01a\x84\xff\xff\xff\xff"), compression)
    yield Row("f_hpack_resize_above", _table_size_above_ours, compression)
    yield Row("f_hpack_resize_at_the_end", _block(_STATUS_200 + b"\x20"), compression)
    yield Row("f_hpack_resize_often", _block(b"\x20" * 5000 + _STATUS_200), compression)

    for name, kind, payload in (
        ("data", Kind.DATA, b"evil"),
        ("rst", Kind.RST_STREAM, number(Code.CANCEL)),
        ("window", Kind.WINDOW_UPDATE, number(1)),
        ("hdr", Kind.HEADERS, _STATUS_200),
    ):
        flags = _BLOCK | _END if kind == Kind.HEADERS else 0
        yield Row(f"f_idle_{name}", _raw(kind, flags, payload, on=5))
        yield Row(f"f_idle_{name}_far", _raw(kind, flags, payload, on=_MAX))
        yield Row("f_even" if name == "hdr" else f"f_even_{name}", _raw(kind, flags, payload, on=2))
    yield Row("f_push", _raw(Kind.PUSH_PROMISE, _BLOCK, number(2) + b"\x82\x86\x84\x41\x01x"))
    yield Row("f_push_odd", _raw(Kind.PUSH_PROMISE, _BLOCK, number(7) + b"\x82\x86\x84\x41\x01x"))
    yield Row("f_enable_push", _settings(Setting.ENABLE_PUSH, 1))
    yield Row("f_enable_push_2", _settings(Setting.ENABLE_PUSH, 2))

    yield Row("f_pad_data", _all(_ok(), _raw(Kind.DATA, Flag.PADDED, b"\x06hello")))
    yield Row("f_pad_data_far", _all(_ok(), _raw(Kind.DATA, Flag.PADDED, b"\xffhello")))
    yield Row("f_pad_headers", _raw(Kind.HEADERS, Flag.PADDED | _BLOCK, b"\x02\x88"))
    yield Row("f_max_frame_0", _settings(Setting.MAX_FRAME_SIZE, 0))
    yield Row("f_max_frame_16383", _settings(Setting.MAX_FRAME_SIZE, 16_383))
    yield Row("f_max_frame_2_24", _settings(Setting.MAX_FRAME_SIZE, 2**24))
    yield Row("f_init_window", _settings(Setting.INITIAL_WINDOW_SIZE, 2**31), flow_control)
    yield Row("f_init_window_far", _settings(Setting.INITIAL_WINDOW_SIZE, 2**32 - 1), flow_control)
    yield Row(
        "f_init_window_over",
        _all(_raw(Kind.WINDOW_UPDATE, 0, number(_MAX - 65_535)), _settings(Setting.INITIAL_WINDOW_SIZE, 65_536)),
        flow_control,
    )
    yield Row("f_wu_over", _raw(Kind.WINDOW_UPDATE, 0, number(_MAX), on=0), flow_control)
    yield Row("f_wu_0", _raw(Kind.WINDOW_UPDATE, 0, number(0), on=0))
    yield Row("f_connect_protocol_2", _settings(Setting.ENABLE_CONNECT_PROTOCOL, 2))

    yield Row("f_size_frame", _too_large_a_frame, frame_size)
    yield Row("f_size_settings", _raw(Kind.SETTINGS, 0, bytes(5), on=0), frame_size)
    yield Row("f_size_settings_ack", _raw(Kind.SETTINGS, Flag.ACK, bytes(6), on=0), frame_size)
    yield Row("f_size_ping", _raw(Kind.PING, 0, bytes(7), on=0), frame_size)
    yield Row("f_size_rst", _raw(Kind.RST_STREAM, 0, bytes(3)), frame_size)
    yield Row("f_size_window", _raw(Kind.WINDOW_UPDATE, 0, bytes(5), on=0), frame_size)
    yield Row("f_size_goaway", _raw(Kind.GOAWAY, 0, bytes(7), on=0), frame_size)
    yield Row("f_size_headers_priority", _raw(Kind.HEADERS, Flag.PRIORITY | _BLOCK, bytes(4)), _ANY_SIZE)
    yield Row("f_size_headers_padded", _raw(Kind.HEADERS, Flag.PADDED | _BLOCK), _ANY_SIZE)
    yield Row("f_size_data_padded", _all(_ok(), _raw(Kind.DATA, Flag.PADDED)), _ANY_SIZE)
    yield Row("f_size_push", _raw(Kind.PUSH_PROMISE, _BLOCK, bytes(3)), _ANY_SIZE)
    yield Row("f_stream_0_data", _raw(Kind.DATA, 0, b"x", on=0))
    yield Row("f_stream_0_headers", _raw(Kind.HEADERS, _BLOCK, _STATUS_200, on=0))
    yield Row("f_stream_0_rst", _raw(Kind.RST_STREAM, 0, number(8), on=0))
    yield Row("f_stream_1_settings", _raw(Kind.SETTINGS, on=1))
    yield Row("f_stream_1_ping", _raw(Kind.PING, 0, bytes(8), on=1))
    yield Row("f_stream_1_goaway", _raw(Kind.GOAWAY, 0, bytes(8), on=1))


def _stream_errors() -> Iterator[Row]:
    yield Row("f_no_status", _head((b"a", b"b")))
    yield Row("f_no_fields", _head())
    yield Row("f_dup_status", _head((b":status", b"200"), (b":status", b"200")))
    for number_, status in enumerate(
        (b"abc", b"", b"99", b"1000", b"+20", b"2 0", b"-20", b"20x", b"000", b"\xb2\xb2\xb2")
    ):
        yield Row(f"f_bad_status_{number_}", _head((b":status", status)))
    yield Row("f_status_101", _ok(status=b"101"))
    yield Row("f_pseudo_late", _head((b"a", b"b"), (b":status", b"200")))
    yield Row("f_pseudo_unknown", _ok((b":unknown", b"x")))
    yield Row("f_pseudo_of_request", _ok((b":path", b"/")))
    yield Row("f_upper", _ok((b"X-Upper", b"a")))
    for name, value in (
        (b"connection", b"close"),
        (b"keep-alive", b"timeout=5"),
        (b"proxy-connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"websocket"),
        (b"te", b"gzip"),
    ):
        yield Row(f"f_conn_hdr_{name.decode()}", _ok((name, value)))
    for name_, field in {
        "cr": (b"a", b"b\rc"),
        "lf": (b"a", b"b\nc"),
        "crlf": (b"a", b"b\r\nset-cookie: evil=1"),
        "nul": (b"a", b"b\x00c"),
        "name_space": (b"a b", b"c"),
        "name_empty": (b"", b"c"),
        "name_crlf": (b"a\r\nb", b"c"),
        "name_colon": (b"a:b", b"c"),
        "name_8bit": (b"a\xe4", b"c"),
        "name_ctl": (b"a\x01", b"c"),
        "leading_space": (b"a", b" b"),
        "trailing_space": (b"a", b"b "),
        "trailing_tab": (b"a", b"b\t"),
    }.items():
        yield Row(f"f_crlf_{name_}", _ok(field))

    for number_, value in enumerate((b"+2", b"2,2", b"2x", b"-2", b"0x2", b"2_", b"9" * 5000, b"\xd9\xa2", b"")):
        yield Row(f"f_cl_bad_{number_}", _all(_ok((b"content-length", value)), _data(b"hi", False)))
    yield Row("f_cl_dup", _all(_ok((b"content-length", b"2"), (b"content-length", b"3")), _data(b"hi", False)))
    yield Row("f_cl_mismatch_more", _all(_ok((b"content-length", b"1")), _data(b"hi", False)))
    yield Row("f_cl_mismatch_0", _all(_ok((b"content-length", b"0")), _data(b"hi", False)))
    yield Row("f_204_data", _all(_ok(status=b"204"), _data(b"hi", False)))
    yield Row("f_304_data", _all(_ok(status=b"304"), _data(b"hi", False)))
    yield Row("f_head_data", _all(_ok(), _data(b"hi", False)), method="HEAD")
    yield Row("f_data_first", _data(b"evil", False))
    yield Row("f_1xx_data", _all(_ok(status=b"103"), _data(b"hi", False)))
    yield Row(
        "f_1xx_flood",
        lambda conn, stream_id: _ok(status=b"103")(conn, stream_id) + _ok(status=b"103")(conn, stream_id) * 20_000,
        _CALM | {Code.CANCEL},
    )
    yield Row("f_trailers_open", _all(_ok(), _head((b"a", b"b"), end=False)))
    yield Row("f_wu_0_stream", _raw(Kind.WINDOW_UPDATE, 0, number(0)))
    yield Row("f_wu_over_stream", _raw(Kind.WINDOW_UPDATE, 0, number(_MAX)), frozenset({Code.FLOW_CONTROL_ERROR}))


def _stream_errors_at_the_end() -> Iterator[Row]:
    """What comes with the last frame of a stream, behind which there is nothing to reset."""

    def ending(name: str, *sends: Sends, method: str = "GET") -> Row:
        return Row(name, _all(*sends), method=method, is_over=True)

    yield ending("f_no_status_over", _head((b"a", b"b"), end=True))
    yield ending("f_bad_status_over", _head((b":status", b"abc"), end=True))
    yield ending("f_upper_over", _ok((b"X-Upper", b"a"), end=True))
    yield ending("f_conn_hdr_over", _ok((b"connection", b"close"), end=True))
    yield ending("f_crlf_over", _ok((b"a", b"b\r\nset-cookie: evil=1"), end=True))
    yield ending("f_cl_bad_over", _ok((b"content-length", b"+2")), _data(b"hi"))
    yield ending("f_cl_mismatch_more_over", _ok((b"content-length", b"1")), _data(b"hi"))
    yield ending("f_cl_mismatch_less", _ok((b"content-length", b"10")), _data(b"hi"))
    yield ending("f_cl_mismatch_none", _ok((b"content-length", b"10"), end=True))
    yield ending("f_cl_mismatch_trailers", _ok((b"content-length", b"10")), _data(b"hi", False), _head(end=True))
    yield ending("f_204_data_over", _ok(status=b"204"), _data(b"hi"))
    yield ending("f_head_data_over", _ok(), _data(b"hi"), method="HEAD")
    yield ending("f_data_first_over", _data(b"evil"))
    yield ending("f_1xx_end", _ok(status=b"103", end=True))
    yield ending("f_1xx_data_over", _ok(status=b"103"), _data(b"hi"))
    yield ending("f_trailers_pseudo", _ok(), _head((b":status", b"200"), end=True))
    yield ending("f_trailers_bad", _ok(), _head((b"a", b"b\x00"), end=True))
    yield ending("f_trailers_conn", _ok(), _head((b"connection", b"close"), end=True))


def _floods() -> Iterator[Row]:
    unfinished = _raw(Kind.HEADERS, 0, _STATUS_200)
    full = b"\x00\x01a" + _varint(16_000, 7, 0) + b"b" * 16_000
    entry = b"\x40\x01a" + _varint(4000, 7, 0) + b"b" * 4000
    yield Row("f_cont_flood", _all(unfinished, _times(20_000, _raw(Kind.CONTINUATION))), _CALM)
    yield Row("f_cont_flood_30_mb", _all(unfinished, _times(1900, _raw(Kind.CONTINUATION, 0, full))), _CALM)
    yield Row("f_hpack_bomb", _block(_STATUS_200 + entry + b"\xbe" * 12_000), _CALM | {Code.COMPRESSION_ERROR})
    yield Row("f_ping_flood", _times(50_000, _raw(Kind.PING, 0, bytes(8), on=0)), _CALM)
    yield Row("f_settings_flood", _settings_flood, _CALM)
    yield Row("f_wu_flood", _times(50_000, _raw(Kind.WINDOW_UPDATE, 0, number(1), on=0)), _CALM)
    yield Row("f_wu_flood_stream", _times(50_000, _raw(Kind.WINDOW_UPDATE, 0, number(1))), _CALM)
    yield Row("f_empty_data", _all(_ok(), _times(100_000, _data(b"", False))), _CALM)
    yield Row("f_padded_empty", _all(_ok(), _times(20_000, _raw(Kind.DATA, Flag.PADDED, b"\x00"))), _CALM)
    yield Row(
        "f_rst_flood",
        _times(10_000, _raw(Kind.RST_STREAM, 0, number(Code.INTERNAL_ERROR))),
        _CALM | {Code.STREAM_CLOSED},
    )
    yield Row("f_prio_flood", _times(50_000, _raw(Kind.PRIORITY, 0, bytes(4) + b"\x10")), _CALM)
    yield Row("f_prio_flood_closed", _times(50_000, _raw(Kind.PRIORITY, 0, bytes(4) + b"\x10", on=1)), _CALM)
    yield Row("f_unknown_flood", _times(100_000, _raw(0xBB, on=0)), _CALM)


def _harmless() -> Iterator[Row]:
    """What looks wrong and is not, or may be ignored: the victim is answered all the same."""
    yield Row("unknown_frame", _raw(0xBB, 0xFF, b"anything"))
    yield Row("unknown_frame_on_0", _raw(0xBB, 0xFF, b"anything", on=0))
    yield Row("unknown_setting", _settings(0xF000, 2**32 - 1))
    yield Row("unknown_flags", _raw(Kind.PING, 0xFE, bytes(8), on=0))
    yield Row("priority_of_a_stream", _raw(Kind.PRIORITY, 0, bytes(4) + b"\x10"))
    yield Row("priority_of_an_idle_stream", _raw(Kind.PRIORITY, 0, bytes(4) + b"\x10", on=9))
    yield Row("f_prio_in_good_number", _times(500, _raw(Kind.PRIORITY, 0, bytes(4) + b"\x10")))
    yield Row("f_prio_of_closed_streams", _times(500, _raw(Kind.PRIORITY, 0, bytes(4) + b"\x10", on=1)))
    yield Row("ping", _raw(Kind.PING, 0, b"12345678", on=0))
    yield Row("ping_nobody_asked_for", _raw(Kind.PING, Flag.ACK, b"12345678", on=0))
    yield Row("no_push", _settings(Setting.ENABLE_PUSH, 0))
    yield Row("window_to_its_end", _raw(Kind.WINDOW_UPDATE, 0, number(_MAX - 65_535), on=0))
    yield Row("window_bit_31", _raw(Kind.WINDOW_UPDATE, 0, b"\x80\x00\x00\x01", on=0))
    yield Row(
        "continuations",
        _all(_raw(Kind.HEADERS), *[_raw(Kind.CONTINUATION)] * 5, _raw(Kind.CONTINUATION, _BLOCK, _STATUS_103)),
    )
    yield Row("table_size", _table_emptied)
    padded = Flag.PADDED | Flag.PRIORITY | _BLOCK
    yield Row("headers_with_all_there_is", _raw(Kind.HEADERS, padded, b"\x03" + bytes(5) + _STATUS_103 + bytes(3)))
    yield Row("103", _ok((b"link", b"</style.css>"), status=b"103"))
    yield Row("100_unasked", _ok(status=b"100"))
    yield Row("199", _ok(status=b"199"))


CONNECTION_ERRORS = list(_connection_errors())
STREAM_ERRORS = [*_stream_errors(), *_stream_errors_at_the_end()]
FLOODS = list(_floods())
HARMLESS = list(_harmless())
