"""How to write a test here.

A test is an async function with the argument `world`. It runs four times: on asyncio, uvloop, trio and blocking.

    from tests.support.peer import Conn, ScriptedPeer
    from tests.support.worlds import World, only_worlds

    async def test_a_closed_connection_is_replaced(world: World, engine: str) -> None:
        def script(conn: Conn) -> None:                     # in a thread, once for each accepted connection
            conn.read_request()
            conn.respond(body=b"from %d" % conn.index)      # then it returns, which closes the connection

        with ScriptedPeer(script) as peer:
            http = world.pool(http1_engine=engine)          # closed at the end of the test
            assert (await http.request("GET", peer.url)).body == b"from 0"
            await world.until(lambda: peer.open_connections == 0)
            assert (await http.request("GET", peer.url)).body == b"from 1"

- `world` (support/worlds.py): `pool`, `gather`, `gather_ok`, `tasks`, `event`, `until`, `sleep`, `timeout`,
  `cancel_when`, `cancel_after`. In the blocking world nothing can be cancelled: `@can_cancel_worlds`, or
  `@only_worlds("asyncio", "trio")`. In a plain test function `world.run(async_function)` runs one event loop after
  another (`may_leave=True` for a pool that outlives its loop).
- `engine`: the test runs once for each HTTP/1.1 engine; pass `http1_engine=engine`.
- `@every_way` (support/ways.py): the test, which says nothing of it, also runs over TLS and through HTTP proxies.
- `ScriptedPeer` (support/peer.py): a server that does what the script says, byte by byte. Assertions in a script count.
  Look at `peer.requests`, `peer.accepted`, `peer.open_connections`; hold a script with `peer.gate()`.
- `ca` (support/tls.py): `ScriptedPeer(script, tls=ca.server_context())`, `world.pool(ssl=ca.client_context())`.
- `uvicorn_server`, `hypercorn_server`, `nginx_server` (support/servers.py, app.py, nginx.py): real ones, in clear and
  over TLS, with `http` and `https` origins: `http.request("GET", f"{uvicorn_server.http}/bytes/1000")`.
- `HTTP2Peer` (support/http2_peer.py): the same for HTTP/2, frame by frame; `world.pool(http1=False)` for it in clear.
- `nghttpd_server` (support/nghttpd.py), `nginx_server.http2`, `hypercorn_server`: real servers that speak HTTP/2.
- Real proxies (support/http_proxies.py, socks_servers.py): `squid_proxy.open` and `.asking`, `haproxy_proxy`,
  `nghttpx_proxy`, `proxy_py_proxy`, `dante_proxy`, `microsocks_proxy`, each with `url`, `log` and `auth`;
  `real_proxy` is each of them in turn.
- `ProxyPeers` (support/scripted_proxies.py): scripted proxies of each kind, that are the origin behind them too.
- `black_hole`: (host, port) at which nobody ever answers a SYN.
- Wait for conditions (`await world.until(...)`), never for time. In an async body `peer.wait_for` stops the event loop,
  which is right only where that is the point: to let the peer do something unseen.

After each test nothing may be left: no task, timer, async generator, thread, socket or other descriptor, and no
ResourceWarning. A test has 60 seconds (`@pytest.mark.time_limit(120)` for one that needs more).
"""

from __future__ import annotations

import gc
import importlib.util
import inspect
import itertools
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

pytest.register_assert_rewrite("tests.support")

from tests.support import reliability, swept  # noqa: E402
from tests.support.black_hole import black_hole as _black_hole  # noqa: E402
from tests.support.http_proxies import RealProxy, Squid, haproxy, nghttpx, proxy_py, squid  # noqa: E402
from tests.support.leaks import Snapshot, open_what_stays  # noqa: E402
from tests.support.nghttpd import Nghttpd, nghttpd  # noqa: E402
from tests.support.nginx import Nginx, nginx  # noqa: E402
from tests.support.running import is_async_test, run_async_test  # noqa: E402
from tests.support.servers import Server, asgi_server  # noqa: E402
from tests.support.socks_servers import dante, microsocks  # noqa: E402
from tests.support.tls import CertificateAuthority  # noqa: E402
from tests.support.watchdog import time_limit  # noqa: E402
from tests.support.ways import CLEAR, WAYS, Reaching, spread  # noqa: E402
from tests.support.worlds import DEFAULT_TIME_LIMIT, WORLDS, World  # noqa: E402

if TYPE_CHECKING:
    from _pytest.fixtures import SubRequest

ENGINES = ["h11", "httptools"]

_tests = itertools.count(1)

hypothesis.settings.register_profile(
    "tests",
    # A run of CI judges the change that it runs for. What a search may find by luck is found where nobody waits for it.
    derandomize="CI" in os.environ,
    # A busy machine is slow now and then; a test as a whole has its time limit.
    deadline=None,
    # `world` is the one they use, and it is the same after each run.
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "run the tests that hold rows of the catalogue of faults and write docs/reliability.md, or look only"
    swept.pytest_addoption(parser)
    parser.addoption("--reliability", choices=reliability.PLUGINS, help=text)


def pytest_configure(config: pytest.Config) -> None:
    if (what := config.getoption("reliability")) is not None:
        config.pluginmanager.register(reliability.PLUGINS[what]())
    config.addinivalue_line("markers", "only_worlds(*names): the worlds in which the test runs; all if not given")
    config.addinivalue_line("markers", "ways(*names, reason): the ways besides the one in clear, see support/ways.py")
    config.addinivalue_line("markers", "time_limit(seconds): for a test that needs more than 60 seconds")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it to what runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(swept.Swept(config))


def pytest_itemcollected(item: pytest.Item) -> None:
    item.user_properties += reliability.properties(item)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    from tests.support.sharing import Sharing

    return Sharing(config, log)


def pytest_collection_finish() -> None:
    open_what_stays()
    # What was imported stays anyway. Left out of the collections after each test, it costs them nothing.
    gc.collect()
    gc.freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = metafunc.fixturenames
    is_given = {name for mark in metafunc.definition.iter_markers("parametrize") for name in _names(mark.args[0])}
    engines = ENGINES if "engine" in names and "engine" not in is_given else []
    if "world" not in names or "world" in is_given:
        if engines:
            metafunc.parametrize("engine", [_needing(name) for name in engines])
        return
    marker = metafunc.definition.get_closest_marker("only_worlds")
    worlds = [name for name in WORLDS if marker is None or name in marker.args]
    cases: list[tuple[str, ...]] = [*itertools.product(worlds, engines)] if engines else [(name,) for name in worlds]
    cases += [(f"{world}:{way}", *engine) for way, world, *engine in _other_ways(metafunc, worlds, engines)]
    arguments = ["world", "engine"] if engines else ["world"]
    metafunc.parametrize(arguments, [_needing(*case) for case in cases], indirect=["world"])


def _names(argument: str | Sequence[str]) -> Sequence[str]:
    return [name.strip() for name in argument.split(",")] if isinstance(argument, str) else argument


def _other_ways(metafunc: pytest.Metafunc, worlds: list[str], engines: list[str]) -> Iterator[tuple[str, ...]]:
    marker = metafunc.definition.get_closest_marker("ways")
    if marker is not None and "ca" not in metafunc.fixturenames:
        yield from spread(metafunc.definition.name, marker.args, worlds, *([engines] if engines else []))


def _needing(*case: str) -> object:
    """Parameters, skipped where they need a module that is not installed; in CI that is a failure of its own."""
    needed = {name.partition(":")[0] for name in case} & {"uvloop", "trio", "httptools"}
    missing = [name for name in needed if importlib.util.find_spec(name) is None and "CI" not in os.environ]
    marks = [pytest.mark.skip(reason=f"{name} is not installed") for name in missing]
    return pytest.param(*case, marks=marks, id="-".join(case))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with time_limit(_time_limit(item)):
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test in its world."""
    if not is_async_test(pyfuncitem.obj):
        return None
    world = pyfuncitem.funcargs.get("world")
    if not isinstance(world, World):
        raise TypeError("an async test needs the argument `world`")
    names = inspect.signature(pyfuncitem.obj).parameters
    run_async_test(pyfuncitem.obj, world, {name: pyfuncitem.funcargs[name] for name in names})
    return True


def _time_limit(item: pytest.Item) -> float:
    marker = item.get_closest_marker("time_limit")
    return float(marker.args[0]) if marker is not None else DEFAULT_TIME_LIMIT


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = Snapshot()
    yield
    if leaks := before.leaks():
        pytest.fail("left behind by the test: " + "; ".join(leaks))
    if next(_tests) % 50 == 0:
        # pytest keeps a report of each test, which by the end would be most of what a collection looks at.
        gc.freeze()


@pytest.fixture
def world(request: SubRequest) -> Iterator[World]:
    name, _, way = request.param.partition(":")
    reaching = Reaching(WAYS[way], request.getfixturevalue("ca")) if way else Reaching(CLEAR)
    with reaching.applied():
        yield WORLDS[name](_time_limit(request.node))


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(Path(tmp_path_factory.mktemp("ca")))


@pytest.fixture(scope="session")
def uvicorn_server(ca: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with asgi_server("uvicorn", ca, tmp_path_factory.mktemp("uvicorn")) as server:
        yield server


@pytest.fixture(scope="session")
def hypercorn_server(ca: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with asgi_server("hypercorn", ca, tmp_path_factory.mktemp("hypercorn")) as server:
        yield server


@pytest.fixture(scope="session")
def nginx_server(
    ca: CertificateAuthority, uvicorn_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nginx]:
    with nginx(ca, uvicorn_server, tmp_path_factory.mktemp("nginx")) as server:
        yield server


@pytest.fixture(scope="session")
def nghttpd_server(ca: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nghttpd]:
    with nghttpd(ca, tmp_path_factory.mktemp("nghttpd")) as server:
        yield server


@pytest.fixture(scope="session")
def squid_proxy() -> Iterator[Squid]:
    with squid() as proxies:
        yield proxies


@pytest.fixture(scope="session")
def haproxy_proxy(
    ca: CertificateAuthority, squid_proxy: Squid, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealProxy]:
    with haproxy(ca, squid_proxy, tmp_path_factory.mktemp("haproxy")) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def nghttpx_proxy(
    ca: CertificateAuthority, squid_proxy: Squid, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealProxy]:
    with nghttpx(ca, squid_proxy, tmp_path_factory.mktemp("nghttpx")) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def proxy_py_proxy(ca: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealProxy]:
    with proxy_py(ca, tmp_path_factory.mktemp("proxy_py")) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def dante_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealProxy]:
    with dante(tmp_path_factory.mktemp("dante")) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def microsocks_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealProxy]:
    with microsocks(tmp_path_factory.mktemp("microsocks")) as proxy:
        yield proxy


REAL_PROXIES = {
    "squid": ("squid_proxy", "open"),
    "squid that asks": ("squid_proxy", "asking"),
    "haproxy": ("haproxy_proxy", None),
    "nghttpx": ("nghttpx_proxy", None),
    "proxy.py": ("proxy_py_proxy", None),
    "dante": ("dante_proxy", None),
    "microsocks": ("microsocks_proxy", None),
}


@pytest.fixture(params=REAL_PROXIES)
def real_proxy(request: SubRequest) -> RealProxy:
    """Each of them in turn."""
    fixture, attribute = REAL_PROXIES[request.param]
    value = request.getfixturevalue(fixture)
    found = value if attribute is None else getattr(value, attribute)
    assert isinstance(found, RealProxy)
    return found


@pytest.fixture
def black_hole() -> Iterator[tuple[str, int]]:
    with _black_hole() as address:
        yield address
