"""Old and new share data: pottery 3.0.1, in an environment of its own, and ours, at the same keys.

Both are programs (see performer.py), so that each runs its own code, as two deployments do.
`make pottery-3` sets the old environment up. What 3.0.1 cannot do right by itself, and so cannot do
together with ours, stands in DEFECTS with what the tests do instead.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections import Counter, deque
from contextlib import ExitStack
from itertools import chain, pairwise
from math import inf, nan
from pathlib import Path

import performer as program
import pytest
from clients import wait_until
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_json import keys, values

ROOT = Path(__file__).parent.parent
OLD = ROOT / ".venv-pottery-3"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (OLD / "ready").exists(), reason="pottery 3.0.1 is not there: `make pottery-3`"
    ),
]

# What pottery 3.0.1 does wrongly without our help, and how the tests get around it.
DEFECTS = {
    "WatchError": "changes that compete fail in 3.0.1, having done nothing: they are tried again",
    "QuorumNotAchieved": "so do IDs, after three lost races",
    "busy queue": "`get` fails if anybody has put or got meanwhile: it is given time, and a share",
    "get": "without a timeout, `get` waits for ever or raises at once: it is given one",
    "counter": "counting elements counts twice what is there: counts are given as a mapping",
    "tuples": "tuples come back as lists, so that a dict or set of them cannot be built: look-ups",
    "list": "slices, insert(-1, x), sort of strings: left out of what is done in turn",
    "deque": "rotate by more than the length loses elements: left out of what is done in turn",
}


class RaisedError(Exception):
    """What was raised in the other program: the name of its type, and its text."""

    def __init__(self, kind, text):
        super().__init__(kind, text)
        self.kind = kind


def read(answer):
    error, text = answer
    if error:
        raise RaisedError(error, text)
    return eval(text, dict(program.READABLE))


class Performer:
    """A program that performs lines of Python by the pottery of the Python that runs it."""

    def __init__(self, python, servers, *options):
        self.is_old = OLD in Path(python).parents
        command = [python, *options, program.__file__, *(server.url for server in servers)]
        environment = {**os.environ, "REDIS_URL": servers[0].url, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()  # which ends it
        self.process.stdout.close()
        self.process.wait(10)

    def begin(self, code, **names):
        print(json.dumps([code, repr(names)]), file=self.process.stdin, flush=True)

    def answer(self):
        return json.loads(self.process.stdout.readline())

    def end(self):
        return read(self.answer())

    def __call__(self, code, **names):
        self.begin(code, **names)
        return self.end()


@pytest.fixture(scope="module")
def servers(server, five_servers):
    return [server, *five_servers]


@pytest.fixture(scope="module")
def performers(servers):
    """Two programs of each version: old, new, old, new."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(performer)
            for _ in range(2)
            for performer in (
                Performer(OLD / "bin" / "python", servers, "-I"),  # which looks at no PYTHONPATH
                Performer(sys.executable, servers),
            )
        ]


@pytest.fixture(autouse=True)
def empty(redis, masters):
    """Empty all servers."""


@pytest.fixture
def old(performers):
    return performers[0]


@pytest.fixture
def new(performers):
    return performers[1]


@pytest.fixture(params=["old to new", "new to old"])
def pair(request, old, new):
    """Who writes, and who reads."""
    return (old, new) if request.param == "old to new" else (new, old)


def test_each_program_has_its_own_pottery(performers):
    assert [performer.is_old for performer in performers] == [True, False, True, False]
    assert performers[0]("version") == "3.0.1"


def test_every_name_and_option_of_the_old_is_there(old, new):
    code = """
import inspect, pottery
def options(name):
    thing = getattr(pottery, name)
    function = thing.__init__ if isinstance(thing, type) else thing
    parameters = inspect.signature(function).parameters.values()
    return {one.name for one in parameters if one.kind is one.KEYWORD_ONLY}
{name: options(name) for name in pottery.__all__}
"""
    now = new(code)
    for name, options in old(code).items():
        assert options <= now[name], name


# --- what one writes, the other reads

the_same_every_time = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

ODD_KEYS = [
    *(None, True, False, 0, 1, -1, 1.0, 0.0, -0.0, 0.1, 1e16, 10**16, 5e-324, 1.7e308, inf, -inf),
    *(2**53 + 1, -(2**63), 2**64, 10**400, "", "a", "1", "null", '"', "\\", "\0", "\r\n", "\x7f"),
    *("é", "e\u0301", "\u2028", "\U0001f3fa", "\ud800", "\udfff\ud800", "{", "[1", '{"a": 1}'),
    *("a" * 2000, (), (1,), (1, ("x", None)), ((), ((),)), ("a", 1.5, True, 10**30)),
]
ODD = [
    *(*ODD_KEYS, nan, [], {}, [[]], [{}], {"": []}, [1, [2, [3]]], (1, (2, [3])), {1: "x"}),
    *({None: 1}, {1.5: True}, {"b": 1, "a": {"d": 1, "c": 2}}, [None, 1.5, "x", {"k": [nan]}]),
    json.loads("[" * 50 + "]" * 50),
]


def as_json(value):
    """Return a value as JSON keeps it."""
    return json.loads(json.dumps(value, sort_keys=True))


def same(found, expected):
    return repr(found) == repr(expected)  # NaN, -0.0 and True included


def tuples(value):
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def distinct(elements):
    """Leave out those whose JSON is the same."""
    return [*{json.dumps(element, sort_keys=True): element for element in elements}.values()]


@the_same_every_time
@given(items=st.lists(values, min_size=1, max_size=9))
@example(items=ODD)
@pytest.mark.parametrize("kind", ["RedisList", "RedisDeque"])
def test_sequences_are_read_by_the_other(pair, kind, items):
    write, fetch = pair
    write("redis.delete('k')")
    write(f"{kind}(items[:-1], redis=redis, key='k').append(items[-1])", items=items)

    code = f"it = {kind}(redis=redis, key='k')\n[it[0], it[-1], len(it), it.to_list()]"
    first, last, size, found = fetch(code)

    assert same(found, as_json(items))
    assert same([first, last, size], as_json([items[0], items[-1], len(items)]))


@the_same_every_time
@given(pairs=st.lists(st.tuples(keys, values), min_size=1, max_size=9))
@example(pairs=[*zip(ODD_KEYS, ODD, strict=False)])
def test_dicts_are_read_by_the_other(pair, pairs):
    write, fetch = pair
    write("redis.delete('k')")
    write("it = RedisDict(redis=redis, key='k')\nfor k, v in pairs: it[k] = v", pairs=pairs)
    expected = {json.dumps(key): as_json(value) for key, value in pairs}
    known = distinct(key for key, _ in pairs)

    code = "it = RedisDict(redis=redis, key='k')\n[len(it), [it[k] for k in known]]"
    size, found = fetch(code, known=known)

    assert same(found, [expected[json.dumps(key)] for key in known])
    assert size == len(expected)
    assert fetch("[k in it for k in known]", known=known) == [True] * size
    if not fetch.is_old:  # see DEFECTS: tuples
        by_key = {json.dumps(key): value for key, value in fetch("[*it.items()]")}
        assert same(sorted(by_key.items()), sorted(expected.items()))


@the_same_every_time
@given(content=st.dictionaries(st.text(), values, min_size=1, max_size=9))
def test_whole_dicts_are_read_by_the_other(pair, content):
    write, fetch = pair
    write("redis.delete('k')")
    write("RedisDict(content, redis=redis, key='k')", content=content)

    found = fetch("RedisDict(redis=redis, key='k').to_dict()")

    assert same(sorted(found.items()), sorted((k, as_json(v)) for k, v in content.items()))


@the_same_every_time
@given(members=st.lists(keys, min_size=1, max_size=9))
@example(members=ODD_KEYS)
def test_sets_are_read_by_the_other(pair, members):
    write, fetch = pair
    members = distinct(members)
    write("redis.delete('k')")
    write("RedisSet(redis=redis, key='k').update(members)", members=members)

    found = fetch(
        "it = RedisSet(redis=redis, key='k')\n"
        "[len(it), [x in it for x in members], [*it.contains_many(*members)], [*it]]",
        members=members,
    )

    assert found[:3] == [len(members), [True] * len(members), [True] * len(members)]
    texts = sorted(json.dumps(tuples(member)) for member in found[3])
    assert texts == sorted(json.dumps(member) for member in members)
    assert fetch("[it.remove(x) for x in members]\nlen(it)", members=members) == 0


COUNTS = {"a": 3, "b": -2, "zero": 0, "half": 1.5, "": 2**62, "\ud800": 10**14, "é": -(2**63)}


def test_counters_are_read_by_the_other(pair):
    write, fetch = pair
    write("RedisCounter(counts, redis=redis, key='k')", counts=COUNTS)
    write("RedisCounter(redis=redis, key='k').subtract({'a': 1, 'half': 0.25})")
    found = fetch("it = RedisCounter(redis=redis, key='k')\n[it.to_counter(), it['a'], it['none']]")
    counts = Counter(COUNTS | {"a": 2, "half": 1.25})
    assert found == [counts, 2, 0]
    assert fetch("it.update({'a': 5, 'new': 1})\nit.most_common(1)") == [("", 2**62)]
    assert write("it = RedisCounter(redis=redis, key='k')\n[it['a'], it['new']]") == [7, 1]


def test_deque_forgets_its_maxlen_but_keeps_to_the_one_it_is_given(pair):
    write, fetch = pair
    write("RedisDeque('abc', maxlen=3, redis=redis, key='k').append('d')")
    found = fetch("it = RedisDeque(maxlen=3, redis=redis, key='k')\nit.appendleft('x')\n[*it]")
    assert found == ["x", "b", "c"]
    with pytest.raises(RaisedError) as caught:
        fetch("RedisDeque(maxlen=2, redis=redis, key='k')")
    assert caught.value.kind == "IndexError"


@the_same_every_time
@given(items=st.lists(values, min_size=1, max_size=9))
@example(items=ODD)
def test_queues_are_got_by_the_other(pair, items):
    write, fetch = pair
    write("redis.delete('k')")
    write(
        "it = RedisSimpleQueue(redis=redis, key='k')\nfor item in items: it.put(item)", items=items
    )
    fetch("it = RedisSimpleQueue(redis=redis, key='k')")
    assert fetch("[it.qsize(), it.empty()]") == [len(items), False]
    assert same(fetch("[it.get(timeout=5) for _ in range(n)]", n=len(items)), as_json(items))
    assert fetch("[it.qsize(), it.empty()]") == [0, True]


BLOOM = "BloomFilter(num_elements=100, false_positives=0.01, redis=redis, key='k')"


@the_same_every_time
@given(elements=st.lists(keys, min_size=1, max_size=9))
@example(elements=ODD_KEYS)
def test_bloom_filters_are_read_by_the_other(pair, elements):
    write, fetch = pair
    write("redis.delete('k', 'copy')")
    write(f"it = {BLOOM}\nit.add(items[0])\nit.update(items[1:])", items=elements)
    bits = fetch("redis.get('k')")

    found = fetch(f"it = {BLOOM}\n[all(it.contains_many(*items)), items[0] in it]", items=elements)

    assert found == [True, True]
    fetch("it.update(items)\nit.add(items[-1])", items=elements)
    assert fetch("redis.get('k')") == bits  # the same bits for the same elements
    assert write("len(it)") == fetch("len(it)")


@the_same_every_time
@given(elements=st.lists(keys, min_size=1, max_size=9))
@example(elements=ODD_KEYS)
def test_hyperloglogs_are_read_by_the_other(pair, elements):
    write, fetch = pair
    elements = distinct(elements)
    write("redis.delete('k')")
    write("HyperLogLog(redis=redis, key='k').update(items)", items=elements)

    found = fetch(
        "it = HyperLogLog(redis=redis, key='k')\n[len(it), [*it.contains_many(*items)]]",
        items=elements,
    )

    assert found == [write("len(HyperLogLog(redis=redis, key='k'))"), [True] * len(elements)]
    assert fetch("it.update(items)\nlen(it)", items=elements) == found[0]


def test_cached_ordered_dicts_find_what_the_other_stored(pair):
    write, fetch = pair
    code = "it = CachedOrderedDict(redis_client=redis, redis_key='k', dict_keys=known)"
    write(
        f"{code}\nit['b'] = [1]\nit.update({{3: 'x'}})\nit.setdefault('d', None)", known=["a", "b"]
    )
    known = ["d", "b", "a", 3]

    found = fetch(f"{code}\n[it.misses() == {{'a'}}, it['d'], it['b'], it[3]]", known=known)

    assert found == [True, None, [1], "x"]
    assert 0 < fetch("redis.ttl('k')") <= 60
    fetch("it['a'] = 1")
    assert write(f"{code}\n[it.misses() == set(), it['a']]", known=known) == [True, 1]


def test_caches_of_results_know_nothing_of_each_other(pair):
    one, other = pair
    code = (
        "@redis_cache(redis=redis, key='k')\n"
        "def f(*args): return [me, *args]\n"
        "[f(), f(1), f('x'), f(1), f.cache_info()[:2]]"
    )
    for me, performer in (("one", one), ("other", other)):
        found = performer(code, me=me)
        assert found == [[me], [me, 1], [me, "x"], [me, 1], (1, 3)]
    # Both count all that is there, and clear all.
    assert one("f.cache_info().currsize") == other("f.cache_info().currsize") == 6
    assert one("[f(1), f.__bypass__(1)]") == [["one", 1], ["one", 1]]
    other("f.cache_clear()")
    assert one("[f.cache_info().currsize, f('x')]") == [0, ["one", "x"]]


# --- both in turn

LINES = {
    "RedisList": (
        list,
        "abcd",
        """
        it.append(x); it.extend([x, y]); it.insert(0, x); it.insert(2, x); it[1]; it[-1];
        it[0] = x; it[2] = y; del it[1]; it.pop(); it.pop(0); it.pop(1); it.remove(x); x in it;
        it.index(x); it.count(x); len(it); it[1:3]; it[::-1]; it.reverse(); it[99]
        """,
    ),
    "RedisDeque": (
        deque,
        "abcd",
        """
        it.append(x); it.appendleft(x); it.extend([x, y]); it.extendleft([x, y]); it.pop();
        it.popleft(); it[0]; it[-1]; it[1] = x; it.rotate(1); it.rotate(-1); x in it;
        it.count(x); len(it)
        """,
    ),
    "RedisSet": (
        set,
        "abcd",
        """
        it.add(x); it.discard(x); it.remove(x); x in it; it.update([x, y]);
        it.difference_update([x]); it.issubset('abcdefg'); it.isdisjoint([x]); len(it);
        it.union([x]); it.intersection([x, y])
        """,
    ),
    "RedisDict": (
        dict,
        {"a": 1, "b": [2]},
        """
        it[x] = n; it[x]; it.get(x); it.get(x, n); it.pop(x); it.pop(x, n);
        it.setdefault(x, n); it.update({x: n, y: [x]}); del it[x]; x in it; len(it);
        it == {x: n}
        """,
    ),
    "RedisCounter": (
        Counter,
        {"a": 1, "b": 2},
        """
        it[x] = n; it[x]; it.update({x: n}); it.subtract({x: n, y: 1}); del it[x]; x in it;
        len(it); it += Counter({x: n}); it -= Counter({x: n}); it |= Counter({y: n});
        it &= Counter(a=2, b=3)
        """,
    ),
}


@pytest.mark.parametrize("kind", LINES)
def test_both_work_in_turn_as_one_program_would(kind, old, new):
    builtin, content, lines = LINES[kind]
    rng = random.Random(kind)
    model = {"it": builtin(content), "Counter": Counter}
    old(f"{kind}(content, redis=redis, key='k')", content=content)
    for performer in (old, new):
        performer(f"it = {kind}(redis=redis, key='k')")

    for _ in range(300):
        performer, line = rng.choice([old, new]), rng.choice(re.split(r";\s*", lines.strip()))
        names = {"x": rng.choice("abcdefg"), "y": rng.choice("abcdefg"), "n": rng.randint(1, 9)}
        before = repr(model["it"])
        expected = outcome(performer_of(model), line, names)
        assert outcome(performer, line, names) == expected, f"{line} of {before}, {names}"
        view = {list: "[*it]", deque: "deque(it)", set: "set(it)"}.get(builtin, "it.to_dict()")
        assert new(view) == model["it"], f"after {line} of {before}, {names}"
    assert old(view) == model["it"]


def performer_of(model):
    def perform(line, **names):
        model.update(names)
        try:
            return program.perform(line, model)
        except Exception as error:
            raise RaisedError(type(error).__name__, "") from error

    return perform


def outcome(perform, line, names):
    try:
        return perform(line, **names)
    except RaisedError as error:
        return error.kind


def test_old_deletes_what_it_finds_at_a_temporary_key(old, new, redis):
    """A defect of 3.0.1, for which docs/upgrading.md has a remedy: give a key of another kind."""
    for key in ("pottery:mine", "mine"):
        new("RedisDict({'a': 1}, redis=redis, key=key)", key=key)
        old("it = RedisDict(redis=redis, key=key)\ndel it", key=key)
    assert [redis.exists("pottery:mine"), redis.exists("mine")] == [0, 1]
    new("it = RedisDict({'a': 1}, redis=redis, key='pottery:mine')\ndel it")
    new("RedisDict(redis=redis).clear()")  # a call in which ours would tidy up
    assert redis.exists("pottery:mine")


# --- locks and IDs


@pytest.fixture(params=[1, 5])
def chosen(request, performers):
    """Let all programs use as many masters."""
    for performer in performers:
        performer("chosen = masters[:n]", n=request.param)
    return request.param


LOCK = "lock = Redlock(key='k', masters=chosen, auto_release_time={seconds})"


def test_who_holds_a_lock_keeps_the_other_out(pair, chosen):
    holder, other = pair
    for performer in pair:
        performer(LOCK.format(seconds=30))

    assert holder("lock.acquire()") is True
    assert other("lock.acquire(blocking=False)") is False
    assert other("lock.acquire(timeout=0.3)") is False
    assert (holder("29 < lock.locked() < 30"), other("lock.locked()")) == (True, 0)
    with pytest.raises(RaisedError, match="ReleaseUnlockedLock"):
        other("lock.release()")
    with pytest.raises(RaisedError, match="ExtendUnlockedLock"):
        other("lock.extend()")
    assert holder("lock.extend()\n29 < lock.locked() < 30") is True

    holder("lock.release()")
    assert other("lock.acquire(timeout=10)") is True
    assert holder("lock.acquire(blocking=False)") is False
    other("lock.release()")


def test_lease_that_ran_out_is_free_for_the_other(pair, chosen):
    holder, other = pair
    assert holder(LOCK.format(seconds=0.2) + "\nlock.acquire()") is True
    assert other(LOCK.format(seconds=30) + "\nlock.acquire(timeout=10)") is True
    assert holder("lock.locked()") == 0
    with pytest.raises(RaisedError, match="UnlockedLock"):
        holder("lock.release()")
    assert other("lock.locked() > 20") is True
    other("lock.release()")


def test_waiting_ends_when_the_other_releases(pair, chosen):
    holder, other = pair
    assert holder(LOCK.format(seconds=60) + "\nlock.acquire()") is True
    other.begin(LOCK.format(seconds=60) + "\nlock.acquire(timeout=30)")
    assert holder("lock.locked() > 0") is True
    holder("lock.release()")
    assert other.end() is True
    other("lock.release()")


def test_keys_beside_a_lock_do_not_disturb_the_old(old, new, chosen, masters):
    old(LOCK.format(seconds=60) + "\nlock.acquire()")
    new.begin("Redlock(key='k', masters=chosen, retry_delay=0.2).acquire(timeout=0.5)")
    assert new.end() is False
    new("with Redlock(key='k2', masters=chosen, fencing=True): pass")
    names = {name.decode() for master in masters for name in master.scan_iter()}
    assert old("[lock.locked() > 50, lock.extend(), lock.release()]") == [True, None, None]
    # Whatever is left there, even the mark that a lock is about to be handed on.
    for master in masters:
        for name in ("reserved", "waiting", "bell", "fence"):
            master.set(f"redlock:k~{name}", "x", ex=60)
    assert old("[lock.acquire(timeout=10), lock.release()]") == [True, None]
    assert names <= {f"redlock:{name}" for name in ("k", "k~waiting", "k2~fence")}


def test_ids_go_on_where_the_other_was(pair, chosen):
    one, other = pair
    for performer in pair:
        performer("ids = NextID(key='k', masters=chosen)")
    issued = [one("next(ids)")]
    # 3.0.1 has an ID as soon as a majority of the masters has; the others get it a moment later.
    wait_until(lambda: None not in one("[master.get('nextid:k') for master in chosen]"))
    issued += [performer("next(ids)") for performer in [other, one, one, other, other, one] * 5]
    assert issued == [*range(1, 32)]
    told = one("[master.get('nextid:k') for master in chosen]")
    assert told.count(b"31") > len(told) // 2  # a majority's answer is enough for an ID
    other("ids.reset()")
    assert other("next(ids)") == 1


def test_old_ids_fail_while_a_master_that_lost_its_data_learns(old, new, masters):
    for performer in (old, new):
        performer("ids = NextID(key='k', masters=masters)")
    assert [new("next(ids)"), old("next(ids)")] == [1, 2]
    masters[0].flushall()
    issued = [new("next(ids)")]  # which puts a mark there
    for _ in range(20):
        issued.append(old(PATIENTLY + "patiently(lambda: next(ids))"))
        issued.append(new("next(ids)"))
    assert all(earlier < later for earlier, later in pairwise(issued))


# --- both at the same time

# What 3.0.1 says instead of trying again. A mark in the place of an ID is no number to it.
PATIENTLY = """
import time, random
from redis import WatchError
def patiently(call):
    for _ in range(1000):
        try:
            return call()
        except (WatchError, QuorumNotAchieved, ValueError):
            time.sleep(random.uniform(0, 0.02))
    raise TimeoutError
"""


def together(performers, code, **names):
    """Perform *code* in all programs at the same time; `me` is the number of each."""
    for me, performer in enumerate(performers):
        performer.begin(PATIENTLY + code, me=me, **names)
    answers = [performer.answer() for performer in performers]  # of all, before any is looked at
    return [read(answer) for answer in answers]


def test_counters_lose_no_acknowledged_count(performers, redis):
    code = """
it = RedisCounter(redis=redis, key='k')
for n in range(100):
    patiently(lambda: it.update({'all': 1, f'{me}': 2}))
    patiently(lambda: it.subtract({'down': 1}))
"""
    together(performers, code)
    assert performers[1]("RedisCounter(redis=redis, key='k').to_counter()") == {
        "all": 400,
        "down": -400,
        "0": 200,
        "1": 200,
        "2": 200,
        "3": 200,
    }


def test_every_element_is_kept_and_taken_once(performers):
    code = """
kinds = {RedisList: 'l', RedisDeque: 'd', RedisSet: 's', RedisDict: 'h', HyperLogLog: 'p'}
l, d, s, h, p = [
    patiently(lambda: kind(redis=redis, key=key)) for kind, key in kinds.items()
]
promise = {'num_elements': 1000, 'false_positives': 0.001}
b = patiently(lambda: BloomFilter(**promise, redis=redis, key='b'))
for n in range(50):
    mark = f'{me}-{n}'
    l.append(mark)
    patiently(lambda: (d.append if n % 2 else d.appendleft)(mark))
    s.add(mark)
    h[mark] = n
    patiently(lambda: h.update({f'also {mark}': n}))
    patiently(lambda: b.add(mark))
    patiently(lambda: p.add(mark))
"""
    together(performers, code)
    marks = {f"{me}-{n}" for me in range(4) for n in range(50)}
    for performer in performers[:2]:
        found = performer("[sorted(l), sorted(d), sorted(s), len(h), len(p)]")
        assert found[:3] == [sorted(marks)] * 3
        assert found[3] == 400
        assert found[4] == pytest.approx(200, rel=0.05)
        assert performer("all(b.contains_many(*marks))", marks=marks) is True
    assert performers[0]("redis.get('b')") == performers[1]("redis.get('b')")

    code = """
def take(pop):
    taken = []
    while True:
        try:
            taken.append(patiently(pop))
        except (IndexError, KeyError):
            return taken
[take(l.pop), take(d.popleft), take(s.pop)]
"""
    taken = together(performers, code)
    for each in zip(*taken, strict=True):
        assert sorted(chain(*each)) == sorted(marks)


def test_deque_never_grows_beyond_its_maxlen(performers):
    code = """
it = RedisDeque(maxlen=5, redis=redis, key='k')
longest = 0
for n in range(50):
    patiently(lambda: it.append([me, n]))
    longest = max(longest, len(it))
longest
"""
    assert max(together(performers, code)) == 5
    last = performers[0]("[*it]")
    assert len(last) == 5
    assert {n for me, n in last} & {49}


def test_every_item_of_a_queue_is_got_once(performers):
    producers, consumers = performers[:2], performers[2:]
    items = 300
    put = """
q = RedisSimpleQueue(redis=redis, key='q')
for n in range(items):
    q.put([me, n])
"""
    # As many by each, since those of 3.0.1 hardly get anything while others are busy: see DEFECTS.
    get = """
q = RedisSimpleQueue(redis=redis, key='q')
[q.get(timeout=60) for _ in range(items)]
"""
    for performer in consumers:
        performer.begin(get, items=items)
    for me, performer in enumerate(producers):
        performer.begin(put, me=me, items=items)
    answers = [performer.answer() for performer in (*producers, *consumers)]
    got = [read(answer) for answer in answers[2:]]

    assert sorted(chain(*got)) == [[me, n] for me in range(2) for n in range(items)]
    for me in range(2):  # in the order in which each producer put them
        numbers = [[n for who, n in each if who == me] for each in got]
        assert numbers == [sorted(each) for each in numbers]
    sizes = [
        performer("q = RedisSimpleQueue(redis=redis, key='q')\nq.qsize()")
        for performer in performers
    ]
    assert sizes == [0, 0, 0, 0]


def test_waiting_consumer_gets_what_the_other_puts(pair):
    producer, consumer = pair
    for performer in pair:
        performer("q = RedisSimpleQueue(redis=redis, key='q')")
    consumer.begin("q.get(timeout=60)")
    producer("q.put('x')")
    assert consumer.end() == "x"


def test_only_the_new_gets_items_that_were_given_back(old, new, redis):
    for performer in (old, new):
        performer("q = RedisSimpleQueue(redis=redis, key='q')")
    redis.zadd("q~returned", {f'{1:020d}-{0:020d}:"back"': 0})
    assert (old("q.qsize()"), new("q.qsize()")) == (0, 1)

    new("while redis.zcard('q~returned'): q.put(q.get())")  # before rolling back

    assert old("q.get(timeout=10)") == "back"


def test_lock_lets_one_in_at_a_time(performers, chosen, redis):
    code = """
for _ in range(rounds):
    with Redlock(key='k', masters=chosen, auto_release_time=30):
        before = int(redis.get('count') or 0)
        redis.set('inside', me)
        time.sleep(0.002)
        assert redis.get('inside') == str(me).encode()
        redis.set('count', before + 1)
"""
    together(performers, code, rounds=15)
    assert redis.get("count") == b"60"


def test_ids_are_unique_and_rise_for_all(performers, chosen):
    code = """
ids = NextID(key='k', masters=chosen)
issued = []
for _ in range(50):
    began = time.monotonic()
    issued.append((began, patiently(lambda: next(ids)), time.monotonic()))
issued
"""
    issued = [*chain(*together(performers, code))]
    assert len({number for _, number, _ in issued}) == 200
    # Whoever asked after another one had got an ID got a higher one.
    highest = 0
    ends = sorted((end, number) for _, number, end in issued)
    for began, number, _ in sorted(issued):
        while ends and ends[0][0] < began:
            highest = max(highest, ends.pop(0)[1])
        assert number > highest
