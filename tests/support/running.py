"""How pytest runs an async test: in its world, and with hypothesis each example in a run of its own."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .worlds import World


def is_async_test(function: Callable[..., Any]) -> bool:
    given = getattr(function, "hypothesis", None)
    return inspect.iscoroutinefunction(function if given is None else given.inner_test)


def run_async_test(function: Callable[..., Any], world: World, arguments: Mapping[str, Any]) -> None:
    given = getattr(function, "hypothesis", None)
    if given is None:
        world.run(lambda: function(**arguments))
        return
    # The attribute is hypothesis's door for this (its documentation, "custom function execution"). It belongs to the
    # function, which runs in other worlds too.
    inner: Callable[..., Awaitable[None]] = given.inner_test
    given.inner_test = lambda *args, **drawn: world.run(lambda: inner(*args, **drawn))
    try:
        function(**arguments)
    finally:
        given.inner_test = inner
