"""Locks: on one master and on five, whatever becomes of them, blocking and asynchronous."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import unittest
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from multiprocessing import get_context
from pathlib import Path

import clients
import pytest
import redis as redis_py
import redis.asyncio as asynchronous
from certificates import certified, server_with_tls
from clients import close, forked, killed, opened, seconds, stopped, wait_until
from redis.exceptions import NoPermissionError, ResponseError

from pottery import (
    AIORedlock,
    ExtendUnlockedLock,
    QuorumIsImpossible,
    QuorumNotAchieved,
    Redlock,
    ReleaseUnlockedLock,
    TooManyExtensions,
    synchronize,
)
from pottery._clients import address
from pottery._lock_scripts import RELEASE
from pottery.testing import RedisServer

KEY = "redlock:printer"


# --- both colours: a lock is used by blocking, whatever it is


class Blocking(clients.Blocking):
    """Makes Redlocks."""

    def lock(self, **options):
        return Redlock(**{"key": "printer", "masters": self.masters, **options})


class Awaiting(clients.Awaiting):
    """Makes AIORedlocks."""

    def lock(self, **options):
        return AIORedlock(**{"key": "printer", "masters": self.masters, **options})


@pytest.fixture(params=[Blocking, Awaiting])
def colour(request, five_servers, masters):
    with opened(request.param, five_servers) as colour:
        # Opening lines takes longer than short leases last, or than a majority needs to answer: by
        # TLS, or on a busy machine.
        lock = colour.lock(key="warm up")
        colour.run(lock.acquire())
        colour.run(lock.release())
        yield colour


def forget(masters):
    for client in masters:
        client.flushall()


def holders(masters, key=KEY):
    return [client.get(key) for client in masters]


# --- acquiring and releasing


def test_lock_is_a_token_at_every_master_until_it_is_released(colour, masters):
    lock = colour.lock()
    assert colour.run(lock.acquire()) is True
    wait_until(lambda: None not in holders(masters))  # a majority suffices
    (token,) = set(holders(masters))
    assert colour.run(lock.owner()) == token.decode()
    assert all(9000 < client.pttl(KEY) <= 10_000 for client in masters)
    colour.run(lock.release())
    wait_until(lambda: holders(masters) == [None] * 5)
    assert colour.run(lock.owner()) is None


def test_each_time_has_a_token_of_its_own(colour, masters):
    lock, tokens = colour.lock(), set()
    for _ in range(3):
        colour.run(lock.acquire())
        tokens.add(masters[0].get(KEY))
        colour.run(lock.release())
    assert len(tokens) == 3


def test_locked_tells_the_validity_that_is_left(colour):
    lock = colour.lock(auto_release_time=1)
    assert colour.run(lock.locked()) == 0
    colour.run(lock.acquire())
    assert 0.9 < colour.run(lock.locked()) < 0.99
    assert colour.run(colour.lock().locked()) == 0
    colour.run(lock.release())
    assert colour.run(lock.locked()) == 0


def test_locked_notices_that_masters_forgot(colour, masters):
    lock = colour.lock()
    colour.run(lock.acquire())
    for client in masters[:3]:
        client.flushall()
    assert colour.run(lock.locked()) == 0
    assert lock.lost.is_set()


def test_taken_lock_is_refused_and_leaves_the_holder_alone(colour, masters):
    holder, other = colour.lock(), colour.lock()
    colour.run(holder.acquire())
    before = holders(masters)
    assert colour.run(other.acquire(blocking=False)) is False
    assert colour.run(holder.acquire(blocking=False)) is False
    assert colour.run(other.acquire(timeout=0)) is False
    assert holders(masters) == before
    colour.run(holder.release())
    assert colour.run(other.acquire(timeout=0)) is True


@pytest.mark.parametrize("value", ["OK", "YOUNG", "TWICE", b"\xff", ""])
def test_value_of_others_is_waited_for_as_any_token(colour, masters, value):
    for client in masters:
        client.set(KEY, value)  # without an end
    lock = colour.lock()
    assert not colour.run(lock.acquire(timeout=0.1))
    assert colour.run(lock.owner()) == ("\\xff" if value == b"\xff" else value)
    forget(masters)
    assert colour.run(lock.acquire(timeout=1))


def test_waiting_ends_in_time(colour):
    colour.run(colour.lock().acquire())
    for timeout in (0.05, 0.3):
        took = seconds(lambda t=timeout: colour.run(colour.lock().acquire(timeout=t)))
        assert timeout <= took < timeout + 0.2


def test_lock_is_free_again_when_its_lease_is_over(colour):
    colour.run(colour.lock(auto_release_time=0.3).acquire())
    assert seconds(lambda: colour.run(colour.lock().acquire(timeout=5))) < 1


def test_release_of_what_is_not_held_is_an_error(colour):
    lock = colour.lock()
    with pytest.raises(ReleaseUnlockedLock, match="'redlock:printer' is not held"):
        colour.run(lock.release())
    colour.run(lock.acquire())
    colour.run(lock.release())
    with pytest.raises(RuntimeError):
        colour.run(lock.release())


def test_release_after_the_lease_was_taken_by_another_is_an_error_and_harmless(colour, masters):
    late, other = colour.lock(auto_release_time=0.1), colour.lock()
    colour.run(late.acquire())
    colour.run(other.acquire())
    [(token, count)] = Counter(holders(masters)).most_common(1)
    assert count >= 3
    with pytest.raises(ReleaseUnlockedLock):
        colour.run(late.release())
    assert holders(masters).count(token) >= count


def test_split_vote_is_given_back(colour, masters):
    for client in masters[:3]:
        client.set(KEY, "somebody", px=200)
    lock = colour.lock()
    assert colour.run(lock.acquire(blocking=False)) is False
    assert holders(masters) == [b"somebody"] * 3 + [None] * 2
    assert colour.run(lock.acquire(timeout=2)) is True


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ((False, 1), ValueError),
        ((True, -2), ValueError),
        ((True, 1e12), OverflowError),
        ((True, float("nan")), ValueError),
        ((True, "1"), TypeError),
    ],
)
def test_arguments_of_acquire_are_checked_as_those_of_threading_lock(colour, args, error):
    with pytest.raises(error):
        colour.run(colour.lock().acquire(*args))
    with pytest.raises(error):
        threading.Lock().acquire(*args)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"auto_release_time": 0}, ValueError),
        ({"auto_release_time": -1}, ValueError),
        ({"auto_release_time": 0.002}, ValueError),
        ({"auto_release_time": float("nan")}, ValueError),
        ({"auto_release_time": "10"}, TypeError),
        ({"num_extensions": -2}, ValueError),
        ({"num_extensions": 1.5}, ValueError),
        ({"num_extensions": float("-inf")}, ValueError),
        ({"retry_delay": 0}, ValueError),
        ({"context_manager_blocking": False, "context_manager_timeout": 1}, ValueError),
        ({"on_lost": "call me"}, TypeError),
        ({"key": b"printer"}, TypeError),
        ({"masters": [1]}, TypeError),
    ],
)
def test_bad_options_are_refused_at_construction(colour, options, error):
    with pytest.raises(error):
        colour.lock(**options)


def test_shortest_lease_can_be_had(masters):
    assert Redlock(key="printer", masters=masters[:1], auto_release_time=0.003).acquire(timeout=5)


def test_coroutine_function_cannot_be_called_back(colour):
    async def on_lost(lock): ...

    with pytest.raises(TypeError, match="plain function"):
        colour.lock(on_lost=on_lost)


def test_one_server_twice_is_refused(five_servers):
    one, other = five_servers[0].client(), five_servers[0].client(host="localhost")
    with pytest.raises(ValueError, match="same server"):
        Redlock(key="printer", masters={one, five_servers[0].client()})
    with pytest.raises(ValueError, match="same server"):
        Redlock(key="printer", masters={one, other}).acquire(timeout=2)
    assert one.get(KEY) is None


def test_repr_names_the_key_and_no_secret():
    lock = Redlock(key="printer", masters={redis_py.Redis(password="hunter2")})
    assert repr(lock) == "<Redlock key=redlock:printer>"
    assert weakref.ref(lock)() is lock


# --- extending


def test_extension_begins_the_lease_anew(colour, masters):
    lock = colour.lock(auto_release_time=1)
    colour.run(lock.acquire())
    time.sleep(0.5)
    colour.run(lock.extend())
    assert colour.run(lock.locked()) > 0.9
    # What is left of the lease before would be less, however long it takes to ask them.
    wait_until(lambda: all(client.pttl(KEY) > 600 for client in masters), 0.3)


def test_extensions_are_counted(colour):
    lock = colour.lock(num_extensions=2)
    colour.run(lock.acquire())
    colour.run(lock.extend())
    colour.run(lock.extend())
    with pytest.raises(TooManyExtensions):
        colour.run(lock.extend())
    colour.run(lock.release())
    colour.run(lock.acquire())
    colour.run(lock.extend())


def test_extension_that_failed_does_not_count(colour, five_servers):
    lock = colour.lock(num_extensions=1)
    colour.run(lock.acquire())
    with stopped(*five_servers[:3]):
        for _ in range(2):
            with pytest.raises(ExtendUnlockedLock):
                colour.run(lock.extend())
    colour.run(lock.extend())
    with pytest.raises(TooManyExtensions):
        colour.run(lock.extend())


@pytest.mark.parametrize("unlimited", [-1, float("inf")])
def test_extensions_may_be_unlimited(colour, unlimited):
    lock = colour.lock(num_extensions=unlimited)
    colour.run(lock.acquire())
    for _ in range(20):
        colour.run(lock.extend())


def test_lock_that_is_not_held_cannot_be_extended(colour, masters):
    lock = colour.lock(auto_release_time=0.2)
    with pytest.raises(ExtendUnlockedLock):
        colour.run(lock.extend())
    colour.run(lock.acquire())
    for client in masters:
        client.delete(KEY)
    with pytest.raises(ExtendUnlockedLock):
        colour.run(lock.extend())
    assert lock.lost.is_set()


# --- with


def test_with_holds_the_lock(masters):
    lock = Redlock(key="printer", masters=masters)
    with lock as entered:
        assert entered is lock
        assert lock.locked()
    assert not lock.locked()
    assert holders(masters) == [None] * 5


def test_async_with_holds_the_lock(five_servers):
    async def main():
        clients = [asynchronous.Redis.from_url(server.url) for server in five_servers]
        lock = AIORedlock(key="async-printer", masters=clients)
        async with lock as entered:
            assert entered is lock
            assert await lock.locked()
        assert not await lock.locked()
        await close(*clients)

    asyncio.run(main())


def test_with_raises_if_the_lock_cannot_be_had(masters):
    options = {"context_manager_blocking": True, "context_manager_timeout": 0.1}
    with (
        Redlock(key="printer", masters=masters),
        pytest.raises(QuorumNotAchieved),
        Redlock(key="printer", masters=masters, **options),
    ):
        pytest.fail("both hold the lock")


def test_leaving_never_hides_what_went_wrong_inside(masters, caplog):
    lock = Redlock(key="printer", masters=masters)
    with pytest.raises(KeyError, match="inside"), lock:
        raise KeyError(forget(masters) or "inside")
    assert "no longer, so it cannot be released" in caplog.text
    with pytest.raises(ReleaseUnlockedLock), lock:
        forget(masters)


def test_leaving_late_does_not_release_what_another_thread_holds(masters):
    lock = Redlock(key="printer", masters=masters, auto_release_time=0.2)
    entered, may_leave = threading.Event(), threading.Event()
    errors = []

    def overrun():
        try:
            with lock:
                entered.set()
                may_leave.wait()
        except ReleaseUnlockedLock as error:
            errors.append(error)

    thread = threading.Thread(target=overrun)
    thread.start()
    entered.wait()
    lock.auto_release_time = 10
    with lock:
        may_leave.set()
        thread.join()
        assert lock.locked()
    assert len(errors) == 1


# --- losing


def test_lost_is_set_when_the_time_runs_out(masters):
    lock = Redlock(key="printer", masters=masters, auto_release_time=0.3)
    assert not lock.lost.is_set()
    lock.acquire()
    assert not lock.lost.is_set()
    took = seconds(lambda: lock.lost.wait(5))
    assert lock.lost.is_set()
    assert took < 0.6
    lock.acquire()
    assert not lock.lost.is_set()


def test_released_lock_is_not_lost(masters):
    calls = []
    lock = Redlock(key="printer", masters=masters, auto_release_time=0.2, on_lost=calls.append)
    with lock:
        lost = lock.lost
    assert not lost.wait(0.4)
    assert not calls


def test_lock_that_is_released_too_late_is_lost(masters):
    lock = Redlock(key="printer", masters=masters, auto_release_time=0.1)
    lock.acquire()
    time.sleep(0.2)
    with pytest.raises(ReleaseUnlockedLock):
        lock.release()
    assert lock.lost.is_set()


def test_lock_that_ran_out_is_lost_though_masters_cannot_tell(colour, five_servers):
    lock = colour.lock(auto_release_time=0.5)
    colour.run(lock.acquire())
    with stopped(*five_servers[:3]):
        colour.rest(0.6)
        with pytest.raises(ReleaseUnlockedLock) as caught:
            colour.run(lock.release())
    assert len(caught.value.redis_errors) == 3
    assert lock.lost.is_set()


def test_release_in_time_is_no_error_though_masters_cannot_tell(colour, five_servers):
    lock = colour.lock()
    colour.run(lock.acquire())
    with stopped(*five_servers[:3]):
        colour.run(lock.release())
    assert not lock.lost.is_set()


def test_lock_that_is_released_twice_is_not_lost(masters):
    lock = Redlock(key="printer", masters=masters)
    with suppress(ReleaseUnlockedLock), lock:
        lost = lock.lost
        lock.release()
    assert not lost.is_set()


def test_lock_that_two_threads_release_at_once_is_not_lost(masters):
    lock = Redlock(key="printer", masters=masters)
    for _ in range(10):
        lock.acquire()
        lost = lock.lost
        with ThreadPoolExecutor(2) as executor:
            releases = [executor.submit(lock.release) for _ in range(2)]
        assert [type(one.exception()) for one in releases].count(ReleaseUnlockedLock) == 1
        assert not lost.is_set()


def test_lock_that_masters_forgot_is_lost_when_it_is_released(masters):
    lock = Redlock(key="printer", masters=masters)
    lock.acquire()
    lost = lock.lost
    forget(masters)
    with pytest.raises(ReleaseUnlockedLock):
        lock.release()
    assert lost.is_set()


def test_loss_is_told_once(masters):
    calls = []
    lock = Redlock(key="printer", masters=masters, auto_release_time=0.3, on_lost=calls.append)
    lock.acquire()
    lock.lost.wait(5)
    time.sleep(0.1)
    with suppress(ExtendUnlockedLock):
        lock.extend()
    assert calls == [lock]


def test_what_on_lost_raises_is_logged(masters, caplog):
    lock = Redlock(key="printer", masters=masters, on_lost=lambda lock: 1 / 0)
    lock.acquire()
    for client in masters:
        client.flushall()
    with pytest.raises(ExtendUnlockedLock):
        lock.extend()
    assert "ZeroDivisionError" in caplog.text


def test_lock_renews_itself_until_it_is_released(colour, masters):
    lock = colour.lock(auto_release_time=0.3, auto_renew=True)
    colour.run(lock.acquire())
    token = masters[0].get(KEY)
    if isinstance(colour, Awaiting):
        colour.run(asyncio.sleep(1))
    else:
        time.sleep(1)
    assert set(holders(masters)) == {token}
    colour.run(lock.release())
    assert holders(masters) == [None] * 5
    if isinstance(colour, Awaiting):
        colour.run(asyncio.sleep(0.5))
    else:
        time.sleep(0.5)
    assert holders(masters) == [None] * 5


def test_lock_is_renewed_at_once_by_an_event_loop_that_was_busy(five_servers):
    async def main():
        clients = [asynchronous.Redis.from_url(server.url) for server in five_servers]
        lock = AIORedlock(key="busy", masters=clients, auto_release_time=0.9, auto_renew=True)
        await lock.acquire()
        time.sleep(0.6)  # noqa: ASYNC251 - the work of other tasks
        await asyncio.sleep(0.6)
        assert await lock.locked()
        await lock.release()
        await close(*clients)

    asyncio.run(main())


def test_renewal_that_failed_is_tried_again_while_time_is_left(colour, five_servers):
    lock = colour.lock(auto_release_time=3, auto_renew=True)
    colour.run(lock.acquire())
    with stopped(*five_servers[:3]):
        colour.rest(2.4)
    colour.rest(1)
    assert colour.run(lock.locked())
    colour.run(lock.release())


class Unhurried(Redlock):
    """Takes so long to make its events that other threads come meanwhile."""

    delays = itertools.count()

    def _signal(self):
        time.sleep(0.01 * next(self.delays))
        return threading.Event()


def test_threads_that_ask_for_the_event_at_once_get_the_same_one(masters):
    with Unhurried(key="printer", masters=masters) as lock, ThreadPoolExecutor(4) as executor:
        found = list(executor.map(lambda _: lock.lost, range(4)))
    assert len(set(found)) == 1


def test_renewal_notices_that_the_lock_is_lost(masters):
    calls = []
    options = {"auto_release_time": 0.6, "auto_renew": True, "on_lost": calls.append}
    lock = Redlock(key="printer", masters=masters, **options)
    lock.acquire()
    for client in masters:
        client.flushall()
    assert lock.lost.wait(0.5)
    time.sleep(0.05)
    assert calls == [lock]


@pytest.mark.parametrize("bad", [2, 5])
def test_renewal_outlives_masters_that_are_set_up_wrongly(colour, masters, bad, caplog):
    calls = []
    options = {"auto_release_time": 0.3, "auto_renew": True, "on_lost": calls.append}
    lock = colour.lock(**options)
    colour.run(lock.acquire())
    for client in masters[:bad]:
        client.delete(KEY)
        client.rpush(KEY, "a list")
    if isinstance(colour, Awaiting):
        colour.run(asyncio.sleep(1))
    else:
        time.sleep(1)
    assert "WRONGTYPE" in caplog.text
    if bad == 2:  # which leaves a majority
        assert not lock.lost.is_set()
        assert not calls
        forget(masters[:2])
        colour.run(lock.release())
    else:
        assert lock.lost.is_set()
        assert calls == [lock]


def test_renewing_lock_that_is_forgotten_is_not_kept_for_ever(masters):
    with Redlock(key="warm up", masters=masters):  # pytest keeps what a late vote makes it log
        pass
    lock = Redlock(key="printer", masters=masters, auto_release_time=0.3, auto_renew=True)
    lock.acquire()
    del lock
    gc.collect()
    assert Redlock(key="printer", masters=masters).acquire(timeout=2)


def test_threads_of_renewal_end_with_the_lock(masters):
    before = threading.active_count()
    lock = Redlock(key="printer", masters=masters, auto_renew=True)
    for _ in range(30):
        with lock:
            pass
    wait_until(lambda: threading.active_count() <= before)


# --- fencing


def test_fencing_tokens_rise_with_every_grant(colour, masters):
    last = 0
    for number in range(12):
        lock = colour.lock(fencing=True)
        colour.run(lock.acquire())
        assert lock.fencing_token > last
        last = lock.fencing_token
        colour.run(lock.release())
        assert lock.fencing_token is None
        if number % 4 == 3:  # what a majority knows, the others learn
            masters[number % 5].delete(f"{KEY}~fence")


def test_fencing_token_is_above_all_that_masters_know(colour, masters):
    ahead = int(time.time() * 1e6) + 10**12
    masters[2].set(f"{KEY}~fence", ahead)
    lock = colour.lock(fencing=True)
    colour.run(lock.acquire())
    first = lock.fencing_token
    colour.run(lock.release())
    for client in masters:
        client.set(f"{KEY}~fence", ahead)
    colour.run(lock.acquire())
    assert lock.fencing_token > max(ahead, first)


@pytest.mark.parametrize("last", [2**53 - 1, 2**53, 2**70])
def test_fencing_tokens_end_where_lua_cannot_tell_them_apart(colour, masters, last):
    for client in masters:
        client.set(f"{KEY}~fence", last)
    with pytest.raises(OverflowError, match=f"was {last}, and none may be above 9007199254740991"):
        colour.run(colour.lock(fencing=True).acquire())
    assert holders(masters) == [None] * 5
    for client in masters:
        client.set(f"{KEY}~fence", 2**53 - 2)
    lock = colour.lock(fencing=True)
    assert colour.run(lock.acquire())
    assert lock.fencing_token == 2**53 - 1


def test_fencing_token_is_above_one_of_the_same_microsecond(colour, masters, monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: 5_000_000)
    for client in masters:
        client.set(f"{KEY}~fence", 5_000)
    lock = colour.lock(fencing=True)
    colour.run(lock.acquire())
    assert lock.fencing_token > 5_000


def test_threads_that_share_a_lock_get_fencing_tokens_that_rise(masters):
    lock = Redlock(key="printer", masters=masters, fencing=True)
    tokens = []

    def work():
        for _ in range(20):
            with lock:
                tokens.append(lock.fencing_token)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 80
    assert all(one < other for one, other in itertools.pairwise(tokens))


def test_lock_without_fencing_has_no_token(colour):
    lock = colour.lock()
    colour.run(lock.acquire())
    assert lock.fencing_token is None


# --- masters that fail


def test_minority_that_is_dead_changes_nothing(colour, five_servers):
    with killed(*five_servers[:2]):
        for _ in range(3):
            lock = colour.lock()
            assert seconds(lambda lock=lock: colour.run(lock.acquire())) < 1
            assert colour.run(lock.locked())
            colour.run(lock.extend())
            assert seconds(lambda lock=lock: colour.run(lock.release())) < 1


def test_minority_that_hangs_changes_nothing_and_no_key_is_left_behind(colour, five_servers):
    colour.run(colour.lock(key="warm up").acquire())
    with stopped(*five_servers[:2]):
        for _ in range(3):
            lock = colour.lock()
            assert seconds(lambda lock=lock: colour.run(lock.acquire())) < 1
            colour.run(lock.extend())
            assert seconds(lambda lock=lock: colour.run(lock.release())) < 1
    clients = [server.client() for server in five_servers]
    wait_until(lambda: colour.rest(0.01) or holders(clients) == [None] * 5)


@pytest.mark.parametrize("kind", [Blocking, Awaiting])
def test_lock_is_given_back_by_tls_at_a_master_that_hung(kind, tmp_path):
    config = certified(tmp_path)
    with ExitStack() as stack:
        servers = [stack.enter_context(server_with_tls(config)) for _ in range(3)]
        colour = stack.enter_context(opened(kind, servers))
        colour.run(colour.lock(key="warm up").acquire())
        with stopped(servers[0]):
            lock = colour.lock()
            colour.run(lock.acquire())
            colour.run(lock.extend())
            colour.run(lock.release())
        clients = [stack.enter_context(server.client()) for server in servers]
        wait_until(lambda: colour.rest(0.01) or holders(clients) == [None] * 3)


@pytest.mark.parametrize("kind", [Blocking, Awaiting])
def test_lock_is_given_back_by_tls_at_the_only_master_that_hung(kind, tmp_path):
    with server_with_tls(certified(tmp_path)) as server, opened(kind, [server]) as colour:
        lock = colour.lock()
        colour.run(lock.acquire())
        with stopped(server):
            for _ in range(2):
                with pytest.raises(ExtendUnlockedLock):
                    colour.run(lock.extend())
            colour.run(lock.release())
        with server.client() as client:
            wait_until(lambda: colour.rest(0.01) or holders([client]) == [None])


@pytest.mark.parametrize("fault", [killed, stopped])
def test_majority_that_is_gone_is_told_in_time(colour, five_servers, fault):
    with fault(*five_servers[:3]):
        took = seconds(lambda: colour.run(colour.lock().acquire(timeout=1)))
        assert 1 <= took < 1.5
        with pytest.raises(QuorumIsImpossible) as caught:
            colour.run(colour.lock(raise_on_redis_errors=True).acquire())
        assert len(caught.value.redis_errors) >= 3
        with pytest.raises(QuorumIsImpossible):
            colour.run(colour.lock().acquire(raise_on_redis_errors=True))
        assert holders([server.client() for server in five_servers[3:]]) == [None] * 2
    time.sleep(0.1)
    assert holders([server.client() for server in five_servers]) == [None] * 5


@pytest.mark.parametrize("count", [1, 5])
def test_masters_that_hang_are_waited_for_once(colour, five_servers, count):
    lock = colour.lock(masters=colour.masters[:count])
    colour.run(lock.acquire())
    colour.run(lock.release())
    with stopped(*five_servers[:3]):
        assert seconds(lambda: colour.run(lock.acquire(timeout=0.4))) < 0.8


def test_masters_that_hang_are_waited_for_no_longer_than_the_caller_will_wait(colour, five_servers):
    lock = colour.lock(auto_release_time=60)
    colour.run(lock.acquire())
    colour.run(lock.release())
    with stopped(*five_servers[:3]):
        assert seconds(lambda: colour.run(lock.acquire(timeout=0.05))) < 0.5


def test_waiting_for_a_majority_that_is_gone_is_not_busy(colour, five_servers, masters):
    with killed(*five_servers[:3]):
        before = masters[4].info("stats")["total_commands_processed"]
        assert not colour.run(colour.lock().acquire(timeout=2))
        sent = masters[4].info("stats")["total_commands_processed"] - before
        assert sent < 300  # those of scripts included
    assert colour.run(colour.lock().acquire(timeout=2))


def test_waiting_is_not_busy_for_what_is_released_at_too_few_masters(masters):
    holder = Redlock(key="printer", masters=masters)
    holder.acquire()
    first = sorted(masters, key=lambda client: str(address(client)))[:2]
    (token,) = set(holders(masters))
    with ThreadPoolExecutor() as executor:
        waiting = executor.submit(Redlock(key="printer", masters=masters).acquire, timeout=2)
        wait_until(lambda: first[0].exists(f"{KEY}~waiting"))
        before = first[0].info("stats")["total_commands_processed"]
        keys = [f"{KEY}{name}" for name in ("", "~reserved", "~waiting", "~bell")]
        for client in first:
            assert client.eval(RELEASE, 4, *keys, token, "1000", "50") == 1
        assert waiting.result() is False
    assert first[0].info("stats")["total_commands_processed"] - before < 300


def test_waiting_is_not_busy_for_a_user_who_may_not_hear_the_bell(five_servers, masters):
    masters[0].acl_setuser(
        "deaf", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-blpop"]
    )
    deaf = five_servers[0].client(username="deaf", password="x")
    masters[0].set(KEY, "somebody")
    before = masters[0].info("stats")["total_commands_processed"]
    assert not Redlock(key="printer", masters={deaf}, retry_delay=0.2).acquire(timeout=1)
    assert masters[0].info("stats")["total_commands_processed"] - before < 200
    masters[0].acl_deluser("deaf")


def test_far_masters_are_heard_before_it_is_said_that_there_is_no_majority(five_servers, masters):
    ports = [client.connection_pool.connection_kwargs["port"] for client in masters]
    with (
        killed(*five_servers[:2]),
        five_servers[3].proxy() as one,
        five_servers[4].proxy() as two,
        one.delay(0.01),
        two.delay(0.01),
    ):
        clients = [redis_py.Redis(port=port) for port in (*ports[:3], one.port, two.port)]
        # A lease for which busy masters are waited for, too.
        options = {"key": "printer", "masters": clients, "auto_release_time": 60}
        lock = Redlock(**options)
        assert lock.acquire()
        for _ in range(5):
            other = Redlock(**options, raise_on_redis_errors=True)
            assert not other.acquire(blocking=False)
        lock.release()


def test_majority_that_dies_while_the_lock_is_held(colour, five_servers):
    lock = colour.lock(auto_release_time=2)
    colour.run(lock.acquire())
    with killed(*five_servers[:3]):
        assert colour.run(lock.locked()) == 0
        with pytest.raises(ExtendUnlockedLock) as caught:
            colour.run(lock.extend())
        assert len(caught.value.redis_errors) >= 3
        with pytest.raises(QuorumIsImpossible):
            colour.run(lock.release(raise_on_redis_errors=True))


def test_misconfiguration_is_raised_at_once(colour, masters):
    for client in masters:
        client.rpush(KEY, "a list")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        colour.run(colour.lock(fencing=True).acquire())


def test_user_without_the_right_to_scripts_is_told(five_servers):
    server = five_servers[0]
    with server.client() as admin:
        admin.acl_setuser(
            "plain", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-@scripting"]
        )
        lock = Redlock(key="plain", masters={server.client(username="plain", password="x")})
        with pytest.raises(NoPermissionError):
            lock.acquire()
        admin.acl_deluser("plain")


def test_release_works_when_the_masters_are_out_of_memory(colour, masters):
    lock, waiter = colour.lock(), colour.lock()
    colour.run(lock.acquire())
    for client in masters:
        client.config_set("maxmemory", 1)
    try:
        colour.run(lock.extend())
        assert colour.run(waiter.acquire(timeout=0.1)) is False
        colour.run(lock.release())
        assert colour.run(waiter.acquire(timeout=0.1)) is False
        with pytest.raises(QuorumIsImpossible):
            colour.run(waiter.acquire(raise_on_redis_errors=True))
    finally:
        for client in masters:
            client.config_set("maxmemory", 0)
    assert holders(masters) == [None] * 5
    assert colour.run(waiter.acquire(timeout=1)) is True


def test_scripts_that_servers_forget_change_nothing(colour, masters):
    lock = colour.lock()
    for _ in range(3):
        assert colour.run(lock.acquire())
        for client in masters:
            client.script_flush()
        colour.run(lock.extend())
        for client in masters:
            client.script_flush()
        colour.run(lock.release())
    assert holders(masters) == [None] * 5


def test_owner_is_told_at_once_though_a_minority_hangs(colour, five_servers):
    lock = colour.lock(auto_release_time=60)
    colour.run(lock.owner())
    with stopped(*five_servers[:2]):
        assert seconds(lambda: colour.run(lock.owner())) < 0.5
        colour.run(lock.acquire())
        assert seconds(lambda: colour.run(lock.owner())) < 0.5
        assert colour.run(lock.owner())


def test_master_that_is_just_up_has_no_vote_with_delayed_restart(colour, five_servers):
    patient = colour.lock(delayed_restart=True, auto_release_time=3)
    with killed(*five_servers[:3]):
        pass
    assert colour.run(patient.acquire(blocking=False)) is False
    assert colour.run(colour.lock().acquire(blocking=False)) is True
    colour.run(colour.lock().owner())
    with five_servers[0].client() as client:
        assert client.get(KEY) is not None


def test_delayed_restart_ends(five_servers):
    with RedisServer() as server:
        lock = Redlock(
            key="k", masters={server.client()}, delayed_restart=True, auto_release_time=0.5
        )
        assert lock.acquire(timeout=5)


# --- many at once


def overlaps(history):
    """Return how often somebody came in while another was inside."""
    inside, found = 0, 0
    for _, change in sorted(history):
        inside += change
        found += inside > 1
    return found


def contend(lock, seconds, history, hold=0.0):
    stop, count = time.monotonic() + seconds, 0
    while time.monotonic() < stop:
        lock.acquire()
        history.append((time.monotonic(), 1))
        time.sleep(hold)
        history.append((time.monotonic(), -1))
        lock.release()
        count += 1
    return count


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("shared", [False, True])
def test_threads_never_overlap_and_share_fairly(masters, count, shared):
    one = Redlock(key="printer", masters=masters[:count])
    history, counts = [], []

    def work():
        lock = one if shared else Redlock(key="printer", masters=masters[:count])
        counts.append(contend(lock, 2, history, 0.001))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not overlaps(history)
    assert max(counts) <= 2 * min(counts), counts


def contend_elsewhere(urls, seconds, results):
    masters = [redis_py.Redis.from_url(url) for url in urls]
    history = []
    count = contend(Redlock(key="printer", masters=masters), seconds, history)
    results.put((count, history))


@pytest.mark.slow
def test_processes_never_overlap(five_servers, masters):
    context = get_context("spawn")
    results = context.Queue()
    urls = [server.url for server in five_servers]
    workers = [context.Process(target=contend_elsewhere, args=(urls, 3, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert not overlaps([event for _, history in found for event in history])
    assert all(count for count, _ in found)


@pytest.mark.slow
def test_tasks_never_overlap(five_servers):
    async def main():
        masters = [asynchronous.Redis.from_url(server.url) for server in five_servers]
        history, counts = [], []

        async def work():
            lock = AIORedlock(key="tasks", masters=masters)
            stop, count = time.monotonic() + 2, 0
            while time.monotonic() < stop:
                async with lock:
                    history.append((time.monotonic(), 1))
                    await asyncio.sleep(0.001)
                    history.append((time.monotonic(), -1))
                count += 1
            counts.append(count)

        await asyncio.gather(*(work() for _ in range(8)))
        for client in masters:
            await close(client)
        return history, counts

    history, counts = asyncio.run(main())
    assert not overlaps(history)
    assert max(counts) <= 2 * min(counts), counts


@pytest.mark.slow
def test_holders_never_overlap_while_masters_come_and_go(five_servers, masters):
    history, stop = [], threading.Event()

    def work():
        lock = Redlock(key="printer", masters=[server.client() for server in five_servers])
        while not stop.is_set():
            if lock.acquire(timeout=1):
                history.append((time.monotonic(), 1))
                time.sleep(0.002)
                history.append((time.monotonic(), -1))
                lock.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(6):
        with stopped(five_servers[number % 5], five_servers[(number + 2) % 5]):
            time.sleep(0.3)
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join()
    assert len(history) > 20
    assert not overlaps(history)
    time.sleep(0.2)
    assert holders(masters) == [None] * 5


def test_release_wakes_who_waits(masters):
    for count in (1, 5):
        holder = Redlock(key="printer", masters=masters[:count])
        waiter = Redlock(key="printer", masters=masters[:count], retry_delay=30)
        holder.acquire()
        got = []
        thread = threading.Thread(target=lambda w=waiter, g=got: g.append(w.acquire(timeout=20)))
        thread.start()
        time.sleep(0.2)
        holder.release()
        thread.join(5)
        assert got == [True]
        waiter.release()


def test_release_wakes_who_waits_for_longer_than_another_did(masters):
    holder = Redlock(key="printer", masters=masters, auto_release_time=60)
    patient = Redlock(key="printer", masters=masters, retry_delay=30)
    hasty = Redlock(key="printer", masters=masters, retry_delay=0.01)
    holder.acquire()
    thread = threading.Thread(target=lambda: patient.acquire(timeout=20))
    thread.start()
    wait_until(lambda: masters[0].exists(f"{KEY}~waiting"))
    assert not hasty.acquire(timeout=0.05)
    time.sleep(0.4)
    holder.release()
    thread.join(5)
    assert patient.locked()


@pytest.mark.parametrize("other", [None, "somebody"])
def test_release_wakes_who_waits_at_a_master_that_it_was_not_held_at(masters, other):
    holder = Redlock(key="printer", masters=masters, auto_release_time=60)
    waiter = Redlock(key="printer", masters=masters, retry_delay=30)
    holder.acquire()
    thread = threading.Thread(target=lambda: waiter.acquire(timeout=20))
    thread.start()
    first = min(masters, key=lambda client: str(address(client)))
    wait_until(lambda: first.info("clients")["blocked_clients"])
    first.delete(KEY)
    if other:
        first.set(KEY, other, px=60_000)
    holder.release()
    thread.join(5)
    assert waiter.locked()


def test_release_that_comes_too_late_costs_nobody_who_waits_the_turn(masters):
    master = masters[0]
    late = Redlock(key="printer", masters=[master], auto_release_time=0.1)
    holder = Redlock(key="printer", masters=[master], auto_release_time=60)
    late.acquire()
    holder.acquire()
    order: list[str] = []

    def wait(name):
        with Redlock(key="printer", masters=[master], retry_delay=30):
            order.append(name)

    with ThreadPoolExecutor() as executor:
        for count, name in enumerate(("first", "second"), 1):
            executor.submit(wait, name)
            wait_until(lambda count=count: master.info("clients")["blocked_clients"] == count)
        with pytest.raises(ReleaseUnlockedLock):
            late.release()
        time.sleep(0.1)
        holder.release()
    assert order == ["first", "second"]


def test_who_has_heard_of_the_release_gets_the_lock_before_who_released_it(masters):
    for count in (1, 5):
        holder = Redlock(key="printer", masters=masters[:count])
        waiter = Redlock(key="printer", masters=masters[:count])
        holder.acquire()
        got = []
        thread = threading.Thread(target=lambda w=waiter, g=got: g.append(w.acquire(timeout=20)))
        thread.start()
        wait_until(lambda: masters[0].exists(f"{KEY}~waiting"))
        time.sleep(0.1)
        holder.release()
        assert holder.acquire(blocking=False) is False
        thread.join(5)
        assert got == [True]
        assert holder.owner()
        waiter.release()


def test_nothing_is_kept_for_waiters_who_have_left(colour):
    holder, waiter = colour.lock(), colour.lock()
    colour.run(holder.acquire())
    assert colour.run(waiter.acquire(timeout=0.1)) is False
    colour.run(holder.release())
    assert colour.run(holder.owner()) is None
    assert colour.run(holder.acquire(blocking=False)) is True


def test_nothing_is_kept_for_a_waiter_that_got_the_lock_at_a_majority(masters):
    holder = Redlock(key="printer", masters=masters)
    waiter = Redlock(key="printer", masters=masters)
    holder.acquire()
    for client in masters[:2]:
        client.set(KEY, "somebody")  # and goes on having it there
    with ThreadPoolExecutor() as executor:
        waiting = executor.submit(waiter.acquire, timeout=20)
        wait_until(lambda: all(client.exists(f"{KEY}~waiting") for client in masters))
        holder.release()
        assert waiting.result()
    waiter.release()
    assert not any(client.exists(f"{KEY}~waiting") for client in masters)


def test_waiter_that_was_cancelled_is_forgotten(five_servers, masters):
    async def main():
        clients = [asynchronous.Redis.from_url(server.url) for server in five_servers]
        holder, waiter = (AIORedlock(key="printer", masters=clients) for _ in range(2))
        await holder.acquire()
        waiting = asyncio.create_task(waiter.acquire())
        await asyncio.sleep(0.2)
        waiting.cancel()
        await asyncio.wait([waiting])
        await holder.release()
        assert await holder.acquire(blocking=False)
        await close(*clients)

    asyncio.run(main())


def test_lock_that_is_kept_for_nobody_is_free_in_a_moment(masters):
    lock = Redlock(key="printer", masters=masters)
    assert lock.owner() is None
    for client in masters:
        client.set(f"{KEY}~reserved", "somebody", px=100)  # anew, after it has connected
    assert lock.acquire(blocking=False) is False
    assert seconds(lambda: lock.acquire(timeout=5)) < 1


def test_lost_wake_up_is_made_up_for(masters):
    holder = Redlock(key="printer", masters=masters)
    waiter = Redlock(key="printer", masters=masters, retry_delay=0.2)
    holder.acquire()
    timer = threading.Timer(0.3, lambda: [client.delete(KEY) for client in masters])
    timer.start()
    assert seconds(lambda: waiter.acquire(timeout=5)) < 2
    timer.join()


def test_waiting_takes_no_connection_of_the_pool(server, redis):
    client = redis_py.Redis.from_url(server.url, max_connections=1)
    with Redlock(key="printer", masters={client}):
        waiters = [
            threading.Thread(
                target=lambda: Redlock(key="printer", masters={client}).acquire(timeout=0.5)
            )
            for _ in range(20)
        ]
        for waiter in waiters:
            waiter.start()
        for _ in range(50):
            assert client.ping()
        for waiter in waiters:
            waiter.join()


# --- a bad network


@pytest.fixture
def proxies(five_servers, masters):
    with ExitStack() as stack:
        yield [stack.enter_context(server.proxy()) for server in five_servers]


def test_lost_replies_leave_nothing_behind_and_nobody_in_doubt(proxies, masters):
    lock = Redlock(key="printer", masters=[redis_py.Redis(port=proxy.port) for proxy in proxies])
    for number in range(60):
        for proxy in proxies[: number % 4]:
            proxy.drop_reply()
        is_held = lock.acquire(blocking=False)
        tokens = [token for token in holders(masters) if token]
        if is_held:
            assert len(set(tokens)) == 1
            assert len(tokens) >= 3
            for proxy in proxies[number % 3 : number % 3 + number % 4]:
                proxy.drop_reply()
            with suppress(ReleaseUnlockedLock):  # if the reply was lost, the key was gone after
                lock.release()
        for proxy in proxies:
            proxy.drop_reply(0)
        wait_until(lambda: holders(masters) == [None] * 5)


@pytest.mark.parametrize("kind", [Blocking, Awaiting])
def test_lost_reply_of_the_only_master_does_not_lose_the_lock(proxies, kind):
    proxy = proxies[0]
    colour = kind([proxy])
    lock = colour.lock()
    assert colour.run(lock.acquire())
    for _ in range(3):
        proxy.drop_reply()
        assert colour.run(lock.owner())
        proxy.drop_reply()
        assert colour.run(lock.locked())
        proxy.drop_reply()
        colour.run(lock.extend())
    proxy.drop_reply(1000)
    assert seconds(lambda: colour.run(lock.locked())) < 2
    proxy.drop_reply(0)
    colour.run(lock.release())
    colour.close()


def test_slow_network_to_one_master_leaves_no_key_behind(five_servers, masters):
    with five_servers[0].proxy() as proxy, proxy.delay(0, jitter=0.075):
        lock = Redlock(key="printer", masters=[redis_py.Redis(port=proxy.port), *masters[1:]])
        for _ in range(30):
            assert seconds(lock.acquire) < 0.4
            assert seconds(lock.release) < 0.4
        wait_until(lambda: holders(masters) == [None] * 5)


# --- a holder that sleeps

SLEEPER = """
import os, signal, sys, time
from redis import Redis
from pottery import Redlock, ReleaseUnlockedLock
masters = [Redis.from_url(url) for url in sys.argv[1:]]
lock = Redlock(key="printer", masters=masters, auto_release_time=0.5, fencing=True)
assert lock.acquire()
lost = lock.lost
print(lock.fencing_token, flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
assert not lock.locked()
lost.wait(1)
assert lost.is_set()
try:
    lock.release()
except ReleaseUnlockedLock:
    print("lost", flush=True)
"""


def test_holder_that_slept_too_long_learns_it_and_has_the_lower_fencing_token(
    five_servers, masters
):
    urls = [server.url for server in five_servers]
    command = [sys.executable, "-c", SLEEPER, *urls]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sleeper:
        old_token = int(sleeper.stdout.readline())
        lock = Redlock(key="printer", masters=masters, fencing=True)
        assert lock.acquire(timeout=5)
        assert lock.fencing_token > old_token
        os.kill(sleeper.pid, signal.SIGCONT)
        assert sleeper.stdout.readline() == "lost\n"
        assert lock.locked()
    assert sleeper.returncode == 0
    lock.release()


# --- interruptions and forks


def test_interrupts_leave_no_lock_behind_and_no_reply_to_others(five_servers, masters):
    program = Path(__file__).with_name("interrupted_lock.py")
    command = [sys.executable, program, *(server.url for server in five_servers)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    interrupts, wrong, left = map(int, ran.stdout.split())
    assert interrupts > 100
    assert (wrong, left) == (0, 0)


def test_cancelled_acquisition_leaves_nothing_behind(five_servers, masters):
    async def main():
        clients = [asynchronous.Redis.from_url(server.url) for server in five_servers]
        lock = AIORedlock(key="printer", masters=clients)
        for number in range(200):
            task = asyncio.create_task(lock.acquire())
            for _ in range(number % 25):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                if await task:
                    await lock.release()
            assert holders(masters) == [None] * 5, number
        await close(*clients)

    asyncio.run(main())


def test_forked_process_does_not_hold_the_lock(masters):
    lock = Redlock(key="printer", masters=masters)
    lock.acquire()

    def work():
        assert not lock.locked()
        with pytest.raises(ReleaseUnlockedLock):
            lock.release()

    with forked(work):
        pass
    assert lock.locked()
    lock.release()
    assert holders(masters) == [None] * 5


def test_program_ends_at_once_though_a_master_hangs(five_servers):
    program = """
import sys
from redis import Redis
from pottery import Redlock
masters = [Redis.from_url(url) for url in sys.argv[1:]]
lock = Redlock(key="printer", masters=masters, auto_renew=True)
assert lock.acquire()
"""
    urls = [server.url for server in five_servers]
    with stopped(five_servers[0]):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", program, *urls], check=True, timeout=30)
        assert time.monotonic() - began < 5


# --- synchronize


def test_synchronize_runs_one_call_at_a_time(masters):
    history = []

    @synchronize(key="work", masters=masters)
    def work(number: int) -> int:
        """Do the work."""
        history.append((time.monotonic(), 1))
        time.sleep(0.01)
        history.append((time.monotonic(), -1))
        return number * 2

    with ExitStack() as stack:
        results = []
        for number in range(8):
            thread = threading.Thread(target=lambda n=number: results.append(work(n)))
            thread.start()
            stack.callback(thread.join)
    assert sorted(results) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert not overlaps(history)
    assert (work.__name__, work.__doc__) == ("work", "Do the work.")


def test_synchronize_takes_coroutine_functions(five_servers):
    async def main():
        clients = [asynchronous.Redis.from_url(server.url) for server in five_servers]
        history = []

        @synchronize(key="async-work", masters=clients)
        async def work(number: int) -> int:
            history.append((time.monotonic(), 1))
            await asyncio.sleep(0.01)
            history.append((time.monotonic(), -1))
            return number

        results = await asyncio.gather(*map(work, range(6)))
        await close(*clients)
        return results, history

    results, history = asyncio.run(main())
    assert results == [0, 1, 2, 3, 4, 5]
    assert not overlaps(history)


def test_synchronize_raises_if_the_lock_cannot_be_had(masters):
    @synchronize(key="work", masters=masters, blocking=False)
    def work():
        pytest.fail("it ran")

    with Redlock(key="work", masters=masters), pytest.raises(QuorumNotAchieved):
        work()


def test_what_the_synchronized_function_raises_passes(masters):
    @synchronize(key="work", masters=masters, timeout=1)
    def work():
        raise LookupError("mine")

    for _ in range(2):
        with pytest.raises(LookupError, match="mine"):
            work()


def test_synchronize_refuses_generators_whose_bodies_it_cannot_guard(masters):
    def generate():
        yield

    async def generate_awaiting():
        yield

    for function in (generate, generate_awaiting):
        with pytest.raises(TypeError, match="generator"):
            synchronize(key="work", masters=masters)(function)


def test_the_default_client_is_the_master_if_none_is_given(server, redis):
    lock = Redlock(key="printer")
    with lock:
        assert redis.get(KEY)
    assert len(lock.masters) == 1


# --- CPython's own tests of threading.Lock

lock_tests = pytest.importorskip("test.lock_tests", reason="this Python comes without its tests")
REPR = "its repr names the key, and asks no master whether it is locked"
NOT_APPLICABLE = {
    "test_repr": REPR,
    "test_locked_repr": REPR,
    "test_at_fork_reinit": "about a private method; a forked process does not hold the lock",
}


@pytest.mark.parametrize("name", unittest.defaultTestLoader.getTestCaseNames(lock_tests.LockTests))
def test_it_behaves_as_threading_lock(redis, name):
    if name in NOT_APPLICABLE:
        pytest.skip(NOT_APPLICABLE[name])
    numbers = itertools.count()

    class Tests(lock_tests.LockTests):
        @staticmethod
        def locktype():
            return Redlock(key=f"lock {next(numbers)}", masters={redis})

    Tests(name).debug()


def test_every_exclusion_still_excludes_something():
    assert set(NOT_APPLICABLE) <= set(dir(lock_tests.LockTests))
