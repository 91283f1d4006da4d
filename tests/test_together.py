"""Callers who are served together, step by step and without threads."""

from __future__ import annotations

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from pottery._plan import Pause
from pottery._together import Bell, Together


class Stop(BaseException):
    """Interrupts, as KeyboardInterrupt does, but no test runner."""


class Counting:
    """Answers with 1, 2, 3 and so on, one step later."""

    def __init__(self):
        self.last = 0
        self.groups = []
        self.together = Together(Bell)

    def ask(self, count):
        self.groups.append(count)
        first = self.last + 1
        self.last += count
        yield "asking"
        return range(first, self.last + 1)

    def caller(self):
        """Return the plan of one caller, and what it does first."""
        plan = self.together.serve(self.ask)
        return plan, next(plan)


@pytest.fixture
def counting():
    return Counting()


def finish(plan):
    with pytest.raises(StopIteration) as done:
        plan.send(None)
    return done.value.value


def test_who_comes_alone_asks_at_once(counting):
    plan, step = counting.caller()
    assert step == "asking"
    assert finish(plan) == 1


def test_who_comes_meanwhile_is_served_by_the_next_question_in_order_of_arrival(counting):
    first, _ = counting.caller()
    others = [counting.caller() for _ in range(3)]
    assert all(isinstance(step, Pause) for _, step in others)
    assert not any(step.until.is_set() for _, step in others)

    assert finish(first) == 1
    assert [step.until.is_set() for _, step in others] == [True, False, False]
    heir, *rest = (plan for plan, _ in others)
    assert heir.send(None) == "asking"
    assert finish(heir) == 2
    assert [finish(plan) for plan in rest] == [3, 4]
    assert counting.groups == [1, 3]


def test_whose_time_runs_out_waits_on(counting):
    first, _ = counting.caller()
    second, step = counting.caller()
    assert second.send(None) is not step
    assert finish(first) == 1
    assert second.send(None) == "asking"


def test_interrupt_of_who_asks_lets_the_next_one_ask(counting):
    first, _ = counting.caller()
    second, step = counting.caller()
    with pytest.raises(Stop):
        first.throw(Stop)
    assert step.until.is_set()
    assert second.send(None) == "asking"
    assert finish(second) == 2


def test_interrupt_of_who_waits_leaves_the_others_in_the_line(counting):
    first, _ = counting.caller()
    second, _ = counting.caller()
    third, step = counting.caller()
    with pytest.raises(Stop):
        second.throw(Stop)
    assert finish(first) == 1
    assert step.until.is_set()
    assert third.send(None) == "asking"
    assert finish(third) == 2


def test_interrupt_right_before_leaving_still_lets_the_next_one_ask(counting, monkeypatch):
    leave, interrupts = counting.together._leave, [Stop()]

    def interrupted(caller):
        if interrupts:
            raise interrupts.pop()
        leave(caller)

    monkeypatch.setattr(counting.together, "_leave", interrupted)
    first, _ = counting.caller()
    _, step = counting.caller()
    with pytest.raises(Stop):
        first.send(None)
    assert step.until.is_set()


def test_failure_is_that_of_all_who_were_asked_for(counting):
    first, _ = counting.caller()
    others = [counting.caller()[0] for _ in range(2)]
    assert finish(first) == 1
    heir, other = others
    heir.send(None)
    with pytest.raises(RedisConnectionError):
        heir.throw(RedisConnectionError())
    with pytest.raises(RedisConnectionError):
        other.send(None)
    assert counting.caller()[1] == "asking"


def test_bell_rings_once_and_for_ever():
    bell = Bell()
    bell.wait(0.001)
    assert not bell.is_set()
    bell.set()
    bell.set()
    assert bell.is_set()
    bell.wait(10)
    bell.wait(10)
    assert bell.is_set()
