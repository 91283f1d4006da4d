"""What exceptions carry, say, and keep to themselves."""

from __future__ import annotations

import pickle
import queue

import pytest
import redis as redis_py
from redis.sentinel import MasterNotFoundError

import pottery

PRIMITIVE_ERRORS = [
    pottery.QuorumNotAchieved,
    pottery.QuorumIsImpossible,
    pottery.TooManyExtensions,
    pottery.ExtendUnlockedLock,
    pottery.ReleaseUnlockedLock,
]


@pytest.mark.parametrize("kind", PRIMITIVE_ERRORS)
def test_primitive_error_names_key_and_causes_but_no_client(kind):
    secret = redis_py.Redis(password="hunter2")
    error = kind("printer", {secret}, [redis_py.ConnectionError("refused")])

    assert isinstance(error, (RuntimeError, pottery.PrimitiveError))
    assert not isinstance(error, pottery.PotteryError)
    assert (error.key, error.masters, len(error.redis_errors)) == ("printer", {secret}, 1)
    assert "'printer'" in str(error)
    assert "ConnectionError: refused" in str(error)
    assert "hunter2" not in f"{error} {error!r}"


def test_client_that_the_error_of_a_master_shows_is_not_shown():
    shown = "<redis.client.Redis(<redis.Connection(password=hunter2,)> 3)>)>"
    cause = MasterNotFoundError(f"No master found for 'm' : {shown} - ConnectionError('refused')")
    error = pottery.QuorumIsImpossible("printer", redis_errors=[cause])
    assert str(error).endswith("; MasterNotFoundError: No master found for 'm'")


@pytest.mark.parametrize("kind", PRIMITIVE_ERRORS)
def test_primitive_error_travels_between_processes(kind):
    error = kind("printer", {redis_py.Redis()}, [redis_py.ConnectionError("refused")])
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin), twin.key, twin.masters, str(twin)) == (kind, "printer", set(), str(error))


def test_empty_queue_error_is_the_stdlibs():
    error = pottery.QueueEmptyError(None, "cars")
    assert isinstance(error, queue.Empty)
    assert isinstance(error, pottery.PotteryError)
    assert str(error) == "key 'cars' has no item"
