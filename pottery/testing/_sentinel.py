"""A real Redis server of one's own, with replicas and Sentinels that watch over it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from redis.sentinel import Sentinel

from pottery.testing._server import RedisServer, ServerGroup, wait

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

# Milliseconds of silence after which a Sentinel takes a server for dead, and before it tries again
# to replace one if it could not. (The defaults are half a minute and three minutes.)
_SILENCE, _AGAIN = 500, 3000
# By default, a master of Redis 7 waits five seconds for more replicas to come.
_NODE: dict[str, str | int] = {"repl-diskless-sync-delay": 0}


class _SentinelProcess(RedisServer):
    _arguments = ("redis.conf", "--sentinel")


class SentinelServer(ServerGroup):
    """A master with *replicas*, and *sentinels* that watch them, while the ``with`` block runs.

    Each server is a `RedisServer` with *config*, listed in `nodes`, the first master first. All are
    ready after about two seconds. About two seconds after the master dies, the Sentinels have
    replaced it by a replica.
    """

    def __init__(
        self,
        *,
        replicas: int = 1,
        sentinels: int = 3,
        name: str = "mymaster",
        binary: str | None = None,
        config: Mapping[str, str | int] | None = None,
    ) -> None:
        """Configure the servers, and the *name* of the master; ``with`` or `start` runs them."""
        self.name = name
        options = _NODE | dict(config or {})
        self.nodes = [RedisServer(binary=binary, config=options) for _ in range(1 + replicas)]
        self.sentinels: list[RedisServer] = [
            _SentinelProcess(binary=binary) for _ in range(sentinels)
        ]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {' '.join(node._shown for node in self.sentinels)}>"

    @property
    def _servers(self) -> list[RedisServer]:
        return [*self.sentinels, *self.nodes]

    @property
    def url(self) -> str:
        """The address of the server that is currently the master."""
        return self.master.url

    @property
    def master(self) -> RedisServer:
        """The one of `nodes` to which the Sentinels currently lead."""
        with self.sentinels[0].client() as client:
            sentinel: Any = client
            said = sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", self.name)
        return next(node for node in self.nodes if node.port == int(said[1]))

    def client(self, **options: Any) -> Redis:
        """Return a new client of whichever server is the master, with redis-py's *options*."""
        addresses = [(sentinel.host, sentinel.port) for sentinel in self.sentinels]
        client: Redis = cast("Any", Sentinel)(addresses).master_for(self.name, **options)
        return client

    def start(self) -> None:
        """Run all servers, and return when each Sentinel knows all others and the replicas.

        Raises TimeoutError if that takes too long.
        """
        master, *replicas = self.nodes
        master.start()
        for replica in replicas:
            replica.config["replicaof"] = f"{master.host} {master.port}"
            replica.start()
        for replica in replicas:
            wait(partial(_follows, replica), f"{replica} does not follow the master")
        for sentinel in self.sentinels:
            sentinel.config |= self._watching(master)
            sentinel.start()
        for sentinel in self.sentinels:
            wait(partial(self._is_informed, sentinel), f"{sentinel} does not know the others")

    def kill(self) -> None:
        """End the master at once, as a crash would; a replica will take its place."""
        self.master.kill()

    def _watching(self, master: RedisServer) -> dict[str, str | int]:
        """Return the settings of a Sentinel; that of the master has to come first."""
        majority = len(self.sentinels) // 2 + 1
        return {
            "sentinel monitor": f"{self.name} {master.host} {master.port} {majority}",
            "sentinel down-after-milliseconds": f"{self.name} {_SILENCE}",
            "sentinel failover-timeout": f"{self.name} {_AGAIN}",
        }

    def _is_informed(self, sentinel: RedisServer) -> bool:
        with sentinel.client() as client:
            said: Any = cast("Any", client).info("sentinel")["master0"]
        known: tuple[int, int] = said["sentinels"], said["slaves"]
        return known == (len(self.sentinels), len(self.nodes) - 1)


def _follows(replica: RedisServer) -> bool:
    with replica.client() as client:
        return bool(cast("Any", client).info("replication")["master_link_status"] == "up")
