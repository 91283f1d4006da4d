"""redis-collections: containers whose elements are pickled."""

from __future__ import annotations

from collections import Counter as Counts

from data import HALF, KEYS, LONG, NUMBERS, THOUSAND, drain
from redis import Redis
from redis_collections import Counter, Deque, Dict, List, Set


def ways(urls):
    redis = Redis.from_url(urls[0])
    return {**dicts(redis), **sets(redis), **lists(redis), **deques(redis), **counters(redis)}


def dicts(redis):
    d = Dict({"a": 1}, redis=redis, key="dict")
    big = Dict(THOUSAND, redis=redis, key="big dict")
    more = Dict(redis=redis, key="more dict")
    long = Dict(LONG, redis=redis, key="long dict")
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
        "dict: d.to_dict(), 1000": lambda: dict(big.items()),
        "dict: list(d.keys()), 1000": lambda: list(big.keys()),
        "dict: list(d.values()), 1000": lambda: list(big.values()),
        "dict: list(d.items()), 1000": lambda: list(big.items()),
        "dict: d == dict, 1000": lambda: big == THOUSAND,
        "dict: d.copy(), 1000": big.copy,
        "dict: iter(d.items()), 10 000": lambda: drain(long.items()),
    }


def sets(redis):
    s = Set("abc", redis=redis, key="set")
    big = Set(KEYS, redis=redis, key="big set")
    half = Set(HALF, redis=redis, key="half set")
    more = Set(redis=redis, key="more set")
    long = Set(LONG, redis=redis, key="long set")
    keys, other = set(KEYS), set(HALF)
    return {
        "set: s.add(x)": lambda: s.add("a"),
        "set: x in s": lambda: "a" in s,
        "set: len(s)": lambda: len(s),
        "set: s.add(x), s.pop()": lambda: (s.add("x"), s.pop()),
        "set: s.add(x), s.discard(x)": lambda: (s.add("x"), s.discard("x")),
        "set: s.add(x), s.remove(x)": lambda: (s.add("x"), s.remove("x")),
        "set: s.update, 1000": lambda: more.update(KEYS),
        "set: s.to_set(), 1000": lambda: set(big),
        "set: s.contains_many, 1000": lambda: [key in big for key in HALF],
        "set: s == set, 1000": lambda: big == keys,
        "set: s.copy(), 1000": big.copy,
        "set: s.union(set), 1000": lambda: big.union(other),
        "set: s.intersection(set), 1000": lambda: big.intersection(other),
        "set: s.difference(set), 1000": lambda: big.difference(other),
        "set: s.intersection(s2), 1000": lambda: big.intersection(half),
        "set: s.difference(s2), 1000": lambda: big.difference(half),
        "set: s <= s2, 1000": lambda: big <= half,
        "set: iter(s), 10 000": lambda: drain(long),
    }


def lists(redis):
    big = List(NUMBERS, redis=redis, key="big list")
    names = List(KEYS, redis=redis, key="list of names")
    more = List(redis=redis, key="more list")
    long = List(range(10_000), redis=redis, key="long list")
    sorting = List(NUMBERS[::-1], redis=redis, key="sorted list")
    hundred = NUMBERS[:100]
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
        "list: l.reverse(), of 1000": big.reverse,
        "list: l.extend, 1000": lambda: (more.extend(NUMBERS), more.clear()),
        "list: list(l), 1000": lambda: list(big),
        "list: l == list, 1000": lambda: big == NUMBERS,
        "list: l.copy(), 1000": big.copy,
        "list: l.sort(), 1000": lambda: sorting.sort(reverse=sorting[0] == 0),
        "list: iter(l), 10 000": lambda: drain(long),
    }


def deques(redis):
    d = Deque("abc", redis=redis, key="deque")
    full = Deque(range(100), maxlen=100, redis=redis, key="full deque")
    big = Deque(NUMBERS, redis=redis, key="big deque")
    long = Deque(range(10_000), redis=redis, key="long deque")
    return {
        "deque: d.append(x), d.pop()": lambda: (d.append("x"), d.pop()),
        "deque: d.appendleft(x), d.popleft()": lambda: (d.appendleft("x"), d.popleft()),
        "deque: d[-1]": lambda: d[-1],
        "deque: d.append(x), full": lambda: full.append(1),
        "deque: d.rotate()": d.rotate,
        "deque: d.rotate(100), of 1000": lambda: big.rotate(100),
        "deque: list(d), 1000": lambda: list(big),
        "deque: iter(d), 10 000": lambda: drain(long),
    }


def counters(redis):
    c = Counter("abc", redis=redis, key="counter")
    big = Counter(THOUSAND, redis=redis, key="big counter")
    more = Counter(THOUSAND, redis=redis, key="more counter")
    counts = Counts(THOUSAND)
    return {
        "counter: c[k]": lambda: c["a"],
        "counter: c.update([k])": lambda: c.update(["a"]),
        "counter: c.update, 1000": lambda: more.update(counts),
        "counter: c.subtract, 1000": lambda: more.subtract(counts),
        "counter: c + Counter, 1000": lambda: big + counts,
        "counter: c += Counter, 1000": lambda: more.__iadd__(counts),
        "counter: c.most_common(10), 1000": lambda: big.most_common(10),
    }
