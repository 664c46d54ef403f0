"""The hostile mix of `scripts/soak`, for seconds instead of minutes, and that its account would notice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from httpcore._pool_state import PoolState
from tests.support import soak
from tests.support.soak import Servers, servers, soaked
from tests.support.worlds import World, only_worlds


@pytest.fixture(scope="module")
def around() -> Iterator[Servers]:
    with servers() as found:
        yield found


@only_worlds("asyncio", "trio", "blocking")
@pytest.mark.time_limit(150)
def test_after_a_hostile_mix_all_is_accounted_for(world: World, around: Servers) -> None:
    account = soaked(world, around, tasks=40, seconds=2.5)
    assert not account.problems, str(account)
    assert account.count() >= 40, str(account)


@only_worlds("asyncio")
def test_the_account_notices_what_does_not_add_up(
    world: World, around: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(self: Any, entry: Any, *args: Any) -> bool:
        entry.record.opened += 1
        return bool(original(self, entry, *args))

    def linger(found: bytes, expected: bytes) -> None:
        threading.Thread(target=over.wait, name="one that lingers").start()

    original, over = PoolState.opened, threading.Event()
    monkeypatch.setattr(PoolState, "opened", opened)
    monkeypatch.setattr(soak, "_check", linger)
    monkeypatch.setattr("tests.support.leaks._SETTLING_TIME", 0.1)
    try:
        problems = soaked(world, around, tasks=5, seconds=1).problems
    finally:
        over.set()
    assert any("connections were opened, and" in problem for problem in problems), problems
    assert any("one that lingers" in problem for problem in problems), problems


@only_worlds("asyncio")
def test_the_account_notices_the_answer_to_another_request(
    world: World, around: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def mixed_up(client: soak._Client, marker: str, timeout: object) -> None:
        await original(client, "another", timeout)  # type: ignore[arg-type]
        soak._check(b"another", marker.encode())

    original = soak._STORIES["ok"]
    monkeypatch.setitem(soak._STORIES, "ok", mixed_up)
    problems = soaked(world, around, tasks=40, seconds=1).problems
    assert any("found b'another'" in problem for problem in problems), problems
