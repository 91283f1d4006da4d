"""The pages of docs/ that are made from the code show all of it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from mirrors import MIRRORS, is_absent, methods
from operations import KINDS, cost

import pottery

DOCS = Path(__file__).parents[1] / "docs"
TYPES = "".join(page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("types/*.md")))
API = (DOCS / "api.md").read_text(encoding="utf-8")
CONFORMANCE = (DOCS / "conformance.md").read_text(encoding="utf-8")
pytest.importorskip("sphinx")


@pytest.fixture(scope="module")
def costs():
    """Return the extension that prints costs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS / "_extensions"))
        yield pytest.importorskip("costs")
    for name in ("costs", "conformance"):
        sys.modules.pop(name, None)


def arguments(directive, text):
    return re.findall(rf"^```{{{directive}}} (\w+)$", text, re.MULTILINE)


def test_api_has_every_name_once():
    described = re.findall(r"^\.\. auto\w+:: (\w+)$", API, re.MULTILINE)

    assert sorted(described) == pottery.__all__


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_costs_of_every_class_are_shown(kind, costs):
    if costs.is_twin(kind) and not costs.verbs(kind):
        return  # it costs what the other one does

    assert arguments("costs", TYPES).count(kind.__name__) == 1


def test_every_method_is_in_the_table_of_its_class(costs):
    for kind in KINDS:
        for name, function in costs.operations(kind):
            assert all(costs.row(kind, name, function)), (kind, name)


def test_what_is_stored_and_what_differs_is_shown_of_the_same_classes(costs):
    shown = arguments("stored", TYPES)

    assert shown == arguments("differs", TYPES)
    assert {*shown} == {
        name
        for name in pottery.__all__
        if "Stored" in costs.sections(getattr(pottery, name)) and not name.startswith("AIO")
    } - {"NextID"}  # which is NextId


def test_every_mirror_is_compared():
    assert sorted(arguments("conformance", CONFORMANCE)) == sorted(
        kind.__name__ for kind in MIRRORS
    )


@pytest.mark.parametrize("builtin", MIRRORS, ids=lambda kind: kind.__name__)
def test_what_is_shown_without_a_cost_is_no_default_of_an_abstract_class(builtin):
    ours = MIRRORS[builtin]
    for name in methods(builtin):
        if not is_absent(builtin, name) and cost(getattr(ours, name)) is None:
            home = next(base for base in ours.__mro__ if name in vars(base))
            assert home.__module__ != "collections.abc", name


@pytest.mark.parametrize(
    ("name", "how"),
    {
        "__getitem__": "a[b]",
        "__contains__": "b in a",
        "__iadd__": "a += b",
        "__rsub__": "b - a",
        "__reversed__": "reversed(a)",
        "__repr__": "repr(a)",
        "__call__": "a()",
        "__neg__": "-a",
        "__delitem__": "del a[b]",
        "__deepcopy__": "copy.deepcopy(a)",
        "__init__": "dict()",
        "__missing__": "__missing__",
        "popitem": "popitem()",
    }.items(),
)
def test_method_is_called_what_users_write(name, how, costs):
    assert costs.spelled(name, dict).replace("-a", "-a") == how
