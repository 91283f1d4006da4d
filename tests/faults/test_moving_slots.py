"""Every operation while the slots of its keys move from one server of a cluster to another.

It must do and give what it does and gives when nothing moves. Left out are locks and IDs alone,
whose masters are servers and no clusters.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager, nullcontext
from functools import partial
from inspect import isawaitable
from typing import Any, NamedTuple

import operations
import pytest
from colours import Loop
from moving import Mover, at_nodes, owner_of
from operations import (
    IDS,
    LOCKS,
    OPERATIONS,
    REQUIRED,
    TWINS,
    VIEWS,
    AIOBloomFilter,
    AIOHyperLogLog,
    AIORedisCounter,
    AIORedisDeque,
    AIORedisDict,
    AIORedisList,
    AIORedisSet,
    BloomFilter,
    HyperLogLog,
    RedisCounter,
    RedisDeque,
    RedisDict,
    RedisList,
    RedisSet,
    attach,
    prepare,
)
from verdict import Trial, is_alike, shown, state

from pottery._cluster import slot
from pottery._temporary import ABANDONED
from pottery.base import START, Base

# --- operations of two containers of one slot, besides


class Pair(NamedTuple):
    """An operation of two containers, called as the `Operation` of one is."""

    kind: Any
    name: str
    call: Any

    def __str__(self) -> str:
        return f"{self.kind.__name__}.{self.name} of two"

    is_awaited = operations.Operation.is_awaited


def beside(container: Any) -> Any:
    """Return the other container, which is in the same slot."""
    kind = type(container)
    return kind(**REQUIRED.get(kind, {}), redis=container.redis, key="{filled}other")


def pair(kind: Any, name: str) -> Pair:
    return Pair(kind, name, lambda one: getattr(one, name)(beside(one)))


COMBINED = {
    RedisSet: [
        *("__and__", "__eq__", "__ge__", "__gt__", "__iand__", "__ior__", "__isub__", "__ixor__"),
        *("__le__", "__lt__", "__or__", "__sub__", "__xor__", "difference", "difference_update"),
        *("intersection", "intersection_update", "isdisjoint", "issubset", "issuperset"),
        *("symmetric_difference", "symmetric_difference_update", "union", "update"),
    ],
    RedisDict: ["__eq__", "__ior__", "__or__", "update"],
    RedisCounter: ["__add__", "__and__", "__iadd__", "__le__", "__sub__", "subtract", "update"],
    RedisList: ["__add__", "__eq__", "__iadd__", "__lt__", "extend"],
    RedisDeque: ["__add__", "__eq__", "__iadd__", "__lt__", "extend", "extendleft"],
    AIORedisSet: [
        *("difference", "difference_update", "equals", "intersection", "intersection_update"),
        *("isdisjoint", "issubset", "issuperset", "symmetric_difference"),
        *("symmetric_difference_update", "union", "update"),
    ],
    AIORedisDict: ["equals", "update"],
    AIORedisCounter: ["equals", "intersection_update", "subtract", "sum", "sum_update", "update"],
    AIORedisList: ["equals", "extend"],
    AIORedisDeque: ["equals", "extend", "extendleft"],
}
PAIRS = [pair(kind, name) for kind, names in COMBINED.items() for name in names]
SINGLE = [one for one in OPERATIONS if one.kind not in {*IDS, *LOCKS}]
# Whose operations are of two containers where `operations.other` is called.
MERGED = {BloomFilter, AIOBloomFilter, HyperLogLog, AIOHyperLogLog}
BY_KIND: dict[Any, list[Any]] = {}
for one in (*SINGLE, *PAIRS):
    BY_KIND.setdefault(one.kind, []).append(one)


# --- the way of the slots


FEW, MANY = "01234", [f"item {n}" for n in range(3000)]


class Stage:
    """A cluster of which the slots of all keys move together, and who uses it."""

    def __init__(self, movers: list[Mover], redis: Any, aio: Any, seer: Any, loop: Loop) -> None:
        self.movers = movers
        self.nodes = movers[0].clients
        self.clients = {False: redis, True: aio}
        self.seer = seer
        self.loop = loop
        self.cleans: dict[str, Trial] = {}

    def settle(self, value: Any) -> Any:
        return self.loop.wait(value) if isawaitable(value) else value

    def refusals(self) -> Counter[str]:
        """Return how often the servers have said what instead of running a command."""
        said: Counter[str] = Counter()
        for node in self.nodes:
            for what, counted in node.info("errorstats").items():
                said[what.removeprefix("errorstat_")] += counted["count"]
        return said

    def fill(self, operation: Any, items: Any) -> None:
        for node in self.nodes:
            node.flushall()
        prepare(operation.kind, self.seer, items)
        kind = TWINS.get(operation.kind, operation.kind)
        if isinstance(operation, Pair) or kind in MERGED:
            content = {"4": 1, "x": 2} if issubclass(kind, RedisDict) else ["4", "x"]
            kind(content, **REQUIRED.get(kind, {}), redis=self.seer, key="{filled}other")

    def clean(self, operation: Any, items: Any = FEW) -> Trial:
        """Return what becomes of an operation without trouble."""
        name = f"{operation} {len(items)}"
        if name not in self.cleans:
            self.cleans[name], _ = self.trial(operation, nullcontext, items)
        return self.cleans[name]

    def trial(self, operation: Any, trouble: Any, items: Any = FEW) -> tuple[Trial, Counter[str]]:
        """Perform an operation during some trouble; return what became of it, and refusals."""
        ABANDONED.clear()
        self.fill(operation, items)
        client = self.clients[operation.is_awaited]
        target = self.settle(attach(operation, client))
        for key in ("filled", "new"):  # so that the client knows where they are
            self.settle(client.exists(key))
        before, result, caught = state(self.seer), None, None
        with trouble(self):
            refusals = self.refusals()
            try:
                result = self.settle(operation.call(target))
            except Exception as error:  # noqa: BLE001 - to be judged
                caught = error
            refusals = self.refusals() - refusals
        result = unordered(operation, shown(result, self.seer))
        return Trial(before, state(self.seer), result, caught, 0.0), refusals


def unordered(operation: Any, result: Any) -> Any:
    """Return what does not show the order of a set, which every server has one of its own for."""
    is_shown = operation.kind in {RedisSet, AIORedisSet} and isinstance(result, (list, str))
    return sorted(result) if is_shown and operation.name != "pop" else result


@contextmanager
def moved(stage: Stage) -> Any:
    """Let the client not know yet that everything has moved, to servers that know no scripts."""
    for mover in stage.movers:
        mover.go()
    for node in stage.nodes:
        node.script_flush()
    yield


@contextmanager
def migrating(move_keys: Any, stage: Stage) -> Any:
    """Let everything be on its way, until somebody has to wait for the end of that, or is done."""
    for mover in stage.movers:
        mover.begin()
        move_keys(mover)
    for node in stage.nodes:
        node.script_flush()
    before, is_over = stage.refusals()["TRYAGAIN"], threading.Event()

    def finish() -> None:
        while not is_over.wait(0.005):
            if stage.refusals()["TRYAGAIN"] > before:
                break
        for mover in stage.movers:
            mover.finish()

    finisher = threading.Thread(target=finish)
    finisher.start()
    yield
    is_over.set()
    finisher.join()


def none_moved(mover: Mover) -> None:
    """Leave the keys with the old server."""


def all_moved(mover: Mover) -> None:
    mover.move_keys()


def half_moved(mover: Mover) -> None:
    mover.move_keys(share=2)


# What happens, and what servers then say at least once.
TROUBLES = {
    "the slot has moved": (moved, {"MOVED"}),
    "the slot moves, the keys have not": (partial(migrating, none_moved), None),
    "the slot moves, the keys have": (partial(migrating, all_moved), {"ASK", "TRYAGAIN"}),
    "the slot moves, one of two keys has": (partial(migrating, half_moved), {"ASK", "TRYAGAIN"}),
}


def concerned(kind: Any, trouble: str) -> list[Any]:
    """Return the operations that some trouble is one for: not all have two keys."""
    has_two = trouble != "the slot moves, one of two keys has" or kind in MERGED
    return [one for one in BY_KIND[kind] if has_two or isinstance(one, Pair)]


CASES = [(kind, trouble) for kind in BY_KIND for trouble in TROUBLES if concerned(kind, trouble)]


@contextmanager
def patient(nodes: list[Any]) -> Any:
    """Let no node take another one for dead that a busy machine has no time for."""
    name = "cluster-node-timeout"
    usual = [node.config_get(name)[name] for node in nodes]
    for node in nodes:
        node.config_set(name, 60_000)
    yield
    for node, value in zip(nodes, usual, strict=True):
        node.config_set(name, value)


@pytest.fixture(scope="module")
def stage(redis_cluster):
    loop = Loop()
    with (
        at_nodes(redis_cluster) as nodes,
        patient(nodes),
        redis_cluster.client() as redis,
        redis_cluster.client() as seer,
    ):
        seer.keys = partial(seer.keys, target_nodes="primaries")
        numbers = [slot("filled"), slot("new")]
        homes = [owner_of(nodes, number) for number in numbers]
        movers = [Mover(redis_cluster, nodes, *at) for at in zip(numbers, homes, strict=True)]
        movers[1].go(homes[0])
        yield Stage(movers, redis, loop.client(redis), seer, loop)
        seer.flushall(target_nodes="primaries")
        for mover, home in zip(movers, homes, strict=True):
            if mover.place != home:
                mover.go(home)
        loop.close()


def uses_what_moves(operation: Any) -> bool:
    """Return whether an operation asks the servers, and not for a temporary key alone."""
    if isinstance(operation, Pair):
        return True
    return operation.name != "__aexit__" and operation.cost.trips > 0


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "trouble"), CASES)
def test_operation_does_not_notice_that_its_slot_moves(kind, trouble, stage, monkeypatch):
    monkeypatch.setattr(operations, "other", beside)
    happens, refusals_expected = TROUBLES[trouble]
    for operation in concerned(kind, trouble):
        clean, (found, refusals) = stage.clean(operation), stage.trial(operation, happens)
        assert (clean.error, found.error) == (None, None), operation
        assert is_alike(operation, clean, found), (operation, clean, found)
        if refusals_expected and uses_what_moves(operation):
            assert refusals_expected & refusals.keys(), (operation, refusals)


# --- long containers, of which one page was read before

SCANNED = {RedisSet, RedisDict, RedisCounter, *VIEWS, AIORedisSet, AIORedisDict, AIORedisCounter}
LONG = [one for one in SINGLE if one.kind in SCANNED and one.cost.is_paged]
# What yields page after page, and nothing more in the end, may yield twice what it yielded.
YIELDING = {"__iter__", "__aiter__"}


def comparable(operation: Any, trial: Trial) -> Trial:
    """Return a trial whose result does not show the order that a server has for what it holds."""
    result = trial.result
    if operation.name in YIELDING:
        result = {*result}
    elif operation.name == "most_common":  # of many that are equal, any two
        result = [count for _, count in result]
    elif isinstance(result, (list, str)):
        result = sorted(result)
    return trial._replace(result=result)


@contextmanager
def moved_after_a_page(begin: str, stage: Stage) -> Any:
    """Let everything move, or be on its way, when the first page of a container was read."""
    scan, has_begun = Base._scan, []

    def scan_later(self: Any, command: str, position: Any, read: Any) -> Any:
        if position is not START and not has_begun:
            has_begun.append(position)
            for mover in stage.movers:
                getattr(mover, begin)()
        return scan(self, command, position, read)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Base, "_scan", scan_later)
        yield
    for mover in stage.movers:
        mover.finish()
    assert has_begun


# The way is the same for all, so only some take the one by ASK as well.
BEGINNINGS = [(one, "go") for one in LONG]
BEGINNINGS += [(one, "begin_with_keys") for one in LONG if one.name in {*YIELDING, "to_dict"}]


@pytest.mark.slow
@pytest.mark.parametrize(("operation", "begin"), BEGINNINGS, ids=str)
def test_long_container_is_read_completely_though_its_slot_moves(operation, begin, stage):
    clean = stage.clean(operation, MANY)
    found, _ = stage.trial(operation, partial(moved_after_a_page, begin), MANY)
    assert (clean.error, found.error) == (None, None)
    assert is_alike(operation, comparable(operation, clean), comparable(operation, found))
