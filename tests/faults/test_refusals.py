"""A server that refuses commands, or has forgotten what it knew."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from time import sleep

import pytest
from operations import ACQUIRING, IDS, LOCKS, OPERATIONS, prepare
from performing import content, outcome, until
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError
from test_memory import needs_room

from pottery import (
    AIOCachedOrderedDict,
    AIORedisSet,
    CachedOrderedDict,
    ExtendUnlockedLock,
    NextId,
    OutcomeUnknown,
    PrimitiveError,
    QuorumNotAchieved,
    RedisList,
    RedisSet,
    RedisSimpleQueue,
    Redlock,
    ReleaseUnlockedLock,
    redis_cache,
)
from pottery._temporary import ABANDONED
from pottery.base import Base
from pottery.testing import RedisServer


@pytest.fixture(scope="module")
def server():
    """A server for these tests alone, since they set how it is as a whole."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def database(server):
    with server.client() as client:
        client.flushdb()
        yield client


# Locks that are not held are waited for, as those tests do that are not of all operations.
ENUMERATED = [one for one in OPERATIONS if one.kind not in LOCKS or one.name not in ACQUIRING]
IS_TOKEN = re.compile(rb"[0-9a-f]{40}").fullmatch


def kept(client):
    """Return what is there, apart from what expires beside a container; tokens are all alike."""
    found = {key: value for key, value in content(client).items() if b"~" not in key}
    for key, (elements, _) in found.items():
        if any(map(IS_TOKEN, (one for one in elements if isinstance(one, bytes)))):
            found[key] = len(elements)
    return found


def shape(result):
    """Return what is the same whenever an operation is called on the same content."""
    if isinstance(result, Base) or type(result) in IDS:
        return type(result)
    if isinstance(result, Iterator):
        return list(result)
    text = re.sub(r"0x\w+|pottery:[\w-]+|\d+\.\d+|'[0-9a-f]{40}'", "?", repr(result))
    return type(result), sorted(text)  # sets have no order


def prepared(operation, database):
    database.flushdb()
    prepare(operation.kind, database)


# --- scripts that are forgotten

RANDOM = {"pop": "of a set, takes any member"}


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_forgotten_scripts_cost_one_round_trip_each(operation, database, server, commands):
    ABANDONED.clear()
    runs = []
    for forget in (lambda: None, lambda: None, database.script_flush):
        prepared(operation, database)
        with ExitStack() as stack:
            lists = []

            def begin(forget=forget, stack=stack, lists=lists):
                forget()
                lists.append(stack.enter_context(commands(database)))

            result = outcome(operation, server.url, begin)
            assert not isinstance(result, Exception)
        (sent,) = lists
        runs.append((shape(result), kept(database), [line for line in sent if not is_sweep(line)]))
        del result
    _, (expected, content_expected, sent), (found, content_found, sent_again) = runs

    scripts = {line[1] for line in sent if line[0] == "EVALSHA"}
    assert len(sent_again) == len(sent) + len(scripts)
    if operation.kind not in {RedisSet, AIORedisSet} or operation.name not in RANDOM:
        assert (found, content_found) == (expected, content_expected)


def is_sweep(line):
    return line[0] == "UNLINK" and all(key.startswith("pottery:") for key in line[1:])


# --- everything is forgotten

# What remembers something itself: see below.
REMEMBERS = {CachedOrderedDict, AIOCachedOrderedDict, *IDS, *LOCKS}
WAITS = {"RedisSimpleQueue.get", "AIORedisSimpleQueue.get"}
EMPTIED = [one for one in OPERATIONS if one.kind not in REMEMBERS and str(one) not in WAITS]


@pytest.mark.parametrize("operation", EMPTIED, ids=str)
def test_container_on_an_emptied_server_is_an_empty_one(operation, database, server):
    prepared(operation, database)
    found = shape(outcome(operation, server.url, database.flushall)), kept(database)
    database.flushall()
    expected = shape(outcome(operation, server.url)), kept(database)
    assert found == expected


def test_items_in_memory_stay_on_an_emptied_server(database):
    prepare(CachedOrderedDict, database)
    cached = CachedOrderedDict(redis_client=database, redis_key="filled", dict_keys="01")
    database.flushall()
    cached["2"] = 1
    assert cached == {"0": 1, "1": 1, "2": 1}
    assert database.hgetall("filled") == {b'"2"': b"1"}


def test_consumer_waits_through_the_emptying_of_a_server(database):
    queue, got = RedisSimpleQueue(redis=database, key="q"), []
    consumer = threading.Thread(target=lambda: got.append(queue.get(timeout=20)))
    consumer.start()
    until(lambda: database.info("clients")["blocked_clients"] == 1)
    database.flushall()
    queue.put("x")
    consumer.join()
    assert got == ["x"]


def test_lock_of_an_emptied_server_is_lost(database):
    lost = []
    lock = Redlock(key="k", masters=[database], on_lost=lost.append)
    assert lock.acquire()
    database.flushall()
    with pytest.raises(ExtendUnlockedLock):
        lock.extend()
    assert lock.locked() == 0
    with pytest.raises(ReleaseUnlockedLock):
        lock.release()
    assert lost == [lock]
    assert Redlock(key="k", masters=[database]).acquire(blocking=False)


def test_ids_of_an_emptied_server_go_on_for_who_knows_the_last_one(database):
    ids = NextId(key="k", masters=[database])
    assert [next(ids), next(ids)] == [1, 2]
    database.flushall()
    assert [next(ids), next(ids)] == [3, 4]


# --- a master that is one no more

# What reads for the user and writes in Redis.
WRITES_TOO = {
    "__call__": "of a cached function: what is used stays longer",
    "__bypass__": "keeps the result anew",
    "create": "of a CachedOrderedDict: what is used stays longer",
    "__init__": "as create",
    "extend": "of a lock: begins its lease anew",
}


def is_read_only(answer):
    if isinstance(answer, PrimitiveError):
        errors = answer.redis_errors
        return any(is_read_only(error) or "READONLY" in str(error) for error in errors)
    return isinstance(answer, ReadOnlyError)


@pytest.mark.parametrize("operation", ENUMERATED, ids=str)
def test_demoted_master_refuses_writes_and_answers_reads(operation, database, server):
    prepared(operation, database)
    before = {}
    result = outcome(
        operation, server.url, lambda: before.update(content(database, temporary=True))
    )
    is_writing = before != content(database, temporary=True)
    del result
    prepared(operation, database)

    def demote():
        before.clear()
        before.update(content(database))
        database.replicaof("127.0.0.1", "1")

    answer = outcome(operation, server.url, demote)
    after = content(database)
    database.replicaof("NO", "ONE")

    assert is_read_only(answer) or not isinstance(answer, Exception)
    if is_read_only(answer):
        assert after == before
        assert is_writing or needs_room(operation) or operation.name in WRITES_TOO
    prepared(operation, database)
    assert not isinstance(outcome(operation, server.url), Exception)


def test_client_goes_on_when_its_master_is_one_again(database):
    numbers = RedisList([1], redis=database, key="l")
    queue = RedisSimpleQueue(redis=database, key="q")
    database.replicaof("127.0.0.1", "1")
    for write in (lambda: numbers.append(2), numbers.reverse, lambda: queue.put(1)):
        with pytest.raises(ReadOnlyError):
            write()
    assert list(numbers) == [1]
    lock = Redlock(key="k", masters=[database])
    assert not lock.acquire(timeout=0.2)
    with pytest.raises(QuorumNotAchieved):
        next(NextId(key="k", masters=[database], num_tries=1))
    database.replicaof("NO", "ONE")
    numbers.append(2)
    queue.put(1)
    assert (list(numbers), queue.get()) == ([1, 2], 1)
    assert lock.acquire()


def test_cache_that_may_do_without_redis_does_so_when_its_master_is_one_no_more(database):
    cached = redis_cache(redis=database, key="k", on_error="compute")(str)
    assert cached(1) == "1"
    database.replicaof("127.0.0.1", "1")
    assert [cached(1), cached(2)] == ["1", "2"]
    database.replicaof("NO", "ONE")


# --- no more clients


@pytest.mark.parametrize("operation", ENUMERATED, ids=str)
def test_server_that_takes_no_more_clients_is_a_connection_error(operation, database, server):
    prepared(operation, database)
    before = {}

    def shut():
        before.update(content(database))
        database.config_set("maxclients", 1)

    answer = outcome(operation, server.url, shut)
    database.config_set("maxclients", 10000)

    if isinstance(answer, Exception):
        assert isinstance(answer, (RedisConnectionError, PrimitiveError))
        assert not isinstance(answer, OutcomeUnknown)
        assert content(database) == before
    prepared(operation, database)
    assert not isinstance(outcome(operation, server.url), Exception)


def test_consumer_and_lock_wait_until_the_server_takes_clients_again(database, server):
    """A waiter takes a connection besides; those that there are go on."""
    lock = Redlock(key="k", masters=[database])
    holder = Redlock(key="k", masters=[database])
    assert holder.acquire()
    queue, got = RedisSimpleQueue(redis=database, key="q"), []
    queue.put(0)
    assert queue.get() == 0
    database.config_set("maxclients", 1)
    waiters = [
        threading.Thread(target=lambda: got.append(queue.get(timeout=20))),
        threading.Thread(target=lambda: got.append(lock.acquire(timeout=20))),
    ]
    for waiter in waiters:
        waiter.start()
    sleep(0.3)
    assert not got
    database.config_set("maxclients", 10000)
    queue.put("x")
    holder.release()
    for waiter in waiters:
        waiter.join()
    assert {*got} == {"x", True}
