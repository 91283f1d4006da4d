"""Plans: each operation written once, performed by a blocking or by an asynchronous front.

An operation is a value. The smallest plan is an `Op`: one command and the reading of its reply,
so exactly one round trip. A longer plan is a generator that does `x = yield from Op(...)`: it
yields steps, is sent their replies, and returns the result. A front performs plans: see _front.py.
An error is thrown into the plan, at the `yield`; the plan may recover, or clean up and re-raise.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pottery._poll import Poll
    from pottery._wire import Argument

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Step: TypeAlias = "Op[Any] | Poll | Pause"
Steps: TypeAlias = "Generator[Any, Any, T]"
"""Yields steps, is sent their replies, returns a T."""


class Plan(Protocol[T_co]):
    """A step, or a generator that does `yield from Op(...)`."""

    def __iter__(self) -> Generator[Any, Any, T_co]:
        """Yield steps, be sent their replies, return the result."""
        ...


class Op(Generic[T]):
    """One command and the reading of its reply: exactly one round trip.

    *repeatable* says that a second run changes neither state nor answer, so the command may be
    sent again if its reply was lost. *writes* says that the first run changes state, so the caller
    must be told if no reply ever comes. *client* sends it; None means the front's own. *ahead* is
    another command to send just before it, in the same round trip; its reply does not matter.
    """

    __slots__ = ("ahead", "args", "client", "read", "repeatable", "writes")
    cursor: Cursor | None = None  # of a `Scan`

    def __init__(
        self,
        args: tuple[Argument, ...],
        read: Callable[[Any], T],
        *,
        repeatable: bool = False,
        writes: bool = False,
        client: Any = None,
    ) -> None:
        self.args = args
        self.read = read
        self.repeatable = repeatable
        self.writes = writes or not repeatable
        self.client = client
        self.ahead: tuple[Argument, ...] = ()

    def __iter__(self) -> Steps[T]:
        return self.read((yield self))

    def __repr__(self) -> str:
        return f"Op{self.args!r}"


class Cursor:
    """A place in a hash or set. It is meaningful only to the *server* that gave it.

    Each server has an order of its own, so going on at another one would skip elements. At the
    beginning, *server* is None.
    """

    __slots__ = ("answered", "place", "server")

    def __init__(self, place: str | bytes, server: Any = None) -> None:
        self.place = place
        self.server = server
        self.answered: Any = None

    def note(self, connection: Any) -> None:
        """Remember the server behind *connection*; the one noted last is the one that answers."""
        # A Unix socket has neither, but always leads to the same server.
        self.answered = getattr(connection, "host", None), getattr(connection, "port", None)

    def next(self, place: str | bytes) -> Cursor:
        """Return the cursor that follows this one; `Elsewhere` if another server gave it."""
        if self.server not in (None, self.answered):
            raise Elsewhere
        return Cursor(place, self.answered)


class Elsewhere(Exception):
    """A page came from another server than those before it, so reading has to start again."""


class Scan(Op[T]):
    """A command that goes on reading at a cursor."""

    __slots__ = ("cursor",)

    def __init__(
        self, args: tuple[Argument, ...], read: Callable[[Any], T], cursor: Cursor
    ) -> None:
        super().__init__(args, read, repeatable=True)
        self.cursor = cursor


class Pause:
    """Wait *seconds*, or less if the signal *until* is set meanwhile."""

    __slots__ = ("seconds", "until")

    def __init__(self, seconds: float, until: Any = None) -> None:
        self.seconds = seconds
        self.until = until

    def __iter__(self) -> Steps[None]:
        yield self

    def __repr__(self) -> str:
        return f"Pause({self.seconds})"


class Done(Generic[T]):
    """A result that is already known: no round trip."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __iter__(self) -> Steps[T]:
        yield from ()
        return self.value


def nothing(_: object) -> None:
    """Read a reply whose content does not matter."""


def same(reply: Any) -> Any:
    """Read a reply that is itself the result."""
    return reply


def adapted(
    plan: Plan[T],
    adapt: Callable[[Step], Step],
    on_failure: Callable[[Step], None] = nothing,
) -> Steps[T]:
    """Perform *plan* with its steps as *adapt* returns them; *on_failure* gets those that fail."""
    steps = iter(plan)
    try:
        step: Step = next(steps)
        while True:
            step = adapt(step)
            try:
                reply = yield step
            except BaseException as error:
                on_failure(step)
                step = steps.throw(error)
            else:
                step = steps.send(reply)
    except StopIteration as done:
        return cast("T", done.value)


def at(client: Any, plan: Plan[T]) -> Steps[T]:
    """Perform *plan* at *client* instead of the front's own: how a plan reads another container."""

    def elsewhere(step: Step) -> Step:
        if isinstance(step, Op):
            step = copy(step)
            step.client = client
        return step

    return adapted(plan, elsewhere)


Page: TypeAlias = "Callable[[Any], Plan[tuple[Any, list[T]]]]"
"""Takes a position; returns a plan for the next position, None at the end, and the items."""


def whole(page: Page[T], start: object) -> Steps[list[T]]:
    """Read all pages, from the one at *start* on, into one list."""
    everything: list[T] = []
    position = start
    while position is not None:
        try:
            position, items = yield from page(position)
        except Elsewhere:
            position, everything = start, []
        else:
            everything += items
    return everything
