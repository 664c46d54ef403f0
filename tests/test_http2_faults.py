"""Broken HTTP/2 peers (section F of the list of faults), over real sockets and through the pool, in every world.

Rows of frames are in `support/http2_rows.py`; each is played while a sibling stream is half answered. What takes more
than frames has a test of its own below. Faults that are promises too are in `test_http2_promises.py`: f_goaway_*,
f_rst_refused, f_rst_noerror, f_max0, f_dead_peer.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable

import pytest

import httpcore
from tests.support.http2_peer import (
    Code,
    DataFrame,
    Disconnected,
    Flag,
    GoAwayFrame,
    HeadersFrame,
    HTTP2Conn,
    HTTP2Peers,
    Kind,
    RstStreamFrame,
    Setting,
    SettingsFrame,
    http2_context,
    number,
    raw_frame,
    serve,
)
from tests.support.http2_rows import CONNECTION_ERRORS, FLOODS, HARMLESS, STREAM_ERRORS, Row
from tests.support.invariants import assert_holds, assert_still_works, error_of, one_slot
from tests.support.nginx import Nginx
from tests.support.peer import Conn, ScriptedPeer
from tests.support.tls import CertificateAuthority
from tests.support.ways import only_over
from tests.support.worlds import World, only_worlds

pytestmark = only_over("TLS", reason="frames are counted by peer, and a proxy is the peer of all origins behind it")

REFUSAL_SECONDS = 15.0
"""What comes as a timeout has another class; this is for a busy machine."""


async def open_sibling(http: httpcore.ConnectionPool, peers: HTTP2Peers) -> AsyncIterator[bytes]:
    """A response that is half read."""
    response = await http.request("GET", peers.faulty.origin + "/sibling", stream=True)
    parts = response.raw()
    assert await anext(parts) == b"first, "
    return parts


def answer_sibling(conn: HTTP2Conn) -> int:
    sibling = conn.read_request()
    conn.respond(sibling.stream_id, body=b"first, ", end_stream=False)
    return sibling.stream_id


async def refusal(http: httpcore.ConnectionPool, peers: HTTP2Peers, method: str = "GET") -> httpcore.HTTPCoreError:
    begun = time.monotonic()
    error = await error_of(lambda: http.request(method, peers.faulty.origin + "/victim"))
    assert time.monotonic() - begun < REFUSAL_SECONDS, "that was a timeout, not a refusal"
    assert isinstance(error, httpcore.RemoteProtocolError)
    assert error.request_sent
    return error


def send_until_refused(conn: HTTP2Conn, data: bytes) -> None:
    """A client that has seen enough may close while we still send."""
    with contextlib.suppress(Disconnected):
        conn.send_raw(data)


async def check_connection_error(world: World, row: Row) -> None:
    """One clear error for both streams, GOAWAY with the right code, and a pool that is as good as new."""

    def script(conn: HTTP2Conn) -> None:
        answer_sibling(conn)
        victim = conn.read_request()
        send_until_refused(conn, row.sends(conn, victim.stream_id))
        assert conn.recv_goaway() in row.codes
        assert conn.wait_closed()

    with HTTP2Peers(script, expect_disconnect=True) as peers:
        http = one_slot(world, http1=False)
        parts = await open_sibling(http, peers)
        await refusal(http, peers, row.method)
        error = await error_of(lambda: anext(parts))
        assert isinstance(error, httpcore.RemoteProtocolError)
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)
        assert http.stats().retried == 0
        assert [frame.error_code for frame in peers.faulty.frames if isinstance(frame, GoAwayFrame)][1:] in ([], [0])


async def check_stream_error(world: World, row: Row) -> None:
    """The victim fails, is reset, and costs nothing else: the sibling ends, the connection goes on."""

    def script(conn: HTTP2Conn) -> None:
        sibling = answer_sibling(conn)
        victim = conn.read_request()
        conn.send_raw(row.sends(conn, victim.stream_id))
        if row.is_over:
            conn.rules.answered(victim.stream_id)
        else:
            assert conn.recv_rst(victim.stream_id) in row.codes
        conn.send_data(sibling, b"second", end_stream=True)
        serve(conn)

    with HTTP2Peers(script) as peers:
        http = one_slot(world, http1=False)
        parts = await open_sibling(http, peers)
        await refusal(http, peers, row.method)
        assert [part async for part in parts] == [b"second"]
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)
        assert peers.accepted == 1
        assert http.stats().retried == 0
        assert set(peers.faulty.goaways) <= {Code.NO_ERROR}
        assert {stream_id for stream_id, _ in peers.faulty.resets} <= {3}


@only_worlds("asyncio", "trio", "blocking")
@pytest.mark.parametrize("row", CONNECTION_ERRORS, ids=str)
async def test_a_connection_error_fails_its_streams_and_is_told_by_goaway(world: World, row: Row) -> None:
    """f_goaway_sent, f_wrong_class, and the rows."""
    await check_connection_error(world, row)


@only_worlds("asyncio", "trio", "blocking")
@pytest.mark.parametrize("row", STREAM_ERRORS, ids=str)
async def test_a_stream_error_costs_only_its_stream(world: World, row: Row) -> None:
    await check_stream_error(world, row)


@only_worlds("asyncio", "trio", "blocking")
@pytest.mark.parametrize("row", FLOODS, ids=str)
async def test_p41_a_flood_ends_the_connection(world: World, row: Row) -> None:
    await check_connection_error(world, row)


@pytest.mark.parametrize("row_id", ["f_cont_alone", "f_idle_data", "f_push", "f_pad_data", "f_init_window"])
async def test_a_connection_error_is_the_same_over_tls(world: World, ca: CertificateAuthority, row_id: str) -> None:
    (row,) = (row for row in CONNECTION_ERRORS if row.id == row_id)

    def script(conn: HTTP2Conn) -> None:
        answer_sibling(conn)
        conn.send_raw(row.sends(conn, conn.read_request().stream_id))
        assert conn.recv_goaway() in row.codes
        assert conn.wait_closed()

    with HTTP2Peers(script, tls=http2_context(ca), expect_disconnect=True) as peers:
        http = one_slot(world, ssl=httpcore.SSLConfig(str(ca.pem_path)))
        parts = await open_sibling(http, peers)
        await refusal(http, peers)
        assert isinstance(await error_of(lambda: anext(parts)), httpcore.RemoteProtocolError)
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


@only_worlds("asyncio", "trio", "blocking")
@pytest.mark.parametrize("row", HARMLESS, ids=str)
async def test_what_may_be_ignored_is_ignored(world: World, row: Row) -> None:
    def script(conn: HTTP2Conn) -> None:
        sibling = answer_sibling(conn)
        victim = conn.read_request()
        conn.send_raw(row.sends(conn, victim.stream_id))
        conn.respond(victim.stream_id, body=b"fine")
        conn.send_data(sibling, b"second", end_stream=True)
        serve(conn)

    with HTTP2Peers(script) as peers:
        http = one_slot(world, http1=False)
        parts = await open_sibling(http, peers)
        response = await http.request("GET", peers.faulty.origin + "/victim")
        assert (response.status_code, response.body) == (200, b"fine")
        assert [part async for part in parts] == [b"second"]
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)
        assert (peers.accepted, peers.faulty.resets) == (1, [])


def test_rows_have_names_of_their_own() -> None:
    names = [row.id for row in [*CONNECTION_ERRORS, *STREAM_ERRORS, *FLOODS, *HARMLESS]]
    assert len(set(names)) == len(names)


# After the end of a stream


@pytest.mark.parametrize("is_at_once", [True, False], ids=["in one segment", "later"])
@pytest.mark.parametrize("end", [0, Flag.END_STREAM], ids=["f_data_after", "f_double_end"])
async def test_data_after_the_end_is_never_appended(world: World, is_at_once: bool, end: int) -> None:
    is_read = None

    def script(conn: HTTP2Conn) -> None:
        sibling = answer_sibling(conn)
        victim = conn.read_request().stream_id
        head, body = conn.headers(victim, [(b":status", b"200")]), DataFrame(victim, b"own", flags=["END_STREAM"])
        evil = raw_frame(Kind.DATA, end, victim, b"evil")
        conn.send_raw(head.serialize() + body.serialize() + evil * is_at_once)
        conn.rules.answered(victim)
        if not is_at_once:
            assert is_read is not None
            is_read.wait()
            conn.send_raw(evil)
        conn.send_data(sibling, b"second", end_stream=True)
        serve(conn)

    with HTTP2Peers(script) as peers:
        is_read = peers.faulty.gate()
        http = one_slot(world, http1=False)
        parts = await open_sibling(http, peers)
        response = await http.request("GET", peers.faulty.origin + "/victim")
        is_read.open()
        assert response.body == b"own"
        assert [part async for part in parts] == [b"second"]
        await assert_still_works(world, http, peers)
        assert {code for _, code in peers.faulty.resets} <= {Code.STREAM_CLOSED}


async def test_what_comes_late_for_a_stream_that_has_ended_harms_nothing(world: World) -> None:
    """RFC 9113, 5.1: WINDOW_UPDATE and RST_STREAM may, for a while."""

    def script(conn: HTTP2Conn) -> None:
        sibling = answer_sibling(conn)
        victim = conn.read_request().stream_id
        conn.respond(victim, body=b"own")
        conn.window_update(victim, 1000)
        conn.send_rst(victim, Code.NO_ERROR)
        conn.send_raw(raw_frame(Kind.PRIORITY, 0, victim, bytes(4) + b"\x10"))
        conn.window_update(victim, 1000)
        conn.send_data(sibling, b"second", end_stream=True)
        serve(conn)

    with HTTP2Peers(script) as peers:
        http = one_slot(world, http1=False)
        parts = await open_sibling(http, peers)
        assert (await http.request("POST", peers.faulty.origin + "/victim", body=b"hello")).body == b"own"
        assert [part async for part in parts] == [b"second"]
        await assert_still_works(world, http, peers)
        assert (peers.accepted, peers.faulty.resets) == (1, [])


async def test_f_hdr_after_leaves_the_finished_response_as_it_was(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        victim = conn.read_request().stream_id
        own = conn.headers(victim, [(b":status", b"200")], end_stream=True)
        evil = conn.headers(victim, [(b":status", b"500"), (b"evil", b"yes")], end_stream=True)
        conn.send_frame(own, evil)
        if conn.wait_closed():
            assert conn.peer is peers.faulty

    with HTTP2Peers(script, expect_disconnect=True) as peers:
        http = one_slot(world, http1=False)
        response = await http.request("GET", peers.faulty.origin + "/victim")
        assert (response.status_code, response.body, list(response.headers)) == (200, b"", [])
        assert http.stats().active == 0
        await http.close_idle()
        await assert_still_works(world, http, peers)


async def test_f_idle_hdr_is_not_the_response_of_the_stream_that_is_opened_next(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        first = conn.read_request()
        conn.respond(first.stream_id, body=b"own")
        conn.send_headers(first.stream_id + 2, [(b":status", b"200"), (b"evil", b"yes")], end_stream=True)
        is_sent.open()
        assert conn.recv_goaway() is Code.PROTOCOL_ERROR
        conn.wait_closed()

    with HTTP2Peers(script, expect_disconnect=True) as peers:
        is_sent = peers.faulty.gate()
        http = one_slot(world, http1=False)
        assert (await http.request("GET", peers.url)).body == b"own"
        await world.until(is_sent.is_open)  # what came after the next request would be taken for its answer
        await assert_still_works(world, http, peers)
        assert peers.accepted == 2


# The beginning of a connection


FIRST_FRAMES = {
    "ping": raw_frame(Kind.PING, 0, 0, bytes(8)),
    "headers": raw_frame(Kind.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, 1, b"\x88"),
    "window": raw_frame(Kind.WINDOW_UPDATE, 0, 0, number(1)),
    "acknowledgement": raw_frame(Kind.SETTINGS, Flag.ACK),
    "unknown": raw_frame(0xBB),
}


@pytest.mark.parametrize("first", FIRST_FRAMES.values(), ids=FIRST_FRAMES)
async def test_f_no_settings_is_a_connection_error(world: World, first: bytes) -> None:
    def script(conn: HTTP2Conn) -> None:
        conn.read_preface()
        conn.recv_until(HeadersFrame)
        conn.send_raw(first)
        assert conn.recv_goaway() is Code.PROTOCOL_ERROR
        assert conn.wait_closed()

    def play(conn: HTTP2Conn) -> None:
        if conn.index == 0:
            script(conn)
        conn.handshake({})
        serve(conn)

    with HTTP2Peers(*[play] * 2, handshake=False, expect_disconnect=True) as peers:
        http = one_slot(world, http1=False)
        await refusal(http, peers)
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        b"HTTP/1.0 505 HTTP Version Not Supported\r\n\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 100_000,
    ],
)
async def test_f_h1_reply_is_refused_at_once_and_the_error_says_so(world: World, reply: bytes) -> None:
    def play(conn: HTTP2Conn) -> None:
        if conn.index == 0:
            conn.read_preface()
            send_until_refused(conn, reply)
            assert conn.conn.wait_closed()
        else:
            conn.handshake({})
            serve(conn)

    with HTTP2Peers(*[play] * 2, handshake=False, expect_disconnect=True, ends_in_order=False) as peers:
        http = one_slot(world, http1=False)
        error = await refusal(http, peers)
        assert re.search(r"HTTP/1", str(error)), error
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_f_settings_noack_holds_nothing_up(world: World) -> None:
    with HTTP2Peers(serve, acks=False) as peers:
        http = one_slot(world, http1=False)
        for _ in range(3):
            assert (await http.request("GET", peers.url)).body == b"/"
        await assert_still_works(world, http, peers)


async def test_settings_and_pings_are_acknowledged_before_anything_else_is_due(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        request = conn.read_request()
        conn.settings({Setting.MAX_FRAME_SIZE: 20_000})
        conn.recv_until(SettingsFrame, acks=True)
        conn.recv_until(SettingsFrame, acks=True)
        conn.roundtrip()
        conn.respond(request.stream_id, body=b"fine")
        serve(conn)

    with HTTP2Peers(script) as peers:
        http = one_slot(world, http1=False)
        assert (await http.request("GET", peers.url)).body == b"fine"
        await assert_still_works(world, http, peers)


# Flow control


async def test_f_flow_violate_is_an_error_of_flow_control(world: World) -> None:
    """A stream that nobody reads is full, and gets one byte more."""

    def script(conn: HTTP2Conn) -> None:
        unread = conn.read_request().stream_id
        conn.send_head(unread)
        other = conn.read_request().stream_id
        conn.fill_window(unread)
        conn.send_frame(DataFrame(unread, b"x"))
        conn.respond(other, body=b"fine")
        assert conn.recv_refusal(unread) is Code.FLOW_CONTROL_ERROR
        if conn.is_reset(unread):
            serve(conn)
        assert conn.wait_closed()

    with HTTP2Peers(script, expect_disconnect=True) as peers:
        http = one_slot(world, http1=False)
        async with await http.request("GET", peers.url, stream=True) as unread:
            # It may be answered, or be lost with the connection.
            (outcome,) = await world.gather(lambda: http.request("GET", peers.url))
            assert isinstance(outcome, (httpcore.Response, httpcore.RemoteProtocolError))
            assert isinstance(await error_of(unread.read), httpcore.RemoteProtocolError)
        await http.close_idle()
        await assert_still_works(world, http, peers)


@pytest.mark.parametrize("first", [0, 65_535], ids=["from the beginning", "after a while"])
async def test_f_window_zero_is_a_write_timeout_and_costs_only_its_stream(world: World, first: int) -> None:
    def script(conn: HTTP2Conn) -> None:
        sibling = answer_sibling(conn)
        victim = conn.read_head().stream_id
        assert conn.recv_rst(victim) is Code.CANCEL
        assert conn.received(victim) == first
        # What came of it has to be given back, or the connection stays as full as it is.
        if first:
            conn.window_update(0, first)
        conn.send_data(sibling, b"second", end_stream=True)
        serve(conn)

    settings = {Setting.INITIAL_WINDOW_SIZE: first}
    with HTTP2Peers(script, settings=settings, opens_windows=False) as peers:
        http = one_slot(world, http1=False)
        parts = await open_sibling(http, peers)
        timeout = httpcore.Timeout(5, write=0.3)
        error = await error_of(lambda: http.request("POST", peers.url, body=bytes(200_000), timeout=timeout))
        assert isinstance(error, httpcore.WriteTimeout)
        assert error.request_sent
        assert [part async for part in parts] == [b"second"]
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)
        assert peers.accepted == 1


async def test_f_window_change_loses_and_doubles_no_byte(world: World) -> None:
    """Lowered in the middle of an upload, to below what was sent, and raised again, as steps of all sizes."""
    body = b"".join(b"%07d " % at for at in range(50_000))

    def script(conn: HTTP2Conn) -> None:
        head = conn.read_head()
        while conn.received(head.stream_id) < 65_535:
            conn.recv_frame()
        conn.window_update(0, 1_000_000)
        conn.settings({Setting.INITIAL_WINDOW_SIZE: 0})
        conn.window_update(head.stream_id, 10_000)
        for size in (1, 70_000, 3, 65_535, 0, 100_000):
            conn.settings({Setting.INITIAL_WINDOW_SIZE: size})
            conn.roundtrip()
        conn.window_update(head.stream_id, len(body))
        request = conn.read_body(head)
        conn.respond(request.stream_id, body=b"as it was" if request.body == body else b"not as it was")
        conn.opens_windows = True
        serve(conn)

    with HTTP2Peers(script, opens_windows=False) as peers:
        http = one_slot(world, http1=False)
        assert (await http.request("POST", peers.url, body=body)).body == b"as it was"
        await assert_still_works(world, http, peers)


async def test_f_slow_sibling_holds_nobody_up(world: World, ca: CertificateAuthority, nginx_server: Nginx) -> None:
    """One response is not read; others on the same connection are, one after another and all at once."""
    http = one_slot(world, ssl=httpcore.SSLConfig(str(ca.pem_path)))
    async with await http.request("GET", nginx_server.http2 + "/100MB.bin", stream=True) as unread:
        assert unread.http_version == "HTTP/2"
        for _ in range(3):
            assert len((await http.request("GET", nginx_server.http2 + "/1MB.bin")).body) == 1_000_000
        jobs = [lambda: http.request("GET", nginx_server.http2 + "/1MB.bin")] * 10
        assert {len(response.body) for response in await world.gather_ok(*jobs)} == {1_000_000}
        assert http.stats().opened == 1
        assert len(await unread.read()) == 100_000_000


# Resets, and ends


@pytest.mark.parametrize("code", [Code.INTERNAL_ERROR, Code.CANCEL, Code.NO_ERROR, Code.ENHANCE_YOUR_CALM])
@pytest.mark.parametrize("is_begun", [False, True], ids=["before its response", "in its body"])
async def test_a_reset_names_its_code_and_costs_only_its_stream(world: World, code: Code, is_begun: bool) -> None:
    def script(conn: HTTP2Conn) -> None:
        sibling = answer_sibling(conn)
        victim = conn.read_request().stream_id
        if is_begun:
            conn.respond(victim, body=b"half", end_stream=False)
        conn.send_rst(victim, code)
        conn.send_data(sibling, b"second", end_stream=True)
        serve(conn)

    with HTTP2Peers(script) as peers:
        http = one_slot(world, http1=False)
        parts = await open_sibling(http, peers)
        error = await refusal(http, peers)
        assert code.name in str(error)
        assert [part async for part in parts] == [b"second"]
        await assert_holds(world, http, peers, idle=1)
        await assert_still_works(world, http, peers)
        assert (peers.accepted, peers.faulty.resets) == (1, [])


async def test_a_reset_code_that_nobody_knows_is_told_as_a_number(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        stream_id = conn.read_request().stream_id
        conn.send_frame(RstStreamFrame(stream_id, error_code=0xABCD))
        serve(conn)

    with HTTP2Peers(script) as peers:
        http = one_slot(world, http1=False)
        error = await refusal(http, peers)
        assert re.search(r"43981|0xabcd", str(error), re.IGNORECASE)
        await assert_still_works(world, http, peers)


def _want_http1_of_a_stream(conn: HTTP2Conn) -> None:
    conn.send_rst(conn.read_request().stream_id, Code.HTTP_1_1_REQUIRED)
    serve(conn)


def _want_http1_of_all(conn: HTTP2Conn) -> None:
    conn.read_request()
    conn.goaway(0, Code.HTTP_1_1_REQUIRED)
    conn.end()


want_http1 = pytest.mark.parametrize(
    "want", [_want_http1_of_a_stream, _want_http1_of_all], ids=["by a reset", "by a GOAWAY"]
)
Want = Callable[[HTTP2Conn], None]


def http1_wanted(ca: CertificateAuthority, want: Want) -> ScriptedPeer:
    """A server that agrees to speak HTTP/2, and then wants HTTP/1.1."""

    def script(conn: Conn) -> None:
        assert conn.tls is not None
        if conn.tls.selected_alpn_protocol() == "h2":
            http2 = HTTP2Conn(conn)
            http2.handshake({})
            want(http2)
            return
        while True:
            conn.respond(body=conn.read_request().body)

    return ScriptedPeer(script, tls=ca.server_context(alpn=("h2", "http/1.1")))


@want_http1
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_f_rst_h11_is_answered_in_http1_from_then_on(
    world: World, ca: CertificateAuthority, want: Want, method: str
) -> None:
    body = b"once more" if method == "POST" else None
    with http1_wanted(ca, want) as peer:
        http = world.pool(ssl=httpcore.SSLConfig(str(ca.pem_path)))
        for _ in range(3):
            response = await http.request(method, peer.url, body=body)
            assert (response.http_version, response.body) == ("HTTP/1.1", body or b"")
        stats = http.stats()
        assert (peer.accepted, stats.opened, stats.retried, stats.active) == (2, 2, 1, 0)


@want_http1
@pytest.mark.parametrize("reason", ["a body that is gone", "a context of the caller's"])
async def test_f_rst_h11_is_a_clear_error_where_it_cannot_be_sent_again(
    world: World, ca: CertificateAuthority, want: Want, reason: str
) -> None:
    is_body = reason.startswith("a body")
    with http1_wanted(ca, want) as peer:
        ssl = httpcore.SSLConfig(str(ca.pem_path)) if is_body else ca.client_context(alpn=("h2", "http/1.1"))
        http = world.pool(ssl=ssl)
        with pytest.raises(httpcore.RemoteProtocolError, match=r"HTTP_1_1_REQUIRED.*http2=False") as caught:
            await http.request("POST", peer.url, body=iter([b"once"]) if is_body else b"again")
        assert caught.value.request_sent is False
        assert (peer.accepted, http.stats().active) == (1, 0)


async def test_f_rst_h11_is_a_clear_error_where_nothing_else_was_allowed(world: World) -> None:
    """In clear with prior knowledge there is no other protocol to go to."""

    def script(conn: HTTP2Conn) -> None:
        conn.send_rst(conn.read_request().stream_id, Code.HTTP_1_1_REQUIRED)
        serve(conn)

    with HTTP2Peers(script) as peers:
        http = one_slot(world, http1=False)
        with pytest.raises(httpcore.RemoteProtocolError, match=r"HTTP_1_1_REQUIRED.*http2=False") as caught:
            await http.request("GET", peers.url)
        assert caught.value.request_sent is False
        await assert_still_works(world, http, peers)


def _end_by_fin(conn: HTTP2Conn) -> None:
    conn.fin()
    conn.wait_closed()


def _end_after_goaway(conn: HTTP2Conn) -> None:
    conn.goaway(99)
    _end_by_fin(conn)


ENDS: dict[str, tuple[Callable[[HTTP2Conn], None], type[httpcore.HTTPCoreError]]] = {
    "an end": (_end_by_fin, httpcore.RemoteProtocolError),
    "a reset": (HTTP2Conn.rst, httpcore.ReadError),
    "a GOAWAY and an end": (_end_after_goaway, httpcore.RemoteProtocolError),
}


@pytest.mark.parametrize("end", ENDS)
async def test_an_end_of_the_connection_fails_all_its_streams(world: World, end: str) -> None:
    finish, expected = ENDS[end]

    def script(conn: HTTP2Conn) -> None:
        answer_sibling(conn)
        conn.respond(conn.read_request().stream_id, body=b"half", end_stream=False)
        conn.roundtrip()
        finish(conn)

    with HTTP2Peers(script, expect_disconnect=True, ends_in_order=False) as peers:
        http = one_slot(world, http1=False)
        parts = await open_sibling(http, peers)
        error = await error_of(lambda: http.request("GET", peers.url))
        assert isinstance(error, expected)
        assert error.request_sent
        assert isinstance(await error_of(lambda: anext(parts)), expected)
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_a_goaway_with_a_code_is_told_with_what_it_says(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        request = conn.read_request()
        conn.goaway(request.stream_id, Code.ENHANCE_YOUR_CALM, b"too many of you")
        conn.fin()
        conn.wait_closed()

    with HTTP2Peers(script, expect_disconnect=True) as peers:
        http = one_slot(world, http1=False)
        error = await refusal(http, peers)
        assert "ENHANCE_YOUR_CALM" in str(error)
        assert "too many of you" in str(error)
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


# Limits


async def test_limits_of_a_head_are_those_of_the_pool(world: World) -> None:
    def script(conn: HTTP2Conn) -> None:
        while True:
            request = conn.read_request()
            count, size = map(int, request.target[1:].split(b"x"))
            conn.respond(request.stream_id, headers=[(b"a", b"b" * size)] * count)

    with HTTP2Peers(*(script,) * 9, expect_disconnect=True) as peers:
        limits = httpcore.Limits(max_connections=1, max_header_bytes=4096, max_header_count=8)
        http = world.pool(http1=False, limits=limits)
        assert (await http.request("GET", peers.faulty.origin + "/7x200")).status_code == 200
        error = await error_of(lambda: http.request("GET", peers.faulty.origin + "/9x10"))
        assert isinstance(error, httpcore.RemoteProtocolError)
        assert "max_header_count" in str(error)
        error = await error_of(lambda: http.request("GET", peers.faulty.origin + "/7x1000"))
        assert isinstance(error, httpcore.RemoteProtocolError)
        assert "max_header_bytes" in str(error)
        assert (await http.request("GET", peers.faulty.origin + "/7x200")).status_code == 200
        await assert_holds(world, http, peers, idle=1)


@pytest.mark.parametrize("part", ["head", "trailers"])
@pytest.mark.parametrize(
    "fields",
    [[(b"a", b"b" * 1000)] * 300, [(b"a%d" % n, b"b") for n in range(600)], [(b"a", b"b" * 300_000)]],
    ids=["300 kB", "600 fields", "one of 300 kB"],
)
async def test_fields_beyond_the_limits_are_refused(world: World, part: str, fields: list[tuple[bytes, bytes]]) -> None:
    def script(conn: HTTP2Conn) -> None:
        victim = conn.read_request().stream_id
        if part == "head":
            conn.respond(victim, headers=fields)
        else:
            conn.respond(victim, body=b"hi", trailers=fields)
        conn.wait_closed()

    with HTTP2Peers(script, expect_disconnect=True) as peers:
        http = one_slot(world, http1=False)
        await refusal(http, peers)
        assert http.stats().active == 0
        await http.close_idle()
        await assert_still_works(world, http, peers)
