"""Which calls have one text, and which never do; no server is needed."""

from __future__ import annotations

import enum
import itertools
import os
import subprocess
import sys
from collections import namedtuple
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pottery._call_key import LONGEST, CallKey

NAN = float("nan")
BERLIN = ZoneInfo("Europe/Berlin")
EAST = timezone(timedelta(hours=1))


class Number(enum.IntEnum):
    ONE = 1


class Word(str, enum.Enum):
    A = "a"


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Paint(enum.Enum):
    RED = 1


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Text(str):
    __slots__ = ()


class Shouted(str):
    """Compares in a way of its own."""

    __slots__ = ()

    def __eq__(self, other):
        return str.lower(self) == str.lower(other)

    def __hash__(self):
        return hash(str.lower(self))


Point = namedtuple("Point", "x y")  # noqa: PYI024 - the kind that is tested
Size = namedtuple("Size", "x y")  # noqa: PYI024


@dataclass(frozen=True)
class Fruit:
    name: str
    price: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Vegetable:
    name: str


@dataclass
class Changing:
    name: str

    __hash__ = object.__hash__


@dataclass(frozen=True, eq=False)
class Unlike:
    name: str


@dataclass(frozen=True)
class Named:
    """Compares in a way of its own, though the fields are frozen."""

    name: str

    def __eq__(self, other):
        return self is other

    def __hash__(self):
        return hash(self.name)


def text(*args, **kwargs):
    return CallKey("f")(args, kwargs)


EQUAL = [
    (1, 1.0, True, Decimal(1), Decimal("1.00"), Fraction(1), 1 + 0j, Number.ONE),
    (0, -0.0, 0.0, False, Decimal("-0E+1000"), Decimal("0E-1000"), 0j),
    (10**16, 1e16, Decimal("1E16")),
    (int(1e300), 1e300, Decimal(int(1e300))),
    (10**5000, int("1" + "0" * 4000) * 10**1000),
    (0.5, Decimal("0.5"), Fraction(1, 2)),
    (Decimal("0.1"), Fraction(1, 10), Decimal("0.10")),
    (Decimal("1E+1000"), Decimal("10E+999"), Decimal("1.000E+1000")),
    (float("inf"), Decimal("Infinity")),
    ("a", Text("a"), Word.A),
    ((1, (2, 3)), (1.0, (2, 3.0))),
    (frozenset({1, "a", (2,)}), frozenset([(2.0,), "a", True])),
    (Colour.RED, Colour(1)),
    (Rights.READ | Rights.WRITE, Rights.WRITE | Rights.READ),
    (Fruit("pear", 1), Fruit("pear", 2)),
    (datetime(2020, 1, 1, 12, tzinfo=timezone.utc), datetime(2020, 1, 1, 13, tzinfo=BERLIN)),
    (time(12, tzinfo=timezone.utc), time(13, tzinfo=EAST)),
    (timedelta(days=1), timedelta(hours=24)),
    (UUID(int=5), UUID("00000000-0000-0000-0000-000000000005")),
]
UNLIKE = [
    *(0, 1, -1, -2, 2**61 - 1, 10**16 + 1, 10**5000, -(10**5000), 1.5, 1j, -1j),
    *(float("inf"), -float("inf"), NAN, Decimal("NaN"), Decimal("0.1"), 0.1),
    *(Fraction(10**400, 3), Fraction(-(10**400), 3), Fraction(1, 10**400)),
    *(Decimal("1E+1000"), Decimal("-1E+1000"), Decimal("1E-1000"), 5e-324),
    *("1", "", "null", "NaN", "[1]", '"', "é", "\ud800", "x\ny", "(", ")"),
    *(b"", b"1", b"\xff", None, (), (1,), ((1,),), ("1",), (1, 2), (2, 1), (None,)),
    *(frozenset(), frozenset({1}), frozenset({(1,)}), frozenset({"1"})),
    *(Colour.RED, Colour.BLUE, Paint.RED, Rights.READ, Rights.READ | Rights.WRITE),
    *(Point(1, 2), Size(1, 2), Fruit("pear"), Vegetable("pear"), Fruit("plum")),
    *(int, str, Colour),
    *(
        date(2020, 1, 1),
        datetime.fromisoformat("2020-01-01"),
        datetime(2020, 1, 1, tzinfo=timezone.utc),
    ),
    *(time(12), time(12, tzinfo=timezone.utc), time(11, 59, 59, 999999)),
    datetime(2020, 10, 25, 2, 30, tzinfo=BERLIN),
    datetime(2020, 10, 25, 2, 30, fold=1, tzinfo=BERLIN),
    datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))),
    *(timedelta(1), timedelta(-1), UUID(int=5), UUID(int=6)),
    *("x" * LONGEST, "x" * (LONGEST + 1), "y" * (LONGEST + 1)),
]


@pytest.mark.parametrize("group", EQUAL, ids=range(len(EQUAL)))
def test_equal_arguments_have_one_text(group):
    assert len(set(group)) == 1, "Python calls them equal"
    assert len({text(value) for value in group}) == 1
    assert len({text(n=value) for value in group}) == 1


def test_unlike_arguments_have_texts_of_their_own():
    texts = [text(value) for value in UNLIKE]
    assert len(set(texts)) == len(texts)


def test_calls_of_many_shapes_have_texts_of_their_own():
    shapes = [((), {}), ((1,), {}), ((1, 2), {}), (((1, 2),), {}), ((), {"a": 1}), ((1,), {"a": 1})]
    shapes += [((), {"b": 1}), ((), {"a=1, b": 1}), ((), {"a": 1, "b": 1}), (("a=1",), {})]
    shapes += [((b"x",), {}), ((), {'{"bytes"': 1}), ((frozenset(),), {}), (("f()",), {})]
    texts = [text(*args, **kwargs) for args, kwargs in shapes]
    assert len(set(texts)) == len(texts)


def test_every_nan_is_one_argument():
    assert text(NAN) == text(float("-nan")) == text(float("nan") * 2)


def test_order_of_keyword_arguments_does_not_matter():
    assert text(1, a=1, b=2) == text(1, b=2, a=1) == "f(1, a=1, b=2)"


def test_text_reads_like_the_call():
    assert text(5, "x", unit="kg") == 'f(5, "x", unit="kg")'
    assert text(date(2020, 2, 29)) == 'f({"datetime.date": ["2020-02-29"]})'
    assert text((1, None)) == "f([1, null])"
    assert text(**{"a b": 1, "ß": 2}) == 'f("a b"=1, ß=2)'


def test_typed_arguments_differ_by_type_but_not_inside_of_tuples():
    typed = CallKey("f", typed=True)
    assert len({typed((value,), {}) for value in (1, 1.0, True, Number.ONE, Decimal(1))}) == 5
    assert len({typed((), {"n": value}) for value in (1, 1.0)}) == 2
    assert typed(((1,),), {}) == typed(((1.0,),), {})


def test_long_call_becomes_a_digest():
    key = text("x" * 10_000)
    assert key.startswith("f#")
    assert len(key) == len("f#") + 64
    assert text("x" * 10_000) == key != text("x" * 9_999)


@pytest.mark.parametrize("value", [[1], {}, {1}, (1, [2]), bytearray(b"x")])
def test_unhashable_argument_is_the_typeerror_of_functools(value):
    with pytest.raises(TypeError) as theirs:
        hash(value)
    with pytest.raises(TypeError) as ours:
        text(value)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (object(), "builtins.object"),
        (Shouted("a"), "Shouted"),
        (Changing("a"), "Changing"),
        (Unlike("a"), "Unlike"),
        (Named("a"), "Named"),
        (len, "builtin_function_or_method"),
        ((1, object()), "builtins.object"),
        (memoryview(b"x"), "memoryview"),
        (range(3), "range"),
    ],
)
def test_argument_without_a_text_is_typeerror_that_names_it_and_the_way_out(value, name):
    with pytest.raises(TypeError, match=rf"^f\(\) cannot be .*{name}: .* make_key=") as caught:
        text(1, n=value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_signaling_nan_is_refused_as_by_python():
    with pytest.raises(TypeError):
        hash(Decimal("sNaN"))
    with pytest.raises(TypeError):
        text(Decimal("sNaN"))


def test_made_key_stands_for_the_arguments():
    def made(value):
        return CallKey("f", make_key=lambda *args, **kwargs: value)((object(),), {"n": []})

    values = ["a", b"a", 1, 1.5, None, ["a"], {"a": 1}, {"bytes": ["61"]}, "b'61'", b"", ""]
    texts = [made(value) for value in values]
    assert len(set(texts)) == len(texts)
    assert not set(texts) & {text(value) for value in ("a", b"a", 1, None, ("a",))}
    assert made({"a": 1, "b": 2}) == made({"b": 2, "a": 1})
    with pytest.raises(TypeError):
        made(object())


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.decimals(allow_nan=False, places=2),
    st.fractions(),
    st.complex_numbers(allow_nan=False, allow_infinity=False),
    st.text(),
    st.binary(),
    st.dates(),
    st.datetimes(),
    st.timedeltas(),
    st.uuids(),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner).map(tuple) | st.frozensets(inner), max_leaves=5
)


@given(VALUES, VALUES)
def test_texts_are_equal_exactly_if_the_values_are(one, other):
    assert (text(one) == text(other)) is (one == other)


@given(st.lists(SCALARS, max_size=3), st.lists(SCALARS, max_size=3))
def test_texts_of_calls_are_equal_exactly_if_the_arguments_are(one, other):
    assert (text(*one) == text(*other)) is (one == other)


PROGRAM = """
import sys
from datetime import date
from pottery._call_key import CallKey
key = CallKey("f")
args = frozenset({"a", "b", 1, (2, "x"), None, b"y"}), "text", date(2020, 1, 1), int
print(key(args, {"z": "é", "a": frozenset("qwertz")}))
"""


def test_text_is_the_same_in_every_process():
    texts = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
        ).stdout
        for seed in (0, 1, 2, 12345)
    }
    assert len(texts) == 1


def test_groups_that_are_equal_do_not_meet_each_other():
    for one, other in itertools.combinations(EQUAL, 2):
        assert text(one[0]) != text(other[0])
