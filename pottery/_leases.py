"""Leases: connections taken from the pools of clients, by the methods that redis-py itself uses.

To lend a connection and to take it back costs redis-py more time than all else that a client does
for a command. So a few connections of each pool stay leased from command to command, as many as
were needed at the same time: they have *standing leases*. Whoever finds all of these in use leases
another connection for the time of the command, as does everybody at a pool that is not made for
this: one that makes callers wait, that is small, or that wants to see every connection again (to
authenticate it anew, or since its server may have changed).
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from threading import Lock
from typing import Any, cast

import redis
import redis.asyncio
from redis.exceptions import RedisError

from pottery._event_loop import (
    cancellations,
    deliver_cancellation,
    has_ended,
    move_to_this_loop,
    wake_another,
)
from pottery._wire import FAILURES, close_idle, hang_up, hang_up_idle

_VERSION = tuple(int(part) for part in redis.__version__.split(".")[:2])
# Before redis-py 5.3, a pool must be told the name of the command; since then, it must not be.
FOR_COMMAND = ("_",) if _VERSION < (5, 3) else ()
# Not their subclasses, such as Sentinel's. Before redis-py 8, pools were faster, and connections
# did not tell whether they are connected.
_KINDS = (redis.ConnectionPool, redis.asyncio.ConnectionPool) if _VERSION >= (8, 0) else ()
# Connections that stay leased, at most; none of a pool that may have fewer than so many in all.
_MOST, _MANY = 8, 100
_ATTRIBUTE = "_standing_leases_of_pottery"


class StandingLease:
    """One connection of a pool, or None yet, for the use of whoever holds `lock`."""

    __slots__ = ("connection", "lock", "place")

    def __init__(self) -> None:
        self.connection: Any = None
        self.lock = Lock()
        self.place: Any = None  # the process or event loop that the connection belongs to


# What those get who find none: nobody ever gets hold of it.
_NEVER = StandingLease()
_NEVER.lock.acquire()


def standing_lease(pool: Any) -> StandingLease:
    """Return a standing lease of *pool* that nobody uses at the moment."""
    for lease in getattr(pool, _ATTRIBUTE, None) or standing_leases(pool):
        if not lease.lock.locked():
            return lease
    return _NEVER


def standing_leases(pool: Any) -> tuple[StandingLease, ...]:
    """Return all standing leases of *pool*."""
    if not _may_stand(pool):
        return ()
    # On the pool itself: connections may refer to their pool, so that an entry of a weak dictionary
    # would keep both of them alive.
    of_pool = cast("dict[str, tuple[StandingLease, ...]]", vars(pool))
    new = tuple(StandingLease() for _ in range(_MOST))
    leases = of_pool.setdefault(_ATTRIBUTE, new)
    if leases is new:  # no other thread was quicker
        pool.max_connections += _MOST  # so that everybody else can have as many as before
    return leases


def _may_stand(pool: Any) -> bool:
    return (
        type(pool) in _KINDS
        and pool.max_connections >= _MANY
        and getattr(pool, "cache", None) is None
        and not pool.connection_kwargs.get("credential_provider")
    )


def lease_blocking(pool: Any, standing: StandingLease) -> Any:
    """Return a connection that is ready for a command: that of *standing*, or another of *pool*.

    Afterwards the lock of *standing* must be released, or the other one given back.
    """
    if not standing.lock.acquire(False):
        return _lease(pool)
    try:
        if standing.place != os.getpid():  # it belongs to a parent process
            standing.connection, standing.place = None, os.getpid()
        if standing.connection and not _is_ready(pool, standing.connection):
            connection, standing.connection = standing.connection, None
            connection.disconnect()
            pool.release(connection)
        if not standing.connection:
            standing.connection = _lease(pool)
    except BaseException:
        standing.lock.release()
        raise
    return standing.connection


def _is_ready(pool: Any, connection: Any) -> bool:
    """Make sure of what *pool* makes sure of, too, before it lends a connection."""
    try:
        if _is_forgotten(pool, connection) or not connection.is_connected:
            return False
        if connection.should_reconnect():
            return False
        # The server may have told that it is about to move: redis-py has to hear it.
        if connection.can_read() and not pool.maint_notifications_enabled():
            return False
        connection.check_health()
    except FAILURES:
        return False
    except BaseException:
        connection.disconnect()
        raise
    return True


def _is_forgotten(pool: Any, connection: Any) -> bool:
    """Return whether *pool* was reset since: it may have been told to connect to elsewhere."""
    return connection not in pool._in_use_connections  # there is no public access to it


def _lease(pool: Any) -> Any:
    try:
        connection = pool.get_connection(*FOR_COMMAND)
    except RedisError:
        raise
    except BaseException:
        # Maybe interrupted in its handshake, and back among the idle connections.
        close_idle(pool)
        raise
    try:
        connection.check_health()
    except BaseException:
        connection.disconnect()
        pool.release(connection)
        raise
    return connection


def release_again(pool: Any, connection: Any) -> None:
    """Give a connection back after an interrupt of doing so."""
    # Most likely, the first release was interrupted before it began. A second one does no harm,
    # except to a pool that blocks: it would lend the connection to two callers.
    if not isinstance(pool, redis.BlockingConnectionPool):
        pool.release(connection)


async def lease_awaiting(pool: Any, standing: StandingLease) -> Any:
    """Return a connection as `lease_blocking` does."""
    move_to_this_loop(pool)
    if not _is_held_here(standing):
        return await _lease_awaiting(pool)
    try:
        if standing.connection and not await _is_ready_awaiting(pool, standing.connection):
            connection, standing.connection = standing.connection, None
            await hang_up(connection)
            with suppress(KeyError):  # if the pool was reset meanwhile
                await pool.release(connection)
        if not standing.connection:
            standing.connection = await _lease_awaiting(pool)
    except BaseException:
        standing.lock.release()
        raise
    return standing.connection


def _is_held_here(standing: StandingLease) -> bool:
    """Return whether we got hold of a standing lease for this event loop."""
    if not standing.lock.acquire(False):
        return False
    loop = asyncio.get_running_loop()
    if standing.place is not loop:
        if standing.place and standing.place.is_running():
            standing.lock.release()
            return False
        standing.connection, standing.place = None, loop
    return True


async def _is_ready_awaiting(pool: Any, connection: Any) -> bool:
    try:
        if _is_forgotten(pool, connection) or not connection.is_connected:
            return False
        if connection.should_reconnect() or has_ended(connection):
            return False
        if await connection.can_read() and not pool.maint_notifications_enabled():
            return False
        await connection.check_health()
    except FAILURES:
        return False
    except BaseException:
        await hang_up(connection)
        raise
    return True


async def _lease_awaiting(pool: Any) -> Any:
    before = cancellations()
    try:
        connection = await pool.get_connection(*FOR_COMMAND)
    except BaseException as error:
        if not isinstance(error, RedisError):
            await hang_up_idle(pool)
        await wake_another(pool)
        raise
    try:
        if has_ended(connection):
            await hang_up(connection)
            await connection.connect()
        deliver_cancellation(before)
        await connection.check_health()
    except BaseException:
        await hang_up(connection)
        await pool.release(connection)
        raise
    return connection


async def release_awaiting(pool: Any, connection: Any) -> None:
    """Give a connection back to *pool*, even if the task is cancelled meanwhile."""
    try:
        await pool.release(connection)
    except asyncio.CancelledError:
        if not isinstance(pool, redis.asyncio.BlockingConnectionPool):
            with suppress(KeyError):  # if it was released after all
                await pool.release(connection)
        raise
