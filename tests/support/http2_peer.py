"""Scripted HTTP/2 peers: servers that do, frame by frame, what no real server does.

A script is a plain blocking function of one connection, as those of `peer.py` are, and what is said there holds:

    def script(conn: HTTP2Conn) -> None:
        request = conn.read_request()
        conn.respond(request.stream_id, body=b"hello")
        conn.goaway(last_stream_id=1)
        conn.recv_until(GoAwayFrame)

    with HTTP2Peer(script) as peer:                                 # in clear, for `world.pool(http1=False)`
        ...
    with HTTP2Peer(script, tls=ca.server_context(alpn=("h2",))) as peer:
        ...

Preface and SETTINGS are exchanged before the script begins, SETTINGS and PING of the client are acknowledged, and its
windows are opened again as its DATA comes; each of these can be switched off. Nothing is read but by a call of the
script that reads, or that waits for a window. `peer.frames` is the log of all that came, and each frame of it obeys
`http2_rules.py`, or the test fails.

A script that returns ends the connection in good order: it reads until the client has gone too, so that no RST
overtakes what was sent. `conn.rst()` and `conn.close()` are for the other ways.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import hpack

from .http2_frames import (
    PREFACE,
    Code,
    ContinuationFrame,
    DataFrame,
    Flag,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    Kind,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    Setting,
    SettingsFrame,
    WindowUpdateFrame,
    number,
    raw_frame,
)
from .http2_rules import BadFrame, ClientRules, Settings, check_request_fields, check_trailers
from .invariants import Peers
from .peer import Conn, Disconnected, ScriptedPeer
from .tls import CertificateAuthority
from .wire import Req

__all__ = [
    "PREFACE",
    "Code",
    "ContinuationFrame",
    "DataFrame",
    "Disconnected",
    "Flag",
    "Frame",
    "GoAwayFrame",
    "HTTP2Conn",
    "HTTP2Peer",
    "HTTP2Peers",
    "HTTP2Req",
    "HeadersFrame",
    "Kind",
    "PingFrame",
    "PriorityFrame",
    "PushPromiseFrame",
    "RstStreamFrame",
    "Setting",
    "SettingsFrame",
    "WindowUpdateFrame",
    "http2_context",
    "number",
    "raw_frame",
    "serve",
]

F = TypeVar("F", bound=Frame)
HeaderPairs = Iterable[tuple[bytes, bytes]]
Script = Callable[["HTTP2Conn"], None]

_VERSION = b"HTTP/2"


@dataclass(frozen=True)
class HTTP2Req(Req):
    """A request as the peer saw it; `target` is its :path, `headers` are without the pseudo-header fields."""

    stream_id: int = 0
    pseudo: dict[bytes, bytes] = field(default_factory=dict)


class _Incoming:
    """One stream of the client's, while it comes."""

    def __init__(self, head: HTTP2Req) -> None:
        self.head = head
        self.body: list[bytes] = []
        self.trailers: list[tuple[bytes, bytes]] = []
        self.is_ended = False
        self.reset: int | None = None

    def request(self) -> HTTP2Req:
        return replace(self.head, body=b"".join(self.body), chunks=self.body, trailers=self.trailers)


class HTTP2Conn:
    """One accepted connection, in the hands of the script.

    Args:
        conn: the connection as bytes.
        acks: whether SETTINGS and PING of the client are acknowledged.
        opens_windows: whether windows are opened again by as much as the client has sent.
    """

    def __init__(self, conn: Conn, acks: bool = True, opens_windows: bool = True) -> None:
        self.conn = conn
        self.index = conn.index
        self.peer = conn.peer
        self.acks = acks
        self.opens_windows = opens_windows
        self.frames: list[Frame] = []
        """All that came on this connection."""
        self.settings_of_client: dict[int, int] = {}
        self.rules = ClientRules()
        self.encoder = hpack.Encoder()
        self.window = 65_535
        """How many bytes of DATA the client takes on the connection."""
        self._has_sent_settings = False
        self._unacknowledged = 0
        self._decoder = hpack.Decoder()
        self._decoder.max_header_list_size = 10_000_000
        self._unseen: list[Frame] = []
        self._streams: dict[int, _Incoming] = {}
        self._windows: dict[int, int] = {}
        self._new_heads: list[_Incoming] = []
        self._new_requests: list[_Incoming] = []

    # Reading

    def read_preface(self) -> None:
        preface = self.conn.recv_exactly(len(PREFACE))
        assert preface == PREFACE, preface

    def handshake(self, settings: Settings) -> None:
        """Both prefaces. Ours goes first, as real servers' often does, since it need not wait."""
        self.settings(settings)
        self.read_preface()
        self.recv_until(SettingsFrame)

    def read_head(self) -> HTTP2Req:
        """The head of the next request that opens; its body is still to come."""
        while not self._new_heads:
            self._read_frame()
        return self._new_heads.pop(0).head

    def read_body(self, head: HTTP2Req) -> HTTP2Req:
        """The same request with its body, once it has ended."""
        request = self.read_body_or_reset(head)
        assert request is not None, f"the client has reset stream {head.stream_id}"
        return request

    def read_body_or_reset(self, head: HTTP2Req) -> HTTP2Req | None:
        """None where the client resets the stream instead of ending it."""
        incoming = self._streams[head.stream_id]
        while not incoming.is_ended:
            if incoming.reset is not None:
                return None
            self._read_frame()
        if incoming in self._new_requests:
            self._new_requests.remove(incoming)
        return incoming.request()

    def read_request(self) -> HTTP2Req:
        """The next request that is complete, of whichever stream."""
        while not self._new_requests:
            self._read_frame()
        incoming = self._new_requests.pop(0)
        if incoming in self._new_heads:
            self._new_heads.remove(incoming)
        return incoming.request()

    def recv_frame(self) -> Frame:
        """The next frame, in the order in which they came."""
        if not self._unseen:
            self._read_frame()
        return self._unseen.pop(0)

    def recv_until(self, kind: type[F], stream_id: int | None = None, acks: bool = False) -> F:
        """The first frame of a kind, and of a stream, that neither this nor `recv_frame` has returned yet.

        Args:
            acks: SETTINGS and PING that acknowledge, instead of those that do not.
        """
        at = 0
        while True:
            while at < len(self._unseen):
                frame = self._unseen[at]
                is_meant = isinstance(frame, kind) and stream_id in (None, frame.stream_id)
                if is_meant and acks == (isinstance(frame, (SettingsFrame, PingFrame)) and "ACK" in frame.flags):
                    del self._unseen[at]
                    assert isinstance(frame, kind)
                    return frame
                at += 1
            self._read_frame()

    def recv_goaway(self) -> Code:
        return Code(self.recv_until(GoAwayFrame).error_code)

    def recv_rst(self, stream_id: int | None = None) -> Code:
        return Code(self.recv_until(RstStreamFrame, stream_id).error_code)

    def recv_refusal(self, stream_id: int) -> Code:
        """The code of whichever comes first, RST_STREAM on a stream or GOAWAY."""
        while True:
            frame = self.recv_frame()
            if isinstance(frame, GoAwayFrame) or (isinstance(frame, RstStreamFrame) and frame.stream_id == stream_id):
                return Code(frame.error_code)

    def roundtrip(self) -> None:
        """Return once the client has seen all that was sent so far, as its answer to a PING shows."""
        mark = b"mark%04d" % len(self.frames)
        self.ping(mark)
        while self.recv_until(PingFrame, acks=True).opaque_data != mark:
            pass

    def body_so_far(self, stream_id: int) -> bytes:
        """What came of the body of a stream."""
        return b"".join(self._streams[stream_id].body)

    def received(self, stream_id: int) -> int:
        """How many bytes of it."""
        return sum(map(len, self._streams[stream_id].body))

    def wait_closed(self) -> bool:
        """Read frames until the client ends or resets; whether it did so in time, by itself."""
        try:
            while True:
                self._read_frame()
        except Disconnected:
            return not self.conn.is_cut_off
        except TimeoutError:
            return False

    # Writing

    def send_raw(self, data: bytes) -> None:
        self.conn.send(data)

    def send_frame(self, *frames: Frame) -> None:
        """Send frames in one piece, as they are: of windows and headers the caller takes care."""
        self.conn.send(b"".join(frame.serialize() for frame in frames))
        for frame in frames:
            self._note_sent(frame)

    def headers(self, stream_id: int, fields: HeaderPairs, *, end_stream: bool = False) -> HeadersFrame:
        """A HEADERS frame, encoded now. Fields go out as they are, bad ones too."""
        pairs = list(fields)
        # hpack takes seconds for Huffman's code of what is large.
        is_small = sum(len(value) for _, value in pairs) < 10_000
        data = self.encoder.encode(pairs, huffman=is_small)
        return HeadersFrame(stream_id, data, flags=["END_STREAM"] * end_stream + ["END_HEADERS"])

    def send_headers(self, stream_id: int, fields: HeaderPairs, *, end_stream: bool = False) -> None:
        """A HEADERS frame, cut into CONTINUATION frames where it is too long for one."""
        frame = self.headers(stream_id, fields, end_stream=end_stream)
        limit = self.settings_of_client.get(Setting.MAX_FRAME_SIZE, 16_384)
        rest, frame.data = frame.data[limit:], frame.data[:limit]
        frames: list[Frame] = [frame]
        if rest:
            frame.flags.discard("END_HEADERS")
            parts = [rest[at : at + limit] for at in range(0, len(rest), limit)]
            frames += [ContinuationFrame(stream_id, part) for part in parts]
            frames[-1].flags.add("END_HEADERS")
        self.send_frame(*frames)

    def send_head(
        self, stream_id: int, status: int = 200, headers: HeaderPairs = (), *, end_stream: bool = False
    ) -> None:
        self.send_headers(stream_id, [(b":status", b"%d" % status), *headers], end_stream=end_stream)

    def send_data(self, stream_id: int, data: bytes, *, end_stream: bool = False) -> None:
        """DATA, as the client's windows allow, reading until they do. Stops where the client resets the stream."""
        view = memoryview(data)
        limit = self.settings_of_client.get(Setting.MAX_FRAME_SIZE, 16_384)
        while True:
            if not self.wait_for_window(stream_id, 1 if view else 0):
                return
            size = min(len(view), limit, max(0, self.window), max(0, self.client_window(stream_id)))
            part, view = bytes(view[:size]), view[size:]
            is_last = end_stream and not view
            self.send_frame(DataFrame(stream_id, part, flags=["END_STREAM"] * is_last))
            if not view:
                return

    def wait_for_window(self, stream_id: int, size: int) -> bool:
        """Read until the client takes so much DATA on a stream; False where it resets it instead."""
        while min(self.window, self.client_window(stream_id)) < size and not self.is_reset(stream_id):
            self._read_frame()
        return not self.is_reset(stream_id)

    def fill_window(self, stream_id: int) -> None:
        """As much DATA on a stream as the client takes without opening its windows again."""
        self.send_data(stream_id, bytes(min(self.window, self.client_window(stream_id))))

    def respond(
        self,
        stream_id: int,
        status: int = 200,
        headers: HeaderPairs = (),
        body: bytes = b"",
        trailers: HeaderPairs = (),
        *,
        end_stream: bool = True,
    ) -> None:
        """A whole response; with `end_stream=False` a beginning."""
        last = list(trailers)
        self.send_head(stream_id, status, headers, end_stream=end_stream and not body and not last)
        if body:
            self.send_data(stream_id, body, end_stream=end_stream and not last)
        if last and not self.is_reset(stream_id):
            self.send_headers(stream_id, last, end_stream=end_stream)

    def settings(self, settings: Settings) -> None:
        self.send_frame(SettingsFrame(settings={int(key): value for key, value in settings.items()}))
        self._has_sent_settings = True
        self._acknowledge()

    def goaway(self, last_stream_id: int = 0, code: Code = Code.NO_ERROR, debug: bytes = b"") -> None:
        self.send_frame(GoAwayFrame(last_stream_id=last_stream_id, error_code=code, additional_data=debug))

    def send_rst(self, stream_id: int, code: Code) -> None:
        self.send_frame(RstStreamFrame(stream_id, error_code=code))

    def window_update(self, stream_id: int, increment: int) -> None:
        self.send_frame(WindowUpdateFrame(stream_id, window_increment=increment))

    def ping(self, data: bytes = b"12345678", *, ack: bool = False) -> None:
        self.send_frame(PingFrame(opaque_data=data, flags=["ACK"] * ack))

    def is_reset(self, stream_id: int) -> bool:
        """Whether the client has reset a stream, as far as we have read."""
        incoming = self._streams.get(stream_id)
        return incoming is not None and incoming.reset is not None

    # Ending: see `Conn`.

    def fin(self) -> None:
        self.conn.fin()

    def rst(self) -> None:
        self.conn.rst()

    def close(self) -> None:
        self.conn.close()

    def end(self) -> None:
        """End our side in good order, and read until the client has ended its own."""
        if self.conn.socket.sock.fileno() < 0:
            return
        # From here on nothing can be answered, and a client that is gone, or says so by an alert, is no fault.
        self.acks = self.opens_windows = False
        with contextlib.suppress(Disconnected, ssl.SSLError):
            if self.conn.tls is not None:
                self.conn.close_notify()
            self.fin()
            self.wait_closed()

    # Frames, as they come and go

    def _read_frame(self) -> None:
        frame = self._parse()
        self.frames.append(frame)
        self._unseen.append(frame)
        self.rules.received(frame)
        match frame:
            case HeadersFrame():
                self._take_headers(frame)
            case DataFrame():
                self._take_data(frame)
            case RstStreamFrame() if frame.stream_id in self._streams:
                self._streams[frame.stream_id].reset = frame.error_code
            case SettingsFrame() if "ACK" not in frame.flags:
                self._take_settings(frame)
            case SettingsFrame():
                # From here on the client's field blocks must keep to it, and say so where it is less than before.
                self._decoder.max_allowed_table_size = self.rules.table_size
            case PingFrame() if "ACK" not in frame.flags and self.acks:
                self.ping(frame.opaque_data, ack=True)
            case WindowUpdateFrame(stream_id=0):
                self.window += frame.window_increment
            case WindowUpdateFrame():
                self._windows[frame.stream_id] = self.client_window(frame.stream_id) + frame.window_increment
        self._note()

    def _note(self) -> None:
        with self.peer._changed:
            self.peer._changed.notify_all()

    def _parse(self) -> Frame:
        frame = self._parse_one()
        if isinstance(frame, HeadersFrame):
            while "END_HEADERS" not in frame.flags:
                more = self._parse_one()
                if not isinstance(more, ContinuationFrame) or more.stream_id != frame.stream_id:
                    raise BadFrame(f"{more!r} in the middle of a field block")
                frame.data += more.data
                if "END_HEADERS" in more.flags:
                    frame.flags.add("END_HEADERS")
        elif isinstance(frame, ContinuationFrame):
            raise BadFrame(f"CONTINUATION without HEADERS: {frame!r}")
        return frame

    def _parse_one(self) -> Frame:
        try:
            head = self.conn.recv_exactly(9)
        except Disconnected as exc:
            exc.is_between_requests = not self.rules.open_streams
            raise
        frame, length = Frame.parse_frame_header(memoryview(head), strict=True)
        frame.parse_body(memoryview(self.conn.recv_exactly(length)))
        return frame

    def _take_headers(self, frame: HeadersFrame) -> None:
        fields = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(frame.data, raw=True)]
        incoming = self._streams.get(frame.stream_id)
        if incoming is None:
            check_request_fields(fields)
            incoming = self._streams[frame.stream_id] = _Incoming(self._head(frame, fields))
            self._new_heads.append(incoming)
            self.peer._log_request(self.conn, incoming.head)
        else:
            check_trailers(fields)
            incoming.trailers = fields
        if "END_STREAM" in frame.flags:
            self._complete(incoming)

    def _head(self, frame: HeadersFrame, fields: list[tuple[bytes, bytes]]) -> HTTP2Req:
        pseudo = {name: value for name, value in fields if name.startswith(b":")}
        headers = [pair for pair in fields if not pair[0].startswith(b":")]
        method, target = pseudo[b":method"], pseudo.get(b":path", pseudo[b":authority"])
        return HTTP2Req(
            method,
            target,
            _VERSION,
            headers,
            frame.data,
            connection=self.index,
            stream_id=frame.stream_id,
            pseudo=pseudo,
        )

    def _take_data(self, frame: DataFrame) -> None:
        incoming = self._streams[frame.stream_id]
        if frame.data:
            incoming.body.append(bytes(frame.data))
        if self.opens_windows and frame.flow_controlled_length:
            self.window_update(0, frame.flow_controlled_length)
            if "END_STREAM" not in frame.flags:
                self.window_update(frame.stream_id, frame.flow_controlled_length)
        if "END_STREAM" in frame.flags:
            self._complete(incoming)

    def _complete(self, incoming: _Incoming) -> None:
        incoming.is_ended = True
        self._new_requests.append(incoming)
        self.peer._log_request(self.conn, incoming.request(), instead_of=incoming.head)

    def _take_settings(self, frame: SettingsFrame) -> None:
        change = frame.settings.get(Setting.INITIAL_WINDOW_SIZE)
        if change is not None:
            change -= self.settings_of_client.get(Setting.INITIAL_WINDOW_SIZE, 65_535)
            self._windows = {stream_id: window + change for stream_id, window in self._windows.items()}
        self.settings_of_client.update(frame.settings)
        if Setting.HEADER_TABLE_SIZE in frame.settings:
            self.encoder.header_table_size = min(4096, frame.settings[Setting.HEADER_TABLE_SIZE])
        self._unacknowledged += 1
        self._acknowledge()

    def _acknowledge(self) -> None:
        """Ours have to come first (RFC 9113, 3.4)."""
        while self.acks and self._has_sent_settings and self._unacknowledged:
            self._unacknowledged -= 1
            self.send_frame(SettingsFrame(flags=["ACK"]))

    def client_window(self, stream_id: int) -> int:
        """How many bytes of DATA the client takes on a stream."""
        return self._windows.get(stream_id, self.settings_of_client.get(Setting.INITIAL_WINDOW_SIZE, 65_535))

    def _note_sent(self, frame: Frame) -> None:
        match frame:
            case SettingsFrame() if "ACK" not in frame.flags:
                self.rules.settings_sent(frame.settings)
            case WindowUpdateFrame():
                self.rules.window_opened(frame.stream_id, frame.window_increment)
            case RstStreamFrame():
                self.rules.reset_sent(frame.stream_id)
            case DataFrame():
                self.window -= frame.flow_controlled_length
                self._windows[frame.stream_id] = self.client_window(frame.stream_id) - frame.flow_controlled_length
        if "END_STREAM" in frame.flags:
            self.rules.answered(frame.stream_id)


class HTTP2Peer(ScriptedPeer):
    """A server on loopback that runs a script for each connection it accepts.

    Args:
        script: called with each `HTTP2Conn`, in a thread of its own.
        tls: a server context that offers h2 by ALPN: `ca.server_context(alpn=("h2",))`. A client that did not choose it
            fails the test.
        settings: ours.
        handshake: whether preface and SETTINGS are exchanged before the script begins.
        acks, opens_windows: see `HTTP2Conn`.
        ends_in_order: whether a connection is ended as `HTTP2Conn.end` does it when its script returns.
        options: as `ScriptedPeer` has them.
    """

    def __init__(
        self,
        script: Script,
        *,
        tls: ssl.SSLContext | None = None,
        settings: Settings | None = None,
        handshake: bool = True,
        acks: bool = True,
        opens_windows: bool = True,
        ends_in_order: bool = True,
        expect_disconnect: bool = False,
    ) -> None:
        self.http2_connections: list[HTTP2Conn] = []
        """All on which the script has begun, in that order."""

        def run(conn: Conn) -> None:
            assert conn.tls is None or conn.tls.selected_alpn_protocol() == "h2"
            http2 = HTTP2Conn(conn, acks, opens_windows)
            self.http2_connections.append(http2)
            if handshake:
                http2.handshake(settings or {})
            script(http2)
            if ends_in_order:
                http2.end()

        super().__init__(run, tls=tls, alpn=("h2",), expect_disconnect=expect_disconnect)

    def __enter__(self) -> HTTP2Peer:
        super().__enter__()
        return self

    @property
    def frames(self) -> list[Frame]:
        """All that came so far, connection by connection."""
        return [frame for conn in list(self.http2_connections) for frame in list(conn.frames)]

    @property
    def resets(self) -> list[tuple[int, Code]]:
        """Stream and code of each RST_STREAM that came."""
        return [(f.stream_id, Code(f.error_code)) for f in self.frames if isinstance(f, RstStreamFrame)]

    @property
    def goaways(self) -> list[Code]:
        """The code of each GOAWAY that came."""
        return [Code(frame.error_code) for frame in self.frames if isinstance(frame, GoAwayFrame)]


class HTTP2Peers(Peers):
    """As `Peers`: the first connections are scripted, all others serve, and another origin is fine."""

    faulty: HTTP2Peer
    other: HTTP2Peer

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None, **options: object) -> None:
        self._stack = contextlib.ExitStack()

        def script(conn: HTTP2Conn) -> None:
            (scripts[conn.index] if conn.index < len(scripts) else serve)(conn)

        # What is switched off for the scripts is switched off for those that serve, where it does not matter.
        self.faulty = HTTP2Peer(script, tls=tls, **options)  # type: ignore[arg-type]
        self.other = HTTP2Peer(serve, tls=tls)

    def __enter__(self) -> HTTP2Peers:
        super().__enter__()
        return self


def serve(conn: HTTP2Conn) -> None:
    """A script that answers every request with its target, but for those that the client has reset by then."""
    while True:
        request = conn.read_request()
        if conn.is_reset(request.stream_id):
            continue
        conn.respond(request.stream_id, body=b"" if request.method == b"HEAD" else request.target)


def http2_context(ca: CertificateAuthority) -> ssl.SSLContext:
    """A good server that offers h2 and nothing else."""
    return ca.server_context(alpn=("h2",))
