"""HyperLogLog and AIOHyperLogLog."""

from __future__ import annotations

import asyncio
import copy
from threading import Thread

import pytest
import redis as redis_py
import redis.asyncio as asynchronous
from clients import close
from redis.exceptions import ResponseError
from test_format import raw_bytes

from pottery import AIOHyperLogLog, HyperLogLog, KeyExistsError, OutcomeUnknown
from pottery.testing import FaultyProxy, RedisServer


def words(count, prefix="word"):
    return [f"{prefix} {n}" for n in range(count)]


def names(redis):
    return {key.decode() for key in raw_bytes(redis).keys()}  # noqa: SIM118 - no dict


# --- counting


@pytest.mark.parametrize("count", [10, 10**3, 10**4, 10**5, 10**6])
def test_count_is_within_the_promised_error(redis, count):
    seen = HyperLogLog(range(count // 2), redis=redis)
    seen.update(range(count // 3, count))
    # The hash is not random, so this fails always or never; 4 standard errors leave 1 in 16 000.
    assert abs(len(seen) - count) <= 4 * 0.0081 * count
    assert redis.strlen(seen.key) <= 12_304


def test_what_is_added_twice_counts_once(redis):
    seen = HyperLogLog(["a", "b", "a"], redis=redis, key="h")
    seen.add("b")
    seen.add("c")
    seen.update("abc", ["d"], {"d", "e"})
    assert len(seen) == 5


def test_hyperloglog_is_used_as_that_of_pottery_3(redis):
    searches = HyperLogLog(redis=redis, key="searches")
    searches.add("sonic")
    assert len(searches) == 1
    searches.update({"minesweeper", "rgb to hex", "pac-man", "snake"})
    assert len(searches) == 5
    assert ("snake" in searches, "tetris" in searches) == (True, False)
    assert tuple(searches.contains_many("snake", "tetris")) == (True, False)
    searches.clear()
    assert len(searches) == 0


def test_text_is_what_is_hashed(redis):
    seen = HyperLogLog([1, 1.0, True, "1", None, (1, 2), "é"], redis=redis, key="h")
    texts = ["1", "1.0", "true", '"1"', "null", "[1, 2]", '"\\u00e9"']
    redis.pfadd("expected", *texts)
    assert raw_bytes(redis).get("h") == raw_bytes(redis).get("expected")
    assert len(seen) == 7
    assert seen.contains_many(1, True, (1, 2), "é", 2) == [True] * 4 + [False]


def test_hyperloglog_in_any_wire_mode(any_redis):
    seen = HyperLogLog("abc", redis=any_redis, key="h")
    seen.update("d", HyperLogLog("e", redis=any_redis))
    assert (len(seen), "a" in seen, "z" in seen) == (5, True, False)
    assert seen.contains_many("a", "z", "e") == [True, False, True]
    assert len(seen.union("f")) == 6
    assert repr(seen) == "<HyperLogLog key='h' len=5>"
    with pytest.raises(KeyExistsError):
        HyperLogLog("x", redis=any_redis, key="h")


def test_first_elements_may_be_named(redis):
    assert len(HyperLogLog(iterable="abc", redis=redis)) == 3


def test_no_elements_take_no_round_trip(redis, commands):
    with commands(redis) as sent:
        seen = HyperLogLog([], redis=redis, key="h")
        seen.update()
        seen.update([], ())
        assert seen.contains_many() == []
        assert seen.contains_many(object(), float("nan"), b"x") == [False] * 3
        assert object() not in seen
    assert sent == []


def test_more_elements_than_one_command_may_carry(redis, commands):
    seen, other = HyperLogLog(redis=redis, key="h"), HyperLogLog("abc", redis=redis, key="other")
    many = range(600_000)
    seen.update(many, other)
    union = other.union(many, key="union")
    assert raw_bytes(redis).get("h")[16:] == raw_bytes(redis).get("union")[16:]
    assert abs(len(union) - 600_003) < 0.03 * 600_000


def test_more_hyperloglogs_than_lua_can_unpack(redis):
    hours = [HyperLogLog(redis=redis, key=f"{{hour}}{number}") for number in range(8760)]
    hours[1].add("tom")
    hours[-1].add("jerry")
    year = HyperLogLog(redis=redis, key="{hour}")
    year.update(*hours)
    assert len(year) == len(hours[0].union(*hours)) == len(year.union(*hours, key="{hour}s")) == 2


# --- membership


@pytest.mark.parametrize("count", [1, 100, 1000, 30_000])
def test_there_are_no_false_negatives(redis, count):
    added = words(count)
    seen = HyperLogLog(added, redis=redis)
    assert all(seen.contains_many(*added))
    assert all(word in seen for word in added[:: max(1, count // 100)])


@pytest.mark.parametrize(
    ("count", "percent"), [(100, 0.4), (1000, 4), (10_000, 32), (100_000, 88), (10**6, 99)]
)
def test_false_positives_are_as_many_as_the_docstring_says(redis, count, percent):
    for start in range(0, count, 100_000):
        raw_bytes(redis).pfadd("h", *range(start, min(count, start + 100_000)))
    found = sum(HyperLogLog(redis=redis, key="h").contains_many(*words(20_000, "stranger")))
    assert f"{percent} %" in HyperLogLog.__doc__
    assert abs(found / 200 - percent) < max(0.2, percent / 20)


def test_each_element_is_compared_with_the_original(redis):
    """Not with a copy to which those before it were added."""
    seen = HyperLogLog(words(2000), redis=redis)
    asked = words(500, "asked") + words(500)
    together = seen.contains_many(*asked, *asked)
    assert together == [word in seen for word in asked] * 2
    assert 505 < sum(together[:1000]) < 700


@pytest.mark.parametrize("count", [0, 5, 1000, 20_000])
def test_asking_changes_nothing(redis, count):
    raw = raw_bytes(redis)
    seen = HyperLogLog(words(count), redis=redis, key="h")
    if count:
        len(seen)  # which stores the count beside the registers
        redis.pexpire("h", 100_000)
    before = raw.get("h")

    answers = seen.contains_many(*words(50, "stranger"), *words(50))

    assert answers[50:] == [n < count for n in range(50)]
    assert ("stranger" in seen) in (False, count == 20_000)
    assert raw.get("h") == before
    assert names(redis) == ({"h"} if count else set())
    assert (90_000 < redis.pttl("h") <= 100_000) if count else True


def test_asking_reaches_neither_replicas_nor_the_disk(tmp_path):
    config = {"appendonly": "yes", "appendfsync": "always", "save": '""'}
    with RedisServer(config=config) as server, server.client() as client:
        seen = HyperLogLog(words(100), redis=client, key="h")
        size = client.info("persistence")["aof_current_size"]
        offset = client.info("replication")["master_repl_offset"]
        assert sum(seen.contains_many(*words(2000, "stranger"))) < 50
        after = client.info("persistence")["aof_current_size"] - size
        assert after < 1000
        assert client.info("replication")["master_repl_offset"] == offset
        server.kill()
        server.start()
        assert client.keys() == [b"h"]


@pytest.mark.parametrize("item", [[1], {"a": 1}, {1}, ([1],)])
def test_unhashable_element_is_typeerror(redis, item):
    seen = HyperLogLog("a", redis=redis, key="h")
    calls = [
        lambda: seen.add(item),
        lambda: seen.update(["x", item]),
        lambda: item in seen,
        lambda: seen.contains_many("a", item),
        lambda: seen.union([item]),
        lambda: HyperLogLog([item], redis=redis),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="unhashable type"):
            call()
    assert (len(seen), names(redis)) == (1, {"h"})


@pytest.mark.parametrize("item", [b"x", object(), frozenset("a"), float("nan"), (b"x",)])
def test_what_json_cannot_spell_is_not_there_and_cannot_be_added(redis, item):
    seen = HyperLogLog("a", redis=redis, key="h")
    assert item not in seen
    assert seen.contains_many(item, "a") == [False, True]
    for call in (lambda: seen.add(item), lambda: seen.update(["b", item])):
        with pytest.raises((TypeError, ValueError)):
            call()
    assert len(seen) == 1


# --- several


def test_union_is_new_and_leaves_the_others_alone(redis):
    one, two = HyperLogLog("abc", redis=redis, key="1"), HyperLogLog("cd", redis=redis, key="2")
    redis.expire("1", 100)
    union = one.union(two, "ef", ["a"])
    assert (len(union), len(one), len(two)) == (6, 3, 2)
    assert (union.redis, union.key[:8], redis.ttl(union.key)) == (redis, "pottery:", -1)
    named = one.union(two, redis=redis, key="named")
    assert (type(named), named.key, len(HyperLogLog(redis=redis, key="named"))) == (
        HyperLogLog,
        "named",
        4,
    )
    assert len(one.union()) == 3


def test_union_at_a_key_that_exists_is_refused(redis):
    one = HyperLogLog("abc", redis=redis, key="1")
    HyperLogLog("z", redis=redis, key="2")
    with pytest.raises(KeyExistsError, match="key '2' exists already"):
        one.union("de", key="2")
    assert len(HyperLogLog(redis=redis, key="2")) == 1


def test_update_by_others_keeps_the_expiry(redis):
    one, two = HyperLogLog("abc", redis=redis, key="1"), HyperLogLog(words(9), redis=redis, key="2")
    redis.expire("1", 100)
    one.update(two)
    one.update(two, one, "xyz")
    assert len(one) == 15
    assert 90 < redis.ttl("1") <= 100
    assert names(redis) == {"1", "2"}


def test_merging_keeps_a_small_one_small(redis):
    one, two = HyperLogLog("abc", redis=redis, key="1"), HyperLogLog("de", redis=redis)
    one.update(two)
    assert redis.strlen("1") < 100


def test_hyperloglog_on_another_server_is_refused_before_anything_is_written(redis, commands):
    with RedisServer() as other_server, other_server.client() as other:
        here, there = HyperLogLog("abc", redis=redis, key="h"), HyperLogLog(redis=other, key="h")
        calls = [
            lambda: here.update("x", there),
            lambda: here.union(there),
            lambda: here.union("x", there, key="new"),
            lambda: here.union("x", redis=other),
            lambda: here.union(here, redis=other, key="new"),
        ]
        with commands(redis) as sent, commands(other) as sent_there:
            for call in calls:
                with pytest.raises(RuntimeError, match="key 'h' is on another server"):
                    call()
        assert [words for words in sent + sent_there if words[0] != "UNLINK"] == []


def test_another_client_of_the_same_server_is_no_other_server(server, redis):
    one = HyperLogLog("abc", redis=redis, key="1")
    with server.client() as client:
        two = HyperLogLog("cd", redis=client, key="2")
        one.update(two)
        assert len(one) == 4
        union = one.union(two, redis=client)
        assert (union.redis, len(union)) == (client, 4)
        del union


def test_subclass_with_another_constructor_is_copied_and_united(redis):
    class Visitors(HyperLogLog):
        def __init__(self, page):
            super().__init__(redis=redis, key=f"visitors of {page}")

    visitors = Visitors("home")
    visitors.update("abc")
    for twin in (visitors.copy(), visitors.union(), copy.copy(visitors), copy.deepcopy(visitors)):
        twin.add("d")
        assert (type(twin), len(twin), len(visitors)) == (Visitors, 4, 3)


# --- creation and failure


def test_data_for_a_key_that_exists_is_refused(redis):
    HyperLogLog("abc", redis=redis, key="h")
    with pytest.raises(KeyExistsError, match="key 'h' exists already") as caught:
        HyperLogLog("d", redis=redis, key="h")
    assert (caught.value.redis, caught.value.key) == (redis, "h")
    assert len(HyperLogLog(redis=redis, key="h")) == 3


def test_temporary_hyperloglog_goes_away(redis):
    seen = HyperLogLog("abc", redis=redis)
    key = seen.union("d").key
    HyperLogLog(redis=redis).add("x")
    assert not redis.exists(key)
    assert redis.exists(seen.key)


def test_bytes_make_a_key_too(redis):
    HyperLogLog("abc", redis=redis, key="h")
    seen = HyperLogLog(redis=redis, key=b"h")
    assert (len(seen), seen.contains_many("a", "z")) == (3, [True, False])
    assert repr(seen) == "<HyperLogLog key=b'h' len=3>"


@pytest.mark.parametrize("kind", ["list", "text", "empty text"])
def test_key_of_another_type_is_redis_error_and_leaves_nothing_behind(redis, kind):
    if kind == "list":
        redis.rpush("k", "x")
    else:
        redis.set("k", "" if kind == "empty text" else "HYLL but not really")
    before = redis.dump("k") if not redis.get_encoder().decode_responses else None
    broken, fine = HyperLogLog(redis=redis, key="k"), HyperLogLog("abc", redis=redis, key="fine")
    calls = [
        lambda: broken.add("x"),
        lambda: broken.update("xyz"),
        lambda: "x" in broken,
        lambda: broken.contains_many("x", "y"),
        lambda: len(broken),
        lambda: fine.update(broken, "x"),
        lambda: broken.update(fine, "x"),
        lambda: fine.union(broken, key="new"),
    ]
    for call in calls:
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            call()
    assert len(fine) == 3
    assert names(redis) == {"k", "fine"}
    assert before is None or redis.dump("k") == before
    assert repr(broken) == "<HyperLogLog key='k' len=?>"


def test_repr_tells_the_length_if_it_can(redis):
    with RedisServer() as server:
        client = redis_py.Redis.from_url(server.url, retry=None)
        seen = HyperLogLog("abc", redis=client, key="h")
        assert repr(seen) == "<HyperLogLog key='h' len=3>"
    assert repr(seen) == "<HyperLogLog key='h' len=?>"
    client.close()


def test_lost_reply_neither_loses_nor_doubles(server, redis):
    options = redis.connection_pool.connection_kwargs
    with FaultyProxy(server.url) as proxy:
        client = redis_py.Redis(port=proxy.port, db=options.get("db", 0))
        seen, other = HyperLogLog("ab", redis=client, key="h"), HyperLogLog("bc", redis=client)
        harmless = [
            lambda: seen.add("x"),
            lambda: seen.update("yz"),
            lambda: seen.update(other, "w"),
            lambda: seen.contains_many("x"),
            lambda: len(seen),
            lambda: seen.union(other),
        ]
        for call in harmless:
            call()
            proxy.drop_reply()
            call()
        assert len(seen) == 7
        seen.union("q", key="known")  # so that the script is
        for call in (
            lambda: seen.union("q", key="new"),
            lambda: HyperLogLog("q", redis=client, key="new, too"),
        ):
            proxy.drop_reply()
            with pytest.raises(OutcomeUnknown):
                call()
        client.close()


def test_no_addition_of_many_threads_is_lost(server, redis):
    def add(number):
        with server.client() as client:
            seen = HyperLogLog(redis=client, key="h")
            for word in words(100, f"thread {number}"):
                seen.add(word)
                assert word in seen
            seen.contains_many(*words(300, "stranger"))

    threads = [Thread(target=add, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    redis.pfadd("expected", *[f'"{word}"' for n in range(6) for word in words(100, f"thread {n}")])
    assert len(HyperLogLog(redis=redis, key="h")) == redis.pfcount("expected")
    assert names(redis) == {"h", "expected"}


# --- asyncio


def test_asynchronous_hyperloglog_does_what_the_blocking_one_does(server, redis):
    blocking = HyperLogLog("xyz", redis=redis, key="blocking")

    async def body(client):
        seen = await AIOHyperLogLog.create("abc", redis=client, key="h")
        await seen.add("d")
        await seen.update("ef", blocking)
        assert (await seen.has("a"), await seen.has("q"), await seen.has(b"a")) == (1, 0, 0)
        assert (await seen.size(), await seen.contains_many("a", "q")) == (9, [True, False])
        union = await seen.union("gh", key="union")
        copied = await seen.copy()
        await copied.clear()
        assert (await union.size(), await copied.size(), await seen.size()) == (11, 0, 9)
        assert repr(seen) == "<AIOHyperLogLog key='h'>"
        with pytest.raises(KeyExistsError):
            await AIOHyperLogLog.create("x", redis=client, key="h")
        with pytest.raises(KeyExistsError):
            await seen.union(key="union")

    async def run():
        client = asynchronous.Redis.from_url(server.url)
        await body(client)
        await close(client)

    asyncio.run(run())
    assert len(HyperLogLog(redis=redis, key="h")) == 9
