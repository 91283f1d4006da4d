"""Temporary keys: those of containers that were given none. They go away with their container.

A finalizer may run anywhere, even inside a connection pool's lock, so it does no I/O. It puts the
key aside, and the next operation on the same server unlinks it, or else the exit of the program.
Only the process that made a key unlinks it, and only keys made here are ever unlinked.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections import deque
from contextlib import suppress
from copy import copy
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import uuid4
from weakref import finalize

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, ReadOnlyError, RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from pottery._clients import same_server
from pottery._cluster import by_slot, is_cluster, server_of, slot, tag
from pottery._plan import Op, adapted, nothing
from pottery._wire import pack

if TYPE_CHECKING:
    from pottery._plan import Plan, Step, Steps

T = TypeVar("T")

# Keys that one operation unlinks at most.
MOST_AT_ONCE = 1000
# By client, the keys of temporary containers that are gone, for its next operation to unlink.
ABANDONED: dict[Any, deque[str]] = {}
# Options of a connection that is opened while the program exits.
_BRIEFLY = {"socket_timeout": 1, "socket_connect_timeout": 1, "retry": Retry(NoBackoff(), 0)}
# The keys in use, each with the process that made it and the deque in ABANDONED for it.
_IN_USE: dict[str, tuple[int, deque[str]]] = {}
_PROCESSES: set[int] = set()


def temporary_key(container: object, client: Any, beside: str | bytes = "") -> str:
    """Return a new key for *container*, unlinked soon after the container is gone.

    In a cluster it is in the slot of the key *beside*, if one is given.
    """
    same_slot = f"{tag(slot(beside))}:" if beside and is_cluster(client) else ""
    key = f"pottery:{same_slot}{uuid4()}"
    unlink_after(container, client, key)
    return key


def unlink_after(container: object, client: Any, key: str) -> None:
    """Have *key* unlinked soon after *container* is gone."""
    _unlink_at_exit()
    _IN_USE[key] = os.getpid(), _abandoned_at(client)
    finalize(container, _abandon, key).atexit = False


def _unlink_at_exit() -> None:
    """Make sure, once in each process, that its temporary keys are unlinked when it exits."""
    if os.getpid() in _PROCESSES:
        return
    if not _PROCESSES:
        atexit.register(_unlink_all)
    _PROCESSES.add(os.getpid())
    # Children of multiprocessing run no atexit functions, but finalizers of its own.
    if "multiprocessing.util" in sys.modules:
        sys.modules["multiprocessing.util"].Finalize(None, _unlink_all, exitpriority=0)


def _abandoned_at(client: Any) -> deque[str]:
    """Return the deque of the client's server, kept under its newest client; older ones can go."""
    abandoned = ABANDONED.get(client)
    if abandoned is None:
        known = next((one for one in list(ABANDONED) if _is_replaced_by(client, one)), None)
        abandoned = ABANDONED[client] = ABANDONED.get(known, deque())
        ABANDONED.pop(known, None)
    return abandoned


def _is_replaced_by(client: Any, known: Any) -> bool:
    # An asynchronous client does not replace a blocking one: it could unlink nothing at exit.
    return _blocks(client) == _blocks(known) and same_server(client, known)


def _blocks(client: Any) -> bool:
    return isinstance(client, (Redis, RedisCluster))


def _abandon(key: str) -> None:
    maker, abandoned = _IN_USE[key]
    if maker == os.getpid():
        abandoned.append(key)
    del _IN_USE[key]


def _unlink_all() -> None:
    for client, abandoned in list(ABANDONED.items()):  # others may still change it
        unlink_briefly(client, [*abandoned, *_in_use_at(abandoned)])


def _in_use_at(abandoned: deque[str]) -> list[str]:
    # A dict is copied in one step. Listing its pairs is not one: the garbage collector may
    # interrupt it and finalize further containers.
    used = _IN_USE.copy().items()
    return [key for key, (maker, names) in used if maker == os.getpid() and names is abandoned]


def sweeping(client: Any, names: deque[str], plan: Plan[T]) -> Steps[T]:
    """Perform *plan*, and on the way unlink the keys of temporary containers that are gone.

    That costs no round trip, since the next command takes the UNLINK along. Only in a cluster,
    where the keys may be anywhere, they are unlinked first. The names are kept if that fails.
    """
    if is_cluster(client):
        yield from sweep(client, names)
        return (yield from plan)

    def take_along(step: Step) -> Step:
        if isinstance(step, Op) and step.client is None and (keys := _some_of(names)):
            step.ahead = ("UNLINK", *keys)
        return step

    def put_back(step: Step) -> None:
        if isinstance(step, Op):
            names.extend(cast("tuple[str, ...]", step.ahead[1:]))

    return (yield from adapted(plan, take_along, put_back))


def _some_of(names: deque[str]) -> list[str]:
    """Take names out of the deque; another thread may do the same at the same time."""
    keys: list[str] = []
    with suppress(IndexError):
        while len(keys) < MOST_AT_ONCE:
            keys.append(names.popleft())
    return keys


def sweep(client: Any, names: deque[str]) -> Steps[None]:
    """Unlink the keys of temporary containers that are gone; keep them here if Redis is away."""
    groups = by_slot(client, _some_of(names))
    try:
        while groups:
            yield from Op(("UNLINK", *groups[-1]), nothing, repeatable=True)
            groups.pop()
    except (NoPermissionError, ReadOnlyError):
        pass  # this user may not unlink, or this is a replica: trying again would not help
    except RedisError:
        names.extend(chain(*groups))
    except BaseException:
        names.extend(chain(*groups))
        raise


def unlink_briefly(client: Any, keys: list[str]) -> None:
    """Unlink *keys* at the exit of the program, over a connection that waits at most a second.

    An asynchronous client no longer has an event loop then, so its keys stay.
    """
    if not keys or not isinstance(client, (Redis, RedisCluster)):
        return
    with suppress(Exception):
        for pool, commands in _by_server(client, keys).items():
            _send_briefly(pool, commands)


def _by_server(client: Any, keys: list[str]) -> dict[Any, list[tuple[str, ...]]]:
    """Return, for the pool of each server, the commands that unlink its part of *keys*."""
    commands: dict[Any, list[tuple[str, ...]]] = {}
    for group in by_slot(client, keys):
        unlink = ("UNLINK", *group)
        at = server_of(client, unlink) if isinstance(client, RedisCluster) else client
        commands.setdefault(at.connection_pool, []).append(unlink)
    return commands


def _send_briefly(pool: Any, commands: list[tuple[str, ...]]) -> None:
    connection = pool.connection_class(**_brief_options(pool))
    connection.connect()  # only this makes a connection by Sentinel look for its server
    for command in commands:
        connection.send_packed_command(pack(connection, command))
        with suppress(ResponseError):  # moved, say
            connection.read_response()
    connection.disconnect()


def _brief_options(pool: Any) -> dict[str, Any]:
    options = {**pool.connection_kwargs, **_BRIEFLY}
    if isinstance(pool, SentinelConnectionPool):
        # Sentinels are asked by clients of their own, which have their own time-outs.
        way: Any = copy(options["connection_pool"])
        manager: Any = copy(cast("Any", pool).sentinel_manager)
        manager.sentinels = [_brief_client(sentinel) for sentinel in manager.sentinels]
        way.sentinel_manager = manager
        options["connection_pool"] = way
    return options


def _brief_client(client: Any) -> Any:
    pool = copy(client.connection_pool)
    pool.connection_kwargs = _brief_options(pool)
    pool.reset()  # the connections belong to the original
    return Redis.from_pool(pool)
