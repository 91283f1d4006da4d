"""What pottery adds to error messages: where the error happened, and what helps."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import WeakKeyDictionary

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# For each default client, what its errors say as well when its server cannot be reached.
_NOT_GIVEN: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
# Compared by exact type: the messages of subclasses already say more ...
_AWAY = (RedisConnectionError, RedisTimeoutError)
# ... and so do messages that begin differently, such as "Too many connections".
_CONNECTING = ("Error ", "Timeout connecting")

# Special methods that would have to wait, the methods to use instead, and how to write both.
_SYNTAX = [
    ("__contains__", "has", "item in x", "await x.has(item)"),
    ("__delitem__", "delete", "del x[key]", "await x.delete(key)"),
    ("__enter__", "__aenter__", "with x", "async with x"),
    ("__exit__", "__aexit__", "with x", "async with x"),
    ("__getitem__", "fetch", "x[key]", "await x.fetch(key)"),
    ("__iter__", "__aiter__", "for item in x", "async for item in x"),
    ("__len__", "length", "len(x)", "await x.length()"),
    ("__len__", "size", "len(x)", "await x.size()"),
    ("__next__", "__anext__", "next(x)", "await anext(x)"),
    ("__reversed__", "reversed", "reversed(x)", "x.reversed()"),
    ("__setitem__", "set", "x[key] = value", "await x.set(key, value)"),
]


def refuse_syntax(kind: type) -> None:
    """Give *kind* special methods whose errors say what to await; those of Python would not.

    Type checkers do not see these methods, so they still find such mistakes.
    """
    for name, verb, wrong, right in _SYNTAX:
        if hasattr(kind, verb) and not hasattr(kind, name):
            setattr(kind, name, _refusal(name, wrong, right))


def _refusal(name: str, wrong: str, right: str) -> Callable[..., NoReturn]:
    def refuse(self: object, *_: object) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is for asyncio: `{right}`, and not `{wrong}`")

    refuse.__name__ = name
    return refuse


def wrong_client(name: str, kinds: Iterable[type], given: object) -> str:
    """Return the error message for *name* if *given* is not a client of one of *kinds*."""
    named = [f"{_module(kind)}.{kind.__name__}" for kind in kinds]
    return f"{name} needs a {' or '.join(named)} client, not {_described(given, name, named[0])}"


def _described(given: object, name: str, wanted: str) -> str:
    if isinstance(given, type):
        return f"the class {given.__qualname__}: give what {wanted}() returns"
    if isinstance(given, str):
        return f"a str: if it is a URL, give {wanted}.from_url(url)"
    kind = type(given)
    described = f"a {_module(kind)}.{kind.__qualname__}"
    if name.isidentifier() and f"{_module(kind)}.{kind.__name__}" == _in_other_colour(wanted):
        described += f", which is for {name[3:] if name.startswith('AIO') else f'AIO{name}'}"
    return described


def _module(kind: type) -> str:
    return kind.__module__.partition(".client")[0].partition(".cluster")[0]


def _in_other_colour(wanted: str) -> str:
    module, _, kind = wanted.rpartition(".")
    return f"redis.{kind}" if module == "redis.asyncio" else f"redis.asyncio.{kind}"


def remember_not_given(client: Any) -> None:
    """Remember that *client* is a default client: the caller gave none."""
    tried = "so REDIS_URL says which server is used"
    if not os.environ.get("REDIS_URL"):
        tried = "and no REDIS_URL, so a server on this machine is used: start redis-server"
    _NOT_GIVEN[client] = f"(No client was given, {tried}.)"


def explained(error: Exception, client: Any, name: str, key: str | bytes | None) -> Exception:
    """Return *error*, raised when *name* asked *client* about *key*, with any advice added."""
    if isinstance(error, ResponseError) and "WRONGTYPE " in str(error):
        error.args = (_on_wrong_type(str(error), name, key),)
    elif type(error) in _AWAY and client in _NOT_GIVEN and str(error).startswith(_CONNECTING):
        error.args = (f"{error} {_NOT_GIVEN[client]}",)
    return error


def _on_wrong_type(said: str, name: str, key: str | bytes | None) -> str:
    # Servers name the line of the script, which does not help the user.
    said = said[said.index("WRONGTYPE ") :].partition(" script: ")[0].rstrip(".")
    shown = key.decode(errors="backslashreplace") if isinstance(key, bytes) else key
    return (
        f"{said}: {name} found something else at its key {key!r}, or at one it was combined with: "
        f"look with `pottery show {shown}`, or choose another key"
    )
