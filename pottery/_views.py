"""The views of a RedisDict or AIORedisDict: what its `keys`, `values` and `items` return."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import ItemsView, Iterable, KeysView, Mapping, Set, ValuesView
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from pottery._advice import refuse_syntax
from pottery._plan import whole
from pottery.base import MISSING, START, Readable, legible

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pottery._plan import Page, Steps

K = TypeVar("K")
L = TypeVar("L")
T = TypeVar("T")
V = TypeVar("V")


class Reading(Readable):
    """What a blocking view tells about its dict, so that other containers can read it."""

    _mapping: Any  # the RedisDict

    @property
    def redis(self) -> Any:
        """The client of the dict."""
        return self._mapping.redis

    @property
    def _client_type(self) -> Any:
        return self._mapping._client_type

    def _page(self, position: Any) -> Any:
        raise NotImplementedError

    def _elements(self) -> Steps[list[Any]]:
        return whole(self._page, START)


class RedisDictView(Reading, Set[T]):  # noqa: PLW1641 - no hash, as views of dict
    """What the views of the keys and of the items of a RedisDict have in common.

    The operators of the abstract base class would read one element at a time. These read the dict
    once, into a builtin one, and leave the rest to its view, so a result is a plain `set`.
    """

    @property
    def mapping(self) -> Mapping[Any, Any]:
        """The dict, read-only."""
        return MappingProxyType(self._mapping)

    @abstractmethod
    def _read(self) -> KeysView[T]:
        """Return a builtin view of the current content."""

    def __reversed__(self) -> Iterator[T]:
        """Yield the elements, the last one first.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        everything: list[T] = self._mapping._perform(self._elements())
        return reversed(everything)

    def __eq__(self, other: object) -> bool:
        """Return whether *other* is a set with the same elements.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._read().__eq__(_builtin(other))

    def __le__(self, other: Set[Any]) -> bool:
        """Return whether every element is in *other*.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._read().__le__(_builtin(other))

    def __lt__(self, other: Set[Any]) -> bool:
        """Return whether every element is in *other*, and *other* has more.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._read().__lt__(_builtin(other))

    def __ge__(self, other: Set[Any]) -> bool:
        """Return whether everything in *other* is an element.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._read().__ge__(_builtin(other))

    def __gt__(self, other: Set[Any]) -> bool:
        """Return whether everything in *other* is an element, and there are more.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._read().__gt__(_builtin(other))

    def isdisjoint(self, other: Iterable[Any]) -> bool:
        """Return whether no element is in *other*.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._read().isdisjoint(_builtin(other))

    def __and__(self, other: Iterable[Any]) -> set[T]:
        """Return the elements of this view that are in *other*, as a `set`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._read() & _builtin(other)

    def __rand__(self, other: Iterable[L]) -> set[L]:
        """Return the elements of *other* that are in this view, as a `set`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return _builtin(other) & self._read()

    def __or__(self, other: Iterable[L]) -> set[T | L]:
        """Return the elements of this view and of *other*, as a `set`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._read() | _builtin(other)

    def __sub__(self, other: Iterable[Any]) -> set[T]:
        """Return the elements of this view that are not in *other*, as a `set`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._read() - _builtin(other)

    def __rsub__(self, other: Iterable[L]) -> set[L]:
        """Return the elements of *other* that are not in this view, as a `set`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return _builtin(other) - self._read()

    def __xor__(self, other: Iterable[L]) -> set[T | L]:
        """Return the elements of either this view or *other*, but not of both, as a `set`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return self._read() ^ _builtin(other)

    __ror__, __rxor__ = __or__, __xor__


def _builtin(other: T) -> T:
    """Return *other*; if it is one of our views, the builtin one."""
    return cast("T", other._read()) if isinstance(other, RedisDictView) else other


class RedisDictKeys(RedisDictView[K], KeysView[K]):
    """A view of the keys of a RedisDict, like `dict.keys()`."""

    def _page(self, position: Any) -> Any:
        return self._mapping._keys(position)

    def _read(self) -> KeysView[K]:
        return dict.fromkeys(self._mapping).keys()

    @legible
    def __repr__(self) -> str:
        """Return `RedisDictKeys([...])`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return f"{type(self).__name__}({[key for key, _ in self._mapping._all_shown()]})"


class RedisDictItems(RedisDictView["tuple[K, V]"], ItemsView[K, V]):
    """A view of the items of a RedisDict, like `dict.items()`."""

    def _page(self, position: Any) -> Any:
        return self._mapping._items(position)

    def _read(self) -> KeysView[tuple[K, V]]:
        return cast("KeysView[tuple[K, V]]", self._mapping.to_dict().items())

    def __contains__(self, item: object) -> bool:
        """Return whether *item* is a pair of a key and its value.

        O(1); 1 round trip; atomic.
        """
        if not isinstance(item, tuple) or len(cast("tuple[Any, ...]", item)) != 2:
            return False
        key, value = cast("tuple[Any, Any]", item)
        found = self._mapping.get(key, MISSING)
        return found is not MISSING and bool(found == value)

    def __iter__(self) -> Iterator[tuple[K, V]]:
        """Yield the items as pairs.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return cast("Iterator[tuple[K, V]]", self._mapping._walk(self._page, START))

    @legible
    def __repr__(self) -> str:
        """Return `RedisDictItems([...])`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return f"{type(self).__name__}({self._mapping._all_shown()})"


class RedisDictValues(Reading, ValuesView[V]):
    """A view of the values of a RedisDict, like `dict.values()`."""

    def _page(self, position: Any) -> Any:
        return self._mapping._values(position)

    @property
    def mapping(self) -> Mapping[Any, V]:
        """The dict, read-only."""
        return MappingProxyType(self._mapping)

    def __contains__(self, value: object) -> bool:
        """Return whether some key has *value*.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return any(found is value or found == value for found in self)

    def __iter__(self) -> Iterator[V]:
        """Yield the values.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return cast("Iterator[V]", self._mapping._walk(self._page, START))

    def __reversed__(self) -> Iterator[V]:
        """Yield the values, the last one first.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        everything: list[V] = self._mapping._perform(self._elements())
        return reversed(everything)

    @legible
    def __repr__(self) -> str:
        """Return `RedisDictValues([...])`.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return f"{type(self).__name__}({[value for _, value in self._mapping._all_shown()]})"


class AIORedisDictView(Readable, Generic[T]):
    """The keys, values or items of an AIORedisDict, read anew by each iteration."""

    def __init__(self, mapping: Any, page: Page[T]) -> None:
        """Remember the dict, and how a page of it is read.

        O(1); 0 round trips; atomic.
        """
        self.redis = mapping.redis
        self._client_type = mapping._client_type
        self._walk = mapping._walk
        self._page = page

    def _elements(self) -> Steps[list[T]]:
        return whole(self._page, START)

    def __aiter__(self) -> AsyncIterator[T]:
        """Yield the keys, values or items.

        O(n); 1 round trip per 1000 items; not atomic.
        """
        return cast("AsyncIterator[T]", self._walk(self._page, START))


refuse_syntax(AIORedisDictView)
