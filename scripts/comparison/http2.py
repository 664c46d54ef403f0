"""Rows of HTTP/2 frames, over sockets, as `test_http2_faults.py` sends them: to a victim, beside a half-read sibling.

A client that ends the stream where the row asks for the end of the connection has refused too. What the list of faults
only wants bounded may be refused or borne.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import partial

from tests.support.http2_peer import (
    Code,
    Disconnected,
    Frame,
    GoAwayFrame,
    HTTP2Conn,
    HTTP2Peer,
    PingFrame,
    RstStreamFrame,
    Setting,
)
from tests.support.http2_rows import CONNECTION_ERRORS, FLOODS, HARMLESS, STREAM_ERRORS, Row
from tests.support.http2_rules import BadFrame, ClientRules

from .cases import Case
from .contenders import HTTP2
from .driver import Crash, Driver, Hang, Outcome
from .faults import row_of
from .judging import PASS, Rule, of_end, of_response, of_what_follows, together
from .messages import LONG_TIMEOUT, TIMEOUT, Ask, Failure, Reply, Setup

_BEARABLE = {
    "f_ping_flood", "f_settings_flood", "f_wu_flood", "f_wu_flood_stream", "f_prio_flood", "f_prio_flood_closed",
    "f_unknown_flood",
}  # fmt: skip
"""Frames that ask for nothing, or for little."""

_MUCH = [*FLOODS, *(row for row in STREAM_ERRORS if row.id == "f_1xx_flood")]
# Without it httpcore 1.x opens one stream at a time, and would be measured in no row.
_SETTINGS = {Setting.MAX_CONCURRENT_STREAMS: 100}
_FIRST, _SECOND, _OWN = b"first, ", b"second", b"fine"
# For a victim that comes on another connection: its client has given up the first, and not its request.
_AGAIN = b"again"
# For the client to have told us, or itself, of what it saw before it answered to a PING.
_SETTLING = 1.0


def cases() -> Iterator[Case]:
    ends, bears = Rule(None, may_refuse=True), Rule(_own, may_refuse=True)
    harmless = Rule(_own, may_refuse=False, is_bad=False)
    for row in CONNECTION_ERRORS:
        yield _case(row, ends, is_all_lost=True)
    for row in STREAM_ERRORS:
        yield _case(row, ends)
    for row in FLOODS:
        yield _case(row, bears if row.id in _BEARABLE else ends, is_all_lost=True)
    for row in HARMLESS:
        yield _case(row, harmless)


def _case(row: Row, rule: Rule, is_all_lost: bool = False) -> Case:
    return Case(row.id, row_of(row.id), partial(_play, row, rule, is_all_lost), HTTP2)


def _own(reply: Reply) -> bool:
    return (reply.status, reply.body) == (200, _OWN)


class _AnyRules(ClientRules):
    """Those of a client that may break them: what it did wrong besides is not the row's."""

    def received(self, frame: Frame) -> None:
        with contextlib.suppress(BadFrame):
            super().received(frame)


class _Stage:
    """One connection on which a row is played, and what the peer saw of it.

    Attributes:
        is_reached: set when the row's frames are about to be sent.
        is_answered: set when the client has ended the victim, one way or another.
        is_borne: whether the client went on as if nothing had been wrong.
    """

    def __init__(self, row: Row, rule: Rule) -> None:
        self._row = row
        self._rule = rule
        self.is_reached = threading.Event()
        self.is_answered = threading.Event()
        self.is_borne = False

    def script(self, conn: HTTP2Conn) -> None:
        conn.rules = _AnyRules()
        if conn.index == 0:
            self._begin(conn)
        while True:
            request = conn.read_request()
            is_sent_again = request.target == b"/victim"
            conn.respond(request.stream_id, body=_AGAIN if is_sent_again else request.target)

    def _begin(self, conn: HTTP2Conn) -> None:
        sibling = conn.read_request().stream_id
        conn.respond(sibling, body=_FIRST, end_stream=False)
        victim = conn.read_request().stream_id
        self.is_reached.set()
        # A client that has seen enough may close while we still send.
        with contextlib.suppress(Disconnected):
            conn.send_raw(self._row.sends(conn, victim))
        if self._row.is_over:
            conn.rules.answered(victim)
        if not _is_refused(conn, victim):
            self._go_on(conn, victim)
        conn.send_data(sibling, _SECOND, end_stream=True)

    def _go_on(self, conn: HTTP2Conn, victim: int) -> None:
        if self._rule.meant is not None:
            conn.respond(victim, body=_OWN)
        elif not self._row.is_over and not self.is_answered.wait(_SETTLING):
            self.is_borne = True
            conn.send_rst(victim, Code.CANCEL)


def _is_refused(conn: HTTP2Conn, victim: int) -> bool:
    """Whether the client resets the victim, or, by `Disconnected`, the connection, before it answers to a PING."""
    for mark in (b"mark 1 \0", b"mark 2 \0"):
        conn.ping(mark)
        while True:
            match conn.recv_frame():
                case RstStreamFrame(stream_id=stream_id) if stream_id == victim:
                    return True
                case GoAwayFrame(error_code=code) if code != Code.NO_ERROR:
                    # Who says so may leave the closing to us.
                    conn.conn.wait_closed(_SETTLING)
                    raise Disconnected("the client said GOAWAY")
                case PingFrame(opaque_data=data, flags=flags) if "ACK" in flags and data == mark:
                    break
    return False


def _play(row: Row, rule: Rule, is_all_lost: bool, client: Driver) -> str:
    stage = _Stage(row, rule)
    with HTTP2Peer(stage.script, settings=_SETTINGS, expect_disconnect=True, ends_in_order=False) as peer:
        client.open(Setup(is_http2=True, timeout=LONG_TIMEOUT if row in _MUCH else TIMEOUT))
        begun = client.begin(peer.origin + "/sibling")
        if begun != _FIRST:
            raise RuntimeError(f"{client.name} has no sibling in {row.id}, but {begun!r}")
        answer = client.request(Ask(row.method, peer.origin + "/victim"))
        stage.is_answered.set()
        if not stage.is_reached.is_set():
            raise RuntimeError(f"{client.name} did not send the victim of {row.id} beside its sibling: {answer}")
        victim = _of_victim(answer, rule, stage)
        sibling = _of_sibling(client.rest(), is_all_lost) if client.is_alive else PASS
        outcome = together(victim, sibling, of_what_follows(client, peer))
        client.close()
    return outcome


def _of_victim(answer: Outcome, rule: Rule, stage: _Stage) -> str:
    if isinstance(answer, Reply) and answer.body == _AGAIN and rule.may_refuse:
        return PASS
    return "accepts" if stage.is_borne and isinstance(answer, Failure) else of_response(answer, rule)


def _of_sibling(rest: bytes | Failure | Hang | Crash, is_all_lost: bool) -> str:
    match rest:
        case bytes():
            return PASS if rest == _SECOND else "cuts the sibling off"
        case Failure(is_own=False):
            return f"wrong error type ({rest.kind})"
        case Failure():
            return PASS if is_all_lost else "loses the sibling"
    return f"{of_end(rest)} at the sibling"
