"""P46, P47 and FAULTS L: the addresses of a name race, and whoever loses leaves nothing behind (RFC 8305)."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import httpcore
from httpcore import ConnectError, ConnectTimeout, Limits, Network, StreamInfo, Timeout
from httpcore._backends import make_backend
from httpcore._backends.racing import race
from httpcore._resolver import Found, Names
from httpcore._streams import Address
from httpcore._sync import run
from tests.support.black_hole import black_hole
from tests.support.destinations import hello, peer_among_black_holes, to
from tests.support.interrupts import interrupting
from tests.support.peer import ScriptedPeer
from tests.support.worlds import World, can_cancel_worlds, only_worlds

NOBODY = "127.0.0.9"
"""A loopback address at which nothing listens, whatever the port."""
DELAY = 0.25
"""What RFC 8305 leaves an attempt before the next one begins."""

FOUR, SIX = ("127.0.0.1", "::1")


def _has_ipv6() -> bool:
    try:
        with socket.create_server((SIX, 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
needs_proc = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="attempts are seen in /proc")


def attempts(port: int) -> int:
    """Attempts to connect to that port that are in flight, from whichever process."""
    syn_sent = "02"
    lines = [line for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return sum(
        fields[3] == syn_sent and int(fields[2].rpartition(":")[2], 16) == port for fields in map(str.split, lines)
    )


def info_of(response: httpcore.Response) -> StreamInfo:
    info = response.extensions["connection"]
    assert isinstance(info, StreamInfo)
    return info


async def assert_connects(world: World, network: Network, port: int, least: float, most: float) -> None:
    """Within so many seconds, at the best of some tries, each with a pool that knows nothing yet: this machine does
    other things, too."""
    best = math.inf
    for _ in range(10):
        response = await world.pool(network=network).request("GET", f"http://name.test:{port}/")
        seconds = info_of(response).connect_seconds
        assert seconds is not None
        assert seconds >= least
        best = min(best, seconds)
        if best < most:
            return
    raise AssertionError(f"it took {best} s and more")


# P46: who does not answer keeps nobody waiting


async def test_p46_a_first_address_that_is_a_black_hole_costs_a_quarter_of_a_second(world: World) -> None:
    with peer_among_black_holes("127.0.0.2") as peer:
        await assert_connects(world, to("127.0.0.2", "127.0.0.1"), peer.port, DELAY, DELAY + 0.15)


@needs_ipv6
@pytest.mark.parametrize(("hole", "good"), [(SIX, FOUR), (FOUR, SIX)], ids=["IPv6", "IPv4"])
async def test_l_eyeballs_a_family_that_is_a_black_hole_costs_a_quarter_of_a_second(
    world: World, hole: str, good: str
) -> None:
    with peer_among_black_holes(hole, host=good) as peer:
        await assert_connects(world, to(hole, good), peer.port, DELAY, DELAY + 0.15)


@needs_ipv6
async def test_l_eyeballs_the_family_that_answered_is_tried_first_the_next_time(world: World) -> None:
    with peer_among_black_holes(SIX) as peer:
        http = world.pool(network=to(SIX, FOUR), limits=Limits(max_keepalive_connections=0))
        url = f"http://name.test:{peer.port}/"
        first = info_of(await http.request("GET", url)).connect_seconds
        later = [info_of(await http.request("GET", url)).connect_seconds for _ in range(5)]
        assert first is not None
        assert first >= DELAY
        assert min(seconds for seconds in later if seconds is not None) < DELAY / 2
        assert peer.accepted == 6


@needs_ipv6
async def test_l_eyeballs_both_families_refuse_and_one_error_says_so(world: World) -> None:
    with socket.create_server((SIX, 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectError, match="none of 2 addresses could be connected to") as caught:
        await world.pool(network=to(SIX, NOBODY)).request("GET", f"http://name.test:{port}/")
    assert f"[::1]:{port}: Connection refused" in str(caught.value)
    assert f"{NOBODY}:{port}: Connection refused" in str(caught.value)
    assert isinstance(caught.value.__cause__, ConnectError)
    assert isinstance(caught.value.__cause__.__cause__, ConnectionRefusedError)


async def test_l_eyeballs_an_address_that_refuses_makes_room_for_the_next_at_once(world: World) -> None:
    with ScriptedPeer(hello) as peer:
        await assert_connects(world, to(NOBODY, "127.0.0.10", "127.0.0.1"), peer.port, 0, DELAY)


async def test_l_eyeballs_a_refusal_beside_an_attempt_that_goes_on_makes_room_too(world: World) -> None:
    """The second attempt begins after the delay, and the third at once, as the second is refused."""
    with peer_among_black_holes("127.0.0.2") as peer:
        await assert_connects(world, to("127.0.0.2", NOBODY, "127.0.0.1"), peer.port, DELAY, DELAY + 0.15)


async def test_l_eyeballs_silence_and_refusals_together_are_a_timeout_that_tells_of_each(world: World) -> None:
    with peer_among_black_holes("127.0.0.2") as peer:
        http = world.pool(network=to("127.0.0.2", NOBODY), timeout=Timeout(30, connect=0.6))
        with pytest.raises(ConnectTimeout, match="none of 2 addresses answered in time") as caught:
            await http.request("GET", f"http://name.test:{peer.port}/")
        assert f"127.0.0.2:{peer.port} in time" in str(caught.value)
        assert f"{NOBODY}:{peer.port}: Connection refused" in str(caught.value)
        assert http.connections == []


async def test_l_eyeballs_a_connection_says_how_long_it_took(world: World) -> None:
    asked = threading.Event()

    def resolver(host: str, port: int) -> list[str]:
        asked.wait(0.05)
        return ["127.0.0.1"]

    with ScriptedPeer(hello) as peer:
        http = world.pool(network=Network(resolver=resolver))
        infos = [info_of(await http.request("GET", f"http://name.test:{peer.port}/")) for _ in range(2)]
        one, two = ((info.resolve_seconds, info.connect_seconds) for info in infos)
        assert one == two  # of a connection, and not of a request
        assert infos[0].resolve_seconds is not None
        assert 0.049 < infos[0].resolve_seconds < 10
        assert infos[0].connect_seconds is not None
        assert 0 < infos[0].connect_seconds < 10


# Who has lost leaves nothing behind


@pytest.fixture
def two_holes() -> Iterator[int]:
    """A port at which 127.0.0.2 and 127.0.0.3 are black holes."""
    with black_hole("127.0.0.2") as (_, port), black_hole("127.0.0.3", port):
        yield port


@needs_proc
async def test_l_eyeballs_losers_are_closed_when_somebody_has_won(world: World) -> None:
    with peer_among_black_holes("127.0.0.2", "127.0.0.3") as peer:
        before = attempts(peer.port)
        http = world.pool(network=to("127.0.0.2", "127.0.0.3", "127.0.0.1"))
        assert (await http.request("GET", f"http://name.test:{peer.port}/")).body == b"hello"
        assert attempts(peer.port) == before
        assert len(http.connections) == 1


@needs_proc
@can_cancel_worlds
async def test_l_cancel_while_two_attempts_are_in_flight_closes_both(world: World, two_holes: int) -> None:
    http = world.pool(network=to("127.0.0.2", "127.0.0.3"), limits=Limits(max_connections=1))

    async def request() -> None:
        await http.request("GET", f"http://name.test:{two_holes}/")

    assert await world.cancel_when(lambda: attempts(two_holes) == 2, request)
    await world.until(lambda: attempts(two_holes) == 0)
    await world.until(lambda: http.connections == [])
    with ScriptedPeer(hello) as peer:
        http = world.pool(network=to("127.0.0.1"))
        assert (await http.request("GET", f"http://name.test:{peer.port}/")).body == b"hello"


@needs_proc
@only_worlds("blocking")
async def test_l_cancel_by_ctrl_c_while_two_attempts_are_in_flight_closes_both(world: World, two_holes: int) -> None:
    http = world.pool(network=to("127.0.0.2", "127.0.0.3"))
    main = threading.get_ident()

    def interrupt() -> None:
        deadline = time.monotonic() + 15
        while attempts(two_holes) < 2 and time.monotonic() < deadline:
            time.sleep(0.002)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            await http.request("GET", f"http://name.test:{two_holes}/", timeout=30)
    finally:
        thread.join()
    assert attempts(two_holes) == 0
    assert http.connections == []


# P47: every address, within one timeout, and never too many at once


@needs_proc
async def test_p47_more_addresses_than_run_at_once_are_all_tried_in_time(world: World) -> None:
    holes = [f"127.0.0.{last}" for last in range(20, 32)]
    most = 0

    with peer_among_black_holes(*holes) as peer:
        before = attempts(peer.port)
        http = world.pool(network=to(*holes, "127.0.0.1"), timeout=Timeout(30, connect=15))
        async with world.tasks() as tasks:
            task = tasks.start(lambda: http.request("GET", f"http://name.test:{peer.port}/"))
            while not task.is_done:
                most = max(most, attempts(peer.port) - before)
                await world.sleep(0.1)
            assert (await task.outcome()).body == b"hello"
        assert 4 <= most <= 8 + 1  # one that ends while the table is read may be seen beside the next


async def test_a_timeout_that_is_over_begins_nothing_that_lasts(world: World) -> None:
    with ScriptedPeer(hello) as peer:
        http = world.pool(timeout=Timeout(5, connect=0))
        with pytest.raises(ConnectTimeout, match=r"no connection to .* in time"):
            await http.request("GET", peer.url)
        assert http.connections == []


# The order of addresses


def found(*ips: str) -> list[Found]:
    return [(socket.AF_INET6, (ip, 80, 0, 0)) if ":" in ip else (socket.AF_INET, (ip, 80)) for ip in ips]


@pytest.mark.parametrize(
    ("answer", "order"),
    [
        ("::1 ::2 ::3 a b", "::1 a ::2 b ::3"),
        ("a b c ::1", "a ::1 b c"),
        ("a b c", "a b c"),
        ("a a ::1 a ::1 b", "a ::1 b"),
        ("", ""),
    ],
)
def test_families_take_turns_and_the_best_comes_first(answer: str, order: str) -> None:
    assert Names().interleave("name.test", found(*answer.split()), 0.0) == found(*order.split())


def test_the_family_that_answered_comes_first_for_ten_minutes() -> None:
    names, answer = Names(), found("::1", "::2", "a")
    names.note_family("name.test", socket.AF_INET, 1000.0)
    for now, order in ((1000.0, "a ::1 ::2"), (1599.0, "a ::1 ::2"), (1600.0, "::1 a ::2")):
        assert names.interleave("name.test", answer, now) == found(*order.split())
        assert names.interleave("other.test", answer, now) == found("::1", "a", "::2")
        # That it answers still does not make it last for ever: the other one gets another chance.
        names.note_family("name.test", socket.AF_INET, min(now, 1599.0))


def test_a_family_that_a_name_has_no_more_is_not_missed() -> None:
    names = Names()
    names.note_family("name.test", socket.AF_INET, 0.0)
    assert names.interleave("name.test", found("::1", "::2"), 1.0) == found("::1", "::2")


def test_what_is_remembered_of_families_is_bounded() -> None:
    names = Names()
    for number in range(5000):
        names.note_family(f"{number}.test", socket.AF_INET, 0.0)
    assert len(names._families) <= 1024


# Event loops that cannot tell when a socket is writable


class NoWriters(asyncio.SelectorEventLoop):
    """As Windows' proactor, which has no such methods."""

    def add_writer(self, fd: object, callback: Callable[..., object], *args: object) -> None:
        raise NotImplementedError

    def remove_writer(self, fd: object) -> bool:
        raise NotImplementedError


def test_an_event_loop_without_writers_will_do() -> None:
    async def main() -> None:
        with peer_among_black_holes("127.0.0.2") as peer:
            async with httpcore.ConnectionPool(network=to("127.0.0.2", "127.0.0.1")) as http:
                assert (await http.request("GET", f"http://name.test:{peer.port}/")).body == b"hello"
            async with httpcore.ConnectionPool(network=to("127.0.0.2"), timeout=Timeout(connect=0.3)) as http:
                with pytest.raises(ConnectTimeout):
                    await http.request("GET", f"http://name.test:{peer.port}/")

    with asyncio.Runner(loop_factory=NoWriters) as runner:
        runner.run(main())


@only_worlds("asyncio")
async def test_anyio_on_asyncio_races_as_well(world: World) -> None:
    with peer_among_black_holes("127.0.0.2", "127.0.0.3") as peer:
        http = world.pool(backend="anyio", network=to("127.0.0.2", "127.0.0.3", "127.0.0.1"))
        assert (await http.request("GET", f"http://name.test:{peer.port}/")).body == b"hello"


# The race by itself, on a clock of its own


class Enough(Exception):
    pass


class Course:
    """Waits without waiting: time goes on as far as the race would have waited, some times."""

    def __init__(self, turns: int) -> None:
        self.times: list[float] = []
        self.running: list[int] = []
        self._turns = turns
        self._time = 0.0

    def now(self) -> float:
        return self._time

    async def wait(self, sockets: Sequence[socket.socket], until: float) -> socket.socket | None:
        if len(self.times) == self._turns:
            raise Enough
        self.times.append(self._time)
        self.running.append(len(sockets))
        self._time = until
        return None


@pytest.mark.parametrize(
    ("number", "seconds", "delay", "turns"),
    [(3, 5.0, 0.25, 2), (31, 5.0, 5 / 31, 30), (31, 0.1, 0.01, 9), (2, float("inf"), 0.25, 1)],
)
def test_attempts_begin_a_quarter_of_a_second_apart_or_closer_where_time_is_short(
    black_hole: tuple[str, int], number: int, seconds: float, delay: float, turns: int
) -> None:
    course = Course(turns)
    addresses = [Address(socket.AF_INET, black_hole, None, None, (), f"address {n}") for n in range(number)]
    with pytest.raises(Enough):
        run(race(addresses, seconds, course.now, course.wait))
    assert course.times == pytest.approx([turn * delay for turn in range(turns)])
    assert course.running == [min(turn + 1, 8) for turn in range(turns)]


# Ctrl-C anywhere


@only_worlds("blocking")
# A coroutine that was made and not yet awaited says so.
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.skipif(sys.gettrace() is not None, reason="somebody else, a debugger say, traces this run")
async def test_l_cancel_by_ctrl_c_at_every_point_of_a_race_leaves_no_socket_open(world: World) -> None:
    """None has to wait for the garbage collector, which would warn, and warnings are errors."""
    backend, directory = make_backend("blocking"), Path(httpcore.__file__).parent
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        port = server.getsockname()[1]
        addresses = [
            Address(socket.AF_INET, (host, port), None, None, (), host) for host in (NOBODY, "127.0.0.10", "127.0.0.1")
        ]
        for at in range(1000):
            try:
                with interrupting(at, directory) as interrupt:
                    stream, chosen = await backend.connect(addresses, backend.now() + 20, 0.0)
                stream.close()
                assert chosen is addresses[2]
            except KeyboardInterrupt:
                pass
            if interrupt.place is None:
                break
    assert 20 < at < 999
