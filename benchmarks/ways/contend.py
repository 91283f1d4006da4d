"""A process whose threads contend for one lock, or for the IDs of one sequence, for some seconds.

It is run by the Python of a way's own environment, and prints what came of it, as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import warnings
from contextlib import contextmanager
from time import perf_counter, sleep

from redis import Redis

from pottery import NextID, Redlock  # as pottery 3.0.1 calls it; ours knows both names

# Seconds for which a lock is held.
HELD = 0.001


def lock_turns(masters):
    """Return what one thread does: it has a lock of its own at the common key."""
    lock = Redlock(key="contended", masters=masters)

    def turn():
        lock.acquire()
        took = perf_counter()
        sleep(HELD)
        lock.release()
        return took

    return turn


def id_turns(masters):
    """Return what one thread does: all share an object."""
    ids = NextID(key="contended", masters=masters)

    def turn():
        next(ids)
        return perf_counter()

    return turn


@contextmanager
def noting(failures):
    try:
        yield
    except Exception as error:  # noqa: BLE001 - that others are quicker is one to pottery 3.0
        failures.append(error)


def contend(turns, seconds):
    """Let each thread take turns; return how long each wait was, and how many turns failed."""
    waits, failures = [], []
    until = perf_counter() + seconds

    def work(turn):
        while (began := perf_counter()) < until:
            with noting(failures):
                waits.append(turn() - began)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in turns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return waits, failures


def main(what, count, seconds, *urls):
    warnings.simplefilter("ignore")
    masters = [Redis.from_url(url) for url in urls]
    if what == "lock":
        turns = [lock_turns(masters) for _ in range(int(count))]
    else:
        turns = [id_turns(masters)] * int(count)
    contend(turns, 0.2)  # lets connections be opened
    began = perf_counter()
    waits, failures = contend(turns, float(seconds))
    took = perf_counter() - began
    waits.sort()
    found = {
        "turn": took / max(len(waits), 1),
        "p99": waits[int(len(waits) * 0.99)] if waits else took,
        "failures": len(failures),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
