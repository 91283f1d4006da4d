"""Keys of containers that were given none: they go away with their container.

A finalizer may run anywhere, even inside a connection pool's lock, so it does no I/O: it puts the
name aside, and the next operation on the same server unlinks it, or the end of the program. Only
the process that made a key gives it up, and only keys made here are ever given up.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections import deque
from typing import Any
from uuid import uuid4
from weakref import finalize

from redis import Redis, RedisCluster

from pottery._cluster import is_cluster, slot, tag
from pottery._plan import ABANDONED, same_server, unlink_briefly

# The keys in use, each with the process that made it and the deque that it will end in.
_IN_USE: dict[str, tuple[int, deque[str]]] = {}
_PROCESSES: set[int] = set()


def temporary_key(container: object, client: Any, beside: str | bytes = "") -> str:
    """Return a new key for *container*, unlinked soon after the container is gone.

    In a cluster it has the slot of the key *beside*, if that is given.
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
    """See to it, once in each process, that its temporary keys are unlinked when it ends."""
    if os.getpid() in _PROCESSES:
        return
    if not _PROCESSES:
        atexit.register(_unlink_all)
    _PROCESSES.add(os.getpid())
    # Children of multiprocessing end without atexit, but with finalizers of their own kind.
    if "multiprocessing.util" in sys.modules:
        sys.modules["multiprocessing.util"].Finalize(None, _unlink_all, exitpriority=0)


def _abandoned_at(client: Any) -> deque[str]:
    """Return the deque of the client's server; kept under one client, so that others can go."""
    abandoned = ABANDONED.get(client)
    if abandoned is None:
        known = next((one for one in list(ABANDONED) if _is_replaced_by(client, one)), None)
        abandoned = ABANDONED[client] = ABANDONED.get(known, deque())
        ABANDONED.pop(known, None)
    return abandoned


def _is_replaced_by(client: Any, known: Any) -> bool:
    # Not a blocking one by an asynchronous one, which could unlink nothing at the end.
    return _blocks(client) == _blocks(known) and same_server(client, known)


def _blocks(client: Any) -> bool:
    return isinstance(client, (Redis, RedisCluster))


def _abandon(key: str) -> None:
    maker, abandoned = _IN_USE[key]
    if maker == os.getpid():
        abandoned.append(key)
    del _IN_USE[key]


def _unlink_all() -> None:
    for client, abandoned in ABANDONED.items():
        unlink_briefly(client, [*abandoned, *_in_use_at(abandoned)])


def _in_use_at(abandoned: deque[str]) -> list[str]:
    used = list(_IN_USE.items())
    return [key for key, (maker, names) in used if maker == os.getpid() and names is abandoned]
