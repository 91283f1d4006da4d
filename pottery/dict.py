"""RedisDict and AIORedisDict: `dict` in Redis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast, overload

from pottery._front import operation
from pottery._json import alternate, encode, encode_key, encode_keys, encode_many, find_key
from pottery._plan import Done, Op, nothing, whole
from pottery._script import Script
from pottery._views import AIORedisDictView, RedisDictItems, RedisDictKeys, RedisDictValues
from pottery.base import (
    MISSING,
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
from pottery.exceptions import DecodeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from _typeshed import SupportsKeysAndGetItem
    from typing_extensions import Self, TypeIs

    from pottery._plan import Plan, Steps
    from pottery._wire import Argument
    from pottery.base import Elements

K = TypeVar("K")
L = TypeVar("L")
T = TypeVar("T")
V = TypeVar("V")
W = TypeVar("W")

Items: TypeAlias = "SupportsKeysAndGetItem[K, V] | Elements[tuple[K, V]] | DictPlans[K, V]"
"""A source of items: a mapping, pairs, or a dict in Redis, even an asynchronous one."""

POP = Script("""
-- KEYS[1] hash; ARGV[1] field; removes the field and returns its value, or false
local value = redis.call('HGET', KEYS[1], ARGV[1])
if value then redis.call('HDEL', KEYS[1], ARGV[1]) end
return value
""")

POP_LAST = Script("""
-- KEYS[1] hash; removes and returns a field and its value, or false: the last of a short hash
local short = redis.call('HLEN', KEYS[1]) <= 512
local fields = short and redis.call('HKEYS', KEYS[1]) or {redis.call('HRANDFIELD', KEYS[1])}
local field = fields[#fields]
if not field then return false end
local value = redis.call('HGET', KEYS[1], field)
redis.call('HDEL', KEYS[1], field)
return {field, value}
""")

SET_DEFAULT = Script("""
-- KEYS[1] hash; ARGV[1] field, ARGV[2] value if it has none; returns the value that it has then
local value = redis.call('HGET', KEYS[1], ARGV[1])
if value then return value end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return ARGV[2]
""")

UNITE = Script(
    """
-- KEYS[1] hash, KEYS[2] new key, which becomes a copy; ARGV fields and values in turn to set there
redis.call('COPY', KEYS[1], KEYS[2])
redis.call('PERSIST', KEYS[2])
spread('HSET', KEYS[2], ARGV)
""",
    repeatable=True,
    writes=True,
)


class DictPlans(Base, Readable, Generic[K, V]):
    """What RedisDict asks of Redis."""

    # --- one item

    def __missing__(self, key: K) -> V:
        """Raise KeyError, as `d[key]` does for a missing *key*. A subclass may return a value.

        O(1); 0 round trips; atomic.
        """
        raise KeyError(key)

    def _fetch(self, key: K) -> Plan[V]:
        return self._look_up(key, lambda: self.__missing__(key))

    def _get(self, key: object, default: T) -> Plan[V | T]:
        return self._look_up(key, lambda: default)

    def _look_up(self, key: object, missing: Callable[[], T]) -> Plan[V | T]:
        text = find_key(key)
        if text is None:
            return Done(missing())

        def read(raw: bytes | None) -> V | T:
            return missing() if raw is None else self._decode(raw)

        return Op(("HGET", self.key, text), read, repeatable=True)

    def _has(self, key: object) -> Plan[bool]:
        text = find_key(key)
        if text is None:
            return Done(value=False)
        return Op(("HEXISTS", self.key, text), bool, repeatable=True)

    def _size(self) -> Op[int]:
        return Op(("HLEN", self.key), int, repeatable=True)

    def _store(self, key: K, value: V) -> Op[None]:
        args = ("HSET", self.key, encode_key(key), encode(value))
        return Op(args, nothing, repeatable=True, writes=True)

    def _delete(self, key: object) -> Plan[None]:
        text = find_key(key)
        if text is None:
            raise KeyError(key)
        return Op(("HDEL", self.key, text), removed(key))

    def _pop(self, key: object, default: T) -> Steps[V | T]:
        text = find_key(key)
        raw = None if text is None else (yield from POP((self.key,), (text,)))
        if raw is not None:
            value: V = self._decode(raw)
            return value
        if default is MISSING:
            raise KeyError(key)
        return default

    @operation
    def popitem(self) -> Steps[tuple[K, V]]:
        """Remove and return the last item; if there are more than 512, an arbitrary one.

        Raises KeyError if there is none.
        O(1); 1 round trip; atomic.
        """
        raws = yield from POP_LAST((self.key,))
        if raws is None:
            raise KeyError("popitem(): dictionary is empty")
        try:
            return self._decode_key(raws[0]), self._decode(raws[1])
        except DecodeError as error:  # it is gone from Redis, so the error has all of it
            raise DecodeError(self.redis, self.key, b": ".join(raws)) from error

    def _setdefault(self, key: K, default: object) -> Steps[Any]:
        return SET_DEFAULT((self.key,), (encode_key(key), encode(default)), self._decode)

    # --- many items

    @operation
    def update(self, arg: Items[K, V] = (), /, **kwargs: V) -> Steps[None]:
        """Set the items of *arg*, a mapping or an iterable of pairs, then those of *kwargs*.

        Another RedisDict is read first, in pages.
        O(k); 1 round trip; atomic.
        """
        yield from self._write("HSET", (yield from self._texts_of(arg, kwargs)), repeatable=True)

    def _fill(self, arg: Any, kwargs: Mapping[str, V]) -> Steps[None]:
        """Create the dict with the items of *arg* and *kwargs*, if they have any."""
        yield from self._create("HSET", (yield from self._texts_of(arg, kwargs)))

    def _texts_of(self, arg: Any, kwargs: Mapping[str, V]) -> Steps[list[Argument]]:
        """Return the texts of all keys and values alternately; errors are those of `dict`."""
        more = _spelled(kwargs)
        if not is_dict_plans(arg):
            return _spelled_pairs((yield from self._taken(arg))) + more
        # As text: 1 and 1.0 are two keys in Redis, but would be one in a dict of Python.
        texts = yield from self._through(arg, whole(arg._texts, START))
        return [*texts, *more]

    def _fill_from(self, keys: Elements[K], value: V) -> Steps[None]:
        """Create the dict with *value* for all *keys*, if there are any."""
        yield from self._fill([(key, value) for key in (yield from self._taken(keys))], {})

    @operation
    def to_dict(self) -> Steps[dict[K, V]]:
        """Return the items as a `dict`.

        `dict(d)` returns the same, but reads one value at a time.
        O(n); 1 round trip per 1000 items; not atomic.
        """
        return dict((yield from whole(self._items, START)))

    def _elements(self) -> Steps[list[K]]:
        return whole(self._keys, START)

    def _keys(self, position: Any) -> Op[tuple[Any, list[K]]]:
        return self._scan("HSCAN", position, lambda raws: self._decode_keys(raws[::2]))

    def _values(self, position: Any) -> Op[tuple[Any, list[V]]]:
        return self._scan("HSCAN", position, lambda raws: self._decode_many(raws[1::2]))

    def _items(self, position: Any) -> Op[tuple[Any, list[tuple[K, V]]]]:
        return self._scan("HSCAN", position, self._decode_items)

    def _texts(self, position: Any) -> Op[tuple[Any, list[bytes]]]:
        return self._scan("HSCAN", position, list)

    def _decode_items(self, raws: list[bytes]) -> list[tuple[K, V]]:
        return list(zip(self._decode_keys(raws[::2]), self._decode_many(raws[1::2]), strict=True))

    def _shown_items(self) -> Steps[list[tuple[Any, Any]]]:
        """Return the items for a repr, with broken ones as bytes."""
        raws = yield from whole(self._texts, START)
        keys = self._shown(raws[::2], self._decode_key)
        return list(zip(keys, self._shown(raws[1::2], self._decode), strict=True))

    # --- operators

    def _equals(self, other: Any) -> Steps[bool]:
        if is_dict_plans(other):
            mine = yield from self._by_text()
            return mine == (yield from self._through(other, other._by_text()))
        items = yield from self._told_apart()
        return items is not None and items == dict(other)

    def _told_apart(self) -> Steps[dict[K, V] | None]:
        """Return the items, or None if Python takes some of their keys for one."""
        raws = yield from whole(self._texts, START)
        texts = raws[::2]
        items = dict(zip(self._decode_keys(texts), self._decode_many(raws[1::2]), strict=True))
        # A server may give some of them twice.
        return items if len(items) == len(texts) or len(items) == len(set(texts)) else None

    def _by_text(self) -> Steps[dict[bytes, V]]:
        """Return the values by the texts of their keys, some of which Python takes for the same."""
        raws = yield from whole(self._texts, START)
        return dict(zip(raws[::2], self._decode_many(raws[1::2]), strict=True))

    def _joined(self, other: Mapping[Any, Any]) -> Steps[Self]:
        """Return a new dict with the items of this one, then those of *other*."""
        texts = yield from self._texts_of(other, {})
        union = self._like()
        yield from UNITE((self.key, union.key), texts[:MOST_ARGUMENTS], nothing)
        yield from union._write("HSET", texts[MOST_ARGUMENTS:], repeatable=True)
        return union

    def _joined_to(self, other: Mapping[Any, Any]) -> Steps[Self]:
        """Return a new dict with the items of *other*, then those of this one."""
        texts = _spelled(other)
        union = self._like()
        texts += yield from whole(self._texts, START)
        yield from union._write("HSET", texts, repeatable=True)
        return union


def _spelled(items: Mapping[Any, Any]) -> list[Argument]:
    return alternate(encode_keys(items), encode_many(items[key] for key in items))


def _spelled_pairs(arg: Any) -> list[Argument]:
    if hasattr(arg, "keys"):
        return _spelled(dict(arg))
    pairs: list[Any] = [tuple(pair) if hasattr(pair, "__iter__") else pair for pair in arg]
    dict(pairs)  # for its errors; in a dict, 1 and 1.0 would be one key
    keys, values = ([pair[side] for pair in pairs] for side in (0, 1))
    return alternate(encode_keys(keys), encode_many(values))


class RedisDict(DictPlans[K, V], Container, MutableMapping[K, V]):  # noqa: PLW1641 - no hash, as dict
    """A `dict` whose items live in Redis.

    Stored as one Redis hash at *key*; each field is the JSON text of a key, its value that of the
    value.

    Differs from `dict`: keys and values must be JSON, and the text of a key is its identity, so 1,
    1.0, True and "1" are four keys. A tuple stays a tuple in a key; in a value it becomes a list,
    and a dict comes back with its keys sorted, as strings. Values are copies: `d["x"].append(1)`
    changes nothing in Redis, `d["x"] += [1]` does. Keyword arguments named `redis` and `key` say
    where the dict is, and are not items.

    Insertion order holds while Redis stores the hash compactly: by default up to 512 items, with
    keys and values of up to 64 bytes of JSON. Beyond, the order is arbitrary, and `popitem` takes
    any item. Iteration reads pages of 1000 and may see or miss what others write meanwhile, which
    is not an error; if the dict shrinks meanwhile, a key may come twice. `dict(d)` and `{**d}` read
    one value at a time, `d.to_dict()` does not.
    """

    @overload
    def __init__(
        self,
        arg: Items[K, V] = (),
        /,
        *,
        redis: Any = None,
        key: str | bytes = "",
    ) -> None: ...
    @overload
    def __init__(
        self: RedisDict[str, W],
        arg: Items[str, W] = (),
        /,
        *,
        redis: Any = None,
        key: str | bytes = "",
        **kwargs: W,
    ) -> None: ...
    def __init__(
        self, arg: Any = (), /, *, redis: Any = None, key: str | bytes = "", **kwargs: Any
    ) -> None:
        """Attach to *key*; if *arg* or *kwargs* have items, create the dict.

        Raises KeyExistsError if there are items and the key exists already.
        O(k); 1 round trip; atomic.
        """
        super().__init__(redis=redis, key=key)
        self._perform(self._fill(arg, kwargs))

    @classmethod
    def fromkeys(
        cls,
        iterable: Elements[L],
        value: Any = None,
        /,
        *,
        redis: Any = None,
        key: str | bytes = "",
    ) -> RedisDict[L, Any]:
        """Return a new dict with the keys in *iterable*, each with *value*.

        Raises KeyExistsError if there are keys and the key in Redis exists already.
        O(k); 1 round trip; atomic.
        """
        new = cast("RedisDict[L, Any]", cls(redis=redis, key=key))
        new._perform(new._fill_from(iterable, value))
        return new

    # --- one item

    def __getitem__(self, key: K) -> V:
        """Return the value of *key*.

        Raises KeyError if it is not there, unless a subclass has `__missing__`.
        O(1); 1 round trip; atomic.
        """
        return self._perform(self._fetch(key))

    def __setitem__(self, key: K, value: V) -> None:
        """Set the value of *key*.

        Raises TypeError if the key is not hashable, or the key or value not JSON serializable.
        O(1); 1 round trip; atomic.
        """
        self._perform(self._store(key, value))

    def __delitem__(self, key: K) -> None:
        """Remove *key* and its value.

        Raises KeyError if it is not there.
        O(1); 1 round trip; atomic.
        """
        self._perform(self._delete(key))

    def __contains__(self, key: object) -> bool:
        """Return whether *key* is there.

        O(1); 1 round trip; atomic.
        """
        return self._perform(self._has(key))

    @overload
    def get(self, key: K, default: None = None, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V, /) -> V: ...
    @overload
    def get(self, key: K, default: T, /) -> V | T: ...
    def get(self, key: K, default: Any = None, /) -> Any:
        """Return the value of *key*, or *default* if it is not there.

        O(1); 1 round trip; atomic.
        """
        return self._perform(self._get(key, default))

    @overload
    def pop(self, key: K, /) -> V: ...
    @overload
    def pop(self, key: K, default: V, /) -> V: ...
    @overload
    def pop(self, key: K, default: T, /) -> V | T: ...
    def pop(self, key: K, default: Any = MISSING, /) -> Any:
        """Remove *key* and return its value, or *default* if it is not there.

        Raises KeyError if it is not there and no *default* is given.
        O(1); 1 round trip; atomic.
        """
        return self._perform(self._pop(key, default))

    @overload
    def setdefault(self: RedisDict[K, T | None], key: K, default: None = None, /) -> T | None: ...
    @overload
    def setdefault(self, key: K, default: V, /) -> V: ...
    def setdefault(self, key: K, default: Any = None, /) -> Any:
        """Return the value of *key*; if it is not there, set it to *default* first.

        O(1); 1 round trip; atomic.
        """
        return self._perform(self._setdefault(key, default))

    # --- all items

    def __len__(self) -> int:
        """Return the number of items.

        O(1); 1 round trip; atomic.
        """
        return self._perform(self._size())

    def __iter__(self) -> Iterator[K]:
        """Yield the keys.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._walk(self._keys, START)

    def __reversed__(self) -> Iterator[K]:
        """Yield the keys, the last one first.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        warn_about("reversed() of", self)
        return reversed(self._perform(whole(self._keys, START)))

    @legible
    def __repr__(self) -> str:
        """Return `RedisDict{...}` with all items.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        warn_about("repr of", self, 4)
        return braced(self, self._all_shown())

    def _all_shown(self) -> list[tuple[Any, Any]]:
        return self._perform(self._shown_items())

    # The views of the abstract base class would read one value at a time.

    def keys(self) -> RedisDictKeys[K]:
        """Return a view of the keys.

        O(1); 0 round trips; atomic.
        """
        return RedisDictKeys(self)

    def values(self) -> RedisDictValues[V]:
        """Return a view of the values.

        O(1); 0 round trips; atomic.
        """
        return RedisDictValues(self)

    def items(self) -> RedisDictItems[K, V]:
        """Return a view of the items, as pairs.

        O(1); 0 round trips; atomic.
        """
        return RedisDictItems(self)

    # --- operators

    def __eq__(self, other: object) -> bool:
        """Return whether *other* is a mapping with the same items.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        if not is_mapping(other):
            return NotImplemented
        warn_about("comparing", self)
        return self._perform(self._equals(other))

    def __or__(self, other: Mapping[L, W]) -> RedisDict[K | L, V | W]:
        """Return a RedisDict with a temporary key: the items of both; those of *other* win.

        O(n + k); 1 round trip; atomic.
        """
        return self._union(self._joined, other)

    def __ror__(self, other: Mapping[L, W]) -> RedisDict[K | L, V | W]:
        """Return a RedisDict with a temporary key: the items of both; those of this one win.

        O(n + k); 2 round trips per 1000 items; not atomic.
        """
        return self._union(self._joined_to, other)

    def _union(
        self, join: Callable[[Any], Steps[RedisDict[Any, Any]]], other: object
    ) -> RedisDict[Any, Any]:
        if not is_mapping(other):
            return cast("RedisDict[Any, Any]", NotImplemented)
        return self._perform(join(other))

    def __ior__(  # type: ignore[misc]  # takes more than __or__, as that of dict
        self, other: SupportsKeysAndGetItem[K, V] | Iterable[tuple[K, V]]
    ) -> Self:
        """Set the items of *other*, a mapping or an iterable of pairs.

        O(k); 1 round trip; atomic.
        """
        self.update(other)
        return self


class AIORedisDict(DictPlans[K, V], AIOContainer):
    """A `RedisDict` for asyncio: the same methods, awaited, and verbs where `dict` has syntax.

    Stored as a RedisDict is.

    Differs from `RedisDict`: `await d.fetch(k)` is `d[k]`, `await d.set(k, v)` is `d[k] = v`,
    `await d.delete(k)` is `del d[k]`, `await d.has(k)` is `k in d`, `await d.size()` is `len(d)`,
    `await d.equals(x)` is `d == x`, and `await d.update(x)` is `d |= x`. `async for k in d`
    iterates; `keys`, `values` and `items` are not awaited, but used in `async for`. For a new dict
    in Redis, `copy` first.
    """

    @overload
    @classmethod
    async def create(
        cls, arg: Items[L, W] = (), /, *, redis: Any = None, key: str | bytes = ""
    ) -> AIORedisDict[L, W]: ...
    @overload
    @classmethod
    async def create(
        cls,
        arg: Items[str, W] = (),
        /,
        *,
        redis: Any = None,
        key: str | bytes = "",
        **kwargs: W,
    ) -> AIORedisDict[str, W]: ...
    @classmethod
    async def create(
        cls, arg: Any = (), /, *, redis: Any = None, key: str | bytes = "", **kwargs: Any
    ) -> AIORedisDict[Any, Any]:
        """Return a dict at *key* with the items of *arg* and *kwargs*.

        Raises KeyExistsError if there are items and the key exists already.
        O(k); 1 round trip; atomic.
        """
        new = cast("AIORedisDict[Any, Any]", cls(redis=redis, key=key))
        await new._perform(new._fill(arg, kwargs))
        return new

    @classmethod
    async def fromkeys(
        cls,
        iterable: Elements[L],
        value: Any = None,
        /,
        *,
        redis: Any = None,
        key: str | bytes = "",
    ) -> AIORedisDict[L, Any]:
        """Return a new dict with the keys in *iterable*, each with *value*.

        Raises KeyExistsError if there are keys and the key in Redis exists already.
        O(k); 1 round trip; atomic.
        """
        new = cast("AIORedisDict[L, Any]", cls(redis=redis, key=key))
        await new._perform(new._fill_from(iterable, value))
        return new

    @operation
    def fetch(self, key: K, /) -> Plan[V]:
        """Return the value of *key*: `d[key]`.

        Raises KeyError if it is not there, unless a subclass has `__missing__`.
        O(1); 1 round trip; atomic.
        """
        return self._fetch(key)

    @operation
    def set(self, key: K, value: V, /) -> Op[None]:
        """Set the value of *key*: `d[key] = value`.

        Raises TypeError if the key is not hashable, or the key or value not JSON serializable.
        O(1); 1 round trip; atomic.
        """
        return self._store(key, value)

    async def delete(self, key: K, /) -> None:
        """Remove *key* and its value: `del d[key]`.

        Raises KeyError if it is not there.
        O(1); 1 round trip; atomic.
        """
        await self._perform(self._delete(key))

    @operation
    def has(self, key: object, /) -> Plan[bool]:
        """Return whether *key* is there: `key in d`.

        O(1); 1 round trip; atomic.
        """
        return self._has(key)

    @overload
    async def get(self, key: K, default: None = None, /) -> V | None: ...
    @overload
    async def get(self, key: K, default: V, /) -> V: ...
    @overload
    async def get(self, key: K, default: T, /) -> V | T: ...
    async def get(self, key: K, default: Any = None, /) -> Any:
        """Return the value of *key*, or *default* if it is not there.

        O(1); 1 round trip; atomic.
        """
        return await self._perform(self._get(key, default))

    @overload
    async def pop(self, key: K, /) -> V: ...
    @overload
    async def pop(self, key: K, default: V, /) -> V: ...
    @overload
    async def pop(self, key: K, default: T, /) -> V | T: ...
    async def pop(self, key: K, default: Any = MISSING, /) -> Any:
        """Remove *key* and return its value, or *default* if it is not there.

        Raises KeyError if it is not there and no *default* is given.
        O(1); 1 round trip; atomic.
        """
        return await self._perform(self._pop(key, default))

    @overload
    async def setdefault(
        self: AIORedisDict[K, T | None], key: K, default: None = None, /
    ) -> T | None: ...
    @overload
    async def setdefault(self, key: K, default: V, /) -> V: ...
    async def setdefault(self, key: K, default: Any = None, /) -> Any:
        """Return the value of *key*; if it is not there, set it to *default* first.

        O(1); 1 round trip; atomic.
        """
        return await self._perform(self._setdefault(key, default))

    def __aiter__(self) -> AsyncIterator[K]:
        """Yield the keys.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._walk(self._keys, START)

    async def reversed(self) -> AsyncIterator[K]:
        """Yield the keys, the last one first, after reading all of them: `reversed(d)`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        for key in reversed(await self._perform(self._elements())):
            yield key

    def keys(self) -> AIORedisDictView[K]:
        """Return the keys, for `async for`; this is not awaited.

        O(1); 0 round trips; atomic.
        """
        return AIORedisDictView(self, self._keys)

    def values(self) -> AIORedisDictView[V]:
        """Return the values, for `async for`; this is not awaited.

        O(1); 0 round trips; atomic.
        """
        return AIORedisDictView(self, self._values)

    def items(self) -> AIORedisDictView[tuple[K, V]]:
        """Return the items as pairs, for `async for`; this is not awaited.

        O(1); 0 round trips; atomic.
        """
        return AIORedisDictView(self, self._items)

    @operation
    def size(self) -> Op[int]:
        """Return the number of items: `len(d)`.

        O(1); 1 round trip; atomic.
        """
        return self._size()

    async def equals(self, other: object, /) -> bool:
        """Return whether *other* is a mapping with the same items: `d == other`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        if not is_mapping(other) and not is_dict_plans(other):
            return False
        return await self._perform(self._equals(other))


def is_dict_plans(other: object) -> TypeIs[DictPlans[Any, Any]]:
    """Return whether *other* is a dict in Redis, blocking or asynchronous."""
    return isinstance(other, DictPlans)


def is_mapping(other: object) -> TypeIs[Mapping[Any, Any]]:
    """Return whether *other* is any mapping."""
    return isinstance(other, Mapping)


def braced(container: Base, items: Iterable[tuple[Any, Any]]) -> str:
    """Return how a dict with *items* is shown."""
    shown = ", ".join(f"{key!r}: {value!r}" for key, value in items)
    return f"{type(container).__name__}{{{shown}}}"
