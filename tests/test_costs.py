"""Every public operation says what it costs, and costs that."""

from __future__ import annotations

import asyncio
import inspect
from math import ceil

import pytest
from clients import close
from colours import twin_of
from operations import ALL, BLOCKING, CONTAINERS, OPERATIONS, REQUIRED, attach, cost, prepare

import pottery
from pottery.base import Base


@pytest.mark.parametrize("operation", ALL, ids=str)
def test_docstring_ends_in_a_cost_line(operation):
    assert cost(operation.function)


@pytest.fixture(autouse=True)
def no_garbage():
    """Forget the temporary containers of other tests, so that their keys are not unlinked here."""
    pottery._temporary.ABANDONED.clear()


def perform(operation, client, recording):
    """Call an operation once, on what was prepared, and return the commands that it sent."""
    target = attach(operation, client)
    with recording as sent:
        result = operation.call(target)
    del result
    return sent


async def perform_awaiting(operation, redis, recording):
    client = twin_of(redis)
    await client.ping()  # Sentinel's connections begin with one
    target = attach(operation, client)
    if inspect.isawaitable(target):
        target = await target
    with recording as sent:
        result = operation.call(target)
        if inspect.isawaitable(result):
            await result
    await close(client)
    return sent


def commands_of(operation, redis, recording):
    pottery._temporary.ABANDONED.clear()
    if operation.is_awaited:
        return asyncio.run(perform_awaiting(operation, redis, recording))
    return perform(operation, redis, recording)


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_operation_takes_the_round_trips_that_it_says(operation, redis, commands):
    for _ in range(2):  # the first time, the server may not know the script
        redis.flushdb()
        prepare(operation.kind, redis)
        sent = commands_of(operation, redis, commands(redis))

    assert len(sent) == cost(operation.function).trips, sent


PAGED = [operation for operation in OPERATIONS if cost(operation.function).is_paged]


@pytest.mark.parametrize("operation", PAGED, ids=str)
def test_long_container_is_read_in_pages(operation, redis, commands):
    count = 25_000
    prepare(operation.kind, redis, [f"item {n}" for n in range(count)])

    sent = commands_of(operation, redis, commands(redis))

    assert 2 <= len(sent) <= cost(operation.function).trips * (ceil(count / 1000) + 1)


def test_attaching_and_having_no_key_take_no_round_trip(redis, commands):
    with commands(redis) as sent:
        kinds = [(container, REQUIRED.get(container, {})) for container in BLOCKING]
        attached = [container(**required, redis=redis, key="k") for container, required in kinds]
        temporary = [container(**required, redis=redis) for container, required in kinds]
    assert (len(attached), len(temporary), sent) == (len(BLOCKING), len(BLOCKING), [])


def test_every_container_of_the_api_is_measured():
    api = [getattr(pottery, name) for name in pottery.__all__]
    assert {one for one in api if isinstance(one, type) and issubclass(one, Base)} == {*CONTAINERS}
