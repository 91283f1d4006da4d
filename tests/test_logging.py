"""What the logger `pottery` is told: trouble, and nothing else."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time

import pytest
from clients import close, killed
from operations import OPERATIONS, attach, prepare
from redis import asyncio as asynchronous
from redis.backoff import NoBackoff
from redis.retry import Retry

import pottery
from pottery import RedisCounter, RedisSimpleQueue, Redlock, redis_cache


@pytest.fixture
def trouble(caplog):
    """A function that gives what was logged at WARNING or above."""
    with caplog.at_level(logging.WARNING, logger="pottery"):
        yield lambda: [record.getMessage() for record in caplog.records]


def test_no_operation_logs_a_warning(redis, server, trouble):
    async def awaited(operation):
        client = asynchronous.Redis.from_url(server.url)
        target = attach(operation, client)
        if asyncio.iscoroutine(target):
            target = await target
        result = operation.call(target)
        if asyncio.iscoroutine(result):
            await result
        await close(client)

    pottery._temporary.ABANDONED.clear()
    for operation in OPERATIONS:
        redis.flushdb()
        prepare(operation.kind, redis)
        if operation.is_awaited:
            asyncio.run(awaited(operation))
        else:
            operation.call(attach(operation, redis))
    assert trouble() == []


def test_busy_program_logs_no_warning(redis, trouble):
    queue, done = RedisSimpleQueue(redis=redis, key="q"), RedisCounter(redis=redis, key="done")

    @redis_cache(redis=redis, key="squares", timeout=60, single_flight=True)
    def square(number):
        time.sleep(0.001)
        return number**2

    def work():
        while (number := queue.get(timeout=20)) is not None:
            with Redlock(key="lock", masters={redis}):
                square(number % 10)
            done.update([str(number)])

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for number in [*range(100), *[None] * len(workers)]:
        queue.put(number)
    for worker in workers:
        worker.join(60)

    assert done.total() == 100
    assert trouble() == []


def test_server_that_is_away_is_a_warning_but_once(five_servers, trouble):
    client = five_servers[4].client(retry=Retry(NoBackoff(), 0))
    root = redis_cache(redis=client, key="roots", on_error="compute")(abs)
    with killed(five_servers[4]):
        assert [root(-2), root(-3)] == [2, 3]

    (message,) = trouble()
    assert message.startswith("the cache 'roots' cannot be reached: ")


def test_who_has_not_set_logging_up_sees_nothing():
    program = "import logging, pottery; logging.getLogger('pottery').warning('trouble')"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert (done.stdout, done.stderr) == (b"", b"")
