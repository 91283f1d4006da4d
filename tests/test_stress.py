"""Random programs, run on the builtin and on ours; and many threads and processes on one key."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import chain
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from both import TYPES, Both, types_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from pottery.base import PAGE, WHOLE
from pottery.exceptions import KeyExistsError
from pottery.queue import RedisSimpleQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

# --- random programs

the_same_every_time = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

VALUES = [
    0,
    1,
    True,
    1.0,
    None,
    "a",
    "b",
    'é"\\',
    [1, [2]],
    {"k": 1},
    2.5,
    -0.0,
    10**16,
    1e16,
    10**20,
]
MEMBERS = [0, 1, -1, "a", "b", "c", None, (1, (2,)), 2.5, "é", "\ud800", 10**20]
values, members = st.sampled_from(VALUES), st.sampled_from(MEMBERS)
indices = st.integers(-8, 8) | st.sampled_from([99, -99])
bounds = st.none() | indices
steps = st.none() | st.sampled_from([1, 2, 3, -1, -2, -3, 99, -99])
counts = st.integers(-3, 5) | st.sampled_from([0.5, -1.5, 10**20, -(10**20), 10**14])


def program(lines: str, **names: Any) -> Any:
    """Return a strategy for lists of lines, each with values for its names."""
    texts = st.sampled_from([line.strip() for line in lines.splitlines() if line.strip()])
    return st.lists(st.tuples(texts, st.fixed_dictionaries(names)), min_size=10, max_size=40)


def run(both: Both, steps: list[tuple[str, dict[str, Any]]]) -> None:
    for line, names in steps:
        if not both.why_not(line):
            both.run(line, **names)


OF_ANY_SEQUENCE = """
    it.append(x)
    it.append(x)
    it.extend(xs)
    it.extend(make(xs))
    it.extend(it)
    it.insert(i, x)
    it.insert(i, x)
    it[i]
    it[i] = x
    del it[i]
    it.pop()
    it.remove(x)
    it.index(x)
    it.index(x, i)
    it.index(x, i, j)
    it.count(x)
    x in it
    it.reverse()
    it.copy()
    it.clear()
    it + make(xs)
    make(xs) + it
    it += xs
    it * n
    it *= n
    it == make(xs)
    it < make(["a"])
    list(reversed(it))
    [*it]
    len(it)
"""
SEQUENCE_NAMES = {
    "x": values,
    "xs": st.lists(values, max_size=4),
    "i": indices,
    "j": indices,
    "n": st.sampled_from([-1, 0, 1, 1, 2]),
}


@the_same_every_time
@given(
    content=st.lists(values, max_size=8),
    steps=program(
        OF_ANY_SEQUENCE
        + """
        it.pop(i)
        it[a:b]
        it[a:b:c]
        it[a:b] = xs
        it[a:b] = it
        it[a:b:c] = xs
        it[a:b:c] = [x] * len(it[a:b:c])
        del it[a:b]
        del it[a:b:c]
        it.sort(key=repr)
        it.sort(key=repr, reverse=True)
        """,
        **SEQUENCE_NAMES,
        a=bounds,
        b=bounds,
        c=steps,
    ),
)
def test_any_program_does_to_a_list_what_it_does_to_a_builtin(any_colour, content, steps):
    run(Both.of(any_colour, list, content), steps)


@the_same_every_time
@given(
    content=st.lists(values, max_size=8),
    maxlen=st.none() | st.integers(0, 6),
    steps=program(
        OF_ANY_SEQUENCE
        + """
        it.appendleft(x)
        it.extendleft(xs)
        it.extendleft(it)
        it.popleft()
        it.rotate(i)
        it.rotate()
        it.maxlen
        """,
        **SEQUENCE_NAMES,
    ),
)
def test_any_program_does_to_a_deque_what_it_does_to_a_builtin(any_colour, content, maxlen, steps):
    run(Both.of(any_colour, deque, content, maxlen), steps)


@the_same_every_time
@given(
    content=st.lists(members),
    steps=program(
        """
        it.add(x)
        it.add(x)
        it.discard(x)
        it.remove(x)
        x in it
        len(it)
        it.clear()
        it.copy()
        it.update(xs)
        it.update(make(xs), ys)
        it.intersection_update(xs, make(ys))
        it.intersection_update(make(xs))
        it.difference_update(xs)
        it.difference_update(make(xs), ys)
        it.symmetric_difference_update(xs)
        it.symmetric_difference_update(make(xs))
        it.union(xs, make(ys))
        it.intersection(xs, make(ys))
        it.intersection(xs, ys)
        it.difference(xs, make(ys))
        it.symmetric_difference(xs)
        it.symmetric_difference(make(xs))
        it | set(xs)
        set(xs) | it
        it & make(xs)
        it - set(xs)
        set(xs) - it
        make(xs) - it
        it ^ set(xs)
        it ^ make(xs)
        it |= set(xs)
        it |= make(xs)
        it &= set(xs)
        it -= set(xs)
        it -= it
        it ^= make(xs)
        it ^= set(xs)
        it == set(xs)
        it <= make(xs)
        it < set(xs)
        it >= make(xs)
        set(xs) >= it
        it.isdisjoint(xs)
        it.issubset(make(xs))
        it.issuperset(xs)
        """,
        x=members,
        xs=st.lists(members, max_size=8),
        ys=st.lists(members, max_size=4),
    ),
)
def test_any_program_does_to_a_set_what_it_does_to_a_builtin(any_colour, content, steps):
    run(Both.of(any_colour, set, content), steps)


OF_ANY_DICT = """
    it[k]
    it[k] = v
    it[k] = v
    del it[k]
    k in it
    len(it)
    it.get(k)
    it.get(k, v)
    it.pop(k)
    it.pop(k, v)
    it.popitem()
    it.setdefault(k, v)
    it.update(d)
    it.update(make(d))
    it.clear()
    it.copy()
    list(it)
    list(reversed(it))
    it.items()
    it.keys() & d.keys()
    it.keys() - {k}
    it == d
    it == make(d)
"""


@the_same_every_time
@given(
    content=st.dictionaries(members, values),
    steps=program(
        OF_ANY_DICT
        + """
        it.update([(k, v)], a=v)
        it | d
        d | it
        it | make(d)
        it |= d
        it |= [(k, v)]
        it.fromkeys([k], v)
        """,
        k=members,
        v=values,
        d=st.dictionaries(members, values, max_size=4),
    ),
)
def test_any_program_does_to_a_dict_what_it_does_to_a_builtin(any_colour, content, steps):
    run(Both.of(any_colour, dict, content), steps)


@the_same_every_time
@given(
    content=st.dictionaries(members, counts),
    steps=program(
        OF_ANY_DICT
        + """
        it.update(ks)
        it.update(d, a=v)
        it.update(it)
        it.subtract(ks)
        it.subtract(d)
        it.subtract(make(d))
        it[k] += v
        it.total()
        it.most_common()
        it.most_common(2)
        +it
        -it
        it + make(d)
        Counter(d) + it
        it - Counter(d)
        make(d) - it
        it | make(d)
        it & Counter(d)
        it += Counter(d)
        it += make(d)
        it -= make(d)
        it -= Counter(d)
        it |= Counter(d)
        it &= make(d)
        it <= make(d)
        it > Counter(d)
        it == Counter(d)
        """,
        k=members,
        ks=st.lists(members, max_size=6),
        v=counts,
        d=st.dictionaries(members, counts, max_size=4),
        Counter=st.just(Counter),
    ),
)
def test_any_program_does_to_a_counter_what_it_does_to_a_builtin(any_colour, content, steps):
    run(Both.of(any_colour, Counter, content), steps)


LONG = [PAGE - 1, PAGE, PAGE + 1, WHOLE - 1, WHOLE, WHOLE + 1, WHOLE + 2, WHOLE + PAGE + 1]


@pytest.mark.parametrize("size", LONG)
@pytest.mark.parametrize("kind", [list, deque])
def test_a_long_sequence_is_read_whole_from_both_ends(redis, kind, size):
    it = TYPES[kind](range(size), redis=redis)

    assert [*it] == [*range(size)]
    assert [*reversed(it)] == [*reversed(range(size))]
    assert it == kind(range(size))


@pytest.mark.parametrize("size", [PAGE - 1, PAGE + 1, 5 * PAGE])
@pytest.mark.parametrize("kind", [set, dict, Counter])
def test_a_long_hash_or_set_is_read_whole(redis, kind, size):
    content = {key: [key] for key in range(size)} if kind is dict else kind(range(size))

    it = TYPES[kind](content, redis=redis)

    assert it == content
    assert kind(it) == content
    assert it.copy() == content


# --- many at once

THREADS, PROCESSES = 8, 4
EACH = 100


class Job(NamedTuple):
    """What all workers do to a container at once, and what must be true afterwards.

    *work* is called with the container and the number of the worker; *check* with the container,
    the results, and the number of all workers.
    """

    kind: type
    content: Callable[[int], Any]
    work: Callable[[Any, int], Any]
    check: Callable[[Any, list[Any], int], bool]
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed


def nothing(_: int) -> tuple[()]:
    return ()


def numbers(workers: int) -> range:
    return range(EACH * workers)


def all_marks(workers: int) -> list[list[int]]:
    return [[worker, number] for worker in range(workers) for number in range(EACH)]


def mark(worker: int) -> list[list[int]]:
    """Return what *worker* adds, so that each element can be told from any other."""
    return all_marks(worker + 1)[-EACH:]


def each(change: Callable[[Any, Any], Any]) -> Callable[[Any, int], None]:
    """Return work that makes a change for every mark of a worker."""

    def work(it: Any, worker: int) -> None:
        for item in mark(worker):
            change(it, item)

    return work


def until(error: type[Exception], take: Callable[[Any], Any]) -> Callable[[Any, int], list[Any]]:
    """Return work that takes until there is nothing more, which is an *error*."""

    def work(it: Any, _: int) -> list[Any]:
        taken = []
        with suppress(error):
            while True:
                taken.append(take(it))
        return taken

    return work


def has_all_marks(it: Any, _: list[Any], workers: int) -> bool:
    return sorted(it) == all_marks(workers)


def in_order(it: Any, results: list[Any], workers: int) -> bool:
    own = [[item for item in it if item[0] == worker] for worker in range(workers)]
    return has_all_marks(it, results, workers) and all(map(is_sorted, own))


def is_sorted(items: list[Any]) -> bool:
    return items == sorted(items)


def in_runs(it: Any, results: list[Any], workers: int) -> bool:
    """Return whether nothing came in between the items that were added together."""
    items = [*it]
    runs = [items[at : at + EACH] for at in range(0, len(items), EACH)]
    return has_all_marks(it, results, workers) and all(
        run == mark(run[0][0]) or run == mark(run[0][0])[::-1] for run in runs
    )


def took_each_once(it: Any, results: list[Any], workers: int) -> bool:
    return len(it) == 0 and sorted(chain(*results)) == [*numbers(workers)]


def agreed(_: Any, results: list[Any], workers: int) -> bool:
    return all(len({*answers}) == 1 for answers in zip(*results, strict=True))


def sort_or_append(it: Any, worker: int) -> None:
    if worker:
        each(lambda it, item: it.append(item))(it, worker)
    else:
        it.extend(mark(worker))
        for _ in range(5):
            it.sort()


def add_to_list(it: Any, worker: int) -> None:
    it += mark(worker)


def turn_or_append(it: Any, worker: int) -> None:
    for number, item in enumerate(mark(worker)):
        it.append(item)
        if worker % 3 == 0:
            it.rotate(number % 5 - 2)
        elif worker % 3 == 1:
            it.reverse()


def produce_or_consume(it: Any, worker: int) -> list[Any]:
    if worker % 2:
        each(lambda it, item: it.append(item))(it, worker)
        return []
    taken = []
    give_up = time.monotonic() + 30
    while len(taken) < EACH and time.monotonic() < give_up:
        with suppress(IndexError):
            taken.append(it.popleft())
    return taken


def consumed_in_order(it: Any, results: list[Any], workers: int) -> bool:
    produced = [[*item] for worker in range(1, workers, 2) for item in mark(worker)]
    orders = [
        [item for item in taken if item[0] == who] for taken in results for who in range(workers)
    ]
    return len(it) == 0 and sorted(chain(*results)) == produced and all(map(is_sorted, orders))


def append_and_measure(it: Any, worker: int) -> list[int]:
    lengths = []
    for item in mark(worker):
        it.append(item)
        lengths.append(len(it))
        it.appendleft(item)
        lengths.append(len(it))
    return lengths


def update_and_look(it: Any, worker: int) -> bool:
    """Write ten items at once, and look whether they are always seen as one wrote them."""
    seen = []
    for _ in range(EACH):
        it.update({f"key {number}": worker for number in range(10)})
        seen.append(len({*it.to_dict().values()}))
    return {*seen} == {1}


def count(it: Any, worker: int) -> None:
    for _ in range(EACH):
        it.update("ab")
        it.update({"a": 2, "huge": 10**20, "half": 0.5}, own=1)
        it.subtract(b=2)
        it.update([worker])


def counted(it: Any, _: list[Any], workers: int) -> bool:
    total = EACH * workers
    expected = {
        "a": 3 * total,
        "b": -total,
        "huge": 10**20 * total,
        "half": total / 2,
        "own": total,
    }
    return it.to_counter() == Counter(expected | dict.fromkeys(range(workers), EACH))


def add_in_place(it: Any, worker: int) -> None:
    for _ in range(EACH):
        it += Counter(a=2, b=1)
        it -= Counter(a=1)
        it |= Counter({"most": worker})
        it += Counter(half=0.5)


def added_in_place(it: Any, _: list[Any], workers: int) -> bool:
    total = EACH * workers
    return it.to_counter() == Counter(a=total, b=total, most=workers - 1, half=total / 2)


def toggle(it: Any, worker: int) -> None:
    for _ in range(EACH):
        it ^= {"x", worker}
        it.symmetric_difference_update(["y"])


def remove_all(it: Any, _: int) -> list[int]:
    removed = []
    for number in range(EACH):
        with suppress(KeyError):
            it.remove(number)
            removed.append(number)
    return removed


def delete_all(it: Any, _: int) -> list[int]:
    deleted = []
    for number in range(EACH):
        with suppress(KeyError):
            del it[number]
            deleted.append(number)
    return deleted


def pop_all(it: Any, _: int) -> list[int]:
    return [value for number in range(EACH) if (value := it.pop(number, None)) is not None]


def set_defaults(it: Any, worker: int) -> list[int]:
    return [it.setdefault(number, worker) for number in range(EACH)]


def each_once(it: Any, results: list[Any], _: int) -> bool:
    return len(it) == 0 and sorted(chain(*results)) == [*range(EACH)]


def sum_is(total: Callable[[int], int]) -> Callable[[Any, list[Any], int], bool]:
    return lambda it, results, workers: len(it) == 0 and sum(map(len, results)) == total(workers)


JOBS = {
    "list append": Job(list, nothing, each(lambda it, item: it.append(item)), in_order),
    "list extend": Job(list, nothing, lambda it, worker: it.extend(mark(worker)), in_runs),
    "list add": Job(list, nothing, add_to_list, in_runs),
    "list insert first": Job(
        list, nothing, each(lambda it, item: it.insert(0, item)), has_all_marks
    ),
    "list insert": Job(list, nothing, each(lambda it, item: it.insert(3, item)), has_all_marks),
    "list splice": Job(
        list, nothing, lambda it, worker: it.__setitem__(slice(0, 0), mark(worker)), in_runs
    ),
    "list pop last": Job(list, numbers, until(IndexError, lambda it: it.pop()), took_each_once),
    "list pop first": Job(list, numbers, until(IndexError, lambda it: it.pop(0)), took_each_once),
    "list pop": Job(
        list,
        lambda workers: [*numbers(workers), *"ab"],
        until(IndexError, lambda it: it.pop(2)),
        lambda it, results, workers: (
            sorted(map(str, chain(it, *results))) == sorted(map(str, [*numbers(workers), *"ab"]))
        ),
    ),
    "list delete": Job(
        list,
        numbers,
        until(IndexError, lambda it: it.__delitem__(-1)),
        sum_is(lambda workers: EACH * workers),
    ),
    "list remove a string": Job(
        list,
        lambda workers: ["x"] * EACH * workers,
        until(ValueError, lambda it: it.remove("x")),
        sum_is(lambda workers: EACH * workers),
    ),
    "list remove a number": Job(
        list,
        lambda workers: [1, 1.0, True] * workers * 10,
        until(ValueError, lambda it: it.remove(True)),
        sum_is(lambda workers: 30 * workers),
    ),
    "list remove a list": Job(
        list,
        lambda workers: [[1], [True]] * workers * 5,
        until(ValueError, lambda it: it.remove([1.0])),
        sum_is(lambda workers: 10 * workers),
    ),
    "list sort": Job(list, nothing, sort_or_append, has_all_marks),
    "deque append": Job(deque, nothing, each(lambda it, item: it.append(item)), in_order),
    "deque extendleft": Job(
        deque, nothing, lambda it, worker: it.extendleft(mark(worker)), in_runs
    ),
    "deque pop": Job(deque, numbers, until(IndexError, lambda it: it.pop()), took_each_once),
    "deque popleft": Job(
        deque, numbers, until(IndexError, lambda it: it.popleft()), took_each_once
    ),
    "deque as a queue": Job(deque, nothing, produce_or_consume, consumed_in_order),
    "deque turning": Job(deque, nothing, turn_or_append, has_all_marks),
    "deque bounded": Job(
        deque,
        nothing,
        append_and_measure,
        lambda it, results, _: len(it) == 7 and max(chain(*results)) <= 7,
        {"maxlen": 7},
    ),
    "set add": Job(
        set,
        nothing,
        each(lambda it, item: it.add(tuple(item))),
        lambda it, _, workers: it == {*map(tuple, all_marks(workers))},
    ),
    "set update": Job(
        set,
        nothing,
        each(lambda it, item: it.update({tuple(item), 0}, [1])),
        lambda it, _, workers: it == {*map(tuple, all_marks(workers)), 0, 1},
    ),
    "set pop": Job(set, numbers, until(KeyError, lambda it: it.pop()), took_each_once),
    "set remove": Job(set, lambda _: range(EACH), remove_all, each_once),
    "set toggle": Job(set, lambda _: ["z"], toggle, lambda it, *_: it == {"z"}),
    "dict set": Job(
        dict,
        nothing,
        each(lambda it, item: it.__setitem__(tuple(item), item)),
        lambda it, _, workers: it == {tuple(item): item for item in all_marks(workers)},
    ),
    "dict update": Job(dict, nothing, update_and_look, lambda it, results, _: all(results)),
    "dict setdefault": Job(dict, nothing, set_defaults, agreed),
    "dict pop": Job(dict, lambda _: {n: n for n in range(EACH)}, pop_all, each_once),
    "dict delete": Job(dict, lambda _: {n: n for n in range(EACH)}, delete_all, each_once),
    "dict popitem": Job(
        dict,
        lambda workers: dict.fromkeys(numbers(workers), 0),
        until(KeyError, lambda it: it.popitem()[0]),
        took_each_once,
    ),
    "counter update": Job(Counter, nothing, count, counted),
    "counter in place": Job(Counter, nothing, add_in_place, added_in_place),
    "counter popitem": Job(
        Counter,
        lambda workers: dict.fromkeys(numbers(workers), 1),
        until(KeyError, lambda it: it.popitem()[0]),
        took_each_once,
    ),
}


@pytest.mark.parametrize("name", JOBS)
def test_threads_lose_and_double_nothing_on_one_object(any_colour, loop, name):
    job = JOBS[name]
    # In the one colour the threads work by themselves, in the other as tasks of one event loop.
    it = types_of(any_colour)[job.kind](job.content(THREADS), **job.options, redis=any_colour)

    with loop.running():
        results = in_threads(partial(job.work, it))

    assert job.check(it, results, THREADS)


@pytest.mark.parametrize("name", JOBS)
def test_processes_lose_and_double_nothing_on_one_key(redis, server, processes, name):
    job = JOBS[name]
    it = TYPES[job.kind](job.content(PROCESSES), **job.options, redis=redis, key="it")

    tasks = [processes.submit(work_at, server.url, name, worker) for worker in range(PROCESSES)]
    results = [task.result() for task in tasks]

    assert job.check(it, results, PROCESSES)


def in_threads(work: Callable[[int], Any]) -> list[Any]:
    """Call *work* with the number of each thread, in all at once; return the results."""
    ready = threading.Barrier(THREADS)

    def begin(worker: int) -> Any:
        ready.wait()
        return work(worker)

    with ThreadPoolExecutor(THREADS) as pool:
        return [*pool.map(begin, range(THREADS))]


def work_at(url: str, name: str, worker: int) -> Any:
    job = JOBS[name]
    with Redis.from_url(url) as client:
        it = TYPES[job.kind](**job.options, redis=client, key="it")
        meet(client)
        return job.work(it, worker)


def meet(client: Redis) -> None:
    """Wait until all processes are here."""
    client.incr("here")
    while int(client.get("here")) < PROCESSES:
        time.sleep(0.001)


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    # Not forked: this process may have threads.
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        yield pool


def put_and_get(client: Redis, worker: int) -> list[Any]:
    """Put as many items as are got, some of them as pottery 3.0 does."""
    it, got = RedisSimpleQueue[Any](redis=client, key="queue"), []
    for number in range(EACH):
        if number % 5:
            it.put([worker, number])
        else:
            client.xadd("queue", {"item": f"[{worker}, {number}]"})
        got.append(it.get())
    return got


def put_and_get_at(url: str, worker: int) -> list[Any]:
    with Redis.from_url(url) as client:
        meet(client)
        return put_and_get(client, worker)


def check_got(results: list[list[Any]], workers: int) -> None:
    everything = sorted(chain(*results))
    assert everything == [[worker, number] for worker in range(workers) for number in range(EACH)]
    for got in results:
        for worker in range(workers):
            order = [number for who, number in got if who == worker]
            assert order == sorted(order), "an item overtook another"


def test_threads_get_each_item_that_they_put_once(redis):
    check_got(in_threads(partial(put_and_get, redis)), THREADS)
    assert RedisSimpleQueue(redis=redis, key="queue").empty()


def test_processes_get_each_item_that_they_put_once(redis, server, processes):
    tasks = [processes.submit(put_and_get_at, server.url, one) for one in range(PROCESSES)]
    check_got([task.result() for task in tasks], PROCESSES)
    assert RedisSimpleQueue(redis=redis, key="queue").empty()


def test_consumers_get_about_as_much_each(server, redis):
    it = RedisSimpleQueue[int](redis=redis, key="queue")
    counts = Counter[int]()

    def consume(me: int) -> None:
        with server.client() as client:
            while RedisSimpleQueue[int](redis=client, key="queue").get():
                counts[me] += 1

    with ThreadPoolExecutor(8) as pool:
        for me in range(8):
            pool.submit(consume, me)
        for _ in range(400):
            it.put(1)
            time.sleep(0.003)
        for _ in range(8):
            it.put(0)
    assert sum(counts.values()) == 400
    assert max(counts.values()) <= 1.2 * min(counts.values())


CONTENT = {list: [1], set: [1], dict: {1: 1}, deque: [1], Counter: {1: 1}}


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_of_threads_that_create_one_key_exactly_one_wins(redis, any_colour, loop, kind):
    for attempt in range(20):
        with loop.running():
            wins = in_threads(
                lambda worker: create(any_colour, kind, f"key {attempt}", worker)  # noqa: B023
            )

        assert sum(wins) == 1
        assert len(TYPES[kind](redis=redis, key=f"key {attempt}")) == 1


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_of_processes_that_create_one_key_exactly_one_wins(server, processes, redis, kind):
    tasks = [processes.submit(create_at, server.url, kind, worker) for worker in range(PROCESSES)]

    assert sum(task.result() for task in tasks) == 1
    assert len(TYPES[kind](redis=redis, key="it")) == 1


def create(client: Redis, kind: type, key: str, worker: int) -> bool:
    content = {worker: 1} if issubclass(kind, dict) else [worker]
    try:
        it = types_of(client)[kind](content, redis=client, key=key)
    except KeyExistsError as error:
        assert error.key == key  # noqa: PT017 - one may, all but one must
        return False
    return it == kind(content)


def create_at(url: str, kind: type, worker: int) -> bool:
    with Redis.from_url(url) as client:
        meet(client)
        return create(client, kind, "it", worker)
