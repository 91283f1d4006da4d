"""What is done wrong is told in one line: by what, about which key, and what to do instead."""

from __future__ import annotations

import asyncio
import socket
from functools import partial

import pytest
import redis as redis_py
from clients import close
from operations import (
    ACQUIRING,
    BLOCKING,
    CONTAINERS,
    IDS,
    KINDS,
    LOCKS,
    OPERATIONS,
    REQUIRED,
    TWINS,
    VIEWS,
    perform,
    prepare,
)
from redis import asyncio as asynchronous
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from pottery import (
    AIOCachedOrderedDict,
    AIORedisDict,
    AIORedisSet,
    BloomFilter,
    CachedOrderedDict,
    HyperLogLog,
    QuorumNotAchieved,
    RedisDict,
    RedisList,
    RedisSet,
    RedisSimpleQueue,
    Redlock,
    _clients,
    redis_cache,
    synchronize,
)

MADE = [kind for kind in KINDS if kind not in VIEWS]
every_kind = pytest.mark.parametrize("kind", MADE, ids=lambda kind: kind.__name__)
URL = "redis://:hunter2@localhost"


def name_of(kind):
    return "redis_cache" if "CachedFunction" in kind.__name__ else kind.__name__


def is_asynchronous(kind):
    return kind.__name__.startswith("AIO")


def plain(argument):
    return argument


async def awaited(argument):
    return argument


def make(kind, client, key="k"):
    """Make one of a *kind*, by something that may be no client, at what may be no key."""
    if kind in CONTAINERS:
        return kind(**REQUIRED.get(kind, {}), redis=client, key=key)
    if kind in LOCKS + IDS:
        return kind(key=key, masters=[client])
    if kind in {CachedOrderedDict, AIOCachedOrderedDict}:
        return kind(redis_client=client, redis_key=key)
    return redis_cache(redis=client, key=key)(awaited if is_asynchronous(kind) else plain)


def refusal(call, error=TypeError):
    """Return what a call is refused with: one line, without what is nobody's business."""
    with pytest.raises(error) as raised:
        call()
    said = str(raised.value)
    assert "\n" not in said
    assert "hunter2" not in said
    return said


# --- clients


@every_kind
def test_class_of_clients_is_no_client(kind):
    given = asynchronous.Redis if is_asynchronous(kind) else redis_py.Redis

    said = refusal(partial(make, kind, given))

    assert said.startswith(name_of(kind))
    assert "not the class Redis: give what redis." in said


@every_kind
def test_url_is_no_client_but_leads_to_one(kind):
    said = refusal(partial(make, kind, URL))

    assert said.startswith(name_of(kind))
    module = "redis.asyncio" if is_asynchronous(kind) else "redis"
    assert said.endswith(f"not a str: if it is a URL, give {module}.Redis.from_url(url)")


@every_kind
def test_client_of_the_other_colour_is_told_whom_it_is_for(kind):
    blocking, other = redis_py.Redis.from_url(URL), asynchronous.Redis.from_url(URL)
    given, module = (blocking, "redis") if is_asynchronous(kind) else (other, "redis.asyncio")

    said = refusal(partial(make, kind, given))

    assert f"not a {module}.Redis" in said
    if name_of(kind) == "redis_cache":
        assert ("`async def`" in said) is is_asynchronous(kind)
    else:
        twin = kind.__name__[3:] if is_asynchronous(kind) else f"AIO{kind.__name__}"
        assert said.endswith(f", which is for {twin}")


def test_pipeline_and_pool_are_no_clients():
    client = redis_py.Redis.from_url(URL)

    assert refusal(lambda: RedisDict(redis=client.pipeline())).endswith("not a redis.Pipeline")
    assert refusal(lambda: RedisDict(redis=client.connection_pool)).endswith("ConnectionPool")


@pytest.mark.parametrize("kind", [*LOCKS, *IDS], ids=lambda kind: kind.__name__)
def test_one_client_is_no_set_of_masters(kind):
    client = redis_py.Redis.from_url(URL)

    for given in (client, asynchronous.Redis.from_url(URL)):
        said = refusal(partial(kind, key="k", masters=given))
        assert said == "masters must be an iterable of clients, not a client: masters={client}"


def test_one_client_is_no_set_of_masters_of_a_decorator_either():
    said = refusal(lambda: synchronize(key="k", masters=redis_py.Redis.from_url(URL)))

    assert said.endswith("masters={client}")


@pytest.mark.parametrize("kind", [*LOCKS, *IDS], ids=lambda kind: kind.__name__)
def test_master_that_is_given_twice_is_named(kind):
    module = asynchronous if is_asynchronous(kind) else redis_py
    twice = [module.Redis.from_url("redis://ann:hunter2@somewhere:7000") for _ in range(2)]

    said = refusal(partial(kind, key="k", masters=twice), ValueError)

    assert said == "two of the masters are the same server, somewhere:7000: give one"


def test_function_is_decorated_by_a_client_in_vain():
    said = refusal(lambda: redis_cache(redis_py.Redis.from_url(URL)))

    assert said.endswith("name its options, as in @redis_cache(redis=client, key='k')")


# --- keys


@every_kind
def test_key_of_a_wrong_type_is_refused_by_name(kind):
    client = (asynchronous if is_asynchronous(kind) else redis_py).Redis.from_url(URL)

    said = refusal(partial(make, kind, client, key=42))

    assert said.startswith(f"{name_of(kind)} key must be str")
    assert said.endswith("not int")


def test_key_of_none_is_better_left_out():
    said = refusal(lambda: RedisSet(redis=redis_py.Redis(), key=None))

    assert said.endswith("not NoneType: leave it out for a temporary one")


# --- what is at the key


def put_something_else(redis):
    """Let all keys be of another type."""
    for key in redis.keys() or [b"redlock:filled"]:
        is_list = redis.type(key) in {b"list", "list"}
        redis.delete(key)
        (redis.sadd if is_list else redis.rpush)(key, "x")


def told_of_another_type(kind, client):
    """Yield what the operations of a *kind* say of a wrong key, if they say anything of it."""
    for operation in OPERATIONS:
        if operation.kind is kind and not (kind in LOCKS and operation.name in ACQUIRING):
            client.flushdb()
            prepare(kind, client)
            put_something_else(client)
            try:
                perform(operation, client)
            except redis_py.ResponseError as error:
                yield str(error)
            except (TypeError, ValueError, RuntimeError, KeyError):
                pass  # of its own: see tests/faults


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_key_of_another_type_is_named_with_what_helps(kind, server):
    with server.client() as client:
        told = set(told_of_another_type(kind, client))

    said = told.pop()
    name = "RedisDict" if kind in VIEWS else name_of(kind)
    assert said.startswith("WRONGTYPE ")
    assert f": {name} " in said
    assert "at its key '" in said
    assert said.endswith("filled`, or choose another key")
    assert "script" not in said
    assert not told


def test_key_of_bytes_is_named_too(server):
    with server.client() as client:
        client.set(b"k\xff", 1)
        said = refusal(lambda: len(RedisSet(redis=client, key=b"k\xff")), redis_py.ResponseError)

    assert "pottery show k\\xff" in said


# --- what JSON cannot spell


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (b"", ""),
        ({"a": [1, {2}]}, ", at value['a'][1]"),
        ([0, {"b": ({"c": b""},)}], ", at value[1]['b'][0]['c']"),
        ({"a": {(1, 2): 3}}, ", at value['a']"),
        ([{1: 2, "a": 3}], ", at value[0]"),
    ],
    ids=repr,
)
def test_what_json_cannot_spell_is_found_in_the_value(redis, value, place):
    values = RedisDict(redis=redis, key="k")

    said = refusal(lambda: values.__setitem__("x", value))

    assert said.endswith(place or "Object of type bytes is not JSON serializable")
    assert not redis.exists("k")


# --- no client given


@pytest.fixture
def nobody(monkeypatch):
    """Let the default server be one that is not there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _clients.default_client.cache_clear()
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setattr(_clients, "DEFAULT_URL", f"redis://127.0.0.1:{port}/0")
    yield port
    _clients.default_client.cache_clear()


@pytest.mark.slow
def test_default_server_that_is_not_there_is_told_with_how_to_give_another(nobody):
    said = refusal(lambda: len(RedisSet(key="k")), redis_py.ConnectionError)

    assert f" connecting to 127.0.0.1:{nobody}. " in said
    assert "No client was given, and no REDIS_URL" in said
    assert "start redis-server" in said


@pytest.mark.slow
def test_server_at_redis_url_that_is_not_there_is_told(nobody, monkeypatch):
    monkeypatch.setenv("REDIS_URL", f"redis://:hunter2@127.0.0.1:{nobody}/0")

    async def look():
        return await AIORedisSet(key="k").size()

    said = refusal(lambda: asyncio.run(look()), redis_py.ConnectionError)

    assert said.endswith("(No client was given, so REDIS_URL says which server is used.)")


@pytest.mark.parametrize("url", ["localhost:6379", "redis://localhost:hunter2"])
def test_redis_url_that_is_none_is_told(nobody, monkeypatch, url):
    monkeypatch.setenv("REDIS_URL", url)

    said = refusal(lambda: RedisSet(key="k"), ValueError)

    assert said.startswith("REDIS_URL is not the URL of a server, such as redis://")


@pytest.mark.slow
def test_client_that_was_given_is_not_said_to_be_missing(nobody):
    client = redis_py.Redis(port=nobody)

    said = refusal(lambda: len(RedisSet(redis=client, key="k")), redis_py.ConnectionError)

    assert said.endswith("Connection refused.")


# --- syntax that cannot wait


def delete(container):
    del container["a"]


def put(container):
    container["a"] = 1


def enter(container):
    with container:
        pass


# How it is written by mistake, and for which kinds there is a better way.
SYNTAX = {
    "len(x)": (len, lambda kind: hasattr(TWINS.get(kind), "__len__")),
    "item in x": (lambda x: "a" in x, lambda kind: hasattr(TWINS.get(kind), "__contains__")),
    "for item in x": (list, lambda kind: hasattr(kind, "__aiter__")),
    "x[key]": (lambda x: x["a"], lambda kind: hasattr(TWINS.get(kind), "__getitem__")),
    "x[key] = value": (put, lambda kind: hasattr(TWINS.get(kind), "__setitem__")),
    "del x[key]": (delete, lambda kind: hasattr(TWINS.get(kind), "__delitem__")),
    "with x": (enter, lambda kind: hasattr(kind, "__aenter__")),
    "next(x)": (next, lambda kind: hasattr(kind, "__anext__")),
    "reversed(x)": (reversed, lambda kind: hasattr(TWINS.get(kind), "__reversed__")),
}
WRITTEN = [
    (kind, syntax)
    for kind in [*TWINS, *(kind for kind in (*LOCKS, *IDS) if is_asynchronous(kind))]
    for syntax, (_, is_meant) in SYNTAX.items()
    if is_meant(kind)
]


@pytest.mark.parametrize(
    ("kind", "syntax"), WRITTEN, ids=[f"{kind.__name__}: {syntax}" for kind, syntax in WRITTEN]
)
def test_syntax_that_cannot_wait_tells_what_can(kind, syntax):
    made = make(kind, asynchronous.Redis.from_url(URL))

    said = refusal(lambda: SYNTAX[syntax][0](made))

    assert said.startswith(f"{kind.__name__} is for asyncio: `")
    assert said.endswith(f"`, and not `{syntax}`")


def test_view_of_a_dict_for_asyncio_tells_that_it_is_iterated_by_async_for():
    keys = AIORedisDict(redis=asynchronous.Redis.from_url(URL), key="k").keys()

    assert refusal(lambda: list(keys)).startswith("AIORedisDictView is for asyncio: `async for ")


def test_coroutine_that_was_never_awaited_is_named_by_its_class():
    container = AIORedisSet(redis=asynchronous.Redis.from_url(URL), key="k")

    with pytest.warns(RuntimeWarning, match=r"'AIORedisSet\.add' was never awaited"):
        container.add(1)


# --- in use


def test_lock_that_somebody_else_holds_says_so(server):
    with server.client() as client, Redlock(key="held", masters={client}):
        other = Redlock(key="held", masters={client}, context_manager_blocking=False)
        said = refusal(other.__enter__, QuorumNotAchieved)

    assert said.startswith("'redlock:held' got no majority of its masters")
    assert said.endswith("although they answered: somebody else has it")


def test_lease_of_no_number_is_refused_by_name():
    said = refusal(
        lambda: Redlock(key="k", masters={redis_py.Redis.from_url(URL)}, auto_release_time="1")
    )

    assert said == "auto_release_time must be a number of seconds, not str"


def test_closed_client_is_opened_by_the_next_operation(server):
    with server.client() as client:
        numbers = RedisList([1], redis=client, key="numbers")
        client.close()
        assert len(numbers) == 1

    async def reopen():
        twin = asynchronous.Redis.from_url(server.url)
        members = AIORedisSet(redis=twin, key="members")
        await members.add(1)
        await close(twin)
        size = await members.size()
        await close(twin)
        return size

    assert asyncio.run(reopen()) == 1


# --- reprs


# These show what they have in memory.
IN_MEMORY = {CachedOrderedDict, AIOCachedOrderedDict}


@pytest.mark.parametrize(
    "kind", sorted({*KINDS} - IN_MEMORY, key=str), ids=lambda kind: kind.__name__
)
def test_repr_names_the_key_and_does_not_raise_when_the_server_is_away(kind, nobody):
    options = {"port": nobody, "password": "hunter2", "retry": Retry(NoBackoff(), 0)}
    if kind in VIEWS:
        shown = repr(VIEWS[kind](RedisDict(redis=redis_py.Redis(**options), key="cars")))
    else:
        module = asynchronous if is_asynchronous(kind) else redis_py
        options["retry"] = (AsyncRetry if is_asynchronous(kind) else Retry)(NoBackoff(), 0)
        shown = repr(make(kind, module.Redis(**options), key="cars"))

    assert kind.__name__ in shown or "redis_cache" in shown
    assert "cars" in shown or "redis_cache" in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize("kind", BLOCKING, ids=lambda kind: kind.__name__)
def test_repr_of_a_key_of_another_type_tells_of_it(kind, redis):
    prepare(kind, redis)
    put_something_else(redis)

    shown = repr(make(kind, redis, key="filled"))

    assert shown.startswith(f"<{kind.__name__} key='filled'")
    assert "WRONGTYPE" in shown or kind in {BloomFilter, HyperLogLog, RedisSimpleQueue}
