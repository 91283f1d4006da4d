"""NextId and AIONextId: `itertools.count` for many machines.

The last ID is a number at each of several masters. A master accepts a higher one, each number at
most once, and an ID belongs to whoever got it accepted by a majority. Any two majorities have a
master in common, so no ID is issued twice, and one that is asked for later is higher. What only a
minority accepted is a hole in the sequence.

That holds only as long as masters do not forget. So, with three of them or more, one that has no
number does not vote until it has learned one:

1.  It is given a mark in the place of the number, different each time, by which to tell later
    whether it has forgotten once more.
2.  What it accepted before it forgot may still be counted, with replies of others that are on their
    way. Replies are counted for `_PATIENCE` only, so it waits a little longer than that.
3.  The next ID that a majority of the others accepts is higher than any in which it ever had a
    part. That one is put in the place of the mark, if the mark is still there.

Only where all masters say, twice, that they have no number, the sequence is new.

A master that is the only one need not agree with others: it says what the next IDs are, and so
refuses nobody, however many ask.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from random import random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from pottery._front import Async, Sync, operation
from pottery._plan import Pause
from pottery._poll import Poll, Unanswered
from pottery._quorum import MOST, Primitive, evaluate, now, number
from pottery._together import Bell, Together
from pottery.exceptions import QuorumNotAchieved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from typing_extensions import Self

    from pottery._plan import Steps

# Seconds for which the replies to one question are counted.
_PATIENCE = 1.0
# Seconds, by its own clock, after which a master that forgot may learn: those in which older
# replies may be counted, those from the first to the last reply of a round, and one for rounding.
_SETTLED = 3
# Seconds before the second try where too few masters answered: connections may have been old ones.
# Then before further tries: a poll leaves masters that hung alone for as long as it waited.
_MOMENT = 0.02
_PAUSE = 1.1 * _PATIENCE
# Who loses to others asks for IDs further ahead, up to so many doublings.
_DOUBLINGS = 3

CLAIM = """
-- KEYS[1] last ID; ARGV[1] first and [2] last of those wanted, [3] what no number counts as, if
-- anything; returns 1 if they are higher than the last ID, else that, or {mark} if that is due
local last = redis.call('GET', KEYS[1]) or ARGV[3]
if not last then return false end
if string.find(last, '^%d+$') and tonumber(last) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[2])
  return 1
end
local due = string.match(last, '^rec:%x+:(%d+)$')
return due and tonumber(due) <= tonumber(redis.call('TIME')[1]) and {last} or last
"""
NEXT = """
-- KEYS[1] last ID; ARGV[1] what it is at least, ARGV[2] how many are wanted; returns the last of
-- the new ones, or what is there if that is no ID, or if they would be too high
local last = redis.call('GET', KEYS[1]) or '0'
if not string.find(last, '^%d+$') then return last end
local new = math.max(tonumber(last), tonumber(ARGV[1])) + tonumber(ARGV[2])
if new >= 2^53 then return last end
redis.call('SET', KEYS[1], string.format('%.0f', new))
return new
"""
LOOK = """
-- KEYS[1] last ID; ARGV[1] mark to put there if there is nothing, with the time when it is due, in
-- ARGV[2] seconds; returns what is there then
redis.call('SETNX', KEYS[1], ARGV[1] .. redis.call('TIME')[1] + ARGV[2])
return redis.call('GET', KEYS[1])
"""
TEACH = """
-- KEYS[1] last ID; ARGV[1] what to put in the place of the mark ARGV[2]; returns 1 if that was
-- there, else what is
local held = redis.call('GET', KEYS[1])
if held ~= ARGV[2] then return held end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""
_MARK = b"rec:"


class _Memory:
    """What an object knows of its sequence, in this process."""

    def __init__(self, together: Together[int], *, knows: bool) -> None:
        self.process = os.getpid()
        self.together = together
        self.last = 0
        # Whether a majority has said that it has numbers; else it is to be asked.
        self.knows = knows
        self.spare: deque[int] = deque()


class _Round(NamedTuple):
    """What the masters said, and when they were asked and had answered."""

    began: float
    ended: float
    accepted: int
    numbers: Sequence[int] = ()
    marks: Mapping[Any, bytes] = MappingProxyType({})
    due: Mapping[Any, bytes] = MappingProxyType({})
    missing: int = 0
    failures: Sequence[Exception] = ()

    def reasons(self) -> Sequence[Exception]:
        """Return why there is no majority."""
        if ignorant := len(self.marks) + self.missing:
            what = (
                f"masters without a number: {ignorant}; the first ID takes all of them, "
                "and who has lost its data learns from a majority of the others"
            )
            return [*self.failures, LookupError(what)]
        return self.failures

    @property
    def known(self) -> int:
        """How many have a number."""
        return self.accepted + len(self.numbers)

    @property
    def is_new(self) -> bool:
        """Whether all have answered, and none knows of any ID."""
        return not (self.failures or self.accepted or any(self.numbers))


class NextIdPlans(Primitive):
    """What NextId and AIONextId ask of Redis."""

    _prefix = "nextid:"
    _bell: Callable[[], Any]

    def __init__(
        self,
        *,
        key: str = "current",
        masters: Iterable[Any] = (),
        raise_on_redis_errors: bool = False,
        num_tries: int = 3,
        batch: int = 1,
    ) -> None:
        """Attach to the sequence *key* of *masters*; without these, of the default client.

        O(1); 0 round trips; atomic.
        """
        super().__init__(key, masters, raise_on_redis_errors=raise_on_redis_errors)
        if num_tries < 1 or batch < 1:
            raise ValueError("num_tries and batch must be at least 1")
        self.num_tries = num_tries
        self.batch = batch
        # Each of two masters must accept, so what one of them has forgotten does not matter.
        self._nothing = ("0",) if len(self._masters) < 3 else ()
        self._memory = self._blank()

    @operation
    def reset(self) -> Steps[None]:
        """Begin the sequence anew at all masters; nothing happens if one of them cannot be asked.

        Nobody may take IDs meanwhile, and other objects go on from the last ID that they know of.
        Raises QuorumNotAchieved if a master cannot be asked.
        O(1); 2 round trips; not atomic.
        """
        for command in ("EXISTS", "DEL"):
            votes = yield from Poll(self._masters, (command, self.key), _PATIENCE)
            if failures := self._failures(votes):
                error = QuorumNotAchieved(self.key, self._masters, failures)
                error.problem = "can only be reset at all of its masters"
                raise error
        self._memory = self._blank()

    def _blank(self) -> _Memory:
        return _Memory(Together(self._bell), knows=bool(self._nothing))

    def _own(self) -> _Memory:
        """Return the memory of this process: what its parent had reserved is the parent's."""
        if self._memory.process != os.getpid():
            self._memory = self._blank()
        return self._memory

    def _spare(self) -> int | None:
        """Return an ID from a batch if there is any left."""
        with suppress(IndexError):
            return self._own().spare.popleft()
        return None

    def _next(self) -> Steps[int]:
        memory = self._own()
        return (yield from memory.together.serve(lambda count: self._take(memory, count)))

    def _take(self, memory: _Memory, count: int) -> Steps[Sequence[int]]:
        """Return *count* IDs: what is spare, and then new ones."""
        ids: list[int] = []
        with suppress(IndexError):
            while len(ids) < count:
                ids.append(memory.spare.popleft())
        if missing := count - len(ids):
            block = yield from self._claim(memory, max(missing, self.batch))
            ids += block[:missing]
            memory.spare.extend(block[missing:])
        return ids

    def _claim(self, memory: _Memory, count: int) -> Steps[range]:
        """Return *count* IDs in a row that are nobody else's."""
        if len(self._masters) == 1:
            return self._claim_of_one(memory, count)
        return self._claim_of_many(memory, count)

    def _claim_of_one(self, memory: _Memory, count: int) -> Steps[range]:
        """Return *count* IDs in a row that the only master has given."""
        failed = 0
        while True:
            began = now()
            command = evaluate(NEXT, (self.key,), (str(memory.last), str(count)))
            (vote,) = yield from Poll(self._masters, command, _PATIENCE)
            if type(vote) is int:
                memory.last = max(memory.last, vote)
                return range(vote - count + 1, vote + 1)
            said = self._heard(began, [vote])
            if said.numbers:
                raise _none_left(max(memory.last, *said.numbers))
            failed += 1
            yield from self._wait(said, failed)

    def _claim_of_many(self, memory: _Memory, count: int) -> Steps[range]:
        """Return *count* IDs in a row that a majority has accepted."""
        lost = failed = 0
        while True:
            knew = memory.knows
            if knew:
                wanted = self._wanted(memory, count, lost)
                said = yield from self._propose(memory, wanted)
                if self._is_issued(said):
                    return wanted
            else:
                said = yield from self._look(memory)
            if memory.knows != knew:
                continue
            if said.known >= self._majority:
                lost, failed = lost + 1, 0
            else:
                failed += 1
                yield from self._wait(said, failed)

    @staticmethod
    def _wanted(memory: _Memory, count: int, lost: int) -> range:
        """Return the next IDs, or some further ahead if others were quicker more than once.

        To wait would not help, since the last ID would be an old one then. But of those who ask at
        the same time, whoever asks for the highest is refused by nobody.
        """
        lead = int(random() * 2 ** min(max(lost - 1, 0), _DOUBLINGS))  # noqa: S311 - no secret
        first = memory.last + 1 + lead * count
        wanted = range(first, first + count)
        if wanted[-1] > MOST:
            raise _none_left(memory.last)
        return wanted

    def _is_issued(self, said: _Round) -> bool:
        return said.accepted >= self._majority and said.ended - said.began <= _PATIENCE

    def _wait(self, said: _Round, failed: int) -> Steps[None]:
        """Wait for masters to come back, unless that was tried often enough."""
        if failed >= self.num_tries:
            raise QuorumNotAchieved(self.key, self._masters, said.reasons())
        yield from Pause((_MOMENT if failed == 1 else _PAUSE) * (1 + random() / 10))  # noqa: S311 - no secret

    # --- rounds

    def _propose(self, memory: _Memory, wanted: range) -> Steps[_Round]:
        """Propose IDs to all masters, and teach those that have waited long enough."""
        args = (str(wanted[0]), str(wanted[-1]), *self._nothing)
        said = yield from self._ask(memory, CLAIM, *args)
        if said.accepted:
            memory.last = max(memory.last, wanted[-1])
        if said.missing:
            memory.knows = False
        if self._is_issued(said):
            yield from self._teach(wanted[-1], said.due)
        return said

    def _look(self, memory: _Memory) -> Steps[_Round]:
        """Ask all masters for their numbers, and begin the sequence if it is new."""
        said, taught = (yield from self._look_once(memory)), 0
        if said.is_new and said.marks:
            # They were not asked at the same moment. But if all of them say the same once more,
            # there was a moment between the two rounds at which none had a number.
            before, said = said.marks, (yield from self._look_once(memory))
            if said.is_new and said.marks == before:
                taught = yield from self._teach(0, before)
        memory.knows = said.known + taught >= self._majority
        return said

    def _look_once(self, memory: _Memory) -> Steps[_Round]:
        return self._ask(memory, LOOK, f"rec:{uuid4().hex}:", str(_SETTLED))

    def _teach(self, last: int, marks: Mapping[Any, bytes]) -> Steps[int]:
        """Put *last* in the place of *marks*; return how many masters have a number now."""
        votes: list[Any] = []
        for mark in dict.fromkeys(marks.values()):
            # To nobody else, who may get the same mark later: the command that brings it is slow.
            masters = [master for master in marks if marks[master] == mark]
            command = evaluate(TEACH, (self.key,), (str(last), mark))
            votes += yield from Poll(masters, command, _PATIENCE)
        return sum(vote == 1 or _is_number(vote) for vote in votes)

    def _ask(self, memory: _Memory, script: str, *args: str) -> Steps[_Round]:
        """Run *script* at all masters, and remember what is learned from it."""
        began = now()
        command = evaluate(script, (self.key,), args)
        votes = yield from Poll(self._masters, command, _PATIENCE, enough=self._is_settled)
        if votes.count(1) == len(votes):  # nearly always
            return _Round(began, now(), len(votes))
        said = self._heard(began, votes)
        memory.last = max(memory.last, *said.numbers, 0)
        return said

    def _heard(self, began: float, votes: Sequence[Any]) -> _Round:
        ended = now()
        failures = self._failures(votes)
        pairs = list(zip(self._masters, votes, strict=True))
        due: dict[Any, bytes] = {at: vote[0] for at, vote in pairs if isinstance(vote, list)}
        texts = {at: vote for at, vote in pairs if isinstance(vote, bytes)}
        marks = due | {at: text for at, text in texts.items() if text.startswith(_MARK)}
        numbers = [number(text, self.key) for at, text in texts.items() if at not in marks]
        missing = votes.count(None)
        return _Round(began, ended, votes.count(1), numbers, marks, due, missing, failures)

    def _is_settled(self, votes: Sequence[Any]) -> bool:
        """Return whether further votes would change nothing."""
        accepted = votes.count(1)
        if accepted >= self._majority:
            return True
        still_open = sum(isinstance(vote, Unanswered) for vote in votes)
        known = accepted + sum(map(_is_number, votes))
        return accepted + still_open < self._majority <= known


def _none_left(last: int) -> OverflowError:
    return OverflowError(f"the last ID is {last}, and none may be above {MOST}")


def _is_number(vote: Any) -> bool:
    return isinstance(vote, bytes) and vote.isdigit()


class NextId(NextIdPlans, Sync):
    """IDs 1, 2, 3 and so on, each once, for all who use the same *key* at the same *masters*.

    >>> ids = NextId(key='orders', masters=[redis])
    >>> next(ids), next(ids), next(ids)
    (1, 2, 3)

    Who asks later gets a higher ID, whichever thread, process or machine asks. Some IDs may be left
    out: those whose reply was lost, and those for which two asked several masters at once. All of
    that holds while fewer than half of the masters are gone, hang, or have come back without their
    data. If too few are left, no ID is issued: QuorumNotAchieved after *num_tries* tries, of a
    second at most.

    With a *batch* of n, this object takes n IDs at once and keeps them, so that most cost no round
    trip. They rise for it then, but not from one object to another, and what is left at the end is
    left out. Threads that share an object are served together in any case.

    Stored as a string `nextid:` + *key* at each master: the last ID in decimal digits.

    Differs from `itertools.count`: begins at 1, leaves IDs out, and raises OverflowError at 2**53.

    Masters must not evict keys (`maxmemory-policy noeviction`); to survive the loss of power of a
    majority they must write before they answer (`appendfsync always`). Where there are three or
    more, all of them must be there for the first ID.

    Source: The binary search of distributed programming, http://antirez.com/news/102
    """

    _bell = Bell

    def __iter__(self) -> Self:
        """Return this object.

        O(1); 0 round trips; atomic.
        """
        return self

    def __next__(self) -> int:
        """Return a new ID.

        All masters are asked at once. Where there are several, it takes a second round the first
        time, and further ones whenever others take IDs at the same time.
        Raises QuorumNotAchieved if no majority of the masters can be asked; QuorumIsImpossible
        instead, and at once, with *raise_on_redis_errors*.
        O(1); 1 round trip; atomic.
        """
        if self.batch > 1 and (spare := self._spare()):
            return spare
        return self._perform(self._next())


class AIONextId(NextIdPlans, Async):
    """A `NextId` for asyncio: `await anext(ids)`, or `async for`."""

    _bell = Async._signal

    def __aiter__(self) -> Self:
        """Return this object.

        O(1); 0 round trips; atomic.
        """
        return self

    async def __anext__(self) -> int:
        """Return a new ID, as `NextId` does.

        O(1); 1 round trip; atomic.
        """
        if self.batch > 1 and (spare := self._spare()):
            return spare
        return await self._perform(self._next())


NextID, AIONextID = NextId, AIONextId
