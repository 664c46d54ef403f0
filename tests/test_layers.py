"""The house has floors: imports point down, and each world's library is known in one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "httpcore"

FLOORS = (
    (
        "_errors",
        "_urls",
        "_headers",
        "_config",
        "_fetch_options",
        "_network",
        "_fetch_rules",
        "_proxy",
        "_proxy_environment",
        "_route",
        "_node_rules",
        "_bodies",
        "_trace",
        "_clock",
        "_request",
    ),
    (
        "_pool_state",
        "_stats",
        "_decoders",
        "_socks",
        "_engines.framing",
        "_engines.http11",
        "_engines.h11",
        "_engines.httptools",
        "_engines.zttp",
        "_engines.http2",
        "_engines.h2",
        "_engines",
    ),
    (
        "_streams",
        "_backends",
        "_backends.sockets",
        "_backends.racing",
        "_backends.threads",
        "_backends.loop",
        "_backends.asyncio",
        "_backends.anyio",
        "_backends.blocking",
        "_sessions",
        "_backends.emscripten",
        "_backends.node",
        "_tls",
        "_tls_contexts",
    ),
    (
        "_carrier",
        "_upload",
        "_http11",
        "_http2_tunnel",
        "_http2_stream",
        "_http2",
        "_javascript",
        "_javascript.call",
        "_javascript.runtime",
        "_javascript.uploads",
        "_javascript.errors",
        "_javascript.promise",
        "_javascript.worker",
        "_javascript.xhr",
        "_fetch",
    ),
    ("_resolver", "_dialing", "_dial", "_tunnel", "_connect", "_network_stream", "_exchange", "_response"),
    ("_options", "_keeper", "_pool"),
    ("_sync",),
    ("testing", ""),
)
FLOOR_OF = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}
HOMES_OF = {
    "asyncio": {"_backends.asyncio", "_backends.emscripten", "_backends.loop", "_backends.node"},
    "anyio": {"_backends.anyio"},
    "h11": {"_engines.h11"},
    "h2": {"_engines.h2"},
    "hpack": {"_engines.h2"},
    "httptools": {"_engines.httptools"},
    "zttp": {"_engines.zttp"},
    "brotli": {"_decoders"},
    "certifi": {"_tls_contexts"},
    "js": {
        "_backends.node",
        "_fetch",
        "_javascript.errors",
        "_javascript.promise",
        "_javascript.runtime",
        "_javascript.worker",
        "_javascript.xhr",
        "_node_rules",
    },
    "pyodide": {
        "_backends.emscripten",
        "_backends.node",
        "_fetch",
        "_javascript.promise",
        "_javascript.runtime",
        "_javascript.worker",
        "_javascript.xhr",
    },
    "pyodide_js": {"_backends.emscripten", "_backends.node", "_node_rules"},
}


def modules() -> list[tuple[str, ast.Module]]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found.append((name, ast.parse(path.read_text("utf-8"))))
    return found


def imported(name: str, tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """(module, whether it is of ours) for each import, those that only type checkers see included."""
    package = name if (ROOT / name.replace(".", "/")).is_dir() else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, False
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or "", (node.module or "").partition(".")[0] == "httpcore"
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if package else []
            target = ".".join([*base, node.module or ""]).strip(".")
            for alias in node.names:
                deeper = f"{target}.{alias.name}".strip(".")
                yield (deeper if deeper in FLOOR_OF else target), True


def test_every_module_has_its_floor() -> None:
    assert {name for name, _ in modules()} == set(FLOOR_OF)


@pytest.mark.parametrize(("name", "tree"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_down(name: str, tree: ast.Module) -> None:
    upward = [
        module for module, is_ours in imported(name, tree) if is_ours and FLOOR_OF[module.strip(".")] > FLOOR_OF[name]
    ]
    assert not upward


def test_no_two_modules_import_each_other() -> None:
    edges = {
        name: {module for module, is_ours in imported(name, tree) if is_ours and module != name}
        for name, tree in modules()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for module in edges.get(name, ()):
                visit(module, (*path, name))
            done.add(name)

    for name in edges:
        visit(name, ())


@pytest.mark.parametrize(("library", "homes"), HOMES_OF.items())
def test_a_library_is_imported_in_its_own_place_only(library: str, homes: set[str]) -> None:
    users = [
        name
        for name, tree in modules()
        for module, is_ours in imported(name, tree)
        if not is_ours and module.partition(".")[0] == library
    ]
    assert set(users) == homes
