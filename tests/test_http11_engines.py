"""The HTTP/1.1 engines without any I/O: bytes in, events out, the same on both however the bytes are cut."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from httpcore import RemoteProtocolError
from httpcore._engines import is_installed
from tests.support.cost import assert_cheaper, cpu_seconds
from tests.support.engine_disagreements import DISAGREEMENTS, OWN_WORDS, Disagreement, table
from tests.support.engine_outcomes import Outcome, Sent, asking, may_disagree, new_engine, outcome_of
from tests.support.http11_rows import BAD, GOOD, REFERENCES, Row

ROWS = [*GOOD, *BAD]


def run_row(engine: str, row: Row, pieces: Iterable[bytes]) -> Outcome:
    return outcome_of(new_engine(engine), asking(row.method, row.may_upgrade), pieces, row.ends)


def cut(wire: bytes, size: int) -> list[bytes]:
    return [wire[start : start + size] for start in range(0, len(wire), size)]


def halves(wire: bytes) -> Iterable[list[bytes]]:
    """Every way to cut in two."""
    return ([wire[:place], wire[place:]] for place in range(1, len(wire)))


# Rows


@pytest.mark.parametrize("row", GOOD, ids=str)
def test_what_a_good_response_says(engine: str, row: Row) -> None:
    outcome = run_row(engine, row, [row.wire])
    assert outcome.error == ""
    *interim, head = outcome.heads
    assert tuple(each.status_code for each in interim) == row.interim
    assert (head.status_code, head.reason) == (row.status, row.reason)
    assert head.http_version == row.wire.removeprefix(b"HTTP/")[:3]
    if row.headers is not None:
        assert tuple(head.headers) == row.headers
    assert outcome.body == row.body
    assert outcome.is_switched == (row.status == 101 or (row.method == b"CONNECT" and row.status < 300))
    assert outcome.is_complete != outcome.is_switched
    assert outcome.trailers == (None if outcome.is_switched else row.trailers)
    assert outcome.unread == row.unread
    assert outcome.is_reusable == row.is_reusable


@pytest.mark.parametrize("row", BAD, ids=str)
def test_p27_strict_where_framing_is_at_stake(engine: str, row: Row) -> None:
    pieces = [row.wire] if row.wire else []
    so_far = outcome_of(new_engine(engine), asking(row.method, row.may_upgrade), pieces)
    assert bool(so_far.error) != row.ends, "refused at once where that is certain, and not before"
    outcome = run_row(engine, row, pieces)
    assert re.search(row.refused, outcome.error), outcome.error
    assert not outcome.is_complete
    assert not outcome.is_reusable


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_b_every_split(row: Row) -> None:
    """Whole, byte by byte, in pieces and at every place in two: the same, and to the word the same on both engines."""
    pytest.importorskip("httptools")
    whole = run_row("h11", row, [row.wire] if row.wire else [])
    assert run_row("httptools", row, [row.wire] if row.wire else []) == whole
    for engine in ("h11", "httptools"):
        for size in (997, 65_536) if row.is_large else (1, 2, 7):
            assert run_row(engine, row, cut(row.wire, size)).fate == whole.fate, f"{engine}, in pieces of {size}"
        if not row.is_large:
            for pieces in halves(row.wire):
                assert run_row(engine, row, pieces).fate == whole.fate, (engine, pieces)


@pytest.mark.parametrize("row", REFERENCES, ids=str)
def test_b_every_offset(engine: str, row: Row) -> None:
    """A response that is cut off anywhere is refused, save one that ends with the connection and is in its body."""
    body_at = row.wire.find(b"\r\n\r\n") + 4
    for place in range(len(row.wire)):
        pieces = [row.wire[:place]] if place else []
        outcome = outcome_of(new_engine(engine), Sent(row.method), pieces, ends=True)
        if row.ends and place >= body_at:
            assert outcome.error == ""
            assert outcome.body == row.wire[body_at:place]
            assert outcome.is_complete
        else:
            assert "the peer closed the connection" in outcome.error, place
            assert not outcome.is_reusable


def test_thirty_references_at_least() -> None:
    assert len(REFERENCES) >= 30
    assert len({row.id for row in ROWS}) == len(ROWS)


def test_c_09_is_refused_at_its_first_bytes(engine: str) -> None:
    """What cannot become a status line is refused when that is certain, not when the peer is done."""
    for wire in (b"<", b"h", b"HX", b"HTTP/2", b"HTTP/1,", b"\r", b" "):
        *first, last = cut(wire, 1)
        reader = new_engine(engine)
        reader.send_head(Sent())
        for byte in first:
            assert reader.receive(byte) == []
        with pytest.raises(RemoteProtocolError, match="status line"):
            reader.receive(last)


@pytest.mark.parametrize("sizes", [b"f" * 17, b"8000000000000000", b"zz"])
def test_b_ck_big_is_refused_with_its_line(engine: str, sizes: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    outcome = outcome_of(new_engine(engine), Sent(), [head, sizes, b"\r\n"])
    assert "not a size in hexadecimal" in outcome.error


def test_limits_of_a_head_can_be_configured(engine: str) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + b"a: %s\r\n" % (b"b" * 994) * 2 + b"content-length: 0\r\n\r\n"
    assert outcome_of(new_engine(engine, len(head), 3), Sent(), [head]).error == ""
    for pieces in ([head], cut(head, 1)):
        too_long = outcome_of(new_engine(engine, len(head) - 1, 3), Sent(), pieces)
        assert f"longer than {len(head) - 1} bytes (Limits.max_header_bytes)" in too_long.error
    assert "more than 2 header fields" in outcome_of(new_engine(engine, len(head), 2), Sent(), [head]).error


@pytest.mark.parametrize(
    ("header", "seconds", "left"),
    [
        (b"timeout=1, max=2", 1, 2),
        (b"timeout=5", 5, None),
        (b"Timeout=005,Max=0", 5, 0),
        (b"max=7 , timeout=3", 3, 7),
        (b"timeout=-1, max=-1", None, None),
        (b"timeout=1e99, max=1e99", None, None),
        (b"timeout=text, max=", None, None),
        (b"timeout=99999999999999999999", None, None),
        (b"xtimeout=1, x-max=1", None, None),
        (b"timeout=1.5", None, None),
        (b"", None, None),
    ],
)
def test_a_keepalive_hdr(engine: str, header: bytes, seconds: float | None, left: int | None) -> None:
    """Hints are taken where they make sense, and nothing else is made of them."""
    reader = new_engine(engine)
    outcome_of(reader, Sent(), [b"HTTP/1.1 200 OK\r\nkeep-alive: %s\r\ncontent-length: 0\r\n\r\n" % header])
    assert (reader.keepalive_seconds, reader.requests_left) == (seconds, left)
    assert reader.is_reusable == (left != 0)


# Exchange after exchange


def test_exchange_after_exchange(engine: str) -> None:
    """Nothing of one exchange is left for the next, whatever it was."""
    reusable = [row for row in REFERENCES if row.is_reusable and not row.ends]
    reader = new_engine(engine)
    for _, row in itertools.product(range(2), reusable):
        outcome = outcome_of(reader, Sent(row.method), [row.wire])
        assert outcome.error == ""
        assert (outcome.heads[-1].status_code, outcome.body) == (row.status, row.body)
        assert (outcome.trailers, outcome.is_reusable) == (row.trailers, True)


def test_the_hundred_interim_responses_are_those_of_one_request(engine: str) -> None:
    reader = new_engine(engine)
    for _ in range(3):
        outcome = outcome_of(
            reader, Sent(), [b"HTTP/1.1 102 P\r\n\r\n" * 100 + b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]
        )
        assert outcome.error == ""
        assert len(outcome.heads) == 101


def test_an_exchange_that_must_be_the_last_one(engine: str) -> None:
    """What the connection knows better, that the request was not sent to its end, say, counts more than the head."""
    reader = new_engine(engine)
    assert outcome_of(reader, Sent(), [b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]).is_reusable
    reader.refuse_reuse()
    assert not reader.is_reusable


# Sending


def test_p30_a_request_head_is_sent_as_it_was_given(engine: str) -> None:
    headers = ((b"Host", b"x"), (b"X-A", b"1"), (b"x-a", b"\xff  2"), (b"COOKIE", b"a=b"), (b"x-empty", b""))
    assert new_engine(engine).send_head(Sent(b"get", b"/a?b", headers)) == (
        b"get /a?b HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-a: \xff  2\r\nCOOKIE: a=b\r\nx-empty: \r\n\r\n"
    )


def test_p30_order_and_spelling_are_kept_where_a_library_would_mend_them(engine: str) -> None:
    headers = ((b"a", b"b"), (b"Transfer-Encoding", b"chUnked"), (b"Host", b"x"))
    assert new_engine(engine).send_head(Sent(b"PUT", headers=headers, is_chunked=True)) == (
        b"PUT / HTTP/1.1\r\na: b\r\nTransfer-Encoding: chUnked\r\nHost: x\r\n\r\n"
    )


def test_a_chunked_request_with_trailers(engine: str) -> None:
    writer = new_engine(engine)
    headers = ((b"host", b"x"), (b"transfer-encoding", b"chunked"))
    writer.send_head(Sent(b"POST", headers=headers, is_chunked=True))
    assert writer.send_data(b"hello") == b"5\r\nhello\r\n"
    assert writer.send_data(b"x" * 300) == b"12c\r\n" + b"x" * 300 + b"\r\n"
    assert writer.send_end([(b"X-Sum", b"abc"), (b"b", b"")]) == b"0\r\nX-Sum: abc\r\nb: \r\n\r\n"


def test_a_request_with_a_length(engine: str) -> None:
    writer = new_engine(engine)
    writer.send_head(Sent(b"PUT", headers=((b"host", b"x"), (b"content-length", b"5"))))
    assert writer.send_data(b"hel") + writer.send_data(b"lo") == b"hello"
    assert writer.send_end([]) == b""


def test_a_request_without_a_body_ends_with_its_head(engine: str) -> None:
    writer = new_engine(engine)
    writer.send_head(Sent())
    assert writer.send_end([]) == b""


# What nobody thought of


_INTERESTING = [
    b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"keep-alive", b"trailer", b"proxy-connection",
    b"content-type", b"Content-Length", b"TRANSFER-ENCODING", b"set-cookie", b"x",
]  # fmt: skip
_VALUES = [
    b"", b"0", b"5", b"05", b"+5", b"5, 5", b"18446744073709551616", b"9223372036854775807", b"chunked", b"Chunked",
    b"gzip, chunked", b"identity", b"close", b"keep-alive", b"Upgrade", b"close, keep-alive", b"websocket",
    b"h2c", b"\x80\xff", b'"a\\"', b"a\tb", b"\x0b", b"a\x00", b"\x7f", b"timeout=5", b"content-length",
]  # fmt: skip

_versions = st.sampled_from([b"HTTP/1.1"] * 3 + [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1"])
_statuses = st.one_of(
    st.sampled_from([b"200", b"204", b"304", b"101", b"100", b"103", b"407", b"599", b"999", b"020", b"2000", b""]),
    st.integers(100, 999).map(lambda status: b"%d" % status),
)
_reasons = st.one_of(
    st.sampled_from([b"", b" ", b" OK", b" \t", b"\t"]), st.binary(max_size=4).map(lambda raw: b" " + raw)
)
_names = st.one_of(st.sampled_from(_INTERESTING), st.binary(max_size=3))
_values = st.one_of(st.sampled_from(_VALUES), st.binary(max_size=5))
_blanks = st.sampled_from([b"", b" ", b"\t", b"  "])
_fields = st.tuples(_names, st.sampled_from([b":", b":", b":", b" :", b""]), _blanks, _values, _blanks).map(b"".join)
_ends_of_line = st.sampled_from([b"\r\n"] * 9 + [b"\n", b"\r", b"\r\n ", b"\r\r\n"])


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Heads as a careless, an old or an evil peer may write them."""
    lines = [draw(_versions) + b" " + draw(_statuses) + draw(_reasons), *draw(st.lists(_fields, max_size=5))]
    return b"".join(line + draw(_ends_of_line) for line in lines) + b"\r\n"


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A row with a few bytes changed, gone, or twice."""
    wire = draw(st.sampled_from([row.wire for row in ROWS if row.wire and not row.is_large]))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(wire)))
        length = draw(st.integers(0, 3))
        wire = wire[:place] + draw(st.binary(max_size=3)) + wire[place + length :]
    return wire


def check_agreement(wire: bytes, method: bytes, may_upgrade: bool) -> None:
    request = asking(method, may_upgrade)
    whole = outcome_of(new_engine("h11"), request, [wire] if wire else [], ends=True)
    assert outcome_of(new_engine("httptools"), request, [wire] if wire else [], ends=True) == whole
    for engine in ("h11", "httptools"):
        assert outcome_of(new_engine(engine), request, cut(wire, 1), ends=True).fate == whole.fate
    if is_installed("zttp"):
        found = outcome_of(new_engine("zttp"), request, [wire] if wire else [], ends=True)
        assert found == whole or may_disagree(whole, found)
        assert outcome_of(new_engine("zttp"), request, cut(wire, 1), ends=True).fate == found.fate


_methods = st.sampled_from([b"GET", b"GET", b"HEAD", b"CONNECT"])


@settings(max_examples=400)
@given(wire=st.tuples(heads(), st.binary(max_size=8)).map(b"".join), method=_methods, may_upgrade=st.booleans())
@example(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello", b"GET", False)
@example(b"HTTP/1.1 103 E\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", b"GET", False)
@example(b"HTTP/1.1 103 E\r\ncontent-length: x\r\n\r\n", b"GET", False)
@example(b"HTTP/1.1 103 E\r\ntransfer-encoding: gzip\r\n\r\n", b"GET", False)
@example(b"HTTP/1.1 101 S\r\ntransfer-encoding: chunked\r\n\r\n", b"GET", True)
@example(b"HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n", b"CONNECT", False)
@example(b"HTTP/1.1 200 OK\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", b"GET", True)
def test_any_head_is_the_same_to_all_engines(wire: bytes, method: bytes, may_upgrade: bool) -> None:
    pytest.importorskip("httptools")
    check_agreement(wire, method, may_upgrade)


@settings(max_examples=400)
@given(wire=damaged(), method=_methods, may_upgrade=st.booleans())
def test_any_damage_is_the_same_to_all_engines(wire: bytes, method: bytes, may_upgrade: bool) -> None:
    pytest.importorskip("httptools")
    check_agreement(wire, method, may_upgrade)


@settings(max_examples=100)
@given(parts=st.lists(st.binary(min_size=1, max_size=50), max_size=6), size=st.integers(1, 60))
def test_what_one_side_sends_in_chunks_is_what_the_other_reads(parts: list[bytes], size: int) -> None:
    """The same engine's chunks, read back by the other one."""
    pytest.importorskip("httptools")
    for writer_name, reader_name in (("h11", "httptools"), ("httptools", "h11")):
        writer = new_engine(writer_name)
        headers = ((b"host", b"x"), (b"transfer-encoding", b"chunked"))
        writer.send_head(Sent(b"POST", headers=headers, is_chunked=True))
        coded = b"".join(map(writer.send_data, parts)) + writer.send_end([(b"a", b"b")])
        wire = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + coded
        outcome = outcome_of(new_engine(reader_name), Sent(), cut(wire, size))
        assert (outcome.body, outcome.trailers) == (b"".join(parts), ((b"a", b"b"),))


# Time


def _lines(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * (size // 6)


def _long_lines(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + (b"a: " + b"b" * 9_000 + b"\r\n") * (size // 9_000)


def _one_byte_chunks(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * (size // 6)


def _chunks_with_extensions(size: int) -> bytes:
    chunk = b"800;" + b"a" * 2000 + b"\r\n" + b"x" * 2048 + b"\r\n"
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk * (size // len(chunk))


def _trailers(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\na: " + b"b" * (size // 6)


@pytest.mark.parametrize("make", [_trailers, _lines, _long_lines, _one_byte_chunks, _chunks_with_extensions])
def test_c_quadratic(engine: str, make: Callable[[int], bytes]) -> None:
    """Bytes that come one by one cost the same each, however many came before: eight times as many take eight times
    as long.

    Work that is quadratic would take 64 times as long.
    """

    def feed(wire: bytes) -> None:
        reader = new_engine(engine, 10**7, 10**7)
        reader.send_head(Sent())
        for byte in cut(wire, 1):
            reader.receive(byte)

    small, large = make(10_000), make(80_000)
    assert_cheaper(lambda: cpu_seconds(lambda: feed(large)), 24, lambda: cpu_seconds(lambda: feed(small)))


@pytest.mark.parametrize("digit", [b"9", b"0"])
def test_b_cl_20_takes_no_time(engine: str, digit: bytes) -> None:
    """A number of 60,000 digits, on which Python's own `int` would fail or chew."""
    wire = b"HTTP/1.1 200 OK\r\ncontent-length: " + digit * 60_000 + b"\r\n\r\n"
    assert "is not a number of bytes" in outcome_of(new_engine(engine), Sent(), [wire]).error
    assert min(cpu_seconds(lambda: outcome_of(new_engine(engine), Sent(), [wire])) for _ in range(5)) < 0.05


@pytest.mark.time_limit(200)  # it counts its own time alone, of which a busy machine gives it little
def test_b_ck_1byte_is_no_flood(engine: str) -> None:
    """A megabyte in one-byte chunks is honest, if odd, and costs per byte what less of it does."""

    def read(count: int) -> None:
        wire = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * count + b"0\r\n\r\n"
        outcome = outcome_of(new_engine(engine), Sent(), cut(wire, 65_536))
        assert outcome.body == b"x" * count

    # Ten times as many: linear is a factor of 10, quadratic one of 100.
    assert_cheaper(lambda: cpu_seconds(lambda: read(1_000_000)), 30, lambda: cpu_seconds(lambda: read(100_000)))


# zttp, which is used only when asked for by name


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_zttp_says_the_same_or_refuses_for_a_reason_that_is_listed(row: Row) -> None:
    pytest.importorskip("zttp", reason="zttp is not installed: pip install httpcore[zttp]")
    pieces = [row.wire] if row.wire else []
    outcome, expected = run_row("zttp", row, pieces), run_row("h11", row, pieces)
    reasons = [found for found in DISAGREEMENTS if row.id in found.rows]
    if reasons or row.id in OWN_WORDS:
        assert "the response head is not valid" in outcome.error
        assert may_disagree(expected, outcome)
        assert bool(expected.error) == (not reasons)
    else:
        assert outcome == expected
    for size in (997, 65_536) if row.is_large else (1, 2, 7):
        assert run_row("zttp", row, cut(row.wire, size)).fate == outcome.fate, f"in pieces of {size}"


@pytest.mark.parametrize("found", DISAGREEMENTS, ids=lambda found: found.response)
def test_what_zttp_may_refuse_is_shown_by_rows_and_applies_to_no_more(found: Disagreement) -> None:
    shown = [row for row in GOOD if row.id in found.rows]
    assert len(shown) == len(found.rows) >= 1
    for row in GOOD:
        heads = run_row("h11", row, [row.wire]).heads
        assert any(map(found.applies, heads)) == (row in shown), row


def test_what_zttp_may_refuse_is_told_to_users() -> None:
    page = Path(__file__, "../../docs/engines.md").resolve().read_text()
    assert "\n".join(["", *table(), ""]) in page
