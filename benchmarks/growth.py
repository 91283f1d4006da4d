"""How cost grows: with the number of elements, and with the number of threads and processes."""

from __future__ import annotations

import statistics
import threading
import tracemalloc
from itertools import repeat
from multiprocessing import get_context
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from redis import Redis

from pottery import (
    BloomFilter,
    HyperLogLog,
    RedisCounter,
    RedisDeque,
    RedisDict,
    RedisList,
    RedisSet,
    RedisSimpleQueue,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZES = [10**power for power in range(2, 7)]
THREADS = [1, 4, 16]
PROCESSES = [1, 2, 4]
# How often a single operation is timed, and for how many seconds workers work.
TIMES = 200
SECONDS = 0.5
# The server notes commands that take it longer, in microseconds.
LONG = 2000


class Kind(NamedTuple):
    """A container: how it is filled, what is done to one element, and what walks through all."""

    make: Callable[[Redis], Any]
    fill: Callable[[Any, Iterator[str]], object]
    once: Callable[[Any], object]
    walk: Callable[[Any], object] | None = None


def drain(iterable: Any) -> None:
    for _ in iterable:
        pass


def push_and_pop(container: Any) -> None:
    container.append("x")
    container.pop()


KINDS = {
    "RedisDict": Kind(
        lambda redis: RedisDict(redis=redis, key="grown"),
        lambda d, items: d.update(zip(items, repeat(1))),
        lambda d: d.get("item 50"),
        lambda d: drain(d.items()),
    ),
    "RedisSet": Kind(
        lambda redis: RedisSet(redis=redis, key="grown"),
        lambda s, items: s.update(items),
        lambda s: "item 50" in s,
        drain,
    ),
    "RedisList": Kind(
        lambda redis: RedisList(redis=redis, key="grown"),
        lambda found, items: found.extend(items),
        push_and_pop,
        drain,
    ),
    "RedisDeque": Kind(
        lambda redis: RedisDeque(redis=redis, key="grown"),
        lambda d, items: d.extend(items),
        push_and_pop,
        drain,
    ),
    "RedisCounter": Kind(
        lambda redis: RedisCounter(redis=redis, key="grown"),
        lambda c, items: c.update(items),
        lambda c: c.update(["item 50"]),
        lambda c: drain(c.items()),
    ),
    "BloomFilter": Kind(
        lambda redis: BloomFilter(
            num_elements=10**6, false_positives=0.01, redis=redis, key="grown"
        ),
        lambda f, items: f.update(items),
        lambda f: "item 50" in f,
    ),
    "HyperLogLog": Kind(
        lambda redis: HyperLogLog(redis=redis, key="grown"),
        lambda h, items: h.update(items),
        len,
    ),
}


class Grown(NamedTuple):
    """What a size costs. Times are in seconds, *memory* in bytes above that before."""

    size: int
    once: float
    fill: float
    walk: float | None
    memory: int | None
    server: float | None  # its time for the walk
    received: int | None  # its bytes for the walk
    longest: int | None  # microseconds of its longest command in the walk, if above 2000


def growth(redis: Redis) -> dict[str, list[dict[str, Any]]]:
    return {name: list(grow(redis, name, kind)) for name, kind in KINDS.items()}


def grow(redis: Redis, name: str, kind: Kind) -> Iterator[dict[str, Any]]:
    container = kind.make(redis)
    filled = 0
    for size in SIZES:
        before = perf_counter()
        kind.fill(container, (f"item {n}" for n in range(filled, size)))
        took = perf_counter() - before
        filled, added = size, size - filled
        once = statistics.median(timed(kind.once, container) for _ in range(TIMES))
        walked = walk(redis, kind.walk, container) if kind.walk else (None,) * 5
        grown = Grown(size, once, took / added, *walked)
        print(f"{name:14} {grown}", flush=True)
        yield grown._asdict()
    redis.flushdb()


def timed(function: Callable[[Any], object], container: Any) -> float:
    began = perf_counter()
    function(container)
    return perf_counter() - began


def walk(redis: Redis, function: Callable[[Any], object], container: Any) -> tuple[Any, ...]:
    seconds = timed(function, container)
    tracemalloc.start()
    function(container)
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    redis.config_resetstat()
    redis.config_set("slowlog-log-slower-than", LONG)
    redis.slowlog_reset()
    function(container)
    longest = max((entry["duration"] for entry in redis.slowlog_get(1000)), default=None)
    received = redis.info("stats")["total_net_output_bytes"]
    commands = redis.info("commandstats")
    reading = ("hscan", "sscan", "lrange", "evalsha")
    server = sum(commands.get(f"cmdstat_{name}", {"usec": 0})["usec"] for name in reading) / 1e6
    return seconds, memory, server, received, longest


# --- at the same time


def reading(redis: Redis) -> Callable[[], object]:
    d = RedisDict(redis=redis, key="shared")
    return lambda: d.get("a")


def writing(redis: Redis) -> Callable[[], object]:
    d = RedisDict(redis=redis, key="shared")
    return lambda: d.__setitem__("a", 1)


def counting(redis: Redis) -> Callable[[], object]:
    c = RedisCounter(redis=redis, key="counted")
    return lambda: c.update(["a"])


def passing(redis: Redis) -> Callable[[], object]:
    q = RedisSimpleQueue(redis=redis, key="passed")
    return lambda: (q.put("x"), q.get())


WORK = {"d[k]": reading, "d[k] = v": writing, "c.update([k])": counting, "q.put, q.get": passing}


def concurrency(url: str) -> dict[str, dict[str, dict[int, float]]]:
    """Return the operations in a second, of all workers together."""
    return {
        name: {
            "threads": {count: rate_of_threads(url, name, count) for count in THREADS},
            "processes": {count: rate_of_processes(url, name, count) for count in PROCESSES},
        }
        for name in WORK
    }


def rate_of_threads(url: str, name: str, count: int) -> float:
    with Redis.from_url(url) as redis:
        done = [0] * count

        def run(number: int) -> None:
            done[number] = work(WORK[name](redis))

        threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sum(done) / SECONDS


def work(once: Callable[[], object]) -> int:
    done, end = 0, perf_counter() + SECONDS
    while perf_counter() < end:
        once()
        done += 1
    return done


def work_in_process(url: str, name: str) -> int:
    with Redis.from_url(url) as redis:
        return work(WORK[name](redis))


def rate_of_processes(url: str, name: str, count: int) -> float:
    with get_context("spawn").Pool(count) as pool:
        pool.starmap(work_in_process, [(url, name)] * count)  # by when all have started
        return sum(pool.starmap(work_in_process, [(url, name)] * count)) / SECONDS
