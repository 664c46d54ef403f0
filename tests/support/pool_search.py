"""Every state of the pool that can be reached, for small bounds, and what holds in each.

`python -m tests.support.pool_search` makes all searches and prints what they came to, the long ones too;
`python -m tests.support.pool_search "3 connections"` those with that in their line. `SEARCHES` has what they came to.

States are counted as shapes (`pool_shape`): which request, connection or origin is which makes no other state.
Two things happen at once, since nothing that comes before them makes a difference: a dial that was given up ends, and
a request lets go of a connection that has gone.
"""

from __future__ import annotations

import marshal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

from httpcore._config import Limits
from httpcore._pool_state import Life
from httpcore._route import Route
from tests.support.pool_driver import route
from tests.support.pool_model import PoolModel
from tests.support.pool_shape import Shape, model_of, shape_of

__all__ = ["SEARCHES", "Bounds", "Search", "search"]

_LENT = (route("a"), route("b"))
_SHARED = (route("d", may_share=True), route("e", may_share=True))

Action = tuple[str, int, int | bool | None]
"""What happens, the place of what it happens to, and how."""


@dataclass(frozen=True)
class Bounds:
    """What is searched.

    Args:
        routes: those that are lent, and those that may be shared: the first dial tells.
        requests: alive at once: waiting, served or running.
        connections: opening, active or idle at once, in all.
        may_need_fresh: whether requests may ask for a fresh connection.
        dials_inline: as in `PoolState`.
    """

    routes: tuple[Route, ...]
    requests: int
    connections: int
    may_need_fresh: bool = False
    dials_inline: bool = False

    def model(self, shape: Shape | None = None) -> PoolModel:
        limits = _limits(self.connections)
        if shape is None:
            return PoolModel(limits, self.dials_inline)
        return model_of(shape, self.routes, limits, self.dials_inline)


@cache
def _limits(connections: int) -> Limits:
    return Limits(max_connections=connections)


@dataclass(frozen=True)
class Search:
    """A search, and what it came to: one that finds another number has another pool before it.

    Args:
        name: for people.
        bounds: of it.
        states, steps: how many shapes there are, and how many ways from one to the next.
        is_long: whether it takes too long for each run of the tests.
    """

    name: str
    bounds: Bounds
    states: int
    steps: int
    is_long: bool = False

    @property
    def title(self) -> str:
        bounds = self.bounds
        counts = (bounds.requests, "request"), (bounds.connections, "connection"), (len(bounds.routes), "origin")
        return f"{self.name}: " + ", ".join(f"{count} {what}{'s' * (count != 1)}" for count, what in counts)

    def __str__(self) -> str:
        return f"{self.title}: {self.states:,} states, {self.steps:,} steps"


SEARCHES = (
    Search("lent", Bounds(_LENT, 3, 3), 2_247, 19_741),
    Search("lent, in blocking code", Bounds(_LENT, 3, 3, dials_inline=True), 568, 4_716),
    Search("lent, fresh ones wanted", Bounds(_LENT, 2, 2, may_need_fresh=True), 332, 2_186),
    Search("shared", Bounds(_SHARED, 3, 1), 1_055, 7_944),
    Search("shared", Bounds(_SHARED, 2, 2), 5_193, 49_990),
    Search("shared", Bounds(_SHARED, 3, 2), 16_959, 189_950),
    Search("shared", Bounds(_SHARED[:1], 3, 3), 15_650, 217_263),
    Search("lent and shared", Bounds((_LENT[0], _SHARED[0]), 3, 2), 13_048, 141_654, is_long=True),
    # Twelve minutes of a core, on 2026-11-21.
    Search("shared", Bounds(_SHARED, 3, 3), 184_669, 2_729_862, is_long=True),
)


def search(bounds: Bounds) -> tuple[int, int]:
    """How many states there are, and how many steps from one to the next.

    Raises: AssertionError where something does not hold, with the state and the step.
    """
    first = shape_of(bounds.model(), bounds.routes)
    # Shapes are stored as bytes, and known by a digest of those: there may be millions.
    level, seen, steps = [_stored(first)], {_digest(_stored(first))}, 0
    while level:
        following: list[bytes] = []
        for stored in level:
            shape: Shape = marshal.loads(stored)
            for reached in _steps(shape, bounds):
                steps += 1
                stored = _stored(reached)
                if (digest := _digest(stored)) not in seen:
                    seen.add(digest)
                    following.append(stored)
        level = following
    return len(seen), steps


def _stored(shape: Shape) -> bytes:
    return marshal.dumps(shape, 2)  # which is the same for equal values, other than later formats


def _digest(stored: bytes) -> bytes:
    return blake2b(stored, digest_size=16).digest()


def _steps(shape: Shape, bounds: Bounds) -> Iterator[Shape]:
    """Where everything that may happen next leads, with all that holds checked on the way."""
    action: Action | None = None
    try:
        model = bounds.model(shape)
        assert shape_of(model, bounds.routes) == shape, "a shape does not hold all there is to a state"
        for action in list(_actions(model, bounds)):
            model = bounds.model(shape)
            _perform(model, action, bounds)
            _settle(model)
            yield shape_of(model, bounds.routes)
        action = None
        _close(bounds.model(shape))
    except Exception as exc:
        exc.add_note(f"{action} in the state {shape}")
        raise


def _actions(model: PoolModel, bounds: Bounds) -> Iterator[Action]:
    """Everything that may happen next. What it happens to is named by its place, since each is done on a copy."""
    if len(model.queued) + len(model.served) + len(model.running) < bounds.requests:
        for place in range(len(bounds.routes)):
            yield "want", place, False
            if bounds.may_need_fresh:
                yield "want", place, True
    yield from (("cancel", place, None) for place in range(len(model.queued) + len(model.served)))
    yield from (("use", place, None) for place in range(len(model.served)))
    yield from (("begin", place, None) for place in range(len(model.undialed())))
    for place, dial in enumerate(model.dials):
        yield "fail", place, None
        yield from (("open", place, capacity) for capacity in ((None, 2) if dial.record.route.may_share else (None,)))
    yield from (("release", place, is_reusable) for place in range(len(model.running)) for is_reusable in (True, False))
    yield from (("closed", place, None) for place in range(len(model.open_entries())))
    for place, entry in enumerate(model.shared_entries()):
        yield "retire", place, None
        yield "broken", place, None
        yield "resized", place, 1 if entry.capacity > 1 else 2
    if any(entry.life is Life.IDLE for entry in model.open_entries()):
        yield "close idle", 0, None


def _perform(model: PoolModel, action: Action, bounds: Bounds) -> None:
    state = model.driver.state
    match action:
        case "want", place, bool(needs_fresh):
            model.want(bounds.routes[place], needs_fresh)
        case "cancel", place, _:
            model.cancel((model.queued + model.served)[place])
        case "use", place, _:
            model.use(model.served[place])
        case "begin", place, _:
            model.begin(model.undialed()[place])
        case "fail", place, _:
            model.fail(model.dials[place])
        case "open", place, capacity:
            model.open(model.dials[place], capacity)
        case "release", place, is_reusable:
            model.release(model.running[place], bool(is_reusable))
        case "closed", place, _:
            state.closed(model.open_entries()[place])
        case "retire", place, _:
            state.retire(model.shared_entries()[place])
        case "broken", place, _:
            state.broken(model.shared_entries()[place])
        case "resized", place, int(capacity):
            state.resized(model.shared_entries()[place], capacity)
        case _:
            state.close_idle()


def _settle(model: PoolModel) -> None:
    """Check what holds, and let happen what makes no difference."""
    model.driver.close_doomed()
    model.look()
    for dial in [dial for dial in model.dials if dial.life is Life.CLOSED]:
        model.open(dial, None)  # it ends too late, and must change nothing
        model.look()
    for request in [request for request in model.running if request.entry and request.entry.life is Life.CLOSED]:
        model.release(request)
        model.look()
    model.forget()


def _close(model: PoolModel) -> None:
    """From wherever it is, closing leaves nobody waiting and nothing open."""
    model.driver.state.close()
    model.driver.close_doomed()
    model.look()
    assert not model.queued
    assert not model.driver.state.entries()


if __name__ == "__main__":
    for planned in SEARCHES:
        if len(sys.argv) == 1 or sys.argv[1] in str(planned):
            print(planned, flush=True)
            print("found:", *search(planned.bounds), flush=True)
