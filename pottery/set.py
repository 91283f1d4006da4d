"""RedisSet and AIORedisSet: `set` in Redis."""

from __future__ import annotations

from collections.abc import Iterable, MutableSet, Set
from itertools import chain, compress
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

from pottery._front import operation
from pottery._json import encode_key, encode_keys, find_key, find_keys
from pottery._plan import Done, Op, nothing, whole
from pottery._script import Script
from pottery.base import (
    MOST_ARGUMENTS,
    START,
    AIOContainer,
    Base,
    Container,
    Readable,
    legible,
    removed,
    warn_about,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from typing_extensions import TypeIs

    from pottery._plan import Plan, Steps
    from pottery.base import Elements

T = TypeVar("T")
U = TypeVar("U")

MEASURE = Script(
    """
-- KEYS[1] set, KEYS[2] another, or else ARGV members; returns both sizes and that of the overlap
if KEYS[2] then
  local common = redis.call('SINTER', KEYS[1], KEYS[2])
  return {redis.call('SCARD', KEYS[1]), redis.call('SCARD', KEYS[2]), #common}
end
local common = 0
for i = 1, #ARGV, 5000 do
  local found = redis.call('SMISMEMBER', KEYS[1], unpack(ARGV, i, math.min(i + 4999, #ARGV)))
  for _, one in ipairs(found) do common = common + one end
end
return {redis.call('SCARD', KEYS[1]), #ARGV, common}
""",
    repeatable=True,
)

COMBINE = Script("""
-- KEYS[1] result, where ARGV[2..] are put first as a set; KEYS[2] and KEYS[3] operands; ARGV[1] how
for i = 2, 3 do
  if KEYS[i] ~= KEYS[1] then redis.call('SCARD', KEYS[i]) end
end
spread('SADD', KEYS[1], ARGV, 2)
if ARGV[1] == 'symmetric' then
  local common = redis.call('SINTER', KEYS[2], KEYS[3])
  redis.call('SUNIONSTORE', KEYS[1], KEYS[2], KEYS[3])
  spread('SREM', KEYS[1], common)
else
  redis.call(ARGV[1], KEYS[1], KEYS[2], KEYS[3])
end
""")

# Scripts that change a set in place write no other key, since the user may lack rights to it, and
# move only the members that change, so that the set keeps its expiry.
UPDATE = Script("""
-- KEYS[1] set, KEYS[2..] others whose members are added, as are ARGV
local added = redis.call('SUNION', unpack(KEYS, 2))
spread('SADD', KEYS[1], added)
spread('SADD', KEYS[1], ARGV)
""")
REMOVE = Script("""
-- KEYS[1] set, KEYS[2..] others whose members are removed, as are ARGV
local gone = redis.call('SUNION', unpack(KEYS, 2))
spread('SREM', KEYS[1], gone)
spread('SREM', KEYS[1], ARGV)
""")
KEEP = Script("""
-- KEYS[1] set, KEYS[2..] others; ARGV[1] whether ARGV[2..] are one more set; keeps what all have
local rounds, gone = {}, {}
for _, member in ipairs(redis.call('SINTER', unpack(KEYS))) do rounds[member] = 1 end
for i = 2, #ARGV do
  if rounds[ARGV[i]] then rounds[ARGV[i]] = 2 end
end
local enough = ARGV[1] == 'more' and 2 or 1
for _, member in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if (rounds[member] or 0) < enough then gone[#gone + 1] = member end
end
spread('SREM', KEYS[1], gone)
""")
TOGGLE = Script("""
-- KEYS[1] set, KEYS[2] another, or else ARGV members; keeps what only one of both has
local theirs, gone, added = KEYS[2] and redis.call('SMEMBERS', KEYS[2]) or ARGV, {}, {}
for _, member in ipairs(theirs) do
  local side = redis.call('SISMEMBER', KEYS[1], member) == 1 and gone or added
  side[#side + 1] = member
end
spread('SADD', KEYS[1], added)
spread('SREM', KEYS[1], gone)
""")

ONLY_IN_ONE = Script(
    """
-- KEYS[1] set, KEYS[2] another; returns the members of either that are not in both
local members = redis.call('SDIFF', KEYS[1], KEYS[2])
for _, member in ipairs(redis.call('SDIFF', KEYS[2], KEYS[1])) do members[#members + 1] = member end
return members
""",
    repeatable=True,
)

# Sets that one script may get: unpack() in Lua cannot handle many more.
MOST_SETS = 5000
UNION, INTERSECTION, DIFFERENCE = "SUNIONSTORE", "SINTERSTORE", "SDIFFSTORE"
SYMMETRIC_DIFFERENCE = "symmetric"


class Overlap(NamedTuple):
    """The sizes of two sets, and how many members they have in common."""

    mine: int
    theirs: int
    common: int


class SetPlans(Base, Readable, Generic[T]):
    """What RedisSet and AIORedisSet ask of Redis."""

    # --- one member

    @operation
    def add(self, item: T, /) -> Op[None]:
        """Add *item*.

        Raises TypeError if it is not hashable or not JSON serializable.
        O(1); 1 round trip; atomic.
        """
        return Op(("SADD", self.key, encode_key(item)), nothing, repeatable=True, writes=True)

    @operation
    def discard(self, item: object, /) -> Plan[None]:
        """Remove *item* if it is there.

        O(1); 1 round trip; atomic.
        """
        text = _find(item)
        if text is None:
            return Done(None)
        return Op(("SREM", self.key, text), nothing, repeatable=True, writes=True)

    @operation
    def remove(self, item: object, /) -> Plan[None]:
        """Remove *item*.

        Raises KeyError if it is not there.
        O(1); 1 round trip; atomic.
        """
        text = _find(item)
        if text is None:
            raise KeyError(item)
        return Op(("SREM", self.key, text), removed(item))

    @operation
    def pop(self) -> Op[T]:
        """Remove and return an arbitrary member.

        Raises KeyError if there is none.
        O(1); 1 round trip; atomic.
        """

        def read(raw: bytes | None) -> T:
            if raw is None:
                raise KeyError("pop from an empty set")
            member: T = self._decode_key(raw)
            return member

        return Op(("SPOP", self.key), read)

    def _has(self, item: object) -> Plan[bool]:
        text = _find(item)
        if text is None:
            return Done(value=False)
        return Op(("SISMEMBER", self.key, text), bool, repeatable=True)

    def _size(self) -> Op[int]:
        return Op(("SCARD", self.key), int, repeatable=True)

    # --- many members

    @operation
    def contains_many(self, *items: object) -> Steps[list[bool]]:
        """Return for each of *items* whether it is a member.

        >>> RedisSet({'kurt', 'krist'}, redis=redis).contains_many('kurt', 'courtney')
        [True, False]

        O(k); 1 round trip; atomic.
        """
        texts = _find_many(items)
        wanted = [text for text in texts if text is not None]
        found = yield from self._found(wanted)
        if len(found) == len(texts):
            return found
        flags = iter(found)
        return [text is not None and next(flags) for text in texts]

    def _found(self, texts: Sequence[str]) -> Steps[list[bool]]:
        flags: list[bool] = []
        for start in range(0, len(texts), MOST_ARGUMENTS):
            part = texts[start : start + MOST_ARGUMENTS]
            flags += yield from Op(("SMISMEMBER", self.key, *part), _flags, repeatable=True)
        return flags

    @operation
    def update(self, *others: Elements[T]) -> Steps[None]:
        """Add the members of all *others*.

        O(k); 1 round trip; atomic.
        """
        keys, foreign = yield from self._split(others)
        texts = encode_keys(chain(*foreign))
        if keys:
            yield from UPDATE((self.key, *keys), texts, nothing)
        else:
            yield from self._write("SADD", texts, repeatable=True)

    @operation
    def difference_update(self, *others: Elements[object]) -> Steps[None]:
        """Remove the members of all *others*.

        O(k); 1 round trip; atomic.
        """
        keys, foreign = yield from self._split(others)
        texts = _findable(chain(*foreign))
        if keys:
            yield from REMOVE((self.key, *keys), texts, nothing)
        else:
            yield from self._write("SREM", texts, repeatable=True)

    @operation
    def intersection_update(self, *others: Elements[object]) -> Steps[None]:
        """Keep only the members that are in all *others*.

        O(n + k); 1 round trip; atomic.
        """
        keys, foreign = yield from self._split(others)
        more = ("more", *_common(foreign)) if foreign else ("",)
        yield from KEEP((self.key, *keys), more, nothing)

    @operation
    def symmetric_difference_update(self, other: Elements[T], /) -> Steps[None]:
        """Keep the members of either this set or *other*, but not of both.

        O(n + k); 1 round trip; atomic.
        """
        keys, foreign = yield from self._split((other,))
        # Each only once: an element given twice would be added and removed again.
        texts = () if keys else dict.fromkeys(encode_keys(foreign[0]))
        yield from TOGGLE((self.key, *keys), texts, nothing)

    @operation
    def to_set(self) -> Steps[set[T]]:
        """Return the members as a `set`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return set((yield from self._elements()))

    def _elements(self) -> Steps[list[T]]:
        return whole(self._members, START)

    def _members(self, position: Any) -> Op[tuple[Any, list[T]]]:
        return self._scan("SSCAN", position, self._decode_keys)

    def _texts(self, position: Any) -> Op[tuple[Any, list[bytes]]]:
        return self._scan("SSCAN", position, list)

    # --- set algebra: methods take any iterables and return a set

    @operation
    def union(self, *others: Elements[T]) -> Steps[set[T]]:
        """Return the members of this set and of all *others*, as a `set`.

        O(n + k); 1 round trip per 1000 items; not atomic.
        """
        keys, foreign = yield from self._split(others)
        texts = yield from self._result_of("SUNION", keys)
        return set(self._decode_keys(texts)).union(*foreign)

    @operation
    def intersection(self, *others: Elements[object]) -> Steps[set[T]]:
        """Return the members of this set that are in all *others*, as a `set`.

        O(n + k); 1 round trip; atomic.
        """
        keys, foreign = yield from self._split(others)
        wanted = _common(foreign)
        if foreign and not keys:
            return set(compress(wanted.values(), (yield from self._found([*wanted]))))
        texts = set((yield from self._result_of("SINTER", keys)))
        return set(self._decode_keys([*(texts & _as_replied(wanted) if foreign else texts)]))

    @operation
    def difference(self, *others: Elements[object]) -> Steps[set[T]]:
        """Return the members of this set that are in none of *others*, as a `set`.

        O(n + k); 1 round trip per 1000 items; not atomic.
        """
        keys, foreign = yield from self._split(others)
        texts = set((yield from self._result_of("SDIFF", keys)))
        return set(self._decode_keys([*(texts - _as_replied(_findable(chain(*foreign))))]))

    @operation
    def symmetric_difference(self, other: Elements[T], /) -> Steps[set[T]]:
        """Return the members of either this set or *other*, but not of both, as a `set`.

        O(n + k); 1 round trip per 1000 items; not atomic.
        """
        keys, foreign = yield from self._split((other,))
        if keys:
            return set((yield from ONLY_IN_ONE((self.key, *keys), (), self._decode_keys)))
        mine = set((yield from whole(self._texts, START)))
        theirs = [(text or "").encode() for text in find_keys(foreign[0])]
        pairs = zip(foreign[0], theirs, strict=True)
        only_theirs = {item for item, text in pairs if text not in mine}
        return set(self._decode_keys([*mine.difference(theirs)])) | only_theirs

    def _result_of(self, command: str, keys: list[str | bytes]) -> Plan[list[bytes]]:
        if not keys:
            return whole(self._texts, START)
        return Op((command, self.key, *keys), list, repeatable=True)

    def _split(
        self, others: Iterable[Elements[Any]]
    ) -> Steps[tuple[list[str | bytes], list[list[Any]]]]:
        """Return the keys of sets that are on this server, and the elements of the rest."""
        keys: list[str | bytes] = []
        foreign: list[list[Any]] = []
        for other in others:
            if _is_set_plans(other) and len(keys) < MOST_SETS and self._is_beside(other):
                keys.append(other.key)
            else:
                foreign.append(list((yield from self._taken(other))))
        return keys, foreign

    # --- set algebra: operators and updates happen in Redis

    def _combined(self, how: str, other: Elements[Any], *, reflected: bool = False) -> Steps[Any]:
        """Return a new RedisSet, the result of this one and *other*."""
        result = self._like()
        keys, foreign = yield from self._split((other,))
        spell = _findable if how in (INTERSECTION, DIFFERENCE) and not reflected else encode_keys
        texts = spell(chain(*foreign))
        operands = (self.key, *(keys or [result.key]))
        operands = operands[::-1] if reflected else operands
        yield from COMBINE((result.key, *operands), (how, *texts), nothing)
        return result

    def _fill(self, items: Elements[T]) -> Steps[None]:
        """Create the set with *items*, if there are any."""
        yield from self._create("SADD", encode_keys((yield from self._taken(items))))

    # --- comparison

    def _equals(self, other: Elements[object]) -> Steps[bool]:
        overlap = yield from self._overlap(other)
        return overlap.mine == overlap.theirs == overlap.common

    def _overlap(self, other: Elements[object]) -> Steps[Overlap]:
        keys, foreign = yield from self._split((other,))
        if keys:
            return Overlap(*(yield from MEASURE((self.key, *keys))))
        # As texts: 1 and True are two members in Redis, but would be one in a set of Python.
        theirs: set[Any] = set(find_keys(foreign[0]))
        size = len(theirs)
        theirs.discard(None)  # what cannot be found
        mine, _, common = yield from MEASURE((self.key,), theirs)
        return Overlap(mine, size, common)

    @operation
    def isdisjoint(self, other: Elements[object], /) -> Steps[bool]:
        """Return whether no member is in *other*.

        O(k); 1 round trip; atomic.
        """
        return (yield from self._overlap(other)).common == 0

    @operation
    def issubset(self, other: Elements[object], /) -> Steps[bool]:
        """Return whether every member is in *other*.

        O(k); 1 round trip; atomic.
        """
        overlap = yield from self._overlap(other)
        return overlap.common == overlap.mine

    @operation
    def issuperset(self, other: Elements[object], /) -> Steps[bool]:
        """Return whether everything in *other* is a member.

        O(k); 1 round trip; atomic.
        """
        overlap = yield from self._overlap(other)
        return overlap.common == overlap.theirs


def _is_set(operand: object) -> TypeIs[Set[Any]]:
    return isinstance(operand, Set)


def _is_set_plans(operand: object) -> TypeIs[SetPlans[Any]]:
    return isinstance(operand, SetPlans)


def _find(item: object) -> str | None:
    # `in`, `remove` and `discard` take a set for a frozenset, which is not JSON serializable.
    return None if isinstance(item, (set, SetPlans)) else find_key(item)


def _find_many(items: Iterable[object]) -> list[str | None]:
    items = list(items)
    try:
        return find_keys(items)
    except TypeError:
        return list(map(_find, items))


def _findable(items: Iterable[object]) -> list[str]:
    return [text for text in find_keys(items) if text is not None]


def _as_replied(texts: Iterable[str]) -> set[bytes]:
    return set(map(str.encode, texts))


def _common(lists: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Return the items that occur in all *lists*, by their texts."""
    if not lists:
        return {}
    first, *others = lists
    common: dict[Any, Any] = dict(zip(find_keys(first), first, strict=True))
    common.pop(None, None)  # those that cannot be in Redis
    for other in others:
        texts = set(find_keys(other))
        common = {text: item for text, item in common.items() if text in texts}
    return common


def _flags(reply: Iterable[int]) -> list[bool]:
    return list(map(bool, reply))


class RedisSet(SetPlans[T], Container, MutableSet[T]):  # noqa: PLW1641 - no hash, as set
    """A `set` whose members live in Redis.

    Stored as one Redis set at *key*; each member is its JSON text.

    Differs from `set`: members must be JSON, and their text is their identity, so 1, 1.0 and True
    are three members. Tuples stay tuples. Operators (`a | b`) return a RedisSet with a temporary
    key on the same client, methods (`a.union(b)`) a `set`. `x |= s`, for a set *x*, binds *x* to a
    new RedisSet; `x.update(s)` changes *x* itself. Iteration reads pages of 1000 and may see or
    miss what others write meanwhile; if the set shrinks meanwhile, a member may come twice.
    """

    def __init__(
        self, iterable: Elements[T] = (), /, *, redis: Any = None, key: str | bytes = ""
    ) -> None:
        """Attach to *key*; if *iterable* has items, create the set.

        Raises KeyExistsError if there are items and the key exists already.
        O(k); 1 round trip; atomic.
        """
        super().__init__(redis=redis, key=key)
        self._perform(self._fill(iterable))

    def __contains__(self, item: object) -> bool:
        """Return whether *item* is a member.

        O(1); 1 round trip; atomic.
        """
        return self._perform(self._has(item))

    def __len__(self) -> int:
        """Return the number of members.

        O(1); 1 round trip; atomic.
        """
        return self._perform(self._size())

    def __iter__(self) -> Iterator[T]:
        """Yield the members, in arbitrary order; `list(x)` also asks for the length.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._walk(self._members, START)

    @legible
    def __repr__(self) -> str:
        """Return `RedisSet{...}` with all members.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        warn_about("repr of", self, 4)
        shown = self._shown(self._perform(whole(self._texts, START)), self._decode_key)
        return f"{type(self).__name__}{{{', '.join(map(repr, shown))}}}"

    # Like those of `set`, comparisons and operators take only sets. Those of the abstract base
    # class would read one member at a time.

    def __eq__(self, other: object) -> bool:
        """Return whether *other* is a set with the same members.

        O(n + k); 1 round trip; atomic.
        """
        if not _is_set(other):
            return NotImplemented
        return self._perform(self._equals(other))

    def __le__(self, other: Set[Any]) -> bool:
        """Return whether every member is in *other*.

        O(n + k); 1 round trip; atomic.
        """
        return self._compare(other, lambda it: it.mine == it.common)

    def __lt__(self, other: Set[Any]) -> bool:
        """Return whether every member is in *other*, and *other* has more.

        O(n + k); 1 round trip; atomic.
        """
        return self._compare(other, lambda it: it.mine == it.common < it.theirs)

    def __ge__(self, other: Set[Any]) -> bool:
        """Return whether everything in *other* is a member.

        O(n + k); 1 round trip; atomic.
        """
        return self._compare(other, lambda it: it.theirs == it.common)

    def __gt__(self, other: Set[Any]) -> bool:
        """Return whether everything in *other* is a member, and there are more.

        O(n + k); 1 round trip; atomic.
        """
        return self._compare(other, lambda it: it.theirs == it.common < it.mine)

    def _compare(self, other: object, holds: Callable[[Overlap], bool]) -> bool:
        if not _is_set(other):
            return cast("bool", NotImplemented)
        return holds(self._perform(self._overlap(other)))

    def _operator(self, how: str, other: object, *, reflected: bool = False) -> RedisSet[Any]:
        if not _is_set(other):
            return cast("RedisSet[Any]", NotImplemented)
        combined: RedisSet[Any] = self._perform(self._combined(how, other, reflected=reflected))
        return combined

    def __or__(self, other: Set[U]) -> RedisSet[T | U]:
        """Return the union, a RedisSet with a temporary key.

        O(n + k); 1 round trip; atomic.
        """
        return self._operator(UNION, other)

    def __and__(self, other: Set[Any]) -> RedisSet[T]:
        """Return the intersection, a RedisSet with a temporary key.

        O(n + k); 1 round trip; atomic.
        """
        return self._operator(INTERSECTION, other)

    def __sub__(self, other: Set[Any]) -> RedisSet[T]:
        """Return the difference, a RedisSet with a temporary key.

        O(n + k); 1 round trip; atomic.
        """
        return self._operator(DIFFERENCE, other)

    def __xor__(self, other: Set[U]) -> RedisSet[T | U]:
        """Return the symmetric difference, a RedisSet with a temporary key.

        O(n + k); 1 round trip; atomic.
        """
        return self._operator(SYMMETRIC_DIFFERENCE, other)

    def __rsub__(self, other: Set[U]) -> RedisSet[U]:  # type: ignore[misc]
        """Return the members of *other* that are not here, a RedisSet with a temporary key.

        O(n + k); 1 round trip; atomic.
        """
        return self._operator(DIFFERENCE, other, reflected=True)

    __ror__, __rand__, __rxor__ = __or__, __and__, __xor__

    def __ior__(self, other: Set[T]) -> RedisSet[T]:  # type: ignore[override,misc]
        """Add the members of *other*.

        O(k); 1 round trip; atomic.
        """
        return self._in_place(self.update, other)

    def __iand__(self, other: Set[Any]) -> RedisSet[T]:
        """Keep only the members that are also in *other*.

        O(n + k); 1 round trip; atomic.
        """
        return self._in_place(self.intersection_update, other)

    def __isub__(self, other: Set[Any]) -> RedisSet[T]:
        """Remove the members of *other*.

        O(k); 1 round trip; atomic.
        """
        return self._in_place(self.difference_update, other)

    def __ixor__(self, other: Set[T]) -> RedisSet[T]:  # type: ignore[override,misc]
        """Keep the members of either this set or *other*, but not of both.

        O(n + k); 1 round trip; atomic.
        """
        return self._in_place(self.symmetric_difference_update, other)

    def _in_place(self, change: Callable[[Set[Any]], None], other: object) -> RedisSet[T]:
        if not _is_set(other):
            return cast("RedisSet[T]", NotImplemented)
        change(other)
        return self


class AIORedisSet(SetPlans[T], AIOContainer):
    """A `RedisSet` for asyncio: the same methods, awaited, and verbs where `set` has syntax.

    Stored as a RedisSet is.

    Differs from `RedisSet`: `await s.has(x)` is `x in s`, `await s.size()` is `len(s)`, `await
    s.equals(x)` is `s == x`, and `async for x in s` iterates. Operators that change the set are
    methods here (`a |= b` is `await a.update(b)`); for a new set in Redis, `copy` first.
    """

    @classmethod
    async def create(
        cls, iterable: Elements[U] = (), /, *, redis: Any = None, key: str | bytes = ""
    ) -> AIORedisSet[U]:
        """Return a set at *key* with the items of *iterable*.

        Raises KeyExistsError if there are items and the key exists already.
        O(k); 1 round trip; atomic.
        """
        new = cast("AIORedisSet[U]", cls(redis=redis, key=key))
        await new._perform(new._fill(iterable))
        return new

    @operation
    def has(self, item: object, /) -> Plan[bool]:
        """Return whether *item* is a member: `item in s`.

        O(1); 1 round trip; atomic.
        """
        return self._has(item)

    @operation
    def size(self) -> Op[int]:
        """Return the number of members: `len(s)`.

        O(1); 1 round trip; atomic.
        """
        return self._size()

    async def equals(self, other: object, /) -> bool:
        """Return whether *other* is a set with the same members: `s == other`.

        O(n + k); 1 round trip; atomic.
        """
        if not _is_set(other) and not _is_set_plans(other):
            return False
        return await self._perform(self._equals(other))

    def __aiter__(self) -> AsyncIterator[T]:
        """Yield the members, in arbitrary order.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._walk(self._members, START)
