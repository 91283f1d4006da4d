"""Every operation of locks and IDs, while some of their five masters hang or are busy.

All are called at once, each in a database of its own.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, contextmanager, suppress
from functools import wraps
from inspect import isawaitable
from time import monotonic
from typing import Any, NamedTuple

import pytest
from clients import Awaiting, Blocking
from operations import ACQUIRING, IDS, LOCKS, OPERATIONS, Operation, attach
from performing import key_of, until
from redis import Redis
from test_refusals import shape
from test_stopped_and_busy import hogged, stopped

from pottery import ExtendUnlockedLock, QuorumNotAchieved
from pottery.testing import RedisServer

ENUMERATED = [one for one in OPERATIONS if one.kind in {*LOCKS, *IDS}]
# Seconds in which each call must be over, on a machine that has much else to do.
IN_TIME = 5.0
# Seconds for which an `acquire` with a timeout waits.
TIMEOUT = 0.5


@pytest.fixture(scope="module")
def servers():
    config = {"databases": 2 * len(CALLED), "lua-time-limit": 10}
    with ExitStack() as stack:
        yield [stack.enter_context(RedisServer(config=config)) for _ in range(5)]


class Database:
    """One database of a server."""

    def __init__(self, server, number):
        self.url = f"{server.url}/{number}"

    def client(self):
        return Redis.from_url(self.url)


async def end_tasks():
    """Cancel what goes on in the event loop, as asyncio.run does in the end."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Call:
    """An operation that is called in a thread, when it is told to, and with what came of it."""

    def __init__(self, operation, servers, number):
        self.operation = operation
        self.databases = [Database(server, number) for server in servers]
        self.is_ready, self.begin, self.end = (threading.Event() for _ in range(3))
        self.answer = self.seconds = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    @property
    def is_done(self):
        return self.seconds is not None

    def run(self):
        clients = (Awaiting if self.operation.is_awaited else Blocking)(self.databases)

        def settle(value):
            return clients.run(value) if isawaitable(value) else value

        target = settle(attach(self.operation, *clients.masters))
        self.is_ready.set()
        self.begin.wait()
        began = monotonic()
        try:
            self.answer = shape(settle(self.operation.call(target)))
        except Exception as error:  # noqa: BLE001 - to be judged
            self.answer = error
        self.seconds = monotonic() - began
        self.end.wait()
        clients.rest(0.3)  # so that what is said in the background is
        if self.operation.is_awaited:
            clients.run(end_tasks())
        clients.close()

    def masters_with_key(self):
        """Return how many masters have the key."""
        clients = [database.client() for database in self.databases]
        found = sum(client.exists(key_of(self.operation.kind)) for client in clients)
        for client in clients:
            client.close()
        return found


@contextmanager
def busy(server):
    with hogged(server) as kill:
        yield
        kill()


class Timed(NamedTuple):
    """An `acquire` that does not wait for ever, called as an `Operation` is."""

    kind: Any
    call: Any
    name: str = "acquire"

    is_awaited = Operation.is_awaited
    __str__ = Operation.__str__


TIMED = [
    Timed(kind, call)
    for kind in LOCKS
    for call in (
        lambda lock: lock.acquire(timeout=TIMEOUT),
        lambda lock: lock.acquire(blocking=False),
    )
]
CALLED = [*ENUMERATED, *TIMED]
# What gives the lock back.
RELEASING = {"release", "__exit__", "__aexit__"}


def waits(call):
    """Return whether a call waits for a majority, for as long as it takes."""
    return call.operation.name in ACQUIRING and not isinstance(call.operation, Timed)


def call_all(servers, trouble, outlasts=lambda call: False):
    """Call all operations while some servers are in *trouble*; return the calls and usual ones.

    The trouble ends as soon as all calls are done but those that it *outlasts*.
    """
    for server in servers:
        with server.client() as client:
            client.flushall()
    calls, usual = [], []
    for number, operation in enumerate(CALLED):
        calls.append(Call(operation, servers, number))
        usual.append(Call(operation, servers, len(CALLED) + number))
    until(lambda: all(call.is_ready.is_set() for call in (*calls, *usual)))
    for call in usual:
        call.begin.set()
    until(lambda: all(call.is_done for call in usual))
    with trouble:
        for call in calls:
            call.begin.set()
        until(lambda: all(call.is_done or outlasts(call) for call in calls))
        early = [call for call in calls if call.is_done]
    assert not [*filter(outlasts, early)]
    until(lambda: all(call.is_done for call in calls))
    for call in calls:
        call.kept = call.masters_with_key()
    for call in (*calls, *usual):
        call.end.set()
    for call in (*calls, *usual):
        call.thread.join()
    return zip(calls, usual, strict=True)


@contextmanager
def all_in(trouble, servers):
    """Let all *servers* be in trouble."""
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(trouble(server))
        yield


def again_if_late(test):
    """Test three times at most: masters have no vote for which a busy machine has no time."""

    @wraps(test)
    def tests(trouble, servers):
        for _ in range(2):
            with suppress(AssertionError):
                return test(trouble, servers)
        return test(trouble, servers)

    return tests


# How many masters have the lock still that was released while so many were in trouble: those that
# were busy have not heard of it, while what was said to those that hung is waiting for them.
LEFT = {stopped: 0, busy: 1}
TROUBLES = [stopped, busy]


@pytest.mark.slow
@pytest.mark.parametrize("trouble", TROUBLES)
@again_if_late
def test_minority_of_masters_in_trouble_is_not_needed(trouble, servers):
    for call, example in call_all(servers, all_in(trouble, servers[:2])):
        assert call.seconds < IN_TIME, call.operation
        if call.operation.name == "reset":
            assert isinstance(call.answer, QuorumNotAchieved)
            assert call.kept == 5
        else:
            assert call.answer == example.answer, call.operation
        if call.operation.name in RELEASING:
            assert call.kept <= LEFT[trouble] * 2, call.operation
        elif call.operation.name != "__init__":
            assert call.kept >= 3, call.operation


# What an operation answers when no majority does.
TOLD = {
    "__next__": QuorumNotAchieved,
    "__anext__": QuorumNotAchieved,
    "reset": QuorumNotAchieved,
    "extend": ExtendUnlockedLock,
    "locked": shape(0.0),
    "owner": shape(None),
    "acquire": shape(False),
}


@pytest.mark.slow
@pytest.mark.parametrize("trouble", TROUBLES)
@again_if_late
def test_majority_of_masters_in_trouble_is_told_in_time(trouble, servers):
    for call, example in call_all(servers, all_in(trouble, servers[:3]), waits):
        name = call.operation.name
        expected = example.answer if waits(call) else TOLD.get(name, example.answer)
        assert call.seconds < IN_TIME * (2 if waits(call) else 1), call.operation
        if isinstance(expected, type) and issubclass(expected, Exception):
            assert isinstance(call.answer, expected), call.operation
        else:
            assert call.answer == expected, call.operation
        if waits(call):
            assert call.kept >= 3, call.operation
        elif name in RELEASING or isinstance(call.operation, Timed):
            assert call.kept <= LEFT[trouble] * 3, call.operation
