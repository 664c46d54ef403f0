"""Real SOCKS5 servers: dante, which asks for nothing, and microsocks, which asks for user and password.

Dante can ask too, but only for users of the system.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .http_proxies import AUTH, RealProxy
from .programs import find, listening

__all__ = ["dante", "microsocks"]

_DANTE = """
logoutput: stdout
internal: 127.0.0.1 port = {port}
external: lo
clientmethod: none
socksmethod: none
user.privileged: {user}
user.unprivileged: {user}
client pass {{ from: 127.0.0.0/8 to: 127.0.0.0/8 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 log: connect }}
socks pass {{ from: 127.0.0.0/8 to: ::/0 log: connect }}
"""


@contextmanager
def dante(directory: Path) -> Iterator[RealProxy]:
    """Skips where it is not installed, except in CI."""
    program = find("danted", "install it with `apt-get install dante-server` (Debian, Ubuntu)")

    def command(ports: Sequence[int]) -> list[str]:
        config = directory / "danted.conf"
        config.write_text(_DANTE.format(port=ports[0], user=getpass.getuser()))
        return [program, "-f", str(config)]

    with listening(command, 1, directory / "danted.log") as (port,):
        yield RealProxy("dante", f"socks5://127.0.0.1:{port}", directory / "danted.log")


@contextmanager
def microsocks(directory: Path) -> Iterator[RealProxy]:
    """Its log has a line such as `connected to localhost:80`, with the host as it was asked for. Skips where it is not
    installed, except in CI."""
    program, log = find("microsocks", "install it with `apt-get install microsocks` (Debian, Ubuntu)"), "microsocks.log"
    user, password = AUTH

    def command(ports: Sequence[int]) -> list[str]:
        return [program, "-i", "127.0.0.1", "-p", str(ports[0]), "-u", user, "-P", password]

    with listening(command, 1, directory / log) as (port,):
        yield RealProxy("microsocks", f"socks5://127.0.0.1:{port}", directory / log, AUTH)
