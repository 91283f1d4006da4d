"""What RedisList and RedisDeque share: a sequence stored as one Redis list.

Two rules. Elements are compared as in Python (`[1].index(True)` is 0): by the server for plain
scalars, which have few equal spellings, else by Python, in pages. And a script pushes first and
trims afterwards, so that the key neither vanishes in between nor loses its expiry.
"""

from __future__ import annotations

import sys
from collections.abc import MutableSequence
from operator import index as as_index
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast
from uuid import uuid4

from redis.exceptions import ResponseError

from pottery._front import operation
from pottery._json import encode, encode_many, spellings
from pottery._plan import Op, nothing, whole
from pottery._script import Script
from pottery.base import PAGE, WHOLE, AIOContainer, Base, Container, Readable, warn_about

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from typing_extensions import Self, TypeIs

    from pottery._plan import Plan, Steps
    from pottery.base import Elements

T = TypeVar("T")

LAST = sys.maxsize
# Within a script, replaces an element for a moment, so that the server can find that place. It is
# random, so no list contains it.
MARK = uuid4().hex

# Lua functions that the scripts below begin with.
BOUNDS = """
-- a bound of a slice as Python reads it: negative counts from the end; clamped
local function bound(text, size, default, lowest, highest)
  if text == '' then return default end
  local position = tonumber(text)
  if position < 0 then position = position + size end
  return math.max(lowest, math.min(position, highest))
end
"""
REPLACE = """
-- puts values[first..] in the place of the elements from low to high - 1, moving the shorter side
local function replace(key, size, low, high, values, first)
  if values[first] then -- ask for memory while it can still be refused: nothing is changed yet
    redis.call('RPUSH', key, values[first])
    redis.call('RPOP', key)
  end
  if low > 0 and size - high <= low then
    local tail = redis.call('LRANGE', key, high, -1)
    redis.call('LTRIM', key, 0, low - 1)
    spread('RPUSH', key, values, first)
    spread('RPUSH', key, tail)
  elseif high < size then
    local backwards = {}
    for i = #values, first, -1 do backwards[#backwards + 1] = values[i] end
    local head = low > 0 and redis.call('LRANGE', key, 0, low - 1) or {}
    for i = #head, 1, -1 do backwards[#backwards + 1] = head[i] end
    redis.call('LTRIM', key, high, -1)
    spread('LPUSH', key, backwards)
  else
    spread('RPUSH', key, values, first)
    redis.call('LTRIM', key, size, -1)
  end
end
"""

CUT = """
-- removes the element at a place, by a mark there, which the server looks for from the nearer end;
-- returns an error if the user may not do that
local function cut(key, at, size, element, mark)
  redis.call('LTRIM', key, '0', '-1') -- after this even a server out of memory accepts the mark
  redis.call('LSET', key, at, mark)
  local gone = redis.pcall('LREM', key, at * 2 < size and '1' or '-1', mark)
  if gone == 1 then return end
  redis.call('LSET', key, at, element)
  return gone
end
"""

LIMIT = """
-- removes from the left end what exceeds `most`, '' for no limit
local function limit(key, most)
  if most == '0' then redis.call('LTRIM', key, 1, 0)
  elseif most ~= '' then redis.call('LTRIM', key, '-' .. most, -1) end
end
"""

# In the middle, the server itself finds the place by a mark, ten times as fast as a script can move
# elements. But it searches from the head, so near the end a few elements are moved instead.
INSERT = Script(
    BOUNDS
    + REPLACE
    + """
-- KEYS[1] list; ARGV[1] index, ARGV[2] most elements or '', ARGV[3] mark, ARGV[4] element; returns
-- whether it fits
local size = redis.call('LLEN', KEYS[1])
if ARGV[2] ~= '' and size >= tonumber(ARGV[2]) then return 0 end
local at = bound(ARGV[1], size, 0, 0, size)
if (size - at) * 16 <= at then
  replace(KEYS[1], size, at, at, ARGV, 4)
  return 1
end
local following = redis.call('LINDEX', KEYS[1], at)
redis.call('LSET', KEYS[1], at, ARGV[3])
local grown = redis.pcall('LINSERT', KEYS[1], 'BEFORE', ARGV[3], ARGV[4])
redis.call('LSET', KEYS[1], type(grown) == 'number' and at + 1 or at, following)
return type(grown) == 'number' and 1 or grown
"""
)

TAKE = Script(
    CUT
    + """
-- KEYS[1] list; ARGV[1] index, ARGV[2] mark; removes and returns the element; returns the size if
-- there is none
local size = redis.call('LLEN', KEYS[1])
local at = tonumber(ARGV[1])
if at < 0 then at = at + size end
if at < 0 or at >= size then return size end
local element = redis.call('LINDEX', KEYS[1], at)
return cut(KEYS[1], at, size, element, ARGV[2]) or element
"""
)

# The element may be stored in any of its spellings; the first place counts.
FIND = """
-- KEYS[1] list; ARGV[1] and ARGV[2] where to look, ARGV[3..] spellings; the first place is `found`
local size = redis.call('LLEN', KEYS[1])
local low = bound(ARGV[1], size, 0, 0, size)
local high = bound(ARGV[2], size, size, 0, size)
local found
for i = 3, #ARGV do
  for _, at in ipairs(redis.call('LPOS', KEYS[1], ARGV[i], 'COUNT', low == 0 and 1 or 0)) do
    if at >= low and at < high and (not found or at < found) then found = at end
  end
end
"""
INDEX = Script(BOUNDS + FIND + "return found or false", repeatable=True)
REMOVE = Script(
    BOUNDS
    + FIND
    + """
if not found then return 0 end
return redis.call('LREM', KEYS[1], 1, redis.call('LINDEX', KEYS[1], found))
"""
)

REMOVE_AT = Script(
    CUT
    + """
-- KEYS[1] list; ARGV[1] index, ARGV[2] the element read there, ARGV[3] mark; returns whether it
-- was still there
if redis.call('LINDEX', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
local size = redis.call('LLEN', KEYS[1])
return cut(KEYS[1], tonumber(ARGV[1]), size, ARGV[2], ARGV[3]) or 1
"""
)

COUNT = Script(
    """
-- KEYS[1] list; ARGV spellings of an element; returns how often they occur
local count = 0
for _, text in ipairs(ARGV) do count = count + #redis.call('LPOS', KEYS[1], text, 'COUNT', 0) end
return count
""",
    repeatable=True,
)

REVERSE = Script("""
-- KEYS[1] list
local elements = redis.call('LRANGE', KEYS[1], 0, -1)
spread('LPUSH', KEYS[1], elements)
redis.call('LTRIM', KEYS[1], 0, #elements - 1)
""")

JOIN = Script(
    LIMIT
    + """
-- KEYS[1] list, KEYS[2..] others; ARGV[1] whether ARGV[3..] come first, ARGV[2] most elements or ''
local others = {}
for i = 2, #KEYS do others[i] = redis.call('LRANGE', KEYS[i], 0, -1) end
if ARGV[1] == 'first' then spread('RPUSH', KEYS[1], ARGV, 3) end
for i = 2, #KEYS do spread('RPUSH', KEYS[1], others[i]) end
if ARGV[1] ~= 'first' then spread('RPUSH', KEYS[1], ARGV, 3) end
limit(KEYS[1], ARGV[2])
"""
)

REPEAT = Script(
    LIMIT
    + """
-- KEYS[1] list, KEYS[2] what is appended to it; ARGV[1] how often, ARGV[2] most elements or '';
-- returns whether a Redis list can be that long
local elements, times = redis.call('LRANGE', KEYS[2], 0, -1), tonumber(ARGV[1])
if #elements == 0 then return 1 end
if #elements * times >= 2 ^ 63 then return 0 end
if ARGV[2] ~= '' then times = math.min(times, math.ceil(tonumber(ARGV[2]) / #elements)) end
if #elements * times >= 2 ^ 32 then return 0 end
for _ = 1, times do spread('RPUSH', KEYS[1], elements) end
limit(KEYS[1], ARGV[2])
return 1
"""
)


class SequencePlans(Base, Readable, Generic[T]):
    """What any sequence asks of Redis."""

    _noun: ClassVar[str]  # what the builtin is called in its error messages
    _builtin: ClassVar[type]  # can be compared and concatenated with this

    _maxlen: int | None = None

    def _most(self) -> str:
        return "" if self._maxlen is None else str(self._maxlen)

    # --- ends

    @operation
    def append(self, item: T, /) -> Plan[None]:
        """Add *item* at the right end.

        O(1); 1 round trip; atomic.
        """
        return self._push("RPUSH", [encode(item)])

    @operation
    def extend(self, iterable: Elements[T], /) -> Steps[None]:
        """Add all items of *iterable* at the right end.

        O(k); 1 round trip; atomic.
        """
        if _is_sequence(iterable) and self._is_beside(iterable):
            yield from JOIN((self.key, iterable.key), ("last", self._most()), nothing)
        else:
            yield from self._push("RPUSH", encode_many((yield from self._taken(iterable))))

    def _push(self, command: str, texts: Sequence[str]) -> Plan[None]:
        if len(texts) == 1:
            return Op((command, self.key, texts[0]), nothing)
        return self._write(command, texts)

    def _pop(self, command: str) -> Op[T]:
        return Op((command, self.key), lambda raw: self._item(raw, self._nothing_to_pop))

    def _item(self, raw: bytes | None, otherwise: str) -> T:
        if raw is None:
            raise IndexError(otherwise)
        item: T = self._decode(raw)
        return item

    _nothing_to_pop: ClassVar[str]

    # --- by index

    def _place(self, index: Any) -> int:
        """Return what is between the brackets as an integer; the errors are the builtin's."""
        try:
            return ssize(index)
        except TypeError:
            raise TypeError(self._wrong_index.format(type(index).__name__)) from None
        except OverflowError:
            kind = type(index).__name__
            raise IndexError(f"cannot fit '{kind}' into an index-sized integer") from None

    _wrong_index: ClassVar[str]

    @operation
    def insert(self, index: int, item: T, /) -> Steps[None]:
        """Insert *item* before the one at *index*, or at the nearer end if there is none.

        O(1) at the ends, else O(n); 1 round trip; atomic.
        """
        at, text = ssize(index), encode(item)
        if not (yield from INSERT((self.key,), (str(at), self._most(), MARK, text))):
            raise IndexError(f"{self._noun} already at its maximum size")

    def _fetch(self, index: int) -> Op[T]:
        wrong = f"{self._noun} index out of range"
        return Op(
            ("LINDEX", self.key, str(index)), lambda raw: self._item(raw, wrong), repeatable=True
        )

    def _store(self, index: int, item: T) -> Steps[None]:
        text = encode(item)
        try:
            yield from Op(("LSET", self.key, str(index), text), nothing)
        except ResponseError as error:
            if "index out of range" in str(error) or "no such key" in str(error):
                raise IndexError(self._no_such_place) from None
            raise

    _no_such_place: ClassVar[str]

    def _delete(self, index: int) -> Steps[None]:
        if isinstance((yield from TAKE((self.key,), (str(index), MARK))), int):
            raise IndexError(self._no_such_place)

    # --- by value

    def _has(self, item: object) -> Steps[bool]:
        return (yield from self._find(item, None, None)) is not None

    @operation
    def index(self, item: object, start: int = 0, stop: int = LAST, /) -> Steps[int]:
        """Return the index of the first element from *start* to *stop* that equals *item*.

        Raises ValueError if there is none. The server searches for strings, numbers, True, False
        and None; Python searches for anything else, in pages. (Likewise `in`, `count`, `remove`.)
        O(n); 1 round trip; atomic.
        """
        found = yield from self._find(item, _clamped(start), _clamped(stop))
        if found is None:
            raise ValueError(f"{item!r} is not in {self._noun}")
        return found

    def _find(self, item: object, start: int | None, stop: int | None) -> Steps[int | None]:
        texts = spellings(item)
        everywhere = start in (None, 0) and stop in (None, LAST)
        if texts is None:
            return (yield from self._search(item, start, stop))
        if everywhere and len(texts) == 1:
            return (yield from Op(("LPOS", self.key, texts[0]), _found, repeatable=True))
        bounds = text_of_bound(start), text_of_bound(stop)
        return (yield from INDEX((self.key,), (*bounds, *texts), _found))

    def _search(self, item: object, start: int | None, stop: int | None) -> Steps[int | None]:
        items = yield from self._elements()
        low, high, _ = slice(start, stop).indices(len(items))
        places = range(low, high)
        return next((at for at in places if items[at] is item or items[at] == item), None)

    @operation
    def count(self, item: object, /) -> Steps[int]:
        """Return how many elements equal *item*.

        O(n); 1 round trip; atomic.
        """
        texts = spellings(item)
        if texts is not None:
            return (yield from COUNT((self.key,), texts, int))
        return (yield from self._elements()).count(cast("T", item))

    @operation
    def remove(self, item: object, /) -> Steps[None]:
        """Remove the first element that equals *item*.

        Raises ValueError if there is none.
        O(n); 1 round trip; atomic.
        """
        if not (yield from self._remove(item)):
            raise ValueError(self._not_removed(item))

    def _not_removed(self, item: object, /) -> str:
        return f"{item!r} is not in {self._noun}"

    def _remove(self, item: object) -> Steps[bool]:
        texts = spellings(item)
        if texts is None:
            return (yield from self._search_and_remove(item))
        if len(texts) == 1:
            return (yield from Op(("LREM", self.key, "1", texts[0]), bool))
        return (yield from REMOVE((self.key,), ("", "", *texts), bool))

    def _search_and_remove(self, item: object) -> Steps[bool]:
        # Retried if the list moved between the search and the removal: then somebody made progress.
        while True:
            raws = yield from whole(self._texts, 0)
            values = self._decode_many(raws)
            if item not in values:
                return False
            at = values.index(item)
            if (yield from REMOVE_AT((self.key,), (str(at), raws[at], MARK))):
                return True

    # --- everything

    @operation
    def reverse(self) -> Steps[None]:
        """Reverse the order of the elements in place.

        O(n); 1 round trip; atomic.
        """
        yield from REVERSE((self.key,), (), nothing)

    @operation
    def to_list(self) -> Steps[list[T]]:
        """Return the elements as a `list`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._elements()

    def _elements(self) -> Steps[list[T]]:
        return whole(self._items, 0)

    def _size(self) -> Op[int]:
        return Op(("LLEN", self.key), int, repeatable=True)

    def _items(self, start: int) -> Op[tuple[int | None, list[T]]]:
        return self._page(start, None, self._decode_many)

    def _texts(self, start: int) -> Op[tuple[int | None, list[bytes]]]:
        return self._page(start, None, list)

    def _page(
        self, start: int, stop: int | None, read: Callable[[list[bytes]], list[Any]]
    ) -> Op[tuple[int | None, list[Any]]]:
        """Read a page from *start* on, and one more element, which tells if there is another."""
        last = start + (PAGE if start else WHOLE)
        if stop is not None:
            last = min(last, stop - 1)

        def page(raws: list[bytes]) -> tuple[int | None, list[Any]]:
            reached = start + len(raws)
            return reached if reached > last and reached != stop else None, read(raws)

        return Op(("LRANGE", self.key, str(start), str(last)), page, repeatable=True)

    def _items_backwards(self, passed: int) -> Op[tuple[int | None, list[T]]]:
        size = (PAGE if passed else WHOLE) + 1

        def page(raws: list[bytes]) -> tuple[int | None, list[T]]:
            following = passed + size if len(raws) == size else None
            return following, self._decode_many(raws)[::-1]

        bounds = str(-passed - size), str(-passed - 1)
        return Op(("LRANGE", self.key, *bounds), page, repeatable=True)

    # --- comparison and arithmetic

    def _is_like(self, other: object) -> bool:
        return getattr(other, "_noun", None) == self._noun or isinstance(other, self._builtin)

    def _compared(self, other: Elements[Any], how: str) -> Steps[bool]:
        mine = self._builtin((yield from self._elements()))
        theirs = self._builtin((yield from self._taken(other)))
        return cast("bool", getattr(mine, how)(theirs))

    def _joined(self, new: Self, other: Elements[Any], *, first: bool) -> Steps[Self]:
        """Put the elements of this one into *new*, and those of *other* after or before them."""
        keys, texts = [self.key], list[str]()
        if _is_sequence(other) and self._is_beside(other):
            keys.insert(0 if first else 1, other.key)
        else:
            texts = encode_many((yield from self._taken(other)))
        order = "first" if first else "last"
        yield from JOIN((new.key, *keys), (order, new._most(), *texts), nothing)
        return new

    def _repeated(self, times: int) -> Steps[Self]:
        new = self._like()
        yield from self._append_itself(new.key, max(times, 0))
        return new

    def _repeat(self, times: int) -> Plan[None]:
        if times <= 0:
            return Op(("UNLINK", self.key), nothing)
        return self._append_itself(self.key, times - 1)

    def _append_itself(self, key: str | bytes, times: int) -> Steps[None]:
        if not (yield from REPEAT((key, self.key), (str(times), self._most()))):
            raise MemoryError


def _is_sequence(operand: object) -> TypeIs[SequencePlans[Any]]:
    return isinstance(operand, SequencePlans)


def _found(reply: int | None) -> int | None:
    return reply


def text_of_bound(position: int | None) -> str:
    return "" if position is None else str(position)


class RedisSequence(SequencePlans[T], Container, MutableSequence[T]):  # noqa: PLW1641 - no hash, as list
    """The syntax of a sequence, blocking: what RedisList and RedisDeque share.

    The mixins of MutableSequence would read one element at a time, so all are overridden.
    """

    def _place(self, index: Any) -> int:
        """Return *index* as an integer, with a warning if it is neither end."""
        at = super()._place(index)
        if at not in (0, -1):
            warn_about("a middle index of", self, 4)
        return at

    def __len__(self) -> int:
        """Return the number of elements.

        O(1); 1 round trip; atomic.
        """
        return self._perform(self._size())

    def __contains__(self, item: object) -> bool:
        """Return whether an element equals *item*.

        O(n); 1 round trip; atomic.
        """
        return self._perform(self._has(item))

    def __iter__(self) -> Iterator[T]:
        """Yield the elements; `list(x)` also asks for the length, 1 more round trip.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._walk(self._items, 0)

    def __reversed__(self) -> Iterator[T]:
        """Yield the elements from the last to the first.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._walk(self._items_backwards, 0)

    def __iadd__(self, other: Iterable[T]) -> Self:  # type: ignore[misc]
        """Add all items of *other* at the right end.

        O(k); 1 round trip; atomic.
        """
        self.extend(other)
        return self

    def __add__(self, other: Any) -> Self:
        """Return a sequence of the elements of both, with a temporary key.

        O(n + k); 1 round trip; atomic.
        """
        if not self._is_like(other):
            noun, wrong = self._noun, type(other).__name__
            raise TypeError(f'can only concatenate {noun} (not "{wrong}") to {noun}')
        return self._concatenate(other, first=False)

    def __radd__(self, other: Any) -> Self:
        """Return a sequence of the elements of both, with a temporary key.

        O(n + k); 1 round trip; atomic.
        """
        if not self._is_like(other):
            return cast("Self", NotImplemented)
        return self._concatenate(other, first=True)

    def _concatenate(self, other: Any, *, first: bool) -> Self:
        new = self._like_operand(other if first else self)
        return self._perform(self._joined(new, other, first=first))

    def _like_operand(self, _left: Any) -> Self:
        return self._like()

    def __mul__(self, times: int) -> Self:
        """Return a sequence of the elements *times* times over, with a temporary key.

        O(n times); 1 round trip; atomic.
        """
        return self._perform(self._repeated(_times(times)))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Self:
        """Repeat the elements *times* times in place.

        O(n times); 1 round trip; atomic.
        """
        self._perform(self._repeat(_times(times)))
        return self

    def __eq__(self, other: object) -> bool:
        """Return whether *other* is of the same kind, with equal elements.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._compare(other, "__eq__")

    def __lt__(self, other: Any) -> bool:
        """Return whether this comes before *other*, element by element.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._compare(other, "__lt__")

    def __le__(self, other: Any) -> bool:
        """Return whether this comes before *other*, element by element, or equals it.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._compare(other, "__le__")

    def __gt__(self, other: Any) -> bool:
        """Return whether this comes after *other*, element by element.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._compare(other, "__gt__")

    def __ge__(self, other: Any) -> bool:
        """Return whether this comes after *other*, element by element, or equals it.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._compare(other, "__ge__")

    def _compare(self, other: Any, how: str) -> bool:
        if not self._is_like(other):
            return cast("bool", NotImplemented)
        warn_about("comparing", self, 4)
        return self._perform(self._compared(other, how))

    def _shown_elements(self) -> str:
        warn_about("repr of", self, 5)
        return repr(self._shown(self._perform(whole(self._texts, 0)), self._decode))


class AIOSequence(SequencePlans[T], AIOContainer):
    """The verbs of a sequence, awaited: what AIORedisList and AIORedisDeque share."""

    @operation
    def has(self, item: object, /) -> Steps[bool]:
        """Return whether an element equals *item*: `item in x`.

        O(n); 1 round trip; atomic.
        """
        return self._has(item)

    @operation
    def size(self) -> Op[int]:
        """Return the number of elements: `len(x)`.

        O(1); 1 round trip; atomic.
        """
        return self._size()

    async def equals(self, other: object, /) -> bool:
        """Return whether *other* is of the same kind, with equal elements: `x == other`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._is_like(other) and await self._perform(
            self._compared(cast("Any", other), "__eq__")
        )

    @operation
    def fetch(self, index: int, /) -> Op[T]:
        """Return the element at *index*: `x[index]`.

        Raises IndexError if there is none.
        O(1) at the ends, else O(n); 1 round trip; atomic.
        """
        return self._fetch(self._place(index))

    @operation
    def set(self, index: int, value: T, /) -> Steps[None]:
        """Replace the element at *index*: `x[index] = value`.

        Raises IndexError if there is none.
        O(1) at the ends, else O(n); 1 round trip; atomic.
        """
        return self._store(self._place(index), value)

    @operation
    def delete(self, index: int, /) -> Steps[None]:
        """Remove the element at *index*: `del x[index]`.

        Raises IndexError if there is none.
        O(1) at the ends, else O(n); 1 round trip; atomic.
        """
        return self._delete(self._place(index))

    @operation
    def repeat(self, times: int, /) -> Plan[None]:
        """Repeat the elements *times* times in place: `x *= times`.

        O(n times); 1 round trip; atomic.
        """
        return self._repeat(_times(times))

    def __aiter__(self) -> AsyncIterator[T]:
        """Yield the elements.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._walk(self._items, 0)

    def reversed(self) -> AsyncIterator[T]:
        """Yield the elements from the last to the first: `reversed(x)`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._walk(self._items_backwards, 0)


def ssize(number: Any) -> int:
    """Return *number* as an integer; OverflowError if no list of Python could be that long."""
    return max(exact_ssize(number), -LAST)  # Redis itself cannot handle the lowest


def exact_ssize(number: Any) -> int:
    integer = int(as_index(number))  # True becomes 1
    if not -LAST - 1 <= integer <= LAST:
        raise OverflowError("Python int too large to convert to C ssize_t")
    return integer


def _clamped(number: Any) -> int:
    if not hasattr(number, "__index__"):
        raise TypeError("slice indices must be integers or have an __index__ method")
    return max(-LAST, min(int(as_index(number)), LAST))


def _times(times: Any) -> int:
    kind = type(times).__name__
    try:
        return ssize(times)
    except TypeError:
        raise TypeError(f"can't multiply sequence by non-int of type '{kind}'") from None
    except OverflowError:
        raise OverflowError(f"cannot fit '{kind}' into an index-sized integer") from None
