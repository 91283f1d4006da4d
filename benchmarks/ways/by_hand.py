"""redis-py with hiredis, by hand: the fewest round trips, and a prepared JSON encoder and decoder.

It does without what pottery adds: it sends again what was lost, and leaves a connection out of step
when it is interrupted.
"""

from __future__ import annotations

from asyncio import gather
from collections import Counter, OrderedDict
from itertools import repeat
from json import JSONDecoder, JSONEncoder
from uuid import uuid4

import mmh3
from data import HALF, ITEMS, KEYS, LONG, NUMBERS, THOUSAND, drain
from redis import Redis
from redis import asyncio as asynchronous

encode = JSONEncoder(sort_keys=True).encode
decode_text = JSONDecoder().decode


def decode(raw):
    return decode_text(raw.decode())


def copy(redis, key):
    """Copy, and remove the copy, as whatever is temporary has to be."""
    name = f"copy:{uuid4()}"
    redis.copy(key, name)
    redis.unlink(name)


def decode_each(raws):
    return [None if raw is None else decode_text(raw.decode()) for raw in raws]


def encode_all(mapping):
    return {encode(key): encode(value) for key, value in mapping.items()}


def ways(urls):
    redis = Redis.from_url(urls[0])
    return {
        **dicts(redis),
        **sets(redis),
        **lists(redis),
        **deques(redis),
        **counters(redis),
        **filters(redis),
        **caches(redis),
        **quorums([Redis.from_url(url) for url in urls]),
        **twins(urls[0]),
    }


POP = "local v = redis.call('HGET', KEYS[1], ARGV[1]) redis.call('HDEL', KEYS[1], ARGV[1]) return v"
POPITEM = """
local item = redis.call('HRANDFIELD', KEYS[1], 1, 'WITHVALUES')
redis.call('HDEL', KEYS[1], item[1]) return item
"""
SETDEFAULT = """
redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) return redis.call('HGET', KEYS[1], ARGV[1])
"""


def dicts(redis):
    redis.hset("dict", mapping=encode_all({"a": 1}))
    redis.hset("big dict", mapping=encode_all(THOUSAND))
    redis.hset("long dict", mapping=encode_all(LONG))
    pop, popitem, setdefault = map(redis.register_script, (POP, POPITEM, SETDEFAULT))

    def everything(key="big dict"):
        return {decode(k): decode(v) for k, v in redis.hgetall(key).items()}

    def put():
        redis.hset("dict", encode("x"), encode(1))

    def remove(key):
        if not redis.hdel("dict", encode(key)):
            raise KeyError(key)

    def union():
        key = f"copy:{uuid4()}"
        with redis.pipeline(transaction=True) as pipe:
            pipe.copy("big dict", key).hset(key, encode("x"), encode(1)).execute()
        redis.unlink(key)

    def walk():
        drain((decode(k), decode(v)) for k, v in redis.hscan_iter("long dict", count=1000))

    return {
        "dict: d[k]": lambda: decode(redis.hget("dict", encode("a"))),
        "dict: d.get(k)": lambda: decode(redis.hget("dict", encode("a"))),
        "dict: d[k] = v": lambda: redis.hset("dict", encode("a"), encode(3)),
        "dict: k in d": lambda: redis.hexists("dict", encode("a")),
        "dict: len(d)": lambda: redis.hlen("dict"),
        "dict: d[k] = v, del d[k]": lambda: (put(), remove("x")),
        "dict: d[k] = v, d.pop(k)": lambda: (put(), decode(pop(["dict"], [encode("x")]))),
        "dict: d[k] = v, d.popitem()": lambda: (put(), decode_each(popitem(["dict"]))),
        "dict: d.setdefault(k, v), there": lambda: decode(
            setdefault(["dict"], [encode("a"), encode(5)])
        ),
        "dict: d.setdefault(k, v), del d[k]": lambda: (
            decode(setdefault(["dict"], [encode("y"), encode(1)])),
            remove("y"),
        ),
        "dict: d.update, 1000": lambda: redis.hset("more dict", mapping=encode_all(THOUSAND)),
        "dict: d.to_dict(), 1000": everything,
        "dict: list(d.keys()), 1000": lambda: list(map(decode, redis.hkeys("big dict"))),
        "dict: list(d.values()), 1000": lambda: list(map(decode, redis.hvals("big dict"))),
        "dict: list(d.items()), 1000": lambda: list(everything().items()),
        "dict: d == dict, 1000": lambda: everything() == THOUSAND,
        "dict: d.copy(), 1000": lambda: copy(redis, "big dict"),
        "dict: d | dict, 1000": union,
        "dict: iter(d.items()), 10 000": walk,
    }


def sets(redis):
    redis.sadd("set", *map(encode, "abc"))
    redis.sadd("big set", *map(encode, KEYS))
    redis.sadd("half set", *map(encode, HALF))
    redis.sadd("long set", *map(encode, LONG))
    keys, other = set(KEYS), set(HALF)

    def members():
        return {decode(raw) for raw in redis.smembers("big set")}

    def contains_many(items):
        return list(map(bool, redis.smismember("big set", list(map(encode, items)))))

    def common(items):
        return {item for item, found in zip(items, contains_many(items), strict=True) if found}

    def remove():
        if not redis.srem("set", encode("x")):
            raise KeyError("x")

    def add():
        redis.sadd("set", encode("x"))

    return {
        "set: s.add(x)": lambda: redis.sadd("set", encode("a")),
        "set: x in s": lambda: redis.sismember("set", encode("a")),
        "set: len(s)": lambda: redis.scard("set"),
        "set: s.add(x), s.pop()": lambda: (add(), decode(redis.spop("set"))),
        "set: s.add(x), s.discard(x)": lambda: (add(), redis.srem("set", encode("x"))),
        "set: s.add(x), s.remove(x)": lambda: (add(), remove()),
        "set: s.update, 1000": lambda: redis.sadd("more set", *map(encode, KEYS)),
        "set: s.to_set(), 1000": members,
        "set: s.contains_many, 1000": lambda: contains_many(HALF),
        "set: s == set, 1000": lambda: members() == keys,
        "set: s.copy(), 1000": lambda: copy(redis, "big set"),
        "set: s.union(set), 1000": lambda: members() | other,
        "set: s.intersection(set), 1000": lambda: common(other),
        "set: s.difference(set), 1000": lambda: members() - other,
        "set: s.intersection(s2), 1000": lambda: {
            decode(raw) for raw in redis.sinter("big set", "half set")
        },
        "set: s.difference(s2), 1000": lambda: {
            decode(raw) for raw in redis.sdiff("big set", "half set")
        },
        "set: s <= s2, 1000": lambda: not redis.sdiff("big set", "half set"),
        "set: iter(s), 10 000": lambda: drain(
            map(decode, redis.sscan_iter("long set", count=1000))
        ),
    }


INSERT = """
local pivot = redis.call('LINDEX', KEYS[1], ARGV[1])
redis.call('LSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('LINSERT', KEYS[1], 'BEFORE', ARGV[3], ARGV[2])
redis.call('LSET', KEYS[1], ARGV[1] + 1, pivot)
"""
DELETE = "redis.call('LSET', KEYS[1], ARGV[1], ARGV[2]) redis.call('LREM', KEYS[1], 1, ARGV[2])"
SET_SLICE = "for i = 2, #ARGV do redis.call('LSET', KEYS[1], ARGV[1] + i - 2, ARGV[i]) end"
REVERSE = """
local all = redis.call('LRANGE', KEYS[1], 0, -1)
redis.call('DEL', KEYS[1])
for i = 1, #all, 5000 do
  redis.call('LPUSH', KEYS[1], unpack(all, i, math.min(i + 4999, #all)))
end
"""
REPLACE = """
redis.call('DEL', KEYS[1])
for i = 1, #ARGV, 5000 do
  redis.call('RPUSH', KEYS[1], unpack(ARGV, i, math.min(i + 4999, #ARGV)))
end
"""


def lists(redis):
    redis.rpush("big list", *map(encode, NUMBERS))
    redis.rpush("list of names", *map(encode, KEYS))
    redis.rpush("long list", *map(encode, range(10_000)))
    redis.rpush("sorted list", *map(encode, NUMBERS[::-1]))
    scripts = (INSERT, DELETE, SET_SLICE, REVERSE, REPLACE)
    insert, delete, set_slice, reverse, replace = map(redis.register_script, scripts)
    mark = "to be deleted"

    def everything():
        return decode_each(redis.lrange("big list", 0, -1))

    def index():
        found = redis.lpos("list of names", encode("key 500"))
        if found is None:
            raise ValueError("key 500")
        return found

    def remove():
        redis.rpush("list of names", encode("x"))
        if not redis.lrem("list of names", 1, encode("x")):
            raise ValueError("x")

    def extend():
        redis.rpush("more list", *map(encode, NUMBERS))
        redis.unlink("more list")

    def sort():
        items = decode_each(redis.lrange("sorted list", 0, -1))
        items.sort(reverse=decode(redis.lindex("sorted list", 0)) == 0)
        replace(["sorted list"], list(map(encode, items)))

    def walk():
        found = 0
        while page := redis.lrange("long list", found, found + 999):
            drain(map(decode, page))
            found += len(page)

    return {
        "list: l[0]": lambda: decode(redis.lindex("big list", 0)),
        "list: l[500]": lambda: decode(redis.lindex("big list", 500)),
        "list: l[500] = x": lambda: redis.lset("big list", 500, encode(7)),
        "list: len(l)": lambda: redis.llen("big list"),
        "list: l.append(x), l.pop()": lambda: (
            redis.rpush("big list", encode(1)),
            decode(redis.rpop("big list")),
        ),
        "list: l[:100]": lambda: decode_each(redis.lrange("big list", 0, 99)),
        "list: l[450:550] = 100": lambda: set_slice(
            ["big list"], [450, *map(encode, NUMBERS[:100])]
        ),
        "list: l.insert(500, x), del l[500]": lambda: (
            insert(["list of names"], [500, encode("x"), mark]),
            delete(["list of names"], [500, mark]),
        ),
        "list: l.append(x), l.remove(x)": remove,
        "list: l.index(x), of 1000": index,
        "list: x in l, of 1000": lambda: redis.lpos("list of names", encode("key 500")) is not None,
        "list: l.count(x), of 1000": lambda: len(
            redis.lpos("list of names", encode("key 500"), count=0)
        ),
        "list: l.reverse(), of 1000": lambda: reverse(["big list"]),
        "list: l.extend, 1000": extend,
        "list: list(l), 1000": everything,
        "list: l == list, 1000": lambda: everything() == NUMBERS,
        "list: l.copy(), 1000": lambda: copy(redis, "big list"),
        "list: l.sort(), 1000": sort,
        "list: iter(l), 10 000": walk,
    }


ROTATE = """
local moved = redis.call('LRANGE', KEYS[1], -ARGV[1], -1)
redis.call('LTRIM', KEYS[1], 0, -ARGV[1] - 1)
for i = #moved, 1, -1 do redis.call('LPUSH', KEYS[1], moved[i]) end
"""
PUSH = "redis.call('RPUSH', KEYS[1], ARGV[1]) redis.call('LTRIM', KEYS[1], -ARGV[2], -1)"


def deques(redis):
    redis.rpush("deque", *map(encode, "abc"))
    redis.rpush("full deque", *map(encode, range(100)))
    redis.rpush("big deque", *map(encode, NUMBERS))
    redis.rpush("long deque", *map(encode, range(10_000)))
    rotate, push = map(redis.register_script, (ROTATE, PUSH))

    def walk():
        found = 0
        while page := redis.lrange("long deque", found, found + 999):
            drain(map(decode, page))
            found += len(page)

    return {
        "deque: d.append(x), d.pop()": lambda: (
            redis.rpush("deque", encode("x")),
            decode(redis.rpop("deque")),
        ),
        "deque: d.appendleft(x), d.popleft()": lambda: (
            redis.lpush("deque", encode("x")),
            decode(redis.lpop("deque")),
        ),
        "deque: d[-1]": lambda: decode(redis.lindex("deque", -1)),
        "deque: d.append(x), full": lambda: push(["full deque"], [encode(1), 100]),
        "deque: d.rotate()": lambda: redis.lmove("deque", "deque", "RIGHT", "LEFT"),
        "deque: d.rotate(100), of 1000": lambda: rotate(["big deque"], [100]),
        "deque: list(d), 1000": lambda: decode_each(redis.lrange("big deque", 0, -1)),
        "deque: iter(d), 10 000": walk,
    }


COUNT = "for i = 1, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end"
# As `+=` of a Counter does, which keeps what is above zero.
COUNT_AND_STRIP = f"""
{COUNT}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if tonumber(all[i + 1]) <= 0 then redis.call('HDEL', KEYS[1], all[i]) end
end
"""


def counters(redis):
    redis.hset("counter", mapping=encode_all({"a": 1, "b": 1, "c": 1}))
    redis.hset("big counter", mapping=encode_all(THOUSAND))
    redis.hset("more counter", mapping=encode_all(THOUSAND))
    count, count_and_strip = map(redis.register_script, (COUNT, COUNT_AND_STRIP))
    counts = Counter(THOUSAND)

    def read():
        return Counter({decode(k): int(v) for k, v in redis.hgetall("big counter").items()})

    def update(sign, script=count):
        args = [word for key, n in counts.items() for word in (encode(key), sign * n)]
        script(["more counter"], args)

    return {
        "counter: c[k]": lambda: int(redis.hget("counter", encode("a")) or 0),
        "counter: c.update([k])": lambda: redis.hincrby("counter", encode("a"), 1),
        "counter: c.update, 1000": lambda: update(1),
        "counter: c.subtract, 1000": lambda: update(-1),
        "counter: c + Counter, 1000": lambda: read() + counts,
        "counter: c += Counter, 1000": lambda: update(1, count_and_strip),
        "counter: c.most_common(10), 1000": lambda: read().most_common(10),
        "counter: c.total(), 1000": lambda: sum(map(int, redis.hvals("big counter"))),
    }


HAS = """
redis.call('COPY', KEYS[1], KEYS[2])
local changed = redis.call('PFADD', KEYS[2], ARGV[1])
redis.call('UNLINK', KEYS[2]) return changed
"""


def filters(redis):
    redis.pfadd("hyperloglog", *map(encode, ITEMS))
    has_h = redis.register_script(HAS)
    # Of a filter for a million elements, with 1 % of false positives.
    size, seeds = 9_585_059, range(7)

    def bits(item):
        text = encode(item)
        return [mmh3.hash(text, seed) % size for seed in seeds]

    def add():
        field = redis.bitfield("bloom")
        for bit in bits("item 0"):
            field.set("u1", bit, 1)
        field.execute()

    def has():
        getting = [word for bit in bits("item 0") for word in ("GET", "u1", bit)]
        return all(redis.execute_command("BITFIELD_RO", "bloom", *getting))

    def contains_many():
        bitmap = redis.get("bloom")
        found = (all(bitmap[bit >> 3] & 128 >> (bit & 7) for bit in bits(item)) for item in ITEMS)
        return list(found)

    def update():
        bitmap = bytearray(size // 8 + 1)
        texts = list(map(encode, ITEMS))
        for seed in seeds:
            for value in map(mmh3.hash, texts, repeat(seed)):
                bit = value % size
                bitmap[bit >> 3] |= 128 >> (bit & 7)
        with redis.pipeline(transaction=True) as pipe:
            pipe.set("bloom~new", bytes(bitmap)).bitop("OR", "bloom", "bloom", "bloom~new")
            pipe.unlink("bloom~new").execute()

    redis.setbit("bloom", size - 1, 1)
    return {
        "hyperloglog: h.add(x)": lambda: redis.pfadd("hyperloglog", encode("a")),
        "hyperloglog: len(h)": lambda: redis.pfcount("hyperloglog"),
        "hyperloglog: x in h": lambda: not has_h(["hyperloglog", "copy"], [encode("item 5")]),
        "hyperloglog: h.update, 10 000": lambda: redis.pfadd("hyperloglog", *map(encode, ITEMS)),
        "bloom: f.add(x)": add,
        "bloom: x in f": has,
        "bloom: f.contains_many, 10 000": contains_many,
        "bloom: f.update, 10 000": update,
    }


def caches(redis):
    def look_up(arguments):
        with redis.pipeline(transaction=False) as pipe:
            pipe.hget("cache", encode(arguments)).expire("cache", 60)
            return pipe.execute()[0]

    def keep(arguments, value):
        with redis.pipeline(transaction=False) as pipe:
            pipe.hset("cache", encode(arguments), encode(value)).expire("cache", 60).execute()

    def miss():
        redis.hdel("cache", encode(["plum", 3]))
        return look_up(["plum", 3]) or keep(["plum", 3], 12)

    def look_all_up():
        with redis.pipeline(transaction=False) as pipe:
            pipe.hmget("ordered", list(map(encode, KEYS))).expire("ordered", 60)
            return OrderedDict(zip(KEYS, decode_each(pipe.execute()[0]), strict=True))

    def fill():
        with redis.pipeline(transaction=False) as pipe:
            pipe.hset("ordered", mapping=encode_all(THOUSAND)).expire("ordered", 60).execute()

    keep(["pear", 3], 12)
    fill()
    return {
        "cache: redis_cache, hit": lambda: decode(look_up(["pear", 3])),
        "cache: redis_cache, miss": miss,
        "cache: CachedOrderedDict, 1000": look_all_up,
        "cache: its update, 1000": fill,
        "queue: q.put(x), q.get()": lambda: (
            redis.rpush("queue", encode("x")),
            decode(redis.lpop("queue")),
        ),
        "queue: q.qsize()": lambda: redis.llen("queue"),
    }


RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
CLAIM = """
local last = tonumber(redis.call('GET', KEYS[1]) or 0)
if last >= tonumber(ARGV[1]) then return -last end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""


def quorums(masters):
    release = masters[0].register_script(RELEASE)

    def lock(some):
        for master in some:
            master.set("lock", "token", nx=True, px=10_000)
        for master in some:
            release(["lock"], ["token"], client=master)

    return {
        "lock: acquire, release, 1 master": lambda: lock(masters[:1]),
        "lock: acquire, release, 5 masters": lambda: lock(masters),
        "ids: next(ids), 1 master": lambda: masters[0].incr("id"),
        "ids: next(ids), 5 masters": Claims(masters).next,
    }


class Claims:
    """The shortest way over sockets that are kept for it: all are asked, then all are heard."""

    def __init__(self, masters):
        pools = [master.connection_pool for master in masters]
        self.connections = [pool.connection_class(**pool.connection_kwargs) for pool in pools]
        (self.digest,) = {master.script_load(CLAIM) for master in masters}
        self.last = 0

    def next(self):
        while True:
            wanted = self.last + 1
            for connection in self.connections:
                connection.send_command("EVALSHA", self.digest, 1, "ids", wanted)
            replies = [connection.read_response() for connection in self.connections]
            self.last = max(wanted, -min(replies))
            if sum(reply == 1 for reply in replies) > len(replies) / 2:
                return wanted


def twins(url):
    client = asynchronous.Redis.from_url(url)

    async def get():
        return decode(await client.hget("big dict", encode("key 5")))

    async def put():
        await client.hset("big dict", encode("key 5"), encode(5))

    async def push_and_pop():
        await client.rpush("aio list", encode(1))
        return decode(await client.rpop("aio list"))

    async def put_and_get():
        await client.rpush("aio queue", encode("x"))
        return decode(await client.lpop("aio queue"))

    async def has():
        return await client.sismember("set", encode("a"))

    async def everything():
        raws = await client.hgetall("big dict")
        return {decode(k): decode(v) for k, v in raws.items()}

    async def fifty():
        return await gather(*[get() for _ in range(50)])

    return {
        "asyncio: await d.get(k)": get,
        "asyncio: await d.set(k, v)": put,
        "asyncio: await l.append(x), l.pop()": push_and_pop,
        "asyncio: await s.has(x)": has,
        "asyncio: await q.put(x), q.get()": put_and_get,
        "asyncio: await d.to_dict(), 1000": everything,
        "asyncio: 50 times d.get(k) at once": fifty,
    }
