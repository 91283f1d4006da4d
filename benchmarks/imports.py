"""How long an import takes, in a new process."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

from benchmarks.pairs import Pair

TIMED = """
from time import perf_counter
began = perf_counter()
import {module}
print(perf_counter() - began)
"""
# Compiled modules are kept, as they are wherever programs run.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}


def import_pair() -> Pair:
    ways = (partial(seconds, module) for module in ("pottery", "redis"))
    return Pair("import pottery / import redis", 1.05, *ways, repeat=1)


def seconds(module: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", TIMED.format(module=module)],
        check=True,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    return float(done.stdout)
