"""What is measured, and how much is wanted."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from .orders import Sample
from .server import FILE, FILE_SIZE, TAKE
from .team import Entrant


@dataclass(frozen=True)
class Row:
    """One line of the table: one of our figures over another, or alone where there is no other."""

    what: str
    ours: str
    """The label of an entrant."""
    other: str | None
    wanted: float | None = None
    """What we promise: at least, or at most where less is better. None where a row is for information."""
    aim: float | None = None


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    about: str
    """What it tells, for the page."""
    entrants: tuple[Entrant, ...]
    rows: tuple[Row, ...]
    figure: Callable[[Sample], float]
    unit: str
    task: str = "rate"
    path: str = "/small"
    is_secure: bool = False
    is_http2: bool = False
    """Whether its rows stand in a part of their own, about HTTP/2, and it needs a server that speaks it."""
    is_slow: bool = False
    size: int = 0
    """Of a body to be sent."""
    is_less_better: bool = False
    warm_up: float = 0.2
    is_fresh: bool = False
    """Whether each turn wants a new process."""
    summary: Callable[[Sequence[float]], float] = statistics.median
    """What speaks for all rounds."""

    def wanted_only(self) -> Scenario:
        """The same without the rows for information, and without the entrants that only they need."""
        rows = tuple(row for row in self.rows if row.wanted is not None)
        labels = {label for row in rows for label in (row.ours, row.other)}
        return replace(self, rows=rows, entrants=tuple(e for e in self.entrants if e.label in labels))


def _requests_a_second(sample: Sample) -> float:
    return sample.requests / sample.wall


def cpu_a_request(sample: Sample) -> float:
    """In µs."""
    return sample.cpu / sample.requests * 1e6


def _megabytes_a_second(sample: Sample) -> float:
    return sample.received / sample.wall / 1e6


def _megabytes_grown(sample: Sample) -> float:
    return sample.grown / 1e6


_HTTPTOOLS = {"engine": "httptools"}
_H11 = {"engine": "h11"}


def _ours(label: str = "httpcore", world: str = "asyncio", at_once: int = 1, connections: int = 0) -> Entrant:
    return Entrant(label, "ours", world, at_once, connections, _HTTPTOOLS)


def _http2(contender: str, at_once: int = 1) -> Entrant:
    """All of its requests on one connection."""
    label, options = ("httpcore", _HTTPTOOLS) if contender == "ours" else (contender, {})
    return Entrant(label, contender, at_once=at_once, connections=1, options=options, is_http2=True)


def _peer(contender: str, world: str = "asyncio", at_once: int = 1) -> Entrant:
    return Entrant(contender.replace("http_client", "http.client"), contender, world, at_once)


def _floor(world: str = "asyncio", at_once: int = 1) -> Entrant:
    labels = {"asyncio": "a bare Protocol", "uvloop": "a bare Protocol", "trio": "a bare stream"}
    return Entrant(labels.get(world, "a bare socket"), "floor", world, at_once)


_GET_50 = Scenario(
    name="get-50",
    title="small GET, 50 at a time",
    about="An API client or a gateway under load: 50 tasks on 50 connections, each asking for a small answer again and "
    "again.",
    entrants=(
        _ours(at_once=50),
        _peer("aiohttp", at_once=50),
        _peer("pyreqwest", at_once=50),
        _peer("httpcore2", at_once=50),
        _peer("httpx", at_once=50),
        _floor(at_once=50),
    ),
    rows=(
        Row("small GET, 50 at a time, httptools, against aiohttp", "httpcore", "aiohttp", 1.6, 2.0),
        Row("the same against pyreqwest (Rust)", "httpcore", "pyreqwest", 0.8, 1.0),
        Row("the same against httpcore2", "httpcore", "httpcore2"),
        Row("the same against httpx", "httpcore", "httpx"),
        Row("the same against a bare asyncio.Protocol", "httpcore", "a bare Protocol"),
    ),
    figure=_requests_a_second,
    unit="requests/s",
)

_GET_1 = Scenario(
    name="get-1",
    title="small GET, one after another",
    about="A script or a handler that awaits one answer before it asks the next question: how long a request takes.",
    entrants=(
        _ours(),
        _peer("aiohttp"),
        _peer("pyreqwest"),
        _peer("httpcore2"),
        _peer("httpx"),
        _floor(),
    ),
    rows=(
        Row("one after another, httptools, against aiohttp", "httpcore", "aiohttp", 1.3, 1.5),
        Row("the same against pyreqwest (Rust)", "httpcore", "pyreqwest"),
        Row("the same against httpcore2", "httpcore", "httpcore2"),
        Row("the same against httpx", "httpcore", "httpx"),
        Row("the same against a bare asyncio.Protocol", "httpcore", "a bare Protocol"),
    ),
    figure=_requests_a_second,
    unit="requests/s",
)

_H11_50 = Scenario(
    name="h11-50",
    title="small GET, 50 at a time, with h11",
    about="The same as get-50 with the engine that is always there, which is pure Python; aiohttp has its C parser.",
    entrants=(
        Entrant("httpcore", "ours", at_once=50, options=_H11),
        _peer("aiohttp", at_once=50),
        _peer("httpcore2", at_once=50),
    ),
    rows=(
        Row("50 at a time, h11, against aiohttp (C parser)", "httpcore", "aiohttp", 0.75, 0.9),
        Row("the same against httpcore2 (h11 too)", "httpcore", "httpcore2"),
    ),
    figure=_requests_a_second,
    unit="requests/s",
)

_TLS_50 = Scenario(
    name="tls-50",
    title="small GET over TLS, 50 at a time",
    about="The same as get-50 over https, certificates verified, connections kept; pyreqwest brings a TLS of its own.",
    entrants=(
        _ours(at_once=50),
        _peer("aiohttp", at_once=50),
        _peer("pyreqwest", at_once=50),
        _peer("httpcore2", at_once=50),
    ),
    rows=(
        Row("TLS, 50 at a time, httptools, against aiohttp", "httpcore", "aiohttp", 1.4, 1.6),
        Row("the same against pyreqwest (rustls)", "httpcore", "pyreqwest"),
        Row("the same against httpcore2", "httpcore", "httpcore2"),
    ),
    figure=_requests_a_second,
    unit="requests/s",
    is_secure=True,
    warm_up=0.5,
)

_TUNNEL_50 = Scenario(
    name="tunnel-50",
    title="small GET through a proxy's tunnels, 50 at a time",
    about="Requests over https through tunnels (CONNECT) against direct ones, to the same server, which is proxy and "
    "origin in one: what a proxy takes for passing bytes on is not our doing, and not in it.",
    entrants=(_ours(at_once=50), replace(_ours("through tunnels", at_once=50), is_tunnelled=True)),
    rows=(Row("50 at a time through tunnels, against direct ones", "through tunnels", "httpcore", 0.95, 1.0),),
    figure=_requests_a_second,
    unit="requests/s",
    is_secure=True,
    warm_up=0.5,
)

_SCALING = Scenario(
    name="scaling",
    title="CPU per request at 1,000 connections",
    about="Whether a pool slows down as it fills: CPU per request with 1,000 tasks on 1,000 connections, over the same "
    "with 20 on 20. What kernel and caches charge for many sockets is in it; the bare Protocol shows how much.",
    entrants=tuple(
        replace(entrant, label=f"{entrant.label} at {at_once}", at_once=at_once, connections=1000)
        for entrant in (_ours(), _peer("aiohttp"), _floor())
        for at_once in (20, 1000)
    ),
    rows=(
        Row("CPU per request at 1,000 connections, against 20", "httpcore at 1000", "httpcore at 20", 1.3, 1.1),
        Row("the same for aiohttp", "aiohttp at 1000", "aiohttp at 20"),
        Row("the same for a bare asyncio.Protocol", "a bare Protocol at 1000", "a bare Protocol at 20"),
    ),
    figure=cpu_a_request,
    unit="µs of CPU a request",
    is_less_better=True,
    warm_up=0.6,
)

_BLOCKING = Scenario(
    name="blocking",
    title="blocking, one after another",
    about="Plain blocking code, SyncConnectionPool against the clients that such code uses.",
    entrants=(
        _ours(world="blocking"),
        _peer("http_client", world="blocking"),
        _peer("pycurl", world="blocking"),
        _peer("urllib3", world="blocking"),
        _peer("httpcore2", world="blocking"),
        _peer("pyreqwest", world="blocking"),
        _floor(world="blocking"),
    ),
    rows=(
        Row("blocking, one after another, against http.client", "httpcore", "http.client", 1.4, 1.7),
        Row("the same against pycurl (C)", "httpcore", "pycurl", 0.9, 1.1),
        Row("the same against urllib3", "httpcore", "urllib3"),
        Row("the same against httpcore2", "httpcore", "httpcore2"),
        Row("the same against pyreqwest (Rust)", "httpcore", "pyreqwest"),
        Row("the same against a bare socket", "httpcore", "a bare socket"),
    ),
    figure=_requests_a_second,
    unit="requests/s",
)

_TRIO_50 = Scenario(
    name="trio-50",
    title="small GET on trio, 50 at a time",
    about="The same as get-50 on trio.",
    entrants=(
        _ours(world="trio", at_once=50),
        _peer("httpcore2", world="trio", at_once=50),
        _floor(world="trio", at_once=50),
    ),
    rows=(
        Row("trio, 50 at a time, against httpcore2 on trio", "httpcore", "httpcore2", 2.0, 3.0),
        Row("the same against a bare trio.SocketStream", "httpcore", "a bare stream"),
    ),
    figure=_requests_a_second,
    unit="requests/s",
)

_UVLOOP_50 = Scenario(
    name="uvloop-50",
    title="small GET on uvloop, 50 at a time",
    about="The same as get-50 on uvloop, for those who use it.",
    entrants=(
        _ours(world="uvloop", at_once=50),
        replace(_ours(at_once=50), label="httpcore on asyncio"),
        _peer("aiohttp", world="uvloop", at_once=50),
        _floor(world="uvloop", at_once=50),
    ),
    rows=(
        Row("uvloop, 50 at a time, against aiohttp on uvloop", "httpcore", "aiohttp"),
        Row("the same against a bare Protocol on uvloop", "httpcore", "a bare Protocol"),
        Row("httpcore on uvloop against httpcore on asyncio", "httpcore", "httpcore on asyncio"),
    ),
    figure=_requests_a_second,
    unit="requests/s",
)

_DOWNLOAD = Scenario(
    name="download",
    title="streaming a 100 MB body",
    about="Big downloads, part by part, one after another.",
    entrants=(
        _ours(),
        _floor(),
        _peer("aiohttp"),
        Entrant("aiohttp, in chunks", "aiohttp", options={"chunk": "65536"}),
        _peer("pyreqwest"),
        _peer("httpcore2"),
        _peer("httpx"),
    ),
    rows=(
        Row("streaming a 100 MB body, against a bare asyncio.Protocol", "httpcore", "a bare Protocol", 0.6, 0.8),
        Row("the same against aiohttp", "httpcore", "aiohttp", 1.3, 1.8),
        Row("the same against aiohttp's iter_chunked(65536)", "httpcore", "aiohttp, in chunks"),
        Row("the same against pyreqwest (Rust)", "httpcore", "pyreqwest"),
        Row("the same against httpcore2", "httpcore", "httpcore2"),
        Row("the same against httpx", "httpcore", "httpx"),
    ),
    figure=_megabytes_a_second,
    unit="MB/s",
    task="download",
    path="/100MB",
)

_OURS_1 = "httpcore, HTTP/1.1"

_H2_50 = Scenario(
    name="h2-50",
    title="HTTP/2: small GET, 50 at a time",
    about="The same as tls-50 over HTTP/2: 50 tasks on 50 streams of one connection. httpcore, httpcore2 and httpx "
    "have the same h2 library below them, which is pure Python, curl_cffi has libcurl and nghttp2, pyreqwest Rust's "
    "hyper. The row against HTTP/1.1 has 50 connections on its other side.",
    entrants=(
        _http2("ours", 50),
        _http2("httpcore2", 50),
        _http2("curl_cffi", 50),
        _http2("httpx", 50),
        _http2("pyreqwest", 50),
        _ours(_OURS_1, at_once=50),
    ),
    rows=(
        Row("HTTP/2, 50 streams, small GET, against httpcore2", "httpcore", "httpcore2", 2.5, 3.5),
        Row("the same against curl_cffi (libcurl, nghttp2)", "httpcore", "curl_cffi", 1.0, 1.3),
        Row("the same against httpx", "httpcore", "httpx"),
        Row("the same against pyreqwest (Rust)", "httpcore", "pyreqwest"),
        Row("the same against httpcore over HTTP/1.1", "httpcore", _OURS_1),
    ),
    figure=_requests_a_second,
    unit="requests/s",
    is_secure=True,
    warm_up=0.5,
    is_http2=True,
)

_H2_DOWNLOAD = Scenario(
    name="h2-download",
    title="HTTP/2: streaming a 100 MB body",
    about="One stream over TLS, part by part, in frames of 16 KiB, one body after another.",
    entrants=(
        _http2("ours"),
        _http2("httpcore2"),
        _http2("curl_cffi"),
        _http2("httpx"),
        _http2("pyreqwest"),
        _ours(_OURS_1),
    ),
    rows=(
        Row("HTTP/2, 100 MB down, against httpcore2", "httpcore", "httpcore2", 3.0, 4.0),
        Row("the same against curl_cffi (libcurl, nghttp2)", "httpcore", "curl_cffi"),
        Row("the same against httpx", "httpcore", "httpx"),
        Row("the same against pyreqwest (Rust)", "httpcore", "pyreqwest"),
        Row("the same against httpcore over HTTP/1.1", "httpcore", _OURS_1),
    ),
    figure=_megabytes_a_second,
    unit="MB/s",
    task="download",
    path=FILE,
    is_secure=True,
    is_http2=True,
)

_H2_UPLOAD = Scenario(
    name="h2-upload",
    title="HTTP/2: sending a 100 MB body",
    about="One stream over TLS, from an async generator that gives 64 KiB at a time; the server answers when it has "
    "all of it, and keeps its window open.",
    entrants=(
        _http2("ours"),
        _http2("httpcore2"),
        _http2("curl_cffi"),
        _http2("httpx"),
        _http2("pyreqwest"),
        _ours(_OURS_1),
    ),
    rows=(
        Row("HTTP/2, 100 MB up, against httpcore2", "httpcore", "httpcore2", 2.0, 3.0),
        Row("the same against curl_cffi (libcurl, nghttp2)", "httpcore", "curl_cffi"),
        Row("the same against httpx", "httpcore", "httpx"),
        Row("the same against pyreqwest (Rust)", "httpcore", "pyreqwest"),
        Row("the same against httpcore over HTTP/1.1", "httpcore", _OURS_1),
    ),
    figure=_megabytes_a_second,
    unit="MB/s",
    task="upload",
    path=TAKE,
    size=FILE_SIZE,
    is_secure=True,
    is_http2=True,
)

_H2_WAITING = Scenario(
    name="h2-waiting",
    title="HTTP/2: CPU per request with 1,000 waiting",
    about="Whether waiting for a stream costs more the more wait: CPU per request with 1,000 tasks that share the 100 "
    "streams of one connection, over the same with 20 tasks. (curl_cffi would make further connections.)",
    entrants=tuple(
        replace(entrant, label=f"{entrant.label} at {entrant.at_once}")
        for contender in ("ours", "httpcore2")
        for entrant in (_http2(contender, 20), _http2(contender, 1000))
    ),
    rows=(
        Row("HTTP/2, CPU per request, 1,000 waiting, against 20", "httpcore at 1000", "httpcore at 20", 1.3, 1.1),
        Row("the same for httpcore2", "httpcore2 at 1000", "httpcore2 at 20"),
    ),
    figure=cpu_a_request,
    unit="µs of CPU a request",
    is_less_better=True,
    is_secure=True,
    warm_up=0.6,
    is_http2=True,
)

_MEMORY_ENTRANTS = (
    _ours("httpcore"),
    _ours("httpcore on trio", "trio"),
    _ours("httpcore, blocking", "blocking"),
    _peer("aiohttp"),
    _peer("pyreqwest"),
    _peer("httpcore2"),
)


def _memory(name: str, how: str, is_slow: bool, about: str) -> Scenario:
    ours = tuple(
        Row(f"memory while streaming 1 GB, {how}{where}", label, None, 16.0, 4.0)
        for label, where in (
            ("httpcore", ""),
            ("httpcore on trio", ", on trio"),
            ("httpcore, blocking", ", blocking"),
        )
    )
    peers = tuple(Row(f"the same for {peer}", peer, None) for peer in ("aiohttp", "pyreqwest", "httpcore2"))
    return Scenario(
        name=name,
        title=f"memory while streaming 1 GB, {how}",
        about=about,
        entrants=_MEMORY_ENTRANTS,
        rows=ours + peers,
        figure=_megabytes_grown,
        unit="MB more",
        task="memory",
        path="/1GB",
        is_slow=is_slow,
        is_less_better=True,
        is_fresh=True,
        summary=max,
    )


_IMPORT_ROWS = (
    Row("`import httpcore`", "httpcore", None, 40.0, 25.0),
    Row("and with a pool made, ready for a request", "httpcore, ready", None),
    *(Row(f"the same for {peer}", peer, None) for peer in ("aiohttp", "pyreqwest", "httpcore2", "httpx", "urllib3")),
)

IMPORT = Scenario(
    name="import",
    title="import",
    about="How much more CPU an interpreter takes to start and end with the import than without.",
    # Not workers: `imports` measures it.
    entrants=(),
    rows=_IMPORT_ROWS,
    figure=lambda sample: sample.wall * 1e3,
    unit="ms",
    is_less_better=True,
)

SCENARIOS = (
    _GET_50,
    _GET_1,
    _H11_50,
    _TLS_50,
    _TUNNEL_50,
    _SCALING,
    _BLOCKING,
    _TRIO_50,
    _UVLOOP_50,
    _DOWNLOAD,
    _H2_50,
    _H2_DOWNLOAD,
    _H2_UPLOAD,
    _H2_WAITING,
    _memory(
        "memory-fast",
        "fast reader",
        False,
        "By how much the peak of resident memory passes what was in use before, in a new process. The worst round "
        "counts.",
    ),
    _memory(
        "memory-slow",
        "slow reader",
        True,
        "The same with a reader that rests after each megabyte, and once for a second: is the server held back?",
    ),
    IMPORT,
)
