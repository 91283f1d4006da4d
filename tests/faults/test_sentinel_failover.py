"""A master that dies, and whose replica Sentinel puts in its place."""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from time import sleep

import pytest
from performing import until
from redis import Sentinel
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pottery import (
    OutcomeUnknown,
    PrimitiveError,
    RedisCounter,
    RedisDict,
    RedisList,
    RedisSimpleQueue,
    Redlock,
)
from pottery.queue import DOUBTS
from pottery.testing import RedisServer, executable

EXPECTED = RedisConnectionError, RedisTimeoutError, ReadOnlyError  # OutcomeUnknown is one of these


class Group:
    """A master, its replica, and a sentinel, which is patient for half a second."""

    def __init__(self, stack, folder):
        self.master = stack.enter_context(RedisServer())
        self.replica = stack.enter_context(RedisServer())
        wrapper = folder / "sentinel"
        wrapper.write_text(f"#!/bin/sh\nexec '{executable()}' \"$@\" --sentinel\n")
        wrapper.chmod(0o755)
        sentinel = stack.enter_context(RedisServer(binary=str(wrapper)))
        with self.replica.client() as replica, self.master.client() as master:
            replica.replicaof(self.master.host, self.master.port)
            until(lambda: replica.info("replication")["master_link_status"] == "up")
            until(lambda: master.info("replication")["connected_slaves"] == 1)
        self.client = stack.enter_context(sentinel.client())
        tell = self.client.execute_command
        tell("SENTINEL MONITOR", "m", self.master.host, self.master.port, 1)
        tell("SENTINEL SET", "m", "down-after-milliseconds", 500, "failover-timeout", 3000)
        until(lambda: len(self.client.sentinel_slaves("m")) == 1)
        self.sentinel = Sentinel([(sentinel.host, sentinel.port)])
        stack.callback(self.sentinel.sentinels[0].close)

    def fail_over(self):
        self.master.kill()
        until(lambda: self.client.sentinel_master("m")["port"] == self.replica.port)
        with self.replica.client() as replica:
            until(lambda: replica.info("replication")["role"] == "master")


@pytest.fixture
def group(tmp_path):
    with ExitStack() as stack:
        yield Group(stack, tmp_path)
    DOUBTS.clear()


def keep_trying(function):
    """Return what a function returns as soon as it does, and the errors until then."""
    errors, results = [], []

    def tries():
        try:
            results.append(function())
        except EXPECTED as error:
            errors.append(error)
            sleep(0.05)
        return results

    until(tries)
    return results[0], errors


def test_acknowledged_writes_are_there_and_clients_go_on_after_a_failover(group):
    with group.sentinel.master_for("m") as client:
        numbers, counts = RedisList(redis=client, key="l"), RedisCounter(redis=client, key="c")
        words, queue = RedisDict(redis=client, key="d"), RedisSimpleQueue(redis=client, key="q")
        for number in range(20):
            numbers.append(number)
            counts.update(["x"])
            words[number] = str(number)
            queue.put(number)
        client.set("mark", "")  # WAIT looks at what its own connection wrote, and all before that
        assert client.wait(1, 5000) == 1
        group.fail_over()

        _, errors = keep_trying(lambda: numbers.append(20))
        unsure = sum(isinstance(error, OutcomeUnknown) for error in errors)
        assert list(numbers)[:20] == [*range(20)]
        assert [*numbers][20:] in ([20] * count for count in range(1, unsure + 2))
        assert (counts["x"], words.to_dict()) == (20, {n: str(n) for n in range(20)})
        assert [queue.get_nowait() for _ in range(20)] == [*range(20)]


def test_consumer_and_waiter_go_on_through_a_failover(group):
    with group.sentinel.master_for("m") as client:
        queue = RedisSimpleQueue(redis=client, key="q")
        holder, other = (Redlock(key="k", masters=[client]) for _ in range(2))
        assert holder.acquire()
        got, strange = [], []

        def until_done(function):
            try:
                got.append(keep_trying(function)[0])
            except Exception as error:  # noqa: BLE001 - for the test to see
                strange.append(error)

        waiters = [lambda: queue.get(timeout=20), lambda: other.acquire(timeout=20)]
        threads = [threading.Thread(target=until_done, args=(waiter,)) for waiter in waiters]
        for thread in threads:
            thread.start()
        until(lambda: client.info("clients")["blocked_clients"] == 2)
        client.wait(1, 5000)
        group.fail_over()
        keep_trying(lambda: queue.put("x"))
        with suppress(PrimitiveError, RedisError):
            holder.release()
        for thread in threads:
            thread.join()
        assert not strange
        assert {*got} == {"x", True}
