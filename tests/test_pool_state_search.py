"""The pool proved for small bounds: every state that can be reached is visited, and everything that holds is checked in
each. Where `test_pool_state_machine` looks far at random, this looks at all there is nearby."""

from __future__ import annotations

import pytest

from httpcore._pool_state import PoolState
from tests.support.pool_driver import route
from tests.support.pool_search import SEARCHES, Bounds, Search, search

_SMALL = Bounds((route("a", may_share=True),), 3, 2)


@pytest.mark.time_limit(600)
@pytest.mark.parametrize("planned", [planned for planned in SEARCHES if not planned.is_long], ids=str)
def test_every_state_that_can_be_reached_keeps_the_rules(planned: Search, capsys: pytest.CaptureFixture[str]) -> None:
    states, steps = search(planned.bounds)

    with capsys.disabled():
        print(f"\n{planned.title}: {states:,} states, {steps:,} steps")
    assert (states, steps) == (planned.states, planned.steps), "the pool has changed: write the new count into SEARCHES"


def _nothing(*args: object) -> None:
    return None


def _always(*args: object) -> bool:
    return True


@pytest.mark.parametrize("method", ["_want_dial", "_note_hunger", "_detach", "_offer", "_has_slot"])
def test_the_search_finds_a_pool_that_is_wrong(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PoolState, method, _always if method == "_has_slot" else _nothing)
    with pytest.raises((AssertionError, KeyError)):
        search(_SMALL)
