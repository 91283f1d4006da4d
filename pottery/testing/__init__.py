"""A real Redis server, cluster or set of Sentinels of one's own, for tests and demonstrations.

>>> with RedisServer() as server, server.client() as client:
...     client.ping()
True

Nothing here is an operation on a container, so no docstring here ends in a cost line. A server is
ready in about 20 ms. It keeps its files in a directory of its own, listens on the loopback
interface or on a unix socket only, and ends with the process that started it, however that ends.
"""

from pottery.testing._cluster import ClusterServer
from pottery.testing._locks import lose_lock
from pottery.testing._proxy import FaultyProxy
from pottery.testing._sentinel import SentinelServer
from pottery.testing._server import RedisServer, executable

__all__ = [
    "ClusterServer",
    "FaultyProxy",
    "RedisServer",
    "SentinelServer",
    "executable",
    "lose_lock",
]
