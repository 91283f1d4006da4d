"""Servers that are killed and come back, with their data and without."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import ExitStack, suppress
from time import sleep

import pytest
from performing import until, within
from redis.backoff import ConstantBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from pottery import (
    NextId,
    OutcomeUnknown,
    PrimitiveError,
    RedisCounter,
    RedisDict,
    RedisList,
    RedisSet,
    RedisSimpleQueue,
    Redlock,
)
from pottery.queue import DOUBTS
from pottery.testing import RedisServer

LASTING = {"appendonly": "yes", "appendfsync": "always"}
# Connects for two seconds: while a server starts.
PATIENT = {"retry": Retry(ConstantBackoff(0.05), 100)}


@pytest.fixture(autouse=True)
def no_doubts():
    yield
    DOUBTS.clear()


@pytest.fixture(params=["with its data", "without"])
def mortal(request):
    """A server, and whether it has its data when it comes back."""
    lasts = request.param != "without"
    with RedisServer(config=LASTING if lasts else {}) as server:
        yield server, lasts


def restart(server):
    server.kill()
    server.start()


def test_idle_clients_of_a_server_that_was_killed_go_on_by_themselves(mortal):
    server, lasts = mortal
    with server.client(**PATIENT) as client:
        it = RedisList([1], redis=client, key="l"), RedisDict({1: 2}, redis=client, key="d")
        queue, ids = RedisSimpleQueue(redis=client, key="q"), NextId(key="k", masters=[client])
        queue.put("a")
        first = next(ids)
        restart(server)
        assert list(it[0]) == ([1] if lasts else [])
        assert it[1].to_dict() == ({1: 2} if lasts else {})
        it[0].append(3)
        queue.put("b")
        assert queue.get() == ("a" if lasts else "b")
        assert next(ids) > first
        assert list(it[0]) == ([1, 3] if lasts else [3])


class Writer:
    """Writes to containers of its own as long as it may, and notes what was acknowledged."""

    def __init__(self, client, name):
        self.name = name
        self.sure, self.maybe = [], []
        self.strange = []
        self.list = RedisList(redis=client, key=f"l{name}")
        self.dict = RedisDict(redis=client, key=f"d{name}")
        self.set = RedisSet(redis=client, key=f"s{name}")
        self.counter = RedisCounter(redis=client, key=f"c{name}")
        self.number = 0

    def run(self, over):
        writes = self.append, self.store, self.add, self.count
        while not over.is_set():
            write = writes[self.number % 4]
            self.number += 1
            try:
                write(self.number)
            except OutcomeUnknown:
                self.maybe.append(self.number)
            except RedisConnectionError:
                sleep(0.01)  # it did not run, or may run twice
                if write in (self.store, self.add):
                    self.maybe.append(self.number)
            except Exception as error:  # noqa: BLE001 - for the test to see
                self.strange.append(error)
            else:
                self.sure.append(self.number)

    def append(self, number):
        self.list.append(number)

    def store(self, number):
        self.dict[number] = number

    def add(self, number):
        self.set.add(number)

    def count(self, number):
        self.counter.update([number])

    def found(self):
        counts = self.counter.to_counter()
        return Counter([*self.list, *self.dict.to_dict(), *self.set, *counts.elements()])


def test_writes_through_kills_are_there_once_if_acknowledged_and_at_most_once_else():
    with RedisServer(config=LASTING) as server, server.client(**PATIENT) as client:
        over = threading.Event()
        writers = [Writer(client, number) for number in range(4)]
        threads = [threading.Thread(target=one.run, args=(over,)) for one in writers]
        for thread in threads:
            thread.start()
        for _ in range(3):
            done = sum(len(one.sure) for one in writers)
            until(lambda done=done: sum(len(one.sure) for one in writers) > done + 50)
            restart(server)
        done = sum(len(one.sure) for one in writers)
        until(lambda: sum(len(one.sure) for one in writers) > done + 50)
        over.set()
        for thread in threads:
            thread.join()
        for one in writers:
            found = one.found()
            assert not one.strange
            assert {*one.sure} <= {*found} <= {*one.sure, *one.maybe}
            assert {*found.values()} <= {1}


def test_reads_through_kills_never_give_another_value(mortal):
    server, lasts = mortal
    with server.client(**PATIENT) as client:
        dicts = [RedisDict({"n": n}, redis=client, key=f"d{n}") for n in range(20)]
        over, wrong, count = threading.Event(), [], []

        def read():
            while not over.is_set():
                for number, one in enumerate(dicts):
                    with suppress(RedisConnectionError):
                        value = one.get("n")
                        count.append(value)
                        if value != number and (lasts or value is not None):
                            wrong.append((number, value))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            done = len(count)
            until(lambda done=done: len(count) > done + 100)
            restart(server)
        done = len(count)
        until(lambda: len(count) > done + 100)
        over.set()
        for thread in threads:
            thread.join()
        assert not wrong


def test_waiters_go_on_when_their_server_is_back(mortal):
    server, _ = mortal
    with server.client(**PATIENT) as client:
        queue, got = RedisSimpleQueue(redis=client, key="q"), []
        holder, waiter = (Redlock(key="k", masters=[client]) for _ in range(2))
        assert holder.acquire()
        threads = [
            threading.Thread(target=lambda: got.append(queue.get(timeout=30))),
            threading.Thread(target=lambda: got.append(waiter.acquire(timeout=30))),
        ]
        for thread in threads:
            thread.start()
        until(lambda: client.info("clients")["blocked_clients"] == 2)
        restart(server)
        queue.put("x")
        with suppress(PrimitiveError):
            holder.release()
        for thread in threads:
            thread.join()
        assert {*got} == {"x", True}


def test_waiters_whose_server_stays_away_are_told_in_time():
    with RedisServer() as server, server.client(retry=Retry(NoBackoff(), 0)) as client:
        queue, told = RedisSimpleQueue(redis=client, key="q"), []
        holder, waiter = (Redlock(key="k", masters=[client]) for _ in range(2))
        assert holder.acquire()

        def get():
            with pytest.raises(RedisConnectionError):
                queue.get()
            told.append("get")

        def acquire():
            assert not waiter.acquire(timeout=1)
            told.append("acquire")

        threads = [threading.Thread(target=target) for target in (get, acquire)]
        for thread in threads:
            thread.start()
        until(lambda: client.info("clients")["blocked_clients"] == 2)
        server.kill()
        with within(20):
            for thread in threads:
                thread.join()
        assert {*told} == {"get", "acquire"}


# --- five masters of which one or two come back empty


@pytest.fixture
def five():
    with ExitStack() as stack:
        servers = [stack.enter_context(RedisServer()) for _ in range(5)]
        yield servers, [stack.enter_context(server.client()) for server in servers]


def test_lock_has_no_second_holder_when_two_masters_come_back_empty(five):
    servers, masters = five
    holder, other = (Redlock(key="k", masters=masters, auto_release_time=60) for _ in range(2))
    assert holder.acquire()
    for server in servers[:2]:
        restart(server)
        assert not other.acquire(timeout=0.3)
    assert holder.locked()
    holder.release()
    assert other.acquire(timeout=10)


def test_ids_stay_unique_while_two_masters_come_back_empty(five):
    servers, masters = five
    ids, over = [NextId(key="k", masters=masters) for _ in range(3)], threading.Event()
    taken = [[] for _ in ids]

    def take(one, mine):
        while not over.is_set():
            with suppress(PrimitiveError):
                mine.append(next(one))

    assert next(ids[0]) == 1
    threads = [threading.Thread(target=take, args=pair) for pair in zip(ids, taken, strict=True)]
    for thread in threads:
        thread.start()
    for server in servers[:2]:
        done = sum(map(len, taken))
        until(lambda done=done: sum(map(len, taken)) > done + 20)
        restart(server)
    done = sum(map(len, taken))
    until(lambda: sum(map(len, taken)) > done + 20)
    over.set()
    for thread in threads:
        thread.join()
    everything = [one for mine in taken for one in mine]
    assert len(everything) == len({*everything})
    assert all(mine == sorted(mine) for mine in taken)
