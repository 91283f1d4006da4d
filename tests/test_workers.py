"""Workers as docs/queues.md recommends them, killed at work and told to end."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from clients import wait_until

from pottery import RedisDeque, RedisDict, RedisList, RedisSimpleQueue, Redlock

EXAMPLES = Path(__file__).parents[1] / "examples"
# Whoever works notes what it has begun, and is stuck in it unless it may go on.
WORKER = """
import sys, time
sys.path.insert(0, sys.argv[2])
from redis import Redis
from pottery import RedisDeque, RedisDict, RedisList, RedisSimpleQueue, Redlock
from workers import work_in_order, work_until_told

redis = Redis.from_url(sys.argv[1])
begun = RedisList(redis=redis, key="begun")
ended = RedisList(redis=redis, key="ended")
go_on = RedisDict(redis=redis, key="go on")

def do(item):
    begun.append(item)
    while not go_on.get(item, True):
        time.sleep(0.01)
    ended.append(item)

"""
IN_ORDER = (
    WORKER
    + """
lock = Redlock(key="items", masters={redis}, auto_renew=True, auto_release_time=1)
work_in_order(RedisDeque(redis=redis, key="items"), lock, do)
"""
)
UNTIL_TOLD = (
    WORKER
    + """
work_until_told(RedisSimpleQueue(redis=redis, key="items"), do)
"""
)


@contextmanager
def worker(program, url):
    process = subprocess.Popen([sys.executable, "-c", program, url, str(EXAMPLES)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def begun(redis):
    return RedisList(redis=redis, key="begun")


@pytest.fixture
def ended(redis):
    return RedisList(redis=redis, key="ended")


@pytest.mark.slow
def test_item_of_a_worker_that_was_killed_is_begun_by_the_next_one(redis, server, begun, ended):
    items = RedisDeque("abc", redis=redis, key="items")
    go_on = RedisDict({"b": False}, redis=redis, key="go on")

    with worker(IN_ORDER, server.url) as first:
        wait_until(lambda: list(begun) == ["a", "b"], 30)
        first.kill()
    go_on["b"] = True
    with worker(IN_ORDER, server.url) as second:
        assert second.wait(60) == 0

    assert list(begun) == ["a", "b", "b", "c"]
    assert list(ended) == ["a", "b", "c"]
    assert len(items) == 0
    assert not Redlock(key="items", masters={redis}).owner()


@pytest.mark.slow
def test_worker_that_is_told_to_end_finishes_its_item_and_takes_no_other(
    redis, server, begun, ended
):
    queue = RedisSimpleQueue(redis=redis, key="items")
    go_on = RedisDict({"b": False}, redis=redis, key="go on")
    for item in "abc":
        queue.put(item)

    with worker(UNTIL_TOLD, server.url) as process:
        wait_until(lambda: list(begun) == ["a", "b"], 30)
        process.send_signal(signal.SIGTERM)
        go_on["b"] = True
        assert process.wait(60) == 0

    assert list(ended) == ["a", "b"]
    assert (queue.qsize(), queue.get_nowait()) == (1, "c")
