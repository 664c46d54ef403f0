"""What a broken peer sends, over real sockets and through the pool, in every world: what the caller gets, what is left.

Each row was fed to the engines alone, in every way to cut it, in `test_http11_engines.py`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

import httpcore
from tests.support.http11_rows import BAD, GOOD, Row
from tests.support.invariants import (
    Peers,
    assert_holds,
    assert_still_works,
    error_of,
    error_while_reading,
    one_slot,
    serve,
)
from tests.support.peer import Conn
from tests.support.ways import WAYS, every_way, only_over, spread
from tests.support.worlds import WORLDS, World, only_worlds

pytestmark = every_way

# One row of each kind; in the blocking world, which has the least overhead, all of them.
_REPRESENTATIVE = {
    "b_cl_short", "b_cl_dup_0", "b_cl_list_0", "b_cl_20_1", "b_te_twice_0", "b_te_unknown_2", "b_te_cl_0",
    "b_chunk_mid", "b_chunk_nocrlf_0", "b_ck_hex_0", "b_ck_big_0", "b_ck_lf_3", "b_ck_term_0", "b_ck_ext_flood",
    "b_ck_ext_line", "b_tr_nul_0", "b_tr_flood_1", "c_nul_0", "c_lf_lines_0", "c_fold_0", "c_line_100k",
    "c_head_300k_0", "c_count_0",
    "c_st_bad_0", "c_ver_1", "c_09_0", "c_leadcrlf_0", "c_close_none", "c_close_mid_4", "d_1xx_flood_0", "d_1xx_body",
    "d_1xx_only", "d_101_unasked",
}  # fmt: skip


def _playing(row: Row) -> Peers:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(row.wire)
        if row.ends:
            conn.fin()
        if row.is_reusable:
            serve(conn)
        else:
            assert conn.wait_closed()

    return Peers(script, expect_disconnect=bool(row.refused))


async def check_refused(world: World, engine: str, row: Row) -> None:
    """One clear error, the connection closed by us at once, its slot free, and nothing of it in what follows."""
    with _playing(row) as peers:
        http = one_slot(world, http1_engine=engine)
        begun = time.monotonic()
        error = await error_of(lambda: http.request(row.method, peers.url))
        assert time.monotonic() - begun < 3, "that was a timeout, not a refusal"
        assert isinstance(error, httpcore.RemoteProtocolError)
        assert re.search(row.refused, str(error)), error
        assert error.request_sent
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)
        assert http.stats().retried == 0


@only_over(reason="they have a test of their own below")
@only_worlds("blocking")
@pytest.mark.parametrize("row", BAD, ids=str)
async def test_p27_a_bad_response_is_one_clear_error(world: World, engine: str, row: Row) -> None:
    await check_refused(world, engine, row)


@only_over(reason="they have a test of their own below")
@only_worlds("asyncio", "uvloop", "trio")
@pytest.mark.parametrize("row", [row for row in BAD if row.id in _REPRESENTATIVE], ids=str)
async def test_p27_a_bad_response_is_one_clear_error_in_every_world(world: World, engine: str, row: Row) -> None:
    await check_refused(world, engine, row)


def _everywhere(rows: list[Row]) -> Iterator[object]:
    """Each row over each way, in one world and on one engine."""
    for row in rows:
        for way, world, engine in spread(row.id, WAYS, list(WORLDS), ["h11", "httptools"]):
            yield pytest.param(f"{world}:{way}", engine, row, id=f"{world}:{way}-{engine}-{row.id}")


@pytest.mark.parametrize(("world", "engine", "row"), list(_everywhere(BAD)), indirect=["world"])
async def test_p27_a_bad_response_is_one_clear_error_over_tls_and_through_a_proxy(
    world: World, engine: str, row: Row
) -> None:
    await check_refused(world, engine, row)


def test_the_representative_rows_are_there() -> None:
    assert {row.id for row in BAD} >= _REPRESENTATIVE


_FRAMED = [row for row in GOOD if row.id[:2] != "a_" and row.status != 101 and row.method != b"CONNECT"]


@only_worlds("asyncio", "trio", "blocking")
@pytest.mark.parametrize("row", _FRAMED, ids=str)
async def test_p26_every_way_to_frame_a_body(world: World, row: Row) -> None:
    """EOF-delimited, HTTP/1.0, HEAD, 204, 304, chunks and lengths, and what is kept afterwards."""
    with _playing(row) as peers:
        http = one_slot(world)
        response = await http.request(row.method, peers.url)
        assert (response.status_code, response.reason.encode("latin-1")) == (row.status, row.reason)
        assert response.body == row.body
        assert tuple(response.trailers) == row.trailers
        if row.headers is not None:
            assert tuple(response.headers) == row.headers
        await assert_holds(world, http, peers, idle=int(row.is_reusable))
        await assert_still_works(world, http, peers)
        assert peers.accepted == (1 if row.is_reusable else 2)


# Connections that break


@pytest.mark.parametrize(
    "wire",
    [
        b"content-length: 5\r\n\r\nhi",
        b"\r\nhi",
        b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n",
    ],
    ids=["b_cl_short_rst", "b_eof_rst", "b_chunk_rst"],
)
async def test_a_body_that_ends_in_a_reset_is_a_read_error(world: World, engine: str, wire: bytes) -> None:
    """An end that nobody meant is never taken for the end of the body."""
    is_read = None

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\n" + wire)
        assert is_read is not None
        is_read.wait()
        conn.rst()

    with Peers(script) as peers:
        is_read = peers.faulty.gate()
        http = one_slot(world, http1_engine=engine)
        response = await http.request("GET", peers.url, stream=True)
        parts = aiter(response.raw())
        assert await anext(parts) == b"hi"
        is_read.open()
        error = await error_of(lambda: anext(parts))
        assert isinstance(error, httpcore.ReadError)
        assert error.request_sent
        assert response.is_closed
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_a_body_that_is_cut_off_gives_what_came_and_then_an_error(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello")

    with Peers(script) as peers:
        http = one_slot(world, http1_engine=engine)
        response = await http.request("GET", peers.url, stream=True)
        received, error = await error_while_reading(response)
        assert received == b"hello"
        assert isinstance(error, httpcore.RemoteProtocolError)
        assert "after 5 of the 100 bytes" in str(error)
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_a_bad_chunk_after_good_ones_gives_what_came_and_then_an_error(world: World, engine: str) -> None:
    """What was valid before is not lost by what follows it in another segment."""
    is_read = None

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
        assert is_read is not None
        is_read.wait()
        conn.send(b"zz\r\n")
        assert conn.wait_closed()

    with Peers(script) as peers:
        is_read = peers.faulty.gate()
        http = one_slot(world, http1_engine=engine)
        response = await http.request("GET", peers.url, stream=True)
        parts = aiter(response.stream())
        assert await anext(parts) == b"hi"
        is_read.open()
        error = await error_of(lambda: anext(parts))
        assert isinstance(error, httpcore.RemoteProtocolError)
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_b_cl_short_100_allocates_nothing_in_advance(world: World, engine: str) -> None:
    """A length of 2^63-1 is believed when the bytes have come."""

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775807\r\n\r\nhello")

    with Peers(script) as peers:
        http = one_slot(world, http1_engine=engine)
        error = await error_of(lambda: http.request("GET", peers.url))
        assert isinstance(error, httpcore.RemoteProtocolError)
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


# Limits


async def test_limits_of_a_head_are_those_of_the_pool(world: World, engine: str) -> None:
    def script(conn: Conn) -> None:
        while True:
            fields = int(conn.read_request().target[1:])
            conn.respond(headers=[(b"a", b"b" * 200)] * fields)

    with Peers(*(script,) * 9) as peers:
        limits = httpcore.Limits(max_connections=1, max_header_bytes=2048, max_header_count=8)
        http = world.pool(http1_engine=engine, limits=limits)
        assert (await http.request("GET", peers.faulty.origin + "/7")).status_code == 200
        error = await error_of(lambda: http.request("GET", peers.faulty.origin + "/8"))
        assert "more than 8 header fields (Limits.max_header_count)" in str(error)
        error = await error_of(lambda: http.request("GET", peers.faulty.origin + "/11"))
        assert "longer than 2048 bytes (Limits.max_header_bytes)" in str(error)
        await assert_holds(world, http, peers, idle=0)
