"""A builtin and ours, side by side: each line is run on both, and must do the same.

The same is: the same result, or the same error with the same text, and afterwards the same content.
The builtin says what is right, so nothing goes out of date with Python.
"""

from __future__ import annotations

import copy
import re
from collections import Counter, deque
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from functools import partial
from typing import Any, NamedTuple

import pytest
from colours import AWAITED, Awaited, why_not
from redis import Redis, RedisCluster

from pottery.counter import RedisCounter
from pottery.deque import RedisDeque
from pottery.dict import RedisDict
from pottery.list import RedisList
from pottery.set import RedisSet

TYPES = {
    list: RedisList,
    set: RedisSet,
    dict: RedisDict,
    deque: RedisDeque,
    Counter: RedisCounter,
}
NAMES = {kind.__name__: ours.__name__ for kind, ours in TYPES.items()}
NAMES |= {f"dict_{view}": f"RedisDict{view.title()}" for view in ("keys", "values", "items")}
BIG = 10**30


def types_of(redis: Any) -> dict[type, Any]:
    """Return ours for each builtin, in the colour of a client."""
    return TYPES if isinstance(redis, (Redis, RedisCluster)) else AWAITED


def shape(value: Any) -> Any:
    """Return what must be equal: the types and values of builtins, and of ours as if they were."""
    value = value.builtin() if isinstance(value, Awaited) else value
    if isinstance(value, (list, RedisList)):
        return "list", [shape(item) for item in value]
    if isinstance(value, (deque, RedisDeque)):
        return "deque", value.maxlen, [shape(item) for item in value]
    if isinstance(value, (set, frozenset, RedisSet)):
        return "set", sorted(repr(shape(item)) for item in value)
    if isinstance(value, Mapping):
        kind = "Counter" if isinstance(value, (Counter, RedisCounter)) else "dict"
        return kind, [(shape(key), shape(item)) for key, item in value.items()]
    for kind in (KeysView, ValuesView, ItemsView, Iterator, tuple):
        if isinstance(value, kind):
            return kind.__name__, [shape(item) for item in value]
    return type(value).__name__, repr(value)


def outcome(line: str, names: dict[str, Any]) -> Any:
    """Return the shape of what *line* gives, or its error with the builtins' names in the text."""
    try:
        try:
            code = compile(line, "<line>", "eval")
        except SyntaxError:
            code = compile(line, "<line>", "exec")
        return shape(eval(code, names))
    except Exception as error:  # noqa: BLE001 - whatever it is, both must raise it
        text = str(error)
        for theirs, ours in NAMES.items():
            text = re.sub(rf"\b(AIO)?{ours}\b", theirs, text)
        return type(error), text.replace("collections.deque", "deque")


class Both(NamedTuple):
    """A builtin with some content, and ours with the same."""

    builtin: Any
    ours: Any

    @classmethod
    def of(cls, redis: Any, kind: type, *content: Any) -> Both:
        """Return a builtin of *kind* made from *content*, and ours at *redis*."""
        ours = types_of(redis)[kind]
        return cls(kind(*copy.deepcopy(content)), ours(*content, redis=redis))

    def run(self, line: str, **names: Any) -> None:
        """Run *line* on both, as `it`; `make` makes another of the same type."""
        if self.why_not(line):
            pytest.skip(f"asyncio: {self.why_not(line)}")
        content = repr(self.builtin)
        theirs = {"it": self.builtin, "make": type(self.builtin), "BIG": BIG, **names}
        ours = {**theirs, "it": self.ours, "make": partial(type(self.ours), redis=self.ours.redis)}

        expected, found = outcome(line, theirs), outcome(line, ours)

        assert found == expected, f"{line} of {content}"
        assert shape(self.ours) == shape(self.builtin), f"after {line} of {content}"
        assert (ours["it"] is self.ours) == (theirs["it"] is self.builtin), line

    def why_not(self, line: str) -> str | None:
        """Return why *line* does not make sense for ours, if it does not."""
        return why_not(line) if isinstance(self.ours, Awaited) else None
