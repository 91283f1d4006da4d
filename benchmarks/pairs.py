"""What is compared: an operation of pottery, and the redis-py code one would write in its place.

That code takes the fewest round trips, decodes in bulk, and uses a prepared JSON encoder. It does
without what pottery adds: it sends again what was lost, believes that what it reads is whole JSON,
and leaves a connection out of step when it is interrupted.
"""

from __future__ import annotations

from asyncio import gather
from collections import Counter, OrderedDict
from itertools import repeat
from json import JSONDecoder, JSONEncoder, loads
from typing import TYPE_CHECKING, NamedTuple

import mmh3

from pottery import (
    AIORedisDict,
    AIORedisList,
    BloomFilter,
    CachedOrderedDict,
    HyperLogLog,
    RedisCounter,
    RedisDeque,
    RedisDict,
    RedisList,
    RedisSet,
    RedisSimpleQueue,
    redis_cache,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis
    from redis import asyncio as asynchronous

encode = JSONEncoder(sort_keys=True).encode
decode = JSONDecoder().decode


class Pair(NamedTuple):
    """Two ways to do the same, both awaited or neither, and how often each is done in a row."""

    name: str
    pottery: Callable[[], object]
    by_hand: Callable[[], object]
    repeat: int = 200
    times_itself: bool = False


def decode_all(raws: list[bytes]) -> list[object]:
    return loads(b"[" + b",".join(raws) + b"]")


def decode_each(raws: list[bytes | None]) -> list[object]:
    return [None if raw is None else decode(raw.decode()) for raw in raws]


def all_pairs(redis: Redis) -> Iterator[Pair]:
    yield from dict_pairs(redis)
    yield from set_pairs(redis)
    yield from list_pairs(redis)
    yield from deque_pairs(redis)
    yield from counter_pairs(redis)
    yield from bloom_pairs(redis)
    yield from hyperloglog_pairs(redis)
    yield from cache_pairs(redis)
    yield from queue_pairs(redis)


def dict_pairs(redis: Redis) -> Iterator[Pair]:
    d = RedisDict({"a": 1, "b": 2}, redis=redis, key="dict")
    yield Pair("d[k]", lambda: d["a"], lambda: decode(redis.hget("dict", encode("a")).decode()))
    yield Pair(
        "d[k] = v",
        lambda: d.__setitem__("a", 3),
        lambda: redis.hset("dict", encode("a"), encode(3)),
    )
    yield Pair("k in d", lambda: "a" in d, lambda: redis.hexists("dict", encode("a")))
    yield Pair("len(d)", lambda: len(d), lambda: redis.hlen("dict"))
    thousand = {f"key {n}": n for n in range(1000)}
    big = RedisDict(thousand, redis=redis, key="big dict")
    yield Pair(
        "d.update, 1000",
        lambda: big.update(thousand),
        lambda: redis.hset("big dict", mapping={encode(k): encode(v) for k, v in thousand.items()}),
        repeat=3,
    )

    def items() -> dict[object, object]:
        raws = redis.hgetall("big dict")
        return dict(zip(decode_all(list(raws)), decode_all(list(raws.values())), strict=True))

    yield Pair("d.to_dict(), 1000", big.to_dict, items, repeat=3)


def set_pairs(redis: Redis) -> Iterator[Pair]:
    s = RedisSet("abc", redis=redis, key="set")
    yield Pair("s.add", lambda: s.add("a"), lambda: redis.sadd("set", encode("a")))
    yield Pair("x in s", lambda: "a" in s, lambda: redis.sismember("set", encode("a")))
    thousand = [f"item {n}" for n in range(1000)]
    big = RedisSet(thousand, redis=redis, key="big set")
    yield Pair(
        "s.contains_many, 1000",
        lambda: big.contains_many(*thousand),
        lambda: list(map(bool, redis.smismember("big set", [encode(x) for x in thousand]))),
        repeat=3,
    )
    yield Pair("set(s), 1000", big.to_set, lambda: set(decode_all([*redis.smembers("big set")])), 3)


def list_pairs(redis: Redis) -> Iterator[Pair]:
    items = RedisList([1, 2, 3], redis=redis, key="list")
    yield Pair("l[0]", lambda: items[0], lambda: decode(redis.lindex("list", 0).decode()))
    yield Pair(
        "l.append and l.pop",
        lambda: (items.append(1), items.pop()),
        lambda: (redis.rpush("list", encode(1)), decode(redis.rpop("list").decode())),
    )
    big = RedisList(range(10_000), redis=redis, key="big list")
    yield Pair("list(l), 10 000", lambda: list(big), lambda: everything(redis), repeat=3)
    yield Pair("list(l), 10 000, paged", lambda: list(big), lambda: in_pages(redis), repeat=3)
    yield Pair("l[:100]", lambda: big[:100], lambda: decode_all(redis.lrange("big list", 0, 99)))


def everything(redis: Redis) -> list[object]:
    return decode_all(redis.lrange("big list", 0, -1))


def in_pages(redis: Redis) -> list[object]:
    found: list[object] = []
    while page := redis.lrange("big list", len(found), len(found) + 999):
        found += decode_all(page)
    return found


def deque_pairs(redis: Redis) -> Iterator[Pair]:
    d = RedisDeque("abc", redis=redis, key="deque")
    yield Pair(
        "d.appendleft and d.popleft",
        lambda: (d.appendleft("x"), d.popleft()),
        lambda: (redis.lpush("deque", encode("x")), decode(redis.lpop("deque").decode())),
    )
    yield Pair(
        "d.rotate()",
        d.rotate,
        lambda: redis.lmove("deque", "deque", "RIGHT", "LEFT"),
    )


def counter_pairs(redis: Redis) -> Iterator[Pair]:
    c = RedisCounter("abc", redis=redis, key="counter")
    yield Pair(
        "c.update([k])",
        lambda: c.update(["a"]),
        lambda: redis.hincrby("counter", encode("a"), 1),
    )
    thousand = Counter({f"word {n}": 1 for n in range(1000)})
    big = RedisCounter(thousand, redis=redis, key="big counter")

    def add() -> None:
        with redis.pipeline(transaction=True) as pipe:
            for word, count in thousand.items():
                pipe.hincrby("big counter", encode(word), count)
            pipe.execute()

    yield Pair("c.update, 1000", lambda: big.update(thousand), add, repeat=1)


def bloom_pairs(redis: Redis) -> Iterator[Pair]:
    """Of a filter for a million elements, half of them there."""
    f = BloomFilter(num_elements=10**6, false_positives=0.01, redis=redis, key="bloom")
    f.update(f"item {n}" for n in range(0, 10**6, 2))
    size, seeds = f.size(), range(f.num_hashes())

    def bits(item: str) -> list[int]:
        text = encode(item)
        return [mmh3.hash(text, seed) % size for seed in seeds]

    def add() -> None:
        field = redis.bitfield("bloom")
        for bit in bits("item 0"):
            field.set("u1", bit, 1)
        field.execute()

    def has() -> bool:
        getting = [word for bit in bits("item 0") for word in ("GET", "u1", bit)]
        return all(redis.execute_command("BITFIELD_RO", "bloom", *getting))

    yield Pair("f.add", lambda: f.add("item 0"), add)
    yield Pair("x in f", lambda: "item 0" in f, has)
    many = [f"item {n}" for n in range(10_000)]

    def contains_many() -> list[bool]:
        bitmap = redis.get("bloom")
        found = (all(bitmap[bit >> 3] & 128 >> (bit & 7) for bit in bits(item)) for item in many)
        return list(found)

    def update() -> None:
        bitmap = bytearray(size // 8 + 1)
        texts = list(map(encode, many))
        for seed in seeds:
            for value in map(mmh3.hash, texts, repeat(seed)):
                bit = value % size
                bitmap[bit >> 3] |= 128 >> (bit & 7)
        with redis.pipeline(transaction=True) as pipe:
            pipe.set("bloom~new", bytes(bitmap)).bitop("OR", "bloom", "bloom", "bloom~new")
            pipe.unlink("bloom~new").execute()

    yield Pair("f.contains_many, 10 000", lambda: f.contains_many(*many), contains_many, repeat=1)
    yield Pair("f.update, 10 000", lambda: f.update(many), update, repeat=1)


def hyperloglog_pairs(redis: Redis) -> Iterator[Pair]:
    many = [f"item {n}" for n in range(10_000)]
    h = HyperLogLog(many, redis=redis, key="hyperloglog")
    yield Pair("h.add", lambda: h.add("a"), lambda: redis.pfadd("hyperloglog", encode("a")))
    yield Pair("len(h)", lambda: len(h), lambda: redis.pfcount("hyperloglog"))
    yield Pair(
        "h.update, 10 000",
        lambda: h.update(many),
        lambda: redis.pfadd("hyperloglog", *map(encode, many)),
        repeat=3,
    )


def asynchronous_pairs(redis: Redis, client: asynchronous.Redis) -> Iterator[Pair]:
    thousand = {f"key {n}": n for n in range(1000)}
    RedisDict(thousand, redis=redis, key="aio dict")
    d, items = (
        AIORedisDict(redis=client, key="aio dict"),
        AIORedisList(redis=client, key="aio list"),
    )

    async def get() -> object:
        return await d.get("key 5")

    async def get_by_hand() -> object:
        return decode((await client.hget("aio dict", encode("key 5"))).decode())

    async def put() -> None:
        await d.set("key 5", 5)

    async def put_by_hand() -> None:
        await client.hset("aio dict", encode("key 5"), encode(5))

    async def push_and_pop() -> object:
        await items.append(1)
        return await items.pop()

    async def push_and_pop_by_hand() -> object:
        await client.rpush("aio list", encode(1))
        return decode((await client.rpop("aio list")).decode())

    async def fifty() -> object:
        return await gather(*[get() for _ in range(50)])

    async def fifty_by_hand() -> object:
        return await gather(*[get_by_hand() for _ in range(50)])

    async def everything_by_hand() -> object:
        raws = await client.hgetall("aio dict")
        return dict(zip(decode_all(list(raws)), decode_all(list(raws.values())), strict=True))

    yield Pair("await d.get(k)", get, get_by_hand)
    yield Pair("await d.set(k, v)", put, put_by_hand)
    yield Pair("await l.append and l.pop", push_and_pop, push_and_pop_by_hand)
    yield Pair("await d.get(k), 50 at once", fifty, fifty_by_hand, repeat=4)
    yield Pair("await d.to_dict(), 1000", d.to_dict, everything_by_hand, repeat=3)


def cache_pairs(redis: Redis) -> Iterator[Pair]:
    @redis_cache(redis=redis, key="cache")
    def price(item: str, amount: int) -> int:
        return len(item) * amount

    def look_up(item: str, amount: int) -> bytes | None:
        with redis.pipeline(transaction=False) as pipe:
            pipe.hget("cache by hand", encode([item, amount]))
            pipe.expire("cache by hand", 60)
            return pipe.execute()[0]

    def keep(item: str, amount: int) -> None:
        with redis.pipeline(transaction=False) as pipe:
            pipe.hset("cache by hand", encode([item, amount]), encode(len(item) * amount))
            pipe.expire("cache by hand", 60)
            pipe.execute()

    price("pear", 3)
    keep("pear", 3)
    yield Pair(
        "redis_cache, hit", lambda: price("pear", 3), lambda: decode(look_up("pear", 3).decode())
    )
    yield Pair(
        "redis_cache, miss",
        lambda: (price.invalidate("plum", 3), price("plum", 3)),
        lambda: (
            redis.hdel("cache by hand", encode(["plum", 3])),
            look_up("plum", 3) or keep("plum", 3),
        ),
    )

    thousand = {f"key {n}": f"value {n}" for n in range(1000)}
    made = CachedOrderedDict(redis_client=redis, redis_key="ordered")
    made.update(thousand)

    def look_all_up(read: Callable[[list[bytes]], list[object]]) -> OrderedDict[str, object]:
        with redis.pipeline(transaction=False) as pipe:
            pipe.hmget("ordered", [encode(key) for key in thousand])
            pipe.expire("ordered", 60)
            return OrderedDict(zip(thousand, read(pipe.execute()[0]), strict=True))

    def fill() -> None:
        with redis.pipeline(transaction=False) as pipe:
            pipe.hset("ordered", mapping={encode(k): encode(v) for k, v in thousand.items()})
            pipe.expire("ordered", 60)
            pipe.execute()

    def make() -> CachedOrderedDict[str, object]:
        return CachedOrderedDict(redis_client=redis, redis_key="ordered", dict_keys=thousand)

    # What may have misses is decoded one by one, if by hand; in bulk if it is known to have none.
    yield Pair("CachedOrderedDict, 1000", make, lambda: look_all_up(decode_each), repeat=3)
    yield Pair("the same, all hits", make, lambda: look_all_up(decode_all), repeat=3)
    yield Pair("its update, 1000", lambda: made.update(thousand), fill, repeat=3)


def queue_pairs(redis: Redis) -> Iterator[Pair]:
    """Of an empty queue, and of a long one."""
    q = RedisSimpleQueue(redis=redis, key="queue")
    full = RedisSimpleQueue(redis=redis, key="long queue")
    with redis.pipeline(transaction=False) as pipe:
        for _ in range(30_000):
            pipe.xadd("long queue", {"item": encode("x")}).rpush("long list", encode("x"))
        pipe.execute()

    def put_by_hand() -> None:
        redis.rpush("list", encode("x"))

    def get_by_hand() -> object:
        return decode(redis.lpop("list").decode())

    yield Pair(
        "q.put and q.get",
        lambda: (q.put("x"), q.get()),
        lambda: (put_by_hand(), get_by_hand()),
    )
    yield Pair("q.put", lambda: full.put("x"), lambda: redis.rpush("long list", encode("x")))
    yield Pair("q.get", full.get, lambda: decode(redis.lpop("long list").decode()))
    yield Pair("q.qsize()", full.qsize, lambda: redis.llen("long list"))
