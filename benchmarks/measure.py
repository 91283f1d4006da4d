"""How the ways are compared: in turns, by the median of the ratios of many rounds."""

from __future__ import annotations

import json
import os
import random
import statistics
import tempfile
from base64 import b64encode
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.recorder import Recorder, round_trips, turns
from benchmarks.workers import LIMIT, OURS, Way, Worker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import ExitStack

    from benchmarks.rows import Row
    from pottery.testing import RedisServer

# Seconds that a turn takes at least, and from which on it is taken only a few times.
TURN = 0.004
SLOW = 0.1
FEW = 3
MOST = 300
# A second look, as the first one may have taught the server a script.
LOOKS = 3


class Arena:
    """Five servers, with a database for each way, and a process for each way."""

    def __init__(self, stack: ExitStack, servers: list[RedisServer], ways: list[Way]) -> None:
        self.servers = servers
        self.recorder = stack.enter_context(Recorder([server.port for server in servers]))
        self.urls = {way: self.databases(number) for number, way in enumerate(ways)}
        self.workers: list[Worker] = []
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

    def databases(self, number: int) -> list[str]:
        return [f"{server.url}/{number}" for server in self.servers]

    def observe(self, way: Way, rows: Iterable[Row]) -> dict[str, list[Any]]:
        """Return the pieces that go over the wire when a way does each row, once it knows how."""
        number = list(self.urls).index(way)
        urls = [f"{url}/{number}" for url in self.recorder.urls]
        with Worker(way, urls) as worker:
            seen = {row.name: self.look(worker, row) for row in rows if row.name in worker.rows}
        for server in self.servers:
            with server.client() as client:
                client.flushall()
        return seen

    def start(self, stack: ExitStack) -> None:
        """Let each way fill its databases and wait for its turns."""
        self.workers += [stack.enter_context(Worker(*item)) for item in self.urls.items()]

    def look(self, worker: Worker, row: Row) -> list[Any]:
        looks = []
        for _ in range(LOOKS):
            self.recorder.pieces.clear()
            worker.seconds(row.name, 1)
            looks.append([*self.recorder.pieces])
        return min(looks[1:], key=round_trips)

    def add_limit(self, stack: ExitStack, observed: dict[str, list[Any]]) -> None:
        """Let `limit` take part, which replays in our databases what was observed of us."""
        file = self.folder / "recorded.json"
        recorded = {row: list(map(spelled, turns(pieces))) for row, pieces in observed.items()}
        file.write_text(json.dumps(recorded))
        worker = Worker(LIMIT, self.urls[OURS], RECORDED=str(file))
        self.workers.append(stack.enter_context(worker))

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Keep the ways on one core, and the servers off it.

        Else the kernel puts each way, for a while, on the core of its server or on another one,
        which makes more of a difference to a single command than how the command is written.
        """
        cores = cores_of_this_process()
        if len(cores) < 2:
            yield
            return
        servers = [server.pid for server in self.servers]
        bind(servers, cores[:-1])
        bind([worker.process.pid for worker in self.workers], cores[-1:])
        yield
        bind(servers, cores)


def cores_of_this_process() -> list[int]:
    """Return the numbers of the cores; none where the system has no say in who runs on which."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def bind(processes: list[int], cores: list[int]) -> None:
    for process in processes:
        os.sched_setaffinity(process, cores)


def spelled(turn: Any) -> Any:
    return {server: b64encode(data).decode() for server, data in turn.sent.items()}, turn.replies


def measure(row: str, workers: list[Worker], rounds: int) -> dict[str, list[float]]:
    """Return the seconds that each way took in each round."""
    times = {worker: calibrated(worker, row) for worker in workers if row in worker.rows}
    able = [worker for worker, count in times.items() if count]
    taken: dict[str, list[float]] = {worker.way.name: [] for worker in able}
    for number in range(rounds):
        for worker in random.sample(able, len(able)):
            if number < FEW or times[worker] > 1 or taken[worker.way.name][0] < SLOW:
                seconds = worker.seconds(row, times[worker])
                if seconds is not None:
                    taken[worker.way.name].append(seconds)
    return taken


def calibrated(worker: Worker, row: str) -> int:
    """Return how often a turn does a row; 0 if this way cannot."""
    seconds = [worker.seconds(row, 1) for _ in range(2)]
    if None in seconds:
        return 0
    return max(1, min(MOST, int(TURN / min(seconds))))


def ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=False)]


def median(values: list[float]) -> float:
    return statistics.median(values)


def lower_quartile(values: list[float]) -> float:
    return statistics.quantiles(values, n=4)[0] if len(values) > 1 else values[0]
