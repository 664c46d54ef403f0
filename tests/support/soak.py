"""A hostile mix against one pool for minutes, and then the account: `scripts/soak [minutes]`.

Many tasks ask nginx, which is stopped and started again meanwhile, over HTTP/1.1 and HTTP/2, and a server that cuts,
resets, drips and is silent (`soak_server.py`), both of them also through a proxy that is no better (`soak_proxy.py`):
forwarded, and through tunnels, over TLS in TLS. Some are cancelled, some run out of time, some leave early. Whatever a
response has must be that of its own request. In the end nothing may be left: no task, thread, descriptor or object, no
connection that the pool does not account for, and its counters fit with those of the servers.
"""

from __future__ import annotations

import gc
import hashlib
import json
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

import httpcore

from . import soak_proxy, soak_server
from .app import pattern
from .leaks import Snapshot
from .nginx import RestartingNginx
from .servers import asgi_server, server_ports
from .tls import CertificateAuthority
from .worlds import World

__all__ = ["Account", "Servers", "servers", "soaked"]

_TIMEOUT = httpcore.Timeout(20)
_SHORT = httpcore.Timeout(20, read=0.1)
_LIMITS = httpcore.Limits(max_connections=100, max_keepalive_connections=50, max_requests_per_connection=200)
# Of the requests that may be cancelled, or have a short time in all.
_CANCELLED, _HURRIED = 0.1, 0.1
_LONGEST_PATIENCE = 0.2
# How long nginx runs, and how long it is away.
_UP_SECONDS, _DOWN_SECONDS = (0.5, 2.0), (0.0, 0.2)
_FILE = 1_000_000
# It stays until it has given so many answers more, however slow the machine, ...
_LEAST_ANSWERS = 5
# ... and of its last ones it may not have written down these, as it writes when a request is over.
_UNWRITTEN = 5
# Where the stories of a server were answered so often each, on average, there is none that never was.
_OFTEN = 50
_PROXIED = "localhost"
# Objects by which one round may exceed the one before it: caches that fill by chance.
_GROWTH = 3000


@dataclass(frozen=True)
class Servers:
    ca: CertificateAuthority
    nginx: RestartingNginx
    hostile: tuple[str, str]
    """Origins of `soak_server.py`, in clear and over TLS."""
    proxies: tuple[httpcore.Proxy, httpcore.Proxy]
    """`soak_proxy.py`, in clear and over TLS."""

    def proxy_of(self, origin: httpcore.Origin) -> httpcore.Proxy | None:
        """By a name of its own each server is reached through a proxy, by its address it is not."""
        if origin.host != _PROXIED:
            return None
        return self.proxies[origin.scheme == "https"]


@contextmanager
def servers() -> Iterator[Servers]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        ca = CertificateAuthority(directory)
        upstream = stack.enter_context(asgi_server("uvicorn", ca, directory))
        paths = str(ca.server_chain_path), str(ca.server_key_path)
        clear, tls = stack.enter_context(server_ports(soak_server.__name__, paths, directory / "hostile.log"))
        proxy, secure = stack.enter_context(server_ports(soak_proxy.__name__, paths, directory / "proxy.log"))
        (directory / "nginx").mkdir()
        nginx = stack.enter_context(RestartingNginx(ca, upstream, directory / "nginx"))
        hostile = f"http://127.0.0.1:{clear}", f"https://127.0.0.1:{tls}"
        proxies = (
            httpcore.Proxy(f"http://127.0.0.1:{proxy}"),
            httpcore.Proxy(f"https://127.0.0.1:{secure}", ssl=ca.client_context()),
        )
        yield Servers(ca, nginx, hostile, proxies)


@dataclass
class Account:
    """What became of it.

    Attributes:
        outcomes: by story and what happened.
        problems: all that is off, in words.
        facts: what was counted.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def note(self, story: str, outcome: str) -> None:
        with self._lock:
            self.outcomes[story, outcome] += 1

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.problems.append(what)

    def count(self, outcome: str | None = None, *stories: str) -> int:
        """How often, of all stories or of these."""
        return sum(
            count
            for (story, each), count in self.outcomes.items()
            if outcome in (None, each) and (not stories or story in stories)
        )

    def __str__(self) -> str:
        by_story: dict[str, list[str]] = {}
        for (story, outcome), count in sorted(self.outcomes.items(), key=lambda item: (item[0][0], -item[1])):
            by_story.setdefault(story, []).append(f"{count} {outcome}")
        lines = [f"  {story:<16} {', '.join(outcomes)}" for story, outcomes in by_story.items()]
        lines += [f"  {name}: {value}" for name, value in self.facts.items()]
        return "\n".join([*lines, *(f"  PROBLEM: {problem}" for problem in self.problems)])


class Mismatch(AssertionError):
    """A response that is not that of its request."""


@dataclass
class _Client:
    """One task: what it asks of the pool, one request after the other."""

    http: httpcore.ConnectionPool
    servers: Servers
    chance: random.Random

    def nginx(self) -> str:
        server = self.servers.nginx.server
        direct = (server.http, server.https, server.http2, server.http2)
        return self.chance.choice((*direct, _through_proxy(server.https), _through_proxy(server.http2)))

    def hostile(self) -> str:
        origin = self.chance.choice(self.servers.hostile)
        return self.chance.choice((origin, origin, _through_proxy(origin)))


def _through_proxy(origin: str) -> str:
    return origin.replace("127.0.0.1", _PROXIED)


Story = Callable[[_Client, str, httpcore.Timeout], Awaitable[None]]


def _check(found: bytes, expected: bytes) -> None:
    if found != expected:
        raise Mismatch(f"expected {expected[:80]!r}, found {found[:80]!r}")


def _asking(kind: str, has_body: bool = False) -> Story:
    """Ask the hostile server for a marker."""

    async def story(client: _Client, marker: str, timeout: httpcore.Timeout) -> None:
        url, body = f"{client.hostile()}/{kind}/{marker}", b"x" * 100_000 if has_body else None
        timeout = _SHORT if kind == "silent" else timeout
        response = await client.http.request("POST" if has_body else "GET", url, body=body, timeout=timeout)
        _check(response.body, f"{marker} 100000".encode() if kind == "upload" else marker.encode())

    return story


async def _echo(client: _Client, marker: str, timeout: httpcore.Timeout) -> None:
    body = marker.encode() * client.chance.choice((1, 100, 5000))
    response = await client.http.request("POST", f"{client.nginx()}/app/echo", body=body, timeout=timeout)
    _check_status(response)
    _check(response.body, body)


async def _headers(client: _Client, marker: str, timeout: httpcore.Timeout) -> None:
    url, headers = f"{client.nginx()}/app/headers?{marker}", {"x-marker": marker}
    response = await client.http.request("GET", url, headers, timeout=timeout)
    _check_status(response)
    seen = json.loads(response.body)
    _check(seen["query"].encode(), marker.encode())
    _check(dict(seen["headers"])["x-marker"].encode(), marker.encode())


async def _upload(client: _Client, marker: str, timeout: httpcore.Timeout) -> None:
    parts = [marker.encode() * 1000] * client.chance.randint(1, 10)
    response = await client.http.request("POST", f"{client.nginx()}/app/upload", body=iter(parts), timeout=timeout)
    _check_status(response)
    _check(json.loads(response.body)["sha256"].encode(), hashlib.sha256(b"".join(parts)).hexdigest().encode())


async def _download(client: _Client, marker: str, timeout: httpcore.Timeout) -> None:
    response = await client.http.request("GET", f"{client.nginx()}/1MB.bin?{marker}", timeout=timeout)
    _check(dict(response.headers)[b"x-query"], marker.encode())
    _check(response.body, _PATTERN)


async def _leave_early(client: _Client, marker: str, timeout: httpcore.Timeout) -> None:
    url = f"{client.nginx()}/slowly/1MB.bin?{marker}"
    async with await client.http.request("GET", url, stream=True, timeout=timeout) as response:
        _check(dict(response.headers)[b"x-query"], marker.encode())
        async for part in response.raw():
            _check(part, _PATTERN[: len(part)])
            break


async def _truncated(client: _Client, marker: str, timeout: httpcore.Timeout) -> None:
    await client.http.request("GET", f"{client.nginx()}/app/truncated?{marker}", timeout=timeout)


async def _hang(client: _Client, marker: str, timeout: httpcore.Timeout) -> None:
    await client.http.request("GET", f"{client.nginx()}/app/hang?note={marker}", timeout=_SHORT)


_PATTERN = pattern(_FILE)
_NGINX: dict[str, Story] = {
    "echo": _echo,
    "headers": _headers,
    "upload": _upload,
    "download": _download,
    "leave early": _leave_early,
    "truncated": _truncated,
    "hang": _hang,
}
_HOSTILE: dict[str, Story] = {
    "ok": _asking("ok"),
    "chunked": _asking("chunked"),
    "drip": _asking("drip"),
    "upload to it": _asking("upload", True),
    "early": _asking("early", True),
    "last": _asking("last"),
    "cut": _asking("cut"),
    "garbage": _asking("garbage"),
    "reset": _asking("reset"),
    "silent": _asking("silent"),
}
_STORIES = {**_NGINX, **_HOSTILE}
_NEVER = ("truncated", "hang", "cut", "garbage", "reset", "silent")
_SOMETIMES = tuple(name for name in _STORIES if name not in (*_NEVER, "early"))
_ANSWERED, _CUT_OFF = "answered", "cancelled"


def _check_status(response: httpcore.Response) -> None:
    if response.status_code != 200:  # nginx says 502 where it has lost the application, which it never does
        raise Mismatch(f"the status is {response.status_code}")


async def soak(world: World, servers: Servers, tasks: int, seconds: float) -> Account:
    """So many tasks against one pool, for so long."""
    account = Account()
    http = world.pool(ssl=servers.ca.client_context(), limits=_LIMITS, timeout=_TIMEOUT, proxy=servers.proxy_of)
    before = await _counts(http, servers)
    ends = time.monotonic() + seconds

    async def work(number: int) -> None:
        client, turn = _Client(http, servers, random.Random(number)), 0
        while time.monotonic() < ends:
            turn += 1
            await _one(world, client, account, f"{world.name}-{number}-{turn}-")

    with _restarts(servers.nginx, lambda: account.count(_ANSWERED, *_NGINX)):
        await world.gather_ok(*[lambda number=number: work(number) for number in range(tasks)])
    await _settle(world, http, servers, account)
    await _reconcile(http, servers, account, before)
    return account


@contextmanager
def _restarts(nginx: RestartingNginx, answers: Callable[[], int]) -> Iterator[None]:
    """nginx is stopped and started again now and then, and runs in the end."""
    is_over, chance = threading.Event(), random.Random(0)

    def run() -> None:
        answered = answers()
        while not is_over.wait(chance.uniform(*_UP_SECONDS)):
            if answers() < answered + _LEAST_ANSWERS:
                continue
            answered = answers()
            nginx.stop()
            is_over.wait(chance.uniform(*_DOWN_SECONDS))
            nginx.start()

    thread = threading.Thread(target=run, name="restarts of nginx")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


async def _one(world: World, client: _Client, account: Account, marker: str) -> None:
    chance = client.chance
    name = chance.choice(list(_STORIES))
    timeout, patience = _TIMEOUT, chance.uniform(0, _LONGEST_PATIENCE)
    if chance.random() < _HURRIED:
        timeout = httpcore.Timeout(20, total=patience)
    try:
        if world.can_cancel and chance.random() < _CANCELLED:
            async with world.timeout(patience):
                await _STORIES[name](client, marker, timeout)
        else:
            await _STORIES[name](client, marker, timeout)
    except httpcore.HTTPCoreError as exc:
        account.note(name, type(exc).__name__)
    except TimeoutError:
        account.note(name, _CUT_OFF)
    except Exception as exc:
        account.note(name, "failed")
        account.problems.append(f"{name}: {type(exc).__name__}: {exc}")
    else:
        account.note(name, _ANSWERED)


async def _settle(world: World, http: httpcore.ConnectionPool, servers: Servers, account: Account) -> None:
    """When all is over, nothing is active, and every origin is reached as on the first day."""
    await world.until(lambda: not http.stats().opening, what="the end of all dials")
    stats = http.stats()
    account.expect((stats.active, stats.waiting) == (0, 0), f"{stats.active} active, {stats.waiting} waiting")
    server = servers.nginx.server
    for number, origin in enumerate((server.http, server.https, server.http2)):
        response = await http.request("POST", f"{origin}/app/echo", body=b"calm %d" % number)
        account.expect(response.body == b"calm %d" % number, f"{origin} answers {response.body[:50]!r} in the end")
        account.note("echo", _ANSWERED)
    await http.close_idle()
    account.expect(not http.connections, f"connections are left: {http.connections}")


async def _counts(http: httpcore.ConnectionPool, servers: Servers) -> dict[str, int]:
    """What the hostile server has counted. Asked for through the pool, as one connection and no request."""
    counted: dict[str, int] = json.loads((await http.request("GET", servers.hostile[0] + "/counts")).body)
    lines = len(servers.nginx.server.log.read_bytes().splitlines())
    return {**counted, "lines": lines, "restarts": servers.nginx.restarts}


async def _reconcile(http: httpcore.ConnectionPool, servers: Servers, account: Account, before: dict[str, int]) -> None:
    """The counters of the pool fit with each other, with what was asked, and with what the servers saw."""
    stats = http.stats()
    failed, given_up = (stats.closed.get(reason, 0) for reason in ("failed to open", "dial no longer needed"))
    account.expect(
        stats.opened == sum(stats.closed.values()) - failed - given_up,
        f"{stats.opened} connections were opened, and {dict(stats.closed)} closed",
    )
    clear = stats.origins[servers.hostile[0]]
    after = await _counts(http, servers)
    seen = {name: after[name] - before.get(name, 0) for name in after}
    # The account itself has opened one, and a dial that was given up may have been accepted; nginx has no part in it.
    # What the proxy forwards comes on connections of its own.
    forwarded = stats.origins.get(_through_proxy(servers.hostile[0]))
    accepted, most = seen["connections in clear"], clear.opened + 1 + sum(clear.closed.values())
    most += 0 if forwarded is None else forwarded.opened
    account.expect(clear.opened <= accepted <= most, f"{accepted} connections accepted in clear, {clear.opened} opened")
    for name, stories, written, lost in (
        ("hostile", _HOSTILE, seen["requests"], 0),
        ("nginx", _NGINX, seen["lines"], _UNWRITTEN * seen["restarts"]),
    ):
        answered, asked = account.count(_ANSWERED, *stories), account.count(None, *stories)
        account.expect(
            answered <= written + lost and written <= asked + stats.retried,
            f"{name} saw {written} requests; {asked} were asked, {answered} answered, {stats.retried} sent again",
        )
        missing = [each for each in stories if each in _SOMETIMES and not account.count(_ANSWERED, each)]
        account.expect(answered < _OFTEN * len(stories) or not missing, f"never answered: {', '.join(missing)}")
    account.expect(not account.count(_ANSWERED, *_NEVER), "what cannot be answered was")
    account.facts |= {
        "requests": f"{account.count()}, of them {account.count(_ANSWERED)} answered, {stats.retried} sent again",
        "connections": f"{stats.opened} opened, {stats.reused} requests on used ones; closed: {dict(stats.closed)}",
        "the hostile server saw": seen,
    }


def soaked(world: World, servers: Servers, tasks: int, seconds: float) -> Account:
    """Two rounds; the second one may leave nothing that the first has not."""
    restarts, first = servers.nginx.restarts, Snapshot()
    warm_up = world.run(lambda: soak(world, servers, tasks, seconds * 0.3))
    gc.collect()
    objects = len(gc.get_objects())
    account = world.run(lambda: soak(world, servers, tasks, seconds * 0.7))
    for leak in first.leaks():
        account.problems.append(f"left behind: {leak}")
    gc.collect()
    growth = len(gc.get_objects()) - objects
    account.expect(growth < _GROWTH, f"{growth} objects are left")
    account.problems += warm_up.problems
    account.facts |= {
        "nginx was started again": f"{servers.nginx.restarts - restarts} times",
        "memory": f"{psutil.Process().memory_info().rss / 1e6:.0f} MB, {growth:+} objects",
    }
    return account
