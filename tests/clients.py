"""Clients of both colours, servers that are away for a while, and waiting for what must come."""

from __future__ import annotations

import asyncio
import gc
import os
import time
import warnings
from contextlib import ExitStack, contextmanager

from redis import asyncio as asynchronous

from pottery._poll_awaiting import _dial_awaiting


async def close(*clients):
    """Close asynchronous clients, of whichever redis-py, and those by which they find a master."""
    for client in clients:
        pool = getattr(client, "connection_pool", None)
        manager = getattr(pool, "sentinel_manager", None)
        for one in (client, *(manager.sentinels if manager else ())):
            await (one.aclose() if hasattr(one, "aclose") else one.close())


class Blocking:
    """Clients of *servers*, for what blocks."""

    def __init__(self, servers):
        self.masters = [server.client() for server in servers]

    def run(self, result):
        return result

    def rest(self, seconds):
        time.sleep(seconds)

    def close(self):
        for client in self.masters:
            client.close()


class Awaiting:
    """Clients of *servers*, for what is awaited; all in one event loop."""

    def __init__(self, servers):
        self.masters = [asynchronous.Redis.from_url(server.url) for server in servers]
        self.loop = asyncio.new_event_loop()

    def run(self, awaitable):
        return self.loop.run_until_complete(awaitable)

    def rest(self, seconds):
        """Let what goes on in the loop go on."""
        self.run(asyncio.sleep(seconds))

    def is_dialling(self):
        going_on = [task.get_coro().cr_code for task in asyncio.all_tasks(self.loop)]
        return _dial_awaiting.__code__ in going_on

    def close(self):
        # asyncio says farewell by TLS, for longer than the loop lives, if it is cancelled when it
        # has just shaken hands.
        wait_until(lambda: self.rest(0.001) or not self.is_dialling(), 10)
        self.run(close(*self.masters))
        self.run(self.loop.shutdown_asyncgens())
        self.loop.close()
        gc.collect()  # so that what was not closed is reported here


@contextmanager
def opened(colour, servers):
    """Lend a *colour* with clients of *servers*."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # so that what other tests left is not reported here
    clients = colour(servers)
    yield clients
    clients.close()


@contextmanager
def stopped(*servers):
    """Let *servers* hang."""
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(server.stall())
        yield


@contextmanager
def killed(*servers):
    """Let *servers* be dead; they come back empty."""
    for server in servers:
        server.kill()
    try:
        yield
    finally:
        for server in servers:
            server.start()


def seconds(function):
    """Return how long a call takes."""
    began = time.monotonic()
    function()
    return time.monotonic() - began


def wait_until(condition, seconds=2):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def forked(work):
    """Let a child do some work while the block does, and see that it succeeded.

    It never comes back from there, to go on as a second test runner.
    """
    pid = os.fork()
    if not pid:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    try:
        yield
    finally:
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
