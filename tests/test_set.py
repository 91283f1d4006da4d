"""What is special about RedisSet and AIORedisSet."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest
import redis.asyncio as asynchronous
from clients import close
from redis.exceptions import ResponseError

from pottery import AIORedisSet, InefficientAccessWarning, RedisSet
from pottery.testing import RedisServer


def test_text_is_identity(redis):
    numbers = RedisSet([1, 1.0, True, "1"], redis=redis)
    assert len(numbers) == 4
    numbers.discard(True)
    assert (1 in numbers, True in numbers) == (True, False)


def test_tuples_stay_tuples(redis):
    pairs = RedisSet({(1, (2, "x"))}, redis=redis)
    assert pairs.to_set() == {(1, (2, "x"))}
    assert (1, (2, "x")) in pairs


@pytest.mark.parametrize("item", [b"x", {1}, frozenset(), float("nan"), object(), (b"x",)])
def test_what_json_cannot_spell_is_no_member(redis, item):
    members = RedisSet("a", redis=redis, key="s")
    assert item not in members
    assert members.contains_many("a", item) == [True, False]
    members.discard(item)
    with pytest.raises(KeyError):
        members.remove(item)
    with pytest.raises((TypeError, ValueError)):
        members.update(["b", item])
    assert members.to_set() == {"a"}


def test_operators_use_the_client_of_the_left_set(redis):
    with RedisServer() as other_server, other_server.client() as other:
        here, there = RedisSet("abc", redis=redis), RedisSet("bcd", redis=other)
        for result in (here | there, here & there, here - there, here ^ there):
            assert result.redis is redis
        assert (here | there, here & there) == (set("abcd"), set("bc"))
        assert (here - there, here ^ there) == ({"a"}, {"a", "d"})
        assert here.union(there) == set("abcd")
        assert not here <= there
        here &= there
        assert here == {"b", "c"}
        assert other.keys() == [there.key.encode()]


@pytest.mark.parametrize("how", ["__ior__", "__iand__", "__isub__", "__ixor__"])
@pytest.mark.parametrize("is_here", [True, False])
def test_change_in_place_keeps_the_expiry_and_leaves_no_other_key(redis, how, is_here):
    members, other = RedisSet("abc", redis=redis, key="s"), set("bcd")
    operand = RedisSet(other, redis=redis, key="t") if is_here else other
    redis.expire("s", 100)
    expected = getattr(set("abc"), how)(other)

    assert getattr(members, how)(operand) is members

    assert members == expected
    assert 90 < redis.ttl("s") <= 100
    assert set(redis.keys()) <= {b"s", b"t", "s", "t"}


def test_change_in_place_needs_no_key_but_those_of_the_sets(server, redis):
    rights = ("on", "nopass", "~app:*", "+@all", "-@dangerous")
    redis.execute_command("ACL SETUSER", "app", *rights)
    with server.client(username="app", password="any") as client:
        one, two = (RedisSet(name, redis=client, key=f"app:{name}") for name in ("abc", "bcd"))
        one &= {"a", "b"}
        one ^= {"z"}
        one.update(two)
        one.difference_update(two, "z")
        assert one.to_set() == {"a"}
    redis.execute_command("ACL DELUSER", "app")


def test_change_in_place_in_the_last_millisecond_does_not_make_the_set_stay(redis):
    members = RedisSet(redis=redis, key="s")
    for _ in range(50):
        redis.delete("s")
        redis.sadd("s", '"a"', '"z"')
        redis.pexpire("s", 2)
        end = monotonic() + 0.004
        while monotonic() < end:
            members.intersection_update({"a"})
        assert not redis.exists("s")


def test_element_given_twice_is_toggled_once(redis):
    members = RedisSet("ab", redis=redis)
    members.symmetric_difference_update(["a", "a", "c", "c"])
    assert members == {"b", "c"}


def test_key_of_another_type_is_redis_error_and_stays_as_it_is(redis):
    redis.set("k", "text")
    members, other = RedisSet(redis=redis, key="k"), RedisSet("ab", redis=redis, key="s")
    calls = [
        lambda: members.add(1),
        lambda: members.intersection_update("ab"),
        lambda: members.symmetric_difference_update("ab"),
        lambda: members | {1},
        lambda: other | members,
        lambda: other.difference_update(members),
        lambda: members == other,
        lambda: list(members),
    ]
    for call in calls:
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            call()
    assert redis.type("k") in (b"string", "string")
    assert other == {"a", "b"}
    assert set(redis.keys()) in ({b"k", b"s"}, {"k", "s"})


def test_more_members_than_one_call_of_unpack_can_bear(redis):
    many = range(20_000)
    numbers = RedisSet(many, redis=redis, key="n")
    assert numbers == set(many)
    assert numbers & set(range(10_000, 30_000)) == set(range(10_000, 20_000))
    numbers ^= set(range(10_000, 30_000))
    assert numbers.to_set() == {*range(10_000), *range(20_000, 30_000)}
    assert sum(numbers.contains_many(*many)) == 10_000


def test_repr_warns_that_it_walks_the_whole_set(redis):
    members = RedisSet({"a"}, redis=redis, key="s")
    with pytest.warns(InefficientAccessWarning, match="repr of RedisSet 's'"):
        assert repr(members) == "RedisSet{'a'}"


def in_a_loop(server, body):
    async def run():
        client = asynchronous.Redis.from_url(server.url)
        try:
            await body(client)
        finally:
            await close(client)

    asyncio.run(run())


def test_asynchronous_set_does_what_the_blocking_one_does(server, redis):
    async def body(client):
        members = await AIORedisSet.create("abc", redis=client, key="s")
        await members.add("d")
        await members.update("ef")
        assert (await members.has("a"), await members.has("z"), await members.size()) == (1, 0, 6)
        assert {member async for member in members} == set("abcdef")
        assert await members.contains_many("a", "z") == [True, False]
        assert await members.intersection(["a", "b", "y"]) == {"a", "b"}
        await members.intersection_update("abcx")
        assert await members.issuperset("ab")
        with pytest.raises(KeyError):
            await members.remove("z")
        copy = await members.copy()
        assert await copy.union(members, {"z"}) == set("abcz")
        assert await copy.pop() in set("abc")
        await copy.clear()

    in_a_loop(server, body)
    assert RedisSet(redis=redis, key="s") == set("abc")


def test_asynchronous_set_combines_with_one_on_another_server(server, redis):
    with RedisServer() as other_server:

        async def body(client):
            other = asynchronous.Redis.from_url(other_server.url)
            here = await AIORedisSet.create("abc", redis=client, key="s")
            there = await AIORedisSet.create("bcd", redis=other, key="s")
            assert await here.union(there) == set("abcd")
            await here.difference_update(there)
            assert await here.to_set() == {"a"}
            await close(other)

        in_a_loop(server, body)
    assert RedisSet(redis=redis, key="s") == {"a"}


def test_long_asynchronous_set_is_read_in_pages(server, redis):
    async def body(client):
        members = await AIORedisSet.create(map(str, range(5000)), redis=client, key="s")
        assert len([member async for member in members]) == 5000

    in_a_loop(server, body)
    assert redis.scard("s") == 5000


@pytest.mark.parametrize("other_is_here", [True, False])
def test_members_that_python_takes_for_one_are_compared_by_their_text(redis, other_is_here):
    both, one = RedisSet([1, True], redis=redis), RedisSet([True], redis=redis)
    with RedisServer() as server, server.client() as elsewhere:
        other = RedisSet([1, True], redis=redis if other_is_here else elsewhere)

        assert both == other
        assert (both <= other, both >= other, both < other) == (True, True, False)
        assert (one <= other, one < other, one >= other) == (True, True, False)
        assert one.symmetric_difference(other) == {1}
        assert type(one.symmetric_difference(other).pop()) is int
        assert not one.isdisjoint(other)
    assert both.issubset([1, True])
    assert not one.issuperset([1, True])
    assert not one.isdisjoint([1, True])


@pytest.mark.parametrize("change", ["update", "intersection_update", "difference_update"])
def test_more_sets_than_one_call_of_unpack_can_bear(redis, change):
    ours, theirs = RedisSet("ab", redis=redis), set("ab")
    others = [RedisSet(redis=redis, key="s") for _ in range(9000)]
    others[0].update("bc")

    getattr(ours, change)(*others)
    getattr(theirs, change)("bc")

    assert ours == theirs
