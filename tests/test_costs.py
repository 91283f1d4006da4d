"""Every public operation says what it costs, and costs that."""

from __future__ import annotations

import asyncio
import copy
import inspect
import re
from collections import Counter, deque
from math import ceil
from typing import NamedTuple

import pytest
import redis.asyncio as asynchronous

import pottery
from pottery import (
    AIOBloomFilter,
    AIOHyperLogLog,
    AIORedisSet,
    BloomFilter,
    HyperLogLog,
    RedisCounter,
    RedisDeque,
    RedisDict,
    RedisList,
    RedisSet,
)
from pottery._views import RedisDictItems, RedisDictKeys, RedisDictValues
from pottery.base import Base

COST = re.compile(
    r"O\([^;]+\)[^;]*; (?P<trips>\d+) round trips?(?P<paged> per 1000 items)?; (not )?atomic\."
)
BLOCKING = [RedisDict, RedisSet, RedisList, RedisCounter, RedisDeque, BloomFilter, HyperLogLog]
CONTAINERS = [*BLOCKING, AIORedisSet, AIOBloomFilter, AIOHyperLogLog]
PROMISE = {"num_elements": 1000, "false_positives": 0.01}
# What the constructor must be given.
REQUIRED = {BloomFilter: PROMISE, AIOBloomFilter: PROMISE}
VIEWS = {
    RedisDictKeys: RedisDict.keys,
    RedisDictValues: RedisDict.values,
    RedisDictItems: RedisDict.items,
}
NO_OPERATIONS = {
    "__init_subclass__",
    "__class_getitem__",
    "__subclasshook__",
    "__missing__",
    "__reduce__",
}


class Cost(NamedTuple):
    """The round trips of a cost line, in all or for each thousand items."""

    trips: int
    is_paged: bool


def operations(container):
    """Yield the name and the function of each public operation of a class."""
    for name in sorted(set(dir(container)) - NO_OPERATIONS):
        function = getattr(container, name)
        is_ours = str(getattr(function, "__module__", "")).startswith("pottery")
        is_public = not name.startswith("_") or name.startswith("__")
        if is_ours and is_public and inspect.isroutine(function):
            yield name, function


def cost(function):
    line = inspect.getdoc(function).splitlines()[-1]
    match = COST.fullmatch(line)
    assert match, f"{function.__qualname__} ends in {line!r}"
    return Cost(int(match["trips"]), bool(match["paged"]))


ALL = [
    pytest.param(container, name, function, id=f"{container.__name__}.{name}")
    for container in [*CONTAINERS, *VIEWS]
    for name, function in operations(container)
]


@pytest.mark.parametrize(("container", "name", "function"), ALL)
def test_docstring_ends_in_a_cost_line(container, name, function):
    assert cost(function).trips >= 0


# --- one call of each operation, on a container of the strings '0' to '4' (counted once each)

MAPPING = {"0": 1, "x": 2}


def walk(iterable):
    return list(iter(iterable))  # list() alone would ask the iterable for its length


COPY_CALLS = {"__copy__": copy.copy, "__deepcopy__": copy.deepcopy}
SET_CALLS = COPY_CALLS | {
    "__and__": lambda s: s & {"0"},
    "__contains__": lambda s: "0" in s,
    "__eq__": lambda s: s == {"0"},
    "__ge__": lambda s: s >= {"0"},
    "__gt__": lambda s: s > {"0"},
    "__iand__": lambda s: s.__iand__({"0"}),
    "__init__": lambda s: RedisSet("xyz", redis=s.redis, key="new"),
    "__ior__": lambda s: s.__ior__({"x"}),
    "__isub__": lambda s: s.__isub__({"0"}),
    "__iter__": walk,
    "__ixor__": lambda s: s.__ixor__({"x"}),
    "__le__": lambda s: s <= {"0"},
    "__len__": len,
    "__lt__": lambda s: s < {"0"},
    "__or__": lambda s: s | {"x"},
    "__rand__": lambda s: {"0"} & s,
    "__repr__": repr,
    "__ror__": lambda s: {"x"} | s,
    "__rsub__": lambda s: {"x"} - s,
    "__rxor__": lambda s: {"x"} ^ s,
    "__sub__": lambda s: s - {"0"},
    "__xor__": lambda s: s ^ {"x"},
    "add": lambda s: s.add("x"),
    "clear": lambda s: s.clear(),
    "contains_many": lambda s: s.contains_many("0", "x"),
    "copy": lambda s: s.copy(),
    "difference": lambda s: s.difference({"0"}),
    "difference_update": lambda s: s.difference_update({"0"}),
    "discard": lambda s: s.discard("0"),
    "intersection": lambda s: s.intersection({"0"}),
    "intersection_update": lambda s: s.intersection_update({"0"}),
    "isdisjoint": lambda s: s.isdisjoint({"0"}),
    "issubset": lambda s: s.issubset({"0"}),
    "issuperset": lambda s: s.issuperset({"0"}),
    "pop": lambda s: s.pop(),
    "remove": lambda s: s.remove("0"),
    "symmetric_difference": lambda s: s.symmetric_difference({"x"}),
    "symmetric_difference_update": lambda s: s.symmetric_difference_update({"x"}),
    "to_set": lambda s: s.to_set(),
    "union": lambda s: s.union({"x"}),
    "update": lambda s: s.update({"x"}),
}
SEQUENCE_CALLS = COPY_CALLS | {
    "__add__": lambda s: s + builtin(s)(["x"]),
    "__contains__": lambda s: "4" in s,
    "__delitem__": lambda s: s.__delitem__(2),
    "__eq__": lambda s: s == builtin(s)(["x"]),
    "__ge__": lambda s: s >= builtin(s)(["x"]),
    "__getitem__": lambda s: s[2],
    "__gt__": lambda s: s > builtin(s)(["x"]),
    "__iadd__": lambda s: s.__iadd__(["x"]),
    "__imul__": lambda s: s.__imul__(3),
    "__init__": lambda s: type(s)("xyz", redis=s.redis, key="new"),
    "__iter__": walk,
    "__le__": lambda s: s <= builtin(s)(["x"]),
    "__len__": len,
    "__lt__": lambda s: s < builtin(s)(["x"]),
    "__mul__": lambda s: s * 3,
    "__radd__": lambda s: builtin(s)(["x"]) + s,
    "__repr__": repr,
    "__reversed__": lambda s: walk(reversed(s)),
    "__rmul__": lambda s: 3 * s,
    "__setitem__": lambda s: s.__setitem__(2, "x"),
    "append": lambda s: s.append("x"),
    "clear": lambda s: s.clear(),
    "copy": lambda s: s.copy(),
    "count": lambda s: s.count(4),
    "extend": lambda s: s.extend("xyz"),
    "index": lambda s: s.index("3", 1, 4),
    "insert": lambda s: s.insert(2, "x"),
    "pop": lambda s: s.pop(),
    "remove": lambda s: s.remove("3"),
    "reverse": lambda s: s.reverse(),
    "to_list": lambda s: s.to_list(),
}
LIST_CALLS = SEQUENCE_CALLS | {"sort": lambda s: s.sort(reverse=True)}
DEQUE_CALLS = SEQUENCE_CALLS | {
    "appendleft": lambda s: s.appendleft("x"),
    "extendleft": lambda s: s.extendleft("xyz"),
    "popleft": lambda s: s.popleft(),
    "rotate": lambda s: s.rotate(2),
}
DICT_CALLS = COPY_CALLS | {
    "__contains__": lambda d: "0" in d,
    "__delitem__": lambda d: d.__delitem__("0"),
    "__eq__": lambda d: d == MAPPING,
    "__getitem__": lambda d: d["0"],
    "__init__": lambda d: type(d)(MAPPING, redis=d.redis, key="new"),
    "__ior__": lambda d: d.__ior__(builtin(d)(MAPPING)),
    "__iter__": walk,
    "__len__": len,
    "__or__": lambda d: d | builtin(d)(MAPPING),
    "__repr__": repr,
    "__reversed__": lambda d: walk(reversed(d)),
    "__ror__": lambda d: builtin(d)(MAPPING) | d,
    "__setitem__": lambda d: d.__setitem__("x", 1),
    "clear": lambda d: d.clear(),
    "copy": lambda d: d.copy(),
    "fromkeys": lambda d: type(d).fromkeys("xyz", 1, redis=d.redis, key="new"),
    "get": lambda d: d.get("0"),
    "items": lambda d: d.items(),
    "keys": lambda d: d.keys(),
    "pop": lambda d: d.pop("0"),
    "popitem": lambda d: d.popitem(),
    "setdefault": lambda d: d.setdefault("x", 1),
    "to_dict": lambda d: d.to_dict(),
    "update": lambda d: d.update(MAPPING),
    "values": lambda d: d.values(),
}
COUNTER_CALLS = DICT_CALLS | {
    "__add__": lambda c: c + Counter(MAPPING),
    "__and__": lambda c: c & Counter(MAPPING),
    "__ge__": lambda c: c >= Counter(MAPPING),
    "__gt__": lambda c: c > Counter(MAPPING),
    "__iadd__": lambda c: c.__iadd__(Counter(MAPPING)),
    "__iand__": lambda c: c.__iand__(Counter(MAPPING)),
    "__isub__": lambda c: c.__isub__(Counter(MAPPING)),
    "__le__": lambda c: c <= Counter(MAPPING),
    "__lt__": lambda c: c < Counter(MAPPING),
    "__neg__": lambda c: -c,
    "__pos__": lambda c: +c,
    "__radd__": lambda c: Counter(MAPPING) + c,
    "__rand__": lambda c: Counter(MAPPING) & c,
    "__rsub__": lambda c: Counter(MAPPING) - c,
    "__sub__": lambda c: c - Counter(MAPPING),
    "elements": lambda c: list(c.elements()),
    "most_common": lambda c: c.most_common(2),
    "subtract": lambda c: c.subtract(MAPPING),
    "to_counter": lambda c: c.to_counter(),
    "total": lambda c: c.total(),
}
BLOOM_CALLS = COPY_CALLS | {
    "__and__": lambda f: f & other(f),
    "__contains__": lambda f: "0" in f,
    "__eq__": lambda f: f == other(f),
    "__ge__": lambda f: f >= other(f),
    "__gt__": lambda f: f > other(f),
    "__iand__": lambda f: f.__iand__(other(f)),
    "__init__": lambda f: BloomFilter("xyz", **PROMISE, redis=f.redis, key="new"),
    "__ior__": lambda f: f.__ior__(other(f)),
    "__le__": lambda f: f <= other(f),
    "__len__": len,
    "__lt__": lambda f: f < other(f),
    "__or__": lambda f: f | other(f),
    "__repr__": repr,
    "add": lambda f: f.add("x"),
    "clear": lambda f: f.clear(),
    "contains_many": lambda f: f.contains_many("0", "x"),
    "copy": lambda f: f.copy(),
    "intersection": lambda f: f.intersection(other(f)),
    "intersection_update": lambda f: f.intersection_update(other(f)),
    "issubset": lambda f: f.issubset(other(f)),
    "issuperset": lambda f: f.issuperset(other(f)),
    "num_hashes": lambda f: f.num_hashes(),
    "size": lambda f: f.size(),
    "union": lambda f: f.union(other(f)),
    "update": lambda f: f.update(map(str, range(5000))),
}
HYPERLOGLOG_CALLS = COPY_CALLS | {
    "__contains__": lambda h: "0" in h,
    "__init__": lambda h: HyperLogLog("xyz", redis=h.redis, key="new"),
    "__len__": len,
    "__repr__": repr,
    "add": lambda h: h.add("x"),
    "clear": lambda h: h.clear(),
    "contains_many": lambda h: h.contains_many("0", "x"),
    "copy": lambda h: h.copy(),
    "union": lambda h: h.union(other(h), "xyz", key="new"),
    "update": lambda h: h.update(other(h), "xyz"),
}
VIEW_CALLS = {
    "__contains__": lambda v: ("0", 1) in v,
    "__iter__": walk,
    "__repr__": repr,
    "__reversed__": lambda v: walk(reversed(v)),
}
SET_VIEW_CALLS = VIEW_CALLS | {
    name: lambda v, name=name: getattr(v, name)({"x"})
    for name in (
        *("__and__", "__eq__", "__ge__", "__gt__", "__le__", "__lt__", "__or__", "__rand__"),
        *("__ror__", "__rsub__", "__rxor__", "__sub__", "__xor__", "isdisjoint"),
    )
}
CALLS = {
    RedisDictKeys: SET_VIEW_CALLS,
    RedisDictValues: VIEW_CALLS,
    RedisDictItems: SET_VIEW_CALLS,
    RedisSet: SET_CALLS,
    RedisList: LIST_CALLS,
    RedisDeque: DEQUE_CALLS,
    RedisDict: DICT_CALLS,
    RedisCounter: COUNTER_CALLS,
    BloomFilter: BLOOM_CALLS,
    HyperLogLog: HYPERLOGLOG_CALLS,
}
# Operations that say of themselves that they never work, so they cost nothing.
NEVER = {(RedisCounter, "fromkeys")}


def builtin(container):
    kinds = {RedisList: list, RedisDeque: deque, RedisDict: dict, RedisCounter: Counter}
    return kinds[type(container)]


def other(container):
    """Return one more container of the same kind."""
    kind = type(container)
    return kind(**REQUIRED.get(kind, {}), redis=container.redis, key="other")


def filled(container, client, items):
    if container in VIEWS:
        return VIEWS[container](filled(RedisDict, client, items))
    if container is RedisDict:
        return RedisDict(dict.fromkeys(items, 1), redis=client, key="filled")
    return container(items, **REQUIRED.get(container, {}), redis=client, key="filled")


@pytest.fixture(autouse=True)
def no_garbage():
    """Forget the temporary containers of other tests, so that their keys are not unlinked here."""
    pottery._plan.ABANDONED.clear()


MEASURED = [param for param in ALL if param.values[0] in CALLS and param.values[:2] not in NEVER]


@pytest.mark.parametrize(("container", "name", "function"), MEASURED)
def test_operation_takes_the_round_trips_that_it_says(container, name, function, redis, commands):
    call = CALLS[container][name]
    call(filled(container, redis, [str(n) for n in range(5)]))  # so that its script is known
    redis.flushdb()
    target = filled(container, redis, [str(n) for n in range(5)])

    with commands(redis) as sent:
        result = call(target)

    assert len(sent) == cost(function).trips, sent
    del result


PAGED = [param for param in MEASURED if cost(param.values[2]).is_paged]


@pytest.mark.parametrize(("container", "name", "function"), PAGED)
def test_long_container_is_read_in_pages(container, name, function, redis, commands):
    count = 25_000
    target = filled(container, redis, [f"item {n}" for n in range(count)])

    with commands(redis) as sent:
        CALLS[container][name](target)

    trips = cost(function).trips
    assert 2 <= len(sent) <= trips * (ceil(count / 1000) + 1)


async def read(container):
    return [item async for item in container]


ASYNC_CALLS = {
    AIORedisSet: SET_CALLS
    | {
        "create": lambda s: AIORedisSet.create("xyz", redis=s.redis, key="new"),
        "has": lambda s: s.has("0"),
        "size": lambda s: s.size(),
        "__aiter__": read,
    },
    AIOBloomFilter: BLOOM_CALLS
    | {
        "create": lambda f: AIOBloomFilter.create("xyz", **PROMISE, redis=f.redis, key="new"),
        "has": lambda f: f.has("0"),
        "length": lambda f: f.length(),
    },
    AIOHyperLogLog: HYPERLOGLOG_CALLS
    | {
        "create": lambda h: AIOHyperLogLog.create("xyz", redis=h.redis, key="new"),
        "has": lambda h: h.has("0"),
        "size": lambda h: h.size(),
    },
}
TWINS = {AIORedisSet: RedisSet, AIOBloomFilter: BloomFilter, AIOHyperLogLog: HyperLogLog}
ASYNC = [param for param in ALL if param.values[0] in TWINS and param.values[1] != "__init__"]


async def perform(container, name, url):
    client = asynchronous.Redis.from_url(url)
    target = container(**REQUIRED.get(container, {}), redis=client, key="filled")
    result = ASYNC_CALLS[container][name](target)
    if inspect.isawaitable(result):
        await result
    await (client.aclose() if hasattr(client, "aclose") else client.close())


@pytest.mark.parametrize(("container", "name", "function"), ASYNC)
def test_asynchronous_operation_takes_the_round_trips_that_it_says(
    container, name, function, redis, server, commands
):
    for _ in range(2):  # the first time, the server may not know the script
        redis.flushdb()
        pottery._plan.ABANDONED.clear()
        filled(TWINS[container], redis, "01234")
        with commands(redis) as sent:
            asyncio.run(perform(container, name, server.url))
    assert len(sent) == cost(function).trips, sent


def test_attaching_and_having_no_key_take_no_round_trip(redis, commands):
    with commands(redis) as sent:
        kinds = [(container, REQUIRED.get(container, {})) for container in BLOCKING]
        attached = [container(**required, redis=redis, key="k") for container, required in kinds]
        temporary = [container(**required, redis=redis) for container, required in kinds]
    assert (len(attached), len(temporary), sent) == (len(BLOCKING), len(BLOCKING), [])


def test_every_container_of_the_api_is_measured():
    api = [getattr(pottery, name) for name in pottery.__all__]
    assert {one for one in api if isinstance(one, type) and issubclass(one, Base)} == {*CONTAINERS}
