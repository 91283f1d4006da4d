"""What a front does when it is interrupted, or fails, at each of its steps, in both colours."""

from __future__ import annotations

import asyncio
import gc
import pickle
import socket
import subprocess
import sys
from collections import deque

import pytest
from clients import close, seconds
from redis import BlockingConnectionPool, Connection, ConnectionPool, Redis
from redis import asyncio as asynchronous
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError
from redis.sentinel import Sentinel

from pottery import AIORedisSet, DecodeError, KeyExistsError, OutcomeUnknown, RedisSet
from pottery._front import _may_be_sent_again
from pottery._leases import FOR_COMMAND
from pottery._plan import Op, nothing, same
from pottery._temporary import ABANDONED, _in_use_at, sweeping, unlink_briefly
from pottery.testing import RedisServer, SentinelServer

STEPS = ["connect", "check_health", "send_packed_command", "read_response"]


class Stop(BaseException):
    """Interrupts, as KeyboardInterrupt does, but no test runner."""


class Stopping(Connection):
    """A connection that is interrupted once at one of its steps, after or before it is taken."""

    step = ""

    def connect(self):
        super().connect()
        self.maybe_stop("connect")

    def check_health(self):
        super().check_health()
        self.maybe_stop("check_health")

    def send_packed_command(self, command, check_health=True):
        super().send_packed_command(command, check_health)
        if not check_health:  # not in a greeting
            self.maybe_stop("send_packed_command")

    def read_response(self, *args, **options):
        reply = super().read_response(*args, **options)
        if options.get("disable_decoding"):
            self.maybe_stop("read_response")
        return reply

    def maybe_stop(self, step):
        if Stopping.step == step:
            Stopping.step = ""
            raise Stop


class StoppingPool(ConnectionPool):
    """A pool that is interrupted once when it takes a connection back."""

    def release(self, connection):
        if Stopping.step == "release":
            Stopping.step = ""
            raise Stop
        super().release(connection)


@pytest.fixture
def stopping(server):
    pool = StoppingPool.from_url(server.url, connection_class=Stopping, max_connections=1)
    with Redis(connection_pool=pool) as client:
        client.flushdb()
        yield client
        Stopping.step = ""
    pool.disconnect()


@pytest.mark.parametrize("step", [*STEPS, "release"])
def test_interrupted_step_gives_its_connection_back_clean(stopping, step):
    members = RedisSet("ab", redis=stopping, key="s")
    Stopping.step = step

    with pytest.raises(Stop):
        len(members)

    for _ in range(3):  # by the only connection that the pool may have
        assert ("a" in members, len(members)) == (True, 2)


def test_interrupt_closes_no_connection_of_another_thread_in_a_pool_that_blocks(server, redis):
    lent = []

    class Watched(Stopping):
        def disconnect(self, *args, **options):
            lent.append(self not in pool.pool.queue)  # so that nobody can have it meanwhile
            super().disconnect(*args, **options)

    pool = BlockingConnectionPool.from_url(server.url, connection_class=Watched, max_connections=3)
    members = RedisSet("ab", redis=Redis(connection_pool=pool), key="s")
    of_another = pool.get_connection(*FOR_COMMAND)
    lent.clear()
    Stopping.step = "connect"
    with pytest.raises(Stop):
        len(members)
    assert lent == [True] * len(lent)
    assert of_another._sock
    pool.release(of_another)
    for _ in range(3):
        assert len(members) == 2
    assert pool.pool.qsize() == 3
    pool.disconnect()


@pytest.mark.parametrize("most", [10, 100])
def test_connection_whose_closing_is_interrupted_is_lent_to_nobody(server, redis, most):
    interrupts = []

    class Twice(Connection):
        def read_response(self, *args, **options):
            self.maybe_stop("read_response")
            return super().read_response(*args, **options)

        def disconnect(self, *args, **options):
            self.maybe_stop("disconnect")
            super().disconnect(*args, **options)

        def maybe_stop(self, step):
            if interrupts[:1] == [(self, step)]:
                interrupts.pop(0)
                raise Stop

    pool = ConnectionPool.from_url(server.url, connection_class=Twice, max_connections=most)
    members = RedisSet("ab", redis=Redis(connection_pool=pool), key="s")
    assert len(members) == 2
    (dirty,) = [*pool._available_connections, *pool._in_use_connections]

    interrupts[:] = [(dirty, "read_response"), (dirty, "disconnect")]
    with pytest.raises(Stop):
        len(members)

    assert not interrupts
    assert dirty not in pool._available_connections
    assert ("a" in members, "c" in members, len(members)) == (True, False, 2)
    assert dirty in pool._in_use_connections
    pool.disconnect()


class AIOStopping(asynchronous.Connection):
    """A connection that is cancelled once at one of its steps."""

    async def connect(self):
        await super().connect()
        await self.maybe_stop("connect")

    async def check_health(self):
        await super().check_health()
        await self.maybe_stop("check_health")

    async def send_packed_command(self, command, check_health=True):
        await super().send_packed_command(command, check_health)
        if not check_health:
            await self.maybe_stop("send_packed_command")

    async def read_response(self, *args, **options):
        reply = await super().read_response(*args, **options)
        if options.get("disable_decoding"):
            await self.maybe_stop("read_response")
        return reply

    async def maybe_stop(self, step):
        if Stopping.step == step:
            Stopping.step = ""
            asyncio.current_task().cancel()
            await asyncio.sleep(0)


class AIOStoppingPool(asynchronous.ConnectionPool):
    """A pool that is cancelled once when it takes a connection back."""

    async def release(self, connection):
        if Stopping.step == "release":
            Stopping.step = ""
            asyncio.current_task().cancel()
            await asyncio.sleep(0)
        await super().release(connection)


@pytest.mark.parametrize("step", [*STEPS, "release"])
def test_cancelled_step_gives_its_connection_back_clean(server, redis, step):
    async def run():
        pool = AIOStoppingPool.from_url(server.url, connection_class=AIOStopping, max_connections=1)
        client = asynchronous.Redis(connection_pool=pool)
        members = await AIORedisSet.create("ab", redis=client, key="s")
        Stopping.step = step
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(members.size())
        for _ in range(3):
            assert (await members.has("a"), await members.size()) == (True, 2)
        await pool.disconnect()

    asyncio.run(run())


def test_names_of_temporary_keys_wait_until_the_server_is_back():
    with RedisServer() as server, server.client() as client:
        keeper, temporary = RedisSet("a", redis=client, key="s"), RedisSet("b", redis=client)
        name = temporary.key
        del temporary
        gc.collect()
        server.kill()
        with pytest.raises(RedisConnectionError):
            len(keeper)
        assert list(ABANDONED[client]) == [name]

        server.start()
        len(keeper)
        assert not ABANDONED[client]


def test_names_of_temporary_keys_survive_an_interrupt(stopping):
    keeper, temporary = RedisSet("a", redis=stopping, key="s"), RedisSet("b", redis=stopping)
    name = temporary.key
    del temporary
    gc.collect()
    Stopping.step = "read_response"
    with pytest.raises(Stop):
        len(keeper)
    assert any(name in names for names in ABANDONED.values())
    len(keeper)
    assert not stopping.exists(name)


def test_two_threads_may_unlink_at_once():
    class Emptied(deque):
        """Another thread takes the last name right after the look."""

        def __bool__(self):
            return True

    step = next(sweeping(None, Emptied(), Op(("PING",), same)))
    assert step.ahead == ()


def test_asynchronous_client_does_not_take_over_the_keys_of_a_blocking_one(redis, server):
    async def make():
        client = asynchronous.Redis.from_url(server.url)
        async_set = AIORedisSet(redis=client)
        await async_set.clear()
        await close(client)

    temporary = RedisSet("ab", redis=redis)
    asyncio.run(make())
    del temporary
    gc.collect()
    len(RedisSet(redis=redis, key="s"))
    assert not redis.keys("pottery:*")


def test_interrupt_at_the_end_of_a_release_does_not_lend_a_connection_twice(server):
    class Pool(BlockingConnectionPool):
        is_interrupted = False

        def release(self, connection):
            super().release(connection)
            if Pool.is_interrupted:
                Pool.is_interrupted = False
                raise Stop

    pool = Pool.from_url(server.url, max_connections=3)
    members = RedisSet(redis=Redis(connection_pool=pool), key="s")
    held = [pool.get_connection(*FOR_COMMAND), pool.get_connection(*FOR_COMMAND)]
    Pool.is_interrupted = True
    with pytest.raises(Stop):
        len(members)
    assert pool.get_connection(*FOR_COMMAND) not in held
    pool.disconnect()


def test_write_that_a_demoted_master_refused_may_be_sent_again():
    refusal = RedisConnectionError("The previous master is now a slave")
    refusal.__context__ = ReadOnlyError()
    push = Op(("RPUSH", "k", "1"), nothing)
    assert _may_be_sent_again(push, refusal)
    assert not _may_be_sent_again(push, RedisConnectionError())


CHILD = """
import multiprocessing, sys
from redis import Redis
from pottery import RedisSet

def work(url):
    redis = Redis.from_url(url)
    global kept
    kept = RedisSet("ab", redis=redis)
    assert redis.exists(kept.key)

if __name__ == "__main__":
    child = multiprocessing.get_context(sys.argv[2]).Process(target=work, args=(sys.argv[1],))
    child.start()
    child.join()
    sys.exit(child.exitcode)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_of_multiprocessing_unlinks_its_temporary_keys(server, redis, tmp_path, method):
    program = tmp_path / "child.py"
    program.write_text(CHILD)
    subprocess.run([sys.executable, program, server.url, method], check=True)
    assert redis.dbsize() == 0


@pytest.mark.parametrize("kind", [OutcomeUnknown, DecodeError])
def test_errors_travel_between_processes(kind):
    error = kind(Redis(), "k", b"x")
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin), str(twin), twin.key, twin.args[1:]) == (kind, str(error), "k", ("k", b"x"))
    assert "Redis" not in repr(KeyExistsError(Redis(password="secret"), "k"))


def test_user_who_may_not_unlink_is_not_asked_for_ever(server, redis):
    redis.execute_command("ACL SETUSER", "guest", "on", "nopass", "~*", "+@all", "-unlink")
    with server.client(username="guest", password="any") as client:
        keeper, temporary = RedisSet("a", redis=client, key="s"), RedisSet("b", redis=client)
        del temporary
        gc.collect()
        assert len(keeper) == 1
        assert not ABANDONED[client]
    redis.execute_command("ACL DELUSER", "guest")


def test_keys_in_use_are_listed_though_containers_go_meanwhile(redis):
    names, kept = deque(), [RedisSet(redis=redis) for _ in range(20_000)]
    thresholds = gc.get_threshold()
    gc.collect()
    gc.disable()
    cycles = [RedisSet(redis=redis) for _ in range(10)]
    for one in cycles:
        one.itself = one
    gc.collect(0)  # so that they are in the generation that is not collected at once
    del cycles, one
    try:
        gc.set_threshold(1000, 0, 1000)
        gc.enable()
        assert _in_use_at(names) == []
    finally:
        gc.set_threshold(*thresholds)
    assert len(kept) == 20_000


def test_keys_are_unlinked_briefly_or_not_at_all(server, redis):
    redis.mset({"a": 1, "b": 2, "c": 3})
    unlink_briefly(redis, ["a", "b"])
    unlink_briefly(redis, [])
    unlink_briefly(asynchronous.Redis.from_url(server.url), ["c"])
    unlink_briefly(Redis(port=1), ["c"])
    assert redis.exists("a", "b", "c") == 1


def test_keys_are_unlinked_at_the_master_that_sentinel_leads_to():
    with SentinelServer(replicas=0, sentinels=1) as service, service.client() as client:
        client.set("a", 1)
        unlink_briefly(client, ["a"])
        assert not client.exists("a")


def test_keys_are_left_if_no_sentinel_leads_to_the_master():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Sentinel([("127.0.0.1", 1), silent.getsockname()]).master_for("nobody")
        assert seconds(lambda: unlink_briefly(client, ["a"])) < 5
