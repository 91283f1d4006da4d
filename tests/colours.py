"""An asynchronous container as a blocking one, so that one test does for both colours.

`Awaited` has the syntax of the builtin; each piece of it calls the verb, or follows the recipe,
that the documentation gives for it. Nothing is done by the adapter that a user could not do.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Set
from contextlib import contextmanager
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, ClassVar

from clients import close
from redis import (
    BlockingConnectionPool,
    Connection,
    RedisCluster,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis import asyncio as asynchronous
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.sentinel import Sentinel
from redis.sentinel import SentinelConnectionPool

from pottery import AIORedisCounter, AIORedisDeque, AIORedisDict, AIORedisList, AIORedisSet
from pottery.base import AIOContainer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

# Lines that do not make sense for an asynchronous container, and why.
EXCLUDED = {
    r"hash\(it\)": "it is hashed by its identity, as whatever `==` does not compare",
    r"it (<|<=|>|>=) make\(|it > make": "order is that of what `to_list` gives",
    r"""it \+ ("ab"|5|None|\(1,\))|\(1,\) \+ it""": "extend takes any iterable",
    r"(it|make\(.*\))\.(keys|items)\(\) ?([-&|^<>=!]|\.isdisjoint)": "its views are only iterated",
    r"(==|!=|[-&|^<>]=?) it\.(keys|items)\(\)": "its views are only iterated",
    r"reversed\(it\.": "its views are only iterated",
}


def why_not(line: str) -> str | None:
    """Return why *line* does not make sense for an asynchronous container, if it does not."""
    reasons = (reason for pattern, reason in EXCLUDED.items() if re.search(pattern, line))
    return next(reasons, None)


# What is said to an asynchronous client as it is to a blocking one.
COMMON = {
    *("host", "port", "path", "db", "username", "password", "retry"),
    *("protocol", "decode_responses", "legacy_responses"),
}
CLASSES = {
    Connection: asynchronous.Connection,
    SSLConnection: asynchronous.SSLConnection,
    UnixDomainSocketConnection: asynchronous.UnixDomainSocketConnection,
}


def twin_of(redis: Redis) -> asynchronous.Redis:
    """Return an asynchronous client of the same database, such as *redis* is."""
    pool = redis.connection_pool
    given = pool.connection_kwargs
    options = {name: given[name] for name in given if name in COMMON or name.startswith("ssl_")}
    if isinstance(pool, SentinelConnectionPool):
        known = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
        sentinel = Sentinel([(one["host"], one["port"]) for one in known])
        return sentinel.master_for(pool.service_name, **options)
    kind = asynchronous.ConnectionPool
    if isinstance(pool, BlockingConnectionPool):
        kind = asynchronous.BlockingConnectionPool
        options |= {"max_connections": pool.max_connections, "timeout": pool.timeout}
    twin = kind(connection_class=CLASSES[pool.connection_class], **options)
    return asynchronous.Redis.from_pool(twin)


class Loop:
    """An event loop, and clients that are used there."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.clients: dict[str, Any] = {}

    def wait(self, coroutine: Any) -> Any:
        """Return what *coroutine* does."""
        if self.loop.is_running():
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()
        return self.loop.run_until_complete(coroutine)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the loop in a thread of its own, so that many threads may wait at once."""
        thread = threading.Thread(target=self.loop.run_forever)
        thread.start()
        while not self.loop.is_running():
            time.sleep(0)
        yield
        self.loop.call_soon_threadsafe(self.loop.stop)
        thread.join()

    def client(self, redis: Any) -> asynchronous.Redis:
        """Return an asynchronous client that reaches the same database in the same way."""
        if isinstance(redis, RedisCluster):
            return self.cluster_client(redis)
        name = repr(redis.connection_pool.connection_kwargs)
        if name not in self.clients:
            self.clients[name] = twin_of(redis)
        return self.clients[name]

    def cluster_client(self, redis: RedisCluster) -> asynchronous.RedisCluster:
        """Return an asynchronous client of the same cluster."""
        name = repr(redis.get_primaries())
        if name not in self.clients:
            nodes = [ClusterNode(node.host, node.port) for node in redis.get_primaries()]
            strategy = redis.load_balancing_strategy
            balancing = {"load_balancing_strategy": strategy} if strategy else {}
            self.clients[name] = asynchronous.RedisCluster(startup_nodes=nodes, **balancing)
        return self.clients[name]

    def close(self) -> None:
        for client in self.clients.values():
            self.wait(close(client))
        self.loop.close()


async def collect(iterable: Any) -> list[Any]:
    return [item async for item in iterable]


def unwrapped(value: Any) -> Any:
    return value.twin if isinstance(value, Awaited) else value


class Awaited:  # noqa: PLW1641 - no hash, as the builtins
    """An asynchronous container, the *twin*, with the syntax of the builtin."""

    loop: ClassVar[Loop]
    twin_type: ClassVar[Any]

    def __init__(self, *args: Any, **options: Any) -> None:
        created = self.twin_type.create(*map(unwrapped, args), **options)
        self.__dict__["twin"] = self.loop.wait(created)

    def wrapped(self, value: Any) -> Any:
        """Return the value of an awaitable, with one of these around a container."""
        if isawaitable(value):
            value = self.loop.wait(value)
        if not isinstance(value, AIOContainer):
            return value
        new = object.__new__(type(self))
        new.__dict__["twin"] = value
        return new

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.twin, name)
        if not callable(found) or name == "redis":
            return found
        return lambda *args, **options: self.wrapped(found(*map(unwrapped, args), **options))

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.twin, name, value)

    def __len__(self) -> int:
        return self.size()

    def __contains__(self, item: Any) -> bool:
        return self.has(item)

    def __iter__(self) -> Any:
        return iter(self.loop.wait(collect(self.twin)))

    def __reversed__(self) -> Any:
        return iter(self.loop.wait(collect(self.twin.reversed())))

    def __eq__(self, other: object) -> bool:
        return self.equals(other)

    def changed(self, how: str, other: Any) -> Any:
        """Change the container by the method *how*: what `it += other` and the like do."""
        getattr(self, how)(other)
        return self

    def copy_changed(self, how: str, other: Any) -> Any:
        """Return a changed copy: what `it + other` and the like do."""
        return self.copy().changed(how, other)


class AwaitedByKey(Awaited):
    """What has the syntax with brackets."""

    def __getitem__(self, key: Any) -> Any:
        return self.fetch(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: Any) -> None:
        self.delete(key)


class AwaitedSequence(AwaitedByKey):
    def __add__(self, other: Any) -> Any:
        return self.copy_changed("extend", other)

    def __iadd__(self, other: Any) -> Any:
        return self.changed("extend", other)

    def __mul__(self, times: Any) -> Any:
        return self.copy_changed("repeat", times)

    __rmul__ = __mul__

    def __imul__(self, times: Any) -> Any:
        return self.changed("repeat", times)


class AwaitedList(AwaitedSequence):
    twin_type = AIORedisList

    def builtin(self) -> list[Any]:
        return self.to_list()

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return self.slice(key.start, key.stop, key.step)
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, slice):
            self.set_slice(key.start, key.stop, value, step=key.step)
        else:
            super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        if isinstance(key, slice):
            self.delete_slice(key.start, key.stop, key.step)
        else:
            super().__delitem__(key)


class AwaitedDeque(AwaitedSequence):
    twin_type = AIORedisDeque

    def builtin(self) -> deque[Any]:
        return deque(self.to_list(), self.maxlen)


def is_set(value: Any) -> bool:
    return isinstance(value, (Set, AwaitedSet))


def set_operator(how: str) -> Any:
    def operator(self: Any, other: Any) -> Any:
        return self.copy_changed(how, other) if is_set(other) else NotImplemented

    return operator


def reflected_set_operator(how: str) -> Any:
    def operator(self: Any, other: Any) -> Any:
        if not is_set(other):
            return NotImplemented
        return type(self)(other, redis=self.redis).changed(how, self)

    return operator


def set_operator_in_place(how: str) -> Any:
    def operator(self: Any, other: Any) -> Any:
        return self.changed(how, other) if is_set(other) else NotImplemented

    return operator


class AwaitedSet(Awaited):
    twin_type = AIORedisSet

    def builtin(self) -> set[Any]:
        return self.to_set()

    __or__, __ror__ = set_operator("update"), reflected_set_operator("update")
    __and__ = set_operator("intersection_update")
    __rand__ = reflected_set_operator("intersection_update")
    __sub__ = set_operator("difference_update")
    __rsub__ = reflected_set_operator("difference_update")
    __xor__ = set_operator("symmetric_difference_update")
    __rxor__ = reflected_set_operator("symmetric_difference_update")
    __ior__ = set_operator_in_place("update")
    __iand__ = set_operator_in_place("intersection_update")
    __isub__ = set_operator_in_place("difference_update")
    __ixor__ = set_operator_in_place("symmetric_difference_update")

    def __le__(self, other: Any) -> bool:
        return self.issubset(other) if is_set(other) else NotImplemented

    def __ge__(self, other: Any) -> bool:
        return self.issuperset(other) if is_set(other) else NotImplemented

    def __lt__(self, other: Any) -> bool:
        return (self <= other) and self != other if is_set(other) else NotImplemented

    def __gt__(self, other: Any) -> bool:
        return (self >= other) and self != other if is_set(other) else NotImplemented


def is_mapping(value: Any) -> bool:
    return isinstance(value, (Mapping, AwaitedDict))


class AwaitedDict(AwaitedByKey):
    twin_type = AIORedisDict

    def builtin(self) -> dict[Any, Any]:
        return self.to_dict()

    def keys(self) -> Any:
        return dict.fromkeys(self.loop.wait(collect(self.twin.keys()))).keys()

    def values(self) -> Any:
        return dict(enumerate(self.loop.wait(collect(self.twin.values())))).values()

    def items(self) -> Any:
        return dict(self.loop.wait(collect(self.twin.items()))).items()

    def fromkeys(self, *args: Any) -> Any:
        return self.wrapped(self.twin.fromkeys(*args, redis=self.redis))

    def __or__(self, other: Any) -> Any:
        return self.copy_changed("update", other) if is_mapping(other) else NotImplemented

    def __ror__(self, other: Any) -> Any:
        if not is_mapping(other):
            return NotImplemented
        return type(self)(other, redis=self.redis).changed("update", self)

    def __ior__(self, other: Any) -> Any:
        return self.changed("update", other)


def is_counter(value: Any) -> bool:
    return isinstance(value, (Counter, AwaitedCounter))


class AwaitedCounter(AwaitedDict):
    twin_type = AIORedisCounter

    def builtin(self) -> Counter[Any]:
        return self.to_counter()

    def fromkeys(self, *args: Any) -> Any:
        return self.twin.fromkeys(*args)

    def __pos__(self) -> Counter[Any]:
        return +self.to_counter()

    def __neg__(self) -> Counter[Any]:
        return -self.to_counter()

    def __add__(self, other: Any) -> Any:
        return self.sum(other) if is_counter(other) else NotImplemented

    def __sub__(self, other: Any) -> Any:
        return self.difference(other) if is_counter(other) else NotImplemented

    def __or__(self, other: Any) -> Any:
        return self.union(other) if is_counter(other) else NotImplemented

    def __and__(self, other: Any) -> Any:
        return self.intersection(other) if is_counter(other) else NotImplemented

    def __radd__(self, other: Any) -> Any:
        return other + self.to_counter()

    def __rsub__(self, other: Any) -> Any:
        return other - self.to_counter()

    def __ror__(self, other: Any) -> Any:
        return other | self.to_counter()

    def __rand__(self, other: Any) -> Any:
        return other & self.to_counter()

    def __iadd__(self, other: Any) -> Any:
        return self.changed("sum_update", other)

    def __isub__(self, other: Any) -> Any:
        return self.changed("difference_update", other)

    def __ior__(self, other: Any) -> Any:
        return self.changed("union_update", other)

    def __iand__(self, other: Any) -> Any:
        return self.changed("intersection_update", other)

    def __le__(self, other: Any) -> bool:
        return self.issubset(other) if is_counter(other) else NotImplemented

    def __ge__(self, other: Any) -> bool:
        return self.issuperset(other) if is_counter(other) else NotImplemented

    def __lt__(self, other: Any) -> bool:
        return (self <= other) and self != other if is_counter(other) else NotImplemented

    def __gt__(self, other: Any) -> bool:
        return (self >= other) and self != other if is_counter(other) else NotImplemented


AWAITED = {
    list: AwaitedList,
    set: AwaitedSet,
    dict: AwaitedDict,
    deque: AwaitedDeque,
    Counter: AwaitedCounter,
}
for awaited in AWAITED.values():
    # In errors that Python itself words, the adapter must not show.
    awaited.__name__ = awaited.twin_type.__name__
