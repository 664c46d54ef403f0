"""What is shown is run: every Python block of README.md and docs/, every program in examples/, and the demo.

Each runs against real servers, in a process of its own where a warning is an error. Nothing but the addresses and file
names is replaced.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run_page import blocks
from tests.support.app import TEXT
from tests.support.http2_peer import DataFrame, HTTP2Conn, HTTP2Peer, Setting, http2_context
from tests.support.http_proxies import RealProxy, Squid
from tests.support.peer import ScriptedPeer
from tests.support.servers import Server
from tests.support.tls import CertificateAuthority

_ROOT = Path(__file__).parents[1]
_PAGES = sorted(path for path in (_ROOT / "README.md", *(_ROOT / "docs").glob("*.md")) if any(blocks(path.read_text())))
# What they are run against, and what they print then. The gateway is a server, and has a test module of its own; the
# one about proxies has more arguments.
_EXAMPLES = {
    "get.py": ("/gzip", f"{len(TEXT)} bytes"),
    "http2.py": ("/gzip", "100 answers in HTTP/2\nconnections: 1\n"),
    "limits.py": ("/gzip", "100 answers"),
    "stream.py": ("/gzip", f"200 {len(TEXT)} bytes"),
    "sync.py": ("/gzip", f"{len(TEXT)} bytes, streamed"),
    "upload.py": ("/upload", "200 OK"),
}


@pytest.fixture
def folder(tmp_path: Path, ca: CertificateAuthority) -> Path:
    """A working directory with the files that the pages name."""
    chain, key = ca.client_certificate()
    for source, name in ((ca.pem_path, "ca.pem"), (chain, "client.pem"), (key, "client.key")):
        shutil.copy(source, tmp_path / name)
    return tmp_path


def echo(conn: HTTP2Conn) -> None:
    """A tunnel in which everything comes back, as no real server here has one."""
    stream_id = conn.read_head().stream_id
    conn.send_head(stream_id)
    while not conn.is_reset(stream_id):
        frame = conn.recv_frame()
        if isinstance(frame, DataFrame):
            conn.send_data(stream_id, frame.data)


@pytest.fixture
def addresses(
    uvicorn_server: Server,
    hypercorn_server: Server,
    squid_proxy: Squid,
    haproxy_proxy: RealProxy,
    dante_proxy: RealProxy,
    ca: CertificateAuthority,
) -> Iterator[dict[str, str]]:
    """What stands for the addresses of the pages; longer ones first."""
    offer = {Setting.ENABLE_CONNECT_PROTOCOL: 1}
    with (
        ScriptedPeer.answering(b"HTTP/1.1 200 OK\r\n\r\n", tls=ca.expired()) as expired,
        HTTP2Peer(echo, tls=http2_context(ca), settings=offer) as tunnel,
    ):
        yield {
            "http://proxy.example.org:3128": squid_proxy.open.url,
            "http://strict.example.org:3128": squid_proxy.asking.url,
            "https://proxy.example.org": haproxy_proxy.url,
            "socks5h://proxy.example.org": dante_proxy.url.replace("socks5:", "socks5h:"),
            "https://expired.example.org": expired.origin,
            "https://http2.example.org/chat": f"{tunnel.origin}/chat",
            "https://http2.example.org/download": f"{hypercorn_server.https}/bytes/10000000",
            "https://http2.example.org": hypercorn_server.https,
            "http://http2.example.org": hypercorn_server.http,
            "https://example.org/download": f"{uvicorn_server.https}/gzip",
            "https://example.org/events": f"{uvicorn_server.https}/sse",
            "https://example.org/slow": f"{uvicorn_server.https}/slow?delay=30",
            "https://example.org": uvicorn_server.https,
            "https://127.0.0.1/": f"{uvicorn_server.https}/",
            '"example.org"': '"localhost"',
        }


def run(folder: Path, *command: str | Path) -> str:
    """What a program prints. It trusts the throw-away CA because the environment says so, as a user's would."""
    environment = {**os.environ, "SSL_CERT_FILE": str(folder / "ca.pem"), "PYTHONPATH": str(_ROOT)}
    arguments = [sys.executable, "-W", "error", *map(str, command)]
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", _PAGES, ids=[path.name for path in _PAGES])
def test_a_page_does_what_it_says(page: Path, folder: Path, addresses: dict[str, str]) -> None:
    text = page.read_text()
    for shown, real in addresses.items():
        text = text.replace(shown, real)
    (folder / page.name).write_text(text)
    run(folder, _ROOT / "tests" / "run_page.py", page.name)


@pytest.mark.parametrize("name", _EXAMPLES)
def test_an_example_does_what_it_says(
    name: str, folder: Path, uvicorn_server: Server, hypercorn_server: Server
) -> None:
    path, expected = _EXAMPLES[name]
    server = hypercorn_server if name == "http2.py" else uvicorn_server
    assert expected in run(folder, _ROOT / "examples" / name, server.https + path)


def test_the_example_of_a_proxy_goes_through_it(
    folder: Path, uvicorn_server: Server, squid_proxy: Squid, haproxy_proxy: RealProxy
) -> None:
    program, url = _ROOT / "examples" / "proxy.py", f"{uvicorn_server.https}/gzip"
    direct = "200 OK in HTTP/1.1"
    assert direct in run(folder, program, url)
    assert f"{direct}, through {squid_proxy.open.url}" in run(folder, program, url, squid_proxy.open.url)
    chain = [haproxy_proxy.url, squid_proxy.open.url]
    assert f"{direct}, through {', '.join(chain)}" in run(folder, program, url, *chain)
    assert "refused: 407 Proxy Authentication Required" in run(folder, program, url, squid_proxy.asking.url)


def test_the_demo_holds(folder: Path) -> None:
    assert "All of it held." in run(folder, _ROOT / "scripts" / "demo.py")


def test_nothing_is_left_out() -> None:
    pages = {
        "README.md",
        "proxies-and-connecting.md",
        "quickstart.md",
        "streaming.md",
        "http2.md",
        "tls.md",
        "sync.md",
        "errors.md",
    }
    assert pages <= {page.name for page in _PAGES}
    assert {path.name for path in (_ROOT / "examples").glob("*.py")} == {*_EXAMPLES, "gateway.py", "proxy.py"}
