"""CachedOrderedDict: what it adds to OrderedDict."""

from __future__ import annotations

import asyncio
import copy
import doctest
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from random import Random

import pytest
import redis as redis_py
import redis.asyncio as asynchronous
from clients import close
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from pottery import AIOCachedOrderedDict, CachedOrderedDict
from pottery.testing import FaultyProxy

README = """
>>> from pottery import CachedOrderedDict
>>> search_results_1 = CachedOrderedDict(
...     redis_client=redis,
...     redis_key='search-results',
...     dict_keys=(1, 2, 3, 4, 5),
... )
>>> sorted(search_results_1.misses())
[1, 2, 3, 4, 5]
>>> search_results_1[1] = 'one'
>>> search_results_1[2] = 'two'
>>> search_results_1[3] = 'three'
>>> search_results_1[4] = 'four'
>>> search_results_1[5] = 'five'
>>> sorted(search_results_1.misses())
[]
>>> for key, value in search_results_1.items():
...     print(f'{key}: {value}')
1: one
2: two
3: three
4: four
5: five
>>> search_results_2 = CachedOrderedDict(
...     redis_client=redis,
...     redis_key='search-results',
...     dict_keys=(2, 4, 6, 8, 10),
... )
>>> sorted(search_results_2.misses())
[6, 8, 10]
>>> search_results_2[2]
'two'
>>> search_results_2[6] = 'six'
>>> search_results_2[8] = 'eight'
>>> search_results_2[10] = 'ten'
>>> sorted(search_results_2.misses())
[]
>>> for key, value in search_results_2.items():
...     print(f'{key}: {value}')
2: two
4: four
6: six
8: eight
10: ten
"""


def test_examples_of_pottery_3_run_as_written(redis):
    test = doctest.DocTestParser().get_doctest(README, {"redis": redis}, "README", None, 0)
    said = []
    doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert not said, "".join(said)


@pytest.fixture
def make(redis):
    """Make a dict whose cache is the hash `k`."""

    def make(dict_keys=(), **options):
        return CachedOrderedDict(
            **{"redis_client": redis, "redis_key": "k", "dict_keys": dict_keys, **options}
        )

    return make


def text(raw):
    return raw.decode() if isinstance(raw, bytes) else raw


def cached(redis):
    return {text(field): text(value) for field, value in redis.hgetall("k").items()}


# --- looking up


def test_what_is_cached_is_an_item_and_the_rest_are_misses(redis, make):
    redis.hset("k", mapping={"1": '"one"', '"3"': "[3]", "[4, 5]": "null"})
    results = make([1, 2, "3", 3, (4, 5)])
    assert list(results.items()) == [(1, "one"), ("3", [3]), ((4, 5), None)]
    assert results.misses() == {2, 3}


def test_cache_in_every_wire_mode(any_redis):
    for timeout in (60, None):
        any_redis.flushdb()
        options = {"redis_client": any_redis, "redis_key": "k", "timeout": timeout}
        first = CachedOrderedDict(dict_keys="abc", **options)
        first.update(b=2, c=None)
        assert first.setdefault("a", "é") == "é"
        second = CachedOrderedDict(dict_keys="cbz", **options)
        assert list(second.items()) == [("c", None), ("b", 2)]
        assert second.setdefault("a", 5) == "é"


def test_miss_is_no_item(make):
    results = make("abc")
    results["b"] = 1
    assert ("a" in results, "b" in results, len(results), list(results)) == (False, True, 1, ["b"])
    assert results.get("a") is None
    assert results.pop("a", 5) == 5
    for read in (lambda: results["a"], lambda: results.pop("a"), lambda: results.move_to_end("a")):
        with pytest.raises(KeyError, match="'a'"):
            read()
    with pytest.raises(KeyError):
        del results["a"]
    assert results.misses() == {"a", "c"}


def test_miss_leaks_into_no_reading_of_the_dict(make):
    results = make("abc")
    results["b"] = 1
    assert json.dumps(results) == '{"b": 1}'
    assert (dict(results), {**results}) == ({"b": 1}, {"b": 1})
    assert list(results.items()) == [("b", 1)]
    assert list(results.values()) == [1]
    assert results == OrderedDict(b=1) == {"b": 1} == results
    assert repr(results) in ("CachedOrderedDict([('b', 1)])", "CachedOrderedDict({'b': 1})")
    assert "".join(results) == "b"
    assert sorted(results) == ["b"]
    assert "{a}{b}".format(**{"a": 0, **results}) == "01"


def test_filled_miss_takes_its_place(make):
    random = Random(1)
    for _ in range(20):
        order = random.sample("abcdefgh", 8)
        results = make(order)
        results.clear()
        results = make(order, redis_key=f"k{random.random()}")
        todo = random.sample(order, 8)
        while todo:
            if random.random() < 0.5:
                results[todo.pop()] = 1
            else:
                results.update({todo.pop(): 2 for _ in range(random.randint(1, len(todo)))})
            assert list(results) == [key for key in order if key in results]
            assert list(dict(results)) == list(results)
        assert list(results) == order


class Model:
    """What a CachedOrderedDict should be: places, of which some are filled."""

    def __init__(self, keys):
        self.places = list(keys)
        self.values = {}

    def items(self):
        return [(key, self.values[key]) for key in self.places if key in self.values]

    def update(self, items):
        self.places += [key for key in items if key not in self.places]
        self.values.update(items)

    def pop(self, key):
        self.places.remove(key)
        return self.values.pop(key)

    def move_to_end(self, key, last):
        self.places.remove(key)
        self.places.insert(len(self.places) if last else 0, key)


@pytest.mark.parametrize("seed", range(10))
def test_random_program_does_what_the_model_does(redis, make, seed):
    random = Random(seed)
    ours, model = make("abcdef"), Model("abcdef")
    in_cache = {}
    for step in range(150):
        key, last = random.choice("abcdefghij"), random.random() < 0.5
        filled = key in model.values
        chance = random.randrange(7)
        if chance == 0:
            ours[key] = step
            model.update({key: step})
            in_cache[key] = step
        elif chance == 1:
            items = dict.fromkeys(random.sample("abcdefghij", 3), step)
            ours.update(items)
            model.update(items)
            in_cache.update(items)
        elif chance == 2:
            expected = model.values[key] if filled else in_cache.setdefault(key, step)
            assert ours.setdefault(key, step) == expected
            model.update({key: expected})
        elif chance == 3 and filled:
            assert ours.pop(key) == model.pop(key)
        elif chance == 4 and filled:
            ours.move_to_end(key, last)
            model.move_to_end(key, last)
        elif chance == 5 and model.values:
            item = model.items()[-1 if last else 0]
            assert ours.popitem(last) == item
            model.pop(item[0])
        elif chance == 6 and filled:
            del ours[key]
            model.pop(key)
        assert list(ours.items()) == model.items()
        assert list(reversed(ours)) == [key for key, _ in reversed(model.items())]
        assert ours.misses() == set(model.places) - set(model.values)
        assert ours == ours.copy() == OrderedDict(model.items())
    assert cached(redis) == {f'"{key}"': str(value) for key, value in in_cache.items()}


def test_new_key_comes_last_and_stays_there(make):
    results = make("abc")
    results["z"] = 0
    results.update(c=3, y=9)
    results["a"] = 1
    assert list(results) == ["a", "c", "z", "y"]
    results.move_to_end("c")
    results.move_to_end("y", last=False)
    results["b"] = 2
    assert list(results) == ["y", "a", "b", "z", "c"]


def test_key_given_twice_is_looked_up_once(make):
    results = make([1, 1.0, True, 2])
    results[1.0] = "one"
    assert list(results.items()) == [(1, "one")]
    assert results.misses() == {2}
    assert make([1]) == {1: "one"}


@pytest.mark.parametrize("broken", ["{", "", "1, 2", b"\xff", "[" * 100_000])
def test_entry_that_cannot_be_decoded_is_a_miss(redis, make, broken):
    redis.hset("k", mapping={'"a"': broken, '"b"': "[2]", '"c"': "3"})
    results = make("abc")
    assert (dict(results), results.misses()) == ({"b": [2], "c": 3}, {"a"})
    assert results.setdefault("a", 1) == 1
    assert make("abc") == {"a": 1, "b": [2], "c": 3}


@pytest.mark.parametrize("timeout", [60, None])
def test_thousands_of_keys_are_looked_up_and_stored_at_once(redis, make, commands, timeout):
    keys = range(12_345)
    make(["x"], timeout=timeout).update(x=1)  # so that the scripts are known
    with commands(redis) as sent:
        results = make(keys, timeout=timeout)
        results.update({key: str(key) for key in keys if key % 3})
        found = make(keys, timeout=timeout)
    assert len(sent) == 3
    assert found == results == OrderedDict((key, str(key)) for key in keys if key % 3)
    assert found.misses() == set(range(0, 12_345, 3))


def test_no_keys_are_looked_up_without_a_round_trip(redis, make, commands):
    with commands(redis) as sent:
        make().update({})
    assert not sent


@pytest.mark.parametrize("key", [[1], {}, b"x", object(), float("nan"), (1, [2])])
def test_key_that_cannot_be_one_is_refused_before_anything_is_written(redis, make, key):
    results = make("a")
    hashable = key.__hash__ is not None and not isinstance(key, tuple)
    with pytest.raises((TypeError, ValueError)):
        make([key])
    for write in (results.__setitem__, results.setdefault):
        with pytest.raises((TypeError, ValueError)):
            write(key, 1)
    if hashable:
        with pytest.raises((TypeError, ValueError)):
            results.update({"a": 1, key: 2})
    with pytest.raises(TypeError):
        results.update({"a": 1, "b": object()})
    assert not results
    assert not redis.exists("k")


# --- what reaches the cache


def test_setting_writes_to_the_cache(redis, make):
    results = make("ab")
    results["a"] = 1
    results.update([("b", 2)], c=3)
    results |= {"d": [4]}
    assert results.setdefault("e") is None
    assert cached(redis) == {'"a"': "1", '"b"': "2", '"c"': "3", '"d"': "[4]", '"e"': "null"}
    assert list(results) == list("abcde")


def test_filling_writes_only_what_is_new(redis, make, commands):
    make().update(dict.fromkeys("abc", 1))
    with commands(redis) as sent:
        results = make("abcd")
        results["d"] = 2
    assert [len(words) for words in sent] == [3 + 1 + 1 + 4, 3 + 1 + 1 + 2]
    assert '"a"' not in sent[1]


def test_removing_is_local(redis, make):
    results = make("abcdef")
    results.update({key: key for key in "abcde"})
    before = cached(redis)
    del results["a"]
    assert results.pop("b") == "b"
    assert results.popitem() == ("e", "e")
    assert results.popitem(last=False) == ("c", "c")
    assert (dict(results), results.misses()) == ({"d": "d"}, {"f"})
    results.clear()
    assert (dict(results), results.misses()) == ({}, frozenset())
    assert cached(redis) == before == cached(redis)
    with pytest.raises(KeyError):
        results.popitem()


def test_removed_key_comes_back_at_the_end(make):
    results = make("abc")
    results.update(a=1, b=2, c=3)
    del results["a"]
    results["a"] = 4
    assert list(results) == ["b", "c", "a"]


def test_setdefault_returns_what_another_has_put_there(redis, make):
    mine, theirs = make("ab"), make("ab")
    theirs["a"] = [1]
    assert mine.setdefault("a", 2) == [1]
    assert mine["a"] == [1]
    assert mine.setdefault("a", 3) == [1]
    assert mine.setdefault("new", 4) == 4
    assert list(mine) == ["a", "new"]
    assert cached(redis) == {'"a"': "[1]", '"new"': "4"}


def test_of_many_that_set_a_default_one_wins(make):
    barrier = threading.Barrier(8)
    results = []

    def work(number):
        mine = make("abc")
        barrier.wait()
        results.append([mine.setdefault(key, number) for key in "abc"])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert [len(set(column)) for column in zip(*results, strict=True)] == [1, 1, 1]


def test_values_that_were_set_are_kept_as_they_are(make):
    value = (1, 2)
    results = make("ab")
    results["a"] = value
    assert results["a"] is value
    assert results.setdefault("b", value) is value
    assert make("a")["a"] == [1, 2]


def test_lost_replies_change_nothing(server, redis):
    with FaultyProxy(server.url) as proxy:
        client = redis_py.Redis(port=proxy.port, retry=Retry(NoBackoff(), 0))
        for timeout in (60, None):
            redis.flushdb()
            options = {"redis_client": client, "redis_key": "k", "timeout": timeout}
            proxy.drop_reply()
            results = CachedOrderedDict(dict_keys="abc", **options)
            proxy.drop_reply()
            results["c"] = 3
            proxy.drop_reply()
            assert results.setdefault("a", 1) == 1
            proxy.drop_reply()
            results.update(b=2)
            assert list(results.items()) == [("a", 1), ("b", 2), ("c", 3)]
            assert cached(redis) == {'"a"': "1", '"b"': "2", '"c"': "3"}


def test_failed_write_leaves_the_dict_as_it_was(redis, make):
    results = make("ab")
    redis.set("k", "text")
    for write in (
        lambda: results.update(a=1),
        lambda: results.__setitem__("a", 1),
        lambda: results.setdefault("a", 1),
        lambda: make("ab"),
    ):
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            write()
    assert (dict(results), results.misses()) == ({}, {"a", "b"})


# --- expiry


def test_every_use_of_the_cache_renews_its_timeout(redis, make):
    make("a").update(a=1)
    uses = [
        lambda: make("ab"),
        lambda: make("a").update(b=2),
        lambda: make("a").__setitem__("c", 2),
        lambda: make("a").setdefault("d", 2),
    ]
    for use in uses:
        assert redis.ttl("k") == 60
        redis.expire("k", 5)
        use()
    assert redis.ttl("k") == 60


def test_cache_goes_after_its_timeout_and_the_dict_stays(redis, make):
    results = make("a", timeout=0.05)
    results["a"] = 1
    time.sleep(0.08)
    assert not redis.exists("k")
    assert results == {"a": 1}
    assert make("a").misses() == {"a"}


def test_timeout_of_none_is_for_ever(redis, make):
    results = make("a", timeout=None)
    results["a"] = 1
    results.setdefault("b", 2)
    results.update(c=3)
    make("abc", timeout=None)
    assert redis.ttl("k") == -1


# --- arguments


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"timeout": 0}, ValueError),
        ({"timeout": "60"}, TypeError),
        ({"num_tries": 0}, ValueError),
        ({"num_tries": None}, TypeError),
        ({"redis_key": 5}, TypeError),
        ({"redis_client": 5}, TypeError),
        ({"dict_keys": 5}, TypeError),
    ],
    ids=str,
)
def test_argument_that_is_wrong_is_refused(make, options, error):
    with pytest.raises(error):
        make(**options)


def test_without_a_key_it_gets_a_temporary_one(redis):
    results = CachedOrderedDict(redis_client=redis, dict_keys="a", num_tries=1)
    results["a"] = 1
    assert text(redis.keys()[0]).startswith("pottery:")


# --- copies


def test_copy_has_the_same_cache_and_items_of_its_own(redis, make):
    results = make("abc", timeout=None)
    results["c"] = [3]
    results.attribute = "mine"
    for duplicate in (results.copy, lambda: copy.copy(results), lambda: copy.deepcopy(results)):
        twin = duplicate()
        assert type(twin) is CachedOrderedDict
        assert (twin, twin.misses(), twin.attribute) == (results, results.misses(), "mine")
        twin["a"] = 1
        assert list(twin) == ["a", "c"]
        assert list(results) == ["c"]
        assert cached(redis) == {'"a"': "1", '"c"': "[3]"}
        redis.hdel("k", '"a"')
    assert results.copy()["c"] is results["c"]
    assert copy.deepcopy(results)["c"] is not results["c"]


def test_union_is_an_ordered_dict_and_writes_nothing(redis, make):
    results = make("ab")
    results["b"] = 2
    before = cached(redis)
    for union, items in (
        (results | {"a": 1, "b": 3}, [("b", 3), ("a", 1)]),
        ({"a": 1, "b": 3} | results, [("a", 1), ("b", 2)]),
        (results | results, [("b", 2)]),
    ):
        assert type(union) is OrderedDict
        assert list(union.items()) == items
    assert cached(redis) == before
    for wrong in ([("a", 1)], None, "ab"):
        with pytest.raises(TypeError):
            results | wrong
        with pytest.raises(TypeError):
            wrong | results


def test_pickling_is_refused_and_says_what_to_do(make):
    with pytest.raises(TypeError, match="cannot pickle 'CachedOrderedDict' object: pickle a dict"):
        pickle.dumps(make("a"))
    assert pickle.loads(pickle.dumps(OrderedDict(make("a")))) == {}


def test_fromkeys_needs_to_know_where(redis):
    results = CachedOrderedDict.fromkeys("ab", 0, redis_client=redis, redis_key="k")
    assert list(results.items()) == [("a", 0), ("b", 0)]
    assert cached(redis) == {'"a"': "0", '"b"': "0"}


def test_it_is_an_ordered_dict(make):
    results = make("abc")
    results.update(c=3, a=1, b=2)
    assert isinstance(results, OrderedDict)
    assert list(reversed(results)) == ["c", "b", "a"]
    assert list(reversed(results.items())) == [("c", 3), ("b", 2), ("a", 1)]
    assert results == OrderedDict(a=1, b=2, c=3) != OrderedDict(c=3, b=2, a=1)
    assert results == {"c": 3, "b": 2, "a": 1}
    results.move_to_end("a")
    assert list(results) == ["b", "c", "a"]


# --- asyncio


def in_a_loop(server, body):
    async def run():
        client = asynchronous.Redis.from_url(server.url)
        try:
            await body({"redis_client": client, "redis_key": "k"})
        finally:
            await close(client)

    asyncio.run(run())


def test_asynchronous_dict_does_what_the_blocking_one_does(server, redis, make):
    make("b").update(b=[2])

    async def body(where):
        results = await AIOCachedOrderedDict.create("abcd", **where)
        assert (dict(results), results.misses()) == ({"b": [2]}, {"a", "c", "d"})
        await results.set("d", 4)
        await results.update({"a": 1}, z=0)
        make("c")["c"] = 3
        assert await results.setdefault("c", 5) == 3
        assert await results.setdefault("b", 5) == [2]
        assert await results.setdefault("new") is None
        assert list(results) == [*"abcdz", "new"]
        results.move_to_end("z", last=False)
        assert results.pop("z") == 0
        del results["new"]
        twin = copy.deepcopy(results)
        assert type(twin) is AIOCachedOrderedDict
        await twin.set("y", 1)
        assert (list(twin), list(results)) == ([*"abcdy"], [*"abcd"])
        assert json.dumps(results) == '{"a": 1, "b": [2], "c": 3, "d": 4}'
        assert type(results | {"x": 1}) is OrderedDict

    in_a_loop(server, body)
    assert cached(redis).keys() == {'"a"', '"b"', '"c"', '"d"', '"z"', '"y"', '"new"'}


def test_asynchronous_dict_refuses_to_set_what_is_not_awaited(server, redis):
    async def body(where):
        results = AIOCachedOrderedDict(**where)
        with pytest.raises(TypeError, match=r"await d\.set"):
            results["a"] = 1
        with pytest.raises(TypeError, match=r"await d\.update"):
            results |= {"a": 1}
        with pytest.raises(TypeError):
            AIOCachedOrderedDict.fromkeys("ab", **where)
        with pytest.raises(TypeError):
            await results.update(a=1, b=object())
        assert not results

    in_a_loop(server, body)
    assert not redis.exists("k")


def test_leaving_async_with_unlinks_a_temporary_cache_and_no_other(server, redis):
    async def body(where):
        async with AIOCachedOrderedDict(redis_client=where["redis_client"]) as temporary:
            await temporary.set("a", 1)
            assert redis.dbsize() == 1
        assert redis.dbsize() == 0
        async with AIOCachedOrderedDict(**where) as kept:
            await kept.set("a", 1)

    in_a_loop(server, body)
    assert redis.exists("k")


def test_asynchronous_dict_needs_a_client_of_its_colour(redis):
    with pytest.raises(TypeError, match="asyncio"):
        AIOCachedOrderedDict(redis_client=redis)


# --- many processes

PROGRAM = """
import os, random, sys
from pottery import CachedOrderedDict
random.seed(int(sys.argv[1]))
computed = 0
for _ in range(30):
    keys = random.sample([f"key {n}" for n in range(300)], 50)
    results = CachedOrderedDict(redis_key="k", dict_keys=keys)
    todo = list(results.misses())
    computed += len(todo)
    for key in todo[:5]:
        assert results.setdefault(key, key.upper()) == key.upper()
    results.update({key: key.upper() for key in todo[5:]})
    assert list(results.items()) == [(key, key.upper()) for key in keys], results
    assert not results.misses()
print(computed)
"""


@pytest.mark.slow
def test_processes_share_what_they_find(redis, server):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(seed)],
            env={**os.environ, "REDIS_URL": server.url, "PYTHONHASHSEED": str(seed)},
            stdout=subprocess.PIPE,
        )
        for seed in range(6)
    ]
    computed = [int(process.communicate()[0]) for process in processes]
    assert redis.hlen("k") == 300
    assert sum(computed) < 6 * 300
