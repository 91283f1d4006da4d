"""RedisList and AIORedisList: `list` in Redis."""

from __future__ import annotations

from hashlib import sha1
from operator import index as as_index
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast, overload

from pottery._front import operation
from pottery._json import encode_many
from pottery._plan import Op, nothing, whole
from pottery._script import IS_SHORT, Script
from pottery._sequence import (
    BOUNDS,
    MARK,
    REPLACE,
    TAKE,
    AIOSequence,
    RedisSequence,
    SequencePlans,
    ssize,
    text_of_bound,
)
from pottery.base import PAGE, WHOLE, is_stored, legible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pottery._plan import Plan, Steps
    from pottery.base import Elements

T = TypeVar("T")
U = TypeVar("U")

SPLICE = Script(
    BOUNDS
    + REPLACE
    + """
-- KEYS[1] list; ARGV[1] and ARGV[2] bounds of a slice, ARGV[3..] what is put in its place
local size = redis.call('LLEN', KEYS[1])
local low = bound(ARGV[1], size, 0, 0, size)
local high = bound(ARGV[2], size, size, 0, size)
replace(KEYS[1], size, low, math.max(low, high), ARGV, 3)
"""
)

# An extended slice, `l[a:b:step]`: the list is rewritten, since each LSET would walk half of it.
PICK = """
-- KEYS[1] list; ARGV[1..3] bounds and step of a slice; its indices are `picked`, of all `elements`
local elements = redis.call('LRANGE', KEYS[1], 0, -1)
local size, step, low, high = #elements, tonumber(ARGV[3])
if step > 0 then
  low, high = bound(ARGV[1], size, 0, 0, size), bound(ARGV[2], size, size, 0, size) - 1
else
  low, high = bound(ARGV[1], size, size - 1, -1, size - 1), bound(ARGV[2], size, -1, -1, size) + 1
end
local picked = {}
for at = low, high, step do picked[#picked + 1] = at + 1 end
"""
ASSIGN = Script(
    BOUNDS
    + PICK
    + """
-- ARGV[4..] as many new elements; returns how many there have to be
if #picked ~= #ARGV - 3 then return #picked end
for i, at in ipairs(picked) do elements[at] = ARGV[i + 3] end
spread('RPUSH', KEYS[1], elements)
redis.call('LTRIM', KEYS[1], size, -1)
return #picked
"""
)
DELETE = Script(
    BOUNDS
    + PICK
    + """
local kept = {}
for _, at in ipairs(picked) do elements[at] = false end
for _, element in ipairs(elements) do if element then kept[#kept + 1] = element end end
spread('RPUSH', KEYS[1], kept)
redis.call('LTRIM', KEYS[1], size, -1)
"""
)

# The server compares doubles, which hold short integers exactly. Equal integers have equal texts,
# so it does not matter whether the sort is stable.
SORT_INTEGERS = Script(
    IS_SHORT
    + """
-- KEYS[1] list; ARGV[1] ASC or DESC, ARGV[2] most elements to sort, ARGV[3] most to read; returns 1
-- if it has sorted; false if there are too many to read; else the elements, unsorted, as there are
-- too many to sort, not all are short integers, or the user may not use SORT
local size = redis.call('LLEN', KEYS[1])
if size > tonumber(ARGV[3]) then return false end
local elements = redis.call('LRANGE', KEYS[1], 0, -1)
if size > tonumber(ARGV[2]) then return elements end
for _, text in ipairs(elements) do
  if not is_short(text) then return elements end
end
local left = redis.call('PTTL', KEYS[1])
if type(redis.pcall('SORT', KEYS[1], ARGV[1], 'STORE', KEYS[1])) == 'table' then return elements end
if left > 0 then redis.call('PEXPIRE', KEYS[1], left) end
return 1
""",
    repeatable=True,
    writes=True,
)

EXCHANGE = Script(
    """
-- KEYS[1] list; ARGV[1] digest of its elements, ARGV[2..] new ones; returns whether it matched
local elements = redis.call('LRANGE', KEYS[1], 0, -1)
local measured = {}
for i, element in ipairs(elements) do measured[i] = #element .. ':' .. element end
if redis.sha1hex(table.concat(measured)) ~= ARGV[1] then return 0 end
spread('RPUSH', KEYS[1], ARGV, 2)
redis.call('LTRIM', KEYS[1], #elements, -1)
return 1
""",
    # A second run finds elements that do not match the digest, and the sort reads them again.
    repeatable=True,
    writes=True,
)
# Stands for any bound of a slice beyond every list; small enough for Redis and for Lua.
BEYOND = 2**52
# If an attempt to sort fails, somebody else wrote. After this many attempts, or when the list has
# grown to more than a hundred times its length plus GROWTH (most likely by the sort's own *key*),
# the sort gives up, with the error of list.
ATTEMPTS = 1000
GROWTH = 10_000


class ListPlans(SequencePlans[T]):
    """What RedisList asks of Redis beyond what any sequence does."""

    _noun: ClassVar[str] = "list"
    _builtin: ClassVar[type] = list
    _wrong_index: ClassVar[str] = "list indices must be integers or slices, not {}"
    _nothing_to_pop: ClassVar[str] = "pop from empty list"
    _no_such_place: ClassVar[str] = "list assignment index out of range"

    def _fill(self, items: Elements[T]) -> Steps[None]:
        """Create the list of *items*, if there are any."""
        yield from self._create("RPUSH", encode_many((yield from self._taken(items))))

    @operation
    def pop(self, index: int = -1, /) -> Plan[T]:
        """Remove and return the element at *index*.

        Raises IndexError if there is none.
        O(1) at the ends, else O(n); 1 round trip; atomic.
        """
        at = ssize(index)
        if at in (-1, 0):
            return self._pop("RPOP" if at else "LPOP")
        return self._take(at)

    def _take(self, index: int) -> Steps[T]:
        taken = yield from TAKE((self.key,), (str(index), MARK))
        if isinstance(taken, int):
            raise IndexError("pop index out of range" if taken else self._nothing_to_pop)
        item: T = self._decode(taken)
        return item

    def _not_removed(self, _item: object, /) -> str:
        return "list.remove(x): x not in list"

    @operation
    def sort(self, *, key: Callable[[T], Any] | None = None, reverse: bool = False) -> Steps[None]:
        """Sort the elements in place, as `list.sort` does: stably, by `<`, using *key* if given.

        Python sorts them, and writes them back if nobody else wrote meanwhile, or else tries again.
        The server itself sorts up to 1000 integers of up to 14 digits, in 1 round trip, if the user
        may use SORT.
        Raises ValueError if others keep writing.
        O(n log n); 2 round trips; atomic.
        """
        raws = yield from self._sort_integers(reverse) if key is None else whole(self._texts, 0)
        if raws is None:
            return
        most = GROWTH + 100 * len(raws)
        for _ in range(ATTEMPTS):
            values = self._decode_many(raws)
            keys = values if key is None else [key(value) for value in values]
            order = sorted(range(len(raws)), key=keys.__getitem__, reverse=reverse)
            new = [raws[at] for at in order]
            is_one_read = len(raws) <= WHOLE  # else its parts may be from different times
            if (is_one_read and new == raws) or (
                yield from EXCHANGE((self.key,), (_digest(raws), *new))
            ):
                return
            raws = yield from whole(self._texts, 0)
            if len(raws) > most:
                break
        raise ValueError("list modified during sort")

    def _sort_integers(self, reverse: bool) -> Steps[list[bytes] | None]:
        """Let the server sort, and return None; or return what Python has to sort."""
        list[int]().sort(reverse=reverse)  # for its errors
        order = "DESC" if reverse else "ASC"
        reply = yield from SORT_INTEGERS((self.key,), (order, str(PAGE), str(WHOLE)))
        if reply is None:
            return (yield from whole(self._texts, 0))
        return None if reply == 1 else reply

    # --- slices

    def _slice(self, wanted: slice[Any, Any, Any]) -> Steps[list[T]]:
        start, stop, step = _parts(wanted)
        if step < 0:  # the same elements, backwards
            if stop == -1:
                return []  # nothing is after the last
            start, stop = None if stop is None else stop + 1, _after(start)
        if stop == 0:
            return []
        bounds = str(start or 0), str(-1 if stop is None else stop - 1)
        raws = yield from Op(("LRANGE", self.key, *bounds), list, repeatable=True)
        return self._decode_many((raws if step > 0 else raws[::-1])[:: abs(step)])

    def _replace(self, where: slice[Any, Any, Any], items: Any) -> Steps[None]:
        start, stop, step = _parts(where)
        if not is_stored(items) and not _is_iterable(items):
            raise TypeError(
                "can only assign an iterable"
                if step == 1
                else "must assign iterable to extended slice"
            )
        texts = encode_many((yield from self._taken(cast("Elements[Any]", items))))
        if step == 1:
            bounds = text_of_bound(start), text_of_bound(stop)
            yield from SPLICE((self.key,), (*bounds, *texts), nothing)
            return
        fitting = yield from ASSIGN((self.key,), (*_texts_of(where), *texts), int)
        if fitting != len(texts):
            raise ValueError(
                f"attempt to assign sequence of size {len(texts)}"
                f" to extended slice of size {fitting}"
            )

    def _delete_slice(self, where: slice[Any, Any, Any]) -> Steps[None]:
        start, stop, step = _parts(where)
        if step == 1:
            yield from SPLICE((self.key,), (text_of_bound(start), text_of_bound(stop)), nothing)
        else:
            yield from DELETE((self.key,), _texts_of(where), nothing)


def _is_iterable(items: Any) -> bool:
    # Not isinstance: an object with only __getitem__ is iterable, too.
    try:
        iter(items)
    except TypeError:
        return False
    return True


def _parts(wanted: slice[Any, Any, Any]) -> tuple[int | None, int | None, int]:
    # slice.indices checks the types and refuses a step of zero, in the words of list.
    wanted.indices(0)
    start, stop, step = (
        None if part is None else max(-BEYOND, min(int(as_index(part)), BEYOND))
        for part in (wanted.start, wanted.stop, wanted.step)
    )
    return start, stop, 1 if step is None else step


def _texts_of(wanted: slice[Any, Any, Any]) -> tuple[str, str, str]:
    start, stop, step = _parts(wanted)
    return text_of_bound(start), text_of_bound(stop), str(step)


def _after(position: int | None) -> int | None:
    """Return the bound just after *position*: None, the end, if that is the last."""
    return None if position in (None, -1) else position + 1


def _digest(raws: Sequence[bytes]) -> str:
    measured = b"".join(b"%d:%b" % (len(raw), raw) for raw in raws)
    return sha1(measured, usedforsecurity=False).hexdigest()


class RedisList(ListPlans[T], RedisSequence[T]):
    """A `list` whose elements live in Redis.

    Stored as one Redis list at *key*; each element is its JSON text, index 0 at the head.

    Differs from `list`: elements must be JSON, so tuples become lists; an element that was read is
    a copy, and changing it changes nothing in Redis. A Redis list is a linked list: its ends are
    fast; an index takes longer, the further it is from the nearer end. `l + m` and `l * n` are
    RedisLists with a temporary key on the same client, slices are lists. `x += l`, for a list *x*,
    binds *x* to such a RedisList; `x.extend(l)` extends *x* itself. Iteration reads pages and may
    see or miss what others write meanwhile. A sort that fails leaves the list as it was.
    """

    def __init__(
        self, iterable: Elements[T] = (), /, *, redis: Any = None, key: str | bytes = ""
    ) -> None:
        """Attach to *key*; if *iterable* has items, create the list.

        Raises KeyExistsError if there are items and the key exists already.
        O(k); 1 round trip; atomic.
        """
        super().__init__(redis=redis, key=key)
        self._perform(self._fill(iterable))

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: Any) -> Any:
        """Return the element at an index, or those of a slice as a `list`.

        A slice is one command, however long; to read a long list in pages, iterate.

        O(1) at the ends, else O(n); 1 round trip; atomic.
        """
        if isinstance(index, slice):
            return self._perform(self._slice(cast("slice[Any, Any, Any]", index)))
        return self._perform(self._fetch(self._place(index)))

    @overload
    def __setitem__(self, index: int, value: T) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[T]) -> None: ...
    def __setitem__(self, index: Any, value: Any) -> None:
        """Replace the element at an index, or those of a slice.

        O(1) at the ends, else O(n); 1 round trip; atomic.
        """
        if isinstance(index, slice):
            self._perform(self._replace(cast("slice[Any, Any, Any]", index), value))
        else:
            self._perform(self._store(self._place(index), value))

    def __delitem__(self, index: int | slice) -> None:
        """Remove the element at an index, or those of a slice.

        O(1) at the ends, else O(n); 1 round trip; atomic.
        """
        if isinstance(index, slice):
            self._perform(self._delete_slice(index))
        else:
            self._perform(self._delete(self._place(index)))

    @legible
    def __repr__(self) -> str:
        """Return `RedisList[...]` with all elements.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return f"{type(self).__name__}{self._shown_elements()}"


class AIORedisList(ListPlans[T], AIOSequence[T]):
    """A `RedisList` for asyncio: the same methods, awaited, and verbs where `list` has syntax.

    Stored as a RedisList is.

    Differs from `RedisList`: `await l.fetch(i)` is `l[i]`, `await l.set(i, x)` is `l[i] = x`,
    `await l.delete(i)` is `del l[i]`, and `slice`, `set_slice` and `delete_slice` are the same for
    slices. `await l.has(x)` is `x in l`, `await l.size()` is `len(l)`, `await l.equals(x)` is
    `l == x`, `await l.extend(x)` is `l += x`, and `await l.repeat(n)` is `l *= n`; `async for x in
    l` iterates. For a new list in Redis, `copy` first.
    """

    @classmethod
    async def create(
        cls, iterable: Elements[U] = (), /, *, redis: Any = None, key: str | bytes = ""
    ) -> AIORedisList[U]:
        """Return a list at *key* with the items of *iterable*.

        Raises KeyExistsError if there are items and the key exists already.
        O(k); 1 round trip; atomic.
        """
        new = cast("AIORedisList[U]", cls(redis=redis, key=key))
        await new._perform(new._fill(iterable))
        return new

    @operation
    def slice(
        self, start: int | None, stop: int | None, step: int | None = None, /
    ) -> Steps[list[T]]:
        """Return the elements of a slice as a `list`: `l[start:stop:step]`.

        A slice is one command, however long; to read a long list in pages, iterate.

        O(1) at the ends, else O(n); 1 round trip; atomic.
        """
        return self._slice(slice(start, stop, step))

    @operation
    def set_slice(
        self,
        start: int | None,
        stop: int | None,
        items: Elements[T],
        /,
        *,
        step: int | None = None,
    ) -> Steps[None]:
        """Replace a slice by *items*: `l[start:stop:step] = items`.

        Raises ValueError if *step* is not 1 and there are more or fewer items than it takes.
        O(1) at the ends, else O(n); 1 round trip; atomic.
        """
        return self._replace(slice(start, stop, step), items)

    @operation
    def delete_slice(
        self, start: int | None, stop: int | None, step: int | None = None, /
    ) -> Steps[None]:
        """Remove the elements of a slice: `del l[start:stop:step]`.

        O(1) at the ends, else O(n); 1 round trip; atomic.
        """
        return self._delete_slice(slice(start, stop, step))
