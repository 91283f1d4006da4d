"""The page on faults names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent


def test_page_names_the_tests_of_faults():
    text = (HERE.parents[1] / "docs/faults.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    assert named
    assert {name for name in named if not (HERE / f"{name}.py").exists()} == set()
