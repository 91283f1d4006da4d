"""A program: take IDs while signals interrupt it, and other threads take some of the same object.

It stands by itself, as interrupted.py does. Its arguments are the URLs of the servers; it prints
how many interrupts there were, how often the other threads got nothing for seconds afterwards, and
how many IDs were issued twice or fell.
"""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
import warnings

from interrupted import Interrupt
from redis import Redis

from pottery import NextId

ROUNDS = 1500
THREADS = 4
rng = random.Random(7)
armed = []
kept = []


def interrupt(*_):
    if armed:
        armed.clear()
        raise Interrupt


def take_interrupted(ids, taken):
    """Take IDs until interrupted, most likely; return whether that happened."""
    signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.00002, 0.001))
    try:
        try:
            armed.append(True)
            taken += (next(ids), next(ids), next(ids))
        finally:
            armed.clear()
    except Interrupt as error:
        kept.append(error)  # whoever keeps it keeps all that it went through
        return True
    return False


def go_on(counts):
    """Return whether the other threads get IDs."""
    before, deadline = list(map(len, counts)), time.monotonic() + 5
    while before == list(map(len, counts)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.0005)
    return True


def main(urls):
    # RESP2, since hiredis crashes when a signal meets a number that it packs.
    masters = [Redis.from_url(url, protocol=2) for url in urls]
    ids = NextId(key="interrupted", masters=masters)
    everything = [[] for _ in range(THREADS + 1)]
    stop = threading.Event()

    def work(taken):
        while not stop.is_set():
            taken.append(next(ids))

    mine, *theirs = everything
    for taken in theirs:
        threading.Thread(target=work, args=(taken,), daemon=True).start()
    signal.signal(signal.SIGALRM, interrupt)
    interrupts = stuck = 0
    for _ in range(ROUNDS):
        interrupts += take_interrupted(ids, mine)
        stuck += not go_on(theirs)
        if stuck:
            break
    signal.setitimer(signal.ITIMER_REAL, 0)
    stop.set()
    taken = [one for some in everything for one in some]
    wrong = len(taken) - len(set(taken)) + sum(some != sorted(some) for some in everything)
    sys.stdout.write(f"{interrupts} {stuck} {wrong}\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1:])
