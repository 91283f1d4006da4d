"""What an operation costs, in processors and on the wire, and so what many of them need."""

from __future__ import annotations

from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, NamedTuple

from pottery import RedisCounter, RedisDict, RedisSet, RedisSimpleQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

# How long each is done, in seconds.
SECONDS = 2.0
MANY = {f"key {n}": n for n in range(1000)}


class Work(NamedTuple):
    """Something to do, and how many operations that is."""

    do: Callable[[], Any]
    count: int = 1


class Cost(NamedTuple):
    """What one operation takes: microseconds of time and of both processors, bytes both ways."""

    at_once: int
    microseconds: float
    client: float
    server: float
    sent: float
    received: float


def works(redis: Redis) -> dict[str, Work]:
    d = RedisDict(MANY, redis=redis, key="dict")
    s = RedisSet(MANY, redis=redis, key="set")
    c = RedisCounter(redis=redis, key="counter")
    q = RedisSimpleQueue(redis=redis, key="queue")
    return {
        "d[k]": Work(lambda: d["key 50"]),
        "d[k] = v": Work(lambda: d.__setitem__("key 50", 1)),
        "c.update([k])": Work(lambda: c.update(["key 50"])),
        "q.put(x), q.get()": Work(lambda: (q.put("x"), q.get())),
        "s.contains_many, 1000 at once": Work(lambda: s.contains_many(*MANY), 1000),
        "d.update, 1000 at once": Work(lambda: d.update(MANY), 1000),
        "c.update, 1000 at once": Work(lambda: c.update(MANY), 1000),
    }


def capacity(redis: Redis) -> dict[str, dict[str, float]]:
    redis.flushdb()
    return {name: cost(redis, work)._asdict() for name, work in works(redis).items()}


def cost(redis: Redis, work: Work) -> Cost:
    work.do()
    before, began, client = spent(redis), perf_counter(), process_time()
    done = 0
    while perf_counter() < began + SECONDS:
        work.do()
        done += work.count
    took, client = perf_counter() - began, process_time() - client
    server, received, sent = (now - then for now, then in zip(spent(redis), before, strict=True))
    each = (took * 1e6, client * 1e6, server * 1e6, sent, received)
    return Cost(work.count, *(value / done for value in each))


def spent(redis: Redis) -> tuple[float, int, int]:
    """Return the seconds that the server was busy, and the bytes that it got and gave."""
    cpu, traffic = redis.info("cpu"), redis.info("stats")
    busy = cpu["used_cpu_sys"] + cpu["used_cpu_user"]
    return busy, traffic["total_net_output_bytes"], traffic["total_net_input_bytes"]
