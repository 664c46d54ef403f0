"""The bytes of an HTTP/1.1 response, into every engine: they agree on what becomes of it, however it is cut."""

from __future__ import annotations

from collections.abc import Iterator

from httpcore._engines import is_installed
from tests.support.engine_outcomes import asking, may_disagree, new_engine, outcome_of
from tests.support.http11_rows import BAD, GOOD, Row

from .cutting import BYTEWISE, pieces

__all__ = ["check", "choices_of", "seeds"]

_METHODS = (b"GET", b"HEAD", b"CONNECT", b"POST")
_MAY_UPGRADE, _ENDS = 0x04, 0x08


def choices_of(row: Row) -> int:
    """The byte that makes the request of a row."""
    return _METHODS.index(row.method) | _MAY_UPGRADE * row.may_upgrade | _ENDS * row.ends


def seeds() -> Iterator[bytes]:
    for row in (*GOOD, *BAD):
        if not row.is_large:
            yield bytes([choices_of(row), 2]) + row.wire


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    choices, cut, wire = data[0], data[1], data[2:]
    request, ends = asking(_METHODS[choices & 0x03], bool(choices & _MAY_UPGRADE)), bool(choices & _ENDS)
    expected = outcome_of(new_engine("h11"), request, [wire] if wire else [], ends)
    for name in ("httptools", "zttp"):
        if is_installed(name):
            found = outcome_of(new_engine(name), request, [wire] if wire else [], ends)
            assert found == expected or (name == "zttp" and may_disagree(expected, found)), (name, found, expected)
            for way in (BYTEWISE, cut):
                in_pieces = outcome_of(new_engine(name), request, pieces(wire, way), ends)
                assert in_pieces.fate == found.fate, (name, way, in_pieces, found)
    for way in (BYTEWISE, cut):
        in_pieces = outcome_of(new_engine("h11"), request, pieces(wire, way), ends)
        assert in_pieces.fate == expected.fate, ("h11", way, in_pieces, expected)
    _check_bounds(wire, len(expected.body), len(expected.unread))


def _check_bounds(wire: bytes, *sizes: int) -> None:
    """Nothing is made of nothing."""
    assert sum(sizes) <= len(wire), (sizes, len(wire))
