"""The plugin for pytest, in runs of pytest as a user has them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from clients import wait_until

import pottery

BY_CONFTEST = 'pytest_plugins = ["pottery.testing.plugin"]\n'
OPTIONS = ("-p", "no:cacheprovider", "-W", "error")


@pytest.fixture
def run(pytester, monkeypatch):
    """Run the tests in *text* in a pytest of their own; return how they ended."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # which is sooner ready
    monkeypatch.setenv("PYTHONPATH", str(Path(pottery.__file__).parents[1]))

    def run(text, *options, conftest=BY_CONFTEST):
        pytester.makeconftest(conftest)
        pytester.makepyfile(text)
        return pytester.runpytest_subprocess(*OPTIONS, *options, timeout=100)

    return run


def test_plugin_loads_itself_into_nobodys_tests(run, monkeypatch):
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")

    ended = run("def test(redis_client): pass", conftest="")

    ended.assert_outcomes(errors=1)
    ended.stdout.fnmatch_lines(["*fixture 'redis_client' not found"])


def test_plugin_can_be_chosen_on_the_command_line(run):
    ended = run(
        "def test(redis_client): assert redis_client.ping()",
        "-p",
        "pottery.testing.plugin",
        conftest="",
    )

    ended.assert_outcomes(passed=1)


def test_fixtures_are_listed_with_what_they_are_for(run):
    ended = run("", "--fixtures", "-q")

    ended.stdout.fnmatch_lines(
        ["redis_server [[]session scope[]]*", "*Run a `RedisServer`, which a test may stall*"]
    )


def test_each_test_has_a_server_that_runs_and_is_empty(run):
    ended = run(
        """
        import os, pytest
        from pottery import RedisList, RedisSimpleQueue

        pids = []

        @pytest.mark.parametrize("number", range(4))
        def test_client(redis_client, redis_server, number):
            pids.append(redis_server.pid)
            assert redis_client.keys() == []
            RedisList([number], redis=redis_client, key="numbers")
            assert len(set(pids)) == 1

        def test_default_client(redis_client):
            RedisList([1], key="numbers")
            assert redis_client.keys() == [b"numbers"]

        def test_url(redis_server):
            assert os.environ["REDIS_URL"] == redis_server.url

        def test_kill(redis_server):
            redis_server.kill()

        def test_after_kill(redis_client):
            assert redis_client.ping()

        def test_stall(redis_server, redis_client):
            with redis_server.stall():
                1 / 0

        def test_after_stall(redis_client):
            assert redis_client.ping()
        """
    )

    ended.assert_outcomes(passed=9, failed=1)
    ended.stdout.fnmatch_lines(["*ZeroDivisionError*"])


def test_faults_are_those_of_the_proxy(run):
    ended = run(
        """
        import pytest
        from pottery import OutcomeUnknown, RedisList, RedisSimpleQueue

        def test_push(redis_client, redis_proxy, redis_proxy_client):
            numbers = RedisList(redis=redis_proxy_client, key="numbers")
            redis_proxy.drop_reply()
            with pytest.raises(OutcomeUnknown):
                numbers.append(1)
            assert redis_client.llen("numbers") == 1

        def test_queue(redis_proxy, redis_proxy_client):
            queue = RedisSimpleQueue(redis=redis_proxy_client, key="queue")
            redis_proxy.drop_reply()
            queue.put("job")
            assert queue.qsize() == 1
            assert redis_proxy.lost == 1
        """
    )

    ended.assert_outcomes(passed=2)


def test_five_masters_are_back_after_each_test(run):
    ended = run(
        """
        from pottery import NextId, Redlock
        from pottery.testing import lose_lock

        def test_lock(redis_masters, redis_master_servers):
            assert len(redis_masters) == 5
            lock = Redlock(key="printer", masters=redis_masters)
            for server in redis_master_servers[:2]:
                server.kill()
            assert lock.acquire(timeout=5)

        def test_after_that(redis_masters):
            assert all(client.keys() == [] for client in redis_masters)
            lock = Redlock(key="printer", masters=redis_masters)
            assert lock.acquire(blocking=False)
            lose_lock(lock)
            assert lock.lost.wait(10)
        """
    )

    ended.assert_outcomes(passed=2)


@pytest.mark.slow
def test_cluster_is_complete_and_empty_before_each_test(run):
    ended = run(
        """
        from pottery import RedisDict

        def test_cluster(redis_cluster, redis_cluster_client):
            RedisDict({"a": 1}, redis=redis_cluster_client, key="d")
            redis_cluster.kill(0)

        def test_after_that(redis_cluster_client):
            for key in "abcdefgh":
                assert not RedisDict(redis=redis_cluster_client, key=key)
                RedisDict({"a": 1}, redis=redis_cluster_client, key=key)
        """
    )

    ended.assert_outcomes(passed=2)


def test_server_of_ones_own_takes_the_place_of_the_plugins(run):
    ended = run(
        """
        def test(redis_client, redis_proxy, redis_proxy_client):
            assert redis_client.config_get("maxmemory") == {"maxmemory": "10485760"}
            assert redis_proxy_client.config_get("maxmemory") == {"maxmemory": "10485760"}
        """,
        conftest=BY_CONFTEST
        + """
import pytest
from pottery.testing import RedisServer

@pytest.fixture(scope="session")
def redis_server():
    with RedisServer(config={"maxmemory": "10mb"}) as server:
        yield server
""",
    )

    ended.assert_outcomes(passed=1)


@pytest.mark.parametrize("end", ["assert True", "raise KeyboardInterrupt"])
def test_nothing_is_left_of_the_session(run, end):
    ended = run(
        f"""
        import os

        def test(redis_server, redis_proxy_client, redis_masters, redis_master_servers):
            for server in [redis_server, *redis_master_servers]:
                print("PID", server.pid)
            {end}
        """,
        "-s",
    )

    pids = [int(pid) for pid in re.findall(r"PID (\d+)", ended.stdout.str())]
    assert len(pids) == 6
    wait_until(lambda: not any(map(is_running, pids)), 10)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_pytest_is_needed_by_nobody_else():
    code = "import sys; sys.modules['pytest'] = None; import pottery.testing"

    subprocess.run([sys.executable, "-c", code], check=True)
