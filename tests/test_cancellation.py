"""Cancel anything, anywhere (P02; FAULTS I1 to I5, I7; m_cancel_*, m_io_fail, m_close_race, m_trace_exc).

Every story is run once to count its steps, and then again with something going wrong at each of them. Afterwards the
pool must be as good as new: nothing active, nobody waiting, every slot usable, no socket that it does not know of.
"""

from __future__ import annotations

import contextlib
import gc
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

import httpcore
from httpcore.testing import Fault, Faults
from tests.support import stories
from tests.support.interrupts import interrupting
from tests.support.peer import Conn, ScriptedPeer
from tests.support.steps import CERTAIN, Cancel, sweep
from tests.support.stories import STORIES as COMMON_STORIES
from tests.support.stories import Act, Stage, failure, get
from tests.support.tls import CertificateAuthority
from tests.support.worlds import World, can_cancel_worlds, only_worlds

# More than is read at once, so that a response with it holds its connection until it is read or closed.
LARGE = 1_000_000


def serve(conn: Conn) -> None:
    """Everything that the stories ask for."""
    try:
        serve_requests(conn)
    except ssl.SSLError as exc:
        # The client may say by an alert that it saw an end where none may be.
        if "ALERT" not in exc.reason:
            raise


def serve_requests(conn: Conn) -> None:
    while True:
        head = conn.read_head()
        if head.header(b"expect") is not None:
            conn.respond(100)
        request = conn.read_body(head)
        if request.header(b"upgrade") is not None:
            conn.respond(101, headers=[(b"upgrade", b"echo"), (b"connection", b"upgrade")])
            conn.send(conn.recv_exactly(5))
            conn.wait_closed()
            return
        if request.target == b"/large":
            conn.respond(body=b"x" * LARGE)
        elif request.target == b"/parts":
            conn.respond_chunked([b"one", b"two", b"three"], trailers=[(b"x-end", b"yes")])
        else:
            conn.respond(body=request.method + b" " + request.target + b" " + request.body[:10])


async def post_chunks(stage: Stage) -> None:
    response = await stage.http.request("POST", stage.url + "/post", body=iter([b"01234", b"56789"]))
    assert response.body == b"POST /post 0123456789"


async def close_unread(stage: Stage) -> None:
    """Closed early, with little left, which is read."""
    response = await stage.http.request("GET", stage.url + "/parts", stream=True)
    try:
        assert response.status_code == 200
    finally:
        await response.aclose()


async def upgrade(stage: Stage) -> None:
    headers = {"upgrade": "echo", "connection": "upgrade"}
    async with await stage.http.request("GET", stage.url + "/", headers) as response:
        stream = response.extensions["network_stream"]
        assert isinstance(stream, httpcore.NetworkStream)
        await stream.write(b"hello")
        assert await stream.read() in (b"hello", b"")  # the end, where that is the fault


STORIES: dict[str, Act] = {
    **COMMON_STORIES,
    "an upload in chunks": post_chunks,
    "a response that is closed unread": close_unread,
    "an upgrade": upgrade,
}


@pytest.fixture(params=["in clear", "over TLS"])
def tls(request: pytest.FixtureRequest, ca: CertificateAuthority) -> ssl.SSLContext | None:
    return ca.server_context() if request.param == "over TLS" else None


def as_good_as_new(
    world: World, ca: CertificateAuthority, peers: list[ScriptedPeer], limit: int = 1, **options: Any
) -> AbstractAsyncContextManager[httpcore.ConnectionPool]:
    limits = httpcore.Limits(max_connections=limit)
    how: dict[str, Any] = {"backend": world.backend, "ssl": ca.client_context(), "limits": limits, **options}
    return stories.as_good_as_new(world, httpcore.ConnectionPool(**how), peers, "/large", at_once=limit, limit=limit)


@contextlib.contextmanager
def two_peers(tls: ssl.SSLContext | None) -> Iterator[list[ScriptedPeer]]:
    """The one of the story, and that of another origin."""
    with (
        ScriptedPeer(serve, tls=tls, expect_disconnect=True) as peer,
        ScriptedPeer(serve, expect_disconnect=True) as other,
    ):
        yield [peer, other]


@can_cancel_worlds
@pytest.mark.parametrize("story", STORIES)
async def test_p02_a_request_can_be_cancelled_at_every_step_of(
    world: World, story: str, ca: CertificateAuthority, tls: ssl.SSLContext | None
) -> None:
    cancelled = 0
    with two_peers(tls) as peers:

        async def once(cancel: Cancel) -> None:
            nonlocal cancelled
            async with as_good_as_new(world, ca, peers) as http:
                cancelled += await cancel.run(lambda: STORIES[story](Stage(world, http, peers[0].origin)))

        await sweep(world, once)
    assert cancelled, "the wait for the dial is certain; answers may be there when they are waited for"


@can_cancel_worlds
async def test_p02_waiting_in_the_queue_can_be_cancelled_at_every_step(world: World, ca: CertificateAuthority) -> None:
    """m_cancel_queue: also when the waiter has just been given a connection and has not resumed."""
    with two_peers(None) as peers:

        async def once(cancel: Cancel) -> None:
            async with as_good_as_new(world, ca, peers) as http, world.tasks() as tasks:
                stage = Stage(world, http, peers[0].origin)
                held = await http.request("GET", stage.url + "/large", stream=True)

                async def give_back() -> None:
                    await world.until(lambda: http.stats().waiting == 2 or cancel.is_reached)
                    await held.read()

                async def other_waiter() -> None:
                    await world.until(lambda: http.stats().waiting or cancel.is_reached)
                    await get(stage)

                # Whoever is not cancelled is served, whatever happens to the other.
                waiter, returned = tasks.start(other_waiter), tasks.start(give_back)
                await cancel.run(lambda: get(stage))
                await returned.outcome()
                await waiter.outcome()

        assert await sweep(world, once) >= CERTAIN


@can_cancel_worlds
async def test_p02_a_race_between_a_dial_and_a_freed_connection_can_be_cancelled_at_every_step(
    world: World, ca: CertificateAuthority
) -> None:
    """P10's race: the request dials, and takes the connection that is given back while its TLS handshake goes on."""
    with two_peers(ca.server_context()) as peers:

        async def once(cancel: Cancel) -> None:
            async with as_good_as_new(world, ca, peers, limit=2) as http, world.tasks() as tasks:
                stage = Stage(world, http, peers[0].origin)
                held = await http.request("GET", stage.url + "/large", stream=True)

                async def give_back() -> None:
                    await world.until(lambda: http.stats().opening or http.stats().opened == 2 or cancel.is_reached)
                    await held.read()

                tasks.start(give_back)
                await cancel.run(lambda: get(stage))
                # A dial that nobody needs is banked; it is no leftover, but the sockets are counted when it has ended.
                await world.until(lambda: not http.stats().opening)

        assert await sweep(world, once) >= CERTAIN


@can_cancel_worlds
async def test_p02_closing_the_pool_can_be_cancelled_at_every_step(world: World, ca: CertificateAuthority) -> None:
    with two_peers(None) as peers:

        async def once(cancel: Cancel) -> None:
            http = world.pool()
            await http.request("GET", peers[0].origin)
            held = await http.request("GET", peers[1].origin + "/large", stream=True)
            await cancel.run(http.aclose)
            with pytest.raises(httpcore.PoolClosed):
                await http.request("GET", peers[0].origin)
            with pytest.raises(httpcore.ReadError):
                await held.read()
            await world.until(lambda: not any(peer.open_connections for peer in peers))
            assert http.connections == []

        await sweep(world, once)


@can_cancel_worlds
async def test_p02_draining_can_be_cancelled_at_every_step(world: World, ca: CertificateAuthority) -> None:
    with two_peers(None) as peers:

        async def once(cancel: Cancel) -> None:
            http = world.pool()
            held = await http.request("GET", peers[0].origin + "/large", stream=True)

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
                await http.request("GET", peers[0].origin)
            await world.until(lambda: not any(peer.open_connections for peer in peers))

        assert await sweep(world, once) >= CERTAIN


@can_cancel_worlds
async def test_p02_cancelling_twice_does_not_stop_the_cleaning_up(world: World, ca: CertificateAuthority) -> None:
    """m_cancel_shield: the second time while the caller's own body is being closed, which takes its time."""

    def script(conn: Conn) -> None:
        if conn.index:
            serve(conn)
        else:
            conn.read_head()
            gate.wait()

    with ScriptedPeer(script, expect_disconnect=True) as peer:
        gate = peer.gate()
        async with as_good_as_new(world, ca, [peer]) as http:
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


@only_worlds("asyncio", "trio")
async def test_p02_a_storm_of_cancels_leaves_a_pool_that_works(
    world: World, ca: CertificateAuthority, tls: ssl.SSLContext | None
) -> None:
    """20 tasks on 10 slots, each request cancelled at random or not at all."""
    random = Random(20)
    stories = list(STORIES.values())
    ends = time.monotonic() + 1.5
    cancelled = finished = 0
    with two_peers(tls) as peers:
        async with as_good_as_new(world, ca, peers, limit=10) as http:

            async def work() -> None:
                nonlocal cancelled, finished
                # On a busy machine few are done in time, so that it takes longer until there are enough of both.
                while time.monotonic() < ends or min(cancelled, finished) <= 100:
                    act, stage = random.choice(stories), Stage(world, http, random.choice(peers).origin)
                    try:
                        async with world.timeout(random.expovariate(random.choice([5, 50]))):
                            await act(stage)
                        finished += 1
                    except TimeoutError:
                        cancelled += 1

            await world.gather_ok(*[work] * 20)
            await world.until(lambda: not http.stats().opening)
    assert cancelled > 100
    assert finished > 100


FAULTS = [Fault.ERROR, Fault.TIMEOUT, Fault.END]


@only_worlds("asyncio", "trio", "blocking")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.value)
@pytest.mark.parametrize("story", STORIES)
async def test_p02_a_request_may_fail_at_every_step_of(
    world: World, story: str, fault: Fault, ca: CertificateAuthority, tls: ssl.SSLContext | None
) -> None:
    """m_io_fail: connect, write, read, over TLS too, each fails in turn: by a reset, a timeout, an early end."""
    failed = 0
    with two_peers(tls) as peers:
        for at in range(100):
            faults = Faults(at, fault)
            backend = faults.over(world.backend)
            async with as_good_as_new(world, ca, peers, backend=backend) as http:
                error = await failure(STORIES[story](Stage(world, http, peers[0].origin)))
                faults.stop()
                if error is not None:
                    # What went wrong is said, and where (P60).
                    assert peers[0].authority in str(error)
                    failed += 1
                if not faults.has_failed:
                    break
            assert not faults.open_streams
        else:
            raise AssertionError("the story has no end")
    assert failed


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


@only_worlds("blocking")
@pytest.mark.parametrize("story", STORIES)
async def test_p20_keyboard_interrupt_at_every_step_of_io(
    world: World, story: str, ca: CertificateAuthority, tls: ssl.SSLContext | None
) -> None:
    interrupted = 0
    with two_peers(tls) as peers:
        for at in range(100):
            faults = Faults(at, KeyboardInterrupt())
            async with as_good_as_new(world, ca, peers, backend=faults.over("blocking")) as http:
                try:
                    await STORIES[story](Stage(world, http, peers[0].origin))
                except KeyboardInterrupt:
                    interrupted += 1
                faults.stop()
                if not faults.has_failed:
                    break
            assert not faults.open_streams
    assert interrupted == at >= 3  # connect, send, receive


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

    response = await stage.http.request(
        "POST",
        stage.url + "/post",
        {"expect": "100-continue"},
        body(),
        extensions={"trailers": trailers, "on_informational": callback},
    )
    assert response.body == b"POST /post 0123456789"


@only_worlds("blocking")
async def test_p20_keyboard_interrupt_in_every_callback(world: World, ca: CertificateAuthority) -> None:
    interrupted = 0
    with two_peers(None) as peers:
        url = peers[0].origin.replace("127.0.0.1", "localhost")
        for at in range(100):
            callback = Interrupting(at)

            def resolve(host: str, port: int, callback: Interrupting = callback) -> list[str]:
                callback()
                return ["127.0.0.1"]

            network = httpcore.Network(resolver=resolve)
            async with as_good_as_new(world, ca, peers, trace=callback, network=network) as http:
                try:
                    await call_everything_back(Stage(world, http, url), callback)
                except KeyboardInterrupt:
                    interrupted += 1
                else:
                    callback.disarm()
                    break
    # Three parts of the body, trailers, 100, the resolver, and the seven events of the trace.
    assert interrupted == at == 13


async def test_m_trace_exc_a_callback_that_raises_leaves_the_pool_as_good_as_new(
    world: World, ca: CertificateAuthority
) -> None:
    """What the caller's body or callbacks raise comes out as it is."""

    class Mine(Exception):
        pass

    with two_peers(None) as peers:
        for at in range(100):
            left = at

            def callback(*args: object) -> None:
                nonlocal left
                left -= 1
                if left == -1:
                    raise Mine

            async with as_good_as_new(world, ca, peers) as http:
                try:
                    await call_everything_back(Stage(world, http, peers[0].origin), callback)
                except Mine:
                    continue
                break
    assert at == 5


@only_worlds("blocking")
# A coroutine that was made and not yet awaited, and a response that was received and not yet returned, say so.
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::ResourceWarning")
@pytest.mark.skipif(sys.gettrace() is not None, reason="somebody else, a debugger say, traces this run")
@pytest.mark.parametrize("story", ["a GET on a used connection", "an upload in chunks", "an upgrade"])
async def test_p20_keyboard_interrupt_at_every_point_at_which_python_may_raise_it(
    world: World, story: str, ca: CertificateAuthority
) -> None:
    """In the middle of a change of the pool's state, too, and between any two lines that belong together."""
    directory = Path(httpcore.__file__).parent
    with two_peers(None) as peers:
        for at in range(2000):
            async with as_good_as_new(world, ca, peers) as http:
                try:
                    with interrupting(at, directory) as interrupt:
                        await STORIES[story](Stage(world, http, peers[0].origin))
                except KeyboardInterrupt:
                    is_over = False
                else:
                    is_over = interrupt.place is None
                # What was lost where the interrupt came is found when the pool is next used.
                await http.request("GET", peers[1].origin + "/get")
                if is_over:
                    break
    assert at > 200
