"""What locks and IDs share: which masters they take, and what votes mean."""

from __future__ import annotations

import pickle
import random

import pytest
import redis as redis_py
import redis.asyncio as asynchronous
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from pottery._front import Async, Sync
from pottery._poll import Poll, Unanswered
from pottery._poll_blocking import poll_blocking
from pottery._quorum import Primitive, evaluate
from pottery.exceptions import QuorumIsImpossible
from pottery.testing import RedisServer

SET = "-- KEYS[1] a key; sets it\nreturn redis.call('SET', KEYS[1], 'x')"
INCREASE = "-- KEYS[1] a number; increases it\nreturn redis.call('INCR', KEYS[1])"


class Thing(Primitive, Sync):
    """The smallest primitive."""

    _prefix = "thing:"

    def __init__(self, key="t", masters=(), raise_on_redis_errors=False):
        super().__init__(key, masters, raise_on_redis_errors=raise_on_redis_errors)


class AIOThing(Primitive, Async):
    """Its asynchronous twin."""

    _prefix = "thing:"

    def __init__(self, masters):
        super().__init__("t", masters, raise_on_redis_errors=False)


def nowhere(count=5):
    """Clients of servers that nobody started."""
    return [redis_py.Redis(port=number + 1) for number in range(count)]


# --- masters


def test_order_of_masters_is_the_same_for_all():
    masters = nowhere()
    orders = {Thing(masters=random.sample(masters, 5))._masters for _ in range(20)}
    assert len(orders) == 1


@pytest.mark.parametrize(("count", "majority"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_majority_is_more_than_half(count, majority):
    assert Thing(masters=nowhere(count))._majority == majority


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset, iter])
def test_masters_are_any_iterable_and_given_as_a_frozenset(kind):
    masters = nowhere()
    assert Thing(masters=kind(masters)).masters == frozenset(masters)


def test_without_masters_the_default_client_decides(redis):
    (master,) = Thing().masters
    assert master.ping()


def test_client_of_the_other_colour_is_refused():
    with pytest.raises(TypeError, match=r"needs a redis\.Redis client"):
        Thing(masters=[asynchronous.Redis()])
    with pytest.raises(TypeError, match=r"needs a redis\.asyncio\.Redis client"):
        AIOThing(nowhere(1))


def test_client_instead_of_clients_is_refused():
    with pytest.raises(TypeError, match="an iterable of clients, not a client"):
        Thing(masters=nowhere(1)[0])


def test_same_server_twice_is_refused():
    with pytest.raises(ValueError, match="the same server"):
        Thing(masters=[*nowhere(3), redis_py.Redis(port=2)])


def test_same_client_twice_is_one_master():
    (master,) = nowhere(1)
    assert Thing(masters=[master, master])._masters == (master,)


# --- what it is


def test_key_has_the_prefix():
    assert Thing("k", nowhere(1)).key == "thing:k"


@pytest.mark.parametrize("name", ["key", "masters"])
def test_what_a_lock_is_about_is_chosen_once(name):
    with pytest.raises(AttributeError, match=name):
        setattr(Thing(masters=nowhere(1)), name, "other")


@pytest.mark.parametrize("key", [b"k", None, 1])
def test_key_that_is_no_str_is_refused(key):
    with pytest.raises(TypeError, match="key must be str, not"):
        Thing(key, nowhere(1))


def test_repr_shows_the_key():
    assert repr(Thing("k", nowhere(1))) == "<Thing key=thing:k>"


def test_primitive_cannot_be_pickled():
    with pytest.raises(TypeError, match="cannot pickle 'Thing' object"):
        pickle.dumps(Thing(masters=nowhere(1)))


# --- votes

PASSING = [
    RedisConnectionError("refused"),
    Unanswered(),
    OSError("no route"),
    BusyLoadingError("Redis is loading"),
    MasterDownError("Link with MASTER is down"),
    OutOfMemoryError("command not allowed"),
    ReadOnlyError("You can't write"),
    ResponseError("BUSY Redis is busy running a script."),
    ResponseError("MISCONF Redis is configured to save RDB snapshots, but"),
    ResponseError("NOREPLICAS Not enough good replicas to write."),
]
LASTING = [
    NoPermissionError("this user has no permissions"),
    AuthenticationError("WRONGPASS"),
    ResponseError("WRONGTYPE Operation against a key"),
    ResponseError("unknown command"),
    ResponseError("BUSYGROUP Consumer Group name already exists"),
]


@pytest.mark.parametrize("error", PASSING, ids=str)
def test_master_that_may_vote_later_is_left_out(error):
    assert Thing(masters=nowhere())._failures([1, 1, error, 1, error]) == [error, error]


@pytest.mark.parametrize("error", LASTING, ids=str)
def test_what_will_not_pass_by_itself_is_raised(error):
    with pytest.raises(type(error)) as raised:
        Thing(masters=nowhere())._failures([1, 1, error, 1, 1])
    assert raised.value is error


def test_no_majority_is_raised_if_asked_for():
    error = Unanswered()
    votes = [1, error, error, 1, error]
    assert len(Thing(masters=nowhere())._failures(votes)) == 3
    for thing, raises in [
        (Thing(masters=nowhere()), True),
        (Thing(masters=nowhere(), raise_on_redis_errors=True), None),
    ]:
        with pytest.raises(QuorumIsImpossible, match="'thing:t' cannot get a majority") as raised:
            thing._failures(votes, raises=raises)
        assert raised.value.redis_errors == [error, error, error]
        assert raised.value.masters == thing.masters


def test_majority_that_is_left_is_not_raised():
    thing = Thing(masters=nowhere(), raise_on_redis_errors=True)
    assert len(thing._failures([1, Unanswered(), None, 0, Unanswered()])) == 2


# --- what servers really say


@pytest.fixture(scope="module")
def own_server():
    """A server to configure as one likes."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def client(own_server):
    with own_server.client() as client:
        client.flushall()
        yield client


def vote(client, script):
    (vote,) = poll_blocking(Poll((client,), evaluate(script, ["k"]), 1))
    return vote


def is_left_out(client, script):
    return bool(Thing(masters=nowhere(1))._failures([vote(client, script)]))


def test_script_is_run_by_a_server_that_does_not_know_it(client):
    client.script_flush()
    assert vote(client, SET) == b"OK"
    assert client.get("k") == b"x"


def test_key_of_another_type_is_raised(client):
    client.rpush("k", "x")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        is_left_out(client, INCREASE)


def test_script_that_is_forbidden_is_raised(client, own_server):
    client.acl_setuser("bob", enabled=True, passwords=["+pw"], commands=["+eval"], keys=["*"])
    with own_server.client(username="bob", password="pw") as bob:
        with pytest.raises(ResponseError):  # what it says of a script differs from one to the next
            is_left_out(bob, SET)
        forbidden = poll_blocking(Poll((bob,), ("GET", "k"), 1))
        with pytest.raises(NoPermissionError):
            Thing(masters=[bob])._failures(forbidden)


@pytest.mark.parametrize(
    ("reason", "afterwards"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        (
            ("CONFIG", "SET", "min-replicas-to-write", "1"),
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
        ),
    ],
    ids=["out of memory", "a replica", "without replicas"],
)
def test_server_that_may_not_write_now_does_not_vote(client, reason, afterwards):
    client.execute_command(*reason)
    try:
        assert is_left_out(client, SET)
    finally:
        client.execute_command(*afterwards)
    assert not is_left_out(client, SET)
