"""The faults of pottery.testing.FaultyProxy, as real clients see them."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic, sleep

import pytest
from clients import close, wait_until
from redis import asyncio as asynchronous
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pottery import AIORedisList, OutcomeUnknown
from pottery.testing import FaultyProxy, RedisServer

LOST = RedisConnectionError, RedisTimeoutError


@pytest.fixture(scope="module")
def redis_server():
    """A server beside that of the other tests, in place of the plugin's."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def direct(redis_client):
    return redis_client


@pytest.fixture
def proxy(redis_proxy):
    return redis_proxy


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def client(proxy, request):
    """A client through the proxy that sends nothing twice."""
    with proxy.client(protocol=request.param, retry=None, socket_timeout=5) as client:
        client.ping()
        yield client


# --- without faults


def test_proxy_hands_everything_on(client):
    big = b"x" * 10_000_000

    assert client.set("k", big)
    assert client.get("k") == big
    assert client.rpush("l", *range(20_000)) == 20_000
    assert client.lrange("l", 0, -1) == [b"%d" % number for number in range(20_000)]
    assert client.get("nothing") is None


@pytest.mark.parametrize("unix_socket", [False, True])
def test_proxy_serves_servers_of_either_kind_with_what_their_url_says(unix_socket):
    config = {"requirepass": "s/e@cret"}

    with RedisServer(unix_socket=unix_socket, config=config) as server, server.proxy() as proxy:
        assert proxy.url == f"redis://:s%2Fe%40cret@127.0.0.1:{proxy.port}"
        with proxy.client() as client:
            assert client.ping()


def test_url_leads_to_the_same_database(redis_server, direct):
    with FaultyProxy(f"{redis_server.url}/3?socket_timeout=7") as proxy, proxy.client() as client:
        client.set("k", 1)

        assert proxy.url.endswith("/3?socket_timeout=7")
        assert direct.info("keyspace")["db3"]["keys"] == 1


# --- what happens once


def test_dropped_reply_is_of_a_command_that_ran(client, proxy, direct):
    proxy.drop_reply()

    with pytest.raises(RedisConnectionError):
        client.incr("n")

    assert direct.get("n") == b"1"
    assert client.incr("n") == 2
    assert proxy.lost == 1


def test_dropped_command_does_not_run(client, proxy, direct):
    proxy.drop_command()

    with pytest.raises(RedisConnectionError):
        client.incr("n")

    assert direct.get("n") is None
    assert client.incr("n") == 1
    assert proxy.lost == 1


def test_swallowed_reply_never_comes_and_its_command_ran(proxy, direct):
    with proxy.client(retry=None, socket_timeout=0.5) as client:
        client.ping()
        proxy.swallow_reply()
        with pytest.raises(RedisTimeoutError):
            client.incr("n")

        assert direct.get("n") == b"1"
        assert client.incr("n") == 2


@pytest.mark.parametrize("fault", ["drop_reply", "drop_command"])
def test_faults_are_counted_in_commands_after_those_that_are_spared(client, proxy, fault):
    getattr(proxy, fault)(2, after=3)
    outcomes = [outcome(client, number) for number in range(8)]

    assert outcomes == [0, 1, 2, None, None, 5, 6, 7]


def outcome(client, number):
    with suppress(RedisConnectionError):
        return int(client.echo(number))


def test_cut_closes_what_is_open(client, proxy):
    timer = threading.Timer(0.1, proxy.cut)
    timer.start()

    with pytest.raises(RedisConnectionError):
        client.blpop("l", 4)
    timer.join()
    assert client.ping()


# --- what lasts


def test_stalled_network_leaves_connections_open_and_delivers_late(client, proxy, direct):
    answers = []
    caller = threading.Thread(target=lambda: answers.append(client.incr("n")))
    with proxy.stall():
        caller.start()
        with (
            proxy.client(retry=None, socket_timeout=0.1) as other,
            pytest.raises(RedisTimeoutError),
        ):
            other.ping()
        assert direct.get("n") is None
    caller.join(10)

    assert answers == [1]


def test_refusing_proxy_is_as_a_machine_without_a_server(client, proxy):
    with proxy.refuse():
        for _ in range(3):
            with pytest.raises(RedisConnectionError):
                client.ping()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((proxy.host, proxy.port))

    assert client.ping()


def test_delay_counts_in_each_direction(client, proxy):
    with proxy.delay(0.1):
        before = monotonic()
        client.ping()
        assert 0.2 <= monotonic() - before < 5

    before = monotonic()
    client.ping()
    assert monotonic() - before < 0.2


def test_delayed_messages_stay_in_order(client, proxy):
    with proxy.delay(0, jitter=0.05), client.pipeline(transaction=False) as pipeline:
        for number in range(50):
            pipeline.rpush("l", number)
        assert pipeline.execute() == [*range(1, 51)]
        assert client.lrange("l", 0, -1) == [b"%d" % number for number in range(50)]


def test_throttled_line_takes_its_time(client, proxy):
    with proxy.throttle(1_000_000):
        before = monotonic()
        client.set("k", b"x" * 300_000)
        assert 0.3 <= monotonic() - before < 5


# --- bytes, as they travel


@pytest.fixture
def wire(proxy):
    """A connection that is written and read by hand."""
    with socket.create_connection((proxy.host, proxy.port), 10) as connection:
        yield connection


def read(connection, size):
    """Return *size* bytes, or what comes before the end."""
    parts = b""
    with suppress(ConnectionResetError):
        while len(parts) < size and (part := connection.recv(size - len(parts))):
            parts += part
    return parts


@pytest.mark.parametrize("in_pieces", [False, True])
@pytest.mark.parametrize(
    ("fault", "heard", "ran"),
    [("drop_reply", b":1\r\n:2\r\n", b"5"), ("drop_command", b":1\r\n:2\r\n", b"2")],
)
def test_commands_are_told_apart_in_whatever_pieces_they_come(
    wire, proxy, direct, fault, heard, ran, in_pieces
):
    getattr(proxy, fault)(after=2)
    sent = b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n" * 5
    for place in range(len(sent)) if in_pieces else []:
        with suppress(OSError):
            wire.sendall(sent[place : place + 1])
        sleep(0.0005)
    if not in_pieces:
        wire.sendall(sent)

    assert read(wire, 1000) == heard
    assert int(direct.get("n")) <= int(ran)
    assert int(direct.get("n")) >= 2


@pytest.mark.parametrize(
    "command", [b"GET big", b"LRANGE long 0 -1", b"EVAL 'return {1,{2,{}},false}' 0", b"nonsense"]
)
def test_reply_counts_once_however_long_and_deep_it_is(wire, proxy, direct, command):
    direct.set("big", b"\r\n*1\r\n+OK\r\n" * 700_000)
    direct.rpush("long", *[b":1\r\n"] * 20_000)
    proxy.drop_reply(after=2)
    wire.sendall(b"%b\r\nECHO one\r\nECHO two\r\n" % command)
    heard = read(wire, 20_000_000)

    assert heard.endswith(b"$3\r\none\r\n")
    assert proxy.lost == 1


KINDS = ["string", "integer", "double", "null", "array", "set", "map", "attrib", "push"]
KINDS += ["verbatim", "true", "false"]


@pytest.mark.parametrize("kind", KINDS)
def test_reply_of_any_kind_counts_once_and_a_push_before_it_not_at_all(kind):
    with RedisServer() as server, server.proxy() as proxy:
        with server.client() as client:
            if client.info("server")["redis_version"] >= "7":
                server.config["enable-debug-command"] = "yes"
                server.restart()
        with socket.create_connection((proxy.host, proxy.port), 10) as wire:
            proxy.drop_reply(after=2)
            wire.sendall(b"HELLO 3\r\nDEBUG PROTOCOL %b\r\n" % kind.encode())
            wire.sendall(b"ECHO one\r\nECHO two\r\n")
            heard = read(wire, 100_000)

    assert heard.endswith(b"$3\r\none\r\n")
    assert proxy.lost == 1


@pytest.mark.parametrize("protocol", [2, 3])
def test_what_subscribers_hear_is_not_counted(proxy, direct, protocol):
    proxy.drop_reply()
    with proxy.client(protocol=protocol) as client, client.pubsub() as listener:
        listener.subscribe("one", "two")
        listener.psubscribe("o*")
        messages = [listener.get_message(timeout=10) for _ in range(3)]
        assert [message["type"] for message in messages] == ["subscribe"] * 2 + ["psubscribe"]

        for number in range(3):
            direct.publish("one", number)
        messages = [listener.get_message(timeout=10) for _ in range(6)]
        assert {message["type"] for message in messages} == {"message", "pmessage"}
        assert proxy.lost == 0
        with pytest.raises(RedisConnectionError):
            client.echo("x")


def test_what_a_tracking_client_is_told_is_not_counted(wire, proxy, direct):
    wire.sendall(b"HELLO 3\r\nCLIENT TRACKING ON\r\nGET k\r\n")
    while read(wire, 1) != b"_":
        pass
    direct.set("k", 1)
    proxy.drop_reply()
    wire.sendall(b"GET k\r\n")

    assert b"invalidate" in read(wire, 1000)
    assert proxy.lost == 1


def test_monitor_goes_on(proxy, direct):
    proxy.drop_reply(after=1)
    with proxy.client() as client, client.monitor() as monitor:
        for number in range(3):
            direct.echo(number)
        said = [monitor.next_command()["command"] for _ in range(3)]

    assert said == ["ECHO 0", "ECHO 1", "ECHO 2"]


def test_replica_follows_through_the_proxy(proxy, direct):
    direct.config_set("repl-diskless-sync-delay", 0)
    direct.config_set("repl-ping-replica-period", 3600)  # nothing may have to wait for more to come
    direct.set("before", b"\r\n" * 100_000)
    with RedisServer() as server, server.client() as replica:
        replica.replicaof(proxy.host, proxy.port)
        wait_until(lambda: replica.get("before") == direct.get("before"), 20)
        direct.set("after", 1)
        wait_until(lambda: replica.get("after") == b"1", 20)
        with proxy.stall():
            direct.set("late", 1)
            sleep(0.2)
            assert replica.get("late") is None
        wait_until(lambda: replica.get("late") == b"1", 20)


def test_empty_lines_are_no_commands(wire, proxy):
    proxy.drop_reply(after=1)
    wire.sendall(b"\r\n\r\nECHO one\r\nECHO two\r\n")

    assert read(wire, 1000) == b"$3\r\none\r\n"


def test_nothing_comes_any_more_after_a_reply_was_swallowed(wire, proxy, direct):
    proxy.swallow_reply(after=1)
    wire.sendall(b"INCR n\r\n" * 3)
    assert read(wire, 4) == b":1\r\n"
    wait_until(lambda: direct.get("n") == b"3")
    wire.settimeout(0.2)
    with pytest.raises(TimeoutError):
        wire.recv(1)

    assert proxy.lost == 1


def test_what_came_before_a_lost_reply_is_had_by_slow_readers_too(wire, proxy, direct):
    direct.set("big", b"x" * 10_000_000)
    proxy.drop_reply(after=1)
    wire.sendall(b"GET big\r\nGET big\r\n")
    heard = 0
    while part := wire.recv(20_000):
        heard += len(part)
        sleep(0.0001)

    assert heard == len(b"$10000000\r\n") + 10_000_000 + 2


# --- many at once


def test_many_clients_at_once_lose_just_so_many_replies(proxy, direct):
    proxy.drop_reply(20, after=100)
    with ThreadPoolExecutor(50) as pool:
        outcomes = list(pool.map(increment, [proxy] * 400))

    assert outcomes.count(None) == 20
    assert int(direct.get("n")) == 400
    assert len({*outcomes} - {None}) == 380


def increment(proxy):
    with proxy.client(retry=None) as client, suppress(RedisConnectionError):
        return client.incr("n")


def test_all_of_many_connections_are_cut(proxy):
    clients = [proxy.client(retry=None) for _ in range(100)]
    with ThreadPoolExecutor(100) as pool:
        waiting = [pool.submit(client.blpop, "l", 60) for client in clients]
        with proxy.client() as client:
            wait_until(lambda: client.info("clients")["blocked_clients"] == 100, 20)
        proxy.cut()
        failures = [future.exception(20) for future in waiting]
    for client in clients:
        client.close()

    assert all(isinstance(failure, RedisConnectionError) for failure in failures)


def test_clients_of_asyncio_meet_the_same_faults(proxy, direct):
    async def main():
        client = asynchronous.Redis.from_url(proxy.url, socket_timeout=0.5)
        numbers = AIORedisList(redis=client, key="l")
        await numbers.append(0)
        for fault in (proxy.drop_reply, proxy.drop_command, proxy.swallow_reply):
            fault()
            with pytest.raises(OutcomeUnknown):
                await numbers.append(1)
        with proxy.refuse(), pytest.raises(RedisConnectionError):
            await numbers.append(2)
        assert await asyncio.gather(*(client.ping() for _ in range(50))) == [True] * 50
        await close(client)

    asyncio.run(main())
    assert direct.lrange("l", 0, -1) == [b"0", b"1", b"1"]


# --- servers that come and go


def test_proxy_finds_a_server_that_was_restarted():
    with RedisServer() as server, server.proxy() as proxy, proxy.client(retry=None) as client:
        for end in (server.restart, server.kill, server.stop):
            assert client.ping()
            end()
            with suppress(RedisConnectionError):
                client.ping()
            server.start()
            assert client.ping()
        server.kill()
        with pytest.raises(RedisConnectionError):
            client.ping()


def test_client_that_waits_hears_that_the_server_is_gone():
    with RedisServer() as server, server.proxy() as proxy, proxy.client(retry=None) as client:
        timer = threading.Timer(0.2, server.kill)
        timer.start()
        with pytest.raises(RedisConnectionError):
            client.blpop("l", 60)
        timer.join()


def test_server_hears_that_a_client_is_gone(proxy, direct):
    def clients():
        return len(direct.client_list())

    before = clients()
    with socket.create_connection((proxy.host, proxy.port)) as wire:
        wire.sendall(b"BLPOP l 0\r\n")
        wait_until(lambda: clients() == before + 1)
    wait_until(lambda: clients() == before)


# --- several faults


def test_stalls_may_be_nested(client, proxy):
    with proxy.stall():
        with proxy.stall():
            pass
        with (
            proxy.client(retry=None, socket_timeout=0.2) as other,
            pytest.raises(RedisTimeoutError),
        ):
            other.ping()

    assert client.ping()


def test_refusals_are_not_nested(client, proxy):
    with proxy.refuse():
        with pytest.raises(RuntimeError, match="already"), proxy.refuse():
            pass
        with pytest.raises(RedisConnectionError):
            client.ping()

    assert client.ping()


def test_command_of_a_client_that_gave_up_runs_late(proxy, direct):
    with proxy.client(retry=None, socket_timeout=0.2) as client:
        client.ping()
        with proxy.stall(), pytest.raises(RedisTimeoutError):
            client.incr("n")
        wait_until(lambda: direct.get("n") == b"1")


def test_connections_of_a_stalled_network_can_be_cut(client, proxy, direct):
    with proxy.stall():
        caller = threading.Thread(target=increment, args=[proxy])
        caller.start()
        sleep(0.1)
        proxy.cut()
        caller.join(10)
        assert not caller.is_alive()

    assert direct.get("n") is None
    assert client.ping()


def test_delays_end_with_their_blocks_whatever_happens_in_them(client, proxy):
    with pytest.raises(ZeroDivisionError), proxy.delay(5), proxy.throttle(1), proxy.stall():
        _ = 1 / 0
    before = monotonic()
    client.ping()

    assert monotonic() - before < 2


def test_fault_can_be_taken_back(client, proxy):
    for fault in (proxy.drop_reply, proxy.drop_command, proxy.swallow_reply):
        fault(5)
        fault(0)

    assert client.ping()
    assert proxy.lost == 0


@pytest.mark.parametrize(
    "fault",
    [
        lambda proxy: proxy.drop_reply(-1),
        lambda proxy: proxy.drop_command(after=-1),
        lambda proxy: proxy.delay(-1).__enter__(),
        lambda proxy: proxy.throttle(0).__enter__(),
        lambda proxy: FaultyProxy("rediss://127.0.0.1"),
    ],
    ids=["reply", "command", "delay", "throttle", "url"],
)
def test_nonsense_raises_valueerror(proxy, fault):
    with pytest.raises(ValueError, match="must"):
        fault(proxy)


# --- its end


def test_proxy_is_gone_after_its_block(redis_server):
    before = threading.active_count()
    with redis_server.proxy() as proxy, proxy.client(retry=None) as client:
        client.ping()

    assert threading.active_count() == before
    with pytest.raises(RedisConnectionError):
        client.ping()
    with pytest.raises(RuntimeError, match="with block"):
        proxy.drop_reply()


def test_proxy_can_be_opened_again_at_the_same_address(redis_server):
    proxy = redis_server.proxy()
    with proxy:
        port = proxy.port
    with proxy, proxy.client() as client:
        assert proxy.port == port
        assert client.ping()


def test_block_ends_though_somebody_reads_nothing(redis_server, direct):
    direct.set("big", b"x" * 20_000_000)
    before = threading.active_count()
    with redis_server.proxy() as proxy:
        wire = socket.create_connection((proxy.host, proxy.port))
        wire.sendall(b"GET big\r\n")
        sleep(0.2)
    wire.close()

    assert threading.active_count() == before


def test_block_that_raises_leaves_nothing(redis_server):
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), redis_server.proxy() as proxy, proxy.refuse():
        _ = 1 / 0

    assert threading.active_count() == before


def test_forked_child_takes_nothing_along(redis_server):
    code = """
import os, signal, socket, sys
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from pottery.testing import FaultyProxy
def say(word):
    os.write(1, f"{word}\\n".encode())
with FaultyProxy(sys.argv[1]) as proxy, proxy.client(retry=None) as client:
    waiting = proxy.client(retry=None)
    connection = waiting.connection_pool.get_connection()
    connection.send_command("BLPOP", "l", 60)
    child = os.fork()
    if not child:
        try:
            proxy.cut()
        except RuntimeError:
            say("refused")
        signal.pause()
    proxy.cut()
    try:
        connection.read_response()
    except RedisConnectionError:
        say("cut")
    with proxy.refuse():
        try:
            socket.create_connection((proxy.host, proxy.port), 5)
        except ConnectionRefusedError:
            say("refused")
    say(client.ping())
    end = os.fork()
    if not end:
        proxy.__exit__(None, None, None)
        os._exit(0)
    os.waitpid(end, 0)
    say(client.ping())
try:
    socket.create_connection((proxy.host, proxy.port), 5)
except ConnectionRefusedError:
    say("gone")
os.kill(child, signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code]
        + [redis_server.url],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert sorted(done.stdout.split()) == ["True", "True", "cut", "gone", "refused", "refused"]


def test_connection_that_comes_just_when_all_are_cut_is_closed(redis_server):
    with FaultyProxy(redis_server.url) as proxy:
        for _ in range(100):
            with socket.create_connection((proxy.host, proxy.port)), proxy.refuse():
                pass
    gc.collect()  # so that what was not closed is reported here
