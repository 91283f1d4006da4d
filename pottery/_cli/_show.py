"""`pottery show`: what is in one container."""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pottery._cli._keys import COMPANION, ID, LOCK, described, is_call
from pottery._cli._locks import show_locks_at
from pottery._cli._ls import size
from pottery._cli._screen import Column, Line, Table, cut, duration, exact, memory, plain
from pottery._cli._server import PAGE, Trouble, pairs, whole
from pottery._json import decode, freeze

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pottery._cli._keys import Key
    from pottery._cli._screen import Screen
    from pottery._cli._server import Server, Servers

# Characters of a value, and bytes of a string, that are shown without --full.
_LONGEST = 200
# The longest bitmap whose bits are counted: some milliseconds of the server's time.
_MOST_BYTES = 2**24
_COLUMNS = {
    "hash": (Column("KEY", shrinks=True), Column("VALUE", shrinks=True)),
    "list": (Column("INDEX", is_right=True), Column("VALUE", shrinks=True)),
    "set": (Column("MEMBER", shrinks=True),),
    "stream": (Column("PUT AT (UTC)"), Column("ITEM", shrinks=True)),
    "zset": (Column("SCORE", is_right=True), Column("MEMBER", shrinks=True)),
}


def show(screen: Screen, servers: Servers, name: bytes, *, limit: int, is_full: bool) -> int:
    """Print what is at *name*, as many elements as *limit* allows; return the exit status."""
    key = _found(servers, name)
    server = servers.of(key.name)
    if key.kind == "lock":
        return show_locks_at(screen, server, key.name)
    if key.type == "?":
        raise Trouble(f"this user may not look at {plain(key.name)}")
    if key.type not in {"string", *_COLUMNS}:
        raise Trouble(f"{plain(key.name)} is a {key.type}, which pottery does not use")
    view = View(server, key, servers.beside(key.name, "returned"), is_full=is_full)
    lines = list(view.lines(limit))
    if not screen.is_json:
        screen.write(screen.paint(_heading(key, view.kind(lines)), "bold"))
    _print(screen, key, lines)
    if view.left > 0:
        screen.note(f"{view.left:,} more: see --limit")
    return 0


def _print(screen: Screen, key: Key, lines: list[Line]) -> None:
    if key.type != "string":
        Table(screen, _COLUMNS[key.type]).show(lines)
    elif screen.is_json:
        screen.record({name: value for line in lines for name, value in line.record.items()})
    else:
        for line in lines:
            screen.write(f"{line.cells[0]:<12}  {line.cells[1]}")


def _heading(key: Key, kind: str) -> str:
    temporary = ", temporary" if key.is_temporary else ""
    ends = "no expiry" if key.ttl is None else f"expires in {duration(key.ttl)}"
    unit = "" if key.is_in_bytes else " item" if key.size == 1 else " items"
    return f"{plain(key.name)}: {kind}{temporary}, {size(key)}{unit}, {ends}"


def _found(servers: Servers, name: bytes) -> Key:
    """Return what is at *name*, or else the lock or the sequence that has this name."""
    for prefix in (b"", LOCK, ID):
        keys = described(servers.of(prefix + name), [prefix + name])
        if keys:
            return keys[0]
    returned = servers.beside(name, "returned")
    if servers.of(name).ask("ZCARD", returned):
        return described(servers.of(name), [returned])[0]
    raise Trouble(f"there is no key {plain(name)} at {servers.address}")


class Element(NamedTuple):
    """One element, or its bytes as a text, and how it is *shown* to people."""

    value: Any
    shown: str
    is_decoded: bool = True


class View:
    """The content of *key*, as lines; *left* is how many elements were not read.

    *returned* is the key of the items that were given back to a queue.
    """

    def __init__(self, server: Server, key: Key, returned: bytes, *, is_full: bool) -> None:
        self.server = server
        self.key = key
        self.returned = returned
        self.longest = 0 if is_full else _LONGEST
        self.left = 0

    def lines(self, limit: int) -> Iterator[Line]:
        """Yield the first *limit* elements, all for 0."""
        if self.key.type == "string":
            yield from self._string()
            return
        lines = cast("Iterator[Line]", getattr(self, f"_{self.key.type}")(limit or PAGE))
        for count, line in enumerate(lines, 1):
            yield line
            if count == limit:
                self.left = (self.key.size or 0) - count
                break

    def kind(self, lines: list[Line]) -> str:
        """Return the kind of the key, judging by the content."""
        values = [line.record.get("value") for line in lines]
        may_count = all(type(value) in (int, float) for value in values)
        if self.key.type == "hash" and "counter" in self.key.kind and not may_count:
            return "dict" if self.key.ttl is None else "dict or cached dict"
        return self.key.kind

    def _hash(self, limit: int) -> Iterator[Line]:
        for flat in self._scan("HSCAN", limit):
            for field, value in pairs(flat):
                key, content = self._decoded(field, is_key=True), self._decoded(value)
                yield _line({}, key=key, value=content)

    def _set(self, limit: int) -> Iterator[Line]:
        for raw in chain.from_iterable(self._scan("SSCAN", limit)):
            yield _line({}, member=self._decoded(raw, is_key=True))

    def _zset(self, limit: int) -> Iterator[Line]:
        for flat in self._scan("ZSCAN", limit):
            for raw, score in pairs(flat):
                number = score.decode()
                yield _line({"score": number}, number, member=self._decoded(raw))

    def _scan(self, command: str, limit: int) -> Iterator[list[bytes]]:
        cursor, count = b"0", str(min(limit, PAGE))
        while True:
            cursor, page = self.server.ask(command, self.key.name, cursor, "COUNT", count)
            yield page
            if cursor == b"0":
                return

    def _list(self, limit: int) -> Iterator[Line]:
        step = min(limit, PAGE)
        for start in range(0, self.key.size or 0, step):
            page = self.server.ask("LRANGE", self.key.name, str(start), str(start + step - 1))
            for index, raw in enumerate(page, start):
                yield _line({"index": index}, str(index), value=self._decoded(raw))

    def _stream(self, limit: int) -> Iterator[Line]:
        yield from self._returned()
        start, count = b"-", str(min(limit, PAGE))
        while page := self.server.ask("XRANGE", self.key.name, start, "+", "COUNT", count):
            for entry, fields in page:
                yield self._entry(entry, fields)
            start = b"(" + page[-1][0]

    def _returned(self) -> Iterator[Line]:
        """Yield the items that were given back to a queue, which are got before all others."""
        members = self.server.allowed("ZRANGE", self.returned, "0", "-1")
        for member in members or ():
            entry, _, raw = member.partition(b":")
            time, _, count = entry.partition(b"-")
            yield self._entry(b"-".join(part.lstrip(b"0") or b"0" for part in (time, count)), [raw])

    def _entry(self, entry: bytes, fields: list[bytes]) -> Line:
        raw = fields[1] if len(fields) == 2 else b" ".join(fields)
        return _line({"id": exact(entry)}, _time(entry), item=self._decoded(raw))

    def _string(self) -> Iterator[Line]:
        """Yield what can be told about a string."""
        name = self.key.name
        if self.key.kind == "ids":
            last = self.server.ask("GET", name)
            known = whole(last)
            number = exact(last) if known is None else known
            yield Line({"last_id": number}, ("last ID", plain(last)))
        elif self.key.kind == "hyperloglog":
            count = self.server.ask("PFCOUNT", name)
            yield Line({"count": count}, ("different", f"about {count:,}"))
        else:
            yield from self._bits(name, self.key.size or 0)

    def _bits(self, name: bytes, length: int) -> Iterator[Line]:
        yield Line({"bits": length * 8}, ("as a bitmap", f"{length * 8:,} bits"))
        if length <= _MOST_BYTES:
            ones = self.server.ask("BITCOUNT", name)
            share = f"{ones / (length * 8 or 1):.1%}; a full Bloom filter has 50%"
            yield Line({"ones": ones}, ("bits set", f"{ones:,} ({share})"))
        begin = self.server.ask("GETRANGE", name, "0", str(self.longest // 4 - 1))
        more = f" and {memory(length - len(begin))} more" if length > len(begin) else ""
        yield Line({"begins": exact(begin)}, ("bytes", f"{begin!r}{more}"))

    def _decoded(self, raw: bytes, *, is_key: bool = False) -> Element:
        try:
            value = decode(raw)
            shown = repr(freeze(value) if is_key else value)
        except (ValueError, RecursionError):
            return self._undecodable(raw, is_key=is_key)
        return Element(value, self._cut(shown))

    def _undecodable(self, raw: bytes, *, is_key: bool) -> Element:
        if is_key and is_call(raw):
            return Element(exact(raw), self._cut(plain(raw)))
        is_ours = not self.key.kind.startswith("other") and self.key.kind != COMPANION
        shown = f"<undecodable {raw!r}>" if is_ours else repr(raw)
        return Element(exact(raw), self._cut(shown), is_decoded=False)

    def _cut(self, text: str) -> str:
        return cut(text, self.longest) if self.longest else text


def _line(record: dict[str, Any], *cells: str, **elements: Element) -> Line:
    """Return a line that ends in *elements*."""
    values = {name: element.value for name, element in elements.items()}
    broken = [name for name, element in elements.items() if not element.is_decoded]
    marks = {"undecodable": broken} if broken else {}
    shown = (element.shown for element in elements.values())
    return Line({**record, **values, **marks}, (*cells, *shown))


def _time(entry: bytes) -> str:
    """Return when an entry of a queue was put, according to its ID."""
    try:
        milliseconds = int(entry.partition(b"-")[0])
        moment = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return "?"
    return moment.isoformat(" ", "milliseconds")[:23]
