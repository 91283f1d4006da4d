"""Locks beside what one would write by hand: SET NX to acquire, a script to release."""

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

RELEASE = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end
"""
# Seconds between two hand-overs, so that the waiter certainly waits.
GAP = 0.005


def lock_pairs(masters: list[Redis]) -> Iterator[Pair]:
    for some in (masters[:1], masters):
        on = f"on {len(some)} master{'s' if len(some) > 1 else ''}"
        yield Pair(
            f"acquire, release {on}",
            partial(acquire_and_release, Redlock(key="lock", masters=some)),
            partial(acquire_and_release_by_hand, some, masters[0].register_script(RELEASE)),
        )
    for some in (masters[:1], masters):
        on = f"on {len(some)} master{'s' if len(some) > 1 else ''}"
        yield Pair(
            f"hand-over {on} / BLPOP",
            partial(hand_over, *(Redlock(key="passed", masters=some) for _ in range(2))),
            partial(wake_up, masters[0]),
            repeat=5,
            times_itself=True,
        )


def acquire_and_release(lock: Redlock) -> None:
    lock.acquire()
    lock.release()


def acquire_and_release_by_hand(masters: list[Redis], release: Callable[..., object]) -> None:
    for master in masters:
        master.set("lock by hand", "token", nx=True, px=10_000)
    for master in masters:
        release(keys=["lock by hand"], args=["token"], client=master)


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
