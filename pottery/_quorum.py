"""What locks and IDs share: masters, and what their votes mean.

Masters are servers that know nothing of each other; a majority of them decides. All are asked at
once, by a `Poll`, and those that cannot vote at the moment are left out. Scripts are sent as text,
since a second round for masters that do not know the digest would cost far more.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from pottery._clients import address, same_server
from pottery._front import Front
from pottery.exceptions import DecodeError, QuorumIsImpossible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pottery._wire import Argument

# The clock for promises about time. It should go on while the machine sleeps.
now: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)

# Beyond this, neither Lua nor JavaScript can tell each integer from the next.
MOST = 2**53 - 1

# Errors of a server that may be able to vote later ...
_PASSING = (
    BusyLoadingError,
    ClusterDownError,  # MASTERDOWN, too
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
# ... and the same from within a script, where Redis 6.2 puts a long text in front.
_PASSING_WORDS = re.compile(r"\b(BUSY|MISCONF|NOREPLICAS|OOM|READONLY)\b")


class Primitive(Front):
    """A lock or IDs at *key*, decided by a majority of *masters*, clients of independent servers.

    Without masters, the default client's server decides alone. With *raise_on_redis_errors*,
    `QuorumIsImpossible` is raised if so many masters fail that the rest is not a majority.
    """

    # Only containers have a client of their own.
    redis: Any = None
    # A replica may take over before it has received every write, which would break promises.
    _takes_clusters = False
    _instead_of_pickling = "make one in the other process"
    _prefix: str

    def __init__(self, key: object, masters: Iterable[Any], *, raise_on_redis_errors: bool) -> None:
        if not isinstance(key, str):
            raise TypeError(f"{type(self).__name__} key must be str, not {type(key).__name__}")
        self._key = self._prefix + key
        self.raise_on_redis_errors = raise_on_redis_errors
        self._masters = self._chosen(masters)
        self._majority = len(self._masters) // 2 + 1

    def _chosen(self, masters: Iterable[Any]) -> tuple[Any, ...]:
        """Return *masters* in the order of their addresses, the same one in all processes."""
        chosen = {self._choose(master) for master in listed(masters)} or {self._choose(None)}
        for one, other in combinations(chosen, 2):
            if same_server(one, other):
                raise ValueError(f"two of the masters are the same server, {_place(one)}: give one")
        return tuple(sorted(chosen, key=lambda master: str(address(master))))

    @property
    def key(self) -> str:
        """The key at the masters: the one that was given, behind a prefix."""
        return self._key

    @property
    def masters(self) -> frozenset[Any]:
        """The clients of the servers that decide."""
        return frozenset(self._masters)

    def __repr__(self) -> str:
        """Return a text with the key as it is at the masters.

        O(1); 0 round trips; atomic.
        """
        return f"<{type(self).__name__} key={self.key}>"

    def _failures(self, votes: Sequence[Any], *, raises: bool | None = None) -> list[Exception]:
        """Return why masters did not vote; raise an error that will not pass by itself.

        *raises* overrides `raise_on_redis_errors`.
        """
        failures = [vote for vote in votes if isinstance(vote, Exception)]
        for failure in failures:
            if not _may_pass(failure):
                # It may have been raised before, by an earlier poll.
                raise self._explained(failure).with_traceback(None)
        must_raise = self.raise_on_redis_errors if raises is None else raises
        if must_raise and len(votes) - len(failures) < self._majority:
            raise QuorumIsImpossible(self.key, self._masters, failures)
        return failures


def listed(masters: Iterable[Any]) -> tuple[Any, ...]:
    """Return *masters* as a tuple; TypeError for a single client, which is iterable, too."""
    if hasattr(masters, "execute_command"):
        raise TypeError("masters must be an iterable of clients, not a client: masters={client}")
    return tuple(masters)


def _place(master: Any) -> str:
    host, port, path, *_ = address(master) or ("one found by Sentinel", "", "")
    return str(path or f"{host}:{port}")


def _may_pass(failure: Exception) -> bool:
    """Return whether a master that failed may vote later; if not, something is misconfigured."""
    if isinstance(failure, (AuthenticationError, NoPermissionError)):
        return False
    if isinstance(failure, ResponseError) and not isinstance(failure, _PASSING):
        return _PASSING_WORDS.search(str(failure)) is not None
    return True


def number(text: bytes, key: str) -> int:
    """Return the number that *key* holds as *text*; DecodeError if it is not a number."""
    with suppress(ValueError):  # more digits than Python reads
        if text.isdigit():
            return int(text)
    raise DecodeError(None, key, text)


def evaluate(text: str, keys: Sequence[str], args: Iterable[Argument] = ()) -> tuple[Argument, ...]:
    """Return the command that runs the script *text*, whether or not the server knows it.

    The first line of the text names KEYS, ARGV and the result, as that of a `Script` does.
    """
    return ("EVAL", text, str(len(keys)), *keys, *args)
