"""Containers at a replica: it can be read, and refuses to be written."""

from __future__ import annotations

import gc
from collections import Counter, deque
from contextlib import suppress
from time import monotonic

import pytest
from operations import IDS, LOCKS, OPERATIONS, TWINS, perform, prepare
from redis.exceptions import ReadOnlyError

from pottery import NextId, QuorumIsImpossible, QuorumNotAchieved, RedisSet, Redlock
from pottery._temporary import ABANDONED
from pottery.testing import RedisServer

VALUES = (bool, int, float, str, list, tuple, set, dict, Counter, deque, type(None))


@pytest.fixture(scope="module")
def master():
    with RedisServer(config={"repl-diskless-sync-delay": 0}) as server, server.client() as client:
        client.server = server
        yield client


@pytest.fixture(scope="module")
def replica(master):
    address = master.server.host, master.server.port
    with (
        RedisServer(config={"replicaof": "{} {}".format(*address)}) as server,
        server.client() as client,
    ):
        yield client


def catch_up(master):
    """Wait until the replica has what the master has."""
    assert master.wait(1, 10_000) == 1


def content(redis):
    """Return what is in each key, in whatever order and encoding a server has it."""
    reads = {b"set": redis.smembers, b"string": redis.strlen}
    return {key: reads.get(redis.type(key), redis.dump)(key) for key in redis.scan_iter()}


def outcome(operation, client):
    """Return what an operation gives, or of what kind it is, or the error that it raises."""
    try:
        result = perform(operation, client)
    except ReadOnlyError as error:
        return type(error)
    # Each server has an order of its own for sets.
    return type(result), sorted(repr(result)) if type(result) in VALUES else None


@pytest.fixture(scope="module")
def writes(master):
    """The commands that write."""
    commands = master.execute_command("COMMAND")
    return {name for name, command in commands.items() if "write" in command["flags"]}


def ran(master):
    """Return the names of the commands that ran since the last time, those of scripts as well."""
    names = {name.removeprefix("cmdstat_") for name in master.info("commandstats")}
    master.config_resetstat()
    return names


# What is not refused though it is a write, with the reason; what is refused in another way.
NOT_REFUSED = {twin.__aexit__: "unlinks a temporary key that was never written" for twin in TWINS}
WITH_MASTERS = {*IDS, *LOCKS}


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_replica_gives_what_its_master_gives_or_refuses(operation, master, replica, writes):
    if operation.kind in WITH_MASTERS:
        pytest.skip("asks for a majority, of which a replica is none: tested below")
    master.flushdb()
    prepare(operation.kind, master)
    catch_up(master)
    before, began = content(replica), monotonic()

    found = outcome(operation, replica)

    assert monotonic() - began < 10
    assert content(replica) == before
    ABANDONED.clear()  # lest keys of earlier temporary containers be unlinked here
    ran(master)
    expected = outcome(operation, master)
    is_refused = writes & ran(master) and operation.function not in NOT_REFUSED
    assert found == (ReadOnlyError if is_refused else expected)


def test_replica_is_no_master_of_a_lock(replica):
    lock = Redlock(key="lock", masters=[replica])

    assert lock.acquire(timeout=0.1) is False
    with pytest.raises(QuorumIsImpossible, match="read only replica"):
        lock.acquire(raise_on_redis_errors=True)


def test_replica_is_no_master_of_ids(replica):
    with pytest.raises(QuorumNotAchieved, match="read only replica"):
        next(NextId(key="ids", masters=[replica]))


def test_results_that_a_replica_refused_to_keep_are_not_unlinked_for_ever(master, replica):
    RedisSet("ab", redis=master, key="s")
    catch_up(master)
    members = RedisSet(redis=replica, key="s")
    with suppress(ReadOnlyError):
        members.copy()
    gc.collect()
    assert ABANDONED[replica]

    assert len(members) == 2

    assert not ABANDONED[replica]


def test_lag_of_a_replica_is_seen(master, replica):
    """What is read there was true at the master, though not necessarily now."""
    members = RedisSet("a", redis=master, key="lagging")
    catch_up(master)
    late = RedisSet(redis=replica, key="lagging")
    assert late == {"a"}

    members.add("b")
    catch_up(master)

    assert late == {"a", "b"}
