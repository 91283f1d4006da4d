"""Who imports whom, and what importing does."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pottery


def module_of(path):
    """Return the name of a module within the package: `queue`, or `testing` for its `__init__`."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


PACKAGE = Path(pottery.__file__).parent
PATHS = {module_of(path.relative_to(PACKAGE)): path for path in PACKAGE.rglob("*.py")}
MODULES = sorted(PATHS)
# From the bottom up; a module imports only from tiers below its own.
TIERS = [
    {
        "_advice",
        "_event_loop",
        "exceptions",
        "_json",
        "_lock_scripts",
        "_wire",
        "testing._proxy",
        "timer",
    },
    {"_call_key", "_cluster", "_poll", "testing._server"},
    {"_clients", "_lines", "_plan", "testing._cluster", "testing._sentinel"},
    {"_leases", "_poll_awaiting", "_poll_blocking", "_script", "_temporary", "_together"},
    {"_front"},
    {"_caller", "_quorum"},
    {"_holding", "base", "nextid"},
    {"_results", "_sequence", "_views", "queue", "redlock", "set"},
    {"bloom", "deque", "dict", "hyperloglog", "list", "synchronized"},
    {"cache", "counter", "ordered", "testing._locks"},
    {"__init__", "testing"},
    {"otel", "testing.plugin"},
    {"_cli._screen", "_cli._server"},
    {"_cli._keys"},
    {"_cli._bench", "_cli._doctor", "_cli._locks", "_cli._ls"},
    {"_cli._show"},
    {"_cli"},
    {"__main__", "testing.__main__"},
]
# Only fronts and polls know threads, event loops, sockets and sleep; a look at a clock is no wait.
WAITING = {"asyncio", "threading", "socket", "select", "concurrent", "multiprocessing"}
MAY_WAIT = {
    "_event_loop",
    "_front",
    "_leases",
    "_poll_awaiting",
    "_poll_blocking",
    "_together",
    "testing._proxy",
    "testing._server",
}


def tree(module):
    return ast.parse(PATHS[module].read_text())


def is_for_types(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(node):
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            yield from (alias.name for alias in part.names)
        elif isinstance(part, ast.ImportFrom):
            assert part.level == 0, "imports are absolute"
            yield part.module
            yield from (f"{part.module}.{alias.name}" for alias in part.names)


def test_every_module_has_a_tier():
    assert set().union(*TIERS) == set(MODULES)


def test_every_module_is_in_the_table_of_the_design():
    text = (PACKAGE.parent / "docs" / "design.md").read_text()
    layers = text.partition("## Layers")[2].partition("\n## ")[0]
    table = [line.split("|")[1] for line in layers.splitlines() if line.startswith("|")]
    named = [name for cell in table for name in re.findall("`([^`]*)`", cell)]
    assert sorted(named) == sorted({module.partition(".")[0] for module in MODULES})


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_from_lower_tiers(module):
    tier = next(number for number, tier in enumerate(TIERS) if module in tier)
    below = set().union(*TIERS[:tier])
    imported = {name for name in imports(tree(module)) if name.startswith("pottery.")}
    assert {name.removeprefix("pottery.") for name in imported} & set(MODULES) <= below


@pytest.mark.parametrize("module", sorted(set(MODULES) - MAY_WAIT))
def test_only_fronts_and_polls_block_or_await(module):
    running = [node for node in tree(module).body if not is_for_types(node)]
    assert not {name.split(".")[0] for node in running for name in imports(node)} & WAITING
    words = {getattr(node, "attr", getattr(node, "id", "")) for node in ast.walk(tree(module))}
    assert "sleep" not in words


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"testing.plugin"}))
def test_only_the_plugin_needs_pytest(module):
    assert not {name for name in imports(tree(module)) if name.partition(".")[0] == "pytest"}


@pytest.mark.parametrize("module", MODULES)
def test_no_import_inside_a_function(module):
    functions = [node for node in ast.walk(tree(module)) if isinstance(node, ast.FunctionDef)]
    assert not [name for function in functions for name in imports(function)]


def test_importing_opens_no_client_and_patches_nothing():
    program = """
import json, socket, sys, threading
dumps, default = json.dumps, json.JSONEncoder.default
def refuse(*_): raise AssertionError("importing connects")
socket.socket.connect = refuse
import pottery
assert (json.dumps, json.JSONEncoder.default) == (dumps, default)
assert threading.active_count() == 1
assert not {"pottery.testing", "pottery._cli", "pottery.otel"} & {*sys.modules}
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_star_import_gives_the_api():
    names: dict[str, object] = {}
    exec("from pottery import *", names)
    assert set(pottery.__all__) <= set(names)
    assert pottery.__all__ == sorted(pottery.__all__)
