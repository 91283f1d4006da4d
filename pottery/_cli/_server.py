"""The servers that the command looks at; replies are returned as they come, as bytes in RESP2.

Here redis-py's own clients do the sending, by pipelines, since reads may be sent twice.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from pottery._clients import DEFAULT_URL
from pottery._cluster import companion

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

# Seconds to connect, and for one reply.
_CONNECT, _REPLY = 5, 30
# Options of a URL that would change what replies look like.
_OURS = {"decode_responses", "encoding", "encoding_errors", "legacy_responses", "protocol"}
PAGE = 1000
# What redis-py puts in front of the system's message.
_WHERE = re.compile(r"Error -?\d+ (?:while )?connecting to .*?\. ")

Command: TypeAlias = "tuple[str | bytes, ...]"


class Trouble(Exception):
    """Ends the command with a text for people and an exit status."""

    def __init__(self, text: str, status: int = 1) -> None:
        """Remember the status."""
        super().__init__(text)
        self.status = status


class Server:
    """One server: *address* for people, without the secrets of its URL."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.address = _address(pool.connection_kwargs)
        self._client: Any = redis.Redis(connection_pool=pool)
        self._client.response_callbacks.clear()

    def ask(self, *command: str | bytes) -> Any:
        """Return the reply to one command, or raise the error that came instead."""
        with self._named():
            return self._client.execute_command(*command)

    def ask_all(self, commands: Sequence[Command]) -> list[Any]:
        """Return what came for each command: its reply, or an error of the server."""
        if not commands:
            return []
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        with self._named():
            replies: list[Any] = pipeline.execute(raise_on_error=False)
        return replies

    @contextmanager
    def _named(self) -> Generator[None]:
        """Name the server in errors of the connection."""
        try:
            yield
        except AuthenticationError:
            raise
        except (RedisConnectionError, RedisTimeoutError) as error:
            raise unreachable(self.address, error) from error

    def allowed(self, *command: str | bytes) -> Any:
        """Return the reply to a command, None if this user may not use it."""
        try:
            return self.ask(*command)
        except ResponseError:
            return None

    def scan(self, pattern: bytes) -> Iterator[list[bytes]]:
        """Yield the keys that match *pattern*, page by page; some pages may be empty."""
        cursor = b"0"
        while True:
            step = ("SCAN", cursor, "MATCH", pattern, "COUNT", str(PAGE))
            cursor, keys = self.ask(*step)
            yield list(dict.fromkeys(keys))
            if cursor == b"0":
                return


class Servers:
    """What a URL leads to: the *first* server, and *all*, which are the masters of a cluster."""

    def __init__(self, url: str | None) -> None:
        """Connect. Raises Trouble if that fails."""
        self._options = _options()
        self._url = _cleaned(url or os.environ.get("REDIS_URL") or DEFAULT_URL)
        self.client: Any = _client(redis.Redis, self._url, self._options)
        self.first = Server(self.client.connection_pool)
        self.address = self.first.address
        self.hello = self._greet(self.first)
        if self.hello.get("mode") == "sentinel":
            raise Trouble(f"{self.address} is a Sentinel: name its master instead", 2)
        self.is_cluster = self.hello.get("mode") == "cluster"
        self.all = self._masters() if self.is_cluster else [self.first]

    def _greet(self, server: Server) -> dict[str, str]:
        """Return what the server tells anybody about itself."""
        reply = None
        try:
            with suppress(AuthenticationError):  # PING raises it, too, with a shorter text
                reply = server.allowed("HELLO")
            if reply is None:  # from a server, or a proxy, that does not know it
                server.ask("PING")
        except (RedisError, OSError) as error:
            raise unreachable(self.address, error) from error
        except (AttributeError, TypeError):
            # redis-py finds out only when it connects.
            raise Trouble("this URL has an option that redis-py does not take", 2) from None
        return {_text(name): _text(value) for name, value in pairs(reply or [])}

    def _masters(self) -> list[Server]:
        self.client.close()
        try:
            self.client = _client(redis.RedisCluster, self._url, self._options)
        except (RedisError, OSError) as error:
            raise unreachable(self.address, error) from error
        nodes = self.client.get_primaries()
        clients = [self.client.get_redis_connection(node) for node in nodes]
        servers = [Server(client.connection_pool) for client in clients]
        return sorted(servers, key=lambda server: server.address)

    def beside(self, key: bytes, name: str) -> bytes:
        """Return the key of a companion of the container at *key*."""
        return cast("bytes", companion(key, name)) if self.is_cluster else key + f"~{name}".encode()

    def of(self, key: bytes) -> Server:
        """Return the server that has *key*."""
        if not self.is_cluster:
            return self.all[0]
        try:
            node = self.client.get_node_from_key(key)
        except RedisClusterException as error:
            raise Trouble(f"no server of the cluster has the slot of {key!r}") from error
        return Server(self.client.get_redis_connection(node).connection_pool)

    def close(self) -> None:
        """Close the connections."""
        with suppress(RedisError, OSError):
            self.client.close()


def unreachable(address: str, error: Exception) -> Trouble:
    """Return what to raise for a server that cannot be asked."""
    return Trouble(f"cannot use {address}: {reason(error)}", 2)


def reason(error: Exception) -> str:
    """Return the innermost text of an error in one line."""
    cause: BaseException = error
    while isinstance(cause, RedisError) and isinstance(cause.__cause__, OSError):
        cause = cause.__cause__
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    text = _WHERE.sub("", str(cause).partition("\n")[0])
    return text or type(cause).__name__


def pairs(flat: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the pairs that a flat reply consists of."""
    return zip(flat[::2], flat[1::2], strict=False)


def info(text: bytes) -> dict[str, str]:
    """Return what INFO says."""
    lines = (line.partition(":") for line in text.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def whole(digits: bytes | None) -> int | None:
    """Return *digits* as a number, None if they are not one, or too many for Python."""
    try:
        return int(digits) if digits and digits.isdigit() else None
    except ValueError:
        return None


def first_of(replies: Iterable[Any], default: Any = None) -> Any:
    """Return the first reply, or *default* if there is none or it is an error."""
    reply = next(iter(replies), default)
    return default if isinstance(reply, Exception) else reply


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _options() -> dict[str, Any]:
    return {
        "protocol": 2,
        "socket_connect_timeout": _CONNECT,
        "socket_timeout": _REPLY,
        "retry": Retry(NoBackoff(), 0),
    }


def _cleaned(url: str) -> str:
    """Return *url* without options that would change the form of replies."""
    try:
        parts = urlsplit(url)
        given = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        raise _bad_url() from None
    if "@" in parts.path + parts.fragment and parts.scheme != "unix":
        raise _bad_url()  # a password is cut in two; its first part would be taken for the host
    kept = [(name, value) for name, value in given if name not in _OURS]
    return urlunsplit(parts._replace(query=urlencode(kept))) if len(kept) < len(given) else url


def _client(kind: Any, url: str, options: dict[str, Any]) -> Any:
    try:
        return kind.from_url(url, **options)
    except (ValueError, TypeError):
        # What they say may contain a part of the password.
        raise _bad_url() from None


def _bad_url() -> Trouble:
    example = "redis://[[user]:password@]host[:port][/db], rediss://... or unix://..."
    return Trouble(f"this is not the URL of a server, which looks like {example}", 2)


def _address(options: dict[str, Any]) -> str:
    if options.get("path"):
        return str(options["path"])
    database = f"/{options['db']}" if options.get("db") else ""
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}{database}"
