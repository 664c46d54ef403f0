"""Rows of HTTP/1.1 responses, over sockets, as `test_framing_faults.py` and `test_reuse.py` send them.

Two things differ from there, to be fair to clients with other limits than ours: what is refused for its size comes in
the sizes of the list of faults, which no client can mean to take, and where a client may take our limits for lower than
need be, either is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from tests.support.http11_rows import BAD, GOOD, Row
from tests.support.peer import Conn, ScriptedPeer

from .cases import Case
from .driver import Driver
from .faults import row_of
from .judging import Rule, of_response, of_what_follows, together
from .messages import LONG_TIMEOUT, TIMEOUT, Ask, Reply, Setup

_CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
_CODED = b"2\r\nhi\r\n0\r\n\r\n"
_LARGE = 16_000_000

_LARGER = {
    "b_ck_ext_flood": _CHUNKED + (b"1;" + b"a" * 4000 + b"\r\nx\r\n") * 2000 + b"0\r\n\r\n",
    "b_ck_ext_line": _CHUNKED + b"2;" + b"a" * _LARGE,
    "b_tr_flood_0": _CHUNKED + b"0\r\n" + b"a: b\r\n" * 100_000 + b"\r\n",
    "b_tr_flood_1": _CHUNKED + b"0\r\na: " + b"b" * _LARGE,
    "b_tr_flood_2": _CHUNKED + b"0\r\n" + (b"a: " + b"b" * 1000 + b"\r\n") * 16_000,
    "c_line_endless": b"HTTP/1.1 200 OK\r\na: " + b"b" * _LARGE,
    "c_head_300k_1": b"HTTP/1.1 200 OK\r\n" + (b"a: " + b"b" * 1000 + b"\r\n") * 16_000,
    "d_1xx_flood_0": b"HTTP/1.1 102 P\r\n\r\n" * 100_000 + b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    "d_1xx_flood_1": (b"HTTP/1.1 102 P\r\na: " + b"b" * 30_000 + b"\r\n\r\n") * 500,
}
"""Beyond every limit, by the id of the case."""

_AT_ONCE = re.compile(r"c_09_\d|b_ck_big_\d")
"""What is to be refused without waiting for the rest. Elsewhere the peer ends the connection, and is refused then, but
for what may be taken for a whole response."""

_MAY_REFUSE = {
    # Within our limits, and maybe beyond those of others.
    "c_line_60k", "c_head_250k", "c_count_500", "c_st_reason_60k", "d_1xx_100", "b_tr_100", "b_ck_ext_fair",
    # RFC 9112, 6.1: its framing is faulty. Trailers of this kind may be rejected.
    "b_te_10", "b_tr_framing",
    # Two locations are the error of whoever goes there.
    "c_dup_hdr",
}  # fmt: skip
"""What need not be delivered."""

_CHOICES: dict[str, tuple[int, bytes]] = {
    # RFC 9110, 8.6: the same number more than once may be taken for that number.
    r"b_cl_dup_1|b_cl_list_[1-4]": (200, b"hi"),
    r"b_cl_dup_2": (200, b"x" * 30),
    # RFC 9112, 6.3: what has no body has none, whatever its fields say.
    r"b_cl_dup_3": (204, b""),
    r"b_cl_head": (200, b""),
    r"b_cl_304": (304, b""),
    # RFC 9112, 6.3: a coding overrides a length; what is not chunked last lasts until the connection ends.
    r"b_te_cl_0": (200, b"hi"),
    r"b_te_unknown_[013]|b_te_notlast_[01]|b_te_twice_1|b_te_empty_\d": (200, _CODED),
    # RFC 9112, 7.1.1: extensions that are not known are ignored.
    r"b_ck_ctl_\d": (200, b"hi"),
    # RFC 9112, 2.2: a bare LF may be taken for the end of a line, and a bare CR for a space.
    r"b_tr_lf": (200, b""),
    r"c_lf_lines_\d|c_cr_[013]": (200, b"hi"),
    # RFC 9112, 2.2: empty lines before the status line and blanks before the first field; 5.2: folded lines.
    r"c_leadcrlf_[013]|c_fold_\d|c_fold_first_\d": (200, b"hi"),
    # RFC 9110, 5.5: control characters may be kept; CR and NUL may be replaced.
    r"c_ctl_\d+|c_nul_[01]": (200, b"hi"),
    # RFC 9112, 4: any whitespace may divide a status line, and a reason may be ignored.
    r"c_st_bad_(9|11)|c_st_reason_ctl_\d": (200, b"hi"),
    # RFC 9110, 2.5: a higher minor version is read as the highest known.
    r"c_ver_0": (200, b"hi"),
    # Limits, which are each client's own.
    r"c_line_100k|c_head_300k_0|c_count_\d|c_st_reason_70k": (200, b"hi"),
}
"""What may be refused or delivered, by a pattern of ids; its status and body where it is delivered."""

_NO_FIELD = re.compile(r"c_fold_\d|c_cr_1")
"""Where the rest of a line must not become a field, `c`."""


def cases() -> Iterator[Case]:
    for row in GOOD:
        if row.method != b"CONNECT" and row.status != 101:
            rule = Rule(_as_it_is(row), row.id in _MAY_REFUSE, is_bad=False)
            yield Case(row.id, row_of(row.id), partial(_play, row, rule))
    for row in map(_fair, BAD):
        yield Case(row.id, row_of(row.id), partial(_play, row, Rule(_choice(row), may_refuse=True)))


def _fair(row: Row) -> Row:
    choice = _choice_of(row.id)
    is_whole = choice is not None and choice[1] != _CODED
    is_awaited = not (is_whole or row.id in _LARGER or _AT_ONCE.fullmatch(row.id))
    return replace(row, wire=_LARGER.get(row.id, row.wire), ends=row.ends or is_awaited)


def _as_it_is(row: Row) -> Callable[[Reply], bool]:
    return lambda reply: (reply.status, reply.body) == (row.status, row.body)


def _choice(row: Row) -> Callable[[Reply], bool] | None:
    choice = _choice_of(row.id)
    if choice is None:
        return None
    return lambda reply: (reply.status, reply.body) == choice and _is_safe(row.id, reply)


def _choice_of(id: str) -> tuple[int, bytes] | None:
    return next((choice for pattern, choice in _CHOICES.items() if re.fullmatch(pattern, id)), None)


def _is_safe(id: str, reply: Reply) -> bool:
    if _NO_FIELD.fullmatch(id) and any(name == "c" for name, _ in reply.headers):
        return False
    return not any(re.search(r"[\r\n\0]", name + value) for name, value in reply.headers)


def _play(row: Row, rule: Rule, client: Driver) -> str:
    headers = (("connection", "upgrade"), ("upgrade", "x")) if row.may_upgrade else ()
    with ScriptedPeer(_script(row), expect_disconnect=True) as peer:
        client.open(Setup(timeout=LONG_TIMEOUT if row.is_large else TIMEOUT))
        first = client.request(Ask(row.method.decode(), peer.url, headers))
        outcome = together(of_response(first, rule), of_what_follows(client, peer))
        client.close()
    return outcome


def _script(row: Row) -> Callable[[Conn], None]:
    """The row for whoever asks for `/`, and his target for everybody else."""

    def script(conn: Conn) -> None:
        while True:
            request = conn.read_request()
            if request.target != b"/":
                conn.respond(body=request.target)
                continue
            conn.send(row.wire)
            if row.ends:
                conn.fin()

    return script
