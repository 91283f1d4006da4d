"""Poll: one command for several servers at once, over connections outside of the clients' pools.

For what a pool is not made for: to ask all masters of a lock within a fraction of a second although
some of them hang, and to wait for minutes without keeping a connection from those who work.

1.  A *line* is a connection as those of the client's pool are (credentials, TLS, database), but
    with the poll's own deadline and no retries. Free lines stay open for the next poll.
2.  The command is sent once to each server. Its reply, or the error that came instead, is the vote.
    Who has not answered in time votes `Unanswered`.
3.  A poll that is decided is over, but for a last look round as long as it took: a line is free
    only once every reply was read from it.
4.  The line of a server that has not answered is hung up, or else kept with the poll, so that a
    later poll can send *behind* it: a server runs what comes over one connection in order, so a
    release can never overtake what it is to release.
5.  Blocking, one selector watches all lines; threads only open lines, several at a time, since a
    server that hangs would keep the others waiting. Asynchronous, every line is a task.
6.  A server at which it took long to fail to open a line is left alone as long again.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
from collections import deque
from contextlib import suppress
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from pottery._wire import Argument, pack

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence

FAILURES = (RedisError, OSError)
# Free lines that are kept for each pool.
_MOST_FREE = 64
# Threads that open lines to one server, if it has not let any in for a while.
_MOST_DIALLING = 8
_PATIENCE = 0.1
_LAST_LOOK = 0.001
_ONCE = Retry(NoBackoff(), 0)
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class Unanswered(RedisTimeoutError):
    """No answer came in time."""

    def __str__(self) -> str:
        """Say so."""
        return "no answer in time"


class Poll:
    """One command for every one of *clients* at once; gives their votes in the same order.

    A vote is the reply, or the error that came instead of it; the command is never sent again. The
    poll is over when all have answered, when *enough* finds that the votes so far decide it, or
    after *seconds*. With *keep*, the lines of those that have not answered are kept in `lines`, for
    a poll that follows *behind* this one.
    """

    __slots__ = ("args", "behind", "clients", "enough", "keep", "lines", "seconds")

    def __init__(  # noqa: PLR0913 - each is a word of the request
        self,
        clients: Iterable[Any],
        args: tuple[Argument, ...],
        seconds: float,
        *,
        enough: Callable[[Sequence[Any]], bool] | None = None,
        behind: Poll | None = None,
        keep: bool = False,
    ) -> None:
        self.clients = tuple(clients)
        self.args = args
        self.seconds = seconds
        self.enough = enough
        self.behind = behind
        self.keep = keep
        self.lines: dict[Any, Line] = {}

    def __iter__(self) -> Generator[Poll, Any, list[Any]]:
        votes: list[Any] = yield self
        return votes

    def __repr__(self) -> str:
        return f"Poll({len(self.clients)} clients, {self.args!r})"


class Line:
    """A connection outside of any pool, and how many replies are still to come over it."""

    __slots__ = ("connection", "unread")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.unread = 0


def _connection(client: Any, seconds: float, read_timeout: float | None) -> Any:
    pool = client.connection_pool
    options = {
        **pool.connection_kwargs,
        "socket_timeout": read_timeout,
        "retry": _ONCE,
        "health_check_interval": 0,
    }
    if not options.get("path"):  # which redis-py's connections of unix sockets may not be told
        options["socket_connect_timeout"] = seconds
    return pool.connection_class(**options)


class _Store:
    """The free lines of one pool, and what is known of its server."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.free: deque[Line] = deque()
        self.tasks: set[asyncio.Task[Line]] = set()
        self.dialling = 0
        self.dialled = 0.0
        self.shunned_until = 0.0
        self.failure: Exception = Unanswered()

    def may_dial(self) -> bool:
        now = monotonic()
        hopeless = self.dialling >= _MOST_DIALLING and now - self.dialled > _PATIENCE
        return now >= self.shunned_until and not hopeless

    def begin_dialling(self) -> float:
        now = monotonic()
        if not self.dialling:
            self.dialled = now
        self.dialling += 1
        return now

    def keep_line(self, opened: asyncio.Task[Line]) -> None:
        if not opened.cancelled() and not opened.exception():
            self.free.append(opened.result())

    def fail(self, began: float, failure: Exception) -> None:
        now = monotonic()
        self.failure = failure
        self.shunned_until = now + (now - began)


class _Counting:
    """What the blocking and the asynchronous way of polling share: votes and their deadline."""

    def __init__(self, poll: Poll) -> None:
        self.poll = poll
        self.began = monotonic()
        self.until = self.began + poll.seconds
        self.votes: list[Any] = [Unanswered() for _ in poll.clients]
        self.lines: dict[Any, Line] = {}
        self.is_decided = False

    def count(self, client: Any, vote: Any) -> None:
        self.votes[self.poll.clients.index(client)] = vote
        if self.poll.enough and not self.is_decided and self.poll.enough(self.votes):
            self.is_decided = True
            now = monotonic()
            self.until = min(self.until, now + max(now - self.began, _LAST_LOOK))

    def left(self) -> float:
        return max(self.until - monotonic(), 0)

    def line_behind(self, client: Any) -> Line | None:
        behind = self.poll.behind
        return behind.lines.pop(client, None) if behind else None


# --- blocking

_stores: WeakKeyDictionary[Any, _Store] = WeakKeyDictionary()


def _store(client: Any) -> _Store:
    pool = client.connection_pool
    store = _stores.get(pool)
    if store is None or store.process != os.getpid():  # the lines of a parent are the parent's
        store = _stores[pool] = _Store()
    return store


def _free_line(store: _Store) -> Line | None:
    with suppress(IndexError):
        while True:
            line = store.free.pop()
            with suppress(*FAILURES):
                if not line.connection.can_read(0):
                    return line
            line.connection.disconnect()
    return None


def _dial(client: Any, seconds: float) -> Line:
    store = _store(client)
    began = store.begin_dialling()
    connection = None
    try:
        connection = _connection(client, seconds, seconds)
        connection.connect()
    except BaseException as error:
        if connection is not None:
            connection.disconnect()
        if isinstance(error, Exception):
            store.fail(began, error)
        raise
    finally:
        store.dialling -= 1
    return Line(connection)


def poll_blocking(poll: Poll) -> list[Any]:
    """Perform *poll* by blocking."""
    counting = _Blocking(poll)
    try:
        counting.ask_all()
        counting.listen()
    finally:
        counting.put_away()
    return counting.votes


class _Blocking(_Counting):
    def __init__(self, poll: Poll) -> None:
        super().__init__(poll)
        self.dialling: _Dialling | None = None

    def ask_all(self) -> None:
        missing: list[Any] = []
        for client in self.poll.clients:
            line = self.line_behind(client) or _free_line(_store(client))
            if line:
                self.ask(client, line)
            else:
                missing.append(client)
        callable_ = [client for client in missing if self.may_dial(client)]
        if len(self.poll.clients) == 1:
            for client in callable_:
                self.dial(client)
        elif callable_:
            self.dialling = _Dialling(callable_, self.poll.seconds)

    def may_dial(self, client: Any) -> bool:
        store = _store(client)
        may = store.may_dial()
        if not may:
            self.count(client, store.failure)
        return may

    def dial(self, client: Any) -> None:
        try:
            line = _dial(client, self.poll.seconds)
        except FAILURES as error:
            self.count(client, error)
        else:
            self.ask(client, line)

    def ask(self, client: Any, line: Line) -> None:
        line.unread += 1  # before: once sending has begun, nobody knows how far it came
        try:
            self.lines[client] = line
            line.connection.send_packed_command(
                pack(line.connection, self.poll.args), check_health=False
            )
        except BaseException as error:
            self.hang_up(client)
            if not isinstance(error, FAILURES):
                raise
            self.count(client, error)

    def hang_up(self, client: Any) -> None:
        line = self.lines.pop(client, None)
        if line:
            line.connection.disconnect()

    def listen(self) -> None:
        """Count the votes as they come, until all have voted or time is up."""
        if self.dialling is None and len(self.lines) <= 1:
            self.listen_to_one()
            return
        with _Selector() as selector:
            watched: dict[Any, Any] = {}
            while self.watch(selector, watched) and (left := self.left()):
                for key, _ in selector.select(left):
                    self.hear(key.data)

    def listen_to_one(self) -> None:
        for client, line in list(self.lines.items()):
            while line.unread and (left := self.left()):
                with suppress(*FAILURES):  # it will be met again when the reply is read
                    if not line.connection.can_read(left):
                        break
                self.read(client, line)

    def watch(self, selector: Any, watched: dict[Any, Any]) -> bool:
        """Watch all lines over which replies are still to come; return whether there are any."""
        waiting = {client for client, line in self.lines.items() if line.unread}
        for client in watched.keys() - waiting - {None}:
            selector.unregister(watched.pop(client))
        for client in waiting - watched.keys():
            # No public way leads to the socket of redis-py's connections.
            watched[client] = self.lines[client].connection._sock
            selector.register(watched[client], selectors.EVENT_READ, client)
        if self.dialling and not watched.get(None):
            watched[None] = self.dialling.bell
            selector.register(self.dialling.bell, selectors.EVENT_READ, None)
        return bool(waiting or (self.dialling and self.dialling.is_busy()))

    def hear(self, client: Any) -> None:
        if client is None:
            self.answer_bell()
        elif client in self.lines:
            self.read(client, self.lines[client])

    def answer_bell(self) -> None:
        dialling: Any = self.dialling
        for client, outcome in dialling.outcomes():
            if isinstance(outcome, Line):
                self.ask(client, outcome)
            else:
                self.count(client, outcome)

    def read(self, client: Any, line: Line) -> None:
        """Read the replies that are there; the last of those that are to come is the vote."""
        try:
            while line.unread:
                vote = self.reply(line)
                line.unread -= 1
                if not line.unread:
                    self.count(client, vote)
                elif not line.connection.can_read(0):
                    break
        except FAILURES as error:
            self.hang_up(client)
            self.count(client, error)

    @staticmethod
    def reply(line: Line) -> Any:
        try:
            return line.connection.read_response(disable_decoding=True, disconnect_on_error=False)
        except ResponseError as error:
            return error

    def put_away(self) -> None:
        for client, line in self.lines.items():
            if not line.unread:
                _put_back(_store(client), line)
            elif self.poll.keep:
                self.poll.lines[client] = line
            else:
                line.connection.disconnect()
        if self.dialling:
            self.dialling.leave()


def _put_back(store: _Store, line: Line) -> None:
    if len(store.free) < _MOST_FREE:
        store.free.append(line)
    else:
        line.connection.disconnect()


class _Dialling:
    """Threads that open lines, one for each client, and a bell that they ring when done."""

    def __init__(self, clients: list[Any], seconds: float) -> None:
        self.bell, self.rope = socket.socketpair()
        self.opened: deque[tuple[Any, Line | Exception]] = deque()
        self.busy = len(clients)
        self.is_left = False
        for client in clients:
            Thread(target=self.open, args=(client, seconds), daemon=True).start()

    def is_busy(self) -> bool:
        return self.busy > 0

    def open(self, client: Any, seconds: float) -> None:
        try:
            self.opened.append((client, _dial(client, seconds)))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this client's vote
            self.opened.append((client, error))
        with suppress(OSError):  # nobody listens any more
            self.rope.send(b"!")
        if self.is_left:
            self.leave()

    def outcomes(self) -> list[tuple[Any, Line | Exception]]:
        self.bell.recv(64)
        found: list[tuple[Any, Line | Exception]] = []
        with suppress(IndexError):
            while True:
                found.append(self.opened.popleft())
        self.busy -= len(found)
        return found

    def leave(self) -> None:
        """Keep what is opened from now on for others."""
        self.is_left = True
        self.bell.close()
        self.rope.close()
        with suppress(IndexError):
            while True:
                client, outcome = self.opened.popleft()
                if isinstance(outcome, Line):
                    _put_back(_store(client), outcome)


# --- asynchronous

_loops: WeakKeyDictionary[Any, _LoopStores] = WeakKeyDictionary()


class _LoopStores:
    """The stores of one event loop; their lines are hung up when the loop is shut down."""

    def __init__(self) -> None:
        self.stores: WeakKeyDictionary[Any, _Store] = WeakKeyDictionary()
        self.keeper = self.keep()

    async def keep(self) -> AsyncGenerator[None, None]:
        # asyncio.run() closes asynchronous generators before it closes the loop: the one way to
        # hear of its end.
        try:
            yield
        finally:
            for store in list(self.stores.values()):
                for task in store.tasks:
                    task.cancel()
                while store.free:
                    await store.free.pop().connection.disconnect(nowait=True)


async def _loop_store(client: Any) -> _Store:
    loop = asyncio.get_running_loop()
    stores = _loops.get(loop)
    if stores is None:
        stores = _loops[loop] = _LoopStores()
        await stores.keeper.__anext__()
    store = stores.stores.get(client.connection_pool)
    if store is None:
        store = stores.stores[client.connection_pool] = _Store()
    return store


async def poll_awaiting(poll: Poll) -> list[Any]:
    """Perform *poll* by awaiting."""
    counting = _Awaiting(poll)
    try:
        await counting.listen()
    finally:
        await counting.put_away()
    return counting.votes


class _Awaiting(_Counting):
    def __init__(self, poll: Poll) -> None:
        super().__init__(poll)
        self.tasks = [asyncio.create_task(self.ask(client)) for client in poll.clients]

    async def listen(self) -> None:
        waiting: Any = self.tasks
        while waiting and (left := self.left()):
            _, waiting = await asyncio.wait(
                waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED
            )

    async def ask(self, client: Any) -> None:
        try:
            line = self.line_behind(client) or await _line(client, self.poll.seconds)
            await self.send(client, line)
            vote = None
            while line.unread:
                vote = await self.reply(line)
                line.unread -= 1
            self.count(client, vote)
        except FAILURES as error:
            await self.hang_up(client)
            self.count(client, error)

    async def send(self, client: Any, line: Line) -> None:
        self.lines[client] = line
        line.unread += 1
        packed = pack(line.connection, self.poll.args)
        try:
            await line.connection.send_packed_command(packed, check_health=False)
        except BaseException:
            await self.hang_up(client)
            raise

    @staticmethod
    async def reply(line: Line) -> Any:
        try:
            return await line.connection.read_response(
                disable_decoding=True, disconnect_on_error=False
            )
        except ResponseError as error:
            return error

    async def hang_up(self, client: Any) -> None:
        line = self.lines.pop(client, None)
        if line:
            await line.connection.disconnect(nowait=True)

    async def put_away(self) -> None:
        waiting = [task for task in self.tasks if not task.done()]
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.wait(waiting)
        for client, line in self.lines.items():
            if not line.unread:
                (await _loop_store(client)).free.append(line)
            elif self.poll.keep:
                self.poll.lines[client] = line
            else:
                await line.connection.disconnect(nowait=True)


async def _line(client: Any, seconds: float) -> Line:
    store = await _loop_store(client)
    while store.free:
        line = store.free.pop()
        if await _is_quiet(line.connection):
            return line
        await line.connection.disconnect(nowait=True)
    if not store.may_dial():
        raise store.failure
    dialling = asyncio.create_task(_dial_awaiting(client, store, seconds))
    store.tasks.add(dialling)
    dialling.add_done_callback(store.tasks.discard)
    try:
        return await asyncio.shield(dialling)
    except asyncio.CancelledError:  # it is too late for us: others may have it
        dialling.add_done_callback(store.keep_line)
        raise


async def _dial_awaiting(client: Any, store: _Store, seconds: float) -> Line:
    began = store.begin_dialling()
    connection = _connection(client, seconds, None)
    try:
        await asyncio.wait_for(connection.connect(), seconds)
    except asyncio.TimeoutError:
        await connection.disconnect(nowait=True)
        store.fail(began, Unanswered())
        raise store.failure from None
    except BaseException as error:
        await connection.disconnect(nowait=True)
        if isinstance(error, Exception):
            store.fail(began, error)
        raise
    finally:
        store.dialling -= 1
    return Line(connection)


async def _is_quiet(connection: Any) -> bool:
    # redis-py 8 has a new name for it.
    can_read = getattr(connection, "can_read", None) or connection.can_read_destructive
    try:
        return not await can_read()
    except FAILURES:
        return False
