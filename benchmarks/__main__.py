"""Measure every row in every way, in turns, and show the ratios to what is written by hand."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from contextlib import ExitStack
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.anatomy import anatomy
from benchmarks.capacity import capacity
from benchmarks.consumers import results
from benchmarks.contenders import contender_results
from benchmarks.growth import concurrency, growth
from benchmarks.ids import id_pairs
from benchmarks.imports import import_pair
from benchmarks.locks import lock_pairs
from benchmarks.measure import Arena, lower_quartile, measure, median, ratios
from benchmarks.pairs import compare
from benchmarks.recorder import round_trips
from benchmarks.rows import ROWS
from benchmarks.workers import BY_HAND, OURS, PEERS, TUNED
from pottery.testing import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.pairs import Result
    from benchmarks.rows import Row

CHECKED = [OURS, BY_HAND]


def main() -> int:
    options = parsed()
    rows = [row for row in ROWS if options.only in row.name]
    ways = CHECKED if options.check else [OURS, BY_HAND, TUNED, *PEERS]
    for way in ways:
        if not way.is_there:
            print(f"left out: {way.name}, which `make bench` installs", file=sys.stderr)
    ways = [way for way in ways if way.is_there]
    with ExitStack() as stack:
        servers = [stack.enter_context(RedisServer()) for _ in range(5)]
        figures = all_figures(stack, servers, rows, ways, options)
        figures["together"] = [
            result._asdict() for result in together(servers, options.only, options.rounds)
        ]
        if options.write:
            figures |= grown(servers[0])
    if options.write:
        options.write.write_text(json.dumps(figures, indent=1) + "\n")
    return report_misses(figures) if options.check else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--only", default="", help="the rows whose name has this in it")
    parser.add_argument(
        "--write",
        type=Path,
        help="a file for the figures as JSON, with those of the parts, the growth and the capacity",
    )
    parser.add_argument(
        "--check", action="store_true", help="fail if a row is above its target by more than noise"
    )
    return parser.parse_args()


def all_figures(
    stack: ExitStack,
    servers: list[RedisServer],
    rows: list[Row],
    ways: list[Any],
    options: argparse.Namespace,
) -> dict[str, Any]:
    arena = Arena(stack, servers, ways)
    seen = {} if options.check else {way: arena.observe(way, rows) for way in ways}
    arena.start(stack)
    if seen:
        arena.add_limit(stack, seen[OURS])
    names = [worker.way.name for worker in arena.workers]
    print(f"{'':36}", *(f"{name:>18}" for name in names))
    found = {}
    with arena.apart():
        for row in rows:
            taken = measure(row.name, arena.workers, options.rounds)
            found[row.name] = summary(row, taken)
            for way, pieces in seen.items():
                if row.name in pieces and way.name in found[row.name]["ways"]:
                    found[row.name]["ways"][way.name] |= traffic(pieces[row.name])
            print(line(row.name, found[row.name]["ways"], names), flush=True)
    return {"machine": machine(servers[0]), "rows": found}


def together(servers: list[RedisServer], only: str, rounds: int) -> Iterator[Result]:
    """Compare what needs threads or processes of its own."""
    masters = [server.client() for server in servers]
    for master in masters:
        master.flushall()
    pairs = chain(lock_pairs(masters), id_pairs(masters), [import_pair()])
    compared = (compare(pair, rounds) for pair in pairs if only in pair.name)
    urls = [server.url for server in servers]
    consumed = results(masters[0], urls[0], only, rounds)
    contended = contender_results(masters, urls, only, rounds)
    for result in chain(compared, consumed, contended):
        print(f"{result.name:36} {result.ratio:.2f} ({result.pottery * 1e6:.0f} µs)", flush=True)
        yield result


def grown(server: RedisServer) -> dict[str, Any]:
    with server.client() as client:
        client.flushall()
        return {
            "anatomy": anatomy(client),
            "capacity": capacity(client),
            "growth": growth(client),
            "concurrency": concurrency(server.url),
        }


def summary(row: Row, taken: dict[str, list[float]]) -> dict[str, Any]:
    """Return the median of each way, in microseconds and as a ratio to what is written by hand."""
    by_hand = taken[BY_HAND.name]
    ways = {
        name: {
            "microseconds": round(median(times) * 1e6, 1),
            "ratio": round(median(ratios(times, by_hand)), 3),
        }
        for name, times in taken.items()
    }
    least = round(lower_quartile(ratios(taken[OURS.name], by_hand)), 3)
    return {"target": row.target, "lower quartile": least, "ways": ways}


def traffic(pieces: list[Any]) -> dict[str, int]:
    return {
        "round trips": round_trips(pieces),
        "bytes sent": sum(len(piece.data) for piece in pieces if piece.is_sent),
        "bytes received": sum(len(piece.data) for piece in pieces if not piece.is_sent),
    }


def line(name: str, ways: dict[str, Any], names: list[str]) -> str:
    cells = []
    for way in names:
        if way in ways:
            trips = ways[way].get("round trips")
            cells.append(f"{ways[way]['ratio']:.2f}" + (f" ({trips})" if trips else ""))
        else:
            cells.append("-")
    return f"{name:36} " + " ".join(f"{cell:>18}" for cell in cells)


def machine(server: RedisServer) -> dict[str, str]:
    with server.client() as client:
        redis = client.info("server")["redis_version"]
    return {
        "Python": platform.python_version(),
        "Redis": redis,
        "redis-py": version("redis"),
        "hiredis": version("hiredis"),
        "cores": str(os.cpu_count()),
    }


def report_misses(figures: dict[str, Any]) -> int:
    """Say which rows are above their targets in three rounds of four; return the exit status."""
    missed = [
        f"{name}: {row['ways'][OURS.name]['ratio']}, target {row['target']}"
        for name, row in figures["rows"].items()
        if row["lower quartile"] > row["target"]
    ]
    for one in missed:
        print(f"missed: {one}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
