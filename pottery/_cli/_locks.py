"""`pottery locks`: who holds which lock, by the votes of a majority of the masters."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from pottery._cli._keys import LOCK, owner_of
from pottery._cli._screen import Column, Line, Table, duration, exact, plain
from pottery._cli._server import PAGE, first_of, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pottery._cli._screen import Screen
    from pottery._cli._server import Command, Server

_COLUMNS = (
    Column("LOCK", shrinks=True),
    Column("HOLDER", shrinks=True),
    Column("LEFT", is_right=True),
    Column("VOTES", is_right=True),
    Column("WAITING", is_right=True),
    Column("FENCE", is_right=True),
)


class Vote(NamedTuple):
    """What one master says about a lock."""

    token: bytes | None
    seconds: float | None
    waiting: int
    fence: int


class Lock(NamedTuple):
    """What masters say about a lock; *masters* is how many there are, even if some are silent."""

    name: bytes
    votes: Sequence[Vote]
    masters: int

    @property
    def majority(self) -> int:
        """How many masters decide."""
        return self.masters // 2 + 1

    @property
    def best(self) -> tuple[bytes | None, int]:
        """The token with the most votes, and how many those are."""
        tokens = Counter(vote.token for vote in self.votes if vote.token is not None)
        return next(iter(tokens.most_common(1)), (None, 0))

    @property
    def is_held(self) -> bool:
        """Whether a majority says the same."""
        return self.best[1] >= self.majority

    @property
    def left(self) -> float | None:
        """The seconds for which a majority keeps it; None if that is for ever, or if none does."""
        if not self.is_held:
            return None
        token = self.best[0]
        left = [vote.seconds for vote in self.votes if vote.token == token]
        ends = sorted((float("inf") if one is None else one for one in left), reverse=True)
        end = ends[self.majority - 1]
        return None if end == float("inf") else end

    @property
    def waiting(self) -> int:
        """How many wait: a waiter is known to all masters that it could reach."""
        return max((vote.waiting for vote in self.votes), default=0)

    @property
    def fence(self) -> int | None:
        """The highest fencing number that was given, None if there was none."""
        return max((vote.fence for vote in self.votes), default=0) or None


def show_locks(screen: Screen, masters: Sequence[Server], pattern: bytes, missing: int) -> int:
    """Print the locks that match *pattern*; *missing* masters could not be connected to."""
    found = set[bytes]().union(*(_scanned(screen, master, pattern) for master in masters))
    names = sorted(found)
    table = Table(screen, _COLUMNS)
    shown = 0
    for start in range(0, len(names), PAGE):
        page = names[start : start + PAGE]
        lines = [_line(lock) for lock in _looked_at(masters, page, len(masters) + missing)]
        table.show(lines)
        shown += len(lines)
    if names and not shown:  # they have just been released, or are forbidden
        screen.note("no lock that this user may look at is held or waited for")
    elif not names and len(masters) > missing:
        screen.note("no lock is held or waited for")
    elif not names:
        screen.note("too few masters answer to tell which locks are held")
    return 0


def show_locks_at(screen: Screen, server: Server, key: bytes) -> int:
    """Print one lock as one of its masters sees it."""
    name = key.removeprefix(LOCK)
    Table(screen, _COLUMNS).show(map(_line, _looked_at([server], [name], 1)))
    return 0


def _scanned(screen: Screen, master: Server, pattern: bytes) -> set[bytes]:
    """Return the names of the locks that one master knows to be held or waited for."""
    found: set[bytes] = set()
    for keys in master.scan(LOCK + pattern):
        found |= {name for name in map(_name, keys) if name is not None}
        screen.progress(f"{len(found):,} locks so far ...")
    return found


def _name(key: bytes) -> bytes | None:
    """Return the lock that is held or waited for according to *key*, None if there is none."""
    owner = owner_of(key)
    if owner is None:
        return key.removeprefix(LOCK)
    return owner.removeprefix(LOCK) if key.endswith(b"~waiting") else None


def _looked_at(masters: Sequence[Server], names: list[bytes], count: int) -> Iterable[Lock]:
    votes = [_votes(master, names) for master in masters]
    for name, *of_lock in zip(names, *votes, strict=True):
        if any(vote.token is not None or vote.waiting for vote in of_lock):
            yield Lock(name, of_lock, count)


def _votes(master: Server, names: list[bytes]) -> list[Vote]:
    """Return what one master says about locks; two round trips."""
    seconds, micros = master.ask("TIME")
    now = f"{int(seconds) * 1000 + int(micros) // 1000}"
    replies = master.ask_all(list(chain.from_iterable(_questions(name, now) for name in names)))
    return [_vote(replies[at : at + 4]) for at in range(0, len(replies), 4)]


def _questions(name: bytes, now: str) -> Iterable[Command]:
    key = LOCK + name
    yield ("GET", key)
    yield ("PTTL", key)
    yield ("ZCOUNT", key + b"~waiting", now, "+inf")
    yield ("GET", key + b"~fence")


def _vote(replies: list[Any]) -> Vote:
    token, left, waiting, fence = (first_of([reply]) for reply in replies)
    seconds = left / 1000 if left is not None and left >= 0 else None
    return Vote(token, seconds, waiting or 0, whole(fence) or 0)


def _line(lock: Lock) -> Line:
    token, votes = lock.best
    record: dict[str, Any] = {
        "lock": exact(lock.name),
        "held": lock.is_held,
        "holder": exact(token) if token is not None and lock.is_held else None,
        "seconds_left": lock.left,
        "votes": votes,
        "answered": len(lock.votes),
        "masters": lock.masters,
        "waiting": lock.waiting,
        "fencing_number": lock.fence,
    }
    holder = plain(token) if token is not None and lock.is_held else _nobody(lock)
    left = "for ever" if lock.is_held and lock.left is None else duration(lock.left)
    votes_of = f"{votes} of {lock.masters}"
    fence = str(lock.fence or "-")
    cells = (plain(lock.name), holder, left, votes_of, str(lock.waiting), fence)
    return Line(record, cells)


def _nobody(lock: Lock) -> str:
    """Say why nobody holds a lock that masters do know."""
    if not lock.best[1]:
        return "(nobody)"
    is_open = lock.best[1] + lock.masters - len(lock.votes) >= lock.majority
    return "(unknown: too few answer)" if is_open else "(nobody has a majority)"
