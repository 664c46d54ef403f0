"""Errors in browsers, which hide why a request failed: in a page by https, under a policy, offline, of nobody there.

What is promised stands in `support/pyodide/behaviours.py`, which runs there.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pyodide.runtimes import Runtime, build_wheel, commands, start_runtime
from tests.support.servers import Server
from tests.support.tls import CertificateAuthority

# By runPython it is XMLHttpRequest that is asked.
_ENTRIES = ("async", "jspi", "blocking")

pytestmark = pytest.mark.time_limit(390)  # the first test of a browser starts it


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ("chromium", "firefox")]
)
def browser(
    request: pytest.FixtureRequest, ca: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runtime]:
    if request.param not in commands() and "CI" not in os.environ:
        pytest.skip(f"{request.param} with Pyodide is not installed")
    folder: Path = tmp_path_factory.mktemp(request.param)
    with start_runtime(request.param, build_wheel(folder), folder / "log", ca) as runtime:
        yield runtime


@pytest.mark.parametrize("entry", _ENTRIES)
def test_a_page_by_https_is_told_that_it_may_not_ask_for_http(
    entry: str, browser: Runtime, uvicorn_server: Server
) -> None:
    browser.run("errors_of_mixed_content", entry, place="secure", server=uvicorn_server.http, seconds=300)


@pytest.mark.parametrize("entry", _ENTRIES)
def test_what_a_policy_blocks_is_explained(entry: str, browser: Runtime, uvicorn_server: Server) -> None:
    browser.run("errors_of_a_policy", entry, place="csp", server=uvicorn_server.http, seconds=300)


@pytest.mark.parametrize("entry", _ENTRIES)
def test_a_browser_that_is_offline_says_so(entry: str, browser: Runtime, uvicorn_server: Server) -> None:
    server = uvicorn_server.http
    browser.run("prepare", entry, place="main", server=server, seconds=300)  # it has to be there before
    browser.run("errors_of_a_browser_that_is_offline", entry, place="main", server=server, offline=True)


@pytest.mark.parametrize("entry", _ENTRIES)
def test_what_cannot_be_reached_is_explained(entry: str, browser: Runtime, uvicorn_server: Server) -> None:
    with socket.socket() as bound:  # and it does not listen
        bound.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{bound.getsockname()[1]}"
        browser.run(
            "errors_of_what_cannot_be_reached",
            entry,
            place="main",
            server=uvicorn_server.http,
            closed=closed,
            seconds=300,
        )
