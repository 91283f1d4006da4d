"""What is special about RedisSimpleQueue and AIORedisSimpleQueue."""

from __future__ import annotations

import asyncio
import gc
import inspect
import queue
import random
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

import pytest
from clients import close, forked, seconds
from redis import BlockingConnectionPool, ConnectionPool, Redis, RedisCluster
from redis import asyncio as asynchronous
from redis.backoff import ConstantBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ResponseError
from redis.retry import Retry
from test_format import raw_bytes

from pottery import (
    AIORedisSimpleQueue,
    DecodeError,
    OutcomeUnknown,
    QueueEmptyError,
    RedisSimpleQueue,
)
from pottery import queue as module
from pottery._caller import Caller
from pottery.queue import DOUBTS, PUT, RETURN, TAKE
from pottery.testing import FaultyProxy, RedisServer


@pytest.fixture(autouse=True)
def no_doubts():
    """Leave nothing in doubt that other tests would have to give back."""
    yield
    DOUBTS.clear()


@pytest.fixture
def proxy(server):
    with FaultyProxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def lossy(redis, proxy):
    """A queue whose client's replies can be lost, and which connected already."""
    database = redis.connection_pool.connection_kwargs.get("db") or 0
    with Redis(port=proxy.port, db=database) as client:
        client.ping()
        yield RedisSimpleQueue(redis=client, key="q")


def items_of(it):
    """Take what is there."""
    found = []
    with suppress(queue.Empty):
        while True:
            found.append(it.get_nowait())
    return found


@contextmanager
def later(function, *args, after):
    """Call it after some seconds; its client has to live until it has returned."""
    timer = threading.Timer(after, function, args)
    timer.start()
    yield
    timer.join()


@contextmanager
def waiting(it, count=1, **options):
    """Let threads wait at a queue, one after the other; give their numbers and their items."""
    got, threads = [], []

    def wait(number):
        with suppress(RedisConnectionError):
            got.append((number, it.get(**options)))

    for number in range(count):
        threads.append(threading.Thread(target=wait, args=(number,), daemon=True))
        threads[-1].start()
        until(lambda number=number: blocked(it.redis) > number)
    yield got
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def blocked(client):
    if isinstance(client, RedisCluster):
        nodes = client.info("clients", target_nodes="primaries").values()
        return sum(int(node["blocked_clients"]) for node in nodes)
    return int(client.info("clients")["blocked_clients"])


def until(condition, patience=10.0):
    end = monotonic() + patience
    while not condition():
        assert monotonic() < end
        sleep(0.005)


# --- as the standard library


def test_items_come_out_as_they_went_in(any_redis):
    it = RedisSimpleQueue(redis=any_redis, key="q")
    items = [1, "é", None, [1, {"a": 2.5}], "\ud800", 10**30, {}, ""]
    for item in items:
        it.put(item)
    assert (it.qsize(), it.empty()) == (len(items), False)
    assert [it.get() for _ in items] == items
    assert (it.qsize(), it.empty()) == (0, True)
    with pytest.raises(queue.Empty):
        it.get(timeout=0.05)


@pytest.mark.parametrize(
    "arguments",
    [
        {"timeout": -1},
        {"timeout": -0.001},
        {"timeout": "x"},
        {"timeout": float("nan")},
        {"timeout": 1e30},
        {"timeout": 10**30},
        {"block": False},
        {"block": False, "timeout": -1},
        {"block": 0, "timeout": "x"},
        {"block": True, "timeout": 0},
    ],
)
def test_arguments_of_get_mean_what_they_mean_in_python(redis, arguments):
    theirs, ours = queue.SimpleQueue(), RedisSimpleQueue(redis=redis, key="q")
    with pytest.raises(Exception) as expected:
        theirs.get(**arguments)
    with pytest.raises(expected.type) as found:
        ours.get(**arguments)
    if expected.type is not queue.Empty:
        assert str(found.value) == str(expected.value)
    assert ours.empty()


def test_timeout_may_be_anything_that_is_an_integer_to_python(redis):
    class Second:
        def __index__(self):
            return 1

    it = RedisSimpleQueue(redis=redis, key="q")
    with later(it.put, "a", after=0.2):
        assert it.get(timeout=Second()) == "a"


def test_put_takes_arguments_that_it_does_not_heed(redis):
    it = RedisSimpleQueue(redis=redis, key="q")
    it.put("a", False, -1)
    it.put("b", block=True, timeout="x")
    it.put_nowait("c")
    assert items_of(it) == ["a", "b", "c"]


@pytest.mark.parametrize("kind", [RedisSimpleQueue, AIORedisSimpleQueue])
@pytest.mark.parametrize("name", ["put", "put_nowait", "get", "get_nowait", "qsize", "empty"])
def test_signatures_are_those_of_python(kind, name):
    ours = inspect.signature(getattr(kind, name)).parameters.values()
    theirs = inspect.signature(getattr(queue._PySimpleQueue, name)).parameters.values()
    assert [(one.name, one.kind, one.default) for one in ours] == [
        (one.name, one.kind, one.default) for one in theirs
    ]


def test_queue_is_true_and_has_no_length_and_no_iterator(redis):
    it = RedisSimpleQueue(redis=redis, key="q")
    assert it
    for operation in (len, iter):
        with pytest.raises(TypeError):
            operation(it)


def test_empty_queue_raises_an_error_that_names_it(redis):
    it = RedisSimpleQueue(redis=redis, key="cars")
    for call in (it.get_nowait, lambda: it.get(block=False), lambda: it.get(timeout=0.01)):
        with pytest.raises(QueueEmptyError, match="'cars' has no item") as caught:
            call()
        assert (caught.value.redis, caught.value.key) == (redis, "cars")


@pytest.mark.parametrize("item", [b"x", {1}, object()])
def test_what_json_cannot_spell_is_refused_before_anything_is_sent(redis, commands, item):
    it = RedisSimpleQueue(redis=redis, key="q")
    with commands(redis) as sent:
        for put in (it.put, it.put_nowait):
            with pytest.raises(TypeError):
                put(item)
    assert sent == []


def test_two_objects_with_one_key_are_one_queue_and_temporary_ones_are_not(redis):
    RedisSimpleQueue(redis=redis, key="q").put(1)
    assert RedisSimpleQueue(redis=redis, key="q").get_nowait() == 1
    RedisSimpleQueue(redis=redis).put(1)
    assert RedisSimpleQueue(redis=redis).empty()


def test_clear_removes_items_also_those_that_came_back(redis):
    it = RedisSimpleQueue(redis=redis, key="q")
    redis.xadd("q", {"item": "{"})
    with pytest.raises(DecodeError):
        it.get()
    it.put(1)
    assert it.qsize() == 2
    it.clear()
    assert it.empty()
    assert items_of(it) == []
    it.put(2)
    assert items_of(it) == [2]


@pytest.mark.parametrize("key", ["q", b"q\xff", "{tag}:q"])
def test_keys_beside_the_queue_extend_its_key_and_but_for_returned_items_expire(redis, key):
    it = RedisSimpleQueue(redis=redis, key=key)
    for _ in range(3):
        it.put(1)
        it.get()
        with pytest.raises(QueueEmptyError):
            it.get(timeout=0.01)
    name = key if isinstance(key, bytes) else key.encode()
    beside = [one for one in raw_bytes(redis).scan_iter() if one != name]
    assert len(beside) == 2
    assert all(one.startswith(name + b"~") and redis.pttl(one) > 0 for one in beside)


def test_records_are_as_many_as_operations_at_one_time_and_not_as_queues_or_calls(redis):
    for _ in range(50):
        it = RedisSimpleQueue(redis=redis, key="q")
        it.put(1)
        it.get()
    assert len(redis.keys("q~*")) == 1


def test_idle_consumer_keeps_no_copy_of_its_last_item(redis):
    it = RedisSimpleQueue(redis=redis, key="q")
    it.put("x" * 100_000)
    it.get()
    with pytest.raises(QueueEmptyError):
        it.get(timeout=0.01)
    assert sum(redis.strlen(key) for key in redis.keys("q~*")) < 100


def test_temporary_queue_goes_with_what_came_back(redis):
    it = RedisSimpleQueue(redis=redis)
    redis.xadd(it.key, {"item": "{"})
    with pytest.raises(DecodeError):
        it.get()
    assert redis.exists(it.key, it._companion("returned")) == 2
    names = it.key, it._companion("returned")
    del it
    gc.collect()
    RedisSimpleQueue(redis=redis, key="another").empty()
    assert redis.exists(*names) == 0


# --- as pottery 3.0 stores it


def test_stored_as_pottery_3_does(redis):
    RedisSimpleQueue(redis=redis, key="q").put({"b": 1, "a": "é"})
    ((_, fields),) = raw_bytes(redis).xrange("q")
    assert fields == {b"item": b'{"a": "\\u00e9", "b": 1}'}


def test_entries_of_pottery_3_are_got_in_order_and_deleted(redis):
    it = RedisSimpleQueue(redis=redis, key="q")
    redis.xadd("q", {"item": "1"})
    it.put(2)
    redis.xadd("q", {"item": "3"})
    assert items_of(it) == [1, 2, 3]
    assert redis.xlen("q") == 0


def test_waiting_consumer_notices_within_about_a_second_what_pottery_3_puts(redis):
    it = RedisSimpleQueue(redis=redis, key="q")
    for _ in range(2):
        with later(redis.xadd, "q", {"item": '"old"'}, after=0.3):
            assert seconds(lambda: it.get() == "old") < 1.5


def test_consumers_that_wait_share_a_burst_of_what_pottery_3_puts(redis):
    with waiting(RedisSimpleQueue(redis=redis, key="q"), 5) as got:
        for number in range(5):
            redis.xadd("q", {"item": str(number)})
        until(lambda: len(got) == 5, 2.5)
    assert sorted(item for _, item in got) == [0, 1, 2, 3, 4]


# --- what cannot be decoded


@pytest.mark.parametrize("text", ["{", "", "\xff", "[" * 10_000])
def test_item_that_is_no_json_stays_the_first(redis, text):
    it = RedisSimpleQueue(redis=redis, key="q")
    raw = text.encode("latin-1")
    redis.xadd("q", {"item": raw})
    it.put("good")
    for get in (it.get, it.get_nowait, lambda: it.get(timeout=1)):
        with pytest.raises(DecodeError) as caught:
            get()
        assert (caught.value.key, caught.value.raw) == ("q", raw)
    assert it.qsize() == 2
    raw_bytes(redis).zpopmin("q~returned")
    assert items_of(it) == ["good"]


def test_item_that_is_no_json_leaves_no_more_records_however_often_it_is_met(redis):
    it = RedisSimpleQueue(redis=redis, key="q")
    redis.xadd("q", {"item": "{"})
    for _ in range(50):
        with pytest.raises(DecodeError):
            it.get()
    it.put(1)
    assert it.qsize() == 2
    assert len(redis.keys("q~*")) == 2  # the record and the item


def test_entry_without_an_item_stays_where_it_is(redis):
    it = RedisSimpleQueue(redis=redis, key="q")
    entry = redis.xadd("q", {"strange": "fields", "a": "b"})
    for _ in range(2):
        with pytest.raises(DecodeError) as caught:
            it.get()
        assert caught.value.raw == b"strange fields a b"
    assert it.qsize() == 1
    redis.xdel("q", entry)
    assert it.empty()


def test_key_of_another_type_is_redis_error(redis):
    redis.set("q", "text")
    it = RedisSimpleQueue(redis=redis, key="q")
    for call in (lambda: it.put(1), it.get, it.get_nowait, it.qsize, it.empty):
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            call()
    assert raw_bytes(redis).keys() == [b"q"]
    assert not DOUBTS


# --- waiting


@pytest.mark.parametrize("timeout", [0.05, 0.3, 1.1])
def test_timeout_is_kept(redis, timeout):
    it = RedisSimpleQueue(redis=redis, key="q")

    def get():
        with pytest.raises(QueueEmptyError):
            it.get(timeout=timeout)

    get()
    for _ in range(5):  # this process may be kept waiting by others
        took = seconds(get)
        assert timeout <= took
        if took < timeout + 0.05:
            break
    assert took < timeout + 0.05


def test_socket_timeout_of_the_client_does_not_end_a_wait(server, redis):
    with server.client(socket_timeout=0.1, retry=Retry(NoBackoff(), 0)) as client:
        it = RedisSimpleQueue(redis=client, key="q")
        with later(RedisSimpleQueue(redis=redis, key="q").put, "x", after=0.7):
            assert it.get() == "x"


def test_get_that_does_not_block_asks_once(redis, commands):
    it = RedisSimpleQueue(redis=redis, key="q")
    it.empty()
    with suppress(QueueEmptyError):
        it.get_nowait()
    for get in (it.get_nowait, lambda: it.get(False, 5), lambda: it.get(timeout=0)):
        with commands(redis) as sent, pytest.raises(QueueEmptyError):
            get()
        assert [words[0] for words in sent] == ["EVALSHA"]


def test_idle_consumer_does_not_write(redis):
    it = RedisSimpleQueue(redis=redis, key="q")
    with waiting(it) as got:
        before = redis.info("persistence")["rdb_changes_since_last_save"]
        sleep(2.3)
        assert redis.info("persistence")["rdb_changes_since_last_save"] == before
        it.put(1)
    assert got == [(0, 1)]


def test_who_has_waited_longest_is_served_first_however_long(redis):
    it = RedisSimpleQueue(redis=redis, key="q")
    with waiting(it, 6) as got:
        sleep(2.4)  # each has looked twice by then
        for number in range(6):
            it.put(number)
            until(lambda number=number: len(got) > number)
    assert got == [(number, number) for number in range(6)]


def test_burst_of_items_wakes_all_for_whom_there_is_one(redis):
    it = RedisSimpleQueue(redis=redis, key="q")
    with waiting(it, 8) as got:
        began = monotonic()
        for number in range(8):
            it.put(number)
        until(lambda: len(got) == 8)
        assert monotonic() - began < 0.8
    assert sorted(item for _, item in got) == [*range(8)]


def test_hundred_consumers_wait_without_the_connection_of_the_pool(server, redis):
    pool = ConnectionPool.from_url(server.url, max_connections=1)
    it = RedisSimpleQueue(redis=Redis(connection_pool=pool), key="q")
    got = []
    threads = [threading.Thread(target=lambda: got.append(it.get())) for _ in range(100)]
    for thread in threads:
        thread.start()
    until(lambda: blocked(redis) == 100)
    began = monotonic()
    for number in range(100):
        it.put(number)
        sleep(0.03)  # some look in between, all of them more than once
    for thread in threads:
        thread.join(20)
    assert sorted(got) == [*range(100)]
    assert monotonic() - began < 10
    pool.disconnect()


def test_waiter_needs_no_more_than_a_pool_that_blocks(server, redis):
    pool = BlockingConnectionPool.from_url(server.url, max_connections=1, timeout=5)
    it = RedisSimpleQueue(redis=Redis(connection_pool=pool), key="q")
    with waiting(it, 1) as got:
        it.put("x")
    assert got == [(0, "x")]
    pool.disconnect()


def test_user_who_may_not_wait_looks_again_and_again(server, redis):
    redis.execute_command("ACL SETUSER", "guest", "on", "nopass", "~*", "+@all", "-blpop")
    with server.client(username="guest", password="any") as client:
        it = RedisSimpleQueue(redis=client, key="q")
        with later(RedisSimpleQueue(redis=redis, key="q").put, 1, after=0.3):
            assert seconds(lambda: it.get(timeout=5)) < 1
        before = redis.info("stats")["total_commands_processed"]
        with suppress(QueueEmptyError):
            it.get(timeout=1)
        # Those that scripts run are counted, too.
        assert redis.info("stats")["total_commands_processed"] - before < 100
    redis.execute_command("ACL DELUSER", "guest")


def test_error_that_will_not_pass_is_raised_at_once(server, redis):
    redis.execute_command("ACL SETUSER", "guest", "on", "nopass", "~other", "+@all")
    with server.client(username="guest", password="any") as client:
        it = RedisSimpleQueue(redis=client, key="q")
        for call in (it.get, lambda: it.put(1), it.get_nowait):
            with pytest.raises((NoPermissionError, ResponseError)):
                call()
    redis.execute_command("ACL DELUSER", "guest")
    assert not DOUBTS


def test_wake_up_is_not_lost_with_the_one_who_was_woken(redis, server):
    it = RedisSimpleQueue(redis=redis, key="q")
    with server.client() as client, waiting(it, 1) as got:
        # Somebody takes the ring, and dies of it.
        until(lambda: client.pttl("q~waiting") > 0)
        client.rpush("q~bell", "1")
        client.delete("q~bell")
        client.xadd("q", {"item": "1"})
        until(lambda: got, 2)


# --- lost replies, at each step


@pytest.mark.parametrize("losses", [1, 2, 5])
def test_put_whose_reply_was_lost_puts_once(redis, lossy, proxy, losses):
    lossy.put("a")
    proxy.drop_reply(losses)
    lossy.put("b")
    lossy.put("c")
    assert items_of(RedisSimpleQueue(redis=redis, key="q")) == ["a", "b", "c"]


@pytest.mark.parametrize("losses", [1, 2, 5])
@pytest.mark.parametrize("arguments", [(False,), (), (True, 1)])
def test_get_whose_reply_was_lost_gets_the_item(redis, lossy, proxy, losses, arguments):
    for item in "abc":
        lossy.put(item)
    got = [lossy.get()]
    proxy.drop_reply(losses)
    got += [lossy.get(*arguments), lossy.get(*arguments)]
    assert got == ["a", "b", "c"]
    assert lossy.empty()


def test_get_from_an_empty_queue_whose_reply_was_lost_takes_nothing_later(redis, lossy, proxy):
    proxy.drop_reply()
    with pytest.raises(QueueEmptyError):
        lossy.get_nowait()
    # The same command once more, as if a dead connection had only now brought it to the server.
    caller = Caller.lease()
    caller.free()
    lossy.put(1)
    late = iter(TAKE(lossy._keys(caller.name), (f"{caller.number - 1:016d}", "look")))
    assert redis.execute_command(*next(late).args) is None
    assert lossy.get_nowait() == 1


def test_put_that_never_gets_through_says_that_it_ran_or_not(redis, lossy, proxy):
    proxy.drop_reply(1000)
    with pytest.raises(OutcomeUnknown) as caught:
        lossy.put("a")
    proxy.drop_reply(0)
    assert caught.value.key == "q"
    assert isinstance(caught.value.__cause__, RedisConnectionError)
    assert items_of(RedisSimpleQueue(redis=redis, key="q")) == ["a"]


@pytest.mark.parametrize("arguments", [(False,), (), (True, 1)])
def test_get_that_never_gets_through_loses_nothing(redis, lossy, proxy, arguments):
    lossy.put("a")
    lossy.put("b")
    proxy.drop_reply(1000)
    with pytest.raises(RedisConnectionError) as caught:
        lossy.get(*arguments)
    proxy.drop_reply(0)
    assert not isinstance(caught.value, OutcomeUnknown)
    assert len(DOUBTS) == 1
    assert lossy.qsize() == 2
    assert not DOUBTS
    assert items_of(lossy) == ["a", "b"]


@pytest.fixture
def guest(redis, proxy):
    """A queue like `lossy`, whose user can be forbidden to run scripts."""
    redis.execute_command("ACL SETUSER", "guest", "on", "nopass", "~*", "+@all")
    database = redis.connection_pool.connection_kwargs.get("db") or 0
    with Redis(port=proxy.port, db=database, username="guest", password="any") as client:
        yield RedisSimpleQueue(redis=client, key="q")
    redis.execute_command("ACL DELUSER", "guest")


@contextmanager
def refused_after_losses(redis, proxy):
    """Lose the replies to a command that runs, and have it refused when it is sent again."""

    def forbid():
        until(lambda: proxy.lost > lost)
        redis.execute_command("ACL SETUSER", "guest", "-evalsha")

    lost = proxy.lost
    thread = threading.Thread(target=forbid)
    thread.start()
    proxy.drop_reply(4)
    yield
    thread.join()
    proxy.drop_reply(0)
    redis.execute_command("ACL SETUSER", "guest", "+evalsha")


def test_put_that_is_refused_after_a_lost_reply_may_have_run(redis, guest, proxy):
    guest.put("a")
    with refused_after_losses(redis, proxy), pytest.raises(OutcomeUnknown) as caught:
        guest.put("b")
    assert isinstance(caught.value.__cause__, NoPermissionError)  # the last error
    assert items_of(guest) == ["a", "b"]


def test_get_that_is_refused_after_a_lost_reply_loses_nothing(redis, guest, proxy):
    for item in "abc":
        guest.put(item)
    assert guest.get() == "a"
    with refused_after_losses(redis, proxy), pytest.raises(NoPermissionError):
        guest.get_nowait()
    assert items_of(guest) == ["b", "c"]


def test_clear_removes_what_is_still_to_be_given_back(redis, guest, proxy):
    guest.put("a")
    guest.put("b")
    assert guest.get() == "a"
    with refused_after_losses(redis, proxy), pytest.raises(NoPermissionError):
        guest.get_nowait()
    assert len(DOUBTS) == 1
    guest.clear()
    assert guest.empty()


@pytest.mark.parametrize("after", range(6))
def test_reply_lost_at_any_step_of_a_wait_loses_no_item(redis, lossy, proxy, after):
    it = RedisSimpleQueue(redis=redis, key="q")
    proxy.drop_reply(1, after=after)
    got = []
    consumer = threading.Thread(target=lambda: got.extend(lossy.get() for _ in range(4)))
    consumer.start()
    for number in range(4):
        sleep(0.15)
        it.put(number)
    consumer.join(20)
    assert got == [0, 1, 2, 3]
    assert it.empty()


def test_asynchronous_replies_may_be_lost_too(redis, proxy):
    database = redis.connection_pool.connection_kwargs.get("db") or 0

    async def main():
        client = asynchronous.Redis(port=proxy.port, db=database)
        it = AIORedisSimpleQueue(redis=client, key="q")
        got = []
        for number in range(12):
            proxy.drop_reply(1, after=number % 3)
            await it.put(number)
            got.append(await it.get())
        proxy.drop_reply(0)
        assert await it.empty()
        await close(client)
        return got

    assert asyncio.run(main()) == [*range(12)]


# --- commands that come twice, or late


@pytest.fixture
def run(redis):
    """A function that runs a script with a number, as if a caller had sent it."""

    def run(script, number, *args):
        keys = [f"q~{name}" for name in ("caller", "waiting", "bell", "returned")]
        keys = ["q~returned", *keys[:3]] if script is RETURN else ["q", *keys]
        return raw_bytes(redis).eval(script.text, len(keys), *keys, f"{number:016d}", *args)

    return run


def test_command_that_comes_again_or_late_changes_nothing(redis, run):
    for number in (5, 5, 4):
        run(PUT, number, '"a"')
    assert redis.xlen("q") == 1
    run(PUT, 6, '"b"')
    assert [run(TAKE, number, "look") for number in (7, 7, 6)] == [b'"a"', b'"a"', None]
    assert [run(TAKE, number, "look") for number in (8, 8, 7)] == [b'"b"', b'"b"', None]
    run(PUT, 9, '"c"')
    run(PUT, 8, '"d"')
    assert redis.xlen("q") == 1


def test_take_that_found_nothing_and_was_sent_again_cannot_take_later(redis, run):
    assert run(TAKE, 5, "look", "again") is None
    redis.xadd("q", {"item": "1"})
    assert [run(TAKE, 5, "look"), run(TAKE, 4, "look")] == [None, None]
    assert run(TAKE, 6, "look") == b"1"


def test_give_back_is_done_once_and_stops_a_take_that_comes_late(redis, run):
    redis.xadd("q", {"item": "1"})
    assert run(TAKE, 5, "look") == b"1"
    for _ in range(2):
        run(RETURN, 5, f"{6:016d}")
    assert redis.zcard("q~returned") == 1
    run(RETURN, 7, f"{8:016d}")  # the take 7 has not come yet
    assert run(TAKE, 7, "look") is None
    assert redis.zcard("q~returned") == 1
    assert run(TAKE, 9, "look") == b"1"


def test_returned_items_come_first_the_oldest_first(redis, run):
    for number in range(12):
        redis.xadd("q", {"item": str(number)}, id=f"7-{number + 1}")
    taken = [run(TAKE, 2 * number, "look") for number in range(1, 12)]
    assert taken == [str(number).encode() for number in range(11)]
    # All but the first are given back, in disorder, each by a caller of its own.
    for number in (10, 2, 9, 1, 8, 3, 7, 4, 6, 5):
        redis.set("q~caller", f"{2:016d}7-{number + 1}:{number}")
        run(RETURN, 2, f"{3:016d}")
    it = RedisSimpleQueue(redis=redis, key="q")
    assert it.qsize() == 11
    assert items_of(it) == [*range(1, 12)]


def test_child_process_does_not_pass_for_its_parent():
    parent = Caller.lease()
    parent.free()

    def work():
        assert Caller.lease().name != parent.name

    with forked(work):
        pass
    assert Caller.lease() is parent
    parent.free()


# --- no memory


def test_full_server_refuses_puts_and_is_drained_all_the_same():
    with RedisServer() as server, server.client() as client:
        it = RedisSimpleQueue(redis=client, key="q")
        for number in range(300):
            it.put(number)
        client.config_set("maxmemory", "1")
        for _ in range(3):
            with pytest.raises(ResponseError, match="maxmemory"):
                it.put("no")
        assert it.qsize() == 300
        assert items_of(it) == [*range(300)]
        with pytest.raises(QueueEmptyError):
            it.get(timeout=0.1)
        assert not DOUBTS


def test_reply_of_a_full_server_may_be_lost():
    with RedisServer() as server, FaultyProxy(server.url) as proxy, proxy.client() as client:
        it = RedisSimpleQueue(redis=client, key="q")
        it.put(1)
        assert it.get() == 1
        client.config_set("maxmemory", "1")
        proxy.drop_reply()
        with pytest.raises(QueueEmptyError):
            it.get_nowait()
        assert proxy.lost == 1


def test_item_is_given_back_to_a_full_server():
    with RedisServer() as server, server.client() as client:
        it = RedisSimpleQueue(redis=client, key="q")
        client.xadd("q", {"item": "{"})
        client.config_set("maxmemory", "1")
        for _ in range(3):
            with pytest.raises(DecodeError):
                it.get()
        assert it.qsize() == 1


# --- servers that go away


@contextmanager
def lasting_server():
    """A server that keeps its data through a crash."""
    with RedisServer(config={"appendonly": "yes", "appendfsync": "always"}) as server:
        yield server


def test_consumers_wait_through_a_restart_of_the_server():
    # Clients made from a URL do not try again to connect, unless they are told to.
    patient = {"retry": Retry(ConstantBackoff(0.1), 50)}
    with lasting_server() as server, server.client(**patient) as client:
        it = RedisSimpleQueue(redis=client, key="q")
        with waiting(it, 4) as got:
            server.kill()
            sleep(0.5)
            server.start()
            for number in range(4):
                it.put(number)
            until(lambda: len(got) == 4)
        assert sorted(item for _, item in got) == [*range(4)]


def test_get_raises_when_the_server_stays_away_and_loses_nothing():
    with lasting_server() as server, server.client(retry=Retry(NoBackoff(), 0)) as client:
        it = RedisSimpleQueue(redis=client, key="q")
        began = monotonic()
        with later(server.kill, after=0.3), pytest.raises(RedisConnectionError):
            it.get()
        assert monotonic() - began < 5
        for _ in range(3):
            with pytest.raises(RedisConnectionError):
                it.get(timeout=1)
        assert len(DOUBTS) <= 1
        server.start()
        it.put("x")
        assert it.get() == "x"
        assert not DOUBTS


def test_put_to_a_server_that_is_away_says_that_nothing_was_put():
    with RedisServer() as server, server.client(retry=Retry(NoBackoff(), 0)) as client:
        it = RedisSimpleQueue(redis=client, key="q")
        it.put(1)
        server.kill()
        with pytest.raises(RedisConnectionError) as caught:
            it.put(2)
        server.start()
        assert not isinstance(caught.value, OutcomeUnknown) or it.qsize() <= 1


# --- interruptions


@pytest.mark.slow
def test_interrupts_lose_and_double_no_item(server, redis):
    program = Path(__file__).with_name("interrupted_queue.py")
    ran = subprocess.run(
        [sys.executable, program, server.url], check=True, capture_output=True, text=True
    )
    interrupts, got, puts, twice = map(int, ran.stdout.split())
    assert interrupts > 300
    assert (got, twice) == (puts, 0)


def test_ctrl_c_ends_a_wait_at_once_and_leaves_no_waiter(redis, server):
    it = RedisSimpleQueue(redis=redis, key="q")

    def interrupt(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        for after in (0.3, 1.4):
            signal.setitimer(signal.ITIMER_REAL, after)
            began = monotonic()
            with pytest.raises(KeyboardInterrupt):
                it.get()
            assert monotonic() - began < after + 0.2
    finally:
        signal.signal(signal.SIGALRM, previous)
    until(lambda: blocked(redis) == 0, 1)
    it.put("x")
    assert it.get_nowait() == "x"


def test_what_cannot_be_given_back_at_once_is_given_back_by_the_next_operation(redis, lossy, proxy):
    lossy.put("a")
    lossy.put("b")

    class Stop(BaseException):
        pass

    send = lossy._send

    def stop(op):
        send(op)
        proxy.drop_reply(10)
        raise Stop

    lossy._send = stop
    with pytest.raises(Stop):
        lossy.get()
    proxy.drop_reply(0)
    del lossy._send
    assert len(DOUBTS) == 1
    another = RedisSimpleQueue(redis=lossy.redis, key="q")
    assert another.get() == "a"
    assert not DOUBTS
    assert items_of(another) == ["b"]


def test_doubt_about_one_queue_is_no_matter_of_another(redis):
    it, other = (RedisSimpleQueue(redis=redis, key=key) for key in ("q", "other"))
    it.put(1)
    plan = it._get(0)
    step = next(plan)
    redis.execute_command(*step.args)
    plan.close()  # as if nobody were there any more to perform it
    assert len(DOUBTS) == 1
    other.put(2)
    assert len(DOUBTS) == 1
    assert it.qsize() == 1
    assert not DOUBTS
    assert items_of(it) == [1]


# Cancelled while it is being opened, a connection may be left to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_cancellations_of_many_consumers_lose_and_double_no_item(server, redis):
    async def try_to_get(it, rng, got):
        await asyncio.sleep(rng.random() * 0.002)
        waits = it.get(timeout=rng.random() * 0.003) if rng.random() < 0.5 else it.get()
        with suppress(asyncio.CancelledError, asyncio.TimeoutError, QueueEmptyError):
            got.append(await asyncio.wait_for(waits, rng.random() * 0.02))

    async def main():
        rng, got, puts = random.Random(7), [], 0
        client, other = (asynchronous.Redis.from_url(server.url) for _ in range(2))
        it, producer = (AIORedisSimpleQueue(redis=one, key="q") for one in (client, other))
        for _ in range(100):
            consumers = [asyncio.create_task(try_to_get(it, rng, got)) for _ in range(20)]
            for _ in range(12):
                await producer.put(puts)
                puts += 1
                await asyncio.sleep(rng.random() * 0.0005)
            await asyncio.wait(consumers)
        found = len(got)
        while not await it.empty():
            got.append(await it.get(timeout=2))
        await close(client)
        await close(other)
        return puts, found, got

    puts, found, got = asyncio.run(main())
    gc.collect()  # here, where its warnings are expected
    assert found < puts
    assert sorted(got) == [*range(puts)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cancel", "wait_for"])
def test_cancellations_lose_and_double_no_item(server, redis, kind):
    rounds = 2500

    async def try_to_get(it, number):
        if kind == "wait_for":
            return await asyncio.wait_for(it.get(), 0.00002 * (number % 40))
        task = asyncio.create_task(it.get())
        for _ in range(number % 23):
            await asyncio.sleep(0)
        if number % 5 == 0:
            await asyncio.sleep(0.0004)
        task.cancel()
        return await task

    async def main():
        client, other = (asynchronous.Redis.from_url(server.url) for _ in range(2))
        it = AIORedisSimpleQueue(redis=client, key="q")
        got, cancelled = [], 0
        for number in range(rounds):
            put = asyncio.create_task(AIORedisSimpleQueue(redis=other, key="q").put(number))
            if number % 2:
                await put
            try:
                got.append(await try_to_get(it, number))
            except (asyncio.CancelledError, asyncio.TimeoutError):
                cancelled += 1
            await put
        while not await it.empty():
            got.append(await it.get(timeout=2))
        await close(client)
        await close(other)
        return got, cancelled

    got, cancelled = asyncio.run(main())
    assert cancelled > 50
    assert sorted(got) == [*range(rounds)]


def test_cancelled_wait_gives_its_turn_to_the_next(server, redis):
    async def main():
        client = asynchronous.Redis.from_url(server.url)
        it = AIORedisSimpleQueue(redis=client, key="q")
        tasks = [asyncio.create_task(it.get()) for _ in range(10)]
        await asyncio.sleep(1.3)
        for task in tasks[:9]:
            task.cancel()
        await asyncio.wait(tasks[:9])
        await asyncio.sleep(0.05)
        began = monotonic()
        await it.put("x")
        assert await tasks[9] == "x"
        assert monotonic() - began < 0.5
        await close(client)

    asyncio.run(main())
    until(lambda: blocked(redis) == 0, 1)


def test_loop_that_ends_soon_after_a_get_was_cancelled_leaves_the_item(server, redis):
    it, got = RedisSimpleQueue(redis=redis, key="q"), []
    it.put("x")
    for number in range(40):
        loop = asyncio.new_event_loop()
        client = asynchronous.Redis.from_url(server.url)
        loop.run_until_complete(client.ping())
        task = loop.create_task(AIORedisSimpleQueue(redis=client, key="q").get())
        for _ in range(number % 4):
            loop.run_until_complete(asyncio.sleep(0))
        task.cancel()
        with suppress(asyncio.CancelledError):
            got.append(loop.run_until_complete(task))
            it.put("x")
        loop.run_until_complete(close(client))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    assert len(got) < 40
    assert items_of(it) == ["x"]


# --- asyncio


def test_asynchronous_queue_is_the_same_queue(server, redis):
    async def main():
        client = asynchronous.Redis.from_url(server.url)
        it = AIORedisSimpleQueue(redis=client, key="q")
        await it.put("a", False)
        await it.put_nowait("b")
        assert (await it.qsize(), await it.empty()) == (2, False)
        assert [await it.get(), await it.get_nowait()] == ["a", "b"]
        for get in (it.get_nowait(), it.get(False), it.get(timeout=0.05)):
            with pytest.raises(QueueEmptyError):
                await get
        with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
            await it.get(timeout=-1)
        await it.put("c")
        await it.clear()
        assert await it.empty()
        waiter = asyncio.create_task(it.get())
        await asyncio.sleep(0.1)
        await it.put("d")
        assert await waiter == "d"
        await close(client)

    asyncio.run(main())


def test_hundred_tasks_wait_without_the_connection_of_the_pool(server, redis):
    async def main():
        pool = asynchronous.ConnectionPool.from_url(server.url, max_connections=1)
        client = asynchronous.Redis(connection_pool=pool)
        it = AIORedisSimpleQueue(redis=client, key="q")
        tasks = [asyncio.create_task(it.get()) for _ in range(100)]
        for _ in range(500):
            await asyncio.sleep(0.01)
            if blocked(redis) == 100:
                break
        for number in range(100):
            await it.put(number)
            await asyncio.sleep(0.015)
        got = await asyncio.gather(*tasks)
        await pool.disconnect()
        return got

    assert sorted(asyncio.run(main())) == [*range(100)]


def test_module_waits_no_longer_than_networks_remember():
    assert module.LOOK_EVERY <= 1 < module.LONGEST_WAIT < 350
