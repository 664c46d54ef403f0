"""P48 and FAULTS L: names are resolved once for all who ask, in threads of our own, and remembered for a while."""

from __future__ import annotations

import asyncio
import contextvars
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import httpcore
from httpcore import ConnectError, ConnectTimeout, Limits, Network, Timeout
from httpcore._backends import make_backend
from httpcore._streams import Backend
from httpcore.testing import _Delegating
from tests.support.destinations import hello
from tests.support.peer import ScriptedPeer
from tests.support.worlds import World, can_cancel_worlds, only_worlds

FRESH = Limits(max_keepalive_connections=0)
"""Each request makes a connection of its own."""


@pytest.fixture
def peer() -> Iterator[ScriptedPeer]:
    with ScriptedPeer(hello) as peer:
        yield peer


class Held:
    """A resolver that answers when it is told to. Plain: it blocks the thread in which it is called."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._answers = threading.Event()

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        assert self._answers.wait(50)
        return ["127.0.0.1"]

    def answer(self) -> None:
        self._answers.set()


class HeldAsync:
    """The same, async."""

    def __init__(self, world: World) -> None:
        self.asked: list[str] = []
        self._world = world
        self._may_answer = False

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        while not self._may_answer:
            await self._world.sleep(0.005)
        return ["127.0.0.1"]

    def answer(self) -> None:
        self._may_answer = True


@pytest.fixture(params=["plain", "async"])
def held(request: pytest.FixtureRequest, world: World) -> Iterator[Held | HeldAsync]:
    is_async = request.param == "async" and world.name != "blocking"  # where there is nothing to await
    resolver: Held | HeldAsync = HeldAsync(world) if is_async else Held()
    yield resolver
    resolver.answer()


def url(peer: ScriptedPeer, name: str = "name.test") -> str:
    return f"http://{name}:{peer.port}/"


# Single flight


async def test_p48_all_who_want_a_name_at_once_share_one_lookup(
    world: World, peer: ScriptedPeer, held: Held | HeldAsync
) -> None:
    http = world.pool(network=Network(resolver=held))
    async with world.tasks() as tasks:
        started = [tasks.start(lambda: http.request("GET", url(peer))) for _ in range(20)]
        await world.until(lambda: http.stats().opening == 20)
        held.answer()
        for task in started:
            assert (await task.outcome()).body == b"hello"
    assert held.asked == ["name.test"]


@only_worlds("asyncio", "trio", "blocking")
async def test_p48_different_names_are_different_lookups(world: World, peer: ScriptedPeer, held: Held) -> None:
    http = world.pool(network=Network(resolver=held))
    async with world.tasks() as tasks:
        for name in ("one.test", "two.test"):
            tasks.start(lambda name=name: http.request("GET", url(peer, name)))  # type: ignore[misc]
        await world.until(lambda: len(held.asked) == 2)
        held.answer()
    assert sorted(held.asked) == ["one.test", "two.test"]


@can_cancel_worlds
async def test_p48_a_cancelled_leader_does_not_fail_who_follows(
    world: World, peer: ScriptedPeer, held: Held | HeldAsync
) -> None:
    # In a pool each, since a dial that somebody else may still use is not cancelled with its request.
    network = Network(resolver=held)
    http = world.pool(network=network, limits=Limits(max_connections=1))
    async with world.tasks() as tasks:
        leader = tasks.start(lambda: http.request("GET", url(peer)))
        await world.until(lambda: held.asked)
        follower = tasks.start(lambda: http.request("GET", url(peer), ssl=False))  # a route of its own
        await world.sleep(0)
        leader.cancel()
        await leader.finished()
        assert leader.is_cancelled
        held.answer()
        assert (await follower.outcome()).body == b"hello"
    assert 1 <= len(held.asked) <= 2


async def test_p48_a_leader_that_has_less_time_does_not_fail_who_follows(
    world: World, peer: ScriptedPeer, held: Held | HeldAsync
) -> None:
    http = world.pool(network=Network(resolver=held))

    async def with_timeout(seconds: float) -> httpcore.Response:
        return await http.request("GET", url(peer), timeout=Timeout(20, connect=seconds))

    async with world.tasks() as tasks:
        leader = tasks.start(lambda: with_timeout(0.2))
        await world.until(lambda: held.asked)
        follower = tasks.start(lambda: with_timeout(20))
        await leader.finished()
        assert isinstance(leader.error, ConnectTimeout)
        assert "the name name.test was not resolved in time" in str(leader.error)
        held.answer()
        assert (await follower.outcome()).body == b"hello"


async def test_p48_a_failure_is_shared_by_those_who_waited_for_it_and_by_nobody_else(
    world: World, peer: ScriptedPeer
) -> None:
    held = Held()

    def resolver(host: str, port: int) -> Sequence[str]:
        held(host, port)
        if len(held.asked) == 1:
            raise OSError(5, "out of order")
        return ["127.0.0.1"]

    http = world.pool(network=Network(resolver=resolver))
    async with world.tasks() as tasks:
        started = [tasks.start(lambda: http.request("GET", url(peer))) for _ in range(5)]
        await world.until(lambda: http.stats().opening == 5)
        held.answer()
        for task in started:
            assert isinstance((await task.finished()).error, ConnectError)
            assert "out of order" in str(task.error)
    assert (await http.request("GET", url(peer))).body == b"hello"
    assert len(held.asked) == 2


async def test_p48_work_in_threads_is_shared_by_its_key(world: World) -> None:
    """As the system's resolver is asked, by all pools of a process."""
    backend, other = make_backend(world.backend), make_backend(world.backend)
    held = Held()

    async def ask(backend: Backend, name: str) -> Sequence[str]:
        return await backend.to_thread(lambda: held(name, 80), backend.now() + 30, (held, name))

    async with world.tasks() as tasks:
        started = [
            tasks.start(lambda b=b, name=name: ask(b, name))  # type: ignore[misc]
            for b in (backend, other)
            for name in ("one", "two", "one")
        ]
        await world.until(lambda: len(held.asked) == 2)
        held.answer()
        assert [await task.outcome() for task in started] == [["127.0.0.1"]] * 6
    assert sorted(held.asked) == ["one", "two"]
    await ask(backend, "one")
    assert len(held.asked) == 3


def test_p48_the_system_is_asked_once_for_a_hundred_connections() -> None:
    """Counted by Python's own audit events; in a process of its own, since such a hook cannot be taken off."""
    code = """
import asyncio, sys, httpcore
asked = []
sys.addaudithook(lambda event, args: asked.append(args[0]) if event == "socket.getaddrinfo" else None)

async def serve(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 204 No Content\\r\\nconnection: close\\r\\n\\r\\n")
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = "http://localhost:%d/" % server.sockets[0].getsockname()[1]
    asked.clear()
    async with httpcore.ConnectionPool() as http:
        await asyncio.gather(*(http.request("GET", url) for _ in range(100)))
        print(asked.count("localhost"), http.stats().opened)
        await http.request("GET", url, extensions={"network": httpcore.Network(dns_cache_ttl=0)})
        print(asked.count("localhost"))

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert (done.stdout.split(), done.stderr) == (["1", "100", "2"], "")


# Threads of our own


@only_worlds("asyncio", "uvloop")
async def test_p48_a_default_executor_that_is_full_does_not_starve_us(world: World, peer: ScriptedPeer) -> None:
    loop, held = asyncio.get_running_loop(), Held()
    blocked = [loop.run_in_executor(None, held, "blocked", 0) for _ in range(100)]
    try:
        await world.until(lambda: held.asked)
        assert (await world.pool().request("GET", url(peer, "localhost"))).body == b"hello"
        assert not any(future.done() for future in blocked)
    finally:
        held.answer()
        await asyncio.gather(*blocked)
        await loop.shutdown_default_executor()


@only_worlds("trio")
async def test_p48_a_full_limiter_of_trios_does_not_starve_us(world: World, peer: ScriptedPeer) -> None:
    import trio

    limiter, held = trio.to_thread.current_default_thread_limiter(), Held()
    async with world.tasks() as tasks:
        for _ in range(int(limiter.total_tokens) + 1):
            tasks.start(lambda: trio.to_thread.run_sync(held, "blocked", 0))
        await world.until(lambda: limiter.available_tokens == 0)
        assert (await world.pool().request("GET", url(peer, "localhost"))).body == b"hello"
        assert limiter.available_tokens == 0
        held.answer()


async def test_p48_a_hung_resolver_is_a_timeout_of_those_who_want_the_name_alone(
    world: World, peer: ScriptedPeer
) -> None:
    held = Held()

    def resolver(host: str, port: int) -> Sequence[str]:
        return held(host, port) if host == "hung.test" else ["127.0.0.1"]

    http = world.pool(network=Network(resolver=resolver))
    try:
        for _ in range(3):
            with pytest.raises(ConnectTimeout, match=r"the name hung\.test was not resolved in time"):
                await http.request("GET", url(peer, "hung.test"), timeout=Timeout(5, connect=0.05))
            assert (await http.request("GET", url(peer))).body == b"hello"
        assert held.asked == ["hung.test"]  # it still hangs, and who comes later waits for the same answer
        assert [c.state for c in http.connections] == ["idle"]
    finally:
        held.answer()


def ours() -> int:
    return sum(thread.name == "httpcore" for thread in threading.enumerate())


@only_worlds("asyncio", "blocking")
async def test_p48_threads_are_bounded_and_what_nobody_waits_for_is_not_begun(world: World, peer: ScriptedPeer) -> None:
    held = Held()
    http = world.pool(network=Network(resolver=held), timeout=Timeout(20, connect=1))
    async with world.tasks() as tasks:
        started = [
            tasks.start(lambda n=n: http.request("GET", url(peer, f"{n}.test")))  # type: ignore[misc]
            for n in range(40)
        ]
        await world.until(lambda: len(held.asked) == 32)
        assert ours() == 32
        for task in started:
            assert isinstance((await task.finished()).error, ConnectTimeout)
    held.answer()
    assert (await http.request("GET", url(peer, "later.test"), timeout=20)).body == b"hello"
    assert len(held.asked) == 33
    assert held.asked[-1] == "later.test"


@pytest.mark.parametrize("kind", ["asyncio", "blocking"])
def test_p48_a_hung_resolver_does_not_hold_up_the_end_of_the_program(kind: str) -> None:
    ask = "http.request('GET', 'http://name.test/', timeout=httpcore.Timeout(connect=0.1))"
    program = {
        "asyncio": f"""
async def main():
    async with httpcore.ConnectionPool(network=httpcore.Network(resolver=hang)) as http:
        await {ask}
asyncio.run(main())
""",
        "blocking": f"""
with httpcore.SyncConnectionPool(network=httpcore.Network(resolver=hang)) as http:
    {ask}
""",
    }[kind]
    code = f"""
import asyncio, time, httpcore
def hang(host, port):
    time.sleep(3600)
try:
{"".join(f"    {line}" for line in program.splitlines(keepends=True))}
except httpcore.ConnectTimeout:
    print("timeout")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=40)
    assert (done.stdout, done.stderr, done.returncode) == ("timeout\n", "", 0)


_NAMESPACE = ("unshare", "-rnm", "sh", "-ec")
_OWN_NAME_SERVER = 'ip link set lo up; mount --bind "$1" /etc/resolv.conf; shift; exec "$@"'


def _has_namespaces() -> bool:
    command = [*_NAMESPACE, _OWN_NAME_SERVER, "sh", "/dev/null", "true"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.skipif(not _has_namespaces(), reason="a name server of our own needs a namespace of our own")
def test_p48_a_name_server_that_never_answers_takes_one_thread_a_name(tmp_path: Path) -> None:
    """The real resolver of the system, in a network of its own where nobody answers."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    code = """
import asyncio, socket, threading, httpcore
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 53))
server = socket.create_server(("127.0.0.1", 0))

def serve():
    with server.accept()[0] as conn:
        conn.recv(4096)
        conn.sendall(b"HTTP/1.1 204 No Content\\r\\nconnection: close\\r\\n\\r\\n")

async def main():
    threading.Thread(target=serve).start()
    brief = httpcore.Timeout(connect=0.5)
    async with httpcore.ConnectionPool() as http:
        asked = [http.request("GET", f"http://{n % 5}.example.com/", timeout=brief) for n in range(50)]
        errors = await asyncio.gather(*asked, return_exceptions=True)
        print(*{type(error).__name__ for error in errors})
        print(sum(thread.name == "httpcore" for thread in threading.enumerate()))
        print((await http.request("GET", "http://localhost:%d/" % server.getsockname()[1])).status_code)

asyncio.run(main())
server.close(), silent.close()
"""
    command = [*_NAMESPACE, _OWN_NAME_SERVER, "sh", str(tmp_path / "resolv.conf"), sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert (done.stdout.split(), done.stderr, done.returncode) == (["ConnectTimeout", "5", "204"], "", 0)


@only_worlds("blocking")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_p48_a_forked_child_has_threads_of_its_own(world: World, peer: ScriptedPeer) -> None:
    held = Held()
    http = world.pool(network=Network(resolver=held, dns_cache_ttl=0))
    async with world.tasks() as tasks:
        task = tasks.start(lambda: http.request("GET", url(peer)))
        await world.until(lambda: held.asked)
        pid = os.fork()
        if not pid:
            try:
                with httpcore.SyncConnectionPool(network=Network(resolver=lambda host, port: ["127.0.0.1"])) as child:
                    own = child.request("GET", url(peer)).body
                    known = child.request("GET", url(peer, "localhost")).body
                os._exit(0 if own == known == b"hello" else 1)
            finally:
                os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0  # noqa: ASYNC222  # in this world that is what waiting is
        held.answer()
        assert (await task.outcome()).body == b"hello"


@only_worlds("asyncio")
async def test_p48_anyio_on_asyncio_hears_of_threads_as_well(world: World, peer: ScriptedPeer) -> None:
    http = world.pool(backend="anyio", network=Network(resolver=lambda host, port: ["127.0.0.1"]))
    assert (await http.request("GET", url(peer))).body == b"hello"
    assert (await world.pool(backend="anyio").request("GET", url(peer, "localhost"))).body == b"hello"


place: contextvars.ContextVar[str] = contextvars.ContextVar("place")


async def test_a_plain_resolver_sees_the_context_of_the_request(world: World, peer: ScriptedPeer) -> None:
    seen: list[str] = []

    def resolver(host: str, port: int) -> Sequence[str]:
        seen.append(place.get("nowhere"))
        return ["127.0.0.1"]

    place.set("here")
    await world.pool(network=Network(resolver=resolver)).request("GET", url(peer))
    assert seen == ["here"]


async def test_an_error_of_a_resolver_shows_where_it_came_from(world: World, peer: ScriptedPeer) -> None:
    def resolver(host: str, port: int) -> Sequence[str]:
        raise LookupError("a bug")

    with pytest.raises(ConnectError, match="LookupError: a bug") as caught:
        await world.pool(network=Network(resolver=resolver)).request("GET", url(peer))
    cause, names = caught.value.__cause__, []
    assert isinstance(cause, LookupError)
    traceback = cause.__traceback__
    while traceback is not None:
        names.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert names[-1] == "resolver"


# What is remembered


class Later(_Delegating):
    """A backend whose clock can be set forward."""

    def __init__(self, inner: Backend, shift: list[float]) -> None:
        super().__init__(inner)
        self._shift = shift

    def now(self) -> float:
        return self._inner.now() + sum(self._shift)


class Counting:
    """A resolver whose first answers are given."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self.asked = 0
        self._answers = answers

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        answer = self._answers[self.asked - 1] if self.asked <= len(self._answers) else ["127.0.0.1"]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def shift() -> list[float]:
    """Seconds by which the clock of the pools is ahead; append to it."""
    return [0.0]


def shifted(world: World, shift: list[float], resolver: Counting, ttl: float = 10.0) -> httpcore.ConnectionPool:
    network = Network(resolver=resolver, dns_cache_ttl=ttl)
    return world.pool(backend=lambda: Later(make_backend(world.backend), shift), network=network, limits=FRESH)


async def test_p48_addresses_are_remembered_for_their_time_and_not_longer(
    world: World, peer: ScriptedPeer, shift: list[float]
) -> None:
    resolver = Counting()
    http = shifted(world, shift, resolver, ttl=300)
    for ahead, asked in ((0, 1), (0, 1), (250, 1), (51, 2), (250, 2)):
        shift.append(ahead)
        await http.request("GET", url(peer))
        assert resolver.asked == asked
    assert peer.accepted == 5


async def test_p48_a_ttl_of_zero_remembers_nothing_in_a_pool_and_in_a_request(world: World, peer: ScriptedPeer) -> None:
    resolver = Counting()
    http = world.pool(network=Network(resolver=resolver, dns_cache_ttl=0), limits=FRESH)
    for asked in (1, 2):
        await http.request("GET", url(peer))
        assert resolver.asked == asked
    http = world.pool(network=Network(resolver=resolver), limits=FRESH)
    never = {"network": Network(resolver=resolver, dns_cache_ttl=0)}
    for extensions, asked in ((None, 3), (None, 3), (never, 4), (None, 4)):
        await http.request("GET", url(peer), extensions=extensions)
        assert resolver.asked == asked


async def test_p48_failures_are_not_remembered(world: World, peer: ScriptedPeer) -> None:
    resolver = Counting(OSError(5, "out of order"), socket.gaierror(socket.EAI_AGAIN, "try again"), [])
    http = world.pool(network=Network(resolver=resolver))
    for words in ("out of order", "try again", "has no address"):
        with pytest.raises(ConnectError, match=words):
            await http.request("GET", url(peer))
    assert (await http.request("GET", url(peer))).body == b"hello"
    assert resolver.asked == 4


async def test_l_nx_that_a_name_does_not_exist_is_remembered_for_a_second(
    world: World, peer: ScriptedPeer, shift: list[float]
) -> None:
    resolver = Counting(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    http = shifted(world, shift, resolver)
    for ahead in (0, 0.2):
        shift.append(ahead)
        with pytest.raises(ConnectError, match=r"the name name\.test does not resolve: Name or service not known"):
            await http.request("GET", url(peer))
        assert resolver.asked == 1
    shift.append(0.8)
    assert (await http.request("GET", url(peer))).body == b"hello"
    assert resolver.asked == 2


async def test_l_nx_is_not_remembered_where_nothing_is(world: World, peer: ScriptedPeer, shift: list[float]) -> None:
    resolver = Counting(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    http = shifted(world, shift, resolver, ttl=0)
    with pytest.raises(ConnectError):
        await http.request("GET", url(peer))
    assert (await http.request("GET", url(peer))).body == b"hello"


async def test_p48_addresses_at_which_nobody_answers_are_forgotten(world: World, peer: ScriptedPeer) -> None:
    resolver = Counting(["127.0.0.9"])
    http = world.pool(network=Network(resolver=resolver))
    with pytest.raises(ConnectError, match="Connection refused"):
        await http.request("GET", url(peer))
    assert (await http.request("GET", url(peer))).body == b"hello"
    assert resolver.asked == 2


async def test_p48_an_answer_is_of_its_resolver_its_host_and_its_port(world: World, peer: ScriptedPeer) -> None:
    one, two = Counting(), Counting()
    http = world.pool(network=Network(resolver=one), limits=FRESH)
    await http.request("GET", url(peer))
    await http.request("GET", url(peer), extensions={"network": Network(resolver=two)})
    await http.request("GET", url(peer, "other.test"))
    with ScriptedPeer(hello) as other:
        await http.request("GET", url(other))
    assert (one.asked, two.asked) == (3, 1)


@only_worlds("asyncio", "uvloop", "trio")
def test_p48_another_event_loop_has_another_clock_and_remembers_nothing(world: World, peer: ScriptedPeer) -> None:
    resolver = Counting()
    http = httpcore.ConnectionPool(network=Network(resolver=resolver), limits=FRESH)

    async def twice() -> None:
        for _ in range(2):
            await http.request("GET", url(peer))

    for runs in (1, 2):
        world.run(twice, may_leave=True)
        assert resolver.asked == runs


async def test_p48_what_is_remembered_is_bounded(world: World) -> None:
    from httpcore._resolver import Names

    names, backend = Names(), make_backend(world.backend)
    network = Network(resolver=Counting())
    for number in range(1500):
        await names.find("name.test", number, network, backend, backend.now() + 30)
    assert len(names._answers) <= 1024
    assert names._asking == {}


async def test_p48_threads_end_when_there_is_no_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from httpcore._backends import threads

    monkeypatch.setattr(threads, "_IDLE_SECONDS", 0.05)
    monkeypatch.setattr(threads, "_threads", threads._Threads())
    backend = make_backend(world.backend)
    before = ours()
    assert await backend.to_thread(lambda: 5, backend.now() + 30) == 5
    await world.until(lambda: ours() == before)
    assert await backend.to_thread(lambda: 6, backend.now() + 30) == 6
    await world.until(lambda: ours() == before)
