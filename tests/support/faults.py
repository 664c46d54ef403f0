"""The catalogue of faults, `faults.txt`, and which test holds which of its rows.

A test holds a row whose id is in its name, in the id of one of its parameters or in its docstring; where ids begin
alike, the longest counts. Rows whose tests were named otherwise say which they are: a part of the test's node id, or
several with + between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

__all__ = ["FAULTS", "SECTIONS", "Fault", "Place", "held_by", "places"]

_FILE = Path(__file__).with_name("faults.txt")


@dataclass(frozen=True)
class Fault:
    """A row.

    Args:
        section: the letter of its section.
        peer: what the peer does, or what comes.
        client: what becomes of it.
        pool: what is left: `K` the connection, idle and reusable; `C` nothing; `S` all but the stream; `D` what drains;
            `N` nothing, as nothing was put there; `-` where there is no pool.
        tests: parts of the node ids of tests that hold it without naming it.
        is_neighbour: it was not in the list that the project began with.
        missing: why it is not held; "" where it is.
    """

    id: str
    section: str
    peer: str
    client: str
    pool: str
    tests: tuple[str, ...] = ()
    is_neighbour: bool = False
    missing: str = ""


class Place(NamedTuple):
    """Where a row was held.

    Args:
        world: or the runtime of JavaScript; "" where there is no I/O.
        way: how the peer is reached.
        engine: of HTTP/1.1; "" where the test does not choose it.
    """

    world: str
    way: str
    engine: str


def _read() -> Iterator[tuple[str, str] | Fault]:
    section = ""
    for line in _FILE.read_text().splitlines():
        if line.startswith("= "):
            section, _, title = line[2:].partition(". ")
            yield section, title
        elif line and not line.startswith("#"):
            id, peer, client, pool, *rest = (part.strip() for part in line.split(" | "))
            mark = id[0] if id[0] in "+!" else ""
            (last,) = rest or [""]
            tests = tuple(part.strip() for part in last.split(",")) if last and mark != "!" else ()
            missing = last if mark == "!" else ""
            yield Fault(id.removeprefix(mark), section, peer, client, pool, tests, mark == "+", missing)


_ROWS = list(_read())
SECTIONS: Mapping[str, str] = dict(row for row in _ROWS if isinstance(row, tuple))
"""Titles by letter."""
FAULTS: Mapping[str, Fault] = {row.id: row for row in _ROWS if isinstance(row, Fault)}
"""By id, in order."""

# What may begin with an id; one may begin within another.
_NAMES = re.compile(r"(?<![a-z0-9])(?=([a-n]_[a-z0-9_]+))")
_OTHERWISE = [(fault.id, tuple(part.split("+"))) for fault in FAULTS.values() for part in fault.tests]


@cache
def _named_in(text: str) -> frozenset[str]:
    return frozenset(id for name in _NAMES.findall(text) if (id := _longest(name)))


def _longest(name: str) -> str:
    """The longest id that a name begins with; "" where there is none."""
    while name and name not in FAULTS:
        name = name.rpartition("_")[0]
    return name


def held_by(item: pytest.Function) -> Iterable[str]:
    """The rows that a test holds."""
    named = _named_in(item.name) | _named_in(item.function.__doc__ or "")
    return sorted(named | {id for id, parts in _OTHERWISE if all(part in item.nodeid for part in parts)})


_WAYS_OF_MODULES = {"test_tls_": "TLS", "test_prox": "a proxy", "test_socks": "a proxy", "test_real_prox": "a proxy"}


def places(item: pytest.Function) -> Place:
    """Where a test runs, as far as it can be known before it does."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    world, _, way = str(params.get("world", "")).partition(":")
    if "behaviour" in params:
        world = str(params["name"])
    return Place(world, way or _way_of(item, params), str(params.get("engine", "")))


def _way_of(item: pytest.Function, params: Mapping[str, object]) -> str:
    module = item.path.name
    for prefix, way in _WAYS_OF_MODULES.items():
        if module.startswith(prefix):
            return way
    if "world" not in params:
        return ""
    return "TLS" if params.get("is_secure", "ca" in item.fixturenames) else "clear"
