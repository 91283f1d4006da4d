"""synchronize: functions of which one call runs at a time, on whatever machine."""

from __future__ import annotations

from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from pottery._quorum import listed
from pottery.redlock import AIORedlock, Redlock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

P = ParamSpec("P")
T = TypeVar("T")


def synchronize(  # noqa: PLR0913 - as in pottery 3.0
    *,
    key: str,
    masters: Iterable[Any] = frozenset(),
    raise_on_redis_errors: bool = False,
    auto_release_time: float = 10,
    blocking: bool = True,
    timeout: float = -1,
    auto_renew: bool = False,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let one call of the decorated function, or `async def`, run at a time, on whatever machine.

    Each call holds the Redlock *key*; the other parameters are the lock's. A call raises
    QuorumNotAchieved if it cannot acquire the lock in time, and ReleaseUnlockedLock if the lock was
    lost while the function ran. Generator functions are refused, since calling them runs nothing.

    >>> @synchronize(key='print', masters={redis}, auto_release_time=0.5)
    ... def print_slowly(): ...

    O(1) besides the function; 2 round trips; not atomic.
    """
    options: dict[str, Any] = {
        "key": key,
        "masters": listed(masters),
        "raise_on_redis_errors": raise_on_redis_errors,
        "auto_release_time": auto_release_time,
        "context_manager_blocking": blocking,
        "context_manager_timeout": timeout,
        "auto_renew": auto_renew,
    }

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        if isgeneratorfunction(function) or isasyncgenfunction(function):
            raise TypeError("synchronize cannot hold a lock while a generator runs: use `with`")
        if iscoroutinefunction(function):
            return cast("Callable[P, T]", _synchronize_awaiting(function, AIORedlock(**options)))
        return _synchronize_blocking(function, Redlock(**options))

    return decorate


def _synchronize_blocking(function: Callable[P, T], lock: Redlock) -> Callable[P, T]:
    @wraps(function)
    def synchronized(*args: P.args, **kwargs: P.kwargs) -> T:
        with lock:
            return function(*args, **kwargs)

    return synchronized


def _synchronize_awaiting(
    function: Callable[P, Coroutine[Any, Any, T]], lock: AIORedlock
) -> Callable[P, Coroutine[Any, Any, T]]:
    @wraps(function)
    async def synchronized(*args: P.args, **kwargs: P.kwargs) -> T:
        async with lock:
            return await function(*args, **kwargs)

    return synchronized
