"""CachedOrderedDict: an `OrderedDict` in memory, with a cache in Redis."""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast, overload

from pottery._front import Sync
from pottery._json import (
    alternate,
    decode,
    decode_many,
    encode,
    encode_key,
    encode_keys,
    encode_many,
)
from pottery._plan import Op, same
from pottery._results import milliseconds
from pottery._script import Script
from pottery.base import MISSING, MOST_ARGUMENTS, AIOBase, Base

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from _typeshed import SupportsKeysAndGetItem
    from typing_extensions import Self

    from pottery._plan import Plan, Steps
    from pottery._wire import Argument

K = TypeVar("K")
L = TypeVar("L")
T = TypeVar("T")
V = TypeVar("V")
W = TypeVar("W")

LOOK_UP = Script(
    """
-- KEYS[1] hash; ARGV[1] ms that it stays from now on, ARGV[2..] fields; returns their values
local found = {}
for i = 2, #ARGV, 5000 do
  local values = redis.call('HMGET', KEYS[1], unpack(ARGV, i, math.min(i + 4999, #ARGV)))
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  if #ARGV <= 5001 then return values end
  for _, value in ipairs(values) do found[#found + 1] = value end
end
return found
""",
    repeatable=True,
)
STORE = Script(
    """
-- KEYS[1] hash; ARGV[1] ms that it stays from now on, ARGV[2..] fields and values in turn
spread('HSET', KEYS[1], ARGV, 2)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
""",
    repeatable=True,
    writes=True,
)
# A second run returns what the first one set, or what others have set since.
SET_DEFAULT = Script(
    """
-- KEYS[1] hash; ARGV[1] ms that it stays from now on or '', ARGV[2] field, ARGV[3] its value if it
-- has none; returns the value that it has then
redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[3])
if ARGV[1] ~= '' then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return redis.call('HGET', KEYS[1], ARGV[2])
""",
    repeatable=True,
    writes=True,
)


class ItemPlans(Base):
    """The hash in which a CachedOrderedDict looks its keys up."""

    def __init__(self, *, redis: Any, key: str | bytes, timeout: float | None) -> None:
        """Attach to *key*."""
        super().__init__(redis=redis, key=key)
        self._stay = None if timeout is None else milliseconds(timeout, "timeout")

    def _look_up(self, texts: Sequence[str]) -> Steps[list[Any]]:
        """Return the value of each of *texts*, MISSING if there is none or it cannot be read."""
        values: list[Any] = []
        for start in range(0, len(texts), MOST_ARGUMENTS):
            raws = yield from self._found(texts[start : start + MOST_ARGUMENTS])
            values += _read(raws)
        return values

    def _found(self, texts: Sequence[str]) -> Plan[list[bytes | None]]:
        if self._stay is None:
            return Op(("HMGET", self.key, *texts), same, repeatable=True)
        return LOOK_UP((self.key,), (self._stay, *texts))

    def _store(self, texts: Sequence[Argument]) -> Steps[None]:
        """Set the fields and values that alternate in *texts*."""
        if self._stay is None:
            yield from self._write("HSET", texts, repeatable=True)
            return
        for start in range(0, len(texts), MOST_ARGUMENTS):
            yield from STORE((self.key,), (self._stay, *texts[start : start + MOST_ARGUMENTS]))

    def _set_default(self, field: str, text: str) -> Steps[Any]:
        """Set *field* to *text* unless it has a value; MISSING if that cannot be read."""
        raw = yield from SET_DEFAULT((self.key,), (self._stay or "", field, text))
        return _read([raw])[0]


class ItemCache(ItemPlans, Sync):
    """The cache of a CachedOrderedDict."""

    _known_as = "CachedOrderedDict"


class AIOItemCache(ItemPlans, AIOBase):
    """The cache of an AIOCachedOrderedDict."""

    _known_as = "AIOCachedOrderedDict"


def _read(raws: Sequence[bytes | None]) -> list[Any]:
    hits = [raw for raw in raws if raw is not None]
    try:
        found = decode_many(hits)
    except (ValueError, RecursionError):
        found = [_read_one(raw) for raw in hits]
    if len(found) == len(raws):
        return found
    values = iter(found)
    return [MISSING if raw is None else next(values) for raw in raws]


def _read_one(raw: bytes) -> Any:
    try:
        return decode(raw)
    except (ValueError, RecursionError):
        return MISSING


class _Cached(OrderedDict[K, V]):
    """What both colours share: the items in memory, and how they are looked up and written."""

    _kind: type[ItemPlans]

    def __init__(
        self,
        redis_client: Any,
        redis_key: str | bytes | None,
        num_tries: int,
        timeout: float | None,
    ) -> None:
        super().__init__()
        if num_tries < 1:
            raise ValueError(f"num_tries must be positive, not {num_tries!r}")
        key = "" if redis_key is None else redis_key
        self._cache: Any = self._kind(redis=redis_client, key=key, timeout=timeout)
        # All keys in order, including those of misses, and their texts in Redis.
        self._places: dict[K, str] = {}

    def _look_up(self, dict_keys: Iterable[K]) -> Steps[None]:
        keys = dict.fromkeys(dict_keys)
        self._places = dict(zip(keys, encode_keys(keys), strict=True))
        put = super().__setitem__
        cache: ItemPlans = self._cache
        values = yield from cache._look_up([*self._places.values()])
        for key, value in zip(self._places, values, strict=True):
            if value is not MISSING:
                put(key, value)

    def _set(self, items: Mapping[K, V]) -> Steps[None]:
        places = self._places
        # 1.0 is the key 1 if that is here, as in a dict.
        fields = [places.get(key) or encode_key(key) for key in items]
        yield from self._cache._store(alternate(fields, encode_many(items.values())))
        self._put(items, fields)

    def _set_default(self, key: K, default: Any) -> Steps[Any]:
        if key in self:
            return self[key]
        field, text = self._places.get(key) or encode_key(key), encode(default)
        cache: ItemPlans = self._cache
        value = yield from cache._set_default(field, text)
        if value is MISSING:  # nobody can read the value in Redis
            yield from cache._store((field, text))
        if value is MISSING or encode(value) == text:
            value = default
        self._put({key: value}, [field])
        return value

    def _put(self, items: Mapping[K, V], fields: Sequence[str]) -> None:
        """Set *items* in memory; former misses get their places in the order."""
        filled = {key for key in items if key in self._places and key not in self}
        put = super().__setitem__
        for key, value in items.items():
            put(key, value)
        self._places.update(zip(items, fields, strict=True))
        tail: list[K] = []
        places = reversed(self._places)
        while filled:
            key = next(places)
            filled.discard(key)
            if key in self:
                tail.append(key)
        for key in reversed(tail):
            super().move_to_end(key)

    def misses(self) -> frozenset[K]:
        """Return those of *dict_keys* that have no value yet.

        O(n); 0 round trips; atomic.
        """
        return frozenset(key for key in self._places if key not in self)

    def __delitem__(self, key: K) -> None:
        """Remove *key* here; the cache keeps it.

        O(1); 0 round trips; atomic.
        """
        super().__delitem__(key)
        self._places.pop(key, None)

    @overload
    def pop(self, key: K) -> V: ...
    @overload
    def pop(self, key: K, default: V) -> V: ...
    @overload
    def pop(self, key: K, default: T) -> V | T: ...
    def pop(self, key: K, default: Any = MISSING) -> Any:
        """Remove *key* here and return its value; the cache keeps it.

        O(1); 0 round trips; atomic.
        """
        if key not in self:
            return super().pop(key) if default is MISSING else default
        value = super().pop(key)
        self._places.pop(key, None)
        return value

    def popitem(self, last: bool = True) -> tuple[K, V]:
        """Remove and return the last item, or the first one; the cache keeps it.

        O(1); 0 round trips; atomic.
        """
        key, value = super().popitem(last)
        self._places.pop(key, None)
        return key, value

    def clear(self) -> None:
        """Remove all items and misses here; the cache keeps its items.

        O(n); 0 round trips; atomic.
        """
        super().clear()
        self._places.clear()

    def move_to_end(self, key: K, last: bool = True) -> None:
        """Move *key* to the end, or to the beginning.

        O(1) to the end, else O(n); 0 round trips; atomic.
        """
        super().move_to_end(key, last)
        text = self._places.pop(key)
        if last:
            self._places[key] = text
        else:
            self._places = {key: text, **self._places}

    def copy(self) -> Self:
        """Return a copy that shares the cache.

        O(n); 0 round trips; atomic.
        """
        return self._copied({}, _itself)

    def __copy__(self) -> Self:
        """Return a copy that shares the cache.

        O(n); 0 round trips; atomic.
        """
        return self._copied({}, _itself)

    def __deepcopy__(self, memo: dict[int, Any], /) -> Self:
        """Return a copy that shares the cache, with copies of the values.

        O(n); 0 round trips; atomic.
        """
        return self._copied(memo, deepcopy)

    def _copied(self, memo: dict[int, Any], duplicate: Callable[[Any, Any], Any]) -> Self:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        memo[id(self._cache)] = self._cache
        vars(twin).update({name: duplicate(value, memo) for name, value in vars(self).items()})
        twin._places = self._places.copy()
        for key, value in self.items():
            super(_Cached, twin).__setitem__(key, duplicate(value, memo))
        return twin

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled, since a client of Redis cannot be."""
        kind = type(self).__name__
        raise TypeError(f"cannot pickle '{kind}' object: pickle a dict or an OrderedDict of it")

    def __or__(self, other: Any) -> OrderedDict[Any, Any]:  # type: ignore[override]
        """Return an OrderedDict with the items of both; those of *other* win.

        O(n + k); 0 round trips; atomic.
        """
        return _joined(self, other)

    def __ror__(self, other: Any) -> OrderedDict[Any, Any]:  # type: ignore[override]
        """Return an OrderedDict with the items of both; those of this one win.

        O(n + k); 0 round trips; atomic.
        """
        return _joined(other, self)


class CachedOrderedDict(_Cached[K, V]):
    """An `OrderedDict` in memory that is filled from a cache in Redis, and fills it.

    It looks up all of *dict_keys* at once. Those with a value in Redis become its items, in the
    order of *dict_keys*; the others are its `misses()`, to be computed and set. A miss is not an
    item: `in` returns False, iteration and `len` skip it, and reading it raises KeyError. When it
    is set, it takes its place in the order.

    Setting an item (`d[k] = v`, `setdefault`, `update`, `|=`) also writes it to Redis. Removing one
    (`del`, `pop`, `popitem`, `clear`) removes it here only; the cache is shared, and keeps it.
    Everything else (`move_to_end`, `==`, `repr`, iteration) uses only memory, and `|` returns a
    plain `OrderedDict`. A `copy` shares the cache.

    The whole cache expires *timeout* seconds after it was last used; None is for never.

    Stored as a Redis hash at *redis_key*; each field is the JSON text of a key, its value that of
    the value. A value that is not JSON counts as a miss.

    Differs from `OrderedDict`: keys and values must be JSON, and a value found in Redis is decoded
    from its JSON text: a list where a tuple was set. The constructor takes no items, and it cannot
    be pickled. `update` sets all items at once, not one by one by `__setitem__`. *num_tries* is
    kept for compatibility and does nothing: no contention needs a second try any more.
    """

    _kind = ItemCache

    def __init__(
        self,
        *,
        redis_client: Any = None,
        redis_key: str | bytes | None = None,
        dict_keys: Iterable[K] = (),
        num_tries: int = 3,
        timeout: float | None = 60,
    ) -> None:
        """Look up *dict_keys*.

        O(k); 1 round trip; atomic.
        """
        super().__init__(redis_client, redis_key, num_tries, timeout)
        self._cache._perform(self._look_up(dict_keys))

    @classmethod
    def fromkeys(
        cls, iterable: Iterable[L], value: Any = None, **where: Any
    ) -> CachedOrderedDict[L, Any]:
        """Return a new dict in which all of *iterable* are set to *value*.

        *where* are the constructor's arguments that say where its cache is.
        O(k); 1 round trip; atomic.
        """
        new = cast("CachedOrderedDict[L, Any]", cls(**where))
        new.update(OrderedDict.fromkeys(iterable, value))
        return new

    def __setitem__(self, key: K, value: V) -> None:
        """Set the value of *key*, here and in the cache.

        Raises TypeError if the key is not hashable, or the key or value not JSON serializable.
        O(n) for a miss, else O(1); 1 round trip; atomic.
        """
        self._cache._perform(self._set({key: value}))

    @overload
    def setdefault(
        self: CachedOrderedDict[K, T | None], key: K, default: None = None
    ) -> T | None: ...
    @overload
    def setdefault(self, key: K, default: V) -> V: ...
    def setdefault(self, key: K, default: Any = None) -> Any:
        """Return the value of *key*; for a miss, that in the cache, or *default* if there is none.

        A value that another process has set there meanwhile is not overwritten.
        O(n) for a miss; 1 round trip; atomic.
        """
        return self._cache._perform(self._set_default(key, default))

    @overload
    def update(self, arg: SupportsKeysAndGetItem[K, V], /) -> None: ...
    @overload
    def update(self, arg: Iterable[tuple[K, V]] = (), /) -> None: ...
    @overload
    def update(
        self: CachedOrderedDict[str, W],
        arg: SupportsKeysAndGetItem[str, W] | Iterable[tuple[str, W]] = (),
        /,
        **kwargs: W,
    ) -> None: ...
    def update(self, arg: Any = (), /, **kwargs: Any) -> None:
        """Set the items of *arg*, a mapping or an iterable of pairs, then those of *kwargs*.

        O(n + k); 1 round trip; atomic.
        """
        new: dict[Any, Any] = dict(arg, **kwargs)
        self._cache._perform(self._set(new))

    def __ior__(self, other: Any) -> Self:  # type: ignore[override]
        """Set the items of *other*, a mapping or an iterable of pairs.

        O(n + k); 1 round trip; atomic.
        """
        self.update(other)
        return self


class AIOCachedOrderedDict(_Cached[K, V]):
    """A `CachedOrderedDict` for asyncio: methods that ask Redis are awaited, reading is not.

    `await AIOCachedOrderedDict.create(dict_keys, ...)` looks up, and `await d.set(k, v)` is
    `d[k] = v`; `update` and `setdefault` are awaited.

    Stored as a CachedOrderedDict is.

    Differs from `OrderedDict` as a CachedOrderedDict does.
    """

    _kind = AIOItemCache

    def __init__(
        self,
        *,
        redis_client: Any = None,
        redis_key: str | bytes | None = None,
        num_tries: int = 3,
        timeout: float | None = 60,
    ) -> None:
        """Begin with no keys.

        O(1); 0 round trips; atomic.
        """
        super().__init__(redis_client, redis_key, num_tries, timeout)

    @classmethod
    async def create(
        cls, dict_keys: Iterable[L] = (), /, **where: Any
    ) -> AIOCachedOrderedDict[L, Any]:
        """Return a dict that has looked up *dict_keys*.

        *where* are the constructor's arguments that say where its cache is.
        O(k); 1 round trip; atomic.
        """
        new = cast("AIOCachedOrderedDict[L, Any]", cls(**where))
        await new._cache._perform(new._look_up(dict_keys))
        return new

    async def __aenter__(self) -> Self:
        """Return the dict itself.

        O(1); 0 round trips; atomic.
        """
        return self

    async def __aexit__(self, *_: object) -> None:
        """Unlink the cache if its key is a temporary one; nothing else is removed.

        O(1) for the caller; 1 round trip; atomic.
        """
        await self._cache.__aexit__()

    async def set(self, key: K, value: V, /) -> None:
        """Set the value of *key*, here and in the cache.

        Raises TypeError if the key is not hashable, or the key or value not JSON serializable.
        O(n) for a miss, else O(1); 1 round trip; atomic.
        """
        await self._cache._perform(self._set({key: value}))

    @overload  # type: ignore[override]
    async def setdefault(
        self: AIOCachedOrderedDict[K, T | None], key: K, default: None = None
    ) -> T | None: ...
    @overload
    async def setdefault(self, key: K, default: V) -> V: ...
    async def setdefault(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, key: K, default: Any = None
    ) -> Any:
        """Return the value of *key*; for a miss, that in the cache, or *default* if there is none.

        A value that another process has set there meanwhile is not overwritten.
        O(n) for a miss; 1 round trip; atomic.
        """
        return await self._cache._perform(self._set_default(key, default))

    async def update(self, arg: Any = (), /, **kwargs: Any) -> None:  # type: ignore[override]
        """Set the items of *arg*, a mapping or an iterable of pairs, then those of *kwargs*.

        O(n + k); 1 round trip; atomic.
        """
        new: dict[Any, Any] = dict(arg, **kwargs)
        await self._cache._perform(self._set(new))

    # These cannot be awaited, so they would set items here only.

    def __setitem__(self, key: K, value: V) -> NoReturn:
        """Refuse: `await d.set(key, value)` does it.

        O(1); 0 round trips; atomic.
        """
        raise TypeError("setting an item must be awaited: await d.set(key, value)")

    def __ior__(self, other: Any) -> NoReturn:
        """Refuse: `await d.update(other)` does it.

        O(1); 0 round trips; atomic.
        """
        raise TypeError("setting items must be awaited: await d.update(other)")


def _itself(value: T, _memo: object) -> T:
    return value


def _joined(one: Any, other: Any) -> OrderedDict[Any, Any]:
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return cast("OrderedDict[Any, Any]", NotImplemented)
    union: OrderedDict[Any, Any] = OrderedDict(cast("dict[Any, Any]", one))
    union.update(cast("dict[Any, Any]", other))
    return union
