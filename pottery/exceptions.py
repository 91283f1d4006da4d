"""Every exception and warning of pottery.

    Exception
    ├── PotteryError                    about one container: .redis and .key say which
    │   ├── KeyExistsError              data was given for a key that exists already
    │   ├── RandomKeyError              kept for handlers that name it; no longer raised
    │   ├── DecodeError                 also a ValueError: what Redis holds is not JSON; .raw is it
    │   ├── OutcomeUnknown              also a redis.ConnectionError: did a write run, or not?
    │   └── QueueEmptyError             also a queue.Empty: no item, or none in time
    ├── PrimitiveError                  about one lock or ID: also a RuntimeError; .key, .masters,
    │   │                               and what the masters raised: .redis_errors
    │   ├── QuorumNotAchieved           a majority did not agree, this time
    │   ├── QuorumIsImpossible          a majority could not even be asked
    │   ├── TooManyExtensions           a lock was extended as often as it may be
    │   ├── ExtendUnlockedLock          a lock that is not held, or no longer, was to be extended
    │   └── ReleaseUnlockedLock         a lock that is not held, or no longer, was to be released
    └── Warning
        └── PotteryWarning
            └── InefficientAccessWarning    one expression walks or moves a whole container

What the builtin raises, pottery raises, with the builtin's text; what Redis raises passes as it is,
save that WRONGTYPE, and a default server that is not there, say besides where, and what helps.
"""

from __future__ import annotations

from queue import Empty
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError

if TYPE_CHECKING:
    from collections.abc import Iterable


def in_short(error: Exception) -> str:
    """Return the kind and the text of *error* up to where it shows a client.

    When no master can be found, redis-py 6 and 7 show the client of a Sentinel with its password.
    """
    return f"{type(error).__name__}: {str(error).partition('<redis.')[0].rstrip(' :')}"


class PotteryError(Exception):
    """Something about the container at *key* of the server behind *redis*."""

    problem = "cannot be used"

    def __init__(self, redis: Any, key: str | bytes | None = None) -> None:
        """Remember which container it is."""
        super().__init__(redis, key)
        self.redis = redis
        self.key = key

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes without the client, which cannot."""
        return type(self), (None, *self.args[1:])

    def __repr__(self) -> str:
        """Show the message, and not the client with all its options."""
        return f"{type(self).__name__}({str(self)!r})"

    def __str__(self) -> str:
        """Name the key; the client is left out, since its address is nobody's business in a log."""
        return f"key {self.key!r} {self.problem}"


class KeyExistsError(PotteryError):
    """Data was given for a new container, but its key exists already."""

    problem = "exists already: attach to it without data, clear it, or choose another key"


class RandomKeyError(PotteryError, RuntimeError):
    """No free key was found. Random keys no longer need looking for, so nothing raises this now."""

    problem = "could not be chosen at random"


class DecodeError(PotteryError, ValueError):
    """A value in Redis that is not JSON, or not hashable where it must be; *raw* is its bytes."""

    def __init__(self, redis: Any, key: str | bytes | None, raw: bytes) -> None:
        """Remember the container and the bytes."""
        super().__init__(redis, key)
        self.args = (redis, key, raw)
        self.raw = raw

    def __str__(self) -> str:
        """Name the key and show the beginning of the bytes."""
        shown = self.raw if len(self.raw) <= 80 else self.raw[:77] + b"..."
        return f"key {self.key!r} holds {shown!r}, which cannot be decoded"


class OutcomeUnknown(PotteryError, RedisConnectionError):
    """The connection was lost after *command* was sent and before its reply came.

    The command ran once or not at all. It was not sent again, since a second run would change the
    result; or it was, in vain, where that is as good as one run. Look at the container, then
    decide. The last error is the `__cause__`.
    """

    def __init__(self, redis: Any, key: str | bytes | None, command: str) -> None:
        """Remember the container and the name of the command."""
        super().__init__(redis, key)
        self.args = (redis, key, command)
        self.command = command

    def __str__(self) -> str:
        """Say what is not known."""
        return f"key {self.key!r}: no reply to {self.command}, which may have run"


class QueueEmptyError(PotteryError, Empty):
    """The queue had no item, or got none in time."""

    problem = "has no item"


class PrimitiveError(RuntimeError):
    """Something about the lock or the sequence *key*, which a majority of *masters* decides.

    *redis_errors* is what those masters raised that could not be asked.
    """

    problem = "cannot be used"

    def __init__(
        self, key: str, masters: Iterable[Any] = (), redis_errors: Iterable[Exception] = ()
    ) -> None:
        """Remember what it is about, and what went wrong at the masters."""
        self.key = key
        self.masters = frozenset(masters)
        self.redis_errors = list(redis_errors)
        super().__init__(key, self.masters, self.redis_errors)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes without the clients, which cannot."""
        return type(self), (self.key, (), self.redis_errors)

    def __repr__(self) -> str:
        """Show the message, and not the clients with all their options."""
        return f"{type(self).__name__}({str(self)!r})"

    def __str__(self) -> str:
        """Name the key, and what the masters raised; the clients hold secrets."""
        errors = "".join(f"; {in_short(error)}" for error in self.redis_errors)
        return f"{self.key!r} {self.problem}{errors}"


class QuorumNotAchieved(PrimitiveError):
    """A majority of the masters did not agree in time."""

    problem = "got no majority of its masters"

    def __str__(self) -> str:
        """Say why, if it is not that masters failed."""
        why = "" if self.redis_errors else ", although they answered: somebody else has it"
        return f"{super().__str__()}{why}"


class QuorumIsImpossible(PrimitiveError):
    """So many masters failed that those left are no majority."""

    problem = "cannot get a majority of its masters"


class TooManyExtensions(PrimitiveError):
    """The lock was extended as often as `num_extensions` allows."""

    problem = "was extended as often as it may be"


class ExtendUnlockedLock(PrimitiveError):
    """The lock is not held by this object, or no longer, so it cannot be extended."""

    problem = "is not held by this object, or no longer, so it cannot be extended"


class ReleaseUnlockedLock(PrimitiveError):
    """The lock is not held by this object, or no longer, so it cannot be released."""

    problem = "is not held by this object, or no longer, so it cannot be released"


class PotteryWarning(Warning):
    """Base of pottery's warnings."""


class InefficientAccessWarning(PotteryWarning):
    """One innocent-looking expression walks or moves a whole container in Redis."""
