"""Stages of which the clients go through a proxy, and many operations at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from clients import close
from colours import Loop
from operations import LOCKS, OPERATIONS
from redis import asyncio as asynchronous
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry
from verdict import Stage

from pottery.testing import FaultyProxy

# What waits for as long as it takes, as it is told to.
PATIENT = {(kind, name) for kind in LOCKS for name in ("acquire", "__enter__", "__aenter__")}
WORKERS = 8


@contextmanager
def opened(server, database=0, **options):
    """Lend a stage whose clients go through a proxy."""
    with ExitStack() as stack:
        proxy = stack.enter_context(FaultyProxy(server.url))
        options = {"db": database, **options}
        blocking = stack.enter_context(proxy.client(**options, retry=Retry(NoBackoff(), 1)))
        retry = AsyncRetry(NoBackoff(), 1)
        awaiting = asynchronous.Redis.from_url(proxy.url, **options, retry=retry)
        seer = stack.enter_context(server.client(db=database))
        loop = Loop()
        yield FaultyStage(loop, seer, blocking, awaiting, proxy)
        seer.flushdb()
        loop.wait(close(awaiting))
        loop.wait(loop.loop.shutdown_asyncgens())
        loop.close()


class FaultyStage(Stage):
    """A stage with the proxy that its clients go through."""

    def __init__(self, loop, seer, blocking, awaiting, proxy):
        super().__init__(loop, seer, blocking, awaiting)
        self.proxy = proxy

    def clean(self, operation):
        """Return what becomes of an operation that is not disturbed, its script being known."""
        self.perform(operation)
        trials = (self.perform(operation) for _ in range(5))  # a busy machine may be late
        return next(trial for trial in trials if trial.error is None)

    def begin(self, fault, step, times=1):
        getattr(self.proxy, fault)(times, after=step)

    def disturb(self, operation, fault, step, *, is_flushed=False):
        """Perform an operation that loses its command or reply of number *step*; None if none."""
        lost = self.proxy.lost

        def run(call):
            if is_flushed:
                self.seer.script_flush()
            self.begin(fault, step)
            try:
                return self.call(call)
            finally:
                self.begin(fault, 0, times=0)

        trial = self.perform(operation, run)
        return trial if self.proxy.lost > lost else None


def all_wrong(stages, judge, operations=OPERATIONS):
    """Return what *judge* finds wrong with operations, by their names; many at once."""

    def find(operation):
        stage = stages.get()
        try:
            return str(operation), judge(stage, operation)
        finally:
            stages.put(stage)

    with ThreadPoolExecutor(WORKERS) as pool:
        return {name: wrong for name, wrong in pool.map(find, operations) if wrong}
