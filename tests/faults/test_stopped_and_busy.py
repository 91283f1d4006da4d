"""Servers that do not answer for a while: stopped, busy with a script, or loading their data.

All operations are called at once there, each in a database of its own.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager, suppress

import pytest
from operations import IDS, LOCKS, prepare
from performing import outcome, until, within
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import (
    BusyLoadingError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from test_refusals import ENUMERATED, kept, shape

from pottery import (
    AIORedisSet,
    OutcomeUnknown,
    PrimitiveError,
    RedisList,
    RedisSet,
    RedisSimpleQueue,
    Redlock,
)
from pottery.queue import DOUBTS
from pottery.testing import RedisServer

# Operations at a time: each has a thread, a few sockets, and two databases.
BATCH = 80
BATCHES = [ENUMERATED[start : start + BATCH] for start in range(0, len(ENUMERATED), BATCH)]
SECONDS = 0.3


@pytest.fixture(autouse=True)
def no_doubts():
    yield
    DOUBTS.clear()


@pytest.fixture(scope="module")
def server():
    with RedisServer(config={"databases": 2 * BATCH, "lua-time-limit": 10}) as server:
        yield server


class Call:
    """One operation, called in a thread while something is wrong with the server."""

    def __init__(self, operation, server, number):
        self.operation = operation
        self.url = f"{server.url}/{number}"
        self.is_ready = threading.Event()
        self.answer = self.before = None
        self.thread = threading.Thread(target=self.run, daemon=True)

    def prepare(self):
        with Redis.from_url(self.url) as client:
            prepare(self.operation.kind, client)

    def kept(self):
        with Redis.from_url(self.url) as client:
            return kept(client)

    def start(self, fault, **options):
        self.fault, self.options = fault, options
        self.thread.start()

    def run(self):
        while self.before is None:  # attaching may time out, too, where much else goes on
            self.answer = outcome(self.operation, self.url, self.wait, **self.options)

    def wait(self):
        self.before = self.kept()
        self.is_ready.set()
        self.fault.wait()


def call_all(batch, server, trouble, **options):
    """Call all operations during some trouble; return the calls, and ones without trouble."""
    with server.client() as client:
        client.flushall()
    usual = [Call(operation, server, BATCH + n) for n, operation in enumerate(batch)]
    calls = [Call(operation, server, number) for number, operation in enumerate(batch)]
    for call in (*calls, *usual):
        call.prepare()
    for call in usual:
        call.answer = outcome(call.operation, call.url)
    fault = threading.Event()
    for call in calls:
        call.start(fault, connects=True, **options)
    for call in calls:
        assert call.is_ready.wait(20)
    with trouble(server), within(25):
        fault.set()
        for call in calls:
            call.thread.join(25)
    return calls, usual


# --- stopped


@contextmanager
def stopped(server):
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


# What answers although nobody does.
ANSWERS = {
    "__aexit__": "tries to unlink a temporary key, and tries again later; or releases, as below",
    "__exit__": "releases, as below",
    "__repr__": "does not raise: it shows what is wrong, or of a HyperLogLog a question mark",
    "locked": "is not certain that the lock is held",
    "owner": "knows of nobody who holds a majority",
    "release": "has sent it, and the server will do it before all that comes later",
}


@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: str(batch[0]))
def test_calls_of_a_stopped_server_time_out_and_run_at_most_once(batch, server):
    calls, usual = call_all(batch, server, stopped, socket_timeout=SECONDS)
    for call, example in zip(calls, usual, strict=True):
        timed_out = isinstance(call.answer, (RedisTimeoutError, OutcomeUnknown, PrimitiveError))
        is_answered = not call.operation.cost.trips or call.operation.name in ANSWERS
        assert timed_out or (is_answered and not isinstance(call.answer, Exception)), call.answer
        assert call.kept() in (call.before, example.kept()) or is_random(call), call.operation


# --- busy

LOOP = "while true do end"


@contextmanager
def busy(server):
    """Let a script run that does not end, until somebody kills it after a while."""
    with hogged(server) as kill:
        timer = threading.Timer(0.4, kill)
        timer.start()
        yield
        timer.join()


@contextmanager
def hogged(server):
    """Let a script run that does not end, and lend what kills it."""
    with server.client(socket_timeout=None) as client, server.client() as killer:

        def run():
            with pytest.raises(ResponseError, match="killed"):
                client.eval(LOOP, 0)

        hog = threading.Thread(target=run)
        hog.start()
        until(lambda: is_busy(killer))
        yield killer.script_kill
        hog.join()


def is_busy(client):
    try:
        return not client.ping()
    except ResponseError as error:
        return "BUSY" in str(error)


# Of locks and IDs: a master that is busy has no vote, and is not asked again.
VOTES = {
    "__aexit__": "releases, as below",
    "__exit__": "releases, as below",
    "extend": "raises, and may be tried again",
    "owner": "knows of nobody who holds a majority",
    "release": "leaves the lock to the end of its lease",
    "reset": "raises, and may be tried again",
}


@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: str(batch[0]))
def test_calls_of_a_busy_server_wait_and_run_once(batch, server):
    calls, usual = call_all(batch, server, busy)
    for call, example in zip(calls, usual, strict=True):
        if call.operation.kind in {*LOCKS, *IDS} and call.operation.name in VOTES:
            assert isinstance(call.answer, PrimitiveError) or call.answer is None
        elif is_random(call):
            assert len(call.kept()[b"filled"][0]) == 4
        else:
            assert shape(call.answer) == shape(example.answer), call.operation
            assert call.kept() == example.kept(), call.operation


def is_random(call):
    return call.operation.kind in {RedisSet, AIORedisSet} and call.operation.name == "pop"


# --- loading


PATIENT = {"retry": Retry(ConstantBackoff(0.05), 100)}


# Redis looks up from loading every two megabytes.
PIECES = ["x" * 2_100_000] * 60


@contextmanager
def loading(seconds):
    """A client of a server that has just begun to load its data, which takes so long."""
    with RedisServer(config={"rdbcompression": "no"}) as server:
        with server.client() as client:
            RedisList([1], redis=client, key="l")
            RedisSimpleQueue(redis=client, key="q").put(1)
            client.mset({f"piece {number}": piece for number, piece in enumerate(PIECES)})
            client.save()
        server.kill()
        server.config = {**server.config, "key-load-delay": int(seconds * 1e6) // len(PIECES)}
        starting = threading.Thread(target=start, args=(server,))
        starting.start()
        with server.client() as client, server.client(**PATIENT) as patient:
            until(lambda: is_loading(client))
            yield patient
        server._processes[0].kill()
        starting.join()


def start(server):
    with suppress(RuntimeError, TimeoutError):  # killed while it is loading
        server.start()


def is_loading(client):
    try:
        client.ping()
    except BusyLoadingError:
        return True
    except RedisConnectionError:
        return False
    raise AssertionError("it has its data already")


def test_operations_wait_for_a_server_that_loads_its_data():
    with loading(0.8) as client:
        numbers, queue = RedisList(redis=client, key="l"), RedisSimpleQueue(redis=client, key="q")
        numbers.append(2)
        queue.put(2)
        assert list(numbers) == [1, 2]
        assert [queue.get(), queue.get()] == [1, 2]
        assert Redlock(key="k", masters=[client]).acquire(timeout=10)


@pytest.mark.slow
def test_server_that_loads_for_long_is_told_in_time():
    with loading(9) as client, within(8), pytest.raises(BusyLoadingError):
        RedisList(redis=client, key="l").append(2)
