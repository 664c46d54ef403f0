"""Serve the page on which a visitor tries httpcore in the browser: serve.py [port], 8000 by default, 0 for any.

Everything is local: Pyodide from npm (`scripts/install`), the wheel built from this checkout, and a few paths to send
requests to. The headers isolate the page, so that blocking code in its worker may wait for a helper thread.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PYODIDE = ROOT / "tests" / "support" / "pyodide" / "node_modules" / "pyodide"
TYPES = {".mjs": "text/javascript", ".wasm": "application/wasm", ".html": "text/html; charset=utf-8"}


def build_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return next(folder.glob("*.whl"))


class Handler(SimpleHTTPRequestHandler):
    """The page, Pyodide, the wheel, and /hello, /drip and /never."""

    wheel: Path
    extensions_map = SimpleHTTPRequestHandler.extensions_map | TYPES

    def translate_path(self, path: str) -> str:
        path = path.partition("?")[0]
        if path == "/httpcore.whl":
            return str(self.wheel)
        folder, name = (PYODIDE, path.removeprefix("/pyodide/")) if path.startswith("/pyodide/") else (FOLDER, path[1:])
        file = (folder / (name or "index.html")).resolve()
        return str(file if file.is_relative_to(folder.resolve()) else folder / "not found")

    def do_GET(self) -> None:
        match self.path:
            case "/hello":
                self.answer([b"hello"])
            case "/drip":
                self.answer([b"part %d\n" % number for number in range(5)])
            case "/never":
                time.sleep(5)
            case _:
                super().do_GET()

    def answer(self, parts: list[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        for number, part in enumerate(parts):
            time.sleep(0.2 if number else 0)
            self.wfile.write(part)
            self.wfile.flush()

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def main(port: int) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that the folder goes too
    with tempfile.TemporaryDirectory() as folder:
        Handler.wheel = build_wheel(Path(folder))
        with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
            print(f"http://127.0.0.1:{server.server_port}/", flush=True)
            server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
