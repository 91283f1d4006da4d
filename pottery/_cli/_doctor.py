"""`pottery doctor`: what a server's settings mean for what pottery promises."""

from __future__ import annotations

import platform
import re
import textwrap
from typing import TYPE_CHECKING, NamedTuple

import redis
from redis.exceptions import NoPermissionError, ResponseError
from redis.utils import HIREDIS_AVAILABLE

from pottery._cli._screen import duration, memory
from pottery._cli._server import Trouble, info, pairs, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pottery._cli._screen import Screen
    from pottery._cli._server import Server, Servers

# The marks of findings. Only RISKY ones affect the exit status.
OK, NOTE, RISKY, HIDDEN = "ok", "note", "RISK", "?"
_STYLES = {OK: "green", NOTE: "yellow", RISKY: "red", HIDDEN: "yellow"}
_SETTINGS = ("appendfsync", "save", "timeout", "tcp-keepalive", "min-replicas-to-write")
_INDENT = 20
_WIDEST = 100
# The part of a limit from which on it counts as near.
_NEAR = 0.9


class Finding(NamedTuple):
    """What was *found* about a *subject*, and what that *means* for pottery."""

    mark: str
    subject: str
    found: str
    means: str = ""


class Facts:
    """What one server tells this user about itself; what it does not tell is None."""

    def __init__(self, server: Server, hello: dict[str, str]) -> None:
        text = server.allowed("INFO", "everything") or server.allowed("INFO")
        self.server = server
        self.hello = hello
        self.may_look = text is not None
        self.info = info(text or b"")
        self.settings = {name: self._setting(name) for name in _SETTINGS}

    def _setting(self, name: str) -> str | None:
        reply = self.server.allowed("CONFIG", "GET", name)
        return next((value.decode() for _, value in pairs(reply or [])), None)

    def number(self, name: str) -> int | None:
        """Return a number of INFO, None if it is not there."""
        value = self.info.get(name, "")
        return int(value) if re.fullmatch(r"-?\d+", value) else None

    def setting(self, name: str) -> int | None:
        """Return a setting that is a number, None if it was not told."""
        value = self.settings[name]
        return None if value is None or not value.isdigit() else int(value)


def examine(screen: Screen, servers: Servers) -> int:
    """Print what was found; return 1 if something is risky, else 0."""
    is_risky = False
    for finding in _findings(servers):
        is_risky |= finding.mark == RISKY
        _print(screen, finding)
    return int(is_risky)


def _findings(servers: Servers) -> Iterator[Finding]:
    yield from _of_client()
    for server in servers.all:
        try:
            facts = Facts(server, servers.hello)
        except Trouble as trouble:
            if not servers.is_cluster:
                raise
            yield Finding(RISKY, "server", str(trouble), _AWAY)
            continue
        place = f" at {server.address}" if len(servers.all) > 1 else ""
        for check in _CHECKS:
            for finding in check(facts):
                yield finding._replace(found=finding.found + place)
    if servers.is_cluster:
        yield from _of_cluster(servers)


_AWAY = "Nobody can use its keys until it is back, or a replica has taken its place."


def _print(screen: Screen, finding: Finding) -> None:
    if screen.is_json:
        screen.record({**finding._asdict(), "mark": finding.mark.lower()})
        return
    mark = screen.paint(f"{finding.mark:<4}", _STYLES[finding.mark])
    room = min(screen.width or _WIDEST, _WIDEST)
    indent = " " * _INDENT
    begin = f"{mark}  {finding.subject:<{_INDENT - 6}}"
    first, *rest = textwrap.wrap(finding.found, max(room - _INDENT, 20))
    screen.write(begin + first)
    for line in (*rest, *textwrap.wrap(finding.means, max(room - _INDENT, 20))):
        screen.write(indent + line)


def _of_client() -> Iterator[Finding]:
    versions = f"redis-py {redis.__version__}, Python {platform.python_version()}"
    if HIREDIS_AVAILABLE:
        yield Finding(OK, "client", f"{versions}, with hiredis")
        return
    advice = "Large replies are read several times faster with it: pip install 'pottery[hiredis]'."
    yield Finding(NOTE, "client", f"{versions}, without hiredis", advice)


def _of_server(facts: Facts) -> Iterator[Finding]:
    name, version = _version(facts)
    mode = facts.hello.get("mode", "standalone")
    uptime = facts.number("uptime_in_seconds")
    up = "" if uptime is None else f", up for {duration(uptime)}"
    found = f"{name} {version}, {mode}{up}"
    if not version:
        yield Finding(HIDDEN, "server", "not allowed to look at its version")
    elif name == "Redis" and _numbers(version) < (6, 2):
        yield Finding(RISKY, "server", found, "pottery needs Redis 6.2 or newer, or Valkey.")
    else:
        yield Finding(OK, "server", found)


def _version(facts: Facts) -> tuple[str, str]:
    valkey = facts.info.get("valkey_version")
    if valkey or facts.hello.get("server") == "valkey":
        return "Valkey", valkey or facts.hello.get("version", "")
    return "Redis", facts.info.get("redis_version") or facts.hello.get("version", "")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def _of_role(facts: Facts) -> Iterator[Finding]:
    role = facts.info.get("role") or facts.hello.get("role")
    replicas = facts.number("connected_slaves")
    if role in ("slave", "replica"):
        advice = "It refuses every write: give pottery the master's address."
        yield Finding(RISKY, "role", "this is a replica", advice)
    elif role is None:
        yield Finding(HIDDEN, "role", "not allowed to look")
    elif replicas:
        yield _of_replicas(replicas, facts.setting("min-replicas-to-write"))
    else:
        yield Finding(OK, "role", "master without replicas" if replicas == 0 else str(role))


def _of_replicas(count: int, least: int | None) -> Finding:
    found = f"master with {count} replica{'s' if count > 1 else ''}"
    found += "" if least is None else f", min-replicas-to-write {least}"
    means = (
        "A replica that takes over may lack the last writes, since replication does not wait. "
        "Containers lose those; locks and IDs could be given twice, so give Redlock and NextId "
        "masters that do not fail over."
    )
    if least == 0:
        means += " With min-replicas-to-write 1, a master that is cut off stops taking writes."
    return Finding(NOTE, "role", found, means)


def _of_eviction(facts: Facts) -> Iterator[Finding]:
    policy, limit = facts.info.get("maxmemory_policy"), facts.number("maxmemory")
    if policy is None or limit is None:
        yield Finding(HIDDEN, "eviction", "not allowed to look")
        return
    found = f"{policy}, " + (f"maxmemory {memory(limit)}" if limit else "no maxmemory")
    yield _of_policy(policy, found) if limit else Finding(OK, "eviction", found, _UNLIMITED)
    used = facts.number("used_memory") or 0
    if limit and policy == "noeviction" and used > limit * _NEAR:
        advice = "Soon every write is refused (OOM); getting from queues and unlocking still work."
        yield Finding(RISKY, "memory", f"{memory(used)} of {memory(limit)} are used", advice)


_UNLIMITED = (
    "Nothing is evicted, as there is no limit; but then the system kills the server when the "
    "machine's memory is used up. A maxmemory with noeviction refuses writes instead."
)


def _of_policy(policy: str, found: str) -> Finding:
    if policy.startswith("allkeys"):
        means = (
            "The server removes any key when memory is short: whole containers, queues with their "
            "items, locks that are held. Only caches can bear that: use noeviction."
        )
        return Finding(RISKY, "eviction", found, means)
    if policy.startswith("volatile"):
        means = (
            "The server removes keys that expire when memory is short. That is right for caches; "
            "but locks expire too, so one that is held may be given to another, and so do the "
            "records by which a queue knows a command that came twice. Use noeviction, or another "
            "server for locks and queues."
        )
        return Finding(RISKY, "eviction", found, means)
    return Finding(OK, "eviction", found)


def _of_persistence(facts: Facts) -> Iterator[Finding]:
    aof = facts.info.get("aof_enabled")
    if aof is None:
        yield Finding(HIDDEN, "persistence", "not allowed to look")
        return
    yield _of_log(facts) if aof == "1" else _of_snapshots(facts)
    failed = [
        what
        for what, name in (
            ("snapshot", "rdb_last_bgsave_status"),
            ("rewriting of the log", "aof_last_bgrewrite_status"),
            ("writing of the log", "aof_last_write_status"),
        )
        if facts.info.get(name, "ok") != "ok"
    ]
    if failed:
        means = "By default the server refuses writes then (MISCONF): look at its log and its disk."
        yield Finding(RISKY, "persistence", f"the last {' and '.join(failed)} failed", means)


_GIVEN_TWICE = (
    "a lock or an ID of that time may be given again, unless three masters or more decide, of "
    "which a majority remembers (or Redlock is told delayed_restart=True)"
)


_LOSES_NOTHING = "A crash loses nothing that was answered."


def _of_log(facts: Facts) -> Finding:
    sync = facts.settings["appendfsync"]
    if sync == "always":
        return Finding(OK, "persistence", "append-only file, fsync always", _LOSES_NOTHING)
    if sync == "no":
        means = f"If the machine crashes, some 30 seconds are lost, and {_GIVEN_TWICE}."
        return Finding(NOTE, "persistence", "append-only file, fsync left to the system", means)
    means = f"If the machine crashes, about a second is lost, and {_GIVEN_TWICE}."
    if sync is None:
        found = "append-only file; not allowed to look at appendfsync"
        return Finding(HIDDEN, "persistence", found, f"By default: {means}")
    return Finding(NOTE, "persistence", f"append-only file, fsync {sync}", means)


def _of_snapshots(facts: Facts) -> Finding:
    if facts.settings["save"] == "":
        means = (
            "A restart loses everything: containers, items of queues, and who holds which lock; "
            "IDs begin anew. Only caches can bear that."
        )
        return Finding(RISKY, "persistence", "none", means)
    changes = facts.number("rdb_changes_since_last_save") or 0
    found = f"snapshots only; {changes:,} changes since the last one"
    means = (
        "A crash loses what was written since the last snapshot, minutes perhaps: items that were "
        "taken from queues come back, and locks and IDs may be given twice. Use appendonly yes."
    )
    return Finding(RISKY, "persistence", found, means)


def _of_timeouts(facts: Facts) -> Iterator[Finding]:
    timeout, keepalive = facts.setting("timeout"), facts.setting("tcp-keepalive")
    if timeout is None or keepalive is None:
        yield Finding(HIDDEN, "time-outs", "not allowed to look")
        return
    found = f"timeout {timeout}, tcp-keepalive {keepalive}"
    if not keepalive:
        means = (
            "The server never notices that a client's machine has vanished: a consumer of a queue "
            "that waited there keeps its turn. Leave tcp-keepalive at 300."
        )
        yield Finding(NOTE, "time-outs", found, means)
    elif timeout:
        means = (
            f"Connections that are idle for {timeout} seconds are closed and opened anew, which "
            "costs a round trip or two. Those that wait for a queue or a lock are not idle."
        )
        yield Finding(OK, "time-outs", found, means)
    else:
        yield Finding(OK, "time-outs", found)


def _of_connections(facts: Facts) -> Iterator[Finding]:
    count, most = facts.number("connected_clients"), facts.number("maxclients")
    if count is None:
        yield Finding(HIDDEN, "connections", "not allowed to look")
        return
    blocked = facts.number("blocked_clients") or 0
    limit = "" if most is None else f" of {most:,}"
    found = f"{count:,}{limit}, of which {blocked:,} wait"
    if most and count > most * _NEAR:
        means = "Soon none is accepted. Each consumer that waits for a queue or a lock takes one."
        yield Finding(RISKY, "connections", found, means)
    else:
        yield Finding(OK, "connections", found)


def _of_scripts(facts: Facts) -> Iterator[Finding]:
    try:
        facts.server.ask("EVAL", "return 1", "0")
    except NoPermissionError:
        means = (
            "Queues, locks, IDs and most caches need them, and so do operations that are more than "
            "one command; those of one command work. Allow this user EVAL and EVALSHA."
        )
        yield Finding(RISKY, "scripts", "this user may not run them", means)
    except ResponseError as error:
        means = "Queues, locks, IDs and most caches need scripts."
        yield Finding(RISKY, "scripts", f"cannot be run: {reason(error)}", means)
    else:
        yield Finding(OK, "scripts", "this user may run them")


def _of_rights(facts: Facts) -> Iterator[Finding]:
    if not facts.may_look:
        means = (
            "A ? means unknown, not good: run this as a user who may look. Pottery itself "
            "needs INFO for Redlock(delayed_restart=True) only."
        )
        yield Finding(HIDDEN, "rights", "this user may not use INFO", means)


def _of_cluster(servers: Servers) -> Iterator[Finding]:
    state = info(servers.first.allowed("CLUSTER", "INFO") or b"")
    count = len(servers.all)
    means = "Containers, queues and caches work; Redlock and NextId need servers of their own."
    if not state:
        yield Finding(HIDDEN, "cluster", f"of {count} masters; not allowed to look", means)
        return
    is_well = state.get("cluster_state") == "ok"
    slots = state.get("cluster_slots_assigned")
    found = f"{state.get('cluster_state')}, {count} masters, {slots} of 16384 slots"
    if not is_well:
        means = "While it is not ok, operations wait a little and then raise ClusterDownError."
    yield Finding(OK if is_well else RISKY, "cluster", found, means)


_CHECKS: tuple[Callable[[Facts], Iterable[Finding]], ...] = (
    _of_server,
    _of_role,
    _of_eviction,
    _of_persistence,
    _of_timeouts,
    _of_connections,
    _of_scripts,
    _of_rights,
)
