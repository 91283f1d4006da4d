"""What every container has: a client, a key, and JSON inside."""

from __future__ import annotations

import warnings
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias, TypeVar

from redis.exceptions import RedisError

from pottery import _json
from pottery._clients import same_server
from pottery._cluster import companion, is_cluster, slot
from pottery._front import Async, Front, Sync, operation
from pottery._plan import Cursor, Op, Scan, at, nothing
from pottery._script import Script
from pottery._temporary import temporary_key
from pottery.exceptions import (
    DecodeError,
    InefficientAccessWarning,
    KeyExistsError,
    in_short,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from typing_extensions import Self, TypeIs

    from pottery._plan import Plan, Steps
    from pottery._wire import Argument

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

# Stands for a missing value, since None may be a value.
MISSING: Any = object()
# Elements that one command reads of a long container: less than a millisecond of server time.
PAGE = 1000
START = b"0"
# Elements, about, that the first command reads of a hash or set. With this many, 1000 elements take
# one command; a server that returns just as many as it was asked for cannot tell that it is done.
FIRST_PAGE = 2048
# Elements that the first command reads of a list: a third of a millisecond of server time.
WHOLE = 10_000
# Arguments of one command. Before Redis 7.0 a server refuses more than a million.
MOST_ARGUMENTS = 500_000

CREATE = Script("""
-- KEYS[1] new key; ARGV[1] command, ARGV[2..] its arguments; returns whether the key was new
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
spread(ARGV[1], KEYS[1], ARGV, 2)
return 1
""")


class Readable:
    """Marks what a plan, `_elements`, can read: containers and their views."""


class Stored(Protocol[T_co]):
    """A `Readable`, for type checkers."""

    redis: Any

    @property
    def _client_type(self) -> type: ...

    def _elements(self) -> Steps[Iterable[T_co]]:
        """Return the elements that iteration yields."""
        ...


Elements: TypeAlias = "Iterable[T] | Stored[T]"
"""A source of elements: any iterable, or a container in Redis, even an asynchronous one."""


class Base(Front):
    """A container at *key* on the server of the client *redis*."""

    key: str | bytes

    def __init__(self, *, redis: Any = None, key: str | bytes = "") -> None:
        """Attach to *key*, or to a temporary key if none is given.

        O(1); 0 round trips; atomic.
        """
        self.redis = self._choose(redis)
        self._is_temporary = not checked(key, self._name())
        self.key = key or temporary_key(self, self.redis)

    def __repr__(self) -> str:
        """Return the type and the key, but not the content, which would have to be read.

        O(1); 0 round trips; atomic.
        """
        return f"<{type(self).__name__} key={self.key!r}>"

    @operation
    def clear(self) -> Op[None]:
        """Remove everything; the server frees the memory in the background.

        O(1) for the caller; 1 round trip; atomic.
        """
        return Op(("UNLINK", self.key), nothing)

    def _like(self) -> Self:
        """Return an empty temporary container of the same kind on the same client."""
        # Not by the class's own __init__, since a subclass may take other arguments.
        twin = type(self).__new__(type(self))
        twin.redis = self.redis
        twin._is_temporary = True
        twin.key = temporary_key(twin, self.redis, beside=self.key)
        return twin

    def _copied(self) -> Steps[Self]:
        twin = self._like()
        yield from Op(("COPY", self.key, twin.key), nothing, repeatable=True)
        return twin

    def _create(self, command: str, args: Sequence[Argument]) -> Steps[None]:
        """Write *args* to the key; KeyExistsError if the key exists and is not temporary."""
        if not args:
            return
        if self._is_temporary:
            yield from self._write(command, args, repeatable=command != "RPUSH")
            return
        first, rest = args[:MOST_ARGUMENTS], args[MOST_ARGUMENTS:]
        if not (yield from CREATE((self.key,), (command, *first))):
            raise KeyExistsError(self.redis, self.key)
        yield from self._write(command, rest)

    def _write(
        self, command: str, args: Sequence[Argument], *, repeatable: bool = False
    ) -> Steps[None]:
        """Pass *args* to a variadic command, at most MOST_ARGUMENTS at once."""
        for start in range(0, len(args), MOST_ARGUMENTS):
            part = args[start : start + MOST_ARGUMENTS]
            words = (command, self.key, *part)
            yield from Op(words, nothing, repeatable=repeatable, writes=True)

    def _scan(
        self, command: str, position: Any, read: Callable[[list[bytes]], list[Any]]
    ) -> Op[tuple[Any, list[Any]]]:
        """Read a page of a hash or set; `START` is the first position, None follows the last."""
        cursor = position if isinstance(position, Cursor) else Cursor(position)

        def page(reply: Any) -> tuple[Any, list[Any]]:
            following, raws = reply
            after = cursor.next(following)
            return None if following == START else after, read(raws)

        count = FIRST_PAGE if cursor.place == START else PAGE
        return Scan((command, self.key, cursor.place, "COUNT", str(count)), page, cursor)

    def _companion(self, name: str) -> str | bytes:
        """Return the key of something that belongs to this container, made of *key* and *name*."""
        if is_cluster(self.redis):
            return companion(self.key, name)
        if isinstance(self.key, bytes):
            return self.key + f"~{name}".encode()
        return f"{self.key}~{name}"

    def _is_beside(self, other: Base) -> bool:
        """Return whether one command can use both: same server and, in a cluster, same slot."""
        if not same_server(self.redis, other.redis):
            return False
        return not is_cluster(self.redis) or slot(self.key) == slot(other.key)

    def _through(self, other: Base | Stored[Any], plan: Plan[T]) -> Plan[T]:
        """Return *plan*, which reads *other*, in a form that this front can perform.

        Containers on this server are read with this client, whatever the colour of their own.
        """
        if same_server(self.redis, other.redis):
            return plan
        if other._client_type is not self._client_type:
            kinds = type(self).__name__, type(other).__name__
            raise TypeError("{} cannot read a {} on another server: read it first".format(*kinds))
        return at(other.redis, plan)

    def _taken(self, given: Elements[T]) -> Steps[Iterable[T]]:
        """Return the elements of an argument; one that is in Redis is read in pages."""
        if is_stored(given):
            return (yield from self._through(given, given._elements()))
        return given

    def _all_taken(self, given: Iterable[Elements[T]]) -> Steps[list[T]]:
        """Return the elements of many arguments in one list."""
        elements: list[T] = []
        for one in given:
            elements += yield from self._taken(one)
        return elements

    def _decode(self, raw: bytes) -> Any:
        try:
            return _json.decode(raw)
        except (ValueError, RecursionError) as error:
            raise DecodeError(self.redis, self.key, raw) from error

    def _decode_many(self, raws: Sequence[bytes]) -> list[Any]:
        try:
            return _json.decode_many(raws)
        except (ValueError, RecursionError):
            return [self._decode(raw) for raw in raws]

    def _decode_key(self, raw: bytes) -> Any:
        return self._hashable(self._decode(raw), raw)

    def _decode_keys(self, raws: Sequence[bytes]) -> list[Any]:
        """Decode the texts of keys or members, which must be hashable."""
        values = self._decode_many(raws)
        if any(type(value) in (list, dict) for value in values):
            return [self._hashable(value, raw) for value, raw in zip(values, raws, strict=True)]
        return values

    def _hashable(self, value: Any, raw: bytes) -> Any:
        try:
            frozen = _json.freeze(value)
            hash(frozen)
        except (TypeError, RecursionError) as error:
            raise DecodeError(self.redis, self.key, raw) from error
        return frozen

    def _shown(self, raws: Iterable[bytes], decode: Callable[[bytes], Any]) -> list[Any]:
        """Decode for a repr, which must not raise: broken values are shown as bytes."""
        return [self._show(raw, decode) for raw in raws]

    @staticmethod
    def _show(raw: bytes, decode: Callable[[bytes], Any]) -> Any:
        try:
            return decode(raw)
        except DecodeError:
            return Undecodable(raw)


def checked(key: Any, name: str) -> str | bytes:
    """Return *key*, an argument of what users call *name*; TypeError if it cannot be a key."""
    if isinstance(key, (str, bytes)):
        return key
    instead = ": leave it out for a temporary one" if key is None else ""
    raise TypeError(f"{name} key must be str or bytes, not {type(key).__name__}{instead}")


def is_stored(given: Elements[T]) -> TypeIs[Stored[T]]:
    """Return whether the elements of an argument have to be read from Redis."""
    return isinstance(given, Readable)


class Container(Base, Sync):
    """What every blocking container also has."""

    def copy(self) -> Self:
        """Return a copy of the same kind, with a temporary key; it expires when this one does.

        O(n); 1 round trip; atomic.
        """
        return self._perform(self._copied())

    def __copy__(self) -> Self:
        """Return a copy, with a temporary key. Without this, Python would share *key*.

        O(n); 1 round trip; atomic.
        """
        return self._perform(self._copied())

    def __deepcopy__(self, _memo: object, /) -> Self:
        """Return a copy, with a temporary key; elements read from it are copies anyway.

        O(n); 1 round trip; atomic.
        """
        return self._perform(self._copied())


class AIOBase(Base, Async):
    """What everything asynchronous with a key also has."""

    async def __aenter__(self) -> Self:
        """Return the container itself.

        O(1); 0 round trips; atomic.
        """
        return self

    async def __aexit__(self, *_: object) -> None:
        """Unlink the key if it is a temporary one. Nothing else is removed, and nothing is closed.

        O(1) for the caller; 1 round trip; atomic.
        """
        if self._is_temporary:
            with suppress(RedisError):  # tried again when this object is gone
                await self.clear()


class AIOContainer(AIOBase):
    """What every asynchronous container also has.

    Special methods that would have to wait are missing. Those below refuse instead, since without
    them Python would do something wrong rather than fail.
    """

    async def copy(self) -> Self:
        """Return a copy of the same kind, with a temporary key; it expires when this one does.

        O(n); 1 round trip; atomic.
        """
        return await self._perform(self._copied())

    def __copy__(self) -> NoReturn:
        """Refuse: Python would share *key*, and a real copy has to be awaited.

        O(1); 0 round trips; atomic.
        """
        raise TypeError(f"to copy an {type(self).__name__}, use `await x.copy()`")

    def __deepcopy__(self, _memo: object, /) -> NoReturn:
        """Refuse: a copy has to be awaited.

        O(1); 0 round trips; atomic.
        """
        self.__copy__()

    def __bool__(self) -> NoReturn:
        """Refuse: even an empty container would be true, as its size has to be awaited.

        O(1); 0 round trips; atomic.
        """
        raise TypeError(f"{type(self).__name__} has no truth value: await its size")


def removed(key: object) -> Callable[[int], None]:
    """Return a reader for the number of removals, which raises KeyError(*key*) if it is 0."""

    def read(count: int) -> None:
        if not count:
            raise KeyError(key)

    return read


def warn_about(what: str, container: Base, stacklevel: int = 3) -> None:
    """Warn that *what* is expensive; *stacklevel* leads to the caller of the public method."""
    message = f"{what} {type(container).__name__} {container.key!r} walks or moves all of it"
    warnings.warn(message, InefficientAccessWarning, stacklevel=stacklevel)


def legible(show: Callable[[Any], str]) -> Callable[[Any], str]:
    """Make a repr that cannot read its container say why: in a debugger it must not raise."""

    # The underscore tells `otel` that users do not call this by name.
    @wraps(show)
    def _legibly(self: Any) -> str:
        try:
            return show(self)
        except (RedisError, OSError) as error:
            key = getattr(self, "_mapping", self).key
            return f"<{type(self).__name__} key={key!r} cannot be read: {in_short(error)}>"

    return _legibly


class Undecodable:
    """Stands in a repr for a value that is not JSON."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def __repr__(self) -> str:
        return f"<undecodable {self.raw!r}>"
