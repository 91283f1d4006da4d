"""What is special about RedisDeque."""

from __future__ import annotations

from collections import deque

import pytest

from pottery import InefficientAccessWarning, RedisDeque, RedisList


def test_deque_with_maxlen_cannot_attach_to_what_is_longer(redis):
    RedisDeque("abc", redis=redis, key="d")
    with pytest.raises(IndexError, match="key 'd' holds more than maxlen=2 elements"):
        RedisDeque(maxlen=2, redis=redis, key="d")
    assert list(RedisDeque(maxlen=3, redis=redis, key="d")) == list("abc")


def test_maxlen_belongs_to_the_object(redis):
    bounded = RedisDeque("abc", 3, redis=redis, key="d")
    RedisDeque(redis=redis, key="d").append("d")
    assert list(bounded) == list("abcd")
    bounded.append("e")
    assert list(bounded) == list("cde")


def test_true_is_a_maxlen(redis):
    bounded = RedisDeque("ab", True, redis=redis)
    bounded.append("c")
    assert list(bounded) == ["c"]


@pytest.mark.parametrize("maxlen", [-1, "2", 1.5, 2**70])
def test_bad_maxlen_is_refused_before_anything_is_written(redis, maxlen):
    with pytest.raises((TypeError, ValueError, OverflowError)) as ours:
        RedisDeque("abc", maxlen, redis=redis, key="d")
    with pytest.raises(type(ours.value)) as theirs:
        deque("abc", maxlen)
    assert str(ours.value) == str(theirs.value)
    assert not redis.exists("d")


def test_results_keep_the_maxlen_of_the_left_operand(redis):
    bounded, free = RedisDeque("abc", 3, redis=redis), deque("xyz")
    assert (bounded + free).maxlen == (bounded * 2).maxlen == bounded.copy().maxlen == 3
    assert (list(bounded + free), (free + bounded).maxlen) == (list("xyz"), None)
    assert list(free + bounded) == list("xyzabc")


@pytest.mark.parametrize(
    "steps", [0, 1, -1, 2, -2, 4, 5, 7, -12, 10**9, -(10**15), 2**60 + 3, -(2**63)]
)
@pytest.mark.parametrize("size", [0, 1, 2, 5])
def test_rotation_by_any_number_of_steps(redis, steps, size):
    ours, theirs = RedisDeque(range(size), redis=redis, key="d"), deque(range(size))
    if ours:
        redis.expire("d", 100)
    ours.rotate(steps)
    theirs.rotate(steps)
    assert ours == theirs
    assert not ours or redis.ttl("d") > 90


def test_rotation_by_more_than_any_computer_could_is_refused(redis):
    with pytest.raises(OverflowError):
        RedisDeque("ab", redis=redis).rotate(10**30)


def test_deque_is_no_list(redis):
    letters = RedisDeque("abc", redis=redis, key="d")
    assert letters != list("abc")
    assert letters != RedisList(redis=redis, key="d")
    assert not hasattr(letters, "sort")
    with pytest.raises(TypeError, match="sequence index must be integer, not 'slice'"):
        letters[0:1]


def test_repr_names_maxlen_and_warns(redis):
    with pytest.warns(InefficientAccessWarning, match="repr of RedisDeque"):
        assert repr(RedisDeque("ab", 2, redis=redis)) == "RedisDeque(['a', 'b'], maxlen=2)"
