"""IDs taken by many threads: beside INCR, and beside a script at five masters."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks.pairs import Pair
from pottery import NextId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis

CLAIM = """
local last = tonumber(redis.call('get', KEYS[1]) or 0)
if last >= tonumber(ARGV[1]) then return -last end
redis.call('set', KEYS[1], ARGV[1])
return 1
"""
THREADS, EACH = 8, 25
# As a ratio to what is written by hand.
TARGET = 1.1


class ByHand:
    """What one would write: the shortest way over sockets, and nothing for when they fail."""

    def __init__(self, masters: list[Redis]) -> None:
        pools = [master.connection_pool for master in masters]
        self.connections = [pool.connection_class(**pool.connection_kwargs) for pool in pools]
        (self.digest,) = {master.script_load(CLAIM) for master in masters}
        self.last = 0

    def __next__(self) -> int:
        while True:
            wanted = self.last + 1
            for connection in self.connections:
                connection.send_command("EVALSHA", self.digest, 1, "ids by hand", wanted)
            replies = [connection.read_response() for connection in self.connections]
            self.last = max(wanted, -min(replies))
            if sum(reply == 1 for reply in replies) > len(replies) / 2:
                return wanted


def id_pairs(masters: list[Redis]) -> Iterator[Pair]:
    first, *_ = masters
    with ThreadPoolExecutor(THREADS) as pool:
        for some in (masters[:1], masters):
            on = f"on {len(some)} master{'s' if len(some) > 1 else ''}"
            ids = NextId(key=f"ids {on}", masters=some)
            take = partial(next, ids)
            if len(some) == 1:
                by_hand = [partial(first.incr, "number")] * THREADS
            else:
                by_hand = [partial(next, ByHand(some)) for _ in range(THREADS)]
            yield Pair(
                f"next(ids), {THREADS} threads, {on}",
                TARGET,
                partial(seconds_each, pool, [take] * THREADS),
                partial(seconds_each, pool, by_hand),
                repeat=3,
            )


def seconds_each(pool: ThreadPoolExecutor, ways: list[Callable[[], object]]) -> float:
    """Let a thread go each of the *ways* many times; return the seconds for each time."""
    began = perf_counter()
    list(pool.map(again_and_again, ways))
    return (perf_counter() - began) / (len(ways) * EACH)


def again_and_again(way: Callable[[], object]) -> None:
    for _ in range(EACH):
        way()
