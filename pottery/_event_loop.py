"""What redis-py's asynchronous connections and pools need where a task or an event loop ends."""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

# The event loop in which each asynchronous pool was used last.
_LOOPS: WeakKeyDictionary[Any, asyncio.AbstractEventLoop] = WeakKeyDictionary()
# Bytes of a command that an idle connection takes at once: half of what asyncio lets pile up.
_BRIEF = 2**15


def deliver_cancellation(before: int) -> None:
    """Raise the cancellation that was swallowed since there were *before* of them.

    asyncio.wait_for, by which redis-py connects and sends, does that before Python 3.12.
    """
    if cancellations() > before:
        raise asyncio.CancelledError


def cancellations() -> int:
    """Return how often the current task was cancelled."""
    # Python 3.10 does not count them, so there one in a thousand may still get lost.
    counter: Any = getattr(asyncio.current_task(), "cancelling", int)
    return int(counter())


def has_ended(connection: Any) -> bool:
    """Return whether the server has closed a connection.

    A pool of redis-py 8 does not look if it is to be told of maintenance, as it is by default.
    """
    stream = connection._reader  # no public way leads to it
    return stream is not None and bool(stream.at_eof())


async def write_to(connection: Any, command: Any) -> None:
    """Send what is packed."""
    before, timeout = cancellations(), connection.socket_timeout
    if sum(map(len, command)) <= _BRIEF and connection.is_connected:
        # It fits into the buffer, so nothing is waited for: save redis-py's timer, which is a task
        # of its own before Python 3.12.
        connection.socket_timeout = None
    try:
        await connection.send_packed_command(command, check_health=False)
    finally:
        connection.socket_timeout = timeout
    deliver_cancellation(before)


def move_to_this_loop(pool: Any) -> None:
    """Drop the connections that *pool* has in an event loop which runs no more: they are dead."""
    loop, last = asyncio.get_running_loop(), _LOOPS.get(pool)
    if last is loop:
        return
    _LOOPS[pool] = loop
    if last is not None and not last.is_running():
        pool.reset()
        renew_locks(pool)


def renew_locks(owner: Any) -> None:
    """Replace the locks of *owner*: those by which tasks waited are of their loop for ever."""
    for name, lock in _locks(owner).items():
        setattr(owner, name, type(lock)())


async def wake_another(pool: Any) -> None:
    """Pass on the word that a connection is free: who gets it and is cancelled at once, keeps it.

    (So it is before Python 3.13.) Whoever is woken for nothing waits on.
    """
    for lock in _locks(pool).values():
        if isinstance(lock, asyncio.Condition):
            async with lock:
                lock.notify()


def _locks(owner: Any) -> dict[str, asyncio.Lock | asyncio.Condition]:
    """Return what tasks wait by for a connection. No method of a pool tells."""
    names = (*getattr(owner, "__dict__", ()), *getattr(owner, "__slots__", ()))
    kinds = asyncio.Lock, asyncio.Condition
    attributes = ((name, getattr(owner, name, None)) for name in names)
    return {name: value for name, value in attributes if isinstance(value, kinds)}
