"""P54: a 407 may be answered on the same connection, by a hook."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

import httpcore
from httpcore import ConnectError, LocalProtocolError, ProxyError
from tests.support.invariants import assert_holds, assert_still_works, error_of
from tests.support.peer import Conn
from tests.support.scripted_proxies import ESTABLISHED, FORWARD, TLS_IN_TLS, TUNNEL, Kind, ProxyPeers, serve
from tests.support.secrets import PROXY, watched
from tests.support.tls import CertificateAuthority
from tests.support.worlds import World, can_cancel_worlds, only_worlds

KINDS = (FORWARD, TUNNEL, TLS_IN_TLS)
CHALLENGE = (b"Proxy-Authenticate", b'Digest realm="x", nonce="1"')
ANSWER = "Digest answer-to-it"
WANTED = b"Digest answer-to-it"


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    assert isinstance(request.param, Kind)
    return request.param


def asking(peers: ProxyPeers, conn: Conn, rounds: int = 1, body: bytes = b"who are you?") -> None:
    """Ask so many times, and then be a good proxy if the answer is right."""
    for _ in range(rounds):
        request = conn.read_request()
        conn.respond(407, body, [CHALLENGE])
    request = conn.read_request()
    assert request.header(b"proxy-authorization") == WANTED
    if peers.kind is FORWARD:
        conn.respond(body=b"forwarded:" + request.body)
    else:
        conn.send(ESTABLISHED)
        conn.start_tls(peers.tls)
    serve(conn)


async def test_p54_a_challenge_is_answered_on_the_same_connection(
    world: World, engine: str, ca: CertificateAuthority, kind: Kind
) -> None:
    seen: list[ProxyError] = []

    def answer(error: ProxyError) -> dict[str, str]:
        seen.append(error)
        return {"Proxy-Authorization": ANSWER}

    with ProxyPeers(kind, ca, lambda conn: asking(peers, conn)) as peers:
        http = peers.one_slot(world, proxy=peers.via(on_challenge=answer), http1_engine=engine)
        assert (await http.request("GET", peers.origin)).status_code == 200
        (error,) = seen
        assert (error.status_code, error.body) == (407, b"who are you?")
        assert (b"proxy-authenticate", b'Digest realm="x", nonce="1"') in error.headers
        assert peers.accepted == 1
        await assert_holds(world, http, peers, idle=1)


async def test_the_hook_may_answer_instead_of_credentials_that_were_refused(
    world: World, ca: CertificateAuthority, kind: Kind
) -> None:
    with ProxyPeers(kind, ca, lambda conn: asking(peers, conn)) as peers:
        proxy = peers.via(auth=("user", "refused"), on_challenge=lambda _: {"proxy-authorization": ANSWER})
        assert (await peers.one_slot(world, proxy=proxy).request("GET", peers.origin)).status_code == 200
        first, second = peers.requests[:2]
        assert first.header_list(b"proxy-authorization") == [b"Basic dXNlcjpyZWZ1c2Vk"]
        assert second.header_list(b"proxy-authorization") == [WANTED]


@can_cancel_worlds
async def test_the_hook_may_be_async(world: World, ca: CertificateAuthority, kind: Kind) -> None:
    async def answer(error: ProxyError) -> dict[str, str] | None:
        await world.sleep(0)
        return {"proxy-authorization": ANSWER}

    with ProxyPeers(kind, ca, lambda conn: asking(peers, conn, 2)) as peers:
        http = peers.one_slot(world, proxy=peers.via(on_challenge=answer))
        assert (await http.request("GET", peers.origin)).status_code == 200
        assert peers.accepted == 1


@only_worlds("blocking")
async def test_an_async_hook_in_blocking_code_is_refused_in_words(world: World, ca: CertificateAuthority) -> None:
    async def answer(error: ProxyError) -> None:
        raise AssertionError("nobody can run this here")

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(407)
        conn.wait_closed()

    with ProxyPeers(TUNNEL, ca, script) as peers:
        http = peers.one_slot(world, proxy=peers.via(on_challenge=answer))
        with pytest.raises(ConnectError, match="awaited was given to the sync pool"):
            await http.request("GET", peers.origin)
        await assert_holds(world, http, peers, idle=0)


async def test_rounds_are_bounded(world: World, ca: CertificateAuthority, kind: Kind) -> None:
    asked: list[int] = []

    def never_satisfied(conn: Conn) -> None:
        while True:
            conn.read_request()
            conn.respond(407, b"round %d" % len(asked), [CHALLENGE])

    def answer(error: ProxyError) -> dict[str, str]:
        asked.append(len(asked))
        return {"proxy-authorization": f"round {len(asked)}"}

    with ProxyPeers(kind, ca, never_satisfied) as peers:
        http = peers.one_slot(world, proxy=peers.via(on_challenge=answer))
        error = await error_of(lambda: http.request("GET", peers.origin))
        assert isinstance(error, ProxyError)
        assert error.status_code == 407
        assert len(asked) == 4
        assert len(peers.requests) == 5
        await http.close_idle()
        await assert_holds(world, http, peers, idle=0)
        await assert_still_works(world, http, peers)


async def test_no_answer_and_no_connection_to_answer_on_are_the_error_itself(
    world: World, ca: CertificateAuthority, kind: Kind
) -> None:
    asked: list[ProxyError] = []

    def closing(conn: Conn) -> None:
        conn.read_request()
        conn.respond(407, b"no", [CHALLENGE, (b"connection", b"close")])

    def staying(conn: Conn) -> None:
        conn.read_request()
        conn.respond(407, b"no", [CHALLENGE])
        conn.wait_closed()

    with ProxyPeers(kind, ca, staying, closing) as peers:
        proxy = peers.via(on_challenge=asked.append)
        http = peers.one_slot(world, proxy=proxy)
        for _ in range(2):
            error = await error_of(lambda: http.request("GET", peers.origin))
            assert isinstance(error, ProxyError)
            assert (error.status_code, error.body) == (407, b"no")
            await http.close_idle()
            await assert_holds(world, http, peers, idle=0)
        assert len(asked) >= 1
        await assert_still_works(world, http, peers)


async def test_what_the_hook_raises_is_the_callers_and_costs_nothing(
    world: World, ca: CertificateAuthority, kind: Kind
) -> None:
    """A tunnel may be made for several requests, so that there it is the cause of an error of ours."""
    answers: list[Any] = [KeyError("mine"), {"x": "a\r\nb"}, {"x\r\n": "a"}, 5]

    def answer(error: ProxyError) -> Any:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def script(conn: Conn) -> None:
        for _ in range(4 if kind is FORWARD else 1):
            conn.read_request()
            conn.respond(407, b"", [CHALLENGE])
        serve(conn)

    with ProxyPeers(kind, ca, *[script] * (1 if kind is FORWARD else 4)) as peers:
        http = peers.one_slot(world, proxy=peers.via(on_challenge=answer))
        for error in (KeyError, LocalProtocolError, LocalProtocolError, TypeError):
            with pytest.raises((error, ConnectError)) as caught:
                await http.request("GET", peers.origin)
            assert error in (type(caught.value), type(caught.value.__cause__))
            await assert_holds(world, http, peers, idle=1 if kind is FORWARD else 0)
        await assert_still_works(world, http, peers)


async def test_an_upload_is_sent_anew_where_it_can_be(world: World, ca: CertificateAuthority) -> None:
    with ProxyPeers(FORWARD, ca, lambda conn: asking(peers, conn)) as peers:
        http = peers.one_slot(world, proxy=peers.via(on_challenge=lambda _: {"proxy-authorization": ANSWER}))
        response = await http.request("POST", peers.origin, body=b"0123456789")
        assert response.body == b"forwarded:0123456789"
        assert [request.body for request in peers.requests] == [b"0123456789"] * 2


async def test_an_upload_that_was_read_up_is_the_error_itself(world: World, ca: CertificateAuthority) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(407, b"too late", [CHALLENGE])
        conn.wait_closed()

    def once() -> Iterator[bytes]:
        yield b"01234"
        yield b"56789"

    with ProxyPeers(FORWARD, ca, script) as peers:
        http = peers.one_slot(world, proxy=peers.via(on_challenge=lambda _: {"proxy-authorization": ANSWER}))
        error = await error_of(lambda: http.request("POST", peers.origin, body=once()))
        assert isinstance(error, ProxyError)
        assert error.body == b"too late"
        assert error.request_sent
        await http.close_idle()
        await assert_still_works(world, http, peers)


async def test_a_407_of_an_origin_is_a_response(world: World, ca: CertificateAuthority) -> None:
    """In a tunnel, or without a proxy, it is nothing that a proxy said; and gets no proxy's credentials."""

    def script(conn: Conn) -> None:
        peers.kind.enter(conn, peers.inner)
        while True:
            conn.read_request()
            conn.respond(407, b"from the origin", [CHALLENGE])

    def answer(error: ProxyError) -> dict[str, str]:
        raise AssertionError("nobody is to be asked")

    for kind in (TUNNEL, TLS_IN_TLS):
        with ProxyPeers(kind, ca, script) as peers:
            http = peers.one_slot(world, proxy=peers.via(auth=PROXY.auth, on_challenge=answer))
            response = await http.request("GET", peers.origin)
            assert (response.status_code, response.body) == (407, b"from the origin")
            assert not PROXY.seen_in(peers.requests[-1].raw_head)


async def test_i9_an_answer_is_in_no_repr_log_trace_or_exception(
    world: World, ca: CertificateAuthority, kind: Kind
) -> None:
    def never_satisfied(conn: Conn) -> None:
        while True:
            conn.read_request()
            conn.respond(407, b"", [CHALLENGE])

    with ProxyPeers(kind, ca, never_satisfied) as peers:
        proxy = peers.via(
            auth=PROXY.auth,
            headers={"x": "proxy-header-marker"},
            on_challenge=lambda _: {"proxy-authorization": "proxy-header-marker"},
        )
        with watched(world, PROXY, proxy=proxy, ssl=ca.client_context()) as (http, seen):
            seen.append(await error_of(lambda: http.request("GET", peers.origin)))
            await http.close_idle()


@can_cancel_worlds
async def test_a_total_timeout_covers_the_hook(world: World, ca: CertificateAuthority) -> None:
    async def answer(error: ProxyError) -> None:
        await world.sleep(3600)

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.respond(407, b"", [CHALLENGE])
        conn.wait_closed()

    for kind in (FORWARD, TUNNEL):
        with ProxyPeers(kind, ca, script) as peers:
            http = peers.one_slot(world, proxy=peers.via(on_challenge=answer))
            timeout = httpcore.Timeout(9, total=0.2)
            error = await error_of(partial(http.request, "GET", peers.origin, timeout=timeout))
            assert isinstance(error, httpcore.TotalTimeout)
            await assert_holds(world, http, peers, idle=len(http.connections))
            await http.aclose()
