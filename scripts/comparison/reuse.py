"""Connections that end, or say something, where nobody expects it: as in `test_reuse.py`, `test_framing_faults.py`,
`test_timeouts.py` and `test_uploads.py`.

What comes on an idle connection has had a while to arrive before the next request is sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from tests.support.peer import Conn, Gate, ScriptedPeer

from .cases import Case
from .driver import Driver, Hang, Outcome
from .faults import row_of
from .judging import PASS, Rule, of_end, of_response, of_what_follows, together
from .messages import Ask, Failure, Reply, Setup

_EVIL = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
_A_WHILE = 0.3
_SHORT_TIMEOUT = 2.0
_UPLOAD = b"0123456789" * 400_000

Script = Callable[[Conn], None]
Play = Callable[[Driver], str]


def cases() -> Iterator[Case]:
    for id, fault in _IDLE_FAULTS.items():
        for method in ("GET", "POST"):
            yield _case(f"{id}_{method.lower()}", partial(_play_idle_fault, fault, method))
    for id, end in {"close": Conn.close, "rst": Conn.rst}.items():
        yield _case(f"a_race_get_{id}", partial(_play_race, end, "GET"))
        yield _case(f"a_race_post_{id}", partial(_play_race, end, "POST"))
        yield _case(f"a_fresh_close_post_{id}", partial(_play_fresh_close, end))
    for id, wire in _CUT_OFF.items():
        yield _case(id, partial(_play_refused, partial(_send_and_reset, wire)))
    yield _case("e_body_stall", partial(_play_timeout, _stall, Ask("GET", "/")))
    yield _case("e_drip_head", partial(_play_timeout, _drip, Ask("GET", "/")))
    yield _case("d_write_stall", partial(_play_timeout, _never_read, Ask("POST", "/", body=_UPLOAD)))
    for id, script in {"d_early_413_read": _refuse_and_read, "d_early_413_unread": _refuse_and_end}.items():
        yield _case(id, partial(_play_early_413, script))


def _case(id: str, play: Play) -> Case:
    return Case(id, row_of(id), play)


def _say_408(conn: Conn) -> None:
    conn.respond(408, body=b"too slow", headers=[(b"connection", b"close")])
    conn.close()


_IDLE_FAULTS: dict[str, Script] = {
    "a_extra_later": lambda conn: conn.send(_EVIL),
    "a_extra_byte_later": lambda conn: conn.send(b"\n"),
    "a_idle_fin": Conn.close,
    "a_idle_rst": Conn.rst,
    "a_idle_half": Conn.fin,
    "a_idle_408": _say_408,
}

_CUT_OFF = {
    "b_cl_short_rst": b"content-length: 5\r\n\r\nhi",
    "b_eof_rst": b"\r\nhi",
    "b_chunk_rst": b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n",
}


def _serve(conn: Conn) -> None:
    while True:
        conn.respond(body=conn.read_request().target)


def _first_then(fault: Script) -> Script:
    """Answer one request, then do something; all other connections serve."""

    def script(conn: Conn) -> None:
        if conn.index == 0:
            conn.read_request()
            conn.respond(body=b"first")
            fault(conn)
        if conn.is_open:
            _serve(conn)

    return script


def _ask_first(client: Driver, url: str) -> None:
    first = client.request(Ask("GET", url))
    if not (isinstance(first, Reply) and first.body == b"first"):
        raise RuntimeError(f"{client.name} did not get as far as to the fault: {first}")


def _play_idle_fault(fault: Script, method: str, client: Driver) -> str:
    """The next request is answered, whatever its method: the connection is known to be of no use."""
    is_done = Gate()

    def do(conn: Conn) -> None:
        fault(conn)
        is_done.open()

    with ScriptedPeer(_first_then(do), expect_disconnect=True) as peer:
        client.open(Setup())
        _ask_first(client, peer.url)
        is_done.wait()
        time.sleep(_A_WHILE)
        body = b"x" if method == "POST" else None
        second = _of_next(client.request(Ask(method, peer.origin + "/2", body=body)), b"/2")
        outcome = together(second, of_what_follows(client, peer))
        client.close()
    return outcome


def _of_next(answer: Outcome, own: bytes) -> str:
    match answer:
        case Reply(status=200, body=body) if body == own:
            return PASS
        case Reply():
            return "poisons the next request"
        case Failure(is_own=False):
            return f"wrong error type ({answer.kind})"
        case Failure():
            return "fails the next request"
    return f"{of_end(answer)} at the next request"


def _play_race(end: Script, method: str, client: Driver) -> str:
    """A GET may be sent once more, or fail; a POST that was sent must fail."""

    def die(conn: Conn) -> None:
        conn.read_request()
        end(conn)

    with ScriptedPeer(_first_then(die), expect_disconnect=True) as peer:
        client.open(Setup())
        _ask_first(client, peer.url)
        rule = Rule(_is_second if method == "GET" else None, may_refuse=True)
        body = b"x" if method == "POST" else None
        second = of_response(client.request(Ask(method, peer.origin + "/2", body=body)), rule)
        tries = sum(request.target == b"/2" for request in peer.requests)
        is_often = tries > (2 if method == "GET" else 1)
        outcome = together("sends too often" if is_often else second, of_what_follows(client, peer))
        client.close()
    return outcome


def _is_second(reply: Reply) -> bool:
    return (reply.status, reply.body) == (200, b"/2")


def _play_fresh_close(end: Script, client: Driver) -> str:
    """A POST on a connection of its own, which ends without a word: it is not sent again."""

    def script(conn: Conn) -> None:
        if conn.read_request().target == b"/":
            end(conn)
        else:
            conn.respond(body=conn.requests[-1].target)
            _serve(conn)

    with ScriptedPeer(script, expect_disconnect=True) as peer:
        client.open(Setup())
        first = of_response(client.request(Ask("POST", peer.url, body=b"x")), Rule(None, may_refuse=True))
        is_often = sum(request.target == b"/" for request in peer.requests) > 1
        outcome = together("sends too often" if is_often else first, of_what_follows(client, peer))
        client.close()
    return outcome


def _at_root(fault: Script) -> Script:
    """A fault for whoever asks for `/`, and his target for everybody else."""

    def script(conn: Conn) -> None:
        while True:
            head = conn.read_head()
            if head.target == b"/":
                fault(conn)
                return
            conn.respond(body=conn.read_body(head).target)

    return script


def _send_and_reset(wire: bytes, conn: Conn) -> None:
    conn.send(b"HTTP/1.1 200 OK\r\n" + wire)
    conn.rst()


def _play_refused(fault: Script, client: Driver) -> str:
    with ScriptedPeer(_at_root(fault), expect_disconnect=True) as peer:
        client.open(Setup())
        first = of_response(client.request(Ask("GET", peer.url)), Rule(None, may_refuse=True))
        outcome = together(first, of_what_follows(client, peer))
        client.close()
    return outcome


def _stall(conn: Conn, is_over: Gate) -> None:
    conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhi")
    conn.wait_closed()


def _drip(conn: Conn, is_over: Gate) -> None:
    conn.send(b"HTTP/1.1 200 OK\r\nx-long: ")
    while True:
        conn.send(b"x")
        time.sleep(0.2)


def _never_read(conn: Conn, is_over: Gate) -> None:
    is_over.wait(4 * _SHORT_TIMEOUT)
    # Before that, no end could come through.
    conn.wait_closed()


def _play_timeout(fault: Callable[[Conn, Gate], None], ask: Ask, client: Driver) -> str:
    """The client's own timeout ends it."""
    is_over = Gate()
    with ScriptedPeer(_at_root(lambda conn: fault(conn, is_over)), expect_disconnect=True) as peer:
        client.open(Setup(timeout=_SHORT_TIMEOUT))
        answer = client.request(Ask(ask.method, peer.url, body=ask.body))
        is_over.open()
        is_ended = answer == Hang(is_endless=False)
        first = PASS if is_ended else of_response(answer, Rule(None, may_refuse=True))
        outcome = together(first, of_what_follows(client, peer))
        client.close()
    return outcome


def _refuse_and_read(conn: Conn) -> None:
    conn.respond(413, body=b"too large", headers=[(b"connection", b"close")])
    conn.fin()
    conn.wait_closed()


def _refuse_and_end(conn: Conn) -> None:
    conn.respond(413, body=b"too large", headers=[(b"connection", b"close")])
    time.sleep(_A_WHILE)
    # With so much unread, this is a reset.
    conn.close()


def _play_early_413(fault: Script, client: Driver) -> str:
    rule = Rule(lambda reply: (reply.status, reply.body) == (413, b"too large"), may_refuse=False, is_bad=False)
    with ScriptedPeer(_at_root(fault), expect_disconnect=True) as peer:
        client.open(Setup())
        first = of_response(client.request(Ask("POST", peer.url, body=_UPLOAD)), rule)
        outcome = together(first, of_what_follows(client, peer))
        client.close()
    return outcome
