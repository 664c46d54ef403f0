"""Rows of HTTP/2 frames, over sockets, as `test_http2_faults.py` sends them: to a victim, beside a half-read sibling.

A client that ends the stream where the row asks for the end of the connection has refused too. What the list of faults
only wants bounded may be refused or borne.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from tests.support.http2_peer import (
    Code,
    Disconnected,
    GoAwayFrame,
    HTTP2Conn,
    HTTP2Peer,
    PingFrame,
    RstStreamFrame,
    Setting,
    serve,
)
from tests.support.http2_rows import CONNECTION_ERRORS, FLOODS, HARMLESS, STREAM_ERRORS, Row

from .cases import Case
from .contenders import HTTP2
from .driver import Crash, Driver, Hang
from .faults import row_of
from .judging import PASS, of_end, of_response, of_what_follows, together
from .messages import LONG_TIMEOUT, TIMEOUT, Ask, Failure, Reply, Setup

_BEARABLE = {
    "f_ping_flood", "f_settings_flood", "f_wu_flood", "f_wu_flood_stream", "f_prio_flood", "f_prio_flood_closed",
    "f_unknown_flood",
}  # fmt: skip
"""Frames that ask for nothing, or for little."""

# Without it httpcore 1.x opens one stream at a time, and would be measured in no row.
_SETTINGS = {Setting.MAX_CONCURRENT_STREAMS: 100}
_FIRST, _SECOND, _OWN = b"first, ", b"second", b"fine"
# For the client to have told us, or itself, of what it saw before it answered to a PING.
_SETTLING = 1.0


def cases() -> Iterator[Case]:
    for row in CONNECTION_ERRORS:
        yield Case(row.id, row_of(row.id), partial(_play, row, _Rule(ends_connection=True)), HTTP2)
    for row in STREAM_ERRORS:
        yield Case(row.id, row_of(row.id), partial(_play, row, _Rule()), HTTP2)
    for row in FLOODS:
        rule = _Rule(ends_connection=True, may_bear=row.id in _BEARABLE)
        yield Case(row.id, row_of(row.id), partial(_play, row, rule), HTTP2)
    for row in HARMLESS:
        yield Case(row.id, row_of(row.id), partial(_play, row, _Rule(may_bear=True, may_refuse=False)), HTTP2)


@dataclass(frozen=True)
class _Rule:
    """What a row asks for.

    Args:
        may_refuse: whether the victim may fail.
        may_bear: whether it may be answered.
        ends_connection: whether the sibling may fail with it.
    """

    may_refuse: bool = True
    may_bear: bool = False
    ends_connection: bool = False


class _Stage:
    """One connection on which a row is played, and what the peer saw of it.

    Attributes:
        is_reached: set when the row's frames are about to be sent.
        is_answered: set when the client has ended the victim, one way or another.
        is_borne: whether the client went on as if nothing had been wrong.
    """

    def __init__(self, row: Row, rule: _Rule) -> None:
        self._row = row
        self._rule = rule
        self.is_reached = threading.Event()
        self.is_answered = threading.Event()
        self.is_borne = False

    def script(self, conn: HTTP2Conn) -> None:
        if conn.index == 0:
            self._begin(conn)
        serve(conn)

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
        if self._rule.may_bear:
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


def _play(row: Row, rule: _Rule, client: Driver) -> str:
    stage = _Stage(row, rule)
    with HTTP2Peer(stage.script, settings=_SETTINGS, expect_disconnect=True, ends_in_order=False) as peer:
        client.open(Setup(is_http2=True, timeout=LONG_TIMEOUT if row in FLOODS else TIMEOUT))
        begun = client.begin(peer.origin + "/sibling")
        if begun != _FIRST:
            raise RuntimeError(f"{client.name} has no sibling in {row.id}, but {begun!r}")
        answer = client.request(Ask(row.method, peer.origin + "/victim"))
        stage.is_answered.set()
        if not stage.is_reached.is_set():
            raise RuntimeError(f"{client.name} did not send the victim of {row.id} beside its sibling: {answer}")
        victim = of_response(answer, _own if rule.may_bear else None, rule.may_refuse)
        if victim == PASS and stage.is_borne:
            victim = "accepts"
        sibling = _of_sibling(client.rest(), rule) if client.is_alive else PASS
        outcome = together(victim, sibling, of_what_follows(client, peer))
        client.close()
    return outcome


def _own(reply: Reply) -> bool:
    return (reply.status, reply.body) == (200, _OWN)


def _of_sibling(rest: bytes | Failure | Hang | Crash, rule: _Rule) -> str:
    match rest:
        case bytes():
            return PASS if rest == _SECOND else "cuts the sibling off"
        case Failure(is_own=False):
            return f"wrong error type ({rest.kind})"
        case Failure():
            return PASS if rule.ends_connection else "loses the sibling"
    return f"{of_end(rest)} at the sibling"
