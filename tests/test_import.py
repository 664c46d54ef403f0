"""P59: importing is cheap, and what is heavy loads when it is first used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.cost import assert_cheaper
from tests.support.peer import ScriptedPeer

HEAVY = ("h2", "ssl", "asyncio", "anyio", "trio", "brotli", "h11", "httptools", "certifi", "idna", "socket", "zlib")
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def loaded_after(code: str) -> set[str]:
    """The modules in a new interpreter after `code`, which may print nothing itself."""
    script = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=50)
    return set(done.stdout.split())


def test_p59_import_loads_nothing_heavy() -> None:
    assert not loaded_after("import httpcore") & set(HEAVY)


def test_p59_making_a_pool_loads_neither_tls_nor_an_event_loop() -> None:
    code = "import httpcore; httpcore.SyncConnectionPool()"
    assert not loaded_after(code) & {"ssl", "asyncio", "anyio", "trio", "h2", "h11", "brotli", "certifi"}


@pytest.mark.parametrize("name", ["ConnectionPool", "Timeout", "Headers", "HTTPCoreError", "URL"])
def test_p59_a_name_loads_what_it_needs_when_it_is_first_used(name: str) -> None:
    assert not loaded_after(f"import httpcore; httpcore.{name}") & {"h2", "ssl", "anyio", "trio", "certifi"}


def test_p59_a_plain_blocking_request_loads_neither_tls_nor_an_event_loop() -> None:
    with ScriptedPeer.answering(HELLO) as peer:
        code = (
            "import httpcore\n"
            "with httpcore.SyncConnectionPool(http1_engine='httptools') as http:\n"
            f"    assert http.request('GET', {peer.url!r}).body == b'hello'"
        )
        assert not loaded_after(code) & {"ssl", "asyncio", "anyio", "trio", "h2", "h11", "certifi", "idna"}


def test_p59_a_plain_request_on_asyncio_loads_no_other_world() -> None:
    with ScriptedPeer.answering(HELLO) as peer:
        code = (
            "import asyncio, httpcore\n"
            "async def main():\n"
            "    async with httpcore.ConnectionPool(http1_engine='h11') as http:\n"
            f"        assert (await http.request('GET', {peer.url!r})).body == b'hello'\n"
            "asyncio.run(main())"
        )
        assert not loaded_after(code) & {"anyio", "trio", "h2", "httptools", "certifi", "idna"}


def test_p59_import_costs_less_cpu_than_that_of_asyncio() -> None:
    """As a ratio, since machines differ: asyncio takes about 40 ms where httpcore has 30."""

    def seconds(code: str) -> float:
        script = f"import time; start = time.process_time()\n{code}\nprint(time.process_time() - start)"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=50)
        return float(done.stdout)

    assert_cheaper(lambda: seconds("import httpcore"), 1, lambda: seconds("import asyncio"))
