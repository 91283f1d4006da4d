"""The command `pottery`, on real servers: mostly by its function, sometimes as a process."""

from __future__ import annotations

import doctest
import fcntl
import json
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from clients import wait_until
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

import pottery
from pottery import (
    BloomFilter,
    CachedOrderedDict,
    HyperLogLog,
    NextId,
    RedisCounter,
    RedisDeque,
    RedisDict,
    RedisList,
    RedisSet,
    RedisSimpleQueue,
    Redlock,
    redis_cache,
)
from pottery._cli import _doctor, main
from pottery._cli._keys import owner_of
from pottery._cli._screen import (
    Column,
    Line,
    Screen,
    Table,
    cut,
    duration,
    memory,
    pad,
    plain,
    width,
)
from pottery._cli._server import reason
from pottery.testing import RedisServer
from pottery.testing._sentinel import _SentinelProcess

DOCUMENTATION = Path(__file__).parents[1] / "docs" / "command.md"
UNREADABLE = b"\xff\x1b[2J"


@pytest.fixture
def run(server, redis, capsys):
    """A function that runs the command on the server of `redis`."""

    def run(*arguments, url=server.url):
        status = main([*arguments, "--url", url])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def records(run):
    """A function that runs the command with --json, and returns what it prints."""

    def records(*arguments, **options):
        status, out, _ = run(*arguments, "--json", **options)
        assert status in (0, 1)
        return [json.loads(line) for line in out.splitlines()]

    return records


def command(*arguments, url="", **options):
    environment = {**os.environ, "REDIS_URL": url, "PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "pottery", *arguments],
        env=environment,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def everything(redis):
    """Make one of each kind; return what must be kept so that it stays."""
    RedisDict({"a": "x"}, redis=redis, key="dict")
    RedisCounter({"a": 1}, redis=redis, key="counter")
    RedisSet([1, 2], redis=redis, key="set")
    RedisList([1, 2, 3], redis=redis, key="list")
    RedisDeque([1, 2, 3, 4], redis=redis, key="deque")
    RedisSimpleQueue(redis=redis, key="queue").put("item")
    BloomFilter(["a"], num_elements=100, false_positives=0.01, redis=redis, key="bloom")
    HyperLogLog(["a", "b"], redis=redis, key="hyperloglog")
    CachedOrderedDict(redis_client=redis, redis_key="cached", dict_keys=[1])[1] = "one"
    redis_cache(redis=redis, key="function", ttl=60)(abs)(-2)
    next(NextId(key="ids", masters={redis}))
    lock = Redlock(key="lock", masters={redis}, fencing=True)
    lock.acquire()
    return lock, RedisSet([1], redis=redis)


# --- ls


def test_ls_tells_the_kind_of_each_key_as_far_as_it_can_be_known(redis, records):
    kept = everything(redis)

    kinds = {record["key"]: record["kind"] for record in records("ls")}

    temporary = kept[1].key
    assert kinds == {
        "dict": "dict or counter",
        "counter": "dict or counter",
        "cached": "dict, counter or cached dict",
        "function": "function cache",
        "set": "set",
        "list": "list or deque",
        "deque": "list or deque",
        "queue": "queue",
        "bloom": "bloom filter or text",
        "hyperloglog": "hyperloglog",
        "nextid:ids": "ids",
        "redlock:lock": "lock",
        temporary: "set",
    }


def test_ls_tells_sizes_and_times_to_live(redis, records):
    RedisList(range(7), redis=redis, key="list")
    redis.expire("list", 100)
    redis.set("text", "hello")

    of_list, of_text = records("ls", "--sort", "name")

    assert 99 < of_list.pop("ttl") <= 100
    assert of_list == {
        "key": "list",
        "kind": "list or deque",
        "type": "list",
        "size": 7,
        "unit": "items",
        "temporary": False,
        "beside": None,
    }
    assert (of_text["size"], of_text["unit"], of_text["ttl"]) == (5, "bytes", None)


def test_ls_leaves_out_keys_that_belong_to_others_unless_asked_for_all(redis, run, records):
    RedisSimpleQueue(redis=redis, key="queue").put(1)

    status, out, err = run("ls")
    beside = [record for record in records("ls", "--all") if record["beside"]]

    assert (status, out.split()[4:]) == (0, ["queue", "queue", "1", "-"])
    assert err == "left out as they belong to others: 1 (see --all)\n"
    assert [record["beside"] for record in beside] == ["queue"]


def test_ls_shows_keys_whose_owner_is_gone(redis, records):
    redis.zadd("queue~returned", {"1": 1})
    redis.set("fire~alarm", "an owner of its own")

    assert {record["key"] for record in records("ls")} == {"queue~returned", "fire~alarm"}


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        (b"queue~returned", b"queue"),
        (b"{queue}~returned", b"queue"),
        (b"{user}:queue~bell", b"{user}:queue"),
        (b"cache~flight:" + b"0" * 32, b"cache"),
        (b"queue~" + b"0f" * 16, b"queue"),
        (b"queue~" + b"0f" * 15, None),
        (b"queue~mine", None),
        (b"~returned", None),
        (b"a\n~fence", b"a\n"),
    ],
)
def test_companions_are_known_by_their_names(name, owner):
    assert owner_of(name) == owner


def test_ls_finds_what_matches(redis, run):
    for name in ("a1", "a2", "b1"):
        redis.rpush(name, 1)

    assert [line.split()[0] for line in run("ls", "a*")[1].splitlines()] == ["KEY", "a1", "a2"]
    assert run("ls", "c*") == (0, "", f"no key of {address(redis)} matches c*\n")


@pytest.mark.parametrize(("order", "expected"), [("name", "abc"), ("size", "cab"), ("ttl", "bac")])
def test_ls_sorts(redis, records, order, expected):
    for name, size in zip("bac", (1, 2, 3), strict=True):
        redis.rpush(name, *range(size))
    redis.expire("b", 10)

    found = [record["key"] for record in records("ls", "--sort", order)]

    assert "".join(found) == expected


def test_ls_reads_many_keys_in_few_round_trips(redis, run, commands):
    with redis.pipeline(transaction=False) as pipeline:
        for number in range(2500):
            pipeline.rpush(f"list {number}", number)
        pipeline.execute()

    with commands(redis) as sent:
        lines = run("ls")[1].splitlines()

    names = [words[0] for words in sent]
    assert sorted({line.split("  ")[0] for line in lines[1:]}) == sorted(
        f"list {number}" for number in range(2500)
    )
    assert "KEYS" not in names
    assert names.count("SCAN") <= 4


def test_ls_needs_no_more_than_three_round_trips_a_page(redis, run, server):
    kept = everything(redis)
    before = inputs(redis)

    run("ls", "--all")

    # Its own greeting, SCAN, two looks; redis-py's own greetings; and the asking here.
    assert inputs(redis) - before <= 10
    del kept


def inputs(redis):
    return redis.info("stats")["total_reads_processed"]


def address(redis):
    options = redis.connection_pool.connection_kwargs
    return f"{options['host']}:{options['port']}"


def test_ls_of_names_that_are_no_text(redis, run, records):
    redis.set(b"bad\xff\x1b[2J\nname", 1)

    (record,) = records("ls")

    assert r"bad\xff\x1b[2J\nname" in run("ls")[1]
    assert record["key"].encode(errors="surrogateescape") == b"bad\xff\x1b[2J\nname"


def test_ls_calls_what_is_not_potterys_other(redis, records):
    redis.hset("hash", "name", "Ann")
    redis.zadd("zset", {"x": 1})
    redis.xadd("stream", {"x": 1})

    kinds = {record["key"]: record["kind"] for record in records("ls")}

    assert kinds == {"hash": "other hash", "zset": "other zset", "stream": "other stream"}


# --- show


def test_show_dict(redis, run, records):
    RedisDict({"a": [1, None], ("b", 2): "x"}, redis=redis, key="d")

    status, out, err = run("show", "d")

    assert (status, err) == (0, "")
    heading, _, *rows = out.splitlines()
    assert heading == "d: dict, 2 items, no expiry"
    assert {tuple(row.split("  ", 1)) for row in rows} == {
        ("'a'", "     [1, None]"),
        ("('b', 2)", "'x'"),
    }
    assert {"key": ["b", 2], "value": "x"} in records("show", "d")


def test_show_does_not_claim_to_know_a_dict_of_numbers_from_a_counter(redis, run):
    RedisCounter(a=1, redis=redis, key="c")

    assert run("show", "c")[1].startswith("c: dict or counter, 1 item, no expiry\n")


def test_show_set_and_list(redis, run, records):
    RedisSet([(1, 2)], redis=redis, key="s")
    RedisList(["a", [1]], redis=redis, key="l")

    assert run("show", "s")[1].splitlines()[1:] == ["MEMBER", "(1, 2)"]
    assert records("show", "s") == [{"member": [1, 2]}]
    assert run("show", "l")[1].splitlines()[1:] == ["INDEX  VALUE", "    0  'a'", "    1  [1]"]
    assert records("show", "l") == [{"index": 0, "value": "a"}, {"index": 1, "value": [1]}]


def test_show_queue_begins_with_what_came_back(redis, records, run):
    queue = RedisSimpleQueue(redis=redis, key="q")
    queue.put("first")
    queue.put("second")
    entry = records("show", "q", "--limit", "1")[0]["id"]
    time, count = entry.split("-")
    redis.zadd("q~returned", {f"{time:0>20}-{count:0>20}:" + '"first"': 0})
    redis.xdel("q", entry)

    assert records("show", "q")[0] == {"id": entry, "item": "first"}
    assert [record["item"] for record in records("show", "q")] == ["first", "second"]
    assert re.search(r"\n20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d\d\d  'first'\n", run("show", "q")[1])


def test_show_strings(redis, run, records):
    kept = everything(redis)

    assert records("show", "ids") == [{"last_id": 1}]
    assert records("show", "hyperloglog") == [{"count": 2}]
    assert records("show", "bloom")[0]["ones"] == 7
    assert "last ID       1\n" in run("show", "nextid:ids")[1]
    assert "about 2\n" in run("show", "hyperloglog")[1]
    assert "bits set      7 (" in run("show", "bloom")[1]
    del kept


def test_show_says_all_of_a_string_whatever_the_limit_is(redis, run, records):
    BloomFilter(["a"], num_elements=100, false_positives=0.01, redis=redis, key="bloom")

    assert run("show", "bloom", "--limit", "1") == run("show", "bloom")
    assert records("show", "bloom", "--limit", "1") == records("show", "bloom")


def test_show_function_cache(redis, run):
    kept = everything(redis)

    heading, _, row = run("show", "function")[1].splitlines()

    assert heading.startswith("function: function cache, 1 item, expires in ")
    assert row == "abs(-2)  2"
    del kept


def test_show_lock_by_its_name(redis, records):
    lock = Redlock(key="printer", masters={redis})
    with lock:
        (record,) = records("show", "printer")
        assert (record["lock"], record["holder"]) == ("printer", lock.owner())


def test_show_marks_what_cannot_be_decoded(redis, run, records):
    redis.hset("d", mapping={UNREADABLE: "[1", '"a"': UNREADABLE})
    redis.rpush("l", UNREADABLE, "1", "1 2", "[" * 100_000, "9" * 10_000)

    hidden, shown = sorted(records("show", "d"), key=lambda record: len(record["undecodable"]))

    assert hidden["undecodable"] == ["value"]
    assert hidden["value"].encode(errors="surrogateescape") == UNREADABLE
    assert shown["undecodable"] == ["key", "value"]
    out = run("show", "l")[1]
    assert r"    0  <undecodable b'\xff\x1b[2J'>" in out
    assert "\x1b" not in out
    assert [bool(record.get("undecodable")) for record in records("show", "l")] == [
        *(True, False, True, True),
        sys.version_info >= (3, 10, 7),
    ]


def test_what_is_broken_beside_others_is_shown(redis, run, records):
    many = "9" * 10_000
    redis.xadd("q", {"item": UNREADABLE})
    redis.zadd("q~returned", {"": 0, "x": 1, "-:1": 2, UNREADABLE: 3, many: 4})
    redis.set("nextid:ids", many)
    redis.set("nextid:others", UNREADABLE)
    redis.set("redlock:lock", UNREADABLE)
    redis.set("redlock:lock~fence", many)
    redis.set("redlock:lock~waiting", "no sorted set")
    redis.rpush("redlock:list", 1)

    for name in ("q", "q~returned", "ids", "others", "lock", "redlock:list"):
        status, out, _ = run("show", name)
        assert (status, "\x1b" in out) == (0, False)
        assert records("show", name)
    assert len(records("show", "q")) == 6
    assert {record["lock"] for record in records("locks")} == {"lock"}
    assert run("ls", "--all")[0] == 0


@pytest.mark.parametrize("depth", [10, 300, *range(940, 1000, 5), 100_000])
@pytest.mark.parametrize("brackets", ["[]", ('{"a":', "}")])
def test_show_survives_any_depth(redis, run, depth, brackets):
    opening, closing = brackets
    redis.rpush("l", opening * depth + "1" + closing * depth)

    assert run("show", "l")[0] == 0
    assert run("show", "l", "--json", "--full")[0] == 0


def test_json_is_such_as_any_parser_reads(redis, run):
    redis.rpush("l", "NaN", "1e999", '["Infinity", -Infinity]', '"NaN"', "1.5")
    redis.hset("d", "NaN", '{"a": NaN}')

    def refuse(constant):
        raise AssertionError(constant)

    def read(name):
        out = run("show", name, "--json")[1]
        return [json.loads(line, parse_constant=refuse) for line in out.splitlines()]

    assert read("l") == [
        {"index": 0, "value": "NaN", "undecodable": ["value"]},
        {"index": 1, "value": "Infinity", "undecodable": ["value"]},
        {"index": 2, "value": '["Infinity", -Infinity]', "undecodable": ["value"]},
        {"index": 3, "value": "NaN"},
        {"index": 4, "value": 1.5},
    ]
    assert read("d") == [{"key": "NaN", "value": '{"a": NaN}', "undecodable": ["key", "value"]}]


def test_show_cuts_long_values_unless_asked_for_all(redis, run, records):
    RedisList(["x" * 5000], redis=redis, key="l")

    assert len(run("show", "l")[1].splitlines()[-1]) < 250
    assert run("show", "l")[1].splitlines()[-1].endswith("…")
    assert "x" * 5000 in run("show", "l", "--full")[1]
    assert records("show", "l") == [{"index": 0, "value": "x" * 5000}]


@pytest.mark.parametrize("kind", [RedisList, RedisSet, RedisDict])
def test_show_stops_at_its_limit_and_says_how_many_more_there_are(redis, run, records, kind):
    items = range(2500)
    kind(dict.fromkeys(items) if kind is RedisDict else items, redis=redis, key="k")

    status, out, err = run("show", "k", "--limit", "10")

    assert (status, len(out.splitlines()), err) == (0, 12, "2,490 more: see --limit\n")
    assert len(records("show", "k")) == 100
    assert len(records("show", "k", "--limit", "0")) == 2500


def test_show_reads_a_long_queue_in_pages(redis, records, commands):
    with redis.pipeline(transaction=False) as pipeline:
        for number in range(2500):
            pipeline.xadd("q", {"item": number})
        pipeline.execute()

    with commands(redis) as sent:
        found = [record["item"] for record in records("show", "q", "--limit", "0")]

    assert found == list(range(2500))
    assert [words[0] for words in sent].count("XRANGE") == 5  # one of them a glance


def test_show_what_is_not_there_or_not_potterys(redis, run):
    redis.zadd("board", {"x": 1.5})

    assert run("show", "nothing")[::2] == (
        1,
        f"pottery: there is no key nothing at {address(redis)}\n",
    )
    assert run("show", "board")[1].splitlines()[1:] == ["SCORE  MEMBER", "  1.5  b'x'"]


def test_show_of_a_user_who_may_not_look_says_so(odd_server, capsys):
    odd_server.client().set("secret", 1)
    url = url_of(odd_server, "cat", "+@all", "resetkeys", "~app:*")

    assert main(["show", "secret", "--url", url]) == 1

    assert capsys.readouterr().err == "pottery: this user may not look at secret\n"


# --- locks


def test_locks_tells_holder_time_and_fence(redis, run, records):
    lock = Redlock(key="printer", masters={redis}, fencing=True, auto_release_time=30)
    with lock:
        (record,) = records("locks")
        line = run("locks")[1].splitlines()[1].split()
        assert record["holder"] == lock.owner() == line[1]
        assert 20 < record["seconds_left"] <= 30
        assert record["fencing_number"] == lock.fencing_token == int(line[-1])
        assert (record["votes"], record["masters"], record["waiting"]) == (1, 1, 0)

    assert run("locks") == (0, "", "no lock is held or waited for\n")


def test_locks_counts_who_waits(redis, server, records):
    def take_and_release():
        with Redlock(key="printer", masters={server.client()}):
            pass

    threads = [threading.Thread(target=take_and_release) for _ in range(2)]
    with Redlock(key="printer", masters={redis}):
        for thread in threads:
            thread.start()
        wait_until(lambda: records("locks")[0]["waiting"] == 2, 20)
    for thread in threads:
        thread.join(20)
    assert records("locks") == []


def test_locks_of_a_user_who_may_not_look_says_so(odd_server, capsys):
    url = url_of(odd_server, "dan", "+@all", "resetkeys", "~app:*")

    with odd_server.client() as client, Redlock(key="printer", masters={client}):
        assert main(["locks", "--url", url]) == 0

    said = "no lock that this user may look at is held or waited for\n"
    assert capsys.readouterr() == ("", said)


def test_locks_of_many_masters_go_by_their_majority(masters, five_servers, capsys):
    urls = [server.url for server in five_servers[:3]]
    lock = Redlock(key="printer", masters=masters[:3], auto_release_time=60)

    def is_held_by_all():
        # Two of the three suffice for the lock, and a busy machine may leave the third one out.
        if not all(master.exists("redlock:printer") for master in masters[:3]):
            lock.release()
            lock.acquire()
        return all(master.exists("redlock:printer") for master in masters[:3])

    with lock:
        wait_until(is_held_by_all, 20)
        masters[0].delete("redlock:printer")
        masters[0].set("redlock:torn", "one")
        assert main(["locks", "--json", "--masters", *urls]) == 0
        printer, torn = map(json.loads, capsys.readouterr().out.splitlines())
        assert (printer["holder"], printer["votes"]) == (lock.owner(), 2)
        assert (torn["held"], torn["holder"], torn["votes"]) == (False, None, 1)

        away = ["redis://127.0.0.1:1", "redis://127.0.0.1:2"]
        assert main(["locks", "--masters", urls[1], *away]) == 0
        printed = capsys.readouterr()
        assert "(unknown: too few answer)" in printed.out
        assert printed.err.count("cannot use 127.0.0.1:") == 2


def test_locks_says_that_none_is_held_only_if_enough_answer(masters, five_servers, capsys):
    assert all(master.dbsize() == 0 for master in masters)
    away = ["redis://127.0.0.1:1", "redis://127.0.0.1:2"]
    urls = [server.url for server in five_servers[:3]]

    main(["locks", "--masters", *urls, *away])
    assert "no lock is held or waited for\n" in capsys.readouterr().err
    main(["locks", "--masters", *urls[:2], *away])
    said = capsys.readouterr().err
    assert said.endswith("too few masters answer to tell which locks are held\n")
    assert "no lock" not in said


# --- doctor


@pytest.fixture(scope="module")
def odd_server():
    with RedisServer(config={"maxmemory": "100mb", "requirepass": "se-cret"}) as server:
        yield server


@pytest.fixture
def findings(odd_server, capsys):
    """A function that gives what the doctor finds by subject, with some settings changed."""
    client = odd_server.client()
    defaults: dict[str, str] = {}

    def findings(**settings):
        for name, value in ((name.replace("_", "-"), settings[name]) for name in settings):
            defaults.setdefault(name, client.config_get(name)[name])
            client.config_set(name, value)
        status = main(["doctor", "--json", "--url", odd_server.url])
        records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return status, {record["subject"]: record for record in records}

    yield findings
    for name, value in defaults.items():
        client.config_set(name, value)
    client.close()


def url_of(server, user, *rights):
    """Give *user* these rights at a server, and return the URL with which to use them."""
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", user, "on", ">pass-word", "~*", *rights)
    return server.url.replace(":se-cret@", f"{user}:pass-word@")


def test_doctor_finds_a_safe_server_well(findings):
    status, found = findings(appendonly="yes", appendfsync="always", maxmemory_policy="noeviction")

    assert status == 0, found
    assert {record["mark"] for record in found.values()} <= {"ok", "note"}
    assert found["persistence"]["means"] == "A crash loses nothing that was answered."
    assert re.fullmatch(r"(Redis|Valkey) [\d.]+, standalone, up for .*", found["server"]["found"])


@pytest.mark.parametrize(
    ("settings", "subject", "word"),
    [
        ({"maxmemory_policy": "allkeys-lru"}, "eviction", "any key"),
        ({"maxmemory_policy": "volatile-ttl"}, "eviction", "locks expire too"),
        ({"appendonly": "no", "save": ""}, "persistence", "loses everything"),
        ({"appendonly": "no", "save": "3600 1"}, "persistence", "last snapshot"),
    ],
)
def test_doctor_finds_what_is_risky(findings, settings, subject, word):
    status, found = findings(**settings)

    assert (status, found[subject]["mark"]) == (1, "risk")
    assert word in found[subject]["means"]


def test_doctor_notes_what_a_crash_loses_and_who_is_idle(findings):
    _, found = findings(appendonly="yes", appendfsync="everysec", timeout="60")

    assert found["persistence"]["mark"] == "note"
    assert "a second is lost" in found["persistence"]["means"]
    assert "60 seconds" in found["time-outs"]["means"]


@pytest.mark.parametrize(
    ("settings", "subject", "word"),
    [
        ({"appendonly": "yes", "appendfsync": "no"}, "persistence", "30 seconds"),
        ({"tcp-keepalive": "0"}, "time-outs", "vanished"),
    ],
)
def test_doctor_notes_what_is_to_be_known(findings, settings, subject, word):
    _, found = findings(**settings)

    assert found[subject]["mark"] == "note"
    assert word in found[subject]["means"]


def test_doctor_of_a_server_without_scripts_and_with_few_connections(capsys):
    config = {"rename-command": 'EVAL ""', "maxclients": 1}
    with RedisServer(config=config) as server:
        # The connection by which the server was found to answer may not be closed there yet.
        wait_until(lambda: main(["doctor", "--url", server.url]) == 1, 20)

    out = capsys.readouterr().out
    assert re.search(r"RISK  connections   1 of 1, of which 0 wait", out)
    assert re.search(r"RISK  scripts       cannot be run: .*unknown command", out)


def test_doctor_recommends_hiredis(findings, monkeypatch):
    monkeypatch.setattr("pottery._cli._doctor.HIREDIS_AVAILABLE", False)

    assert findings()[1]["client"]["mark"] == "note"


def test_doctor_sees_when_memory_is_short_or_unlimited(findings):
    _, found = findings(maxmemory="1", maxmemory_policy="noeviction")
    assert found["memory"]["mark"] == "risk"

    _, found = findings(maxmemory="0", maxmemory_policy="allkeys-lru")
    assert found["eviction"]["mark"] == "ok"


def test_doctor_knows_replicas(odd_server, capsys):
    master = odd_server
    config = {"replicaof": f"127.0.0.1 {master.port}", "masterauth": "se-cret"}
    with RedisServer(config=config) as replica:
        wait_until(lambda: replica.client().info("replication")["master_link_status"] == "up", 20)
        assert main(["doctor", "--url", replica.url]) == 1
        assert "this is a replica" in capsys.readouterr().out
        main(["doctor", "--url", master.url])
        assert "master with 1 replica, min-replicas-to-write 0" in capsys.readouterr().out


def test_doctor_of_a_user_who_may_not_look_says_so(odd_server, capsys):
    client = odd_server.client()
    client.execute_command("ACL", "SETUSER", "ann", "on", ">pass-word", "~*", "+@all")
    client.execute_command(
        "ACL", "SETUSER", "ann", "-@admin", "-info", "-@scripting", "-@dangerous"
    )
    url = odd_server.url.replace(":se-cret@", "ann:pass-word@")

    status = main(["doctor", "--json", "--url", url])

    out = capsys.readouterr().out
    found = {record["subject"]: record for record in map(json.loads, out.splitlines())}
    assert status == 1
    assert found["scripts"]["found"] == "this user may not run them"
    hidden = {name for name, record in found.items() if record["mark"] == "?"}
    assert hidden == {"eviction", "persistence", "time-outs", "connections", "rights"}
    assert found["server"]["mark"] == "ok"
    assert "pass-word" not in out


def test_what_a_user_may_not_do_is_said_in_one_line(odd_server, capsys):
    url = url_of(odd_server, "bob", "-@all", "+ping")

    assert main(["ls", "--url", url]) == 1

    assert re.fullmatch(r"pottery: the server says: .*scan.*\n", capsys.readouterr().err)


# --- bench


def test_bench_measures_and_leaves_nothing(redis, records):
    found = records("bench", "--seconds", "0.3")

    assert len(found) == 14
    assert all(0 < record["p50"] <= record["p99"] for record in found)
    assert all(record["per_second"] > 0 for record in found)
    assert redis.keys() == []


def test_bench_that_is_interrupted_leaves_nothing(redis, server):
    with command("bench", "--seconds", "10", url=server.url) as process:
        wait_until(lambda: redis.dbsize() > 0, 30)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)

    assert process.returncode == 130
    assert redis.keys() == []
    assert b"Traceback" not in out


def test_bench_goes_on_without_what_is_not_allowed(odd_server, capsys):
    client = odd_server.client()
    client.execute_command(
        "ACL", "SETUSER", "eve", "on", ">pass-word", "~*", "+@all", "-@scripting"
    )
    url = odd_server.url.replace(":se-cret@", "eve:pass-word@")

    assert main(["bench", "--seconds", "0.2", "--json", "--url", url]) == 0

    found = {
        record["operation"]: record
        for record in map(json.loads, capsys.readouterr().out.splitlines())
    }
    assert "error" in found["with lock"]
    assert found["d[k]"]["per_second"] > 0


# --- clusters


def test_commands_look_at_all_masters_of_a_cluster(cluster, cluster_redis, capsys):
    names = [f"list {number}" for number in range(30)]
    for name in names:
        RedisList([1], redis=cluster_redis, key=name)
    RedisSimpleQueue(redis=cluster_redis, key="queue").put(1)

    assert main(["ls", "--json", "--url", cluster.url]) == 0
    found = {json.loads(line)["key"] for line in capsys.readouterr().out.splitlines()}
    assert found == {*names, "queue"}

    assert [main(["show", name, "--url", cluster.url]) for name in names[:5]] == [0] * 5
    main(["doctor", "--url", cluster.url])
    assert "ok, 3 masters, 16384 of 16384 slots" in capsys.readouterr().out
    assert main(["bench", "--seconds", "0.2", "--url", cluster.url]) == 0
    assert "with lock" not in capsys.readouterr().out


def test_master_of_a_cluster_that_is_away_is_named(cluster, cluster_redis, capsys):
    cluster.kill(2)
    away = f"cannot use 127.0.0.1:{cluster.nodes[2].port}: Connection refused."

    assert main(["ls", "--url", cluster.url]) == 2
    assert capsys.readouterr().err == f"pottery: {away}\n"

    assert main(["doctor", "--json", "--url", cluster.url]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    marks = [(one["mark"], one["found"]) for one in found if one["subject"] == "server"]
    assert ("risk", away) in marks
    assert [mark for mark, _ in marks].count("ok") == 2
    assert "cluster" in {one["subject"] for one in found}


def test_show_of_a_cluster_knows_what_came_back_and_what_is_not_there(
    cluster, cluster_redis, capsys
):
    for number in range(3):  # keys of different masters
        queue = RedisSimpleQueue(redis=cluster_redis, key=f"queue {number}")
        queue.put("last")
        cluster_redis.zadd(queue._companion("returned"), {'0000000000000001-0:"first"': 0})
        assert main(["show", queue.key, "--json", "--url", cluster.url]) == 0
        found = [json.loads(line)["item"] for line in capsys.readouterr().out.splitlines()]
        assert found == ["first", "last"]

        cluster_redis.delete(queue.key)
        assert main(["show", queue.key, "--url", cluster.url]) == 0
        assert "first" in capsys.readouterr().out

        assert main(["show", f"nothing {number}", "--url", cluster.url]) == 1
        said = f"pottery: there is no key nothing {number} at "
        assert capsys.readouterr().err.startswith(said)


# --- the command


def test_command_is_a_module_and_a_script(redis, server):
    RedisList([1], redis=redis, key="l")

    with command("ls", url=server.url) as process:
        out, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (0, b"")
    assert out.decode().splitlines()[1].split("  ")[0] == "l"


@pytest.mark.parametrize("arguments", [[], ["ls"], ["show"], ["locks"], ["doctor"], ["bench"]])
def test_help_fits_a_terminal_and_has_examples(arguments, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    with pytest.raises(SystemExit, match="0"):
        main([*arguments, "--help"])

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not arguments or "examples:" in lines


@pytest.mark.parametrize("arguments", [[], ["what"], ["show"], ["show", "k", "--limit", "-1"]])
def test_mistakes_in_arguments_are_refused(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: pottery" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["show", "k", "--limit", "-1"], ["show", "k", "--limit", "x"], ["bench", "--seconds", "x"]],
)
def test_number_that_is_none_is_told_in_the_words_of_users(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)

    said = capsys.readouterr().err
    assert ": must be a " in said
    assert said.endswith(f": {arguments[-1]!r}\n")


@pytest.mark.parametrize("name", ["ls", "locks", "doctor", "bench"])
def test_server_that_is_away_is_told_in_one_line(name, capsys):
    assert main([name, "--url", "redis://ann:se-cret@127.0.0.1:1"]) == 2

    assert capsys.readouterr().err == "pottery: cannot use 127.0.0.1:1: Connection refused.\n"


@pytest.mark.parametrize(
    "url",
    [
        "redis://:se-cr/et@localhost",
        "redis://:se-cret@localhost:port",
        "http://:se-cret@localhost",
        "redis://ann:se-cret@[::1",
        "redis://:12@se-cret/et@localhost",
        "redis://:12@se-cret#et@localhost",
        "se-cret",
    ],
)
def test_secrets_of_a_wrong_url_are_not_shown(url, capsys):
    assert main(["ls", "--url", url]) == 2
    printed = capsys.readouterr()
    assert "se-cr" not in printed.out + printed.err


def test_missing_password_is_told_in_few_words(odd_server, capsys):
    assert main(["ls", "--url", odd_server.url.replace(":se-cret@", "")]) == 2

    said = capsys.readouterr().err
    assert re.fullmatch(r"pottery: cannot use 127.0.0.1:\d+: Authentication required.\n", said)


@pytest.mark.parametrize("option", ["color=red", "ssl_cert_reqs=none", "retry=5"])
def test_option_of_a_url_that_is_none_is_told_in_one_line(run, option, server):
    said = "pottery: this URL has an option that redis-py does not take\n"

    assert run("ls", url=f"{server.url}?{option}") == (2, "", said)


def test_wrong_password_is_told_without_it(odd_server, capsys):
    url = odd_server.url.replace("se-cret", "wrong-one")

    assert main(["ls", "--url", url]) == 2

    assert re.fullmatch(r"pottery: cannot use 127.0.0.1:\d+: .*\n", capsys.readouterr().err)


def test_url_may_ask_for_what_changes_replies(redis, server, run, records):
    RedisDict(a=1, redis=redis, key="d")
    url = f"{server.url}?decode_responses=True&protocol=3"

    assert records("show", "d", url=url) == [{"key": "a", "value": 1}]


def test_nobody_who_reads_on_is_no_error(redis, server):
    RedisList(range(100_000), redis=redis, key="l")

    with command("show", "l", "--limit", "0", url=server.url) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")  # noqa: PTH110
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_disk_that_is_full_is_told_as_such(redis, server, unbuffered, monkeypatch):
    RedisList([1], redis=redis, key="l")
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)

    with (
        Path("/dev/full").open("w") as full,
        command("ls", url=server.url, stdout=full) as process,
    ):
        _, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (2, b"pottery: cannot print: No space left on device\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_command_works_for_its_status_where_nothing_can_be_printed(redis, server, closed):
    program = f"{shlex.quote(sys.executable)} -m pottery ls {closed}"
    given = {**os.environ, "REDIS_URL": server.url}

    done = subprocess.run(program, shell=True, env=given, check=False, stderr=subprocess.PIPE)

    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


def test_ctrl_c_is_no_error(redis, server):
    with redis.pipeline(transaction=False) as pipeline:
        for number in range(100_000):
            pipeline.set(f"text {number}", number)
        pipeline.execute()

    with command("ls", url=server.url) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (130, b"")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, ""),
        (ConnectionError("gone"), 2, "pottery: the connection failed: gone\n"),
        (RedisTimeoutError("too slow"), 2, "pottery: the connection failed: too slow\n"),
        (ResponseError("OOM\nand more"), 1, "pottery: the server says: OOM\n"),
    ],
)
def test_what_happens_on_the_way_is_told_in_one_line(run, monkeypatch, error, status, said):
    def fail(*_):
        raise error

    monkeypatch.setattr("pottery._cli.examine", fail)

    assert run("doctor") == (status, "", said)


def test_server_at_a_socket_is_named_by_its_path(capsys):
    with RedisServer(unix_socket=True) as server:
        assert main(["ls", "--url", server.url]) == 0
        assert capsys.readouterr().err == f"no key of {server.path} matches *\n"


@pytest.mark.parametrize("name", ["ls", "locks", "doctor", "bench"])
def test_sentinel_is_told_from_its_master(name, capsys):
    with _SentinelProcess() as sentinel:
        assert main([name, "--url", sentinel.url]) == 2
        said = f"pottery: 127.0.0.1:{sentinel.port} is a Sentinel: name its master instead\n"
        assert capsys.readouterr().err == said


def test_server_of_a_cluster_that_is_away_is_told(cluster, capsys):
    away = cluster.url.rpartition(":")[0] + ":1"
    assert main(["ls", "--url", away]) == 2
    assert capsys.readouterr().err.startswith("pottery: cannot use 127.0.0.1:1: ")


def in_terminal(*arguments, url, columns, **environment):
    """Run the command in a terminal, and return what it shows there."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    program = [sys.executable, "-m", "pottery", *arguments]
    given = {**os.environ, "REDIS_URL": url, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(
        program, env={**given, **environment}, stdin=slave, stdout=slave, stderr=slave
    ) as process:
        os.close(slave)
        shown = b""
        with suppress(OSError):  # at the end
            while piece := os.read(master, 65536):
                shown += piece
        process.wait(60)
    os.close(master)
    return shown.decode()


def test_terminal_gets_colours_and_lines_that_fit(redis, server):
    RedisList(["日本" * 100, "x" * 300], redis=redis, key="a long name " * 10)

    coloured = in_terminal("ls", url=server.url, columns=80)
    assert "\x1b[1m" in coloured

    for arguments in (["ls"], ["show", "a long name " * 10], ["doctor"]):
        shown = in_terminal(*arguments, url=server.url, columns=80, NO_COLOR="1")
        assert "\x1b[1m" not in shown
        lines = shown.replace("\r\x1b[K", "").splitlines()
        table = lines[1:] if arguments[0] == "show" else lines
        assert max(map(width, table)) <= 80


# --- what the documentation shows


def console(page):
    """Return the commands of a page, and what it says that they print."""
    for block in re.findall(r"```console\n\$ pottery (.*?)```", page, re.DOTALL):
        line, _, output = block.partition("\n")
        yield shlex.split(line), output


def without_numbers(text):
    """Return what of *text* does not depend on the time: tokens, numbers and blanks are alike."""
    text = re.sub(r"\b[0-9a-f]{40}\b", "TOKEN", text)
    return re.sub(r"[ \d.,]+", " ", text).splitlines()


def test_documentation_shows_what_the_command_prints(redis, run):
    page = DOCUMENTATION.read_text(encoding="utf-8")
    names = {**vars(pottery), "redis": redis}
    test = doctest.DocTestParser().get_doctest(page, names, "command.md", None, 0)
    assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0

    for arguments, expected in console(page):
        _, out, err = run(*arguments)
        if arguments[0] not in ("doctor", "bench"):  # which depend on more than the data
            assert without_numbers(out + err) == without_numbers(expected)


# --- what is shown


def test_texts_are_cut_by_their_width_in_a_terminal():
    assert (width("日本"), width("é"), width("e\u0301")) == (4, 1, 1)
    assert (cut("日本日本", 5), cut("abc", 3), cut("abcd", 3)) == ("日本…", "abc", "ab…")
    assert pad("日", 4) == "日  "


def test_table_is_cut_to_fit_and_keeps_its_columns(capsys):
    screen = Screen()
    screen.width = 24
    table = Table(screen, [Column("NAME", shrinks=True), Column("SIZE", is_right=True)])
    table.show([Line({}, ("a name that is too long", "7"))])
    table.show([Line({}, ("short", "123456789"))])

    assert capsys.readouterr().out.splitlines() == [
        "NAME                SIZE",
        "a name that is to…     7",
        "short          123456789",
    ]


def test_table_does_not_vanish_in_a_tiny_terminal(capsys):
    screen = Screen()
    screen.width = 5
    Table(screen, [Column("NAME", shrinks=True)]).show([Line({}, ("a" * 20,))])
    Table(screen, [Column("A", shrinks=True), Column("B")]).show([Line({}, ("a" * 20, "b"))])

    assert capsys.readouterr().out.splitlines() == ["NAME", "aaaa…", "A      B", "aaaa…  b"]


def test_colours_are_for_terminals_that_want_them(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Screen().paint("x", "red") == "\x1b[1;31mx\x1b[0m"

    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as one:
            one.setenv(name, value)
            assert Screen().paint("x", "red") == "x"

    screen = Screen()
    screen.progress("1,000 keys so far ...")
    screen.write("found")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (
        "found\n",
        "\r\x1b[K1,000 keys so far ...\r\x1b[K",
    )


def test_amounts_are_written_for_people():
    assert [memory(n) for n in (0, 1023, 1024, 5 * 2**20, 3 * 2**40, 5 * 2**50)] == [
        *("0 B", "1023 B", "1.0 KB", "5.0 MB", "3.0 TB", "5120.0 TB")
    ]
    assert [duration(s) for s in (None, 0.5, 59, 60, 3600, 90_061)] == [
        *("-", "500ms", "59s", "1m 0s", "1h 0m", "1d 1h")
    ]
    assert plain("a\u202eb\t".encode()) == r"a\u202eb\t"


# --- what servers say that are not at hand


class Told:
    """The words of a server to a user who may look at nothing but INFO."""

    def __init__(self, text):
        self.text = text

    def allowed(self, *command):
        return self.text if command[0] == "INFO" else None


@pytest.mark.parametrize(
    ("look", "text", "mark", "word"),
    [
        (_doctor._of_server, b"redis_version:6.0.9", _doctor.RISKY, "Redis 6.0.9"),
        (_doctor._of_server, b"redis_version:6.2.0", _doctor.OK, "Redis 6.2.0"),
        (_doctor._of_server, b"valkey_version:9.1.2", _doctor.OK, "Valkey 9.1.2"),
        (_doctor._of_server, b"", _doctor.HIDDEN, "not allowed"),
        (_doctor._of_role, b"", _doctor.HIDDEN, "not allowed"),
        (_doctor._of_role, b"role:slave", _doctor.RISKY, "replica"),
        (_doctor._of_persistence, b"", _doctor.HIDDEN, "not allowed"),
        (_doctor._of_persistence, b"aof_enabled:1", _doctor.HIDDEN, "appendfsync"),
        (
            _doctor._of_persistence,
            b"aof_enabled:1\r\naof_last_write_status:err",
            _doctor.RISKY,
            "writing of the log failed",
        ),
    ],
)
def test_doctor_reads_what_servers_say_that_are_not_at_hand(look, text, mark, word):
    findings = look(_doctor.Facts(Told(text), {}))
    assert any(found.mark == mark and word in found.found for found in findings)


def test_reason_of_an_error_is_what_the_system_said():
    error = RedisConnectionError("Error 111 connecting to somewhere:6379.")
    error.__cause__ = OSError(111, "Connection refused")
    assert reason(error) == "Connection refused"
    assert reason(RedisConnectionError()) == "ConnectionError"
