"""`pottery ls`: which containers there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pottery._cli._keys import described, owner_of
from pottery._cli._screen import Column, Line, Table, duration, exact, memory, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pottery._cli._keys import Key
    from pottery._cli._screen import Screen
    from pottery._cli._server import Server, Servers

_COLUMNS = (
    Column("KEY", shrinks=True),
    Column("KIND"),
    Column("SIZE", is_right=True),
    Column("TTL", is_right=True),
)
_ORDERS: dict[str, Callable[[Key], Any]] = {
    "name": lambda key: key.name,
    "size": lambda key: -(key.size or 0),
    "ttl": lambda key: float("inf") if key.ttl is None else key.ttl,
}
ORDERS = tuple(_ORDERS)


class Listing:
    """Keys that match a pattern, including companions of other keys if *shows_all*."""

    def __init__(self, screen: Screen, *, shows_all: bool, order: str | None) -> None:
        self.screen = screen
        self.table = Table(screen, _COLUMNS)
        self.shows_all = shows_all
        self.order = order
        self.scanned = self.shown = self.hidden = 0
        self.sorted: dict[bytes, Key] = {}

    def add(self, server: Server, names: list[bytes]) -> None:
        """Look at a page of keys."""
        self.scanned += len(names)
        keys = described(server, names if self.shows_all else self._owners(server, names))
        if self.order:
            self.sorted.update((key.name, key) for key in keys)
        else:
            self.show(sorted(keys, key=_ORDERS["name"]))
        self.screen.progress(f"{self.scanned:,} keys so far ...")

    def _owners(self, server: Server, names: list[bytes]) -> list[bytes]:
        """Return *names* without companions of keys that exist."""
        owners = [(name, owner) for name in names if (owner := owner_of(name)) is not None]
        replies = server.ask_all([("EXISTS", owner) for _, owner in owners])
        beside = {name for (name, _), reply in zip(owners, replies, strict=True) if reply == 1}
        self.hidden += len(beside)
        return [name for name in names if name not in beside]

    def show(self, keys: Iterable[Key]) -> None:
        """Print a page of keys."""
        lines = [_line(key) for key in keys]
        self.shown += len(lines)
        self.table.show(lines)


def list_keys(
    screen: Screen, servers: Servers, pattern: bytes, *, shows_all: bool, order: str | None
) -> int:
    """Print the keys that match *pattern*; return the exit status."""
    listing = Listing(screen, shows_all=shows_all, order=order)
    for server in servers.all:
        for names in server.scan(pattern):
            listing.add(server, names)
    if order:
        by_name = sorted(listing.sorted.values(), key=_ORDERS["name"])
        listing.show(sorted(by_name, key=_ORDERS[order]))
    screen.end_progress()
    if listing.hidden:
        screen.note(f"left out as they belong to others: {listing.hidden:,} (see --all)")
    elif not listing.shown:
        screen.note(f"no key of {servers.address} matches {plain(pattern)}")
    return 0


def _line(key: Key) -> Line:
    record = {
        "key": exact(key.name),
        "kind": key.kind,
        "type": key.type,
        "size": key.size,
        "unit": "bytes" if key.is_in_bytes else "items",
        "ttl": key.ttl,
        "temporary": key.is_temporary,
        "beside": None if (owner := owner_of(key.name)) is None else exact(owner),
    }
    kind = key.kind + (", temporary" if key.is_temporary else "")
    return Line(record, (plain(key.name), kind, size(key), duration(key.ttl)))


def size(key: Key) -> str:
    """Return how large a key is, for people."""
    if key.size is None:
        return "?"
    return memory(key.size) if key.is_in_bytes else f"{key.size:,}"
