"""Slow networks, torn ones and ones that are away for a while: in time, and as good as before."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
from clients import Awaiting, Blocking, opened, seconds
from operations import OPERATIONS
from proxied import PATIENT, all_wrong
from redis import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from verdict import FAILURES, PATIENCE

import pottery
from pottery import (
    AIORedisSimpleQueue,
    AIORedlock,
    OutcomeUnknown,
    QueueEmptyError,
    RedisDict,
    RedisSimpleQueue,
    Redlock,
)
from pottery.testing import FaultyProxy

pytestmark = pytest.mark.slow

SENDING = [operation for operation in OPERATIONS if operation.cost.trips]
PAGED = [operation for operation in SENDING if operation.cost.is_paged]


def test_slow_network_changes_nothing(stages):
    def judge(stage, operation):
        clean = stage.clean(operation)

        def run(call):
            with stage.proxy.delay(0.01, jitter=0.02):
                return stage.call(call)

        trial = stage.perform(operation, run)
        return f"{trial.error!r}" if trial.error else stage.verdict(operation, clean, trial)

    assert not all_wrong(stages, judge, SENDING)


def test_long_container_is_read_whole_though_the_connection_breaks_in_the_middle(stages):
    items = [f"item {number}" for number in range(3000)]

    def judge(stage, operation):
        clean = stage.perform(operation, items=items)

        def run(call):
            end = threading.Timer(0.015, stage.proxy.cut)
            with stage.proxy.throttle(1_000_000):
                end.start()
                try:
                    return stage.call(call)
                finally:
                    end.join()

        trial = stage.perform(operation, run, items=items)
        return f"{trial.error!r}" if trial.error else stage.verdict(operation, clean, trial)

    assert not all_wrong(stages, judge, PAGED)


def test_network_that_is_torn_leaves_all_as_it_was_or_as_it_should_be(stages):
    def judge(stage, operation):
        clean = stage.clean(operation)
        if clean.after == clean.before:
            return ""  # what only reads is not torn in another way than by a lost reply

        def run(call):
            with ExitStack() as torn:
                torn.enter_context(stage.proxy.stall())
                mended = threading.Timer(0.6, torn.close)
                mended.start()
                try:
                    return stage.call(call)
                finally:
                    mended.join()
                    stage.proxy.cut()  # nothing is on its way any more

        return stage.verdict(operation, clean, stage.perform(operation, run))

    assert not all_wrong(stages, judge, SENDING)


def test_network_that_is_away_is_an_error_that_says_so_and_then_all_is_well(stages, monkeypatch):
    monkeypatch.setattr(pottery._front, "_PAUSES", (0.0, 0.02, None))
    monkeypatch.setattr(pottery.queue, "PAUSES", (0.0, 0.02))

    def judge(stage, operation):
        clean = stage.clean(operation)

        def run(call):
            with ExitStack() as away:
                away.enter_context(stage.proxy.refuse())
                stage.settle(asyncio.sleep(0.01))  # in which it is heard of
                back = threading.Timer(0.3, away.close)
                if operation[:2] in PATIENT:
                    back.start()
                try:
                    return stage.call(call)
                finally:
                    back.cancel()

        trial = stage.perform(operation, run)
        if isinstance(trial.error, OutcomeUnknown):
            return f"nothing was sent, but {trial.error!r}"
        is_forgiving = trial.error is None and trial.after == trial.before
        return stage.damage(operation) if is_forgiving else stage.verdict(operation, clean, trial)

    assert not all_wrong(stages, judge, SENDING)


# --- what waits keeps its time


class Waiting:
    """Calls that wait for a second, by clients that go through a proxy."""

    def __init__(self, colour, server, proxy):
        self.colour = colour
        self.server = server
        self.proxy = proxy
        (self.client,) = colour.masters
        self.is_blocking = isinstance(self.client, Redis)

    def get(self):
        kind = RedisSimpleQueue if self.is_blocking else AIORedisSimpleQueue
        with suppress(QueueEmptyError, *FAILURES):
            self.colour.run(kind(redis=self.client, key="q").get(timeout=1))

    def acquire(self):
        with self.server.client() as client:
            client.set("redlock:taken", "by another")
        kind = Redlock if self.is_blocking else AIORedlock
        lock = kind(key="taken", masters=[self.client])
        assert not self.colour.run(lock.acquire(timeout=1))


TROUBLE = {
    "slow": lambda proxy: proxy.delay(0.1, jitter=0.1),
    "torn": FaultyProxy.stall,
    "away": FaultyProxy.refuse,
}


@pytest.mark.parametrize("colour", [Blocking, Awaiting])
@pytest.mark.parametrize("trouble", TROUBLE)
@pytest.mark.parametrize("wait", [Waiting.get, Waiting.acquire])
def test_waiting_ends_in_time_whatever_the_network_does(server, redis, colour, trouble, wait):
    with (
        FaultyProxy(f"{server.url}?socket_timeout=1&socket_connect_timeout=1") as proxy,
        opened(colour, [proxy]) as clients,
    ):
        waiting = Waiting(clients, server, proxy)
        with ExitStack() as torn:
            begin = threading.Timer(0.3, torn.enter_context, [TROUBLE[trouble](proxy)])
            begin.start()
            assert seconds(lambda: wait(waiting)) < PATIENCE
            begin.join()
        assert 0.9 < seconds(lambda: wait(waiting)) < PATIENCE  # as before


# --- many at once


def test_pool_is_not_exhausted_by_what_the_network_does(server, redis):
    with FaultyProxy(server.url) as proxy:
        pool = BlockingConnectionPool.from_url(
            proxy.url, max_connections=4, timeout=5, socket_timeout=0.2, retry=Retry(NoBackoff(), 0)
        )
        client, is_over = Redis(connection_pool=pool), threading.Event()
        container = RedisDict(redis=client, key="d")

        def work(me):
            done = 0
            while not is_over.is_set():
                with suppress(RedisConnectionError, RedisTimeoutError):
                    container[me] = container.get(me, 0) + 1
                    done += 1
            return done

        with ThreadPoolExecutor(8) as threads:
            works = [threads.submit(work, me) for me in range(8)]
            for trouble in (proxy.stall, proxy.refuse, lambda: proxy.delay(0.05)) * 2:
                with trouble():
                    time.sleep(0.3)
                proxy.drop_reply(5)
                proxy.swallow_reply(2)
                time.sleep(0.2)
            proxy.drop_reply(0)
            proxy.swallow_reply(0)
            is_over.set()
            done = [one.result(PATIENCE) for one in works]
        leased = [pool.get_connection() for _ in range(4)]  # all of them, and nobody waits
        for connection in leased:
            pool.release(connection)
        assert min(done) > 0
        assert all(container[me] >= done[me] for me in range(8))
        pool.disconnect()
