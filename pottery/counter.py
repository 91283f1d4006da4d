"""RedisCounter and AIORedisCounter: `collections.Counter` in Redis.

The server itself adds short integers, which are not read first. Other counts (floats, integers of
any size) are read and computed by Python, and the server replaces exactly those that were read; if
somebody else has changed them meanwhile, they are read again.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from itertools import chain, repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar, cast, overload

from redis.exceptions import ResponseError

from pottery._front import operation
from pottery._json import alternate, encode, encode_key, encode_keys, encode_many, find_key
from pottery._plan import Done, Op, nothing, whole
from pottery._script import IS_SHORT, Script
from pottery.base import MOST_ARGUMENTS, START, legible, warn_about
from pottery.dict import AIORedisDict, DictPlans, RedisDict, braced, is_dict_plans, is_mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from _typeshed import SupportsItems
    from typing_extensions import Self, TypeIs

    from pottery._plan import Plan, Steps
    from pottery._wire import Argument
    from pottery.base import Elements

T = TypeVar("T")
U = TypeVar("U")

Counts: TypeAlias = "Elements[T] | Mapping[T, int] | DictPlans[T, int] | None"
"""What can be counted: elements, or a mapping from elements to counts."""
Counted: TypeAlias = "SupportsItems[T, int] | CounterPlans[T]"
"""What can be added to a counter, subtracted from it, and so on."""
Operand: TypeAlias = "dict[bytes, Any]"
"""Counts by the JSON text of their elements."""

# Counts below this are added in Redis: so short that no sum overflows.
SHORT = 10**15

# Texts given to one ADD: a multiple of two, and REPLACE needs three for every two.
PART = MOST_ARGUMENTS // 3 * 2
CHOICES = {"__ior__": "max", "__iand__": "min"}

# Each sum is one command. Reading all counts first would take as long again. So if Redis cannot add
# to one of them, which is rare, the sums before it are undone.
ADD = Script(r"""
-- KEYS[1] hash; ARGV field, short integer and so on; returns whether all could be added
local size, new, at = redis.call('HLEN', KEYS[1]), {}, 1
local function add(call, key, args)
  for i = 1, #args, 2 do
    at = i
    local field, delta = args[i], args[i + 1]
    if call('HINCRBY', key, field, delta) == delta - 0 and call('HLEN', key) > size then
      size = size + 1
      new[size] = field
    end
  end
end
local added, problem = pcall(add, redis.call, KEYS[1], ARGV)
if added then return 1 end
for i = 1, at - 2, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], 0 - ARGV[i + 1]) end
for _, field in pairs(new) do redis.call('HDEL', KEYS[1], field) end
local text = type(problem) == 'table' and problem.err or problem
if text:find('not an integer') or text:find('overflow') then return 0 end
return {err = text:match('%u%u+ [^\r\n]*') or text}  -- before Redis 7 it names the script first
""")

ADD_AND_STRIP = Script(
    """
-- KEYS[1] hash; ARGV[1] whether any count can grow, ARGV[2..] field, short integer and so on, which
-- is added; then removes what is not above zero; returns whether done
"""
    + IS_SHORT
    + """
local low, fields, gone = {}, nil, {}
for i, text in ipairs(redis.call('HVALS', KEYS[1])) do
  if not is_short(text) then return 0 end
  if text == '0' or text:byte() == 45 then -- a minus
    fields = fields or redis.call('HKEYS', KEYS[1])
    low[fields[i]] = true
  end
end
-- After a removal, even of this, a server that is out of memory does subtract.
if ARGV[1] == 'fewer' then redis.call('HDEL', KEYS[1], '') end
for i = 2, #ARGV, 2 do
  local count = redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
  low[ARGV[i]] = count <= 0 or nil
end
for field in pairs(low) do gone[#gone + 1] = field end
spread('HDEL', KEYS[1], gone)
return 1
"""
)

MERGE = Script(
    """
-- KEYS[1] hash; ARGV[1] which count to keep, 'max' or 'min', ARGV[2..] field, short integer and so
-- on; then removes what is not above zero; returns whether done
"""
    + IS_SHORT
    + """
local ours, theirs, changed, gone = {}, {}, {}, {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if not is_short(all[i + 1]) then return 0 end
  ours[all[i]] = tonumber(all[i + 1])
end
for i = 2, #ARGV, 2 do theirs[ARGV[i]] = tonumber(ARGV[i + 1]) end
local function settle(field)
  local count = math[ARGV[1]](ours[field] or 0, theirs[field] or 0)
  if count <= 0 then
    gone[#gone + 1] = field
  elseif count ~= ours[field] then
    changed[#changed + 1] = field
    changed[#changed + 1] = string.format('%.0f', count)
  end
end
for i = 1, #all, 2 do settle(all[i]) end
for i = 2, #ARGV, 2 do
  if not ours[ARGV[i]] then settle(ARGV[i]) end
end
spread('HSET', KEYS[1], changed)
spread('HDEL', KEYS[1], gone)
return 1
"""
)

REPLACE = Script("""
-- KEYS[1] hash; ARGV[1] its size or '', ARGV[2..] field, text, new text and so on, '' for no text;
-- returns whether all was as given, and so was replaced
if ARGV[1] ~= '' and redis.call('HLEN', KEYS[1]) ~= tonumber(ARGV[1]) then return 0 end
local changed, gone = {}, {}
for i = 2, #ARGV, 3 do
  local text = redis.call('HGET', KEYS[1], ARGV[i]) or ''
  if text ~= ARGV[i + 1] then return 0 end
  if ARGV[i + 2] == '' then
    gone[#gone + 1] = ARGV[i]
  elseif ARGV[i + 2] ~= text then
    changed[#changed + 1] = ARGV[i]
    changed[#changed + 1] = ARGV[i + 2]
  end
end
spread('HSET', KEYS[1], changed)
spread('HDEL', KEYS[1], gone)
return 1
""")


class CounterPlans(DictPlans[T, int]):
    """What RedisCounter asks of Redis beyond what RedisDict does.

    Elements stay the JSON texts that Redis has, even in the counters that Python uses here.
    """

    @classmethod
    def fromkeys(  # as that of Counter
        cls, iterable: Iterable[Any], v: int | None = None
    ) -> NoReturn:
        """Raise NotImplementedError, as `Counter.fromkeys` does.

        O(1); 0 round trips; atomic.
        """
        raise NotImplementedError(
            "Counter.fromkeys() is undefined.  Use Counter(iterable) instead."
        )

    def __missing__(self, key: T) -> int:
        """Return 0, the count of an element that is not there.

        O(1); 0 round trips; atomic.
        """
        return 0

    def _delete(self, key: object) -> Plan[None]:
        text = find_key(key)
        if text is None:
            return Done(None)
        return Op(("HDEL", self.key, text), nothing, repeatable=True, writes=True)

    # --- counting

    @operation
    def update(  # pyright: ignore[reportIncompatibleVariableOverride]  # as that of Counter
        self, iterable: Counts[T] = None, /, **kwargs: int
    ) -> Steps[None]:
        """Add 1 for each element of *iterable*, or its counts if it is a mapping, and *kwargs*.

        >>> c = RedisCounter('which', redis=redis)
        >>> c.update('witch')
        >>> c['h']
        3

        Counts that are not integers, or have more than 14 digits, take up to 3 more round trips,
        and 2 more each time others change them meanwhile. Another RedisCounter is read first, in
        pages.
        O(k); 1 round trip; atomic.
        """
        return self._count("update", iterable, kwargs)

    @operation
    def subtract(self, iterable: Counts[T] = None, /, **kwargs: int) -> Steps[None]:
        """Subtract 1 for each element of *iterable*, or its counts if it is a mapping.

        Counts may become zero or negative, and are kept. For the round trips see `update`.
        O(k); 1 round trip; atomic.
        """
        return self._count("subtract", iterable, kwargs)

    def _count(self, how: str, arg: Any, kwargs: Mapping[str, int]) -> Steps[None]:
        is_one = type(arg) in (list, tuple) and len(arg) == 1 and not kwargs  # nearly always
        sign = "1" if how == "update" else "-1"
        if is_one and (yield from self._count_one(encode_key(arg[0]), sign)):
            return
        operands = yield from self._operands(arg, kwargs)
        deltas = _deltas(how, operands)
        texts, are_short = _texts(deltas), _are_short(deltas)
        if are_short and len(texts) == 2 and not is_one and (yield from self._count_one(*texts)):
            return
        for start in range(0, len(texts), PART):
            part = texts[start : start + PART]
            if not (are_short and (yield from ADD((self.key,), part))):
                yield from self._recount(part[::2], how, operands)

    def _count_one(self, text: Argument, delta: Argument) -> Steps[bool]:
        """Add to one count by a single command; False if Redis cannot add to what is there."""
        try:
            yield from Op(("HINCRBY", self.key, text, delta), nothing)
        except ResponseError as error:
            if "not an integer" in str(error) or "overflow" in str(error):
                return False
            raise
        return True

    def _recount(self, fields: Sequence[Any], how: str, operands: Iterable[Operand]) -> Steps[None]:
        """Let Python change the counts at *fields*, as in a Counter."""
        done = False
        while not done:
            raws = yield from Op(("HMGET", self.key, *fields), list, repeatable=True)
            texts = {field: raw for field, raw in zip(fields, raws, strict=True) if raw is not None}
            # Python adds counts to 0, but copies them as they are into an empty counter.
            is_empty = not texts and not (yield from self._size())
            counts = Counter({} if is_empty else dict.fromkeys(fields, 0) | self._decoded(texts))
            for operand in operands:
                getattr(counts, how)(_one_by_one(operand))
            done = yield from self._replace("", texts, {field: counts[field] for field in fields})

    def _replace(
        self, size: str, texts: Mapping[bytes, bytes], counts: Mapping[bytes, Any]
    ) -> Steps[bool]:
        """Replace *texts* by *counts*; return False if the texts are no longer these."""
        args: list[Argument] = [size]
        for field in {**texts, **counts}:
            new = encode(counts[field]) if field in counts else ""
            args += (field, texts.get(field, ""), new)
        return (yield from REPLACE((self.key,), args, bool))

    def _merge(self, how: str, other: Counted[T]) -> Steps[None]:
        """Change the counts, and keep the positive ones, as the method *how* of Counter does."""
        items = other if is_dict_plans(other) else dict(other.items())
        operand = yield from self._operand(items)
        if not (_are_short(operand) and (yield from self._merge_short(how, operand))):
            yield from self._remerge(how, operand)

    def _merge_short(self, how: str, operand: Operand) -> Plan[int]:
        if how in CHOICES:
            return MERGE((self.key,), (CHOICES[how], *_texts(operand)))
        deltas = operand if how == "__iadd__" else _negated(operand)
        change = "more" if max(deltas.values(), default=0) > 0 else "fewer"
        return ADD_AND_STRIP((self.key,), (change, *_texts(deltas)))

    def _remerge(self, how: str, operand: Operand) -> Steps[None]:
        done = False
        while not done:
            raws = yield from whole(self._texts, START)
            texts = dict(zip(raws[::2], raws[1::2], strict=True))
            counts = Counter(self._decoded(texts))
            getattr(counts, how)(Counter(operand))
            done = yield from self._replace(str(len(texts)), texts, counts)

    def _fill(self, arg: object, kwargs: Mapping[str, int]) -> Steps[None]:
        counts: Counter[bytes] = Counter()
        for operand in (yield from self._operands(arg, kwargs)):
            counts.update(operand)
        yield from self._create("HSET", _texts(counts))

    def _operands(self, arg: object, kwargs: Mapping[str, int]) -> Steps[list[Operand]]:
        more = [_spelled(kwargs)] if kwargs else []
        return [(yield from self._operand(arg)), *more]

    def _operand(self, arg: Any) -> Steps[Operand]:
        """Return counts by the texts of elements, as a Counter if elements are to be counted."""
        if arg is None:
            return {}
        if is_dict_plans(arg):
            raws = yield from self._through(arg, whole(arg._texts, START))
            return dict(zip(raws[::2], arg._decode_many(raws[1::2]), strict=True))
        if is_mapping(arg):
            return _spelled(arg)
        return Counter(map(str.encode, encode_keys((yield from self._taken(arg)))))

    def _decoded(self, texts: Mapping[bytes, bytes]) -> dict[bytes, Any]:
        return dict(zip(texts, self._decode_many(list(texts.values())), strict=True))

    # --- reading

    @operation
    def to_counter(self) -> Steps[Counter[T]]:
        """Return the counts as a `collections.Counter`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._counter()

    @operation
    def elements(self) -> Steps[Iterator[T]]:
        """Return an iterator over the elements, each as often as its count, if positive.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        counts = yield from self._by_text()
        return chain.from_iterable(map(repeat, self._decode_keys([*counts]), counts.values()))

    @operation
    def most_common(self, n: int | None = None) -> Steps[list[tuple[T, int]]]:
        """Return the *n* elements with the highest counts, or all, as pairs, the highest first.

        >>> RedisCounter('abracadabra', redis=redis).most_common(3)
        [('a', 5), ('b', 2), ('r', 2)]

        O(n log n); 1 round trip per 1000 items; not atomic.
        """
        common = Counter((yield from self._by_text())).most_common(n)
        keys = self._decode_keys([text for text, _ in common])
        return [(key, count) for key, (_, count) in zip(keys, common, strict=True)]

    @operation
    def total(self) -> Steps[int]:
        """Return the sum of the counts.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return sum((yield from self._by_text()).values())

    def _counter(self) -> Steps[Counter[T]]:
        return Counter(dict((yield from whole(self._items, START))))

    # --- comparison and arithmetic, by Python

    def _equals(self, other: Any) -> Steps[bool]:
        if is_dict_plans(other):
            return (yield from self._compared(other, lambda ours, theirs: bool(ours == theirs)))
        counts = yield from self._told_apart()
        return counts is not None and bool(Counter(counts) == (yield from self._native(other)))

    def _compared(self, other: Any, holds: Callable[[Counter[Any], Any], bool]) -> Steps[bool]:
        if not is_dict_plans(other):
            return (yield from self._computed(other, holds))
        # By text, since that is how Redis tells elements apart.
        mine = Counter((yield from self._by_text()))
        theirs = yield from self._through(other, other._by_text())
        return holds(mine, Counter(theirs) if isinstance(other, CounterPlans) else theirs)

    def _computed(self, other: Any, operate: Callable[[Counter[Any], Any], U]) -> Steps[U]:
        mine = yield from self._counter()
        return operate(mine, (yield from self._native(other)))

    def _native(self, other: Any) -> Steps[Any]:
        """Return the mapping by which Python replaces *other* to compare and compute."""
        if isinstance(other, dict):
            return cast("dict[Any, Any]", other)
        if not is_dict_plans(other):
            return dict(other)
        items = dict((yield from self._through(other, whole(other._items, START))))
        return Counter(items) if isinstance(other, CounterPlans) else items


def _texts(counts: Operand) -> list[Argument]:
    return alternate(counts, encode_many(counts.values()))


def _deltas(how: str, operands: Sequence[Operand]) -> Operand:
    """Return what *operands* add to each count, together."""
    if len(operands) == 1:
        return operands[0] if how == "update" else _negated(operands[0])
    deltas: Counter[bytes] = Counter()
    for operand in operands:
        getattr(deltas, how)(operand)
    return deltas


def _negated(counts: Operand) -> Operand:
    return {field: 0 - count for field, count in counts.items()}  # like Counter, for its errors


def _one_by_one(operand: Operand) -> Iterable[bytes] | Operand:
    """Return what a Counter adds: elements one by one, since with floats the sum may differ."""
    return operand.elements() if isinstance(operand, Counter) else operand


def _are_short(counts: Operand) -> bool:
    if not counts:
        return True
    kinds = set(map(type, counts.values()))
    return kinds == {int} and min(counts.values()) > -SHORT and max(counts.values()) < SHORT


def _spelled(counts: Mapping[Any, Any]) -> Operand:
    return dict(zip(map(str.encode, encode_keys(counts)), counts.values(), strict=True))


class RedisCounter(CounterPlans[T], RedisDict[T, int]):  # type: ignore[misc]  # noqa: PLW1641
    """A `collections.Counter` whose counts live in Redis.

    Stored as one Redis hash at *key*; each field is the JSON text of an element, its value that of
    the count.

    Differs from `Counter`: elements must be JSON, and their text is their identity; what RedisDict
    says about keys, order, iteration and the arguments `redis` and `key` holds here, too. `a + b`,
    `a - b`, `a | b` and `a & b` return a plain Counter; `a += b` and so on change the counter in
    Redis. What a mapping lacks counts 0 in `a &= mapping`, even if it is no counter. Where an error
    leaves an update half done in Python, it changes nothing here.

    `c[x] += 1` is a read and a write, and loses what others count in between. Use `c.update([x])`
    or `c.update({x: 1})` instead: it counts in Redis, and nothing is lost.
    """

    @overload
    def __init__(
        self,
        iterable: Counts[T] = None,
        /,
        *,
        redis: Any = None,
        key: str | bytes = "",
    ) -> None: ...
    @overload
    def __init__(
        self: RedisCounter[str],
        iterable: Counts[str] = None,
        /,
        *,
        redis: Any = None,
        key: str | bytes = "",
        **kwargs: int,
    ) -> None: ...
    def __init__(
        self, iterable: Any = None, /, *, redis: Any = None, key: str | bytes = "", **kwargs: Any
    ) -> None:
        """Attach to *key*; if *iterable* or *kwargs* have elements, create the counter.

        *iterable* gives elements, or is a mapping from elements to counts.
        Raises KeyExistsError if there are elements and the key exists already.
        O(k); 1 round trip; atomic.
        """
        super().__init__(iterable, redis=redis, key=key, **kwargs)

    def __delitem__(self, key: object) -> None:
        """Remove *key* and its count, if it is there.

        O(1); 1 round trip; atomic.
        """
        self._perform(self._delete(key))

    @legible
    def __repr__(self) -> str:
        """Return `RedisCounter{...}` with all counts, the highest first.

        O(n log n); 1 round trip per 1000 items; not atomic.
        """
        warn_about("repr of", self, 4)
        items = self._all_shown()
        with suppress(TypeError):  # counts that cannot be compared stay in their order
            items = sorted(items, key=itemgetter(1), reverse=True)
        return braced(self, items)

    # --- comparison: missing elements count 0

    def __eq__(self, other: object) -> bool:
        """Return whether all counts are equal; a mapping that is no counter is compared as a dict.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        if not is_mapping(other):
            return NotImplemented
        warn_about("comparing", self)
        return self._perform(self._equals(other))

    def __le__(self, other: Counter[Any] | RedisCounter[Any]) -> bool:
        """Return whether no count is above that in *other*.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._compare(other, lambda ours, theirs: ours <= theirs)

    def __lt__(self, other: Counter[Any] | RedisCounter[Any]) -> bool:
        """Return whether no count is above that in *other*, and some count is below.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._compare(other, lambda ours, theirs: ours < theirs)

    def __ge__(self, other: Counter[Any] | RedisCounter[Any]) -> bool:
        """Return whether no count is below that in *other*.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._compare(other, lambda ours, theirs: ours >= theirs)

    def __gt__(self, other: Counter[Any] | RedisCounter[Any]) -> bool:
        """Return whether no count is below that in *other*, and some count is above.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._compare(other, lambda ours, theirs: ours > theirs)

    def _compare(self, other: object, holds: Callable[[Counter[Any], Counter[Any]], bool]) -> bool:
        if not _is_counter(other):
            return cast("bool", NotImplemented)
        warn_about("comparing", self, 4)
        return self._perform(self._compared(other, holds))

    def _compute(self, other: object, operate: Callable[[Counter[Any], Counter[Any]], U]) -> U:
        if not _is_counter(other):
            return cast("U", NotImplemented)
        return self._perform(self._computed(other, operate))

    def _unite(self, other: object, operate: Callable[[Counter[Any], Any], U]) -> U:
        # A Counter is a dict as well, and as such it is united with one that is no Counter.
        if isinstance(other, dict):
            return self._perform(self._computed(other, operate))
        return self._compute(other, operate)

    # --- arithmetic: a plain Counter of what is positive

    def __add__(self, other: Counter[U] | RedisCounter[U]) -> Counter[T | U]:
        """Return the sums of the counts, as a `Counter` of those above zero.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._compute(other, lambda ours, theirs: ours + theirs)

    def __radd__(self, other: Counter[U]) -> Counter[T | U]:
        """Return the sums of the counts, as a `Counter` of those above zero.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._compute(other, lambda ours, theirs: theirs + ours)

    def __sub__(self, other: Counter[U] | RedisCounter[U]) -> Counter[T | U]:
        """Return these counts minus those of *other*, as a `Counter` of those above zero.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._compute(other, lambda ours, theirs: ours - theirs)

    def __rsub__(self, other: Counter[U]) -> Counter[T | U]:
        """Return the counts of *other* minus these, as a `Counter` of those above zero.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._compute(other, lambda ours, theirs: theirs - ours)

    def __or__(  # type: ignore[override]  # as that of Counter
        self, other: Counter[U] | RedisCounter[U]
    ) -> Counter[T | U]:
        """Return the higher count of each element, as a `Counter` of those above zero.

        With a dict that is no counter, return the items of both as a `dict`; those of the right
        operand win.
        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._unite(other, lambda ours, theirs: ours | theirs)

    def __ror__(self, other: Counter[U]) -> Counter[T | U]:  # type: ignore[override]
        """Return the higher count of each element, as a `Counter` of those above zero.

        With a dict that is no counter, return the items of both as a `dict`; those of the right
        operand win.
        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._unite(other, lambda ours, theirs: theirs | ours)

    def __and__(self, other: Counter[Any] | RedisCounter[Any]) -> Counter[T]:
        """Return the lower count of each element, as a `Counter` of those above zero.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._compute(other, lambda ours, theirs: ours & theirs)

    def __rand__(self, other: Counter[U]) -> Counter[U]:
        """Return the lower count of each element, as a `Counter` of those above zero.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._compute(other, lambda ours, theirs: theirs & ours)

    def __pos__(self) -> Counter[T]:
        """Return the counts above zero, as a `Counter`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return +self.to_counter()

    def __neg__(self) -> Counter[T]:
        """Return the counts below zero, as a `Counter` with their signs reversed.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return -self.to_counter()

    # --- arithmetic in Redis: afterwards only what is positive is left

    def __iadd__(self, other: SupportsItems[T, int]) -> Self:  # type: ignore[misc]
        """Add the counts of *other*, then remove what is not above zero.

        O(n + k); 1 round trip; atomic.
        """
        return self._in_place("__iadd__", other)

    def __isub__(self, other: SupportsItems[T, int]) -> Self:  # type: ignore[misc]
        """Subtract the counts of *other*, then remove what is not above zero.

        O(n + k); 1 round trip; atomic.
        """
        return self._in_place("__isub__", other)

    def __ior__(self, other: SupportsItems[T, int]) -> Self:  # type: ignore[override,misc]
        """Set each count to the higher one, then remove what is not above zero.

        O(n + k); 1 round trip; atomic.
        """
        return self._in_place("__ior__", other)

    def __iand__(self, other: SupportsItems[T, int]) -> Self:  # type: ignore[misc]
        """Set each count to the lower one, then remove what is not above zero.

        O(n + k); 1 round trip; atomic.
        """
        return self._in_place("__iand__", other)

    def _in_place(self, how: str, other: SupportsItems[T, int]) -> Self:
        self._perform(self._merge(how, other))
        return self


def _is_counter(other: object) -> TypeIs[Counter[Any] | CounterPlans[Any]]:
    return isinstance(other, (Counter, CounterPlans))


class AIORedisCounter(CounterPlans[T], AIORedisDict[T, int]):  # type: ignore[misc]
    """A `RedisCounter` for asyncio: the same methods, awaited, and verbs for its operators.

    Stored as a RedisCounter is.

    Differs from `RedisCounter`: what AIORedisDict says about its verbs holds here, too. `union`,
    `intersection`, `sum` and `difference` stand for `|`, `&`, `+` and `-`: they return a plain
    `Counter`, whereas `sum_update` and so on change this one in Redis.
    """

    @overload  # type: ignore[override]  # as Counter differs from dict
    @classmethod
    async def create(
        cls, iterable: Counts[U] = None, /, *, redis: Any = None, key: str | bytes = ""
    ) -> AIORedisCounter[U]: ...
    @overload
    @classmethod
    async def create(
        cls,
        iterable: Counts[str] = None,
        /,
        *,
        redis: Any = None,
        key: str | bytes = "",
        **kwargs: int,
    ) -> AIORedisCounter[str]: ...
    @classmethod
    async def create(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, iterable: Any = None, /, *, redis: Any = None, key: str | bytes = "", **kwargs: Any
    ) -> AIORedisCounter[Any]:
        """Return a counter at *key* with the elements of *iterable* and *kwargs*.

        *iterable* gives elements, or is a mapping from elements to counts.
        Raises KeyExistsError if there are elements and the key exists already.
        O(k); 1 round trip; atomic.
        """
        new = await super().create(iterable, redis=redis, key=key, **kwargs)
        return cast("AIORedisCounter[Any]", new)

    async def delete(self, key: object, /) -> None:
        """Remove *key* and its count, if it is there: `del c[key]`.

        O(1); 1 round trip; atomic.
        """
        await self._perform(self._delete(key))

    async def sum(self, other: Counted[U], /) -> Counter[T | U]:
        """Return the sums of the counts, as a `Counter` of those above zero: `c + other`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return await self._perform(
            self._computed(other, lambda ours, theirs: ours + Counter(theirs))
        )

    async def difference(self, other: Counted[U], /) -> Counter[T | U]:
        """Return these counts minus those of *other*, those above zero: `c - other`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return await self._perform(
            self._computed(other, lambda ours, theirs: ours - Counter(theirs))
        )

    async def union(self, other: Counted[U], /) -> Counter[T | U]:
        """Return the higher count of each element, those above zero: `c | other`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return await self._perform(
            self._computed(other, lambda ours, theirs: ours | Counter(theirs))
        )

    async def intersection(self, other: Counted[Any], /) -> Counter[T]:
        """Return the lower count of each element, those above zero: `c & other`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return await self._perform(
            self._computed(other, lambda ours, theirs: ours & Counter(theirs))
        )

    async def issubset(self, other: Counted[Any], /) -> bool:
        """Return whether no count is above that in *other*: `c <= other`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return await self._perform(
            self._compared(other, lambda ours, theirs: ours <= Counter(theirs))
        )

    async def issuperset(self, other: Counted[Any], /) -> bool:
        """Return whether no count is below that in *other*: `c >= other`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return await self._perform(
            self._compared(other, lambda ours, theirs: ours >= Counter(theirs))
        )

    async def sum_update(self, other: Counted[T], /) -> None:
        """Add the counts of *other*, then remove what is not above zero: `c += other`.

        O(n + k); 1 round trip; atomic.
        """
        await self._perform(self._merge("__iadd__", other))

    async def difference_update(self, other: Counted[T], /) -> None:
        """Subtract the counts of *other*, then remove what is not above zero: `c -= other`.

        O(n + k); 1 round trip; atomic.
        """
        await self._perform(self._merge("__isub__", other))

    async def union_update(self, other: Counted[T], /) -> None:
        """Set each count to the higher one, then remove what is not above zero: `c |= other`.

        O(n + k); 1 round trip; atomic.
        """
        await self._perform(self._merge("__ior__", other))

    async def intersection_update(self, other: Counted[T], /) -> None:
        """Set each count to the lower one, then remove what is not above zero: `c &= other`.

        O(n + k); 1 round trip; atomic.
        """
        await self._perform(self._merge("__iand__", other))

    async def equals(self, other: object, /) -> bool:
        """Return whether all counts are equal; a mapping that is no counter is compared as a dict.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return await super().equals(other)
