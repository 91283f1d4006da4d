"""How autodoc shows what docstrings say: made for the page `api`."""

import re
from typing import get_origin

from costs import COST, PAGES
from docutils import nodes

import pottery

PLAN = re.compile(r"(?:Op|Plan|Steps)\[(.*)\]$")


def skip_foreign(*event):
    """Leave out the special methods that are not pottery's own."""
    name, member = event[2:4]
    module = str(getattr(member, "__module__", ""))
    foreign = not module.startswith("pottery") or module == "pottery._advice"  # which refuses
    return True if name.startswith("__") and foreign else None


def show_result(*event):
    """Show what an operation returns to its caller rather than the plan behind it."""
    arguments, returned = event[-2:]
    return arguments, PLAN.sub(r"\1", returned) if returned else returned


def show_public_bases(*event):
    """Leave out the classes that are how it is made."""
    bases = event[-1]
    bases[:] = [base for base in bases if is_public(get_origin(base) or base)] or [object]


def is_public(base):
    return not base.__module__.startswith("pottery") or base.__name__ in pottery.__all__


def drop_no_bases(_app, page):
    for line in [*page.findall(nodes.paragraph)]:
        if line.astext() == "Bases: object":
            line.parent.remove(line)


def set_off_cost_line(*event):
    """Make the cost line of a docstring a paragraph of its own."""
    lines = event[-1]
    for number in reversed(range(len(lines))):
        if COST.fullmatch(lines[number]):
            lines.insert(number, "")


def lead_to_page(_app, what, name, *event):
    """Say of a type that has a page only what its page does not."""
    lines, name = event[-1], name.rpartition(".")[2]
    if what in {"class", "function"} and name in PAGES:
        stored = next(number for number, line in enumerate(lines) if line.startswith("Stored "))
        told = "with examples, how it is stored, and how it differs from Python's"
        lines[stored:] = [f":doc:`Its page </{PAGES[name]}>` tells the rest, {told}."]


def setup(app):
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("autodoc-process-bases", show_public_bases)
    app.connect("autodoc-process-signature", show_result)
    app.connect("autodoc-process-docstring", set_off_cost_line)
    app.connect("autodoc-process-docstring", lead_to_page)
    app.connect("doctree-read", drop_no_bases)
    return {"parallel_read_safe": True}
