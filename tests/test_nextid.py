"""NextId and AIONextId: each ID once and rising, whatever becomes of the masters."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path

import clients
import pytest
import redis.asyncio as asynchronous
from clients import forked, killed, opened, stopped, wait_until
from redis import Redis
from redis.exceptions import ResponseError

import pottery
from pottery import (
    AIONextId,
    DecodeError,
    NextId,
    QuorumIsImpossible,
    QuorumNotAchieved,
    nextid,
)

KEY = "nextid:k"
# What pottery 3.0 runs at each master: the caller's last number plus one, if it is higher.
SET_OF_3_0 = """
local curr = tonumber(redis.call('get', KEYS[1]))
local next = tonumber(ARGV[1])
if curr == nil or curr < next then
  redis.call('set', KEYS[1], next)
  return next
else
  return nil
end
"""


class Blocking(clients.Blocking):
    """Takes IDs by blocking."""

    def ids(self, **options):
        return NextId(key="k", masters=self.masters, **options)

    def take(self, ids):
        return next(ids)


class Awaiting(clients.Awaiting):
    """Takes IDs by awaiting."""

    def ids(self, **options):
        return AIONextId(key="k", masters=self.masters, **options)

    def take(self, ids):
        return self.run(anext(ids))


@pytest.fixture(params=[Blocking, Awaiting])
def five(request, five_servers, masters):
    with opened(request.param, five_servers) as colour:
        yield colour


@pytest.fixture(params=[Blocking, Awaiting])
def one(request, server, redis):
    with opened(request.param, [server]) as colour:
        yield colour


@pytest.fixture
def awaiting(five_servers, masters):
    with opened(Awaiting, five_servers) as colour:
        yield colour


@pytest.fixture
def ids(masters):
    return NextId(key="k", masters=masters)


def numbers(masters):
    return [master.get(KEY) for master in masters]


def take(ids, how_many):
    return list(islice(ids, how_many))


def take_what_comes(ids, how_many):
    """Return what *how_many* calls give, without those that give none."""
    taken = []
    for _ in range(how_many):
        with suppress(QuorumNotAchieved):
            taken.append(next(ids))
    return taken


@pytest.fixture
def settled(monkeypatch):
    """Let masters that forgot learn at once."""
    monkeypatch.setattr(nextid, "_SETTLED", 0)


# --- the sequence


def test_ids_begin_at_one_and_rise_by_one(one, redis):
    ids = one.ids()
    assert [one.take(ids) for _ in range(4)] == [1, 2, 3, 4]
    assert int(redis.get(KEY)) == 4


def test_ids_are_read_in_each_wire_mode(any_redis):
    assert take(NextId(key="k", masters=[any_redis]), 2) == [1, 2]
    assert take(NextId(key="k", masters=[any_redis]), 2) == [3, 4]


def test_five_masters_give_the_same(five, masters):
    ids = five.ids()
    assert [five.take(ids) for _ in range(4)] == [1, 2, 3, 4]
    wait_until(lambda: numbers(masters) == [b"4"] * 5)  # a majority suffices


def test_another_object_goes_on(five):
    first, second = five.ids(), five.ids()
    taken = [five.take(ids) for _ in range(5) for ids in (first, second)]
    assert taken == list(range(1, 11))


def test_it_is_its_own_iterator():
    ids, later = NextId(masters=[Redis()]), AIONextId(masters=[asynchronous.Redis()])
    assert iter(ids) is ids
    assert aiter(later) is later


def test_async_for_takes_ids(awaiting):
    async def first_three(ids):
        taken = []
        async for one in ids:
            taken.append(one)
            if len(taken) == 3:
                break
        return taken

    assert awaiting.run(first_three(awaiting.ids())) == [1, 2, 3]


def test_default_client_and_key_are_used(redis):
    assert next(NextId()) == 1
    assert int(redis.get("nextid:current")) == 1


def test_names_of_pottery_3_are_kept():
    ids = NextId()
    assert (pottery.NextID, pottery.AIONextID) == (NextId, AIONextId)
    assert repr(ids) == "<NextId key=nextid:current>"
    assert (ids.key, ids.num_tries, ids.raise_on_redis_errors) == ("nextid:current", 3, False)
    assert len(ids.masters) == 1


def test_it_cannot_be_pickled():
    with pytest.raises(TypeError, match="cannot pickle 'NextId' object"):
        pickle.dumps(NextId())


@pytest.mark.parametrize("option", ["num_tries", "batch"])
def test_less_than_one_is_refused(option):
    with pytest.raises(ValueError, match="must be at least 1"):
        NextId(**{option: 0})


def test_all_masters_are_asked_at_once_and_once(ids, masters, commands):
    next(ids)
    with ExitStack() as stack:
        sent = [stack.enter_context(commands(master)) for master in masters]
        assert next(ids) == 2
    assert [len(one) for one in sent] == [1] * 5


def test_first_id_of_another_object_takes_two_rounds(five, masters, commands):
    five.take(five.ids())
    ids = five.ids()
    with commands(masters[0]) as sent:
        five.take(ids)
    assert len(sent) == 2


def test_one_master_is_asked_once_whoever_else_takes_ids(one, redis, commands):
    first, second = one.ids(), one.ids(batch=3)
    with commands(redis) as sent:
        taken = [one.take(ids) for _ in range(4) for ids in (first, second)]
    assert taken == [1, 2, 5, 3, 6, 4, 7, 8]
    assert len(sent) == 6


def test_one_master_that_forgot_repeats_no_id_of_an_object_that_remembers(one, redis):
    ids = one.ids()
    assert [one.take(ids), one.take(ids)] == [1, 2]
    redis.flushdb()
    assert one.take(ids) == 3
    assert one.take(one.ids()) == 4


# --- pottery 3.0 beside it


def test_what_pottery_3_left_is_gone_on_with(ids, masters):
    for master in masters[:3]:
        master.set(KEY, "41")
    for master in masters[3:]:
        master.set(KEY, "40")
    assert take(ids, 2) == [42, 43]


def test_pottery_3_goes_on_with_it(ids, masters):
    take(ids, 3)
    assert [master.eval(SET_OF_3_0, 1, KEY, 4) for master in masters] == [4] * 5
    assert next(ids) == 5


# --- what is not a number


@pytest.mark.parametrize("text", [b"", b"OK", b"x1", b"-1", b"1.5", b" 1", b"1e3"])
def test_foreign_value_is_refused(five, masters, text):
    for master in masters:
        master.set(KEY, text)
    with pytest.raises(DecodeError, match="'nextid:k' holds"):
        five.take(five.ids())
    assert numbers(masters) == [text] * 5


def test_foreign_value_is_refused_by_one_master(one, redis):
    redis.set(KEY, "OK")
    with pytest.raises(DecodeError):
        one.take(one.ids())


def test_key_of_another_type_is_refused(five, masters):
    masters[2].rpush(KEY, "x")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        five.take(five.ids())


def test_ids_end_where_lua_cannot_tell_them_apart(one, redis):
    redis.set(KEY, 2**53 - 3)
    ids = one.ids()
    assert [one.take(ids), one.take(ids)] == [2**53 - 2, 2**53 - 1]
    for _ in range(2):
        with pytest.raises(OverflowError, match="9007199254740991"):
            one.take(ids)
    assert int(redis.get(KEY)) == 2**53 - 1


def test_who_asks_for_more_ids_than_are_left_takes_none(one, redis):
    redis.set(KEY, 2**53 - 3)
    ids = one.ids(batch=5)
    for _ in range(2):
        with pytest.raises(OverflowError, match="the last ID is 9007199254740989,"):
            one.take(ids)
    ids.batch = 1
    assert one.take(ids) == 2**53 - 2


@pytest.mark.parametrize("last", [2**53, 10**17, 10**400])
def test_number_beyond_the_end_is_no_endless_loop(one, redis, last):
    redis.set(KEY, str(last))
    with pytest.raises(OverflowError):
        one.take(one.ids())


# --- reset


def test_reset_begins_anew(five, masters):
    ids = five.ids(batch=10)
    five.take(ids)
    five.run(ids.reset())
    assert numbers(masters) == [None] * 5
    assert five.take(ids) == 1


def test_reset_needs_all_masters_and_else_does_nothing(five, masters, five_servers):
    ids = five.ids()
    five.take(ids)
    with killed(five_servers[0]):
        with pytest.raises(QuorumNotAchieved, match="can only be reset at all of its masters"):
            five.run(ids.reset())
        assert numbers(masters[1:]) == [b"1"] * 4
        assert five.take(ids) == 2


# --- masters that are gone


@pytest.mark.parametrize("trouble", [killed, stopped])
@pytest.mark.parametrize("how_many", [1, 2])
def test_minority_of_masters_is_not_needed(five, five_servers, trouble, how_many):
    ids = five.ids()
    five.take(ids)
    with trouble(*five_servers[:how_many]):
        began = time.monotonic()
        taken = [five.take(ids) for _ in range(20)]
        assert time.monotonic() - began < 3
    taken.append(five.take(ids))
    assert taken == sorted(set(taken))
    assert taken[-1] in (22, 23)  # one may have been left out, for which a busy machine was late


def test_masters_that_hung_vote_as_soon_as_they_are_back(five, five_servers):
    ids = five.ids()
    five.take(ids)
    with stopped(*five_servers[:2]):
        assert five.take(ids) == 2
    with stopped(*five_servers[3:]):
        assert five.take(five.ids()) == 3


@pytest.mark.parametrize("trouble", [killed, stopped])
def test_without_a_majority_there_is_no_id(five, five_servers, masters, trouble):
    ids = five.ids()
    five.take(ids)
    with trouble(*five_servers[:3]):
        began = time.monotonic()
        with pytest.raises(QuorumNotAchieved, match="'nextid:k' got no majority") as raised:
            five.take(ids)
        assert time.monotonic() - began < 6
        assert len(raised.value.redis_errors) == 3
        with pytest.raises(QuorumIsImpossible):
            five.take(five.ids(raise_on_redis_errors=True))


def test_ids_go_on_when_a_majority_is_back(five, five_servers):
    ids = five.ids()
    five.take(ids)
    with stopped(*five_servers[:3]), pytest.raises(QuorumNotAchieved):
        five.take(ids)
    assert five.take(ids) > 1


def test_majority_that_comes_back_empty_issues_nothing_until_it_is_told(five, masters):
    ids = five.ids()
    for _ in range(5):
        five.take(ids)
    for master in masters[:3]:
        master.flushall()
    with pytest.raises(QuorumNotAchieved, match="masters without a number: 3"):
        five.take(ids)
    for master in masters:
        master.set(KEY, 100)
    assert five.take(ids) == 101


def test_number_of_tries_can_be_chosen(ids, five_servers):
    next(ids)
    with stopped(*five_servers[:3]):
        ids.num_tries = 1
        began = time.monotonic()
        with pytest.raises(QuorumNotAchieved):
            next(ids)
        assert time.monotonic() - began < 1.5


def test_first_id_takes_all_masters(five, five_servers):
    with killed(five_servers[0]):
        with pytest.raises(QuorumNotAchieved, match="the first ID takes all of them") as raised:
            five.take(five.ids())
        assert len(raised.value.redis_errors) == 2
    assert five.take(five.ids()) == 1


def test_first_use_that_was_interrupted_is_finished_by_the_next(five, masters):
    masters[0].set(KEY, "0")
    masters[1].set(KEY, "rec:d0ne:1")
    assert five.take(five.ids()) == 1
    assert numbers(masters) == [b"1"] * 5


def test_first_use_by_many_at_once_issues_each_id_once(masters):
    for _ in range(20):
        for master in masters:
            master.delete(KEY)
        with ThreadPoolExecutor(8) as pool:
            taken = list(pool.map(lambda _: next(NextId(key="k", masters=masters)), range(8)))
        assert len(set(taken)) == 8


# --- masters that forget


def test_masters_that_come_back_empty_learn_from_the_others(five, masters, settled):
    ids = five.ids()
    for _ in range(5):
        five.take(ids)
    for master in masters[:2]:
        master.flushall()
    assert five.take(ids) == 6
    assert numbers(masters) == [None] * 2 + [b"6"] * 3
    for last in range(7, 27):
        assert five.take(ids) == last
        if numbers(masters) == [b"%d" % last] * 5:
            break
    else:
        pytest.fail("those that forgot have not learned")


def test_masters_that_come_back_empty_wait_before_they_learn(five, masters):
    five.take(five.ids())
    masters[0].flushall()
    for last in (2, 3):
        assert five.take(five.ids()) == last
    mark = numbers(masters)[0]
    assert mark.startswith(b"rec:")
    for text in (mark, mark.replace(mark[-5:], b"00000")):
        masters[0].set(KEY, text)
        five.take(five.ids())
    assert numbers(masters) == [b"5"] * 5


def test_master_that_forgot_does_not_vote(five, masters, five_servers):
    ids = five.ids()
    for _ in range(5):
        five.take(ids)
    masters[0].flushall()
    with (
        stopped(*five_servers[3:]),
        pytest.raises(QuorumNotAchieved, match="masters without a number: 1"),
    ):
        five.take(five.ids())
    assert five.take(five.ids()) > 5


@pytest.mark.slow
def test_changing_minorities_issue_no_id_twice(masters, five_servers):
    """One sees {0, 1, 2}, of which 0 then forgets, and another sees {0, 3, 4}."""
    taken = take(NextId(key="k", masters=masters), 5)
    for _ in range(3):
        with stopped(*five_servers[3:]):
            taken += take(NextId(key="k", masters=masters), 5)
        five_servers[0].kill()
        five_servers[0].start()
        with stopped(*five_servers[1:3]):
            fewer = NextId(key="k", masters=masters, num_tries=1)
            taken += take_what_comes(fewer, 2)
        taken += take(NextId(key="k", masters=masters), 5)
        time.sleep(3.1)
        taken += take(NextId(key="k", masters=masters), 5)
    assert taken == sorted(set(taken))


def test_object_goes_on_where_it_was_after_all_masters_forgot(five, masters):
    ids = five.ids()
    for _ in range(5):
        five.take(ids)
    for master in masters:
        master.flushall()
    assert five.take(ids) == 6
    assert five.take(five.ids()) == 7


# --- replies that are lost


@pytest.mark.parametrize("kind", [Blocking, Awaiting])
def test_lost_replies_make_holes_and_nothing_else(kind, masters, five_servers):
    with ExitStack() as stack:
        proxies = [stack.enter_context(server.proxy()) for server in five_servers]
        colour = kind(proxies)
        ids = colour.ids()
        taken = [colour.take(ids)]
        for number in range(40):
            for proxy in proxies[: number % 6]:
                proxy.drop_reply()
            taken.append(colour.take(ids))
        colour.close()
    assert taken == sorted(set(taken))
    assert taken[-1] > 41  # there are holes, so replies were lost


# --- many at once


def falling(history):
    """Return the calls that began after a higher ID, or the same, was had."""
    ends = sorted(history, key=lambda call: call[1])
    wrong, highest, finished = [], 0, iter(ends)
    ended = next(finished)
    for call in sorted(history):
        while ended and ended[1] < call[0]:
            highest = max(highest, ended[2])
            ended = next(finished, None)
        if call[2] <= highest:
            wrong.append(call)
    return wrong


def take_and_note(ids, how_many):
    """Take IDs; return when each call began, when it ended, and what it gave."""
    history = []
    for _ in range(how_many):
        began = time.monotonic()
        one = next(ids)
        history.append((began, time.monotonic(), one))
    return history


def work_in_threads(ids, threads, how_many):
    with ThreadPoolExecutor(threads) as pool:
        work = [pool.submit(take_and_note, ids, how_many) for _ in range(threads)]
        return [call for done in work for call in done.result()]


def work_in_process(urls, threads, how_many):
    with ExitStack() as stack:
        masters = [stack.enter_context(Redis.from_url(url)) for url in urls]
        return work_in_threads(NextId(key="k", masters=masters), threads, how_many)


def assert_right(history):
    taken = [one for _, _, one in history]
    assert len(set(taken)) == len(taken)
    assert not falling(history)


def test_history_shows_what_is_wrong():
    assert not falling([(0, 1, 1), (2, 3, 2), (2, 5, 9), (4, 5, 3)])
    assert falling([(0, 1, 2), (2, 3, 1)]) == [(2, 3, 1)]
    assert falling([(0, 1, 1), (2, 3, 1)]) == [(2, 3, 1)]


@pytest.mark.parametrize("how_many_masters", [1, 3, 5])
def test_threads_that_share_an_object_leave_no_holes(masters, how_many_masters):
    ids = NextId(key="k", masters=masters[:how_many_masters])
    history = work_in_threads(ids, 8, 200)
    assert_right(history)
    assert max(history, key=lambda call: call[2])[2] == 1600


def test_threads_are_served_together(ids, masters, commands):
    next(ids)
    with commands(masters[0]) as sent:
        work_in_threads(ids, 16, 50)
    assert len(sent) < 400  # of 800


def test_threads_share_batches(masters):
    ids = NextId(key="k", masters=masters, batch=50)
    history = work_in_threads(ids, 8, 500)
    assert_right(history)
    assert {one for _, _, one in history} == set(range(1, 4001))


@pytest.mark.slow
def test_processes_issue_each_id_once_and_rising(masters, five_servers):
    urls = [server.url for server in five_servers]
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        work = [pool.submit(work_in_process, urls, 3, 100) for _ in range(4)]
        history = [call for done in work for call in done.result()]
    assert len(history) == 1200
    assert_right(history)


@pytest.mark.slow
def test_processes_issue_each_id_once_while_masters_come_and_go(masters, five_servers):
    urls = [server.url for server in five_servers]
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        work = [pool.submit(work_in_process, urls, 2, 1500) for _ in range(3)]
        for number in count():
            # A server that was killed comes back empty, and needs some seconds before it votes.
            trouble = killed if number % 20 == 3 else stopped
            with trouble(five_servers[number % 5]):
                time.sleep(0.1)
            time.sleep(0.2)
            if all(done.done() for done in work):
                break
        history = [call for done in work for call in done.result()]
    assert number > 3
    assert len(history) == 9000
    assert_right(history)


def test_child_process_does_not_use_what_its_parent_has_reserved(masters):
    ids = NextId(key="k", masters=masters[:1], batch=10)
    assert take(ids, 3) == [1, 2, 3]
    reading, writing = os.pipe()
    with forked(lambda: os.write(writing, bytes(take(ids, 2)))):
        pass
    assert list(os.read(reading, 8)) == [11, 12]
    assert take(ids, 2) == [4, 5]


def test_child_process_does_not_wait_for_threads_of_its_parent(ids):
    next(ids)
    ids._memory.together._leader = object()  # a thread that asks just now

    def work():
        assert next(ids) == 2

    with forked(work):
        pass


# --- one who asks for others fails


def test_failure_of_one_who_asks_for_others_is_theirs_too(ids, five_servers):
    next(ids)
    with stopped(*five_servers[:3]):
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            work = [pool.submit(next, ids) for _ in range(8)]
            for done in work:
                with pytest.raises(QuorumNotAchieved):
                    done.result()
        assert time.monotonic() - began < 15  # at most those before and those after


@pytest.mark.slow
def test_interrupt_of_one_who_asks_for_others_does_not_stop_them(five_servers, masters):
    program = Path(__file__).with_name("interrupted_ids.py")
    urls = [server.url for server in five_servers]
    done = subprocess.run([sys.executable, program, *urls], capture_output=True, check=True)
    interrupts, stuck, wrong = map(int, done.stdout.split())
    assert interrupts > 300
    assert (stuck, wrong) == (0, 0)


def test_cancelled_tasks_do_not_stop_the_others(awaiting):
    async def main(ids):
        taken = [await anext(ids)]
        for number in range(100):
            tasks = [asyncio.ensure_future(anext(ids)) for _ in range(6)]
            for _ in range(number % 10):
                await asyncio.sleep(0)
            cancelled = tasks.pop(number % 3)
            cancelled.cancel()
            taken += await asyncio.wait_for(asyncio.gather(*tasks), 10)
            await asyncio.wait([cancelled])
        return taken

    taken = awaiting.run(main(awaiting.ids()))
    assert len(taken) == 501
    assert taken == sorted(set(taken))  # tasks are served in the order in which they came


def test_tasks_are_served_together(awaiting, masters, commands):
    async def main(ids):
        return [await anext(ids), *await asyncio.gather(*(anext(ids) for _ in range(100)))]

    with commands(masters[0]) as sent:
        taken = awaiting.run(main(awaiting.ids()))
    assert taken == list(range(1, 102))
    assert len(sent) <= 6  # four of them for the first ID


# --- batches


def test_batch_takes_a_round_trip_for_all_of_it(masters, commands):
    ids = NextId(key="k", masters=masters, batch=100)
    next(ids)
    with commands(masters[0]) as sent:
        assert take(ids, 99) == list(range(2, 101))
        assert not sent
        assert next(ids) == 101
    assert len(sent) == 1


def test_batches_of_two_objects_do_not_overlap(five):
    first, second = five.ids(batch=3), five.ids(batch=3)
    taken = [five.take(ids) for _ in range(6) for ids in (first, second)]
    assert sorted(taken) == list(range(1, 13))
    assert taken[::2] == sorted(taken[::2])


def test_tasks_share_batches(awaiting):
    async def take_many(ids):
        return await asyncio.gather(*(anext(ids) for _ in range(25)))

    taken = awaiting.run(take_many(awaiting.ids(batch=10)))
    assert sorted(taken) == list(range(1, 26))


@pytest.mark.slow
def test_a_million_ids_in_batches_take_a_thousand_round_trips(masters):
    for master in masters:
        master.config_resetstat()
    ids = NextId(key="k", masters=masters, batch=1000)
    for one, expected in zip(ids, count(1), strict=False):
        assert one == expected
        if one == 1_000_000:
            break
    for master in masters:
        # And a few, where a master is late.
        assert master.info("commandstats")["cmdstat_eval"]["calls"] < 1100
