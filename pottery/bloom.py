"""BloomFilter and AIOBloomFilter: which elements were seen, in a few bits each."""

from __future__ import annotations

from functools import reduce
from itertools import repeat
from math import ceil, floor, log, log1p
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

import mmh3

from pottery._clients import same_server
from pottery._front import operation
from pottery._json import encode_element, encode_elements, find_key, find_keys
from pottery._plan import Done, Op, nothing, same
from pottery._script import Script
from pottery.base import MOST_ARGUMENTS, AIOContainer, Base, Container
from pottery.exceptions import KeyExistsError
from pottery.set import Overlap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from typing_extensions import Self, TypeIs

    from pottery._plan import Plan, Steps
    from pottery.base import Elements

T = TypeVar("T")
U = TypeVar("U")

# A string in Redis is at most 512 MB long.
MOST_BITS = 2**32
# Naming a bit in a command takes as long as reading, or merging, this many bytes of a bitmap. From
# small filters to large ones, 1700 to 230 bytes for reading and 250 to 170 for merging were
# measured on one machine, and 200 for both over a gigabit network. The bits of a FEW elements are
# always named, since users who may not run scripts are allowed to do that.
READING, MERGING = 512, 200
FEW = 8

_COMBINE = """
-- KEYS[1] result, KEYS[2] scratch, KEYS[3..] bitmaps; ARGV[1] how, ARGV[2] one bitmap more, if any
local operands = {}
for i = 3, #KEYS do
  redis.call('STRLEN', KEYS[i])
  operands[i - 2] = KEYS[i]
end
if ARGV[2] then
  redis.call('SET', KEYS[2], ARGV[2])
  table.insert(operands, 1, KEYS[2])
end
local function combine(result)
  local part = {}
  for i, key in ipairs(operands) do
    part[#part + 1] = key
    if #part == 5000 or i == #operands then
      redis.call('BITOP', ARGV[1], result, unpack(part))
      part = {result}
    end
  end
end
if redis.call('PTTL', KEYS[1]) < 0 then
  combine(KEYS[1])
else  -- BITOP would take away the expiry
  combine(KEYS[2])
  redis.call('SET', KEYS[1], redis.call('GET', KEYS[2]) or '', 'KEEPTTL')
end
redis.call('DEL', KEYS[2])
if ARGV[1] == 'AND' and redis.call('BITCOUNT', KEYS[1]) == 0 then redis.call('DEL', KEYS[1]) end
"""
COMBINE = Script(_COMBINE, repeatable=True, writes=True)
# If run twice, it would remove what was added in between.
NARROW = Script(_COMBINE)

# What it writes is deleted at the end, so it need not reach replicas and the disk.
MEASURE = Script(
    """
-- KEYS[1] bitmap, KEYS[2] another, KEYS[3] scratch; returns how many bits are set in each and both
if redis.replicate_commands then redis.replicate_commands() end
redis.set_repl(redis.REPL_NONE)
local mine, theirs = redis.call('BITCOUNT', KEYS[1]), redis.call('BITCOUNT', KEYS[2])
redis.call('BITOP', 'AND', KEYS[3], KEYS[1], KEYS[2])
local common = redis.call('BITCOUNT', KEYS[3])
redis.call('DEL', KEYS[3])
return {mine, theirs, common}
""",
    repeatable=True,
)


class Shape(NamedTuple):
    """The bits of a filter, and how many of them each element sets."""

    size: int
    num_hashes: int


class BloomPlans(Base, Generic[T]):
    """What BloomFilter and AIOBloomFilter ask of Redis."""

    def __init__(
        self,
        *,
        num_elements: int,
        false_positives: float,
        redis: Any = None,
        key: str | bytes = "",
    ) -> None:
        """Attach to *key*, as a filter for *num_elements* with a rate of *false_positives*.

        Raises ValueError if *num_elements* is less than 1, *false_positives* is not between 0 and
        1, or the filter would have more than 2**32 bits.
        O(1); 0 round trips; atomic.
        """
        self._shape = _shape(num_elements, false_positives)
        self.num_elements = num_elements
        self.false_positives = false_positives
        super().__init__(redis=redis, key=key)

    def __repr__(self) -> str:
        """Return the key and the parameters, nothing that would have to be read from Redis.

        O(1); 0 round trips; atomic.
        """
        promise = f"num_elements={self.num_elements} false_positives={self.false_positives}"
        return f"<{type(self).__name__} key={self.key!r} {promise}>"

    def size(self) -> int:
        """Return how many bits the filter has.

        O(1); 0 round trips; atomic.
        """
        return self._shape.size

    def num_hashes(self) -> int:
        """Return how many bits each element sets.

        O(1); 0 round trips; atomic.
        """
        return self._shape.num_hashes

    def _like(self) -> Self:
        twin = super()._like()
        twin._shape = self._shape
        twin.num_elements = self.num_elements
        twin.false_positives = self.false_positives
        return twin

    # --- elements and their bits

    def _bits(self, texts: Iterable[str]) -> list[int]:
        """Return the bits of *texts*, one text after the other."""
        size, num_hashes = self._shape
        # A hash is signed, and this modulo is Python's, not that of C.
        return [mmh3.hash(text, seed) % size for text in texts for seed in range(num_hashes)]

    def _bitmap(self, texts: Sequence[str]) -> bytes:
        """Return the bitmap of a filter that holds just *texts*, as short as SETBIT makes it."""
        size, num_hashes = self._shape
        bitmap = bytearray((size + 7) // 8)
        for seed in range(num_hashes):
            for value in map(mmh3.hash, texts, repeat(seed)):
                bit = value % size
                bitmap[bit >> 3] |= 128 >> (bit & 7)
        return bytes(bitmap.rstrip(b"\0"))

    def _members(self, texts: Iterable[str], bitmap: bytes) -> set[str]:
        """Return those of *texts* all of whose bits are set in *bitmap*."""
        size, num_hashes = self._shape
        bitmap = bitmap.ljust((size + 7) // 8, b"\0")
        for seed in range(num_hashes):
            # Only texts that pass are hashed again: of those not added, half fail each time.
            texts = [
                text
                for text in texts
                if bitmap[(bit := mmh3.hash(text, seed) % size) >> 3] << (bit & 7) & 128
            ]
        return set(texts)

    def _are_few(self, texts: Sequence[str], worth: int) -> bool:
        """Return whether naming the bits of *texts* is better than moving a bitmap."""
        size, num_hashes = self._shape
        return len(texts) <= max(FEW, size // (8 * worth * num_hashes))

    def _setting(self, texts: Iterable[str]) -> list[str]:
        """Return the arguments of the BITFIELD that adds *texts*."""
        return [word for bit in self._bits(texts) for word in ("SET", "u1", str(bit), "1")]

    def _getting(self, texts: Iterable[str]) -> list[str]:
        """Return the arguments of the BITFIELD_RO that looks *texts* up."""
        return [word for bit in self._bits(texts) for word in ("GET", "u1", str(bit))]

    # --- elements

    def _created(self, iterable: Elements[T]) -> Steps[None]:
        texts = encode_elements((yield from self._taken(iterable)))
        if self._are_few(texts, MERGING):
            yield from self._create("BITFIELD", self._setting(texts))
        elif self._is_temporary:
            yield from Op(("SET", self.key, self._bitmap(texts)), nothing, repeatable=True)
        elif not (yield from Op(("SET", self.key, self._bitmap(texts), "NX"), same)):
            raise KeyExistsError(self.redis, self.key)

    @operation
    def add(self, item: T, /) -> Op[None]:
        """Add *item*.

        Raises TypeError if it is not hashable or not JSON serializable.
        O(1); 1 round trip; atomic.
        """
        setting = self._setting((encode_element(item),))
        return Op(("BITFIELD", self.key, *setting), nothing, repeatable=True, writes=True)

    @operation
    def update(self, *others: Elements[T] | BloomPlans[T]) -> Steps[None]:
        """Add the elements of all *others*, iterables or filters with the same parameters.

        Raises ValueError if the parameters of a filter differ.
        O(k); 1 round trip; atomic.
        """
        filters = [self._alike(other) for other in others if _is_filter(other)]
        elements = yield from self._all_taken(other for other in others if not _is_filter(other))
        texts = encode_elements(elements)
        if not filters and self._are_few(texts, MERGING):
            yield from self._write("BITFIELD", self._setting(texts), repeatable=True)
        else:
            more = [self._bitmap(texts)] if texts else []
            yield from self._combine(COMBINE, "OR", self.key, (self, *filters), more)

    @operation
    def contains_many(self, *items: object) -> Steps[list[bool]]:
        """Return for each of *items* whether it was probably added.

        >>> seen = BloomFilter({'tom'}, num_elements=100, false_positives=.01, redis=redis)
        >>> seen.contains_many('tom', 'jerry')
        [True, False]

        O(k); 1 round trip; atomic.
        """
        texts = find_keys(items)
        found = yield from self._found([text for text in texts if text is not None])
        return [text in found for text in texts]

    def _has(self, item: object) -> Plan[bool]:
        text = find_key(item)
        if text is None:
            return Done(value=False)
        return Op(("BITFIELD_RO", self.key, *self._getting((text,))), all, repeatable=True)

    def _found(self, texts: Sequence[str]) -> Steps[set[str]]:
        if not texts:
            return set()
        if self._are_few(texts, READING):
            return (yield from self._asked(texts))
        return self._members(texts, (yield from self._read()))

    def _asked(self, texts: Sequence[str]) -> Steps[set[str]]:
        """Return those of *texts* all of whose bits the server says are set."""
        found: set[str] = set()
        num_hashes = self._shape.num_hashes
        most = MOST_ARGUMENTS // (3 * num_hashes)
        for start in range(0, len(texts), most):
            part = texts[start : start + most]
            command = ("BITFIELD_RO", self.key, *self._getting(part))
            flags = iter((yield from Op(command, same, repeatable=True)))
            # The same iterator k times, so that zip takes the k flags of each text from it.
            groups = zip(*repeat(flags, num_hashes), strict=True)
            found.update(text for text, bits in zip(part, groups, strict=True) if all(bits))
        return found

    def _read(self) -> Op[bytes]:
        return Op(("GET", self.key), lambda reply: reply or b"", repeatable=True)

    def _length(self) -> Op[int]:
        return Op(("BITCOUNT", self.key), self._estimate, repeatable=True)

    def _estimate(self, ones: int) -> int:
        """Return how many elements set this many bits, on average."""
        size, num_hashes = self._shape
        if ones >= size:  # any number above all other estimates
            return self._estimate(size - 1) + 1
        return floor(-size / num_hashes * log1p(-ones / size))

    # --- algebra

    @operation
    def intersection_update(self, *others: BloomPlans[Any]) -> Steps[None]:
        """Keep only the bits that are set in all *others*, filters with the same parameters.

        Raises ValueError if the parameters of one differ.
        O(n); 1 round trip; atomic.
        """
        yield from self._combine(NARROW, "AND", self.key, (self, *map(self._alike, others)))

    def _combined(self, how: str, others: Iterable[object]) -> Steps[Self]:
        """Return a new filter, the result of this one and *others*."""
        result = self._like()
        yield from self._combine(COMBINE, how, result.key, (self, *map(self._alike, others)))
        return result

    def _combine(
        self,
        script: Script,
        how: str,
        target: str | bytes,
        filters: Iterable[BloomPlans[Any]],
        bitmaps: Iterable[bytes] = (),
    ) -> Steps[None]:
        """Store in *target* the result of combining *filters* and *bitmaps* by *how*."""
        bitmaps = list(bitmaps)
        keys: list[str | bytes] = []
        for one in filters:
            if self._is_beside(one):
                keys.append(one.key)
            else:
                bitmaps.append((yield from self._through(one, one._read())))
        more = (_merged(how, bitmaps),) if bitmaps else ()
        scratch = self._companion("scratch")
        yield from script((target, scratch, *keys), (how, *more), nothing)

    @operation
    def issubset(self, other: BloomPlans[Any], /) -> Steps[bool]:
        """Return whether every bit of this filter is set in *other*.

        If so, everything in this filter is also in *other*. This is always the case if all that was
        added to this filter was also added to *other*, and it may be the case by chance.

        Raises ValueError if the parameters of *other* differ.
        O(n); 1 round trip; atomic.
        """
        overlap = yield from self._overlap(self._alike(other))
        return overlap.common == overlap.mine

    @operation
    def issuperset(self, other: BloomPlans[Any], /) -> Steps[bool]:
        """Return whether every bit of *other* is set in this filter: see `issubset`.

        Raises ValueError if the parameters of *other* differ.
        O(n); 1 round trip; atomic.
        """
        overlap = yield from self._overlap(self._alike(other))
        return overlap.common == overlap.theirs

    def _overlap(self, other: BloomPlans[Any]) -> Steps[Overlap]:
        if self._is_beside(other):
            keys = (self.key, other.key, self._companion("scratch"))
            return Overlap(*(yield from MEASURE(keys)))
        mine = _number((yield from self._read()))
        theirs = _number((yield from self._through(other, other._read())))
        return Overlap(mine.bit_count(), theirs.bit_count(), (mine & theirs).bit_count())

    def _equals(self, other: BloomPlans[Any]) -> Steps[bool]:
        if other._shape != self._shape:
            return False
        overlap = yield from self._overlap(other)
        return overlap.mine == overlap.theirs == overlap.common

    def _is_kin(self, other: object) -> TypeIs[BloomPlans[Any]]:
        """Return whether *other* is a filter that can be reached from here, whatever its size."""
        if not _is_filter(other):
            return False
        return other._client_type is self._client_type or same_server(self.redis, other.redis)

    def _alike(self, other: object) -> BloomPlans[Any]:
        """Return *other* if it is a filter with which this one can be combined."""
        if not self._is_kin(other):
            kind = type(self).__name__
            raise TypeError(f"{kind} goes together with {kind}, not {type(other).__name__}")
        if other._shape != self._shape:
            raise ValueError(f"{other!r} has other parameters than {self!r}")
        return other


def _shape(num_elements: object, false_positives: object) -> Shape:
    """Return the shape that keeps to *false_positives*, after Bloom (1970)."""
    if not isinstance(num_elements, int):
        raise TypeError(f"num_elements must be int, not {type(num_elements).__name__}")
    if not isinstance(false_positives, (int, float)):
        raise TypeError(f"false_positives must be float, not {type(false_positives).__name__}")
    if num_elements < 1:
        raise ValueError("num_elements must be at least 1")
    if not 0 < false_positives < 1:
        raise ValueError("false_positives must be between 0 and 1")
    if num_elements > MOST_BITS * log(2) ** 2 / -log(false_positives):
        raise ValueError("a filter for so many elements and so few false positives exceeds 512 MB")
    size = ceil(-num_elements * log(false_positives) / log(2) ** 2)
    return Shape(size, ceil(size / num_elements * log(2)))


def _is_filter(operand: object) -> TypeIs[BloomPlans[Any]]:
    return isinstance(operand, BloomPlans)


def _number(bitmap: bytes) -> int:
    return int.from_bytes(bitmap, "little")


def _merged(how: str, bitmaps: Sequence[bytes]) -> bytes:
    if len(bitmaps) == 1:
        return bitmaps[0]
    merged = reduce(int.__or__ if how == "OR" else int.__and__, map(_number, bitmaps))
    return merged.to_bytes(max(map(len, bitmaps)), "little")


class BloomFilter(BloomPlans[T], Container):  # noqa: PLW1641 - no hash, as set
    """A set that knows, with high probability, what was added to it, in a few bits per element.

    An element that was added is always found in it. One that was not is found with a probability of
    *false_positives* once *num_elements* elements were added, and a higher one beyond that. A
    filter for a million elements at 1 % takes 1.2 MB.

    Stored as one Redis string at *key*, a bitmap of m = ⌈-n·ln p / ln²2⌉ bits for n elements at a
    rate of p. An element sets k = ⌈m/n · ln 2⌉ of them: the 32-bit MurmurHash3 of its JSON text,
    with seeds from 0 to k-1, modulo m. Neither n nor p is stored, so give the same ones everywhere:
    with other values, the filter seems to hold other elements.

    Differs from `set`: elements must be JSON, and their text is their identity, so 1, 1.0 and True
    are three elements. They cannot be iterated or removed one by one; `len(f)` is an estimate,
    ⌊-m/k · ln(1 - x/m)⌋ for x bits that are set, and an arbitrary larger number when all are set.
    Common bits do not mean common elements, so there is no `isdisjoint`, and an intersection may
    have more false positives than either operand, as may a union. Methods and operators take
    filters with the same n and p, and return a BloomFilter with a temporary key on the same client.

    Anybody can compute which bits an element sets, so an adversary who chooses the elements can
    fill the filter faster than chance would, or find some that seem to be in it: do not let it
    guard anything. Above 2**30 bits (112 million elements at 1 %) a hash of 32 bits does not spread
    quite evenly, and false positives are up to 1.4 times as frequent as promised.

    Sources: Bloom, Space/time trade-offs in hash coding with allowable errors, CACM 13(7), 1970;
    for m, k and the estimate, Broder and Mitzenmacher, Network applications of Bloom filters:
    a survey, Internet Mathematics 1(4), 2004, and Swamidass and Baldi, J. Chem. Inf. Model. 47,
    2007.
    """

    def __init__(
        self,
        iterable: Elements[T] = (),
        *,
        num_elements: int,
        false_positives: float,
        redis: Any = None,
        key: str | bytes = "",
    ) -> None:
        """Attach to *key*; if *iterable* has items, create the filter.

        Raises KeyExistsError if there are items and the key exists already, ValueError if
        *num_elements* is less than 1, *false_positives* is not between 0 and 1, or the filter would
        have more than 2**32 bits.
        O(k); 1 round trip; atomic.
        """
        super().__init__(
            num_elements=num_elements, false_positives=false_positives, redis=redis, key=key
        )
        self._perform(self._created(iterable))

    def __contains__(self, item: object) -> bool:
        """Return whether *item* was probably added; False is certain.

        O(1); 1 round trip; atomic.
        """
        return self._perform(self._has(item))

    def __len__(self) -> int:
        """Return about how many elements were added.

        O(n); 1 round trip; atomic.
        """
        return self._perform(self._length())

    def union(self, *others: BloomPlans[Any]) -> BloomFilter[Any]:
        """Return a new filter of all that was added to this one or to any of *others*.

        It equals a filter to which all of it was added directly.

        Raises ValueError if the parameters of one differ.
        O(n); 1 round trip; atomic.
        """
        return self._perform(self._combined("OR", others))

    def intersection(self, *others: BloomPlans[Any]) -> BloomFilter[T]:
        """Return a new filter with the bits that this one and all *others* share.

        Raises ValueError if the parameters of one differ.
        O(n); 1 round trip; atomic.
        """
        return self._perform(self._combined("AND", others))

    # Like those of `set`, comparisons and operators take only their own kind.

    def __or__(self, other: BloomPlans[U]) -> BloomFilter[T | U]:
        """Return the union: a BloomFilter with a temporary key.

        Raises ValueError if the parameters of *other* differ.
        O(n); 1 round trip; atomic.
        """
        return self.union(other) if self._is_kin(other) else cast("Any", NotImplemented)

    def __and__(self, other: BloomPlans[Any]) -> BloomFilter[T]:
        """Return the intersection: a BloomFilter with a temporary key.

        Raises ValueError if the parameters of *other* differ.
        O(n); 1 round trip; atomic.
        """
        return self.intersection(other) if self._is_kin(other) else cast("Any", NotImplemented)

    def __ior__(self, other: BloomPlans[T]) -> Self:  # type: ignore[misc]
        """Add everything that was added to *other*.

        Raises ValueError if the parameters of *other* differ.
        O(n); 1 round trip; atomic.
        """
        return self._in_place(self.update, other)

    def __iand__(self, other: BloomPlans[Any]) -> Self:
        """Keep only the bits that are also set in *other*.

        Raises ValueError if the parameters of *other* differ.
        O(n); 1 round trip; atomic.
        """
        return self._in_place(self.intersection_update, other)

    def _in_place(self, change: Callable[[BloomPlans[Any]], None], other: object) -> Self:
        if not self._is_kin(other):
            return cast("Self", NotImplemented)
        change(other)
        return self

    def __eq__(self, other: object) -> bool:
        """Return whether *other* is a filter with the same parameters and the same bits.

        O(n); 1 round trip; atomic.
        """
        return self._perform(self._equals(other)) if self._is_kin(other) else NotImplemented

    def __le__(self, other: BloomPlans[Any]) -> bool:
        """Return whether every bit is set in *other*: see `issubset`.

        Raises ValueError if the parameters of *other* differ.
        O(n); 1 round trip; atomic.
        """
        return self._compare(other, lambda it: it.mine == it.common)

    def __lt__(self, other: BloomPlans[Any]) -> bool:
        """Return whether every bit is set in *other*, which has more.

        Raises ValueError if the parameters of *other* differ.
        O(n); 1 round trip; atomic.
        """
        return self._compare(other, lambda it: it.mine == it.common < it.theirs)

    def __ge__(self, other: BloomPlans[Any]) -> bool:
        """Return whether every bit of *other* is set here: see `issuperset`.

        Raises ValueError if the parameters of *other* differ.
        O(n); 1 round trip; atomic.
        """
        return self._compare(other, lambda it: it.theirs == it.common)

    def __gt__(self, other: BloomPlans[Any]) -> bool:
        """Return whether every bit of *other* is set here, and more are.

        Raises ValueError if the parameters of *other* differ.
        O(n); 1 round trip; atomic.
        """
        return self._compare(other, lambda it: it.theirs == it.common < it.mine)

    def _compare(self, other: object, holds: Callable[[Overlap], bool]) -> bool:
        if not self._is_kin(other):
            return cast("bool", NotImplemented)
        return holds(self._perform(self._overlap(self._alike(other))))


class AIOBloomFilter(BloomPlans[T], AIOContainer):
    """A `BloomFilter` for asyncio: the same methods, awaited, and verbs where it has syntax.

    `await f.has(x)` is `x in f`. `f.size()` is the number of bits, as there, so the number of
    elements, `len(f)`, is `await f.length()`. `await f.update(g)` is `f |= g`, and `await
    f.equals(g)` is `f == g`.

    Hashing blocks the event loop: no other task runs for one to two milliseconds for each thousand
    elements of a call. Pass hundreds of thousands in several calls.
    """

    @classmethod
    async def create(
        cls,
        iterable: Elements[U] = (),
        /,
        *,
        num_elements: int,
        false_positives: float,
        redis: Any = None,
        key: str | bytes = "",
    ) -> AIOBloomFilter[U]:
        """Return a filter at *key* with the items of *iterable*.

        Raises what `BloomFilter` raises.
        O(k); 1 round trip; atomic.
        """
        new = cast(
            "AIOBloomFilter[U]",
            cls(num_elements=num_elements, false_positives=false_positives, redis=redis, key=key),
        )
        await new._perform(new._created(iterable))
        return new

    @operation
    def has(self, item: object, /) -> Plan[bool]:
        """Return whether *item* was probably added; False is certain.

        O(1); 1 round trip; atomic.
        """
        return self._has(item)

    async def equals(self, other: object, /) -> bool:
        """Return whether *other* is a filter with the same parameters and the same bits.

        O(n); 1 round trip; atomic.
        """
        return self._is_kin(other) and await self._perform(self._equals(other))

    @operation
    def length(self) -> Op[int]:
        """Return about how many elements were added.

        O(n); 1 round trip; atomic.
        """
        return self._length()

    @operation
    def union(self, *others: BloomPlans[Any]) -> Steps[AIOBloomFilter[Any]]:
        """Return a new filter of all that was added to this one or to any of *others*.

        Raises ValueError if the parameters of one differ.
        O(n); 1 round trip; atomic.
        """
        return (yield from self._combined("OR", others))

    @operation
    def intersection(self, *others: BloomPlans[Any]) -> Steps[AIOBloomFilter[T]]:
        """Return a new filter with the bits that this one and all *others* share.

        Raises ValueError if the parameters of one differ.
        O(n); 1 round trip; atomic.
        """
        return (yield from self._combined("AND", others))
