"""What is measured, and what it should cost at most beside code that is written by hand.

Where more than that cannot be had, as docs/performance.md explains, this is what may not get worse.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """An operation, by a name that the ways share, and the ratio that it should not exceed."""

    name: str
    target: float


def rows(target: float, *names: str) -> list[Row]:
    return [Row(name, target) for name in names]


# One command.
SINGLE = rows(
    0.95,
    "dict: d[k]",
    "dict: d[k] = v",
    "dict: k in d",
    "dict: len(d)",
    "dict: d.get(k)",
    "dict: d[k] = v, del d[k]",
    "set: s.add(x)",
    "set: x in s",
    "set: len(s)",
    "set: s.add(x), s.pop()",
    "set: s.add(x), s.discard(x)",
    "list: l[0]",
    "list: l[500]",
    "list: l[500] = x",
    "list: len(l)",
    "list: l.append(x), l.pop()",
    "deque: d.append(x), d.pop()",
    "deque: d.appendleft(x), d.popleft()",
    "deque: d[-1]",
    "counter: c[k]",
    "counter: c.update([k])",
    "hyperloglog: h.add(x)",
    "hyperloglog: len(h)",
    "bloom: f.add(x)",
    "bloom: x in f",
)
# What came back to a queue is counted along with the rest of it.
SINGLE_AND_MORE = rows(1.0, "queue: q.qsize()")
# A script, or a command that does it all.
SCRIPTS = rows(
    1.0,
    "dict: d[k] = v, d.pop(k)",
    "dict: d[k] = v, d.popitem()",
    "dict: d.setdefault(k, v), there",
    "dict: d.setdefault(k, v), del d[k]",
    "set: s.add(x), s.remove(x)",
    "list: l[:100]",
    "list: l[450:550] = 100",
    "list: l.insert(500, x), del l[500]",
    "list: l.append(x), l.remove(x)",
    "list: l.index(x), of 1000",
    "list: x in l, of 1000",
    "list: l.count(x), of 1000",
    "deque: d.rotate()",
    "deque: d.rotate(100), of 1000",
    "deque: d.append(x), full",
    "hyperloglog: x in h",
)
# A thousand at once, unless they are more.
BULK = rows(
    0.8,
    "dict: d.update, 1000",
    "dict: d.to_dict(), 1000",
    "dict: list(d.keys()), 1000",
    "dict: list(d.values()), 1000",
    "dict: list(d.items()), 1000",
    "dict: d == dict, 1000",
    "set: s.update, 1000",
    "set: s.to_set(), 1000",
    "set: s.contains_many, 1000",
    "set: s == set, 1000",
    "set: s.union(set), 1000",
    "set: s.difference(set), 1000",
    "set: s.intersection(s2), 1000",
    "set: s.difference(s2), 1000",
    "set: s <= s2, 1000",
    "list: l.extend, 1000",
    "list: list(l), 1000",
    "list: l == list, 1000",
    "list: l.sort(), 1000",
    "deque: list(d), 1000",
    "counter: c + Counter, 1000",
    "counter: c.most_common(10), 1000",
    "hyperloglog: h.update, 10 000",
)
# What is temporary is unlinked along with the next command, which by hand is one more.
TEMPORARY = rows(
    0.9,
    "dict: d.copy(), 1000",
    "dict: d | dict, 1000",
    "set: s.copy(), 1000",
    "list: l.copy(), 1000",
)
# A command with a thousand arguments, or that moves a thousand elements, is the same by hand.
SAME = rows(
    1.1,
    "list: l.reverse(), of 1000",
    "counter: c.update, 1000",
    "counter: c.subtract, 1000",
)
WITH_ELEMENTS = [
    *rows(0.9, "set: s.intersection(set), 1000"),
    *rows(1.1, "counter: c += Counter, 1000"),
    *rows(2.8, "counter: c.total(), 1000"),
]
LONG = rows(
    1.0,
    "dict: iter(d.items()), 10 000",
    "set: iter(s), 10 000",
    "list: iter(l), 10 000",
    "deque: iter(d), 10 000",
)
FILTERS = [
    *rows(1.1, "bloom: f.contains_many, 10 000"),
    *rows(1.3, "bloom: f.update, 10 000"),
]
# What makes each item be got once takes the server time, of which some machines have less.
QUEUES = rows(1.2, "queue: q.put(x), q.get()", "asyncio: await q.put(x), q.get()")
CACHES = [
    *rows(0.9, "cache: redis_cache, hit", "cache: redis_cache, miss"),
    *rows(0.8, "cache: CachedOrderedDict, 1000", "cache: its update, 1000"),
]
LOCKS = [
    *rows(1.0, "lock: acquire, release, 1 master"),
    *rows(0.5, "lock: acquire, release, 5 masters"),
]
IDS = [
    *rows(1.2, "ids: next(ids), 1 master"),
    *rows(1.4, "ids: next(ids), 5 masters"),
]
TWINS = [
    *rows(
        0.9,
        "asyncio: await d.get(k)",
        "asyncio: await d.set(k, v)",
        "asyncio: await l.append(x), l.pop()",
        "asyncio: await s.has(x)",
        "asyncio: await d.to_dict(), 1000",
    ),
    *rows(1.1, "asyncio: 50 times d.get(k) at once"),
]
# Caches come first, as what is in them goes away after a minute.
ROWS = [
    *(*CACHES, *SINGLE, *SINGLE_AND_MORE, *SCRIPTS, *BULK, *TEMPORARY, *SAME, *WITH_ELEMENTS),
    *(*LONG, *FILTERS, *QUEUES, *LOCKS, *IDS, *TWINS),
]
