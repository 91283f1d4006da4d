"""A shop on the web, with as many workers as you like: what they share is in Redis.

    REDIS_URL=redis://localhost:6379/0 uvicorn web:app --app-dir examples --workers 2

- Customers may ask so many times a minute, whichever workers answer: an AIORedisCounter.
- What is costly to compute is computed once, however many ask for it at once: redis_cache.
- Two customers never get the same piece: an AIORedlock, around a look and what follows from it.
- How many customers there were is known without keeping a list of them: an AIOHyperLogLog.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager

from redis.asyncio import BlockingConnectionPool, Redis
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from pottery import (
    AIOHyperLogLog,
    AIORedisCounter,
    AIORedisDeque,
    AIORedisDict,
    AIORedlock,
    redis_cache,
)


async def make_report(month):
    """Return what takes the database a while."""
    await asyncio.sleep(0.5)
    return {"month": month, "made at": time.time_ns()}


class Shop:
    """What every worker knows of the shop: names of things in Redis, which stay in step."""

    def __init__(self, redis, prefix="shop"):
        self.redis, self.prefix = redis, prefix
        self.stock = AIORedisDict(redis=redis, key=f"{prefix}:stock")
        self.orders = AIORedisDeque(redis=redis, key=f"{prefix}:orders")
        self.customers = AIOHyperLogLog(redis=redis, key=f"{prefix}:customers")
        cached = redis_cache(redis=redis, key=f"{prefix}:reports", ttl=300, single_flight=True)
        self.report = cached(make_report)

    def requests(self, minute):
        return AIORedisCounter(redis=self.redis, key=f"{self.prefix}:requests:{minute}")

    async def count_request(self, customer):
        """Count a request, and return how many this customer has made within the minute."""
        requests = self.requests(int(time.time() // 60))
        await requests.update([customer])  # first, so that many at once cannot all slip through
        count, *_ = await asyncio.gather(
            requests.fetch(customer),
            self.customers.add(customer),
            self.redis.expire(requests.key, 120),
        )
        return count

    async def sell(self, item, customer):
        """Return how many pieces are left after this one, None if there is none to sell."""
        async with AIORedlock(key=f"{self.prefix}:{item}", masters={self.redis}):
            left = await self.stock.get(item, 0)
            if not left:
                return None
            await self.stock.set(item, left - 1)
            await self.orders.append([item, customer])
        return left - 1


class RateLimit:
    """Middleware that answers in place of the application when a customer asks too often."""

    def __init__(self, app, per_minute):
        self.app, self.per_minute = app, per_minute

    async def __call__(self, scope, receive, send):
        app = self.app
        if scope["type"] == "http":
            request = Request(scope)
            count = await request.state.shop.count_request(customer_of(request))
            if count > self.per_minute:
                app = PlainTextResponse("Not so fast", 429, headers={"Retry-After": "60"})
        await app(scope, receive, send)


def customer_of(request):
    return request.headers.get("x-api-key") or request.client.host


async def report(request):
    made = await request.state.shop.report(request.path_params["month"])
    return JSONResponse(made, headers={"X-Worker": str(os.getpid())})


async def order(request):
    left = await request.state.shop.sell(request.path_params["item"], customer_of(request))
    if left is None:
        return PlainTextResponse("Sold out", 409)
    return JSONResponse({"left": left}, 201)


async def customers(request):
    return JSONResponse(await request.state.shop.customers.size())


@asynccontextmanager
async def lifespan(_):
    """Open the client of this worker, and close it in the end."""
    # The eleventh request that wants a connection at the same time waits for one of these.
    url = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
    pool = BlockingConnectionPool.from_url(url, max_connections=10, timeout=None)
    async with Redis.from_pool(pool) as redis:
        yield {"shop": Shop(redis, os.environ.get("SHOP", "shop"))}


app = Starlette(
    routes=[
        Route("/reports/{month}", report),
        Route("/orders/{item}", order, methods=["POST"]),
        Route("/customers", customers),
    ],
    middleware=[Middleware(RateLimit, per_minute=100)],
    lifespan=lifespan,
)
