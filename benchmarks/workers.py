"""The ways, each in a process of its own, and how they take turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from typing_extensions import Self

if TYPE_CHECKING:
    from collections.abc import Iterable

HERE = Path(__file__).parent
ROOT = HERE.parent


class Way(NamedTuple):
    """How a way is called, its module in `ways/`, and the Python that has what it needs."""

    name: str
    module: str
    python: str

    @property
    def is_there(self) -> bool:
        return Path(self.python).exists()


OURS = Way("pottery", "ours", sys.executable)
BY_HAND = Way("by hand", "by_hand", sys.executable)
TUNED = Way("tuned by hand", "tuned", sys.executable)
LIMIT = Way("limit", "limit", sys.executable)
PEERS = [
    Way("pottery 3.0.1", "containers", str(ROOT / ".venv-pottery-3/bin/python")),
    Way(
        "redis-collections", "redis_collections_", str(ROOT / ".venv-redis-collections/bin/python")
    ),
    Way("walrus", "walrus_", str(ROOT / ".venv-walrus/bin/python")),
]
# Isolated from the environment, where this pottery may be found before another one.
START = "import sys; sys.path[:0] = {paths}; import worker; worker.main(*sys.argv[1:])"


class Worker:
    """A process that does one way, at servers that are its own."""

    def __init__(self, way: Way, urls: Iterable[str], **environment: str) -> None:
        self.way = way
        paths = [str(HERE / "ways")] + ([str(ROOT)] if way.python == sys.executable else [])
        command = [way.python, "-I", "-c", START.format(paths=paths), way.module, *urls]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env=os.environ | environment,
        )
        self.rows = self.ask()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()

    def ask(self, *question: Any) -> Any:
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.way.name} ended")
        return json.loads(line)

    def seconds(self, row: str, times: int) -> float | None:
        """Return the seconds for each of so many times, or None if the way cannot do that."""
        answer = self.ask(row, times)
        return None if isinstance(answer, dict) else answer / times
