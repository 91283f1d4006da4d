"""pottery: this one and, in an environment of its own, pottery 3.0.1, which has the same names."""

from __future__ import annotations

from collections import Counter
from functools import partial

from data import HALF, ITEMS, KEYS, LONG, NUMBERS, THOUSAND, drain
from redis import Redis

from pottery import (
    BloomFilter,
    CachedOrderedDict,
    HyperLogLog,
    RedisCounter,
    RedisDeque,
    RedisDict,
    RedisList,
    RedisSet,
    RedisSimpleQueue,
    Redlock,
    redis_cache,
)

try:
    from pottery import NextId
except ImportError:  # as pottery 3.0.1 calls it
    from pottery import NextID as NextId


def ways(urls):
    redis = Redis.from_url(urls[0])
    masters = [Redis.from_url(url) for url in urls]
    return {
        **dicts(redis),
        **sets(redis),
        **lists(redis),
        **deques(redis),
        **counters(redis),
        **filters(redis),
        **caches(redis),
        **quorums(masters),
    }


def dicts(redis):
    d = RedisDict({"a": 1}, redis=redis, key="dict")
    big = RedisDict(THOUSAND, redis=redis, key="big dict")
    more = RedisDict(redis=redis, key="more dict")
    long = RedisDict(LONG, redis=redis, key="long dict")
    return {
        "dict: d[k]": lambda: d["a"],
        "dict: d.get(k)": lambda: d.get("a"),
        "dict: d[k] = v": lambda: d.__setitem__("a", 3),
        "dict: k in d": lambda: "a" in d,
        "dict: len(d)": lambda: len(d),
        "dict: d[k] = v, del d[k]": lambda: (d.__setitem__("x", 1), d.__delitem__("x")),
        "dict: d[k] = v, d.pop(k)": lambda: (d.__setitem__("x", 1), d.pop("x")),
        "dict: d[k] = v, d.popitem()": lambda: (d.__setitem__("x", 1), d.popitem()),
        "dict: d.setdefault(k, v), there": lambda: d.setdefault("a", 5),
        "dict: d.setdefault(k, v), del d[k]": lambda: (d.setdefault("y", 1), d.__delitem__("y")),
        "dict: d.update, 1000": lambda: more.update(THOUSAND),
        "dict: d.to_dict(), 1000": lambda: big.to_dict(),
        "dict: list(d.keys()), 1000": lambda: list(iter(big.keys())),
        "dict: list(d.values()), 1000": lambda: list(iter(big.values())),
        "dict: list(d.items()), 1000": lambda: list(iter(big.items())),
        "dict: d == dict, 1000": lambda: big == THOUSAND,
        "dict: d.copy(), 1000": lambda: big.copy(),
        "dict: d | dict, 1000": lambda: big | {"x": 1},
        "dict: iter(d.items()), 10 000": lambda: drain(long.items()),
    }


def sets(redis):
    s = RedisSet("abc", redis=redis, key="set")
    big = RedisSet(KEYS, redis=redis, key="big set")
    half = RedisSet(HALF, redis=redis, key="half set")
    more = RedisSet(redis=redis, key="more set")
    long = RedisSet(LONG, redis=redis, key="long set")
    keys, other = set(KEYS), set(HALF)
    return {
        "set: s.add(x)": lambda: s.add("a"),
        "set: x in s": lambda: "a" in s,
        "set: len(s)": lambda: len(s),
        "set: s.add(x), s.pop()": lambda: (s.add("x"), s.pop()),
        "set: s.add(x), s.discard(x)": lambda: (s.add("x"), s.discard("x")),
        "set: s.add(x), s.remove(x)": lambda: (s.add("x"), s.remove("x")),
        "set: s.update, 1000": lambda: more.update(KEYS),
        "set: s.to_set(), 1000": lambda: big.to_set(),
        "set: s.contains_many, 1000": lambda: list(big.contains_many(*HALF)),
        "set: s == set, 1000": lambda: big == keys,
        "set: s.copy(), 1000": lambda: big.copy(),
        "set: s.union(set), 1000": lambda: big.union(other),
        "set: s.intersection(set), 1000": lambda: big.intersection(other),
        "set: s.difference(set), 1000": lambda: big.difference(other),
        "set: s.intersection(s2), 1000": lambda: big.intersection(half),
        "set: s.difference(s2), 1000": lambda: big.difference(half),
        "set: s <= s2, 1000": lambda: big <= half,
        "set: iter(s), 10 000": lambda: drain(long),
    }


def lists(redis):
    big = RedisList(NUMBERS, redis=redis, key="big list")
    names = RedisList(KEYS, redis=redis, key="list of names")
    more = RedisList(redis=redis, key="more list")
    long = RedisList(range(10_000), redis=redis, key="long list")
    sorting = RedisList(NUMBERS[::-1], redis=redis, key="sorted list")
    hundred = NUMBERS[:100]

    def sort():
        sorting.sort(reverse=sorting[0] == 0)

    return {
        "list: l[0]": lambda: big[0],
        "list: l[500]": lambda: big[500],
        "list: l[500] = x": lambda: big.__setitem__(500, 7),
        "list: len(l)": lambda: len(big),
        "list: l.append(x), l.pop()": lambda: (big.append(1), big.pop()),
        "list: l[:100]": lambda: big[:100],
        "list: l[450:550] = 100": lambda: big.__setitem__(slice(450, 550), hundred),
        "list: l.insert(500, x), del l[500]": lambda: (
            names.insert(500, "x"),
            names.__delitem__(500),
        ),
        "list: l.append(x), l.remove(x)": lambda: (names.append("x"), names.remove("x")),
        "list: l.index(x), of 1000": lambda: names.index("key 500"),
        "list: x in l, of 1000": lambda: "key 500" in names,
        "list: l.count(x), of 1000": lambda: names.count("key 500"),
        "list: l.reverse(), of 1000": lambda: big.reverse(),
        "list: l.extend, 1000": lambda: (more.extend(NUMBERS), more.clear()),
        "list: list(l), 1000": lambda: list(big),
        "list: l == list, 1000": lambda: big == NUMBERS,
        "list: l.copy(), 1000": lambda: big.copy(),
        "list: l.sort(), 1000": sort,
        "list: iter(l), 10 000": lambda: drain(long),
    }


def deques(redis):
    d = RedisDeque("abc", redis=redis, key="deque")
    full = RedisDeque(range(100), maxlen=100, redis=redis, key="full deque")
    big = RedisDeque(NUMBERS, redis=redis, key="big deque")
    long = RedisDeque(range(10_000), redis=redis, key="long deque")
    return {
        "deque: d.append(x), d.pop()": lambda: (d.append("x"), d.pop()),
        "deque: d.appendleft(x), d.popleft()": lambda: (d.appendleft("x"), d.popleft()),
        "deque: d[-1]": lambda: d[-1],
        "deque: d.append(x), full": lambda: full.append(1),
        "deque: d.rotate()": lambda: d.rotate(),
        "deque: d.rotate(100), of 1000": lambda: big.rotate(100),
        "deque: list(d), 1000": lambda: list(big),
        "deque: iter(d), 10 000": lambda: drain(long),
    }


def counters(redis):
    c = RedisCounter("abc", redis=redis, key="counter")
    big = RedisCounter(THOUSAND, redis=redis, key="big counter")
    more = RedisCounter(THOUSAND, redis=redis, key="more counter")
    counts = Counter(THOUSAND)
    return {
        "counter: c[k]": lambda: c["a"],
        "counter: c.update([k])": lambda: c.update(["a"]),
        "counter: c.update, 1000": lambda: more.update(counts),
        "counter: c.subtract, 1000": lambda: more.subtract(counts),
        "counter: c + Counter, 1000": lambda: big + counts,
        "counter: c += Counter, 1000": lambda: more.__iadd__(counts),
        "counter: c.most_common(10), 1000": lambda: big.most_common(10),
        "counter: c.total(), 1000": lambda: big.total(),
    }


def filters(redis):
    h = HyperLogLog(ITEMS, redis=redis, key="hyperloglog")
    f = BloomFilter(num_elements=10**6, false_positives=0.01, redis=redis, key="bloom")
    f.update(ITEMS[::2])
    f.add("the last bit")
    return {
        "hyperloglog: h.add(x)": lambda: h.add("a"),
        "hyperloglog: len(h)": lambda: len(h),
        "hyperloglog: x in h": lambda: "item 5" in h,
        "hyperloglog: h.update, 10 000": lambda: h.update(ITEMS),
        "bloom: f.add(x)": lambda: f.add("item 0"),
        "bloom: x in f": lambda: "item 0" in f,
        "bloom: f.contains_many, 10 000": lambda: list(f.contains_many(*ITEMS)),
        "bloom: f.update, 10 000": lambda: f.update(ITEMS),
    }


def caches(redis):
    @redis_cache(redis=redis, key="cache")
    def price(item, amount):
        return len(item) * amount

    price("pear", 3)
    made = CachedOrderedDict(redis_client=redis, redis_key="ordered")
    made.update(THOUSAND)
    q = RedisSimpleQueue(redis=redis, key="queue")

    def miss():
        price.invalidate("plum", 3)
        price("plum", 3)

    return {
        "cache: redis_cache, hit": lambda: price("pear", 3),
        "cache: redis_cache, miss": miss,
        "cache: CachedOrderedDict, 1000": lambda: CachedOrderedDict(
            redis_client=redis, redis_key="ordered", dict_keys=KEYS
        ),
        "cache: its update, 1000": lambda: made.update(THOUSAND),
        "queue: q.put(x), q.get()": lambda: (q.put("x"), q.get()),
        "queue: q.qsize()": lambda: q.qsize(),
    }


def quorums(masters):
    def acquire_and_release(lock):
        lock.acquire()
        lock.release()

    one, five = (Redlock(key="lock", masters=some) for some in (masters[:1], masters))
    return {
        "lock: acquire, release, 1 master": partial(acquire_and_release, one),
        "lock: acquire, release, 5 masters": partial(acquire_and_release, five),
        "ids: next(ids), 1 master": partial(next, NextId(key="one", masters=masters[:1])),
        "ids: next(ids), 5 masters": partial(next, NextId(key="five", masters=masters)),
    }
