"""Which connections stay leased from command to command, and when they do not."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from contextlib import nullcontext

import pytest
import redis as redis_py
from clients import forked
from redis import asyncio as asynchronous
from redis.credentials import UsernamePasswordCredentialProvider
from redis.exceptions import ConnectionError as RedisConnectionError

from pottery import AIORedisList, AIORedisSet, RedisList, RedisSet
from pottery._leases import _KINDS, _MOST, FOR_COMMAND, standing_leases

pytestmark = pytest.mark.skipif(not _KINDS, reason="with this redis-py, no connection stays leased")


class Blocking:
    """What is asked of clients, by blocking."""

    pools = redis_py

    def __init__(self, server):
        self.server = server

    def run(self, result):
        return result

    def rest(self, seconds):
        time.sleep(seconds)

    def client(self, kind="ConnectionPool", **options):
        pool = getattr(self.pools, kind).from_url(self.server.url, **options)
        return self.pools.Redis(connection_pool=pool)

    def list(self, client):
        return RedisList(redis=client, key="l")

    def append(self, items, item):
        self.run(items.append(item))

    def handler(self, heard):
        return heard.append

    def close(self, client):
        client.connection_pool.disconnect()


class Awaiting(Blocking):
    """The same, by awaiting in an event loop."""

    pools = asynchronous

    def __init__(self, server):
        super().__init__(server)
        self.loop = asyncio.new_event_loop()

    def run(self, awaitable):
        return self.loop.run_until_complete(awaitable)

    def rest(self, seconds):
        """Let what goes on in the loop go on."""
        self.run(asyncio.sleep(seconds))

    def list(self, client):
        return AIORedisList(redis=client, key="l")

    def handler(self, heard):
        async def hear(message):
            heard.append(message)

        return hear

    def close(self, client):
        self.run(client.connection_pool.disconnect())


@pytest.fixture(params=[Blocking, Awaiting])
def colour(request, server, redis):
    colour = request.param(server)
    yield colour
    if isinstance(colour, Awaiting):
        colour.loop.close()


@pytest.fixture
def client(colour):
    client = colour.client()
    yield client
    colour.close(client)


def leased(client):
    return len(client.connection_pool._in_use_connections)


def connections(client):
    pool = client.connection_pool
    return [*pool._available_connections, *pool._in_use_connections]


def standing(client):
    """Return the connection of the first standing lease, the only one if calls do not overlap."""
    leases = standing_leases(client.connection_pool)
    return leases[0].connection if leases else None


def test_one_connection_stays_leased(colour, client):
    items = colour.list(client)
    colour.append(items, 1)
    connection = standing(client)
    colour.append(items, 2)
    assert standing(client) is connection
    assert leased(client) == 1
    assert not client.connection_pool._available_connections


def few(colour):
    return colour.client(max_connections=99)


def waiting(colour):
    return colour.client("BlockingConnectionPool", max_connections=200)


def authenticating(colour):
    return colour.client(credential_provider=UsernamePasswordCredentialProvider("default"))


def of_somebody(colour):
    class Pool(colour.pools.ConnectionPool):
        pass

    return colour.pools.Redis(connection_pool=Pool.from_url(colour.server.url))


@pytest.mark.parametrize("make", [few, waiting, authenticating, of_somebody])
def test_no_connection_stays_leased_from_a_pool_that_needs_each(colour, make):
    client = make(colour)
    try:
        colour.append(colour.list(client), 1)
        colour.append(colour.list(client), 2)
        assert standing(client) is None
    finally:
        colour.close(client)


@pytest.mark.parametrize("most", [99, 100])
def test_connection_that_the_server_closed_is_replaced_before_anything_is_sent(colour, redis, most):
    client = colour.client(max_connections=most)
    try:
        items = colour.list(client)
        for number in range(3):
            colour.append(items, number)
            redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            colour.rest(0.01)  # so that the event loop learns of it
        assert redis.llen("l") == 3
        assert len(connections(client)) == 1
    finally:
        colour.close(client)


def test_connection_with_a_reply_to_come_is_not_used(colour, redis):
    client = colour.client(protocol=2)
    try:
        items = colour.list(client)
        colour.append(items, 1)
        dirty = standing(client)
        colour.run(dirty.send_command("PING"))
        colour.rest(0.01)  # so that it has come
        colour.append(items, 2)
        assert [*map(int, redis.lrange("l", 0, -1))] == [1, 2]
        assert len(connections(client)) == 1
    finally:
        colour.close(client)


class Stop(BaseException):
    """Interrupts, as KeyboardInterrupt does, but no test runner."""


@pytest.mark.parametrize("failure", [RedisConnectionError, Stop])
def test_connection_that_fails_its_check_is_replaced(colour, redis, failure):
    failures = []

    def fail():
        if failures:
            raise failures.pop()

    class Checked(colour.pools.Connection):
        def check_health(self):
            fail()
            return super().check_health()

    client = colour.client(connection_class=Checked)
    try:
        items = colour.list(client)
        colour.append(items, 1)
        failures.append(failure)
        with pytest.raises(Stop) if failure is Stop else nullcontext():
            colour.append(items, 2)
        colour.append(items, 3)
        assert redis.llen("l") == (2 if failure is Stop else 3)
        assert not failures
        assert len(connections(client)) == 1
    finally:
        colour.close(client)


def test_what_the_server_says_on_its_own_is_heard(colour, redis):
    # A server that is about to move says so on each connection, if the client uses RESP3.
    client = colour.client(protocol=3)
    try:
        items = colour.list(client)
        colour.append(items, 1)
        connection, heard = standing(client), []
        connection._parser.set_invalidation_push_handler(colour.handler(heard))
        colour.run(connection.send_command("CLIENT", "TRACKING", "ON", "BCAST"))
        colour.run(connection.read_response())
        redis.set("other", 1)
        colour.rest(0.01)
        colour.append(items, 2)
        assert heard
        assert standing(client) is connection
    finally:
        colour.close(client)


def test_client_that_was_closed_is_opened_again(colour, client, redis):
    items = colour.list(client)
    colour.append(items, 1)
    connection = standing(client)
    colour.close(client)
    assert not connection.is_connected
    colour.append(items, 2)
    assert redis.llen("l") == 2
    assert leased(client) == 1


def test_pool_that_was_reset_is_no_problem(colour, client, redis):
    items = colour.list(client)
    for number in range(3):
        colour.append(items, number)
        standing(client).mark_for_reconnect()
        client.connection_pool.reset()
    colour.append(items, 3)
    assert redis.llen("l") == 4
    assert leased(client) == 1


def test_connection_that_its_pool_forgot_is_closed(colour, client):
    items = colour.list(client)
    colour.append(items, 1)
    forgotten = standing(client)
    client.connection_pool.reset()
    colour.append(items, 2)
    assert standing(client) is not forgotten
    assert not forgotten.is_connected
    assert leased(client) == 1


def test_connection_that_shall_be_opened_anew_is(colour, client, redis):
    items = colour.list(client)
    colour.append(items, 1)
    before = {one["id"] for one in redis.client_list()}
    standing(client).mark_for_reconnect()
    colour.append(items, 2)
    assert not standing(client).should_reconnect()
    after = {one["id"] for one in redis.client_list()}
    assert len(before - after) == len(after - before) == 1


def test_health_of_a_connection_that_stays_leased_is_checked(colour, redis):
    client = colour.client(health_check_interval=0.01)
    try:
        items = colour.list(client)
        colour.append(items, 1)
        redis.config_resetstat()
        colour.rest(0.05)
        colour.append(items, 2)
        assert redis.info("commandstats")["cmdstat_ping"]["calls"] == 1
    finally:
        colour.close(client)


def test_connections_that_stay_leased_are_not_missing_to_others(colour):
    client = colour.client(max_connections=100)
    pool = client.connection_pool
    try:
        items = colour.list(client)
        colour.append(items, 1)
        held = [colour.run(pool.get_connection(*FOR_COMMAND)) for _ in range(100)]
        colour.append(items, 2)
        assert pool.max_connections == 100 + _MOST
        for connection in held:
            colour.run(pool.release(connection))
    finally:
        colour.close(client)


def test_pool_goes_away_with_its_client(colour):
    client = colour.client()
    colour.append(colour.list(client), 1)
    pool = weakref.ref(client.connection_pool)
    colour.close(client)
    del client
    gc.collect()
    assert pool() is None


def test_of_many_threads_few_connections_stay_leased(server, redis):
    with server.client() as client:
        items = RedisList(redis=client, key="l")

        def append():
            for number in range(300):
                items.append(number)

        threads = [threading.Thread(target=append) for _ in range(3 * _MOST)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(items) == 300 * len(threads)
        assert 1 < leased(client) <= _MOST


def test_of_many_tasks_few_connections_stay_leased(server, redis):
    async def main():
        async with asynchronous.Redis.from_url(server.url) as client:
            items = AIORedisList(redis=client, key="l")
            await asyncio.gather(*(items.append(number) for number in range(50)))
            await asyncio.gather(*(items.append(number) for number in range(50)))
            assert leased(client) == _MOST

    asyncio.run(main())
    assert redis.llen("l") == 100


def test_next_event_loop_has_a_connection_of_its_own(server, redis):
    client = asynchronous.Redis.from_url(server.url)
    members = AIORedisSet(redis=client, key="s")

    async def main(number):
        await members.add(number)
        assert leased(client) == 1
        await standing(client).disconnect()
        return standing(client)

    assert len({asyncio.run(main(number)) for number in range(3)}) == 3
    assert redis.scard("s") == 3


def test_connection_of_an_event_loop_that_runs_elsewhere_is_left_to_it(server, redis):
    elsewhere = asyncio.new_event_loop()
    thread = threading.Thread(target=elsewhere.run_forever)
    thread.start()

    async def main():
        async with asynchronous.Redis.from_url(server.url) as client:
            items = AIORedisList(redis=client, key="l")
            await items.append(1)
            (lease, *_) = standing_leases(client.connection_pool)
            connection, lease.place = lease.connection, elsewhere
            await items.append(2)
            assert lease.connection is connection
            assert not lease.lock.locked()

    try:
        asyncio.run(main())
    finally:
        elsewhere.call_soon_threadsafe(elsewhere.stop)
        thread.join()
        elsewhere.close()
    assert redis.llen("l") == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_has_a_connection_of_its_own(server, redis):
    with server.client() as client:
        members = RedisSet(redis=client, key="s")
        members.add("parent")
        of_parent = standing(client)

        def child():
            members.add("child")
            assert standing(client) is not of_parent
            assert members.to_set() == {"parent", "child"}

        with forked(child):
            pass
        assert standing(client) is of_parent
        assert members.to_set() == {"parent", "child"}
