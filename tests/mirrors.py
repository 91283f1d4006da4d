"""What mirrors what, and where a method does not do as the builtin's: by which reason.

The tests hold each method against these tables, and the documentation prints them. Whatever a
builtin has and is not listed here must be there, take the same arguments, and do the same.
What holds for a type as a whole, such as that elements are JSON, its class says under *Differs
from*, and it is not repeated for each method.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter, OrderedDict, deque
from queue import SimpleQueue
from typing import Any, NamedTuple

from both import TYPES

from pottery import CachedOrderedDict, RedisSimpleQueue, Redlock, redis_cache
from pottery.cache import CachedFunction

Lock = type(threading.Lock())
CachedByPython = functools._lru_cache_wrapper
MIRRORS: dict[type, type] = TYPES | {
    SimpleQueue: RedisSimpleQueue,
    Lock: Redlock,
    OrderedDict: CachedOrderedDict,
    CachedByPython: CachedFunction,
}
# What `dir` lists that is not of objects but of their class, or for type checkers.
OF_CLASSES = {
    *("__class_getitem__", "__getattribute__", "__init_subclass__", "__new__"),
    *("__subclasshook__", "__dict__", "__doc__", "__module__", "__weakref__"),
}
# What is set on the object and not by its class.
OF_OBJECTS = {CachedByPython: {"cache_parameters"}}


def methods(builtin: type) -> list[str]:
    """Return the names of what objects of *builtin* can do."""
    return [
        name
        for name in sorted({*dir(builtin), *OF_OBJECTS.get(builtin, ())})
        if (not name.startswith("_") or name.endswith("__"))
        and name not in OF_CLASSES
        and getattr(builtin, name, name) is not getattr(object, name, None)
    ]


def is_absent(builtin: type, name: str) -> bool:
    """Return whether ours has nothing of its own by the *name* of something the builtin has."""
    ours = getattr(MIRRORS[builtin], name, None)
    inherited = ours is getattr(object, name, None) and name not in DERIVED
    return inherited and getattr(builtin, name) is not None


# Python makes `a != b` of `a == b`, and what is not there raises what the builtin raises.
DERIVED = {"__hash__", "__ne__", "__le__", "__lt__", "__ge__", "__gt__"}

# --- reasons

PICKLE = "a container is a name for data elsewhere, and is not pickled"
MUTATION = "a change during iteration is no error"
ANY_ORDER = "of more than 512 items the order is arbitrary, and a change meanwhile is no error"
PAGES = "an iterator ends with the page that was the last when it was read"
REPR = "the repr begins with the name of the class"
PLAIN = "methods give a plain set"
AT_ONCE = "items are written by one command, not one by one by `__setitem__`"
UNORDERED = "of more than 512 items, it takes any one"
NO_ITEMS = "it takes no items when it is made, so they are given by `update`"
ONLY_HERE = "a union writes nothing to the cache, so it is an `OrderedDict` without one"
KEYWORDS = "the order of keyword arguments makes no difference"
TOLD_MORE = "there are more parameters to tell of"
ELSEWHERE = "the elements are not in the memory of this process"
WHERE = "`redis` and `key` say where it is"
WHOLE_OR_NOT = "if the argument raises halfway, nothing is changed"
PLAIN_COUNTER = "the result is a plain Counter"
ANY_SET = "any kind of set will do, such as the keys of a dict, and the result stays in Redis"
OLD_NAME = "an old name, which `threading` does not document"
NO_LONGER_HELD = "the error is a ReleaseUnlockedLock, which is a RuntimeError"
EMPTY = "the error is a QueueEmptyError, which is a queue.Empty"
OF_ALL = "the results are those of all processes"


class Differs(NamedTuple):
    """Why a method does something else than the builtin's, and a line which shows that it does.

    In it, `it` is an object with some content, and `make` makes another one.
    """

    reason: str
    shown_by: str


# What a builtin has and ours has not.
ABSENT: dict[type, dict[str, str]] = {
    list: {"__sizeof__": ELSEWHERE},
    set: {"__sizeof__": ELSEWHERE},
    dict: {"__sizeof__": ELSEWHERE},
    Counter: {"__sizeof__": ELSEWHERE},
    deque: {
        "__sizeof__": ELSEWHERE,
        "__bool__": "of Python 3.10, and not needed beside `__len__`",
    },
    Lock: {f"{name}_lock": OLD_NAME for name in ("acquire", "release", "locked")},
}

FAILING = "(1 // (2 - n) for n in range(9))"
GROWING_SET = "[it.add(len(it) + 100) for _ in it if len(it) < 9]"
GROWING_DICT = "[it.update({str(len(it)): 1}) for _ in it if len(it) < 9]"

# What both have and ours does in another way, or takes other arguments for.
DIFFERENCES: dict[type, dict[str, Differs]] = {
    list: {
        "__init__": Differs(WHERE, "make([], key='new')"),
        "__getitem__": Differs("slices are plain lists", "type(it[:]) is type(it)"),
        "__iadd__": Differs(WHOLE_OR_NOT, f"it.__iadd__({FAILING})"),
        "__iter__": Differs(PAGES, "[it.append(9) for _ in it if len(it) < 9]"),
        "__repr__": Differs(REPR, "repr(it)"),
        "__reversed__": Differs(
            "changes since the page was read are not seen",
            "[it.__setitem__(0, 9) or x for x in reversed(it)]",
        ),
        "extend": Differs(WHOLE_OR_NOT, f"it.extend({FAILING})"),
        "sort": Differs("if it fails, nothing is changed", "it.extend([1, 3, 2, 'a']); it.sort()"),
    },
    set: {
        "__init__": Differs(WHERE, "make([], key='new')"),
        "__iand__": Differs(ANY_SET, "type(it.__iand__({}.keys())) is type(it)"),
        "__ior__": Differs(ANY_SET, "type(it.__ior__({}.keys())) is type(it)"),
        "__isub__": Differs(ANY_SET, "type(it.__isub__({}.keys())) is type(it)"),
        "__ixor__": Differs(ANY_SET, "type(it.__ixor__({}.keys())) is type(it)"),
        "__iter__": Differs(MUTATION, GROWING_SET),
        "__reduce__": Differs(PICKLE, "it.__reduce__()"),
        "__repr__": Differs(REPR, "repr(it)"),
        "difference": Differs(PLAIN, "type(it.difference()) is type(it)"),
        "intersection": Differs(PLAIN, "type(it.intersection()) is type(it)"),
        "symmetric_difference": Differs(PLAIN, "type(it.symmetric_difference([])) is type(it)"),
        "union": Differs(PLAIN, "type(it.union()) is type(it)"),
        "update": Differs(WHOLE_OR_NOT, f"it.update({FAILING})"),
    },
    dict: {
        "__init__": Differs(WHERE, "make(key='new')"),
        "__ior__": Differs(AT_ONCE, "it.__ior__([('b', 1), 5])"),
        "__iter__": Differs(ANY_ORDER, GROWING_DICT),
        "__repr__": Differs(REPR, "repr(it)"),
        "fromkeys": Differs(WHERE, "type(it).fromkeys('ab', redis=redis, key='new')"),
        "popitem": Differs(
            UNORDERED, "it.update({n: n for n in range(999)}); it.popitem(); it.popitem()"
        ),
        "update": Differs(AT_ONCE, "it.update([('b', 1), 5])"),
    },
    deque: {
        "__init__": Differs(WHERE, "make([], key='new')"),
        "__iadd__": Differs(WHOLE_OR_NOT, f"it.__iadd__({FAILING})"),
        "__iter__": Differs(MUTATION, "[it.append(9) for _ in it if len(it) < 5]"),
        "__reduce__": Differs(PICKLE, "it.__reduce__()"),
        "__repr__": Differs(REPR, "repr(it)"),
        "__reversed__": Differs(MUTATION, "[it.append(9) for _ in reversed(it) if len(it) < 5]"),
        "extend": Differs(WHOLE_OR_NOT, f"it.extend({FAILING})"),
        "extendleft": Differs(WHOLE_OR_NOT, f"it.extendleft({FAILING})"),
    },
    Counter: {
        "__add__": Differs(PLAIN_COUNTER, "type(it + it) is type(it)"),
        "__and__": Differs(PLAIN_COUNTER, "type(it & it) is type(it)"),
        "__iand__": Differs("what another mapping has not counts 0", "it.__iand__({})"),
        "__init__": Differs(WHERE, "make(key='new')"),
        "__iter__": Differs(ANY_ORDER, GROWING_DICT),
        "__neg__": Differs(PLAIN_COUNTER, "type(-it) is type(it)"),
        "__or__": Differs(PLAIN_COUNTER, "type(it | it) is type(it)"),
        "__pos__": Differs(PLAIN_COUNTER, "type(+it) is type(it)"),
        "__reduce__": Differs(PICKLE, "it.__reduce__()"),
        "__repr__": Differs(REPR, "repr(it)"),
        "__sub__": Differs(PLAIN_COUNTER, "type(it - it) is type(it)"),
        "popitem": Differs(UNORDERED, "it.update(range(999)); it.popitem(); it.popitem()"),
        "subtract": Differs(WHOLE_OR_NOT, "it.subtract(['b', []])"),
        "update": Differs(WHOLE_OR_NOT, "it.update(['b', []])"),
    },
    SimpleQueue: {
        "get": Differs(EMPTY, "it.get(block=False)"),
        "get_nowait": Differs(EMPTY, "it.get_nowait()"),
    },
    Lock: {
        "acquire": Differs(
            "`raise_on_redis_errors` says whether to raise if too many masters fail",
            "it.acquire(raise_on_redis_errors=True)",
        ),
        "__enter__": Differs("what is returned is the lock", "it.__enter__() is it"),
        "__exit__": Differs(NO_LONGER_HELD, "it.__exit__(None, None, None)"),
        "__repr__": Differs("the text has the key instead of the state", "repr(it)"),
        "locked": Differs(
            "what is returned are the seconds for which this object still holds the lock, or 0",
            "it.locked()",
        ),
        "release": Differs(NO_LONGER_HELD, "it.release()"),
    },
    OrderedDict: {
        "__init__": Differs(NO_ITEMS, "make([('a', 1)])"),
        "__ior__": Differs(AT_ONCE, "it.__ior__([('b', 1), 5])"),
        "__or__": Differs(ONLY_HERE, "type(it | {}) is type(it)"),
        "__reduce__": Differs(PICKLE, "it.__reduce__()"),
        "__repr__": Differs(REPR, "repr(it)"),
        "__ror__": Differs(ONLY_HERE, "type({} | it) is type(it)"),
        "fromkeys": Differs(
            "`redis_client`, `redis_key` and `timeout` say where it is",
            "type(it).fromkeys([], redis_client=redis, redis_key='new')",
        ),
        "setdefault": Differs(
            "of a miss, what the cache has meanwhile is as good as an item",
            "it.setdefault('found', 1)",
        ),
        "update": Differs(AT_ONCE, "it.update([('b', 1), 5])"),
    },
    CachedByPython: {
        "__call__": Differs(KEYWORDS, "it(a=1, b=2), it(b=2, a=1), it.cache_info().hits"),
        "cache_clear": Differs(OF_ALL, "it(), make().cache_clear(), it.cache_info().currsize"),
        "cache_info": Differs(OF_ALL, "it(), make().cache_info().currsize"),
        "cache_parameters": Differs(TOLD_MORE, "it.cache_parameters()"),
    },
}


def keywords(**given: Any) -> str:
    """Be cached."""
    return repr(given)


def made(builtin: type, redis: Any) -> list[dict[str, Any]]:
    """Return what a line can name, for the *builtin* and for ours."""
    if builtin in TYPES:
        makers = [builtin, functools.partial(TYPES[builtin], redis=redis)]
        content = {list: [1, 2], set: ["a", 1], dict: {"a": 1}, deque: [1, 2], Counter: "ab"}
        return [names(make, redis, content[builtin]) for make in makers]
    makers = {
        SimpleQueue: [SimpleQueue, lambda: RedisSimpleQueue(redis=redis)],
        Lock: [threading.Lock, lambda: Redlock(key="lock", masters={redis})],
        OrderedDict: [OrderedDict, functools.partial(CachedOrderedDict, redis_client=redis)],
        CachedByPython: [
            lambda: functools.cache(keywords),
            lambda: redis_cache(redis=redis, key="cache")(keywords),
        ],
    }
    pair = [names(make, redis) for make in makers[builtin]]
    if builtin is OrderedDict:
        pair[1]["it"] = with_a_miss_that_is_found(redis)
    return pair


def names(make: Any, redis: Any, *content: Any) -> dict[str, Any]:
    return {"make": make, "it": make(*content), "redis": redis}


def with_a_miss_that_is_found(redis: Any) -> CachedOrderedDict[str, int]:
    """Return a dict of whose misses one is computed by somebody else meanwhile."""
    ours, other = (
        CachedOrderedDict(redis_client=redis, redis_key="cache", dict_keys=["found"])
        for _ in range(2)
    )
    other["found"] = 7
    return ours
