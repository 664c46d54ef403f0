"""What a pool tells of itself: frozen values, made from the pool state when somebody asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from ._pool_state import Connection, PoolState, Record

__all__ = ["ConnectionStats", "OriginStats", "PoolStats"]

C = TypeVar("C", bound=Connection)


@dataclass(frozen=True, slots=True)
class ConnectionStats:
    """One connection.

    Args:
        origin: `scheme://host:port`.
        state: "opening", "active" or "idle".
        requests: how many it was given.
        reserved: how many it carries now.
    """

    origin: str
    state: str
    requests: int
    reserved: int


@dataclass(frozen=True, slots=True)
class OriginStats:
    """What is there now, and what was done so far, for one origin.

    Args:
        active, idle, opening: connections now.
        waiting: requests that wait for a connection now.
        opened: connections opened so far.
        reused: requests that were given a connection that had served others before.
        retried: requests that were sent again, because their connection had ended before they reached the peer.
        closed: connections that left the pool so far, by reason.
    """

    active: int
    idle: int
    opening: int
    waiting: int
    opened: int
    reused: int
    retried: int
    closed: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PoolStats(OriginStats):
    """The same for all origins together, and for each in `origins`, by `scheme://host:port`."""

    origins: Mapping[str, OriginStats]


def describe_connections(state: PoolState[C]) -> list[ConnectionStats]:
    return [
        ConnectionStats(str(entry.record.route.origin), entry.life.value, entry.requests, entry.reserved)
        for entry in state.entries()
    ]


def describe_origins(state: PoolState[C]) -> PoolStats:
    by_origin: dict[str, list[Record[C]]] = {}
    for record in state.records():
        by_origin.setdefault(str(record.route.origin), []).append(record)
    origins = {origin: OriginStats(*_sums(records)) for origin, records in by_origin.items()}
    return PoolStats(*_sums(state.records()), origins)


def _sums(records: list[Record[C]]) -> tuple[int, int, int, int, int, int, int, Mapping[str, int]]:
    closed: Counter[str] = Counter()
    for record in records:
        for reason, count in record.closed.items():
            closed[reason.value] += count
    return (
        sum(record.active for record in records),
        sum(len(record.idle) for record in records),
        sum(record.opening for record in records),
        sum(record.waiting for record in records),
        sum(record.opened for record in records),
        sum(record.reused for record in records),
        sum(record.retried for record in records),
        dict(closed),
    )
