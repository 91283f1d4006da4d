"""A program: put items and get them while signals interrupt it.

It stands by itself, as interrupted.py does. Its argument is the URL of a server; it prints how many
interrupts there were, how many items were got and how many put, and how many were got twice.
"""

from __future__ import annotations

import random
import signal
import sys
import warnings

from interrupted import Interrupt, silence
from redis import Redis

from pottery import QueueEmptyError, RedisSimpleQueue
from pottery._caller import Caller
from pottery._front import Sync

ROUNDS = 2000


def interrupt(_, frame):
    """Raise, but not once the queue has let go of the item: then it is lost in any function."""
    if frame.f_code is Caller.free.__code__:
        return
    while frame:
        if frame.f_code is Sync._drive.__code__ and frame.f_locals["steps"].gi_frame:
            raise Interrupt
        frame = frame.f_back


def main(url):
    redis, other = (Redis.from_url(url, protocol=2, max_connections=10_000) for _ in range(2))
    it, producer = (RedisSimpleQueue(redis=client, key="q") for client in (redis, other))
    signal.signal(signal.SIGALRM, interrupt)
    rng = random.Random(7)
    interrupts, got = 0, []
    for number in range(ROUNDS):
        producer.put(number)
        try:
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.00002, 0.0003))
            item = it.get(timeout=0.002) if number % 2 else it.get_nowait()
            silence()
            got.append(item)
        except (Interrupt, QueueEmptyError) as error:
            interrupts += isinstance(error, Interrupt)
        finally:
            silence()
    while not it.empty():
        got.append(it.get(timeout=2))
    twice = len(got) - len(set(got))
    sys.stdout.write(f"{interrupts} {len(got)} {ROUNDS} {twice}\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])
