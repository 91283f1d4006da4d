"""What RedisDict does beyond what any mapping does."""

from __future__ import annotations

from collections import OrderedDict, UserDict
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
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

LONG = 2500  # items: several pages


@pytest.fixture
def tel(redis):
    return RedisDict({"jack": 4098, "sape": 4139}, redis=redis, key="tel")


@pytest.fixture
def damaged(redis):
    """A dict of which somebody else wrote half."""
    fields = {'"a"': "1", '"b"': "{", "c": "3", '[1, {"x": 1}]': "4", '"d"': b"\xff", '"e"': ""}
    redis.hset("damaged", mapping=fields)
    return RedisDict(redis=redis, key="damaged")


def raw(redis, key):
    """Return what Redis holds at *key*, as bytes whatever the client decodes."""
    return {encoded(field): encoded(text) for field, text in redis.hgetall(key).items()}


def encoded(text):
    return text.encode() if isinstance(text, str) else text


def eight_times(work):
    """Return what eight threads return that call *work* at the same time."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(work, range(8)))


# --- the examples of the README


def test_dict_does_what_the_readme_shows(tel):
    tel["guido"] = 4127
    assert repr(tel) == "RedisDict{'jack': 4098, 'sape': 4139, 'guido': 4127}"
    assert tel["jack"] == 4098
    del tel["sape"]
    tel["irv"] = 4127
    assert repr(tel) == "RedisDict{'jack': 4098, 'guido': 4127, 'irv': 4127}"
    assert list(tel) == ["jack", "guido", "irv"]
    assert sorted(tel) == ["guido", "irv", "jack"]
    assert "guido" in tel
    assert "jack" in tel


# --- what is stored


def test_keys_and_values_are_stored_as_json(redis):
    RedisDict({"é": [1, {"b": None, "a": (2.5,)}], (1, ("x",)): 10**30}, redis=redis, key="d")

    assert raw(redis, "d") == {
        b'"\\u00e9"': b'[1, {"a": [2.5], "b": null}]',
        b'[1, ["x"]]': b"1" + b"0" * 30,
    }


@pytest.mark.parametrize(
    "value", [10**400, -0.0, float("inf"), 1e-320, "\ud800", "\0\n", None, [[[]]], {"": {}}, True]
)
def test_value_comes_back_as_it_was(value, redis):
    d = RedisDict({"k": value}, redis=redis)

    assert repr(d["k"]) == repr(d.to_dict()["k"]) == repr(value)


def test_text_of_a_key_is_its_identity(redis):
    d = RedisDict(redis=redis)
    for key in (1, 1.0, True, "1"):
        d[key] = repr(key)

    assert len(d) == 4
    assert (d[1], d[1.0], d[True], d["1"]) == ("1", "1.0", "True", "'1'")


def test_update_from_another_redisdict_keeps_keys_that_python_takes_for_equal(redis):
    d = RedisDict(redis=redis)
    d[1] = d[1.0] = d[True] = 0

    for twin in (RedisDict(d, redis=redis), d.copy(), {} | d, d | {}):
        assert len(twin) == 3


def test_tuples_stay_tuples_in_keys_only(redis):
    d = RedisDict({(1, (2,)): (1, (2,))}, redis=redis)

    assert d.to_dict() == {(1, (2,)): [1, [2]]}
    assert (1, (2,)) in d
    assert next(iter(d)) == (1, (2,))


def test_value_is_a_copy(redis):
    d = RedisDict(x=[], redis=redis)

    d["x"].append(1)
    assert d["x"] == []

    d["x"] += [1]
    assert d["x"] == [1]


def test_container_as_a_value_is_spelled_out(tel, redis):
    assert RedisDict(d=tel, redis=redis)["d"] == {"jack": 4098, "sape": 4139}


# --- construction


def test_data_for_a_key_that_exists_raises(tel, redis):
    for data in ({"a": 1}, [("a", 1)], tel):
        with pytest.raises(KeyExistsError):
            RedisDict(data, redis=redis, key="tel")
    with pytest.raises(KeyExistsError):
        RedisDict(redis=redis, key="tel", a=1)
    with pytest.raises(KeyExistsError):
        RedisDict.fromkeys("ab", redis=redis, key="tel")
    assert tel.to_dict() == {"jack": 4098, "sape": 4139}


def test_no_data_attaches_to_a_key_that_exists(tel, redis):
    for empty in ({}, [], RedisDict(redis=redis)):
        assert RedisDict(empty, redis=redis, key="tel") == tel
    assert RedisDict.fromkeys((), redis=redis, key="tel") == tel


def test_redis_and_key_are_no_items_but_every_other_name_is(redis):
    d = RedisDict({}, redis=redis, key="d", arg=1, self=2, iterable=3)
    d.update(redis=4, key=5)

    assert d.to_dict() == {"arg": 1, "self": 2, "iterable": 3, "redis": 4, "key": 5}


def test_data_is_whatever_dict_takes(redis):
    for data in (
        {"a": 1},
        OrderedDict(a=1),
        UserDict(a=1),
        MappingProxyType({"a": 1}),
        [("a", 1)],
        iter([["a", 1]]),
        [iter(("a", 1))],
        zip("a", [1], strict=True),
    ):
        assert RedisDict(data, redis=redis).to_dict() == {"a": 1}


@pytest.mark.parametrize("data", [5, None, [1], ["abc"], [("a",)], "ab"])
def test_data_that_dict_refuses_is_refused_with_its_words(data, tel):
    with pytest.raises((TypeError, ValueError)) as wanted:
        dict(data)
    with pytest.raises(type(wanted.value)) as caught:
        tel.update(data)
    assert str(caught.value) == str(wanted.value)


# --- nothing is written by a bad call


@pytest.mark.parametrize(
    ("key", "error"),
    [
        (b"x", "Object of type bytes is not JSON serializable"),
        ([], "unhashable type: 'list'"),
        (([],), "unhashable type: 'list'"),
        (frozenset(), "Object of type frozenset is not JSON serializable"),
        (float("nan"), "NaN"),
    ],
)
def test_bad_key_in_the_middle_changes_nothing(key, error, tel, commands, redis):
    items = [("a", 1), (key, 2), ("b", 3)]
    with commands(redis) as sent:
        for write in (
            lambda: tel.update(items),
            lambda: tel.__ior__(items),
            lambda: tel.__setitem__(key, 1),
            lambda: tel.setdefault(key, 1),
            lambda: RedisDict(items, redis=redis, key="new"),
        ):
            with pytest.raises((TypeError, ValueError), match=error):
                write()
    assert sent == []


def test_bad_value_in_the_middle_changes_nothing(tel, commands, redis):
    items = {"a": 1, "b": {1}, "c": 3}
    with commands(redis) as sent:
        for write in (
            lambda: tel.update(items),
            lambda: tel | items,
            lambda: items | tel,
            lambda: tel.__setitem__("b", {1}),
            lambda: tel.setdefault("jack", {1}),
            lambda: RedisDict(items, redis=redis, key="new"),
        ):
            with pytest.raises(TypeError, match="Object of type set is not JSON serializable"):
                write()
    assert sent == []


@pytest.mark.parametrize("key", [b"x", frozenset(), object(), float("nan"), (b"x",)])
def test_key_that_cannot_be_there_is_not_there(key, tel, commands, redis):
    view = tel.keys()
    with commands(redis) as sent:
        assert key not in tel
        assert key not in view
        assert (key, 1) not in tel.items()
        assert tel.get(key) is None
        assert tel.pop(key, 7) == 7
        for look in (tel.__getitem__, tel.__delitem__, tel.pop):
            with pytest.raises(KeyError) as caught:
                look(key)
            assert caught.value.args == (key,)
    assert sent == []


# --- order


def test_popitem_takes_the_last_item_of_a_short_dict_and_any_of_a_long_one(redis):
    short = RedisDict({n: n for n in range(512)}, redis=redis)
    assert [short.popitem() for _ in range(512)] == [(n, n) for n in range(511, -1, -1)]

    long = RedisDict({n: n for n in range(600)}, redis=redis)
    assert {long.popitem() for _ in range(600)} == {(n, n) for n in range(600)}


def test_popitem_from_an_empty_dict_raises_keyerror(redis):
    with pytest.raises(KeyError, match="dictionary is empty"):
        RedisDict(redis=redis).popitem()


def test_setting_a_key_again_keeps_its_place(tel):
    tel["guido"] = 1
    tel["jack"] = 2

    assert list(tel.items()) == [("jack", 2), ("sape", 4139), ("guido", 1)]
    assert list(reversed(tel)) == ["guido", "sape", "jack"]


def test_union_has_the_order_of_its_operands(tel):
    assert list(tel | {"a": 1, "jack": 2}) == ["jack", "sape", "a"]
    assert list({"a": 1, "jack": 2} | tel) == ["a", "jack", "sape"]


# --- operators


def test_union_stays_when_its_operands_expire(tel, redis):
    redis.expire(tel.key, 100)
    for union in (tel | {"a": 1}, {"a": 1} | tel, tel | {}):
        assert redis.ttl(union.key) == -1
    assert redis.ttl(tel.copy().key) > 0


def test_union_is_a_temporary_redisdict_on_the_same_client(tel, redis):
    for union in (tel | {"a": 1}, {"a": 1} | tel, tel | UserDict(a=1), tel | tel, tel.copy()):
        assert type(union) is RedisDict
        assert union.redis is redis
        assert redis.exists(union.key)
        assert union.key != "tel"
    assert len(tel) == 2


def test_value_of_the_right_operand_wins(tel):
    assert (tel | {"jack": 1})["jack"] == 1
    assert ({"jack": 1} | tel)["jack"] == 4098
    assert (tel | RedisDict(jack=1, redis=tel.redis))["jack"] == 1


@pytest.mark.parametrize("other", [[("a", 1)], 5, None, "ab"])
def test_union_takes_only_mappings(other, tel):
    with pytest.raises(TypeError, match="unsupported operand"):
        tel | other
    with pytest.raises(TypeError, match="unsupported operand"):
        other | tel


def test_in_place_union_takes_pairs_too(tel):
    before = tel

    tel |= [("a", 1)]
    tel |= {"b": 2}

    assert tel is before
    assert tel.to_dict() == {"jack": 4098, "sape": 4139, "a": 1, "b": 2}


def test_dict_equals_any_mapping_with_its_items(tel, redis):
    items = {"sape": 4139, "jack": 4098}

    for equal in (items, UserDict(items), MappingProxyType(items), RedisDict(items, redis=redis)):
        assert tel == equal
        assert equal == tel
    for unequal in ({}, {"jack": 4098}, items | {"a": 1}, list(items.items()), None):
        assert tel != unequal


def test_dict_has_no_hash(tel):
    with pytest.raises(TypeError, match="unhashable type: 'RedisDict'"):
        hash(tel)


def test_subclass_with_missing_gives_the_value(redis):
    class Squares(RedisDict):
        def __missing__(self, key):
            return key * key

    squares = Squares({2: 5}, redis=redis)

    assert (squares[2], squares[3]) == (5, 9)
    assert squares.get(3) is None
    assert type(squares | {1: 1}) is type(squares.copy()) is Squares


# --- views


def test_views_show_what_is_there_now(tel):
    keys, values, items = tel.keys(), tel.values(), tel.items()

    tel["a"] = 1

    assert list(keys) == ["jack", "sape", "a"]
    assert list(values) == [4098, 4139, 1]
    assert list(items) == [("jack", 4098), ("sape", 4139), ("a", 1)]
    assert [len(view) for view in (keys, values, items)] == [3, 3, 3]
    assert [view.mapping["a"] for view in (keys, values, items)] == [1, 1, 1]
    assert [next(iter(reversed(view))) for view in (keys, values, items)] == ["a", 1, ("a", 1)]


def test_views_show_themselves(tel):
    assert repr(tel.keys()) == "RedisDictKeys(['jack', 'sape'])"
    assert repr(tel.values()) == "RedisDictValues([4098, 4139])"
    assert repr(tel.items()) == "RedisDictItems([('jack', 4098), ('sape', 4139)])"


def test_views_of_the_dict_are_read_only(tel):
    with pytest.raises(TypeError, match="does not support item assignment"):
        tel.keys().mapping["a"] = 1


ON_VIEWS = [
    "d.keys() & other",
    "other & d.keys()",
    "d.keys() | other",
    "other | d.keys()",
    "d.keys() - other",
    "other - d.keys()",
    "d.keys() ^ other",
    "other ^ d.keys()",
    "d.keys() == other",
    "d.keys() <= other",
    "other < d.keys()",
    "d.keys() >= other",
    "other > d.keys()",
    "d.keys().isdisjoint(other)",
    "d.items() & {(key, 1) for key in other}",
    "d.items() >= {(key, 1) for key in other}",
    "{(key, 1) for key in other} ^ d.items()",
]


@pytest.mark.parametrize("expression", ON_VIEWS)
def test_set_operation_on_a_view_reads_the_dict_once(expression, redis, commands):
    items, other = dict.fromkeys("abc", 1), {"b", "x"}
    d = RedisDict(items, redis=redis)

    with commands(redis) as sent:
        result = eval(expression, {"d": d, "other": other})

    assert result == eval(expression, {"d": items, "other": other})
    assert type(result) in (set, bool)
    assert [words[0] for words in sent] == ["HSCAN"]


def test_views_of_two_dicts_are_combined(redis):
    one, other = RedisDict(a=1, b=2, redis=redis), RedisDict(b=2, c=3, redis=redis)

    assert one.keys() & other.keys() == {"b"}
    assert one.items() - other.items() == {("a", 1)}
    assert one.keys() ^ {"b": 2, "c": 3}.keys() == {"a", "c"}
    assert {"b": 2}.keys() <= one.keys()


def test_membership_of_a_view_is_one_command(tel, redis, commands):
    keys = tel.keys()
    with commands(redis) as sent:
        assert "jack" in keys
        assert ("jack", 4098) in tel.items()
        assert ("jack", 1) not in tel.items()
        assert ("nobody", None) not in tel.items()
        assert "jack" not in tel.items()
        assert 4139 in tel.values()
        assert 1 not in tel.values()
    assert len(sent) == 6


def test_items_view_compares_values_that_have_no_hash(redis):
    d = RedisDict(a=[1], redis=redis)

    assert d.items() == {"a": [1]}.items()
    assert ("a", [1]) in d.items()
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        d.items() & {("a", 1)}


# --- long dicts


def test_long_dict_is_read_in_pages(redis, commands):
    items = {f"key {n}": n for n in range(LONG)}
    d = RedisDict(items, redis=redis)

    for read in (d.to_dict, lambda: dict(d.items()), lambda: RedisDict(d, redis=redis).to_dict()):
        assert read() == items
    assert sorted(d) == sorted(items)
    with commands(redis) as sent:
        assert sum(1 for _ in d.values()) == LONG
    assert 2 <= len(sent) <= 3


def test_only_the_pages_that_are_needed_are_read(redis, commands):
    d = RedisDict({n: n for n in range(LONG)}, redis=redis)

    with commands(redis) as sent:
        next(iter(d))
    assert len(sent) == 1


def test_changing_a_dict_while_iterating_is_no_error(tel):
    for key in tel:
        del tel[key]
        tel[key + "!"] = 1
    assert sorted(tel) == ["jack!", "sape!"]


# --- damage and foreign data


def test_value_that_is_no_json_raises_and_the_others_are_reachable(damaged):
    assert damaged["a"] == 1
    for key, text in (("b", b"{"), ("d", b"\xff"), ("e", b"")):
        with pytest.raises(DecodeError) as caught:
            damaged[key]
        assert (caught.value.key, caught.value.raw) == ("damaged", text)
    damaged["b"] = 2
    assert damaged.pop("b") == 2


def test_key_that_is_no_json_or_not_hashable_raises(damaged, redis):
    with pytest.raises(DecodeError) as caught:
        list(damaged)
    assert caught.value.raw == b"c"

    redis.hdel("damaged", "c")
    with pytest.raises(DecodeError) as caught:
        list(damaged)
    assert caught.value.raw == b'[1, {"x": 1}]'


def test_repr_shows_what_is_broken(damaged):
    shown = repr(damaged)

    assert shown.startswith("RedisDict{'a': 1, 'b': <undecodable b'{'>, <undecodable b'c'>: 3, ")
    assert "<undecodable b'\\xff'>" in repr(damaged.values())
    assert "<undecodable b'c'>" in repr(damaged.keys())


def test_copy_takes_what_is_broken_along(damaged):
    assert repr(damaged.copy()) == repr(damaged)


def test_other_type_at_the_key_raises_and_is_left_alone(redis):
    redis.set("s", "x")
    d = RedisDict(redis=redis, key="s")

    for call in (
        lambda: d["a"],
        lambda: d.__setitem__("a", 1),
        lambda: d.__delitem__("a"),
        lambda: "a" in d,
        lambda: len(d),
        lambda: list(d),
        lambda: d.pop("a"),
        d.popitem,
        lambda: d.setdefault("a", 1),
        lambda: d.update(a=1),
        lambda: d == {},
    ):
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            call()
    assert encoded(redis.get("s")) == b"x"


# --- warnings


@pytest.mark.parametrize("call", [repr, reversed, lambda d: d == {}])
def test_what_walks_the_whole_dict_in_disguise_warns(call, tel):
    with pytest.warns(InefficientAccessWarning) as caught:
        call(tel)
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.filterwarnings("error")
def test_what_says_so_does_not_warn(tel):
    tel.to_dict(), list(tel), list(tel.items()), tel.keys() & {"a"}, tel.copy(), tel | {}


# --- many at once


def test_each_item_is_popped_once(redis):
    RedisDict({n: n for n in range(800)}, redis=redis, key="d")

    popped = eight_times(lambda _: [RedisDict(redis=redis, key="d").popitem() for _ in range(100)])

    assert sorted(chain(*popped)) == [(n, n) for n in range(800)]


def test_setdefault_has_one_winner_for_each_key(redis):
    def work(number):
        d = RedisDict(redis=redis, key="d")
        return [d.setdefault(key, number) for key in range(50)]

    results = eight_times(work)

    assert all(result == results[0] for result in results)


def test_dict_made_of_a_counter_has_its_counts(redis):
    assert RedisDict(RedisCounter("aab", redis=redis), redis=redis).to_dict() == {"a": 2, "b": 1}


def test_keys_that_python_takes_for_one_are_several_from_pairs_as_from_assignment(redis):
    assert len(RedisDict([(1, "a"), (1.0, "b"), (True, "c")], redis=redis)) == 3


def test_fromkeys_keeps_keys_that_python_takes_for_one(redis):
    assert len(RedisDict.fromkeys([1, 1.0, True], redis=redis)) == 3


def test_dicts_are_compared_by_the_texts_of_their_keys(redis):
    d, e = RedisDict({1: "a"}, redis=redis), RedisDict({1.0: "b"}, redis=redis)
    d[1.0], e[1] = "b", "a"

    assert d == e
    assert d != {1: "b"}
    assert d != {1: "a"}
    assert d != RedisDict({1: "b"}, redis=redis)
