"""HTTP/1.1 responses as bytes, and what must become of them: a row for each way to be right or wrong.

The names are those of the project's list of faults: `a_` reuse, `b_` framing, `c_` head syntax and limits, `d_` interim
responses. `test_http11_engines.py` feeds the rows to the engines, `test_framing_faults.py` sends them over sockets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["BAD", "GOOD", "LARGE", "REFERENCES", "Row"]

# Rows up to this size are split at every place.
LARGE = 600


@dataclass(frozen=True)
class Row:
    """One response and its fate.

    Args:
        id: see the module.
        wire: everything that the peer sends.
        refused: what the `RemoteProtocolError` says, as a regular expression; "" where the response is fine.
        ends: whether the peer ends its side after it.
        method: of the request.
        may_upgrade: whether the request asked for another protocol.
        status, reason, headers, body, trailers: what is delivered; `headers` None where they do not matter.
        interim: status codes of the interim responses before it.
        is_reusable: whether another request may follow on the connection.
        unread: what follows the message, or the first bytes of the other protocol.
    """

    id: str
    wire: bytes
    refused: str = ""
    ends: bool = False
    method: bytes = b"GET"
    may_upgrade: bool = False
    status: int = 200
    reason: bytes = b"OK"
    headers: tuple[tuple[bytes, bytes], ...] | None = None
    body: bytes = b""
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    interim: tuple[int, ...] = ()
    is_reusable: bool = True
    unread: bytes = b""

    def __str__(self) -> str:
        return self.id

    @property
    def is_large(self) -> bool:
        return len(self.wire) > LARGE


def _head(*lines: bytes, first: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join((first, *lines)) + b"\r\n\r\n"


def _plain(*lines: bytes, first: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """A response with a body of two bytes, and these header lines besides."""
    return _head(*lines, b"content-length: 2", first=first) + b"hi"


def _chunked(coded: bytes, *lines: bytes, first: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return _head(b"transfer-encoding: chunked", *lines, first=first) + coded


_EVIL = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
_HI = b"2\r\nhi\r\n0\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 C\r\n\r\n"
_ALL_BYTES = bytes(range(256)) + b"\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"

REFERENCES = [
    Row("length", _plain(b"server: x"), body=b"hi", headers=((b"server", b"x"), (b"content-length", b"2"))),
    Row("length_0", _head(b"content-length: 0")),
    Row("length_before_others", _head(b"content-length: 5", b"x: y") + b"hello", body=b"hello"),
    Row(
        "blanks_around_values",
        _plain(b"x:! ", b"y: a \t ", b"z:\t"),
        body=b"hi",
        headers=((b"x", b"!"), (b"y", b"a"), (b"z", b""), (b"content-length", b"2")),
    ),
    Row("no_reason", _plain(first=b"HTTP/1.1 200"), reason=b"", body=b"hi"),
    Row("empty_reason", _plain(first=b"HTTP/1.1 200 "), reason=b"", body=b"hi"),
    Row(
        "c_st_reason",
        _plain(first=b"HTTP/1.1 404 Nicht \xfc \t so (gut): \xff"),
        status=404,
        reason=b"Nicht \xfc \t so (gut): \xff",
        body=b"hi",
    ),
    Row("no_content", _head(b"x: y", first=b"HTTP/1.1 204 No Content"), status=204, reason=b"No Content"),
    Row(
        "not_modified",
        _head(b"content-length: 10", first=b"HTTP/1.1 304 Not Modified"),
        status=304,
        reason=b"Not Modified",
    ),
    Row("a_head_cl", _head(b"content-length: 10"), method=b"HEAD"),
    Row("head_chunked", _head(b"transfer-encoding: chunked"), method=b"HEAD"),
    Row("chunked", _chunked(b"5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n"), body=b"hello, world"),
    Row("chunked_empty", _chunked(b"0\r\n\r\n")),
    Row("chunked_hex", _chunked(b"A\r\n0123456789\r\n0b\r\nabcdefghijk\r\n000\r\n\r\n"), body=b"0123456789abcdefghijk"),
    Row(
        "chunked_extensions",
        _chunked(b'2;a\r\nhi\r\n3 ; b = "c;\\"d" ;e\r\nyou\r\n0;last=\xff\r\n\r\n'),
        body=b"hiyou",
    ),
    Row(
        "chunked_trailers",
        _chunked(b"2\r\nhi\r\n0\r\nX-Sum:  abc \r\nx-sum: def\r\nEmpty:\r\n\r\n", b"trailer: x-sum"),
        body=b"hi",
        trailers=((b"x-sum", b"abc"), (b"x-sum", b"def"), (b"empty", b"")),
    ),
    Row("chunked_in_capitals", _head(b"Transfer-Encoding: Chunked") + b"2\r\nhi\r\n0\r\n\r\n", body=b"hi"),
    Row(
        "until_close",
        _head(b"x: y") + b"as long\r\n\r\nas it lasts",
        ends=True,
        body=b"as long\r\n\r\nas it lasts",
        is_reusable=False,
    ),
    Row(
        "b_multipart_range",
        _head(b"content-type: multipart/byteranges; boundary=b", first=b"HTTP/1.1 206 Partial Content")
        + b"--b\r\n\r\nhi\r\n--b--",
        ends=True,
        status=206,
        reason=b"Partial Content",
        body=b"--b\r\n\r\nhi\r\n--b--",
        is_reusable=False,
    ),
    Row("old_until_close", _head(first=b"HTTP/1.0 200 OK") + b"old", ends=True, body=b"old", is_reusable=False),
    Row("a_http10_nokeep", _plain(first=b"HTTP/1.0 200 OK"), body=b"hi", is_reusable=False),
    Row("old_kept", _plain(b"Connection: Keep-Alive", first=b"HTTP/1.0 200 OK"), body=b"hi"),
    Row(
        "b_te_10",
        _chunked(b"2\r\nhi\r\n0\r\n\r\n", b"connection: keep-alive", first=b"HTTP/1.0 200 OK"),
        body=b"hi",
        is_reusable=False,
    ),
    Row("a_conn_close", _plain(b"Connection: x, Close"), body=b"hi", is_reusable=False),
    Row("close_in_two_lines", _plain(b"connection: close", b"connection: keep-alive"), body=b"hi", is_reusable=False),
    Row("a_keepalive_hdr", _plain(b"Keep-Alive: timeout=1, max=2"), body=b"hi"),
    Row("hostile_keepalive", _plain(b"Keep-Alive: timeout=-1, max=1e99, timeout=text, , ="), body=b"hi"),
    Row("d_100", _head(first=b"HTTP/1.1 100 Continue") + _plain(), interim=(100,), body=b"hi"),
    Row(
        "d_103",
        _head(b"link: </style.css>; rel=preload", first=b"HTTP/1.1 103 Early Hints")
        + _head(first=b"HTTP/1.1 102 Processing")
        + _head(first=b"HTTP/1.1 199 ")
        + _plain(),
        interim=(103, 102, 199),
        body=b"hi",
    ),
    Row("a_205_empty", _head(b"content-length: 0", first=b"HTTP/1.1 205 R"), status=205, reason=b"R"),
    Row(
        "a_205_body",
        _head(b"content-length: 3", first=b"HTTP/1.1 205 R") + b"abc",
        status=205,
        reason=b"R",
        body=b"abc",
    ),
    Row("c_st_6xx", _plain(first=b"HTTP/1.1 600 Far"), status=600, reason=b"Far", body=b"hi"),
    Row("c_st_999", _plain(first=b"HTTP/1.1 999 Far"), status=999, reason=b"Far", body=b"hi"),
    Row(
        "c_dup_hdr",
        _head(
            b"Set-Cookie: a=1",
            b"LOCATION: /1",
            b"x:",
            b"Set-Cookie:b=2, c",
            b"location: \t /2 \t ",
            b"Content-Type: text/a",
            b"content-type: text/b",
            b"x-high: \xe4\t  \xff",
            b"!#$%&'*+-.^_`|~09: ()<>@,;:\\\"/[]?={}",
            b"Content-Length:\t2\t",
        )
        + b"hi",
        headers=(
            (b"set-cookie", b"a=1"),
            (b"location", b"/1"),
            (b"x", b""),
            (b"set-cookie", b"b=2, c"),
            (b"location", b"/2"),
            (b"content-type", b"text/a"),
            (b"content-type", b"text/b"),
            (b"x-high", b"\xe4\t  \xff"),
            (b"!#$%&'*+-.^_`|~09", b'()<>@,;:\\"/[]?={}'),
            (b"content-length", b"2"),
        ),
        body=b"hi",
    ),
    Row("all_bytes", _head(b"content-length: %d" % len(_ALL_BYTES)) + _ALL_BYTES, body=_ALL_BYTES),
    Row(
        "all_bytes_chunked",
        _chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(_ALL_BYTES), _ALL_BYTES)),
        body=_ALL_BYTES,
    ),
    Row("b_cl_lead0", _head(b"content-length: 002") + b"hi", body=b"hi"),
]
"""Well-formed responses, each of which says itself where it ends, or ends with the connection (`ends`)."""

GOOD = [
    *REFERENCES,
    Row("a_extra_same", _plain() + _EVIL, body=b"hi", is_reusable=False, unread=_EVIL),
    Row("a_extra_byte", _plain() + b"\n", body=b"hi", is_reusable=False, unread=b"\n"),
    Row("a_extra_crlf", _plain() + b"\r\n", body=b"hi", is_reusable=False, unread=b"\r\n"),
    Row("a_after_chunked", _chunked(b"2\r\nhi\r\n0\r\n\r\n") + _EVIL, body=b"hi", is_reusable=False, unread=_EVIL),
    Row(
        "a_after_trailers",
        _chunked(b"2\r\nhi\r\n0\r\na: b\r\n\r\n") + _EVIL,
        body=b"hi",
        trailers=((b"a", b"b"),),
        is_reusable=False,
        unread=_EVIL,
    ),
    Row("b_204_te", _head(b"transfer-encoding: chunked", first=b"HTTP/1.1 204 N"), status=204, reason=b"N"),
    Row(
        "d_1xx_te",
        _head(b"transfer-encoding: chunked", first=b"HTTP/1.1 103 E") + _plain(),
        interim=(103,),
        body=b"hi",
    ),
    Row(
        "d_1xx_cl",
        _head(b"content-length: 0", first=b"HTTP/1.1 103 E") + _plain(),
        interim=(103,),
        body=b"hi",
    ),
    Row(
        "a_204_body",
        _head(b"content-length: 4", first=b"HTTP/1.1 204 N") + b"body",
        status=204,
        reason=b"N",
        is_reusable=False,
        unread=b"body",
    ),
    Row(
        "a_304_body",
        _head(b"content-length: 4", first=b"HTTP/1.1 304 N") + b"body",
        status=304,
        reason=b"N",
        is_reusable=False,
        unread=b"body",
    ),
    Row("a_head_body", _plain(), method=b"HEAD", is_reusable=False, unread=b"hi"),
    Row(
        "d_101_data",
        _head(b"upgrade: x", b"connection: upgrade", first=b"HTTP/1.1 101 S") + b"\x00\r\n\r\nx: y",
        may_upgrade=True,
        status=101,
        reason=b"S",
        is_reusable=False,
        unread=b"\x00\r\n\r\nx: y",
    ),
    Row(
        "b_101_te",
        _head(b"transfer-encoding: chunked", b"upgrade: x", first=b"HTTP/1.1 101 S") + b"abc",
        may_upgrade=True,
        status=101,
        reason=b"S",
        is_reusable=False,
        unread=b"abc",
    ),
    Row("d_101_plain", _head(first=b"HTTP/1.1 101 S"), may_upgrade=True, status=101, reason=b"S", is_reusable=False),
    Row(
        "d_101_after_103",
        _head(first=b"HTTP/1.1 103 E") + _head(b"upgrade: x", first=b"HTTP/1.1 101 S") + b"abc",
        may_upgrade=True,
        interim=(103,),
        status=101,
        reason=b"S",
        is_reusable=False,
        unread=b"abc",
    ),
    Row(
        "d_426_upgrade",
        _plain(b"upgrade: x", b"connection: upgrade", first=b"HTTP/1.1 426 U"),
        may_upgrade=True,
        status=426,
        reason=b"U",
        body=b"hi",
    ),
    Row("d_200_upgrade", _plain(b"upgrade: x", b"connection: upgrade"), may_upgrade=True, body=b"hi"),
    Row("connect", _head(b"content-length: 4") + b"tunnel", method=b"CONNECT", is_reusable=False, unread=b"tunnel"),
    Row(
        "connect_chunked",
        _head(b"transfer-encoding: chunked", first=b"HTTP/1.1 299 OK") + b"t",
        method=b"CONNECT",
        status=299,
        is_reusable=False,
        unread=b"t",
    ),
    Row("connect_refused", _plain(first=b"HTTP/1.1 403 No"), method=b"CONNECT", status=403, reason=b"No", body=b"hi"),
    Row(
        "b_tr_framing",
        _chunked(
            b"2\r\nhi\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nHost: evil\r\n"
            b"Set-Cookie: a=b\r\nfine: yes\r\n\r\n"
        ),
        body=b"hi",
        trailers=((b"fine", b"yes"),),
    ),
    Row("b_tr_100", _chunked(b"0\r\n" + b"a: b\r\n" * 100 + b"\r\n"), trailers=((b"a", b"b"),) * 100),
    Row("b_ck_1byte", _chunked(b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n"), body=b"x" * 20_000),
    Row("b_ck_ext_fair", _chunked(b"1;abcdefghij\r\nx\r\n" * 5000 + b"0\r\n\r\n"), body=b"x" * 5000),
    Row("c_count_500", _plain(*(b"a: b",) * 499), body=b"hi"),
    Row("c_line_60k", _plain(b"a: " + b"b" * 60_000), body=b"hi"),
    Row("c_head_250k", _plain(*(b"a: " + b"b" * 50_000,) * 5), body=b"hi"),
    Row("c_st_reason_60k", _plain(first=b"HTTP/1.1 200 " + b"r" * 60_000), reason=b"r" * 60_000, body=b"hi"),
    Row("d_1xx_100", _head(first=b"HTTP/1.1 102 P") * 100 + _plain(), interim=(102,) * 100, body=b"hi"),
    # What a careful adversary tries next to them
    Row("a_extra_100", _plain() + _head(first=b"HTTP/1.1 100 C"), body=b"hi", is_reusable=False, unread=_CONTINUE),
    Row("a_204_cl", _head(b"content-length: 4", first=b"HTTP/1.1 204 N"), status=204, reason=b"N"),
    Row(
        "a_204_chunk",
        _chunked(_HI, first=b"HTTP/1.1 204 N"),
        status=204,
        reason=b"N",
        is_reusable=False,
        unread=_HI,
    ),
    Row("a_head_chunk", _chunked(_HI), method=b"HEAD", is_reusable=False, unread=_HI),
    Row("a_conn_list", _plain(b"connection: ,, close ,"), body=b"hi", is_reusable=False),
    Row("a_conn_quoted", _plain(b'connection: "close"'), body=b"hi"),
    Row("a_10_both", _plain(b"connection: keep-alive, close", first=b"HTTP/1.0 200 OK"), body=b"hi", is_reusable=False),
    Row("b_te_hop", _chunked(_HI, b"connection: transfer-encoding"), body=b"hi"),
    Row("b_cl_hop", _plain(b"connection: content-length"), body=b"hi"),
    Row("b_te_underscore", _plain(b"transfer_encoding: chunked"), body=b"hi"),
    Row("b_te_case", _head(b"tRANSFER-eNCODING: cHuNkEd") + _HI, body=b"hi"),
    Row("b_304_te", _head(b"transfer-encoding: chunked", first=b"HTTP/1.1 304 N"), status=304, reason=b"N"),
    Row("b_ck_space", _chunked(b"2 \t\r\nhi\r\n0 \r\n\r\n"), body=b"hi"),
    Row("b_ck_lead0", _chunked(b"0" * 15 + b"2\r\nhi\r\n0\r\n\r\n"), body=b"hi"),
    Row("b_ck_quote", _chunked(b'2;a="x\r\nhi\r\n0\r\n\r\n'), body=b"hi"),
    Row(
        "b_tr_control",
        _chunked(b"0\r\nConnection: close\r\nContent-Encoding: gzip\r\nTrailer: x\r\nfine: yes\r\n\r\n"),
        trailers=((b"fine", b"yes"),),
    ),
    Row("d_1xx_cl_0", _head(b"content-length: 0", first=b"HTTP/1.1 103 E") + _plain(), interim=(103,), body=b"hi"),
    Row(
        "d_101_cl",
        _head(b"content-length: 4", b"upgrade: x", first=b"HTTP/1.1 101 S") + b"body",
        may_upgrade=True,
        status=101,
        reason=b"S",
        is_reusable=False,
        unread=b"body",
    ),
    Row("c_nel", _plain(b"a: b\x85c: d"), body=b"hi", headers=((b"a", b"b\x85c: d"), (b"content-length", b"2"))),
    Row(
        "c_st_reason_8bit",
        _plain(first="HTTP/1.1 200 \N{GREEK CAPITAL LETTER OMEGA}".encode()),
        reason=b"\xce\xa9",
        body=b"hi",
    ),
]
"""Responses that are delivered; after some of them the connection is of no more use."""


def _bad(id: str, *wires: bytes, refused: str, ends: bool = False, may_upgrade: bool = False) -> Iterable[Row]:
    for index, wire in enumerate(wires):
        name = id if len(wires) == 1 else f"{id}_{index}"
        yield Row(name, wire, refused, ends, may_upgrade=may_upgrade, is_reusable=False)


def _lengths(*values: bytes) -> list[bytes]:
    return [_head(b"content-length: " + value) + b"hi" for value in values]


def _codings(*values: bytes) -> list[bytes]:
    return [_head(b"transfer-encoding: " + value) + b"2\r\nhi\r\n0\r\n\r\n" for value in values]


def _firsts(*lines: bytes) -> list[bytes]:
    return [_plain(first=line) for line in lines]


_LENGTH = "Content-Length .* is not a number of bytes"
_CODING = "Transfer-Encoding .* was not asked for"
_SIZE = "a chunk begins with .*, which is not a size in hexadecimal"
_LINE = "a header line is not `name: value` in visible characters"
_FIRST = "does not begin with an HTTP/1.0 or HTTP/1.1 status line"
_LF = "ends in LF without CR|visible characters|status line"
_NO_CRLF = "does not end in CRLF|not a size in hexadecimal|not followed by CRLF|LF without CR"
_VERSIONS = [
    b"HTTP/1.2", b"HTTP/2.0", b"HTTP/2", b"HTTP/0.9", b"HTTP/1.10", b"HTTP/01.1", b"HTTP/1.01", b"http/1.1", b"HTP/1.1",
    b"HTTP1.1", b"HTTP/1,1", b"HTTP /1.1", b"HTTPS/1.1", b"ICE/1.0", b"ICY", b"RTSP/1.0", b"HTTP/1.1.1", b"HTTP/ 1.1",
    b"HTTP/11", b"",
]  # fmt: skip
_CONTROLS = [bytes([code]) for code in (*range(1, 9), 11, 12, *range(14, 32), 127)]

BAD = [
    # Content-Length
    *_bad("b_cl_short", _head(b"content-length: 5") + b"hi", refused="after 2 of the 5 bytes of the body", ends=True),
    *_bad(
        "b_cl_short_100",
        _head(b"content-length: 9223372036854775807") + b"hello",
        refused="after 5 of the 9223372036854775807 bytes",
        ends=True,
    ),
    *_bad(
        "b_cl_dup",
        _head(b"content-length: 2", b"content-length: 5") + b"hi",
        _head(b"content-length: 2", b"Content-Length: 2") + b"hi",
        _head(b"content-length: 30", b"content-length: 030") + b"x" * 30,
        _head(b"content-length: 2", b"x: y", b"Content-Length: 2", first=b"HTTP/1.1 204 N"),
        refused="more than one content-length",
    ),
    *_bad("b_cl_list", *_lengths(b"2, 5", b"2, 2", b"2,2", b",2", b"2,"), refused=_LENGTH),
    *_bad("b_cl_neg", *_lengths(b"-2", b"+2", b"-0"), refused=_LENGTH),
    *_bad("b_cl_under", *_lengths(b"1_0"), refused=_LENGTH),
    *_bad("b_cl_hex", *_lengths(b"0x2", b"a"), refused=_LENGTH),
    *_bad("b_cl_alpha", *_lengths(b"2abc", b"2 2", b"2;", b"2.0", b"2e0", b"two"), refused=_LENGTH),
    *_bad("b_cl_empty", *_lengths(b"", b" \t "), refused=_LENGTH),
    *_bad("b_cl_uni", *_lengths("\N{ARABIC-INDIC DIGIT TWO}".encode(), b"\xb2"), refused=_LENGTH),
    *_bad("b_cl_20", *_lengths(b"9" * 30, b"9" * 5000, b"9223372036854775808"), refused=_LENGTH),
    Row("b_cl_head", _head(b"content-length: x"), _LENGTH, method=b"HEAD", is_reusable=False),
    Row("b_cl_304", _head(b"content-length: -1", first=b"HTTP/1.1 304 N"), _LENGTH, is_reusable=False),
    # Transfer-Encoding
    *_bad(
        "b_te_twice",
        _chunked(b"2\r\nhi\r\n0\r\n\r\n", b"transfer-encoding: chunked"),
        _head(b"transfer-encoding: chunked", b"transfer-encoding: identity") + b"2\r\nhi\r\n0\r\n\r\n",
        refused="more than one transfer-encoding",
    ),
    *_bad("b_te_unknown", *_codings(b"xchunked", b"zork", b"gzip, chunked", b"identity"), refused=_CODING),
    *_bad(
        "b_te_notlast",
        *_codings(b"chunked, identity", b"chunked, gzip", b"chunked, chunked", b"chunked;a=b", b"chunked,"),
        refused=_CODING,
    ),
    *_bad("b_te_empty", *_codings(b"", b" "), refused=_CODING),
    *_bad(
        "b_te_cl",
        _chunked(b"2\r\nhi\r\n0\r\n\r\n", b"content-length: 12"),
        _head(b"content-length: 2", b"transfer-encoding: chunked") + b"hi",
        refused="both Transfer-Encoding and Content-Length",
    ),
    *_bad("b_te_blank", _head(b"transfer-encoding : chunked") + b"2\r\nhi\r\n0\r\n\r\n", refused=_LINE),
    # Chunks
    *_bad("b_chunk_mid", _chunked(b"5\r\nhi"), refused="in the middle of a chunk", ends=True),
    *_bad(
        "b_chunk_none",
        _chunked(b""),
        _chunked(b"2"),
        _chunked(b"2\r\nhi"),
        _chunked(b"2\r\nhi\r\n"),
        refused="in the middle of a chunk",
        ends=True,
    ),
    *_bad(
        "b_chunk_nocrlf",
        _chunked(b"0\r\n"),
        _chunked(b"0\r\n\r"),
        _chunked(b"0\r\na: b\r\n"),
        refused="in the middle of its trailers",
        ends=True,
    ),
    *_bad(
        "b_ck_hex",
        *(
            _chunked(size + b"\r\nhi\r\n0\r\n\r\n")
            for size in (b"zz", b"0x2", b"-2", b"+2", b" 2", b"2_0", b"2 2", b"")
        ),
        _chunked("\N{ARABIC-INDIC DIGIT TWO}".encode() + b"\r\nhi\r\n0\r\n\r\n"),
        _chunked(b";a\r\nhi\r\n0\r\n\r\n"),
        refused=_SIZE,
    ),
    *_bad(
        "b_ck_big",
        _chunked(b"f" * 17 + b"\r\n"),
        _chunked(b"8000000000000000\r\n"),
        _chunked(b"10000000000000000\r\n"),
        refused=_SIZE,
    ),
    *_bad("b_ck_largest", _chunked(b"7fffffffffffffff\r\nhi"), refused="in the middle of a chunk", ends=True),
    *_bad(
        "b_ck_lf",
        _chunked(b"2\nhi\r\n0\r\n\r\n"),
        _chunked(b"2;a\nb\r\nhi\r\n0\r\n\r\n"),
        _chunked(b"2;a\n\r\nhi\r\n0\r\n\r\n"),
        _chunked(b"2\r\nhi\n0\r\n\r\n"),
        _chunked(b"2\r\nhi\r\n0\n\r\n"),
        _chunked(b"2\r\nhi\r\n0\r\n\n"),
        _chunked(b"2\rhi\r\n0\r\n\r\n"),
        _chunked(b"2;a\rb\r\nhi\r\n0\r\n\r\n"),
        refused=_NO_CRLF,
    ),
    *_bad("b_ck_ctl", _chunked(b"2;a=\x00\r\nhi\r\n0\r\n\r\n"), _chunked(b"2;\x7f\r\nhi\r\n0\r\n\r\n"), refused=_SIZE),
    *_bad(
        "b_ck_term",
        _chunked(b"2\r\nhiXX0\r\n\r\n"),
        _chunked(b"2\r\nhi\r0\r\n\r\n"),
        _chunked(b"2\r\nhi0\r\n\r\n"),
        _chunked(b"2\r\nhi\n\r0\r\n\r\n"),
        refused="a chunk is not followed by CRLF",
    ),
    *_bad("b_ck_ext_flood", _chunked((b"1;" + b"a" * 4000 + b"\r\nx\r\n") * 8), refused="too much that is not data"),
    *_bad("b_ck_ext_line", _chunked(b"2;" + b"a" * 10_000), refused="does not end in CRLF within 4096 bytes"),
    # Trailers
    *_bad(
        "b_tr_nul",
        *(_chunked(b"0\r\na: " + value + b"\r\n\r\n") for value in (b"\x00", b"b\rc", b"\x01", b"\x7f")),
        _chunked(b"0\r\na\r\n\r\n"),
        _chunked(b"0\r\n: b\r\n\r\n"),
        _chunked(b"0\r\na : b\r\n\r\n"),
        _chunked(b"0\r\na: b\r\n c\r\n\r\n"),
        _chunked(b"0\r\n\ta: b\r\n\r\n"),
        refused="a trailer line is not `name: value` in visible characters",
    ),
    *_bad("b_tr_lf", _chunked(b"0\r\na: b\nc: d\r\n\r\n"), refused="LF without CR|visible characters"),
    *_bad(
        "b_tr_flood",
        _chunked(b"0\r\n" + b"a: b\r\n" * 101 + b"\r\n"),
        _chunked(b"0\r\na: " + b"b" * 20_000),
        _chunked(b"0\r\n" + (b"a: " + b"b" * 1000 + b"\r\n") * 20),
        refused="the trailers are longer than 16384 bytes or 100 fields",
    ),
    # Header lines
    *_bad("c_nul", _plain(b"a: b\x00c"), _plain(b"a: \x00"), _plain(b"a\x00: b"), refused=_LINE),
    *_bad(
        "c_lf_lines",
        b"HTTP/1.1 200 OK\ncontent-length: 2\n\nhi",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\n\r\nhi\r\n\r\n",
        b"HTTP/1.1 200 OK\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\na: b\nc: d\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\nhi\r\n\r\n",
        refused=_LF,
    ),
    *_bad("c_cr", _plain(b"a: b\rc"), _plain(b"a: b\rc: d"), _plain(b"a\r: b"), _plain(b"a: b\r"), refused=_LINE),
    *_bad("c_ctl", *(_plain(b"a: b" + code + b"c") for code in _CONTROLS), refused=_LINE),
    *_bad("c_nocolon", _plain(b"abc"), _plain(b"a b"), refused=_LINE),
    *_bad(
        "c_name",
        *(
            _plain(name + b": v")
            for name in (b"", b"a b", b"a ", b"a\t", b"\xe9", b"(", b"@", b"a/b", b'"a"', b"a\x7f")
        ),
        refused=_LINE,
    ),
    *_bad("c_fold", _plain(b"a: b", b" c"), _plain(b"a: b", b"\tc: d"), _plain(b"a: b", b" "), refused=_LINE),
    *_bad("c_fold_first", _plain(b" a: b"), _plain(b"\ta: b"), _plain(b" "), refused=_LINE),
    # Limits
    *_bad("c_line_100k", _plain(b"a: " + b"b" * 100_000), refused="a line of the response head is longer than 65536"),
    *_bad("c_line_endless", b"HTTP/1.1 200 OK\r\na: " + b"b" * 70_000, refused="longer than 65536 bytes"),
    *_bad(
        "c_head_300k",
        _plain(*(b"a: " + b"b" * 1000,) * 300),
        _head(*(b"a: " + b"b" * 1000,) * 300)[:-4],
        refused="the response head is longer than 262144 bytes .*Limits.max_header_bytes",
    ),
    *_bad(
        "c_count",
        _plain(*(b"a: b",) * 10_000),
        _plain(*(b"a: b",) * 500),
        refused="more than 500 header fields .*Limits.max_header_count",
    ),
    *_bad("c_st_reason_70k", _plain(first=b"HTTP/1.1 200 " + b"r" * 70_000), refused="longer than 65536 bytes"),
    # The status line
    *_bad(
        "c_st_bad",
        *_firsts(
            *(b"HTTP/1.1 " + status for status in (b"20X OK", b"2000 OK", b"20 OK", b"-200 OK", b"000 OK", b"099 OK")),
            *(b"HTTP/1.1" + rest for rest in (b" OK", b" ", b"", b"  200 OK", b" 200OK", b"\t200 OK", b" 0x1 OK")),
            *(b"HTTP/1.1 " + status for status in (b"+20 OK", b"2 0 OK", b"200,OK", b"\xb200 OK")),
        ),
        refused=_FIRST,
    ),
    *_bad(
        "c_st_reason_ctl",
        *_firsts(*(b"HTTP/1.1 200 O" + code + b"K" for code in (b"\x00", b"\r", b"\x1b", b"\x7f"))),
        refused=_FIRST,
    ),
    *_bad(
        "c_ver",
        *_firsts(*(version + b" 200 OK" for version in _VERSIONS)),
        refused=_FIRST,
    ),
    *_bad(
        "c_09", b"<html>", b"G", b"HTTP is nice", b"HTTQ", b"HTTP/1.1\n", b"\x00" * 9, refused=f"{_FIRST}|LF without"
    ),
    *_bad("c_leadcrlf", *(blank + _plain() for blank in (b"\r\n", b"\n", b" ", b"\r\n\r\n", b"\0")), refused=_FIRST),
    *_bad("tls", b"\x15\x03\x01\x00\x02\x02\x16", b"\x16\x03\x03", refused="is it https://"),
    *_bad("http2", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", refused=f"{_FIRST}"),
    *_bad("c_close_none", b"", refused="closed the connection without sending a response", ends=True),
    *_bad(
        "c_close_mid",
        b"H",
        b"HTTP/1.1",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r",
        refused="closed the connection in the middle of the response head",
        ends=True,
    ),
    # Interim responses
    *_bad(
        "d_1xx_flood",
        _head(first=b"HTTP/1.1 102 P") * 101,
        _head(b"a: " + b"b" * 30_000, first=b"HTTP/1.1 102 P") * 3,
        refused="more than 100 interim responses, or too large ones",
    ),
    *_bad(
        "d_1xx_body",
        _head(b"content-length: 4", first=b"HTTP/1.1 103 E") + b"body" + _plain(),
        refused=_FIRST,
    ),
    *_bad(
        "d_1xx_only",
        _head(first=b"HTTP/1.1 100 C"),
        refused="without sending a response after an interim response",
        ends=True,
    ),
    *_bad(
        "d_1xx_cut", _head(first=b"HTTP/1.1 100 C") + b"HTTP", refused="in the middle of the response head", ends=True
    ),
    *_bad(
        "d_101_unasked", _head(b"upgrade: x", b"connection: upgrade", first=b"HTTP/1.1 101 S"), refused="not asked for"
    ),
    # What a careful adversary tries next to them
    *_bad("b_cl_fold", _head(b"content-length: 1", b" 2") + b"hi", refused=_LINE),
    *_bad("b_te_fold", _head(b"transfer-encoding:", b" chunked") + _HI, refused=_LINE),
    *_bad("b_cl_blank", _head(b"content-length : 2") + b"hi", _head(b"content-length\t: 2") + b"hi", refused=_LINE),
    *_bad("b_cl_vt", _head(b"content-length: \x0b2") + b"hi", _head(b"content-length: 2\x0c") + b"hi", refused=_LINE),
    *_bad("b_te_vt", _head(b"transfer-encoding: \x0bchunked") + _HI, refused=_LINE),
    *_bad("b_te_quoted", *_codings(b'"chunked"', b"\xa0chunked", b"chunked\x85", b"chunked;"), refused=_CODING),
    *_bad(
        "b_te_hidden",
        _plain(b"a: b\rtransfer-encoding: chunked"),
        _plain(b"a: b\ntransfer-encoding: chunked"),
        _plain(b"a: b\r\rtransfer-encoding: chunked"),
        refused=f"{_LINE}|{_LF}",
    ),
    *_bad("b_cl_quoted", *_lengths(b'"2"', b"2.", b"0" * 22 + b"2", b"2\x852", b"II"), refused=_LENGTH),
    Row("b_te_cl_head", _chunked(b"", b"content-length: 2"), "both Tr", method=b"HEAD", is_reusable=False),
    *_bad(
        "b_te_cl_none",
        *(
            _chunked(b"", b"content-length: 2", first=b"HTTP/1.1 " + status)
            for status in (b"204 N", b"304 N", b"103 E")
        ),
        _chunked(_HI, b"content-length: 2", first=b"HTTP/1.0 200 OK"),
        refused="both Transfer-Encoding and Content-Length",
    ),
    *_bad("b_ck_many_0", _chunked(b"0" * 40 + b"2\r\nhi\r\n0\r\n\r\n"), _chunked(b"-0\r\n\r\n"), refused=_SIZE),
    *_bad("b_ck_crlf", _chunked(b"\r\n" + _HI), _chunked(b"2\r\nhi\r\n\r\n0\r\n\r\n"), refused=_SIZE),
    *_bad("b_tr_response", _chunked(b"0\r\n" + _EVIL), refused="a trailer line is not"),
    *_bad("c_name_70k", _plain(b"n" * 70_000 + b": v"), refused="longer than 65536 bytes"),
    *_bad("c_name_8bit", _head(b"content-length\xa0: 2") + b"hi", _plain(b"\xef\xbb\xbfa: b"), refused=_LINE),
    *_bad("c_name_pseudo", _plain(b":status: 404"), _plain(b":a"), refused=_LINE),
    *_bad(
        "c_lead_bom",
        *(first + _plain() for first in (b"\xef\xbb\xbf", b"\r", b"\x00\r\n", b"evil\r\n", b"0\r\n\r\n")),
        refused=_FIRST,
    ),
    *_bad("c_cr_end", *_firsts(b"HTTP/1.1 200 OK\r", b"HTTP/1.1 200\r OK"), refused=_FIRST),
]
"""What no client should take for a response. Without `ends` it is refused at once, not when the peer is done."""
