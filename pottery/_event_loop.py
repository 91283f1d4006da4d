"""What redis-py's asynchronous connections and pools need when a task or an event loop ends."""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

# The event loop in which each asynchronous pool was used last.
_LOOPS: WeakKeyDictionary[Any, asyncio.AbstractEventLoop] = WeakKeyDictionary()
# Bytes of a command that an idle connection accepts at once: half of what asyncio buffers.
_BRIEF = 2**15


def deliver_cancellation(before: int) -> None:
    """Raise CancelledError if a cancellation was swallowed since `cancellations` gave *before*.

    asyncio.wait_for, which redis-py uses to connect and send, can do that before Python 3.12.
    """
    if cancellations() > before:
        raise asyncio.CancelledError


def cancellations() -> int:
    """Return how often the current task was cancelled."""
    # Python 3.10 does not count them, so one in a thousand may still get lost there.
    counter: Any = getattr(asyncio.current_task(), "cancelling", int)
    return int(counter())


def has_ended(connection: Any) -> bool:
    """Return whether the server has closed a connection.

    A pool of redis-py 8 does not check this while maintenance notifications are on, as by default.
    """
    stream = connection._reader  # there is no public access to it
    return stream is not None and bool(stream.at_eof())


async def write_to(connection: Any, command: Any) -> None:
    """Send *command*, which is packed."""
    before, timeout = cancellations(), connection.socket_timeout
    if sum(map(len, command)) <= _BRIEF and connection.is_connected:
        # It fits into the buffer, so sending does not wait. Do without redis-py's timer, which is a
        # task of its own before Python 3.12.
        connection.socket_timeout = None
    try:
        await connection.send_packed_command(command, check_health=False)
    finally:
        connection.socket_timeout = timeout
    deliver_cancellation(before)


def move_to_this_loop(pool: Any) -> None:
    """Drop the connections that *pool* has in an event loop that no longer runs: they are dead."""
    loop, last = asyncio.get_running_loop(), _LOOPS.get(pool)
    if last is loop:
        return
    _LOOPS[pool] = loop
    if last is not None and not last.is_running():
        pool.reset()
        renew_locks(pool)


def renew_locks(owner: Any) -> None:
    """Replace the locks of *owner*: one that tasks have waited for stays bound to their loop."""
    for name, lock in _locks(owner).items():
        setattr(owner, name, type(lock)())


async def wake_another(pool: Any) -> None:
    """Wake another task that waits for a connection, in case a cancelled task was woken.

    Before Python 3.13, a task that is woken and then cancelled does not wake the next one. A task
    that is woken for nothing goes on waiting.
    """
    for lock in _locks(pool).values():
        if isinstance(lock, asyncio.Condition):
            async with lock:
                lock.notify()


def _locks(owner: Any) -> dict[str, asyncio.Lock | asyncio.Condition]:
    """Return the locks that tasks wait for to get a connection; a pool has no method for that."""
    names = (*getattr(owner, "__dict__", ()), *getattr(owner, "__slots__", ()))
    kinds = asyncio.Lock, asyncio.Condition
    attributes = ((name, getattr(owner, name, None)) for name in names)
    return {name: value for name, value in attributes if isinstance(value, kinds)}
