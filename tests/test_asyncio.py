"""What the asynchronous containers have in common, and have to cope with."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import operator
import pickle
import random
import re
import sys
import time
import tracemalloc
from collections import Counter, deque
from functools import partial
from pathlib import Path

import pytest
import redis.asyncio as asynchronous
from clients import close
from redis.backoff import NoBackoff
from redis.retry import Retry

from pottery import (
    AIORedisCounter,
    AIORedisDeque,
    AIORedisDict,
    AIORedisList,
    AIORedisSet,
    KeyExistsError,
    PotteryEncoder,
    RedisCounter,
    RedisDeque,
    RedisDict,
    RedisList,
    RedisSet,
)
from pottery._leases import FOR_COMMAND
from pottery.testing import RedisServer

TWINS = {
    AIORedisDict: RedisDict,
    AIORedisSet: RedisSet,
    AIORedisList: RedisList,
    AIORedisDeque: RedisDeque,
    AIORedisCounter: RedisCounter,
}
CONTENTS = {
    AIORedisDict: {"a": 1, "b": 2},
    AIORedisSet: {"a"},
    AIORedisList: ["a", "b"],
    AIORedisDeque: deque("ab"),
    AIORedisCounter: Counter("aab"),
}
every_twin = pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.__name__)


async def with_client(url, body, **options):
    client = asynchronous.Redis.from_url(url, **options)
    try:
        return await body(client)
    finally:
        await close(client)


@pytest.fixture
def run(server, redis):
    """Run a coroutine function, which is given a client of an empty database, in a new loop."""
    return lambda body, **options: asyncio.run(with_client(server.url, body, **options))


async def content(container):
    """Return what is in a container, as a builtin."""
    if isinstance(container, AIORedisCounter):
        return await container.to_counter()
    if isinstance(container, AIORedisDict):
        return await container.to_dict()
    if isinstance(container, AIORedisSet):
        return await container.to_set()
    items = await container.to_list()
    return deque(items) if isinstance(container, AIORedisDeque) else items


# --- what cannot be awaited

UNAWAITED = {
    "len": len,
    "in": lambda x: "a" in x,
    "[]": lambda x: x["a"],
    "[] =": lambda x: operator.setitem(x, "a", 1),
    "for": lambda x: [*x],
    "+": lambda x: x + x,
    "|": lambda x: x | x,
    "bool": bool,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "json": json.dumps,
    "json by pottery": partial(json.dumps, cls=PotteryEncoder),
    "pickle": pickle.dumps,
}


@every_twin
@pytest.mark.parametrize("syntax", UNAWAITED)
def test_syntax_that_would_have_to_wait_raises_typeerror(server, twin, syntax):
    container = twin(redis=asynchronous.Redis.from_url(server.url), key="k")
    with pytest.raises(TypeError):
        UNAWAITED[syntax](container)


@every_twin
def test_copy_and_truth_say_what_to_await_instead(server, twin):
    container = twin(redis=asynchronous.Redis.from_url(server.url), key="k")
    for wrong in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=r"await x\.copy\(\)"):
            wrong(container)
    with pytest.raises(TypeError, match="has no truth value: await its size"):
        assert container
    assert repr(container) == f"<{twin.__name__} key='k'>"


PAGE = Path(__file__).parents[1] / "docs" / "asyncio.md"


@every_twin
def test_documentation_names_every_verb_and_no_other(twin):
    text = PAGE.read_text(encoding="utf-8")
    verbs = {name for name in dir(twin) if not name.startswith("_")} - {*dir(TWINS[twin])}
    known = {name for one in TWINS for name in dir(one)} | {"exists", "length"}

    assert {verb for verb in verbs if f".{verb}(" not in text} == set()
    assert {*re.findall(r"await [a-zX]\w*\.(\w+)\(", text)} <= known


# --- life


@every_twin
def test_container_is_created_attached_to_and_copied(run, redis, twin):
    async def body(client):
        data = CONTENTS[twin]
        one = await twin.create(data, redis=client, key="k")
        assert await content(twin(redis=client, key="k")) == data == await content(one)
        assert await one.equals(data)
        with pytest.raises(KeyExistsError):
            await twin.create(data, redis=client, key="k")
        twin_of_it = await one.copy()
        assert type(twin_of_it) is twin
        await one.clear()
        assert (await one.size(), await content(twin_of_it)) == (0, data)
        assert not await one.equals(twin_of_it)

    run(body)


@every_twin
def test_leaving_a_container_gives_up_its_temporary_key_and_no_other(run, redis, twin):
    async def body(client):
        async with await twin.create(CONTENTS[twin], redis=client) as temporary:
            assert redis.exists(temporary.key)
        assert not redis.exists(temporary.key)
        async with await twin.create(CONTENTS[twin], redis=client, key="k"):
            pass
        assert redis.exists("k")
        with pytest.raises(ZeroDivisionError):
            async with await twin.create(CONTENTS[twin], redis=client) as temporary:
                raise ZeroDivisionError
        assert not redis.exists(temporary.key)
        assert await client.ping()

    run(body)


def test_error_in_the_block_is_not_hidden_by_a_server_that_is_gone():
    async def body(client):
        async with await AIORedisSet.create("a", redis=client):
            server.kill()
            raise ZeroDivisionError

    with RedisServer() as server, pytest.raises(ZeroDivisionError):
        asyncio.run(with_client(server.url, body, retry=Retry(NoBackoff(), 0)))


def test_deque_sees_what_is_too_much_when_it_is_created(run):
    async def body(client):
        await AIORedisDeque.create("abc", redis=client, key="d")
        with pytest.raises(IndexError, match="more than maxlen=2"):
            await AIORedisDeque.create(maxlen=2, redis=client, key="d")
        bounded = AIORedisDeque(maxlen=2, redis=client, key="d")
        await bounded.append("d")
        assert (bounded.maxlen, await bounded.to_list()) == (2, ["c", "d"])
        with pytest.raises(ValueError, match="must be non-negative"):
            AIORedisDeque(maxlen=-1, redis=client)

    run(body)


def test_what_a_dict_gives_to_iterate_is_read_anew_each_time(run):
    async def body(client):
        d = await AIORedisDict.create({"a": 1}, redis=client)
        keys, values, items = d.keys(), d.values(), d.items()
        await d.set("b", 2)
        for _ in range(2):
            assert [key async for key in keys] == ["a", "b"]
            assert [value async for value in values] == [1, 2]
            assert [(key, value) async for key, value in items] == [("a", 1), ("b", 2)]
        assert [key async for key in d.reversed()] == ["b", "a"]

    run(body)


# --- containers as arguments

TAKERS = {
    "list.extend": (AIORedisList, lambda x, other: x.extend(other)),
    "list.set_slice": (AIORedisList, lambda x, other: x.set_slice(0, 1, other)),
    "deque.extend": (AIORedisDeque, lambda x, other: x.extend(other)),
    "deque.extendleft": (AIORedisDeque, lambda x, other: x.extendleft(other)),
    "set.update": (AIORedisSet, lambda x, other: x.update(other)),
    "set.intersection_update": (AIORedisSet, lambda x, other: x.intersection_update(other)),
    "set.symmetric_difference_update": (
        AIORedisSet,
        lambda x, other: x.symmetric_difference_update(other),
    ),
    "set.union": (AIORedisSet, lambda x, other: x.union(other)),
    "set.issubset": (AIORedisSet, lambda x, other: x.issubset(other)),
    "counter.update": (AIORedisCounter, lambda x, other: x.update(other)),
    "counter.subtract": (AIORedisCounter, lambda x, other: x.subtract(other)),
    "list.create": (AIORedisList, lambda x, other: AIORedisList.create(other, redis=x.redis)),
    "set.create": (AIORedisSet, lambda x, other: AIORedisSet.create(other, redis=x.redis)),
    "dict.fromkeys": (AIORedisDict, lambda x, other: AIORedisDict.fromkeys(other, redis=x.redis)),
    "equals": (AIORedisList, lambda x, other: x.equals(other)),
}


async def effect(client, taker, other):
    """Return what *taker* returns, and what is in its container afterwards."""
    kind, take = TAKERS[taker]
    start = {"x": 1} if issubclass(kind, AIORedisDict) else ["x", "a"]
    container = await kind.create(start, redis=client)
    result = await take(container, other)
    if isinstance(result, tuple(TWINS)):
        result = await content(result)
    return result, await content(container)


@pytest.mark.parametrize("taker", TAKERS)
@every_twin
def test_container_is_taken_where_its_elements_would_be(run, redis, five_servers, taker, twin):
    data = CONTENTS[twin]

    async def body(client):
        expected = await effect(client, taker, data)
        async with asynchronous.Redis.from_url(five_servers[0].url) as elsewhere:
            for place in (client, elsewhere):
                other = await twin.create(data, redis=place)
                assert await effect(client, taker, other) == expected
                await other.clear()
        assert await effect(client, taker, TWINS[twin](data, redis=redis)) == expected

    run(body)


@pytest.mark.parametrize("data", [{"a": 1, "b": 2}, Counter("abb"), [["a", 1], ["b", 2]]])
def test_dict_takes_items_from_containers(run, redis, five_servers, data):
    twin = {dict: AIORedisDict, Counter: AIORedisCounter, list: AIORedisList}[type(data)]

    async def body(client):
        async with asynchronous.Redis.from_url(five_servers[0].url) as elsewhere:
            places = [await twin.create(data, redis=place) for place in (client, elsewhere)]
            for other in (*places, TWINS[twin](data, redis=redis)):
                d = await AIORedisDict.create(other, redis=client)
                await d.update(x=0)
                await d.update(other)
                assert await d.equals({"x": 0, "a": 1, "b": 2})
            await places[1].clear()

    run(body)


@pytest.mark.parametrize("view", ["keys", "values", "items"])
def test_views_are_taken_where_their_elements_would_be(run, redis, view):
    expected = [*getattr({"a": 1, "b": 2}, view)()]

    async def body(client):
        for d in (
            await AIORedisDict.create({"a": 1, "b": 2}, redis=client),
            RedisDict({"a": 1, "b": 2}, redis=redis),
        ):
            members = await AIORedisSet.create(getattr(d, view)(), redis=client)
            assert await members.equals(set(expected))

    run(body)


def test_iterable_is_iterated_whatever_its_attributes_are_called(run):
    class Named(list):
        _elements = redis = None

    async def body(client):
        items = await AIORedisList.create(Named("ab"), redis=client)
        assert await items.to_list() == ["a", "b"]

    run(body)


def test_containers_of_both_colours_are_combined_by_one_command(run, redis, commands):
    async def body(client):
        members, other = AIORedisSet(redis=client, key="s"), RedisSet("ab", redis=redis, key="t")
        items, more = AIORedisList(redis=client, key="l"), RedisList("ab", redis=redis, key="m")
        await members.update(other)  # so that the scripts are known
        await items.extend(more)
        with commands(redis) as sent:
            await members.update(other)
            await items.extend(more)
            other.update(members)
            more.extend(items)
            assert await members.issubset(other)
            assert other >= {"a"}
        assert len(sent) == 6
        assert await items.to_list() == [*"abab"]
        assert more == [*"ababab"]

    run(body)


@every_twin
def test_container_of_the_other_colour_and_of_another_server_is_refused(run, redis, masters, twin):
    blocking = TWINS[twin](CONTENTS[twin], redis=masters[0])
    mine = RedisSet("x", redis=redis)

    async def body(client):
        members = await AIORedisSet.create("x", redis=client)
        with pytest.raises(TypeError, match=f"AIORedisSet cannot read a {type(blocking).__name__}"):
            await members.update(blocking)
        assert await members.equals({"x"})

    run(body)
    there = twin(redis=asynchronous.Redis.from_url("redis://localhost:1"), key="k")
    with pytest.raises(TypeError, match=f"RedisSet cannot read a {twin.__name__}"):
        mine.update(there)
    assert mine == {"x"}


# --- the event loop

ELEMENTS = [{"id": number, "name": f"name {number}", "tags": ["x"]} for number in range(10_000)]
KEYS = [f"element {number}" for number in range(10_000)]
LONG = {
    AIORedisDict: dict(zip(KEYS, ELEMENTS, strict=True)),
    AIORedisSet: KEYS,
    AIORedisList: ELEMENTS,
    AIORedisDeque: ELEMENTS,
    AIORedisCounter: Counter(KEYS),
}


async def longest_stall(work):
    """Return the most seconds for which *work* kept the processor, and other tasks waiting."""
    stalls = []

    async def tick():
        while True:
            before = time.thread_time()  # not that of the clock: others may have the processor
            await asyncio.sleep(0)
            stalls.append(time.thread_time() - before)

    gc.collect()
    gc.disable()  # how long a collection takes depends on all that the process has
    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    await work
    await asyncio.sleep(0)
    ticking.cancel()
    gc.enable()
    return max(stalls)


@pytest.mark.slow
@every_twin
def test_ten_thousand_elements_do_not_stall_the_event_loop(run, twin):
    async def read(container):
        return [element async for element in container]

    async def body(client):
        container = twin(redis=client, key="k")
        update = container.extend if hasattr(container, "extend") else container.update
        stalls = {
            "write": await longest_stall(update(LONG[twin])),
            "read": await longest_stall(content(container)),
            "iterate": await longest_stall(read(container)),
            "compare": await longest_stall(container.equals(container)),
        }
        allowed = 0.2 if sys.gettrace() else 0.05  # coverage makes Python slower
        assert max(stalls.values()) < allowed, stalls

    run(body)


@pytest.mark.slow
def test_long_dict_is_iterated_in_little_memory(run, redis):
    RedisDict({f"key {number}": "x" * 50 for number in range(50_000)}, redis=redis, key="d")

    async def body(client):
        tracemalloc.start()
        items = AIORedisDict(redis=client, key="d").items()
        count = 0
        async for key, value in items:
            count += key.startswith("key") and len(value) == 50
        assert count == 50_000
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
        tracemalloc.stop()

    run(body)


def test_a_thousand_tasks_share_ten_connections(server, redis):
    async def body():
        pool = asynchronous.BlockingConnectionPool.from_url(
            server.url, max_connections=10, timeout=None, client_name="ten"
        )
        client = asynchronous.Redis(connection_pool=pool)
        numbers = AIORedisList(redis=client, key="l")
        await asyncio.gather(*map(numbers.append, range(1000)))
        assert sorted(await numbers.to_list()) == [*range(1000)]
        assert [one["name"] for one in await client.client_list()].count("ten") <= 10
        await close(client)
        await pool.disconnect()

    asyncio.run(body())


# What a dead loop leaves behind says that it was not closed, when it is collected.
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("kind", ["ConnectionPool", "BlockingConnectionPool"])
def test_client_serves_several_event_loops_one_after_the_other(server, redis, kind):
    pool = getattr(asynchronous, kind).from_url(server.url, max_connections=50)
    numbers = AIORedisList(redis=asynchronous.Redis(connection_pool=pool), key="l")

    async def append_many():
        await asyncio.gather(*map(numbers.append, range(200 if "Blocking" in kind else 50)))
        return await numbers.size()

    async def finish():
        size = await append_many()
        await pool.disconnect()
        return size

    each = asyncio.run(append_many())
    assert asyncio.run(append_many()) == 2 * each
    assert asyncio.run(finish()) == 3 * each
    gc.collect()


# --- cancellation


def test_waiter_that_is_cancelled_when_its_turn_comes_leaves_it_to_the_next(server, redis):
    async def body():
        pool = asynchronous.BlockingConnectionPool.from_url(
            server.url, max_connections=1, timeout=None
        )
        numbers = AIORedisList(redis=asynchronous.Redis(connection_pool=pool), key="l")
        connection = await pool.get_connection(*FOR_COMMAND)
        first, second = (asyncio.create_task(numbers.size()) for _ in range(2))
        for _ in range(10):
            await asyncio.sleep(0)
        await pool.release(connection)
        first.cancel()
        assert await asyncio.wait_for(second, 10) == 0
        assert first.cancelled()
        await pool.disconnect()

    asyncio.run(body())


def test_cancelled_call_breaks_no_connection_of_another(run):
    async def body(client):
        numbers = AIORedisList(redis=client, key="l")
        for turns in range(8):
            connection = await client.connection_pool.get_connection(*FOR_COMMAND)
            victim = asyncio.create_task(numbers.append("a"))
            await asyncio.sleep(0)  # it opens a connection, as there is no idle one
            await client.connection_pool.release(connection)
            victim.cancel()
            for _ in range(turns):
                await asyncio.sleep(0)
            # One of them takes the idle connection, and must not hear of OutcomeUnknown.
            await asyncio.gather(*(numbers.append("b") for _ in range(3)))
            assert victim.cancelled()
            await client.connection_pool.disconnect()
        assert await numbers.count("b") == 24

    run(body)


WRITES = {
    AIORedisDict: lambda x, mark: x.set(mark, 1),
    AIORedisSet: lambda x, mark: x.add(mark),
    AIORedisList: lambda x, mark: x.insert(1, mark),
    AIORedisDeque: lambda x, mark: x.appendleft(mark),
    AIORedisCounter: lambda x, mark: x.update([mark]),
}
TAKES = {
    AIORedisDict: lambda x: x.popitem(),
    AIORedisSet: lambda x: x.pop(),
    AIORedisList: lambda x: x.pop(1),
    AIORedisDeque: lambda x: x.popleft(),
    AIORedisCounter: lambda x: x.popitem(),
}


@pytest.mark.slow
@every_twin
def test_cancelled_calls_lose_and_double_nothing_but_their_own(run, twin):
    rng = random.Random(7)
    written, taken = set(), []
    marks = iter(range(10**6))

    async def write(container):
        for mark in marks:
            await WRITES[twin](container, mark)
            written.add(mark)

    async def take(container):
        while True:
            found = await TAKES[twin](container)
            taken.append(found[0] if isinstance(found, tuple) else found)

    async def body(client):
        container = twin(redis=client, key="k")
        others = [
            await twin.create([[n, 1]] if "Dict" in twin.__name__ else [n], redis=client)
            for n in range(5)
        ]
        cancelled = Counter()
        for _ in range(400):
            work = rng.choice([write, write, take])
            victim = asyncio.create_task(work(container))
            for _ in range(rng.randrange(60)):
                await asyncio.sleep(0)
            await asyncio.sleep(rng.choice((0, 0, 0, 0.002)))
            victim.cancel()
            try:
                await victim
            except asyncio.CancelledError:
                cancelled[work] += 1
            except (IndexError, KeyError):
                pass  # there was nothing to take
            probe = rng.randrange(5)
            assert [element async for element in others[probe]] == [probe]
        left = [element async for element in container]
        seen = Counter([*left, *taken])
        assert set(seen.values()) == {1}, "doubled"
        assert len(written - seen.keys()) <= cancelled[take], "lost"
        assert len(seen.keys() - written) <= cancelled[write], "written and not acknowledged"
        assert min(cancelled.values()) > 50
        assert len(written) > 50

    run(body)
