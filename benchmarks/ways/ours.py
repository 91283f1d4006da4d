"""pottery, as it is here."""

from __future__ import annotations

from asyncio import gather

import containers
from redis import asyncio as asynchronous

from pottery import AIORedisDict, AIORedisList, AIORedisSet, AIORedisSimpleQueue


def ways(urls):
    return {**containers.ways(urls), **twins(urls[0])}


def twins(url):
    client = asynchronous.Redis.from_url(url)
    d = AIORedisDict(redis=client, key="big dict")
    s = AIORedisSet(redis=client, key="set")
    items = AIORedisList(redis=client, key="aio list")
    q = AIORedisSimpleQueue(redis=client, key="aio queue")

    async def get():
        return await d.get("key 5")

    async def put():
        await d.set("key 5", 5)

    async def push_and_pop():
        await items.append(1)
        return await items.pop()

    async def put_and_get():
        await q.put("x")
        return await q.get()

    async def has():
        return await s.has("a")

    async def everything():
        return await d.to_dict()

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
