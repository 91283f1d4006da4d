"""What stands in Redis, byte for byte: that of pottery 3.0, so that old and new share data."""

from __future__ import annotations

import json

import pytest
from redis import ConnectionPool, RedisCluster

from pottery import (
    DecodeError,
    KeyExistsError,
    PotteryEncoder,
    RedisCounter,
    RedisDeque,
    RedisDict,
    RedisList,
    RedisSet,
)

HASH = {b'"a"': b"1", b'"\\u00e9"': b'[1, "x", null, {"k": 2.5}]', b"[1, 2]": b"true"}
DICT = {"a": 1, "é": [1, "x", None, {"k": 2.5}], (1, 2): True}
TEXTS = [b"1", b'"x"', b"null", b"2.5", b"[1]", b'{"a": 2, "b": 1}', b'"\\ud800"']
ITEMS = [1, "x", None, 2.5, [1], {"b": 1, "a": 2}, "\ud800"]


def raw_bytes(client):
    """Return a client of the same database that decodes nothing."""
    if isinstance(client, RedisCluster):
        return client
    options = {**client.connection_pool.connection_kwargs, "decode_responses": False}
    pool = Fleeting(connection_class=client.connection_pool.connection_class, **options)
    return type(client)(connection_pool=pool)


class Fleeting(ConnectionPool):
    """A pool of connections for one command each, which nobody has to close."""

    def release(self, connection):
        connection.disconnect()
        super().release(connection)


def test_dict_is_a_hash_of_texts(redis):
    raw = raw_bytes(redis)
    RedisDict(DICT, redis=redis, key="new")
    raw.hset("old", mapping=HASH)
    assert raw.hgetall("new") == HASH
    assert RedisDict(redis=redis, key="old").to_dict() == DICT


def test_set_is_a_set_of_texts(redis):
    raw = raw_bytes(redis)
    RedisSet({"a", 1.5, None, (1, 2)}, redis=redis, key="new")
    raw.sadd("old", b'"a"', b"1.5", b"null", b"[1, 2]")
    assert set(raw.smembers("new")) == set(raw.smembers("old"))
    assert RedisSet(redis=redis, key="old").to_set() == {"a", 1.5, None, (1, 2)}


@pytest.mark.parametrize("container", [RedisList, RedisDeque])
def test_sequence_is_a_list_of_texts(redis, container):
    raw = raw_bytes(redis)
    container(ITEMS, redis=redis, key="new")
    raw.rpush("old", *TEXTS)
    assert raw.lrange("new", 0, -1) == TEXTS
    assert list(container(redis=redis, key="old")) == ITEMS


def test_counter_is_a_hash_of_numbers(redis):
    raw = raw_bytes(redis)
    RedisCounter({"a": 5, "b": -2, "c": 1.5}, redis=redis, key="new")
    texts = {b'"a"': b"5", b'"b"': b"-2", b'"c"': b"1.5"}
    raw.hset("old", mapping=texts)
    assert raw.hgetall("new") == texts
    assert RedisCounter(redis=redis, key="old").to_counter() == {"a": 5, "b": -2, "c": 1.5}


def test_containers_inside_values_are_spelled_out(redis):
    inner = RedisDict({"k": RedisList([1, 2], redis=redis)}, redis=redis)
    outer = RedisList([inner], redis=redis)
    assert outer[0] == {"k": [1, 2]}
    assert json.dumps(inner, cls=PotteryEncoder) == '{"k": [1, 2]}'
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps(inner)


NOT_JSON = [b"oops", b"", b"{", b"1,2", b"\xff", b"[" * 100_000, b"9" * 5000]


@pytest.mark.parametrize("broken", NOT_JSON, ids=[repr(text[:9]) for text in NOT_JSON])
def test_what_is_not_json_is_told_and_leaves_the_rest_reachable(redis, broken):
    raw = raw_bytes(redis)
    raw.rpush("l", b"1", broken, b"3")
    raw.hset("d", mapping={b'"a"': b"1", b'"b"': broken, broken: b"2"})
    items = RedisList(redis=redis, key="l")
    mapping = RedisDict(redis=redis, key="d")

    with pytest.raises(DecodeError) as caught:
        list(items)
    with pytest.raises(ValueError, match=r"key 'd' holds b"):
        mapping.to_dict()

    assert (caught.value.key, caught.value.raw) == ("l", broken)
    assert (items[0], items[2], mapping["a"]) == (1, 3, 1)
    assert "undecodable" in repr(items)
    assert "undecodable" in repr(mapping)


@pytest.mark.parametrize("text", [b'{"a": 1}', b'[1, {"a": 1}]'])
def test_member_that_no_python_set_can_have_is_told(redis, text):
    raw_bytes(redis).sadd("s", text, b'"fine"')
    members = RedisSet(redis=redis, key="s")
    with pytest.raises(DecodeError):
        members.to_set()
    assert "fine" in members


def make(container, redis):
    return container({"a": 1} if container is RedisDict else "a", redis=redis, key="k")


CONTAINERS = [RedisDict, RedisSet, RedisList, RedisDeque, RedisCounter]


@pytest.mark.parametrize("container", CONTAINERS)
def test_data_for_a_key_that_exists_is_refused(redis, container):
    make(container, redis)
    with pytest.raises(KeyExistsError, match=r"key 'k' exists already") as caught:
        make(container, redis)
    assert (caught.value.redis, caught.value.key) == (redis, "k")


@pytest.mark.parametrize("container", CONTAINERS)
def test_bytes_make_a_key_too(redis, container):
    original = make(container, redis)
    assert container(redis=redis, key=b"k") == original
