"""Holding a lock: its lease and how it is renewed, its fencing token, and notice of its loss."""

from __future__ import annotations

import logging
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

from redis.exceptions import ConnectionError as RedisConnectionError

from pottery._front import operation
from pottery._lock_scripts import EXTEND, FENCE, LEFT
from pottery._plan import Pause
from pottery._poll import Poll
from pottery._quorum import MOST, Primitive, evaluate, now, number
from pottery.exceptions import ExtendUnlockedLock, TooManyExtensions, in_short

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pottery._plan import Steps

_logger = logging.getLogger("pottery")

# What Redis's page on distributed locks takes off a lease, since no two clocks run alike.
_DRIFT, _LEAST_DRIFT = 0.01, 0.002
FENCE_MS = 30 * 86_400_000


class Watch(NamedTuple):
    """Events about a lock that is held: *lost* if it is lost, *over* if it ends in any way."""

    lost: Any
    over: Any


class Grant:
    """One period of holding a lock."""

    watch: Watch | None = None

    def __init__(self, token: str, until: float, asked: Poll) -> None:
        self.token = token
        self.until = until
        self.asked = asked  # the last poll, with the lines of masters that have not answered it yet
        self.process = os.getpid()
        self.fencing_token: int | None = None
        self.waiter = ""  # its name, if it had to wait; a minority of masters may still know it
        self.extensions: list[None] = []  # one for each call of `extend`
        self.is_lost = False
        self.is_over = False

    @property
    def is_released(self) -> bool:
        return self.is_over and not self.is_lost

    def left(self) -> float:
        """Return the seconds of validity left: 0 if the lock is lost, or in a forked process."""
        is_valid = self.process == os.getpid() and not self.is_over
        return max(self.until - now(), 0.0) if is_valid else 0.0

    def end(self, *, is_lost: bool) -> None:
        """Note that the lock was released or lost."""
        self.is_lost = is_lost
        self.is_over = True
        self.signal()

    def signal(self) -> None:
        """Set the events that are due."""
        if self.watch and self.is_lost:
            self.watch.lost.set()
        if self.watch and self.is_over:
            self.watch.over.set()


class HoldingPlans(Primitive):
    """What a lock asks of its masters while it is held."""

    auto_release_time: float
    num_extensions: int
    auto_renew: bool
    on_lost: Callable[[Any], object] | None
    _signal: Any
    _begin: Any
    _patience: float
    _held: list[Grant]  # at most one; a list changes in one step
    _last: Grant | None
    _fence: int

    def _current(self) -> Grant | None:
        return next(iter(self._held), None)

    @operation
    def locked(self, *, raise_on_redis_errors: bool | None = None) -> Steps[float]:
        """Return for how many seconds this object will certainly hold the lock, 0 if it does not.

        `owner` tells whether anyone holds it.
        O(1); 1 round trip; atomic.
        """
        grant = self._current()
        if grant is None or not grant.left():
            return 0.0
        began = now()
        command = evaluate(LEFT, (self.key,), (grant.token,))
        votes = yield from self._asked(grant, command, is_positive)
        self._failures(votes, raises=raise_on_redis_errors)
        left: list[float] = sorted(
            (vote / 1000 for vote in votes if is_positive(vote)), reverse=True
        )
        if len(left) < self._majority:
            self._lose_if_denied(grant, votes)
            return 0.0
        # A master whose clock was put back may report more than a lease.
        certain = self._until(began) - self.auto_release_time + left[self._majority - 1]
        return max(min(grant.left(), certain - now()), 0.0)

    @operation
    def owner(self) -> Steps[str | None]:
        """Return the token that has the lock at a majority, whoever owns it; None if there is none.

        O(1); 1 round trip; atomic.
        """
        question = Poll(
            self._masters, ("GET", self.key), self._patience, enough=self._is_owner_known
        )
        votes = yield from self._insistently(lambda: question)
        self._failures(votes)
        return self._elected(vote for vote in votes if isinstance(vote, bytes))

    def _is_owner_known(self, votes: Sequence[Any]) -> bool:
        """Return whether one owner has a majority, or none can get it any more."""
        owners = Counter(vote for vote in votes if isinstance(vote, bytes))
        most = max(owners.values(), default=0)
        still_open = sum(isinstance(vote, Exception) for vote in votes)
        return most >= self._majority or most + still_open < self._majority

    @property
    def fencing_token(self) -> int | None:
        """The number of this period of holding the lock, higher than those of all earlier ones.

        None without *fencing*, and once the lock is released.
        """
        grant = self._current()
        return grant.fencing_token if grant else None

    def _loss(self) -> Any:
        if self._last is None:
            return self._signal()
        return self._watch(self._last).lost

    @operation
    def extend(self, *, raise_on_redis_errors: bool | None = None) -> Steps[None]:
        """Restart the lease, so that the lock is held for `auto_release_time` from now.

        Raises ExtendUnlockedLock if it is not held (any more), or no majority can be reached;
        TooManyExtensions after `num_extensions` times.
        O(1); 1 round trip; atomic.
        """
        grant = self._current()
        if grant is None or not grant.left():
            raise ExtendUnlockedLock(self.key, self._masters)
        if len(grant.extensions) >= self.num_extensions >= 0:
            raise TooManyExtensions(self.key, self._masters)
        until = grant.until
        grant.extensions.append(None)
        try:
            yield from self._extended(grant, raise_on_redis_errors)
        finally:
            if grant.until == until:  # the lease was not restarted
                grant.extensions.pop()

    def _extended(self, grant: Grant, raises: bool | None = None) -> Steps[None]:
        began = now()
        args = (grant.token, ms(self.auto_release_time))
        votes = yield from self._asked(grant, evaluate(EXTEND, (self.key,), args), is_positive)
        is_extended = sum(map(is_positive, votes)) >= self._majority and grant.left() > 0
        if is_extended:  # whatever the others say
            grant.until = self._until(began)
        failures = self._failures(votes, raises=raises)
        if not is_extended:
            self._lose_if_denied(grant, votes)
            raise ExtendUnlockedLock(self.key, self._masters, failures)

    def _renewed(self, grant: Grant) -> Steps[None]:
        """Extend the lease if possible; if not, `_watching` tries again until the time runs out."""
        try:
            yield from self._extended(grant, raises=False)
        except Exception as trouble:  # noqa: BLE001 - must not end the watch over the lock
            _logger.warning("%r was not renewed in full: %s", self, in_short(trouble))

    def _asked(
        self, grant: Grant, command: tuple[Any, ...], is_yes: Callable[[Any], bool]
    ) -> Steps[list[Any]]:
        """Ask all masters about a held lock, behind commands that they have not answered yet."""
        enough = self._settled(is_yes)

        def ask() -> Poll:
            seconds, behind = min(self._patience, grant.left()), grant.asked
            grant.asked = Poll(
                self._masters, command, seconds, enough=enough, behind=behind, keep=True
            )
            return grant.asked

        return (yield from self._insistently(ask))

    def _insistently(self, ask: Callable[[], Poll]) -> Steps[list[Any]]:
        """Ask again if broken connections prevented a majority: a single master has just one."""
        votes = yield from ask()
        broken = sum(isinstance(vote, RedisConnectionError) for vote in votes)
        if broken > len(votes) - self._majority:
            votes = yield from ask()
        return votes

    def _lose_if_denied(self, grant: Grant, votes: Sequence[Any]) -> None:
        if sum(vote == 0 for vote in votes) > len(votes) - self._majority:
            self._lose(grant)

    def _lose(self, grant: Grant) -> None:
        is_news = not grant.is_over
        grant.end(is_lost=True)
        if is_news and self.on_lost:
            try:
                self.on_lost(self)
            except Exception:
                _logger.exception("on_lost of %r failed", self)

    def _watch(self, grant: Grant) -> Watch:
        if grant.watch:
            return grant.watch
        mine = Watch(self._signal(), self._signal())
        # In one step, as another thread may come here at the same time.
        watch: Watch = vars(grant).setdefault("watch", mine)
        if watch is mine:
            grant.signal()  # if it ended before
            if not grant.is_over:
                self._begin(_watching(ref(self), grant))
        return watch

    def _fence_in(self, grant: Grant, votes: Sequence[Any], proposal: int) -> Steps[None]:
        """Agree with a majority on a number that is higher than all earlier ones."""
        fences = [self._fence_of(vote[1]) for vote in votes if is_granted(vote)]
        while sum(fence < proposal for fence in fences) < self._majority:
            last = max(proposal, *fences)
            if last >= MOST:
                raise OverflowError(f"the fencing token was {last}, and none may be above {MOST}")
            proposal = last + 1
            args = (grant.token, str(proposal), str(FENCE_MS))
            command = evaluate(FENCE, self._keys("fence"), args)
            answers = yield from self._asked(grant, command, _is_fence)
            self._failures(answers)
            fences = [self._fence_of(vote) for vote in answers if _is_fence(vote)]
            if len(fences) < self._majority:
                grant.until = 0
                return
        self._fence = grant.fencing_token = proposal

    def _fence_of(self, text: bytes) -> int:
        return number(text, self._beside("fence"))

    def _keys(self, *companions: str) -> tuple[str, ...]:
        return (self.key, *map(self._beside, companions))

    def _beside(self, name: str) -> str:
        """Return the key of something that belongs to this lock."""
        return f"{self.key}~{name}"

    def _until(self, began: float) -> float:
        """Return when a lease ends that masters granted or extended at *began* or later."""
        lease = self.auto_release_time
        return began + lease - (lease * _DRIFT + _LEAST_DRIFT)

    def _settled(self, is_yes: Callable[[Any], bool]) -> Callable[[Sequence[Any]], bool]:
        """Return a function that tells if votes are a majority, or can no longer become one."""
        majority = self._majority  # not self: a poll must not keep a lock alive

        def enough(votes: Sequence[Any]) -> bool:
            yes = sum(map(is_yes, votes))
            no = sum(not isinstance(vote, Exception) for vote in votes) - yes
            # A failure is not a vote: it does not tell whether the lock is taken.
            return yes >= majority or no > len(votes) - majority

        return enough

    def _elected(self, owners: Iterable[bytes]) -> str | None:
        ((owner, votes),) = Counter(owners).most_common(1) or [(b"", 0)]
        return _text(owner) if votes >= self._majority else None


def _watching(lock: Callable[[], Any], grant: Grant) -> Steps[None]:
    """Renew the lease if *auto_renew*, until the lock is released or forgotten; report a loss."""
    least = 0.0
    while left := grant.left():
        holder = lock()
        if holder is None:
            return
        seconds, third = left, holder.auto_release_time / 3
        if holder.auto_renew:
            # After a third of the lease; at once, if this thread or event loop was held up longer.
            seconds = max(left - 2 * third, least)
            least = third / 4  # between attempts that fail
        del holder  # or else this would keep the lock alive
        yield from Pause(min(seconds, left), until=grant.watch.over if grant.watch else None)
        holder = lock()
        if holder and holder.auto_renew and grant.left():
            yield from holder._renewed(grant)
        del holder
    holder = lock()
    if holder and not grant.is_over:
        holder._lose(grant)


def is_granted(vote: Any) -> bool:
    # In reply to TRY, or to ACQUIRE.
    return bool(vote == b"OK" or (type(vote) is list and vote[0] == b"OK"))


def is_positive(vote: Any) -> bool:
    return type(vote) is int and vote > 0


def _is_fence(vote: Any) -> bool:
    return isinstance(vote, bytes)


def heard(vote: Any) -> str:
    """Return the token that a bell rang for, '' if it did not ring."""
    return "" if vote is None or isinstance(vote, Exception) else _text(vote[1])


def ms(seconds: float) -> str:
    return str(max(int(seconds * 1000), 1))


def _text(token: bytes) -> str:
    # It may be any bytes, since anybody may have set the key.
    return token.decode(errors="backslashreplace")
