"""What the tests share: a server, clients of it in each wire mode, and a record of what is sent.

The server is the one at REDIS_URL, whose database must be empty, or else one that the tests start.
HIREDIS=no hides hiredis, so that redis-py reads replies with its own parser in Python.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pytest

if os.environ.get("HIREDIS") == "no":
    sys.modules["hiredis"] = None

import redis as redis_py  # after hiredis was hidden
from colours import Awaited, Loop
from redis import asyncio as asynchronous
from redis.utils import HIREDIS_AVAILABLE

from pottery.testing import RedisServer, executable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from pottery.testing import ClusterServer

# How users test, too; and pytester runs pytest as they do.
pytest_plugins = ["pottery.testing.plugin", "pytester"]

DEFAULT = "default"
WIRES: dict[str, dict[str, Any]] = {
    "resp2": {"protocol": 2},
    "resp2-decoded": {"protocol": 2, "decode_responses": True},
    "resp3": {"protocol": 3},
    "resp3-decoded": {"protocol": 3, "decode_responses": True},
}
# For the long suites that say little about the wire, those two that differ in everything.
CORNERS = ["resp2", "resp3-decoded"]
LONG = {"test_conformance", "test_costs", "test_cpython"}
# What --cluster leaves out: fixtures that are of one server, and tests that need one, with reasons.
NO_CLUSTER = {"any_redis", "commands", "five_servers", "lossy", "masters", "proxy", "server"}
ONE_SERVER = {
    "test_bloom::test_bitmap_is_that_of": "writes two keys by a command of its own",
    "test_cache::test_interrupted_": "looks for keys beside the cache",
    "test_interrupts::": "its programs make clients of one server",
    "test_nextid": "masters are servers, not clusters",
    "test_queue::test_command_that_comes_again": "names keys beside the queue",
    "test_queue::test_give_back_is_done_once": "names keys beside the queue",
    "test_queue::test_idle_consumer": "counts the commands that one server ran",
    "test_queue::test_item_that_is_no_json": "names keys beside the queue",
    "test_queue::test_keys_beside": "names keys beside the queue",
    "test_queue::test_records_are": "names keys beside the queue",
    "test_queue::test_returned_items": "names keys beside the queue",
    "test_queue::test_take_that_found_nothing": "names keys beside the queue",
    "test_redlock": "masters are servers, not clusters",
}
# Taken away at once, so that a default client can never reach a server that is not the tests' own.
GIVEN_URL = os.environ.pop("REDIS_URL", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--wire",
        choices=[DEFAULT, "all", *WIRES],
        default=DEFAULT,
        help="how the fixture `redis` talks to the server; but for the default, "
        "only tests that use a client are run, and of `all` the long suites in two modes only",
    )
    parser.addoption(
        "--cluster",
        action="store_true",
        help="let the fixture `redis` be a client of a cluster; only tests that can use it are run",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Not in pyproject.toml: pytest would import pottery to find the class, before coverage is
    # measured and before hiredis is hidden.
    config.addinivalue_line("filterwarnings", "ignore::pottery.InefficientAccessWarning")


def pytest_report_header() -> str:
    parser = "hiredis" if HIREDIS_AVAILABLE else "Python"
    server = "that at REDIS_URL" if GIVEN_URL else executable()
    return f"redis-py {redis_py.__version__}, parser: {parser}, server: {server}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    wire = metafunc.config.getoption("wire")
    if "any_redis" in metafunc.fixturenames:
        metafunc.parametrize("any_redis", WIRES, indirect=True)
    if "redis" in metafunc.fixturenames and wire != DEFAULT:
        wires = CORNERS if metafunc.module.__name__ in LONG else [*WIRES]
        metafunc.parametrize("redis", wires if wire == "all" else [wire], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("cluster"):
        items[:] = [item for item in items if can_use_a_cluster(item)]
    if config.getoption("wire") != DEFAULT:
        items[:] = [item for item in items if uses_a_wire(item)]


def uses_a_wire(item: pytest.Item) -> bool:
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return "redis" in params or "any_redis" in params


def can_use_a_cluster(item: pytest.Item) -> bool:
    wanted = set(getattr(item, "fixturenames", ()))
    name = f"{Path(item.path).stem}::{item.name.partition('[')[0]}"
    excluded = any(doctest in item.name for doctest in ("pottery.nextid", "pottery.redlock"))
    excluded |= any(name.startswith(beginning) for beginning in ONE_SERVER)
    return bool(wanted & {"redis", "cluster"}) and not wanted & NO_CLUSTER and not excluded


class Server(Protocol):
    """What a test may use of the server, whoever started it."""

    @property
    def url(self) -> str: ...

    def client(self, **options: Any) -> redis_py.Redis: ...


@dataclass
class GivenServer:
    """The server at REDIS_URL."""

    url: str

    def client(self, **options: Any) -> redis_py.Redis:
        return redis_py.Redis.from_url(self.url, **options)


if GIVEN_URL:

    @pytest.fixture(scope="session")
    def redis_server() -> Iterator[RedisServer]:
        """A server beside the given one, of which alone REDIS_URL tells."""
        with RedisServer() as server:
            yield server


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with an empty database, to which the default client leads too."""
    if not GIVEN_URL:
        yield request.getfixturevalue("redis_server")
        return
    with given_server(GIVEN_URL) as server:
        os.environ["REDIS_URL"] = server.url
        yield server
        del os.environ["REDIS_URL"]


@contextmanager
def given_server(url: str) -> Iterator[Server]:
    """Lend the server at *url*: the tests empty its database, so it must be empty already."""
    server = GivenServer(url)
    with server.client() as client:
        if client.dbsize():
            pytest.exit("the database at REDIS_URL is not empty, and the tests would empty it")
        yield server
        client.flushdb()


@pytest.fixture(scope="session")
def cluster(redis_cluster: ClusterServer) -> ClusterServer:
    """A cluster of three masters. Who moves a slot must move it back."""
    return redis_cluster


@pytest.fixture
def cluster_redis(redis_cluster_client: redis_py.RedisCluster) -> redis_py.RedisCluster:
    """A client of a cluster that is empty."""
    client = redis_cluster_client
    client.keys = partial(client.keys, target_nodes="primaries")  # redis-py 8 asks but one node
    return client


@pytest.fixture
def redis(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client of an empty database: redis-py's default client, or as --wire and --cluster say."""
    server = request.getfixturevalue("server")
    if request.config.getoption("cluster"):  # but for the default client, which is of the server
        yield request.getfixturevalue("cluster_redis")
        return
    with server.client(**WIRES.get(getattr(request, "param", DEFAULT), {})) as client:
        client.flushdb()
        yield client


@pytest.fixture
def any_redis(server: Server, request: pytest.FixtureRequest) -> Iterator[redis_py.Redis]:
    """A client of an empty database, in each of the four wire modes."""
    with server.client(**WIRES[request.param]) as client:
        client.flushdb()
        yield client


@pytest.fixture(scope="session")
def five_servers(redis_master_servers: list[RedisServer]) -> list[RedisServer]:
    """Five servers that know nothing of each other. Who stops one must start it again."""
    return redis_master_servers


@pytest.fixture
def masters(redis_masters: list[redis_py.Redis]) -> list[redis_py.Redis]:
    """A client of each of five empty servers: redis-py's default client."""
    return redis_masters


@pytest.fixture
def loop() -> Iterator[Loop]:
    """An event loop for the containers in colours.py."""
    Awaited.loop = Loop()
    yield Awaited.loop
    Awaited.loop.close()


@pytest.fixture
def aio(redis: redis_py.Redis, loop: Loop) -> asynchronous.Redis:
    """A client like `redis`, and of the same database, for asyncio."""
    return loop.client(redis)


@pytest.fixture(params=["blocking", "asyncio"])
def any_colour(redis: redis_py.Redis, request: pytest.FixtureRequest) -> Any:
    """A client of an empty database, in each colour."""
    return redis if request.param == "blocking" else request.getfixturevalue("aio")


@pytest.fixture
def commands() -> Callable[[redis_py.Redis], AbstractContextManager[list[list[str]]]]:
    """A context manager that lists the commands which reach the database of a client.

    with commands(redis) as sent:
        RedisSet(redis=redis).add(1)
    assert len(sent) == 1

    The list is filled when the block ends: one list of words for each command, in the order in
    which the server ran them, whichever connection brought them. Left out are what connections say
    when they are opened, and what scripts run inside the server. Nothing is sent in pipelines, so
    the list's length is the number of round trips. For an asynchronous client, give a blocking one
    of the same database.
    """
    return record


@contextmanager
def record(client: redis_py.Redis) -> Iterator[list[list[str]]]:
    sent: list[list[str]] = []
    end = ["ECHO", uuid.uuid4().hex]
    with connection(client) as watcher:
        watcher.send_command("MONITOR")
        watcher.read_response()
        yield sent
        with connection(client) as marker:
            marker.send_command(*end)
            marker.read_response()
        while (line := parse(watcher.read_response())).words != end:
            is_clients = line.database == watcher.db and line.source != "lua"
            if is_clients and not is_handshake(line.words):
                sent.append(line.words)


@contextmanager
def connection(client: redis_py.Redis) -> Iterator[redis_py.Connection]:
    """Lend a connection such as *client* has them, but none of its own."""
    pool = client.connection_pool
    connection = pool.connection_class(**{**pool.connection_kwargs, "decode_responses": False})
    try:
        yield connection
    finally:
        connection.disconnect()


class Line(NamedTuple):
    """What MONITOR says about one command."""

    database: int
    source: str
    words: list[str]


def parse(line: bytes) -> Line:
    r"""Read a line such as b'1339518083.107412 [0 127.0.0.1:60866] "SET" "a" "\xff"'."""
    head, _, rest = line.decode().partition("] ")
    database, _, source = head.partition("[")[2].partition(" ")
    # Redis escapes as Python does.
    words = [ast.literal_eval(f"b{word}") for word in re.findall(r'"(?:[^"\\]|\\.)*"', rest)]
    words = [word.decode(errors="backslashreplace") for word in words]
    return Line(int(database), source, words)


def is_handshake(words: list[str]) -> bool:
    """Return whether *words* are said by redis-py itself on a new connection."""
    greetings = {"AUTH", "HELLO", "SELECT"}
    introductions = {"MAINT_NOTIFICATIONS", "SETINFO", "SETNAME"}
    command, *rest = (word.upper() for word in words[:2])
    return command in greetings or (command == "CLIENT" and rest[0] in introductions)
