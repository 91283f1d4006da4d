"""One body for the builtin and for ours: each line below is run on both, and must do the same."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
import sys
from collections import Counter, deque
from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest
from both import BIG, TYPES, Both, outcome, shape
from mirrors import ABSENT, DIFFERENCES, MIRRORS, is_absent, made, methods

from pottery.testing import RedisServer

AWKWARD = [1, True, 1.0, 0, False, -0.0, None, "", 'é"\\', "\ud800", [1, [2]], {"k": 1}, BIG, 2.5]


@pytest.fixture
def both(any_colour):
    return partial(Both.of, any_colour)


@pytest.fixture
def both_blocking(redis):
    return partial(Both.of, redis)


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


# --- list and deque: what they share

SEQUENCES = [[], [7], ["b", "a", "c", "a", "b"], [3, 1, 2, 1.0, True, None], AWKWARD]
BOUNDED = [(["b", "a"], 2), ([1, 2, 3], 5), ([4, 5, 6], 2), ([], 0), ([1], 0), (AWKWARD, None)]

BY_PLACE = lines("""
    it[0]
    it[-1]
    it[1]
    it[-2]
    it[4]
    it[99]
    it[-99]
    it[BIG]
    it[-BIG]
    it[2**63 - 1]
    it[2**63]
    it[-(2**63)]
    it[-(2**63) - 1]
    it[True]
    it["x"]
    it[1.0]
    it[None]
    it[0] = "new"
    it[-1] = {"a": [None]}
    it[2] = "new"
    it[-3] = 0
    it[99] = 1
    it[-99] = 1
    it[BIG] = 1
    it[2**63 - 1] = 1
    it[-(2**63)] = 1
    it["x"] = 1
    del it[0]
    del it[-1]
    del it[1]
    del it[-2]
    del it[99]
    del it[-99]
    del it[BIG]
    del it[2**63 - 1]
    del it[-(2**63)]
    del it["x"]
    it.insert(0, "new")
    it.insert(1, "new")
    it.insert(2, "new")
    it.insert(-1, "new")
    it.insert(-2, "new")
    it.insert(99, "new")
    it.insert(-99, "new")
    it.insert("x", "new")
    it.insert(1.0, "new")
    it.insert(BIG, "new")
    it.insert(2**63 - 1, "new")
    it.insert(-(2**63), "new")
""")


class Huge:
    """An index that no list reaches."""

    def __index__(self):
        return BIG


AS_A_WHOLE = lines("""
    it
    len(it)
    bool(it)
    list(it)
    [*it]
    list(reversed(it))
    min(it, key=repr)
    max(it, key=repr)
    iter(it)
    it.copy()
    it.clear()
    it.reverse()
    it.append("new")
    it.append([1, ["é"]])
    it.extend(["a", 1])
    it.extend([])
    it.extend("ab")
    it.extend(x for x in "ab")
    it.extend({"k": 1})
    it.extend(it)
    it.extend(make("ab"))
    it.extend(5)
    it.extend(None)
    it.pop()
    it + make("ab")
    it + it
    make("ab") + it
    make() + it
    it + "ab"
    it + 5
    it + None
    5 + it
    (1,) + it
    it + (1,)
    it += make("ab")
    it += "ab"
    it += (1, 2)
    it += it
    it += 5
    it * 2
    3 * it
    it * 0
    it * -1
    it * True
    it * 1.5
    it * "a"
    it * None
    it * Huge()
    it[Huge()]
    it * it
    it *= 3
    it *= 1
    it *= 0
    it *= -1
    it *= 1.5
    it == it
    it == make(it)
    it == make()
    it != make(it)
    it == make("ba")
    it == 5
    it == "ab"
    it == ()
    it < make("z")
    it <= make(it)
    it > make()
    it >= make(it)
    it < make(it)
    it < 5
    it >= "a"
    None > it
    hash(it)
    [x for x in it if x == 1]
""")

BY_VALUE = lines("""
    value in it
    value not in it
    it.count(value)
    it.index(value)
    it.index(value, 1)
    it.index(value, -2)
    it.index(value, 1, 3)
    it.index(value, 0, -1)
    it.index(value, -99, 99)
    it.index(value, BIG)
    it.index(value, 0, BIG)
    it.index(value, -BIG, BIG)
    it.index(value, -(2**63), 2**63 - 1)
    it.index(value, None)
    it.index(value, 0, "x")
    it.index(value, 3, 1)
    it.remove(value)
""")

VALUES = [
    *AWKWARD,
    3,
    "a",
    "b",
    "zz",
    (1, [2]),
    [1, (2,)],
    [True, [2.0]],
    {"k": True},
    float("nan"),
]
NOT_JSON = [b"a", {1}, object(), range(3), 1j]

WRONG_ARGUMENTS = lines("""
    it.append()
    it.append(1, 2)
    it.append(item=1)
    it.extend()
    it.extend([], [])
    it.insert(1)
    it.insert(1, 2, 3)
    it.index()
    it.index(1, 2, 3, 4)
    it.index(1, "x")
    it.index(1, 0, None)
    it.count()
    it.remove()
    it.pop(1, 2)
    it.pop("x")
    it.clear(1)
    it.copy(1)
    it.reverse(1)
    make(1)
    make(None)
    make([], 1, 2)
    make(iterable=[], nothing=1)
""")


@pytest.mark.parametrize("kind", [list, deque])
@pytest.mark.parametrize("line", BY_PLACE + AS_A_WHOLE)
def test_sequence(both, kind, line):
    for content in SEQUENCES:
        both(kind, content).run(line, Huge=Huge)


@pytest.mark.parametrize("kind", [list, deque])
@pytest.mark.parametrize("line", BY_VALUE)
def test_sequence_finds_what_is_equal_in_python(both, kind, line):
    for content in SEQUENCES:
        for value in VALUES:
            both(kind, content).run(line, value=value)


@pytest.mark.parametrize("kind", [list, deque])
@pytest.mark.parametrize("line", BY_VALUE)
def test_sequence_contains_nothing_that_is_no_json(both, kind, line):
    for value in NOT_JSON:
        both(kind, ["b", 1, [2]]).run(line, value=value)


@pytest.mark.parametrize("kind", [list, deque])
@pytest.mark.parametrize("line", WRONG_ARGUMENTS)
def test_sequence_refuses_wrong_arguments(both, kind, line):
    same_kind_of_error(both(kind, [1, 2]), line)


def same_kind_of_error(both: Both, line: str) -> None:
    """Run *line* on both; the texts may differ, as those of functions of C and of Python do."""
    names = {"it": both.builtin, "make": type(both.builtin)}
    expected, _ = outcome(line, names)
    found, _ = outcome(
        line, {"it": both.ours, "make": partial(type(both.ours), redis=both.ours.redis)}
    )

    assert found is expected
    assert shape(both.ours) == shape(both.builtin)


@pytest.mark.parametrize("kind", [list, deque])
@pytest.mark.parametrize("line", ["it * times", "times * it", "it *= times"])
def test_sequence_is_repeated_as_often_as_it_is_said(both, kind, line):
    for content in ([], ["a"], [1, [2]]):
        for times in (1000, 5001):
            both(kind, content).run(line, times=times)


@pytest.mark.parametrize("line", ["it * times", "it *= times"])
@pytest.mark.parametrize("kind", [list, deque])
def test_sequence_is_repeated_very_often_without_many_steps(kind, line):
    contents = [[()], ["ab", 3], ["ab", 0]] if kind is deque else [[()]]
    # At a server of its own: one that took the steps would be lost to all other tests.
    with RedisServer() as server, server.client(socket_timeout=1) as client:
        for content in contents:
            for times in (10**10, sys.maxsize, BIG, -BIG):
                Both.of(client, kind, *content).run(line, times=times)
        Both.of(client, kind, "ab").run(line, times=sys.maxsize)


# --- list only

SLICES = [
    *("[:]", "[1:]", "[:2]", "[:-1]", "[-2:]", "[1:3]", "[3:1]", "[0:0]", "[2:2]", "[-3:-1]"),
    *("[99:]", "[:99]", "[-99:99]", "[99:-99]", "[-99:2]", "[BIG:]", "[:BIG]", "[-BIG:BIG]"),
    *("[::2]", "[1::2]", "[::3]", "[::99]", "[-1::99]", "[::-1]", "[::-2]", "[3:0:-1]", "[:1:-1]"),
    *("[-1:-4:-1]", "[-2::-1]", "[1:-99:-1]", "[99:-99:-2]", "[0:3:-1]", "[::BIG]", "[::-BIG]"),
    *("[1:4:2]", "[True:None]", "[None:None:1]", "[::1]", "[2:0:1]", "[1:1:2]", "[4:0:2]"),
    *("[::0]", "['a':]", "[:'a']", "[::'a']", "[1.0:]", "[::1.5]"),
]


@pytest.mark.parametrize("where", SLICES)
def test_list_slice(both, where):
    for content in SEQUENCES:
        both(list, content).run(f"it{where}")
        both(list, content).run(f"del it{where}")


NEW = [
    "[]",
    "['new']",
    "OnlyItems()",
    "'xyz'",
    "it",
    "(0, [1])",
    "(i for i in range(2))",
    "make('ab')",
]


class OnlyItems:
    """Can be iterated by what it has only."""

    def __getitem__(self, index):
        return "ab"[index]


@pytest.mark.parametrize("where", SLICES)
def test_list_slice_assignment(both, where):
    for content in SEQUENCES:
        for new in NEW:
            both(list, content).run(f"it{where} = {new}", OnlyItems=OnlyItems)
        same_kind_of_error(both(list, content), f"it{where} = 5")


@pytest.mark.parametrize(
    "line",
    lines("""
    it.pop(0)
    it.pop(1)
    it.pop(-1)
    it.pop(-2)
    it.pop(99)
    it.pop(-99)
    it.pop(BIG)
    it.pop(2**63 - 1)
    it.pop(-(2**63))
    it.pop(True)
    it.pop(1.0)
    it.sort(key=repr)
    it.sort(key=repr, reverse=True)
    it.sort(key=lambda x: 0)
    sorted(it, key=repr)
    """),
)
def test_list(both, line):
    for content in SEQUENCES:
        both(list, content).run(line)


@pytest.mark.parametrize("line", ["it.sort(repr)", "it.sort(None, False)", "it.sort(wrong=1)"])
def test_list_sort_takes_only_keywords(both, line):
    same_kind_of_error(both(list, [2, 1]), line)


def test_list_sort_is_stable_in_both_directions(both):
    content = [[1, "a"], [0, "b"], [1, "c"], [0, "d"]]

    both(list, content).run("it.sort(key=lambda pair: pair[0])")
    both(list, content).run("it.sort(key=lambda pair: pair[0], reverse=True)")


@pytest.mark.parametrize(
    "line",
    lines("""
    it.sort()
    it.sort(reverse=True)
    it.sort(key=None, reverse=0)
    it.sort(key=lambda x: x % 3)
    it.sort(key=lambda x: (x % 2, -x), reverse=1)
    """),
)
def test_list_sort(both, line):
    for content in ([], [1], [2, 1], [3, 1.0, 2, 1, True, 2.5, BIG, -BIG], [*range(20), *range(9)]):
        both(list, content).run(line)


@pytest.mark.parametrize(
    "line",
    lines("""
    it.sort()
    it.sort(key=lambda x: x[0])
    it.sort(key=5)
    it.sort(reverse="yes")
    it.sort(reverse=None)
    """),
)
def test_list_sort_that_fails_leaves_the_list_as_it_was(both, line):
    pair = both(list, [3, "a", 1])

    expected = outcome(line, {"it": pair.builtin})

    assert outcome(line, {"it": pair.ours}) == expected
    assert list(pair.ours) == [3, "a", 1]


# --- deque only


@pytest.mark.parametrize(
    "line",
    [
        *BY_PLACE,
        *AS_A_WHOLE,
        *lines("""
    it.maxlen
    it.appendleft("new")
    it.appendleft([1, [2]])
    it.extendleft("ab")
    it.extendleft([])
    it.extendleft(range(7))
    it.extendleft(it)
    it.extendleft(5)
    it.extend(range(7))
    it.popleft()
    it.rotate()
    it.rotate(1)
    it.rotate(-1)
    it.rotate(2)
    it.rotate(-2)
    it.rotate(0)
    it.rotate(99)
    it.rotate(-99)
    it.rotate(10**9)
    it.rotate(2**60)
    it.rotate(-BIG)
    it.rotate(True)
    it.rotate("x")
    it.rotate(1.0)
    it.rotate(None)
    it[0:1]
    it[:]
    it[0:1] = []
    del it[0:1]
    it + make("ab", 3)
    make("ab", 3) + it
    it == make(it, 5)
    make("abc", 2)
    make("abc", 0)
    make("abc", None)
    make("abc", maxlen=1)
    make("abc", -1)
    make("abc", -BIG)
    make("abc", "x")
    make("abc", 1.5)
    make("abc", True)
    make(iterable="abc")
    make(iterable="abc", maxlen=2)
    make([], 3)
    """),
    ],
)
def test_deque(both, line):
    for content in BOUNDED:
        both(deque, *content).run(line, Huge=Huge)


@pytest.mark.parametrize(
    "line",
    lines("""
    it.popleft(1)
    it.pop(1)
    it.appendleft()
    it.extendleft()
    it.extendleft([], [])
    it.rotate(1, 2)
    it.rotate(n=1)
    it.maxlen = 3
    it.sort()
    """),
)
def test_deque_refuses_wrong_arguments(both, line):
    same_kind_of_error(both(deque, [1, 2]), line)


def test_deque_and_list_are_never_equal(both):
    both(deque, ["a"]).run("it == ['a']")
    both(list, ["a"]).run("it == deque('a')", deque=deque)


# --- set

MEMBERS = ["", "a", "abc", [1, 2, 3], ["é", "\ud800", None, (1, (2,)), BIG, 2.5, -1, "a"]]
OTHERS = [
    *(
        "set()",
        "{'a'}",
        "{'a', 'z'}",
        "{1, 2, 3}",
        "{1, 2}",
        "{(1, (2,)), None}",
        "frozenset('ab')",
    ),
    *("make()", "make('ab')", "make(it)", "it"),
]
VIEWS = ["{'a': 1}.keys()", "{'a': 1}.items()"]
NO_SETS = ["5", "None", "'abc'", "['a']", "('a',)", "{'a': 1}"]
ITERABLES = [*OTHERS, *VIEWS, *NO_SETS[2:], "(1,)", "range(3)", "(x for x in 'ab')"]
WRONG = ["5", "None", "[[]]", "[{}]", "[{1}]"]
METHODS = ["union", "intersection", "difference", "symmetric_difference"]
COMPARISONS = ["isdisjoint", "issubset", "issuperset"]
UPDATES = ["update", *(f"{name}_update" for name in METHODS[1:])]
OPERATORS = ["|", "&", "-", "^", "==", "!=", "<", "<=", ">", ">="]


@pytest.mark.parametrize("method", METHODS + COMPARISONS + UPDATES)
def test_set_method(both, method):
    for content in MEMBERS:
        for other in [*ITERABLES, *WRONG]:
            both(set, content).run(f"it.{method}({other})")


@pytest.mark.parametrize("method", [name for name in METHODS + UPDATES if "symm" not in name])
def test_set_method_with_no_other_set_or_with_many(both, method):
    for content in MEMBERS:
        both(set, content).run(f"it.{method}()")
        both(set, content).run(f"it.{method}('ab', ['b', 1], make('bz'), it)")


@pytest.mark.parametrize("method", UPDATES)
def test_set_method_that_fails_leaves_the_set_as_it_was(both, method):
    pair = both(set, "a")

    expected = outcome(f"it.{method}('ab', 5)", {"it": pair.builtin})

    assert outcome(f"it.{method}('ab', 5)", {"it": pair.ours})[0] == expected[0]
    assert set(pair.ours) == {"a"}


@pytest.mark.parametrize("operator", OPERATORS)
def test_set_operator(both, operator):
    for content in MEMBERS:
        for other in [*OTHERS, *VIEWS, *NO_SETS]:
            both(set, content).run(f"it {operator} {other}")
            both(set, content).run(f"{other} {operator} it")


@pytest.mark.parametrize("operator", ["|=", "&=", "-=", "^="])
def test_set_operator_in_place(both, operator):
    for content in MEMBERS:
        for other in [*OTHERS, *NO_SETS]:
            both(set, content).run(f"it {operator} {other}")


def test_set_stays_in_redis_where_the_builtin_becomes_another_set(both_blocking):
    pair = both_blocking(set, "ab")
    ours = pair.ours

    ours |= {"c": 1}.keys()

    assert ours is pair.ours
    assert ours == {"a", "b", "c"}


@pytest.mark.parametrize(
    "line",
    lines("""
    it
    len(it)
    bool(it)
    set(it)
    sorted(it, key=repr)
    it.copy()
    it.clear()
    hash(it)
    it.add("new")
    it.add("a")
    it.add((1, (2, None)))
    it.add([])
    it.add(([],))
    it.add({})
    it.discard("a")
    it.discard("zz")
    it.discard([])
    it.discard({1})
    it.discard(make("a"))
    it.remove("a")
    it.remove((1, (2,)))
    it.remove("zz")
    it.remove((9,))
    it.remove([])
    it.remove({1})
    "a" in it
    (1, (2,)) in it
    b"a" in it
    [] in it
    {1} in it
    make("a") in it
    frozenset() in it
    it <= {"a"} <= it
    it[0]
    it + it
    it * 2
    it < 5
    """),
)
def test_set(both, line):
    for content in MEMBERS:
        both(set, content).run(line)


@pytest.mark.parametrize(
    "line",
    lines("""
    it.add()
    it.add(1, 2)
    it.add(item=1)
    it.pop(1)
    it.clear(1)
    it.copy(1)
    it.remove()
    it.discard()
    it.symmetric_difference()
    it.symmetric_difference([], [])
    it.symmetric_difference_update()
    it.isdisjoint()
    it.issubset([], [])
    it.update(other=[])
    make(5)
    make([], [])
    make([[]])
    make(iterable=[])
    """),
)
def test_set_refuses_wrong_arguments(both, line):
    same_kind_of_error(both(set, "ab"), line)


def test_set_pops_each_member_once(both):
    for content in MEMBERS:
        pair = both(set, content)
        popped = [pair.ours.pop() for _ in range(len(pair.builtin))]

        assert shape(set(popped)) == shape(pair.builtin)
        assert len(popped) == len(pair.builtin)
        pair.builtin.clear()
        pair.run("it.pop()")


# --- dict

ITEMS = [
    {},
    {"a": 1},
    {"b": None, "a": [1, {"c": 2}], "c": "é\ud800"},
    {1: "x", "1": "y", None: {}, (1, (2,)): 2.5, "": BIG, -1.5: True},
]
KEYS = ["a", "b", 1, "1", None, (1, (2,)), "", -1.5, "zz", 99, BIG]
SOURCES = [
    *("{}", "{'a': 2, 'z': [3]}", "{None: 0}", "make()", "make({'a': 2, 'z': 3})", "it"),
    "Counter('a')",
]
PAIRS = [
    "[]",
    "[('a', 2), ['z', 3]]",
    "['ab', 'cd']",
    "(p for p in [('a', 1)])",
    "{'a': 2}.items()",
]
NO_PAIRS = ["5", "None", "'abc'", "[1]", "[(1, 2, 3)]", "[('a',)]", "[([], 1)]", "[({}, 1)]"]


@pytest.mark.parametrize(
    "line",
    lines("""
    it
    len(it)
    bool(it)
    list(it)
    list(reversed(it))
    {**it}
    dict(it)
    it.copy()
    it.clear()
    hash(it)
    it.popitem()
    it.keys()
    it.values()
    it.items()
    list(reversed(it.keys()))
    list(reversed(it.values()))
    list(reversed(it.items()))
    it.update()
    it.update(a=1, z=[2])
    it.update({"a": 1}, a=2, y=3)
    it.update([("y", 1)], z=3)
    it.fromkeys("abc")
    it.fromkeys(["x", 1], [5])
    it.fromkeys([])
    it.fromkeys(5)
    it.fromkeys([[]])
    it["new"] = {"k": [1]}
    it[[]] = 1
    it[{}] = 1
    it[([],)] = 1
    it[0:1]
    make(a=1, b=[2])
    make({"a": 1}, a=2, b=3)
    it < {}
    it < it
    it + it
    it == 5
    it == [("a", 1)]
    5 == it
    [] in it
    {} in it
    """),
)
def test_dict(both, line):
    for content in ITEMS:
        both(dict, content).run(line)


@pytest.mark.parametrize(
    "line",
    lines("""
    it[key]
    it[key] = "new"
    del it[key]
    key in it
    it.get(key)
    it.get(key, [5])
    it.pop(key)
    it.pop(key, [5])
    it.pop(key, None)
    it.setdefault(key)
    it.setdefault(key, [5])
    key in it.keys()
    (key, 1) in it.items()
    (key, [1, {"c": 2}]) in it.items()
    """),
)
def test_dict_key(both, line):
    for content in ITEMS:
        for key in KEYS:
            both(dict, content).run(line, key=key)
    for key in ([], {}, {1}, (1, [])):
        both(dict, {"a": 1}).run(line, key=key)


@pytest.mark.parametrize(
    "line",
    lines("""
    key in it
    it.get(key, 5)
    it.pop(key, 5)
    it[key]
    del it[key]
    """),
)
def test_dict_has_no_keys_that_are_no_json(both, line):
    for key in (b"a", frozenset(), (b"",), object(), float("nan")):
        both(dict, {"a": 1}).run(line, key=key)


@pytest.mark.parametrize(
    "line", ["make(_)", "it.update(_)", "it |= _", "it | _", "_ | it", "it == _", "_ == it"]
)
def test_dict_and_other_sources_of_items(both, line):
    for content in ITEMS:
        for source in [*SOURCES, *PAIRS, *NO_PAIRS]:
            both(dict, content).run(line.replace("_", source), Counter=Counter)


@pytest.mark.parametrize("view", ["keys", "items"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_dict_views_are_sets(both_blocking, view, operator):
    ours = f"it.{view}()", f"make(b=1, a=1).{view}()"
    for content in [{}, {"a": 1}, {"b": 1, "a": 2}]:
        for other in (*ours, "set()", "{'a'}", "{('a', 1)}", "['a']", "'ab'", "5"):
            both_blocking(dict, content).run(f"it.{view}() {operator} {other}")
            both_blocking(dict, content).run(f"{other} {operator} it.{view}()")
            both_blocking(dict, content).run(f"it.{view}().isdisjoint({other})")


@pytest.mark.parametrize("view", ["keys", "values", "items"])
def test_dict_views_are_live_and_measured(both_blocking, view):
    pair = both_blocking(dict, {"a": 1})
    views = getattr(pair.builtin, view)(), getattr(pair.ours, view)()

    pair.run("it.update(b=2)")

    assert shape(views[1]) == shape(views[0])
    assert len(views[1]) == len(views[0]) == 2
    assert dict(views[1].mapping) == dict(views[0].mapping)
    with pytest.raises(TypeError):
        views[1].mapping["c"] = 3
    assert (1 in views[1]) == (1 in views[0])


@pytest.mark.parametrize(
    "line",
    lines("""
    it.get()
    it.get(1, 2, 3)
    it.get(key="a")
    it.get("a", default=1)
    it.pop()
    it.pop(1, 2, 3)
    it.pop(key="a")
    it.setdefault()
    it.setdefault("a", default=1)
    it.popitem(1)
    it.clear(1)
    it.copy(1)
    it.keys(1)
    it.update({}, {})
    it.fromkeys()
    it.__getitem__()
    make({}, {})
    """),
)
def test_dict_refuses_wrong_arguments(both, line):
    same_kind_of_error(both(dict, {"a": 1}), line)


# --- Counter

COUNTS = [
    {},
    {"a": 3, "b": 1},
    {"a": -2, "b": 0, "c": 2, "d": 5},
    {"a": 10**20, "b": -(10**17), "z": 2.5, 1: 1, None: -0.5, (1, 2): 7},
]
OPERANDS = [
    *(
        "Counter()",
        "Counter('abz')",
        "Counter(a=-5, b=2, z=0)",
        "Counter(a=0.5)",
        "Counter(b=10**20)",
    ),
    *("make()", "make('abz')", "make(a=-5, z=2)", "it"),
]


@pytest.mark.parametrize(
    "line",
    lines("""
    it
    len(it)
    bool(it)
    it.total()
    it.most_common()
    it.most_common(2)
    it.most_common(0)
    it.most_common(-1)
    it.most_common(99)
    it.most_common(n=1)
    it.most_common(None)
    it.copy()
    it.clear()
    it.popitem()
    +it
    -it
    hash(it)
    list(reversed(it))
    "a" in it
    "zz" in it
    [] in it
    it["a"]
    it["zz"]
    it[b""]
    it[[]]
    it["a"] += 1
    it["zz"] -= 1
    it["a"] = 7.5
    del it["a"]
    del it["zz"]
    del it[[]]
    it.pop("a")
    it.pop("zz")
    it.pop("zz", 5)
    it.get("a")
    it.get("zz")
    it.get("zz", 5)
    it.setdefault("a", 5)
    it.setdefault("zz", 5)
    it.update()
    it.update(None)
    it.update("abaz")
    it.update(["a", ("t",), None, 1])
    it.update({"a": 5, "z": -3})
    it.update({"a": 0.25})
    it.update({"a": 10**20, "b": 1})
    it.update(a=1, z=2)
    it.update("ab", a=1)
    it.update(make("ab"))
    it.update(it)
    it.update({})
    it.update(iterable=3)
    it.update({"a": 0})
    it.subtract()
    it.subtract(None)
    it.subtract("abaz")
    it.subtract({"a": 5, "z": -3})
    it.subtract({"a": 0.25})
    it.subtract({"a": "x"})
    it.subtract({"a": None})
    it.subtract({"a": 10**20, "b": 1})
    it.subtract(a=1, z=2)
    it.subtract("ab", a=1)
    it.subtract(make("ab"))
    it.subtract(it)
    it.subtract(iterable=3)
    it.update([[]])
    it.subtract([{}])
    it.update(5)
    it.subtract(5)
    it.fromkeys("ab")
    make("abca")
    make({"a": 5}, b=1, a=2)
    make(a=1)
    make(None)
    make(5)
    make([[]])
    it.keys() & {"a"}
    it.values()
    it.items()
    it + 5
    it - {"a": 1}
    it & {"a"}
    5 + it
    it += 5
    it += {"a": 1}
    it -= {"a": 1}
    it |= {"a": 1}
    it < 5
    it == 5
    it == {"a": 3, "b": 1}
    {"a": 3, "b": 1} == it
    it <= {"a": 5}
    """),
)
def test_counter(both, line):
    for content in COUNTS:
        both(Counter, content).run(line)


def test_counter_elements(both):
    for content in COUNTS[:3]:
        both(Counter, content).run("it.elements()")
    with pytest.raises(TypeError, match="'float' object cannot be interpreted as an integer"):
        list(both(Counter, {"a": 2.5}).ours.elements())


@pytest.mark.parametrize("operator", ["+", "-", "|", "&", "==", "!=", "<", "<=", ">", ">="])
def test_counter_operator(both, operator):
    for content in COUNTS:
        for other in OPERANDS:
            both(Counter, content).run(f"it {operator} {other}", Counter=Counter)
            both(Counter, content).run(f"{other} {operator} it", Counter=Counter)


@pytest.mark.parametrize("operator", ["+=", "-=", "|=", "&="])
def test_counter_operator_in_place(both, operator):
    for content in COUNTS:
        for other in OPERANDS:
            both(Counter, content).run(f"it {operator} {other}", Counter=Counter)


@pytest.mark.parametrize(
    "line",
    lines("""
    it.update({}, {})
    it.subtract({}, {})
    it.most_common(1, 2)
    it.total(1)
    it.elements(1)
    make({}, {})
    """),
)
def test_counter_refuses_wrong_arguments(both, line):
    same_kind_of_error(both(Counter, "ab"), line)


# --- all of them

EXAMPLES = [
    (list, [1, [2]]),
    (set, ["a", 1]),
    (dict, {"a": [1]}),
    (deque, [1, [2]], 5),
    (Counter, {"a": 1}),
]


@pytest.mark.parametrize(("kind", "content"), [(kind, content) for kind, *content in EXAMPLES])
@pytest.mark.parametrize("make_copy", [copy.copy, copy.deepcopy, lambda it: it.copy()])
def test_copy_is_another_container_with_the_same_content(both_blocking, kind, content, make_copy):
    pair = both_blocking(kind, *content)

    twin = make_copy(pair.ours)
    pair.ours.clear()

    assert type(twin) is type(pair.ours)
    assert twin.key != pair.ours.key
    assert shape(twin) == shape(pair.builtin)


@pytest.mark.parametrize(("kind", "content"), [(kind, content) for kind, *content in EXAMPLES])
def test_subclass_works_where_its_base_does(redis, kind, content):
    class One(TYPES[kind]):
        pass

    class Other(TYPES[kind]):
        pass

    one, other = (cls(*content, redis=redis) for cls in (One, Other))
    base = TYPES[kind](*content, redis=redis)
    builtin = kind(*content)

    assert one == other == base == builtin == one
    assert not one != other  # noqa: SIM202 - another operator
    for line in ("x <= y", "x >= y", "x < y", "x + y", "x | y", "x & y", "x - y", "x ^ y"):
        for left, right in ((one, other), (other, base), (base, one), (one, builtin)):
            expected = outcome(line, {"x": builtin, "y": builtin})
            found = outcome(line, {"x": left, "y": right})
            assert re.sub("One|Other", kind.__name__, repr(found)) == repr(expected), line


def builtin_name(kind: type) -> str:
    return kind.__name__


@pytest.mark.parametrize("kind", TYPES, ids=builtin_name)
def test_every_public_attribute_of_the_builtin_is_used_above(kind):
    text = inspect.getsource(sys.modules[__name__])
    used = {*re.findall(r"\bit\.(\w+)", text), *METHODS, *COMPARISONS, *UPDATES}

    assert {name for name in dir(kind) if not name.startswith("_")} <= used


@pytest.mark.parametrize("kind", MIRRORS, ids=builtin_name)
def test_every_method_of_the_builtin_is_there_or_it_is_said_why_not(kind):
    missing = {name for name in methods(kind) if is_absent(kind, name)}

    assert missing == {*ABSENT.get(kind, {})} & {*dir(kind)}


DIFFERING = [
    pytest.param(kind, differs.shown_by, id=f"{kind.__name__}.{name}")
    for kind, table in DIFFERENCES.items()
    for name, differs in table.items()
]


@pytest.mark.parametrize(("kind", "line"), DIFFERING)
def test_what_is_said_to_differ_does(redis, kind, line):
    theirs, ours = made(kind, redis)

    assert result(line, ours) != result(line, theirs)


@pytest.mark.parametrize("kind", MIRRORS, ids=builtin_name)
def test_what_is_compared_does_not_differ_before(redis, kind):
    theirs, ours = made(kind, redis)

    assert result("bool(it)", ours) == result("bool(it)", theirs)


def result(line: str, names: dict[str, Any]) -> Any:
    """Return what *line* gives, and what is in the container afterwards, if it is one."""
    it = names["it"]
    told = outcome(line, names)
    return told, shape(it) if isinstance(it, Iterable) else None


@pytest.mark.parametrize("kind", MIRRORS, ids=builtin_name)
def test_what_is_said_to_differ_is_in_both(kind):
    for name in DIFFERENCES[kind]:
        assert name in methods(kind)
        assert not is_absent(kind, name), name


@pytest.mark.parametrize("kind", MIRRORS, ids=builtin_name)
def test_what_the_builtin_sets_to_none_is_none(kind):
    for name in dir(kind):
        if getattr(kind, name) is None:
            assert getattr(MIRRORS[kind], name) is None, name


@pytest.mark.parametrize("kind", MIRRORS, ids=builtin_name)
def test_methods_take_the_arguments_of_the_builtins(kind):
    for name in dir(kind):
        ours = getattr(MIRRORS[kind], name, None)
        if name.startswith("_") or not callable(ours) or name in DIFFERENCES[kind]:
            continue
        try:
            theirs = inspect.signature(getattr(kind, name))
        except ValueError:
            continue  # some methods of C do not tell
        assert parameters(inspect.signature(ours)) == parameters(theirs), name


def parameters(signature: inspect.Signature) -> list[Any]:
    """Return of each parameter how it is given, by which name if by name, and if it need not be."""
    return [
        (
            parameter.kind,
            name if parameter.kind not in UNNAMED else None,
            parameter.default is parameter.empty,
        )
        for name, parameter in signature.parameters.items()
        if name != "self"
    ]


UNNAMED = {
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.VAR_KEYWORD,
}


@pytest.mark.parametrize("kind", TYPES)
def test_subclass_with_an_init_of_its_own_can_be_copied_and_combined(redis, kind):
    class Named(TYPES[kind]):
        def __init__(self, name, *, redis):
            super().__init__(redis=redis)
            self.name = name

    it = Named("x", redis=redis)
    assert it.copy() == kind()
    if kind in (list, deque):
        assert it + it == it * 2 == kind()
    elif kind is not Counter:
        assert it | it == kind()


@pytest.mark.parametrize("kind", TYPES)
def test_there_is_no_public_attribute_but_those_of_the_builtin_and_our_own(kind):
    own = {"redis", "key", "to_list", "to_set", "to_dict", "to_counter", "contains_many"}
    assert {name for name in dir(TYPES[kind]) if not name.startswith("_")} - {*dir(kind)} <= own


@pytest.mark.parametrize("kind", TYPES)
def test_pickle_is_refused_by_name(redis, kind):
    with pytest.raises(TypeError, match=f"cannot pickle '{TYPES[kind].__name__}' object"):
        pickle.dumps(TYPES[kind](redis=redis))


@pytest.mark.parametrize(("kind", "operator"), [(list, "+"), (deque, "+"), (set, "|")])
def test_builtin_that_is_changed_in_place_by_ours_becomes_another_name(redis, kind, operator):
    names = {"x": kind("a"), "it": TYPES[kind]("b", redis=redis)}
    before = names["x"]

    exec(f"x {operator}= it", names)

    assert type(names["x"]) is TYPES[kind]
    assert names["x"] == kind("ab")
    assert before == kind("a")
