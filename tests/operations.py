"""One call of each public operation of each class, for the tests that look at all of them.

An operation is performed in three steps: `prepare` puts the content there, `attach` gives what has
the operation, by whichever client, and `call` calls it, once. The content is the strings '0' to
'4', each counted once.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import re
from collections import Counter, deque
from functools import wraps
from typing import Any, NamedTuple

from clients import close
from colours import twin_of

from pottery import (
    AIOBloomFilter,
    AIOCachedOrderedDict,
    AIOHyperLogLog,
    AIONextId,
    AIORedisCounter,
    AIORedisDeque,
    AIORedisDict,
    AIORedisList,
    AIORedisSet,
    AIORedisSimpleQueue,
    AIORedlock,
    BloomFilter,
    CachedOrderedDict,
    HyperLogLog,
    NextId,
    RedisCounter,
    RedisDeque,
    RedisDict,
    RedisList,
    RedisSet,
    RedisSimpleQueue,
    Redlock,
    redis_cache,
)
from pottery._views import RedisDictItems, RedisDictKeys, RedisDictValues
from pottery.cache import AIOCachedFunction, CachedFunction

BLOCKING = [
    *(RedisDict, RedisSet, RedisList, RedisCounter, RedisDeque, RedisSimpleQueue),
    *(BloomFilter, HyperLogLog),
]
# The asynchronous twins, and what they are twins of.
TWINS = {
    AIORedisDict: RedisDict,
    AIORedisSet: RedisSet,
    AIORedisList: RedisList,
    AIORedisCounter: RedisCounter,
    AIORedisDeque: RedisDeque,
    AIORedisSimpleQueue: RedisSimpleQueue,
    AIOBloomFilter: BloomFilter,
    AIOHyperLogLog: HyperLogLog,
}
CONTAINERS = [*BLOCKING, *TWINS]
PROMISE = {"num_elements": 1000, "false_positives": 0.01}
# What the constructor must be given.
REQUIRED = {BloomFilter: PROMISE, AIOBloomFilter: PROMISE}
IDS = [NextId, AIONextId]
LOCKS = [Redlock, AIORedlock]
CACHES = [CachedFunction, AIOCachedFunction, CachedOrderedDict, AIOCachedOrderedDict]
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


def operations(container):
    """Yield the name and the function of each public operation of a class."""
    for name in sorted(set(dir(container)) - NO_OPERATIONS):
        function = getattr(container, name)
        module = str(getattr(function, "__module__", ""))
        is_ours = module.startswith("pottery") and module != "pottery._advice"  # which refuses
        is_public = not name.startswith("_") or name.startswith("__")
        if is_ours and is_public and inspect.isroutine(function):
            yield name, function


COST = re.compile(
    r"(?P<work>O\([^;]+\)[^;]*); (?P<trips>\d+) round trips?(?P<paged> per 1000 items)?; "
    r"(?P<not>not )?atomic\."
)


class Cost(NamedTuple):
    """What a cost line says: the round trips are in all or, if paged, for each thousand items."""

    work: str
    trips: int
    is_paged: bool
    is_atomic: bool


def cost(function):
    """Return what an operation costs, None if it does not say so."""
    line = (inspect.getdoc(function) or "").rpartition("\n")[2]
    match = COST.fullmatch(line)
    if match:
        return Cost(match["work"], int(match["trips"]), bool(match["paged"]), not match["not"])
    return None


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


async def read(iterable):
    return [item async for item in iterable]


async def leave(container, **required):
    async with type(container)(**required, redis=container.redis) as temporary:
        assert temporary is not container


def methods(calls):
    return {name: call for name, call in calls.items() if not name.startswith("_")}


TWIN_CALLS = {
    "__aenter__": lambda x: x.__aenter__(),
    "__aexit__": leave,
    "__aiter__": read,
    "__init__": lambda x: type(x)(redis=x.redis, key=x.key),
    "__repr__": repr,
    "create": lambda x: type(x).create("xyz", redis=x.redis, key="new"),
    "delete": lambda x: x.delete(2),
    "equals": lambda x: x.equals(["x"]),
    "fetch": lambda x: x.fetch(2),
    "has": lambda x: x.has("4"),
    "repeat": lambda x: x.repeat(3),
    "reversed": lambda x: read(x.reversed()),
    "set": lambda x: x.set(2, "x"),
    "size": lambda x: x.size(),
}
TWIN_SET_CALLS = TWIN_CALLS | methods(SET_CALLS) | {"equals": lambda s: s.equals({"0"})}
TWIN_LIST_CALLS = {
    "slice": lambda x: x.slice(1, 3),
    "set_slice": lambda x: x.set_slice(1, 3, ["x"]),
    "delete_slice": lambda x: x.delete_slice(1, 3),
}
TWIN_DICT_CALLS = (
    TWIN_CALLS
    | methods(DICT_CALLS)
    | {
        "create": lambda d: type(d).create(MAPPING, redis=d.redis, key="new"),
        "delete": lambda d: d.delete("0"),
        "equals": lambda d: d.equals(MAPPING),
        "fetch": lambda d: d.fetch("0"),
        "set": lambda d: d.set("x", 1),
    }
)
TWIN_COUNTER_CALLS = (
    TWIN_DICT_CALLS
    | methods(COUNTER_CALLS)
    | {
        "elements": lambda c: c.elements(),
        "difference": lambda c: c.difference(MAPPING),
        "difference_update": lambda c: c.difference_update(MAPPING),
        "intersection": lambda c: c.intersection(MAPPING),
        "intersection_update": lambda c: c.intersection_update(MAPPING),
        "issubset": lambda c: c.issubset(MAPPING),
        "issuperset": lambda c: c.issuperset(MAPPING),
        "sum": lambda c: c.sum(MAPPING),
        "sum_update": lambda c: c.sum_update(MAPPING),
        "union": lambda c: c.union(MAPPING),
        "union_update": lambda c: c.union_update(MAPPING),
    }
)
TWIN_BLOOM_CALLS = (
    TWIN_CALLS
    | methods(BLOOM_CALLS)
    | {
        "__aexit__": lambda f: leave(f, **PROMISE),
        "__init__": lambda f: AIOBloomFilter(**PROMISE, redis=f.redis, key="new"),
        "create": lambda f: AIOBloomFilter.create("xyz", **PROMISE, redis=f.redis, key="new"),
        "equals": lambda f: f.equals(AIOBloomFilter(**PROMISE, redis=f.redis, key="other")),
        "length": lambda f: f.length(),
    }
)
QUEUE_CALLS = {
    "__init__": lambda q: type(q)(redis=q.redis, key="new"),
    "__repr__": repr,
    "clear": lambda q: q.clear(),
    "empty": lambda q: q.empty(),
    "get": lambda q: q.get(),
    "get_nowait": lambda q: q.get_nowait(),
    "put": lambda q: q.put("x"),
    "put_nowait": lambda q: q.put_nowait("x"),
    "qsize": lambda q: q.qsize(),
}


def builtin(container):
    kinds = {RedisList: list, RedisDeque: deque, RedisDict: dict, RedisCounter: Counter}
    return kinds[type(container)]


def other(container):
    """Return one more container of the same kind."""
    kind = type(container)
    return kind(**REQUIRED.get(kind, {}), redis=container.redis, key="other")


# --- caches

FUNCTION_CALLS = COPY_CALLS | {
    "__bypass__": lambda f: f.__bypass__("0"),
    "__call__": lambda f: f("0"),
    "__get__": lambda f: f.__get__("0"),
    "__init__": lambda f: redis_cache(redis=f._cache().redis, key="new")(f.__wrapped__),
    "__repr__": repr,
    "cache_clear": lambda f: f.cache_clear(),
    "cache_info": lambda f: f.cache_info(),
    "cache_parameters": lambda f: f.cache_parameters(),
    "invalidate": lambda f: f.invalidate("0"),
}
ORDERED_DICT_CALLS = COPY_CALLS | {
    "__delitem__": lambda d: d.__delitem__("0"),
    "__init__": lambda d: CachedOrderedDict(
        redis_client=d._cache.redis, redis_key="new", dict_keys="ab"
    ),
    "__ior__": lambda d: d.__ior__(MAPPING),
    "__or__": lambda d: d | MAPPING,
    "__ror__": lambda d: MAPPING | d,
    "__setitem__": lambda d: d.__setitem__("miss", 1),
    "clear": lambda d: d.clear(),
    "copy": lambda d: d.copy(),
    "fromkeys": lambda d: CachedOrderedDict.fromkeys(
        "ab", redis_client=d._cache.redis, redis_key="new"
    ),
    "misses": lambda d: d.misses(),
    "move_to_end": lambda d: d.move_to_end("0"),
    "pop": lambda d: d.pop("0"),
    "popitem": lambda d: d.popitem(),
    "setdefault": lambda d: d.setdefault("miss", 1),
    "update": lambda d: d.update(MAPPING),
}
AIO_ORDERED_DICT_CALLS = {
    name: call
    for name, call in ORDERED_DICT_CALLS.items()
    if name not in {"__ior__", "__setitem__", "fromkeys"}
} | {
    "__init__": lambda d: AIOCachedOrderedDict(redis_client=d._cache.redis, redis_key="new"),
    "create": lambda d: AIOCachedOrderedDict.create(
        "ab", redis_client=d._cache.redis, redis_key="new"
    ),
    "set": lambda d: d.set("miss", 1),
    "__aenter__": lambda d: d.__aenter__(),
    "__aexit__": lambda d: AIOCachedOrderedDict(redis_client=d._cache.redis).__aexit__(),
}


# --- IDs and locks, at one master

ID_CALLS = {
    "__init__": lambda ids: type(ids)(key="new", masters=ids.masters),
    "__iter__": iter,
    "__next__": next,
    "__aiter__": aiter,
    "__anext__": anext,
    "__repr__": repr,
    "reset": lambda ids: ids.reset(),
}
LOCK_CALLS = {
    "__aenter__": lambda lock: lock.__aenter__(),
    "__aexit__": lambda lock: lock.__aexit__(None, None, None),
    "__enter__": lambda lock: lock.__enter__(),
    "__exit__": lambda lock: lock.__exit__(None, None, None),
    "__init__": lambda lock: type(lock)(key="new", masters=lock.masters),
    "__repr__": repr,
    "acquire": lambda lock: lock.acquire(),
    "extend": lambda lock: lock.extend(),
    "locked": lambda lock: lock.locked(),
    "owner": lambda lock: lock.owner(),
    "release": lambda lock: lock.release(),
}
# What is called on a lock that is not held.
ACQUIRING = {"__aenter__", "__enter__", "acquire"}


# --- all of them

CALLS: dict[type, dict[str, Any]] = {
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
    RedisSimpleQueue: QUEUE_CALLS,
    AIORedisSet: TWIN_SET_CALLS,
    AIORedisList: TWIN_CALLS | methods(LIST_CALLS) | TWIN_LIST_CALLS,
    AIORedisDeque: TWIN_CALLS | methods(DEQUE_CALLS) | {"equals": lambda d: d.equals(deque("x"))},
    AIORedisDict: TWIN_DICT_CALLS,
    AIORedisCounter: TWIN_COUNTER_CALLS,
    AIOBloomFilter: TWIN_BLOOM_CALLS,
    AIOHyperLogLog: TWIN_CALLS | methods(HYPERLOGLOG_CALLS),
    AIORedisSimpleQueue: TWIN_CALLS | QUEUE_CALLS,
    CachedFunction: FUNCTION_CALLS,
    AIOCachedFunction: FUNCTION_CALLS,
    CachedOrderedDict: ORDERED_DICT_CALLS,
    AIOCachedOrderedDict: AIO_ORDERED_DICT_CALLS,
    NextId: ID_CALLS,
    AIONextId: ID_CALLS,
    Redlock: LOCK_CALLS,
    AIORedlock: LOCK_CALLS,
}
# Operations that say of themselves that they never work, so they cost nothing.
NEVER = {
    (AIOCachedOrderedDict, "__ior__"),
    (AIOCachedOrderedDict, "__setitem__"),
    (RedisCounter, "fromkeys"),
    (AIORedisCounter, "fromkeys"),
    *((twin, name) for twin in TWINS for name in ("__bool__", "__copy__", "__deepcopy__")),
}


class Operation(NamedTuple):
    """A public operation of a class, and how it is called."""

    kind: Any
    name: str
    function: Any

    def __str__(self) -> str:
        return f"{self.kind.__name__}.{self.name}"

    @property
    def cost(self) -> Any:
        """What the operation says that it costs."""
        return cost(self.function)

    @property
    def is_awaited(self) -> bool:
        """Whether it wants an asynchronous client."""
        return self.kind.__name__.startswith("AIO")

    @property
    def call(self) -> Any:
        """What calls the operation on what `attach` returned; its result may have to be awaited."""
        return CALLS[self.kind][self.name]


KINDS = [*CONTAINERS, *VIEWS, *CACHES, *IDS, *LOCKS]
ALL = [Operation(kind, *found) for kind in KINDS for found in operations(kind)]
OPERATIONS = [operation for operation in ALL if operation[:2] not in NEVER]


def prepare(kind, redis, items="01234"):
    """Put the content into an empty database, by a blocking client."""
    if kind in CACHES:
        prepare_cache(kind, redis)
    elif kind in IDS:
        next(NextId(key="filled", masters=[redis]))
    elif kind not in LOCKS:
        fill(kind, redis, items)


def prepare_cache(kind, redis):
    if kind in {CachedFunction, AIOCachedFunction}:
        redis_cache(redis=redis, key="filled")(length)("0")
        return
    keys = ["miss", *"01234"]
    results = CachedOrderedDict(redis_client=redis, redis_key="filled", dict_keys=keys)
    results.update(dict.fromkeys("01234", 1))


def fill(kind, redis, items):
    container = RedisDict if kind in VIEWS else TWINS.get(kind, kind)
    if container is RedisSimpleQueue:
        for item in items:
            container(redis=redis, key="filled").put(item)
        return
    content = dict.fromkeys(items, 1) if container is RedisDict else list(items)
    container(content, **REQUIRED.get(container, {}), redis=redis, key="filled")


def length(text):
    return len(text)


@wraps(length)  # of one name, so that both share results
async def length_later(text):
    return len(text)


def attach(operation, client, *others):
    """Return what has the operation, by a client of its colour; it may have to be awaited.

    Locks and IDs may have *others* as masters, too.
    """
    kind = operation.kind
    if kind in VIEWS:
        return VIEWS[kind](RedisDict(redis=client, key="filled"))
    if kind in CACHES:
        return attach_cache(kind, client)
    if kind in IDS:
        return used(kind(key="filled", masters=[client, *others]))
    if kind in LOCKS:
        lock = kind(key="filled", masters=[client, *others])
        return lock if operation.name in ACQUIRING else held(lock)
    return kind(**REQUIRED.get(kind, {}), redis=client, key="filled")


def perform(operation, client):
    """Attach the operation by a blocking *client* or, if it is awaited, its twin; call it once."""
    if operation.is_awaited:
        return asyncio.run(perform_awaiting(operation, client))
    return operation.call(attach(operation, client))


async def perform_awaiting(operation, client):
    twin = twin_of(client)
    try:
        target = attach(operation, twin)
        result = operation.call(await target if inspect.isawaitable(target) else target)
        return await result if inspect.isawaitable(result) else result
    finally:
        await close(twin)


def attach_cache(kind, client):
    if kind is CachedFunction:
        return redis_cache(redis=client, key="filled")(length)
    if kind is AIOCachedFunction:
        return redis_cache(redis=client, key="filled")(length_later)
    keys = ["miss", *"01234"]
    if kind is AIOCachedOrderedDict:
        return kind.create(keys, redis_client=client, redis_key="filled")
    return kind(redis_client=client, redis_key="filled", dict_keys=keys)


def used(ids):
    """Return IDs that know the last one."""
    if isinstance(ids, AIONextId):
        return used_later(ids)
    next(ids)
    return ids


async def used_later(ids):
    await anext(ids)
    return ids


def held(lock):
    if isinstance(lock, AIORedlock):
        return held_later(lock)
    assert lock.acquire()
    return lock


async def held_later(lock):
    assert await lock.acquire()
    return lock
