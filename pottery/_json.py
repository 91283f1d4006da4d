"""JSON as pottery stores it: the same bytes as `json.dumps(value, sort_keys=True)`, but faster.

There are two kinds of places. A *value* may be anything that JSON can express. A *key* (of a dict,
a set, a counter) must also be hashable, as in Python: there, arrays come back as tuples, and NaN,
which equals nothing, is refused.
"""

from __future__ import annotations

from contextlib import suppress
from inspect import iscoroutinefunction
from itertools import chain
from json import JSONDecodeError, JSONDecoder, JSONEncoder
from json.encoder import encode_basestring_ascii
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence


class PotteryEncoder(JSONEncoder):
    """A `json.JSONEncoder` that writes containers as JSON: `json.dumps(x, cls=PotteryEncoder)`.

    A RedisDict or RedisCounter becomes an object, a RedisList or RedisDeque an array. Each is read
    from Redis in pages; 1 round trip per 1000 items. Their asynchronous twins cannot be read here.
    """

    def default(self, o: Any) -> Any:
        """Return the builtin that stands for *o*."""
        for spell_out in ("to_dict", "to_list"):
            method = getattr(o, spell_out, None)
            if method is not None and not iscoroutinefunction(method):
                return method()
        return super().default(o)


_ENCODE = PotteryEncoder(sort_keys=True).encode
_DECODER = JSONDecoder()
_LITERALS = {True: "true", False: "false"}
# A JSON string contains no raw line break, so no string can extend over this separator ...
_LINE = b",\n"
# ... and nothing at all can extend over this one unseen, since it is random: see decode_many.
_FENCE = uuid4().hex[:8]
_FENCED = f',\n"{_FENCE}",'.encode()


def _encode_float(value: float) -> str:
    return float.__repr__(value) if isfinite(value) else _ENCODE(value)


# By exact type: subclasses (IntEnum, a str with its own __repr__) are left to the encoder.
_SCALARS: dict[type, Callable[[Any], str]] = {
    str: encode_basestring_ascii,
    int: repr,
    bool: _LITERALS.__getitem__,
    type(None): lambda _: "null",
    float: _encode_float,
}
# Many values of one of these types can be encoded by a loop in C.
_PLAIN: dict[type, Callable[[Any], str]] = {kind: _SCALARS[kind] for kind in (str, int)}


def encode(value: object) -> str:
    """Return the JSON text of *value*; TypeError if it is not JSON serializable."""
    scalar = _SCALARS.get(type(value))
    if scalar is not None:
        return scalar(value)
    try:
        text = _ENCODE(value)
    except TypeError as error:
        raise TypeError(f"{error}{_fault(value)}") from None
    if text.count('"NaN": ') > 1:
        _refuse_twins(value)
    return text


def _fault(value: Any, place: str = "") -> str:
    """Return the place in *value* of what is not JSON serializable, '' if that is *value*."""
    items: Iterable[tuple[object, Any]] = ()
    if isinstance(value, (list, tuple)):
        items = enumerate(cast("list[Any]", value))
    elif isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
    for key, item in items:
        if not _is_spelled(item):
            return _fault(item, f"{place or ', at value'}[{key!r}]")
    return place


def _is_spelled(value: object) -> bool:
    with suppress(TypeError):
        return bool(_ENCODE(value))
    return False


def encode_many(values: Iterable[object]) -> list[str]:
    """Return the JSON texts of many values; errors are those of `encode`."""
    return _each(encode, values)


def _each(spell: Callable[[object], str], given: Iterable[object]) -> list[str]:
    values = list(chain(given))  # not list(given), which trusts any length hint
    kinds = set(map(type, values))
    if len(kinds) == 1:
        spell = _PLAIN.get(kinds.pop(), spell)
    return list(map(spell, values))


def alternate(keys: Collection[Any], values: Collection[Any]) -> list[Any]:
    """Return keys and values alternately, as commands take them."""
    both: list[Any] = [None] * (2 * len(keys))
    both[::2], both[1::2] = keys, values  # in C; ValueError if the lengths differ
    return both


def _refuse_twins(value: Any) -> None:
    # Of the keys that differ in Python but not in JSON, only NaNs get past sort_keys.
    items: Iterable[Any] = ()
    if type(value) in (list, tuple):
        items = value
    elif hasattr(value, "keys"):
        items = value.values()
        if sum(map(_has_nan, value.keys())) > 1:
            raise TypeError("keys of a mapping must differ once they are JSON; NaN occurs twice")
    for item in items:
        _refuse_twins(item)


def encode_key(value: object) -> str:
    """Return the JSON text of *value* for a place where Python wants something hashable.

    Raises TypeError if it is not hashable, would not come back hashable, or is not JSON
    serializable, and ValueError if it is NaN.
    """
    if type(value) is str:
        return encode_basestring_ascii(value)
    text = encode_element(value)
    if "{" in text:  # from a hashable subclass of dict, say
        hash(freeze(_DECODER.decode(text)))
    return text


def encode_keys(values: Iterable[object]) -> list[str]:
    """Return the JSON texts of many keys; errors are those of `encode_key`."""
    return _each(encode_key, values)


def encode_element(value: object) -> str:
    """Return the JSON text of *value* like `encode_key`, for places that are never read back."""
    if type(value) is str:
        return encode_basestring_ascii(value)
    hash(value)
    if _has_nan(value):
        raise ValueError("NaN equals nothing, not even itself: it cannot be a key or member")
    return encode(value)


def encode_elements(values: Iterable[object]) -> list[str]:
    """Return the JSON texts of many elements; errors are those of `encode_element`."""
    return _each(encode_element, values)


def find_key(value: object) -> str | None:
    """Return the JSON text under which *value* would be found, None if it cannot be stored.

    Raises TypeError if it is not hashable, as a look-up in a dict does.
    """
    if type(value) is str:
        return encode_basestring_ascii(value)
    hash(value)
    try:
        return encode_element(value)
    except (TypeError, ValueError, RecursionError):
        return None


def find_keys(values: Iterable[object]) -> list[str | None]:
    """Return what `find_key` returns for each of *values*."""
    values = list(chain(values))
    try:
        return [*encode_elements(values)]
    except (TypeError, ValueError, RecursionError):
        return list(map(find_key, values))


def _has_nan(value: Any) -> bool:
    if isinstance(value, float):
        return isnan(value)
    return isinstance(value, tuple) and any(map(_has_nan, cast("tuple[Any, ...]", value)))


def spellings(value: object) -> tuple[str, ...] | None:
    """Return every JSON text of a scalar that equals *value*, None if *value* is not one.

    >>> spellings(1)
    ('1', '1.0', 'true')
    """
    if value is None or type(value) is str:
        return (encode(value),)
    if type(value) not in (int, float, bool):
        return None
    try:
        return tuple(_number_spellings(cast("float", value)))
    except ValueError:  # an integer too long for Python to write
        return ()


def _number_spellings(value: float) -> Iterable[str]:
    # Python compares numbers by value: 1 == 1.0 == True, and 0 == -0.0 == False.
    if isinstance(value, float) and not value.is_integer():
        return [] if isnan(value) else [encode(value)]
    whole = int(value)
    texts = [encode(whole)]
    try:
        real = float(whole)
    except OverflowError:
        return texts
    if real == whole:
        texts += [encode(real)] if real else ["0.0", "-0.0"]
    return [*texts, _LITERALS[bool(whole)]] if whole in (0, 1) else texts


def decode(raw: bytes) -> Any:
    """Return the value of the JSON text *raw*; ValueError or RecursionError if that fails."""
    text = raw.decode()
    try:
        value, end = _DECODER.raw_decode(text)
    except JSONDecodeError:
        return _DECODER.decode(text)
    return value if end == len(text) else _DECODER.decode(text)


def decode_many(raws: Sequence[bytes]) -> list[Any]:
    """Return the values of many JSON texts by one call of the decoder; errors as in `decode`.

    Texts that are broken, but JSON when joined (`1,2`, or `[1` and then `2]`), must be refused. If
    there are no brackets, it is enough to count the values. Otherwise a random string is put
    between the texts: it appears between all values if and only if each text is one JSON value.
    """
    joined = _LINE.join(raws)
    if b"[" not in joined and b"{" not in joined:
        values = _decode_array(joined)
        fenced = True
    else:
        values = _decode_array(_FENCED.join(raws))
        fenced = values[1::2].count(_FENCE) == len(values) // 2 == len(raws) - 1
        values = values[::2]
    if not fenced or len(values) != len(raws):
        raise ValueError("the texts are not one JSON value each")
    return values


def _decode_array(joined: bytes) -> list[Any]:
    values: list[Any] = _DECODER.decode(f"[{joined.decode()}]")
    return values


def freeze(value: Any) -> Any:
    """Return *value* with its lists as tuples, so that it is hashable again."""
    return tuple(map(freeze, cast("list[Any]", value))) if isinstance(value, list) else value
