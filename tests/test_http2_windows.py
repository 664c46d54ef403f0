"""Flow control by the rules of RFC 9113, 6.9: whatever happens, no byte of a window is lost or made up.

The peer of these tests keeps its own account, by what the engine sends it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import hpack
from hypothesis import given, settings
from hypothesis import strategies as st

from httpcore import HTTP2
from httpcore._engines.h2 import H2Engine
from httpcore._engines.http2 import ErrorCode
from tests.support.http2_frames import (
    DataFrame,
    Frame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
    frames_of,
)

_GET = [(b":method", b"GET"), (b":authority", b"a"), (b":scheme", b"http"), (b":path", b"/")]
_WINDOW = 65_535
_CONNECTION_WINDOW = 100_000
_STREAMS = 3


@dataclass
class Peer:
    """A server that sends as much as it may, and keeps count of that; and what the engine tells its client."""

    engine: H2Engine
    encoder: hpack.Encoder = field(default_factory=hpack.Encoder)
    windows: dict[int, int] = field(default_factory=lambda: {0: 65_535})
    unread: dict[int, int] = field(default_factory=dict)
    body_left: dict[int, int] = field(default_factory=dict)

    def say(self, frame: Frame) -> None:
        self.engine.receive(frame.serialize(), self)
        self.hear()

    def hear(self) -> list[Frame]:
        frames = frames_of(self.engine.take_output())
        for frame in frames:
            if isinstance(frame, WindowUpdateFrame):
                self.windows[frame.stream_id] = self.windows.get(frame.stream_id, 0) + frame.window_increment
        return frames

    def headers_received(self, stream_id: int, fields: object, is_end: bool) -> None: ...

    def data_received(self, stream_id: int, data: bytes, is_end: bool) -> None:
        self.unread[stream_id] += len(data)

    def stream_reset(self, stream_id: int, code: int, is_remote: bool) -> None: ...

    def window_opened(self, stream_id: int) -> None: ...

    def settings_received(self) -> None: ...

    def going_away(self, last_stream_id: int, code: int, reason: bytes) -> None: ...

    def pong(self) -> None: ...


steps = st.lists(
    st.tuples(
        st.sampled_from(["data", "data", "data", "padded", "read", "read", "reset"]),
        st.integers(0, _STREAMS - 1),
        st.sampled_from([0, 1, 1000, 8000, 16_284, 16_284]),  # a frame has 16,384 at most, and 100 may be padding
    ),
    min_size=60,
    max_size=200,
)


def connected() -> tuple[Peer, list[int]]:
    engine = H2Engine(HTTP2(stream_window=_WINDOW, connection_window=_CONNECTION_WINDOW), 65_536)
    peer = Peer(engine)
    peer.say(SettingsFrame(0))
    ids = [engine.open_stream(_GET, True) for _ in range(_STREAMS)]
    opened = [stream_id for stream_id in ids if stream_id is not None]
    peer.hear()
    for stream_id in opened:
        peer.windows[stream_id], peer.unread[stream_id] = _WINDOW, 0
        head = HeadersFrame(stream_id, data=peer.encoder.encode([(":status", "200")]), flags=["END_HEADERS"])
        peer.say(head)
    return peer, opened


@settings(max_examples=50)
@given(steps)
def test_p40_the_sum_of_windows_is_conserved_after_every_event(plan: list[tuple[str, int, int]]) -> None:
    peer, ids = connected()
    assert peer.windows[0] == _CONNECTION_WINDOW
    sent = padding = 0
    credited, received = dict.fromkeys(ids, 0), dict.fromkeys(ids, 0)
    gone: set[int] = set()
    for what, which, size in plan:
        stream_id = ids[which]
        if what in ("data", "padded"):
            flow = size + (100 if what == "padded" else 0)
            if flow > min(peer.windows[0], peer.windows[stream_id]):
                continue  # the peer keeps to its windows
            frame = DataFrame(stream_id, data=bytes(size))
            if what == "padded":
                frame = DataFrame(stream_id, data=bytes(size), flags=["PADDED"], pad_length=99)
            peer.windows[0] -= flow
            peer.windows[stream_id] -= flow
            sent += flow
            padding += flow - size
            received[stream_id] += flow if stream_id not in gone else 0
            credited[stream_id] += flow - size if stream_id not in gone else 0
            peer.say(frame)
        elif what == "read" and stream_id not in gone:
            count = min(size, peer.unread[stream_id])
            peer.unread[stream_id] -= count
            credited[stream_id] += count
            peer.engine.credit(stream_id, count)
            peer.hear()
        elif what == "reset" and stream_id not in gone:
            gone.add(stream_id)
            peer.engine.reset(stream_id, ErrorCode.CANCEL)
            assert [type(frame) for frame in peer.hear()] == [RstStreamFrame]
        # The connection's window is never more than it was, and at least half of it is always there.
        assert _CONNECTION_WINDOW // 2 <= peer.windows[0] <= _CONNECTION_WINDOW
        for each in set(ids) - gone:
            withheld = _WINDOW - peer.windows[each]
            unused = credited[each] - (received[each] - withheld)
            assert received[each] - credited[each] == peer.unread[each], "what was not read is all that is not credited"
            assert 0 <= unused < _WINDOW // 2, "what was read is given back, before half of the window is gone"
