"""Every exception and warning of pottery.

    Exception
    ├── PotteryError                    about one container: .redis and .key say which
    │   ├── KeyExistsError              data was given for a key that exists already
    │   ├── RandomKeyError              kept for handlers that name it; no longer raised
    │   ├── DecodeError                 also a ValueError: what Redis holds is not JSON; .raw has it
    │   ├── OutcomeUnknown              also a redis.ConnectionError: a write may have run, or not
    │   └── QueueEmptyError             also a queue.Empty: no item, or none in time
    ├── PrimitiveError                  about one lock or ID: also a RuntimeError; .key, .masters,
    │   │                               and what the masters raised: .redis_errors
    │   ├── QuorumNotAchieved           a majority did not agree, this time
    │   ├── QuorumIsImpossible          a majority could not even be asked
    │   ├── TooManyExtensions           a lock was already extended as often as allowed
    │   ├── ExtendUnlockedLock          extend() of a lock that is not, or no longer, held
    │   └── ReleaseUnlockedLock         release() of a lock that is not, or no longer, held
    └── Warning
        └── PotteryWarning
            └── InefficientAccessWarning    one expression walks or moves a whole container

Where a builtin raises an exception, pottery raises the same one with the same text. Errors of Redis
pass through unchanged, except that WRONGTYPE, and the failure to reach a default server, also say
where it happened and what helps.
"""

from __future__ import annotations

from queue import Empty
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError

if TYPE_CHECKING:
    from collections.abc import Iterable


def in_short(error: Exception) -> str:
    """Return the type and the text of *error*, the text only up to where it shows a client.

    When no master can be found, redis-py 6 and 7 show the client of a Sentinel with its password.
    """
    return f"{type(error).__name__}: {str(error).partition('<redis.')[0].rstrip(' :')}"


class PotteryError(Exception):
    """Something is wrong with the container at *key* on the server of the client *redis*."""

    problem = "cannot be used"

    def __init__(self, redis: Any, key: str | bytes | None = None) -> None:
        """Remember which container it is."""
        super().__init__(redis, key)
        self.redis = redis
        self.key = key

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the client, which cannot be pickled."""
        return type(self), (None, *self.args[1:])

    def __repr__(self) -> str:
        """Return the message, without the client and all its options."""
        return f"{type(self).__name__}({str(self)!r})"

    def __str__(self) -> str:
        """Name the key but not the client, since its address does not belong in a log."""
        return f"key {self.key!r} {self.problem}"


class KeyExistsError(PotteryError):
    """Data was given for a new container, but its key exists already."""

    problem = "exists already: attach to it without data, clear it, or choose another key"


class RandomKeyError(PotteryError, RuntimeError):
    """No free key was found. Nothing raises this now: random keys are no longer searched for."""

    problem = "could not be chosen at random"


class DecodeError(PotteryError, ValueError):
    """A value in Redis is not JSON, or not hashable where it must be; *raw* has its bytes."""

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

    The command ran once or not at all, and it was not sent again, since a second run would change
    the result. (Where a second run is as good as one, it was sent again, but in vain.) Look at the
    container, then decide. The last error is the `__cause__`.
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
    """Something is wrong with the lock or ID sequence *key*, which a majority of *masters* decides.

    *redis_errors* are the errors of those masters that could not be asked.
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
        """Pickle without the clients, which cannot be pickled."""
        return type(self), (self.key, (), self.redis_errors)

    def __repr__(self) -> str:
        """Return the message, without the clients and all their options."""
        return f"{type(self).__name__}({str(self)!r})"

    def __str__(self) -> str:
        """Name the key and what the masters raised, but not the clients, which hold secrets."""
        errors = "".join(f"; {in_short(error)}" for error in self.redis_errors)
        return f"{self.key!r} {self.problem}{errors}"


class QuorumNotAchieved(PrimitiveError):
    """A majority of the masters did not agree in time."""

    problem = "got no majority of its masters"

    def __str__(self) -> str:
        """Say why, unless masters failed."""
        why = "" if self.redis_errors else ", although they answered: somebody else has it"
        return f"{super().__str__()}{why}"


class QuorumIsImpossible(PrimitiveError):
    """So many masters failed that the remaining ones are not a majority."""

    problem = "cannot get a majority of its masters"


class TooManyExtensions(PrimitiveError):
    """The lock was already extended as often as `num_extensions` allows."""

    problem = "was already extended as often as num_extensions allows"


class ExtendUnlockedLock(PrimitiveError):
    """This object does not, or no longer, hold the lock, so it cannot extend it."""

    problem = "is not held by this object, or is no longer, so it cannot be extended"


class ReleaseUnlockedLock(PrimitiveError):
    """This object does not, or no longer, hold the lock, so it cannot release it."""

    problem = "is not held by this object, or is no longer, so it cannot be released"


class PotteryWarning(Warning):
    """Base of pottery's warnings."""


class InefficientAccessWarning(PotteryWarning):
    """One innocent-looking expression walks or moves a whole container in Redis."""
