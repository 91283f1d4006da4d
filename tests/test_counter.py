"""What RedisCounter does beyond what any Counter does."""

from __future__ import annotations

import operator
import random
from collections import Counter, OrderedDict, UserDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

import pytest
from redis.exceptions import ResponseError

from pottery import (
    DecodeError,
    InefficientAccessWarning,
    KeyExistsError,
    RedisCounter,
    RedisDict,
)
from pottery.counter import ADD

IN_PLACE = [operator.iadd, operator.isub, operator.ior, operator.iand]
# On both sides of what Redis and Lua can count with, and beyond.
BORDERS = [n + d for n in (10**14, 10**15, 2**53, 2**63, 10**40) for d in (-1, 0, 1)]
NUMBERS = [0, 1, 2, 3, *BORDERS, 0.1, 0.2, 2.5, 1e16, True]
NUMBERS += [-number for number in NUMBERS]


@pytest.fixture
def c(redis):
    return RedisCounter(a=3, b=1, c=0, d=-2, redis=redis, key="c")


def texts(redis, key="c"):
    """Return what Redis holds at *key*, as strings."""
    return {decoded(field): decoded(text) for field, text in redis.hgetall(key).items()}


def decoded(text):
    return text.decode() if isinstance(text, bytes) else text


def exactly(counter):
    """Return the counts with their order and their types, which == does not see."""
    return [(element, repr(count)) for element, count in counter.items()]


def eight_times(work):
    """Return what eight threads return that call *work* at the same time."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(work, range(8)))


# --- the examples of the README


def test_counter_does_what_the_readme_shows(redis):
    c = RedisCounter("gallahad", redis=redis, key="my-counter")
    c.clear()
    c = RedisCounter({"red": 4, "blue": 2}, redis=redis, key="my-counter")
    c.clear()
    c = RedisCounter(redis=redis, key="my-counter", cats=4, dogs=8)
    c.clear()

    c = RedisCounter(["eggs", "ham"], redis=redis, key="my-counter")
    assert c["bacon"] == 0
    c["sausage"] = 0
    del c["sausage"]
    c.clear()

    c = RedisCounter(redis=redis, key="my-counter", a=4, b=2, c=0, d=-2)
    assert sorted(c.elements()) == ["a", "a", "a", "a", "b", "b"]
    c.clear()

    c = RedisCounter("abracadabra", redis=redis, key="my-counter")
    assert c.most_common(3) == [("a", 5), ("b", 2), ("r", 2)]
    c.clear()

    c = RedisCounter(redis=redis, key="my-counter", a=4, b=2, c=0, d=-2)
    c.subtract(Counter(a=1, b=2, c=3, d=4))
    assert repr(c) == "RedisCounter{'a': 3, 'b': 0, 'c': -3, 'd': -6}"


# --- construction


def test_counts_are_stored_as_json_numbers(redis):
    RedisCounter({"é": 1, 2: 2.5, (1, ("x",)): 10**30, None: -0.0}, redis=redis, key="c")

    assert texts(redis) == {
        '"\\u00e9"': "1",
        "2": "2.5",
        '[1, ["x"]]': "1" + "0" * 30,
        "null": "-0.0",
    }


@pytest.mark.parametrize(
    "data", ["abca", ["a", "b", "c", "a"], {"a": 2, "b": 1, "c": 1}, UserDict(a=2, b=1, c=1)]
)
def test_data_is_counted_or_is_counts(data, redis):
    assert exactly(RedisCounter(data, redis=redis)) == exactly(Counter(data))


def test_keyword_arguments_are_added(redis):
    c = RedisCounter("ab", a=2, iterable=3, self=4, redis=redis)

    assert c.to_counter() == Counter("ab", a=2, iterable=3, self=4)


def test_data_for_a_key_that_exists_raises(c, redis):
    for data in ("a", {"a": 1}, c):
        with pytest.raises(KeyExistsError):
            RedisCounter(data, redis=redis, key="c")
    for empty in ("", {}, None):
        assert RedisCounter(empty, redis=redis, key="c") == c


@pytest.mark.parametrize("data", [5, [[]], ["a", {}]])
def test_data_that_counter_refuses_is_refused_with_its_words(data, c):
    with pytest.raises(TypeError) as wanted:
        Counter(data)
    for refuse in (c.update, c.subtract):
        with pytest.raises(TypeError) as caught:
            refuse(data)
        assert str(caught.value) == str(wanted.value)


def test_fromkeys_is_undefined(redis):
    with pytest.raises(NotImplementedError) as wanted:
        Counter.fromkeys("ab")
    with pytest.raises(NotImplementedError) as caught:
        RedisCounter.fromkeys("ab")
    assert str(caught.value) == str(wanted.value)


# --- elements that are not there


def test_missing_element_counts_zero_and_is_not_there(c):
    assert c["x"] == c[b"x"] == 0
    assert "x" not in c
    assert c.get("x") is None
    assert c.get("x", 5) == 5
    with pytest.raises(KeyError, match="'x'"):
        c.pop("x")
    assert c.setdefault("x", 5) == 5
    assert c["x"] == 5


def test_deleting_what_is_not_there_is_no_error(c):
    del c["a"], c["x"], c[b"x"]

    assert exactly(c) == [("b", "1"), ("c", "0"), ("d", "-2")]


# --- update and subtract


def test_update_adds_and_keeps_zeros(c):
    c.update("aax", b=-1)
    c.subtract({"d": -2, "y": 0})

    assert exactly(c) == [
        ("a", "5"),
        ("b", "0"),
        ("c", "0"),
        ("d", "0"),
        ("x", "1"),
        ("y", "0"),
    ]


def test_update_takes_one_round_trip_and_reads_nothing(c, redis, commands):
    c.update("a")  # the server knows the script now
    with commands(redis) as sent:
        c.update("abcxyz" * 100)
        c.subtract(a=1, z=-1)
        c.update()
        c.update([])
    assert len(sent) == 2


def test_update_takes_another_rediscounter(c, redis):
    c.update(RedisCounter("ab", redis=redis))
    c.subtract(RedisDict({"a": 2}, redis=redis))
    c.update(c)

    assert c.to_counter() == Counter(a=4, b=4, c=0, d=-4)


@pytest.mark.parametrize("how", ["update", "subtract"])
@pytest.mark.parametrize("seed", range(20))
def test_any_numbers_add_up_as_they_do_in_python(how, seed, redis):
    pick = random.Random(seed)
    counts = {element: pick.choice(NUMBERS) for element in "abcd"}
    ours, pythons = RedisCounter(counts, redis=redis), Counter(counts)

    for _ in range(10):
        data = {element: pick.choice(NUMBERS) for element in pick.sample("abcdef", 3)}
        data = pick.choice([data, "abcaaa"])
        more = pick.choice([{}, {"a": pick.choice(NUMBERS)}])
        getattr(ours, how)(data, **more)
        getattr(pythons, how)(data, **more)
        assert exactly(ours) == exactly(pythons)


def test_elements_are_added_to_a_float_one_by_one(redis):
    ours, pythons = RedisCounter(a=1e16, redis=redis), Counter(a=1e16)

    ours.update("aa")
    pythons.update("aa")

    assert ours["a"] == pythons["a"] == 1e16


@pytest.mark.parametrize("count", [True, None, "x", -0.0])
def test_an_empty_counter_takes_counts_as_they_are(count, redis):
    c = RedisCounter(redis=redis)

    c.update(a=count)

    assert exactly(c) == [("a", repr(count))]


@pytest.mark.parametrize("count", [True, -0.0])
def test_a_counter_adds_counts_of_new_elements_to_zero(count, redis):
    c = RedisCounter(b=1, redis=redis)

    c.update(a=count)

    assert exactly(c) == [("b", "1"), ("a", repr(count + 0))]


@pytest.mark.parametrize("bad", [{"b": None}, {"b": {1}}, {b"b": 1}, {"b": "x"}])
def test_bad_count_or_element_changes_nothing(bad, c, redis):
    before = texts(redis)

    for change in (
        lambda: c.update({"a": 1, **bad, "x": 1}),
        lambda: c.subtract({"a": 0.5, **bad}),
        lambda: operator.iadd(c, {"a": 1, **bad}),
        lambda: operator.isub(c, Counter({"x": 0.5, **bad})),
    ):
        with pytest.raises(TypeError):
            change()
    assert texts(redis) == before


def test_more_elements_than_one_command_carries_are_counted_in_parts(c, redis, monkeypatch):
    monkeypatch.setattr("pottery.counter.PART", 4)
    pythons = c.to_counter()

    for data in ("abcdefg", {"a": 0.5, "x": 10**20, "b": 1, "y": 2, "z": 3}, "axyz" * 2):
        c.update(data)
        pythons.update(data)

    assert exactly(c) == exactly(pythons)


# --- in place


@pytest.mark.parametrize("change", IN_PLACE)
@pytest.mark.parametrize("seed", range(20))
def test_in_place_operators_do_what_counter_does(change, seed, redis):
    pick = random.Random(seed)
    numbers = pick.choice([NUMBERS, [-3, -1, 0, 1, 2, 5]])
    counts = {element: pick.choice(numbers) for element in "abcdef"}
    ours, pythons = RedisCounter(counts, redis=redis, key="c"), Counter(counts)
    other = Counter({element: pick.choice(numbers) for element in pick.sample("abcdefgh", 5)})

    result = change(ours, other)
    change(pythons, other)

    assert result is ours
    assert exactly(ours) == exactly(pythons)


@pytest.mark.parametrize("change", IN_PLACE)
def test_in_place_operator_with_short_integers_takes_one_round_trip(change, c, redis, commands):
    change(c, Counter(a=1))  # the server knows the script now
    with commands(redis) as sent:
        change(c, Counter(a=1, x=2))
    assert len(sent) == 1


def test_in_place_operators_take_what_has_items(c, redis):
    for other in (
        {"a": 1},
        UserDict(a=1),
        RedisDict(a=1, redis=redis),
        RedisCounter("a", redis=redis),
    ):
        c |= {"a": 3}
        c -= other
        assert exactly(c)[:1] == [("a", "2")]
    c &= {"b": 1}
    assert exactly(c) == [("b", "1")]
    c += c
    assert exactly(c) == [("b", "2")]
    with pytest.raises(AttributeError, match="'list' object has no attribute 'items'"):
        c += ["a"]


def test_in_place_operator_keeps_the_expiry(c, redis):
    redis.expire("c", 100)

    c += Counter(a=1)
    c.update("a")
    c.update(a=0.5)

    assert redis.ttl("c") > 90


def test_counter_without_positive_counts_is_gone(c, redis):
    c &= Counter()

    assert not redis.exists("c")
    assert not c


# --- arithmetic and comparison


@pytest.mark.parametrize("compute", [operator.add, operator.sub, operator.or_, operator.and_])
def test_arithmetic_gives_a_plain_counter(compute, c, redis):
    pythons, other = c.to_counter(), Counter(a=1, d=1, x=2)
    on_redis = RedisCounter(other, redis=redis)

    for result in (compute(c, other), compute(c, on_redis), compute(pythons, on_redis)):
        assert type(result) is Counter
        assert exactly(result) == exactly(compute(pythons, other))
    assert exactly(compute(other, c)) == exactly(compute(other, pythons))


OTHERS = [{"a": 1, "x": -1}, OrderedDict(x=0, b=9), MappingProxyType({"x": 1}), ["a"], 5, None]


@pytest.mark.parametrize("compute", [operator.add, operator.sub, operator.or_, operator.and_])
@pytest.mark.parametrize("other", OTHERS)
def test_arithmetic_with_what_is_no_counter_is_that_of_counter(compute, other, c):
    pythons = c.to_counter()
    if compute is operator.or_ and isinstance(other, Mapping):
        for result, expected in (
            (compute(c, other), compute(pythons, other)),
            (compute(other, c), compute(other, pythons)),
        ):
            assert type(result) is type(expected)
            assert exactly(result) == exactly(expected)
        return
    for operands in ((c, other), (other, c), (pythons, other), (other, pythons)):
        with pytest.raises(TypeError):
            compute(*operands)


def test_unary_operators_give_a_plain_counter(c):
    assert exactly(+c) == [("a", "3"), ("b", "1")]
    assert exactly(-c) == [("d", "2")]
    assert type(+c) is type(-c) is Counter


def test_elements_that_are_not_there_compare_as_zero(c, redis):
    same = Counter(a=3, b=1, d=-2)
    for equal in (same, RedisCounter(same, redis=redis)):
        assert c == equal
        assert equal == c
        assert c <= equal
        assert c >= equal
        assert not c < equal
    assert c > Counter(d=-2)
    assert Counter(a=4, b=1) > c
    with pytest.raises(TypeError, match="'<=' not supported"):
        c <= {"a": 1}


def test_counter_compares_with_other_mappings_as_a_mapping(c, redis):
    items = {"a": 3, "b": 1, "c": 0, "d": -2}

    for equal in (items, UserDict(items), RedisDict(items, redis=redis)):
        assert c == equal
        assert equal == c
    del items["c"]
    assert c != items
    assert c != RedisDict(items, redis=redis)
    assert c != list(items)


# --- reading


def test_ties_stay_in_the_order_in_which_they_came(redis):
    c = RedisCounter("zyxzyx", a=1, redis=redis)

    assert c.most_common() == [("z", 2), ("y", 2), ("x", 2), ("a", 1)]
    assert c.most_common(2) == [("z", 2), ("y", 2)]
    assert "".join(c.elements()) == "zzyyxxa"
    assert c.total() == 7


@pytest.mark.parametrize(
    "counts",
    [[], [-3, 0, 2], [10**15 - 1] * 20, [2**53, -1], [10**400, 1], [0.1] * 10, [True, 1]],
)
def test_total_is_that_of_a_counter(redis, counts):
    expected = Counter(dict(enumerate(counts))).total()
    total = RedisCounter(dict(enumerate(counts)), redis=redis).total()
    assert (total, type(total)) == (expected, type(expected))


@pytest.mark.parametrize("call", ["elements", "most_common", "total", "to_counter", "__pos__"])
def test_bulk_methods_read_once(call, c, redis, commands):
    with commands(redis) as sent:
        getattr(c, call)()
    assert [words[0] for words in sent] == ["HSCAN"]


def test_copy_is_a_rediscounter_on_the_same_client(c, redis):
    copied = c.copy()

    assert type(copied) is RedisCounter
    assert copied.redis is redis
    assert exactly(copied) == exactly(c)
    copied.update("a")
    assert c["a"] == 3


def test_repr_of_counts_that_do_not_compare_keeps_their_order(redis):
    redis.hset("c", mapping={'"a"': "1", '"b"': "null", '"c"': "{", '"d"': "4"})

    shown = repr(RedisCounter(redis=redis, key="c"))

    assert shown == "RedisCounter{'a': 1, 'b': None, 'c': <undecodable b'{'>, 'd': 4}"


@pytest.mark.parametrize(
    "call", [repr, lambda c: c == {}, lambda c: c <= Counter()], ids=["repr", "==", "<="]
)
def test_what_walks_the_whole_counter_in_disguise_warns(call, c):
    with pytest.warns(InefficientAccessWarning) as caught:
        call(c)
    assert [warning.filename for warning in caught] == [__file__]


# --- damage and foreign data


@pytest.mark.parametrize("text", ["{", "", "007", "--1", "1 1", b"\xff"])
def test_count_that_is_no_json_raises_and_nothing_is_changed(text, c, redis):
    redis.hset("c", '"b"', text)

    for change in (
        lambda: c.update("ab"),
        lambda: c.update(b=0.5),
        lambda: operator.iadd(c, Counter("a")),
        lambda: operator.iand(c, Counter(a=0.5)),
    ):
        with pytest.raises(DecodeError):
            change()
    c.update("a")
    assert c["a"] == 4


@pytest.mark.parametrize(
    ("text", "count"), [(" 5 ", 6), ("1e2", 101.0), ("-0", 1), ("2.50", 3.5), ("true", 2)]
)
def test_count_that_others_spelled_differently_is_counted(text, count, c, redis):
    redis.hset("c", '"b"', text)

    c.update("b")

    assert repr(c["b"]) == repr(count)


def test_other_type_at_the_key_raises_and_is_left_alone(redis):
    redis.set("s", "x")
    c = RedisCounter(redis=redis, key="s")

    for change in (
        lambda: c.update("a"),
        lambda: c.update(a=0.5),
        lambda: operator.iadd(c, Counter("a")),
        lambda: operator.iadd(c, Counter(a=0.5)),
        c.most_common,
    ):
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            change()
    assert decoded(redis.get("s")) == "x"


# --- many at once


def test_nothing_is_lost_when_eight_threads_count(redis):
    def work(_):
        mine = RedisCounter(redis=redis, key="c")
        for _ in range(500):
            mine.update("aab")

    eight_times(work)

    assert texts(redis) == {'"a"': "8000", '"b"': "4000"}


@pytest.mark.parametrize("step", [0.25, 10**20])
def test_nothing_is_lost_when_eight_threads_count_what_redis_cannot(step, redis):
    def work(_):
        mine = RedisCounter(redis=redis, key="c")
        for _ in range(50):
            mine.update({"a": step, "b": 1})

    eight_times(work)

    assert RedisCounter(redis=redis, key="c").to_dict() == {"a": 400 * step, "b": 400}


@pytest.mark.parametrize("other", [{}, {"x": 0.5}])
def test_nothing_is_lost_when_in_place_operators_meet_updates(other, redis):
    RedisCounter(other, redis=redis, key="c")

    def work(number):
        mine = RedisCounter(redis=redis, key="c")
        for _ in range(50):
            if number % 2:
                mine.update({"a": 1, f"own {number}": 1})
            else:
                mine += Counter(a=1, b=1)

    eight_times(work)

    counts = RedisCounter(redis=redis, key="c").to_dict()
    assert {element: counts[element] for element in "ab"} == {"a": 400, "b": 200}
    assert all(counts[f"own {number}"] == 50 for number in (1, 3, 5, 7))


def test_elements_that_python_takes_for_one_are_counted_by_their_text(redis):
    c = RedisCounter([1, 1.0, True, True], redis=redis)

    assert len(c) == 3
    assert sorted(map(repr, c.elements())) == ["1", "1.0", "True", "True"]
    assert repr(c.most_common(1)) == "[(True, 2)]"
    assert sorted(map(repr, c.most_common()[1:])) == ["(1, 1)", "(1.0, 1)"]


def test_counters_are_compared_by_the_texts_of_their_elements(redis):
    few, many = RedisCounter([1], redis=redis), RedisCounter([1, True], redis=redis)

    assert few != many
    assert (few <= many, few < many, few >= many, few > many) == (True, True, False, False)
    assert many == RedisCounter([True, 1], redis=redis)
    assert many == RedisDict({1: 1}, redis=redis) | {True: 1}
    assert many != RedisDict({True: 1}, redis=redis)
    assert many != Counter({1: 1})
    assert many != {1: 1}
    assert few == Counter({True: 1})


@pytest.mark.parametrize("odd", ["1.5", "9223372036854775807", '"text"', "1e3"])
def test_what_was_added_before_something_that_redis_cannot_add_to_is_taken_back(redis, odd):
    redis.hset("c", mapping={'"one"': "1", '"zero"': "0", '"odd"': odd, '"less"': "-3"})
    before = redis.hgetall("c")
    counter = RedisCounter(redis=redis, key="c")
    deltas = {"one": 4, "zero": 5, "new": 6, "none": 0, "less": -3, "odd": 1, "last": 1}

    args = [text for name, delta in deltas.items() for text in (f'"{name}"', str(delta))]
    assert counter._perform(ADD(("c",), args)) == 0
    assert redis.hgetall("c") == before

    redis.hset("c", '"odd"', "1")
    assert counter._perform(ADD(("c",), args)) == 1
    after = {"one": 5, "zero": 5, "odd": 2, "less": -6, "new": 6, "none": 0, "last": 1}
    assert counter.to_dict() == after


def test_adding_to_something_else_is_the_error_of_redis(redis):
    redis.set("c", "text")
    counter = RedisCounter(redis=redis, key="c")
    for change in (lambda: counter.update("abc"), lambda: counter.__iadd__(Counter("abc"))):
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            change()
