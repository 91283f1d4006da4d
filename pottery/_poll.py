"""Poll: one command for several servers at once, over connections outside of the clients' pools.

For what a pool is not made for: to ask all masters of a lock within a fraction of a second although
some of them hang, and to wait for minutes without keeping a connection from those who work.

1.  A *line* is a connection as those of the client's pool are (credentials, TLS, database), but
    with the poll's own deadline and no retries. Free lines stay open for the next poll: see
    _lines.py.
2.  The command is sent once to each server. Its reply, or the error that came instead, is the vote.
    Who has not answered in time votes `Unanswered`.
3.  A poll that is decided is over, but for a last look round as long as it took: a line is free
    only once every reply was read from it.
4.  The line of a server that has not answered is hung up, or else kept with the poll, so that a
    later poll can send *behind* it: a server runs what comes over one connection in order, so a
    release can never overtake what it is to release.
5.  Blocking, one system call watches all lines: see _poll_blocking.py. Asynchronous, every line is
    a task: see _poll_awaiting.py.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio
from redis.exceptions import TimeoutError as RedisTimeoutError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator, Iterable, Sequence

    from pottery._wire import Argument

# Seconds, at least, to open a line for those who insist: nobody waits for that.
_INSISTENCE = 1.0
_LAST_LOOK = 0.001
# Seconds for which a free line need not be looked at before it is used.
STILL_GOOD = 0.1


class Unanswered(RedisTimeoutError):
    """No answer came in time."""

    def __str__(self) -> str:
        """Say so."""
        return "no answer in time"


class Poll:
    """One command for every one of *clients* at once; gives their votes in the same order.

    A vote is the reply, or the error that came instead of it; the command is never sent again. The
    poll is over when all have answered, when *enough* finds that the votes so far decide it, or
    after *seconds*. With *keep*, the lines of those that have not answered are kept in `lines`, for
    a poll that follows *behind* this one; without *args* that one asks nothing more, and only waits
    on for what is still to come. With *insist*, for commands that may run twice, they are sent once
    more to those whose line broke, and also to those to which a line is opened only when the poll
    is over, though nobody hears what they say.
    """

    __slots__ = (
        "__weakref__",
        "args",
        "behind",
        "clients",
        "enough",
        "insist",
        "keep",
        "lines",
        "seconds",
    )

    def __init__(  # noqa: PLR0913 - each is a word of the request
        self,
        clients: Iterable[Any],
        args: tuple[Argument, ...],
        seconds: float,
        *,
        enough: Callable[[Sequence[Any]], bool] | None = None,
        behind: Poll | None = None,
        keep: bool = False,
        insist: bool = False,
    ) -> None:
        # Of a cluster client, what is still to come comes from the server that was asked.
        self.clients: tuple[Any, ...] = tuple(clients) if args or behind is None else behind.clients
        self.args = args
        self.seconds = seconds
        self.enough = enough
        self.behind = behind
        self.keep = keep
        self.insist = insist
        self.lines: dict[Any, Line] = {}

    def __iter__(self) -> Generator[Poll, Any, list[Any]]:
        votes: list[Any] = yield self
        return votes

    @property
    def dialling_seconds(self) -> float:
        return max(self.seconds, _INSISTENCE) if self.insist else self.seconds

    def __repr__(self) -> str:
        return f"Poll({len(self.clients)} clients, {self.args!r})"


class Line:
    """A connection outside of any pool, and how many replies are still to come over it."""

    __slots__ = ("connection", "free_since", "minder", "unread")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.unread = 0
        self.free_since = 0.0
        self.minder: asyncio.Task[None] | None = None

    def is_doubtful(self) -> bool:
        """Return whether so much time has passed that the server may have hung up."""
        return monotonic() - self.free_since > STILL_GOOD

    def is_by_tls(self) -> bool:
        return isinstance(self.connection, (redis.SSLConnection, redis.asyncio.SSLConnection))

    def take(self) -> None:
        """Take over from who minds the line while it is kept."""
        minder, self.minder = self.minder, None
        if minder:
            minder.cancel()


class Counting:
    """What the blocking and the asynchronous way of polling share: votes and their deadline."""

    def __init__(self, poll: Poll) -> None:
        self.poll = poll
        self.began = monotonic()
        self.until = self.began + poll.seconds
        self.votes: list[Any] = [Unanswered()] * len(poll.clients)
        self.lines: dict[Any, Line] = {}
        self.is_decided = False

    def count(self, client: Any, vote: Any) -> None:
        self.votes[self.poll.clients.index(client)] = vote
        if self.poll.enough and not self.is_decided and self.poll.enough(self.votes):
            self.is_decided = True
            now = monotonic()
            self.until = min(self.until, now + max(now - self.began, _LAST_LOOK))

    def left(self) -> float:
        return max(self.until - monotonic(), 0)

    def line_behind(self, client: Any) -> Line | None:
        behind = self.poll.behind
        return behind.lines.pop(client, None) if behind else None
