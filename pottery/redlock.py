"""Redlock and AIORedlock: `threading.Lock` for many machines.

A lock is a key on each of several masters, with the token of its holder, and a lease after which
it expires. A caller that gets it on a majority of them holds it for the rest of the lease.

If a lock is taken, callers wait at its bell: a list on the first master, to which the release adds
an element. Redis serves waiters in the order in which they came. For a moment, the lock is reserved
for the one that heard the bell, so that nobody gets in between, least of all the last holder. All
this is only a courtesy: if the bell is not heard, or rings in vain, waiters try again after
`retry_delay`, or when the lease has run out.

This module acquires and releases locks. For what happens while they are held, see _holding.py.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from contextvars import ContextVar
from inspect import iscoroutinefunction
from math import inf
from random import uniform
from secrets import token_hex
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from redis.exceptions import ResponseError

from pottery._front import Async, Sync, operation
from pottery._holding import FENCE_MS, Grant, HoldingPlans, heard, is_granted, is_positive, ms
from pottery._lock_scripts import ACQUIRE, RELEASE, TRY
from pottery._plan import Pause
from pottery._poll import Poll, Unanswered
from pottery._quorum import evaluate, now
from pottery.exceptions import QuorumNotAchieved, ReleaseUnlockedLock, in_short

if TYPE_CHECKING:
    import asyncio
    import threading
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from pottery._plan import Steps
    from pottery._wire import Argument

_logger = logging.getLogger("pottery")

# The part of a lease that may be spent on asking the masters, and its bounds in seconds.
_PATIENCE, _LEAST_PATIENCE, _MOST_PATIENCE = 0.05, 0.05, 1.0
# Seconds that a reply may take beyond the time for which its command waits.
_GRACE = 0.25
# Seconds for which a lock is reserved for the waiter that has heard of its release.
_RESERVED = 0.05
_TOKEN_BYTES = 20
# Seconds, at most, before a waiter looks again at a lock whose holder rings no bell.
_SILENCE = 0.2
# Seconds, at most, before contenders that each got some of the masters try again.
_SCATTER = 0.01
_SHORTEST = 0.003  # seconds of a lease of which some are left after drift
_LONGEST = (2**63 - 1) // 10**9  # as threading.TIMEOUT_MAX


class Waiter:
    """A caller that waits for a lock: what the masters know of it, and what it has heard."""

    def __init__(self) -> None:
        self.name = token_hex(8)
        self.gone = ""  # the token whose release it has heard of
        self.heard_at = 0.0
        self.is_known = False


class Held(NamedTuple):
    """What a master says about a lock that is taken."""

    owner: bytes
    seconds: float


class Refusal(NamedTuple):
    """Why the lock was not acquired, and when it makes sense to try again."""

    failures: list[Exception]
    owner: str | None  # the token that has a majority
    is_hopeless: bool  # so few masters vote that nobody can get it now
    seconds: list[float]  # until enough leases have run out, if that is known
    ringer: Any  # the master that rings when the lock is released


# What this thread or task entered by `with`, so that leaving the block releases just that.
_entered: ContextVar[tuple[tuple[Any, Grant], ...]] = ContextVar("entered", default=())


class RedlockPlans(HoldingPlans):
    """What Redlock and AIORedlock ask of their masters."""

    _prefix = "redlock:"

    def __init__(  # noqa: PLR0913 - most of them as in pottery 3.0
        self,
        *,
        key: str,
        masters: Iterable[Any] = frozenset(),
        raise_on_redis_errors: bool = False,
        auto_release_time: float = 10,
        num_extensions: int = 3,
        context_manager_blocking: bool = True,
        context_manager_timeout: float = -1,
        auto_renew: bool = False,
        on_lost: Callable[[Any], object] | None = None,
        fencing: bool = False,
        retry_delay: float = 1.0,
        delayed_restart: bool = False,
    ) -> None:
        """Remember *key*, *masters* and the options; the masters are not asked yet.

        O(1); 0 round trips; atomic.
        """
        super().__init__(key, masters, raise_on_redis_errors=raise_on_redis_errors)
        self.auto_release_time = _positive("auto_release_time", auto_release_time, _SHORTEST)
        self.num_extensions = _count("num_extensions", num_extensions)
        _deadline(context_manager_blocking, context_manager_timeout)
        self.context_manager_blocking = context_manager_blocking
        self.context_manager_timeout = context_manager_timeout
        self.auto_renew = auto_renew
        self.on_lost = _plain(on_lost)
        self.fencing = fencing
        self.retry_delay = _positive("retry_delay", retry_delay)
        self.delayed_restart = delayed_restart
        self._patience = min(max(auto_release_time * _PATIENCE, _LEAST_PATIENCE), _MOST_PATIENCE)
        self._held: list[Grant] = []  # at most one; lists change in one step
        self._last: Grant | None = None
        self._fence = 0

    # --- acquiring

    @operation
    def acquire(
        self,
        blocking: bool = True,
        timeout: float = -1,
        *,
        raise_on_redis_errors: bool | None = None,
    ) -> Steps[bool]:
        """Acquire the lock and return True; return False if that is not possible in time.

        If *blocking*, wait for it: *timeout* seconds at most, or for ever if that is -1.

        Raises ValueError or OverflowError for arguments that `threading.Lock` refuses, too, and
        QuorumIsImpossible with *raise_on_redis_errors*.
        O(1) if the lock is free; 1 round trip; atomic.
        """
        outcome = yield from self._acquired(blocking, timeout, raise_on_redis_errors)
        return isinstance(outcome, Grant)

    def _acquired(
        self, blocking: bool, timeout: float, raises: bool | None = None
    ) -> Steps[Grant | Refusal]:
        deadline = _deadline(blocking, timeout)
        # A call that does not wait is patient all the same: far masters need time to answer.
        patience = self._patience_within(timeout) if timeout > 0 else self._patience
        outcome = yield from self._attempt(patience, None, raises)
        if isinstance(outcome, Grant) or not blocking:
            return outcome
        if len(self._masters) - len(outcome.failures) < self._majority:
            reasons = "; ".join(map(in_short, outcome.failures))
            _logger.warning("%r got no majority of votes: %s", self, reasons)
        waiter = Waiter()
        try:
            return (yield from self._awaited(waiter, outcome, deadline, raises))
        finally:
            if waiter.is_known:
                forget = ("ZREM", self._beside("waiting"), waiter.name)
                yield from Poll(self._masters, forget, _LEAST_PATIENCE, insist=True)

    def _awaited(
        self, waiter: Waiter, refusal: Refusal, deadline: float, raises: bool | None
    ) -> Steps[Grant | Refusal]:
        """Try again until the lock is granted, or for the last time at *deadline*."""
        while (left := deadline - now()) > 0:
            if waiter.is_known:
                yield from self._wait(waiter, refusal, left)
                left = deadline - now()
            waiter.is_known = left > 0
            outcome = yield from self._attempt(self._patience_within(left), waiter, raises)
            if isinstance(outcome, Grant):
                waiter.is_known = False
                outcome.waiter = waiter.name
                return outcome
            refusal = outcome
        return refusal

    def _patience_within(self, left: float) -> float:
        return min(self._patience, max(left, _LEAST_PATIENCE))

    def _attempt(
        self, seconds: float, waiter: Waiter | None, raises: bool | None
    ) -> Steps[Grant | Refusal]:
        token, began = token_hex(_TOKEN_BYTES), now()
        proposal = self._proposed() if self.fencing else 0
        request = self._request(token, waiter, proposal)
        enough = self._settled(is_granted)
        asked = Poll(self._masters, request, seconds, enough=enough, keep=True)
        grant = Grant(token, self._until(began), asked)
        votes: list[Any] = [Unanswered()] * len(self._masters)
        try:
            votes = yield from asked
            failures = self._failures(votes, raises=raises)
            is_won = sum(map(is_granted, votes)) >= self._majority
            if is_won and self.fencing:
                yield from self._fence_in(grant, votes, proposal)
            if is_won and grant.left():
                self._hold(grant)
                return grant
            refusal = self._refusal(votes, failures)
            yield from self._give_back(token, asked, votes)
        except BaseException:
            grant.end(is_lost=False)
            yield from self._give_back(token, asked, votes)
            raise
        return refusal

    def _request(self, token: str, waiter: Waiter | None, proposal: int) -> tuple[Argument, ...]:
        lease = ms(self.auto_release_time)
        if not (waiter or self.fencing or self.delayed_restart):
            return evaluate(TRY, self._keys("reserved"), (token, lease))
        wait = ms(self.retry_delay + _GRACE) if waiter and waiter.is_known else "0"
        up = str(-int(-self.auto_release_time // 1)) if self.delayed_restart else "0"
        who = (waiter.name, waiter.gone) if waiter else ("", "")
        args = (token, lease, wait, str(proposal), str(FENCE_MS), up, *who)
        return evaluate(ACQUIRE, self._keys("reserved", "waiting", "fence"), args)

    def _proposed(self) -> int:
        """Return a number that is probably higher than all fencing tokens so far."""
        self._fence = max(self._fence + 1, time.time_ns() // 1000)
        return self._fence

    def _refusal(self, votes: Sequence[Any], failures: list[Exception]) -> Refusal:
        if any(vote == [b"TWICE"] for vote in votes):
            raise ValueError(f"two of the masters of {self.key!r} are the same server: give one")
        held = {
            master: Held(vote[1], vote[0] / 1000 if vote[0] >= 0 else _LONGEST)
            for master, vote in zip(self._masters, votes, strict=True)
            if type(vote) is list and not is_granted(vote) and vote != [b"YOUNG"]
        }
        owner = self._elected(one.owner for one in held.values())
        # This many leases have to run out before the free masters are a majority.
        wanted = max(self._majority - (len(votes) - len(held) - len(failures)), 1)
        left = sorted(one.seconds for one in held.values())
        is_hopeless = len(held) + sum(map(is_granted, votes)) < self._majority
        ringer = next(iter(held), None)
        return Refusal(failures, owner, is_hopeless, left[wanted - 1 : wanted], ringer)

    def _wait(self, waiter: Waiter, refusal: Refusal, left: float) -> Steps[None]:
        """Wait until the lock is released, or may have run out.

        Wait only a moment if nobody has it, or if its holder is just releasing it: the bell has
        rung for that token, but not all masters have got the release yet.
        """
        scatter = self._patience if refusal.is_hopeless else _SCATTER
        moment = min(left, uniform(0, scatter))  # noqa: S311 - no secret
        is_going = refusal.owner == waiter.gone and now() - waiter.heard_at < _RESERVED
        if refusal.owner is None or is_going:
            yield from Pause(moment)
            return
        # Holders of pottery 3.0 ring no bell.
        rings = len(refusal.owner) == 2 * _TOKEN_BYTES
        longest = self.retry_delay if rings else uniform(0, _SILENCE)  # noqa: S311 - as above
        seconds = max(min(left, longest, *refusal.seconds), 0.001)
        listen = ("BLPOP", self._beside("bell"), f"{seconds:.3f}")
        vote: Any
        (vote,) = yield from Poll((refusal.ringer,), listen, seconds + _GRACE)
        if isinstance(vote, Exception):  # no bell: this user may not listen, say
            yield from Pause(seconds if isinstance(vote, ResponseError) else moment)
        waiter.gone, waiter.heard_at = heard(vote), now()

    def _hold(self, grant: Grant) -> None:
        if self.auto_renew or self.on_lost:
            self._watch(grant)
        self._last = grant
        self._held[:] = [grant]

    def _give_back(self, token: str, asked: Poll, votes: Sequence[Any]) -> Steps[None]:
        """Release the lock on all masters that may have granted it."""
        granted = [is_granted(vote) for vote in votes]
        masters = [
            master
            for master, vote, yes in zip(self._masters, votes, granted, strict=True)
            if yes or isinstance(vote, Exception)
        ]
        # With a majority, this kept others waiting at the bell; if interrupted, it may have.
        rings = sum(granted) >= self._majority or all(type(vote) is Unanswered for vote in votes)
        if masters:
            yield from self._released(token, asked, masters, rings=rings)

    # --- releasing

    @operation
    def release(self, *, raise_on_redis_errors: bool | None = None) -> Steps[None]:
        """Release the lock, and wake the caller that has waited longest for it.

        Raises ReleaseUnlockedLock if this object does not hold it (any more).
        O(1); 1 round trip; atomic.
        """
        yield from self._let_go(self._current(), raise_on_redis_errors)

    def _let_go(self, grant: Grant | None, raises: bool | None = None) -> Steps[None]:
        if grant is None or grant.process != os.getpid() or grant.is_released:
            raise ReleaseUnlockedLock(self.key, self._masters)
        enough = self._settled(is_positive)
        token, asked, waiter = grant.token, grant.asked, grant.waiter
        try:
            grant.end(is_lost=grant.is_lost or not grant.left())
            held = "" if grant.is_lost else "held"
            votes = yield from self._released(
                token, asked, self._masters, enough, held=held, waiter=waiter
            )
        except BaseException:
            yield from self._released(token, asked, self._masters, waiter=waiter)
            raise
        finally:
            with suppress(ValueError):
                self._held.remove(grant)
        is_denied = sum(vote == 0 for vote in votes) > len(votes) - self._majority
        if is_denied:
            grant.end(is_lost=True)
        failures = self._failures(votes, raises=raises)
        if grant.is_lost and sum(map(is_positive, votes)) < self._majority:
            raise ReleaseUnlockedLock(self.key, self._masters, failures)

    def _released(  # noqa: PLR0913 - each is part of the request
        self,
        token: str,
        asked: Poll,
        masters: Sequence[Any],
        enough: Callable[[Sequence[Any]], bool] | None = None,
        *,
        rings: bool = True,
        held: str = "",
        waiter: str = "",
    ) -> Poll:
        keys = self._keys("reserved", "waiting", "bell")
        reserved = ms(_RESERVED) if rings else "0"
        args = (token, ms(self.retry_delay), reserved, held, *([waiter] if waiter else ()))
        command = evaluate(RELEASE, keys, args)
        # The bell rings at the first master, so that one comes last, after the others let go.
        masters = masters[::-1]
        # Masters run what they were sent, whether or not the caller waits for the replies.
        seconds = self._patience if enough else _LEAST_PATIENCE
        return Poll(masters, command, seconds, enough=enough, behind=asked, insist=True)

    def _entering(self) -> Steps[Self]:
        outcome = yield from self._acquired(
            self.context_manager_blocking, self.context_manager_timeout
        )
        if isinstance(outcome, Refusal):
            raise QuorumNotAchieved(self.key, self._masters, outcome.failures)
        _entered.set((*_entered.get(), (self, outcome)))
        return self

    def _leaving(self, error: BaseException | None) -> Steps[None]:
        try:
            yield from self._let_go(self._left())
        except Exception as trouble:
            if error is None:
                raise
            _logger.warning("%r: %s", self, trouble)
            add_note: Any = getattr(error, "add_note", str)  # Python 3.10 has none
            add_note(f"Besides, {trouble}")

    def _left(self) -> Grant | None:
        """Return the grant that this thread or task entered last, else the current one."""
        entered = _entered.get()
        for place in reversed(range(len(entered))):
            if entered[place][0] is self:
                _entered.set(entered[:place] + entered[place + 1 :])
                return entered[place][1]
        return self._current()


def _positive(name: str, value: Any, least: float = 0.001) -> float:
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not least <= value <= _LONGEST:
        raise ValueError(f"{name} must be at least {least}, in seconds, not {value!r}")
    return value


def _count(name: str, value: int) -> int:
    if value < -1 or (value != inf and value != int(value)):
        raise ValueError(f"{name} must be a whole number, -1 for no limit, not {value!r}")
    return value


def _plain(callback: Callable[[Any], object] | None) -> Callable[[Any], object] | None:
    if callback is not None and (not callable(callback) or iscoroutinefunction(callback)):
        raise TypeError("on_lost must be a plain function, which takes the lock")
    return callback


def _deadline(blocking: bool, timeout: float) -> float:
    """Return when to give up, after the checks of `threading.Lock.acquire`."""
    if not blocking and timeout != -1:
        raise ValueError("can't specify a timeout for a non-blocking call")
    if timeout != -1 and not timeout >= 0:  # nor NaN
        raise ValueError("timeout value must be a non-negative number")
    if timeout > _LONGEST:
        raise OverflowError("timeout value is too large")
    if not blocking:
        return now()
    return now() + (timeout if timeout >= 0 else _LONGEST)


class Redlock(RedlockPlans, Sync):
    """A `threading.Lock` for threads, processes and machines, without a single point of failure.

    *masters* are clients of servers that know nothing of each other; use five in production, so
    that two may fail. A holder may rely on the lock for `auto_release_time` seconds, less the time
    that it took to acquire it and an allowance for clock drift. After that, others can get it,
    unless it was extended. So a holder that dies keeps nobody waiting for long.

    - *num_extensions*: how often `extend` may restart the lease; -1 for any number of times.
    - *auto_renew*: extend it in the background, for as long as it is held and this process lives.
    - *on_lost*: called with the lock as soon as it is lost, in the background or by the method that
      notices the loss; see `lost`.
    - *fencing*: make a `fencing_token`, by which a resource can refuse a former holder.
    - *retry_delay*: seconds after which a waiter tries again even if it has heard nothing.
    - *context_manager_blocking*, *context_manager_timeout*: how `with` acquires the lock.
    - *raise_on_redis_errors*: raise QuorumIsImpossible when so many masters fail that the rest is
      not a majority, instead of trying again or answering no.
    - *delayed_restart*: a master that has been up for less than a lease has no vote, as it may have
      forgotten who held the lock. This needs permission to use INFO.

    Stored as a string at `redlock:` + *key* on every master, the token of the holder, which
    expires; also, while somebody waits, `~waiting`, `~bell` and `~reserved`, and `~fence` with
    *fencing*.

    Differs from `threading.Lock`: it expires; `locked` returns how long this object will still hold
    it; `release` raises ReleaseUnlockedLock, a RuntimeError, if it is no longer held; a forked
    process does not hold the locks of its parent.

    At most one client holds the lock at a time if clocks run at about the same rate, holders do not
    pause beyond the validity that `locked` returns, and no master forgets (its keys are not
    evicted, nor lost when it restarts, and no replica replaces it). Where that is not certain, let
    the resource check the fencing token. Source: redis.io, "Distributed Locks with Redis".
    """

    @property
    def lost(self) -> threading.Event:
        """An event that is set once the lock is lost: its extension failed, or its time ran out.

        There is a new event each time that the lock is acquired. A lock that was released in time
        is not lost.
        """
        return cast("threading.Event", self._loss())

    def __enter__(self) -> Self:
        """Acquire the lock, with the options of the constructor.

        Raises QuorumNotAchieved if that is not possible in time.
        O(1) if the lock is free; 1 round trip; atomic.
        """
        return self._perform(self._entering())

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Release the lock.

        Raises ReleaseUnlockedLock if it was lost, unless the block has raised an exception.
        O(1); 1 round trip; atomic.
        """
        self._perform(self._leaving(error))


class AIORedlock(RedlockPlans, Async):
    """A `Redlock` for asyncio: the same methods, awaited, and `async with`.

    Its masters are clients of `redis.asyncio`, and `lost` is an `asyncio.Event`.
    """

    @property
    def lost(self) -> asyncio.Event:
        """An event that is set once the lock is lost, like that of a Redlock."""
        return cast("asyncio.Event", self._loss())

    async def __aenter__(self) -> Self:
        """Acquire the lock, with the options of the constructor.

        Raises QuorumNotAchieved if that is not possible in time.
        O(1) if the lock is free; 1 round trip; atomic.
        """
        return await self._perform(self._entering())

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Release the lock.

        Raises ReleaseUnlockedLock if it was lost, unless the block has raised an exception.
        O(1); 1 round trip; atomic.
        """
        await self._perform(self._leaving(error))
