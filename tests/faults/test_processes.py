"""Processes that fork, have many threads, or end while a server is stuck."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from queue import Empty
from time import monotonic

import pytest
from clients import forked
from performing import until
from redis import BlockingConnectionPool, Redis

from pottery import (
    NextId,
    RedisCounter,
    RedisDict,
    RedisList,
    RedisSet,
    RedisSimpleQueue,
    Redlock,
    ReleaseUnlockedLock,
)
from pottery.testing import RedisServer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")


@pytest.fixture
def database(server):
    with server.client() as client:
        client.flushdb()
        yield client


def check_reads(dicts, rounds):
    for _ in range(rounds):
        for number, one in enumerate(dicts):
            assert one["n"] == number


def test_child_and_parent_work_at_once_and_mix_no_replies(database):
    dicts = [RedisDict({"n": n}, redis=database, key=f"d{n}") for n in range(20)]
    counter = RedisCounter(redis=database, key="c")
    ids = NextId(key="k", masters=[database])
    taken = RedisList(redis=database, key="taken")
    check_reads(dicts, 1)

    def work():
        for _ in range(100):
            check_reads(dicts, 1)
            counter.update(["x"])
            taken.append(next(ids))

    with forked(work), forked(work):
        work()
    assert counter["x"] == 300
    assert len({*taken}) == len(taken) == 300


def test_child_and_parent_get_each_item_once(database):
    queue, got = RedisSimpleQueue(redis=database, key="q"), RedisList(redis=database, key="got")
    for number in range(200):
        queue.put(number)

    def work():
        with suppress(Empty):
            while True:
                got.append(queue.get(timeout=0.2))

    with forked(work), forked(work):
        work()
    assert sorted(got) == [*range(200)]


def test_child_that_forgets_containers_and_ends_leaves_the_keys_of_its_parent(database):
    temporary = [RedisSet({1}, redis=database), RedisList([1], redis=database)]
    keys = [one.key for one in temporary]

    def work():
        temporary.clear()
        gc.collect()
        RedisSet(redis=database, key="any").add(1)  # when others would be unlinked

    with forked(work):
        pass
    assert database.exists(*keys) == 2
    assert temporary[0] == {1}


def test_child_of_multiprocessing_leaves_the_keys_of_its_parent(server, database):
    program = """
import multiprocessing, sys
from redis import Redis
from pottery import RedisSet
redis = Redis.from_url(sys.argv[1])
mine = RedisSet({1}, redis=redis)

def work():
    assert mine == {1}
    RedisSet({2}, redis=redis).add(3)

if __name__ == "__main__":
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == 0
    assert len(redis.keys("pottery:*")) == 1
    assert mine == {1}
"""
    subprocess.run([sys.executable, "-c", program, server.url], check=True, timeout=60)
    assert not database.keys("pottery:*")


def test_child_does_not_hold_the_lock_of_its_parent(masters):
    lock = Redlock(key="k", masters=masters, auto_release_time=60)
    assert lock.acquire()

    def work():
        assert not lock.locked()
        with pytest.raises(ReleaseUnlockedLock):
            lock.release()
        assert not lock.acquire(blocking=False)
        assert not Redlock(key="k", masters=masters).acquire(timeout=0.2)

    with forked(work):
        assert lock.locked()
    assert lock.locked()
    lock.extend()
    lock.release()


def test_child_that_is_forked_while_threads_wait_is_not_held_up(database):
    queue = RedisSimpleQueue(redis=database, key="q")
    lock, other = (Redlock(key="k", masters=[database]) for _ in range(2))
    assert lock.acquire()
    got = []
    threads = [
        threading.Thread(target=lambda: got.append(queue.get(timeout=20))),
        threading.Thread(target=lambda: got.append(other.acquire(timeout=20))),
    ]
    for thread in threads:
        thread.start()
    until(lambda: database.info("clients")["blocked_clients"] == 2)

    def work():
        queue.put("from the child")
        assert Redlock(key="another", masters=[database]).acquire(timeout=5)

    with forked(work):
        pass
    lock.release()
    for thread in threads:
        thread.join()
    assert {*got} == {"from the child", True}


def test_default_client_may_be_used_by_a_child(server, database):
    program = """
import os
from pottery import RedisList
numbers = RedisList(key="l")
numbers.append("before")
pid = os.fork()
for number in range(200):
    numbers.append([os.getpid(), number])
    assert numbers.index("before") == 0
if pid:
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    for one in (pid, os.getpid()):
        assert [n for name, n in numbers[1:] if name == one] == list(range(200))
"""
    environment = {**os.environ, "REDIS_URL": server.url}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=60)


def test_thousand_threads_use_one_client(server, database):
    pool = BlockingConnectionPool.from_url(server.url, max_connections=20, timeout=60)
    client = Redis(connection_pool=pool)
    counter = RedisCounter(redis=client, key="c")
    numbers, ids = RedisList(redis=client, key="l"), NextId(key="k", masters=[client])
    go, errors = threading.Event(), []

    def work():
        go.wait()
        try:
            counter.update(["x"])
            numbers.append(next(ids))
        except Exception as error:  # noqa: BLE001 - for the test to see
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(1000)]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert counter["x"] == 1000
    assert sorted(numbers) == [*range(1, 1001)]
    client.close()
    pool.disconnect()


# --- the end of a program

PROGRAM = """
import sys, threading, time
from redis import Redis
from pottery import *

def start(target):
    threading.Thread(target=target, daemon=True).start()

redis = Redis.from_url(sys.argv[1])
numbers, queue = RedisList(redis=redis, key="l"), RedisSimpleQueue(redis=redis, key="q")
lock, other = (Redlock(key="k", masters=[redis]) for _ in range(2))
renewing = Redlock(key="r", masters=[redis], auto_renew=True)
assert lock.acquire() and renewing.acquire() and next(NextId(key="i", masters=[redis]))
left = [RedisList([1], redis=redis) for _ in range(100)]
del left[50:]
start(other.acquire)
start(queue.get)
start(lambda: [numbers.append(1) for _ in range(10**9)])
while redis.info("clients")["blocked_clients"] < 2:
    time.sleep(0.01)
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("is_stuck", [False, True], ids=["", "stuck"])
def test_program_that_holds_waits_and_writes_ends_in_time(is_stuck):
    with RedisServer() as server:
        command = [sys.executable, "-c", PROGRAM, server.url]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, **pipes) as program:
            assert program.stdout.readline() == "ready\n"
            if is_stuck:
                os.kill(server.pid, signal.SIGSTOP)
            began = monotonic()
            try:
                program.communicate("\n", timeout=60)
            finally:
                os.kill(server.pid, signal.SIGCONT)
            assert monotonic() - began < 10
            assert program.returncode == 0
        with server.client() as client:
            assert is_stuck or not client.keys("pottery:*")
