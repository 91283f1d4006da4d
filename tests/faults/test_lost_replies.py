"""Every operation, while its connection breaks or falls silent at each of its steps.

`verdict.py` says what is promised. Nothing is left out; where an operation does something of its
own when it fails, a table says so, with the reason.
"""

from __future__ import annotations

import threading
from itertools import count

import pytest
from operations import CACHES, IDS, KINDS, LOCKS, OPERATIONS
from proxied import PATIENT, all_wrong, opened
from redis.exceptions import ConnectionError as RedisConnectionError
from verdict import QUEUES, Trial, breach

import pottery
from pottery import (
    AIONextId,
    AIORedisSimpleQueue,
    NextId,
    OutcomeUnknown,
    RedisList,
    RedisSimpleQueue,
)

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
    **dict.fromkeys(
        [(kind, "__repr__") for kind in KINDS],
        "a repr does not raise: it shows what is wrong",
    ),
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


def verdicts(stage, operation, fault, *, is_flushed=False):
    """Yield what is wrong after a loss at each step, '' if nothing."""
    clean = stage.clean(operation)
    is_silenced = fault == "swallow_reply" and operation[:2] in SILENCED
    for step in count():
        trial = stage.disturb(operation, fault, step, is_flushed=is_flushed)
        if trial is None:
            break
        yield stage.damage(operation) if is_silenced else judge(stage, operation, clean, trial)
    assert step >= operation.cost.trips, "not all steps were disturbed"


def judge(stage, operation, clean, trial):
    is_sure = operation.kind in SURE and operation[:2] not in TELLING
    if is_sure and trial.error:
        return f"a single loss was an error: {trial.error!r}"
    return stage.verdict(operation, clean, trial)


@pytest.fixture(scope="module")
def stage(server):
    with opened(server) as stage:
        yield stage


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_lost_reply_or_command_is_made_up_for_or_told(stage, operation):
    for fault in ("drop_reply", "drop_command"):
        found = [*verdicts(stage, operation, fault)]
        assert not any(found), (fault, found)


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_lost_reply_is_made_up_for_or_told_if_the_script_is_not_known(stage, operation):
    found = [*verdicts(stage, operation, "drop_reply", is_flushed=True)]
    assert not any(found), found


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


@pytest.mark.slow
def test_reply_that_never_comes_is_made_up_for_or_told(stages):
    def judge(stage, operation):
        return [wrong for wrong in verdicts(stage, operation, "swallow_reply") if wrong]

    assert not all_wrong(stages, judge)


@pytest.mark.slow
def test_connection_that_keeps_breaking_is_an_error_in_time(stages, monkeypatch):
    # It is the end that is tested, and not how long is waited for it.
    monkeypatch.setattr(pottery._front, "_PAUSES", (0.0, 0.02, None))
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
