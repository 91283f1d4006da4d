"""RedisSimpleQueue and AIORedisSimpleQueue: `queue.SimpleQueue` in Redis.

An item is put once and got once, whatever happens to connections and callers:

1.  Beside the queue there is a *record* for each caller: the number of its last command and, if
    that was a take, what it took. A script that meets its own number has run already: it answers as
    it did then. One that meets a higher number is too late, and does nothing. So puts and takes may
    be sent again when a reply was lost.
2.  A caller that is interrupted when it may have taken an item gives it back: to the *returned*
    items, which are got before all others. If Redis is away, the next operation of this process
    does that.
3.  Consumers wait at a list, the *bell*: it wakes the one that has waited longest, and holds no
    item that could get lost. A consumer that is woken takes an item by the same script as others,
    and rings for the next consumer if there are more items. The bell is rung only if there is a
    mark that somebody is *waiting*. (A take sent along with the wait would be faster, but lose an
    item to each consumer whose machine has vanished without a word.)
4.  A waiting consumer also looks every second: pottery 3.0 puts without ringing, and a process that
    was woken may have died.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from math import inf
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

from redis.exceptions import ConnectionError as RedisConnectionError

from pottery._caller import Caller
from pottery._clients import same_server
from pottery._front import Sync, operation
from pottery._json import encode
from pottery._plan import Op, Pause, nothing
from pottery._poll import Poll, Unanswered
from pottery._script import Script
from pottery._temporary import unlink_after
from pottery._wire import FAILURES
from pottery.base import AIOBase, Base
from pottery.exceptions import DecodeError, OutcomeUnknown, QueueEmptyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pottery._plan import Steps

T = TypeVar("T")

# Seconds between two looks of a waiting consumer.
LOOK_EVERY = 1.0
# Seconds for which one command waits: less than networks take to drop a silent connection.
LONGEST_WAIT = 300.0
# Seconds until a waiter that could not wait tries again.
NOT_SO_FAST = 0.2
# Seconds that a command outside the client's pool may take.
PATIENCE = 1.0
# Seconds before each further attempt to get a reply.
PAUSES = (0.0, 0.02, 0.1, 0.5, 1.0)
# What a take does if there is no item: return, or wait.
LOOK, WAIT = "look", "wait"

# Scripts write numbers as strings: Lua needs half a microsecond to convert one to a string.
_RING = """
local function ring(waiting, bell)
  if redis.call('EXISTS', waiting) == 1 and redis.call('EXISTS', bell) == 0 then
    redis.call('RPUSH', bell, '1')
    redis.call('PEXPIRE', bell, '10000')
  end
end
"""

PUT = Script(
    _RING
    + """
-- KEYS[1] queue, [2] record, [3] waiting, [4] bell; ARGV[1] number, [2] item
if redis.call('GETRANGE', KEYS[2], '0', '15') >= ARGV[1] then return end
redis.call('XADD', KEYS[1], '*', 'item', ARGV[2])
redis.call('SET', KEYS[2], ARGV[1], 'PX', '600000')
ring(KEYS[3], KEYS[4])
"""
)

# On a server that is out of memory, a script may write once it has removed something.
TAKE = Script(
    _RING
    + """
-- KEYS[1] queue, [2] record, [3] waiting, [4] bell, [5] returned; ARGV[1] number, [2] look or wait
-- if there is nothing, [3] whether asked before; returns an item, or the fields of a strange entry
local number = redis.call('GETRANGE', KEYS[2], '0', '15')
if number > ARGV[1] then return end
if number == ARGV[1] then
  local record = redis.call('GET', KEYS[2])
  local colon = record:find(':', 17, true)
  return colon and record:sub(colon + 1)
end
local is_plain = redis.call('EXISTS', KEYS[3], KEYS[5]) == 0
local taken = not is_plain and redis.call('ZPOPMIN', KEYS[5])[1]
local item = taken and taken:sub((taken:find(':', 1, true) or 0) + 1)
if not taken then
  local entry = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', '1')[1]
  if entry then
    if entry[2][1] ~= 'item' then return entry[2] end
    redis.call('XDEL', KEYS[1], entry[1])
    item = entry[2][2]
    taken = entry[1] .. ':' .. item
  end
end
if taken then
  redis.call('SET', KEYS[2], ARGV[1] .. taken, 'PX', '3600000')
  if not is_plain and redis.call('XLEN', KEYS[1]) + redis.call('ZCARD', KEYS[5]) > 0 then
    ring(KEYS[3], KEYS[4])
  end
  return item
end
if ARGV[2] == 'wait' then
  redis.call('DEL', KEYS[4])
  redis.call('SET', KEYS[3], '', 'PX', '600000')
end
if ARGV[2] == 'wait' or ARGV[3] then
  redis.call('DEL', KEYS[2])
  redis.call('SET', KEYS[2], ARGV[1], 'PX', '3600000')
end
"""
)

RETURN = Script(
    _RING
    + """
-- KEYS[1] returned, [2] record, [3] waiting, [4] bell; ARGV[1] number of the take, [2] of this
local record = redis.call('GET', KEYS[2]) or ''
if record:sub(1, 16) >= ARGV[2] then return end
redis.call('DEL', KEYS[2])
local time, count, item = record:match('^(%d+)-(%d+)(:.*)$', 17)
if time and record:sub(1, 16) == ARGV[1] then
  local function pad(digits) return ('0'):rep(20 - #digits) .. digits end
  redis.call('ZADD', KEYS[1], '0', pad(time) .. '-' .. pad(count) .. item)
  ring(KEYS[3], KEYS[4])
end
redis.call('SET', KEYS[2], ARGV[2], 'PX', '3600000')
""",
    repeatable=True,
)

SIZE = Script(
    """
-- KEYS[1] queue, KEYS[2] returned; returns how many items there are
return redis.call('XLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2])
""",
    repeatable=True,
)


class Doubt(NamedTuple):
    """A take that may have happened although nobody got the item."""

    client: Any
    key: str | bytes
    # Of the caller as it was then: by now it may be busy with something else.
    name: str
    number: str
    following: str


# They are given back by the next operation of this process on the same queue.
DOUBTS: deque[Doubt] = deque()


class QueuePlans(Base, Generic[T]):
    """What RedisSimpleQueue and AIORedisSimpleQueue ask of Redis."""

    def __init__(self, *, redis: Any = None, key: str | bytes = "") -> None:
        """Attach to *key*, or to a temporary key if none is given.

        O(1); 0 round trips; atomic.
        """
        super().__init__(redis=redis, key=key)
        beside = "waiting", "bell", "returned"
        self._waiting, self._bell, self._returned = map(self._companion, beside)
        if self._is_temporary:  # all other companions expire
            unlink_after(self, self.redis, str(self._returned))

    @operation
    def put(self, item: T, block: bool = True, timeout: float | None = None) -> Steps[None]:
        """Put *item* at the end. Never blocks; *block* and *timeout* are ignored.

        Raises TypeError if the item is not JSON serializable, OutcomeUnknown if Redis went away.
        O(1); 1 round trip; atomic.
        """
        del block, timeout
        return self._put(encode(item))

    @operation
    def put_nowait(self, item: T) -> Steps[None]:
        """Put *item* at the end, as `put` does.

        O(1); 1 round trip; atomic.
        """
        return self._put(encode(item))

    @operation
    def get(self, block: bool = True, timeout: float | None = None) -> Steps[T]:
        """Remove and return the first item; wait until there is one, or for *timeout* seconds.

        Among waiting callers, the one that has waited longest gets it. If not *block*, do not wait.

        Raises QueueEmptyError if there was no item, ValueError if *timeout* is negative, and
        DecodeError if the item is not JSON: then it stays the first one.
        O(1); 1 round trip; atomic.
        """
        _refuse(block, timeout)
        return self._get((inf if timeout is None else float(timeout)) if block else 0)

    @operation
    def get_nowait(self) -> Steps[T]:
        """Remove and return the first item.

        Raises QueueEmptyError if there is none, DecodeError if it is not JSON.
        O(1); 1 round trip; atomic.
        """
        return self._get(0)

    @operation
    def qsize(self) -> Steps[int]:
        """Return the number of items.

        O(1); 1 round trip; atomic.
        """
        return self._size()

    @operation
    def empty(self) -> Steps[bool]:
        """Return whether there is no item.

        O(1); 1 round trip; atomic.
        """
        return not (yield from self._size())

    @operation
    def clear(self: Base) -> Steps[None]:
        """Remove all items; the server frees the memory in the background.

        O(1) for the caller; 1 round trip; atomic.
        """
        queue = cast("QueuePlans[Any]", self)
        if DOUBTS:  # else an item could be given back later
            yield from queue._settle()
        yield from Op(("UNLINK", queue.key, queue._returned, queue._bell), nothing)

    def _size(self) -> Steps[int]:
        if DOUBTS:
            yield from self._settle()
        return (yield from SIZE((self.key, self._returned), (), int))

    def _put(self, text: str) -> Steps[None]:
        if DOUBTS:
            yield from self._settle()
        caller = Caller.lease()
        caller.number += 1
        yield from _surely(PUT, self._keys(caller.name)[:4], (caller.numeral(), text))
        caller.free()

    def _get(self, seconds: float) -> Steps[T]:
        if DOUBTS:
            yield from self._settle()
        caller = Caller.lease()
        try:
            raw = yield from self._take_within(caller, seconds)
            if raw is not None:
                item: T = self._decode(raw)
                caller.free()
                return item  # at once: from here on, an interrupt would lose it
        except BaseException as error:
            if caller.may_hold:
                now, following = caller.numeral(), caller.numeral(1)
                doubt = Doubt(self.redis, self.key, caller.name, now, following)
                DOUBTS.append(doubt)
                if not isinstance(error, GeneratorExit):  # then nobody performs steps any more
                    yield from self._give_back(doubt, caller)
            raise
        caller.free()
        raise QueueEmptyError(self.redis, self.key)

    # --- taking

    def _take_within(self, caller: Caller, seconds: float) -> Steps[bytes | None]:
        """Take the first item, waiting for it; None if there was none within *seconds*."""
        if not seconds:
            return (yield from self._take(caller, LOOK))
        until = monotonic() + seconds
        try:
            raw = yield from self._take(caller, WAIT)
        except RedisConnectionError as error:
            if not _is_none_left(error):
                raise
            raw = yield from self._take_aside(caller, WAIT, until)
        if raw is None:
            raw = yield from self._wait(caller, until)
        return raw

    def _wait(self, caller: Caller, until: float) -> Steps[bytes | None]:
        raw, ring = None, Poll((), (), 0)
        try:
            while raw is None and (left := until - monotonic()) > 0:
                ring = self._ring(ring, left)
                (vote,) = yield from ring
                if isinstance(vote, Exception) and not ring.lines:
                    yield from Pause(min(NOT_SO_FAST, max(until - monotonic(), 0)))
                is_waiting = ring.lines or until <= monotonic()
                raw = yield from self._take_aside(caller, LOOK if is_waiting else WAIT, until)
        except GeneratorExit:
            raise
        except BaseException:
            yield from self._hang_up(ring)
            raise
        yield from self._hang_up(ring)
        return raw

    def _ring(self, before: Poll, left: float) -> Poll:
        """Wait for the bell to ring; if *before* still waits, go on with it, to keep its turn."""
        seconds = min(left, LOOK_EVERY)
        stay = left > seconds
        if before.lines:
            return Poll((self.redis,), (), seconds, behind=before, keep=stay)
        wait = ("BLPOP", self._bell, f"{max(min(left, LONGEST_WAIT), 0.001):.3f}")
        return Poll((self.redis,), wait, seconds, keep=stay)

    def _hang_up(self, ring: Poll) -> Steps[None]:
        if ring.lines:
            yield from Poll((self.redis,), (), 0, behind=ring)

    def _take(self, caller: Caller, how: str) -> Steps[bytes | None]:
        """Take the first item, None if there is none; over a connection of the pool."""
        asked = self._ask(caller, how)
        was_asked = caller.may_hold
        caller.may_hold = True
        try:
            reply = yield from _surely(TAKE, self._keys(caller.name), asked)
        except OutcomeUnknown as error:
            raise error.__cause__ or error from None  # `_get` takes care of the item
        except FAILURES:
            caller.may_hold = was_asked
            raise
        return self._read(caller, reply)

    def _take_aside(self, caller: Caller, how: str, until: float) -> Steps[bytes | None]:
        """Take the first item as `_take` does, but over a connection outside the pool."""
        asked = self._ask(caller, how)
        caller.may_hold = True
        vote = yield from TAKE.aside(self.redis, self._keys(caller.name), asked, PATIENCE)
        if not isinstance(vote, Exception):
            return self._read(caller, vote)
        if isinstance(vote, Unanswered) and monotonic() >= until:
            raise vote  # asking as patiently as the client is would take too long
        try:
            return (yield from self._take(caller, how))
        except RedisConnectionError as error:
            if not _is_none_left(error):
                raise
            return None

    @staticmethod
    def _ask(caller: Caller, how: str) -> tuple[str, ...]:
        if caller.may_hold:
            return caller.numeral(), how, "again"
        caller.number += 1
        return caller.numeral(), how

    def _read(self, caller: Caller, reply: Any) -> bytes | None:
        caller.may_hold = isinstance(reply, bytes)
        if isinstance(reply, list):
            raise DecodeError(self.redis, self.key, b" ".join(cast("list[bytes]", reply)))
        raw: bytes | None = reply
        return raw

    # --- giving back

    def _give_back(self, doubt: Doubt, caller: Caller) -> Steps[None]:
        """Give back what *caller* may hold, if that can be done at once."""
        vote = yield from RETURN.aside(self.redis, *self._return(doubt), PATIENCE)
        if not isinstance(vote, Exception):
            _dispel(doubt)
            caller.number += 1
            caller.free()

    def _settle(self) -> Steps[None]:
        """Give back items that were left in doubt."""
        for doubt in list(DOUBTS):
            if doubt.key == self.key and same_server(doubt.client, self.redis):
                yield from RETURN(*self._return(doubt))
                _dispel(doubt)

    def _return(self, doubt: Doubt) -> tuple[Sequence[str | bytes], tuple[str, str]]:
        _, record, waiting, bell, returned = self._keys(doubt.name)
        return (returned, record, waiting, bell), (doubt.number, doubt.following)

    def _keys(self, name: str) -> tuple[str | bytes, ...]:
        record = self._companion(name)
        return self.key, record, self._waiting, self._bell, self._returned


def _surely(script: Script, keys: Sequence[str | bytes], args: tuple[str, ...]) -> Steps[Any]:
    """Run a script that recognizes its own earlier run, until its reply comes.

    Raises OutcomeUnknown if it may have run and no reply comes.
    """
    try:
        return (yield from script(keys, args))
    except OutcomeUnknown as error:
        unknown = error
    for pause in PAUSES:
        yield from Pause(pause)
        try:
            return (yield from script(keys, (*args, "again")))
        except OutcomeUnknown as error:
            unknown = error
        except FAILURES as error:  # a refusal says nothing about the first run
            unknown.__cause__ = error
    raise unknown


def _refuse(block: bool, timeout: Any) -> None:
    """Raise what Python's queue raises for these arguments; it has an item, so it does not wait."""
    example: SimpleQueue[None] = SimpleQueue()
    example.put(None)
    example.get(block, timeout)


def _is_none_left(error: Exception) -> bool:
    # Not every version of redis-py has a class for it.
    return str(error) == "Too many connections"


def _dispel(doubt: Doubt) -> None:
    with suppress(ValueError):  # somebody else was quicker
        DOUBTS.remove(doubt)


class RedisSimpleQueue(QueuePlans[T], Sync):
    """A `queue.SimpleQueue` in Redis: each item that is put goes to exactly one consumer.

    Stored as a Redis stream: an entry for each item, with its JSON text as the field `item`.
    Beside it are small keys that expire: what each caller did last, and a mark that somebody waits;
    and `key~returned`, a sorted set of items that were given back (see `docs/types/queue.md`).

    Differs from `queue.SimpleQueue`: items must be JSON and come back as copies; a process that is
    killed in the moment of getting an item loses it.
    """


class AIORedisSimpleQueue(QueuePlans[T], AIOBase):
    """A `RedisSimpleQueue` for asyncio: the same methods, awaited."""
