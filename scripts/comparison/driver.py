"""A client's process, from the outside: it is told what to do, and whatever becomes of that is a value.

    with Driver("aiohttp", python) as client:
        client.open(Setup())
        outcome = client.request(Ask("GET", url))

A process that ends, or says nothing for too long, is replaced when the next client is opened.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from .messages import TIMEOUT, Ask, Failure, Reply, Setup, ask_fields, line, parse_reply, setup_fields

OURS = "ours"

_ROOT = Path(__file__).parents[2]
# Of the client's own timeout: what has not come by then has not come of it.
_BOUND = 3
# For what is no matter of the client's: a busy machine takes its time to start a process.
_LONG = 60.0
# A failure at about its time is the timeout, by whichever name.
_ABOUT = 0.9


@dataclass(frozen=True)
class Hang:
    """Nothing came of it before the client's own timeout.

    Args:
        is_endless: whether that timeout did not end it either.
    """

    is_endless: bool


@dataclass(frozen=True)
class Crash:
    """The process has ended."""


Outcome = Reply | Failure | Hang | Crash


class Driver:
    """One client.

    Args:
        name: of its module in `clients`.
        python: the interpreter of the environment in which it is installed.

    Attributes:
        log: what it was told since the last `open`, and what came of that.
    """

    def __init__(self, name: str, python: str) -> None:
        self.name = name
        self.log: list[str] = []
        self._python = python
        self._timeout = TIMEOUT
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = bytearray()

    @property
    def is_alive(self) -> bool:
        """Whether the process of the last client is still there."""
        return self._process is not None

    def describe(self) -> str:
        """What it is, with versions."""
        text = self._told("describe")["text"]
        assert isinstance(text, str)
        return text

    def open(self, setup: Setup) -> None:
        """A new client, in the same process unless that is lost."""
        self.log.clear()
        self._timeout = setup.timeout
        self._told("open", **setup_fields(setup))

    def request(self, ask: Ask) -> Outcome:
        fields = self._order("request", **ask_fields(ask))
        return parse_reply(**fields) if isinstance(fields, dict) else fields

    def begin(self, url: str) -> bytes | Failure | Hang | Crash:
        """The first part of the body of a response, the rest of which is for `rest`."""
        return _data(self._order("begin", url=url))

    def rest(self) -> bytes | Failure | Hang | Crash:
        return _data(self._order("rest"))

    def collect(self) -> None:
        """Let the garbage collector run."""
        self._order("collect", _LONG)

    def close(self) -> None:
        """Close the client; a process in which that fails is not used again."""
        if not isinstance(self._order("close"), dict):
            self._end()

    def __enter__(self) -> Driver:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def _told(self, do: str, **arguments: object) -> dict[str, Any]:
        """Begin something; that this fails is no outcome but an error of the measuring."""
        if self._process is None:
            self._start()
        fields = self._order(do, _LONG, **arguments)
        if not isinstance(fields, dict):
            raise RuntimeError(f"{self.name}: {do} came to {fields}")
        return fields

    def _order(
        self, do: str, at_most: float | None = None, /, **arguments: object
    ) -> dict[str, Any] | Failure | Hang | Crash:
        answer = self._answer(do, at_most or _BOUND * self._timeout, **arguments)
        self.log.append(f"{do} {list(arguments.values())}: {answer}")
        return answer

    def _answer(self, do: str, at_most: float, /, **arguments: object) -> dict[str, Any] | Failure | Hang | Crash:
        process = self._process
        if process is None:
            return Crash()
        assert process.stdin is not None
        begun = time.monotonic()
        try:
            process.stdin.write(line(do=do, **arguments))
            process.stdin.flush()
            answer = self._read_line(begun + at_most)
        except BrokenPipeError:
            answer = b""
        except TimeoutError:
            self._end()
            return Hang(is_endless=True)
        if not answer:
            self._end()
            return Crash()
        fields = json.loads(answer)
        if "error" not in fields:
            assert isinstance(fields, dict)
            return fields
        if time.monotonic() - begun > _ABOUT * self._timeout:
            return Hang(is_endless=False)
        return Failure(fields["error"], fields["is_own"], fields["text"])

    def _read_line(self, deadline: float) -> bytes:
        """Up to and including the next newline; b"" at the end."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                data = os.read(process.stdout.fileno(), 1 << 20)
                if not data:
                    return b""
                self._buffer += data
        at = self._buffer.index(b"\n") + 1
        answer = bytes(self._buffer[:at])
        del self._buffer[:at]
        return answer

    def _start(self) -> None:
        # The root is on the path for ours alone: the others may bring another package named httpcore.
        path = [_ROOT / "scripts", *([_ROOT] if self.name == OURS else [])]
        # -P keeps the folder that we are called from off it.
        command = [self._python, "-P", "-W", "ignore", "-m", "comparison.worker", self.name]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": os.pathsep.join(map(str, path))},
        )

    def _end(self) -> None:
        process, self._process = self._process, None
        self._buffer.clear()
        if process is None:
            return
        process.kill()
        with process:  # closes its pipes, and waits
            pass


def _data(fields: dict[str, Any] | Failure | Hang | Crash) -> bytes | Failure | Hang | Crash:
    if not isinstance(fields, dict):
        return fields
    data = fields["data"]
    assert isinstance(data, str)
    return data.encode("latin-1")
