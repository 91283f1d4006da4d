"""How a command becomes bytes, and how a connection fails and ends."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

from redis.exceptions import RedisError

try:
    import hiredis
except ImportError:  # pragma: no cover - the suite runs once without hiredis, uncounted
    _pack_fast: Any = None
else:
    _pack_fast = cast("Any", hiredis).pack_command

Argument: TypeAlias = "str | bytes"  # no numbers: hiredis crashes when a signal meets one

# What comes instead of a reply: also a lost connection that redis-py does not put in its own words.
FAILURES = (RedisError, OSError)


def pack(connection: Any, args: tuple[Argument, ...]) -> Any:
    """Return the command *args* as *connection* wants it to send it."""
    # By hiredis itself: redis-py's wrapper of it first walks through all arguments in Python.
    if _pack_fast is not None:
        return (_pack_fast(args),)
    # As hiredis does, whatever encoding the client is configured with.
    encoded = (arg.encode() if isinstance(arg, str) else arg for arg in args)
    return connection.pack_command(*encoded)  # pragma: no cover - as above


async def hang_up(connection: Any) -> None:
    """Close an asynchronous connection at once: a farewell by TLS might outlive the event loop."""
    writer = connection._writer  # no public way leads to it
    # Now: once it is closed twice, as where the server was first, a transport knows nothing more.
    is_by_tls = writer and writer.get_extra_info("ssl_object")
    await connection.disconnect(nowait=True)
    if is_by_tls:
        writer.transport.abort()


async def is_quiet(connection: Any) -> bool:
    """Return whether nothing is to be read from an idle connection, which is to be closed if so."""
    # redis-py 8 has a new name for it.
    can_read = getattr(connection, "can_read", None) or connection.can_read_destructive
    try:
        return not await can_read()
    except FAILURES:
        return False
    except BaseException:
        await hang_up(connection)
        raise
