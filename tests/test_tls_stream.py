"""`TLSStream` by itself: what it owes the stream below it, another `TLSStream` among them (FAULTS g_tls_in_tls)."""

from __future__ import annotations

import hashlib
import math
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from httpcore import ConnectError, HTTPCoreError, ReadError, ReadTimeout
from httpcore._backends import make_backend
from httpcore._sessions import Sessions
from httpcore._streams import Address, Stream
from httpcore._tls import TLSStream, start_tls
from tests.support.peer import Conn, Disconnected, ScriptedPeer
from tests.support.tls import CertificateAuthority
from tests.support.tls13 import Records, Written
from tests.support.tls_peers import drop_the_rest
from tests.support.worlds import World

KEY_UPDATES = 300


def deadline(world: World, seconds: float = 20) -> float:
    return make_backend(world.backend).now() + seconds


async def connect(world: World, peer: ScriptedPeer) -> Stream:
    address = Address(socket.AF_INET, (peer.host, peer.port), None, None, (), "the peer")
    stream, _ = await make_backend(world.backend).connect([address], deadline(world), 0.0)
    return stream


async def secure(world: World, stream: Stream, context: ssl.SSLContext, sessions: Sessions | None = None) -> TLSStream:
    return await start_tls(stream, context, "localhost", deadline(world), sessions=sessions)


async def read_exactly(world: World, stream: Stream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = await stream.receive(65_536, deadline(world))
        assert part, "it ended"
        data += part
    return data


# TLS in TLS


def nested(outer: ssl.SSLContext, inner: ssl.SSLContext, then: Callable[[Conn], None]) -> Callable[[Conn], None]:
    def script(conn: Conn) -> None:
        conn.start_tls(outer)
        conn.start_tls(inner)
        then(conn)

    return script


def echo(conn: Conn) -> None:
    while data := conn.recv():
        conn.send(data)


@pytest.mark.parametrize("inner", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("outer", ["TLSv1_2", "TLSv1_3"])
async def test_g_tls_in_tls_bytes_go_both_ways_unharmed(
    world: World, ca: CertificateAuthority, outer: str, inner: str
) -> None:
    outside, inside = ca.server_context(), ca.server_context(alpn=("x",))
    outside.maximum_version, inside.maximum_version = ssl.TLSVersion[outer], ssl.TLSVersion[inner]
    with ScriptedPeer(nested(outside, inside, echo)) as peer:
        tunnel = await secure(world, await connect(world, peer), ca.client_context())
        stream = await secure(world, tunnel, ca.client_context(alpn=("x",)))
        try:
            for size in (1, 16_384, 16_385, 600_000):
                data = os.urandom(size)
                received: list[bytes] = []

                async def send(data: bytes = data) -> None:
                    await stream.send(data, deadline(world))

                async def receive(size: int = size, received: list[bytes] = received) -> None:
                    received.append(await read_exactly(world, stream, size))

                await world.gather_ok(send, receive)
                assert hashlib.sha256(received[0]).digest() == hashlib.sha256(data).digest(), size
            assert (tunnel.info.alpn, stream.info.alpn) == (None, "x")
            assert tunnel.info.tls_version == outer.replace("_", ".")
            assert stream.info.tls_version == inner.replace("_", ".")
            assert stream.info.peer_certificate != tunnel.info.peer_certificate
            assert stream.info.remote_address == (peer.host, peer.port)
            assert not stream.is_readable()
        finally:
            stream.close()
        await world.until(lambda: peer.open_connections == 0)


@pytest.mark.parametrize("layer", ["outer", "inner"])
async def test_g_tls_in_tls_a_certificate_that_is_not_valid_in_either_layer_is_a_connect_error(
    world: World, ca: CertificateAuthority, layer: str
) -> None:
    contexts = {"outer": ca.server_context(), "inner": ca.server_context(), layer: ca.untrusted()}
    said: list[bytes] = []

    def script(conn: Conn) -> None:
        try:
            nested(contexts["outer"], contexts["inner"], lambda conn: said.append(conn.recv()))(conn)
        except (ssl.SSLError, Disconnected):
            return

    with ScriptedPeer(script, expect_disconnect=True) as peer:
        stream: Stream = await connect(world, peer)
        if layer == "inner":
            stream = await secure(world, stream, ca.client_context())
        with pytest.raises(ConnectError, match="the certificate is not valid") as caught:
            await secure(world, stream, ca.client_context())
        assert not caught.value.request_sent
        assert said == []
        await world.until(lambda: peer.open_connections == 0)


INNER_GARBAGE = {
    "plain text": b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
    "an oversize record": b"\x16\x03\x03\xff\xff" + b"x" * 70_000,
    "a fatal alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "nothing but the end": b"",
}


@pytest.mark.parametrize("end", ["close_notify", "FIN", "RST"])
@pytest.mark.parametrize("kind", INNER_GARBAGE)
async def test_g_tls_in_tls_an_inner_handshake_that_fails_is_an_error_of_ours_and_closes_both(
    world: World, ca: CertificateAuthority, kind: str, end: str
) -> None:
    def script(conn: Conn) -> None:
        conn.start_tls(ca.server_context())
        conn.recv()
        conn.send(INNER_GARBAGE[kind])
        if end == "RST":
            conn.rst()
            return
        if end == "close_notify":
            conn.close_notify()
        conn.fin()
        drop_the_rest(conn)

    with ScriptedPeer(script, expect_disconnect=True) as peer:
        tunnel = await secure(world, await connect(world, peer), ca.client_context())
        with pytest.raises((ConnectError, ReadError)) as caught:
            await secure(world, tunnel, ca.client_context())
        # A reset may overtake what was sent before it.
        assert isinstance(caught.value, ConnectError) or end == "RST"
        await world.until(lambda: peer.open_connections == 0)


async def test_g_tls_in_tls_an_inner_handshake_that_nobody_answers_ends_at_the_deadline(
    world: World, ca: CertificateAuthority
) -> None:
    def script(conn: Conn) -> None:
        conn.start_tls(ca.server_context())
        conn.wait_closed()

    with ScriptedPeer(script) as peer:
        tunnel = await secure(world, await connect(world, peer), ca.client_context())
        with pytest.raises(ReadTimeout):
            await start_tls(tunnel, ca.client_context(), "localhost", deadline(world, 0.2))
        await world.until(lambda: peer.open_connections == 0)


@pytest.mark.parametrize("inner", ["close_notify", "none"])
@pytest.mark.parametrize("outer", ["close_notify", "none"])
async def test_g_tls_in_tls_an_end_is_believed_where_the_inner_layer_announced_it(
    world: World, ca: CertificateAuthority, outer: str, inner: str
) -> None:
    def script(conn: Conn) -> None:
        conn.start_tls(ca.server_context())
        outside = conn._tls_layer
        assert outside is not None
        conn.start_tls(ca.server_context())
        conn.send(b"last words")
        if inner == "close_notify":
            conn.close_notify()
        if outer == "close_notify":
            outside.close_notify()
        conn.fin()
        drop_the_rest(conn)

    with ScriptedPeer(script) as peer:
        tunnel = await secure(world, await connect(world, peer), ca.client_context())
        stream = await secure(world, tunnel, ca.client_context())
        try:
            assert await read_exactly(world, stream, 10) == b"last words"
            assert await stream.receive(100, deadline(world)) == b""
            assert stream.is_truncated == (inner == "none")
            assert await stream.receive(100, deadline(world)) == b""
        finally:
            stream.close()


async def test_g_tls_in_tls_single_bytes_make_a_whole(world: World, ca: CertificateAuthority) -> None:
    def script(conn: Conn) -> None:
        conn.start_tls(ca.server_context())
        outside = conn._tls_layer
        assert outside is not None
        send_all = outside.sendall

        def bytewise(data: bytes) -> None:
            for index in range(len(data)):
                send_all(data[index : index + 1])

        outside.sendall = bytewise  # type: ignore[method-assign]
        conn.start_tls(ca.server_context())
        conn.send(b"hello")
        conn.wait_closed()

    with ScriptedPeer(script) as peer:
        stream = await secure(
            world, await secure(world, await connect(world, peer), ca.client_context()), ca.client_context()
        )
        try:
            assert await read_exactly(world, stream, 5) == b"hello"
        finally:
            stream.close()


# Both ways at once


async def test_g_keyupdate_answers_never_come_before_what_is_being_sent(
    world: World, ca: CertificateAuthority, tmp_path: Path
) -> None:
    """One sends while another receives, in threads where there are no tasks, and the peer asks for new keys."""
    server = Written(ca, tmp_path)
    size = 20_000_000
    received = hashlib.sha256()

    def script(conn: Conn) -> None:
        records = server.records(conn)
        count = 0
        for _ in range(KEY_UPDATES):
            conn.socket.sendall(records.key_update(True) + records.data(b"x"))
            data = conn.recv(size // KEY_UPDATES)
            received.update(data)
            count += len(data)
        while count < size:
            data = conn.recv()
            received.update(data)
            count += len(data)
        conn.socket.sendall(records.data(b"."))
        conn.wait_closed()

    piece = os.urandom(100_000)
    with ScriptedPeer(script, tls=server.context) as peer:
        stream = await secure(world, await connect(world, peer), ca.client_context())
        try:

            async def send() -> None:
                for _ in range(size // len(piece)):
                    await stream.send(piece, deadline(world, 40))

            async def receive() -> None:
                assert await read_exactly(world, stream, KEY_UPDATES + 1) == b"x" * KEY_UPDATES + b"."

            await world.gather_ok(send, receive)
        finally:
            stream.close()
    assert received.digest() == hashlib.sha256(piece * (size // len(piece))).digest()


async def test_a_second_receiver_is_turned_away_and_holds_up_nobody(world: World, ca: CertificateAuthority) -> None:
    def script(conn: Conn) -> None:
        second.wait()
        conn.send(b"hello")
        conn.wait_closed()

    with ScriptedPeer(script, tls=ca.server_context()) as peer:
        second = peer.gate()
        stream = await secure(world, await connect(world, peer), ca.client_context())
        try:
            async with world.tasks() as tasks:
                first = tasks.start(lambda: read_exactly(world, stream, 5))
                await world.until(stream._reading.locked)
                with pytest.raises(ReadError, match="somebody else is receiving"):
                    await stream.receive(100, deadline(world))
                second.open()
                assert await first.outcome() == b"hello"
        finally:
            stream.close()


@pytest.mark.parametrize("layers", [1, 2])
async def test_closing_ends_the_wait_of_who_receives(world: World, ca: CertificateAuthority, layers: int) -> None:
    def script(conn: Conn) -> None:
        for _ in range(layers):
            conn.start_tls(ca.server_context())
        conn.wait_closed()

    with ScriptedPeer(script) as peer:
        stream: Stream = await connect(world, peer)
        tls: list[TLSStream] = []
        for _ in range(layers):
            tls.append(await secure(world, stream, ca.client_context()))
            stream = tls[-1]
        async with world.tasks() as tasks:
            receiver = tasks.start(lambda: stream.receive(100, deadline(world)))
            await world.until(tls[0]._reading.locked)
            stream.close()
            with pytest.raises(ReadError):
                await receiver.outcome()
        await world.until(lambda: peer.open_connections == 0)


# What has come while nobody read


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_after_the_handshake_there_is_nothing_to_read_but_tickets(
    world: World, ca: CertificateAuthority, version: str
) -> None:
    context = ca.server_context()
    context.maximum_version = ssl.TLSVersion[version]

    def script(conn: Conn) -> None:
        shaken.open()
        go_on.wait()
        conn.send(b"data")
        conn.wait_closed()

    with ScriptedPeer(script, tls=context) as peer:
        shaken, go_on = peer.gate(), peer.gate()
        stream = await secure(world, await connect(world, peer), ca.client_context())
        try:
            assert not stream.is_readable()
            await world.until(shaken.is_open)
            for _ in range(3):
                assert not stream.is_readable()
                await world.sleep(0)
            go_on.open()
            await world.until(stream.is_readable)
            assert await read_exactly(world, stream, 4) == b"data"
        finally:
            stream.close()


async def test_g_poison_part_of_a_record_counts_as_something_to_read(
    world: World, ca: CertificateAuthority, tmp_path: Path
) -> None:
    server = Written(ca, tmp_path)

    def script(conn: Conn) -> None:
        records = server.records(conn)
        conn.socket.sendall(records.data(b"data"))
        whole.wait()
        conn.socket.sendall(records.ticket() + records.ticket())
        ticket.open()
        more.wait()
        record = records.data(b"more")
        conn.socket.sendall(record[:-1])
        part.open()
        rest.wait()
        conn.socket.sendall(record[-1:])
        conn.wait_closed()

    with ScriptedPeer(script, tls=server.context) as peer:
        whole, ticket, more, part, rest = (peer.gate() for _ in range(5))
        stream = await secure(world, await connect(world, peer), ca.client_context())
        try:
            assert await read_exactly(world, stream, 4) == b"data"
            assert not stream.is_readable()
            whole.open()
            await world.until(ticket.is_open)
            for _ in range(3):
                assert not stream.is_readable()
                await world.sleep(0)
            more.open()
            await world.until(part.is_open)
            await world.until(stream.is_readable)
            rest.open()
            assert await read_exactly(world, stream, 4) == b"more"
            assert not stream.is_readable()
        finally:
            stream.close()


async def test_g_poison_part_of_a_record_behind_the_data_counts_too(
    world: World, ca: CertificateAuthority, tmp_path: Path
) -> None:
    server = Written(ca, tmp_path)

    def script(conn: Conn) -> None:
        records = server.records(conn)
        conn.socket.sendall(records.data(b"data") + records.data(b"poison")[:7])
        conn.wait_closed()

    with ScriptedPeer(script, tls=server.context) as peer:
        stream = await secure(world, await connect(world, peer), ca.client_context())
        try:
            assert await read_exactly(world, stream, 4) == b"data"
            assert stream.is_readable()
        finally:
            stream.close()


def tickets_for_ever(conn: Conn, records: Records) -> None:
    flood = b"".join(records.ticket() for _ in range(100))
    try:
        while True:
            conn.socket.sendall(flood)
            flood = b"".join(records.ticket() for _ in range(100))
    except Disconnected:
        return


@pytest.mark.parametrize("how", ["receive", "is_readable", "send"])
async def test_g_keyupdate_tickets_without_end_are_an_error_and_no_endless_loop(
    world: World, ca: CertificateAuthority, tmp_path: Path, how: str
) -> None:
    """There is always something to be read, so that no deadline would end it."""
    server = Written(ca, tmp_path)

    def script(conn: Conn) -> None:
        tickets_for_ever(conn, server.records(conn))

    with ScriptedPeer(script, tls=server.context) as peer:
        stream = await secure(world, await connect(world, peer), ca.client_context())
        try:
            if how == "is_readable":  # it says so sooner or later, and each look is bounded
                await world.until(stream.is_readable)
            elif how == "send":  # the peer reads nothing, and says nothing either
                assert not await stream.send(bytes(50_000_000), math.inf, True)
            with pytest.raises(ReadError, match="records of TLS without end"):
                await stream.receive(65_536, math.inf)
        finally:
            stream.close()
        await world.until(lambda: peer.open_connections == 0)


# Sessions


@pytest.mark.parametrize("is_broken", [False, True], ids=["well", "badly"])
async def test_g_resume_only_a_connection_that_ended_well_leaves_its_session(
    world: World, ca: CertificateAuthority, tmp_path: Path, is_broken: bool
) -> None:
    server = Written(ca, tmp_path)

    def script(conn: Conn) -> None:
        records = server.records(conn)
        conn.socket.sendall(records.ticket() + records.data(b"data"))
        if is_broken:
            conn.socket.sendall(bytes(records.data(b"more")[:-1]) + b"\0")
        drop_the_rest(conn)

    sessions = Sessions()
    with ScriptedPeer(script, tls=server.context) as peer:
        stream = await secure(world, await connect(world, peer), ca.client_context(), sessions)
        assert await read_exactly(world, stream, 4) == b"data"
        if is_broken:
            with pytest.raises(HTTPCoreError, match="TLS failed"):
                await stream.receive(100, deadline(world))
        stream.close()
        assert len(sessions._kept) == (0 if is_broken else 1)
