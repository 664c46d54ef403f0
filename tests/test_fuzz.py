"""A short run of every target of fuzz/, over damaged seeds, the same each time. `scripts/fuzz` searches further."""

from __future__ import annotations

import pytest

from fuzz.cutting import BYTEWISE, WHOLE, pieces
from fuzz.damage import damaged
from fuzz.targets import TARGETS, Target, load
from httpcore._engines.framing import ResponseHead
from httpcore._engines.h2 import H2Engine
from httpcore._engines.httptools import HttptoolsEngine
from httpcore._http11 import HTTP11Connection

# A pool takes some ten times as long as what has no loop, so only that of HTTP/1.1, where engines may differ, has all
# its seeds played; and of heads on which engines may differ there are many.
_COUNTS = {"http11_engines": 2000, "http11_pool": 300, "http2_pool": 60, "proxy_answers": 100, "socks": 100}
_COUNT = 300
_SEED = 20261121


@pytest.mark.time_limit(600)
@pytest.mark.parametrize("name", TARGETS)
def test_what_must_hold_whatever_comes_holds_for_seeds_and_damaged_seeds(name: str) -> None:
    pytest.importorskip("httptools")
    target = load(name)
    seeds = list(target.seeds())
    assert len(seeds) >= 10
    count = _COUNTS.get(name, _COUNT)
    for data in (b"", b"\0", *seeds[:: max(1, len(seeds) // count)], *damaged(target, count, _SEED)):
        try:
            target.check(data)
        except BaseException as exc:
            exc.add_note(f"fuzz.{name}.check({data!r})")
            raise


def _finds(target: Target) -> bool:
    """Whether a target fails for one of its seeds."""
    for data in target.seeds():
        try:
            target.check(data)
        except Exception:
            return True
    return False


def test_a_target_finds_an_engine_that_disagrees(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(self: HttptoolsEngine, raw: bytes) -> ResponseHead:
        return original(self, raw)._replace(status_code=200)

    original = HttptoolsEngine._parse_head
    monkeypatch.setattr(HttptoolsEngine, "_parse_head", parse)
    assert _finds(load("http11_engines"))
    assert _finds(load("http11_pool"))


def test_a_target_finds_a_foreign_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(self: H2Engine, block: bytes) -> list[tuple[bytes, bytes]]:
        return list(self._decoder.decode(block, raw=True))

    monkeypatch.setattr(H2Engine, "_decode", decode)
    assert _finds(load("http2_engine"))
    assert _finds(load("http2_pool"))


def test_a_target_finds_a_connection_that_is_lent_again_with_what_was_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("httpcore._engines.http11.HTTP11Engine.is_reusable", True)
    monkeypatch.setattr(HTTP11Connection, "is_stale", lambda self: False)
    assert _finds(load("http11_pool"))


@pytest.mark.parametrize("name", ["decoders", "inputs", "no_proxy", "socks"])
def test_a_target_finds_an_error_of_pythons_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> object:
        raise UnicodeError("as by an oversight")

    for place in (
        "httpcore._decoders._Layer.check_end",
        "httpcore._request._checked_method",
        "httpcore._proxy_environment._as_network",
        "httpcore._socks._check_version",
    ):
        monkeypatch.setattr(place, fail)
    assert _finds(load(name))


def test_pieces_are_the_whole() -> None:
    wire = bytes(range(256)) * 3
    assert pieces(wire, WHOLE) == [wire]
    for cut in range(1, 256):
        assert b"".join(pieces(wire, cut)) == wire
        assert all(pieces(wire, cut))
    assert len(pieces(wire[:150], BYTEWISE)) == 150
    assert pieces(b"", WHOLE) == pieces(b"", 2) == []


def test_damage_is_the_same_each_time() -> None:
    target = load("http11_engines")
    assert list(damaged(target, 50, 1)) == list(damaged(target, 50, 1)) != list(damaged(target, 50, 2))
