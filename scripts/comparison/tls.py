"""TLS peers that must not be trusted, or cannot be talked to, as in `test_tls_certificates.py`, `test_tls_handshake.py`
and `test_tls_records.py`. All are called localhost.
"""

from __future__ import annotations

import contextlib
import ssl
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.support.certificates import Authority
from tests.support.peer import Conn, Disconnected, ScriptedPeer
from tests.support.tls_rows import FRAMED, GARBAGE, PLAIN, UNTIL_CLOSE

from .cases import Case
from .contenders import TLS
from .driver import Driver, Hang
from .faults import row_of
from .judging import PASS, Rule, of_response, of_what_follows, together
from .messages import Ask, Setup

_NAME = "localhost"
_EVIL = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
_HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
_REFUSED = Rule(None, may_refuse=True)

_Certificate = Callable[[Authority], ssl.SSLContext]
_Script = Callable[[Conn, Authority], None]

_NOT_TO_BE_TRUSTED: dict[str, _Certificate] = {
    "g_expired_expired": lambda a: a.issue(_NAME, valid=(-2, -1)),
    "g_expired_not_yet_valid": lambda a: a.issue(_NAME, valid=(1, 2)),
    "g_expired_intermediate": lambda a: a.with_intermediate(_NAME, valid=(-2, -1)),
    "g_self_signed": lambda a: a.self_signed(_NAME),
    "g_self_untrusted": lambda a: a.of_another_root(_NAME),
    "g_self_missing_intermediate": lambda a: a.without_intermediate(_NAME),
    "g_self_for_clients": lambda a: a.issue(_NAME, purpose=ExtendedKeyUsageOID.CLIENT_AUTH),
    "g_self_issuer_is_no_ca": lambda a: a.with_intermediate(_NAME, is_ca=False),
    "g_self_path_too_long": lambda a: a.over_too_long_a_path(_NAME),
    "g_self_name_not_permitted": lambda a: a.with_intermediate(_NAME, permitted="bar.test"),
    "g_wrong_name": lambda a: a.issue("bar.test"),
    "g_wrong_name_below": lambda a: a.issue("a.localhost"),
    "g_wrong_address": lambda a: a.issue("127.0.0.1"),
    "g_wrong_wildcard": lambda a: a.issue("*"),
    "g_wrong_wildcard_at_the_end": lambda a: a.issue("local*"),
    "g_wrong_wildcard_at_the_start": lambda a: a.issue("*host"),
    "g_cnonly": lambda a: a.issue(common_name=_NAME),
    "g_nul_in_the_name": lambda a: a.issue("localhost\0.evil.example"),
    "g_nul_before_the_name": lambda a: a.issue("evil.example\0localhost"),
    "g_nul_in_the_common_name": lambda a: a.issue(common_name="localhost\0.evil.example"),
}


def cases() -> Iterator[Case]:
    for id, certificate in _NOT_TO_BE_TRUSTED.items():
        yield _case(id, partial(_show, certificate), _REFUSED)
    for name, answer in {**PLAIN, **GARBAGE}.items():
        kind = "g_plain" if name in PLAIN else "g_garbage"
        yield _case(f"{kind}_{name.replace(' ', '_')}", partial(_talk_nonsense, answer), _REFUSED)
    yield _case("g_tls11", partial(_show, _old_version), _REFUSED)
    yield _case("g_hs_close_fin", partial(_break_off, Conn.fin), _REFUSED)
    yield _case("g_hs_close_rst", partial(_break_off, Conn.rst), _REFUSED)
    yield _case("e_tls_hang", _say_nothing, _REFUSED, is_timeout_due=True)
    for name, wire in UNTIL_CLOSE.items():
        id = f"g_trunc_{name.replace(' ', '_')}"
        yield _case(id, partial(_send, wire, False), _REFUSED)
        yield _case(f"{id}_with_close_notify", partial(_send, wire, True), _delivers(wire.partition(b"\r\n\r\n")[2]))
    for name, wire in FRAMED.items():
        yield _case(f"g_trunc_framed_{name.replace(' ', '_')}", partial(_send, wire, False), _delivers(b"hello"))
    yield _case("g_poison_one_record", _poison, _delivers(b"hello"))


def _case(id: str, script: _Script, rule: Rule, is_timeout_due: bool = False) -> Case:
    return Case(id, row_of(id), partial(_play, script, rule, is_timeout_due), TLS)


def _delivers(body: bytes) -> Rule:
    return Rule(lambda reply: (reply.status, reply.body) == (200, body), may_refuse=False, is_bad=False)


def _serve(conn: Conn) -> None:
    while True:
        conn.respond(body=conn.read_request().target)


def _show(certificate: _Certificate, conn: Conn, authority: Authority) -> None:
    conn.start_tls(certificate(authority))
    _serve(conn)


def _old_version(authority: Authority) -> ssl.SSLContext:
    context = authority.issue(_NAME)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def _talk_nonsense(answer: bytes, conn: Conn, authority: Authority) -> None:
    conn.recv()
    conn.send(answer)
    conn.fin()
    conn.wait_closed()


def _break_off(end: Callable[[Conn], None], conn: Conn, authority: Authority) -> None:
    conn.recv()
    end(conn)


def _say_nothing(conn: Conn, authority: Authority) -> None:
    conn.wait_closed()


def _send(wire: bytes, is_ended_well: bool, conn: Conn, authority: Authority) -> None:
    conn.start_tls(authority.issue(_NAME))
    conn.read_request()
    conn.send(wire)
    if is_ended_well:
        conn.close_notify()
    conn.fin()
    conn.wait_closed()


def _poison(conn: Conn, authority: Authority) -> None:
    conn.start_tls(authority.issue(_NAME))
    conn.read_request()
    conn.send(_HELLO + _EVIL)
    _serve(conn)


def _play(script: _Script, rule: Rule, is_timeout_due: bool, client: Driver) -> str:
    is_over = threading.Event()

    def play(conn: Conn) -> None:
        # What a client does not like it says in an alert.
        with contextlib.suppress(ssl.SSLError, Disconnected):
            if not is_over.is_set():
                script(conn, authority)
            elif conn.is_open:
                conn.start_tls(authority.issue(_NAME))
                _serve(conn)

    with (
        tempfile.TemporaryDirectory(prefix="compare-") as directory,
        ScriptedPeer(play, expect_disconnect=True) as peer,
    ):
        authority = Authority(Path(directory))
        behind = _Named(peer)
        client.open(Setup(ca=str(authority.path)))
        answer = client.request(Ask("GET", f"{behind.origin}/own"))
        is_over.set()
        is_timeout = is_timeout_due and answer == Hang(is_endless=False)
        first = PASS if is_timeout else of_response(answer, rule)
        outcome = together(first, of_what_follows(client, behind))
        client.close()
    return outcome


@dataclass(frozen=True)
class _Named:
    """A peer under its name."""

    peer: ScriptedPeer

    @property
    def origin(self) -> str:
        return f"https://{_NAME}:{self.peer.port}"

    @property
    def open_connections(self) -> int:
        return self.peer.open_connections
