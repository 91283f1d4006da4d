"""Every operation, while its connection breaks or falls silent at each of its steps.

`verdict.py` says what is promised. Nothing is left out; where an operation does something of its
own when it fails, a table says so, with the reason.
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count

import pytest
from clients import close
from colours import Loop
from operations import CACHES, IDS, KINDS, LOCKS, OPERATIONS
from redis import asyncio as asynchronous
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry
from test_costs import cost
from verdict import QUEUES, Stage, Trial, breach

import pottery
from pottery import (
    AIONextId,
    AIORedisSimpleQueue,
    HyperLogLog,
    NextId,
    OutcomeUnknown,
    RedisList,
    RedisSimpleQueue,
)
from pottery.testing import FaultyProxy, RedisServer

# What does its work exactly once, so that a single loss is no error ...
SURE = {*QUEUES, *CACHES, *IDS, *LOCKS}
# ... but for these.
TELLING = {
    **dict.fromkeys(
        [(RedisSimpleQueue, "clear"), (AIORedisSimpleQueue, "clear")],
        "a second run would remove what others have put meanwhile",
    ),
    **dict.fromkeys(
        [(NextId, "reset"), (AIONextId, "reset")],
        "it needs each of the masters, and is told to be called again",
    ),
}
# What a master says too late has no vote, so the answer is no; the lock is as it was.
SILENCED = {(kind, name) for kind in LOCKS for name in ("extend", "locked", "owner")}
# What is no error even if no reply comes at all.
FORGIVING = {
    (HyperLogLog, "__repr__"): "a repr does not raise: it shows that the length is not known",
    **dict.fromkeys(
        [(kind, "__aexit__") for kind in KINDS if kind not in LOCKS],
        "to give up a temporary key is tried again later",
    ),
    **dict.fromkeys(
        [(kind, name) for kind in LOCKS for name in ("locked", "owner", "release")],
        "masters that do not answer have no vote, unless raise_on_redis_errors is asked for",
    ),
    **dict.fromkeys(
        [(kind, name) for kind in LOCKS for name in ("__exit__", "__aexit__")],
        "as release",
    ),
}
# What waits for as long as it takes, as it is told to.
PATIENT = {(kind, name) for kind in LOCKS for name in ("acquire", "__enter__", "__aenter__")}
WORKERS = 12


@contextmanager
def opened(server, database=0, **options):
    """Lend a stage whose clients go through a proxy."""
    with ExitStack() as stack:
        proxy = stack.enter_context(FaultyProxy(server.url))
        # Of few connections, so that it is noticed if any are not given back.
        options = {"db": database, "max_connections": 2, **options}
        blocking = stack.enter_context(proxy.client(**options, retry=Retry(NoBackoff(), 1)))
        retry = AsyncRetry(NoBackoff(), 1)
        awaiting = asynchronous.Redis.from_url(proxy.url, **options, retry=retry)
        seer = stack.enter_context(server.client(db=database))
        loop = Loop()
        yield FaultyStage(loop, seer, blocking, awaiting, proxy)
        seer.flushdb()
        loop.wait(close(awaiting))
        loop.wait(loop.loop.shutdown_asyncgens())
        loop.close()


class FaultyStage(Stage):
    """A stage with the proxy that its clients go through."""

    def __init__(self, loop, seer, blocking, awaiting, proxy):
        super().__init__(loop, seer, blocking, awaiting)
        self.proxy = proxy

    def clean(self, operation):
        """Return what becomes of an operation that is not disturbed, its script being known."""
        self.perform(operation)
        clean = self.perform(operation)
        assert clean.error is None
        return clean

    def begin(self, fault, step, times=1):
        getattr(self.proxy, fault)(times, after=step)

    def disturb(self, operation, fault, step, *, is_flushed=False):
        """Perform an operation that loses its command or reply of number *step*; None if none."""
        lost = self.proxy.lost

        def run(call):
            if is_flushed:
                self.seer.script_flush()
            self.begin(fault, step)
            try:
                return self.call(call)
            finally:
                self.begin(fault, 0, times=0)

        trial = self.perform(operation, run)
        return trial if self.proxy.lost > lost else None

    def verdicts(self, operation, fault, *, is_flushed=False):
        """Yield what is wrong after a loss at each step, '' if nothing."""
        clean = self.clean(operation)
        is_silenced = fault == "swallow_reply" and operation[:2] in SILENCED
        for step in count():
            trial = self.disturb(operation, fault, step, is_flushed=is_flushed)
            if trial is None:
                break
            yield self.damage(operation) if is_silenced else self.judge(operation, clean, trial)
        assert step >= cost(operation).trips, "not all steps were disturbed"

    def judge(self, operation, clean, trial):
        is_sure = operation.kind in SURE and operation[:2] not in TELLING
        if is_sure and trial.error:
            return f"a single loss was an error: {trial.error!r}"
        return self.verdict(operation, clean, trial)


@pytest.fixture(scope="module")
def stage(server):
    with opened(server) as stage:
        yield stage


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_lost_reply_or_command_is_made_up_for_or_told(stage, operation):
    for fault in ("drop_reply", "drop_command"):
        verdicts = [*stage.verdicts(operation, fault)]
        assert not any(verdicts), (fault, verdicts)


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_lost_reply_is_made_up_for_or_told_if_the_script_is_not_known(stage, operation):
    verdicts = [*stage.verdicts(operation, "drop_reply", is_flushed=True)]
    assert not any(verdicts), verdicts


PUSH = next(one for one in OPERATIONS if one[:2] == (RedisList, "append"))
LEFT, PUSHED, TWICE = ({b"filled": ([b"0", *[b"x"] * times], False)} for times in range(3))
UNKNOWN, SURE_THAT_NOT = OutcomeUnknown(None, "filled", "RPUSH"), RedisConnectionError()


@pytest.mark.parametrize(
    ("after", "error", "is_right"),
    [
        (PUSHED, None, True),
        (LEFT, None, False),
        (TWICE, None, False),
        (PUSHED, UNKNOWN, True),
        (LEFT, UNKNOWN, True),
        (TWICE, UNKNOWN, False),
        (LEFT, SURE_THAT_NOT, True),
        (PUSHED, SURE_THAT_NOT, False),
    ],
)
def test_verdict_tells_right_from_wrong(after, error, is_right):
    clean = Trial(LEFT, PUSHED, None, None, 0.0)
    assert bool(breach(PUSH, clean, Trial(LEFT, after, None, error, 0.0))) is not is_right
    assert breach(PUSH, clean, Trial(LEFT, LEFT, None, UNKNOWN, 11.0))


# --- for a long time: many at once, each with a database and a proxy of its own


@pytest.fixture(scope="module")
def stages():
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer())  # whose databases are all ours
        stages = queue.SimpleQueue()
        for number in range(WORKERS):
            stages.put(stack.enter_context(opened(server, number + 1, socket_timeout=0.3)))
        yield stages


def all_wrong(stages, judge):
    """Return what *judge* finds wrong with operations, by their names."""

    def find(operation):
        stage = stages.get()
        try:
            return str(operation), judge(stage, operation)
        finally:
            stages.put(stage)

    with ThreadPoolExecutor(WORKERS) as pool:
        return {name: wrong for name, wrong in pool.map(find, OPERATIONS) if wrong}


@pytest.mark.slow
def test_reply_that_never_comes_is_made_up_for_or_told(stages):
    def judge(stage, operation):
        return [wrong for wrong in stage.verdicts(operation, "swallow_reply") if wrong]

    assert not all_wrong(stages, judge)


@pytest.mark.slow
def test_connection_that_keeps_breaking_is_an_error_in_time(stages, monkeypatch):
    # It is the end that is tested, and not how long is waited for it.
    monkeypatch.setattr(pottery._plan, "_PAUSES", (0.0, 0.02, None))
    monkeypatch.setattr(pottery.queue, "PAUSES", (0.0, 0.02))

    def judge(stage, operation):
        clean, lost = stage.clean(operation), stage.proxy.lost

        def run(call):
            stage.begin("drop_reply", 0, times=10**6)
            end = threading.Timer(0.5, stage.begin, ("drop_reply", 0, 0))
            if operation[:2] in PATIENT:
                end.start()
            try:
                return stage.call(call)
            finally:
                end.cancel()
                stage.begin("drop_reply", 0, times=0)

        trial = stage.perform(operation, run)
        if operation[:2] in FORGIVING:
            return stage.damage(operation)
        has_lost = stage.proxy.lost > lost and operation[:2] not in PATIENT
        if has_lost and not trial.error:
            return f"no error: {trial}"
        return stage.verdict(operation, clean, trial)

    assert not all_wrong(stages, judge)
