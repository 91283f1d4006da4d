"""Plans: each operation written once, performed by a blocking or by an asynchronous front.

An operation is a value. The smallest plan is an `Op`: one command and the reading of its reply,
so exactly one round trip. A longer plan is a generator that does `x = yield from Op(...)`: it
yields steps, is sent their replies, and returns the result. A *front* performs plans: `Sync`
blocks, `Async` awaits. `@operation` makes of a plan a method in the colour of its front.

The rules of this file, which is the only clever one:

1.  Only here and in _poll_*.py is it known whether we block or await; only there are threads,
    sockets and sleep.
2.  A step is sent by a connection leased from the client's own pool, by the pool's public methods.
    So everything that the client is configured with stays in force (credentials, TLS, protocol,
    health checks, timeouts, retries of connecting), at two thirds of the time of a redis-py call.
3.  A step is never sent again once any of its bytes may have left, unless it says that this is safe
    (`repeatable`) or the server said that it did not run it. A lost reply to any other step is
    `OutcomeUnknown`, and so is one to a step that `writes` and was sent again in vain. (redis-py
    sends everything again: pushes twice, and pops lose an element.)
4.  A connection on which anything but an error reply happened (a time-out, Ctrl-C, a cancelled
    task) is closed before it goes back to the pool. Else the next caller would read its reply.
5.  Replies arrive as redis-py's parser gives them, bytes undecoded, for RESP2 and RESP3 alike; the
    client's response callbacks and `decode_responses` are not in between.
6.  What a pool is not made for, to wait and to ask many servers at once, is a `Poll`: see _poll.py.
7.  An error is thrown into the plan, at the `yield`: it may recover, or clean up and re-raise. That
    is done to the end, even if the task is cancelled once more.
8.  Inside a plan `self.add(x)` would perform: plans are composed from undecorated `_methods`.
9.  Of a cluster client, a step goes to the pool of the server that has its key: see _cluster.py.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from copy import copy
from functools import cache, partial, update_wrapper, wraps
from itertools import chain
from time import sleep
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    NoReturn,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from redis.asyncio.client import Pipeline as AsyncPipeline
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.cluster import ClusterPipeline
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from pottery._advice import explained, refuse_syntax, remember_not_given, wrong_client
from pottery._cluster import (
    Route,
    by_slot,
    done,
    drop_idle,
    is_cluster,
    known_nodes,
    learn,
    nodes_of,
    ready,
    server_of,
)
from pottery._poll import Poll
from pottery._poll_awaiting import poll_awaiting
from pottery._poll_blocking import poll_blocking
from pottery._wire import FAILURES, Argument, hang_up, pack
from pottery.exceptions import OutcomeUnknown

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Step: TypeAlias = "Op[Any] | Poll | Pause"
Steps: TypeAlias = "Generator[Any, Any, T]"
"""Yields steps, is sent their replies, returns a T."""

# The keys of temporary containers that are gone, for the next operation at a client to unlink.
ABANDONED: dict[Any, deque[str]] = {}

# How a connection waits that is opened while the program ends.
_BRIEFLY = {"socket_timeout": 1, "socket_connect_timeout": 1, "retry": Retry(NoBackoff(), 0)}

# What goes on in the background of event loops, which themselves keep no hold of it.
_TASKS: set[asyncio.Task[Any]] = set()
# The event loop in which each asynchronous pool was used last.
_LOOPS: WeakKeyDictionary[Any, asyncio.AbstractEventLoop] = WeakKeyDictionary()

DEFAULT_URL = "redis://localhost:6379/0"

# What the server says, so that it is known what happened ...
_ANSWERS = (ResponseError, AuthenticationError, BusyLoadingError)
# ... and of it what it says instead of running the command.
_REFUSALS = (BusyLoadingError, TryAgainError, ClusterDownError)
_PIPELINES = (Pipeline, AsyncPipeline, ClusterPipeline)
# Seconds before each further attempt, None after the last. Every attempt connects first, and that
# as patiently as the client is configured to.
_PAUSES = (0.0, 0.02, 0.1, 0.5, 1.0, None)
# Bytes of a command that an idle connection takes at once: half of what asyncio lets pile up.
_BRIEF = 2**15
# Before redis-py 5.3 a pool had to be told the name of the command; from then on it must not be.
_VERSION = tuple(int(part) for part in redis.__version__.split(".")[:2])
_LEASE = ("_",) if _VERSION < (5, 3) else ()


class Plan(Protocol[T_co]):
    """A step, or a generator that does `yield from Op(...)`."""

    def __iter__(self) -> Generator[Any, Any, T_co]:
        """Yield steps, be sent their replies, return the result."""
        ...


class Op(Generic[T]):
    """One command and the reading of its reply: exactly one round trip.

    *repeatable* says that a second run changes neither state nor answer, so that the command may be
    sent again when its reply was lost; *writes* that the first one does, so that somebody has to be
    told if no reply ever comes. *client* is whom to send it to, None for the front's own.
    """

    __slots__ = ("args", "client", "read", "repeatable", "writes")
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

    def __iter__(self) -> Steps[T]:
        return self.read((yield self))

    def __repr__(self) -> str:
        return f"Op{self.args!r}"


class Cursor:
    """A place in a hash or set. It means something only to the *server* that gave it.

    Each server has an order of its own: going on at another one would leave out what is there. Of
    the place where all begins, *server* is None.
    """

    __slots__ = ("answered", "place", "server")

    def __init__(self, place: str | bytes, server: Any = None) -> None:
        self.place = place
        self.server = server
        self.answered: Any = None

    def note(self, connection: Any) -> None:
        """Remember who is asked by *connection*, last of all who answers."""
        # A socket of Unix has neither, and leads to one server always.
        self.answered = getattr(connection, "host", None), getattr(connection, "port", None)

    def next(self, place: str | bytes) -> Cursor:
        """Return the cursor that was given for this one; `Elsewhere` if by another server."""
        if self.server not in (None, self.answered):
            raise Elsewhere
        return Cursor(place, self.answered)


class Elsewhere(Exception):
    """A page came from another server than those before it, so the reading has to begin anew."""


class Scan(Op[T]):
    """A command that reads on from a cursor."""

    __slots__ = ("cursor",)

    def __init__(
        self, args: tuple[Argument, ...], read: Callable[[Any], T], cursor: Cursor
    ) -> None:
        super().__init__(args, read, repeatable=True)
        self.cursor = cursor


class Pause:
    """Let *seconds* go by, or fewer if the signal *until* is given meanwhile."""

    __slots__ = ("seconds", "until")

    def __init__(self, seconds: float, until: Any = None) -> None:
        self.seconds = seconds
        self.until = until

    def __iter__(self) -> Steps[None]:
        yield self

    def __repr__(self) -> str:
        return f"Pause({self.seconds})"


class Done(Generic[T]):
    """An answer that is known already: no round trip."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __iter__(self) -> Steps[T]:
        yield from ()
        return self.value


def nothing(_: object) -> None:
    """Read a reply whose content does not matter."""


def same(reply: Any) -> Any:
    """Read a reply that is the answer already."""
    return reply


def at(client: Any, plan: Plan[T]) -> Steps[T]:
    """Perform *plan* at *client* instead of the front's own: how a plan reads another container."""
    steps = iter(plan)
    try:
        step: Any = next(steps)
        while True:
            elsewhere: Step = step
            if isinstance(step, Op):
                elsewhere = copy(cast("Op[Any]", step))
                elsewhere.client = client
            try:
                reply = yield elsewhere
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(reply)
    except StopIteration as done:
        return cast("T", done.value)


Page: TypeAlias = "Callable[[Any], Plan[tuple[Any, list[T]]]]"
"""From a position, a plan for the items there and the next position, None at the end."""


def whole(page: Page[T], start: object) -> Steps[list[T]]:
    """Read page after page, from the one at *start*, into one list."""
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


def _is_over(steps: Any) -> bool:
    return steps.gi_frame is None


class operation(Generic[S, P, T]):  # noqa: N801 - a decorator, spelled as property and cache are
    """A plan as a method, in the colour of its owner.

    In a class of plans the attribute is the plan: `SetPlans.add(s, 1)` is an `Op`. When a front
    inherits it, the front puts a method of its colour in its place, so a call costs what a plain
    method call costs, and `RedisSet.add(s, 1)` and `help(RedisSet.add)` are what one expects.
    """

    def __init__(self, plan: Callable[Concatenate[S, P], Plan[T]]) -> None:
        update_wrapper(cast("Any", self), plan)
        self.plan = plan

    @overload
    def __get__(self, front: None, owner: type[Sync]) -> Callable[Concatenate[S, P], T]: ...
    @overload
    def __get__(
        self, front: None, owner: type[Async]
    ) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, front: None, owner: object) -> Callable[Concatenate[S, P], Plan[T]]: ...
    @overload
    def __get__(self, front: Sync, owner: object) -> Callable[P, T]: ...
    @overload
    def __get__(self, front: Async, owner: object) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, front: Any, owner: Any) -> Any:
        return self.plan


class Front:
    """What performs plans, at the client *redis*."""

    redis: Any
    key: Any
    _client_type: type
    _cluster_type: type
    _takes_clusters = True
    _instead_of_pickling = "give the other process its key"
    # What users call it, if that is not the name of the class.
    _known_as = ""
    _signal: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give the class its operations in the colour of its front."""
        super().__init_subclass__(**kwargs)
        for name, plan in _inherited(cls):
            if isinstance(plan, operation):
                method = cls._method(cast("Any", plan))
                setattr(cls, name, method)
                if method is not plan:  # as Python names what was never awaited
                    method.__qualname__ = f"{cls.__qualname__}.{name}"

    @staticmethod
    def _method(plan: Any) -> Any:
        return plan  # a class of plans has no colour yet

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: what is here are names of data in Redis, and clients."""
        kind = type(self).__name__
        raise TypeError(f"cannot pickle '{kind}' object: {self._instead_of_pickling} instead")

    @classmethod
    def _name(cls) -> str:
        return cls._known_as or cls.__name__

    @classmethod
    def _choose(cls, client: Any) -> Any:
        """Return *client*, or the default one for None; TypeError if it is none for this front."""
        if client is None:
            return _default_client(cls._client_type)
        wanted = (cls._client_type, cls._cluster_type)[: 2 if cls._takes_clusters else 1]
        if not isinstance(client, wanted) or isinstance(client, _PIPELINES):
            raise TypeError(wrong_client(cls._name(), wanted, client))
        return client

    def _failure(self, op: Op[Any], error: Exception, *, is_sent: bool = True) -> Exception:
        """Return what to raise when *error* came instead of the reply to *op*."""
        if not is_sent or not op.writes or isinstance(error, _ANSWERS) or _was_refused(error):
            return self._explained(error)
        unknown = OutcomeUnknown(self.redis, self.key, str(op.args[0]))
        unknown.__cause__ = error
        return unknown

    def _explained(self, error: Exception) -> Exception:
        """Return *error*, which says where it happened and what helps, if we know."""
        return explained(error, self.redis, self._name(), self.key)


def _inherited(cls: type) -> list[tuple[str, object]]:
    found: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        found.update(vars(base))
    return list(found.items())


@cache
def _default_client(client_type: Any) -> Any:
    try:
        client = client_type.from_url(os.environ.get("REDIS_URL") or DEFAULT_URL)
    except ValueError:  # which may show a password that stands in the wrong place
        raise ValueError(f"REDIS_URL is no URL of a server, as {DEFAULT_URL} is one") from None
    remember_not_given(client)
    return client


def same_server(one: Any, other: Any) -> bool:
    """Return whether two clients certainly use one database of one server, as one user.

    A server may have many addresses, so False means only that nothing is known. A cluster is one
    server here; it is known by any of its nodes.
    """
    if one is other:
        return True
    if is_cluster(one) or is_cluster(other):
        return _same_cluster(one, other)
    if one.connection_pool is other.connection_pool:
        return True
    return address(one) == address(other) is not None


def _same_cluster(one: Any, other: Any) -> bool:
    if not (is_cluster(one) and is_cluster(other)):
        return False
    user, other_user = (client.get_connection_kwargs().get("username") for client in (one, other))
    return user == other_user and not known_nodes(one).isdisjoint(known_nodes(other))


def address(client: Any) -> tuple[Any, ...] | None:
    """Return what is known of where a client's commands go, None if that is nothing."""
    options = client.connection_pool.connection_kwargs
    if not options.get("host") and not options.get("path"):
        return None  # found by Sentinel, say
    parts = (options.get(part) for part in ("host", "port", "path", "username"))
    return (*parts, options.get("db") or 0)


def unlink_briefly(client: Any, keys: list[str]) -> None:
    """Unlink *keys* at the end of the program, by a connection that waits a second and no longer.

    An asynchronous client has no event loop any more then, so its keys stay.
    """
    if not keys or not isinstance(client, (redis.Redis, redis.RedisCluster)):
        return
    with suppress(Exception):
        for pool, commands in _by_server(client, keys).items():
            _send_briefly(pool, commands)


def _by_server(client: Any, keys: list[str]) -> dict[Any, list[tuple[str, ...]]]:
    """Return for the pool of each server the commands that unlink what it has of *keys*."""
    commands: dict[Any, list[tuple[str, ...]]] = {}
    for group in by_slot(client, keys):
        unlink = ("UNLINK", *group)
        at = server_of(client, unlink) if isinstance(client, redis.RedisCluster) else client
        commands.setdefault(at.connection_pool, []).append(unlink)
    return commands


def _send_briefly(pool: Any, commands: list[tuple[str, ...]]) -> None:
    connection = pool.connection_class(**_brief_options(pool))
    connection.connect()  # what Sentinel leads to finds its server here, and nowhere else
    for command in commands:
        connection.send_packed_command(pack(connection, command))
        with suppress(ResponseError):  # moved, say
            connection.read_response()
    connection.disconnect()


def _brief_options(pool: Any) -> dict[str, Any]:
    options = {**pool.connection_kwargs, **_BRIEFLY}
    if isinstance(pool, SentinelConnectionPool):
        # Sentinels are asked by clients of their own, which are as patient as they please.
        way: Any = copy(options["connection_pool"])
        manager: Any = copy(cast("Any", pool).sentinel_manager)
        manager.sentinels = [_brief_client(sentinel) for sentinel in manager.sentinels]
        way.sentinel_manager = manager
        options["connection_pool"] = way
    return options


def _brief_client(client: Any) -> Any:
    pool = copy(client.connection_pool)
    pool.connection_kwargs = _brief_options(pool)
    pool.reset()  # the connections are those of the other
    return redis.Redis.from_pool(pool)


def _was_refused(error: Exception) -> bool:
    # A connection found by Sentinel turns READONLY, from a master that is one no more, into this.
    return isinstance(error, _REFUSALS) or isinstance(error.__context__, ReadOnlyError)


def _may_be_sent_again(op: Op[Any], error: Exception) -> bool:
    if _was_refused(error):
        return True
    if isinstance(error, _ANSWERS):
        return str(error).startswith("BUSY ")
    return op.repeatable


def _sweep(client: Any, names: deque[str]) -> Steps[None]:
    """Unlink the keys of temporary containers that are gone; keep their names if Redis is away."""
    keys: list[str] = []
    with suppress(IndexError):  # at the end, which another thread may have brought nearer
        while True:
            keys.append(names.popleft())
    if not keys:
        return
    groups = by_slot(client, keys)
    try:
        while groups:
            yield from Op(("UNLINK", *groups[-1]), nothing, repeatable=True)
            groups.pop()
    except (NoPermissionError, ReadOnlyError):
        pass  # who may not unlink them, or is at a replica: trying for ever would help nobody
    except RedisError:
        names.extend(chain(*groups))
    except BaseException:
        names.extend(chain(*groups))
        raise


class Sync(Front):
    """Performs plans by blocking."""

    _client_type = redis.Redis
    _cluster_type = redis.RedisCluster

    @staticmethod
    def _method(plan: operation[Any, Any, Any]) -> Any:
        make = plan.plan

        @wraps(make)
        def method(self: Sync, /, *args: Any, **kwargs: Any) -> Any:
            return self._perform(make(self, *args, **kwargs))

        return method

    def _perform(self, plan: Plan[T]) -> T:
        if ABANDONED.get(self.redis):
            self._drive(_sweep(self.redis, ABANDONED[self.redis]))
        if isinstance(plan, Op):  # nearly always: save the generator
            result: T = plan.read(self._send(plan))
            return result
        return self._drive(iter(plan))

    def _drive(self, steps: Steps[T]) -> T:
        go_on: Callable[[], Step] = partial(next, steps)
        while True:
            try:
                step = go_on()
                while True:
                    step = steps.send(self._follow(step))
            except StopIteration as done:
                return cast("T", done.value)
            except BaseException as error:
                if _is_over(steps):  # raised by the plan
                    raise
                # Ctrl-C may come right here, too: the plan hears of whatever it was.
                go_on = partial(steps.throw, error)

    def _follow(self, step: Step) -> Any:
        if isinstance(step, Op):
            return self._send(step)
        if isinstance(step, Poll):
            return self._vote(step)
        return step.until.wait(step.seconds) if step.until else sleep(step.seconds)

    # What goes on beside the caller: a signal that others can wait for, and a plan of its own.
    _signal = threading.Event

    @staticmethod
    def _begin(plan: Plan[None]) -> None:
        threading.Thread(target=Sync()._drive, args=(iter(plan),), daemon=True).start()

    def _send(self, op: Op[Any]) -> Any:
        client = self.redis if op.client is None else op.client
        if is_cluster(client):
            return self._send_around(client, op)
        is_sent = False
        for pause in _PAUSES:
            try:
                connection = self._lease(client.connection_pool)
            except FAILURES as error:
                raise self._failure(op, error, is_sent=is_sent)  # noqa: B904 - as below
            is_sent = True
            try:
                if op.cursor is not None:
                    op.cursor.note(connection)
                connection.send_packed_command(pack(connection, op.args), check_health=False)
                return connection.read_response(disable_decoding=True)
            except FAILURES as error:
                if not isinstance(error, ResponseError):
                    connection.disconnect()
                if pause is None or not _may_be_sent_again(op, error):
                    raise self._failure(op, error)  # noqa: B904 - sets the cause where there is one
            except BaseException:
                connection.disconnect()
                raise
            finally:
                try:  # right here: to enter a function is a moment for interrupts
                    client.connection_pool.release(connection)
                except BaseException:
                    self._release_again(client.connection_pool, connection)
                    raise
            sleep(pause)
        raise AssertionError  # pragma: no cover - the last pause is None

    def _send_around(self, client: Any, op: Op[Any]) -> Any:
        """Send *op* to the server of a cluster that has its key, wherever that may have gone."""
        route = Route(client, op.args, _PAUSES)
        while True:
            try:
                return self._exchange(route, op)
            except FAILURES as error:
                pause = route.pause(error, repeatable=_may_be_sent_again(op, error))
                if pause is None:
                    raise self._failure(op, error, is_sent=route.is_sent)  # noqa: B904
            sleep(pause)
            try:
                with suppress(Exception):  # nobody may know just now
                    route.refresh()
            except BaseException:
                drop_idle(client)  # redis-py may have put one back in the middle of a reply
                raise

    def _exchange(self, route: Route, op: Op[Any]) -> Any:
        pool = route.pool()
        connection = self._lease(pool)
        try:
            if op.cursor is not None:
                op.cursor.note(connection)
            if route.asks:
                connection.send_packed_command(pack(connection, ("ASKING",)), check_health=False)
                connection.read_response()
            route.is_sent = True
            connection.send_packed_command(pack(connection, op.args), check_health=False)
            return connection.read_response(disable_decoding=True)
        except ResponseError:
            raise
        except BaseException:
            connection.disconnect()
            raise
        finally:
            try:
                pool.release(connection)
            except BaseException:
                self._release_again(pool, connection)
                raise

    @staticmethod
    def _vote(poll: Poll) -> list[Any]:
        client = next(iter(poll.clients), None)
        if not is_cluster(client):
            return poll_blocking(poll)
        try:
            poll.clients = (server_of(client, poll.args),)
        except RedisError as error:
            return [error]
        votes = poll_blocking(poll)
        if isinstance(votes[0], MovedError):
            with suppress(Exception):
                learn(client, votes[0])
        return votes

    @staticmethod
    def _lease(pool: Any) -> Any:
        try:
            connection = pool.get_connection(*_LEASE)
        except RedisError:
            raise
        except BaseException:
            # In the middle of its greeting, perhaps, and back among the idle ones.
            pool.disconnect(inuse_connections=False)
            raise
        try:
            connection.check_health()
        except BaseException:
            connection.disconnect()
            pool.release(connection)
            raise
        return connection

    @staticmethod
    def _release_again(pool: Any, connection: Any) -> None:
        # Interrupted before it had begun, most likely; twice is as good as once, but for a pool
        # that blocks, which would lend the connection to two.
        if not isinstance(pool, redis.BlockingConnectionPool):
            pool.release(connection)

    def _walk(self, page: Page[T], start: object) -> Iterator[T]:
        """Yield the items of page after page, each read when it is needed."""
        return chain.from_iterable(self._pages(page, start))

    def _pages(self, page: Page[T], start: object) -> Iterator[list[T]]:
        position = start
        while position is not None:
            try:
                position, items = self._perform(page(position))
            except Elsewhere:
                position = start
            else:
                yield items


def _deliver_cancellation(before: int) -> None:
    """Raise the cancellation that was swallowed since there were *before* of them.

    asyncio.wait_for, by which redis-py connects and sends, does that before Python 3.12.
    """
    if _cancellations() > before:
        raise asyncio.CancelledError


def _cancellations() -> int:
    # Python 3.10 does not count them, so there one in a thousand may still get lost.
    counter: Any = getattr(asyncio.current_task(), "cancelling", int)
    return int(counter())


def _has_ended(connection: Any) -> bool:
    """Return whether the server has closed a connection.

    A pool of redis-py 8 does not look if it is to be told of maintenance, as it is by default.
    """
    stream = connection._reader  # no public way leads to it
    return stream is not None and bool(stream.at_eof())


async def _write_to(connection: Any, command: Any) -> None:
    """Send what is packed."""
    cancellations, timeout = _cancellations(), connection.socket_timeout
    if sum(map(len, command)) <= _BRIEF and connection.is_connected:
        # It fits into the buffer, so nothing is waited for: save redis-py's timer, which is a task
        # of its own before Python 3.12.
        connection.socket_timeout = None
    try:
        await connection.send_packed_command(command, check_health=False)
    finally:
        connection.socket_timeout = timeout
    _deliver_cancellation(cancellations)


def _move_to_this_loop(pool: Any) -> None:
    """Drop the connections that *pool* has in an event loop which runs no more: they are dead."""
    loop, last = asyncio.get_running_loop(), _LOOPS.get(pool)
    if last is loop:
        return
    _LOOPS[pool] = loop
    if last is not None and not last.is_running():
        pool.reset()
        for name, lock in _locks(pool).items():  # they belong to that loop for ever
            setattr(pool, name, type(lock)())


async def _wake_another(pool: Any) -> None:
    """Pass on the word that a connection is free: who gets it and is cancelled at once, keeps it.

    (So it is before Python 3.13.) Whoever is woken for nothing waits on.
    """
    for lock in _locks(pool).values():
        if isinstance(lock, asyncio.Condition):
            async with lock:
                lock.notify()


def _locks(pool: Any) -> dict[str, asyncio.Lock | asyncio.Condition]:
    """Return what tasks wait by for a connection. No method of a pool tells."""
    attributes = cast("dict[str, object]", vars(pool))
    kinds = asyncio.Lock, asyncio.Condition
    return {name: value for name, value in attributes.items() if isinstance(value, kinds)}


class Async(Front):
    """Performs plans by awaiting: line by line what `Sync` does."""

    _client_type = redis.asyncio.Redis
    _cluster_type = redis.asyncio.RedisCluster

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give the class its operations, and what tells that syntax cannot wait."""
        super().__init_subclass__(**kwargs)
        refuse_syntax(cls)

    @staticmethod
    def _method(plan: operation[Any, Any, Any]) -> Any:
        make = plan.plan

        @wraps(make)
        async def method(self: Async, /, *args: Any, **kwargs: Any) -> Any:
            return await self._perform(make(self, *args, **kwargs))

        return method

    async def _perform(self, plan: Plan[T]) -> T:
        if ABANDONED.get(self.redis):
            await self._drive(_sweep(self.redis, ABANDONED[self.redis]))
        if isinstance(plan, Op):  # as in Sync
            result: T = plan.read(await self._send(plan))
            return result
        return await self._drive(iter(plan))

    async def _drive(self, steps: Steps[T], cancelled: BaseException | None = None) -> T:
        go_on: Callable[[], Step] = partial(next, steps)
        if cancelled:
            go_on = partial(steps.throw, cancelled)
        while True:
            try:
                step = go_on()
                while True:
                    step = steps.send(await self._follow(step))
            except StopIteration as done:
                return cast("T", done.value)
            except BaseException as error:
                if _is_over(steps):
                    raise
                if isinstance(error, asyncio.CancelledError):
                    return await self._clean_up(steps, error)
                go_on = partial(steps.throw, error)

    async def _clean_up(self, steps: Steps[T], cancelled: asyncio.CancelledError) -> T:
        """Let a plan that was cancelled go on to its end, though the task be cancelled again.

        As it will be, time after time, in a cancel scope of anyio: Starlette uses them.
        """
        task = asyncio.create_task(self._drive(steps, cancelled))
        _TASKS.add(task)
        task.add_done_callback(_TASKS.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            raise cancelled from None  # the same one, by which a scope knows its own

    async def _follow(self, step: Step) -> Any:
        if isinstance(step, Op):
            return await self._send(step)
        if isinstance(step, Poll):
            return await self._vote(step)
        if step.until is None:
            return await asyncio.sleep(step.seconds)
        waiting = asyncio.create_task(step.until.wait())
        try:
            return await asyncio.wait([waiting], timeout=step.seconds)
        finally:
            waiting.cancel()

    _signal = asyncio.Event

    @staticmethod
    def _begin(plan: Plan[None]) -> None:
        task = asyncio.create_task(Async()._drive(iter(plan)))
        _TASKS.add(task)
        task.add_done_callback(_TASKS.discard)

    async def _send(self, op: Op[Any]) -> Any:
        client = self.redis if op.client is None else op.client
        if is_cluster(client):
            return await self._send_around(client, op)
        is_sent = False
        for pause in _PAUSES:
            try:
                connection = await self._lease(client.connection_pool)
            except FAILURES as error:
                raise self._failure(op, error, is_sent=is_sent)  # noqa: B904 - as below
            is_sent = True
            try:
                if op.cursor is not None:
                    op.cursor.note(connection)
                await _write_to(connection, pack(connection, op.args))
                return await connection.read_response(disable_decoding=True)
            except FAILURES as error:
                if not isinstance(error, ResponseError):
                    await hang_up(connection)
                if pause is None or not _may_be_sent_again(op, error):
                    raise self._failure(op, error)  # noqa: B904 - sets the cause where there is one
            except BaseException:
                await hang_up(connection)
                raise
            finally:
                await self._release(client.connection_pool, connection)
            await asyncio.sleep(pause)
        raise AssertionError  # pragma: no cover - the last pause is None

    async def _send_around(self, client: Any, op: Op[Any]) -> Any:
        """Send *op* to the server of a cluster that has its key, wherever that may have gone."""
        route = Route(client, op.args, _PAUSES)
        while True:
            try:
                _move_to_this_loop(nodes_of(client))
                await ready(client)
                return await self._exchange(route, op)
            except FAILURES as error:
                pause = route.pause(error, repeatable=_may_be_sent_again(op, error))
                if pause is None:
                    raise self._failure(op, error, is_sent=route.is_sent)  # noqa: B904
            await asyncio.sleep(pause)
            with suppress(Exception):  # nobody may know just now
                await done(route.refresh())

    async def _exchange(self, route: Route, op: Op[Any]) -> Any:
        pool = route.pool()
        connection = await self._lease(pool)
        try:
            if op.cursor is not None:
                op.cursor.note(connection)
            if route.asks:
                await _write_to(connection, pack(connection, ("ASKING",)))
                await connection.read_response()
            route.is_sent = True
            await _write_to(connection, pack(connection, op.args))
            return await connection.read_response(disable_decoding=True)
        except ResponseError:
            raise
        except BaseException:
            await hang_up(connection)
            raise
        finally:
            await self._release(pool, connection)

    @staticmethod
    async def _vote(poll: Poll) -> list[Any]:
        client = next(iter(poll.clients), None)
        if not is_cluster(client):
            return await poll_awaiting(poll)
        try:
            _move_to_this_loop(nodes_of(client))
            await ready(client)
            poll.clients = (server_of(client, poll.args),)
        except FAILURES as error:
            return [error]
        votes = await poll_awaiting(poll)
        if isinstance(votes[0], MovedError):
            with suppress(Exception):
                await done(learn(client, votes[0]))
        return votes

    @staticmethod
    async def _lease(pool: Any) -> Any:
        _move_to_this_loop(pool)
        cancellations = _cancellations()
        try:
            connection = await pool.get_connection(*_LEASE)
        except BaseException as error:
            if not isinstance(error, RedisError):
                await pool.disconnect(inuse_connections=False)
            await _wake_another(pool)
            raise
        try:
            if _has_ended(connection):
                await hang_up(connection)
                await connection.connect()
            _deliver_cancellation(cancellations)
            await connection.check_health()
        except BaseException:
            await hang_up(connection)
            await pool.release(connection)
            raise
        return connection

    @staticmethod
    async def _release(pool: Any, connection: Any) -> None:
        try:
            await pool.release(connection)
        except asyncio.CancelledError:
            if not isinstance(pool, redis.asyncio.BlockingConnectionPool):
                with suppress(KeyError):  # if it was released after all
                    await pool.release(connection)
            raise

    async def _walk(self, page: Page[T], start: object) -> AsyncIterator[T]:
        """Yield the items of page after page, each read when it is needed."""
        position = start
        while position is not None:
            try:
                position, items = await self._perform(page(position))
            except Elsewhere:
                position = start
            else:
                for item in items:
                    yield item
