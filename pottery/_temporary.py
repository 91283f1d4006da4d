"""Keys of containers that were given none: they go away with their container.

A finalizer may run anywhere, even inside a connection pool's lock, so it does no I/O: it puts the
name aside, and the next operation on the same server unlinks it, or the end of the program. Only
the process that made a key gives it up, and only keys made here are ever given up.
"""

from __future__ import annotations

import atexit
import os
from collections import deque
from typing import Any
from uuid import uuid4
from weakref import finalize

from pottery._plan import ABANDONED, same_server, unlink_briefly

# The keys in use, each with the process that made it and the deque that it will end in.
_IN_USE: dict[str, tuple[int, deque[str]]] = {}


def temporary_key(container: object, client: Any) -> str:
    """Return a new key for *container*, unlinked soon after the container is gone."""
    if not ABANDONED:
        atexit.register(_unlink_all)
    key = f"pottery:{uuid4()}"
    _IN_USE[key] = os.getpid(), _abandoned_at(client)
    finalize(container, _abandon, key).atexit = False
    return key


def _abandoned_at(client: Any) -> deque[str]:
    """Return the deque of the client's server; kept under one client, so that others can go."""
    if client not in ABANDONED:
        known = next((one for one in list(ABANDONED) if same_server(one, client)), None)
        ABANDONED[client] = deque() if known is None else ABANDONED.pop(known, deque())
    return ABANDONED[client]


def _abandon(key: str) -> None:
    maker, abandoned = _IN_USE.pop(key)
    if maker == os.getpid():
        abandoned.append(key)


def _unlink_all() -> None:
    for client, abandoned in ABANDONED.items():
        unlink_briefly(client, [*abandoned, *_in_use_at(abandoned)])


def _in_use_at(abandoned: deque[str]) -> list[str]:
    used = list(_IN_USE.items())
    return [key for key, (maker, names) in used if maker == os.getpid() and names is abandoned]
