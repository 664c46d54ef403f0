"""Cancel anything, anywhere (P02, P20; FAULTS I1 to I5, I7; m_cancel_shield, m_close_race, m_trace_exc).

What the sweeps of requests leave out (`test_sweeps.py`): closing the pool, cancelling twice, cancelling at random, and
Ctrl-C between any two instructions, and wherever code of the caller's runs.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

import httpcore
from tests.support.interrupts import interrupting
from tests.support.peer import Conn, ScriptedPeer
from tests.support.scenes import LARGE, SCENES, Place, http11, serve_http11
from tests.support.steps import CERTAIN, Cancel, sweep
from tests.support.stories import HTTP2_BESIDE_A_SIBLING, HTTP11, Stage
from tests.support.tls import CertificateAuthority
from tests.support.worlds import World, can_cancel_worlds, only_worlds


@pytest.fixture
def place(ca: CertificateAuthority) -> Iterator[Place]:
    with http11(ca) as place:
        yield place


@can_cancel_worlds
async def test_p02_closing_the_pool_can_be_cancelled_at_every_step(world: World, place: Place) -> None:
    one, other = place.origins

    async def once(cancel: Cancel) -> None:
        http = world.pool()
        await http.request("GET", one)
        held = await http.request("GET", other + "/large", stream=True)
        await cancel.run(http.aclose)
        with pytest.raises(httpcore.PoolClosed):
            await http.request("GET", one)
        with pytest.raises(httpcore.ReadError):
            await held.read()
        await world.until(lambda: not place.open_connections)
        assert http.connections == []

    await sweep(world, once)


@can_cancel_worlds
async def test_p02_draining_can_be_cancelled_at_every_step(world: World, place: Place) -> None:
    async def once(cancel: Cancel) -> None:
        http = world.pool()
        held = await http.request("GET", place.origin + "/large", stream=True)

        async def finish() -> None:
            await world.until(lambda: "closed" in repr(http) or cancel.is_reached)
            assert len(await held.read()) == LARGE

        async with world.tasks() as tasks:
            task = tasks.start(finish)
            await cancel.run(http.drain)
        task.result()
        # Cancelled or not, what ran came to its end, and a second drain has nothing to wait for.
        assert await http.drain(5)
        with pytest.raises(httpcore.PoolClosed):
            await http.request("GET", place.origin)
        await world.until(lambda: not place.open_connections)

    assert await sweep(world, once) >= CERTAIN


@can_cancel_worlds
async def test_p02_cancelling_twice_does_not_stop_the_cleaning_up(world: World) -> None:
    """m_cancel_shield: the second time while the caller's own body is being closed, which takes its time."""

    def script(conn: Conn) -> None:
        if conn.index:
            serve_http11(conn)
        else:
            conn.read_head()
            gate.wait()

    with ScriptedPeer(script, expect_disconnect=True) as peer:
        gate = peer.gate()
        async with Place([peer], [peer.origin], [peer.authority]).as_good_as_new(world) as http:
            is_closing = world.event()

            async def body() -> AsyncIterator[bytes]:
                try:
                    while True:
                        yield b"x" * 1_000_000
                finally:
                    is_closing.set()
                    await world.sleep(3600)

            async def cancel_twice() -> bool:
                async with world.tasks() as tasks:
                    task = tasks.start(lambda: http.request("POST", peer.url, body=body()))
                    await world.until(lambda: peer.requests)
                    task.cancel()
                    await is_closing.wait()
                    task.cancel()
                return task.is_cancelled

            assert await cancel_twice()
            gate.open()
    gc.collect()  # the generator, which the traceback of its end refers to


STORMS = {"HTTP/1.1 in clear": 10, "HTTP/1.1 over TLS": 10, "HTTP/2 in clear": 1, "HTTP/2 over TLS": 1}


@only_worlds("asyncio", "trio")
@pytest.mark.parametrize(("scene", "slots"), STORMS.items(), ids=str)
async def test_p02_a_storm_of_cancels_leaves_a_pool_that_works(
    world: World, scene: str, slots: int, ca: CertificateAuthority
) -> None:
    """20 tasks, each request cancelled at random or not at all: on ten connections to two origins, or on one that they
    share."""
    random = Random(20)
    stories = HTTP11 if slots > 1 else HTTP2_BESIDE_A_SIBLING
    ends = time.monotonic() + 1.5
    cancelled = finished = 0
    with SCENES[scene].open(ca) as place:
        origins = place.origins[: min(slots, 2)]
        async with place.as_good_as_new(world, slots) as http:

            async def work() -> None:
                nonlocal cancelled, finished
                # On a busy machine few are done in time, so that it takes longer until there are enough of both.
                while time.monotonic() < ends or min(cancelled, finished) <= 20:
                    story, stage = random.choice([*stories.values()]), Stage(world, http, random.choice(origins))
                    try:
                        async with world.timeout(random.expovariate(random.choice([0.1, 5, 50, 500]))):
                            await story.act(stage)
                        finished += 1
                    except TimeoutError:
                        cancelled += 1

            await world.gather_ok(*[work] * 20)
            await world.until(lambda: not http.stats().opening)
        # Cancelling costs streams, never the connection.
        assert slots > 1 or place.peers[0].accepted == 1
    assert cancelled > 20
    assert finished > 20


@dataclass
class Interrupting:
    """Raises KeyboardInterrupt when it is called for the n-th time, as Ctrl-C does in the middle of a callback."""

    left: int

    def __call__(self, *args: object) -> None:
        self.left -= 1
        if self.left == -1:
            raise KeyboardInterrupt

    def disarm(self) -> None:
        self.left = -1


async def call_everything_back(stage: Stage, callback: Callable[..., None]) -> None:
    """Every place at which code of the caller's runs in a request."""

    def body() -> Iterator[bytes]:
        callback()
        yield b"01234"
        callback()
        yield b"56789"
        callback()

    def trailers() -> list[tuple[str, str]]:
        callback()
        return [("x-end", "yes")]

    response = await stage.request(
        "POST",
        "/post",
        headers={"expect": "100-continue"},
        body=body(),
        extensions={"trailers": trailers, "on_informational": callback},
    )
    assert response.body == b"POST /post 0123456789"


@only_worlds("blocking")
async def test_p20_keyboard_interrupt_in_every_callback(world: World, place: Place) -> None:
    interrupted = 0
    url = place.origin.replace("127.0.0.1", "localhost")
    for at in range(100):
        callback = Interrupting(at)

        def resolve(host: str, port: int, callback: Interrupting = callback) -> list[str]:
            callback()
            return ["127.0.0.1"]

        network = httpcore.Network(resolver=resolve)
        async with place.as_good_as_new(world, trace=callback, network=network) as http:
            try:
                await call_everything_back(Stage(world, http, url), callback)
            except KeyboardInterrupt:
                interrupted += 1
            else:
                callback.disarm()
                break
    # Three parts of the body, trailers, 100, the resolver, and the seven events of the trace.
    assert interrupted == at == 13


async def test_m_trace_exc_a_callback_that_raises_leaves_the_pool_as_good_as_new(world: World, place: Place) -> None:
    """What the caller's body or callbacks raise comes out as it is."""

    class Mine(Exception):
        pass

    for at in range(100):
        left = at

        def callback(*args: object) -> None:
            nonlocal left
            left -= 1
            if left == -1:
                raise Mine

        async with place.as_good_as_new(world) as http:
            try:
                await call_everything_back(Stage(world, http, place.origin), callback)
            except Mine:
                continue
            break
    assert at == 5


@only_worlds("blocking")
# A coroutine that was made and not yet awaited, and a response that was received and not yet returned, say so.
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::ResourceWarning")
@pytest.mark.skipif(sys.gettrace() is not None, reason="somebody else, a debugger say, traces this run")
@pytest.mark.time_limit(300)  # a thousand points
@pytest.mark.parametrize("story", ["a GET on a used connection", "an upload in chunks", "an upgrade"])
async def test_p20_keyboard_interrupt_at_every_point_at_which_python_may_raise_it(
    world: World, story: str, place: Place
) -> None:
    """In the middle of a change of the pool's state, too, and between any two lines that belong together."""
    directory = Path(httpcore.__file__).parent
    for at in range(2000):
        async with place.as_good_as_new(world) as http:
            try:
                with interrupting(at, directory) as interrupt:
                    await HTTP11[story].act(Stage(world, http, place.origin))
            except KeyboardInterrupt:
                is_over = False
            else:
                is_over = interrupt.place is None
            # What was lost where the interrupt came is found when the pool is next used.
            await http.request("GET", place.origins[1] + "/get")
            if is_over:
                break
    assert at > 200
