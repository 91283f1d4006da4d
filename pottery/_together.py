"""Many callers served by one: what one of them asks of Redis, it asks for all who wait with it.

While an answer is on its way, further callers line up. The first of them then asks for all who are
in the line by that time. So nobody gets anything that was asked for before they came, and however
many they are, one command is on its way at a time.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from redis.exceptions import RedisError

from pottery._plan import Pause
from pottery.exceptions import PrimitiveError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pottery._plan import Steps

T = TypeVar("T")

# Seconds: whoever waits is always called.
_LONG = 3600.0
# What goes wrong for one goes wrong for all; anything else interrupts only whom it was meant for.
_FOR_ALL = (PrimitiveError, RedisError, ValueError, ArithmeticError)


class _Caller:
    """One caller in the line: how to wake it, and what it gets."""

    __slots__ = ("answer", "error", "signal")

    def __init__(self) -> None:
        self.answer: Any = None
        self.error: Exception | None = None
        self.signal: Any = None


class Together(Generic[T]):
    """A line of callers; *signal* makes what one of them can wait for, in the front's colour."""

    def __init__(self, signal: Callable[[], Any]) -> None:
        self._signal = signal
        self._mutex = Lock()
        self._line: dict[_Caller, None] = {}
        self._leader: _Caller | None = None

    def serve(self, ask: Callable[[int], Steps[Sequence[T]]]) -> Steps[T]:
        """Return one of the answers that *ask* gets, for as many callers as it is told."""
        caller = _Caller()
        try:
            self._enter(caller)
            while caller.signal and not caller.signal.is_set():
                yield Pause(_LONG, until=caller.signal)
            if self._leads(caller):
                yield from self._lead(ask)
        finally:
            self._leave(caller)
        if caller.error:
            raise caller.error
        answer: T = caller.answer
        return answer

    def _enter(self, caller: _Caller) -> None:
        with self._mutex:
            self._line[caller] = None
            if self._leader is None:
                self._leader = caller
            else:
                caller.signal = self._signal()

    def _leads(self, caller: _Caller) -> bool:
        with self._mutex:
            return self._leader is caller

    def _lead(self, ask: Callable[[int], Steps[Sequence[T]]]) -> Steps[None]:
        with self._mutex:
            group = list(self._line)
        try:
            answers = yield from ask(len(group))
        except _FOR_ALL as error:
            for caller in group:
                caller.error = error
        else:
            for caller, answer in zip(group, answers, strict=True):
                caller.answer = answer
        with self._mutex:
            for caller in group:
                if caller.signal:
                    caller.signal.set()
                self._line.pop(caller, None)

    def _leave(self, caller: _Caller) -> None:
        try:
            self._step_out(caller)
        except BaseException:
            self._step_out(caller)  # interrupted on the way; nobody else can do it
            raise

    def _step_out(self, caller: _Caller) -> None:
        with self._mutex:
            self._line.pop(caller, None)
            if self._leader is caller:
                heir = next(iter(self._line), None)
                if heir:
                    heir.signal.set()
                self._leader = heir
