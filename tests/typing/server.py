"""The types of pottery.testing, as a user's type checker sees them; never run."""

from redis import Redis
from typing_extensions import assert_type

from pottery.testing import RedisServer, executable

assert_type(executable(), str)
with RedisServer(unix_socket=True, config={"maxmemory": "10mb", "databases": 1}) as server:
    assert_type(server, RedisServer)
    assert_type(server.client(decode_responses=True), Redis)
    assert_type(server.url, str)
    assert_type(server.pid, int)
    assert_type((server.host, server.port, server.path), tuple[str, int, str])
    server.stop()
    server.start()
