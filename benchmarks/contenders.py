"""Threads that contend for a lock or for IDs: beside pottery 3.0.1, each in its own processes."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.pairs import Result
from benchmarks.workers import HERE, OURS, PEERS, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from benchmarks.workers import Way

BEFORE = PEERS[0]
THREADS = 8
# For how long threads contend each time, and how often at most.
SECONDS, MOST_ROUNDS = 1.5, 5
# Isolated from the environment, where this pottery may be found before another one.
START = "import sys; sys.path[:0] = {paths}; import contend; contend.main(*sys.argv[1:])"


class Contest(NamedTuple):
    """What is contended for, and the ratios to 3.0.1 of a turn, and of the slowest waits if any."""

    what: str
    threads: int
    turn: float
    p99: float | None


CONTESTS = (
    Contest("lock", THREADS, 1 / 1.5, 0.1),
    Contest("ids", 1, 1 / 10, None),
    Contest("ids", THREADS, 1 / 100, None),
)


def contender_results(
    masters: list[Redis], urls: list[str], only: str, rounds: int
) -> Iterator[Result]:
    """Compare the contests; nothing where pottery 3.0.1 is not there."""
    for contest in CONTESTS if BEFORE.is_there else ():
        for some in (urls[:1], urls):
            name = named(contest, len(some))
            if only not in name:
                continue
            taken = [], []
            for _ in range(max(1, min(MOST_ROUNDS, rounds // 5))):
                for number in random.sample((0, 1), 2):
                    for master in masters:
                        master.flushall()
                    taken[number].append(held((OURS, BEFORE)[number], contest, some))
            yield result(f"{name}, a turn / 3.0.1", contest.turn, "turn", taken)
            if contest.p99:
                yield result(f"{name}, p99 of waits / 3.0.1", contest.p99, "p99", taken)


def named(contest: Contest, masters: int) -> str:
    what = "lock" if contest.what == "lock" else "next(ids)"
    threads = f"{contest.threads} threads" if contest.threads > 1 else "1 thread"
    return f"{what}, {threads}, {masters} master{'s' if masters > 1 else ''}"


def held(way: Way, contest: Contest, urls: list[str]) -> dict[str, float]:
    """Hold a contest in one way, and return what came of it."""
    paths = [str(HERE / "ways")] + ([str(ROOT)] if way is OURS else [])
    start = START.format(paths=paths)
    words = contest.what, str(contest.threads), str(SECONDS), *urls
    done = subprocess.run(
        [way.python, "-I", "-c", start, *words],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    return json.loads(done.stdout)


def result(
    name: str, target: float, what: str, taken: tuple[list[dict[str, float]], ...]
) -> Result:
    ours, theirs = ([one[what] for one in side] for side in taken)
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return Result(name, target, *map(statistics.median, (ratios, ours, theirs)))
