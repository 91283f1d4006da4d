"""Every example in the README, in docs/ and in docstrings, run as it is written."""

from __future__ import annotations

import doctest
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest

import pottery
from pottery.testing import plugin

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted(DOCS.rglob("*.md")) if "_build" not in page.parts),
]
MODULES = [found.name for found in pkgutil.walk_packages(pottery.__path__, "pottery.")]
README_URL = "redis://localhost:6379/1"
CLUSTER_URL = "redis://node-1:6379"
FIXTURES = [name for name in vars(plugin) if name.startswith("redis_")]
API = {name: getattr(pottery, name) for name in pottery.__all__}
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def run(tests):
    """Run doctests, and fail with what they print."""
    said = []
    runner = doctest.DocTestRunner(verbose=False)
    for test in tests:
        runner.run(test, out=said.append)
    if said:
        pytest.fail("".join(said), pytrace=False)


def name_of(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_examples_of_page_do_what_it_says(page, redis, server, request, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")  # what pages show of it, they use
    text = page.read_text(encoding="utf-8").replace(README_URL, server.url)
    given = names_given_to(page, redis, request)

    run([doctest.DocTestParser().get_doctest(text, given, page.name, str(page), 0)])


WITHOUT_PROMPTS = [
    pytest.param(page, example, id=f"{name_of(page)}-{number}")
    for page in PAGES
    for number, example in enumerate(EXAMPLE.findall(page.read_text(encoding="utf-8")))
    if ">>> " not in example
]


@pytest.mark.parametrize(("page", "example"), WITHOUT_PROMPTS)
def test_example_without_prompts_runs(page, example, redis, server, request):
    if page.name == "observability.md":
        pytest.importorskip("opentelemetry")
        request.addfinalizer(import_module("pottery.otel").uninstrument)
    if CLUSTER_URL in example:
        example = example.replace(CLUSTER_URL, request.getfixturevalue("redis_cluster").url)

    exec(example, names_given_to(page, redis, request))


def names_given_to(page, redis, request):
    """Return what its examples may name: the README makes its own client, docs/ may say `redis`."""
    if page.name == "README.md":
        return {}
    given = {"redis": redis, **API}
    if page.name == "testing.md":
        given |= {name: request.getfixturevalue(name) for name in FIXTURES}
    if page.name == "cluster.md":
        given["redis"] = request.getfixturevalue("redis_cluster_client")
    if page.name == "design.md":
        given |= {**vars(pottery.base), **vars(pottery._json), **vars(pottery.set)}
    return given


# Sphinx looks after the links of docs/.
OUTSIDE = [ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")]
LINK = re.compile(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)")


def anchors_of(page):
    """Return what links to the headings of *page* end in."""
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", OUTSIDE, ids=name_of)
def test_links_of_page_lead_somewhere(page):
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors_of(target), f"{path}#{anchor}"


@pytest.mark.parametrize("name", [*MODULES, "pottery"])
def test_examples_of_docstrings_do_what_they_say(name, redis):
    if name == "pottery.otel":
        pytest.importorskip("opentelemetry")
    module = import_module(name)

    run(doctest.DocTestFinder().find(module, extraglobs={"redis": redis, **API}))
