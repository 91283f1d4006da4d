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

# Stands for a value that is not there, since None may be one.
MISSING: Any = object()
# Elements read by one command of a long container: less than a millisecond of the server's time.
PAGE = 1000
START = b"0"
# So many, about, that the first command reads of a hash or set: then a thousand take one, although
# the server cannot tell that it gave the last ones when it gives just as many as it is asked for.
FIRST_PAGE = 2048
# Elements of a list that the first command reads: a third of a millisecond of the server's time.
WHOLE = 10_000
# Arguments carried by one command. Before Redis 7.0 a server refuses more than a million.
MOST_ARGUMENTS = 500_000

CREATE = Script("""
-- KEYS[1] new key; ARGV[1] command, ARGV[2..] its arguments; returns whether the key was new
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
spread(ARGV[1], KEYS[1], ARGV, 2)
return 1
""")


class Readable:
    """Marks what can be read by a plan, `_elements`: containers, and views of them."""


class Stored(Protocol[T_co]):
    """What is `Readable`, for type checkers."""

    redis: Any

    @property
    def _client_type(self) -> type: ...

    def _elements(self) -> Steps[Iterable[T_co]]:
        """Return what iteration gives."""
        ...


Elements: TypeAlias = "Iterable[T] | Stored[T]"
"""What gives elements: any iterable, or a container in Redis, even one that has to be awaited."""


class Base(Front):
    """A container at *key* of the server behind *redis*."""

    key: str | bytes

    def __init__(self, *, redis: Any = None, key: str | bytes = "") -> None:
        """Attach to *key*, or to a temporary key if there is none.

        O(1); 0 round trips; atomic.
        """
        self.redis = self._choose(redis)
        self._is_temporary = not checked(key, self._name())
        self.key = key or temporary_key(self, self.redis)

    def __repr__(self) -> str:
        """Return the kind and the key: what is there would have to be read.

        O(1); 0 round trips; atomic.
        """
        return f"<{type(self).__name__} key={self.key!r}>"

    @operation
    def clear(self) -> Op[None]:
        """Remove everything, in the background of the server.

        O(1) for the caller; 1 round trip; atomic.
        """
        return Op(("UNLINK", self.key), nothing)

    def _like(self) -> Self:
        """Return an empty temporary container of the same kind on the same client."""
        # Not by the class's own __init__, whose arguments in a subclass are unknown here.
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
        """Write *args* to the key; KeyExistsError if the key exists and is not our own."""
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
        """Give *args* to a variadic command: at once, but for more than MOST_ARGUMENTS."""
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
        """Return the key of something that belongs to this container: *key*, and then *name*."""
        if is_cluster(self.redis):
            return companion(self.key, name)
        if isinstance(self.key, bytes):
            return self.key + f"~{name}".encode()
        return f"{self.key}~{name}"

    def _is_beside(self, other: Base) -> bool:
        """Return whether one command can use both: *other* is on this server, in the same slot."""
        if not same_server(self.redis, other.redis):
            return False
        return not is_cluster(self.redis) or slot(self.key) == slot(other.key)

    def _through(self, other: Base | Stored[Any], plan: Plan[T]) -> Plan[T]:
        """Return *plan*, which reads *other*, such that this front can perform it.

        What is on this server is read by this client, whatever the colour of its own.
        """
        if same_server(self.redis, other.redis):
            return plan
        if other._client_type is not self._client_type:
            kinds = type(self).__name__, type(other).__name__
            raise TypeError("{} cannot read a {} of another server: read that first".format(*kinds))
        return at(other.redis, plan)

    def _taken(self, given: Elements[T]) -> Steps[Iterable[T]]:
        """Return the elements of an argument: if it is in Redis, read in pages."""
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
        """Decode texts of places where Python wants something hashable."""
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
        """Decode for a repr, which must not raise: what is broken is shown as it is."""
        return [self._show(raw, decode) for raw in raws]

    @staticmethod
    def _show(raw: bytes, decode: Callable[[bytes], Any]) -> Any:
        try:
            return decode(raw)
        except DecodeError:
            return Undecodable(raw)


def checked(key: Any, name: str) -> str | bytes:
    """Return the *key* given to what users call *name*; TypeError if it can be none."""
    if isinstance(key, (str, bytes)):
        return key
    instead = ": leave it out for a temporary one" if key is None else ""
    raise TypeError(f"{name} key must be str or bytes, not {type(key).__name__}{instead}")


def is_stored(given: Elements[T]) -> TypeIs[Stored[T]]:
    """Return whether what an argument gives has to be read from Redis."""
    return isinstance(given, Readable)


class Container(Base, Sync):
    """What every blocking container has besides."""

    def copy(self) -> Self:
        """Return a copy of the same kind, with a temporary key; it expires when this one does.

        O(n); 1 round trip; atomic.
        """
        return self._perform(self._copied())

    def __copy__(self) -> Self:
        """Return a copy, with a temporary key. Without this, it would be one more name for *key*.

        O(n); 1 round trip; atomic.
        """
        return self._perform(self._copied())

    def __deepcopy__(self, _memo: object, /) -> Self:
        """Return a copy, with a temporary key; what is read from it are copies anyway.

        O(n); 1 round trip; atomic.
        """
        return self._perform(self._copied())


class AIOBase(Base, Async):
    """What everything asynchronous that has a key has besides."""

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
    """What every asynchronous container has besides.

    The special methods that would have to wait are not there. Those below are, since without them
    Python would do something else instead of failing.
    """

    async def copy(self) -> Self:
        """Return a copy of the same kind, with a temporary key; it expires when this one does.

        O(n); 1 round trip; atomic.
        """
        return await self._perform(self._copied())

    def __copy__(self) -> NoReturn:
        """Refuse what would give one more name for *key*: a copy has to be awaited.

        O(1); 0 round trips; atomic.
        """
        raise TypeError(f"to copy an {type(self).__name__}, use `await x.copy()`")

    def __deepcopy__(self, _memo: object, /) -> NoReturn:
        """Refuse: a copy has to be awaited.

        O(1); 0 round trips; atomic.
        """
        self.__copy__()

    def __bool__(self) -> NoReturn:
        """Refuse what would be true of an empty container, too: a look has to be awaited.

        O(1); 0 round trips; atomic.
        """
        raise TypeError(f"{type(self).__name__} has no truth value: await its size")


def removed(key: object) -> Callable[[int], None]:
    """Return how to read how many were removed: with a KeyError if there was no *key*."""

    def read(count: int) -> None:
        if not count:
            raise KeyError(key)

    return read


def warn_about(what: str, container: Base, stacklevel: int = 3) -> None:
    """Warn that *what* is dear; *stacklevel* leads to the caller of the public method."""
    message = f"{what} {type(container).__name__} {container.key!r} walks or moves all of it"
    warnings.warn(message, InefficientAccessWarning, stacklevel=stacklevel)


def legible(show: Callable[[Any], str]) -> Callable[[Any], str]:
    """Let a repr that cannot read its container tell why: in a debugger it must not raise."""

    # By its underscore, `otel` knows that nobody has called this by name.
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
