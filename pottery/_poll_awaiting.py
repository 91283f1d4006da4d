"""Perform polls by awaiting: each line has its own task."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from redis.exceptions import ResponseError

from pottery._lines import MOST_DIALLING, Store, connection_beside
from pottery._poll import Counting, Line, Unanswered
from pottery._wire import FAILURES, hang_up, is_quiet, pack

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from pottery._poll import Poll

_loops: WeakKeyDictionary[Any, _LoopStores] = WeakKeyDictionary()


class _Store(Store):
    """The free lines of one pool in one event loop, and how many polls wait to open one."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.waiting = 0
        self.gate = asyncio.Semaphore(MOST_DIALLING)

    def hold(self, task: asyncio.Task[Any]) -> None:
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def hang_up(self) -> None:
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for line in self.take_all():
            await hang_up(line.connection)


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
            await self.orphans.pop().hang_up()

    async def keep(self) -> AsyncGenerator[None, None]:
        # asyncio.run() closes asynchronous generators before it closes the loop: the only way to
        # learn that the loop ends.
        try:
            yield
        finally:
            for store in list(self.stores.values()):
                await store.hang_up()
            await self.hang_up_orphans()
            await asyncio.sleep(0)  # sockets close in a later turn of the loop
            _loops.pop(asyncio.get_running_loop(), None)  # since `keeper` refers to it


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


class _Awaiting(Counting):
    def __init__(self, poll: Poll) -> None:
        super().__init__(poll)
        for client in poll.clients:  # now, as a task may be cancelled before it starts
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
            store.hold(asyncio.create_task(_tell(client, self.poll)))

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
        finally:  # even if cancelled again; nothing here has to wait
            for client, line in self.lines.items():
                if not line.unread:
                    await _put_back_awaiting(line)
                elif self.poll.keep:
                    await _keep(client, line, self.poll)
                else:
                    for one in line.store.give_up(line, self.poll):
                        await hang_up(one.connection)


async def _line(client: Any, poll: Poll) -> Line:
    store = await _loop_store(client)
    while True:
        line = await _free_line_awaiting(store)
        if line:
            return line
        if not store.may_dial(poll, store.waiting):
            raise store.failure
        await _dial_in_turn(client, poll, store)


async def _free_line_awaiting(store: _Store) -> Line | None:
    while store.free:
        line = store.free.pop()
        if not line.is_doubtful() or await is_quiet(line.connection):
            return line
        await hang_up(line.connection)
    return None


async def _dial_in_turn(client: Any, poll: Poll, store: _Store) -> None:
    """Open a line and put it back for use; if the caller is cancelled, others can use it."""
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
        dialling.exception()  # retrieved here, as a cancelled caller does not


async def _dial_awaiting(client: Any, poll: Poll, store: _Store) -> None:
    if store.free:  # since a moment ago
        return
    began, connection = monotonic(), None
    try:
        connection = connection_beside(client, poll.dialling_seconds, None)
        await asyncio.wait_for(connection.connect(), poll.dialling_seconds)
    except BaseException as error:
        if connection is not None:
            await hang_up(connection)
        if isinstance(error, asyncio.TimeoutError):
            error = Unanswered()
        if isinstance(error, Exception):
            store.fail(began, poll.dialling_seconds, error)
        raise error from None
    store.put_back(Line(connection, store))


async def _put_back_awaiting(line: Line) -> None:
    if not line.store.put_back(line):
        await hang_up(line.connection)


async def _keep(client: Any, line: Line, poll: Poll) -> None:
    """Keep a line with *poll*, until a later poll takes it."""
    poll.lines[client] = line
    loop, forgotten = asyncio.get_running_loop(), asyncio.Event()
    keeper = ref(poll, lambda _: loop.call_soon_threadsafe(forgotten.set))
    line.minder = asyncio.create_task(_mind(client, line, keeper, forgotten))
    (await _loop_store(client)).hold(line.minder)


async def _mind(client: Any, line: Line, keeper: ref[Poll], forgotten: asyncio.Event) -> None:
    """Hang up a kept line when its poll is garbage-collected or the event loop shuts down."""
    try:
        await forgotten.wait()
    finally:
        if line.minder:  # nobody has taken it
            poll = keeper()
            if poll:
                del poll.lines[client]
            await hang_up(line.connection)


async def _tell(client: Any, poll: Poll) -> None:
    """Send the command though nobody wants its reply."""
    with suppress(*FAILURES, asyncio.TimeoutError):
        line = await _line(client, poll)
        packed = pack(line.connection, poll.args)
        try:
            await line.connection.send_packed_command(packed, check_health=False)
            # Not by its own time-out, at which it would return None, with the reply still to come.
            reply = line.connection.read_response(disable_decoding=True)
            await asyncio.wait_for(reply, poll.dialling_seconds)
        except BaseException as error:
            if not isinstance(error, ResponseError):
                await hang_up(line.connection)
                raise
        await _put_back_awaiting(line)
