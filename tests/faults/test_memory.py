"""A server that has no memory left: writes are refused whole, and what adds nothing works."""

from __future__ import annotations

from collections import Counter

import pytest
from operations import ACQUIRING, LOCKS, OPERATIONS, prepare
from performing import content, outcome
from redis.exceptions import OutOfMemoryError

from pottery import (
    AIOBloomFilter,
    AIOHyperLogLog,
    BloomFilter,
    HyperLogLog,
    PrimitiveError,
    QuorumIsImpossible,
    Redlock,
)
from pottery.testing import RedisServer

# What adds nothing and needs memory even so, since the server has to put something somewhere.
NEEDS_ROOM = {
    "__bypass__": "keeps the result anew",
    "reverse": "reads the list, and pushes it",
    "rotate": "as reverse",
    "sort": "as reverse",
}
# Filters are combined, and compared, by a bitmap beside them; and whether an element is in a
# HyperLogLog is found by adding it to a copy.
NEEDS_ROOM_OF = {BloomFilter, AIOBloomFilter, HyperLogLog, AIOHyperLogLog}
COMBINING = {
    *("__and__", "__contains__", "__eq__", "__ge__", "__gt__", "__iand__", "__ior__", "__le__"),
    *("__lt__", "contains_many", "equals", "has", "intersection", "intersection_update"),
    *("issubset", "issuperset"),
}
# Locks that are not held are waited for: see below.
ENUMERATED = [one for one in OPERATIONS if one.kind not in LOCKS or one.name not in ACQUIRING]


@pytest.fixture(scope="module")
def server():
    """A server for these tests alone: its memory is that of all its databases."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def database(server):
    with server.client() as client:
        client.config_set("maxmemory", "0")
        client.flushdb()
        yield client


def fill(client):
    client.config_set("maxmemory", "1")


def needs_room(operation):
    return operation.name in NEEDS_ROOM or (
        operation.kind in NEEDS_ROOM_OF and operation.name in COMBINING
    )


def adds(before, after):
    """Return whether something was added, apart from what expires beside a container."""
    new = {key: elements for key, (elements, _) in after.items() if b"~" not in key}
    old = {key: elements for key, (elements, _) in before.items()}
    return any(unordered(new[key]) - unordered(old.get(key, Counter())) for key in new)


def unordered(elements):
    return Counter(one[1] if isinstance(one, tuple) else one for one in elements.elements())


def is_told(answer):
    if isinstance(answer, PrimitiveError):
        # What masters say from within a script stays as it is, and Redis 6.2 has it in its text.
        return any("maxmemory" in str(error) for error in answer.redis_errors)
    return isinstance(answer, OutOfMemoryError)


@pytest.mark.parametrize("operation", ENUMERATED, ids=str)
def test_write_is_refused_whole_and_what_adds_nothing_works(operation, database, server):
    prepare(operation.kind, database)
    before = {}
    result = outcome(
        operation, server.url, lambda: before.update(content(database, temporary=True))
    )
    is_writing = adds(before, content(database, temporary=True))
    assert not isinstance(result, Exception)
    del result
    database.flushdb()
    prepare(operation.kind, database)
    before = {}

    def run_full():
        before.update(content(database))
        fill(database)

    answer = outcome(operation, server.url, run_full)

    if is_told(answer):
        assert is_writing or needs_room(operation)
        assert content(database) == before
    else:
        assert not isinstance(answer, Exception)


@pytest.mark.parametrize("options", [{}, {"fencing": True}])
def test_lock_is_waited_for_until_there_is_memory(options, database):
    lock = Redlock(key="k", masters=[database], **options)
    fill(database)
    assert not lock.acquire(blocking=False)
    assert not lock.acquire(timeout=0.2)
    with pytest.raises(QuorumIsImpossible) as caught:
        lock.acquire(raise_on_redis_errors=True)
    assert is_told(caught.value)
    assert not database.exists(lock.key)
    database.config_set("maxmemory", "0")
    assert lock.acquire()
