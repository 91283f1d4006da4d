"""One call of an operation in its colour, with a fault between attaching and calling."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from contextlib import contextmanager
from time import monotonic, sleep

import redis.asyncio as asynchronous
from operations import IDS, LOCKS, attach
from redis import Redis

PREFIXES = {**dict.fromkeys(IDS, b"nextid:"), **dict.fromkeys(LOCKS, b"redlock:")}
TEMPORARY = b"pottery:"


def key_of(kind):
    """Return the key of what `attach` returns."""
    return PREFIXES.get(kind, b"") + b"filled"


def perform(operation, url, fault=lambda: None, *, connects=False, **options):
    """Attach by a client of its own, let the fault happen, call, and return the result.

    With *connects*, there is a connection before the fault; else perhaps.
    """
    if operation.is_awaited:
        return asyncio.run(perform_awaiting(operation, url, fault, connects, options))
    with Redis.from_url(url, **options) as client:
        target = attach(operation, client)
        if connects:
            client.ping()
        fault()
        return operation.call(target)


async def perform_awaiting(operation, url, fault, connects, options):
    client = asynchronous.Redis.from_url(url, **options)
    try:
        target = attach(operation, client)
        if inspect.isawaitable(target):
            target = await target
        if connects:
            await client.ping()
        fault()
        result = operation.call(target)
        return await result if inspect.isawaitable(result) else result
    finally:
        await (client.aclose() if hasattr(client, "aclose") else client.close())


def outcome(operation, url, fault=lambda: None, **options):
    """Return the result, or the exception that was raised instead."""
    try:
        return perform(operation, url, fault, **options)
    except Exception as error:  # noqa: BLE001 - for the test to judge
        return error


def content(client, *, temporary=False):
    """Return what is at each key, but temporary ones, and whether it expires."""
    keys = [key for key in client.scan_iter() if temporary or not key.startswith(TEMPORARY)]
    return {key: (read(client, key), client.pttl(key) > 0) for key in keys}


def read(client, key):
    """Return the elements at a key, counted; DUMP would show as well how Redis keeps them."""
    kind = client.type(key)
    if kind == b"string":
        text = client.get(key)
        # But for what Redis itself notes down there when it has counted.
        return Counter([text[:8] + text[16:] if text.startswith(b"HYLL") else text])
    if kind == b"list":
        return Counter(enumerate(client.lrange(key, 0, -1)))
    if kind == b"stream":
        return Counter(repr(fields) for _, fields in client.xrange(key))
    if kind == b"zset":
        return Counter(client.zrange(key, 0, -1, withscores=True))
    return Counter(client.hgetall(key).items() if kind == b"hash" else client.smembers(key))


def until(condition, patience=20.0):
    """Wait for a condition."""
    end = monotonic() + patience
    while not condition():
        assert monotonic() < end
        sleep(0.005)


@contextmanager
def within(seconds):
    """Fail if the block takes longer, as if it hung."""
    began = monotonic()
    yield
    assert monotonic() - began < seconds
