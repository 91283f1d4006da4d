"""NextId and AIONextId: `itertools.count` for many machines.

Each of several masters has a number: the last ID that it accepted. It accepts only a higher one, so
each number at most once, and an ID belongs to the caller that got it accepted by a majority. Any
two majorities share a master, so no ID is issued twice, and a later request gets a higher ID. An ID
that only a minority accepted is a gap in the sequence.

This holds only as long as masters do not forget. So, if there are three of them or more, a master
without a number does not vote until it has learned one:

1.  It is given a mark in place of the number, a different one each time, which will show whether
    it has forgotten again.
2.  A vote that it gave before it forgot may still be counted, together with votes of others that
    are on their way. Votes are counted for `_PATIENCE` only, so it waits a little longer than that.
3.  The next ID that a majority of the others accepts is higher than any that it ever helped to
    issue. That ID replaces the mark, if the mark is still there.

The sequence counts as new only if all masters say, twice, that they have no number.

A single master need not agree with others: it decides itself what the next IDs are, and so refuses
nobody, however many ask.
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

# Seconds for which the votes of one round are counted.
_PATIENCE = 1.0
# Seconds, by its own clock, after which a master that forgot may learn: one in which older votes
# may be counted, one from the first to the last vote of a round, and one for rounding.
_SETTLED = 3
# Seconds before the second try if too few masters answered: connections may have been stale. Then
# before further tries: a poll leaves masters that hung alone for as long as it waited for them.
_MOMENT = 0.02
_PAUSE = 1.1 * _PATIENCE
# A caller that loses to others asks for IDs further ahead: the lead doubles at most this often.
_DOUBLINGS = 3

CLAIM = """
-- KEYS[1] last ID; ARGV[1] first and [2] last of those wanted, [3] what a missing number is
-- taken for, if given; returns 1 if they are higher than the last ID, else that, or {mark} if due
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
-- KEYS[1] last ID; ARGV[1] what replaces the mark ARGV[2]; returns 1 if that mark was there, else
-- what is there
local held = redis.call('GET', KEYS[1])
if held ~= ARGV[2] then return held end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""
_MARK = b"rec:"


class _Memory:
    """What an object knows about its sequence, in this process."""

    def __init__(self, together: Together[int], *, knows: bool) -> None:
        self.process = os.getpid()
        self.together = together
        self.last = 0
        # Whether a majority has said that it has numbers; if not, it must be asked.
        self.knows = knows
        self.spare: deque[int] = deque()


class _Round(NamedTuple):
    """What the masters said in one round, and when it began and ended."""

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
                "and one that has lost its data learns from a majority of the others"
            )
            return [*self.failures, LookupError(what)]
        return self.failures

    @property
    def known(self) -> int:
        """How many masters have a number."""
        return self.accepted + len(self.numbers)

    @property
    def is_new(self) -> bool:
        """Whether all masters have answered, and none knows of any ID."""
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
        # If there are two masters, both must accept, so it does not matter if one has forgotten.
        self._nothing = ("0",) if len(self._masters) < 3 else ()
        self._memory = self._blank()

    @operation
    def reset(self) -> Steps[None]:
        """Restart the sequence at all masters; do nothing if one of them cannot be asked.

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
        """Return the memory of this process: IDs that its parent reserved are the parent's."""
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
        """Return *count* IDs: first spare ones, then new ones."""
        if self.batch == 1 and not memory.spare:
            return (yield from self._claim(memory, count))
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
        """Return *count* consecutive IDs that nobody else has."""
        if len(self._masters) == 1:
            return self._claim_of_one(memory, count)
        return self._claim_of_many(memory, count)

    def _claim_of_one(self, memory: _Memory, count: int) -> Steps[range]:
        """Return *count* consecutive IDs from the only master."""
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
        """Return *count* consecutive IDs that a majority has accepted."""
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

        Waiting would not help, since the last ID that we know of would be outdated by then. But of
        callers that ask at the same time, no master refuses the one that asks for the highest IDs.
        """
        lead = int(random() * 2 ** min(lost - 1, _DOUBLINGS)) if lost else 0  # noqa: S311 - no secret
        first = memory.last + 1 + lead * count
        wanted = range(first, first + count)
        if wanted[-1] > MOST:
            raise _none_left(memory.last)
        return wanted

    def _is_issued(self, said: _Round) -> bool:
        return said.accepted >= self._majority and said.ended - said.began <= _PATIENCE

    def _wait(self, said: _Round, failed: int) -> Steps[None]:
        """Wait for masters to come back; raise if that was tried often enough."""
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
        if said.due and self._is_issued(said):
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
        """Replace *marks* by *last*; return how many masters have a number now."""
        votes: list[Any] = []
        for mark in dict.fromkeys(marks.values()):
            # Only to these: a slow command may still bring the same mark to another master.
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

    A later request gets a higher ID, whichever thread, process or machine makes it. Some IDs may be
    skipped: those whose reply was lost, and those that two callers asked several masters for at the
    same time. All this holds while fewer than half of the masters are down, hang, or have come back
    without their data. If too few are left, no ID is issued, and QuorumNotAchieved is raised after
    *num_tries* tries of at most a second each.

    With a *batch* of n, this object takes n IDs at once and keeps them, so that most cost no round
    trip. Then IDs rise within one object, but not from one object to another, and those that are
    not used in the end are skipped. Threads that share an object are served together in any case.

    Stored as a string `nextid:` + *key* at each master: the last ID in decimal digits.

    Differs from `itertools.count`: begins at 1, may skip IDs, and raises OverflowError at 2**53.

    Masters must not evict keys (`maxmemory-policy noeviction`); to survive a power failure of a
    majority, they must write before they answer (`appendfsync always`). If there are three or more,
    all of them must be up for the first ID.

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

        All masters are asked at once. If there are several, the first ID takes a second round, and
        any ID takes further rounds while others take IDs at the same time.
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
