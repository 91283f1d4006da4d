"""redis_cache: what it adds to functools.cache, and what it does when things fail."""

from __future__ import annotations

import asyncio
import copy
import doctest
import gc
import inspect
import logging
import os
import pickle
import random
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import pytest
import redis as redis_py
import redis.asyncio as asynchronous
from clients import close
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from pottery import redis_cache
from pottery._call_key import digest
from pottery._plan import Op, same
from pottery._poll import Poll
from pottery._results import GIVE_UP, JOIN
from pottery.base import MISSING
from pottery.cache import CacheInfo
from pottery.testing import FaultyProxy, RedisServer

FOREVER = {"timeout": None}
CIRCULAR = []
CIRCULAR.append(CIRCULAR)


def square(n):
    return n * n


@redis_cache
def doubled(n):
    return 2 * n


@redis_cache(key="of a module")
def tripled(n):
    return 3 * n


class Counted:
    """A function that knows how often it was called."""

    def __init__(self, result=lambda *args: list(args), seconds=0.0):
        self.calls = []
        self.result = result
        self.seconds = seconds

    def __call__(self, *args):
        self.calls.append(args)
        time.sleep(self.seconds)
        return self.result(*args)


README = """
>>> import time
>>> from pottery import redis_cache
>>> @redis_cache(redis=redis, key='expensive-function-cache')
... def expensive_function(n):
...     time.sleep(1)
...     return n
...
>>> expensive_function(5)
5
>>> expensive_function.cache_info()
CacheInfo(hits=0, misses=1, maxsize=None, currsize=1)
>>> expensive_function(5)
5
>>> expensive_function.cache_info()
CacheInfo(hits=1, misses=1, maxsize=None, currsize=1)
>>> expensive_function(6)
6
>>> expensive_function.cache_info()
CacheInfo(hits=1, misses=2, maxsize=None, currsize=2)
>>> expensive_function.cache_info()
CacheInfo(hits=1, misses=2, maxsize=None, currsize=2)
>>> expensive_function.cache_clear()
>>> expensive_function.cache_info()
CacheInfo(hits=0, misses=0, maxsize=None, currsize=0)
"""


@pytest.mark.slow
def test_examples_of_pottery_3_run_as_written(redis):
    test = doctest.DocTestParser().get_doctest(README, {"redis": redis}, "README", None, 0)
    said = []
    doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert not said, "".join(said)


# --- what is stored


def test_result_is_a_field_of_the_hash(redis):
    function = redis_cache(redis=redis, key="k")(square)
    function(3)
    function(n=4)
    fields = {as_text(field): as_text(value) for field, value in redis.hgetall("k").items()}
    assert fields == {"square(3)": "9", "square(n=4)": "16"}


def as_text(raw):
    return raw.decode() if isinstance(raw, bytes) else raw


def test_results_in_every_wire_mode(any_redis):
    calls = Counted(lambda n: {"n": n, "é": [None, 1.5]})
    for options in ({}, FOREVER, {"ttl": 5}, {"single_flight": True}):
        any_redis.flushdb()
        calls.calls.clear()
        function = redis_cache(redis=any_redis, key="k", **options)(calls)
        assert function(1) == function(1) == {"n": 1, "é": [None, 1.5]}
        assert function.cache_info() == (1, 1, None, 1)
        assert len(calls.calls) == 1


def test_fields_of_pottery_3_in_the_same_hash_are_left_alone(redis):
    redis.hset("k", "3713081631934410656", '"old"')
    function = redis_cache(redis=redis, key="k")(square)
    assert function(3) == 9
    assert redis.hlen("k") == 2


def test_first_call_and_hit_give_the_same(redis):
    function = redis_cache(redis=redis)(lambda *args: args)
    assert function(1, (2, 3)) == function(1, (2, 3)) == [1, [2, 3]]


@pytest.mark.parametrize("result", [object(), {1}, b"x", {(1,): 2}, CIRCULAR])
def test_result_that_is_not_json_is_typeerror_that_names_the_function(redis, result):
    def produce():
        return result

    function = redis_cache(redis=redis, key="k")(produce)
    for call in (function, function.__bypass__):
        with pytest.raises(TypeError, match=r"produce\(\) returned a "):
            call()
    assert not redis.exists("k")


@pytest.mark.parametrize("broken", ["{", "", "1 2", b"\xff", "[" * 100_000])
@pytest.mark.parametrize("options", [{}, FOREVER, {"single_flight": True}])
def test_entry_that_cannot_be_decoded_is_a_miss_and_is_replaced(redis, broken, options):
    function = redis_cache(redis=redis, key="k", **options)(square)
    redis.hset("k", "square(3)", broken)
    assert function(3) == 9
    assert function.cache_info() == (0, 1, None, 1)
    assert function(3) == 9
    assert function.cache_info() == (1, 1, None, 1)


def test_exception_passes_through_unchained_and_is_not_kept(redis):
    calls = Counted(lambda n: "abc"[n])
    for options in ({}, {"single_flight": True}):
        function = redis_cache(redis=redis, key="k", **options)(calls)
        for _ in range(2):
            with pytest.raises(IndexError) as caught:
                function(15)
            assert caught.value.__context__ is None
            assert caught.value.__cause__ is None
    assert len(calls.calls) == 4
    assert not redis.exists("k")


def test_none_is_a_result(redis):
    calls = Counted(lambda: None)
    function = redis_cache(redis=redis)(calls)
    assert (function(), function()) == (None, None)
    assert len(calls.calls) == 1


# --- whose results they are


def test_hash_that_meets_another_is_no_hit(redis):
    function = redis_cache(redis=redis)(square)
    assert [function(n) for n in (-1, -2, 0, 2**61 - 1)] == [1, 4, 0, (2**61 - 1) ** 2]
    assert redis_cache(redis=redis)(repr)(1) == "1"
    text_of = redis_cache(redis=redis)(repr)
    assert (text_of("1"), text_of(1), text_of(1.0), text_of(True)) == ("'1'", "1", "1", "1")
    typed = redis_cache(redis=redis, typed=True)(repr)
    assert (typed("1"), typed(1), typed(1.0), typed(True)) == ("'1'", "1", "1.0", "True")


def test_functions_with_one_decorator_are_kept_apart(redis):
    for options in ({"redis": redis}, {"redis": redis, "key": "k"}, {"redis": redis, "key": b"k"}):
        redis.flushdb()
        decorator = redis_cache(**options)

        @decorator
        def one(n):
            return n

        @decorator
        def other(n):
            return -n

        assert (one(1), other(1), one(1), other(1)) == (1, -1, 1, -1)
        assert one.cache_info() == other.cache_info() == (1, 1, None, 1)
        other.cache_clear()
        assert (one.cache_info().currsize, other.cache_info().currsize) == (1, 0)


def test_functions_of_one_name_cannot_have_one_decorator_with_a_key(redis):
    decorator = redis_cache(redis=redis, key="k")
    decorator(lambda: 1)
    with pytest.raises(ValueError, match=r"'k' is that of another function .*<lambda>"):
        decorator(lambda: 2)
    same = decorator(square)
    assert decorator(square)(3) == same(3) == 9


def test_functions_with_one_key_do_not_mix(redis):
    one, other = redis_cache(redis=redis, key="k")(square), redis_cache(redis=redis, key="k")(abs)
    assert (one(-3), other(-3), one(-3), other(-3)) == (9, 3, 9, 3)


def test_function_of_a_module_is_shared_without_a_key(server, redis):
    assert doubled(2) == 4
    assert as_text(redis.keys()[0]) == f"redis_cache:{__name__}.doubled"


def of_main():
    return 1


of_main.__module__ = "__main__"


@pytest.mark.parametrize("kind", ["lambda", "partial", "method", "main"])
def test_function_that_others_cannot_name_gets_a_temporary_key(server, redis, kind):
    def make():
        functions = {"partial": partial(square, 1), "method": [].copy, "main": of_main}
        return functions.get(kind, lambda: 1)

    one, other = redis_cache(make()), redis_cache(make())
    one()
    other()
    keys = redis.keys()
    assert len(keys) == 2
    assert all(as_text(key).startswith("pottery:") for key in keys)


def test_function_of_main_gets_a_temporary_key(redis, server):
    program = """
from pottery import redis_cache
@redis_cache
def f(): return 1
f()
print(f.cache_parameters()["key"])
"""
    done = run(program, server)
    assert done.stdout.startswith(b"pottery:")
    assert not redis.keys()


def run(program, server, *, seed=0):
    environment = {**os.environ, "REDIS_URL": server.url, "PYTHONHASHSEED": str(seed)}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    )


def test_processes_share_results_whatever_their_hash_seed(redis, server):
    program = """
from datetime import date
from pottery import redis_cache
@redis_cache(key="k")
def f(*args, **kwargs):
    return "computed"
args = "text", frozenset("abc"), date(2020, 1, 1), None, (1, b"x")
f(*args, unit="kg", amount=1.5)
print(*f.cache_info())
"""
    told = [run(program, server, seed=seed).stdout.split() for seed in (1, 2, 3)]
    assert told == [[b"0", b"1", b"None", b"1"], [b"1", b"0", b"None", b"1"]] + told[1:2]


# --- expiry


def test_every_call_renews_the_timeout_of_all(redis):
    function = redis_cache(redis=redis, key="k")(square)
    for n in (1, 1, 2):
        function(n)
        assert redis.ttl("k") == 60
        redis.expire("k", 5)
    function.__bypass__(1)
    assert redis.ttl("k") == 60
    redis.expire("k", 5)
    with pytest.raises(TypeError):
        function("x")
    assert redis.ttl("k") == 60


def test_timeout_of_none_is_for_ever(redis):
    function = redis_cache(redis=redis, key="k", timeout=None)(square)
    function(1)
    function(1)
    assert redis.ttl("k") == -1


def test_timeout_is_a_number_of_seconds_with_a_fraction(redis):
    function = redis_cache(redis=redis, key="k", timeout=0.05)(square)
    function(1)
    time.sleep(0.08)
    assert not redis.exists("k")
    function(1)
    assert function.cache_info().misses == 2


@pytest.mark.parametrize("timeout", [None, 60])
def test_result_goes_off_after_its_ttl_however_often_it_is_asked_for(redis, timeout):
    calls = Counted()
    function = redis_cache(redis=redis, key="k", timeout=timeout, ttl=0.2)(calls)
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        function(1)
    assert 3 <= len(calls.calls) <= 4


def test_results_that_went_off_do_not_heap_up(redis):
    function = redis_cache(redis=redis, key="k", timeout=None, ttl=0.05)(square)
    for n in range(50):
        function(n)
    assert 0 < redis.pttl("k") <= 50
    for n in range(50, 53):
        time.sleep(0.03)
        function(n)
    assert redis.hlen("k") <= 3
    time.sleep(0.1)
    assert not redis.keys()


def test_invalidated_result_with_a_ttl_is_computed_anew(redis):
    calls = Counted()
    function = redis_cache(redis=redis, key="k", ttl=60)(calls)
    function(1)
    function.invalidate(1)
    function(1)
    assert len(calls.calls) == 2
    function.cache_clear()
    assert not redis.keys()


@pytest.mark.parametrize("name", ["timeout", "ttl", "lease"])
@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 2**60, 1 << 1024])
def test_time_that_is_none_is_valueerror(name, seconds):
    with pytest.raises(ValueError, match=f"{name} must be a positive number of seconds"):
        redis_cache(**{name: seconds})


# --- what a decorated function has


def test_bypass_computes_and_keeps_and_is_neither_hit_nor_miss(redis):
    results = iter("abc")
    function = redis_cache(redis=redis)(lambda: next(results))
    assert function() == "a"
    assert function.__bypass__() == "b"
    assert function() == "b"
    assert function.cache_info() == CacheInfo(hits=1, misses=1, maxsize=None, currsize=1)
    assert function.__wrapped__() == "c"
    assert function() == "b"


def test_invalidate_forgets_one_result(redis):
    calls = Counted()
    function = redis_cache(redis=redis)(calls)
    function(1)
    function(2)
    assert function.invalidate(1) is None
    function.invalidate(3)
    function(1)
    function(2)
    assert calls.calls == [(1,), (2,), (1,)]


def test_clear_forgets_results_of_other_processes_too(redis):
    one, other = (redis_cache(redis=redis, key="k")(square) for _ in range(2))
    one(1)
    assert other.cache_info() == (0, 0, None, 1)
    other.cache_clear()
    assert one.cache_info() == (0, 1, None, 0)


def test_parameters_tell_how_it_is_cached(redis):
    function = redis_cache(redis=redis, key="k", ttl=5, single_flight=True)(square)
    assert function.cache_parameters() == {
        "maxsize": None,
        "typed": False,
        "key": "k",
        "timeout": 60,
        "ttl": 5,
        "single_flight": True,
        "lease": 10.0,
        "on_error": "raise",
    }


def test_it_looks_like_the_function():
    def f(a: int, *, b: str = "") -> int:
        """Say so."""

    f.attribute = 1
    function = redis_cache(f)
    assert (function.__name__, function.__doc__, function.attribute) == ("f", "Say so.", 1)
    assert function.__qualname__ == f.__qualname__
    assert function.__wrapped__ is f
    assert inspect.signature(function) == inspect.signature(f)
    assert "redis_cache of <function" in repr(function)


def test_it_is_pickled_by_name_and_copied_as_a_function_is():
    assert pickle.loads(pickle.dumps(tripled)) is tripled
    assert copy.copy(tripled) is copy.deepcopy(tripled) is tripled
    without_a_name = redis_cache(partial(square, 2))
    assert copy.copy(without_a_name) is copy.deepcopy(without_a_name) is without_a_name


@dataclass(frozen=True)
class Shop:
    name: str

    @redis_cache(key="prices")
    def price(self, item, amount=1):
        """Return the price."""
        return f"{self.name}: {amount} {item}"

    @classmethod
    @redis_cache
    def kind(cls, n):
        return f"{cls.__name__} {n}"

    @staticmethod
    @redis_cache
    def tax(n):
        return n / 5


class Mall(Shop):
    pass


def test_methods_are_cached_by_instance(redis, server):
    Shop.price.cache_clear()
    one, twin, other = Shop("one"), Shop("one"), Shop("other")
    assert one.price("pear", 2) == Shop.price(one, "pear", 2) == "one: 2 pear"
    assert other.price("pear", 2) == "other: 2 pear"
    assert twin.price("pear", 2) == "one: 2 pear"
    assert Shop.price.cache_info() == one.price.cache_info() == (2, 2, None, 2)
    one.price.invalidate("pear", 2)
    assert one.price.cache_info().currsize == 1
    assert one.price.__bypass__("plum") == "one: 1 plum" == one.price.__wrapped__("plum")
    assert one.price.cache_info().currsize == 2
    assert str(inspect.signature(one.price)) == "(item, amount=1)"
    assert one.price.__doc__ == "Return the price."


def test_method_stays_that_of_its_instance_wherever_it_is_put(redis, server):
    class Street:
        price = Shop("one").price

    assert Street().price("pear") == Street.price("pear") == "one: 1 pear"


def test_method_is_pickled_with_its_instance(redis, server):
    method = pickle.loads(pickle.dumps(Shop("one").price))
    assert method("pear", 2) == "one: 2 pear"
    assert copy.copy(method) is method


def test_class_methods_and_static_methods_are_cached(redis, server):
    Shop.tax.cache_clear()
    assert (Shop.kind(1), Mall.kind(1), Shop.kind(1)) == ("Shop 1", "Mall 1", "Shop 1")
    assert (Shop.tax(5), Shop("x").tax(5)) == (1.0, 1.0)
    assert Shop.tax.cache_info()[:2] == (1, 1)


def test_what_a_class_method_has_binds_as_far_as_python_tells_its_class(redis, server):
    Shop.kind.cache_clear()
    bound = () if sys.version_info < (3, 13) else (Shop,)
    assert Shop.kind.__bypass__(*bound, 1) == "Shop 1"
    assert Shop.kind.cache_info().currsize == 1
    Shop.kind.invalidate(*bound, 1)
    assert Shop.kind.cache_info().currsize == 0


def test_instance_without_a_text_needs_make_key(redis):
    class Basket:
        def __init__(self, number):
            self.number = number

        @redis_cache(redis=redis)
        def total(self):
            return self.number

        @redis_cache(redis=redis, make_key=lambda self, *args: [self.number, *args])
        def share(self, *args):
            return [self.number, *args]

    with pytest.raises(TypeError, match=r"Basket\.total\(\) cannot be .*Basket: .*make_key="):
        Basket(1).total()
    assert Basket(1).share({"a": 1}) == Basket(1).share({"a": 1}) == [1, {"a": 1}]
    assert Basket(2).share({"a": 1}) == [2, {"a": 1}]
    assert Basket.share.cache_info() == (1, 2, None, 2)


def test_unhashable_argument_is_typeerror_before_the_call(redis):
    calls = Counted()
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        redis_cache(redis=redis)(calls)([1])
    assert not calls.calls


@pytest.mark.parametrize("wrong", [1, "key", object(), classmethod(square)])
def test_decorating_no_function_is_typeerror(wrong):
    with pytest.raises(TypeError, match="redis_cache needs a function"):
        redis_cache(wrong)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"key": 5}, TypeError),
        ({"redis": 5}, TypeError),
        pytest.param({"redis": asynchronous.Redis()}, TypeError, id="client of asyncio"),
        ({"timeout": "60"}, TypeError),
        ({"lease": None}, TypeError),
        ({"make_key": "x"}, TypeError),
        ({"on_error": "ignore"}, ValueError),
    ],
    ids=str,
)
def test_option_that_is_wrong_is_refused_when_decorating(options, error):
    with pytest.raises(error):
        redis_cache(**options)(square)


def test_decorating_opens_no_client(monkeypatch):
    monkeypatch.setattr(redis_py.Redis, "from_url", None)
    redis_cache(square)
    redis_cache(key="k")(square)


# --- cost


def test_hit_is_one_round_trip_and_a_miss_two(redis, commands):
    for options in ({}, FOREVER, {"ttl": 5}, {"single_flight": True}):
        function = redis_cache(redis=redis, key="k", **options)(square)
        function(0)  # so that the scripts are known
        with commands(redis) as missed:
            function(1)
        with commands(redis) as hit:
            function(1)
        with commands(redis) as bypassed:
            function.__bypass__(1)
        with commands(redis) as others:
            function.invalidate(1)
            function.cache_info()
            function.cache_parameters()
            function.cache_clear()
        assert [*map(len, (missed, hit, bypassed, others))] == [2, 1, 1, 3]


def test_hit_that_never_expires_needs_no_right_to_scripts(redis, commands):
    function = redis_cache(redis=redis, key="k", timeout=None)(square)
    with commands(redis) as sent:
        function(1)
        function(1)
    assert [words[0] for words in sent] == ["HGET", "HSET", "HGET"]


# --- failure


@contextmanager
def lossy(server):
    with FaultyProxy(server.url) as proxy:
        yield proxy, redis_py.Redis(port=proxy.port, retry=Retry(NoBackoff(), 0))


@pytest.mark.parametrize("options", [{}, FOREVER, {"ttl": 60}, {"single_flight": True}])
def test_lost_replies_change_nothing(server, redis, options):
    calls = Counted()
    with lossy(server) as (proxy, client):
        function = redis_cache(redis=client, key="k", **options)(calls)
        for n in range(5):
            proxy.drop_reply()
            assert function(n) == [n]
            proxy.drop_reply()
            assert function(n) == [n]
            function.__bypass__(n)
        proxy.drop_reply()
        function.invalidate(0)
        assert function.cache_info() == (5, 5, None, 4)
    assert len(calls.calls) == 10


def result_then(lose):
    def function(n):
        lose()
        return n

    return function


@pytest.mark.parametrize("options", [{}, FOREVER, {"ttl": 60}, {"single_flight": True}])
def test_lost_reply_to_the_store_changes_nothing(server, redis, options):
    with lossy(server) as (proxy, client):
        compute = Counted(result_then(proxy.drop_reply))
        function = redis_cache(redis=client, key="k", **options)(compute)
        assert (function(1), function(1)) == (1, 1)
    assert len(compute.calls) == 1
    assert not [key for key in redis.scan_iter() if "flight" in as_text(key)]


def away():
    """A client of a server that is not there, quick to give up."""
    return redis_py.Redis(port=1, retry=Retry(NoBackoff(), 0), socket_timeout=0.2)


def test_server_that_is_away_raises_by_default():
    calls = Counted()
    function = redis_cache(redis=away())(calls)
    with pytest.raises(redis_py.ConnectionError):
        function(1)
    assert not calls.calls


def test_function_can_do_without_redis_and_warns_once_an_outage(caplog):
    client = {"retry": Retry(NoBackoff(), 0), "socket_timeout": 0.2}
    with RedisServer() as server, server.client(**client) as redis:
        calls = Counted(lambda n: (n,))
        function = redis_cache(redis=redis, key="k", on_error="compute")(calls)
        other = redis_cache(redis=redis, key="l", on_error="compute")(square)
        function(1)
        for outage in (1, 2):
            server.kill()
            assert [function(1), function(2)] == [[1], [2]]
            assert len(caplog.records) == outage
            server.start()
            assert function(3) == [3]
        server.kill()
        caplog.clear()
        assert (other(3), other(3), function.__bypass__(5)) == (9, 9, [5])
    names = [(record.name, record.levelno, record.getMessage()) for record in caplog.records]
    assert [name[:2] for name in names] == [("pottery", logging.WARNING)] * 2
    assert ["'l'" in names[0][2], "'k'" in names[1][2]] == [True, True]


def test_store_that_fails_after_the_computation_is_an_outage_too(caplog):
    client = {"retry": Retry(NoBackoff(), 0), "socket_timeout": 0.2}
    for options in ({}, {"single_flight": True}):
        caplog.clear()
        with RedisServer() as server, server.client(**client) as redis:
            function = redis_cache(redis=redis, on_error="compute", **options)(
                result_then(server.kill)
            )
            assert function(1) == 1
            assert len(caplog.records) == 1


def test_mistake_is_no_outage(redis, server):
    redis.set("k", "text")
    function = redis_cache(redis=redis, key="k", on_error="compute")(square)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        function(1)
    redis.execute_command("ACL SETUSER", "ann", "on", ">secret", "~*", "+@all")
    wrong = server.client(username="ann", password="wrong")
    with pytest.raises(redis_py.AuthenticationError):
        redis_cache(redis=wrong, on_error="compute")(square)(1)
    redis.execute_command("ACL DELUSER", "ann")


def test_exception_of_the_function_during_an_outage_is_not_hidden():
    def fail():
        raise KeyError("mine")

    for options in ({}, {"single_flight": True}):
        function = redis_cache(redis=away(), on_error="compute", **options)(fail)
        with pytest.raises(KeyError, match="mine") as caught:
            function()
        assert caught.value.__context__ is None


def test_exception_of_the_function_is_not_hidden_if_the_lease_cannot_be_given_back():
    with RedisServer() as server, server.client(retry=Retry(NoBackoff(), 0)) as redis:

        def fail():
            server.kill()
            raise KeyError("mine")

        function = redis_cache(redis=redis, single_flight=True)(fail)
        with pytest.raises(KeyError, match="mine") as caught:
            function()
        assert caught.value.__context__ is None


# --- many at once


def in_threads(count, target):
    """Run *target* with 0, 1, ... in threads, and return the results or errors in this order."""
    results = [None] * count

    def work(number):
        try:
            results[number] = target(number)
        except Exception as error:  # noqa: BLE001
            results[number] = error

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_no_hit_and_no_miss_is_lost_between_threads(redis):
    function = redis_cache(redis=redis)(square)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        in_threads(8, lambda _: [function(n % 10) for n in range(100)])
    finally:
        sys.setswitchinterval(interval)
    info = function.cache_info()
    assert (info.hits + info.misses, info.currsize) == (800, 10)


def test_of_many_threads_one_computes(redis):
    calls = Counted(seconds=0.3)
    function = redis_cache(redis=redis, key="k", single_flight=True)(calls)
    began = time.monotonic()
    assert in_threads(40, lambda _: function(1)) == [[1]] * 40
    assert time.monotonic() - began < 1.2
    assert len(calls.calls) == 1
    assert function.cache_info() == (39, 1, None, 1)
    time.sleep(1.1)
    assert redis.keys() in ([b"k"], ["k"])


def test_unlike_calls_do_not_wait_for_each_other(redis):
    calls = Counted(seconds=0.3)
    function = redis_cache(redis=redis, single_flight=True)(calls)
    began = time.monotonic()
    in_threads(10, function)
    assert time.monotonic() - began < 1
    assert len(calls.calls) == 10


def test_those_who_wait_leave_the_pool_to_others(redis, server):
    pool = redis_py.BlockingConnectionPool.from_url(server.url, max_connections=2, timeout=1)
    client = redis_py.Redis(connection_pool=pool)
    calls = Counted(seconds=0.6)
    function = redis_cache(redis=client, key="k", single_flight=True)(calls)
    waiting = threading.Thread(target=in_threads, args=(30, lambda _: function(1)))
    waiting.start()
    time.sleep(0.2)
    slowest = 0.0
    while not redis.hlen("k"):
        began = time.monotonic()
        client.ping()
        slowest = max(slowest, time.monotonic() - began)
    waiting.join()
    assert slowest < 0.3
    assert len(calls.calls) == 1
    client.connection_pool.disconnect()


def test_exception_is_not_shared_and_the_next_one_computes(redis):
    lock = threading.Lock()
    outcomes = iter([ValueError("first"), ValueError("second"), "done"])
    calls = []

    def compute():
        with lock:
            calls.append(threading.get_ident())
            outcome = next(outcomes)
        time.sleep(0.1)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    function = redis_cache(redis=redis, single_flight=True)(compute)
    results = in_threads(10, lambda _: function())
    assert sorted(map(str, results)) == ["done"] * 8 + ["first", "second"]
    assert len(set(calls)) == len(calls) == 3


def test_those_who_wait_for_a_function_that_fails_are_served_in_turn(any_redis):
    turns = []

    def fail(name):
        turns.append(name)
        time.sleep(0.2)
        raise ValueError(name)

    function = redis_cache(
        redis=any_redis, key="k", single_flight=True, make_key=lambda name: "same"
    )(fail)

    def call(number):
        time.sleep(number * 0.05)
        for _ in range(2):
            with pytest.raises(ValueError, match=str(number)):
                function(number)

    in_threads(3, call)
    assert turns == [0, 1, 2] * 2
    assert not any_redis.keys("k~flight:*")


def test_one_that_no_longer_waits_is_passed_over(redis):
    function = redis_cache(redis=redis, key="k", single_flight=True)(square)
    cache = function._cache()
    first, second, third = (function._call((1,), {}, joins=True) for _ in range(3))
    assert cache._perform(cache._look_up(first)) is MISSING
    steps = cache._look_up(second)
    joined = cache._send(Op(("EVAL", JOIN.text, *next(steps).args[2:]), same))
    assert isinstance(steps.send(joined), Poll)
    step = steps.throw(asyncio.CancelledError())
    cache._send(Op(("EVAL", GIVE_UP.text, *step.args[2:]), same))
    with pytest.raises(asyncio.CancelledError):
        steps.send(None)
    cache._perform(cache._give_up(first))
    began = time.monotonic()
    assert cache._perform(cache._look_up(third)) is MISSING
    assert time.monotonic() - began < 0.5


def test_one_that_died_while_it_waited_delays_the_next_by_a_second(redis, commands):
    function = redis_cache(redis=redis, key="k", single_flight=True)(square)
    cache = function._cache()
    first, second = (function._call((1,), {}, joins=True) for _ in range(2))
    assert cache._perform(cache._look_up(first)) is MISSING
    steps = cache._look_up(second)
    cache._send(Op(("EVAL", JOIN.text, *next(steps).args[2:]), same))
    cache._perform(cache._give_up(first))
    began = time.monotonic()
    with commands(redis) as sent:
        assert function(1) == 1
    assert 0.5 < time.monotonic() - began < 2
    assert len(sent) < 10  # it does not look again and again


def test_result_that_is_not_json_lets_the_next_one_compute(redis):
    results = iter([object(), 1])
    function = redis_cache(redis=redis, single_flight=True)(lambda: next(results))
    with pytest.raises(TypeError):
        function()
    began = time.monotonic()
    assert function() == 1
    assert time.monotonic() - began < 0.5


def test_who_takes_longer_than_the_lease_is_taken_for_dead(redis):
    calls = Counted(seconds=0.8)
    function = redis_cache(redis=redis, key="k", single_flight=True, lease=0.3)(calls)
    began = time.monotonic()
    results = in_threads(2, lambda _: function(1))
    assert results == [[1], [1]]
    assert len(calls.calls) == 2
    assert 0.8 < time.monotonic() - began < 1.5
    time.sleep(1.1)
    assert redis.keys() in ([b"k"], ["k"])


FLIGHT = """
import os, sys, time
from pottery import redis_cache
@redis_cache(key="k", single_flight=True, lease=1)
def compute(n):
    print("computing", flush=True)
    time.sleep(float(sys.argv[1]))
    return n
compute(5)
print(*compute.cache_info(), flush=True)
"""


def start(server, seconds, seed):
    environment = {**os.environ, "REDIS_URL": server.url, "PYTHONHASHSEED": str(seed)}
    return subprocess.Popen(
        [sys.executable, "-c", FLIGHT, str(seconds)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_of_many_processes_one_computes(redis, server):
    processes = [start(server, 0.9, seed) for seed in range(6)]
    said = "".join(process.communicate()[0] for process in processes)
    assert said.count("computing") == 1
    assert said.count("1 0 None 1") == 5


@pytest.mark.slow
def test_process_that_dies_is_succeeded_when_its_lease_ends(redis, server):
    dying = start(server, 60, 1)
    assert dying.stdout.readline() == "computing\n"
    dying.kill()
    began = time.monotonic()
    calls = Counted(lambda n: n)
    calls.__qualname__ = "compute"
    function = redis_cache(redis=redis, key="k", single_flight=True, lease=1)(calls)
    assert in_threads(5, lambda _: function(5)) == [5] * 5
    assert time.monotonic() - began < 2
    assert len(calls.calls) == 1
    dying.communicate()


def test_foreign_key_in_the_place_of_a_lease_is_not_waited_for(redis):
    function = redis_cache(redis=redis, key="k", single_flight=True)(square)
    function(1)
    redis.set(f"k~flight:{digest('square(2)')[:32]}", "somebody")
    assert function(2) == 4


def test_waiting_goes_on_if_the_server_takes_no_more_connections(server):
    with RedisServer(config={"maxclients": "8"}) as small:
        calls = Counted(seconds=0.5)
        pool = redis_py.BlockingConnectionPool.from_url(small.url, max_connections=4, timeout=5)
        client = redis_py.Redis(connection_pool=pool)
        in_threads(4, lambda _: client.blpop("nothing", 0.2))  # now the pool is connected
        function = redis_cache(redis=client, key="k", single_flight=True)(calls)
        assert in_threads(20, lambda _: function(1)) == [[1]] * 20
        assert len(calls.calls) == 1
        pool.disconnect()


def test_interrupted_look_up_gives_the_lease_back(redis):
    function = redis_cache(redis=redis, key="k", single_flight=True)(square)
    cache = function._cache()
    call = function._call((1,), {}, joins=True)
    steps = cache._look_up(call)
    step = next(steps)
    cache._send(Op(("EVAL", JOIN.text, *step.args[2:]), same))
    assert len(redis.keys("k~flight:*")) == 1
    step = steps.throw(KeyboardInterrupt())
    cache._send(Op(("EVAL", GIVE_UP.text, *step.args[2:]), same))
    with pytest.raises(KeyboardInterrupt):
        steps.send(None)
    assert not redis.keys("k~flight:*")


def test_store_that_is_interrupted_or_refused_gives_the_lease_back(redis):
    def compute(error):
        if error:
            redis.set("k", "of another type")

    function = redis_cache(redis=redis, key="k", single_flight=True)(compute)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        function(1)
    assert not redis.keys("k~flight:*")
    redis.delete("k")
    cache = function._cache()
    call = function._call((0,), {}, joins=True)
    cache._perform(cache._look_up(call))
    steps = cache._keep(call, "null")
    next(steps)
    step = steps.throw(KeyboardInterrupt())
    cache._send(step)
    with pytest.raises(KeyboardInterrupt):
        steps.send(None)
    assert not redis.keys("k~flight:*")


def test_interrupted_wait_does_not_stir_up_the_others(redis):
    function = redis_cache(redis=redis, key="k", single_flight=True)(square)
    cache = function._cache()
    calls = [function._call((1,), {}, joins=True) for _ in range(2)]
    assert cache._perform(cache._look_up(calls[0])) is MISSING
    cache._perform(cache._give_up(calls[1]))
    assert len(redis.keys("k~flight:*")) == 1
    assert not redis.keys("k~landing:*")


# --- asyncio


def in_a_loop(server, body):
    async def run():
        client = asynchronous.Redis.from_url(server.url)
        try:
            await body(client)
        finally:
            await close(client)

    asyncio.run(run())


def test_asynchronous_function_is_cached_and_awaited(server, redis):
    async def body(client):
        calls = []

        @redis_cache(redis=client, key="k")
        async def f(*args):
            calls.append(args)
            return args

        assert await f(1, (2,)) == await f(1, (2,)) == [1, [2]]
        assert await f.cache_info() == CacheInfo(1, 1, None, 1)
        assert await f.__bypass__(1, (2,)) == [1, [2]]
        assert await f.__wrapped__(1) == (1,)
        await f.invalidate(1, (2,))
        assert await f.cache_info() == (1, 1, None, 0)
        await f.cache_clear()
        assert await f.cache_info() == (0, 0, None, 0)
        assert f.cache_parameters()["key"] == "k"
        if sys.version_info >= (3, 12):
            assert inspect.iscoroutinefunction(f)

    in_a_loop(server, body)


def test_object_that_is_awaited_when_called_is_cached(server, redis):
    class Double:
        async def __call__(self, n):
            return 2 * n

    async def body(client):
        f = redis_cache(redis=client, key="k")(Double())
        assert await f(2) == await f(2) == 4
        assert await redis_cache(redis=client, key="l")(f)(2) == 4
        assert await f.cache_info() == (2, 1, None, 1)

    in_a_loop(server, body)


def test_asynchronous_method_is_cached_by_instance(server, redis):
    async def body(client):
        @dataclass(frozen=True)
        class Shop:
            name: str

            @redis_cache(redis=client)
            async def price(self, item):
                return f"{self.name} {item}"

        assert await Shop("a").price("pear") == await Shop.price(Shop("a"), "pear") == "a pear"
        assert await Shop("b").price("pear") == "b pear"
        await Shop("a").price.invalidate("pear")
        assert await Shop.price.cache_info() == (1, 2, None, 1)

    in_a_loop(server, body)


def test_asynchronous_function_needs_a_client_of_its_colour(redis):
    async def f():
        pass

    with pytest.raises(TypeError, match="asyncio"):
        redis_cache(redis=redis)(f)


def test_of_many_tasks_one_computes(server, redis):
    async def body(client):
        calls = []

        @redis_cache(redis=client, single_flight=True)
        async def f(n):
            calls.append(n)
            await asyncio.sleep(0.3)
            return n

        assert await asyncio.gather(*[f(1) for _ in range(30)]) == [1] * 30
        assert calls == [1]

    in_a_loop(server, body)


def test_cancelled_task_lets_the_next_one_compute(server, redis):
    async def body(client):
        calls = []

        @redis_cache(redis=client, single_flight=True)
        async def f():
            calls.append(1)
            await asyncio.sleep(0.2 if len(calls) > 1 else 60)
            return "done"

        first = asyncio.create_task(f())
        await asyncio.sleep(0.1)
        others = [asyncio.create_task(f()) for _ in range(3)]
        await asyncio.sleep(0.1)
        first.cancel()
        assert await asyncio.gather(*others) == ["done"] * 3
        with pytest.raises(asyncio.CancelledError):
            await first
        assert len(calls) == 2

    in_a_loop(server, body)


# redis-py drops a connection that is cancelled again while it is given up.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_task_that_is_cancelled_time_after_time_lets_the_next_one_compute(server, redis):
    async def body(client):
        @redis_cache(redis=client, key="k", single_flight=True)
        async def f():
            await asyncio.sleep(60)

        for turns in range(40):  # so that each await is met, as by a cancel scope of anyio
            redis.script_flush()  # or the first attempt to clean up is enough
            task = asyncio.create_task(f())
            await asyncio.sleep(0 if turns % 2 else 0.02)
            for _ in range(turns):
                await asyncio.sleep(0)
            while not task.done():
                task.cancel()
                await asyncio.sleep(0)
            deadline = time.monotonic() + 10
            while redis.keys("k~flight:*"):
                assert time.monotonic() < deadline, turns
                await asyncio.sleep(0.01)

    in_a_loop(server, body)
    gc.collect()  # here, rather than in another test


def test_asynchronous_exception_passes_through_unchained(server, redis):
    async def body(client):
        for options in ({}, {"single_flight": True}):

            @redis_cache(redis=client, **options)
            async def f():
                raise KeyError("mine")

            with pytest.raises(KeyError) as caught:
                await f()
            assert caught.value.__context__ is None

    in_a_loop(server, body)


def test_asynchronous_function_can_do_without_redis(caplog):
    async def run():
        client = asynchronous.Redis(port=1, retry=None)

        @redis_cache(redis=client, on_error="compute")
        async def f(n):
            return n

        assert [await f(1), await f(1)] == [1, 1]

    asyncio.run(run())
    assert len(caplog.records) == 1


# --- random calls


@pytest.mark.slow
def test_many_callers_that_invalidate_and_clear_see_only_right_results(redis):
    def compute(n):
        if random.random() < 0.1:
            raise LookupError(n)
        return [n, "x" * n]

    functions = [
        redis_cache(redis=redis, key="k", single_flight=n % 2 == 0, lease=0.5)(compute)
        for n in range(4)
    ]

    def work(number):
        function = functions[number % 4]
        for _ in range(150):
            n = random.randrange(20)
            with suppress(LookupError):
                assert function(n) == [n, "x" * n]
            chance = random.random()
            if chance < 0.05:
                function.cache_clear()
            elif chance < 0.2:
                function.invalidate(n)

    assert in_threads(8, work) == [None] * 8
