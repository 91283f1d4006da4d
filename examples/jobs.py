"""Factor numbers, by as many workers as you like, any of which may die.

    python jobs.py work ann &       # be a worker, until somebody ends it
    python jobs.py submit 1001      # hand in a job, and print its number
    python jobs.py wait 1           # print the result of a job as soon as it is there
    python jobs.py count            # print how many jobs each worker has done

The server is the one at REDIS_URL, or else on this machine.
"""

import os
import sys
import time

from redis import Redis

from pottery import (
    NextId,
    QueueEmptyError,
    RedisCounter,
    RedisDict,
    RedisSimpleQueue,
    Redlock,
    redis_cache,
)


def factors(n):
    """Return the prime factors of n, found by trying: slow if they are large."""
    found, divisor = [], 2
    while divisor * divisor <= n:
        if n % divisor:
            divisor += 1
        else:
            found.append(divisor)
            n //= divisor
    return [*found, n] if n > 1 else found


class Jobs:
    """Jobs that outlive their workers: what is not done in time is handed out again."""

    def __init__(self, redis, lease=10.0):
        self.lease = lease
        self.ids = NextId(key="jobs", masters={redis})
        self.open = RedisDict(redis=redis, key="jobs:open")
        self.queue = RedisSimpleQueue(redis=redis, key="jobs:queue")
        self.results = RedisDict(redis=redis, key="jobs:results")
        self.done = RedisCounter(redis=redis, key="jobs:done")
        self.sweeping = Redlock(key="jobs:sweeping", masters={redis}, auto_renew=True)
        self.factors = redis_cache(redis=redis, key="jobs:factors", timeout=None)(factors)

    def submit(self, n):
        """Hand in a number to factor, and return the number of the job."""
        job = next(self.ids)
        self.promise(job, n)
        self.queue.put(job)
        return job

    def promise(self, job, n):
        """Note that a job is to be done, and until when whoever has it is left alone."""
        self.open[job] = {"n": n, "until": time.time() + self.lease}

    def work(self, worker):
        """Do one job after the other, for ever."""
        while True:
            self.take_turn(worker)

    def take_turn(self, worker):
        """Do the next job; if there is none within a second, look for jobs that were lost."""
        try:
            job = self.queue.get(timeout=1)
        except QueueEmptyError:
            self.sweep()
        else:
            self.do(job, worker)

    def do(self, job, worker):
        """Do a job, unless it was done already."""
        task = self.open.get(job)
        if task:
            self.promise(job, task["n"])
            self.results[job] = self.factors(task["n"])
            self.open.pop(job, None)
            self.done.update([worker])

    def sweep(self):
        """Hand out again what should have been done by now; that one worker looks is enough."""
        if self.sweeping.acquire(blocking=False):
            try:
                for job, task in self.open.items():
                    if task["until"] < time.time():
                        self.promise(job, task["n"])
                        self.queue.put(job)
            finally:
                self.sweeping.release()

    def wait(self, job):
        """Return the result of a job as soon as it is there."""
        while (result := self.results.get(job)) is None:
            time.sleep(0.05)
        return result


def main(command, *arguments):
    """Do what the command line says."""
    redis = Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379/0"))
    jobs = Jobs(redis, lease=float(os.environ.get("LEASE", "10")))
    if command == "work":
        jobs.work(*arguments)
    elif command == "submit":
        print(*[jobs.submit(int(n)) for n in arguments])
    elif command == "wait":
        for job in arguments:
            print(f"{job}:", *jobs.wait(int(job)))
    elif command == "count":
        for worker, count in jobs.done.most_common():
            print(worker, count)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["help"]))
