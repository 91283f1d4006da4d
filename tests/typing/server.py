"""The types of pottery.testing, as a user's type checker sees them; never run."""

from redis import Redis, RedisCluster
from typing_extensions import assert_type

from pottery import AIORedlock, Redlock
from pottery.testing import (
    ClusterServer,
    FaultyProxy,
    RedisServer,
    SentinelServer,
    executable,
    lose_lock,
)

assert_type(executable(), str)
with RedisServer(unix_socket=True, config={"maxmemory": "10mb", "databases": 1}) as server:
    assert_type(server, RedisServer)
    assert_type(server.client(decode_responses=True), Redis)
    assert_type(server.url, str)
    assert_type(server.pid, int)
    assert_type((server.host, server.port, server.path), tuple[str, int, str])
    server.stop()
    server.start()
    server.restart()
    server.restart(crash=True, keep_data=False)
    with server.stall():
        server.kill()

    with server.proxy() as proxy, FaultyProxy(server.url) as other:
        assert_type(proxy, FaultyProxy)
        assert_type(other, FaultyProxy)
        assert_type(proxy.client(socket_timeout=0.1), Redis)
        assert_type((proxy.url, proxy.host, proxy.port), tuple[str, str, int])
        proxy.drop_reply()
        proxy.drop_command(2, after=1)
        proxy.swallow_reply(after=1)
        proxy.cut()
        with proxy.stall(), proxy.refuse(), proxy.delay(0.1, jitter=1), proxy.throttle(100):
            assert_type(proxy.lost, int)

    lose_lock(Redlock(key="k", masters={server.client()}))
    lose_lock(AIORedlock(key="k"))

with ClusterServer(masters=3, replicas=1, config={"maxmemory": "10mb"}) as cluster:
    assert_type(cluster.nodes, list[RedisServer])
    assert_type(cluster.client(), RedisCluster)
    cluster.kill(0)
    cluster.start()


def test(
    redis_server: RedisServer,
    redis_client: Redis,
    redis_proxy: FaultyProxy,
    redis_masters: list[Redis],
) -> None:
    """Use fixtures as a test does."""


with SentinelServer(replicas=2, sentinels=3, name="prices", config={"databases": 1}) as service:
    assert_type(service, SentinelServer)
    assert_type(service.client(decode_responses=True), Redis)
    assert_type((service.master, service.nodes), tuple[RedisServer, list[RedisServer]])
    assert_type((service.name, service.url), tuple[str, str])
    service.kill()
