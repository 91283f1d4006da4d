"""A program: poll five servers, and lock and unlock, while signals interrupt it.

It stands by itself, as interrupted.py does. Its arguments are the URLs of the servers; it prints
how many interrupts there were, how many replies belonged to others, and how many locks were left.
"""

from __future__ import annotations

import random
import signal
import sys
import time
import warnings
from contextlib import suppress

from interrupted import Interrupt
from redis import Redis

from pottery import Redlock, ReleaseUnlockedLock
from pottery._poll import Poll
from pottery._poll_blocking import poll_blocking

ROUNDS = 400
rng = random.Random(7)
armed = []


def interrupt(*_):
    if armed:
        armed.clear()
        raise Interrupt


def interrupted(function):
    """Call *function* and interrupt it, most likely; return whether that happened."""
    signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.00005, 0.001))
    try:
        try:
            armed.append(True)
            function()
        finally:
            armed.clear()
    except Interrupt:
        return True
    return False


def is_wrong(masters, text):
    votes = poll_blocking(Poll(masters, ("ECHO", text), 5))
    return votes != [text.encode()] * len(masters)


def is_left_behind(masters, lock):
    with suppress(ReleaseUnlockedLock):
        lock.release()
    deadline = time.monotonic() + 2
    while any(master.exists(lock.key) for master in masters):
        if time.monotonic() > deadline:
            return True
    return False


def main(urls):
    masters = [Redis.from_url(url, protocol=2, max_connections=10_000) for url in urls]
    lock = Redlock(key="printer", masters=masters)

    def use():
        lock.acquire()
        lock.release()

    interrupts = wrong = left = 0
    signal.signal(signal.SIGALRM, interrupt)
    for number in range(ROUNDS):
        interrupts += interrupted(lambda n=number: is_wrong(masters, f"{n}"))
        wrong += is_wrong(masters, f"{number}, again")
        with suppress(ReleaseUnlockedLock):
            interrupts += interrupted(use)
        left += is_left_behind(masters, lock)
        for master in masters[:3]:
            master.set(lock.key, "somebody")
        interrupts += interrupted(lambda: lock.acquire(blocking=False))
        for master in masters[:3]:
            master.delete(lock.key)
        left += is_left_behind(masters, lock)
    signal.setitimer(signal.ITIMER_REAL, 0)
    sys.stdout.write(f"{interrupts} {wrong} {left}\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1:])
