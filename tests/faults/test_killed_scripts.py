"""A script of pottery's that takes long, and that somebody ends by SCRIPT KILL.

Redis does that only to a script that has not written yet.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress

import pytest
from clients import Awaiting, Blocking, opened
from performing import content
from redis.exceptions import ResponseError

from pottery import (
    AIORedisCounter,
    AIORedisList,
    AIORedisSet,
    RedisCounter,
    RedisList,
    RedisSet,
)
from pottery.testing import RedisServer

MANY = range(60_000)
HALF = MANY[::2]
COUNTS = Counter(map(str, MANY))
# What reads much in a script before it writes: what it is called on, in each colour, and how.
LONG = {
    "sort": (RedisList, lambda it: it.sort(reverse=True)),
    "slice": (RedisList, lambda it: it.__setitem__(slice(None, None, 2), HALF[::-1])),
    "del": (RedisList, lambda it: it.__delitem__(slice(None, None, 2))),
    "^=": (RedisSet, lambda it: it.symmetric_difference_update(HALF)),
    "&=": (RedisSet, lambda it: it.intersection_update(HALF)),
    "+=": (RedisCounter, lambda it: it.__iadd__(COUNTS)),
    "awaited sort": (AIORedisList, lambda it: it.sort(reverse=True)),
    "awaited slice": (AIORedisList, lambda it: it.set_slice(None, None, HALF[::-1], step=2)),
    "awaited del": (AIORedisList, lambda it: it.delete_slice(None, None, 2)),
    "awaited ^=": (AIORedisSet, lambda it: it.symmetric_difference_update(HALF)),
    "awaited &=": (AIORedisSet, lambda it: it.intersection_update(HALF)),
    "awaited +=": (AIORedisCounter, lambda it: it.sum_update(COUNTS)),
}
CONTENT = {RedisList: MANY, RedisSet: MANY, RedisCounter: COUNTS}


@pytest.fixture(scope="module")
def server():
    with RedisServer(config={"lua-time-limit": 1}) as server:
        yield server


class Killer:
    """Kills the first script that it can, until it is told to stop."""

    def __init__(self, client):
        self.client = client
        self.has_killed = False
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.is_over.is_set() and not self.has_killed:
            with suppress(ResponseError):  # no script runs, or it has written
                self.has_killed = self.client.script_kill()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("how", LONG)
def test_script_that_is_killed_is_told_and_has_changed_nothing(how, server):
    kind, call = LONG[how]
    twin = next(one for one in CONTENT if one.__name__ == kind.__name__.removeprefix("AIO"))
    colour = Blocking if kind is twin else Awaiting
    with server.client() as admin, opened(colour, [server]) as client:

        def perform():
            result = call(kind(redis=client.masters[0], key="k"))
            return client.run(result) if colour is Awaiting else result

        for _ in range(20):  # on a busy machine, the killer may be too late
            admin.flushdb()
            twin(CONTENT[twin], redis=admin, key="k")
            before, error = content(admin), None
            with Killer(admin) as killer:
                try:
                    perform()
                except ResponseError as caught:
                    error = caught
            if killer.has_killed:
                break
        assert "killed by user" in str(error)
        assert content(admin) == before
        perform()
        assert content(admin) != before
