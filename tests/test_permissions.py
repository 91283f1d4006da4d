"""What users may do who are not allowed everything: docs/servers.md says it in words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from operations import OPERATIONS, TWINS, perform, prepare
from redis.exceptions import NoPermissionError

from pottery import RedisList
from pottery._temporary import ABANDONED
from pottery.cache import AIOCachedFunction, CachedFunction

PAGE = Path(__file__).parents[1] / "docs" / "servers.md"
SCRIPTS = {"EVAL", "EVALSHA"}


def documented_rules():
    """Return the rights of the page's own example, for the keys that operations.py gives."""
    (rules,) = re.findall(r"^ACL SETUSER app on >\S+ (.+)$", PAGE.read_text(), re.MULTILINE)
    own = ("filled", "new", "other")
    return [
        rule.replace("app:*", f"{name}*")
        for rule in rules.split()
        for name in (own if "app:*" in rule else own[:1])
    ]


@pytest.fixture(scope="module")
def users(server):
    """Clients of the documented user, and of one that may not run scripts either."""
    without = {"app": (), "plain": ("-@scripting",)}
    with server.client() as client:
        for name, rules in without.items():
            rights = (*documented_rules(), *rules)
            client.execute_command("ACL SETUSER", name, "reset", "on", ">secret", *rights)
        clients = {name: server.client(username=name, password="secret") for name in without}
        yield clients
        for client_of_user in clients.values():
            client_of_user.close()
        client.execute_command("ACL DELUSER", *without)


def commands_of(operation, redis, client, commands):
    """Return the names of the commands that an operation sends."""
    redis.flushdb()
    prepare(operation.kind, redis)
    ABANDONED.clear()  # lest keys of earlier temporary containers be unlinked here
    with commands(redis) as sent:
        perform(operation, client)
    return {words[0] for words in sent}


def content(redis):
    return {key: redis.dump(key) for key in redis.scan_iter()}


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_user_of_the_documentation_may_do_everything(operation, users, redis, commands):
    everybodys = commands_of(operation, redis, redis, commands)

    found = commands_of(operation, redis, users["app"], commands)

    # The first time, a server may not know the script.
    assert found - SCRIPTS == everybodys - SCRIPTS
    assert bool(found & SCRIPTS) is bool(everybodys & SCRIPTS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_user_without_scripts_may_do_what_takes_none(operation, users, redis, commands):
    needs_scripts = bool(commands_of(operation, redis, redis, commands) & SCRIPTS)
    redis.flushdb()
    prepare(operation.kind, redis)
    before = content(redis)

    if not needs_scripts:
        perform(operation, users["plain"])
        return
    with pytest.raises(NoPermissionError, match=r"'eval(sha)?'"):
        perform(operation, users["plain"])
    assert content(redis) == before


def test_python_sorts_for_who_may_not_let_the_server_sort(users):
    numbers = RedisList([3, 1, 2], redis=users["app"], key="filled")
    numbers.sort(reverse=True)
    assert numbers == [3, 2, 1]
    with pytest.raises(NoPermissionError):
        users["app"].sort("filled")


# --- what the page says

# These begin with a script, and can do nothing without.
ALL = {"CachedOrderedDict", "NextId", "Redlock"}
KNOWN_AS = {"CachedFunction": "redis_cache"}


def documented():
    """Return what the page says to need scripts: names of operations, by class."""
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    return {kind: set(re.findall(r"`(\w+)`", names)) for kind, names in rows}


def public_name(operation):
    kind = TWINS.get(operation.kind, operation.kind)
    kind = CachedFunction if kind is AIOCachedFunction else kind
    return KNOWN_AS.get(kind.__name__, kind.__name__.removeprefix("AIO"))


def test_page_names_what_needs_scripts(redis, commands):
    needing = {}
    for operation in OPERATIONS:
        if commands_of(operation, redis, redis, commands) & SCRIPTS:
            needing.setdefault(public_name(operation), set()).add(operation.name)

    assert set(needing) >= ALL
    assert documented() == {kind: names for kind, names in needing.items() if kind not in ALL}
