"""Plans without a server: what they ask for, and what they make of replies and errors."""

from __future__ import annotations

import inspect
from collections import deque
from hashlib import sha1

import pytest
import redis.asyncio
from redis import Connection, Redis
from redis.exceptions import BusyLoadingError, NoScriptError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pottery import base
from pottery import list as list_module
from pottery._front import _is_answer
from pottery._plan import Done, Op, at, nothing, same, whole
from pottery._script import Script
from pottery._temporary import MOST_AT_ONCE, sweeping
from pottery.base import CREATE, MOST_ARGUMENTS, PAGE, WHOLE
from pottery.counter import ADD, REPLACE, CounterPlans, RedisCounter
from pottery.deque import DequePlans, RedisDeque
from pottery.dict import DictPlans, RedisDict
from pottery.exceptions import DecodeError, KeyExistsError, OutcomeUnknown
from pottery.hyperloglog import HyperLogLog, HyperLogLogPlans
from pottery.list import EXCHANGE, SORT_INTEGERS, ListPlans, RedisList
from pottery.queue import DOUBTS, PAUSES, QueuePlans, RedisSimpleQueue
from pottery.set import AIORedisSet, RedisSet, SetPlans

# Nobody answers here: to make a container, and to make a plan, takes no server.
nowhere = Redis(port=1)
elsewhere = Redis(port=2)


@pytest.fixture
def a_set():
    return RedisSet(redis=nowhere, key="k")


@pytest.fixture
def a_list():
    return RedisList(redis=nowhere, key="k")


@pytest.fixture
def a_deque():
    return RedisDeque(redis=nowhere, key="k")


@pytest.fixture
def a_dict():
    return RedisDict(redis=nowhere, key="k")


@pytest.fixture
def a_counter():
    return RedisCounter(redis=nowhere, key="k")


def perform(plan, *replies):
    """Answer the steps of *plan*, raising what is an error; return its result and its steps."""
    steps, sent = iter(plan), []
    try:
        step = next(steps)
        for reply in replies:
            sent.append(step)
            is_error = isinstance(reply, BaseException)
            step = steps.throw(reply) if is_error else steps.send(reply)
    except StopIteration as done:
        assert len(sent) == len(replies), "a reply that nothing asked for"
        return done.value, sent
    pytest.fail(f"the plan still asks for {step}")


def asked(plan):
    """Return the first command that *plan* asks for."""
    return next(iter(plan)).args


# --- Op and Done


def test_an_op_asks_for_one_command_and_reads_its_reply():
    assert perform(Op(("LLEN", "k"), int), b"3")[0] == 3


def test_an_op_is_not_repeatable_and_goes_to_the_own_client_unless_it_says_so():
    op = Op(("PING",), same)

    assert not op.repeatable
    assert op.client is None


def test_an_error_thrown_into_an_op_comes_out():
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        perform(Op(("LLEN", "k"), int), ResponseError("WRONGTYPE"))


def test_done_asks_for_nothing():
    assert perform(Done("known")) == ("known", [])


def test_an_op_is_shown_as_its_command():
    assert repr(Op(("LLEN", "k"), int)) == "Op('LLEN', 'k')"


# --- single commands: what is asked for, whether twice does no harm, and what a reply means


@pytest.mark.parametrize(
    ("plans", "name", "arguments", "command", "repeatable", "reply", "result"),
    [
        (SetPlans, "add", ("é",), ("SADD", "k", r'"\u00e9"'), True, 1, None),
        (SetPlans, "add", ((1, (True,)),), ("SADD", "k", "[1, [true]]"), True, 0, None),
        (SetPlans, "discard", (None,), ("SREM", "k", "null"), True, 0, None),
        (SetPlans, "remove", (1.0,), ("SREM", "k", "1.0"), False, 1, None),
        (SetPlans, "pop", (), ("SPOP", "k"), False, b"[1, 2]", (1, 2)),
        (SetPlans, "contains_many", (1, 2), ("SMISMEMBER", "k", "1", "2"), True, [1, 0], [1, 0]),
        (SetPlans, "update", ("ab",), ("SADD", "k", '"a"', '"b"'), True, 2, None),
        (SetPlans, "difference_update", ([1], (2,)), ("SREM", "k", "1", "2"), True, 0, None),
        (SetPlans, "clear", (), ("UNLINK", "k"), False, 1, None),
        (SetPlans, "_size", (), ("SCARD", "k"), True, 2, 2),
        (SetPlans, "_has", ("a",), ("SISMEMBER", "k", '"a"'), True, 1, True),
        (ListPlans, "append", ({2: 0, 1: 0},), ("RPUSH", "k", '{"1": 0, "2": 0}'), False, 1, None),
        (ListPlans, "extend", ("ab",), ("RPUSH", "k", '"a"', '"b"'), False, 2, None),
        (ListPlans, "pop", (), ("RPOP", "k"), False, b"[1]", [1]),
        (ListPlans, "pop", (0,), ("LPOP", "k"), False, b"null", None),
        (ListPlans, "_fetch", (-2,), ("LINDEX", "k", "-2"), True, b"1e3", 1000.0),
        (ListPlans, "_store", (3, "x"), ("LSET", "k", "3", '"x"'), False, b"OK", None),
        (ListPlans, "index", ("a",), ("LPOS", "k", '"a"'), True, 4, 4),
        (ListPlans, "remove", ("a",), ("LREM", "k", "1", '"a"'), False, 1, None),
        (ListPlans, "_repeat", (0,), ("UNLINK", "k"), False, 1, None),
        (DequePlans, "appendleft", (1,), ("LPUSH", "k", "1"), False, 1, None),
        (DequePlans, "extendleft", ([1, 2],), ("LPUSH", "k", "1", "2"), False, 2, None),
        (DequePlans, "popleft", (), ("LPOP", "k"), False, b"1", 1),
        (DequePlans, "rotate", (), ("LMOVE", "k", "k", "RIGHT", "LEFT"), False, b"1", None),
        (DequePlans, "rotate", (-1,), ("LMOVE", "k", "k", "LEFT", "RIGHT"), False, None, None),
        (DictPlans, "_fetch", ("a",), ("HGET", "k", '"a"'), True, b"[1]", [1]),
        (DictPlans, "_get", ("a", 5), ("HGET", "k", '"a"'), True, None, 5),
        (DictPlans, "_store", (1, [2]), ("HSET", "k", "1", "[2]"), True, 1, None),
        (DictPlans, "_has", (1,), ("HEXISTS", "k", "1"), True, 0, False),
        (DictPlans, "_delete", (1,), ("HDEL", "k", "1"), False, 1, None),
        (DictPlans, "update", ({1: 2, 3: 4},), ("HSET", "k", "1", "2", "3", "4"), True, 2, None),
        (CounterPlans, "_delete", (1,), ("HDEL", "k", "1"), True, 0, None),
    ],
)  # fmt: skip
def test_it_is_one_command(plans, name, arguments, command, repeatable, reply, result):
    fronts = {SetPlans: RedisSet, ListPlans: RedisList, DequePlans: RedisDeque}
    fronts |= {DictPlans: RedisDict, CounterPlans: RedisCounter}
    plan = getattr(plans, name)(fronts[plans](redis=nowhere, key="k"), *arguments)

    value, (step,) = perform(plan, reply)

    assert step.args == command
    assert step.repeatable is repeatable
    assert step.client is None
    assert value == result


@pytest.mark.parametrize("unhashable", [[], {}, (1, [])])
@pytest.mark.parametrize("name", ["add", "discard", "remove", "_has"])
def test_a_set_refuses_what_is_not_hashable_before_it_asks(a_set, name, unhashable):
    with pytest.raises(TypeError, match="unhashable type"):
        perform(getattr(SetPlans, name)(a_set, unhashable))


def test_what_json_cannot_spell_is_looked_for_nowhere(a_set, a_list, a_dict):
    assert perform(SetPlans._has(a_set, b"")) == (False, [])
    assert perform(SetPlans.discard(a_set, b"")) == (None, [])
    assert perform(SetPlans.contains_many(a_set, b"", object())) == ([False, False], [])
    assert perform(DictPlans._get(a_dict, b"", 7)) == (7, [])
    assert perform(DictPlans._has(a_dict, b"")) == (False, [])


def test_what_json_cannot_spell_is_left_out_of_a_question_with_others(a_set):
    plan = SetPlans.contains_many(a_set, b"", 1, object(), 2)

    flags, (step,) = perform(plan, [0, 1])

    assert step.args == ("SMISMEMBER", "k", "1", "2")
    assert flags == [False, False, False, True]


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [("remove", ("a",), KeyError("a")), ("pop", (), KeyError("pop from an empty set"))],
)
def test_a_set_raises_keyerror_when_the_server_says_that_nothing_was_there(
    a_set, name, arguments, error
):
    with pytest.raises(KeyError) as raised:
        perform(getattr(SetPlans, name)(a_set, *arguments), None)

    assert raised.value.args == error.args


def test_a_value_that_is_no_json_names_the_key_and_carries_the_bytes(a_set, a_list):
    for plan in (SetPlans.pop(a_set), ListPlans.pop(a_list)):
        with pytest.raises(DecodeError) as raised:
            perform(plan, b"{oops")
        assert (raised.value.key, raised.value.raw) == ("k", b"{oops")


def test_a_member_that_is_an_object_is_an_error_and_one_that_is_an_array_a_tuple(a_set):
    assert perform(SetPlans.pop(a_set), b"[[1], 2]")[0] == ((1,), 2)
    with pytest.raises(DecodeError, match="cannot be decoded"):
        perform(SetPlans.pop(a_set), b'[{"a": 1}]')


def test_more_members_than_one_command_may_carry_are_asked_for_in_parts(a_set):
    plan = SetPlans.contains_many(a_set, *range(MOST_ARGUMENTS + 1))
    found, sent = perform(plan, [1] * MOST_ARGUMENTS, [0])
    assert found == [True] * MOST_ARGUMENTS + [False]
    assert [len(op.args) for op in sent] == [MOST_ARGUMENTS + 2, 3]


# --- keys of temporary containers that are gone


def test_abandoned_keys_are_unlinked_along_with_the_next_command(a_set):
    names = deque(["one", "two"])
    _, (step,) = perform(sweeping(nowhere, names, SetPlans.add(a_set, 1)), 1)
    assert (step.ahead, step.args) == (("UNLINK", "one", "two"), ("SADD", "k", "1"))
    assert not names


def test_abandoned_keys_are_unlinked_by_the_own_client_and_no_other(a_set):
    names = deque(["one"])
    plan = SetPlans.union(a_set, RedisSet(redis=elsewhere, key="other"))
    _, steps = perform(sweeping(nowhere, names, plan), [b"0", []], [b"0", []])
    assert [(step.client, step.ahead) for step in steps] == [
        (elsewhere, ()),
        (None, ("UNLINK", "one")),
    ]


def test_names_of_abandoned_keys_are_kept_if_the_command_fails(a_set):
    names = deque(["one", "two"])
    with pytest.raises(RedisConnectionError):
        perform(sweeping(nowhere, names, SetPlans.add(a_set, 1)), RedisConnectionError())
    assert list(names) == ["one", "two"]


def test_names_of_abandoned_keys_are_kept_if_there_is_no_command(a_set):
    names = deque(["one"])
    assert perform(sweeping(nowhere, names, Done(1))) == (1, [])
    assert list(names) == ["one"]


def test_many_abandoned_keys_are_unlinked_by_several_commands(a_set):
    names = deque(map(str, range(MOST_AT_ONCE + 1)))
    perform(sweeping(nowhere, names, SetPlans.add(a_set, 1)), 1)
    assert list(names) == [str(MOST_AT_ONCE)]


# --- HyperLogLogs


def test_more_elements_than_one_command_may_carry_are_asked_for_in_parts():
    seen = HyperLogLog(redis=nowhere, key="k")
    plan = HyperLogLogPlans.contains_many(seen, *range(MOST_ARGUMENTS + 1))
    found, sent = perform(plan, [1] * MOST_ARGUMENTS, [0])
    assert found == [True] * MOST_ARGUMENTS + [False]
    assert all(len(op.args) < MOST_ARGUMENTS + 10 for op in sent)


# --- queues: how often, and with which numbers, they ask


@pytest.fixture
def a_queue():
    yield RedisSimpleQueue(redis=nowhere, key="k")
    DOUBTS.clear()


def lost():
    error = OutcomeUnknown(nowhere, "k", "EVALSHA")
    error.__cause__ = RedisConnectionError("lost")
    return error


def number(step):
    """Return the number of a script's command, which follows the keys."""
    return int(step.args[3 + int(step.args[2])])


def test_a_put_is_sent_again_with_its_number_until_there_is_a_reply(a_queue):
    refused = RedisConnectionError("refused")

    result, sent = perform(
        QueuePlans.put(a_queue, "x"), lost(), None, lost(), None, refused, None, 1
    )

    commands, pauses = sent[::2], sent[1::2]
    assert result is None
    assert len({number(step) for step in commands}) == 1
    assert [step.seconds for step in pauses] == list(PAUSES[:3])
    assert not any(step.repeatable for step in commands)


def test_a_put_without_any_reply_is_an_outcome_unknown_and_one_refused_at_first_is_not(a_queue):
    with pytest.raises(OutcomeUnknown):
        perform(
            QueuePlans.put(a_queue, 1), *[answer for _ in range(6) for answer in (lost(), None)]
        )
    with pytest.raises(RedisConnectionError, match=r"^refused$"):
        perform(QueuePlans.put(a_queue, 1), RedisConnectionError("refused"))


def test_each_command_has_a_number_of_its_own(a_queue):
    plans = QueuePlans.put(a_queue, 1), a_queue._get(0), QueuePlans.put_nowait(a_queue, 2)
    numbers = [number(perform(plan, b"1")[1][0]) for plan in plans]
    assert numbers == sorted(set(numbers))


def test_two_operations_at_one_time_have_two_callers(a_queue):
    one, other = iter(QueuePlans.put(a_queue, 1)), iter(QueuePlans.put(a_queue, 2))
    assert next(one).args[4] != next(other).args[4]


def test_a_take_that_was_interrupted_gives_back_with_the_next_number(a_queue):
    plan = a_queue._get(0)
    taken = next(plan)

    giving_back = plan.throw(KeyboardInterrupt())

    assert number(giving_back) == number(taken)
    assert int(giving_back.args[-1]) == number(taken) + 1
    assert len(DOUBTS) == 1
    with pytest.raises(KeyboardInterrupt):
        plan.send([None])
    assert not DOUBTS


def test_what_could_not_be_given_back_is_given_back_first(a_queue):
    plan = a_queue._get(0)
    taken = next(plan)
    plan.throw(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        plan.send([RedisConnectionError("away")])

    size, (giving_back, _) = perform(QueuePlans.qsize(a_queue), None, 3)

    assert number(giving_back) == number(taken)
    assert giving_back.repeatable
    assert size == 3
    assert not DOUBTS


def test_nobody_is_asked_to_give_back_what_was_refused(a_queue):
    wrong = ResponseError("WRONGTYPE")
    with pytest.raises(ResponseError):
        perform(a_queue._get(0), wrong)
    assert not DOUBTS


# --- lists


@pytest.mark.parametrize("answer", ["index out of range", "no such key"])
def test_storing_beyond_the_end_is_an_indexerror(a_list, answer):
    with pytest.raises(IndexError, match=r"^list assignment index out of range$") as raised:
        perform(ListPlans._store(a_list, 5, "x"), ResponseError(answer))

    assert raised.value.__cause__ is None


def test_any_other_error_of_the_server_passes_through_storing(a_list):
    wrong = ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")

    with pytest.raises(ResponseError) as raised:
        perform(ListPlans._store(a_list, 5, "x"), wrong)

    assert raised.value is wrong


def serve(plan, texts):
    """Answer each LRANGE of *plan* from *texts*; return its result and the number of its steps."""
    steps, size, count = iter(plan), len(texts), 0
    try:
        step = next(steps)
        while True:
            count += 1
            start, stop = (int(bound) + (int(bound) < 0) * size for bound in step.args[2:])
            step = steps.send(texts[max(start, 0) : max(stop + 1, 0)])
    except StopIteration as done:
        return done.value, count


@pytest.mark.parametrize("size", [0, 1, 2, PAGE, WHOLE])
def test_a_list_that_is_not_long_is_read_at_once(a_list, size):
    texts, numbers = [b"%d" % number for number in range(size)], [*range(size)]

    assert serve(ListPlans.to_list(a_list), texts) == (numbers, 1)
    assert serve(whole(a_list._items_backwards, 0), texts) == (numbers[::-1], 1)
    assert serve(a_list._slice(slice(None)), texts) == (numbers, 1)


@pytest.mark.parametrize("size", [WHOLE + more for more in (1, 2, 3, PAGE, PAGE + 1, PAGE + 2)])
def test_a_long_list_is_read_in_pages_with_no_gap_and_no_overlap(a_list, size):
    texts, numbers = [b"%d" % number for number in range(size)], [*range(size)]

    for plan, expected in (
        (ListPlans.to_list(a_list), numbers),
        (whole(a_list._items_backwards, 0), numbers[::-1]),
        (a_list._slice(slice(size - 1)), numbers[:-1]),
        (a_list._slice(slice(None, None, 2)), numbers[::2]),
    ):
        items, count = serve(plan, texts)
        assert items == expected
        assert count <= 3
    assert serve(a_list._slice(slice(1, None)), texts)[0] == numbers[1:]


def test_elements_that_python_compares_are_searched_in_what_was_read(a_list):
    found, (step,) = perform(ListPlans.index(a_list, [2]), [b"[1]", b"[2]", b"[2]"])

    assert found == 1
    assert step.args[0] == "LRANGE"


def test_removing_what_python_compares_looks_again_if_the_list_moved_meanwhile(a_list):
    plan = ListPlans.remove(a_list, [2])

    _, steps = perform(plan, [b"[1]", b"[2]"], 0, [b"[2]"], 1)

    assert [step.args[0] for step in steps] == ["LRANGE", "EVALSHA", "LRANGE", "EVALSHA"]
    assert steps[1].args[-3:-1] == ("1", b"[2]")
    assert steps[3].args[-3:-1] == ("0", b"[2]")


def test_sorting_is_done_when_the_server_has_sorted(a_list):
    _, (step,) = perform(ListPlans.sort(a_list), 1)

    assert step.args[:2] == ("EVALSHA", SORT_INTEGERS._digest)
    assert step.args[-3:] == ("ASC", str(PAGE), str(WHOLE))


def test_sorting_by_a_key_never_lets_the_server_sort(a_list):
    _, (step,) = perform(ListPlans.sort(a_list, key=abs), [b"1", b"2"])

    assert step.args[0] == "LRANGE"


def test_sorting_writes_nothing_if_all_is_in_order(a_list):
    _, (step,) = perform(ListPlans.sort(a_list), [b"1", b"1.0", b"2"])

    assert step.args[:2] == ("EVALSHA", SORT_INTEGERS._digest)


def test_sorting_writes_back_what_it_read_in_another_order(a_list):
    _, (_, step) = perform(ListPlans.sort(a_list), [b"2", b"1.0", b"1"], 1)

    assert step.args[:2] == ("EVALSHA", EXCHANGE._digest)
    assert step.args[-3:] == (b"1.0", b"1", b"2")


def test_sorting_reads_again_if_the_list_moved_meanwhile(a_list):
    _, steps = perform(ListPlans.sort(a_list, reverse=True), [b"1", b"2"], 0, [b"2", b"1"])

    asked = [step.args[:2] for step in steps]
    assert asked == [
        ("EVALSHA", SORT_INTEGERS._digest),
        ("EVALSHA", EXCHANGE._digest),
        ("LRANGE", "k"),
    ]


def test_sorting_reads_a_long_list_page_by_page(a_list):
    pages = [b"1"] * (WHOLE + 1), [b"1"] * 500

    _, steps = perform(ListPlans.sort(a_list), None, *pages, 1)

    assert [step.args[0] for step in steps] == ["EVALSHA", "LRANGE", "LRANGE", "EVALSHA"]


def test_sorting_gives_up_when_others_always_write(a_list):
    raws = [b"2", b"1"]

    with pytest.raises(ValueError, match=r"^list modified during sort$"):
        perform(ListPlans.sort(a_list), *[raws, 0] * list_module.ATTEMPTS, raws)


def test_sorting_gives_up_when_the_list_grows_without_end(a_list):
    first_page, second_page = [b"1"] * (WHOLE + 1), [b"1"] * 500

    with pytest.raises(ValueError, match=r"^list modified during sort$"):
        perform(ListPlans.sort(a_list), [b"2", b"1"], 0, first_page, second_page)


def test_a_key_that_fails_leaves_the_list_as_it_was(a_list):
    with pytest.raises(ZeroDivisionError):
        perform(ListPlans.sort(a_list, key=lambda x: 1 / x), [b"1", b"0"])


# --- deques


def test_a_bounded_deque_pushes_and_trims_in_one_step():
    deque = _bounded(2)

    right = asked(DequePlans.extend(deque, "abc"))
    left = asked(DequePlans.extendleft(deque, "abc"))

    assert right[2:] == ("1", "k", "RPUSH", "-2", "-1", '"b"', '"c"')
    assert left[2:] == ("1", "k", "LPUSH", "0", "1", '"b"', '"c"')


def test_a_deque_that_holds_nothing_asks_for_nothing():
    deque = _bounded(0)

    for plan in (
        DequePlans.append(deque, 1),
        DequePlans.extend(deque, "ab"),
        DequePlans.appendleft(deque, 1),
    ):
        assert perform(plan) == (None, [])


def _bounded(maxlen):
    deque = RedisDeque(redis=nowhere, key="k")
    deque._maxlen = maxlen  # __init__ would look whether there are too many elements
    return deque


# --- scripts

ECHO = Script("-- ARGV[1] text; returns it\nreturn ARGV[1]")


def test_a_script_is_asked_for_by_its_digest():
    value, (step,) = perform(ECHO(("k", "l"), ("a",)), b"a")

    digest = sha1(ECHO.text.encode()).hexdigest()
    assert step.args == ("EVALSHA", digest, "2", "k", "l", "a")
    assert not step.repeatable
    assert value == b"a"


def test_a_script_that_the_server_does_not_know_is_sent_with_the_same_data():
    value, (_, step) = perform(ECHO(("k",), ("a",), str), NoScriptError("NOSCRIPT"), 5)

    assert step.args == ("EVAL", ECHO.text, "1", "k", "a")
    assert value == "5"


def test_any_other_error_passes_through_a_script():
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        perform(ECHO(("k",)), ResponseError("WRONGTYPE"))


def test_both_ways_to_run_a_script_are_as_repeatable_as_it_says():
    script = Script("return 1", repeatable=True)

    _, steps = perform(script(()), NoScriptError("NOSCRIPT"), 1)

    assert [step.repeatable for step in steps] == [True, True]


# --- at: another client


def test_steps_at_another_client_name_it_and_keep_the_rest():
    plan = at(elsewhere, Op(("LLEN", "k"), int, repeatable=True))

    value, (step,) = perform(plan, b"3")

    assert (step.args, step.repeatable, step.client) == (("LLEN", "k"), True, elsewhere)
    assert value == 3


def test_an_error_at_another_client_is_thrown_into_the_plan_there():
    _, steps = perform(at(elsewhere, ECHO(("k",))), NoScriptError("NOSCRIPT"), 1)

    assert [step.args[0] for step in steps] == ["EVALSHA", "EVAL"]
    assert {step.client for step in steps} == {elsewhere}


def test_an_error_that_the_plan_there_does_not_expect_comes_out():
    with pytest.raises(KeyboardInterrupt):
        perform(at(elsewhere, Op(("PING",), same)), KeyboardInterrupt())


def test_what_is_known_already_asks_no_other_client_either():
    assert perform(at(elsewhere, Done(1))) == (1, [])


def test_sets_on_one_server_are_combined_there_and_others_are_read_first(a_set):
    near = RedisSet(redis=nowhere, key="near")
    far = RedisSet(redis=elsewhere, key="far")

    value, (read, union) = perform(SetPlans.union(a_set, near, far), [b"0", [b"3"]], [b"1", b"2"])

    assert (read.args[:2], read.client) == (("SSCAN", "far"), elsewhere)
    assert (union.args, union.client) == (("SUNION", "k", "near"), None)
    assert value == {1, 2, 3}


# --- whole: page after page


def test_pages_are_read_from_the_start_until_there_is_no_next_position():
    pages = {0: (7, ["a"]), 7: (3, []), 3: (None, ["b", "c"])}

    items, steps = perform(
        whole(lambda position: Op(("PAGE", str(position)), pages.__getitem__), 0), 0, 7, 3
    )

    assert items == ["a", "b", "c"]
    assert [step.args[1] for step in steps] == ["0", "7", "3"]


def test_no_start_is_no_page():
    assert perform(whole(lambda _: pytest.fail("there is no page"), None)) == ([], [])


def test_a_set_is_scanned_until_the_cursor_is_zero_again(a_set):
    members, steps = perform(SetPlans.to_set(a_set), [b"17", [b"1"]], [b"5", []], [b"0", [b"2"]])

    assert members == {1, 2}
    assert [step.args[2] for step in steps] == [b"0", b"17", b"5"]


def test_a_set_is_read_anew_if_its_next_page_comes_from_another_server(a_set):
    pages = [(1, b"17", b"1"), (2, b"5", b"7"), (2, b"8", b"2"), (2, b"0", b"3")]
    steps, asked, reply = iter(at(elsewhere, SetPlans.to_set(a_set))), [], None
    for port, following, member in pages:
        step = steps.send(reply)
        asked.append(step.args[2])
        step.cursor.note(Connection(port=port))
        reply = [following, [member]]
    with pytest.raises(StopIteration) as done:
        steps.send(reply)

    assert done.value.value == {2, 3}
    assert asked == [b"0", b"17", b"0", b"8"]


def test_a_dict_is_scanned_in_pairs(a_dict):
    items, _ = perform(DictPlans.to_dict(a_dict), [b"0", [b'"a"', b"1", b"[2]", b"[3]"]])

    assert items == {"a": 1, (2,): [3]}


# --- creating


def test_no_data_is_no_step(a_list):
    assert perform(a_list._create("RPUSH", [])) == (None, [])


def test_a_chosen_key_is_filled_only_if_it_is_new(a_list):
    assert perform(a_list._create("RPUSH", ["1"]), 1)[0] is None

    with pytest.raises(KeyExistsError, match="key 'k' exists already"):
        perform(a_list._create("RPUSH", ["1"]), 0)

    assert asked(a_list._create("RPUSH", ["1"]))[1:] == (CREATE._digest, "1", "k", "RPUSH", "1")


def test_a_temporary_key_is_new_in_any_case(a_list):
    a_list._is_temporary = True

    assert asked(a_list._create("RPUSH", ["1", "2"])) == ("RPUSH", "k", "1", "2")


def test_more_than_one_command_can_carry_is_sent_in_parts(a_list, monkeypatch):
    monkeypatch.setattr(base, "MOST_ARGUMENTS", 2)

    _, steps = perform(a_list._create("RPUSH", ["1", "2", "3", "4", "5"]), 1, 4, 5)

    assert [step.args[-2:] for step in steps] == [("1", "2"), ("3", "4"), ("k", "5")]
    assert [step.args[0] for step in steps] == ["EVALSHA", "RPUSH", "RPUSH"]


# --- counters


def test_short_counts_are_added_by_the_server(a_counter):
    _, (step,) = perform(CounterPlans.update(a_counter, "aba", c=-2), 1)

    assert step.args[:2] == ("EVALSHA", ADD._digest)
    assert step.args[4:] == (b'"a"', "2", b'"b"', "1", b'"c"', "-2")


def test_what_the_server_cannot_add_is_added_by_python_and_exchanged(a_counter):
    plan = CounterPlans.update(a_counter, {"a": 1, "b": 2})

    _, (_, read, write) = perform(plan, 0, [b"0.5", None], 1)

    assert read.args == ("HMGET", "k", b'"a"', b'"b"')
    assert write.args[1] == REPLACE._digest
    assert write.args[-6:] == (b'"a"', b"0.5", "1.5", b'"b"', "", "2")


@pytest.mark.parametrize("one", ["a", ["a"], ("a",), {"a": 1}], ids=repr)
@pytest.mark.parametrize("answer", ["hash value is not an integer", "increment would overflow"])
def test_one_count_is_added_by_one_command_if_redis_can_add_it(a_counter, answer, one):
    value, (step,) = perform(CounterPlans.update(a_counter, one), 1)
    command, key, text, delta = step.args
    assert (value, command, key, delta) == (None, "HINCRBY", "k", "1")
    assert text in (b'"a"', '"a"')
    assert not step.repeatable

    plan = CounterPlans.update(a_counter, one)
    _, steps = perform(plan, ResponseError(answer), 0, [b"2.5"], 1)

    assert [step.args[0] for step in steps] == ["HINCRBY", "EVALSHA", "HMGET", "EVALSHA"]


def test_any_other_error_of_the_server_passes_through_counting(a_counter):
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        perform(CounterPlans.update(a_counter, "a"), ResponseError("WRONGTYPE"))


def test_a_count_that_changed_meanwhile_is_read_again(a_counter):
    _, steps = perform(CounterPlans.update(a_counter, {"a": 0.5}), [b"1"], 0, [b"2"], 1)

    assert [step.args[0] for step in steps] == ["HMGET", "EVALSHA", "HMGET", "EVALSHA"]
    assert steps[-1].args[-3:] == (b'"a"', b"2", "2.5")


def test_what_a_server_gives_twice_is_one_item_to_a_comparison(a_dict, a_counter):
    twice, twins = [b'"a"', b"1", b'"a"', b"1"], [b"1", b"1", b"true", b"1"]
    for mapping in (a_dict, a_counter):
        assert perform(mapping._equals({"a": 1}), [b"0", twice])[0]
        assert not perform(mapping._equals({1: 1}), [b"0", twins])[0]


# --- failures: the answer of the server, or none


def failure_of(container, step, error):
    return container._failure(step, error, in_doubt=not _is_answer(error))


@pytest.mark.parametrize("error", [RedisConnectionError("lost"), RedisTimeoutError(), OSError()])
def test_a_lost_reply_to_a_write_leaves_its_outcome_unknown(a_list, error):
    failure = failure_of(a_list, ListPlans.append(a_list, 1), error)

    assert isinstance(failure, OutcomeUnknown)
    assert isinstance(failure, RedisConnectionError)
    assert (failure.key, failure.command, failure.__cause__) == ("k", "RPUSH", error)
    assert str(failure) == "key 'k': no reply to RPUSH, which may have run"


def test_a_lost_reply_to_what_may_be_repeated_is_the_error_of_the_connection(a_set):
    error = RedisConnectionError("lost")

    assert failure_of(a_set, SetPlans._size(a_set), error) is error
    assert isinstance(failure_of(a_set, SetPlans.add(a_set, 1), error), OutcomeUnknown)


@pytest.mark.parametrize("error", [ResponseError("OOM"), NoScriptError(), BusyLoadingError()])
def test_an_answer_of_the_server_is_never_unknown(a_list, error):
    assert failure_of(a_list, ListPlans.append(a_list, 1), error) is error


# --- fronts


def test_each_front_gives_an_operation_its_colour():
    async_set = AIORedisSet(redis=redis.asyncio.Redis(port=1), key="k")

    assert isinstance(SetPlans.add(async_set, 1), Op)
    assert not inspect.iscoroutinefunction(RedisSet.add)
    assert inspect.iscoroutinefunction(AIORedisSet.add)


@pytest.mark.parametrize("front", [RedisSet, AIORedisSet])
def test_an_operation_keeps_its_name_its_signature_and_its_docstring(front):
    assert front.add.__name__ == "add"
    assert front.add.__doc__ == SetPlans.add.__doc__
    assert inspect.signature(front.add) == inspect.signature(SetPlans.add)


@pytest.mark.parametrize("front", [RedisDict, RedisCounter])
def test_an_operation_takes_any_keyword_that_its_plan_takes(front, redis):
    container = front(redis=redis)

    container.update(self=1, make=2, plan=3, args=4, kwargs=5)

    assert container.to_dict() == {"self": 1, "make": 2, "plan": 3, "args": 4, "kwargs": 5}


def test_reading_a_reply_that_does_not_matter_gives_none():
    assert nothing(b"OK") is None
