"""walrus: containers of bytes, whose decoding is left to the caller."""

from __future__ import annotations

from data import ITEMS, KEYS, LONG, NUMBERS, THOUSAND, drain
from walrus import Database


def ways(urls):
    db = Database.from_url(urls[0])
    return {**dicts(db), **sets(db), **lists(db), **others(db)}


def dicts(db):
    d, big, more, long = map(db.Hash, ("dict", "big dict", "more dict", "long dict"))
    d.update(a=1)
    big.update(THOUSAND)
    long.update(LONG)
    return {
        "dict: d[k]": lambda: d["a"],
        "dict: d.get(k)": lambda: d.get("a"),
        "dict: d[k] = v": lambda: d.__setitem__("a", 3),
        "dict: k in d": lambda: "a" in d,
        "dict: len(d)": lambda: len(d),
        "dict: d[k] = v, del d[k]": lambda: (d.__setitem__("x", 1), d.__delitem__("x")),
        "dict: d.update, 1000": lambda: more.update(THOUSAND),
        "dict: d.to_dict(), 1000": big.as_dict,
        "dict: list(d.keys()), 1000": lambda: list(big.keys()),
        "dict: list(d.values()), 1000": lambda: list(big.values()),
        "dict: list(d.items()), 1000": lambda: list(big.items()),
        "dict: iter(d.items()), 10 000": lambda: drain(long.items()),
        "counter: c.update([k])": lambda: d.incr("a"),
    }


def sets(db):
    s, big, half, more, long = map(db.Set, ("set", "big set", "half set", "more set", "long set"))
    s.add(*"abc")
    big.add(*KEYS)
    half.add(*KEYS[::2])
    long.add(*LONG)
    return {
        "set: s.add(x)": lambda: s.add("a"),
        "set: x in s": lambda: "a" in s,
        "set: len(s)": lambda: len(s),
        "set: s.add(x), s.pop()": lambda: (s.add("x"), s.pop()),
        "set: s.add(x), s.remove(x)": lambda: (s.add("x"), s.remove("x")),
        "set: s.update, 1000": lambda: more.add(*KEYS),
        "set: s.to_set(), 1000": big.members,
        "set: s.intersection(s2), 1000": lambda: big & half,
        "set: s.difference(s2), 1000": lambda: big - half,
        "set: iter(s), 10 000": lambda: drain(long),
    }


def lists(db):
    big, more, long = map(db.List, ("big list", "more list", "long list"))
    big.extend(NUMBERS)
    long.extend(range(10_000))
    return {
        "list: l[0]": lambda: big[0],
        "list: l[500]": lambda: big[500],
        "list: l[500] = x": lambda: big.__setitem__(500, 7),
        "list: len(l)": lambda: len(big),
        "list: l.append(x), l.pop()": lambda: (big.append(1), big.popright()),
        "list: l[:100]": lambda: big[:100],
        "list: l.extend, 1000": lambda: (more.extend(NUMBERS), more.clear()),
        "list: list(l), 1000": lambda: list(big),
        "list: iter(l), 10 000": lambda: drain(long),
        "deque: d.appendleft(x), d.popleft()": lambda: (big.prepend("x"), big.popleft()),
    }


def others(db):
    h = db.HyperLogLog("hyperloglog")
    h.add(*ITEMS)
    f = db.bloom_filter("bloom", size=2**20)
    cache = db.cache()
    cache.set("pear", 12, 60)
    lock = db.lock("lock", ttl=10_000)
    return {
        "hyperloglog: h.add(x)": lambda: h.add("a"),
        "hyperloglog: len(h)": lambda: len(h),
        "hyperloglog: h.update, 10 000": lambda: h.add(*ITEMS),
        "bloom: f.add(x)": lambda: f.add("item 0"),
        "bloom: x in f": lambda: "item 0" in f,
        "cache: redis_cache, hit": lambda: cache.get("pear"),
        "lock: acquire, release, 1 master": lambda: (lock.acquire(), lock.release()),
    }
