"""A function call as text: equal calls have the same text in every process, others do not.

The text of `f(5, "x", unit="kg")` is just that: the name of the function, then the arguments as
JSON, with keyword arguments sorted by name. It does not use `hash()`, which differs from process
to process, and is the same for -1 and -2. A value that JSON cannot express becomes an object with
the name of its class, `{"datetime.date": ["2020-02-29"]}`.

Arguments that Python considers equal have the same text, as in functools: 1, 1.0, True, Decimal(1)
and an IntEnum of 1 are all `1`. So an argument is treated as a str, an int and so on only if it
compares like one. Finer than Python: tuples of different classes differ, and so do the two times
that look the same when a clock is put back. Coarser: all NaNs are the same, although NaN equals
nothing, and so are classes with the same name.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag
from fractions import Fraction
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pottery._json import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# A longer text is replaced by a digest.
LONGEST = 200
# Bits of an integer that every Python writes in decimal, however low its limit is set.
DECIMAL_BITS = 2000
# Powers of ten up to which a Decimal has the text of the fraction that it equals. Beyond these,
# where that text would be huge, a Decimal shares its text with other Decimals only.
FRACTION_DIGITS = 400
MICROSECOND = timedelta(microseconds=1)


class NoTextError(TypeError):
    """The argument has no text: we do not know what makes it equal to another one."""


class CallKey:
    """Makes the text of each call of the function *name*.

    *typed* and *make_key* are those of `redis_cache`.
    """

    def __init__(
        self, name: str, *, typed: bool = False, make_key: Callable[..., object] | None = None
    ) -> None:
        self.name = name
        self.make_key = make_key
        self._spell = _spell_typed if typed else spell

    def __call__(self, args: Iterable[object], kwargs: Mapping[str, object]) -> str:
        """Return the text of a call with *args* and *kwargs*.

        Raises TypeError if an argument is not hashable or has no text.
        """
        if self.make_key is not None:
            return self._short(f"[{_made(self.make_key(*args, **kwargs))}]")
        try:
            texts = [self._spell(value) for value in args]
            if kwargs:
                texts += [f"{_word(name)}={self._spell(kwargs[name])}" for name in sorted(kwargs)]
        except NoTextError as error:
            raise TypeError(
                f"{self.name}() cannot be cached by an argument of type {error}: "
                "give redis_cache a make_key= that turns the arguments into JSON"
            ) from None
        return self._short(f"({', '.join(texts)})")

    def _short(self, call: str) -> str:
        if len(call) <= LONGEST:
            return self.name + call
        return f"{self.name}#{digest(call)}"


def digest(text: str) -> str:
    """Return 64 characters that stand for *text* and no other."""
    return blake2b(text.encode(errors="surrogatepass"), digest_size=32).hexdigest()


def _word(name: str) -> str:
    return name if name.isidentifier() else encode(name)


def _made(key: object) -> str:
    return f'b"{key.hex()}"' if isinstance(key, bytes) else encode(key)


def spell(value: object) -> str:
    """Return the text of one argument; TypeError if it is not hashable or has no text."""
    speller = _SPELLERS.get(type(value))
    return _speller_of(value)(value) if speller is None else speller(value)


def _spell_typed(value: object) -> str:
    return _tagged(_name(type(value)), [spell(value)])


def _speller_of(value: object) -> Callable[[Any], str]:
    hash(value)  # for its error, the one that functools gives
    kind = type(value)
    base = next((base for base in kind.__mro__ if base in _SPELLERS), None)
    if base is not None and _compare_alike(kind, base):
        return _spell_named_tuple if base is tuple else _SPELLERS[base]
    if _is_frozen_dataclass(kind):
        return _spell_dataclass
    raise NoTextError(_name(kind))


def _compare_alike(kind: Any, base: Any) -> bool:
    return (kind.__eq__, kind.__hash__) == (base.__eq__, base.__hash__)


def _is_frozen_dataclass(kind: Any) -> bool:
    params: Any = getattr(kind, "__dataclass_params__", None)
    return params is not None and params.frozen and params.eq and _compares_fields(kind)


def _compares_fields(kind: Any) -> bool:
    # `@dataclass` keeps an `__eq__` that the class defines; its own was not compiled from a file.
    code = getattr(kind.__eq__, "__code__", None)
    return code is not None and code.co_filename == "<string>"


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _tagged(name: str, texts: Iterable[str]) -> str:
    return f"{{{encode(name)}: [{', '.join(texts)}]}}"


# --- numbers, which are equal across types


def _spell_int(value: int) -> str:
    if value.bit_length() <= DECIMAL_BITS:
        return int.__repr__(value)
    return _tagged("int", [f'"{value:#x}"'])


def _spell_float(value: float) -> str:
    return _spell_int(int(value)) if float.is_integer(value) else encode(float(value))


def _spell_complex(value: complex) -> str:
    if not value.imag:
        return _spell_float(value.real)
    return _tagged("complex", [_spell_float(value.real), _spell_float(value.imag)])


def _spell_decimal(value: Decimal) -> str:
    if value.is_nan():
        hash(value)  # raises if the NaN is a signaling one
        return _tagged("decimal.Decimal", [encode(str(value))])
    if value.is_infinite():
        return encode(float(value))
    if not value or abs(value.adjusted()) <= FRACTION_DIGITS:
        return _spell_fraction(Fraction(value))
    sign, digits, _ = value.as_tuple()
    written = "".join(map(str, digits)).rstrip("0")
    return _tagged("decimal.Decimal", [f'"{"-" * sign}{written}E{value.adjusted()}"'])


def _spell_fraction(value: Fraction) -> str:
    if value.denominator == 1:
        return _spell_int(value.numerator)
    try:
        real = float(value)
    except OverflowError:
        real = 0.0
    if real == value:
        return encode(real)
    return _tagged("fraction", map(_spell_int, (value.numerator, value.denominator)))


# --- texts and containers


def _spell_bytes(value: bytes) -> str:
    return _tagged("bytes", [f'"{bytes(value).hex()}"'])


def _spell_str(value: str) -> str:
    return encode(str.__str__(value))


def _spell_tuple(value: tuple[object, ...]) -> str:
    return f"[{', '.join(map(spell, value))}]"


def _spell_named_tuple(value: tuple[object, ...]) -> str:
    return _tagged(_name(type(value)), map(spell, value))


def _spell_frozenset(value: frozenset[object]) -> str:
    return _tagged("frozenset", sorted(map(spell, value)))


def _spell_dataclass(value: Any) -> str:
    compared = [getattr(value, field.name) for field in fields(value) if field.compare]
    return _tagged(_name(value.__class__), map(spell, compared))


def _spell_enum(value: Enum) -> str:
    # Not every Python gives a combination of flags a name.
    member = spell(value.value) if isinstance(value, Flag) else encode(value.name)
    return _tagged(_name(type(value)), [member])


def _spell_class(value: type) -> str:
    return _tagged("type", [encode(_name(value))])


# --- times: with a time zone, those of the same instant are equal


def _spell_datetime(value: datetime) -> str:
    offset = value.utcoffset()
    if offset is not None and value.replace(fold=1 - value.fold).utcoffset() == offset:
        with suppress(OverflowError):  # would be before the year 1, or after 9999
            value = value.astimezone(timezone.utc)
    return _tagged("datetime.datetime", [f'"{datetime.isoformat(value)}"'])


def _spell_date(value: date) -> str:
    return _tagged("datetime.date", [f'"{date.isoformat(value)}"'])


def _spell_time(value: time) -> str:
    offset = value.utcoffset()
    if offset is None:
        return _tagged("datetime.time", [f'"{time.isoformat(value.replace(tzinfo=None))}"'])
    hours = timedelta(hours=value.hour, minutes=value.minute, seconds=value.second)
    clock = hours + value.microsecond * MICROSECOND - offset
    return _tagged("datetime.time", [_spell_int(clock // MICROSECOND)])


def _spell_timedelta(value: timedelta) -> str:
    return _tagged("datetime.timedelta", [_spell_int(value // MICROSECOND)])


def _spell_uuid(value: UUID) -> str:
    return _tagged("uuid.UUID", [f'"{value.hex}"'])


_SPELLERS: dict[type, Callable[[Any], str]] = {
    str: _spell_str,
    int: _spell_int,
    bool: {False: "0", True: "1"}.__getitem__,
    float: _spell_float,
    complex: _spell_complex,
    Decimal: _spell_decimal,
    Fraction: _spell_fraction,
    type(None): encode,
    bytes: _spell_bytes,
    tuple: _spell_tuple,
    frozenset: _spell_frozenset,
    datetime: _spell_datetime,
    date: _spell_date,
    time: _spell_time,
    timedelta: _spell_timedelta,
    UUID: _spell_uuid,
    Enum: _spell_enum,
    type: _spell_class,
}
