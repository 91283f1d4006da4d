"""Locks that are lost when a test wants them to be."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import redis.asyncio
from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from pottery._clients import address
from pottery._lock_scripts import RELEASE
from pottery._quorum import evaluate

if TYPE_CHECKING:
    from pottery.redlock import AIORedlock, Redlock

# Seconds that a master has to answer; one that does not is skipped.
_PATIENCE = 1.0
# Options of an asynchronous client that a blocking one needs to reach the same server.
_OPTIONS = ("host", "port", "db", "username", "password", "credential_provider")


def lose_lock(lock: Redlock | AIORedlock) -> None:
    """Make the holder lose *lock*, as if its lease had run out now, and free it for others.

    Use it to test what a program does then: `lost` is set and *on_lost* is called, as usual;
    `locked` returns 0, `extend` and `release` raise, and another caller may acquire the lock. This
    function blocks for a moment; for an AIORedlock, call it in the thread of its event loop.

    Raises RuntimeError if *lock* is not held, and TypeError if its masters have no address of their
    own, like those that Sentinel finds.
    """
    grant = lock._current()
    if grant is None or not grant.left():
        raise RuntimeError(f"{lock!r} is not held")
    command = evaluate(RELEASE, lock._keys("reserved", "waiting", "bell"), (grant.token, "1", "0"))
    clients: list[Any] = [_blocking(master) for master in lock.masters]
    for client in clients:
        with suppress(RedisConnectionError, RedisTimeoutError), client:
            client.execute_command(*command)
    grant.until = 0.0
    if grant.watch:
        grant.watch.over.set()  # wakes the watch, which finds that time is up


def _blocking(master: Any) -> Redis:
    """Return a new blocking client of the server of *master*, with a short time-out."""
    if address(master) is None:
        raise TypeError(f"no address is known of {master!r}")
    pool = master.connection_pool
    options = {name: pool.connection_kwargs.get(name) for name in _OPTIONS}
    options |= {name: value for name, value in pool.connection_kwargs.items() if "ssl_" in name}
    return Redis(
        **{name: value for name, value in options.items() if value is not None},
        unix_socket_path=pool.connection_kwargs.get("path"),
        ssl=issubclass(pool.connection_class, (SSLConnection, redis.asyncio.SSLConnection)),
        socket_timeout=_PATIENCE,
        retry=Retry(NoBackoff(), 0),
    )
