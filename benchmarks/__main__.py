"""Measure each pair: interleaved, in random order, the median of the ratios of many rounds."""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import statistics
import warnings
from contextlib import ExitStack
from inspect import iscoroutinefunction
from itertools import chain
from time import perf_counter
from typing import TYPE_CHECKING

from redis import asyncio as asynchronous
from redis.utils import HIREDIS_AVAILABLE

from benchmarks.consumers import results
from benchmarks.ids import id_pairs
from benchmarks.locks import lock_pairs
from benchmarks.pairs import all_pairs, asynchronous_pairs
from pottery import InefficientAccessWarning
from pottery.testing import RedisServer, executable

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.pairs import Pair

# The pairs of coroutine functions run in it, one after the other.
loop = asyncio.new_event_loop()


def seconds(function: Callable[[], object], repeat: int, *, times_itself: bool) -> float:
    if times_itself:
        return statistics.median(function() for _ in range(repeat))
    if iscoroutinefunction(function):
        return loop.run_until_complete(seconds_awaiting(function, repeat))
    began = perf_counter()
    for _ in range(repeat):
        function()
    return (perf_counter() - began) / repeat


async def seconds_awaiting(function: Callable[[], object], repeat: int) -> float:
    began = perf_counter()
    for _ in range(repeat):
        await function()
    return (perf_counter() - began) / repeat


def measure(pair: Pair, rounds: int) -> tuple[float, float, float]:
    """Return the median of ours / by hand over all rounds, and the median seconds of both."""
    ways = (pair.pottery, pair.by_hand)
    for way in ways:
        seconds(way, pair.repeat, times_itself=pair.times_itself)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for way in random.sample((0, 1), 2):
            took = seconds(ways[way], pair.repeat, times_itself=pair.times_itself)
            times[way].append(took)
    ratios = [ours / theirs for ours, theirs in zip(*times, strict=True)]
    return statistics.median(ratios), *map(statistics.median, times)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--only", default="", help="measure the pairs whose name has this in it")
    options = parser.parse_args()
    warnings.simplefilter("ignore", InefficientAccessWarning)
    gc.disable()
    parser_used = "hiredis" if HIREDIS_AVAILABLE else "redis-py's own"
    print(f"server: {executable()}; parser: {parser_used}")
    print(f"{'':28} {'ratio':>6} {'pottery':>12} {'by hand':>12}")
    with ExitStack() as stack:
        servers = [stack.enter_context(RedisServer()) for _ in range(5)]
        masters = [stack.enter_context(server.client()) for server in servers]
        redis, client = masters[0], asynchronous.Redis.from_url(servers[0].url)
        pairs = (all_pairs(redis), asynchronous_pairs(redis, client))
        for pair in chain(*pairs, lock_pairs(masters), id_pairs(masters)):
            if options.only in pair.name:
                ratio, ours, theirs = measure(pair, options.rounds)
                print(f"{pair.name:28} {ratio:6.2f} {ours * 1e6:9.1f} µs {theirs * 1e6:9.1f} µs")
        loop.run_until_complete(client.aclose())
        for name, ratio, ours, theirs in results(
            redis, servers[0].url, options.only, options.rounds
        ):
            print(f"{name:28} {ratio:6.2f} {ours * 1e6:9.1f} µs {theirs * 1e6:9.1f} µs")


if __name__ == "__main__":
    main()
