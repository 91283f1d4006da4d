"""Index the Python standard library: many processes, and one set of containers, in Redis.

What does the work knows queues, counters, dicts and sets, and nothing about Redis. It is run twice:
by several processes that share containers in Redis, and by one process with those of Python. Both
must come to the same result, and that is checked. The server is the one at REDIS_URL, or else one
that starts and ends with the program.
"""

from __future__ import annotations

import argparse
import ast
import os
import signal
import sys
import sysconfig
import warnings
from collections import Counter
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from operator import itemgetter
from pathlib import Path
from queue import SimpleQueue
from textwrap import shorten
from threading import Thread
from time import perf_counter, sleep
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from redis import Redis
from redis.exceptions import RedisError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pottery import (
    BloomFilter,
    HyperLogLog,
    InefficientAccessWarning,
    RedisCounter,
    RedisDict,
    RedisSet,
    RedisSimpleQueue,
)
from pottery.testing import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping, MutableSet, Sequence
    from multiprocessing import Process

STDLIB = Path(sysconfig.get_path("stdlib"))
LEFT_OUT = {"dist-packages", "ensurepip", "idlelib", "lib2to3", "site-packages", "test", "tests"}
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


# --- What is shared, of Python or in Redis: a queue of files to read, a filter that knows which of
# them were there before, and eight containers. What may be wrong now and then is a set in Python.


class Index(NamedTuple):
    """What is known about the files that were read."""

    names: Counter[str]
    modules: MutableMapping[str, dict[str, int | str]]
    packages: MutableSet[str]
    imported: MutableSet[str]
    classes: MutableSet[str]
    functions: MutableSet[str]
    documented: MutableSet[str]
    distinct: HyperLogLog[str] | set[str]


class Shared(NamedTuple):
    """What those who work together have in common; None in the queue ends the work of one."""

    files: SimpleQueue[str | None]
    seen: BloomFilter[str] | set[str]
    index: Index


def in_python() -> Shared:
    """Return an empty queue and an empty index, in the memory of this process."""
    index = Index(Counter(), {}, set(), set(), set(), set(), set(), set())
    return Shared(SimpleQueue(), set(), index)


def in_redis(redis: Redis, prefix: str) -> Shared:
    """Return the ones in Redis, which every process with the same prefix finds."""
    kinds = (RedisCounter, RedisDict, *[RedisSet] * 5, HyperLogLog)
    keys = (f"{prefix}:{field}" for field in Index._fields)
    index = Index(*(kind(redis=redis, key=key) for kind, key in zip(kinds, keys, strict=True)))
    files = RedisSimpleQueue(redis=redis, key=f"{prefix}:files")
    # One file in a billion would be left out by mistake.
    promise = {"num_elements": 10_000, "false_positives": 1e-9}
    return Shared(files, BloomFilter(redis=redis, key=f"{prefix}:seen", **promise), index)


# --- The work. Nothing here can tell where the containers are.


def hand_out(files: list[str], shared: Shared) -> None:
    """Put each file into the queue once, however often it is named."""
    for file in files:
        if file not in shared.seen:
            shared.seen.add(file)
            shared.files.put(file)


def index_files(files: SimpleQueue[str | None], index: Index) -> None:
    """Get one file after the other, and wait for more, until there is None."""
    for file in iter(files.get, None):
        index_file(file, index)


def index_file(file: str, index: Index) -> None:
    """Read one file, and tell each container once what is in it."""
    source = (STDLIB / file).read_bytes()
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    classes = [node.name for node in nodes if isinstance(node, ast.ClassDef)]
    functions = [node for node in nodes if isinstance(node, FUNCTION)]
    imported = [package for node in nodes for package in imports(node)]
    names = [name for node in nodes for name in identifiers(node)]
    name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    index.names.update(names)
    index.distinct.update(names)
    index.packages.add(name.partition(".")[0])
    index.imported.update(imported)
    index.classes.update(classes)
    index.functions.update(node.name for node in functions)
    index.documented.update(node.name for node in functions if ast.get_docstring(node))
    index.modules[name] = {
        "lines": source.count(b"\n"),
        "classes": len(classes),
        "functions": len(functions),
        "imports": len(imported),
        "about": (ast.get_docstring(tree) or "").partition("\n")[0],
    }


def identifiers(node: ast.AST) -> Iterator[str]:
    """Yield the name that a node uses or defines, if it does."""
    for attribute in ("id", "attr", "name", "arg"):
        name = getattr(node, attribute, None)
        if isinstance(name, str) and name.isidentifier():
            yield name


def imports(node: ast.AST) -> Iterator[str]:
    """Yield the packages that a statement imports: with `os.path` that is os."""
    if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module.partition(".")[0]


def questions(index: Index) -> list[tuple[str, str, MutableSet[str]]]:
    """Combine the sets. Those in Redis are combined there, and there the results stay."""
    return [
        ("classes | functions", "all definitions", index.classes | index.functions),
        ("classes & functions", "both, by name", index.classes & index.functions),
        ("functions - documented", "never explained", index.functions - index.documented),
        ("packages - imported", "never imported", index.packages - index.imported),
        ("imported - packages", "not in Python", index.imported - index.packages),
    ]


# --- Who does the work: processes, or a thread, so that this one can watch.


def work(url: str, prefix: str) -> None:
    """Work in a process of its own, with a client of its own; find the containers by their keys."""
    with Redis.from_url(url) as redis:
        shared = in_redis(redis, prefix)
        index_files(shared.files, shared.index)


def run(
    workers: Sequence[Process | Thread], shared: Shared, progress: Progress, title: str
) -> float:
    """Have the workers do the work, show how far they are, and return the seconds that it took."""
    bar = progress.add_task(title, total=shared.files.qsize())
    for _ in workers:
        shared.files.put(None)
    start = perf_counter()
    # Processes inherit that Ctrl-C is ignored: we heed it for them, and end them.
    ctrl_c = signal.signal(signal.SIGINT, signal.SIG_IGN)
    for worker in workers:
        worker.start()
    signal.signal(signal.SIGINT, ctrl_c)
    while any(worker.is_alive() for worker in workers):
        sleep(0.05)
        progress.update(bar, completed=len(shared.index.modules))
    return perf_counter() - start


def fill(shared: Shared, plain: Shared, workers: Sequence[Process]) -> dict[str, float]:
    """Fill both indices, and return how many seconds each took."""
    titles = f"Redis, workers: {len(workers)}", "builtins, alone"
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn()) as progress:
        in_parallel = run(workers, shared, progress, titles[0])
        for worker in workers:
            if worker.exitcode:
                sys.exit(f"{worker.name} died ({worker.exitcode}), and its file is lost")
        thread = Thread(target=index_files, args=(plain.files, plain.index), daemon=True)
        alone = run([thread], plain, progress, titles[1])
    return dict(zip(titles, (in_parallel, alone), strict=True))


# --- What comes of it.


def check(shared: Index, plain: Index) -> None:
    """Exit unless every container in Redis equals the one of Python."""
    warnings.simplefilter("ignore", InefficientAccessWarning)  # comparing everything is the point
    for field, ours, theirs in zip(Index._fields, shared, plain, strict=True):
        if isinstance(ours, HyperLogLog):  # whose count is off by less than a hundredth, mostly
            is_right = abs(len(ours) - len(theirs)) < len(theirs) / 20
        else:
            is_right = ours == theirs
        if not is_right:
            sys.exit(f"{field}: the {type(ours).__name__} differs from the {type(theirs).__name__}")


def show(index: Index, console: Console) -> None:
    """Print what is worth knowing about the library."""
    names = table("Most common names", ("name", "uses"), index.names.most_common(8))
    columns = "lines", "classes", "functions"
    facts = [(name, *(fact[it] for it in columns)) for name, fact in index.modules.items()]
    biggest = sorted(facts, key=itemgetter(1), reverse=True)[:8]
    modules = table("Biggest modules", ("module", *columns), biggest)
    combined = []
    for how, what, found in questions(index):
        some = ", ".join(sorted(found, key=str.swapcase))  # the private and the big ones later
        combined.append((how, len(found), what, shorten(some, 25, placeholder=" …")))
    side_by_side = Table.grid()
    side_by_side.add_row(names, modules)
    console.print(side_by_side)
    console.print(table("Sets combined", ("how", "size", "what", "such as"), combined))


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[int | str]]) -> Table:
    """Lay out a table with its numbers to the right."""
    made = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for name, cell in zip(header, rows[0], strict=True):
        made.add_column(name, justify="left" if isinstance(cell, str) else "right", no_wrap=True)
    for row in rows:
        made.add_row(*(cell if isinstance(cell, str) else f"{cell:,}" for cell in row))
    return made


def demonstrate(url: str, files: list[str], count: int) -> None:
    """Index the files both ways, compare, and print what was found."""
    console = Console()
    prefix = f"pottery-demo:{uuid4()}"
    make = get_context("spawn").Process
    workers = [make(target=work, args=(url, prefix)) for _ in range(count)]
    with Redis.from_url(url) as redis:
        shared, plain = in_redis(redis, prefix), in_python()
        try:
            packages = [file for file in files if file.endswith("__init__.py")]
            for each in (shared, plain):
                hand_out([*files, *packages], each)
            seconds = fill(shared, plain, workers)
            check(shared.index, plain.index)
            show(shared.index, console)
            counts = len(shared.index.names), len(shared.index.distinct)
        finally:
            for worker in active_children():
                worker.terminate()
                worker.join()
            for key in redis.scan_iter(f"{prefix}:*"):
                redis.unlink(key)
    operations = len(files) * (len(Index._fields) + 1)  # to get the file is one of them
    times = [(who, round(took, 1), round(operations / took)) for who, took in seconds.items()]
    console.print(table("Time taken", ("who", "seconds", "operations a second"), times))
    console.print("{:,} distinct names; a HyperLogLog says {:,}, and takes 12 KB.".format(*counts))
    console.print(f"All {len(Index._fields)} containers in Redis equal those of Python.")


@contextmanager
def server_url() -> Iterator[str]:
    """Lend the address of the server at REDIS_URL, or else of one that ends afterwards."""
    if url := os.environ.get("REDIS_URL"):
        yield url
    else:
        with RedisServer() as server:
            yield server.url


def stdlib_files() -> list[str]:
    """Return the files to read, the biggest first, so that no worker is late with a big one."""
    files = sorted(STDLIB.rglob("*.py"), key=lambda file: file.stat().st_size, reverse=True)
    names = [file.relative_to(STDLIB) for file in files]
    found = [name.as_posix() for name in names if LEFT_OUT.isdisjoint(name.parts)]
    if not found:
        raise FileNotFoundError(f"{STDLIB} holds no source files")
    return found


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", metavar="N", type=int, help="have N processes do the work")
    parser.add_argument("--files", metavar="N", type=int, help="read only the N biggest files")
    options = parser.parse_args()
    workers = options.workers or max(2, os.cpu_count() or 2)
    try:
        with server_url() as url:
            demonstrate(url, stdlib_files()[: options.files or None], workers)
    except (RedisError, FileNotFoundError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
