"""Clients: the default one, and whether two of them use the same server."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import redis.asyncio.sentinel
import redis.sentinel

from pottery._advice import remember_not_given
from pottery._cluster import is_cluster, known_nodes

_SENTINEL_POOLS: Any = (
    redis.sentinel.SentinelConnectionPool,
    redis.asyncio.sentinel.SentinelConnectionPool,
)
DEFAULT_URL = "redis://localhost:6379/0"


@cache
def default_client(client_type: Any) -> Any:
    """Return the client for REDIS_URL, or for a server on this machine; it is shared by all."""
    try:
        client = client_type.from_url(os.environ.get("REDIS_URL") or DEFAULT_URL)
    except ValueError:  # its text may show a password that is in the wrong place
        raise ValueError(f"REDIS_URL is not the URL of a server, such as {DEFAULT_URL}") from None
    remember_not_given(client)
    return client


def same_server(one: Any, other: Any) -> bool:
    """Return whether two clients certainly use the same server, database and user.

    A server may have many addresses, so False only means that we cannot tell. A cluster counts as
    one server here; any of its nodes identifies it.
    """
    if one is other:
        return True
    if is_cluster(one) or is_cluster(other):
        return _same_cluster(one, other)
    if one.connection_pool is other.connection_pool:
        return True
    return _whereabouts(one) == _whereabouts(other) is not None


def _same_cluster(one: Any, other: Any) -> bool:
    if not (is_cluster(one) and is_cluster(other)):
        return False
    user, other_user = (client.get_connection_kwargs().get("username") for client in (one, other))
    return user == other_user and not known_nodes(one).isdisjoint(known_nodes(other))


def _whereabouts(client: Any) -> tuple[Any, ...] | None:
    """Return what identifies the place where a client's commands go, None if nothing does."""
    pool = client.connection_pool
    if not isinstance(pool, _SENTINEL_POOLS):
        return address(client)
    if not pool.is_master:
        return None  # to some replica
    sentinels = frozenset(map(address, pool.sentinel_manager.sentinels))
    options = pool.connection_kwargs
    return pool.service_name, sentinels, options.get("username"), options.get("db") or 0


def address(client: Any) -> tuple[Any, ...] | None:
    """Return the address, user and database of a client, None if it has no address of its own."""
    options = client.connection_pool.connection_kwargs
    if not options.get("host") and not options.get("path"):
        return None  # found by Sentinel, say
    parts = (options.get(part) for part in ("host", "port", "path", "username"))
    return (*parts, options.get("db") or 0)
