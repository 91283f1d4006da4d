"""Redlock, AIORedlock and synchronize: `threading.Lock` for many machines.

A lock is a key at each of several masters, with the token of who holds it, and a lease that runs
out. Whoever gets it at a majority holds it, for what is left of the lease then.

A lock that is taken is waited for at a bell: a list at the first master, which the release makes
ring. Redis serves who waits there first come, first served. For a moment the lock is reserved for
who has heard the bell, so that nobody else gets in between, least of all who has just released it.
All of that is a courtesy: if the bell is not heard, or rings in vain, waiters try again after
`retry_delay`, or when the lease has run out.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from contextlib import suppress
from contextvars import ContextVar
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from random import uniform
from secrets import token_hex
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar, cast
from weakref import ref

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from pottery._plan import Async, Pause, Sync, operation
from pottery._poll import Poll, Unanswered
from pottery._quorum import Primitive, evaluate, listed, now, number
from pottery.exceptions import (
    ExtendUnlockedLock,
    QuorumNotAchieved,
    ReleaseUnlockedLock,
    TooManyExtensions,
    in_short,
)

if TYPE_CHECKING:
    import asyncio
    import threading
    from collections.abc import Callable, Coroutine, Iterable, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from pottery._plan import Steps
    from pottery._wire import Argument

P = ParamSpec("P")
T = TypeVar("T")

_logger = logging.getLogger("pottery")

# What the page on distributed locks takes off a lease, since no two clocks go alike.
_DRIFT, _LEAST_DRIFT = 0.01, 0.002
# The part of a lease that is spent at most on asking the masters, and its bounds in seconds.
_PATIENCE, _LEAST_PATIENCE, _MOST_PATIENCE = 0.05, 0.05, 1.0
# Seconds that a reply may take beyond what its command waits for.
_GRACE = 0.25
# Seconds for which a lock is reserved for who has heard of its release.
_RESERVED = 0.05
_TOKEN_BYTES = 20
# Seconds, at most, before a lock is looked at again whose holder will not ring.
_SILENCE = 0.2
# Seconds, at most, before contenders that each got a part of the masters try again.
_SCATTER = 0.01
_LONGEST = (2**63 - 1) // 10**9  # as threading.TIMEOUT_MAX
_FENCE_MS = 30 * 86_400_000

_CLOCK = """
local time = redis.call('TIME')
time = time[1] * 1000 + math.floor(time[2] / 1000)
"""
TRY = """
-- KEYS[1] lock, [2] for whom it is reserved; ARGV[1] token, [2] ms of the lease; returns OK or nil
if redis.call('EXISTS', KEYS[2]) == 1 then return false end
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
"""
ACQUIRE = (
    """
-- KEYS[1] lock, [2] for whom it is reserved, [3] waiters, [4] fence; ARGV[1] token, [2] ms of the
-- lease, [3] ms that the caller will wait or 0, [4] proposed fencing token or 0, [5] ms that the
-- fence is kept, [6] seconds to be up or 0, [7] name of the waiter or '', [8] token that it has
-- heard or ''; returns {'OK', fence before, replaced if it was lower}, or why not: {ms, owner},
-- {'YOUNG'}, {'TWICE'}
if ARGV[6] ~= '0' then
  local up = string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)')
  if tonumber(up) <= tonumber(ARGV[6]) then return {'YOUNG'} end
end
"""
    + _CLOCK
    + """
local owner, why = redis.call('GET', KEYS[1]), KEYS[1]
if owner == ARGV[1] then return {'TWICE'} end
if not owner then
  owner, why = redis.call('GET', KEYS[2]), KEYS[2]
  if owner == ARGV[8] then owner = false end
end
if owner then
  if ARGV[3] ~= '0' then
    redis.pcall('ZADD', KEYS[3], time + ARGV[3], ARGV[7])
    redis.pcall('PEXPIRE', KEYS[3], ARGV[3])
  elseif ARGV[7] ~= '' then
    redis.call('ZREM', KEYS[3], ARGV[7])
  end
  return {redis.call('PTTL', why), owner}
end
local fence = ARGV[4] ~= '0' and redis.call('GET', KEYS[4]) or '0'
local is_lower = (tonumber(fence) or math.huge) < tonumber(ARGV[4])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if ARGV[7] ~= '' then
  redis.call('DEL', KEYS[2])
  redis.call('ZREM', KEYS[3], ARGV[7])
end
if is_lower then redis.call('SET', KEYS[4], ARGV[4], 'PX', ARGV[5]) end
return {'OK', fence}
"""
)
EXTEND = """
-- KEYS[1] lock; ARGV[1] token, [2] ms of the lease; returns whether the lock was its
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
RELEASE = (
    """
-- KEYS[1] lock, [2] for whom it is reserved, [3] waiters, [4] bell; ARGV[1] token, [2] ms that the
-- bell sounds, [3] ms that the lock is reserved for who hears it, or 0 for no bell; returns whether
-- the lock was its
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
if ARGV[3] == '0' or redis.call('EXISTS', KEYS[3]) == 0 then return 1 end
"""
    + _CLOCK
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', time)
if redis.call('ZCARD', KEYS[3]) > 0 then
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
  redis.call('DEL', KEYS[4])
  redis.call('RPUSH', KEYS[4], ARGV[1])
  redis.call('PEXPIRE', KEYS[4], ARGV[2])
end
return 1
"""
)
LEFT = """
-- KEYS[1] lock; ARGV[1] token; returns the ms left of the lease if it is its, else 0
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PTTL', KEYS[1])
"""
FENCE = """
-- KEYS[1] lock, [2] fence; ARGV[1] token, [2] proposal, [3] ms that the fence is kept; returns the
-- fence before, replaced by the proposal if it was lower, or nil if the lock is not its
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
local fence = redis.call('GET', KEYS[2]) or '0'
if (tonumber(fence) or math.huge) < tonumber(ARGV[2]) then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
return fence
"""


class Waiter:
    """Who waits for a lock: what the masters know of it, and what it has heard."""

    def __init__(self) -> None:
        self.name = token_hex(8)
        self.gone = ""  # the token whose release it has heard
        self.is_known = False


class Held(NamedTuple):
    """What a master says of a lock that is taken."""

    owner: bytes
    seconds: float


class Refusal(NamedTuple):
    """Why the lock was not got, and when it makes sense to try again."""

    failures: list[Exception]
    owner: str | None  # who holds a majority
    is_hopeless: bool  # so few masters vote that nobody can get it now
    seconds: list[float]  # until enough leases have run out, if that is known
    bell: Any  # the master that rings when the lock is released


class Watch(NamedTuple):
    """What those are told by who watch over a lock that is held: events."""

    lost: Any
    over: Any


class Grant:
    """One time of holding a lock."""

    def __init__(self, token: str, until: float, asked: Poll) -> None:
        self.token = token
        self.until = until
        self.asked = asked  # the last poll, with the lines of masters that have not answered it yet
        self.process = os.getpid()
        self.fencing_token: int | None = None
        self.extensions: list[None] = []  # one for each time that it was extended by hand
        self.watch: Watch | None = None
        self.is_lost = False
        self.is_over = False

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
        """Tell those who watch."""
        if self.watch and self.is_lost:
            self.watch.lost.set()
        if self.watch and self.is_over:
            self.watch.over.set()


# What was entered by `with` in this thread or task, so that leaving it releases just that.
_entered: ContextVar[tuple[tuple[Any, Grant], ...]] = ContextVar("entered", default=())


class RedlockPlans(Primitive):
    """What Redlock and AIORedlock ask of their masters."""

    _prefix = "redlock:"
    _signal: Any
    _begin: Any

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
        """Name the lock *key*, kept by *masters*; ask nobody yet.

        O(1); 0 round trips; atomic.
        """
        super().__init__(key, masters, raise_on_redis_errors=raise_on_redis_errors)
        self.auto_release_time = _positive("auto_release_time", auto_release_time)
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
        """Take the lock and return True; or False if it cannot be had in time.

        If *blocking*, wait for it: *timeout* seconds at most, or for ever if that is -1.

        Raises ValueError or OverflowError for what `threading.Lock` does not take either, and
        QuorumIsImpossible if so asked.
        O(1) if the lock is free; 1 round trip; atomic.
        """
        outcome = yield from self._acquired(blocking, timeout, raise_on_redis_errors)
        return isinstance(outcome, Grant)

    def _acquired(
        self, blocking: bool, timeout: float, raises: bool | None = None
    ) -> Steps[Grant | Refusal]:
        deadline = _deadline(blocking, timeout)
        outcome = yield from self._attempt(self._patience, None, raises)
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
            seconds = min(self._patience, max(left, _LEAST_PATIENCE))
            outcome = yield from self._attempt(seconds, waiter, raises)
            if isinstance(outcome, Grant):
                waiter.is_known = False
                return outcome
            refusal = outcome
        return refusal

    def _attempt(
        self, seconds: float, waiter: Waiter | None, raises: bool | None
    ) -> Steps[Grant | Refusal]:
        token, began = token_hex(_TOKEN_BYTES), now()
        proposal = self._proposed() if self.fencing else 0
        request = self._request(token, waiter, proposal)
        enough = self._settled(_is_granted)
        asked = Poll(self._masters, request, seconds, enough=enough, keep=True)
        grant = Grant(token, self._until(began), asked)
        votes: list[Any] = [Unanswered()] * len(self._masters)
        try:
            votes = yield from asked
            failures = self._failures(votes, raises=raises)
            is_granted = sum(map(_is_granted, votes)) >= self._majority
            if is_granted and self.fencing:
                yield from self._fence_in(grant, votes, proposal)
            if is_granted and grant.left():
                self._hold(grant)
                return grant
            refusal = self._refusal(votes, failures)
        except BaseException:
            grant.end(is_lost=False)
            yield from self._give_back(token, asked, votes)
            raise
        yield from self._give_back(token, asked, votes)
        return refusal

    def _request(self, token: str, waiter: Waiter | None, proposal: int) -> tuple[Argument, ...]:
        lease = _ms(self.auto_release_time)
        if not (waiter or self.fencing or self.delayed_restart):
            return evaluate(TRY, self._keys("reserved"), (token, lease))
        wait = _ms(self.retry_delay + _GRACE) if waiter and waiter.is_known else "0"
        up = str(-int(-self.auto_release_time // 1)) if self.delayed_restart else "0"
        who = (waiter.name, waiter.gone) if waiter else ("", "")
        args = (token, lease, wait, str(proposal), str(_FENCE_MS), up, *who)
        return evaluate(ACQUIRE, self._keys("reserved", "waiting", "fence"), args)

    def _keys(self, *companions: str) -> tuple[str, ...]:
        return (self.key, *map(self._beside, companions))

    def _beside(self, name: str) -> str:
        """Return the key of something that belongs to this lock."""
        return f"{self.key}~{name}"

    def _proposed(self) -> int:
        """Return what is likely to be higher than all fencing tokens so far."""
        self._fence = max(self._fence + 1, time.time_ns() // 1000)
        return self._fence

    def _until(self, began: float) -> float:
        """Return when a lease ends that masters granted or extended not before *began*."""
        lease = self.auto_release_time
        return began + lease - (lease * _DRIFT + _LEAST_DRIFT)

    def _settled(self, is_yes: Callable[[Any], bool]) -> Callable[[Sequence[Any]], bool]:
        """Return what finds out that the votes are a majority, or can no longer become one."""
        majority = self._majority  # a poll must not keep a lock alive that is forgotten

        def enough(votes: Sequence[Any]) -> bool:
            yes = sum(map(is_yes, votes))
            no = sum(not isinstance(vote, Exception) for vote in votes) - yes
            # A failure is no vote: without one it is not known yet whether the lock is taken.
            return yes >= majority or no > len(votes) - majority

        return enough

    def _refusal(self, votes: Sequence[Any], failures: list[Exception]) -> Refusal:
        if any(vote == [b"TWICE"] for vote in votes):
            raise ValueError(f"two of the masters of {self.key!r} are the same server: give one")
        held = {
            master: Held(vote[1], vote[0] / 1000 if vote[0] >= 0 else _LONGEST)
            for master, vote in zip(self._masters, votes, strict=True)
            if type(vote) is list and not _is_granted(vote) and vote != [b"YOUNG"]
        }
        owner = self._elected(one.owner for one in held.values())
        # So many leases have to run out until the masters that are free are a majority.
        wanted = max(self._majority - (len(votes) - len(held) - len(failures)), 1)
        left = sorted(one.seconds for one in held.values())
        is_hopeless = len(held) + sum(map(_is_granted, votes)) < self._majority
        bell = next(iter(held), None)
        return Refusal(failures, owner, is_hopeless, left[wanted - 1 : wanted], bell)

    def _elected(self, owners: Iterable[bytes]) -> str | None:
        ((owner, votes),) = Counter(owners).most_common(1) or [(b"", 0)]
        return _text(owner) if votes >= self._majority else None

    def _wait(self, waiter: Waiter, refusal: Refusal, left: float) -> Steps[None]:
        """Wait until the lock is released, or may have run out.

        If nobody has it, or only who is *gone* and has not come round all masters yet: a moment.
        """
        scatter = self._patience if refusal.is_hopeless else _SCATTER
        moment = min(left, uniform(0, scatter))  # noqa: S311 - no secret
        if refusal.owner in (None, waiter.gone):
            yield from Pause(moment)
            return
        # Holders of pottery 3.0 ring no bell.
        rings = len(refusal.owner) == 2 * _TOKEN_BYTES
        longest = self.retry_delay if rings else uniform(0, _SILENCE)  # noqa: S311 - as above
        seconds = max(min(left, longest, *refusal.seconds), 0.001)
        listen = ("BLPOP", self._beside("bell"), f"{seconds:.3f}")
        vote: Any
        (vote,) = yield from Poll((refusal.bell,), listen, seconds + _GRACE)
        if isinstance(vote, Exception):  # without a bell, as this user may not listen, say
            yield from Pause(seconds if isinstance(vote, ResponseError) else moment)
        waiter.gone = _heard(vote)

    def _hold(self, grant: Grant) -> None:
        if self.auto_renew or self.on_lost:
            self._watch(grant)
        self._last = grant
        self._held[:] = [grant]

    def _give_back(self, token: str, asked: Poll, votes: Sequence[Any]) -> Steps[None]:
        """Release the lock on all masters that may have granted it."""
        granted = [_is_granted(vote) for vote in votes]
        masters = [
            master
            for master, vote, yes in zip(self._masters, votes, granted, strict=True)
            if yes or isinstance(vote, Exception)
        ]
        # Who had a majority kept others waiting at the bell; so may have who was interrupted.
        rings = sum(granted) >= self._majority or all(type(vote) is Unanswered for vote in votes)
        if masters:
            yield from self._released(token, asked, masters, rings=rings)

    # --- holding

    def _current(self) -> Grant | None:
        return next(iter(self._held), None)

    @operation
    def locked(self, *, raise_on_redis_errors: bool | None = None) -> Steps[float]:
        """Return for how many seconds this object will certainly hold the lock, 0 if it does not.

        `owner` tells whether anyone does.
        O(1); 1 round trip; atomic.
        """
        grant = self._current()
        if grant is None or not grant.left():
            return 0.0
        began = now()
        command = evaluate(LEFT, (self.key,), (grant.token,))
        votes = yield from self._asked(grant, command, _is_positive)
        self._failures(votes, raises=raise_on_redis_errors)
        left: list[float] = sorted(
            (vote / 1000 for vote in votes if _is_positive(vote)), reverse=True
        )
        if len(left) < self._majority:
            self._lose_if_denied(grant, votes)
            return 0.0
        # More than a lease is left on a master whose clock was put back.
        certain = self._until(began) - self.auto_release_time + left[self._majority - 1]
        return max(min(grant.left(), certain - now()), 0.0)

    @operation
    def owner(self) -> Steps[str | None]:
        """Return the token that holds the lock at a majority, whoever's it is, None if none does.

        O(1); 1 round trip; atomic.
        """
        question = Poll(self._masters, ("GET", self.key), self._patience)
        votes = yield from self._insistently(lambda: question)
        self._failures(votes)
        return self._elected(vote for vote in votes if isinstance(vote, bytes))

    @property
    def fencing_token(self) -> int | None:
        """The number of this time of holding the lock, higher than those of all times before.

        None without *fencing*, and when the lock is released.
        """
        grant = self._current()
        return grant.fencing_token if grant else None

    def _loss(self) -> Any:
        if self._last is None:
            return self._signal()
        return self._watch(self._last).lost

    @operation
    def extend(self, *, raise_on_redis_errors: bool | None = None) -> Steps[None]:
        """Begin the lease anew, so that the lock is held for `auto_release_time` from now.

        Raises ExtendUnlockedLock if it is not held, or no longer, or no majority can be reached;
        TooManyExtensions after `num_extensions` times.
        O(1); 1 round trip; atomic.
        """
        grant = self._current()
        if grant is None or not grant.left():
            raise ExtendUnlockedLock(self.key, self._masters)
        if len(grant.extensions) >= self.num_extensions >= 0:
            raise TooManyExtensions(self.key, self._masters)
        grant.extensions.append(None)
        yield from self._extended(grant, raise_on_redis_errors)

    def _extended(self, grant: Grant, raises: bool | None = None) -> Steps[None]:
        began = now()
        args = (grant.token, _ms(self.auto_release_time))
        votes = yield from self._asked(grant, evaluate(EXTEND, (self.key,), args), _is_positive)
        is_extended = sum(map(_is_positive, votes)) >= self._majority and grant.left() > 0
        if is_extended:  # whatever the others say
            grant.until = self._until(began)
        failures = self._failures(votes, raises=raises)
        if not is_extended:
            self._lose_if_denied(grant, votes)
            raise ExtendUnlockedLock(self.key, self._masters, failures)

    def _renewed(self, grant: Grant) -> Steps[None]:
        """Extend the lease if that can be; if not, it is tried again until the time runs out."""
        try:
            yield from self._extended(grant, raises=False)
        except Exception as trouble:  # noqa: BLE001 - nobody else would hear of the loss then
            _logger.warning("%r was not renewed in full: %s", self, in_short(trouble))

    def _asked(
        self, grant: Grant, command: tuple[Any, ...], is_yes: Callable[[Any], bool]
    ) -> Steps[list[Any]]:
        """Ask all masters about a lock that is held, behind what they have not answered yet."""
        enough = self._settled(is_yes)

        def ask() -> Poll:
            seconds, behind = min(self._patience, grant.left()), grant.asked
            grant.asked = Poll(
                self._masters, command, seconds, enough=enough, behind=behind, keep=True
            )
            return grant.asked

        return (yield from self._insistently(ask))

    def _insistently(self, ask: Callable[[], Poll]) -> Steps[list[Any]]:
        """Ask once more if there is no majority since connections broke: one master has but one."""
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
        if grant.watch is None:
            grant.watch = Watch(self._signal(), self._signal())
            grant.signal()  # what was before
            if not grant.is_over:
                self._begin(_watching(ref(self), grant))
        return grant.watch

    def _fence_in(self, grant: Grant, votes: Sequence[Any], proposal: int) -> Steps[None]:
        """Agree with a majority on a number that is higher than all before."""
        fences = [self._fence_of(vote[1]) for vote in votes if _is_granted(vote)]
        while sum(fence < proposal for fence in fences) < self._majority:
            proposal = max(proposal, *fences) + 1
            args = (grant.token, str(proposal), str(_FENCE_MS))
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

    # --- releasing

    @operation
    def release(self, *, raise_on_redis_errors: bool | None = None) -> Steps[None]:
        """Release the lock, and wake up who has waited for it longest.

        Raises ReleaseUnlockedLock if this object does not hold it, or no longer.
        O(1); 1 round trip; atomic.
        """
        yield from self._let_go(self._current(), raise_on_redis_errors)

    def _let_go(self, grant: Grant | None, raises: bool | None = None) -> Steps[None]:
        if grant is None or grant.process != os.getpid():
            raise ReleaseUnlockedLock(self.key, self._masters)
        grant.end(is_lost=grant.is_lost or not grant.left())
        enough = self._settled(_is_positive)
        token, asked = grant.token, grant.asked
        try:
            votes = yield from self._released(token, asked, self._masters, enough)
        except BaseException:
            yield from self._released(token, asked, self._masters)
            raise
        finally:
            with suppress(ValueError):
                self._held.remove(grant)
        is_denied = sum(vote == 0 for vote in votes) > len(votes) - self._majority
        if is_denied:
            grant.end(is_lost=True)
        failures = self._failures(votes, raises=raises)
        if is_denied:
            raise ReleaseUnlockedLock(self.key, self._masters, failures)

    def _released(
        self,
        token: str,
        asked: Poll,
        masters: Sequence[Any],
        enough: Callable[[Sequence[Any]], bool] | None = None,
        *,
        rings: bool = True,
    ) -> Poll:
        keys = self._keys("reserved", "waiting", "bell")
        reserved = _ms(_RESERVED) if rings else "0"
        command = evaluate(RELEASE, keys, (token, _ms(self.retry_delay), reserved))
        # The bell rings at the first master; until then the others should have let go as well.
        masters = masters[::-1]
        # What is sent is run, whether or not the caller waits for it.
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
        """Return what this thread or task entered last by this lock, else what the lock holds."""
        entered = _entered.get()
        for place in reversed(range(len(entered))):
            if entered[place][0] is self:
                _entered.set(entered[:place] + entered[place + 1 :])
                return entered[place][1]
        return self._current()


def _watching(lock: Callable[[], Any], grant: Grant) -> Steps[None]:
    """Extend the lease, if so asked, until the lock is released or forgotten; tell of its loss."""
    while left := grant.left():
        holder = lock()
        if holder is None:
            return
        step = holder.auto_release_time / 3 if holder.auto_renew else left
        del holder  # so that a lock that is forgotten is not kept alive
        yield from Pause(min(step, left), until=grant.watch.over if grant.watch else None)
        holder = lock()
        if holder and holder.auto_renew and grant.left():
            yield from holder._renewed(grant)
        del holder
    holder = lock()
    if holder and not grant.is_over:
        holder._lose(grant)


def _is_granted(vote: Any) -> bool:
    # Of SET, or of ACQUIRE.
    return bool(vote == b"OK" or (type(vote) is list and vote[0] == b"OK"))


def _is_positive(vote: Any) -> bool:
    return type(vote) is int and vote > 0


def _is_fence(vote: Any) -> bool:
    return isinstance(vote, bytes)


def _heard(vote: Any) -> str:
    """Return the token that a bell told of, '' if it did not ring."""
    return "" if vote is None or isinstance(vote, Exception) else _text(vote[1])


def _text(token: bytes) -> str:
    # Of whatever kind, since anybody may have set the key.
    return token.decode(errors="backslashreplace")


def _ms(seconds: float) -> str:
    return str(max(int(seconds * 1000), 1))


def _positive(name: str, value: Any) -> float:
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not 0.001 <= value <= _LONGEST:
        raise ValueError(f"{name} must be at least a millisecond, in seconds, not {value!r}")
    return value


def _count(name: str, value: int) -> int:
    if value != int(value) or value < -1:
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

    *masters* are clients of servers that know nothing of each other; five in production, so that
    two may fail. Who holds the lock may rely on it for `auto_release_time` seconds, less the time
    that it took to get it and a part for the drift of clocks; then it is free for others, unless it
    was extended. So a holder that dies keeps nobody waiting for long.

    - *num_extensions*: how often `extend` may begin the lease anew; -1 for any number of times.
    - *auto_renew*: extend it in the background, for as long as it is held and this process lives.
    - *on_lost*: called with the lock as soon as it is lost, in the background or by the method that
      finds it out; see `lost`.
    - *fencing*: mint a `fencing_token`, by which a resource can refuse a holder of former times.
    - *retry_delay*: seconds after which a waiter looks again though nothing was heard.
    - *context_manager_blocking*, *context_manager_timeout*: how `with` acquires.
    - *raise_on_redis_errors*: raise QuorumIsImpossible when so many masters fail that the rest is
      no majority, instead of trying again or saying no.
    - *delayed_restart*: a master that is up for less than a lease has no vote, as it may have
      forgotten who held the lock. This takes the right to INFO.

    Stored as a string at `redlock:` + *key* on every master, which is the token of who holds it and
    expires; besides, while somebody waits, `~waiting`, `~bell` and `~reserved`, and `~fence` if
    *fencing*.

    Differs from `threading.Lock`: it ends by itself; `locked` tells how long this object still
    holds it; `release` raises ReleaseUnlockedLock if it is not held any more, which is a
    RuntimeError; a forked process does not hold what its parent holds.

    At most one client holds the lock at a time if clocks run at about the same rate, holders do not
    pause beyond the validity that `locked` tells, and no master forgets (it is evicted nothing,
    loses nothing when it restarts, and is not replaced by a replica). Where that cannot be had, let
    the resource check the fencing token. Source: redis.io, "Distributed Locks with Redis".
    """

    @property
    def lost(self) -> threading.Event:
        """An event that is set once the lock is lost: its extension failed, or its time ran out.

        Each time that the lock is acquired it is another one. A lock that was released in time is
        not lost.
        """
        return cast("threading.Event", self._loss())

    def __enter__(self) -> Self:
        """Acquire the lock as the constructor was told.

        Raises QuorumNotAchieved if it cannot be had in time.
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

        Raises ReleaseUnlockedLock if it was lost, unless an exception is on its way already.
        O(1); 1 round trip; atomic.
        """
        self._perform(self._leaving(error))


class AIORedlock(RedlockPlans, Async):
    """A `Redlock` for asyncio: the same methods, awaited, and `async with`.

    Its masters are clients of `redis.asyncio`, and `lost` is an `asyncio.Event`.
    """

    @property
    def lost(self) -> asyncio.Event:
        """An event that is set once the lock is lost, as that of a Redlock."""
        return cast("asyncio.Event", self._loss())

    async def __aenter__(self) -> Self:
        """Acquire the lock as the constructor was told.

        Raises QuorumNotAchieved if it cannot be had in time.
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

        Raises ReleaseUnlockedLock if it was lost, unless an exception is on its way already.
        O(1); 1 round trip; atomic.
        """
        await self._perform(self._leaving(error))


def synchronize(  # noqa: PLR0913 - as in pottery 3.0
    *,
    key: str,
    masters: Iterable[Any] = frozenset(),
    raise_on_redis_errors: bool = False,
    auto_release_time: float = 10,
    blocking: bool = True,
    timeout: float = -1,
    auto_renew: bool = False,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let the decorated function, or `async def`, run only once at a time, wherever it is called.

    Its calls hold the Redlock *key*; the other parameters are the lock's. Raises QuorumNotAchieved
    if a call cannot have it in time, and ReleaseUnlockedLock if it was lost while the function ran.
    Generator functions are refused, since calling them runs nothing yet.
    A generator function is refused: calling it would only make the generator.

    >>> @synchronize(key='print', masters={redis}, auto_release_time=0.5)
    ... def print_slowly(): ...

    O(1) besides the function; 2 round trips; not atomic.
    """
    options: dict[str, Any] = {
        "key": key,
        "masters": listed(masters),
        "raise_on_redis_errors": raise_on_redis_errors,
        "auto_release_time": auto_release_time,
        "context_manager_blocking": blocking,
        "context_manager_timeout": timeout,
        "auto_renew": auto_renew,
    }

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        if isgeneratorfunction(function) or isasyncgenfunction(function):
            raise TypeError("synchronize cannot hold a lock while a generator runs: use with")
        if iscoroutinefunction(function):
            return cast("Callable[P, T]", _synchronize_awaiting(function, AIORedlock(**options)))
        return _synchronize_blocking(function, Redlock(**options))

    return decorate


def _synchronize_blocking(function: Callable[P, T], lock: Redlock) -> Callable[P, T]:
    @wraps(function)
    def synchronized(*args: P.args, **kwargs: P.kwargs) -> T:
        with lock:
            return function(*args, **kwargs)

    return synchronized


def _synchronize_awaiting(
    function: Callable[P, Coroutine[Any, Any, T]], lock: AIORedlock
) -> Callable[P, Coroutine[Any, Any, T]]:
    @wraps(function)
    async def synchronized(*args: P.args, **kwargs: P.kwargs) -> T:
        async with lock:
            return await function(*args, **kwargs)

    return synchronized
