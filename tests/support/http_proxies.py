"""Real HTTP proxies: squid, and in front of it haproxy (TLS, PROXY protocol) and nghttpx (HTTP/2); and proxy.py.

| fixture | how it is reached | asks for credentials |
| --- | --- | --- |
| `squid_proxy.open`, `squid_proxy.asking` | in clear | no; yes |
| `haproxy_proxy` | TLS; squid is told the client's address by the PROXY protocol | no |
| `nghttpx_proxy` | TLS with HTTP/2 or HTTP/1.1, by ALPN | yes |
| `proxy_py_proxy` | TLS | yes |

Each forwards and makes tunnels. `log` has a line for each request when it has ended: wait for it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpcore

from .programs import find, listening, missing
from .tls import CertificateAuthority

__all__ = ["AUTH", "RealProxy", "Squid", "haproxy", "nghttpx", "proxy_py", "squid"]

AUTH = ("proxy-user", "proxy:p@ss wörd")
"""The user and password of those that ask; a colon and more may be in a password."""


@dataclass(frozen=True)
class RealProxy:
    """Where a real proxy listens, as a URL without credentials."""

    name: str
    url: str
    log: Path
    auth: tuple[str, str] | None = None
    """What it asks for, if it does."""

    @property
    def is_socks(self) -> bool:
        return self.url.startswith("socks")

    def knows_of(self, port: str) -> bool:
        """Whether it has logged a destination with this port, before which dante has a dot and others a colon."""
        return any(f"{sign}{port}" in line for sign in ":." for line in self.lines())

    def via(self, ca: CertificateAuthority, **options: Any) -> httpcore.Proxy:
        """The proxy as a pool takes it, trusted and with what it asks for."""
        if self.url.startswith("https:"):
            options = {"ssl": httpcore.SSLConfig(verify=str(ca.pem_path)), **options}
        return httpcore.Proxy(options.pop("url", self.url), **{"auth": self.auth, **options})

    def lines(self, *words: str) -> list[str]:
        """The lines of its log in which all the words are."""
        return [line for line in self.log.read_text().splitlines() if all(word in line for word in words)]


# squid

_SQUID = """
http_port 127.0.0.1:{open} name=open
http_port 127.0.0.1:{behind} name=behind require-proxy-header
http_port 127.0.0.1:{asking} name=asking
proxy_protocol_access allow all
auth_param basic program {helper} {directory}/passwords
auth_param basic children 1 startup=1 idle=1
auth_param basic realm the tests
auth_param basic utf8 on
acl asking myportname asking
acl known proxy_auth REQUIRED
# None but these, so that a test can be refused something.
acl loopback dst 127.0.0.0/8 ::1
http_access deny asking !known
http_access allow loopback
http_access deny all
cache deny all
logformat tests %lp %>p %rm %ru HTTP/%rv %>Hs %un
access_log stdio:{directory}/access.log tests
cache_log {directory}/cache.log
pid_filename none
netdb_filename none
coredump_dir {directory}
pinger_enable off
# It would take as many as the system allows, and memory for each.
max_filedescriptors 4096
shutdown_lifetime 0 seconds
via off
forwarded_for delete
visible_hostname squid.test
"""


@dataclass(frozen=True)
class Squid:
    """Its log: port, client's port, method, URL or authority, version, status, user."""

    open: RealProxy
    asking: RealProxy
    behind_port: int
    """For a program that sends PROXY protocol first."""


@contextmanager
def squid() -> Iterator[Squid]:
    """Skips where it is not installed, except in CI."""
    program = find("squid", "install it with `apt-get install squid` (Debian, Ubuntu) or `brew install squid` (macOS)")
    helper = _beside(program, "basic_ncsa_auth")
    with tempfile.TemporaryDirectory(prefix="squid-") as name:
        directory = Path(name)
        # Started by root, it writes its log as a user of its own, who could not enter pytest's directories either.
        directory.chmod(0o777)
        user, password = AUTH
        digest = hashlib.md5(password.encode(), usedforsecurity=False).hexdigest()  # what the helper reads
        (directory / "passwords").write_text(f"{user}:{digest}\n")

        def command(ports: Sequence[int]) -> list[str]:
            open_port, behind, asking = ports
            values = {"open": open_port, "behind": behind, "asking": asking, "directory": name, "helper": helper}
            (directory / "squid.conf").write_text(_SQUID.format(**values))
            return [program, "-N", "-f", f"{name}/squid.conf"]

        with listening(command, 3, directory / "stdout.log") as (open_port, behind, asking):
            is_open = RealProxy("squid", f"http://127.0.0.1:{open_port}", directory / "access.log")
            is_asking = replace(is_open, url=f"http://127.0.0.1:{asking}", auth=AUTH)
            yield Squid(is_open, is_asking, behind)


def _beside(program: str, helper: str) -> Path:
    root = Path(program).resolve().parents[1]
    for folder in (root / "lib" / "squid", Path("/usr/lib/squid"), root / "libexec", root / "libexec" / "squid"):
        if (folder / helper).exists():
            return folder / helper
    raise RuntimeError(f"{program} is there, and {helper} is not")


# haproxy, which speaks TLS for a proxy that does not

_HAPROXY = """
global
    log stdout format raw daemon
defaults
    log global
    option tcplog
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen tls
    bind 127.0.0.1:{port} ssl crt {pem}
    server squid 127.0.0.1:{squid} send-proxy-v2
"""


@contextmanager
def haproxy(ca: CertificateAuthority, behind: Squid, directory: Path) -> Iterator[RealProxy]:
    """Skips where it is not installed, except in CI."""
    program = find("haproxy", "install it with `apt-get install haproxy` (Debian, Ubuntu) or `brew install haproxy`")
    pem = directory / "server.pem"
    pem.write_text(ca.server_chain_path.read_text() + ca.server_key_path.read_text())

    def command(ports: Sequence[int]) -> list[str]:
        config = directory / "haproxy.cfg"
        config.write_text(_HAPROXY.format(port=ports[0], pem=pem, squid=behind.behind_port))
        return [program, "-f", str(config)]

    with listening(command, 1, directory / "haproxy.log") as (port,):
        yield RealProxy("haproxy", f"https://127.0.0.1:{port}", behind.open.log)


# nghttpx, which speaks HTTP/2


@contextmanager
def nghttpx(ca: CertificateAuthority, behind: Squid, directory: Path) -> Iterator[RealProxy]:
    """Its log: ALPN, request line, status. Skips where it is not installed, except in CI."""
    how = "install it with `apt-get install nghttp2-proxy` (Debian, Ubuntu) or `brew install nghttp2` (macOS)"
    program, log = find("nghttpx", how), directory / "access.log"
    host, port = behind.asking.url.removeprefix("http://").split(":")

    def command(ports: Sequence[int]) -> list[str]:
        return [
            program, "--http2-proxy", "--conf=/dev/null", "--single-process", "--workers=1", "--no-ocsp",
            f"--frontend=127.0.0.1,{ports[0]}", f"--backend={host},{port}", f"--accesslog-file={log}",
            "--accesslog-format=$alpn $request $status", "--errorlog-file=/dev/stderr", "--log-level=WARN",
            str(ca.server_key_path), str(ca.server_chain_path),
        ]  # fmt: skip

    with listening(command, 1, directory / "nghttpx.log") as (listens,):
        yield RealProxy("nghttpx", f"https://127.0.0.1:{listens}", log, AUTH)


# proxy.py


@contextmanager
def proxy_py(ca: CertificateAuthority, directory: Path) -> Iterator[RealProxy]:
    """Skips where it is not installed, except in CI."""
    if importlib.util.find_spec("proxy") is None:
        missing("proxy.py", "install it with `pip install proxy.py`")
    log = directory / "proxy.log"

    def command(ports: Sequence[int]) -> list[str]:
        return [
            sys.executable, "-m", "proxy", "--hostname=127.0.0.1", f"--port={ports[0]}", "--num-acceptors=1",
            "--num-workers=1", f"--data-dir={directory}", f"--basic-auth={':'.join(AUTH)}",
            f"--cert-file={ca.server_chain_path}", f"--key-file={ca.server_key_path}",
        ]  # fmt: skip

    with listening(command, 1, log) as (port,):
        yield RealProxy("proxy.py", f"https://127.0.0.1:{port}", log, AUTH)
