"""A Lua script as a step: one round trip, atomic, its text constant and its data in ARGV.

Scripts keep to what Redis 6.2 to 8, Valkey and Lua 5.1 to 5.4 share. They check first and write
last, since Redis rolls nothing back; they push first and trim afterwards where they can, so that
the key does not vanish in between and keeps its expiry. Values are opaque: `cjson` is never used,
since it changes big integers, floats and empty arrays.
"""

from __future__ import annotations

import re
from hashlib import sha1
from typing import TYPE_CHECKING, Any, overload

from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError

from pottery._plan import Op, same
from pottery._poll import Poll
from pottery._wire import FAILURES
from pottery.exceptions import OutcomeUnknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pottery._plan import Steps, T
    from pottery._wire import Argument

# For scripts to use: gives a command many arguments, in calls of a size that unpack() can handle.
_PRELUDE = """
local unpack = table.unpack or unpack
local function spread(command, key, values, first)
  for i = first or 1, #values, 5000 do
    redis.call(command, key, unpack(values, i, math.min(i + 4999, #values)))
  end
end
"""

# For scripts that compute: whether a text is an integer in normal form that doubles hold exactly.
IS_SHORT = """
local function is_short(text)
  return #text <= 15 and (text == '0' or text:find('^-?[1-9]%d*$') ~= nil)
end
"""

# Errors that redis-py has a class for. Before Redis 7.0, a longer text surrounds them.
_TOLD = re.compile(r"^Error running script .*? -(OOM|READONLY) ", re.DOTALL)
_KINDS = {"OOM": OutOfMemoryError, "READONLY": ReadOnlyError}


class Script:
    """A Lua script; calling it with keys and arguments gives the plan that runs it.

    The first line of *text* names KEYS, ARGV and the result. *repeatable* and *writes* are as
    for an `Op`.
    """

    def __init__(self, text: str, *, repeatable: bool = False, writes: bool = False) -> None:
        needs_prelude = "spread(" in text or "unpack(" in text
        self.text = _PRELUDE + text if needs_prelude else text
        self.how = {"repeatable": repeatable, "writes": writes}
        self._digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    @overload
    def __call__(
        self, keys: Sequence[str | bytes], args: Iterable[Argument] = ()
    ) -> Steps[Any]: ...
    @overload
    def __call__(
        self, keys: Sequence[str | bytes], args: Iterable[Argument], read: Callable[[Any], T]
    ) -> Steps[T]: ...
    def __call__(
        self,
        keys: Sequence[str | bytes],
        args: Iterable[Argument] = (),
        read: Callable[[Any], Any] = same,
    ) -> Steps[Any]:
        """Return the plan that runs the script on *keys* and reads its result."""
        data = (str(len(keys)), *keys, *args)
        try:
            try:
                reply = yield Op(("EVALSHA", self._digest, *data), same, **self.how)
            except NoScriptError:
                # Not SCRIPT LOAD: EVAL keeps the script as well, is one round trip less, and is
                # allowed to users who may not manage scripts.
                reply = yield Op(("EVAL", self.text, *data), same, **self.how)
            except OutcomeUnknown as unknown:
                if not isinstance(unknown.__cause__, NoScriptError):
                    raise
                try:
                    reply = yield Op(("EVAL", self.text, *data), same, **self.how)
                except FAILURES as error:  # which says nothing of the run before
                    raise unknown from error
        except ResponseError as error:
            raise _plain(error) from None
        return read(reply)

    def aside(
        self, client: Any, keys: Sequence[str | bytes], args: Iterable[Argument], seconds: float
    ) -> Steps[Any]:
        """Run the script by a `Poll` of *client*; return the reply, or the error that came."""
        data = (str(len(keys)), *keys, *args)
        (vote,) = yield from Poll((client,), ("EVALSHA", self._digest, *data), seconds)
        if isinstance(vote, NoScriptError):
            (vote,) = yield from Poll((client,), ("EVAL", self.text, *data), seconds)
        return vote


def _plain(error: ResponseError) -> ResponseError:
    """Return *error* as it would have been outside a script."""
    told = _TOLD.match(str(error))
    return _KINDS[told[1]](str(error)) if told else error
