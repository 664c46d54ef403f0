"""One contender in a process of its own, pinned to one core: reads orders from stdin, writes samples to stdout.

It lives from turn to turn, so that its connections and caches do too; between turns it is stopped, event loop and all.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from . import profiles
from .contenders import AsyncClient, BlockingClient, Setup
from .memory import Growth, SlowReader
from .orders import Order, Sample


class _World(Protocol):
    """An event loop: the little of it that is needed here."""

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None: ...

    async def sleep(self, seconds: float) -> None: ...

    async def together(self, count: int, job: Callable[[], Awaitable[None]], last: Awaitable[None]) -> None:
        """Run `count` times `job` and, beside them, `last`, until all have ended."""


class _Asyncio:
    def __init__(self, is_uvloop: bool) -> None:
        self._is_uvloop = is_uvloop

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        factory = None
        if self._is_uvloop:
            import uvloop

            factory = uvloop.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def together(self, count: int, job: Callable[[], Awaitable[None]], last: Awaitable[None]) -> None:
        await asyncio.gather(*(job() for _ in range(count)), last)


class _Trio:
    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        import trio

        trio.run(main)

    async def sleep(self, seconds: float) -> None:
        import trio

        await trio.sleep(seconds)

    async def together(self, count: int, job: Callable[[], Awaitable[None]], last: Awaitable[None]) -> None:
        import trio

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(job)
            await last


class _Tally:
    """What was done so far, and what it took since `start`."""

    def __init__(self) -> None:
        self.requests = 0
        self.received = 0
        self.is_running = True

    def start(self) -> None:
        self._requests, self._received = self.requests, self.received
        self._wall, self._usage = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)

    def sample(self, grown: int = 0) -> Sample:
        wall, usage = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        return Sample(
            requests=self.requests - self._requests,
            received=self.received - self._received,
            wall=wall - self._wall,
            user=usage.ru_utime - self._usage.ru_utime,
            system=usage.ru_stime - self._usage.ru_stime,
            grown=grown,
        )


async def _many(world: _World, client: AsyncClient, order: Order) -> Sample:
    """Small exchanges, `at_once` of them at any time. Counting begins and ends while they are under way."""
    tally = _Tally()
    samples: list[Sample] = []

    async def ask() -> None:
        while tally.is_running:
            tally.received += await client.get(order.url)
            tally.requests += 1

    async def watch() -> None:
        await world.sleep(order.warm_up)
        tally.start()
        await world.sleep(order.seconds)
        samples.append(tally.sample())
        tally.is_running = False

    await world.together(order.at_once, ask, watch())
    return samples[0]


async def _one_by_one(client: AsyncClient, order: Order) -> Sample:
    """Whole exchanges one after another: time is taken between them."""
    tally = _Tally()
    for seconds in (order.warm_up, order.seconds):
        tally.start()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            tally.received += await _exchange(client, order)
            tally.requests += 1
    return tally.sample()


async def _exchange(client: AsyncClient, order: Order) -> int:
    if order.task == "upload":
        return await client.upload(order.url, order.size)
    return await (client.get(order.url) if order.task == "rate" else client.download(order.url, None))


def _one_by_one_blocking(client: BlockingClient, order: Order) -> Sample:
    tally = _Tally()
    for seconds in (order.warm_up, order.seconds):
        tally.start()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            length = client.get(order.url) if order.task == "rate" else client.download(order.url, None)
            tally.received += length
            tally.requests += 1
    return tally.sample()


async def _memory(world: _World, client: AsyncClient, order: Order) -> Sample:
    tally, growth, reader = _Tally(), Growth(), SlowReader()

    async def rest(length: int) -> None:
        seconds = reader.rest(length)
        if seconds:
            await world.sleep(seconds)

    tally.start()
    tally.received += await client.download(order.url, rest if order.is_slow else None)
    tally.requests += 1
    return tally.sample(growth.measure())


def _memory_blocking(client: BlockingClient, order: Order) -> Sample:
    tally, growth, reader = _Tally(), Growth(), SlowReader()

    def rest(length: int) -> None:
        seconds = reader.rest(length)
        if seconds:
            time.sleep(seconds)

    tally.start()
    tally.received += client.download(order.url, rest if order.is_slow else None)
    tally.requests += 1
    return tally.sample(growth.measure())


async def _obey(world: _World, client: AsyncClient, order: Order) -> Sample:
    if order.task == "memory":
        return await _memory(world, client, order)
    if order.task == "rate" and order.at_once > 1:
        return await _many(world, client, order)
    return await _one_by_one(client, order)


def _obey_blocking(client: BlockingClient, order: Order) -> Sample:
    if order.at_once > 1 or order.task == "upload":
        raise ValueError("a blocking client does one thing at a time, and does not upload here")
    return _memory_blocking(client, order) if order.task == "memory" else _one_by_one_blocking(client, order)


def _say(sample: Sample) -> None:
    sys.stdout.write(sample.line())
    sys.stdout.flush()


def _serve_async(world: _World, contender: Any, setup: Setup) -> None:
    async def main() -> None:
        async with contender.async_client(setup) as client:
            # Waiting for orders blocks the event loop, so that nothing of ours runs in the others' turns.
            for line in sys.stdin:
                order = Order.parse(line)
                with profiles.profiling(order) as profile:
                    sample = await _obey(world, client, order)
                _say(profile.added_to(sample))

    world.run(main)


def _serve_blocking(contender: Any, setup: Setup) -> None:
    with contender.blocking_client(setup) as client:
        for line in sys.stdin:
            order = Order.parse(line)
            with profiles.profiling(order) as profile:
                sample = _obey_blocking(client, order)
            _say(profile.added_to(sample))


def _settle(core: int | None) -> None:
    """Take the core we are told to, and as many files as we may."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS calls "unlimited" what it does not give
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("contender")
    parser.add_argument("world")
    parser.add_argument("--core", type=int)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--ca", required=True)
    parser.add_argument("--option", action="append", default=[])
    parser.add_argument("--http2", action="store_true")
    parser.add_argument("--proxy")
    arguments = parser.parse_args()
    _settle(arguments.core)
    options = dict(option.split("=", 1) for option in arguments.option)
    setup = Setup(arguments.world, arguments.connections, arguments.ca, options, arguments.http2, arguments.proxy)
    contender = importlib.import_module(f".contenders.{arguments.contender}", __package__)
    if setup.world == "blocking":
        _serve_blocking(contender, setup)
    else:
        _serve_async(_Trio() if setup.world == "trio" else _Asyncio(setup.world == "uvloop"), contender, setup)


if __name__ == "__main__":
    main()
