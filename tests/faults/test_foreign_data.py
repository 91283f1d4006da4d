"""What another program has put there: told with its bytes, and never destroyed unseen."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import contextmanager, suppress

import pytest
from operations import OPERATIONS, attach, prepare
from performing import content, outcome
from redis.exceptions import ResponseError

from pottery import (
    AIOBloomFilter,
    AIOHyperLogLog,
    AIORedisCounter,
    BloomFilter,
    DecodeError,
    ExtendUnlockedLock,
    HyperLogLog,
    NextId,
    QueueEmptyError,
    QuorumNotAchieved,
    RedisCounter,
    RedisSimpleQueue,
    Redlock,
    ReleaseUnlockedLock,
    redis_cache,
)
from pottery.queue import DOUBTS

# Truncated, no UTF-8; two values, empty, an integer and arrays longer and deeper than Python reads.
BROKEN = [b"[1", b"\xff", b"1 2", b"", b"9" * 5000, b"[" * 100_000]
# All of them are read by the same few functions, so most operations meet only the first two.
THOROUGH = {"__iter__", "__aiter__", "get", "pop", "popitem", "to_counter", "to_list", "union"}
UNHASHABLE = [b'{"a": [1]}', b'[{"a": 1}]']
NO_COUNTS = [b'"x"', b"null", b"1.5", b"9" * 30]
COUNTERS = {RedisCounter, AIORedisCounter}
JSON = {b"hash", b"list", b"set", b"stream"}


@pytest.fixture
def database(server):
    with server.client() as client:
        client.flushdb()
        yield client


def put_among_values(client, raw):
    kind = client.type("filled")
    if kind == b"hash":
        client.hset("filled", mapping={'"0"': raw, '"4"': raw})
    elif kind == b"list":
        for index in (0, 2, -1):
            client.lset("filled", index, raw)
    elif kind == b"set":
        client.delete("filled")
        client.sadd("filled", raw, '"0"')
    else:
        client.delete("filled")
        client.xadd("filled", {"item": raw})


def put_among_keys(client, raw):
    if client.type("filled") == b"hash":
        client.hset("filled", raw, "1")


def texts(elements):
    """Return all that stands in what `content` says of a key, counted."""
    found = Counter()
    for element in elements:
        parts = element if isinstance(element, tuple) else (element,)
        found.update(part for part in parts if isinstance(part, bytes))
    return found


def run(operation, database, server, put, raw):
    """Return the answer, and which texts are gone that nobody was given."""
    database.flushdb()
    prepare(operation.kind, database)
    before = {}

    def exchange():
        put(database, raw)
        before.update(content(database))

    answer = outcome(operation, server.url, exchange)
    after = content(database)
    left = [texts(elements) for elements, _ in after.values()]
    gone = texts(before[b"filled"][0]) - sum(left, Counter())
    return answer, {text for text in gone if text not in getattr(answer, "raw", b"")}


def keeps_json(operation, database):
    prepare(operation.kind, database)
    return database.type("filled") in JSON


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_what_is_no_json_is_told_with_its_bytes(operation, database, server):
    if not keeps_json(operation, database):
        return  # those have tests of their own
    broken = BROKEN if operation.name in THOROUGH else BROKEN[:2]
    places = [(put_among_values, broken)]
    if database.type("filled") == b"hash":
        places.append((put_among_keys, broken + UNHASHABLE))
    if database.type("filled") == b"set":
        places.append((put_among_values, UNHASHABLE))
    for put, raws in places:
        for raw in raws:
            answer, unseen = run(operation, database, server, put, raw)
            if not isinstance(answer, Exception):
                continue
            assert type(answer) is DecodeError
            assert (answer.key, raw in answer.raw) == ("filled", True)
            assert unseen <= {b'"0"'}, "that of d.pop('0'), who knows it"


def test_repr_shows_what_is_no_json(database, server):
    for operation in OPERATIONS:
        if operation.name != "__repr__":
            continue
        database.flushdb()
        if keeps_json(operation, database):
            for raw in BROKEN:
                answer, _ = run(operation, database, server, put_among_values, raw)
                assert type(answer) is str


@pytest.mark.parametrize("kind", sorted(COUNTERS, key=str))
@pytest.mark.parametrize("raw", NO_COUNTS)
def test_count_that_is_no_integer_counts_as_in_python_or_is_refused(kind, raw, database, server):
    for operation in OPERATIONS:
        if operation.kind is kind:
            answer, unseen = run(operation, database, server, put_among_values, raw)
            # As those of Counter(a="x") + Counter(a=1) and of Counter(a=10**30).elements() are.
            is_refused = type(answer) in {TypeError, OverflowError}
            assert is_refused or not isinstance(answer, Exception), operation
            assert not isinstance(answer, Exception) or not unseen


@pytest.mark.parametrize("single_flight", [False, True])
@pytest.mark.parametrize("raw", BROKEN, ids=lambda raw: repr(raw[:8]))
def test_cached_result_that_cannot_be_read_is_computed_anew(raw, single_flight, database):
    cached = redis_cache(redis=database, key="k", single_flight=single_flight)(str)
    assert cached(1) == "1"
    (field,) = database.hkeys("k")
    database.hset("k", field, raw)
    assert cached(1) == "1"
    assert database.hget("k", field) == b'"1"'


# --- strings


FILTERS = [one for one in OPERATIONS if one.kind in {BloomFilter, AIOBloomFilter}]
COUNTS = [one for one in OPERATIONS if one.kind in {HyperLogLog, AIOHyperLogLog}]


@pytest.mark.parametrize("operation", FILTERS, ids=str)
@pytest.mark.parametrize("raw", [b"", b"\xff" * 5000, b"foreign"], ids=len)
def test_filter_reads_any_string_as_its_bits(raw, operation, database, server):
    prepare(operation.kind, database)
    answer = outcome(operation, server.url, lambda: database.set("filled", raw))
    assert not isinstance(answer, Exception)
    if operation.name in {"__len__", "length"} and len(raw) == 5000:
        assert answer > 1000


@pytest.mark.parametrize("operation", COUNTS, ids=str)
@pytest.mark.parametrize("raw", [b"", b"foreign", b"HYLL", b"HYLL" + bytes(12) + b"\xff" * 9])
def test_garbage_in_the_place_of_a_hyperloglog_is_told_and_left_alone(
    raw, operation, database, server
):
    prepare(operation.kind, database)
    answer = outcome(operation, server.url, lambda: database.set("filled", raw))
    if isinstance(answer, Exception):
        assert type(answer) is ResponseError
        assert re.search("WRONGTYPE|INVALIDOBJ", str(answer))
    if operation.name != "clear":
        found = database.get("filled")
        assert found == raw or raw.startswith(b"HYLL")
        assert database.keys("*~scratch") == []


# --- locks and IDs


def test_lock_with_the_token_of_another_and_no_expiry_is_never_taken(database):
    database.set("redlock:k", "foreign")
    lock = Redlock(key="k", masters=[database])
    assert not lock.acquire(blocking=False)
    assert not lock.acquire(timeout=0.2)
    assert (lock.owner(), lock.locked()) == ("foreign", 0)
    with pytest.raises(ReleaseUnlockedLock):
        lock.release()
    assert database.get("redlock:k") == b"foreign"


@pytest.mark.parametrize("token", [b"", b"\xff", b"foreign"])
def test_lock_whose_token_was_exchanged_is_lost(token, database):
    lock = Redlock(key="k", masters=[database])
    assert lock.acquire()
    database.set("redlock:k", token)
    with pytest.raises(ExtendUnlockedLock):
        lock.extend()
    assert lock.locked() == 0
    with pytest.raises(ReleaseUnlockedLock):
        lock.release()
    assert isinstance(lock.owner(), str)
    assert database.get("redlock:k") == token


NO_IDS = [b"", b"x", b"-5", b"1.5", b"\xff", b" 7", b"9" * 5000]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("raw", NO_IDS, ids=lambda raw: repr(raw[:8]))
def test_last_id_that_is_no_number_is_told(raw, count, masters):
    chosen = masters[:count]
    for master in chosen:
        master.set("nextid:k", raw)
    with pytest.raises((DecodeError, OverflowError, QuorumNotAchieved)) as caught:
        next(NextId(key="k", masters=chosen, num_tries=1))
    if type(caught.value) is DecodeError:
        assert (caught.value.key, caught.value.raw) == ("nextid:k", raw)
    assert [master.get("nextid:k") for master in chosen] == [raw] * count


# --- keys beside

WRITES = {
    "string": ("SET", "foreign"),
    "list": ("RPUSH", "foreign"),
    "hash": ("HSET", "foreign", "1"),
    "zset": ("ZADD", "1", "foreign"),
}
QUEUE_CALLS = {
    "put": lambda queue: queue.put("x"),
    "get": lambda queue: queue.get(timeout=0.05),
    "get_nowait": lambda queue: queue.get_nowait(),
    "qsize": lambda queue: queue.qsize(),
}


def write(client, key, kind):
    command, *args = WRITES[kind]
    client.execute_command(command, key, *args)


@contextmanager
def wrong_type():
    """Suppress Redis's error about the type of a key."""
    try:
        yield
    except ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise


@pytest.mark.parametrize("kind", WRITES)
@pytest.mark.parametrize("name", ["returned", "waiting", "bell"])
@pytest.mark.parametrize("count", [0, 3])
def test_queue_loses_no_item_to_what_is_beside_it(count, name, kind, database):
    for called, call in QUEUE_CALLS.items():
        database.flushdb()
        DOUBTS.clear()
        queue = RedisSimpleQueue(redis=database, key="q")
        for number in range(count):
            queue.put(number)
        write(database, f"q~{name}", kind)
        answer = []
        with suppress(QueueEmptyError, DecodeError), wrong_type():
            answer.append(call(queue))
        database.delete(f"q~{name}")
        left = [queue.get_nowait() for _ in range(queue.qsize())]
        taken = answer if "get" in called else []
        assert {*taken, *left} - {"x"} == {*range(count)}


@pytest.mark.parametrize("kind", WRITES)
@pytest.mark.parametrize("name", ["reserved", "waiting", "bell", "fence"])
@pytest.mark.parametrize("fencing", [False, True])
def test_lock_is_never_held_twice_whatever_is_beside_it(fencing, name, kind, database):
    lock, other = (Redlock(key="k", masters=[database], fencing=fencing) for _ in range(2))
    assert lock.acquire()
    database.delete(f"redlock:k~{name}")
    write(database, f"redlock:k~{name}", kind)
    with suppress(ResponseError):
        assert not other.acquire(timeout=0.1)
    assert lock.locked()
    with suppress(ResponseError):
        lock.release()
    assert not database.exists("redlock:k")
    database.delete(f"redlock:k~{name}")
    assert other.acquire(timeout=1)


@pytest.mark.parametrize("kind", WRITES)
def test_scratch_of_a_filter_or_count_may_hold_anything(kind, database):
    for operation in OPERATIONS:
        if operation.kind in {BloomFilter, HyperLogLog}:
            database.flushdb()
            prepare(operation.kind, database)
            write(database, "filled~scratch", kind)
            assert not isinstance(outcome_at(operation, database), Exception)


def outcome_at(operation, client):
    return operation.call(attach(operation, client))
