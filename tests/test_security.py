"""Texts stay texts, what is broken in Redis does no more than raise, nothing tells passwords."""

from __future__ import annotations

import ast
import asyncio
import copy
import importlib
import inspect
import json
import logging
import pickle
import pkgutil
import re
import time
import traceback
import types
from contextlib import suppress
from functools import partial
from hashlib import sha1
from pathlib import Path

import operations
import pytest
import redis as redis_py
import redis.asyncio as asynchronous
from clients import close
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

import pottery
from pottery import (
    BloomFilter,
    CachedOrderedDict,
    DecodeError,
    HyperLogLog,
    KeyExistsError,
    NextId,
    OutcomeUnknown,
    PrimitiveError,
    QueueEmptyError,
    QuorumIsImpossible,
    RedisCounter,
    RedisDict,
    RedisList,
    RedisSet,
    RedisSimpleQueue,
    Redlock,
    redis_cache,
)
from pottery._script import Script
from pottery._temporary import ABANDONED
from pottery.testing import ClusterServer, RedisServer

pytestmark = pytest.mark.slow  # together

PACKAGE = Path(pottery.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages([str(PACKAGE)], "pottery.")
]


# --- what the code never does

RUN_TEXT = {"eval", "exec", "compile", "__import__", "breakpoint", "input"}
READ_CODE = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "yaml", "code", "ctypes"}


def parts(path):
    return ast.walk(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_text_is_run_and_no_pickle_is_read(path):
    for part in parts(path):
        if isinstance(part, ast.Call):
            assert getattr(part.func, "id", None) not in RUN_TEXT, ast.unparse(part)
        elif isinstance(part, ast.Import):
            assert not {alias.name.split(".")[0] for alias in part.names} & READ_CODE
        elif isinstance(part, ast.ImportFrom):
            assert part.module.split(".")[0] not in READ_CODE


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_text_of_a_script_is_constant(path):
    tree = ast.parse(path.read_text())
    calls = [part for part in ast.walk(tree) if isinstance(part, ast.Call)]
    for call in calls:
        name = getattr(call.func, "id", None)
        if name in {"Script", "evaluate"}:
            assert is_constant(call.args[0]), ast.unparse(call.args[0])
    # And where a name stands for one, it is given its text in the module, once and for all.
    for part in tree.body:
        if isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name):
            is_lua = isinstance(part.value, (ast.BinOp, ast.JoinedStr)) and "redis.call" in (
                ast.unparse(part.value)
            )
            assert not is_lua or is_constant(part.value)


def is_constant(node):
    """Return whether a text is spelled out, or put together from such."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add) and is_constant(node.left) and is_constant(node.right)
    if isinstance(node, ast.Name):
        return node.id.isupper() or node.id == "script"  # a parameter that is given constants
    return isinstance(node, ast.Constant)


# --- texts stay texts

# Each has "evil" in it, so that all that is made of it can be found.
EVIL = [
    "evil\r\n*1\r\n$8\r\nFLUSHALL\r\n",
    'evil"]] return 1 --',
    "evil' .. redis.call('FLUSHALL') .. '",
    "evil\0\x01\x7f\x1b[31m",
    "evil{tag} %s %d {0} ${x} `id` $(id) ; rm -rf ~",
    "evil\ud800 \u2028 é ~returned ~bell * ? [a-z]",
]
EVIL_KEYS = ['evil one\r\nFLUSHALL\r\n\0"]] return 1', "evil two' *", "evil three{}~bell"]
PLAIN = {
    "01234": EVIL[:5],
    **dict(zip("01234", EVIL, strict=False)),
    "x": EVIL[5],
    **dict(zip(["filled", "new", "other"], EVIL_KEYS, strict=True)),
}


def with_words(words):
    """Return the module `operations` with other words in the place of its own."""
    source = Path(operations.__file__).read_text()
    for plain, word in words.items():
        source = source.replace(f'"{plain}"', repr(word))
    module = types.ModuleType("with_words")
    exec(compile(source, operations.__file__, "exec"), vars(module))
    return module


evil = with_words(PLAIN)

SCRIPTS = {
    text
    for module in MODULES
    for value in vars(module).values()
    if isinstance(text := value.text if isinstance(value, Script) else value, str)
}
DIGESTS = {sha1(text.encode()).hexdigest() for text in SCRIPTS}
# All that these operations say to Redis, but for what redis-py says on a new connection.
COMMANDS = {
    *("BITCOUNT", "BITFIELD", "BITFIELD_RO", "COPY", "DEL", "EVAL", "EVALSHA", "EXISTS", "GET"),
    *("HDEL", "HEXISTS", "HGET", "HLEN", "HSCAN", "HSET", "LINDEX", "LLEN", "LPOP", "LPOS"),
    *("LPUSH", "LRANGE", "LREM", "LSET", "PFADD", "PFCOUNT", "RPOP", "RPUSH", "SADD", "SCARD"),
    *("SISMEMBER", "SMISMEMBER", "SPOP", "SREM", "SSCAN", "UNLINK"),
}
TEXTS = {json.dumps(word, sort_keys=True) for word in EVIL}
EXPECTED = re.compile(
    "|".join(
        [
            *map(re.escape, TEXTS),
            *(rf"length\({re.escape(text)}\)" for text in TEXTS),
            *(rf"((redlock|nextid):)?{re.escape(key)}(~[a-z0-9]+)?" for key in EVIL_KEYS),
        ]
    )
)


def perform(operation, attach, **options):
    """Call an operation once, by a client of its colour with *options*."""
    if operation.is_awaited:
        asyncio.run(perform_later(operation, attach, options))
        return
    with redis_py.Redis(**options, retry=Retry(NoBackoff(), 0)) as client:
        operation.call(attach(operation, client))


async def perform_later(operation, attach, options):
    client = asynchronous.Redis(**options, retry=asynchronous.retry.Retry(NoBackoff(), 0))
    try:
        target = attach(operation, client)
        target = await target if inspect.isawaitable(target) else target
        result = operation.call(target)
        if inspect.isawaitable(result):
            await result
    finally:
        await close(client)


@pytest.fixture
def reachable(redis):
    """Return options of a client that reaches the server of `redis`."""
    options = redis.connection_pool.connection_kwargs
    return {name: options.get(name) for name in ("host", "port", "db", "username", "password")}


@pytest.mark.parametrize("operation", evil.OPERATIONS, ids=str)
def test_texts_reach_redis_whole_and_as_nothing_but_data(operation, redis, reachable, commands):
    ABANDONED.clear()
    redis.set("bystander", "1")
    with commands(redis) as sent:
        evil.prepare(operation.kind, redis)
        perform(operation, evil.attach, **reachable)

    assert any("evil" in word for words in sent for word in words) or not sent
    for name, *words in sent:
        assert name in COMMANDS
        is_script = name.startswith("EVAL")
        assert not is_script or words[0] in SCRIPTS | DIGESTS
        for word in words[is_script:]:
            assert "evil" not in word or EXPECTED.fullmatch(word), word
    assert redis.get("bystander") == b"1"


BIG = "evil\r\n\0" * (10 * 2**20 // 7)


def test_ten_megabytes_come_back_as_they_were(redis):
    queue = RedisSimpleQueue(redis=redis, key="q")
    queue.put(BIG)
    mapping = RedisDict({BIG: BIG}, redis=redis, key="d")
    members = RedisSet([BIG], redis=redis, key="s")
    cached = redis_cache(redis=redis, key="c")(lambda text: text)

    assert queue.get() == BIG
    assert mapping.pop(BIG) == BIG
    assert BIG in members
    assert members.to_set() == {BIG}
    assert RedisList([1, BIG, 2], redis=redis, key="l")[::2] == [1, 2]
    assert RedisList(redis=redis, key="l").index(BIG) == 1
    assert RedisCounter([BIG], redis=redis, key="n").most_common() == [(BIG, 1)]
    assert [cached(BIG) == BIG, cached(BIG) == BIG, cached.cache_info().hits] == [True, True, 1]
    filled = BloomFilter([BIG], num_elements=10, false_positives=0.01, redis=redis, key="b")
    assert BIG in filled
    assert BIG in HyperLogLog([BIG], redis=redis, key="h")
    assert redis.dbsize() <= 9


# --- what is broken in Redis does no more than raise

BROKEN = [
    b"oops",
    b"",
    b"\xff",
    b"9" * 5000,
    b"[" * 100_000,
    b'{"a":' * 5000,
    b"[" * 200 + b"]" * 200,
]
# Of the builtins: there is none, or no order among such things. And Redis's own, of its own types.
MAY_RAISE = (DecodeError, LookupError, TypeError, ResponseError)


def break_content(redis):
    """Put what is broken beside the content, and in its place."""
    kind = redis.type("filled")
    if kind == b"hash":
        for text in BROKEN:
            redis.hset("filled", mapping={text: b"1", b'"' + text[:1] + b'"': text, '"0"': text})
    elif kind == b"list":
        redis.rpush("filled", *BROKEN)
        redis.lset("filled", 2, BROKEN[4])
    elif kind == b"set":
        redis.sadd("filled", *BROKEN)
    elif kind == b"stream":
        redis.xtrim("filled", 0)
        redis.xadd("filled", {"item": BROKEN[4]})
    elif kind == b"string":
        redis.set("filled", BROKEN[4][:1000])
    for name in ("nextid:filled", "redlock:filled~fence", "redlock:filled~reserved"):
        if redis.exists(name):
            redis.set(name, BROKEN[3])


@pytest.mark.parametrize("operation", operations.OPERATIONS, ids=str)
def test_what_is_broken_in_redis_does_no_more_than_raise(operation, redis, reachable):
    ABANDONED.clear()
    operations.prepare(operation.kind, redis)
    break_content(redis)
    began = time.monotonic()

    with suppress(*MAY_RAISE):
        perform(operation, operations.attach, **reachable)

    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "text", [*BROKEN, b"1e400", b"nan"], ids=lambda text: f"{len(text)} {text[:9]!r}"
)
def test_number_that_is_none_is_told_with_its_key(masters, text):
    for master in masters:
        master.set("nextid:k", text)
        master.set("redlock:k~fence", text)

    with pytest.raises(DecodeError) as caught:
        next(NextId(key="k", masters=masters))
    assert (caught.value.key, caught.value.raw) == ("nextid:k", text)
    with pytest.raises(DecodeError) as caught:
        Redlock(key="k", masters=masters, fencing=True).acquire()
    assert (caught.value.key, caught.value.raw) == ("redlock:k~fence", text)
    assert [master.exists("redlock:k") for master in masters] == [0] * 5  # given back
    assert {master.get("redlock:k~fence") for master in masters} == {text}  # nothing is hidden


def test_returned_item_of_a_strange_form_is_told(redis):
    redis.zadd("q~returned", {b"oops": 0})
    with pytest.raises(DecodeError) as caught:
        RedisSimpleQueue(redis=redis, key="q").get_nowait()
    assert caught.value.raw == b"oops"


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "error"),
    [(10**5000, ValueError), (nested(200_000), RecursionError)],
    ids=["long", "deep"],
)
def test_what_could_not_be_read_again_is_not_written(redis, value, error):
    put = [
        RedisList(redis=redis, key="k").append,
        RedisSimpleQueue(redis=redis, key="k").put,
        lambda it: RedisDict(redis=redis, key="k").update(a=it),
        lambda it: CachedOrderedDict(redis_client=redis, redis_key="k").update(a=it),
        lambda it: redis_cache(redis=redis, key="k")(lambda: it)(),
    ]
    for each in put:
        with pytest.raises((error, TypeError)):  # this of a function's result
            each(value)
    assert redis.dbsize() == 0


@pytest.mark.parametrize("kind", [RedisSet, RedisList, RedisDict, RedisCounter])
def test_nesting_at_the_edge_of_what_python_bears_is_read_or_told(redis, kind):
    for depth in [*range(300, 1100, 20), 3000, 9000, 30_000]:
        text = b"[" * depth + b"]" * depth
        redis.delete("k")
        write = {RedisSet: redis.sadd, RedisList: redis.rpush}.get(kind, partial(redis.hset, "k"))
        write(text, "1") if kind in {RedisDict, RedisCounter} else write("k", text)
        it = kind(redis=redis, key="k")
        repr(it)
        with suppress(DecodeError):
            assert len([*it]) == 1


# --- what SECURITY.md recommends suffices

ADVICE = Path(__file__).parent.parent / "SECURITY.md"


app = with_words({key: f"app:{key}" for key in ("filled", "new", "other")})


@pytest.fixture(scope="module")
def limited_server():
    """A server with the user that SECURITY.md recommends."""
    command = re.search("`(ACL SETUSER app .*?)`", ADVICE.read_text())[1]
    with RedisServer() as server, server.client() as client:
        client.execute_command(*command.split())
        yield server


@pytest.mark.parametrize("operation", app.OPERATIONS, ids=str)
def test_recommended_rights_suffice(operation, limited_server):
    ABANDONED.clear()
    with limited_server.client() as client:
        client.flushall()
        app.prepare(operation.kind, client)
    options = {"host": limited_server.host, "port": limited_server.port}
    perform(operation, app.attach, **options, username="app", password="password")


# --- nothing tells passwords

SECRET = "hunter2"
# Nobody listens there.
AWAY = {"host": "127.0.0.1", "port": 1, "username": "user", "password": SECRET}


def told(error):
    """Return all that anybody may get to see of an error."""
    if isinstance(error, MasterNotFoundError):
        return ""  # which redis-py raises: see SECURITY.md
    shown = [str(error), repr(error), *traceback.format_exception(error)]
    shown += getattr(error, "__notes__", [])
    return "\n".join(shown)


@pytest.fixture
def no_secret(caplog, recwarn):
    """Return what asserts that neither a text nor what was logged and warned of has the secret."""
    caplog.set_level(logging.DEBUG)

    def check(*texts):
        logged = [logging.Formatter().format(record) for record in caplog.records]
        warned = [str(warning.message) for warning in recwarn]
        for text in (*texts, *logged, *warned):
            assert "hunter2" not in text

    return check


@pytest.fixture(scope="module")
def locked_server():
    with RedisServer(config={"requirepass": SECRET}) as server:
        yield server


@pytest.mark.parametrize("operation", operations.OPERATIONS, ids=str)
def test_wrong_password_is_not_told(operation, locked_server, no_secret):
    ABANDONED.clear()
    options = {"host": locked_server.host, "port": locked_server.port, "password": f"{SECRET}?"}
    no_secret(told(failure(perform, operation, operations.attach, **options)))


# Locks wait for ever for masters that are away, and IDs for a second: of both see below.
ELECTED = operations.LOCKS + operations.IDS


@pytest.mark.parametrize(
    "operation", [one for one in operations.OPERATIONS if one.kind not in ELECTED], ids=str
)
def test_password_for_a_server_that_is_away_is_not_told(operation, no_secret):
    ABANDONED.clear()
    no_secret(told(failure(perform, operation, operations.attach, **AWAY)))


def failure(function, *args, **options):
    """Return what a call raises, None if nothing."""
    try:
        function(*args, **options)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
        return error
    return None


def of_sentinel():
    """Return a client of a master that no Sentinel knows, for none is there."""
    options = {"password": SECRET, "retry": ONCE}
    sentinel = Sentinel([("127.0.0.1", 1)], sentinel_kwargs=options, **options)
    return sentinel.master_for("mymaster")


ONCE = Retry(NoBackoff(), 0)
CLIENTS = {
    "url": lambda: redis_py.Redis.from_url(f"redis://user:{SECRET}@127.0.0.1:1", retry=ONCE),
    "options": lambda: redis_py.Redis(**AWAY, retry=ONCE),
    "tls": lambda: redis_py.Redis(**AWAY, ssl=True, ssl_password=SECRET, retry=ONCE),
    "unix socket": lambda: redis_py.Redis(unix_socket_path="/away", password=SECRET, retry=ONCE),
    "Sentinel": of_sentinel,
    "asyncio": lambda: asynchronous.Redis(**AWAY),
}


def objects(client):
    """Return one of each kind of what has a client and shows itself without asking Redis."""
    is_awaited = isinstance(client, asynchronous.Redis)
    for kind in operations.KINDS:
        if kind in operations.VIEWS or kind.__name__.startswith("AIO") != is_awaited:
            continue
        if kind in operations.LOCKS + operations.IDS:
            yield kind(key="k", masters=[client])
        elif kind in operations.CONTAINERS:
            yield kind(**operations.REQUIRED.get(kind, {}), redis=client, key="k")
    function = operations.length_later if is_awaited else operations.length
    yield redis_cache(redis=client, key="k")(function)


@pytest.mark.parametrize("kind", CLIENTS)
def test_nothing_shows_the_password_of_its_client(kind, no_secret):
    for each in objects(CLIENTS[kind]()):
        for show in (repr, str, "{}".format):
            no_secret(shown(show, each))
        no_secret(told(failure(pickle.dumps, each)), told(failure(copy.deepcopy, each, {})))


def shown(show, it):
    try:
        return show(it)
    except RedisError as error:  # of a container that shows what is in it
        return told(error)


@pytest.mark.parametrize("kind", sorted({*CLIENTS} - {"asyncio"}))
def test_locks_and_ids_do_not_tell_passwords_of_masters_that_are_away(kind, no_secret):
    masters = [CLIENTS[kind]()]
    lock = Redlock(key="k", masters=masters, context_manager_timeout=0.1)
    assert lock.acquire(timeout=0.1) is False  # which is logged
    raising = {"raise_on_redis_errors": True}
    calls = [
        *(partial(lock.acquire, timeout=0.1, **options) for options in ({}, raising)),
        *(partial(lock.locked, **raising), partial(lock.extend, **raising), lock.release),
        *(lock.owner, lock.__enter__, NextId(key="k", masters=masters).reset),
        *(NextId(key="k", masters=masters, **options).__next__ for options in ({}, raising)),
    ]
    for call in calls:
        error = failure(call)
        no_secret(told(error))
        if isinstance(error, PrimitiveError):
            twin = pickle.loads(pickle.dumps(error))
            no_secret(str(twin), repr(twin))
    assert isinstance(failure(calls[1]), QuorumIsImpossible)


def test_lock_that_is_lost_does_not_tell_passwords(locked_server, no_secret, caplog):
    with locked_server.proxy() as proxy:
        master = redis_py.Redis(host=proxy.host, port=proxy.port, password=SECRET)
        lock = Redlock(key="k", masters=[master], auto_renew=True, auto_release_time=0.5)
        assert lock.acquire()
        with proxy.refuse():
            proxy.cut()
            assert lock.lost.wait(10)
        error = failure(lock.release)
    no_secret(told(error))
    assert "was not renewed" in caplog.text


@pytest.mark.parametrize("kind", ["options", "Sentinel"])
def test_cache_without_its_server_does_not_log_passwords(kind, no_secret, caplog):
    cached = redis_cache(redis=CLIENTS[kind](), key="k", on_error="compute")(operations.length)
    assert cached("abc") == 3
    no_secret()
    assert "cannot be reached" in caplog.text


def test_errors_of_containers_do_not_tell_passwords(locked_server, no_secret):
    client = locked_server.client()
    client.flushall()
    client.rpush("broken", b"oops")
    with locked_server.proxy() as proxy:
        lossy = redis_py.Redis(host=proxy.host, port=proxy.port, password=SECRET)
        proxy.drop_reply()
        errors = [
            failure(RedisList(redis=lossy, key="l").append, 1),
            failure(RedisList, [1], redis=client, key="broken"),
            failure(RedisList(redis=client, key="broken").to_list),
            failure(RedisSimpleQueue(redis=client, key="q").get_nowait),
            failure(RedisSet(redis=client, key="broken").add, 1),
            failure(RedisSet, redis=client.pipeline()),
            failure(Redlock, key="k", masters=[client, locked_server.client()]),
            failure(Redlock, key="k", masters=client),
        ]
    kinds = [OutcomeUnknown, KeyExistsError, DecodeError, QueueEmptyError, ResponseError]
    assert [type(error) for error in errors] == [*kinds, TypeError, ValueError, TypeError]
    for error in errors:
        no_secret(told(error))


def test_client_of_a_cluster_does_not_tell_its_password(no_secret, monkeypatch):
    with ClusterServer(masters=1, config={"requirepass": SECRET, "masterauth": SECRET}) as cluster:
        no_secret(repr(cluster))
        with cluster.client(password=SECRET) as client:
            items = RedisList([1], redis=client, key="l")
            no_secret(repr(items), told(failure(RedisSet(redis=client, key="l").add, 1)))
            cluster.nodes[0].kill()
            no_secret(told(failure(items.append, 1)), told(failure(items.to_list)))


def test_servers_for_tests_show_no_password(locked_server, no_secret):
    with locked_server.proxy() as proxy:
        no_secret(repr(locked_server), repr(proxy))
    assert repr(locked_server) == f"<RedisServer redis://:***@127.0.0.1:{locked_server.port}>"
    assert SECRET in locked_server.url
    unix = RedisServer(unix_socket=True, config={"requirepass": SECRET})
    no_secret(repr(unix), told(failure(lambda: unix.pid)))
