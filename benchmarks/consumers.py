"""How consumers in processes of their own wake up, and drain a queue: beside those of BLPOP.

Both kinds live side by side, and take turns. The clock is one for all processes of a machine.
"""

from __future__ import annotations

import random
import statistics
from contextlib import ExitStack
from functools import partial
from json import dumps, loads
from multiprocessing import get_context
from time import perf_counter, sleep
from typing import TYPE_CHECKING

from redis import Redis
from typing_extensions import Self

from benchmarks.pairs import Result
from pottery import RedisSimpleQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

KINDS = ("pottery", "by hand")
# Ratios to BLPOP: of the time to wake up, and of the time to take an item of many.
WAKE, DRAIN = 1.5, 1.25
# What ends a run of gets, and what ends a consumer.
ENOUGH, END = "enough", "end"


def putter(redis: Redis, kind: str, name: str) -> Callable[[object], object]:
    if kind == "pottery":
        return RedisSimpleQueue(redis=redis, key=f"{name} queue").put
    return lambda item: redis.rpush(f"{name} list", dumps(item))


def getter(redis: Redis, kind: str, name: str) -> Callable[[], object]:
    if kind == "pottery":
        return RedisSimpleQueue(redis=redis, key=f"{name} queue").get
    return lambda: loads(redis.blpop(f"{name} list", 0)[1])


def consume(url: str, kind: str, name: str, parent: Connection) -> None:
    """Tell the parent of each time that was got, and of the end of each run."""
    with Redis.from_url(url, socket_timeout=None) as redis:
        get = getter(redis, kind, name)
        while (item := get()) != END:
            now = perf_counter()
            if item == ENOUGH:
                parent.send(now)
                parent.recv()  # so that nobody gets what ends the run of another
            elif isinstance(item, float):
                parent.send(now - item)


class Consumers:
    """Processes that get, all of one kind."""

    def __init__(self, redis: Redis, url: str, name: str, count: int, kind: str) -> None:
        self.put = putter(redis, kind, name)
        pipes = [get_context("spawn").Pipe() for _ in range(count)]
        self.ends = [mine for mine, _ in pipes]
        arguments = [(url, kind, name, theirs) for _, theirs in pipes]
        self.processes = [get_context("spawn").Process(target=consume, args=it) for it in arguments]
        for process in self.processes:
            process.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for _ in self.processes:
            self.put(END)
        for process in self.processes:
            process.join()


def take_turns(
    name: str,
    target: float,
    make: Callable[[str], Consumers],
    once: Callable[[Consumers], float],
    rounds: int,
) -> Result:
    with ExitStack() as stack:
        sides = [stack.enter_context(make(kind)) for kind in KINDS]
        for side in sides:
            once(side)
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for way in random.sample((0, 1), 2):
                times[way].append(once(sides[way]))
    ours, theirs = map(statistics.median, times)
    return Result(name, target, ours / theirs, ours, theirs)


def wake(gap: float) -> Callable[[Consumers], float]:
    """Put after a *gap*; return the time from before the put to after the get."""

    def once(side: Consumers) -> float:
        sleep(gap * random.uniform(0.8, 1.2))
        side.put(perf_counter())
        return side.ends[0].recv()

    return once


def drain(items: int) -> Callable[[Consumers], float]:
    """Let all consumers wait, and put many items; return the time for each, with its put."""

    def once(side: Consumers) -> float:
        for _ in side.ends:  # holds them until all is put
            side.put(ENOUGH)
        for end in side.ends:
            end.recv()
        for number in range(items):
            side.put(number)
        for _ in side.ends:
            side.put(ENOUGH)
        began = perf_counter()
        for end in side.ends:
            end.send("go")
        last = max(end.recv() for end in side.ends)
        for end in side.ends:
            end.send("go")
        return (last - began) / items

    return once


def results(redis: Redis, url: str, only: str, rounds: int) -> Iterator[Result]:
    for gap in (0.001, 0.005, 0.03):
        name = f"q.get wakes up, {gap * 1000:.0f} ms gap"
        if only in name:
            make = partial(Consumers, redis, url, name, 1)
            yield take_turns(name, WAKE, make, wake(gap), int(min(20 * rounds, 10 / gap)))
    for count in (1, 4):
        name = f"q drained by {count}, an item"
        if only in name:
            make = partial(Consumers, redis, url, name, count)
            yield take_turns(name, DRAIN, make, drain(4000), max(rounds // 3, 1))
