"""The servers that all contenders ask: nginx where it is installed, and a small one of our own.

Small answers come from nginx, since that is what one meets, and it is fast enough for any client. Big bodies come from
our own: it sends the same quarter of a megabyte again and again from the cache of its core, where nginx reads files,
which takes longer than any good client needs, so that all of them would look alike.

HTTP/2 all comes from nginx: framing and TLS take a client longer than it takes nginx to read a file.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# What an API answers to a small question.
SMALL_BODY = b'{"id": 1, "name": "A small answer", "tags": ["one", "two", "three"], "is_ready": true}'
SIZES = {"/100MB": 100_000_000, "/1GB": 1_000_000_000}
"""Paths of big bodies, and how long they are."""
# The big body of nginx, and where it takes one.
FILE, TAKE = "/file", "/take"
FILE_SIZE = 100_000_000

# Runs a program and ends it when its own stdin ends, so that no server outlives us, however we end.
_LEASH = Path(__file__).parents[2] / "tests" / "support" / "leash.py"
_START_TIMEOUT = 10.0
# Another program may take the ports between our look and nginx's start; it will not three times in a row.
_ATTEMPTS = 3

# It answers when it has the whole body, in memory, as an application would; nobody wants it then. What it answers comes
# from our own server, where no connection of nginx's is counted.
_TAKE = """location = /take {{
            client_max_body_size 0;
            client_body_buffer_size 128m;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_method GET;
            proxy_pass {bulk}/small;
        }}"""
_CONFIG = """
daemon off;
# One process, on the core it is started on, that needs no user to change to.
master_process off;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
    tcp_nodelay on;
    # Nobody is to be closed for having asked often, or for having waited its turn.
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    # Nor for going on long on one connection: what RFC 9113 recommends as the least, and no less for any client.
    http2_max_concurrent_streams 100;
    # The size of frame that every client takes without being asked, where nginx by itself sends half of it.
    http2_chunk_size 16k;
    output_buffers 2 256k;
    server {{
        listen 127.0.0.1:{http} backlog=2048;
        listen 127.0.0.1:{https} ssl backlog=2048;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location = /small {{ default_type application/json; return 200 '{small}'; }}
        location = /file {{ root .; }}
        {take}
        location = /status {{ stub_status; }}
    }}
    server {{
        listen 127.0.0.1:{http2} ssl http2 backlog=2048;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        # Whoever speaks something else is not to be measured.
        if ($server_protocol != HTTP/2.0) {{ return 505; }}
        location = /small {{ default_type application/json; return 200 '{small}'; }}
        location = /file {{ root .; }}
        {take}
    }}
}}
"""


@dataclass(frozen=True)
class Server:
    name: str
    """With its version."""
    http: str
    """The origin in clear, without a slash at its end."""
    https: str
    """The same over TLS, with HTTP/1.1."""
    http2: str | None
    """The same over TLS, with HTTP/2 and nothing else; None where there is no nginx."""
    bulk: str
    """The origin of `SIZES`, in clear: our own server, which makes tunnels to `tunnelled` too."""
    tunnelled: str
    """The same over TLS."""

    def connections(self) -> int:
        """How many nginx has taken so far; the one that asks is among them."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"{self.http}/status") as response:
            # "Active connections: 1", a line of names, and under it: accepted, handled, requests.
            return int(response.read().split(b"\n")[2].split()[0])


@contextmanager
def serving(certificate: Path, key: Path, directory: Path) -> Iterator[Server]:
    """Start them on this process's core; they end with the block."""
    # Debian has it where only root's PATH looks.
    program = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    with _raw(certificate, key) as (http, https):
        if program is None:
            yield Server(
                "the bundled server",
                _origin(http),
                _origin(https, "https"),
                None,
                _origin(http),
                _origin(https, "https"),
            )
            return
        with _nginx(program, certificate, key, directory, _origin(http)) as ports:
            name = f"{_nginx_version(program)}; for big bodies the bundled server"
            in_clear, secure, http2 = ports
            yield Server(
                name,
                _origin(in_clear),
                _origin(secure, "https"),
                _origin(http2, "https"),
                _origin(http),
                _origin(https, "https"),
            )


def _origin(port: int, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{port}"


@contextmanager
def _nginx(program: str, certificate: Path, key: Path, directory: Path, bulk: str) -> Iterator[tuple[int, int, int]]:
    """Its ports: in clear, over TLS, and with HTTP/2."""
    (directory / "tmp").mkdir()
    with (directory / FILE[1:]).open("wb") as file:
        file.truncate(FILE_SIZE)
    said = directory / "stderr.log"
    for _ in range(_ATTEMPTS):
        http, https, http2 = _free_ports(3)
        config = _CONFIG.format(
            http=http,
            https=https,
            http2=http2,
            certificate=certificate,
            key=key,
            small=SMALL_BODY.decode(),
            take=_TAKE.format(bulk=bulk),
        )
        (directory / "nginx.conf").write_text(config)
        command = [sys.executable, str(_LEASH), program, "-p", f"{directory}/", "-c", "nginx.conf"]
        # Leaving it closes its stdin, which ends it, and waits.
        with said.open("ab") as stderr, subprocess.Popen(command, stdin=subprocess.PIPE, stderr=stderr) as process:
            if _listens(process, http2):
                yield http, https, http2
                return
    raise RuntimeError(f"nginx did not start: {said.read_text()}")


@contextmanager
def _raw(certificate: Path, key: Path) -> Iterator[tuple[int, int]]:
    """The ports of our own, in clear and over TLS."""
    command = [sys.executable, "-P", "-m", "benchmarks.raw_server", str(certificate), str(key)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        http, https = (int(port) for port in process.stdout.readline().split())
        yield http, https


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until it takes connections; False when it has ended instead."""
    deadline = time.monotonic() + _START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return True
        except ConnectionRefusedError:
            time.sleep(0.01)
    return False


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def _nginx_version(program: str) -> str:
    told = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    return told.strip().removeprefix("nginx version: ").replace("/", " ")
