"""A master that dies, and whose replica Sentinel puts in its place."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, suppress
from inspect import isawaitable
from time import sleep

import pytest
from clients import close
from colours import Loop, twin_of
from performing import until
from redis import Sentinel
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pottery import (
    AIORedisCounter,
    AIORedisDict,
    AIORedisList,
    AIORedisSimpleQueue,
    AIORedlock,
    OutcomeUnknown,
    PrimitiveError,
    RedisCounter,
    RedisDict,
    RedisList,
    RedisSimpleQueue,
    Redlock,
)
from pottery.base import START, Base
from pottery.queue import DOUBTS
from pottery.testing import RedisServer, executable

EXPECTED = RedisConnectionError, RedisTimeoutError, ReadOnlyError  # OutcomeUnknown is one of these


class Group:
    """A master, its replica, and a sentinel, which is patient for half a second."""

    def __init__(self, stack, folder):
        at_once = {"repl-diskless-sync-delay": 0, "repl-ping-replica-period": 1}
        self.master = stack.enter_context(RedisServer(config=at_once))
        self.replica = stack.enter_context(RedisServer(config=at_once))
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


class Colour:
    """How things are called, and what they are called by: a client by which Sentinels lead."""

    def __init__(self, group, *, awaits):
        self.awaits = awaits
        self.loop = Loop()
        blocking = group.sentinel.master_for("m")
        self.client = twin_of(blocking) if awaits else blocking
        self.blocking = blocking

    def take(self, blocking, awaiting):
        """Return what of both is of this colour."""
        return awaiting if self.awaits else blocking

    def wait(self, value):
        return self.loop.wait(value) if isawaitable(value) else value

    def close(self):
        if self.awaits:
            self.wait(close(self.client))
        self.blocking.close()
        self.loop.close()


@pytest.fixture(params=["blocking", "asyncio"])
def colour(request, group):
    colour = Colour(group, awaits=request.param == "asyncio")
    yield colour
    colour.close()


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


def test_acknowledged_writes_are_there_and_clients_go_on_after_a_failover(group, colour):
    at, wait = {"redis": colour.client}, colour.wait
    numbers = colour.take(RedisList, AIORedisList)(**at, key="l")
    counts = colour.take(RedisCounter, AIORedisCounter)(**at, key="c")
    words = colour.take(RedisDict, AIORedisDict)(**at, key="d")
    queue = colour.take(RedisSimpleQueue, AIORedisSimpleQueue)(**at, key="q")
    for number in range(20):
        wait(numbers.append(number))
        wait(counts.update(["x"]))
        wait(words.update({number: str(number)}))
        wait(queue.put(number))
    with group.master.client() as client:
        client.set("mark", "")  # WAIT looks at what its own connection wrote, and all before that
        assert client.wait(1, 5000) == 1
    group.fail_over()

    _, errors = keep_trying(lambda: wait(numbers.append(20)))
    unsure = sum(isinstance(error, OutcomeUnknown) for error in errors)
    found = wait(numbers.to_list())
    assert found[:20] == [*range(20)]
    assert found[20:] in ([20] * count for count in range(1, unsure + 2))
    assert wait(counts.to_dict()) == {"x": 20}
    assert wait(words.to_dict()) == {n: str(n) for n in range(20)}
    assert [wait(queue.get_nowait()) for _ in range(20)] == [*range(20)]


def test_long_dict_that_is_read_during_a_failover_is_read_completely(group, colour, monkeypatch):
    words = colour.take(RedisDict, AIORedisDict)(redis=colour.client, key="d")
    colour.wait(words.update(dict.fromkeys(range(5000))))
    with group.master.client() as client:
        client.set("mark", "")
        assert client.wait(1, 5000) == 1
    scan, failed_over = Base._scan, []

    def scan_later(self, command, position, read):
        if position is not START and not failed_over:
            failed_over.append(True)
            group.fail_over()
        return scan(self, command, position, read)

    monkeypatch.setattr(Base, "_scan", scan_later)
    found, _ = keep_trying(lambda: colour.wait(words.to_dict()))
    assert failed_over
    assert found == dict.fromkeys(range(5000))


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


def test_awaiting_consumer_and_waiter_go_on_through_a_failover(group):
    async def check():
        client = twin_of(blocking)
        queue = AIORedisSimpleQueue(redis=client, key="q")
        holder, other = (AIORedlock(key="k", masters=[client]) for _ in range(2))
        assert await holder.acquire()
        waiters = [
            asyncio.create_task(keep_awaiting(lambda: queue.get(timeout=20))),
            asyncio.create_task(keep_awaiting(lambda: other.acquire(timeout=20))),
        ]
        await asyncio.to_thread(until, lambda: blocking.info("clients")["blocked_clients"] == 2)
        blocking.set("mark", "")
        blocking.wait(1, 5000)
        await asyncio.to_thread(group.fail_over)
        await keep_awaiting(lambda: queue.put("x"))
        with suppress(PrimitiveError, RedisError):
            await holder.release()
        assert await asyncio.wait_for(asyncio.gather(*waiters), 30) == ["x", True]
        await close(client)

    with group.sentinel.master_for("m") as blocking:
        asyncio.run(check())


async def keep_awaiting(function):
    """Return what a function gives as soon as it does."""
    for _ in range(400):
        with suppress(*EXPECTED):
            return await function()
        await asyncio.sleep(0.05)
    raise TimeoutError
