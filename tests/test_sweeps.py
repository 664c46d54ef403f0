"""Every story, at every step, in every way (P02, P20; FAULTS I1 to I7; m_cancel_*, m_io_fail).

Every story is run once for each of its steps, with something going wrong there: it is cancelled, the connection breaks,
time runs out, the peer ends its side, or somebody presses Ctrl-C. Afterwards the pool must be as good as new: nothing
active, nobody waiting, every slot usable, no socket that it does not know of.
"""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import httpcore
from httpcore.testing import Fault, Faults
from tests.support.scenes import SCENES, Place
from tests.support.steps import Cancel, sweep
from tests.support.stories import Stage, Story, failure
from tests.support.swept import COLUMNS, KINDS
from tests.support.tls import CertificateAuthority
from tests.support.worlds import World, only_worlds

Tell = Callable[[str, int], None]

PAIRS = [(scene, story) for scene in SCENES for story in SCENES[scene].stories]
# For what waits for an answer to what never left.
PATIENCE = httpcore.Timeout(20, read=0.2)


BREAKING = [(scene, story) for scene, story in PAIRS if SCENES[scene].breaks]

# There are up to forty steps, and a machine that is busy with other things takes its time for each.
pytestmark = pytest.mark.time_limit(200)
all_stories = pytest.mark.parametrize("pair", PAIRS, ids=": ".join)
breaking_stories = pytest.mark.parametrize("pair", BREAKING, ids=": ".join)


@pytest.fixture
def place(pair: tuple[str, str], ca: CertificateAuthority) -> Iterator[Place]:
    with SCENES[pair[0]].open(ca) as place:
        yield place


@pytest.fixture
def story(pair: tuple[str, str]) -> Story:
    scene, story = pair
    return SCENES[scene].stories[story]


@pytest.fixture
def tell(pair: tuple[str, str], swept: Callable[[str, str, str, int], None]) -> Tell:
    return lambda kind, points: swept(*pair, kind, points)


@only_worlds(*KINDS["cancel"])
@all_stories
async def test_p02_a_request_can_be_cancelled_at_every_step(
    world: World, place: Place, story: Story, tell: Tell
) -> None:
    cancelled = 0

    async def once(cancel: Cancel) -> None:
        nonlocal cancelled
        async with place.as_good_as_new(world, story.limit) as http:
            stage = Stage(world, http, place.origin)
            async with story.around(stage, lambda: cancel.is_reached):
                cancelled += await cancel.run(lambda: story.act(stage))

    points = await sweep(world, once)
    tell("cancel", points)
    assert points >= story.certain
    assert cancelled or not story.certain


class FaultsHere(Faults):
    """In this thread alone."""

    def __init__(self, at: int | None, fault: Fault | BaseException) -> None:
        super().__init__(at, fault)
        self._thread = threading.get_ident()

    def _step(self, name: str) -> Fault | None:
        return super()._step(name) if threading.get_ident() == self._thread else None


def has_failed(faults: Faults) -> bool:
    return faults.has_failed


async def end_of(stage: Stage, story: Story, faults: Faults) -> httpcore.HTTPCoreError | None:
    """The error, of ours, that a story ended with, if any."""
    error = None
    is_over = False

    async def whole() -> None:
        nonlocal error, is_over
        async with story.around(stage, lambda: faults.has_failed or is_over):
            error = await failure(story.act(stage))
            is_over = True

    return await failure(whole()) or error


@only_worlds(*KINDS["error"])
@breaking_stories
@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.value)
async def test_p02_a_request_may_fail_at_every_step(
    world: World, place: Place, story: Story, fault: Fault, tell: Tell
) -> None:
    """m_io_fail: connect, write, read, over TLS too, each fails in turn: by a reset, a timeout, an early end."""

    async def once(at: int | None, timeout: httpcore.Timeout) -> tuple[Faults, httpcore.HTTPCoreError | None]:
        faults = Faults(at, fault)
        async with place.as_good_as_new(world, story.limit, backend=faults.over(world.backend)) as http:
            error = await end_of(Stage(world, http, place.origin, timeout), story, faults)
            faults.stop()
        assert not faults.open_streams
        return faults, error

    fine, error = await once(None, httpcore.Timeout(20))
    assert error is None
    failed = 0
    for at in range(len(fine.steps)):
        _, error = await once(at, PATIENCE)
        if error is not None:
            # What went wrong is said, and where (P60).
            assert any(name in str(error) for name in place.names)
            failed += 1
    tell(fault.value, len(fine.steps))
    assert failed, "the first step is to connect"


@only_worlds(*KINDS["interrupt"])
@breaking_stories
async def test_p20_keyboard_interrupt_at_every_step_of_io(world: World, place: Place, story: Story, tell: Tell) -> None:
    interrupted = 0
    for at in range(200):
        faults = FaultsHere(at, KeyboardInterrupt())
        async with place.as_good_as_new(world, story.limit, backend=faults.over("blocking")) as http:
            stage = Stage(world, http, place.origin)
            try:
                async with story.around(stage, partial(has_failed, faults)):
                    await story.act(stage)
            except KeyboardInterrupt:
                interrupted += 1
            faults.stop()
        assert not faults.open_streams
        if not faults.has_failed:
            break
    tell("interrupt", at)
    assert interrupted == at >= 3  # connect, send, receive


def test_the_table_of_the_sweeps_has_all_of_them() -> None:
    """`scripts/test tests/test_sweeps.py --write-sweeps tests/sweeps.csv` makes it anew."""
    with Path(__file__).with_name("sweeps.csv").open() as file:
        columns, *rows = csv.reader(file)
    assert tuple(columns) == COLUMNS
    points = {(scene, story): [int(each) for each in kinds] for scene, story, *kinds in rows}
    assert sorted(points) == sorted(PAIRS)
    assert all(points[pair][0] for pair in PAIRS)
    assert all(all(points[pair]) == SCENES[pair[0]].breaks for pair in PAIRS)
