"""Directives that show what the docstrings say of a class: `stored`, `differs` and `costs`."""

import builtins
import copy
import inspect
import operator
import re
import sys
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

import pottery
from pottery import _views, cache

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))

from operations import COST, cost, operations  # noqa: E402, F401 - what the tests measure, too

ON_A_PAGE = re.compile(r"{(?:stored|differs)} (\w+)")
PAGES = {
    name: f"types/{page.stem}"
    for page in ROOT.glob("docs/types/*.md")
    for name in ON_A_PAGE.findall(page.read_text(encoding="utf-8"))
}
HOMES = [pottery, cache, _views]
SIZES = "*n* is the size of the container, *k* that of the argument. "
ATOMIC = "What is atomic, nobody ever sees half done, and nothing comes in between."
AS_WRITTEN = {
    "__call__": "a()",
    "__enter__": "with a",
    "__exit__": "end of with a",
    "__aenter__": "async with a",
    "__aexit__": "end of async with a",
    "__reduce__": "pickle.dumps(a)",
    "__sizeof__": "sys.getsizeof(a)",
}


def spelled(name, kind):
    """Return how a method is used: `a[b]` for `__getitem__`."""
    if not name.startswith("__"):
        return f"{name}()" if callable(getattr(kind, name, spelled)) else name
    if name == "__init__":
        return f"{kind.__name__}()"
    return AS_WRITTEN.get(name) or special(name)


def special(name):
    """Return what makes Python call a special method, as the standard library says it."""
    plain = name.strip("_")
    if told := re.match(r"Same as (.+?)( \(|\.$|\. )", getattr(operator, name, copy).__doc__):
        return told[1]
    if plain[0] == "r" and hasattr(operator, f"__{plain[1:]}__"):
        return " ".join(reversed(special(f"__{plain[1:]}__").split()))
    if hasattr(copy, plain):
        return f"copy.{plain}(a)"
    return f"{plain}(a)" if hasattr(builtins, plain) else name


def sections(kind):
    """Return the paragraphs of a class docstring, by what they begin with."""
    parts = {"": []}
    current = parts[""]
    for paragraph in inspect.getdoc(kind).split("\n\n"):
        word = paragraph.split()[0].rstrip("s:")
        if word in {"Stored", "Differ", "Source"}:
            current = parts.setdefault(word, [])
        current.append(paragraph)
    return {word: "\n\n".join(paragraphs) for word, paragraphs in parts.items()}


def linked(kind, name):
    """Return a link to the description of a method."""
    home = "pottery" if hasattr(pottery, kind.__name__) else kind.__module__
    member = "" if name == "__init__" else f".{name}"
    return f"[`{spelled(name, kind)}`](#{home}.{kind.__name__}{member})"


def table(header, rows):
    """Return lines of Markdown."""
    lines = [header, ["-"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]


def trips(of):
    return f"{of.trips} per 1000 items" if of.is_paged else str(of.trips)


def is_atomic(of):
    return "yes" if of.is_atomic else "no"


class Shown(SphinxDirective):
    """Show lines of Markdown about the class that is named."""

    required_arguments = 1

    def run(self):
        self.env.note_reread()  # what is shown may have changed though the page has not
        return self.parse_text_to_nodes("\n".join(self.lines()))

    @property
    def shown(self):
        name = self.arguments[0]
        return next(getattr(home, name) for home in HOMES if hasattr(home, name))


class Stored(Shown):
    def lines(self):
        return [sections(self.shown)["Stored"]]


class Differs(Shown):
    def lines(self):
        parts = sections(self.shown)
        return ["\n\n".join(parts[word] for word in ("Differ", "Source") if word in parts)]


class Costs(Shown):
    """Show what each method of a class costs; of a twin, those that it has besides.

    Once a page, below the first table, stands what its words mean.
    """

    def lines(self):
        kind = self.shown
        shown = verbs(kind) if is_twin(kind) else [*operations(kind)]
        shown.sort(key=lambda item: item[0].startswith("_"))
        header = ["method", "what it does", "work", "round trips", "atomic"]
        rows = [row(kind, *item) for item in shown]
        return [*table(header, rows), "", self.legend(rows)]

    def legend(self, rows):
        if self.env.temp_data.setdefault("costs", self) is not self:
            return ""
        return SIZES + ATOMIC if any("O(1)" not in work for _, _, work, _, _ in rows) else ATOMIC


def row(kind, name, function):
    does = inspect.getdoc(function).splitlines()[0]
    of = cost(function)
    return linked(kind, name), does, of.work, trips(of), is_atomic(of)


def is_twin(kind):
    return kind.__name__.startswith("AIO")


def verbs(twin):
    """Return those methods of a twin that stand for syntax, or cost something else."""
    name = twin.__name__.removeprefix("AIO")
    blocking = dict(operations(next(getattr(home, name) for home in HOMES if hasattr(home, name))))
    return [
        (name, function)
        for name, function in operations(twin)
        if not name.startswith("_") and cost(function) != cost(blocking.get(name))
    ]


def setup(app):
    app.add_directive("stored", Stored)
    app.add_directive("differs", Differs)
    app.add_directive("costs", Costs)
    return {"parallel_read_safe": True}
