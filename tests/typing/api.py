"""The types of the API, as a user's type checker sees them; never run."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, OrderedDict
from collections.abc import (
    AsyncIterator,
    Coroutine,
    Iterator,
    MutableMapping,
    MutableSequence,
    MutableSet,
)
from typing import Any

from redis import Redis
from typing_extensions import assert_type

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
    ContextTimer,
    DecodeError,
    HyperLogLog,
    KeyExistsError,
    NextId,
    OutcomeUnknown,
    RedisCounter,
    RedisDeque,
    RedisDict,
    RedisList,
    RedisSet,
    RedisSimpleQueue,
    Redlock,
    redis_cache,
    synchronize,
)
from pottery.cache import AIOCachedFunction, CachedFunction, CacheInfo

client = Redis()


def sets(s: RedisSet[str], numbers: RedisSet[int]) -> None:
    assert_type(RedisSet("abc", redis=client, key="s"), RedisSet[str])
    assert_type(s.add("x"), None)
    assert_type(s.pop(), str)
    assert_type("x" in s, bool)
    assert_type(len(s), int)
    assert_type(iter(s), Iterator[str])
    assert_type(s.contains_many("x", 1), list[bool])
    assert_type(s.union({"x"}), set[str])
    assert_type(s.to_set(), set[str])
    assert_type(s | {1}, RedisSet[str | int])
    assert_type(s & {1}, RedisSet[str])
    assert_type(s - numbers, RedisSet[str])
    assert_type(s <= {"x"}, bool)
    assert_type(s.issubset(["x"]), bool)
    assert_type(s.copy(), RedisSet[str])
    s |= {"y"}
    s &= {"y", 1}
    s.add(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    as_abc: MutableSet[str] = s
    as_abc.discard("x")


async def asynchronous_sets(s: AIORedisSet[str]) -> None:
    assert_type(await AIORedisSet.create("abc", redis=client, key="s"), AIORedisSet[str])
    await assert_type(s.add("x"), Coroutine[Any, Any, None])
    assert_type(await s.add("x"), None)
    assert_type(await s.pop(), str)
    assert_type(await s.has("x"), bool)
    assert_type(await s.size(), int)
    assert_type(await s.contains_many("x", 1), list[bool])
    assert_type(await s.union({"x"}), set[str])
    assert_type(await s.copy(), AIORedisSet[str])
    assert_type(s.__aiter__(), AsyncIterator[str])
    assert_type([x async for x in s], list[str])
    await s.add(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    s.add("forgotten")  # type: ignore[unused-coroutine] # pyright: ignore[reportUnusedCoroutine]
    assert_type(await s.equals({"x"}), bool)
    async with s as same:
        assert_type(same, AIORedisSet[str])
    await s.update(s, ["x"], {"y"})
    len(s)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    "x" in s  # type: ignore[operator] # pyright: ignore[reportOperatorIssue]
    [*s]  # type: ignore[misc] # pyright: ignore[reportGeneralTypeIssues]
    _ = not s  # pyright: ignore[reportGeneralTypeIssues]


async def asynchronous_lists(items: AIORedisList[int], numbers: AIORedisSet[int]) -> None:
    assert_type(await AIORedisList.create([1], redis=client, key="l"), AIORedisList[int])
    assert_type(AIORedisList[int](redis=client), AIORedisList[int])
    assert_type(await items.fetch(0), int)
    assert_type(await items.set(0, 1), None)
    assert_type(await items.delete(0), None)
    assert_type(await items.slice(1, None), list[int])
    assert_type(await items.set_slice(0, 2, [1, 2], step=1), None)
    assert_type(await items.delete_slice(None, 2), None)
    assert_type(await items.pop(), int)
    assert_type(await items.has(1), bool)
    assert_type(await items.size(), int)
    assert_type(await items.equals([1]), bool)
    assert_type(await items.to_list(), list[int])
    assert_type(await items.copy(), AIORedisList[int])
    assert_type([x async for x in items], list[int])
    assert_type([x async for x in items.reversed()], list[int])
    await items.sort(key=str, reverse=True)
    await items.extend(numbers)
    await items.repeat(2)
    await items.append("x")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await items.set(0, "x")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    items.append(1)  # type: ignore[unused-coroutine] # pyright: ignore[reportUnusedCoroutine]
    items.copy()  # type: ignore[unused-coroutine] # pyright: ignore[reportUnusedCoroutine]


async def asynchronous_deques(items: AIORedisDeque[int]) -> None:
    assert_type(await AIORedisDeque.create([1], 5, redis=client, key="d"), AIORedisDeque[int])
    assert_type(AIORedisDeque[int](maxlen=5, redis=client, key="d"), AIORedisDeque[int])
    assert_type(items.maxlen, int | None)
    assert_type(await items.popleft(), int)
    assert_type(await items.pop(), int)
    assert_type(await items.fetch(0), int)
    assert_type(await items.rotate(-1), None)
    assert_type(await items.copy(), AIORedisDeque[int])
    await items.extendleft([1, 2])
    await items.appendleft("x")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    items.appendleft(1)  # type: ignore[unused-coroutine] # pyright: ignore[reportUnusedCoroutine]


async def asynchronous_dicts(d: AIORedisDict[str, int], keys: AIORedisList[str]) -> None:
    assert_type(await AIORedisDict.create({"a": 1}, redis=client), AIORedisDict[str, int])
    assert_type(await AIORedisDict.create(d, redis=client), AIORedisDict[str, int])
    assert_type(await AIORedisDict.create(redis=client, a=1), AIORedisDict[str, int])
    assert_type(await AIORedisDict.fromkeys(keys, 1), AIORedisDict[str, Any])
    assert_type(await d.fetch("a"), int)
    assert_type(await d.get("a"), int | None)
    assert_type(await d.get("a", "none"), int | str)
    assert_type(await d.set("a", 1), None)
    assert_type(await d.delete("a"), None)
    assert_type(await d.has("a"), bool)
    assert_type(await d.size(), int)
    assert_type(await d.pop("a"), int)
    assert_type(await d.pop("a", None), int | None)
    assert_type(await d.popitem(), tuple[str, int])
    assert_type(await d.setdefault("a", 1), int)
    assert_type(await d.equals({}), bool)
    assert_type(await d.to_dict(), dict[str, int])
    assert_type(await d.copy(), AIORedisDict[str, int])
    assert_type([key async for key in d], list[str])
    assert_type([key async for key in d.reversed()], list[str])
    assert_type([key async for key in d.keys()], list[str])  # noqa: SIM118
    assert_type([value async for value in d.values()], list[int])
    assert_type([item async for item in d.items()], list[tuple[str, int]])
    await d.update(d)
    await d.update(d.items(), x=1)
    await d.set("a", "x")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    d.get("a")  # type: ignore[unused-coroutine] # pyright: ignore[reportUnusedCoroutine]
    d.set("a", 1)  # type: ignore[unused-coroutine] # pyright: ignore[reportUnusedCoroutine]


async def asynchronous_counters(c: AIORedisCounter[str], words: AIORedisList[str]) -> None:
    assert_type(await AIORedisCounter.create("abc", redis=client), AIORedisCounter[str])
    assert_type(await AIORedisCounter.create(words, redis=client), AIORedisCounter[str])
    assert_type(await c.fetch("a"), int)
    assert_type(await c.most_common(3), list[tuple[str, int]])
    assert_type(list(await c.elements()), list[str])
    assert_type(await c.total(), int)
    assert_type(await c.to_counter(), Counter[str])
    assert_type(await c.copy(), AIORedisCounter[str])
    assert_type(await c.sum(Counter("a")), Counter[str])
    assert_type(await c.difference(c), Counter[str])
    assert_type(await c.union(Counter([1])), Counter[str | int])
    assert_type(await c.intersection(c), Counter[str])
    assert_type(await c.issubset(c), bool)
    assert_type(await c.sum_update(Counter("a")), None)
    await c.update(words)
    await c.update({"a": 1}, b=2)
    await c.subtract(c)
    c.update("abc")  # type: ignore[unused-coroutine] # pyright: ignore[reportUnusedCoroutine]


def lists(items: RedisList[int]) -> None:
    assert_type(RedisList([1], redis=client, key="l"), RedisList[int])
    assert_type(items[0], int)
    assert_type(items[1:], list[int])
    assert_type(items.pop(), int)
    assert_type(items.pop(0), int)
    assert_type(items.index(1), int)
    assert_type(items.to_list(), list[int])
    assert_type(items.copy(), RedisList[int])
    assert_type(items + [1], RedisList[int])
    assert_type(items * 2, RedisList[int])
    assert_type(iter(items), Iterator[int])
    assert_type(reversed(items), Iterator[int])
    assert_type(items < [1], bool)
    items[0] = 1
    items[0:2] = [1, 2]
    del items[0], items[1:]
    items += [1]
    items *= 2
    items.sort(key=str, reverse=True)
    items.append("x")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    as_abc: MutableSequence[int] = items
    as_abc.reverse()


def deques(items: RedisDeque[int]) -> None:
    assert_type(RedisDeque([1], 5, redis=client, key="d"), RedisDeque[int])
    assert_type(items.maxlen, int | None)
    assert_type(items.popleft(), int)
    assert_type(items.pop(), int)
    assert_type(items[0], int)
    assert_type(items.rotate(-1), None)
    assert_type(items.copy(), RedisDeque[int])
    items.extendleft([1, 2])
    items.appendleft("x")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def dicts(d: RedisDict[str, int]) -> None:
    assert_type(RedisDict({"a": 1}, redis=client, key="d"), RedisDict[str, int])
    assert_type(d["a"], int)
    assert_type(d.get("a"), int | None)
    assert_type(d.get("a", "none"), int | str)
    assert_type(d.pop("a"), int)
    assert_type(d.pop("a", None), int | None)
    assert_type(d.popitem(), tuple[str, int])
    assert_type(d.setdefault("a", 1), int)
    assert_type(d.to_dict(), dict[str, int])
    assert_type(d.copy(), RedisDict[str, int])
    assert_type(list(d.items()), list[tuple[str, int]])
    assert_type(list(d.keys()), list[str])
    assert_type(list(d.values()), list[int])
    assert_type("a" in d, bool)
    d["a"] = "x"  # type: ignore[assignment] # pyright: ignore[reportArgumentType]
    as_abc: MutableMapping[str, int] = d
    as_abc.update({"a": 1})


def counters(c: RedisCounter[str]) -> None:
    assert_type(RedisCounter("abc", redis=client, key="c"), RedisCounter[str])
    assert_type(c["a"], int)
    assert_type(c.most_common(3), list[tuple[str, int]])
    assert_type(list(c.elements()), list[str])
    assert_type(c.total(), int)
    assert_type(c.to_counter(), Counter[str])
    assert_type(c + Counter("a"), Counter[str])
    c.update("abc")
    c.subtract({"a": 1})
    c += Counter("a")


def queues(q: RedisSimpleQueue[str]) -> None:
    numbers: RedisSimpleQueue[int] = RedisSimpleQueue(redis=client, key="q")
    assert_type(numbers.get(), int)
    assert_type(q.put("x"), None)
    assert_type(q.put("x", False, 1.5), None)
    assert_type(q.put_nowait("x"), None)
    assert_type(q.get(True, 1.5), str)
    assert_type(q.get(block=True, timeout=None), str)
    assert_type(q.get_nowait(), str)
    assert_type(q.qsize(), int)
    assert_type(q.empty(), bool)
    assert_type(q.clear(), None)
    q.put(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    len(q)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def asynchronous_queues(q: AIORedisSimpleQueue[str]) -> None:
    await assert_type(q.put("x"), Coroutine[Any, Any, None])
    assert_type(await q.get(timeout=1), str)
    assert_type(await q.get_nowait(), str)
    assert_type(await q.qsize(), int)
    assert_type(await q.empty(), bool)
    async with q as same:
        assert_type(same, AIORedisSimpleQueue[str])
    await q.put(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    q.put("forgotten")  # type: ignore[unused-coroutine] # pyright: ignore[reportUnusedCoroutine]


def bloom_filters(f: BloomFilter[str], numbers: BloomFilter[int]) -> None:
    new = BloomFilter("abc", num_elements=100, false_positives=0.01, redis=client, key="f")
    assert_type(new, BloomFilter[str])
    assert_type(f.num_elements, int)
    assert_type(f.false_positives, float)
    assert_type(f.size(), int)
    assert_type(f.num_hashes(), int)
    assert_type(f.add("x"), None)
    assert_type(f.update(["x"], f), None)
    assert_type("x" in f, bool)
    assert_type(f.contains_many("x", 1), list[bool])
    assert_type(len(f), int)
    assert_type(f | numbers, BloomFilter[str | int])
    assert_type(f & numbers, BloomFilter[str])
    assert_type(f <= numbers, bool)
    assert_type(f.issubset(numbers), bool)
    assert_type(f.copy(), BloomFilter[str])
    f |= new
    f &= numbers
    f.add(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    f | {"x"}  # type: ignore[operator] # pyright: ignore[reportOperatorIssue, reportUnusedExpression]
    BloomFilter("abc")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


async def asynchronous_bloom_filters(f: AIOBloomFilter[str]) -> None:
    new = await AIOBloomFilter.create("abc", num_elements=100, false_positives=0.01, redis=client)
    assert_type(new, AIOBloomFilter[str])
    assert_type(f.size(), int)
    assert_type(await f.length(), int)
    assert_type(await f.has("x"), bool)
    assert_type(await f.contains_many("x", 1), list[bool])
    assert_type(await f.update(["x"], new), None)
    assert_type(await f.issubset(new), bool)
    assert_type(await f.equals(new), bool)
    assert_type(await f.intersection(new), AIOBloomFilter[str])
    assert_type(await f.copy(), AIOBloomFilter[str])


def hyperloglogs(h: HyperLogLog[str], numbers: HyperLogLog[int]) -> None:
    assert_type(HyperLogLog("abc", redis=client, key="h"), HyperLogLog[str])
    assert_type(h.add("x"), None)
    assert_type(h.update(["x"], h), None)
    assert_type("x" in h, bool)
    assert_type(h.contains_many("x", 1), list[bool])
    assert_type(len(h), int)
    assert_type(h.union(numbers, redis=client, key="union"), HyperLogLog[str | int])
    assert_type(h.union({1}), HyperLogLog[str | int])
    assert_type(h.copy(), HyperLogLog[str])
    h.add(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def asynchronous_hyperloglogs(h: AIOHyperLogLog[str]) -> None:
    assert_type(await AIOHyperLogLog.create("abc", redis=client), AIOHyperLogLog[str])
    assert_type(await h.has("x"), bool)
    assert_type(await h.size(), int)
    assert_type(await h.contains_many("x", 1), list[bool])
    assert_type(await h.update(["x"], h), None)
    assert_type(await h.union({1}, key="union"), AIOHyperLogLog[str | int])
    assert_type(await h.copy(), AIOHyperLogLog[str])


async def timers() -> None:
    with ContextTimer() as timer:
        assert_type(timer, ContextTimer)
    async with ContextTimer() as timer:
        assert_type(timer.elapsed(), int)


def ids(numbers: NextId) -> None:
    assert_type(NextId(key="k", masters=[client], batch=10), NextId)
    assert_type(next(numbers), int)
    assert_type(iter(numbers), NextId)
    assert_type(numbers.reset(), None)
    assert_type(numbers.masters, frozenset[Any])
    as_iterator: Iterator[int] = numbers
    assert_type(list(zip("ab", as_iterator, strict=False)), list[tuple[str, int]])


async def asynchronous_ids(numbers: AIONextId) -> None:
    assert_type(await anext(numbers), int)
    assert_type(await numbers.reset(), None)
    assert_type([number async for number in numbers], list[int])


def locks(lock: Redlock) -> None:
    assert_type(Redlock(key="k", masters={client}), Redlock)
    assert_type(lock.acquire(), bool)
    assert_type(lock.acquire(False), bool)
    assert_type(lock.acquire(timeout=1, raise_on_redis_errors=True), bool)
    assert_type(lock.locked(), float)
    assert_type(lock.owner(), str | None)
    assert_type(lock.extend(), None)
    assert_type(lock.release(), None)
    assert_type(lock.fencing_token, int | None)
    assert_type(lock.lost, threading.Event)
    with lock as entered:
        assert_type(entered, Redlock)
    Redlock()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


async def asynchronous_locks(lock: AIORedlock) -> None:
    assert_type(await lock.acquire(timeout=1), bool)
    assert_type(await lock.locked(), float)
    assert_type(await lock.owner(), str | None)
    assert_type(await lock.release(), None)
    assert_type(lock.lost, asyncio.Event)
    async with lock as entered:
        assert_type(entered, AIORedlock)


@synchronize(key="k", masters={client})
def synchronized(number: int, *, text: str = "") -> str:
    return text * number


@synchronize(key="k", timeout=1, auto_renew=True)
async def asynchronously_synchronized(number: int) -> str:
    return str(number)


async def synchronized_functions() -> None:
    assert_type(synchronized(1, text="x"), str)
    assert_type(await asynchronously_synchronized(1), str)
    synchronized("1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def errors(exists: KeyExistsError, broken: DecodeError, unknown: OutcomeUnknown) -> None:
    assert_type(exists.key, str | bytes | None)
    assert_type(broken.raw, bytes)
    assert_type(unknown.command, str)


@redis_cache
def price(item: str, amount: int = 1, *, unit: str = "kg") -> float:
    return len(item) * amount / len(unit)


@redis_cache(redis=client, key="k", timeout=None, ttl=5, single_flight=True, on_error="compute")
async def size(item: str) -> int:
    return len(item)


def key_of(shop: Shop, item: str) -> list[str]:
    return [type(shop).__name__, item]


class Shop:
    @redis_cache(make_key=key_of)
    def price(self, item: str) -> float:
        return float(len(item))

    @redis_cache
    async def size(self, item: str) -> int:
        return len(item)

    @staticmethod
    @redis_cache
    def tax(amount: int) -> float:
        return amount / 5


def cached_functions(shop: Shop) -> None:
    assert_type(price("pear", 2, unit="g"), float)
    assert_type(price.__bypass__("pear"), float)
    assert_type(price.__wrapped__("pear"), float)
    assert_type(price.invalidate("pear", amount=1), None)
    assert_type(price.cache_info(), CacheInfo)
    assert_type(price.cache_info().currsize, int)
    assert_type(price.cache_clear(), None)
    assert_type(price.cache_parameters(), dict[str, Any])
    price(5)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    price.invalidate()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    assert_type(shop.price("pear"), float)
    assert_type(shop.price.__bypass__("pear"), float)
    assert_type(shop.price.invalidate("pear"), None)
    assert_type(Shop.price(shop, "pear"), float)
    assert_type(Shop.price.cache_info(), CacheInfo)
    assert_type(Shop.tax(5), float)
    shop.price(5)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    redis_cache(on_error="ignore")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    assert_type(redis_cache(len_of), CachedFunction[[str], int])
    assert_type(redis_cache(key="k")(len_of), CachedFunction[[str], int])


def len_of(text: str, /) -> int:
    return len(text)


async def awaited(text: str, /) -> int:
    return len(text)


async def awaited_functions(shop: Shop) -> None:
    assert_type(await size("pear"), int)
    assert_type(await size.__bypass__("pear"), int)
    assert_type(await size.__wrapped__("pear"), int)
    assert_type(await size.cache_info(), CacheInfo)
    assert_type(await size.cache_clear(), None)
    assert_type(await size.invalidate("pear"), None)
    assert_type(await shop.size("pear"), int)
    assert_type(await shop.size.invalidate("pear"), None)
    assert_type(redis_cache(awaited), AIOCachedFunction[[str], int])
    assert_type(redis_cache(key="k")(awaited), AIOCachedFunction[[str], int])
    size("x")  # type: ignore[unused-coroutine] # pyright: ignore[reportUnusedCoroutine]


def cached_ordered_dicts(results: CachedOrderedDict[int, str]) -> None:
    assert_type(results.misses(), frozenset[int])
    assert_type(results[1], str)
    assert_type(results.get(1), str | None)
    assert_type(results.pop(1), str)
    assert_type(results.pop(1, None), str | None)
    assert_type(results.popitem(), tuple[int, str])
    assert_type(results.setdefault(1, "one"), str)
    assert_type(results.copy(), CachedOrderedDict[int, str])
    assert_type(list(results.items()), list[tuple[int, str]])
    results.update({1: "one"})
    results.update([(1, "one")])
    results |= {2: "two"}
    results[1] = 1  # type: ignore[assignment] # pyright: ignore[reportArgumentType]
    new: CachedOrderedDict[str, int] = CachedOrderedDict(
        redis_client=client, redis_key="k", dict_keys="abc", timeout=None
    )
    new.update(a=1)
    as_stdlib: OrderedDict[str, int] = new
    as_stdlib.move_to_end("a", last=False)


async def asynchronous_cached_ordered_dicts(results: AIOCachedOrderedDict[int, str]) -> None:
    new = await AIOCachedOrderedDict.create([1], redis_client=client, redis_key="k")
    assert_type(new, AIOCachedOrderedDict[int, Any])
    assert_type(new.misses(), frozenset[int])
    assert_type(results[1], str)
    assert_type(results.pop(1), str)
    assert_type(await results.setdefault(1, "one"), str)
    assert_type(await results.set(1, "one"), None)
    assert_type(await results.update({1: "one"}), None)
    assert_type(results.copy(), AIOCachedOrderedDict[int, str])
    results.set(1, "x")  # type: ignore[unused-coroutine] # pyright: ignore[reportUnusedCoroutine]
