"""The scripted HTTP/2 peer and the HTTP/2 servers, tried with other clients than ours: h2 by hand, bytes, and curl."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator

import h2.config
import h2.connection
import h2.events
import pytest

from tests.support.app import pattern
from tests.support.http2_peer import (
    PREFACE,
    Code,
    DataFrame,
    Disconnected,
    Flag,
    GoAwayFrame,
    HeadersFrame,
    HTTP2Conn,
    HTTP2Peer,
    HTTP2Peers,
    Kind,
    PingFrame,
    RstStreamFrame,
    Setting,
    SettingsFrame,
    WindowUpdateFrame,
    http2_context,
    number,
    raw_frame,
    serve,
)
from tests.support.http2_rules import BadFrame, ClientRules, check_request_fields, check_trailers
from tests.support.nghttpd import Nghttpd
from tests.support.nginx import Nginx
from tests.support.peer import ScriptedPeer
from tests.support.servers import Server
from tests.support.tls import CertificateAuthority

GET = [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/hello")]
POST = [(":method", "POST"), *GET[1:]]


class Client:
    """h2 on a blocking socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.h2.initiate_connection()
        self.flush()
        self.events: list[h2.events.Event] = []

    def flush(self) -> None:
        self.sock.sendall(self.h2.data_to_send())

    def until(self, kind: type[h2.events.Event], stream_id: int | None = None) -> h2.events.Event:
        """Read until an event has come; all that came are in `events`."""
        while True:
            for event in self.events:
                if isinstance(event, kind) and stream_id in (None, getattr(event, "stream_id", None)):
                    return event
            data = self.sock.recv(65_536)
            assert data, f"the peer has ended, after {self.events}"
            for event in self.h2.receive_data(data):
                self.events.append(event)
                if isinstance(event, h2.events.DataReceived):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.flush()

    def send(self, stream_id: int, fields: list[tuple[str, str]], body: bytes | None = None) -> None:
        self.h2.send_headers(stream_id, fields, end_stream=body is None)
        if body is not None:
            self.h2.send_data(stream_id, body, end_stream=True)
        self.flush()

    def body(self, stream_id: int) -> bytes:
        parts = [e for e in self.events if isinstance(e, h2.events.DataReceived) and e.stream_id == stream_id]
        return b"".join(part.data for part in parts)


@contextlib.contextmanager
def client(peer: ScriptedPeer, tls: ssl.SSLContext | None = None) -> Iterator[Client]:
    with socket.create_connection((peer.host, peer.port), timeout=5) as sock:
        if tls is None:
            yield Client(sock)
            return
        tls.set_alpn_protocols(["h2"])
        with tls.wrap_socket(sock, server_hostname="localhost") as secured:
            yield Client(secured)


def exchange_bytes(peer: ScriptedPeer, *data: bytes) -> bytes:
    """Send bytes as a client that knows no rules, and read what comes until the end."""
    with socket.create_connection((peer.host, peer.port), timeout=5) as sock:
        sock.sendall(b"".join(data))
        sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            return b"".join(iter(lambda: sock.recv(65_536), b""))
        return b""


SETTINGS = raw_frame(Kind.SETTINGS)
# :method GET, :scheme http, :path /, :authority x (RFC 7541, A and C.3).
BLOCK = b"\x82\x86\x84\x41\x01x"
OPEN = raw_frame(Kind.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, 1, BLOCK)
OPEN_POST = raw_frame(Kind.HEADERS, Flag.END_HEADERS, 1, b"\x83" + BLOCK[1:])


# What works


@pytest.mark.parametrize("is_tls", [False, True], ids=["in clear", "over TLS"])
def test_a_request_and_its_response(ca: CertificateAuthority, is_tls: bool) -> None:
    def script(conn: HTTP2Conn) -> None:
        request = conn.read_request()
        assert (request.method, request.target, request.body) == (b"POST", b"/hello", b"0123")
        conn.respond(request.stream_id, 201, [(b"a", b"b")], b"hello", [(b"x-end", b"yes")])

    with (
        HTTP2Peer(script, tls=http2_context(ca) if is_tls else None) as peer,
        client(peer, ca.client_context() if is_tls else None) as http,
    ):
        http.send(1, POST, b"0123")
        response = http.until(h2.events.ResponseReceived)
        assert isinstance(response, h2.events.ResponseReceived)
        assert response.headers == [(b":status", b"201"), (b"a", b"b")]
        trailers = http.until(h2.events.TrailersReceived)
        assert isinstance(trailers, h2.events.TrailersReceived)
        assert trailers.headers == [(b"x-end", b"yes")]
        http.until(h2.events.StreamEnded)
        assert http.body(1) == b"hello"
        http.until(h2.events.SettingsAcknowledged)
    (request,) = peer.requests
    assert (request.method, request.target, request.version, request.body) == (b"POST", b"/hello", b"HTTP/2", b"0123")
    assert any(isinstance(frame, HeadersFrame) for frame in peer.frames)


def test_large_bodies_obey_the_windows_both_ways() -> None:
    body = pattern(300_000)

    def script(conn: HTTP2Conn) -> None:
        request = conn.read_request()
        conn.respond(request.stream_id, body=request.body)

    with HTTP2Peer(script) as peer, client(peer) as http:
        http.h2.send_headers(1, POST)
        rest = memoryview(body)
        while rest:
            size = min(http.h2.local_flow_control_window(1), http.h2.max_outbound_frame_size, len(rest))
            if size == 0:
                http.events.clear()
                http.flush()
                http.until(h2.events.WindowUpdated, 1)
                continue
            http.h2.send_data(1, bytes(rest[:size]), end_stream=size == len(rest))
            rest = rest[size:]
        http.flush()
        http.until(h2.events.StreamEnded)
        assert http.body(1) == body


def test_requests_are_read_as_they_are_complete_and_heads_as_they_open() -> None:
    def script(conn: HTTP2Conn) -> None:
        first = conn.read_head()
        second = conn.read_request()
        assert (first.stream_id, second.stream_id) == (1, 3)
        conn.respond(3, body=b"second")
        assert conn.read_body(first).body == b"late"
        conn.respond(1, body=b"first")
        serve(conn)

    with HTTP2Peer(script) as peer, client(peer) as http:
        http.h2.send_headers(1, POST)
        http.send(3, GET)
        http.until(h2.events.StreamEnded, 3)
        http.h2.send_data(1, b"late", end_stream=True)
        http.flush()
        http.until(h2.events.StreamEnded, 1)
        assert (http.body(3), http.body(1)) == (b"second", b"first")
        http.send(5, GET)
        http.until(h2.events.StreamEnded, 5)
        assert http.body(5) == b"/hello"


def test_frames_are_found_in_any_order_and_none_twice() -> None:
    def script(conn: HTTP2Conn) -> None:
        conn.read_request()
        conn.roundtrip()
        assert conn.recv_rst(1) is Code.CANCEL
        assert conn.recv_until(PingFrame).opaque_data == b"abcdefgh"
        assert conn.recv_goaway() is Code.ENHANCE_YOUR_CALM
        assert isinstance(conn.recv_frame(), HeadersFrame | SettingsFrame)

    with HTTP2Peer(script) as peer, client(peer) as http:
        http.send(1, GET)
        http.until(h2.events.PingReceived)
        http.h2.ping(b"abcdefgh")
        http.h2.reset_stream(1, Code.CANCEL)
        http.h2.close_connection(Code.ENHANCE_YOUR_CALM)
        http.flush()
    assert peer.resets == [(1, Code.CANCEL)]
    assert peer.goaways == [Code.ENHANCE_YOUR_CALM]


def test_a_long_head_is_cut_into_continuations() -> None:
    def script(conn: HTTP2Conn) -> None:
        conn.respond(conn.read_request().stream_id, headers=[(b"a%d" % n, b"b" * 1000) for n in range(40)])

    with HTTP2Peer(script) as peer, client(peer) as http:
        http.send(1, GET)
        response = http.until(h2.events.ResponseReceived)
        assert isinstance(response, h2.events.ResponseReceived)
        assert len(response.headers) == 41


def test_sending_stops_where_the_client_resets_the_stream() -> None:
    def script(conn: HTTP2Conn) -> None:
        conn.respond(conn.read_request().stream_id, body=bytes(1_000_000))
        assert conn.is_reset(1)

    with HTTP2Peer(script) as peer, client(peer) as http:
        http.send(1, GET)
        http.until(h2.events.ResponseReceived)
        http.h2.reset_stream(1, Code.CANCEL)
        http.flush()
        peer.wait_for(lambda: peer.resets)


def test_what_is_switched_off_is_off() -> None:
    def script(conn: HTTP2Conn) -> None:
        conn.read_preface()
        conn.settings({Setting.MAX_CONCURRENT_STREAMS: 7})
        conn.read_request()
        conn.recv_until(PingFrame)
        conn.goaway()

    with HTTP2Peer(script, handshake=False, acks=False, opens_windows=False) as peer, client(peer) as http:
        http.h2.ping(b"12345678")
        http.send(1, POST, b"0123")
        http.until(h2.events.ConnectionTerminated)
        assert http.h2.remote_settings.max_concurrent_streams == 7
        unwanted = (h2.events.SettingsAcknowledged, h2.events.PingAckReceived, h2.events.WindowUpdated)
        assert not any(isinstance(event, unwanted) for event in http.events)


def test_peers_are_told_apart_by_the_number_of_the_connection() -> None:
    def first(conn: HTTP2Conn) -> None:
        conn.goaway()

    with HTTP2Peers(first) as peers:
        for peer, is_first in ((peers.faulty, True), (peers.faulty, False), (peers.other, False)):
            with client(peer) as http:
                http.send(1, GET)
                if is_first:
                    http.until(h2.events.ConnectionTerminated)
                else:
                    http.until(h2.events.StreamEnded)
                    assert http.body(1) == b"/hello"


# What fails the test


def wait_for_goaway(conn: HTTP2Conn) -> None:
    conn.recv_until(GoAwayFrame)


def test_an_error_of_the_script_fails_the_test() -> None:
    def script(conn: HTTP2Conn) -> None:
        assert conn.read_request().target == b"/other"

    failure = pytest.RaisesGroup(pytest.RaisesExc(AssertionError, match="other"))
    with failure, HTTP2Peer(script) as peer, client(peer) as http:
        http.send(1, GET)
        peer.wait_for(lambda: peer.accepted and not peer.open_connections)


def test_a_client_that_leaves_with_a_stream_open_fails_the_test() -> None:
    failure = pytest.RaisesGroup(pytest.RaisesExc(Disconnected, match="closed the connection"))
    with failure, HTTP2Peer(wait_for_goaway) as peer:
        exchange_bytes(peer, PREFACE, SETTINGS, OPEN)
    with HTTP2Peer(wait_for_goaway, expect_disconnect=True) as peer:
        exchange_bytes(peer, PREFACE, SETTINGS, OPEN)


def test_a_client_may_leave_with_none() -> None:
    with HTTP2Peer(serve) as peer:
        assert exchange_bytes(peer, PREFACE, SETTINGS)


BAD_CLIENTS = {
    "no preface": [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"],
    "an even stream": [raw_frame(Kind.HEADERS, 5, 2, BLOCK)],
    "a stream below the last": [raw_frame(Kind.HEADERS, 5, 3, BLOCK), OPEN],
    "data after the end": [OPEN, raw_frame(Kind.DATA, 0, 1, b"x")],
    "data on no stream": [raw_frame(Kind.DATA, 0, 1, b"x")],
    "data after a reset": [OPEN_POST, raw_frame(Kind.RST_STREAM, 0, 1, number(8)), raw_frame(Kind.DATA, 0, 1, b"x")],
    "reset of no stream": [raw_frame(Kind.RST_STREAM, 0, 1, number(8))],
    "window of no stream": [raw_frame(Kind.WINDOW_UPDATE, 0, 1, number(8))],
    "trailers that end nothing": [OPEN_POST, raw_frame(Kind.HEADERS, Flag.END_HEADERS, 1, b"\x00\x01a\x01b")],
    "too much data": [OPEN_POST, *[raw_frame(Kind.DATA, 0, 1, bytes(16_384))] * 5],
    "too large a frame": [OPEN_POST, raw_frame(Kind.DATA, 0, 1, bytes(16_385))],
    "a continuation of another stream": [
        raw_frame(Kind.HEADERS, 1, 1, BLOCK),
        raw_frame(Kind.CONTINUATION, Flag.END_HEADERS, 3),
    ],
    "a continuation of nothing": [raw_frame(Kind.CONTINUATION, Flag.END_HEADERS, 1)],
    "an acknowledgement too many": [raw_frame(Kind.SETTINGS, Flag.ACK)] * 2,
    "more streams than allowed": [raw_frame(Kind.SETTINGS, Flag.ACK), OPEN, raw_frame(Kind.HEADERS, 5, 3, BLOCK)],
    "a push": [raw_frame(Kind.PUSH_PROMISE, Flag.END_HEADERS, 1, number(2) + BLOCK)],
    "no pseudo-header fields": [raw_frame(Kind.HEADERS, 5, 1, b"\x00\x01a\x01b")],
}


@pytest.mark.parametrize("frames", BAD_CLIENTS.values(), ids=BAD_CLIENTS)
def test_a_client_that_breaks_the_rules_fails_the_test(frames: list[bytes]) -> None:
    settings = {Setting.MAX_CONCURRENT_STREAMS: 1}
    peer = HTTP2Peer(wait_for_goaway, settings=settings, opens_windows=False, expect_disconnect=True)
    with pytest.RaisesGroup(AssertionError), peer:
        start = [PREFACE, SETTINGS] if frames[0][:3] != b"GET" else []
        exchange_bytes(peer, *start, *frames)
        peer.wait_for(lambda: peer.accepted and not peer.open_connections)


@pytest.mark.parametrize(
    "fields",
    [
        [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")],
        [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b""), (b":authority", b"x")],
        [(b"a", b"b"), (b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"x")],
        [(b":method", b"CONNECT"), (b":scheme", b"http"), (b":authority", b"x")],
    ],
)
def test_bad_pseudo_header_fields_are_found(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(BadFrame):
        check_request_fields(fields)


@pytest.mark.parametrize(
    "field",
    [
        (b"A", b"b"),
        (b"", b"b"),
        (b"a b", b"b"),
        (b"a", b" b"),
        (b"a", b"b\r\nc: d"),
        (b"connection", b"close"),
        (b"te", b"gzip"),
        (b"transfer-encoding", b"chunked"),
        (b":path", b"/"),
    ],
)
def test_bad_fields_are_found(field: tuple[bytes, bytes]) -> None:
    check_trailers([(b"a", b"b c"), (b"empty", b""), (b"te", b"trailers")])
    with pytest.raises(BadFrame):
        check_trailers([field])


def test_settings_bind_the_client_when_it_has_acknowledged_them() -> None:
    rules = ClientRules()
    rules.received(HeadersFrame(1, flags=["END_HEADERS"]))
    assert rules.stream_window(1) == 65_535
    rules.settings_sent({Setting.INITIAL_WINDOW_SIZE: 0, Setting.MAX_CONCURRENT_STREAMS: 1})
    rules.received(DataFrame(1, b"x" * 1000))
    rules.received(HeadersFrame(3, flags=["END_HEADERS"]))
    rules.received(SettingsFrame(flags=["ACK"]))
    assert rules.stream_window(1) == -1000
    rules.received(RstStreamFrame(3, error_code=8))
    with pytest.raises(BadFrame):
        rules.received(HeadersFrame(5, flags=["END_HEADERS"]))
    rules.window_opened(1, 1001)
    with pytest.raises(BadFrame):
        rules.received(DataFrame(1, b"xx"))
    rules.received(DataFrame(1, b"x"))
    rules.reset_sent(1)
    assert rules.open_streams == set()
    # What was on its way, and what needs no window.
    rules.received(DataFrame(1, b"", flags=["END_STREAM"]))
    rules.received(WindowUpdateFrame(1, window_increment=1))


def test_a_peer_over_tls_wants_h2(ca: CertificateAuthority) -> None:
    with pytest.RaisesGroup(AssertionError), HTTP2Peer(serve, tls=http2_context(ca)) as peer:
        with socket.create_connection((peer.host, peer.port), timeout=5) as sock:
            ca.client_context().wrap_socket(sock, server_hostname="localhost").close()
        peer.wait_for(lambda: peer.accepted and not peer.open_connections)


# Real servers


def curl(ca: CertificateAuthority, url: str, *options: str) -> str:
    """What curl writes; the test is skipped where there is no curl, which only these need."""
    program = shutil.which("curl")
    if program is None or "HTTP2" not in subprocess.run([program, "-V"], capture_output=True, text=True).stdout:
        pytest.skip("no curl that speaks HTTP/2")
    http2 = "--http2-prior-knowledge" if url.startswith("http:") else "--http2"
    command = [program, "-sS", http2, "--cacert", str(ca.pem_path), "-w", "\n%{http_version} %{http_code}", *options]
    return subprocess.run([*command, url], capture_output=True, text=True, check=True, timeout=20).stdout


def test_nghttpd_speaks_http2_and_tells_what_it_received(ca: CertificateAuthority, nghttpd_server: Nghttpd) -> None:
    for origin in (nghttpd_server.http, nghttpd_server.https):
        before = nghttpd_server.received("HEADERS")
        assert curl(ca, origin + "/echo", "--data", "hello") == "hello\n2 200"
        assert nghttpd_server.received("HEADERS") == before + 1
        assert curl(ca, origin + "/nowhere").endswith("\n2 404")


def test_nginx_speaks_http2_where_it_should(ca: CertificateAuthority, nginx_server: Nginx) -> None:
    for origin in (nginx_server.http2, nginx_server.http2_clear):
        assert curl(ca, origin + "/app/").endswith("hello\n2 200")
    assert curl(ca, nginx_server.https + "/app/").endswith("hello\n1.1 200")


def test_hypercorn_speaks_http2(ca: CertificateAuthority, hypercorn_server: Server) -> None:
    for origin in (hypercorn_server.http, hypercorn_server.https):
        assert curl(ca, origin + "/").endswith("hello\n2 200")
