"""What the tests share: a server, clients of it in each setting, and a record of what is sent.

A setting is how the fixture `redis` talks to a server (`--wire`) and by which way it gets there
(`--via`); asynchronous clients follow it, by the fixture `aio` or the server's URL. The server is
the one at REDIS_URL, whose database must be empty, or else one that the tests start. HIREDIS=no
hides hiredis, so that redis-py reads replies with its own parser in Python.
"""

from __future__ import annotations

import ast
import os
import re
import signal
import sys
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pytest

if os.environ.get("HIREDIS") == "no":
    sys.modules["hiredis"] = None

import redis as redis_py  # after hiredis was hidden
from certificates import certified
from colours import Awaited, Loop
from redis import asyncio as asynchronous
from redis.cluster import LoadBalancingStrategy
from redis.sentinel import SentinelConnectionPool
from redis.utils import HIREDIS_AVAILABLE

from pottery.testing import ClusterServer, RedisServer, SentinelServer, executable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

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
LONG = {"test_conformance", "test_costs", "test_cpython", "test_otel"}
# redis-py 8 can be asked for one shape of replies, whatever the protocol.
UNIFIED: dict[str, dict[str, Any]] = {
    "resp2-unified": {"protocol": 2, "legacy_responses": False},
    "resp3-unified": {"protocol": 3, "legacy_responses": False},
}
VIAS = {
    "tcp": "a port of the loopback interface",
    "unix": "a unix socket",
    "tls": "a port where TLS is spoken",
    "one": "a pool of one connection",
    "sentinel": "Sentinels, to the master that they watch over",
    "cluster": "a cluster of three masters",
    "replicas": "a cluster of three masters and their replicas, by a client that would read there",
}
CLUSTERS = {"cluster", "replicas"}
# What a cluster leaves out: fixtures that are of one server, and tests that need one, with reasons.
NO_CLUSTER = {"any_redis", "commands", "five_servers", "lossy", "masters", "proxy", "server"}
ONE_SERVER = {
    "test_bloom::test_bitmap_is_that_of": "writes two keys by a command of its own",
    "test_cache::test_interrupted_": "looks for keys beside the cache",
    "test_interrupts::": "its programs make clients of one server",
    "test_logging::test_busy": "takes a lock, whose masters are servers",
    "test_nextid": "masters are servers, not clusters",
    "test_otel::test_names_are": "masters are servers, not clusters",
    "test_otel::test_operation_is": "names the address of one server",
    "test_otel::test_waiting_for_a_lock": "masters are servers, not clusters",
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
# Whoever uses one of these gets to a server by the way of --via.
USERS = {"redis", "any_redis", "server", "masters", "five_servers"}
# What does not go by some ways, with reasons.
TCP = {
    "test_bloom::test_lost_reply": "puts a proxy in front, which speaks TCP",
    "test_cache::test_lost_repl": "puts a proxy in front, which speaks TCP",
    "test_cached_ordered_dict::test_lost_replies": "puts a proxy in front, which speaks TCP",
    "test_cli::test_ls_finds": "names the address",
    "test_cli::test_show_what_is_not": "names the address",
    "test_cli::test_url_may": "adds to the address",
    "test_hyperloglog::test_lost_reply": "puts a proxy in front, which speaks TCP",
    "test_interrupts::test_cancelled_step": "makes connections of TCP",
    "test_interrupts::test_connection_whose_closing": "makes connections of TCP",
    "test_interrupts::test_interrupt_closes": "makes connections of TCP",
    "test_interrupts::test_interrupted_step": "makes connections of TCP",
    "test_interrupts::test_names_of_temporary_keys_survive": "makes connections of TCP",
    "test_nextid::test_lost_replies": "puts a proxy in front, which speaks TCP",
    "test_otel::": "hears of operations, and not of ways to a server",
    "test_poll::test_line_on_which_nothing": "makes connections of TCP",
    "test_redlock::test_far_masters": "puts a proxy in front, which speaks TCP",
    "test_redlock::test_lost_replies": "puts a proxy in front, which speaks TCP",
    "test_redlock::test_lost_reply_of": "puts a proxy in front, which speaks TCP",
    "test_redlock::test_one_server_twice": "names a server by another host",
    "test_redlock::test_slow_network": "puts a proxy in front, which speaks TCP",
}
PROXIES = {"lossy", "proxy"}
SLOW_TO_GREET = {
    "test_front::test_cancelled_tasks": "interrupts more often than TLS needs to greet",
    "test_front::test_interrupted_calls": "interrupts more often than TLS needs to greet",
    "test_queue::test_timeout_is_kept": "allows less time than TLS needs to greet",
}
ASYNCIO = {
    "test_poll::test_line_is_hung_up_that_is_opened": "in the turn of an event loop after TCP is "
    "connected, asyncio cannot cancel a handshake of TLS",
}
NOT_VIA = {"unix": TCP, "tls": TCP | SLOW_TO_GREET | ASYNCIO, "sentinel": TCP}
# Taken away at once, so that a default client can never reach a server that is not the tests' own.
GIVEN_URL = os.environ.pop("REDIS_URL", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--wire",
        choices=[DEFAULT, "all", *WIRES, *UNIFIED],
        default=DEFAULT,
        help="how the fixture `redis` talks to the server; but for the default, "
        "only tests that use a client are run, and of `all` the long suites in two modes only",
    )
    ways = "; ".join(f"{name}: {way}" for name, way in VIAS.items())
    parser.addoption(
        "--via",
        choices=[*VIAS],
        default="tcp",
        help=f"by which way the fixture `redis` gets to the server ({ways}); but for the default, "
        "only tests that use a client and can use it so are run",
    )


def pytest_configure(config: pytest.Config) -> None:
    # A shell that runs the tests in the background has interrupts ignored, which the programs that
    # tests start would inherit.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Not in pyproject.toml: pytest would import pottery to find the class, before coverage is
    # measured and before hiredis is hidden.
    config.addinivalue_line("filterwarnings", "ignore::pottery.InefficientAccessWarning")


def pytest_report_header(config: pytest.Config) -> str:
    parser = "hiredis" if HIREDIS_AVAILABLE else "Python"
    server = "that at REDIS_URL" if GIVEN_URL else executable()
    via = VIAS[config.getoption("via")]
    return f"redis-py {redis_py.__version__}, parser: {parser}, server: {server}, via {via}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    wire = metafunc.config.getoption("wire")
    if "any_redis" in metafunc.fixturenames:
        metafunc.parametrize("any_redis", WIRES, indirect=True)
    if "redis" in metafunc.fixturenames and wire != DEFAULT:
        wires = CORNERS if metafunc.module.__name__ in LONG else [*WIRES]
        metafunc.parametrize("redis", wires if wire == "all" else [wire], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    via = config.getoption("via")
    if via != "tcp":
        can_use = can_use_a_cluster if via in CLUSTERS else can_use_a_client
        items[:] = [item for item in items if can_use(item, via)]
    if config.getoption("wire") != DEFAULT:
        items[:] = [item for item in items if uses_a_wire(item)]


def uses_a_wire(item: pytest.Item) -> bool:
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return "redis" in params or "any_redis" in params


def can_use_a_client(item: pytest.Item, via: str) -> bool:
    wanted, not_via = fixtures_of(item), NOT_VIA.get(via, {})
    excluded = any(name_of(item).startswith(beginning) for beginning in not_via)
    excluded |= bool(not_via and wanted & PROXIES)
    return bool(wanted & USERS) and not excluded


def can_use_a_cluster(item: pytest.Item, _: str) -> bool:
    wanted = fixtures_of(item)
    excluded = any(doctest in item.name for doctest in ("pottery.nextid", "pottery.synchronized"))
    excluded |= any(name_of(item).startswith(beginning) for beginning in ONE_SERVER)
    return bool(wanted & {"redis", "cluster"}) and not wanted & NO_CLUSTER and not excluded


def fixtures_of(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))


def name_of(item: pytest.Item) -> str:
    return f"{Path(item.path).stem}::{item.name.partition('[')[0]}"


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


@pytest.fixture(scope="session")
def via(pytestconfig: pytest.Config) -> str:
    """By which way tests get to a server."""
    return pytestconfig.getoption("via")


@pytest.fixture(scope="session")
def server_options(via: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """How servers are run such that one can get there in this way."""
    if via != "tls":
        yield {"unix_socket": True} if via == "unix" else {}
        return
    config = certified(tmp_path_factory.mktemp("tls"))
    with pytest.MonkeyPatch.context() as patch:
        # Else redis-py reads, 20 ms long for each connection, what authorities the system trusts.
        patch.setenv("SSL_CERT_FILE", config["tls-ca-cert-file"])
        yield {"config": config}


@pytest.fixture(scope="session")
def redis_server(via: str, server_options: dict[str, Any]) -> Iterator[Any]:
    """A server of the tests, also beside a given one: then REDIS_URL tells of that alone."""
    own = SentinelServer() if via == "sentinel" else RedisServer(**server_options)
    with own as server, pytest.MonkeyPatch.context() as patch:
        if not GIVEN_URL:
            patch.setenv("REDIS_URL", server.url)
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
def redis_cluster(via: str) -> Iterator[ClusterServer]:
    """A cluster of three masters, with replicas if that is the way."""
    with ClusterServer(replicas=1 if via == "replicas" else 0) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def cluster(redis_cluster: ClusterServer) -> ClusterServer:
    """A cluster of three masters. Who moves a slot must move it back."""
    return redis_cluster


@pytest.fixture
def cluster_redis(cluster: ClusterServer, via: str) -> Iterator[redis_py.RedisCluster]:
    """A client of a cluster that is empty."""
    cluster.start()  # what a test has killed
    balancing = {"load_balancing_strategy": LoadBalancingStrategy.ROUND_ROBIN}
    with cluster.client(**(balancing if via == "replicas" else {})) as client:
        client.flushall(target_nodes="primaries")
        client.keys = partial(client.keys, target_nodes="primaries")  # redis-py 8 asks but one node
        yield client


@pytest.fixture
def redis(request: pytest.FixtureRequest, via: str) -> Iterator[Any]:
    """A client of an empty database: redis-py's default client, or as --wire and --via say."""
    server = request.getfixturevalue("server")
    if via in CLUSTERS:  # but for the default client, which is of the server
        yield request.getfixturevalue("cluster_redis")
        return
    wire = getattr(request, "param", DEFAULT)
    with client_of(server, via, **(WIRES | UNIFIED).get(wire, {})) as client:
        client.flushdb()
        yield client


@pytest.fixture
def any_redis(server: Server, via: str, request: pytest.FixtureRequest) -> Iterator[redis_py.Redis]:
    """A client of an empty database, in each of the four wire modes."""
    with client_of(server, via, **WIRES[request.param]) as client:
        client.flushdb()
        yield client


def client_of(server: Server, via: str, **options: Any) -> redis_py.Redis:
    """Return a new client of *server*, with one connection if that is the way."""
    if via != "one":
        return server.client(**options)
    pool = redis_py.BlockingConnectionPool.from_url(server.url, max_connections=1, **options)
    return redis_py.Redis.from_pool(pool)


@pytest.fixture(scope="session")
def redis_master_servers(server_options: dict[str, Any]) -> Iterator[list[RedisServer]]:
    """Five servers to which one gets by the way of --via."""
    with ExitStack() as stack:
        yield [stack.enter_context(RedisServer(**server_options)) for _ in range(5)]


@pytest.fixture(scope="session")
def five_servers(redis_master_servers: list[RedisServer]) -> list[RedisServer]:
    """Five servers that know nothing of each other. Who stops one must start it again."""
    return redis_master_servers


@pytest.fixture
def masters(five_servers: list[RedisServer], via: str) -> Iterator[list[redis_py.Redis]]:
    """A client of each of five empty servers: redis-py's default client."""
    with ExitStack() as stack:
        clients = [stack.enter_context(client_of(server, via)) for server in five_servers]
        for server, client in zip(five_servers, clients, strict=True):
            server.start()
            client.flushall()
        yield clients


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
            is_watched = isinstance(client.connection_pool, SentinelConnectionPool)
            if is_clients and not is_handshake(line.words, is_watched=is_watched):
                sent.append(line.words)


@contextmanager
def connection(client: redis_py.Redis) -> Iterator[redis_py.Connection]:
    """Lend a connection such as *client* has them, but none of its own."""
    pool = client.connection_pool
    connection = pool.connection_class(**{**pool.connection_kwargs, "decode_responses": False})
    connection.connect()  # what Sentinel leads to finds its server here, and nowhere else
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


def is_handshake(words: list[str], *, is_watched: bool = False) -> bool:
    """Return whether *words* are said by redis-py on a new connection, or by those who watch."""
    greetings = {"AUTH", "HELLO", "SELECT"} | ({"INFO", "PING", "PUBLISH"} if is_watched else set())
    introductions = {"MAINT_NOTIFICATIONS", "SETINFO", "SETNAME"}
    command, *rest = (word.upper() for word in words[:2])
    return command in greetings or (command == "CLIENT" and rest[0] in introductions)
