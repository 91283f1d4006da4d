"""Where the time of a single call goes: each of its parts is done alone, in turns."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.ways.limit import Line
from pottery import RedisDict, RedisSet
from pottery._json import decode, encode
from pottery._leases import lease_blocking, standing_lease
from pottery._plan import Op
from pottery._wire import pack

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

ROUNDS = 60
TIMES = 100


class Call(NamedTuple):
    """An operation of one command: as it is used, its plan, and what it encodes and decodes."""

    whole: Callable[[], Any]
    plan: Callable[[], Any]
    encoded: tuple[Any, ...]
    decodes: bool = False


def calls(redis: Redis) -> dict[str, Call]:
    d = RedisDict({"a": 1}, redis=redis, key="dict")
    s = RedisSet("abc", redis=redis, key="set")
    return {
        "d[k]": Call(lambda: d["a"], lambda: d._fetch("a"), ("a",), decodes=True),
        "d[k] = v": Call(lambda: d.__setitem__("a", 1), lambda: d._store("a", 1), ("a", 1)),
        "x in s": Call(lambda: "a" in s, lambda: s._has("a"), ("a",)),
    }


def anatomy(redis: Redis) -> dict[str, dict[str, float]]:
    """Return for each operation the microseconds of its parts."""
    redis.flushdb()
    return {name: parts(redis, call) for name, call in calls(redis).items()}


def parts(redis: Redis, call: Call) -> dict[str, float]:
    pool = redis.connection_pool
    op = next(iter(call.plan()))
    connection = pool.get_connection()
    command = b"".join(pack(connection, op.args))
    connection.send_packed_command([command])
    reply = connection.read_response(disable_decoding=True)
    line = Line(f"redis://{connection.host}:{connection.port}/{connection.db}")
    took = in_turns(
        whole=call.whole,
        plan=partial(rehearse, call.plan, reply),
        codec=partial(code, call, reply),
        pack=partial(pack, connection, op.args),
        lease=partial(lease, pool),
        line=partial(ask, line, command),
    )
    pool.release(connection)
    server = seconds_of_server(redis, partial(ask, line, command)) * 1e6
    line.socket.close()
    told = {
        "JSON": took["codec"],
        "pottery's plan": took["plan"] - took["codec"],
        "lease of a connection": took["lease"],
        "packing": took["pack"],
        "kernel": took["line"] - server,
        "server": server,
    }
    return told | {"sending, receiving": took["whole"] - sum(told.values()), "all": took["whole"]}


def lease(pool: Any) -> None:
    """Lease a connection and give it back as pottery does."""
    standing = standing_lease(pool)
    connection = lease_blocking(pool, standing)
    if connection is standing.connection:
        standing.lock.release()
    else:
        pool.release(connection)


def rehearse(make: Callable[[], Any], reply: Any) -> Any:
    """Do all that a plan does, with a reply that is there already."""
    plan = make()
    if isinstance(plan, Op):
        return plan.read(reply)
    steps = iter(plan)
    op = next(steps)
    with suppress(StopIteration):
        steps.send(op.read(reply))
    return None


def code(call: Call, reply: Any) -> None:
    for value in call.encoded:
        encode(value)
    if call.decodes:
        decode(reply)


def ask(line: Line, command: bytes) -> None:
    line.socket.sendall(command)
    line.hear(1)


def in_turns(**ways: Callable[[], Any]) -> dict[str, float]:
    """Return the median microseconds of each."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = perf_counter()
            for _ in range(TIMES):
                way()
            took[name].append((perf_counter() - began) / TIMES * 1e6)
    return {name: median(times) for name, times in took.items()}


def seconds_of_server(redis: Redis, ask: Callable[[], None]) -> float:
    """Return how long the server runs a command, as it says itself."""
    redis.config_resetstat()
    for _ in range(ROUNDS * TIMES):
        ask()
    commands = redis.info("commandstats").items()
    beside = ("cmdstat_config", "cmdstat_info")
    busy = sum(command["usec"] for name, command in commands if not name.startswith(beside))
    return busy / (ROUNDS * TIMES) / 1e6
