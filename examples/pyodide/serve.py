"""Serve the page on which a visitor tries httpcore in the browser: serve.py [port], 8000 by default, 0 for any.

Everything is local: Pyodide from npm (`scripts/install`), the wheel built from this checkout, and a few paths to send
requests to. The headers isolate the page, so that blocking code in its worker may wait for a helper thread.

The documentation has this file for a hook of mkdocs: the page is part of what is built, in `live/`, and `scripts/docs
serve` serves it as it is served here.
"""

from __future__ import annotations

import mimetypes
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from mkdocs.config.defaults import MkDocsConfig

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PYODIDE = ROOT / "tests" / "support" / "pyodide" / "node_modules" / "pyodide"
PYODIDE_FILES = (
    "pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json"
)  # fmt: skip
PAGE_FILES = ("index.html", "page.mjs", "python.mjs", "worker.mjs")
PARTS = [b"part %d\n" % number for number in range(5)]
ISOLATION = [
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
]
MISSING = "<!doctype html><p>Pyodide was not there when this was built: <code>scripts/install</code> installs it."


@cache
def wheel() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return next(Path(folder).glob("*.whl")).read_bytes()


def assemble(folder: Path) -> None:
    """All of the page, so that any server of files can serve it: on one, nothing comes slowly or never."""
    folder.mkdir(parents=True, exist_ok=True)
    if not PYODIDE.is_dir():
        (folder / "index.html").write_text(MISSING)
        return
    (folder / "pyodide").mkdir(exist_ok=True)
    for name in PAGE_FILES:
        shutil.copy(FOLDER / name, folder / name)
    for name in PYODIDE_FILES:
        shutil.copy(PYODIDE / name, folder / "pyodide" / name)
    (folder / "httpcore.whl").write_bytes(wheel())
    (folder / "hello").write_bytes(b"hello")
    (folder / "drip").write_bytes(b"".join(PARTS))


def drip() -> Iterator[bytes]:
    for number, part in enumerate(PARTS):
        time.sleep(0.2 if number else 0)
        yield part


def files(folder: Path) -> WSGIApplication:
    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        name = environ["PATH_INFO"].lstrip("/") or "index.html"
        file = (folder / name).resolve()
        if not file.is_relative_to(folder.resolve()) or not file.is_file():
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"not found"]
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(file.stat().st_size))])
        return [file.read_bytes()]

    return serve


def answering(inner: WSGIApplication, prefix: str) -> WSGIApplication:
    """What the page needs of its server: the headers that isolate it, and paths that answer slowly or never."""

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *exc_info: object) -> object:
            return start_response(status, [*headers, *ISOLATION, ("Cache-Control", "no-store")], *exc_info)  # type: ignore[arg-type]  # handed on as it came

        path = environ["PATH_INFO"]
        if path == f"{prefix}/drip":
            start("200 OK", [("Content-Type", "text/plain")])
            return drip()
        if path == f"{prefix}/never":
            time.sleep(5)
            start("204 No Content", [])
            return []
        return inner(environ, start)  # type: ignore[arg-type]  # it returns what `start_response` returns

    return serve


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def on_post_build(config: MkDocsConfig) -> None:
    """mkdocs has built the documentation."""
    assemble(Path(config.site_dir) / "live")


def on_serve(server: WSGIServer, **_: object) -> WSGIServer:
    """mkdocs is about to serve it."""
    app = server.get_app()
    assert app is not None
    server.set_app(answering(app, "/live"))
    return server


def main(port: int) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that the folder goes too
    with tempfile.TemporaryDirectory() as folder:
        assemble(Path(folder))
        app = answering(files(Path(folder)), "")
        with make_server("127.0.0.1", port, app, server_class=Server, handler_class=Handler) as server:
            print(f"http://127.0.0.1:{server.server_port}/", flush=True)
            server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
