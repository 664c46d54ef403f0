"""nghttpd, the server of nghttp2: strict, and free of anything but HTTP/2.

| path | what it is |
| --- | --- |
| `/1kB.bin`, `/1MB.bin`, `/10MB.bin` | files, which are `pattern(n)` |
| `/text.txt` | `TEXT` |
| anything, POST or PUT | the request's body, once it has ended |

Each response that has a body has the trailer `x-end: yes`. `log` shows each frame as nghttpd received and sent it.
"""

from __future__ import annotations

import re
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


@dataclass(frozen=True)
class Nghttpd(Server):
    """`http` and `https` are two processes, with one log."""

    def received(self, frame: str) -> int:
        """How many frames it received so far that match, such as `RST_STREAM` or `RST_STREAM.*CANCEL`."""
        log = re.sub(r"\n {10,}", " ", self.log.read_text(errors="replace"))
        return len(re.findall(rf"(?m)recv {frame}", log))


@contextmanager
def nghttpd(ca: CertificateAuthority, directory: Path, *options: str) -> Iterator[Nghttpd]:
    """nghttpd in clear and over TLS. Skips where it is not installed, except in CI.

    Args:
        options: of the program, such as `--max-concurrent-streams=1`.
    """
    program, log = find_nghttpd(), directory / "nghttpd.log"
    files = directory / "files"
    files.mkdir()
    for name, size in (("1kB.bin", 1_000), ("1MB.bin", 1_000_000), ("10MB.bin", 10_000_000)):
        (files / name).write_bytes(pattern(size))
    (files / "text.txt").write_bytes(TEXT)
    common = [program, "-v", "--echo-upload", "--trailer=x-end: yes", "-a127.0.0.1", f"-d{files}", *options]
    for _ in range(_ATTEMPTS):
        http, https = free_ports(2)
        in_clear = [*common, "--no-tls", str(http)]
        over_tls = [*common, str(https), str(ca.server_key_path), str(ca.server_chain_path)]
        with ExitStack() as stack:
            processes = [stack.enter_context(running(command, log, True)) for command in (in_clear, over_tls)]
            if all(map(is_listening, processes, (http, https))):
                yield Nghttpd("nghttpd", f"http://127.0.0.1:{http}", f"https://127.0.0.1:{https}", log)
                return
    raise RuntimeError(f"nghttpd did not start:\n{log.read_text()}")


def find_nghttpd() -> str:
    """The path of the program. Skips where there is none, except in CI."""
    return find(
        "nghttpd", "install it with `apt-get install nghttp2-server` (Debian, Ubuntu) or `brew install nghttp2` (macOS)"
    )
