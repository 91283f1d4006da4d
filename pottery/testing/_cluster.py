"""A real Redis cluster of one's own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from redis import RedisCluster
from redis.cluster import ClusterNode
from redis.exceptions import RedisError

from pottery.testing._server import RedisServer, ServerGroup, wait

if TYPE_CHECKING:
    from collections.abc import Mapping


# These make a server a node that takes another one for dead after a second, sooner than usual. By
# default, a master of Redis 7 waits five seconds for more replicas to come, and lists none until it
# has sent it something: a ping after ten seconds, if nobody writes.
_NODE: dict[str, str | int] = {
    "cluster-enabled": "yes",
    "cluster-node-timeout": 1000,
    "repl-diskless-sync-delay": 0,
    "repl-ping-replica-period": 1,
}
_SLOTS = 16384


class ClusterServer(ServerGroup):
    """A Redis cluster of *masters*, each with *replicas* replicas, while the ``with`` block runs.

    Each node is a `RedisServer` with *config*, listed in `nodes`: first the masters, which share
    all slots in equal parts, then their replicas in the same order. The cluster is ready after
    about three seconds. A node that is killed can be started again, and finds the others.
    """

    def __init__(
        self,
        *,
        masters: int = 3,
        replicas: int = 0,
        binary: str | None = None,
        config: Mapping[str, str | int] | None = None,
    ) -> None:
        """Configure the cluster; ``with`` or `start` runs it."""
        options = _NODE | dict(config or {})
        count = masters * (1 + replicas)
        self.nodes = [RedisServer(binary=binary, config=options) for _ in range(count)]
        self._masters = masters
        self._has_met = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {' '.join(node._shown for node in self.nodes)}>"

    @property
    def _servers(self) -> list[RedisServer]:
        return self.nodes

    @property
    def url(self) -> str:
        """The address of the first node, which leads to the others."""
        return self.nodes[0].url

    def client(self, **options: Any) -> RedisCluster:
        """Return a new client of the cluster, with redis-py's *options*; the caller closes it."""
        startup = [cast("Any", ClusterNode)(node.host, node.port) for node in self.nodes]
        client: RedisCluster = cast("Any", RedisCluster)(startup_nodes=startup, **options)
        return client

    def start(self) -> None:
        """Run the nodes, let them meet, and return when every node finds the cluster complete.

        If the cluster was started before, start the nodes that are not running.

        Raises TimeoutError if that takes too long.
        """
        for node in self.nodes:
            node.start()
        if not self._has_met:
            self._meet()
            self._has_met = True
        for node in self.nodes:
            with node.client() as client:
                wait(partial(self._is_complete, client), f"{node} does not know the others")

    def _meet(self) -> None:
        for number, node in enumerate(self.nodes):
            with node.client() as client:
                self._prepare(client, number)
        for node in self.nodes:
            with node.client() as client:
                self._introduce(client)
        for number in range(self._masters, len(self.nodes)):
            self._follow(number)

    def kill(self, number: int) -> None:
        """End a node at once, as a crash would."""
        self.nodes[number].kill()

    def _prepare(self, client: Any, number: int) -> None:
        # Otherwise all would have the same epoch, and would first have to agree on different ones.
        client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        if number < self._masters:
            shares = [_SLOTS * part // self._masters for part in (number, number + 1)]
            client.execute_command("CLUSTER ADDSLOTS", *range(*shares))

    def _introduce(self, client: Any) -> None:
        for node in self.nodes:
            client.execute_command("CLUSTER MEET", node.host, node.port)

    def _follow(self, number: int) -> None:
        """Make a node the replica of its master, as soon as it knows that master."""
        with self.nodes[number % self._masters].client() as client:
            master: Any = client
            name = master.execute_command("CLUSTER MYID")
        with self.nodes[number].client() as client:
            wait(partial(_replicates, client, name), "the nodes do not meet")

    def _is_complete(self, client: Any) -> bool:
        said = client.execute_command("CLUSTER INFO")
        known = said["cluster_known_nodes"] == str(len(self.nodes))
        link = client.info("replication").get("master_link_status", "up")
        return known and said["cluster_state"] == "ok" and link == "up" and self._are_seen(client)

    def _are_seen(self, client: Any) -> bool:
        """Return whether all replicas are listed with their masters."""
        client.response_callbacks.pop("CLUSTER SLOTS", None)  # not every redis-py has one
        ranges = client.execute_command("CLUSTER SLOTS")
        return len({node[1] for _, _, *nodes in ranges for node in nodes}) == len(self.nodes)


def _replicates(client: Any, master: Any) -> bool:
    try:
        client.execute_command("CLUSTER REPLICATE", master)
    except RedisError:
        return False
    return True
