"""What the tests run on is what was asked for: the server, redis-py, and the way between them."""

from __future__ import annotations

import os
import socket
import ssl

import pytest
import redis as redis_py
from redis import RedisCluster
from redis.sentinel import SentinelManagedConnection

# Said by tests/matrix.py: "redis 7", say, and "8".
EXPECTED_SERVER = os.environ.get("EXPECT_SERVER", "")
EXPECTED_REDIS_PY = os.environ.get("EXPECT_REDIS_PY", "")


def name_and_version(client):
    facts = client.info("server")
    if "redis_version" not in facts:  # by node
        facts = next(iter(facts.values()))
    name = facts.get("server_name", "redis")
    return f"{name} {facts[f'{name}_version']}"


def test_server_is_the_one_of_the_row(redis):
    if not EXPECTED_SERVER:
        pytest.skip("no row of the matrix")
    assert f"{name_and_version(redis)}.".startswith(f"{EXPECTED_SERVER}.")


def test_redis_py_is_the_one_of_the_row():
    if not EXPECTED_REDIS_PY:
        pytest.skip("no row of the matrix")
    assert redis_py.__version__.startswith(f"{EXPECTED_REDIS_PY}.")


@pytest.fixture
def connection(redis):
    """A connection that came into being as those of the client do."""
    if isinstance(redis, RedisCluster):
        redis = redis.get_redis_connection(redis.get_primaries()[0])
    pool = redis.connection_pool
    connection = pool.connection_class(**pool.connection_kwargs)
    connection.connect()
    yield connection
    connection.disconnect()


def test_way_to_the_server_is_the_one_asked_for(redis, connection, via):
    end = connection._sock

    assert isinstance(end, ssl.SSLSocket) is (via == "tls")
    assert (end.family == socket.AF_UNIX) is (via == "unix")
    assert isinstance(connection, SentinelManagedConnection) is (via == "sentinel")
    assert isinstance(redis, RedisCluster) is (via in {"cluster", "replicas"})
    if via == "one":
        assert redis.connection_pool.max_connections == 1


def test_cluster_has_replicas_if_they_were_asked_for(redis, via):
    if via != "replicas":
        pytest.skip("not asked for")
    assert len(redis.get_replicas()) == 3
    assert redis.load_balancing_strategy


def test_protocol_and_shapes_are_those_asked_for(redis, connection, pytestconfig, via):
    wire = pytestconfig.getoption("wire")
    if wire in {"default", "all"} or via in {"cluster", "replicas"}:
        pytest.skip("the default")
    assert int(connection.protocol) == int(wire[4])
    decodes = redis.connection_pool.connection_kwargs.get("decode_responses", False)
    assert decodes is wire.endswith("decoded")
    legacy = redis.connection_pool.connection_kwargs.get("legacy_responses", True)
    assert legacy is not wire.endswith("unified")


def test_asynchronous_client_goes_the_same_way(redis, loop, via):
    twin = loop.client(redis)

    assert loop.wait(twin.ping())
    if via in {"cluster", "replicas"}:
        return
    blocking, pool = redis.connection_pool, twin.connection_pool
    assert pool.connection_class.__name__ == blocking.connection_class.__name__
    for name in ("host", "port", "path", "protocol", "decode_responses"):
        assert pool.connection_kwargs.get(name) == blocking.connection_kwargs.get(name)
    if via == "one":
        assert pool.max_connections == 1
