"""Perform polls by blocking.

One system call watches all lines. Threads are used only to open lines, a few at a time for each
server, since a server that hangs, or the look-up of its address, would keep the others waiting. A
single line is simply read.
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from contextlib import suppress
from math import ceil
from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, finalize

from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pottery._lines import MOST_DIALLING, Store, connection_beside
from pottery._poll import Counting, Line, Unanswered
from pottery._wire import FAILURES, pack

if TYPE_CHECKING:
    from pottery._poll import Poll

_LONGEST = 2**31 - 1  # milliseconds that the system can be asked to wait

_stores: WeakKeyDictionary[Any, _Store] = WeakKeyDictionary()


class _Store(Store):
    """The free lines of one pool, the requests for more, and how many threads open them."""

    def __init__(self) -> None:
        super().__init__()
        self.process = os.getpid()
        self.wanted: deque[tuple[_Dialling, Any]] = deque()
        self.dialling = 0
        self.lock = Lock()

    def hang_up(self) -> None:
        for line in self.take_all():
            line.connection.disconnect()


def _store(client: Any) -> _Store:
    pool = client.connection_pool
    store = _stores.get(pool)
    if store is None or store.process != os.getpid():  # the lines of a parent process are not ours
        store = _stores[pool] = _Store()
        # Not left to the garbage collector, which may get to the socket before its connection.
        finalize(pool, store.hang_up).atexit = False
    return store


class _Ears:
    """Sockets that one listens to, with the name of each by its number."""

    def __init__(self, sockets: dict[Any, Any]) -> None:
        self.names = {socket.fileno(): name for name, socket in sockets.items()}
        self.poll = select.poll() if hasattr(select, "poll") else None
        if self.poll:
            for number in self.names:
                self.poll.register(number, select.POLLIN)

    def readable(self, seconds: float) -> list[int]:
        """Return the numbers of those that become readable within *seconds*."""
        if not self.poll:  # pragma: no cover - Windows
            return select.select(list(self.names), (), (), seconds)[0]
        # Rounded up: otherwise the last millisecond would be spent in a busy loop.
        ready = self.poll.poll(min(ceil(seconds * 1000), _LONGEST))
        return [number for number, _ in ready]

    def drop(self, number: int) -> None:
        del self.names[number]
        if self.poll:
            self.poll.unregister(number)


def _readable(sockets: dict[Any, Any]) -> list[Any]:
    """Return the names of the sockets that can be read."""
    ears = _Ears(sockets)
    return [ears.names[number] for number in ears.readable(0)]


def _free_line(client: Any) -> Line | None:
    try:
        return _store(client).free.pop()
    except IndexError:
        return None


def _socket(line: Line) -> Any:
    return line.connection._sock  # there is no public access to it


def _dial(client: Any, seconds: float) -> Line:
    began = monotonic()
    connection = None
    try:
        connection = connection_beside(client, seconds, seconds)
        connection.connect()
    except Exception as error:
        if connection is not None:
            connection.disconnect()
        _store(client).fail(began, seconds, error)
        raise
    return Line(connection, _store(client))


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
    """Do what `_Blocking` does, for one client, at a third of its cost."""
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
            _put_back(line)
        elif _socket(line):
            _keep_or_hang_up(client, line, poll)


def _quiet_line(client: Any) -> Line | None:
    while line := _free_line(client):
        if not line.is_doubtful() or not _readable({client: _socket(line)}):
            return line
        line.connection.disconnect()
    return None


def _hear_one(poll: Poll, line: Line, until: float) -> Any:
    connection = line.connection
    if poll.args:
        line.unread += 1
        _socket(line).settimeout(poll.seconds)
        connection.send_packed_command(pack(connection, poll.args), check_health=False)
    vote: Any = None
    while line.unread and (left := until - monotonic()) > 0:
        _socket(line).settimeout(left)
        try:
            vote = _reply(line)
        except RedisTimeoutError:  # the parser keeps what has come of the reply
            break
        line.unread -= 1
    return Unanswered() if line.unread else vote


def _reply(line: Line) -> Any:
    try:
        return line.connection.read_response(disable_decoding=True, disconnect_on_error=False)
    except ResponseError as error:
        return error


class _Blocking(Counting):
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
        """Take a line for each client; return the clients for which there is none."""
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
            # Nothing was asked on these lines, so one that can be read was hung up by its server.
            wanted = _readable(doubtful) if doubtful else ()
            for client in wanted:
                self.hang_up(client)
        return missing

    def may_dial(self, client: Any) -> bool:
        store = _store(client)
        may = store.may_dial(self.poll, len(store.wanted))
        if not may:
            self.count(client, store.failure)
        return may

    def ask(self, client: Any, line: Line) -> None:
        self.lines[client] = line
        if not self.poll.args:
            return
        line.unread += 1  # before sending, since that may be interrupted anywhere
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
        ears = _Ears(self.sockets())
        while ears.names and (left := self.left()):
            for number in ears.readable(left):
                client = ears.names[number]
                if client is None:
                    self.answer_bell()
                    ears = _Ears(self.sockets())
                    break  # the others can be read the next time, too
                self.read(client, self.lines[client])
                if not self.is_awaited(client):
                    ears.drop(number)

    def is_awaited(self, client: Any) -> bool:
        """Return whether replies of *client* are still to come."""
        line = self.lines.get(client)
        return line is not None and line.unread > 0

    def sockets(self) -> dict[Any, Any]:
        """Return the sockets to listen to, by client; the name of the bell is None."""
        sockets = {client: _socket(line) for client, line in self.lines.items() if line.unread}
        if self.dialling and self.dialling.busy:
            sockets[None] = self.dialling.bell
        return sockets

    def answer_bell(self) -> None:
        dialling: Any = self.dialling
        for client, outcome in dialling.outcomes():
            if isinstance(outcome, Line):
                self.ask(client, outcome)
            else:
                self.count(client, outcome)

    def read(self, client: Any, line: Line) -> None:
        """Read the replies that have come; the last one that is due is the vote."""
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
                _put_back(line)
            else:
                _keep_or_hang_up(client, line, self.poll)
        if self.dialling:
            self.dialling.leave()
        if self.broken and self.poll.insist:
            _Dialling(self.broken, self.poll).leave()


def _put_back(line: Line) -> None:
    if not line.store.put_back(line):
        line.connection.disconnect()


def _keep_or_hang_up(client: Any, line: Line, poll: Poll) -> None:
    """Keep a line with replies still to come for a later poll, or else hang up."""
    if poll.keep:
        poll.lines[client] = line
        return
    for one in line.store.give_up(line, poll):
        one.connection.disconnect()


class _Dialling:
    """Opens lines in threads, one for each client, and rings a bell for each that is done."""

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
            needs_thread = store.dialling < MOST_DIALLING
        if needs_thread:
            Thread(target=_dial_all, args=(store,), daemon=True).start()

    def open(self, client: Any) -> None:
        if self.is_left and not self.poll.insist:
            return
        try:
            # Another poll may have freed a line while this one was waiting.
            line = _quiet_line(client) or _dial(client, self.poll.dialling_seconds)
            self.opened.append((client, line))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this client's vote
            self.opened.append((client, error))
        with self.lock:  # once closed, the rope's number may be another socket's
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
        """Stop listening, and leave the rest to the threads."""
        with self.lock:
            self.is_left = True
            self.bell.close()
            self.rope.close()
        if self.opened:
            Thread(target=self.finish, daemon=True).start()

    def finish(self) -> None:
        for _, line in self.take_opened():
            if isinstance(line, Line) and (not self.poll.insist or self.tell(line)):
                _put_back(line)

    def tell(self, line: Line) -> bool:
        """Send the command though nobody wants its reply; return whether the line is still good."""
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
    """Open the lines that are wanted, one after the other."""
    with store.lock:
        store.dialling += 1
    while True:
        with store.lock:
            if not store.wanted:
                store.dialling -= 1
                return
            dialling, client = store.wanted.popleft()
        dialling.open(client)
