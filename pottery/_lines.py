"""Lines: opened like the connections of a pool, and kept for the next poll while they are free.

When a line cannot be opened, its server is left alone for as long as the failed attempt took; but
not by polls that are more patient, since the server may only be far away.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from time import monotonic
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from pottery._poll import Line, Unanswered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pottery._poll import Poll

# Free lines that are kept for each pool.
MOST_FREE = 64
# Lines that are kept open for each pool although nobody reads their replies.
_MOST_LINGERING = 16
# Lines that are opened to one server at a time, and how many may wait for their turn.
MOST_DIALLING = 8
_MOST_WAITING = 10_000
_ONCE = Retry(NoBackoff(), 0)
# Options for maintenance notifications; through these a line would keep its pool alive.
_OF_POOLS = ("maint_notifications_", "oss_cluster_maint_notifications_")


def connection_beside(client: Any, seconds: float, read_timeout: float | None) -> Any:
    """Return a connection like those of the pool of *client*, to be opened within *seconds*."""
    pool = client.connection_pool
    known = pool.connection_kwargs.items()
    options = {
        **{name: value for name, value in known if not name.startswith(_OF_POOLS)},
        "socket_timeout": read_timeout,
        "retry": _ONCE,
        "health_check_interval": 0,
    }
    if not options.get("path"):  # redis-py's connections by Unix socket do not take it
        options["socket_connect_timeout"] = seconds
    if _is_of_a_cluster(options.get("redis_connect_func")):
        del options["redis_connect_func"]
    return pool.connection_class(**options)


def _is_of_a_cluster(on_connect: Any) -> bool:
    # It would keep the client of a line alive; all that it does is say READONLY to replicas.
    owner = getattr(on_connect, "__self__", None)
    return isinstance(owner, (redis.RedisCluster, redis.asyncio.RedisCluster))


class Store:
    """The free lines of one pool, and what is known about its server."""

    def __init__(self) -> None:
        self.free: deque[Line] = deque()
        self.lingering: deque[Line] = deque()
        self.shunned_until = 0.0
        self.shunned_by = 0.0  # polls of at most this many seconds
        self._failure: Exception = Unanswered()

    @property
    def failure(self) -> Exception:
        """Why the last line could not be opened; a new one each time, as it may be raised."""
        return _alone(self._failure)

    def may_dial(self, poll: Poll, waiting: int) -> bool:
        """Return whether *poll* may wait for a line to be opened, behind *waiting* others."""
        is_patient = poll.insist or poll.dialling_seconds > self.shunned_by
        is_shunned = not is_patient and monotonic() < self.shunned_until
        return waiting < _MOST_WAITING and not is_shunned

    def take_all(self) -> Iterator[Line]:
        """Take all lines that no poll uses, to hang them up."""
        for lines in (self.free, self.lingering):
            while lines:
                yield lines.pop()

    def fail(self, began: float, seconds: float, failure: Exception) -> None:
        """Leave the server alone for as long as the failed attempt took."""
        now = monotonic()
        took = now - began
        self._failure = _alone(failure)
        if took < 2 * seconds:  # else this process or event loop was held up
            self.shunned_until, self.shunned_by = now + took, seconds

    def give_up(self, line: Line, poll: Poll) -> Iterable[Line]:
        """Return the lines to hang up when nobody waits for the replies of *line* any more.

        Over TLS a server reads one command after the other, and stops reading once it cannot send
        a reply. So the line of a poll that insists stays open; of too many, the oldest is hung up.
        """
        if not (poll.insist and line.is_by_tls()):
            return [line]
        self.lingering.append(line)
        return [self.lingering.popleft()] if len(self.lingering) > _MOST_LINGERING else []

    def put_back(self, line: Line) -> bool:
        """Keep *line* for the next poll; return whether there was room for it."""
        if len(self.free) >= MOST_FREE:
            return False
        line.free_since = monotonic()
        self.free.append(line)
        return True


def _alone(failure: Exception) -> Exception:
    """Return a copy of *failure* without its traceback.

    That leads to the client, which a store that kept it would keep alive, and thereby itself.
    """
    try:
        return copy(failure)
    except Exception:  # noqa: BLE001 - of a class of somebody's, which cannot be copied
        return RedisConnectionError(str(failure))
