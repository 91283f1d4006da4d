"""A proxy in front of a Redis server, with the faults that networks have."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from random import uniform
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote, urlsplit

from redis import Redis

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from types import TracebackType

    from typing_extensions import Self

# Commands that clients send by themselves, to introduce themselves or to learn about a cluster: no
# fault is spent on them.
_GREETINGS = set(b"ASKING AUTH CLIENT CLUSTER COMMAND HELLO READONLY SELECT".split())
# Commands that are answered once for each channel, in RESP3 by pushes, or not at all: one of a
# replica, and an empty line.
_UNANSWERED = {
    *b"PSUBSCRIBE PUNSUBSCRIBE SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE UNSUBSCRIBE".split(),
    b"REPLCONF",
    b"",
}
# Commands of a replica; after them, what the server sends are no longer replies.
_SYNCING = {b"PSYNC", b"SYNC"}

# Messages that may be on their way in one direction, and bytes that a line may have.
_BACKLOG = 10_000
_LONGEST_LINE = 2**20
_CHUNK = 2**16
_LONGEST_NAME = 2**6
# How often in a second something goes through a throttled line.
_TICKS = 50

_Stream: TypeAlias = "tuple[asyncio.StreamReader, asyncio.StreamWriter]"
_Line: TypeAlias = "asyncio.Queue[tuple[float, bytes] | None]"


class FaultyProxy:
    """A proxy for the Redis server at *url*, with faults on demand, while the ``with`` block runs.

    It listens at `url`, on a free port of the loopback interface, whether the server is on TCP or
    on a unix socket. Without faults, it forwards everything.

    Faults that happen once are calls: `drop_reply`, `drop_command`, `swallow_reply`, `cut`. Faults
    that last are ``with`` blocks: `stall`, `refuse`, `delay`, `throttle`. They affect the
    connections of all clients, in whatever thread or process. They count whole commands and whole
    replies, in whatever pieces these travel. Commands that clients send by themselves, when they
    connect or learn about a cluster, are always answered and not counted; nor are messages to
    subscribers.

    When the server is stopped and started again, the proxy finds it again.
    """

    def __init__(self, url: str) -> None:
        """Choose the server; ``with`` starts the proxy."""
        self._upstream = urlsplit(url)
        if self._upstream.scheme not in {"redis", "unix"}:
            raise ValueError("the url of the server must begin with redis:// or unix://")
        self.host = "127.0.0.1"
        self.port: int = 0  # until the with block begins
        self._owner = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._dropped_commands = _Countdown()
        self._dropped_replies = _Countdown()
        self._swallowed_replies = _Countdown()
        self._delay = (0.0, 0.0)
        self._rate = 0.0
        self._gate = asyncio.Event()
        self._gate.set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}:{self.port}>"

    def __enter__(self) -> Self:
        self._listener = self._bound()
        self._loop = asyncio.SelectorEventLoop()
        self.port = self._listener.getsockname()[1]
        self._thread = Thread(target=self._loop.run_forever, name=repr(self), daemon=True)
        self._thread.start()
        self._tell(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._loop and os.getpid() == self._owner:
            loop = self._loop
            self._tell(self._close())
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()
            self._loop = None

    @property
    def url(self) -> str:
        """The address of the proxy, with the other parts of the server's URL."""
        login, at, _ = self._upstream.netloc.rpartition("@")
        database = "" if self._upstream.scheme == "unix" else self._upstream.path
        options = f"?{self._upstream.query}" if self._upstream.query else ""
        return f"redis://{login}{at}{self.host}:{self.port}{database}{options}"

    def client(self, **options: Any) -> Redis:
        """Return a new client that goes through the proxy, with redis-py's *options*.

        The caller closes it.
        """
        client: Redis = Redis.from_url(self.url, **options)  # pyright: ignore[reportUnknownMemberType]
        return client

    @property
    def lost(self) -> int:
        """How many commands and replies were dropped or swallowed so far."""
        faults = (self._dropped_commands, self._dropped_replies, self._swallowed_replies)
        return sum(fault.lost for fault in faults)

    # --- what happens once

    def drop_reply(self, count: int = 1, *, after: int = 0) -> None:
        """Lose the next *count* replies, each with its connection, after letting *after* through.

        Their commands have run; the clients cannot know. A *count* of 0 cancels this.
        """
        self._tell(self._dropped_replies.begin(count, after))

    def drop_command(self, count: int = 1, *, after: int = 0) -> None:
        """Lose the next *count* commands, each with its connection, after letting *after* through.

        They do not run; the clients cannot know. A *count* of 0 cancels this.
        """
        self._tell(self._dropped_commands.begin(count, after))

    def swallow_reply(self, count: int = 1, *, after: int = 0) -> None:
        """Let the next *count* replies never come, though their connections stay open.

        Their commands have run, and so do later ones on such a connection, but no reply comes back
        over it any more: the client waits until its own time-out. *after* replies are let through
        first; a *count* of 0 cancels this.
        """
        self._tell(self._swallowed_replies.begin(count, after))

    def cut(self) -> None:
        """Close all connections now, whatever is on its way."""
        self._tell(self._cut())

    # --- what lasts

    @contextmanager
    def stall(self) -> Generator[None]:
        """Let nothing through in either direction, as in a network partition.

        Connections stay open, new ones are accepted, and nobody receives anything. What was sent
        meanwhile arrives when the block ends, including late commands.
        """
        gate = asyncio.Event()
        try:
            with self._while(_gate=gate):
                yield
        finally:
            self._tell(_open(gate))  # those that wait there go on to the current gate

    @contextmanager
    def refuse(self) -> Generator[None]:
        """Refuse new connections and close the old ones, like a machine without a server.

        Raises RuntimeError if the proxy already does that.
        """
        self._tell(self._refuse())
        try:
            yield
        finally:
            self._tell(self._listen())

    @contextmanager
    def delay(self, seconds: float, *, jitter: float = 0.0) -> Generator[None]:
        """Delay everything by *seconds*, and by up to *jitter* more, in each direction.

        So a round trip is delayed twice. The order of messages is kept.
        """
        if min(seconds, jitter) < 0:
            raise ValueError("seconds and jitter must not be negative")
        with self._while(_delay=(seconds, jitter)):
            yield

    @contextmanager
    def throttle(self, bytes_per_second: float) -> Generator[None]:
        """Let only *bytes_per_second* through, in each direction of each connection."""
        if not bytes_per_second > 0:
            raise ValueError("bytes_per_second must be positive")
        with self._while(_rate=bytes_per_second):
            yield

    # --- in the proxy's own thread

    async def _let_through(self, message: memoryview, writer: asyncio.StreamWriter) -> memoryview:
        """Write what may go now, and return the rest."""
        while not self._gate.is_set():
            await self._gate.wait()
        size = max(int(self._rate / _TICKS), 1) if self._rate else len(message)
        writer.write(message[:size])
        await writer.drain()
        if self._rate:
            await asyncio.sleep(size / self._rate)
        return message[size:]

    def _tell(self, what: Coroutine[Any, Any, None]) -> None:
        """Run *what* in the proxy's thread, and return when it is done."""
        if self._loop is None or os.getpid() != self._owner:
            what.close()
            raise RuntimeError("only its maker can use the proxy, and only in its with block")
        asyncio.run_coroutine_threadsafe(what, self._loop).result()

    async def _set(self, **settings: Any) -> None:
        vars(self).update(settings)

    @contextmanager
    def _while(self, **settings: Any) -> Generator[None]:
        before = {name: vars(self)[name] for name in settings}
        self._tell(self._set(**settings))
        try:
            yield
        finally:
            self._tell(self._set(**before))

    async def _listen(self) -> None:
        self._listener.listen()
        self._accepting = asyncio.create_task(self._accept())

    def _bound(self) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, self.port))
        listener.setblocking(False)
        return listener

    async def _refuse(self) -> None:
        if self._accepting.done():
            raise RuntimeError("the proxy refuses connections already")
        await self._deafen()
        self._listener = self._bound()  # which keeps the port for us
        await self._cut()

    async def _deafen(self) -> None:
        self._accepting.cancel()
        await asyncio.wait([self._accepting])
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # a forked child may have it open, too
        self._listener.close()

    async def _cut(self) -> None:
        links = [*self._links]
        for link in links:
            link.cancel()
        if links:
            await asyncio.wait(links)

    async def _close(self) -> None:
        await self._deafen()
        await self._cut()
        await asyncio.sleep(0)  # sockets close in a later turn of the loop
        await asyncio.get_running_loop().shutdown_default_executor()

    async def _accept(self) -> None:
        while True:
            client = await self._accepted()
            link = asyncio.create_task(self._serve(client))
            self._links.add(link)
            link.add_done_callback(self._links.discard)
            link.add_done_callback(partial(_close, client))  # even if it never began

    async def _accepted(self) -> socket.socket:
        """Return the next connection. Unlike sock_accept, lose none when cancelled."""
        loop, has_come = asyncio.get_running_loop(), asyncio.Event()
        while True:
            has_come.clear()
            loop.add_reader(self._listener, has_come.set)
            try:
                await has_come.wait()
            finally:
                loop.remove_reader(self._listener)
            with suppress(OSError):  # the client may already be gone
                client, _ = self._listener.accept()
                client.setblocking(False)
                return client

    async def _serve(self, client: socket.socket) -> None:
        """Forward what a client and the server send to each other until one of them goes."""
        # Without a server, the client is disconnected.
        with suppress(OSError), ExitStack() as stack:
            near = await asyncio.open_connection(sock=client, limit=_LONGEST_LINE)
            stack.callback(_shut, near[1])
            far = await self._connect()
            stack.callback(_shut, far[1])
            await _Link(self, near, far).carry()

    async def _connect(self) -> _Stream:
        server = self._upstream
        if server.scheme == "unix":
            return await asyncio.open_unix_connection(unquote(server.path), limit=_LONGEST_LINE)
        host, port = server.hostname or "localhost", server.port or 6379
        return await asyncio.open_connection(host, port, limit=_LONGEST_LINE)


class _Countdown:
    """A number of messages to let through, and then a number to lose."""

    def __init__(self) -> None:
        self._count = self._after = self.lost = 0

    async def begin(self, count: int, after: int) -> None:
        if count < 0 or after < 0:
            raise ValueError("count and after must not be negative")
        self._count, self._after = count, after

    def is_due(self) -> bool:
        """Return whether the one that comes now is to be lost."""
        if not self._count:
            return False
        if self._after:
            self._after -= 1
            return False
        self._count -= 1
        self.lost += 1
        return True


class _Link:
    """A connection of a client, and its continuation to the server."""

    def __init__(self, proxy: FaultyProxy, near: _Stream, far: _Stream) -> None:
        self._proxy = proxy
        self._near, self._far = near, far
        self._there: _Line = asyncio.Queue(_BACKLOG)
        self._back: _Line = asyncio.Queue(_BACKLOG)
        self._asked: deque[bytes] = deque()  # the commands that are not answered yet
        self._is_ending = False  # it ends as soon as these are answered
        self._is_silent = False  # replies are swallowed
        self._is_raw = False  # what the server sends are not replies

    async def carry(self) -> None:
        bringing = [
            asyncio.create_task(self._bring(self._there, self._far[1])),
            asyncio.create_task(self._bring(self._back, self._near[1])),
        ]
        hearing = [asyncio.create_task(self._commands()), asyncio.create_task(self._replies())]
        try:
            await asyncio.wait(bringing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*hearing, *bringing):
                task.cancel()
            await asyncio.gather(*hearing, *bringing, return_exceptions=True)

    async def _commands(self) -> None:
        while command := await _message(self._near[0]):
            name = _name(command)
            if name not in _GREETINGS and self._proxy._dropped_commands.is_due():
                self._is_ending = True
                await self._end_if_all_is_answered()
                return
            if name not in _UNANSWERED:
                self._asked.append(name)
            self._is_raw |= name in _SYNCING
            await self._put(self._there, command)
        await self._there.put(None)

    async def _replies(self) -> None:
        while reply := await self._reply():
            is_counted = not reply.startswith(b">") and self._asked
            if is_counted and self._asked.popleft() not in _GREETINGS and not self._is_silent:
                if self._proxy._dropped_replies.is_due():
                    break
                self._is_silent = self._proxy._swallowed_replies.is_due()
            if not self._is_silent:
                await self._put(self._back, reply)
            await self._end_if_all_is_answered()
        await self._back.put(None)

    async def _reply(self) -> bytes:
        if self._is_raw and not self._asked:
            with suppress(OSError):
                return await self._far[0].read(_CHUNK)
        return await _message(self._far[0])

    async def _end_if_all_is_answered(self) -> None:
        if self._is_ending and not self._asked:
            await self._back.put(None)

    async def _put(self, line: _Line, message: bytes) -> None:
        least, jitter = self._proxy._delay
        seconds = least + uniform(0, jitter)  # noqa: S311 - no secret
        await line.put((asyncio.get_running_loop().time() + seconds, message))

    async def _bring(self, line: _Line, writer: asyncio.StreamWriter) -> None:
        """Forward the messages of the line, each when it is due, until the line ends."""
        writer.transport.set_write_buffer_limits(0)  # so that what was drained has been sent
        while item := await line.get():
            due, message = item
            if (left := due - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(left)
            rest = memoryview(message)
            while rest:
                rest = await self._proxy._let_through(rest, writer)


async def _message(reader: asyncio.StreamReader) -> bytes:
    """Return the next command, reply or push, whole; b"" when there are no more."""
    parts: list[bytes] = []
    values = 1
    with suppress(OSError, EOFError, ValueError, asyncio.LimitOverrunError):
        while values:
            line = await reader.readuntil(b"\n")
            parts.append(line)
            kind, values = line[:1], values - 1
            if kind in b"*~>":
                values += max(int(line[1:]), 0)
            elif kind in b"%|":
                values += 2 * int(line[1:]) + (kind == b"|")
            elif kind in b"$=!" and (size := int(line[1:])) >= 0:
                parts.append(await reader.readexactly(size + 2))
        return b"".join(parts)
    return b""


def _name(command: bytes) -> bytes:
    """Return the command's name: GET for *2, $3, GET, $1, k, and for a line GET k."""
    words = [*command[:_LONGEST_NAME].split(maxsplit=3), b""]
    return (words[2] if command.startswith(b"*") and len(words) > 3 else words[0]).upper()


async def _open(gate: asyncio.Event) -> None:
    gate.set()


def _close(client: socket.socket, _: object) -> None:
    client.close()


def _shut(writer: asyncio.StreamWriter) -> None:
    """Close a connection for both sides, even if a forked child has it open, too."""
    with suppress(OSError):
        writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
    writer.transport.abort()
