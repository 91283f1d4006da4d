"""What the tutorial lets its reader type into a terminal, typed."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pottery.testing import RedisServer

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "tutorial.md"
# What sets up, is set up for the tests already.
SET_UP = ("pip install", "python -m pottery.testing", "python3 -m venv", "source")
# Whatever still runs in the background ends with the shell.
BEGIN = "set -m; trap 'kill -9 $(jobs -p) 2>/dev/null' EXIT"
END = "--- end of output ---"


def typed(page):
    """Return what a reader of *page* types, and what should come of it."""
    blocks = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    pairs = re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", "".join(blocks), re.MULTILINE)
    return [pair for pair in pairs if not pair[0].startswith(SET_UP)]


def put_in(folder, page):
    """Save the files that *page* shows where its reader saves them."""
    for path in re.findall(r"```\{literalinclude\} (.*)", page):
        shutil.copy(TUTORIAL.parent / path, folder)


@pytest.mark.slow
def test_tutorial_does_what_it_says(tmp_path):
    page = TUTORIAL.read_text(encoding="utf-8")
    put_in(tmp_path, page)
    pairs = typed(page)
    script = "\n".join([BEGIN, *(f"{command}\necho '{END}'" for command, _ in pairs)])

    with RedisServer() as server:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        # A lease that is shorter than that of the tutorial, for tests that are.
        environment = {**os.environ, "PATH": path, "REDIS_URL": server.url, "LEASE": "1"}
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=100,
            check=False,
        )

    outputs = done.stdout.split(f"{END}\n")
    assert len(outputs) == len(pairs) + 1, done.stderr
    for (command, expected), output in zip(pairs, outputs, strict=False):
        check = doctest.OutputChecker().check_output(expected, output, doctest.ELLIPSIS)
        assert check, f"$ {command}\n{output}{done.stderr}"
