"""Many callers served together: one of them asks Redis on behalf of all who are waiting.

While a reply is on its way, further callers line up. The first of them then asks for all who are
in the line by then. So no caller gets an answer to a request that was sent before it came, and
however many callers there are, only one command is on its way at a time.
"""

from __future__ import annotations

from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from redis.exceptions import RedisError

from pottery._plan import Pause
from pottery.exceptions import PrimitiveError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pottery._plan import Steps

T = TypeVar("T")

# Seconds: as long as we like, since a caller that waits is always woken.
_LONG = 3600.0
# Errors that concern all callers; any other, such as an interrupt, concerns one of them only.
_FOR_ALL = (PrimitiveError, RedisError, ValueError, ArithmeticError)


class Bell:
    """Rings once, for one thread. Unlike an Event, it is not left broken by an interrupt."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()

    def is_set(self) -> bool:
        return not self._lock.locked()

    def set(self) -> None:
        with suppress(RuntimeError):  # it has already rung
            self._lock.release()

    def wait(self, seconds: float) -> None:
        if self._lock.acquire(timeout=seconds):
            self._lock.release()


class _Caller:
    """One caller in the line: the bell that wakes it if it waits, and its answer or error."""

    __slots__ = ("answer", "bell", "error")

    def __init__(self) -> None:
        self.answer: Any = None
        self.error: Exception | None = None
        self.bell: Any = None


class Together(Generic[T]):
    """A line of callers; *make_bell* makes a bell for one of them, in the front's colour."""

    def __init__(self, make_bell: Callable[[], Any]) -> None:
        self._make_bell = make_bell
        self._mutex = Lock()
        self._line: dict[_Caller, None] = {}
        self._leader: _Caller | None = None

    def serve(self, ask: Callable[[int], Steps[Sequence[T]]]) -> Steps[T]:
        """Return the caller's answer; *ask* is told how many answers are needed, and gets them."""
        caller = _Caller()
        try:
            self._enter(caller)
            while caller.bell and not caller.bell.is_set():
                yield Pause(_LONG, until=caller.bell)
            if self._leads(caller):
                yield from self._lead(ask)
        finally:
            try:
                self._leave(caller)
            except BaseException:
                self._leave(caller)  # most likely interrupted before it began
                raise
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
                caller.bell = self._make_bell()

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
                if caller.bell:
                    caller.bell.set()
                self._line.pop(caller, None)

    def _leave(self, caller: _Caller) -> None:
        with self._mutex:
            self._line.pop(caller, None)
            if self._leader is caller:
                heir = next(iter(self._line), None)
                if heir:
                    heir.bell.set()
                self._leader = heir
