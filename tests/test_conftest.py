"""The fixtures that the other tests rely on, and what they claim about the wire."""

from __future__ import annotations

import os

import pytest
from redis.connection import DefaultParser
from redis.utils import HIREDIS_AVAILABLE

from pottery.testing import RedisServer


def test_commands_lists_what_is_sent_word_by_word(redis, commands):
    with commands(redis) as sent:
        redis.set("key", b'a "b"\\ \xff\n')
        redis.exists("key")

    assert sent == [["SET", "key", 'a "b"\\ \\xff\n'], ["EXISTS", "key"]]


def test_commands_leaves_out_what_scripts_run(redis, commands):
    with commands(redis) as sent:
        redis.eval("return redis.call('SET', KEYS[1], 'x')", 1, "key")

    assert [words[0] for words in sent] == ["EVAL"]


def test_commands_leaves_out_other_databases(commands):
    with (
        RedisServer() as server,
        server.client() as redis,
        server.client(db=1) as elsewhere,
        commands(redis) as sent,
    ):
        redis.get("key")
        elsewhere.get("other")

    assert sent == [["GET", "key"]]


def test_commands_leaves_out_what_a_new_connection_says(redis, server, commands):
    with commands(redis) as sent, server.client(client_name="new", protocol=3) as client:
        client.ping()

    assert sent == [["PING"]]


def test_commands_is_empty_when_nothing_is_sent(redis, commands):
    with commands(redis) as sent:
        pass

    assert sent == []


def test_any_redis_comes_in_four_modes(any_redis, request):
    mode = request.node.callspec.params["any_redis"]

    any_redis.set("key", "value")

    assert any_redis.get("key") == ("value" if mode.endswith("decoded") else b"value")
    assert any_redis.execute_command("HELLO")  # the same connection still makes sense of replies
    assert any_redis.connection_pool.connection_kwargs["protocol"] == int(mode[4])


def test_database_is_empty_at_first(redis):
    assert redis.dbsize() == 0
    redis.set("key", "value")


def test_database_is_empty_again(redis):
    assert redis.dbsize() == 0


def test_default_client_is_led_to_the_same_server(server):
    assert os.environ["REDIS_URL"] == server.url


@pytest.mark.parametrize("hidden", [os.environ.get("HIREDIS") == "no"])
def test_hiredis_reads_replies_unless_it_is_hidden(hidden):
    if not hidden:
        pytest.importorskip("hiredis")

    assert HIREDIS_AVAILABLE is not hidden
    assert ("Hiredis" in DefaultParser.__name__) is not hidden
