"""What the tests of faults share."""

from __future__ import annotations

import queue
from contextlib import ExitStack

import pytest
from proxied import WORKERS, opened

from pottery.testing import RedisServer


@pytest.fixture(scope="session")
def stages():
    """Stages to take from and to put back, each with a database and a proxy of its own."""
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer())
        stages = queue.SimpleQueue()
        for number in range(WORKERS):
            stages.put(stack.enter_context(opened(server, number, socket_timeout=0.5)))
        yield stages
