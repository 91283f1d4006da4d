"""The results of calls, kept in Redis, and who computes one that is missing.

A result is a *field* of a hash. If results expire one by one, a sorted set beside it has the time
at which each does. If only one caller is to compute a result, it has a *flight*: a key with its
token, which expires so that others can take over from a caller that died. Behind it are the tokens
of those who wait, first come, first served if a caller fails. When the flight *lands*, an entry is
added to a stream, where all who wait can see it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from logging import getLogger
from math import ceil
from operator import length_hint
from sys import maxsize
from typing import TYPE_CHECKING, Any

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    MasterDownError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pottery._call_key import digest
from pottery._front import Async, Sync
from pottery._json import decode
from pottery._plan import Op, Pause, nothing, same
from pottery._poll import Poll
from pottery._script import Script
from pottery.base import MISSING, Base
from pottery.exceptions import in_short

if TYPE_CHECKING:
    from collections.abc import Callable

    from pottery._plan import Plan, Steps

# Seconds for which a waiting caller relies on being told; and seconds until it looks again if it
# cannot even wait, for example because the server accepts no more connections.
PATIENCE = 1.0
NAP = 0.05

# Errors at which on_error="compute" does without the cache; a wrong password is not an outage.
OUTAGES = (
    RedisConnectionError,
    RedisTimeoutError,
    OSError,
    ClusterDownError,
    MasterDownError,
    ReadOnlyError,
)
MISTAKES = (AuthenticationError, AuthorizationError)

logger = getLogger("pottery")

# These use the server's clock, so that machines need not agree on the time.
_TIMES = """
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function keep(milliseconds, results, ends)
  if milliseconds == '' then return end
  redis.call('PEXPIRE', results, milliseconds)
  if ends then redis.call('PEXPIRE', ends, milliseconds) end
end
local function find(results, ends, field)
  if ends and tonumber(redis.call('ZSCORE', ends, field) or 0) <= now() then return false end
  return redis.call('HGET', results, field)
end
"""
_IS_OF = """
local function is_of(tokens, token) return tokens:sub(1, #token) == token end
"""
# The entry goes away soon, by its expiry or by the next flight, so that later callers do wait.
_LAND = """
local function land(landing, token)
  redis.call('XADD', landing, '*', 'token', token)
  redis.call('PEXPIRE', landing, 1000)
end
"""
LOOK_UP = Script(
    """
-- KEYS[1] results, KEYS[2] their ends, if any; ARGV[1] field, ARGV[2] ms for which all stay from
-- now on, or ''; returns the result, or false
"""
    + _TIMES
    + """
local result = find(KEYS[1], KEYS[2], ARGV[1])
keep(ARGV[2], KEYS[1], KEYS[2])
return result
""",
    repeatable=True,
)
JOIN = Script(
    """
-- KEYS[1] results, KEYS[2] flight, KEYS[3] landing, KEYS[4] ends of results, if any; ARGV[1]
-- field, ARGV[2] ms that all stay or '', ARGV[3] token, ARGV[4] ms of the lease, ARGV[5] no result;
-- returns the result, or false if the caller is to compute it, or ms for which another one may
"""
    + _TIMES
    + _IS_OF
    + """
local result = find(KEYS[1], KEYS[4], ARGV[1])
keep(ARGV[2], KEYS[1], KEYS[4])
if result and result ~= ARGV[5] then return result end
local token, tokens = ARGV[3], redis.call('GET', KEYS[2]) or ''
if not is_of(tokens, token) then
  local left = redis.call('PTTL', KEYS[2])
  if left > 0 then
    if not tokens:find(token, 1, true) then redis.call('APPEND', KEYS[2], token) end
    return left
  end
  tokens = token
end
redis.call('SET', KEYS[2], tokens, 'PX', ARGV[4])
redis.call('DEL', KEYS[3])
return false
""",
    repeatable=True,
)
# It removes more expired results than it can add, so that they do not pile up.
KEEP = Script(
    """
-- KEYS[1] results, KEYS[2] flight, KEYS[3] landing, KEYS[4] ends of results, if any; ARGV[1]
-- field, ARGV[2] result, ARGV[3] ms that all stay or '', ARGV[4] token or '', ARGV[5] ms to its end
"""
    + _TIMES
    + _IS_OF
    + _LAND
    + """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if KEYS[4] then
  local time = now()
  local gone = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', time, 'LIMIT', 0, 100)
  redis.call('ZADD', KEYS[4], time + ARGV[5], ARGV[1])
  for _, field in ipairs(gone) do
    if field ~= ARGV[1] then
      redis.call('HDEL', KEYS[1], field)
      redis.call('ZREM', KEYS[4], field)
    end
  end
end
keep(ARGV[3], KEYS[1], KEYS[4])
if ARGV[4] ~= '' then
  if is_of(redis.call('GET', KEYS[2]) or '', ARGV[4]) then redis.call('DEL', KEYS[2]) end
  land(KEYS[3], ARGV[4])
end
""",
    repeatable=True,
    writes=True,
)
GIVE_UP = Script(
    """
-- KEYS[1] flight, KEYS[2] landing; ARGV[1] token; lets the next caller compute, which is taken for
-- dead if it does not within a second
"""
    + _IS_OF
    + _LAND
    + """
local token, tokens = ARGV[1], redis.call('GET', KEYS[1]) or ''
local others = tokens:gsub(token, '')
if not is_of(tokens, token) then
  if others ~= tokens then redis.call('SET', KEYS[1], others, 'KEEPTTL') end
  return
end
if others == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], others, 'PX', 1000)
end
land(KEYS[2], token)
""",
    repeatable=True,
)


@dataclass(frozen=True)
class Options:
    """The options of `redis_cache`."""

    redis: Any
    timeout: float | None
    ttl: float | None
    typed: bool
    make_key: Callable[..., object] | None
    single_flight: bool
    lease: float
    on_error: str

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name in ("timeout", "ttl", "lease"):
            seconds = getattr(self, name)
            if seconds is not None or name == "lease":
                milliseconds(seconds, name)
        if self.on_error not in {"raise", "compute"}:
            raise ValueError(f"on_error must be 'raise' or 'compute', not {self.on_error!r}")
        if self.make_key is not None and not callable(self.make_key):
            raise TypeError("make_key must be callable")


def milliseconds(seconds: Any, name: str) -> str:
    """Return *seconds*, an argument called *name*, as text for Redis."""
    if not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {type(seconds).__name__}")
    if not 0 < seconds < 2**43:
        raise ValueError(f"{name} must be a positive number of seconds, not {seconds}")
    return str(ceil(seconds * 1000))


class Tally:
    """A count that many threads may increase at once: one step of the iterator is atomic."""

    def __init__(self) -> None:
        self._steps = iter(range(maxsize))

    def add(self) -> None:
        """Count one more."""
        next(self._steps)

    def total(self) -> int:
        """Return the count."""
        return maxsize - length_hint(self._steps)


class Call:
    """A call of the function: the field of its result, and the token of its flight, if any.

    It is *uncached* if Redis could not be reached for it: then its result is not kept either.
    """

    __slots__ = ("field", "is_uncached", "token")

    def __init__(self, field: str, token: str) -> None:
        self.field = field
        self.token = token
        self.is_uncached = False


class CachePlans(Base):
    """What redis_cache asks of Redis."""

    def __init__(self, options: Options, key: str | bytes) -> None:
        """Attach to *key*."""
        super().__init__(redis=options.redis, key=key)
        self.hits = Tally()
        self.misses = Tally()
        self._is_away = False
        self._forgives = options.on_error == "compute"
        self._stay = "" if options.timeout is None else milliseconds(options.timeout, "timeout")
        self._ttl = "" if options.ttl is None else milliseconds(options.ttl, "ttl")
        self._flight_time = milliseconds(options.lease, "lease")
        self._ends = (self._companion("ends"),) if self._ttl else ()

    def _look_up(self, call: Call) -> Steps[Any]:
        """Return the result of an earlier call, MISSING if there is none."""
        try:
            plan = self._safely(self._join(call), call) if call.token else self._find(call)
            found = yield from plan
            self._is_away = False
        except OUTAGES as error:
            self._excuse(error, call)
            found = MISSING
        (self.misses if found is MISSING else self.hits).add()
        return found

    def _find(self, call: Call) -> Steps[Any]:
        plan: Plan[Any] = Op(("HGET", self.key, call.field), same, repeatable=True)
        if self._stay or self._ends:
            plan = LOOK_UP((self.key, *self._ends), (call.field, self._stay))
        return _read((yield from plan))

    def _join(self, call: Call) -> Steps[Any]:
        """Look up, and wait while others compute; after MISSING, the caller has to compute."""
        keys = (self.key, *self._flight(call), *self._ends)
        broken, seen = b"", b"0"
        while True:
            args = (call.field, self._stay, call.token, self._flight_time, broken)
            reply = yield from JOIN(keys, args)
            if isinstance(reply, int):
                seen = yield from self._wait(keys[2], seen, reply / 1000)
            elif reply is None or _read(reply) is not MISSING:
                return _read(reply)
            else:
                broken = reply

    def _safely(self, plan: Plan[Any], call: Call) -> Steps[Any]:
        """Perform *plan*; if it fails, let nobody wait for this caller."""
        try:
            return (yield from plan)
        except (*OUTAGES, GeneratorExit):
            raise
        except BaseException:
            yield from self._give_up(call)
            raise

    def _wait(self, landing: str | bytes, seen: bytes, seconds: float) -> Steps[bytes]:
        """Wait at *landing*, a stream in which all waiting callers see the same entries.

        Returns the ID of the last one that was *seen*.
        """
        seconds = min(seconds, PATIENCE)
        read = ("XREAD", "BLOCK", milliseconds(seconds, "wait"), "STREAMS", landing, seen)
        (vote,) = yield from Poll((self.redis,), read, seconds + PATIENCE)
        if isinstance(vote, Exception):
            yield from Pause(min(seconds, NAP))
        elif vote:
            ((_, entries),) = vote.items() if hasattr(vote, "items") else vote
            seen = entries[-1][0]
        return seen

    def _keep(self, call: Call, text: str) -> Steps[None]:
        """Keep the result *text*, and tell those who wait for it."""
        if call.is_uncached:
            return
        try:
            yield from self._safely(self._store(call, text), call)
        except OUTAGES as error:
            self._excuse(error, call)

    def _store(self, call: Call, text: str) -> Plan[None]:
        if not (self._stay or self._ttl or call.token):
            args = ("HSET", self.key, call.field, text)
            return Op(args, nothing, repeatable=True, writes=True)
        # Without a timeout, the keys expire together with the last result.
        stay = self._stay or self._ttl
        keys = (self.key, *self._flight(call), *self._ends)
        return KEEP(keys, (call.field, text, stay, call.token, self._ttl), nothing)

    def _give_up(self, call: Call) -> Steps[None]:
        """Let the next caller compute. The error that led here matters more than one in here."""
        if not call.token or call.is_uncached:
            return
        keys, args = self._flight(call), (call.token,)
        try:
            yield from GIVE_UP(keys, args)
        except (RedisError, OSError) as error:
            logger.debug("a lease was not given back: %s", in_short(error))
        except BaseException:  # interrupted, again perhaps
            with suppress(RedisError, OSError):
                yield from GIVE_UP(keys, args)
            raise

    def _flight(self, call: Call) -> tuple[str | bytes, str | bytes]:
        """Return the key of the flight, and that of the stream where its landing is announced."""
        if not call.token:
            return self.key, self.key  # not used, and so no rights to other keys are needed
        name = digest(call.field)[:32]
        return self._companion(f"flight:{name}"), self._companion(f"landing:{name}")

    def _excuse(self, error: Exception, call: Call) -> None:
        """Do without Redis if the user wants that, and warn once per outage."""
        if not self._forgives or isinstance(error, MISTAKES):
            raise error
        if not self._is_away:
            self._is_away = True
            logger.warning("the cache %r cannot be reached: %s", self.key, in_short(error))
        call.is_uncached = True

    def _size(self) -> Op[int]:
        return Op(("HLEN", self.key), int, repeatable=True)

    def _drop(self, field: str) -> Op[None]:
        return Op(("HDEL", self.key, field), nothing, repeatable=True, writes=True)

    def _drop_all(self) -> Op[None]:
        return Op(("UNLINK", self.key, *self._ends), nothing, repeatable=True, writes=True)

    def _reset(self) -> None:
        self.hits, self.misses = Tally(), Tally()


def _read(raw: bytes | None) -> Any:
    """Return the value of *raw*, MISSING if there is none or it cannot be decoded."""
    if raw is None:
        return MISSING
    try:
        return decode(raw)
    except (ValueError, RecursionError):
        return MISSING


class BlockingCache(CachePlans, Sync):
    """The cache of a function that blocks."""

    _known_as = "redis_cache of a plain function"


class AwaitedCache(CachePlans, Async):
    """The cache of a function that is awaited."""

    _known_as = "redis_cache of an `async def`"
