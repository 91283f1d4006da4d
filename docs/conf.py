"""How Sphinx builds the documentation; `make docs` runs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pottery

sys.path.append(str(Path(__file__).parent / "_extensions"))

project = "pottery"
version = release = pottery.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "costs",
    "conformance",
    "api",
    "figures",
    "offline",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"pottery {release}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
pygments_dark_style = "github-dark"  # that of the theme underlines names as if they were links
html_copy_source = False
html_show_copyright = False

# In docstrings `x` is code and *x* a parameter; method headings do not need the module's name.
default_role = "code"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# What is inherited from these is not shown.
BASES = [
    *("Exception", "Generic", "JSONEncoder", "OrderedDict", "Warning"),
    *("ItemsView", "KeysView", "MutableMapping", "MutableSequence", "MutableSet", "ValuesView"),
]
autodoc_default_options = {
    "members": True,
    "inherited-members": ",".join(BASES),
    "special-members": True,
    "exclude-members": "__init__,__init_subclass__,__str__,__weakref__",
    "show-inheritance": True,
}
toc_object_entries = False  # hundreds of methods would be copied into the sidebar of each page
myst_heading_anchors = 3
highlight_options = {"python": {"stripnl": True}}  # doctest needs the empty line, readers do not
smartquotes = False  # examples in docstrings may not be set off as code
