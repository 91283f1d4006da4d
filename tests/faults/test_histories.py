"""Many threads or processes at once, while servers crash and networks break: can it be true?"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from math import inf
from multiprocessing import get_context

import histories
import pytest
from histories import Call, is_linearizable
from test_nextid import assert_right

from pottery import QueueEmptyError, RedisCounter, RedisDict, RedisList, RedisSet, RedisSimpleQueue
from pottery.queue import DOUBTS
from pottery.testing import FaultyProxy, RedisServer

SECONDS = 2.5
WORKERS = 3
LASTING = {"appendonly": "yes", "appendfsync": "always"}


def in_threads():
    return ThreadPoolExecutor(2 * WORKERS)


def in_processes():
    return ProcessPoolExecutor(2 * WORKERS, get_context("spawn"))


@pytest.fixture(scope="module")
def server():
    with RedisServer(config=LASTING) as server:
        yield server


@pytest.fixture
def client(server):
    with server.client() as client:
        client.flushall()
        yield client
    DOUBTS.clear()


@pytest.fixture(params=[in_threads, in_processes], ids=lambda workers: workers.__name__)
def history(request, server, client):
    """A function that lets workers do what their names say, and returns the history of it."""

    def run(*names):
        jobs = [(name, me) for me in range(WORKERS) for name in names]
        with FaultyProxy(server.url) as proxy, request.param() as pool:
            works = [
                pool.submit(histories.work, proxy.url, name, me, len(jobs), SECONDS + 0.5)
                for name, me in jobs
            ]
            histories.await_all(client, len(jobs))
            histories.make_trouble(server, proxy, time.monotonic() + SECONDS)
            for fault in (proxy.drop_reply, proxy.drop_command, proxy.swallow_reply):
                fault(0)
            return [*chain.from_iterable(one.result(60) for one in works)]

    return run


def some(calls, outcome, least=10):
    assert sum(one.outcome == outcome for one in calls) >= least, "too little happened"
    return calls


@pytest.mark.slow
def test_queue_gives_each_item_once(history, client):
    calls = some(history("put", "get"), "ok", 100)
    it, left = RedisSimpleQueue(redis=client, key="q"), []
    with suppress(QueueEmptyError):
        while True:
            left.append(it.get_nowait())
    histories.check_queue(calls, left)


@pytest.mark.slow
def test_counter_counts_what_it_said_that_it_counted(history, client):
    calls = some(some(history("count"), "ok", 100), "unknown", 1)
    histories.check_counter(calls, RedisCounter(redis=client, key="c")["all"])


@pytest.mark.slow
def test_elements_of_a_list_are_registers(history, client):
    RedisList(["new"] * histories.REGISTERS, redis=client, key="l")
    calls = some(some(history("use_registers"), "ok", 100), "unknown", 1)
    histories.check_registers(calls, "new")


@pytest.mark.slow
def test_what_was_written_last_stays(history, client):
    calls = some(history("change_own"), "ok", 100)
    items, members = RedisDict(redis=client, key="d"), RedisSet(redis=client, key="s")
    histories.check_own(calls, items.to_dict(), members.to_set())


@pytest.mark.slow
def test_lock_has_one_holder_at_a_time_and_rising_numbers(history):
    calls = history("hold")
    histories.check_lock(calls)
    held = [one.who for one in calls if one.verb == "held"]
    assert len(held) > 5
    assert max(one.ended - one.began for one in calls) < 10


@pytest.mark.slow
def test_ids_are_unique_and_rise(history):
    calls = [one for one in history("take_ids") if one.outcome == "ok"]
    assert len(calls) > 5
    assert_right([(one.began, one.ended, one.value) for one in calls])


# --- that the checks find what is wrong


def register(*calls):
    return [Call(0, verb, value, *times, "ok") for verb, value, *times in calls]


@pytest.mark.parametrize(
    ("calls", "is_right"),
    [
        ([("read", "new", 0, 1), ("write", "a", 2, 3), ("read", "a", 4, 5)], True),
        ([("write", "a", 0, 5), ("read", "a", 1, 2), ("read", "a", 3, 4)], True),
        ([("write", "a", 0, 5), ("read", "new", 1, 2), ("read", "a", 3, 4)], True),
        ([("write", "a", 0, 5), ("read", "a", 1, 2), ("read", "new", 3, 4)], False),
        ([("write", "a", 0, 1), ("read", "new", 2, 3)], False),
        ([("write", "a", 0, 1), ("write", "b", 2, 3), ("read", "a", 4, 5)], False),
        ([("write", "a", 0, 3), ("write", "b", 0, 3), ("read", "a", 4, 5)], True),
        ([("read", "a", 0, 1)], False),
    ],
)
def test_register_shows_what_is_wrong(calls, is_right):
    assert is_linearizable(register(*calls), "new") is is_right


def test_write_of_unknown_outcome_may_come_late_or_never_but_once():
    unknown = Call(1, "write", "late", 0, inf, "unknown")
    assert is_linearizable([unknown, *register(("read", "new", 5, 6))], "new")
    assert is_linearizable(
        [unknown, *register(("read", "new", 5, 6), ("read", "late", 7, 8))], "new"
    )
    again = register(("read", "late", 1, 2), ("write", "b", 3, 4), ("read", "late", 5, 6))
    assert not is_linearizable([unknown, *again], "new")


def noted(verb, value, outcome="ok"):
    return Call(0, verb, value, 0, 1, outcome)


@pytest.mark.parametrize(
    ("calls", "left"),
    [
        ([noted("put", [0, 1])], []),
        ([noted("put", [0, 1]), noted("got", [0, 1])], [[0, 1]]),
        ([noted("put", [0, 1], "failed"), noted("got", [0, 1])], []),
        ([noted("put", [0, 1]), noted("put", [0, 2])], [[0, 2], [0, 1]]),
    ],
)
def test_queue_shows_what_is_wrong(calls, left):
    with pytest.raises(AssertionError):
        histories.check_queue(calls, left)


def test_lock_counter_and_keys_show_what_is_wrong():
    held = Call(0, "held", 5, 1, 3, "ok")
    histories.check_lock([held, held._replace(value=6, began=4, ended=5)])
    for wrong in (held._replace(value=6, began=2), held._replace(value=4, began=4, ended=5)):
        with pytest.raises(AssertionError):
            histories.check_lock([held, wrong])
    counted = [noted("count", 1), noted("count", 2, "unknown"), noted("count", 3, "failed")]
    histories.check_counter(counted, 2)
    for total in (0, 3):
        with pytest.raises(AssertionError):
            histories.check_counter(counted, total)
    written = [noted("d k", 1), noted("d k", 2), noted("d k", 3, "unknown")]
    histories.check_own(written, {"k": 3}, set())
    with pytest.raises(AssertionError):
        histories.check_own(written, {"k": 1}, set())
