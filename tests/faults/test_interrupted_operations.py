"""Every operation, while whoever called it is interrupted or cancelled at any moment."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from inspect import isawaitable
from pathlib import Path

import pytest
from clients import close
from colours import Loop
from operations import OPERATIONS
from redis import asyncio as asynchronous
from verdict import FAILURES, Stage

PROGRAM = Path(__file__).parents[1] / "interrupted.py"
ERRORS = (asyncio.CancelledError, asyncio.TimeoutError, *FAILURES)
# Turns of the event loop after which a task is cancelled; more of them only wait for the reply.
MOST_TURNS = 24
AWAITED = [operation for operation in OPERATIONS if operation.is_awaited]


@pytest.mark.slow
def test_interrupted_operations_keep_what_they_promise(server, redis):
    command = [sys.executable, PROGRAM, server.url]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=110)
    interrupts, leaks, wrong = ran.stdout.split(maxsplit=2)
    assert wrong.strip() == "[]"
    assert int(interrupts) > 1000
    assert int(leaks) < int(interrupts) / 10


@pytest.fixture(scope="module")
def stage(server):
    loop = Loop()
    awaiting = asynchronous.Redis.from_url(server.url)
    with server.client() as seer:
        yield Stage(loop, seer, None, awaiting)
        seer.flushdb()
    loop.wait(close(awaiting))
    loop.wait(loop.loop.shutdown_asyncgens())
    loop.close()


async def cancelled_after(turns, awaitable):
    task = asyncio.ensure_future(awaitable)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    return await task


async def cancelled_in(seconds, awaitable):
    return await asyncio.wait_for(awaitable, seconds)


# Cancelled while it is being opened, a connection may be left to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("operation", AWAITED, ids=str)
def test_cancelled_operation_keeps_what_it_promises(stage, operation):
    rng = random.Random(7)
    stage.perform(operation)
    clean = stage.perform(operation)

    def is_cut_short(cancelled, when):
        def run(call):
            value = call()
            return stage.settle(cancelled(when, value) if isawaitable(value) else value)

        trial = stage.perform(operation, run, ERRORS)
        wrong = stage.verdict(operation, clean, trial)
        assert not wrong, trial
        return trial.error is not None

    turns = 0
    while turns < MOST_TURNS and is_cut_short(cancelled_after, turns):
        turns += 1
    assert turns >= 2 * operation.cost.trips  # to send is one moment, and to receive another
    for _ in range(3):
        is_cut_short(cancelled_in, rng.uniform(0, 1.2 * clean.seconds))
