"""RedisDeque and AIORedisDeque: `collections.deque` in Redis."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from pottery._front import operation
from pottery._json import encode, encode_many
from pottery._plan import Done, Op, nothing
from pottery._script import Script
from pottery._sequence import AIOSequence, RedisSequence, SequencePlans, exact_ssize, ssize
from pottery.base import legible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

    from pottery._plan import Plan, Steps
    from pottery.base import Elements

T = TypeVar("T")
U = TypeVar("U")

PUSH = Script("""
-- KEYS[1] list; ARGV[1] command, ARGV[2] and ARGV[3] which indices are kept, ARGV[4..] elements
spread(ARGV[1], KEYS[1], ARGV, 4)
redis.call('LTRIM', KEYS[1], ARGV[2], ARGV[3])
""")

ROTATE = Script("""
-- KEYS[1] list; ARGV[1] how many steps to the right, digit by digit, since Lua counts in doubles
local size = redis.call('LLEN', KEYS[1])
if size == 0 then return end
local steps = 0
for digit in ARGV[1]:gmatch('%d') do steps = (steps * 10 + tonumber(digit)) % size end
if ARGV[1]:sub(1, 1) == '-' then steps = -steps % size end
if steps * 2 <= size then
  local backwards, tail = {}, steps > 0 and redis.call('LRANGE', KEYS[1], -steps, -1) or {}
  for i = #tail, 1, -1 do backwards[#backwards + 1] = tail[i] end
  spread('LPUSH', KEYS[1], backwards)
  redis.call('LTRIM', KEYS[1], 0, size - 1)
else
  spread('RPUSH', KEYS[1], redis.call('LRANGE', KEYS[1], 0, size - steps - 1))
  redis.call('LTRIM', KEYS[1], size - steps, -1)
end
""")


class DequePlans(SequencePlans[T]):
    """What RedisDeque asks of Redis beyond what any sequence does."""

    _noun: ClassVar[str] = "deque"
    _builtin: ClassVar[type] = deque
    _wrong_index: ClassVar[str] = "sequence index must be integer, not '{}'"
    _nothing_to_pop: ClassVar[str] = "pop from an empty deque"
    _no_such_place: ClassVar[str] = "deque index out of range"

    @property
    def maxlen(self) -> int | None:
        """The maximum number of elements, None for no limit. It is not stored in Redis."""
        return self._maxlen

    def _like(self) -> Self:
        twin = super()._like()
        twin._maxlen = self._maxlen
        return twin

    def _fill(self, items: Elements[T]) -> Steps[None]:
        """Create the deque of the last *maxlen* items, if there are any; else check the size."""
        texts, most = encode_many((yield from self._taken(items))), self._maxlen
        if most is not None:
            texts = texts[-most:] if most else []
        if texts or most is None or self._is_temporary:
            yield from self._create("RPUSH", texts)
        elif (yield from self._size()) > most:
            raise IndexError(f"key {self.key!r} holds more than maxlen={most} elements")

    def _push(self, command: str, texts: Sequence[str]) -> Plan[None]:
        """Push at one end; what exceeds *maxlen* falls off the other."""
        if self.maxlen is None:
            return super()._push(command, texts)
        if not texts or not self.maxlen:
            return Done(None)
        most = self.maxlen
        kept = (f"-{most}", "-1") if command == "RPUSH" else ("0", str(most - 1))
        return PUSH((self.key,), (command, *kept, *texts[-self.maxlen :]), nothing)

    @operation
    def appendleft(self, item: T, /) -> Plan[None]:
        """Add *item* at the left end.

        O(1); 1 round trip; atomic.
        """
        return self._push("LPUSH", [encode(item)])

    @operation
    def extendleft(self, iterable: Elements[T], /) -> Steps[None]:
        """Add the items of *iterable* at the left end, one after the other, so in reverse order.

        O(k); 1 round trip; atomic.
        """
        yield from self._push("LPUSH", encode_many((yield from self._taken(iterable))))

    @operation
    def pop(self) -> Op[T]:
        """Remove and return the rightmost element.

        Raises IndexError if there is none.
        O(1); 1 round trip; atomic.
        """
        return self._pop("RPOP")

    @operation
    def popleft(self) -> Op[T]:
        """Remove and return the leftmost element.

        Raises IndexError if there is none.
        O(1); 1 round trip; atomic.
        """
        return self._pop("LPOP")

    @operation
    def rotate(self, n: int = 1, /) -> Plan[None]:
        """Rotate the elements *n* steps to the right, or to the left if *n* is negative.

        O(1) for one step, else O(n); 1 round trip; atomic.
        """
        steps = exact_ssize(n)
        if abs(steps) == 1:
            ends = ("RIGHT", "LEFT") if steps > 0 else ("LEFT", "RIGHT")
            return Op(("LMOVE", self.key, self.key, *ends), nothing)
        return ROTATE((self.key,), (str(steps),), nothing)


class RedisDeque(DequePlans[T], RedisSequence[T]):  # type: ignore[misc]
    """A `collections.deque` whose elements live in Redis.

    Stored as one Redis list at *key*; each element is its JSON text, the leftmost at the head.

    Differs from `deque`: elements must be JSON, so tuples become lists; an element that was read is
    a copy. *maxlen* is kept in this object, not in Redis: give it wherever you attach to the key.
    `x += d`, for a deque *x*, binds *x* to a new RedisDeque; `x.extend(d)` extends *x* itself.
    Changing the deque during iteration is not an error; iteration reads pages and may see or miss
    what others write meanwhile.
    """

    def __init__(
        self,
        iterable: Elements[T] = (),
        maxlen: int | None = None,
        *,
        redis: Any = None,
        key: str | bytes = "",
    ) -> None:
        """Attach to *key*; if *iterable* has items, create the deque of the last *maxlen* of them.

        Raises KeyExistsError if there are items and the key exists already; IndexError if there are
        none and the key holds more than *maxlen* elements, which the next append would delete.
        O(k); 1 round trip; atomic.
        """
        super().__init__(redis=redis, key=key)
        self._maxlen = _checked(maxlen)
        self._perform(self._fill(iterable))

    def _like_operand(self, left: Any) -> RedisDeque[T]:
        new = self._like()
        new._maxlen = left.maxlen
        return new

    def __getitem__(self, index: int) -> T:  # type: ignore[override]
        """Return the element at *index*.

        O(1) at the ends, else O(n); 1 round trip; atomic.
        """
        return self._perform(self._fetch(self._place(index)))

    def __setitem__(self, index: int, value: T) -> None:  # type: ignore[override]
        """Replace the element at *index*.

        O(1) at the ends, else O(n); 1 round trip; atomic.
        """
        self._perform(self._store(self._place(index), value))

    def __delitem__(self, index: int) -> None:  # type: ignore[override]
        """Remove the element at *index*.

        O(1) at the ends, else O(n); 1 round trip; atomic.
        """
        self._perform(self._delete(self._place(index)))

    @legible
    def __repr__(self) -> str:
        """Return `RedisDeque([...])` with all elements, and *maxlen* if there is one.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        bound = "" if self.maxlen is None else f", maxlen={self.maxlen}"
        return f"{type(self).__name__}({self._shown_elements()}{bound})"


class AIORedisDeque(DequePlans[T], AIOSequence[T]):
    """A `RedisDeque` for asyncio: the same methods, awaited, and verbs where `deque` has syntax.

    Stored as a RedisDeque is.

    Differs from `RedisDeque`: `await d.fetch(i)` is `d[i]`, `await d.set(i, x)` is `d[i] = x`,
    `await d.delete(i)` is `del d[i]`, `await d.has(x)` is `x in d`, `await d.size()` is `len(d)`,
    `await d.equals(x)` is `d == x`, `await d.extend(x)` is `d += x`, and `await d.repeat(n)` is
    `d *= n`; `async for x in d` iterates. For a new deque in Redis, `copy` first.
    """

    def __init__(
        self, *, maxlen: int | None = None, redis: Any = None, key: str | bytes = ""
    ) -> None:
        """Attach to *key*; only `create` checks that it holds at most *maxlen* elements.

        O(1); 0 round trips; atomic.
        """
        super().__init__(redis=redis, key=key)
        self._maxlen = _checked(maxlen)

    @classmethod
    async def create(
        cls,
        iterable: Elements[U] = (),
        maxlen: int | None = None,
        *,
        redis: Any = None,
        key: str | bytes = "",
    ) -> AIORedisDeque[U]:
        """Return a deque at *key* with the last *maxlen* items of *iterable*.

        Raises KeyExistsError if there are items and the key exists already; IndexError if there are
        none and the key holds more than *maxlen* elements, which the next append would delete.
        O(k); 1 round trip; atomic.
        """
        new = cast("AIORedisDeque[U]", cls(maxlen=maxlen, redis=redis, key=key))
        await new._perform(new._fill(iterable))
        return new


def _checked(maxlen: Any) -> int | None:
    if maxlen is None:
        return None
    if not isinstance(maxlen, int):
        raise TypeError("an integer is required")
    most = ssize(maxlen)
    if most < 0:
        raise ValueError("maxlen must be non-negative")
    return most
