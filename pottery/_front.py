"""Fronts perform plans, by blocking or by awaiting, and turn plans into methods.

The rules of this module, the most intricate one along with those for polls:

1.  Only this module, _leases.py, _event_loop.py and _poll_*.py know whether we block or await. Only
    they use threads, sockets and sleep, apart from a lock in _together.py.
2.  A step is sent over a connection leased from the client's own pool, by the pool's public
    methods. So the whole configuration of the client stays in force (credentials, TLS, protocol,
    health checks, timeouts, retries of connecting).
3.  A step is never sent again once any of its bytes may have left, unless it says that this is safe
    (`repeatable`) or the server said that it did not run it. If the reply to any other step is
    lost, `OutcomeUnknown` is raised, as it is for a step that `writes` and was sent again in vain.
    (redis-py sends everything again: a push happens twice, and a pop loses an element.)
4.  After anything but a reply (a time-out, Ctrl-C, a cancelled task), a connection is closed before
    it goes back to the pool. Otherwise the next caller would read the late reply.
5.  Replies arrive as redis-py's parser returns them, as undecoded bytes, for RESP2 and RESP3 alike.
    The client's response callbacks and `decode_responses` are bypassed.
6.  Pools are not made for waiting, or for asking many servers at once; a `Poll` is: see _poll.py.
7.  When an error is thrown into a plan, the plan runs to its end, even if the task is cancelled
    again.
8.  Inside a plan, `self.add(x)` would perform: plans are composed from undecorated `_methods`.
9.  With a cluster client, a step goes to the pool of the server that has its key: see _cluster.py.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from functools import partial, update_wrapper, wraps
from itertools import chain
from time import sleep
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    NoReturn,
    ParamSpec,
    TypeVar,
    cast,
    overload,
)

import redis
import redis.asyncio
from redis.asyncio.client import Pipeline as AsyncPipeline
from redis.client import Pipeline
from redis.cluster import ClusterPipeline
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from pottery._advice import explained, refuse_syntax, wrong_client
from pottery._clients import default_client
from pottery._cluster import Route, done, drop_idle, is_cluster, learn, nodes_of, ready, server_of
from pottery._event_loop import move_to_this_loop, write_to
from pottery._leases import (
    lease_awaiting,
    lease_blocking,
    release_again,
    release_awaiting,
    standing_lease,
)
from pottery._plan import Elsewhere, Op
from pottery._poll import Poll
from pottery._poll_awaiting import poll_awaiting
from pottery._poll_blocking import poll_blocking
from pottery._temporary import ABANDONED, sweeping
from pottery._wire import FAILURES, hang_up, pack
from pottery.exceptions import OutcomeUnknown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from pottery._plan import Page, Plan, Step, Steps

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")

# Tasks in the background: an event loop itself keeps only weak references to its tasks.
_TASKS: set[asyncio.Task[Any]] = set()

# Errors that are an answer of the server, so that we know what happened ...
_ANSWERS = (ResponseError, AuthenticationError, BusyLoadingError)
# ... and of these, what it says for now, instead of running the command ...
_REFUSALS = (BusyLoadingError, TryAgainError, ClusterDownError)
# ... of which a connection found by Sentinel raises the last one, in place of the READONLY of a
# former master. (Its __context__ is no help: that may be an error that the caller is handling.)
_REFUSING = ("BUSY ", "The previous master is now a slave")
_PIPELINES = (Pipeline, AsyncPipeline, ClusterPipeline)
# Seconds before each further attempt, None after the last. Every attempt connects first, as
# patiently as the client is configured to.
_PAUSES = (0.0, 0.02, 0.1, 0.5, 1.0, None)


def _is_over(steps: Any) -> bool:
    return steps.gi_frame is None


class operation(Generic[S, P, T]):  # noqa: N801 - a decorator, spelled as property and cache are
    """A plan as a method, in the colour of its owner: blocking or asynchronous.

    In a class of plans the attribute is the plan: `SetPlans.add(s, 1)` is an `Op`. A front that
    inherits it replaces it by a method of its own colour. So a call costs no more than that of any
    method, and `RedisSet.add(s, 1)` and `help(RedisSet.add)` are what one expects.
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
    """Performs plans with the client *redis*."""

    redis: Any
    key: Any
    _client_type: type
    _cluster_type: type
    _takes_clusters = True
    _instead_of_pickling = "give the other process its key"
    # The name that users know it by, if that is not the name of the class.
    _known_as = ""
    _signal: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give the class its operations, in the colour of its front."""
        super().__init_subclass__(**kwargs)
        for name, plan in _inherited(cls):
            if isinstance(plan, operation):
                method = cls._method(cast("Any", plan))
                setattr(cls, name, method)
                if method is not plan:  # for Python's warning that it was never awaited
                    method.__qualname__ = f"{cls.__qualname__}.{name}"

    @staticmethod
    def _method(plan: Any) -> Any:
        return plan  # a class of plans has no colour yet

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: this object holds only a client and the key of data in Redis."""
        kind = type(self).__name__
        raise TypeError(f"cannot pickle '{kind}' object: {self._instead_of_pickling} instead")

    @classmethod
    def _name(cls) -> str:
        return cls._known_as or cls.__name__

    @classmethod
    def _choose(cls, client: Any) -> Any:
        """Return *client*, or the default one for None; TypeError if this front cannot use it."""
        if client is None:
            return default_client(cls._client_type)
        wanted = (cls._client_type, cls._cluster_type)[: 2 if cls._takes_clusters else 1]
        if not isinstance(client, wanted) or isinstance(client, _PIPELINES):
            raise TypeError(wrong_client(cls._name(), wanted, client))
        return client

    def _failure(self, op: Op[Any], error: Exception, *, in_doubt: bool) -> Exception:
        """Return the exception to raise when *error* came instead of the reply to *op*.

        *in_doubt* says whether *op* was sent, now or before, and not answered.
        """
        # Even for a refusal: the server may have allowed an earlier run, whose reply did not come.
        if not in_doubt or not op.writes:
            return self._explained(error)
        unknown = OutcomeUnknown(self.redis, self.key, str(op.args[0]))
        unknown.__cause__ = error
        return unknown

    def _explained(self, error: Exception) -> Exception:
        """Return *error*, which now also says where it happened and what helps, if we know."""
        return explained(error, self.redis, self._name(), self.key)


def _inherited(cls: type) -> list[tuple[str, object]]:
    found: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        found.update(vars(base))
    return list(found.items())


def _was_refused(error: Exception) -> bool:
    return isinstance(error, _REFUSALS) or str(error).startswith(_REFUSING)


def _is_answer(error: Exception) -> bool:
    return isinstance(error, _ANSWERS) or _was_refused(error)


def _may_be_sent_again(op: Op[Any], error: Exception) -> bool:
    return _was_refused(error) or (op.repeatable and not _is_answer(error))


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
        if abandoned := ABANDONED.get(self.redis):
            return self._drive(sweeping(self.redis, abandoned, plan))
        if isinstance(plan, Op):  # nearly always, and faster without a generator
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
                # Ctrl-C may come right here, too. Whatever it was, throw it into the plan.
                go_on = partial(steps.throw, error)

    def _follow(self, step: Step) -> Any:
        if isinstance(step, Op):
            return self._send(step)
        if isinstance(step, Poll):
            return self._vote(step)
        return step.until.wait(step.seconds) if step.until else sleep(step.seconds)

    # For what runs in the background: a signal to wait for, and the start of a plan there.
    _signal = threading.Event

    @staticmethod
    def _begin(plan: Plan[None]) -> None:
        threading.Thread(target=Sync()._drive, args=(iter(plan),), daemon=True).start()

    def _send(self, op: Op[Any]) -> Any:
        client = self.redis if op.client is None else op.client
        if is_cluster(client):
            return self._send_around(client, op)
        pool, in_doubt = client.connection_pool, False
        standing = standing_lease(pool)
        for pause in _PAUSES:
            try:
                connection = lease_blocking(pool, standing)
            except FAILURES as error:
                raise self._failure(op, error, in_doubt=in_doubt)  # noqa: B904 - as below
            is_clean = False
            try:
                reply = self._converse(connection, op)
            except FAILURES as error:
                is_clean = isinstance(error, ResponseError)
                in_doubt |= not _is_answer(error)
                if pause is None or not _may_be_sent_again(op, error):
                    # _failure sets the cause where there is one.
                    raise self._failure(op, error, in_doubt=in_doubt)  # noqa: B904
            else:
                is_clean = True
                return reply
            finally:  # not in a function: an interrupt may come as one is entered
                if not is_clean:
                    connection.disconnect()  # if even this is interrupted, nobody gets it any more
                if connection is standing.connection:
                    standing.lock.release()
                else:
                    try:
                        pool.release(connection)
                    except BaseException:
                        release_again(pool, connection)
                        raise
            sleep(pause)
        raise AssertionError  # pragma: no cover - the last pause is None

    @staticmethod
    def _converse(connection: Any, op: Op[Any]) -> Any:
        """Send *op* and return the reply."""
        if op.cursor is not None:
            op.cursor.note(connection)
        if op.ahead:
            connection.send_packed_command(pack(connection, op.ahead), check_health=False)
        connection.send_packed_command(pack(connection, op.args), check_health=False)
        if op.ahead:
            with suppress(*_ANSWERS):
                connection.read_response(disconnect_on_error=False)
        return connection.read_response(disable_decoding=True)

    def _send_around(self, client: Any, op: Op[Any]) -> Any:
        """Send *op* to the server of a cluster that has its key, even if the key is moving."""
        route, in_doubt = Route(client, op.args, _PAUSES), False
        while True:
            try:
                return self._exchange(route, op)
            except FAILURES as error:
                in_doubt |= route.is_sent and not _is_answer(error)
                pause = route.pause(error, repeatable=_may_be_sent_again(op, error))
                if pause is None:
                    raise self._failure(op, error, in_doubt=in_doubt)  # noqa: B904
            sleep(pause)
            try:
                with suppress(Exception):  # maybe no server knows right now
                    route.refresh()
            except BaseException:
                drop_idle(client)  # redis-py may have released one in the middle of a reply
                raise

    def _exchange(self, route: Route, op: Op[Any]) -> Any:
        pool = route.pool()
        standing = standing_lease(pool)
        connection, is_clean = lease_blocking(pool, standing), False
        try:
            if route.asks:
                connection.send_packed_command(pack(connection, ("ASKING",)), check_health=False)
                connection.read_response()
            route.is_sent = True
            reply = self._converse(connection, op)
        except ResponseError:
            is_clean = True
            raise
        else:
            is_clean = True
            return reply
        finally:  # as above
            if not is_clean:
                connection.disconnect()
            if connection is standing.connection:
                standing.lock.release()
            else:
                try:
                    pool.release(connection)
                except BaseException:
                    release_again(pool, connection)
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

    def _walk(self, page: Page[T], start: object) -> Iterator[T]:
        """Yield the items page by page; a page is read when it is needed."""
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


class Async(Front):
    """Performs plans by awaiting, line by line as `Sync` does."""

    _client_type = redis.asyncio.Redis
    _cluster_type = redis.asyncio.RedisCluster

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give the class its operations, and errors for syntax that cannot be awaited."""
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
        if abandoned := ABANDONED.get(self.redis):
            return await self._drive(sweeping(self.redis, abandoned, plan))
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
        """Let a plan that was cancelled run to its end, even if the task is cancelled again.

        A cancel scope of anyio, as in Starlette, does cancel it again and again.
        """
        task = asyncio.create_task(self._drive(steps, cancelled))
        _TASKS.add(task)
        task.add_done_callback(_TASKS.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            raise cancelled from None  # the same one: a scope recognizes its own cancellation by it

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
        pool, in_doubt = client.connection_pool, False
        standing = standing_lease(pool)
        for pause in _PAUSES:
            try:
                connection = await lease_awaiting(pool, standing)
            except FAILURES as error:
                raise self._failure(op, error, in_doubt=in_doubt)  # noqa: B904 - as below
            is_clean = False
            try:
                reply = await self._converse(connection, op)
            except FAILURES as error:
                is_clean = isinstance(error, ResponseError)
                in_doubt |= not _is_answer(error)
                if pause is None or not _may_be_sent_again(op, error):
                    # _failure sets the cause where there is one.
                    raise self._failure(op, error, in_doubt=in_doubt)  # noqa: B904
            else:
                is_clean = True
                return reply
            finally:
                if not is_clean:
                    await hang_up(connection)
                if connection is standing.connection:
                    standing.lock.release()
                else:
                    await release_awaiting(pool, connection)
            await asyncio.sleep(pause)
        raise AssertionError  # pragma: no cover - the last pause is None

    @staticmethod
    async def _converse(connection: Any, op: Op[Any]) -> Any:
        """Send *op* and return the reply."""
        if op.cursor is not None:
            op.cursor.note(connection)
        if op.ahead:
            await write_to(connection, pack(connection, op.ahead))
        await write_to(connection, pack(connection, op.args))
        if op.ahead:
            with suppress(*_ANSWERS):
                await connection.read_response(disconnect_on_error=False)
        return await connection.read_response(disable_decoding=True)

    async def _send_around(self, client: Any, op: Op[Any]) -> Any:
        """Send *op* to the server of a cluster that has its key, even if the key is moving."""
        route, in_doubt = Route(client, op.args, _PAUSES), False
        while True:
            try:
                move_to_this_loop(nodes_of(client))
                await ready(client)
                return await self._exchange(route, op)
            except FAILURES as error:
                in_doubt |= route.is_sent and not _is_answer(error)
                pause = route.pause(error, repeatable=_may_be_sent_again(op, error))
                if pause is None:
                    raise self._failure(op, error, in_doubt=in_doubt)  # noqa: B904
            await asyncio.sleep(pause)
            with suppress(Exception):  # maybe no server knows right now
                await done(route.refresh())

    async def _exchange(self, route: Route, op: Op[Any]) -> Any:
        pool = route.pool()
        standing = standing_lease(pool)
        connection, is_clean = await lease_awaiting(pool, standing), False
        try:
            if route.asks:
                await write_to(connection, pack(connection, ("ASKING",)))
                await connection.read_response()
            route.is_sent = True
            reply = await self._converse(connection, op)
        except ResponseError:
            is_clean = True
            raise
        else:
            is_clean = True
            return reply
        finally:
            if not is_clean:
                await hang_up(connection)
            if connection is standing.connection:
                standing.lock.release()
            else:
                await release_awaiting(pool, connection)

    @staticmethod
    async def _vote(poll: Poll) -> list[Any]:
        client = next(iter(poll.clients), None)
        if not is_cluster(client):
            return await poll_awaiting(poll)
        try:
            move_to_this_loop(nodes_of(client))
            await ready(client)
            poll.clients = (server_of(client, poll.args),)
        except FAILURES as error:
            return [error]
        votes = await poll_awaiting(poll)
        if isinstance(votes[0], MovedError):
            with suppress(Exception):
                await done(learn(client, votes[0]))
        return votes

    async def _walk(self, page: Page[T], start: object) -> AsyncIterator[T]:
        """Yield the items page by page; a page is read when it is needed."""
        position = start
        while position is not None:
            try:
                position, items = await self._perform(page(position))
            except Elsewhere:
                position = start
            else:
                for item in items:
                    yield item
