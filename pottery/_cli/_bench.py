"""`pottery bench`: how fast this server is, seen from this machine, by one caller at a time.

It writes only to temporary keys of its own, and removes them. They also expire, in case it is
killed.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from statistics import median, quantiles
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from redis.exceptions import NoPermissionError, RedisError, ResponseError

from pottery._caller import Caller
from pottery._cli._screen import Column, Line, Table
from pottery._cli._server import reason
from pottery.bloom import BloomFilter
from pottery.dict import RedisDict
from pottery.list import RedisList
from pottery.nextid import NextId
from pottery.queue import RedisSimpleQueue
from pottery.redlock import Redlock
from pottery.set import RedisSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from pottery._cli._screen import Screen
    from pottery._cli._server import Servers

_COLUMNS = (
    Column("OPERATION", shrinks=True, width=26),
    Column("P50", is_right=True, width=9),
    Column("P99", is_right=True, width=9),
    Column("PER SECOND", is_right=True),
)
_MANY = 1000
# Seconds after which keys expire that a killed process has left.
_EXPIRY = 300


class Work(NamedTuple):
    """An operation, and how many items one call of it handles."""

    name: str
    call: Callable[[], object]
    items: int = 1


class Workshop:
    """The containers that are measured, at temporary keys."""

    def __init__(self, servers: Servers) -> None:
        self.client = servers.client
        self.ids: NextId | None = None
        self.is_cluster = servers.is_cluster
        self.items = [f"item {number}" for number in range(_MANY)]
        self.content = dict.fromkeys(self.items, 1)
        self.dict: RedisDict[str, int] = RedisDict(redis=self.client)
        self.set: RedisSet[str] = RedisSet(redis=self.client)
        self.list: RedisList[str] = RedisList(redis=self.client)
        self.queue: RedisSimpleQueue[int] = RedisSimpleQueue(redis=self.client)
        self.seen: BloomFilter[str] = BloomFilter(
            num_elements=100_000, false_positives=0.01, redis=self.client
        )

    def work(self) -> list[Work]:
        """Return the operations, singles first."""
        numbers = count()
        return [
            Work("PING (a bare round trip)", self.client.ping),
            Work("d[k] = v", lambda: self.dict.__setitem__("item 1", 1)),
            Work("d[k]", lambda: self.dict["item 1"]),
            Work("s.add(x)", lambda: self.set.add(f"item {next(numbers) % _MANY}")),
            Work("x in f", lambda: "item 1" in self.seen),
            Work("q.put(x); q.get()", self._through_queue),
            *self._primitives(),
            Work(f"d.update(...), {_MANY} items", lambda: self.dict.update(self.content), _MANY),
            Work(f"d.to_dict(), {_MANY} items", self.dict.to_dict, _MANY),
            Work(f"s.update(...), {_MANY} items", lambda: self.set.update(self.items), _MANY),
            Work(f"l[:] = ..., {_MANY} items", self._replace_list, _MANY),
            Work(f"list(l), {_MANY} items", lambda: list(self.list), _MANY),
            Work(f"f.update(...), {_MANY} items", lambda: self.seen.update(self.items), _MANY),
        ]

    def _primitives(self) -> list[Work]:
        if self.is_cluster:  # locks and IDs need masters of their own
            return []
        name = f"pottery-bench-{uuid4()}"
        lock = Redlock(key=name, masters={self.client})
        self.ids = NextId(key=name, masters={self.client})
        return [Work("with lock", lambda: _enter(lock)), Work("next(ids)", self.ids.__next__)]

    def _through_queue(self) -> None:
        self.queue.put(1)
        self.queue.get()

    def _replace_list(self) -> None:
        self.list[:] = self.items

    def expire(self) -> None:
        """Let the keys expire, in case nobody removes them."""
        for one in (self.dict, self.set, self.list, self.queue, self.seen):
            self.client.expire(one.key, _EXPIRY)

    def remove(self) -> None:
        """Remove the keys, and the records that the queue has beside its own."""
        for one in (self.dict, self.set, self.list, self.queue, self.seen):
            one.clear()
        for caller in Caller.idle:
            self.client.unlink(self.queue._companion(caller.name))
        if self.ids:
            self.ids.reset()


def bench(screen: Screen, servers: Servers, seconds: float) -> int:
    """Measure for about *seconds*; return the exit status."""
    shop = Workshop(servers)
    table = Table(screen, _COLUMNS)
    work = shop.work()
    screen.note(f"measuring {servers.address} for about {seconds:g} seconds, at temporary keys")
    try:
        for one in work:
            screen.progress(f"{one.name} ...")
            table.show([_measured(one, seconds / len(work))])
            shop.expire()
    finally:
        screen.end_progress()
        with suppress(RedisError, OSError):
            shop.remove()
    return 0


def _enter(lock: Redlock) -> None:
    with lock:
        pass


def _measured(work: Work, seconds: float) -> Line:
    """Call an operation again and again for *seconds*."""
    try:
        work.call()
    except (NoPermissionError, ResponseError) as error:
        failure = {"operation": work.name, "error": reason(error)}
        return Line(failure, (work.name, "-", "-", "not allowed"))
    times: list[float] = []
    end = perf_counter() + seconds
    while (began := perf_counter()) < end or len(times) < 2:
        work.call()
        times.append(perf_counter() - began)
    middle, slow = median(times), quantiles(times, n=100, method="inclusive")[98]
    rate = work.items * len(times) / sum(times)
    record = {"operation": work.name, "p50": middle, "p99": slow, "per_second": rate}
    return Line(record, (work.name, _time(middle), _time(slow), f"{rate:,.0f}"))


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} µs" if seconds < 0.01 else f"{seconds * 1000:,.1f} ms"
