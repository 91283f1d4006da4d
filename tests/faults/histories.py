"""What many clients do at once, what they were told of it, and whether that can be true.

A history is a list of calls. A call that was answered is *ok*; one that raised OutcomeUnknown is
*unknown*; one that raised any other error of the connection has *failed*, and so was not done.
"""

from __future__ import annotations

import random
import time
from contextlib import suppress
from itertools import pairwise
from math import inf
from typing import Any, NamedTuple

from clients import stopped, wait_until
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from verdict import FAILURES

from pottery import (
    NextId,
    OutcomeUnknown,
    QueueEmptyError,
    RedisCounter,
    RedisDict,
    RedisList,
    RedisSet,
    RedisSimpleQueue,
    Redlock,
    ReleaseUnlockedLock,
)

# Seconds from one call to the next, so that a fault meets many clients and not many calls.
PACE = 0.002
REGISTERS = 2
KEYS = 5


class Call(NamedTuple):
    """One call: by whom, when it began and ended, and what came of it."""

    who: int
    verb: str
    value: Any
    began: float
    ended: float
    outcome: str


class Client:
    """Somebody who calls, and notes it down."""

    def __init__(self, url, me):
        self.me = me
        self.redis = Redis.from_url(url, socket_timeout=0.5, retry=Retry(NoBackoff(), 1))
        self.rng = random.Random(me)
        self.calls = []

    def call(self, verb, value, function):
        """Call *function*, note that down, and return what it gave, None if nothing."""
        result, outcome, began = None, "ok", time.monotonic()
        try:
            result = function()
        except OutcomeUnknown:
            outcome = "unknown"
        except FAILURES:
            outcome = "failed"
        ended = inf if outcome == "unknown" else time.monotonic()
        noted = value if value is not None else result
        self.calls.append(Call(self.me, verb, noted, began, ended, outcome))
        time.sleep(PACE)
        return result

    def until(self, end):
        """Yield a new number, time after time."""
        number = 0
        while time.monotonic() < end:
            number += 1
            yield number


# --- what they do


def put(client, end):
    it = RedisSimpleQueue(redis=client.redis, key="q")
    for number in client.until(end):
        item = [client.me, number]
        client.call("put", item, lambda item=item: it.put(item))


def get(client, end):
    it = RedisSimpleQueue(redis=client.redis, key="q")
    for _ in client.until(end):
        with suppress(QueueEmptyError):
            client.call("got", None, lambda: it.get(timeout=0.2))
    insist(lambda: it.qsize() >= 0)  # which gives back what was left in doubt


def insist(function):
    """Call *function* until it gives something true, whatever the network does."""

    def is_answered():
        with suppress(*FAILURES):
            return function()
        return False

    wait_until(is_answered, 60)


def count(client, end):
    it = RedisCounter(redis=client.redis, key="c")
    for number in client.until(end):
        client.call("count", number, lambda: it.update(all=1))


def use_registers(client, end):
    """Read and write elements of a list, of which no write is ever sent twice."""
    it = RedisList(redis=client.redis, key="l")
    for number in client.until(end):
        place = client.rng.randrange(REGISTERS)
        if client.rng.random() < 0.5:
            value = f"{client.me}:{number}"
            client.call(f"write {place}", value, lambda p=place, v=value: it.__setitem__(p, v))
        else:
            client.call(f"read {place}", None, lambda p=place: it[p])


def change_own(client, end):
    """Set and delete keys, add and discard members, that nobody else changes."""
    items, members = (
        kind(redis=client.redis, key=key) for kind, key in ((RedisDict, "d"), (RedisSet, "s"))
    )
    for number in client.until(end):
        key = f"{client.me}:{number % KEYS}"
        if client.rng.random() < 0.7:
            client.call(f"d {key}", number, lambda k=key, n=number: items.__setitem__(k, n))
            client.call(f"s {key}", 1, lambda k=key: members.add(k))
        else:
            client.call(f"d {key}", 0, lambda k=key: items.pop(k, None))
            client.call(f"s {key}", 0, lambda k=key: members.discard(k))


def hold(client, end):
    lock = Redlock(key="lock", masters=[client.redis], fencing=True, auto_release_time=0.5)
    for _ in client.until(end):
        if client.call("asked", None, lambda: lock.acquire(timeout=2)):
            note_hold(client, lock)
            with suppress(ReleaseUnlockedLock, *FAILURES):
                lock.release()


def note_hold(client, lock):
    """Be inside, and note for how long: not after the lease, if this machine is slow."""
    began, token = time.monotonic(), lock.fencing_token
    left = lock._held[0].left()
    time.sleep(0.002)
    ended = min(time.monotonic(), began + left)
    if ended > began:
        client.calls.append(Call(client.me, "held", token, began, ended, "ok"))


def take_ids(client, end):
    ids = NextId(key="ids", masters=[client.redis])
    for _ in client.until(end):
        client.call("id", None, lambda: next(ids))


def work(url, name, me, all_of_them, seconds):
    """Do what *name* says, once *all_of_them* are here, for *seconds*; return the history."""
    client = Client(url, me)
    meet(client.redis, all_of_them)
    globals()[name](client, time.monotonic() + seconds)
    client.redis.close()
    return client.calls


def meet(redis, all_of_them):
    redis.incr("here")
    await_all(redis, all_of_them)


def await_all(redis, all_of_them):
    insist(lambda: int(redis.get("here") or 0) >= all_of_them)


# --- whether that can be true


def outcomes(calls, verb, *outcomes):
    """Return the values of those calls that came to one of *outcomes*."""
    return [one.value for one in calls if one.verb == verb and one.outcome in outcomes]


def check_queue(calls, left):
    """Check that each item was got once, and that none was got or left that was not put."""
    put, maybe = (
        {tuple(item) for item in outcomes(calls, "put", outcome)} for outcome in ("ok", "unknown")
    )
    got = [tuple(item) for item in outcomes(calls, "got", "ok")]
    everything = [*got, *map(tuple, left)]
    assert len(everything) == len(set(everything)), "an item was got twice"
    assert put <= set(everything), f"lost: {put - set(everything)}"
    assert set(everything) <= put | maybe, "an item was got that was not put"
    # What was taken in vain comes back, perhaps after what was put later has been got.
    assert overtaken(calls, left) <= len(outcomes(calls, "got", "failed")), "items were overtaken"


def overtaken(calls, left):
    """Return how often somebody got an item after a later one of the same producer."""
    got = [one for one in calls if one.verb == "got" and one.outcome == "ok"]
    takers = {consumer: [] for consumer in {one.who for one in got}}
    for one in got:
        takers[one.who].append(one.value)
    found = 0
    for items in (*takers.values(), left):
        for producer in {who for who, _ in items}:
            order = [number for who, number in items if who == producer]
            found += sum(before > after for before, after in pairwise(order))
    return found


def check_counter(calls, total):
    sure = len(outcomes(calls, "count", "ok"))
    assert sure <= total <= sure + len(outcomes(calls, "count", "unknown"))


def check_own(calls, items, members):
    """Check that of each key there is what was written last, or may have been written since."""
    for verb in {one.verb for one in calls}:
        container, key = verb.split()
        writes = [one for one in calls if one.verb == verb and one.outcome != "failed"]
        sure = [place for place, one in enumerate(writes) if one.outcome == "ok"]
        possible = {one.value for one in writes[sure[-1] if sure else 0 :]} | (
            set() if sure else {0}
        )
        found = items.get(key, 0) if container == "d" else int(key in members)
        assert found in possible, (verb, found, possible)


def check_lock(calls):
    """Check that nobody came in while another was inside, and that numbers rose with time."""
    held = sorted((one for one in calls if one.verb == "held"), key=lambda one: one.began)
    for before, after in pairwise(held):
        assert before.ended <= after.began, f"two holders: {before}, {after}"
        assert before.value < after.value, f"the number fell: {before}, {after}"


def is_linearizable(calls, initial):
    """Return whether there is an order of the calls in which each read gives the last write.

    The order keeps to time: who ended before another began comes first. A write of unknown outcome
    may come at any time after it began, or never.
    """
    calls = [one for one in calls if one.outcome == "ok" or one.verb == "write"]
    calls = sorted((one for one in calls if one.outcome != "failed"), key=lambda one: one.began)
    must = sum(1 << place for place, one in enumerate(calls) if one.outcome == "ok")
    seen, states = set(), [(0, initial)]
    while states:
        done, value = states.pop()
        if done & must == must:
            return True
        if (done, value) not in seen:
            seen.add((done, value))
            states += following(calls, done, value)
    return False


def following(calls, done, value):
    """Return what may come after the calls that are *done*, the most likely last."""
    open_calls, first_end = [], inf
    for place, one in enumerate(calls):
        if one.began > first_end:
            break
        if not done & 1 << place:
            open_calls.append((place, one))
            first_end = min(first_end, one.ended)
    may_be_next = [(place, one) for place, one in open_calls if one.began <= first_end]
    may_be_next.sort(key=lambda pair: -pair[1].ended)
    return [
        (done | 1 << place, one.value)
        for place, one in may_be_next
        if one.verb == "write" or one.value == value
    ]


def check_registers(calls, initial):
    for place in range(REGISTERS):
        mine = [
            one._replace(verb=verb)
            for one in calls
            for verb in ("read", "write")
            if one.verb == f"{verb} {place}"
        ]
        assert is_linearizable(mine, initial)


# --- what goes wrong meanwhile


def make_trouble(server, proxy, end):
    """Let things go wrong, one after the other, until *end*."""
    rng = random.Random(7)
    kinds = [
        lambda: proxy.drop_reply(3, after=rng.randrange(5)),
        lambda: proxy.drop_command(2, after=rng.randrange(5)),
        lambda: proxy.swallow_reply(1),
        proxy.cut,
        lambda: last(0.1, proxy.stall()),
        lambda: last(0.1, proxy.refuse()),
        lambda: last(0.1, stopped(server)),
        lambda: crash(server),
    ]
    while time.monotonic() < end:
        for kind in rng.sample(kinds, len(kinds)):
            kind()
            time.sleep(rng.uniform(0.05, 0.25))


def last(seconds, trouble):
    with trouble:
        time.sleep(seconds)


def crash(server):
    server.kill()
    time.sleep(0.05)
    server.start()
