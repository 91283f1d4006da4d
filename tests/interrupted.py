"""A program: perform every blocking operation while signals interrupt it, and judge the outcome.

It stands by itself, since an interrupt in the middle of the tools that measure or limit a test
would leave these in disorder. Its argument is the URL of a server; it prints how many interrupts
there were, how many connections redis-py's pool lost, being interrupted itself while it lent one,
and what was wrong.
"""

from __future__ import annotations

import random
import signal
import sys
import warnings
from contextlib import suppress

from operations import OPERATIONS
from redis import ConnectionPool, Redis
from verdict import FAILURES, LEAK, Interrupt, Stage

from pottery._leases import _lease, lease_blocking

ROUNDS = 12
# Seconds; what takes less than this asks nobody.
SHORTEST = 0.00004
LEASES = {one.__code__ for one in (lease_blocking, _lease, ConnectionPool.get_connection)}


def interrupt(_, frame):
    error = Interrupt()
    error.is_in_pool = False
    while frame:
        error.is_in_pool |= frame.f_code in LEASES
        frame = frame.f_back
    raise error


def silence():
    while True:
        with suppress(Interrupt):
            signal.setitimer(signal.ITIMER_REAL, 0)
            return


def interrupted(call, seconds):
    """Return what *call* gives, unless it is interrupted after *seconds*."""
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        return call()
    finally:
        silence()


def main(url):
    # RESP2, since hiredis crashes when a signal meets a number that it packs, and redis-py greets
    # with one in RESP3; many connections, since redis-py's pool loses one here and there.
    seer, client = Redis.from_url(url), Redis.from_url(url, protocol=2, max_connections=10_000)
    stage = Stage(None, seer, client, None)
    signal.signal(signal.SIGALRM, interrupt)
    rng = random.Random(7)
    interrupts, leaks, found = 0, [], []
    for operation in OPERATIONS:
        if operation.is_awaited:
            continue
        stage.perform(operation)
        clean = stage.perform(operation)
        if clean.seconds < SHORTEST:
            continue
        for _ in range(ROUNDS):
            seconds = rng.uniform(0.00002, 1.2 * clean.seconds + 0.00005)
            trial = stage.perform(
                operation, lambda call, s=seconds: interrupted(call, s), (Interrupt, *FAILURES)
            )
            interrupts += isinstance(trial.error, Interrupt)
            if wrong := stage.verdict(operation, clean, trial):
                is_theirs = wrong == LEAK and trial.error.is_in_pool
                (leaks if is_theirs else found).append(f"{operation} {wrong}")
    sys.stdout.write(f"{interrupts} {len(leaks)} {found}\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # sockets that an interrupt left to the garbage collector
    main(sys.argv[1])
