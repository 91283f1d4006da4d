"""By hand, as nobody writes it at first: many texts are decoded as one JSON array."""

from __future__ import annotations

from collections import Counter, OrderedDict
from json import loads

import by_hand
from by_hand import encode, encode_all
from data import HALF, KEYS, NUMBERS, THOUSAND, drain
from redis import Redis


def decode_all(raws):
    return loads(b"[" + b",".join(raws) + b"]")


def ways(urls):
    redis = Redis.from_url(urls[0])
    by_hand.ways(urls)  # which fills the containers
    return {**dicts(redis), **sets(redis), **lists(redis)}


def dicts(redis):
    def everything():
        raws = redis.hgetall("big dict")
        return dict(zip(decode_all(raws), decode_all(raws.values()), strict=True))

    def walk():
        position = None
        while position != 0:
            position, page = redis.hscan("long dict", position or 0, count=1000)
            drain(zip(decode_all(page), decode_all(page.values()), strict=True))

    def look_all_up():
        with redis.pipeline(transaction=False) as pipe:
            pipe.hmget("ordered", list(map(encode, KEYS))).expire("ordered", 60)
            return OrderedDict(zip(KEYS, decode_all(pipe.execute()[0]), strict=True))

    return {
        "dict: d.to_dict(), 1000": everything,
        "dict: list(d.keys()), 1000": lambda: decode_all(redis.hkeys("big dict")),
        "dict: list(d.values()), 1000": lambda: decode_all(redis.hvals("big dict")),
        "dict: list(d.items()), 1000": lambda: list(everything().items()),
        "dict: d == dict, 1000": lambda: everything() == THOUSAND,
        "dict: iter(d.items()), 10 000": walk,
        "dict: d.update, 1000": lambda: redis.hset("more dict", mapping=encode_all(THOUSAND)),
        "counter: c.most_common(10), 1000": lambda: Counter(everything()).most_common(10),
        "counter: c + Counter, 1000": lambda: Counter(everything()) + Counter(THOUSAND),
        "counter: c.total(), 1000": lambda: sum(map(int, redis.hvals("big counter"))),
        "cache: CachedOrderedDict, 1000": look_all_up,
    }


def sets(redis):
    keys, other = set(KEYS), set(HALF)

    def members():
        return set(decode_all(redis.smembers("big set")))

    def walk():
        position = None
        while position != 0:
            position, page = redis.sscan("long set", position or 0, count=1000)
            drain(decode_all(page))

    return {
        "set: s.to_set(), 1000": members,
        "set: s == set, 1000": lambda: members() == keys,
        "set: s.union(set), 1000": lambda: members() | other,
        "set: s.difference(set), 1000": lambda: members() - other,
        "set: s.intersection(s2), 1000": lambda: set(
            decode_all(redis.sinter("big set", "half set"))
        ),
        "set: s.difference(s2), 1000": lambda: set(decode_all(redis.sdiff("big set", "half set"))),
        "set: iter(s), 10 000": walk,
    }


def lists(redis):
    def walk(key):
        found = 0
        while page := redis.lrange(key, found, found + 999):
            drain(decode_all(page))
            found += len(page)

    def everything(key="big list"):
        return decode_all(redis.lrange(key, 0, -1))

    return {
        "list: l[:100]": lambda: decode_all(redis.lrange("big list", 0, 99)),
        "list: list(l), 1000": everything,
        "list: l == list, 1000": lambda: everything() == NUMBERS,
        "list: iter(l), 10 000": lambda: walk("long list"),
        "deque: list(d), 1000": lambda: everything("big deque"),
        "deque: iter(d), 10 000": lambda: walk("long deque"),
    }
