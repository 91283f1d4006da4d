"""ContextTimer: how long something took."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class ContextTimer:
    """Measures elapsed time, in whole milliseconds, once.

    >>> with ContextTimer() as timer:
    ...     total = sum(range(1000))
    >>> 0 <= timer.elapsed() < 1000
    True

    It measures wall-clock time, not processor time, by a clock that never goes back, even if the
    system clock is changed. `async with` works, too.
    """

    def __init__(self) -> None:
        """Make a timer that is not started yet."""
        self._started: float | None = None
        self._stopped: float | None = None

    def start(self) -> None:
        """Start the timer.

        Raises RuntimeError if it was started before: a timer measures only once.
        """
        if self._stopped is not None:
            raise RuntimeError("timer was stopped already: use another one")
        if self._started is not None:
            raise RuntimeError("timer was started already")
        self._started = perf_counter()

    def stop(self) -> None:
        """Stop the timer, for good.

        Raises RuntimeError if it is not running.
        """
        now = perf_counter()
        if self._started is None:
            raise RuntimeError("timer was not started yet")
        if self._stopped is not None:
            raise RuntimeError("timer was stopped already")
        self._stopped = now

    def elapsed(self) -> int:
        """Return the milliseconds from the start until now, or until the stop.

        Raises RuntimeError if the timer was not started.
        """
        now = perf_counter() if self._stopped is None else self._stopped
        if self._started is None:
            raise RuntimeError("timer was not started yet")
        return round((now - self._started) * 1000)

    def __enter__(self) -> Self:
        """Start the timer."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the timer if it still runs; never hide an error of the block behind one of ours."""
        if self._stopped is None:
            self.stop()

    async def __aenter__(self) -> Self:
        """Start the timer."""
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        """Stop the timer."""
        self.__exit__()

    def __repr__(self) -> str:
        """Return whether the timer runs, and the time if it was started."""
        if self._started is None:
            return f"<{type(self).__name__} not started>"
        state = "running" if self._stopped is None else "stopped"
        return f"<{type(self).__name__} {state} elapsed={self.elapsed()}>"
