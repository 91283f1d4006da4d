"""The JSON that is stored: the bytes of json.dumps, and nothing is taken for JSON that is none."""

from __future__ import annotations

import json
from collections import OrderedDict
from enum import IntEnum
from math import inf, isnan, nan

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pottery._json import (
    PotteryEncoder,
    decode,
    decode_many,
    encode,
    encode_element,
    encode_elements,
    encode_key,
    encode_keys,
    encode_many,
    find_key,
    find_keys,
    freeze,
    spellings,
)
from pottery.counter import RedisCounter
from pottery.deque import RedisDeque
from pottery.dict import RedisDict
from pottery.list import RedisList
from pottery.set import RedisSet

always_the_same = settings(derandomize=True, database=None, deadline=None, max_examples=300)

characters = st.text(st.characters(exclude_categories=()))  # lone surrogates too
numbers = st.booleans() | st.integers() | st.floats()
scalars = st.none() | numbers | characters
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(characters, inner)
        | st.dictionaries(st.booleans() | st.integers() | st.floats(allow_nan=False), inner)
    ),
    max_leaves=20,
)
keys = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | characters,
    lambda inner: st.lists(inner).map(tuple),
    max_leaves=10,
)


def dumps(value: object) -> str:
    return json.dumps(value, sort_keys=True)


class Colour(IntEnum):
    RED = 1


class Thing:
    def __repr__(self) -> str:
        return "a thing"


class Model:
    def __repr__(self) -> str:  # the name of a test must be the same in every process
        return "Model()"

    def to_dict(self) -> dict[str, int]:
        return {"a": 1}


class Frozen(dict):
    def __hash__(self) -> int:
        return 1


class Shout(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return self.upper()


# --- encode


@always_the_same
@given(values)
def test_encode_gives_the_bytes_of_json_dumps(value):
    assert encode(value) == dumps(value)


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, 2**53 + 1, 10**400, True, False, None),
        *(0.0, -0.0, 1.0, 1e16, 1e-7, 5e-324, 1.7976931348623157e308, inf, -inf, nan),
        *("", "é", "日本", "\x00\x1f\x7f", '"\\/', "\u2028", "😀", "\ud800", "a\udfff"),
        *([], {}, (), [[]], {"": {}}, {"b": 1, "a": 2}, {2: 0, 10: 0}, [nan], {"NaN": nan}),
        *(Colour.RED, Shout("a"), OrderedDict(b=1, a=2), {1.5: None}, {None: 1}, {nan: 1}),
    ],
    ids=repr,
)
def test_encode_gives_the_bytes_of_json_dumps_for_awkward_values(value):
    assert encode(value) == dumps(value)


@pytest.mark.parametrize(
    "value",
    [b"bytes", {1}, frozenset(), Thing(), 1j, range(3), [{1}], {"a": b""}, {(1,): 1}],
    ids=repr,
)
def test_encode_refuses_what_json_cannot_spell_in_the_words_of_json(value):
    with pytest.raises(TypeError) as expected:
        dumps(value)

    with pytest.raises(TypeError) as raised:
        encode(value)

    assert str(raised.value).partition(", at value")[0] == str(expected.value)


def test_encode_refuses_what_contains_itself():
    circle = []
    circle.append(circle)

    with pytest.raises(ValueError, match="Circular reference detected"):
        encode(circle)


@pytest.mark.parametrize(
    "value",
    [{1: "a", "1": "b"}, {None: 0, "null": 0}, {True: 0, "true": 0}, {1.5: 0, "1.5": 0}],
    ids=repr,
)
def test_encode_refuses_mappings_whose_keys_are_one_as_text(value):
    with pytest.raises(TypeError):
        encode(value)


def test_encode_refuses_two_keys_that_are_nan_however_deep():
    twins = {float("nan"): 1, float("nan"): 2}

    for value in (twins, [twins], {"a": [(twins,)]}, OrderedDict(twins)):
        with pytest.raises(TypeError, match="must differ once they are JSON"):
            encode(value)


def test_encode_takes_one_nan_in_each_of_many_mappings():
    value = [{nan: 1}, {nan: 2}, {"a": {nan: 3}}]

    assert encode(value) == dumps(value)


# --- decode


@always_the_same
@given(values)
def test_decode_reads_what_json_loads_reads(value):
    text = dumps(value)

    assert repr(decode(text.encode())) == repr(json.loads(text))


@pytest.mark.parametrize("raw", [b" 1", b"1 ", b"\n[1]\t", b'"\xc3\xa9"'], ids=repr)
def test_decode_reads_json_that_others_wrote(raw):
    assert decode(raw) == json.loads(raw)


BROKEN = [b"", b" ", b"1,2", b"[1", b"2]", b'"a', b'b"', b"1 2", b"tru", b"\xff", b"{", b"'a'"]


@pytest.mark.parametrize("raw", BROKEN, ids=repr)
def test_decode_refuses_what_is_no_json(raw):
    with pytest.raises(ValueError):
        decode(raw)


@settings(always_the_same, max_examples=100)
@given(st.lists(values, max_size=10))
def test_decode_many_reads_what_decode_reads(many):
    raws = [dumps(value).encode() for value in many]

    assert repr(decode_many(raws)) == repr([decode(raw) for raw in raws])


fragments = [
    *(b"1", b"-0.0", b'"a"', b"null", b"[]", b"{}", b"[1]", b'{"a": 1}', b" 2 ", b'"],["'),
    *(b"1,2", b"[1", b"2]", b"3,4", b"1,[2", b"3]", b"]", b"[", b"],[", b"1],[2", b","),
    *(b'"a', b'b"', b'"', b'a","b', b'{"a": 1', b'"b": 2}', b"}", b"{", b'"k":', b":1"),
    *(b"", b" ", b"\n", b"\\", b'\\"', b"\xff", b"nul", b"l"),
]


@settings(always_the_same, max_examples=3000)
@given(st.lists(st.sampled_from(fragments), max_size=6))
@example([b"1,2"])
@example([b"[1", b"2]", b"3,4"])
@example([b"1,[2", b"3]"])
@example([b'"a', b'b"'])
@example([b'{"a": 1', b'"b": 2}', b"1,2"])
@example([b"[1],[2]", b""])
@example([b"", b"1,2"])
@example([b"[", b"1,2", b"]"])
def test_decode_many_never_takes_broken_texts_for_whole_ones(raws):
    try:
        expected = [decode(raw) for raw in raws]
    except ValueError:
        with pytest.raises(ValueError):
            decode_many(raws)
    else:
        assert decode_many(raws) == expected


def test_decode_many_of_nothing_is_nothing():
    assert decode_many([]) == []


# --- spellings


@always_the_same
@given(numbers, numbers)
@example(1, True)
@example(1, 1.0)
@example(0, -0.0)
@example(False, -0.0)
@example(2**53 + 1, float(2**53))
@example(10**16, 1e16)
@example(10**400, inf)
@example(nan, nan)
def test_numbers_are_equal_if_and_only_if_they_share_a_spelling(one, other):
    assert bool({*spellings(one)} & {*spellings(other)}) == (one == other)


@always_the_same
@given(st.none() | characters, scalars)
def test_strings_and_none_are_equal_if_and_only_if_they_share_a_spelling(one, other):
    assert bool({*spellings(one)} & {*spellings(other)}) == (one == other)


@always_the_same
@given(scalars)
def test_every_spelling_is_the_text_of_something_equal(value):
    for text in spellings(value):
        assert json.loads(text) == value
        assert encode(json.loads(text)) == text


@always_the_same
@given(scalars)
def test_the_spellings_include_the_text_of_the_value_itself(value):
    assume(value == value)  # noqa: PLR0124 - not NaN

    assert encode(value) in spellings(value)


@pytest.mark.parametrize("value", [[], (), {}, b"", Colour.RED, Shout(), Thing()], ids=repr)
def test_what_is_no_plain_scalar_has_no_known_spellings(value):
    assert spellings(value) is None


# --- keys


@always_the_same
@given(st.lists(keys) | st.lists(characters) | st.lists(st.integers()))
def test_many_are_encoded_as_one_after_the_other(many):
    texts = list(map(dumps, many))
    assert encode_many(iter(many)) == encode_keys(iter(many)) == find_keys(iter(many)) == texts


def outcome(call, value):
    try:
        return call(value)
    except (TypeError, ValueError) as error:
        return type(error), str(error)


@pytest.mark.parametrize("odd", [Colour.RED, Shout("a"), b"", nan, 10**5000], ids=type)
def test_one_odd_value_among_many_is_taken_as_when_alone(odd):
    assert find_keys(["b", odd]) == ['"b"', find_key(odd)]
    assert find_keys([2, odd]) == ["2", find_key(odd)]
    for all_of, one in ((encode_many, encode), (encode_keys, encode_key)):
        alone = outcome(one, odd)
        among = ['"b"', alone] if isinstance(alone, str) else alone
        assert outcome(all_of, ["b", odd]) == among


@always_the_same
@given(keys)
def test_a_key_comes_back_as_it_was(key):
    back = freeze(decode(encode_key(key).encode()))

    assert repr(back) == repr(key)
    assert find_key(key) == encode_key(key) == dumps(key)


@pytest.mark.parametrize("value", [[], {}, set(), ([],), (1, {})], ids=repr)
def test_what_is_not_hashable_is_no_key_and_cannot_be_looked_for(value):
    with pytest.raises(TypeError) as expected:
        hash(value)

    for use in (encode_key, find_key):
        with pytest.raises(TypeError) as raised:
            use(value)
        assert str(raised.value) == str(expected.value)


@pytest.mark.parametrize("value", [nan, (nan,), (1, (nan,))], ids=repr)
def test_nan_is_no_key_and_is_never_found(value):
    with pytest.raises(ValueError, match="NaN equals nothing"):
        encode_key(value)

    assert find_key(value) is None


@pytest.mark.parametrize("value", [b"", frozenset(), Thing(), (1, b"")], ids=repr)
def test_what_json_cannot_spell_is_no_key_and_is_never_found(value):
    with pytest.raises(TypeError, match="is not JSON serializable"):
        encode_key(value)

    assert find_key(value) is None


@pytest.mark.parametrize("value", [Model(), Frozen(a=1), (1, Model()), ((Frozen(),),)], ids=repr)
def test_what_would_come_back_as_a_dict_is_no_key_but_may_be_an_element(value):
    hash(value)
    for use in (encode_key, lambda value: encode_keys(["a", value])):
        with pytest.raises(TypeError, match="unhashable type: 'dict'"):
            use(value)

    text = encode(value)
    assert encode_element(value) == find_key(value) == text
    assert encode_elements(["a", value]) == find_keys(["a", value]) == ['"a"', text]


def test_keys_may_have_braces_in_their_texts():
    assert encode_key(("{", Shout("{}"))) == '["{", "{}"]'


def test_freeze_makes_tuples_of_arrays_at_any_depth():
    assert freeze([1, [2, [3]], "a"]) == (1, (2, (3,)), "a")
    assert isnan(freeze([nan])[0])


# --- PotteryEncoder


def test_the_encoder_spells_out_containers_wherever_they_are(redis):
    inner = RedisList([1, [2]], redis=redis)
    value = {
        "dict": RedisDict({"a": None}, redis=redis),
        "list": [inner, (inner,)],
        "counter": RedisCounter("abca", redis=redis),
        "deque": RedisDeque("xyz", maxlen=2, redis=redis),
    }

    assert json.loads(json.dumps(value, cls=PotteryEncoder)) == {
        "dict": {"a": None},
        "list": [[1, [2]], [[1, [2]]]],
        "counter": {"a": 2, "b": 1, "c": 1},
        "deque": ["y", "z"],
    }


def test_the_encoder_refuses_a_set_as_json_does(redis):
    with pytest.raises(TypeError, match="Object of type RedisSet is not JSON serializable"):
        json.dumps(RedisSet({1}, redis=redis), cls=PotteryEncoder)


def test_nothing_is_patched(redis):
    with pytest.raises(TypeError, match="Object of type RedisList is not JSON serializable"):
        json.dumps(RedisList([1], redis=redis))


def test_a_container_is_stored_in_another_as_what_it_holds_now(redis):
    inner = RedisList([1], redis=redis)
    outer = RedisDict({"inner": inner}, redis=redis)

    inner.append(2)

    assert outer.to_dict() == {"inner": [1]}
