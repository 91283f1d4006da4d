"""Perform an operation while something goes wrong, and judge what became of it.

What is promised, by the result or the error and by what is in the database before and after:

1.  Without an error, the operation was done exactly once, and gave what it gives undisturbed.
2.  With OutcomeUnknown it was done once or not at all: all is as before, or as after it.
3.  With any other error of the connection it was not done: all is as before.
4.  An interrupt says as much as OutcomeUnknown; so does what locks and IDs raise.
5.  Whatever happened, it is over in time, the client goes on with right answers, its pool has its
    connections back, and no temporary key is left over.

What of the database does not count, by these rules:

1.  Records of callers (the key, `~`, 32 hexadecimal digits) and what wakes those who wait expire
    and belong to nobody's data.
2.  Temporary keys have random names. The one that a result has is read as part of the result.
3.  An item of a queue has a number by the clock; it is the same item in the stream and beside it.
4.  The token of a lock is random, so only whether there is one counts.
5.  A HyperLogLog keeps its last count in its header, for the next one who asks.
6.  Of an expiry only counts whether there is one.
7.  What a queue is in doubt of, the next operation on it gives back. So one follows every failure.
8.  A lock is given back once more, if need be, after the call that did it.
9.  An ID that was issued to nobody is left out, so the next one is a higher one.
"""

from __future__ import annotations

import asyncio
import gc
import re
import time
from inspect import isawaitable
from typing import Any, NamedTuple

from operations import LOCKS, attach, prepare
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pottery import (
    AIONextId,
    AIORedisList,
    AIORedisSet,
    AIORedisSimpleQueue,
    NextId,
    OutcomeUnknown,
    RedisList,
    RedisSet,
    RedisSimpleQueue,
)
from pottery._leases import standing_leases
from pottery._views import RedisDictItems, RedisDictKeys, RedisDictValues
from pottery.base import Base
from pottery.exceptions import PrimitiveError


class Interrupt(Exception):
    """What a signal handler raises, as Celery's soft time limit does."""


FAILURES = (RedisConnectionError, RedisTimeoutError, PrimitiveError)
# Who raises this, does not say that nothing was done.
SURE_OF_NOTHING = (
    OutcomeUnknown,
    PrimitiveError,
    Interrupt,
    asyncio.CancelledError,
    asyncio.TimeoutError,
)
QUEUES = {RedisSimpleQueue, AIORedisSimpleQueue}
# Which member is taken is up to the server, so a run cannot be compared with another one.
RANDOM = {(RedisSet, "pop"), (AIORedisSet, "pop")}
TAKES_ID = {(NextId, "__next__"), (AIONextId, "__anext__")}
# Seconds in which whatever happens must be over.
PATIENCE = 10.0
# Seconds in which a lock must have been given back.
GRACE = 3.0
# What is beside the content, to tell whether a reply belongs to somebody else.
PROBES = range(3)
LEAK = "kept a connection of the pool"
ASIDE = re.compile(rb"pottery:|probe |.*~([0-9a-f]{32}|waiting|bell|reserved)$")
RANDOM_NAME = re.compile(r"pottery:[0-9a-f-]{36}|0x[0-9a-f]+|^[0-9a-f]{40}$")
SEEN_BY = {
    b"string": lambda client, key: client.get(key),
    b"list": lambda client, key: client.lrange(key, 0, -1),
    b"set": lambda client, key: client.smembers(key),
    b"hash": lambda client, key: client.hgetall(key),
    b"stream": lambda client, key: [entry[b"item"] for _, entry in client.xrange(key)],
    b"zset": lambda client, key: [text.partition(b":")[2] for text in client.zrange(key, 0, -1)],
    b"none": lambda client, key: None,
}


def content(client, key):
    """Return what is at *key*, by the rules above."""
    seen = SEEN_BY[client.type(key)](client, key)
    if key.startswith(b"redlock:"):
        return "token"
    if isinstance(seen, bytes) and seen.startswith(b"HYLL"):
        return seen[:8] + seen[16:]
    return seen


def state(client):
    """Return the content of each key that counts, and whether it expires."""
    keys = [key for key in client.keys("*") if not ASIDE.match(key)]
    found = {key: (content(client, key), client.ttl(key) > 0) for key in keys}
    if b"filled~returned" in found:
        items, _ = found.pop(b"filled~returned")
        found[b"filled"] = [*items, *found.get(b"filled", ([], False))[0]], False
    return found


def shown(value, client):
    """Return what of a result can be compared with that of another run."""
    if isinstance(value, Base):
        key = value.key if isinstance(value.key, bytes) else value.key.encode()
        return type(value).__name__, content(client, key)
    if isinstance(value, str):
        return RANDOM_NAME.sub("*", value)
    if isinstance(value, float):
        return "seconds" if value > 0 else "no time"
    is_view = isinstance(value, (RedisDictItems, RedisDictKeys, RedisDictValues))
    is_plain = type(value).__eq__ is not object.__eq__
    return value if is_plain and not is_view else type(value).__name__


class Trial(NamedTuple):
    """What there was before and after an operation, and what it gave or raised."""

    before: Any
    after: Any
    result: Any
    error: BaseException | None
    seconds: float


class Stage:
    """A client of each colour, through which things go wrong, and a *seer* beside them."""

    def __init__(self, loop, seer, blocking, awaiting):
        self.loop = loop
        self.seer = seer
        self.clients = {False: blocking, True: awaiting}
        self.lent = 0  # connections that are known to be missing

    def client(self, operation):
        return self.clients[operation.is_awaited]

    def settle(self, value):
        return self.loop.wait(value) if isawaitable(value) else value

    def perform(self, operation, run=None, errors=FAILURES, items="01234"):
        """Perform an operation once, by *run* if it is given; return what became of it."""
        self.seer.flushdb()
        prepare(operation.kind, self.seer, items)
        for number in PROBES:
            self.seer.rpush(f"probe {number}", number)
        self.answers(operation)  # so that the client is connected
        target = self.settle(attach(operation, self.client(operation)))
        before, result, caught = state(self.seer), None, None
        began = time.monotonic()
        try:
            result = (run or self.call)(lambda: operation.call(target))
        except errors as error:
            caught = bare(error)
        seconds = time.monotonic() - began
        self.seer.ping()  # behind which nothing is on its way any more
        if caught and operation.kind in QUEUES:
            self.settle(target.qsize())
        return Trial(before, state(self.seer), shown(result, self.seer), caught, seconds)

    def call(self, call):
        return self.settle(call())

    def answers(self, operation):
        """Ask for what is beside the content."""
        client = self.client(operation)
        if operation.is_awaited:
            lists = [AIORedisList(redis=client, key=f"probe {number}") for number in PROBES]
            return [self.settle(it.fetch(0)) for it in lists]
        return [RedisList(redis=client, key=f"probe {number}")[0] for number in PROBES]

    def damage(self, operation):
        """Return what is wrong with the client afterwards, '' if nothing."""
        if self.answers(operation) != [*PROBES]:
            return "got a reply that belongs to another"
        pool = self.client(operation).connection_pool
        standing = sum(lease.connection is not None for lease in standing_leases(pool))
        lent = len(pool._in_use_connections) - standing
        self.lent, before = lent, self.lent
        if lent > before:
            return LEAK
        if self.seer.keys("pottery:*"):
            gc.collect()
            self.answers(operation)  # which unlinks what is left over
        return "left a temporary key" if self.seer.keys("pottery:*") else ""

    def pause(self, operation):
        """Let what goes on in the background go on."""
        if operation.is_awaited:
            self.settle(asyncio.sleep(0.01))
        else:
            time.sleep(0.01)

    def verdict(self, operation, clean, trial):
        """Return which promise was broken, '' if none; *clean* is the trial without a fault."""
        wrong = breach(operation, clean, trial)
        deadline = time.monotonic() + GRACE
        while wrong and operation.kind in LOCKS and time.monotonic() < deadline:
            self.pause(operation)
            wrong = breach(operation, clean, trial._replace(after=state(self.seer)))
        return wrong or self.damage(operation)


def bare(error):
    """Return *error* without what it went through, which would keep containers alive."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def breach(operation, clean, trial):
    assert trial.before == clean.before
    if trial.seconds > PATIENCE:
        return f"took {trial.seconds} seconds"
    if trial.error is None:
        return "" if is_alike(operation, clean, trial) else f"was not done once: {trial}, {clean}"
    if trial.after == trial.before:
        return ""
    if isinstance(trial.error, SURE_OF_NOTHING) and is_alike(operation, clean, trial):
        return ""
    return f"changed something all the same: {trial}, {clean}"


def is_alike(operation, clean, trial):
    """Return whether an operation did what it does undisturbed, and gave that unless it failed."""
    has_given = trial.error is None
    if operation[:2] in RANDOM:
        (before, _), (after, _) = trial.before[b"filled"], trial.after[b"filled"]
        taken = before - after
        return len(taken) == 1 and (not has_given or taken == {f'"{trial.result}"'.encode()})
    if operation[:2] in TAKES_ID:
        last = int(trial.after[b"nextid:filled"][0])
        return last >= clean.result and (not has_given or trial.result == last)
    return trial.after == clean.after and (not has_given or trial.result == clean.result)
