"""How fast a lock goes from one thread to another: beside BLPOP, which hands over nothing else."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.pairs import Pair
from pottery import Redlock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis

# At five masters a hand-over asks a majority, where BLPOP asks one.
HAND_OVER = 4.0
# Seconds between two hand-overs, so that the waiter certainly waits.
GAP = 0.005


def lock_pairs(masters: list[Redis]) -> Iterator[Pair]:
    for some in (masters[:1], masters):
        on = f"on {len(some)} master{'s' if len(some) > 1 else ''}"
        yield Pair(
            f"hand-over {on} / BLPOP",
            HAND_OVER,
            partial(hand_over, *(Redlock(key="passed", masters=some) for _ in range(2))),
            partial(wake_up, masters[0]),
            repeat=5,
        )


def hand_over(holder: Redlock, waiter: Redlock) -> float:
    """Return the seconds from the release by one to the return of the other's acquire."""
    holder.acquire()
    seconds = passed(waiter.acquire, holder.release)
    waiter.release()
    return seconds


def wake_up(redis: Redis) -> float:
    return passed(partial(redis.blpop, ["bell"], 5), partial(redis.rpush, "bell", "!"))


def passed(wait: Callable[[], object], call: Callable[[], object]) -> float:
    """Return the seconds from *call* to the return of *wait* in another thread."""
    ends: list[float] = []
    thread = threading.Thread(target=lambda: (wait(), ends.append(time.perf_counter())))
    thread.start()
    time.sleep(GAP)
    began = time.perf_counter()
    call()
    thread.join()
    return ends[0] - began
