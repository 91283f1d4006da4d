"""ContextTimer, by a clock that the tests set."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import pytest

import pottery.timer
from pottery import ContextTimer


class Clock:
    """Stands for time.perf_counter."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pottery.timer, "perf_counter", clock)
    return clock


def test_elapsed_time_runs_until_the_timer_is_stopped(clock):
    timer = ContextTimer()
    timer.start()
    assert timer.elapsed() == 0
    clock.sleep(0.1)
    assert timer.elapsed() == 100
    clock.sleep(0.1)
    timer.stop()
    clock.sleep(0.1)
    assert timer.elapsed() == 200


def test_context_manager_measures_its_block(clock):
    with ContextTimer() as timer:
        clock.sleep(0.25)
        assert timer.elapsed() == 250
    clock.sleep(1)
    assert timer.elapsed() == 250


def test_asynchronous_context_manager_measures_its_block(clock):
    async def body():
        async with ContextTimer() as timer:
            clock.sleep(0.25)
        clock.sleep(1)
        return timer.elapsed()

    assert asyncio.run(body()) == 250


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, 0), (0.0004, 0), (0.0006, 1), (1.2344, 1234), (86_400, 86_400_000)],
)
def test_elapsed_time_is_whole_milliseconds(clock, seconds, expected):
    with ContextTimer() as timer:
        clock.sleep(seconds)
    assert timer.elapsed() == expected
    assert type(timer.elapsed()) is int


MISUSES = {
    "elapsed before start": (["elapsed"], "was not started yet"),
    "stop before start": (["stop"], "was not started yet"),
    "start twice": (["start", "start"], "was started already"),
    "stop twice": (["start", "stop", "stop"], "was stopped already"),
    "start again": (["start", "stop", "start"], "was stopped already"),
    "with, started": (["start", "__enter__"], "was started already"),
    "with, again": (["__enter__", "__exit__", "__enter__"], "was stopped already"),
}


@pytest.mark.parametrize(("calls", "text"), MISUSES.values(), ids=MISUSES)
def test_misuse_is_runtimeerror(calls, text):
    timer = ContextTimer()
    *fine, wrong = (getattr(timer, name) for name in calls)
    for call in fine:
        call()
    with pytest.raises(RuntimeError, match=f"timer {text}"):
        wrong()


def test_misuse_does_not_disturb_the_measurement(clock):
    timer = ContextTimer()
    timer.start()
    clock.sleep(1)
    with pytest.raises(RuntimeError):
        timer.start()
    timer.stop()
    clock.sleep(1)
    with pytest.raises(RuntimeError):
        timer.stop()
    assert timer.elapsed() == 1000


def fail_after(seconds, timer, clock, *, stop_first=False):
    with timer:
        if stop_first:
            timer.stop()
        clock.sleep(seconds)
        raise ZeroDivisionError


def test_error_in_the_block_is_raised_and_the_timer_stops(clock):
    timer = ContextTimer()
    with pytest.raises(ZeroDivisionError):
        fail_after(1, timer, clock)
    clock.sleep(1)
    assert timer.elapsed() == 1000


def test_timer_may_be_stopped_within_its_block(clock):
    timer = ContextTimer()
    with pytest.raises(ZeroDivisionError):
        fail_after(1, timer, clock, stop_first=True)
    assert timer.elapsed() == 0


def test_repr_tells_the_state(clock):
    timer = ContextTimer()
    assert repr(timer) == "<ContextTimer not started>"
    with timer:
        clock.sleep(0.1)
        assert repr(timer) == "<ContextTimer running elapsed=100>"
    assert repr(timer) == "<ContextTimer stopped elapsed=100>"


def test_real_time_passes():
    with ContextTimer() as timer:
        times = [timer.elapsed()]
        time.sleep(0.02)
        times.append(timer.elapsed())
    times.append(timer.elapsed())
    assert all(earlier <= later for earlier, later in pairwise(times))
    assert times[1] >= 20
