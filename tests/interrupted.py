"""A program: read lists while signals interrupt it, and count the replies that belong to others.

It stands by itself, since an interrupt in the middle of the tools that measure or limit a test
would leave these in disorder. Its argument is the URL of a server; it prints both numbers.
"""

from __future__ import annotations

import random
import signal
import sys
import warnings
from contextlib import suppress

from redis import Redis

from pottery import RedisList

ROUNDS = 2000
LISTS = range(20)


class Interrupt(Exception):
    """What a signal handler raises, as Celery's soft time limit does."""


def interrupt(*_):
    raise Interrupt


def silence():
    while True:
        with suppress(Interrupt):
            signal.setitimer(signal.ITIMER_REAL, 0)
            return


def wrong_replies(lists):
    return sum(numbers[0] != n for n, numbers in enumerate(lists))


def main(url):
    # RESP2, since hiredis crashes when a signal meets a number that it packs, and redis-py greets
    # with one in RESP3; many connections, since redis-py's pool loses one here and there.
    redis = Redis.from_url(url, protocol=2, max_connections=10_000)
    lists = [RedisList([n], redis=redis, key=f"l{n}") for n in LISTS]
    signal.signal(signal.SIGALRM, interrupt)
    rng = random.Random(7)
    interrupts = wrong = 0
    for _ in range(ROUNDS):
        try:
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.00002, 0.0004))
            wrong += wrong_replies(lists)
        except Interrupt:
            interrupts += 1
        finally:
            silence()
        wrong += wrong_replies(lists[:3])
    sys.stdout.write(f"{interrupts} {wrong}\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # sockets that an interrupt left to the garbage collector
    main(sys.argv[1])
