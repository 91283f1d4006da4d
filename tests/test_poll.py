"""Polls: one command for several servers, whatever becomes of them."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import socket
import threading
import time
from weakref import ref

import clients
import pytest
import redis.asyncio as asynchronous
from certificates import certified, server_with_tls
from clients import close, forked, opened, seconds, wait_until
from redis import Connection, ConnectionPool, Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pottery import _poll_awaiting, _poll_blocking
from pottery._lines import MOST_DIALLING, MOST_FREE, Store
from pottery._plan import Pause
from pottery._poll import STILL_GOOD, Poll, Unanswered
from pottery._poll_awaiting import poll_awaiting
from pottery._poll_blocking import poll_blocking


def waiting_at(colour, clients):
    """Return a poll that waits at a server and is kept, over a line that was open before."""
    colour.perform(Poll(clients, ("PING",), 5))
    wait = Poll(clients, ("BLPOP", "bell", "5"), 0.05, keep=True)
    assert isinstance(colour.perform(wait)[0], Unanswered)
    return wait


def majority(votes):
    return sum(vote == b"PONG" for vote in votes) > len(votes) / 2


class Blocking(clients.Blocking):
    """Performs polls by blocking."""

    def perform(self, poll):
        return poll_blocking(poll)


class Awaiting(clients.Awaiting):
    """Performs polls by awaiting."""

    def perform(self, poll):
        return self.run(poll_awaiting(poll))


@pytest.fixture(params=[Blocking, Awaiting])
def colour(request, five_servers):
    for server in five_servers:
        with server.client() as client:
            client.flushall()
    with opened(request.param, five_servers) as colour:
        yield colour


@pytest.fixture
def stalled(five_servers):
    """Stop the first server for the time of the test."""
    with five_servers[0].stall():
        yield five_servers[0]


def resume(server):
    os.kill(server.pid, signal.SIGCONT)


def test_votes_come_in_the_order_of_the_clients(colour):
    for number, client in enumerate(colour.masters):
        colour.perform(Poll((client,), ("SET", "n", str(number)), 1))
    assert colour.perform(Poll(colour.masters, ("GET", "n"), 1)) == [b"0", b"1", b"2", b"3", b"4"]


def test_error_reply_is_a_vote(colour):
    colour.perform(Poll(colour.masters[:1], ("SET", "k", "text"), 1))
    votes = colour.perform(Poll(colour.masters, ("INCR", "k"), 1))
    assert isinstance(votes[0], ResponseError)
    assert votes[1:] == [1, 1, 1, 1]


def test_server_that_hangs_delays_nobody_once_it_is_decided(colour, stalled):
    poll = Poll(colour.masters, ("PING",), 5, enough=majority)
    assert seconds(lambda: colour.perform(poll)) < 3
    votes = colour.perform(Poll(colour.masters, ("PING",), 5, enough=majority))
    assert isinstance(votes[0], Unanswered)
    assert votes[1:] == [b"PONG"] * 4


def test_server_that_hangs_is_waited_for_no_longer_than_said(colour, stalled):
    poll = Poll(colour.masters, ("PING",), 0.2)
    assert 0.15 < seconds(lambda: colour.perform(poll)) < 1


def test_lines_that_servers_closed_a_while_ago_are_not_used_again(colour, five_servers):
    colour.perform(Poll(colour.masters, ("PING",), 5))
    for server in five_servers[:2]:
        with server.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    colour.rest(2 * STILL_GOOD)
    assert colour.perform(Poll(colour.masters, ("PING",), 5)) == [b"PONG"] * 5


def test_line_on_which_nothing_can_be_sent_is_not_used_again(five_servers):
    broken = []

    class Breaking(Connection):
        def send_packed_command(self, command, check_health=True):
            if self.port in broken:
                broken.remove(self.port)
                raise RedisConnectionError("broken pipe")
            super().send_packed_command(command, check_health)

    pools = [
        ConnectionPool.from_url(server.url, connection_class=Breaking) for server in five_servers
    ]
    masters = [Redis(connection_pool=pool) for pool in pools]
    poll_blocking(Poll(masters, ("PING",), 5))
    broken.append(five_servers[1].port)
    votes = poll_blocking(Poll(masters, ("PING",), 5))
    assert isinstance(votes.pop(1), RedisConnectionError)
    assert votes == [b"PONG"] * 4
    assert poll_blocking(Poll(masters, ("PING",), 5)) == [b"PONG"] * 5


def test_replies_that_several_servers_owe_are_waited_for(colour):
    colour.perform(Poll(colour.masters, ("PING",), 5))
    wait = Poll(colour.masters, ("BLPOP", "bell", "5"), 0.05, keep=True)
    assert {type(vote) for vote in colour.perform(wait)} == {Unanswered}
    pushes = Poll(colour.masters, ("RPUSH", "bell", "!"), 5)
    assert colour.perform(pushes) == [1] * 5
    assert colour.perform(Poll((), (), 5, behind=wait)) == [[b"bell", b"!"]] * 5


def test_dead_server_votes_with_its_error_and_is_back_when_it_is_back(colour, five_servers):
    colour.perform(Poll(colour.masters, ("PING",), 1))
    five_servers[1].kill()
    try:
        votes = colour.perform(Poll(colour.masters, ("PING",), 1))
    finally:
        five_servers[1].start()
    assert isinstance(votes.pop(1), RedisConnectionError)
    assert votes == [b"PONG"] * 4
    assert colour.perform(Poll(colour.masters, ("PING",), 1)) == [b"PONG"] * 5


def test_what_follows_is_run_after_what_is_still_on_its_way(colour, five_servers):
    colour.perform(Poll(colour.masters, ("PING",), 1))  # opens the lines
    with five_servers[0].stall():
        first = Poll(colour.masters, ("SET", "k", "v"), 0.2, keep=True)
        colour.perform(first)
        assert len(first.lines) == 1
        colour.perform(Poll(colour.masters, ("DEL", "k"), 0.2, behind=first))
        assert not first.lines
    assert colour.perform(Poll(colour.masters, ("EXISTS", "k"), 1)) == [0] * 5


def test_late_reply_is_not_taken_for_the_next_one(colour, five_servers):
    colour.perform(Poll(colour.masters, ("PING",), 1))
    with five_servers[0].stall():
        first = Poll(colour.masters, ("ECHO", "first"), 0.1, keep=True)
        colour.perform(first)
    votes = colour.perform(Poll(colour.masters, ("ECHO", "second"), 1, behind=first))
    assert votes == [b"second"] * 5


def test_poll_that_asks_nothing_waits_on_for_what_was_asked(colour, five_servers):
    clients = colour.masters[:1]
    with five_servers[0].client() as client:
        wait = waiting_at(colour, clients)
        still = Poll(clients, (), 0.05, behind=wait, keep=True)
        assert isinstance(colour.perform(still)[0], Unanswered)
        client.rpush("bell", "1")
        assert colour.perform(Poll(clients, (), 1, behind=still)) == [[b"bell", b"1"]]
    assert not wait.lines
    assert not still.lines


def test_poll_that_asks_nothing_and_does_not_wait_hangs_up(colour, five_servers):
    clients = colour.masters[:1]
    wait = waiting_at(colour, clients)
    with five_servers[0].client() as client:
        assert client.info("clients")["blocked_clients"] == 1
        colour.perform(Poll(clients, (), 0, behind=wait))
        wait_until(lambda: not client.info("clients")["blocked_clients"])
    assert not wait.lines


@pytest.mark.parametrize("is_forgotten", [True, False])
def test_line_that_is_kept_is_hung_up_when_nobody_follows(five_servers, is_forgotten):
    clients = [asynchronous.Redis.from_url(five_servers[0].url)]
    wait = Poll(clients, ("BLPOP", "bell", "5"), 0.05, keep=True)

    async def keep(wait):
        await poll_awaiting(Poll(clients, ("PING",), 5))  # opens the line
        await poll_awaiting(wait)
        assert wait.lines
        if is_forgotten:
            del wait
            await asyncio.sleep(0.01)

    polls = [wait]
    del wait
    asyncio.run(keep(polls.pop() if is_forgotten else polls[0]))
    gc.collect()  # so that what was not closed is reported here
    assert not any(poll.lines for poll in polls)
    with five_servers[0].client() as client:
        wait_until(lambda: not client.info("clients")["blocked_clients"])


def test_poll_follows_in_another_event_loop(five_servers):
    clients = [asynchronous.Redis.from_url(five_servers[0].url)]
    wait = Poll(clients, ("BLPOP", "bell", "5"), 0.05, keep=True)
    asyncio.run(poll_awaiting(wait))
    assert asyncio.run(poll_awaiting(Poll(clients, ("PING",), 1, behind=wait))) == [b"PONG"]


def test_event_loops_are_forgotten_when_they_are_over(five_servers):
    clients = [asynchronous.Redis.from_url(server.url) for server in five_servers]
    for _ in range(3):
        assert asyncio.run(poll_awaiting(Poll(clients, ("PING",), 1))) == [b"PONG"] * 5
    gc.collect()
    assert not any(loop.is_closed() for loop in _poll_awaiting._loops)


def test_few_lines_are_kept_of_many_polls_at_once(five_servers):
    async def main():
        clients = [asynchronous.Redis.from_url(five_servers[0].url)]
        polls = (poll_awaiting(Poll(clients, ("BLPOP", "x", "0.3"), 5)) for _ in range(100))
        await asyncio.gather(*polls)
        return len((await _poll_awaiting._loop_store(clients[0])).free)

    assert 0 < asyncio.run(main()) <= MOST_FREE


def test_line_that_broke_is_not_kept(colour, five_servers):
    clients = colour.masters[:1]
    wait = waiting_at(colour, clients)
    with five_servers[0].client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    still = Poll(clients, (), 1, behind=wait, keep=True)
    assert isinstance(colour.perform(still)[0], RedisConnectionError)
    assert not still.lines


def test_waiting_takes_no_connection_of_the_pool(colour):
    colour.perform(Poll(colour.masters[:1], ("BLPOP", "nothing", "0.05"), 1))
    pool = colour.masters[0].connection_pool
    assert not pool._in_use_connections
    assert not pool._available_connections


@pytest.mark.parametrize("kind", [Blocking, Awaiting])
def test_line_by_tls_that_the_server_closed_is_not_used_again(kind, tmp_path):
    with server_with_tls(certified(tmp_path)) as server, opened(kind, [server]) as colour:
        test_line_that_the_server_closed_is_not_used_again(colour)


def test_line_that_the_server_closed_is_not_used_again(colour):
    client = colour.masters[0]
    assert colour.perform(Poll((client,), ("PING",), 1)) == [b"PONG"]
    colour.perform(Poll((client,), ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no"), 1))
    time.sleep(2 * STILL_GOOD)
    assert colour.perform(Poll((client,), ("PING",), 1)) == [b"PONG"]


def test_server_that_lets_nobody_in_votes_with_its_reason(five_servers):
    client = five_servers[0].client(username="nobody", password="wrong")
    (vote,) = poll_blocking(Poll((client,), ("PING",), 1))
    assert "invalid username-password" in str(vote).lower()


def test_no_threads_are_left_and_few_are_used_while_a_server_hangs(masters, stalled):
    before = threading.active_count()
    for _ in range(50):
        poll_blocking(Poll(masters, ("PING",), 0.5, enough=majority))
    assert threading.active_count() <= before + 10 * len(masters)
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_all_of_many_threads_are_let_in_at_once(five_servers):
    clients = [server.client() for server in five_servers]
    barrier, found = threading.Barrier(64), []

    def work():
        barrier.wait()
        found.append(poll_blocking(Poll(clients, ("PING",), 60)))

    threads = [threading.Thread(target=work) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[b"PONG"] * 5] * 64


def test_all_of_many_tasks_are_let_in_at_once_by_few_lines(five_servers):
    async def main():
        clients = [asynchronous.Redis.from_url(server.url) for server in five_servers]
        polls = (poll_awaiting(Poll(clients, ("PING",), 60)) for _ in range(200))
        return await asyncio.gather(*polls)

    with five_servers[0].client() as client:
        before = client.info("stats")["total_connections_received"]
        assert asyncio.run(main()) == [[b"PONG"] * 5] * 200
        assert client.info("stats")["total_connections_received"] - before < 150


def test_lines_are_hung_up_of_clients_that_are_gone(five_servers):
    async def poll_often():
        for _ in range(20):
            await poll_awaiting(Poll((asynchronous.Redis.from_url(url),), ("PING",), 1))
            gc.collect()
        return watcher.info("clients")["connected_clients"]

    url = five_servers[0].url
    with five_servers[0].client() as watcher:
        before = watcher.info("clients")["connected_clients"]
        for _ in range(20):
            poll_blocking(Poll((five_servers[0].client(),), ("PING",), 1))
        gc.collect()
        wait_until(lambda: watcher.info("clients")["connected_clients"] <= before)
        assert asyncio.run(poll_often()) < before + 5


@pytest.mark.usefixtures("stalled")
def test_client_is_forgotten_although_no_line_to_its_server_could_be_opened(five_servers):
    async def fail_awaiting():
        client = asynchronous.Redis.from_url(five_servers[0].url)
        for _ in range(2):  # the second time at once, as the server is left alone
            (vote,) = await poll_awaiting(Poll((client,), ("PING",), 0.02))
            assert isinstance(vote, RedisTimeoutError)
        return ref(client.connection_pool)

    async def main():
        pool = await fail_awaiting()
        await asyncio.sleep(0.1)  # until the last attempt is over
        gc.collect()
        assert pool() is None

    def fail_blocking():
        client = five_servers[0].client()
        for _ in range(3):
            (vote,) = poll_blocking(Poll((client,), ("PING",), 0.02))
            assert isinstance(vote, RedisTimeoutError)
            time.sleep(0.05)  # until the thread has given up, too
        return ref(client.connection_pool)

    asyncio.run(main())
    pool = fail_blocking()
    gc.collect()
    assert pool() is None


def test_failure_that_cannot_be_copied_is_told_as_one_of_the_connection():
    class Odd(Exception):
        def __init__(self, what, why):
            super().__init__(f"no {what} for {why}")

    store = Store()
    store.fail(time.monotonic(), 1, Odd("password", "ann"))
    assert isinstance(store.failure, RedisConnectionError)
    assert str(store.failure) == "no password for ann"


def test_lines_are_hung_up_before_the_garbage_collector_finds_them(five_servers):
    client = five_servers[0].client()
    poll_blocking(Poll((client,), ("PING",), 1))
    [line] = _poll_blocking._store(client).free
    assert line.connection._sock

    del client
    gc.collect()

    assert line.connection._sock is None


def test_line_is_hung_up_that_is_opened_while_its_event_loop_ends(five_servers):
    async def main(turns):
        client = asynchronous.Redis.from_url(five_servers[0].url)
        polling = asyncio.create_task(poll_awaiting(Poll((client,), ("PING",), 1)))
        for _ in range(turns):
            await asyncio.sleep(0)
        polling.cancel()
        await asyncio.sleep(random.uniform(0, 0.003))

    for number in range(200):
        asyncio.run(main(number % 20))
    gc.collect()  # so that what was not closed is reported here


def test_address_that_is_long_searched_for_delays_nobody(colour, monkeypatch):
    search = socket.getaddrinfo

    def search_long(host, *args, **kwargs):
        time.sleep(1)
        return search(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", search_long)
    poll = Poll(colour.masters[:1], ("PING",), 0.1)
    assert seconds(lambda: colour.perform(poll)) < 0.5
    time.sleep(1)  # so that the thread is gone


def test_poll_may_last_longer_than_the_system_can_be_told(five_servers):
    clients = [server.client() for server in five_servers[:2]]
    assert poll_blocking(Poll(clients, ("PING",), 1e7)) == [b"PONG"] * 2


def test_server_that_was_too_slow_for_one_poll_is_asked_by_a_more_patient_one(colour, five_servers):
    with five_servers[0].stall():
        for patience in (0.5, 0.01):  # the second time nobody tries
            [vote] = colour.perform(Poll(colour.masters[:1], ("PING",), patience))
            assert isinstance(vote, RedisTimeoutError)  # of the poll, or of its connection
        colour.perform(Poll(colour.masters[1:2], ("BLPOP", "x", "0.02"), 1))
    assert colour.perform(Poll(colour.masters[:1], ("PING",), 5)) == [b"PONG"]


def test_line_is_opened_for_who_insists_though_nobody_waits(colour, five_servers):
    with five_servers[0].client() as client:
        client.set("k", "v")
        with five_servers[0].stall():
            colour.perform(Poll(colour.masters[:1], ("DEL", "k"), 0.01, insist=True))
            colour.perform(Poll(colour.masters[1:], ("BLPOP", "x", "0.2"), 1))
        colour.perform(Poll(colour.masters[1:], ("BLPOP", "x", "0.2"), 1))
        assert not client.exists("k")


def test_late_reply_to_who_insists_is_not_taken_for_the_next_one(colour, five_servers):
    wait = ("BLPOP", "x", "0.3")
    with five_servers[0].stall():
        colour.perform(Poll(colour.masters[:1], wait, 0.01, insist=True))
    colour.perform(Poll(colour.masters[1:], ("BLPOP", "x", "0.15"), 1))  # meanwhile that was sent
    assert colour.perform(Poll(colour.masters[:1], ("ECHO", "mine"), 2)) == [b"mine"]


def test_many_threads_poll_at_once(masters):
    wrong = []

    def work(number):
        for _ in range(50):
            votes = poll_blocking(Poll(masters, ("ECHO", str(number)), 5))
            if votes != [str(number).encode()] * 5:
                wrong.append(votes)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_child_process_does_not_use_the_lines_of_its_parent(masters):
    poll_blocking(Poll(masters, ("PING",), 1))
    store = _poll_blocking._store(masters[0])

    def work():
        assert poll_blocking(Poll(masters, ("ECHO", "child"), 1)) == [b"child"] * 5
        assert _poll_blocking._store(masters[0]) is not store

    with forked(work):
        pass
    assert poll_blocking(Poll(masters, ("ECHO", "parent"), 1)) == [b"parent"] * 5


def test_cancelled_poll_leaves_no_reply_for_the_next(five_servers):
    async def main():
        clients = [asynchronous.Redis.from_url(server.url) for server in five_servers]
        wrong = 0
        for number in range(300):
            text = str(number).encode()
            task = asyncio.create_task(poll_awaiting(Poll(clients, ("ECHO", text), 1)))
            for _ in range(number % 12):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            check = b"check " + text
            wrong += await poll_awaiting(Poll(clients, ("ECHO", check), 1)) != [check] * 5
        await close(*clients)
        return wrong

    assert asyncio.run(main()) == 0


@pytest.mark.parametrize("insist", [False, True])
def test_busy_event_loop_is_not_taken_for_a_server_that_lets_nobody_in(five_servers, insist):
    async def main():
        async with asynchronous.Redis.from_url(five_servers[0].url) as client:
            polls = [Poll([client], ("PING",), 5) for _ in range(20)]
            others = [asyncio.create_task(poll_awaiting(poll)) for poll in polls]
            for _ in range(10):
                await asyncio.sleep(0)
            assert (await _poll_awaiting._loop_store(client)).waiting == len(others) - MOST_DIALLING
            time.sleep(0.1)  # noqa: ASYNC251 - the work of other tasks
            assert await poll_awaiting(Poll([client], ("PING",), 5, insist=insist)) == [b"PONG"]
            assert await asyncio.gather(*others) == [[b"PONG"]] * len(others)

    asyncio.run(main())


def test_steps_show_what_they_are():
    assert repr(Poll((None,), ("PING",), 1)) == "Poll(1 clients, ('PING',))"
    assert repr(Pause(0.5)) == "Pause(0.5)"


def test_event_loop_that_was_busy_leaves_no_server_alone(stalled, five_servers):
    async def blocked():
        client = asynchronous.Redis.from_url(stalled.url)
        asked = asyncio.create_task(poll_awaiting(Poll((client,), ("PING",), 0.4)))
        await asyncio.sleep(0.2)
        time.sleep(1.2)  # noqa: ASYNC251 - which is the fault
        resume(stalled)
        await asked
        votes = await poll_awaiting(Poll((client,), ("PING",), 1))
        await close(client)
        return votes

    assert asyncio.run(blocked()) == [b"PONG"]
