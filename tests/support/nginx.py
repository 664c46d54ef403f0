"""nginx, as the current user, in a temporary directory, on ports that were free.

| path | what it is |
| --- | --- |
| `/1kB.bin`, `/1MB.bin`, `/100MB.bin` | files; the first two are `pattern(n)`, the last is zeros and takes no space |
| `/text.txt` | `TEXT`, compressed by gzip for those who accept it |
| `/three-requests/...` | the same files; nginx closes a connection after three requests |
| `/no-keepalive/...` | the same files; nginx closes after each response |
| `/small-uploads/...` | takes no more than 1 kB of body, answers 413 before reading more |
| `/slowly/...` | the same files, at 256 kB/s |
| `/app/...` | the application of `app.py` in uvicorn, through nginx as a reverse proxy that does not buffer |

What came after a `?` is sent back in `x-query`. All of it in HTTP/1.1, and at `http2` and `http2_clear` in HTTP/2.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .app import TEXT, pattern
from .programs import find, free_ports, is_listening
from .servers import Server, running
from .tls import CertificateAuthority

# Two programs may be given the same free port; a third time in a row they will not.
_ATTEMPTS = 3

_CONFIG = """
daemon off;
# One process, which ends when it is told to, and needs no user to change to.
master_process off;
pid nginx.pid;
error_log error.log info;
events {{ worker_connections 4096; }}
http {{
    log_format test '$connection $connection_requests $request_method $request_uri $server_protocol $status';
    access_log access.log test;
    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
    types {{ text/plain txt; }}
    default_type application/octet-stream;
    sendfile on;
    tcp_nodelay on;
    keepalive_timeout 60s;
    keepalive_requests 1000000;
    client_max_body_size 0;
    gzip on;
    gzip_types text/plain;
    upstream app {{ server {app}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{http2_retiring} ssl http2;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        root files;
        keepalive_requests 3;
    }}
    server {{
        listen 127.0.0.1:{http};
        listen 127.0.0.1:{https} ssl;
        listen 127.0.0.1:{http2_clear} http2;
        listen 127.0.0.1:{http2} ssl http2;
        listen unix:{uds};
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_session_cache shared:tests:1m;
        root files;
        add_header x-query $args;
        location /three-requests/ {{ alias files/; keepalive_requests 3; }}
        location /no-keepalive/ {{ alias files/; keepalive_timeout 0; }}
        location /small-uploads/ {{ proxy_pass http://app/; client_max_body_size 1k; }}
        location /slowly/ {{ alias files/; limit_rate 256k; }}
        location /app/ {{
            proxy_pass http://app/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_buffering off;
            proxy_request_buffering off;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Nginx(Server):
    """`log` is nginx's access log: connection, number of the request on it, method, URI, protocol, status."""

    uds: str
    """The path of a unix socket on which it listens too."""
    http2: str
    """An https origin that speaks HTTP/2; `https` speaks HTTP/1.1 alone."""
    http2_clear: str
    """An http origin that speaks HTTP/2 alone, so a client has to know."""
    http2_retiring: str
    """An https origin that speaks HTTP/2, with the files alone; it sends GOAWAY after three requests."""


@contextmanager
def nginx(ca: CertificateAuthority, upstream: Server, directory: Path) -> Iterator[Nginx]:
    """nginx in front of static files and of an upstream. Skips where it is not installed, except in CI."""
    program = find_nginx()
    _write_files(directory)
    # The name of a unix socket has some hundred bytes, and pytest's directories are deep.
    with tempfile.TemporaryDirectory(prefix="nginx-") as short:
        for _ in range(_ATTEMPTS):
            server = _configure(directory, Path(short) / "sock", ca, upstream)
            with running([program, "-p", f"{directory}/", "-c", "nginx.conf"], directory / "stderr.log") as process:
                if is_listening(process, server.uds):  # which it opens last
                    yield server
                    return
    raise RuntimeError(f"nginx did not start:\n{(directory / 'stderr.log').read_text()}")


class RestartingNginx:
    """The same, stopped and started again on the same ports. Stopping breaks off what runs, as a crash does.

    Attributes:
        server: where it listens, while it does.
        restarts: how often it was started again.
    """

    def __init__(self, ca: CertificateAuthority, upstream: Server, directory: Path) -> None:
        self._directory = directory
        self._program = find_nginx()
        _write_files(directory)
        self._stack = ExitStack()
        self._short = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="nginx-"))
        self.server = _configure(directory, Path(self._short) / "sock", ca, upstream)
        self.restarts = -1
        self._run = ExitStack()

    def __enter__(self) -> RestartingNginx:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
        self._stack.close()

    def stop(self) -> None:
        self._run.close()
        Path(self.server.uds).unlink(missing_ok=True)

    def start(self) -> None:
        """Somebody may have one of its ports for a moment, an outgoing connection of ours for one."""
        for _ in range(_ATTEMPTS):
            command = [self._program, "-p", f"{self._directory}/", "-c", "nginx.conf"]
            process = self._run.enter_context(running(command, self._directory / "stderr.log"))
            if is_listening(process, self.server.uds):
                self.restarts += 1
                return
            self.stop()
        raise RuntimeError(f"nginx did not start:\n{(self._directory / 'stderr.log').read_text()}")


def find_nginx() -> str:
    """The path of the program. Skips where there is none, except in CI."""
    return find(
        "nginx", "install it with `apt-get install nginx-light` (Debian, Ubuntu) or `brew install nginx` (macOS)"
    )


def _write_files(directory: Path) -> None:
    files = directory / "files"
    files.mkdir()
    (directory / "tmp").mkdir()
    (files / "1kB.bin").write_bytes(pattern(1_000))
    (files / "1MB.bin").write_bytes(pattern(1_000_000))
    (files / "text.txt").write_bytes(TEXT)
    with (files / "100MB.bin").open("wb") as sparse:
        sparse.truncate(100_000_000)


def _configure(directory: Path, uds: Path, ca: CertificateAuthority, upstream: Server) -> Nginx:
    http, https, http2, http2_clear, http2_retiring = free_ports(5)
    uds.unlink(missing_ok=True)
    config = _CONFIG.format(
        app=upstream.http.removeprefix("http://"),
        http=http,
        https=https,
        http2=http2,
        http2_clear=http2_clear,
        http2_retiring=http2_retiring,
        uds=uds,
        chain=ca.server_chain_path,
        key=ca.server_key_path,
    )
    (directory / "nginx.conf").write_text(config)
    log = directory / "access.log"
    return Nginx(
        "nginx",
        f"http://127.0.0.1:{http}",
        f"https://127.0.0.1:{https}",
        log,
        str(uds),
        f"https://127.0.0.1:{http2}",
        f"http://127.0.0.1:{http2_clear}",
        f"https://127.0.0.1:{http2_retiring}",
    )
