"""Clusters: which server a command goes to, and which keys share a slot.

A cluster distributes its keys by slot, and one command can only use keys of one slot. The rules:

1.  What belongs to a container (companions, copies, results) has a key in the same slot as the
    container's: see `companion` and `tag`.
2.  The client knows the servers and lends connections to each; the front does the sending. The
    client's own way of sending is not used, since it resends commands that may have run.
3.  A server that answers MOVED or ASK has not run the command, so the command goes on to the server
    that the answer names: see `Route`. The client is told about MOVED. After a lost connection, or
    when the cluster says that it is down, the client asks the servers again which slots they serve.

This module also does what redis-py has no public method for: the nodes of an asynchronous client
lend connections, but they are not pools.
"""

from __future__ import annotations

from functools import cache
from inspect import isawaitable
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import redis
import redis.asyncio
from redis.asyncio.cluster import ClusterNode as AsyncClusterNode
from redis.cluster import ClusterNode
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MaxConnectionsError,
    MovedError,
    RedisClusterException,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pottery._event_loop import renew_locks
from pottery._wire import close_idle, hang_up, is_quiet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pottery._wire import Argument

_CLUSTERS = (redis.RedisCluster, redis.asyncio.RedisCluster)

# Redirections that are followed without a pause; one or two are usual.
_AT_ONCE = 4
# Seconds for which a command follows a slot that moves, or waits until its keys are together
# again; and seconds between two attempts.
_MIGRATION, _LOOK = 10.0, 0.02
# Errors after which another server may serve the slot by now.
_STALE = (RedisConnectionError, RedisTimeoutError, OSError, ClusterDownError)
# What a pool says when it has lent all its connections.
_NONE_LEFT = {"Too many connections", "No connection available."}


def is_cluster(client: object) -> bool:
    """Return whether *client*, blocking or asynchronous, is a cluster client."""
    kind: Any = type(client)
    return _is_cluster_type(kind)


@cache
def _is_cluster_type(kind: Any) -> bool:
    # Cached: redis-py's classes are protocols, so issubclass takes almost a microsecond.
    return issubclass(kind, _CLUSTERS)


# --- names


def slot(key: str | bytes) -> int:
    """Return the slot of *key*, whatever encoding a client is configured with."""
    return int(key_slot(_encoded(key)))


def companion(key: str | bytes, name: str) -> str | bytes:
    """Return a key in the same slot as *key*, for something that belongs to it.

    It is `key~name` if *key* has a {tag}, and usually `{key}~name` if it has none.
    """
    beside = _beside(_encoded(key)) + f"~{name}".encode()
    return beside.decode() if isinstance(key, str) else beside


def _beside(key: bytes) -> bytes:
    if _has_tag(key):
        return key
    return b"{" + key + b"}" if b"}" not in key else tag(slot(key)).encode() + key


@cache
def tag(number: int) -> str:
    """Return a {tag} that puts keys in slot *number*, the same one in all processes."""
    # About 16000 tries, a few milliseconds.
    return next(f"{{{n}}}" for n in map(str, count()) if key_slot(n.encode()) == number)


def by_slot(client: Any, keys: Iterable[str]) -> list[list[str]]:
    """Return *keys* in groups, so that *client* can send each group in one command."""
    if not is_cluster(client):
        return [list(keys)]
    groups: dict[int, list[str]] = {}
    for key in keys:
        groups.setdefault(slot(key), []).append(key)
    return list(groups.values())


def _encoded(key: str | bytes) -> bytes:
    return key.encode() if isinstance(key, str) else key


def _has_tag(key: bytes) -> bool:
    _, brace, rest = key.partition(b"{")
    return bool(brace) and rest.find(b"}") > 0


def _key_of(args: tuple[Argument, ...]) -> Argument:
    """Return the key of a command, or the first of its keys."""
    if args[0] in ("EVALSHA", "EVAL"):
        return args[3]
    if args[0] == "XREAD":
        return args[args.index("STREAMS") + 1]
    return args[1]


# --- servers


def known_nodes(client: Any) -> set[str]:
    """Return the addresses of the nodes that *client* knows; no node is in two clusters."""
    manager = client.nodes_manager
    return {*manager.startup_nodes, *manager.nodes_cache}


class Route:
    """The route of one command through the cluster behind *client*, blocking or asynchronous.

    Before each attempt, `pool` returns the pool of the server to ask, and `asks` tells whether that
    server must be sent ASKING first. After a failure, `pause` tells whether and when to try again;
    then `refresh` updates what the client knows.
    """

    def __init__(
        self, client: Any, args: tuple[Argument, ...], pauses: Iterable[float | None]
    ) -> None:
        self.client = client
        self.key = _encoded(_key_of(args))
        self.is_sent = False  # whether any bytes of the command may have left
        self._pauses = iter(pauses)
        self._redirections = 0
        self._until = 0.0
        self._error: Exception | None = None

    @property
    def asks(self) -> bool:
        """Whether the server does not have the slot yet, but is about to take it over."""
        return isinstance(self._error, AskError) and not isinstance(self._error, MovedError)

    def pool(self) -> Any:
        """Return the pool of the server to ask; ConnectionError if there is none."""
        return server(self.client, self._node()).connection_pool

    def _node(self) -> Any:
        if self.asks:
            return _node_at(self.client, self._error)
        try:
            return self.client.get_node_from_key(self.key)
        except RedisClusterException as error:
            raise RedisConnectionError(str(error)) from error

    def pause(self, error: Exception, *, repeatable: bool) -> float | None:
        """Return how long to wait before the next attempt, None if there must not be one."""
        self._error = error
        if isinstance(error, (AskError, TryAgainError)):
            return self._pause_of_migration(error)
        may_go_on = repeatable or self._is_unreachable(error)
        return next(self._pauses, None) if may_go_on else None

    def _pause_of_migration(self, error: Exception) -> float | None:
        self._until = self._until or monotonic() + _MIGRATION
        if monotonic() >= self._until:
            return None
        self._redirections += 1
        is_at_once = isinstance(error, AskError) and self._redirections <= _AT_ONCE
        return 0.0 if is_at_once else _LOOK

    def _is_unreachable(self, error: Exception) -> bool:
        """Return whether nothing was sent because the server cannot be reached."""
        if self.is_sent or isinstance(error, (ResponseError, AuthenticationError)):
            return False
        return str(error) not in _NONE_LEFT and not isinstance(error, MaxConnectionsError)

    def refresh(self) -> Any:
        """Tell the client what the failure says; return what to await, None if nothing."""
        self.is_sent = False
        manager, error = self.client.nodes_manager, self._error
        if isinstance(error, MovedError):
            return learn(self.client, error)
        return manager.initialize() if isinstance(error, _STALE) else None


def server(client: Any, node: Any) -> Any:
    """Return an object with the `connection_pool` of *node*, like a client of that server."""
    if isinstance(client, redis.RedisCluster):
        return client.get_redis_connection(node)
    pools = nodes_of(client).pools
    pool = pools.get(node.name)
    if pool is None or pool.node is not node:
        pool = pools[node.name] = NodePool(node)
    return pool


def server_of(client: Any, args: tuple[Argument, ...]) -> Any:
    """Return an object with the `connection_pool` for a command; ConnectionError if none has."""
    return server(client, Route(client, args, ())._node())


def drop_idle(client: Any) -> None:
    """Close the idle connections of a blocking *client*."""
    for node in client.get_nodes():
        if node.redis_connection:
            close_idle(node.redis_connection.connection_pool)


def learn(client: Any, moved: Any) -> Any:
    """Tell *client* where a slot is now; return what to await, None if nothing."""
    manager = client.nodes_manager
    moved.host, moved.port = manager.remap_host_port(moved.host, moved.port)
    if hasattr(manager, "move_slot"):
        return manager.move_slot(moved)
    manager._moved_exception = moved  # before redis-py 7: applied by its next look-up ...
    manager.get_node_from_slot(moved.slot_id)  # ... which is this one
    return None


def _node_at(client: Any, ask: Any) -> Any:
    """Return the node that an ASK names, which may have no slots yet."""
    manager = client.nodes_manager
    host, port = manager.remap_host_port(ask.host, ask.port)
    node = manager.get_node(host=host, port=port)
    if node is None:
        if isinstance(client, redis.RedisCluster):
            node = cast("Any", ClusterNode)(host, port, "primary")
        else:
            node = AsyncClusterNode(host, port, "primary", **manager.connection_kwargs)
        node = manager.nodes_cache.setdefault(node.name, node)
    return node


async def ready(client: Any) -> None:
    """Make sure that an asynchronous client knows its nodes; ConnectionError if none answers."""
    try:
        await client.initialize()
    except RedisClusterException as error:
        raise RedisConnectionError(str(error)) from error


async def done(step: Any) -> None:
    """Await *step* if it has to be awaited."""
    if isawaitable(step):
        await step


class NodePool:
    """The connections of a *node* of an asynchronous client, with the methods of a pool."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.connection_pool = self
        self.connection_class = node.connection_class
        self.connection_kwargs = node.connection_kwargs

    async def get_connection(self, *_: object) -> Any:
        """Lend a connection on which no reply is pending."""
        try:
            connection = self.node.acquire_connection()
        except RedisConnectionError:  # say it in the words of a pool
            raise RedisConnectionError("Too many connections") from None
        try:
            if connection.is_connected and not await is_quiet(connection):
                await hang_up(connection)
            await connection.connect()
        except BaseException:
            await hang_up(connection)
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: Any) -> None:
        """Take a connection back."""
        release = getattr(self.node, "release", self.node._free.append)
        release(connection)

    def reset(self) -> None:
        """Do nothing: `Nodes.reset` does it."""


class Nodes:
    """All nodes of an asynchronous *client*, even those that no command has used yet."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.manager = client.nodes_manager
        self.pools: dict[str, NodePool] = {}

    def reset(self) -> None:
        """Forget the connections and the locks of an event loop that no longer runs."""
        renew_locks(self.client)
        renew_locks(self.manager)
        for node in (*self.manager.nodes_cache.values(), *self.manager.startup_nodes.values()):
            node._connections.clear()
            node._free.clear()


def nodes_of(client: Any) -> Nodes:
    """Return the nodes of an asynchronous *client*."""
    # Stored on the client, so that both are collected together: the nodes refer to the client, so
    # a mapping of ours, even one with weak keys, would keep both alive.
    nodes: Nodes | None = getattr(client, "_pottery_nodes", None)
    if nodes is None:
        nodes = client._pottery_nodes = Nodes(client)
    return nodes
