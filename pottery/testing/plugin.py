"""Fixtures for pytest: real servers, and clients of them with empty databases.

Load them by ``pytest_plugins = ["pottery.testing.plugin"]`` in a conftest.py, or on the command
line by ``-p pottery.testing.plugin``. pytest does not find them by itself, on purpose: a library
that runs in production should not load itself into every run of pytest in the same environment.

Servers are started when the first test needs them, and serve the whole session; one that a test has
killed is started again for the next test. Each test begins with empty databases. To use another
kind of server, override its fixture; the other fixtures use yours::

    @pytest.fixture(scope="session")
    def redis_server():
        with RedisServer(binary="/opt/valkey/bin/valkey-server") as server:
            yield server
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from pottery.testing import ClusterServer, FaultyProxy, RedisServer

if TYPE_CHECKING:
    from collections.abc import Generator

    from redis import Redis, RedisCluster

# As many as on Redis's page on distributed locks: two may fail.
_MASTERS = 5


@pytest.fixture(scope="session")
def redis_server() -> Generator[RedisServer]:
    """Run a `RedisServer`, which a test may stall, kill or restart.

    REDIS_URL names it, so it also serves what is made without a client.
    """
    with RedisServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REDIS_URL", server.url)
        yield server


@pytest.fixture
def redis_client(redis_server: RedisServer) -> Generator[Redis]:
    """Give a client of `redis_server`, which is empty."""
    redis_server.start()
    with redis_server.client() as client:
        _empty(client)
        yield client


@pytest.fixture
def redis_proxy(
    redis_server: RedisServer,
    redis_client: Redis,  # noqa: ARG001 - it empties the server
) -> Generator[FaultyProxy]:
    """Give a `FaultyProxy` of `redis_server`, which is empty."""
    with FaultyProxy(redis_server.url) as proxy:
        yield proxy


@pytest.fixture
def redis_proxy_client(redis_proxy: FaultyProxy) -> Generator[Redis]:
    """Give a client that goes through `redis_proxy`."""
    with redis_proxy.client() as client:
        yield client


@pytest.fixture(scope="session")
def redis_master_servers() -> Generator[list[RedisServer]]:
    """Run five servers that know nothing of each other, for locks and IDs."""
    with ExitStack() as stack:
        yield [stack.enter_context(RedisServer()) for _ in range(_MASTERS)]


@pytest.fixture
def redis_masters(redis_master_servers: list[RedisServer]) -> Generator[list[Redis]]:
    """Give a client of each of `redis_master_servers`, which are empty: *masters* of a lock."""
    with ExitStack() as stack:
        for server in redis_master_servers:
            server.start()
        clients = [stack.enter_context(server.client()) for server in redis_master_servers]
        for client in clients:
            _empty(client)
        yield clients


@pytest.fixture(scope="session")
def redis_cluster() -> Generator[ClusterServer]:
    """Run a `ClusterServer` of three masters. A test that moves a slot must move it back."""
    with ClusterServer() as cluster:
        yield cluster


@pytest.fixture
def redis_cluster_client(redis_cluster: ClusterServer) -> Generator[RedisCluster]:
    """Give a client of `redis_cluster`, which is empty."""
    redis_cluster.start()
    with redis_cluster.client() as client:
        _empty(client, target_nodes="primaries")
        yield client


def _empty(client: Any, **options: Any) -> None:
    client.flushall(**options)
