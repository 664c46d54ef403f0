"""P50 and FAULTS G: what comes in records beside data, and what could have been cut off."""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import httpcore
from httpcore import ReadError, RemoteProtocolError
from tests.support.peer import Conn, ScriptedPeer
from tests.support.tls import CertificateAuthority
from tests.support.tls13 import Written
from tests.support.tls_peers import HELLO, drop_the_rest, hello
from tests.support.tls_rows import FRAMED, UNTIL_CLOSE
from tests.support.worlds import World

# P50: truncation


def ending(conn: Conn, response: bytes, end: str) -> None:
    conn.read_request()
    conn.send(response)
    if end == "close_notify":
        conn.close_notify()
    if end == "RST":
        conn.rst()
    else:
        conn.fin()
        drop_the_rest(conn)


@pytest.mark.parametrize("kind", UNTIL_CLOSE)
async def test_p50_an_end_without_close_notify_is_an_error_for_a_body_that_it_delimits(
    world: World, ca: CertificateAuthority, engine: str, kind: str
) -> None:
    """FAULTS g_trunc."""

    def script(conn: Conn) -> None:
        ending(conn, UNTIL_CLOSE[kind], "FIN")

    http = world.pool(ssl=ca.client_context(), http1_engine=engine)
    with ScriptedPeer(script, tls=ca.server_context()) as peer:
        with pytest.raises(RemoteProtocolError, match="without close_notify") as caught:
            await http.request("GET", peer.url)
        assert caught.value.request_sent
        assert http.connections == []


async def test_p50_what_came_before_the_truncation_is_handed_out_first(
    world: World, ca: CertificateAuthority, engine: str
) -> None:
    def script(conn: Conn) -> None:
        ending(conn, UNTIL_CLOSE["HTTP/1.1"], "FIN")

    http = world.pool(ssl=ca.client_context(), http1_engine=engine)
    with ScriptedPeer(script, tls=ca.server_context()) as peer:
        response = await http.request("GET", peer.url, stream=True)
        parts = response.stream()
        received = await anext(parts)
        assert received == b"some of it"
        with pytest.raises(RemoteProtocolError, match="without close_notify"):
            await anext(parts)


@pytest.mark.parametrize("kind", UNTIL_CLOSE)
async def test_p50_with_close_notify_such_a_body_is_complete(
    world: World, ca: CertificateAuthority, engine: str, kind: str
) -> None:
    def script(conn: Conn) -> None:
        ending(conn, UNTIL_CLOSE[kind], "close_notify")

    http = world.pool(ssl=ca.client_context(), http1_engine=engine)
    with ScriptedPeer(script, tls=ca.server_context()) as peer:
        expected = UNTIL_CLOSE[kind].partition(b"\r\n\r\n")[2]
        assert (await http.request("GET", peer.url)).body == expected
        assert http.connections == []


@pytest.mark.parametrize("end", ["FIN", "RST"])
@pytest.mark.parametrize("kind", FRAMED)
async def test_p50_a_framed_body_needs_no_close_notify(
    world: World, ca: CertificateAuthority, engine: str, kind: str, end: str
) -> None:
    """FAULTS g_trunc."""

    def script(conn: Conn) -> None:
        ending(conn, FRAMED[kind], end)

    http = world.pool(ssl=ca.client_context(), http1_engine=engine)
    with ScriptedPeer(script, tls=ca.server_context()) as peer:
        for _ in range(2):
            assert (await http.request("GET", peer.url)).body == b"hello"
            await world.until(lambda: peer.open_connections == 0 or end == "FIN")
        assert peer.accepted == 2


@pytest.mark.parametrize("end", ["FIN", "close_notify", "RST"])
@pytest.mark.parametrize(
    "response", [FRAMED["content-length"][:-1], FRAMED["chunked"][:-2], FRAMED["chunked"][:-8], b"HTTP/1.1 200 O"]
)
async def test_p50_a_framed_body_that_is_cut_off_is_an_error_however_it_ends(
    world: World, ca: CertificateAuthority, response: bytes, end: str
) -> None:
    def script(conn: Conn) -> None:
        ending(conn, response, end)

    http = world.pool(ssl=ca.client_context())
    with ScriptedPeer(script, tls=ca.server_context()) as peer:
        with pytest.raises((RemoteProtocolError, ReadError)) as caught:
            await http.request("GET", peer.url)
        assert isinstance(caught.value, ReadError) == (end == "RST")
        assert caught.value.request_sent


# What TLS 1.3 sends beside data


async def test_a_idle_tls_ticket_tickets_on_an_idle_connection_never_hurt_the_next_request(
    world: World, ca: CertificateAuthority, tmp_path: Path
) -> None:
    server = Written(ca, tmp_path)

    def script(conn: Conn) -> None:
        records = server.records(conn)
        conn.read_request()
        conn.socket.sendall(records.data(HELLO))
        if conn.index == 0:
            response_read.wait()
            conn.socket.sendall(records.ticket() + records.ticket())
            sent.open()
        conn.read_request()
        conn.socket.sendall(records.data(HELLO))

    http = world.pool(ssl=ca.client_context())
    with ScriptedPeer(script, tls=server.context) as peer:
        response_read, sent = peer.gate(), peer.gate()
        # Of all methods the one that is not sent again.
        assert (await http.request("POST", peer.url, body=b"1")).body == b"hello"
        response_read.open()
        await world.until(sent.is_open)
        assert (await http.request("POST", peer.url, body=b"2")).body == b"hello"
        assert [request.body for request in peer.requests] == [b"1", b"2"]


async def test_a_ticket_before_the_response_is_not_taken_for_one(
    world: World, ca: CertificateAuthority, tmp_path: Path
) -> None:
    server = Written(ca, tmp_path)

    def script(conn: Conn) -> None:
        records = server.records(conn)
        conn.socket.sendall(records.ticket())
        request = conn.read_request()
        assert len(request.body) == 3_000_000
        for record in (records.ticket(), records.data(HELLO[:20]), records.ticket(), records.data(HELLO[20:])):
            conn.socket.sendall(record)
        conn.wait_closed()

    http = world.pool(ssl=ca.client_context())
    with ScriptedPeer(script, tls=server.context) as peer:
        assert (await http.request("POST", peer.url, body=b"x" * 3_000_000)).body == b"hello"
        await http.aclose()


@pytest.mark.parametrize("count", [20, 2000])
@pytest.mark.parametrize("kind", ["key updates", "key updates to be answered", "empty records", "tickets"])
async def test_g_keyupdate_records_without_data_make_progress_or_end_the_connection(
    world: World, ca: CertificateAuthority, tmp_path: Path, kind: str, count: int
) -> None:
    server = Written(ca, tmp_path)

    def script(conn: Conn) -> None:
        records = server.records(conn)
        make: dict[str, Callable[[], bytes]] = {
            "key updates": lambda: records.key_update(False),
            "key updates to be answered": lambda: records.key_update(True),
            "empty records": lambda: records.data(b""),
            "tickets": records.ticket,
        }
        conn.read_request()
        conn.socket.sendall(b"".join(make[kind]() for _ in range(count)) + records.data(HELLO))
        drop_the_rest(conn)

    http = world.pool(ssl=ca.client_context(), timeout=5)
    with ScriptedPeer(script, tls=server.context, expect_disconnect=True) as peer:
        try:
            assert (await http.request("GET", peer.url)).body == b"hello"
        except ReadError as exc:  # OpenSSL may give up; a few have to pass
            if count == 20 or "TLS failed" not in str(exc):
                raise
            assert http.connections == []
        await http.aclose()


async def test_a_record_that_was_changed_on_the_way_is_an_error_and_never_an_end(
    world: World, ca: CertificateAuthority, tmp_path: Path
) -> None:
    server = Written(ca, tmp_path)

    def script(conn: Conn) -> None:
        records = server.records(conn)
        conn.read_request()
        good = records.data(b"HTTP/1.1 200 OK\r\n\r\nsome")
        changed = bytearray(records.data(b"x"))
        changed[-1] ^= 1
        conn.socket.sendall(good + changed)
        conn.fin()
        drop_the_rest(conn)

    http = world.pool(ssl=ca.client_context())
    with ScriptedPeer(script, tls=server.context) as peer, pytest.raises(ReadError, match="TLS failed"):
        await http.request("GET", peer.url)


@pytest.mark.parametrize("how", ["one record", "two records", "two segments"])
async def test_g_poison_a_second_response_is_never_an_answer(
    world: World, ca: CertificateAuthority, engine: str, how: str
) -> None:
    """Bytes that TLS has decrypted, or only received, count as much as those in the socket."""
    poison = HELLO.replace(b"hello", b"DEATH")
    poisoned: list[Conn] = []

    def script(conn: Conn) -> None:
        conn.read_request()
        if how == "one record":
            conn.send(HELLO + poison)
        elif how == "two records":
            held: list[bytes] = []
            send_all = conn.socket.sendall
            conn.socket.sendall = held.append  # type: ignore[assignment, method-assign]
            conn.send(HELLO)
            conn.send(poison)
            send_all(b"".join(held))
            conn.socket.sendall = send_all  # type: ignore[method-assign]
        else:
            conn.send(HELLO)
            conn.send(poison)
        poisoned.append(conn)
        conn.wait_closed()

    http = world.pool(ssl=ca.client_context(), http1_engine=engine)
    with ScriptedPeer(script, tls=ca.server_context()) as peer:
        for count in (1, 2, 3):
            assert (await http.request("GET", peer.url)).body == b"hello"
            await world.until(lambda count=count: len(poisoned) == count)  # type: ignore[misc]  # a lambda's default
        await world.until(lambda: peer.accepted == 3)


async def test_g_poison_what_is_left_in_tls_beyond_a_full_read_is_seen(
    world: World, ca: CertificateAuthority, engine: str
) -> None:
    """The response ends exactly where a read does, and the poison behind it is nowhere in the socket any more."""
    sizes = [size * 16_384 for size in (1, 2, 4, 8, 16)]
    poison = HELLO.replace(b"hello", b"DEATH")

    def script(conn: Conn) -> None:
        size = int(conn.read_request().target[1:])
        response = b"HTTP/1.1 200 OK\r\ncontent-length: %08d\r\n\r\n" % (size - 45) + b"." * (size - 45)
        assert len(response) == size
        conn.send(response + poison)
        conn.wait_closed()

    http = world.pool(ssl=ca.client_context(), http1_engine=engine)
    with ScriptedPeer(script, tls=ca.server_context()) as peer:
        for size in (*sizes, *sizes):
            assert (await http.request("GET", f"{peer.origin}/{size}")).body == b"." * (size - 45)


@pytest.mark.parametrize("how", ["in one segment", "later"])
async def test_g_poison_a_second_response_of_which_part_of_a_record_has_come_is_never_an_answer(
    world: World, ca: CertificateAuthority, engine: str, tmp_path: Path, how: str
) -> None:
    """Nothing of it can be decrypted before the next request has been sent."""
    server = Written(ca, tmp_path)

    def script(conn: Conn) -> None:
        if conn.index > 0:
            hello(conn)
        records = server.records(conn)
        conn.read_request()
        answer, poison = records.data(HELLO), records.data(HELLO.replace(b"hello", b"DEATH"))
        if how == "in one segment":
            conn.socket.sendall(answer + poison[:9])
        else:
            conn.socket.sendall(answer)
            answered.wait()
            conn.socket.sendall(poison[:9])
        sent.open()
        conn.wait_closed()

    http = world.pool(ssl=ca.client_context(), http1_engine=engine)
    with ScriptedPeer(script, tls=server.context) as peer:
        answered, sent = peer.gate(), peer.gate()
        assert (await http.request("GET", peer.url)).body == b"hello"
        answered.open()
        await world.until(sent.is_open)
        # Of all methods the one that is not sent again.
        assert (await http.request("POST", peer.url, body=b"x")).body == b"hello"
        assert [len(conn.requests) for conn in peer.connections] == [1, 1]


# Bodies over TLS


async def test_after_an_upgrade_both_sides_speak_at_once_over_tls(world: World, ca: CertificateAuthority) -> None:
    def script(conn: Conn) -> None:
        conn.read_head()
        conn.send(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n")
        while data := conn.recv():
            conn.send(data)

    piece = os.urandom(400_000)
    http = world.pool(ssl=ca.client_context())
    with ScriptedPeer(script, tls=ca.server_context()) as peer:
        upgrade = [("upgrade", "echo"), ("connection", "upgrade")]
        async with await http.request("GET", peer.url, upgrade, stream=True) as response:
            stream = response.extensions["network_stream"]
            assert isinstance(stream, httpcore.NetworkStream)

            async def write() -> None:
                for _ in range(20):
                    await stream.write(piece, timeout=30)

            async def read() -> None:
                received, count = hashlib.sha256(), 0
                while count < 20 * len(piece):
                    data = await stream.read(timeout=30)
                    received.update(data)
                    count += len(data)
                assert received.digest() == hashlib.sha256(piece * 20).digest()

            await world.gather_ok(write, read)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_big_bodies_go_both_ways_unharmed(
    world: World, ca: CertificateAuthority, engine: str, version: str
) -> None:
    up, down = os.urandom(3_000_000), os.urandom(3_000_000)

    def parts() -> Iterator[bytes]:
        for start in range(0, len(up), 100_000):
            yield up[start : start + 100_000]

    def script(conn: Conn) -> None:
        while True:
            request = conn.read_request()
            assert hashlib.sha256(request.body).digest() == hashlib.sha256(up).digest()
            conn.respond(body=down)

    context = ca.server_context()
    context.maximum_version = ssl.TLSVersion[version]
    http = world.pool(ssl=ca.client_context(), http1_engine=engine)
    with ScriptedPeer(script, tls=context) as peer:
        for body in (up, parts()):
            response = await http.request("POST", peer.url, body=body, stream=True)
            received = [part async for part in response.stream()]
            assert b"".join(received) == down
        assert peer.accepted == 1


@pytest.mark.parametrize("end", ["keeps reading", "stops reading", "FIN", "RST"])
async def test_p21_an_early_413_is_returned_over_tls(
    world: World, ca: CertificateAuthority, engine: str, end: str
) -> None:
    def script(conn: Conn) -> None:
        conn.read_head()
        conn.recv_exactly(100_000)
        conn.respond(413, b"too much")
        if end == "keeps reading":
            conn.wait_closed()
        elif end == "stops reading":
            answered.wait()
        elif end == "FIN":
            conn.close_notify()
            conn.fin()
            answered.wait()
        else:
            answered.wait(10)
            conn.rst()

    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(500):
            sent += 100_000
            yield bytes(100_000)

    http = world.pool(ssl=ca.client_context(), http1_engine=engine)
    with ScriptedPeer(script, tls=ca.server_context(), expect_disconnect=True) as peer:
        answered = peer.gate()
        response = await http.request("POST", peer.url, body=body())
        assert (response.status_code, response.body) == (413, b"too much")
        assert sent < 50_000_000
        assert http.connections == []
        answered.open()
