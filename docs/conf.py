"""How Sphinx builds the documentation; `make docs` runs it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pottery

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "pottery"
version = release = pottery.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"pottery {release}"
html_copy_source = False
html_show_copyright = False

# In docstrings `x` is code and *x* a parameter; method headings do not need the module's name.
default_role = "code"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
myst_heading_anchors = 3

PLAN = re.compile(r"(?:Op|Plan|Steps)\[(.*)\]$")
COST_LINE = re.compile(r"O\(.*; .* round trips?.*; (not )?atomic\.$")


def skip_foreign(*event: Any) -> bool | None:
    """Leave out the special methods that are not pottery's own."""
    name, member = event[2:4]
    foreign = not str(getattr(member, "__module__", "")).startswith("pottery")
    return True if name.startswith("__") and foreign else None


def show_result(*event: Any) -> tuple[str | None, str | None]:
    """Show what an operation returns to its caller rather than the plan behind it."""
    arguments, returned = event[-2:]
    return arguments, PLAN.sub(r"\1", returned) if returned else returned


def set_off_cost_line(*event: Any) -> None:
    """Make the cost line of a docstring a paragraph of its own."""
    lines: list[str] = event[-1]
    for number in reversed(range(len(lines))):
        if COST_LINE.match(lines[number]):
            lines.insert(number, "")


def setup(app: Sphinx) -> None:
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("autodoc-process-signature", show_result)
    app.connect("autodoc-process-docstring", set_off_cost_line)
