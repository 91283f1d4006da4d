"""The faults of pottery.testing.FaultyProxy, as real clients see them."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from time import monotonic

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pottery.testing import FaultyProxy, RedisServer

LOST = RedisConnectionError, RedisTimeoutError


@pytest.fixture(scope="module")
def redis_server():
    """A server beside that of the other tests, in place of the plugin's."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def direct(redis_client):
    return redis_client


@pytest.fixture
def proxy(redis_proxy):
    return redis_proxy


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def client(proxy, request):
    """A client through the proxy that sends nothing twice."""
    with proxy.client(protocol=request.param, retry=None, socket_timeout=5) as client:
        client.ping()
        yield client


# --- without faults


def test_proxy_hands_everything_on(client):
    big = b"x" * 10_000_000

    assert client.set("k", big)
    assert client.get("k") == big
    assert client.rpush("l", *range(20_000)) == 20_000
    assert client.lrange("l", 0, -1) == [b"%d" % number for number in range(20_000)]
    assert client.get("nothing") is None


@pytest.mark.parametrize("unix_socket", [False, True])
def test_proxy_serves_servers_of_either_kind_with_what_their_url_says(unix_socket):
    config = {"requirepass": "s/e@cret"}

    with RedisServer(unix_socket=unix_socket, config=config) as server, server.proxy() as proxy:
        assert proxy.url == f"redis://:s%2Fe%40cret@127.0.0.1:{proxy.port}"
        with proxy.client() as client:
            assert client.ping()


def test_url_leads_to_the_same_database(redis_server, direct):
    with FaultyProxy(f"{redis_server.url}/3?socket_timeout=7") as proxy, proxy.client() as client:
        client.set("k", 1)

        assert proxy.url.endswith("/3?socket_timeout=7")
        assert direct.info("keyspace")["db3"]["keys"] == 1


# --- what happens once


def test_dropped_reply_is_of_a_command_that_ran(client, proxy, direct):
    proxy.drop_reply()

    with pytest.raises(RedisConnectionError):
        client.incr("n")

    assert direct.get("n") == b"1"
    assert client.incr("n") == 2
    assert proxy.lost == 1


def test_dropped_command_does_not_run(client, proxy, direct):
    proxy.drop_command()

    with pytest.raises(RedisConnectionError):
        client.incr("n")

    assert direct.get("n") is None
    assert client.incr("n") == 1
    assert proxy.lost == 1


def test_swallowed_reply_never_comes_and_its_command_ran(proxy, direct):
    with proxy.client(retry=None, socket_timeout=0.5) as client:
        client.ping()
        proxy.swallow_reply()
        with pytest.raises(RedisTimeoutError):
            client.incr("n")

        assert direct.get("n") == b"1"
        assert client.incr("n") == 2


@pytest.mark.parametrize("fault", ["drop_reply", "drop_command"])
def test_faults_are_counted_in_commands_after_those_that_are_spared(client, proxy, fault):
    getattr(proxy, fault)(2, after=3)
    outcomes = [outcome(client, number) for number in range(8)]

    assert outcomes == [0, 1, 2, None, None, 5, 6, 7]


def outcome(client, number):
    with suppress(RedisConnectionError):
        return int(client.echo(number))


def test_cut_closes_what_is_open(client, proxy):
    timer = threading.Timer(0.1, proxy.cut)
    timer.start()

    with pytest.raises(RedisConnectionError):
        client.blpop("l", 4)
    timer.join()
    assert client.ping()


# --- what lasts


def test_stalled_network_leaves_connections_open_and_delivers_late(client, proxy, direct):
    answers = []
    caller = threading.Thread(target=lambda: answers.append(client.incr("n")))
    with proxy.stall():
        caller.start()
        with (
            proxy.client(retry=None, socket_timeout=0.1) as other,
            pytest.raises(RedisTimeoutError),
        ):
            other.ping()
        assert direct.get("n") is None
    caller.join(10)

    assert answers == [1]


def test_refusing_proxy_is_as_a_machine_without_a_server(client, proxy):
    with proxy.refuse():
        for _ in range(3):
            with pytest.raises(RedisConnectionError):
                client.ping()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((proxy.host, proxy.port))

    assert client.ping()


def test_delay_counts_in_each_direction(client, proxy):
    with proxy.delay(0.1):
        before = monotonic()
        client.ping()
        assert 0.2 <= monotonic() - before < 5

    before = monotonic()
    client.ping()
    assert monotonic() - before < 0.2


def test_delayed_messages_stay_in_order(client, proxy):
    with proxy.delay(0, jitter=0.05), client.pipeline(transaction=False) as pipeline:
        for number in range(50):
            pipeline.rpush("l", number)
        assert pipeline.execute() == [*range(1, 51)]
        assert client.lrange("l", 0, -1) == [b"%d" % number for number in range(50)]


def test_throttled_line_takes_its_time(client, proxy):
    with proxy.throttle(1_000_000):
        before = monotonic()
        client.set("k", b"x" * 300_000)
        assert 0.3 <= monotonic() - before < 5


# --- its end


def test_proxy_is_gone_after_its_block(redis_server):
    before = threading.active_count()
    with redis_server.proxy() as proxy, proxy.client(retry=None) as client:
        client.ping()

    assert threading.active_count() == before
    with pytest.raises(RedisConnectionError):
        client.ping()
    with pytest.raises(RuntimeError, match="with block"):
        proxy.drop_reply()
