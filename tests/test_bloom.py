"""BloomFilter and AIOBloomFilter."""

from __future__ import annotations

import asyncio
import copy
from fractions import Fraction
from hashlib import sha256
from operator import iand, ior
from threading import Thread

import pytest
import redis as redis_py
import redis.asyncio as asynchronous
from clients import close
from redis.exceptions import NoPermissionError, ResponseError
from test_format import raw_bytes

from pottery import AIOBloomFilter, BloomFilter, KeyExistsError, OutcomeUnknown, RedisSet
from pottery.bloom import READING, BloomPlans
from pottery.testing import FaultyProxy, RedisServer

RAJIV = 183, 319, 787, 585, 8, 471, 711
RAJ = 482, 875, 725, 667, 109, 714, 595
DAN = 687, 925, 954, 707, 615, 914, 620
# What pottery 3.0 stored for rajiv and raj.
STORED = bytes.fromhex(
    "00800000000000000000000000040000000000000000010000000000000000000000000000000001000000000000"
    "00000000000000000000000001002000000000000000000000000040100000000000000000100000000001200400"
    "000000000000100000000000000000000010"
)


def small(redis, iterable=(), **options):
    """A filter so small that its bitmap is moved for more than a few elements."""
    return BloomFilter(iterable, num_elements=100, false_positives=0.01, redis=redis, **options)


def large(redis, iterable=(), **options):
    """A filter so large that the bits of some hundred elements are named one by one."""
    return BloomFilter(iterable, num_elements=10**6, false_positives=0.01, redis=redis, **options)


def words(count, prefix="word"):
    return [f"{prefix} {n}" for n in range(count)]


# --- the format of pottery 3.0


@pytest.mark.parametrize(("text", "expected"), [("rajiv", RAJIV), ("raj", RAJ), ("dan", DAN)])
def test_element_sets_the_bits_that_it_set_in_pottery_3(redis, text, expected):
    small(redis, key="b").add(text)
    assert {bit for bit in range(959) if redis.getbit("b", bit)} == set(expected)
    assert redis.strlen("b") == max(expected) // 8 + 1


def test_bitmap_is_that_of_pottery_3_however_it_is_written(redis):
    raw = raw_bytes(redis)
    one_by_one = small(redis, key="one by one")
    one_by_one.add("rajiv")
    one_by_one.add("raj")
    small(redis, ["rajiv", "raj"], key="created")
    small(redis, ["rajiv", "raj"] * 50, key="created as a whole")
    small(redis, key="updated").update(["rajiv"], {"raj"})
    small(redis, key="updated as a whole").update(["rajiv", "raj"] * 50)

    assert raw.mget(raw.keys()) == [STORED] * 5


def test_any_json_value_sets_the_bits_that_it_set_in_pottery_3(redis):
    values = ["x", 1, 1.0, True, None, "é", (1, 2), "\ud800", 2**70, 1.5e300, -0.0, ("a", (None,))]
    for times in (1, 10):
        seen = BloomFilter(
            values * times, num_elements=1000, false_positives=0.001, redis=redis, key=f"b{times}"
        )
        assert (seen.size(), seen.num_hashes(), len(seen)) == (14378, 10, 12)
        stored = raw_bytes(redis).get(f"b{times}")
        assert sha256(stored).hexdigest() == (
            "5307902d21f7b1375cc8f3e4b1b37ecdc60aaa7a2d9b374ad4bf3fc0f2137466"
        )
        assert all(seen.contains_many(*values))
        assert not any(seen.contains_many(2, 2.0, False, "é ", (1, 2.0), ["a", None].__len__))


@pytest.mark.parametrize(
    ("num_elements", "false_positives", "shape"),
    [
        (100, 0.1, (480, 4)),
        (1000, 0.1, (4793, 4)),
        (100, 0.01, (959, 7)),
        (1000, 0.01, (9586, 7)),
        (10**6, 0.01, (9585059, 7)),
        (1, 0.999, (1, 1)),
    ],
)
def test_size_and_number_of_hashes_follow_the_formulas(redis, num_elements, false_positives, shape):
    seen = BloomFilter(num_elements=num_elements, false_positives=false_positives, redis=redis)
    assert (seen.size(), seen.num_hashes()) == shape
    assert (seen.num_elements, seen.false_positives) == (num_elements, false_positives)


def test_filter_is_used_as_that_of_pottery_3(redis):
    names = small(redis, key="names")
    names.add("rajiv")
    assert ["rajiv" in names, "raj" in names, "dan" in names] == [True, False, False]
    assert len(names) == 1
    names.update({"raj", "dan"})
    assert tuple(names.contains_many("rajiv", "raj", "dan", "luis")) == (True, True, True, False)
    names.clear()
    assert len(names) == 0


# --- parameters


@pytest.mark.parametrize(
    ("num_elements", "false_positives", "error"),
    [
        (0, 0.01, ValueError),
        (-5, 0.01, ValueError),
        pytest.param(10**400, 0.01, ValueError, id="huge"),
        (450_000_000, 0.01, ValueError),
        (1.5, 0.01, TypeError),
        ("many", 0.01, TypeError),
        (None, 0.01, TypeError),
        (100, 0, ValueError),
        (100, 1, ValueError),
        (100, 0.0, ValueError),
        (100, 1.0, ValueError),
        (100, -0.5, ValueError),
        (100, 7, ValueError),
        (100, float("nan"), ValueError),
        (100, float("inf"), ValueError),
        (100, "few", TypeError),
        (100, None, TypeError),
        (100, Fraction(1, 100), TypeError),
    ],
)
@pytest.mark.parametrize("kind", [BloomFilter, AIOBloomFilter])
def test_parameters_without_a_filter_are_refused(kind, num_elements, false_positives, error):
    with pytest.raises(error, match=r"num_elements|false_positives|512 MB"):
        kind(num_elements=num_elements, false_positives=false_positives)


def test_parameters_are_required(redis):
    with pytest.raises(TypeError, match="num_elements"):
        BloomFilter("abc", redis=redis)


def test_largest_filter_has_as_many_bits_as_a_string_can_hold(redis):
    seen = BloomFilter(num_elements=448_089_000, false_positives=0.01, redis=redis)
    assert 2**32 - 10**5 < seen.size() <= 2**32
    assert BloomFilter(num_elements=1, false_positives=5e-324, redis=redis).num_hashes() == 1075


def test_bad_parameters_are_told_before_anything_is_sent(redis, commands):
    with commands(redis) as sent, pytest.raises(ValueError, match="at least 1"):
        BloomFilter("abc", num_elements=0, false_positives=0.01, redis=redis, key="b")
    assert sent == []


# --- elements


@pytest.mark.parametrize("make", [small, large])
@pytest.mark.parametrize("count", [1, 20, 2000])
def test_what_was_added_is_there_and_little_else(redis, make, count):
    added, strangers = words(count), words(count, "stranger")
    for seen in (make(redis, added), make(redis)):
        seen.update(added)
        assert seen.contains_many(*added) == [True] * count
        assert added[-1] in seen
        if make is large or count < 100:
            assert sum(seen.contains_many(*strangers)) <= 1
        mixed = [*added[:5], *strangers[:5], b"bytes", *added[:5]]
        answers = seen.contains_many(*mixed)
        assert answers == [word in seen for word in mixed]


def test_the_ways_of_asking_agree_bit_by_bit(redis):
    """Half full, so that one wrong bit of a bitmap or one wrong offset shows."""
    seen = small(redis, words(70))
    asked = words(3000, "asked")
    together = seen.contains_many(*asked)
    in_portions = [one for n in range(0, 3000, 9) for one in seen.contains_many(*asked[n : n + 9])]
    assert together == in_portions
    assert 5 < sum(together) < 100


def test_first_elements_may_be_named(redis):
    seen = BloomFilter(iterable="ab", num_elements=100, false_positives=0.01, redis=redis)
    assert seen.contains_many("a", "b", "c") == [True, True, False]


def test_filter_in_any_wire_mode(any_redis):
    seen = small(any_redis, ["a", "é"], key="b")
    seen.add("b")
    seen.update(words(50))
    assert seen.contains_many("a", "é", "b", *words(50)) == [True] * 53
    assert "a" in seen
    assert (seen | seen) == seen
    with pytest.raises(KeyExistsError):
        small(any_redis, words(50), key="b")


def test_short_string_reads_as_if_it_were_full_of_zeros(redis):
    seen = small(redis, key="b")
    assert ("x" in seen, seen.contains_many(*words(99)), len(seen)) == (False, [False] * 99, 0)
    redis.set("b", b"\xff" * 3)
    assert ("x" in seen, seen.contains_many(*words(99)), len(seen)) == (False, [False] * 99, 3)


def test_no_elements_take_no_round_trip(redis, commands):
    seen = small(redis, key="b")
    with commands(redis) as sent:
        seen.update()
        seen.update([], ())
        assert seen.contains_many() == []
        assert object() not in seen
        assert seen.contains_many(object(), float("nan")) == [False, False]
        small(redis, [], key="b")
    assert sent == []


@pytest.mark.parametrize("item", [[1], {"a": 1}, {1}, ([1],)])
def test_unhashable_element_is_typeerror(redis, item):
    seen = small(redis, "a", key="b")
    before = raw_bytes(redis).get("b")
    calls = [
        lambda: seen.add(item),
        lambda: seen.update(["x", item]),
        lambda: item in seen,
        lambda: seen.contains_many("a", item),
        lambda: small(redis, [item]),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="unhashable type"):
            call()
    assert raw_bytes(redis).get("b") == before


@pytest.mark.parametrize("item", [b"x", object(), frozenset("a"), float("nan"), (b"x",)])
def test_what_json_cannot_spell_is_not_there_and_cannot_be_added(redis, item):
    seen = small(redis, "a", key="b")
    before = raw_bytes(redis).get("b")
    assert item not in seen
    assert seen.contains_many(item, "a") == [False, True]
    for call in (lambda: seen.add(item), lambda: seen.update([*words(99), item])):
        with pytest.raises((TypeError, ValueError)):
            call()
    assert raw_bytes(redis).get("b") == before


@pytest.mark.slow
def test_ten_thousand_elements_are_one_round_trip(redis, commands):
    many = words(10_000)
    for size in (10**6, 10**8):
        seen = BloomFilter(num_elements=size, false_positives=0.1, redis=redis)
        seen.update(many)  # so that the script is known
        with commands(redis) as sent:
            seen.update(many)
            assert seen.contains_many(*many) == [True] * 10_000
        assert len(sent) == 2


def test_few_elements_do_not_move_the_bitmap(redis, commands):
    seen = large(redis, words(10_000))
    with commands(redis) as sent:
        seen.update(words(300))
        seen.contains_many(*words(300))
        large(redis, words(300))
    assert [words[0] for words in sent] == ["BITFIELD", "BITFIELD_RO", "BITFIELD"]


def test_more_bits_than_one_command_may_name_are_asked_for_in_several(redis):
    huge = BloomFilter(num_elements=2 * 10**7, false_positives=1e-9, redis=redis)
    texts = words(6000)
    assert huge._are_few(texts, READING)
    asked, answer = [], None
    steps = BloomPlans.contains_many(huge, *texts)
    try:
        while True:
            asked.append(steps.send(answer).args)
            answer = [1] * (len(asked[-1]) // 3)
            answer[-1] = 0
    except StopIteration as done:
        found = done.value
    first = (len(asked[0]) - 2) // (3 * huge.num_hashes())
    assert [len(args) <= 500_002 for args in asked] == [True, True]
    assert [n for n, one in enumerate(found) if not one] == [first - 1, 5999]


def test_user_who_may_not_run_scripts_adds_and_asks(server, redis):
    rights = ("on", "nopass", "~app:*", "+@all", "-@scripting", "-@dangerous")
    redis.execute_command("ACL SETUSER", "app", *rights)
    with server.client(username="app", password="any") as client:
        seen = BloomFilter(num_elements=10, false_positives=1e-20, redis=client, key="app:b")
        seen.add("x")
        seen.update("y")
        assert seen.contains_many("x", "z", *words(500)) == [True] + [False] * 501
        assert ("x" in seen, "z" in seen, len(seen)) == (True, False, 1)
        seen.clear()
    redis.execute_command("ACL DELUSER", "app")


def test_user_who_may_only_read_asks(server, redis):
    small(redis, words(50), key="b")
    redis.execute_command("ACL SETUSER", "reader", "on", "nopass", "~b", "+@read", "+@connection")
    with server.client(username="reader", password="any") as client:
        seen = small(client, key="b")
        assert seen.contains_many(*words(50)) == [True] * 50
        assert ("word 1" in seen, "x" in seen, len(seen) > 40) == (True, False, True)
        with pytest.raises(NoPermissionError):
            seen.add("x")
    redis.execute_command("ACL DELUSER", "reader")


def test_user_whose_keys_have_a_prefix_may_do_everything_in_place(server, redis):
    redis.execute_command("ACL SETUSER", "app", "on", "nopass", "~app:*", "+@all", "-@dangerous")
    with server.client(username="app", password="any") as client:
        one = small(client, words(60), key="app:1")
        two = small(client, words(20), key="app:2")
        one.update(words(90))
        one |= two
        one &= two
        assert one == two
    redis.execute_command("ACL DELUSER", "app")


# --- the number of elements


@pytest.mark.parametrize("count", [1, 10, 100, 1000, 10_000])
def test_length_is_about_the_number_of_elements(redis, count):
    seen = BloomFilter(words(count), num_elements=10_000, false_positives=0.01, redis=redis)
    assert abs(len(seen) - count) <= 0.02 * count


def test_length_of_a_full_filter_is_more_than_any_other(redis):
    seen = small(redis, key="b")
    redis.set("b", b"\xff" * 119 + b"\xfc")
    nearly = len(seen)
    redis.set("b", b"\xff" * 120)
    assert len(seen) == nearly + 1 == 941
    one_bit = BloomFilter("a", num_elements=1, false_positives=0.99, redis=redis)
    assert (one_bit.size(), len(one_bit), "b" in one_bit) == (1, 1, True)


def test_length_of_the_largest_filter_with_few_elements_is_exact(redis):
    # By log(1 - x) instead of log1p(-x), it would be one less for 2 and 4.
    largest = BloomFilter(num_elements=448_089_000, false_positives=0.01, redis=redis)
    assert [largest._estimate(7 * n) for n in range(1, 10)] == list(range(1, 10))


# --- the promised rate. The hash is not random, so neither are these tests.


@pytest.mark.parametrize("false_positives", [0.1, 0.01, 0.001])
def test_false_positives_at_capacity_are_as_many_as_promised(redis, false_positives):
    count = 20_000
    seen = BloomFilter(
        words(count), num_elements=count, false_positives=false_positives, redis=redis
    )
    asked = int(1000 / false_positives)

    found = sum(seen.contains_many(*words(asked, "stranger")))

    # 1000 are expected, with a standard deviation of at most 32. Of 0.001, a bitmap that is 3 % too
    # short or too long would make more or fewer than this, and so would half as many hashes.
    assert 800 < found < 1200


def test_there_are_no_false_negatives(redis):
    added = words(50_000)
    overfull = BloomFilter(num_elements=5000, false_positives=0.01, redis=redis)
    for start in range(0, 50_000, 2500):
        overfull.update(added[start : start + 2500])
    assert all(overfull.contains_many(*added))
    assert all(word in overfull for word in added[::500])


# --- creation


@pytest.mark.parametrize("count", [1, 5000])
@pytest.mark.parametrize("make", [small, large])
def test_data_for_a_key_that_exists_is_refused(redis, make, count):
    make(redis, ["first"], key="b")
    before = raw_bytes(redis).get("b")
    with pytest.raises(KeyExistsError, match="key 'b' exists already") as caught:
        make(redis, words(count), key="b")
    assert (caught.value.redis, caught.value.key) == (redis, "b")
    assert raw_bytes(redis).get("b") == before
    assert "first" in make(redis, key="b")


@pytest.mark.parametrize("count", [1, 5000])
def test_one_of_many_creators_succeeds(redis, count):
    outcomes = []

    def create(name):
        try:
            outcomes.append(small(redis, words(count, name), key="b"))
        except KeyExistsError as error:
            outcomes.append(error)

    threads = [Thread(target=create, args=(f"thread {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(isinstance(one, KeyExistsError) for one in outcomes) == [False] + [True] * 7


def test_temporary_filter_goes_away(redis):
    seen = small(redis, "abc")
    key = seen.key
    assert redis.exists(key)
    del seen
    small(redis).add("x")
    assert not redis.exists(key)


def test_bytes_make_a_key_too(redis):
    small(redis, words(50), key="b")
    seen = small(redis, key=b"b")
    seen.update(words(60))
    assert seen == small(redis, key="b")
    assert len(redis.keys()) == 1


# --- algebra


def both_sides(redis, here=("a", "b", "c"), there=("b", "c", "d")):
    return small(redis, here, key="here"), small(redis, there, key="there")


def test_operators_give_filters_of_what_either_or_both_have(redis):
    here, there = both_sides(redis)
    either, both = here | there, here & there
    for result in (either, both, here.union(there), here.intersection(there)):
        assert type(result) is BloomFilter
        assert (result.redis, result.size()) == (redis, 959)
        assert result.key.startswith("pottery:")
    assert either.contains_many(*"abcde") == [True] * 4 + [False]
    assert both.contains_many(*"abcde") == [False, True, True, False, False]
    assert either == small(redis, "abcd")
    assert (here.contains_many(*"abcd"), there.contains_many(*"abcd")) == (
        [True, True, True, False],
        [False, True, True, True],
    )


def test_union_and_intersection_take_any_number_of_filters(redis):
    one, two, three = (small(redis, names) for names in ("ab", "bc", "bd"))
    assert one.union(two, three) == small(redis, "abcd")
    assert one.intersection(two, three).contains_many(*"abcd") == [False, True, False, False]
    assert one.union() == one.intersection() == one
    assert one.union().key != one.key


def test_in_place_operators_change_this_filter_alone(redis):
    here, there = both_sides(redis)
    same = here
    here |= there
    assert here is same
    assert here == small(redis, "abcd")
    here &= there
    assert here is same
    assert here == there
    here.update(there, "xy", small(redis, "z"))
    assert here == small(redis, "bcdxyz")
    here.intersection_update(there, small(redis, "b"))
    assert here == small(redis, "b")
    assert there == small(redis, "bcd")


@pytest.mark.parametrize("expires", [False, True])
def test_filters_are_combined_however_many_they_are(redis, expires):
    here, other = small(redis, ["a"], key="here"), small(redis, ["b"], key="other")
    if expires:
        redis.expire("here", 100)
    many = [other] * 9000 + [small(redis, ["a", "b", "c"], key="all")]
    here.update(*many[:-1], ["d"])
    assert here.contains_many("a", "b", "c", "d") == [True, True, False, True]
    assert here.union(*many).contains_many("a", "b", "c") == [True, True, True]
    assert here.intersection(*many) == other
    here.intersection_update(*many)
    assert here == other
    assert (redis.ttl("here") > 0) == expires
    assert not redis.keys("*~scratch")


def test_intersection_with_an_empty_filter_leaves_no_key(redis):
    here, empty = small(redis, "abc", key="here"), small(redis, key="empty")
    assert redis.exists((here & empty).key) == 0
    empty &= here
    here &= empty
    here |= empty
    assert (redis.keys(), len(here)) == ([], 0)


CHANGES = {
    "or": lambda here, there: here.__ior__(there),
    "and": lambda here, there: here.__iand__(there),
    "many": lambda here, _: here.update(words(100)),
    "few": lambda here, _: here.update(words(3)),
    "one": lambda here, _: here.add("x"),
    "filter and many": lambda here, there: here.update(words(100), there),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_change_keeps_the_expiry_and_leaves_no_other_key(redis, change):
    here, there = both_sides(redis)
    end = 2_000_000_000_123
    redis.pexpireat("here", end)
    for _ in range(3):
        change(here, there)
    remaining = redis.pttl("here")
    seconds, micros = redis.time()
    assert abs(seconds * 1000 + micros // 1000 + remaining - end) < 100
    assert set(redis.keys()) in ({b"here", b"there"}, {"here", "there"})


def test_result_does_not_expire_with_its_operands(redis):
    here, there = both_sides(redis)
    redis.expire("here", 100)
    result = here | there
    assert redis.ttl(result.key) == -1


def test_change_as_a_whole_does_not_shorten_a_longer_string(redis):
    redis.set("b", b"\0" * 199 + b"\1")
    seen = small(redis, key="b")
    seen.update(words(50))
    assert redis.strlen("b") == 200
    assert redis.getbit("b", 1599)


def test_comparisons_are_those_of_the_bits(redis):
    less, more, other = (small(redis, names) for names in ("ab", "abc", "cd"))
    equal = small(redis, "ba")
    assert less == equal
    assert (less != equal) is False
    assert less != more
    assert (less <= more, less < more, less >= more, less > more) == (True, True, False, False)
    assert (more >= less, more > less) == (True, True)
    assert (less <= equal, less < equal, less >= equal, less > equal) == (True, False, True, False)
    assert (less <= other, less >= other) == (False, False)
    assert (less.issubset(more), less.issuperset(more), more.issuperset(less)) == (1, 0, 1)
    assert small(redis) <= less
    assert less == less  # noqa: PLR0124 - its own scratch must not be in the way
    assert redis.keys("*scratch") == []


def test_trailing_zeros_do_not_matter(redis):
    one, two = small(redis, "a", key="1"), small(redis, "a", key="2")
    redis.setrange("2", 119, b"\0")
    assert redis.strlen("1") < redis.strlen("2")
    assert one == two


def test_filters_with_other_parameters_are_not_combined(redis):
    here = small(redis, "abc", key="here")
    other = BloomFilter("abc", num_elements=101, false_positives=0.01, redis=redis, key="other")
    fewer = BloomFilter("abc", num_elements=100, false_positives=0.02, redis=redis, key="fewer")
    calls = [
        lambda: here | other,
        lambda: here & fewer,
        lambda: here.__ior__(other),
        lambda: here.__iand__(other),
        lambda: here.union(here, other),
        lambda: here.intersection(other),
        lambda: here.update(["x"], other),
        lambda: here.intersection_update(other),
        lambda: here <= other,
        lambda: here < other,
        lambda: here >= fewer,
        lambda: here > fewer,
        lambda: here.issubset(other),
        lambda: here.issuperset(other),
    ]
    before = raw_bytes(redis).get("here")
    for call in calls:
        with pytest.raises(ValueError, match=r"num_elements=10[01] .* has other parameters than"):
            call()
    assert here != other
    assert raw_bytes(redis).get("here") == before


def test_equal_parameters_are_those_with_equal_sizes_and_hashes(redis):
    here = small(redis, "abc")
    nearly = BloomFilter("bcd", num_elements=100, false_positives=0.0100001, redis=redis)
    assert nearly.size() == 959
    assert (here | nearly) == small(redis, "abcd")


@pytest.mark.parametrize("other", [{"a"}, ["a"], "a", None, 1])
def test_operators_take_only_filters(redis, other):
    here = small(redis, "abc", key="here")
    operators = [
        lambda: here | other,
        lambda: here & other,
        lambda: ior(here, other),
        lambda: iand(here, other),
        lambda: other | here,
        lambda: here <= other,
        lambda: here > other,
    ]
    for call in operators:
        with pytest.raises(TypeError, match=r"unsupported operand|not supported between"):
            call()
    for call in (here.union, here.intersection, here.intersection_update, here.issubset):
        with pytest.raises(TypeError, match="BloomFilter goes together with BloomFilter, not"):
            call(other)
    assert here != other
    assert here == small(redis, "abc")


def test_set_cannot_be_combined_and_filter_cannot_be_hashed_or_iterated(redis):
    here = small(redis, "abc")
    with pytest.raises(TypeError):
        RedisSet("abc", redis=redis) | here
    with pytest.raises(TypeError, match="unhashable"):
        hash(here)
    with pytest.raises(TypeError, match="not iterable"):
        iter(here)


def test_filters_on_two_servers_are_combined_through_python(redis):
    with RedisServer() as other_server, other_server.client() as other:
        for here_has, there_has in (("abc", "bcd"), ("abc", ""), ("", "bcd"), ("b", "abc")):
            redis.flushdb()
            other.flushdb()
            here, there = small(redis, here_has, key="k"), small(other, there_has, key="k")
            assert here | there == small(redis, set(here_has) | set(there_has))
            local = small(redis, there_has)
            assert here & there == here & local
            assert (here <= there, here < there) == (here <= local, here < local)
            assert (here >= there, here > there) == (here >= local, here > local)
            assert (here == there) == (here == local)
            here &= there
            assert here == here & local
            here.update(there, local, "xyz")
            assert here == local | small(redis, "xyz")
            assert other.keys() == ([b"k"] if there_has else [])
            assert not redis.exists("k~scratch")
            here.intersection_update(there, small(other, "b"))
            assert here == local & small(redis, "b")


def test_subclass_with_another_constructor_is_copied_and_combined(redis):
    class Names(BloomFilter):
        def __init__(self, redis):
            super().__init__(num_elements=100, false_positives=0.01, redis=redis)

    names = Names(redis)
    names.add("a")
    for twin in (names.copy(), names | small(redis, "b"), copy.copy(names), copy.deepcopy(names)):
        assert type(twin) is Names
        assert (twin.num_elements, twin.false_positives, twin.size()) == (100, 0.01, 959)
        assert "a" in twin
        twin.add("z")
    assert "z" not in names


# --- failure


def test_key_of_another_type_is_redis_error_and_stays_as_it_is(redis):
    redis.rpush("l", "x")
    broken, fine = small(redis, key="l"), small(redis, "abc", key="fine")
    calls = [
        lambda: broken.add("x"),
        lambda: broken.update(words(99)),
        lambda: broken.contains_many(*words(99)),
        lambda: "x" in broken,
        lambda: len(broken),
        lambda: broken | fine,
        lambda: fine | broken,
        lambda: fine.__iand__(broken),
        lambda: broken.__ior__(fine),
        lambda: fine == broken,
        lambda: broken <= fine,
    ]
    for call in calls:
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            call()
    assert redis.lrange("l", 0, -1) in ([b"x"], ["x"])
    assert set(redis.keys()) in ({b"l", b"fine"}, {"l", "fine"})
    assert fine == small(redis, "abc")
    assert repr(broken) == "<BloomFilter key='l' num_elements=100 false_positives=0.01>"


def test_lost_reply_neither_loses_nor_doubles(server, redis):
    options = redis.connection_pool.connection_kwargs
    with FaultyProxy(server.url) as proxy:
        client = redis_py.Redis(port=proxy.port, db=options.get("db", 0))
        seen, other = small(client, "ab", key="k"), small(client, "bc", key="other")
        harmless = [
            lambda: seen.add("x"),
            lambda: seen.update("y"),
            lambda: seen.update(words(99)),
            lambda: seen.contains_many("x"),
            lambda: len(seen),
            lambda: seen | other,
            lambda: seen & other,
            lambda: seen.update(other),
            lambda: seen <= other,
        ]
        for call in harmless:
            call()
            proxy.drop_reply()
            call()
        assert all(seen.contains_many("a", "b", "c", "x", "y", *words(99)))
        for call in (
            lambda: seen.intersection_update(other),
            lambda: small(client, words(99), key="n"),
        ):
            proxy.drop_reply()
            with pytest.raises(OutcomeUnknown):
                call()
        client.close()


def test_replica_has_the_same_and_sees_nothing_of_a_comparison():
    config = {"repl-diskless-sync-delay": 0}
    with RedisServer(config=config) as server, server.client() as client:
        one, two = small(client, words(80), key="1"), small(client, "abc", key="2")
        with RedisServer(config={"replicaof": f"127.0.0.1 {server.port}"}) as copy_of_it:
            replica = copy_of_it.client()
            client.expire("1", 1000)
            while client.wait(1, 100) == 0:
                pass
            one.update(words(90))
            one |= two
            both = one & two
            before = client.info("replication")["master_repl_offset"]
            assert both <= one
            assert one != two
            after = client.info("replication")["master_repl_offset"]
            assert client.wait(1, 5000) == 1
            keys = ["1", "2", both.key]
            assert replica.mget(keys) == client.mget(keys)
            assert replica.ttl("1") > 900
            assert (replica.dbsize(), client.dbsize()) == (3, 3)
            assert after - before < 100  # a ping, at the most
            replica.close()


def test_repr_of_a_filter_whose_server_is_gone(redis):
    with RedisServer() as server, server.client() as client:
        seen = small(client, key=b"\xff")
    assert repr(seen) == r"<BloomFilter key=b'\xff' num_elements=100 false_positives=0.01>"


def test_no_addition_of_many_threads_is_lost(server, redis):
    def add(number):
        with server.client() as client:
            seen = small(client, key="b")
            for start in range(0, 300, 30):
                part = words(300, f"thread {number}")[start : start + 30]
                seen.update(part[:1])
                seen.update(part)

    redis.pexpire("b", 10**6)
    threads = [Thread(target=add, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    added = [word for n in range(6) for word in words(300, f"thread {n}")]
    assert all(small(redis, key="b").contains_many(*added))
    assert len(redis.keys()) == 1


# --- asyncio


def in_a_loop(server, body):
    async def run():
        client = asynchronous.Redis.from_url(server.url)
        try:
            await body(client)
        finally:
            await close(client)

    asyncio.run(run())


PROMISE = {"num_elements": 100, "false_positives": 0.01}


def test_asynchronous_filter_does_what_the_blocking_one_does(server, redis):
    async def body(client):
        seen = await AIOBloomFilter.create("abc", **PROMISE, redis=client, key="b")
        await seen.add("d")
        await seen.update("ef", words(50))
        assert (await seen.has("a"), await seen.has("z"), await seen.has(b"a")) == (1, 0, 0)
        assert await seen.contains_many("a", "z", *words(50)) == [True, False] + [True] * 50
        assert (seen.size(), seen.num_hashes(), await seen.length()) == (959, 7, 54)
        other = AIOBloomFilter(**PROMISE, redis=client)
        await other.update("axy")
        assert await (await seen.union(other)).contains_many(*"axz") == [True, True, False]
        assert await (await seen.intersection(other)).contains_many(*"abx") == [True, False, False]
        assert await (await seen.intersection(other)).issubset(seen)
        copied = await seen.copy()
        await copied.update(other)
        assert await copied.issuperset(other)
        await copied.intersection_update(other)
        assert await copied.has("y")
        with pytest.raises(KeyExistsError):
            await AIOBloomFilter.create("x", **PROMISE, redis=client, key="b")
        with pytest.raises(ValueError, match="other parameters"):
            await seen.update(AIOBloomFilter(num_elements=9, false_positives=0.1, redis=client))
        await other.clear()
        assert await other.length() == 0
        assert repr(seen) == "<AIOBloomFilter key='b' num_elements=100 false_positives=0.01>"

    in_a_loop(server, body)
    assert small(redis, key="b") == small(redis, ["a", "b", "c", "d", "e", "f", *words(50)])


def test_filters_of_the_two_colours_are_combined_where_they_are_on_one_server(server, redis):
    here = small(redis, "abc", key="here")

    async def body(client):
        there = AIOBloomFilter(**PROMISE, redis=client, key="there")
        await there.update("cd", here)
        assert here <= there
        assert await there.issuperset(here)
        assert not await there.equals(here)
        await there.intersection_update(here)
        assert await there.equals(here)
        assert here == there
        assert here | there == here & there == here
        assert not await there.equals("abc")
        assert not await there.equals(
            AIOBloomFilter(num_elements=1, false_positives=0.1, redis=client)
        )

    in_a_loop(server, body)
    assert redis.exists("here", "there") == 2


def test_filters_of_the_two_colours_on_two_servers_are_not_combined(server, redis):
    with RedisServer() as other_server, other_server.client() as other:
        there = small(other, "abc")

        async def body(client):
            here = AIOBloomFilter(**PROMISE, redis=client)
            with pytest.raises(TypeError, match="AIOBloomFilter goes together with AIOBloomFilter"):
                await here.update(there)
            assert not await here.equals(there)
            with pytest.raises(TypeError, match="unsupported operand"):
                there | here
            assert there != here

        in_a_loop(server, body)
