"""What is special about RedisList."""

from __future__ import annotations

import json
import threading

import pytest
from redis.exceptions import ResponseError

from pottery import DecodeError, InefficientAccessWarning, RedisDeque, RedisList
from pottery.list import EXCHANGE
from pottery.testing import RedisServer

SIZES = [0, 1, 999, 9_999, 10_000, 10_001, 10_002, 11_001, 11_002, 25_000]


@pytest.mark.parametrize("size", SIZES)
def test_pages_join_into_what_was_there(redis, size):
    numbers, expected = RedisList(range(size), redis=redis), list(range(size))
    assert list(numbers) == expected
    assert list(reversed(numbers)) == expected[::-1]
    assert numbers.to_list() == expected


SLICES = [
    slice(None),
    slice(5, None),
    slice(10_001),
    slice(3, 11_004),
    slice(1, 25_000, 7),
    slice(None, None, -1),
    slice(-11_000, None),
    slice(5, -5),
    slice(20_000, 3, -3),
]


@pytest.mark.parametrize("part", SLICES)
def test_slices_of_long_lists(redis, part):
    numbers = RedisList(range(12_000), redis=redis)
    assert numbers[part] == list(range(12_000))[part]


CHANGES = {
    "reverse": lambda items: items.reverse(),
    "sort": lambda items: items.sort(reverse=True),
    "insert": lambda items: items.insert(2, 9),
    "remove": lambda items: items.remove(3),
    "assign all": lambda items: items.__setitem__(slice(None), [1]),
    "assign some": lambda items: items.__setitem__(slice(None, None, 2), "abc"),
    "delete some": lambda items: items.__delitem__(slice(None, None, 2)),
    "repeat": lambda items: items.__imul__(3),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_change_in_place_keeps_the_expiry(redis, change):
    numbers = RedisList(range(5), redis=redis, key="l")
    redis.expire("l", 100)
    expected = list(range(5))
    change(expected)

    change(numbers)

    assert list(numbers) == expected
    assert 90 < redis.ttl("l") <= 100


def test_long_slice_is_one_command(redis, commands):
    numbers = RedisList(range(25_000), redis=redis, key="l")
    with commands(redis) as sent:
        assert len(numbers[:]) == 25_000
    assert len(sent) == 1


def fill(texts):
    for _ in range(100):
        texts.insert(1, "y" * 100_000)


def test_insertion_is_refused_when_memory_is_out():
    with RedisServer(config={"maxmemory": "2mb"}) as server, server.client() as client:
        texts = RedisList("xyz", redis=client, key="l")
        with pytest.raises(ResponseError, match="maxmemory"):
            fill(texts)
        assert texts[0] == "x"
        assert texts.pop() == "z"


def test_true_is_an_index(redis):
    letters = RedisList("abc", redis=redis)
    assert (letters[True], letters[True:], letters[False]) == ("b", ["b", "c"], "a")
    letters.insert(True, "x")
    assert letters.pop(True) == "x"


def test_integers_longer_than_python_writes_them_are_nowhere(redis):
    numbers = RedisList([1], redis=redis)
    assert 10**5000 not in numbers
    assert numbers.count(10**5000) == 0
    assert numbers.index(1, -(10**5000)) == 0


def test_emptied_list_leaves_no_key(redis):
    numbers = RedisList(range(5), redis=redis, key="l")
    numbers[:] = []
    assert not redis.exists("l")
    assert numbers[:] == []


def test_element_in_the_middle_is_warned_about(redis):
    numbers = RedisList(range(5), redis=redis, key="l")
    with pytest.warns(InefficientAccessWarning, match="a middle index of RedisList 'l'") as caught:
        assert numbers[2] == 2
    assert caught[0].filename == __file__


def test_key_of_another_type_is_redis_error_and_stays_as_it_is(redis):
    redis.set("k", "text")
    items = RedisList(redis=redis, key="k")
    calls = [
        lambda: items.append(1),
        lambda: items.insert(1, 1),
        lambda: items[0],
        lambda: items.__setitem__(0, 1),
        lambda: items.__setitem__(slice(1), [1]),
        items.sort,
        items.reverse,
        lambda: items.remove(1),
        lambda: items.pop(3),
        lambda: items + [1],
        lambda: len(items),
    ]
    for call in calls:
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            call()
    assert redis.get("k") in (b"text", "text")


def test_element_that_json_cannot_spell_leaves_everything_as_it_was(redis):
    items = RedisList([1], redis=redis, key="l")
    calls = [
        lambda: items.append(b"x"),
        lambda: items.extend([2, {3}]),
        lambda: items.insert(0, object()),
        lambda: items.__setitem__(0, 1j),
        lambda: items.__setitem__(slice(None), [2, b"x"]),
        lambda: items + [b"x"],
    ]
    for call in calls:
        with pytest.raises(TypeError, match="not JSON serializable"):
            call()
    assert list(items) == [1]


def test_lists_of_two_servers_are_joined_through_python(redis):
    with RedisServer() as other_server, other_server.client() as other:
        here, there = RedisList([1], redis=redis), RedisList([2, 3], redis=other)
        here += there
        both = here + there
        assert (list(here), list(both), both.redis) == ([1, 2, 3], [1, 2, 3, 2, 3], redis)


def test_list_and_deque_beside_each_other_are_joined_by_the_server(redis, commands):
    items, more = RedisList([1], redis=redis, key="l"), RedisDeque([2, 3], redis=redis, key="d")
    items.extend(more)
    with commands(redis) as sent:
        items.extend(more)
    assert len(sent) == 1
    assert list(items) == [1, 2, 3, 2, 3]


def test_removal_by_value_takes_the_element_that_was_compared(redis):
    items = RedisList([{"a": 1}, [1.0], {"a": True}], redis=redis)
    items.remove({"a": 1.0})
    items.remove([True])
    assert list(items) == [{"a": True}]


class Disturbed(RedisList):
    """Somebody pushes between the first two steps of each operation."""

    def _send(self, op):
        reply = super()._send(op)
        if op.args[0] == "LRANGE" and self.redis.llen(self.key) < 3:
            self.redis.lpush(self.key, "0")
        return reply


def test_search_starts_again_if_the_list_moved_under_it(redis):
    items = Disturbed([["x"], ["y"]], redis=redis, key="l")
    items.remove(["y"])
    assert list(items) == [0, ["x"]]


def test_sort_reads_again_what_changed_under_it(redis):
    numbers = RedisList([3, 1, 2], redis=redis, key="l")
    numbers.sort(key=lambda number: redis.rpush("l", "0") if len(numbers) < 6 else number)
    assert sorted(numbers) == [0, 0, 0, 1, 2, 3]
    assert numbers.count(0) == 3


LONGEST = 10**15 - 1  # of the integers that the server sorts
SORTED_BY_THE_SERVER = [
    [],
    [3],
    [10, 9, -1, 0, 9, -10],
    [LONGEST, -(LONGEST // 10), LONGEST - 1],
    range(1000, 0, -1),
]
SORTED_BY_PYTHON = [
    [2, 1.5],
    [1, True, 1.0, 0, False, -0.0],
    ["b", "a", "10", "9"],
    [[2], [1]],
    [2**53 + 1, 2**53, 2**53 + 2],
    range(1001, 0, -1),
    range(10_000, 0, -1),
]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("items", "requests"),
    [(items, 1) for items in SORTED_BY_THE_SERVER] + [(items, 2) for items in SORTED_BY_PYTHON],
)
def test_sort(redis, commands, items, requests, reverse):
    numbers = RedisList(items, redis=redis, key="l")
    numbers.sort()  # for the server to know the scripts
    numbers[:] = items
    with commands(redis) as sent:
        numbers.sort(reverse=reverse)
    assert repr(numbers.to_list()) == repr(sorted(items, reverse=reverse))
    assert len(sent) <= requests  # one, too, if all is in order already


@pytest.mark.parametrize("raw", [b"-0", b" 1", b"1e0", b"-Infinity"])
def test_sort_leaves_other_spellings_to_python(redis, raw):
    raws = [b"1", raw, b"0", b"-3"]
    redis.rpush("l", *raws)
    RedisList(redis=redis, key="l").sort()
    expected = sorted(raws, key=json.loads)
    assert redis.lrange("l", 0, -1) in (expected, [one.decode() for one in expected])


@pytest.mark.parametrize("raw", [b"01", b"+1", b"0x1", b"1_0", b"inf", b""])
def test_sort_refuses_what_looks_like_an_integer(redis, raw):
    redis.rpush("l", b"1", raw, b"0")
    with pytest.raises(DecodeError):
        RedisList(redis=redis, key="l").sort()
    assert redis.lrange("l", 0, -1) in ([b"1", raw, b"0"], ["1", raw.decode(), "0"])


def test_sort_gives_up_when_others_write_all_the_time(redis):
    numbers = RedisList([2, 1], redis=redis, key="l")
    with pytest.raises(ValueError, match="list modified during sort"):
        numbers.sort(key=lambda number: number if number != 2 else redis.rpush("l", "0"))


def test_exchange_tells_apart_lists_whose_texts_join_alike(redis):
    redis.rpush("l", '"a"1', "2")
    assert RedisList(redis=redis, key="l")._perform(EXCHANGE(("l",), ("no such digest", "1"))) == 0


def test_many_threads_insert_and_take_every_element_once(redis):
    items = RedisList([0] * 10, redis=redis, key="l")
    taken = []

    def work():
        for number in range(50):
            items.insert(5, number)
            taken.append(items.pop(5))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(list(range(50)) * 8)
    assert len(items) == 10


def test_half_a_million_arguments_go_at_once_and_more_in_parts(redis, monkeypatch, commands):
    monkeypatch.setattr("pottery.base.MOST_ARGUMENTS", 100)
    with commands(redis) as sent:
        items = RedisList(range(250), redis=redis, key="l")
        items.extend(range(250))
    assert [words[0] for words in sent] == ["EVALSHA", *["RPUSH"] * 5]
    assert list(items) == [*range(250), *range(250)]


def test_index_too_large_for_python_is_refused_as_python_does(redis):
    items = RedisList("abc", redis=redis, key="l")
    for index in (10**30, -(10**30)):
        with pytest.raises(IndexError, match="cannot fit 'int' into an index-sized integer"):
            items[index]
        with pytest.raises(OverflowError):
            items.insert(index, "x")
    assert items[-(10**30) : 10**30] == list("abc")


def test_list_that_would_be_too_long_for_redis_is_refused_at_once(redis):
    items = RedisList("abc", redis=redis, key="l")
    with pytest.raises(MemoryError):
        items *= 10**12
    with pytest.raises(MemoryError):
        items * 10**15
    assert len(items) == 3
    assert list(RedisList(redis=redis) * 10**15) == []


@pytest.mark.parametrize("size", [0, 1, 2, 16, 17, 40, 3000])
def test_insertion_and_removal_find_their_places_among_equal_elements(redis, size):
    expected = list("ab" * (size // 2) + "a" * (size % 2))
    items = RedisList(expected, redis=redis, key="l")
    places = {0, 1, size // 3, size // 2, size - size // 17, size - 2, size - 1, size, size + 1}
    for place in sorted(places | {-place for place in places}):
        items.insert(place, "x")
        expected.insert(place, "x")
        assert items[:] == expected

        if -len(expected) <= place < len(expected):
            assert items.pop(place) == expected.pop(place)
        else:
            del items[-1], expected[-1]
        assert items[:] == expected


HALVES = {
    "insert": ("linsert", lambda items: items.insert(1, "x")),
    "pop": ("lrem", lambda items: items.pop(1)),
    "del": ("lrem", lambda items: items.__delitem__(-2)),
    "remove": ("lrem", lambda items: items.remove(["list"])),
}


@pytest.mark.parametrize(("forbidden", "change"), HALVES.values(), ids=HALVES)
def test_list_stays_as_it_was_if_a_user_may_do_only_half_of_a_change(
    server, redis, forbidden, change
):
    redis.execute_command("ACL SETUSER", "guest", "on", "nopass", "~*", "+@all", f"-{forbidden}")
    with server.client(username="guest", password="any") as guest:
        items = RedisList(["a", ["list"], "c"], redis=guest, key="l")
        with pytest.raises(ResponseError, match=r"(?i)permission|can.t run"):
            change(items)
    redis.execute_command("ACL DELUSER", "guest")
    assert RedisList(redis=redis, key="l")[:] == ["a", ["list"], "c"]
