"""redis_cache: `functools.cache`, shared by processes and machines."""

from __future__ import annotations

import inspect
from functools import partial, update_wrapper
from types import FunctionType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    NamedTuple,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    overload,
)
from uuid import uuid4

from pottery._call_key import CallKey
from pottery._json import decode, encode
from pottery._results import AwaitedCache, BlockingCache, CachePlans, Call, Options
from pottery.base import MISSING, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from typing_extensions import Self

P = ParamSpec("P")
Q = ParamSpec("Q")
S = TypeVar("S")
T = TypeVar("T")

_DEFAULT_TIMEOUT = 60


class CacheInfo(NamedTuple):
    """What `cache_info()` returns: hits and misses of this process, and results in Redis."""

    hits: int
    misses: int
    maxsize: None
    currsize: int


# Since Python 3.12, an object can be marked to be awaited, as an `async def` is.
_mark: Any = getattr(inspect, "markcoroutinefunction", id)


class _Cached(Generic[P, T]):
    """A function that remembers its results in Redis: what both colours of it share."""

    _kind: type[CachePlans]
    __wrapped__: Callable[P, Any]
    __name__: str
    __qualname__: str

    def __init__(
        self, function: Callable[P, Any], options: Options, key: str | bytes, name: str
    ) -> None:
        """Cache the results of *function*.

        O(1); 0 round trips; atomic.
        """
        update_wrapper(cast("Any", self), function)
        self._options = options
        self._key = key
        self._text_of = CallKey(name, typed=options.typed, make_key=options.make_key)
        self._bound: tuple[object, ...] = ()
        self._made: dict[str, Any] = {}
        if options.redis is not None:
            self._cache()  # checks that it is a client

    def _cache(self) -> Any:
        """Return the cache, made on first use: importing a module must not need a client."""
        made = self._made.get("cache")
        return made or self._made.setdefault("cache", self._kind(self._options, self._key))

    def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, joins: bool) -> Call:
        field = self._text_of((*self._bound, *args), kwargs)
        return Call(field, uuid4().hex if joins and self._options.single_flight else "")

    def _spell(self, result: object) -> str:
        try:
            return encode(result)
        except (TypeError, ValueError, RecursionError) as error:
            name, kind = self._text_of.name, type(result).__qualname__
            raise TypeError(f"{name}() returned a {kind} that is not JSON: {error}") from error

    def _info(self, size: int) -> CacheInfo:
        cache = self._cache()
        return CacheInfo(cache.hits.total(), cache.misses.total(), None, size)

    def cache_parameters(self) -> dict[str, Any]:
        """Return how the function is cached, as a new `dict`.

        O(1); 0 round trips; atomic.
        """
        options = self._options
        return {
            "maxsize": None,
            "typed": options.typed,
            "key": self._cache().key,
            "timeout": options.timeout,
            "ttl": options.ttl,
            "single_flight": options.single_flight,
            "lease": options.lease,
            "on_error": options.on_error,
        }

    def _bind(self, instance: object) -> Any:
        if self._bound:  # a method stays bound to its instance, wherever it is put
            return self
        bound = object.__new__(type(self))
        vars(bound).update(vars(self))
        bound._bound = (instance,)
        bound.__wrapped__ = cast("Any", partial)(self.__wrapped__, instance)
        return bound

    def __copy__(self) -> Self:
        """Return itself, as a function does.

        O(1); 0 round trips; atomic.
        """
        return self

    def __deepcopy__(self, _memo: object, /) -> Self:
        """Return itself, as a function does.

        O(1); 0 round trips; atomic.
        """
        return self

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle by name, as a function is, or as a method of its instance."""
        return (getattr, (*self._bound, self.__name__)) if self._bound else self.__qualname__

    def __repr__(self) -> str:
        """Return `<redis_cache of ...>`.

        O(1); 0 round trips; atomic.
        """
        return f"<redis_cache of {self.__wrapped__!r}>"


class CachedFunction(_Cached[P, T]):
    """A function that remembers its results in Redis."""

    _kind = BlockingCache
    __wrapped__: Callable[P, T]

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of an earlier call with equal arguments; compute it if there is none.

        A miss takes a second round trip, to keep the result.
        O(1); 1 round trip; atomic.
        """
        call = self._call(args, kwargs, joins=True)
        found = self._cache()._perform(self._cache()._look_up(call))
        # Not called while an exception is handled, since that would become its context.
        return self._compute(call, args, kwargs) if found is MISSING else found

    def __bypass__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Compute the result in any case, and keep it; this is neither a hit nor a miss.

        O(1); 1 round trip; atomic.
        """
        return self._compute(self._call(args, kwargs, joins=False), args, kwargs)

    def _compute(self, call: Call, args: Any, kwargs: Any) -> T:
        cache = self._cache()
        try:
            result = cast("Any", self.__wrapped__)(*args, **kwargs)
            text = self._spell(result)
        except BaseException:
            cache._perform(cache._give_up(call))
            raise
        cache._perform(cache._keep(call, text))
        return cast("T", decode(text.encode()))

    def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget the result of the call with these arguments, if there is one.

        O(1); 1 round trip; atomic.
        """
        field = self._call(args, kwargs, joins=False).field
        self._cache()._perform(self._cache()._drop(field))

    def cache_info(self) -> CacheInfo:
        """Return the hits and misses of this process, and how many results Redis has.

        O(1); 1 round trip; atomic.
        """
        return self._info(self._cache()._perform(self._cache()._size()))

    def cache_clear(self) -> None:
        """Forget all results, even those of other processes, and reset the counts.

        O(1) for the caller; 1 round trip; atomic.
        """
        self._cache()._perform(self._cache()._drop_all())
        self._cache()._reset()

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[S, Q], T], instance: S, owner: type | None = None
    ) -> CachedFunction[Q, T]: ...
    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Return the method of *instance*.

        O(1); 0 round trips; atomic.
        """
        return self if instance is None else self._bind(instance)


class AIOCachedFunction(_Cached[P, T]):
    """An `async def` that remembers its results in Redis: line by line like CachedFunction."""

    _kind = AwaitedCache
    __wrapped__: Callable[P, Coroutine[Any, Any, T]]

    def __init__(
        self, function: Callable[P, Any], options: Options, key: str | bytes, name: str
    ) -> None:
        """Cache the results of *function*.

        O(1); 0 round trips; atomic.
        """
        super().__init__(function, options, key, name)
        _mark(self)

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of an earlier call with equal arguments; compute it if there is none.

        A miss takes a second round trip, to keep the result.
        O(1); 1 round trip; atomic.
        """
        call = self._call(args, kwargs, joins=True)
        found = await self._cache()._perform(self._cache()._look_up(call))
        return await self._compute(call, args, kwargs) if found is MISSING else found

    async def __bypass__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Compute the result in any case, and keep it; this is neither a hit nor a miss.

        O(1); 1 round trip; atomic.
        """
        return await self._compute(self._call(args, kwargs, joins=False), args, kwargs)

    async def _compute(self, call: Call, args: Any, kwargs: Any) -> T:
        cache = self._cache()
        try:
            result = await cast("Any", self.__wrapped__)(*args, **kwargs)
            text = self._spell(result)
        except BaseException:
            await cache._perform(cache._give_up(call))
            raise
        await cache._perform(cache._keep(call, text))
        return cast("T", decode(text.encode()))

    async def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget the result of the call with these arguments, if there is one.

        O(1); 1 round trip; atomic.
        """
        field = self._call(args, kwargs, joins=False).field
        await self._cache()._perform(self._cache()._drop(field))

    async def cache_info(self) -> CacheInfo:
        """Return the hits and misses of this process, and how many results Redis has.

        O(1); 1 round trip; atomic.
        """
        return self._info(await self._cache()._perform(self._cache()._size()))

    async def cache_clear(self) -> None:
        """Forget all results, even those of other processes, and reset the counts.

        O(1) for the caller; 1 round trip; atomic.
        """
        await self._cache()._perform(self._cache()._drop_all())
        self._cache()._reset()

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(
        self: AIOCachedFunction[Concatenate[S, Q], T], instance: S, owner: type | None = None
    ) -> AIOCachedFunction[Q, T]: ...
    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Return the method of *instance*.

        O(1); 0 round trips; atomic.
        """
        return self if instance is None else self._bind(instance)


class CacheDecorator(Protocol):
    """What `redis_cache(...)` returns: a decorator."""

    @overload
    def __call__(  # type: ignore[overload-overlap] # pyright: ignore[reportOverlappingOverload]
        self, function: Callable[P, Coroutine[Any, Any, T]], /
    ) -> AIOCachedFunction[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, T], /) -> CachedFunction[P, T]: ...
    def __call__(self, function: Any, /) -> Any:
        """Return *function* with a cache."""
        ...


class _Decorator:
    def __init__(self, options: Options, key: str | bytes) -> None:
        self._options = options
        self._key = key
        self._functions: dict[str, object] = {}

    def __call__(self, function: Any, /) -> Any:
        if not callable(function):
            raise TypeError(
                f"redis_cache needs a function, not a {type(function).__name__}: name its options, "
                "as in @redis_cache(redis=client, key='k')"
            )
        name = getattr(function, "__qualname__", type(function).__qualname__)
        kind: Any = AIOCachedFunction if _is_awaited(function) else CachedFunction
        key = self._key_of(function, name) if self._key else _stable_key(function)
        return kind(function, self._options, key, name)

    def _key_of(self, function: object, name: str) -> str | bytes:
        """Return the key for *function*: as given for the first one, longer for others."""
        if self._functions.setdefault(name, function) is not function:
            raise ValueError(f"key {self._key!r} is that of another function {name}() already")
        if name == next(iter(self._functions)):
            return self._key
        if isinstance(self._key, bytes):
            return self._key + f"~{name}".encode()
        return f"{self._key}~{name}"


def _is_awaited(function: Any) -> bool:
    # __call__ of an object may be `async def`; only since Python 3.12 are ours marked as such.
    return any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))


def _stable_key(function: Any) -> str:
    """Return a key by which other processes find *function*, too; '' if none is certain."""
    if not isinstance(function, FunctionType) or "<" in function.__qualname__:
        return ""  # another function may have the same name
    if function.__module__ in {"__main__", "__mp_main__", None}:
        return ""  # every program has such a module
    return f"redis_cache:{function.__module__}.{function.__qualname__}"


@overload
def redis_cache(  # type: ignore[overload-overlap] # pyright: ignore[reportOverlappingOverload]
    function: Callable[P, Coroutine[Any, Any, T]], /
) -> AIOCachedFunction[P, T]: ...
@overload
def redis_cache(function: Callable[P, T], /) -> CachedFunction[P, T]: ...
@overload
def redis_cache(
    *,
    redis: Any = None,
    key: str | bytes | None = None,
    timeout: float | None = _DEFAULT_TIMEOUT,
    ttl: float | None = None,
    typed: bool = False,
    make_key: Callable[..., object] | None = None,
    single_flight: bool = False,
    lease: float = 10.0,
    on_error: Literal["raise", "compute"] = "raise",
) -> CacheDecorator: ...
def redis_cache(  # noqa: PLR0913 - one for each option
    function: Any = None,
    /,
    *,
    redis: Any = None,
    key: str | bytes | None = None,
    timeout: float | None = _DEFAULT_TIMEOUT,
    ttl: float | None = None,
    typed: bool = False,
    make_key: Callable[..., object] | None = None,
    single_flight: bool = False,
    lease: float = 10.0,
    on_error: str = "raise",
) -> Any:
    """Return *function*, which may be `async def`, with a cache of its results in Redis.

    Like `functools.cache`, but the results are shared by all processes that use the same key. Write
    `@redis_cache`, or give keyword arguments, `@redis_cache(key="prices")`:

    - *redis*: the client, a `redis.asyncio` one for an `async def`.
    - *key*: the key in Redis. By default it is `redis_cache:` with the module and the name of the
      function, so that processes share it; give keys if several programs with modules of the same
      name use the same database. A function without such a name (in `__main__`, in another
      function, a lambda, a bound method) gets a temporary key.
    - *timeout*: seconds without a call, hit or miss, until all results expire; None for never.
    - *ttl*: seconds after which each result expires by itself, however often it is used.
    - *typed*: whether 1, 1.0 and True are different arguments.
    - *make_key*: called with the arguments, it returns what stands for them: a str, bytes, or JSON.
    - *single_flight*: of all callers that miss the same result, anywhere, one computes it and the
      others wait for it. An exception is raised only in that caller, and the one that has waited
      longest computes. A caller that takes more than *lease* seconds is assumed dead, and the next
      one computes, too.
    - *on_error*: "compute" calls the function when Redis cannot be reached, and warns once per
      outage, through the logger `pottery`; "raise" raises. Each call waits as long as the client is
      configured to, so give the client short time-outs and few retries.

    The decorated function has `cache_info()`, `cache_clear()`, `cache_parameters()` and
    `__wrapped__`, as in functools, and also `invalidate(...)`, which forgets the result of one
    call, and `__bypass__(...)`, which computes it again. For an `async def`, those that ask Redis
    are awaited. Methods are bound, and so are their functions: `shop.price.invalidate("pear")`.
    Those of a class method are not, since Python 3.13: `Shop.tax.invalidate(Shop, "pear")`. The
    instance is an argument, so it must be distinguishable from others.

    Stored as one Redis hash; each field is the call as text, `price("pear", 3)`, or a digest if it
    is long, its value the JSON text of the result. With *ttl*, a sorted set beside it has the times
    at which results expire.

    Differs from `functools.cache`: a result, whether computed or found, is decoded from its JSON
    text, so every call returns a list for a tuple. A result that is not JSON serializable raises
    TypeError. Arguments are numbers, str, bytes, None, dates and times, UUIDs, enums, classes, and
    tuples, named tuples, frozensets and frozen dataclasses of these; others raise TypeError, unless
    there is *make_key*. 1, 1.0, True and Decimal(1) are the same argument, and so are all NaNs. The
    order of keyword arguments does not matter; `f(1)` and `f(n=1)` are two calls. Classes,
    including those of enums, dataclasses and named tuples, are identified by name, even across
    versions of your program: change *key* when their meaning changes.
    """
    options = Options(redis, timeout, ttl, typed, make_key, single_flight, lease, on_error)
    decorator = _Decorator(options, "" if key is None else checked(key, "redis_cache"))
    return decorator if function is None else decorator(function)
