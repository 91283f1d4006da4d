"""A key that holds something of another type: Redis's error, and nothing is changed."""

from __future__ import annotations

import pytest
from operations import CACHES, LOCKS, OPERATIONS, prepare
from performing import content, key_of, outcome
from redis.exceptions import ResponseError

WRITES = {
    "string": ("SET", "foreign"),
    "list": ("RPUSH", "foreign"),
    "hash": ("HSET", "foreign", "1"),
    "set": ("SADD", "foreign"),
    "zset": ("ZADD", "1", "foreign"),
    "stream": ("XADD", "*", "foreign", "1"),
}
# What answers all the same, and why.
ANSWERS = {
    "__aexit__": "leaves another one, with a temporary key",
    "__copy__": "Redis copies whatever it is; the copy is refused then",
    "__deepcopy__": "as __copy__",
    "__init__": "makes another one",
    "__repr__": "does not raise: it shows what is wrong, or of a HyperLogLog a question mark",
    "copy": "as __copy__",
    "create": "makes another one",
    "fromkeys": "makes another one",
}
CLEARS = {"clear", "cache_clear", "reset"}


@pytest.fixture
def database(server):
    with server.client() as client:
        client.flushdb()
        yield client


def put(redis, key, kind):
    redis.delete(key)
    command, *args = WRITES[kind]
    redis.execute_command(command, key, *args)


def foreign_types(operation, redis):
    """Return the types that the key of an operation does not have."""
    own = "string" if operation.kind in LOCKS else redis.type(key_of(operation.kind)).decode()
    return [kind for kind in WRITES if kind != own]


def is_told(answer):
    # From within a script, Redis 6.2 puts a long story in front of it.
    return isinstance(answer, ResponseError) and "WRONGTYPE" in str(answer)


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_key_of_another_type_is_told_and_left_alone(operation, database, server):
    key, before = key_of(operation.kind), {}
    prepare(operation.kind, database)
    for kind in foreign_types(operation, database):
        database.flushdb()
        prepare(operation.kind, database)

        def exchange(kind=kind):
            put(database, key, kind)
            before.clear()
            before.update(content(database))

        answer = outcome(operation, server.url, exchange)

        assert is_told(answer) or not isinstance(answer, Exception), kind
        if operation.name in CLEARS and operation.cost.trips:  # which is how to get rid of it
            assert not database.exists(key)
            continue
        assert is_told(answer) or not operation.cost.trips or operation.name in ANSWERS, kind
        after = content(database)
        assert after[key] == before[key], kind
        assert is_told(answer) <= (after == before), kind


@pytest.mark.parametrize("kind", [kind for kind in WRITES if kind != "hash"])
@pytest.mark.parametrize("cache", CACHES)
def test_cache_that_is_looked_up_at_a_key_of_another_type_lets_it_stay(
    cache, kind, database, server
):
    looking_up = {"__call__", "__init__", "create"}
    for operation in OPERATIONS:
        if operation.kind is cache and operation.name in looking_up:
            database.flushdb()
            put(database, "filled", kind)
            before = content(database)
            assert is_told(outcome(operation, server.url)) or operation.name == "__init__"
            assert content(database) == before
