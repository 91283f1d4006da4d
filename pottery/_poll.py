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
5.  Blocking, one system call watches all lines; threads only open lines, a few at a time for each
    server, since one that hangs would keep the others waiting, and so would the search for its
    address. A single line is simply read. Asynchronous, every line is a task.
6.  A server at which it took long to fail to open a line is left alone as long again.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections import deque
from contextlib import suppress
from functools import partial
from math import ceil
from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, finalize, ref

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from pottery._wire import Argument, hang_up, pack

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence

FAILURES = (RedisError, OSError)
# Free lines that are kept for each pool.
_MOST_FREE = 64
# Lines that are kept for each pool although nobody hears the replies.
_MOST_LINGERING = 16
# Lines that are opened to one server at a time, and how many may wait for their turn.
_MOST_DIALLING = 8
_MOST_WAITING = 10_000
# Seconds, at least, to open a line for those who insist: nobody waits for that.
_INSISTENCE = 1.0
_LAST_LOOK = 0.001
# Seconds for which a free line need not be looked at before it is used.
_STILL_GOOD = 0.1
_LONGEST = 2**31 - 1  # milliseconds that the system can be told to wait
_ONCE = Retry(NoBackoff(), 0)
# What tells pools of maintenance; by it a line would keep its own pool alive.
_OF_POOLS = ("maint_notifications_", "oss_cluster_maint_notifications_")


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
    a poll that follows *behind* this one; without *args* that one asks nothing more, and only waits
    on for what is still to come. With *insist*, for commands that may run twice, they are sent once
    more to those whose line broke, and also to those to which a line is opened only when the poll
    is over, though nobody hears what they say.
    """

    __slots__ = (
        "__weakref__",
        "args",
        "behind",
        "clients",
        "enough",
        "insist",
        "keep",
        "lines",
        "seconds",
    )

    def __init__(  # noqa: PLR0913 - each is a word of the request
        self,
        clients: Iterable[Any],
        args: tuple[Argument, ...],
        seconds: float,
        *,
        enough: Callable[[Sequence[Any]], bool] | None = None,
        behind: Poll | None = None,
        keep: bool = False,
        insist: bool = False,
    ) -> None:
        # Of a cluster client, what is still to come comes from the server that was asked.
        self.clients: tuple[Any, ...] = tuple(clients) if args or behind is None else behind.clients
        self.args = args
        self.seconds = seconds
        self.enough = enough
        self.behind = behind
        self.keep = keep
        self.insist = insist
        self.lines: dict[Any, Line] = {}

    def __iter__(self) -> Generator[Poll, Any, list[Any]]:
        votes: list[Any] = yield self
        return votes

    @property
    def dialling_seconds(self) -> float:
        return max(self.seconds, _INSISTENCE) if self.insist else self.seconds

    def __repr__(self) -> str:
        return f"Poll({len(self.clients)} clients, {self.args!r})"


class Line:
    """A connection outside of any pool, and how many replies are still to come over it."""

    __slots__ = ("connection", "free_since", "minder", "unread")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.unread = 0
        self.free_since = 0.0
        self.minder: asyncio.Task[None] | None = None

    def is_doubtful(self) -> bool:
        """Return whether so much time has passed that the server may have hung up."""
        return monotonic() - self.free_since > _STILL_GOOD

    def is_by_tls(self) -> bool:
        return isinstance(self.connection, (redis.SSLConnection, redis.asyncio.SSLConnection))

    def take(self) -> None:
        """Take over from who minds the line while it is kept."""
        minder, self.minder = self.minder, None
        if minder:
            minder.cancel()


def _connection(client: Any, seconds: float, read_timeout: float | None) -> Any:
    pool = client.connection_pool
    known = pool.connection_kwargs.items()
    options = {
        **{name: value for name, value in known if not name.startswith(_OF_POOLS)},
        "socket_timeout": read_timeout,
        "retry": _ONCE,
        "health_check_interval": 0,
    }
    if not options.get("path"):  # which redis-py's connections of unix sockets may not be told
        options["socket_connect_timeout"] = seconds
    if _is_of_a_cluster(options.get("redis_connect_func")):
        del options["redis_connect_func"]
    return pool.connection_class(**options)


def _is_of_a_cluster(on_connect: Any) -> bool:
    # By it a line would keep its own client alive; it only says READONLY, to replicas.
    owner = getattr(on_connect, "__self__", None)
    return isinstance(owner, (redis.RedisCluster, redis.asyncio.RedisCluster))


class _Store:
    """The free lines of one pool, and what is known of its server."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.free: deque[Line] = deque()
        self.lingering: deque[Line] = deque()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.shunned_until = 0.0
        self.failure: Exception = Unanswered()
        # Blocking: who wants a line, and how many threads open them.
        self.wanted: deque[tuple[_Dialling, Any]] = deque()
        self.dialling = 0
        self.lock = Lock()
        # Asynchronous: how many wait, and what they wait at.
        self.waiting = 0
        self.gate = asyncio.Semaphore(_MOST_DIALLING)

    def may_dial(self, poll: Poll) -> bool:
        is_swamped = len(self.wanted) + self.waiting >= _MOST_WAITING
        return (poll.insist or monotonic() >= self.shunned_until) and not is_swamped

    def hold(self, task: asyncio.Task[Any]) -> None:
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def hang_up(self) -> None:
        """Hang up all lines that no poll has."""
        for line in self.take_all():
            line.connection.disconnect()

    async def hang_up_awaiting(self) -> None:
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for line in self.take_all():
            await hang_up(line.connection)

    def take_all(self) -> Iterator[Line]:
        for lines in (self.free, self.lingering):
            while lines:
                yield lines.pop()

    def fail(self, began: float, seconds: float, failure: Exception) -> None:
        """Leave the server alone for as long as it was waited for in vain."""
        now = monotonic()
        took = now - began
        self.failure = failure
        if took < 2 * seconds:  # else it was this process or event loop that was away
            self.shunned_until = now + took

    def give_up(self, line: Line, poll: Poll) -> Iterable[Line]:
        """Return what to hang up in place of *line*, whose replies nobody waits for any more.

        By TLS a server reads one command after the other, and no more of them once it cannot answer
        one. So a line over which somebody insists stays open, the longest one of many excepted.
        """
        if not (poll.insist and line.is_by_tls()):
            return [line]
        self.lingering.append(line)
        return [self.lingering.popleft()] if len(self.lingering) > _MOST_LINGERING else []

    def put_back(self, line: Line) -> bool:
        """Keep *line* for the next poll; return whether there was room for it."""
        if len(self.free) >= _MOST_FREE:
            return False
        line.free_since = monotonic()
        self.free.append(line)
        return True


class _Counting:
    """What the blocking and the asynchronous way of polling share: votes and their deadline."""

    def __init__(self, poll: Poll) -> None:
        self.poll = poll
        self.began = monotonic()
        self.until = self.began + poll.seconds
        self.votes: list[Any] = [Unanswered()] * len(poll.clients)
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
        # Not left to the garbage collector, which may come to the socket before its connection.
        finalize(pool, store.hang_up).atexit = False
    return store


def _readable(sockets: dict[Any, Any], seconds: float) -> list[Any]:
    """Return the names of those sockets from which something can be read within *seconds*."""
    names = {socket.fileno(): name for name, socket in sockets.items()}
    if not hasattr(select, "poll"):  # pragma: no cover - Windows
        return [names[number] for number in select.select(list(names), (), (), seconds)[0]]
    poll = select.poll()
    for number in names:
        poll.register(number, select.POLLIN)
    # Rounded up, lest the last millisecond be spent asking again and again.
    return [names[number] for number, _ in poll.poll(min(ceil(seconds * 1000), _LONGEST))]


def _free_line(client: Any) -> Line | None:
    with suppress(IndexError):
        return _store(client).free.pop()
    return None


def _socket(line: Line) -> Any:
    return line.connection._sock  # no public way leads to it


def _dial(client: Any, seconds: float) -> Line:
    began = monotonic()
    connection = None
    try:
        connection = _connection(client, seconds, seconds)
        connection.connect()
    except Exception as error:
        if connection is not None:
            connection.disconnect()
        _store(client).fail(began, seconds, error)
        raise
    return Line(connection)


def poll_blocking(poll: Poll) -> list[Any]:
    """Perform *poll* by blocking."""
    if len(poll.clients) == 1 and (line := _ready_line(poll)):
        return [_ask_one(poll, line)]
    counting = _Blocking(poll)
    try:
        counting.ask_all()
        counting.listen()
    finally:
        counting.put_away()
    return counting.votes


def _ready_line(poll: Poll) -> Line | None:
    (client,) = poll.clients
    behind = poll.behind.lines.pop(client, None) if poll.behind else None
    return behind or _quiet_line(client)


def _ask_one(poll: Poll, line: Line) -> Any:
    """Do as `_Blocking` does with one client, at a third of its cost."""
    (client,) = poll.clients
    try:
        return _hear_one(poll, line, monotonic() + poll.seconds)
    except FAILURES as error:
        line.connection.disconnect()
        if poll.insist:
            _Dialling([client], poll).leave()
        return error
    finally:
        if not line.unread:
            _put_back(_store(client), line)
        elif poll.keep and _socket(line):
            poll.lines[client] = line
        else:
            line.connection.disconnect()


def _quiet_line(client: Any) -> Line | None:
    while line := _free_line(client):
        if not line.is_doubtful() or not _readable({client: _socket(line)}, 0):
            return line
        line.connection.disconnect()
    return None


def _hear_one(poll: Poll, line: Line, until: float) -> Any:
    connection = line.connection
    if poll.args:
        line.unread += 1
        _socket(line).settimeout(poll.seconds)
        connection.send_packed_command(pack(connection, poll.args), check_health=False)
    vote: Any = Unanswered()
    while line.unread and (left := until - monotonic()) > 0:
        _socket(line).settimeout(left)
        try:
            vote = _reply(line)
        except RedisTimeoutError:  # what came of the reply so far, the parser keeps
            break
        line.unread -= 1
    return Unanswered() if line.unread else vote


def _reply(line: Line) -> Any:
    try:
        return line.connection.read_response(disable_decoding=True, disconnect_on_error=False)
    except ResponseError as error:
        return error


class _Blocking(_Counting):
    def __init__(self, poll: Poll) -> None:
        super().__init__(poll)
        self.dialling: _Dialling | None = None
        self.broken: list[Any] = []
        self.packed: Any = None

    def ask_all(self) -> None:
        missing = self.take_lines()
        for client, line in list(self.lines.items()):
            self.ask(client, line)
        callable_ = [client for client in missing if self.may_dial(client)]
        if callable_:
            self.dialling = _Dialling(callable_, self.poll)

    def take_lines(self) -> list[Any]:
        """Take a line for each client; return those for which there is none."""
        missing: list[Any] = []
        wanted: Any = self.poll.clients
        while wanted:
            doubtful: dict[Any, Any] = {}
            for client in wanted:
                line = self.line_behind(client) or _free_line(client)
                if line is None:
                    missing.append(client)
                    continue
                self.lines[client] = line
                if not line.unread and line.is_doubtful():
                    doubtful[client] = _socket(line)
            # Where nothing was asked, there is nothing to read, unless the server hung up.
            wanted = _readable(doubtful, 0) if doubtful else ()
            for client in wanted:
                self.hang_up(client)
        return missing

    def may_dial(self, client: Any) -> bool:
        store = _store(client)
        may = store.may_dial(self.poll)
        if not may:
            self.count(client, store.failure)
        return may

    def ask(self, client: Any, line: Line) -> None:
        self.lines[client] = line
        if not self.poll.args:
            return
        line.unread += 1  # before: once sending has begun, nobody knows how far it came
        self.packed = self.packed or pack(line.connection, self.poll.args)
        try:
            line.connection.send_packed_command(self.packed, check_health=False)
        except BaseException as error:
            self.hang_up(client)
            self.broken.append(client)
            if not isinstance(error, FAILURES):
                raise
            self.count(client, error)

    def hang_up(self, client: Any) -> None:
        line = self.lines.pop(client, None)
        if line:
            line.connection.disconnect()

    def listen(self) -> None:
        """Count the votes as they come, until all have voted or time is up."""
        while (sockets := self.sockets()) and (left := self.left()):
            for client in _readable(sockets, left):
                self.hear(client)

    def sockets(self) -> dict[Any, Any]:
        """Return the sockets from which something is to come: None is the bell's name."""
        sockets = {client: _socket(line) for client, line in self.lines.items() if line.unread}
        if self.dialling and self.dialling.busy:
            sockets[None] = self.dialling.bell
        return sockets

    def hear(self, client: Any) -> None:
        if client is None:
            self.answer_bell()
        else:
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
                vote = _reply(line)
                line.unread -= 1
                if not line.unread:
                    self.count(client, vote)
                elif not line.connection.can_read(0):
                    break
        except FAILURES as error:
            self.hang_up(client)
            self.broken.append(client)
            self.count(client, error)

    def put_away(self) -> None:
        for client, line in self.lines.items():
            if not line.unread:
                _put_back(_store(client), line)
            elif self.poll.keep:
                self.poll.lines[client] = line
            else:
                for one in _store(client).give_up(line, self.poll):
                    one.connection.disconnect()
        if self.dialling:
            self.dialling.leave()
        if self.broken and self.poll.insist:
            _Dialling(self.broken, self.poll).leave()


def _put_back(store: _Store, line: Line) -> None:
    if not store.put_back(line):
        line.connection.disconnect()


class _Dialling:
    """Lines that threads open, one for each client, and a bell that they ring when done."""

    def __init__(self, clients: list[Any], poll: Poll) -> None:
        self.poll = poll
        self.bell, self.rope = socket.socketpair()
        self.opened: deque[tuple[Any, Line | Exception]] = deque()
        self.busy = len(clients)
        self.is_left = False
        self.lock = Lock()
        for client in clients:
            self.want(client)

    def want(self, client: Any) -> None:
        store = _store(client)
        with store.lock:
            store.wanted.append((self, client))
            needs_thread = store.dialling < _MOST_DIALLING
        if needs_thread:
            Thread(target=_dial_all, args=(store,), daemon=True).start()

    def open(self, client: Any) -> None:
        if self.is_left and not self.poll.insist:
            return
        try:
            # Somebody may have freed one while this one had to wait.
            line = _quiet_line(client) or _dial(client, self.poll.dialling_seconds)
            self.opened.append((client, line))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this client's vote
            self.opened.append((client, error))
        with self.lock:  # lest the rope's number be that of another socket by now
            if not self.is_left:
                self.rope.send(b"!")
        if self.is_left:
            self.finish()

    def outcomes(self) -> list[tuple[Any, Line | Exception]]:
        self.bell.recv(64)
        found = self.take_opened()
        self.busy -= len(found)
        return found

    def take_opened(self) -> list[tuple[Any, Line | Exception]]:
        found: list[tuple[Any, Line | Exception]] = []
        with suppress(IndexError):
            while True:
                found.append(self.opened.popleft())
        return found

    def leave(self) -> None:
        """Let the threads do what is left to do."""
        with self.lock:
            self.is_left = True
            self.bell.close()
            self.rope.close()
        if self.opened:
            Thread(target=self.finish, daemon=True).start()

    def finish(self) -> None:
        for client, line in self.take_opened():
            if isinstance(line, Line) and (not self.poll.insist or self.tell(line)):
                _put_back(_store(client), line)

    def tell(self, line: Line) -> bool:
        """Say what nobody will hear the answer to; return whether the line is still good."""
        packed = pack(line.connection, self.poll.args)
        try:
            line.connection.send_packed_command(packed, check_health=False)
            line.connection.read_response(disable_decoding=True)
        except FAILURES as error:
            if not isinstance(error, ResponseError):
                line.connection.disconnect()
                return False
        return True


def _dial_all(store: _Store) -> None:
    """Open what lines are wanted, one after the other."""
    with store.lock:
        store.dialling += 1
    while True:
        with store.lock:
            if not store.wanted:
                store.dialling -= 1
                return
            dialling, client = store.wanted.popleft()
        dialling.open(client)


# --- asynchronous

_loops: WeakKeyDictionary[Any, _LoopStores] = WeakKeyDictionary()


class _LoopStores:
    """The stores of one event loop; their lines are hung up when the loop is shut down."""

    def __init__(self) -> None:
        self.stores: dict[ref[Any], _Store] = {}  # of pools
        self.orphans: list[_Store] = []  # of pools that are gone
        self.keeper = self.keep()

    def orphan(self, pool: ref[Any]) -> None:
        self.orphans.append(self.stores.pop(pool))

    async def hang_up_orphans(self) -> None:
        while self.orphans:
            await self.orphans.pop().hang_up_awaiting()

    async def keep(self) -> AsyncGenerator[None, None]:
        # asyncio.run() closes asynchronous generators before it closes the loop: the one way to
        # hear of its end.
        try:
            yield
        finally:
            for store in list(self.stores.values()):
                await store.hang_up_awaiting()
            await self.hang_up_orphans()
            await asyncio.sleep(0)  # sockets close in a later turn of the loop
            _loops.pop(asyncio.get_running_loop(), None)  # to which `keeper` holds on


async def _loop_store(client: Any) -> _Store:
    loop = asyncio.get_running_loop()
    stores = _loops.get(loop)
    if stores is None:
        stores = _loops[loop] = _LoopStores()
        await stores.keeper.__anext__()
    pool = client.connection_pool
    store = stores.stores.get(ref(pool))
    if store is None:
        store = stores.stores[ref(pool, stores.orphan)] = _Store()
        await stores.hang_up_orphans()
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
        for client in poll.clients:  # now, since a task may be cancelled before it has begun
            if line := self.line_behind(client):
                line.take()
                self.lines[client] = line
        self.tasks = [asyncio.create_task(self.ask(client)) for client in poll.clients]

    async def listen(self) -> None:
        waiting: Any = self.tasks
        while waiting and (left := self.left()):
            _, waiting = await asyncio.wait(
                waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED
            )

    async def ask(self, client: Any) -> None:
        line = self.lines.get(client)
        try:
            line = line or await _line(client, self.poll)
            if self.poll.args:
                await self.send(client, line)
            vote = None
            while line.unread:
                vote = await self.reply(line)
                line.unread -= 1
            self.count(client, vote)
        except FAILURES as error:
            await self.hang_up(client)
            self.count(client, error)
            if line:
                await self.insist(client)
        except asyncio.CancelledError:
            if not line:
                await self.insist(client)
            raise

    async def insist(self, client: Any) -> None:
        if self.poll.insist:
            store = await _loop_store(client)
            store.hold(asyncio.create_task(_tell(client, self.poll, store)))

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
            await hang_up(line.connection)

    async def put_away(self) -> None:
        waiting = [task for task in self.tasks if not task.done()]
        for task in waiting:
            task.cancel()
        try:
            if waiting:
                await asyncio.wait(waiting)
        finally:  # even if cancelled once more; nothing has to be waited for here
            for client, line in self.lines.items():
                if not line.unread:
                    await _put_back_awaiting(await _loop_store(client), line)
                elif self.poll.keep:
                    await _keep(client, line, self.poll)
                else:
                    for one in (await _loop_store(client)).give_up(line, self.poll):
                        await hang_up(one.connection)


async def _line(client: Any, poll: Poll) -> Line:
    store = await _loop_store(client)
    while True:
        line = await _free_line_awaiting(store)
        if line:
            return line
        if not store.may_dial(poll):
            raise store.failure.with_traceback(None)
        await _dial_in_turn(client, poll, store)


async def _free_line_awaiting(store: _Store) -> Line | None:
    while store.free:
        line = store.free.pop()
        if not line.is_doubtful() or await is_quiet(line.connection):
            return line
        await hang_up(line.connection)
    return None


async def _dial_in_turn(client: Any, poll: Poll, store: _Store) -> None:
    """Let there be a free line; if the caller is cancelled, too late for it, but not for others."""
    store.waiting += 1
    try:
        await store.gate.acquire()
    finally:
        store.waiting -= 1
    dialling = asyncio.create_task(_dial_awaiting(client, poll, store))
    dialling.add_done_callback(partial(_dialled, store))
    store.hold(dialling)
    await asyncio.shield(dialling)


def _dialled(store: _Store, dialling: asyncio.Task[None]) -> None:
    store.gate.release()
    if not dialling.cancelled():
        dialling.exception()  # of which a caller that was cancelled hears nothing


async def _dial_awaiting(client: Any, poll: Poll, store: _Store) -> None:
    if store.free:  # as of now
        return
    began, connection = monotonic(), None
    try:
        connection = _connection(client, poll.dialling_seconds, None)
        await asyncio.wait_for(connection.connect(), poll.dialling_seconds)
    except BaseException as error:
        if connection is not None:
            await hang_up(connection)
        if isinstance(error, asyncio.TimeoutError):
            error = Unanswered()
        if isinstance(error, Exception):
            store.fail(began, poll.dialling_seconds, error)
        raise error from None
    store.put_back(Line(connection))


async def _put_back_awaiting(store: _Store, line: Line) -> None:
    if not store.put_back(line):
        await hang_up(line.connection)


async def _keep(client: Any, line: Line, poll: Poll) -> None:
    """Keep a line with *poll*, until one that follows takes it."""
    poll.lines[client] = line
    loop, forgotten = asyncio.get_running_loop(), asyncio.Event()
    keeper = ref(poll, lambda _: loop.call_soon_threadsafe(forgotten.set))
    line.minder = asyncio.create_task(_mind(client, line, keeper, forgotten))
    (await _loop_store(client)).hold(line.minder)


async def _mind(client: Any, line: Line, keeper: ref[Poll], forgotten: asyncio.Event) -> None:
    """Hang up a line that is kept when its poll is forgotten, or the event loop is shut down."""
    try:
        await forgotten.wait()
    finally:
        if line.minder:  # nobody has taken it
            poll = keeper()
            if poll:
                del poll.lines[client]
            await hang_up(line.connection)


async def _tell(client: Any, poll: Poll, store: _Store) -> None:
    """Say what nobody will hear the answer to."""
    with suppress(*FAILURES):
        line = await _line(client, poll)
        packed = pack(line.connection, poll.args)
        try:
            await line.connection.send_packed_command(packed, check_health=False)
            await line.connection.read_response(disable_decoding=True, timeout=poll.seconds)
        except BaseException as error:
            if not isinstance(error, ResponseError):
                await hang_up(line.connection)
                raise
        await _put_back_awaiting(store, line)


async def is_quiet(connection: Any) -> bool:
    """Return whether nothing is to be read from an idle connection, which is to be closed if so."""
    # redis-py 8 has a new name for it.
    can_read = getattr(connection, "can_read", None) or connection.can_read_destructive
    try:
        return not await can_read()
    except FAILURES:
        return False
    except BaseException:
        await hang_up(connection)
        raise
