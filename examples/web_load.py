"""Put the shop of web.py under load, and check that its workers agree about everything.

Two worker processes serve a hundred customers, who all ask at once. The server is the one at
REDIS_URL, or else one that starts and ends with the program.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager, suppress
from itertools import cycle, islice
from pathlib import Path
from time import monotonic, perf_counter, sleep
from uuid import uuid4

import httpx
from index_stdlib import server_url
from redis import Redis
from redis.exceptions import RedisError

from pottery import HyperLogLog, RedisCounter, RedisDeque, RedisDict

WORKERS, CUSTOMERS, PIECES, PER_MINUTE = 2, 100, 200, 100
REQUESTS = int(sys.argv[1]) if len(sys.argv) > 1 else 1500  # for reports
REPORTS = [("GET", f"/reports/2024-{month:02}") for month in range(1, 13)]
ORDERS = [("POST", "/orders/pear")] * 300
GREEDY = [("GET", "/customers")] * 200


@contextmanager
def running(redis_url, prefix):
    """Lend the address at which uvicorn serves the shop, with all its workers ready."""
    options = "--app-dir", str(Path(__file__).parent), "--port", "0", "--workers", str(WORKERS)
    options += "--no-access-log", "--timeout-graceful-shutdown", "1"
    with tempfile.TemporaryFile("w+") as log:
        uvicorn = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "web:app", *options],
            env={**os.environ, "REDIS_URL": redis_url, "SHOP": prefix},
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us, and we end it
        )
        try:
            yield address(uvicorn, log)
        finally:
            uvicorn.terminate()
            with suppress(subprocess.TimeoutExpired):
                uvicorn.wait(5)
            with suppress(ProcessLookupError):  # nobody of the group is left
                os.killpg(uvicorn.pid, signal.SIGKILL)
            uvicorn.wait()


def address(uvicorn, log):
    """Return what uvicorn says, once all workers have said that they are ready."""
    deadline, said = monotonic() + 30, ""
    while uvicorn.poll() is None and monotonic() < deadline:
        log.seek(0)
        said = log.read()
        if said.count("Application startup complete") == WORKERS:
            return re.search(r"running on (\S+)", said)[1]
        sleep(0.05)
    sys.exit(f"uvicorn did not start\n{said}")


async def fire(url, requests, names):
    """Share *requests* among customers who all ask at once; return the answers."""

    async def customer(number, name):
        answers = []
        options = {"headers": {"x-api-key": name}, "timeout": 30, "trust_env": False}
        async with httpx.AsyncClient(base_url=url, **options) as http:
            for method, path in requests[number :: len(names)]:
                answers.append(await http.request(method, path))
        return answers

    answers = await asyncio.gather(*[customer(*who) for who in enumerate(names)])
    return [answer for some in answers for answer in some]


def timed(what, *args):
    """Fire, and print how fast it went."""
    began = perf_counter()
    answers = asyncio.run(fire(*args))
    rate = len(answers) / (perf_counter() - began)
    print(f"{len(answers)} {what}: {rate:.0f} a second, by {len(args[-1])} clients at once")
    return answers


def demonstrate(redis, redis_url, prefix):
    """Fire at the shop and print what came of it; return whether all of it is right."""
    RedisDict({"pear": PIECES}, redis=redis, key=f"{prefix}:stock")
    names = [f"customer {number}" for number in range(CUSTOMERS)]
    with running(redis_url, prefix) as url:
        reports = timed("requests for reports", url, list(islice(cycle(REPORTS), REQUESTS)), names)
        orders = timed("orders, one at a time", url, ORDERS, names)
        greedy = timed("requests of the greedy one", url, GREEDY, ["the greedy one"] * 20)

    answers = [*reports, *orders]
    workers = {answer.headers.get("x-worker") for answer in reports}
    print(f"workers that gave reports: {len(workers)}")
    minutes = list(redis.scan_iter(f"{prefix}:requests:*"))
    counted = sum(RedisCounter(redis=redis, key=key).total() for key in minutes)
    sold = [answer.json()["left"] for answer in orders if answer.status_code == 201]
    codes = Counter(answer.status_code for answer in answers)
    served = sum(answer.status_code == 200 for answer in greedy)
    about = len(HyperLogLog(redis=redis, key=f"{prefix}:customers"))
    return all(
        [
            tell("reports made", len({answer.text for answer in reports}), len(REPORTS)),
            tell("pieces sold", len(sold), PIECES),
            tell("pieces sold twice", len(sold) - len(set(sold)), 0),
            tell("orders on record", len(RedisDeque(redis=redis, key=f"{prefix}:orders")), PIECES),
            tell("told that it is sold out", codes[409], len(orders) - PIECES),
            tell("requests counted", counted, len(answers) + len(greedy)),
            tell("customers, about", about, CUSTOMERS + 1 if abs(about - 101) > 3 else about),
            tell("the greedy one served", served, min(served, PER_MINUTE * len(minutes))),
            tell("other answers", sum(codes.values()) - codes[200] - len(orders), 0),
        ]
    )


def tell(what, number, right):
    """Print a number, and say so if it is not the right one."""
    print(f"{what:>25}: {number}" + (f" - WRONG, should be {right}" * (number != right)))
    return number == right


def main():
    """Exit with 1 if a number is wrong."""
    prefix = f"pottery-demo:{uuid4()}"
    try:
        with server_url() as redis_url, Redis.from_url(redis_url) as redis:
            try:
                is_right = demonstrate(redis, redis_url, prefix)
            finally:
                for key in redis.scan_iter(f"*{prefix}:*"):
                    redis.unlink(key)
    except (RedisError, httpx.HTTPError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(not is_right)


if __name__ == "__main__":
    main()
