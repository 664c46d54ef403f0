"""What the engine sends, by RFC 9113: never beyond a window or a frame's size, and all of it in its order.

The peer of these tests keeps its own account of what it has allowed, by what it has said and what was acknowledged.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from httpcore import HTTP2, RemoteProtocolError
from httpcore._engines.h2 import H2Engine
from httpcore._engines.http2 import ErrorCode
from tests.support.http2_frames import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    Kind,
    PingFrame,
    RstStreamFrame,
    Setting,
    SettingsFrame,
    WindowUpdateFrame,
    frames_of,
    number,
    raw_frame,
)

_POST = [(b":method", b"POST"), (b":authority", b"a"), (b":scheme", b"http"), (b":path", b"/")]
_STREAMS = 3


@dataclass
class Peer:
    """A server that hears what the engine sends, frame by frame, and holds it to what was allowed at that point."""

    engine: H2Engine = field(default_factory=lambda: H2Engine(HTTP2(), 65_536))
    decoder: hpack.Decoder = field(default_factory=hpack.Decoder)
    initial: int = 65_535
    max_frame: int = 16_384
    windows: dict[int, int] = field(default_factory=lambda: {0: 65_535})
    unacknowledged: deque[dict[int, int]] = field(default_factory=lambda: deque([{}]))
    heads: dict[int, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    bodies: defaultdict[int, bytearray] = field(default_factory=lambda: defaultdict(bytearray))
    ended: set[int] = field(default_factory=set)
    resets: list[tuple[int, int]] = field(default_factory=list)
    block: bytes = b""

    def __post_init__(self) -> None:
        self.engine.receive(SettingsFrame(0).serialize(), self)

    def say(self, frame: Frame) -> None:
        self.engine.receive(frame.serialize(), self)

    def set(self, code: int, value: int) -> None:
        self.unacknowledged.append({code: value})
        self.say(SettingsFrame(0, settings={code: value}))

    def allow(self, stream_id: int, increment: int) -> None:
        self.windows[stream_id] = self.windows.get(stream_id, self.initial) + increment
        self.say(WindowUpdateFrame(stream_id, window_increment=increment))

    def hear(self) -> list[Frame]:
        frames = frames_of(self.engine.take_output())
        for frame in frames:
            assert frame.body_len <= self.max_frame
            self._heed(frame)
        return frames

    def _heed(self, frame: Frame) -> None:
        assert not self.block or isinstance(frame, ContinuationFrame)
        if isinstance(frame, (HeadersFrame, ContinuationFrame)):
            self.block += frame.data
            if "END_HEADERS" in frame.flags:
                self.heads[frame.stream_id] = list(self.decoder.decode(self.block, raw=True))
                self.block = b""
            self.windows.setdefault(frame.stream_id, self.initial)
        elif isinstance(frame, DataFrame):
            assert frame.stream_id not in self.ended
            self.bodies[frame.stream_id] += frame.data
            for each in (0, frame.stream_id):
                self.windows[each] -= len(frame.data)
                assert self.windows[each] >= 0 or not frame.data
        elif isinstance(frame, SettingsFrame) and "ACK" in frame.flags:
            self._apply(self.unacknowledged.popleft())
        elif isinstance(frame, RstStreamFrame):
            self.resets.append((frame.stream_id, frame.error_code))
        if "END_STREAM" in frame.flags:
            self.ended.add(frame.stream_id)

    def _apply(self, changes: dict[int, int]) -> None:
        self.max_frame = changes.get(Setting.MAX_FRAME_SIZE, self.max_frame)
        self.decoder.max_allowed_table_size = changes.get(
            Setting.HEADER_TABLE_SIZE, self.decoder.max_allowed_table_size
        )
        gain = changes.get(Setting.INITIAL_WINDOW_SIZE, self.initial) - self.initial
        self.initial += gain
        for stream_id in self.windows:
            self.windows[stream_id] += gain if stream_id else 0

    def headers_received(self, stream_id: int, fields: object, is_end: bool) -> None: ...

    def data_received(self, stream_id: int, data: bytes, is_end: bool) -> None: ...

    def stream_reset(self, stream_id: int, code: int, is_remote: bool) -> None: ...

    def window_opened(self, stream_id: int) -> None: ...

    def settings_received(self) -> None: ...

    def going_away(self, last_stream_id: int, code: int, reason: bytes) -> None: ...

    def pong(self) -> None: ...


def post(engine: H2Engine) -> int:
    stream_id = engine.open_stream(_POST, False)
    assert stream_id is not None
    return stream_id


_SIZES = [0, 1, 100, 16_384, 16_385, 50_000, 65_535]
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, _STREAMS - 1), st.sampled_from(_SIZES)),
        st.tuples(st.just("end"), st.integers(0, _STREAMS - 1), st.sampled_from(_SIZES)),
        st.tuples(st.just("allow"), st.integers(-1, _STREAMS - 1), st.sampled_from(_SIZES[1:])),
        st.tuples(st.just("initial"), st.just(0), st.sampled_from(_SIZES)),
        st.tuples(st.just("max_frame"), st.just(0), st.sampled_from([16_384, 20_000, 2**24 - 1])),
        st.tuples(st.just("ping"), st.just(0), st.just(0)),
        st.tuples(st.just("hear"), st.just(0), st.just(0)),
    ),
    min_size=20,
    max_size=120,
)


@settings(max_examples=100)
@given(_steps)
def test_p33_all_that_the_windows_allow_is_sent_at_once_and_never_a_byte_more(plan: list[tuple[str, int, int]]) -> None:
    peer = Peer()
    engine = peer.engine
    ids = [post(engine) for _ in range(_STREAMS)]
    peer.hear()
    # What the engine knows, where `peer.windows` is what may come in what has not been heard yet.
    initial, room = 65_535, dict.fromkeys([0, *ids], 65_535)
    sent, over, stamp = {each: b"" for each in ids}, set[int](), 0
    for what, which, size in plan:
        stream_id = ids[which] if which >= 0 else 0
        if what in ("send", "end") and stream_id not in over:
            stamp += 1
            body = bytes([stamp % 256]) * size
            taken = engine.send_data(stream_id, memoryview(body), what == "end")
            assert taken == max(0, min(size, room[stream_id], room[0]))
            sent[stream_id] += body[:taken]
            room[0] -= taken
            room[stream_id] -= taken
            if what == "end" and taken == size:
                over.add(stream_id)
        elif what == "allow":
            room[stream_id] += size
            peer.allow(stream_id, size)
        elif what == "initial":
            for each in ids:
                room[each] += size - initial
            initial = size
            peer.set(Setting.INITIAL_WINDOW_SIZE, size)
        elif what == "max_frame":
            peer.set(Setting.MAX_FRAME_SIZE, size)
        elif what == "ping":
            peer.say(PingFrame(0, opaque_data=b"12345678"))
        elif what == "hear":
            peer.hear()
    peer.hear()
    assert {each: bytes(peer.bodies[each]) for each in ids} == sent
    assert peer.ended == over
    assert peer.windows == room
    assert not peer.unacknowledged


def test_f_window_change_a_body_ends_in_a_window_below_zero() -> None:
    peer = Peer()
    stream_id = post(peer.engine)
    assert peer.engine.send_data(stream_id, memoryview(bytes(1000)), False) == 1000
    peer.set(Setting.INITIAL_WINDOW_SIZE, 10)
    assert peer.engine.send_data(stream_id, memoryview(b"x"), True) == 0
    assert peer.engine.send_data(stream_id, memoryview(b""), True) == 0
    peer.hear()
    assert peer.windows[stream_id] == 10 - 1000
    assert (len(peer.bodies[stream_id]), peer.ended) == (1000, {stream_id})


def test_frames_are_as_large_as_the_peer_takes_them() -> None:
    peer = Peer()
    stream_id = post(peer.engine)
    peer.set(Setting.MAX_FRAME_SIZE, 40_000)
    assert peer.engine.send_data(stream_id, memoryview(bytes(65_535)), True) == 65_535
    frames = [frame for frame in peer.hear() if isinstance(frame, DataFrame)]
    assert [(len(frame.data), "END_STREAM" in frame.flags) for frame in frames] == [(40_000, False), (25_535, True)]


@pytest.mark.parametrize("is_end", [True, False])
def test_a_head_that_is_larger_than_a_frame_is_continued(is_end: bool) -> None:
    peer = Peer()
    fields = [*_POST, *((b"x-%d" % n, bytes([65 + n]) * 9_000) for n in range(6))]
    stream_id = peer.engine.open_stream(fields, is_end)
    frames = peer.hear()[-3:]
    assert [type(frame) for frame in frames] == [HeadersFrame, ContinuationFrame, ContinuationFrame]
    assert stream_id is not None
    assert peer.heads[stream_id] == fields
    assert peer.ended == ({stream_id} if is_end else set())


def test_trailers_end_a_body() -> None:
    peer = Peer()
    stream_id = post(peer.engine)
    peer.engine.send_data(stream_id, memoryview(b"body"), False)
    peer.engine.send_trailers(stream_id, [(b"x-sum", b"1")])
    peer.hear()
    assert (peer.heads[stream_id], peer.ended) == ([(b"x-sum", b"1")], {stream_id})
    assert peer.bodies[stream_id] == b"body"


@pytest.mark.parametrize("sizes", [[0], [0, 0], [0, 4096], [100, 50], [65_536], [65_536, 0, 65_536], [2**32 - 1]])
def test_f_hpack_resize_heads_keep_to_the_table_that_the_peer_allows(sizes: list[int]) -> None:
    peer = Peer()
    fields = [*_POST, (b"x-indexed", b"1" * 60), (b"authorization", b"secret")]
    for _ in range(2):
        peer.engine.open_stream(fields, True)
    peer.hear()
    for size in sizes:
        peer.set(Setting.HEADER_TABLE_SIZE, size)
    for _ in range(2):
        stream_id = peer.engine.open_stream(fields, True)
        peer.hear()
        assert stream_id is not None
        assert peer.heads[stream_id] == fields
    assert peer.decoder.header_table_size == min([4096, sizes[-1]]), "a larger one would hold more and find it slower"


def test_what_was_queued_stays_before_what_answers_the_peer() -> None:
    peer = Peer()
    peer.hear()
    first = post(peer.engine)
    peer.engine.send_data(first, memoryview(b"body"), True)
    peer.say(PingFrame(0, opaque_data=b"12345678"))
    second = post(peer.engine)
    peer.set(Setting.MAX_FRAME_SIZE, 40_000)
    peer.engine.ping()
    peer.engine.reset(second, ErrorCode.CANCEL)
    peer.engine.go_away(ErrorCode.NO_ERROR)
    kinds = [HeadersFrame, DataFrame, PingFrame, HeadersFrame, SettingsFrame, PingFrame, RstStreamFrame, GoAwayFrame]
    assert [type(frame) for frame in peer.hear()] == kinds


@pytest.mark.parametrize(
    ("increment", "code"),
    [(0, ErrorCode.PROTOCOL_ERROR), (2**31 - 1, ErrorCode.FLOW_CONTROL_ERROR)],
    ids=["by nothing", "too wide"],
)
def test_f_wu_over_a_window_of_a_stream_costs_the_stream_alone(increment: int, code: ErrorCode) -> None:
    peer = Peer()
    broken, sound = post(peer.engine), post(peer.engine)
    peer.hear()
    peer.engine.receive(raw_frame(Kind.WINDOW_UPDATE, 0, broken, number(increment)), peer)
    assert peer.engine.send_data(sound, memoryview(b"body"), True) == 4
    peer.hear()
    assert peer.resets == [(broken, int(code))]
    assert peer.bodies[sound] == b"body"


def test_f_init_window_settings_that_open_a_window_too_wide_cost_the_connection() -> None:
    peer = Peer()
    stream_id = post(peer.engine)
    peer.allow(stream_id, 1000)
    with pytest.raises(RemoteProtocolError, match="FLOW_CONTROL_ERROR"):
        peer.set(Setting.INITIAL_WINDOW_SIZE, 2**31 - 1)
    last = peer.hear()[-1]
    assert isinstance(last, GoAwayFrame)
    assert last.error_code == ErrorCode.FLOW_CONTROL_ERROR
