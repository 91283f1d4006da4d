"""What fronts promise when connections, servers and callers fail."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from contextlib import contextmanager, suppress

import pytest
from clients import close
from redis import BlockingConnectionPool, Redis, Sentinel
from redis import asyncio as asynchronous
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ReadOnlyError, ResponseError
from redis.retry import Retry

from pottery import (
    AIORedisDeque,
    AIORedisList,
    AIORedisSet,
    HyperLogLog,
    OutcomeUnknown,
    RedisCounter,
    RedisDeque,
    RedisDict,
    RedisList,
    RedisSet,
)
from pottery._clients import same_server
from pottery._temporary import ABANDONED
from pottery.testing import FaultyProxy, RedisServer, SentinelServer


@pytest.fixture
def proxy(server):
    with FaultyProxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def lossy(redis, proxy):
    """A client whose replies can be lost, and which connected already."""
    database = redis.connection_pool.connection_kwargs.get("db") or 0
    with Redis(port=proxy.port, db=database) as client:
        client.ping()
        yield client


# --- lost replies


def test_push_whose_reply_was_lost_runs_once_and_says_so(redis, lossy, proxy):
    deque = RedisDeque(redis=lossy, key="d")
    proxy.drop_reply()

    with pytest.raises(OutcomeUnknown, match="RPUSH") as caught:
        deque.append("a")

    assert isinstance(caught.value, RedisConnectionError)
    assert isinstance(caught.value.__cause__, RedisConnectionError)
    assert (caught.value.key, caught.value.command) == ("d", "RPUSH")
    assert redis.llen("d") == 1


def test_pop_whose_reply_was_lost_takes_one_element_and_says_so(redis, lossy, proxy):
    numbers = RedisList(range(3), redis=lossy, key="l")
    proxy.drop_reply()

    with pytest.raises(OutcomeUnknown):
        numbers.pop()

    assert redis.llen("l") == 2


def test_push_is_not_sent_again_by_who_handles_another_error(redis, lossy, proxy):
    deque = RedisDeque(redis=lossy, key="d")
    proxy.drop_reply()

    try:
        redis.eval("return redis.error_reply('READONLY x')", 0)
    except ReadOnlyError:
        with pytest.raises(OutcomeUnknown):
            deque.append("a")

    assert redis.llen("d") == 1


def test_script_that_writes_is_not_sent_again(redis, lossy, proxy):
    numbers = RedisList(range(5), redis=lossy, key="l")
    numbers.insert(2, "x")
    proxy.drop_reply()

    with pytest.raises(OutcomeUnknown, match="EVALSHA"):
        numbers.insert(2, "y")

    assert redis.llen("l") == 7


@pytest.mark.parametrize("losses", [1, 2, 5])
def test_reads_and_harmless_writes_are_sent_again(lossy, proxy, losses):
    members = RedisSet("ab", redis=lossy, key="s")
    proxy.drop_reply(losses)
    assert "a" in members

    proxy.drop_reply(losses)
    members.add("c")

    assert len(members) == 3


def test_read_that_never_gets_through_raises_the_error_of_the_connection(lossy, proxy):
    members = RedisSet("ab", redis=lossy, key="s")
    proxy.drop_reply(1000)

    with pytest.raises(RedisConnectionError) as caught:
        len(members)

    proxy.drop_reply(0)
    assert not isinstance(caught.value, OutcomeUnknown)
    assert len(members) == 2


WRITES = {
    "member": lambda client: RedisSet(redis=client, key="s").add("c"),
    "item": lambda client: RedisDict(redis=client, key="d").__setitem__("c", 1),
    "many": lambda client: RedisDict(redis=client, key="d").update(c=1),
    "count": lambda client: RedisCounter(redis=client, key="c").__delitem__("c"),
    "script": lambda client: HyperLogLog(redis=client, key="h").update(
        HyperLogLog(redis=client, key="i"), "a"
    ),
    "awaited": lambda client: asyncio.run(add_awaiting(client)),
}


async def add_awaiting(blocking):
    port = blocking.connection_pool.connection_kwargs["port"]
    client = asynchronous.Redis(port=port, retry=AsyncRetry(NoBackoff(), 0))
    try:
        await AIORedisSet(redis=client, key="s").add("c")
    finally:
        await close(client)


@pytest.fixture(params=WRITES.values(), ids=WRITES)
def write(request):
    """A write that is sent again if its reply was lost."""
    return request.param


def test_harmless_write_that_never_gets_a_reply_says_that_it_may_have_run(lossy, proxy, write):
    proxy.drop_reply(1000)
    with pytest.raises(OutcomeUnknown):
        write(lossy)
    proxy.drop_reply(0)


def test_harmless_write_that_cannot_be_sent_again_says_that_it_may_have_run(write):
    with (
        RedisServer() as server,
        FaultyProxy(server.url) as proxy,
        proxy.client(retry=Retry(NoBackoff(), 0)) as client,
    ):
        proxy.swallow_reply()
        end = threading.Timer(0.1, server.kill)
        end.start()
        with pytest.raises(OutcomeUnknown):
            write(client)
        end.join()


REFUSALS = {
    "replica": lambda server: server.replicaof("127.0.0.1", 1),
    "no replicas": lambda server: server.config_set("min-replicas-to-write", 1),
    "no replicas nor scripts": lambda server: (
        server.config_set("min-replicas-to-write", 1),
        server.script_flush(),
    ),
    "forbidden": lambda server: server.execute_command(
        "ACL", "SETUSER", "default", "-@write", "-@scripting"
    ),
}


@pytest.mark.parametrize("refuse", REFUSALS.values(), ids=REFUSALS)
def test_harmless_write_that_was_refused_when_sent_again_says_that_it_may_have_run(write, refuse):
    with RedisServer() as server, FaultyProxy(server.url) as proxy, proxy.client() as client:
        write(client)  # lest a script be unknown
        proxy.swallow_reply()

        def refuse_further():
            with server.client() as other:
                refuse(other)
            proxy.cut()

        end = threading.Timer(0.1, refuse_further)
        end.start()
        with pytest.raises(OutcomeUnknown) as caught:
            write(client)
        assert isinstance(caught.value.__cause__, ResponseError)
        end.join()


def test_script_that_is_unknown_when_it_is_sent_again_is_sent_whole():
    with RedisServer() as server, FaultyProxy(server.url) as proxy, proxy.client() as client:
        WRITES["script"](client)
        proxy.swallow_reply()

        def forget():
            with server.client() as other:
                other.script_flush()
            proxy.cut()

        end = threading.Timer(0.1, forget)
        end.start()
        WRITES["script"](client)
        end.join()


def test_harmless_write_that_was_never_sent_says_that_nothing_was_changed(write):
    nobody = Redis(port=1, retry=Retry(NoBackoff(), 0))
    with pytest.raises(RedisConnectionError) as caught:
        write(nobody)
    assert not isinstance(caught.value, OutcomeUnknown)


def test_async_push_whose_reply_was_lost_runs_once_and_says_so(redis, proxy):
    async def remove():
        client = redis_asyncio(proxy.port, redis)
        members = AIORedisSet(redis=client, key="s")
        await members.add("a")
        await members.has("a")
        proxy.drop_reply()
        with pytest.raises(OutcomeUnknown, match="SREM"):
            await members.remove("a")
        proxy.drop_reply()
        assert await members.size() == 0
        await close(client)

    asyncio.run(remove())
    assert not redis.exists("s")


def redis_asyncio(port, client):
    database = client.connection_pool.connection_kwargs.get("db") or 0
    return asynchronous.Redis(port=port, db=database)


# --- connections


def test_idle_connection_that_the_server_closed_is_replaced_unnoticed(redis):
    deque = RedisDeque(redis=redis, key="d")
    for number in range(20):
        deque.append(number)
        redis.client_kill_filter(_type="normal", skipme=False)
        time.sleep(0.01)  # until the end of the connection has arrived here
    assert list(deque) == list(range(20))


@pytest.mark.parametrize("protocol", [2, 3])
def test_idle_async_connection_that_the_server_closed_is_replaced_unnoticed(
    server, redis, protocol
):
    async def run():
        client = asynchronous.Redis.from_url(server.url, protocol=protocol)
        deque = AIORedisDeque(redis=client, key="d")
        for number in range(20):
            await deque.append(number)
            redis.client_kill_filter(_type="normal", skipme=True)
            await asyncio.sleep(0.01)  # until the end of the connection has arrived here
        elements = await deque.to_list()
        await close(client)
        return elements

    assert asyncio.run(run()) == list(range(20))


def test_connection_goes_back_to_the_pool_after_every_outcome(server):
    pool = BlockingConnectionPool.from_url(server.url, max_connections=1, timeout=1)
    with Redis(connection_pool=pool) as client:
        client.flushdb()
        client.set("k", 1)
        for _ in range(3):
            with pytest.raises(ResponseError, match="WRONGTYPE"):
                RedisSet(redis=client, key="k").add(1)
            with pytest.raises(ResponseError, match="WRONGTYPE"):
                RedisList(redis=client, key="k").insert(5, 1)
        assert list(RedisSet({1} | {2}, redis=client) | {3})
        assert client.get("k") == b"1"
        client.flushdb()


def test_server_that_is_not_there_gives_redis_pys_own_error():
    nobody = Redis(port=1, retry=Retry(NoBackoff(), 0))
    with pytest.raises(RedisConnectionError) as caught:
        RedisSet(redis=nobody, key="s").add(1)
    assert not isinstance(caught.value, OutcomeUnknown)


# --- scripts


def test_flushed_scripts_are_sent_anew(redis):
    numbers = RedisList(range(5), redis=redis, key="l")
    for _ in range(3):
        redis.script_flush()
        numbers.insert(2, "x")
    assert len(numbers) == 8


@contextmanager
def hogged(server, redis):
    """Keep the server busy with a script, for less time than it is waited for."""
    redis.config_set("lua-time-limit", 10)
    loop = "local t = redis.call('TIME') repeat local u = redis.call('TIME') until "
    loop += "(u[1] - t[1]) * 1e6 + u[2] - t[2] > 400000"
    with server.client() as other:
        hog = threading.Thread(target=other.eval, args=(loop, 0))
        hog.start()
        time.sleep(0.15)
        yield
        hog.join()


def test_server_that_is_busy_with_a_script_is_waited_for(server, redis):
    numbers = RedisDeque(redis=redis, key="d")
    with hogged(server, redis):
        numbers.append("x")
    assert list(numbers) == ["x"]


def test_user_without_scripts_can_use_what_is_a_single_command(server, redis):
    redis.execute_command(
        *("ACL SETUSER", "plain", "on", "nopass", "~*", "+@all", "-@scripting", "-@dangerous")
    )
    with server.client(username="plain", password="any") as client:
        deque = RedisDeque(redis=client, key="d")
        deque.extend("abc")
        deque.rotate(1)
        assert (list(deque), deque.popleft(), "b" in deque) == (["c", "a", "b"], "c", True)
        with pytest.raises(NoPermissionError):
            deque.insert(1, "x")
    redis.execute_command("ACL DELUSER", "plain")


# --- temporary keys


def make_and_drop(client):
    """Leave the key of a temporary container to the next operation, and return it."""
    key = RedisSet("ab", redis=client).key
    gc.collect()
    assert key in ABANDONED[client]
    return key


@pytest.mark.parametrize("lost", [0, 1])
def test_reply_that_is_lost_while_a_key_is_unlinked_runs_nothing_twice(redis, lossy, proxy, lost):
    numbers = RedisList([1], redis=lossy, key="l")
    key = make_and_drop(lossy)
    proxy.drop_reply(after=lost)
    with pytest.raises(OutcomeUnknown):
        numbers.append(2)
    assert numbers.to_list() in ([1], [1, 2])
    assert not redis.exists(key)
    assert key not in ABANDONED[lossy]


def test_commands_that_are_sent_again_take_the_unlinking_along(redis, lossy, proxy):
    numbers = RedisList([1], redis=lossy, key="l")
    key = make_and_drop(lossy)
    proxy.drop_reply(3)
    assert numbers[0] == 1
    assert not redis.exists(key)


def test_busy_server_unlinks_keys_when_it_has_time(server, redis):
    numbers = RedisList(redis=redis, key="l")
    key = make_and_drop(redis)
    with hogged(server, redis):
        numbers.append("x")
    assert numbers.to_list() == ["x"]
    assert not redis.exists(key)


@pytest.mark.parametrize("forbidden", ["-unlink", "-append"])
def test_what_a_user_may_not_do_does_not_hinder_the_unlinking(server, redis, forbidden):
    redis.execute_command("ACL SETUSER", "guest", "on", "nopass", "~*", "+@all", forbidden)
    with server.client(username="guest", password="any") as client:
        numbers = RedisList([1], redis=client, key="l")
        key = make_and_drop(client)
        numbers.append(2)
        assert numbers.to_list() == [1, 2]
        assert redis.exists(key) == (forbidden == "-unlink")
        assert key not in ABANDONED[client]
    redis.execute_command("ACL DELUSER", "guest")


def test_asynchronous_operations_unlink_keys_along(redis, server):
    async def run():
        async with asynchronous.Redis.from_url(server.url) as client:
            numbers = AIORedisList(redis=client, key="l")
            temporary = await AIORedisSet.create("ab", redis=client)
            key = temporary.key
            assert redis.exists(key)
            del temporary
            gc.collect()
            await numbers.append(1)
            assert not redis.exists(key)
            assert await numbers.to_list() == [1]

    asyncio.run(run())


def test_key_of_a_collected_container_is_unlinked_by_the_next_operation(redis):
    keeper = RedisSet("a", redis=redis, key="s")
    temporary = keeper | {"b"}
    assert redis.exists(temporary.key)
    key = temporary.key

    del temporary
    gc.collect()
    assert redis.exists(key)
    len(keeper)

    assert not redis.exists(key)


def test_clients_of_one_master_are_not_kept_for_the_keys_of_temporary_containers():
    with SentinelServer(replicas=0, sentinels=1) as service:

        def forget_one():
            client = service.client()
            assert len(RedisSet("a", redis=client) | {"b"}) == 2
            # Else the garbage collector may come to a socket before its connection.
            for each in (client, *client.connection_pool.sentinel_manager.sentinels):
                each.close()
            return weakref.ref(client)

        earlier = [forget_one() for _ in range(5)]
        gc.collect()
        assert [client() for client in earlier[:-1]] == [None] * 4
        assert service.client().dbsize() <= 2


def test_key_that_the_user_chose_is_never_unlinked(redis):
    container = RedisSet("a", redis=redis, key="pottery:mine")
    del container
    gc.collect()
    RedisSet(redis=redis, key="other").add(1)
    assert redis.exists("pottery:mine")


def test_forked_child_leaves_the_keys_of_its_parent(redis):
    temporary = RedisSet("a", redis=redis)
    child = os.fork()
    if not child:
        with suppress(BaseException):
            key = temporary.key
            del temporary
            gc.collect()
            len(RedisSet(redis=redis, key=key))
        os._exit(0)
    os.waitpid(child, 0)
    assert set(temporary) == {"a"}


PROGRAM = """
import sys
from redis import Redis
from pottery import RedisSet
redis = Redis.from_url(sys.argv[1])
kept, dropped = RedisSet('ab', redis=redis), RedisSet('cd', redis=redis)
del dropped
assert redis.dbsize() == 2, redis.keys()
print('ready', flush=True)
sys.stdin.readline()
"""


THREAD = """
import threading
def make_clients():
    while True:
        RedisSet(redis=Redis.from_url(sys.argv[1]))
threading.Thread(target=make_clients, daemon=True).start()
"""


def start_program(url, more=""):
    command = [sys.executable, "-c", PROGRAM.replace("print", f"{more}print"), url]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    program = subprocess.Popen(command, **pipes, text=True)
    assert program.stdout.readline() == "ready\n"
    return program


def test_end_of_the_program_unlinks_all_temporary_keys(server, redis):
    with start_program(server.url) as program:
        program.communicate("\n")
    assert program.returncode == 0
    assert redis.dbsize() == 0


def test_end_of_the_program_may_come_while_a_thread_makes_temporary_keys(server, redis):
    for _ in range(5):
        redis.flushdb()  # what that thread was about to unlink
        with start_program(server.url, THREAD) as program:
            _, errors = program.communicate("\n")
        assert (program.returncode, errors) == (0, "")


def test_end_of_the_program_does_not_wait_for_a_stuck_server():
    with RedisServer() as server, start_program(server.url) as program, server.stall():
        began = time.monotonic()
        program.communicate("\n")
        took = time.monotonic() - began
    assert program.returncode == 0
    assert took < 4


# --- clients


@pytest.mark.parametrize("wrong", [Redis, "redis://localhost", object()])
def test_what_is_no_client_is_refused_by_name(wrong):
    with pytest.raises(TypeError, match=r"RedisSet needs a redis.Redis or redis.RedisCluster"):
        RedisSet(redis=wrong, key="s")


def test_client_of_the_other_colour_is_refused(redis):
    with pytest.raises(TypeError, match=r"a redis.asyncio.Redis or redis.asyncio.RedisCluster"):
        AIORedisSet(redis=redis, key="s")


def test_pipeline_is_no_client(redis):
    with pytest.raises(TypeError, match="Pipeline"):
        RedisSet(redis=redis.pipeline(), key="s")


def test_key_must_be_text_or_bytes(redis):
    with pytest.raises(TypeError, match="key must be str or bytes, not int"):
        RedisSet(redis=redis, key=5)


def test_default_client_follows_redis_url(server):
    script = "from pottery import RedisSet; print(len(RedisSet('abc')))"
    environment = {**os.environ, "REDIS_URL": server.url}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"


def test_same_server_is_recognised_by_its_address():
    one, twin = Redis(port=1), Redis(port=1)
    assert same_server(one, twin)
    assert same_server(one, Redis(connection_pool=one.connection_pool))
    assert not same_server(one, Redis(port=2))
    assert not same_server(one, Redis(port=1, db=1))
    assert not same_server(one, Redis(unix_socket_path="/nowhere"))


def test_same_master_is_recognised_by_the_sentinels_that_lead_to_it():
    def master(*ports, name="m", sentinel=Sentinel, **options):
        return sentinel([("localhost", port) for port in ports]).master_for(name, **options)

    one = master(1, 2)
    assert same_server(one, master(2, 1))
    assert same_server(one, master(1, 2, sentinel=AsyncSentinel))
    assert not same_server(one, master(1, 3))
    assert not same_server(one, master(1, 2, name="n"))
    assert not same_server(one, master(1, 2, db=1))
    assert not same_server(one, Redis(port=1))
    replica = Sentinel([("localhost", 1), ("localhost", 2)]).slave_for("m")
    assert not same_server(one, replica)
    assert not same_server(replica, Sentinel([("localhost", 1)]).slave_for("m"))
