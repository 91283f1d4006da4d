"""What needs threads or processes of its own: pottery beside redis-py, in one process, in turns."""

from __future__ import annotations

import random
import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Pair(NamedTuple):
    """Two ways to do the same, which return the seconds they took, and how often to do each."""

    name: str
    target: float
    pottery: Callable[[], float]
    by_hand: Callable[[], float]
    repeat: int


class Result(NamedTuple):
    """The median of ours / by hand over all rounds, the median seconds of both, and the target."""

    name: str
    target: float
    ratio: float
    pottery: float
    by_hand: float


def compare(pair: Pair, rounds: int) -> Result:
    ways = (pair.pottery, pair.by_hand)
    for way in ways:
        way()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for number in random.sample((0, 1), 2):
            took = statistics.median(ways[number]() for _ in range(pair.repeat))
            times[number].append(took)
    ratios = [ours / theirs for ours, theirs in zip(*times, strict=True)]
    return Result(pair.name, pair.target, statistics.median(ratios), *map(statistics.median, times))
