"""What keys are: which container keeps its data there, as far as Redis can tell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from pottery._cli._server import first_of
from pottery._json import decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pottery._cli._server import Command, Server

_BESIDE = re.compile(
    rb"(.+?)~(?:(?:flight|landing):[\da-f]{32}|bell|ends|fence|reserved|returned|scratch|waiting|[\da-f]{32})",
    re.DOTALL,
)
_TEMPORARY = re.compile(rb"pottery:(?:\{\d+\}:)?[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}")
_CALL = re.compile(r"[^\W\d][\w.<>]*\(.*\)\Z", re.DOTALL)
LOCK, ID = b"redlock:", b"nextid:"
# The kind of a key that belongs to another one.
COMPANION = "companion"
# For keys of each type, the command for the size, and one that reads a little of the content.
_LOOKS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "hash": (("HLEN",), ("HRANDFIELD", "3")),
    "list": (("LLEN",), ()),
    "set": (("SCARD",), ()),
    "stream": (("XLEN",), ("XRANGE", "-", "+", "COUNT", "1")),
    "string": (("STRLEN",), ("GETRANGE", "0", "3")),
    "zset": (("ZCARD",), ()),
}


class Key(NamedTuple):
    """A key: *ttl* in seconds, None for ever; *size* in elements or bytes, None if unknown."""

    name: bytes
    type: str
    kind: str
    size: int | None
    ttl: float | None

    @property
    def is_temporary(self) -> bool:
        """Whether a container has chosen its name, since none was given."""
        return _TEMPORARY.fullmatch(self.name) is not None

    @property
    def is_in_bytes(self) -> bool:
        """Whether its size is in bytes."""
        return self.type == "string"


def owner_of(name: bytes) -> bytes | None:
    """Return the key to which *name* belongs as a companion, None if it is no companion."""
    match = _BESIDE.fullmatch(name)
    if match is None:
        return None
    owner = match[1]
    is_braced = owner.startswith(b"{") and owner.endswith(b"}") and owner.count(b"}") == 1
    return owner[1:-1] if is_braced else owner  # as companions are named in a cluster


def described(server: Server, names: Sequence[bytes]) -> list[Key]:
    """Return what *names* are, without those that are gone; two round trips."""
    commands: list[Command] = [(word, name) for name in names for word in ("TYPE", "PTTL")]
    replies = server.ask_all(commands)
    found = [
        (name, _type(kind), None if _failed(ttl) or ttl < 0 else ttl / 1000)
        for name, kind, ttl in zip(names, replies[::2], replies[1::2], strict=True)
        if kind != b"none"
    ]
    looks = server.ask_all([step for name, kind, _ in found for step in _looks(name, kind)])
    return [_described(name, kind, ttl, looks) for name, kind, ttl in found]


def _looks(name: bytes, kind: str) -> list[Command]:
    size, glance = _LOOKS.get(kind, ((), ()))
    commands: list[Command] = [(*size, name)] if size else []
    if glance:
        commands.append((glance[0], name, *glance[1:]))
    return commands


def _described(name: bytes, kind: str, ttl: float | None, looks: list[Any]) -> Key:
    """Take the replies about this key from the beginning of *looks*."""
    replies = [looks.pop(0) for _ in _looks(name, kind)]
    size = first_of(replies)
    glance = first_of(replies[1:])
    return Key(name, kind, kind_of(name, kind, glance, ttl), size, ttl)


def _type(reply: Any) -> str:
    return "?" if _failed(reply) else str(reply.decode())


def _failed(reply: object) -> bool:
    return isinstance(reply, Exception)


def kind_of(name: bytes, kind: str, glance: Any, ttl: float | None) -> str:
    """Return which container a key of type *kind* belongs to, or what it may be."""
    if owner_of(name) is not None:
        return COMPANION
    if kind == "hash":
        return _kind_of_hash(glance, ttl)
    if kind == "string":
        return _kind_of_string(name, glance)
    if kind == "stream":
        is_queue = not glance or (glance[0][1] or [b""])[0] == b"item"
        return "queue" if is_queue else "other stream"
    return {"list": "list or deque", "set": "set", "?": "?"}.get(kind, f"other {kind}")


def _kind_of_hash(glance: Any, ttl: float | None) -> str:
    if glance and not any(map(is_json, glance)):
        return "function cache" if all(map(is_call, glance)) else "other hash"
    return "dict or counter" if ttl is None else "dict, counter or cached dict"


def _kind_of_string(name: bytes, glance: Any) -> str:
    if name.startswith(LOCK):
        return "lock"
    if name.startswith(ID):
        return "ids"
    return "hyperloglog" if glance == b"HYLL" else "bloom filter or text"


def is_json(raw: bytes) -> bool:
    """Return whether *raw* is the JSON text of a value."""
    try:
        decode(raw)
    except (ValueError, RecursionError):
        return False
    return True


def is_call(raw: bytes) -> bool:
    """Return whether *raw* is a call as `redis_cache` spells it: `root(2)`."""
    return _CALL.match(raw.decode(errors="replace")) is not None
