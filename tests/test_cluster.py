"""What is particular about a cluster: slots, and keys that move from one server to another."""

from __future__ import annotations

import asyncio
import doctest
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from clients import close
from hypothesis import given
from hypothesis import strategies as st
from moving import Mover, at_nodes, begin_move, end_move, owner_of
from redis import RedisCluster
from redis import asyncio as asynchronous
from redis.asyncio.cluster import ClusterNode as AsyncClusterNode
from redis.cluster import ClusterNode
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, TryAgainError

from pottery import (
    AIOBloomFilter,
    AIOHyperLogLog,
    AIORedisCounter,
    AIORedisDict,
    AIORedisList,
    AIORedisSet,
    AIORedisSimpleQueue,
    BloomFilter,
    HyperLogLog,
    NextId,
    OutcomeUnknown,
    QueueEmptyError,
    RedisCounter,
    RedisDeque,
    RedisDict,
    RedisList,
    RedisSet,
    RedisSimpleQueue,
    Redlock,
    redis_cache,
)
from pottery import _cluster as module
from pottery._clients import same_server
from pottery._cluster import by_slot, companion, slot, tag
from pottery.testing import ClusterServer, RedisServer

FILTER = {"num_elements": 100, "false_positives": 0.001}


@pytest.fixture
def redis(cluster_redis):
    return cluster_redis


@pytest.fixture
def aio(cluster_redis, loop):
    return loop.client(cluster_redis)


# --- names


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(st.one_of(TEXTS, st.binary(min_size=1)))
def test_companion_has_the_slot_of_its_key_and_a_name_of_its_own(key):
    beside = companion(key, "name")
    assert slot(beside) == slot(key)
    assert type(beside) is type(key)
    assert (key if isinstance(key, bytes) else key.encode()) in (
        beside if isinstance(beside, bytes) else beside.encode()
    )


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("k", "{k}~bell"),
        (b"k", b"{k}~bell"),
        ("user:{7}:jobs", "user:{7}:jobs~bell"),
        (b"user:{7}", b"user:{7}~bell"),
        ("a{b", "{a{b}~bell"),
        ("a}b", "{20658}a}b~bell"),
        (b"a}b", b"{20658}a}b~bell"),
    ],
    ids=repr,
)
def test_companion_in_a_cluster_is_named_as_documented(redis, key, name):
    assert RedisSimpleQueue(redis=redis, key=key)._companion("bell") == name


@pytest.mark.parametrize("number", [0, 1, 8191, 16383])
def test_every_slot_has_a_tag(number):
    assert slot(f"anything{tag(number)}else") == number


# --- two containers in two slots


@pytest.fixture(params=["two slots", "one slot", "two clients"])
def two(request, redis, cluster):
    """Keys for two containers, and a client for each."""
    keys = ("{a}1", "{a}2") if request.param == "one slot" else ("a", "b")
    assert (slot(keys[0]) == slot(keys[1])) == (request.param == "one slot")
    with ExitStack() as stack:
        other = stack.enter_context(cluster.client()) if "clients" in request.param else redis
        yield {"redis": redis, "key": keys[0]}, {"redis": other, "key": keys[1]}


def test_sets_are_combined(two):
    here, there = (RedisSet(x, **at) for x, at in zip(({1, 2}, {2, 3}), two, strict=True))
    assert here | there == {1, 2, 3}
    assert here & there == {2}
    assert here - there == {1}
    assert here ^ there == {1, 3}
    assert {9} | here == {1, 2, 9}
    assert here.union(there) == {1, 2, 3}
    assert here.intersection(there) == {2}
    assert here.difference(there) == {1}
    assert here.symmetric_difference(there) == {1, 3}
    assert not here.isdisjoint(there)
    assert not here <= there
    assert here != there
    assert here == here.copy()
    here |= there
    assert here == {1, 2, 3}
    here ^= there
    assert here == {1}
    there &= here
    assert there == set()
    here -= {1}
    assert here == there


def test_dicts_are_combined(two):
    here, there = (RedisDict(x, **at) for x, at in zip(({"a": 1}, {"b": 2}), two, strict=True))
    assert here | there == {"a": 1, "b": 2}
    assert {"c": 3} | here == {"a": 1, "c": 3}
    assert here != there
    here.update(there)
    assert here == {"a": 1, "b": 2}
    assert here.copy() == here
    there |= here
    assert there == here


def test_counters_are_combined(two):
    here, there = (RedisCounter(x, **at) for x, at in zip(("aab", "bc"), two, strict=True))
    assert here + there == {"a": 2, "b": 2, "c": 1}
    assert here - there == {"a": 2}
    assert here | there == {"a": 2, "b": 1, "c": 1}
    assert here & there == {"b": 1}
    here += there
    assert here == {"a": 2, "b": 2, "c": 1}
    here.subtract(there)
    assert here == {"a": 2, "b": 1, "c": 0}


@pytest.mark.parametrize("kind", [RedisList, RedisDeque])
def test_sequences_are_combined(two, kind):
    here, there = (kind(x, **at) for x, at in zip(([1, 2], [3]), two, strict=True))
    assert list(here + there) == [1, 2, 3]
    assert list(there + here) == [3, 1, 2]
    assert list(here * 2) == [1, 2, 1, 2]
    assert here != there
    here.extend(there)
    assert list(here) == [1, 2, 3]
    assert list(here.copy()) == [1, 2, 3]


def test_bloom_filters_are_combined(two):
    here, there = (BloomFilter(x, **at, **FILTER) for x, at in zip("ab", two, strict=True))
    assert "a" in here | there
    assert "b" in here | there
    assert "a" not in here & there
    assert here <= here | there
    assert here != there
    here |= there
    assert "b" in here
    here &= there
    assert here == there


def test_hyperloglogs_are_combined(two):
    here, there = (HyperLogLog(x, **at) for x, at in zip(("abc", "cd"), two, strict=True))
    assert len(here.union(there)) == 4
    assert len(here.union(there, key="another slot")) == 4
    assert here.contains_many("a", "d") == [True, False]
    here.update(there, "xyz")
    assert len(here) == 7
    here.update(HyperLogLog(redis=two[0]["redis"], key="nothing there"))
    assert len(here) == 7


def test_asynchronous_containers_are_combined(aio, loop):
    async def check():
        sets = [await AIORedisSet.create(x, redis=aio, key=x) for x in ("ab", "bc")]
        await sets[0].update(sets[1])
        assert await sets[0].to_set() == {"a", "b", "c"}
        assert await sets[0].intersection(sets[1]) == {"b", "c"}
        assert await (await sets[0].copy()).size() == 3
        dicts = [await AIORedisDict.create({x: 1}, redis=aio, key="d" + x) for x in "ab"]
        await dicts[0].update(dicts[1])
        assert await dicts[0].to_dict() == {"a": 1, "b": 1}
        counts = [await AIORedisCounter.create(x, redis=aio, key="c" + x) for x in "ab"]
        await counts[0].update(counts[1])
        assert await counts[0].to_dict() == {"a": 1, "b": 1}
        lists = [await AIORedisList.create(x, redis=aio, key="l" + x) for x in "ab"]
        await lists[0].extend(lists[1])
        assert await lists[0].to_list() == ["a", "b"]
        filters = [await AIOBloomFilter.create(x, redis=aio, key="f" + x, **FILTER) for x in "ab"]
        await filters[0].update(filters[1])
        assert await filters[0].has("b")
        counts = [await AIOHyperLogLog.create(x, redis=aio, key="h" + x) for x in "ab"]
        assert await (await counts[0].union(counts[1])).size() == 2

    loop.wait(check())


def test_blocking_container_reads_an_asynchronous_one_of_another_slot(redis, aio, loop):
    awaited = loop.wait(AIORedisSet.create({1, 2}, redis=aio, key="a"))
    assert RedisSet({3}, redis=redis, key="b").union(awaited) == {1, 2, 3}
    filters = (
        BloomFilter(redis=redis, key="f", **FILTER),
        loop.wait(AIOBloomFilter.create("x", redis=aio, key="g", **FILTER)),
    )
    filters[0].update(filters[1])
    assert "x" in filters[0]


def test_container_of_a_single_server_is_read_through_python(redis):
    with RedisServer() as server, server.client() as client:
        alone = RedisSet({1, 2}, redis=client, key="a")
        assert RedisSet({2, 3}, redis=redis, key="a") & alone == {2}
        assert alone | RedisSet({3}, redis=redis, key="b") == {1, 2, 3}


def test_clusters_are_known_by_their_nodes_and_users(redis, aio, cluster):
    with cluster.client() as other, RedisServer() as server, server.client() as alone:
        assert same_server(redis, other)
        assert same_server(redis, aio)
        assert not same_server(redis, alone)
        assert not same_server(alone, redis)


# --- temporary keys


def test_copies_and_results_have_the_slot_of_their_container(redis):
    for key in ("k", "a}b", b"\xff}{", "user:{7}"):
        it = RedisSet({1}, redis=redis, key=key)
        for result in (it.copy(), it | {2}, it.copy() - {1}):
            assert slot(result.key) == slot(key)


def test_temporary_keys_of_many_slots_are_unlinked(redis):
    containers = [RedisSet({1}, redis=redis) for _ in range(20)]
    containers += [it.copy() for it in containers]
    assert len(by_slot(redis, [it.key for it in containers])) > 10
    assert len(redis.keys()) == 40
    del containers
    gc.collect()
    RedisSet(redis=redis, key="any").add(1)
    assert redis.keys() == [b"any"]


def test_temporary_keys_are_unlinked_at_the_end_of_the_program(redis, cluster):
    program = """
import sys
from redis import RedisCluster
from pottery import RedisSet
redis = RedisCluster.from_url(sys.argv[1])
left = [RedisSet({1}, redis=redis) for _ in range(20)]
print(len(redis.keys(target_nodes="primaries")))
"""
    command = [sys.executable, "-c", program, cluster.url]
    assert subprocess.run(command, check=True, capture_output=True).stdout == b"20\n"
    assert redis.keys() == []


# --- keys that move


@pytest.fixture
def mover(cluster, redis):
    """Moves the slot of the key "{move}" away; afterwards it is where it was."""
    number = slot("{move}")
    with at_nodes(cluster) as clients:
        home = owner_of(clients, number)
        mover = Mover(cluster, clients, number, home)
        yield mover
        mover.finish()
        redis.flushall(target_nodes="primaries")
        if mover.place != home:
            mover.go(home)


def test_client_learns_where_a_slot_has_moved(redis, mover):
    numbers = RedisList([1], redis=redis, key="{move}")
    mover.go()
    numbers.append(2)
    assert list(numbers) == [1, 2]
    assert redis.get_node_from_key("{move}").port == mover.cluster.nodes[mover.place].port


def test_asynchronous_client_learns_where_a_slot_has_moved(aio, loop, mover):
    numbers = loop.wait(AIORedisList.create([1], redis=aio, key="{move}"))
    mover.go()
    loop.wait(numbers.append(2))
    assert loop.wait(numbers.to_list()) == [1, 2]
    assert aio.get_node_from_key("{move}").port == mover.cluster.nodes[mover.place].port


def test_long_set_that_moves_between_two_pages_is_read_from_the_start(redis, aio, loop, mover):
    async def read():
        seen = []
        async for member in AIORedisSet(redis=aio, key="{move}"):
            seen.append(member)
            if len(seen) == 1:
                mover.go()
        return seen

    members = RedisSet(range(5000), redis=redis, key="{move}")
    iterator = iter(members)
    seen = [next(iterator)]
    mover.go()
    seen += iterator
    assert {*seen} == {*range(5000)}
    assert {*loop.wait(read())} == {*range(5000)}


def test_new_key_of_a_slot_that_is_moving_goes_where_it_moves(redis, aio, loop, mover):
    old = RedisList([1], redis=redis, key="{move}old")
    mover.begin()
    new = RedisList(redis=redis, key="{move}new")
    new.append(1)
    loop.wait(AIORedisList(redis=aio, key="{move}new").append(2))
    old.append(2)
    assert list(old) == list(new) == [1, 2]
    assert mover.keys_at_target() == 1


def test_operation_of_two_keys_waits_for_the_end_of_a_migration(redis, aio, loop, mover):
    queue = RedisSimpleQueue(redis=redis, key="{move}")
    awaited = AIORedisSimpleQueue(redis=aio, key="{move}")
    queue.put(0)
    mover.begin()
    end = threading.Timer(0.3, mover.finish)
    end.start()
    began = time.monotonic()
    queue.put(1)
    assert time.monotonic() - began > 0.2
    end.join()
    loop.wait(awaited.put(2))
    assert [queue.get(timeout=1), loop.wait(awaited.get(timeout=1)), queue.get()] == [0, 1, 2]


def test_migration_that_does_not_end_is_told(redis, mover, monkeypatch):
    monkeypatch.setattr(module, "_MIGRATION", 0.1)
    queue = RedisSimpleQueue(redis=redis, key="{move}")
    queue.put(0)
    mover.begin()
    with pytest.raises(TryAgainError):
        queue.put(1)
    mover.finish()
    assert queue.get_nowait() == 0
    assert queue.empty()


def test_consumer_that_waits_gets_an_item_that_is_put_where_the_slot_has_moved(redis, mover):
    queue, got = RedisSimpleQueue(redis=redis, key="{move}"), []
    consumer = threading.Thread(target=lambda: got.append(queue.get(timeout=10)))
    consumer.start()
    time.sleep(0.2)
    mover.go()
    queue.put("x")
    consumer.join()
    assert got == ["x"]


def test_nothing_is_lost_or_doubled_while_a_slot_moves_to_and_fro(cluster, mover):
    """Threads and tasks write while every key moves, again and again."""
    over = threading.Event()
    with cluster.client() as client:
        writers = [threading.Thread(target=Writer(client, n, over).run) for n in range(3)]
        done: list[Writer] = [writer._target.__self__ for writer in writers]
        tasks = threading.Thread(target=lambda: asyncio.run(write_awaiting(cluster, over, done)))
        for thread in (*writers, tasks):
            thread.start()
        moves = 0
        end = time.monotonic() + 5
        while time.monotonic() < end:
            mover.go(pause=0.01)
            moves += 1
            time.sleep(0.1)  # operations of several keys want to be done, too
        over.set()
        for thread in (*writers, tasks):
            thread.join()

        assert moves > 3
        assert [writer.error for writer in done] == [None] * 5
        total = sum(writer.count for writer in done)
        assert total > 100
        numbers = list(RedisList(redis=client, key="{move}list"))
        assert sorted(numbers) == sorted([w.number, n] for w in done for n in range(w.count))
        for writer in done:  # and in order
            assert [n for name, n in numbers if name == writer.number] == list(range(writer.count))
        assert RedisCounter(redis=client, key="{move}counter")["all"] == total
        got = sorted(item for writer in done for item in writer.got)
        queue = RedisSimpleQueue(redis=client, key="{move}queue")
        assert queue.empty()
        assert got == sorted((w.number, n) for w in done for n in range(w.count))


class Writer:
    """Writes until it is over, and puts and gets."""

    def __init__(self, client, number, over):
        self.client = client
        self.number = number
        self.over = over
        self.count = 0
        self.got = []
        self.error = None

    def run(self):
        numbers = RedisList(redis=self.client, key="{move}list")
        counts = RedisCounter(redis=self.client, key="{move}counter")
        queue = RedisSimpleQueue(redis=self.client, key="{move}queue")
        try:
            while not self.over.is_set():
                item = [self.number, self.count]
                numbers.append(item)
                counts.update(["all"])
                queue.put(item)
                self.count += 1
                self.got.append(tuple(queue.get(timeout=20)))
        except Exception as error:  # noqa: BLE001 - for the test to see
            self.error = error

    async def run_awaiting(self):
        numbers = AIORedisList(redis=self.client, key="{move}list")
        counts = AIORedisCounter(redis=self.client, key="{move}counter")
        queue = AIORedisSimpleQueue(redis=self.client, key="{move}queue")
        try:
            while not self.over.is_set():
                item = [self.number, self.count]
                await numbers.append(item)
                await counts.update(["all"])
                await queue.put(item)
                self.count += 1
                self.got.append(tuple(await queue.get(timeout=20)))
        except Exception as error:  # noqa: BLE001 - for the test to see
            self.error = error


def awaiting_client(cluster):
    nodes = [AsyncClusterNode(node.host, node.port) for node in cluster.nodes]
    return asynchronous.RedisCluster(startup_nodes=nodes)


async def close_wholly(client):
    await close(client)
    await asyncio.sleep(0.01)  # sockets close in a later turn of the loop


async def write_awaiting(cluster, over, done):
    client = awaiting_client(cluster)
    writers = [Writer(client, number, over) for number in (10, 11)]
    done += writers
    await asyncio.gather(*(writer.run_awaiting() for writer in writers))
    await close_wholly(client)


# --- lost connections


def behind(proxies, address):
    host, port = address
    return host, proxies[port].port if port in proxies else port


@pytest.fixture
def lossy(cluster):
    """A client, and the proxies in front of its nodes, which can lose replies."""
    with ExitStack() as stack:
        proxies = {node.port: stack.enter_context(node.proxy()) for node in cluster.nodes}

        first = cluster.nodes[0]
        startup = [ClusterNode(first.host, proxies[first.port].port)]
        options = {"startup_nodes": startup, "address_remap": partial(behind, proxies)}
        client = stack.enter_context(RedisCluster(**options))
        client.flushall(target_nodes="primaries")
        node = client.get_node_from_key("l")
        yield client, next(proxy for proxy in proxies.values() if proxy.port == node.port)


def test_push_whose_reply_was_lost_runs_once_and_says_so(lossy):
    client, proxy = lossy
    numbers = RedisList([1], redis=client, key="l")
    proxy.drop_reply()
    with pytest.raises(OutcomeUnknown):
        numbers.append(2)
    assert list(numbers) == [1, 2]


def test_read_whose_reply_was_lost_is_sent_again(lossy):
    client, proxy = lossy
    numbers = RedisList([1], redis=client, key="l")
    proxy.drop_reply(2)
    assert list(numbers) == [1]


def test_get_whose_reply_was_lost_gets_the_item(lossy):
    client, proxy = lossy
    queue = RedisSimpleQueue(redis=client, key="l")
    queue.put("x")
    proxy.drop_reply()
    assert queue.get() == "x"
    assert queue.empty()


def test_pool_that_has_lent_everything_is_told_at_once(cluster):
    async def check():
        nodes = [AsyncClusterNode(node.host, node.port) for node in cluster.nodes]
        client = asynchronous.RedisCluster(startup_nodes=nodes, max_connections=1)
        numbers = AIORedisList(redis=client, key="l")
        await numbers.clear()
        began = time.monotonic()
        outcomes = await asyncio.gather(
            *(numbers.append(n) for n in range(10)), return_exceptions=True
        )
        assert time.monotonic() - began < 1
        refused = [outcome for outcome in outcomes if outcome is not None]
        assert {str(error) for error in refused} == {"Too many connections"}
        assert await numbers.size() == 10 - len(refused)
        await close_wholly(client)

    asyncio.run(check())


def test_harmless_write_that_cannot_be_sent_again_says_that_it_may_have_run(loop):
    with ClusterServer() as cluster, ExitStack() as stack:
        proxies = {node.port: stack.enter_context(node.proxy()) for node in cluster.nodes}
        startup, remap = cluster.nodes[0], partial(behind, proxies)
        at = startup.host, proxies[startup.port].port
        client = RedisCluster(startup_nodes=[ClusterNode(*at)], address_remap=remap)
        aio = asynchronous.RedisCluster(startup_nodes=[AsyncClusterNode(*at)], address_remap=remap)
        port = client.get_node_from_key("s").port
        (number,) = (n for n in range(3) if proxies[cluster.nodes[n].port].port == port)
        blocking, awaited = RedisSet(redis=client, key="s"), AIORedisSet(redis=aio, key="s")
        for write in (lambda: blocking.add(1), lambda: loop.wait(awaited.add(1))):
            keep_trying(write)
            proxies[cluster.nodes[number].port].swallow_reply()
            end = threading.Timer(0.1, cluster.kill, [number])
            end.start()
            with pytest.raises(OutcomeUnknown):
                write()
            end.join()
            cluster.start()
        client.close()
        loop.wait(close(aio))


# --- servers that come and go


@pytest.fixture
def replicated():
    with ClusterServer(replicas=1) as cluster:
        yield cluster


def keep_trying(write, seconds=15.0):
    """Return what *write* returns as soon as it does, and the errors until then."""
    errors, end = [], time.monotonic() + seconds
    while True:
        try:
            return write(), errors
        except (RedisError, OSError) as error:  # noqa: PERF203
            errors.append(error)
            assert time.monotonic() < end, errors
            time.sleep(0.05)


def wait_for_replicas(redis, key):
    """Wait until the replica has what was written: without that, it may take over less."""
    with redis.get_redis_connection(redis.get_node_from_key(key)).client() as master:
        master.set(f"{{{key}}}mark", "")
        assert master.wait(1, 5000) == 1


def test_what_replicas_have_is_there_after_their_master_was_killed(replicated, loop):
    with replicated.client() as redis:
        aio = awaiting_client(replicated)
        numbers = RedisList(range(100), redis=redis, key="l")
        awaited = AIORedisList(redis=aio, key="l")
        assert loop.wait(awaited.size()) == 100
        wait_for_replicas(redis, "l")
        port = redis.get_node_from_key("l").port
        replicated.kill([node.port for node in replicated.nodes].index(port))

        _, errors = keep_trying(lambda: numbers.append("blocking"))
        _, more = keep_trying(lambda: loop.wait(awaited.append("asyncio")))

        unsure = [error for error in errors + more if isinstance(error, OutcomeUnknown)]
        found = list(numbers)
        assert found[:100] == list(range(100))
        assert 2 <= len(found) - 100 <= 2 + len(unsure)
        assert {*found[100:]} == {"blocking", "asyncio"}
        assert redis.get_node_from_key("l").port != port
        loop.wait(close(aio))


def test_cluster_that_is_gone_is_a_connection_error(loop):
    with ClusterServer() as cluster, cluster.client() as redis:
        numbers, aio = RedisList([1], redis=redis, key="l"), awaiting_client(cluster)
        awaited = AIORedisList(redis=aio, key="l")
        assert loop.wait(awaited.size()) == 1
        for number in range(3):
            cluster.kill(number)
        with pytest.raises(RedisConnectionError):
            numbers.append(2)
        with pytest.raises(RedisConnectionError):
            loop.wait(awaited.append(2))
        with pytest.raises(RedisConnectionError):
            loop.wait(AIORedisList(redis=awaiting_client(cluster), key="l").append(2))
        loop.wait(close(aio))


def test_slot_may_move_to_a_server_that_nobody_knew(loop):
    config = {"cluster-enabled": "yes", "cluster-node-timeout": 1000}
    with ClusterServer() as cluster, cluster.client() as redis, RedisServer(config=config) as new:
        aio = awaiting_client(cluster)
        awaited = AIORedisList(redis=aio, key="{move}new")
        assert loop.wait(awaited.size()) == 0
        with at_nodes(cluster) as clients, new.client() as newcomer:
            newcomer.execute_command("CLUSTER MEET", cluster.nodes[0].host, cluster.nodes[0].port)
            end = time.monotonic() + 10
            for client in (*clients, newcomer):
                while client.execute_command("CLUSTER INFO")["cluster_known_nodes"] != "4":
                    assert time.monotonic() < end
                    time.sleep(0.05)
            while newcomer.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                assert time.monotonic() < end
                time.sleep(0.05)
            number = slot("{move}")
            nodes = [*clients, newcomer]
            begin_move(nodes, number, owner_of(clients, number), 3)
            RedisList([1], redis=redis, key="{move}new").append(2)
            loop.wait(awaited.append(3))
            assert newcomer.execute_command("CLUSTER COUNTKEYSINSLOT", number) == 1
            end_move(nodes, number, 3)
            assert list(RedisList(redis=redis, key="{move}new")) == [1, 2, 3]
            assert loop.wait(awaited.to_list()) == [1, 2, 3]
        loop.wait(close(aio))


@pytest.mark.parametrize("kind", ["read", "append"])
def test_tasks_that_are_cancelled_at_any_time_leave_no_reply_to_others(cluster, kind):
    async def check():
        client = awaiting_client(cluster)
        dicts = [AIORedisDict(redis=client, key=f"d{n}") for n in range(10)]
        for number, one in enumerate(dicts):
            await one.set("x", number)
        lists = [AIORedisList(redis=client, key=f"l{n}") for n in range(10)]
        for round_ in range(150):
            some = [
                one.get("x") if kind == "read" else one.append(1)
                for one in (dicts if kind == "read" else lists)
            ]
            tasks = [asyncio.create_task(one) for one in some]
            await asyncio.sleep(round_ % 15 / 10000)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert await asyncio.gather(*(one.get("x") for one in dicts)) == list(range(10))
        await close_wholly(client)

    asyncio.run(check())


# --- the rest


def test_cluster_leaves_nothing_behind():
    with ClusterServer(masters=3) as cluster:
        folders = [node._folder for node in cluster.nodes]
        pids = [node.pid for node in cluster.nodes]
        assert repr(cluster) == f"<ClusterServer {' '.join(node.url for node in cluster.nodes)}>"
    assert not any(folder.exists() for folder in folders)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_node_that_was_killed_can_be_started_again():
    with ClusterServer() as cluster, cluster.client() as redis:
        numbers = RedisList(redis=redis, key="l")
        port = redis.get_node_from_key("l").port
        number = [node.port for node in cluster.nodes].index(port)
        cluster.kill(number)
        with pytest.raises(RedisError):
            numbers.append(1)
        cluster.nodes[number].start()
        keep_trying(lambda: numbers.append(1))
        assert list(numbers) == [1]


def test_examples_of_the_documentation_do_what_it_says(redis):
    page = Path(__file__).parents[1] / "docs/cluster.md"
    text = page.read_text(encoding="utf-8")
    names = {"redis": redis, "RedisSet": RedisSet, "RedisDict": RedisDict}
    said = []
    doctest.DocTestRunner().run(
        doctest.DocTestParser().get_doctest(text, names, page.name, str(page), 0), out=said.append
    )
    assert not said


def test_function_cache_works_in_a_cluster(redis):
    calls = []

    @redis_cache(redis=redis, key="k", ttl=10, single_flight=True)
    def double(number):
        calls.append(number)
        return 2 * number

    assert [double(2), double(2), double(3)] == [4, 4, 6]
    assert calls == [2, 3]
    double.cache_clear()
    assert len(redis.keys()) <= 2  # what was told to those who wait, which expires


@pytest.mark.parametrize("kind", [Redlock, NextId])
def test_cluster_is_no_master(redis, kind):
    with pytest.raises(TypeError, match=r"a redis\.Redis client, not a redis\.RedisCluster"):
        kind(key="k", masters=[redis])
    with pytest.raises(TypeError, match="iterable of clients"):
        kind(key="k", masters=redis)


def test_pipeline_of_a_cluster_is_no_client(redis):
    with pytest.raises(TypeError, match=r"redis\.RedisCluster client, not a"):
        RedisSet(redis=redis.pipeline(), key="s")


def test_client_that_decodes_and_speaks_another_protocol_does_as_well(cluster):
    for options in ({"decode_responses": True}, {"protocol": 3}):
        with cluster.client(**options) as client:
            client.flushall(target_nodes="primaries")
            assert RedisSet({"é"}, redis=client, key="s") | {"x"} == {"é", "x"}
            queue = RedisSimpleQueue(redis=client, key="q")
            queue.put("é")
            assert queue.get(timeout=1) == "é"


# What a dead loop leaves behind says that it was not closed, when it is collected.
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_client_serves_several_event_loops_one_after_the_other(cluster):
    check_event_loops(cluster)
    for _ in range(2):  # whatever is alive during the first time
        gc.collect()


def check_event_loops(cluster):
    client = awaiting_client(cluster)

    async def add():
        numbers = AIORedisList(redis=client, key="l")
        await asyncio.gather(*(numbers.append(number) for number in range(20)))
        return await numbers.size()

    async def add_and_close():
        size = await add()
        await close_wholly(client)
        return size

    first = asyncio.run(add())
    assert asyncio.run(add()) == first + 20
    assert asyncio.run(add_and_close()) == first + 40
    assert asyncio.run(add_and_close()) == first + 60
    assert asyncio.run(add_and_close()) == first + 80


# What redis-py 5 left open in other tests is collected here, too, and says so.
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_client_that_is_forgotten_is_collected_though_somebody_waited_by_it(cluster):
    client = cluster.client()
    with pytest.raises(QueueEmptyError):
        RedisSimpleQueue(redis=client, key="q").get(timeout=0.01)
    client.close()
    forgotten = weakref.ref(client)
    del client
    end = time.monotonic() + 5
    while forgotten():
        assert time.monotonic() < end
        gc.collect()


def test_asynchronous_client_that_is_forgotten_is_collected(cluster):
    async def use_one():
        client = awaiting_client(cluster)
        await AIORedisSet(redis=client, key="s").add(1)
        with pytest.raises(QueueEmptyError):
            await AIORedisSimpleQueue(redis=client, key="q").get(timeout=0.01)
        await close_wholly(client)
        return weakref.ref(client)

    forgotten = asyncio.run(use_one())
    end = time.monotonic() + 5
    while forgotten():
        assert time.monotonic() < end
        gc.collect()
