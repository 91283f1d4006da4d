"""Clusters: which server a command goes to, and which names belong to one slot.

A cluster spreads its keys by their slot, and one command can only use keys of one slot. The rules:

1.  What belongs to a container (companions, copies, results) is named such that it has the slot of
    the container's key: see `companion` and `tag`.
2.  The client knows the servers, and lends connections to each; the front sends. The client's own
    way of sending is not used, since it sends again what may have run.
3.  A server that says MOVED or ASK has not run the command, so it goes on to where that says: see
    `Route`. The client is told of what was MOVED. Where a connection was lost, or the cluster says
    that it is down, the client asks the servers anew who serves which slots.

What redis-py does not offer as a public method is here, too: the nodes of an asynchronous client
lend connections, but are no pools.
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
from pottery._wire import hang_up, is_quiet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pottery._wire import Argument

_CLUSTERS = (redis.RedisCluster, redis.asyncio.RedisCluster)

# Redirections that are followed at once: one or two are usual.
_AT_ONCE = 4
# Seconds for which a command follows a slot that moves or waits for its keys to be together, and
# those between two looks.
_MIGRATION, _LOOK = 10.0, 0.02
# What says that somebody else may serve the slot by now.
_STALE = (RedisConnectionError, RedisTimeoutError, OSError, ClusterDownError)
# What pools say that have lent all that they may.
_NONE_LEFT = {"Too many connections", "No connection available."}


def is_cluster(client: object) -> bool:
    """Return whether *client*, of either colour, is one of a cluster."""
    kind: Any = type(client)
    return _is_cluster_type(kind)


@cache
def _is_cluster_type(kind: Any) -> bool:
    # Remembered, since classes of redis-py are protocols: to ask them takes almost a microsecond.
    return issubclass(kind, _CLUSTERS)


# --- names


def slot(key: str | bytes) -> int:
    """Return the slot of *key*, whatever encoding a client is configured with."""
    return int(key_slot(_encoded(key)))


def companion(key: str | bytes, name: str) -> str | bytes:
    """Return a key of the same slot as *key*, for something that belongs to it.

    That is `key~name` if *key* has a {tag}, as a rule `{key}~name` if it has none.
    """
    beside = _beside(_encoded(key)) + f"~{name}".encode()
    return beside.decode() if isinstance(key, str) else beside


def _beside(key: bytes) -> bytes:
    if _has_tag(key):
        return key
    return b"{" + key + b"}" if b"}" not in key else tag(slot(key)).encode() + key


@cache
def tag(number: int) -> str:
    """Return the same {tag} in all processes, that gives keys the slot *number*."""
    # About 16000 tries, a few milliseconds.
    return next(f"{{{n}}}" for n in map(str, count()) if key_slot(n.encode()) == number)


def by_slot(client: Any, keys: Iterable[str]) -> list[list[str]]:
    """Return *keys* in groups, each of which *client* may give to one command."""
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
    """Return the key, or the first of the keys, of a command."""
    if args[0] in ("EVALSHA", "EVAL"):
        return args[3]
    if args[0] == "XREAD":
        return args[args.index("STREAMS") + 1]
    return args[1]


# --- servers


def known_nodes(client: Any) -> set[str]:
    """Return the addresses of the nodes that *client* knows of: no node is in two clusters."""
    manager = client.nodes_manager
    return {*manager.startup_nodes, *manager.nodes_cache}


class Route:
    """The way of one command through the cluster behind *client*, in either colour.

    Before each attempt, `pool` is that of the server to ask, `asks` whether it has to be told that
    it was asked for. After a failure, `pause` says whether and when to try again; then `refresh`
    does what the failure calls for.
    """

    def __init__(
        self, client: Any, args: tuple[Argument, ...], pauses: Iterable[float | None]
    ) -> None:
        self.client = client
        self.key = _encoded(_key_of(args))
        self.is_sent = False  # some bytes of the command, maybe
        self._pauses = iter(pauses)
        self._redirections = 0
        self._until = 0.0
        self._error: Exception | None = None

    @property
    def asks(self) -> bool:
        """Whether the server is only about to take over the slot."""
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
        """Return for how long to wait until the next attempt, None if there must not be one."""
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
        """Return whether nothing was sent since the server is away."""
        if self.is_sent or isinstance(error, (ResponseError, AuthenticationError)):
            return False
        return str(error) not in _NONE_LEFT and not isinstance(error, MaxConnectionsError)

    def refresh(self) -> Any:
        """Tell the client what the failure says; return what is to be awaited, if it is."""
        self.is_sent = False
        manager, error = self.client.nodes_manager, self._error
        if isinstance(error, MovedError):
            return learn(self.client, error)
        return manager.initialize() if isinstance(error, _STALE) else None


def server(client: Any, node: Any) -> Any:
    """Return what has the `connection_pool` of *node*: as a client of that server alone has it."""
    if isinstance(client, redis.RedisCluster):
        return client.get_redis_connection(node)
    pools = nodes_of(client).pools
    pool = pools.get(node.name)
    if pool is None or pool.node is not node:
        pool = pools[node.name] = NodePool(node)
    return pool


def server_of(client: Any, args: tuple[Argument, ...]) -> Any:
    """Return what has the `connection_pool` for a command; ConnectionError if no server has."""
    return server(client, Route(client, args, ())._node())


def drop_idle(client: Any) -> None:
    """Close the idle connections of a blocking *client*."""
    for node in client.get_nodes():
        if node.redis_connection:
            node.redis_connection.connection_pool.disconnect(inuse_connections=False)


def learn(client: Any, moved: Any) -> Any:
    """Tell *client* where a slot is now; return what is to be awaited, if it is."""
    manager = client.nodes_manager
    moved.host, moved.port = manager.remap_host_port(moved.host, moved.port)
    if hasattr(manager, "move_slot"):
        return manager.move_slot(moved)
    manager._moved_exception = moved  # before redis-py 7, whose next look ...
    manager.get_node_from_slot(moved.slot_id)  # ... is this one
    return None


def _node_at(client: Any, ask: Any) -> Any:
    """Return the node to which an ASK leads: one that has no slots yet, perhaps."""
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
    """See to it that an asynchronous client knows its nodes; ConnectionError if none answers."""
    try:
        await client.initialize()
    except RedisClusterException as error:
        raise RedisConnectionError(str(error)) from error


async def done(step: Any) -> None:
    """Wait for what may have to be awaited."""
    if isawaitable(step):
        await step


class NodePool:
    """The connections of a *node* of an asynchronous client, as a pool has them."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.connection_pool = self
        self.connection_class = node.connection_class
        self.connection_kwargs = node.connection_kwargs

    async def get_connection(self, *_: object) -> Any:
        """Lend a connection on which nothing is to come."""
        try:
            connection = self.node.acquire_connection()
        except RedisConnectionError:  # in the words of a pool
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

    async def disconnect(self, **_: object) -> None:
        """Do nothing: `get_connection` sees to what was interrupted in it."""

    def reset(self) -> None:
        """Do nothing: see `Nodes`."""


class Nodes:
    """All nodes of an asynchronous *client*, also those to which no command went yet."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.manager = client.nodes_manager
        self.pools: dict[str, NodePool] = {}

    def reset(self) -> None:
        """Forget the connections and the locks of an event loop that runs no more."""
        renew_locks(self.client)
        renew_locks(self.manager)
        for node in (*self.manager.nodes_cache.values(), *self.manager.startup_nodes.values()):
            node._connections.clear()
            node._free.clear()


def nodes_of(client: Any) -> Nodes:
    """Return the nodes of an asynchronous *client*."""
    # The client has them, to be forgotten with it: they lead back to it, so that a mapping of ours,
    # even one of weak references, would keep all of them.
    nodes: Nodes | None = getattr(client, "_pottery_nodes", None)
    if nodes is None:
        nodes = client._pottery_nodes = Nodes(client)
    return nodes
