"""What the command prints: tables for people, JSON lines for programs.

What only people need (colours, progress, cutting long texts) is done only on a terminal.
"""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from json import dumps
from math import log2
from typing import TYPE_CHECKING, Any, NamedTuple
from unicodedata import combining, east_asian_width

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TextIO

_STYLES = {"bold": "1", "dim": "2", "red": "1;31", "green": "32", "yellow": "33"}
_GAP = "  "
# Columns that a cell keeps, however narrow the terminal is.
_LEAST = 8
_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


class Line(NamedTuple):
    """One line of a table, and what it is in JSON."""

    record: dict[str, Any]
    cells: tuple[str, ...]


class Column(NamedTuple):
    """A column; one that *shrinks* is cut where the terminal is too narrow."""

    title: str
    shrinks: bool = False
    is_right: bool = False
    width: int = 0


class Screen:
    """Where the command prints: lines of JSON if *is_json*; not cut to fit if *is_full*."""

    def __init__(self, *, is_json: bool = False, is_full: bool = False) -> None:
        self.is_json = is_json
        self.width = 0 if is_full else _width(sys.stdout)
        self._has_colours = _has_colours(sys.stdout)
        self._shows_progress = sys.stderr.isatty()
        self._has_progress = False

    def paint(self, text: str, style: str) -> str:
        """Return *text* in a style, if styles are shown."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self._has_colours and style else text

    def write(self, text: str) -> None:
        """Print a line of the result."""
        self.end_progress()
        sys.stdout.write(text + "\n")

    def record(self, record: dict[str, Any]) -> None:
        """Print a line of JSON."""
        try:
            text = _strict(record)
        except RecursionError:  # nested so deeply that Python just managed to read it
            nested = [name for name, value in record.items() if isinstance(value, (list, dict))]
            text = _strict({**record, **dict.fromkeys(nested), "undecodable": nested})
        self.write(text)

    def note(self, text: str) -> None:
        """Print a remark that is not part of the result."""
        self.end_progress()
        sys.stdout.flush()
        sys.stderr.write(text + "\n")

    def progress(self, text: str) -> None:
        """Show the progress of a long task, in place of what was shown before."""
        if self._shows_progress:
            self._has_progress = True
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

    def end_progress(self) -> None:
        """Erase what `progress` has shown."""
        if self._has_progress:
            self._has_progress = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


class Table:
    """Lines below titles, printed page by page; columns grow from page to page if they must."""

    def __init__(self, screen: Screen, columns: Sequence[Column]) -> None:
        self._screen = screen
        self._columns = columns
        self._widths = [column.width for column in columns]
        self._has_titles = False

    def show(self, lines: Iterable[Line]) -> None:
        """Print a page."""
        if self._screen.is_json:
            for line in lines:
                self._screen.record(line.record)
            return
        self._print([line.cells for line in lines])

    def _print(self, rows: list[tuple[str, ...]]) -> None:
        titles = tuple(column.title for column in self._columns)
        shown = [*([] if self._has_titles else [titles]), *rows]
        if not rows:
            return
        for place in range(len(titles)):
            self._widths[place] = max(self._widths[place], *(width(row[place]) for row in shown))
        widths = self._fitted()
        for row in shown:
            text = self._aligned(row, widths)
            self._screen.write(self._screen.paint(text, "bold") if row is titles else text)
        self._has_titles = True

    def _fitted(self) -> list[int]:
        """Return how wide each column is printed."""
        room = self._screen.width
        if not room:
            return self._widths
        widths = [min(one, room) for one in self._widths]
        shrinking = [place for place, column in enumerate(self._columns) if column.shrinks]
        while shrinking and sum(widths) + len(_GAP) * (len(widths) - 1) > room:
            widest = max(shrinking, key=widths.__getitem__)
            if widths[widest] <= _LEAST:
                break
            widths[widest] -= 1
        return widths

    def _aligned(self, row: tuple[str, ...], widths: list[int]) -> str:
        cells = (
            pad(cut(cell, wanted), wanted, is_right=column.is_right)
            for cell, wanted, column in zip(row, widths, self._columns, strict=True)
        )
        return _GAP.join(cells).rstrip()


def width(text: str) -> int:
    """Return how many columns of a terminal *text* takes."""
    if text.isascii():
        return len(text)
    return sum(_width_of(character) for character in text)


def _width_of(character: str) -> int:
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def cut(text: str, wanted: int) -> str:
    """Return *text*, or as much of it as there is room for."""
    if width(text) <= wanted:
        return text
    kept = text[:wanted]
    while width(kept) > wanted - 1:
        kept = kept[:-1]
    return kept + "…"


def pad(text: str, wanted: int, *, is_right: bool = False) -> str:
    """Return *text* with the blanks that make it as wide as *wanted*."""
    blanks = " " * (wanted - width(text))
    return blanks + text if is_right else text + blanks


def plain(raw: bytes) -> str:
    """Return a key as a text for people, without control characters for their terminal."""
    text = raw.decode(errors="backslashreplace")
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def exact(raw: bytes) -> str:
    """Return a key as a text that `encode(errors="surrogateescape")` turns back into the key."""
    return raw.decode(errors="surrogateescape")


def duration(seconds: float | None) -> str:
    """Return a time as people write it, in its two largest units; `-` for None, which is for ever.

    >>> duration(93784.2), duration(7.25), duration(0.0305)
    ('1d 2h', '7.2s', '30ms')
    """
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{int(seconds * 1000)}ms"
    if seconds < 10:
        return f"{seconds:.1f}s"
    left, parts = int(seconds), list[str]()
    for unit, length in _UNITS:
        count, left = divmod(left, length)
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def memory(count: float) -> str:
    """Return an amount of bytes as people write it.

    >>> memory(959), memory(12304), memory(2**30)
    ('959 B', '12.0 KB', '1.0 GB')
    """
    if count < 1024:
        return f"{int(count)} B"
    power = min(int(log2(count) / 10), 4)
    return f"{count / 1024**power:.1f} {'KMGT'[power - 1]}B"


def _strict(record: dict[str, Any]) -> str:
    """Return the JSON text of *record*; NaN and infinities, which JSON does not have, as texts."""
    try:
        return dumps(record, allow_nan=False)
    except ValueError:
        odd = {name: dumps(value) for name, value in record.items() if not _is_strict(value)}
        return dumps({**record, **odd, "undecodable": [*record.get("undecodable", ()), *odd]})


def _is_strict(value: object) -> bool:
    with suppress(ValueError):
        return bool(dumps(value, allow_nan=False))
    return False


def _width(stream: TextIO) -> int:
    """Return the columns of the terminal behind *stream*, 0 if there is none."""
    return shutil.get_terminal_size().columns if stream.isatty() else 0


def _has_colours(stream: TextIO) -> bool:
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and stream.isatty()
