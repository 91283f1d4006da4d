"""How a command becomes bytes, and how a connection fails and ends."""

from __future__ import annotations

from contextlib import suppress
from queue import Empty
from typing import Any, TypeAlias, cast

from redis import BlockingConnectionPool
from redis.exceptions import RedisError

try:
    import hiredis
except ImportError:  # pragma: no cover - the suite runs once without hiredis, uncounted
    _pack_fast: Any = None
else:
    _pack_fast = cast("Any", hiredis).pack_command

Argument: TypeAlias = "str | bytes"  # no numbers: hiredis crashes if a signal interrupts one

# What may come instead of a reply; OSError is for lost connections that redis-py does not wrap.
FAILURES = (RedisError, OSError)


def pack(connection: Any, args: tuple[Argument, ...]) -> Any:
    """Return the command *args* in the form in which *connection* sends it."""
    # By hiredis itself: redis-py's wrapper first walks through all arguments in Python.
    if _pack_fast is not None:
        return (_pack_fast(args),)
    # Encoded as hiredis does it, whatever encoding the client is configured with.
    encoded = (arg.encode() if isinstance(arg, str) else arg for arg in args)
    return connection.pack_command(*encoded)  # pragma: no cover - as above


async def hang_up(connection: Any) -> None:
    """Close an asynchronous connection at once: a TLS shutdown might outlive the event loop."""
    writer = connection._writer  # there is no public access to it
    # Asked now: a transport that is closed twice, as after the server closed it, forgets this.
    is_by_tls = writer and writer.get_extra_info("ssl_object")
    await connection.disconnect(nowait=True)
    if is_by_tls:
        writer.transport.abort()


def close_idle(pool: Any) -> None:
    """Close the connections of a blocking *pool* that nobody has."""
    if not isinstance(pool, BlockingConnectionPool):
        pool.disconnect(inuse_connections=False)
        return
    # Its own `disconnect` cannot leave out those in use in redis-py 5, and takes no lock in 8: so
    # they are taken out of the pool meanwhile.
    free: Any = cast("Any", pool).pool
    idle: list[Any] = []
    try:
        with suppress(Empty):
            while True:
                idle.append(free.get_nowait())
                if idle[-1]:  # else it is one that may be made
                    idle[-1].disconnect()
    finally:
        while idle:
            free.put_nowait(idle.pop())


async def hang_up_idle(pool: Any) -> None:
    """Close those of an asynchronous *pool*; that of a node of a cluster sees to that itself.

    Its own `disconnect` makes a task for each, and by its turn somebody else may use that one.
    """
    for connection in tuple(getattr(pool, "_available_connections", ())):
        await hang_up(connection)


async def is_quiet(connection: Any) -> bool:
    """Return whether an idle connection has nothing to read; if it has, it must be closed."""
    # redis-py 8 renamed it.
    can_read = getattr(connection, "can_read", None) or connection.can_read_destructive
    try:
        return not await can_read()
    except FAILURES:
        return False
    except BaseException:
        await hang_up(connection)
        raise
