"""Bodies whose content coding is broken, as in `test_decoders.py` and `test_decompression.py`.

A client is measured in those codings that it asks for by itself, or when told to decode.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from functools import partial

import brotli

from tests.support.peer import Conn, ScriptedPeer

from .cases import Case
from .contenders import CODINGS
from .driver import Driver
from .faults import row_of
from .judging import Rule, of_response, of_what_follows, together
from .messages import Ask, Setup

_TEXT = b"".join(b"%d bottles of beer on the wall, " % number for number in range(99))
_REFUSED = Rule(None, may_refuse=True)

_ENCODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "deflate": zlib.compress,
    "br": brotli.compress,
}
_CUTS = {"early": 5, "in_the_middle": 60, "at_the_end": -1}
"""How many bytes are left; of gzip, the first is in its head, and the last in its trailer."""


def cases() -> Iterator[Case]:
    for coding, name in {"gzip": "gz", "deflate": "df", "br": "br"}.items():
        for where, size in _CUTS.items():
            yield _case(f"i_trunc_{name}_{where}", _ENCODE[coding](_TEXT)[:size], coding, rule=_REFUSED)
        yield _case(f"i_whole_{name}", _ENCODE[coding](_TEXT), coding, rule=_delivers(_TEXT))
    good = _ENCODE["gzip"](_TEXT)
    yield _case("i_head_corrupt", b"\x1f\x8b\x09" + good[3:], "gzip", rule=_REFUSED)
    yield _case("i_head_checksum", good[:-8] + bytes(4) + good[-4:], "gzip", rule=_REFUSED)
    yield _case("i_head_length", good[:-4] + bytes(4), "gzip", rule=_REFUSED)
    yield _case("i_head_plain", _TEXT, "gzip", rule=_REFUSED)
    yield _case("i_multi", good + good, "gzip", rule=_delivers(_TEXT * 2))
    yield _case("i_multi_cut", good + good[:-1], "gzip", rule=_REFUSED)
    yield _case("i_trail_gz", good + b"garbage", "gzip", rule=_REFUSED)
    yield _case("i_trail_br", _ENCODE["br"](_TEXT) + b"garbage", "br", rule=_REFUSED)
    yield _case("i_head_req_head", b"", "gzip", method="HEAD", rule=_delivers(b""))
    yield _case("i_head_req_204", b"", "gzip", status=204, rule=_delivers(b"", 204))
    yield _case("i_head_req_304", b"", "gzip", status=304, rule=_delivers(b"", 304))
    yield _case("i_stack2_gzip_gzip", _ENCODE["gzip"](good), "gzip, gzip", rule=_delivers(_TEXT))
    yield _case("i_stack2_deflate_gzip", _ENCODE["gzip"](zlib.compress(_TEXT)), "deflate, gzip", rule=_delivers(_TEXT))
    # To leave it all undone is as safe.
    as_it_is = Rule(lambda reply: reply.body == _stacked(20), may_refuse=True)
    yield _case("i_stack20", _stacked(20), ", ".join(["gzip"] * 20), rule=as_it_is)
    yield _case("i_star_identity", _TEXT, "identity", rule=_delivers(_TEXT))
    yield _case("i_flush", _ENCODE["gzip"](zlib.compress(_TEXT)[:-1]), "deflate, gzip", rule=_REFUSED)


def _stacked(count: int) -> bytes:
    data = _TEXT
    for _ in range(count):
        data = _ENCODE["gzip"](data)
    return data


def _delivers(body: bytes, status: int = 200) -> Rule:
    return Rule(lambda reply: (reply.status, reply.body) == (status, body), may_refuse=False, is_bad=False)


def _case(id: str, body: bytes, coding: str, *, rule: Rule, status: int = 200, method: str = "GET") -> Case:
    return Case(id, row_of(id), partial(_play, body, coding, status, method, rule), CODINGS)


def _play(body: bytes, coding: str, status: int, method: str, rule: Rule, client: Driver) -> str | None:
    def script(conn: Conn) -> None:
        while True:
            request = conn.read_request()
            if request.target == b"/":
                conn.respond(status, body, [(b"content-encoding", coding.encode())])
            else:
                conn.respond(body=request.target)

    with ScriptedPeer(script, expect_disconnect=True) as peer:
        client.open(Setup(decodes=True))
        first = client.request(Ask(method, peer.url))
        asked = peer.requests[0].header(b"accept-encoding") or b""
        if any(name.encode() not in asked for name in ("gzip", "deflate", "br") if name in coding):
            client.close()
            return None
        outcome = together(of_response(first, rule), of_what_follows(client, peer))
        client.close()
    return outcome
