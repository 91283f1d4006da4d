"""Poll: one command to several servers at once, over connections outside the clients' pools.

It does what pools are not made for: it asks all masters of a lock within a fraction of a second
although some hang, and it waits for minutes without taking a connection from other callers.

1.  A *line* is a connection like those of the client's pool (credentials, TLS, database), but with
    the poll's own deadline and no retries. Free lines stay open for the next poll: see _lines.py.
2.  The command is sent once to each server. The reply, or the error that came instead, is the vote
    of that server. One that has not answered in time votes `Unanswered`.
3.  Once a poll is decided, it goes on listening only for as long as the decision took: a line is
    free only when every reply was read from it.
4.  The line of a server that has not answered is hung up, or else kept with the poll, so that a
    later poll can send *behind* it. A server runs the commands of one connection in order, so the
    release of a lock can never overtake its acquisition.
5.  When blocking, one system call watches all lines: see _poll_blocking.py. When awaiting, each
    line has its own task: see _poll_awaiting.py.
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

# Seconds, at least, to open a line for a poll that insists: nobody waits for that.
_INSISTENCE = 1.0
# Seconds, at least, for which a poll listens after it was decided.
_LAST_LOOK = 0.001
# Seconds for which a free line may be used without a check that it is still open.
STILL_GOOD = 0.1


class Unanswered(RedisTimeoutError):
    """No answer came in time."""

    def __str__(self) -> str:
        """Return a short text."""
        return "no answer in time"


class Poll:
    """One command to all of *clients* at once; gives their votes in the same order.

    A vote is the reply, or the error that came instead of it; the command is not sent again. The
    poll is over when all have answered, when *enough* finds that the votes so far, at least half of
    them, decide it, or after *seconds*. With *keep*, the lines of servers that have not answered
    are kept in `lines`, for a later poll that is sent *behind* this one. Without *args*, that later
    poll sends nothing, and only waits for the replies that are still missing. With *insist*, for
    commands that may run twice, the command is sent once more to servers whose line broke, and also
    to those whose line opens only after the poll is over, although nobody reads these replies.
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

    def __init__(  # noqa: PLR0913 - each is part of the request
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
        # With a cluster client, the missing replies come from the server that was asked.
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
    """A connection outside any pool, and how many of its replies are still to come."""

    __slots__ = ("connection", "free_since", "minder", "store", "unread")

    def __init__(self, connection: Any, store: Any) -> None:
        self.connection = connection
        self.store = store  # of _lines, to be put back there
        self.unread = 0
        self.free_since = 0.0
        self.minder: asyncio.Task[None] | None = None

    def is_doubtful(self) -> bool:
        """Return whether the line has been free for so long that the server may have hung up."""
        return monotonic() - self.free_since > STILL_GOOD

    def is_by_tls(self) -> bool:
        return isinstance(self.connection, (redis.SSLConnection, redis.asyncio.SSLConnection))

    def take(self) -> None:
        """Take the line over from the task that minds it while it is kept."""
        minder, self.minder = self.minder, None
        if minder:
            minder.cancel()


class Counting:
    """What blocking and asynchronous polling share: the votes and their deadline."""

    def __init__(self, poll: Poll) -> None:
        self.poll = poll
        self.began = monotonic()
        self.until = self.began + poll.seconds
        self.votes: list[Any] = [Unanswered()] * len(poll.clients)
        self.lines: dict[Any, Line] = {}
        self.counted = 0
        self.is_decided = False

    def count(self, client: Any, vote: Any) -> None:
        self.votes[self.poll.clients.index(client)] = vote
        self.counted += 1
        enough = None if self.is_decided else self.poll.enough
        # Fewer than half of the votes decide nothing.
        if enough and 2 * self.counted >= len(self.votes) and enough(self.votes):
            self.is_decided = True
            now = monotonic()
            self.until = min(self.until, now + max(now - self.began, _LAST_LOOK))

    def left(self) -> float:
        return max(self.until - monotonic(), 0)

    def line_behind(self, client: Any) -> Line | None:
        behind = self.poll.behind
        return behind.lines.pop(client, None) if behind else None
