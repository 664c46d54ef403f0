"""P61: trace events are typed, ordered and complete, and a hook that fails breaks nothing."""

from __future__ import annotations

import logging

import pytest

import httpcore
from tests.support.peer import Conn, ScriptedPeer
from tests.support.worlds import World, can_cancel_worlds

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def names(events: list[httpcore.TraceEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


async def test_p61_events_of_a_request_come_in_order_and_are_complete(world: World) -> None:
    events: list[httpcore.TraceEvent] = []
    with ScriptedPeer.answering(HELLO) as peer:
        http = world.pool(trace=events.append)
        await http.request("GET", peer.url)
        await http.request("GET", peer.url)
        await http.aclose()
    # Where the dial goes on beside the request, it tells of its end before or after the request has taken it.
    first = names(events)[:6]
    assert first[:2] == ["RequestStarted", "Connecting"]
    assert sorted(first[2:4]) == ["Connected", "ConnectionAcquired"]
    assert first[4:] == ["ResponseStarted", "ResponseEnded"]
    assert names(events)[6:] == [
        "RequestStarted",
        "ConnectionAcquired",
        "ResponseStarted",
        "ResponseEnded",
        "ConnectionClosed",
    ]
    assert {event.origin for event in events} == {f"http://{peer.host}:{peer.port}"}
    assert [event.time for event in events] == sorted(event.time for event in events)


async def test_p61_events_of_one_request_share_its_number_and_say_what_happened(world: World) -> None:
    events: list[httpcore.TraceEvent] = []
    with ScriptedPeer.answering(HELLO) as peer:
        http = world.pool(trace=events.append)
        await http.request("GET", peer.url)
        await http.request("HEAD", peer.url)
    acquired = [event for event in events if isinstance(event, httpcore.ConnectionAcquired)]
    assert [(event.request_id, event.is_reused) for event in acquired] == [(1, False), (2, True)]
    started = [event for event in events if isinstance(event, httpcore.RequestStarted)]
    assert [(event.request_id, event.method) for event in started] == [(1, "GET"), (2, "HEAD")]
    heads = [event for event in events if isinstance(event, httpcore.ResponseStarted)]
    assert [(event.request_id, event.status_code) for event in heads] == [(1, 200), (2, 200)]
    ends = [event for event in events if isinstance(event, httpcore.ResponseEnded)]
    assert [(event.request_id, event.is_complete) for event in ends] == [(1, True), (2, True)]


async def test_p61_an_interim_response_is_an_event(world: World) -> None:
    events: list[httpcore.TraceEvent] = []
    with ScriptedPeer.answering(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + HELLO) as peer:
        await world.pool(trace=events.append).request("GET", peer.url)
    hints = [event for event in events if isinstance(event, httpcore.InformationalReceived)]
    assert [(event.status_code, event.headers) for event in hints] == [(103, ((b"link", b"</a>"),))]


async def test_p61_a_resent_request_says_why(world: World) -> None:
    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(HELLO)
        if conn.index == 0:
            conn.read_request()
            conn.close()
        else:
            conn.read_request()
            conn.send(HELLO)
            conn.wait_closed()

    events: list[httpcore.TraceEvent] = []
    with ScriptedPeer(script) as peer:
        http = world.pool(trace=events.append)
        await http.request("GET", peer.url)
        await http.request("GET", peer.url)
        await http.request("GET", peer.url)
        await http.aclose()
    resent = [event for event in events if isinstance(event, httpcore.RequestResent)]
    assert [event.request_id for event in resent] == [2]
    assert "closed the connection" in str(resent[0].error)


async def test_p61_a_failed_request_and_a_failed_dial_are_events(world: World) -> None:
    events: list[httpcore.TraceEvent] = []
    with ScriptedPeer.answering(HELLO) as peer:
        url = peer.url
    with pytest.raises(httpcore.ConnectError) as caught:
        await world.pool(trace=events.append).request("GET", url)
    assert names(events) == ["RequestStarted", "Connecting", "ConnectFailed", "RequestFailed"]
    failed = events[-1]
    assert isinstance(failed, httpcore.RequestFailed)
    assert failed.error is caught.value


async def test_p61_a_hook_that_raises_breaks_no_request_and_is_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def hook(event: httpcore.TraceEvent) -> None:
        raise RuntimeError(f"the hook does not like {type(event).__name__}")

    with caplog.at_level(logging.ERROR, logger="httpcore"), ScriptedPeer.answering(HELLO) as peer:
        http = world.pool(trace=hook)
        assert (await http.request("GET", peer.url)).body == b"hello"
        assert (await http.request("GET", peer.url)).body == b"hello"
        await http.aclose()
    assert "RequestStarted" in caplog.text
    assert "the hook does not like ConnectionClosed" in caplog.text


async def test_p61_events_are_frozen_values(world: World) -> None:
    events: list[httpcore.TraceEvent] = []
    with ScriptedPeer.answering(HELLO) as peer:
        await world.pool(trace=events.append).request("GET", peer.url)
    with pytest.raises(AttributeError):
        events[0].time = 0.0  # type: ignore[misc]  # that it cannot be set is what is tested


def head_then_nothing(conn: Conn) -> None:
    conn.read_request()
    conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nsome")
    conn.wait_closed()


def ends(events: list[httpcore.TraceEvent]) -> list[tuple[str, object]]:
    """How requests and connections came to their end, in order."""
    found: list[tuple[str, object]] = []
    for event in events:
        match event:
            case httpcore.ResponseEnded(is_complete=is_complete):
                found.append(("ended", is_complete))
            case httpcore.RequestFailed(error=error):
                found.append(("failed", type(error).__name__))
            case httpcore.ConnectionClosed(reason=reason):
                assert reason
                found.append(("closed", None))
    return found


async def test_p61_a_response_that_is_closed_early_ends_incomplete(world: World) -> None:
    events: list[httpcore.TraceEvent] = []
    with ScriptedPeer(head_then_nothing) as peer:
        http = world.pool(trace=events.append)
        response = await http.request("GET", peer.url, stream=True)
        assert not ends(events)
        await response.aclose()
        await response.aclose()
    assert ends(events) == [("ended", False), ("closed", None)]


async def test_p61_a_body_that_fails_ends_incomplete(world: World) -> None:
    events: list[httpcore.TraceEvent] = []
    with ScriptedPeer(head_then_nothing) as peer:
        http = world.pool(trace=events.append, timeout=httpcore.Timeout(30, read=0.3))
        with pytest.raises(httpcore.ReadTimeout):
            await http.request("GET", peer.url)
    assert ends(events) == [("ended", False), ("closed", None)]


async def test_p61_a_request_that_gets_no_answer_fails(world: World) -> None:
    events: list[httpcore.TraceEvent] = []
    with ScriptedPeer(lambda conn: None, expect_disconnect=True) as peer:
        http = world.pool(trace=events.append)
        with pytest.raises(httpcore.HTTPCoreError):
            await http.request("POST", peer.url, body=b"x")
    assert sorted(name for name, _ in ends(events)) == ["closed", "failed"]


@can_cancel_worlds
async def test_p61_a_request_that_is_cancelled_fails(world: World) -> None:
    events: list[httpcore.TraceEvent] = []

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.wait_closed()

    with ScriptedPeer(script) as peer:
        http = world.pool(trace=events.append)
        assert await world.cancel_when(lambda: bool(peer.requests), lambda: http.request("GET", peer.url))
    assert {name for name, _ in ends(events)} == {"failed", "closed"}
    failed = next(event for event in events if isinstance(event, httpcore.RequestFailed))
    assert not isinstance(failed.error, Exception)  # it is the cancellation, as it is


async def test_p61_what_is_refused_before_it_is_a_request_is_no_event(world: World) -> None:
    events: list[httpcore.TraceEvent] = []
    http = world.pool(trace=events.append)
    for url in ("http://x y/", "ftp://x/"):
        with pytest.raises(httpcore.HTTPCoreError):
            await http.request("GET", url)
    assert not events


async def test_p61_a_hook_may_look_at_the_pool(world: World) -> None:
    """No lock is held while it runs."""
    seen: list[str] = []

    def hook(event: httpcore.TraceEvent) -> None:
        seen.append(f"{http!r} {http.stats()} {http.connections}")

    with ScriptedPeer.answering(HELLO) as peer:
        http = world.pool(trace=hook)
        await http.request("GET", peer.url)
        await http.aclose()
    assert len(seen) == 7


async def test_p61_times_and_durations_are_those_of_what_happened(world: World) -> None:
    events: list[httpcore.TraceEvent] = []

    def script(conn: Conn) -> None:
        conn.read_request()
        go_on.wait()
        conn.send(HELLO)

    async def answer() -> None:
        await world.until(lambda: peer.requests)
        await world.sleep(0.05)
        go_on.open()

    with ScriptedPeer(script) as peer:
        go_on = peer.gate()
        http = world.pool(trace=events.append)
        await world.gather_ok(lambda: http.request("GET", peer.url), answer)
    connected = next(event for event in events if isinstance(event, httpcore.Connected))
    connecting = next(event for event in events if isinstance(event, httpcore.Connecting))
    assert connected.seconds == pytest.approx(connected.time - connecting.time, abs=0.02)
    acquired = next(event for event in events if isinstance(event, httpcore.ConnectionAcquired))
    answered = next(event for event in events if isinstance(event, httpcore.ResponseStarted))
    assert 0.05 <= answered.time - acquired.time < 5


async def test_p61_a_forgotten_response_has_an_end_as_well(world: World) -> None:
    """Not in the finaliser, which may run anywhere, but when the pool takes the connection back."""
    events: list[httpcore.TraceEvent] = []

    def script(conn: Conn) -> None:
        conn.read_request()
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
        conn.wait_closed()

    with ScriptedPeer(script, expect_disconnect=True) as peer:
        http = world.pool(trace=events.append)
        response = await http.request("GET", peer.url, stream=True)
        with pytest.warns(ResourceWarning, match="neither read to its end nor closed"):
            del response
        await http.drain()
    assert names(events)[-2:] == ["ResponseEnded", "ConnectionClosed"]
    ends = [event for event in events if isinstance(event, httpcore.ResponseEnded)]
    assert [(event.request_id, event.is_complete) for event in ends] == [(1, False)]


@pytest.mark.parametrize("is_forgotten", [False, True])
async def test_p61_a_response_ends_with_the_stream_that_it_became(world: World, is_forgotten: bool) -> None:
    events: list[httpcore.TraceEvent] = []

    def script(conn: Conn) -> None:
        conn.read_head()
        conn.send(b"HTTP/1.1 200 OK\r\n\r\n")
        conn.wait_closed()

    with ScriptedPeer(script, expect_disconnect=True) as peer:
        http = world.pool(trace=events.append)
        target = {"target": b"example.org:443"}
        response = await http.request("CONNECT", peer.url, extensions=target, stream=True)
        assert names(events)[-1] == "ResponseStarted"
        if is_forgotten:
            with pytest.warns(ResourceWarning, match="was not closed"):
                del response
            await http.drain()
        else:
            await response.aclose()
            await response.aclose()
    assert names(events)[-2:] == ["ResponseEnded", "ConnectionClosed"]
    ends = [event for event in events if isinstance(event, httpcore.ResponseEnded)]
    assert [(event.request_id, event.is_complete) for event in ends] == [(1, not is_forgotten)]
