"""Every example in the README, in docs/ and in docstrings, run as it is written."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module
from pathlib import Path

import pytest

import pottery
from pottery.testing import plugin

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
MODULES = [found.name for found in pkgutil.walk_packages(pottery.__path__, "pottery.")]
README_URL = "redis://localhost:6379/1"
FIXTURES = [name for name in vars(plugin) if name.startswith("redis_")]
API = {name: getattr(pottery, name) for name in pottery.__all__}


def run(tests):
    """Run doctests, and fail with what they print."""
    said = []
    runner = doctest.DocTestRunner(verbose=False)
    for test in tests:
        runner.run(test, out=said.append)
    if said:
        pytest.fail("".join(said), pytrace=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_of_page_do_what_it_says(page, redis, server, request, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")  # what pages show of it, they use
    text = page.read_text(encoding="utf-8").replace(README_URL, server.url)

    # The README stands for itself, and makes its own client; the pages of docs/ may say `redis`.
    given = {} if page.name == "README.md" else {"redis": redis, **API}
    if page.name == "testing.md":
        given |= {name: request.getfixturevalue(name) for name in FIXTURES}
    run([doctest.DocTestParser().get_doctest(text, given, page.name, str(page), 0)])


@pytest.mark.parametrize("name", [*MODULES, "pottery"])
def test_examples_of_docstrings_do_what_they_say(name, redis):
    if name == "pottery.otel":
        pytest.importorskip("opentelemetry")
    module = import_module(name)

    run(doctest.DocTestFinder().find(module, extraglobs={"redis": redis, **API}))
